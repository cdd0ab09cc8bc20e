"""The primitives that move entries and compute nothing: their VJPs move the gradient back.

Where an entry was copied to several places (`broadcast_to`, `getitem` with a repeated index), its
gradient is the sum over the copies.
"""

import numpy as np

from tinyqwen.autograd.tensor import primitive


def unbroadcast(g, shape):
    """Sum g over the axes along which an array of `shape` was broadcast.

    Broadcasting copies a value to many places; the blame of the value is the sum over its copies.

    >>> unbroadcast(np.ones((2, 3)), (3,))
    array([2., 2., 2.])
    >>> unbroadcast(np.ones((2, 3)), (2, 1))
    array([[3.],
           [3.]])
    """
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True)


@primitive
def reshape(x, shape):
    """The same entries in another shape (a tuple; one entry may be -1)."""
    return x.reshape(shape), lambda g: (g.reshape(x.shape),)


@primitive
def transpose(x, axes=None):
    """Axes permuted: axis i of the result is axis axes[i] of x; None reverses them.

    This is NumPy's transpose, PyTorch's `permute`. PyTorch's transpose(1, 2) is `swapaxes`.
    """
    inverse = None if axes is None else np.argsort([axis % x.ndim for axis in axes])
    return np.transpose(x, axes), lambda g: (np.transpose(g, inverse),)


@primitive
def swapaxes(x, axis1, axis2):
    """Two axes exchanged."""
    return np.swapaxes(x, axis1, axis2), lambda g: (np.swapaxes(g, axis1, axis2),)


@primitive
def expand_dims(x, axis):
    """New axes of length 1."""
    return np.expand_dims(x, axis), lambda g: (g.reshape(x.shape),)


@primitive
def squeeze(x, axis=None):
    """Axes of length 1 removed, all or those of axis, which must have length 1 (not in PyTorch)."""
    axis = tuple(axis) if isinstance(axis, list) else axis
    return np.squeeze(x, axis), lambda g: (g.reshape(x.shape),)


@primitive
def broadcast_to(x, shape):
    """x stretched to shape.  Its gradient is the sum over the copies."""
    return np.broadcast_to(x, shape), lambda g: (unbroadcast(g, x.shape),)


@primitive
def flip(x, axis=None):
    """The order of entries reversed along axis."""
    axis = axis if x.ndim else None  # a number has an axis 0, which is itself
    return np.flip(x, axis), lambda g: (np.flip(g, axis),)


@primitive
def tril(x, k=0):
    """Lower triangle of the last two axes, zeros above diagonal k."""
    _check_matrix("tril", x)
    return np.tril(x, k), lambda g: (np.tril(g, k),)


@primitive
def triu(x, k=0):
    """Upper triangle of the last two axes, zeros below diagonal k."""
    _check_matrix("triu", x)
    return np.triu(x, k), lambda g: (np.triu(g, k),)


def _check_matrix(name, x):
    if x.ndim < 2:
        raise ValueError(f"{name}: x needs two axes or more, it has shape {x.shape}")


@primitive
def getitem(x, index):
    """x[index], for every index NumPy knows: slices, integer arrays, boolean masks.

    An entry that was picked several times gets the sum of its gradients: `np.add.at` adds for every
    occurrence, where `dx[index] += g` would keep only one.
    """

    def vjp(g):
        dx = np.zeros_like(x)
        if _picks_once(index):
            dx[index] = g
        else:
            np.add.at(dx, index, g)
        return (dx,)

    return x[index], vjp


def _picks_once(index):
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or isinstance(part, (int, slice, type(...))) for part in parts)


@primitive
def _concat(*arrays, axis):
    ends = np.cumsum([a.shape[axis] for a in arrays])[:-1]
    return np.concatenate(arrays, axis), lambda g: tuple(np.split(g, ends, axis))


def concat(tensors, axis=0):
    """Tensors joined along an existing axis.  Each gets its own piece of g."""
    return _concat(*tensors, axis=axis)


@primitive
def _stack(*arrays, axis):
    return np.stack(arrays, axis), lambda g: tuple(np.moveaxis(g, axis, 0))


def stack(tensors, axis=0):
    """Tensors of one shape joined along a new axis.  Each gets its own piece of g."""
    return _stack(*tensors, axis=axis)


@primitive
def split(x, indices_or_sections, axis=0):
    """x cut into equal sections (an int) or at the given indices; a tuple of tensors.

    An int is the number of sections, as in NumPy; in PyTorch it is their size.
    """
    n, size = indices_or_sections, x.shape[axis]
    if type(n) is int and n > 0 and size % n == 0:  # as np.split, in a third of its time
        before, step = (slice(None),) * (axis % x.ndim), size // n
        pieces = tuple(x[(*before, slice(i * step, (i + 1) * step))] for i in range(n))
    else:
        pieces = tuple(np.split(x, n, axis))
    if len(pieces) == 1:
        return pieces, lambda g: (g,)
    return pieces, lambda gs: (np.concatenate(gs, axis),)
