"""How time and memory grow with a model and its work: in training, and in writing."""

from contextlib import ExitStack
from statistics import median

from tinyqwen.benchmark.rows import row, spread
from tinyqwen.benchmark.sizes import SIZES
from tinyqwen.benchmark.worker import Worker, take_turns

AXES = {
    "num_hidden_layers": (1, 2, 4, 8),
    "hidden_size": (64, 128, 256),
    "vocab_size": (512, 1024, 2048),
    "batch": (2, 4, 8, 16, 32),
    "seq": (32, 64, 128, 256, 512, 1024),
}
WRITTEN = 24  # tokens, of which the median's time is taken


def scaling(settings):
    """Milliseconds of a step, and of attention in it, against each of AXES; memory; a token.

    Everything else is as at size s, but for two: the inner size stays three times hidden_size, and
    sequences come in batches of 2,048 tokens in all, for then only attention can make the longer
    ones dearer. A token is written after a prompt of `seq` tokens, for `batch` texts at a time.
    """
    size = settings.size_or("s")
    for axis, points in AXES.items():
        changes = {x: _changes(size, axis, x) for x in points}
        with ExitStack() as stack:
            sides = {
                x: stack.enter_context(Worker(_ours("Training"), size=size, **changes[x]))
                for x in points
            }
            seconds = settings.seconds / 3
            answers = take_turns(sides, settings.rounds, "attention_round", seconds=seconds)
            peaks = {x: worker.ask("memory", steps=1)[1] for x, worker in sides.items()}
        for x in points:
            steps, attention = ([answer[i] for answer in answers[x]] for i in range(2))
            token, memory = _writing(size, axis, x, changes[x], settings.rounds)
            note = (
                f"of these {median(attention):.3g} ms in attention; {peaks[x]:.0f} MiB. "
                f"A token {token:.3g} ms; {memory:.0f} MiB"
            )
            more = {"axis": axis, "x": x, "attention": spread(attention), "note": note}
            more |= {"memory": peaks[x], "token": token, "token_memory": memory}
            yield row("scaling", f"{axis} {x}", "ms", {"ours": steps}, **more)


def _ours(side):
    return f"tinyqwen.benchmark.ours:{side}"


def _changes(size, axis, x):
    """What differs from `size` where an axis has the value x."""
    changes = {axis: x}
    if axis == "hidden_size":
        changes["intermediate_size"] = 3 * x
    if axis == "seq":
        changes["batch"] = max(2, SIZES[size]["seq"] * SIZES[size]["batch"] // x)
    return changes


def _writing(size, axis, x, changes, rounds):
    """(milliseconds of a token, the process's peak in MiB) of a model that writes."""
    texts, prompt = (x if axis == name else least for name, least in (("batch", 1), ("seq", 8)))
    changes = {name: value for name, value in changes.items() if name not in ("batch", "seq")}
    with Worker(_ours("Generation"), size=size, prompt=prompt, texts=texts, **changes) as worker:
        times = [worker.ask("token", new=WRITTEN) for _ in range(rounds)]
        return median(times), worker.ask("memory")
