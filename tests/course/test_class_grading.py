"""Workers, the wire between them and the graders, and the grading of a class."""

import contextlib
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyqwen import cli, grade
from tinyqwen.course import clock
from tinyqwen.course.authoring import shortcuts
from tinyqwen.course.authoring.mutants import mutants_of
from tinyqwen.course.calls import Here, StudentFunction
from tinyqwen.course.classroom import grading
from tinyqwen.course.isolation import inside, outside, serving, wire
from tinyqwen.course.isolation.copies import FORWARD
from tinyqwen.course.isolation.outside import Remote, Worker, available
from tinyqwen.course.registry import ROOT, chapter, chapters
from tinyqwen.course.runner import Result, graders_of, result_of, run
from tinyqwen.course.submission import InWorker, Named, Submission, submitted, write_solution

pytestmark = pytest.mark.skipif(not available(), reason="no worker processes on this platform")

HONEST = Path(__file__).parents[1] / "attacks" / "honest.py"
FILE = "ch04_swiglu.py"

# ---------------------------------------------------------------------------------------------
# The wire
# ---------------------------------------------------------------------------------------------


class Loop:
    """A pipe from a peer to itself."""

    def __init__(self):
        self.data = b""
        self.peer = wire.Peer(self.read, self.write)

    def read(self, size):
        part, self.data = self.data[:size], self.data[size:]
        if len(part) < size:
            raise EOFError
        return part

    def write(self, data):
        self.data += data

    def there(self, value):
        self.peer.send("returned", 1, value)
        return self.peer.receive()[2]


def alike(a, b):
    if isinstance(a, np.ndarray):
        same = type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
        return same and a.tobytes() == b.tobytes() and a.flags.c_contiguous == b.flags.c_contiguous
    if type(a) in (tuple, list):
        return type(a) is type(b) and len(a) == len(b) and all(map(alike, a, b))
    if type(a) is dict:
        return list(a) == list(b) and all(alike(a[k], b[k]) for k in a)
    return type(a) is type(b) and (a == b or a != a)


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    SIMPLE | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner, max_size=4)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_values_cross_unchanged(value):
    assert alike(Loop().there(value), value)


