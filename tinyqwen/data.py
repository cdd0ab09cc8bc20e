"""From text to batches: documents, a memory-mapped stream of tokens, rows that start at documents.

A corpus is tokenized once, as a stream, into a file of integers that is mapped into memory and not
read, so it may be larger than memory. A batch is a function of (seed, step) alone: to resume at
step 1,000 nothing needs to be replayed.
"""

import json
import os
import re
from array import array
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tinyqwen.files import read_json, write_json

END_OF_TEXT = "<|endoftext|>"
TEXT_SUFFIXES = (".txt", ".md", ".text", ".jsonl")
PIECE = 1 << 20  # bytes of a long document that are tokenized at a time

# ---------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------


def text_files(path):
    """The files that `path` stands for: itself, or all text files below the folder, sorted.

    Raises FileNotFoundError if there is no such path, ValueError if there is no text in it.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"data {path} does not exist; give a text file, .jsonl or folder")
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in TEXT_SUFFIXES and p.is_file())
    if not any(p.stat().st_size for p in files):
        raise ValueError(
            f"data {path} is empty; expected text in files ending in {', '.join(TEXT_SUFFIXES)}"
        )
    return files


def split_files(path):
    """(training files, validation files) of a corpus; the second is None if there is no split.

    A folder may bring its split along: files called train.* and validation.* (or val.*).
    """
    files = text_files(path)
    held_out = [f for f in files if f.stem in ("validation", "val")]
    training = [f for f in files if f.stem == "train"]
    if held_out and training:
        return training, held_out
    return files, None


def documents(files):
    """Yield the documents of text files, one string each.

    .jsonl: the "text" field of each line. Other files: the text between lines that hold only
    <|endoftext|>, or the whole file where there are none.
    Raises ValueError at invalid UTF-8, with file and byte offset, and at lines that are no JSON.
    """
    for path in files:
        if Path(path).suffix == ".jsonl":
            yield from _jsonl_documents(path)
        else:
            yield from _text_documents(path)


def _lines(path):
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: invalid UTF-8 at byte {offset + error.start}; "
                    "convert the file to UTF-8"
                ) from None
            offset += len(line)


def _jsonl_documents(path):
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise ValueError(f'{path}: line {number} is no JSON object with a string in "text"')
        yield text


def _text_documents(path):
    lines = []
    for line in _lines(path):
        if line.strip() == END_OF_TEXT:
            yield "".join(lines).strip("\n")
            lines = []
        else:
            lines.append(line)
    if text := "".join(lines).strip("\n"):
        yield text


# ---------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------

# A long document is cut before a character that begins a line or follows a space: Qwen's
# pre-tokenizer always ends a piece there, so the tokens are those of the whole document.
_CUT = re.compile(r"(?<=\n)(?=\S)|(?<=\S)(?= \S)")


def _pieces(text):
    start = 0
    while len(text) - start > PIECE:
        cut = _CUT.search(text, start + PIECE)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]


def tokenize_to_file(texts, tokenizer, path):
    """Tokenize documents into `path`, a file of uint16 or uint32, each followed by the end token.

    The stream begins with an end-of-text token, so that every document, the first one too, has one
    before it: a model that is given <|endoftext|> writes a new document.
    Returns the positions of the tokens before each document, int64 (documents,).
    """
    dtype = token_dtype(tokenizer.vocab_size)
    end = tokenizer.eos_token_id
    starts, length = array("q"), 1
    with open(path, "wb") as file:
        file.write(np.array([end], dtype).tobytes())
        for text in texts:
            if not text:
                continue
            starts.append(length - 1)
            for piece in _pieces(text):
                ids = np.array(tokenizer.encode(piece), dtype)
                file.write(ids.tobytes())
                length += len(ids)
            file.write(np.array([end], dtype).tobytes())
            length += 1
        file.flush()
        os.fsync(file.fileno())
    return np.array(starts, np.int64)


def token_dtype(vocab_size):
    """The smallest unsigned integers that hold the ids."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


HELD_OUT = 0.05  # the share of a corpus that is kept for validation when it brings no split


