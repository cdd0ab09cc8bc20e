"""What a run needs to go on where it stopped: its state in one file, its metrics in another."""

import json
import math
import zlib
from contextlib import contextmanager

import numpy as np

from tinyqwen.storage import safetensors
from tinyqwen.storage.files import file_in, parse_json_object, write_text

STATE, METRICS = "trainer_state.safetensors", "metrics.jsonl"
MEASURED = ("loss", "lr", "grad_norm", "tokens_per_second", "elapsed")
LINE = 1 << 16  # characters; a line of metrics has about 200


def save_state(folder, arrays, progress):
    """Write {name: array} and `progress`, a dict for JSON, into one file, atomically.

    safetensors has no checksum, and a weight with one bit flipped would go unnoticed: so the file's
    metadata hold one, CRC-32 over all of it.
    """
    text = json.dumps(progress)
    # One entry, for the library writes several in another order each time.
    safetensors.save(folder / STATE, arrays, {"trainer": _checksum(arrays, text) + text})


def load_state(folder):
    """(arrays, progress) as they were saved.

    Raises ValueError if the file is damaged, or was not written by `save_state`.
    """
    path = file_in(folder, STATE)
    arrays, metadata = safetensors.load(path)
    text = metadata.get("trainer", "")[8:]
    if metadata.get("trainer") != _checksum(arrays, text) + text:
        raise ValueError(f"{path}: damaged, its checksum is another")
    return arrays, parse_json_object(text, f"{path}: progress")


def _checksum(arrays, text):
    checksum = zlib.crc32(text.encode())
    for name in sorted(arrays):
        checksum = zlib.crc32(np.ascontiguousarray(arrays[name]), checksum)
    return f"{checksum:08x}"


def saved_step(folder):
    """The step of a folder's state, read from the header alone; None if there is no state."""
    if not (folder / STATE).exists():
        return None
    _, metadata = safetensors.read_header(folder / STATE)
    return json.loads(metadata["trainer"][8:])["step"]


@contextmanager
def state_errors(folder):
    """Let an error in reading the state say what to do."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{folder / STATE} cannot be read ({error}); delete it to train again from the start"
        ) from None


def refuse_other_model(folder, model):
    """Raise ValueError unless the state's weights have the model's names and shapes."""
    with state_errors(folder):
        entries, _ = safetensors.read_header(file_in(folder, STATE))
        stored = {name: entry.shape for name, entry in entries.items() if name.startswith("model.")}
        if stored != {f"model.{name}": p.shape for name, p in model.named_parameters()}:
            raise ValueError("it is of another model than the run's settings describe")


def read_metrics(folder, last_step):
    """The metrics up to `last_step`, and no more in the file: what came after is computed again.

    What is no line of metrics, as the one that a crash cut short, is dropped.
    """
    metrics = []
    if (folder / METRICS).exists():
        with open(file_in(folder, METRICS), encoding="utf-8", errors="replace") as file:
            for line in iter(lambda: file.readline(LINE), ""):
                entry = _entry(line)
                if entry and (metrics[-1]["step"] if metrics else 0) < entry["step"] <= last_step:
                    metrics.append(entry)
    text = "".join(json.dumps(entry) + "\n" for entry in metrics)
    write_text(folder / METRICS, text)  # in the place of whatever was there, a link?
    return metrics


def _entry(line):
    """A line of metrics.jsonl as a dict, or None if it is none."""
    try:
        entry = json.loads(line)
        numbers = [entry["step"], *(entry[name] for name in MEASURED), entry.get("val_loss", 0.0)]
        if type(entry["step"]) is int and all(
            type(number) in (int, float) and math.isfinite(number) for number in numbers
        ):
            return entry
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        pass
    return None
