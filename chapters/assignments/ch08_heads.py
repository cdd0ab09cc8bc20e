"""Chapter 08. Heads: MHA, MQA, GQA: what you write.

The first four functions return two things: the value, and `vjp`, a function that takes the gradient
g of the loss with respect to the value and returns a tuple with the gradient of each array, in
order. The last one returns a number.
Write plain NumPy; replace `raise NotImplementedError` by your code. Of the library you may use the
softmax of chapter 06, `F.softmax.raw`; it returns (out, vjp), as yours did.

    pytest tests/assignments -k ch08          grades this file
"""

import math  # noqa: F401

import numpy as np  # noqa: F401

from tinyqwen import functional as F  # noqa: F401


def split_heads(x, head_dim):
    """(B, T, H·D) -> (B, H, T, D): head h gets the features from h·D to (h+1)·D.

    x (B, T, H·D); head_dim D, a divisor of the number of features.
    Returns (out, vjp): out (B, H, T, D) in x's dtype; vjp(g (B, H, T, D)) -> (dx (B, T, H·D),).

    >>> x = np.array([[[0.0, 1.0, 2.0, 3.0],          # token 0: head 0 gets 0, 1; head 1 gets 2, 3
    ...                [4.0, 5.0, 6.0, 7.0]]])        # token 1
    >>> out, vjp = split_heads(x, 2)
    >>> out[0, 1]                                     # head 1: what it gets of both tokens
    array([[2., 3.],
           [6., 7.]])
    >>> vjp(out)[0]                                   # back where it came from
    array([[[0., 1., 2., 3.],
            [4., 5., 6., 7.]]])
    """
    raise NotImplementedError


def merge_heads(x):
    """(B, H, T, D) -> (B, T, H·D): the heads of a token side by side, head 0 first.

    x (B, H, T, D).
    Returns (out, vjp): out (B, T, H·D) in x's dtype; vjp(g (B, T, H·D)) -> (dx (B, H, T, D),).

    >>> x = np.array([[[[0.0, 1.0], [4.0, 5.0]],      # head 0: token 0, token 1
    ...                [[2.0, 3.0], [6.0, 7.0]]]])    # head 1
    >>> out, vjp = merge_heads(x)
    >>> out
    array([[[0., 1., 2., 3.],
            [4., 5., 6., 7.]]])
    >>> vjp(out)[0][0, 1]
    array([[2., 3.],
           [6., 7.]])
    """
    raise NotImplementedError


def repeat_kv(x, groups):
    """(B, H_kv, S, D) -> (B, H_kv·groups, S, D): each head `groups` times in a row: 0 0 1 1 2 2.

    In a row, not in turns (0 1 2 0 1 2): query head h reads key/value head h // groups.
    x (B, H_kv, S, D); groups: how many query heads share a key/value head.
    Returns (out, vjp): out in x's dtype; vjp(g (B, H_kv·groups, S, D)) -> (dx (B, H_kv, S, D),).

    >>> x = np.array([[[[1.0]], [[2.0]]]])            # two heads, one token, one feature
    >>> out, vjp = repeat_kv(x, 3)
    >>> out[0, :, 0, 0]
    array([1., 1., 1., 2., 2., 2.])
    >>> vjp(np.array([1.0, 10.0, 100.0, 2.0, 20.0, 200.0]).reshape(1, 6, 1, 1))[0][0, :, 0, 0]
    array([111., 222.])
    """
    raise NotImplementedError


def grouped_query_attention(query, key, value, mask=None, dropout=0.0):
    """softmax(Q Kᵀ / √D + mask) V, where several query heads read one key/value head.

    query (B, H, T, D); key (B, H_kv, S, D); value (B, H_kv, S, D_v). H is a multiple of H_kv: query
    head h reads key/value head h // (H / H_kv). H_kv = H is multi-head attention, H_kv = 1
    multi-query attention.
    mask: boolean, True where attention is allowed, or float, added to the scores; broadcasts to
          (B, H, T, S). A query that may see nothing gives zeros.
    dropout is the library's; leave it unused.
    Returns ((out, weights), vjp): out (B, H, T, D_v) and the weights (B, H, T, S), in query's
    dtype; vjp((g, dweights)) -> (dquery, dkey, dvalue), each in the shape of its input. It is given
    a gradient for each of the two results, for a loss may depend on both.

    >>> query, key = np.zeros((1, 4, 1, 2)), np.zeros((1, 2, 1, 2))       # 4 heads on 2, one token
    >>> value = np.array([[[[1.0, 10.0]], [[2.0, 20.0]]]])
    >>> (out, weights), vjp = grouped_query_attention(query, key, value)
    >>> out[0, :, 0]                      # heads 0 and 1 read the first, 2 and 3 the second
    array([[ 1., 10.],
           [ 1., 10.],
           [ 2., 20.],
           [ 2., 20.]])
    >>> weights.shape
    (1, 4, 1, 1)
    >>> dquery, dkey, dvalue = vjp((np.ones((1, 4, 1, 2)), np.zeros((1, 4, 1, 1))))
    >>> dvalue[0, :, 0]                   # each is read by two
    array([[2., 2.],
           [2., 2.]])
    """
    raise NotImplementedError


def kv_cache_bytes_per_token(config, num_key_value_heads=None, bytes_per_number=4):
    """How many bytes one more token takes in the KV cache of a model.

    In each layer the token leaves one key and one value in each key/value head, D numbers each.
    config: a dict as config.json has it, with num_hidden_layers, hidden_size, num_attention_heads,
        and perhaps num_key_value_heads (if it is missing or None: num_attention_heads) and head_dim
        (if it is missing or None: hidden_size / num_attention_heads).
    num_key_value_heads: in place of the config's, to ask what another number of heads would take.
    bytes_per_number: 4 for float32, 2 for bfloat16.
    Returns an integer.

    >>> small = {"num_hidden_layers": 3, "hidden_size": 40, "num_attention_heads": 4,
    ...          "num_key_value_heads": 2, "head_dim": None}
    >>> kv_cache_bytes_per_token(small)   # 2 · 3 layers · 2 heads · 10 numbers · 4 bytes
    480
    >>> kv_cache_bytes_per_token(small, num_key_value_heads=1, bytes_per_number=2)
    120
    """
    raise NotImplementedError


def mean_pooled_heads(weight, head_dim, groups):
    """From many key heads to a few: the mean of every `groups` heads that stand side by side.

    For honor: no hints, no points, a star on the scoreboard. A model of
    many key/value heads, converted so and trained a little more, is one of grouped queries (Ainslie
    et al. 2023, section 2.1).

    weight (H·D, C), D = head_dim: a projection (out, in), head h in the rows from h·D to (h + 1)·D.
    groups divides H. Returns (H/groups · D, C).

    >>> weight = np.array([[1.0], [2.0], [3.0], [6.0], [10.0], [20.0], [30.0], [60.0]])
    >>> mean_pooled_heads(weight, head_dim=2, groups=2)      # four heads of 2 become two
    array([[ 2.],
           [ 4.],
           [20.],
           [40.]])
    """
    raise NotImplementedError
