"""The course's machinery: graders, diagnoses, swapping, and what teachers' tools are told."""

import base64
import csv
import doctest
import io
import json
import os
import re
import stat
import subprocess
import sys
import textwrap
import threading
import time
import zipfile

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import course
from tinyqwen import functional as F
from tinyqwen.autograd import ops, tape
from tinyqwen.course import clock, registry, runner
from tinyqwen.course.authoring import diagnosis, examples, mutants
from tinyqwen.course.authoring.checks import Call
from tinyqwen.course.authoring.mutants import self_test
from tinyqwen.course.calls import Here, StudentError, StudentFunction, ToDo, enclosing_loop
from tinyqwen.course.classroom import reports
from tinyqwen.course.classroom.gradescope import make_zip
from tinyqwen.course.isolation.copies import FORWARD
from tinyqwen.course.registry import GRADERS, ROOT, chapter, chapters, reference
from tinyqwen.course.runner import Result, graders_of
from tinyqwen.course.submission import (
    Submission,
    load_module,
    solution,
    submitted,
    write_solution,
)


def run_pytest(folder, *arguments, cwd=ROOT, root=ROOT, of=()):
    """Grade a folder as a student would, in a process of its own; returns (exit code, output).

    of: the chapters whose graders are read, all if not given: it takes a while
    """
    graders = root / "tests" / "assignments"
    graders = [root / chapter(key).graders.relative_to(ROOT) for key in of] or [graders]
    command = [sys.executable, "-m", "pytest", *map(str, graders), "-p", "no:cacheprovider", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"--submission={folder}", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def student(folder, chapter_key, code):
    """A folder with one chapter's file that holds `code`."""
    file = folder / chapters()[chapter_key].file
    file.write_text("import numpy as np\n\n\n" + textwrap.dedent(code), encoding="utf-8")
    return folder


# ---------------------------------------------------------------------------------------------
# The graders
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [pytest.param("ch04", marks=pytest.mark.slow), "ch05"])
def test_graders_pass_the_reference_and_name_every_mutant(key):
    report = self_test(chapter(key))
    assert report.faults == []
    assert all(result.status == "todo" for result in report.stubs.values())
    assert sum(result.possible for result in report.reference.values()) % 10 == 0


@pytest.mark.parametrize("key", chapters())
def test_points_of_a_chapter_sum_to_a_round_number(key):
    report = self_test(chapter(key), only="none of them")
    possible = sum(result.possible for result in report.reference.values())
    assert possible and possible % 5 == 0
    assert report.faults == []


ODD = [None, "text", [1, "a"], {}, (), 3, np.ones((1 << 16, 1)), lambda g: None]


def check_no_answer_breaks_a_grader(key):
    """Right answers up to a call, of a function or its VJP, and something else from there on."""

    def until(name, calls, answer):
        def asked(function):
            def counted(*args, **options):
                nonlocal calls
                calls -= 1
                result = function(*args, **options)
                if calls < 0:
                    return answer
                pair = type(result) is tuple and len(result) == 2 and callable(result[1])
                return (result[0], asked(result[1])) if pair else result

            return counted

        return asked(reference(name))

    one = chapter(key)
    for test in graders_of(one):
        right = solution(one)
        run = [test, right, runner.result_of(test, key)]
        runner.run(*run)
        for name in right.used:
            for calls in range(3):
                for answer in ODD:
                    run[1] = solution(one, **{name: until(name, calls, answer)})
                    result = runner.run(*run)
                    assert result.status in ("passed", "failed"), result.text


def test_no_answer_breaks_a_grader():
    check_no_answer_breaks_a_grader("ch05")


@pytest.mark.slow
@pytest.mark.parametrize("key", chapters())
def test_no_answer_breaks_a_grader_in_any_chapter(key):
    check_no_answer_breaks_a_grader(key)


def test_a_vjp_with_too_few_gradients_is_told_so(tmp_path):
    code = """
        def rms_norm(x, weight, eps=1e-6):
            scale = 1 / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)
            return x * scale * weight, lambda g: (g,)
    """
    submission = submitted(chapter("ch05"), student(tmp_path, "ch05", code))
    (test,) = (t for t in graders_of(chapter("ch05")) if t.__name__ == "test_rms_norm_vjp")
    result = runner.run(test, submission, runner.result_of(test, "ch05"))
    assert result.status == "failed" and "vjp returned 1 of 2 gradients" in result.message


def test_a_grader_that_breaks_on_the_right_answer_is_not_the_students_mistake():
    @course.points(1, "broken")
    def test_broken(submission):
        submission.silu(np.ones(2))
        raise KeyError("no such thing")

    result = runner.run(
        test_broken, solution(chapter("ch04")), runner.result_of(test_broken, "ch04")
    )
    assert result.status == "error" and "a mistake of the course" in result.message


@pytest.mark.parametrize("key", chapters())
def test_a_mutant_has_the_name_by_which_a_worker_finds_it(key):
    module = vars(load_module(chapter(key).mutants))
    found = {name: one.mutant.name for name, one in module.items() if hasattr(one, "mutant")}
    assert found and list(found) == list(found.values())


