"""One look for every picture of the project: palette, fonts, figure size.

The colors are Okabe and Ito's (2008), told apart by readers with any kind of color vision. Maps of
magnitudes are drawn in "viridis", of signed values in "RdBu_r" centered on zero.
"""

from contextlib import contextmanager

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GRAY = "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GRAY)
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"

_RC = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "PingFang SC"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": False,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


@contextmanager
def style():
    """Matplotlib's settings for everything drawn inside."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context({**_RC, "axes.prop_cycle": cycler(color=PALETTE)}):
        yield


def figure(rows=1, columns=1, size=None, **kwargs):
    """A Figure that belongs to no window, and its axes, as `plt.subplots` gives them.

    size: (width, height) in inches; the default suits a notebook's width. Call inside `style()`.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=size or (3.6 * columns + 1.4, 2.9 * rows + 0.3), layout="constrained")
    return fig, fig.subplots(rows, columns, **kwargs)
