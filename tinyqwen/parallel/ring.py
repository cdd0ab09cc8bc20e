"""Sums over many machines: a ring in which everybody sends to the next and receives from the last.

An array is cut into as many chunks as there are ranks. In `reduce_scatter` each chunk travels once
around the ring and grows at every stop; at its end rank r holds chunk r, summed over all. In
`all_gather` the finished chunks travel once more. Either way a rank sends (N - 1)/N of the array,
however many ranks there are: that is why rings are used (Patarasuk & Yuan 2009, "Bandwidth optimal
all-reduce algorithms for clusters of workstations").

Who adds what to what is fixed, and so is the rounding: the same N gives the same sum, bit for bit.
"""

import numpy as np


def chunk_bounds(length, size):
    """Where `length` numbers are cut for `size` ranks: size + 1 positions, 0 first, length last.

    Chunks differ by at most one number; the longer ones come first.

    >>> chunk_bounds(10, 4)
    [0, 3, 6, 8, 10]
    """
    return [length // size * i + min(i, length % size) for i in range(size + 1)]


def reduce_scatter_step(rank, size, step):
    """Which chunk a rank sends to the next one, and which it receives and adds: (sent, received).

    step: 0 … size - 2. What a rank receives in one step it sends in the next; after the last step
    it has received its own chunk, `rank`, to which all others have added theirs.

    >>> [reduce_scatter_step(0, 3, step) for step in range(2)]
    [(2, 1), (1, 0)]
    """
    sent = (rank - step - 1) % size
    return sent, (sent - 1) % size


def all_gather_step(rank, size, step):
    """Which finished chunk a rank sends to the next one, and which it receives: (sent, received).

    step: 0 … size - 2. It begins with its own.

    >>> [all_gather_step(0, 3, step) for step in range(2)]
    [(0, 2), (2, 1)]
    """
    sent = (rank - step) % size
    return sent, (sent - 1) % size


def reduce_scatter(flat, rank, size, exchange):
    """Sum a flat array over all ranks; each gets the sum of its own chunk, in place.

    exchange: callable (array to send to the next rank, array to be filled from the last one). It
    may return before that is done: this is a generator, which yields what exchange has returned,
    and is to be resumed when the message is there. So a rank can compute while numbers travel.
    The other chunks hold what passed through: partial sums.
    """
    bounds = chunk_bounds(len(flat), size)
    arrived = np.empty(bounds[1], flat.dtype)  # no chunk is longer than the first
    for step in range(size - 1):
        sent, received = reduce_scatter_step(rank, size, step)
        into = flat[bounds[received] : bounds[received + 1]]
        yield exchange(flat[bounds[sent] : bounds[sent + 1]], arrived[: len(into)])
        into += arrived[: len(into)]


def all_gather(flat, rank, size, exchange):
    """Fill a flat array, of which each rank holds its own chunk, with the others', in place.

    A generator, as `reduce_scatter` is.
    """
    bounds = chunk_bounds(len(flat), size)
    for step in range(size - 1):
        sent, received = all_gather_step(rank, size, step)
        yield exchange(
            flat[bounds[sent] : bounds[sent + 1]], flat[bounds[received] : bounds[received + 1]]
        )
