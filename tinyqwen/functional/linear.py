"""Linear layers and look-up tables: where a model's numbers are."""

import numpy as np

from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.matvec import FEW, LARGE, matvec


def column_sums(x):
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
        chosen = rows_reached(g)
        few = g[chosen]
        dx, dweight = few @ weight, few.T @ rows[chosen]
        if len(few) < len(g):
            dx, dfew = np.zeros(rows.shape, dx.dtype), dx
            dx[chosen] = dfew
        dx = dx.reshape(shape)
        return (dx, dweight) if bias is None else (dx, dweight, column_sums(few))

    return out.reshape(shape[:-1] + out.shape[1:]), vjp


def rows_reached(g):
    """The rows of a gradient (N, out_features) that are not all zeros, if many are; else all.

    Zeros come to the last layers from padding and from tokens without a label: nothing to multiply.
    """
    if 4 * np.count_nonzero(g[:, :1]) > 3 * len(g):
        return slice(None)  # a look at one column costs nothing
    return np.flatnonzero(g.any(-1))


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
