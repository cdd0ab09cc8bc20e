"""Constraints: tokens that must come next, or must not.

Each is a function from scores (B, V), logits or log-probabilities, to scores (B, V), and leaves its
input alone. A token that is ruled out gets -inf. input_ids (B, T) is the text of each row so far,
with -1 for padding.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def forbid_repeated_ngrams(scores, input_ids, n):
    """Rule out each token with which the last n tokens would be n tokens that occurred before.

    scores (B, V), input_ids (B, T), n at least 1. Returns (B, V).
    (Paulus et al. 2017, "A deep reinforced model for abstractive summarization", section 2.5.)

    >>> forbid_repeated_ngrams(np.zeros((1, 4)), np.array([[1, 2, 3, 1, 2]]), 3)
    array([[  0.,   0.,   0., -inf]])
    """
    T = input_ids.shape[1]
    if n > T:
        return scores
    ngrams = sliding_window_view(input_ids, n, axis=1)  # (B, T - n + 1, n)
    begun = input_ids[:, None, T - n + 1 :]  # (B, 1, n - 1): one token more makes it n
    rows, places = np.nonzero((ngrams[..., :-1] == begun).all(-1))
    tokens = ngrams[rows, places, -1]
    out = scores.copy()
    out[rows[tokens >= 0], tokens[tokens >= 0]] = -np.inf
    return out


def forbid_words(scores, input_ids, words):
    """Rule out each token that would complete one of `words`, lists of token ids.

    scores (B, V), input_ids (B, T). Returns (B, V).

    >>> forbid_words(np.zeros((1, 4)), np.array([[3, 1]]), [[0], [1, 2], [2, 3]])
    array([[-inf,   0., -inf,   0.]])
    """
    out, T = scores.copy(), input_ids.shape[1]
    for *begin, last in words:
        if len(begin) <= T:
            out[(input_ids[:, T - len(begin) :] == begin).all(1), last] = -np.inf
    return out


def force_tokens(scores, tokens):
    """Rule out all but `tokens`, whose log-probability becomes 0.

    >>> force_tokens(np.ones((1, 3)), [1])
    array([[-inf,   0., -inf]])
    """
    out = np.full_like(scores, -np.inf)
    out[:, tokens] = 0
    return out
