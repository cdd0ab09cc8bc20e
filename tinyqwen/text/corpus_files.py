"""Which files of a folder are the corpus, and which are held out for validation."""

import os
import warnings
from collections import defaultdict
from pathlib import Path

from tinyqwen.autograd.refusals import some

SUFFIXES = (".txt", ".md", ".text", ".jsonl")
BESIDE = ("entropy.json", "reader.json")  # what a corpus may bring along that is no text


def text_files(path):
    """The files that `path` stands for: itself, or all text files below the folder, sorted.

    Links are followed. Left out, with one warning that says what and why: names that begin with a
    dot or with two underscores (.ipynb_checkpoints, __MACOSX, ._a.txt), what a second link leads
    to, folders within the folder that hold a model or a run, and files that do not end in SUFFIXES,
    upper case or lower.
    Raises FileNotFoundError if there is no such path, ValueError if there is no text in it.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"data {path} does not exist; give a text file, .jsonl or folder")
    files, left_out = [path], {}
    if path.is_dir():
        files, left_out = _below(path)
    if left_out:
        reasons = (f"{some(names, most=5)} ({reason})" for reason, names in left_out.items())
        warnings.warn(f"data {path}: left out {'; '.join(reasons)}", stacklevel=3)
    if not any(p.stat().st_size for p in files):
        raise ValueError(
            f"data {path} is empty; expected text in files ending in {', '.join(SUFFIXES)}"
        )
    return files


def split_files(path):
    """(training files, validation files) of a corpus; the second is None if there is no split.

    A folder may bring its split along: files called train.* and validation.* (or val.*); a warning
    names what stands beside them.
    """
    files = text_files(path)
    held_out = [f for f in files if f.stem.lower() in ("validation", "val")]
    training = [f for f in files if f.stem.lower() == "train"]
    if held_out and training:
        if beside := sorted({*files} - {*held_out, *training}):
            names = some([str(file.relative_to(path)) for file in beside], most=5)
            warnings.warn(
                f"data {path}: left out {names} (beside train and validation)", stacklevel=2
            )
        return training, held_out
    return files, None


def _below(top):
    """(text files, {reason: names left out}) of a folder and all folders in it."""
    files, left_out, seen = [], defaultdict(list), {os.path.realpath(top)}
    folders = [top]
    while folders:
        folder = folders.pop()
        for entry in sorted(folder.iterdir()):
            name = str(entry.relative_to(top))
            if entry.name.startswith((".", "__")):
                left_out["hidden"].append(name)
            elif (place := os.path.realpath(entry)) in seen:  # a link leads to what is read anyhow
                left_out["there already"].append(name)
            elif (entry / "config.json").exists() or (entry / "train_config.json").exists():
                left_out["a model's folder"].append(name)
            elif entry.is_dir():
                folders.append(entry)
                seen.add(place)
            elif entry.is_file() and entry.suffix.lower() in SUFFIXES:
                files.append(entry)
                seen.add(place)
            elif entry.name not in BESIDE:
                left_out["no text file"].append(name)
    return sorted(files), left_out
