"""erf against Python's own, which is correct to a unit in the last place."""

import math

import numpy as np
import pytest

from tinyqwen import gradcheck
from tinyqwen.autograd.error_function import PIECE, erf


@pytest.mark.parametrize("dtype, units", [(np.float32, 7), (np.float64, 10)])
def test_erf_to_some_units_in_the_last_place(dtype, units):
    x = np.concatenate([np.linspace(-7, 7, 2 * PIECE + 3), np.logspace(-300, 0, 99)]).astype(dtype)
    found, expected = erf.raw(x)[0], np.array([math.erf(value) for value in x])
    assert found.dtype == dtype and np.abs(found).max() == 1
    unit = np.spacing(np.abs(expected).astype(dtype)).astype(np.float64)
    assert (np.abs(found - expected) / unit).max() <= units


def test_erf_at_the_edge():
    x = np.array([np.inf, -np.inf, 0.0, -0.0, np.nan])
    np.testing.assert_array_equal(erf.raw(x)[0], [1, -1, 0, 0, np.nan])
    assert np.signbit(erf.raw(x)[0][3])
    assert erf.raw(np.float64(0.5))[0].shape == () and erf.raw(np.ones((0, 3)))[0].shape == (0, 3)
    assert erf.raw(np.ones((4, 3)).T)[0].shape == (3, 4)


def test_gradient(rng):
    assert gradcheck(erf, rng.standard_normal((3, 4)).T)
