"""What each subject asks its workers and makes of the answers, with workers that only answer."""

import os
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest

from tinyqwen.benchmark import machine, rows, subjects
from tinyqwen.benchmark.rows import row
from tinyqwen.benchmark.subjects import Settings

ALONE = Settings(rounds=2, seconds=0.5, peers=())


@pytest.fixture
def asked(monkeypatch):
    """{method or "made": how it was asked}; answers wait in `asked["answers"]`, {method: value}."""
    log = {"answers": {}, "made": []}

    class Fake:
        def __init__(self, target, **arguments):
            self.target = target
            log["made"].append((target, arguments))

        def ask(self, method, **arguments):
            log[method] = arguments
            return log["answers"][method]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    @contextmanager
    def workers(targets, **arguments):
        yield {name: Fake(target, **arguments) for name, target in targets.items()}

    def take_turns(sides, rounds, method="round", **arguments):
        log[method] = {"rounds": rounds, "sides": list(sides), **arguments}
        value = log["answers"][method]
        return {name: [value[name]] * rounds for name in sides}

    monkeypatch.setattr(subjects, "Worker", Fake)
    monkeypatch.setattr(subjects, "workers", workers)
    monkeypatch.setattr(subjects, "take_turns", take_turns)
    monkeypatch.setattr(subjects, "_checkpoint", lambda size: nullcontext("folder"))
    return log


def test_a_training_step_and_its_memory(asked):
    """2,048 tokens in 10 ms are 204,800 a second."""
    asked["answers"] = {"losses": [1.0], "round": {"ours": 10.0, "limit": 5.0},
                        "memory": (30.0, 70.0)}  # fmt: skip
    step, before, peak = subjects.train(Settings(3, 0.5, ("s",), ()))
    assert (step["name"], step["unit"], step["over_limit"]) == ("step at s", "ms", 2.0)
    assert step["note"] == "204,800 tokens/s" and asked["round"]["seconds"] == 0.5
    assert asked["round"]["rounds"] == 3 and asked["losses"] == {"steps": 3}
    assert [(r["name"], r["unit"], r["ours"]["median"]) for r in (before, peak)] == [
        ("memory before the first step at s", "MiB", 30.0), ("peak memory at s", "MiB", 70.0),
    ]  # fmt: skip
    asked["answers"]["memory"] = (None, None)  # where the system does not tell
    assert len(list(subjects.train(Settings(3, 0.5, ("s",), ())))) == 1
    asked["answers"]["memory"] = (1.0, 2.0)
    names = [r["name"] for r in subjects.train(Settings(1, 0.0, (), ()))]
    assert names[:3] == ["step at xs", "step at s", "step at m"] and names[3].endswith(" at m")


def test_a_relative_has_no_limit(asked):
    asked["answers"] = {"losses": [1.0], "round": {"ours": 10.0}, "memory": (None, None)}
    (step,) = subjects.train(Settings(1, 0.0, ("llama",), ()))
    assert step["limit"] is None and asked["round"]["sides"] == ["ours"]


def test_texts_that_are_written(asked, capsys):
    """128 tokens in 64 ms; 1.9 GB read in 100 ms, a token every 125."""
    asked["answers"] = {
        **{"logits": [1.0], "text": {"ours": 64.0}, "translation": {"ours": 7.0}},
        **{"prefill": {"ours": 90.0}, "token": {"ours": 125.0, "limit": 100.0}},
    }
    small, token, prefill = subjects.generate(ALONE)
    assert (small["name"], small["note"]) == ("128 tokens after 8 at s", "2,000 tokens/s")
    assert asked["text"] == {"rounds": 2, "sides": ["ours"], "new": 128, "seconds": 0.5}
    assert token["note"] == "8.0 tokens/s; memory reads 20 GB/s"  # 4 · 494,032,768 bytes
    assert token["over_limit"] == 1.25 and asked["token"]["sides"] == ["limit", "ours"]
    assert (asked["token"]["rounds"], asked["token"]["new"]) == (8, 13)
    assert (prefill["name"], prefill["limit"]) == ("prefill of 256 tokens at 0.5b", None)
    assert asked["prefill"] == {"rounds": 2, "sides": ["ours"], "length": 256}
    (one,) = subjects.generate(Settings(2, 0.5, ("bert", "marian"), ()))
    assert (one["name"], one["ours"]["median"]) == ("24 tokens out of 24, 4 beams, at marian", 7.0)
    assert {**asked["translation"], "sides": 0} == {
        "rounds": 2, "sides": 0, "new": 24, "beams": 4, "seconds": 0.5,
    }  # fmt: skip
    assert "without generate at bert" in capsys.readouterr().out


