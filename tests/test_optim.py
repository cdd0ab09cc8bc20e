"""AdamW, clipping and the schedule, against hand-computed numbers; test_parity_optim has torch."""

import math

import numpy as np
import pytest

from tinyqwen import nn, optim


def test_what_cannot_be_optimized_together_is_refused():
    one, other = nn.Parameter(np.ones(2, np.float32)), nn.Parameter(np.ones(2))
    with pytest.raises(TypeError, match="all parameters must have one dtype"):
        optim.AdamW([one, other])
    with pytest.raises(ValueError, match="a parameter was given twice"):
        optim.AdamW([{"params": [one]}, {"params": [one]}])
    with pytest.raises(ValueError, match="there are no parameters"):
        optim.AdamW([])


def parameters(*arrays, dtype=np.float64):
    return [nn.Parameter(np.array(a, dtype)) for a in arrays]


def test_first_step_by_hand():
    """At t = 1, m̂ = g and v̂ = g²: the step is lr · sign(g), and p decays by lr · wd · p."""
    (p,) = parameters([1.0, -2.0])
    optimizer = optim.AdamW([p], lr=0.1, eps=1e-12, weight_decay=0.5)
    p.grad = np.array([3.0, -0.01])
    optimizer.step()
    np.testing.assert_allclose(p.data, [0.95 - 0.1, -1.9 + 0.1], rtol=1e-9)


def test_adamw_step_by_hand():
    """Two updates of one number, every intermediate worked out."""
    p, m, v = (np.array([x]) for x in (1.0, 0.0, 0.0))
    settings = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 0.5, "weight_decay": 0.2}
    first = optim.adamw_step(p, np.array([2.0]), m, v, 1, **settings)
    # m = 0.2, v = 0.04; corrected 2 and 4; 1 - 0.02 - 0.1 · 2 / (2 + 0.5)
    np.testing.assert_allclose(np.concatenate(first), [0.9, 0.2, 0.04], rtol=1e-14)
    second = optim.adamw_step(first[0], np.array([-1.0]), *first[1:], 2, **settings)
    m, v = 0.08, 0.99 * 0.04 + 0.01
    step = (m / 0.19) / (math.sqrt(v / 0.0199) + 0.5)
    np.testing.assert_allclose(np.concatenate(second), [0.882 - 0.1 * step, m, v], rtol=1e-14)
    assert [x.item() for x in first] == pytest.approx([0.9, 0.2, 0.04])  # not written over
    single = [x.astype(np.float32) for x in first]
    assert {x.dtype for x in optim.adamw_step(*single[:1], *single, 1)} == {np.dtype(np.float32)}


def test_no_gradient_no_change():
    p, q = parameters([1.0], [1.0])
    optimizer = optim.AdamW([p, q], lr=0.1)
    for _ in range(3):
        p.grad = np.ones(1)
        optimizer.step()
    assert q.data.tolist() == [1.0] and optimizer._steps == [3, 0]
    q.grad = np.ones(1)
    optimizer.step()
    np.testing.assert_allclose(q.data, 1 * (1 - 0.1 * 0.01) - 0.1, rtol=1e-6)  # its own t is 1


def test_data_may_be_replaced_between_steps():
    (p,) = parameters([1.0])
    optimizer = optim.AdamW([p], lr=0.1, weight_decay=0)
    p.data = np.array([5.0])
    p.grad = np.array([2.0])
    optimizer.step()
    np.testing.assert_allclose(p.data, [4.9], rtol=1e-6)


def test_pieces_equal_the_whole(monkeypatch, rng):
    results = []
    for piece in (4, 1 << 14):
        monkeypatch.setattr(optim, "PIECE", piece)
        ps = parameters(np.arange(10.0), np.ones((3, 3)))
        optimizer = optim.AdamW(optim.decay_groups(Holder(ps), 0.1), lr=0.01)
        for step in range(3):
            for p in ps:
                p.grad = np.cos(p.data + step)
            optimizer.step()
        results.append(np.concatenate([p.data.ravel() for p in ps]))
    np.testing.assert_array_equal(*results)


class Holder(nn.Module):
    def __init__(self, ps):
        for i, p in enumerate(ps):
            setattr(self, f"p{i}", p)


def test_only_matrices_decay():
    model = nn.Linear(3, 2)
    decayed, kept = optim.decay_groups(model, 0.1)
    assert [p.shape for p in decayed["params"]] == [(2, 3)] and decayed["weight_decay"] == 0.1
    assert [p.shape for p in kept["params"]] == [(2,)] and kept["weight_decay"] == 0.0


def test_state_resumes_exactly(rng):
    gradients = rng.standard_normal((6, 5))

    def train(p, optimizer, steps):
        for g in steps:
            p.grad = g.copy()
            optimizer.step()

    (whole,) = parameters(np.ones(5))
    train(whole, optim.AdamW([whole], lr=0.1), gradients)
    (half,) = parameters(np.ones(5))
    first = optim.AdamW([half], lr=0.1)
    train(half, first, gradients[:3])
    (resumed,) = parameters(half.data)
    second = optim.AdamW([resumed], lr=0.1)
    second.load_state_dict(first.state_dict())
    train(resumed, second, gradients[3:])
    np.testing.assert_array_equal(resumed.data, whole.data)


