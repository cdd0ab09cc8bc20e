"""The only door between a grader and a student: call a function, get arrays back.

`StudentFunction` looks like the function it stands for. Every call gets fresh copies of the arrays,
so that nothing a student does to them reaches the grader; whatever goes wrong inside comes out as a
`StudentError` that shows the student's own line. Graders use calls and nothing else, so they cannot
tell whether the function lives in this process (`Here`) or in a worker (`isolation`).
"""

import ast
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from tinyqwen.course import clock
from tinyqwen.course.isolation import copies, received, wire

# Words of an exception, and what they most likely mean.
LIKELY = {
    "mismatch in its core dimension": (
        "two matrices do not fit: must one of them be transposed? (.T turns all axes, not only two)"
    ),
    "object has no attribute 'shape'": "a number or a list came where an array was expected",
    "could not be broadcast": (
        "two shapes do not broadcast: is an axis missing (keepdims=True keeps it), or one too many?"
    ),
    "could not broadcast input array": (
        "what is written has another shape than the place that it is written to: compare each axis"
    ),
    "non-broadcastable output": "+= cannot enlarge an array by broadcasting: write a + b",
    "index -100 is out of bounds": (
        "-100, the label of what does not count, is no index: take a safe one there, and leave it "
        "out of the sum"
    ),
    "is out of bounds for array of dimension": (
        "the array has fewer axes (axis=-1 is always the last; keepdims=True keeps all)"
    ),
    "tuple index out of range": (
        "this tuple is shorter, perhaps x.shape: does the array have fewer axes here?"
    ),
    "tuple indices must be integers": "a tuple came: an axis, or an index, may be one",
    "list indices must be integers": "a tuple came: an axis, or an index, may be one",
    "can only concatenate": "a list and a tuple do not add: list(…) makes a list of either",
    "math range error": "math's functions raise where NumPy's give inf: take np.exp",
    "more dimensions than allowed by the axis": (
        "it has more axes than the shape that it is stretched to: was one added that was there?"
    ),
    "does not have enough dimensions": "@ needs an axis that is not there: put it back first",
    "unhashable type": "a list can be no key of a dict and in no set: make it a tuple",
    "cannot reshape array of size 0": "of an array without entries, -1 has no length: write it out",
    "cannot reshape array": "the new shape has another number of entries",
    "'NoneType'": "something is None here: an optional argument, or a missing return",
    "truth value of an array": "`if` and `and` need one truth value: use np.where, &, or .any()",
    "inhomogeneous shape": "rows of unequal length make no array; a tuple is none: unpack it first",
    "zero-size array to reduction": (
        "an empty array has no largest entry: use max(axis=…), or initial=… where nothing may be"
    ),
    "arg is an empty sequence": "nothing has no smallest: stop where none is left, or default=…",
    "argument is empty": "nothing has no smallest: stop where none is left, or default=…",
    "not broadcastable to correct shape": (
        "np.add.at needs an index for each row that is added: np.broadcast_to them first, and the "
        "index as it was given"
    ),
    "vjp() missing": "vjp takes one argument, g; that of several outputs is one tuple",
    "array is 0-dimensional": "a single number has no axes: the g of a loss is one",
    "codec can't decode": "bytes that are no UTF-8 must not raise: decode(…, errors='replace')",
    "EOF when reading": "input() waits for somebody who types, and here nobody does: delete it",
    "reading from stdin": "input() waits for somebody who types, and here nobody does: delete it",
    "expected non-negative integer": (
        "a generator's seed must not be negative: what is counted from 0 here, and what from 1?"
    ),
    "too many values to unpack": (
        "there are more values than names for them: is it a shape, of more axes here? x.shape[-1] "
        "is the last one of any"
    ),
    "not enough values to unpack": (
        "there are fewer values than names for them: is it a shape, of fewer axes here?"
    ),
    "division by zero": "a divisor is 0 for this input: what should come out then?",
    "read-only": "a broadcast view cannot be written into: make a copy first",
}


class ToDo(Exception):
    """The student has not written this function yet."""


class Symptom(str):
    """What was seen, where a grader may know more: `likely` adds the cause to it."""


class StudentError(Exception):
    """An exception from a student's function, told in the student's lines.

    mistake: the likely mistake in a few words, or None
    late:    the function that has run into the time limit, or None
    """

    def __init__(self, message, mistake=None, late=None):
        super().__init__(message)
        self.mistake, self.late = mistake, late


