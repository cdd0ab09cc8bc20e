"""The safetensors format: arrays by name, and nothing executable.

A file is eight bytes, n, little-endian; n bytes of JSON; then the arrays, one after another:

    {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, …, "__metadata__": {…}}

The offsets count from the end of the JSON. The arrays cover the rest of the file without a gap and
without overlap; there is no checksum, so a bit flipped inside an array goes unnoticed.
(https://github.com/huggingface/safetensors, "Format".)

The library `safetensors` writes, and checks what a header says. Reading is done here, straight into
the model's arrays, without a copy between. NumPy has no bfloat16, so BF16 is read into float32: it
is the upper half of a float32's bits.
"""

import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tinyqwen.storage.files import atomic_path, parse_json_object

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
        header_bytes = int.from_bytes(file.read(8), "little")
        try:
            with safe_open(path, framework="numpy"):  # its parser checks the whole header
                content = file.read(header_bytes)
        except SafetensorError as error:
            raise ValueError(
                f"{path}: truncated, damaged or no safetensors file ({error}); get it again"
            ) from None
    header = parse_json_object(content, f"{path}: header")
    metadata = header.pop("__metadata__", None) or {}
    entries = {}
    for name, values in header.items():
        if values["dtype"] not in DTYPES:
            raise ValueError(
                f"{path}: {name:.200} has dtype {values['dtype']}; "
                f"expected one of {', '.join(DTYPES)}"
            )
        if len(values["shape"]) > 32:  # some NumPys stop there
            raise ValueError(f"{path}: {name:.200} has {len(values['shape'])} axes")
        start = 8 + header_bytes + values["data_offsets"][0]
        entries[name] = Entry(path, name, values["dtype"], tuple(values["shape"]), start)
    return entries, metadata


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
        with np.errstate(invalid="ignore"):  # a NaN of a kind that warns when it is cast
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
    written = {}
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in DTYPES.values():
            raise ValueError(f"{path}: {name} has dtype {array.dtype}, which cannot be saved")
        # The library writes an array's memory as it lies there, whatever its strides say.
        written[name] = np.asarray(array, dtype, order="C")
    with atomic_path(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        with _system_errors():
            save_file(written, temporary, metadata)
        temporary.chmod(mode)  # the library's file is for its owner alone


@contextmanager
def _system_errors():
    """The library's error about the disk as the OSError that it is."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)|code: (\d+)", str(error))
        if number is None:
            raise ValueError(str(error)) from None
        code = int(number[1] or number[2])
        raise OSError(code, os.strerror(code)) from None
