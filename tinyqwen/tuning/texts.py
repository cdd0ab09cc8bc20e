"""Texts to calibrate and to measure a changed model on."""

from itertools import islice
from pathlib import Path

import numpy as np

from tinyqwen.autograd.grad_mode import no_grad
from tinyqwen.text.corpus_files import split_files
from tinyqwen.text.documents import documents

STORIES = Path(__file__).resolve().parents[2] / "data" / "stories"
BATCH = 32  # documents of like length that are read together


def text_rows(tokenizer, files, count, length):
    """Batches of the first `count` documents, each between end-of-text tokens, cut to `length`.

    Returns a list of (ids, labels), integers (B, T): documents of one length after another, filled
    up with tokens whose label, -100, does not count.
    """
    end, rows = tokenizer.eos_token_id, []
    for pieces in islice(documents(files), count):
        ids = [i for piece in tokenizer.encode_pieces(pieces) for i in piece]
        rows.append(np.array([end, *ids, end][:length]))
    if not rows:
        raise ValueError(f"no documents in {', '.join(map(str, files))}")
    rows.sort(key=len)
    batches = []
    for start in range(0, len(rows), BATCH):
        group = rows[start : start + BATCH]
        ids = np.full((len(group), len(group[-1])), end)
        labels = np.full(ids.shape, -100)
        for i, row in enumerate(group):
            ids[i, : len(row)] = labels[i, : len(row)] = row
        batches.append((ids, labels))
    return batches


def calibration_and_validation(tokenizer, data, count, length):
    """(arrays of ids to calibrate on, batches for `mean_loss`) of a corpus, text file or folder.

    Without a split of its own, a corpus is measured on what it is calibrated on.
    """
    training, held_out = split_files(data)
    calibration = [ids for ids, _ in text_rows(tokenizer, training, count, length)]
    return calibration, text_rows(tokenizer, held_out or training, 4 * count, length)


def mean_loss(model, batches):
    """Loss in nats per token over (ids, labels) batches."""
    total = tokens = 0
    with no_grad():
        for ids, labels in batches:
            count = int(np.count_nonzero(labels[:, 1:] != -100))
            total += model(ids, labels=labels, skip_logits=True).loss.item() * count
            tokens += count
    return total / max(1, tokens)
