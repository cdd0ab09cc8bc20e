"""Corpora, tokens, and batches."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tinyqwen.text.corpus_files import split_files
from tinyqwen.text.documents import documents, in_pieces
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training import data
from tinyqwen.training.data import (
    TokenDataset,
    open_corpus,
    prepare_corpus,
    tokenize_to_file,
)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["abcdefgh \n."], kind="char")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_token_stream(tmp_path, tokenizer):
    starts = tokenize_to_file([["a", "b"], [], ["cde"]], tokenizer, tmp_path / "t.bin")
    tokens = np.fromfile(tmp_path / "t.bin", np.uint16)
    end = tokenizer.eos_token_id
    assert tokens.tolist() == [end, *tokenizer.encode("ab"), end, *tokenizer.encode("cde"), end]
    assert starts.tolist() == [0, 3]


class Bar:
    """What is shown of progress: how much there is in all, and what has been told of it."""

    def __init__(self, total, **form):
        self.total, self.told = total, []
        self.update = self.told.append

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def test_the_bar_of_tokenizing_ends_full(tmp_path, monkeypatch, tokenizer):
    """It counts bytes, of which a character may have several."""
    bars = []
    monkeypatch.setattr(data, "tqdm", lambda **form: bars.append(Bar(**form)) or bars[-1])
    (tmp_path / "a.txt").write_text("猫 é a\n" * 99 + "🐈", encoding="utf-8")
    (tmp_path / "b.txt").write_text("abc", encoding="utf-8")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    texts = ["".join(pieces) for pieces in data._counted(files)]
    assert texts == [file.read_text(encoding="utf-8") for file in files]
    (bar,) = bars
    assert sum(bar.told) == bar.total == 99 * 9 + 4 + 3


def test_long_documents_tokenize_as_a_whole(tmp_path):
    text = "The cat sat.\n\n  It's 3 o'clock!\n" * 40 + "no newline at the end " * 40
    tokenizer = Tokenizer.train([text], vocab_size=290)
    pieces = list(in_pieces([text], 50))
    assert len(pieces) > 30 and max(map(len, pieces)) < 100
    tokenize_to_file([pieces], tokenizer, tmp_path / "t.bin")
    assert np.fromfile(tmp_path / "t.bin", np.uint16)[1:-1].tolist() == tokenizer.encode(text)


def dataset(lengths, seq_len):
    """Documents of the given lengths; token 0 ends a document, the others count up."""
    tokens, starts = [0], []
    for n in lengths:
        starts.append(len(tokens) - 1)
        tokens += [*range(len(tokens), len(tokens) + n), 0]
    return TokenDataset(np.array(tokens, np.uint16), np.array(starts), seq_len)


def test_every_row_begins_at_a_document_or_inside_a_long_one():
    data = dataset([3, 10, 2], seq_len=5)
    # the second document's 11 targets need three rows of 4, each beginning where the last ended
    assert data.starts.tolist() == [0, 4, 8, 12, 15]


def test_evaluation_predicts_every_token_once():
    data = dataset([3, 10, 2, 1, 30], seq_len=5)
    seen = []
    for ids, labels in map(dict.values, data.evaluation_batches(2)):
        assert ids.shape == labels.shape and ids.shape[1] <= 5
        counted = labels[:, 1:] != -100
        np.testing.assert_array_equal(ids[:, 1:][counted], labels[:, 1:][counted])
        seen += labels[:, 1:][counted].tolist()
    assert sorted(seen) == sorted(data.tokens[1:].tolist())
    assert data.num_targets == len(seen)


def test_evaluation_sample_is_spread_over_the_corpus():
    data = dataset([3] * 100, seq_len=5)
    ids = np.concatenate([b["input_ids"] for b in data.evaluation_batches(8, max_rows=4)])
    assert sorted(ids[:, 1].tolist()) == [1, 133, 265, 397]


def test_batches_are_a_function_of_seed_and_step():
    data = dataset([7, 3, 20, 5, 4], seq_len=6)
    first = [data.batch(1, step, 3) for step in range(6)]
    again = [dataset([7, 3, 20, 5, 4], 6).batch(1, step, 3) for step in reversed(range(6))]
    for a, b in zip(first, reversed(again)):
        np.testing.assert_array_equal(a, b)
    other = np.concatenate([data.batch(2, step, 3) for step in range(6)])
    assert not np.array_equal(np.concatenate(first), other)


def test_an_epoch_holds_every_row_once():
    data = dataset([3] * 12, seq_len=5)
    rows = np.concatenate([data.batch(0, step, 4) for step in range(3)])
    np.testing.assert_array_equal(np.sort(rows[:, 1]), np.sort(data.tokens[data.starts + 1]))


@pytest.mark.parametrize(("documents_", "cut_at_document"), [(40, True), (1, False)])
def test_held_out_text(tmp_path, tokenizer, documents_, cut_at_document):
    text = "\n<|endoftext|>\n".join(["abcdefgh" * (400 // documents_)] * documents_)
    path = write(tmp_path / "x.txt", text)
    prepare_corpus(split_files(path), tokenizer, tmp_path / "tokens", seq_len=8)
    train, validation, floor = open_corpus(tmp_path / "tokens", tokenizer.vocab_size, 8)
    whole = tokenizer.encode("abcdefgh" * (400 // documents_))
    total = 1 + documents_ * (len(whole) + 1)
    assert len(train.tokens) + len(validation.tokens) - 1 == total
    assert floor is None and 0.02 * total < len(validation.tokens) < 0.1 * total
    assert (validation.tokens[0] == tokenizer.eos_token_id) == cut_at_document


def test_floor_is_entropy_by_predicted_token(tmp_path, tokenizer):
    write(tmp_path / "data" / "train.txt", "abc\n<|endoftext|>\nde\n" * 9)
    write(tmp_path / "data" / "validation.txt", "ab\n<|endoftext|>\ncde\n")
    write(tmp_path / "data" / "entropy.json", json.dumps({"nats": 3.5}))
    prepare_corpus(split_files(tmp_path / "data"), tokenizer, tmp_path / "t", seq_len=8)
    *_, floor = open_corpus(tmp_path / "t", tokenizer.vocab_size, 8)
    assert floor == 3.5 / 7  # a b end, c d e end


def test_too_short(tmp_path, tokenizer):
    path = write(tmp_path / "x.txt", "abc")
    with pytest.raises(ValueError, match="too few"):
        prepare_corpus(split_files(path), tokenizer, tmp_path / "t", seq_len=8)


# ---------------------------------------------------------------------------------------------
# Corpora larger than memory
# ---------------------------------------------------------------------------------------------


class Bytes:
    """The tokenizer whose tokens are bytes."""

    vocab_size, eos_token_id = 257, 256

    def encode_pieces(self, pieces):
        return (list(text.encode()) for text in pieces)


@pytest.mark.parametrize(
    "text",
    [
        "some words " * 100 + "\n",
        "one endless line ",
        pytest.param("nospaceatall", marks=pytest.mark.nightly),
    ],
)
def test_a_file_is_never_held_whole(tmp_path, text):
    path = write(tmp_path / "x.txt", text * (24_000_000 // len(text)))
    tracemalloc.start()
    try:
        tokenize_to_file(documents([path]), Bytes(), tmp_path / "t.bin")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15e6
    tokens = np.memmap(tmp_path / "t.bin", np.uint16, mode="r")
    assert (
        tokens[0] == tokens[-1] == 256
        and bytes(tokens[1:60].astype(np.uint8)) == (text * 9)[:59].encode()
    )
    assert len(tokens) - 2 == path.stat().st_size - text.count("\n")  # the last line's end


def peak_memory(data, out):
    """Of `python -m tinyqwen.train`, in MiB: tokenizer, tokens, three steps."""
    settings = ["--steps=3", "--eval-interval=0", "--threads=1", f"--data={data}", f"--out={out}"]
    run = (
        "import sys, tinyqwen.train, tinyqwen.benchmark.machine as machine;"
        "tinyqwen.train.main(); print(machine.peak_mib(), file=sys.stderr)"
    )
    command = [sys.executable, "-W", "ignore", "-c", run, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stderr.split()[-1])


@pytest.mark.nightly
@pytest.mark.skipif(os.name != "posix", reason="POSIX counts memory")
@pytest.mark.timeout(600)
def test_training_on_a_large_file(tmp_path):
    """120 MB of text without separators cost little more memory than 1 MB of it."""
    stories = (Path(__file__).parents[2] / "data" / "stories" / "train.txt").read_text("utf-8")
    text = stories.replace("<|endoftext|>\n", "").replace("\n", " ").encode()
    small, large = write(tmp_path / "small.txt", text), tmp_path / "large.txt"
    with open(large, "wb") as file:
        for i in range(120_000_000 // len(text)):
            file.write(text[i * 97 :] + b"\n")
    growth = peak_memory(large, tmp_path / "b") - peak_memory(small, tmp_path / "a")
    assert growth < 100
