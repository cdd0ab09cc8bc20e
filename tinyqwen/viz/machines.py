"""Pictures of many machines: sums around a ring, what communication leaves, who holds what."""

from tinyqwen.viz.style import BLUE, GRAY, GREEN, ORANGE, PALETTE, PURPLE, figure, style

HELD = {"weights": BLUE, "gradients": GREEN, "optimizer": ORANGE}


def same_losses(runs):
    """The losses of one training on several numbers of ranks, and how far they are from the first.

    runs: {name: losses}; the first is what the others are compared with.
    """
    (_, first), *others = runs.items()
    steps = range(1, len(first) + 1)
    with style():
        fig, (above, below) = figure(1, 2, size=(9.4, 3.2))
        for (name, losses), width, color in zip(runs.items(), (6, 3.4, 1.2), PALETTE):
            above.plot(steps, losses, linewidth=width, color=color, label=name)
        above.set(xlabel="step", ylabel="loss (nats per token)", title="the losses")
        above.legend(loc="upper right")
        for (_, losses), color in zip(others, PALETTE[1:]):
            apart = [abs(a - b) or None for a, b in zip(losses, first)]
            below.plot(steps, apart, ".", color=color)
        below.set(yscale="log", xlabel="step", title="how far from one rank's")
        below.set_ylabel("difference (nats per token)")
    return fig


def ring(frames, columns=4, only=None):
    """A sum around a ring, step by step: whose numbers are in each chunk, and what has just come.

    frames: list of (title, sums); sums (N, N) integers, ranks by chunks, in which bit r says that
    rank r's numbers are in. only: the index of the one frame to draw, instead of all.
    """
    shown = range(len(frames)) if only is None else [only]
    rows, columns = -(-len(shown) // columns), min(columns, len(shown))
    side = 2.35 if only is None else 3.6
    with style():
        fig, axes = figure(rows, columns, size=(side * columns, side * rows), squeeze=False)
        for ax, i in zip(axes.flat, shown):
            title, sums = frames[i]
            arrived = sums != frames[max(0, i - 1)][1]
            _holdings(ax, title, sums, arrived, width=side / len(sums))
        for ax in axes.flat[len(shown) :]:
            ax.axis("off")
        for ax in axes[:, 0]:
            ax.set_ylabel("rank")
        for ax in axes[-1]:
            ax.set_xlabel("chunk")
    return fig


def _holdings(ax, title, sums, arrived, width):
    """One frame of `ring`.  arrived: which sums are new; width: of a cell, in inches."""
    from matplotlib import colormaps

    shades, size = colormaps["Blues"], len(sums)
    for rank in range(size):
        for chunk in range(size):
            parts = [r for r in range(size) if sums[rank, chunk] >> r & 1]
            whole = len(parts) == size
            color = GREEN if whole else shades(0.12 + 0.5 * (len(parts) - 1) / max(1, size - 1))
            edge = ORANGE if arrived[rank, chunk] else "white"
            ax.add_patch(_cell(chunk, rank, color, edge))
            text = "Σ" if whole else "+".join(map(str, parts))
            look = {
                "fontsize": min(9, 60 * width / len(text)),
                "color": "white" if whole else "black",
            }
            ax.text(chunk, rank, text, ha="center", va="center", **look)
    ax.set(xlim=(-0.55, size - 0.45), ylim=(size - 0.45, -0.55), aspect="equal")
    ax.set_xticks(range(size))
    ax.set_yticks(range(size))
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=9.5)
    for side in ax.spines.values():
        side.set_visible(False)


def _cell(x, y, color, edge):
    from matplotlib.patches import Rectangle

    width = 2.4 if edge == ORANGE else 1.0
    inset = 0.46 if edge == ORANGE else 0.5
    corner, side = (x - inset, y - inset), 2 * inset
    return Rectangle(
        corner, side, side, facecolor=color, edgecolor=edge, linewidth=width, zorder=width
    )


def efficiency(ranks, curves, least=0.5):
    """Speed-up over the number of ranks, against that number: where more machines stop paying.

    ranks: numbers of ranks; curves: {name: efficiency for each of them}, 1 being no loss at all;
    least: where a line is drawn.
    """
    from matplotlib.ticker import PercentFormatter

    with style():
        fig, ax = figure(size=(7.6, 3.5))
        for (name, values), color in zip(curves.items(), PALETTE):
            ax.plot(ranks, values, "o-", color=color, markersize=4, label=name)
        ax.axhline(least, color=GRAY, linestyle="--", linewidth=1)
        ax.set(xscale="log", ylim=(0, 1.05), xlabel="ranks N", ylabel="speed-up / N")
        ax.set_xticks(ranks, [f"{n:,}" for n in ranks])
        ax.minorticks_off()
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.legend(loc="lower left", bbox_to_anchor=(1.0, 0.1))
    return fig


