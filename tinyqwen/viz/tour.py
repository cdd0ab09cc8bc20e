"""Pictures of chapter 00: what a model turns text into, and who may see whom."""

import numpy as np

from tinyqwen.viz.style import BLUE, DIVERGING, GRAY, GREEN, ORANGE, figure, name_columns, style
from tinyqwen.viz.tokens import shown


def vectors(states, pieces, dims=48):
    """The vectors of a sentence's tokens at several depths of the model.

    states: {title: array (tokens, dim)};  pieces: the tokens as text;  dims: how many of the
    numbers of each vector are shown.  Each map has its own scale, beside it. Returns a Figure.
    """
    with style():
        fig, axes = figure(
            1, len(states), size=(10, 0.24 * len(pieces) + 1.0), squeeze=False, sharey=True
        )
        for ax, (title, values) in zip(axes[0], states.items()):
            values = values[:, :dims]
            limit = np.abs(values).max(initial=1e-12)
            image = ax.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
            bar = fig.colorbar(image, ax=ax, pad=0.02, aspect=30)
            bar.ax.tick_params(labelsize=7)
            ax.set_title(title)
            ax.set_xlabel(f"first {values.shape[1]} numbers")
            ax.set_xticks([])
            ax.tick_params(length=0)
        bar.set_label("value of a number")
        axes[0][0].set_yticks(range(len(pieces)), [shown(piece) for piece in pieces])
    return fig


def next_tokens(prompt, pieces, probabilities):
    """The most probable next tokens after a prompt, as bars.

    pieces: tokens as text, the most probable first;  probabilities: theirs.  Returns a Figure.
    """
    with style():
        fig, ax = figure(size=(6.4, 0.28 * len(pieces) + 1.0))
        rows = np.arange(len(pieces))
        ax.barh(rows, probabilities, color=[ORANGE] + [BLUE] * (len(pieces) - 1), height=0.7)
        for row, p in zip(rows, probabilities):
            ax.text(p + 0.005, row, f"{p:.3f}", va="center", fontsize=9)
        ax.set_yticks(rows, [shown(piece) for piece in pieces])
        ax.invert_yaxis()
        ax.set(xlabel="probability", xlim=(0, min(1.12, max(probabilities) * 1.2)))
        ax.set_title(f"“{prompt} …”")
        ax.tick_params(axis="y", length=0)
    return fig


def families(words, source, target):
    """Who sees whom in the three families of Transformers.

    words: a sentence for the encoder and for the decoder alone;  source, target: a sentence and its
    translation for the encoder-decoder, which has three attentions, each with weights of its own.
    Returns a Figure.
    """
    n, s, t = len(words), len(source), len(target)
    panels = (
        ("encoder only", np.ones((n, n), int), words, words),
        ("encoder …", np.ones((s, s), int), source, source),
        ("… decoder to itself", 2 * np.tri(t, dtype=int), target, target),
        ("… decoder to encoder", np.full((t, s), 3), target, source),
        ("decoder only", 2 * np.tri(n, dtype=int), words, words),
    )
    with style():
        fig, axes = figure(1, 5, size=(12.5, 3.6), width_ratios=[len(p[3]) for p in panels])
        for ax, (title, mask, rows, columns) in zip(axes, panels):
            _mask(ax, mask, rows, columns)
            ax.set_title(title, fontsize=10)
        fig.legend(
            handles=_key(
                {
                    "sees all of its sentence": BLUE,
                    "sees itself and what came before": ORANGE,
                    "sees the other sentence": GREEN,
                }
            ),
            loc="outside lower center",
            ncols=3,
        )
    return fig


def _mask(ax, mask, rows, columns):
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(["white", BLUE, ORANGE, GREEN])
    ax.imshow(mask, cmap=colors, vmin=0, vmax=3, alpha=0.8)
    name_columns(ax, columns, fontsize=9)
    ax.set_yticks(range(len(rows)), rows, fontsize=9)
    ax.set_xticks(np.arange(-0.5, len(columns)), minor=True)
    ax.set_yticks(np.arange(-0.5, len(rows)), minor=True)
    ax.grid(which="minor", color=GRAY, linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.set_xlabel("… at this one", fontsize=9)
    ax.set_ylabel("this token may look …", fontsize=9)


def _key(colors):
    from matplotlib.patches import Patch

    return [Patch(color=color, alpha=0.8, label=label) for label, color in colors.items()]