def test_self_test_notices_a_survivor_a_wrong_name_and_a_refused_reference(monkeypatch):
    right = F.silu.raw

    def negative(x):
        return -right(x)[0], right(x)[1]

    fake = [
        mutants.Mutant(right, "silu", "test_silu_value", "anything"),
        mutants.Mutant(negative, "silu", "test_silu_value", "nonsense"),
    ]
    monkeypatch.setattr(mutants, "mutants_of", lambda chapter: fake)
    faults = "\n".join(self_test(chapter("ch04"), only="silu").faults)
    assert "survives test_silu_value" in faults
    assert "does not say 'nonsense'" in faults
    assert "silu has 2 mutants" in faults
    monkeypatch.setattr(F.silu, "raw", negative)
    # The checks compare with the library itself, so only what is independent of it can object:
    # the worked example, and the central differences.
    faults = "\n".join(self_test(chapter("ch04"), only="silu").faults)
    assert "test_silu_example fails the reference" in faults
    assert "test_silu_vjp fails the reference" in faults


@pytest.mark.parametrize("status", ["passed", "failed", "error", "todo", "waiting"])
def test_a_mutant_is_killed_by_a_test_that_fails_and_names_it(status):
    def result(name, status):
        return Result(name, "ch04", name, 1, status=status, message="the sign is wrong")

    one = mutants.Mutant(F.silu.raw, "silu", "test_a", "sign")
    results = {"test_a": result("test_a", status), "test_b": result("test_b", "failed")}
    faults = list(mutants._faults_of_mutant(one, results))
    survives = [f"{one.name} survives test_a; killed by test_b"]
    assert faults == ([] if status == "failed" else survives)
    del results["test_a"]
    assert "no test test_a asks for silu" in next(mutants._faults_of_mutant(one, results))


def flattened(result):
    if isinstance(result, np.ndarray):
        return result.ravel()
    if type(result) is tuple:
        return tuple(part if callable(part) else flattened(part) for part in result)
    return repr(result)


def last_gradient_missing(result):
    if type(result) is tuple and len(result) == 2 and callable(result[1]):
        return result[0], lambda g: result[1](g)[:-1]
    return [result]


STRANGE_RESULTS = {
    "nothing": lambda result: None,
    "a number": lambda result: 0,
    "itself, three times": lambda result: (result, result, result),
    "its arrays, flattened": flattened,
    "its VJP, with the last gradient missing": last_gradient_missing,
}


@pytest.mark.parametrize(  # a third of all the time is chapter 13's, which calls whole models
    "key", [pytest.param(key, marks=[pytest.mark.slow] * (key == "ch13")) for key in chapters()]
)
def test_no_grader_breaks_whatever_a_function_returns(key):
    for grader in graders_of(chapter(key)):
        nothing = Submission({})
        runner.run(grader, nothing, runner.result_of(grader, key))
        (name,) = nothing.used  # the first function that it asks for
        right = reference(name)
        for words, change in STRANGE_RESULTS.items():

            def strange(*args, right=right, change=change, **options):
                return change(right(*args, **options))

            submission = Submission({name: strange})
            result = runner.run(grader, submission, runner.result_of(grader, key))
            assert result.status != "error", f"{name} returns {words}: {result.text}"


# ---------------------------------------------------------------------------------------------
# What a student sees
# ---------------------------------------------------------------------------------------------


def graded(tmp_path, code, test, key="ch04"):
    """The Result of one grader on a student's code, in this process."""
    submission = submitted(chapter(key), student(tmp_path, key, code))
    (grader,) = (t for t in graders_of(chapter(key)) if t.__name__ == test)
    return runner.run(grader, submission, runner.result_of(grader, key))


def test_an_exception_shows_the_students_line(tmp_path):
    code = """
        def silu(x):
            return x @ x.T @ x[0], None
    """
    result = graded(tmp_path, code, "test_silu_value")
    assert result.status == "failed"
    assert "ch04_swiglu.py, line 6, in silu" in result.message
    assert "return x @ x.T @ x[0], None" in result.message
    assert "checks.py" not in result.message


def test_lists_unpack_as_tuples_do(tmp_path):
    code = """
def silu(x):
    s = 0.5 + 0.5 * np.tanh(0.5 * x)
    return [x * s, lambda g: [g * s * (1 + x * (1 - s))]]
"""
    for test in ("test_silu_value", "test_silu_vjp", "test_silu_manners", "test_silu_example"):
        result = graded(tmp_path, code, test)
        assert result.status == "passed", result.text


@pytest.mark.parametrize(
    "code, words",
    [
        ("def silu(x):\n    x * 2", "a return statement is missing"),
        ("def silu(x):\n    return x", "`return out, vjp` is missing"),
        ("def silu(x):\n    return x.tolist(), lambda g: (g,)", "is a list, not an array"),
        (
            "def silu(x):\n    return x / (1 + np.exp(-x)) + 1j, lambda g: (g,)",
            "has dtype complex128: real numbers were expected",
        ),
        ("def silu(x):\n    raise SystemExit(0)", "ended the whole program"),
        ("def silu(x):\n    return silu(x)", "a recursion without an end"),
        ("def silu(x)\n    return x", "line 4: expected ':'"),
        ("def silu(x):\n    return undefined", "NameError"),
        (
            "def silu(x):\n    return x / (1 + np.exp(-x)) + 0 * np.max(x), lambda g: (g,)",
            "has no largest entry",
        ),
        ("def silu(x):\n    return np.exp((x, x[..., 0])), None", "unpack it first"),
        ("1 / 0\ndef silu(x):\n    return x", "line 4: ZeroDivisionError while the file was read"),
        (
            "import sys\nsys.exit(0)\ndef silu(x):\n    return x",
            "SystemExit while the file was read",
        ),
    ],
)
def test_broken_code_is_explained(tmp_path, code, words):
    result = graded(tmp_path, code, "test_silu_value")
    assert result.status == "failed"
    assert words in result.text


