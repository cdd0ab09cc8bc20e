"""What users of PyTorch reach for besides `ops.py`. Most are a line of those, and need no VJP.

They are methods of Tensor as well. Axes are NumPy's (`axis`, `keepdims`). Where NumPy and PyTorch
mean two things by one name, the docstring says which rule holds here.
"""

import numpy as np

from tinyqwen.autograd import ops
from tinyqwen.autograd.error_function import erf
from tinyqwen.autograd.reductions import as_axes
from tinyqwen.autograd.tensor import Tensor, primitive


def _array(x):
    return x.data if isinstance(x, Tensor) else np.asarray(x)


# ---------------------------------------------------------------------------------------------
# Entry by entry
# ---------------------------------------------------------------------------------------------


@primitive
def log1p(x):
    """ln(1 + x), exact for small x.  d/dx = 1/(1 + x)."""
    return np.log1p(x), lambda g: (g / (1 + x),)


@primitive
def expm1(x):
    """eˣ - 1, exact for small x.  d/dx = eˣ."""
    return np.expm1(x), lambda g: (g * np.exp(x),)


@primitive
def log2(x):
    """Logarithm to the base 2.  d/dx = 1/(x ln 2)."""
    return np.log2(x), lambda g: (g / (x * float(np.log(2))),)


@primitive
def log10(x):
    """Logarithm to the base 10.  d/dx = 1/(x ln 10)."""
    return np.log10(x), lambda g: (g / (x * float(np.log(10))),)


@primitive
def tan(x):
    """tan x.  d/dx = 1 + tan² x."""
    out = np.tan(x)
    return out, lambda g: (g * (1 + out * out),)


@primitive
def sign(x):
    """-1, 0 or 1.  A staircase: its slope is 0."""
    return np.sign(x), lambda g: (np.zeros_like(g),)


@primitive
def floor(x):
    """The largest integer that is not above x.  A staircase: its slope is 0."""
    return np.floor(x), lambda g: (np.zeros_like(g),)


@primitive
def round(x):
    """The nearest integer, of two the even one.  A staircase: its slope is 0."""
    return np.round(x), lambda g: (np.zeros_like(g),)


@primitive
def remainder(x, y):
    """x - y ⌊x/y⌋, which has y's sign: x % y.  d/dx = 1, d/dy = -⌊x/y⌋."""
    dx, dy = (np.shape(value) for value in (x, y))

    def vjp(g):
        return ops.unbroadcast(g, dx), ops.unbroadcast(-g * np.floor(x / y), dy)

    return np.remainder(x, y), vjp


def square(x):
    """x²."""
    return ops.mul(x, x)


def softplus(x):
    """ln(1 + eˣ), without overflow."""
    return ops.maximum(x, 0) + log1p(ops.exp(-ops.abs(x)))


