"""The ranks of `mpiexec -n N`: who else there is, and what they say to each other.

MPI (the Message Passing Interface) starts one program N times, on one machine or many, and carries
arrays between the copies, its ranks. Here it carries numbers and JSON: nothing is unpickled. What
is summed goes round the ring of `ring.py`, in an order that is fixed.

Without mpiexec there is one rank, `Alone`, for whom all of this costs nothing.
"""

import hashlib
import json
import os
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from tinyqwen.parallel.resources import default_threads
from tinyqwen.parallel.ring import all_gather, chunk_bounds, reduce_scatter

# What MPICH, Open MPI and Slurm's srun tell the programs that they start.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")


def launched_rank():
    """This program's number among those that were started together; 0 if it is alone."""
    return max(int(os.environ.get(name, 0)) for name in RANKS) if _launched_size() > 1 else 0


def _launched_size():
    return max(int(os.environ.get(name, 1)) for name in SIZES)


def code_digest():
    """A short text that tells one version of this package's code from another."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class Alone:
    """The only rank: what others would be told stays here, and what is summed is there already."""

    rank, size, apart, sent = 0, 1, False, 0

    def threads(self, wanted=0):
        """How many cores this rank computes on: as many as wanted, or its share of the machine."""
        return wanted or default_threads()

    def bounds(self, length):
        """(start, stop) of this rank's share of `length` things."""
        return 0, length

    def refuse_few(self, rows):
        """Raise ValueError if a batch of so many rows has not one for each rank."""

    def rows(self, batch):
        """This rank's rows of a batch, {name: array (B, …)}; shares differ by at most one row.

        Raises what `refuse_few` does.
        """
        return batch

    def everybody(self, value):
        """[the value of each rank], in their order.  value: what JSON can say."""
        return [value]

    def together(self, action):
        """action(), which must not talk to other ranks, on each of them; returns its own result.

        If it fails anywhere, this raises everywhere: what failed here, or ValueError with what
        failed elsewhere. So nobody waits for one who is no more.
        """
        return action()

    def refuse_differences(self, facts):
        """Raise ValueError, naming it, if a fact is not the same on all ranks.  facts: a dict"""

    def begin_reduce_scatter(self, flat, tag):
        """Begin to sum an array over all ranks, each of which gets the sum of its share, in place.

        Leave the array alone until `complete` returns. tag: its number, the same on all ranks, by
        which it is told from others that are under way.
        """

    def begin_all_gather(self, flat, tag):
        """Begin to fill `flat`, of which each rank has its share, with the others' shares."""

    def advance(self):
        """Let what was begun go on, as far as it can without waiting."""

    def complete(self):
        """Wait until all that was begun is done."""

    def collect(self, share, length):
        """The shares of all, one array of that length, on rank 0; an empty one elsewhere."""
        return share

    @contextmanager
    def guard(self):
        """Inside, an error that the others do not know of ends them too."""
        yield


