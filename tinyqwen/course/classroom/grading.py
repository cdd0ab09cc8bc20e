"""Grade a class: a folder of submissions in, a gradebook and reports out.

    python -m tinyqwen.grade SUBMISSIONS/ --out gradebook.csv --jobs 2

Every student is graded in processes of their own (`job`, and `isolation` under it), with inputs of
their own: the seed of a chapter follows from the seed of the class, the student's name and what was
handed in. What is done is kept, so that a run that was stopped goes on where it was, a run over
other chapters adds to the gradebook, and a file that has changed is graded again, with other inputs
than those that its author has read of. Beside gradebook.csv stands the folder gradebook/:

    index.html       for the teacher: the class, what the platform enforced, what to look at
    NAME.html        for each student: what they see
    submissions/     what was graded, under the stubs' names (`submissions`)
    results/         what the pages are made of;  class.json: the seed, the chapters
"""

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from tinyqwen.course.allowance import SLACK, longest
from tinyqwen.course.authoring.shortcuts import confirmed, weak_tests
from tinyqwen.course.classroom import pages, reports
from tinyqwen.course.classroom.submissions import collect
from tinyqwen.course.isolation import received
from tinyqwen.course.isolation.outside import available
from tinyqwen.course.registry import ROOT, chapter, chapters
from tinyqwen.course.runner import Result, graders_of, result_of
from tinyqwen.course.scoreboard import total
from tinyqwen.storage.files import make_folder, read_json, write_json, write_text

LEAST_MEMORY = 64 << 20  # bytes


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
    if not most > 0:
        raise ValueError(f"--time-limit {most:g}: a test needs more than that")
    if worker.get("memory", LEAST_MEMORY) < LEAST_MEMORY:
        raise ValueError(
            f"--memory {worker['memory'] >> 20}: a process needs {LEAST_MEMORY >> 20} MiB at least"
        )
    out = Path(out)
    if out.suffix != ".csv":
        raise ValueError(f"--out {out}: the gradebook's name must end in .csv")
    if out.resolve().is_relative_to(Path(folder).resolve()):
        raise ValueError(f"--out {out}: {folder} is the students'; choose another place")
    keys = [chapter(key).key for key in keys] or list(chapters())
    beside = out.with_suffix("")
    known = _known(out, beside)
    students = collect(folder, keys, beside / "submissions")
    one_class = _class(known, beside, seed, keys)
    waiting = {}
    for student in students:
        student.seeds = {
            key: seed_of(one_class["seed"], student.name, student.contents.get(key, ""))
            for key in keys
        }
        due = [key for key in keys if again or not _reload(student, beside, key, one_class)]
        if due:
            waiting[student.slug] = (student, due)
    if len(waiting) < len(students):
        print(f"{len(students) - len(waiting)} of {len(students)} students are graded already")
    for student in students:
        if student.slug not in waiting:
            _finish(student, beside, one_class)
    settings = {"most": most, **worker}
    try:
        for student in _jobs(list(waiting.values()), jobs, settings):
            _finish(student, beside, one_class)
            _report(students, one_class, out, beside)
        alone = [(student, sorted(student.unloaded)) for student in students if student.unloaded]
        for student in _jobs(alone, 1, settings):  # nobody else's doing, then
            _finish(student, beside, one_class)
    finally:
        _report(students, one_class, out, beside)
    return students


def _known(out, beside):
    """What an earlier run has left of the class, or None."""
    known = read_json(beside / "class.json") if (beside / "class.json").exists() else None
    if known is None and out.exists():
        raise FileExistsError(f"{out} exists and is not of an earlier run; choose another name")
    return known


def _class(known, beside, seed, keys):
    """The class's seed, and its chapters so far with their graders and weak tests."""
    known = known or {"seed": secrets.randbits(63), "graders": {}, "weak": {}}
    made = {"seed": known["seed"] if seed is None else seed, "chapters": []}
    graders, weak = dict(known["graders"]), dict(known["weak"])
    now = {key: hashlib.sha256(chapter(key).graders.read_bytes()).hexdigest() for key in keys}
    new = [key for key in keys if graders.get(key) != now[key] or key not in weak]
    if new:
        bar = tqdm(new, desc="preparing the graders, once", unit="chapter")
        weak |= {key: weak_tests(chapter(key)) for key in bar}
    made |= {"graders": graders | now, "weak": weak}
    made["chapters"] = sorted(key for key in made["graders"] if key in chapters())
    make_folder(beside / "results")
    write_json(beside / "class.json", made)
    return made


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


def _digest(student, key, one_class):
    return f"{one_class['graders'][key]} {student.contents.get(key, '')} {student.seeds.get(key)}"


def _saved(student, beside):
    return beside / "results" / f"{student.slug}.json"


def _save(student, beside, one_class):
    done = {
        key: {
            "digest": _digest(student, key, one_class) if key in student.seeds else None,
            "results": [vars(result) for result in results],
        }
        for key, results in student.results.items()
    }
    made = {"name": student.name, "fences": student.fences, "trouble": student.trouble}
    write_json(_saved(student, beside), {**made, "chapters": done})


