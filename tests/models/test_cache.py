"""The KV cache by hand: what it holds, when it grows, and whose row is whose."""

import numpy as np
import pytest

from tinyqwen.models.cache import KVCache, cache_update


def pair(*numbers, rows=1):
    """Keys (rows, 1, T, 1) of these numbers, in row r plus 100 r; and values, their squares."""
    keys = np.array(numbers, np.float32) + 100 * np.arange(rows, dtype=np.float32)[:, None]
    return keys[:, None, :, None], keys[:, None, :, None] ** 2


def held(cache, layer=0):
    """The keys that a cache holds of a layer; the values are checked to be theirs."""
    n = cache.get_seq_length(layer)
    keys, values = (room[:, 0, :n, 0] for room in cache._layers[layer])
    np.testing.assert_array_equal(values, keys**2)
    return keys.tolist()


def test_what_is_new_stands_behind_what_was_there():
    cache = KVCache(2, capacity=4)
    keys, values = cache.update(0, *pair(1, 2))
    assert keys.ravel().tolist() == [1, 2] and values.ravel().tolist() == [1, 4]
    keys, values = cache.update(0, *pair(3))
    assert keys.ravel().tolist() == [1, 2, 3] and values.ravel().tolist() == [1, 4, 9]
    assert (cache.get_seq_length(), cache.get_seq_length(1)) == (3, 0)
    assert cache._layers[1] is None and keys.base is not None  # a view, and nothing is copied
    assert cache.nbytes() == 2 * 3 * 4


@pytest.mark.parametrize(
    ("capacity", "steps", "rooms"),
    [
        (4, [1, 1, 1, 1], [4, 4, 4, 4]),
        (4, [4, 1], [4, 10]),  # a full one doubles what is needed
        (2, [5, 1, 6, 1], [5, 12, 12, 26]),  # a prompt takes its own length
    ],
)
def test_a_full_cache_doubles(capacity, steps, rooms):
    cache, number, found = KVCache(1, capacity), 0, []
    for new in steps:
        cache.update(0, *pair(*range(number, number + new)))
        number += new
        found.append(cache._layers[0][0].shape[2])
        assert held(cache) == [list(range(number))]
    assert found == rooms and cache.capacity == rooms[-1]


def test_layers_that_come_later_have_as_much_room():
    cache = KVCache(2, capacity=2)
    cache.update(0, *pair(1, 2, 3))
    cache.update(1, *pair(4))
    assert [room.shape[2] for room, _ in cache._layers] == [3, 3]


def test_a_refused_batch_leaves_it_as_it_was():
    cache = KVCache(1)
    cache.update(0, *pair(1, 2, rows=2))
    for rows in (1, 3):
        with pytest.raises(ValueError, match=f"holds a batch of 2, got one of {rows}"):
            cache.update(0, *pair(7, rows=rows))
    assert cache.get_seq_length() == 2 and held(cache) == [[1, 2], [101, 102]]


def test_what_is_cropped_is_forgotten_in_every_layer():
    cache = KVCache(2)
    cache.update(0, *pair(1, 2, 3))
    cache.update(1, *pair(4, 5))
    cache.crop(5)
    assert [cache.get_seq_length(i) for i in range(2)] == [3, 2]
    cache.crop(1)
    assert [held(cache, i) for i in range(2)] == [[[1]], [[4]]] and cache.nbytes() == 4 * 4
    cache.update(0, *pair(8))
    assert held(cache) == [[1, 8]]


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 1, 0], [1, 1, 0], [2, 2], [0, 0, 1, 1, 2, 2]])
def test_rows_take_turns_and_multiply(rows):
    cache = KVCache(2, capacity=3)
    cache.update(0, *pair(1, 2, rows=3))
    source = cache.source(0, lambda: "texts")
    cache.reorder(np.array(rows))
    assert held(cache) == [[1 + 100 * row, 2 + 100 * row] for row in rows]
    assert cache._layers[0][0].shape == (len(rows), 1, 3, 1) and cache._layers[1] is None
    assert cache.source(0, lambda: "other texts") is source  # they belong to no row
    keys, _ = cache.update(0, *pair(9, rows=len(rows)))
    assert keys[:, 0, -1, 0].tolist() == [9 + 100 * i for i in range(len(rows))]


def test_a_source_is_computed_once_a_layer():
    cache, made = KVCache(2), []
    for layer in (0, 1, 0, 1):
        assert cache.source(layer, lambda layer=layer: made.append(layer) or f"of {layer}") == (
            f"of {layer}"
        )
    assert made == [0, 1]


def test_room_behind_the_new_tokens_is_left_alone():
    keys, values = np.full((2, 1, 1, 5, 1), 7.0)
    out = cache_update(keys, values, *pair(1, 2), 1)
    assert [a.ravel().tolist() for a in out] == [[7, 1, 2], [7, 1, 4]]
    assert keys.ravel().tolist() == [7, 1, 2, 7, 7]
