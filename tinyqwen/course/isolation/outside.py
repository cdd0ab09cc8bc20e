"""The grader's end: start a worker, call a student's functions in it, and outlive whatever it does.

    with Worker(path, ["silu", "gelu"]) as worker:
        silu = worker.functions["silu"]
        (out, vjp), edited, views = silu.run((x,), {}, seconds)

A worker is used as long as it behaves, and started anew after a time-out, a death or a message that
is none: what a test did to its worker is no other test's trouble.
"""

import contextlib
import importlib.util
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path

from tinyqwen.course import clock
from tinyqwen.course.isolation import copies, received, wire
from tinyqwen.course.isolation.limit import PATIENCE

INSIDE = Path(__file__).with_name("inside.py")
MEMORY, PROCESSES, THREADS = 1 << 30, 8, 32  # bytes; what a worker may have started
LOADING = 5.0  # seconds to load NumPy and the student's file
GRACE = 1.0  # seconds after the time limit for a worker to say where it was
CALLBACKS = 300_000  # calls of the grader's functions within one call of a student's
LOAD, MANY, STANDING, PAGES = 0, -1, -2, -3  # functions of the worker's own
MAX_SOURCE = 1 << 20  # bytes of a student's file


class Lost(wire.Raised):
    """The worker is gone or not to be believed; `failure` says why, as for an exception."""


def read_source(path) -> bytes:
    """A student's file.  Raises ValueError for one that nobody can have written by hand."""
    with open(path, "rb") as file:
        source = file.read(MAX_SOURCE + 1)  # a file with holes can be larger than any memory
    if len(source) > MAX_SOURCE:
        raise ValueError("the file is larger than 1 MB")
    return source


def available() -> bool:
    """True where workers can be started: Linux and macOS."""
    return hasattr(os, "fork") and hasattr(select, "poll")


class StudentPeer(wire.Peer):
    """The grader's end of the conversation, with a deadline for all of it."""

    def __init__(self, read, write):
        super().__init__(self._read_all, self._write_all)
        self._in, self._out = read, write
        self.deadline, self.callbacks, self.shown = 0.0, 0, copies.Handed()
        for descriptor in (read, write):
            os.set_blocking(descriptor, False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(read, select.POLLIN)
        self._writable.register(write, select.POLLOUT)

    def answer(self, number, request):
        self.callbacks += 1
        if self.callbacks > CALLBACKS:
            raise wire.WireError("calls without end")
        if time.monotonic() > self.deadline:
            raise TimeoutError
        super().answer(number, request)

    def run(self, function, args, kwargs):
        self.shown.add(args)
        return super().run(function, args, kwargs)

    def _read_all(self, size):
        parts = bytearray()
        while len(parts) < size:
            try:
                part = os.read(self._in, min(size - len(parts), 1 << 20))
            except BlockingIOError:
                self._wait(self._readable)
                continue
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def _write_all(self, data):
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._out, view[: 1 << 20]) :]
            except BlockingIOError:
                self._wait(self._writable)

    def _wait(self, poll):
        left = self.deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError


class Remote(wire.ForeignFunction):
    """A student's function in a worker.  `run(args, kwargs, seconds)` returns (result, edited,
    views) as `calls.Here` does."""

    def run(self, args, kwargs, seconds):
        return self._peer.worker.run(self._number, args, kwargs, seconds)

    def run_many(self, calls, kwargs, seconds):
        """The outputs of many calls in one message, without their VJPs."""
        return self._peer.worker.run(MANY, (self, calls, kwargs), {}, seconds)[0]

    def pages(self, shapes, args, seconds):
        """The pages of memory that a call is the first to use: `copies.pages_used`."""
        return self._peer.worker.run(PAGES, (self, shapes, args), {}, seconds)[0]

    def inner(self, function):
        """A function that this one has returned: it is a Remote already."""
        return function

    def __call__(self, *args, **kwargs):
        return self.run(args, kwargs, LOADING)[0]


StudentPeer.function = Remote


