"""The capstone: models made of a student's own code, trained to where the library's end.

Its first half takes three things: every function of chapters 01 to 13 is written, the stretch
functions aside; the graders, run with `--all-mine`, give every point; and `python -m tinyqwen.train
--student …` ends at most 0.15 nats per token above the floor, the entropy of the validation text.
The second half has a model for each chapter that brings one, chapter 14 a translator and chapter 15
a small BERT, and asks the same of the chapter and of a run with `--model marian` or `bert`. It is
worth no points: the scoreboard says how things stand.

A run on a student's code keeps student.json in its folder: the functions, and a digest of their
files. The best that each digest has reached is in runs/capstone.json.
"""

import hashlib
import re
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinyqwen.course.registry import ROOT, chapters, functions_in, is_written
from tinyqwen.course.runner import graders_of, result_of, run
from tinyqwen.course.submission import find_file, submitted
from tinyqwen.storage.files import read_json, write_json

FIRST_HALF = 13  # its last chapter
RECORD = ROOT / "runs" / "capstone.json"
MARK = "student.json"
NOT_TRAINED = ("course.", "analysis.", "generation.")  # homes of what no training step runs


@dataclass(frozen=True)
class Goal:
    """A model to be trained.

    task: what it learns; own: the chapter that brings it, beside those of the first half, or None;
    name: of the model; figure: of the trainer's summary, "gap" or one of its shares; limit: what it
    must reach; flags: of `python -m tinyqwen.train`.
    """

    task: str
    own: str | None
    name: str
    figure: str
    limit: float
    flags: str = ""

    @property
    def keys(self) -> list[str]:
        """Of the chapters whose functions it takes."""
        first = [key for key, one in chapters().items() if one.number <= FIRST_HALF]
        return [*first, self.own] if self.own else first

    def value(self, summary):
        """What a run has reached, or None where it was not measured."""
        return summary["gap"] if self.figure == "gap" else summary["shares"].get(self.figure)

    def reached(self, value) -> bool:
        """Whether that is enough."""
        return value <= self.limit if self.figure == "gap" else value >= self.limit

    def better(self, value, other) -> bool:
        """Whether a run has reached more than another."""
        return value < other if self.figure == "gap" else value > other

    def told(self, value) -> str:
        """A figure in words."""
        if self.figure == "gap":
            return f"{value:.3f} nats above the floor"
        return f"{value:.1%} {self.figure.replace('_', ' ')}"

    @property
    def wanted(self) -> str:
        """What is asked for, in words."""
        if self.figure == "gap":
            return f"at most {self.limit} nats above the floor"
        return f"at least {self.limit:.0%} {self.figure.replace('_', ' ')}"


GOALS = (
    Goal("causal", None, "a model", "gap", 0.15),
    Goal("translate", "ch14", "a translator", "exact", 0.95, " --model marian --direction zh-en"),
    Goal("masked", "ch15", "a small BERT", "masked_accuracy", 0.65, " --model bert"),
)


def goals() -> list[Goal]:
    """Those whose chapters are there."""
    return [goal for goal in GOALS if goal.own is None or goal.own in chapters()]


def _goal_of(task):
    return next((goal for goal in goals() if goal.task == task), None)


