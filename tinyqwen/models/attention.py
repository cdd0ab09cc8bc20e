"""What attention layers share: the choice between the fast form and the one that shows weights."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.models.masks import causal_mask


def attention(q, k, v, mask=None, *, causal=True, window=None, dropout=0.0, eager=False):
    """Values mixed by softmax(q kᵀ / √D): fused, or as one reads it in a book with eager=True.

    q (B, H, T, D); k, v (B, H_kv, S, D); mask boolean or additive, broadcast to (B, H, T, S).
    Returns (B, H, T, D) and the weights (B, H, T, S), which the fused form does not have: None.

    Without causality several rows may ask one text, q (B·K, H, T, D): those of a text, which follow
    one another, are laid along the time axis, and keys and values are not copied.
    """
    rows, texts = len(q), len(k)
    if rows != texts:
        y, weights = attention(
            *(_together(q, rows // texts), k, v, mask), causal=causal, dropout=dropout, eager=eager
        )
        return _apart(y, rows // texts), None if weights is None else _apart(weights, rows // texts)
    if eager:
        allowed = causal_mask(q.shape[2], k.shape[2], window) if causal else mask
        if causal and mask is not None:
            allowed = allowed & mask if mask.dtype == bool else np.where(allowed, mask, -np.inf)
        return F.grouped_query_attention(q, k, v, allowed, dropout)
    return F.scaled_dot_product_attention(
        q, k, v, mask=mask, causal=causal, window=window, dropout=dropout
    ), None


def _together(x, times):
    """(B·K, H, T, D) -> (B, H, K·T, D)."""
    rows, H, T, D = x.shape
    x = x.reshape(rows // times, times, H, T, D).swapaxes(1, 2)
    return x.reshape(rows // times, H, times * T, D)


def _apart(x, times):
    """(B, H, K·T, D) -> (B·K, H, T, D)."""
    B, H, T, D = x.shape
    x = x.reshape(B, H, times, T // times, D).swapaxes(1, 2)
    return x.reshape(B * times, H, T // times, D)
