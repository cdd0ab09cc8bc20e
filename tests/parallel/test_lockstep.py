"""Ranks that take turns compute what one process does, and what ranks of MPI do."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.optim import AdamW, adamw_step
from tinyqwen.parallel.lockstep import LockstepTraining, ring_sum
from tinyqwen.parallel.ring import chunk_bounds
from tinyqwen.parallel.sharded_optimizer import sharded_adamw_step


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [0, 3, 11])
def test_ring_sum(size, length, rng):
    arrays = list(rng.integers(-9, 9, (size, length)).astype(np.float64))
    total = sum(arrays)
    steps = list(ring_sum(arrays))
    assert [phase for phase, _ in steps] == ["reduce"] * (size - 1) + ["gather"] * (size - 1)
    for _, sent in steps:
        assert sorted(sent) == list(range(size))  # at any time every chunk is on its way once
    for array in arrays:
        np.testing.assert_array_equal(array, total)


def test_who_sends_what_by_hand():
    """Of three: a chunk's sum ends where its owner is, who then sends it on; and what was not sent
    to a rank stays as it was."""
    arrays = [np.array([1.0, 2, 4]) * 10**rank for rank in range(3)]
    found = [(phase, sent, [a.tolist() for a in arrays]) for phase, sent in ring_sum(arrays)]
    assert [sent for _, sent, _ in found] == [[2, 0, 1], [1, 2, 0], [0, 1, 2], [2, 0, 1]]
    assert found[0][2] == [[1, 202, 4], [10, 20, 44], [110, 200, 400]]
    assert found[1][2] == [[111, 202, 4], [10, 222, 44], [110, 200, 444]]
    assert found[2][2] == [[111, 202, 444], [111, 222, 44], [110, 222, 444]]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_shards_make_the_whole_step(size, rng):
    p, g, m = rng.normal(size=(3, 10))
    v, settings = rng.random(10), {"lr": 0.1, "weight_decay": 0.3, "betas": (0.8, 0.9)}
    bounds = chunk_bounds(10, size)
    shards = []
    for rank in range(size):
        own = slice(bounds[rank], bounds[rank + 1])
        gradient = np.full(10, np.nan)
        gradient[own] = g[own]
        shards.append(sharded_adamw_step(p, gradient, m[own], v[own], 3, rank, size, **settings))
    for found, wanted in zip(zip(*shards), adamw_step(p, g, m, v, 3, **settings)):
        np.testing.assert_array_equal(np.concatenate(found), wanted)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_losses_are_those_of_one_process(ranks, rng):
    def new_model():
        tq.manual_seed(0)
        return tq.Qwen2ForCausalLM(
            tq.Qwen2Config(
                vocab_size=50,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
                intermediate_size=24,
            )
        )

    batches = [rng.integers(0, 50, (5, 9)) for _ in range(4)]
    model, settings = new_model(), {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.1}
    optimizer, wanted = AdamW(model.parameters(), **settings), []
    for ids in batches:
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wanted.append(loss.item())
    cluster = LockstepTraining(new_model(), ranks, **settings)
    assert [cluster.step({"input_ids": ids, "labels": ids}) for ids in batches] == pytest.approx(
        wanted, rel=1e-5
    )
    assert sum(len(m) for m, _ in cluster.moments) == model.num_parameters()
    assert cluster.sent == 4 * (8 * (ranks - 1) * model.num_parameters() // ranks)
