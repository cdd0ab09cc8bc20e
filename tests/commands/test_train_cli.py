"""What `python -m tinyqwen.train` says and how it ends, with a trainer that does nothing."""

import signal
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import cli, course, train
from tinyqwen.analysis.costs import flops_per_token, training_memory
from tinyqwen.course import capstone
from tinyqwen.text.corpus_files import split_files
from tinyqwen.train import _free, _indented, main, parse_arguments, print_summary
from tinyqwen.training.tasks.causal import Causal
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Stopped

SUMMARY = {
    **{"steps": 1200, "elapsed": 61.6, "tokens_per_second": 23456.7, "train_loss": 1.23456},
    **{
        "val_loss": 1.5,
        "best_step": 900,
        "floor": 1.25,
        "gap": 0.25,
        "shares": {"of_all": 0.125},
        "best_shares": {},
    },
}


def trainer(folder="runs/x", **changes):
    task = SimpleNamespace(sample=lambda model, tokenizer: "Once\n\nmore " + "and " * 30,
                           prompt=lambda tokenizer: "It's me", flags="--chat")  # fmt: skip
    made = dict(folder=folder, step=0, task=task, model=None, tokenizer=None, saved_ranks=1,
                ranks=SimpleNamespace(rank=0, size=1), config=SimpleNamespace(steps=9))  # fmt: skip
    return SimpleNamespace(**{**made, **changes})


def test_the_summary_by_hand(capsys):
    print_summary(trainer(), SUMMARY)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:8] == [
        "",
        "1200 steps in 62 s, 23,457 tokens/s",
        "  training loss     1.235 nats per token   mean of the last 50 steps",
        "  validation loss   1.500 nats per token   best at step 900",
        "  floor             1.250 nats per token   entropy of the text: no model can be below",
        "  above the floor   0.250 nats per token",
        "  (nats: -ln of the probability that the model gave to what came)",
        "  of all                    12.5%",
    ]
    assert lines[8:13] == ["", "A sample:", "", "    Once", "    "]
    assert all(len(line) <= 4 + 88 for line in lines) and lines[13].startswith("    more and and")
    assert lines[-2] == "Files in runs/x: model.safetensors, best/, metrics.jsonl, loss.png"
    words = """Try:  python -m tinyqwen.generate runs/x --chat 'It'"'"'s me'"""
    assert lines[-1] == words


def test_what_is_not_known_is_left_out(capsys):
    nothing = dict.fromkeys(SUMMARY) | {"steps": 0, "elapsed": 0.4, "shares": {}}
    print_summary(trainer(), nothing)
    out = capsys.readouterr().out
    assert "0 steps in 0 s\n" in out and "nats" not in out and "tokens/s" not in out


def test_a_folder_that_is_free(tmp_path):
    folder = tmp_path / "mine"
    assert _free(str(folder)) == str(folder)
    folder.mkdir()
    assert _free(str(folder)) == str(folder)  # empty
    (folder / "x").touch()
    assert _free(str(folder)) == f"{folder}-2"
    (tmp_path / "mine-2").mkdir()
    assert _free(str(folder)) == f"{folder}-2"
    (tmp_path / "mine-2" / "x").touch()
    assert _free(str(folder)) == f"{folder}-3"


def test_lines_are_wrapped_and_empty_ones_kept():
    assert _indented("a b\n\nc d", width=2) == "    a\n    b\n    \n    c\n    d"


