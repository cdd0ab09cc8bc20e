"""The subjects of the benchmark: who is asked what, and the rows that come of it.

Every subject is a function of `Settings` that returns rows. Peers take part where they are
installed: transformers on PyTorch, the same through torch.compile, and JAX.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from statistics import median

from tinyqwen.analysis.budget import parameter_counts
from tinyqwen.analysis.cluster import Network, ring_seconds
from tinyqwen.benchmark.operations import NAMES
from tinyqwen.benchmark.random_checkpoint import write_random_checkpoint
from tinyqwen.benchmark.rows import row, spread
from tinyqwen.benchmark.scaling import scaling  # noqa: F401  (a subject as the others)
from tinyqwen.benchmark.sizes import RELATIVES, SIZES
from tinyqwen.benchmark.worker import Worker, take_turns, workers
from tinyqwen.models.auto import AutoConfig
from tinyqwen.parallel.resources import default_threads
from tinyqwen.parallel.sharded_optimizer import MOST

AGREE = 1e-4  # relative: losses of the two sides before their times are compared


PEERS = {  # what must be importable, and which of the subjects' sides the peer has
    "transformers": (("torch", "transformers"), ("Training", "Generation", "Loading")),
    "torch.compile": (("torch", "transformers"), ("Training",)),
    "jax": (("jax", "optax"), ("Training",)),
}
MODULES = {"transformers": "peers", "torch.compile": "peer_compiled", "jax": "peer_jax"}


TEN_GIGABIT = Network(bandwidth=1.25e9, latency=50e-6)


def installed(peer):
    """Whether a peer can take part on this machine; torch.compile also wants a compiler."""
    have = all(find_spec(name) is not None for name in PEERS[peer][0])
    return have and (peer != "torch.compile" or any(map(which, ("c++", "g++", "clang++", "cl"))))


@dataclass
class Settings:
    """rounds: after one to warm up. seconds: of a round, at least. sizes: names of `SIZES`, if
    not each subject's own. peers: names of `PEERS`; those that are installed take part. network:
    what `cluster` projects for.
    """

    rounds: int = 5
    seconds: float = 1.0
    sizes: tuple = ()
    peers: tuple = ("transformers",)
    network: Network = TEN_GIGABIT

    def __post_init__(self):
        self.peers = tuple(peer for peer in self.peers if installed(peer))

    def size_or(self, default):
        """The first size asked for."""
        return self.sizes[0] if self.sizes else default

    def targets(self, side, limit=None):
        """{who: target} of all that take part, by the name of the side's class."""
        targets = {"ours": f"tinyqwen.benchmark.ours:{side}"}
        for peer in self.peers:
            if side in PEERS[peer][1]:
                targets[peer] = f"tinyqwen.benchmark.{MODULES[peer]}:{side}"
        if limit:
            targets["limit"] = f"tinyqwen.benchmark.limits:{limit}"
        return targets


def train(settings):
    """Milliseconds of a training step, and peak memory of training at the largest size."""
    sizes = settings.sizes or ("xs", "s", "m")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            targets = settings.targets("Training", None if size in RELATIVES else "Products")
            with workers(targets, size=size, folder=folder) as sides:
                _check_losses(sides)
                times = take_turns(sides, settings.rounds, seconds=settings.seconds)
        tokens = SIZES[size]["batch"] * SIZES[size]["seq"]
        speed = f"{1e3 * tokens / median(times['ours']):,.0f} tokens/s"
        yield row("train", f"step at {size}", "ms", times, note=speed)
    yield from _memory(settings, sizes[-1])


def _memory(settings, size):
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for name, target in settings.targets("Training").items():
            with Worker(target, size=size, folder=folder) as worker:
                peaks[name] = worker.ask("memory", steps=3)
    at_start = {name: [before] for name, (before, _) in peaks.items() if before}
    at_peak = {name: [peak] for name, (_, peak) in peaks.items() if peak}
    if at_peak:
        yield row("train", f"memory before the first step at {size}", "MiB", at_start)
        yield row("train", f"peak memory at {size}", "MiB", at_peak)


def generate(settings):
    """A text written greedily at s; a decoded token and a prompt at the 0.5B shape."""
    sizes = settings.sizes or ("s", "0.5b")
    for size in sizes:
        if SIZES[size].get("auto") == "AutoModelForMaskedLM":
            print(f"without generate at {size}, which fills in words and writes no text")
            continue
        how = {"0.5b": _generate_large, "marian": _translate}.get(size, _generate_small)
        yield from how(settings, size)


