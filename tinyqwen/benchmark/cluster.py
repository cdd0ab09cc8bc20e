"""What `bench cluster` starts under mpiexec: steps of training, and what ranks say to each other.

    mpiexec -n 2 python -m tinyqwen.benchmark.cluster s 1.0       (size, seconds)
    mpiexec -n 2 python -m tinyqwen.benchmark.cluster s 1.0 1.25e7 0.001      (bytes/s, latency)

The second line simulates a slow network between the ranks (`slow_network.py`). Rank 0 prints one
line of JSON: milliseconds of a step, of these in communication (waiting for a slower rank
included), bytes that a rank sends, and the machine's own "network": a message's latency and the
bandwidth of large ones, measured before.
"""

import json
import sys
import time
from statistics import median

import numpy as np

from tinyqwen.analysis.cluster import Network
from tinyqwen.autograd.random import manual_seed
from tinyqwen.benchmark.sizes import SIZES, auto, batch_for
from tinyqwen.benchmark.slow_network import SlowRanks
from tinyqwen.models import auto as models
from tinyqwen.optim import AdamW, decay_groups
from tinyqwen.parallel.data_parallel import DataParallel, clipped_gradients
from tinyqwen.parallel.mpi import ranks
from tinyqwen.parallel.sharded_optimizer import ShardedAdamW

CALLS = ("everybody", "begin_reduce_scatter", "begin_all_gather", "advance", "complete")
SMALL, LARGE = 2, 1 << 20  # numbers in a message: one that costs its latency, one its length


class Clocked:
    """Ranks whose collective calls are timed: seconds, in all."""

    def __init__(self, group):
        self._group, self.seconds = group, 0.0

    def __getattr__(self, name):
        value = getattr(self._group, name)
        if name not in CALLS:
            return value

        def timed(*arguments):
            start = time.perf_counter()
            result = value(*arguments)
            self.seconds += time.perf_counter() - start
            return result

        return timed

    def together(self, action):
        """What this rank computes itself is no communication."""
        result = action()
        self.everybody(None)
        return result


def network(group, repeats=20):
    """(latency in seconds, bytes/s) of one turn around the ring, from two lengths of messages."""
    times = []
    for numbers in (SMALL * group.size, LARGE * group.size):
        flat, turns = np.zeros(numbers, np.float32), []
        for _ in range(repeats):
            group.everybody(None)
            start = time.perf_counter()
            group.begin_all_gather(flat, 0)
            group.complete()
            turns.append((time.perf_counter() - start) / max(1, group.size - 1))
        times.append(median(turns))
    latency = times[0]
    return latency, 4 * (LARGE - SMALL) / max(times[1] - latency, 1e-9)


def measure(size, seconds, slow=None):
    """The figures of this rank, a dict for JSON.  slow: the `Network` to simulate, if any."""
    group = ranks()
    if slow:
        group = SlowRanks(group._mpi, slow)
    latency, bandwidth = network(group)
    clocked = Clocked(group)
    manual_seed(0)
    model = auto(size, models).from_config(models.AutoConfig.from_dict(SIZES[size]["config"]))
    groups = decay_groups(model, 0.1)
    optimizer = AdamW(groups) if group.size == 1 else ShardedAdamW(groups, clocked)
    batch, num_items = batch_for(size)
    batches, steps, spent = [group.rows(batch)], [], []
    with DataParallel(model, group.threads(), optimizer) as parallel:
        end = time.perf_counter() + seconds
        while len(steps) < 4 or min(group.everybody(end - time.perf_counter())) > 0:
            before, sent, start = clocked.seconds, group.sent, time.perf_counter()
            clipped_gradients(parallel, optimizer, batches, num_items, 1.0, ranks=clocked)
            parallel.step()
            steps.append(1e3 * (time.perf_counter() - start))
            spent.append(1e3 * (clocked.seconds - before))
            sent = group.sent - sent
    return {
        "rank": group.rank,
        "step": median(steps[1:]),
        "communication": median(spent[1:]),
        "sent": sent,
        "parameters": model.num_parameters(),
        "latency": latency,
        "bandwidth": bandwidth,
    }


if __name__ == "__main__":
    size, seconds, *slow = sys.argv[1:]
    figures = measure(size, float(seconds), Network(*map(float, slow)) if slow else None)
    if figures["rank"] == 0:
        print(json.dumps(figures), flush=True)
