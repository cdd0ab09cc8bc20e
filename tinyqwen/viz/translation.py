"""Encoder and decoder: the machine, its masks, its alignments, and the tree of a beam search."""

import numpy as np

from tinyqwen.viz.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PALETTE,
    PURPLE,
    SEQUENTIAL,
    SKY,
    figure,
    name_columns,
    style,
)

_SELF, _CROSS, _FEED, _NORM, _TABLE = BLUE, GREEN, ORANGE, GRAY, PURPLE


def machine(layers=6):
    """The Transformer of 2017: the encoder to the left, the decoder to the right, six blocks each.

    layers: how many blocks each has. Returns a Figure.
    """
    left = [
        ("embedding × √d + positions", _TABLE),
        ("self-attention", _SELF),
        ("Add & Norm", _NORM),
        ("feed-forward", _FEED),
        ("Add & Norm", _NORM),
    ]
    right = [
        ("embedding × √d + positions", _TABLE),
        ("masked self-attention", _SELF),
        ("Add & Norm", _NORM),
        ("cross-attention", _CROSS),
        ("Add & Norm", _NORM),
        ("feed-forward", _FEED),
        ("Add & Norm", _NORM),
        ("linear, softmax", _TABLE),
    ]
    with style():
        fig, ax = figure(size=(9.6, 5.4))
        for x, boxes, first, last in ((2.2, left, 1, 4), (7.0, right, 1, 6)):
            for n, (label, color) in enumerate(boxes):
                _part(ax, x, n + 0.6 * (n >= 1) + 0.3 * (n > last), label, color)
                if n:
                    low = n - 1 + 0.6 * (n - 1 >= 1) + 0.3 * (n - 1 > last) + 0.3
                    _arrow(ax, (x, low), (x, n + 0.6 * (n >= 1) + 0.3 * (n > last) - 0.3))
            _block(ax, x, first + 0.1, last + 1.1, f"× {layers}")
        top = 4 + 0.6 + 0.3
        ax.plot([2.2, 2.2, 4.6, 4.6], [top, top + 0.75, top + 0.75, 3.6], color=GREEN, lw=2)
        _arrow(ax, (4.6, 3.6), (7.0 - 1.35, 3.6), GREEN)
        ax.text(3.4, top + 0.85, "keys, values", ha="center", color=GREEN, fontsize=9)
        ax.text(2.2, -0.75, "source: 我 有 一 只 猫 </s>", ha="center", fontsize=10)
        ax.text(7.0, -0.75, "target, one place later: <s> I have a cat", ha="center", fontsize=10)
        _arrow(ax, (2.2, -0.5), (2.2, -0.3))
        _arrow(ax, (7.0, -0.5), (7.0, -0.3))
        _arrow(ax, (7.0, 8.2), (7.0, 8.45))
        ax.text(7.0, 8.6, "what comes next: I have a cat </s>", ha="center", fontsize=10)
        ax.text(1.2, 5.75, "encoder", ha="center", fontsize=12, weight="bold")
        ax.text(9.4, 7.0, "decoder", ha="center", fontsize=12, weight="bold")
        ax.set(xlim=(-0.2, 10.6), ylim=(-1.0, 8.95))
        ax.axis("off")
    return fig


def _part(ax, x, y, label, color):
    from matplotlib.patches import FancyBboxPatch

    look = {"facecolor": color, "alpha": 0.25, "edgecolor": "none", "zorder": 3}
    form = "round,pad=0.02,rounding_size=0.1"
    ax.add_patch(FancyBboxPatch((x - 1.3, y - 0.26), 2.6, 0.52, boxstyle=form, **look))
    ax.text(x, y, label, ha="center", va="center", fontsize=9.5, zorder=4)


def _block(ax, x, bottom, top, times):
    from matplotlib.patches import Rectangle

    look = {"facecolor": "#F3F3F3", "edgecolor": GRAY, "linewidth": 0.8, "zorder": 0}
    ax.add_patch(Rectangle((x - 1.6, bottom), 3.2, top - bottom, **look))
    ax.text(x + 1.7, bottom + 0.1, times, va="bottom", fontsize=11, color="#404040")


