"""Why two arrays differ: the worst entry, and the mistake that most likely made it.

A grader names the mistakes it knows, each with a wrong variant that computes what the mistake would
compute; the one that gives the student's numbers is the diagnosis. Where none does, the patterns
that every array can show are tried: a sign, a factor, a transpose, a shift.
"""

from contextlib import contextmanager

import numpy as np

from tinyqwen.course.calls import Symptom

# Largest allowed difference, relative to the entry and to the largest entry of the array.
TOLERANCE = {"f8": (1e-6, 1e-9), "f4": (1e-4, 1e-5)}


GUESS = "a guess"  # marks a mistake that no author has listed


class CheckFailed(AssertionError):
    """What a student reads when a check fails.

    mistake: the likely mistake in a few words, or None
    picture: None, or (yours, expected, axes) for arrays large enough to be looked at
    """

    def __init__(self, message, mistake=None, picture=None):
        super().__init__(message)
        self.mistake, self.picture = mistake, picture


@contextmanager
def likely(mistake, of=Exception):
    """Give this diagnosis to whatever fails inside, a check or a call, without one of its own.

    What shows only a symptom, a NaN or shapes that do not broadcast, keeps it, with this behind it.
    of: the failures that it explains; `StudentError` are those that the student's function raises
    """
    try:
        yield
    except of as failure:
        seen = getattr(failure, "mistake", "")
        if seen is None:
            failure.mistake = mistake
        elif isinstance(seen, Symptom) and mistake is not None:
            failure.mistake = f"{seen}; {mistake}"
        raise


def allowed(expected, rtol=None, like=None):
    """The difference that is allowed in each entry of `expected`.

    like: what sets the tolerance by its dtype, if it is not `expected` itself; differences that are
        rounding beside a number of its size are allowed, too
    """
    dtype = np.asarray(expected if like is None else like).dtype
    relative, floor = TOLERANCE.get(f"{dtype.kind}{dtype.itemsize}", (0, 0))
    if rtol is not None:
        relative, floor = rtol, rtol / 10
    size = np.abs(np.where(np.isfinite(expected), expected, 0).astype(np.float64))
    scale = 1e-6 if like is None else np.abs(like).max(initial=1e-6)
    return relative * size + floor * max(size.max(initial=0), scale)


def agrees(yours, expected, rtol=None, like=None) -> bool:
    """True if both have one shape and no entry differs by more than is allowed."""
    yours, expected = np.asarray(yours), np.asarray(expected)
    if yours.shape != expected.shape or yours.dtype.kind not in "biuf":
        return False
    return not _wrong(yours, expected, rtol, like).any()


def _wrong(yours, expected, rtol=None, like=None):
    if expected.dtype.kind in "biu":
        return yours != expected
    with np.errstate(invalid="ignore"):
        difference = np.abs(yours.astype(np.float64) - expected.astype(np.float64))
        equal = (yours == expected) | (np.isnan(yours) & np.isnan(expected))
        return ~(equal | (difference <= allowed(expected, rtol, like)))


def compare(
    yours,
    expected,
    what,
    *,
    case="",
    axes="",
    mistakes=(),
    rtol=None,
    like=None,
    sizes=None,
    told_by=None,
    patterns=True,
):
    """Raise CheckFailed unless `yours` agrees with `expected`.

    what:     what the array is, for the first line: "the output of silu"
    case:     the input, in words
    axes:     names of the axes, e.g. "batch time feature", aligned with the last ones
    mistakes: [(name, a function that returns what the mistake would give, or None)]
    like:     the array whose dtype sets the tolerance (expected is often float64)
    sizes:    {number: what it is, of this input}, to say what a wrong factor may be
    told_by:  None, or a function of `yours` that gives the mistake, tried after those
    patterns: False for what is computed from a student's output: its numbers give nothing away
    """
    yours, expected = as_array(yours, expected, what, case), np.asarray(expected)
    if agrees(yours, expected, rtol, like):
        return
    mistake = known_mistake(yours, expected, mistakes, like)
    if mistake is None and told_by is not None and yours.shape == expected.shape:
        mistake = told_by(yours)
    if patterns or yours.shape != expected.shape:
        mistake = mistake or pattern(yours, expected, like, sizes)
        mistake = mistake or place(yours, expected, like, axes)
    lines = [f"{what} is wrong."]
    if case:
        lines.append(f"  input     {case}")
    picture = None
    if yours.shape != expected.shape:
        lines += [f"  expected  shape {expected.shape}", f"  yours     shape {yours.shape}"]
    else:
        wrong = _wrong(yours, expected, rtol, like)
        index = worst_index(yours, expected, wrong)
        lines.append(f"  worst at  {named_index(index, axes)}")
        lines.append(f"  expected  {_number(expected[index])}")
        lines.append(f"  yours     {_number(yours[index])}")
        if expected.size > 1:
            lines.append(f"  wrong     {wrong.sum()} of {expected.size} entries")
        if 1 < expected.size <= 8:
            lines.append(f"  all of it expected {_row(expected)}")
            lines.append(f"            yours    {_row(yours)}")
        if expected.ndim > 1 and expected.size >= 24:
            picture = (yours, expected, axes)
    raise CheckFailed("\n".join(lines), mistake, picture)