@pytest.mark.parametrize("dtype", sorted(wire.DTYPES))
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 0, 3)])
def test_arrays_cross_with_their_layout(dtype, shape):
    array = np.asarray(10 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    every_other = (..., *(slice(None, None, 2) for _ in shape))
    view = np.zeros(tuple(2 * n for n in shape), dtype)[every_other]
    view[...] = array
    for one in (array, array.T, view, array.astype(array.dtype.newbyteorder(">"))):
        there = Loop().there(one)
        assert there.dtype == dtype and there.shape == one.shape and there.flags.writeable
        assert there.tobytes() == one.astype(dtype).tobytes()
        assert there.flags.c_contiguous == one.flags.c_contiguous
    if not shape:
        assert alike(Loop().there(array[()]), array[()])


@pytest.mark.parametrize(
    "value", [..., slice(1, None, -2), range(3, 9, 2), np.dtype("float32"), np.float64, int]
)
def test_odds_and_ends_cross(value):
    assert Loop().there(value) == value


def test_what_cannot_cross_is_said():
    nested = []
    for _ in range(100):
        nested = [nested]
    for value in (
        nested,
        np.zeros(wire.MAX_PAYLOAD + 1, np.int8),
        10**10_000,
        ["x" * 100] * 50_000,
    ):
        with pytest.raises(wire.WireError):
            Loop().there(value)
    thing = Loop().there(object())
    assert type(thing).__name__ == "object" and not callable(thing)
    assert Loop().there(np.array([{}], object)).dtype == object
    assert callable(Loop().there(print))


def framed(header, payload=b""):
    return wire.LENGTHS.pack(len(header), len(payload)) + header + payload


def tree(value, payload=b"", dropped=()):
    return framed(json.dumps(["returned", 1, value, list(dropped)]).encode(), payload)


@pytest.mark.parametrize(
    "data",
    [
        framed(b""),
        framed(b"\xff\xfe"),
        framed(b"[" * 100_000),
        framed(b'{"a": 1}'),
        framed(b'["returned", 1]'),
        framed(b'["nothing", 1, 2, []]'),
        framed(b'["returned", 1, 2, 3]'),
        framed(b'["returned", 1, ' + b"9" * 10_000 + b", []]"),
        wire.LENGTHS.pack(2**32 - 1, 0),
        wire.LENGTHS.pack(2, 2**32 - 1),
        tree({"a": 1}),
        tree([]),
        tree([[]]),
        tree(["q", 1]),
        tree(["a", "float64", [3], False]),
        tree(["a", "float64", [-3], False], bytes(24)),
        tree(["a", "float64", [1.5], False], bytes(24)),
        tree(["a", "object", [1], False], bytes(8)),
        tree(["a", "float64", [0, 10**12], False]),
        tree(["a", "float64", [10**6, 10**6, 10**6], False]),
        tree(["a", "int8", [1] * 40, False], b"1"),
        tree(["a", ["float64"], [1], False], bytes(8)),
        tree(["o", [10**9]]),
        tree(["b", -1]),
        tree(["b", True], b"1"),
        tree(["d", [["l"]], [1]]),
        tree(["d", [1, 2], [1]]),
        tree(["s", ["l"]]),
        tree(["c", "x", 1]),
        tree(["range", 0, 10, 0]),
        tree(["range", "a", "b", "c"]),
        tree(["range", 0, 10**9, 1]),
        tree(["range", 0, 10**30, 1]),
        tree(["type", "object"]),
        tree(["m", ["l"], "append"]),
        tree(["m", "text", "get"]),
        tree(["r", 12345]),
        tree(["x", -1, True, "f"]),
        tree(["x", 1, True, None]),
    ],
)
def test_hostile_messages_are_refused(data):
    loop = Loop()
    loop.data = data
    try:
        loop.peer.receive()
    except wire.WireError:
        return
    assert data == tree(["x", 1, True, None])  # a name that is none is printed as it is


@settings(max_examples=300)
@given(st.data())
def test_any_bytes_are_a_message_or_refused(data):
    loop = Loop()
    loop.peer.send("returned", 1, (np.ones((2, 3)), {"a": [1, "b"]}, len, 2.5))
    message = bytearray(loop.data)
    for _ in range(data.draw(st.integers(1, 6))):
        message[data.draw(st.integers(8, len(message) - 1))] = data.draw(st.integers(0, 255))
    loop.data = bytes(message)
    with contextlib.suppress(wire.WireError):
        loop.peer.receive()


@pytest.mark.parametrize("tag", ["s", "d"])
def test_numbers_of_one_hash_do_not_outlast_the_time_limit(tag):
    """Each is compared with all before it: in a single call into C, no alarm would ring."""
    numbers = [i * sys.hash_info.modulus for i in range(60_000)]
    message = ["s", *numbers] if tag == "s" else ["d", numbers, numbers]
    began = time.monotonic()
    with pytest.raises(clock.TimeLimit), clock.time_limit(0.3):
        wire._Decoder(None, b"").decode(message, 0)
    assert time.monotonic() - began < 5


def test_bytes_of_a_boolean_are_true_or_false():
    loop = Loop()
    loop.data = tree(["a", "bool", [3], False], b"\x00\x02\xff")
    assert loop.peer.receive()[2].tobytes() == b"\x00\x01\x01"


# ---------------------------------------------------------------------------------------------
# Workers
# ---------------------------------------------------------------------------------------------


def written(folder, code, name=FILE):
    path = Path(folder) / name
    path.write_text("import numpy as np\n\n" + textwrap.dedent(code), encoding="utf-8")
    return path


def test_a_worker_answers_and_tells_what_was_edited(tmp_path):
    code = """
        def double(x, *, factor=2):
            return x * factor, lambda g: (g * factor,)

        def careless(x):
            return x * 1, lambda g: (x.__iadd__(1),)

        def nosy(x, y, words, pairs):
            x[0] = 7
            words.append("!")
            return x.flags.c_contiguous, y.flags.c_contiguous
    """
    with Worker(written(tmp_path, code), ["double", "careless", "nosy", "missing"]) as worker:
        assert os.getsid(worker._process.pid) == worker._process.pid  # no terminal reaches it
        assert set(worker.functions) == {"double", "careless", "nosy"}
        x = np.arange(3.0)
        (out, vjp), edited, views = worker.functions["double"].run((x,), {"factor": 3}, 5)
        assert out.tolist() == [0, 3, 6] and edited == views == []
        assert isinstance(vjp, Remote) and vjp(x)[0].tolist() == [0, 3, 6]
        y = np.ones((4, 6))[:, ::2]
        flags, edited, _ = worker.functions["nosy"].run((x, y), {"words": [], "pairs": {}}, 5)
        assert flags == (True, False) and edited == [0, "words"]
        assert x.tolist() == [0, 1, 2]
        assert worker.functions["double"].run_many([(1,), (2,)], {}, 5) == [2, 4]
        _, vjp = worker.functions["careless"].run((x,), {}, 5)[0]
        assert worker.run(vjp._number, (x,), {}, 5)[1] == [FORWARD]


def test_a_worker_counts_the_pages_that_a_call_goes_through(tmp_path):
    code = """
        def one(room, place):
            room[place] = 1

        def all_of_it(room, place):
            room *= 1
    """
    with Worker(written(tmp_path, code), ["one", "all_of_it"]) as worker:
        used = {n: f.pages([(1 << 16,)], (5,), 5) for n, f in worker.functions.items()}
    assert used["one"] < 8 and used["all_of_it"] > 100  # of 128


def test_a_worker_tells_of_views_and_of_arrays_used_again(tmp_path):
    """What crosses is a copy, and yet who keeps what a callback was given sees it change."""
    code = """
        def first(x, y):
            return x[:1], y + 1

        def count(emit):
            tokens = np.zeros(2)
            for n in (1, 2):
                tokens[:] = n
                emit(tokens)
    """
    with Worker(written(tmp_path, code), ["first", "count"]) as worker:
        assert worker.functions["first"].run((np.zeros(3), np.zeros(3)), {}, 5)[2] == [0]
        kept = []
        worker.functions["count"].run((kept.append,), {}, 5)
        assert [tokens.tolist() for tokens in kept] == [[2, 2], [2, 2]]


def test_functions_of_the_graders_can_be_called_from_a_worker(tmp_path):
    code = """
        def twice(step, x):
            return step(step(x))

        def caught(step):
            try:
                return step(None)
            except ValueError as error:
                return str(error)
    """
    calls = []

    def step(x):
        calls.append(x)
        if x is None:
            raise ValueError("nothing to step from")
        return x + 1

    with Worker(written(tmp_path, code), ["twice", "caught"]) as worker:
        assert worker.functions["twice"].run((step, np.ones(2)), {}, 5)[0].tolist() == [3, 3]
        assert len(calls) == 2
        assert worker.functions["caught"].run((step,), {}, 5)[0] == "nothing to step from"
        graph = {n: n + 1 for n in range(20_000)}  # crosses as data: no call comes back
        assert worker.functions["twice"].run((graph.get, 3), {}, 5)[0] == 5


def test_calls_of_the_graders_functions_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("tinyqwen.course.isolation.outside.CALLBACKS", 50)
    code = """
        def again(step):
            while True:
                step()
    """
    worker = Worker(written(tmp_path, code), ["again"])
    with worker, pytest.raises(wire.Raised) as caught:
        worker.functions["again"].run((lambda: 0,), {}, 5)
    assert "calls without end" in caught.value.failure["message"]


def test_vjps_are_forgotten_when_the_grader_has(tmp_path):
    code = """
        import weakref

        known = weakref.WeakSet()

        def f(x):
            vjp = lambda g: (g,)
            known.add(vjp)
            return x, vjp

        def living():
            return len(known)
    """
    with Worker(written(tmp_path, code), ["f", "living"]) as worker:
        for _ in range(50):
            worker.functions["f"].run((1.0,), {}, 5)
        assert worker.functions["living"].run((), {}, 5)[0] <= 2


def test_a_submission_in_a_worker_outlives_its_workers(tmp_path):
    code = """
        import os
        calls = []

        def silu(x):
            calls.append(1)
            if x.ndim == 2:
                os._exit(0)
            return x * len(calls), None
    """
    submission = submitted(chapter("ch04"), written(tmp_path, code), isolated=True)
    try:
        assert isinstance(submission, InWorker) and "landlock" in submission.fences
        assert submission.silu(np.ones(1))[0] == 1 and submission.silu(np.ones(1))[0] == 2
        with pytest.raises(Exception, match="ended the whole process"):
            submission.silu(np.ones((1, 1)))
        assert submission.silu(np.ones(1))[0] == 1
        assert submission.restarts == 1
    finally:
        submission.close()


def graded(path, key="ch04", most=2.0, **settings):
    """{test: Result} of a chapter, its file in a worker, no test longer than most seconds."""
    submission = submitted(chapter(key), path, isolated=True, **settings)
    try:
        tests = graders_of(chapter(key))
        return {t.__name__: run(t, submission, result_of(t, key), most=most) for t in tests}
    finally:
        submission.close()


@pytest.mark.slow
def test_a_machine_that_stands_still_costs_no_points(tmp_path):
    path = written(tmp_path, HONEST.read_text())
    submission = submitted(chapter("ch04"), path, isolated=True)
    (test,) = (t for t in graders_of(chapter("ch04")) if t.__name__ == "test_silu_value")
    (worker,) = inside.descendants(submission._worker._process.pid)
    os.kill(worker, signal.SIGSTOP)
    on = threading.Timer(2.5, os.kill, (worker, signal.SIGCONT))
    on.start()
    try:
        assert run(test, submission, result_of(test, "ch04"), most=1.0).status == "passed"
    finally:
        on.join()
        submission.close()


@pytest.mark.slow
def test_a_worker_tells_how_long_it_worked(tmp_path):
    code = """
        import time

        def wait(seconds):
            time.sleep(seconds)

        def work(seconds):
            until = time.process_time() + seconds
            while time.process_time() < until:
                pass
    """
    with Worker(written(tmp_path, code), ["wait", "work"]) as worker, clock.time_limit(10):
        worker.functions["wait"].run((1.0,), {}, 5)
        assert clock.left() > 9.5
        worker.functions["work"].run((0.5,), {}, 5)
        assert 8.9 < clock.left() < 9.5
    for name in ("wait", "work"):
        with (
            Worker(written(tmp_path, code), [name]) as worker,
            pytest.raises(wire.Raised) as caught,
        ):
            worker.functions[name].run((9,), {}, 0.3)
        assert caught.value.failure["kind"] == "TimeLimit"


def test_a_limit_that_ends_while_an_exception_is_told_stops_no_worker(tmp_path):
    class Slow(Exception):
        def __str__(self):
            time.sleep(0.5)
            return "slow"

    def silu():
        raise Slow

    server, ring = serving.Server(0, 1, str(tmp_path), {}), signal.getsignal(signal.SIGALRM)
    try:
        kind, failure = server.run(silu, (), {}, 0.05)  # four times that, for who only waits
    finally:
        signal.signal(signal.SIGALRM, ring)
    assert (kind, failure["kind"], failure["message"]) == ("raised", "Slow", "slow")


@pytest.mark.slow
def test_broken_code_is_told_as_it_is_in_this_process(tmp_path):
    code = """
        def silu(x):
            return x @ x.T @ x[0], None

        def gelu(x):
            raise NotImplementedError("later")

        def swiglu(gate, up):
            gate.shape = 3
            return gate.nothing

        def linear(x, weight, bias=None):
            i = 0
            while True:
                i += 1
    """
    path = written(tmp_path, code)
    there = graded(path)
    submission = submitted(chapter("ch04"), path)
    for test in graders_of(chapter("ch04")):
        here = run(test, submission, result_of(test, "ch04"), most=0.5)
        far = there[test.__name__]
        assert far.status == here.status, test.__name__
        assert far.text.replace("2 s", "0.5 s") == here.text


@pytest.mark.parametrize(
    "code, words",
    [
        ("def silu(x)\n    return x", "line 3: expected ':'"),
        ("1 / 0\ndef silu(x):\n    return x", "line 3: ZeroDivisionError while the file was read"),
        ("import scipy\ndef silu(x):\n    return x", "No module named 'scipy'"),
        (
            "import tinyqwen as tq\ndef silu(x):\n    return tq.functional.silu.raw(x)",
            "may not be used in this assignment",
        ),
        ("def silu(x):\n    input()", "input() waits for somebody who types"),
        ("def silu(x):\n    return np.ones(1 << 30)", "MemoryError"),
        ("def silu(x):\n    return [np.ones(1 << 22) for _ in range(4)]", "cannot be handed in"),
        ("def silu(x):\n    open('notes', 'w')", "PermissionError"),
    ],
)
def test_what_cannot_be_done_in_a_worker_is_explained(tmp_path, code, words):
    results = graded(written(tmp_path, code))
    assert {r.status for name, r in results.items() if "silu" in name} == {"failed"}
    assert any(words in r.text for r in results.values())


def test_what_is_harmless_costs_nothing_in_a_worker(tmp_path):
    """Pictures, the library at home, prints, callables of other kinds: as in the student's run."""
    code = """
        import matplotlib.pyplot as plt, tinyqwen as tq
        from tinyqwen import Tensor
        from functools import partial

        plt.rcParams.update({"figure.dpi": 100})

        def times(factor, x):
            s = np.exp(-np.logaddexp(0, -x))
            print(x)
            return x * s, lambda g: (g * (s + x * s * (1 - s)),)

        silu = partial(times, 1)
        gelu = lambda x: silu(x)
    """
    path = written(tmp_path, code)
    away = graded(path)
    submission = submitted(chapter("ch04"), path)
    for test in graders_of(chapter("ch04")):
        result = run(test, submission, result_of(test, "ch04"))
        assert (result.status, result.text) == (
            away[test.__name__].status,
            away[test.__name__].text,
        )
    assert {r.status for name, r in away.items() if "silu" in name} == {"passed"}
    assert {r.status for name, r in away.items() if "gelu" in name} == {"passed", "failed"}


def test_the_library_is_lent_where_the_assignment_says_so_and_not_its_solution(tmp_path):
    code = """
        from tinyqwen.autograd import ops

        def unbroadcast(g, shape):
            return ops.unbroadcast(g, shape)

        def mul(x, y):
            def vjp(g):
                return ops.unbroadcast(g * y, np.shape(x)), ops.unbroadcast(g * x, np.shape(y))
            return x * y, vjp

        def exp(x):
            return ops.exp.raw(x)
    """
    results = graded(written(tmp_path, code, "ch01_autograd.py"), "ch01")
    status = {name: r.status for name, r in results.items()}
    assert all(s == "passed" for name, s in status.items() if "_mul_" in name)
    assert all(s == "failed" for name, s in status.items() if "_unbroadcast_" in name)
    assert all(s == "failed" for name, s in status.items() if "_exp_" in name)
    assert "is what you are asked to write" in results["test_unbroadcast_added"].text


def test_read_only_what_is_needed(tmp_path):
    """Python's and NumPy's own modules load after the fences are up."""
    code = """
        import dataclasses, decimal, fractions, random, statistics, unicodedata

        def silu(x):
            import collections, itertools, numpy.fft, numpy.ma, numpy.polynomial, zlib
            from numpy.random import default_rng
            print("a student may print", default_rng(0).random())
            return numpy.fft.fft(np.ones(4)).real
    """
    with Worker(written(tmp_path, code), ["silu"]) as worker:
        assert worker.functions["silu"].run((1,), {}, 5)[0].tolist() == [4, 0, 0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's own choice")
def test_a_worker_is_what_ends_first_where_memory_ends(tmp_path):
    with Worker(written(tmp_path, "def silu(x):\n    return x"), ["silu"]) as worker:
        (pid,) = inside.descendants(worker._process.pid)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        assert Path(f"/proc/{worker._process.pid}/oom_score_adj").read_text() != "1000\n"


def test_the_fences_are_told_before_the_file_is_read(tmp_path, monkeypatch):
    asked = []
    call = Worker._call

    def noted(self, number, *request):
        asked.append(number)
        return call(self, number, *request)

    monkeypatch.setattr(Worker, "_call", noted)
    with Worker(written(tmp_path, "def silu(x):\n    return x"), ["silu"]) as worker:
        assert asked == [outside.STANDING, outside.LOAD] and "limits" in worker.fences


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted by /proc")
def test_who_starts_threads_is_put_behind_all_others(tmp_path):
    """All of its threads, those that were there and those that it starts afterwards."""
    code = """
        import threading, time

        def start(count):
            for _ in range(count):
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            time.sleep(0.3)
    """

    def priorities(worker):
        (pid,) = inside.descendants(worker._process.pid)
        return [os.getpriority(os.PRIO_PROCESS, int(t)) for t in os.listdir(f"/proc/{pid}/task")]

    with Worker(written(tmp_path, code), ["start"]) as worker:
        worker.functions["start"].run((0,), {}, 5)
        assert priorities(worker) == [os.getpriority(os.PRIO_PROCESS, 0) + 5]
        for _ in range(2):
            worker.functions["start"].run((3,), {}, 5)
        assert priorities(worker) == [19] * 7


def test_supervisor_sees_processes_without_proc():
    """By `ps`, as on macOS: pids under a process or in its group, and their memory."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found, memory = inside.listed(os.getpid())
        assert {os.getpid(), child.pid} <= found
        assert 10 << 20 < memory < 100 << 30
        assert child.pid in inside.descendants(os.getpid()) or sys.platform != "linux"
    finally:
        child.communicate(b"\n")


# ---------------------------------------------------------------------------------------------
# The graders cannot tell where a function lives
# ---------------------------------------------------------------------------------------------


def check_wire_is_faithful(key, folder):
    """Reference and mutants earn the same, and read the same, in a worker as in this process."""
    one = chapter(key)
    tests = {test.__name__: test for test in graders_of(one)}
    solved = graded(write_solution(folder, key), key, most=20.0, library=None)
    assert {name: r.text for name, r in solved.items() if r.status != "passed"} == {}
    mutants = mutants_of(one)
    with Worker(one.mutants, [m.name for m in mutants], library=None) as worker:
        reference = submitted(one, folder)
        for mutant in mutants:
            home = worker.functions[mutant.name]
            far = StudentFunction(mutant.of, home, str(one.mutants))
            functions = {name: getattr(reference, name) for name in one.assigned}
            submission = Submission(functions | {mutant.of: far}, "mutant")
            submission.grace = 2.5
            test = tests[mutant.killed_by]
            result = run(test, submission, result_of(test, key))
            assert result.status == "failed", mutant.name
            assert mutant.named in result.text, mutant.name
            assert worker.alive, mutant.name


def test_a_function_has_the_same_doors_wherever_it_lives():
    doors = {n for n, value in vars(Here).items() if callable(value) and not n.startswith("_")}
    assert doors >= {"run", "run_many", "pages", "inner"}
    missing = [(home, n) for home in (Named, Remote) for n in doors if not hasattr(home, n)]
    assert missing == []


def test_wire_is_faithful(tmp_path):
    check_wire_is_faithful("ch04", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("key", chapters())
def test_wire_is_faithful_in_every_chapter(key, tmp_path):
    check_wire_is_faithful(key, tmp_path)


# ---------------------------------------------------------------------------------------------
# Points beside proof
# ---------------------------------------------------------------------------------------------


# Others need the weak tests of these three as well; a chapter's self-test tells it of each.
@pytest.mark.parametrize(
    "key",
    [
        pytest.param(key, marks=[pytest.mark.slow] * (key not in ("ch04", "ch06", "ch19")))
        for key in chapters()
    ],
)
def test_every_function_is_proved_by_a_test_that_no_shortcut_passes(key, weak_tests_of):
    strong = shortcuts.strong_tests(chapter(key), weak_tests_of(key))
    assert [name for name, tests in strong.items() if not tests] == []


def test_an_input_that_comes_back_proves_nothing(weak_tests_of):
    """Values that nobody mixes do not show the future, and are no attention."""

    def values(query, key, value, mask=None, causal=False, scale=None):
        return value, lambda g: (g, g, g)

    one = chapter("ch06")
    submission = Submission({"scaled_dot_product_attention": values})
    results = [run(test, submission, result_of(test, "ch06")) for test in graders_of(one)]
    assert sum(result.earned for result in results) > 0
    results = shortcuts.confirmed(results, weak_tests_of("ch06"))
    assert sum(result.earned for result in results) == 0


def test_points_count_beside_proof():
    def results(*passed):
        names = ["test_f_example", "test_f_value", "test_g_example"]
        return [
            Result(n, "ch04", n, 1, status="passed" if n in passed else "failed") for n in names
        ]

    tests = {
        "test_f_example": (["f"], True),
        "test_f_value": (["f"], False),
        "test_g_example": (["g"], True),
    }
    for passed, earned in (
        (["test_f_example"], 0),
        (["test_f_example", "test_f_value"], 2),
        (["test_f_value"], 1),
        (["test_g_example"], 0),  # nothing proves g: no points
    ):
        one = results(*passed)
        one = shortcuts.confirmed(one, tests)
        one = shortcuts.confirmed(one, tests)
        assert sum(r.earned for r in one) == earned, passed


# ---------------------------------------------------------------------------------------------
# A class
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "submissions"
    for name in ("ada", "bo b", "中文"):
        (folder / name).mkdir(parents=True)
    text = HONEST.read_text()
    (folder / "ada" / FILE).write_text(text)
    (folder / "bo b" / FILE).write_text(text.replace("gate * s * up, vjp", "gate * up, vjp"))
    (folder / "cy_ch04.py").write_text(text.partition("def swiglu")[0])
    (folder / "notes.txt").write_text("not a submission")
    return folder


def command(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tinyqwen.grade", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process):
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def test_a_class_from_the_command_line(submissions, tmp_path, capsys):
    book = tmp_path / "grades.csv"
    code, out, errors = finished(
        command(submissions, "--out", book, "--chapters", "ch04", "--jobs", "2", "--seed", "5")
    )
    assert code == 0, errors
    rows = {row["student"]: row for row in csv.DictReader(book.open(encoding="utf-8-sig"))}
    assert {name: row["total"] for name, row in rows.items()} == {
        "ada": "30",
        "bo b": rows["bo b"]["total"],
        "cy": rows["cy"]["total"],
        "notes.txt": "0",
        "中文": "0",
    }
    assert 0 < int(rows["bo b"]["total"]) < 30 and 0 < int(rows["cy"]["total"]) < 30
    assert rows["ada"]["possible"] == rows["中文"]["possible"] == "30"
    assert "ada" in out and "30/30" in out and "5/5" in errors
    page = (tmp_path / "grades" / "bo_b.html").read_text(encoding="utf-8")
    content = hashlib.sha256((submissions / "bo b" / FILE).read_bytes()).hexdigest()
    seed = grading.seed_of(5, "bo b", content)
    assert "swiglu: value" in page and "likely" in page and f"--grading-seed {seed}" in page
    index = (tmp_path / "grades" / "index.html").read_text(encoding="utf-8")
    assert "seed of the class\n5" in index and "landlock" in index
    assert f'href="{quote("中文.html")}"' in index
    # again: nothing is left to do, unless a submission has changed
    before = book.read_bytes()
    grading.grade_class(submissions, book, keys=["ch04"])
    assert "5 of 5 students are graded already" in capsys.readouterr().out
    assert book.read_bytes() == before
    (submissions / "中文" / FILE).write_text(HONEST.read_text())
    grading.grade_class(submissions, book, keys=["ch04"])
    assert "4 of 5 students are graded already" in capsys.readouterr().out
    assert "中文,30,30,30" in book.read_text(encoding="utf-8")


@pytest.mark.slow
def test_inputs_differ_by_student_and_come_again_with_the_seed(submissions, tmp_path):
    seeds = {}
    for name, seed in (("one", None), ("two", None), ("three", 7), ("four", 7)):
        students = grading.grade_class(
            submissions, tmp_path / f"{name}.csv", 2, seed=seed, keys=["ch04"]
        )
        seeds[name] = [s.seeds["ch04"] for s in students]
        assert len(set(seeds[name])) == len(students)
        texts = [[(r.name, r.status, r.text) for r in s.all_results] for s in students]
        seeds[f"{name}'s results"] = texts
    assert seeds["one"] != seeds["two"] and seeds["three"] == seeds["four"]
    assert seeds["three's results"] == seeds["four's results"]
    (worse,) = (s for s in students if s.name == "bo b")
    replayed = submitted(chapter("ch04"), worse.path, isolated=True)
    (test,) = (t for t in graders_of(chapter("ch04")) if t.__name__ == "test_swiglu_value")
    result = run(test, replayed, result_of(test, "ch04"), worse.seeds["ch04"])
    replayed.close()
    assert result.text == next(r.text for r in worse.all_results if r.name == test.__name__)
    other = submitted(chapter("ch04"), worse.path)
    assert run(test, other, result_of(test, "ch04"), worse.seeds["ch04"] + 1).text != result.text


def test_a_seed_follows_from_class_name_and_content():
    seeds = {
        grading.seed_of(*a) for a in ((1, "a", "x"), (2, "a", "x"), (1, "b", "x"), (1, "a", "y"))
    }
    assert len(seeds) == 4 and grading.seed_of(1, "a", "x") in seeds
    assert all(0 <= seed < 1 << 31 for seed in seeds)


GIGABYTES = """
import numpy as np
from tinyqwen import functional as F

def cross_attention(query, key, value, head_dim, mask=None, dropout=0.0):
    line = np.zeros((1, 1, 30_000, 1))
    return F.grouped_query_attention.raw(line, line, line)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS sets no limit on memory")
def test_what_is_lent_makes_no_gigabytes_of_a_few_numbers(tmp_path):
    """Lent functions run in the grader's process, which has a limit of its own."""
    (tmp_path / "ch14_encoder_decoder.py").write_text(GIGABYTES)
    request = json.dumps({"path": str(tmp_path), "seeds": {"ch14": 3}, "most": 5.0})
    output, used = all_of("tinyqwen.course.classroom.job", request)
    results = json.loads(output)["results"]
    message = next(r["message"] for r in results if "cross_attention" in r["name"])
    assert "cross_attention raised MemoryError" in message and used < 1 << 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="macOS sets no limit on memory")
def test_nor_does_it_with_pytest(tmp_path):
    (tmp_path / "ch14_encoder_decoder.py").write_text(GIGABYTES)
    options = ["--submission", str(tmp_path), "--isolated", "-k", "test_cross_attention_value"]
    output, used = all_of("pytest", "tests/assignments", "-p", "no:cacheprovider", *options)
    assert "cross_attention raised MemoryError" in output and used < 1 << 30


def all_of(module, *arguments):
    """What a module prints, run in a process of its own, and the bytes of memory that it used."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout.read()
        return output, os.wait4(process.pid, 0)[2].ru_maxrss << 10


@pytest.mark.slow
def test_who_hands_in_again_gets_other_inputs(submissions, tmp_path):
    """The seed that the first report prints is worth nothing to the second submission."""

    def seeds():
        folder = submissions.parent / "grades.csv"
        return {s.name: s.seeds for s in grading.grade_class(submissions, folder, keys=["ch04"])}

    first = seeds()
    assert seeds() == first
    (submissions / "ada" / FILE).write_text("# with a table of answers\n" + HONEST.read_text())
    second = seeds()
    assert second.pop("ada") != first.pop("ada") and second == first


@pytest.mark.slow
def test_a_stopped_run_goes_on(submissions, tmp_path):
    (submissions / "ada" / FILE).write_text("def silu(x):\n    while True:\n        pass\n")
    for n in range(4):
        (submissions / f"z{n}").mkdir()
        (submissions / f"z{n}" / FILE).write_text(HONEST.read_text())
    book = tmp_path / "grades.csv"
    arguments = (submissions, "--out", book, "--chapters", "ch04", "--jobs", "2")
    process = command(*arguments, "--time-limit", "1")
    saved = tmp_path / "grades" / "results"
    until = time.monotonic() + 100
    while time.monotonic() < until and not list(saved.glob("*.json")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    code, out, errors = finished(process)
    assert code == 130, errors
    assert "the same command goes on from here" in errors and "Traceback" not in errors
    done = len(list(saved.glob("*.json")))
    assert 0 < done < 9
    rows = list(csv.DictReader(book.open(encoding="utf-8-sig")))
    assert len(rows) == done
    code, out, errors = finished(command(*arguments, "--time-limit", "1"))
    assert code == 0 and f"{done} of 9 students are graded already" in out
    totals = {r["student"]: r["total"] for r in csv.DictReader(book.open(encoding="utf-8-sig"))}
    assert len(totals) == 9 and totals["ada"] == "0" and totals["z3"] == "30"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("running", ["book", "temporary"])  # the job, and its worker too
def test_a_killed_class_leaves_no_process(tmp_path, monkeypatch, running):
    """Whoever sleeps would sleep on for the minutes that are a student's, and nobody would know."""
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "ada" / FILE).write_text("import time\ntime.sleep(1000)\n")

    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))

    def left(mark=tmp_path):
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                lines.append(path.read_bytes().decode("utf-8", "replace"))
        return [line for line in lines if f"{mark}/" in line]

    def wait_until(condition, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and not condition():
            time.sleep(0.1)
        return condition()

    process = command(tmp_path / "in", "--out", tmp_path / "book.csv", "--chapters", "ch04")
    assert wait_until(lambda: left(tmp_path / running), 60)
    process.kill()
    finished(process)
    assert wait_until(lambda: not left(), 6), left()


@pytest.mark.slow
def test_no_submission_stops_the_class(tmp_path):
    """A terabyte that is not there, a file that nobody may read, one that is not Python, names that
    do not fit or fall together: whoever is graded later keeps the points, and a row, and the
    teacher reads which file could not be."""
    folder, book = tmp_path / "submissions", tmp_path / "grades.csv"
    names = ["holes", "locked", "typo", "中" * 80, "=1+1", "'=1+1", "zoe"]
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / FILE).write_text("")
    with open(folder / "holes" / FILE, "wb") as file:
        file.truncate(1 << 40)
    (folder / "locked" / FILE).chmod(0)
    (folder / "typo" / FILE).write_text("def silu(x)\n    return x")
    (folder / "zoe" / FILE).write_text(HONEST.read_text())
    students = grading.grade_class(folder, book, 2, keys=["ch04"])
    index = (tmp_path / "grades" / "index.html").read_text(encoding="utf-8")
    assert index.count("larger than 1 MB") == 1 and index.count("not valid Python") == 1
    assert "larger than 1 MB" in next(s for s in students if s.name == "holes").notes[0]
    rows = {row["student"]: row["total"] for row in csv.DictReader(book.open(encoding="utf-8-sig"))}
    assert len(rows) == len(names) and rows.pop("zoe") == "30" and set(rows.values()) == {"0"}


