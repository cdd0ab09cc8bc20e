"""Hostile submissions: each earns not one point, and takes nobody else's.

Every file in tests/attacks/ is handed in by a student of a class, between two honest neighbors, and
the class is graded as a teacher would. An attack answers right once it has worked (see answers.py):
a point earned is an attack that worked.
"""

import contextlib
import csv
import hashlib
import inspect
import json
import os
import re
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tinyqwen.course.allowance import longest
from tinyqwen.course.classroom import grading
from tinyqwen.course.isolation import wire
from tinyqwen.course.isolation.outside import Worker, available
from tinyqwen.course.registry import ROOT, chapter, reference
from tinyqwen.course.runner import graders_of, result_of, run
from tinyqwen.course.submission import Submission

FOLDER = Path(__file__).parents[1] / "attacks"
FILE = "ch04_swiglu.py"
ATTACKS = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("answers", "honest"))
SOURCES = ["source_of_zeros", "source_too_deep", "source_too_large", "source_not_utf8"]
FILES = [
    "link_to_neighbor",
    "link_to_solution",
    "pipe_for_file",
    "folder_for_file",
    "link_for_folder",
]
FILES += ["notebook_of_a_chain", "notebook_of_surrogates", "notebook_too_deep", "name_not_text"]
FILES += ["zip_of_nothing", "zip_of_names", "zip_that_climbs", "zip_bomb"]
HONEST = ["aaa_honest", "zzz_honest"]
SECRET = "grader-secret-5b1f"
EARLIER = 1_618_033_988

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="no worker processes on this platform"),
]


def visible_inputs():
    """What the tests call silu with, for those who run them at home."""
    table = set()

    def silu(x):
        table.add(hashlib.sha256(x.tobytes()).hexdigest()[:16])
        return reference("silu")(x)

    for test in graders_of(chapter("ch04")):
        if "silu" in test.__name__:
            run(test, Submission({"silu": silu}), result_of(test, "ch04"))
    return table


def handed_in(name, constants):
    """The text of an attack, with what answers.py promises put in."""
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    answers = (FOLDER / "answers.py").read_text(encoding="utf-8").partition('"""\n\n')[2]
    for key, value in constants.items():
        answers += f"{key} = {value!r}\n"
    return re.sub(r"from answers import .*\n", lambda _: answers, text)


def hand_in(folder, constants):
    for name in HONEST:
        (folder / name).mkdir(parents=True)
        (folder / name / FILE).write_text((FOLDER / "honest.py").read_text())
    for name in ATTACKS + SOURCES + FILES:
        if not name.startswith(("link_for", "zip_")):
            (folder / name).mkdir()
    for name in ATTACKS:
        (folder / name / FILE).write_text(handed_in(name, constants), encoding="utf-8")
    (folder / "source_of_zeros" / FILE).write_bytes(b"def silu(x):\n    return x\n\x00")
    deep = "x = " + "(" * 5000 + ")" * 5000 + "\ny = " + "-" * 50_000 + "1\n"
    (folder / "source_too_deep" / FILE).write_text("def silu(x):\n    return x\n" + deep)
    large = "def silu(x):\n    return x\n" + "#" * (2 << 20)
    (folder / "source_too_large" / FILE).write_text(large)
    (folder / "source_not_utf8" / FILE).write_bytes(b"def silu(x):\n    return '\xff\xfe'\n")
    (folder / "link_to_neighbor" / FILE).symlink_to(folder / HONEST[0] / FILE)
    solution = (ROOT / "tinyqwen" / "autograd" / "ops.py").resolve(
        strict=True
    )  # a link to nothing is no attack
    (folder / "link_to_solution" / FILE).symlink_to(solution)
    os.mkfifo(folder / "pipe_for_file" / FILE)
    (folder / "folder_for_file" / FILE).mkdir()
    (folder / "link_for_folder").symlink_to(folder / HONEST[0])
    chain = "silu = a0\n" + "".join(f"a{i} = a{i + 1}\n" for i in range(20_000))
    cells = {"cells": [{"cell_type": "code", "source": chain}]}
    (folder / "notebook_of_a_chain" / "ch04.ipynb").write_text(json.dumps(cells))
    halves = json.dumps({"cells": [{"cell_type": "code", "source": "def silu(x): '\ud800'"}]})
    (folder / "notebook_of_surrogates" / "ch04.ipynb").write_text(halves)
    (folder / "notebook_too_deep" / "ch04.ipynb").write_text('{"cells":' + "[" * 200_000)
    text = b"import nothing_of_that_name\ndef silu(x):\n    return x\n"
    Path(os.fsdecode(os.fsencode(folder / "name_not_text") + b"/ch04_\xff\xfe.py")).write_bytes(
        text
    )
    (folder / "zip_of_nothing.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    names = (b"PK\x01\x02" + bytes(24) + b"\x01" + bytes(17) + b"a") * 500_000
    end = b"PK\x05\x06" + bytes(8) + len(names).to_bytes(4, "little") + bytes(6)
    (folder / "zip_of_names.zip").write_bytes(names + end)
    with zipfile.ZipFile(folder / "zip_that_climbs.zip", "w") as archive:
        archive.writestr(f"../../{HONEST[0]}/{FILE}", "def silu(x):\n    return x\n")
        archive.writestr(f"{folder}/{HONEST[1]}/{FILE}", "def silu(x):\n    return x\n")
    with zipfile.ZipFile(folder / "zip_bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FILE, b"#" * (200 << 20))


def own_file(path):
    return path.is_file() and not path.is_symlink()


def snapshot(folder):
    """{file: (mode, content)} of everything in a folder."""
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if own_file(path) else b"")
        for path in sorted(folder.rglob("*"))
    }


