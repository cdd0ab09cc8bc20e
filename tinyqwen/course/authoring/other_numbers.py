"""Mistakes that every function can have: an array in another's place, or changed before its use.

The reference, called with other numbers, gives what such a mistake gives: softmax of x / 2 has a
temperature, whatever it is a part of. What comes in proportion to the right answer is no sign of
it, for then a plain factor explains as much.
"""

from itertools import combinations, permutations

import numpy as np

CHANGES = {  # of an array, before anything else is done with it
    "the signs of {} are dropped first, |{}|": np.abs,
    "the sign of {} is turned first, -{}": np.negative,
    "{} is squared first": np.square,
    "{} is doubled first": lambda x: 2 * x,
    "{} is halved first": lambda x: x / 2,
    "what is below 0 in {} is cut off first": lambda x: np.maximum(x, 0),
    "{} is divided by the root of the length of its last axis first": lambda x: (
        x / x.shape[-1] ** 0.5
    ),
    "{} is multiplied by the root of the length of its last axis first": lambda x: (
        x * x.shape[-1] ** 0.5
    ),
    "{} is divided by the length of its last axis first": lambda x: x / x.shape[-1],
    "{} is divided by its length, √(Σ {}²), first": lambda x: (
        x / np.sqrt(np.square(x).sum(-1, keepdims=True))
    ),
    "the mean along its last axis is subtracted from {} first": lambda x: (
        x - x.mean(-1, keepdims=True)
    ),
    "{} is rounded to a whole number first": np.round,
}


def of_other_numbers(names, args, of):
    """(what it is, a function that returns the output or gradient).

    of: arguments -> the right output or gradient for them
    """
    right = np.asarray(of(*args))

    def made(others):
        result = np.asarray(of(*others))
        return None if _proportional(result, right) else result

    arrays = [i for i, x in enumerate(args) if _is_table(x)]
    for i, j in permutations(arrays, 2):
        if args[i].shape == args[j].shape:
            others = (*args[:i], args[j], *args[i + 1 :])
            yield (
                f"{names[j]} stands where {names[i]} belongs",
                lambda others=others: made(others),
            )
    for i, j in combinations(arrays, 2):
        if args[i].shape == args[j].shape:
            others = [*args]
            others[i], others[j] = args[j], args[i]
            text = f"{names[i]} and {names[j]} are exchanged"
            yield text, lambda others=others: made(others)
    for i in arrays:
        for text, change in CHANGES.items():
            others = (*args[:i], change(args[i]), *args[i + 1 :])
            yield text.replace("{}", names[i]), lambda others=others: made(others)


def _is_table(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.ndim > 0 and x.size > 1


def _proportional(made, right):
    """True if one is the other times a number, or has no entries."""
    if made.shape != right.shape or not made.size or not np.isfinite([made, right]).all():
        return not made.size
    return abs(np.vdot(made, right)) >= (1 - 1e-9) * np.linalg.norm(made) * np.linalg.norm(right)
