"""What an honest neighbor hands in: chapter 04, all of it, in plain NumPy."""

import math

import numpy as np


def linear(x, weight, bias=None):
    out = x @ weight.T
    if bias is not None:
        out = out + bias

    def vjp(g):
        rows, blame = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
        gradients = g @ weight, blame.T @ rows
        return gradients if bias is None else (*gradients, blame.sum(0))

    return out, vjp


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def silu(x):
    s = sigmoid(x)
    return x * s, lambda g: (g * (s + x * s * (1 - s)),)


erf = np.vectorize(math.erf, otypes=[np.float64])


def gelu(x):
    cdf = (0.5 * (1 + erf(x / math.sqrt(2)))).astype(x.dtype)
    slope = cdf + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return x * cdf, lambda g: (g * slope,)


def swiglu(gate, up):
    s = sigmoid(gate)

    def vjp(g):
        return g * up * (s + gate * s * (1 - s)), g * gate * s

    return gate * s * up, vjp
