"""AdamW on many machines: gradients summed over the ranks, the optimizer's state shared out.

Each rank has all weights and makes the gradients of its own rows. Then (Rajbhandari et al. 2020,
"ZeRO", stage 1): a reduce-scatter leaves each rank the sum of its share of the gradients; it clips
and updates that share, for which alone it keeps m and v; an all-gather brings everybody the new
weights. What goes over the wire is as much as for a plain all-reduce of the gradients.
"""

import math

import numpy as np

from tinyqwen.optim import AdamW, adamw_step
from tinyqwen.parallel.ring import chunk_bounds


def sharded_adamw_step(parameter, gradient, m, v, step, rank, size, **settings):
    """One rank's part of an update by AdamW, whose state is shared out over `size` ranks.

    parameter (n,): all weights. gradient (n,): summed over the ranks in this rank's chunk, which is
    all that is right after a reduce-scatter. m, v: the moments of that chunk alone, as long as it
    is. step: t, 1 for the first update; settings: lr, betas, eps, weight_decay of `adamw_step`.
    Returns the new (chunk of the weights, m, v); an all-gather then brings the others' chunks.

    (Rajbhandari et al. 2020, "ZeRO", section 5.1.)
    """
    bounds = chunk_bounds(len(parameter), size)
    own = slice(bounds[rank], bounds[rank + 1])
    return adamw_step(parameter[own], gradient[own], m, v, step, **settings)


class ShardedAdamW(AdamW):
    """AdamW whose numbers are shared out over `ranks`; the rest of it is as in AdamW."""

    def __init__(self, params, ranks, **settings):
        self._ranks = ranks
        super().__init__(params, **settings)

    def _own(self, size):
        return self._ranks.bounds(size)

    def clip_gradients(self, max_norm):
        """Sum the gradients over the ranks, each its share; clip all of them by their joint norm.

        Returns the norm before clipping, the same on every rank.
        """
        own = self._ranks.reduce_scatter(self._grad)
        norm = math.sqrt(sum(self._ranks.everybody(float(np.vdot(own, own)))))
        if norm > max_norm:
            own *= max_norm / (norm + 1e-6)
        return norm

    def due(self):
        first, last = self._own(len(self._data))
        runs = ((max(run[0], first), min(run[1], last), *run[2:]) for run in super().due())
        return [run for run in runs if run[0] < run[1]]

    def finish(self):
        self._ranks.all_gather(self._data)

    def state_dict(self):
        """As AdamW's, whole, on rank 0; on the others m and v are empty."""
        state, size = super().state_dict(), len(self._data)
        return state | {name: self._ranks.collect(state[name], size) for name in ("m", "v")}

    def load_state_dict(self, state):
        first, last = self._own(len(self._data))
        super().load_state_dict(state | {name: state[name][first:last] for name in ("m", "v")})
