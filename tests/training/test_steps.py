"""What every step of a run is made of: its seed, its rate, its figures, and what is kept of it."""

import json
import math
import os

import numpy as np
import pytest

from tinyqwen import nn
from tinyqwen.optim import cosine_with_warmup
from tinyqwen.storage import safetensors
from tinyqwen.training import trainer as room
from tinyqwen.training.run_folder import RunFolder
from tinyqwen.training.run_state import MEASURED, STATE, read_metrics, refuse_other_model
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer

TINY = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            intermediate_size=8, batch_size=2, seq_len=8, tokenizer="char", vocab_size=0,
            threads=1, warmup_steps=2, eval_interval=0, save_interval=0)  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    for name, count in (("train", 900), ("validation", 200)):
        (folder / f"{name}.txt").write_text("".join(rng.choice(list("abcdef "), count)))
    return folder


@pytest.fixture
def trainer_of(text, tmp_path):
    """trainer_of(name, steps=3, …): a Trainer that is entered, and left at the end."""
    open_ones = []

    def make(name="run", resume=False, **settings):
        config = {**TINY, "steps": 3, "data": str(text), "out": str(tmp_path / name), **settings}
        one = Trainer(TrainConfig(**config), resume)
        open_ones.append(one)
        return one.__enter__()

    yield make
    for one in open_ones:
        one.__exit__(None, None, None)


def watched(monkeypatch, change=lambda step, result: result):
    """Keep what `clipped_gradients` is called with at every step, and change what it returns."""
    calls, original = [], room.clipped_gradients

    def clipped(parallel, optimizer, batches, num_items, max_norm, seed, **rest):
        batch = [b["input_ids"].tolist() for b in batches]
        calls.append({"batch": batch, "items": num_items, "norm": max_norm, "seed": seed})
        result = original(parallel, optimizer, batches, num_items, max_norm, seed, **rest)
        return change(len(calls), result)

    monkeypatch.setattr(room, "clipped_gradients", clipped)
    return calls


def test_the_seed_draws_weights_batches_and_dropout(trainer_of, monkeypatch):
    """Each of the three by itself: another seed changes all of them, and so does another step."""
    calls = watched(monkeypatch)
    weights = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        trainer = trainer_of(name, seed=seed)
        weights.append(trainer.model.lm_head.weight.data.copy())
        trainer.train()
    a, b, c = calls[:3], calls[3:6], calls[6:]
    assert a == b
    assert np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[0], weights[2])
    for key in ("batch", "seed"):
        different = {str(call[key]) for call in a + c}
        assert len(different) == 6, key


def test_what_a_step_is_given(trainer_of, monkeypatch):
    calls = watched(monkeypatch)
    trainer_of(grad_accumulation=3, grad_clip=0.25, steps=1).train()
    (call,) = calls
    assert [np.shape(part) for part in call["batch"]] == [(2, 8)] * 3
    assert call["items"] == 6 * 7 and call["norm"] == 0.25


