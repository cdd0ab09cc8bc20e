"""Pictures of weights in few bits: marks, scales, outliers, feedback, words, bytes against loss."""

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


def number_lines(rows):
    """Weights above a number line, and below it the marks that they are rounded to.

    rows: {title: (weights (n,), marks (m,))}; a line leads from each weight to its mark
    """
    low = min(min(w.min(), m.min()) for w, m in rows.values())
    high = max(max(w.max(), m.max()) for w, m in rows.values())
    with style():
        fig, axes = figure(len(rows), 1, size=(9.4, 1.15 * len(rows) + 0.3), squeeze=False)
        for ax, (title, (weights, marks)) in zip(axes[:, 0], rows.items()):
            nearest = marks[np.abs(weights[:, None] - marks).argmin(1)]
            for weight, mark in zip(weights, nearest):
                ax.plot([weight, mark], [1, 0], color=GRAY, linewidth=0.8, alpha=0.6)
            ax.plot(weights, np.ones_like(weights), "o", color=BLUE, markersize=4)
            ax.plot(marks, np.zeros_like(marks), "|", color=RED, markersize=14, markeredgewidth=2)
            ax.axhline(0, color="black", linewidth=0.8, zorder=0)
            ax.set(title=title, ylim=(-0.5, 1.3), xlim=(low - 0.05, high + 0.05))
            ax.set_yticks([0, 1], ["marks", "weights"])
            ax.tick_params(axis="y", length=0)
            for side in ("left", "bottom"):
                ax.spines[side].set_visible(False)
    return fig


def one_output(weights, rounded, marks, title):
    """The weights of one output, input by input, and the marks that they are rounded to.

    weights, rounded (in,); marks (groups, 2ᵇ): those of each group of neighboring inputs. A line
    leads from a weight to its mark.
    """
    from matplotlib.collections import LineCollection

    size, x = len(weights) // len(marks), np.arange(len(weights))
    with style():
        fig, ax = figure(size=(6.4, 3.0))
        for group, its in enumerate(marks):
            ax.hlines(its, size * group - 0.5, size * (group + 1) - 0.5, color=GRAY, lw=0.5)
        for edge in range(size, len(weights), size):
            ax.axvline(edge - 0.5, color=GRAY, linewidth=0.4, linestyle=":")
        lines = [[(i, a), (i, b)] for i, a, b in zip(x, weights, rounded)]
        ax.add_collection(LineCollection(lines, colors=RED, linewidths=1.1))
        ax.plot(x, weights, ".", color=BLUE, markersize=3)
        top = 1.08 * max(np.abs(weights).max(), np.abs(marks).max())
        ax.set(xlabel="input", ylabel="weight", xlim=(-1, len(weights)), ylim=(-top, top))
        ax.set_title(title, fontsize=10)
    return fig


def granularity(rows):
    """Error of a matrix by who shares a scale, for several numbers of bits.

    rows: {who shares: {bits: (bits a weight in all, relative error)}}
    """
    with style():
        fig, ax = figure(size=(6.8, 3.5))
        for color, (name, points) in zip(PALETTE, rows.items()):
            x, y = zip(*points.values())
            ax.plot(x, y, "o-", color=color, markersize=5, label=name)
        ax.set(xlabel="bits a weight, scales and zeros included", yscale="log")
        ax.set(ylabel="error, as a share of the weights")
        plain_log(ax.yaxis)
        ax.legend(loc="upper right", title="a scale for each")
    return fig


def outliers(sizes, scale=3):
    """How large each input feature of a layer is on a text: a dot a feature, for every layer.

    sizes: {layer's name: root mean squares (in,)}; features of more than `scale` times the median
    are drawn in red
    """
    with style():
        fig, ax = figure(size=(9.4, 3.4))
        for place, values in enumerate(sizes.values()):
            x = place + np.linspace(-0.32, 0.32, len(values))
            large = values > scale * np.median(values)
            ax.plot(x[~large], values[~large], ".", color=BLUE, markersize=3)
            ax.plot(x[large], values[large], "o", color=RED, markersize=4)
            ax.plot(place + np.array([-0.4, 0.4]), [np.median(values)] * 2, color=GRAY)
        ax.set_xticks(range(len(sizes)), sizes, rotation=30, ha="right")
        ax.set(ylabel="size of a feature (rms)", yscale="log")
        plain_log(ax.yaxis)
    return fig


def feedback(hessian, weight, rounded, repaired, fed_back):
    """Two weights to be rounded to whole numbers: curves of equal error of the layer's output.

    hessian (2, 2); weight (2,): the exact ones; rounded: each to its nearest; repaired: after the
    first is rounded and the second has made up for it; fed_back: that, rounded
    """
    x = np.linspace(-1.3, 2.3, 200)
    grid = np.stack(np.meshgrid(x, x), -1) - weight
    error = np.einsum("...i,ij,...j->...", grid, hessian, grid)
    with style():
        fig, ax = figure(size=(7.6, 4.4))
        levels = np.array([0.1, 0.3, 0.6, 1, 2, 4, 8])
        ax.contour(x, x, error, levels, cmap=SEQUENTIAL, linewidths=1)
        whole = np.arange(-1, 3)
        for a in whole:
            ax.plot([a] * len(whole), whole, "s", color=GRAY, markersize=4)
        ax.plot(*weight, "o", color="black", markersize=7, label="the weights")
        ax.plot(*rounded, "X", color=RED, markersize=10, label="each to its nearest")
        steps = np.stack([weight, repaired, fed_back])
        ax.plot(*steps.T, "--", color=GREEN, linewidth=1.4)
        ax.plot(*repaired, "o", color=GREEN, markersize=6, label="second made up for the first")
        ax.plot(*fed_back, "P", color=GREEN, markersize=11, label="and then rounded")
        ax.set(xlabel="first weight", ylabel="second weight", xlim=(-1.3, 2.3), ylim=(-1.3, 2.3))
        ax.set_aspect("equal")
        ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return fig