def prepare_corpus(files, tokenizer, folder, seq_len):
    """Tokenize a corpus, as `split_files` gave it, into `folder`, for `open_corpus`.

    Where the corpus has no validation files, its last twentieth is held out, from the beginning of
    a document on if it has many. The file index.json is written last: where it is, all is whole.
    Raises ValueError for a corpus shorter than two rows of `seq_len` tokens.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = files
    progress = tqdm(documents(training), "tokenizing", unit=" docs", leave=False, disable=None)
    starts = {"train": tokenize_to_file(progress, tokenizer, folder / "train.bin")}
    entropy = None
    if held_out:
        starts["validation"] = tokenize_to_file(
            documents(held_out), tokenizer, folder / "validation.bin"
        )
        entropy_file = Path(held_out[0]).parent / "entropy.json"
        entropy = read_json(entropy_file).get("nats") if entropy_file.exists() else None
    else:
        starts = _hold_out(folder, starts["train"], token_dtype(tokenizer.vocab_size), seq_len)
    for split, positions in starts.items():
        np.save(folder / f"{split}_starts.npy", positions, allow_pickle=False)
    write_json(folder / "index.json", {"entropy_nats": entropy})


def _hold_out(folder, starts, dtype, seq_len):
    """Move the last tokens of train.bin to validation.bin; return the documents of each."""
    tokens = np.memmap(folder / "train.bin", dtype, mode="r")
    if len(tokens) < 2 * seq_len:
        raise ValueError(
            f"the data has {len(tokens)} tokens, too few for training and validation rows of "
            f"{seq_len}; give more text, or a smaller --seq-len"
        )
    cut = len(tokens) - max(seq_len, int(len(tokens) * HELD_OUT))
    later = starts[starts >= cut]
    cut = int(later[0]) if len(later) else cut
    tokens[cut:].tofile(folder / "validation.bin")
    del tokens  # the map must be closed before the file is cut
    with open(folder / "train.bin", "r+b") as file:
        file.truncate((cut + 1) * np.dtype(dtype).itemsize)
    held_out = later - cut if len(later) else np.zeros(1, np.int64)
    return {"train": starts[starts < cut], "validation": held_out}


def open_corpus(folder, vocab_size, seq_len):
    """The training and the validation TokenDataset of a prepared folder, and the floor.

    The floor is the entropy of the validation text in nats per token: no model's expected loss can
    be lower. It is known (else None) for corpora whose writer knows the probability of every
    document and has put the total into entropy.json.
    """
    folder = Path(folder)
    datasets = []
    for split in ("train", "validation"):
        tokens = np.memmap(folder / f"{split}.bin", token_dtype(vocab_size), mode="r")
        starts = np.load(folder / f"{split}_starts.npy", allow_pickle=False)
        datasets.append(TokenDataset(tokens, starts, seq_len))
    nats = read_json(folder / "index.json").get("entropy_nats")
    return *datasets, nats / datasets[1].num_targets if nats else None


# ---------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------


class TokenDataset:
    """Rows of `seq_len` tokens out of a stream of documents.

    tokens: (n,) unsigned integers, usually memory-mapped; document_starts: (documents,) positions
    of the end-of-text token before each document.

    A row begins where a document begins; a document longer than a row is covered by several, each
    starting at the last token of the one before, so that every token is predicted in one of them.
    """

    def __init__(self, tokens, document_starts, seq_len):
        if len(tokens) < 2 or not len(document_starts):
            raise ValueError("the data holds no tokens")
        self.tokens, self.seq_len = tokens, seq_len
        ends = np.append(document_starts[1:], len(tokens) - 1)  # position of each end token
        rows = np.maximum(1, -(-(ends - document_starts) // (seq_len - 1)))
        within = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
        self.starts = np.repeat(document_starts, rows) + within * (seq_len - 1)
        self.stops = np.minimum(self.starts + seq_len, np.repeat(ends, rows) + 1)
        self._order = (None, None)  # (epoch and seed, permutation), the last one used

    def __len__(self):
        return len(self.starts)

    @property
    def num_targets(self):
        """Tokens that `evaluation_batches` predicts: all but the very first of the stream."""
        return int((self.stops - self.starts - 1).sum())

    def batch(self, seed, step, batch_size):
        """Training rows (batch_size, seq_len), int64: a function of (seed, step).

        Every row of the corpus comes once an epoch, in an order drawn for that epoch. What a short
        document leaves of its row is filled with the documents behind it.
        """
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        picked = [self._permutation(seed, n // len(self))[n % len(self)] for n in positions]
        starts = np.minimum(self.starts[picked], max(0, len(self.tokens) - self.seq_len))
        rows = np.stack([self.tokens[start : start + self.seq_len] for start in starts])
        return rows.astype(np.int64)

    def _permutation(self, seed, epoch):
        if self._order[0] != (seed, epoch):
            order = np.random.default_rng([seed, int(epoch)]).permutation(len(self))
            self._order = ((seed, epoch), order)
        return self._order[1]

    def evaluation_batches(self, batch_size, max_rows=None):
        """Yield (input_ids, labels), each (≤ batch_size, ≤ seq_len): every document on its own.

        Every token is predicted once, from what stands before it in its own document. Rows are
        padded behind with zeros, whose labels are -100. Rows of like length stand together.
        max_rows: take only that many, spread over the corpus.
        """
        rows = np.arange(len(self))
        if max_rows and max_rows < len(rows):
            rows = np.linspace(0, len(rows) - 1, max_rows).astype(int)
        lengths = self.stops[rows] - self.starts[rows]
        rows = rows[np.argsort(lengths, kind="stable")]
        for first in range(0, len(rows), batch_size):
            part = rows[first : first + batch_size]
            width = int((self.stops[part] - self.starts[part]).max())
            ids = np.zeros((len(part), width), np.int64)
            labels = np.full_like(ids, -100)
            for i, row in enumerate(part):
                tokens = self.tokens[self.starts[row] : self.stops[row]]
                ids[i, : len(tokens)] = labels[i, : len(tokens)] = tokens
            yield ids, labels
