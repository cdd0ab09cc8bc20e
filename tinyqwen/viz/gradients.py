"""Pictures of chapter 01: Jacobians, what broadcasting copies, and the error of differences."""

import numpy as np

from tinyqwen.viz.style import BLUE, DIVERGING, GRAY, ORANGE, RED, SEQUENTIAL, figure, style


def jacobian_maps(**jacobians):
    """Jacobians side by side; what is zero is white.

    jacobians: {title: matrix (outputs, inputs)}.  Returns a Figure.
    """
    with style():
        fig, axes = figure(1, len(jacobians), size=(2.5 * len(jacobians), 2.7), squeeze=False)
        for ax, (title, matrix) in zip(axes[0], jacobians.items()):
            limit = np.abs(matrix).max(initial=1e-12)
            ax.imshow(matrix, cmap=DIVERGING, vmin=-limit, vmax=limit)
            rows, columns = matrix.shape
            ax.set_xticks(np.arange(-0.5, columns), minor=True)
            ax.set_yticks(np.arange(-0.5, rows), minor=True)
            ax.grid(which="minor", color=GRAY, linewidth=0.4)
            ax.tick_params(which="both", length=0, labelleft=False, labelbottom=False)
            share = np.count_nonzero(matrix) / matrix.size
            ax.set_title(f"{title}: {share:.0%} not zero", fontsize=10)
            ax.set(xlabel=f"{columns} inputs", ylabel=f"{rows} outputs")
    return fig


def broadcast_and_sum(row, g):
    """Forward, a row is copied to every row of a matrix; backward, the copies' gradients are added.

    row (n,): the values that are broadcast;  g (m, n): the gradient of the result.
    Returns a Figure.
    """
    m, n = g.shape
    with style():
        fig, axes = figure(1, 2, size=(9, 0.55 * m + 0.9))
        sides = (
            ("forward: one row becomes many", row[None], np.broadcast_to(row, g.shape), BLUE),
            ("backward: many gradients become one, their sum", g.sum(0)[None], g, RED),
        )
        for ax, (title, small, large, color) in zip(axes, sides):
            _grid(ax, small, 0, (m - 1) / 2, color, filled=True)
            _grid(ax, large, n + 1.6, 0, color)
            start, end = (n + 0.15, m / 2), (n + 1.45, m / 2)
            if color == RED:
                start, end = end, start
            ax.annotate("", end, start, arrowprops=dict(arrowstyle="-|>", color=color, lw=2))
            ax.set_title(title)
            ax.set(xlim=(-0.1, 2 * n + 1.7), ylim=(m + 0.1, -0.1), aspect="equal")
            ax.axis("off")
    return fig


def _grid(ax, values, left, top, color, filled=False):
    from matplotlib.patches import Rectangle

    for (i, j), value in np.ndenumerate(values):
        ax.add_patch(
            Rectangle(
                (left + j, top + i),
                1,
                1,
                facecolor=color if filled else "white",
                alpha=0.2 if filled else 1,
                edgecolor=GRAY,
            )
        )
        ax.text(left + j + 0.5, top + i + 0.5, f"{value:g}", ha="center", va="center")


def difference_errors(steps, **errors):
    """Error of a central difference against its step h, on logarithmic axes.

    steps: h (n,);  errors: {label: relative errors (n,)}.  Returns a Figure.
    """
    with style():
        fig, ax = figure(size=(6.4, 3.4))
        for color, (label, values) in zip((ORANGE, BLUE), errors.items()):
            values = np.maximum(np.asarray(values, np.float64), 1e-17)
            ax.loglog(steps, values, "o-", color=color, markersize=3.5, label=label)
        ax.set(xlabel="step h", ylabel="relative error of the slope")
        ax.legend(loc="lower left")
        ax.grid(color=GRAY, alpha=0.2)
    return fig


def transitions(characters, **tables):
    """Probabilities of the next character given the present one, one map for each table.

    characters: their names (n,);  tables: {title: probabilities (n present, n next)}.
    Returns a Figure.
    """
    shown = [{" ": "␣", "\n": "⏎"}.get(c, c) for c in characters]
    with style():
        fig, axes = figure(1, len(tables), size=(4.7 * len(tables), 4.3), squeeze=False)
        for ax, (title, table) in zip(axes[0], tables.items()):
            image = ax.imshow(table, cmap=SEQUENTIAL, vmin=0, vmax=1)
            ax.set_xticks(range(len(shown)), shown, fontsize=8.5)
            ax.set_yticks(range(len(shown)), shown, fontsize=8.5)
            ax.tick_params(length=0)
            ax.set(xlabel="next character", ylabel="present character", title=title)
        fig.colorbar(image, ax=axes[0], shrink=0.8, label="probability")
    return fig
