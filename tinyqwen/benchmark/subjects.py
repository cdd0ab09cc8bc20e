"""The subjects of the benchmark: who is asked what, and the rows that come of it.

Every subject is a function of `Settings` that returns rows. The peer takes part where torch and
transformers are installed.
"""

import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

from tinyqwen.benchmark.rows import row
from tinyqwen.benchmark.sizes import SIZES
from tinyqwen.benchmark.worker import Worker, take_turns, workers

AGREE = 1e-4  # relative: losses of the two sides before their times are compared


@dataclass
class Settings:
    """rounds: after one to warm up. seconds: of a round, at least. sizes: names of `SIZES`."""

    rounds: int = 5
    seconds: float = 1.0
    sizes: tuple = ("xs", "s", "m")
    peer: bool = True

    def __post_init__(self):
        self.peer = self.peer and all(find_spec(n) is not None for n in ("torch", "transformers"))

    def targets(self, ours, peer=None, limit=None):
        """{side: target} of the sides that take part, by the classes' names."""
        targets = {"ours": f"tinyqwen.benchmark.ours:{ours}"}
        if peer and self.peer:
            targets["peer"] = f"tinyqwen.benchmark.peers:{peer}"
        if limit:
            targets["limit"] = f"tinyqwen.benchmark.limits:{limit}"
        return targets


def train(settings):
    """Milliseconds of a training step, and peak memory of training at the largest size."""
    for size in settings.sizes:
        with tempfile.TemporaryDirectory() as folder:
            targets = settings.targets("Training", "Training", "Products")
            with workers(targets, size=size, folder=folder) as sides:
                _check_losses(
                    {n: w.ask("losses", steps=3) for n, w in sides.items() if n != "limit"}
                )
                times = take_turns(sides, settings.rounds, seconds=settings.seconds)
        tokens = SIZES[size]["batch"] * SIZES[size]["seq"]
        speed = f"{1e3 * tokens / median(times['ours']):,.0f} tokens/s"
        yield row("train", f"step at {size}", "ms", **times, note=speed)
    yield from _memory(settings, settings.sizes[-1])


def _memory(settings, size):
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for name, target in settings.targets("Training", "Training").items():
            with Worker(target, size=size, folder=folder) as worker:
                peaks[name] = worker.ask("memory", steps=3)
    at_start = {name: [before] for name, (before, _) in peaks.items() if before}
    at_peak = {name: [peak] for name, (_, peak) in peaks.items() if peak}
    if at_peak:
        yield row("train", f"memory before the first step at {size}", "MiB", **at_start)
        yield row("train", f"peak memory at {size}", "MiB", **at_peak)


def _check_losses(losses):
    """Refuse to compare sides that do not compute the same."""
    for theirs in losses.values():
        for a, b in zip(losses["ours"], theirs):
            if not abs(a - b) <= AGREE * abs(b):
                raise ValueError(f"the sides disagree before they are timed; losses: {losses}")
