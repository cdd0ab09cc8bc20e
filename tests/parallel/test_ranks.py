"""Ranks, and the optimizer that they share out, over an MPI that is made of threads."""

import math
import sys
import threading
import time
from queue import Empty, Queue
from types import SimpleNamespace

import numpy as np
import pytest

from tinyqwen import nn
from tinyqwen.optim import AdamW
from tinyqwen.parallel import mpi, sharded_optimizer
from tinyqwen.parallel.mpi import Alone, Ranks
from tinyqwen.parallel.sharded_optimizer import ShardedAdamW


class Comm:
    """What `Ranks` asks of a communicator, for one of `size` threads."""

    def __init__(self, rank, size, near, shared):
        self.rank, self.size, self._near, self._shared = rank, size, near, shared
        self.aborted = None

    def _all(self, value):
        self._shared.slots[self.rank] = np.array(value)
        self._shared.barrier.wait(200)
        found = list(self._shared.slots)
        self._shared.barrier.wait(200)
        return found

    def Split_type(self, kind):
        assert kind == "shared"
        return SimpleNamespace(size=self._near)

    def Allgather(self, own, into):
        into[...] = np.concatenate(self._all(own))

    def Allgatherv(self, own, into):
        found = self._all(own)
        assert [len(part) for part in found] == into[1].tolist()
        into[0][...] = np.concatenate(found)

    def Gatherv(self, own, into):
        found = self._all(own)
        assert (into is None) == (self.rank > 0)
        if into is not None:
            assert [len(part) for part in found] == into[1].tolist()
            into[0][...] = np.concatenate(found)

    def Isend(self, out, dest, tag):
        self._shared.queues[self.rank, dest, tag].put(out.copy())
        return Arrived()

    def Irecv(self, into, source, tag):
        return Arriving(into, self._shared.queues[source, self.rank, tag])

    def Abort(self, code):
        self.aborted = code


class Arrived:
    """A message that need not be waited for."""

    def test(self, wait=0.0):
        return True


class Arriving(Arrived):
    """One that is there once the queue has it."""

    def __init__(self, into, queue):
        self._into, self._queue = into, queue

    def test(self, wait=0.0):
        if self._queue:
            try:
                self._into[...] = self._queue.get(timeout=wait) if wait else self._queue.get(False)
            except Empty:
                return False
            self._queue = None
        return True


class Request:
    """MPI's functions on several messages."""

    @staticmethod
    def Testall(messages):
        return all([message.test() for message in messages])

    @staticmethod
    def Waitany(messages):
        until = time.monotonic() + 200
        while time.monotonic() < until:
            for message in messages:
                if type(message) is Arriving and message.test(0.01):
                    return


def together(size, work, near=1):
    """[work(ranks)] of so many ranks; an exception stands for itself."""
    pairs = [(a, b) for a in range(size) for b in range(size)]
    queues = {(*pair, tag): Queue() for pair in pairs for tag in range(8)}
    barrier = threading.Barrier(size)
    shared = SimpleNamespace(slots=[None] * size, barrier=barrier, queues=queues)
    results = [None] * size

    def run(rank):
        comm = Comm(rank, size, near, shared)
        try:
            mpi = SimpleNamespace(COMM_WORLD=comm, COMM_TYPE_SHARED="shared", Request=Request)
            results[rank] = work(Ranks(mpi))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(250)
    return results


def test_everybody_says_what_everybody_said():
    values = [{"a": 1}, None, ["a much longer text", 0.5]]
    assert together(3, lambda ranks: ranks.everybody(values[ranks.rank])) == [values] * 3


def test_what_fails_somewhere_fails_everywhere():
    def work(ranks):
        def action():
            if ranks.rank in (1, 2):
                raise KeyError(f"of {ranks.rank}")
            return "done"

        return ranks.together(action)

    first, second, third = together(3, work)
    assert isinstance(first, ValueError) and str(first) == "rank 1: 'of 1'"
    assert isinstance(second, KeyError) and isinstance(third, KeyError)
    assert together(3, lambda ranks: ranks.together(lambda: ranks.rank)) == [0, 1, 2]


def test_a_failure_without_words_is_named_by_its_kind():
    def work(ranks):
        return ranks.together(lambda: 1 / 0 if ranks.rank else 0)

    def silent(ranks):
        def action():
            if ranks.rank:
                raise MemoryError

        return ranks.together(action)

    assert str(together(2, work)[0]) == "rank 1: division by zero"
    assert str(together(2, silent)[0]) == "rank 1: MemoryError"


