"""The relatives of one model in one table: bytes, tokens a second, loss, answers right."""

import time

import numpy as np

from tinyqwen.tuning.pruning import prune_heads, prune_layers, prune_weights
from tinyqwen.tuning.quantization import nbytes, quantize
from tinyqwen.tuning.texts import mean_loss

TOKENS = 64  # written for the speed
HEADER = ("model", "bytes", "tokens/s", "story loss", "answers right")


def quantized(load, texts):
    """(name, model) in fewer and fewer bits; load: a function that gives a fresh base."""
    for bits, size, method in ((8, 128, "rtn"), (4, 128, "rtn"), (4, 128, "gptq"), (2, 32, "gptq")):
        name = f"int{bits}, groups of {size}, {method}"
        yield name, quantize(load(), bits, size, method, texts)


def pruned(load, texts):
    """(name, model) with parts cut out or set to zero, not healed."""
    kv_heads = load().config.num_key_value_heads
    yield f"{kv_heads} heads a layer cut", prune_heads(load(), kv_heads, texts)
    yield "1 layer cut", prune_layers(load(), 1, texts)
    yield "half of the weights, Wanda", prune_weights(load(), 0.5, texts)
    yield "two of four weights, Wanda", prune_weights(load(), "2:4", texts)


def tokens_per_second(model, start, repeats=3):
    """Median speed of writing TOKENS tokens after `start`, one at a time."""
    speeds = []
    for _ in range(repeats):
        began = time.perf_counter()
        model.generate(start, max_new_tokens=TOKENS, do_sample=False, eos_token_id=[])
        speeds.append(TOKENS / (time.perf_counter() - began))
    return float(np.median(speeds))


def measured(name, model, stories, answers=None):
    """A row of the table; stories: batches for `mean_loss`; answers: function of a model."""
    model.eval()
    return {
        "model": name,
        "bytes": nbytes(model),
        "tokens/s": tokens_per_second(model, stories[0][0][:1, :4]),
        "story loss": mean_loss(model, stories),
        "answers right": answers(model) if answers else None,
    }


def line(row=None):
    """A row as a line of text; the header without one."""
    if row is None:
        return f"{HEADER[0]:<34}{HEADER[1]:>12}{HEADER[2]:>10}{HEADER[3]:>12}{HEADER[4]:>15}"
    right = "" if row["answers right"] is None else f"{row['answers right']:.1%}"
    return (
        f"{row['model']:<34}{row['bytes']:>12,}{row['tokens/s']:>10,.0f}"
        f"{row['story loss']:>12.4f}{right:>15}"
    )


def columns(row, header=False):
    """A row of a study, {column: value}, as a line of text; with the line of names above it."""
    first, *others = row
    width = {n: max(16 if isinstance(row[n], int) else 10, len(n) + 2) for n in others}
    line = f"{row[first]!s:<36}" + "".join(f"{_shown(n, row[n]):>{width[n]}}" for n in others)
    names = f"\n{first:<36}" + "".join(f"{name:>{width[name]}}" for name in others)
    return f"{names}\n{line}" if header else line


def _shown(name, value):
    if value is None:
        return ""
    if name in ("answers right", "accuracy", "least", "most"):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
