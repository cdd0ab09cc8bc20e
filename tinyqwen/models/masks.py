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


def packed_mask(owner):
    """True where query and key are of one conversation, of several that are packed into a row.

    owner (B, T): numbers that say to which conversation of its row each place belongs; what fills
    the row up has a number of its own. That no token sees a later one is the model's to add.
    Returns a boolean array (B, 1, T, T), the same for all heads.

    >>> packed_mask(np.array([[0, 0, 1]]))
    array([[[[ True,  True, False],
             [ True,  True, False],
             [False, False,  True]]]])
    """
    return owner[:, None, :, None] == owner[:, None, None, :]
