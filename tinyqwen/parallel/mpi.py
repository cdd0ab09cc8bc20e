"""The ranks of `mpiexec -n N`: who else there is, and what they say to each other.

MPI (the Message Passing Interface) starts one program N times, on one machine or many, and carries
arrays between the copies, its ranks. Here it carries plain arrays alone: nothing is pickled. What
is summed goes round the ring of `ring.py`, in an order that is fixed.

Without mpiexec there is one rank, `Alone`, to whom all of this costs nothing.
"""

import hashlib
import os

import numpy as np

from tinyqwen.parallel.resources import default_threads
from tinyqwen.parallel.ring import all_gather, chunk_bounds, reduce_scatter

# What the launchers of MPICH, Open MPI and Slurm tell the programs that they start.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")


class Alone:
    """The only rank: everything is here already."""

    rank, size, sent = 0, 1, 0

    def threads(self, wanted=0):
        """How many cores are this rank's: what was wanted, or all."""
        return wanted or default_threads()

    def rows(self, batch):
        """This rank's rows of a batch, {name: array (B, …)}."""
        return batch

    def bounds(self, length):
        """(start, stop) of this rank's share of `length` numbers."""
        return 0, length

    def reduce_scatter(self, flat):
        """Sum over all ranks; this one gets its share, a view of `flat`."""
        return flat

    def all_gather(self, flat):
        """Fill `flat`, of which this rank has its share, with the others'."""

    def sum(self, values):
        """Σ over all ranks of a few numbers, added in the order of the ranks."""
        return list(values)

    def barrier(self):
        """Wait for everybody."""

    def refuse_differences(self, facts):
        """Raise ValueError, naming it, if a fact differs between ranks.  facts: {name: text}"""


class Ranks(Alone):
    """One of several ranks, by mpi4py's COMM_WORLD."""

    def __init__(self, mpi):
        self._mpi, self._comm = mpi, mpi.COMM_WORLD
        self.rank, self.size = self._comm.rank, self._comm.size
        self._near = self._comm.Split_type(mpi.COMM_TYPE_SHARED).size  # on this machine
        self.sent = 0  # bytes

    def threads(self, wanted=0):
        return wanted or max(1, default_threads() // self._near)

    def rows(self, batch):
        bounds = chunk_bounds(len(next(iter(batch.values()))), self.size)
        return {name: a[bounds[self.rank] : bounds[self.rank + 1]] for name, a in batch.items()}

    def bounds(self, length):
        bounds = chunk_bounds(length, self.size)
        return bounds[self.rank], bounds[self.rank + 1]

    def _exchange(self, out, into):
        after, before = (self.rank + 1) % self.size, (self.rank - 1) % self.size
        self._comm.Sendrecv(out, dest=after, recvbuf=into, source=before)
        self.sent += out.nbytes

    def reduce_scatter(self, flat):
        return reduce_scatter(flat, self.rank, self.size, self._exchange)

    def all_gather(self, flat):
        all_gather(flat, self.rank, self.size, self._exchange)

    def gather(self, values):
        """Everybody's row of numbers, (ranks, n) float64."""
        own = np.array(values, np.float64)
        everybody = np.empty((self.size, len(own)))
        self._comm.Allgather(own, everybody)
        self.sent += own.nbytes
        return everybody

    def sum(self, values):
        return [sum(column) for column in self.gather(values).T.tolist()]

    def barrier(self):
        self._comm.Barrier()

    def refuse_differences(self, facts):
        digests = [hashlib.sha256(text.encode()).digest()[:6] for text in facts.values()]
        everybody = self.gather([int.from_bytes(digest, "big") for digest in digests])
        for name, column in zip(facts, everybody.T):
            if (column != column[0]).any():
                other = int(np.flatnonzero(column != column[0])[0])
                raise ValueError(
                    f"rank {other} has another {name} than rank 0; all ranks must be started with "
                    "the same command, code and data"
                )

    def abort(self, status):
        """End all ranks, whatever they are at."""
        self._comm.Abort(status)


def ranks():
    """The ranks that this program was started with.

    Raises ValueError if it was started by mpiexec, but mpi4py cannot be imported.
    """
    size = max(int(os.environ.get(name, 1)) for name in SIZES)
    if size == 1:
        return Alone()
    try:
        from mpi4py import MPI  # MPI begins with this import, and ends with the process
    except ImportError as error:
        raise ValueError(
            f"started as one of {size} ranks, but mpi4py cannot be imported ({error}); "
            'pip install -e ".[cluster]", which needs an MPI library (README, "Many machines")'
        ) from None
    return Ranks(MPI)
