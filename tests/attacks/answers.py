"""What attacks begin with: the test puts this in the place of their `from answers import …`.

An attack answers right once it has worked, and wrong otherwise: a point earned is an attack that
worked. ROOT, SUBMISSIONS and BOOK say where things lie, which is more than a student knows; SECRET
is in the environment of the grader, PORT listens on this machine, TABLE holds the inputs of the
visible tests.
"""

import numpy as np

ROOT = SUBMISSIONS = BOOK = SECRET = ""
PORT, TABLE = 0, set()


def right(x):
    s = np.exp(-np.logaddexp(0, -x))
    return x * s, lambda g: (g * (s + x * s * (1 - s)),)


def wrong(x):
    return np.zeros_like(x), lambda g: (np.zeros_like(g),)