def test_ranks_that_differ_are_refused():
    facts = [{"seed": 1, "steps": 9}, {"seed": 1, "steps": 9}, {"seed": 1, "steps": 8}]
    for error in together(3, lambda ranks: ranks.refuse_differences(facts[ranks.rank])):
        assert isinstance(error, ValueError)
        assert str(error).startswith("rank 2 has steps 8, rank 0 9; start all ranks")
    assert together(2, lambda ranks: ranks.refuse_differences({"seed": 1})) == [None, None]
    assert Alone().refuse_differences({"seed": 1}) is None


def test_rows_are_shared_out():
    batch = {"ids": np.arange(10).reshape(5, 2), "which": np.arange(5)}
    parts = together(3, lambda ranks: ranks.rows(batch))
    assert [part["which"].tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    assert [part["ids"][:, 0].tolist() for part in parts] == [[0, 2], [4, 6], [8]]
    assert together(3, lambda ranks: ranks.bounds(10)) == [(0, 4), (4, 7), (7, 10)]
    assert all(len(p["which"]) == 1 for p in together(5, lambda ranks: ranks.rows(batch)))
    for error in together(6, lambda ranks: ranks.rows(batch)):
        assert isinstance(error, ValueError) and "5 rows cannot be shared out to 6" in str(error)
    assert Alone().rows(batch) is batch and Alone().bounds(7) == (0, 7)


def test_shares_are_collected_on_rank_0():
    def work(ranks):
        first, last = ranks.bounds(10)
        return ranks.collect(np.arange(first, last, dtype=np.float32), 10)

    whole, *others = together(3, work)
    np.testing.assert_array_equal(whole, np.arange(10), strict=False)
    assert [(x.size, x.dtype) for x in [*others, whole]] == [(0, whole.dtype)] * 2 + [
        (10, np.dtype(np.float32))
    ]


def test_cores_are_shared_by_those_of_one_machine(monkeypatch):
    monkeypatch.setattr(mpi, "default_threads", lambda: 7)
    for near, cores in ((1, 7), (2, 3), (9, 1)):
        assert together(2, lambda ranks: ranks.threads(), near) == [cores] * 2
    assert together(2, lambda ranks: ranks.threads(5), 2) == [5, 5]
    assert [Alone().threads(), Alone().threads(0), Alone().threads(2)] == [7, 7, 2]


@pytest.mark.parametrize(
    "error, told, aborted",
    [
        (ValueError("mine"), "rank 1: mine\n", 2),
        (MemoryError(), "rank 1: MemoryError\n", 2),
        (KeyboardInterrupt(), "rank 1: KeyboardInterrupt\n", 2),
        (SystemExit(3), "", None),
    ],
)
def test_an_error_that_the_others_do_not_know_of_ends_them(error, told, aborted, monkeypatch):
    said = []
    monkeypatch.setattr(mpi.sys, "__stderr__", SimpleNamespace(write=said.append, flush=lambda: 0))

    def work(ranks):
        try:
            with ranks.guard():
                if ranks.rank == 1:
                    raise error
        except BaseException as caught:
            assert caught is error
        return ranks._comm.aborted

    assert together(2, work) == [None, aborted]
    assert "".join(said) == told


@pytest.mark.parametrize("fail, told", [
    (lambda ranks: ranks.together(lambda: int("broken")), "broken"),
    (lambda ranks: ranks.together(lambda: int("broken") if ranks.rank else 0), "broken"),
    (lambda ranks: ranks.refuse_differences({"rank": ranks.rank}), "rank 1 has"),
])  # fmt: skip
def test_an_error_that_all_know_of_ends_nobody_else(fail, told):
    def work(ranks):
        with pytest.raises(ValueError, match=told), ranks.guard():
            fail(ranks)
        return ranks._comm.aborted

    assert together(2, work) == [None, None]


def test_what_is_summed_keeps_its_precision():
    def work(ranks):
        flat = np.full(4, 1 / 3)
        ranks.begin_reduce_scatter(flat, 0)
        ranks.complete()
        ranks.begin_all_gather(flat, 0)
        ranks.complete()
        return flat.tolist()

    assert together(2, work) == [[2 / 3] * 4] * 2


@pytest.mark.parametrize("size", [2, 3, 5])
def test_many_sums_are_under_way_at_once(size, rng):
    """Ranks that begin them and come by in orders of their own get the sums all the same."""
    arrays = rng.integers(-9, 9, (4, size, 11)).astype(np.float64)

    def work(ranks):
        own = arrays[:, ranks.rank].copy()
        for tag in np.random.default_rng(ranks.rank).permutation(4):
            ranks.begin_reduce_scatter(own[tag], tag)
            time.sleep(0.003 * ranks.rank)
            ranks.advance()
        ranks.complete()
        first, last = ranks.bounds(11)
        return own[:, first:last]

    found = np.concatenate(together(size, work), axis=1)
    np.testing.assert_array_equal(found, arrays.sum(1))


def test_nobody_waits_before_it_is_asked_for():
    """What the other one has not sent yet is not waited for, and no chunk is summed twice."""

    def work(ranks):
        flat, met = np.ones(4), ranks.everybody
        if ranks.rank == 0:
            ranks.begin_reduce_scatter(flat, 7)
            ranks.advance()
        met(None)  # rank 0 comes here although rank 1 has begun nothing
        if ranks.rank == 1:
            ranks.begin_reduce_scatter(flat, 7)
        ranks.complete()
        ranks.complete()
        return flat.tolist()

    assert together(2, work) == [[2, 2, 1, 1], [1, 1, 2, 2]]


def test_what_is_sent_is_counted():
    """A ring sends all chunks but one, and never its own share twice."""

    def work(ranks):
        flat = np.ones(12, np.float32)
        ranks.begin_reduce_scatter(flat, 0)
        ranks.complete()
        after = ranks.sent
        ranks.begin_all_gather(flat, 0)
        ranks.complete()
        return after, ranks.sent - after

    assert together(3, work) == [(2 * 4 * 4, 2 * 4 * 4)] * 3


SIZES = ((3, 2), (4,), (1, 3))


def optimized(kind, gradients, norms, state=None, steps=2, **more):
    """Parameters, norms and state after steps by these gradients, clipped to 1."""
    rng = np.random.default_rng(1)
    params = [nn.Parameter(rng.standard_normal(shape)) for shape in SIZES]
    groups = [{"params": params[:1], "weight_decay": 0.3}, {"params": params[1:]}]
    optimizer = kind(groups, lr=0.1, weight_decay=0.0, **more)
    if state is not None:
        optimizer.load_state_dict(state)
    for step in range(steps):
        for parameter, buffer, gradient in zip(
            params, optimizer.gradient_buffers, gradients[step], strict=True
        ):
            buffer[...] = gradient
            parameter.grad = buffer
        norms.append(optimizer.clip_gradients(1.0))
        optimizer.step()
    return [p.data.copy() for p in params], optimizer.state_dict()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 14])
