"""What is special about an input that goes wrong where others go well: an empty array, one axis.

No mistake has to be listed for that, and it is never the wrong one: it only says where to look.
"""

from contextlib import contextmanager

import numpy as np

from tinyqwen.course.authoring.diagnosis import CheckFailed
from tinyqwen.course.calls import StudentError, Symptom


@contextmanager
def told_apart(names, case, others, goes_well):
    """Say what sets a failing case apart, behind a failure that has no cause of its own.

    names: of the arguments;  others: the check's cases;  goes_well: case -> True, False, or None
        where nothing can go wrong, as with an empty output
    """
    try:
        yield
    except (CheckFailed, StudentError) as failure:
        seen = failure.mistake
        if seen is None or isinstance(seen, Symptom):
            tried = [(other, _tried(goes_well, other)) for other in others if other is not case]
            well = [other for other, went in tried if went]
            ill = [other for other, went in tried if went is False]
            if words := apart(names, [case, *ill], well):
                failure.mistake = Symptom(f"{seen}; {words}" if seen else words)
        raise


def apart(names, ill, well):
    """What all of `ill` have and none of `well`, in words, or None."""
    first, *rest = ([*_traits(names, one)] for one in ill)
    elsewhere = {told for one in well for told in _traits(names, one)}
    own = [t for t in first if t not in elsewhere and all(t in traits for traits in rest)]
    enough = len(well) > 2 or (well and own and own[0].endswith("is empty"))
    return f"other inputs go well; here {own[0]}" if enough and own else None


def _tried(goes_well, case):
    try:
        return goes_well(case)
    except (StudentError, CheckFailed, ArithmeticError, LookupError, TypeError, ValueError):
        return False  # what came is no array, or has another form


def _traits(names, case):
    """What can be said of a case, the most telling first."""
    given = [*zip(names, case.args), *case.options.items()]
    arrays = [(name, value) for name, value in given if isinstance(value, np.ndarray)]
    yield from (f"{name} is empty" for name, array in arrays if not array.size)
    for name, array in arrays:
        if array.dtype.kind == "f" and np.isinf(array).any():
            yield f"{name} has infinite numbers"
        elif array.dtype.kind == "f" and np.abs(array).max(initial=0) > 50:
            yield f"{name} has large numbers"
        if array.dtype.kind == "i" and (array < 0).any():
            yield f"{name} has negative numbers"
    for name, value in given:
        if isinstance(value, tuple):
            yield f"{name} is a tuple"
        if any(type(n) is int and n < 0 for n in (value if isinstance(value, tuple) else [value])):
            yield f"{name} is negative"
        if not isinstance(value, np.ndarray):
            yield f"{name} = {value.__name__ if callable(value) else str(value)[:60]}"
    yield from (f"{name} is given" for name in case.options if name in dict(arrays))
    for name, array in arrays:
        yield f"{name} has {array.ndim} {'axis' if array.ndim == 1 else 'axes'}"
    yield from (f"{name} has an axis of length 1" for name, array in arrays if 1 in array.shape)
    if case.label:
        yield f"it is “{case.label}”"