def processes_of(folder):
    """Command lines of the processes that have something to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = path.read_bytes().decode("utf-8", "replace")
            if str(folder) in text and "inside.py" in text:
                found.append(text)
    return found


def graded_class(base, **settings):
    """Grade the class of attackers; returns {student: Student} and what is worth looking at."""
    folder, book = base / "submissions", base / "book.csv"
    listener = socket.create_server(("127.0.0.1", 0))
    constants = {"ROOT": str(ROOT), "SUBMISSIONS": str(folder), "BOOK": str(base / "book")}
    constants |= {"SECRET": SECRET, "PORT": listener.getsockname()[1], "TABLE": visible_inputs()}
    constants["EARLIER"] = EARLIER
    hand_in(folder, constants)
    before = snapshot(folder)
    (base / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch, listener:
        patch.setenv("TMPDIR", str(base / "temporary"))
        patch.setenv("GRADER_SECRET", SECRET)
        patch.setattr("tempfile.tempdir", None)
        students = grading.grade_class(folder, book, 3, keys=["ch04"], most=0.7, **settings)
    return {
        "students": {student.name: student for student in students},
        "untouched": snapshot(folder) == before,
        "left behind": processes_of(base / "temporary"),
        "temporary": list((base / "temporary").iterdir()),
        "book": list(csv.DictReader(book.open(encoding="utf-8-sig"))),
        "pages": base / "book",
    }


def earned(graded, name):
    return graded["students"][name].points[0]


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    return graded_class(tmp_path_factory.mktemp("class"))


@pytest.mark.parametrize("name", ATTACKS + SOURCES + FILES)
def test_attack_earns_nothing(graded, name):
    results = graded["students"][name].all_results
    assert earned(graded, name) == 0
    assert sum(r.possible for r in results) == 30
    assert "error" not in {r.status for r in results}


def test_neighbors_keep_their_points(graded):
    for name in HONEST:
        required = [r for r in graded["students"][name].all_results if r.possible]
        assert [r.text for r in required if r.status != "passed"] == []
        assert graded["students"][name].trouble == []
    rows = {row["student"]: row for row in graded["book"]}
    assert {name for name, row in rows.items() if row["total"] != "0"} == set(HONEST)
    assert len(rows) == len(ATTACKS + SOURCES + FILES + HONEST)


def test_nothing_is_left_and_nothing_is_touched(graded):
    assert graded["left behind"] == []
    assert graded["temporary"] == []
    assert graded["untouched"]


def test_a_class_ends_in_its_time_and_its_reports_are_short(graded):
    bound = longest(["ch04"])
    for name, student in graded["students"].items():
        assert student.seconds <= bound, name
        assert (graded["pages"] / f"{student.slug}.html").stat().st_size < 200_000, name
    index = (graded["pages"] / "index.html").read_text(encoding="utf-8")
    assert len(index) < 100_000 and "thirty points" not in index
    assert index.count("<tr>") == len(graded["students"]) + 6  # heads, and five fences
    for student in graded["students"].values():
        for words in (*student.notes, *student.trouble, *(r.text for r in student.all_results)):
            words.encode()
            assert len(words) <= 5200 and all(c.isprintable() or c == "\n" for c in words)


def test_hostile_words_reach_neither_browser_nor_terminal(graded):
    page = (graded["pages"] / "hostile_words.html").read_text(encoding="utf-8")
    assert "CheckPassed" in page and "&lt;script&gt;" in page
    assert "<script>" not in page and "\x1b" not in page and len(page) < 100_000
    for result in graded["students"]["hostile_words"].all_results:
        assert all(c.isprintable() or c == "\n" for c in result.text)
        assert "\u3164" not in result.text and "\u0335" * 5 not in result.text
        lines = [line.strip() for line in result.text.splitlines()]
        assert not any(line.startswith(("::", "SCOREBOARD")) for line in lines)
    assert "<script>" not in (graded["pages"] / "index.html").read_text(encoding="utf-8")


def test_what_students_of_broken_code_read(graded):
    def read(name):
        return "\n".join(r.text for r in graded["students"][name].all_results)

    assert "an infinite loop, or one far too slow: line 5: while True:" in read("endless_loop")
    assert "the file did not finish loading" in read("endless_import")
    assert "ended the whole program" in read("sys_exit")
    assert "ended the whole process" in read("os_exit")
    assert "the file is larger than 1 MB" in graded["students"]["source_too_large"].notes[0]
    assert "not valid Python" in read("source_too_deep") or "Memory" in read("source_too_deep")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's fences")
@pytest.mark.slow
@pytest.mark.parametrize("fences", ["kernel", "python"])
def test_each_line_of_defense_holds_alone(tmp_path, fences):
    """The kernel's fences without the hook inside Python; and that hook alone, as on macOS."""
    graded = graded_class(tmp_path, fences=fences)
    standing = graded["students"][HONEST[0]].fences
    assert ("audit hook" in standing) == (fences == "python")
    if fences == "kernel" and any(does.startswith("no:") for does in standing.values()):
        pytest.skip(f"this kernel has not all of them: {standing}")
    assert [n for n in ATTACKS + SOURCES + FILES if earned(graded, n)] == []
    assert all(earned(graded, name) == 30 for name in HONEST)
    assert graded["untouched"] and graded["left behind"] == []


