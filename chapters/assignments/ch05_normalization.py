"""Chapter 05. Normalization and the residual stream: what you write.

Each function returns two things: its value, and `vjp`, a function that takes the gradient g of the
loss with respect to the value and returns a tuple with the gradient of each array, in order. Write
plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch05          grades this file
"""

import numpy as np  # noqa: F401


def rms_norm(x, weight, eps=1e-6):
    """y = γ x̂, where x̂ = x / √(mean(x²) + ε)   (Zhang & Sennrich 2019).

    x (..., d), weight (d,), which is γ, eps a small number. The mean is taken over the last axis:
    every token is normalized by itself. Returns (out, vjp): out (..., d) in x's dtype;
    vjp(g (..., d)) -> (dx (..., d), dweight (d,)).

    >>> out, vjp = rms_norm(np.array([[3.0, 4.0]]), np.array([1.0, 10.0]), eps=0.0)
    >>> out.round(4)                                  # mean(x²) = 12.5, its root 3.5355
    array([[ 0.8485, 11.3137]])
    >>> dx, dweight = vjp(np.array([[1.0, 0.0]]))
    >>> dx.round(4)
    array([[ 0.181 , -0.1358]])
    >>> dweight.round(4)
    array([0.8485, 0.    ])
    """
    raise NotImplementedError


def layer_norm(x, weight, bias, eps=1e-5):
    """y = γ x̂ + b, where x̂ = (x - mean) / √(var + ε)   (Ba, Kiros & Hinton 2016).

    x (..., d), weight (d,), which is γ, bias (d,), eps a small number. Mean and variance are taken
    over the last axis; the variance is the mean of the squared deviations (divided by d, not by
    d - 1). Returns (out, vjp): out (..., d) in x's dtype;
    vjp(g (..., d)) -> (dx (..., d), dweight (d,), dbias (d,)).

    >>> x, weight, bias = np.array([[1.0, 2.0, 6.0]]), np.ones(3), np.array([0.0, 0.0, 5.0])
    >>> out, vjp = layer_norm(x, weight, bias, eps=0.0)
    >>> out.round(4)                                  # mean 3, variance (4 + 1 + 9) / 3
    array([[-0.9258, -0.4629,  6.3887]])
    >>> dx, dweight, dbias = vjp(np.array([[1.0, 0.0, 0.0]]))
    >>> dx.round(4)
    array([[ 0.1763, -0.2204,  0.0441]])
    >>> dweight.round(4), dbias
    (array([-0.9258,  0.    ,  0.    ]), array([1., 0., 0.]))
    """
    raise NotImplementedError


def var(x, axis=None, keepdims=False, correction=0):
    """Variance: Σ (x - mean)² / (n - correction), over axis.

    For honor: no hints, no points, a star on the scoreboard.

    x (...); axis: None (all), an int or a tuple of ints; n: how many numbers a variance is made of.
    Returns (out, vjp); vjp(g, in out's shape) -> (dx (...),). The mean moves with x as well: what
    becomes of that path?

    >>> out, vjp = var(np.array([[1.0, 3.0, 5.0]]), axis=1)
    >>> out.round(4)                                 # (4 + 0 + 4) / 3
    array([2.6667])
    >>> vjp(np.array([3.0]))[0]
    array([[-4.,  0.,  4.]])
    """
    raise NotImplementedError
