"""The loss of next-token prediction: where it comes from, and what its gradient pulls at."""

import numpy as np

from tinyqwen.viz.style import BLUE, GRAY, GREEN, ORANGE, RED, SKY, figure, style
from tinyqwen.viz.tokens import shown


def surprise(pieces, nats):
    """A text, token by token, and what each token costs: a bar of -ln P over its word.

    pieces: the tokens as text; nats: -ln P(token | those before), None for the first. Returns a
    Figure; bars above the mean are lit.
    """
    heights = np.array([np.nan if n is None else n for n in nats])
    mean = np.nanmean(heights)
    with style():
        fig, ax = figure(size=(9.6, 3.1))
        colors = [ORANGE if h > mean else BLUE for h in heights]
        ax.bar(range(len(pieces)), np.nan_to_num(heights), color=colors, width=0.8)
        ax.axhline(mean, color=GRAY, lw=1, ls="--")
        ax.annotate(
            f"mean {mean:.2f}",
            (len(pieces) - 0.5, mean),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=GRAY,
        )
        ax.set_xticks(range(len(pieces)), [shown(p) for p in pieces], rotation=60, ha="right")
        ax.tick_params(axis="x", length=0, labelsize=8.5)
        ax.set(ylabel="−ln P (nats)", xlim=(-0.6, len(pieces) - 0.4))
    return fig


def pull(words, p, label):
    """Probabilities, the one-hot target, and their difference p - y: three panels of bars.

    words: the vocabulary; p: a probability for each; label: the index of the right one.
    """
    y = np.eye(len(words))[label]
    panels = {"p = softmax(logits)": p, "y, the token that came": y, "gradient: p − y": p - y}
    with style():
        fig, axes = figure(1, 3, size=(9.6, 2.7), sharex=True, sharey=True)
        for ax, (title, values) in zip(axes, panels.items()):
            colors = [RED if v < 0 else BLUE for v in values] if "p −" in title else SKY
            ax.bar(words, values, color=colors, width=0.7)
            for x, value in enumerate(values):
                ax.annotate(
                    f"{value:+.3g}" if "p −" in title else f"{value:.3g}",
                    (x, value),
                    xytext=(0, 3 if value >= 0 else -3),
                    textcoords="offset points",
                    ha="center",
                    va="bottom" if value >= 0 else "top",
                    fontsize=9,
                )
            ax.axhline(0, color="black", lw=0.8)
            ax.set_title(title)
            ax.margins(y=0.2)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
    return fig


def floor_of_a_coin(p, guesses, losses, entropy):
    """Cross-entropy of a coin, by what is guessed of it: the curve touches the entropy at p.

    p: the true probability; guesses: probabilities that a model may give; losses: the expected loss
    of each, in nats; entropy: the least of all.
    """
    with style():
        fig, ax = figure(size=(6.0, 3.0))
        ax.plot(guesses, losses, color=BLUE)
        ax.axhline(entropy, color=RED, ls="--", lw=1.2)
        ax.annotate(
            f"entropy {entropy:.3f}",
            (0.02, entropy),
            (0, -12),
            color=RED,
            va="center",
            textcoords="offset points",
        )
        ax.plot([p], [entropy], "o", color=GREEN, ms=8)
        ax.annotate(
            f"the truth, {p:g}",
            (p, entropy),
            (0, 9),
            ha="center",
            color=GREEN,
            textcoords="offset points",
        )
        ax.set(xlabel="probability that the model gives to heads", ylabel="expected loss (nats)")
        ax.set_ylim(0, 2)
    return fig
