"""A gigabyte comes back."""

from answers import np


def silu(x):
    return np.broadcast_to(x.reshape(-1)[:1], (1 << 27,)), lambda g: (g,)
