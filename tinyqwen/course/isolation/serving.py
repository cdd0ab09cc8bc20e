"""What answers the grader's calls inside the worker: the student's file and its functions.

The first call is of function 0, `load`; -1 is `many`.
"""

import builtins
import linecache
import os
import signal
import sys
import time
import types

from . import copies, wire
from .limit import Limit

BUILTIN_ERRORS = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception)
}


class TimeLimit(BaseException):
    """The time of the test is over.  No `except Exception` of a student's catches it."""


class Lent(wire.ForeignFunction):
    """A function of the grader's: an argument, or a part of the library that may be used."""

    def __call__(self, *args, **kwargs):
        try:
            return super().__call__(*args, **kwargs)
        except wire.Raised as error:
            kind = BUILTIN_ERRORS.get(error.failure["kind"], RuntimeError)
            raise kind(error.failure["message"]) from None


class Server(wire.Peer):
    """The worker's end of the conversation."""

    function = Lent

    def __init__(self, read, write, folder, standing):
        super().__init__(_reader(read), _writer(write))
        self._folder, self._standing, self._depth, self._file = folder, standing, 0, None
        self._handed = copies.Handed()
        self.exported |= {0: self.load, -1: self.many}

    def run(self, function, args, kwargs, seconds):
        before, before_options = copies.copied(args), copies.copied(kwargs)
        self._depth += 1
        began = time.process_time()
        try:
            if self._depth == 1:
                self._alarm(Limit(seconds))
            result = function(*args, **kwargs)
        except (EOFError, BrokenPipeError, wire.WireError):
            raise
        except BaseException as error:
            return "raised", copies.failure_of(error, self._file)
        finally:
            self._depth -= 1
            if self._depth == 0:
                signal.setitimer(signal.ITIMER_REAL, 0)
        changed = self._handed.changed()
        self._handed.add(result)
        edited = copies.edited(before, before_options, args, kwargs)
        return "returned", (result, edited, changed, time.process_time() - began)

    def _alarm(self, limit):
        def ring(number, frame):
            seconds = limit.left()
            signal.setitimer(signal.ITIMER_REAL, seconds if seconds > 0 else 1.0)
            if seconds <= 0:
                raise TimeLimit

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(limit.left(), 1e-6))

    def load(self, name, wanted, library):
        """Run the student's file; returns {name: function} of those wanted, and the fences.

        library: {module: {name: function}}, what of tinyqwen may be used; None if all of it
        """
        path = self._file = os.path.join(self._folder, name)
        with open(path, "rb") as file:
            source = file.read()
        lines = source.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[path] = (len(source), None, lines, path)
        if library is not None:
            sys.meta_path.insert(0, NotHere)
            for full, functions in library.items():
                _lend(full, functions)
        module = types.ModuleType(name.removesuffix(".py"))
        module.__file__ = path
        sys.modules[module.__name__] = module  # dataclasses look their module up
        exec(compile(source, path, "exec"), vars(module))
        found = {name: vars(module).get(name) for name in wanted}
        return {n: f for n, f in found.items() if callable(f)}, self._standing

    @staticmethod
    def many(function, calls, kwargs):
        """The outputs of many calls, in one message; the VJPs stay here."""
        return [copies.without_vjp(function(*args, **kwargs)) for args in calls]


class NotHere:
    """Says why tinyqwen cannot be imported."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "tinyqwen":
            raise ModuleNotFoundError(
                f"{name} may not be used in this assignment: write it with NumPy", name=name
            )
        return None


def _lend(full, functions):
    """Make `full`, "tinyqwen.text.bpe" say, a module that holds these functions and no more."""
    package, _, own = full.rpartition(".")
    parent = sys.modules.setdefault(package, types.ModuleType(package)) if package else None
    module = sys.modules.setdefault(full, types.ModuleType(full))
    if parent is not None:
        parent.__path__ = []
        setattr(parent, own, module)
    for name, function in functions.items():
        function.raw = function  # as a primitive of the library's
        setattr(module, name, function)


def _reader(descriptor):
    def read(size):
        parts = []
        while size:
            part = os.read(descriptor, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    return read


def _writer(descriptor):
    def write(data):
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view[: 1 << 20]) :]

    return write


def serve(read, write, folder, standing):
    """Answer calls until the grader closes the pipe."""
    server = Server(read, write, folder, standing)
    while True:
        kind, number, value = server.receive()
        if kind == "call":
            server.answer(number, value)
