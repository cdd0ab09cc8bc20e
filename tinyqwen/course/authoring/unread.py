"""Which argument a function does not read: another one gives the same result.

That needs no list of mistakes and is never the wrong one: the function is asked.
"""

from contextlib import contextmanager

import numpy as np

from tinyqwen.course.authoring.diagnosis import CheckFailed
from tinyqwen.course.authoring.wrong_calls import is_pair, several
from tinyqwen.course.calls import StudentError, Symptom


@contextmanager
def told_unread(fn, call, cases):
    """Say which argument has no part in the result, behind a failure without a cause of its own."""
    try:
        yield
    except CheckFailed as failure:
        if failure.mistake is None or isinstance(failure.mistake, Symptom):
            failure.mistake = unread(fn, call, cases) or failure.mistake
        raise


def unread(fn, call, cases):
    """The first argument of which another one changes the right results and none of fn's, or
    None."""
    names = {*call.names[: max((len(one.args) for one in cases), default=0)]}
    names |= {name for one in cases for name in one.options}
    for name in call.names:
        if name in names and _has_no_part(name, fn, call, cases):
            return f"{name} is not read: with another {name} the same comes out"
    return None


def _has_no_part(name, fn, call, cases):
    """Whether every other argument that was tried leaves fn's results as they are, in three cases
    at least in which it changes the right ones: in fewer it may be chance."""
    found = 0
    for one in cases:
        args, options = [*one.args], dict(one.options)
        place, key = (options, name) if name in options else (args, call.names.index(name))
        if place is args and key >= len(args):
            continue
        changes = False
        for other in _others(place[key]):
            place[key] = other
            if not _changes(call.solution, one, args, options):
                continue
            changes = True
            if _changes(fn, one, args, options) is not False:
                return False
        found += changes
    return found >= 3


def _changes(function, one, args, options):
    """Whether the result for other arguments is another one; None where that cannot be told."""
    try:
        with np.errstate(all="ignore"):
            pair = _outputs(function, one.args, one.options), _outputs(function, args, options)
            told = all(np.isfinite(part).any() and not np.isnan(part).any() for part in pair[0])
            same = all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
    except (StudentError, ArithmeticError, LookupError, TypeError, ValueError):
        return None
    return not same if told or not same else None  # what overflows is alike for any input


def _outputs(function, args, options):
    result = function(*args, **options)
    return several(result[0] if is_pair(result) else result)


def _others(value):
    """Other arguments of the same kind, within the same limits."""
    match value:
        case np.ndarray() if value.dtype.kind == "f":
            half = value.dtype.type(0.5)
            return value * half, np.flip(value, -1) if value.ndim else value * half * half
        case np.ndarray() if value.dtype.kind == "b":
            return (~value,)
        case np.ndarray() if value.dtype.kind == "i" and value.size:  # marks, below 0, stay
            return np.where(value < 0, value, value.max() - value), np.flip(value)
        case bool():
            return (not value,)
        case float():
            return 0.5 * value, 0.75 * value
        case int():
            return value + 1, 2 * value + 3
    return ()
