"""One step's gradient on several cores, and two settings of the machine that training wants.

NumPy lets go of Python's global lock inside matrix products and elementwise functions. So the rows
of a batch are split among threads, each with a tape of its own and BLAS held to one core: all of
the model's arithmetic runs on all cores, not the matrix products alone. The threads' gradients are
added in a fixed order, so the result does not depend on which finished first.
"""

import ctypes
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from tinyqwen.random import manual_seed
from tinyqwen.tensor import grad, no_grad


def default_threads():
    """The number of cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def physical_memory():
    """Bytes of memory that this machine has; infinity where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return math.inf


def keep_memory():
    """Ask glibc to keep freed memory for the next allocation; elsewhere do nothing.

    By default glibc gives every large array back to the kernel when it is freed, and the next one
    is faulted in again page by page: half the time of a training step. Here it is told to keep what
    the process has once used, and in one arena, for the arenas of threads are given back whenever
    they run empty, whatever the thresholds. TINYQWEN_KEEP_MEMORY=0 switches this off.
    Returns whether the setting was made.
    """
    if not sys.platform.startswith("linux") or os.environ.get("TINYQWEN_KEEP_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
    settings = ((M_MMAP_THRESHOLD, 1 << 25), (M_TRIM_THRESHOLD, 1 << 30), (M_ARENA_MAX, 1))
    return all(mallopt(parameter, value) for parameter, value in settings)


class DataParallel:
    """Losses and gradients of batches, computed by `threads` threads; a context manager.

    model: called as model(input_ids, labels=…, num_items_in_batch=…, skip_logits=True).
    Inside the `with`, BLAS is limited to one core for each thread.
    """

    def __init__(self, model, threads=None):
        self.model = model
        self.threads = threads or default_threads()

    def __enter__(self):
        keep_memory()
        self._limits = threadpool_limits(1, user_api="blas")
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="tinyqwen")
        return self

    def __exit__(self, *exception):
        self._pool.shutdown()
        self._limits.restore_original_limits()

    def _map(self, fn, *columns):
        """[fn(row) for row in zip(*columns)], all at once; the first exception is raised."""
        futures = [self._pool.submit(fn, *row) for row in zip(*columns)]
        return [future.result() for future in futures]

    def _shards(self, *arrays):
        """The rows split among the threads: a list for each array, without empty shards."""
        parts = min(self.threads, len(arrays[0]))
        return [np.array_split(a, parts) for a in arrays]

    def gradients(self, input_ids, labels, params, out, num_items, seed=(), add=False):
        """Loss of a batch; its gradients are written to `out`, or added to what is there.

        input_ids, labels (B, T); params: the Parameters; out: an array for each of them.
        num_items: the number of labels that count, by which losses and gradients are divided.
        seed: integers for this step's random numbers (dropout); each shard appends its own.
        Returns the loss as a float.
        """

        def shard(number, ids, labels):
            manual_seed([*seed, number])
            loss = self.model(
                ids, labels=labels, num_items_in_batch=num_items, skip_logits=True
            ).loss
            return loss.item(), grad(loss, params)

        def reduce(indices):
            for i in indices:
                parts = [gradients[i] for _, gradients in results if gradients[i] is not None]
                if not add and not parts:
                    out[i][...] = 0
                elif not add:
                    out[i][...] = parts.pop(0)
                for part in parts:
                    out[i] += part

        ids, targets = self._shards(input_ids, labels)
        results = self._map(shard, range(len(ids)), ids, targets)
        self._map(reduce, [range(n, len(params), self.threads) for n in range(self.threads)])
        return sum(loss for loss, _ in results)

    def loss(self, batches):
        """Mean loss in nats over all labels that count of (input_ids, labels) batches."""

        def one(ids, labels):
            with no_grad():
                return self.model(
                    ids, labels=labels, num_items_in_batch=1, skip_logits=True
                ).loss.item(), int(np.count_nonzero(labels[:, 1:] != -100))

        results = self._map(one, *zip(*batches))
        return sum(loss for loss, _ in results) / max(1, sum(count for _, count in results))
