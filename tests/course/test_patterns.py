"""What wrong numbers, shapes and values give away: a sentence each, by one mistake."""

import numpy as np
import pytest

from tinyqwen.course.authoring.patterns import FUNCTIONS, pattern
from tinyqwen.course.authoring.values import value_pattern

X = np.random.default_rng(1).standard_normal((3, 4))
CUBE = np.random.default_rng(2).standard_normal((2, 3, 4))
MASK = np.tril(np.ones((3, 4), bool))
HIDDEN = np.where(np.eye(3, 4, 1, bool), -np.inf, X)  # as scores behind a mask are
SHARES = np.random.default_rng(3).uniform(0.2, 0.9, (3, 4))  # where every function is defined
SQUARE = np.random.default_rng(4).standard_normal((4, 4))


@pytest.mark.parametrize(
    ("yours", "expected", "named"),
    [
        (X.T, X, "it is transposed"),
        (CUBE.swapaxes(-1, -2), CUBE, "it is transposed"),
        (CUBE.swapaxes(0, 1), CUBE, "it is transposed"),
        (X.ravel(), X, "only the shape is not"),
        (CUBE.reshape(6, 4), CUBE, "only the shape is not"),
        (X, X.sum(0), "sum over the leading axes is missing"),
        (CUBE, CUBE.sum((0, 1)), "sum over the leading axes is missing"),
        (X, X.sum(1, keepdims=True), "the sum over axis 1, of length 1, is missing"),
        (CUBE, CUBE.sum((0, 2), keepdims=True), "the sum over axis 0, 2, of length 1, is missing"),
        (X.sum(), X, "summed over all entries: they stay apart"),
        *((CUBE.sum(axis), CUBE, f"summed over axis {axis}: they stay apart") for axis in range(3)),
        (X[0], np.broadcast_to(X[0], (3, 4)), "not copied to every entry"),
        (X[:, :1], np.broadcast_to(X[:, :1], (3, 4)), "not copied to every entry"),
        (X, CUBE, "it has 2 axes, where 3 are asked for"),
        (CUBE.transpose(1, 2, 0), CUBE, "transpose(2, 0, 1) puts them right"),
        (CUBE.swapaxes(0, 2), CUBE, "axes 0 and 2 are exchanged"),
        (X[:, :3], X, "along axis 1 1 missing at the end"),
        (X[1:], X, "along axis 0 1 missing at the beginning"),
        (X, X[:, 2:], "along axis 1 2 too many at the beginning"),
        (CUBE[0, :, :3] + 9, X, "axis 1 has the length 3, where 4 is asked for"),
        (CUBE[0, :2] + 9, X, "axis 0 has the length 2, where 3 is asked for"),
    ],
)
def test_shapes(yours, expected, named):
    assert named in pattern(yours, expected)


@pytest.mark.parametrize(
    ("yours", "expected", "named"),
    [
        (np.where(X > 0.5, np.nan, X), X, "NaN: an overflow"),
        (np.where(X > 0.5, np.inf, X), X, "infinity: an overflow"),
        (0 * X, X, "all zeros"),
        (X[:1] + 0 * X, X, "along axis 0 the first right entry stands everywhere"),
        (X[:, -1:] + 0 * X, X, "along axis 1 the last right entry stands everywhere"),
        (X - 2.5, X, "every entry is off by -2.5"),
        (HIDDEN + 2.5, HIDDEN, "every entry is off by +2.5"),
        *((f(SHARES), SHARES, told) for told, f in FUNCTIONS.items() if "cut off" not in told),
        (np.maximum(X, 0), X, "those below zero cut off"),
        (np.floor(9 * X), 9 * X, "// divides whole numbers"),
        (np.where(MASK, X, 1.0), np.where(MASK, X, 0.0), "some entries that must be zero are not"),
        (
            np.where(MASK, X / 99, 1e-6),
            np.where(MASK, X / 99, 0.0),
            "tiny numbers stand where zeros",
        ),
        (X + np.arange(4.0), X, "along axis 0 all entries are off by one number"),
        (X + np.arange(3.0)[:, None], X, "along axis 1 all entries are off by one number"),
        (
            HIDDEN + np.arange(3.0)[:, None],
            HIDDEN,
            "along axis 1 all entries are off by one number",
        ),
        (X * np.arange(2.0, 6.0), X, "along axis 0 all entries have one wrong factor"),
        *((np.flip(CUBE, axis), CUBE, f"axis {axis} runs backwards") for axis in range(3)),
        *((np.roll(X, step, 0), X, "axis 0 is shifted by one") for step in (1, -1)),
        (X.ravel().reshape(4, 3).T, X, "the order of transpose and reshape"),
        (X[::-1, ::-1], X, "the order of transpose and reshape"),
        (SQUARE.T, SQUARE, "axes 0 and 1 are exchanged"),
        (1 * MASK, MASK, "True and False are asked for; these are numbers of dtype int"),
        (X > 0, X, "numbers are asked for; these are True and False"),
        (~MASK, MASK, "True and False are exchanged"),
        (MASK | True, MASK, "all of it is True"),
        (MASK[::-1], MASK, "axis 0 runs backwards"),
    ],
)
def test_numbers(yours, expected, named):
    assert named in pattern(yours, expected)


@pytest.mark.parametrize("size", [1e-4, 5e-4, 1e-2, 1])
def test_what_is_wrong_without_a_pattern_is_not_called_rounding(size):
    noise = np.random.default_rng(3).uniform(0.5, 1, X.shape) * np.sign(CUBE[0])
    assert pattern(X * (1 + size * noise), X) is None


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize(
    ("yours", "named"),
    [
        ([1, 5, 4, 2], "in reverse order"),
        ([2, 4], "the end is missing"),
        ([5, 1], "the beginning is missing"),
        ([2, 4, 5, 1, 0], "too much at the end"),
        ([1, 2, 4, 5], "in another order"),
        ([3, 5, 6, 2], "every number is off by +1"),
        ([6, 12, 15, 3], "every number is 3 times"),
        ([[2, 4], [5, 1]], "a list of lists came"),
        (None, "a return statement is missing"),
        ([9, 9], None),
    ],
)
def test_items(kind, yours, named):
    found = value_pattern(yours if yours is None else kind(yours), kind([2, 4, 5, 1]))
    assert found is None if named is None else named in found


@pytest.mark.parametrize(
    ("yours", "expected", "named"),
    [
        ((1, 2), [1, 2], "the right items, in a tuple; a list is asked for"),
        ([1, 2], (1, 2), "the right items, in a list; a tuple is asked for"),
        ("12", [1, 2], "this is a str; a list is asked for"),
        (3.0, 3, None),
        ({"a": 1}, {"a": 1, "b": 2}, "entries are missing, 'b' for one"),
        ({"a": 1, "b": 2}, {"a": 1}, "entries too many, 'b' for one"),
        ({"a": 2, "b": 3}, {"a": 1, "b": 2}, "every number is off by +1"),
        ({"1": 1}, {1: 1}, "has become text, or was text"),
        ({b"a": 1}, {"b": 1}, "the keys are of type bytes; str is asked for"),
        ("a b", " a b ", "the spaces at the ends are gone"),
        ("ab", "Ab", "capital letters have become small ones"),
        ("ab", "a b", "all spaces are gone"),
        ("a", "a b", "the end is missing"),
        ([0.33, 0.67], [1 / 3, 2 / 3], "rounded to 2 digits"),
    ],
)
def test_values(yours, expected, named):
    found = value_pattern(yours, expected)
    assert found is None if named is None else named in found
