"""What bends between two linear layers: SwiGLU and GELU; and dropout.

ReLU, sigmoid, tanh and SiLU are elementary operations (`autograd/ops.py`).
"""

import math

import numpy as np

from tinyqwen.autograd.error_function import erf
from tinyqwen.autograd.random import dropout_mask
from tinyqwen.autograd.tensor import primitive


@primitive
@np.errstate(over="ignore")  # below -88 the exponential is infinite, and σ 0, as it should be
def swiglu(gate, up):
    """silu(gate) · up, elementwise: the gated half of a feed-forward block (Shazeer 2020, eq. 6).

    gate, up (...). With s = σ(gate) and the output o = gate s up:
        d up   = g · gate s
        d gate = g · up (s + gate s (1 - s)) = g · (s (up - o) + o)
    """
    inverse = np.asarray(-gate)  # of σ
    np.exp(inverse, out=inverse)
    inverse += 1
    out = gate / inverse
    out *= up

    def vjp(g):
        dgate = up - out
        dgate /= inverse
        dgate += out
        dgate *= g
        dup = gate / inverse
        dup *= g
        return dgate, dup

    return out, vjp


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


@primitive
def dropout(x, p=0.5, training=True):
    """Entries zeroed with probability p, the others scaled by 1/(1-p) (Srivastava et al. 2014).

    The expectation stays x. dx = g times the same mask. Draws from `default_rng()`.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be between 0 and 1, not {p}")
    if not training or p == 0:
        return x, lambda g: (g,)
    mask = dropout_mask(x.shape, p, x.dtype)
    return x * mask, lambda g: (g * mask,)
