"""Every run of the tests draws the same cases: hypothesis and both generators start from a seed.

And every run can interrupt the processes that it starts, also where a shell runs it behind a `&`:
what begins there ignores Ctrl-C, and so would they.
"""

import signal

import numpy as np
import pytest
from hypothesis import settings

import tinyqwen as tq

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=20, database=None)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile("fixed")  # to hunt for new cases: pytest --hypothesis-profile=search

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded():
    tq.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
