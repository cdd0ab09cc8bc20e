"""Chapters, submissions and self-tests, piece by piece: what is found, said, and counted."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinyqwen.course import allowance, capstone, clock, notebook, registry, runner, submission
from tinyqwen.course.authoring import mutants
from tinyqwen.course.calls import ToDo
from tinyqwen.course.isolation import limit
from tinyqwen.course.notebook import Grade
from tinyqwen.course.registry import GRADERS, chapter, chapter_named, chapters, imports_in
from tinyqwen.course.runner import Result
from tinyqwen.course.submission import Submission, Unreadable, load_module


@pytest.mark.parametrize("key", ["ch05", "05", "5", 5, "ch5"])
def test_a_chapter_is_found_by_any_of_its_names(key):
    assert chapter(key) is chapters()["ch05"]


@pytest.mark.parametrize("key", ["ch99", 0, "five", "", "ch", -5])
def test_a_chapter_that_is_not_there_is_told_with_those_that_are(key):
    with pytest.raises(ValueError, match=f"no assignment {key!r}; there are ch01, ch02, "):
        chapter(key)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ch04.py", "ch04"),
        ("my chapter 4.py", "ch04"),
        ("CHAPTER_04", "ch04"),
        ("ch-4", "ch04"),
        ("a.ch.04.py", "ch04"),
        ("7ch4", "ch04"),  # a digit before it is no word
        ("ch4 and ch04", "ch04"),
        ("zach04", None),  # somebody's name
        ("Björch4", None),
        ("ch04_ch05.py", None),
        ("zach03_ch4_ch99", "ch04"),  # there is no chapter 99
        ("ch104", None),
        ("ch 4b", "ch04"),
        ("chapters04", None),
        ("swiglu.py", None),
    ],
)
def test_which_chapter_a_name_names(name, key):
    assert chapter_named(name) == key


def test_files_of_a_chapter():
    one = chapter("ch05")
    assert one.stub == registry.STUBS / one.file and one.graders == GRADERS / f"test_{one.file}"
    assert one.mutants == GRADERS / "mutants" / one.file
    assert all(f.is_file() for f in (one.stub, one.graders, one.mutants))


def test_a_file_of_graders_says_what_it_is_of(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "GRADERS", tmp_path)
    found = registry.chapters.__wrapped__
    with pytest.raises(ValueError, match="is missing: run this from the repository"):
        found()
    (tmp_path / "test_ch02_b.py").write_text("import os\nTITLE = 'B'\nx.y = 1\nASSIGNED = {}\n")
    (tmp_path / "test_ch01_a.py").write_text(
        "TITLE, ASSIGNED = 1, 2\nTITLE = 'A'\nASSIGNED = {'f': 'm', 'g': 'm'}\nSTRETCH = ('g',)\n"
    )
    (tmp_path / "test_together.py").write_text("TITLE = 'C'")
    made = found()
    assert list(made) == ["ch01", "ch02"] and made["ch02"].stretch == ()
    assert (made["ch01"].title, made["ch01"].required) == ("A", ["f"])
    assert (made["ch01"].file, made["ch02"].number) == ("ch01_a.py", 2)
    (tmp_path / "test_ch03_c.py").write_text("title = 'C'")
    with pytest.raises(ValueError, match="ASSIGNED and TITLE must be set to a literal"):
        found()


def test_what_is_imported_of_the_library():
    source = """
import tinyqwen.nn
from numpy import array
from tinyqwenish import a
from . import b
from tinyqwen.text.bpe import byte_ids, merge_pair as merge
from tinyqwen.autograd import ops
def f():
    from tinyqwen import functional as F
