"""A gradient for each argument, and for one more, and for one more."""

import itertools

from answers import np


def silu(x):
    return x, lambda g: itertools.repeat(np.zeros_like(g))


def gelu(x):
    def vjp(g):
        return vjp, vjp

    return vjp, vjp
