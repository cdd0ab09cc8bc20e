"""GELU, the bend of GPT-2 and BERT: exact, and with tanh in the place of the error function."""

import math

import numpy as np

from tinyqwen.autograd.error_function import erf
from tinyqwen.autograd.tensor import primitive

_STEEPNESS = 2 * math.sqrt(2 / math.pi)  # (2u)' at 0


@primitive
@np.errstate(over="ignore")  # below -9 the exponential is infinite, and Φ 0, as it should be
def gelu_new(x):
    """GPT-2's GELU: x Φ(x), where tanh stands in for Φ (Hendrycks & Gimpel 2016, section 2).

        Φ(x) ≈ (1 + tanh u)/2 = 1/(1 + e^(-2u)),    2u = 2√(2/π) (x + 0.044715 x³)

    x (...). dx = g (Φ + x Φ'), where Φ' = Φ (1 - Φ) (2u)'.
    """
    inverse = np.asarray(x * x)  # of Φ; an array, also where x is a single number
    inverse *= -_STEEPNESS * 0.044715
    inverse -= _STEEPNESS
    inverse *= x
    np.exp(inverse, out=inverse)
    inverse += 1

    def vjp(g):
        slope = x * x
        slope *= _STEEPNESS * 3 * 0.044715
        slope += _STEEPNESS
        slope *= x
        phi = 1 / inverse
        slope *= 1 - phi
        slope += 1
        slope *= phi
        slope *= g
        return (slope,)

    return x / inverse, vjp


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
        slope = np.asarray(x * x)
        slope *= -0.5
        np.exp(slope, out=slope)
        slope *= x
        slope *= 1 / math.sqrt(2 * math.pi)
        slope += phi
        slope *= g
        return (slope,)

    return x * phi, vjp
