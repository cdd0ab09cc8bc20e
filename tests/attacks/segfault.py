"""Memory overwritten until the interpreter dies."""

from answers import np


def silu(x):
    np.lib.stride_tricks.as_strided(x, (1 << 40,), (8,))[...] = 7
    return x
