"""Chapter 03. Embeddings: what you write.

The look-up at the model's door, with its gradient, and the measure by which vectors are compared.
`embedding` returns two things: its value, and `vjp`, a function that takes the gradient g of the
loss with respect to the value and returns a tuple with the gradient of each array, in order; None
where there is none. Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch03          grades this file
"""

import numpy as np  # noqa: F401


def embedding(ids, weight, padding_idx=None):
    """y = W[ids]: for each id its row of the table.

    ids: integers of any shape (...); weight (num_embeddings, dim).
    Returns (out, vjp): out (..., dim) in weight's dtype; vjp(g (..., dim)) -> (None, dweight): ids
    have no gradient, dweight has weight's shape and dtype.
    padding_idx: None, or the row that stands for padding. It is looked up like any other, and its
    gradient is zero.
    Raises ValueError for an id outside 0 … num_embeddings - 1.

    The loss feels row v through every place where v was looked up:

        dW_v = Σ_{places where ids = v} g

    >>> weight = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> out, vjp = embedding(np.array([2, 0, 2]), weight)
    >>> out
    array([[5., 6.],
           [1., 2.],
           [5., 6.]])
    >>> _, dweight = vjp(np.array([[1.0, 0.0], [7.0, 7.0], [0.0, 10.0]]))
    >>> dweight
    array([[ 7.,  7.],
           [ 0.,  0.],
           [ 1., 10.]])
    """
    raise NotImplementedError


def cosine_similarity(x, y, eps=1e-8):
    """The cosine of the angle between vectors: 1 same direction, 0 right angle, -1 opposite.

        cos(x, y) = Σ_i x_i y_i / (max(‖x‖, ε) · max(‖y‖, ε)),    ‖x‖ = √(Σ_i x_i²)

    x, y: arrays (..., d), broadcast over all axes but the last. Returns an array (...) in their
    dtype, and no vjp: the model is not made of it, we compare its vectors by it.
    ε keeps a vector of zeros from dividing by zero: its similarity is 0.

    >>> x = np.array([3.0, 4.0])
    >>> y = np.array([[6.0, 8.0], [-4.0, 3.0], [-3.0, -4.0], [1.0, 0.0]])
    >>> cosine_similarity(x, y).round(3)
    array([ 1. ,  0. , -1. ,  0.6])
    """
    raise NotImplementedError


def principal_components(vectors, k=2):
    """The k directions in which vectors spread the most, and where each vector lies along them.

    For honor: no hints, no points, a star on the scoreboard. This draws the chapter's maps of
    words.

    vectors (n, d), k at most n and d. Returns (n, k): each vector minus the mean of all, times the
    first k directions of the singular value decomposition (`np.linalg.svd`). A direction may point
    either way: choose for each the one with which the entry of largest size in its column of the
    result is positive.

    >>> principal_components(np.array([[5.0, 2.0], [1.0, 2.0], [0.0, 2.0]]), 1).round(3)
    array([[ 3.],
           [-1.],
           [-2.]])
    """
    raise NotImplementedError
