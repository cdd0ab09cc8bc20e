"""The plugin that grades, hook by hook, without starting pytest."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tinyqwen.course import plugin, points, registry
from tinyqwen.course.registry import GRADERS
from tinyqwen.course.runner import Result

FILE = "test_ch04_swiglu.py"


def item(name="test_a", file=GRADERS / FILE, number=3):
    function = points(number, f"{name}: value")(lambda submission: None)
    return SimpleNamespace(nodeid=name, function=function, path=Path(file))


def config(**options):
    options = {"submission": None, "isolated": False, "all_mine": False, **options}
    return SimpleNamespace(getoption=options.get, option=SimpleNamespace(), stash={})


def grading(folder, *items, **options):
    return plugin.Grading(config(submission=str(folder), **options), items or [item()])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ch5", "ch05"),
        ("ch1", "ch01"),
        ("ch10", "ch10"),
        ("ch05", "ch05"),
        ("not ch3 and (ch4 or ch15)", "not ch03 and (ch04 or ch15)"),
        ("arch5 or ch5_x", "arch5 or ch5_x"),
        ("", ""),
    ],
)
def test_one_digit_is_a_chapter(given, meant):
    made = config()
    made.option.keyword = given
    plugin.pytest_configure(made)
    assert made.option.keyword == meant


def test_memory_is_bounded_where_strangers_are_graded(monkeypatch):
    bounded = []
    monkeypatch.setattr(plugin, "limit_memory", lambda: bounded.append(True))
    for isolated in (False, True):
        made = config(isolated=isolated)
        made.option.keyword = ""
        plugin.pytest_configure(made)
        assert bounded == [True] * isolated


def test_which_tests_are_graders(tmp_path):
    assert plugin.is_grader(item())
    for other in (tmp_path / FILE, GRADERS / "test_together.py", GRADERS / "test_ch99_x.py"):
        assert not plugin.is_grader(item(file=other))


def test_what_is_graded(tmp_path):
    assert plugin.folder_of(config(submission=str(tmp_path))) == tmp_path
    assert plugin.folder_of(config()) == plugin.STUBS
    with pytest.raises(pytest.UsageError, match=r"--submission .*nowhere: no such file or folder"):
        plugin.folder_of(config(submission=str(tmp_path / "nowhere")))


def test_inputs_are_drawn_for_strangers_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(plugin.secrets, "randbits", lambda bits: bits)
    assert grading(tmp_path).seed == 0 and grading(tmp_path, isolated=True).seed == 31
    for isolated in (False, True):
        assert grading(tmp_path, isolated=isolated, grading_seed=7).seed == 7
        assert grading(tmp_path, isolated=isolated, grading_seed=0).seed == 0
    with pytest.raises(pytest.UsageError, match="--all-mine runs your functions in this process"):
        grading(tmp_path, isolated=True, all_mine=True)
    (tmp_path / "ch04_x.py").write_text("def silu(:")
    with pytest.raises(pytest.UsageError, match=r"--all-mine: ch04_x\.py is not valid Python"):
        grading(tmp_path, all_mine=True)


def test_results_wait_in_the_order_of_the_tests_and_are_written_at_once(tmp_path):
    report, others = tmp_path / "r.json", [item("b"), item("a", file=tmp_path / FILE)]
    made = grading(tmp_path, item("c"), *others, gradescope=str(report))
    assert list(made.results) == ["c", "b"]  # the third is no grader
    assert {r.status for r in made.results.values()} == {"waiting"} and report.exists()
    assert [r.title for r in made.counted()] == ["c: value", "b: value"]
    with pytest.raises(pytest.UsageError, match=r"--classroom result\.json: that name is"):
        grading(tmp_path, classroom="result.json")


def test_what_is_left_out_is_no_part_of_the_grade(tmp_path):
    one, other = item("a"), item("b")
    made = grading(tmp_path, one, other, gradescope=str(tmp_path / "r.json"))
    before = (tmp_path / "r.json").read_text()
    one.config = SimpleNamespace(stash={plugin._grading: made})
    plugin.pytest_deselected([one])
    assert list(made.results) == ["b"] and (tmp_path / "r.json").read_text() != before
    one.config = SimpleNamespace(stash={})
    plugin.pytest_deselected([one])
    plugin.pytest_deselected([])


@pytest.mark.parametrize("all_mine", [False, True])
def test_all_together_is_asked_for_with_all_mine(all_mine, monkeypatch):
    left, made = [], config(all_mine=all_mine)
    made.hook = SimpleNamespace(pytest_deselected=lambda items: left.extend(items))
    together = item("t", file=GRADERS / "test_together.py")
    items = [item("a"), together]
    monkeypatch.setattr(plugin, "Grading", lambda config, items: [i.nodeid for i in items])
    plugin.pytest_collection_modifyitems(made, items)
    assert left == ([] if all_mine else [together])
    assert made.stash[plugin._grading] == (["a", "t"] if all_mine else ["a"])
    none = config(all_mine=True)
    plugin.pytest_collection_modifyitems(none, [together])
    assert none.stash == {}


@pytest.mark.parametrize(
    ("status", "ends"),
    [("passed", None), ("todo", "Skipped"), ("failed", "Failed"), ("error", "Failed")],
)
def test_how_a_grader_ends(tmp_path, status, ends):
    result = Result("a", "ch04", "a", 3, status=status, message="why", mistake="a sign")
    one = item()
    one.config = SimpleNamespace(
        stash={plugin._grading: SimpleNamespace(grade=lambda given: result)}
    )
    if ends is None:
        assert plugin.pytest_pyfunc_call(one) is True
    else:
        with pytest.raises(BaseException, match=r"^why") as end:
            plugin.pytest_pyfunc_call(one)
        assert type(end.value).__name__ == ends
        assert ("likely    a sign" in str(end.value)) == (ends == "Failed")
    assert plugin.pytest_pyfunc_call(item(file=tmp_path / FILE)) is None


@pytest.mark.parametrize(
    ("skipped", "number", "told"), [(True, 3, "to do"), (True, 0, "for honor"), (False, 3, None)]
)
def test_what_is_to_do_is_called_that(skipped, number, told):
    report = SimpleNamespace(skipped=skipped)
    hook = plugin.pytest_runtest_makereport(item(number=number), None)
    next(hook)
    with pytest.raises(StopIteration) as end:
        hook.send(report)
    assert end.value.value is report and getattr(report, "to_do", None) == told
    expected = told and (told, "-", told.upper())
    assert plugin.pytest_report_teststatus(report) == expected


@pytest.mark.parametrize(
    ("reports", "status", "ends"),
    [(True, 1, 0), (False, 1, 1), (True, 0, 0), (True, 2, 2), (None, 1, 1)],
)
def test_failures_are_a_grade_where_one_is_written(reports, status, ends):
    closed = []
    made = SimpleNamespace(reports=reports, close=lambda: closed.append(True))
    stash = {} if reports is None else {plugin._grading: made}
    session = SimpleNamespace(config=SimpleNamespace(stash=stash), exitstatus=status)
    plugin.pytest_sessionfinish(session, pytest.ExitCode(status))
    assert session.exitstatus == ends and closed == [True] * (reports is not None)


def test_a_picture_is_named_or_left_out(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plugin, "comparison", lambda *given: given)
    monkeypatch.setattr(plugin, "save", lambda figure, path: drawn.append((figure, path)))
    x, monkey = np.ones(2), Result("test_a", "ch04", "a", 1)
    monkey.picture = (x, 2 * x, "time")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "new" / "ch04_test_a.png"
    assert plugin.picture_of(monkey, tmp_path / "new") == "\n  picture   new/ch04_test_a.png"
    assert drawn[0][1] == path and drawn[0][0] == monkey.picture and path.parent.is_dir()
    monkeypatch.chdir("/")
    (tmp_path / "file").write_text("")
    assert plugin.picture_of(monkey, tmp_path / "file") == ""  # the numbers have told it already


def test_a_folder_is_shown_as_short_as_it_can_be(tmp_path):
    assert plugin._shown(registry.ROOT / "chapters") == Path("chapters")
    assert plugin._shown(tmp_path) == tmp_path.resolve()


def test_a_file_that_a_class_could_not_load_is_told(tmp_path):
    (tmp_path / "ch04_mine.py").write_text("import torch, json\nimport numpy\n")
    made = grading(tmp_path, item("a"), item("b", file=GRADERS / "test_ch05_normalization.py"))
    assert list(made.absent()) == ["ch04_mine.py: not there when a class is graded: torch"]
    (tmp_path / "ch04_mine.py").write_text("import torch, (")
    assert list(made.absent()) == []


def test_weak_tests_count_as_in_a_class_only_there(tmp_path, monkeypatch):
    """And are looked for only where something has passed, once for a chapter."""
    asked = []
    monkeypatch.setattr(plugin, "weak_tests", lambda one: asked.append(one.key) or {})
    monkeypatch.setattr(plugin, "confirmed", lambda group, weak: [*group, weak])
    made = grading(tmp_path, item("a"), isolated=True)
    assert made.counted()[1:] == [{}] and asked == []
    made.results["a"].status = "passed"
    assert len(made.counted()) == 2 and len(made.counted()) == 2 and asked == ["ch04"]
    made.isolated = False
    assert made.counted() == [made.results["a"]]


class Terminal:
    """What is written to a terminal: (line, its color)."""

    def __init__(self, failed=False):
        self.lines, self.stats = [], {"failed": [1]} if failed else {}

    def section(self, title):
        self.lines.append((title, "section"))

    def write_line(self, line, **color):
        assert all(color.values())
        self.lines.append((line, *color))


def summary(made, terminal=None, **options):
    terminal = terminal or Terminal()
    plugin.pytest_terminal_summary(
        terminal, SimpleNamespace(stash={plugin._grading: made} if made else {},
                                  getoption=options.get)
    )  # fmt: skip
    return terminal.lines


def test_what_stands_at_the_end(tmp_path, monkeypatch):
    """The scoreboard, the capstone, what still raises, once, and what a class could not load."""
    given = []
    monkeypatch.setattr(plugin, "scoreboard", lambda results: [("board", ""), ("ch04", "green")])
    monkeypatch.setattr(plugin, "standing", lambda *more: given.append(more) or [("capstone", "")])
    made = grading(tmp_path, item("a"), item("b"))
    for name in "ab":
        made.results[name].message = "f: line 3 still raises NotImplementedError; delete it"
    (tmp_path / "ch04_mine.py").write_text("import torch")
    told = "ch04_mine.py: not there when a class is graded: torch"
    assert summary(made) == [
        (f"scoreboard: {tmp_path.resolve()}", "section"), ("board",), ("ch04", "green"),
        ("capstone",), (made.results["a"].message,), (told, "yellow"),
    ]  # fmt: skip
    assert given[0][0] == tmp_path and given[0][2:] == (False, True)
    made.around = lambda: None
    summary(made, Terminal(failed=True))
    assert given[1][2:] == (True, False)
    made.isolated, made.seed = True, 77
    lines = summary(made)
    assert lines[-1] == ("The inputs were drawn; the same ones come with --grading-seed 77",)
    assert (told, "yellow") not in lines
    assert summary(made, collectonly=True) == [] and summary(None) == []
    made.results.clear()
    assert summary(made) == []
