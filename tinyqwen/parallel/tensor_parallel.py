"""One token on several cores: the rows of every large matrix are shared among processes.

A token cannot be split as a batch can (`parallel.py`), but a matrix can. Every process takes the
same step, with the same weights and a cache of its own; of a large matrix it multiplies only its
share of the rows, and has the others' results from shared memory (Shoeybi et al., 2019,
"Megatron-LM", section 3, share them so among GPUs). All of them come to the same place at the same
time, so nobody has to be woken, and what is too small to share is computed by all.

Threads of one process share Python's lock as well, and the one that waits for it falls asleep: a
token at the shape of Qwen2.5-0.5B took them 4 to 12% longer.
"""

import os
import threading
from contextlib import ExitStack
from multiprocessing import get_context

import numpy as np
from threadpoolctl import ThreadpoolController

from tinyqwen.functional.matvec import alone, matvec_by, multiply
from tinyqwen.parallel.resources import shared_zeros
from tinyqwen.parallel.workers import FORK, ForkedWorker

WORTH = 1 << 26  # bytes of a step's large matrices; with less, a short text would not pay
MOST = 8  # processes; each takes some milliseconds to begin
ROOM = 1 << 25  # bytes of a product's results; memory that is never written to is never taken
SPINS = 1 << 15  # looks for the others, in some milliseconds; to sleep and be woken takes longer
PATIENCE = 0.1  # seconds between looks whether they still live

_free = threading.Lock()  # held by the one `with` that has the cores, and BLAS held to one


class TensorParallel:
    """A step, taken on all the cores that BLAS may use; a context manager.

        with TensorParallel(step) as step:
            logits = step(ids)

    step: callable, array of integers or several -> anything. What it returns, and what it keeps for
    its next call, must depend on nothing but the integers it has been given.
    A first call that multiplies WORTH bytes by a FEW vectors is computed here alone; before the
    next, the other processes are forked. From there on to the end of the `with`, everything else
    that BLAS does runs on one core: good for tokens that come one by one, not for a prompt. Of
    `with` blocks in several threads one at a time has the cores. What a step raises in another
    process is raised here. Where there is no fork (macOS, Windows), all is left to BLAS.
    """

    def __init__(self, step):
        self._step, self._read = step, 0
        self._rank, self._size, self._turn, self._workers = 0, 0, 0, []
        self._cleanup = ExitStack()

    def __enter__(self):
        self._cleanup.enter_context(matvec_by(self._matvec))
        return self._call

    def __exit__(self, *exception):
        self._cleanup.close()

    def _call(self, *arrays):
        arrays = [np.asarray(array) for array in arrays]
        if FORK and not self._size and self._read >= WORTH:
            self._start()
        self._read = 0
        for rank, worker in enumerate(self._workers, 1):
            worker.submit("step", {str(i): array for i, array in enumerate(arrays)}, rank=rank)
        result = self._step(*arrays)
        for worker in self._workers:
            worker.result()
        return result

    # ---------------------------------------------------------------------------------------------
    # The processes
    # ---------------------------------------------------------------------------------------------

    def _start(self):
        """Begin the other processes, if nobody else has the cores."""
        blas = ThreadpoolController().select(user_api="blas")
        size = min(MOST, max((library["num_threads"] for library in blas.info()), default=1))
        if not _free.acquire(blocking=False):
            return
        self._cleanup.callback(_free.release)
        self._cleanup.enter_context(blas.limit(limits=1))
        self._cleanup.callback(self._end)
        self._parent, self._size = os.getpid(), size
        self._results = [shared_zeros(ROOM, np.uint8) for _ in range(2)]
        try:
            self._arrivals = [get_context("fork").Semaphore(0) for _ in range(size)]
            for _ in range(size - 1):
                self._workers.append(ForkedWorker(self._work))
        except OSError:  # the system grants no more of them
            self._end()

    def _end(self):
        """Be alone again."""
        self._size, self._arrivals = 1, [None]
        while self._workers:
            self._workers.pop().kill()

    def _work(self, _, batch, rank):
        """What another process does when this one takes a step."""
        self._rank = rank
        self._step(*batch.values())

    # ---------------------------------------------------------------------------------------------
    # The products
    # ---------------------------------------------------------------------------------------------

    def _matvec(self, weight, x):
        dtype, shape = np.result_type(weight.dtype, x), (len(x), len(weight))
        nbytes = dtype.itemsize * shape[0] * shape[1]
        if not self._size or nbytes > ROOM:
            self._read += weight.nbytes
            return alone(weight, x)
        # In turns, for some may still read the last results while others have the next ones.
        self._turn = 1 - self._turn
        out = self._results[self._turn][:nbytes].view(dtype).reshape(shape)
        unit = getattr(weight, "width", 1)  # rows of a packed matrix that are not parted
        start, stop = (
            shape[1] // unit * i // self._size * unit for i in (self._rank, self._rank + 1)
        )
        multiply(weight[start:stop], x, out[:, start:stop])
        self._meet()
        return out.copy()

    def _meet(self):
        """Wait until all processes have come here as often as this one.

        A semaphore counts the others' arrivals. One that is a meeting ahead may be counted in place
        of one that is late to say so; but then it has met that one here.
        """
        mine = self._arrivals[self._rank]
        for semaphore in self._arrivals:
            if semaphore is not mine:
                semaphore.release()
        for _ in range(self._size - 1):
            self._wait(mine)

    def _wait(self, semaphore):
        for _ in range(SPINS):
            if semaphore.acquire(False):
                return
        while not semaphore.acquire(timeout=PATIENCE):
            (self._check_parent if self._rank else self._check_workers)()

    def _check_parent(self):
        if os.getppid() != self._parent:
            raise SystemExit

    def _check_workers(self):
        for worker in self._workers:
            if worker.ended():
                worker.result()  # raises what ended it
                raise RuntimeError("one process took a step in fewer products than another")