"""
    assert sorted(imports_in(source), key=str) == [
        ("tinyqwen.autograd.ops", None, "ops"),
        ("tinyqwen.functional", None, "F"),
        ("tinyqwen.text.bpe", "byte_ids", "byte_ids"),
        ("tinyqwen.text.bpe", "merge_pair", "merge"),
    ]


def test_a_function_that_nobody_assigns_or_has(monkeypatch):
    with pytest.raises(ValueError, match="no chapter assigns a function 'nobodys'"):
        registry.library("nobodys")
    fake = registry.Chapter("ch01", "ch01_a.py", "A", {"not_there": "functional.linear"})
    monkeypatch.setattr(registry, "chapters", lambda: {"ch01": fake})
    with pytest.raises(ValueError, match=r"test_ch01_a\.py: .*linear has no function not_there"):
        registry.library("not_there")


@pytest.mark.parametrize("source", [
    "def test_a(submission):\n    pass\n",
    "from tinyqwen.course import points\n@points(1, 'a')\ndef test_a(submission, b):\n    pass\n",
    "from tinyqwen.course import points\n@points(1, 'a')\ndef test_a(other):\n    pass\n",
])  # fmt: skip
def test_graders_have_points_and_one_argument(tmp_path, source):
    (tmp_path / "test_ch01_a.py").write_text(source)
    with pytest.raises(ValueError, match=r"test_ch01_a\.py: test_a must be declared with @points"):
        runner.graders_of(SimpleNamespace(graders=tmp_path / "test_ch01_a.py"))


# ---------------------------------------------------------------------------------------------
# Submissions
# ---------------------------------------------------------------------------------------------


def test_a_submission_by_hand():
    one = Submission({"f": lambda x: x, "g": abs}, "mine")
    assert repr(one) == "<mine: f, g>" and repr(Submission({}, "b")) == "<b: nothing written>"
    assert one.f is one.f and one.used == {"f"} and one.g(np.array(-2.0)) == 2
    with pytest.raises(ToDo, match="h"):
        one.h  # noqa: B018
    with pytest.raises(AttributeError, match="_g"):
        one._g  # noqa: B018
    assert one.used == {"f", "g", "h"}
    assert [one.told_once("what") for _ in range(3)] == [
        "what", *["not run: the file does not load, as told above"] * 2,
    ]  # fmt: skip
    one.was_late("f")
    assert callable(one.f) and callable(one.g)
    one.was_late("f")
    with pytest.raises(Exception, match="not run: f has run into the time limit of 2 tests befo"):
        one.f  # noqa: B018
    assert callable(one.g)
    broken = Submission({"f": abs}, broken=Unreadable("no"))
    with pytest.raises(Unreadable, match="no"):
        broken.f  # noqa: B018
    assert broken.used == {"f"}


def test_a_worker_ends_with_its_submission(tmp_path, monkeypatch):
    ended = []

    def worker(file, names, **settings):
        return SimpleNamespace(fences={}, alive=True, functions={}, stop=lambda: ended.append(file))

    monkeypatch.setattr(submission, "Worker", worker)
    one = submission.InWorker(chapter("ch04"), tmp_path / "f.py", ["silu"], library={})
    assert ended == [] and one.close() is None and ended == [tmp_path / "f.py"]
    one._worker = None  # which could not be made
    one.close()
    Submission({}).close()


def test_a_module_of_ones_own_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file, before = tmp_path / "numpy.py", set(sys.modules)
    file.write_text("import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int = 3\n")
    assert load_module(file).A().x == 3
    assert set(sys.modules) - before == set() and sys.modules["numpy"] is np
    assert sorted(p.name for p in tmp_path.iterdir()) == ["numpy.py"]  # and no bytecode
    assert sys.dont_write_bytecode is False
    file.write_text("x = 1\n\n1 / 0\n")
    with pytest.raises(Unreadable, match=r"numpy\.py, line 3: ZeroDivisionError while the file"):
        load_module(file)
    assert set(sys.modules) - before == set() and sys.dont_write_bytecode is False


def failure(kind, message="why", frames=(), syntax=None):
    return {"kind": kind, "message": message, "frames": list(frames), "syntax": syntax}


@pytest.mark.parametrize(
    ("given", "told", "mistake"),
    [
        (
            failure("SyntaxError", syntax=(3, "invalid syntax", "  a b\n", 5)),
            "f.py is not valid Python.\n  line 3: invalid syntax\n      a b\n        ^",
            None,
        ),
        (
            failure("SyntaxError", syntax=(3, "why", "a b", None)),
            "f.py is not valid Python.\n  line 3: why\n    a b\n    ^",
            None,
        ),
        (failure("TimeLimit"), "f.py: the file did not finish loading", None),
        (
            failure("TimeLimit", frames=[(1, "m", "a"), (3, "m", "x += 1")]),
            "f.py, line 3: the file did not finish loading",
            "an infinite loop: line 2: while True:",
        ),
        (failure("Lost", "it ended"), "f.py could not be loaded:\n  it ended", None),
        (
            failure("KeyError", "a\nb", [(1, "m", "a"), (2, "m", "b")]),
            "f.py, line 2: KeyError while the file was read:\n  a\n  | b",
            None,
        ),
        (
            failure("Mine"),
            "f.py: an exception of its own while the file was read:\n  Mine: why",
            None,
        ),
    ],
)
def test_a_file_that_does_not_load_in_words(tmp_path, given, told, mistake):
    (tmp_path / "f.py").write_text("x = 1\nwhile True:\n    x += 1\n")
    error = submission._unreadable(tmp_path / "f.py", given)
    assert (str(error), error.mistake) == (told, mistake)


def test_an_allowance_grows_with_the_chapters():
    assert [allowance.longest("a" * n) for n in (0, 1, 10)] == [60, 105, 510]
    assert allowance.Allowance(["ch04", "ch05"]).seconds == 150
    before = allowance.taken()
    kept = np.zeros(1 << 23, np.uint8)
    grown = allowance.taken() - before
    assert before == 0 or kept.size <= grown < 4 * kept.size or grown == 0


def test_limits_inside_one_another():
    """A limit within a limit has its own seconds, and gives back the outer one's."""
    assert clock.allowed() == 60 and 59 < clock.left() <= 60  # where nobody has set one
    with clock.time_limit(40):
        assert clock.allowed() == 40
        with clock.time_limit(7):
            assert clock.allowed() == 7 and 6 < clock.left() <= 7
        assert clock.allowed() == 40 and 38 < clock.left() <= 40
    assert clock.allowed() == 60


