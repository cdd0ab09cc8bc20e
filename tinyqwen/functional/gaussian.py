"""GELU, the bend of GPT-2 and BERT: exact, and with tanh in the place of the error function."""

import math

import numpy as np

from tinyqwen.autograd.error_function import erf
from tinyqwen.autograd.tensor import primitive


@primitive
def gelu_new(x):
    """GPT-2's GELU: x Φ(x), where tanh stands in for Φ (Hendrycks & Gimpel 2016, section 2).

        Φ(x) ≈ (1 + tanh u)/2,    u = √(2/π) (x + 0.044715 x³)

    x (...). dx = g (Φ + x Φ'), where Φ' = (1 - tanh² u) u'/2 = 2 Φ (1 - Φ) u'.
    """
    u = x * x
    u *= 0.044715
    u += 1
    u *= x
    u *= math.sqrt(2 / math.pi)
    phi = np.tanh(u)
    phi *= 0.5
    phi += 0.5

    def vjp(g):
        slope = phi * (1 - phi) * (2 * math.sqrt(2 / math.pi)) * (1 + 3 * 0.044715 * x * x)
        slope *= x
        slope += phi
        slope *= g
        return (slope,)

    return x * phi, vjp


@primitive
def gelu(x, approximate="none"):
    """x Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

    approximate: "none" for Φ(x) = (1 + erf(x/√2))/2, or "tanh" for `gelu_new`.

    dx = g (Φ + x Φ'), where Φ' is the normal density e^(-x²/2)/√(2π).
    """
    if approximate == "tanh":
        return gelu_new.raw(x)
    if approximate != "none":
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', not {approximate!r}")
    phi = erf.raw(x * math.sqrt(0.5))[0]
    phi *= 0.5
    phi += 0.5

    def vjp(g):
        slope = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        slope *= x
        slope += phi
        slope *= g
        return (slope,)

    return x * phi, vjp
