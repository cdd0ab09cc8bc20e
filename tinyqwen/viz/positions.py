"""Positions: tables, turned pairs, wavelengths, and what a score makes of a distance."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.viz.style import BLUE, DIVERGING, GRAY, PALETTE, figure, style


def vectors_by_word(sentences):
    """One row of numbers for each word, a panel for each sentence.

    sentences: {title: (words, vectors (words, features))}, all with one color scale
    """
    size = max(np.abs(vectors).max() for _, vectors in sentences.values())
    with style():
        fig, panels = figure(1, len(sentences), size=(9.6, 2.9), squeeze=False)
        for ax, (title, (words, vectors)) in zip(panels[0], sentences.items()):
            image = ax.imshow(vectors, cmap=DIVERGING, vmin=-size, vmax=size, aspect="auto")
            ax.set_yticks(range(len(words)), words)
            ax.set(title=title, xlabel="feature of the output")
        fig.colorbar(image, ax=panels[0], label="value")
    return fig


def sinusoids(num_positions, dim, theta=10000.0):
    """The sinusoidal table as a map, and four of its columns as waves."""
    table = F.sinusoidal_table(np.arange(num_positions), dim, theta)
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.3))
        image = left.imshow(
            table, cmap=DIVERGING, vmin=-1, vmax=1, aspect="auto", interpolation="nearest"
        )
        left.set(title="the table, a row for each position", xlabel="feature", ylabel="position")
        fig.colorbar(image, ax=left, label="value")
        for row, column in enumerate(2 * round(dim / 16 * i) for i in range(4)):
            right.plot(table[:, column] - 2.5 * row, color=PALETTE[row])
            right.annotate(
                f"feature {column}",
                (num_positions, -2.5 * row),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=PALETTE[row],
            )
        right.set(title="four of its columns", xlabel="position", yticks=[])
        right.spines["left"].set_visible(False)
    return fig


def similarities(tables):
    """The cosine between the vectors of every two positions.

    tables: {title: vectors (positions, features)}, a panel for each
    """
    with style():
        fig, panels = figure(1, len(tables), size=(4.6 * len(tables), 3.5), squeeze=False)
        for ax, (title, vectors) in zip(panels[0], tables.items()):
            cosines = F.cosine_similarity(vectors[:, None], vectors[None])
            image = ax.imshow(cosines, cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
            ax.set(title=title, xlabel="position", ylabel="position")
        fig.colorbar(image, ax=panels[0], label="cosine")
    return fig


def by_distance(distances, curves):
    """A score against the distance between two positions.

    distances: (n,) integers, negative where the key comes first
    curves:    {label: scores (n,)}, a panel for each
    """
    with style():
        fig, panels = figure(1, len(curves), size=(9.6, 3.0), squeeze=False)
        for ax, color, (label, scores) in zip(panels[0], PALETTE, curves.items()):
            ax.axvline(0, color=GRAY, linewidth=0.8)
            ax.plot(distances, scores, color=color)
            ax.set(title=label, xlabel="key position - query position", ylabel="score")
    return fig


def arrows(panels):
    """Vectors in the plane, with the unit circle.

    panels: {title: [(vector (2,), label, color), …]}, a panel for each
    """
    with style():
        width = max(2.5, 8.8 / len(panels))
        size = (width * len(panels), width + 0.8)
        fig, axes = figure(1, len(panels), size=size, squeeze=False, sharey=True)
        axes[0, 0].set_ylabel("second of the pair")
        around = np.linspace(0, 2 * np.pi, 200)
        for ax, (title, vectors) in zip(axes[0], panels.items()):
            ax.plot(np.cos(around), np.sin(around), color=GRAY, linewidth=0.6)
            for vector, label, color in vectors:
                ax.annotate(
                    "",
                    vector,
                    (0, 0),
                    arrowprops=dict(arrowstyle="-|>", color=color, shrinkA=0, shrinkB=0),
                )
                ax.text(*(1.17 * np.asarray(vector)), label, color=color, ha="center", va="center")
            ax.set(title=title, xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), xticks=[-1, 0, 1])
            ax.set(yticks=[-1, 0, 1], xlabel="first of the pair")
            ax.set_aspect("equal")
    return fig


def scores_by_position(scores):
    """Scores of every query position with every key position.

    scores: {title: (queries, keys)}, a panel for each
    """
    size = max(np.abs(values).max() for values in scores.values())
    with style():
        fig, panels = figure(1, len(scores), size=(4.6 * len(scores), 3.5), squeeze=False)
        for ax, (title, values) in zip(panels[0], scores.items()):
            image = ax.imshow(values, cmap=DIVERGING, vmin=-size, vmax=size)
            ax.set(title=title, xlabel="position of the key", ylabel="position of the query")
        fig.colorbar(image, ax=panels[0], label="score q · k")
    return fig


def wavelengths(dim, thetas, context):
    """Positions that each pair of a head needs for one turn, for several bases theta."""
    pairs = np.arange(dim // 2)
    with style():
        fig, ax = figure(size=(7.2, 3.3))
        for theta, color in zip(thetas, PALETTE):
            lengths = 2 * np.pi * theta ** (2 * pairs / dim)
            ax.semilogy(pairs, lengths, "o-", markersize=3, color=color, label=f"θ = {theta:,.0f}")
        ax.axhline(context, color=GRAY, linestyle="--", linewidth=1)
        ax.annotate(
            f"context: {context:,} tokens", (0, context), (0, 4), textcoords="offset points"
        )
        ax.set(xlabel="pair i", ylabel="wavelength in tokens", title="one turn of each pair")
        ax.legend(loc="lower right")
    return fig


def pairings(dim):
    """Which entries of a head turn together: half-split and interleaved."""
    layouts = {
        "half-split: i with i + d/2 (Hugging Face)": lambda j: j % (dim // 2),
        "interleaved: 2i with 2i + 1 (the paper)": lambda j: j // 2,
    }
    with style():
        fig, panels = figure(2, 1, size=(7.2, 3.4))
        for ax, (title, pair) in zip(panels, layouts.items()):
            for j in range(dim):
                color = PALETTE[pair(j)]
                ax.bar(j, 1, width=0.9, color=color)
                ax.text(j, 0.5, f"{j}", ha="center", va="center", color="white", weight="bold")
                partner = next(k for k in range(dim) if k != j and pair(k) == pair(j))
                if j < partner:
                    _arc(ax, j, partner, color)
                    ax.text(j, -0.12, f"pair {pair(j)}", ha="center", va="top", fontsize=8)
            ax.set(title=title, xlim=(-0.6, dim - 0.4), ylim=(-0.5, 2.2))
            ax.axis("off")
    return fig


def _arc(ax, start, stop, color):
    x = np.linspace(0, np.pi, 50)
    middle, radius = (start + stop) / 2, (stop - start) / 2
    ax.plot(middle - radius * np.cos(x), 1.05 + (0.35 + 0.2 * radius) * np.sin(x), color=color)


def shift_matrix(matrix):
    """A matrix with its entries written in, as for a shift of the sinusoidal table."""
    with style():
        fig, ax = figure(size=(4.6, 3.6))
        image = ax.imshow(matrix, cmap=DIVERGING, vmin=-1, vmax=1)
        for (row, column), value in np.ndenumerate(matrix.round(2) + 0.0):  # -0 is written 0
            color = "white" if abs(value) > 0.7 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=9)
        ax.set(xlabel="feature of PE[p]", ylabel="feature of PE[p + k]")
        fig.colorbar(image, ax=ax, label="entry of the matrix")
    return fig


def learning(curves, floor, floor_name):
    """Losses against the training step, with a line to compare them with.

    curves: {label: losses (steps,)}; floor: the loss of the line, floor_name: what it is
    """
    with style():
        fig, ax = figure(size=(7.2, 3.2))
        for color, (label, losses) in zip(PALETTE, curves.items()):
            ax.plot(losses, color=color, label=label)
        ax.axhline(floor, color=GRAY, linestyle="--", linewidth=1)
        ax.annotate(
            floor_name,
            (1, floor),
            (0, 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color=GRAY,
        )
        ax.set(xlabel="training step", ylabel="loss in nats", ylim=(0, None))
        ax.legend(loc="center right")
    return fig


def clock(position, dim, theta):
    """The pairs of a head as hands of clocks: where RoPE has turned them at a position.

    Pair i has turned by position · theta^(-2i/dim) radians; gray is position 0.
    """
    with style():
        fig, axes = figure(1, dim // 2, size=(1.45 * (dim // 2), 2.0), squeeze=False)
        around = np.linspace(0, 2 * np.pi, 200)
        for i, ax in enumerate(axes[0]):
            angle = position * theta ** (-2 * i / dim)
            ax.plot(np.cos(around), np.sin(around), color=GRAY, linewidth=0.6)
            ax.plot([0, 1], [0, 0], color=GRAY, linewidth=1.0)
            ax.plot([0, np.cos(angle)], [0, np.sin(angle)], color=BLUE, linewidth=2.4)
            ax.set_title(f"pair {i}", fontsize=9)
            ax.set_xlabel(f"{angle / (2 * np.pi):.3g} turns", fontsize=8)
            ax.set(xticks=[], yticks=[], xlim=(-1.15, 1.15), ylim=(-1.15, 1.15))
            ax.set_aspect("equal")
            for spine in ax.spines.values():
                spine.set_visible(False)
        fig.suptitle(f"position {position}, θ = {theta:,.0f}", x=0.02, ha="left", fontsize=11)
    return fig
