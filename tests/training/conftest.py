"""A small corpus for each task, with a split; and runs that draw no picture."""

import json

import numpy as np
import pytest

from tinyqwen.training.tasks import TASKS
from tinyqwen.training.trainer import Trainer

ENGLISH = ["the", "cat", "sat", "on", "mat", "and", "saw", "one", "red", "hen", "in", "old"]
CHINESE = "猫坐在垫子上看见一只红母鸡"


DRAW = Trainer._plot


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """A run ends with a picture of its loss, which takes four times as long as these small runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_plot", lambda self: None)
        yield


@pytest.fixture
def pictures(monkeypatch):
    """For a test that looks at them."""
    monkeypatch.setattr(Trainer, "_plot", DRAW)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """{task: a small corpus with a split}."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("corpora")
    for task in TASKS:
        (folder / task).mkdir()

    def sentence():
        return " ".join(rng.choice(ENGLISH, 5)).capitalize() + "."

    for split, count in (("train", 60), ("validation", 12)):
        stories = [" ".join(sentence() for _ in range(3)) for _ in range(count)]
        pairs = [{"zh": "".join(rng.choice(list(CHINESE), 4)), "en": sentence()} for _ in stories]
        for task in ("causal", "masked"):
            text = "\n<|endoftext|>\n".join(stories)
            (folder / task / f"{split}.txt").write_text(text, encoding="utf-8")
        for task, lines in {"translate": pairs, **_questions(stories, rng)}.items():
            text = "\n".join(map(json.dumps, lines))
            (folder / task / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return {task: folder / task for task in TASKS}


def _questions(stories, rng):
    """Who is named first: as a question, and as a label."""
    firsts = [story.split()[0].lower() for story in stories]
    chat = [
        [
            ("user", f"{story.split('.')[0]}. What is first?"),
            ("assistant", first),
            ("user", "Thanks."),
        ]
        + [("assistant", "Yes.")] * (n % 2)
        for n, (story, first) in enumerate(zip(stories, firsts))
    ]
    return {
        "chat": [{"messages": [{"role": r, "content": c} for r, c in turns]} for turns in chat],
        "classify": [
            {"text": f"{first} {first} {first}", "label": "early" if first < "o" else "late"}
            for first in firsts
        ],
    }
