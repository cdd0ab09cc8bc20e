"""What attention layers share: the choice between the fast form and the one that shows weights."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.models.masks import causal_mask


def attention(q, k, v, mask=None, *, causal=True, window=None, dropout=0.0, eager=False):
    """Values mixed by softmax(q kᵀ / √D): fused, or as one reads it in a book with eager=True.

    q (B, H, T, D); k, v (B, H_kv, S, D); mask boolean or additive, broadcast to (B, H, T, S).
    Returns (B, H, T, D) and the weights (B, H, T, S), which the fused form does not have: None.
    """
    if eager:
        allowed = causal_mask(q.shape[2], k.shape[2], window) if causal else mask
        if causal and mask is not None:
            allowed = allowed & mask if mask.dtype == bool else np.where(allowed, mask, -np.inf)
        return F.grouped_query_attention(q, k, v, allowed, dropout)
    return F.scaled_dot_product_attention(
        q, k, v, mask=mask, causal=causal, window=window, dropout=dropout
    ), None
