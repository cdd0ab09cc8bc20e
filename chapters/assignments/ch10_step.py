"""Chapter 10. One step: what you write.

`cross_entropy` returns two things: the loss, and `vjp`, a function that takes the gradient g of
whatever is computed from the loss and returns a tuple with the gradient of the logits. The other
three are plain functions of arrays and numbers. None of them changes its arguments.
Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch10          grades this file
"""

import math  # noqa: F401

import numpy as np  # noqa: F401


def cross_entropy(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    """Mean of -ln p[label] over the rows that count, where p is the softmax of the row's logits.

    logits (..., V) floats; labels (...) integers from 0 to V - 1, one for each row of logits.
    ignore_index: a row with this label does not count: it adds nothing, and its gradient is 0.
    num_items: the number to divide by; None: the number of rows that count. If none counts, the
        loss is 0.
    label_smoothing is the library's; leave it unused.
    Returns (loss, vjp): loss () in the dtype of the logits; vjp(g ()) -> (dlogits (..., V),).

    >>> logits = np.log([[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]])        # p: 1/2 1/4 1/4 and 1/4 1/4 1/2
    >>> loss, vjp = cross_entropy(logits, np.array([0, 1]))        # (ln 2 + ln 4) / 2
    >>> round(float(loss), 4)
    1.0397
    >>> vjp(np.array(1.0))[0].round(4)
    array([[-0.25 ,  0.125,  0.125],
           [ 0.125, -0.375,  0.25 ]])
    """
    raise NotImplementedError


def adamw_step(
    parameter, gradient, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    """One update of AdamW; returns the new (parameter, m, v).

        m ← β₁ m + (1 - β₁) g           v ← β₂ v + (1 - β₂) g²
        p ← p - lr · wd · p - lr · m̂ / (√v̂ + ε),      m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    parameter p, gradient g, m, v: arrays of one shape; m and v are zeros before the first update.
    step: t, which is 1 for the first update. betas: (β₁, β₂). weight_decay: wd.
    Returns three new arrays in the dtype of the parameter. On the right, p is the old one.

    >>> zero = np.array([0.0])
    >>> p, m, v = adamw_step(np.array([2.0]), np.array([3.0]), zero, zero, 1,
    ...                      lr=0.1, betas=(0.9, 0.96), weight_decay=0.5)
    >>> m.round(4), v.round(4)                        # m̂ = 3 and v̂ = 9
    (array([0.3]), array([0.36]))
    >>> p.round(4)                                    # 2 - 0.1 · 0.5 · 2 - 0.1 · 3 / 3
    array([1.8])
    """
    raise NotImplementedError


def cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    """The learning rate of a step: up in a line, then down in half a cosine.

    step: 0 for the first update. While step < warmup_steps: learning_rate · (step + 1) /
    warmup_steps, so that the first update is not zero. After that, with x growing from 0 at step
    warmup_steps to 1 at step total_steps, and 1 ever after,

        learning_rate · (min_ratio + (1 - min_ratio) · (1 + cos πx) / 2)

    Returns a float. There may be no warmup (0 steps), or nothing but warmup.

    >>> rates = [cosine_with_warmup(step, 1.0, 4, 12) for step in range(14)]
    >>> [round(rate, 3) for rate in rates[:5]]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    >>> [round(rate, 3) for rate in rates[7:]]        # half way at step 8
    [0.722, 0.55, 0.378, 0.232, 0.134, 0.1, 0.1]
    """
    raise NotImplementedError


def clip_by_global_norm(gradients, max_norm):
    """Scale all gradients together so that their joint norm is at most max_norm.

    norm = √(Σ g²), the sum over all entries of all arrays. If norm > max_norm, every array is
    multiplied by max_norm / (norm + 1e-6): one factor for all, so the direction stays. Else the
    gradients stay as they are.
    gradients: a list of arrays of any shapes. Returns (list of arrays, norm): the clipped gradients
    in their dtype, and a float, the norm before clipping.

    >>> clipped, norm = clip_by_global_norm([np.array([3.0, 0.0]), np.array([[4.0]])], 1.0)
    >>> norm
    5.0
    >>> [gradient.round(4) for gradient in clipped]
    [array([0.6, 0. ]), array([[0.8]])]
    """
    raise NotImplementedError


def linear_cross_entropy(
    hidden, weight, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    """The loss with its projection: cross_entropy(hidden Wᵀ, labels), in one function.

    For honor: no hints, no points, a star on the scoreboard.

    Of Qwen2's 151,936 logits a token, a batch of 8 texts of 2,048 tokens would need 10 GB. They are
    never needed all at once: take a few hundred rows at a time, and keep of them what the way back
    needs, which has no V in it for each row.

    hidden (..., d), weight (V, d), labels (...) integers; the rest as for `cross_entropy`: rows
    with ignore_index do not count, and num_items is what is divided by, if it is not None.
    Returns (loss, vjp): the mean over the rows that count (0 if none does); vjp(g) -> (dhidden,
    dweight), in the shapes of hidden and weight.

    >>> hidden = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> loss, vjp = linear_cross_entropy(hidden, np.zeros((4, 2)), np.array([3, -100]))
    >>> round(float(loss), 4)                          # ln 4
    1.3863
    >>> vjp(np.array(1.0))[1]                          # (p - y) h, of the row that counts
    array([[ 0.25,  0.  ],
           [ 0.25,  0.  ],
           [ 0.25,  0.  ],
           [-0.75,  0.  ]])
    """
    raise NotImplementedError
