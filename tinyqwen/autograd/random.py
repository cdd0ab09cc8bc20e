"""Random numbers: one generator for each thread, for initialization and dropout."""

import threading
from contextlib import contextmanager

import numpy as np

_state = threading.local()


def manual_seed(seed) -> np.random.Generator:
    """Seed this thread's generator and return it.

    seed: an int or a sequence of ints, as `numpy.random.default_rng` takes.
    """
    _state.rng = np.random.default_rng(seed)
    return _state.rng


@contextmanager
def seeded(seed):
    """Inside, this thread draws from a generator of that seed; afterwards from its own again."""
    before = getattr(_state, "rng", None)
    manual_seed(seed)
    try:
        yield
    finally:
        _state.rng = before


def default_rng() -> np.random.Generator:
    """This thread's generator; seeded by the operating system until `manual_seed` was called."""
    return getattr(_state, "rng", None) or manual_seed(None)


def dropout_mask(shape, p, dtype):
    """Zeros with probability p, else 1/(1-p), so that the expectation is 1."""
    kept = default_rng().random(shape, dtype=np.float32) >= p
    return kept.astype(dtype) * (1 / (1 - p) if p < 1 else 0.0)
