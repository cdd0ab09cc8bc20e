"""The whole model: a layer's blueprint, where parameters are, and when 6N is right."""

import numpy as np

from tinyqwen.analysis.budget import (
    as_dict,
    flops_per_token,
    parameter_counts,
    rule_of_thumb,
    six_n,
)
from tinyqwen.analysis.budget import rule_of_thumb_corrections as corrections_of
from tinyqwen.viz.budget import PARTS, short
from tinyqwen.viz.style import BLUE, GRAY, GREEN, ORANGE, PALETTE, RED, figure, style


def blueprint(config):
    """One decoder layer with the sizes of its parts, in the order of the computation.

    config: a dict with config.json's fields, or an object that has them as attributes
    """
    config = as_dict(config)
    counts = {
        part: n // config["num_hidden_layers"] for part, n in parameter_counts(config).items()
    }
    h, i, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    depth = config.get("head_dim") or h // heads
    bias = " + b" if config.get("attention_bias", True) else ""

    def linear(part, inputs, outputs, more=""):
        return f"{part}\n{inputs} → {outputs}{more}\n{counts[part]:,}"

    attention = [
        (1.4, [(f"RMSNorm\n{h}", GRAY)]),
        (
            3.2,
            [
                (linear("q_proj", h, heads * depth, bias), BLUE),
                (linear("k_proj", h, kv_heads * depth, bias), BLUE),
                (linear("v_proj", h, kv_heads * depth, bias), BLUE),
            ],
        ),
        (5.0, [("RoPE", GRAY), ("RoPE", GRAY), None]),
        (6.7, [(f"attention\n{heads} heads of {depth}\non {kv_heads} K/V heads", BLUE)]),
        (8.5, [(linear("o_proj", heads * depth, h), BLUE)]),
    ]
    mlp = [
        (1.4, [(f"RMSNorm\n{h}", GRAY)]),
        (3.2, [(linear("gate_proj", h, i), ORANGE), (linear("up_proj", h, i), ORANGE)]),
        (5.85, [("silu(gate) · up", ORANGE)]),
        (8.5, [(linear("down_proj", i, h), ORANGE)]),
    ]
    with style():
        fig, ax = figure(size=(10.2, 5.6))
        _row(ax, 0.0, attention, "x")
        _row(ax, -3.3, mlp, "h")
        ax.text(10.35, 0.0, "h", ha="left", va="center", fontsize=11, weight="bold")
        ax.text(10.35, -3.3, "to the\nnext layer", ha="left", va="center", fontsize=9)
        ax.set(xlim=(-0.2, 11.2), ylim=(-4.6, 1.7))
        ax.axis("off")
    return fig


def _row(ax, y, columns, name):
    """A norm, boxes, and a sum, with the residual stream around them."""
    ax.text(0.0, y, name, ha="center", va="center", fontsize=11, weight="bold")
    top = y + 1.42
    ax.plot([0.35, 0.35, 9.9], [y, top, top], color="black", linewidth=2)
    _arrow(ax, (9.9, top), (9.9, y + 0.2), "black")
    ax.plot(9.9, y, "o", markersize=17, markerfacecolor="white", markeredgecolor="black")
    ax.text(9.9, y, "+", ha="center", va="center", fontsize=12)
    before = [(0.12, y)]
    for x, boxes in columns:
        heights = {1: [y], 2: [y + 0.5, y - 0.5], 3: [y + 0.85, y, y - 0.85]}[len(boxes)]
        after = []
        for n, (box, height) in enumerate(zip(boxes, heights)):
            start = before[n] if len(before) == len(boxes) else before[0]
            if box is None:  # this one passes by
                after.append(start)
                continue
            text, color = box
            half = 0.36 if text == "RoPE" else 0.72
            _arrow(ax, start, (x - half, height))
            _box(ax, x, height, half, text, color)
            after.append((x + half, height))
        if len(boxes) == 1:
            for start in before[1:]:
                _arrow(ax, start, (x - 0.72, y))
        before = after
    _arrow(ax, before[0], (9.7, y))
    _arrow(ax, (10.1, y), (10.3, y))


def _arrow(ax, start, end, color=GRAY):
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 1.0, "mutation_scale": 9}
    ax.annotate("", end, start, arrowprops={**look, "shrinkA": 0, "shrinkB": 1}, zorder=1)


def _box(ax, x, y, half, text, color):
    from matplotlib.patches import FancyBboxPatch

    height = 0.22 if text == "RoPE" else 0.37
    shape = "round,pad=0,rounding_size=0.08"
    corner = (x - half, y - height)
    patch = FancyBboxPatch(
        corner, 2 * half, 2 * height, boxstyle=shape, facecolor="white", zorder=2
    )
    ax.add_patch(patch)
    patch = FancyBboxPatch(corner, 2 * half, 2 * height, boxstyle=shape, alpha=0.3, zorder=3)
    patch.set(facecolor=color, edgecolor=color)
    ax.add_patch(patch)
    ax.text(x, y, text, ha="center", va="center", fontsize=8, zorder=4)


