"""Grading as a pytest plugin, which setup.cfg names to pytest (`-p`).

    pytest tests/assignments                          grades chapters/assignments
    pytest tests/assignments -k ch05                  one chapter
    pytest tests/assignments --submission DIR         somebody else's folder
    pytest tests/assignments --all-mine               your functions calling each other, too
    pytest tests/assignments --isolated               in a worker, and counted, as a class is
    … --gradescope FILE --classroom FILE --gradebook FILE       reports

A function not written yet is "to do", which is no failure. Tests that fail show what the student
needs and none of the grader's own code. From a conftest.py the options would come too late: pytest
would take DIR for a folder of tests until then, and run a conftest.py in it.
"""

import os
import re
import secrets
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import pytest

from tinyqwen.course.allowance import Allowance, limit_memory
from tinyqwen.course.authoring.shortcuts import confirmed, weak_tests
from tinyqwen.course.capstone import standing
from tinyqwen.course.classroom.reports import Reports
from tinyqwen.course.clock import time_limit
from tinyqwen.course.registry import GRADERS, ROOT, STUBS, absent_in_class, chapters
from tinyqwen.course.runner import result_of, run
from tinyqwen.course.scoreboard import by_chapter, count, scoreboard
from tinyqwen.course.submission import find_file, submitted
from tinyqwen.course.swapping import swap, written_functions
from tinyqwen.viz.comparison import comparison
from tinyqwen.viz.style import save

PICTURES = ROOT / "runs" / "grading"
_grading = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("grading")
    path = {"type": os.path.expanduser}  # in --submission=~/x the shell leaves it to us
    group.addoption("--submission", **path, metavar="DIR", help="folder or file to grade")
    group.addoption("--all-mine", action="store_true", help="let your functions call each other")
    group.addoption("--isolated", action="store_true", help="run the code in a worker process")
    group.addoption("--gradescope", **path, metavar="FILE", help="write Gradescope's results.json")
    group.addoption("--classroom", **path, metavar="FILE", help="write the GitHub runner result")
    group.addoption("--gradebook", **path, metavar="FILE", help="write a CSV, a row a student")
    group.addoption("--student-name", metavar="NAME", help="name in the gradebook")
    group.addoption(
        "--grading-seed",
        metavar="N",
        type=int,
        help="seed of the inputs: 0, but drawn with --isolated",
    )


