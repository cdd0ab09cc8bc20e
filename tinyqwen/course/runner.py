"""Run one grader on one submission: points, time limit, and what became of it.

The pytest plugin and the self-test both run graders through `run`, so what the self-test proves is
what students meet.
"""

import ctypes
import signal
import threading
import time
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from tinyqwen.course.calls import StudentError, TimeLimit, ToDo
from tinyqwen.course.diagnosis import CheckFailed

_current = threading.local()


def points(number, title, seconds=5):
    """Declare what a grader is worth: a whole number of points, a title, a time limit in seconds.

    The grader's docstring says in one line what mistake it looks for.
    """

    def declare(test):
        test.points = Points(number, title, (test.__doc__ or "").strip(), seconds)
        return test

    return declare


@dataclass(frozen=True)
class Points:
    """What `@points` declares."""

    number: int
    title: str
    looks_for: str
    seconds: float


@dataclass
class Result:
    """What became of one grader.

    status: "passed", "failed", "todo" (not written yet), "error" (the grader itself broke), or
    "waiting" (not run yet).  message: what the student reads; mistake: the likely one, or None.
    picture: (yours, expected, axes), or None
    """

    name: str
    chapter: str
    title: str
    possible: int
    looks_for: str = ""
    line: int = 0
    status: str = "waiting"
    message: str = ""
    mistake: str | None = None
    seconds: float = 0.0
    picture: tuple | None = None

    @property
    def earned(self):
        return self.possible if self.status == "passed" else 0

    @property
    def text(self):
        """The message and the likely mistake, as shown to the student."""
        likely = f"\n  likely    {self.mistake}" if self.mistake else ""
        return self.message + likely


def result_of(test, chapter_key) -> Result:
    """A Result that waits to be filled in by `run`."""
    declared = getattr(test, "points", Points(0, test.__name__, "", 5))
    line = test.__code__.co_firstlineno
    return Result(
        test.__name__, chapter_key, declared.title, declared.number, declared.looks_for, line
    )


def rng() -> np.random.Generator:
    """The random numbers of the test that is running: equal in every run with the same seed."""
    return getattr(_current, "rng", None) or np.random.default_rng(0)


def run(test, submission, result, seed=0) -> Result:
    """Run a grader on a submission and write what became of it into `result`."""
    seconds = test.points.seconds if hasattr(test, "points") else 5
    _current.rng = np.random.default_rng([seed, crc32(test.__name__.encode())])
    began = time.perf_counter()
    try:
        with time_limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an overflow is judged by what comes out
            test(submission)
        result.status = "passed"
    except ToDo as todo:
        result.status, result.message = "todo", f"to do: {todo}"
    except (CheckFailed, StudentError) as failure:
        result.status, result.message, result.mistake = "failed", str(failure), failure.mistake
        result.picture = getattr(failure, "picture", None)
    except AssertionError as failure:
        result.status, result.message = "failed", str(failure) or f"{result.title}: not so"
    except TimeLimit as limit:
        result.status = "failed"
        result.message = f"{result.title}: not done within {limit}; the function is too slow."
    except Exception:
        result.status = "error"
        result.message = (
            "The grader itself broke. This is a mistake of the course, not yours; please report "
            f"it.\n\n{traceback.format_exc()}"
        )
    finally:
        result.seconds = time.perf_counter() - began
        _current.rng = None
    return result


@contextmanager
def time_limit(seconds):
    """Raise TimeLimit in this block after so many seconds, and again every second until it ends.

    Python code is interrupted anywhere, a single call into C when it returns.
    """
    main = threading.current_thread() is threading.main_thread()
    limit = _alarm if main and hasattr(signal, "setitimer") else _watcher
    with limit(seconds):
        yield


@contextmanager
def _alarm(seconds):
    def ring(signum, frame):
        raise TimeLimit(f"{seconds:g} s")

    handler = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # somebody else's alarm, pytest-timeout's say, goes on where it was
            left = max(left - (time.monotonic() - began), 0.01)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextmanager
def _watcher(seconds):
    """The same where there are no signals: on Windows, and outside the main thread."""
    thread, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    ring = ctypes.pythonapi.PyThreadState_SetAsyncExc
    limit = type("TimeLimit", (TimeLimit,), {"__str__": lambda self: f"{seconds:g} s"})

    def watch():
        wait = seconds
        while not done.wait(wait):
            ring(thread, ctypes.py_object(limit))
            wait = 1.0

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        ring(thread, None)  # one that was sent and has not arrived
