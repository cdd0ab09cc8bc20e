"""Laws of scale: fits of numbers that were made by a law."""

import numpy as np
import pytest

from tinyqwen.analysis.scaling import power_law


def test_a_law_is_found_again():
    x = np.array([1e3, 5e3, 2e4, 1e5])
    assert power_law(x, 12.0 * x**-0.34) == pytest.approx((12.0, -0.34))
    assert power_law(x, 1.7 + 12.0 * x**-0.34, floor=1.7) == pytest.approx((12.0, -0.34))


def test_two_points_by_hand():
    """From 1 to 100 the loss falls from 8 to 2 above the floor: ln(1/4) / ln(100)."""
    factor, exponent = power_law([1, 100], [9, 3], floor=1)
    assert (factor, exponent) == pytest.approx((8, np.log(0.25) / np.log(100)))


@pytest.mark.parametrize("x, y", [([1], [2]), ([1, 2], [1, 0.5]), ([0, 2], [3, 4])])
def test_what_has_no_logarithm_is_refused(x, y):
    with pytest.raises(ValueError, match="above the floor"):
        power_law(x, y, floor=0.5)
