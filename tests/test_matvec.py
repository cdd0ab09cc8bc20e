"""Large matrices times a few vectors, on several threads: the same numbers, and BLAS as it was."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen import matvec as module
from tinyqwen.matvec import FEW, LARGE, LONG, matvec, on_all_cores
from tinyqwen.tensor import inference_mode


def blas_threads():
    return [blas["num_threads"] for blas in threadpool_info() if blas["user_api"] == "blas"]


needs_blas = pytest.mark.skipif(not blas_threads(), reason="a BLAS whose threads are not known")


@pytest.fixture
def calls(monkeypatch):
    """The threads of all calls of `_multiply`, slow ones, so that every thread gets its turn."""
    threads, multiply = [], module._multiply

    def noted(*args):
        threads.append(threading.current_thread())
        time.sleep(0.02)
        return multiply(*args)

    monkeypatch.setattr(module, "_multiply", noted)
    return threads


def operands(n, k, vectors=1):
    rng = np.random.default_rng(n + k)
    return tuple(rng.standard_normal((rows, k)).astype(np.float32) for rows in (n, vectors))


def in_float64(weight, x):
    return np.stack([(weight.astype(np.float64) * row).sum(1) for row in x])


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("k", [1, 900, LONG, LONG + 1, 5000, 2_000_000])
@pytest.mark.parametrize("pieces", [0.5, 1, 2.6, 9])
@pytest.mark.parametrize("vectors", [1, 2, FEW])
def test_equals_the_sum_in_float64(threads, k, pieces, vectors):
    weight, x = operands(max(1, int(pieces * module.PIECE) // (4 * k)), k, vectors)
    with threadpool_limits(threads, user_api="blas"), on_all_cores():
        y = matvec(weight, x)
    exact = in_float64(weight, x)
    scale = (np.abs(x) @ np.abs(weight).T).max()  # the sum's terms, of which the error is a part
    assert y.dtype == np.float32 and y.shape == exact.shape
    assert np.abs(y - exact).max() < 1e-6 * scale


@pytest.mark.parametrize("k", [300, 3000])
@pytest.mark.parametrize("vectors", [1, 3])
def test_other_layouts_and_dtypes(k, vectors):
    weight, x = operands((1 << 24) // (4 * k), k, vectors)
    exact = in_float64(weight, x)
    with on_all_cores():
        for w, v, dtype in (
            (np.asfortranarray(weight), x, np.float32),
            (np.repeat(weight, 2, 1)[:, ::2], np.repeat(x, 2, 1)[:, ::2], np.float32),
            (weight.astype(np.float64), x.astype(np.float64), np.float64),
            (weight, x.astype(np.float64), np.float64),
        ):
            y = matvec(w, v)
            assert y.dtype == dtype
            np.testing.assert_allclose(y, exact, atol=1e-3 if dtype == np.float32 else 1e-9)


@needs_blas
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_as_many_as_blas_has(threads, calls):
    weight, x = operands(9000, 900)  # 31 MiB
    with threadpool_limits(threads, user_api="blas"), on_all_cores():
        matvec(weight, x)
        assert len(calls) == (17 if threads > 1 else 1) and len(set(calls)) == threads
        del calls[:]
        matvec(weight[:1500], x)  # a piece for each of two threads
        assert calls == [threading.current_thread()]


@needs_blas
@pytest.mark.parametrize("n", [1535, 1536, 2047, 9728, 151_936])
def test_the_pieces(monkeypatch, n):
    """None so small that vecdot keeps the lock; the last is the caller's, who need not be woken."""
    weight, x = operands(n, 896)
    pieces, multiply = [], module._multiply

    def noted(weight, *others):
        pieces.append((weight.ctypes.data, len(weight), threading.current_thread()))
        return multiply(weight, *others)

    monkeypatch.setattr(module, "_multiply", noted)
    with threadpool_limits(2, user_api="blas"), on_all_cores():
        matvec(weight, x)
    _, lengths, threads = zip(*sorted(pieces, key=lambda piece: piece[0]))
    assert sum(lengths) == n and min(lengths) > 500
    assert threads[-1] is threading.current_thread()


