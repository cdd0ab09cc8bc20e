"""The benchmark: its workers, its arithmetic, what it compares, and its command line."""

import importlib.util
import json
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tinyqwen import bench as command
from tinyqwen.analysis.budget import parameter_counts
from tinyqwen.analysis.cluster import Network
from tinyqwen.autograd.tensor import Tensor, grad
from tinyqwen.benchmark import machine, operations, rows, subjects
from tinyqwen.benchmark.limits import flops, training_products
from tinyqwen.benchmark.ours import Clock, Training
from tinyqwen.benchmark.promises import fallen_short
from tinyqwen.benchmark.random_checkpoint import write_random_checkpoint
from tinyqwen.benchmark.scaling import AXES
from tinyqwen.benchmark.sizes import SIZES
from tinyqwen.benchmark.worker import Worker, repeat, take_turns
from tinyqwen.models.auto import AutoConfig, AutoModelForCausalLM
from tinyqwen.parallel.resources import default_threads
from tinyqwen.viz.bench import benchmark

HAVE_PEER = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def bench(*arguments):
    """Run the command; returns the finished process."""
    command = [sys.executable, "-m", "tinyqwen.bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250)


# ---------------------------------------------------------------------------------------------
# Workers
# ---------------------------------------------------------------------------------------------


def test_worker_computes_in_another_process_and_sleeps_between():
    with Worker("tinyqwen.benchmark.ours:Training", size="xs") as worker:
        assert worker.ask("losses", steps=2) == Training("xs", threads=default_threads()).losses(2)
        worker.ask("round", seconds=0.1)
        assert any(_rests(worker) for _ in range(100))  # the threads of its pools fall asleep
    assert worker._process.poll() == 0


def _rests(worker):
    before = worker.cpu_seconds()
    time.sleep(0.3)
    return worker.cpu_seconds() - before < 0.03


def test_worker_tells_errors_and_its_own_death():
    with Worker("tinyqwen.benchmark.ours:Loading") as worker:
        with pytest.raises(RuntimeError, match="FileNotFoundError"):
            worker.ask("load", folder="no/such/folder")
        worker._process.terminate()
        with pytest.raises(RuntimeError, match="ended with status"):
            worker.ask("load", folder="no/such/folder")
    with pytest.raises(RuntimeError, match="ModuleNotFoundError"):
        Worker("tinyqwen.benchmark.nothing:Here")


def test_rounds_take_turns_and_the_first_does_not_count(monkeypatch):
    monkeypatch.setattr("tinyqwen.benchmark.worker.PAUSE", 0)
    log = []

    class Side:
        def __init__(self, name):
            self.name = name

        def ask(self, method, **arguments):
            log.append(self.name)
            return len(log)

    answers = take_turns({"a": Side("a"), "b": Side("b")}, rounds=3)
    assert log == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert answers == {"a": [3, 6, 7], "b": [4, 5, 8]}


def test_repeat_takes_the_median_and_leaves_out_the_first(monkeypatch):
    clock, runs = [0.0], iter([256, 1, 4, 2, 2, 512])
    fake = SimpleNamespace(perf_counter=lambda: clock[0])
    monkeypatch.setattr("tinyqwen.benchmark.worker.time", fake)

    def run():
        clock[0] += next(runs)

    assert repeat(run, seconds=0, at_least=3) == 2000
    assert next(runs) == 2
    clock, runs = [0.0], iter([1, 1, 1, 8, 1])
    assert repeat(run, seconds=10, at_least=1) == 1000
    assert next(runs) == 1


# ---------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------


def test_a_tokens_time_is_the_median_after_the_first():
    clock = Clock()
    clock.times = [0, 10, 10.25, 11.25, 11.75]  # the prompt, the first token, three more
    assert clock.milliseconds() == 500


def test_a_row_compares_within_rounds():
    # The machine was twice as slow in the second round: the quotients do not notice.
    times = {"ours": [10, 20, 10], "torch": [15, 30, 16], "jax": [30, 60, 31], "limit": [5, 10, 8]}
    r = rows.row("train", "step", "ms", times)
    assert (r["speedups"], r["over_limit"]) == ({"torch": 1.5, "jax": 3.0}, 2.0)
    assert (r["ours"]["median"], r["peers"]["torch"]["min"], r["limit"]["max"]) == (10, 15, 10)
    alone = rows.row("train", "step", "ms", {"ours": [10]})
    assert alone["peers"] == alone["speedups"] == {} and alone["over_limit"] is None


def test_table_has_medians_spread_and_only_columns_in_use():
    times = {"ours": [1234, 0.5, 77], "limit": [1, 1, 1]}
    text = rows.table([rows.row("train", "step at s", "ms", times)])
    assert "77 ms [0.5-1,234]" in text and "77.00 x" in text
    assert "transformers" not in text


def test_line_is_least_squares():
    rng = np.random.default_rng(0)
    xs, ys = rng.random(7), rng.random(7)
    intercept, slope, r2 = rows.line(xs.tolist(), ys.tolist())
    np.testing.assert_allclose([slope, intercept], np.polyfit(xs, ys, 1), rtol=1e-9)
    assert r2 == pytest.approx(np.corrcoef(xs, ys)[0, 1] ** 2, rel=1e-9)


@pytest.mark.parametrize("size", ["xs", "s", "m"])
def test_products_are_those_of_the_model(size):
    """Six operations a matrix weight and token; of attention what 32-row blocks leave."""
    config, seq, batch = AutoConfig.from_dict(SIZES[size]["config"]), SIZES[size]["seq"], 3
    counts = parameter_counts(config)
    vectors = counts["norms"] + config.num_hidden_layers * (
        config.hidden_size + 2 * config.num_key_value_heads * config.head_dim
    )
    linear = 6 * (sum(counts.values()) - vectors) * batch * seq
    scores = sum(32 * stop for stop in range(32, seq + 1, 32))  # queries · keys
    scores *= batch * config.num_attention_heads * config.num_hidden_layers
    attention = 6 * 2 * config.head_dim * scores  # two products forward, four backward
    assert flops(training_products(size, batch)) == linear + attention


@pytest.mark.parametrize("name", operations.COMPOSED)
def test_composed_twins_compute_the_same(name):
    if name == "dropout":
        pytest.skip("random")
    arrays, others = operations.inputs(name, "xs")
    results = []
    for functions in (operations.FUSED, operations.COMPOSED):
        tensors = [Tensor(array, requires_grad=True) for array in arrays]
        out = functions[name](*tensors, *others)
        g = np.random.default_rng(1).standard_normal(out.shape, np.float32)
        results.append([out.data, *grad(out, tensors, g)])
    for fused, composed in zip(*results):
        np.testing.assert_allclose(fused, composed, atol=1e-5 * np.abs(composed).max())


def test_attention_is_timed_and_left_as_it_was():
    from tinyqwen import functional as F

    before = F.scaled_dot_product_attention.raw
    training = Training("xs")
    step, attention = training.attention_round(0.2)
    assert 0 < attention < step
    assert F.scaled_dot_product_attention.raw is before


def test_random_checkpoint_opens(tmp_path):
    count = write_random_checkpoint(tmp_path, "xs")
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert count == model.num_parameters() == sum(parameter_counts(model.config).values())
    assert (model.model.norm.weight.data == 1).all()
    assert model.lm_head.weight.data.std() == pytest.approx(0.02, rel=0.05)


def test_sides_that_disagree_are_not_timed():
    with pytest.raises(ValueError, match="different losses"):
        subjects._check("losses", {"ours": [4.0, 3.0], "peer": [4.0, 3.001]})
    subjects._check("losses", {"ours": [4.0, 3.0], "peer": [4.0, 3.0001]})


def test_a_projection_adds_the_wire_to_the_arithmetic():
    """A step of 90 ms and 4 MB of gradients, on 2 machines: 45 ms, of which 30 are backward.

    At 1 GB/s the ring takes 4 ms, and hides half of that but for one bucket of eight. At 0.04 GB/s
    it takes 100: 50 for the gradients, of which 30 are hidden, and 50 for the new weights.
    """
    for bandwidth, step in ((1e9, 45 + 2 / 8 + 2), (4e7, 45 + 20 + 50)):
        two, *_ = subjects._projection(Network(bandwidth, latency=0.0), 0.09, 4_000_000, "s")
        assert two["ours"]["median"] == pytest.approx(step)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py")
def test_cluster_counts_what_is_sent():
    """Both halves of a ring of two: all gradients once, and some numbers more."""
    figures = subjects._figures(
        ["mpiexec", "-n", "2", sys.executable, "-m", "tinyqwen.benchmark.cluster", "xs", "0"]
    )
    nbytes = 4 * figures["parameters"]
    assert nbytes <= figures["sent"] < nbytes + 1000
    assert 0 < figures["communication"] < figures["step"]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py")
def test_a_simulated_network_has_the_figures_that_it_was_given():
    """10 MB a second and 5 ms a message; half of the ring cannot be hidden."""
    start = ["mpiexec", "-n", "2", sys.executable, "-m", "tinyqwen.benchmark.cluster", "xs", "0"]
    figures = subjects._figures([*start, "1e7", "5e-3"])
    assert figures["bandwidth"] == pytest.approx(1e7, rel=0.05)
    assert figures["latency"] == pytest.approx(5e-3, rel=0.5)
    ring = 4 * figures["parameters"] / 1e7 * 1e3
    assert figures["communication"] > ring / 2


def test_machine_is_named(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    described = machine.describe()
    assert described["environment"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert described["cores"] == default_threads()
    assert described["versions"]["numpy"] == np.__version__
    assert described["blas"][0]["architecture"] in machine.summary(described)
    json.dumps(described)


# ---------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------


def test_command_writes_table_json_and_picture(tmp_path):
    files = tmp_path / "bench.json", tmp_path / "bench.png"
    quick = ("--sizes", "xs", "--rounds", 1, "--seconds", 0, "--alone")
    done = bench("train", *quick, "--json", files[0], "--plot", files[1])
    assert done.returncode == 0, done.stderr
    assert "train: step at xs" in done.stdout and "peak memory at xs" in done.stdout
    written = json.loads(files[0].read_text())
    step = written["rows"][0]
    assert min(step["ours"]["median"], step["limit"]["median"]) > 0
    assert step["over_limit"] == pytest.approx(step["ours"]["median"] / step["limit"]["median"])
    assert written["machine"]["versions"]["numpy"] == np.__version__
    assert files[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not HAVE_PEER, reason="needs torch and transformers")
@pytest.mark.parametrize(
    ("subject", "sizes"),
    [
        pytest.param("train", "xs", marks=pytest.mark.slow),
        pytest.param("generate", "xs", marks=pytest.mark.slow),
        pytest.param("train", "llama,qwen3,gpt2,bert,marian", marks=pytest.mark.nightly),
        pytest.param("generate", "llama,gpt2,marian", marks=pytest.mark.nightly),
    ],
)
def test_sides_agree_and_are_compared(subject, sizes):
    """Both sides get the same weights: losses of three updates, and logits, agree to 1e-4."""
    done = bench(subject, "--sizes", sizes, "--rounds", 1, "--seconds", 0)
    assert done.returncode == 0, done.stderr
    assert "transformers" in done.stdout and "faster by" in done.stdout


@pytest.mark.nightly
@pytest.mark.parametrize("subject", ["load", "start", "ops", "scaling"])
def test_other_subjects_run(subject):
    done = bench(subject, "--rounds", 1, "--seconds", 0)
    assert done.returncode == 0, done.stderr
    assert f"\n{subject}: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["speed"], "no subject 'speed'; choose from train"),
        (["train", "--sizes", "xl"], "no size 'xl'; choose from xs"),
        (["train", "--sizes", "0.5b"], "too large to train"),
        (["--peers", "tensorflow"], "no peer 'tensorflow'; choose from transformers"),
        (["--network", "fast"], "--network must be GBIT,MICROSECONDS like 10,50, not 'fast'"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--seconds", "-1"], "--seconds must be"),
        (["--plot", "bench.txt"], "must end in .png"),
        (["--json", "no/such/folder/file"], "no/such/folder is no folder"),
    ],
)
def test_bad_arguments_are_refused(arguments, words, capsys):
    with pytest.raises((ValueError, OSError), match=re.escape(words)) as caught:
        command.main(arguments)
    assert "\n" not in str(caught.value) and not capsys.readouterr().out


def test_bad_arguments_are_told_in_one_line():
    done = bench("speed")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("tinyqwen.bench: there is no subject 'speed'")


def test_picture_has_bars_and_curves():
    compared = [rows.row("train", "step at s", "ms", {"ours": [10.0], "torch": [15.0]})]
    grown = [
        rows.row(
            *("scaling", f"{axis} {x}", "ms", {"ours": [2.0 * x]}),
            **{"axis": axis, "x": x, "attention": rows.spread([x])},
        )
        for axis in AXES
        for x in (1, 2, 4)
    ]
    figure = benchmark(compared + grown, {"processor": "A CPU", "cores": 2})
    assert len(figure.axes) == 1 + len(AXES)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.5]
    assert figure.axes[1].lines[0].get_ydata()[[0, -1]] == pytest.approx([0, 8])
    assert len(benchmark(grown).axes) == len(AXES)
    with pytest.raises(ValueError, match="nothing to draw"):
        benchmark([rows.row("ops", "linear", "ms", {"ours": [1.0]})])


def test_what_falls_short_of_a_promise_is_said():
    times = {"ours": [10.0, 10.0], "transformers": [11.0, 11.0], "limit": [7.0, 8.0]}
    step = rows.row("train", "step at s", "ms", times)
    quick = rows.row(
        "train", "step at m", "ms", {"ours": [10.0], "transformers": [11.6], "limit": [9]}
    )
    unmeasured = rows.row("train", "step at xs", "ms", {"ours": [10.0]})
    other = rows.row("train", "step at llama", "ms", {"ours": [10.0], "transformers": [1.0]})
    assert fallen_short([step, quick, unmeasured, other]) == [
        "short of README's promise: step at s is 1.10 times as fast as transformers, "
        "1.15 are promised"
    ]
    slow = rows.row("generate", "a decoded token at 0.5b", "ms", {"ours": [14.0], "limit": [10.0]})
    assert fallen_short([slow]) == [
        "short of README's promise: a decoded token at 0.5b takes 1.40 times its limit, "
        "1.3 at most are promised"
    ]
