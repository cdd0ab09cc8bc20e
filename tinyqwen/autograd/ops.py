"""The elementary primitives, each beside its VJP, and the methods they give to Tensor.

Those that work entry by entry are here, with matrix products; those that run along an axis are in
`reductions.py`, those that only move entries in `shaping.py`. All are reached as `ops.<name>`.

Every function takes arrays (or Tensors) that broadcast as NumPy's do. In the VJPs, g is the
gradient of the loss with respect to the output and has the output's shape.
"""

import numpy as np

from tinyqwen.autograd.einsum import einsum  # noqa: F401
from tinyqwen.autograd.reductions import (
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    softmax,
    sum,
    var,
)
from tinyqwen.autograd.shaping import (
    broadcast_to,
    concat,  # noqa: F401
    expand_dims,
    flip,
    getitem,
    reshape,
    split,
    squeeze,
    stack,  # noqa: F401
    swapaxes,
    transpose,
    tril,
    triu,
    unbroadcast,
)
from tinyqwen.autograd.tensor import Tensor, primitive


def _shape(x):
    """The shape of an operand; None for a Python number, a constant that gets no gradient."""
    return x.shape if isinstance(x, (np.ndarray, np.generic)) else None


def _to(shape, g):
    return None if shape is None else unbroadcast(g, shape)


def _for(x, g):
    """g as the gradient of operand x."""
    return _to(_shape(x), g)


# ---------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------


@primitive
def add(x, y):
    """x + y.  d/dx = 1, d/dy = 1."""
    a, b = _shape(x), _shape(y)  # the VJP keeps no more of the operands, so they can be freed
    return x + y, lambda g: (_to(a, g), _to(b, g))


@primitive
def sub(x, y):
    """x - y.  d/dx = 1, d/dy = -1."""
    a, b = _shape(x), _shape(y)
    return x - y, lambda g: (_to(a, g), _to(b, -g))


@primitive
def mul(x, y):
    """x * y.  d/dx = y, d/dy = x."""
    return x * y, lambda g: (_for(x, g * y), _for(y, g * x))


@primitive
def div(x, y):
    """x / y.  d/dx = 1/y, d/dy = -x/y²."""
    return x / y, lambda g: (_for(x, g / y), _for(y, -g * x / (y * y)))


@primitive
def neg(x):
    """-x."""
    return -x, lambda g: (-g,)


@primitive
def pow(x, y):
    """x ** y.  d/dx = y x^(y-1), d/dy = x^y ln x (0 where x is 0, as 0^y does not depend on y)."""
    out = x**y

    def vjp(g):
        # x^0 is 1 wherever x is: with 0 x^-1 in its place, the slope at 0 would be 0 * inf
        dx = g * (y * x ** np.where(np.equal(y, 0), 0, y - 1))
        if not isinstance(y, (np.ndarray, np.generic)):
            return (_for(x, dx.astype(g.dtype, copy=False)),)
        with np.errstate(
            invalid="ignore", divide="ignore"
        ):  # below 0, x^y has a slope in x only: dy is NaN
            zero = np.equal(x, 0) & np.greater_equal(y, 0)
            log_x = np.log(np.where(zero, 1, x)).astype(g.dtype, copy=False)
        return _for(x, dx.astype(g.dtype, copy=False)), _for(y, g * out * log_x)

    return out, vjp


@primitive
def matmul(x, y):
    """x @ y with NumPy's rules: batched, broadcast, and 1-D operands.

    dx = g yᵀ and dy = xᵀ g, summed over broadcast batch axes. A 1-D operand is a row (left) or a
    column (right) whose extra axis is dropped from the result; the VJP puts it back first.
    """
    out = x @ y

    def vjp(g):
        a = x[None, :] if x.ndim == 1 else x
        b = y[:, None] if y.ndim == 1 else y
        g = g if x.ndim > 1 else np.expand_dims(g, -1 if y.ndim == 1 else -2)
        g = g if y.ndim > 1 else np.expand_dims(g, -1)
        dx = unbroadcast(g @ b.swapaxes(-1, -2), a.shape)
        dy = unbroadcast(a.swapaxes(-1, -2) @ g, b.shape)
        return dx.reshape(x.shape), dy.reshape(y.shape)

    return out, vjp


# ---------------------------------------------------------------------------------------------
# Elementwise functions
# ---------------------------------------------------------------------------------------------


@primitive
def exp(x):
    """eˣ.  Its own derivative."""
    out = np.exp(x)
    return out, lambda g: (g * out,)


@primitive
def log(x):
    """ln x.  d/dx = 1/x."""
    return np.log(x), lambda g: (g / x,)


@primitive
def sqrt(x):
    """√x.  d/dx = 1/(2√x)."""
    out = np.sqrt(x)
    return out, lambda g: (0.5 * g / out,)


@primitive
def rsqrt(x):
    """1/√x.  d/dx = -1/(2 x√x)."""
    out = 1.0 / np.sqrt(x)
    return out, lambda g: (-0.5 * g * out / x,)


@primitive
def abs(x):
    """|x|.  d/dx = sign(x), 0 at 0."""
    return np.abs(x), lambda g: (g * np.sign(x),)


@primitive
def sin(x):
    """sin x.  d/dx = cos x."""
    return np.sin(x), lambda g: (g * np.cos(x),)


@primitive
def cos(x):
    """cos x.  d/dx = -sin x."""
    return np.cos(x), lambda g: (-g * np.sin(x),)


