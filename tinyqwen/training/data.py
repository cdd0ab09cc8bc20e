"""From documents to batches: a memory-mapped stream of tokens, rows that start at documents.

A corpus is tokenized once, as a stream, into a file of integers that is mapped into memory and not
read, so it may be larger than memory. A batch is a function of (seed, step) alone: to resume at
step 1,000 nothing needs to be replayed.
"""

from array import array
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tinyqwen.storage.files import atomic_write, file_in, read_json, write_json
from tinyqwen.text.documents import documents

# ---------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------


def tokenize_to_file(documents, tokenizer, path):
    """Tokenize documents into `path`, a file of uint16 or uint32, each followed by the end token.

    documents: iterables of pieces of text. The stream begins with an end-of-text token, so that
    every document, the first one too, has one before it: a model that is given <|endoftext|> writes
    a new document. Returns the positions of the tokens before each document, int64 (documents,).
    """
    dtype = token_dtype(tokenizer.vocab_size)
    end = np.array([tokenizer.eos_token_id], dtype)
    starts, length = array("q"), 1
    with atomic_write(path) as file:
        file.write(end.tobytes())
        for pieces in documents:
            start = length
            for ids in tokenizer.encode_pieces(pieces):
                file.write(np.array(ids, dtype).tobytes())
                length += len(ids)
            if length > start:
                starts.append(start - 1)
                file.write(end.tobytes())
                length += 1
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
    starts = {"train": tokenize_to_file(_counted(training), tokenizer, folder / "train.bin")}
    entropy = None
    if held_out:
        starts["validation"] = tokenize_to_file(
            documents(held_out), tokenizer, folder / "validation.bin"
        )
        entropy_file = Path(held_out[0]).parent / "entropy.json"
        entropy = known_number(entropy_file, "nats") if entropy_file.exists() else None
    else:
        starts = _hold_out(folder, starts["train"], token_dtype(tokenizer.vocab_size), seq_len)
    for split, positions in starts.items():
        if not len(positions):
            raise ValueError(f"the {split} data hold no text; give some")
        with atomic_write(folder / f"{split}_starts.bin") as file:
            file.write(memoryview(positions))
    write_index(folder, entropy_nats=entropy)


def write_index(folder, **facts):
    """Write the index of a folder of arrays, last of all: the size of each, and other facts."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.bin"))}
    write_json(folder / "index.json", {**facts, "bytes": sizes})


def _counted(files):
    """The files' documents, with a progress bar."""
    total = sum(file.stat().st_size for file in files)
    form = {"unit": "B", "unit_scale": True, "leave": False, "disable": None}
    with tqdm(desc="tokenizing", total=total, **form) as bar:

        def counted(pieces):
            for piece in pieces:
                yield piece
                bar.update(len(piece.encode()))

        yield from map(counted, documents(files))


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
    with atomic_write(folder / "validation.bin") as file:
        file.write(memoryview(tokens[cut:]))
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
    index = read_json(file_in(folder, "index.json"))
    datasets = []
    for split in ("train", "validation"):
        tokens = map_array(folder, f"{split}.bin", token_dtype(vocab_size), index)
        starts = map_array(folder, f"{split}_starts.bin", np.int64, index)
        if starts[0] < 0 or starts[-1] > len(tokens) - 2 or np.any(np.diff(starts) <= 0):
            raise ValueError(f"{folder}: the documents' positions are damaged{AGAIN}")
        datasets.append(TokenDataset(tokens, starts, seq_len))
    nats = known_number(folder / "index.json", "entropy_nats")
    return *datasets, nats / datasets[1].num_targets if nats else None


AGAIN = "; delete this folder, and --resume makes it again"


def map_array(folder, name, dtype, index):
    """An array of a folder, mapped into memory; ValueError unless it has the size in the index."""
    path, sizes = file_in(folder, name), index.get("bytes")
    size = path.stat().st_size
    if not isinstance(sizes, dict) or sizes.get(name) != size or not size:
        raise ValueError(f"{path}: has {size} bytes, not what index.json says{AGAIN}")
    return np.memmap(path, dtype, mode="r")


def known_number(path, name):
    """A positive number out of a JSON file, or None if it has none of that name."""
    number = read_json(path).get(name)
    if number is not None and not (type(number) in (int, float) and 0 < number < 1e300):
        raise ValueError(f"{path}: {name} is {number!r:.100}, expected a positive number")
    return number


# ---------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------


def sample_batch(tokens, starts, seq_len, batch_size, seed, step):
    """The training rows of one step, (batch_size, seq_len) int64: a function of (seed, step) alone.

    tokens (n,) integers; starts (rows,): where rows may begin. An epoch takes every row once, in an
    order drawn for it; the rows of all epochs, one after the other, are dealt out batch_size at a
    time, and step 0 gets the first ones. What a short document leaves of its row is filled with the
    tokens behind it; a row that would run over the end of the tokens is moved back to end there.
    """
    picked = rows_of_step(len(starts), batch_size, seed, step)
    first = np.minimum(starts[picked], max(0, len(tokens) - seq_len))
    return np.stack([tokens[start : start + seq_len] for start in first]).astype(np.int64)


def rows_of_step(num_rows, batch_size, seed, step):
    """Which of num_rows rows are a step's: those of all epochs, dealt out batch_size at a time."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    return [_epoch_order(num_rows, seed, n // num_rows)[n % num_rows] for n in positions]


@lru_cache(maxsize=2)
def _epoch_order(num_rows, seed, epoch):
    return np.random.default_rng([seed, epoch]).permutation(num_rows)


class TokenDataset:
    """Rows of `seq_len` tokens out of a stream of documents.

    tokens: (n,) unsigned integers, usually memory-mapped; document_starts: (documents,) positions
    of the end-of-text token before each document.

    A row begins where a document begins; a document longer than a row is covered by several, each
    starting at the last token of the one before, so that every token is predicted in one of them.
    """

    def __init__(self, tokens, document_starts, seq_len):
        if len(tokens) < 2 or not len(document_starts):
            raise ValueError("the data hold no tokens")
        self.tokens, self.seq_len = tokens, seq_len
        ends = np.append(document_starts[1:], len(tokens) - 1)  # position of each end token
        rows = np.maximum(1, -(-(ends - document_starts) // (seq_len - 1)))
        within = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
        self.starts = np.repeat(document_starts, rows) + within * (seq_len - 1)
        self.stops = np.minimum(self.starts + seq_len, np.repeat(ends, rows) + 1)

    def __len__(self):
        return len(self.starts)

    @property
    def num_targets(self):
        """Tokens that `evaluation_batches` predicts: all but the very first of the stream."""
        return int((self.stops - self.starts - 1).sum())

    def batch(self, seed, step, batch_size):
        """Training rows (batch_size, seq_len), int64, of a step: see `sample_batch`."""
        return sample_batch(self.tokens, self.starts, self.seq_len, batch_size, seed, step)

    def evaluation_batches(self, batch_size, max_rows=None):
        """Yield {"input_ids", "labels"}, each (≤ batch_size, ≤ seq_len): every document on its own.

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
            yield {"input_ids": ids, "labels": labels}
