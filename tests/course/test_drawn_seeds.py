"""Submissions that know a seed, guess it or look for it: a drawn one gives them nothing."""

import csv
import json
import subprocess
import sys
import time

import pytest
import test_attacks
import test_course

from tinyqwen.course.authoring.shortcuts import confirmed
from tinyqwen.course.isolation.outside import available
from tinyqwen.course.registry import ROOT
from tinyqwen.course.runner import Result

POSSIBLE = 7  # for silu
EXPECTED = {
    "table_of_answers": lambda: 0,
    "seeds_of_earlier_runs": lambda: test_attacks.EARLIER,
    "seeds_of_the_clock": lambda: int(time.time()),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="no worker processes on this platform"),
]


@pytest.fixture(scope="module")
def table():
    return test_attacks.visible_inputs()


@pytest.fixture
def handed_in(tmp_path, table):
    """A function that makes a submission of an attack, and returns its folder."""

    def hand_in(name):
        constants = {"TABLE": table, "EARLIER": test_attacks.EARLIER, "ROOT": str(ROOT)}
        text = test_attacks.handed_in(name, constants)
        folder = tmp_path / "submission"
        folder.mkdir()
        (folder / test_attacks.FILE).write_text(text, encoding="utf-8")
        return folder

    return hand_in


def points(folder, *more):
    """What `pytest --isolated` gives for silu, and what it prints."""
    book = folder.parent / "book.csv"
    options = ("-k", "silu", "--isolated", f"--gradebook={book}", *more)
    _, text = test_course.run_pytest(folder, *options, of=["ch04"])
    (row,) = csv.DictReader(book.open(encoding="utf-8-sig"))
    assert row["possible"] == str(POSSIBLE) and "The inputs were drawn" in text
    return int(row["total"]), text


@pytest.mark.parametrize("name", EXPECTED)
def test_a_seed_that_is_known_gives_all_points_and_a_drawn_one_none(handed_in, name):
    folder = handed_in(name)
    assert points(folder, "--grading-seed", EXPECTED[name]())[0] == POSSIBLE
    total, text = points(folder)
    assert total == 0 and "silu: the output is wrong" in text


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("fences", ["none", "all", "kernel", "python"])
def test_the_seed_is_found_where_no_fence_stands(handed_in, weak_tests_of, fences):
    """It stands in the command line of the job that grades a student of a class."""
    folder = handed_in("seed_left_about")
    request = {"path": str(folder), "seeds": {"ch04": 1_414_213_562}, "most": 5.0, "fences": fences}
    command = [sys.executable, "-m", "tinyqwen.course.classroom.job", json.dumps(request)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    told = json.loads(done.stdout)
    if fences in ("all", "kernel") and told["fences"]["landlock"].startswith("no:"):
        pytest.skip("this kernel has no Landlock")
    results = confirmed([Result(**result) for result in told["results"]], weak_tests_of("ch04"))
    by_name = {result.name: result for result in results if "silu" in result.name}
    if fences == "none":
        assert sum(result.earned for result in by_name.values()) == POSSIBLE
    else:
        assert sum(result.earned for result in by_name.values()) == 0
        assert by_name["test_silu_value"].message.startswith("silu: the output is wrong")
