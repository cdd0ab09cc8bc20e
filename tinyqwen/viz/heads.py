"""Heads: how they are cut, what they look at, who shares keys and values, what a cache takes."""

import numpy as np

from tinyqwen.viz.style import BLUE, GRAY, GREEN, ORANGE, PALETTE, SEQUENTIAL, figure, style


def splitting(x, head_dim):
    """What split_heads does to a table, and what one reshape alone would do.

    x: (T, H·D), small whole numbers; features of one head have one color. Returns a Figure.
    """
    length, width = x.shape
    heads = width // head_dim
    origin = np.broadcast_to(np.arange(width) // head_dim, x.shape)
    pairs = np.stack([x, origin])  # (2, T, C): a number and the head that it belongs to
    right = pairs.reshape(2, length, heads, head_dim).swapaxes(1, 2)
    wrong = pairs.reshape(2, heads, length, head_dim)
    with style():
        sizes = [width, heads * (head_dim + 0.7), heads * (head_dim + 0.7)]
        fig, panels = figure(1, 3, size=(10.2, 0.42 * length + 1.1), width_ratios=sizes)
        _table(panels[0], 0, *pairs)
        panels[0].set_title("x: (T, H·D)")
        for panel, title, (numbers, colors) in (
            (panels[1], "split_heads: (H, T, D)", right),
            (panels[2], "reshape alone: tokens mixed", wrong),
        ):
            for h in range(heads):
                left = h * (head_dim + 0.7)
                _table(panel, left, numbers[h], colors[h])
                middle = left + head_dim / 2
                panel.text(middle, length + 0.1, f"head {h}", ha="center", va="top", fontsize=9)
            panel.set_title(title)
        for panel, size in zip(panels, sizes):
            panel.set(xlim=(-0.1, size), ylim=(length + 0.6, -0.1))
            panel.set_aspect("equal")
            panel.axis("off")
        for row in range(length):
            panels[0].text(-0.2, row + 0.5, f"token {row}", ha="right", va="center", fontsize=9)
    return fig


def _table(ax, left, numbers, colors):
    """A table whose upper left corner is at (left, 0); colors: indices into the palette."""
    from matplotlib.patches import Rectangle

    for (row, column), number in np.ndenumerate(numbers):
        corner = (left + column, row)
        color = PALETTE[int(colors[row, column])]
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=color, alpha=0.3, edgecolor="white"))
        middle = (corner[0] + 0.5, corner[1] + 0.5)
        ax.text(*middle, f"{number:g}", ha="center", va="center", fontsize=9)


def views(weights, names, tokens, least=0.1):
    """One query as many heads see it: a row for each head, a column for each key.

    weights: (heads, keys); names: of the heads; tokens: the keys' words; weights of at least
    `least` are written in. Returns a Figure.
    """
    with style():
        fig, ax = figure(size=(9.6, 0.34 * len(names) + 1.5))
        image = ax.imshow(weights, cmap=SEQUENTIAL, vmin=0, aspect="auto")
        ax.set_yticks(range(len(names)), names)
        ax.set_xticks(range(len(tokens)), tokens, rotation=45, ha="right")
        for (row, column), weight in np.ndenumerate(weights):
            if weight >= least:
                color = "black" if weight > 0.6 * weights.max() else "white"
                text = f"{weight:.2f}"[1:] if weight < 0.995 else "1"
                ax.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
        fig.colorbar(image, ax=ax, label="weight", pad=0.01)
    return fig


