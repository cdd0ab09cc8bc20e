"""Files that are there whole or not at all, and errors about them that fit on one line.

Everything the project writes goes through `atomic_path`: a crash, a full disk or Ctrl-C leaves the
old file or the new one, never half of one. Everything it reads from somebody else's folder goes
through `file_in`, and JSON through `read_json`.
"""

import errno
import json
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MAX_JSON_BYTES = 1 << 28  # far above any tokenizer.json, far below any machine's memory
_REASONS = {
    errno.ENOSPC: "the disk is full; free some space, or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another folder",
    errno.EFBIG: "the file would pass the size limit; raise the limit, or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "no permission to write there; choose another folder, or change its permissions",
    errno.ENOENT: "there is no such folder; create it first",
    errno.ENOTDIR: "its parent is a file, not a folder; choose another folder",
    errno.EEXIST: "it is a file, not a folder; choose another folder",
}


@contextmanager
def atomic_path(path):
    """A path to write to; the file there takes the place of `path` when the block ends well.

    It is a hidden temporary file in the same folder, which an error removes; at the end it is
    flushed to the disk and renamed, and the rename is flushed too. A symbolic link at `path` is
    replaced, not followed. Raises OSError that names `path` and says what to do; the old file, if
    there was one, is then untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = None
        with named_errors(path):
            raise


@contextmanager
def atomic_write(path):
    """Open a file for bytes that takes the place of `path` when the block ends: `atomic_path`."""
    with atomic_path(path) as temporary, open(temporary, "xb") as file:
        yield file


@contextmanager
def named_errors(path):
    """Let an OSError that comes of writing `path` name it, and say what to do."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        reason = _REASONS.get(error.errno, error.strerror or str(error))
        raise OSError(error.errno, f"cannot be written: {reason}", str(path)) from error


def make_folder(path):
    """Make a folder, and its parents, if it is not there; OSError names it and says what to do."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        error.filename = None  # it may name a parent
        with named_errors(path):
            raise


def _sync_folder(folder):
    if os.name != "posix":  # elsewhere a folder cannot be opened, and a rename needs no flushing
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder):
    """Delete what killed writers left behind in `folder`; call it while nobody else writes there.

    No code runs after SIGKILL, so the next owner of the folder sweeps.
    """
    for pattern in (".*.tmp", ".tmp??????"):  # ours, and those that safetensors makes
        for path in Path(folder).glob(pattern):
            path.unlink(missing_ok=True)


def file_in(folder, name):
    """The path of the file `name` in `folder`, with symbolic links resolved.

    Refuses with ValueError a name that is a path, and a link that leads out of the folder (links
    into the blobs of the same Hugging Face cache entry are what the hub's download makes, and are
    fine). Raises FileNotFoundError if there is no such file, or no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: there is no such folder (a model of the Hugging Face hub is downloaded "
            "first: hf download NAME --local-dir FOLDER)"
        )
    if (
        not isinstance(name, str)
        or name in ("", "..")
        or len(name) > 200
        or Path(name).name != name
        or any(character in name for character in "\\\0")
    ):
        raise ValueError(f"{folder}: {name!r:.100} is not the name of a file in this folder")
    root, path = folder.resolve(), folder / name
    allowed = [root]
    if root.parent.name == "snapshots":
        allowed.append(root.parents[1] / "blobs")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    if not any(path.resolve().is_relative_to(parent) for parent in allowed):
        raise ValueError(f"{path}: a symbolic link that leads out of the folder; copy the file in")
    return path.resolve()


def read_json(path):
    """The object (dict) in a JSON file.

    Raises FileNotFoundError, or ValueError if the content is not UTF-8, not JSON, nested too
    deeply, not an object, longer than MAX_JSON_BYTES, names a key twice, or holds an integer of
    more than 128 bits.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path}: more than {MAX_JSON_BYTES} bytes of JSON")
    return parse_json_object(path.read_bytes(), path)


def parse_json_object(content, name):
    """The dict in `content` (bytes or str); errors, ValueError, begin with `name`."""
    try:
        value = json.loads(content, object_pairs_hook=_unique_keys, parse_int=_integer)
    except RecursionError:
        raise ValueError(f"{name}: JSON nested too deeply") from None
    except ValueError as error:  # of the decoder, of UTF-8, of a number with too many digits
        raise ValueError(f"{name}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name}: expected a JSON object, found {type(value).__name__}")
    return value


def _integer(digits):
    if abs(value := int(digits)) >> 128:  # transformers writes 10³⁰ for "no limit"
        raise ValueError(f"the number {digits:.20}… is too large")
    return value


def _unique_keys(pairs):
    value = dict(pairs)
    if len(value) != len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} stands there twice")
    return value


def write_text(path, text):
    """Write `text` in UTF-8, atomically."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path, value):
    """Write `value` as readable JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


class FolderLock:
    """Holds a folder for this process; a second holder is refused with OSError.

    The lock is on the folder itself, leaves no file, and ends with the process however that ends.
    Windows has no such locks: there it does nothing.
    """

    def __init__(self, folder):
        self._descriptor = None
        if fcntl is None:
            return
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without locks
            reason = "is in use by another run; wait for its end, or choose another folder"
            raise OSError(errno.EBUSY, reason, str(folder)) from None

    def release(self):
        """Let go of the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
