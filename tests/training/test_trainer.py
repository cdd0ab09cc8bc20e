"""Training runs: what they write, and that a run that was stopped goes on as if it had not been."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.analysis.costs import training_memory
from tinyqwen.optim import cosine_with_warmup
from tinyqwen.train import main, parse_arguments
from tinyqwen.training import train_config
from tinyqwen.training.run_state import STATE
from tinyqwen.training.train_config import STORIES, TrainConfig
from tinyqwen.training.trainer import Stopped, Trainer

BUNDLED = STORIES.parent / "model"
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "intermediate_size": 24,
    "batch_size": 4,
    "seq_len": 16,
    "vocab_size": 290,
    "threads": 1,
    "warmup_steps": 2,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A small corpus with a split: sentences of few words in random order."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("text")
    words = ["the", "cat", "sat", "on", "mat", "and", "saw", "one", "red", "hen", "in", "old"]
    for name, count in (("train", 200), ("validation", 20)):
        sentences = [" ".join(rng.choice(words, 8)) + "." for _ in range(count)]
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(sentences))
    return folder


def run(text, out, resume=False, **settings):
    config = TrainConfig(data=str(text), out=str(out), **{**TINY, "steps": 6, **settings})
    with Trainer(config, resume) as trainer:
        return trainer.train()


def weights(folder):
    return tq.Qwen2ForCausalLM.from_pretrained(folder).state_dict()


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(folder):
    return [
        (m["step"], m["loss"], m["lr"], m["grad_norm"], m.get("val_loss")) for m in metrics(folder)
    ]


def assert_equal_runs(a, b):
    assert losses(a) == losses(b)
    first, second = weights(a), weights(b)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_a_run_folder(text, tmp_path, pictures):
    summary = run(text, tmp_path / "run", eval_interval=3, save_interval=2)
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
        *("tokenizer_config.json", "metrics.jsonl", "loss.png", "train_config.json"),
        *(STATE, "best", "tokens"),
    }
    entries = metrics(tmp_path / "run")
    assert [m["step"] for m in entries] == [1, 2, 3, 4, 5, 6]
    assert [m["step"] for m in entries if "val_loss" in m] == [3, 6]
    keys = {"step", "loss", "lr", "grad_norm", "tokens_per_second", "elapsed"}
    assert all(keys <= m.keys() for m in entries)
    assert summary["val_loss"] == entries[-1]["val_loss"] < entries[0]["loss"]
    assert entries[0]["loss"] == pytest.approx(np.log(290), abs=0.6)  # nothing learned: ln V
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_one_seed_one_run(text, tmp_path):
    for name in ("a", "b"):
        run(text, tmp_path / name, eval_interval=3)
    assert_equal_runs(tmp_path / "a", tmp_path / "b")
    run(text, tmp_path / "c", eval_interval=3, seed=1)
    assert losses(tmp_path / "c")[0][1] != losses(tmp_path / "a")[0][1]


def stop_after_four(monkeypatch):
    """Let Ctrl-C be pressed after the fourth step."""
    original = Trainer._train_step

    def step(self):
        entry = original(self)
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return entry

    monkeypatch.setattr(Trainer, "_train_step", step)


def test_the_best_checkpoint_outlives_a_stop(text, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "evaluate", lambda self: {"val_loss": float(self.step)})
    stop_after_four(monkeypatch)
    with pytest.raises(Stopped):
        run(text, tmp_path / "run", eval_interval=2)
    best = (tmp_path / "run" / "best" / "model.safetensors").read_bytes()
    assert run(text, tmp_path / "run", resume=True)["best_step"] == 2
    assert (tmp_path / "run" / "best" / "model.safetensors").read_bytes() == best


def test_stopped_and_resumed_equals_undisturbed(text, tmp_path, monkeypatch):
    settings = {"steps": 9, "eval_interval": 2, "save_interval": 3, "grad_accumulation": 2}
    run(text, tmp_path / "whole", **settings)
    stop_after_four(monkeypatch)
    with pytest.raises(Stopped, match="step 4"):
        run(text, tmp_path / "parts", **settings)
    run(text, tmp_path / "parts", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    assert weights(tmp_path / "whole" / "best").keys() == weights(tmp_path / "parts").keys()


def test_a_crash_loses_only_the_steps_since_the_last_save(text, tmp_path, monkeypatch):
    settings = {"steps": 8, "eval_interval": 0, "save_interval": 3}
    run(text, tmp_path / "whole", **settings)

    def crash(*args):
        raise RuntimeError("power cut")

    original = Trainer._record
    monkeypatch.setattr(
        Trainer,
        "_record",
        lambda self, *args: crash() if self.step == 5 else original(self, *args),
    )
    with pytest.raises(RuntimeError, match="power cut"):
        run(text, tmp_path / "parts", **settings)
    monkeypatch.setattr(Trainer, "_record", original)
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # a line cut short
    run(text, tmp_path / "parts", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_threads_agree(text, tmp_path):
    """Two threads train to the same losses as one, within rounding, over 50 steps."""
    for threads in (1, 2):
        run(text, tmp_path / str(threads), threads=threads, steps=50, eval_interval=0)
    one, two = (np.array([m[1] for m in losses(tmp_path / n)]) for n in ("1", "2"))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


def test_accumulation_equals_a_larger_batch(text, tmp_path):
    run(text, tmp_path / "large", batch_size=8)
    run(text, tmp_path / "parts", batch_size=4, grad_accumulation=2)
    large, parts = (np.array([m[1] for m in losses(tmp_path / n)]) for n in ("large", "parts"))
    np.testing.assert_allclose(large, parts, rtol=1e-5)


def test_init_from_keeps_the_model(text, tmp_path, capsys):
    """And what it was worth before stands beside what it is worth after."""
    worth = run(text, tmp_path / "first", eval_interval=6)["val_loss"]
    config = {"init_from": str(tmp_path / "first"), "eval_interval": 1}
    run(text, tmp_path / "second", steps=1, learning_rate=1e-30, **config)
    assert f"before the first step: validation loss {worth:.3f}" in capsys.readouterr().out
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-6)


def test_a_model_keeps_its_tokenizer(text, tmp_path):
    """Any other is refused, unless it has the same tokens."""
    first, bundled = tmp_path / "first", str(STORIES.parent / "model")
    run(text, first, steps=1)
    base = {"init_from": str(first), "steps": 1}
    run(text, tmp_path / "own", **base)
    tokens = [(folder / "tokenizer.json").read_bytes() for folder in (first, tmp_path / "own")]
    assert tokens[0] == tokens[1]
    run(text, tmp_path / "same", tokenizer=str(tmp_path / "own"), **base)
    for other in ("char", bundled):
        with pytest.raises(ValueError, match="has other tokens than the model"):
            run(text, tmp_path / "other", **{**base, "tokenizer": other, "vocab_size": 0})
        assert not (tmp_path / "other").exists()


def test_a_finished_run_goes_on_to_more_steps(text, tmp_path):
    """Bit for bit as if it had been stopped there by a run of that many steps."""
    out = tmp_path / "run"
    run(text, out, steps=4)
    with pytest.raises(ValueError, match="at step 4 already; ask for more --steps"):
        Trainer(TrainConfig(out=str(out)), resume=True, steps=4)
    with Trainer(TrainConfig(out=str(out)), resume=True, steps=9) as trainer:
        assert trainer.train()["steps"] == 9
    rates = [m["lr"] for m in metrics(out)]
    expected = [cosine_with_warmup(step, 2e-3, 2, 4 if step < 4 else 9) for step in range(9)]
    assert rates == expected
    assert json.loads((out / "train_config.json").read_text())["steps"] == 9
    run(text, out, resume=True)  # it is finished now, as a run of 9 steps
    assert len(metrics(out)) == 9


def test_a_run_that_has_been_moved_goes_on_where_it_is(text, tmp_path):
    run(text, tmp_path / "run", steps=1)
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    with Trainer(TrainConfig(out=str(moved)), resume=True, steps=2) as trainer:
        trainer.train()
    assert len(metrics(moved)) == 2 and not (tmp_path / "run").exists()
    assert json.loads((moved / "train_config.json").read_text())["out"] == str(moved)


def test_a_fine_tuned_run_goes_on_without_its_base(text, tmp_path, monkeypatch):
    """And with the dropout that the base asks for, before the stop and after it."""
    run(text, tmp_path / "base", steps=1)
    model = tq.Qwen2ForCausalLM.from_pretrained(tmp_path / "base")
    model.config.attention_dropout = 0.2
    model.save_pretrained(tmp_path / "base")
    base = {"init_from": str(tmp_path / "base")}
    run(text, tmp_path / "whole", **base)
    stop_after_four(monkeypatch)
    with pytest.raises(Stopped, match="step 4"):
        run(text, tmp_path / "run", **base)
    shutil.rmtree(tmp_path / "base")
    run(text, tmp_path / "run", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_a_loss_that_is_no_number_stops(text, tmp_path):
    run(text, tmp_path / "first", steps=1)
    broken = tmp_path / "first" / "model.safetensors"
    model = tq.Qwen2ForCausalLM.from_pretrained(tmp_path / "first")
    model.model.norm.weight.data[0] = np.nan
    model.save_pretrained(tmp_path / "first")
    assert broken.exists()
    settings = {"init_from": str(tmp_path / "first")}
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match=r"step 1: .*nan.*Likely causes"),
    ):
        run(text, tmp_path / "second", **settings)


def test_refusals_leave_nothing(text, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(FileExistsError, match="--resume"):
        run(text, tmp_path / "taken")
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        run(text, tmp_path / "none", resume=True)
    with pytest.raises(ValueError, match="supports only"):
        run(text, tmp_path / "new", vocab_size=50_000)
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "nowhere", tmp_path / "new")
    assert not (tmp_path / "new").exists() and not (tmp_path / "none").exists()


def test_an_empty_folder_is_taken_and_left_empty(text, tmp_path):
    with pytest.raises(ValueError, match="supports only"):
        run(text, tmp_path, vocab_size=50_000)
    assert not list(tmp_path.iterdir())


def test_a_run_larger_than_the_machine_is_refused(text, tmp_path):
    (tmp_path / "base").mkdir()
    config = tq.Qwen2Config(hidden_size=1 << 20).to_dict()
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    for settings in (
        {"hidden_size": 1 << 20},
        {"init_from": str(tmp_path / "base")},
        {"seq_len": 1 << 30},
        {"grad_accumulation": 1 << 40},
    ):
        with pytest.raises(ValueError, match=r"needs about .* GB of memory, the machine has"):
            run(text, tmp_path / "run", **settings)
        assert not (tmp_path / "run").exists()


def test_a_run_as_large_as_the_machine_is_not(monkeypatch):
    """What it needs: the estimate for a step, and 8 bytes for each token of all its parts."""
    config = TrainConfig(**{**TINY, "grad_accumulation": 3})
    model = tq.Qwen2ForCausalLM(config.model_config(TINY["vocab_size"]))
    need = sum(training_memory(model, 4, 16).values()) + 8 * 3 * 4 * 16
    monkeypatch.setattr(train_config, "physical_memory", lambda: need)
    config.refuse_too_large()
    monkeypatch.setattr(train_config, "physical_memory", lambda: need - 1)
    with pytest.raises(ValueError, match="GB of memory, the machine has"):
        config.refuse_too_large()


def test_a_folder_that_cannot_be_made(text, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match="a file, not a folder; choose another folder"):
            run(text, out)


def test_rows_are_as_long_as_the_model_reads_where_nobody_says(tmp_path):
    usual = TrainConfig.seq_len
    for longest in (40, 4 * usual):
        config = tq.Qwen2Config(max_position_embeddings=longest).to_dict()
        (tmp_path / "config.json").write_text(json.dumps(config))
        made = parse_arguments(["--init-from", str(tmp_path), "--tokenizer", "char"])[0]
        assert made.seq_len == min(usual, longest)


def test_rows_longer_than_the_model_can_read(text, tmp_path):
    run(text, tmp_path / "base", steps=1)
    base = str(tmp_path / "base")
    with pytest.raises(ValueError, match="seq_len 513 is past the 512 tokens"):
        run(text, tmp_path / "run", seq_len=513, init_from=base)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["train.bin", "train_starts.bin", "validation.bin", "validation_starts.bin"]
)
def test_damaged_tokens_are_told(text, tmp_path, name):
    run(text, tmp_path / "run", steps=1)
    file = tmp_path / "run" / "tokens" / name
    content = file.read_bytes()
    file.write_bytes(content[:-8])
    with pytest.raises(ValueError, match=r"not what index\.json says"):
        run(text, tmp_path / "run", resume=True)
    if "starts" in name:
        file.write_bytes(content[:-8] + b"\xff" * 8)
        with pytest.raises(ValueError, match="positions are damaged"):
            run(text, tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "run" / "tokens")  # as the message says
    run(text, tmp_path / "run", resume=True)
    assert file.read_bytes() == content


def test_lost_metrics_do_not_lose_the_others(text, tmp_path):
    run(text, tmp_path / "run", steps=6)
    file = tmp_path / "run" / "metrics.jsonl"
    lines = file.read_text().splitlines()
    damaged = [
        lines[1],
        "{",
        "[]",
        "7",
        '{"step": 9}',
        lines[2].replace("loss", "lo\0ss"),
        lines[0],
    ]
    huge = lines[3].replace('"lr": ', '"lr": 9' + "0" * 400 + ", ")
    file.write_text("\n".join([*lines[:2], *damaged, huge, *lines[4:]]))
    run(text, tmp_path / "run", resume=True)
    assert file.read_text().splitlines() == [*lines[:2], *lines[4:]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 30}, "divisible"),
        ({"batch_size": 0}, "batch_size"),
        ({"threads": -1}, "threads must be at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"steps": -1}, "steps"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seq_len": 1}, "seq_len must be at least 2"),
        ({"grad_accumulation": 0}, "grad_accumulation must be at least 1"),
        ({"learning_rate": 0}, "learning_rate must be a positive number"),
        ({"grad_clip": 0.0}, "grad_clip must be a positive number"),
        ({"label_smoothing": 1.0}, "label_smoothing must be from 0 to below 1"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"steps": 1e999}, "steps must be int, not inf"),
        ({"seed": True}, "seed must be int, not True"),
        ({"weight_decay": "1"}, "weight_decay must be float, not '1'"),
        ({"out": None}, "out must be str, not None"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TrainConfig(**settings)


def test_a_second_trainer_is_refused(text, tmp_path):
    config = TrainConfig(data=str(text), out=str(tmp_path / "run"), **TINY, steps=1)
    with Trainer(config), pytest.raises(OSError, match="in use"), Trainer(config, resume=True):
        pass


def test_damaged_state_is_told(text, tmp_path):
    run(text, tmp_path / "run", steps=1)
    state = tmp_path / "run" / STATE
    content = state.read_bytes()
    first = 8 + int.from_bytes(content[:8], "little")  # of the arrays
    assert content.count(b'{\\"step\\": 1,') == 1
    for damaged in (
        content[:-10],
        content[:-1] + bytes([content[-1] ^ 1]),
        content[:first] + bytes([content[first] ^ 1]) + content[first + 1 :],
        content.replace(
            b'{\\"step\\": 1,', b'{\\"step\\": 0,'
        ),  # another step than that of the weights
    ):
        state.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be read"):
            run(text, tmp_path / "run", resume=True)


def test_state_of_another_model_is_told(text, tmp_path):
    run(text, tmp_path / "run", steps=1)
    run(text, tmp_path / "other", steps=1, hidden_size=32)
    shutil.copy(tmp_path / "other" / STATE, tmp_path / "run" / STATE)
    with pytest.raises(ValueError, match="of another model than"):
        run(text, tmp_path / "run", resume=True)


def arguments(text, out, **settings):
    options = {**TINY, "data": text, "out": out, **settings}
    return [part for k, v in options.items() for part in (f"--{k.replace('_', '-')}", str(v))]


def test_command_line(text, tmp_path, capsys):
    assert main(arguments(text, tmp_path / "run", steps=3, eval_interval=3)) == 0
    out = capsys.readouterr().out
    for part in ("3 steps in", "training loss", "validation loss", "A sample:", "Files in"):
        assert part in out
    first = (text / "validation.txt").read_text().split()[:4]
    assert out.splitlines()[-1].endswith(f"{tmp_path / 'run'} '{' '.join(first)}'")


def test_plan_writes_nothing(text, tmp_path, capsys):
    assert main(arguments(text, tmp_path / "run", steps=0)) == 0
    out = capsys.readouterr().out
    assert "Qwen2ForCausalLM(" in out and "parameters" in out and "6N" in out and "time:" in out
    assert not (tmp_path / "run").exists()


def test_plan_is_of_the_run_that_would_be(tmp_path, capsys):
    """The vocabulary is the text's or the tokenizer's; what fits in no memory is told, refused."""
    words = [a + b + c for a in "bcdfghklpqrs" for b in "aeiou" for c in "mnprstvwz"]
    (tmp_path / "many.txt").write_text(" ".join(words * 3))
    plan = ["--steps", "0", "--batch-size", "1", "--seq-len", "16"]
    for tokenizer in ("wordpiece", str(BUNDLED)):
        main([*plan, "--tokenizer", tokenizer, "--data", str(tmp_path / "many.txt")])
        assert "(embed_tokens): Embedding(512, 128)" in capsys.readouterr().out
    (tmp_path / "few.txt").write_text("abc\n" * 40)
    for tokenizer, size in (("char", 4 + 4), ("bpe", 256 + 3 + 2)):  # and marks; ab, abc
        main([*plan, "--tokenizer", tokenizer, "--data", str(tmp_path / "few.txt")])
        assert f"Embedding({size}, 128)" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        main(["--steps", "0", "--data", "nowhere"])
    with pytest.raises(ValueError, match="GB of memory, the machine has"):
        main([*plan, "--tokenizer", str(BUNDLED), "--hidden-size", "400000"])
    assert "Embedding(512, 400000)" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_a_run_that_is_gone_on_with_has_no_plan_of_another(text, tmp_path, capsys):
    run(text, tmp_path / "run", steps=1)
    with pytest.raises(ValueError, match="at step 1 already; ask for more --steps"):
        main(["--resume", "--out", str(tmp_path / "run"), "--steps", "0"])
    assert main(["--resume", "--out", str(tmp_path / "run")]) == 0
    assert "All 1 steps are done; --steps N goes on" in capsys.readouterr().out


def test_resume_takes_no_other_settings(text, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--resume", "--out", str(tmp_path), "--batch-size", "3"])
    assert "leave out --batch-size" in capsys.readouterr().err


def test_paths_may_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    arguments = ["--out=~/x", "--data=~/y", "--tokenizer=~/z", "--init-from=~/m", "--student=~/s"]
    (tmp_path / "m").mkdir()
    shutil.copy(STORIES.parent / "model" / "config.json", tmp_path / "m")
    config, options = parse_arguments(arguments)
    found = [config.out, config.data, config.tokenizer, config.init_from, options.student]
    assert found == [str(tmp_path / name) for name in "xyzms"]


@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_a_students_runs_lie_side_by_side(text, tmp_path, capsys):
    """The course repeats one command after every chapter."""
    (tmp_path / "code").mkdir()
    command = arguments(text, tmp_path / "run", steps=1) + ["--student", str(tmp_path / "code")]
    for out in ("run", "run-2", "run-3"):
        assert main(command) == 0
        assert f"The run is in {tmp_path / out}." in capsys.readouterr().out
        assert (tmp_path / out / "model.safetensors").exists()


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_tell_how_to_go_on(text, tmp_path, signum, status):
    command = [sys.executable, "-m", "tinyqwen.train"]
    process = subprocess.Popen(
        [*command, *arguments(text, tmp_path / "run", steps=100_000, eval_interval=0)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    file = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 250
    while not (file.exists() and file.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == status
    assert "--resume" in errors and "Traceback" not in errors
    assert len(metrics(tmp_path / "run")) >= 1 and (tmp_path / "run" / STATE).exists()


def test_bad_input_is_one_line(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"fine\nnot \xff fine")
    result = subprocess.run(
        [sys.executable, "-m", "tinyqwen.train", "--data", bad, "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "byte 9" in result.stderr
    assert not (tmp_path / "run").exists()


def test_texts_that_name_a_file_are_texts(tmp_path):
    """A document may be the path of a file: it is not opened to learn the tokenizer from."""
    secret = tmp_path / "secret"
    secret.write_text("Ж" * 99)
    (tmp_path / "data.jsonl").write_text((json.dumps({"text": str(secret)}) + "\n") * 20)
    run(tmp_path / "data.jsonl", tmp_path / "run", tokenizer="char", vocab_size=0, steps=1)
    tokenizer = tq.Tokenizer.from_pretrained(tmp_path / "run")
    assert tokenizer.token_to_id("Ж") is None and tokenizer.token_to_id("/") is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model nope", "model 'nope' is none of qwen2, "),
        ("--model bert --task causal", "task 'causal' is none of those for bert: masked"),
        ("--model gpt2 --num-key-value-heads 2", "leave out --num-key-value-heads"),
        (f"--model gpt2 --init-from {BUNDLED}", "holds a qwen2, not a gpt2"),
        ("--task translate", "task 'translate' is none of those for qwen2"),
        ("--task classify --lm-weight -1", "lm_weight must not be negative"),
        ("--task classify --lm-weight 0.5 --freeze-body", "the body learns nothing"),
        ("--model marian --label-smoothing 1", "label_smoothing must be"),
        ("--label-smoothing 0.1", "label_smoothing is for the task translate, not for causal"),
        ("--direction zh-en", "source is for the task translate, not for causal"),
        ("--target en", "target is for the task translate, not for causal"),
        ("--task classify --freeze-body", "choose one with init_from"),
        ("--lm-weight 0", "lm_weight is for the task classify, not for causal"),
        ("--distill-weight 0.5", "distill_weight is nothing without teacher"),
        ("--distill-temperature 3", "distill_temperature is nothing without teacher"),
        (f"--init-from {BUNDLED} --hidden-size 128", "hidden_size is that of the model in"),
        (f"--init-from {BUNDLED} --vocab-size 512", "leave out --vocab-size"),
        (
            f"--tokenizer {BUNDLED} --vocab-size 512",
            "vocab_size is for a tokenizer that is",
        ),
        (f"--teacher {BUNDLED} --vocab-size 512", "vocab_size is for a tokenizer that is"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments(options.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--anyway", "--anyway is for --student"),
        ("--model marian --direction zh-en --source zh", "say it alone"),
    ],
)
def test_flags_that_would_be_lost_are_refused(options, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(options.split())
    assert message in capsys.readouterr().err


def test_a_family_brings_its_task_and_recipe():
    bert, marian = (parse_arguments(["--model", name])[0] for name in ("bert", "marian"))
    assert (bert.task, bert.batch_size, bert.steps, bert.learning_rate) == (
        "masked",
        32,
        8000,
        4e-3,
    )
    assert (marian.task, marian.batch_size, marian.steps) == ("translate", 64, 800)
    assert (marian.num_hidden_layers, marian.hidden_size, marian.learning_rate) == (3, 128, 2e-3)
    gpt2 = parse_arguments(["--model", "gpt2", "--steps", "7"])[0]
    assert (gpt2.task, gpt2.steps, gpt2.learning_rate, gpt2.out) == ("causal", 7, 2e-3, "runs/gpt2")
    assert parse_arguments(["--model", "qwen2-moe"])[0].model == "qwen2_moe"
    qwen3 = parse_arguments(["--model", "qwen3"])[0].model_config(512)
    assert qwen3.head_dim == 2 * qwen3.hidden_size // qwen3.num_attention_heads  # as Qwen3-0.6B
    assert parse_arguments([])[0] == TrainConfig()


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("bert", {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
        ("gpt2", {"intermediate_size": 512, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}),
        ("marian", {"activation_function": "relu", "scale_embedding": True}),  # the paper's
        ("marian", {"forced_eos_token_id": None, "max_position_embeddings": 512}),
        ("qwen2_moe", {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128}),
        ("qwen2_moe", {"shared_expert_intermediate_size": 128}),
    ],
)
def test_a_new_model_is_a_small_one(model, settings):
    tokens = {"pad_token_id": 0, "decoder_start_token_id": 0} if model == "marian" else {}
    config = TrainConfig.recipe(model=model).model_config(512, **tokens)
    assert config.tie_word_embeddings and config.vocab_size == 512
    assert {name: getattr(config, name) for name in settings} == settings


def test_a_direction_is_two_fields(capsys):
    for text, fields in (("zh-en", ("zh", "en")), ("en-zh", ("en", "zh")), ("a-b", ("a", "b"))):
        config = parse_arguments(["--model", "marian", "--direction", text])[0]
        assert (config.source, config.target) == fields
    for text in ("zh", "-en", "a-b-c"):
        with pytest.raises(SystemExit, match="2"):
            parse_arguments(["--model", "marian", f"--direction={text}"])
        assert "is not like zh-en" in capsys.readouterr().err