@pytest.mark.parametrize(
    "code",
    [
        'def silu(x):\n    """Only a docstring."""\n    raise NotImplementedError',
        "def silu(x):\n    y = 2 * x\n    raise NotImplementedError('later')",
        "def gelu(x):\n    return x",
        "def silu(x):\n    def vjp(g):\n        raise NotImplementedError\n    return x * 0, vjp",
    ],
)
def test_what_is_not_written_is_to_do(tmp_path, code):
    test = "test_silu_vjp"
    assert graded(tmp_path, code, test).status == "todo"


@pytest.mark.parametrize("isolated", [False, True])
def test_a_raise_that_was_left_is_named_by_its_line(tmp_path, isolated):
    code = "def silu(x):\n    y = 2 * x\n    raise NotImplementedError"
    folder = student(tmp_path, "ch04", code)
    submission = submitted(chapter("ch04"), folder, isolated=isolated)
    try:
        with pytest.raises(ToDo, match=r"^silu: line 6 still raises .*; delete it"):
            submission.silu(np.ones(2))
        with pytest.raises(ToDo, match=r"^gelu$"):
            submission.gelu(np.ones(2))
    finally:
        submission.close()


def test_a_stub_as_it_came_has_nothing_left_in_it(stubs):
    """Its raise is not the student's: no line is named."""
    submission = submitted(chapter("ch04"), stubs)
    for name in chapter("ch04").assigned:
        with pytest.raises(ToDo, match=rf"^{name}$"):
            getattr(submission, name)(np.ones(2))


def test_what_was_left_is_told_once(tmp_path):
    student(tmp_path, "ch04", "def silu(x):\n    y = 2 * x\n    raise NotImplementedError")
    code, printed = run_pytest(tmp_path, "-k", "silu", of=["ch04"])
    assert code == 0 and printed.count("silu: line 6 still raises NotImplementedError") == 1


def test_a_file_that_never_finishes_loading_is_told(tmp_path):
    with clock.time_limit(0.2):
        submission = submitted(chapter("ch04"), student(tmp_path, "ch04", "while True:\n    pass"))
    with pytest.raises(Exception, match="did not finish loading") as caught:
        submission.silu(1)
    assert caught.value.mistake == "an infinite loop: line 4: while True:"


def test_a_lost_example_is_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "STUBS", tmp_path)
    code = "def silu(x):\n    return x, lambda g: (g,)"
    result = graded(tmp_path, code, "test_silu_example")
    assert "has lost the example" in result.message


def test_a_loop_without_end_is_named_and_fails_alone(tmp_path, monkeypatch):
    code = """
        def silu(x):
            i = 0
            while i < 3:
                y = 0  # Python 3.10 takes no signal on entering a try
                try:
                    y = 1
                except Exception:
                    pass
            return x
    """
    began = time.perf_counter()
    monkeypatch.setattr(runner, "time_limit", lambda seconds, grace: clock.time_limit(0.2))
    result = graded(tmp_path, code, "test_silu_value")
    assert "an infinite loop, or one far too slow: line 7: while i < 3:" in result.text
    assert time.perf_counter() - began < 3


def test_the_loop_that_is_named_is_the_one_that_may_not_end(tmp_path):
    file = tmp_path / "loops.py"
    file.write_text("while start:\n    for i in range(3):\n        pass\nfor j in x:\n    j += 1\n")
    assert enclosing_loop(file, 3) == "line 1: while start:"
    assert enclosing_loop(file, 5) == "line 4: for j in x:"
    assert enclosing_loop(file, 6) is None


def test_time_limit_counts_work_and_a_quarter_of_waiting():
    def seconds_until_the_limit(wait):
        began = time.monotonic()
        with pytest.raises(clock.TimeLimit), clock.time_limit(0.2):
            while time.monotonic() < began + 20:
                wait()
        return time.monotonic() - began

    with clock.time_limit(0.2):
        time.sleep(0.4)
    assert seconds_until_the_limit(lambda: time.sleep(5)) > 0.75
    began = time.process_time()
    assert seconds_until_the_limit(lambda: None) < 5
    assert time.process_time() - began < 0.75


def test_time_limit_in_another_thread():
    caught = []

    def work():
        try:
            with clock.time_limit(0.1):
                while True:
                    pass
        except clock.TimeLimit as limit:
            caught.append(str(limit))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert caught == ["0.1 s"]


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="no signals")
def test_time_limit_gives_the_alarm_back():
    import signal

    before = signal.getitimer(signal.ITIMER_REAL)[0]
    handler = signal.getsignal(signal.SIGALRM)
    with clock.time_limit(5):
        pass
    after = signal.getitimer(signal.ITIMER_REAL)[0]
    assert signal.getsignal(signal.SIGALRM) is handler
    assert (before == 0) == (after == 0)
    assert after <= before


