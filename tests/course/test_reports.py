"""Reports and the scoreboard, by hand: what each says of results of every kind."""

import csv
import io
import re

import pytest

from tinyqwen.course.classroom.reports import (
    Reports,
    classroom50,
    github_runner,
    gradebook,
    gradescope,
)
from tinyqwen.course.notebook import Grade
from tinyqwen.course.registry import chapter
from tinyqwen.course.runner import Result
from tinyqwen.course.scoreboard import scoreboard, total


def result(chapter, possible, status, **more):
    return Result(f"test_{status}", chapter, f"a {status} test", possible, "signs", 7, status,
                  f"it is {status}", seconds=0.25, **more)  # fmt: skip


RESULTS = [
    result("ch04", 3, "passed"),
    result("ch04", 4, "failed", mistake="a sign"),
    result("ch05", 2, "todo"),
    result("ch05", 5, "error"),
    result("ch05", 1, "waiting"),
    result("ch05", 6, "passed"),
]


def test_gradescope():
    report = gradescope(RESULTS)
    assert report["score"] == 9 and report["execution_time"] == 1.5
    assert report["extra_data"] == {
        "ch04": {"earned": 3, "possible": 7}, "ch05": {"earned": 6, "possible": 14},
    }  # fmt: skip
    tests = report["tests"]
    assert [t["number"] for t in tests] == ["4.1", "4.2", "5.1", "5.2", "5.3", "5.4"]
    assert [(t["score"], t["max_score"], t["status"]) for t in tests] == [
        (3, 3, "passed"), (0, 4, "failed"), (0, 2, "failed"), (0, 5, "failed"), (0, 1, "failed"),
        (6, 6, "passed"),
    ]  # fmt: skip
    assert [t["tags"] for t in tests][1] == ["ch04", "failed"]
    assert tests[0]["output"] == "signs"
    assert tests[1]["output"] == "it is failed\n  likely    a sign\n\nThis test looks at: signs"
    assert tests[4]["output"] == "it is waiting"
    (killed,) = gradescope([Result("test_a", "ch05", "a", 1)])["tests"]  # nobody could say why
    assert killed["output"] == "not run: the grading ended before this test"
    assert "04 Linear layers and SwiGLU" in report["output"]


def test_github_classroom():
    report = github_runner(RESULTS)
    assert (report["status"], report["max_score"]) == ("error", 21)
    assert [t["status"] for t in report["tests"]] == [
        "pass", "fail", "fail", "error", "fail", "pass",
    ]  # fmt: skip
    assert [t["score"] for t in report["tests"]] == [3, 0, 0, 0, 0, 6]
    assert report["tests"][1] | {"message": ""} == {
        "name": "ch04 a failed test", "status": "fail", "score": 0, "message": "",
        "test_code": "signs", "filename": "tests/assignments/test_ch04_swiglu.py",
        "line_no": 7, "duration": 250,
    }  # fmt: skip
    assert github_runner(RESULTS[:2])["status"] == "fail"
    assert github_runner(RESULTS[:1])["status"] == "pass"


def test_classroom_50():
    report = classroom50(RESULTS, {"COMMIT_URL": "c", "CLASSROOM": "k"})
    assert (report["score"], report["max-score"], report["classroom"]) == (9, 21, "k")
    assert report["commit"] == report["review"] == "c" and report["release"] == ""
    assert classroom50([], {"COMMIT_URL": "c", "REVIEW_URL": "r"})["review"] == "r"
    assert [t["passed"] for t in report["tests"]] == [True, False, False, False, False, True]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", report["datetime"])


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_gradebook_keeps_others_and_replaces_ones_own():
    book = gradebook(RESULTS, "ada")
    assert book == "student,ch04,ch05,total,possible\nada,3,6,9,21\n"
    book = gradebook(RESULTS[2:], "bob", book)
    book = gradebook(RESULTS[:1], "ada", book)
    assert rows(book) == [
        {"student": "ada", "ch04": "3", "ch05": "", "total": "3", "possible": "3"},
        {"student": "bob", "ch04": "", "ch05": "6", "total": "6", "possible": "14"},
    ]


@pytest.mark.parametrize("name", ["=1+1", "+a", "-a", "@a", "\ta", "'=1", "＝1"])
def test_no_name_is_a_formula(name):
    book = rows(gradebook(RESULTS, name))
    assert book[0]["student"] == f"'{name}"
    assert rows(gradebook(RESULTS, "a=b, c"))[0]["student"] == "a=b, c"


