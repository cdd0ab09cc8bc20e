"""What answers the grader's calls inside the worker: the student's file and its functions.

Its own functions are 0, `load`, -1, `many`, -2, `standing`, which is asked for first, and -3,
`pages_used`.
"""

import builtins
import contextlib
import importlib.machinery
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


class Gone(BaseException):
    """The grader has left."""


class TimeLimit(BaseException):
    """The time of the test is over.  No `except Exception` of a student's catches it."""


class Lent(wire.ForeignFunction):
    """A function of the grader's: an argument, or a part of the library that may be used."""

    def __call__(self, *args, **kwargs):
        self._peer.shown.add(args)
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
        self._folder, self._depth, self._file = folder, 0, None
        self._handed, self.shown = copies.Handed(), copies.Handed()
        self.exported |= {0: self.load, -1: self.many, -2: lambda: standing, -3: copies.pages_used}

    def run(self, function, args, kwargs, seconds):
        before, before_options = copies.copied(args), copies.copied(kwargs)
        forward = copies.made_from(function)
        kept = copies.copied(forward)
        depth, began = self._depth, time.process_time()
        try:
            try:
                self._depth = depth + 1
                if depth == 0:
                    self._alarm(Limit(seconds))
                result = function(*args, **kwargs)
            finally:
                if depth == 0:  # a machine may stand still here for longer than an alarm's second
                    signal.setitimer(signal.ITIMER_REAL, 0)
        except (Gone, wire.WireError):
            raise
        except BaseException as error:
            return "raised", copies.failure_of(error, self._file)
        finally:
            self._depth = depth
        changed = self._handed.changed(), self.shown.changed()
        self._handed.add(result)
        edited = copies.edited(before, before_options, args, kwargs)
        edited += [] if copies.same(kept, forward) else [copies.FORWARD]
        copies.remember(result, args)
        views = copies.views(result, args, kwargs)
        return "returned", (result, edited, views, changed, time.process_time() - began)

    def _alarm(self, limit):
        def ring(number, frame):
            seconds = limit.left()
            signal.setitimer(signal.ITIMER_REAL, seconds if seconds > 0 else 1.0)
            if seconds <= 0:
                raise TimeLimit

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, max(limit.left(), 1e-6))

    def load(self, name, wanted, library):
        """Run the student's file; returns {name: function} of those wanted.

        library: {module: {name: function}}, what of tinyqwen may be used; None if all of it
        """
        path = self._file = os.path.join(self._folder, name)
        with open(path, "rb") as file:
            source = file.read()
        lines = source.decode("utf-8", "replace").splitlines(keepends=True)
        linecache.cache[path] = (len(source), None, lines, path)
        if library is not None:
            sys.meta_path.insert(0, Absent)
            for full, functions in library.items():
                _lend(full, functions)
        module = types.ModuleType(name.removesuffix(".py"))
        module.__file__ = path
        sys.modules[module.__name__] = module  # dataclasses look their module up
        exec(compile(source, path, "exec"), vars(module))
        found = {name: vars(module).get(name) for name in wanted}
        return {n: f for n, f in found.items() if callable(f)}

    @staticmethod
    def many(function, calls, kwargs):
        """The outputs of many calls, in one message; the VJPs stay here."""
        return [copies.without_vjp(function(*args, **kwargs)) for args in calls]


class Absent(types.ModuleType):
    """A module that is not there when a class is graded.

    It can be imported, for what draws pictures and tries things out at home is harmless; only who
    computes with it is told. `find_spec` and what follows make the class a finder of such modules.
    """

    NAMES = ("tinyqwen", "matplotlib", "IPython")

    def __init__(self, name):
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AbsentThing(f"{self.__name__}.{name}")

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        known = name.partition(".")[0] in cls.NAMES
        return importlib.machinery.ModuleSpec(name, cls, is_package=True) if known else None

    @classmethod
    def create_module(cls, spec):
        return cls(spec.name)

    @staticmethod
    def exec_module(module):
        """There is nothing in it to run."""


class AbsentThing:
    """What is taken from such a module: it has parts, and cannot be called or computed with.

    Of matplotlib and IPython calls are let pass: a picture that is not drawn does no harm.
    """

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return AbsentThing(f"{self._name}.{name}")

    def __call__(self, *args, **kwargs):
        if self._name.partition(".")[0] == "tinyqwen":
            raise ModuleNotFoundError(
                f"{self._name} may not be used in this assignment: write it with NumPy"
            )
        return AbsentThing(self._name)


def _lend(full, functions):
    """Make `full`, "tinyqwen.text.bpe" say, a module that has these functions and no others."""
    package, _, own = full.rpartition(".")
    parent = sys.modules.setdefault(package, Absent(package)) if package else None
    module = sys.modules.setdefault(full, Absent(full))
    if parent is not None:
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
                raise Gone
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    return read


def _writer(descriptor):
    def write(data):
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view[: 1 << 20]) :]
            except BrokenPipeError:
                raise Gone from None

    return write


def serve(read, write, folder, standing):
    """Answer calls until the grader closes the pipe."""
    server = Server(read, write, folder, standing)
    with contextlib.suppress(Gone):
        while True:
            kind, number, value = server.receive()
            if kind == "call":
                server.answer(number, value)
