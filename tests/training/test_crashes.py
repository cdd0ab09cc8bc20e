"""Runs that are killed, interrupted, or run out of disk: nothing is lost, nothing is half-written.

The runs are those of `python -m tinyqwen.train`, in processes of their own, stopped at moments that
are drawn from a seed. A process that is to be stopped brakes by itself, so that none gets past its
moment, on a machine of any speed and load. The truth is a run left in peace.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.models.auto import MODELS, architecture
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training import run_state
from tinyqwen.training.tasks import tasks_of
from tinyqwen.training.train_config import RUN_CONFIG, TrainConfig
from tinyqwen.training.trainer import Trainer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and limits")

SETTINGS = {
    **{"steps": 60, "batch-size": 4, "seq-len": 16, "warmup-steps": 2, "learning-rate": 1e-2},
    **{"hidden-size": 16, "num-hidden-layers": 1, "intermediate-size": 24, "vocab-size": 290},
    **{"eval-interval": 4, "save-interval": 2, "threads": 2},
}
COMMAND = [sys.executable, "-m", "tinyqwen.train"]
# The same command, which stands still at one moment: in a write, its temporary file written and not
# yet renamed, or before a flush. It is told the call, of how many steps the metrics tell by then,
# and how many such calls to let go by.
BRAKING = """
import os, runpy, sys, time
from pathlib import Path

name, due, left, out = sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1)), sys.argv.pop(1)
metrics, real, parent = Path(out, "metrics.jsonl"), getattr(os, name), os.getppid()

def brake(*arguments):
    global left
    steps = metrics.read_bytes().count(b"\\n") if metrics.exists() else 0
    if steps >= due and (left := left - 1) == -1:
        Path(out + ".braked").touch()
        while not os.path.exists(out + ".released") and os.getppid() == parent:
            time.sleep(0.001)
    real(*arguments)

setattr(os, name, brake)
runpy.run_module("tinyqwen.train", run_name="__main__")
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A small corpus without a split."""
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "on", "mat", "and", "saw", "one", "red", "hen", "in", "old"]
    sentences = [" ".join(rng.choice(words, 8)) + "." for _ in range(300)]
    file = tmp_path_factory.mktemp("corpus") / "text.txt"
    file.write_text("\n<|endoftext|>\n".join(sentences))
    return file


def start(corpus, out, resume=None, limit=None, moment=None, **settings):
    """A process that trains in `out`, or, if a run is there, goes on with it.

    moment: (kind of call, steps, calls) at which it stands still
    """
    for sign in (braked(out), released(out)):
        sign.unlink(missing_ok=True)
    command = [sys.executable, "-c", BRAKING, *map(str, moment), str(out)] if moment else COMMAND
    resume = (out / RUN_CONFIG).exists() if resume is None else resume
    options = {"out": out} if resume else {"data": corpus, "out": out, **SETTINGS, **settings}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]

    def limit_file_size():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [*command, *arguments, *(["--resume"] if resume else [])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=limit_file_size if limit else None,
    )


def finish(process):
    """Wait; returns the exit status and the standard error without the reports of evaluations."""
    _, errors = process.communicate(timeout=200)
    return process.returncode, re.sub(r"(?m)^step \d+: training loss.*\n", "", errors)


def train(corpus, out, **options):
    status, errors = finish(start(corpus, out, **options))
    assert status == 0, errors


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """The run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(corpus, out)
    return out


def losses(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(m["step"], m["loss"], m["lr"], m["grad_norm"], m.get("val_loss")) for m in lines]


def assert_equal_runs(out, whole):
    """Bit for bit, the last checkpoint and the best one; and nothing in the folder but the run."""
    assert losses(out) == losses(whole)
    for part in ("", "best"):
        for file in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
            assert (out / part / file).read_bytes() == (whole / part / file).read_bytes(), file
    assert files(out) == files(whole)


def files(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def temporaries(out):
    folders = [folder for folder in (out, out / "best", out / "tokens") if folder.exists()]
    return [name for folder in folders for name in os.listdir(folder) if name.endswith(".tmp")]


def assert_readable(out):
    """Every checkpoint and the state can be read, whatever happened."""
    for folder in (out, out / "best"):
        if (folder / "model.safetensors").exists():
            architecture(tq.AutoConfig.from_pretrained(folder)).from_pretrained(folder)
            Tokenizer.from_pretrained(folder)
    if (out / run_state.STATE).exists():
        run_state.load_state(out)


def braked(out):
    """The file that says that a process which trains in `out` stands still."""
    return out.with_name(out.name + ".braked")


def released(out):
    """The file on which it goes on."""
    return out.with_name(out.name + ".released")


def until(process, condition):
    """Return as soon as condition() holds, or when the process ends."""
    deadline = time.monotonic() + 250
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.0002)


