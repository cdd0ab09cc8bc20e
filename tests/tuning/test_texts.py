"""Texts to calibrate and to measure on: what a row holds, what is counted, which split it is of."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.tuning import texts as room
from tinyqwen.tuning.texts import calibration_and_validation, mean_loss, text_rows

END = "<|endoftext|>"
TOKENIZER = tq.Tokenizer.train(["abcde "], kind="char")


def write(path, *documents):
    path.write_text(f"\n{END}\n".join(documents), encoding="utf-8")
    return path


def read(ids, labels):
    """The rows' texts, the padding left out."""
    assert ((ids == labels) | (labels == -100)).all()
    return [TOKENIZER.decode(row[keep]) for row, keep in zip(ids, labels != -100)]


def test_a_row_is_a_document_between_ends(tmp_path, monkeypatch):
    """Of like length together, filled up with what does not count, cut where it is too long."""
    monkeypatch.setattr(room, "BATCH", 2)
    file = write(tmp_path / "a.txt", "abc", "a", "ab", "abcde", "e")
    batches = text_rows(TOKENIZER, [file], 4, 6)
    assert [ids.shape for ids, _ in batches] == [(2, 4), (2, 6)]
    assert [read(*batch) for batch in batches] == [
        [f"{END}a{END}", f"{END}ab{END}"], [f"{END}abc{END}", f"{END}abcde"],
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no documents in"):
        text_rows(TOKENIZER, [write(tmp_path / "none.txt", "")], 4, 6)


def test_what_is_held_out_is_what_is_measured(tmp_path):
    write(tmp_path / "train.txt", *["ab"] * 9)
    write(tmp_path / "validation.txt", *["cd"] * 9)
    calibration, measured = calibration_and_validation(TOKENIZER, tmp_path, 2, 8)
    assert [TOKENIZER.decode(row[1:3]) for ids in calibration for row in ids] == ["ab"] * 2
    found = [text for batch in measured for text in read(*batch)]
    assert found == [f"{END}cd{END}"] * 8
    alone = calibration_and_validation(TOKENIZER, tmp_path / "train.txt", 2, 8)[1]
    assert read(*alone[0])[0] == f"{END}ab{END}"


def test_a_mean_over_tokens_and_not_over_batches(rng):
    """Every label but a row's first is predicted, from all before it."""
    tq.manual_seed(0)
    config = tq.Qwen2Config(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                            num_attention_heads=1, num_key_value_heads=1,
                            initializer_range=0.5)  # fmt: skip
    model, losses = tq.Qwen2ForCausalLM(config).eval(), []
    batches = [(ids := rng.integers(0, 9, shape), ids.copy()) for shape in ((1, 3), (4, 7))]
    batches[1][1][0, 4:] = -100
    for ids, labels in batches:
        logits = model(ids).logits.data.astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses += [-log_p[b, t - 1, labels[b, t]] for b, t in np.argwhere(labels != -100) if t]
    assert len(losses) == 2 + 3 + 3 * 6
    assert mean_loss(model, batches) == pytest.approx(np.mean(losses), rel=1e-5)
