"""Pictures of chats and adapters: what counts, who sees whom, and what a rank buys."""

import numpy as np

from tinyqwen.viz.style import (
    BLUE,
    DIVERGING,
    GRAY,
    GREEN,
    ORANGE,
    PALETTE,
    SEQUENTIAL,
    SKY,
    figure,
    plain_log,
    style,
)
from tinyqwen.viz.tokens import shown

LINE = 104  # characters in a line of `conversation`
KINDS = {"template": GRAY, "user": SKY, "answer": ORANGE}


def conversation(pieces, kinds):
    """A conversation token by token: the template, what the user says, and the answers.

    pieces: the tokens as text; kinds: for each, "template", "user" or "answer". Only the answers
    count in the loss. A line ends where the text has a line end.
    """
    from matplotlib.patches import Patch, Rectangle

    places, column, line = [], 0.0, 0
    for piece in pieces:
        width = len(shown(piece)) + 0.35
        if column + width > LINE:
            column, line = 0.0, line + 1
        places.append((column, line, width))
        column += width
        if piece.endswith("\n"):
            column, line = 0.0, line + 1
    lines = places[-1][1] + 1
    with style():
        fig, ax = figure(size=(9.8, 0.27 * lines + 0.5))
        for piece, kind, (x, y, width) in zip(pieces, kinds, places):
            look = {"facecolor": KINDS[kind], "alpha": 0.75 if kind == "answer" else 0.3}
            ax.add_patch(Rectangle((x, y - 0.42), width - 0.15, 0.84, linewidth=0, **look))
            where = x + (width - 0.15) / 2, y
            font = {"family": "DejaVu Sans Mono", "fontsize": 9}
            ax.text(*where, shown(piece), ha="center", va="center_baseline", **font)
        names = {"template": "template", "user": "user", "answer": "answer: counts in the loss"}
        patches = [
            Patch(color=color, alpha=0.75 if kind == "answer" else 0.3, label=names[kind])
            for kind, color in KINDS.items()
        ]
        ax.set(xlim=(-0.5, LINE + 1), ylim=(lines - 0.4, -1.9))
        ax.legend(handles=patches, loc="upper right", ncols=3, borderaxespad=0)
        ax.axis("off")
    return fig


def masks(panels, owner):
    """Who sees whom in a packed row: bright where a query may look at a key.

    panels: {title: boolean (T, T)}; owner (T,): the conversation of each place, -1 where the row is
    filled up, for the ticks
    """
    edges = np.flatnonzero(np.diff(owner)) + 0.5
    starts = np.concatenate([[-0.5], edges, [len(owner) - 0.5]])
    middles = (starts[1:] + starts[:-1]) / 2
    first = owner[np.ceil(starts[:-1]).astype(int)]
    names = ["fill" if one < 0 else f"chat {one}" for one in first]
    with style():
        fig, axes = figure(1, len(panels), size=(3.3 * len(panels) + 0.4, 3.4), squeeze=False)
        for ax, (title, mask) in zip(axes[0], panels.items()):
            ax.imshow(mask, cmap=SEQUENTIAL, vmin=0, vmax=1.25)
            for edge in edges:
                ax.axhline(edge, color="white", linewidth=0.7)
                ax.axvline(edge, color="white", linewidth=0.7)
            ax.set_xticks(middles, names, fontsize=9)
            ax.set_yticks(middles, names, fontsize=9, rotation=90, va="center")
            ax.tick_params(length=0)
            ax.set(title=title, xlabel="key")
        axes[0][0].set(ylabel="query")
    return fig


