"""A step shared among processes: the same numbers, nobody left behind, and BLAS as it was."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import tinyqwen as tq
from tinyqwen.functional.matvec import FEW, matvec
from tinyqwen.parallel import tensor_parallel as module
from tinyqwen.parallel.tensor_parallel import TensorParallel
from tinyqwen.parallel.workers import FORK
from tinyqwen.tuning.packed_matrix import GroupedMatrix


def blas_threads():
    return [blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"]


pytestmark = [
    pytest.mark.skipif(not blas_threads(), reason="a BLAS whose threads are not known"),
    pytest.mark.skipif(not FORK, reason="no fork here"),
]


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch):
    """No process that was begun, nor the lock."""
    forked, fork = [], os.fork
    monkeypatch.setattr(os, "fork", lambda: forked.append(fork()) or forked[-1])
    yield
    for pid in forked:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    assert not module._free.locked()


@pytest.fixture(autouse=True)
def worth(monkeypatch):
    monkeypatch.setattr(module, "WORTH", 1 << 22)


def operands(n, k, vectors=1):
    rng = np.random.default_rng(n + k)
    return tuple(rng.standard_normal((rows, k)).astype(np.float32) for rows in (n, vectors))


WEIGHT, X = operands(2000, 900)  # 7 MiB
EXACT = WEIGHT.astype(np.float64) @ X[0].astype(np.float64)


def product(ids):
    return matvec(WEIGHT, X)


def who(ids):
    """A step: a product that in each row has the number of the process that computed it."""
    matvec(WEIGHT, X)  # so that processes are worth it
    return matvec(np.full((64, 1), os.getpid(), np.float64), np.ones((1, 1)))


def processes(step):
    """How many take part in a step, which is `who`."""
    return len(set(step(np.zeros(1, int))[0]))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("vectors", [1, FEW])
def test_the_numbers(threads, vectors):
    """Products of many sizes one after the other, in a step that depends on the ones before."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((n, k)) / k**0.5 for n, k in
               [(700, 900), (900, 700), (3, 900), (2500, 3), (900, 2500)]]  # fmt: skip
    kept = []

    def step(ids):
        state = np.repeat(np.cos(np.arange(900) + ids.sum())[None], vectors, 0)
        state += sum(kept)
        for weight in weights:
            state = matvec(weight, state)
        kept.append(state)
        return state

    with threadpool_limits(threads, user_api="blas"), TensorParallel(step) as shared:
        found = [shared(np.array([[i, 3]])) for i in range(7)]
    kept.clear()
    for i, one in enumerate(found):
        np.testing.assert_allclose(one, step(np.array([[i, 3]])), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("outputs", [640, 264])  # five blocks of 128; 33 of 8
def test_a_packed_matrix_is_parted_between_its_blocks(outputs):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 16, (64, outputs)).astype(np.uint8)
    ones = np.ones((2, outputs))
    packed = GroupedMatrix.from_codes(codes, ones, 8 * ones, 4)
    x = rng.standard_normal((1, 64)).astype(np.float32)

    def step(ids):
        matvec(WEIGHT, X)  # so that processes are worth it
        return matvec(packed, x)

    with threadpool_limits(2, user_api="blas"), TensorParallel(step) as shared:
        found = [shared(np.zeros(1, int)) for _ in range(3)]
    for one in found:
        np.testing.assert_allclose(one, x @ (codes - 8.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_as_many_processes_as_blas_has_threads(threads):
    with threadpool_limits(threads, user_api="blas"), TensorParallel(who) as step:
        assert processes(step) == 1  # the first is still alone
        assert [processes(step) for _ in range(3)] == [threads] * 3


def test_never_for_steps_too_small(monkeypatch):
    monkeypatch.setattr(module, "WORTH", WEIGHT.nbytes + 513)  # in `who` there are 512 more
    with threadpool_limits(2, user_api="blas"), TensorParallel(who) as step:
        assert [processes(step) for _ in range(5)] == [1] * 5


def test_a_product_too_wide_for_the_shared_memory(monkeypatch):
    """Everybody computes it alone; the next one is shared again."""
    monkeypatch.setattr(module, "ROOM", 1000)  # bytes
    both = TensorParallel(lambda ids: (product(ids)[0], who(ids)[0]))
    with threadpool_limits(2, user_api="blas"), both as step:
        for answers in (1, 2, 2):
            wide, narrow = step(np.zeros(1, int))
            np.testing.assert_allclose(wide, EXACT, atol=1e-3)
            assert len(set(narrow)) == answers


def test_blas_is_as_before_afterwards():
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(KeyError), TensorParallel(product) as step:
            step(np.zeros(1, int))
            assert set(blas_threads()) == {2}  # a prompt comes first
            step(np.zeros(1, int))
            assert set(blas_threads()) == {1}
            raise KeyError
        assert set(blas_threads()) == {2}
        np.testing.assert_allclose(matvec(WEIGHT, X)[0], EXACT, atol=1e-3)


def test_of_two_threads_one_has_the_cores():
    """And the number of BLAS's threads is not lost."""

    def other():
        with TensorParallel(who) as step:
            counts.extend(processes(step) for _ in range(3))
            begun.set()
            first_ended.wait(250)
            counts.extend(processes(step) for _ in range(2))

    begun, first_ended, counts = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=other)
    with threadpool_limits(2, user_api="blas"):
        with TensorParallel(who) as step:
            assert [processes(step) for _ in range(2)] == [1, 2]
            thread.start()
            assert begun.wait(250)
            assert processes(step) == 2
        assert set(blas_threads()) == {2}
        first_ended.set()
        thread.join(250)
        assert counts == [1, 1, 1, 2, 2] and set(blas_threads()) == {2}


# -------------------------------------------------------------------------------------------------
# What can go wrong
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [True, False])
def test_an_error_in_another_process_is_raised(before):
    parent = os.getpid()

    def step(ids):
        result = None if before else product(ids)
        if os.getpid() != parent:
            raise MemoryError("no room")
        return product(ids) if before else result

    with threadpool_limits(2, user_api="blas"), TensorParallel(step) as shared:
        shared(np.zeros(1, int))
        with pytest.raises(MemoryError, match="no room"):
            shared(np.zeros(1, int))