def test_students_get_copies_and_views_stay_views():
    seen = {}

    def nosy(x, words, pairs):
        seen["contiguous"] = x.flags.c_contiguous
        x[...] = 0
        words.append("!")
        pairs["a"] = 2
        return x

    x, words, pairs = np.ones((3, 8))[:, ::2], ["a"], {"a": 1}
    fn = StudentFunction("nosy", Here(nosy))
    assert not np.any(fn(x, words, pairs=pairs))
    assert np.all(x == 1) and words == ["a"] and pairs == {"a": 1}
    assert seen["contiguous"] is False
    assert fn.edited == [0, 1, "pairs"]


def test_a_vjp_that_writes_into_the_forward_pass_is_seen():
    def doubled(x):
        def vjp(g):
            x[...] = 2 * g
            return (2 * g,)

        return 2 * x, vjp

    _, vjp = StudentFunction("doubled", Here(doubled))(np.ones(3))
    assert vjp(np.zeros(3))[0].tolist() == [0, 0, 0] and vjp.edited == [FORWARD]
    vjp(np.zeros(3))
    assert vjp.edited == []  # it writes what is there by now


# ---------------------------------------------------------------------------------------------
# Diagnosis
# ---------------------------------------------------------------------------------------------

ARRAY = np.random.default_rng(3).standard_normal((3, 4))


@pytest.mark.parametrize(
    "yours, words",
    [
        (-ARRAY, "the sign is wrong"),
        (ARRAY * 1.5, "every entry is 1.5 times"),
        (ARRAY + 0.25, "every entry is off by +0.25"),
        (0 * ARRAY, "all zeros"),
        (np.where(ARRAY > 1, np.nan, ARRAY), "NaN"),
        (np.where(ARRAY > 1, np.inf, ARRAY), "infinity"),
        (ARRAY[::-1], "axis 0 runs backwards"),
        (np.roll(ARRAY, 1, 1), "axis 1 is shifted by one"),
        (ARRAY.T.reshape(3, 4), "the right numbers in the wrong places"),
        (ARRAY.T, "it is transposed"),
        (ARRAY[None], "only the shape is not"),
        (np.stack([ARRAY / 3, 2 * ARRAY / 3]), "the sum over the leading axes is missing"),
        (ARRAY + 1e-3 * ARRAY**2, None),
    ],
)
def test_patterns(yours, words):
    with pytest.raises(course.CheckFailed) as caught:
        diagnosis.compare(yours, ARRAY, "it")
    mistake = caught.value.mistake
    assert mistake is None if words is None else words in mistake


@pytest.mark.parametrize(
    "yours, expected, words",
    [
        (ARRAY, ARRAY.sum(1, keepdims=True), "the sum over axis 1, of length 1, is missing"),
        (ARRAY[0], np.tile(ARRAY[0], (3, 1)), "not copied to every entry"),
        (np.where(ARRAY > 0, ARRAY, 1), np.maximum(ARRAY, 0), "entries that must be zero are not"),
        (np.maximum(ARRAY, 1), np.maximum(ARRAY, 0), None),
    ],
)
def test_patterns_of_shapes_and_zeros(yours, expected, words):
    with pytest.raises(course.CheckFailed) as caught:
        diagnosis.compare(yours, expected, "it")
    mistake = caught.value.mistake
    assert mistake is None if words is None else words in mistake


def test_long_options_are_told_by_their_shape():
    """A mask of a thousand numbers does not fill the screen; a small one shows its numbers."""
    call = Call(F.scaled_dot_product_attention, None)
    x = np.ones((1, 2, 30, 4))
    words = call.words(course.case(x, x, x, mask=np.ones((30, 30), bool), scale=0.5))
    assert words.endswith("value (1, 2, 30, 4) float64, mask (30, 30) bool, scale = 0.5")
    assert "[1., 2.] float32" in call.words(course.case(np.float32([1, 2])))
    assert len(call.words(course.case(list(range(1000))))) < 250


def test_an_exception_in_a_vjp_tells_the_input(tmp_path):
    code = """
        def sum(x, axis=None, keepdims=False):
            return x.sum(axis, keepdims=keepdims), lambda g: ({}[axis],)
    """
    result = graded(tmp_path, code, "test_sum_vjp", "ch01")
    assert "sum's vjp raised KeyError" in result.message
    assert "input     x (" in result.message


def test_likely_fills_in_what_a_call_cannot_know():
    with pytest.raises(StudentError) as caught, course.likely("too slow"):
        raise StudentError("f raised ValueError")
    assert caught.value.mistake == "too slow"
    with pytest.raises(StudentError) as caught, course.likely("too slow"):
        raise StudentError("f raised ValueError", "its own")
    assert caught.value.mistake == "its own"


