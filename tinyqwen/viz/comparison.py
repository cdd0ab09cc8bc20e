"""A wrong array beside the right one: what a grader shows when a check fails."""

import numpy as np

from tinyqwen.viz.style import DIVERGING, figure, style


def comparison(yours, expected, axes=""):
    """Yours, expected, and their difference as maps; the worst entry is marked.

    yours, expected: arrays of one shape, two axes or more; leading axes are stacked into rows
    axes:            names of the axes, aligned with the last ones: "batch time feature"
    Returns a Figure.
    """
    names = axes.split()[-np.ndim(expected) :]
    column_name = names[-1] if names else "column"
    row_name = " · ".join(names[:-1]) or "row"
    yours, expected = (_as_rows(a) for a in (yours, expected))
    difference = yours - expected
    size = np.abs(expected[np.isfinite(expected)]).max(initial=1e-12)
    spread = np.abs(difference[np.isfinite(difference)]).max(initial=1e-12)
    with style():
        fig, panels = figure(1, 3, size=(10, 3.2))
        for panel, title, values, limit in zip(
            panels,
            ("yours", "expected", "difference (yours - expected)"),
            (yours, expected, difference),
            (size, size, spread),
        ):
            image = panel.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
            panel.set_title(title)
            panel.set_xlabel(column_name)
            panel.set_ylabel(row_name)
            fig.colorbar(image, ax=panel, shrink=0.85)
        error = np.where(np.isnan(difference), np.inf, np.abs(difference))
        row, column = np.unravel_index(error.argmax(), error.shape)
        panels[2].plot(column, row, "o", mfc="none", mec="black", ms=12)
    return fig


def _as_rows(array):
    array = np.asarray(array, np.float64)
    return array.reshape(-1, array.shape[-1])
