"""The fused primitives: one NumPy function each, with a VJP derived by hand.

What a graph of elementary operations would do in ten passes over memory is done here in three. The
derivations are in the docstrings; g is always the gradient of the loss with respect to the output.
Usually imported as F. Attention, the longest of them, has a room of its own (`attention.py`), and
so have the losses (`losses.py`).
"""

import functools
import math

import numpy as np

from tinyqwen.attention import (
    grouped_query_attention,
    merge_heads,
    repeat_kv,
    scaled_dot_product_attention,
    split_heads,
)
from tinyqwen.losses import cross_entropy, linear_cross_entropy
from tinyqwen.matvec import FEW, LARGE, matvec
from tinyqwen.ops import log_softmax, relu, sigmoid, silu, softmax, tanh
from tinyqwen.random import dropout_mask
from tinyqwen.tensor import primitive

__all__ = [
    "apply_rope",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "grouped_query_attention",
    "layer_norm",
    "linear",
    "linear_cross_entropy",
    "log_softmax",
    "merge_heads",
    "relu",
    "repeat_kv",
    "rms_norm",
    "rope_tables",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "sinusoidal_table",
    "softmax",
    "split_heads",
    "swiglu",
    "tanh",
]


def _column_sums(x):
    """Sum over all axes but the last.  As a product with ones it runs at BLAS's speed."""
    rows = x.reshape(-1, x.shape[-1])
    return np.ones(len(rows), x.dtype) @ rows


@primitive
def linear(x, weight, bias=None):
    """y = x Wᵀ + b.

    x (..., in_features), weight (out_features, in_features), bias (out_features,) or None.
    Returns (..., out_features).

    y_o = Σ_i x_i W_oi + b_o for every row, so by the chain rule, summed over rows where shared:
        dx_i  = Σ_o g_o W_oi            dx = g W
        dW_oi = Σ_rows g_o x_i          dW = gᵀ x
        db_o  = Σ_rows g_o
    """
    shape = x.shape
    if shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear: x has {shape[-1]} features in its last axis, "
            f"weight {weight.shape} takes {weight.shape[-1]}"
        )
    rows = x.reshape(-1, shape[-1])
    if weight.nbytes >= LARGE and 0 < len(rows) <= FEW:
        out = matvec(weight, rows)
    elif len(rows) == 1:
        out = rows.dot(weight.T)  # half a microsecond less to call
    else:
        out = rows @ weight.T  # dot would fill it with zeros first
    if bias is not None:
        out += bias

    def vjp(g):
        g = g.reshape(-1, g.shape[-1])
        dx, dweight = (g @ weight).reshape(shape), g.T @ rows
        return (dx, dweight) if bias is None else (dx, dweight, _column_sums(g))

    return out.reshape(shape[:-1] + out.shape[1:]), vjp


@primitive
def embedding(ids, weight, padding_idx=None):
    """y = W[ids], a table look-up: the product of one-hot rows with W without multiplying.

    ids: integers of any shape (...); weight (num_embeddings, dim). Returns (..., dim).
    padding_idx: this row gets no gradient, so it stays as it was initialized.

    W_v reaches the loss through every place where ids == v:  dW_v = Σ_{ids == v} g  (scatter-add).
    Raises ValueError where an id is outside [0, num_embeddings).
    """
    check_ids(ids, len(weight))
    ids = np.asarray(ids)

    def vjp(g):
        dim = weight.shape[-1]
        dweight = np.zeros(weight.shape, weight.dtype)
        # Entry by entry: on one axis np.add.at is eight times as fast as on rows of two.
        entries = ids.reshape(-1, 1).astype(np.intp) * dim + np.arange(dim)
        np.add.at(dweight.reshape(-1), entries.reshape(-1), g.reshape(-1))
        if padding_idx is not None:
            dweight[padding_idx] = 0
        return None, dweight

    return weight[ids], vjp


