"""What bends between two linear layers: SwiGLU; and dropout.

GELU is in `gaussian.py`; ReLU, sigmoid, tanh and SiLU are elementary operations
(`autograd/ops.py`).
"""

import numpy as np

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
