"""Straight lines on logarithmic axes: how noise falls with the batch, and loss with the model."""

import numpy as np

from tinyqwen.viz.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    SKY,
    YELLOW,
    color_of,
    figure,
    plain_log,
    style,
)


def power_line(x, y, line, xlabel, ylabel, others=None):
    """Points, and the power law through them, on logarithmic axes.

    x, y: the points; line: {name: (factor, exponent)}, drawn as factor · x^exponent, at most one;
    others: {name: (x, y)}, points that the line was not fitted to.
    """
    others = others or {}
    every = np.array([*x, *(point[0] for point in others.values())], np.float64)
    span = np.geomspace(every.min() / 1.3, every.max() * 1.3, 50)
    with style():
        fig, ax = figure(size=(7.2, 3.6))
        for name, (factor, exponent) in line.items():
            ax.plot(span, factor * span**exponent, color=GRAY, lw=1.3, label=name)
        ax.plot(x, y, "o", color=BLUE, ms=7, label="measured")
        for (name, (px, py)), color in zip(others.items(), (ORANGE, RED, GREEN)):
            ax.plot([px], [py], "D", color=color, ms=8, label=name)
        ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
        plain_log(ax.xaxis)
        plain_log(ax.yaxis)
        ax.grid(color=GRAY, alpha=0.2)
        ax.legend(loc="best")
    return fig


def shares(rows, xlabel):
    """How a whole is divided, in several ways: a stacked bar of shares for each.

    rows: {name of the bar: {part: amount}}. Parts of the model have their colors; what is none is
    colored in turn.
    """
    from matplotlib.ticker import PercentFormatter

    with style():
        fig, ax = figure(size=(9.0, 0.75 * len(rows) + 0.8))
        for y, parts in enumerate(rows.values()):
            left, total = 0.0, sum(parts.values())
            for (part, amount), other in zip(parts.items(), (SKY, GRAY, RED, YELLOW)):
                share, color = amount / total, color_of(part, other)
                ax.barh(y, share, left=left, color=color, height=0.62, edgecolor="white")
                if share > 0.035:
                    text = f"{part}\n{share:.0%}" if share > 0.09 else f"{share:.0%}"
                    ink = "white" if color in (BLUE, RED) else "black"
                    middle = left + share / 2
                    ax.text(middle, y, text, ha="center", va="center", fontsize=8.5, color=ink)
                left += share
        ax.set_yticks(range(len(rows)), list(rows))
        ax.invert_yaxis()
        ax.set(xlim=(0, 1), xlabel=xlabel)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        ax.tick_params(axis="y", length=0)
    return fig