KINDS = ["write", "time", "start", "write", "time"]


class Moments:
    """Processes, and moments at which to stop them, drawn from a seed."""

    def __init__(self, corpus, out, seed, **settings):
        self.corpus, self.out, self.settings = corpus, out, settings
        self.random = random.Random(seed)

    def start(self, kind, about):
        """A process at the next moment of this kind, which is in `about` steps.

        "write": it stands still in a write. "time": it has made that step, and is somewhere in the
        next. "start": 0 to 0.6 s after it began. The latter two brake soon after that step, should
        nobody look at them for so long. Where the run has no such step, the process has ended.
        """
        step = self.steps() + 1 + self.random.randrange(2 * about)
        moment = (
            ("replace", step, self.random.randrange(6)) if kind == "write" else ("fsync", step, 9)
        )
        process = start(self.corpus, self.out, moment=moment, **self.settings)
        if kind == "write":
            until(process, braked(self.out).exists)
        elif kind == "time":
            until(process, lambda: self.steps() >= step)
            time.sleep(self.random.uniform(0, 0.01))  # a step, with all that is written after it
        else:
            time.sleep(self.random.uniform(0, 0.6))  # 0.3 s of imports, 0.1 s of tokenizer, tokens
        return process

    def steps(self):
        """How many steps the run's metrics tell of."""
        file = self.out / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.parametrize(
    ("kills", "steps"), [(3, 60), pytest.param(50, 500, marks=pytest.mark.nightly)]
)
@pytest.mark.timeout(1200)
def test_killed_at_random_moments(corpus, whole, tmp_path, kills, steps):
    out, last = tmp_path / "run", 0
    moments = Moments(corpus, out, seed=kills, steps=steps)
    if steps != SETTINGS["steps"]:
        whole = tmp_path / "whole"
        train(corpus, whole, steps=steps)
    killed = []
    while len(killed) < kills:
        kind = KINDS[len(killed) % 5]
        # As many steps for each as are left, and for ten more, so that the last have theirs.
        process = moments.start(kind, max(1, (steps - last) // (kills - len(killed) + 10)))
        process.kill()
        status, errors = finish(process)
        assert status == -signal.SIGKILL, f"it ended by itself, killed {killed}: {errors}"
        assert_readable(out)
        step = (run_state.saved_step(out) or 0) if out.exists() else 0
        assert step >= last, "a saved state was lost"
        last = step
        killed.append((kind, step, len(temporaries(out)) if out.exists() else 0))
    train(corpus, out, steps=steps)
    print(killed)
    assert_equal_runs(out, whole)
    assert all(left for kind, _, left in killed if kind == "write"), killed
    assert len({step for _, step, _ in killed}) > kills / 5, killed


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("model", "task"), [(model, task) for model in MODELS for task in tasks_of(model)]
)
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_whatever_is_trained(corpora, tmp_path, model, task):
    """Every family and task: killed ten times, and once interrupted."""
    settings = {"model": model.replace("_", "-"), "task": task, "vocab-size": 0, "seq-len": 64}
    settings |= {"steps": 24, "eval-interval": 8}
    begin = partial(start, corpora[task], **settings)
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert finish(begin(whole))[0] == 0
    moments = Moments(corpora[task], out, seed=len(model + task), **settings)
    for number in range(11):
        process = moments.start(KINDS[number % 5], about=3)
        process.send_signal(signal.SIGKILL if number else signal.SIGINT)
        released(out).touch()
        finish(process)
        assert_readable(out)
    status, errors = finish(begin(out))
    assert status == 0, errors
    assert_equal_runs(out, whole)


def test_killed_at_each_write_of_the_start(corpus, whole, tmp_path):
    """Settings, tokenizer, tokens and their index: a run that has none of them, or some."""
    out = tmp_path / "run"
    for writes in (0, 1, 3, 5):
        process = start(corpus, out, moment=("replace", 0, writes))
        until(process, braked(out).exists)
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL and temporaries(out)
    train(corpus, out)
    assert_equal_runs(out, whole)


@pytest.mark.parametrize(
    ("times", "steps"), [(2, 60), pytest.param(40, 400, marks=pytest.mark.nightly)]
)
@pytest.mark.timeout(1200)
def test_interrupted_at_random_moments(corpus, whole, tmp_path, times, steps):
    """By Ctrl-C and by SIGTERM in turn."""
    out = tmp_path / "run"
    moments = Moments(corpus, out, seed=times, steps=steps)
    if steps != SETTINGS["steps"]:
        whole = tmp_path / "whole"
        train(corpus, whole, steps=steps)
    for i in range(times):
        signum = (signal.SIGINT, signal.SIGTERM)[i % 2]
        process = moments.start(KINDS[i % 5], about=steps // (3 * times))
        process.send_signal(signum)
        released(out).touch()
        status, errors = finish(process)
        assert_readable(out)
        assert not temporaries(out)
        if "Traceback" in errors:  # Python's own, of Ctrl-C before our first line has run
            assert signum == signal.SIGINT and status in (1, -signum), errors
            assert "in run\n" not in errors, errors
            # Where it still makes its streams, Python says another thing than that.
            assert re.search("KeyboardInterrupt|^Fatal Python error: init_", errors), errors
        elif "Go on with:" in errors:
            assert status == 128 + signum and run_state.saved_step(out) > 0, errors
        else:
            assert status in (0, 128 + signum, -signum), errors
    train(corpus, out, steps=steps)
    assert_equal_runs(out, whole)


def test_a_disk_that_fills_up_during_a_save(corpus, whole, tmp_path):
    """As many bytes a file as fit: none, then all but the state, then all."""
    out = tmp_path / "run"
    for limit in (1000, 20_000):
        status, errors = finish(start(corpus, out, limit=limit))
        assert status == 2 and errors.count("\n") == 1 and "cannot be written" in errors
        assert not temporaries(out)
        assert out.exists() == (limit > 1000)  # a run that cannot begin leaves nothing behind
    process = Moments(corpus, out, seed=0).start("time", about=5)
    process.kill()
    finish(process)
    step = run_state.saved_step(out)
    assert 0 < step < SETTINGS["steps"]
    sizes = [(out / name).stat().st_size for name in (run_state.STATE, "model.safetensors")]
    status, errors = finish(start(corpus, out, limit=sum(sizes) // 2))
    assert status == 2 and errors.count("\n") == 1 and run_state.STATE in errors
    assert run_state.saved_step(out) == step and not temporaries(out)
    assert_readable(out)
    train(corpus, out)
    assert_equal_runs(out, whole)


def test_two_runs_in_one_folder(corpus, whole, tmp_path):
    out = tmp_path / "run"
    first = start(corpus, out, moment=("fsync", 1, 0))
    until(first, braked(out).exists)
    assert first.poll() is None
    for resume in (True, False):
        status, errors = finish(start(corpus, out, resume=resume))
        assert status == 2 and errors.count("\n") == 1 and "in use by another run" in errors
    released(out).touch()
    assert finish(first)[0] == 0
    assert_equal_runs(out, whole)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_read_only_folders(corpus, tmp_path):
    out, closed = tmp_path / "run", tmp_path / "closed"
    train(corpus, out, steps=2)
    before = {name: (out / name).read_bytes() for name in files(out) if (out / name).is_file()}
    closed.mkdir()
    for folder in (closed, out, out / "best", out / "tokens"):
        folder.chmod(0o555)
    try:
        for folder in (closed, closed / "run", out):
            status, errors = finish(start(corpus, folder))
            assert status == 2 and errors.count("\n") == 1, errors
            assert "cannot be written: no permission" in errors
    finally:
        for folder in (closed, out, out / "best", out / "tokens"):
            folder.chmod(0o755)
    assert not list(closed.iterdir())
    assert {n: (out / n).read_bytes() for n in files(out) if (out / n).is_file()} == before


def test_a_full_disk_that_is_told_of_late(corpus, tmp_path, monkeypatch):
    """Some file systems find room for what is written only when they are asked to flush it."""
    train(corpus, tmp_path / "run", steps=2)
    before = (tmp_path / "run" / run_state.STATE).read_bytes()
    config = json.loads((tmp_path / "run" / RUN_CONFIG).read_text())
    (tmp_path / "run" / RUN_CONFIG).write_text(json.dumps({**config, "steps": 3}))

    def full(*args):
        raise OSError(28, "No space left on device")

    with Trainer(TrainConfig(out=str(tmp_path / "run")), resume=True) as trainer:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="disk is full") as error:
            trainer.train()
    assert error.value.filename.startswith(str(tmp_path / "run"))
    assert (tmp_path / "run" / run_state.STATE).read_bytes() == before
    assert not temporaries(tmp_path / "run")
