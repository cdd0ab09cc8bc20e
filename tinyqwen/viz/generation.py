"""Generation: distributions and what processors make of them, draws, and the cache's work."""

import numpy as np

from tinyqwen.viz.style import BLUE, GRAY, ORANGE, PALETTE, SKY, figure, name_columns, style
from tinyqwen.viz.tokens import shown


def processed(pieces, before, panels, top=None):
    """One distribution over the next token, and what each processor makes of it.

    pieces: the tokens as text, (n,); before: their probabilities, (n,);
    panels: {title: probabilities afterwards, (n,)}, a panel for each, three in a row
    top: where the axis ends; None: a little above the largest
    """
    columns = min(3, len(panels))
    rows, places = -(-len(panels) // columns), np.arange(len(pieces))
    top = top or 1.12 * max(np.max(before), *(np.max(after) for after in panels.values()))
    with style():
        size = (3.5 * columns, 2.5 * rows + 0.4)
        fig, axes = figure(rows, columns, size=size, squeeze=False, sharey=True)
        for ax in axes.flat[len(panels) :]:
            ax.axis("off")
        for ax, (title, after) in zip(axes.flat, panels.items()):
            gone = after == 0
            ax.bar(places, after, color=BLUE, width=0.8, label="afterwards")
            ax.bar(
                *(places, before),
                width=0.8,
                fill=False,
                edgecolor=ORANGE,
                linewidth=1.3,
                label="the model's",
            )
            ax.plot(places[gone], np.full(gone.sum(), 0.02), "x", color=GRAY, markersize=4)
            name_columns(ax, [shown(piece) for piece in pieces], fontsize=8)
            ax.set(title=title, ylim=(0, top))
            ax.tick_params(axis="x", length=0)
        for ax in axes[:, 0]:
            ax.set_ylabel("probability")
        axes[0, 0].legend(loc="upper right", fontsize=8)
    return fig


def kept_along(pieces, counts):
    """How many tokens each rule leaves to choose from, at every position of a text.

    pieces: the tokens of the text, (n,); counts: {rule: (n,)}, for the choice of each of them
    """
    places = np.arange(len(pieces))
    with style():
        fig, ax = figure(size=(10.4, 3.7))
        for color, marker, (name, values) in zip(PALETTE, "so^", counts.items()):
            ax.plot(places, values, marker + "-", color=color, markersize=5, lw=1, label=name)
        ax.set_yscale("log")
        ticks = (1, 2, 5, 10, 20, 50)
        ax.set_yticks(ticks, map(str, ticks))
        ax.minorticks_off()
        name_columns(ax, [shown(piece) for piece in pieces], fontsize=8)
        ax.set(ylabel="tokens kept", xlim=(-0.7, len(pieces) - 0.3), ylim=(0.8, None))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(counts))
    return fig


def bar_of_pieces(pieces, probabilities, draws):
    """A bar of length 1, cut into the tokens' probabilities, and the points drawn on it.

    pieces, probabilities: (n,), in the order of the vocabulary; draws: (m,) from [0, 1)
    """
    ends = np.cumsum(probabilities)
    with style():
        fig, ax = figure(size=(9.6, 1.9))
        large = probabilities > 0.004  # the others are too thin to be seen
        for i, at in enumerate(np.flatnonzero(large)):
            p, color = probabilities[at], (SKY, BLUE)[i % 2]
            left = ends[at] - p
            ax.barh(0, p, left=left, height=0.6, color=color, alpha=0.75, edgecolor="white")
            if p > 0.02:
                upright = 90 if p < 0.06 else 0
                text = shown(pieces[at])
                ax.text(left + p / 2, 0, text, ha="center", va="center", size=8, rotation=upright)
        ax.plot(draws, np.full(len(draws), 0.42), "v", color=ORANGE, markersize=8)
        for u in draws:
            ax.text(u, 0.62, f"u = {u:.2f}", ha="center", fontsize=8)
        ax.set(xlim=(0, 1), ylim=(-0.35, 0.85), yticks=[], xlabel="p₀ + p₁ + … + pᵥ")
        ax.spines["left"].set_visible(False)
    return fig


