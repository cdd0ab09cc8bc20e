"""What a class hands in: every entry is somebody's, under whatever name and in whatever form."""

import json
import os
import time
import zipfile
from pathlib import Path

import pytest

from tinyqwen.course.classroom import submissions
from tinyqwen.course.classroom.pages import to_look_at
from tinyqwen.course.classroom.submissions import cells_of, collect, functions_of, student_of
from tinyqwen.course.registry import chapter_named
from tinyqwen.course.runner import Result

HONEST = (Path(__file__).parents[1] / "attacks" / "honest.py").read_text(encoding="utf-8")
NORM = "def rms_norm(x, weight, eps=1e-6):\n    return x, None\n"


def notebook(*cells):
    made = [{"cell_type": "markdown", "source": ["# def silu(x): no"]}]
    made += [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    return json.dumps({"cells": made})


def collected(folder, keys, into):
    return {student.name: student for student in collect(folder, keys, into)}


@pytest.mark.parametrize(
    "name, key",
    [
        ("ch04_swiglu.py", "ch04"),
        ("Ch04_SwiGLU.py", "ch04"),
        ("ch04_swiglu (1).py", "ch04"),
        ("CH04_eve.py", "ch04"),
        ("zach03_ch04.py", "ch04"),
        ("koch01_ch05.py", "ch05"),
        ("ada-ch4.ipynb", "ch04"),
        ("Chapter 05 ada.py", "ch05"),
        ("zach03.py", None),
        ("ch04_ch05.py", None),
        ("ch99_ada.py", None),
        ("ch040.py", None),
    ],
)
def test_the_chapter_that_a_name_names(name, key):
    assert chapter_named(name) == key


@pytest.mark.parametrize(
    "name, student",
    [
        ("grace_ch04.py", "grace"),
        ("grace_ch05.py", "grace"),
        ("CH04_eve.py", "eve"),
        ("ch04_swiglu_ada.py", "ada"),
        ("zach03_ch04.ipynb", "zach03"),
        ("Zoë Zip.zip", "Zoë Zip"),
        ("zoe.PY", "zoe"),
        ("ch04_swiglu (1).py", "ch04_swiglu (1)"),
        ("notes.txt", "notes.txt"),
    ],
)
def test_whose_an_entry_is(tmp_path, name, student):
    (tmp_path / name).write_text("")
    assert student_of(tmp_path / name) == student


def test_every_entry_is_a_row(tmp_path):
    """One student's two files are one student; what cannot be graded says why."""
    folder = tmp_path / "in"
    for name in ("Will O'W.", "deep/a/b", "linked", "empty"):
        (folder / name).mkdir(parents=True)
    (folder / "Will O'W." / "CH04 (1).PY").write_text(HONEST)
    (folder / "deep" / "a" / "b" / "ch04_swiglu.py").write_text(HONEST)
    (folder / "grace_ch04.py").write_text(HONEST)
    (folder / "grace_ch05.py").write_text(NORM)
    (folder / "bob.py").write_text(HONEST)
    (folder / "nobody.py").write_text("x = 1\n")
    (folder / "notes.txt").write_text("hello")
    (folder / ".DS_Store").write_text("")
    (folder / "linked" / "ch04_swiglu.py").symlink_to(folder / "bob.py")
    (folder / "nora_ch04.ipynb").write_text(notebook("%time 1", HONEST, "silu(np.ones(3))"))
    (folder / "torn_ch04.ipynb").write_text('{"cells": [')
    students = collected(folder, ["ch04", "ch05"], tmp_path / "out")
    taken = {name: sorted(os.listdir(student.path)) for name, student in students.items()}
    assert taken == {
        "Will O'W.": ["ch04_swiglu.py"],
        "bob": ["ch04_swiglu.py"],
        "deep": ["ch04_swiglu.py"],
        "empty": [],
        "grace": ["ch04_swiglu.py", "ch05_normalization.py"],
        "linked": [],
        "nobody": [],
        "nora": ["ch04_swiglu.py"],
        "notes.txt": [],
        "torn": [],
    }
    assert "neither a folder, a zip" in students["notes.txt"].notes[0]
    assert "it says of no chapter" in students["nobody"].notes[0]
    assert "symbolic link" in students["linked"].notes[0]
    assert "torn_ch04.ipynb: not gradable" in students["torn"].notes[0]
    assert [s.name for s in students.values() if s.notes] == [
        "linked",
        "nobody",
        "notes.txt",
        "torn",
    ]


def test_names_are_kept_and_their_files_differ(tmp_path):
    folder = tmp_path / "in"
    long = "Müller-Sigmaringen " * 4
    names = [f"{long}_101", f"{long}_102", "ANN", "ann", "a/b".replace("/", "∕"), "index"]
    for name in names:
        (folder / name).mkdir(parents=True)
    os.mkdir(os.fsencode(folder) + b"/\xff\xfe")
    students = collect(folder, ["ch04"], tmp_path / "out")
    assert {s.name for s in students} == {*names, "\ufffd\ufffd"}
    slugs = [s.slug.lower() for s in students]
    assert len(set(slugs)) == len(slugs) and "index" not in slugs
    assert all(len(slug) < 60 and slug.encode() for slug in slugs)


def test_names_that_look_alike_are_two_students(tmp_path):
    """A line end in a name is shown as a space: still it is not the name with the space."""
    folder = tmp_path / "in"
    for name in ("ada lovelace", "ada\nlovelace", "ada\u200b", "ada\u202e"):
        (folder / name).mkdir(parents=True)
        (folder / name / "ch04_swiglu.py").write_text(repr(name))
    students = collected(folder, ["ch04"], tmp_path / "out")
    assert list(students) == ["ada lovelace", "ada lovelace-2", "ada\ufffd", "ada\ufffd-2"]
    texts = [(s.path / "ch04_swiglu.py").read_text() for s in students.values()]
    assert texts == [repr(n) for n in ("ada lovelace", "ada\nlovelace", "ada\u200b", "ada\u202e")]


def test_nobody_adds_to_a_folder_or_a_zip(tmp_path):
    """A zip or a file that bears a folder's name is another submission, and displaces nothing."""
    folder = tmp_path / "in"
    (folder / "ada").mkdir(parents=True)
    (folder / "ada" / "ch04_swiglu.py").write_text(HONEST)
    with zipfile.ZipFile(folder / "ada.zip", "w") as archive:
        archive.writestr("ch04_swiglu.py", "# first by its bytes")
    (folder / "ada_ch04.py").write_text("x = 1\n")
    (folder / "ada_ch05.py").write_text(NORM)
    students = collected(folder, ["ch04", "ch05"], tmp_path / "out")
    assert [(name, sorted(s.contents)) for name, s in students.items()] == [
        ("ada", ["ch04"]),
        ("ada-2", ["ch04"]),
        ("ada-3", ["ch04", "ch05"]),
    ]
    assert (students["ada"].path / "ch04_swiglu.py").read_text() == HONEST


def test_every_name_but_a_systems_own_is_a_row(tmp_path):
    for name in ("__ada", "-rf", "   ", ".hidden", "__MACOSX"):
        (tmp_path / "in" / name).mkdir(parents=True)
    assert set(collected(tmp_path / "in", ["ch04"], tmp_path / "out")) == {"__ada", "-rf", "   "}


def test_zips_are_read_and_nothing_of_theirs_becomes_a_path(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    with zipfile.ZipFile(folder / "ada.zip", "w") as archive:
        archive.writestr("work/ch04_swiglu.py", HONEST)
        archive.writestr("__MACOSX/work/._ch04_swiglu.py", b"\x00")
    with zipfile.ZipFile(folder / "climber.zip", "w") as archive:
        archive.writestr("../../../ch04_swiglu.py", HONEST)
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ch04_swiglu.py", b"#" * (3 << 20))
    (folder / "broken.zip").write_bytes(b"PK")
    (folder / "two").mkdir()
    (folder / "two" / "ch04_swiglu.py").write_text("first = 1")
    (folder / "two" / "ch04_swiglu (1).py").write_text("second = 2")
    before = sorted(tmp_path.rglob("*"))
    students = collected(folder, ["ch04"], out)
    assert (students["ada"].path / "ch04_swiglu.py").read_text() == HONEST
    assert sorted(p for p in tmp_path.rglob("*") if out not in (p, *p.parents)) == before
    assert "larger than 1 MB" in students["bomb"].notes[0]
    assert "not a zip" in students["broken"].notes[0]
    assert (students["two"].path / "ch04_swiglu.py").read_text() == "first = 1"
    assert "ch04_swiglu (1).py: not graded" in students["two"].notes[0]


def test_what_of_a_zip_is_not_read_is_told(tmp_path):
    """A zip in it, and a file whose name is empty, beside one that is graded."""
    folder = tmp_path / "in"
    folder.mkdir()
    with zipfile.ZipFile(folder / "ada.zip", "w") as archive:
        archive.writestr("inner.zip", b"PK")
        archive.writestr("ch04_swiglu.py", HONEST)
        nameless = zipfile.ZipInfo("x")
        nameless.filename = ""
        archive.writestr(nameless, HONEST)
        archive.writestr("folder\\", b"")
    students = collected(folder, ["ch04"], tmp_path / "out")
    assert (students["ada"].path / "ch04_swiglu.py").read_text() == HONEST
    assert students["ada"].notes == [
        "inner.zip: not gradable, because it is a zip inside a zip; unpack it first",
        "ada.zip: a file in it has no name and is not read",
    ]


def test_of_a_notebook_the_functions_are_taken_with_what_they_need():
    code = """import numpy as np
import matplotlib.pyplot as plt
LIMIT = 3
def half(x):
    return x / 2"""
    more = """def silu(x):
    return np.minimum(half(x), LIMIT), None
plt.plot(silu(np.ones(3))[0])
raise SystemExit"""
    cells = cells_of(notebook("%matplotlib inline", code, more))
    source = functions_of(cells, ["silu", "gelu"]).decode()
    scope = {}
    exec(source, scope)
    assert scope["silu"](8.0)[0] == 3 and "plt" not in scope
    assert source.splitlines()[6] == "def silu(x):"  # line numbers count the cells' own lines
    with pytest.raises(SyntaxError):
        functions_of(["def silu(x)\n    return x"], ["silu"])


def test_a_notebook_of_a_long_chain_is_read_in_a_line():
    """Each name is another's: looked for one after another, this took an hour for 1 MB."""
    chain = "silu = a0\n" + "".join(f"a{i} = a{i + 1}\n" for i in range(3000))
    began = time.process_time()
    assert functions_of([chain + "b = c\n"], ["silu"]).decode() == chain[:-1] + "\n\n"
    assert time.process_time() - began < 2


def test_how_much_of_a_student_is_read_and_told(tmp_path, monkeypatch):
    """Sorting runs in the class's own process: what a student hands in has bounds there too."""
    folder = tmp_path / "in"
    for name in ("many", "large", "wide"):
        (folder / name).mkdir(parents=True)
    for i in range(60):
        (folder / "many" / f"ch04_{i}.py").write_text("x = 1\n")
    for i in range(3):
        (folder / "large" / f"ch0{4 + i}.ipynb").write_text(notebook("x = 1\n" * 150))
        (folder / "wide" / f"ch0{4 + i}.ipynb").write_text(notebook("x = 1") + " " * 5000)
    with pytest.raises(ValueError, match="more than 2000 cells"):
        cells_of(notebook(*["x = 1"] * 2001))
    monkeypatch.setattr(submissions, "MAX_CODE", 2000)
    monkeypatch.setattr(submissions, "MAX_ZIP", 6000)
    students = collected(folder, ["ch04", "ch05", "ch06"], tmp_path / "out")
    assert students["many"].notes[10:] == ["and 49 more notes"]
    assert "too much code in all" in students["large"].notes[0]
    assert sorted(students["large"].contents) == ["ch04", "ch05"]
    assert "more than 64 MB" in students["wide"].notes[0]
    assert sorted(students["wide"].contents) == ["ch04", "ch05"]


def test_a_file_with_nothing_in_it_is_not_told_to_be_missing(tmp_path):
    (tmp_path / "in" / "ada").mkdir(parents=True)
    (tmp_path / "in" / "bob").mkdir()
    (tmp_path / "in" / "ada" / "ch04_swiglu.py").write_text("")
    for student in collect(tmp_path / "in", ["ch04"], tmp_path / "out"):
        student.results["ch04"] = [Result("test", "ch04", "silu", 1, status="todo")]
        (note,) = to_look_at(student)
        assert note.startswith("everything is to do")
        assert ("there is no Python file" in note) == (student.name == "bob")
