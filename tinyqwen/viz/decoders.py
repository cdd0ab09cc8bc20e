"""Pictures of chapter 16: the line of decoders, and positions past those of the training."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.viz.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PALETTE,
    PURPLE,
    RED,
    figure,
    plain_log,
    style,
)
from tinyqwen.viz.training import smoothed

# (year, name, positions, norm, mlp, heads, biases, norm on Q and K)
HISTORY = (
    ("2018", "GPT-1", "learned", "LayerNorm, after", "GELU", "MHA", "all", "no"),
    ("2019", "GPT-2", "learned", "LayerNorm, before", "GELU", "MHA", "all", "no"),
    ("2023", "LLaMA", "RoPE", "RMSNorm, before", "SwiGLU", "MHA", "none", "no"),
    ("2023", "Llama 2 70B", "RoPE", "RMSNorm, before", "SwiGLU", "GQA", "none", "no"),
    ("2024", "Qwen2", "RoPE", "RMSNorm, before", "SwiGLU", "GQA", "Q, K, V", "no"),
    ("2025", "Qwen3", "RoPE", "RMSNorm, before", "SwiGLU", "GQA", "none", "yes"),
)
WAYS = {"linear": ORANGE, "dynamic": GREEN, "yarn": RED, "llama3": PURPLE}  # to stretch RoPE
HEADS = ("", "", "positions", "norm", "MLP", "heads", "biases", "Q, K normed")


def history():
    """The line of decoders as a table; what a model changed of the one above is lit."""
    widths = np.array([0.7, 1.3, 1.0, 1.8, 1.0, 0.8, 0.95, 1.2])
    left = np.concatenate([[0], np.cumsum(widths)])
    with style():
        fig, ax = figure(size=(9.6, 2.9))
        for column, head in enumerate(HEADS):
            ax.text(left[column] + 0.08, 0.55, head, va="center", color=GRAY)
        for row, cells in enumerate(HISTORY):
            for column, text in enumerate(cells):
                new = row and column > 1 and text != HISTORY[row - 1][column]
                if new:
                    box = (left[column], -row - 0.42), widths[column] - 0.06, 0.84
                    ax.add_patch(_rectangle(*box, color=ORANGE, alpha=0.35))
                weight = "bold" if new or column == 1 else "normal"
                ax.text(left[column] + 0.08, -row, text, va="center", weight=weight)
        ax.set(xlim=(0, left[-1]), ylim=(-len(HISTORY) + 0.4, 1))
        ax.axis("off")
    return fig


def _rectangle(*args, **options):
    from matplotlib.patches import Rectangle

    return Rectangle(*args, linewidth=0, **options)


def gelus(limit=4.0):
    """GELU and ReLU, and how far GPT-2's tanh is from the exact GELU."""
    x = np.linspace(-limit, limit, 400)
    exact, tanh = F.gelu.raw(x)[0], F.gelu_new.raw(x)[0]
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.1))
        left.plot(x, np.maximum(x, 0), color=GRAY, linestyle="--", label="ReLU")
        left.plot(x, exact, color=BLUE, label="GELU, both")
        left.set(title="the function", xlabel="x")
        left.legend()
        right.plot(x, tanh - exact, color=ORANGE)
        right.axhline(0, color=GRAY, linewidth=0.8)
        right.set(title="GPT-2's less the exact one", xlabel="x")
        right.ticklabel_format(axis="y", scilimits=(0, 0))
    return fig


def score_sizes(sizes, scores, normed):
    """The largest score of random queries and keys by their size, with norms and without.

    sizes: (n,) standard deviations of queries and keys; scores, normed: (n,) largest |q · k| / √D
    """
    with style():
        fig, ax = figure(size=(7.2, 3.2))
        ax.plot(sizes, scores, "o-", color=BLUE, label="as they are")
        ax.plot(sizes, normed, "o-", color=ORANGE, label="normed")
        ax.set(xscale="log", yscale="log", xlabel="standard deviation of queries and keys")
        ax.set(ylabel="largest score")
        plain_log(ax.xaxis)
        plain_log(ax.yaxis)
        ax.legend()
    return fig


def line_of_decoders(losses, milliseconds, floor):
    """What each decoder of the line has learned, a dot a seed, and what a step of it costs.

    losses: {name: validation losses, one a seed}; milliseconds: {name: of a step}; floor: nats
    """
    names = list(losses)
    rows = np.arange(len(names))[::-1]
    with style():
        fig, (left, right) = figure(
            1, 2, size=(9.6, 3.6), sharey=True, gridspec_kw={"width_ratios": (3, 2)}
        )
        for row, name in zip(rows, names):
            found = losses[name]
            left.plot(found, [row] * len(found), "o", color=BLUE, alpha=0.45, markersize=5)
            left.plot(np.mean(found), row, "|", color=RED, markersize=16, markeredgewidth=2)
        left.axvline(floor, color=GRAY, linestyle="--", linewidth=1)
        left.annotate(f"floor {floor:.2f}", (floor, rows[0] + 0.4), (3, 0), color=GRAY,
                      textcoords="offset points", fontsize=9)  # fmt: skip
        left.set_yticks(rows, names)
        left.set(xlabel="validation loss (nats per token)", title="a dot a seed, a bar their mean")
        right.barh(rows, [milliseconds[name] for name in names], color=GREEN, height=0.6)
        right.set(xlabel="milliseconds of one processor", title="a training step")
    return fig


