"""Gradients on several cores equal those on one, in an order that timing cannot change."""

import os
import signal
import warnings

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import tinyqwen as tq
from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.autograd.random import default_rng
from tinyqwen.optim import AdamW, decay_groups
from tinyqwen.parallel import workers
from tinyqwen.parallel.data_parallel import (
    DataParallel,
    Objective,
    _shares,
    clipped_gradients,
    split_rows,
)


@pytest.fixture(params=["processes", "threads"], autouse=True)
def kind(request, monkeypatch):
    if request.param == "processes" and not workers.FORK:
        pytest.skip("no fork here")
    monkeypatch.setattr(workers, "FORK", request.param == "processes")
    return request.param


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


def rows(ids, labels=None):
    return {"input_ids": ids, "labels": ids if labels is None else labels}


def gradients(model, ids, threads, **kwargs):
    params = list(model.parameters())
    out = [np.full(p.shape, np.nan, np.float32) for p in params]
    with DataParallel(model, threads) as parallel:
        loss = parallel.gradients(rows(ids), params, out, num_items=ids[:, 1:].size, **kwargs)
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
            parallel.gradients(rows(part), params, out, num_items=6 * 8, add=i > 0)
            for i, part in enumerate(np.split(ids, 2))
        )
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    for a, b in zip(out, whole):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


class Sharing(AdamW):
    """An optimizer that wants to be told."""

    def gradient_ready(self, number):
        pass


@pytest.mark.parametrize("threads", [1, 3])
def test_a_gradient_is_told_as_soon_as_it_is_there(model, threads, rng):
    """Each once, whole, the last layer's before the first one's; and before the others are."""
    ids = rng.integers(0, 50, (5, 9))
    optimizer = Sharing(model.parameters())
    told, seen = [], []
    with DataParallel(model, threads, optimizer) as parallel:
        out = optimizer.gradient_buffers
        for _ in range(2):
            told.clear()
            seen.clear()
            optimizer._grad[...] = np.nan

            def ready(number):
                told.append(number)
                seen.append((out[number].copy(), np.isnan(optimizer._grad).any()))

            parallel.gradients(rows(ids), optimizer.params, out, num_items=40, ready=ready)
            assert sorted(told) == list(range(len(out)))
            for number, (gradient, _) in zip(told, seen):
                np.testing.assert_array_equal(gradient, out[number])
            assert [others for _, others in seen] == [True] * (len(out) - 1) + [False]
    names = [name for name, _ in model.named_parameters()]
    order = [names[number] for number in told]
    if threads == 1:
        assert order[0] == "model.norm.weight" and order[-1] == "model.embed_tokens.weight"
        layers = [name.split(".")[2] for name in order if ".layers." in name]
        assert layers == sorted(layers, reverse=True)


@pytest.mark.parametrize("lost", [False, True])
def test_news_that_are_lost_cost_nothing_but_time(model, rng, monkeypatch, lost):
    ids = rng.integers(0, 50, (5, 9))
    expected = gradients(model, ids, 3)
    if lost:
        monkeypatch.setattr(workers.News, "tell", lambda self, number: None)
    optimizer, told = Sharing(model.parameters()), []
    with DataParallel(model, 3, optimizer) as parallel:
        loss = parallel.gradients(
            *(rows(ids), optimizer.params, optimizer.gradient_buffers, 40), ready=told.append
        )
    assert loss == expected[0] and len(told) == len(optimizer.params)
    for a, b in zip(optimizer.gradient_buffers, expected[1]):
        np.testing.assert_array_equal(a, b)


def test_evaluation_is_a_mean_over_labels(model, rng):
    ids = rng.integers(0, 50, (4, 9))
    labels = ids.copy()
    labels[0, 3:] = -100
    with DataParallel(model, 2) as parallel:
        found = parallel.loss([rows(ids[:1], labels[:1]), rows(ids[1:], labels[1:])])
    assert found == pytest.approx(model(ids, labels=labels).loss.item(), rel=1e-5)