class Fake:
    """A Trainer that ends as it is told; `made` keeps how it was called."""

    made, ending, saved, done = None, None, 1, 0

    def __init__(self, config, resume, steps, ranks):
        Fake.made = (config, resume, steps)
        self.__dict__ |= vars(
            trainer(folder=config.out, config=config, saved_ranks=Fake.saved, step=Fake.done)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def train(self):
        if Fake.ending is not None:
            raise Stopped(Fake.ending, 4)
        return SUMMARY


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(train, "Trainer", Fake)
    monkeypatch.setattr(Fake, "ending", None)
    monkeypatch.setattr(Fake, "saved", 1)
    return Fake


@pytest.mark.parametrize("signum, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (0, 130)])
@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_a_stop_tells_how_to_go_on(fake, capsys, signum, status):
    fake.ending = signum
    assert main(["--out", "runs/y", "--steps", "9"]) == status
    out, err = capsys.readouterr()
    assert out == "" and err == (
        "\nstopped after step 4 of 9, saved. Go on with:\n"
        "    python -m tinyqwen.train --out runs/y --resume\n"
    )


@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_resumed_with_more_steps_and_other_ranks(fake, capsys, tmp_path):
    fake.saved = 3
    assert main(["--out", str(tmp_path), "--resume", "--steps", "7"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("The learning rate is now that of a run of 7 steps.\nSo far the run was ")
    assert "that of 3 ranks; its losses with 1 agree" in out
    assert fake.made[1:] == (True, 7)
    fake.saved = 1
    main(["--out", str(tmp_path), "--resume"])
    out = capsys.readouterr().out
    assert "learning rate" not in out and "ranks" not in out and fake.made[1:] == (True, None)


@pytest.mark.filterwarnings("error")
def test_a_run_that_ends_in_its_warmup_is_told(fake):
    with pytest.warns(UserWarning, match=r"rises for 50 steps, so 49 end .*--warmup-steps N"):
        main(["--out", "runs/z", "--steps", "49"])
    main(["--out", "runs/z", "--steps", "50"])
    main(["--out", "runs/z", "--steps", "49", "--warmup-steps", "5"])


@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_a_new_run_is_no_resumed_one(fake):
    assert main(["--out", "runs/z", "--steps", "5"]) == 0
    config, resume, steps = fake.made
    assert (config.out, config.steps, resume, steps) == ("runs/z", 5, False, None)


def test_the_first_setting_that_a_resumed_run_does_not_take(capsys):
    for arguments in (["--steps", "3", "--out", "x"], ["--out", "x"], []):
        assert parse_arguments(["--resume", *arguments])[1].resume
    with pytest.raises(SystemExit):
        parse_arguments(["--resume", "--threads", "2", "--grad-clip", "1", "--steps", "3"])
    assert "leave out --grad-clip" in capsys.readouterr().err


def test_a_students_run_has_a_folder_of_its_own():
    assert parse_arguments(["--student", "code"])[0].out == train.MINE
    assert parse_arguments(["--student", "code", "--out", "o"])[0].out == "o"


@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_a_finished_run_says_how_to_go_on(fake, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(Fake, "done", 9)
    main(["--out", str(tmp_path), "--steps", "9"])
    told = "All 9 steps are done; --steps N goes on to N steps in all."
    assert capsys.readouterr().out.splitlines()[0] == told
    monkeypatch.setattr(Fake, "done", 8)
    main(["--out", str(tmp_path), "--steps", "9"])
    assert told not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_a_students_run_is_marked_before_and_told_after(fake, capsys, monkeypatch, tmp_path):
    """In a free folder, and not where the functions fail, unless it is asked for anyway."""
    calls, failing = [], []
    monkeypatch.setattr(capstone, "shortcomings", lambda folder: failing)
    monkeypatch.setattr(capstone, "begin", lambda *given: calls.append(given))
    monkeypatch.setattr(capstone, "end", lambda *given: calls.append(given) or "Nearly there.")
    monkeypatch.setattr(course, "swap", lambda folder: nullcontext(["silu", "gelu"]))
    out, mine = str(tmp_path / "run"), str(tmp_path)
    arguments = ["--student", mine, "--out", out, "--steps", "9"]
    assert main(arguments) == 0
    assert calls == [(out, mine, False, "causal"), (out, SUMMARY, "causal")]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "yours, wherever the run uses it: silu, gelu", f"The run is in {out}.",
    ]  # fmt: skip
    assert lines[-1] == "Nearly there."
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").touch()
    assert main(arguments) == 0 and calls[-2][0] == f"{out}-2"
    fake.ending = signal.SIGINT
    main(arguments)
    assert capsys.readouterr().err.endswith(f"--out {out}-2 --resume --student {mine}\n")
    failing += [f"f{n} is wrong" for n in range(7)]
    with pytest.raises(ValueError, match=r"\(f0 is wrong; .*f4 is wrong.*2 more.*\): mend that"):
        main(arguments)
    assert len(calls) == 5 and main([*arguments, "--anyway"]) == 130 and len(calls) == 6


def test_a_plan_by_hand(capsys, monkeypatch):
    """Of half a second a step; numbers of parameters are those of the weights themselves."""
    monkeypatch.setattr(train, "_seconds_per_step", lambda model, task, rng: 0.5)
    sizes = "--hidden-size 16 --intermediate-size 24 --num-hidden-layers 1 --seq-len 32"
    command = f"--steps 0 --tokenizer char --batch-size 3 --grad-accumulation 2 {sizes}"
    assert main(command.split()) == 0
    out = capsys.readouterr().out
    config = parse_arguments(command.split())[0]
    tokenizer = Causal(config).new_tokenizer(split_files(config.data)[0])
    model = tq.Qwen2ForCausalLM(config.model_config(tokenizer.vocab_size))
    sizes = {name: p.size for name, p in model.named_parameters()}
    assert out.startswith(f"{model} \n\n{sum(sizes.values()):,} parameters:\n")
    table = sizes["model.embed_tokens.weight"]
    (line,) = (line for line in out.splitlines() if line.startswith("  embed"))
    assert line.split()[-2:] == [f"{table:,}", f"{table / sum(sizes.values()):.1%}"]
    flops = sum(flops_per_token(model, 32, training=True, causal=True).values())
    six = 6 * sum(sizes.values())
    assert f"\nfloating-point operations per token: {flops:,.0f} (6N: {six:,})\n" in out
    memory = training_memory(model, 3, 32)
    parts = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in memory.items())
    assert f"memory: about {sum(memory.values()) / 1e6:,.0f} MB ({parts})\n" in out
    speed = flops * 192 / 0.5 / 1e9
    assert out.endswith(
        f"time: 0.500 s a step of 192 tokens, {speed:,.0f} GFLOP/s; 450 steps, the default, "
        "take about 225 s\n"
    )


def test_a_step_is_timed_without_the_first(monkeypatch):
    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 25.0, 30.0, 32.0])  # 9, 1, 5 and 2 seconds
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(train, "DataParallel", lambda *given: nullcontext(
        SimpleNamespace(step=lambda: None)))  # fmt: skip
    given = []
    monkeypatch.setattr(train, "clipped_gradients", lambda *more: given.append(more[2:]))
    config = TrainConfig(batch_size=2, grad_accumulation=3, seq_len=4, grad_clip=0.5)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    sizes |= {"num_key_value_heads": 1, "intermediate_size": 8}
    model = tq.Qwen2ForCausalLM(tq.Qwen2Config(vocab_size=5, **sizes))
    assert train._seconds_per_step(model, Causal(config), np.random.default_rng(0)) == 2.0
    assert len(given) == 4
    batches, items, clip = given[0]
    assert [part["input_ids"].shape for part in batches] == [(2, 4)] * 3
    assert (items, clip) == (6 * 3, 0.5)


@pytest.mark.parametrize(
    "error, said",
    [
        (ValueError("two\n lines"), "two lines"),
        (ValueError(), "ValueError"),
        (OSError(28, "full", "a/b"), "a/b: full"),
        (OSError("just words"), "just words"),
        (FileNotFoundError("no file"), "no file"),
        (MemoryError("too large"), "too large"),
    ],
)
def test_bad_input_is_told_in_a_line(error, said, monkeypatch, capsys):
    def fail():
        raise error

    monkeypatch.setattr(sys, "argv", ["/x/train.py"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ending:
            cli.run(fail)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ending.value.code == 2
    assert capsys.readouterr() == ("", f"tinyqwen.train: {said}\n")
