"""Pictures of models that become smaller: a teacher's targets, what can be spared, what is left."""

import numpy as np

from tinyqwen.viz.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PALETTE,
    PURPLE,
    RED,
    SEQUENTIAL,
    figure,
    name_columns,
    style,
)


def targets(tokens, rows, truth=None):
    """What different teachers say about one place: a panel of bars for each of them.

    tokens: the words that might come, (n,); rows: {who says it: probabilities (n,)}; truth (n,):
    what is right, a black mark across each bar, or None.
    """
    with style():
        size = (2.45 * len(rows) + 0.4, 2.9)
        fig, axes = figure(1, len(rows), size=size, sharey=True, squeeze=False)
        colors = (GRAY, *PALETTE) if truth is None else PALETTE
        for ax, (name, p), color in zip(axes[0], rows.items(), colors):
            ax.bar(range(len(tokens)), p, color=color)
            if truth is not None:
                ax.scatter(range(len(tokens)), truth, marker="_", s=90, color="black", zorder=3)
                ax.set_ylim(0, max(0.5, 1.1 * max(p)))
            name_columns(ax, tokens, fontsize=8.5)
            ax.set_title(name, fontsize=10)
        axes[0][0].set_ylabel("probability")
    return fig


def importance(scores, angles):
    """Left, how much the loss feels each head; right, by how much each layer turns the stream.

    scores (layers, heads); angles (layers,), in units of π.
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(8.6, 2.9))
        image = left.imshow(scores, cmap=SEQUENTIAL, aspect="auto")
        for (layer, head), score in np.ndenumerate(scores):
            ink = "black" if score > 0.6 * scores.max() else "white"
            left.text(head, layer, f"{score:.2f}", ha="center", va="center", color=ink, fontsize=9)
        left.set(xlabel="head", ylabel="layer", title="importance of heads")
        left.set_xticks(range(scores.shape[1]))
        left.set_yticks(range(len(scores)))
        fig.colorbar(image, ax=left)
        right.bar(range(len(angles)), angles, color=ORANGE)
        right.set_xticks(range(len(angles)))
        right.set(xlabel="layer", ylabel="angle / π", title="how far a layer turns the stream")
    return fig


def sparsity(shares, curves, floor):
    """Loss by the share of weights that are zero, for several ways to choose them.

    shares (n,); curves: {way: losses (n,)}; floor: the loss of the whole model.
    """
    from matplotlib.ticker import PercentFormatter

    with style():
        fig, ax = figure(size=(6.8, 3.4))
        for (way, losses), color in zip(curves.items(), (GRAY, BLUE, ORANGE)):
            ax.plot(shares, losses, "o-", color=color, markersize=4, label=way)
        ax.axhline(floor, color=RED, linestyle="--", linewidth=1.2, label="nothing pruned")
        ax.set(yscale="log", xlabel="weights that are zero", ylabel="loss (nats per token)")
        ticks = [
            t for t in (0.3, 0.5, 1, 2, 4, 8) if 0.8 * floor < t < 1.3 * np.max([*curves.values()])
        ]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.set_xticks(shares)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.legend(loc="upper left")
    return fig


WAYS = {
    "as trained": GRAY,
    "trained small": RED,
    "distilled": PURPLE,
    "pruned": ORANGE,
    "quantized": BLUE,
    "combined": GREEN,
}


def frontier(models, floor):
    """All ways to be small in one picture: bytes against loss; below and left is better.

    models: list of (name, way, bytes, loss), way one of WAYS; floor: entropy of the text.
    """
    with style():
        fig, ax = figure(size=(9.0, 4.6))
        for way, color in WAYS.items():
            found = [(size, loss) for _, its, size, loss in models if its == way]
            if found:
                ax.plot(*zip(*found), "o", color=color, markersize=7, label=way)
        best = []
        for _, _, size, loss in sorted(models, key=lambda model: model[2:]):
            if not best or loss < best[-1][1]:
                best.append((size, loss))
        ax.step(*zip(*best), where="post", color=GRAY, linewidth=1, zorder=0)
        ax.axhline(floor, color=RED, linestyle="--", linewidth=1, label="floor")
        ax.set(xscale="log", yscale="log", xlabel="bytes", ylabel="loss (nats per token)")
        low, high = min(m[2] for m in models), max(m[2] for m in models)
        ticks = [t for t in (1e5, 2e5, 5e5, 1e6, 2e6, 5e6) if 0.7 * low < t < 1.5 * high]
        ax.set_xticks(ticks, [f"{t / 1e6:g} MB" for t in ticks])
        ticks = [t for t in (0.3, 0.4, 0.5, 0.7, 1, 2, 4) if t < 1.3 * max(m[3] for m in models)]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.set_xlim(0.75 * low, 2.2 * high)
        ax.legend(loc="upper right")
        _label(ax, [(name, (size, loss)) for name, _, size, loss in models])
    return fig


def _label(ax, points):
    """Names beside points: to the right or to the left, above or below, where nothing is yet."""
    ax.figure.draw_without_rendering()  # the layout says where a point lies
    pixels = [ax.transData.transform(point) for _, point in points]
    taken = [(x - 6, x + 6, y - 6, y + 6) for x, y in pixels]
    for (name, point), (x, y) in zip(points, pixels):
        width = 6.2 * len(name)
        for right, up in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            left, bottom = x + 8 if right > 0 else x - 8 - width, y + (2 if up > 0 else -16)
            box = (left, left + width, bottom, bottom + 13)
            if not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        where = {"ha": "left" if right > 0 else "right", "va": "bottom" if up > 0 else "top"}
        ax.annotate(
            *(name, point, (6 * right, 2 * up)), textcoords="offset points", fontsize=8.5, **where
        )


def _overlap(a, b):
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]