def test_every_group_has_the_rate_of_the_step(trainer_of):
    trainer = trainer_of(steps=5, learning_rate=0.01, weight_decay=0.3)
    trainer.train()
    rates = [metrics["lr"] for metrics in trainer.metrics]
    assert rates[:2] == [0.005, 0.01]  # half way up, and up
    assert rates == [cosine_with_warmup(step, 0.01, 2, 5) for step in range(5)]
    groups = trainer.optimizer.param_groups
    assert [group["lr"] for group in groups] == [rates[-1]] * len(groups)
    assert {(g["betas"], g["eps"]) for g in groups} == {((0.9, 0.95), 1e-8)}
    decays = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    for name, parameter in trainer.model.named_parameters():
        assert decays[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name


@pytest.mark.parametrize(
    "loss, norm", [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
@pytest.mark.parametrize("save_interval, good", [(0, "none was saved yet"), (1, "step 1, in ")])
def test_a_step_that_is_no_number_changes_nothing(
    trainer_of, monkeypatch, loss, norm, save_interval, good
):
    trainer = trainer_of(save_interval=save_interval)
    before = []

    def change(step, result):
        if step == 1:
            return result
        before.append([p.data.copy() for p in trainer.model.parameters()])
        return loss, norm

    watched(monkeypatch, change)
    with pytest.raises(
        ValueError, match=f"step 2: the loss is {loss}, the gradient's norm {norm}"
    ) as told:
        trainer.train()
    assert good in str(told.value)
    for parameter, old in zip(trainer.model.parameters(), before[0]):
        np.testing.assert_array_equal(parameter.data, old)
    assert [metrics["step"] for metrics in trainer.metrics] == [1]


def test_evaluated_at_the_interval_and_at_the_end(trainer_of):
    trainer = trainer_of(steps=5, eval_interval=2)
    trainer.train()
    assert [m["step"] for m in trainer.metrics if "val_loss" in m] == [2, 4, 5]
    trainer = trainer_of("none", steps=2, eval_interval=0)
    assert trainer.train()["val_loss"] is None


def test_saved_at_the_interval_and_at_the_end(trainer_of, monkeypatch):
    saved, original = [], Trainer.save
    monkeypatch.setattr(Trainer, "save", lambda self: saved.append(self.step) or original(self))
    trainer_of(steps=5, save_interval=2).train()
    assert saved == [2, 4, 5, 5]


def test_the_best_is_the_best(trainer_of, monkeypatch):
    values = iter([3.0, 2.0, 2.0, 4.0])
    monkeypatch.setattr(Trainer, "evaluate", lambda self: {"val_loss": next(values)})
    kept = []
    original = Trainer._save_model

    def save_model(self, folder):
        kept.append((self.step, folder.name))
        original(self, folder)

    monkeypatch.setattr(Trainer, "_save_model", save_model)
    summary = trainer_of("run", steps=4, eval_interval=1).train()
    assert kept == [(1, "best"), (2, "best"), (4, "run")]
    assert summary["best_step"] == 2 and summary["val_loss"] == 4.0


def test_metrics_are_on_the_disk_before_the_state_and_that_before_the_checkpoint(
    trainer_of, monkeypatch
):
    order = []

    def told(name, original):
        def call(*args, **kwargs):
            order.append(name)
            return original(*args, **kwargs)

        return call

    trainer = trainer_of(steps=1)
    monkeypatch.setattr(os, "fsync", told("sync", os.fsync))
    monkeypatch.setattr(room, "save_state", told("state", room.save_state))
    monkeypatch.setattr(Trainer, "_save_model", told("checkpoint", Trainer._save_model))
    trainer.train()
    assert order[:2] == ["sync", "state"]
    assert order.index("state") < order.index("checkpoint") and order.count("checkpoint") == 1


def test_figures_of_a_step_and_of_the_run(trainer_of, monkeypatch, tmp_path):
    """A clock that goes half a second from look to look."""
    trainer, clock = trainer_of(steps=4, eval_interval=2), iter(np.arange(0, 99, 0.5).tolist())
    monkeypatch.setattr(room.time, "perf_counter", lambda: next(clock))
    summary = trainer.train()
    assert [m["elapsed"] for m in trainer.metrics] == [0.5, 1.0, 1.5, 2.0]
    assert {m["tokens_per_second"] for m in trainer.metrics} == {2 * 8 / 0.5}
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == trainer.metrics
    assert summary["train_loss"] == pytest.approx(np.mean([m["loss"] for m in trainer.metrics]))
    assert summary["val_loss"] == trainer.metrics[-1]["val_loss"]
    assert summary["elapsed"] == 2.0 and summary["tokens_per_second"] == 32.0
    assert summary["floor"] is None and summary["gap"] is None and summary["steps"] == 4


def test_time_and_the_best_are_kept_over_a_stop(trainer_of):
    first = trainer_of(steps=2, eval_interval=1)
    first.train()
    first.__exit__(None, None, None)
    again = trainer_of(resume=True)
    assert again.step == 2 and again.elapsed == first.elapsed
    assert (again.best_loss, again.best_step) == (first.best_loss, first.best_step)
    assert [m["step"] for m in again.metrics] == [1, 2]


def test_the_training_loss_of_a_run_is_that_of_its_last_fifty_steps(trainer_of):
    trainer = trainer_of(steps=1)
    trainer.metrics = [
        {"loss": float(i), "tokens_per_second": float(i % 2), "step": i} for i in range(1, 102)
    ]
    summary = trainer.summary()
    assert summary["train_loss"] == np.mean(range(52, 102))
    trainer.floor = 1.5
    trainer.metrics.append({"loss": 1.0, "tokens_per_second": 1.0, "val_loss": 2.0, "step": 102})
    assert trainer.summary()["gap"] == 0.5


def test_what_is_no_line_of_metrics_is_dropped(tmp_path):
    """Nor is what is no number, or comes after the state that was saved."""
    line = {"step": 1, **dict.fromkeys(MEASURED, 0.5)}
    good = [line, {**line, "step": 2, "val_loss": 1}]
    bad = [{**line, "step": 2, "loss": x} for x in (math.nan, math.inf, -math.inf, True, "1", None)]
    bad += [{**line, "step": step} for step in (1, 0, 2.0, True)]
    bad += [{**line, "step": 2, "val_loss": math.nan}, {"step": 2}, [2], 2]
    texts = [json.dumps(entry) for entry in [good[0], *bad, good[1], {**line, "step": 3}]]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*texts[:5], "{", *texts[5:]]))
    assert read_metrics(tmp_path, 2) == good
    kept = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(text) for text in kept.splitlines()] == good


def test_a_state_of_another_model_is_refused(tmp_path):
    """By its names and by its shapes."""
    model = nn.Linear(3, 2)
    state = {f"model.{name}": p.data for name, p in model.named_parameters()}
    for wrong in (nn.Linear(3, 2, bias=False), nn.Linear(3, 3), nn.Linear(2, 3)):
        safetensors.save(tmp_path / STATE, {**state, "optimizer.m": np.zeros(8)})
        refuse_other_model(tmp_path, model)
        with pytest.raises(ValueError, match="it is of another model than the run's settings"):
            refuse_other_model(tmp_path, wrong)


def test_what_killed_writers_left_is_swept(tmp_path):
    for folder in (tmp_path, tmp_path / "tokens", tmp_path / "best"):
        folder.mkdir(exist_ok=True)
        (folder / ".model.safetensors.0123abcd.tmp").touch()
        (folder / "kept.tmp").touch()
    run = RunFolder(tmp_path, resume=True)
    run.begin(lambda: None)
    run.release()
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == ["best/kept.tmp", "kept.tmp", "tokens/kept.tmp"]
