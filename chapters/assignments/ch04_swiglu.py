"""Chapter 04. Linear layers and SwiGLU: what you write.

Each function returns two things: its value, and `vjp`, a function that takes the gradient g of the
loss with respect to the value and returns a tuple with the gradient of each input, in order. Write
plain NumPy; replace `raise NotImplementedError` by your code. In the order of the file each one
prepares the next.

    pytest tests/assignments -k ch04          grades this file
"""

import math  # noqa: F401

import numpy as np  # noqa: F401


def linear(x, weight, bias=None):
    """y = x Wᵀ + b: every row of x, seen through every row of W.

    x (..., in_features), weight (out_features, in_features), bias (out_features,) or None.
    Returns (out, vjp): out (..., out_features); vjp(g (..., out_features)) -> (dx, dweight, dbias),
    each in the shape of its input, or (dx, dweight) if bias is None.

        y_o = Σ_i x_i W_oi + b_o       for each row

    >>> x = np.array([[1.0, 2.0]])
    >>> weight = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> out, vjp = linear(x, weight, np.array([0.0, 0.0, 10.0]))
    >>> out
    array([[ 1.,  2., 13.]])
    >>> dx, dweight, dbias = vjp(np.array([[1.0, 0.0, 2.0]]))
    >>> dx
    array([[3., 2.]])
    >>> dweight
    array([[1., 2.],
           [0., 0.],
           [2., 4.]])
    """
    raise NotImplementedError


def silu(x):
    """SiLU, also called swish: x σ(x), elementwise, with σ(x) = 1/(1 + e⁻ˣ)  (Elfwing et al. 2017).

    x (...). Returns (out, vjp): out (...) in x's dtype; vjp(g (...)) -> (dx (...),).

    >>> out, vjp = silu(np.array([0.0, 1.0, -2.0]))
    >>> out.round(4)
    array([ 0.    ,  0.7311, -0.2384])
    >>> vjp(np.array([1.0, 1.0, 10.0]))[0].round(4)
    array([ 0.5   ,  0.9277, -0.9078])
    """
    raise NotImplementedError


def gelu(x):
    """GELU: x Φ(x), elementwise, Φ the normal distribution function  (Hendrycks & Gimpel 2016).

    Φ(x) = (1 + erf(x/√2)) / 2 is exact; NumPy has no erf, but `math.erf` takes one number, and
    `np.vectorize(math.erf, otypes=[np.float64])` makes it take arrays.

    x (...). Returns (out, vjp): out (...) in x's dtype; vjp(g (...)) -> (dx (...),).

    >>> out, vjp = gelu(np.array([0.0, 1.0, -2.0]))
    >>> out.round(4)
    array([ 0.    ,  0.8413, -0.0455])
    >>> vjp(np.array([1.0, 1.0, 10.0]))[0].round(4)
    array([ 0.5   ,  1.0833, -0.8523])
    """
    raise NotImplementedError


def swiglu(gate, up):
    """silu(gate) · up, elementwise: the gated half of Qwen2's feed-forward block (Shazeer 2020).

    gate (...), up (...): of one shape. Returns (out, vjp): out (...);
    vjp(g (...)) -> (dgate (...), dup (...)).

    >>> out, vjp = swiglu(np.array([1.0, -2.0]), np.array([10.0, 1.0]))
    >>> out.round(4)
    array([ 7.3106, -0.2384])
    >>> dgate, dup = vjp(np.array([1.0, 1.0]))
    >>> dgate.round(4), dup.round(4)
    (array([ 9.2767, -0.0908]), array([ 0.7311, -0.2384]))
    """
    raise NotImplementedError


def maximum(x, y):
    """The larger of two, elementwise; the operands broadcast.  ReLU is maximum(x, 0).

    For honor: no hints, no points, a star.

    x, y: arrays that broadcast. Returns (out, vjp); vjp(g, in out's shape) -> (dx, dy), in the
    shapes of x and y. Where both are equal there is a kink, and g is shared half and half.

    >>> out, vjp = maximum(np.array([1.0, 5.0, 2.0]), np.array([3.0, 4.0, 2.0]))
    >>> out
    array([3., 5., 2.])
    >>> dx, dy = vjp(np.array([1.0, 10.0, 100.0]))
    >>> dx
    array([ 0., 10., 50.])
    >>> dy
    array([ 1.,  0., 50.])
    """
    raise NotImplementedError