def losses_by_place(curves, trained, end=None):
    """The loss at each place of a text, averaged over texts, and over 16 neighbors of a side.

    curves: {name: (T,) nats, of the places from 1 on}; trained: the places that training had;
    end: where a table ends
    """
    with style():
        fig, ax = figure(size=(9.0, 3.3))
        for color, (name, nats) in zip(PALETTE, curves.items()):
            color = WAYS.get(name.split(",")[0], color)
            for part in (slice(trained - 1), slice(trained - 1, None)):
                places = np.arange(1, len(nats) + 1)[part]
                smooth = np.convolve(nats[part], np.ones(16) / 16, "valid")
                ax.plot(places[8:][: len(smooth)], smooth, color=color, label=name)
                name = None  # one entry of the legend for both parts
        for place, text in ((trained, "longest in training"), (end, "the table ends")):
            if place is not None:
                ax.axvline(place, color=GRAY, linestyle="--", linewidth=1)
                ax.annotate(
                    text, (place, 1), (3, -8), color=GRAY, fontsize=9, textcoords="offset points",
                    xycoords=("data", "axes fraction"),
                )  # fmt: skip
        ax.set(xlabel="position of the token", ylabel="loss (nats per token)")
        ax.set_ylim(0, 1.08 * ax.get_ylim()[1])  # room for what the lines say
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def learning_rates(runs):
    """Training losses at several learning rates, a panel for each.

    runs: {learning rate: {name: losses, one a step}}
    """
    with style():
        fig, axes = figure(1, len(runs), size=(9.6, 3.0), sharey=True, squeeze=False)
        for ax, (rate, models) in zip(axes[0], runs.items()):
            for color, (name, losses) in zip((BLUE, ORANGE), models.items()):
                steps = range(1, len(losses) + 1)
                ax.plot(steps, smoothed(losses, 0.8), color=color, label=name)
                ax.plot(steps, losses, color=color, alpha=0.25, linewidth=0.8)
            ax.set(title=f"learning rate {rate:g}", xlabel="step")
            ax.grid(axis="y", color=GRAY, alpha=0.2)
        top = 1.2 * max(losses[0] for models in runs.values() for losses in models.values())
        axes[0][0].set(ylabel="loss (nats per token)", ylim=(None, top))
        axes[0][-1].legend(loc="upper right")
    return fig


def multipliers(scales, turns, factor, original):
    """What each way of stretching multiplies RoPE's frequencies by, pair by pair.

    scales: {name: (dim/2,)}; turns: (dim/2,) turns of each pair within the original length;
    factor, original: how far is stretched, and from how many tokens
    """
    pairs = np.arange(len(turns))
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.1))
        for name, scale in scales.items():
            left.plot(pairs, scale, "o-", markersize=3, color=WAYS[name], label=name)
        left.set(xlabel="pair i", ylabel="its frequency times", ylim=(0, 1.08))
        left.set(title=f"multipliers, for {factor:g} times the length", xticks=pairs[::3])
        fig.legend(*left.get_legend_handles_labels(), loc="outside right center")
        right.semilogy(pairs, turns, "o-", markersize=3, color=GRAY)
        right.axhline(1, color=RED, linestyle="--", linewidth=1)
        right.annotate(
            "one turn", (0, 1), (2, 4), textcoords="offset points", color=RED, fontsize=9
        )
        right.set(xlabel="pair i", title=f"turns within {original:,} tokens", xticks=pairs[::3])
    return fig


def lm_weights(right, written, baseline, before):
    """What λ does to the new task and to the old one; a dot a seed, a bar their mean.

    right: {λ: percentages of unseen texts that are labelled rightly, one a seed}
    written: {λ: nats per token of unseen stories, one a seed}
    baseline: percentage of always naming the commoner label; before: nats before fine-tuning
    """
    panels = (
        ("unseen texts labelled rightly (percent)", right, baseline, "always the same label"),
        ("loss on unseen stories (nats a token)", written, before, "before fine-tuning"),
    )
    with style():
        fig, axes = figure(1, 2, size=(10.4, 2.5), sharey=True)
        for ax, (label, found, level, name) in zip(axes, panels):
            rows = range(len(found))[::-1]
            for row, values in zip(rows, found.values()):
                ax.plot(values, [row] * len(values), "o", color=BLUE, alpha=0.5)
                ax.plot(np.mean(values), row, "|", color=RED, markersize=16, markeredgewidth=2)
            ax.axvline(level, color=GRAY, linestyle="--", linewidth=1)
            told = {"textcoords": "offset points", "color": GRAY, "fontsize": 9}
            ax.annotate(name, (level, rows[0] + 0.35), (3, 0), **told)
            ax.set(xlabel=label, ylim=(-0.5, rows[0] + 0.6))
        axes[0].set_yticks(list(rows), [f"λ = {weight:g}" for weight in right])
    return fig
