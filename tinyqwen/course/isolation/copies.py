"""What a call does to arrays, and how it fails: for functions here as for functions in a worker.

Like `wire`, this file imports NumPy alone.
"""

import math
import mmap
import traceback
from collections import deque
from contextlib import suppress

import numpy as np

with suppress(ImportError):  # there is none on Windows, where no pages are counted
    import resource


def is_plain(array):
    """True if a fresh C-contiguous copy is as good."""
    return array.flags.c_contiguous or array.size == 0 or 0 in array.strides


def apart(array):
    """A copy in a larger buffer, so that it is not contiguous."""
    buffer = np.empty(tuple(2 * n for n in array.shape), array.dtype)
    view = buffer[tuple(slice(None, 2 * n, 2) for n in array.shape)]
    view[...] = array
    return view


def copied(value):
    """A deep copy of arrays and containers.  A view that is not contiguous stays so."""
    match value:
        case np.ndarray():
            return value.copy() if is_plain(value) else apart(value)
        case tuple() if type(value) is tuple:
            return tuple(map(copied, value))
        case list():
            return list(map(copied, value))
        case dict():
            return {key: copied(item) for key, item in value.items()}
        case set():
            return set(value)
    return value


def same(before, after):
    """True unless `after`, once a copy of `before`, was changed."""
    match before:
        case np.ndarray():
            return (
                isinstance(after, np.ndarray)
                and before.shape == after.shape
                and np.array_equal(before, after, equal_nan=before.dtype.kind in "fc")
            )
        case tuple() | list():
            return len(before) == len(after) and all(map(same, before, after))
        case dict():
            return before.keys() == after.keys() and all(same(before[k], after[k]) for k in before)
        case set() | bool() | int() | float() | str() | bytes():
            return before == after
    return True  # an object of another kind: no check


def is_pair(result):
    """True for (out, vjp), and for a list of them, which unpacks as well."""
    return type(result) in (tuple, list) and len(result) == 2 and callable(result[1])


def without_vjp(result):
    """out of (out, vjp), which is everything else's own."""
    return result[0] if is_pair(result) else result


def edited(before, before_options, after, after_options):
    """Positions and names of the arguments that a call changed in place."""
    changed = [i for i, (a, b) in enumerate(zip(before, after)) if not same(a, b)]
    return changed + [k for k in before_options if not same(before_options[k], after_options[k])]


def views(result, args, kwargs):
    """Positions and names of the arguments in whose memory an array of the result lies."""
    parts = result if type(result) in (tuple, list) else (result,)
    arrays = [part for part in parts if is_array(part)]
    places = [*enumerate(args), *kwargs.items()]
    return [
        place
        for place, value in places
        if is_array(value) and any(np.may_share_memory(array, value) for array in arrays)
    ]


def untouched(shape):
    """Zeros (float64) in memory that nobody has used yet: the system hands out a page at a time."""
    return np.frombuffer(mmap.mmap(-1, 8 * math.prod(shape)), np.float64).reshape(shape)


def pages_used(function, shapes, args):
    """How many pages of memory function(*rooms, *args) is the first to read or write.

    rooms: `untouched` arrays of these shapes, made here. Of room that is passed over the system
    hands out nothing, so that whoever goes through all of it is told from whoever does not, without
    a clock. A result is 0 where pages are not counted.
    """
    rooms = [untouched(shape) for shape in shapes]
    before = _pages()
    function(*rooms, *args)
    return _pages() - before


def _pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if "resource" in globals() else 0


def is_array(value):
    """True for an array of NumPy's."""
    return isinstance(value, np.ndarray)


FORWARD = "the forward pass's inputs"  # what a vjp may have changed, beside its own argument


def remember(result, args):
    """Let the vjp of a result know what the forward pass was given: that is not its to change."""
    if is_pair(result):
        with suppress(AttributeError, TypeError):  # not every callable takes an attribute
            result[1].made_from = args


def made_from(function):
    """What the forward pass of a vjp was given; nothing for any other function."""
    return getattr(function, "made_from", ())


class Handed:
    """Arrays handed over lately, on either side in the same order, with equal numbers.

    A result that a later call writes into, or an array that a callback was given and the student's
    function then uses again, is a mistake that copies would hide: the worker tells which have
    `changed`, and the grader's copies are `refreshed`.
    """

    def __init__(self):
        self._kept, self._count = deque(maxlen=24), 0

    def add(self, result):
        for array in result if type(result) in (tuple, list) else (result,):
            if is_array(array) and array.dtype.kind in "biufcO":
                self._count += 1
                if array.nbytes <= 1 << 16:
                    self._kept.append((self._count, array, array.tobytes()))

    def changed(self):
        """[(number, array)] of those that are not as they were."""
        found = [(n, array) for n, array, before in self._kept if array.tobytes() != before]
        if found:
            again = [(n, array, array.tobytes()) for n, array, _ in self._kept]
            self._kept = deque(again, self._kept.maxlen)
        return found

    def refresh(self, changed):
        """Write what has changed on the other side into the arrays here."""
        kept = {n: array for n, array, _ in self._kept}
        for number, array in changed:
            mine = kept.get(number)
            if isinstance(array, np.ndarray) and mine is not None and mine.shape == array.shape:
                mine[...] = array.astype(mine.dtype)


def failure_of(error, filename):
    """What `Raised` carries: the exception's kind and message, and the frames (line, function,
    text) of it that lie in the student's file, the last three."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [(f.lineno, f.name, f.line) for f in frames if f.filename == filename]
    try:
        message = str(error)
    except Exception:
        message = ""
    failure = {"kind": type(error).__name__, "message": message[:2000], "frames": own[-3:]}
    if isinstance(error, SyntaxError):
        failure["syntax"] = (error.lineno, error.msg, error.text, error.offset)
    return failure
