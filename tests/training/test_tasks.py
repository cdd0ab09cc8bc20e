"""All that the trainer promises, for every task and every family that has models for it."""

import json
import os
import re
import signal

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.course.registry import library
from tinyqwen.course.swapping import swap
from tinyqwen.models.auto import MODELS
from tinyqwen.parallel import data_parallel, workers
from tinyqwen.train import dry_run
from tinyqwen.training import train_config
from tinyqwen.training import trainer as trainer_module
from tinyqwen.training.data import write_index
from tinyqwen.training.records import open_records, padded, prepare_records
from tinyqwen.training.run_state import STATE, load_state
from tinyqwen.training.tasks import tasks_of
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Stopped, Trainer

# Each task with the first family that has models for it; the other families in the slow tests.
PAIRS = [(model, task) for model in MODELS for task in tasks_of(model)]
FIRST = list({task: (model, task) for model, task in reversed(PAIRS)}.values())
CASES = [
    pytest.param(pair, marks=[] if pair in FIRST else pytest.mark.slow, id="-".join(pair))
    for pair in PAIRS
]
DROPOUTS = ("dropout", "dropout_prob", "pdrop")
TINY = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "batch_size": 4},
    **{"intermediate_size": 24, "seq_len": 64, "vocab_size": 0, "steps": 6, "warmup_steps": 2},
    **{"eval_interval": 3, "save_interval": 2, "threads": 2},
}


@pytest.fixture(params=CASES)
def case(request, corpora, tmp_path):
    """How to make a run's settings: changes -> TrainConfig."""
    model, task = request.param

    def settings(out, **changes):
        given = {"model": model, "task": task, "data": str(corpora[task])}
        return TrainConfig.recipe(**given, **{**TINY, **changes}, out=str(tmp_path / out))

    return settings


def run(config, resume=False):
    with Trainer(config, resume) as trainer:
        return trainer.train()


def arrays(config):
    return load_state(trainer_folder(config))[0]


def trainer_folder(config):
    return Trainer(config).folder


def metrics(config):
    lines = (trainer_folder(config) / "metrics.jsonl").read_text().splitlines()
    measured = [json.loads(line) for line in lines]
    for entry in measured:
        del entry["tokens_per_second"], entry["elapsed"]
    return measured


def assert_equal_runs(a, b):
    assert metrics(a) == metrics(b)
    first, second = arrays(a), arrays(b)
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def interrupt_after(step, monkeypatch):
    """Let Ctrl-C be pressed after that step."""
    original = Trainer._train_step

    def interrupted(self):
        entry = original(self)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return entry

    monkeypatch.setattr(Trainer, "_train_step", interrupted)


def test_a_batch_is_a_function_of_seed_and_step(case):
    with Trainer(case("run")) as trainer:
        batches = [trainer.task.batch(seed, step, 4) for seed, step in ((3, 5), (3, 6), (4, 5))]
        trainer.task.batch(3, 9, 4)
        again = trainer.task.batch(3, 5, 4)
    for name, array in batches[0].items():
        assert array.dtype.kind in "biu" and len(array) == 4
        np.testing.assert_array_equal(array, again[name])
    for other in batches[1:]:
        assert any(not np.array_equal(batches[0][name], other[name]) for name in other)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_stopped_by_ctrl_c_and_resumed_bit_for_bit(case, monkeypatch):
    whole, parts = (case(out, grad_accumulation=2) for out in ("whole", "parts"))
    summary = run(whole)
    interrupt_after(4, monkeypatch)
    with pytest.raises(Stopped, match="step 4"):
        run(parts)
    assert run(parts, resume=True)["steps"] == 6
    assert_equal_runs(whole, parts)
    assert summary["val_loss"] > 0 and summary["best_step"] in (3, 6)
    assert all(0 <= share <= 1 for share in summary["shares"].values())


