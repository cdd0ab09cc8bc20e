"""Chapter 06. Attention: what you write.

`softmax` and `scaled_dot_product_attention` return two things: the value, and `vjp`, a function
that takes the gradient g of the loss with respect to the value and returns a tuple with the
gradient of each array, in order. The masks return arrays of True and False, and have no gradient.
Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch06          grades this file
"""

import math  # noqa: F401

import numpy as np  # noqa: F401


def softmax(x, axis=-1):
    """p_i = e^(x_i) / Σ_j e^(x_j) along one axis: positive numbers that sum to 1.

    x (...). Entries of -inf get the weight 0; where all entries along the axis are -inf, all
    weights are 0. Returns (out, vjp): out (...) in x's dtype; vjp(g (...)) -> (dx (...),).

    >>> out, vjp = softmax(np.array([3.0, 1.0, -3.0]))
    >>> out.round(4)                                  # 20.0855, 2.7183 and 0.0498 over their sum
    array([0.8789, 0.1189, 0.0022])
    >>> vjp(np.array([1.0, 0.0, 0.0]))[0].round(4)
    array([ 0.1065, -0.1045, -0.0019])
    """
    raise NotImplementedError


def causal_mask(num_queries, num_keys=None, window=None):
    """True where a query may look at a key: the key is not later than the query.

    num_queries T, num_keys S (T by default). Where there are more keys than queries, the queries
    are the last T of S tokens: query t sees the keys s ≤ t + S - T, and the last query sees all.
    window: a query sees only the last `window` of these keys, itself included; None: all.
    Returns a boolean array (T, S).

    >>> causal_mask(3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    >>> causal_mask(2, 4, window=3).astype(int)
    array([[1, 1, 1, 0],
           [0, 1, 1, 1]])
    """
    raise NotImplementedError


def padding_mask(attention_mask):
    """True where a key is a token, False where it is padding, for every head and every query.

    attention_mask (B, S): 1 for tokens, 0 for padding, as tokenizers return it. Returns a boolean
    array (B, 1, 1, S), which broadcasts to the scores (B, H, T, S).

    >>> padding_mask(np.array([[0, 1, 1], [1, 1, 1]])).astype(int)
    array([[[[0, 1, 1]]],
    <BLANKLINE>
    <BLANKLINE>
           [[[1, 1, 1]]]])
    """
    raise NotImplementedError


def scaled_dot_product_attention(
    query,
    key,
    value,
    mask=None,
    causal=False,
    window=None,
    scale=None,
    dropout=0.0,
    return_weights=False,
):
    """softmax(Q Kᵀ · scale + mask) V   (Vaswani et al. 2017, eq. 1).

    query (B, H, T, D); key (B, H_kv, S, D); value (B, H_kv, S, D_v). H is a multiple of H_kv: query
    head h reads key/value head h // (H / H_kv). With H_kv = H that is head h itself.
    mask:   boolean, True where attention is allowed, or float, added to the scores; broadcasts to
            (B, H, T, S). causal: no query looks ahead, as in `causal_mask`; window: none looks
            further back than that (together they are `causal_mask(T, S, window)`; a window without
            causal is not asked for). All of them combine. A query that may see nothing gives zeros.
    scale:  1/√D by default.
    dropout and return_weights are the library's; leave them unused.
    Returns (out, vjp): out (B, H, T, D_v) in query's dtype;
    vjp(g (B, H, T, D_v)) -> (dquery, dkey, dvalue), each in the shape of its input.

    >>> query, key = np.zeros((1, 1, 1, 4)), np.zeros((1, 1, 2, 4))
    >>> query[..., 0], key[0, 0, 0, 0] = 2.0, np.log(3.0)          # scores: log 3 and 0
    >>> value = np.array([[[[4.0, 0.0], [0.0, 8.0]]]])
    >>> out, vjp = scaled_dot_product_attention(query, key, value)
    >>> out.round(4)                                  # weights: 3/4 and 1/4
    array([[[[3., 2.]]]])
    >>> dquery, dkey, dvalue = vjp(np.array([[[[1.0, 0.0]]]]))
    >>> dkey[0, 0].round(4)
    array([[ 0.75,  0.  ,  0.  ,  0.  ],
           [-0.75,  0.  ,  0.  ,  0.  ]])
    >>> dvalue[0, 0].round(4)
    array([[0.75, 0.  ],
           [0.25, 0.  ]])
    """
    raise NotImplementedError


def logsumexp(x, axis=-1, keepdims=False):
    """ln Σ eˣ along an axis: a soft maximum, and what softmax divides by.

    For honor: no hints, no points, a star on the scoreboard.

    x (...), -inf allowed. Returns (out, vjp): out without the axis, or with it, of length 1;
    vjp(g, in out's shape) -> (dx (...),). It overflows no more than softmax does. A row that is all
    -inf is ln 0 = -inf, with a gradient of zeros.

    >>> out, vjp = logsumexp(np.array([[0.0, 0.0], [1000.0, 999.0]]))
    >>> [round(float(number), 4) for number in out]
    [0.6931, 1000.3133]
    >>> vjp(np.array([2.0, 1.0]))[0].round(4)
    array([[1.    , 1.    ],
           [0.7311, 0.2689]])
    """
    raise NotImplementedError
