"""The checkpoint in data/model is what `train` makes with its defaults, and it can tell stories."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer

FOLDER = Path(__file__).parents[2] / "data" / "model"
SETTINGS = json.loads((FOLDER / "train_config.json").read_text())
VALIDATION_LOSS = json.loads((FOLDER / "metrics.jsonl").read_text().splitlines()[-1])["val_loss"]


def test_it_was_made_with_the_default_recipe():
    defaults = vars(TrainConfig(data=SETTINGS["data"], out=SETTINGS["out"]))
    assert {**defaults, "threads": None} == {**SETTINGS, "threads": None}
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) < 4e6


def test_it_copies_from_the_sentence_before():
    """What is lost is what was gotten: the color is written only once, and must be remembered."""
    model = tq.Qwen2ForCausalLM.from_pretrained(FOLDER).eval()
    tokenizer = tq.Tokenizer.from_pretrained(FOLDER)
    for color in ("blue", "red", "green"):
        start = (
            f"<|endoftext|>Once upon a time, there was a boy named Tom. Tom got a {color} kite. One"
        )
        ids = [tokenizer.encode(start + " evening, Tom lost the")]
        with tq.no_grad():
            logits = model(ids).logits.data[0, -1]
        assert tokenizer.decode([np.argmax(logits)]) == f" {color}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("steps", "gap"),
    [
        (TrainConfig.steps, 0.10),
        pytest.param(2 * TrainConfig.steps, 0.05, marks=pytest.mark.nightly),
    ],
)
def test_the_recipe_reaches_the_floor(steps, gap, tmp_path):
    """With its defaults `train` ends where the bundled run did; with twice the steps still lower.

    Rounding differs from machine to machine and grows as training goes on: hence the hundredth.
    """
    with Trainer(TrainConfig(out=str(tmp_path / "run"), steps=steps)) as trainer:
        summary = trainer.train()
    assert 0 < summary["gap"] <= gap
    if steps == SETTINGS["steps"]:
        assert summary["val_loss"] == pytest.approx(VALIDATION_LOSS, abs=0.01)
