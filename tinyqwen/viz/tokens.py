"""Pictures of text cut into tokens: strips, merges step by step, trees of merges, bytes."""

from itertools import cycle, pairwise

from tinyqwen.text import bpe
from tinyqwen.viz.style import BLUE, GRAY, ORANGE, PARTS, can_draw, figure, style

TINTS = ("#CFE3F1", "#FBE6C2", "#CDEBDF", "#F3DCE8", "#E4E4E4")  # of the palette, behind black text
SPACE, NEWLINE = "·", "⏎"


def shown(piece) -> str:
    """A piece of text as it is drawn: spaces as dots, characters without a font as U+732B."""
    text = str(piece).replace(" ", SPACE).replace("\n", NEWLINE)
    return "".join(c if can_draw(c) else f"U+{ord(c):X}" for c in text)


def token_strips(rows):
    """The same text cut in several ways: a strip for each way, with the number of its pieces.

    rows: {"characters": ["I", " ", …], …}: name of the way, and the pieces in order
    """
    with style():
        fig, ax = figure(size=(9.6, 0.62 * len(rows) + 0.4))
        for y, (name, pieces) in enumerate(rows.items()):
            x = 0.0
            for piece, tint in zip(pieces, cycle(TINTS)):
                width = max(len(shown(piece)), 0.9)
                _box(ax, x, -y, width, shown(piece), tint)
                x += width
            ax.text(-0.8, -y, name, ha="right", va="center")
            ax.text(x + 0.8, -y, f"{len(pieces)}", ha="left", va="center", weight="bold")
        widest = max(sum(max(len(shown(p)), 0.9) for p in pieces) for pieces in rows.values())
        ax.set(xlim=(-8, widest + 3), ylim=(0.5 - len(rows), 0.5))
        ax.axis("off")
    return fig


def merge_steps(word_counts, merges):
    """Training, step by step: the words as they are cut after each merge, the new token lit.

    word_counts: {word: count}; merges: {(left id, right id): new id}, as `bpe.train_bpe` gives
    """
    vocabulary = bpe.bpe_vocabulary(merges)
    words = {bpe.byte_ids(word): count for word, count in word_counts.items()}
    rows = [("start", None, words)]
    for number, (pair, new) in enumerate(merges.items(), 1):
        left, right = (shown(bpe.decode([i], vocabulary)) for i in pair)
        title = f"{number}.  {left} + {right},  {bpe.count_pairs(words)[pair]} times"
        words = {bpe.merge_pair(word, pair, new): count for word, count in words.items()}
        rows.append((title, new, words))
    lefts, x = [], 0.0
    for word in word_counts:
        lefts.append(x)
        x += len(word.encode()) + 1.6
    with style():
        fig, ax = figure(size=(9.6, 0.46 * len(rows) + 0.5))
        for y, (title, new, cut) in enumerate(rows):
            ax.text(-1, -y, title, ha="right", va="center", weight="bold" if new else "normal")
            for left, word in zip(lefts, cut):
                for i in word:
                    width = len(vocabulary[i])
                    color = ORANGE if i == new else TINTS[0] if width > 1 else "white"
                    _box(ax, left, -y, width, shown(bpe.decode([i], vocabulary)), color)
                    left += width
        for left, (word, count) in zip(lefts, word_counts.items()):
            middle = left + len(word.encode()) / 2
            ax.text(middle, 1, f"{shown(word)} × {count}", ha="center", va="center")
        ax.set(xlim=(-9.5, x - 1), ylim=(0.5 - len(rows), 1.5))
        ax.axis("off")
    return fig


def merge_tree(words, merges):
    """How the merges build up each word, from its bytes below to its tokens on top.

    words: list of str; merges: {(left id, right id): new id}. At each knot stands the number of the
    merge.
    """
    vocabulary = bpe.bpe_vocabulary(merges)
    with style():
        fig, panels = figure(1, len(words), size=(9.6, 3.2), squeeze=False)
        for ax, word in zip(panels[0], words):
            nodes = [(i, x, 0.0) for x, i in enumerate(bpe.byte_ids(word))]  # id, x, height
            for i, x, _ in nodes:
                label = shown(bpe.decode([i], vocabulary))
                ax.text(x, -0.08, label, ha="center", va="top", fontsize=12)
            while present := [
                (merges[a[0], b[0]], at)
                for at, (a, b) in enumerate(pairwise(nodes))
                if (a[0], b[0]) in merges
            ]:
                new, at = min(present)
                left, right = nodes[at : at + 2]
                knot = (new, (left[1] + right[1]) / 2, max(left[2], right[2]) + 1)
                for _, x, height in (left, right):
                    ax.plot([x, knot[1]], [height, knot[2]], color=GRAY, zorder=1)
                _knot(ax, knot, new - 255)
                nodes[at : at + 2] = [knot]
            for i, x, height in nodes:
                label = f"“{shown(bpe.decode([i], vocabulary))}”"
                ax.text(x, height + 0.28, label, ha="center", color=BLUE, weight="bold")
            ax.set_title(f"{shown(word)}: {len(nodes)} token{'s' * (len(nodes) > 1)}", loc="center")
            ax.set(xlim=(-0.8, len(word) - 0.2), ylim=(-0.5, 4.2))
            ax.axis("off")
    return fig


