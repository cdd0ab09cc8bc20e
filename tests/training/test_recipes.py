"""Each family and task with its default recipe on the bundled data, to the end."""

import pytest

from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(3600)]


def finish(tmp_path, **given):
    """Train to the last step; returns the trainer and its summary."""
    with Trainer(TrainConfig.recipe(out=str(tmp_path / "run"), **given)) as trainer:
        return trainer, trainer.train()


@pytest.mark.parametrize("model", ["gpt2", "llama", "qwen3", "qwen2-moe"])
def test_writers_come_near_the_floor(model, tmp_path):
    assert 0 < finish(tmp_path, model=model)[1]["gap"] <= 0.10


def test_a_reader_knows_which_sentence_follows(tmp_path):
    assert finish(tmp_path, model="bert")[1]["shares"]["next_sentence_accuracy"] >= 0.95


@pytest.mark.parametrize(("source", "target"), [("zh", "en"), ("en", "zh")])
def test_translations_are_exact(source, target, tmp_path):
    """Of 300 sentences that the training pairs do not have; and sacrebleu's BLEU beside it."""
    trainer, summary = finish(tmp_path, model="marian", source=source, target=target)
    assert summary["shares"]["exact"] >= 0.99
    sacrebleu = pytest.importorskip("sacrebleu")
    written, wanted = [], []
    for batch in trainer.task.evaluation_batches():
        ids = trainer.task.translate(
            trainer.model.eval(), batch["input_ids"], batch["attention_mask"]
        )
        written += trainer.tokenizer.batch_decode(ids, skip_special_tokens=True)
        labels = [[token for token in row if token != -100] for row in batch["labels"].tolist()]
        wanted += trainer.tokenizer.batch_decode(labels, skip_special_tokens=True)
    tokenize = "zh" if target == "zh" else "13a"
    assert sacrebleu.corpus_bleu(written, [wanted], tokenize=tokenize).score >= 99