def test_worst_entry_and_its_axes():
    yours = ARRAY.copy()
    yours[1, 2] += 0.5
    yours[0, 0] += 0.1
    with pytest.raises(course.CheckFailed, match="time 1, feature 2") as caught:
        diagnosis.compare(yours, ARRAY, "the output", axes="batch time feature")
    assert "wrong     2 of 12 entries" in str(caught.value)


def test_tolerances_are_tight():
    diagnosis.compare(ARRAY * (1 + 5e-7), ARRAY, "it")
    with pytest.raises(course.CheckFailed):
        diagnosis.compare(ARRAY * (1 + 5e-6), ARRAY, "it")
    single = ARRAY.astype(np.float32)
    diagnosis.compare(single * np.float32(1 + 5e-5), single, "it")
    with pytest.raises(course.CheckFailed):
        diagnosis.compare(single * np.float32(1 + 5e-4), single, "it")


def test_check_equal_takes_numpys_numbers_for_pythons():
    course.check_equal([np.int64(3), np.True_], [3, True], "ids")
    course.check_equal({"a": np.int64(1)}, {"a": 1}, "counts")
    with pytest.raises(course.CheckFailed) as caught:
        course.check_equal([2, 1], [1, 2], "ids", mistakes={"they are reversed": [2, 1]})
    assert caught.value.mistake == "they are reversed"


# ---------------------------------------------------------------------------------------------
# Swapping
# ---------------------------------------------------------------------------------------------


def small_model():
    tq.manual_seed(0)
    config = {
        "vocab_size": 19,
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 10,
    }
    return tq.Qwen2ForCausalLM(tq.Qwen2Config(**config)), np.arange(10).reshape(2, 5)


def test_swap_runs_the_model_on_the_students_function_and_puts_it_back(tmp_path):
    code = """
        calls = []

        def swiglu(gate, up):
            calls.append(gate.shape)
            s = 1 / (1 + np.exp(-gate))
            return gate * s * up, lambda g: (g * up * s * (1 + gate * (1 - s)), g * gate * s)

        def silu(x):
            raise NotImplementedError

        def gelu(x):
            def vjp(g):
                raise NotImplementedError
            return x, vjp
    """
    model, ids = small_model()
    before, raw = model(ids, labels=ids).loss.item(), F.swiglu.raw
    with course.swap(student(tmp_path, "ch04", code)) as names:
        assert names == ["swiglu"]
        assert F.swiglu.raw.__globals__["calls"] == []
        swapped = model(ids, labels=ids).loss
        swapped.backward()
        assert F.swiglu.raw.__globals__["calls"] == [(2, 5, 10)]
    assert swapped.item() == pytest.approx(before, rel=1e-6)
    assert F.swiglu.raw is raw


def test_swap_reaches_threads_and_survives_exceptions():
    double = {"silu": lambda x: (2 * x, lambda g: (2 * g,))}
    raw, seen = F.silu.raw, []
    with pytest.raises(KeyError), course.swap(double):
        thread = threading.Thread(target=lambda: seen.append(F.silu(tq.Tensor([1.0])).item()))
        thread.start()
        thread.join()
        raise KeyError
    assert seen == [2.0]
    assert F.silu.raw is raw


def test_swap_replaces_plain_functions_wherever_they_are_looked_up(monkeypatch):
    from tinyqwen.course import swapping

    homes = {"unbroadcast": ops.unbroadcast, "topological_order": tape.topological_order}
    monkeypatch.setattr(swapping, "library", homes.get)
    count = dict.fromkeys(homes, 0)

    def counted(name):
        def function(*args):
            count[name] += 1
            return homes[name](*args)

        return function

    with course.swap({name: counted(name) for name in homes}):
        x = tq.Tensor(np.ones(3), requires_grad=True)
        (x * np.ones((2, 3))).sum().backward()
    assert count["unbroadcast"] > 0 and count["topological_order"] == 1
    assert ops.unbroadcast is homes["unbroadcast"]
    assert tape.topological_order is homes["topological_order"]


def test_swapped_cross_entropy_is_the_loss_of_training_too(monkeypatch):
    from tinyqwen.course import swapping

    monkeypatch.setattr(swapping, "library", lambda name: getattr(F, name))
    calls = []

    def cross_entropy(logits, labels, **options):
        calls.append(logits.shape)
        return reference_loss(logits, labels, **options)

    reference_loss = F.cross_entropy.raw
    hidden, weight = (
        tq.Tensor(np.random.default_rng(0).standard_normal(s), requires_grad=True)
        for s in ((4, 3), (7, 3))
    )
    labels = np.array([1, 2, -100, 6])
    right = tq.grad(F.linear_cross_entropy(hidden, weight, labels), [hidden, weight])
    with course.swap({"cross_entropy": cross_entropy}):
        loss = F.linear_cross_entropy(hidden, weight, labels)
        found = tq.grad(loss, [hidden, weight])
    assert calls == [(4, 7)]
    for a, b in zip(found, right):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_swap_says_what_it_cannot_read(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="no such file or folder"),
        course.swap(tmp_path / "x"),
    ):
        pass
    with (
        pytest.raises(ValueError, match="not valid Python"),
        course.swap(student(tmp_path, "ch04", "def silu(x)\n    return x")),
    ):
        pass
    with pytest.raises(ValueError, match="no chapter assigns"), course.swap(run_pytest):
        pass


