"""Reports in the formats of teachers' tools.

Each writer takes all results of a run, those that still wait included, and replaces its file in one
step, so that the file is valid after every single test, and a crash keeps what was earned.
"""

import base64
import csv
import datetime
import io
import json
import os
from pathlib import Path

from tinyqwen.course.registry import chapters
from tinyqwen.course.scoreboard import by_chapter, count, scoreboard, total
from tinyqwen.storage.files import write_text


def gradescope(results) -> dict:
    """Gradescope's results.json.

    Source: gradescope-autograders.readthedocs.io, "Autograder specifications".
    """
    tests, numbers = [], {}
    for r in results:
        numbers[r.chapter] = numbers.get(r.chapter, 0) + 1
        tests.append(
            {
                "name": r.title,
                "number": f"{int(r.chapter[2:])}.{numbers[r.chapter]}",
                "score": r.earned,
                "max_score": r.possible,
                "status": "passed" if r.status == "passed" else "failed",
                "output": _words(r),
                "output_format": "text",
                "tags": [r.chapter, r.status],
                "visibility": "visible",
            }
        )
    return {
        "score": total(results)[0],
        "execution_time": round(sum(r.seconds for r in results), 3),
        "output": "\n".join(line for line, _ in scoreboard(results)),
        "output_format": "text",
        "test_output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {
            key: dict(zip(("earned", "possible"), total(group)))
            for key, group in by_chapter(results).items()
        },
    }


def _words(r):
    """What the student reads about a test."""
    if r.status == "passed":
        return r.looks_for
    if r.status == "waiting":
        return r.message or "not run: the grading ended before this test"
    return f"{r.text}\n\nThis test looks at: {r.looks_for}" if r.looks_for else r.text


def github_runner(results) -> dict:
    """The runner result that GitHub's autograding reporter adds up."""
    names = {"passed": "pass", "error": "error"}
    overall = "pass" if count(results, "passed") == len(results) else "fail"
    return {
        "version": 1,
        "status": "error" if count(results, "error") else overall,
        "max_score": total(results)[1],
        "tests": [
            {
                "name": f"{r.chapter} {r.title}",
                "status": names.get(r.status, "fail"),
                "score": r.earned,
                "message": _words(r),
                "test_code": r.looks_for,
                "filename": f"tests/assignments/{chapters()[r.chapter].graders.name}",
                "line_no": r.line,
                "duration": round(r.seconds * 1000),
            }
            for r in results
        ],
    }


def classroom50(results, environment=os.environ) -> dict:
    """Classroom 50's result, version 1; what it says of the submission comes from the environment
    of its runner."""
    earned, possible = total(results)
    commit = environment.get("COMMIT_URL", "")
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "schema": "classroom50/result/v1",
        "classroom": environment.get("CLASSROOM", ""),
        "assignment": environment.get("ASSIGNMENT", ""),
        "submission": environment.get("SUBMISSION_TAG", ""),
        "commit": commit,
        "release": environment.get("RELEASE_URL", ""),
        "review": environment.get("REVIEW_URL", "") or commit,
        "datetime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "score": earned,
        "max-score": possible,
        "tests": [
            {
                "test-name": f"{r.chapter} {r.title}",
                "passed": r.status == "passed",
                "score": r.earned,
                "max-score": r.possible,
            }
            for r in results
        ],
    }


def gradebook(results, student, before="") -> str:
    """A CSV gradebook, a row for each student: student, points by chapter, total, possible.

    before: the gradebook's text so far; its other rows are kept, and this student's is replaced.
    """
    rows = {row["student"]: row for row in csv.DictReader(io.StringIO(before)) if row["student"]}
    earned, possible = total(results)
    row = {"student": _harmless(student), "total": earned, "possible": possible}
    row |= {key: total(group)[0] for key, group in by_chapter(results).items()}
    rows[row["student"]] = row
    keys = sorted({key for r in rows.values() for key in r if key and key.startswith("ch")})
    text = io.StringIO()
    columns = ["student", *keys, "total", "possible"]
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    return text.getvalue()


def _harmless(name):
    """A spreadsheet takes cells that begin so for formulas, some in wide letters as well.  Two
    names never become one.

    csv cannot read again what it wrote with a carriage return in it.
    """
    name = name.replace("\r", " ")
    return f"'{name}" if name[:1] in "'=+-@\t＝＋－＠" else name


class Reports:
    """The files that a run keeps up to date: call `write(results)` after every test.

    gradescope, classroom, gradebook: paths, or None. Classroom 50's `result.json` is written into
    the working directory beside `classroom`.
    """

    def __init__(self, student, gradescope=None, classroom=None, gradebook=None):
        self.student = student
        self.gradescope, self.classroom, self.gradebook = gradescope, classroom, gradebook
        if classroom and Path(classroom).resolve() == Path("result.json").resolve():
            raise ValueError(
                "--classroom result.json: that name is Classroom 50's own; choose another, such as "
                "runner.txt, and result.json is written beside it"
            )
        book = Path(gradebook) if gradebook else None
        self._before = book.read_text(encoding="utf-8-sig") if book and book.exists() else ""

    def __bool__(self):
        return bool(self.gradescope or self.classroom or self.gradebook)

    def write(self, results):
        if self.gradescope:
            _write(self.gradescope, _json(gradescope(results)))
        if self.classroom:
            encoded = base64.b64encode(_json(github_runner(results)).encode())
            _write(self.classroom, encoded.decode() + "\n")
            _write("result.json", _json(classroom50(results)))
        if self.gradebook:
            _write(self.gradebook, "\ufeff" + gradebook(results, self.student, self._before))


def _write(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def _json(value):
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
