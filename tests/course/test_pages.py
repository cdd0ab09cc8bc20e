"""The pages on a class, by hand: what a student sees first, and what a teacher."""

import re
from pathlib import Path

import pytest

from tinyqwen.course.classroom import pages
from tinyqwen.course.classroom.submissions import Student
from tinyqwen.course.runner import Result


def result(status, possible=2, chapter="ch04", **more):
    return Result(f"test_{status}", chapter, f"a {status} test", possible, "signs", 7, status,
                  f"it is {status}", seconds=0.25, **more)  # fmt: skip


def student(*results, name="Ada <i>", **more):
    made = Student(name, "Ada_i_", Path("nowhere"), **more)
    for one in results:
        made.results.setdefault(one.chapter, []).append(one)
    return made


def page_of(*results, **more):
    return pages.student_page(student(*results, **more), results)


def texts(page):
    """A page's words, without its style and its tags."""
    body = page.partition("</style>")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)).strip()


def test_failures_come_first_and_the_rest_is_folded():
    page = page_of(
        *(result("passed"), result("failed", 3, mistake="a <sign>"), result("todo", 5)),
        *(result("error", 1), result("waiting", 4), result("passed", 5, "ch05")),
        seeds={"ch04": 77},
        notes=["b.py: not graded & why"],
    )
    told = texts(page)
    assert told.startswith("Ada &lt;i&gt; 7 of 20 points. b.py: not graded &amp; why")
    assert "<i>" not in page and "a &lt;sign&gt;" in page
    fourth, fifth = page.split('<h2 id="ch')[1:]
    assert "04 Linear layers and SwiGLU: 2 of 15" in texts("</style><h2 " + fourth)
    shown, folded = fourth.split("<details>")
    assert re.findall(r'class="(\w+)">([^<]*)</td>', shown) == [
        ("failed", "✗ not yet"), ("n", "0/3"), ("error", "✗ grader broke"), ("n", "0/1"),
        ("waiting", "· not run"), ("n", "0/4"),
    ]  # fmt: skip
    assert "it is failed\n  likely    a &lt;sign&gt;</pre>" in shown
    assert shown.count("This test looks at: signs") == 3
    assert "<summary>1 passed, 1 to do</summary>" in folded
    assert re.findall(r'class="(\w+)">([^<]*)</td>', folded) == [
        ("passed", "✓ passed"), ("n", "2/2"), ("todo", "· to do"), ("n", "0/5"),
    ]  # fmt: skip
    assert "--grading-seed 77" in folded and "--grading-seed" not in fifth
    assert "tests/assignments/test_ch04_swiglu.py --submission=FOLDER --isolated" in folded
    assert "<details open>" in fifth  # where nothing has failed nothing is hidden


def test_a_teacher_sees_the_class_in_a_table():
    ada = student(
        result("passed"), result("failed", 3), fences={"limits": "no: none", "net": "yes"}
    )
    bob = student(result("todo", 4, "ch05"), name="Bob", fences={"landlock": "yes"})
    bob.slug = "Bob ü"
    bob.contents["ch05"] = "digest"
    done = [(one, one.all_results) for one in (ada, bob)]
    page = pages.class_page(done, 3, {"seed": 5, "chapters": ["ch04", "ch05"]})
    told = texts(page)
    assert told.startswith("Gradebook 2 of 3 students graded; seed of the class 5; chapters ch04, ")
    rows = [texts("</style>" + row) for row in page.split("<tr>")[1:]]
    assert rows[0] == "student points 04 05 seconds to look at"
    assert rows[1].split() == ["Ada", "&lt;i&gt;", "2", "/5", "2", "0.5"]
    assert rows[2].startswith("Bob 0 /4 0 0.2 everything is to do")
    assert 'href="Bob%20%C3%BC.html"' in page and 'href="Ada_i_.html"' in page
    assert [row.split(maxsplit=1) for row in rows[3:5]] == [["limits", "no: none"], ["net", "yes"]]
    assert rows[5].startswith("landlock yes There are no resource limits here.")


@pytest.mark.parametrize(
    ("results", "more", "notes"),
    [
        ([result("passed")], {}, []),
        ([result("passed"), result("todo")], {}, []),
        ([result("todo")], {"contents": {"ch04": "x"}}, ["everything is to do"]),
        (
            [result("todo")],
            {},
            ["everything is to do: there is no Python file that names a chapter (ch04)"],
        ),
        ([result("todo")], {"notes": ["n"], "trouble": ["t"]}, ["n", "t"]),
        ([result("error"), result("error")], {}, ["a grader broke in 2 tests"]),
        ([result("waiting")], {}, ["1 tests were not reached"]),
        ([result("failed", unreadable=True)], {}, ["ch04: it is failed"]),
        ([], {}, []),
    ],
)
def test_what_a_teacher_should_look_at(results, more, notes):
    assert pages.to_look_at(student(*results, **more)) == notes
