"""Records: what a task trains on where a row is not simply the next tokens of a text.

A record is a dict of lists of integers, as a pair of sentences {"source": ids, "target": ids}. Each
field of all records is one array, and another says where each record ends in it; both are mapped
into memory, so there may be more records than fit there.
"""

import warnings
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np

from tinyqwen.storage.files import atomic_write, file_in, read_json
from tinyqwen.training.data import AGAIN, map_array, rows_of_step, write_index

EACH = 20  # one in so many records is held out where a corpus brings no validation files


def prepare_records(files, read, folder, names, facts=None):
    """Write the records of a corpus into a folder, for `open_records`.

    files: as `split_files` gives them; read: callable, list of files -> an iterable of records;
    names: the fields of a record; facts: a dict of what else the index shall say, once all is read.
    Without validation files one record in EACH is held out.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = files
    counts = {"train": 0, "validation": 0}
    records = (("train", record) for record in read(training))
    if held_out:
        records = chain(records, (("validation", record) for record in read(held_out)))
    with ExitStack() as stack:

        def new(name):
            return stack.enter_context(atomic_write(folder / name))

        writers = {
            (split, name): (new(f"{split}_{name}.bin"), new(f"{split}_{name}_ends.bin"))
            for split in counts
            for name in names
        }
        ends = dict.fromkeys(writers, 0)
        for number, (split, record) in enumerate(records):
            if not held_out and number % EACH == EACH - 1:
                split = "validation"
            counts[split] += 1
            for name in names:
                values, stops = writers[split, name]
                ends[split, name] += len(record[name])
                values.write(np.array(record[name], np.int32).tobytes())
                stops.write(np.array(ends[split, name], np.int64).tobytes())
        for split, count in counts.items():
            if not count:
                raise ValueError(f"the {split} data hold nothing to learn from; give more")
    write_index(folder, **(facts or {}))


def open_records(folder, names):
    """The training and the validation Records of a prepared folder; ValueError if it is damaged."""
    folder = Path(folder)
    index = read_json(file_in(folder, "index.json"))
    found = []
    for split in ("train", "validation"):
        fields = {}
        for name in names:
            values = map_array(folder, f"{split}_{name}.bin", np.int32, index)
            ends = map_array(folder, f"{split}_{name}_ends.bin", np.int64, index)
            if ends[0] < 0 or ends[-1] != len(values) or np.any(np.diff(ends) < 0):
                raise ValueError(f"{folder}: the records' ends are damaged{AGAIN}")
            fields[name] = np.asarray(values), np.asarray(ends)  # still mapped; faster to cut up
        if len({len(ends) for _, ends in fields.values()}) > 1:
            raise ValueError(f"{folder}: the fields have not equally many records{AGAIN}")
        found.append(Records(fields))
    return found


class Records:
    """A sequence of records. fields: {name: (values (n,), ends (records,))}."""

    def __init__(self, fields):
        self._fields = fields
        self._length = len(next(iter(fields.values()))[1])

    def __len__(self):
        return self._length

    def field(self, name, i):
        """A field of record i, int64 (n,)."""
        values, ends = self._fields[name]
        return values[ends[i - 1] if i else 0 : ends[i]].astype(np.int64)

    def all(self, name):
        """A field of all records, one after the other."""
        return self._fields[name][0]

    def lengths(self, name):
        """How many numbers each record has in a field, (records,)."""
        return np.diff(self._fields[name][1], prepend=0)

    def step(self, batch_size, seed, step):
        """Which records are a step's: see `rows_of_step`."""
        return rows_of_step(len(self), batch_size, seed, step)


def dealt_by_length(lengths, steps, rng):
    """Rows dealt out to steps, as many to each, so that those of a step are of like length.

    lengths (rows,): of the rows of all these steps. Returns (steps, rows / steps): which rows are
    whose. Which step gets the short ones is drawn from rng, so that lengths do not grow.

    >>> dealt_by_length([9, 2, 8, 3], 2, np.random.default_rng(0))
    array([[1, 3],
           [2, 0]])
    """
    return rng.permutation(np.argsort(lengths, kind="stable").reshape(steps, -1))


def warn_of_cut(lengths, most, things, where):
    """Say how many things of these lengths, in tokens, were cut off at `most`, if any were."""
    if cut := sum(length > most for length in lengths):
        warnings.warn(
            f"{cut} of {len(lengths)} {things} are cut off at {where}; the longest has "
            f"{max(lengths)} tokens",
            stacklevel=3,
        )


def padded(rows, value):
    """Lists of integers as an array (rows, longest), int64, filled up behind with `value`."""
    out = np.full((len(rows), max(map(len, rows))), value, np.int64)
    for line, row in zip(out, rows):
        line[: len(row)] = row
    return out
