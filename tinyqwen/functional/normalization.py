"""RMSNorm and LayerNorm: vectors brought to one length, so that a deep stack stays trainable."""

import numpy as np

from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.linear import column_sums


@primitive
def rms_norm(x, weight, eps=1e-6):
    """y = w x̂,  x̂ = x r,  r = 1/√(mean(x²) + ε)   (Zhang & Sennrich 2019, eq. 4).

    x (..., d), weight (d,) or None, for 1. Returns (..., d).

    With h = g w:  dw = Σ_rows g x̂, and since ∂r/∂x_j = -r³ x_j / d,
        dx_j = r h_j + Σ_i h_i x_i ∂r/∂x_j = r (h_j - x̂_j Σ_i h_i x̂_i / d).
    """
    d = x.shape[-1]
    weight = np.ones(d, x.dtype) if weight is None else weight
    # The sum of a single row is a number, and numbers cost NumPy a third of what arrays of one do.
    squares = np.vdot(x, x) if x.size == d else np.vecdot(x, x)[..., None]
    r = (d / (squares + d * eps)) ** 0.5
    xhat = x * r

    def vjp(g):
        gx = g * xhat
        dweight = column_sums(gx)
        means = (gx @ weight / d)[..., None]
        dx = g * weight
        dx -= np.multiply(xhat, means, out=gx)  # memory that is in cache already
        dx *= r
        return dx, dweight

    return xhat * weight, vjp


@primitive
def qk_norm(query, key, query_weight, key_weight, eps=1e-6):
    """An RMSNorm over each head's queries, another over its keys (Henry et al. 2020; Qwen3, 2025).

    query (B, H, T, D), key (B, H_kv, T, D); query_weight, key_weight (D,), shared by all heads.
    Returns both, normed over D: a score is then at most √D |w_q| |w_k| cos ∠(q, k), whatever the
    size of the projections. Two outputs that do not meet: each gradient is `rms_norm`'s.
    """
    query, query_vjp = rms_norm.raw(query, query_weight, eps)
    key, key_vjp = rms_norm.raw(key, key_weight, eps)

    def vjp(g):
        dquery, dquery_weight = query_vjp(g[0])
        dkey, dkey_weight = key_vjp(g[1])
        return dquery, dkey, dquery_weight, dkey_weight

    return (query, key), vjp


@primitive
def layer_norm(x, weight, bias, eps=1e-5):
    """y = w x̂ + b,  x̂ = (x - mean) r,  r = 1/√(var + ε)   (Ba et al. 2016, eq. 4).

    x (..., d); weight (d,) or None, for 1; bias (d,) or None, for 0. Mean and (biased) variance are
    taken over the last axis.

    As for rms_norm, and the mean takes its share: with h = g w,
        dx = r (h - mean(h) - x̂ mean(h x̂)),  dw = Σ_rows g x̂,  db = Σ_rows g.
    """
    weight = np.ones(x.shape[-1], x.dtype) if weight is None else weight
    bias = np.zeros(x.shape[-1], x.dtype) if bias is None else bias
    d = x.shape[-1]
    alone = x.size == d  # a single row: its sums are numbers, as in rms_norm
    centered = x - np.add.reduce(x, None if alone else -1, keepdims=not alone) / d
    squares = np.vdot(centered, centered) if alone else np.vecdot(centered, centered)[..., None]
    r = (d / (squares + d * eps)) ** 0.5
    xhat = centered * r

    def vjp(g):
        gx = g * xhat
        dweight, dbias = column_sums(gx), column_sums(g)
        dx = g * weight
        dx -= (g @ weight / d)[..., None]
        dx -= np.multiply(xhat, (gx @ weight / d)[..., None], out=gx)
        return np.multiply(dx, r, out=dx), dweight, dbias

    out = xhat * weight
    out += bias
    return out, vjp
