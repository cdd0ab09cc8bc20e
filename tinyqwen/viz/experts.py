"""Pictures of a mixture of experts: who goes where, how evenly, and what each expert has taken."""

import numpy as np

from tinyqwen.viz.style import BLUE, GRAY, PALETTE, RED, SEQUENTIAL, YELLOW, figure, style


def routing(tokens, probabilities, chosen):
    """A router's probabilities, a token a row; a frame marks the experts that the token goes to.

    tokens: words, (N,); probabilities (N, E); chosen (N, k) integers.
    """
    from matplotlib.patches import Rectangle

    with style():
        N, E = np.shape(probabilities)
        fig, ax = figure(size=(0.8 * E + 2.2, 0.5 * N + 1.0))
        _numbers(fig, ax, probabilities, tokens, 1.0, ".3g", "probability")
        for n, experts in enumerate(chosen):
            for e in experts:
                frame = Rectangle((e - 0.46, n - 0.44), 0.92, 0.88, fill=False, ec=RED, lw=2.5)
                ax.add_patch(frame)
    return fig


def _numbers(fig, ax, values, rows, top, form, label):
    """A map of numbers from 0 to top, each written in its cell; a column an expert."""
    image = ax.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=top, aspect="auto")
    for (row, expert), value in np.ndenumerate(values):
        ink = "black" if value > 0.6 * top else "white"
        ax.text(expert, row, f"{value:{form}}", ha="center", va="center", color=ink, fontsize=9)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_xticks(range(np.shape(values)[1]))
    ax.set_xlabel("expert")
    ax.tick_params(length=0)
    fig.colorbar(image, ax=ax, label=label)


def loads(steps, runs):
    """How the tokens are shared out among the experts while a model learns: a panel for each run.

    steps (S,); runs: {name: shares (S, E)}, each row summing to 1.
    """
    from matplotlib.ticker import PercentFormatter

    with style():
        fig, axes = figure(1, len(runs), size=(4.3 * len(runs) + 0.6, 3.0), sharey=True)
        for ax, (name, shares) in zip(np.atleast_1d(axes), runs.items()):
            shares = np.asarray(shares)
            ax.stackplot(
                steps, shares.T, colors=(*PALETTE, YELLOW), edgecolor="white", linewidth=0.6
            )
            ax.set(title=name, xlabel="step", xlim=(steps[0], steps[-1]), ylim=(0, 1))
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        np.atleast_1d(axes)[0].set_ylabel("share of the tokens")
    return fig


def taken(kinds, shares):
    """Which expert takes which kind of token: a row a kind, summing to 1.

    kinds: names, (K,); shares (K, E).
    """
    with style():
        K, E = np.shape(shares)
        fig, ax = figure(size=(0.78 * E + 2.8, 0.42 * K + 1.1))
        _numbers(fig, ax, shares, kinds, np.max(shares), ".0%", "share of the kind")
    return fig


def crowded(asked, kept, capacity):
    """How many tokens ask for each expert, and how many of them fit into its buffer.

    asked, kept: numbers, one an expert, (E,); capacity: what each expert takes at most
    """
    with style():
        fig, ax = figure(size=(5.2, 2.9))
        experts = range(len(asked))
        ax.bar(experts, asked, color=RED, alpha=0.45, label="dropped")
        ax.bar(experts, kept, color=BLUE, label="worked off")
        ax.axhline(capacity, color=GRAY, linestyle="--", linewidth=1.2, label="capacity")
        ax.set(xlabel="expert", ylabel="tokens that ask for it", xticks=experts)
        ax.set(ylim=(0, 1.3 * max(*asked, capacity)))
        ax.set_title(f"{np.sum(kept) / np.sum(asked):.0%} are worked off")
        ax.legend(loc="upper right", ncols=3, fontsize=8.5)
    return fig


def expert_parallel(sent, experts=8):
    """Tokens on their way: how many of each machine's go to each machine's experts, and back.

    sent (M, M): from machine (rows) to machine (columns); what stays at home is on the diagonal.
    experts: of all machines together, a multiple of M; neighbors share a machine.
    """
    with style():
        M = len(sent)
        fig, ax = figure(size=(6.6, 3.0))
        top = np.max(sent)
        for source in range(M):
            for target in range(M):
                width = 0.4 + 5.0 * sent[source, target] / top
                color = GRAY if source == target else BLUE
                ax.plot([0, 1], [source, target], color=color, lw=width, alpha=0.55)
        for machine in range(M):
            ax.text(-0.06, machine, f"tokens of machine {machine}", ha="right", va="center")
            each = experts // M
            names = ", ".join(str(machine * each + e) for e in range(each))
            ax.text(1.06, machine, f"experts {names} of machine {machine}", ha="left", va="center")
        ax.set(xlim=(-0.95, 2.2), ylim=(M - 0.6, -0.4))
        ax.axis("off")
    return fig
