"""A shape that is empty and yet too large."""

from answers import np


def silu(x):
    return np.empty((0, 1 << 40), x.dtype), lambda g: (np.empty((1 << 40, 0)),)