def as_array(yours, expected, what, case=""):
    """What the student returned, as an array; CheckFailed if it is none."""
    at = f"\n  input     {case}" if case else ""
    if yours is None:
        place = "None stands in its place: this array has a gradient"
        told = place if "the gradient of" in what else "a return statement is missing"
        raise CheckFailed(f"{what} is None.{at}", told)
    kinds = (np.ndarray, np.generic) + ((int, float) if np.ndim(expected) == 0 else ())
    if not isinstance(yours, kinds):
        told = "np.array(…) makes one of a list" if type(yours) is list else None
        raise CheckFailed(f"{what} is a {type(yours).__name__}, not an array.{at}", told)
    array = np.asarray(yours)
    if array.dtype.kind not in "biuf":
        raise CheckFailed(f"{what} has dtype {array.dtype}: real numbers were expected.{at}")
    return array


def known_mistake(yours, expected, mistakes, like=None):
    """The name of the first mistake whose wrong variant gives the student's numbers.

    mistakes: (name, wrong) or (name, wrong, elsewhere): one for which elsewhere() is false does not
        explain what comes for other inputs, and is told only if no other of these does; with GUESS
        behind them, it is not told then at all
    """
    doubtful = None
    for name, wrong, *elsewhere in mistakes:
        guess = elsewhere[1:] == [GUESS]
        if doubtful and not elsewhere:
            break  # what comes now is no author's list
        try:
            with np.errstate(all="ignore"):
                wrong_values = wrong()
        except (ArithmeticError, IndexError, TypeError, ValueError):
            continue  # this mistake cannot be made with this input
        if wrong_values is None or agrees(wrong_values, expected, like=like):
            continue  # nor does it show with this one
        if agrees(yours, wrong_values, 1e-5, like=like):
            if all(fits() for fits in elsewhere[:1]):
                return name
            doubtful = doubtful or (None if guess or not yours.size else name)
    return doubtful