def test_foreign_state_and_parameters_are_refused():
    (p,) = parameters([1.0])
    with pytest.raises(ValueError, match="other parameters"):
        optim.AdamW([p]).load_state_dict({"m": np.zeros(2), "v": np.zeros(1), "steps": [0]})
    with pytest.raises(ValueError, match="twice"):
        optim.AdamW([p, p])
    with pytest.raises(ValueError, match="no parameters"):
        optim.AdamW([])


def test_clip_by_global_norm_leaves_its_arguments_alone():
    gradients = [np.array([3.0]), np.array([[4.0]])]
    same, norm = optim.clip_by_global_norm(gradients, 5.0)
    assert norm == 5 and all(a is b for a, b in zip(same, gradients))
    clipped, norm = optim.clip_by_global_norm(gradients, 2.5)
    assert norm == 5 and [g.item() for g in gradients] == [3, 4]
    scale = 2.5 / (5 + 1e-6)
    np.testing.assert_allclose([g.item() for g in clipped], [3 * scale, 4 * scale], rtol=1e-12)
    assert optim.clip_by_global_norm([], 1.0) == ([], 0.0)


def test_clip():
    p, q, r = parameters([3.0], [[4.0]], [1.0])
    p.grad, q.grad = np.array([3.0]), np.array([[4.0]])
    assert optim.clip_grad_norm_([p, q, r], 10) == 5 and p.grad[0] == 3
    assert optim.clip_grad_norm_([p, q, r], 1.0) == 5
    np.testing.assert_allclose([p.grad[0], q.grad[0, 0]], [0.6, 0.8], rtol=1e-5)
    assert r.grad is None


def test_schedule():
    def lr(step):
        return optim.cosine_with_warmup(step, 1.0, warmup_steps=10, total_steps=110)

    assert [lr(0), lr(9), lr(10)] == pytest.approx([0.1, 1.0, 1.0])
    assert lr(60) == pytest.approx(0.55)  # half way between 1 and a tenth
    assert lr(110) == lr(1000) == pytest.approx(0.1)
    assert lr(35) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert optim.cosine_with_warmup(0, 1.0, 0, 10) == 1.0


def test_frozen_parameters_are_in_no_group():
    model = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 2)])
    model[0].requires_grad_(False)
    groups = optim.decay_groups(model, 0.1)
    found = [[p.shape for p in group["params"]] for group in groups]
    assert found == [[(2, 3)], [(2,)]]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]


def test_a_state_is_a_copy():
    """What is saved at a step stays what it was, and what is loaded is nobody else's."""
    parameter = nn.Parameter(np.ones(3))
    optimizer = optim.AdamW([parameter], lr=0.1)

    def step():
        parameter.grad = np.arange(3.0)
        optimizer.step()

    step()
    state = optimizer.state_dict()
    kept = {name: array.copy() for name, array in state.items()}
    step()
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept[name])
    optimizer.load_state_dict(state)
    step()
    for name, array in state.items():
        np.testing.assert_array_equal(array, kept[name])
    assert optimizer.state_dict()["steps"].tolist() == [2]


def test_the_defaults_are_those_of_the_function(rng):
    """And of PyTorch: lr 1e-3, betas 0.9 and 0.999, eps 1e-8, weight decay 1e-2."""
    start, gradients = rng.normal(size=4), rng.normal(size=(3, 4))
    (p,) = parameters(start)
    optimizer, state = optim.AdamW([p]), (start, np.zeros(4), np.zeros(4))
    settings = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}
    for t, p.grad in enumerate(gradients, 1):
        optimizer.step()
        state = optim.adamw_step(*state[:1], p.grad, *state[1:], t, **settings)
    np.testing.assert_allclose(p.data, state[0], rtol=1e-15)
    np.testing.assert_array_equal(
        optim.adamw_step(start, gradients[0], *state[1:], 4)[0],
        optim.adamw_step(start, gradients[0], *state[1:], 4, **settings)[0],
    )


def test_neighbors_of_unequal_age_are_updated_each_at_its_own(rng):
    ps = parameters(*rng.normal(size=(4, 3)))
    optimizer = optim.AdamW(ps, lr=0.1)
    alone = [optim.AdamW(parameters(p.data), lr=0.1) for p in ps]
    for absent in ((0, 2), (1,), (), (3,)):
        for i, p in enumerate(ps):
            gradient = None if i in absent else rng.normal(size=3)
            p.grad = alone[i].params[0].grad = gradient
            alone[i].step()
        optimizer.step()
    for p, other in zip(ps, alone):
        np.testing.assert_array_equal(p.data, other.params[0].data)