def layer_errors(errors):
    """Error of each layer's output: rounded to the nearest, and with feedback.

    errors: {way: {layer's name: relative error}}
    """
    width = 0.8 / len(errors)
    with style():
        fig, ax = figure(size=(9.6, 3.3))
        for i, (way, found) in enumerate(errors.items()):
            x = np.arange(len(found)) + (i + 0.5) * width - 0.4
            ax.bar(x, list(found.values()), 0.9 * width, color=PALETTE[i], label=way)
        ax.set_xticks(range(len(found)), found, rotation=40, ha="right", fontsize=8.5)
        ax.set(ylabel="error of the output, as a share")
        ax.set_ylim(0, 1.15 * ax.get_ylim()[1])
        ax.legend(loc="upper left", ncols=2)
    return fig


def word(codes, bits):
    """One int32 word: its 32 bits, and the codes in them, the first one at the right."""
    from matplotlib.patches import Rectangle

    tints = ("#CFE3F1", "#FBE6C2")
    with style():
        fig, ax = figure(size=(9.4, 1.4))
        for i, code in enumerate(codes):
            right = 32 - i * bits
            for b in range(bits):
                left = right - b - 1
                ax.add_patch(Rectangle((left, 0), 1, 1, facecolor=tints[i % 2], edgecolor="white"))
                ax.text(left + 0.5, 0.5, str(code >> b & 1), ha="center", va="center")
            ax.text(right - bits / 2, 1.25, f"code {i}: {code}", ha="center", fontsize=8.5)
        for b in (0, 8, 16, 24, 31):
            ax.text(31.5 - b, -0.4, f"bit {b}", ha="center", fontsize=8, color=GRAY)
        ax.set(xlim=(-0.1, 32.1), ylim=(-0.7, 1.8))
        ax.axis("off")
    return fig


def bytes_against_loss(points, floor):
    """All forms of one model: how large its weights are, and what its loss is.

    points: {name: (bytes, loss, way)}, way "float", "rtn" or "gptq"; floor: the text's entropy
    """
    look = {"float": (BLUE, "s"), "rtn": (ORANGE, "o"), "gptq": (GREEN, "D")}
    with style():
        fig, ax = figure(size=(8.6, 4.2))
        seen = set()
        for name, (size, loss, way) in points.items():
            color, marker = look[way]
            label = {"rtn": "to the nearest", "gptq": "GPTQ"}.get(way) if way not in seen else None
            seen.add(way)
            ax.plot(size / 1024, loss, marker, color=color, markersize=7, label=label)
            up = way != "gptq"
            where = {"textcoords": "offset points", "rotation": 30 if up else -30, "fontsize": 8}
            where |= {"va": "bottom" if up else "top", "rotation_mode": "anchor"}
            ax.annotate(
                name.removesuffix(", gptq"), (size / 1024, loss), (6, 5 if up else -5), **where
            )
        ax.axhline(floor, color=RED, linestyle="--", linewidth=1.2)
        where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        ax.annotate(
            f"floor: entropy of the text, {floor:.3f}",
            (0.99, floor),
            (0, -4),
            **where,
            **{"color": RED, "va": "top", "ha": "right", "fontsize": 9},
        )
        ax.set(xscale="log", yscale="log", xlabel="weights (KiB)", ylabel="loss (nats per token)")
        plain_log(ax.xaxis)
        plain_log(ax.yaxis)
        ax.set_xlim(None, 1.25 * ax.get_xlim()[1])
        ax.set_ylim(0.87 * floor, None)
        ax.legend(loc="upper right")
    return fig


def token_times(rows):
    """Time of one vector through a matrix, by how its weights are kept; and the bytes it reads.

    rows: {name: (milliseconds, bytes)}
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(8.8, 2.7))
        for ax, values, label in (
            (left, [ms for ms, _ in rows.values()], "ms"),
            (right, [size / 2**20 for _, size in rows.values()], "MiB that are read"),
        ):
            ax.barh(range(len(rows)), values, 0.6, color=[BLUE, SKY, ORANGE, GREEN][: len(rows)])
            ax.set_yticks(range(len(rows)), rows)
            ax.invert_yaxis()
            ax.tick_params(axis="y", length=0)
            ax.set(xlabel=label)
            for place, value in enumerate(values):
                ax.text(value, place, f" {value:.2g}", va="center", fontsize=9)
            ax.set_xlim(0, 1.15 * max(values))
    return fig