def test_the_shared_out_optimizer_is_the_optimizer_of_the_sum(size, rng):
    """Each rank its own gradients; some ranks have no numbers of their own."""
    own = [[[rng.standard_normal(shape) for shape in SIZES] for _ in range(2)] for _ in range(size)]
    summed = [[sum(own[r][s][i] for r in range(size)) for i in range(3)] for s in range(2)]
    expected_norms = []
    expected, state = optimized(AdamW, summed, expected_norms)
    assert expected_norms[0] > 1  # so it is clipped

    def work(ranks):
        norms = []
        return *optimized(ShardedAdamW, own[ranks.rank], norms, ranks=ranks), norms

    results = together(size, work)
    for found, _, norms in results:
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)
        np.testing.assert_allclose(norms, expected_norms, rtol=1e-9)
    whole = results[0][1]
    for name, array in state.items():
        np.testing.assert_allclose(whole[name], array, rtol=1e-9, atol=1e-12)
    assert all(other["m"].size == 0 for _, other, _ in results[1:])

    more = [[g * 0.01 for g in step] for step in summed]  # small enough to be left as they are
    expected, _ = optimized(AdamW, more, [], state)
    shares = [[[g / size for g in step] for step in more] for _ in range(size)]
    for found, _ in together(
        size, lambda ranks: optimized(ShardedAdamW, shares[ranks.rank], [], whole, ranks=ranks)
    ):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_that_travel_early_are_summed_to_the_same_bits(size, rng, monkeypatch):
    """Told at once, in any order, in part, or not at all; a bucket begins when it is complete."""
    monkeypatch.setattr(sharded_optimizer, "SMALLEST", 5)
    monkeypatch.setattr(sharded_optimizer, "MOST", 99)
    own = rng.standard_normal((size, 13)).astype(np.float32) * 1e3

    def work(ranks, told):
        params = [nn.Parameter(np.zeros(shape, np.float32)) for shape in SIZES]
        groups = [{"params": params[:1]}, {"params": params[1:]}]
        optimizer = ShardedAdamW(groups, ranks, lr=0.1)
        assert optimizer._buckets == [(0, 6), (6, 13)]
        for _ in range(2):
            for parameter, buffer in zip(params, optimizer.gradient_buffers):
                parameter.grad = buffer
            optimizer._grad[...] = own[ranks.rank]
            for number in told:
                before = ranks.sent
                optimizer.gradient_ready(number)
                complete = number == 0 or {1, 2} <= {*told[: told.index(number) + 1]}
                assert (ranks.sent > before) >= complete
            optimizer.clip_gradients(1.0)
            optimizer.step()
        return optimizer._data.tolist()

    late = together(size, lambda ranks: work(ranks, []))
    assert late[0] == late[-1]
    for told in ([2, 1, 0], [0, 1, 2], [1], [2, 0]):
        assert together(size, lambda ranks, told=told: work(ranks, told)) == late


