"""`python -m tinyqwen.compress`: smaller folders that open, and bad input in one line."""

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