def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else negative_slope · x  (Maas et al. 2013)."""
    return ops.where(_array(x) > 0, x, negative_slope * x)


def elu(x, alpha=1.0):
    """x where x > 0, else alpha (eˣ - 1)  (Clevert et al. 2015, eq. 15)."""
    return ops.where(_array(x) > 0, x, alpha * expm1(ops.clip(x, maximum=0)))


# ---------------------------------------------------------------------------------------------
# Along an axis
# ---------------------------------------------------------------------------------------------


@primitive
def std(x, axis=None, keepdims=False, correction=0):
    """√var.  d/dx = (x - mean) / (std (n - correction)), 0 where all entries are equal.

    correction is 0 by default, as NumPy's ddof; PyTorch's is 1.
    """
    variance, variance_vjp = ops.var.raw(x, axis, keepdims, correction)
    out = np.sqrt(variance)
    return out, lambda g: variance_vjp(np.where(out == 0, 0, g / (2 * np.where(out == 0, 1, out))))


@primitive
def cumprod(x, axis=-1):
    """Running product y.  dx_i = y_{i-1} s_i, s_i = g_i + x_{i+1} s_{i+1}: no x divides."""
    if not x.ndim:  # the product of one number
        return np.prod(x, axis=axis), lambda g: (g,)
    out = np.cumprod(x, axis=axis)

    def vjp(g):
        a, y, s = (np.moveaxis(part, axis, 0) for part in (x, out, g.copy()))
        for i in range(len(a) - 2, -1, -1):
            s[i] += a[i + 1] * s[i + 1]
        s[1:] *= y[:-1]
        return (np.moveaxis(s, 0, axis),)

    return out, vjp


def prod(x, axis=None, keepdims=False):
    """Product of the entries along an axis (None: of all)."""
    if axis is None or not x.ndim:
        return ops.reshape(prod(ops.reshape(x, (-1,)), 0), (1,) * x.ndim if keepdims else ())
    if not x.shape[axis]:
        return ops.sum(x, axis, keepdims) + 1.0
    last = cumprod(x, axis)[(slice(None),) * (axis % x.ndim) + (slice(-1, None),)]
    return last if keepdims else ops.squeeze(last, axis)


def argmax(x, axis=None, keepdims=False):
    """Where the largest entry is, the first of equals: integers, without a gradient."""
    return Tensor(np.argmax(_array(x), axis, keepdims=keepdims))


def argmin(x, axis=None, keepdims=False):
    """Where the smallest entry is, the first of equals: integers, without a gradient."""
    return Tensor(np.argmin(_array(x), axis, keepdims=keepdims))


def any(x, axis=None, keepdims=False):
    """Whether an entry is not 0: booleans."""
    return Tensor(np.any(_array(x), as_axes(x, axis), keepdims=keepdims))


def all(x, axis=None, keepdims=False):
    """Whether no entry is 0: booleans."""
    return Tensor(np.all(_array(x), as_axes(x, axis), keepdims=keepdims))


# ---------------------------------------------------------------------------------------------
# Entries moved, picked and repeated
# ---------------------------------------------------------------------------------------------


def gather(x, axis, index):
    """out[i, j, …] = x[index[i, j, …], j, …] for axis 0, and so on: out has index's shape.

    index (integers) has as many axes as x, and but for `axis` none longer, as in PyTorch.
    """
    index = _array(index)
    grid = list(np.indices(index.shape, sparse=True))
    grid[axis] = index
    return ops.getitem(x, tuple(grid))


@primitive
def pad(x, pad_width, value=0.0):
    """value put around x: pad_width is a pair (before, after) for each axis, the first axis first.

    So does NumPy write it. PyTorch writes one flat row of numbers, the last axis first.
    """
    pairs = np.asarray(pad_width)
    if pairs.shape != (x.ndim, 2):
        raise ValueError(
            f"pad: pad_width must be a pair (before, after) for each of the {x.ndim} axes, "
            f"not {pad_width}"
        )
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pairs.tolist(), x.shape))
    return np.pad(x, pairs, constant_values=value), lambda g: (g[inside],)


@primitive
def roll(x, shift, axis=None):
    """Entries moved on by `shift` places; what leaves at the end comes in at the beginning."""
    return np.roll(x, shift, axis), lambda g: (np.roll(g, np.negative(shift), axis),)


def tile(x, reps):
    """x side by side, reps[i] times along axis i; where reps are too few, along the last axes."""
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    ndim = len(reps) if len(reps) > x.ndim else x.ndim
    shape, reps = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(reps)) + reps
    apart = ops.reshape(x, tuple(n for size in shape for n in (1, size)))
    pairs = list(zip(reps, shape))
    apart = ops.broadcast_to(apart, tuple(n for pair in pairs for n in pair))
    return ops.reshape(apart, tuple(times * size for times, size in pairs))


def repeat(x, *reps):
    """PyTorch's repeat, which is NumPy's `tile`; NumPy's repeat is `repeat_interleave`."""
    return tile(x, reps[0] if len(reps) == 1 else reps)


def repeat_interleave(x, repeats, axis=None):
    """Each entry `repeats` times in a row (an int, or one for each), along an axis or of all."""
    if axis is None:
        x, axis = ops.reshape(x, (-1,)), 0
    index = np.repeat(np.arange(x.shape[axis]), _array(repeats))
    return ops.getitem(x, (slice(None),) * (axis % x.ndim) + (index,))