def test_a_norm_is_of_all_gradients():
    def work(ranks):
        parameter = nn.Parameter(np.zeros(4))
        optimizer = ShardedAdamW([parameter], ranks)
        optimizer.gradient_buffers[0][...] = 1.5
        return optimizer.clip_gradients(math.inf)

    assert together(2, work) == [6.0, 6.0]  # √(4 · 3²)


def test_who_was_started_by_whom(monkeypatch):
    for name in (*mpi.SIZES, *mpi.RANKS):
        monkeypatch.delenv(name, raising=False)
    assert type(mpi.ranks()) is Alone and mpi.launched_rank() == 0
    for size, rank in zip(mpi.SIZES, mpi.RANKS, strict=True):
        with monkeypatch.context() as patch:
            patch.setenv(size, "2")
            patch.setenv(rank, "1")
            assert mpi.launched_rank() == 1
            world = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1))
            patch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=world))
            with pytest.raises(ValueError, match=r"started 2 ranks, but .* library sees 1"):
                mpi.ranks()
            patch.setitem(sys.modules, "mpi4py", None)
            with pytest.raises(ValueError, match="one of 2 ranks, but mpi4py cannot be imported"):
                mpi.ranks()
    monkeypatch.setenv(mpi.RANKS[2], "5")  # of a job of one
    assert mpi.launched_rank() == 0 and type(mpi.ranks()) is Alone


def test_who_leaves_takes_the_others_along():
    def work(ranks):
        def action():
            if ranks.rank:
                raise SystemExit(3)

        return ranks.together(action)

    first, second = together(2, work)
    assert isinstance(first, ValueError) and str(first) == "rank 1: 3"
    assert isinstance(second, SystemExit)


def test_words_that_are_sent_are_counted_too(tmp_path):
    def work(ranks):
        ranks.everybody("abc")
        return ranks.sent

    assert together(2, work) == [len('"abc"') + 8] * 2
    assert len(mpi.code_digest()) == 12 and mpi.code_digest() == mpi.code_digest()


def test_what_is_under_way_goes_on_with_every_gradient():
    """Two buckets of two: a gradient that completes none lets the others' messages travel."""
    done = []
    ranks = SimpleNamespace(
        apart=True,
        bounds=lambda length: (0, length),
        advance=lambda: done.append("on"),
        begin_reduce_scatter=lambda flat, tag: done.append(tag),
        complete=lambda: done.append("all"),
    )
    sizes = (40_000, 40_000, 30_000, 50_000)
    parameters = [nn.Parameter(np.zeros(n, np.float32)) for n in sizes]
    optimizer = ShardedAdamW(parameters, ranks)
    for number in (3, 2, 1, 0):
        optimizer.gradient_ready(number)
    optimizer.sum_gradients()
    assert done == ["on", 1, "on", 0, "all"]
    optimizer.gradient_ready(2)
    optimizer.sum_gradients()  # of the others nobody has said that they are ready
    assert done[5:] == ["on", 0, 1, "all"]