@needs_blas
def test_blas_and_threads_are_as_before_afterwards():
    weight, x = operands(9000, 900)
    before = threading.active_count()
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(KeyError), on_all_cores():
            assert set(blas_threads()) == {2}  # a prompt comes first
            matvec(weight, x)
            assert set(blas_threads()) == {1} and threading.active_count() == before + 1
            matvec(weight, x)
            raise KeyError
        assert set(blas_threads()) == {2} and threading.active_count() == before
        matvec(weight, x)
        assert set(blas_threads()) == {2} and threading.active_count() == before


@needs_blas
def test_of_two_threads_one_has_the_cores(calls):
    """And the number of BLAS's threads is not lost, whichever begins and ends first."""
    weight, x = operands(9000, 900)
    exact = in_float64(weight, x)

    def other():
        with on_all_cores():
            for _ in range(3):
                results.append(matvec(weight, x))
                begun.set()
                first_ended.wait(60)

    begun, first_ended, results = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=other)
    with threadpool_limits(2, user_api="blas"):
        with on_all_cores():
            matvec(weight, x)
            thread.start()
            assert begun.wait(60)
            assert len(set(calls)) == 2 and thread not in calls
        assert set(blas_threads()) == {2}
        first_ended.set()
        thread.join(60)
        assert thread in calls and set(blas_threads()) == {2}
    for y in results:
        np.testing.assert_allclose(y, exact, atol=1e-3)


@needs_blas
def test_an_error_of_a_helper_is_raised(monkeypatch):
    weight, x = operands(9000, 900)
    main, multiply = threading.current_thread(), module._multiply

    def fail(*args):
        if threading.current_thread() is not main:
            raise MemoryError("no room")
        time.sleep(0.02)
        multiply(*args)

    with threadpool_limits(2, user_api="blas"), on_all_cores():
        expected = matvec(weight, x)
        with monkeypatch.context() as patch:
            patch.setattr(module, "_multiply", fail)
            with pytest.raises(MemoryError, match="no room"):
                matvec(weight, x)
        np.testing.assert_array_equal(matvec(weight, x), expected)


@pytest.mark.parametrize("vectors", [0, 1, 2, FEW, FEW + 1])
def test_linear_of_a_few_rows(calls, vectors):
    weight, x = operands(1500, 700, vectors)  # 4 MiB
    bias = weight[:, 0].copy()
    with inference_mode(), on_all_cores():
        y = F.linear(x[:, None], weight, bias)
        assert bool(calls) == (1 <= vectors <= FEW)
        del calls[:]
        F.linear(x, weight[: LARGE // 2800 - 1])  # a smaller matrix
        assert not calls
    assert y.shape == (vectors, 1, 1500)
    exact = in_float64(weight, x) + bias if vectors else np.empty((0, 1500))
    np.testing.assert_allclose(y[:, 0], exact, atol=1e-3)


@needs_blas
@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("texts", [1, 3])
def test_generation_uses_it_for_the_tokens_after_the_prompt(use_cache, texts, calls):
    config = tq.Qwen2Config(
        vocab_size=1200, hidden_size=512, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=1100,
    )  # fmt: skip
    tq.manual_seed(0)
    model = tq.Qwen2ForCausalLM(config)
    ids = np.arange(7 * texts).reshape(texts, 7)
    limits = []

    class Watch:
        def put(self, tokens):
            limits.append(max(blas_threads()))

        def end(self):
            pass

    with threadpool_limits(2, user_api="blas"):
        out = model.generate(ids, 6, use_cache=use_cache, streamer=Watch())
        assert set(blas_threads()) == {2}
    assert bool(calls) == use_cache and limits[0] == 2 and limits[-1] == (1 if use_cache else 2)
    for length in range(7, 13):  # each token is the likeliest of a forward pass over the others
        for text, logits in zip(out, model(out[:, :length]).logits.data[:, -1]):
            assert logits.max() - logits[text[length]] < 1e-5
