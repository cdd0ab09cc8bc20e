"""The bound for one submission as a whole: in a class's job, and in `pytest --isolated`."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinyqwen.course import allowance, plugin, submission
from tinyqwen.course.allowance import Allowance
from tinyqwen.course.classroom import job
from tinyqwen.course.isolation.outside import StudentPeer, available
from tinyqwen.course.registry import GRADERS, chapter
from tinyqwen.course.runner import graders_of
from tinyqwen.course.submission import Submission

FILE = "ch04_swiglu.py"
TESTS = [test for test in graders_of(chapter("ch04")) if "silu" in test.__name__]


def through_a_job(folder):
    """The results of chapter 04 as a class has them."""
    (done,) = job.grade(folder, {"ch04": 3}, most=300.0)
    return [SimpleNamespace(**result) for result in done["results"]]


def through_pytest(folder):
    """The same as `pytest --submission FOLDER --isolated` has them, without starting it."""
    options = {"submission": folder, "isolated": True, "grading_seed": 3}
    items = [
        SimpleNamespace(nodeid=test.__name__, function=test, path=Path(GRADERS, "test_ch04_.py"))
        for test in graders_of(chapter("ch04"))
    ]
    grading = plugin.Grading(SimpleNamespace(getoption=options.get), items)
    try:
        return [grading.grade(item) for item in items]
    finally:
        grading.close()


@pytest.mark.parametrize("graded", [through_a_job, through_pytest])
def test_who_has_used_up_the_time_is_not_run(tmp_path, monkeypatch, graded):
    loaded = []

    def load(one, path, isolated, **worker):
        time.sleep(0.03)
        loaded.append(path)
        return Submission({"silu": lambda x: time.sleep(0.01)})

    monkeypatch.setattr(allowance, "submitted", load)
    monkeypatch.setattr(allowance, "longest", lambda chapters: 0.05 * len(chapters))
    texts = [result.message for result in graded(tmp_path)]
    assert loaded == [tmp_path]
    over = [
        text == "not run: this submission has used up the 0 s that one may take." for text in texts
    ]
    assert not over[0] and over[-1] and over == sorted(over)  # it is never given more
    monkeypatch.setattr(allowance, "longest", lambda chapters: 0.0)
    assert all("has used up" in result.message for result in graded(tmp_path))
    assert loaded == [tmp_path]  # and no file is loaded that could not be graded


@pytest.mark.skipif(not available(), reason="no worker processes on this platform")
@pytest.mark.parametrize("graded", [through_a_job, through_pytest])
def test_words_are_counted(tmp_path, monkeypatch, graded):
    (tmp_path / FILE).write_text("def silu(x):\n    raise ValueError('x' * 5000)\n")
    monkeypatch.setattr(allowance, "MAX_WORDS", 1500)
    results = graded(tmp_path)
    words = [len(result.message) for result in results]
    assert sum(words) < 1500 + 110 * len(words)
    failed = [len(result.message) for result in results if result.status == "failed"]
    assert len(failed) >= 3 and min(failed) >= 90  # a beginning of each is kept


def test_a_test_that_only_waits_ends_with_the_allowance(monkeypatch):
    """Of waiting a quarter counts, so its limit is a quarter of what is left."""
    given = []
    monkeypatch.setattr(allowance, "run", lambda *run: given.append(run[-1]))
    monkeypatch.setattr(allowance, "longest", lambda chapters: 40.0)
    result = SimpleNamespace(message="")
    one = Allowance(["ch04"])
    one.run(None, None, result)
    one.run(None, None, result, most=2.0)
    assert 9.9 < given[0] <= 10.0 and given[1] == 2.0


CALLS = """
from tinyqwen import functional as F
import numpy as np

while True:
    try:
        F.softmax.raw(np.zeros(2))
    except BaseException:
        pass
"""


@pytest.mark.skipif(not available(), reason="no worker processes on this platform")
def test_a_file_that_calls_what_it_was_lent_for_ever_does_not_load(tmp_path, monkeypatch):
    """It is never silent, so that nobody waits for it; still its time ends."""
    (tmp_path / "ch14_encoder_decoder.py").write_text(
        CALLS + "def cross_attention(*x):\n    pass\n"
    )
    monkeypatch.setattr(submission, "LOADING", 0.3)
    monkeypatch.setattr(submission.InWorker, "grace", 0.0)
    began = time.monotonic()
    one = Allowance(["ch14"]).load(chapter("ch14"), tmp_path)
    with pytest.raises(Exception, match="did not finish loading"):
        one.cross_attention()
    assert time.monotonic() - began < 15 and not one.loaded


def test_calls_after_the_deadline_are_not_answered():
    """Each may take its time in the grader, and none of them is waited for."""
    peer = StudentPeer.__new__(StudentPeer)
    peer.callbacks, peer.deadline = 0, time.monotonic() - 1
    with pytest.raises(TimeoutError):
        peer.answer(1, (1, (), {}))