def test_loading_and_what_it_takes_at_its_peak(asked):
    asked["answers"] = {"load": (1.5, 2000.0)}
    seconds, peak = subjects.load(ALONE)
    assert (seconds["unit"], seconds["ours"]["rounds"]) == ("s", [1.5, 1.5])
    assert len(asked["made"]) == 3  # the first warms the system's cache
    assert (peak["unit"], peak["ours"]["median"]) == ("MiB", 2000.0)
    assert peak["limit"]["median"] == pytest.approx(4 * 494_032_768 / 2**20)
    asked["answers"] = {"load": (1.5, None)}
    assert len(list(subjects.load(ALONE))) == 1


def test_starts_are_timed_after_the_first(monkeypatch):
    run, clock = [], [0.0]

    def command(arguments, **options):
        run.append(arguments[-1])
        clock[0] += 9.0 if len(run) <= 2 else 0.25 if "numpy" in arguments[-1] else 0.75

    monkeypatch.setattr(subprocess, "run", command)
    monkeypatch.setattr(subjects, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    imports, help_ = subjects.start(ALONE)
    assert imports["ours"]["rounds"] == [0.75, 0.75] and imports["limit"]["rounds"] == [0.25] * 2
    assert imports["note"] == "limit: import numpy; +0.500 s" and imports["unit"] == "s"
    assert help_["ours"]["rounds"] == [0.75, 0.75] and len(run) == 9
    assert not any("torch" in command for command in run)


def test_operations_forward_and_backward(asked, monkeypatch):
    monkeypatch.setattr(subjects, "NAMES", ["silu"])
    asked["answers"] = {"value": [1.0], "times": {"fused": (1.0, 2.0), "composed": (4.0, 5.0)}}
    (one,) = subjects.ops(ALONE)
    assert (one["name"], one["unit"], one["ours"]["median"]) == ("silu at s", "ms", 3.0)
    assert one["note"] == "forward 1, backward 2, composed 3.0 x"
    assert one["composed"]["median"] == 9.0 and asked["times"]["seconds"] == 0.1
    asked["answers"]["times"]["composed"] = None  # there is no such way
    (one,) = subjects.ops(ALONE)
    assert one["note"] == "forward 1, backward 2" and one["composed"] is None


def test_who_takes_part(monkeypatch):
    there = {"torch", "transformers"}
    monkeypatch.setattr(subjects, "find_spec", lambda name: name in there or None)
    monkeypatch.setattr(subjects, "which", lambda name: None)
    every = ("transformers", "torch.compile", "jax")
    assert Settings(peers=every).peers == ("transformers",)
    monkeypatch.setattr(subjects, "which", lambda name: "/bin/cl" if name == "cl" else None)
    both = Settings(peers=every)
    assert both.peers == every[:2]
    assert list(both.targets("Training", "Products")) == ["ours", *every[:2], "limit"]
    assert list(both.targets("Loading")) == ["ours", "transformers"]
    assert both.targets("Training")["torch.compile"] == (
        "tinyqwen.benchmark.peer_compiled:Training"
    )
    there |= {"jax", "optax"}
    assert Settings(peers=every).peers == every
    assert Settings(sizes=("m", "s"), peers=()).size_or("xs") == "m"
    assert Settings(peers=()).size_or("xs") == "xs"


@pytest.mark.parametrize(
    ("spread", "cell"),
    [
        (None, ""),
        ([2.0, 2.0], "2 ms"),
        ([0.12345, 1.0, 1234.5], "1 ms [0.123-1,234]"),
        ([99.4, 100.6], "100 ms [99.4-101]"),
        ([-3.0, 0.0, 4.0], "0 ms [-3-4]"),
    ],
)
def test_cells_of_a_table(spread, cell):
    assert rows._cell(rows.spread(spread), "ms") == cell


def test_a_table_by_hand():
    made = [
        row("train", "a", "ms", {"ours": [2.0], "x": [3.0], "limit": [1.0]}, note="n"),
        row("load", "longer", "s", {"ours": [40.0], "y": [10.0]}),
    ]
    assert rows.table(made).splitlines() == [
        "              tinyqwen     x     y  limit  faster by  faster by  over limit",
        "train: a          2 ms  3 ms         1 ms     1.50 x                 2.00 x  n",
        "load: longer      40 s        10 s                       0.25 x",
    ]
    assert rows.table([row("a", "b", "s", {"ours": [1.0]})]) == "      tinyqwen\na: b       1 s"


def scaled(axis, x, step, attention):
    part = {"median": attention}
    return row("scaling", "n", "ms", {"ours": [step]}, axis=axis, x=x, attention=part)


def test_what_scaling_says():
    """A step of 2 + 3 · batch and of 1 + 0.5 · width²; attention of 4 · length beside 10 to 12."""
    made = [scaled("batch", x, 2.0 + 3.0 * x, 0.0) for x in (1, 2, 4)]
    made += [scaled("hidden_size", x, 1.0 + 0.5 * x * x, 0.0) for x in (2, 4, 6)]
    made += [scaled("seq", x, r + 4.0 * x, 4.0 * x) for x, r in ((8, 12.0), (16, 10.0), (32, 11.0))]
    made += [row("train", "n", "ms", {"ours": [1.0]})]
    assert rows.curves(made)["batch"] == ([1, 2, 4], [5.0, 8.0, 14.0], [0.0] * 3)
    assert rows.fits(made) == [
        "a step takes 2 + 3 · batch ms (R² 1.0000)",
        "a step takes 1 + 0.5 · hidden_size² ms (R² 1.0000)",
        "without attention a step takes 10 to 12 ms, whether sequences have 8 tokens or 32",
        "attention takes 0 + 4 · seq ms (R² 1.0000)",
    ]


def test_a_machine_in_words():
    one = {"internal_api": "openblas", "version": "1.2", "architecture": "Zen", "num_threads": 3}
    made = {
        **{"processor": "P", "cores": 4, "memory_gib": 8, "system": "S", "python": "3"},
        **{"blas": [one], "versions": {"numpy": "2", "torch": "3"}, "environment": {}},
    }
    lines = ["P, 4 cores, 8 GiB, S, Python 3", "numpy 2, torch 3; openblas 1.2 for Zen, 3 threads"]
    assert machine.summary(made).splitlines() == lines
    pinned = machine.summary({**made, "environment": {"A": "1", "B": "2"}})
    assert pinned.splitlines() == [*lines, "pinned by the environment: A=1 B=2"]
    assert machine._version("numpy") and machine._version("no-such-package") is None


def test_units_of_memory(monkeypatch):
    """What the system gives in pages and kilobytes, in GiB and MiB."""
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 3 << 18}
    monkeypatch.setattr(machine.os, "sysconf", sizes.get, raising=False)
    assert machine._memory_gib() == 3
    peak = machine.peak_mib()
    assert peak is None or 20 < peak < 100_000


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="processes are told apart by waitid")
def test_a_child_that_has_ended_takes_no_memory():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is over, and not yet forgotten
    peak = machine.peak_mib()
    assert peak is None or peak > 20
    child.wait()