def on_paper(weight, A, B, scaling):
    """LoRA with numbers: B · A makes a matrix of the weight's shape; W + scaling · B A, as tables.

    weight (out, in), A (r, in), B (out, r)
    """
    product = B @ A
    tables = [
        ("B", B),
        ("A", A),
        ("B A", product),
        ("W, frozen", weight),
        (f"W + {scaling:g} · B A", weight + scaling * product),
    ]
    signs = ["·", "=", "", f"+ {scaling:g} · B A  ="]
    limit = max(np.abs(table).max() for _, table in tables)
    widths = [table.shape[1] for _, table in tables]
    gaps = (0.7, 0.9, 1.5, 2.9)
    with style():
        fig, ax = figure(size=(9.8, 0.42 * len(weight) + 0.6))
        x = 0.0
        for i, (title, table) in enumerate(tables):
            top = (len(weight) - len(table)) / 2
            _numbers(ax, x, top, table, limit)
            ax.text(x + widths[i] / 2, top - 0.25, title, ha="center", va="bottom")
            x += widths[i]
            if i < len(signs):
                where = x + gaps[i] / 2, len(weight) / 2
                ax.text(*where, signs[i], ha="center", va="center", fontsize=12)
                x += gaps[i]
        ax.set(xlim=(-0.1, x + 0.1), ylim=(len(weight) + 0.1, -0.9))
        ax.set_aspect("equal")
        ax.axis("off")
    return fig


def _numbers(ax, left, top, table, limit):
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colors = colormaps[DIVERGING]
    for (row, column), number in np.ndenumerate(table):
        corner = left + column, top + row
        tint = colors(0.5 + 0.35 * number / limit)
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=tint, edgecolor="white"))
        where = corner[0] + 0.5, corner[1] + 0.5
        ax.text(*where, f"{number:g}", ha="center", va="center", fontsize=10)


def training_bytes(models):
    """GiB that training keeps beside the activations, whole and with an adapter, stacked.

    models: {model: {way: {part: bytes}}}; a panel for each model, with a scale of its own
    """
    with style():
        fig, axes = figure(1, len(models), size=(3.3 * len(models), 3.3), squeeze=False)
        for ax, (model, ways) in zip(axes[0], models.items()):
            most = max(sum(parts.values()) for parts in ways.values()) / 2**30
            for place, parts in enumerate(ways.values()):
                bottom = 0.0
                for color, (part, size) in zip((BLUE, GREEN, ORANGE), parts.items()):
                    height = size / 2**30
                    ax.bar(
                        place, height, 0.62, bottom, color=color, label=part if not place else ""
                    )
                    bottom += height
                text = f"{bottom:.3g}" if bottom < 100 else f"{bottom:,.0f}"
                ax.text(place, bottom + 0.02 * most, text, ha="center", fontsize=9)
            ax.set_xticks(range(len(ways)), ways)
            ax.set(title=model, ylim=(0, 1.15 * most))
            ax.tick_params(axis="x", length=0)
        axes[0][0].set(ylabel="GiB in float32")
        axes[0][0].legend(loc="upper right", bbox_to_anchor=(1.05, 1.0), fontsize=9)
    return fig


def by_question(shares, counts):
    """Of each kind of question, the share that is answered rightly.

    shares: {name of a model: {kind: share}}; counts: {kind: how many questions}
    """
    width = 0.8 / len(shares)
    colors = (GRAY, *PALETTE)
    with style():
        fig, ax = figure(size=(9.2, 3.2))
        for i, (name, share) in enumerate(shares.items()):
            x = np.arange(len(counts)) + (i + 0.5) * width - 0.4
            heights = [share[kind] for kind in counts]
            ax.bar(x, heights, 0.92 * width, color=colors[i], label=name)
            for place, height in zip(x, heights):
                ax.text(place, height + 0.01, f"{height:.0%}", ha="center", va="bottom", fontsize=9)
        ax.set_xticks(range(len(counts)), [f"{kind}\n({n})" for kind, n in counts.items()])
        ax.tick_params(axis="x", length=0)
        ax.set(ylabel="share answered rightly", ylim=(0, 1.12))
        ax.set_yticks(np.linspace(0, 1, 6))
        ax.legend(loc="upper right", ncols=len(shares))
    return fig