def _reload(student, beside, key, one_class):
    """Take what an earlier run has found out; False if there is nothing of `key`, or it is old."""
    if not _saved(student, beside).exists():
        return False
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        saved = read_json(_saved(student, beside))
        if saved["name"] == student.name:
            for other, one in saved["chapters"].items():
                if other in one_class["chapters"]:
                    student.results[other] = [Result(**result) for result in one["results"]]
            student.fences, student.trouble = saved["fences"], saved["trouble"]
            return saved["chapters"][key]["digest"] == _digest(student, key, one_class)
    return False


# ---------------------------------------------------------------------------------------------
# Grading
# ---------------------------------------------------------------------------------------------


def _jobs(work, jobs, settings):
    """Grade (student, chapters) pairs, so many at once; yields each student when done."""
    running, stopped, names = set(), threading.Event(), []
    total = sum(len(keys) for _, keys in work)
    pool = ThreadPoolExecutor(jobs)
    with tqdm(total=total, unit="chapter", disable=not work) as bar:

        def grade(student, keys):
            names.append(student.name)
            bar.set_postfix_str(", ".join(names)[:60])
            try:
                _run_job(student, keys, settings, running, stopped, bar)
            except Exception as error:  # one student's trouble is never the class's
                student.trouble.append(f"the grading did not end: {received.line(str(error))}")
            for key in keys:
                if stopped.is_set():
                    student.results.pop(key, None)  # to be done when it goes on
                elif key not in student.results:  # worth nothing, and told
                    tests = graders_of(chapter(key))
                    student.results[key] = [result_of(test, key) for test in tests]
            names.remove(student.name)
            return student

        try:
            for done in as_completed([pool.submit(grade, *one) for one in work]):
                if not stopped.is_set():
                    yield done.result()
        except BaseException:
            print("\nstopped: the same command goes on from here", file=sys.stderr)
            raise
        finally:
            stopped.set()
            for process in list(running):
                process.kill()
            pool.shutdown(cancel_futures=True)


def _run_job(student, keys, settings, running, stopped, bar):
    """Run one student's job and read what it prints."""
    if stopped.is_set():
        return
    student.trouble = [note for note in student.trouble if note[:4] not in keys]
    for key in keys:
        student.results.pop(key, None)
    seeds = {key: student.seeds[key] for key in keys}
    request = {"path": str(student.path.absolute()), "seeds": seeds, **settings}
    request["class"] = os.getpid()  # with which the job is to end
    process = subprocess.Popen(
        [sys.executable, "-m", "tinyqwen.course.classroom.job", json.dumps(request)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",  # whatever this machine's is
        errors="replace",
        start_new_session=True,  # Ctrl-C is this process's business
    )
    running.add(process)
    watch = threading.Timer(longest(keys) + SLACK, process.kill)
    watch.start()
    errors = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()[-2000:]))
    reader.start()
    try:
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # killed in the middle of it
            _take(student, json.loads(line))
            bar.update()
    finally:
        process.kill()
        process.wait()
        reader.join()
        watch.cancel()
        running.discard(process)
    missing = [key for key in keys if key not in student.results]
    if missing and not stopped.is_set():
        last = (errors[0].strip().splitlines() or ["killed"])[-1]
        student.trouble.append(
            f"{missing[0]}: the grading did not end (exit {process.returncode}): "
            f"{received.line(last)}"
        )


def _take(student, done):
    """What a job has printed of a chapter."""
    key = done["chapter"]
    student.results[key] = [Result(**result) for result in done["results"]]
    student.fences |= done["fences"]
    student.unloaded.discard(key)
    if not done["loaded"]:
        student.unloaded.add(key)
    if done["restarts"]:
        student.trouble.append(f"{key}: processes that did not survive: {done['restarts']}")


# ---------------------------------------------------------------------------------------------
# Reports
# ---------------------------------------------------------------------------------------------


def counted(student, one_class) -> list[Result]:
    """A student's results as they count: the points of weak tests beside proof."""
    weak = one_class["weak"]
    groups = [confirmed(student.results[key], weak[key]) for key in sorted(student.results)]
    return [result for group in groups for result in group]


def _finish(student, beside, one_class):
    """Keep what came of a student, and write the page."""
    try:
        _save(student, beside, one_class)
        page = pages.student_page(student, counted(student, one_class))
        write_text(beside / f"{student.slug}.html", page)
    except Exception as error:
        student.trouble.append(f"the page could not be written: {received.line(str(error))}")


def _report(students, one_class, out, beside):
    """Write the gradebook and the teacher's page of all who are graded so far."""
    done = [(s, counted(s, one_class)) for s in students if s.results]
    book = ""
    for student, results in done:
        student.points = total(results)
        book = reports.gradebook(results, student.name, book)
    if book:
        write_text(out, "\ufeff" + book)  # by this mark spreadsheets know that it is UTF-8
    write_text(beside / "index.html", pages.class_page(done, len(students), one_class))