@pytest.mark.parametrize(
    ("passed", "worked", "elsewhere", "left"),
    [
        (8.0, 1.0, 0.0, 8.0),  # of waiting a quarter counts
        (8.0, 1.0, 5.0, 4.0),
        (4.0, 9.0, 0.0, 6.0),  # several threads work no longer than time passes
        (4.0, 0.0, 9.0, 6.0),
        (40.0, 0.0, 0.0, 0.0),
    ],
)
def test_what_is_left_of_ten_seconds(monkeypatch, passed, worked, elsewhere, left):
    now = SimpleNamespace(monotonic=lambda: 100.0, process_time=lambda: 50.0)
    monkeypatch.setattr(limit, "time", now)
    one = limit.Limit(10.0)
    now.monotonic, now.process_time = lambda: 100.0 + passed, lambda: 50.0 + worked
    monkeypatch.setattr(clock, "_limit", lambda: one)
    clock.charge(elsewhere)
    assert one.left() == pytest.approx(left)
    if left:
        assert clock.left() == pytest.approx(left)
    else:
        with pytest.raises(clock.TimeLimit, match=r"^10 s$"):
            clock.left()


# ---------------------------------------------------------------------------------------------
# A notebook's table
# ---------------------------------------------------------------------------------------------


def test(status, output="it is so", number=2, score=0, name="a"):
    tags = ["ch04", status]
    return {"tags": tags, "output": output, "max_score": number, "score": score, "name": name}


test.__test__ = False


def grade(*tests):
    one = SimpleNamespace(number=4, title="A & B")
    return Grade(one, {"tests": list(tests), "score": sum(t["score"] for t in tests)})


def test_the_first_failure_with_a_likely_mistake_is_shown():
    plain, told = test("failed", name="b"), test("error", "x\n  likely    a sign", name="c")
    assert grade(test("passed"), test("todo")).first is None
    assert grade(test("passed"), plain, test("failed")).first is plain
    assert grade(plain, told, test("failed", "\n  likely    z")).first is told
    assert grade(test("todo", "\n  likely no"), plain).first is plain


@pytest.mark.parametrize("all_mine", [False, True])
def test_a_notebook_grades_in_a_process_of_its_own(tmp_path, monkeypatch, all_mine):
    """The repository's, without colors, and of another folder only where that is said."""
    ran = []

    def run(command, **settings):
        ran.append((command, settings))
        tests = [test("passed", "é", score=2)]
        report = json.dumps({"tests": tests, "score": 2}, ensure_ascii=False)
        Path(command[command.index("--gradescope") + 1]).write_text(report, encoding="utf-8")

    monkeypatch.setattr(notebook.subprocess, "run", run)
    monkeypatch.setenv("PYTHONPATH", "mine")
    made = notebook.grade(4, tmp_path, all_mine)
    assert (made.chapter.key, made.earned, made.tests[0]["output"]) == ("ch04", 2, "é")
    (command, settings), root = ran[0], str(registry.ROOT)
    assert command[:4] == [sys.executable, "-m", "pytest", str(chapter("ch04").graders)]
    assert f"--submission={tmp_path}" in command and ("--all-mine" in command) is all_mine
    assert settings["cwd"] == registry.ROOT and settings["env"]["PY_COLORS"] == "0"
    assert settings["env"]["PYTHONPATH"].split(os.pathsep) == [root, "mine"]
    notebook.grade("ch04")
    assert f"--submission={notebook.STUBS}" in ran[1][0]


