"""Tokens and rows at their edges: the last place, the first one, the step over an epoch's end."""

import json
from itertools import pairwise

import numpy as np
import pytest

from tinyqwen.text.corpus_files import split_files
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.data import (
    TokenDataset,
    open_corpus,
    prepare_corpus,
    rows_of_step,
    sample_batch,
    token_dtype,
)
from tinyqwen.training.records import dealt_by_length
from tinyqwen.training.tasks.causal import Causal
from tinyqwen.training.train_config import TrainConfig


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["abcdefgh \n."], kind="char")


def corpus(folder, documents, tokenizer, seq_len):
    """Documents, a line each, prepared in folder / "tokens"."""
    lines = [json.dumps({"text": text}) + "\n" for text in documents]
    (folder / "all.jsonl").write_text("".join(lines))
    prepare_corpus(split_files(folder / "all.jsonl"), tokenizer, folder / "tokens", seq_len)
    return open_corpus(folder / "tokens", tokenizer.vocab_size, seq_len)


def test_the_smallest_integers_that_hold_the_ids():
    assert [token_dtype(n) for n in (512, 65_536, 65_537)] == [np.uint16, np.uint16, np.uint32]


@pytest.mark.parametrize("seq_len, cut", [(11, 190), (12, 190), (21, 180)])
def test_what_is_held_out_begins_with_a_document(tmp_path, tokenizer, seq_len, cut):
    """Twenty documents of ten tokens; a twentieth of the 201 tokens, but at least a row.

    A cut at 190, 189 or 180: it moves on to the next document, if it is not at one.
    """
    train, validation, floor = corpus(tmp_path, ["a" * 9] * 20, tokenizer, seq_len)
    assert len(train.tokens) == cut + 1 and len(validation.tokens) == 201 - cut
    assert train.tokens[-1] == validation.tokens[0] == tokenizer.eos_token_id
    assert floor is None
    whole = np.concatenate([train.tokens[:-1], validation.tokens])
    assert whole.tolist() == [tokenizer.eos_token_id, *(tokenizer.encode("a" * 9)
                              + [tokenizer.eos_token_id]) * 20]  # fmt: skip


def test_twice_a_row_is_enough(tmp_path, tokenizer):
    train, validation, _ = corpus(tmp_path, ["abcdefg" * 2], tokenizer, 8)  # 16 tokens
    assert len(train.tokens) == 9 and len(validation.tokens) == 8
    with pytest.raises(ValueError, match=r"has 16 tokens, too few for .* rows of 9"):
        corpus(tmp_path, ["abcdefg" * 2], tokenizer, 9)


@pytest.mark.parametrize(
    "change, damaged",
    [
        (lambda starts, n: starts, False),
        (lambda starts, n: [*starts[:-1], n - 2], False),
        (lambda starts, n: [*starts[:-1], n - 1], True),
        (lambda starts, n: [starts[1], *starts[1:]], True),
        (lambda starts, n: [-1, *starts[1:]], True),
    ],
)
def test_positions_of_documents_are_checked(tmp_path, tokenizer, change, damaged):
    train, *_ = corpus(tmp_path, ["abc"] * 40, tokenizer, 4)
    file, n = tmp_path / "tokens" / "train_starts.bin", len(train.tokens)
    starts = np.fromfile(file, np.int64).tolist()
    del train
    np.array(change(starts, n), np.int64).tofile(file)
    if damaged:
        with pytest.raises(ValueError, match="positions are damaged"):
            open_corpus(tmp_path / "tokens", tokenizer.vocab_size, 4)
    else:
        open_corpus(tmp_path / "tokens", tokenizer.vocab_size, 4)


@pytest.mark.parametrize("nats", [0, -1.0, True, "3", 1e301])
def test_an_entropy_that_is_none_is_refused(tmp_path, tokenizer, nats):
    corpus(tmp_path, ["abc"] * 40, tokenizer, 4)
    index = tmp_path / "tokens" / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "entropy_nats": nats}))
    with pytest.raises(ValueError, match="expected a positive number"):
        open_corpus(tmp_path / "tokens", tokenizer.vocab_size, 4)


