"""The optimizer at work: AdamW's terms, weight decay, the schedule, and clipping."""

import numpy as np

from tinyqwen.viz.style import BLUE, GRAY, GREEN, ORANGE, RED, SKY, figure, plain_log, style


def adam_terms(gradients, m, v, betas, eps=1e-8):
    """The terms of Adam for one number, step by step, in three panels.

    gradients, m, v: lists, one entry a step, of g and of the averages after the step. Drawn are g
    and m with and without correction, √v with and without, and the step m̂ / (√v̂ + ε) beside g.
    """
    g, m, v = (np.asarray(x, np.float64) for x in (gradients, m, v))
    steps = np.arange(1, len(g) + 1)
    m_hat, v_hat = (x / (1 - beta**steps) for x, beta in zip((m, v), betas))
    with style():
        fig, panels = figure(3, 1, size=(8.4, 6.0), sharex=True)
        panels[0].plot(steps, g, ".", color=GRAY, ms=5, label="gradient g")
        panels[0].plot(steps, m, color=SKY, ls=":", label="m, its average")
        panels[0].plot(steps, m_hat, color=BLUE, label="m̂, corrected")
        panels[1].plot(steps, np.abs(g), ".", color=GRAY, ms=5, label="|g|")
        panels[1].plot(steps, np.sqrt(v), color=ORANGE, ls=":", label="√v")
        panels[1].plot(steps, np.sqrt(v_hat), color=RED, label="√v̂, corrected")
        panels[2].plot(steps, m_hat / (np.sqrt(v_hat) + eps), color=GREEN, label="m̂ / (√v̂ + ε)")
        panels[2].plot(steps, m / (np.sqrt(v) + eps), color=GREEN, ls=":", label="uncorrected")
        for panel in panels:
            panel.axhline(0, color="black", lw=0.6)
            panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        panels[0].set(ylabel="gradient")
        panels[1].set(ylabel="its size")
        panels[2].set(xlabel="step", ylabel="steps of size lr")
    return fig


def decay_paths(paths):
    """A weight's way under weight decay: a panel for each kind of decay, a line for each weight.

    paths: {title: {name of the weight: its values, one a step}}.
    """
    with style():
        fig, panels = figure(1, len(paths), size=(9.6, 3.0), sharey=True)
        for panel, (title, weights) in zip(panels, paths.items()):
            for (name, values), color, dashes in zip(weights.items(), (BLUE, ORANGE), "-:"):
                panel.plot(values, color=color, ls=dashes, lw=2.4, label=name)
            panel.axhline(0, color="black", lw=0.6)
            panel.set(title=title, xlabel="step")
        panels[0].set_ylabel("weight")
        panels[-1].legend(loc="upper right")
    return fig


def schedule(rates, recorded=None):
    """The learning rate by step; recorded: (steps, rates) of a run, drawn as dots."""
    with style():
        fig, ax = figure(size=(7.2, 2.9))
        ax.plot(range(len(rates)), rates, color=BLUE, label="cosine_with_warmup")
        if recorded is not None:
            ax.plot(*recorded, "o", color=ORANGE, ms=4, label="the bundled model's run")
        ax.grid(axis="y", color=GRAY, alpha=0.2)
        ax.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
        ax.legend(loc="upper right")
    return fig


def clipping(gradients, clipped, limit, norms, max_norm):
    """Left: gradients of two tensors as arrows, before and after. Right: the norms of a run.

    gradients: (x, y), the gradients of two tensors of one number; clipped: {name: (x, y)} after two
    kinds of clipping to `limit`; norms: the gradient's norm at each step of a run that was clipped
    to max_norm.
    """
    ends = {"before": gradients, **clipped}
    places = (5, 4), (-42, 2), (6, -4)  # of the names, beside the tips
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.3), width_ratios=(1, 1.6))
        angle = np.linspace(0, np.pi / 2, 100)
        left.plot(limit * np.cos(angle), limit * np.sin(angle), color=GRAY, lw=0.9)
        for (name, end), color, place in zip(ends.items(), (SKY, BLUE, RED), places):
            arrow = {"arrowstyle": "-|>", "color": color, "lw": 2, "shrinkA": 0, "shrinkB": 0}
            left.annotate("", end, (0, 0), arrowprops=arrow)
            left.annotate(
                name,
                end,
                place,
                textcoords="offset points",
                color=color,
                ha="right" if place[0] < 0 else "left",
            )
        size = 1.15 * max(*gradients, limit)
        left.axvline(0, color="black", lw=0.6)
        left.set(xlim=(-0.4 * size, size), ylim=(0, size))
        left.set(xlabel="gradient of A", ylabel="gradient of B")
        left.set_aspect("equal")
        right.plot(range(1, len(norms) + 1), norms, color=BLUE, lw=1)
        right.axhline(max_norm, color=RED, ls="--", lw=1.2)
        right.annotate(
            "clipped above",
            (len(norms), max_norm),
            (0, 4),
            ha="right",
            color=RED,
            textcoords="offset points",
        )
        right.set(xlabel="step", ylabel="norm of all gradients", yscale="log")
        plain_log(right.yaxis)
    return fig
