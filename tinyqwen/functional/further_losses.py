"""Losses of fewer models, a translator's and BERT's second; and what users of PyTorch reach for."""

import numpy as np

from tinyqwen.autograd import ops
from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.labels import flat_rows, weight_of_rows
from tinyqwen.functional.losses import cross_entropy, mean_cross_entropy


@primitive
def label_smoothed_cross_entropy(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    """cross_entropy with smoothed labels, as translators are trained  (Vaswani et al. 2017, 5.4).

    Arguments, result and gradient are those of `cross_entropy`; this is its form for those who
    always smooth, and 0.1 is the paper's ε.
    """
    return mean_cross_entropy(logits, labels, ignore_index, label_smoothing, num_items)


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


def nll_loss(log_probabilities, labels, ignore_index=-100, reduction="mean", weight=None):
    """Mean of -log_probabilities[row, label] (..., V), which is `cross_entropy` after log_softmax.

    labels, ignore_index, reduction, weight: as for cross_entropy. Classes are the last axis (in
    PyTorch, the second).
    """
    V = log_probabilities.shape[-1]
    rows, flat, _ = flat_rows(log_probabilities, labels, ignore_index, None)
    weight = np.ones(V) if weight is None else weight
    of_rows = weight_of_rows(flat, ignore_index, weight, V).astype(rows.dtype)
    counts = flat != ignore_index
    picked = ops.getitem(rows, (np.arange(len(flat)), np.where(counts, flat, 0)))
    losses = ops.reshape(-picked * of_rows, log_probabilities.shape[:-1])
    return _reduced(losses, reduction, float(of_rows.sum()) or 1.0)


def mse_loss(input, target, reduction="mean"):
    """Mean of (input - target)²; both of one shape."""
    if np.shape(input) != np.shape(target):
        raise ValueError(f"mse_loss: shapes {np.shape(input)} and {np.shape(target)} differ")
    difference = ops.sub(input, target)
    return _reduced(difference * difference, reduction, float(difference.size or 1))


def _reduced(losses, reduction, count):
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    total = losses.sum()
    return total / count if reduction == "mean" else total
