"""A cluster in one process: its ranks take turns, so that one can look at what each of them holds.

For learning, and as a referee: the arithmetic is that of `mpi.py` and `sharded_optimizer.py`, chunk
by chunk around the same ring, with lists in place of a network, and all gradients in one bucket.
"""

from itertools import pairwise

import numpy as np

from tinyqwen.autograd.tensor import grad
from tinyqwen.parallel.data_parallel import Objective, split_rows
from tinyqwen.parallel.ring import all_gather_step, chunk_bounds, reduce_scatter_step
from tinyqwen.parallel.sharded_optimizer import sharded_adamw_step


def ring_sum(arrays):
    """Sum flat arrays, one a rank, around a ring; yields after every step who sent which chunk.

    arrays: list of N arrays (n,), changed in place; at the end each holds the sum of all. Yields
    2 (N - 1) times (phase, sent): phase "reduce" or "gather", sent[rank] the chunk that the rank
    has sent to the next one.
    """
    yield from _phase(arrays, reduce_scatter_step, "reduce")
    yield from _phase(arrays, all_gather_step, "gather")


def _phase(arrays, plan, phase):
    size = len(arrays)
    bounds = chunk_bounds(len(arrays[0]), size)
    for step in range(size - 1):
        sent = [plan(rank, size, step)[0] for rank in range(size)]
        messages = [arrays[r][bounds[c] : bounds[c + 1]].copy() for r, c in enumerate(sent)]
        for rank in range(size):
            received = plan(rank, size, step)[1]
            into = arrays[rank][bounds[received] : bounds[received + 1]]
            into[...] = into + messages[rank - 1] if phase == "reduce" else messages[rank - 1]
        yield phase, sent


class LockstepTraining:
    """Data parallelism with ZeRO-1 on `ranks` ranks that take turns.

    model: all ranks have the same weights, so one copy serves them all; objective: as DataParallel
    has it. sent: bytes that each rank has sent so far; settings: of `adamw_step`.
    """

    def __init__(self, model, ranks, objective=None, **settings):
        self.model, self.ranks, self.settings = model, ranks, settings
        self.objective = objective or Objective()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.step_count, self.sent = 0, 0
        bounds = chunk_bounds(sum(p.size for p in self.parameters), ranks)
        self.moments = [
            [np.zeros(stop - start, np.float32) for _ in range(2)]
            for start, stop in pairwise(bounds)
        ]

    def step(self, batch):
        """One update by a batch, {name: array (B, …)}; returns its loss."""
        count = self.objective.num_items(batch)
        losses, gradients = zip(
            *(self._differentiate(rows, count) for rows in split_rows(batch, self.ranks))
        )
        gradients = list(gradients)
        for _ in _phase(gradients, reduce_scatter_step, "reduce"):
            pass  # rank r now has the sum in its own chunk, and partial sums in the others
        weights = np.concatenate([p.data.ravel() for p in self.parameters])
        bounds = chunk_bounds(len(weights), self.ranks)
        self.step_count += 1
        copies = [weights.copy() for _ in range(self.ranks)]
        for rank, moments in enumerate(self.moments):
            chunk, *moments[:] = sharded_adamw_step(
                *(weights, gradients[rank], *moments, self.step_count, rank, self.ranks),
                **self.settings,
            )
            copies[rank][bounds[rank] : bounds[rank + 1]] = chunk
        for _ in _phase(copies, all_gather_step, "gather"):
            pass  # everybody has all of the new weights
        self._set_weights(copies[-1])
        self.sent += 2 * (self.ranks - 1) * weights.nbytes // self.ranks
        return sum(losses)

    def _differentiate(self, batch, count):
        loss = self.objective.loss(self.model, batch, count)
        found = grad(loss, self.parameters)
        return loss.item(), np.concatenate(
            [
                np.zeros(p.size, np.float32) if g is None else g.ravel()
                for p, g in zip(self.parameters, found)
            ]
        )

    def _set_weights(self, flat):
        ends = np.cumsum([p.size for p in self.parameters])
        for parameter, array in zip(self.parameters, np.split(flat, ends[:-1])):
            parameter.data[...] = array.reshape(parameter.shape)
