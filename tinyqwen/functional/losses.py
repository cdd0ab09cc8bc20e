"""The losses: cross-entropy of next-token prediction, and the same fused with the output layer."""

import numpy as np

from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.autograd.tensor import primitive

ROWS = 256  # rows of logits at a time: 256 × 2048 floats are 2 MB, about a core's L2 cache


@primitive
def cross_entropy(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    """Mean of -Σ_v q_v ln p_v over the rows that count; p = softmax(logits).

    logits (..., V); labels (...) integers; rows labeled `ignore_index` do not count. Returns a
    scalar in nats. q is one-hot at the label, mixed with the uniform distribution by
    `label_smoothing` ε: q_v = (1-ε) [v = label] + ε/V  (Szegedy et al. 2016, section 7).
    num_items: the divisor, if it shall not be the number of rows that count (as when a batch is
    split and its parts are to add up). With no row that counts the loss is 0 (PyTorch's is NaN), so
    that a part without labels adds nothing. Raises ValueError if rows count, but num_items is 0.

    ln p_v = z_v - ln Σ e^z, so  d loss / d z_v = (p_v - q_v) / num_items.
    """
    return _cross_entropy(logits, labels, ignore_index, label_smoothing, num_items)


@primitive
def label_smoothed_cross_entropy(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    """cross_entropy with smoothed labels, as translators are trained  (Vaswani et al. 2017, 5.4).

    Arguments, result and gradient are those of `cross_entropy`; this is its form for those who
    always smooth, and 0.1 is the paper's ε.
    """
    return _cross_entropy(logits, labels, ignore_index, label_smoothing, num_items)


def _cross_entropy(logits, labels, ignore_index, label_smoothing, num_items):
    rows, labels, count = _flatten(logits, labels, ignore_index, num_items)
    loss, dlogits = _rows_cross_entropy(rows.copy(), labels, ignore_index, label_smoothing)

    def vjp(g):
        return ((dlogits * (g / count)).reshape(logits.shape),)

    return np.asarray(loss / count, logits.dtype), vjp


@primitive
def linear_cross_entropy(
    hidden, weight, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    """cross_entropy(hidden Wᵀ, labels), without ever holding all the logits.

    hidden (..., d), weight (V, d), labels (...); the rest as for `cross_entropy`. A few hundred
    rows of logits are made, turned into their gradient while still in cache, multiplied into
    d hidden = dz W and dW = dzᵀ hidden, and forgotten.
    """
    rows, labels, count = _flatten(hidden, labels, ignore_index, num_items)
    loss = 0.0
    wanted = is_grad_enabled()
    dhidden = np.empty_like(rows) if wanted else None
    dweight = np.zeros_like(weight) if wanted else None
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        part_loss, dlogits = _rows_cross_entropy(
            rows[part] @ weight.T, labels[part], ignore_index, label_smoothing
        )
        loss += part_loss
        if wanted:
            np.matmul(dlogits, weight, out=dhidden[part])
            dweight += dlogits.T @ rows[part]

    def vjp(g):
        scale = g / count
        return (dhidden * scale).reshape(hidden.shape), dweight * scale

    return np.asarray(loss / count, hidden.dtype), vjp


@primitive
def next_sentence_loss(logits, labels, num_items=None):
    """Mean of -ln p[label] over pairs of sentences (Devlin et al. 2019, section 3.1, task 2).

    logits (B, 2): for "it follows", class 0, and "it does not", class 1; labels (B,) integers.
    num_items: the divisor, if it shall not be B (as when a batch is split). Returns a scalar, nats.

    Of two classes only d = z_other - z_label matters: p_label = 1 / (1 + e^d), so a pair costs
    ln(1 + e^d), whose derivative is p_other. The gradient of its row is p_other times +1 at the
    other class and -1 at the label, over num_items. It is `cross_entropy` with V = 2.
    """
    if logits.ndim != 2 or logits.shape[-1] != 2:
        raise ValueError(f"next_sentence_loss: logits have shape {logits.shape}, expected (B, 2)")
    return cross_entropy.raw(logits, labels, num_items=num_items)


def _flatten(x, labels, ignore_index, num_items):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: labels must be integers, these are {labels.dtype}")
    if labels.shape != x.shape[:-1]:
        raise ValueError(
            f"cross_entropy: labels have shape {labels.shape}, "
            f"expected {x.shape[:-1]}, that of the logits without their last axis"
        )
    if labels.dtype.kind == "u":  # as token files are: NumPy compares no -100 with them
        labels = labels.astype(np.int64)
    counting = int(np.count_nonzero(labels != ignore_index))
    num_items = counting if num_items is None else num_items
    if num_items < 0 or (counting and not num_items):
        raise ValueError(
            f"cross_entropy: num_items is {num_items}, but {counting} labels count here; "
            "expected the number of labels that count in all parts together"
        )
    return x.reshape(-1, x.shape[-1]), labels.reshape(-1), float(num_items or 1)


def _rows_cross_entropy(logits, labels, ignore_index, label_smoothing):
    """Sum of the rows' losses (a float), and its gradient, written over `logits` (n, V)."""
    vocab_size = logits.shape[-1]
    counts = labels != ignore_index
    if np.any(counts & ((labels < 0) | (labels >= vocab_size))):
        bad = labels[counts & ((labels < 0) | (labels >= vocab_size))][0]
        raise ValueError(f"cross_entropy: label {bad} is out of range for {vocab_size} classes")
    index = (np.arange(len(labels)), np.where(counts, labels, 0))

    logits -= logits.max(-1, keepdims=True)
    picked = logits[index]
    mean = logits.mean(-1) if label_smoothing else 0.0
    p = np.exp(logits, out=logits)
    total = p @ np.ones(vocab_size, p.dtype)  # three times as fast as p.sum(-1)
    losses = np.log(total) - (1 - label_smoothing) * picked - label_smoothing * mean
    loss = float(np.sum(losses, where=counts, dtype=np.float64))

    p *= (counts / total).astype(p.dtype)[:, None]
    p[index] -= (1 - label_smoothing) * counts
    if label_smoothing:
        p -= (label_smoothing / vocab_size * counts).astype(p.dtype)[:, None]
    return loss, p