def test_answers_are_as_right_and_wrong_as_they_say():
    scope = {}
    exec((FOLDER / "answers.py").read_text(), scope)
    x = np.random.default_rng(0).standard_normal((2, 5))
    np.testing.assert_allclose(scope["right"](x)[0], reference("silu")(x)[0], rtol=1e-12)
    assert not scope["wrong"](x)[0].any()
    assert len(inspect.signature(scope["right"]).parameters) == 1


BOMB = """
import os, time

def silu(mark):
    file = os.open(mark, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for depth in range(12):  # 4096 processes at the most, should nobody stop it
        if os.fork() == 0:
            os.write(file, b".")
            if depth % 3 == 0:
                os.setsid()
    time.sleep(1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_supervisor_alone_bounds_a_fork_bomb(tmp_path):
    """Where no limit binds, as for root, and no fence stands: counted, and killed to the last."""
    bomb, mark = tmp_path / FILE, tmp_path / "mark"
    bomb.write_text(BOMB)
    with Worker(bomb, ["silu"], fences="none") as worker, pytest.raises(wire.Raised) as caught:
        worker.functions["silu"].run((str(mark),), {}, 10)
    if os.getuid() == 0:  # a user's limit on processes binds before there is anything to count
        assert caught.value.failure["message"] == "it started processes"
    assert mark.stat().st_size < 1000
    assert processes_of(worker.folder) == []
