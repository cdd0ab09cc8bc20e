"""What README promises of strangers' code, in the numbers that hold."""

import re

import test_attacks

from tinyqwen.course import allowance, submission
from tinyqwen.course.classroom import job
from tinyqwen.course.isolation import limit, outside, seccomp
from tinyqwen.course.registry import ROOT

README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_system_calls_and_threads():
    assert f"all system calls but the {len(seccomp.ALLOWED) + 7} that" in README
    assert f"threads are counted too ({outside.THREADS})" in README


def test_times():
    assert [allowance.longest(range(n)) for n in (0, 1, 2, 13)] == [60, 105, 150, 645]
    assert "at most 60 s and 45 s for each chapter, and a minute" in README
    assert allowance.SLACK == 60
    assert submission.MOST_LATE == 2 and "the time limit of two tests is not called" in README
    assert limit.PATIENCE == 4 and "a quarter of what it waits" in README


def test_memory():
    assert (outside.MEMORY, job.OWN_MEMORY) == (1 << 30, 3 << 30)
    assert "1 GB, and 3 GB for the grader's process" in README


def test_words_and_attacks():
    assert f"messages end at {allowance.MAX_WORDS:,} characters" in README
    attacks = len(test_attacks.ATTACKS + test_attacks.SOURCES + test_attacks.FILES)
    assert int(re.search(r"(\d+) hostile submissions", README)[1]) <= attacks
