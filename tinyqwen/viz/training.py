"""Pictures of a training run."""

from tinyqwen.viz.style import BLUE, GRAY, ORANGE, RED, figure, style


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
        ax.plot(steps, smoothed(losses), color=BLUE, label="training")
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
            ax.axhline(floor, color=RED, linestyle="--", linewidth=1.2)
            ax.annotate(
                f"floor: entropy of the text, {floor:.3f}",
                (0.99, floor),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                color=RED,
                fontsize=9,
            )
        ax.set_yscale("log")
        ticks = [t for t in (0.2, 0.3, 0.5, 1, 2, 3, 5, 10) if t < 1.5 * max(losses, default=1)]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.grid(axis="y", color=GRAY, alpha=0.2)
        ax.set(xlabel="step", ylabel="loss (nats per token)")
        ax.legend(loc="upper right")
    return fig


def loss_curves(runs, decay=0.9, ylabel="loss (nats per token)"):
    """The training losses of several runs in one picture, smoothed over the raw ones.

    runs: {name: list of losses, one a step}. What rises far above the first loss of all runs is cut
    off. Returns a Figure.
    """
    with style():
        fig, ax = figure(size=(8.4, 3.6))
        for name, losses in runs.items():
            (line,) = ax.plot(range(1, len(losses) + 1), smoothed(losses, decay), label=name)
            ax.plot(range(1, len(losses) + 1), losses, color=line.get_color(), alpha=0.2, lw=0.8)
        ax.grid(axis="y", color=GRAY, alpha=0.2)
        low, high = (f(f(losses) for losses in runs.values()) for f in (min, max))
        high = min(high, 1.3 * max(losses[0] for losses in runs.values()))
        ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        ax.set(xlabel="step", ylabel=ylabel)
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def smoothed(values, decay=0.95):
    """Exponential moving average, corrected for its start."""
    average, out = 0.0, []
    for n, value in enumerate(values, 1):
        average = decay * average + (1 - decay) * value
        out.append(average / (1 - decay**n))
    return out
