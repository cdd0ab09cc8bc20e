"""A large matrix times one vector or a few: where a decoded token spends its time.

Each weight is read from memory once and used once for each text that is being written, so the time
is that of reading. BLAS takes four rows at a time. Four short streams are hard to foresee for a
core, which fetches ahead what it expects to be read next; NumPy's vecdot makes the matrix one
stream. On a core of Zen 4, with rows of 896 numbers, it reads 30 GB/s where BLAS reads 16. LONG
rows are left to BLAS: each would push x out of the fastest cache, and BLAS reads x once for four of
them. For two vectors or more BLAS would first copy the matrix to where it likes it, at 10 GB/s on
two cores.

No core alone takes all that the memory gives: see `tensor_parallel.py`.
"""

import threading
from contextlib import contextmanager

import numpy as np

LARGE = 1 << 21  # bytes of a matrix; a smaller one stays in a cache, where BLAS is the faster
FEW = 4  # vectors; for more of them, BLAS's copy of the matrix is worth making
LONG = 2048  # numbers in a row; as many of W and of x are half of a first-level cache
PIECE = 1 << 19  # bytes of LONG rows that stay in a second-level cache for the next vector


class _ThreadState(threading.local):
    method = None  # inside `matvec_by`


_state = _ThreadState()


def matvec(weight, x):
    """y = W x for each of a FEW vectors.  weight (n, k), x (T, k). Returns (T, n).

    A weight that is no array multiplies itself: see `tuning/packed_matrix.py`.
    """
    return alone(weight, x) if _state.method is None else _state.method(weight, x)


def alone(weight, x):
    """The same, in this thread."""
    if isinstance(weight, np.ndarray):
        return x.dot(weight.T)
    out = np.empty((len(x), len(weight)), x.dtype)
    weight.multiply(x, out)
    return out


@contextmanager
def matvec_by(method):
    """Inside, this thread's `matvec` is method(weight, x)."""
    before, _state.method = _state.method, method
    try:
        yield
    finally:
        _state.method = before


def multiply(weight, x, out):
    """The same on this core alone, written to out (T, n), whose rows are contiguous."""
    if not isinstance(weight, np.ndarray):
        weight.multiply(x, out)
        return
    n, k = weight.shape
    if weight.strides[1] != weight.itemsize:  # a transposed view: BLAS reads its columns
        np.matmul(x, weight.T, out=out)
        return
    if k <= LONG:
        # In C's order all vectors meet a row while it is in a cache; else W would be read T times.
        np.vecdot(weight[:, None], x, out=out.T, order="C")
        return
    rows = n if len(x) == 1 else max(1, PIECE * n // weight.nbytes)
    for start in range(0, n, rows):
        piece = slice(start, start + rows)
        for vector, products in zip(x, out):
            np.dot(weight[piece], vector, out=products[piece])
