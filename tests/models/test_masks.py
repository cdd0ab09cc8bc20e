import numpy as np

from tinyqwen.models.masks import causal_mask, packed_mask, padding_mask


def test_causal_mask_is_the_lower_triangle():
    mask = causal_mask(4)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, np.tri(4))


def test_the_last_query_is_aligned_with_the_last_key():
    np.testing.assert_array_equal(causal_mask(2, 5), [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(causal_mask(3, 2), [[0, 0], [1, 0], [1, 1]])


def test_a_window_counts_the_query_itself():
    np.testing.assert_array_equal(causal_mask(3, window=2), [[1, 0, 0], [1, 1, 0], [0, 1, 1]])


def test_padding_mask_broadcasts_over_heads_and_queries():
    mask = padding_mask([[0, 1, 1], [1, 1, 1]])
    assert mask.dtype == bool and mask.shape == (2, 1, 1, 3)
    np.testing.assert_array_equal(mask[:, 0, 0], [[0, 1, 1], [1, 1, 1]])


def test_packed_mask_keeps_conversations_apart():
    mask = packed_mask(np.array([[0, 0, 1, -1], [7, 8, 8, 8]]))
    assert mask.dtype == bool and mask.shape == (2, 1, 4, 4)
    first = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(mask[0, 0], first)
    np.testing.assert_array_equal(mask[1, 0], [[1, 0, 0, 0]] + [[0, 1, 1, 1]] * 3)
