"""Matrices as maps: what a linear layer does, and what several of them cannot do."""

import numpy as np

from tinyqwen.viz.style import BLUE, DIVERGING, GRAY, ORANGE, figure, style


def product(x, weight, bias=None):
    """x Wᵀ (+ b) = y as tables of numbers, each with its axes named.

    x (tokens, in), weight (out, in), bias (out,) or None; small ones. Returns a Figure.
    """
    x, weight = np.asarray(x), np.asarray(weight)
    tables = [("x", x, "token", "in"), ("Wᵀ", weight.T, "in", "out")]
    y = x @ weight.T
    if bias is not None:
        tables.append(("b", np.asarray(bias)[None], "", "out"))
        y = y + bias
    tables.append(("y", y, "token", "out"))
    limit = max(np.abs(table).max() for _, table, _, _ in tables)
    with style():
        rows = max(table.shape[0] for _, table, _, _ in tables)
        widths = [table.shape[1] for _, table, _, _ in tables]
        fig, panels = figure(
            1, len(tables), size=(9.2, 0.62 * rows + 1.1), width_ratios=widths, squeeze=False
        )
        for panel, sign, (name, table, down, along) in zip(
            panels[0], ["", "×", "+" if bias is not None else "=", "="], tables
        ):
            panel.imshow(table, cmap=DIVERGING, vmin=-1.6 * limit, vmax=1.6 * limit)
            for (i, j), value in np.ndenumerate(table):
                panel.text(j, i, f"{value:g}", ha="center", va="center", fontsize=11)
            shape = table.shape if down else table.shape[1:]
            panel.set_title(f"{sign}  {name}  {shape}".strip())
            panel.set(xticks=[], yticks=[], xlabel=along, ylabel=down)
    return fig


def decisions(models, points, labels):
    """What classifiers of points in the plane decide, one panel each, in areas of two colors.

    models: {title: function from (n, 2) to scores (n,), above 0 for label 1}
    points (n, 2), labels (n,) 0 or 1. Returns a Figure.
    """
    from matplotlib.colors import ListedColormap

    limit = 1.15 * np.abs(points).max()
    line = np.linspace(-limit, limit, 121)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    with style():
        fig, panels = figure(
            1, len(models), size=(4.0 * len(models) + 0.6, 3.9), sharey=True, squeeze=False
        )
        for panel, (title, model) in zip(panels[0], models.items()):
            decided = (np.asarray(model(grid)) > 0).reshape(len(line), -1)
            panel.pcolormesh(line, line, decided, cmap=ListedColormap(["#FBE8C2", "#CBE3F1"]))
            right = np.mean((np.asarray(model(points)) > 0) == (labels == 1))
            for label, color, marker in ((0, ORANGE, "o"), (1, BLUE, "s")):
                panel.plot(*points[labels == label].T, marker, color=color, mec="white", ms=5)
            panel.set_title(f"{title}: {right:.0%} right")
            panel.set_aspect("equal")
            panel.set_xlabel("first feature")
        panels[0][0].set_ylabel("second feature")
    return fig


def averaging(rounds):
    """Tokens in the plane, before and after rounds of weighted averaging.

    rounds: {title: positions (tokens, 2)}; the first ones stay visible as rings. Returns a Figure.
    """
    start = next(iter(rounds.values()))
    limit = 1.15 * np.abs(start).max()
    with style():
        fig, panels = figure(1, len(rounds), size=(2.4 * len(rounds) + 0.2, 3.0), sharey=True)
        for panel, (title, positions) in zip(panels, rounds.items()):
            panel.plot(*start.T, "o", mfc="none", mec=GRAY, ms=7)
            panel.plot(*positions.T, "o", color=BLUE, mec="white", ms=7)
            panel.set(xlim=(-limit, limit), ylim=(-limit, limit), title=title)
            panel.set_aspect("equal")
            panel.set_xlabel("first feature")
        panels[0].set_ylabel("second feature")
    return fig