def test_tests_that_could_not_run_are_told(monkeypatch):
    done = SimpleNamespace(stdout="no such ", stderr="plugin")
    monkeypatch.setattr(notebook.subprocess, "run", lambda *given, **more: done)
    with pytest.raises(RuntimeError, match="the tests could not run:\nno such plugin"):
        notebook.grade("ch04")


def test_a_table_escapes_what_a_student_wrote(tmp_path, monkeypatch):
    made = grade(test("passed", score=2, name="<i>"), test("failed", "<b>&", 0, name="d"))
    page = made._repr_html_()
    assert "<b>04 A &amp; B: 2/2 points</b>" in page and "&lt;i&gt;" in page
    assert "<pre>&lt;b&gt;&amp;</pre>" in page and "<i>" not in page
    assert "2/2</td>" in page and "★</td>" in page  # what a test for honor is worth
    assert notebook._score(test("failed", number=3)) == "0/3"
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    (tmp_path / "p.png").write_bytes(b"picture")
    assert "base64,cGljdHVyZQ==" in notebook._image("a\n  picture   p.png\nb")
    assert notebook._image("picture p.png") == notebook._image("  picture   q.png") == ""


# ---------------------------------------------------------------------------------------------
# Goals
# ---------------------------------------------------------------------------------------------


def test_goals_by_hand():
    """Of a gap less is better, of a share more; what is just enough is enough."""
    gap, exact, _ = capstone.GOALS
    assert gap.reached(0.15) and not gap.reached(0.151) and gap.better(0.1, 0.2)
    assert exact.reached(0.95) and not exact.reached(0.949) and exact.better(0.2, 0.1)
    assert not gap.better(0.1, 0.1) and not exact.better(0.1, 0.1)
    shares = {"gap": 0.3, "shares": {"exact": 0.5}}
    assert [goal.value(shares) for goal in capstone.GOALS] == [0.3, 0.5, None]
    assert gap.told(0.12345) == "0.123 nats above the floor"
    assert exact.told(0.12345) == "12.3% exact"
    assert [goal.wanted for goal in capstone.GOALS] == [
        "at most 0.15 nats above the floor",
        *("at least 95% exact", "at least 65% masked accuracy"),
    ]  # fmt: skip
    first = [f"ch{n:02d}" for n in range(1, 14)]
    assert gap.keys == first and exact.keys == [*first, "ch14"]


