"""Activation functions, their slopes, and what gates and bent lines make of them."""

import numpy as np

from tinyqwen.viz.style import BLUE, DIVERGING, GRAY, GREEN, ORANGE, PURPLE, RED, figure, style

_COLORS = {"relu": ORANGE, "sigmoid": GREEN, "tanh": PURPLE, "gelu": RED, "silu": BLUE}
_DASHES = {"gelu": (4, 1.5), "tanh": (1.5, 1.5), "sigmoid": (6, 1.5, 1.5, 1.5)}


def activations(functions, limit=4.0):
    """Activation functions on the left, their slopes on the right.

    functions: {name: NumPy function that returns (out, vjp)}; the slope is the VJP of ones.
    Returns a Figure.
    """
    x = np.linspace(-limit, limit, 801)
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.9))
        for name, function in functions.items():
            out, vjp = function(x)
            look = {"color": _COLORS.get(name), "dashes": _DASHES.get(name, (None, None))}
            left.plot(x, out, label=name, **look)
            right.plot(x, vjp(np.ones_like(x))[0], **look)
        for panel in (left, right):
            panel.axhline(0, color=GRAY, linewidth=0.6)
            panel.axvline(0, color=GRAY, linewidth=0.6)
            panel.set_xlabel("x")
        left.set(title="value", ylabel="f(x)", ylim=(-1.2, 3.2))
        right.set(title="slope", ylabel="f′(x)", ylim=(-0.25, 1.25))
        left.legend(loc="upper left")
    return fig


def bent_lines(x, units):
    """A one-dimensional feed-forward block: what each hidden unit adds, and their sum.

    x (n,) inputs in order, units (n, inner): the contributions. Returns a Figure.
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(9.2, 3.2), sharey=True)
        for i, contribution in enumerate(units.T):
            left.plot(x, contribution, label=f"unit {i + 1}")
        right.plot(x, units.sum(-1), color="black")
        left.set(title="what each hidden unit adds", ylabel="contribution to the output")
        right.set(title="the block's output: their sum")
        left.legend(loc="lower left")
        for panel in (left, right):
            panel.set_xlabel("input x")
            panel.axhline(0, color=GRAY, linewidth=0.6)
    return fig


def gate_map(function, limit=4.0):
    """A function of gate and up, as a map over both.

    function: NumPy function of (gate, up) that returns (out, vjp). Returns a Figure.
    """
    line = np.linspace(-limit, limit, 161)
    gate, up = np.meshgrid(line, line)
    out = function(gate, up)[0]
    size = np.abs(out).max()
    with style():
        fig, ax = figure(size=(5.6, 4.2))
        image = ax.pcolormesh(
            line, line, out, cmap=DIVERGING, vmin=-size, vmax=size, rasterized=True
        )
        levels = [-8, -4, -2, -1, 1, 2, 4, 8]
        lines = ax.contour(line, line, out, levels=levels, colors="#404040", linewidths=0.7)
        ax.clabel(lines, fmt="%g", fontsize=8)
        ax.set(xlabel="gate", ylabel="up", title="silu(gate) · up")
        fig.colorbar(image, ax=ax, label="output")
    return fig


def dropped(masks):
    """Which entries dropout kept, for several draws: a row a draw, a column a feature.

    masks: (draws, features), 0 where dropped, else the factor. Returns a Figure.
    """
    from matplotlib.colors import ListedColormap

    with style():
        fig, ax = figure(size=(7.6, 1.9))
        ax.pcolormesh(masks > 0, cmap=ListedColormap(["#E6E6E6", BLUE]), edgecolors="white", lw=1.5)
        for (i, j), value in np.ndenumerate(masks):
            color = "white" if value else GRAY
            ax.text(j + 0.5, i + 0.5, f"{value:g}", ha="center", va="center", color=color)
        ax.set(xticks=[], xlabel="feature", ylabel="draw")
        ax.set_yticks(np.arange(len(masks)) + 0.5, np.arange(len(masks)) + 1)
        ax.tick_params(length=0)
        ax.invert_yaxis()
    return fig