class Grading:
    """One run: the submission, the results in the order of the tests, and the reports."""

    def __init__(self, config, items):
        option = config.getoption
        self.folder = folder_of(config)
        self.isolated = option("isolated")
        self.seed = option("grading_seed")
        if self.seed is None:  # whoever knows the inputs could bring a table of answers
            self.seed = secrets.randbits(31) if self.isolated else 0
        self.around = None
        if self.isolated and option("all_mine"):
            raise pytest.UsageError("--all-mine runs your functions in this process: no --isolated")
        if option("all_mine"):
            try:
                functions = written_functions(self.folder)
            except ValueError as error:
                raise pytest.UsageError(f"--all-mine: {error}") from None
            self.around = lambda: swap(functions)
        self.submissions, self._weak = {}, {}
        self.results = {
            item.nodeid: result_of(item.function, item.path.name[5:9])
            for item in items
            if is_grader(item)
        }
        try:
            self.reports = Reports(
                option("student_name") or self.folder.resolve().stem,
                option("gradescope"),
                option("classroom"),
                option("gradebook"),
            )
            self.reports.write(self.counted())
        except (ValueError, OSError) as error:
            raise pytest.UsageError(str(error)) from None

    def submission(self, key):
        if key not in self.submissions:
            one = chapters()[key]
            if self.isolated:
                self.close()  # one worker at a time
                self.submissions[key] = self.allowance.load(one, self.folder)
            else:
                with time_limit(20):
                    self.submissions[key] = submitted(one, self.folder, self.around)
        return self.submissions[key]

    @cached_property
    def allowance(self):
        """What a stranger's submission may take, for all chapters that are graded."""
        return Allowance(by_chapter(self.results.values()))

    def close(self):
        for submission in self.submissions.values():
            submission.close()

    def grade(self, item):
        result = self.results[item.nodeid]
        graded = self.allowance.run if self.isolated else run
        graded(item.function, self.submission(result.chapter), result, self.seed)
        if result.picture is not None:
            result.message += picture_of(result)
            result.picture = None
        self.reports.write(self.counted())
        return result

    def absent(self):
        """A line for each file that imports what is not there when a class is graded."""
        for key in by_chapter(self.results.values()):
            file = find_file(chapters()[key], self.folder)
            with suppress(OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                stub = chapters()[key].stub.read_text(encoding="utf-8")
                if file is not None and (names := absent_in_class(file.read_bytes(), stub)):
                    yield f"{file.name}: not there when a class is graded: {', '.join(names)}"

    def counted(self):
        """The results, as they count: of others' code as in a class, beside proof (`shortcuts`)."""
        if not self.isolated:
            return list(self.results.values())
        results = []
        for key, group in by_chapter(self.results.values()).items():
            if count(group, "passed") and key not in self._weak:
                self._weak[key] = weak_tests(chapters()[key])
            results += confirmed(group, self._weak.get(key, {}))
        return results


def folder_of(config) -> Path:
    """What is graded: `--submission`, or the stubs' own folder."""
    folder = Path(config.getoption("submission") or STUBS)
    if not folder.exists():
        raise pytest.UsageError(f"--submission {folder}: no such file or folder")
    return folder


def is_grader(item):
    """True for the tests of a chapter's assignment."""
    return item.path.parent == GRADERS and item.path.name[5:9] in chapters()


def picture_of(result, folder=None) -> str:
    """Draw yours, expected and their difference; returns a line for the message."""
    yours, expected, axes = result.picture
    path = Path(folder or PICTURES) / f"{result.chapter}_{result.name}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(comparison(yours, expected, axes), path)
    except (OSError, ValueError):
        return ""  # a read-only folder, say: the numbers have told it already
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"\n  picture   {shown}"


@pytest.fixture
def submission(request):
    """The student's functions of the test's chapter."""
    return request.config.stash[_grading].submission(request.path.name[5:9])


def pytest_configure(config):
    """`-k ch5` is chapter 05, and `-k ch1` not also chapters 10 to 19."""
    config.option.keyword = re.sub(r"\bch(\d)\b", r"ch0\1", config.option.keyword)
    if config.getoption("isolated"):
        limit_memory()


def pytest_collection_modifyitems(config, items):
    together = [item for item in items if item.path.name == "test_together.py"]
    if together and not config.getoption("all_mine"):
        items[:] = [item for item in items if item not in together]
        config.hook.pytest_deselected(items=together)  # or pytest counts one more than it runs
    if any(is_grader(item) for item in items):
        config.stash[_grading] = Grading(config, items)


def pytest_deselected(items):
    """Tests that `-k` leaves out are not part of the grade."""
    if items and (grading := items[0].config.stash.get(_grading, None)):
        for item in items:
            grading.results.pop(item.nodeid, None)
        grading.reports.write(grading.counted())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not is_grader(pyfuncitem):
        return None
    result = pyfuncitem.config.stash[_grading].grade(pyfuncitem)
    if result.status == "todo":
        pytest.skip(result.message)
    if result.status != "passed":
        pytest.fail(result.text, pytrace=False)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if is_grader(item) and report.skipped:
        report.to_do = "to do" if item.function.points.number else "for honor"
    return report


def pytest_report_teststatus(report):
    if to_do := getattr(report, "to_do", None):
        return to_do, "-", to_do.upper()
    return None


def pytest_terminal_summary(terminalreporter, config):
    grading = config.stash.get(_grading, None)
    if grading is None or not grading.results or config.getoption("collectonly"):
        return
    terminalreporter.section(f"scoreboard: {_shown(grading.folder)}")
    results = grading.counted()
    sound = not terminalreporter.stats.get("failed")
    capstone = standing(grading.folder, results, grading.around is not None, sound)
    for line, color in scoreboard(results) + capstone:
        terminalreporter.write_line(line, **({color: True} if color else {}))
    for left in dict.fromkeys(r.message for r in results if "still raises" in r.message):
        terminalreporter.write_line(left)
    for line in () if grading.isolated else grading.absent():
        terminalreporter.write_line(line, yellow=True)
    if grading.isolated:
        seed = f"--grading-seed {grading.seed}"
        terminalreporter.write_line(f"The inputs were drawn; the same ones come with {seed}")


def _shown(path):
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def pytest_sessionfinish(session, exitstatus):
    """With a report to write, failed tests are a grade, and no failure of the run."""
    grading = session.config.stash.get(_grading, None)
    if grading:
        grading.close()
    if grading and grading.reports and exitstatus == pytest.ExitCode.TESTS_FAILED:
        session.exitstatus = pytest.ExitCode.OK
