"""The labels of a loss: checked, as one row of integers, and what each weighs."""

import numpy as np


def flat_rows(x, labels, ignore_index, num_items):
    """x (..., V) and labels (...) as rows (n, V) and (n,), and the divisor of a mean over them.

    Raises TypeError and ValueError for labels that do not fit x, or of which num_items is no count.
    """
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


def rows_that_count(labels, ignore_index, classes):
    """Which labels count, booleans (n,). Raises ValueError if one that does is no class."""
    counts = labels != ignore_index
    if np.any(counts & ((labels < 0) | (labels >= classes))):
        bad = labels[counts & ((labels < 0) | (labels >= classes))][0]
        raise ValueError(f"cross_entropy: label {bad} is out of range for {classes} classes")
    return counts


def weight_of_rows(labels, ignore_index, weight, classes):
    """The weight of each row by its label, (n,), 0 where it does not count.  weight: (V,)"""
    weight = np.asarray(weight)
    if weight.shape != (classes,):
        raise ValueError(f"cross_entropy: weight has shape {weight.shape}, expected ({classes},)")
    counts = rows_that_count(labels, ignore_index, classes)
    return np.where(counts, weight[np.where(counts, labels, 0)], 0)