def _generate_small(settings, size):
    with _checkpoint(size) as folder:
        targets = settings.targets("Generation")
        with workers(targets, folder=folder, size=size, prompt=8) as sides:
            _check_logits(sides)
            times = take_turns(sides, settings.rounds, "text", new=128, seconds=settings.seconds)
    speed = f"{1e3 * 128 / median(times['ours']):,.0f} tokens/s"
    yield row("generate", f"128 tokens after 8 at {size}", "ms", times, note=speed)


def _translate(settings, size):
    how = {"new": 24, "beams": 4, "seconds": settings.seconds}
    with _checkpoint(size) as folder:
        targets = settings.targets("Generation")
        with workers(targets, folder=folder, size=size, prompt=24) as sides:
            times = take_turns(sides, settings.rounds, "translation", **how)
    yield row("generate", f"24 tokens out of 24, 4 beams, at {size}", "ms", times)


def _generate_large(settings, size):
    with _checkpoint(size) as folder:
        targets = settings.targets("Generation", "Bandwidth")
        with workers(targets, folder=folder, size=size, prompt=8) as sides:
            bandwidth = sides.pop("limit")
            _check_logits(sides)
            prefill = take_turns(sides, settings.rounds, "prefill", length=256)
            # What memory a shared machine gives changes within seconds: turns are short and many,
            # and ours and the limit's come one after the other.
            sides = {"limit": bandwidth, **sides}
            times = take_turns(sides, 4 * settings.rounds, "token", new=13)
    reads = 4e-6 * _parameters(size) / median(times["limit"])
    speed = f"{1e3 / median(times['ours']):.1f} tokens/s; memory reads {reads:.0f} GB/s"
    yield row("generate", f"a decoded token at {size}", "ms", times, note=speed)
    yield row("generate", f"prefill of 256 tokens at {size}", "ms", prefill)


def load(settings):
    """Reading a bfloat16 checkpoint of the 0.5B shape as float32, and the start of programs."""
    targets = settings.targets("Loading")
    answers = {name: [] for name in targets}
    with _checkpoint("0.5b") as folder:
        for number in range(settings.rounds + 1):  # the first warms the system's file cache
            for name, target in targets.items():
                with Worker(target) as worker:
                    answer = worker.ask("load", folder=folder)
                if number:
                    answers[name].append(answer)
    seconds = {name: [answer[0] for answer in given] for name, given in answers.items()}
    yield row("load", "0.5b from bfloat16", "s", seconds)
    peaks = {name: [answer[1] for answer in given] for name, given in answers.items()}
    if all(peaks["ours"]):
        weights = 4 * _parameters("0.5b") / 2**20
        limit = [weights] * settings.rounds
        note = "limit: the float32 weights"
        yield row("load", "peak memory of it", "MiB", {**peaks, "limit": limit}, note=note)


def start(settings):
    """Seconds from the command to its end."""
    numpy, ours = ("-c", "import numpy"), ("-c", "import tinyqwen")
    peer = ("-c", "import torch, transformers; transformers.AutoModelForCausalLM")
    commands = {"ours": ours, "transformers": peer, "limit": numpy}
    if "transformers" not in settings.peers:
        del commands["transformers"]
    times = _time_commands(commands, settings.rounds)
    more = median(o - n for o, n in zip(times["ours"], times["limit"]))
    note = f"limit: import numpy; {more:+.3f} s"
    yield row("start", "import", "s", times, note=note)
    commands = {"ours": ("-m", "tinyqwen.train", "--help")}
    yield row("start", "train --help", "s", _time_commands(commands, settings.rounds))


def _time_commands(commands, rounds):
    times = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, arguments in commands.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            if number:
                times[name].append(time.perf_counter() - begin)
    return times


def ops(settings):
    """Each fused primitive forward and backward, and what it would take out of elementary ones."""
    size = settings.size_or("s")
    target = "tinyqwen.benchmark.operations:Operations"
    with ExitStack() as stack:
        sides = {
            way: stack.enter_context(Worker(target, way=way, size=size))
            for way in ("fused", "composed")
        }
        if "transformers" in settings.peers:
            target = "tinyqwen.benchmark.peer_operations:Operations"
            sides["torch"] = stack.enter_context(Worker(target, size=size))
        for name in NAMES:
            yield from _operation(settings, sides, name, size)


def _operation(settings, sides, name, size):
    values = {side: w.ask("value", name=name) for side, w in sides.items()}
    values["ours"] = values.pop("fused")
    if name != "dropout":  # which is random
        _check(f"results of {name}", {side: v for side, v in values.items() if v is not None})
    seconds = settings.seconds / 5
    answers = take_turns(sides, settings.rounds, "times", name=name, seconds=seconds)
    answers = {side: given for side, given in answers.items() if given[0] is not None}
    totals = {side: [sum(answer) for answer in given] for side, given in answers.items()}
    parts = {
        side: [median(answer[i] for answer in given) for i in range(2)]
        for side, given in answers.items()
    }
    notes = [
        f"{way} {parts['fused'][i]:.3g}"
        + (f" to {parts['torch'][i]:.3g}" if "torch" in parts else "")
        for i, way in enumerate(("forward", "backward"))
    ]
    totals["ours"], composed = totals.pop("fused"), totals.pop("composed", None)
    if composed:
        notes.append(f"composed {median(c / o for c, o in zip(composed, totals['ours'])):.1f} x")
    more = {"parts": parts, "composed": spread(composed), "note": ", ".join(notes)}
    yield row("ops", f"{name} at {size}", "ms", totals, **more)


