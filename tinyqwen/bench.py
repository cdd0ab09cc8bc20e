"""`python -m tinyqwen.bench`: how fast this machine trains, writes and loads, beside PyTorch."""

from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from tinyqwen.analysis.cluster import Network
from tinyqwen.benchmark import machine, packed, relatives, subjects
from tinyqwen.benchmark.promises import fallen_short
from tinyqwen.benchmark.rows import fits, table
from tinyqwen.benchmark.sizes import SIZES
from tinyqwen.cli import ArgumentParser, path, run
from tinyqwen.models.auto import AutoModelForCausalLM
from tinyqwen.storage.files import write_json
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training import studies
from tinyqwen.training.relatives import BASE, trained_relatives
from tinyqwen.tuning.quantization import quantize
from tinyqwen.tuning.texts import STORIES, calibration_and_validation
from tinyqwen.viz.bench import benchmark
from tinyqwen.viz.style import save

SUBJECTS = {
    "train": "a training step, and its peak memory",
    "generate": "text from a prompt, a token and a long prompt at the shape of Qwen2.5-0.5B",
    "load": "a checkpoint of that shape, in time and memory",
    "start": "import, and train --help",
    "ops": "each fused primitive, beside torch's and beside elementary operations",
    "scaling": "a training step against layers, batch and sequence length",
    "tuning": "the bundled model's relatives: bytes, tokens/s, loss, answers right; takes minutes",
    "packed": "a token of the 0.5B shape in 8 and 4 bits, beside float32, and on more cores",
    "classifiers": "accuracy with and without the old task, frozen and not, over 5 seeds",
    "ranks": "chat with adapters of rank 1 to 32, and all of the model trained",
    "students": "what a student of a quarter of the size gains by a teacher, over 3 seeds",
    "pruned": "loss after heads, layers and weights are cut, and healed",
    "cluster": "a step shared out by MPI to 1 to 4 ranks here, and projected for a network",
}
STUDIES = {
    "packed": lambda folder: packed.tokens(),
    **{n: getattr(studies, n) for n in ("classifiers", "ranks", "students", "pruned")},
}  # tables of their own
OF_THE_MODEL = ("tuning", "classifiers", "ranks", "students", "pruned")  # which is bundled


