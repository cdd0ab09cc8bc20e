"""Random numbers: one generator for each thread, for initialization and dropout."""

import copy
import threading
from contextlib import contextmanager
from functools import cached_property

import numpy as np

_state = threading.local()


def manual_seed(seed) -> np.random.Generator:
    """Seed this thread's generator and return it.

    seed: an int or a sequence of ints, as `numpy.random.default_rng` takes.
    """
    _state.rng = np.random.default_rng(seed)
    return _state.rng


def default_rng() -> np.random.Generator:
    """This thread's generator; seeded by the operating system until `manual_seed` was called."""
    return getattr(_state, "rng", None) or manual_seed(None)


class _RowGenerators:
    """A generator for each row of a batch, made when the first of them is asked for."""

    def __init__(self, seed=(), rows=()):
        self._seed, self._rows = seed, rows

    @cached_property
    def generators(self):
        seeds = (np.random.SeedSequence(self._seed, spawn_key=(row,)) for row in self._rows)
        return [np.random.default_rng(seed) for seed in seeds]


def copied_generators():
    """Copies of what this thread draws from, for `drawing_from`."""
    return copy.deepcopy((default_rng(), getattr(_state, "rows", _RowGenerators())))


@contextmanager
def drawing_from(generators):
    """Inside, this thread draws from those generators; afterwards from its own again."""
    before = getattr(_state, "rng", None), getattr(_state, "rows", _RowGenerators())
    _state.rng, _state.rows = generators
    try:
        yield
    finally:
        _state.rng, _state.rows = before


def seeded(seed, rows=()):
    """A context manager: inside, this thread draws from a generator of that seed.

    rows: the numbers of a batch's rows. Dropout then draws for each row from a generator of its
    own, so that what a row drops does not depend on who computes it, nor beside which others.
    """
    part = (rows[0], 0) if len(rows) else ()
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=part))
    return drawing_from((rng, _RowGenerators(seed, rows)))


def dropout_mask(shape, p, dtype, rows=slice(None)):
    """Zeros with probability p, else 1/(1-p), so that the expectation is 1.

    rows: which of the batch's rows the mask is for, where they have generators of their own; an
    array whose first axis is another one gets its numbers from the thread's.
    """
    generators = getattr(_state, "rows", _RowGenerators()).generators[rows]
    drawn = np.empty(shape, np.float32)
    if generators and shape[:1] == (len(generators),):
        for generator, row in zip(generators, drawn.reshape(len(generators), -1)):
            generator.random(dtype=np.float32, out=row)
    else:
        default_rng().random(dtype=np.float32, out=drawn)
    return (drawn >= p).astype(dtype) * (1 / (1 - p) if p < 1 else 0.0)