class Here:
    """A function in this process.

    filename: the student's file, whose lines are shown when it fails
    around:   None, or a function that returns a context manager, entered around every call
    """

    def __init__(self, function, filename=None, around=None):
        self.function, self._filename, self._around = function, filename, around

    def run(self, args, kwargs, seconds):
        """(result, edited, views); raises wire.Raised for whatever the function raises.  The time
        limit is the runner's."""
        own_args, own_kwargs = copies.copied(args), copies.copied(kwargs)
        forward = copies.made_from(self.function)
        kept = copies.copied(forward)
        result = self._called(*own_args, **own_kwargs)
        edited = copies.edited(args, kwargs, own_args, own_kwargs)
        edited += [] if copies.same(kept, forward) else [copies.FORWARD]
        copies.remember(result, own_args)
        return result, edited, copies.views(result, own_args, own_kwargs)

    def _called(self, *args, **kwargs):
        try:
            with self._around() if self._around else nullcontext():
                return self.function(*args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise wire.Raised(copies.failure_of(error, self._filename)) from None

    def run_many(self, calls, kwargs, seconds):
        """The outputs of many calls, without their VJPs."""
        copied = copies.copied
        return [copies.without_vjp(self._called(*copied(args), **copied(kwargs))) for args in calls]

    def pages(self, shapes, args, seconds):
        """The pages of memory that a call is the first to use: `copies.pages_used`."""
        return copies.pages_used(self._called, shapes, args)

    def inner(self, function):
        """A function that this one has returned."""
        return Here(function, self._filename, self._around)


class StudentFunction:
    """A student's function as a grader sees it.

    home: where it lives: `Here`, or a worker's `Remote`;  filename: the student's file
    Calling it returns what it returned, where a function in a returned tuple (a VJP) is wrapped in
    the same way. `edited` then holds the positions and names of the arguments that the last call
    changed in place, `views` of those in whose memory an array lies that it returned.
    """

    def __init__(self, name, home, filename=None):
        self.__name__ = name
        self._home, self._filename = home, filename
        self.edited, self.views = [], []

    def __call__(self, *args, **kwargs):
        with self._shown(args, kwargs):
            result, self.edited, self.views = self._home.run(args, kwargs, clock.left())
        return self._wrapped(result)

    def many(self, calls, **kwargs):
        """The outputs, without their VJPs, of calls with these tuples of arguments."""
        with self._shown(calls[0] if calls else (), kwargs):
            return self._home.run_many(calls, kwargs, clock.left())

    def pages(self, shapes, *args):
        """How many pages of memory a call with rooms of these shapes, and then `args`, is the first
        to use; 0 where the system does not tell."""
        with self._shown(args, {}):
            used = self._home.pages(shapes, args, clock.left())
        return used if type(used) is int else 0

    @contextmanager
    def _shown(self, args, kwargs):
        try:
            yield
        except wire.Raised as error:
            if error.failure["kind"] in ("NotImplementedError", "ToDo"):
                raise ToDo(self._left(error.failure["frames"])) from None
            raise self._told(error.failure, args, kwargs) from None

    def _left(self, frames):
        """What is to do where there is code, and a `raise NotImplementedError` is reached in it."""
        if not frames:
            return self.__name__
        return f"{self.__name__}: line {frames[-1][0]} still raises NotImplementedError; delete it"

    def _wrapped(self, result):
        if callable(result):
            home = self._home.inner(result)
            return StudentFunction(f"{self.__name__}'s vjp", home, self._filename)
        if copies.is_pair(result) or type(result) is tuple:
            return tuple(self._wrapped(part) if callable(part) else part for part in result)
        return result

    def _told(self, failure, args, kwargs):
        kind, message, frames = failure["kind"], failure["message"], failure["frames"]
        lines, mistake = [], None
        if kind == "TimeLimit":
            limit = message or f"{clock.allowed():g} s"
            lines.append(f"{self.__name__} was still running when the time limit of {limit} ended.")
            loop = frames and enclosing_loop(self._filename, frames[-1][0])
            if loop:
                mistake = f"an infinite loop, or one far too slow: {loop}"
        elif kind == "Lost":
            lines.append(f"{self.__name__} gave no answer: {message}.")
        elif kind == "SystemExit":
            lines.append(f"{self.__name__} ended the whole program; return a value instead.")
        elif kind == "RecursionError":
            mistake = "a recursion without an end, or deeper than Python allows: write a loop"
            if hasattr(np, self.__name__):
                mistake = f"{self.__name__} is what you are writing; NumPy's is np.{self.__name__}"
            lines.append(f"{self.__name__} called itself too often (RecursionError).")
        else:
            lines.append(f"{self.__name__} raised {kind}: {received.quoted(message)}")
            mistake = next((Symptom(m) for part, m in LIKELY.items() if part in message), None)
            if mistake is None and frames and frames[-1][2].strip().startswith("raise "):
                mistake = Symptom("your own `raise` refuses an input that is allowed: see its `if`")
        for number, function, text in frames:
            lines.append(f"  {_short(self._filename)}, line {number}, in {function}\n    {text}")
        lines.append(f"It was called with {described(args, kwargs)}.")
        late = self.__name__.removesuffix("'s vjp") if kind == "TimeLimit" else None
        return StudentError("\n".join(lines), mistake, late)


def enclosing_loop(filename, number):
    """The loop around a line that may not end, as "line 12: while i < n:", or None.

    That is the innermost `while`, or the innermost `for` where there is none.
    """
    try:
        source = Path(filename).read_bytes()
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    loops = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.While, ast.For)) and node.lineno <= number <= node.end_lineno
    ]
    if not loops:
        return None
    loop = max(loops, key=lambda node: (isinstance(node, ast.While), node.lineno))
    first = loop.lineno
    return f"line {first}: {source.decode('utf-8', 'replace').splitlines()[first - 1].strip()}"


def described(args, kwargs=None):
    """Arguments in a few words: "(2, 5) float64, (3,) int64, eps=1e-06"."""
    parts = [_describe(value) for value in args]
    parts += [f"{name}={_describe(value)}" for name, value in (kwargs or {}).items()]
    return ", ".join(parts) or "nothing"


def _describe(value):
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype}"
    if type(value) is tuple and any(isinstance(part, np.ndarray) for part in value):
        return f"({described(value)})"
    text = value.__name__ if hasattr(value, "__name__") else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _short(filename):
    return filename.replace("\\", "/").rsplit("/", 1)[-1]
