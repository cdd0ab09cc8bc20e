"""Linear layers and look-up tables: where a model's numbers are, and how vectors are compared."""

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
        dx, dweight = (g @ weight).reshape(shape), g.T @ rows
        return (dx, dweight) if bias is None else (dx, dweight, column_sums(g))

    return out.reshape(shape[:-1] + out.shape[1:]), vjp


@primitive
def conv1d(x, weight, bias):
    """y = x W + b with weight (in_features, out_features): GPT-2's linear layer.

    x (..., in_features), bias (out_features,). It is `linear` with the weight turned round, which
    costs nothing: a transposed view.
    """
    out, linear_vjp = linear.raw(x, weight.T, bias)

    def vjp(g):
        dx, dweight, dbias = linear_vjp(g)
        return dx, dweight.T, dbias

    return out, vjp


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
