"""Positions from a table that is learned: GPT-2's and BERT's."""

import numpy as np

from tinyqwen.autograd.shaping import unbroadcast
from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.linear import embedding


@primitive
def add_positions(x, weight, position_ids):
    """y = x + W[position_ids]: a learned vector for each place (Gehring et al. 2017, section 3.1).

    x (B, T, C), weight (P, C) a row for each position that there is, position_ids integers (B, T),
    or (1, T) or (T,) where all rows of the batch have the same. Returns (B, T, C).

    A row of W reaches the loss wherever its position stands:  dx = g,  dW_p = Σ_{ids == p} g.
    Raises ValueError for a position that the table does not have.
    """
    position_ids = np.asarray(position_ids)
    first, last = int(position_ids.min(initial=0)), int(position_ids.max(initial=0))
    if first < 0 or last >= len(weight):
        raise ValueError(
            f"position {first if first < 0 else last} is outside the table of {len(weight)} "
            "learned positions (max_position_embeddings); shorten the text"
        )
    rows, rows_vjp = embedding.raw(position_ids, weight)
    return x + rows, lambda g: (g, rows_vjp(unbroadcast(g, rows.shape))[1])