def check_ids(ids, vocab_size):
    """Raise TypeError or ValueError unless ids are integers in [0, vocab_size)."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"token ids must be integers, these are {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        bad = ids[(ids < 0) | (ids >= vocab_size)][0]
        raise ValueError(
            f"token id {bad} is out of range for a vocabulary of {vocab_size} "
            f"(0 … {vocab_size - 1}); is this the model's own tokenizer?"
        )


def cosine_similarity(x, y, eps=1e-8):
    """cos ∠(x, y) = x·y / (max(‖x‖, ε) max(‖y‖, ε)): 1 same direction, 0 right angle, -1 opposite.

    x, y: arrays (..., d), broadcast over all axes but the last. Returns an array (...).
    Lengths do not matter; a vector of zeros has similarity 0 to everything. Not differentiable: it
    compares vectors (embeddings, activations), and no layer of the model is made of it.
    """
    x, y = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), eps) for v in (x, y))
    return np.vecdot(x, y)


@primitive
def rms_norm(x, weight, eps=1e-6):
    """y = w x̂,  x̂ = x r,  r = 1/√(mean(x²) + ε)   (Zhang & Sennrich 2019, eq. 4).

    x (..., d), weight (d,). Returns (..., d).

    With h = g w:  dw = Σ_rows g x̂, and since ∂r/∂x_j = -r³ x_j / d,
        dx_j = r h_j + Σ_i h_i x_i ∂r/∂x_j = r (h_j - x̂_j Σ_i h_i x̂_i / d).
    """
    d = x.shape[-1]
    # The sum of a single row is a number, and numbers cost NumPy a third of what arrays of one do.
    squares = np.vdot(x, x) if x.size == d else np.vecdot(x, x)[..., None]
    r = (d / (squares + d * eps)) ** 0.5
    xhat = x * r

    def vjp(g):
        gx = g * xhat
        dweight = _column_sums(gx)
        means = (gx @ weight / d)[..., None]
        dx = g * weight
        dx -= np.multiply(xhat, means, out=gx)  # memory that is in cache already
        dx *= r
        return dx, dweight

    return xhat * weight, vjp


@primitive
def layer_norm(x, weight, bias, eps=1e-5):
    """y = w x̂ + b,  x̂ = (x - mean) r,  r = 1/√(var + ε)   (Ba et al. 2016, eq. 4).

    x (..., d), weight (d,), bias (d,). Mean and (biased) variance over the last axis.

    As for rms_norm, and the mean takes its share: with h = g w,
        dx = r (h - mean(h) - x̂ mean(h x̂)),  dw = Σ_rows g x̂,  db = Σ_rows g.
    """
    centered = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt(np.vecdot(centered, centered)[..., None] / x.shape[-1] + eps)
    xhat = centered * r

    def vjp(g):
        h = g * weight
        dx = h - h.mean(-1, keepdims=True)
        dx -= xhat * (h * xhat).mean(-1, keepdims=True)
        dx *= r
        return dx, _column_sums(g * xhat), _column_sums(g)

    return xhat * weight + bias, vjp


def _angles(positions, dim, theta):
    """position · θ^(-2i/dim) for i = 0 … dim/2 - 1, in float64: (...) -> (..., dim/2)."""
    if dim % 2:
        raise ValueError(f"positions are encoded in pairs of entries: dim must be even, not {dim}")
    frequencies = float(theta) ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    return np.asarray(positions)[..., None] * frequencies


def sinusoidal_table(positions, dim, theta=10000.0, dtype=np.float32):
    """Sinusoidal position vectors, to be added to embeddings (Vaswani et al. 2017, section 3.5).

        PE[p, 2i] = sin(p θ^(-2i/dim)),    PE[p, 2i + 1] = cos(p θ^(-2i/dim))

    positions: integers (...), dim: size of a vector (even), theta: the base of the wavelengths.
    Returns (..., dim), computed in float64 and then cast. Raises ValueError for an odd dim.
    """
    angles = _angles(positions, dim, theta)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)  # (..., dim/2, 2)
    return pairs.reshape(*angles.shape[:-1], dim).astype(dtype)


def rope_tables(positions, dim, theta=10000.0, dtype=np.float32):
    """Cosines and sines of RoPE's angles  position · θ^(-2i/dim),  i = 0 … dim/2 - 1.

    positions: integers (...), dim: head size (even), theta: the base of the wavelengths.
    Returns cos, sin, each (..., dim): the dim/2 values twice over, once for each half of a head.
    They are computed in float64 and then cast: at position 30,000 a float32 angle would be off by a
    thousandth of a radian. Raises ValueError for an odd dim.  (Su et al. 2021, section 3.2.2.)
    """
    angles = _angles(positions, dim, theta)
    angles = np.concatenate([angles, angles], axis=-1)  # (..., dim/2) -> (..., dim)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


@primitive
def apply_rope(x, cos, sin):
    """Rotate the pairs (x_i, x_{i + d/2}) by the angles of their position (Su et al. 2021, eq. 34).

    x (..., T, d); cos, sin (..., T, d) as `rope_tables` gives, broadcast over the other axes.
    The pairing is half-split, as in Hugging Face's Qwen2: entry i goes with entry i + d/2. (The
    paper pairs neighbors 2i, 2i+1: the same rotation with the entries in another order.)

        y_1 = x_1 cos - x_2 sin        dx_1 =  g_1 cos + g_2 sin
        y_2 = x_2 cos + x_1 sin        dx_2 =  g_2 cos - g_1 sin
    A rotation's transpose is its inverse, so the VJP rotates g by the opposite angles.
    """
    return _rotate(x, cos, sin), lambda g: (_rotate(g, cos, -sin),)


def _rotate(x, cos, sin):
    """x cos + (-x_2, x_1) sin, where x is (x_1, x_2).

    NumPy is slow on short runs of numbers, such as half a head. Here they are only copied.
    """
    shape, x = x.shape, np.ascontiguousarray(x)
    halves = x.reshape(shape[:-1] + (2, shape[-1] // 2))
    swapped = halves[..., ::-1, :].reshape(shape)  # (x_2, x_1)
    out = swapped * (sin * _signs(shape[-1]))
    out += x * cos
    return out


@functools.lru_cache(maxsize=8)
def _signs(dim):
    """-1 for the first half of a head, 1 for the second."""
    return np.repeat(np.float32([-1, 1]), dim // 2)


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


_erf = np.vectorize(math.erf, otypes=[np.float64])  # NumPy has none


@primitive
def gelu(x, approximate="none"):
    """x Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016).

    approximate: "none" for Φ(x) = (1 + erf(x/√2))/2, or "tanh" for (1 + tanh(u))/2 with
    u = √(2/π) (x + 0.044715 x³).

    dx = g (Φ + x Φ'), where Φ' is the normal density e^(-x²/2)/√(2π), or (1 - tanh² u) u'/2.
    """
    if approximate == "none":
        phi = (0.5 + 0.5 * _erf(x / math.sqrt(2))).astype(x.dtype)
        slope = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    elif approximate == "tanh":
        t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
        phi = 0.5 + 0.5 * t
        slope = 0.5 * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    else:
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', not {approximate!r}")
    return x * phi, lambda g: (g * (phi + x * slope),)


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
