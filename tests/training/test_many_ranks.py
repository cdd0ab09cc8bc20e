"""Training under mpiexec: two and four ranks give what one gives, and end together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinyqwen.storage import safetensors
from tinyqwen.training.tasks import TASKS

pytest.importorskip("mpi4py")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="needs mpiexec")

TINY = [
    *("--hidden-size", "16", "--num-hidden-layers", "1", "--num-attention-heads", "2"),
    *("--intermediate-size", "24", "--seq-len", "24"),
    *("--batch-size", "6", "--eval-interval", "4", "--save-interval", "4", "--threads", "1"),
]
MODELS = {"chat": "qwen2", "classify": "qwen2", "masked": "bert", "translate": "marian"}


def command(ranks, *arguments):
    start = [MPIEXEC, "-n", str(ranks)] if ranks else []
    return [*start, sys.executable, "-m", "tinyqwen.train", *map(str, arguments)]


def train(ranks, *arguments, status=0):
    done = subprocess.run(
        command(ranks, *arguments), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture
def apart(monkeypatch):
    """MPICH takes each rank for a machine of its own, so gradients travel early, by TCP."""
    monkeypatch.setenv("MPIR_CVAR_NOLOCAL", "1")


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def validation(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["val_loss"] for line in lines if "val_loss" in line]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "story.txt"
    words = ["the", "cat", "saw", "a", "dog", "and", "the", "dog", "saw", "a", "ball"]
    rng = np.random.default_rng(0)
    file.write_text("\n\n".join(" ".join(rng.choice(words, 12)) for _ in range(60)))
    return file


@pytest.fixture(scope="module")
def runs(text, tmp_path_factory):
    """{ranks: folder} of the same run by 1, 2 and 4 ranks, each on one core."""
    folder = tmp_path_factory.mktemp("runs")
    for ranks in (0, 2, 4):
        train(ranks, "--data", text, "--out", folder / str(ranks), "--steps", 8, *TINY)
    return {ranks: folder / str(ranks) for ranks in (0, 2, 4)}


@pytest.mark.parametrize("ranks", [2, 4])
def test_losses_are_those_of_one_process(runs, ranks):
    """Six rows shared out to four ranks: two, two, one and one."""
    np.testing.assert_allclose(losses(runs[ranks]), losses(runs[0]), rtol=2e-5)
    np.testing.assert_allclose(validation(runs[ranks]), validation(runs[0]), rtol=2e-5)


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"causal"}))
def test_losses_of_every_task_are_those_of_one_process(task, corpora, tmp_path):
    """Also with dropout, as translate has it: a row drops the same on whatever rank it is."""
    for ranks in (0, 2):
        own = ("--model", MODELS[task], "--task", task, "--data", corpora[task])
        train(ranks, *own, "--out", tmp_path / str(ranks), *TINY, "--seq-len", 64, "--steps", 3)
    np.testing.assert_allclose(losses(tmp_path / "2"), losses(tmp_path / "0"), rtol=2e-5)
    np.testing.assert_allclose(validation(tmp_path / "2"), validation(tmp_path / "0"), rtol=2e-5)


@pytest.mark.parametrize("more", [("--threads", 2), ("--batch-size", 2, "--grad-accumulation", 3)])
def test_each_rank_may_have_cores_or_batches_of_its_own(runs, text, tmp_path, apart, more):
    """Six rows, three for each rank: on two cores, or one after the other."""
    train(2, "--data", text, "--out", tmp_path / "run", "--steps", 8, *TINY, *more)
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(runs[0]), rtol=2e-5)


def test_the_same_ranks_give_the_same_bits(runs, text, tmp_path):
    train(2, "--data", text, "--out", tmp_path / "again", "--steps", 8, *TINY)
    assert_same_bits(runs[2], tmp_path / "again")


def test_ranks_of_other_machines_give_the_same_bits(text, tmp_path, request):
    """Gradients that travel early, in several buckets, and those that do not."""
    wide = ("--hidden-size", 128, "--intermediate-size", 384, "--num-hidden-layers", 2)
    for place in ("near", "far"):
        if place == "far":
            request.getfixturevalue("apart")
        train(3, "--data", text, "--out", tmp_path / place, "--steps", 5, *TINY, *wide)
    assert_same_bits(tmp_path / "near", tmp_path / "far")


def assert_same_bits(one, other):
    """The weights and the trainer's state of two runs."""
    for name in ("model.safetensors", "trainer_state.safetensors"):
        first, second = (safetensors.load(folder / name)[0] for folder in (one, other))
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[key], second[key]) for key in first)