def chunk(x, chunks, axis=0):
    """x cut into at most `chunks` pieces of one size, of which the last may be smaller: a tuple."""
    size = max(1, -(-x.shape[axis] // chunks))
    return ops.split(x, tuple(range(size, x.shape[axis], size)), axis)


def flatten(x, start_axis=0, end_axis=-1):
    """The axes from start_axis to end_axis, both included, as one."""
    if not x.ndim:
        return ops.reshape(x, (1,))
    start, end = start_axis % x.ndim, end_axis % x.ndim
    size = int(np.prod(x.shape[start : end + 1]))
    return ops.reshape(x, (*x.shape[:start], size, *x.shape[end + 1 :]))


def view(x, *shape):
    """reshape under PyTorch's name; where PyTorch refuses to copy, this copies."""
    return ops.reshape(x, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)


@primitive
def movedim(x, source, destination):
    """Axes moved to other places, the others staying in their order: NumPy's moveaxis."""
    return np.moveaxis(x, source, destination), lambda g: (np.moveaxis(g, destination, source),)


def outer(x, y):
    """x_i y_j of two vectors, (n,) and (m,) -> (n, m)."""
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(f"outer: x and y must be vectors, they have shapes {x.shape}, {y.shape}")
    return ops.mul(ops.expand_dims(x, 1), y)


def one_hot(labels, num_classes):
    """labels (...) -> (..., num_classes) integers, 1 at the label and 0 elsewhere."""
    labels = _array(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"one_hot: labels must be integers, these are {labels.dtype}")
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"one_hot: labels must be in [0, {num_classes}), these are {labels}")
    return Tensor((labels[..., None] == np.arange(num_classes)).astype(np.int64))


# ---------------------------------------------------------------------------------------------
# Methods of Tensor, and NumPy's functions of it
# ---------------------------------------------------------------------------------------------


def _add_methods():
    for op in (
        *(erf, log1p, expm1, log2, log10, tan, sign, floor, round, remainder, square, std, prod),
        *(cumprod, argmax, argmin, any, all, gather, roll, tile, repeat, repeat_interleave),
        *(chunk, flatten, view, movedim, outer),
    ):
        setattr(Tensor, op.__name__, op)
    Tensor.__array_ufunc__ = _ufunc
    Tensor.__array_function__ = _function
    Tensor.__mod__ = lambda self, other: remainder(self, ops.operand(other, self))
    Tensor.__rmod__ = lambda self, other: remainder(ops.operand(other, self), self)


_UFUNCS = {  # by NumPy's name: the method, and that of the other operand where it is the Tensor
    "absolute": ("__abs__",),
    "negative": ("__neg__",),
    "maximum": ("maximum", "maximum"),
    "minimum": ("minimum", "minimum"),
    **{
        name: (f"__{own}__", f"__r{own}__")
        for name, own in dict(
            add="add", subtract="sub", multiply="mul", divide="truediv", power="pow",
            matmul="matmul", remainder="mod",
        ).items()
    },
    **{
        name: (f"__{own}__", f"__{mirrored}__")
        for name, own, mirrored in (
            ("equal", "eq", "eq"), ("not_equal", "ne", "ne"), ("less", "lt", "gt"),
            ("less_equal", "le", "ge"), ("greater", "gt", "lt"), ("greater_equal", "ge", "le"),
        )
    },
}  # fmt: skip


def _ufunc(self, ufunc, method, *inputs, **options):
    """array + tensor, and np.exp(tensor): the operation of that name here; others are refused."""
    name = ufunc.__name__
    methods = _UFUNCS.get(name, (name,))
    if method == "__call__" and not options and len(inputs) == len(methods):
        first = isinstance(inputs[0], Tensor)
        operand, *others = inputs if first else inputs[::-1]
        if hasattr(operand, methods[0 if first else 1]):
            return getattr(operand, methods[0 if first else 1])(*others)
    raise TypeError(
        f"np.{name} does not know Tensors, and its result would have no gradient; use an operation "
        "of tinyqwen's, or the array in tensor.detach().numpy()"
    )


# np's functions that are methods here, with the same defaults (np.cumsum and np.repeat are not).
_FUNCTIONS = (
    *("shape", "ndim", "size", "sum", "mean", "var", "std", "prod", "max", "min", "any", "all"),
    *("argmax", "argmin", "clip", "round", "reshape", "transpose", "squeeze", "flip"),
)


def _function(self, function, types, args, options):
    """np.sum(tensor): the method of that name; others get the array, if it needs no gradient."""
    name = function.__name__
    if name in _FUNCTIONS and isinstance(args[0], Tensor):
        own = getattr(args[0], name)
        return own(*args[1:], **options) if callable(own) else own

    def array(value):
        if isinstance(value, (list, tuple)):
            return type(value)(map(array, value))
        return np.asarray(value) if isinstance(value, Tensor) else value

    return function(*map(array, args), **{key: array(value) for key, value in options.items()})


_add_methods()