def what_rank_buys(runs):
    """Adapters of several ranks and the full fine-tune: what is learned, and what is forgotten.

    runs: {name: (numbers trained, share of right answers, loss on stories)}; the first is the base
    """
    (_, (_, before, stories)), *tuned = runs.items()
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.3))
        for color, (name, (trained, share, loss)) in zip(PALETTE, tuned):
            for ax, value in ((left, share), (right, loss)):
                ax.plot(trained, value, "o", color=color, markersize=8)
                where = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
                ax.annotate(name, (trained, value), (0, 9), **where)
        for ax, value in ((left, before), (right, stories)):
            _base_line(ax, value, above=ax is left)
            ax.set(xscale="log", xlabel="numbers that are trained")
            low, high = ax.get_xlim()
            ax.set_xlim(low / 1.6, high * 1.8)
            plain_log(ax.xaxis)
        left.set(ylabel="share answered rightly", title="learned", ylim=(-0.03, None))
        right.set(ylabel="loss on stories (nats)", title="forgotten", ylim=(0, None))
        for ax in (left, right):
            ax.set_ylim(None, 1.15 * ax.get_ylim()[1])
    return fig


def where_it_changed(changes, rows, columns):
    """How much each weight has changed: |ΔW| / |W|, layers by matrices, with the numbers.

    changes (layers, matrices); rows, columns: their names
    """
    with style():
        fig, ax = figure(size=(1.0 * len(columns) + 1.8, 0.5 * len(rows) + 1.0))
        top = changes.max()
        ax.imshow(changes, cmap=SEQUENTIAL, vmin=0, vmax=top, aspect="auto")
        for (row, column), value in np.ndenumerate(changes):
            color = "white" if value < 0.6 * top else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(length=0)
        ax.set(title="change of each weight, as a share of its size")
    return fig


def rank_of_the_change(spectra, kept, base):
    """The singular values of what a full fine-tune has changed, and what the first of them do.

    spectra: {matrix: its singular values}; kept: {rank: loss on answers with so many of each};
    base: that loss before
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.3))
        for name, values in spectra.items():
            left.plot(np.arange(1, len(values) + 1), values / values[0], label=name)
        left.set(xlabel="which singular value", ylabel="size (first = 1)", ylim=(0, 1.02))
        left.set(title="singular values of ΔW")
        left.legend(loc="upper right")
        right.plot(list(kept), list(kept.values()), "o-", color=BLUE)
        _base_line(right, base)
        right.set(xscale="log", xlabel="rank that is kept of every ΔW")
        right.set(ylabel="loss on answers (nats)", title="the full fine-tune, cut down")
        right.set_ylim(0, 1.08 * base)
        right.set_xticks(list(kept), list(map(str, kept)))
        right.minorticks_off()
    return fig


def cut_to_rank(matrix, A, B):
    """A matrix, and the nearest one of a rank, in the same colors: blue below 0, red above.

    matrix (out, in); A (r, in) and B (out, r), whose product that is. The titles tell how many
    numbers each takes, and how much of the sum of squares is left.
    """
    nearest = B @ A
    left, numbers = np.sum(nearest**2) / np.sum(matrix**2), A.size + B.size
    limit = 3 * float(matrix.std())
    titles = (
        f"ΔW, {matrix.size:,} numbers",
        f"rank {len(A)}, {numbers:,}: {left:.0%} of the squares",
    )
    with style():
        fig, axes = figure(1, 2, size=(5.8, 3.1))
        for ax, title, values in zip(axes, titles, (matrix, nearest)):
            ax.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit)
            ax.set_title(title, fontsize=9.5)
            ax.set_xticks([])
            ax.set_yticks([])
    return fig


def _base_line(ax, value, above=False):
    """A dashed line at what the base does."""
    ax.axhline(value, color=GRAY, linestyle="--", linewidth=1.2)
    ax.annotate(
        "the base",
        (0.99, value),
        (0, 4 if above else -4),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom" if above else "top",
        color=GRAY,
        fontsize=9,
    )
