"""Chapter 11. A run: what you write.

A plain function of arrays and numbers; it changes none of them.
Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch11          grades this file
"""

import numpy as np  # noqa: F401


def sample_batch(tokens, starts, seq_len, batch_size, seed, step):
    """The training rows of one step, (batch_size, seq_len) int64: a function of (seed, step) alone.

    tokens (n,) integers, the whole corpus in one line; starts (rows,): where a row may begin.
    A row is seq_len tokens in a line, from a start on. One that would run over the end of the
    tokens is moved back, to end with the last token.
    An *epoch* takes every row once, in an order of its own, drawn at random from (seed, epoch).
    The rows of epoch 0, 1, 2, … follow one another, and are dealt out batch_size at a time: step 0
    gets the first batch_size of them, step 1 the next. A batch may reach from one epoch into the
    next.

    >>> batch = sample_batch(np.arange(10, 20), np.array([0, 4, 8]), 3, 3, seed=0, step=5)
    >>> print(batch[batch[:, 0].argsort()])           # 8 is moved back to 7
    [[10 11 12]
     [14 15 16]
     [17 18 19]]
    """
    raise NotImplementedError


def power_law(x, y, floor=0.0):
    """(factor, exponent) of the law  y = floor + factor · x^exponent  that fits some points best.

    For honor: no hints, no points, a star on the scoreboard.

    On logarithmic axes the law is a straight line: fit that line to ln x and ln(y - floor), by
    least squares. x, y (n,): positive numbers, two or more, y above the floor. Returns two floats.
    Raises ValueError if there are fewer than two points, or one that has no logarithm.

    >>> factor, exponent = power_law(np.array([1.0, 100.0]), np.array([9.0, 3.0]), floor=1.0)
    >>> round(factor, 4), round(exponent, 4)         # 8 above the floor, then 2
    (8.0, -0.301)
    """
    raise NotImplementedError
