"""One grader on one submission: its numbers, its time, its words; and what a teacher looks at."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinyqwen import course
from tinyqwen import functional as F
from tinyqwen.course import runner, submission, swapping
from tinyqwen.course.calls import ToDo
from tinyqwen.course.classroom.pages import to_look_at, unbound
from tinyqwen.course.classroom.submissions import Student
from tinyqwen.course.isolation import wire
from tinyqwen.course.registry import (
    chapter,
    chapters,
    functions_in,
    is_stub,
    is_written,
    library,
    names_in,
    reference,
)
from tinyqwen.course.runner import Result, points, result_of, rng, run
from tinyqwen.course.submission import Submission, find_file, write_solution

NOTHING = Submission({})


def grader(name, body, seconds=5):
    """A grader of that name."""

    def test(submission):
        """a sign"""
        return body()

    test.__name__ = name
    return points(3, f"{name}: value", seconds)(test)


def outcome(body, name="test_a", **options):
    test = grader(name, body)
    return run(test, NOTHING, result_of(test, "ch04"), **options)


def test_every_test_has_numbers_of_its_own_and_they_come_again():
    drawn = {}
    for name, seed in (("test_a", 1), ("test_b", 1), ("test_a", 2), ("test_a", 0)):
        values = [[] for _ in range(2)]
        for kept in values:
            outcome(lambda kept=kept: kept.append(rng().random()), name, seed=seed)
        assert values[0] == values[1]
        drawn[name, seed] = values[0][0]
    assert len(set(drawn.values())) == 4
    default = []
    outcome(lambda: default.append(rng().random()))
    assert default == [drawn["test_a", 0]]


@pytest.mark.parametrize("declared, most, seconds", [(5, float("inf"), 5), (5, 2, 2), (1, 2, 1)])
def test_a_test_has_the_time_that_it_declares_and_no_more_than_the_most(
    declared, most, seconds, monkeypatch
):
    given = []
    monkeypatch.setattr(runner, "time_limit", lambda s, grace: given.append(s) or nullcontext())
    test = grader("test_a", lambda: None, declared)
    result = run(test, NOTHING, result_of(test, "ch04"), most=most)
    assert given == [seconds] and (result.status, result.earned) == ("passed", 3)


def test_what_became_of_it_in_words():
    def fails(error):
        def body():
            raise error

        return outcome(body)

    assert fails(AssertionError()).message == "test_a: value: not so"
    assert fails(AssertionError("seven")).message == "seven"
    assert (fails(ToDo("silu")).status, fails(ToDo("silu")).earned) == ("todo", 0)
    shown = fails(course.CheckFailed("no", "a sign", (1, 2, "axes")))
    assert (shown.status, shown.text) == ("failed", "no\n  likely    a sign")
    assert shown.picture == (1, 2, "axes") and not shown.unreadable
    broken = fails(KeyError("x"))  # and broken on the right answer, too
    assert broken.status == "error" and "The grader itself broke" in broken.message
    assert broken.earned == 0 and broken.looks_for == "a sign" and broken.possible == 3
    assert rng().random() == np.random.default_rng(0).random()  # none is left behind


def test_a_link_that_leads_out_of_a_submission_is_nobodys(tmp_path):
    one, folder = chapter("ch04"), tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "other.py").write_text("")
    (folder / one.file).symlink_to(tmp_path / "other.py")
    assert find_file(one, folder) is None
    (folder / one.file).unlink()
    (folder / "ch04_mine.py").write_text("")
    (folder / "Ch04 (1).py").write_text("")
    assert find_file(one, folder) == (folder / "Ch04 (1).py").resolve()
    (folder / one.file).write_text("")
    assert find_file(one, folder) == (folder / one.file).resolve()  # the stub's own name wins
    assert find_file(chapter("ch05"), folder) is None


@pytest.mark.parametrize("name", ["CH04_eve.PY", "ch04.Py", "zach03_ch04.py", "chapter 4.py"])
def test_a_file_names_its_chapter_however_it_is_spelled(tmp_path, monkeypatch, name):
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / name
    file.write_text("")
    (tmp_path / "in" / "ch04_notes.txt").write_text("")
    (tmp_path / "in" / "ch05.py").mkdir()  # a folder is no file
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "in", Path("in"), file, Path("in") / name):
        assert find_file(chapter("ch04"), path) == file.resolve()
        assert find_file(chapter("ch05"), path) is None
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_file(chapter("ch04"), "nowhere")


def test_a_solution_hands_on_all_that_it_is_called_with(tmp_path):
    folder = write_solution(tmp_path / "solved", "ch06")
    made = submission.load_module(folder / chapter("ch06").file)
    x = np.random.default_rng(0).standard_normal((2, 1, 3, 4))
    for name in ("softmax", "scaled_dot_product_attention"):
        assert hasattr(made, name)
    out, _ = made.scaled_dot_product_attention(*[x] * 3, causal=True)
    right, _ = reference("scaled_dot_product_attention")(*[x] * 3, causal=True)
    np.testing.assert_array_equal(out, right)
    np.testing.assert_allclose(out[:, :, 0], x[:, :, 0])  # the first sees itself alone


# ---------------------------------------------------------------------------------------------
# What a teacher looks at
# ---------------------------------------------------------------------------------------------


def results(*statuses, **more):
    return [Result(f"test_{i}", "ch04", "t", 1, status=s, **more) for i, s in enumerate(statuses)]


def looked_at(*groups, notes=(), trouble=()):
    student = Student("ada", "ada", Path(), notes=list(notes), trouble=list(trouble))
    student.results = dict(zip(("ch04", "ch05"), groups))
    return to_look_at(student)


def test_what_is_said_of_a_student():
    assert looked_at(results("passed", "todo")) == []
    (note,) = looked_at(results("todo", "todo"))
    assert note.startswith("everything is to do: there is no Python file")
    assert looked_at(results("todo"), notes=["a"], trouble=["b"]) == ["a", "b"]
    assert looked_at(results("error", "passed"), results("error")) == ["a grader broke in 2 tests"]
    assert looked_at(results("waiting", "waiting")) == ["2 tests were not reached"]
    broken = results("failed", message="f.py is not Python:\n  line 2: why\n  x", unreadable=True)
    assert looked_at(broken) == ["ch04: f.py is not Python"]
    assert looked_at(results("failed", message="wrong")) == []


def test_a_sentence_for_an_exceptions_name_is_not_shown_to_the_teacher(tmp_path):
    """What Python calls its own exceptions is, and every student reads all of it."""

    def lines(kind):
        frames = [(3, "<module>", "raise it")]
        failure = {"kind": kind, "message": "all of it", "frames": frames}
        return str(submission._unreadable(tmp_path / "ch04_swiglu.py", failure)).splitlines()

    told = "ch04_swiglu.py, line 3: ValueError while the file was read:"
    assert lines("ValueError") == [told, "  all of it"]
    first, *more = lines("Dear_teacher_thirty_points")
    assert first == told.replace("ValueError", "an exception of its own")
    assert more == ["  Dear_teacher_thirty_points: all of it"]


def test_what_is_not_enforced():
    assert unbound({}) == [] and unbound({"landlock": "yes", "seccomp": "yes: all"})[:1] != ["no"]
    sentences = [
        s for s in unbound({"landlock": "no: old kernel", "seccomp": "yes"}) if "mac" not in s
    ]
    assert len(sentences) == 1 and "Landlock is missing" in sentences[0]


# ---------------------------------------------------------------------------------------------
# Swapping
# ---------------------------------------------------------------------------------------------


def test_the_fused_loss_is_made_of_both_that_a_student_wrote():
    calls = []

    def counted(name):
        original = library(name).raw

        def function(*args, **options):
            calls.append(name)
            return original(*args, **options)

        return function

    hidden, weight, labels = np.ones((2, 3)), np.arange(12.0).reshape(4, 3), np.array([1, 2])
    alone = float(F.linear_cross_entropy(hidden, weight, labels))
    with swapping.swap({name: counted(name) for name in ("linear", "cross_entropy")}) as names:
        assert float(F.linear_cross_entropy(hidden, weight, labels)) == pytest.approx(alone)
    assert calls == names == ["linear", "cross_entropy"]


def test_a_function_that_is_not_written_swaps_nothing():
    def silu(x):
        raise NotImplementedError

    assert swapping.written_functions(silu) == {}
    with swapping.swap(silu) as names:
        assert names == []

    def gelu(x):
        if x is None:
            raise NotImplementedError
        return x, None

    assert swapping.written_functions(gelu) == {}
    assert list(swapping.written_functions(lambda_of())) == ["silu"]


def lambda_of():
    def silu(x):
        return x, lambda g: (g,)

    return silu


def test_a_grader_stumbles_at_its_own_innermost_line():
    """Not where it was called, and not inside of a library."""

    def largest(values):
        return np.max(values)

    def test_silu(submission):
        largest(submission)

    with pytest.raises(TypeError) as error:
        test_silu([None, 1])
    told = runner._stumble(test_silu, SimpleNamespace(title="silu"), error.value)
    assert told.startswith("silu: the test cannot go on with what came back (TypeError: ")
    assert told.endswith("\n  in the test  return np.max(values)")


def test_what_is_asked_for_honor_is_not_required():
    stretched = [one for one in chapters().values() if one.stretch]
    assert stretched
    for one in chapters().values():
        assert set(one.required) | set(one.stretch) == set(one.assigned)
        assert not set(one.required) & set(one.stretch) and one.required
        assert one.key == f"ch{one.number:02d}" and one.file.startswith(one.key)


@pytest.mark.parametrize("body, stub, written", [
    ('"""What it does."""\n    raise NotImplementedError', True, False),
    ("raise NotImplementedError()", True, False),
    ("s = x\n    raise NotImplementedError", False, False),  # begun: its error has a line
    ("if x:\n        raise NotImplementedError\n    return x", False, False),
    ("return x", False, True),
    ("raise ValueError", False, True),
])  # fmt: skip
def test_what_is_to_do_and_what_is_begun(body, stub, written):
    (tree,) = functions_in(f"def silu(x):\n    {body}\n").values()
    assert (is_stub(tree), is_written(tree)) == (stub, written)


def test_names_that_a_file_defines():
    source = (
        "import a.b, c as d\nfrom e import f as g\nh, (i, *j) = 1, (2, 3)\nk: int\nl: int = 1\n"
    )
    assert set(names_in(source + "def m(): pass\nclass n: pass\n")) == {
        *("a.b", "d", "g", "h", "i", "j", "l", "m", "n"),
    }  # fmt: skip


@pytest.mark.parametrize("kind, loaded", [
    ("Lost", False), ("TimeLimit", False), ("SyntaxError", True), ("MemoryError", True),
])  # fmt: skip
def test_what_may_be_the_machines_doing_is_told_apart(kind, loaded, tmp_path, monkeypatch):
    """A file that did not load for want of time or memory is tried again, no other."""

    def lost(*given, **settings):
        raise wire.Raised({"kind": kind, "message": "why", "frames": [], "syntax": None})

    monkeypatch.setattr(submission, "Worker", lost)
    one = submission.InWorker(chapter("ch04"), tmp_path / "f.py", ["silu"], library={})
    assert one.loaded == loaded
    with pytest.raises(submission.Unreadable, match=r"f\.py"):
        one.silu  # noqa: B018


def test_a_worker_that_does_not_come_back_is_told(tmp_path, monkeypatch):
    """A file that was read once and not again is not one in which nothing is written."""

    class Once:
        begun = 0

        def __init__(self, file, names, **settings):
            Once.begun += 1
            if Once.begun > 1:
                raise wire.Raised({"kind": "Lost", "message": "", "frames": [], "syntax": None})
            self.alive, self.fences, self.functions = True, {}, {"silu": F.silu.raw}

    monkeypatch.setattr(submission, "Worker", Once)
    one = submission.InWorker(chapter("ch04"), tmp_path / "f.py", ["silu", "gelu"], library={})
    assert callable(one.silu) and (one.restarts, one.loaded) == (0, True)
    with pytest.raises(ToDo):
        one.gelu  # noqa: B018
    one._worker.alive, one._worker.functions = False, {}
    with pytest.raises(submission.Unreadable, match=r"f\.py"):
        one.silu  # noqa: B018
    assert (one.restarts, one.loaded) == (1, False)
