"""Chapter 12. Generation: what you write.

Five processors take the logits of the next token, (B, V) for a batch of B texts and a vocabulary of
V, and return new ones; `sample_next` draws a token from them; `cache_update` and `decode_loop` are
what makes a long text affordable. None of them has a gradient: nothing is trained here.
Write plain NumPy; replace `raise NotImplementedError` by your code. Of the library you may use the
softmax of chapter 06: `F.softmax.raw(x)[0]` is the softmax of an array along its last axis.

    pytest tests/assignments -k ch12          grades this file
"""

import numpy as np  # noqa: F401

from tinyqwen import functional as F  # noqa: F401


def apply_temperature(logits, temperature):
    """l / temperature: below 1 the distribution becomes sharper, above 1 flatter.

    logits (B, V), temperature a float > 0. Returns (B, V).

    >>> logits = apply_temperature(np.array([[2.0, 0.0]]), 0.5)
    >>> logits
    array([[4., 0.]])
    >>> (np.exp(logits) / np.exp(logits).sum()).round(3)      # it was 0.881 and 0.119
    array([[0.982, 0.018]])
    """
    raise NotImplementedError


def apply_repetition_penalty(logits, input_ids, penalty):
    """Make every token that has occurred less likely, once, however often it did.

        l_v  ->  l_v / penalty  if l_v >= 0,  l_v · penalty  if l_v < 0,   for v in input_ids

    logits (B, V); input_ids (B, T) integers, the text of each row so far, in which -1 stands for
    padding and counts as no token; penalty a float > 0, and above 1 it discourages.
    Returns (B, V), a new array.

    >>> logits = np.array([[2.0, -1.0, 3.0, 1.0]])
    >>> apply_repetition_penalty(logits, np.array([[-1, 0, 1, 0]]), 2.0)
    array([[ 1., -2.,  3.,  1.]])
    """
    raise NotImplementedError


def apply_top_k(logits, k):
    """Keep the k largest logits of each row, and what ties with the k-th; the others become -inf.

    logits (B, V); k a positive integer; if it is V or more, all are kept. Returns (B, V).

    >>> apply_top_k(np.array([[1.0, 4.0, 2.0, 3.0]]), 2)
    array([[-inf,   4., -inf,   3.]])
    >>> apply_top_k(np.array([[1.0, 4.0, 3.0, 3.0]]), 2)
    array([[-inf,   4.,   3.,   3.]])
    """
    raise NotImplementedError


def apply_top_p(logits, p):
    """Keep the likeliest tokens that together reach probability p; the others become -inf.

    From the likeliest down, a token stays if the sum of those before it is still below p: so the
    one with which the sum reaches p is kept. The likeliest stays always, even for p = 0.

    logits (B, V), p a float from 0 to 1. Returns (B, V). Between tokens of exactly the same
    probability, either may go first.

    >>> apply_top_p(np.log(np.array([[0.1, 0.6, 0.3]])), 0.8).round(2)      # 0.6 is not yet 0.8
    array([[ -inf, -0.51, -1.2 ]])
    """
    raise NotImplementedError


def apply_min_p(logits, p):
    """Keep tokens at least p times as likely as the likeliest; the others become -inf.

    logits (B, V), p a float from 0 to 1. Returns (B, V).

    >>> apply_min_p(np.log(np.array([[0.1, 0.6, 0.3]])), 0.25).round(2)     # the limit is 0.15
    array([[ -inf, -0.51, -1.2 ]])
    """
    raise NotImplementedError


def sample_next(logits, u):
    """Draw a token of each row from softmax(logits), by inverting the distribution function:

        the first v with  p_0 + p_1 + … + p_v > u

    logits (B, V); u (B,) floats from [0, 1), a uniform random number for each row. Returns (B,)
    integers. A token with logit -inf is never drawn.

    >>> logits = np.log(np.array([[0.2, 0.5, 0.3]] * 4))
    >>> sample_next(logits, np.array([0.1, 0.3, 0.69, 0.71]))       # the sums: 0.2, 0.7, 1.0
    array([0, 1, 1, 2])
    """
    raise NotImplementedError


def cache_update(keys, values, new_keys, new_values, start):
    """Write the keys and values of T new tokens behind the first `start`; return all so far.

    keys, values (B, H_kv, capacity, D): arrays made once, with room for `capacity` tokens, of which
    the first `start` are in use. They are changed in place, at the positions start … start + T - 1.
    new_keys, new_values (B, H_kv, T, D); start + T <= capacity.
    Returns (keys, values), (B, H_kv, start + T, D) each: views of what is in use.

    Nothing is concatenated, and nothing old is copied: with a thousand tokens in the cache, a new
    one costs as much as with ten.

    >>> keys, values = np.zeros((1, 1, 4, 1)), np.zeros((1, 1, 4, 1))
    >>> keys[0, 0, :2, 0], values[0, 0, :2, 0] = [1, 2], [10, 20]       # two tokens are there
    >>> new_keys, new_values = np.full((1, 1, 1, 1), 3.0), np.full((1, 1, 1, 1), 30.0)
    >>> k, v = cache_update(keys, values, new_keys, new_values, 2)
    >>> k.ravel(), v.ravel()
    (array([1., 2., 3.]), array([10., 20., 30.]))
    """
    raise NotImplementedError


def decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    """Grow B texts token by token. Every token is fed to the model once.

    step:   a function, new ids (B, n) -> logits of the next token (B, V). It remembers what it was
            fed before (in a KV cache). So it gets the whole prompt at first (the prefill), and
            then the one token of each row that it has not seen.
    choose: a function, (logits (B, V), all ids so far (B, S)) -> the next token of each row (B,)
    emit:   a function, tokens (B,) -> (B,) booleans: it shows the tokens as they come, once for
            each step, and says which rows end with them.
    input_ids (B, T) integers; they are not changed. max_new_tokens: at least 1.

    A row that has ended keeps the token it ended with, and gets pad_token_id from then on, whatever
    `choose` says: into the text, the model, and `emit`. When all rows have ended, nothing more is
    computed. Whoever was given tokens may keep them: do not write into that array again.
    Returns prompts and new tokens, (B, T + number of steps).

    >>> fed = []
    >>> def step(ids):                                  # a model that counts
    ...     fed.append(ids.tolist())
    ...     return np.eye(10)[ids[:, -1] + 1]
    >>> def best(logits, ids):
    ...     return logits.argmax(-1)
    >>> decode_loop(step, np.array([[3, 4]]), 5, best, lambda tokens: tokens == 7)
    array([[3, 4, 5, 6, 7]])
    >>> fed                                             # and never 3 and 4 again
    [[[3, 4]], [[5]], [[6]]]
    """
    raise NotImplementedError


def forbid_repeated_ngrams(scores, input_ids, n):
    """No n tokens in a row twice: each token that would complete such a repetition gets -inf.

    For honor: no hints, no points, a star on the scoreboard.

    scores (B, V); input_ids (B, T), the text of each row so far, in which -1 stands for padding and
    is no token to forbid; n at least 1. If n tokens in a row occurred before, and the last n - 1 of
    the text are the first n - 1 of those, then the last of those may not come now. With n = 1, all
    that has occurred is forbidden. Returns (B, V), a new array.

    >>> forbid_repeated_ngrams(np.zeros((1, 4)), np.array([[1, 2, 3, 1, 2]]), 3)
    array([[  0.,   0.,   0., -inf]])
    """
    raise NotImplementedError
