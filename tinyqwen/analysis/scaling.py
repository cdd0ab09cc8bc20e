"""Laws of scale: how a loss falls with what is spent on it."""

import numpy as np


def power_law(x, y, floor=0.0):
    """(factor, exponent) of  y = floor + factor · x^exponent, by least squares in logarithms.

    x, y (n,): positive numbers, y above the floor; on logarithmic axes the law is a straight line.
    Returns two floats. Raises ValueError for fewer than two points, or one that is not above 0.
    (Kaplan et al. 2020, section 3.)
    """
    x, above = np.asarray(x, np.float64), np.asarray(y, np.float64) - floor
    if x.size < 2 or min(x.min(), above.min()) <= 0:
        raise ValueError("power_law: a fit needs two points or more, above 0 and above the floor")
    exponent, constant = np.polyfit(np.log(x), np.log(above), 1)
    return float(np.exp(constant)), float(exponent)
