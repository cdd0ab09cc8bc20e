"""The time limit of a test: how it is kept, and what is left of it."""

import ctypes
import signal
import threading
import time
from contextlib import contextmanager

_current = threading.local()


class TimeLimit(BaseException):
    """A test has run out of time.  No `except Exception` of a student's catches it."""


def allowed() -> float:
    """The time limit of the test that is running, in seconds."""
    return getattr(_current, "seconds", 60.0)


def left() -> float:
    """Seconds that are left of it.  Raises TimeLimit if there are none."""
    seconds = getattr(_current, "deadline", time.monotonic() + 60) - time.monotonic()
    if seconds <= 0:
        raise TimeLimit(f"{allowed():g} s")
    return seconds


@contextmanager
def time_limit(seconds, grace=0.0):
    """Raise TimeLimit in this block after so many seconds, and again every second until it ends.

    Python code is interrupted anywhere, a single call into C when it returns.
    grace: seconds more, for a limit that somebody else keeps by what `left` says
    """
    main = threading.current_thread() is threading.main_thread()
    limit = _alarm if main and hasattr(signal, "setitimer") else _watcher
    before = vars(_current).copy()
    _current.seconds, _current.deadline = seconds, time.monotonic() + seconds
    try:
        with limit(seconds + grace, f"{seconds:g} s"):
            yield
    finally:
        vars(_current).clear()
        vars(_current).update(before)


@contextmanager
def _alarm(seconds, words):
    def ring(signum, frame):
        raise TimeLimit(words)

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
def _watcher(seconds, words):
    """The same where there are no signals: on Windows, and outside the main thread."""
    thread, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    ring = ctypes.pythonapi.PyThreadState_SetAsyncExc
    limit = type("TimeLimit", (TimeLimit,), {"__str__": lambda self: words})

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
