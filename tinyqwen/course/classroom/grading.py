"""Grade a class: a folder of submissions in, a gradebook and reports out.

    python -m tinyqwen.grade SUBMISSIONS/ --out gradebook.csv --jobs 2

Every student is graded in processes of their own (`job`, and `isolation` under it), with inputs
of their own: the seed of a student follows from the seed of the class, the student's name and what
was handed in. What is done is kept, so that a run that was stopped goes on where it was, and a
submission that has changed is graded again, with other inputs than those that its author has read
of. Beside gradebook.csv stands the folder gradebook/:

    index.html       for the teacher: the class, what the platform enforced, what to look at
    NAME.html        for each student: what they see
    results/         what the pages are made of;  class.json: the seed, the chapters
"""

import contextlib
import hashlib
import json
import re
import secrets
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from tinyqwen.course.authoring.mutants import graders_of
from tinyqwen.course.authoring.shortcuts import confirm, weak_tests
from tinyqwen.course.classroom import pages, reports
from tinyqwen.course.isolation.limit import PATIENCE
from tinyqwen.course.isolation.outside import available, read_source
from tinyqwen.course.isolation.wire import printable
from tinyqwen.course.registry import ROOT, chapter, chapters
from tinyqwen.course.runner import Result, result_of
from tinyqwen.storage.files import read_json, write_json, write_text

MAX_NAME = 50  # characters: of four bytes each they still fit into the name of a file
STARTING = 60  # seconds for a job to start, and for each chapter's worker


@dataclass
class Student:
    """A submission, its seed, and what came of it.

    content: a digest of what was handed in;  results: of all tests;  fences: {fence: what it does}
    of the platform;  trouble: what a teacher should look at, in words
    """

    name: str
    path: Path
    slug: str
    content: str = ""
    seed: int = 0
    results: list = field(default_factory=list)
    fences: dict = field(default_factory=dict)
    trouble: list = field(default_factory=list)

    @property
    def seconds(self):
        return sum(result.seconds for result in self.results)


def grade_class(folder, out, jobs=1, seed=None, keys=(), again=False, most=300.0, **worker):
    """Grade all submissions in a folder; returns the students.

    out: the gradebook (CSV);  jobs: students graded at once;  seed: of the class, else drawn
    keys: chapters, else all;  again: grade everybody anew;  most: seconds no test may exceed
    worker: settings of `isolation.outside.Worker`: memory in bytes, fences
    Raises ValueError, FileNotFoundError or FileExistsError where that cannot be done.
    """
    if not available():
        raise ValueError(
            "grading others' code needs Linux or macOS: it runs in processes with limits"
        )
    if jobs < 1:
        raise ValueError(f"--jobs {jobs}: at least one student at a time")
    out = Path(out)
    if out.suffix != ".csv":
        raise ValueError(f"--out {out}: the gradebook's name must end in .csv")
    if out.resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(f"--out {out}: {folder} is the students'; choose another place")
    beside = out.with_suffix("")
    keys = [chapter(key).key for key in keys] or list(chapters())
    students = _students(Path(folder), keys)
    one_class = _class(out, beside, seed, keys)
    for student in students:
        student.content = content_of(student.path)
        student.seed = seed_of(one_class["seed"], student.name, student.content)
    graders = one_class["graders"]
    waiting = [s for s in students if again or not _reload(s, beside, graders, one_class)]
    if len(waiting) < len(students):
        print(f"{len(students) - len(waiting)} of {len(students)} students are graded already")
    try:
        for student in _jobs(waiting, jobs, keys, {"most": most, **worker}):
            _save(student, beside, graders)
            _report(students, one_class, out, beside)
    finally:
        _report(students, one_class, out, beside)
    return students


def _class(out, beside, seed, keys):
    """The class's settings, from its folder if it has been graded before."""
    known = read_json(beside / "class.json") if (beside / "class.json").exists() else None
    if known is None and out.exists():
        raise FileExistsError(f"{out} exists and is not of an earlier run; choose another name")
    drawn = known["seed"] if known else secrets.randbits(63)
    made = {"seed": drawn if seed is None else seed, "chapters": keys}
    made["graders"] = _graders_digest(keys)
    if known and known["graders"] == made["graders"]:
        made["weak"] = known["weak"]
    else:
        bar = tqdm(keys, desc="preparing the graders, once", unit="chapter")
        made["weak"] = {key: weak_tests(chapter(key)) for key in bar}
    (beside / "results").mkdir(parents=True, exist_ok=True)
    write_json(beside / "class.json", made)
    return made


