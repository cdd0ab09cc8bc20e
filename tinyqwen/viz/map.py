"""The map of the model: every part a box, with the part in question lit."""

from itertools import pairwise

from tinyqwen.viz.style import BLUE, GRAY, YELLOW, figure, style

# name: (label, x of the middle, y of the middle, width)
_STREAM = {
    "tokens": ("tokens", 0.0, 0, 0.9),
    "embedding": ("embedding", 1.25, 0, 1.15),
    "norm": ("norm", 2.75, 0, 0.75),
    "attention": ("attention", 3.85, 0, 1.05),
    "residual": ("+", 4.8, 0, 0.36),
    "norm 2": ("norm", 5.6, 0, 0.75),
    "mlp": ("mlp", 6.55, 0, 0.75),
    "residual 2": ("+", 7.3, 0, 0.36),
    "norm 3": ("norm", 8.35, 0, 0.75),
    "lm_head": ("lm_head", 9.4, 0, 0.95),
    "logits": ("logits", 10.5, 0, 0.85),
}
_AROUND = {
    "rope": ("rope", 3.85, -1.1, 0.75),
    "loss": ("loss", 10.5, -1.1, 0.85),
    "optimizer": ("optimizer", 8.9, -1.1, 1.15),
    "engine": ("engine: tensors, the tape, gradients", 5.25, -2.0, 11.35),
    "generation": ("generation: the next token", 5.25, 1.6, 2.9),
}
PARTS = tuple(name for name in {**_STREAM, **_AROUND} if not name[-1].isdigit())
_HEIGHT = 0.58


def model_map(highlight=None, notes=None):
    """The whole model from tokens to logits, and what trains and runs it, in one strip.

    highlight: name of the part to light, or a list of names, of `PARTS`: "tokens", "embedding",
               "norm", "attention", "rope", "residual", "mlp", "lm_head", "logits", "loss",
               "optimizer", "generation", "engine". A part that occurs several times is lit
               everywhere. None: nothing is lit.
    notes:     {part: short text to write beside it}, or None
    Returns a Figure. Raises ValueError for a part that is not on the map.
    """
    lit = {highlight} if isinstance(highlight, str) else set(highlight or ())
    notes = notes or {}
    if unknown := sorted((lit | set(notes)) - set(PARTS)):
        raise ValueError(f"the map has no part {unknown[0]!r}; its parts are: {', '.join(PARTS)}")
    with style():
        fig, ax = figure(size=(9.6, 3.5))
        _frame(ax)
        _arrows(ax)
        for name, (label, x, y, width) in {**_STREAM, **_AROUND}.items():
            part = name.split(" ")[0]
            _box(ax, x, y, width, label, part in lit)
            if part in notes and part == name:
                _note(ax, part, x, y, notes[part])
        ax.set(xlim=(-0.65, 11.15), ylim=(-2.4, 2.0))
        ax.set_aspect("equal")
        ax.axis("off")
    return fig


def _box(ax, x, y, width, label, lit):
    from matplotlib.patches import FancyBboxPatch

    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - _HEIGHT / 2),
            width,
            _HEIGHT,
            boxstyle="round,pad=0.02,rounding_size=0.12",
            facecolor=YELLOW if lit else "white",
            edgecolor="black" if lit else GRAY,
            linewidth=1.6 if lit else 1.0,
            zorder=3,
        )
    )
    weight, color = ("bold", "black") if lit else ("normal", "#404040")
    ax.text(x, y, label, ha="center", va="center", fontsize=9, weight=weight, color=color, zorder=4)


def _note(ax, part, x, y, text):
    above = part == "attention"  # rope's arrow comes from below
    edge = y + (_HEIGHT / 2 + 0.05) * (1 if above else -1)
    side = "bottom" if above else "top"
    ax.text(x, edge, text, ha="center", va=side, fontsize=8.5, color=BLUE, zorder=4)


def _frame(ax):
    """The frame around the decoder layer, which is repeated."""
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle(
            (2.2, -0.62), 5.42, 1.72, facecolor="#F3F3F3", edgecolor=GRAY, linewidth=0.8, zorder=0
        )
    )
    ax.text(7.55, 1.03, "× number of layers", ha="right", va="top", fontsize=8.5, color="#404040")


def _arrows(ax):
    boxes = list(_STREAM.values())
    for (_, x, _, width), (_, following, _, next_width) in pairwise(boxes):
        _arrow(ax, (x + width / 2, 0), (following - next_width / 2, 0))
    for start, end in ((2.28, 4.8), (5.08, 7.3)):  # the residual stream, around each block
        ax.plot([start, start, end], [0, 0.68, 0.68], color=GRAY, linewidth=1, zorder=1)
        _arrow(ax, (end, 0.68), (end, _HEIGHT / 2))
    top, bottom = _HEIGHT / 2, -_HEIGHT / 2
    _arrow(ax, (3.85, -1.1 + top), (3.85, bottom))  # rope turns queries and keys
    _arrow(ax, (10.5, bottom), (10.5, -1.1 + top))  # logits to loss
    _arrow(ax, (10.5 - 0.425, -1.1), (8.9 + 0.575, -1.1))  # loss to optimizer
    ax.plot([10.5, 10.5], [top, 1.6], color=GRAY, linewidth=1, zorder=1)
    _arrow(ax, (10.5, 1.6), (5.25 + 1.45, 1.6))
    ax.plot([5.25 - 1.45, 0], [1.6, 1.6], color=GRAY, linewidth=1, zorder=1)
    _arrow(ax, (0, 1.6), (0, top))


def _arrow(ax, start, end):
    ax.annotate(
        "",
        end,
        start,
        arrowprops=dict(
            arrowstyle="-|>", color=GRAY, linewidth=1, mutation_scale=9, shrinkA=1, shrinkB=1
        ),
        zorder=2,
    )
