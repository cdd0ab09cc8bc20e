"""The studies of tuning: a few steps of each, and what their rows count."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.benchmark.relatives import columns
from tinyqwen.training import studies
from tinyqwen.training.tasks import chat

pytestmark = pytest.mark.slow
SHORT = {"steps": 2}


def test_ranks(tmp_path, monkeypatch):
    monkeypatch.setattr(chat, "ANSWERS", 8)
    whole, thin = studies.ranks(tmp_path, ranks=(0, 2), **SHORT)
    model = tq.AutoModelForCausalLM.from_pretrained(studies.BASE)
    assert whole["numbers trained"] == model.num_parameters()
    layers = [m for n, m in model.named_modules() if n.endswith("_proj")]
    expected = sum(2 * (layer.in_features + layer.out_features) for layer in layers)
    assert thin["numbers trained"] == expected and thin["bytes for them"] == 16 * expected
    assert columns(thin, header=True).count("\n") == 2


def test_classifiers(tmp_path):
    rows = list(studies.classifiers(tmp_path, seeds=1, bert=_reader(tmp_path / "bert"), **SHORT))
    assert len(rows) == 5 and all(0 <= r["least"] <= r["accuracy"] <= r["most"] <= 1 for r in rows)


def _reader(folder):
    studies.trained(folder, model="bert", **SHORT, vocab_size=300)
    return folder


def test_students(tmp_path):
    (row,) = studies.students(tmp_path, seeds=1, **SHORT)
    assert row["gain"] == row["alone"] - row["with a teacher"]
    assert 0 < row["above the grammar"] < row["with a teacher"]


def test_pruned(tmp_path):
    rows = list(studies.pruned(tmp_path, count=8, **SHORT))
    assert len({row["before"] for row in rows}) == 1
    assert all(row["after"] > row["before"] for row in rows)
    assert [row["healed"] is None for row in rows] == [False, False, True, True]
    assert all(np.isfinite(row["healed"]) for row in rows[:2])
