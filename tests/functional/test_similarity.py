"""Cosine similarity, against angles known by hand."""

import numpy as np
import pytest

from tinyqwen import functional as F


def test_known_angles():
    turn = np.deg2rad([0, 30, 90, 135, 180])
    other = 7.0 * np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    cosines = F.cosine_similarity(np.array([0.2, 0.0]), other)
    np.testing.assert_allclose(cosines, [1, 3**0.5 / 2, 0, -(0.5**0.5), -1], atol=1e-15)


def test_broadcasts_like_a_table():
    x, y = np.random.default_rng(0).standard_normal((2, 4, 3))
    table = F.cosine_similarity(x[:, None], y[None])
    assert table.shape == (4, 4)
    for i in range(4):
        for j in range(4):
            lengths = np.sqrt((x[i] ** 2).sum()) * np.sqrt((y[j] ** 2).sum())
            assert table[i, j] == pytest.approx(sum(x[i] * y[j]) / lengths)


def test_zero_and_tiny_vectors():
    assert F.cosine_similarity(np.zeros(3), np.ones(3)) == 0
    assert F.cosine_similarity(np.full(3, 1e-7), np.full(3, -1e-7)) == pytest.approx(-1)
    assert F.cosine_similarity(np.ones(3, np.float32), np.ones(3, np.float32)).dtype == np.float32