def test_evaluation_is_without_dropout(model, rng):
    ids = rng.integers(0, 50, (4, 9))
    expected = model(ids, labels=ids).loss.item()
    model.config.attention_dropout = 0.5
    with DataParallel(model, 2) as parallel:
        gradients = [np.empty(p.shape, np.float32) for p in model.parameters()]
        loss = parallel.gradients(rows(ids), list(model.parameters()), gradients, num_items=32)
        found = parallel.loss([rows(ids[:2]), rows(ids[2:])])
    assert found == pytest.approx(expected, rel=1e-5)
    assert abs(loss - expected) > 1e-4
    assert model.training


def test_dropout_is_a_function_of_the_seed(model, rng):
    model.config.attention_dropout = 0.5
    ids = np.repeat(rng.integers(0, 50, (1, 9)), 2, axis=0)  # two equal rows, one for each worker
    tq.manual_seed(7)
    losses = [gradients(model, ids, 2, seed=(seed,))[0] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    state = tq.manual_seed(7).bit_generator.state
    gradients(model, ids, 2, seed=(3,))
    assert default_rng().bit_generator.state == state  # the caller's generator is left alone


def test_each_part_of_a_batch_drops_others(model, rng):
    """With the same masks two equal rows would cost what one of them does."""
    model.config.attention_dropout = 0.5
    ids = np.repeat(rng.integers(0, 50, (1, 9)), 2, axis=0)
    both, one = (gradients(model, part, len(part), seed=(5,))[0] for part in (ids, ids[:1]))
    assert abs(both - one) > 1e-4


def test_no_items_have_no_loss(model):
    ids = np.ones((2, 5), int)
    with DataParallel(model, 2) as parallel:
        assert parallel.loss([rows(ids, np.full_like(ids, -100))] * 2) == 0


class OneOfTwo(Objective):
    """A loss of the number that a row names: of a, or of b."""

    def loss(self, model, batch, num_items):
        used = {int(n) for n in batch["which"]}
        return sum((parameter * 1.0).sum() for i, parameter in enumerate(model.parameters())
                   if i in used)  # fmt: skip


def test_a_parameter_that_a_part_does_not_use_gets_nothing_of_it():
    """Not what the part gave it in the step before."""
    model = tq.nn.ModuleList([tq.nn.RMSNorm(3), tq.nn.RMSNorm(3)])
    params = list(model.parameters())
    out = [np.empty(3, np.float32) for _ in params]
    with DataParallel(model, 2, objective=OneOfTwo()) as parallel:
        for which, expected in (([0, 1], [1, 1]), ([0, 0], [2, 0]), ([1, 0], [1, 1])):
            parallel.gradients({"which": np.array(which)}, params, out, num_items=1)
            assert [array[0] for array in out] == expected


def test_blas_has_its_cores_again(model):
    def cores():
        return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = cores()
        with DataParallel(model, 2):
            assert set(cores()) <= {1}
        assert cores() == before


def test_workers_see_each_update(model, rng):
    ids = rng.integers(0, 50, (4, 9))
    with DataParallel(model, 2) as parallel:
        first = list(parallel._workers)
        optimizer = parallel.optimizer = AdamW(model.parameters(), lr=0.1)  # moves the parameters
        for step in range(3):
            expected = model(ids, labels=ids).loss.item()
            loss, _ = clipped_gradients(parallel, optimizer, [ids], 32, 1.0)
            assert loss == pytest.approx(expected, rel=1e-5)
            optimizer.step()
            if step == 0:
                second = list(parallel._workers)
        assert second != first and parallel._workers == second  # made anew once, not every step
        embeddings = model.model.embed_tokens.weight
        embeddings.data = np.zeros_like(embeddings.data)  # so the logits are all equal
        assert parallel.loss([rows(ids[:2]), rows(ids)]) == pytest.approx(np.log(50))


@pytest.mark.parametrize("change", ["replaced", "replaced by an optimizer", "frozen"])
def test_who_is_warned_that_workers_are_made_anew(model, rng, change):
    """An optimizer that is known may move what it trains; and to freeze moves nothing."""
    ids = rng.integers(0, 50, (4, 9))
    with DataParallel(model, 2) as parallel:
        first = list(parallel._workers)
        if change == "frozen":
            model.model.embed_tokens.weight.requires_grad = False
        elif change == "replaced":
            parameter = model.model.embed_tokens.weight
            parameter.data = parameter.data.copy()
        else:
            parallel.optimizer = AdamW(model.parameters(), lr=0.1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            parallel.loss([rows(ids)])
            parallel.loss([rows(ids)])
        assert parallel._workers != first
    told = [str(warning.message) for warning in caught]
    assert len(told) == (change == "replaced") and all("made anew" in text for text in told)


def test_a_training_step_is_backward_clip_and_step(model, rng):
    ids = rng.integers(0, 50, (5, 9))
    state = {name: array.copy() for name, array in model.state_dict().items()}
    alone = AdamW(decay_groups(model, 0.1), lr=0.1)
    for _ in range(2):
        loss = model(ids, labels=ids).loss
        alone.zero_grad()
        loss.backward()
        norm = alone.clip_gradients(0.5)
        alone.step()
    expected = {name: array.copy() for name, array in model.state_dict().items()}
    model.load_state_dict(state)
    optimizer = AdamW(decay_groups(model, 0.1), lr=0.1)
    with DataParallel(model, 2, optimizer) as parallel:
        for _ in range(2):
            found = parallel.training_step(rows(ids), max_norm=0.5)
    assert found == pytest.approx((loss.item(), norm), rel=1e-5)
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-4, err_msg=name)


def test_every_training_step_drops_others(model, rng):
    model.config.attention_dropout = 0.5
    ids = rng.integers(0, 50, (4, 9))
    losses = []
    for seed in (3, 3, 4):
        tq.manual_seed(seed)
        optimizer = AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
        with DataParallel(model, 2, optimizer) as parallel:
            losses.append([parallel.training_step(rows(ids))[0] for _ in range(2)])
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][0] != losses[0][1]


