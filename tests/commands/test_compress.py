"""`python -m tinyqwen.compress`: smaller folders that open, and bad input in one line."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import cli, compress

RUN = Path(__file__).resolve().parents[2] / "data" / "model"
FEW = ("--texts", "6")


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "arguments, share",
    [
        (("--bits", "8"), (0.26, 0.32)),
        (("--bits", "4"), (0.15, 0.22)),
        (("--bits", "2", "--group-size", "32", "--method", "gptq"), (0.1, 0.2)),
        (("--prune-heads", "2"), (0.9, 0.95)),
        (("--prune-layers", "1"), (0.75, 0.8)),
        (("--sparsity", "0.3"), (1, 1)),
        (("--sparsity", "2:4", "--method", "magnitude"), (1, 1)),
    ],
)
def test_a_smaller_relative(tmp_path, capsys, arguments, share):
    out = tmp_path / "new" / "out"
    assert compress.main([str(RUN), str(out), *arguments, *FEW]) == 0
    size = (out / "model.safetensors").stat().st_size / (RUN / "model.safetensors").stat().st_size
    assert share[0] <= size <= share[1]
    assert "validation loss" in capsys.readouterr().out
    model = tq.AutoModelForCausalLM.from_pretrained(out)
    ids = tq.Tokenizer.from_pretrained(out).encode("Once upon a time")
    assert np.isfinite(model(np.array([ids])).logits.data).all()
    assert files(out.parent) == ["out"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--bits", "3"), "bits must be 2, 4 or 8, not 3"),
        (("--bits", "4", "--group-size", "48"), "group_size 48 does not divide the 128 inputs"),
        (("--bits", "8", "--group-size", "0"), "group_size must be a positive integer, not 0"),
        (("--bits", "4", "--method", "gptq", "--texts", "1"), "gptq needs at least"),
        (("--bits", "4", "--method", "wanda"), "--method wanda"),
        (("--prune-heads", "4"), "a layer has 4 heads"),
        (("--prune-layers", "4"), "of 4 layers, 4 cannot"),
        (("--prune-layers", "1", "--group-size", "8"), "--group-size is for --bits"),
        (("--prune-heads", "1", "--group-size", "8"), "--group-size is for --bits"),
        (("--sparsity", "0.5", "--group-size", "0"), "--group-size is for --bits"),
        (("--bits", "8", "--texts", "0"), "--texts must be at least 1, not 0"),
        (("--sparsity", "half"), "--sparsity must be"),
        (("--sparsity", "1.5"), "sparsity must be above 0"),
        (("--bits", "8", "--data", str(RUN / "nowhere")), "nowhere"),
        ((), "required"),
        (("--bits", "8", "--sparsity", "0.5"), "not allowed"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, words, monkeypatch):
    monkeypatch.setattr("sys.argv", ["compress"])
    monkeypatch.setattr(compress, "mean_loss", lambda model, texts: 0.0)  # half a second each
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        cli.run(lambda: compress.main([str(RUN), str(out), *FEW, *arguments]))
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and error.count("\n") == 1
    assert not files(tmp_path)


def test_an_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(FileExistsError, match="exists already"):
        compress.main([str(RUN), str(tmp_path), "--bits", "8"])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        compress.main([str(tmp_path / "nowhere"), str(tmp_path / "out"), "--bits", "8"])


def test_what_does_not_write_on_is_refused_by_name(tmp_path):
    config = tq.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    tq.BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="holds a BertForMaskedLM; compress takes models"):
        compress.main([str(tmp_path / "bert"), str(tmp_path / "out"), "--bits", "8"])


@pytest.mark.parametrize(
    ("given", "method", "sparsity"),
    [
        ("--bits 4", "rtn", None),
        ("--bits 4 --method gptq", "gptq", None),
        ("--sparsity 0.25", "wanda", 0.25),
        ("--sparsity 2:4 --method magnitude", "magnitude", "2:4"),
        ("--prune-heads 1", None, None),
        ("--prune-layers 1", None, None),
    ],
)
def test_what_is_not_said_is_the_first_way(given, method, sparsity):
    options = compress.parse_arguments(["a", "b", *given.split()])
    assert (options.method, options.sparsity) == (method, sparsity)
    assert (options.texts, options.group_size) == (128, None)
    assert Path(options.data) == RUN.parent / "stories"


def test_a_method_is_of_bits_or_of_sparsity():
    for way in ("--prune-heads", "--prune-layers"):
        with pytest.raises(ValueError, match="--method wanda is not for this: -"):
            compress.parse_arguments(["a", "b", way, "1", "--method", "wanda"])
    with pytest.raises(ValueError, match="--method rtn is not for this: wanda or magnitude"):
        compress.parse_arguments(["a", "b", "--sparsity", "0.5", "--method", "rtn"])


@pytest.mark.parametrize(
    ("given", "called", "arguments", "settings"),
    [
        ("--bits 4", "quantize", (4,), {"group_size": 128, "method": "rtn"}),
        (
            "--bits 2 --group-size 8 --method gptq",
            "quantize",
            (2,),
            {"group_size": 8, "method": "gptq"},
        ),
        ("--prune-heads 3", "prune_heads", (3, "texts"), {}),
        ("--prune-layers 2", "prune_layers", (2, "texts"), {}),
        ("--sparsity 0.5", "prune_weights", (0.5, "texts"), {}),
        ("--sparsity 0.5 --method magnitude", "prune_weights", (0.5, None), {}),
    ],
)
def test_options_reach_what_they_are_for(given, called, arguments, settings, monkeypatch):
    calls = []
    for name in ("quantize", "prune_heads", "prune_layers", "prune_weights"):
        monkeypatch.setattr(
            compress, name, lambda *given, name=name, **more: calls.append((name, given, more))
        )
    compress.compress("model", compress.parse_arguments(["a", "b", *given.split()]), "texts")
    more = {**settings, "calibration": "texts"} if called == "quantize" else {}
    assert calls == [(called, ("model", *arguments), more)]


def test_what_is_printed_by_hand(tmp_path, capsys, monkeypatch):
    """Sizes without the trainer's state, losses before and after, and what to try next."""
    run, out, losses = tmp_path / "a run", tmp_path / "out", [2.0, 2.25]
    shutil.copytree(RUN, run)
    (run / "trainer_state.safetensors").write_bytes(b"x" * 1000)
    monkeypatch.setattr(compress, "compress", lambda model, options, texts: model)
    monkeypatch.setattr(compress, "mean_loss", lambda model, texts: losses.pop(0))
    asked, chosen = [], compress.calibration_and_validation

    def texts_of(tokenizer, data, count, length):
        asked.append((data, count, length))
        return chosen(tokenizer, data, 1, length)

    monkeypatch.setattr(compress, "calibration_and_validation", texts_of)
    assert compress.main([str(run), str(out), "--bits", "8", "--texts", "3"]) == 0
    assert asked == [(str(compress.STORIES), 3, 512)]
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (run, out)]
    disk, loss, tip = capsys.readouterr().out.splitlines()
    assert disk.split() == [*["weights", "on", "disk"], f"{sizes[0]:,}", "->", f"{sizes[1]:,}",
                            "bytes", f"({sizes[1] / sizes[0]:.3f})"]  # fmt: skip
    assert loss.split() == [*["validation", "loss", "2.0000", "->", "2.2500", "nats", "(+0.2500)"]]
    said = shlex.split(tip.removeprefix("Try:  "))
    assert said[:4] == ["python", "-m", "tinyqwen.generate", str(out)] and len(said) == 5
    assert len(said[4].split()) == 4
    assert (out / "train_config.json").read_bytes() == (run / "train_config.json").read_bytes()
    assert files(tmp_path) == ["a run", "out"]
