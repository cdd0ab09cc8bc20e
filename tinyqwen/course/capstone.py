"""The capstone: a model made of a student's own code, trained to where the library's ends.

It takes three things: every function of every chapter is written, the stretch functions aside; the
graders, run with `--all-mine`, give every point; and `python -m tinyqwen.train --student …` ends at
most `LIMIT` nats per token above the floor, the entropy of the validation text. It is worth no
points: the scoreboard says how things stand.

A run on a student's code keeps student.json in its folder: the functions, and a digest of their
files. The best that each digest has reached is in runs/capstone.json.
"""

import hashlib
import math
import traceback
from contextlib import contextmanager
from pathlib import Path

from tinyqwen.course.registry import ROOT, chapters, functions_in, is_written
from tinyqwen.course.runner import graders_of, result_of, run
from tinyqwen.course.submission import find_file, submitted
from tinyqwen.storage.files import read_json, write_json

LIMIT = 0.15  # nats per token above the floor
RECORD = ROOT / "runs" / "capstone.json"
MARK = "student.json"
NOT_TRAINED = ("course.", "analysis.", "generation.")  # homes of what no training step runs


def written(folder) -> list[str]:
    """Names of the functions that are written in a folder of assignments; none of them is run."""
    names = []
    for chapter, file in _files(folder):
        try:
            trees = functions_in(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        names += [n for n in chapter.required if n in trees and is_written(trees[n])]
    return names


def assigned() -> list[str]:
    """Names of all functions of all chapters, but for those that are asked for honor."""
    return [name for chapter in chapters().values() for name in chapter.required]


def shortcomings(folder) -> list[str]:
    """A line for each function that a run would use and that fails a test of its chapter.

    The graders run in this process: on one's own code.
    """
    found = {}
    for chapter, _ in _files(folder):
        used = [n for n, home in chapter.assigned.items() if not home.startswith(NOT_TRAINED)]
        submission = submitted(chapter, folder)
        for test in graders_of(chapter):
            submission.used.clear()
            result = run(test, submission, result_of(test, chapter.key))
            for name in submission.used & set(used):
                if result.status in ("failed", "error"):
                    told = result.text.partition("\n")[0].rstrip(".")
                    found.setdefault(name, f"{chapter.key} {name}: {told}")
    return list(found.values())


@contextmanager
def explained(folder):
    """An exception out of a student's function tells the function, its file and its line."""
    files = {str(file.resolve()) for _, file in _files(folder)}
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename in files]
        if not own:
            raise
        name, line = Path(own[-1].filename).name, own[-1].lineno
        raise ValueError(
            f"{own[-1].name} in {name}, line {line}: {type(error).__name__}: {error}"
        ) from error


def digest(folder) -> str:
    """A digest of the files that the chapters' functions are in."""
    content = hashlib.sha256()
    for chapter, file in _files(folder):
        content.update(f"{chapter.key} {file.stat().st_size}\n".encode() + file.read_bytes())
    return content.hexdigest()


def _files(folder):
    found = [(chapter, find_file(chapter, folder)) for chapter in chapters().values()]
    return [(chapter, file) for chapter, file in found if file is not None]


# ---------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------


def begin(run, student, resume):
    """Mark a run folder as made of a student's code; called before the first step.

    student: the folder of assignments, or None. A run resumed on other code than it began with
    loses its mark. Raises ValueError for one that is resumed on the library's.
    """
    mark = Path(run) / MARK
    if student and not resume:
        write_json(mark, {"functions": written(student), "digest": digest(student)})
    elif mark.exists() and not student:
        raise ValueError(
            f"{run} is a run on a student's code; go on with --resume --student FOLDER"
        )
    elif mark.exists() and read_json(mark).get("digest") != digest(student):
        mark.unlink()


def end(run, gap, record=None) -> str:
    """Record what a marked run has reached; returns a line that says how near the capstone is.

    gap: nats per token above the floor, or None without a validation loss or a known floor.
    record: the file to write, RECORD by default.
    """
    mark = Path(run) / MARK
    if not mark.exists():
        return "Not counted for the capstone: parts of this run were made by other code."
    begun, total = read_json(mark), len(assigned())
    if gap is None:
        return "Not counted for the capstone: it takes a validation loss and a text of known floor."
    count = len(begun["functions"])
    record = Path(record or RECORD)
    record.parent.mkdir(parents=True, exist_ok=True)
    runs = _runs(record)
    if gap < runs.get(begun["digest"], math.inf):
        write_json(record, runs | {begun["digest"]: gap})
    reached = "reached" if gap <= LIMIT else "not reached; train longer"
    told = f"Capstone: {count} of {total} functions yours, {gap:.3f} nats above the floor "
    return told + f"({LIMIT} allowed): {reached if count == total else 'functions are missing'}."


def _runs(record):
    """{digest: nats above the floor} of the record; empty where it cannot be read."""
    try:
        return {key: float(gap) for key, gap in read_json(record).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


# ---------------------------------------------------------------------------------------------
# The scoreboard
# ---------------------------------------------------------------------------------------------


def standing(folder, results, all_mine=False, sound=True, record=None) -> list[tuple[str, str]]:
    """Lines for the scoreboard, each with its color, once all chapters have been graded.

    folder: what was graded; results: the graders' Results; all_mine: whether the student's
    functions called each other; sound: whether the tests of all functions together passed, too.
    """
    if {r.chapter for r in results} != set(chapters()):
        return []
    count, total = len(written(folder)), len(assigned())
    if not count:
        return [(f"capstone: 0 of {total} functions written", "")]
    earned, possible = sum(r.earned for r in results), sum(r.possible for r in results)
    steps = [
        (count == total, f"every function written: {count} of {total}"),
        (
            all_mine and sound and earned == possible,
            f"every point with --all-mine: {earned} of {possible}"
            if all_mine
            else "every point with --all-mine: pytest tests/assignments --all-mine",
        ),
        _trained(folder, total, record),
    ]
    met = all(done for done, _ in steps)
    lines = [("capstone: met" if met else "capstone", "green" if met else "")]
    return lines + [(f"  {'✓' if done else '·'} {told}", "") for done, told in steps]


def _trained(folder, total, record):
    record = Path(record or RECORD)
    how = f"a model of your code, at most {LIMIT} nats above the floor"
    command = f"python -m tinyqwen.train --student {_shown(folder)}"
    runs = _runs(record)
    if digest(folder) not in runs:
        other = "the runs so far were of other code; " if runs else ""
        return False, f"{how}: {other}{command}"
    gap = runs[digest(folder)]
    return len(written(folder)) == total and gap <= LIMIT, f"{how}: {gap:.3f}"


def _shown(folder):
    folder = Path(folder).resolve()
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
