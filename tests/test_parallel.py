"""Gradients on several cores equal those on one, in an order that timing cannot change."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.parallel import DataParallel, keep_memory


@pytest.fixture
def model():
    return tq.Qwen2ForCausalLM(
        tq.Qwen2Config(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=24,
            tie_word_embeddings=True,
        )
    )


def gradients(model, ids, threads, **kwargs):
    params = list(model.parameters())
    out = [np.full(p.shape, np.nan, np.float32) for p in params]
    with DataParallel(model, threads) as parallel:
        loss = parallel.gradients(ids, ids, params, out, num_items=ids[:, 1:].size, **kwargs)
    return loss, out


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_equal_to_one_backward(model, threads, rng):
    ids = rng.integers(0, 50, (5, 9))
    loss = model(ids, labels=ids).loss
    loss.backward()
    found, grads = gradients(model, ids, threads)
    assert found == pytest.approx(loss.item(), rel=1e-5)
    for p, g in zip(model.parameters(), grads):
        assert np.abs(g - p.grad).max() <= 1e-5 * np.abs(p.grad).max()


def test_the_same_bits_every_time(model, rng):
    ids = rng.integers(0, 50, (7, 9))
    first, again = gradients(model, ids, 3), gradients(model, ids, 3)
    assert first[0] == again[0]
    for a, b in zip(first[1], again[1]):
        np.testing.assert_array_equal(a, b)


def test_two_halves_add_up_to_a_whole(model, rng):
    ids = rng.integers(0, 50, (6, 9))
    whole_loss, whole = gradients(model, ids, 2)
    params = list(model.parameters())
    out = [np.empty(p.shape, np.float32) for p in params]
    with DataParallel(model, 2) as parallel:
        loss = sum(
            parallel.gradients(part, part, params, out, num_items=6 * 8, add=i > 0)
            for i, part in enumerate(np.split(ids, 2))
        )
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    for a, b in zip(out, whole):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


def test_evaluation_is_a_mean_over_labels(model, rng):
    ids = rng.integers(0, 50, (4, 9))
    labels = ids.copy()
    labels[0, 3:] = -100
    with DataParallel(model, 2) as parallel:
        found = parallel.loss([(ids[:1], labels[:1]), (ids[1:], labels[1:])])
    assert found == pytest.approx(model(ids, labels=labels).loss.item(), rel=1e-5)


def test_an_error_in_a_thread_is_told(model):
    with pytest.raises(ValueError, match="out of range"):
        gradients(model, np.full((4, 3), 50), 2)


def test_memory_setting_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("TINYQWEN_KEEP_MEMORY", "0")
    assert keep_memory() is False
