"""`grade("ch05")` in a notebook: the same tests, in a process of their own, as a small table."""

import base64
import html
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tinyqwen.course.registry import GRADERS, ROOT, STUBS, chapter


def grade(key, submission=None, all_mine=False):
    """Grade one chapter and show the scoreboard and the first diagnosis.

    key: "ch05", or 5;  submission: folder or file, chapters/assignments unless given;
    all_mine: let the student's functions call each other instead of the library's.
    Returns an object that a notebook draws as a table and print() as text. Raises ValueError for a
    chapter without an assignment, RuntimeError if the tests could not run.
    """
    one = chapter(key)
    folder = Path(submission or STUBS).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "results.json"
        command = [sys.executable, "-m", "pytest", str(GRADERS / one.graders.name), "-q"]
        command += ["-p", "no:cacheprovider", f"--submission={folder}"]
        command += ["--gradescope", str(report)] + ["--all-mine"] * all_mine
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": paths, "PY_COLORS": "0"}  # kernels force colors
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(f"the tests could not run:\n{done.stdout}{done.stderr}")
        return Grade(one, json.loads(report.read_text(encoding="utf-8")))


class Grade:
    """A chapter's results.  earned, possible: points;  tests: the report's list of tests."""

    def __init__(self, chapter, report):
        self.chapter, self.tests = chapter, report["tests"]
        self.earned, self.possible = report["score"], sum(t["max_score"] for t in self.tests)

    @property
    def first(self):
        """The first failure with a likely mistake, or else the first failure, or None."""
        failed = [t for t in self.tests if _status(t) in ("failed", "error")]
        return next((t for t in failed if "\n  likely " in t["output"]), (*failed, None)[0])

    def _title(self):
        return f"{self.chapter.number:02d} {self.chapter.title}: {self.earned}/{self.possible}"

    def __repr__(self):
        lines = [self._title()]
        for test in self.tests:
            sign = _SIGNS[_status(test)][0]
            lines.append(f"  {sign} {_score(test)}  {test['name']}")
        if self.first:
            lines += ["", self.first["name"], self.first["output"]]
        return "\n".join(lines)

    def _repr_html_(self):
        cell = 'style="text-align:left; padding:2px 12px 2px 0"'
        rows = []
        for test in self.tests:
            sign, color, words = _SIGNS[_status(test)]
            rows.append(
                f'<tr><td {cell}><span style="color:{color}">{sign} {words}</span></td>'
                f"<td {cell}>{html.escape(test['name'])}</td>"
                f"<td {cell}>{_score(test)}</td></tr>"
            )
        text = f"<b>{html.escape(self._title())} points</b><table>{''.join(rows)}</table>"
        if self.first:
            name, output = html.escape(self.first["name"]), html.escape(self.first["output"])
            text += f"<p><b>{name}</b></p><pre>{output}</pre>{_image(self.first['output'])}"
        return text


_SIGNS = {
    "passed": ("✓", "#009E73", "passed"),
    "failed": ("✗", "#D55E00", "failed"),
    "error": ("✗", "#D55E00", "grader broke"),
    "todo": ("·", "#7F7F7F", "to do"),
    "waiting": ("·", "#7F7F7F", "not run"),
}


def _status(test):
    return test["tags"][1]


def _score(test):
    """What a test has earned; a star is what one for honor is worth."""
    return f"{test['score']}/{test['max_score']}" if test["max_score"] else "  ★"


def _image(output):
    """The picture that the diagnosis names, as part of the page."""
    found = re.search(r"^  picture   (.+\.png)$", output, re.MULTILINE)
    if found is None or not (path := ROOT / found.group(1)).is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" style="max-width:100%">'
