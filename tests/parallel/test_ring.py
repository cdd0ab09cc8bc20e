"""The ring, with ranks that are threads of one process: who sends what, and what comes out."""

import threading
from queue import Queue

import numpy as np
import pytest

from tinyqwen.parallel.ring import all_gather, chunk_bounds, reduce_scatter


def together(size, work):
    """[work(rank, exchange)] for ranks in threads, with a queue between neighbors."""
    queues = [Queue() for _ in range(size)]
    results, threads = [None] * size, []

    def run(rank):
        def exchange(out, into):
            queues[(rank + 1) % size].put(out.copy())
            into[...] = queues[rank].get(timeout=200)

        results[rank] = work(rank, exchange)

    for rank in range(size):
        threads.append(threading.Thread(target=run, args=(rank,)))
        threads[-1].start()
    for thread in threads:
        thread.join(timeout=250)
    return results


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("length", [0, 1, 5, 12, 29])
def test_everybody_gets_the_sum(size, length, rng):
    arrays = rng.integers(-9, 9, (size, length)).astype(np.float64)
    bounds = chunk_bounds(length, size)

    def work(rank, exchange):
        flat = arrays[rank].copy()
        for _ in reduce_scatter(flat, rank, size, exchange):
            pass
        own = flat[bounds[rank] : bounds[rank + 1]]
        assert np.array_equal(own, arrays.sum(0)[bounds[rank] : bounds[rank + 1]])
        others = np.full(length, np.nan)
        others[bounds[rank] : bounds[rank + 1]] = own
        assert len(list(all_gather(others, rank, size, exchange))) == size - 1
        return others

    for result in together(size, work):
        assert np.array_equal(result, arrays.sum(0))


def test_the_order_of_the_sum_is_fixed():
    """Chunk 0 of three ranks is (a₁ + a₂) + a₀: with 1e8 float32 rounding tells the order."""
    values = [np.float32(v) for v in (1.0, 1e8, -1e8)]

    def work(rank, exchange):
        flat = np.full(3, values[rank], np.float32)
        list(reduce_scatter(flat, rank, 3, exchange))
        return flat[rank].item()

    assert together(3, work) == [1.0, 0.0, 0.0]


def test_a_sum_is_made_when_the_message_is_there():
    """What `exchange` has returned is handed out, and nothing is read before it is time."""
    flat, inbox = np.array([1.0, 2.0]), []

    def exchange(out, into):
        inbox.append(into)
        return "on its way"

    ring = reduce_scatter(flat, 0, 2, exchange)
    assert next(ring) == "on its way" and flat.tolist() == [1.0, 2.0]
    inbox[0][...] = 10.0  # now it arrives
    assert list(ring) == [] and flat.tolist() == [11.0, 2.0]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_chunks_cover_everything_evenly(size):
    for length in range(17):
        bounds = chunk_bounds(length, size)
        sizes = np.diff(bounds)
        assert bounds[0] == 0 and bounds[-1] == length
        assert sizes.max() - sizes.min() <= 1 and sizes[0] == sizes.max()