def test_a_process_that_is_killed():
    parent = os.getpid()

    def step(ids):
        if os.getpid() != parent and ids[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return product(ids)

    with threadpool_limits(3, user_api="blas"), TensorParallel(step) as shared:
        for i in range(2):
            np.testing.assert_allclose(shared(np.array([i]))[0], EXACT, atol=1e-3)
        with pytest.raises(MemoryError, match="was killed"):
            shared(np.array([2]))


def test_an_error_here_while_the_others_wait():
    parent = os.getpid()

    def step(ids):
        if os.getpid() == parent and ids[0] == 2:
            raise KeyboardInterrupt
        return product(ids)

    shared = TensorParallel(step)  # whose other processes are not waited for
    with threadpool_limits(3, user_api="blas"), pytest.raises(KeyboardInterrupt), shared as step:
        for i in range(3):
            step(np.array([i]))


@pytest.mark.parametrize("granted", [0, 1])
@pytest.mark.parametrize("what", ["fork", "Semaphore"])
def test_a_system_that_grants_no_more(monkeypatch, what, granted):
    owner = os if what == "fork" else module.get_context("fork")
    grant, asked = getattr(owner, what), []

    def refuse(*args):
        asked.append(1)
        if len(asked) > granted:
            raise BlockingIOError("no more")
        return grant(*args)

    monkeypatch.setattr(owner, what, refuse)
    with threadpool_limits(3, user_api="blas"):
        with TensorParallel(product) as step:
            for _ in range(4):
                np.testing.assert_allclose(step(np.zeros(1, int))[0], EXACT, atol=1e-3)
        assert len(asked) == granted + 1 and set(blas_threads()) == {3}


def test_processes_that_take_different_ways():
    parent = os.getpid()

    def step(ids):
        if os.getpid() == parent:
            product(ids)
        return product(ids)

    with threadpool_limits(2, user_api="blas"), TensorParallel(step) as shared:
        shared(np.zeros(1, int))
        with pytest.raises(RuntimeError, match="fewer products"):
            shared(np.zeros(1, int))


ORPHANS = """
import os, sys, time
import numpy as np
from threadpoolctl import threadpool_limits
from tinyqwen.functional.matvec import matvec
from tinyqwen.parallel.tensor_parallel import TensorParallel
W, x, parent = np.ones((20000, 900), np.float32), np.ones((1, 900), np.float32), os.getpid()

def step(ids):
    if ids[0] == 2:
        os.write(1, b"%d\\n" % os.getpid())  # at once, for two write
        if os.getpid() == parent:
            time.sleep(60)
    matvec(W, x)

with threadpool_limits(2, user_api="blas"), TensorParallel(step) as step:
    for i in range(3):
        step(np.array([i]))
"""


def test_none_outlives_its_parent():
    """Which is killed while the other process waits for it in the middle of a step."""
    with subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE) as parent:
        pids = {int(parent.stdout.readline()) for _ in range(2)}
        parent.kill()
        assert len(pids) == 2 and parent.stdout.read() == b""  # when the last writer is gone


# -------------------------------------------------------------------------------------------------
# Generation
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [1, 3])
def test_generation_uses_it_for_the_tokens_after_the_prompt(texts):
    model, limits = _model().eval(), []
    ids = np.arange(7 * texts).reshape(texts, 7)
    with threadpool_limits(2, user_api="blas"):
        out = model.generate(ids, 6, streamer=_Watch(limits))
        assert limits == [2, 2, 2, 1, 1, 1, 1] and set(blas_threads()) == {2}
    for length in range(7, 13):  # each token is the likeliest of a forward pass over the others
        for text, logits in zip(out, model(out[:, :length]).logits.data[:, -1]):
            assert logits.max() - logits[text[length]] < 1e-5


def test_a_text_does_not_depend_on_the_number_of_processes():
    model = _model().eval()
    texts = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="blas"):
            texts.append(model.generate(np.array([[3, 4]]), 30, do_sample=True, seed=1))
    np.testing.assert_array_equal(texts[0], texts[1])
    np.testing.assert_array_equal(texts[0], texts[2])


def test_not_without_a_cache_nor_while_training():
    """The steps would be large; the processes would drop different activations."""
    model, limits = _model(attention_dropout=0.5), []
    with threadpool_limits(2, user_api="blas"):
        model.train().generate(np.array([[3, 4]]), 5, streamer=_Watch(limits))
        model.eval().generate(np.array([[3, 4]]), 5, use_cache=False, streamer=_Watch(limits))
        assert limits == [2] * 12


def _model(**changes):
    config = tq.Qwen2Config(
        vocab_size=1200, hidden_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=1100, **changes,
    )  # fmt: skip
    tq.manual_seed(0)
    return tq.Qwen2ForCausalLM(config)


class _Watch:
    """A streamer that notes the number of BLAS's threads."""

    def __init__(self, limits):
        self._limits = limits

    def put(self, tokens):
        self._limits.append(max(blas_threads()))

    def end(self):
        pass