def memory(models, room, unit=1e9):
    """What a rank holds of a model in training, by ZeRO's stages, beside the room that it has.

    models: {name: [{part: bytes} for stage 0, 1, 2 and 3]}; room: bytes of a rank's memory.
    """
    with style():
        fig, axes = figure(1, len(models), size=(3.2 * len(models) + 0.4, 3.2))
        for ax, (name, stages) in zip(axes, models.items()):
            for stage, parts in enumerate(stages):
                left = 0.0
                for part, nbytes in parts.items():
                    ax.bar(stage, nbytes / unit, bottom=left, color=HELD[part], width=0.7)
                    left += nbytes / unit
                ax.text(
                    stage,
                    left,
                    f"{left:,.1f}" if left < 100 else f"{left:,.0f}",
                    ha="center",
                    va="bottom",
                    fontsize=9,
                )
            ax.set_xticks(range(len(stages)), ["none", *map(str, range(1, len(stages)))])
            ax.set(title=name, xlabel="ZeRO's stage")
            top = ax.get_ylim()[1] * 1.08
            ax.set_ylim(0, top)
            if room / unit < top:
                ax.axhline(room / unit, color=PURPLE, linestyle="--", linewidth=1.3)
        axes[0].set_ylabel("GB a rank")
        handles = [_patch(color, part) for part, color in HELD.items()]
        axes[0].legend(handles=handles, loc="upper right", fontsize=9)
    return fig


def _patch(color, label):
    from matplotlib.patches import Patch

    return Patch(color=color, label=label)


def pipeline(stages, micro_batches):
    """A pipeline's turns: which micro-batch is on which machine, there and back, and who waits."""
    turns = micro_batches + stages - 1
    with style():
        fig, ax = figure(size=(0.42 * 2 * turns + 1.6, 0.42 * stages + 1.1))
        for stage in range(stages):
            for batch in range(micro_batches):
                there = stage + batch
                back = 2 * turns - 1 - there
                for turn, color in ((there, BLUE), (back, GREEN)):
                    ax.add_patch(_cell(turn, stage, color, edge="white"))
                    ax.text(*(turn, stage, str(batch)), ha="center", va="center", color="white")
        ax.axvline(turns - 0.5, color=GRAY, linewidth=1)
        ax.set(xlim=(-0.55, 2 * turns - 0.45), ylim=(stages - 0.45, -0.55), aspect="equal")
        ax.set_yticks(range(stages), [f"machine {i}" for i in range(stages)])
        ax.set_xticks(range(0, 2 * turns, 2))
        ax.set_xlabel("turn: forward to the gray line, then back; a blank is a machine that waits")
        ax.tick_params(length=0)
    return fig


def timelines(steps):
    """What a rank computes in a step, and what is on the wire meanwhile, for several ways to do it.

    steps: {name: {"computed": [(what, start, end)], "sent": [(what, start, end)]}}, in one unit of
    time; `what` begins with "forward", "backward", "sum", "update" or "weights".
    """
    colors = {"forward": BLUE, "backward": GREEN, "sum": ORANGE, "update": GRAY, "weights": PURPLE}
    last = max(end for step in steps.values() for row in step.values() for _, _, end in row)
    with style():
        fig, axes = figure(len(steps), 1, size=(9.4, 1.55 * len(steps) + 0.3), sharex=True)
        for ax, (name, step) in zip(axes, steps.items()):
            for place, row in enumerate(step.values()):
                for what, start, end in row:
                    color = colors[what.split()[0]]
                    ax.barh(place, end - start, left=start, height=0.8, color=color, edgecolor="w")
            ends = [row[-1][2] for row in step.values()]
            ax.axvline(max(ends), color=GRAY, linestyle="--", linewidth=1)
            ax.set(title=name, xlim=(0, 1.01 * last), ylim=(len(step) - 0.5, -0.5))
            ax.set_yticks(range(len(step)), list(step))
            ax.tick_params(axis="y", length=0)
        axes[-1].set_xlabel("time (one layer's backward pass is 1)")
        handles = [_patch(color, part) for part, color in colors.items()]
        axes[0].legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return fig


def shares(parts, ranks):
    """What a step's time is spent on, for several numbers of ranks; above each bar, the seconds.

    parts: {"arithmetic": seconds, "communication": seconds} for each of ranks.
    """
    from matplotlib.ticker import PercentFormatter

    with style():
        fig, ax = figure(size=(7.2, 3.2))
        for place, part in enumerate(parts):
            total = sum(part.values())
            share = part["arithmetic"] / total
            ax.bar(place, share, color=BLUE, width=0.7)
            ax.bar(place, 1 - share, bottom=share, color=ORANGE, width=0.7)
            ax.text(place, 1.02, f"{total:.2g} s", ha="center", va="bottom", fontsize=9)
        ax.set_xticks(range(len(parts)), [f"{n:,}" for n in ranks])
        ax.set(xlabel="ranks N", ylabel="share of a step", ylim=(0, 1.1))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        handles = [_patch(BLUE, "arithmetic"), _patch(ORANGE, "communication")]
        ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig
