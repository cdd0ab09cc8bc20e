"""What a class's gradebook keeps from run to run, with jobs that take no time: each says at once
what a student's file says that it is worth."""

import csv
import dataclasses
import io
import json
import os

import pytest

from tinyqwen.course import allowance, registry
from tinyqwen.course.classroom import grading, job
from tinyqwen.course.isolation.outside import available
from tinyqwen.course.registry import chapter
from tinyqwen.course.runner import graders_of, result_of
from tinyqwen.course.submission import Submission

pytestmark = pytest.mark.skipif(not available(), reason="grading others' code needs POSIX")
FILES = {key: chapter(key).file for key in ("ch04", "ch05")}


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that were started, [(folder's name, {chapter: seed}, settings)]; of each test the
    status is what the student's file says: "passed", "failed", "unreadable" or "killed"."""
    started = []

    class Job:
        def __init__(self, command, **options):
            request = json.loads(command[-1])
            assert request.pop("class") == os.getpid()
            path, seeds = grading.Path(request.pop("path")), request.pop("seeds")
            started.append((path.name, seeds, request))
            self.returncode, self.stderr = 0, io.StringIO("no memory\n")
            self.stdout = iter([self.line(path, key) for key in seeds])

        def line(self, path, key):
            file = path / FILES[key]
            status = file.read_text().split()[-1] if file.exists() else "todo"
            if status == "killed":
                self.returncode = -9
                return '{"chapter": "'
            results = [result_of(test, key) for test in graders_of(chapter(key))]
            for result in results:
                result.status = "failed" if status == "unreadable" else status
            loaded = status != "unreadable" or len(started) > 2  # the second time it loads
            return json.dumps({
                "chapter": key, "results": [dataclasses.asdict(r) for r in results],
                "fences": {key: "yes"}, "restarts": int(status == "failed"), "loaded": loaded,
            }) + "\n"  # fmt: skip

        def kill(self):
            pass

        def wait(self):
            pass

    monkeypatch.setattr(grading.subprocess, "Popen", Job)
    strong = {test.__name__: (["f"], False) for key in FILES for test in graders_of(chapter(key))}
    monkeypatch.setattr(grading, "weak_tests", lambda chapter: strong)
    return started


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    for name, status in (("ada", "passed"), ("bob", "failed")):
        (folder / name).mkdir(parents=True)
        (folder / name / FILES["ch04"]).write_text(f"# {status}")
    return folder


def grade(folder, *keys, name="g.csv", **settings):
    """The students by name, and {student: row} of the gradebook."""
    out = folder.parent / name
    students = grading.grade_class(folder, out, keys=keys or ["ch04"], **settings)
    text = out.read_bytes().decode()
    assert text.startswith("\ufeff")  # spreadsheets then know that it is UTF-8
    rows = {row["student"]: row for row in csv.DictReader(io.StringIO(text[1:]))}
    return {student.name: student for student in students}, rows


def test_only_what_is_new_is_graded_again(folder, jobs):
    students, rows = grade(folder, most=7.0)
    assert [(name, settings) for name, _, settings in jobs] == [
        ("ada", {"most": 7.0}), ("bob", {"most": 7.0}),
    ]  # fmt: skip
    assert rows["ada"]["total"] == "30" and rows["bob"]["total"] == "0"
    assert students["bob"].trouble == ["ch04: processes that did not survive: 1"]
    seeds = {name: one for name, one, _ in jobs}
    assert seeds["ada"] != seeds["bob"]

    jobs.clear()
    students, again = grade(folder)
    assert jobs == [] and again == rows
    assert students["bob"].trouble == ["ch04: processes that did not survive: 1"]
    assert students["bob"].fences == {"ch04": "yes"}

    (folder / "bob" / FILES["ch04"]).write_text("# passed")
    students, rows = grade(folder)
    assert [name for name, _, _ in jobs] == ["bob"] and jobs[0][1] != seeds["bob"]
    assert rows["bob"]["total"] == "30" and students["bob"].trouble == []

    jobs.clear()
    grade(folder, again=True)
    assert sorted(name for name, _, _ in jobs) == ["ada", "bob"] and jobs[0][1] == seeds["ada"]


def test_the_least_memory_is_enough(folder, jobs):
    grade(folder, memory=grading.LEAST_MEMORY)
    assert len(jobs) == 2
    with pytest.raises(ValueError, match="--memory 63: a process needs 64 MiB at least"):
        grade(folder, memory=grading.LEAST_MEMORY - 1)


def test_other_chapters_are_added(folder, jobs):
    grade(folder)
    (folder / "ada" / FILES["ch05"]).write_text("# passed")
    students, rows = grade(folder, "ch05")
    assert [sorted(seeds) for _, seeds, _ in jobs] == [["ch04"]] * 2 + [["ch05"]] * 2
    assert (rows["ada"]["ch04"], rows["ada"]["ch05"], rows["ada"]["possible"]) == ("30", "20", "50")
    assert students["ada"].points == (50, 50) and students["ada"].fences.keys() == FILES.keys()
    page = (folder.parent / "g" / "index.html").read_text()
    assert "chapters ch04, ch05" in page and "2 of 2 students graded" in page


def test_other_graders_and_other_weak_tests(folder, jobs, monkeypatch):
    """What a changed grader has said is old; and points count beside proof."""
    grade(folder)
    jobs.clear()
    changed = folder.parent / chapter("ch04").graders.name
    changed.write_text(chapter("ch04").graders.read_text() + "# another line\n")
    monkeypatch.setattr(registry, "GRADERS", folder.parent)
    weak = {test.__name__: (["f"], True) for test in graders_of(chapter("ch04"))}
    monkeypatch.setattr(grading, "weak_tests", lambda chapter: weak)
    students, rows = grade(folder)
    assert sorted(name for name, _, _ in jobs) == ["ada", "bob"]
    assert rows["ada"]["total"] == "0" and students["ada"].points == (0, 30)


def test_the_seed_of_a_class(folder, jobs):
    """It is drawn, unless it is given, and 0 is one; what it was once, it stays."""
    for name, given in (("a.csv", None), ("b.csv", None), ("c.csv", 0)):
        grade(folder, name=name, seed=given)
    seeds = [json.loads((folder.parent / n / "class.json").read_text())["seed"] for n in "abc"]
    assert len(set(seeds)) == 3 and seeds[2] == 0
    jobs.clear()
    grade(folder, name="c.csv")
    assert jobs == []
    grade(folder, name="a.csv", seed=0)
    assert len(jobs) == 2


def test_what_a_job_did_not_reach_is_possible_and_not_earned(folder, jobs):
    (folder / "ada" / FILES["ch04"]).write_text("# killed")
    students, rows = grade(folder)
    assert students["ada"].trouble == ["ch04: the grading did not end (exit -9): no memory"]
    assert (rows["ada"]["total"], rows["ada"]["possible"]) == ("0", "30")
    assert {r.status for r in students["ada"].all_results} == {"waiting"}


def test_what_did_not_load_is_tried_again_alone(folder, jobs):
    (folder / "ada" / FILES["ch04"]).write_text("# unreadable")
    students, _ = grade(folder)
    assert [name for name, _, _ in jobs] == ["ada", "bob", "ada"]
    assert not students["ada"].unloaded
    with pytest.raises(ValueError, match="at least one student"):
        grade(folder, jobs=0)


def test_a_job_hands_on_each_chapters_seed(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(allowance, "run", lambda *run: given.append(run[3:]))
    monkeypatch.setattr(allowance, "submitted", lambda one, path, **how: Submission({}))
    done = [one["chapter"] for one in job.grade(tmp_path, {"ch04": 7, "ch05": 0}, most=5.0)]
    assert done == ["ch04", "ch05"] and set(given) == {(7, 5.0), (0, 5.0)}
