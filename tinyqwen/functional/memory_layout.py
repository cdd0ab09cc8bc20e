"""Arrays one behind the other in memory, so that several can be read as one without a copy."""

import math

import numpy as np


def laid_in_a_row(shapes, dtype):
    """An empty array for each shape: all matrices in a row, all vectors in a row."""
    arrays = [None] * len(shapes)
    for ndim in set(map(len, shapes)):
        group = [i for i, shape in enumerate(shapes) if len(shape) == ndim]
        sizes = [math.prod(shapes[i]) for i in group]
        pieces = np.split(np.empty(sum(sizes), dtype), np.cumsum(sizes[:-1]))
        for i, piece in zip(group, pieces):
            arrays[i] = piece.reshape(shapes[i])
    return arrays


def in_a_row(arrays):
    """Arrays one on top of the other, (Σ rows, …), as a view; None if they do not lie so in memory.

    >>> flat = np.arange(6)
    >>> in_a_row([flat[:2].reshape(1, 2), flat[2:].reshape(2, 2)])
    array([[0, 1],
           [2, 3],
           [4, 5]])
    """
    base = arrays[0].base
    if not isinstance(base, np.ndarray) or not base.flags.c_contiguous:
        return None
    start = end = _address(arrays[0])
    for array in arrays:
        if array.base is not base or not array.flags.c_contiguous or _address(array) != end:
            return None
        end += array.nbytes
    first, last = ((at - _address(base)) // base.itemsize for at in (start, end))
    return base.reshape(-1)[first:last].reshape(-1, *arrays[0].shape[1:])


def _address(array):
    return array.__array_interface__["data"][0]