def test_the_floor_is_by_target(tmp_path, tokenizer):
    corpus(tmp_path, ["abc"] * 40, tokenizer, 4)
    index = tmp_path / "tokens" / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "entropy_nats": 6.0}))
    _, validation, floor = open_corpus(tmp_path / "tokens", tokenizer.vocab_size, 4)
    assert floor == 6.0 / (len(validation.tokens) - 1)


def test_rows_are_dealt_out_over_the_ends_of_epochs():
    dealt = [n for step in range(9) for n in rows_of_step(5, 3, seed=4, step=step)]
    epochs = [dealt[first : first + 5] for first in range(0, 25, 5)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1  # each has an order of its own
    assert dealt != [n for step in range(9) for n in rows_of_step(5, 3, seed=5, step=step)]


def test_steps_get_rows_of_like_length(rng):
    lengths = rng.integers(3, 60, 512)
    dealt = dealt_by_length(lengths, 16, rng)
    assert sorted(dealt.ravel().tolist()) == list(range(512))  # each row once
    spans = sorted((lengths[rows].min(), lengths[rows].max()) for rows in dealt)
    assert all(longest <= shortest for (_, longest), (shortest, _) in pairwise(spans))
    means = lengths[dealt].mean(1)
    assert (np.diff(means) < 0).any() and (np.diff(means) > 0).any()  # in no order of lengths


def test_the_last_row_ends_with_the_tokens():
    tokens, starts = np.arange(10, dtype=np.uint16), np.array([0, 5, 6, 9])
    rows = {tuple(row) for row in sample_batch(tokens, starts, 4, 4, 0, 0).tolist()}
    assert rows == {(0, 1, 2, 3), (5, 6, 7, 8), (6, 7, 8, 9)}
    assert sample_batch(tokens, starts, 4, 4, 0, 0).dtype == np.int64
    assert sample_batch(tokens, np.array([0]), 10, 1, 0, 0).tolist() == [list(range(10))]


def test_rows_of_evaluation():
    """Documents of 2 and 6 tokens, rows of 4: what is behind a document's end does not count."""
    tokens = np.array([0, 1, 2, 0, 3, 4, 5, 6, 7, 8, 0], np.uint16)
    data = TokenDataset(tokens, np.array([0, 3]), seq_len=4)
    (batch,) = data.evaluation_batches(9)
    rows = {tuple(row) for row in batch["labels"].tolist()}
    assert rows == {(0, 1, 2, 0), (0, 3, 4, 5), (5, 6, 7, 8), (8, 0, -100, -100)}
    assert data.num_targets == 10 == (batch["labels"][:, 1:] != -100).sum()
    padding = batch["labels"] == -100
    assert (batch["input_ids"][padding] == 0).all()
    assert (batch["input_ids"][~padding] == batch["labels"][~padding]).all()


@pytest.mark.parametrize("most, starts", [(1, [0]), (2, [0, 16]), (3, [0, 8, 16]), (9, None)])
def test_a_sample_of_rows_is_spread(most, starts):
    data = TokenDataset(np.arange(21, dtype=np.uint16), np.arange(0, 20, 4), seq_len=5)
    batches = list(data.evaluation_batches(2, max_rows=most))
    assert [b["input_ids"][i, 0] for b in batches for i in range(len(b["input_ids"]))] == (
        starts or [0, 4, 8, 12, 16]
    )
    assert max(len(b["labels"]) for b in batches) <= 2


def test_every_epoch_of_every_seed_has_an_order_of_its_own():
    """Also where seed and epoch add up to the same."""
    orders = {(seed, epoch): tuple(rows_of_step(12, 12, seed, epoch)) for seed in range(3)
              for epoch in range(3)}  # fmt: skip
    assert len(set(orders.values())) == 9


def test_a_prompt_begins_with_a_whole_character():
    """What is held out of one long document may begin with the last bytes of a character."""
    tokenizer = Tokenizer.train(["一二 三四 " * 9], vocab_size=259)  # bytes alone
    tokens = np.array([tokenizer.eos_token_id, *tokenizer.encode("一二 三四 五 六 七")[1:]])
    task = Causal(TrainConfig())
    task.validation_data = TokenDataset(tokens, np.zeros(1, np.int64), 99)
    assert task.prompt(tokenizer) == "二 三四 五 六"
