"""Pictures of chapter 15: what BERT is given, what it guesses, what its vectors are good for."""

import numpy as np

from tinyqwen.viz.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PALETTE,
    RED,
    SEQUENTIAL,
    SKY,
    figure,
    plain_log,
    style,
)

FATES = {"hidden": ORANGE, "replaced": RED, "kept": GREEN}


def input_rows(pieces, segments):
    """A pair of sentences as BERT reads it: each token, its segment and its position are added.

    pieces: the tokens as text; segments: 0 or 1 for each
    """
    rows = {
        "token": [(piece, GRAY if piece.startswith("[") else "white") for piece in pieces],
        "segment": [("AB"[kind], (SKY, ORANGE)[kind]) for kind in segments],
        "position": [(str(i), "white") for i in range(len(pieces))],
    }
    with style():
        fig, ax = figure(size=(0.62 * len(pieces) + 1.2, 1.7))
        for y, (name, boxes) in enumerate(rows.items()):
            _row(ax, y, name, boxes, "" if y == 0 else "+")
        _blank(ax, len(pieces), len(rows))
    return fig


def hiding(pieces, given, labels):
    """A row of a batch: what was there, what the model is given, and what it is to predict.

    pieces, given: tokens as text, before and after; labels: tokens as text, "" where none is asked
    """
    fate = [
        None if not label else "hidden" if new == "[MASK]" else "replaced" if new != old else "kept"
        for old, new, label in zip(pieces, given, labels)
    ]
    colors = [FATES.get(name, "white") for name in fate]
    rows = {
        "what was there": [(piece, "white") for piece in pieces],
        "given": list(zip(given, colors)),
        "label": [
            (label or "–", color if label else "white") for label, color in zip(labels, colors)
        ],
    }
    with style():
        fig, ax = figure(size=(0.6 * len(pieces) + 1.6, 1.9))
        for y, (name, boxes) in enumerate(rows.items()):
            _row(ax, y, name, boxes)
        for name, color in FATES.items():
            ax.plot([], [], "s", color=color, alpha=0.55, markersize=9, label=name)
        _blank(ax, len(pieces), len(rows))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, handletextpad=0.1)
    return fig


def _row(ax, y, name, boxes, sign=""):
    from matplotlib.patches import Rectangle

    ax.text(-0.75, y, name, ha="right", va="center")
    ax.text(-0.6, y - 0.5, sign, ha="center", va="center", fontsize=12)
    for x, (text, color) in enumerate(boxes):
        box = (x - 0.47, y - 0.38), 0.94, 0.76
        ax.add_patch(Rectangle(*box, facecolor=color, alpha=0.55, linewidth=0))
        ax.add_patch(Rectangle(*box, fill=False, edgecolor=GRAY, linewidth=0.8))
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5)


def _blank(ax, columns, rows):
    ax.set(xlim=(-0.7, columns - 0.4), ylim=(rows - 0.5, -0.55))
    ax.axis("off")


def guesses(panels, note="probability"):
    """What stands in a gap, by probability: bars for each word, a color for each who guesses.

    panels: {title: {who: {word: probability}}}; words are in the order of the first who names them
    """
    with style():
        most = max(len(_words(who)) for who in panels.values())
        bars = max(map(len, panels.values()))
        size = (3.3 * len(panels), max(0.36, 0.17 * bars) * most + 1.2)
        fig, axes = figure(1, len(panels), size=size, squeeze=False, sharex=True)
        for ax, (title, who) in zip(axes[0], panels.items()):
            words = _words(who)
            height = 0.8 / len(who)
            for i, (name, shares) in enumerate(who.items()):
                y = np.arange(len(words)) + (i + 0.5) * height - 0.4
                values = [shares.get(word, 0.0) for word in words]
                ax.barh(y, values, 0.92 * height, color=(BLUE, ORANGE, GREEN)[i], label=name)
                for place, value in zip(y, values):
                    ax.text(value + 0.02, place, f"{value:.2f}", va="center", fontsize=8.5)
            ax.set_yticks(range(len(words)), words)
            ax.set(title=title, xlabel=note, xlim=(0, 1.2), xticks=(0, 0.5, 1))
            ax.set_ylim(most - 0.4, -0.6)
            ax.tick_params(axis="y", length=0)
        if len(who) > 1:
            fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


def _words(who):
    return list(dict.fromkeys(word for shares in who.values() for word in shares))


def learning(steps, panels):
    """Curves by training step, a panel for each kind of quantity.

    steps (n,); panels: {title: ({name: (n,)}, {name of a level: value})}
    """
    with style():
        fig, axes = figure(1, len(panels), size=(4.6 * len(panels), 3.1), squeeze=False)
        for ax, (title, (curves, levels)) in zip(axes[0], panels.items()):
            for color, (name, values) in zip((BLUE, ORANGE, GREEN), curves.items()):
                ax.plot(steps, values, color=color, label=name)
            top = max(max(values) for values in curves.values())
            for name, value in levels.items():
                ax.axhline(value, color=GRAY, linestyle="--", linewidth=1.1)
                place = {"xytext": (-2, -12 if value < 0.3 * top else 3), "ha": "right"}
                text = {"textcoords": "offset points", "color": GRAY, "fontsize": 9}
                ax.annotate(name, (1, value), xycoords=("axes fraction", "data"), **place, **text)
            ax.set(title=title, xlabel="training step", xlim=(0, max(steps)))
            ax.set_ylim(0, None)
            ax.legend(loc="best")
    return fig


def alike(sentences, panels):
    """The cosine between every two of some sentences, a map for each way to make vectors.

    sentences: n texts; panels: {title: vectors of length 1 (n, C)}
    """
    n = len(sentences)
    with style():
        size = (0.34 * n * len(panels) + 4.6, 0.34 * n + 1.0)
        fig, axes = figure(1, len(panels), size=size, squeeze=False, sharey=True)
        cosines = [vectors @ vectors.T for vectors in panels.values()]
        least = min(0, *(np.min(one) for one in cosines))
        for ax, title, one in zip(axes[0], panels, cosines):
            image = ax.imshow(one, cmap=SEQUENTIAL, vmin=least, vmax=1)
            ax.set_xticks(range(n), range(1, n + 1))
            ax.set(title=title)
            ax.tick_params(length=0)
        axes[0][0].set_yticks(range(n), [f"{s}  {i}" for i, s in enumerate(sentences, 1)])
        fig.colorbar(image, ax=axes, label="cosine", shrink=0.8)
    return fig


def over_sizes(sizes, curves, ylabel, chance=None):
    """What is reached from few and from many examples.

    sizes (n,): examples; curves: {name: (n,) or (runs, n)}, drawn as the mean and its range;
    chance: what guessing reaches
    """
    with style():
        fig, ax = figure(size=(6.4, 3.3))
        for color, (name, values) in zip(PALETTE, curves.items()):
            values = np.atleast_2d(values)
            ax.plot(sizes, values.mean(0), "o-", markersize=4, color=color, label=name)
            ax.fill_between(sizes, values.min(0), values.max(0), color=color, alpha=0.18, lw=0)
        if chance is not None:
            ax.axhline(chance, color=GRAY, linestyle="--", linewidth=1.1)
            ax.text(sizes[-1], chance, "guessing", color=GRAY, ha="right", va="bottom", fontsize=9)
        ax.set_xscale("log")
        ax.set_xticks(sizes)
        plain_log(ax.xaxis)
        ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
        ax.set(xlabel="labelled examples", ylabel=ylabel, ylim=(0, 1.02))
        ax.legend(loc="best")
    return fig