class Ranks(Alone):
    """One of several ranks, by mpi4py's module MPI.

    sent: the bytes that this one has sent; apart: whether others are on other machines.
    """

    def __init__(self, mpi):
        self._mpi, self._comm = mpi, mpi.COMM_WORLD
        self.rank, self.size, self.sent = self._comm.rank, self._comm.size, 0
        self._near = self._comm.Split_type(mpi.COMM_TYPE_SHARED).size  # on this machine
        self.apart = self._near < self.size
        self._known = False  # whether the others have heard of what failed
        self._under_way = []  # rings, each with the messages that it waits for

    def threads(self, wanted=0):
        return wanted or max(1, default_threads() // self._near)

    def bounds(self, length):
        bounds = chunk_bounds(length, self.size)
        return bounds[self.rank], bounds[self.rank + 1]

    def refuse_few(self, rows):
        if rows < self.size:
            self._known = True  # all of them have the same batch
            raise ValueError(
                f"a batch of {rows} rows cannot be shared out to {self.size} ranks; "
                "raise --batch-size, or start fewer"
            )

    def rows(self, batch):
        rows = len(next(iter(batch.values())))
        self.refuse_few(rows)
        first, last = self.bounds(rows)
        return {name: array[first:last] for name, array in batch.items()}

    def everybody(self, value):
        own = np.frombuffer(json.dumps(value).encode(), np.uint8)
        sizes = np.empty(self.size, np.int64)
        self._comm.Allgather(np.array([own.size]), sizes)
        texts = np.empty(sizes.sum(), np.uint8)
        self._comm.Allgatherv(own, [texts, sizes])
        self.sent += own.nbytes + 8
        return [json.loads(text.tobytes()) for text in np.split(texts, np.cumsum(sizes)[:-1])]

    def together(self, action):
        result = error = None
        try:
            result = action()
        except (Exception, SystemExit) as caught:
            error = caught
        told = self.everybody(None if error is None else str(error) or type(error).__name__)
        failed = [rank for rank, text in enumerate(told) if text is not None]
        self._known = bool(failed)
        if error is not None:
            raise error
        if failed:
            raise ValueError(f"rank {failed[0]}: {told[failed[0]]}")
        return result

    def refuse_differences(self, facts):
        first, *others = self.everybody(facts)
        for rank, other in enumerate(others, 1):
            for name, value in first.items():
                if other.get(name) != value:
                    self._known = True  # all of them see it
                    raise ValueError(
                        f"rank {rank} has {name} {other.get(name)!r}, rank 0 {value!r}; start all "
                        "ranks with the same command, code and data"
                    )

    def begin_reduce_scatter(self, flat, tag):
        self._begin(reduce_scatter, flat, tag)

    def begin_all_gather(self, flat, tag):
        self._begin(all_gather, flat, tag)

    def _begin(self, ring, flat, tag):
        exchange = partial(self._exchange, tag)
        self._under_way.append((ring(flat, self.rank, self.size, exchange), []))
        self.advance()

    def _exchange(self, tag, out, into):
        after, before = (self.rank + 1) % self.size, (self.rank - 1) % self.size
        self.sent += out.nbytes
        return [self._comm.Irecv(into, before, tag), self._comm.Isend(out, after, tag)]

    def _arrived(self, messages):
        return self._mpi.Request.Testall(messages)

    def _wait_for_any(self, messages):
        self._mpi.Request.Waitany(messages)

    def advance(self):
        for ring, messages in self._under_way:
            while self._arrived(messages):
                messages[:] = next(ring, ())
                if not messages:
                    break
        self._under_way = [(ring, messages) for ring, messages in self._under_way if messages]

    def complete(self):
        while self._under_way:
            self._wait_for_any([message for _, some in self._under_way for message in some])
            self.advance()

    def collect(self, share, length):
        counts = np.diff(chunk_bounds(length, self.size))
        whole = np.empty(length if self.rank == 0 else 0, share.dtype)
        self._comm.Gatherv(share, [whole, counts] if self.rank == 0 else None)
        return whole

    @contextmanager
    def guard(self):
        try:
            yield
        except BaseException as error:
            if not self._known and not isinstance(error, SystemExit):
                text = f"rank {self.rank}: {str(error) or type(error).__name__}"
                print(text, file=sys.__stderr__, flush=True)  # where no other rank speaks
                time.sleep(0.2)  # the launcher passes it on, and forgets it once all are ended
                self._comm.Abort(2)
            raise


def ranks():
    """The ranks that this program was started with.

    Raises ValueError if it was started by mpiexec, but mpi4py cannot be imported.
    """
    size = _launched_size()
    if size == 1:
        return Alone()
    try:
        from mpi4py import MPI  # MPI begins with this import, and ends with the process
    except (ImportError, RuntimeError) as error:  # no mpi4py, or no MPI library for it
        raise ValueError(
            f"started as one of {size} ranks, but mpi4py cannot be imported ({error}); install "
            'it: pip install -e ".[cluster]"'
        ) from None
    if MPI.COMM_WORLD.size != size:
        raise ValueError(
            f"mpiexec started {size} ranks, but mpi4py's MPI library sees {MPI.COMM_WORLD.size}; "
            "use the mpiexec of the library that mpi4py was built for"
        )
    return Ranks(MPI)
