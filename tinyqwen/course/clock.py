"""The time limit of a test: how it is kept, and what is left of it."""

import ctypes
import signal
import threading
import time
from contextlib import contextmanager

from tinyqwen.course.isolation.limit import Limit

_current = threading.local()


class TimeLimit(BaseException):
    """A test has run out of time.  No `except Exception` of a student's catches it."""


def allowed() -> float:
    """The time limit of the test that is running, in seconds."""
    return _limit().seconds


def left() -> float:
    """Seconds that are left of it.  Raises TimeLimit if there are none."""
    seconds = _limit().left()
    if seconds <= 0:
        raise TimeLimit(f"{allowed():g} s")
    return seconds


def charge(seconds):
    """Count what a worker has worked for the test that is running."""
    _limit().elsewhere += seconds


def _limit():
    return getattr(_current, "limit", None) or Limit(60.0)


@contextmanager
def time_limit(seconds, grace=0.0):
    """Raise TimeLimit in this block after so many seconds, and again every second until it ends.

    Seconds are counted as `Limit` says. Python code is interrupted anywhere, a single call into C
    when it returns.
    grace: seconds more, for a limit that somebody else keeps by what `left` says
    """
    main = threading.current_thread() is threading.main_thread()
    kept = _alarm if main and hasattr(signal, "setitimer") else _watcher
    before = getattr(_current, "limit", None)
    _current.limit = limit = Limit(seconds)
    try:
        with kept(lambda: limit.left() + grace, f"{seconds:g} s"):
            yield
    finally:
        _current.limit = before


@contextmanager
def _alarm(more, words):
    def ring(signum, frame):
        seconds = more()
        signal.setitimer(signal.ITIMER_REAL, seconds if seconds > 0 else 1.0)
        if seconds <= 0:
            raise TimeLimit(words)

    handler = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, max(more(), 1e-6))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # somebody else's alarm, pytest-timeout's say, goes on where it was
            left = max(left - (time.monotonic() - began), 0.01)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextmanager
def _watcher(more, words):
    """The same where there are no signals: on Windows, and outside the main thread."""
    thread, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    ring = ctypes.pythonapi.PyThreadState_SetAsyncExc
    limit = type("TimeLimit", (TimeLimit,), {"__str__": lambda self: words})

    def watch():
        wait = more()
        while not done.wait(max(wait, 0)):
            wait = more()
            if wait <= 0:
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