def pattern(yours, expected, like=None, sizes=None):
    """What the numbers alone give away, or None."""

    def same(x, y):
        return agrees(x, y, 1e-5, like=like)

    if expected.dtype.kind == "b" and yours.dtype.kind != "b":
        return f"True and False are asked for; these are numbers of dtype {yours.dtype}"
    if yours.dtype.kind == "b" and expected.dtype.kind != "b":
        return "numbers are asked for; these are True and False, the outcome of a comparison"
    if yours.shape != expected.shape:
        return _shape_pattern(yours, expected, same)
    if yours.dtype.kind == "f":
        if np.isnan(yours).any() and not np.isnan(expected).any():
            return Symptom("NaN: an overflow (inf - inf, inf / inf, 0 * inf) or a division 0 / 0")
        if np.isinf(yours).any() and not np.isinf(expected).any():
            return Symptom("infinity: an overflow or a division by zero")
    if expected.size > 1 and expected.dtype.kind in "iu" and yours.dtype.kind in "iu":
        step = int(yours.flat[0]) - int(expected.flat[0])  # which a uint8 may not hold
        if step and np.array_equal(yours.astype(object), expected.astype(object) + step):
            return f"every entry is off by {step:+d}"
    if expected.size < 2 or expected.dtype.kind not in "f":
        return None
    if same(yours, np.zeros_like(yours)):
        return Symptom("all zeros")
    if (step := _one_difference(yours, expected)) is not None:
        return f"every entry is off by {step:+.6g}"
    if agrees(yours, expected, 1e-4, like=like):
        return "a difference of rounding size: computed in float32, or with another small constant?"
    if same(-yours, expected):
        return "the sign is wrong"
    if same(np.abs(yours), np.abs(expected)):
        return "the right numbers, of which some have the wrong sign"
    if any(cut.any() and same(yours, cut) for cut in (np.floor(expected), np.trunc(expected))):
        return "the right numbers, without what is behind the point: // divides whole numbers"
    for digits in range(7):
        if np.round(expected, digits).any() and same(yours, np.round(expected, digits)):
            return f"the right numbers, rounded to {digits} digits: return them as they are"
    wrong = _wrong(yours, expected, like=like)
    if not expected[wrong].any():
        if np.abs(yours[wrong]).max() < 1e-5:
            return "tiny numbers stand where zeros belong: is a small constant added to a divisor?"
        return "some entries that must be zero are not; all others are right"
    large = np.abs(expected) > 1e-3 * np.abs(expected).max()
    if large.sum() > 1:
        with np.errstate(all="ignore"):
            ratio = yours[large][0] / expected[large][0]
            if abs(ratio - 1) > 1e-4 and same(yours, ratio * expected):
                told = f"every entry is {ratio:.6g} times what it should be"
                return told + meaning(ratio, expected.shape, sizes)
    for axis in range(expected.ndim):
        if expected.shape[axis] > 1 and _has_one_factor_along(axis, yours, expected, same):
            return Symptom(
                f"along axis {axis} all entries have one wrong factor, which differs elsewhere: "
                "look at what is divided or multiplied by a sum, a mean or a norm"
            )
        if expected.shape[axis] > 1 and _has_one_difference_along(axis, yours, expected, same):
            return Symptom(
                f"along axis {axis} all entries are off by one number, which differs elsewhere: "
                "look at what is added or subtracted, a mean, a maximum or the logarithm of a sum"
            )
    for axis in range(expected.ndim):
        if expected.shape[axis] > 1:
            if same(np.flip(yours, axis), expected):
                return f"axis {axis} runs backwards"
            for step in (1, -1):
                if same(np.roll(yours, step, axis), expected):
                    return f"axis {axis} is shifted by one"
    if same(np.sort(yours, axis=None), np.sort(expected, axis=None)):
        return "the right numbers in the wrong places: look at the order of transpose and reshape"
    return None


def place(yours, expected, like=None, axes=""):
    """Where all that is wrong stands, if it is in some slices along an axis and most of each."""
    if yours.shape != expected.shape or expected.size < 6:
        return None
    wrong = _wrong(yours, expected, like=like)
    for axis in range(expected.ndim):
        share = wrong.mean(tuple(n for n in range(expected.ndim) if n != axis))
        at = np.flatnonzero(share)
        if 0 < len(at) < len(share) and share[at].min() > 0.6:
            names = axes.split()[-expected.ndim :]
            name = names[axis] if len(names) == expected.ndim else f"axis {axis}, index"
            told = ", ".join(map(str, at[:8])) + (" …" if len(at) > 8 else "")
            return Symptom(f"all that is wrong stands at {name} {told}; the rest is right")
    return None


def meaning(ratio, shape, sizes=None):
    """What a factor is likely to be: a length, its root, or a well-known number, or nothing."""
    known = {float(n): f"{n}, the length of axis {axis}" for axis, n in enumerate(shape) if n > 2}
    known = {float(n): f"{n}, {told}" for n, told in (sizes or {}).items() if n > 2} | known
    less = {1 - 1 / n: f"(1 - 1/n) with n = {told}" for n, told in known.items()}
    known |= {n**0.5: f"√{told}" for n, told in known.items()} | less
    known |= {np.log(2): "ln 2", np.log(10): "ln 10", np.pi: "π", 2 * np.pi: "2π"}
    for number, told in known.items():
        for value, text in ((number, told), (1 / number, f"1 / {told}")):
            if abs(ratio / value - 1) < 1e-5:
                return f": that is {text}"
    return ""


