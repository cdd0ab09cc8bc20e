"""The safetensors format, read and written with NumPy: arrays by name, and nothing executable.

A file is eight bytes, n, little-endian; n bytes of JSON; then the arrays, one after another:

    {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, …, "__metadata__": {…}}

The offsets count from the end of the JSON. The arrays cover the rest of the file without a gap and
without overlap; there is no checksum, so a bit flipped inside an array goes unnoticed.
(https://github.com/huggingface/safetensors, "Format".) NumPy has no bfloat16, so
here BF16 is read into float32: it is the upper half of a float32's bits.
"""

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinyqwen.storage.files import atomic_write, parse_json_object

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
PIECE = 1 << 20  # entries read and converted at a time: the temporary stays in the core's cache
FLOATS = ("F64", "F32", "F16", "BF16")
DTYPES = {
    name: np.dtype(code)
    for name, code in (
        *(("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("BF16", "<u2"), ("BOOL", "|b1")),
        *(("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2"), ("I8", "|i1")),
        *(("U64", "<u8"), ("U32", "<u4"), ("U16", "<u2"), ("U8", "|u1")),
    )
}
_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


@dataclass(frozen=True)
class Entry:
    """One array of a file: its type as the format names it, its shape, its first byte's place."""

    path: Path
    name: str
    dtype: str
    shape: tuple
    start: int

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def nbytes(self):
        return self.size * DTYPES[self.dtype].itemsize

    def rows(self, start, stop):
        """The Entry of rows start … stop - 1 alone."""
        row = self.nbytes // self.shape[0]
        shape = (stop - start, *self.shape[1:])
        return replace(self, shape=shape, start=self.start + start * row)


def read_header(path):
    """({name: Entry}, metadata) of a file; reads no array.

    Raises ValueError that names the file if anything in it contradicts the format or its length:
    truncated, no safetensors at all, an unknown dtype, a gap, an overlap, bytes left over.
    """
    path = Path(path)
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        first = file.read(8)
        header_bytes = int.from_bytes(first, "little")
        if len(first) < 8 or header_bytes > min(length - 8, MAX_HEADER_BYTES):
            raise ValueError(f"{path}: truncated, or not a safetensors file")
        content = file.read(header_bytes)
    header = parse_json_object(content, f"{path}: header")
    metadata = header.pop("__metadata__", {})
    entries = {
        name: _entry(path, name, values, 8 + header_bytes) for name, values in header.items()
    }
    end = 8 + header_bytes
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.nbytes)):
        if entry.start != end:
            raise ValueError(f"{path}: {entry.name} begins at byte {entry.start}, expected {end}")
        end += entry.nbytes
    if end != length:
        raise ValueError(
            f"{path}: has {length} bytes, its header says {end}; truncated or damaged, get it again"
        )
    return entries, metadata


def _entry(path, name, values, data_start):
    def refuse(what):
        return ValueError(f"{path}: {name:.200} has {what}")

    if not isinstance(values, dict) or set(values) != {"dtype", "shape", "data_offsets"}:
        raise refuse("no dtype, shape and data_offsets")
    dtype, shape, offsets = values["dtype"], values["shape"], values["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise refuse(f"dtype {dtype!r:.100}; expected one of {', '.join(DTYPES)}")
    if not _are_counts(shape) or len(shape) > 32:
        raise refuse(f"shape {shape!r:.100}")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise refuse(f"data_offsets {offsets!r:.100}")
    entry = Entry(path, name, dtype, tuple(shape), data_start + offsets[0])
    if offsets[1] - offsets[0] != entry.nbytes:
        raise refuse(
            f"data_offsets {offsets}, but {dtype} of shape {shape} is {entry.nbytes} bytes"
        )
    return entry


def _are_counts(values):
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in values)


def load(path):
    """({name: array}, metadata) of a file; BF16 comes as float32, all else as it is."""
    entries, metadata = read_header(path)
    arrays = {
        name: np.empty(entry.shape, np.float32 if entry.dtype == "BF16" else DTYPES[entry.dtype])
        for name, entry in entries.items()
    }
    read_into([(entries[name], arrays[name]) for name in entries])
    return arrays, metadata


def read_into(jobs, progress=None):
    """Fill arrays from a file's entries, converted to the arrays' dtype on the way.

    jobs: (Entry, C-contiguous array of the entry's shape) pairs. progress: called with the number
    of bytes of each piece read. Returns the set of names whose arrays hold NaN or infinity.

    Several threads read pieces of PIECE entries, each straight to its place, so beside the arrays
    there is never more than a piece a thread in memory. The file is read and not mapped: mapped
    pages would count as memory, and a file that shrinks meanwhile would be a bus error.
    """

    def read(piece):
        entry, out, start = piece
        count, finite = _read_piece(entry, out, start)
        if progress is not None:
            progress(count * DTYPES[entry.dtype].itemsize)
        return None if finite else entry.name

    pieces = [
        (entry, array.reshape(-1), start)
        for entry, array in jobs
        for start in range(0, entry.size, PIECE)
    ]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        return set(threads.map(read, pieces)) - {None}


def _read_piece(entry, out, start):
    """Read and convert out[start : start + PIECE]; return (how many, whether all are finite)."""
    out, stored = out[start : start + PIECE], DTYPES[entry.dtype]
    direct = out.dtype == stored and entry.dtype != "BF16"
    raw = out if direct else np.empty(out.size, stored)
    with open(entry.path, "rb", buffering=0) as file:
        file.seek(entry.start + start * stored.itemsize)
        _read_exactly(file, memoryview(raw).cast("B"), entry)
    if entry.dtype != "BF16":
        if not direct:
            out[...] = raw
    elif out.dtype == np.float32:
        np.left_shift(raw, 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        out[...] = (raw.astype(np.uint32) << 16).view(np.float32)
    return out.size, out.dtype.kind != "f" or bool(np.isfinite(out).all())


def _read_exactly(file, view, entry):
    while view.nbytes:
        count = file.readinto(view)
        if not count:
            raise ValueError(f"{entry.path}: ends inside {entry.name}; truncated while being read")
        view = view[count:]


def same_bytes(a, b):
    """Whether two entries hold the same array, bit for bit, compared without loading either."""
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    with open(a.path, "rb") as file_a, open(b.path, "rb") as file_b:
        file_a.seek(a.start)
        file_b.seek(b.start)
        for start in range(0, a.nbytes, PIECE):
            count = min(PIECE, a.nbytes - start)
            if file_a.read(count) != file_b.read(count):
                return False
    return True


def save(path, arrays, metadata=None):
    """Write {name: array} atomically. metadata: {str: str}. Any memory layout is written right.

    Raises ValueError for a dtype that the format or NumPy does not have.
    """
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, array in arrays.items():
        if array.dtype.newbyteorder("<") not in _NAMES:
            raise ValueError(f"{path}: {name} has dtype {array.dtype}, which cannot be saved")
        header[name] = {
            "dtype": _NAMES[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    content = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    content += b" " * (-len(content) % 8)  # so that the arrays are aligned in memory when mapped
    with atomic_write(path) as file:
        file.write(len(content).to_bytes(8, "little") + content)
        for array in arrays.values():
            array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            file.write(memoryview(array.reshape(-1)).cast("B"))
