"""Every run of the tests draws the same cases: hypothesis and both generators start from a seed."""

import numpy as np
import pytest
from hypothesis import settings

import tinyqwen as tq

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=20, database=None)
settings.register_profile("search", deadline=None, max_examples=500)
settings.load_profile("fixed")  # to hunt for new cases: pytest --hypothesis-profile=search


@pytest.fixture(autouse=True)
def seeded():
    tq.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
