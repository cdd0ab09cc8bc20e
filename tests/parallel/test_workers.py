"""Workers: what is sent arrives, what fails is told, and none outlives its parent."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinyqwen.parallel import workers
from tinyqwen.parallel.resources import is_shared, shared_zeros

KINDS = [workers.ThreadWorker, *([workers.ForkedWorker] if workers.FORK else [])]
forks = pytest.mark.skipif(not workers.FORK, reason="no fork here")


@pytest.fixture(params=KINDS)
def start(request):
    started = []

    def start(work):
        started.append(request.param(work))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


def test_a_task(start):
    def work(task, batch, factor):
        return [task == "sum", float(batch["a"].sum() * factor), *batch["a"].shape]

    worker = start(work)
    for n in (3, 100_000):  # and more than a pipe holds
        worker.submit("sum", {"a": np.ones((n, 2), np.int32).T}, factor=0.1)
        assert worker.result() == [True, 2 * n * 0.1, 2, n]


@pytest.mark.parametrize("kind", KINDS)
def test_news_are_heard_before_the_end(kind):
    """As many as there is room for; neither side waits for the other."""
    news = workers.News()

    def work(task, batch, count):
        for number in range(count):
            news.tell(number)

    worker = kind(work, news)
    assert news.heard() == []
    for count in (3, 100_000):
        worker.submit("", {}, count=count)
        worker.result()
        heard = []
        while more := news.heard():
            heard += more
        assert heard == list(range(len(heard))) and len(heard) >= min(count, 10_000)
    worker.close()
    news.close()


def test_arrays_arrive_as_they_were_sent(start):
    """Names, order, dtypes, shapes and entries; also of what does not lie in memory in a row."""
    batch = {
        "input_ids": np.arange(6).reshape(2, 3).T,
        "mask": np.array([[[True]], [[False]]]),
        "few": np.array([3, 250], np.uint8),
        "none": np.zeros((0, 4), np.int32),
    }

    def work(task, batch):
        return [[name, a.dtype.str, list(a.shape), a.tolist()] for name, a in batch.items()]

    worker = start(work)
    worker.submit("", batch)
    assert worker.result() == work("", batch)


def test_errors(start):
    def work(task, batch):
        raise {"value": ValueError, "key": KeyError}[task]("which one")

    worker = start(work)
    worker.submit("value", {})
    with pytest.raises(ValueError, match="which one"):
        worker.result()
    worker.submit("key", {})
    with pytest.raises((KeyError, RuntimeError), match="which one"):
        worker.result()


@forks
def test_an_error_shows_where_it_was():
    worker = workers.ForkedWorker(lambda task, batch: 1 / 0)
    worker.submit("", {})
    with pytest.raises(RuntimeError, match="division by zero") as error:
        worker.result()
    worker.close()
    assert "lambda task, batch: 1 / 0" in str(error.value.__cause__)


def test_shared_memory(start):
    shared, own = shared_zeros(6, np.float32), np.zeros(6, np.float32)
    assert is_shared(shared) and is_shared(shared[2:].reshape(2, 2).T)
    assert not is_shared(own) and not is_shared(shared.copy())

    def work(task, batch):
        shared[batch["places"]] += 1
        return float(shared.sum())

    worker = start(work)
    shared[0] = 5
    worker.submit("", {"places": np.array([2, 3])})
    assert worker.result() == 7
    assert shared.tolist() == [5, 0, 1, 1, 0, 0]


@forks
@pytest.mark.parametrize("asleep", [False, True])
def test_a_killed_process_is_told_of(asleep):
    """Also one that has not yet read what it was sent: then the system says so in another way."""
    worker = workers.ForkedWorker(lambda task, batch: 0)
    if asleep:
        os.kill(worker._pid, signal.SIGSTOP)
        worker.submit("", {"a": np.zeros(9)})
    os.kill(worker._pid, signal.SIGKILL)
    time.sleep(0.1)
    if not asleep:
        worker.submit("", {})
    with pytest.raises(MemoryError, match="a worker process was killed"):
        worker.result()
    worker.close()


PROGRAM = """
import json, os, sys, time
import numpy as np
from tinyqwen.parallel.workers import ForkedWorker

file = open(sys.argv[1], "w")
started = [ForkedWorker(lambda task, batch: os.getpid()) for _ in range(3)]
for worker in started:
    worker.submit("", {})
pids = [worker.result() for worker in started]
folders = [f"/proc/{pid}/fd" for pid in pids]
held = [os.path.realpath(f"{folder}/{fd}") for folder in folders for fd in os.listdir(folder)]
print(json.dumps([pids, held]), flush=True)
time.sleep(60)
"""


@forks
def test_processes_end_with_their_parent_and_hold_none_of_its_files(tmp_path):
    file = tmp_path / "locked"
    command = [sys.executable, "-c", PROGRAM, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pids, held = json.loads(process.stdout.readline())
        assert len(set(pids)) == 3 and str(file) not in held
        for pid in pids:  # Ctrl-C and `timeout` mean the whole group; the parent decides
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)
        assert all(map(_lives, pids))
        process.kill()
    deadline = time.monotonic() + 200
    while any(map(_lives, pids)):
        assert time.monotonic() < deadline, "a process is left"
        time.sleep(0.01)


def _lives(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