def shares(pieces, probabilities, counted):
    """How often each token was drawn, beside how often it should be.

    probabilities: (n,); counted: {label: shares of the draws, (n,)}
    """
    places, width = np.arange(len(pieces)), 0.8 / len(counted)
    with style():
        fig, ax = figure(size=(8.6, 3.2))
        for i, (color, (label, values)) in enumerate(zip((SKY, BLUE, *PALETTE), counted.items())):
            left = places - 0.4 + (i + 0.5) * width
            ax.bar(left, values, width, color=color, label=label)
        for place, p in zip(places, probabilities):
            ax.plot([place - 0.45, place + 0.45], [p, p], color=ORANGE)
        ax.plot([], [], color=ORANGE, label="probability")
        name_columns(ax, [shown(piece) for piece in pieces])
        ax.set(ylabel="share of the draws")
        ax.legend()
    return fig


def decoding_steps(prompt, steps):
    """Which scores each step computes, without a cache (top) and with one.

    prompt: tokens in the prompt; steps: how many steps to show. Rows are queries, columns keys.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    most = prompt + steps - 1
    colors = ListedColormap(["white", ORANGE, SKY])
    with style():
        fig, axes = figure(2, steps, size=(2.5 * steps + 1.4, 5.9), squeeze=False)
        for row, name in enumerate(("without a cache", "with a cache")):
            for step, ax in enumerate(axes[row]):
                now = prompt + step
                grid = np.zeros((most, most), int)
                grid[:now, :now] = np.tri(now, dtype=int)
                if row and step:
                    grid[: now - 1] = 0
                    grid[now - 1, : now - 1] = 2
                ax.pcolormesh(
                    grid, cmap=colors, vmin=0, vmax=2, edgecolors="#dddddd", linewidth=0.5
                )
                ax.invert_yaxis()
                ax.set_aspect("equal")
                fed = now if not row or not step else 1
                ax.set_title(f"step {step + 1}: {fed} fed", fontsize=10)
                ax.set(xticks=[], yticks=[])
            axes[row, 0].set_ylabel(f"{name}\n\nquery")
        for ax in axes[1]:
            ax.set_xlabel("key")
        fig.legend(
            handles=[
                Patch(color=ORANGE, label="score of a query and a key that are computed now"),
                Patch(color=SKY, label="score of a new query and a key from the cache"),
            ],
            loc="outside lower center",
            ncols=2,
        )
    return fig


def costs(lengths, panels):
    """What a token costs as the text grows, a panel for each measure.

    lengths: (n,), tokens in the text; panels: {label of the vertical axis: {curve: (n,)}}
    """
    with style():
        fig, axes = figure(1, len(panels), size=(9.6, 3.3), squeeze=False)
        for ax, (label, curves) in zip(axes[0], panels.items()):
            for color, (name, values) in zip((ORANGE, BLUE), curves.items()):
                ax.plot(lengths, values, "o-", color=color, markersize=3, label=name)
            ax.set(xlabel="tokens in the text", ylabel=label, ylim=(0, None), xlim=(0, None))
        axes[0, 0].legend()
    return fig


def beams(steps, kept, greedy=()):
    """Beam search as a tree: the best continuations of each step, over all beams together.

    steps: a list of (scores (n,), beams continued (n,), tokens as text), the best first;
    kept: how many of each step go on; greedy: what greedy decoding takes, token by token
    """
    most = max(len(tokens) for *_, tokens in steps)
    with style():
        fig, ax = figure(size=(1.9 * len(steps) + 0.6, 0.62 * most + 0.6))
        follows = 0  # the rank of greedy's text in the step before; None once it has left the tree
        for column, (scores, parents, tokens) in enumerate(steps):
            ranks = [
                rank
                for rank, (parent, token) in enumerate(zip(parents, tokens))
                if parent == follows and [token] == list(greedy[column : column + 1])
            ]
            follows = ranks[0] if ranks else None
            for rank, (score, parent, token) in enumerate(zip(scores, parents, tokens)):
                color = BLUE if rank < kept else GRAY
                at = (column + 0.3, -float(parent)) if column else (0.25, -(kept - 1) / 2)
                ax.plot([at[0], column + 0.7], [at[1], -rank], color=color, lw=1.2, zorder=1)
                frame = {"edgecolor": ORANGE, "linewidth": 2.2} if rank == follows else {}
                box = {"boxstyle": "round", "facecolor": "white", "edgecolor": color, **frame}
                words = f"{shown(token)}  {np.exp(score):.3f}"
                where = {"ha": "center", "va": "center", "fontsize": 9}
                ax.text(column + 1, -rank, words, color=color, bbox=box, **where)
        ax.set_xticks(range(1, len(steps) + 1), [f"step {i + 1}" for i in range(len(steps))])
        ax.set(xlim=(0.2, len(steps) + 0.45), ylim=(0.5 - most, 0.5), yticks=[])
        ax.tick_params(length=0)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
    return fig