def _students(folder, keys):
    """The submissions: folders, or Python files with a chapter's number in their names."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of submissions")
    students, taken = [], {"index"}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")) or not (path.is_dir() or path.suffix == ".py"):
            continue
        if path.is_symlink():
            print(f"{path}: a symbolic link is no submission", file=sys.stderr)
            continue
        named = re.search(r"ch\d\d", path.name)
        if path.is_file() and not named and len(keys) > 1:
            raise ValueError(
                f"{path}: which chapter is this? Put its number into the name, as in ada_ch04.py, "
                "or say --chapters ch04"
            )
        name = printable(path.stem if path.is_file() else path.name, MAX_NAME)
        while (slug := re.sub(r"[^\w.-]", "_", name)).lower() in taken:
            name += "_"
        taken.add(slug.lower())
        students.append(Student(name, path, slug))
    if not students:
        raise ValueError(f"{folder}: no folder and no Python file in it, so no submission")
    return students


def seed_of(class_seed, name, content) -> int:
    """A submission's seed, which nobody knows who does not know the class's.

    Reports print it, so a table of the answers to its inputs can be made: in vain, for a submission
    with that table in it is another one.
    """
    digest = hashlib.sha256(f"{class_seed}:{name}:{content}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


# ---------------------------------------------------------------------------------------------
# What is done already
# ---------------------------------------------------------------------------------------------


def _graders_digest(keys):
    digest = hashlib.sha256()
    for key in keys:
        digest.update(chapter(key).graders.read_bytes())
    return digest.hexdigest()


def content_of(path) -> str:
    """A digest of a submission: of the names and texts of its Python files."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    for file in files:
        digest.update(file.name.encode("utf-8", "surrogateescape"))
        if file.is_file() and not file.is_symlink():
            with contextlib.suppress(OSError, ValueError):  # a file that is not graded either
                digest.update(read_source(file))
    return digest.hexdigest()


def _digest(student, graders):
    return f"{graders} {student.content} {student.seed}"


def _saved(student, beside):
    return beside / "results" / f"{student.slug}.json"


def _save(student, beside, graders):
    results = [vars(result) for result in student.results]
    made = {"name": student.name, "digest": _digest(student, graders), "results": results}
    write_json(
        _saved(student, beside), {**made, "fences": student.fences, "trouble": student.trouble}
    )


def _reload(student, beside, graders, one_class):
    """Take what an earlier run has found out; False if there is nothing, or it is out of date."""
    if not _saved(student, beside).exists():
        return False
    with contextlib.suppress(ValueError, KeyError, TypeError):
        saved = read_json(_saved(student, beside))
        if saved["name"] == student.name and saved["digest"] == _digest(student, graders):
            student.results = [Result(**result) for result in saved["results"]]
            student.fences, student.trouble = saved["fences"], saved["trouble"]
            return {r.chapter for r in student.results} == set(one_class["chapters"])
    return False


# ---------------------------------------------------------------------------------------------
# Grading
# ---------------------------------------------------------------------------------------------


def _jobs(students, jobs, keys, settings):
    """Grade the students, so many at once; yields each when done."""
    running, stopped = set(), threading.Event()
    tests = {key: graders_of(chapter(key)) for key in keys}
    pool = ThreadPoolExecutor(jobs)
    with tqdm(total=len(students) * len(keys), unit="chapter", disable=not students) as bar:

        def grade(student):
            _run_job(student, tests, settings, running, stopped, bar)
            return student

        try:
            for done in as_completed([pool.submit(grade, student) for student in students]):
                yield done.result()
        except BaseException:
            print("\nstopped: the same command goes on from here", file=sys.stderr)
            raise
        finally:
            stopped.set()
            for process in list(running):
                process.kill()
            pool.shutdown(cancel_futures=True)


def _run_job(student, tests, settings, running, stopped, bar):
    """Run one student's job and read what it prints.  tests: {chapter: its graders}"""
    results, trouble = [], []
    student.results = []
    if stopped.is_set():
        return
    request = {"path": str(student.path.absolute()), "seed": student.seed, "chapters": list(tests)}
    request |= settings
    process = subprocess.Popen(
        [sys.executable, "-m", "tinyqwen.course.classroom.job", json.dumps(request)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is this process's business
    )
    running.add(process)
    watch = threading.Timer(longest(tests), process.kill)
    watch.start()
    errors = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()[-2000:]))
    reader.start()
    for line in process.stdout:
        if not line.endswith("\n"):
            break  # killed in the middle of it
        done = json.loads(line)
        results += [Result(**result) for result in done["results"]]
        student.fences |= done["fences"]
        if done["restarts"]:
            trouble.append(f"{done['chapter']}: processes that did not survive: {done['restarts']}")
        bar.update()
    process.wait()
    reader.join()
    watch.cancel()
    running.discard(process)
    if stopped.is_set():
        return
    if process.returncode:
        last = (errors[0].strip().splitlines() or ["killed"])[-1]
        trouble.append(f"the grading did not end (exit {process.returncode}): {last}")
    reached = {result.chapter for result in results}
    for key in tests.keys() - reached:  # worth nothing, and told
        results += [result_of(test, key) for test in tests[key]]
    student.results, student.trouble = results, trouble  # now it is done


def longest(tests) -> float:
    """Seconds that a job may take: all time limits together, and the starts."""
    limits = [test.points.seconds for graders in tests.values() for test in graders]
    return STARTING * (1 + len(tests)) + PATIENCE * sum(limits) + 4 * len(limits)


# ---------------------------------------------------------------------------------------------
# Reports
# ---------------------------------------------------------------------------------------------


def _report(students, one_class, out, beside):
    """Write gradebook and pages of all who are graded so far."""
    done, book = [s for s in students if s.results], ""
    for student in done:
        for key in one_class["chapters"]:
            confirm([r for r in student.results if r.chapter == key], one_class["weak"][key])
        book = reports.gradebook(student.results, student.name, book)
        write_text(beside / f"{student.slug}.html", pages.student_page(student))
    if book:
        write_text(out, book)
    write_text(beside / "index.html", pages.class_page(students, one_class))