def _arrow(ax, start, end, color=GRAY):
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 1.1, "mutation_scale": 10}
    ax.annotate("", end, start, arrowprops={**look, "shrinkA": 0, "shrinkB": 0}, zorder=2)


def masks(panels):
    """Who may look at whom, a panel for each mask: colored where attention is allowed.

    panels: {title: (mask (queries, keys), names of the queries, names of the keys)}
    """
    from matplotlib.colors import ListedColormap

    widths = [len(keys) for _, _, keys in panels.values()]
    with style():
        fig, axes = figure(1, len(panels), size=(11.4, 4.6), width_ratios=widths)
        for ax, color, (title, (mask, queries, keys)) in zip(
            axes, (BLUE, ORANGE, GREEN), panels.items()
        ):
            ax.imshow(mask, cmap=ListedColormap(["white", color]), vmin=0, vmax=1, alpha=0.75)
            name_columns(ax, keys)
            ax.set_yticks(range(len(queries)), queries)
            ax.set_xticks(np.arange(-0.5, len(keys)), minor=True)
            ax.set_yticks(np.arange(-0.5, len(queries)), minor=True)
            ax.grid(which="minor", color=GRAY, linewidth=0.6)
            ax.tick_params(which="both", length=0)
            ax.set(title=title, xlabel="may look at (key)", ylabel="this place (query)")
    return fig