def rule_to_exact(config):
    """From the rule of thumb, step by step, to the exact number of parameters.

    Returns a Figure.
    """
    steps = [("(4d² + d·d_ff)·l + V·d", rule_of_thumb(config))]
    steps += [
        (reason.split(", not")[0].split(", gate")[0], number)
        for reason, number in corrections_of(config)
    ]
    total = sum(number for _, number in steps)
    with style():
        fig, ax = figure(size=(9.6, 0.42 * len(steps) + 1.3))
        level = 0
        for row, (_, number) in enumerate(steps):
            color = GRAY if row == 0 else ORANGE if number > 0 else BLUE
            ax.barh(row, number, left=level, color=color, height=0.65)
            edge = max(level, level + number)
            sign = "" if row == 0 else "+" if number > 0 else "−"
            ax.text(edge + 0.008 * total, row, f"{sign}{short(abs(number))}", va="center")
            level += number
        ax.barh(len(steps), total, color=GREEN, height=0.65)
        ax.text(1.008 * total, len(steps), f"{total:,}", va="center")
        ax.set_yticks(range(len(steps) + 1), [*(name for name, _ in steps), "exact"])
        ax.invert_yaxis()
        ax.set(xlabel="parameters", xlim=(0, 1.3 * total))
        ax.xaxis.set_major_formatter(lambda number, _: short(number))
    return fig


def shares(configs):
    """Which part of each model's parameters is where, as bars of equal length.

    configs: {name: config}.  The norms' share is drawn, and nowhere wide enough to be seen.
    """
    with style():
        fig, ax = figure(size=(9.6, 0.36 * len(configs) + 1.2))
        for row, config in enumerate(configs.values()):
            counts, left = parameter_counts(as_dict(config)), 0.0
            total = sum(counts.values())
            for name, (parts, color) in PARTS.items():
                share = sum(counts[part] for part in parts) / total
                label = name if row == 0 and name != "norms" else None  # too thin to be seen
                ax.barh(row, share, left=left, color=color, height=0.75, label=label)
                if share > 0.035:
                    ink = {"color": "white" if color == BLUE else "black", "fontsize": 8}
                    ax.text(left + share / 2, row, f"{share:.0%}", ha="center", va="center", **ink)
                left += share
            ax.text(1.01, row, short(total), va="center", fontsize=9)
        ax.set_yticks(range(len(configs)), configs)
        ax.invert_yaxis()
        ax.set(xlim=(0, 1.08), xticks=[])
        ax.spines["bottom"].set_visible(False)
        ax.tick_params(length=0)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return fig


def against_six_n(configs, lengths):
    """Counted training operations a token as a multiple of 6N, against the length of the text.

    configs: {name: config}; lengths: (n,). Dashed: 1 + s / 6h, the textbook's correction.
    """
    with style():
        fig, ax = figure(size=(8.4, 3.6))
        for color, (name, config) in zip(PALETTE, configs.items()):
            config = as_dict(config)
            exact = [sum(flops_per_token(config, int(s), training=True).values()) for s in lengths]
            ax.plot(lengths, np.array(exact) / six_n(config), color=color, label=name)
            corrected = 1 + np.asarray(lengths) / (6 * config["hidden_size"])
            ax.plot(lengths, corrected, color=color, linestyle="--", linewidth=1)
        ax.axhline(1, color=RED, linewidth=1)
        ax.text(lengths[0], 1.0, "6N", color=RED, va="bottom")
        ax.set_xscale("log", base=2)
        ax.set_xticks(lengths[::2], [f"{s:,}" for s in lengths[::2]])
        ax.set(xlabel="tokens in the text, s", ylabel="operations / 6N", ylim=(0, None))
        ax.legend(loc="upper left")
    return fig


def losses(named, ylabel="loss (nats per token)"):
    """A loss for each of several models, as bars; the first is the one to compare with.

    named: {name: loss}
    """
    with style():
        fig, ax = figure(size=(8.4, 0.36 * len(named) + 0.9))
        colors = [BLUE] + [ORANGE] * (len(named) - 1)
        ax.barh(range(len(named)), named.values(), color=colors, height=0.7)
        for row, value in enumerate(named.values()):
            ax.text(value, row, f" {value:.2f}", va="center", fontsize=9)
        ax.set_yticks(range(len(named)), named)
        ax.invert_yaxis()
        ax.tick_params(axis="y", length=0)
        ax.set(xlabel=ylabel)
    return fig
