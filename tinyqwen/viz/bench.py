"""Pictures of the benchmark: how fast beside its peers, and how time grows."""

from tinyqwen.benchmark.rows import curves, line
from tinyqwen.viz.style import BLUE, GRAY, ORANGE, RED, style

AXES = {
    "num_hidden_layers": ("layers", "linear in layers"),
    "hidden_size": ("width", "quadratic in width"),
    "vocab_size": ("tokens in the vocabulary", "linear in the vocabulary"),
    "batch": ("sequences in a batch", "linear in the batch"),
    "seq": ("tokens in a sequence (2,048 in all)", "only attention minds length"),
}

FASTER = "peer ÷ tinyqwen: how many times faster, or smaller, ours is"
OF_LIMIT = "limit ÷ tinyqwen: at 1, ours would be what this machine can do at most"


def benchmark(rows, machine=None):
    """The rows of `tinyqwen.bench` in one Figure.

    Bars: a peer's time (or memory) over ours, right of the line at 1 where ours is less; where
    none took part, the limit's over ours. Below them the scaling curves. Either part is left out
    if there are no rows for it.
    machine: `tinyqwen.benchmark.machine.describe()`, for the title.
    """
    from matplotlib.figure import Figure

    compared, label = [(r, r["speedups"][p], p) for r in rows for p in r["speedups"]], FASTER
    if not compared:
        compared = [(r, 1 / r["over_limit"], "") for r in rows if r["over_limit"]]
        label = OF_LIMIT
    grown = curves(rows)
    if not compared and not grown:
        raise ValueError("there is nothing to draw: no side to compare with, and no scaling")
    rows_of_curves = -(-len(grown) // 3)
    heights = [0.6 + 0.27 * len(compared)] * bool(compared) + [3.2 * rows_of_curves] * bool(grown)
    with style():
        fig = Figure(figsize=(9, sum(heights) + 0.4), layout="constrained")
        parts = list(fig.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
        if compared:
            _bars(parts[0].subplots(), compared, label)
        if grown:
            parts[-1].subplots(rows_of_curves, 3, squeeze=False)
            places = parts[-1].axes
            for axes, (axis, curve) in zip(places, grown.items()):
                _curve(axes, axis, *curve)
            for axes in places[len(grown) :]:
                axes.remove()
        if machine:
            fig.suptitle(
                f"{machine['processor']}, {machine['cores']} cores", x=0.01, ha="left", fontsize=9
            )
    return fig


def _bars(axes, compared, label):
    several = len({peer for *_, peer in compared}) > 1
    names = [
        f"{r['subject']}: {r['name']}" + (f", {peer}" if several else "") for r, _, peer in compared
    ]
    values = [value for _, value, _ in compared]
    places = range(len(compared))[::-1]
    axes.barh(places, [v - 1 for v in values], left=1, height=0.62, color=_colors(values))
    for place, value in zip(places, values):
        axes.annotate(
            f"{value:.2f}",
            (value, place),
            xytext=(3 if value >= 1 else -3, 0),
            textcoords="offset points",
            ha="left" if value >= 1 else "right",
            va="center",
            fontsize=8,
        )
    axes.axvline(1, color=GRAY, linewidth=1)
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(-0.6, len(compared) - 0.4)
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, 0.7 * min(values)), max(2, 1.4 * max(values)))
    ticks = [t for t in (0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 10, 30, 100) if _inside(t, axes)]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel(label)


def _inside(x, axes):
    low, high = axes.get_xlim()
    return low <= x <= high


def _colors(values):
    return [BLUE if value >= 1 else RED for value in values]


def _curve(axes, axis, xs, steps, attention):
    label, title = AXES[axis]
    power = 2 if axis == "hidden_size" else 1
    between = [max(xs) * i / 40 for i in range(41)]
    series = [("whole step", steps, BLUE), ("attention", attention, ORANGE)]
    for name, ys, color in series:
        intercept, slope, _ = line([x**power for x in xs], ys)
        fitted = [intercept + slope * x**power for x in between]
        axes.plot(between, fitted, color=color, linewidth=1)
        axes.plot(xs, ys, "o", color=color, markersize=4, label=name)
    if axis == "seq":
        rest = [step - a for step, a in zip(steps, attention)]
        axes.plot(xs, rest, "s--", color=GRAY, markersize=3, linewidth=1, label="all else")
    axes.set(xlabel=label, ylabel="ms a step", title=title)
    axes.set_ylim(0, 1.15 * max(steps))
    axes.legend(loc="best", fontsize=8)
