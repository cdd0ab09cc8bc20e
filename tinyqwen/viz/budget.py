"""Where a model's parameters are, and where its arithmetic is."""

from tinyqwen.analysis.budget import as_dict, flops_per_token, parameter_counts
from tinyqwen.viz import style as colors
from tinyqwen.viz.style import figure, style

PARTS = {  # name -> (parameters' parts, color)
    "embedding": (("embed_tokens",), colors.PARTS["embedding"]),
    "attention": (("q_proj", "k_proj", "v_proj", "o_proj"), colors.PARTS["attention"]),
    "mlp": (("gate_proj", "up_proj", "down_proj"), colors.PARTS["mlp"]),
    "norms": (("norms",), colors.PARTS["norms"]),
    "lm_head": (("lm_head",), colors.PARTS["lm_head"]),
}
OPERATIONS = {
    "attention projections": colors.PARTS["attention"],
    "attention scores": colors.PARTS["attention"],
    "mlp": colors.PARTS["mlp"],
    "lm_head": colors.PARTS["lm_head"],
}


def budget(config, sequence_length):
    """Parameters by part, and operations per token by part, as bars.

    config: a dict with config.json's fields, or an object that has them as attributes;
    sequence_length: tokens attention looks at. Returns a Figure.
    """
    config = as_dict(config)
    counts = parameter_counts(config)
    flops = flops_per_token(config, sequence_length)
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 2.9))
        numbers = {name: sum(counts[p] for p in parts) for name, (parts, _) in PARTS.items()}
        _bars(left, numbers, [color for _, color in PARTS.values()])
        if not counts["lm_head"]:
            left.texts[-1].set_text("the embedding, used again")
        left.set_title(f"{short(sum(numbers.values()))} parameters")
        _bars(right, flops, list(OPERATIONS.values()))
        right.set_title(f"{short(sum(flops.values()))} operations per token")
        right.set_xlabel(f"forward pass, a text of {sequence_length:,} tokens", loc="left")
    return fig


def _bars(axes, numbers, colors):
    total = sum(numbers.values())
    axes.barh(list(numbers), list(numbers.values()), color=colors, height=0.7)
    for row, number in enumerate(numbers.values()):
        label = f"{short(number)}, {number / total:.1%}"
        axes.annotate(label, (number, row), (4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.45 * max(numbers.values()))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)


def short(number):
    """494032768 -> "494 M"."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.3g}"
