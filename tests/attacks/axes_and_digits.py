"""As many axes as NumPy has, a number of thousands of digits, and the end of all numbers."""

from answers import np


def silu(x):
    return (10**4000, lambda g: (np.ones((1,) * 32),)) if x.ndim == 1 else 10**5000


def gelu(x):
    return np.ones((2,) * 16), lambda g: (np.ones((1,) * 32),)


def swiglu(gate, up):
    return range(10**18), lambda g: (range(10**18), range(10**18))
