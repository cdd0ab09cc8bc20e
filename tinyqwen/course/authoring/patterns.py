"""What the numbers alone give away, whatever function they come from: a sign, a factor, a shift."""

from itertools import combinations, permutations

import numpy as np

from tinyqwen.course.authoring.agreement import agrees, wrong_entries
from tinyqwen.course.calls import Symptom

# What may have been done to every one of the right numbers.
FUNCTIONS = {
    "squared": np.square,
    "their roots": np.sqrt,
    "one divided by each": np.reciprocal,
    "one minus each": lambda x: 1 - x,
    "their logarithms": np.log,
    "e to the power of each": np.exp,
    "those below zero cut off": lambda x: np.maximum(x, 0),
    "to the power of three": lambda x: x**3,
    "one minus the square of each": lambda x: 1 - x * x,
    "√(1 - x²) of each": lambda x: np.sqrt(1 - x * x),
    "(1 + x) / 2 of each": lambda x: (1 + x) / 2,
    "2 x - 1 of each": lambda x: 2 * x - 1,
    "x (1 - x) of each": lambda x: x * (1 - x),
    "the angle of which each is the cosine": np.arccos,
    "the tanh of each": np.tanh,
    "the sigmoid of each": lambda x: 1 / (1 + np.exp(-x)),
    "ln(1 + x) of each": np.log1p,
}


