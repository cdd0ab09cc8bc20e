"""Rotary positions in a model: the angles of the tokens at hand, and queries and keys turned."""

import functools

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd import ops


class RotaryEmbedding(nn.Module):
    """Tables of the angles by which RoPE rotates queries and keys at each position."""

    def __init__(self, config):
        self._dim, self._theta = config.head_dim, config.rope_theta
        self._max_positions = config.max_position_embeddings

    def forward(self, position_ids, dtype):
        """position_ids (B or 1, T) -> cos, sin, each (B or 1, 1, T, D)."""
        first, last = int(position_ids.min(initial=0)), int(position_ids.max(initial=0))
        if first < 0:
            raise ValueError(f"position {first} is negative; the first one is 0")
        if last >= self._max_positions:
            raise ValueError(
                f"position {last} is past max_position_embeddings "
                f"{self._max_positions}; shorten the text, or raise it in the config"
            )
        length = 1 << last.bit_length()  # a power of 2, so that few are ever computed
        tables = _rope_tables(F.rope_tables, length, self._dim, self._theta, dtype)
        return tables.take(position_ids[:, None], axis=1)


@functools.lru_cache(maxsize=8)
def _rope_tables(compute, length, dim, theta, dtype):
    """Cosines and sines of positions 0 … length - 1, (2, length, D)."""
    return np.stack(compute(np.arange(length), dim, theta, dtype))


def apply_rotary_pos_emb(q, k, cos, sin):
    """Queries (B, H, T, D) and keys (B, H_kv, T, D), rotated; cos, sin as RotaryEmbedding gives.

    Those of a single token are rotated together: on so few numbers a call costs more than they do.
    """
    H, T = q.shape[1:3]
    if T > 1:
        return F.apply_rope(q, cos, sin), F.apply_rope(k, cos, sin)
    join = np.concatenate if type(q) is np.ndarray else ops.concat
    both = F.apply_rope(join((q, k), 1), cos, sin)
    return both[:, :H], both[:, H:]