@pytest.fixture
def with_dropout(monkeypatch):
    """Wherever a family has it, also where its recipe goes without."""
    small = train_config._small

    def dropping(model):
        names = [name for name in train_config._names(model) if name.endswith(DROPOUTS)]
        return small(model) | dict.fromkeys(names, 0.2)

    monkeypatch.setattr(train_config, "_small", dropping)


def test_two_processes_agree_with_one(case, with_dropout):
    """Losses and metrics, within rounding: a row drops the same on either."""
    one, two = (case(str(threads), threads=threads) for threads in (1, 2))
    run(one)
    run(two)
    for a, b in zip(metrics(one), metrics(two)):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name] == pytest.approx(b[name], rel=2e-4, abs=1e-5), name


def test_accumulated_gradients_are_those_of_the_whole_batch(case, with_dropout):
    """Also where the parts hold unequally many labels."""
    whole, parts = case("whole", steps=2), case("parts", steps=2, batch_size=2, grad_accumulation=2)
    run(whole)
    run(parts)
    for a, b in zip(metrics(whole), metrics(parts)):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)


def test_it_learns(case):
    """Thirty steps on one small corpus take the loss down."""
    config = case("run", steps=30, learning_rate=1e-2, eval_interval=15)
    run(config)
    losses = [entry["loss"] for entry in metrics(config)]
    assert np.mean(losses[-5:]) < losses[0] - 0.1


@pytest.mark.parametrize("which", ["weights", "loss", "gradient"])
def test_what_is_no_number_stops_before_the_step(case, monkeypatch, which):
    """NaN weights; and a NaN in the loss alone, or in a gradient whose loss is a number."""
    config = case("run")
    original = trainer_module.clipped_gradients

    def clipped_gradients(*args, **options):
        loss, norm = original(*args, **options)
        return (np.nan, norm) if which == "loss" else (loss, np.nan)

    with Trainer(config) as trainer:
        if which == "weights":
            trainer.optimizer.params[0].data[...] = np.nan
        else:
            monkeypatch.setattr(trainer_module, "clipped_gradients", clipped_gradients)
        before = trainer.optimizer.params[1].data.copy()
        with pytest.raises(ValueError, match=r"step 1: .*nan.*Likely causes"):
            trainer.train()
        np.testing.assert_array_equal(trainer.optimizer.params[1].data, before)
    assert not (trainer_folder(config) / STATE).exists()


def test_a_run_larger_than_the_machine_is_refused(case):
    for changes in ({"hidden_size": 1 << 20}, {"grad_accumulation": 1 << 40}):
        config = case("run", **changes)
        with pytest.raises(ValueError, match=r"needs about .* GB of memory, the machine has"):
            run(config)
        assert not trainer_folder(config).exists()


def test_a_students_functions_are_run_on(case):
    """By the loss, the model and the optimizer of every task; and what they train is the same."""
    calls = dict.fromkeys(("cross_entropy", "linear", "embedding", "adamw_step"), 0)

    def students(name):
        original = library(name)
        original = getattr(original, "raw", original)

        def call(*args, **options):
            calls[name] += 1
            return original(*args, **options)

        return call

    ours, mine = (case(out, steps=2, threads=1, eval_interval=2) for out in ("ours", "mine"))
    run(ours)
    with swap({name: students(name) for name in calls}):
        run(mine)
    for a, b in zip(metrics(ours), metrics(mine)):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
    if ours.label_smoothing:  # a loss of another name
        del calls["cross_entropy"]
    assert all(calls.values()), calls


def test_a_plan_of_zero_steps_trains_and_writes_nothing(case, capsys):
    config = case("run", steps=0)
    assert dry_run(config) == 0
    out = capsys.readouterr().out
    parts = re.search(r"([\d,]+) parameters:\n((?:  .+\n)+)", out)
    counts = [int(line.split()[-2].replace(",", "")) for line in parts[2].splitlines()]
    assert sum(counts) == int(parts[1].replace(",", "")) > 1000
    assert all(word in out for word in ("activations", "GFLOP/s", "6N: ", "moments of AdamW"))
    assert not trainer_folder(config).exists()


