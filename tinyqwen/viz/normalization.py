"""Normalization and the residual stream: sizes through depth, what is averaged, how it is wired."""

import numpy as np

from tinyqwen.viz.style import BLUE, DIVERGING, GRAY, GREEN, ORANGE, PALETTE, SKY, figure, style

LARGEST = float(np.finfo(np.float32).max)
NORM = "#D4D4D4"  # a norm's gray, light enough to be written on


def depth(curves, ylabel):
    """Sizes by layer on a logarithmic axis, one line for each model.

    curves: {name: list of sizes, one a layer}; a line ends with a cross where the next size is no
    number of float32's, and then the largest of those is drawn. Names that begin with "with " are
    drawn dashed, in the colors of the others. Returns a Figure.
    """
    with style():
        fig, ax = figure(size=(7.6, 3.7))
        colors = {True: iter(PALETTE), False: iter(PALETTE)}
        for name, sizes in curves.items():
            dashed = name.startswith("with ")
            sizes = np.asarray(sizes, np.float64)
            end = np.flatnonzero(~(sizes <= LARGEST))
            shown = sizes[: end[0]] if len(end) else sizes
            color, dashes = next(colors[dashed]), (4, 2) if dashed else (None, None)
            ax.plot(shown, label=name, color=color, dashes=dashes)
            if len(end):
                ax.plot(len(shown) - 1, shown[-1], "X", color=color, ms=9)
                ax.axhline(LARGEST, color=GRAY, linestyle="--", lw=1.2)
                across = ax.get_yaxis_transform()  # x from 0 to 1, y in numbers
                words = "the largest number in float32"
                ax.text(0.99, LARGEST, words, transform=across, ha="right", va="bottom", fontsize=9)
        ax.set_yscale("log")
        ax.grid(axis="y", color=GRAY, alpha=0.2)
        ax.set(xlabel="layers passed", ylabel=ylabel)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def directions(x, normalized):
    """Vectors of two entries before and after normalization, one panel for each kind.

    x (n, 2); normalized: {title: (n, 2)}. Returns a Figure.
    """
    limit = 1.1 * np.abs(x).max()
    with style():
        fig, panels = figure(1, len(normalized), size=(8.4, 4.2), sharey=True)
        for panel, (title, after) in zip(panels, normalized.items()):
            angle = np.linspace(0, 2 * np.pi, 200)
            panel.plot(*np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)]), color=GRAY, lw=0.8)
            for start, end in zip(x, after):
                panel.plot(*np.stack([start, end]).T, color=SKY, lw=0.9, zorder=1)
            panel.plot(*x.T, "o", mfc="white", mec=GRAY, ms=6, label="before")
            panel.plot(*after.T, "o", color=BLUE, ms=7, label="after")
            panel.set(title=title, xlabel="first entry", xlim=(-limit, limit), ylim=(-limit, limit))
            panel.set_aspect("equal")
        panels[0].set_ylabel("second entry")
        panels[0].legend(loc="upper left")
    return fig


def averages(x, kinds):
    """A small table, and what kinds of normalization make of it; a frame around what is averaged.

    x (tokens, features); kinds: {title: (normalized table, 0 for columns or 1 for rows)}.
    Returns a Figure.
    """
    from matplotlib.patches import Rectangle

    tables = {"x": (x, None), **kinds}
    with style():
        fig, panels = figure(1, len(tables), size=(2.75 * len(tables), 0.62 * len(x) + 1.0))
        for panel, (title, (table, axis)) in zip(panels, tables.items()):
            limit = 1.6 * np.abs(table).max()
            panel.imshow(table, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
            for (i, j), value in np.ndenumerate(table):
                text = f"{value:g}" if axis is None else f"{value:.2f}"
                panel.text(j, i, text, ha="center", va="center", fontsize=10)
            rows, columns = table.shape
            for k in range(0 if axis is None else table.shape[1 - axis]):
                corner, size = (
                    ((k - 0.44, -0.44), (0.88, rows - 0.12))
                    if axis == 0
                    else ((-0.44, k - 0.44), (columns - 0.12, 0.88))
                )
                panel.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", lw=1.6))
            panel.set(title=title, xticks=[], yticks=[], xlabel="feature")
            panel.spines[:].set_visible(False)
        panels[0].set_ylabel("token")
    return fig


def unequal_lengths(lengths):
    """Texts of unequal length in one batch: tokens, padding, and how many texts reach each place.

    lengths: tokens of each text. Returns a Figure.
    """
    from matplotlib.colors import ListedColormap

    real = np.arange(max(lengths)) < np.asarray(lengths)[:, None]
    with style():
        fig, (top, bottom) = figure(2, 1, size=(7.2, 3.6), sharex=True, height_ratios=(3, 2))
        colors = ListedColormap(["#E6E6E6", BLUE])
        places = np.arange(real.shape[1] + 1) - 0.5
        top.pcolormesh(places, np.arange(len(lengths) + 1), real, cmap=colors, ec="white", lw=1.5)
        top.set(ylabel="text", yticks=[], title="tokens (blue) and padding (gray)")
        top.invert_yaxis()
        bottom.bar(np.arange(real.shape[1]), real.sum(0), color=ORANGE, width=0.8)
        bottom.set(xlabel="position in the text", ylabel="texts that\nreach it")
        bottom.set_xticks(range(real.shape[1]))
    return fig


def wirings():
    """Post-norm and pre-norm side by side, the stream from left to right.

    Returns a Figure.
    """
    with style():
        fig, (post, pre) = figure(2, 1, size=(8.6, 3.9))
        for ax, title in ((post, "post-norm: norm(x + f(x))"), (pre, "pre-norm: x + f(norm(x))")):
            ax.set(xlim=(0, 10.4), ylim=(-0.75, 1.35), title=title)
            ax.axis("off")
            ax.plot([0, 10.3], [0, 0], color=GRAY if ax is post else GREEN, lw=3, zorder=1)
            ax.plot(10.3, 0, ">", color=GRAY if ax is post else GREEN, ms=9)
        for start in (0.4, 5.4):
            _branch(post, start, [("f", 1.6)])
            _box(post, start + 4.05, 0, "norm", NORM)
            _branch(pre, start, [("norm", 0.9), ("f", 2.3)])
    return fig


def _branch(ax, start, boxes):
    """A way out of the stream, through boxes, and back into it by a sum."""
    out, back = start + 0.1, start + 3.1
    ax.plot([out, out, back, back], [0, 0.95, 0.95, 0], color=GRAY, lw=1.5, zorder=1)
    for label, x in boxes:
        _box(ax, start + x, 0.95, label, NORM if label == "norm" else "white")
    ax.plot(back, 0, "o", mfc="white", mec="black", ms=15, zorder=3)
    ax.text(back, -0.01, "+", ha="center", va="center", fontsize=12, zorder=4)


def _box(ax, x, y, label, color):
    ax.text(
        *(x, y, label),
        ha="center",
        va="center",
        zorder=3,
        bbox={"boxstyle": "round,pad=0.4", "facecolor": color, "edgecolor": "black"},
    )