def test_the_optimizers_state_is_whole_again_on_disk(runs):
    """m and v of both halves, as one process has them."""
    (one, _), (two, _) = (
        safetensors.load(runs[ranks] / "trainer_state.safetensors") for ranks in (0, 2)
    )
    for name in ("optimizer.m", "optimizer.v"):
        scale = np.abs(one[name]).max()
        np.testing.assert_allclose(two[name], one[name], atol=2e-4 * scale)
        assert np.abs(one[name][-100:]).max() > 0


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_run_goes_on_with_another_number_of_ranks(runs, tmp_path, ranks):
    folder = shutil.copytree(runs[2], tmp_path / "run")
    done = train(ranks, "--out", folder, "--resume", "--steps", 12)
    assert ("that of 2 ranks" in done.stdout) == (ranks == 0)
    assert len(losses(folder)) == 12


def test_bad_input_is_told_once(tmp_path, text):
    done = train(2, "--data", tmp_path / "nothing.txt", "--out", tmp_path / "run", status=2)
    assert done.stderr.count("nothing.txt") == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
    arguments = ("--data", text, "--out", tmp_path / "run", *TINY, "--batch-size", 1)
    done = train(2, *arguments, status=2)
    assert done.stderr.count("a batch of 1 rows cannot be shared out to 2 ranks") == 1
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()  # so that the advice can be followed


def test_ranks_with_other_settings_are_refused(tmp_path, text):
    both = [MPIEXEC]
    for seed in (0, 1):
        own = command(0, "--data", text, "--out", tmp_path / "run", "--seed", seed, *TINY)
        both += [*([":"] if seed else []), "-n", "1", *own]
    done = subprocess.run(both, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("rank 1 has seed 1, rank 0 0") == 1


def test_a_run_folder_that_not_all_ranks_see_is_refused(tmp_path, text):
    both = [MPIEXEC]
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        own = command(0, "--data", text, "--out", "run", *TINY)
        both += [*([":"] if len(both) > 1 else []), "-wdir", str(tmp_path / place), "-n", "1", *own]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        **{"args": both, "capture_output": True, "text": True, "env": environment, "timeout": 120},
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("put --out in a folder that all machines share") == 1


def test_without_mpi4py_the_command_says_so(tmp_path, text):
    blocked = tmp_path / "mpi4py.py"
    blocked.write_text("raise ImportError('not here')")
    environment = {**os.environ, "PMI_SIZE": "2", "PMI_RANK": "0", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command(0, "--data", text, "--out", tmp_path / "run"),
        **{"capture_output": True, "text": True, "env": environment, "timeout": 60},
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "started as one of 2 ranks, but mpi4py cannot be imported" in done.stderr


def processes_of(folder):
    """Process ids whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


looks_at_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at /proc")


def start(*arguments):
    """Two ranks that train, or go on where no --data is given."""
    return subprocess.Popen(
        command(2, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def steps_in(folder):
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_for(process, folder, steps):
    """Return when the run's metrics tell of so many steps."""
    until = time.monotonic() + 120
    while steps_in(folder) < steps:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.005)


def kill_a_rank(process, folder, which=-1):
    ranks = [pid for pid in processes_of(folder) if pid != process.pid and _is_rank(pid)]
    os.kill(ranks[which], signal.SIGKILL)


def ending(process, folder, sign=None):
    """What a run that ends writes to standard error.

    Nobody is left ten seconds from now, or after the line that has `sign` in it.
    """
    began, lines = None if sign else time.monotonic(), []
    for line in process.stderr:  # until the last who might write there has ended
        lines.append(line)
        if began is None and sign in line:
            began = time.monotonic()
    process.wait(60)
    assert began is not None, lines
    while processes_of(folder):
        assert time.monotonic() - began < 10, "a process is left"
        time.sleep(0.02)
    assert time.monotonic() - began < 10
    return "".join(lines)


@looks_at_proc
@pytest.mark.parametrize(
    "kind", ["interrupt", pytest.param("terminate", marks=pytest.mark.slow), "a rank is killed"]
)
def test_all_ranks_end_together(tmp_path, text, apart, kind):
    folder = tmp_path / "run"
    process = start("--data", text, "--out", folder, "--steps", 100_000, *TINY)
    wait_for(process, folder, 6)
    if kind == "a rank is killed":
        kill_a_rank(process, folder)
    else:
        process.send_signal(signal.SIGINT if kind == "interrupt" else signal.SIGTERM)
    ending(process, folder)
    assert process.returncode != 0
    steps = steps_in(folder)
    done = train(2, "--out", folder, "--resume", "--steps", steps + 4)
    assert "Traceback" not in done.stderr
    assert len(losses(folder)) == steps + 4


@looks_at_proc
def test_a_loss_that_is_no_number_ends_all_ranks(tmp_path, text):
    """Both ranks see it; one message says it."""
    folder, sign = tmp_path / "run", "Last good checkpoint"
    wild = ("--learning-rate", 1e30, "--warmup-steps", 1)
    process = start("--data", text, "--out", folder, "--steps", 100, *TINY, *wild)
    told = ending(process, folder, sign)
    assert process.returncode == 2 and told.count(sign) == 1 and "Traceback" not in told


FAILS_HALFWAY = """
import os, runpy
from tinyqwen.parallel import sharded_optimizer

sharded_optimizer.SMALLEST = 1  # so that there is more than one bucket
ready, calls = sharded_optimizer.ShardedAdamW.gradient_ready, []

def gradient_ready(self, number):
    calls.append(number)
    if len(calls) == 60 and os.environ["PMI_RANK"] == "1":
        raise MemoryError("no room for more")
    ready(self, number)

sharded_optimizer.ShardedAdamW.gradient_ready = gradient_ready
runpy.run_module("tinyqwen.train", run_name="__main__")
"""


@looks_at_proc
@pytest.mark.parametrize("size", [16, 128])  # messages that are sent at once, and that wait
def test_a_rank_that_fails_while_sums_are_under_way_ends_all(tmp_path, text, apart, size):
    folder, sign = tmp_path / "run", "no room for more"
    arguments = ("--data", text, "--out", folder, *TINY, "--steps", 12, "--hidden-size", size)
    process = subprocess.Popen(
        [MPIEXEC, "-n", "2", sys.executable, "-c", FAILS_HALFWAY, *map(str, arguments)],
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True},
    )
    told = ending(process, folder, sign)
    assert process.returncode == 2 and told.count(sign) == 1 and "Traceback" not in told
    assert steps_in(folder) < 12