class Worker:
    """A process with a student's file in it.

    path: the file, which is copied;  names: the functions wanted of it
    library: {module: {name: function}} of tinyqwen that the file may import; None: all of it, for
        code that is trusted
    memory: bytes;  fences: "all", or "kernel", "python" or "none", to see what each is worth

    functions: {name: Remote};  folder: where it runs
    fences: {fence: what it does}, as the worker reports them before it reads the file
    Raises wire.Raised if the file cannot be loaded, Lost if the worker does not survive it,
    ValueError if it is too large.
    """

    def __init__(self, path, names, library=(), memory=MEMORY, fences="all"):
        self._path, self._names = Path(path), list(names)
        self._library = None if library is None else dict(library)
        self._memory, self._wanted_fences = memory, fences
        self._generation, self._stop = 0, None
        self._start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    # -----------------------------------------------------------------------------------------

    def _start(self):
        source = read_source(self._path)
        self.folder = folder = os.path.realpath(tempfile.mkdtemp(prefix="tinyqwen-"))
        name = received.name(self._path.name)
        Path(folder, name).write_bytes(source)
        numpy = Path(importlib.util.find_spec("numpy").origin).parents[1]
        trusted = self._library is None
        settings = {
            "folder": folder,
            "numpy": os.path.realpath(numpy),
            "path": [p for p in sys.path if os.path.isdir(p)] if trusted else [],
            "memory": self._memory,
            "processes": PROCESSES,
            "threads": THREADS,
            "fences": "none" if trusted else self._wanted_fences,
        }
        to_worker, from_worker, control, status = (os.pipe() for _ in range(4))
        inner = (to_worker[0], from_worker[1], control[0], status[1])
        outer = (to_worker[1], from_worker[0], control[1], status[0])
        command = [sys.executable, "-I", "-S", "-B", str(INSIDE), *map(str, inner)]
        self._process = subprocess.Popen(
            [*command, json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if trusted else subprocess.DEVNULL,
            env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
            pass_fds=inner,
            start_new_session=True,
        )
        for descriptor in inner:
            os.close(descriptor)
        self._peer = StudentPeer(outer[1], outer[0])
        self._peer.worker = weakref.proxy(self)
        self._handed = copies.Handed()
        self._status = status[0]
        self._stop = weakref.finalize(self, _stop, self._process, outer, folder)
        try:
            self.fences = received.fences(self._call(STANDING, (), {}, LOADING)[0])
            found = self._call(LOAD, (name, self._names, self._library), {}, LOADING)[0]
            named = {n: f for n, f in found.items() if n in self._names and isinstance(f, Remote)}
        except (AttributeError, TypeError, ValueError) as error:
            raise self._lost(wire.WireError(str(error))) from None
        except wire.Raised:
            self.stop()
            raise
        self.functions = named
        self._by_number = {f._number: n for n, f in named.items()}

    @property
    def alive(self):
        """False once the worker has been stopped or lost."""
        return self._stop.alive

    def stop(self):
        """End the worker and everything it has started."""
        if self._stop is not None:
            self._stop()

    def run(self, number, args, kwargs, seconds):
        """(result, edited, views) of a call; Raised, or Lost, which stops the worker."""
        return self._call(number, args, kwargs, seconds)

    def _call(self, number, args, kwargs, seconds):
        peer = self._peer
        if not self._stop.alive:
            raise Lost(received.failure({"kind": "Lost", "message": ENDS[""]}))
        peer.callbacks = 0
        began = time.monotonic()
        peer.deadline = began + PATIENCE * seconds + GRACE
        try:
            result, edited, views, changed, worked = peer.call(number, args, kwargs, seconds)
            clock.charge(min(received.seconds(worked), time.monotonic() - began))
            results, shown = changed
            self._handed.refresh(received.changed(results))
            peer.shown.refresh(received.changed(shown))
            self._handed.add(result)
            return result, *(received.places(told, args, kwargs) for told in (edited, views))
        except wire.Raised as error:
            error.failure = received.failure(error.failure)
            raise
        except (EOFError, OSError, wire.WireError, TypeError, ValueError) as error:
            raise self._lost(error) from None
        except BaseException:  # the grader's own trouble, in the middle of a conversation
            self.stop()
            raise

    def _lost(self, error):
        """Stop the worker; returns Lost with what became of it."""
        if isinstance(error, TimeoutError):
            failure = {"kind": "TimeLimit", "message": ""}
        elif isinstance(error, (EOFError, BrokenPipeError)):
            failure = {"kind": "Lost", "message": ENDS.get(self._ended(), ENDS[""])}
        else:
            failure = {"kind": "Lost", "message": f"its answer was none: {error}"}
        self.stop()
        return Lost(received.failure(failure))

    def _ended(self):
        with contextlib.suppress(OSError):
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            if poll.poll(1000):
                return os.read(self._status, 100).decode().partition(" ")[0]
        return ""


ENDS = {
    "exit": "it ended the whole process; return a value instead",
    "signal": "it brought the process down that it ran in",
    "memory": "it took more memory than allowed",
    "processes": "it started processes",
    "threads": "it started too many threads",
    "": "the process it ran in has ended",
}


def _stop(process, descriptors, folder):
    """Close the conversation, whereupon the supervisor kills what is under it and goes."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:  # a supervisor that was itself stopped or killed
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
