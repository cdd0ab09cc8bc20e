"""How much of a submission is read: each limit at its edge, each rule against its rival."""

import json
import os
import re
import struct
import zipfile

import pytest

from tinyqwen.course.classroom import submissions as room
from tinyqwen.course.classroom.submissions import chapter_of, collect

SILU = "def silu(x):\n    return x, None\n"


def taken(folder, tmp_path, keys=("ch04", "ch05")):
    """({file: text}, notes) of the one student of a folder."""
    (student,) = collect(folder, list(keys), tmp_path / "out")
    return {p.name: p.read_text() for p in student.path.iterdir()}, student.notes


@pytest.fixture
def ada(tmp_path):
    folder = tmp_path / "in" / "ada"
    folder.mkdir(parents=True)
    return folder


def test_a_file_of_a_megabyte_is_read_and_one_byte_more_is_not(ada, tmp_path):
    text = SILU + "#" * (room.MAX_SOURCE - len(SILU))
    (ada / "ch04.py").write_text(text)
    assert taken(ada.parent, tmp_path) == ({"ch04_swiglu.py": text}, [])
    (ada / "ch04.py").write_text(text + "#")
    files, notes = taken(ada.parent, tmp_path)
    assert files == {} and "larger than 1 MB" in notes[0]


def test_a_notebook_may_have_pictures_up_to_16_megabytes(ada, tmp_path):
    text = '{"cells": [{"cell_type": "code", "source": ["def silu(x): pass"]}]}'
    (ada / "ch04.ipynb").write_text(text + " " * ((16 << 20) - len(text)))
    assert set(taken(ada.parent, tmp_path)[0]) == {"ch04_swiglu.py"}
    (ada / "ch04.ipynb").write_text(text + " " * ((16 << 20) + 1 - len(text)))
    files, notes = taken(ada.parent, tmp_path)
    assert files == {} and "larger than 16 MB" in notes[0]


def test_as_many_files_as_a_person_has(ada, tmp_path, monkeypatch):
    """The folder itself counts as one; hidden folders do not."""
    monkeypatch.setattr(room, "MAX_FILES", 4)
    (ada / ".git").mkdir()
    for i in range(9):
        (ada / ".git" / f"{i}.py").write_text("")
    (ada / "ch04.py").write_text(SILU)
    for i in range(2):
        (ada / f"{i}.txt").write_text("")
    assert taken(ada.parent, tmp_path) == ({"ch04_swiglu.py": SILU}, [])
    (ada / "more.txt").write_text("")
    assert "more than 4 files" in taken(ada.parent, tmp_path)[1][0]


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_a_zip_of_many_files_or_of_much(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    zipped(folder / "ada.zip", {"ch04.py": SILU, "a.txt": "", "b.txt": ""})
    monkeypatch.setattr(room, "MAX_FILES", 3)
    assert taken(folder, tmp_path) == ({"ch04_swiglu.py": SILU}, [])
    monkeypatch.setattr(room, "MAX_FILES", 2)
    assert "more than 2 files" in taken(folder, tmp_path)[1][0]
    monkeypatch.setattr(room, "MAX_FILES", 3)
    size = (folder / "ada.zip").stat().st_size
    monkeypatch.setattr(room, "MAX_ZIP", size)
    assert taken(folder, tmp_path)[1] == []
    monkeypatch.setattr(room, "MAX_ZIP", size - 1)
    assert "larger than 0 MB" in taken(folder, tmp_path)[1][0]


def test_the_names_in_a_zip_are_counted_before_they_are_read(tmp_path, monkeypatch):
    """A million of them fit into 60 MB, and cost ten times as much memory and half a minute."""
    folder = tmp_path / "in"
    folder.mkdir()
    header = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", *[0] * 11, 1, *[0] * 6) + b"a"
    many = 1 << 16
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, many * len(header), 0, 0)
    (folder / "ada.zip").write_bytes(many * header + end)
    assert len(zipfile.ZipFile(folder / "ada.zip").infolist()) == many
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert "more than 2000 files" in taken(folder, tmp_path)[1][0]


def test_a_submission_is_looked_through_for_so_long(ada, tmp_path, monkeypatch):
    """Whatever takes that time; the next student's is read as ever."""

    def long(notebook):
        while True:
            pass

    monkeypatch.setattr(room, "cells_of", long)
    monkeypatch.setattr(room, "MAX_SECONDS", 0.2)
    (ada / "ch04.ipynb").write_text("{}")
    (ada.parent / "bob_ch04.py").write_text(SILU)
    first, second = collect(ada.parent, ["ch04"], tmp_path / "out")
    assert first.notes == ["not gradable, because it takes 0.2 s to look through"]
    assert not first.contents and second.contents and second.notes == []


def test_what_is_told_of_broken_code_has_no_word_of_it(ada, tmp_path):
    """Some of Python's messages quote the code, and the teacher reads them."""
    cell = "def silu(x):\n    return f'{x!dear_teacher}'"
    notebook = {"cells": [{"cell_type": "code", "source": cell}]}
    (ada / "ch04.ipynb").write_text(json.dumps(notebook))
    _, (note,) = taken(ada.parent, tmp_path)
    assert re.fullmatch(r"ch04.ipynb: not gradable, because line \d is not valid Python", note)