def parse_arguments(arguments=None):
    """Command line -> argparse.Namespace."""
    parser = ArgumentParser(
        prog="python -m tinyqwen.bench",
        description="Measure tinyqwen, side by side with transformers where it is installed, and "
        "against what the machine can do at most. Subjects (if none is named, all before tuning): "
        + "; ".join(f"{name}, {what}" for name, what in SUBJECTS.items())
        + ".",
        epilog="Figures are medians of the rounds, with the least and the most. 'faster by' is "
        "a peer's time over ours, 'over limit' ours over the limit. Let the machine do "
        "nothing else meanwhile.",
    )
    add = parser.add_argument
    add("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    add("--sizes", metavar="NAME,NAME", help="models: some of " + ", ".join(SIZES))
    add("--rounds", type=int, default=5, metavar="N", help="rounds, after one to warm up (5)")
    add("--seconds", type=float, default=1.0, metavar="S", help="of a round, at least (1)")
    add("--peers", metavar="NAME,NAME", help="of " + ", ".join(subjects.PEERS) + " (the first)")
    network = "Gbit/s and latency in microseconds that cluster projects for (10,50)"
    add("--network", default="10,50", metavar="GBIT,US", help=network)
    add("--alone", action="store_true", help="leave all peers out")
    add("--json", type=path, metavar="FILE", help="write all figures there")
    add("--plot", type=path, metavar="FILE", help="draw them, as PNG, SVG or PDF")
    options = parser.parse_args(arguments)
    options.json, options.plot = (file and Path(file) for file in (options.json, options.plot))
    usual = list(SUBJECTS)[: list(SUBJECTS).index("tuning")]
    options.subjects = options.subjects or usual
    for subject in options.subjects:
        if subject not in SUBJECTS:
            raise ValueError(f"there is no subject {subject!r}; choose from {', '.join(SUBJECTS)}")
    options.sizes = tuple(options.sizes.split(",")) if options.sizes else ()
    for size in options.sizes:
        if size not in SIZES:
            raise ValueError(f"there is no size {size!r}; choose from {', '.join(SIZES)}")
        if not SIZES[size]["batch"] and options.subjects != ["generate"]:
            raise ValueError(f"{size} is for `bench generate` alone; it is too large to train")
    options.peers = tuple(options.peers.split(",")) if options.peers else ("transformers",)
    for peer in options.peers:
        if peer not in subjects.PEERS:
            raise ValueError(f"there is no peer {peer!r}; choose from {', '.join(subjects.PEERS)}")
    if options.plot and options.plot.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--plot {options.plot}: the name must end in .png, .svg or .pdf")
    for file in (options.json, options.plot):
        if file and not file.parent.is_dir():
            raise FileNotFoundError(f"{file.parent} is no folder; make it first")
    options.network = _network(options.network)
    if options.rounds < 1:
        raise ValueError(f"--rounds must be at least 1, not {options.rounds}")
    if not 0 <= options.seconds < 3600:
        raise ValueError(f"--seconds must be from 0 to an hour, not {options.seconds:g}")
    return options


def _network(text):
    try:
        gigabits, microseconds = map(float, text.split(","))
        if not (gigabits > 0 <= microseconds):
            raise ValueError
    except ValueError:
        raise ValueError(f"--network must be GBIT,MICROSECONDS like 10,50, not {text!r}") from None
    return Network(gigabits * 1e9 / 8, microseconds / 1e6)


def main(arguments=None):
    """The command; returns the exit status."""
    options = parse_arguments(arguments)
    if missing := [name for name in options.subjects if name in OF_THE_MODEL and not BASE.is_dir()]:
        raise FileNotFoundError(f"bench {missing[0]} is for the repository: {BASE} is missing")
    described = machine.describe()
    print(machine.summary(described))
    peers = () if options.alone else options.peers
    settings = subjects.Settings(
        options.rounds, options.seconds, options.sizes, peers, options.network
    )
    for peer in set(peers) - set(settings.peers):
        needed = " and ".join(subjects.PEERS[peer][0])
        print(f"without {peer}, which needs {needed}" + " and a C++ compiler" * ("." in peer))
    rows = []
    if "tuning" in options.subjects:
        rows += tuning()
    for name in options.subjects:
        if name == "tuning":
            continue
        if name in STUDIES:
            rows += study(name)
            continue
        new = list(getattr(subjects, name)(settings))
        print("\n" + "\n".join([table(new), *fits(new), *fallen_short(new)]), flush=True)
        rows += new
    if options.json:
        write_json(options.json, {"machine": described, "rows": rows})
    if options.plot:
        save(benchmark(rows, described), options.plot)
    return 0


def study(name):
    """Print the table of a study as it is made; returns its rows."""
    rows = []
    with TemporaryDirectory() as folder:
        for row in STUDIES[name](folder):
            print(relatives.columns(row, header=not rows), flush=True)
            rows.append({"subject": name, **row})
    return rows


def tuning(steps=None, count=128):
    """Print the table of the bundled model's relatives as it is made; returns its rows.

    steps: of each training run, instead of what its recipe says; count: stories to calibrate on.
    """
    tokenizer = Tokenizer.from_pretrained(BASE)
    texts, stories = calibration_and_validation(tokenizer, STORIES, count, length=512)
    rows = []

    def add(name, model, answers=None):
        rows.append({"subject": "tuning", **relatives.measured(name, model, stories, answers)})
        print(relatives.line(rows[-1]), flush=True)

    def base():
        return AutoModelForCausalLM.from_pretrained(BASE)

    print("\n" + relatives.line())
    add("the bundled model", base())
    for name, model in chain(relatives.quantized(base, texts), relatives.pruned(base, texts)):
        add(name, model)
    with TemporaryDirectory() as folder:
        for name, run_folder, answers in trained_relatives(folder, steps):
            model = AutoModelForCausalLM.from_pretrained(run_folder)
            if name == "chat":
                add("the bundled model, asked", base(), answers)
            add(name, model, answers)
            if name == "chat":
                for bits, method in ((8, "rtn"), (4, "gptq")):
                    model = AutoModelForCausalLM.from_pretrained(run_folder)
                    packed = quantize(model, bits, 128, method, texts)
                    add(f"{name}, int{bits} {method}", packed, answers)
    return rows


if __name__ == "__main__":
    run(main)