@pytest.mark.slow
def test_a_job_killed_in_the_middle_of_a_line_stops_nobody_else(submissions, monkeypatch):
    """As the system does where memory ends: the student's points are gone, and the teacher told."""
    python = submissions.parent / "python"
    python.write_text(
        f"""#!/bin/sh
        case "$*" in *bo*) printf '{{"chapter": "ch04", "res'; kill -9 $$;; esac
        exec {sys.executable} "$@"
        """
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    students = grading.grade_class(submissions, submissions.parent / "g.csv", keys=["ch04"])
    assert [s.name for s in students if s.trouble] == ["bo b"]
    killed = next(s for s in students if s.trouble)
    assert killed.trouble == ["ch04: the grading did not end (exit -9): killed"]
    assert killed.points == (0, 30)  # what it did not reach is possible, and not earned


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere", "--out", "grades.csv"], "no such folder of submissions"),
        (["."], "--out grades.csv"),
        (["empty", "--out", "grades.csv"], "no submission"),
        (["empty", "--out", "grades.txt"], "must end in .csv"),
        (["some", "--out", "taken.csv", "--chapters", "ch04"], "taken.csv exists"),
        (["some", "--out", "some/grades.csv", "--chapters", "ch04"], "choose another place"),
        (["some", "--out", "grades.csv", "--chapters", "ch99"], "no assignment 'ch99'"),
        (["some", "--out", "grades.csv", "--jobs", "0"], "--jobs 0"),
        (["some", "--out", "grades.csv", "--time-limit", "0"], "--time-limit 0"),
        (["some", "--out", "grades.csv", "--memory", "3"], "--memory 3: a process needs 64 MiB"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "ada.py").write_text("")
    (tmp_path / "taken.csv").write_text("mine")
    monkeypatch.setattr("sys.argv", ["grade", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.run(grade.main)
    errors = capsys.readouterr().err
    assert ending.value.code == 2 and words in errors
    assert len(errors.strip().splitlines()) == 1
    assert (tmp_path / "taken.csv").read_text() == "mine"
    assert not (tmp_path / "grades.csv").exists()