FULL_DISK = """
import errno, os, runpy, sys
from pathlib import Path

real, metrics = os.fsync, Path(sys.argv[sys.argv.index("--out") + 1]) / "metrics.jsonl"

def fsync(descriptor):
    if metrics.exists() and metrics.read_bytes().count(b"\\n") > 5:
        raise OSError(errno.ENOSPC, "No space left on device")
    real(descriptor)

os.fsync = fsync
runpy.run_module("tinyqwen.train", run_name="__main__")
"""


@looks_at_proc
def test_a_full_disk_ends_all_ranks(tmp_path, text):
    """One rank writes, and finds no room for the state of step 8; that of step 4 is still there."""
    folder, sign = tmp_path / "run", "disk is full"
    arguments = map(str, ("--data", text, "--out", folder, "--steps", 12, *TINY))
    process = subprocess.Popen(
        [MPIEXEC, "-n", "2", sys.executable, "-c", FULL_DISK, *arguments],
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True},
    )
    told = ending(process, folder, sign)
    assert process.returncode == 2 and told.count(sign) == 1 and "Traceback" not in told
    train(2, "--out", folder, "--resume")
    assert len(losses(folder)) == 12


@looks_at_proc
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "kills",
    [pytest.param(3, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.nightly)],
)
def test_a_rank_is_killed_again_and_again(text, tmp_path, apart, kills):
    """Any of the two, at any moment; resumed each time, the run ends with the same bits."""
    random, steps = np.random.default_rng(kills), 15 * kills
    whole, folder = tmp_path / "whole", tmp_path / "run"
    settings = ("--data", text, *TINY, "--save-interval", 2, "--steps", steps)
    train(2, *settings, "--out", whole)
    for left in range(kills, 0, -1):
        before, begun = steps_in(folder), (folder / "train_config.json").exists()
        process = start("--out", folder, *(["--resume"] if begun else settings))
        wait_for(process, folder, before + random.integers(1, (steps - before) // (left + 5)))
        kill_a_rank(process, folder, random.integers(2))
        ending(process, folder)
    train(2, "--out", folder, "--resume")
    assert losses(folder) == losses(whole) and len(losses(whole)) == steps
    assert_same_bits(folder, whole)


def _is_rank(pid):
    return b"tinyqwen.train" in Path(f"/proc/{pid}/cmdline").read_bytes() and (
        b"PMI_RANK" in Path(f"/proc/{pid}/environ").read_bytes()
    )
