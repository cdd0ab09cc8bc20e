"""Pictures of a mixture of experts: who goes where, how evenly, and what each expert has taken."""

import numpy as np

from tinyqwen.viz.style import BLUE, GRAY, PALETTE, SEQUENTIAL, figure, style


def routing(tokens, probabilities, chosen):
    """A router's probabilities, a token a row; a frame marks the experts that the token goes to.

    tokens: words, (N,); probabilities (N, E); chosen (N, k) integers.
    """
    from matplotlib.patches import Rectangle

    with style():
        N, E = np.shape(probabilities)
        fig, ax = figure(size=(0.8 * E + 2.2, 0.5 * N + 1.0))
        image = ax.imshow(probabilities, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        for (n, e), p in np.ndenumerate(probabilities):
            ink = "black" if p > 0.6 else "white"
            ax.text(e, n, f"{p:.2f}", ha="center", va="center", color=ink, fontsize=9)
        for n, experts in enumerate(chosen):
            for e in experts:
                frame = Rectangle(
                    (e - 0.46, n - 0.44), 0.92, 0.88, fill=False, ec="#D55E00", lw=2.5
                )
                ax.add_patch(frame)
        ax.set_yticks(range(N), tokens)
        ax.set_xticks(range(E))
        ax.set_xlabel("expert")
        ax.tick_params(length=0)
        fig.colorbar(image, ax=ax, label="probability")
    return fig


def loads(steps, runs):
    """How the tokens are shared out among the experts while a model learns: a panel for each run.

    steps (S,); runs: {name: shares (S, E)}, each row summing to 1.
    """
    from matplotlib.ticker import PercentFormatter

    with style():
        fig, axes = figure(1, len(runs), size=(4.3 * len(runs) + 0.6, 3.0), sharey=True)
        for ax, (name, shares) in zip(np.atleast_1d(axes), runs.items()):
            shares = np.asarray(shares)
            colors = [PALETTE[e % len(PALETTE)] for e in range(shares.shape[1])]
            ax.stackplot(steps, shares.T, colors=colors, edgecolor="white", linewidth=0.6)
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
        image = ax.imshow(shares, cmap=SEQUENTIAL, vmin=0, aspect="auto")
        for (kind, e), share in np.ndenumerate(shares):
            ink = "black" if share > 0.6 * np.max(shares) else "white"
            ax.text(e, kind, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=8.5)
        ax.set_yticks(range(K), kinds)
        ax.set_xticks(range(E))
        ax.set_xlabel("expert")
        ax.tick_params(length=0)
        fig.colorbar(image, ax=ax, label="share of the kind")
    return fig


def expert_parallel(sent):
    """Tokens on their way: how many of each machine's go to each machine's experts, and back.

    sent (M, M): from machine (rows) to machine (columns); what stays at home is on the diagonal.
    """
    with style():
        M = len(sent)
        fig, ax = figure(size=(5.4, 3.0))
        top = np.max(sent)
        for source in range(M):
            for target in range(M):
                width = 0.4 + 5.0 * sent[source, target] / top
                color = GRAY if source == target else BLUE
                ax.plot([0, 1], [source, target], color=color, lw=width, alpha=0.55)
        for machine in range(M):
            ax.text(-0.06, machine, f"tokens of {machine}", ha="right", va="center")
            first = 8 // M * machine
            names = ", ".join(str(first + e) for e in range(8 // M)) if M <= 8 else str(machine)
            ax.text(1.06, machine, f"experts {names}", ha="left", va="center")
        ax.set(xlim=(-0.75, 1.85), ylim=(M - 0.6, -0.4))
        ax.axis("off")
    return fig