def is_told_apart(array):
    """True if an array has so many different numbers that their order is no chance."""
    return len(np.unique(array)) > max(2, array.size // 3)


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
    if expected.dtype.kind == "b":
        return _of_masks(yours, expected)
    if expected.size < 2 or expected.dtype.kind not in "f":
        return None
    if same(yours, np.zeros_like(yours)):
        return Symptom("all zeros")
    alike = np.ptp(expected) == 0  # then a factor shows as a difference, too
    if not alike and (step := _one_difference(yours, expected)) is not None:
        return f"every entry is off by {step:+.6g}"
    if agrees(yours, expected, 2e-5, like=like):
        return "a difference of rounding size: computed in float32, or with another small constant?"
    if same(-yours, expected):
        return "the sign is wrong"
    if same(np.abs(yours), np.abs(expected)):
        return "the right numbers, of which some have the wrong sign"
    for told, function in FUNCTIONS.items() if len(np.unique(expected)) > 2 else ():
        with np.errstate(all="ignore"):
            made = function(expected.astype(np.float64))
        if not np.array_equal(made, expected, equal_nan=True) and same(yours, made):
            return f"the right numbers, but {told}"
    if told := _rounded(yours, expected, same):
        return told
    if told := _of_all(yours, expected, same):
        return told
    wrong = wrong_entries(yours, expected, like=like)
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
        factor = _one_factor_along(axis, yours, expected, same)
        if expected.shape[axis] > 1 and factor is not None:
            return Symptom(
                f"along axis {axis} all entries have one wrong factor, which differs elsewhere: "
                "look at what is divided or multiplied by a sum, a mean or a norm"
            )
        if expected.shape[axis] > 1 and _has_one_difference_along(axis, yours, expected, same):
            return Symptom(
                f"along axis {axis} all entries are off by one number, which differs elsewhere: "
                "look at what is added or subtracted, a mean, a maximum or the logarithm of a sum"
            )
    if not is_told_apart(expected):
        return None
    for one, other in combinations(range(expected.ndim), 2):
        turned = np.swapaxes(yours, one, other)
        if turned.shape == expected.shape and expected.shape[one] > 1 and same(turned, expected):
            return f"axes {one} and {other} are exchanged"
    for axis in range(expected.ndim):
        if expected.shape[axis] > 1:
            if same(np.flip(yours, axis), expected):
                return f"axis {axis} runs backwards"
            for step in (1, -1):
                if same(np.roll(yours, step, axis), expected):
                    return f"axis {axis} is shifted by one"
    if told := _one_for_all(yours, expected, same):
        return told
    if same(np.sort(yours, axis=None), np.sort(expected, axis=None)):
        return "the right numbers in the wrong places: look at the order of transpose and reshape"
    return None


def _one_for_all(yours, expected, same):
    """What is said where along an axis the first, or the last, right entry stands everywhere."""
    for axis in range(expected.ndim):
        if expected.shape[axis] < 2 or _is_level(axis, expected) or not np.isfinite(yours).all():
            continue
        for told, index in (("first", 0), ("last", -1)):
            one = np.broadcast_to(expected.take([index], axis), expected.shape)
            if same(yours, one):
                return Symptom(f"along axis {axis} the {told} right entry stands everywhere")
    return None


def place(yours, expected, like=None, axes=""):
    """Where all that is wrong stands, if it is in some slices along an axis and most of each."""
    if yours.shape != expected.shape or expected.size < 6:
        return None
    wrong = wrong_entries(yours, expected, like=like)
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
    less = {1 - 1 / n: f"(1 - 1/n) with n = {told}" for n, told in known.items() if ratio < 1}
    less |= {n**0.5: f"√{told}" for n, told in less.items()}
    roots = {n**0.5: f"√{told}" for n, told in known.items() if n**0.5 % 1}  # 2 is no √4
    known |= roots | less
    known |= {np.log(2): "ln 2", np.log(10): "ln 10", np.pi: "π", 2 * np.pi: "2π"}
    known |= {2**0.5: "√2", 8**0.5: "2√2", np.pi**0.5: "√π", (2 * np.pi) ** 0.5: "√(2π)"}
    for number, told in known.items():
        for value, text in ((number, told), (1 / number, f"1 / {told}")):
            if abs(ratio / value - 1) < 1e-5:
                return f": that is {text}"
    return ""


def _of_masks(yours, expected):
    if yours.all() or not yours.any():
        return f"all of it is {bool(yours.flat[0])}" if yours.size else None
    if np.array_equal(yours, ~expected):
        return "True and False are exchanged"
    for axis in range(expected.ndim):
        if np.array_equal(np.flip(yours, axis), expected):
            return f"axis {axis} runs backwards"
    return None


def _one_difference(yours, expected):
    """The number that every entry is off by, or None; beside large numbers it may look small."""
    finite = np.isfinite(expected)
    if not np.array_equal(yours[~finite], expected[~finite], equal_nan=True) or not finite.any():
        return None
    steps = yours[finite].astype(np.float64) - expected[finite].astype(np.float64)
    rounding = 8 * np.finfo(expected.dtype).eps * np.abs(expected[finite]).max()
    if np.isfinite(steps).all() and np.ptp(steps) < 1e-6 * abs(steps[0]) + rounding:
        return steps[0]
    return None


def _is_level(axis, expected):
    """True if there is hardly a difference along the axis: then it gives nothing away."""
    finite = np.where(np.isfinite(expected), expected, 0).astype(np.float64)
    return np.ptp(finite, axis).max(initial=0) <= 1e-3 * np.abs(finite).max(initial=0)


def _one_factor_along(axis, yours, expected, same):
    """What expected is multiplied by, if that is one number along the axis, or None."""
    if _is_level(axis, expected):
        return None
    with np.errstate(all="ignore"):
        size = (yours * expected).sum(axis, keepdims=True)
        factor = size / np.square(expected, dtype=np.float64).sum(axis, keepdims=True)
        found = np.isfinite(factor).all() and np.any(factor) and same(yours, factor * expected)
        return factor if found else None


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


def _of_all(yours, expected, same):
    """What is said where one number stands for all entries, or for all along an axis."""
    kinds = {"sum": np.sum, "mean": np.mean, "largest": np.max, "smallest": np.min}
    for axis in (None, *range(expected.ndim)):
        where = "all entries" if axis is None else f"those along axis {axis}"
        for kind, made in kinds.items():
            if axis is None or expected.shape[axis] > 1:
                one = np.broadcast_to(made(expected, axis=axis, keepdims=True), expected.shape)
                if np.any(one) and np.isfinite(one).all() and same(yours, one):
                    return Symptom(
                        f"in place of each entry stands the {kind} of {where}: they stay apart"
                    )
    return None


def _rounded(yours, expected, same):
    """What is said of numbers that have been rounded; large ones are hardly changed by it."""
    if expected.size < 3 or not is_told_apart(expected) or np.abs(expected).max() > 1000:
        return None
    if any(cut.any() and same(yours, cut) for cut in (np.floor(expected), np.trunc(expected))):
        return "the right numbers, without what is behind the point: // divides whole numbers"
    for digits in range(7):
        if np.round(expected, digits).any() and same(yours, np.round(expected, digits)):
            return f"the right numbers, rounded to {digits} digits: return them as they are"
    return None


def _shape_pattern(yours, expected, same):
    if yours.ndim == expected.ndim and 1 < yours.ndim < 5:
        for axes in permutations(range(yours.ndim)):
            turned = yours.transpose(axes)
            if turned.shape == expected.shape and same(turned, expected):
                moved = [axis for axis, place in enumerate(axes) if axis != place]
                if len(moved) > 2:
                    return f"its axes stand in another order: transpose{axes} puts them right"
                told = " and ".join(map(str, moved))
                return f"it is transposed: axes {told} are exchanged"
    if yours.size == expected.size and same(yours.reshape(expected.shape), expected):
        return _only_the_shape(yours.shape, expected.shape)
    if yours.ndim > expected.ndim:
        extra = tuple(range(yours.ndim - expected.ndim))
        if same(yours.sum(extra), expected):
            return "the sum over the leading axes is missing"
    if yours.ndim == expected.ndim:
        pairs = enumerate(zip(yours.shape, expected.shape))
        longer = tuple(axis for axis, (mine, right) in pairs if mine > right == 1)
        if longer and same(yours.sum(longer, keepdims=True), expected):
            return f"the sum over axis {', '.join(map(str, longer))}, of length 1, is missing"
    if groups := _of_groups(yours, expected, same):
        return groups
    for axis in (None, *range(expected.ndim)):
        if expected.size > yours.size > 0 and same(yours, expected.sum(axis)):
            over = "all entries" if axis is None else f"axis {axis}"
            return f"the right numbers, summed over {over}: they stay apart"
    if yours.ndim <= expected.ndim and _spreads(yours, expected):
        return "the right numbers, not copied to every entry of the input's shape"
    if told := _of_slices(yours, expected, same):
        return told
    if yours.ndim != expected.ndim:
        return Symptom(f"it has {yours.ndim} axes, where {expected.ndim} are asked for")
    if expected.ndim:
        axis = next(i for i, (a, b) in enumerate(zip(yours.shape, expected.shape)) if a != b)
        pair = yours.shape[axis], expected.shape[axis]
        return Symptom(f"axis {axis} has the length {pair[0]}, where {pair[1]} is asked for")
    return None


def _only_the_shape(mine, right):
    """What sets two shapes apart whose numbers are the same: axes of length 1, most often."""
    told = "the numbers are right; only the shape is not"
    if [n for n in mine if n != 1] != [n for n in right if n != 1]:
        return told
    if len(mine) > len(right):
        return f"{told}: it has an axis of length 1 too many (left by keepdims=True?)"
    if len(mine) == len(right):
        return f"{told}: the axes of length 1 stand in another place"
    return Symptom(
        f"{told}: an axis of length 1 is missing (keepdims=True keeps one, squeeze() drops all)"
    )


def _of_groups(yours, expected, same):
    """What is said where neighbors along an axis, or those some way apart, belong added."""
    unequal = [i for i, (a, b) in enumerate(zip(yours.shape, expected.shape)) if a != b]
    if yours.ndim != expected.ndim or len(unequal) != 1:
        return None
    (axis,) = unequal
    many, few = yours.shape[axis], expected.shape[axis]
    if not few or many < few or many % few:
        return None
    for shape, summed in (((few, many // few), axis + 1), ((many // few, few), axis)):
        parts = yours.reshape(*yours.shape[:axis], *shape, *yours.shape[axis + 1 :])
        if same(parts.sum(summed), expected):
            told = f"along axis {axis} there are {many} where {few} are due"
            return f"{told}: {many // few} belong to each, and their sum is missing"
    return None


def _of_slices(yours, expected, same):
    """What is said where the right entries come, and too few or too many of them along an axis."""
    unequal = [i for i, (a, b) in enumerate(zip(yours.shape, expected.shape)) if a != b]
    if yours.ndim != expected.ndim or len(unequal) != 1 or not yours.size or not expected.size:
        return None
    (axis,) = unequal
    pair = yours, expected
    few, many = sorted(pair, key=lambda array: array.shape[axis])
    count, more = few.shape[axis], many.shape[axis] - few.shape[axis]
    for part, end in ((range(count), "end"), (range(more, more + count), "beginning")):
        if same(few, many.take(part, axis)):
            missing = few is yours
            told = "missing at" if missing else "too many at"
            return f"along axis {axis} {more} {told} the {end}; the others are right"
    return None


def _spreads(yours, expected):
    """True if the missing entries of `yours` would come from broadcasting, whatever its axes."""
    try:
        return agrees(np.broadcast_to(yours, expected.shape), expected, 1e-5)
    except ValueError:
        return False