def cluster(settings):
    """A step shared out to 1 to 4 ranks of this machine, and what a network would make of it.

    The model of `analysis/cluster.py` stands beside what was measured: communication takes as long
    as the ring's messages do, at the latency and bandwidth that ranks here were found to have. Two
    ranks are measured once more with the given network between them, simulated, and the model of a
    backward pass that hides the first half of the ring stands beside that.
    """
    launcher = which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if launcher is None or find_spec("mpi4py") is None:
        raise ValueError(
            'bench cluster needs mpiexec and mpi4py: pip install -e ".[cluster]" mpich'
        )
    size = settings.size_or("s")
    command = [sys.executable, "-m", "tinyqwen.benchmark.cluster", size, str(settings.seconds)]

    def measured(ranks, *network):
        start = [launcher, "-n", str(ranks), *command, *map(str, network)]
        return [_figures(start) for _ in range(settings.rounds)]

    steps, nbytes = {}, 0
    for ranks in (1, 2, 3, 4):
        rounds = measured(ranks)
        first = rounds[0]
        nbytes = 4 * first["parameters"]
        steps[ranks] = median(r["step"] for r in rounds)
        spent = median(r["communication"] for r in rounds)
        here = Network(median(r["bandwidth"] for r in rounds), median(r["latency"] for r in rounds))
        model = 1e3 * ring_seconds(nbytes, ranks, *here)
        note = (
            f"{first['sent'] / 1e6:.2f} MB sent, communication {spent:.2f} ms "
            f"({spent / steps[ranks]:.0%}), by the model {model:.2f} ms"
        )
        if ranks > default_threads():
            note += "; ranks wait for a core"
        times = {"ours": [r["step"] for r in rounds]}
        yield row("cluster", f"step at {size}, {ranks} ranks here", "ms", times, note=note)
    slow = measured(2, *settings.network)
    model = steps[2] + 1e3 * _waiting(settings.network, nbytes, 2, steps[2] / 1e3)[0]
    times = {"ours": [r["step"] for r in slow]}
    name = f"step at {size}, 2 ranks here, the network simulated"
    yield row("cluster", name, "ms", times, note=f"by the model {model:.2f} ms")
    yield from _projection(settings.network, steps[1] / 1e3, nbytes, size)


def _figures(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _waiting(network, nbytes, ranks, arithmetic):
    """Seconds that a rank waits for the ring, and how long the ring takes.

    Gradients are summed while the backward pass, two thirds of the arithmetic, still runs, but for
    the last bucket; new weights, the ring's other half, can only be sent after it.
    """
    ring = ring_seconds(nbytes, ranks, *network)
    return ring / 2 + max(ring / 2 / MOST, ring / 2 - 2 / 3 * arithmetic), ring


def _projection(network, alone, nbytes, size):
    """What machines like this one would take, one rank each, over a given network.

    alone: seconds of a step on one of them; nbytes: of the gradients.
    """
    for ranks in (2, 4, 8, 16):
        waiting, ring = _waiting(network, nbytes, ranks, alone / ranks)
        note = f"of these {1e3 * waiting:.2f} ms of waiting; {1e3 * ring:.2f} ms on the wire"
        times = {"ours": [1e3 * (alone / ranks + waiting)]}
        yield row("cluster", f"step at {size}, {ranks} machines, projected", "ms", times, note=note)


@contextmanager
def _checkpoint(size):
    """A temporary folder with a checkpoint of random weights."""
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(folder, size)
        yield folder


def _parameters(size):
    return sum(parameter_counts(AutoConfig.from_dict(SIZES[size]["config"])).values())


def _check_losses(sides):
    _check("losses", {n: w.ask("losses", steps=3) for n, w in sides.items() if n != "limit"})


def _check_logits(sides):
    _check("logits", {name: worker.ask("logits") for name, worker in sides.items()})


def _check(what, values):
    """Refuse to compare sides that do not compute the same."""
    ours = values["ours"]
    for theirs in values.values():
        if max(abs(a - b) for a, b in zip(ours, theirs)) > AGREE * max(map(abs, theirs)):
            raise ValueError(f"the sides compute different {what}; timing them is pointless")
