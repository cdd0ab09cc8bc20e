"""The losses: cross-entropy of next-token prediction, and the same fused with the output layer."""

import numpy as np

from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.labels import flat_rows, rows_that_count, weight_of_rows

ROWS = 256  # rows of logits at a time: 256 × 2048 floats are 2 MB, about a core's L2 cache


@primitive
def cross_entropy(
    logits,
    labels,
    ignore_index=-100,
    label_smoothing=0.0,
    num_items=None,
    reduction="mean",
    weight=None,
):
    """Mean of -Σ_v q_v ln p_v over the rows that count; p = softmax(logits).

    logits (..., V); labels (...) integers; rows labeled `ignore_index` do not count. Returns a
    scalar in nats. q is one-hot at the label, mixed with the uniform distribution by
    `label_smoothing` ε: q_v = (1-ε) [v = label] + ε/V  (Szegedy et al. 2016, section 7).
    num_items: the divisor, if it shall not be the number of rows that count (as when a batch is
    split and its parts are to add up). With no row that counts the loss is 0 (PyTorch's is NaN), so
    that a part without labels adds nothing. Raises ValueError if rows count, but num_items is 0.
    reduction: "sum" and "none" (...) as in PyTorch, 0 in rows that do not count.
    weight (V,): of a row, by its label; the mean is then divided by the weights of the rows.

    ln p_v = z_v - ln Σ e^z, so  d loss / d z_v = (p_v - q_v) / num_items.
    """
    return mean_cross_entropy(
        logits, labels, ignore_index, label_smoothing, num_items, reduction, weight
    )


def mean_cross_entropy(
    logits, labels, ignore_index, label_smoothing, num_items, reduction="mean", weight=None
):
    """The function behind `cross_entropy`, whichever stands in its place."""
    rows, flat, count = flat_rows(logits, labels, ignore_index, num_items)
    losses, dlogits = _rows_cross_entropy(rows.copy(), flat, ignore_index, label_smoothing)
    if weight is not None:
        if label_smoothing or num_items is not None:
            raise ValueError("cross_entropy: weight goes with no label_smoothing and no num_items")
        of_rows = weight_of_rows(flat, ignore_index, weight, logits.shape[-1]).astype(losses.dtype)
        losses, dlogits = losses * of_rows, dlogits * of_rows[:, None]
        count = float(of_rows.sum()) or 1.0
    if reduction != "mean":
        count = 1.0
    if reduction == "none":
        out = losses.reshape(logits.shape[:-1])
    elif reduction in ("mean", "sum"):
        out = np.asarray(np.sum(losses, dtype=np.float64) / count, logits.dtype)
    else:
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")

    def vjp(g):
        return ((dlogits * (np.reshape(g, (-1, 1)) / count)).reshape(logits.shape),)

    return out, vjp


@primitive
def linear_cross_entropy(
    hidden, weight, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    """cross_entropy(hidden Wᵀ, labels), without ever holding all the logits.

    hidden (..., d), weight (V, d), labels (...); the rest as for `cross_entropy`. Of the rows that
    count, a few hundred at a time become logits, these their gradient while still in cache, and
    that is multiplied into d hidden = dz W and dW = dzᵀ hidden, and forgotten.
    """
    rows, labels, count = flat_rows(hidden, labels, ignore_index, num_items)
    loss, counting = 0.0, np.flatnonzero(labels != ignore_index)
    wanted = is_grad_enabled()
    dhidden, dweight = (np.zeros_like(a) if wanted else None for a in (rows, weight))
    for start in range(0, len(counting), ROWS):
        chosen = counting[start : start + ROWS]
        part = rows[chosen]
        part_losses, dlogits = _rows_cross_entropy(
            part @ weight.T, labels[chosen], ignore_index, label_smoothing
        )
        loss += float(np.sum(part_losses, dtype=np.float64))
        if wanted:
            dhidden[chosen] = dlogits @ weight
            dweight += dlogits.T @ part

    def vjp(g):
        scale = g / count
        return (dhidden * scale).reshape(hidden.shape), dweight * scale

    return np.asarray(loss / count, hidden.dtype), vjp


def _rows_cross_entropy(logits, labels, ignore_index, label_smoothing):
    """The rows' losses (n,), and the gradient of their sum, written over `logits` (n, V)."""
    vocab_size = logits.shape[-1]
    counts = rows_that_count(labels, ignore_index, vocab_size)
    index = (np.arange(len(labels)), np.where(counts, labels, 0))

    logits -= logits.max(-1, keepdims=True)
    picked = logits[index]
    mean = logits.mean(-1) if label_smoothing else 0.0
    p = np.exp(logits, out=logits)
    total = p @ np.ones(vocab_size, p.dtype)  # three times as fast as p.sum(-1)
    losses = np.log(total) - (1 - label_smoothing) * picked - label_smoothing * mean
    losses = np.where(counts, losses, 0)

    p *= (counts / total).astype(p.dtype)[:, None]
    p[index] -= (1 - label_smoothing) * counts
    if label_smoothing:
        p -= (label_smoothing / vocab_size * counts).astype(p.dtype)[:, None]
    return losses, p
