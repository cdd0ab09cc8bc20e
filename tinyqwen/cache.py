"""The KV cache: keys and values of the tokens seen so far, so that no token is computed twice."""

import numpy as np


class KVCache:
    """Preallocated keys and values of every layer, each (B, H_kv, capacity, D).

    A decoding step writes one column and reads the rest where it lies: nothing is concatenated. A
    cache that is full doubles, so without a known length the copies still cost O(1) a token.

    capacity: tokens to make room for at first. Queries are not kept: a token's query is used once,
    in the step that computes it, while its key and value are asked for by every later token.
    """

    def __init__(self, num_layers, capacity=64):
        self.capacity = capacity
        self._layers = [None] * num_layers
        self._lengths = [0] * num_layers

    def get_seq_length(self, layer=0):
        """Number of tokens in the cache."""
        return self._lengths[layer]

    def update(self, layer, key, value):
        """Append key and value (B, H_kv, T, D); return all so far (B, H_kv, S, D), as views."""
        batch, heads, new, depth = key.shape
        start = self._lengths[layer]
        stop = start + new
        if self._layers[layer] is None or stop > self._layers[layer].shape[3]:
            self.capacity = max(self.capacity, stop if start == 0 else 2 * stop)
            room = np.empty((2, batch, heads, self.capacity, depth), key.dtype)
            if start:
                room[:, :, :, :start] = self._layers[layer][:, :, :, :start]
            self._layers[layer] = room
        room = self._layers[layer]
        if room.shape[1] != batch:
            raise ValueError(f"KVCache: holds a batch of {room.shape[1]}, got one of {batch}")
        room[0, :, :, start:stop] = key
        room[1, :, :, start:stop] = value
        self._lengths[layer] = stop
        return room[0, :, :, :stop], room[1, :, :, :stop]

    def crop(self, length):
        """Forget all tokens from position `length` on."""
        self._lengths = [min(n, length) for n in self._lengths]

    def nbytes(self):
        """Bytes that hold tokens (not the room kept free)."""
        return sum(
            room[:, :, :, :n].nbytes
            for room, n in zip(self._layers, self._lengths)
            if room is not None
        )