def test_an_optimizer_that_nobody_named(model, rng):
    ids = rng.integers(0, 50, (4, 9))
    optimizer = AdamW(model.parameters(), lr=0.1)
    with DataParallel(model, 2) as parallel:
        clipped_gradients(parallel, optimizer, [ids], 32, 1.0)
        optimizer.step()
        with pytest.warns(UserWarning, match=r"DataParallel\(model, optimizer=optimizer\)"):
            clipped_gradients(parallel, optimizer, [ids], 32, 1.0)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_step_in_shares_is_the_step(model, threads, rng):
    """Bit for bit; also where a parameter has had fewer updates than the others."""
    state = {name: array.copy() for name, array in model.state_dict().items()}
    ends = []
    for in_shares in (True, False):
        model.load_state_dict(state)
        optimizer = AdamW(decay_groups(model, 0.1), lr=0.1)
        draw = np.random.default_rng(0)
        with DataParallel(model, threads, optimizer) as parallel:
            for step in range(3):
                for i, parameter in enumerate(optimizer.params):
                    gradient = draw.normal(size=parameter.shape).astype(np.float32)
                    parameter.grad = None if step == 1 and i == 4 else gradient
                (parallel if in_shares else optimizer).step()
        ends.append([p.data.copy() for p in model.parameters()])
        assert not np.array_equal(ends[-1][0], state["model.embed_tokens.weight"])
    for a, b in zip(*ends):
        np.testing.assert_array_equal(a, b)


