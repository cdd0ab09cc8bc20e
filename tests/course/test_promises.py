"""What README promises of strangers' code: each sentence has a test, and its numbers hold."""

import re
from pathlib import Path

import test_attacks

from tinyqwen.course import allowance, submission
from tinyqwen.course.classroom import submissions
from tinyqwen.course.isolation import limit, outside, seccomp
from tinyqwen.course.registry import ROOT

README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
SECTION = README.partition("## Grading strangers' code ")[2].partition(" What is not promised.")[0]

# How each sentence begins, and the test of it.
BACKED = """
Code that is graded
    test_class_grading.test_values_cross_unchanged
Tests, expected values
    test_attacks.test_attack_earns_nothing
Everything a worker says
    test_received.test_a_failure_is_words_and_counts
Points need the right answer
    test_class_grading.test_inputs_differ_by_student_and_come_again_with_the_seed
A test that a *shortcut* passes
    test_class_grading.test_points_count_beside_proof
A function that no strong test
    test_shortcuts.test_a_function_that_nothing_proves_gives_no_points_and_is_told
`pytest --submission=DIR --isolated` draws
    test_course.test_isolated_inputs_are_drawn_and_come_again_with_the_seed
No submission stops a class
    test_class_grading.test_no_submission_stops_the_class
Two names that look alike
    test_submissions.test_names_that_look_alike_are_two_students
A submission is looked through
    test_submission_limits.test_a_submission_is_looked_through_for_so_long
On the teacher's page
    test_runner.test_a_sentence_for_an_exceptions_name_is_not_shown_to_the_teacher
A student's grading ends
    test_allowance.test_who_has_used_up_the_time_is_not_run
A test that was not run
    test_reports.test_gradescope
A function that has run into
    test_course.test_a_function_that_keeps_two_tests_waiting_is_not_called_again
Time limits count
    test_copies.test_work_counts_whole_and_waiting_a_quarter
A file that did not load
    test_class_book.test_what_did_not_load_is_tried_again_alone
A student's messages end
    test_allowance.test_words_are_counted
What a worker leaves behind
    test_attacks.test_nothing_is_left_and_nothing_is_touched
On Linux threads are counted
    test_class_grading.test_who_starts_threads_is_put_behind_all_others
On Linux from 5.13 on
    test_attacks.test_each_line_of_defense_holds_alone
A hook inside Python refuses
    test_hook.test_what_is_refused
Limits on memory
    test_class_grading.test_what_is_lent_makes_no_gigabytes_of_a_few_numbers
Where a machine's memory ends
    test_class_grading.test_a_worker_is_what_ends_first_where_memory_ends
The report says which
    test_runner.test_what_is_not_enforced
The worker tells it before
    test_class_grading.test_the_fences_are_told_before_the_file_is_read
"""


def sentences():
    """Of README's section, up to what is not promised."""
    text = SECTION.replace("What is promised, each line with a test: - ", "").replace(" - ", " ")
    return re.split(r"(?<=[.]) (?=[A-Z`])", text)


def test_each_sentence_has_a_test():
    """Whoever promises more says here where it is proved."""
    lines = BACKED.strip().splitlines()
    begins, tests = lines[::2], lines[1::2]
    told = [s[: len(first)] for s, first in zip(sentences(), begins, strict=True)]
    assert told == begins
    for where in tests:
        room, name = where.strip().split(".")
        text = Path(__file__).with_name(f"{room}.py").read_text(encoding="utf-8")
        assert f"def {name}(" in text, where


def test_system_calls_and_threads():
    assert f"all system calls but the {len(seccomp.ALLOWED) + 7} that" in README
    assert f"threads are counted too ({outside.THREADS})" in README


def test_times():
    assert [allowance.longest(range(n)) for n in (0, 1, 2, 13)] == [60, 105, 150, 645]
    assert "at most 60 s and 45 s for each chapter, and a minute to start and end" in README
    assert allowance.SLACK == 60
    assert f"looked through for {submissions.MAX_SECONDS} s at most" in README
    assert submission.MOST_LATE == 2 and "the time limit of two tests is not called" in README
    assert limit.PATIENCE == 4 and "a quarter of what it waits" in README


def test_memory():
    assert (outside.MEMORY, allowance.OWN_MEMORY) == (1 << 30, 3 << 30)
    assert "1 GB, and 3 GB for the grader's process" in README


def test_words_and_attacks():
    assert f"messages end at {allowance.MAX_WORDS:,} characters" in README
    attacks = len(test_attacks.ATTACKS + test_attacks.SOURCES + test_attacks.FILES)
    assert int(re.search(r"(\d+) hostile submissions", README)[1]) <= attacks