def written(folder, keys=None) -> list[str]:
    """Names of the functions that are written in a folder of assignments; none of them is run.

    keys: of the chapters that count, here and below; None for all
    """
    names = []
    for chapter, file in _files(folder, keys):
        try:
            trees = functions_in(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        names += [n for n in chapter.required if n in trees and is_written(trees[n])]
    return names


def assigned(keys=None) -> list[str]:
    """Names of all functions of chapters, but for those that are asked for honor."""
    return [name for key in keys or chapters() for name in chapters()[key].required]


def shortcomings(folder) -> list[str]:
    """A line for each function that a run would use and that fails a test of its chapter, or for
    each file that does not load; of several tests one that names the mistake.

    The graders run in this process: on one's own code.
    """
    found, named = {}, set()
    for chapter, file in _files(folder):
        used = [n for n, home in chapter.assigned.items() if not home.startswith(NOT_TRAINED)]
        submission = submitted(chapter, folder)
        for test in graders_of(chapter):
            submission.used.clear()
            result = run(test, submission, result_of(test, chapter.key))
            if result.unreadable:
                found.setdefault(file, " ".join(result.text.split()))
                break
            for name in submission.used & set(used):
                if result.status in ("failed", "error"):
                    told = result.text.partition("\n")[0].rstrip(".")
                    told += f", likely: {result.mistake}" if result.mistake else ""
                    if name not in found or (result.mistake and name not in named):
                        found[name] = f"{chapter.key} {name}: {told}"
                    named |= {name} if result.mistake else set()
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
        if not own and (name := _refuses(error, folder)):
            raise ValueError(f"{name}; the arguments are those of the stub") from error
        if not own:
            raise
        name, line = Path(own[-1].filename).name, own[-1].lineno
        raise ValueError(
            f"{own[-1].name} in {name}, line {line}: {type(error).__name__}: {error}"
        ) from error


def _refuses(error, folder):
    """ "f in file: what it says" of a student's function that has other arguments, or None."""
    called = re.match(r"(\w+)\(\) (got|takes|missing) ", str(error))
    if isinstance(error, TypeError) and called:
        for chapter, file in _files(folder):
            if called[1] in chapter.assigned:
                return f"{called[1]} in {file.name}: {error}"
    return None


def digest(folder, keys=None) -> str:
    """A digest of the files that the chapters' functions are in."""
    content = hashlib.sha256()
    for chapter, file in _files(folder, keys):
        content.update(f"{chapter.key} {file.stat().st_size}\n".encode() + file.read_bytes())
    return content.hexdigest()


def _files(folder, keys=None):
    found = [(chapters()[key], find_file(chapters()[key], folder)) for key in keys or chapters()]
    return [(chapter, file) for chapter, file in found if file is not None]


# ---------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------


def begin(run, student, resume, task="causal"):
    """Mark a run folder as made of a student's code; called before the first step.

    student: the folder of assignments, or None; task: what the run is for. A run resumed on other
    code than it began with loses its mark. Raises ValueError for one that is resumed on the
    library's.
    """
    mark, goal = Path(run) / MARK, _goal_of(task)
    keys = goal and goal.keys
    if student and not resume:
        functions = written(student, keys)
        write_json(mark, {"functions": functions, "digest": digest(student, keys)})
    elif mark.exists() and not student:
        raise ValueError(
            f"{run} is a run on a student's code; go on with --resume --student FOLDER"
        )
    elif mark.exists() and read_json(mark).get("digest") != digest(student, keys):
        mark.unlink()


def end(run, summary, task="causal", record=None) -> str:
    """Record what a marked run has reached; returns a line that says how near the capstone is.

    summary: the trainer's; record: the file to write, RECORD by default.
    """
    mark, goal = Path(run) / MARK, _goal_of(task)
    if not mark.exists():
        return "Not counted for the capstone: parts of this run were made by other code."
    if goal is None:
        known = ", ".join(f"{goal.name} ({goal.task})" for goal in goals())
        return f"Not counted for the capstone, which takes {known}."
    value = goal.value(summary)
    if value is None:
        what = (
            "a validation loss and a text of known floor" if goal.figure == "gap" else goal.wanted
        )
        return f"Not counted for the capstone: it takes {what}."
    begun, total = read_json(mark), len(assigned(goal.keys))
    count, key = len(begun["functions"]), begun["digest"]
    record = Path(record or RECORD)
    record.parent.mkdir(parents=True, exist_ok=True)
    runs = _runs(record)
    best = runs.setdefault(goal.task, {})
    if key not in best or goal.better(value, best[key]):
        best[key] = value
        write_json(record, runs)
    reached = "reached" if goal.reached(value) else "not reached; train longer"
    told = f"Capstone: {count} of {total} functions yours, {goal.told(value)} ({goal.wanted}): "
    return told + f"{reached if count == total else 'functions are missing'}."


def _runs(record):
    """{task: {digest: what it has reached}} of the record; empty where it cannot be read."""
    try:
        return {
            task: {key: float(value) for key, value in best.items()}
            for task, best in read_json(record).items()
        }
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
    if not written(folder):
        return [(f"capstone: 0 of {len(assigned())} functions written", "")]
    lines = []
    for goal in goals():
        keys = [goal.own] if goal.own else goal.keys
        title = f"capstone, second half: {goal.name}" if goal.own else "capstone"
        steps = [
            _all_written(folder, keys),
            _all_points([r for r in results if r.chapter in keys], all_mine, sound),
            _trained(folder, goal, record),
        ]
        met = all(done for done, _ in steps)
        lines.append((title + ": met" * met, "green" if met else ""))
        lines += [(f"  {'✓' if done else '·'} {told}", "") for done, told in steps]
    return lines


def _all_written(folder, keys):
    count, total = len(written(folder, keys)), len(assigned(keys))
    which = (
        f"chapters {keys[0][2:]} to {keys[-1][2:]}" if len(keys) > 1 else f"chapter {keys[0][2:]}"
    )
    return count == total, f"every function of {which} written: {count} of {total}"


def _all_points(results, all_mine, sound):
    earned, possible = sum(r.earned for r in results), sum(r.possible for r in results)
    told = "every point with --all-mine: "
    told += f"{earned} of {possible}" if all_mine else "pytest tests/assignments --all-mine"
    return all_mine and sound and earned == possible, told


def _trained(folder, goal, record):
    how = f"{goal.name} of your code, {goal.wanted}"
    command = f"python -m tinyqwen.train --student {_shown(folder)}{goal.flags}"
    best, key = _runs(Path(record or RECORD)).get(goal.task, {}), digest(folder, goal.keys)
    if key not in best:
        other = "the runs so far were of other code; " if best else ""
        return False, f"{how}: {other}{command}"
    every = len(written(folder, goal.keys)) == len(assigned(goal.keys))
    return every and goal.reached(best[key]), f"{how}: {goal.told(best[key])}"


def _shown(folder):
    folder = Path(folder).resolve()
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
