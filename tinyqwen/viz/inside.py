"""Pictures of the inside of a trained model: heads, layers, the stream, and the ill ones."""

import numpy as np

from tinyqwen.viz.style import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PALETTE,
    RED,
    SEQUENTIAL,
    color_of,
    figure,
    style,
)
from tinyqwen.viz.tokens import shown

LINE = 110  # characters in a line of `reading`


def head_grid(attentions):
    """The attention weights of every head: a row of maps for each layer.

    attentions (L, H, T, T). Small weights are brightened: the color goes with the square root.
    """
    from matplotlib.colors import PowerNorm

    layers, heads = attentions.shape[:2]
    with style():
        fig, axes = figure(layers, heads, size=(1.8 * heads + 1, 1.8 * layers), squeeze=False)
        for (layer, head), ax in np.ndenumerate(axes):
            image = ax.imshow(
                attentions[layer, head], cmap=SEQUENTIAL, norm=PowerNorm(0.5, vmin=0, vmax=1)
            )
            ax.set_title(f"head {layer}.{head}", fontsize=9.5)
            ax.set(xticks=[], yticks=[])
        axes[-1][0].set(xlabel="key", ylabel="query")
        fig.colorbar(image, ax=axes, shrink=0.5, label="weight")
    return fig


def reading(pieces, rows):
    """A text as tokens, shaded by how much a head looks at each; a block for each query.

    pieces: the tokens as text, or a list of them for each row
    rows:   {title: (weights (T,), position of the query)}; the query's token is framed
    """
    texts = [pieces] * len(rows) if isinstance(pieces[0], str) else pieces
    places = [_places(text) for text in texts]
    heights = [place[-1][1] + 2 for place in places]
    with style():
        fig, axes = figure(
            len(rows), 1, size=(9.8, 0.27 * sum(heights)), squeeze=False, height_ratios=heights
        )
        for ax, text, place, (title, (weights, query)) in zip(
            axes[:, 0], texts, places, rows.items()
        ):
            for i, (piece, (column, line)) in enumerate(zip(text, place)):
                _word(ax, piece, column, line, weights[i] if i <= query else 0.0, i == query)
            ax.set(xlim=(-0.5, LINE + 1), ylim=(place[-1][1] + 0.7, -0.7), title=title)
            ax.axis("off")
    return fig


def _places(pieces):
    """(column, line) of each token, words kept together."""
    starts = [i for i, piece in enumerate(pieces) if i == 0 or piece[:1].isspace()]
    column = line = 0
    places = []
    for start, stop in zip(starts, [*starts[1:], len(pieces)]):
        if column + sum(map(len, pieces[start:stop])) > LINE:
            column, line = 0, line + 1
        for piece in pieces[start:stop]:
            places.append((column, line))
            column += len(piece)
    return places


def _word(ax, piece, column, line, weight, is_query):
    from matplotlib.patches import Rectangle

    gap = len(piece) - len(piece.lstrip())
    box = (column + gap - 0.15, line - 0.42), len(piece) - gap + 0.3, 0.84
    ax.add_patch(Rectangle(*box, facecolor=ORANGE, alpha=float(weight) ** 0.5, linewidth=0))
    if is_query:
        ax.add_patch(Rectangle(*box, fill=False, edgecolor=BLUE, linewidth=1.6))
    ax.text(
        column + gap,
        line,
        piece.strip(),
        family="DejaVu Sans Mono",
        fontsize=10.2,
        va="center_baseline",
    )


def head_maps(maps, limit=None):
    """A number for every head, layers by heads, with the numbers written in.

    maps: {title: (L, H)}, a panel for each; limit: the value of the brightest color, or None, and
    each panel's largest value is
    """
    with style():
        fig, axes = figure(1, len(maps), size=(max(3.3 * len(maps), 4.2), 3.0), squeeze=False)
        for ax, (title, values) in zip(axes[0], maps.items()):
            top = limit or values.max()
            ax.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=top)
            for (layer, head), value in np.ndenumerate(values):
                text, color = (
                    f"{value.round(2) + 0.0:.2f}",
                    "white" if value < 0.6 * top else "black",
                )
                ax.text(head, layer, text, ha="center", va="center", color=color)
            ax.set_xticks(range(values.shape[1]))
            ax.set_yticks(range(values.shape[0]))
            ax.set(title=title, xlabel="head", ylabel="layer")
    return fig


