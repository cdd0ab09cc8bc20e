"""A large matrix times one vector or a few: where a decoded token spends its time.

Each weight is read from memory once and used once for each text that is being written, so the time
is that of reading. Two ideas bring it near the memory's own speed:

*Row after row.* BLAS takes four rows at a time. Four short streams are hard to foresee for a core,
which fetches ahead what it expects to be read next; NumPy's vecdot makes the matrix one stream. On
a core of Zen 4, with rows of 896 numbers, it reads 30 GB/s where BLAS reads 16. LONG rows are left
to BLAS: each would push x out of the fastest cache, and BLAS reads x once for four of them. For two
vectors or more BLAS would first copy the matrix to where it likes it, at 10 GB/s on two cores.

*On all cores.* No core alone takes all that the memory gives. BLAS would use the others as well,
but its threads are busy even while they wait for work, and ours would find no core free. So inside
`on_all_cores` the rows are shared between threads of ours, and BLAS is held to one core.
"""

import queue
import threading
from contextlib import contextmanager

import numpy as np
from threadpoolctl import ThreadpoolController

LARGE = 1 << 21  # bytes of a matrix; a smaller one stays in a cache, where BLAS is the faster
FEW = 4  # vectors; for more of them, BLAS's copy of the matrix is worth making
LONG = 2048  # numbers in a row; as many of W and of x are half of a first-level cache
PIECE = 1 << 20  # bytes at a time, or more
UNLOCKED = 512  # rows at a time, or more: for up to 500, vecdot would keep Python's lock


class _ThreadState(threading.local):
    cores = None  # inside `on_all_cores`


_state = _ThreadState()
_free = threading.Lock()  # held by the one block that has the cores, and BLAS held to one


def matvec(weight, x):
    """y = W x for each of a FEW vectors.  weight (n, k), x (T, k). Returns (T, n)."""
    return x.dot(weight.T) if _state.cores is None else _state.cores.matvec(weight, x)


@contextmanager
def on_all_cores():
    """Inside, this thread's `matvec` runs on all the cores that BLAS may use.

    From its first call on, and to the end of the block, everything else that BLAS does runs on one:
    good for tokens that come one by one, not for a prompt. Of blocks in several threads one at a
    time has the cores; the others' products are BLAS's.
    """
    before, _state.cores = _state.cores, _Cores()
    try:
        yield
    finally:
        _state.cores.close()
        _state.cores = before


class _Cores:
    """This thread and its helpers, who wait at a queue for rows to multiply."""

    def __init__(self):
        self._jobs, self._helpers, self._limits = queue.SimpleQueue(), None, None

    def _start(self):
        """Take the cores; returns whether they are free."""
        if not _free.acquire(blocking=False):
            return False
        blas = ThreadpoolController().select(user_api="blas")
        threads = max((library["num_threads"] for library in blas.info()), default=1)
        self._limits = blas.limit(limits=1)
        self._helpers = []
        for _ in range(threads - 1):
            helper = threading.Thread(target=_help, args=(self._jobs,), daemon=True)
            helper.start()
            self._helpers.append(helper)
        return True

    def matvec(self, weight, x):
        if self._helpers is None and not self._start():
            return x.dot(weight.T)
        least = UNLOCKED if weight.shape[1] <= LONG else 1
        size = max(least, PIECE * len(weight) // weight.nbytes)
        helpers = max(0, min(len(self._helpers), (len(weight) // size - 1) // 2))
        out = np.empty((len(x), len(weight)), np.result_type(weight, x))
        if not helpers:  # not worth waking anybody
            _multiply(weight, x, out)
            return out
        *starts, last = range(0, len(weight) - size + 1, size)
        shared, done = iter(starts), queue.SimpleQueue()

        def multiply(start, stop):
            _multiply(weight[start:stop], x, out[:, start:stop])

        def work():  # piece by piece, for no two threads begin at once or are equally fast
            for start in shared:
                multiply(start, start + size)

        for _ in range(helpers):
            self._jobs.put((work, done))
        work()
        multiply(last, None)  # while the others end; to sleep until they do would take longer
        for _ in range(helpers):
            error = done.get()
            if error is not None:
                raise error
        return out

    def close(self):
        for _ in self._helpers or ():
            self._jobs.put(None)
        for helper in self._helpers or ():
            helper.join()
        if self._limits is not None:
            self._limits.restore_original_limits()
            _free.release()


def _help(jobs):
    """Do what is in the queue, and say that it is done or what went wrong, until a None."""
    for work, done in iter(jobs.get, None):
        try:
            done.put(work())
        except Exception as error:
            done.put(error)


def _multiply(weight, x, out):
    if weight.shape[1] > LONG:
        for vector, product in zip(x, out):
            np.dot(weight, vector, out=product)
    else:
        np.vecdot(weight[:, None], x, out=out.T)