def byte_rows(text, merges):
    """A text three times: its characters, their UTF-8 bytes, and the tokens made of those.

    text: str; merges: as `bpe.train_bpe` returns them
    """
    rows = {
        "characters": [(shown(c), len(c.encode())) for c in text],
        "bytes": [(f"{byte:02X}", 1) for byte in text.encode()],
        "tokens (ids)": [
            (str(i), len(bpe.bpe_vocabulary(merges)[i])) for i in bpe.encode(text, merges)
        ],
    }
    total = len(text.encode())
    with style():
        fig, ax = figure(size=(9.6, 2.0))
        for y, (name, pieces) in enumerate(rows.items()):
            x = 0
            for (label, width), tint in zip(pieces, cycle(TINTS)):
                _box(ax, x, -y, width, label, tint)
                x += width
            ax.text(-0.3, -y, name, ha="right", va="center")
        ax.set(xlim=(-3.2, total + 0.2), ylim=(-2.6, 0.6))
        ax.axis("off")
    return fig


def vocabulary_trade(sizes, lengths, embedding_share):
    """What a larger vocabulary buys and costs: shorter texts, a larger table.

    sizes: vocabulary sizes; lengths: characters a token at each size; embedding_share: share of
    the model's parameters that its embedding table takes, 0 to 1
    """
    with style():
        fig, (left, right) = figure(1, 2, size=(9.6, 3.2))
        left.plot(sizes, lengths, color=BLUE, marker="o", markersize=4)
        left.set(xlabel="tokens in the vocabulary", ylabel="characters a token", xscale="log")
        left.set_title("what it buys: shorter texts")
        right.plot(
            sizes, [100 * s for s in embedding_share], color=PARTS["embedding"], marker="o", ms=4
        )
        right.set(xlabel="tokens in the vocabulary", ylabel="% of the model", xscale="log")
        right.set_title("what it costs: the embedding table")
        for ax in (left, right):
            ax.set_xticks(sizes[::2], [str(size) for size in sizes[::2]])
            ax.minorticks_off()
            ax.set_ylim(0)
            ax.grid(color=GRAY, alpha=0.2)
    return fig


def count_and_score(counts, scores):
    """BPE's count of each pair beside WordPiece's score; the pair that each merges next is lit.

    counts, scores: {(left, right): number} with the same pairs
    """
    pairs = sorted(counts, key=lambda pair: (counts[pair], pair))
    with style():
        fig, panels = figure(1, 2, size=(9.6, 0.36 * len(pairs) + 1.2), sharey=True)
        for ax, values, title in (
            (panels[0], counts, "BPE: freq(ab)"),
            (panels[1], scores, "WordPiece: freq(ab) / (freq(a) · freq(b))"),
        ):
            best = max(values.values())
            colors = [ORANGE if values[pair] == best else BLUE for pair in pairs]
            bars = ax.barh(
                [f"{a}  {b}" for a, b in pairs], [values[p] for p in pairs], color=colors
            )
            ax.bar_label(bars, [f"{values[p]:.4g}" for p in pairs], padding=3, fontsize=9)
            ax.set_title(title)
            ax.set_xlim(0, 1.15 * best)
            ax.set_xlabel("count" if values is counts else "score")
    return fig


def _box(ax, x, y, width, label, color):
    from matplotlib.patches import Rectangle

    box = Rectangle((x, y - 0.4), width, 0.8, facecolor=color, edgecolor="black", linewidth=0.7)
    ax.add_patch(box)
    ax.text(x + width / 2, y - 0.02, label, ha="center", va="center", fontsize=9)


def _knot(ax, knot, number):
    _, x, height = knot
    ax.plot(x, height, "o", ms=17, mfc="white", mec=ORANGE, zorder=2)
    ax.text(x, height, str(number), ha="center", va="center", fontsize=9, zorder=3)
