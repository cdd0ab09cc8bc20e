"""How vectors are compared."""

import numpy as np


def cosine_similarity(x, y, eps=1e-8):
    """cos ∠(x, y) = x·y / (max(‖x‖, ε) max(‖y‖, ε)): 1 same direction, 0 right angle, -1 opposite.

    x, y: arrays (..., d), broadcast over all axes but the last. Returns an array (...).
    Lengths do not matter; a vector of zeros has similarity 0 to everything. Not differentiable: it
    compares vectors (embeddings, activations), and no layer of the model is made of it.
    """
    x, y = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), eps) for v in (x, y))
    return np.vecdot(x, y)
