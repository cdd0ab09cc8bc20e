"""The primitives that run along an axis: sums, means, extremes, and the softmax family.

axis is None (all entries), an int, or a tuple or list of ints; keepdims as in NumPy. As in PyTorch,
a number has an axis 0, which is itself.
"""

import numpy as np

from tinyqwen.autograd.tensor import primitive


def as_axes(x, axis):
    """An axis as NumPy takes it."""
    axis = tuple(axis) if isinstance(axis, list) else axis
    return None if not x.ndim and axis in (0, -1, (0,), (-1,)) else axis


def _spread(g, shape, axis, keepdims):
    """A reduction's gradient, copied back over the axes that were reduced away (a view)."""
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)


@primitive
def sum(x, axis=None, keepdims=False):
    """Σ x.  Every entry has slope 1, so each gets a copy of g."""
    axis = as_axes(x, axis)
    out, shape = np.sum(x, axis=axis, keepdims=keepdims), x.shape
    return out, lambda g: (_spread(g, shape, axis, keepdims),)


@primitive
def mean(x, axis=None, keepdims=False):
    """Σ x / n.  Each entry gets g/n."""
    axis = as_axes(x, axis)
    out = np.mean(x, axis=axis, keepdims=keepdims)
    n, shape = x.size // (out.size or 1), x.shape
    return out, lambda g: (_spread(g / n, shape, axis, keepdims),)


@primitive
def var(x, axis=None, keepdims=False, correction=0):
    """Variance Σ (x - mean)² / (n - correction).  d/dx = 2 (x - mean)/(n - correction).

    The mean moves with x too, but the deviations sum to zero, so that this term vanishes.
    correction is 0 by default, as NumPy's ddof; PyTorch's is 1.
    """
    axis = as_axes(x, axis)
    out = np.var(x, axis=axis, keepdims=keepdims, ddof=correction)
    n = x.size // (out.size or 1)

    def vjp(g):
        centered = x - np.mean(x, axis=axis, keepdims=True)
        return (_spread(2 * g / (n - correction), x.shape, axis, keepdims) * centered,)

    return out, vjp


@primitive
def max(x, axis=None, keepdims=False):
    """Maximum.  Where several entries are the largest they share g equally.

    The values alone, as NumPy gives them; PyTorch adds where they are (`argmax`).
    """
    return _extreme(x, np.max, axis, keepdims)


@primitive
def min(x, axis=None, keepdims=False):
    """Minimum.  Where several entries are the smallest they share g equally."""
    return _extreme(x, np.min, axis, keepdims)


def _extreme(x, reduce, axis, keepdims):
    axis = as_axes(x, axis)
    out = reduce(x, axis=axis, keepdims=keepdims)

    def vjp(g):
        chosen = x == _spread(out, x.shape, axis, keepdims)
        count = np.sum(chosen, axis=axis, keepdims=True)
        return (_spread(g, x.shape, axis, keepdims) * (chosen / count.astype(x.dtype)),)

    return out, vjp


@primitive
def cumsum(x, axis=-1):
    """Running sum.  x_i is in every later sum, so its gradient is g summed from i to the end."""
    if not x.ndim:  # the sum of one number
        return np.sum(x, axis=axis), lambda g: (g,)
    return np.cumsum(x, axis=axis), lambda g: (np.flip(np.cumsum(np.flip(g, axis), axis), axis),)


@primitive
def logsumexp(x, axis=-1, keepdims=False):
    """ln Σ eˣ, shifted by the maximum so that nothing overflows.  d/dx = softmax(x)."""
    axis = as_axes(x, axis)
    out = _logsumexp(x, axis)

    def vjp(g):
        finite = np.where(np.isfinite(out), out, 0)  # a row of -inf has zeros for its softmax
        return (_spread(g, x.shape, axis, keepdims) * np.exp(x - finite),)

    return out if keepdims else np.squeeze(out, axis), vjp


def _logsumexp(x, axis):
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)  # a row of -inf has the logarithm of 0, not NaN
    with np.errstate(divide="ignore"):
        return top + np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True))


@primitive
def softmax(x, axis=-1):
    """eˣ / Σ eˣ, shifted by the maximum so that nothing overflows; a row of -inf gives zeros.

    d p_i / d x_j = p_i (δ_ij - p_j), so  dx_j = Σ_i g_i p_i (δ_ij - p_j) = p_j (g_j - Σ_i g_i p_i).
    """
    axis = as_axes(x, axis)
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    out = np.exp(x - np.where(np.isfinite(top), top, 0))
    total = np.sum(out, axis=axis, keepdims=True)
    out /= np.where(total == 0, 1, total)

    def vjp(g):
        return (out * (g - np.sum(g * out, axis=axis, keepdims=True)),)

    return out, vjp


@primitive
def log_softmax(x, axis=-1):
    """x - ln Σ eˣ.  dx = g - softmax(x) Σ g."""
    axis = as_axes(x, axis)
    out = x - _logsumexp(x, axis)
    return out, lambda g: (g - np.exp(out) * np.sum(g, axis=axis, keepdims=True),)
