"""The only door between a grader and a student: call a function, get arrays back.

`StudentFunction` looks like the function it stands for. Every call gets fresh copies of the arrays,
so that nothing a student does to them reaches the grader; whatever goes wrong inside comes out as a
`StudentError` that shows the student's own line. Graders use calls and nothing else, so that the
function can as well live in another process, which is told `(name, arguments)` and answers
`(results, arguments as they are afterwards)`.
"""

import ast
import linecache
import traceback

import numpy as np

# Words of an exception, and what they most likely mean.
LIKELY = {
    "mismatch in its core dimension": "two matrices do not fit: must one of them be transposed?",
    "could not be broadcast": "two shapes do not broadcast: is an axis missing, or one too many?",
    "non-broadcastable output": "+= cannot enlarge an array by broadcasting: write a + b",
    "cannot reshape array": "the new shape has another number of entries",
    "'NoneType'": "something is None here: an optional argument, or a missing return",
    "truth value of an array": "`if` and `and` need one truth value: use np.where, &, or .any()",
    "read-only": "a broadcast view cannot be written into: make a copy first",
}


class ToDo(Exception):
    """The student has not written this function yet."""


class TimeLimit(BaseException):
    """A test has run out of time.  No `except Exception` of a student's catches it."""


class StudentError(Exception):
    """An exception from a student's function, told in the student's lines.

    mistake: the likely mistake in a few words, or None
    """

    def __init__(self, message, mistake=None):
        super().__init__(message)
        self.mistake = mistake


class StudentFunction:
    """A student's function as a grader sees it.

    Calling it copies the arrays in, runs it, and returns what it returned, where a function in a
    returned tuple (a VJP) is wrapped in the same way. `edited` then holds the positions and names
    of the arguments that the last call changed in place.
    """

    def __init__(self, name, function, filename=None, around=None):
        self.__name__ = name
        self._function, self._filename, self._around = function, filename, around
        self.edited = []

    def __call__(self, *args, **kwargs):
        own_args, own_kwargs = _copied(args), _copied(kwargs)
        try:
            if self._around is None:
                result = self._function(*own_args, **own_kwargs)
            else:
                with self._around():
                    result = self._function(*own_args, **own_kwargs)
        except (NotImplementedError, ToDo):
            raise ToDo(self.__name__) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise self._told(error, args, kwargs) from None
        self.edited = [i for i, (a, b) in enumerate(zip(args, own_args)) if not _same(a, b)]
        self.edited += [k for k in kwargs if not _same(kwargs[k], own_kwargs[k])]
        return self._wrapped(result)

    def _wrapped(self, result):
        if callable(result):
            inner = f"{self.__name__}'s vjp"
            return StudentFunction(inner, result, self._filename, self._around)
        if type(result) is tuple:
            return tuple(self._wrapped(part) if callable(part) else part for part in result)
        return result

    def _told(self, error, args, kwargs):
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == self._filename]
        line = own[-1] if own else None
        lines, mistake = [], None
        if isinstance(error, TimeLimit):
            lines.append(f"{self.__name__} was still running when the time limit of {error} ended.")
            loop = line and enclosing_loop(line.filename, line.lineno)
            if loop:
                mistake = f"an infinite loop: {loop}"
        elif isinstance(error, SystemExit):
            lines.append(f"{self.__name__} ended the whole program; return a value instead.")
        elif isinstance(error, RecursionError):
            mistake = "endless recursion: the function calls itself and nothing stops it"
            lines.append(f"{self.__name__} called itself too often (RecursionError).")
        else:
            lines.append(f"{self.__name__} raised {type(error).__name__}: {error}")
            mistake = next((m for part, m in LIKELY.items() if part in str(error)), None)
        for frame in own[-3:]:
            where = f"{_short(frame.filename)}, line {frame.lineno}, in {frame.name}"
            lines.append(f"  {where}\n    {frame.line}")
        lines.append(f"It was called with {described(args, kwargs)}.")
        return StudentError("\n".join(lines), mistake)


def enclosing_loop(filename, number):
    """The innermost `while` or `for` around a line, as "line 12: while i < n:", or None."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError:
        return None
    loops = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.While, ast.For)) and node.lineno <= number <= node.end_lineno
    ]
    if not loops:
        return None
    first = max(node.lineno for node in loops)
    return f"line {first}: {linecache.getline(filename, first).strip()}"


def described(args, kwargs=None):
    """Arguments in a few words: "(2, 5) float64, (3,) int64, eps=1e-06"."""
    parts = [_describe(value) for value in args]
    parts += [f"{name}={_describe(value)}" for name, value in (kwargs or {}).items()]
    return ", ".join(parts) or "nothing"


def _describe(value):
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype}"
    text = value.__name__ if hasattr(value, "__name__") else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _short(filename):
    return filename.replace("\\", "/").rsplit("/", 1)[-1]


def _copied(value):
    """A deep copy of arrays and containers.  Strides are kept: a view stays non-contiguous."""
    match value:
        case np.ndarray():
            return _copied_array(value)
        case tuple() if type(value) is tuple:
            return tuple(map(_copied, value))
        case list():
            return list(map(_copied, value))
        case dict():
            return {key: _copied(item) for key, item in value.items()}
        case set():
            return set(value)
    return value


def _copied_array(array):
    if array.flags.c_contiguous or array.size == 0 or 0 in array.strides:
        return array.copy()
    buffer = np.empty(tuple(2 * n for n in array.shape), array.dtype)
    view = buffer[tuple(slice(None, 2 * n, 2) for n in array.shape)]
    view[...] = array
    return view


def _same(before, after):
    match before:
        case np.ndarray():
            return (
                isinstance(after, np.ndarray)
                and before.shape == after.shape
                and np.array_equal(before, after, equal_nan=before.dtype.kind in "fc")
            )
        case tuple() | list():
            return len(before) == len(after) and all(map(_same, before, after))
        case dict():
            return before.keys() == after.keys() and all(_same(before[k], after[k]) for k in before)
        case set() | bool() | int() | float() | str() | bytes():
            return before == after
    return True  # an object of another kind: no check