# ---------------------------------------------------------------------------------------------
# The whole path, with pytest, and the reports
# ---------------------------------------------------------------------------------------------


def test_stubs_pass_as_to_do_and_the_solution_gets_full_marks(tmp_path, stubs):
    code, text = run_pytest(stubs, of=["ch04", "ch05"])
    assert code == 0 and "0/30" in text and "0/20" in text
    assert re.search(r"^all .* 0/50 .* 32$", text, re.MULTILINE)  # stretch functions aside
    folder = write_solution(tmp_path / "solved", "ch04", "ch05")
    code, text = run_pytest(folder, "--grading-seed", 11, of=["ch04", "ch05"])
    assert code == 0 and "30/30" in text and "20/20" in text


def test_reports_of_a_broken_submission_keep_what_was_earned(tmp_path):
    """The student's gelu ends the process without a word; all before it is in the reports."""
    folder = write_solution(tmp_path / "ada", "ch04")
    file = folder / chapters()["ch04"].file
    file.write_text(file.read_text() + "\ndef gelu(x):\n    import os\n    os._exit(7)\n")
    book = tmp_path / "book.csv"
    book.write_text("student,ch01,total,possible\nbob,3,3,10\nada,1,1,1\n")
    outputs = ["--gradescope", tmp_path / "r.json", "--classroom", tmp_path / "c.txt"]
    code, _ = run_pytest(folder, *outputs, "--gradebook", book, cwd=tmp_path, of=["ch04"])
    assert code == 7
    scope = json.loads((tmp_path / "r.json").read_text())
    assert scope["score"] == sum(t["score"] for t in scope["tests"]) == 16
    assert sum(t["max_score"] for t in scope["tests"]) == 30
    runner_result = json.loads(base64.b64decode((tmp_path / "c.txt").read_text()))
    assert (runner_result["status"], runner_result["max_score"]) == ("fail", 30)
    classroom = json.loads((tmp_path / "result.json").read_text())
    assert (classroom["score"], classroom["max-score"]) == (16, 30)
    rows = list(csv.DictReader(book.open(encoding="utf-8-sig")))
    assert [(r["student"], r["total"], r["ch04"]) for r in rows] == [
        ("bob", "3", ""),
        ("ada", "16", "16"),
    ]
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.slow
def test_with_a_report_failures_are_a_grade_and_not_an_error(tmp_path):
    folder = student(tmp_path, "ch05", "def rms_norm(x, weight, eps=1e-6):\n    return x / 0, None")
    code, text = run_pytest(folder, "-k", "ch05 and rms_norm_value")
    assert code == 1 and "Traceback" not in text
    code, _ = run_pytest(folder, "-k", "ch05 and rms_norm_value", "--gradescope", tmp_path / "r")
    assert code == 0
    code, text = run_pytest(tmp_path / "nobody")
    assert code != 0 and "no such file or folder" in text


def some_results():
    statuses = ["passed", "failed", "todo", "waiting", "error"]
    return [
        runner.Result(f"test_{s}", "ch04", f"silu: {s}", i + 1, "looks", i, s, f"about {s}", "m")
        for i, s in enumerate(statuses)
    ]


