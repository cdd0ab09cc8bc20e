"""The KV cache: keys and values of the tokens seen so far, so that no token is computed twice."""

import numpy as np


def cache_update(keys, values, new_keys, new_values, start):
    """Write the keys and values of T new tokens behind the first `start`; return all so far.

    keys, values (B, H_kv, capacity, D): room that is written into, at positions start … start+T-1;
    new_keys, new_values (B, H_kv, T, D). Returns views, (B, H_kv, start + T, D) each. Nothing is
    concatenated or copied: a step writes T columns, however many tokens there are.

    >>> room = np.zeros((1, 1, 4, 1)), np.zeros((1, 1, 4, 1))
    >>> _ = cache_update(*room, np.ones((1, 1, 2, 1)), np.ones((1, 1, 2, 1)), 0)
    >>> keys, values = cache_update(*room, np.full((1, 1, 1, 1), 5), np.full((1, 1, 1, 1), 6), 2)
    >>> keys.ravel(), values.ravel()
    (array([1., 1., 5.]), array([1., 1., 6.]))
    """
    stop = start + new_keys.shape[2]
    keys[:, :, start:stop] = new_keys
    values[:, :, start:stop] = new_values
    return keys[:, :, :stop], values[:, :, :stop]


class KVCache:
    """Preallocated keys and values of every layer, each (B, H_kv, capacity, D).

    `cache_update` writes what is new into them. A cache that is full doubles, so without a known
    length the copies still cost O(1) a token.

    capacity: tokens to make room for at first. Queries are not kept: a token's query is used once,
    in the step that computes it, while its key and value are asked for by every later token.
    """

    def __init__(self, num_layers, capacity=64):
        self.capacity = capacity
        self._layers = [None] * num_layers
        self._lengths = [0] * num_layers
        self._source = {}

    def get_seq_length(self, layer=0):
        """Number of tokens in the cache."""
        return self._lengths[layer]

    def update(self, layer, key, value):
        """Append key and value (B, H_kv, T, D); return all so far (B, H_kv, S, D), as views."""
        batch, heads, new, depth = key.shape
        room, start = self._layers[layer], self._lengths[layer]
        if room is not None and len(room[0]) != batch:
            raise ValueError(f"KVCache: holds a batch of {len(room[0])}, got one of {batch}")
        stop = self._lengths[layer] = start + new
        if room is None or stop > room[0].shape[2]:
            self.capacity = max(self.capacity, stop if start == 0 else 2 * stop)
            shape = (batch, heads, self.capacity, depth)
            wider = np.empty(shape, key.dtype), np.empty(shape, value.dtype)
            for old, new_one in zip(room or (), wider):
                new_one[:, :, :start] = old[:, :, :start]
            room = self._layers[layer] = wider
        return cache_update(*room, key, value, start)

    def source(self, layer, compute):
        """Keys and values (B, S, C) of the text that a decoder translates, computed once.

        They belong to the texts, not to the rows that are written: `reorder` leaves them alone.
        """
        if layer not in self._source:
            self._source[layer] = compute()
        return self._source[layer]

    def reorder(self, rows):
        """Row i becomes what row rows[i] was, for texts that take turns or multiply (beam search).

        rows (R,) integers. As many rows as there are, are moved in place.
        """
        for layer, (room, n) in enumerate(zip(self._layers, self._lengths)):
            if room is None:
                continue
            wider, moved = room, np.flatnonzero(rows != np.arange(len(rows)))
            if len(rows) != len(room[0]):
                wider = tuple(np.empty((len(rows), *x.shape[1:]), x.dtype) for x in room)
                self._layers[layer], moved = wider, np.arange(len(rows))
            for old, new in zip(room, wider):
                new[moved, :, :n] = old[rows[moved], :, :n]

    def crop(self, length):
        """Forget all tokens from position `length` on."""
        self._lengths = [min(n, length) for n in self._lengths]

    def nbytes(self):
        """Bytes that hold tokens (not the room kept free)."""
        return sum(
            array[:, :, :n].nbytes
            for room, n in zip(self._layers, self._lengths)
            for array in room or ()
        )
