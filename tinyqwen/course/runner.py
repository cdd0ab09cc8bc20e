"""Run one grader on one submission: points, time limit, and what became of it.

The pytest plugin and the self-test both run graders through `run`, so what the self-test proves is
what students meet.
"""

import inspect
import threading
import time
import traceback
import warnings
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from tinyqwen.course.authoring.diagnosis import CheckFailed
from tinyqwen.course.calls import StudentError, ToDo
from tinyqwen.course.clock import TimeLimit, time_limit
from tinyqwen.course.isolation import received
from tinyqwen.course.registry import Chapter, chapter
from tinyqwen.course.submission import Unreadable, load_module, solution

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
    unreadable: True if it is the file as a whole that does not load
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
    unreadable: bool = False

    @property
    def earned(self):
        return self.possible if self.status == "passed" else 0

    @property
    def text(self):
        """The message and the likely mistake, as shown to the student."""
        likely = f"\n  likely    {self.mistake}" if self.mistake else ""
        return self.message + likely


def graders_of(chapter: Chapter) -> list:
    """The chapter's test functions, in the order of their file."""
    module = load_module(chapter.graders)
    tests = [f for name, f in vars(module).items() if name.startswith("test_")]
    for test in tests:
        if not hasattr(test, "points") or list(inspect.signature(test).parameters) != [
            "submission"
        ]:
            raise ValueError(
                f"{chapter.graders.name}: {test.__name__} must be declared with @points(…) and "
                "take one argument, submission"
            )
    return tests


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


def run(test, submission, result, seed=0, most=float("inf")) -> Result:
    """Run a grader on a submission and write what became of it into `result`.

    most: seconds that no test may exceed, whatever it declares
    """
    seconds = min(test.points.seconds if hasattr(test, "points") else 5, most)
    _draw_anew(test, seed)
    began = time.perf_counter()
    try:
        with time_limit(seconds, submission.grace), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an overflow is judged by what comes out
            test(submission)
        result.status = "passed"
    except ToDo as todo:
        result.status, result.message = "todo", f"to do: {todo}"
    except (CheckFailed, StudentError) as failure:
        result.status, result.message, result.mistake = "failed", str(failure), failure.mistake
        result.picture = getattr(failure, "picture", None)
        result.unreadable = isinstance(failure, Unreadable)
        if result.unreadable:
            result.message = submission.told_once(result.message)
        if late := getattr(failure, "late", None):
            submission.was_late(late)
    except AssertionError as failure:
        result.status, result.message = "failed", str(failure) or f"{result.title}: not so"
    except TimeLimit as limit:
        result.status = "failed"
        result.message = (
            f"{result.title}: not done within {limit}: the function is too slow, or the machine "
            "was busy and a second run will say so."
        )
    except Exception as error:
        if _is_sound(test, result.chapter, seed):  # then it is what came back that broke it
            result.status, result.message = "failed", _stumble(test, result, error)
        else:
            result.status = "error"
            result.message = (
                "The grader itself broke. This is a mistake of the course, not yours; please "
                f"report it.\n\n{traceback.format_exc()}"
            )
    finally:
        result.message = received.text(result.message)  # a student's words are in it
        result.mistake = received.text(result.mistake, 1000) or None
        result.seconds = time.perf_counter() - began
        _current.rng = None
    return result


def _draw_anew(test, seed):
    _current.rng = np.random.default_rng([seed, crc32(test.__name__.encode())])


def _is_sound(test, key, seed):
    """True if the grader is content with the right answer to the same inputs."""
    _draw_anew(test, seed)
    try:
        test(solution(chapter(key)))
    except Exception:
        return False
    return True


def _stumble(test, result, error):
    """What a student reads where a grader cannot do anything with what a function returned."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.line for frame in frames if frame.filename == test.__code__.co_filename]
    return (
        f"{result.title}: the test cannot go on with what came back ({type(error).__name__}: "
        f"{str(error)[:300]}).\n  in the test  {own[-1] if own else test.__name__}"
    )