def lens(pieces, tokens, probabilities):
    """What each layer would say next, at every place of a text.

    pieces: the text's tokens, T of them; tokens: (L + 1) lists of T tokens, each layer's most
    probable ones, the embeddings first; probabilities (L + 1, T): theirs
    """
    layers = len(tokens)
    with style():
        fig, ax = figure(size=(0.72 * len(pieces) + 1.6, 0.42 * layers + 1.2))
        image = ax.imshow(probabilities, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        for (layer, t), p in np.ndenumerate(probabilities):
            color = "black" if p > 0.6 else "white"
            text = shown(tokens[layer][t])
            ax.text(t, layer, text, ha="center", va="center", color=color, fontsize=8.5)
        ax.set_xticks(range(len(pieces)), [shown(p) for p in pieces], rotation=45, ha="right")
        ax.set_yticks(
            range(layers), ["embedding", *(f"after layer {i}" for i in range(layers - 1))]
        )
        ax.invert_yaxis()
        ax.set(xlabel="having read the text up to …")
        fig.colorbar(image, ax=ax, label="probability", pad=0.01)
    return fig


def by_layer(parts, ylabel):
    """Bars for every layer, one color for each part.  parts: {name: (L,)}."""
    width = 0.8 / len(parts)
    with style():
        fig, ax = figure(size=(6.4, 3.0))
        for i, (name, values) in enumerate(parts.items()):
            x = np.arange(len(values)) + (i + 0.5) * width - 0.4
            ax.bar(x, values, width, color=color_of(name, PALETTE[i]), label=name)
        ax.set_xticks(range(len(values)), [f"layer {i}" for i in range(len(values))])
        ax.set(ylabel=ylabel)
        ax.legend(loc="best")
    return fig


def through_layers(panels, ylabel):
    """Curves from the embeddings through the layers.

    panels: {title: {label: (L + 1,)}}, drawn with one scale; None in place of a value is left out
    """
    with style():
        fig, axes = figure(
            1, len(panels), size=(4.8 * len(panels), 3.2), squeeze=False, sharey=True
        )
        for ax, (title, curves) in zip(axes[0], panels.items()):
            for label, values in curves.items():
                color = color_of(label, "black")
                x = [i for i, value in enumerate(values) if value is not None]
                ax.plot(x, [values[i] for i in x], "o-", markersize=4, label=label, color=color)
            names = ["embedding", *(f"layer {i}" for i in range(len(values) - 1))]
            ax.set_xticks(range(len(values)), names)
            ax.set(title=title)
            ax.set_ylim(0, None)
            ax.legend(loc="best")
        axes[0][0].set(ylabel=ylabel)
    return fig


def scores_while_learning(steps, losses, scores):
    """The loss of a model while it learns, and beside it the scores of its heads.

    steps, losses: (n,);  scores: {label: (n,)}
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(9.4, 3.1))
        left.plot(steps, losses, color=BLUE)
        left.set(xlabel="training step", ylabel="loss (nats)", title="the loss")
        left.set_ylim(0, None)
        for color, (label, values) in zip((ORANGE, GREEN, *PALETTE[3:]), scores.items()):
            right.plot(steps, values, color=color, label=label)
        right.set(xlabel="training step", ylabel="score", ylim=(0, 1), title="two of its heads")
        right.legend(loc="lower right")
    return fig


def patients_losses(runs, every, floor):
    """The losses of several runs, cut off above, against the floor that none can honestly pass.

    runs: {name: losses}, one for every `every` steps; floor in nats per token
    """
    with style():
        fig, ax = figure(size=(8.4, 3.6))
        for color, (name, losses) in zip((*PALETTE[:4], "black"), runs.items()):
            smooth = np.convolve(losses, np.full(5, 0.2), "valid")  # a mean over five
            ax.plot(every * (np.arange(len(smooth)) + 2), smooth, color=color, label=name)
        ax.axhline(floor, color=GRAY, linestyle="--", linewidth=1.2)
        ax.text(5, floor, f"floor {floor:.2f}", color=GRAY, va="bottom", fontsize=9)
        ax.set(xlabel="training step", ylabel="loss (nats per token)", ylim=(-0.03, 1.3))
        ax.set_xlim(0, every * len(losses))
        ax.legend(loc="upper right", ncols=3)
    return fig


def verdicts(table):
    """Which test finds which model ill.  table: {model: {test: True for sound}}."""
    tests = list(next(iter(table.values())))
    with style():
        fig, ax = figure(size=(1.1 * len(tests) + 2.2, 0.42 * len(table) + 0.8))
        for row, found in enumerate(table.values()):
            for column, test in enumerate(tests):
                sound = found[test]
                mark, color = ("sound", GRAY) if sound else ("ill", RED)
                weight = "normal" if sound else "bold"
                ax.text(column, row, mark, ha="center", va="center", color=color, weight=weight)
        ax.set_xticks(range(len(tests)), tests)
        ax.set_yticks(range(len(table)), list(table))
        ax.set(xlim=(-0.6, len(tests) - 0.4), ylim=(len(table) - 0.4, -0.6))
        ax.tick_params(length=0)
        ax.xaxis.tick_top()
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
    return fig
