"""What a model is given: ids, positions and masks, as arrays of the shapes that they must have."""

import numpy as np

from tinyqwen.autograd.tensor import Tensor
from tinyqwen.models.masks import padding_mask


def as_array(x):
    """The array of a Tensor, or an array, or what can become one."""
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def check_ids(input_ids):
    """Token ids as an array (B, T); ValueError for another shape."""
    input_ids = as_array(input_ids)
    if input_ids.ndim != 2:
        raise ValueError(f"input_ids must be (batch, time), they have shape {input_ids.shape}")
    return input_ids


def check_labels(labels):
    """Labels (B, T) as signed integers, of which -100 is one; ValueError for another shape."""
    labels = as_array(labels)
    if labels.ndim != 2:
        raise ValueError(
            f"labels must be (batch, time), as input_ids are; they have shape {labels.shape}"
        )
    return labels.astype(np.int64) if labels.dtype.kind == "u" else labels


def check_positions(position_ids, input_ids, past=0):
    """Positions (B, T) or (1, T) of input_ids (B, T); None: they are counted on from `past`."""
    B, T = input_ids.shape
    if position_ids is None:
        return np.arange(past, past + T)[None]
    position_ids = as_array(position_ids)
    if position_ids.ndim == 1:
        position_ids = position_ids[None]
    if position_ids.shape not in ((1, T), (B, T)):
        raise ValueError(
            f"position_ids have shape {position_ids.shape}, expected {(B, T)} or "
            f"{(T,)}: one position for each new token"
        )
    return position_ids


def check_mask(mask, length):
    """A padding mask (B, S) as boolean (B, 1, 1, S), None if it masks nothing; others as they are.

    length: S, the tokens that a query may see, cached ones included.
    """
    if mask is None:
        return None
    mask = as_array(mask)
    if mask.ndim == 4:
        return mask
    if mask.ndim != 2 or mask.shape[1] != length:
        raise ValueError(
            f"attention_mask has shape {mask.shape}, expected (batch, {length}): "
            "one entry for each token, cached ones included"
        )
    return None if tells_padding(mask).all() else padding_mask(mask)


def tells_padding(mask):
    """The mask; ValueError for one that is added to scores, whose 0 would mean the opposite."""
    if mask.dtype.kind != "b" and not np.isin(mask, (0, 1)).all():
        raise ValueError("attention_mask has 1 for tokens and 0 for padding; this has other values")
    return mask


def for_cache(x):
    """The array of keys or values; ValueError where a gradient would be lost on the way."""
    if isinstance(x, Tensor):
        if x.requires_grad:
            raise ValueError(
                "a cache keeps no gradients; run the model under no_grad, or without the cache"
            )
        return x.data
    return x
