"""Who may look at whom: boolean masks, True where a query may attend to a key."""

import numpy as np


def causal_mask(num_queries, num_keys=None, window=None):
    """True where the key is not later than the query  (Vaswani et al. 2017, section 3.2.3).

    num_queries T, num_keys S (T by default). Where there are more keys than queries, the queries
    are the last T of S tokens: query t sees the keys s ≤ t + S - T, and the last query sees all.
    window: a query sees only the last `window` of these keys, itself included; None: all.
    Returns a boolean array (T, S).
    """
    keys = num_queries if num_keys is None else num_keys
    distance = np.arange(keys - num_queries, keys)[:, None] - np.arange(keys)  # query - key
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def padding_mask(attention_mask):
    """True where the key is a token and not padding, for every head and every query.

    attention_mask (B, S): 1 for tokens, 0 for padding. Returns a boolean array (B, 1, 1, S), which
    broadcasts to the scores (B, H, T, S).
    """
    return np.asarray(attention_mask).astype(bool)[:, None, None, :]