def test_a_sample_and_a_prompt(case):
    with Trainer(case("run")) as trainer:
        trainer.train()
        model = trainer.model.eval()
        sample = trainer.task.sample(model, trainer.tokenizer)
        assert sample.strip()
        tq.manual_seed(7)  # what is drawn is drawn from the run's seed, whatever came before
        assert trainer.task.sample(model, trainer.tokenizer) == sample
        assert trainer.task.prompt(trainer.tokenizer).strip()


def test_what_is_dropped_is_drawn_anew_for_every_step_and_row(case, monkeypatch):
    seeds, original = [], data_parallel.seeded

    def seeded(seed, rows):
        seeds.extend((*seed, row) for row in rows)
        return original(seed, rows)

    monkeypatch.setattr(data_parallel, "seeded", seeded)
    monkeypatch.setattr(workers, "FORK", False)  # so that all are seen here
    run(case("run", steps=3, grad_accumulation=2, eval_interval=0, seed=5))
    run(case("other", steps=1, grad_accumulation=2, eval_interval=0, seed=6))
    assert len(seeds) == len(set(seeds)) == (3 + 1) * 8


# ---------------------------------------------------------------------------------------------
# Records
# ---------------------------------------------------------------------------------------------

PLAIN = [{"a": [n, n + 1], "b": [n] * (n % 3)} for n in range(40)]


def test_records_come_back_as_they_were(tmp_path):
    found = {"t": PLAIN, "v": PLAIN[:3]}
    for held_out in (None, ["v"]):
        prepare_records((["t"], held_out), lambda names: found[names[0]], tmp_path, ("a", "b"))
        train, validation = open_records(tmp_path, ("a", "b"))
        kept = [r for n, r in enumerate(PLAIN) if held_out or n % 20 != 19]
        out = PLAIN[:3] if held_out else [PLAIN[19], PLAIN[39]]
        for records, expected in ((train, kept), (validation, out)):
            assert len(records) == len(expected)
            for i, record in enumerate(expected):
                assert {name: records.field(name, i).tolist() for name in record} == record


def test_damaged_records_are_told(tmp_path):
    prepare_records((["t"], None), lambda _: PLAIN, tmp_path, ("a", "b"))
    file = tmp_path / "train_b_ends.bin"
    content = file.read_bytes()
    for damaged in (content[:-8], content[:-8] + b"\xff" * 8, content[8:24] + content[8:-8]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|index\.json"):
            open_records(tmp_path, ("a", "b"))
    for place, end in ((-1, -1), (0, -9)):  # the last would lose a number, the first begin behind
        ends = np.frombuffer(content, np.int64).copy()
        ends[place] += end
        file.write_bytes(ends.tobytes())
        with pytest.raises(ValueError, match="the records' ends are damaged"):
            open_records(tmp_path, ("a", "b"))
    prepare_records((["t"], None), lambda _: PLAIN, tmp_path, ("a", "b"))
    lost = [tmp_path / f"train_b{part}.bin" for part in ("", "_ends")]  # the last record of b
    ends = np.frombuffer(lost[1].read_bytes(), np.int64)[:-1]
    lost[1].write_bytes(ends.tobytes())
    lost[0].write_bytes(lost[0].read_bytes()[: 4 * int(ends[-1])])
    write_index(tmp_path)
    with pytest.raises(ValueError, match="not equally many records"):
        open_records(tmp_path, ("a", "b"))
    file.unlink()
    with pytest.raises(FileNotFoundError):
        open_records(tmp_path, ("a", "b"))


def test_rows_are_filled_up_behind():
    assert padded([[1], [2, 3], []], 9).tolist() == [[1, 9], [2, 3], [9, 9]]
