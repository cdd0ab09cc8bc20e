"""Pictures of embeddings: looking up, scattering back, similarity, and vectors on paper."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.analysis.interpret import principal_components
from tinyqwen.viz.style import (
    BLUE,
    DIVERGING,
    GRAY,
    ORANGE,
    PALETTE,
    PARTS,
    figure,
    name_columns,
    style,
)


def one_hot_product(ids, weight, names):
    """One-hot rows times the table: every product is a row of the table, in its word's color.

    ids (n,): integers; weight (num_embeddings, dim); names: one for each row of the table
    """
    one_hot = np.eye(len(weight))[ids]
    labels, every = [names[i] for i in ids], range(len(weight))
    with style():
        fig, panels = figure(1, 3, size=(9.6, 0.5 * max(len(ids), len(weight)) + 1.1))
        _grid(panels[0], one_hot, ids, labels, names, "one-hot rows", lit=one_hot == 1)
        _grid(panels[1], weight, every, names, None, "×  the table W")
        _grid(panels[2], one_hot @ weight, ids, labels, None, "=  the rows looked up")
    return fig


def scatter_add(ids, g, num_embeddings, names):
    """Backward: each row of g goes to its id's row of the table's gradient, and is added there.

    ids (n,): integers; g (n, dim); names: one for each of the num_embeddings rows
    """
    _, vjp = F.embedding.raw(ids, np.zeros((num_embeddings, g.shape[1])))
    dweight = vjp(g)[1]
    rows = max(len(ids), num_embeddings)
    with style():
        fig, (left, gap, right) = figure(
            1, 3, size=(9.6, 0.55 * rows + 1.0), width_ratios=[3, 1.2, 3]
        )
        places = [f"{names[i]} ({i})" for i in ids]
        _grid(left, g, ids, places, None, "g, a row for each place")
        _grid(right, dweight, range(num_embeddings), names, None, "dW, a row for each id")
        for ax in (left, gap, right):
            ax.set_ylim(rows - 0.4, -0.6)
        gap.axis("off")
        for place, i in enumerate(ids):
            color = PALETTE[i % len(PALETTE)]
            arrow = dict(arrowstyle="-|>", color=color, linewidth=1.6)
            gap.annotate("", (1, i), (0, place), arrowprops=arrow)
    return fig


def similarity_maps(panels, words):
    """The cosine between every two vectors, in a map for each set of vectors.

    panels: {title: vectors (n, d)}; words: n labels
    """
    with style():
        side = max(0.2 * len(words) + 1.0, 2.6)
        fig, axes = figure(1, len(panels), size=(1.15 * side * len(panels), side), squeeze=False)
        for ax, (title, vectors) in zip(axes[0], panels.items()):
            cosines = F.cosine_similarity(vectors[:, None], vectors[None])
            image = ax.imshow(cosines, cmap=DIVERGING, vmin=-1, vmax=1)
            name_columns(ax, words, fontsize=8)
            ax.set_yticks(range(len(words)), words, fontsize=8)
            ax.set_title(title)
            if len(words) <= 6:
                for (row, column), cosine in np.ndenumerate(cosines):
                    color = "white" if abs(cosine) > 0.6 else "black"
                    ax.text(column, row, f"{cosine:.2f}", ha="center", va="center", color=color)
        fig.colorbar(image, ax=axes[0], label="cosine similarity", shrink=0.8)
    return fig


def projections(panels, groups):
    """Sets of vectors, each projected on its own two directions of largest spread.

    panels: {title: vectors (n, d)}; groups: {name of a group: its words}, together n words
    """
    words = [word for group in groups.values() for word in group]
    colors = [c for c, group in zip(PALETTE, groups.values()) for _ in group]
    with style():
        fig, axes = figure(1, len(panels), size=(4.8 * len(panels), 4.2), squeeze=False)
        for ax, (title, vectors) in zip(axes[0], panels.items()):
            flat = principal_components(vectors)
            for (x, y), (label_x, label_y), word, color in zip(flat, _apart(flat), words, colors):
                ax.plot([x, label_x], [y, label_y], color=GRAY, linewidth=0.4, zorder=1)
                ax.plot(x, y, "o", color=color, markersize=5)
                ax.text(label_x, label_y, word, va="center", fontsize=8.5)
            ax.set(title=title, xlabel="first direction", ylabel="second direction")
            ax.margins(0.16)
            ax.locator_params(nbins=6)
        for color, name in zip(PALETTE, groups):
            axes[0][0].plot([], [], "o", color=color, label=name)
        fig.legend(loc="outside lower center", ncols=len(groups))
    return fig


def _apart(points):
    """Places for labels, right of their points and moved up until none covers another, or a point.

    A label is taken to be 0.19 of the width long and 0.052 of the height high.
    """
    size = np.ptp(points, axis=0)
    placed = []
    for point in points[np.argsort(points[:, 1], kind="stable")]:
        spot = point + (0.03 * size[0], 0.0)
        others = points[(points != point).any(-1)]
        while (
            any((np.abs(spot - label) < (0.19, 0.052) * size).all() for label in placed)
            or (np.abs(others - spot - (0.06 * size[0], 0)) < (0.08, 0.03) * size).all(-1).any()
        ):
            spot[1] += 0.02 * size[1]
        placed.append(spot)
    order = np.argsort(points[:, 1], kind="stable")
    return np.array(placed)[np.argsort(order, kind="stable")]


def separation(steps, within, between):
    """How alike words of one group become while a model learns, and words of different groups.

    steps, within, between: lists of one length; mean cosine within and between the groups
    """
    with style():
        fig, ax = figure(size=(6.4, 3.0))
        ax.axhline(0, color=GRAY, linewidth=0.8)
        for values, color, name in (
            (within, ORANGE, "two words of one group"),
            (between, BLUE, "two words of different groups"),
        ):
            ax.plot(steps, values, color=color)
            ax.annotate(
                name, (steps[-1], values[-1]), (0, 5), textcoords="offset points", ha="right"
            )
        ax.set(xlabel="training step", ylabel="mean cosine similarity", ylim=(-0.2, 1.1))
    return fig


def row_gradients(panels):
    """How much each row of a table is moved by one batch: the length of its gradient.

    panels: {title: gradient (num_embeddings, dim)}
    """
    with style():
        fig, axes = figure(1, len(panels), size=(4.8 * len(panels), 2.8), squeeze=False)
        for ax, (title, gradient) in zip(axes[0], panels.items()):
            lengths = np.linalg.norm(gradient, axis=-1)
            heights = np.maximum(lengths, 1e-7)
            ax.vlines(range(len(lengths)), 1e-7, heights, PARTS["embedding"], linewidth=0.7)
            ax.set(xlabel="row of the table (token id)", ylabel="length of its gradient")
            ax.set_title(f"{title}: {np.count_nonzero(lengths)} of {len(lengths)} rows")
            ax.set(yscale="log", ylim=(1e-5, 1))
    return fig


def _grid(ax, values, ids, row_names, column_names, title, lit=None):
    """A small matrix with its numbers; each row, or its `lit` entries, in the color of its id."""
    from matplotlib.colors import to_rgb

    lit = np.ones(values.shape, bool) if lit is None else lit
    colors = np.array([to_rgb(PALETTE[i % len(PALETTE)]) for i in ids])[:, None]
    ax.imshow(np.where(lit[..., None], 1 - 0.35 * (1 - colors), 1.0), aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        ax.text(column, row, f"{value:g}", ha="center", va="center")
    rows, columns = values.shape
    line = {"color": GRAY, "linewidth": 0.5, "clip_on": False}
    ax.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, **line)
    ax.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, **line)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set_yticks(range(len(row_names)), row_names)
    columns = column_names or [str(i) for i in range(values.shape[1])]
    ax.set_xticks(range(len(columns)), columns)
    ax.set_xlabel("word" if column_names else "feature")
    ax.set_title(title)