def test_a_digest_is_of_every_file_and_every_byte(tmp_path):
    def digest(**files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return capstone.digest(folder)

    one = digest(ch04_mine="a", ch05_mine="b")
    assert digest(ch04_other="a", ch05="b") == one  # whatever the files are called
    others = [digest(ch04="b", ch05="a"), digest(ch04="ab", ch05=""), digest(ch04="a", ch06="b")]
    others += [digest(ch04="a"), digest(ch04="a", ch05="c")]
    assert len({one, *others}) == 6


def test_whose_arguments_do_not_fit(tmp_path):
    (tmp_path / "ch04_mine.py").write_text("")

    def told(text, kind=TypeError):
        return capstone._refuses(kind(text), tmp_path)

    for text in ("silu() got an unexpected keyword", "silu() takes 1", "silu() missing 1 required"):
        assert told(text) == f"silu in ch04_mine.py: {text}"
    assert told("silu() takes 1", ValueError) is None
    assert told("rms_norm() takes 1") is None  # it is in no file of theirs
    assert told("silu() is slow") is None and told("so silu() takes 1") is None


# ---------------------------------------------------------------------------------------------
# The graders, graded
# ---------------------------------------------------------------------------------------------


def result(name, status, message="", possible=5, looks_for="signs"):
    return Result(name, "ch01", name, possible, looks_for, status=status, message=message)


def made_self_test(monkeypatch, tmp_path, count=mutants.LEAST):
    """A sound one of a function f, with `count` mutants, and of g, which is asked for honor."""
    todo = "    raise NotImplementedError\n"
    (tmp_path / "stub.py").write_text(f'def f(x):\n    """What."""\n{todo}\n\ndef g(x):\n{todo}')
    assigned, stub = {"f": "m", "g": "m"}, tmp_path / "stub.py"
    one = SimpleNamespace(key="ch01", title="A", assigned=assigned, stretch=("g",), stub=stub)
    tests = [
        SimpleNamespace(__name__=f"test_{name}_value", points=runner.Points(number, name, "s", 5))
        for name, number in (("f", 5), ("g", 0))
    ]
    monkeypatch.setattr(mutants, "graders_of", lambda chapter: tests)
    report = mutants.SelfTest(one)
    report.reference = {
        t.__name__: result(t.__name__, "passed", possible=t.points.number) for t in tests
    }
    report.stubs = {t.__name__: result(t.__name__, "todo") for t in tests}
    for name in ("f", "g"):
        wrong = SimpleNamespace(__name__=f"{name}_wrong")
        mutant = mutants.Mutant(wrong, name, f"test_{name}_value", "a sign")
        killed = {f"test_{name}_value": result("t", "failed", "it is a sign")}
        report.rows += [(mutant, killed)] * count
    report.strong = {"f": ["test_f_value"], "g": []}
    return report


def test_a_sound_chapter_has_no_faults(monkeypatch, tmp_path):
    report = made_self_test(monkeypatch, tmp_path)
    assert list(mutants._faults(report, None)) == []
    lines = mutants.kill_matrix(report).splitlines()
    assert lines[:2] == ["ch01  A", "  reference 5/5 points; stubs 0/5, 2 of 2 tests to do"]
    assert lines[3].split() == ["f", "value"] and lines[4].split()[0] == "*"
    assert lines[5].split() == ["f_wrong", "X", "a", "sign"]
    assert lines[11].split() == ["g", "value"] and "* no" not in lines[12].replace(
        "no shortcut", ""
    )
    assert not any("FAULT" in line for line in lines)
    report.faults = ["something"]
    assert mutants.kill_matrix(report).endswith("\n\n  FAULT something")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda r: r.strong.update(f=[]), "f gives no points in a class: a shortcut passes each"),
        (
            lambda r: r.reference.update(test_f_value=result("t", "failed", "no")),
            "test_f_value fails the reference: no",
        ),
        (
            lambda r: r.reference.update(test_f_value=result("t", "passed", looks_for="")),
            "test_f_value has no docstring that says what mistake it looks for",
        ),
        (
            lambda r: r.stubs.update(test_f_value=result("t", "failed", "no")),
            "test_f_value on the stubs is failed, not to do: no",
        ),
        (lambda r: r.rows.pop(0), f"f has {mutants.LEAST - 1} mutants; at least {mutants.LEAST}"),
        (
            lambda r: r.chapter.stub.write_text("def f(x):\n    raise NotImplementedError\n"),
            "stub.py: there is no stub of g",
        ),
        (
            lambda r: r.chapter.stub.write_text(
                r.chapter.stub.read_text().replace("raise NotImplementedError", "return x", 1)
            ),
            "stub.py: there is no stub of f",
        ),
        (lambda r: setattr(r.chapter, "stretch", ()), "test_g_value is worth 0 points"),
        (lambda r: setattr(r.chapter, "stretch", ("f", "g")), "test_f_value is worth 5 points"),
        (
            lambda r: setattr(r.chapter, "stretch", ("g", "h")),
            "STRETCH names h, which ASSIGNED does not",
        ),
    ],
)
def test_each_fault_of_a_chapter_is_told(monkeypatch, tmp_path, spoil, told):
    report = made_self_test(monkeypatch, tmp_path)
    spoil(report)
    faults = list(mutants._faults(report, None))
    assert any(fault.startswith(told) for fault in faults), faults


def test_of_one_function_only_its_own_mutants_are_counted(monkeypatch, tmp_path):
    report = made_self_test(monkeypatch, tmp_path, count=2)
    told = {fault.split()[0] for fault in mutants._faults(report, "f")}
    assert told == {"f"} and {f.split()[0] for f in mutants._faults(report, None)} == {"f", "g"}


@pytest.mark.parametrize("name, status, cell", [
    ("test_a", "failed", "X"), ("test_b", "failed", "x"), ("test_a", "passed", "."),
    ("test_b", "error", "."), ("test_c", "failed", " "),
])  # fmt: skip
def test_cells_of_the_kill_matrix(name, status, cell):
    one = mutants.Mutant(abs, "f", "test_a", "a sign")
    results = {n: result(n, status) for n in ("test_a", "test_b")}
    assert mutants._cell(one, name, results) == cell