@pytest.mark.slow
def test_a_conftest_in_a_submission_does_not_run(tmp_path):
    """pytest would run it in the grader's process, if it took the submission for tests."""
    zipped = zipfile.ZipFile(make_zip(tmp_path / "autograder.zip"))
    assert " --submission=/autograder/submission " in zipped.read("run_autograder").decode()
    mark = tmp_path / "mark"
    (tmp_path / "conftest.py").write_text(f"open({str(mark)!r}, 'w')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "ch03"]
    graders, handed_in = ["tests/assignments"], ["--submission", str(tmp_path), "--isolated"]
    for words in (graders + handed_in, handed_in + graders):
        done = subprocess.run([*command, *words], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and f"scoreboard: {tmp_path}" in done.stdout
        assert not mark.exists()
    course.grade("ch03", tmp_path)
    assert not mark.exists()


@pytest.mark.slow
def test_an_autograder_counts_points_beside_proof_as_a_class_does(tmp_path):
    code = """
        def softmax(x, axis=-1):
            return np.zeros_like(x), lambda g: (np.zeros_like(g),)
    """
    folder, report = student(tmp_path, "ch06", code), tmp_path / "results.json"
    honest = (ROOT / "tests" / "attacks" / "honest.py").read_text(encoding="utf-8")
    (folder / "ch04_swiglu.py").write_text(honest, encoding="utf-8")
    options = ["-k", "softmax or silu", "--isolated", "--gradescope", report]
    run_pytest(folder, *options)
    results = json.loads(report.read_text())
    zeros, right = ([t for t in results["tests"] if key in t["tags"]] for key in ("ch06", "ch04"))
    assert sum(t["score"] for t in zeros) == 0
    assert any("Its points count as soon as" in t["output"] for t in zeros)
    assert results["score"] == sum(t["score"] for t in right) == sum(t["max_score"] for t in right)


def test_gradescopes_format():
    report = reports.gradescope(some_results())
    assert report["score"] == 1 and [t["number"] for t in report["tests"]][:2] == ["4.1", "4.2"]
    assert {t["status"] for t in report["tests"]} == {"passed", "failed"}
    assert all(t["visibility"] == "visible" for t in report["tests"])
    assert "about failed\n  likely    m" in report["tests"][1]["output"]


def test_githubs_and_classroom50s_formats():
    result = reports.github_runner(some_results())
    assert result["version"] == 1 and result["status"] == "error" and result["max_score"] == 15
    keys = ["name", "status", "score", "message", "test_code", "filename", "line_no", "duration"]
    assert all(list(t) == keys for t in result["tests"])
    assert reports.github_runner(some_results()[:1])["status"] == "pass"
    assert reports.github_runner(some_results()[:2])["status"] == "fail"
    environment = {"CLASSROOM": "c", "ASSIGNMENT": "a", "SUBMISSION_TAG": "s", "COMMIT_URL": "u"}
    result = reports.classroom50(some_results(), environment)
    assert result["schema"] == "classroom50/result/v1"
    assert [result[k] for k in ("classroom", "assignment", "submission", "commit")] == list("casu")
    assert type(result["score"]) is int and type(result["max-score"]) is int


def test_gradebook_is_harmless_to_spreadsheets():
    text = reports.gradebook(some_results(), "=HYPERLINK(1)")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {"student": "'=HYPERLINK(1)", "ch04": "1", "total": "1", "possible": "15"}


@pytest.mark.slow
def test_isolated_inputs_are_drawn_and_come_again_with_the_seed(tmp_path):
    """A table of the inputs that are known passes nothing; the seed is printed, and replays."""
    folder = student(tmp_path, "ch04", "def silu(x):\n    return -x, lambda g: (g,)")
    told = []
    for more in ((), (), ("--grading-seed", 5), ("--grading-seed", 5)):
        _, text = run_pytest(folder, "-k", "ch4 and silu_value", "--isolated", *more)
        seed = re.search(r"--grading-seed (\d+)", text)[1]
        told.append((seed, re.findall(r"worst at .*|expected .*", text)))
    assert told[0][0] != told[1][0] and told[0][1] != told[1][1]
    assert told[2] == told[3] and told[2][0] == "5"


@pytest.mark.slow
def test_one_digit_is_a_chapter_and_all_counts_agree(stubs):
    """`-k ch1` is not also chapters 10 to 19; what is for honor is no point, and counted apart."""
    _, text = run_pytest(stubs, "-k", "ch1", of=["ch01", "ch10", "ch11", "ch19"])
    assert "01 Autograd" in text and "10 " not in text.split("scoreboard")[1].split("deselected")[0]
    to_do, honor = re.search(r"(\d+) to do, (\d+) for honor in", text).groups()
    graders = runner.graders_of(chapter("ch01"))
    assert int(to_do) == sum(test.points.number > 0 for test in graders)
    assert int(to_do) + int(honor) == len(graders)
    assert re.search(rf"01 Autograd +0/\d+ .* {to_do}$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "code, names",
    [
        ("import numpy as np, math, os.path\nimport matplotlib.pyplot as plt", []),
        ("import scipy.special\nfrom torch import nn", ["scipy", "torch"]),
        ("def f():\n    import pandas.io as io\n    from . import mine", ["pandas"]),
        ("from tinyqwen.course import reference", ["tinyqwen.course"]),
        ("from tinyqwen.text import bpe", []),
    ],
)
def test_what_a_class_does_not_have_is_told_at_home(code, names):
    assert registry.absent_in_class(code, "import numpy\nfrom tinyqwen.text import bpe") == names


@pytest.mark.slow
def test_ones_own_run_warns_of_what_a_class_does_not_have(tmp_path):
    """The same file loads here, and not there."""
    (tmp_path / "scipy.py").write_text("")
    code = "import sys\nsys.path.insert(0, {!r})\nimport scipy\ndef rms_norm(x): return x, None\n"
    (tmp_path / chapters()["ch05"].file).write_text(code.format(str(tmp_path)))
    _, text = run_pytest(tmp_path, of=["ch05"])
    assert "ch05_normalization.py: not there when a class is graded: scipy" in text


def test_nothing_is_scored_where_nothing_is_run():
    folder = ROOT / "chapters" / "assignments"
    _, text = run_pytest(folder, "-k", "ch4", "--collect-only", of=["ch04", "ch05", "ch14"])
    assert "test_silu_value" in text and "scoreboard" not in text
    assert "test_linear_value" in text and "test_rms_norm_value" not in text


def test_a_file_that_does_not_load_is_told_once(tmp_path):
    submission = submitted(chapter("ch04"), student(tmp_path, "ch04", "def silu(x)\n    pass"))
    tests = graders_of(chapter("ch04"))
    texts = [runner.run(t, submission, runner.result_of(t, "ch04")).text for t in tests]
    assert "line 4: expected ':'" in texts[0]
    assert set(texts[1:]) == {"not run: the file does not load, as told above"}


def test_an_example_takes_a_print_and_a_whole_number(tmp_path):
    code = """
        def silu(x):
            print("here", x)
            s = 0.5 + 0.5 * np.tanh(0.5 * x)
            return x * s, lambda g: print(g) or (g * s * (1 + x * (1 - s)),)
    """
    assert graded(tmp_path, code, "test_silu_example").status == "passed"
    (one,) = (c for c in chapters().values() if "flops_per_token" in c.assigned)
    (test,) = (t for t in graders_of(one) if t.__name__ == "test_flops_per_token_example")
    right = reference("flops_per_token")
    for more, status in ((0.0, "passed"), (0.5, "failed")):

        def flops(*args, more=more, **options):
            return {part: count + more for part, count in right(*args, **options).items()}

        submission = solution(one, flops_per_token=flops)
        assert runner.run(test, submission, runner.result_of(test, one.key)).status == status


@pytest.mark.parametrize(
    "wanted, got, same",
    [
        ("array([1, 2])", "array([1, 2], dtype=int32)", True),
        ("array([1., 2.])", "array([1., 2.], dtype=float32)", False),
        ("90000.0", "90000.00000000013", True),
        ("90000.0", "90000.0001", False),
        ("array([0.25, 1.  ])", "array([0.25, 1.  , 1.  ])", False),
        ("[3, 4]", "(3, 4)", False),
    ],
)
def test_what_an_example_takes_for_the_same(wanted, got, same):
    options = doctest.NORMALIZE_WHITESPACE
    assert examples._PlainNumbers().check_output(f"{wanted}\n", f"{got}\n", options) == same


def test_a_function_that_keeps_two_tests_waiting_is_not_called_again(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "time_limit", lambda seconds, grace: clock.time_limit(0.1))
    code = "def silu(x):\n    while True:\n        pass\ndef gelu(x):\n    return x"
    submission = submitted(chapter("ch04"), student(tmp_path, "ch04", code))
    texts = {}
    for test in graders_of(chapter("ch04")):
        result = runner.run(test, submission, runner.result_of(test, "ch04"))
        texts[test.__name__] = result.text
    silu = [text for name, text in texts.items() if "silu" in name]
    assert sum("still running" in text for text in silu) == 2
    assert sum("has run into the time limit of 2 tests" in text for text in silu) == len(silu) - 2
    assert "gelu" in texts["test_gelu_value"]


def test_an_autograder_of_some_chapters_runs_those(tmp_path):
    path = make_zip(tmp_path / "autograder.zip", ["ch04", 5])
    with zipfile.ZipFile(path) as archive:
        run = archive.read("run_autograder").decode()
        entries = archive.infolist()
    words = "test_ch04_swiglu.py tests/assignments/test_ch05_normalization.py -q"
    assert words in run and "{graders}" not in run
    assert "--isolated" in run and '--grading-seed "$(od ' in run and "/dev/urandom" in run
    modes = {entry.filename: entry.external_attr >> 16 for entry in entries}
    assert modes["setup.sh"] == modes["run_autograder"] == 0o755
    assert modes["tinyqwen/nn.py"] == 0o644 and "setup.cfg" in modes
    assert {name.split("/")[1] for name in modes if name.startswith("data/")} == {"faulty_models"}
    assert not any("__pycache__" in name for name in modes)
    assert {entry.date_time[0] for entry in entries} == {2020}  # the same files, the same zip
    with zipfile.ZipFile(make_zip(path)) as archive:
        assert "pytest tests/assignments -q" in archive.read("run_autograder").decode()


@pytest.mark.slow
def test_gradescopes_zip_grades_on_its_own(tmp_path):
    path = make_zip(tmp_path / "autograder.zip")
    with zipfile.ZipFile(path) as archive:
        assert {"setup.sh", "run_autograder"} <= set(archive.namelist())
        for name in ("setup.sh", "run_autograder"):
            mode = archive.getinfo(name).external_attr >> 16
            assert mode & stat.S_IXUSR and archive.read(name).startswith(b"#!/usr/bin/env bash")
        archive.extractall(tmp_path / "source")
    root = tmp_path / "source"
    folder = write_solution(tmp_path / "ada", "ch05")
    output = tmp_path / "results.json"
    code, text = run_pytest(folder, "-k", "ch05", "--gradescope", output, cwd=root, root=root)
    assert code == 0, text
    assert json.loads(output.read_text())["score"] == 20


@pytest.mark.slow
def test_notebooks_table(tmp_path):
    code = "def rms_norm(x, weight, eps=1e-6):\n    return weight * x, lambda g: (g * weight, g)"
    grade = course.grade("ch05", student(tmp_path, "ch05", code))
    assert grade.earned < grade.possible == 20
    page = grade._repr_html_()
    assert "0/2" in page and "rms_norm: value" in page and "likely" in page
    with pytest.raises(ValueError, match="no assignment 'ch99'"):
        course.grade("ch99")


@pytest.mark.slow
def test_notebooks_errors_have_no_colors_in_them(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter's kernel does
    with pytest.raises(RuntimeError, match="no such file or folder") as error:
        course.grade("ch05", tmp_path / "nobody")
    assert "\x1b" not in str(error.value)


def test_reference_and_solution_are_the_library():
    assert reference("silu") is F.silu.raw
    out, _ = solution(chapter("ch04")).silu(np.array([0.0, 1.0]))
    np.testing.assert_allclose(out, [0, 0.7310585786300049], rtol=1e-12)
    assert GRADERS.is_dir()
