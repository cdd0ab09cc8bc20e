"""What `python -m tinyqwen.grade` hands on and prints, with a class and graders that do nothing."""

from types import SimpleNamespace

import pytest

from tinyqwen import grade
from tinyqwen.course.registry import chapters
from tinyqwen.course.runner import Result

STUDENTS = [
    SimpleNamespace(name="Ada", points=(28, 30), notes=["a note", "another"], fences={"net": "no"}),
    SimpleNamespace(name="Zoë Zip", points=(0, 1200), notes=[], fences={"memory": "yes"}),
]


@pytest.fixture
def command(monkeypatch):
    """Runs the command with these arguments; returns its status."""

    def called(*arguments):
        monkeypatch.setattr("sys.argv", ["grade.py", *arguments])
        return grade.main()

    return called


@pytest.fixture
def graded(monkeypatch):
    """How `grade_class` was called."""
    calls = []
    monkeypatch.setattr(grade, "grade_class", lambda *a, **o: calls.append((a, o)) or STUDENTS)
    monkeypatch.setattr(grade, "to_look_at", lambda student: student.notes)
    monkeypatch.setattr(grade, "unbound", lambda fences: [f"{len(fences)} fences."])
    return calls


def test_a_class_in_lines(command, graded, capsys):
    assert command("class", "--out", "a/grades.csv") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Ada         28/30   a note   another",
        "Zoë Zip      0/1200",
        "2 fences.",
        "a/grades.csv; the reports: a/grades/index.html",
    ]
    assert graded == [(("class", "a/grades.csv"), {"keys": (), "most": 300, "memory": 1 << 30})]


def test_a_long_name_moves_no_other(command, graded, capsys, monkeypatch):
    one = SimpleNamespace(name="x" * 70, points=(1, 2), notes=[], fences={})
    monkeypatch.setattr(grade, "grade_class", lambda *given, **more: [one, STUDENTS[0]])
    command("class", "--out", "g.csv")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "x" * 70 + "      1/2" and lines[1].startswith(
        "Ada" + " " * 57 + "     28/30"
    )


def test_options_of_a_class_reach_it(command, graded):
    options = "--jobs 3 --chapters ch04 5 --memory 512 --time-limit 2.5 --again --seed 7"
    command("class", "--out", "g.csv", *options.split())
    assert graded[0][1] == {
        "keys": ["ch04", "5"], "most": 2.5, "memory": 512 * 2**20, "jobs": 3, "again": True,
        "seed": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("class --out a.csv --show silu", "--show is not for submissions; leave it out"),
        ("--self-test --out a.csv", "--out is not for self-test; leave it out"),
        ("--make-gradescope a.zip --seed 3", "--seed is not for make-gradescope; leave it out"),
        ("class", "say where the gradebook goes: --out grades.csv"),
        ("--out a.csv", "say one: a folder of submissions, --self-test, or --make-gradescope"),
        ("class --make-gradescope a.zip", "say one: a folder of submissions"),
    ],
)
def test_what_does_not_go_together(command, arguments, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(*arguments.split())
    assert told in capsys.readouterr().err


def report(faults, rows=()):
    return SimpleNamespace(faults=["f"] * faults, rows=list(rows))


@pytest.mark.parametrize("faults", [(0, 0), (2, 1)])
def test_self_tests_are_counted(command, monkeypatch, capsys, faults):
    """As many mutants as there are, and a status that says whether all is sound."""
    made, left = [], list(faults)
    monkeypatch.setattr(grade, "mutants_of", lambda one: [SimpleNamespace(name="m")] * one.number)
    monkeypatch.setattr(
        grade, "tested", lambda one, seed: made.append((one.key, seed)) or report(left.pop(0))
    )
    monkeypatch.setattr(grade, "kill_matrix", lambda report: "matrix")
    assert command("--self-test", "4", "ch10", "--seed", "6") == (1 if sum(faults) else 0)
    assert made == [("ch04", 6), ("ch10", 6)]
    assert capsys.readouterr().out == f"matrix\n\nmatrix\n\n14 mutants, {sum(faults)} faults\n"
    left[:] = [0] * len(chapters())
    command("--self-test")
    assert made[2:] == [(key, 0) for key in chapters()]


def test_one_mutant_is_shown_as_its_author_reads_it(command, monkeypatch, capsys):
    names = {"ch04": ["slow", "wrong"], "ch05": ["other"]}
    results = {
        "a": Result("test_a", "ch04", "a", 1, status="passed"),
        "b": Result("test_b", "ch04", "b", 1, status="failed", message="no\nno", mistake="a sign"),
    }
    rows = [(SimpleNamespace(name="slow"), {}), (SimpleNamespace(name="wrong"), results)]
    monkeypatch.setattr(
        grade, "mutants_of", lambda one: [SimpleNamespace(name=n) for n in names[one.key]]
    )
    monkeypatch.setattr(grade, "tested", lambda one, seed: report(0, rows))
    assert command("--self-test", "ch04", "ch05", "--show", "wrong") == 0
    assert capsys.readouterr().out == (
        "test_a: passed\ntest_b: failed\n    no\n    no\n      likely    a sign\n"
    )
    with pytest.raises(ValueError, match="--show: none of 3 mutants is called none"):
        command("--self-test", "ch04", "ch05", "--show", "none")
