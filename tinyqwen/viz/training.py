"""Pictures of a training run."""

from tinyqwen.analysis.interpret import bend_of
from tinyqwen.viz.style import BLUE, GRAY, ORANGE, PALETTE, RED, figure, plain_log, style

BESIDE_FLOOR = [color for color in PALETTE if color != RED]  # which the floor has


def loss_curve(metrics, floor=None):
    """Loss by step: training (smoothed over it), validation, and the floor as a line.

    metrics: list of dicts with "step", "loss" and sometimes "val_loss", as in metrics.jsonl.
    floor:   entropy of the validation text in nats per token, or None.
    """
    steps = [m["step"] for m in metrics]
    losses = [m["loss"] for m in metrics]
    evaluated = [m for m in metrics if m.get("val_loss") is not None]
    with style():
        fig, ax = figure(size=(6.4, 3.6))
        ax.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=0.8)
        ax.plot(steps, smoothed(losses, 0.9), color=BLUE, label="training")
        if evaluated:
            ax.plot(
                [m["step"] for m in evaluated],
                [m["val_loss"] for m in evaluated],
                color=ORANGE,
                marker="o",
                markersize=3,
                label="validation",
            )
        if floor is not None:
            _draw_floor(ax, floor)
        ax.set_yscale("log")
        if floor is not None:
            ax.set_ylim(bottom=0.75 * floor)
        ticks = [t for t in (0.2, 0.3, 0.5, 1, 2, 3, 5, 10) if t < 1.5 * max(losses, default=1)]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.grid(axis="y", color=GRAY, alpha=0.2)
        ax.set(xlabel="step", ylabel="loss (nats per token)")
        ax.legend(loc="upper right")
    return fig


def _draw_floor(ax, floor, above=False, left=False):
    ax.axhline(floor, color=RED, linestyle="--", linewidth=1.2)
    ax.annotate(
        f"floor: entropy of the text, {floor:.3f}",
        (0.01 if left else 0.99, floor),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3 if above else -4),
        textcoords="offset points",
        ha="left" if left else "right",
        va="bottom" if above else "top",
        color=RED,
        fontsize=9,
    )


def by_kind(costs, floor):
    """What a token of each kind costs, by step; a dot where nine tenths of its fall are done.

    costs: {kind: [(step, nats per token), …]}; floor: nats per token, or None. The axes are
    logarithmic: what is learned late would be a sliver at the foot of plain ones.
    """
    with style():
        fig, ax = figure(size=(8.4, 4.2))
        ax.set_prop_cycle(color=BESIDE_FLOOR)
        for kind, points in costs.items():
            steps, nats = zip(*points)
            (line,) = ax.plot(steps, nats, label=kind)
            bend = bend_of(points)
            ax.plot(bend, dict(points)[bend], "o", color=line.get_color())
            ax.annotate(
                f"step {bend}",
                (bend, dict(points)[bend]),
                xytext=(6, 5),
                textcoords="offset points",
                color=line.get_color(),
                fontsize=9,
            )
        if floor is not None:
            _draw_floor(ax, floor, left=True)
        ax.set(xscale="log", yscale="log", xlabel="step", ylabel="loss (nats per token)")
        plain_log(ax.xaxis)
        plain_log(ax.yaxis)
        ax.grid(axis="y", color=GRAY, alpha=0.2)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def loss_curves(runs, decay=0.9, ylabel="loss (nats per token)", floor=None, first=1):
    """The training losses of several runs in one picture, smoothed over the raw ones.

    runs: {name: list of losses, one a step}. What rises far above the first loss of all runs is cut
    off. floor: a loss to draw as a line, or None; first: the number of the first step. Returns a
    Figure.
    """
    with style():
        fig, ax = figure(size=(8.4, 3.6))
        if floor is not None:
            ax.set_prop_cycle(color=BESIDE_FLOOR)
        for name, losses in runs.items():
            steps = range(first, first + len(losses))
            (line,) = ax.plot(steps, smoothed(losses, decay), label=name)
            ax.plot(steps, losses, color=line.get_color(), alpha=0.2, lw=0.8)
        ax.grid(axis="y", color=GRAY, alpha=0.2)
        low, high = (f(f(losses) for losses in runs.values()) for f in (min, max))
        high = min(high, 1.3 * max(losses[0] for losses in runs.values()))
        low = low if floor is None else min(low, floor)
        ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        if floor is not None:
            _draw_floor(ax, floor, above=True)
        ax.set(xlabel="step", ylabel=ylabel)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def smoothed(values, decay=0.95):
    """Exponential moving average of each value and those before it, corrected for its start.

    It begins with the first value. Later ones have no part in it, so a curve that falls lies a
    little under its average, and what happens at a step is seen from that step on.
    """
    average, out = 0.0, []
    for n, value in enumerate(values, 1):
        average = decay * average + (1 - decay) * value
        out.append(average / (1 - decay**n))
    return out
