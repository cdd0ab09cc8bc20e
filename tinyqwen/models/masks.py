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


def encoder_decoder_masks(attention_mask, decoder_attention_mask):
    """The three masks of an encoder-decoder, True where a query may attend to a key.

    attention_mask (B, S) of the source, decoder_attention_mask (B, T) of the target: 1 for tokens,
    0 for padding. Returns three boolean arrays (B, 1, queries, keys), for every head:

        encoder, (B, 1, S, S): the source sees all of the source
        decoder, (B, 1, T, T): the target sees itself up to the query
        cross,   (B, 1, T, S): the target sees all of the source

    and none sees padding. (A padded query sees what a token in its place would; nobody reads it.)
    What Marian makes of (B, S) and (B, T) does the same; its encoder also takes the first as its
    attention_mask, its decoder the second, and the third as its encoder_attention_mask.
    (Vaswani et al. 2017, section 3.2.3.)
    """
    source, target = padding_mask(attention_mask), padding_mask(decoder_attention_mask)
    (B, *_, S), T = source.shape, target.shape[-1]
    encoder = np.broadcast_to(source, (B, 1, S, S))
    cross = np.broadcast_to(source, (B, 1, T, S))
    return encoder, target & causal_mask(T), cross