def alignments(panels, least=0.15):
    """Where each written word looks in the source: cross-attention, a panel for each sentence.

    panels: [(weights (T, S), words written, words read)]; weights of `least` are written in.
    """
    widths = [len(read) for _, _, read in panels]
    rows = max(len(written) for _, written, _ in panels)
    with style():
        size = (min(11.4, 0.52 * sum(widths) + 1.5 * len(panels)), 0.36 * rows + 1.4)
        fig, axes = figure(1, len(panels), size=size, width_ratios=widths, squeeze=False)
        for ax, (weights, written, read) in zip(axes[0], panels):
            image = ax.imshow(weights, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
            ax.set_xticks(range(len(read)), read, fontsize=11)
            ax.set_yticks(range(len(written)), written)
            ax.set(xlabel="read")
            for (row, column), weight in np.ndenumerate(weights):
                if weight >= least:
                    color = "black" if weight > 0.6 else "white"
                    text = f"{weight:.2f}"[1:] if weight < 0.995 else "1"
                    ax.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
        axes[0, 0].set_ylabel("written")
        fig.colorbar(image, ax=axes[0].tolist(), label="weight", pad=0.01)
    return fig


def beam_tree(levels, greedy=(), best=()):
    """A beam search from left to right: each candidate with the probability of its text so far.

    levels: for each step a list of candidates (parent, word, probability, kind); parent: the place
    of the candidate of the step before, 0 in the first; kind: "kept", "dropped" or "finished".
    greedy, best: the places of the candidates on the path that greedy decoding takes and of the
    best text, a place for each step.
    """
    colors = {"kept": SKY, "dropped": "white", "finished": GREEN}
    with style():
        tallest = max(map(len, levels))
        fig, ax = figure(size=(10.4, 0.5 * tallest + 1.0))
        before, spots = [(0.0, 0.0)], []
        for step, level in enumerate(levels):
            heights = np.linspace(1, -1, len(level)) * (len(level) - 1) / 2 if level else []
            now = [(2.6 * (step + 1), y) for y in heights]
            for n, ((parent, word, p, kind), spot) in enumerate(zip(level, now)):
                on_best = step < len(best) and best[step] == n
                on_greedy = step < len(greedy) and greedy[step] == n
                start = before[parent]
                line = {"color": GRAY, "linewidth": 0.8, "zorder": 1}
                if on_best:
                    line = {"color": BLUE, "linewidth": 3, "zorder": 2}
                ax.plot(*zip((start[0] + 0.2, start[1]), (spot[0] - 0.2, spot[1])), **line)
                if on_greedy:
                    ax.plot(
                        *zip((start[0] + 0.2, start[1]), (spot[0] - 0.2, spot[1])),
                        *("--",),
                        color=ORANGE,
                        linewidth=2,
                        zorder=3,
                    )
                _candidate(ax, spot, f"{word}  {p:.3f}", colors[kind], kind == "dropped")
            before = now
            spots.append(now)
        _candidate(ax, (0.0, 0.0), "start  1", SKY, False)
        for label, color, form in (("best text", BLUE, "-"), ("greedy", ORANGE, "--")):
            ax.plot([], [], form, color=color, linewidth=2.5, label=label)
        for label, color in (("kept", SKY), ("finished", GREEN), ("dropped", "white")):
            ax.plot([], [], "s", color=color, markeredgecolor=GRAY, markersize=9, label=label)
        ax.legend(loc="upper left", ncols=1, fontsize=9, bbox_to_anchor=(-0.02, 1.0))
        ax.set(xlim=(-0.8, 2.6 * len(levels) + 0.8), ylim=(-tallest / 2, tallest / 2))
        ax.axis("off")
    return fig


def _candidate(ax, spot, text, color, faint):
    look = {"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": GRAY, "linewidth": 0.8}
    ax.text(
        *(*spot, text),
        ha="center",
        va="center",
        fontsize=9,
        color="#707070" if faint else "black",
        bbox={**look, "alpha": 1.0},
        zorder=4,
    )


def by_penalty(penalties, curves, chosen=None):
    """Scores of finished texts against the length penalty; the highest line is what is returned.

    penalties: (n,); curves: {text: scores (n,)}; chosen: a penalty to mark, or None
    """
    with style():
        fig, ax = figure(size=(5.4, 3.2))
        top = np.max(list(curves.values()), axis=0)
        for color, (text, scores) in zip((BLUE, ORANGE, GREEN, *PALETTE[3:]), curves.items()):
            ax.plot(penalties, scores, color=color, label=text)
            wins = np.where(np.asarray(scores) == top, scores, np.nan)
            ax.plot(penalties, wins, color=color, linewidth=5, alpha=0.35)
        if chosen is not None:
            best = max(curves, key=lambda text: np.interp(chosen, penalties, curves[text]))
            ax.axvline(chosen, color=GRAY, linestyle="--", linewidth=1)
            ax.set_title(f"length_penalty {chosen:g}, best: {best}")
        ax.set(xlabel="length_penalty", ylabel="score / length^penalty")
        ax.legend(loc="lower right")
    return fig


def next_words(steps, words=3):
    """Decoding, step by step: what has been written, and the likeliest next words, as bars.

    steps: [(text so far, [(word, probability), …])]
    """
    with style():
        fig, axes = figure(1, len(steps), size=(11.4, 2.3), sharex=True)
        for ax, (text, candidates) in zip(axes, steps):
            names, p = zip(*candidates[:words])
            colors = [BLUE] + [SKY] * (words - 1)
            ax.barh(range(words), p, color=colors)
            ax.set_yticks(range(words), names)
            ax.invert_yaxis()
            ax.set(xlim=(0, 1), title=text)
            ax.title.set_fontsize(9)
        axes[len(steps) // 2].set_xlabel("probability of the next word")
    return fig


def learning(steps, losses, exact, floor):
    """A run of the translator: the training loss, and the share of exact validation translations.

    steps: of the evaluations; losses: of every training step; exact: shares, one an evaluation;
    floor: the least that smoothed labels allow
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(10.2, 3.2))
        left.plot(range(1, len(losses) + 1), losses, color=BLUE, linewidth=1.2, label="training")
        left.axhline(floor, color=GRAY, linestyle="--", label="entropy of the smoothed labels")
        left.set(xlabel="step", ylabel="loss (nats per token)", ylim=(0, None))
        left.legend()
        right.plot(steps, exact, "o-", color=GREEN)
        right.set(xlabel="step", ylabel="exact translations", ylim=(0, 1.04))
        right.grid(axis="y", color=GRAY, alpha=0.2)
    return fig
