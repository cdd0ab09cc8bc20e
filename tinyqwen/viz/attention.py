"""Attention: weights as maps, kernel regression, and what the scale does."""

import numpy as np

from tinyqwen.viz.style import BLUE, GRAY, ORANGE, PALETTE, SEQUENTIAL, figure, style


def kernel_regression(keys, values, queries, weights):
    """Noisy points with the curve of their weighted averages, and the weights.

    keys, values: (n,) the points; queries: (m,) where the curve is drawn; weights: (m, n)
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.3))
        left.plot(keys, values, "o", color=GRAY, markersize=4, label="the points (key, value)")
        left.plot(queries, weights @ values, color=BLUE, label="weighted average")
        left.set(xlabel="x", ylabel="y", title="the answer to every query")
        left.legend(loc="lower right")
        extent = (0, len(keys), queries[-1], queries[0])
        image = right.imshow(
            weights, cmap=SEQUENTIAL, aspect="auto", extent=extent, interpolation="nearest"
        )
        right.set(xlabel="key, from left to right", ylabel="query x", title="the weights")
        fig.colorbar(image, ax=right, label="weight")
    return fig


def weight_maps(maps, rows=None, columns=None, numbers=True, axes=("query", "key")):
    """Matrices of queries by keys, with their numbers written in.

    maps: {title: (queries, keys)}, a panel for each; -inf is left blank
    rows, columns: names of queries and keys, or None to count them; columns default to rows
    numbers: write them in, and color each panel by its own range; or one range for all, and a bar
    """
    columns = rows if columns is None else columns
    everything = np.stack(list(maps.values()))
    with style():
        width = min(4.4, 10.5 / len(maps))
        fig, panels = figure(1, len(maps), size=(width * len(maps), width + 0.3), squeeze=False)
        for ax, (title, matrix) in zip(panels[0], maps.items()):
            finite = np.ma.masked_invalid(matrix if numbers else everything)
            least, most = min(0.0, finite.min()), finite.max()
            shown = np.ma.masked_invalid(matrix)
            image = ax.imshow(shown, cmap=SEQUENTIAL, vmin=least, vmax=most)
            if rows is not None:
                ax.set_yticks(range(len(rows)), rows)
                ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
            if numbers:
                _write(ax, np.asarray(matrix, float), least + 0.6 * (most - least))
            ax.set(title=title, xlabel=axes[1], ylabel=axes[0])
        if not numbers:
            fig.colorbar(image, ax=panels[0], shrink=0.8, label="weight")
    return fig


def _write(ax, matrix, bright):
    for (row, column), value in np.ndenumerate(matrix):
        finite = np.isfinite(value)
        text = f"{value + 0.0:.2f}".removesuffix(".00") if finite else "-∞"
        color = "black" if not finite or value > bright else "white"
        size = 10 if matrix.shape[1] <= 6 else 8
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=size)


def against_depth(depths, panels):
    """Curves against the length of a query, on a logarithmic axis, a panel for each quantity.

    depths: (n,);  panels: {title: {label: (n,)}}
    """
    with style():
        fig, axes = figure(1, len(panels), size=(10.2, 3.1), squeeze=False)
        for ax, (title, curves) in zip(axes[0], panels.items()):
            for color, (label, values) in zip((ORANGE, BLUE, *PALETTE[2:]), curves.items()):
                ax.plot(depths, values, "o-", markersize=3, color=color, label=label)
            ax.set_xscale("log", base=2)
            ax.set(title=title, xlabel="length of a query, $d_h$")
            ax.set_ylim(0, None)
        axes[0, 0].set(yscale="log", ylim=(0.5, None))
        axes[0, 0].legend(loc="upper left")
    return fig