def test_a_carriage_return_in_a_name_spoils_no_book():
    book = gradebook(RESULTS, "\r=1\rada")
    assert rows(gradebook(RESULTS, "bob", book))[0]["student"] == " =1 ada"


def line(results):
    return scoreboard(results)[1]


def test_a_bar_is_full_only_where_all_is_earned():
    def bar(earned, possible):
        text, color = line([result("ch04", earned, "passed"),
                            result("ch04", possible - earned, "failed")])  # fmt: skip
        return text.count("█"), text.count("░"), color

    assert bar(1, 100) == (1, 9, "red") and bar(99, 100) == (9, 1, "red")
    assert bar(50, 100) == (5, 5, "red") and bar(26, 100) == (3, 7, "red")
    text, color = line([result("ch04", 5, "passed")])
    assert text.count("█") == 10 and color == "green" and text.split()[-1] == "█" * 10
    text, color = line([result("ch04", 5, "todo")])
    assert color == "" and text.count("█") == 0 and text.count("░") == 10
    assert line([result("ch04", 5, "todo"), result("ch04", 1, "passed")])[1] == "yellow"


def test_what_is_to_do_and_what_failed_is_counted():
    text, _ = scoreboard(RESULTS)[2]
    assert text.split()[-2:] == ["2", "1"]  # to do and waiting; failed and broken
    text, _ = scoreboard(RESULTS)[-1]
    assert text.startswith("all") and "9/21" in text and text.split()[-2:] == ["2", "2"]
    assert len(scoreboard(RESULTS[:2])) == 2  # of one chapter there is no sum
    assert total(RESULTS) == (9, 21) and total([]) == (0, 0)


def test_a_notebooks_table_has_each_tests_own_sign():
    grade = Grade(chapter("ch04"), gradescope(RESULTS))
    title, *lines = repr(grade).splitlines()
    assert title.startswith("04 ") and title.endswith(": 9/21")
    assert [line.split()[:2] for line in lines[:6]] == [
        *(["✓", "3/3"], ["✗", "0/4"], ["·", "0/2"], ["✗", "0/5"], ["·", "0/1"], ["✓", "6/6"]),
    ]
    assert all(line.endswith("test") for line in lines[:6])
    assert lines[6:8] == ["", "a failed test"] and "it is failed" in "\n".join(lines[8:])
    told = re.findall(r'<span style="color:(#\w+)">(.) ([\w ]+)</span>', grade._repr_html_())
    assert [words for _, _, words in told] == [
        *("passed", "failed", "to do", "grader broke", "not run", "passed"),
    ]
    assert [sign for _, sign, _ in told] == [line.split()[0] for line in lines[:6]]
    colors = dict((words, color) for color, _, words in told)
    assert len(set(colors.values())) == 3 and colors["failed"] == colors["grader broke"]


def test_chapters_stand_in_their_order():
    assert [text[:2] for text, _ in scoreboard(RESULTS[::-1])] == ["ch", "04", "05", "al"]


def test_a_star_is_for_all_of_a_stretch_function():
    passed, honor = result("ch04", 5, "passed"), result("ch04", 0, "passed")
    assert line([passed, honor])[0].endswith("★")
    assert "★" not in line([passed, honor, result("ch04", 0, "failed")])[0]
    assert "★" not in line([passed])[0]
    text, color = line([passed, result("ch04", 0, "failed")])
    assert color == "green" and text.split()[-1] == "█" * 10
    both = scoreboard([passed, honor, result("ch05", 1, "passed"), result("ch05", 0, "passed")])
    assert both[-1][0].endswith("2 ★")


def test_a_second_students_run_adds_to_the_gradebook(tmp_path, monkeypatch):
    """The mark by which spreadsheets know UTF-8 is in front once, and no part of a name."""
    monkeypatch.chdir(tmp_path)
    book = tmp_path / "deep" / "grades.csv"
    for student in ("Zoë", "bob", "bob"):
        reports = Reports(student, gradebook=book)
        assert reports
        reports.write(RESULTS)
    text = book.read_text(encoding="utf-8")
    assert text.startswith("\ufeffstudent,ch04,ch05,total,possible\n") and text.count("\ufeff") == 1
    assert [row["student"] for row in rows(text[1:])] == ["Zoë", "bob"]
    assert not Reports("ada")
    with pytest.raises(ValueError, match=r"--classroom result\.json: that name is"):
        Reports("ada", classroom="result.json")