@primitive
def tanh(x):
    """tanh x.  d/dx = 1 - tanh² x."""
    out = np.tanh(x)
    return out, lambda g: (g * (1 - out * out),)


def _sigmoid(x):
    e = np.exp(-np.abs(x))  # never above 1: nothing overflows, and σ(-20) keeps all its digits
    return np.where(x >= 0, 1, e) / (1 + e)


@primitive
def sigmoid(x):
    """σ(x) = 1/(1 + e⁻ˣ).  d/dx = σ(1 - σ)."""
    out = _sigmoid(x)
    return out, lambda g: (g * out * (1 - out),)


@primitive
def relu(x):
    """max(x, 0).  d/dx = 1 where x > 0, else 0."""
    return np.maximum(x, 0), lambda g: (g * (x > 0),)


@primitive
def silu(x):
    """x σ(x) (Elfwing et al. 2017).  By the product rule d/dx = σ + xσ(1 - σ)."""
    s = _sigmoid(x)
    return x * s, lambda g: (g * s * (1 + x * (1 - s)),)


# ---------------------------------------------------------------------------------------------
# Choosing
# ---------------------------------------------------------------------------------------------


@primitive
def maximum(x, y):
    """Elementwise maximum.  The larger operand gets g; a tie is shared half and half."""
    return np.maximum(x, y), _extremum_vjp(x, y, np.greater)


@primitive
def minimum(x, y):
    """Elementwise minimum.  The smaller operand gets g; a tie is shared half and half."""
    return np.minimum(x, y), _extremum_vjp(x, y, np.less)


def _extremum_vjp(x, y, wins):
    def vjp(g):
        tie = 0.5 * g * np.equal(x, y)
        return _for(x, g * wins(x, y) + tie), _for(y, g * wins(y, x) + tie)

    return vjp


@primitive
def clip(x, minimum=None, maximum=None):
    """x limited to [minimum, maximum].  d/dx = 1 inside and on the bounds; outside, the bound's."""
    out = np.clip(x, minimum, maximum)

    def vjp(g):
        low = None if minimum is None else _for(minimum, g * (x < minimum))
        high = None if maximum is None else _for(maximum, g * (x > maximum))
        return _for(x, g * (out == x)), low, high

    return out, vjp


@primitive
def where(condition, x, y):
    """x where condition holds, else y.  Each operand gets g where it was chosen."""
    condition = np.asarray(condition, dtype=bool)
    out = np.where(condition, x, y)
    return out, lambda g: (None, _for(x, g * condition), _for(y, g * ~condition))


@primitive
def masked_fill(x, mask, value):
    """x with `value` where the boolean mask holds.  There g flows to value, elsewhere to x."""
    mask = np.asarray(mask, dtype=bool)
    out = np.where(mask, np.asarray(value, x.dtype), x)
    return out, lambda g: (_for(x, g * ~mask), None, _for(value, g * mask))


# ---------------------------------------------------------------------------------------------
# Methods and operators of Tensor
# ---------------------------------------------------------------------------------------------


def _add_methods():
    for name, op in dict(add=add, sub=sub, mul=mul, truediv=div, matmul=matmul, pow=pow).items():
        setattr(Tensor, f"__{name}__", lambda self, other, op=op: op(self, operand(other, self)))
        setattr(Tensor, f"__r{name}__", lambda self, other, op=op: op(operand(other, self), self))
    Tensor.__neg__, Tensor.__abs__, Tensor.__getitem__ = neg, abs, _getitem
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(Tensor, f"__{name}__", _comparison(name))
    for op in (
        *(exp, log, sqrt, rsqrt, abs, sin, cos, tanh, sigmoid, relu, silu, pow, matmul),
        *(
            maximum,
            minimum,
            clip,
            masked_fill,
            sum,
            mean,
            var,
            max,
            min,
            cumsum,
            logsumexp,
            softmax,
            log_softmax,
        ),
        *(swapaxes, expand_dims, squeeze, broadcast_to, flip, tril, triu, split),
    ):
        setattr(Tensor, op.__name__, op)
    Tensor.reshape = lambda self, *shape: reshape(self, _unpacked(shape))
    Tensor.transpose = lambda self, *axes: transpose(self, _unpacked(axes) or None)
    Tensor.reshape.__doc__, Tensor.transpose.__doc__ = reshape.__doc__, transpose.__doc__
    Tensor.T = property(transpose)


def operand(value, tensor):
    """The other operand: a list becomes an array, as weakly typed as the Python numbers in it."""
    if isinstance(value, np.ndarray) and not value.ndim:
        return value.item()  # np.array(2.0) is no reason to leave float32, as 2.0 is none
    if not isinstance(value, (list, tuple)):
        return value
    array = np.asarray(value)
    return array.astype(np.result_type(tensor.dtype, array.dtype.type(0).item()))


def _unpacked(values):
    """x.reshape(2, 3) and x.reshape((2, 3)) are both usual; so is transpose(None)."""
    return values[0] if len(values) == 1 and not isinstance(values[0], int) else values


def _getitem(x, index):
    if isinstance(index, tuple):
        index = tuple(i.data if isinstance(i, Tensor) else i for i in index)
    return getitem(x, index)


def _comparison(name):
    def compare(self, other):
        if other is None and name in ("eq", "ne"):
            return name == "ne"
        other = other.data if isinstance(other, Tensor) else other
        return Tensor(getattr(np.asarray(self.data), f"__{name}__")(other))

    compare.__name__ = f"__{name}__"
    return compare


_add_methods()