def test_shares_are_equal_and_complete(kind):
    runs = [(0, 7, "a"), (7, 8, "b"), (20, 43, "c")]
    for parts in (1, 2, 3, 31, 40):
        shares = _shares(runs, parts)
        found = [
            (i, *rest)
            for share in shares
            for start, stop, *rest in share
            for i in range(start, stop)
        ]
        assert found == [(i, name) for start, stop, name in runs for i in range(start, stop)]
        sizes = [sum(stop - start for start, stop, _ in share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_frozen_parameters(model, rng):
    ids = rng.integers(0, 50, (4, 9))
    params = list(model.parameters())
    frozen, trained = params[:5], params[5:]
    out = [np.empty(p.shape, np.float32) for p in trained]
    with DataParallel(model, 2) as parallel:
        for parameter in frozen:
            parameter.requires_grad = False
        parallel.gradients(rows(ids), trained, out, num_items=32)
        for parameter in frozen:
            parameter.requires_grad = True
        whole = [np.empty(p.shape, np.float32) for p in params]
        parallel.gradients(rows(ids), params, whole, num_items=32)
    for a, b in zip(out, whole[5:]):
        np.testing.assert_array_equal(a, b)
    assert all(np.any(gradient) for gradient in whole[:5])


@pytest.mark.parametrize(("threads", "row"), [(2, 3), (3, 0), (3, 2), (3, 4)])
def test_an_error_in_one_part_is_told(model, threads, row):
    """And no part's answer is taken for the answer to what comes next."""
    ids = np.zeros((6, 3), int)
    ids[row] = 50
    out = [np.empty(p.shape, np.float32) for p in model.parameters()]
    good = np.arange(18).reshape(6, 3)
    expected = gradients(model, good, 1)
    with DataParallel(model, threads) as parallel:
        for _ in range(2):
            with pytest.raises(ValueError, match="token id 50 is out of range"):
                parallel.gradients(rows(ids), list(model.parameters()), out, num_items=12)
            loss = parallel.gradients(rows(good), list(model.parameters()), out, num_items=12)
            assert loss == pytest.approx(expected[0], rel=1e-5)
            for a, b in zip(out, expected[1]):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_a_killed_worker(model, kind):
    if kind == "threads":
        pytest.skip("threads are not killed")
    ids = np.zeros((4, 3), int)
    with DataParallel(model, 2) as parallel:
        os.kill(parallel._workers[0]._pid, signal.SIGKILL)
        with pytest.raises(MemoryError, match="a worker process was killed"):
            parallel.loss([rows(ids)] * 2)


class Watched(Objective):
    """Says how it was asked: in training or not, with a tape or without."""

    def measure(self, model, batch):
        return {"training": int(model.training), "taped": int(is_grad_enabled()), "times": 1}


@pytest.mark.parametrize("training", [True, False])
def test_a_measurement_leaves_no_trace(model, training, rng):
    """Not in this process and not in a worker: what was dropped before is dropped after."""
    model.config.attention_dropout = 0.5
    model.train(training)
    ids = rng.integers(0, 50, (2, 9))
    params = list(model.parameters())
    out = [np.empty(p.shape, np.float32) for p in params]
    with DataParallel(model, 2, objective=Watched()) as parallel:
        before = parallel.gradients(rows(ids), params, out, num_items=16, seed=(4,))
        assert parallel.measure([rows(ids)] * 3) == {"training": 0, "taped": 0, "times": 3}
        assert model.training == model.model.training == training
        assert parallel.gradients(rows(ids), params, out, num_items=16, seed=(4,)) == before
    plain = model.eval()(ids, labels=ids).loss.item()
    assert (before == pytest.approx(plain, rel=1e-5)) != training


def test_rows_are_split_evenly_and_nobody_gets_none(kind):
    batch = {"ids": np.arange(10).reshape(5, 2), "labels": np.arange(5)}
    for parts, sizes in ((1, [5]), (3, [2, 2, 1]), (5, [1] * 5), (8, [1] * 5)):
        found = split_rows(batch, parts)
        assert [len(part["labels"]) for part in found] == sizes
        for name, array in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in found]), array)