def sharing(heads, arrangements):
    """Which query head reads which key/value head.

    heads: number of query heads; arrangements: {title: number of key/value heads}
    """
    with style():
        fig, panels = figure(1, len(arrangements), size=(3.4 * len(arrangements), 2.3))
        for panel, (title, kv_heads) in zip(panels, arrangements.items()):
            groups = heads // kv_heads
            for h in range(heads):
                color = PALETTE[h // groups % len(PALETTE)]
                shared = (h // groups + 0.5) * groups - 0.5
                panel.plot([h, shared], [1, 0], color=color, linewidth=1.4, zorder=1)
                _node(panel, h, 1, str(h), color)
            for k in range(kv_heads):
                _node(panel, (k + 0.5) * groups - 0.5, 0, str(k), PALETTE[k % len(PALETTE)])
            panel.set_title(title)
            panel.set(xlim=(-0.6, heads - 0.4), ylim=(-0.35, 1.35), xticks=[])
            panel.set_yticks([0, 1], ["K, V", "Q"])
            panel.tick_params(length=0)
            for side in ("left", "bottom"):
                panel.spines[side].set_visible(False)
    return fig


def _node(ax, x, y, text, color):
    ax.plot(x, y, "o", markersize=17, markerfacecolor="white", markeredgecolor=color, zorder=2)
    ax.text(x, y - 0.01, text, ha="center", va="center", fontsize=9, zorder=3)


def cache_sizes(tables, tokens):
    """GiB that the KV cache of one text takes, as bars for each model, on a logarithmic scale.

    tables: {model: [(name, key/value heads, bytes a token)]}; tokens: the text's length
    """
    colors = {"MHA": GRAY, "GQA": BLUE, "MQA": ORANGE}
    with style():
        fig, ax = figure(size=(9.6, 3.3))
        for place, rows in enumerate(tables.values()):
            for shift, (name, _, size) in enumerate(rows):
                height = size * tokens / 2**30
                x = place + 0.27 * (shift - 1)
                ax.bar(x, height, 0.25, color=colors[name], label=name if place == 0 else None)
                text = f"{height:.2g}" if height < 9.95 else f"{height:.0f}"
                ax.text(x, height * 1.06, text, ha="center", va="bottom", fontsize=8)
        ax.set_yscale("log")
        ax.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
        ax.minorticks_off()
        ax.set_xticks(range(len(tables)), tables)
        ax.tick_params(axis="x", length=0)
        ax.set(ylabel="GiB")
        ax.set_ylim(None, 2 * ax.get_ylim()[1])
        ax.set_title(f"KV cache of {tokens:,} tokens in bfloat16")
        ax.legend(loc="upper left", ncols=3)
    return fig


def folding(heads, kv_heads):
    """Two ways to let several query heads meet one key head: copy the keys, or stack the queries.

    heads, kv_heads: numbers of query and key/value heads
    """
    groups = heads // kv_heads
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 0.3 * heads + 1.3))
        for panel, title in (
            (left, f"repeat: K copied, {heads} products"),
            (right, f"fold: {kv_heads} products, K where it lies"),
        ):
            panel.set_title(title)
            panel.set(xlim=(-0.2, 8.6), ylim=(heads + 0.1, -0.5))
            panel.axis("off")
        for h in range(heads):
            color = PALETTE[h // groups % len(PALETTE)]
            copied = h % groups > 0
            _box(left, 0.6, h, 2.4, 0.8, color, f"Q{h}", False)
            left.text(3.6, h + 0.4, "×", ha="center", va="center")
            _box(left, 4.2, h, 2.4, 0.8, color, f"K{h // groups}ᵀ", copied)
            if copied:
                left.text(6.75, h + 0.4, "copy", va="center", fontsize=8, color=GREEN)
            height = 1 - 0.2 / groups
            top = h // groups * groups + h % groups * height
            _box(right, 0.6, top, 2.4, height, color, f"Q{h}", False)
        for k in range(kv_heads):
            middle = (k + 0.5) * groups - 0.1
            right.text(3.6, middle, "×", ha="center", va="center")
            color = PALETTE[k % len(PALETTE)]
            _box(right, 4.2, middle - 0.4, 2.4, 0.8, color, f"K{k}ᵀ", False)
    return fig


def _box(ax, x, y, width, height, color, text, dashed):
    from matplotlib.patches import Rectangle

    look = {"linestyle": "--", "facecolor": "white"} if dashed else {"facecolor": color}
    edge = {"edgecolor": color, "linewidth": 1.0}
    ax.add_patch(Rectangle((x, y), width, height, alpha=0.35, **look, **edge))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)