def _one_difference(yours, expected):
    """The number that every entry is off by, or None; beside large numbers it may look small."""
    finite = np.isfinite(expected)
    if not np.array_equal(yours[~finite], expected[~finite], equal_nan=True) or not finite.any():
        return None
    steps = yours[finite].astype(np.float64) - expected[finite].astype(np.float64)
    rounding = allowed(expected).max() / 100
    if np.isfinite(steps).all() and np.ptp(steps) < 1e-6 * abs(steps[0]) + rounding:
        return steps[0]
    return None


def _is_level(axis, expected):
    """True if there is hardly a difference along the axis: then it gives nothing away."""
    finite = np.where(np.isfinite(expected), expected, 0).astype(np.float64)
    return np.ptp(finite, axis).max(initial=0) <= 1e-3 * np.abs(finite).max(initial=0)


def _has_one_factor_along(axis, yours, expected, same):
    """True if yours is expected times a number that is one along the axis, and not everywhere."""
    if _is_level(axis, expected):
        return False
    with np.errstate(all="ignore"):
        size = (yours * expected).sum(axis, keepdims=True)
        factor = size / np.square(expected, dtype=np.float64).sum(axis, keepdims=True)
        return bool(np.isfinite(factor).all() and np.any(factor) and same(yours, factor * expected))


def _has_one_difference_along(axis, yours, expected, same):
    """True if yours is expected plus a number that is one along the axis, and not everywhere."""
    if _is_level(axis, expected):
        return False
    with np.errstate(all="ignore"):
        difference = np.where(np.isfinite(expected), yours - expected, np.nan)
    if np.isnan(difference).all(axis).any():
        return False
    more = np.nanmean(difference, axis, keepdims=True)
    return bool(np.isfinite(more).all() and same(yours, expected + more))


def _shape_pattern(yours, expected, same):
    if yours.ndim == expected.ndim and yours.ndim > 1:
        for axes in ((-1, -2), (0, 1)):
            if same(np.swapaxes(yours, *axes), expected):
                return "it is transposed"
    if yours.size == expected.size and same(yours.reshape(expected.shape), expected):
        return "the numbers are right; only the shape is not"
    if yours.ndim > expected.ndim:
        extra = tuple(range(yours.ndim - expected.ndim))
        if same(yours.sum(extra), expected):
            return "the sum over the leading axes is missing"
    if yours.ndim == expected.ndim:
        pairs = enumerate(zip(yours.shape, expected.shape))
        longer = tuple(axis for axis, (mine, right) in pairs if mine > right == 1)
        if longer and same(yours.sum(longer, keepdims=True), expected):
            return f"the sum over axis {', '.join(map(str, longer))}, of length 1, is missing"
    if yours.ndim <= expected.ndim and _spreads(yours, expected):
        return "the right numbers, not copied to every entry of the input's shape"
    if yours.ndim != expected.ndim:
        return Symptom(f"it has {yours.ndim} axes, where {expected.ndim} are asked for")
    if expected.ndim:
        axis = next(i for i, (a, b) in enumerate(zip(yours.shape, expected.shape)) if a != b)
        pair = yours.shape[axis], expected.shape[axis]
        return Symptom(f"axis {axis} has the length {pair[0]}, where {pair[1]} is asked for")
    return None


def _spreads(yours, expected):
    """True if the missing entries of `yours` would come from broadcasting, whatever its axes."""
    try:
        return agrees(np.broadcast_to(yours, expected.shape), expected, 1e-5)
    except ValueError:
        return False


def worst_index(yours, expected, wrong):
    """The index of the entry that is off the most; a NaN counts as the worst of all."""
    with np.errstate(all="ignore"):
        error = np.abs(yours.astype(np.float64) - expected.astype(np.float64))
    error = np.where(wrong, np.where(np.isnan(error), np.inf, error), -1.0)
    return tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))


def named_index(index, axes=""):
    """An index in words: "batch 1, time 0, feature 3"; "[2, 0]" where the axes have no names."""
    names = axes.split()
    if not index:
        return "the only entry"
    if len(names) < len(index):
        return f"index [{', '.join(map(str, index))}]"
    return ", ".join(f"{name} {i}" for name, i in zip(names[-len(index) :], index))


def _number(value):
    return f"{value + 0.0:.9g}" if isinstance(value, (float, np.floating)) else str(value)


def _row(array):
    array = array.reshape(-1) + (0.0 if array.dtype.kind == "f" else 0)  # -0 is written 0
    return np.array2string(array, precision=5, max_line_width=200, separator=", ")
