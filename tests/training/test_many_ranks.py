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

pytest.importorskip("mpi4py")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="needs mpiexec")

TINY = [
    *("--hidden-size", "16", "--num-hidden-layers", "1", "--num-attention-heads", "2"),
    *("--num-key-value-heads", "1", "--intermediate-size", "24", "--seq-len", "24"),
    *("--batch-size", "6", "--eval-interval", "4", "--save-interval", "4"),
]


def command(ranks, *arguments):
    start = [MPIEXEC, "-n", str(ranks)] if ranks else []
    return [*start, sys.executable, "-m", "tinyqwen.train", *map(str, arguments)]


def train(ranks, *arguments, status=0):
    done = subprocess.run(
        command(ranks, *arguments), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


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
    """{ranks: folder} of the same run by 1, 2 and 4 ranks."""
    folder = tmp_path_factory.mktemp("runs")
    for ranks in (0, 2, 4):
        train(ranks, "--data", text, "--out", folder / str(ranks), "--steps", 8, *TINY)
    return {ranks: folder / str(ranks) for ranks in (0, 2, 4)}


@pytest.mark.parametrize("ranks", [2, 4])
def test_losses_are_those_of_one_process(runs, ranks):
    """Six rows shared out to four ranks: two, two, one and one."""
    np.testing.assert_allclose(losses(runs[ranks]), losses(runs[0]), rtol=2e-5)
    np.testing.assert_allclose(validation(runs[ranks]), validation(runs[0]), rtol=2e-5)


def test_the_same_ranks_give_the_same_bits(runs, text, tmp_path):
    train(2, "--data", text, "--out", tmp_path / "again", "--steps", 8, *TINY)
    for name in ("model.safetensors", "trainer_state.safetensors"):
        first, _ = safetensors.load(runs[2] / name)
        second, _ = safetensors.load(tmp_path / "again" / name)
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
def test_a_run_goes_on_with_another_number_of_ranks(text, tmp_path, ranks):
    folder = tmp_path / "run"
    train(2, "--data", text, "--out", folder, "--steps", 4, *TINY)
    done = train(ranks, "--out", folder, "--resume", "--steps", 8)
    assert ("that of 2 ranks" in done.stdout) == (ranks == 0)
    assert len(losses(folder)) == 8


def test_bad_input_is_told_once(tmp_path, text):
    done = train(2, "--data", tmp_path / "nothing.txt", "--out", tmp_path / "run", status=2)
    assert done.stderr.count("nothing.txt") == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
    arguments = ("--data", text, "--out", tmp_path / "run", *TINY, "--batch-size", 1)
    done = train(2, *arguments, status=2)
    assert "a batch of 1 rows cannot be shared out to 2 ranks" in done.stderr


def test_ranks_with_other_settings_are_refused(tmp_path, text):
    both = [MPIEXEC]
    for seed in (0, 1):
        own = command(0, "--data", text, "--out", tmp_path / "run", "--seed", seed, *TINY)
        both += [*([":"] if seed else []), "-n", "1", *own]
    done = subprocess.run(both, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.count("rank 1 has seed 1, rank 0 0") == 1


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


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at /proc")
@pytest.mark.parametrize("kind", ["interrupt", "terminate", "a rank is killed"])
def test_all_ranks_end_together(tmp_path, text, kind):
    folder = tmp_path / "run"
    arguments = ("--data", text, "--out", folder, "--steps", 100_000, *TINY)
    process = subprocess.Popen(
        command(2, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    metrics = folder / "metrics.jsonl"
    until = time.time() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 5):
        assert time.time() < until and process.poll() is None
        time.sleep(0.05)
    if kind == "a rank is killed":
        ranks = [p for p in processes_of(folder) if p != process.pid and _is_rank(p)]
        os.kill(ranks[-1], signal.SIGKILL)
    else:
        process.send_signal(signal.SIGINT if kind == "interrupt" else signal.SIGTERM)
    process.communicate(timeout=60)
    until = time.time() + 10
    while processes_of(folder) and time.time() < until:
        time.sleep(0.05)
    assert processes_of(folder) == []
    assert process.returncode != 0
    steps = metrics.read_text().count("\n")
    done = train(2, "--out", folder, "--resume", "--steps", steps + 20)
    assert "Traceback" not in done.stderr
    assert len(losses(folder)) == steps + 20


def _is_rank(pid):
    return b"tinyqwen.train" in Path(f"/proc/{pid}/cmdline").read_bytes() and (
        b"PMI_RANK" in Path(f"/proc/{pid}/environ").read_bytes()
    )