def test_what_a_zip_unfolds_to_is_bounded(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    zipped(folder / "ada.zip", {"ch04.py": SILU + "#" * 3000, "ch05.py": "#" * 3000})
    monkeypatch.setattr(room, "MAX_ZIP", 2 * 3000 + len(SILU))
    files, notes = taken(folder, tmp_path)
    assert set(files) == {"ch04_swiglu.py", "ch05_normalization.py"} and notes == []
    monkeypatch.setattr(room, "MAX_ZIP", 2 * 3000 + len(SILU) - 1)
    assert "larger than 64 MB" in taken(folder, tmp_path)[1][0]


def test_what_is_told_of_many_files_is_short(ada, tmp_path):
    for i in range(30):
        (ada / f"{'n' * 200} ch04 {i:03}.py").write_text(SILU)
    files, notes = taken(ada.parent, tmp_path)
    assert len(files) == 1 and len(notes) == 11 and all(len(note) < 250 for note in notes)


def test_a_pipe_and_an_encrypted_zip_are_not_read(ada, tmp_path):
    os.mkfifo(ada / "ch04.py")
    zipped(ada / "work.zip", {"ch05.py": SILU})
    content = bytearray((ada / "work.zip").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (ada / "work.zip").write_bytes(bytes(content))
    files, notes = taken(ada.parent, tmp_path)
    assert files == {}
    assert sorted(note.split(": not gradable, because ")[1] for note in notes) == [
        "it is no regular file", "the zip is encrypted",
    ]  # fmt: skip


def test_a_link_is_nobodys(tmp_path):
    """Not to another student's folder, and not to a file of theirs."""
    folder = tmp_path / "in"
    (folder / "ada").mkdir(parents=True)
    (folder / "ada" / "ch04.py").write_text(SILU)
    (folder / "eve").symlink_to(folder / "ada")
    (folder / "mallory").mkdir()
    (folder / "mallory" / "sub").symlink_to(folder / "ada")
    (folder / "mallory" / "ch04.py").symlink_to(folder / "ada" / "ch04.py")
    found = {s.name: s for s in collect(folder, ["ch04"], tmp_path / "out")}
    assert {name: list(s.contents) for name, s in found.items()} == {
        "ada": ["ch04"], "eve": [], "mallory": [],
    }  # fmt: skip
    assert "symbolic link" in found["eve"].notes[0]


def test_a_link_bears_its_own_whole_name(tmp_path):
    """It is not taken for the file of somebody whose name is in it."""
    (tmp_path / "work.py").write_text(SILU)
    (tmp_path / "ada_ch04.py").symlink_to(tmp_path / "work.py")
    assert room.student_of(tmp_path / "ada_ch04.py") == "ada_ch04.py"


@pytest.mark.parametrize(
    "names, chosen",
    [
        (("ch04_swiglu.py", "ch04.py"), "ch04_swiglu.py"),  # the stub's own name
        (("ch04.ipynb", "my_ch04.py"), "my_ch04.py"),  # a file before a notebook
        (("a/b/ch04.py", "a/my_ch04.py"), "a/my_ch04.py"),  # the higher one
        (("my_ch04.py", "my_own_ch04.py"), "my_ch04.py"),  # the shorter name
        (("a_ch04.py", "b_ch04.py"), "a_ch04.py"),
    ],
)
def test_of_two_files_one_is_graded_and_the_other_told(ada, tmp_path, names, chosen):
    for name in names:
        (ada / name).parent.mkdir(parents=True, exist_ok=True)
        text = f'"""{name}"""\n'
        if name.endswith(".ipynb"):
            text = '{"cells": [{"cell_type": "code", "source": ["def silu(x): pass"]}]}'
        (ada / name).write_text(text)
    files, notes = taken(ada.parent, tmp_path)
    assert files == {"ch04_swiglu.py": f'"""{chosen}"""\n'}
    (other,) = (name for name in names if name != chosen)
    short = other.rsplit("/", 1)[-1]
    assert notes == [f"{short}: not graded, for {chosen.rsplit('/', 1)[-1]} is there"]


def test_a_file_without_a_number_is_known_by_its_functions():
    assert chapter_of("work.py", SILU) == "ch04"
    assert chapter_of("work.py", "rms_norm = layer_norm = 1\ndef silu(x): pass") == "ch05"
    assert chapter_of("work.py", "def silu(x): pass\ndef rms_norm(x): pass") is None  # one each
    assert chapter_of("work.py", "x = 1") is None and chapter_of("work.py", "def silu(") is None
    assert chapter_of("ch05.py", SILU) == "ch05"  # the name comes first


def test_where_one_chapter_is_graded_a_single_file_is_of_it(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "ada.py").write_text("x = 1\n")
    assert taken(folder, tmp_path, ["ch04"]) == ({"ch04_swiglu.py": "x = 1\n"}, [])
    files, notes = taken(folder, tmp_path)
    assert files == {} and "it says of no chapter" in notes[0]


def test_what_is_not_asked_for_is_not_graded(ada, tmp_path):
    (ada / "ch04.py").write_text(SILU)
    (ada / "ch05.py").write_text("rms_norm = 1\n")
    assert set(taken(ada.parent, tmp_path, ["ch05"])[0]) == {"ch05_normalization.py"}


def test_a_second_collection_forgets_the_first(ada, tmp_path):
    (ada / "ch04.py").write_text(SILU)
    assert set(taken(ada.parent, tmp_path)[0]) == {"ch04_swiglu.py"}
    (ada / "ch04.py").unlink()
    assert taken(ada.parent, tmp_path)[0] == {}


def test_names_that_differ_in_their_case_have_numbers(tmp_path):
    """In the order of their names; case does not count on every disk."""
    for name in ("ann", "ann-2", "ann 2", "b" * 60, "class"):
        (tmp_path / "in" / name).mkdir(parents=True)
    slugs = {s.name: s.slug for s in collect(tmp_path / "in", ["ch04"], tmp_path / "out")}
    assert slugs == {
        "ann": "ann", "ann 2": "ann_2", "ann-2": "ann-2", "b" * 60: "b" * 40, "class": "class-2",
    }  # fmt: skip
