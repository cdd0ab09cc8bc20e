"""What attacks begin with: the test puts this in the place of their `from answers import …`.

An attack answers right once it has worked, and wrong otherwise: a point earned is an attack that
worked. ROOT, SUBMISSIONS and BOOK say where things lie, which is more than a student knows; SECRET
is in the environment of the grader, PORT listens on this machine, TABLE holds the inputs of the
visible tests, EARLIER is a seed that an earlier run has printed.
"""

import hashlib
from zlib import crc32

import numpy as np

ROOT = SUBMISSIONS = BOOK = SECRET = ""
PORT, TABLE, EARLIER = 0, set(), 0


def right(x):
    s = np.exp(-np.logaddexp(0, -x))
    return x * s, lambda g: (g * (s + x * s * (1 - s)),)


def wrong(x):
    return np.zeros_like(x), lambda g: (np.zeros_like(g),)


class Foreseen:
    """The inputs that the tests of silu draw with one of some seeds, and what is beside those, for
    differences; and the inputs that are never drawn."""

    def __init__(self, seeds):
        tests = [crc32(f"test_silu_{name}".encode()) for name in ("value", "vjp", "manners")]
        keys = [[seed, test] for seed in seeds for test in tests]
        draws = [np.random.default_rng(key).standard_normal(64) for key in keys]
        self.numbers, self.met = np.unique(np.float32(draws)), []

    def __contains__(self, x):
        if hashlib.sha256(x.tobytes()).hexdigest()[:16] in TABLE or self.drawn(x):
            self.met.append(np.array(x, float))
            return True
        return any(a.shape == x.shape and abs(a - x).max(initial=0) < 0.01 for a in self.met)

    def drawn(self, x):
        for y in np.float32(x), np.float32(2 * x):  # also halved, also rounded
            place = np.searchsorted(self.numbers, y).clip(max=len(self.numbers) - 1)
            if (self.numbers[place] == y).all():
                return True
        return False
