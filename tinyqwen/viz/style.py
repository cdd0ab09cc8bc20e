"""One look for every picture of the project: palette, fonts, figure size.

The colors are Okabe and Ito's (2008), told apart by readers with any kind of color vision. Maps of
magnitudes are drawn in "viridis", of signed values in "RdBu_r" centered on zero.
"""

import io
import sys
import unicodedata
import warnings
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tinyqwen.storage.files import atomic_write

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GRAY = "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F"
PALETTE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GRAY)
# A part of the model has one color in all chapters.
PARTS = {"embedding": PURPLE, "attention": BLUE, "mlp": ORANGE, "norms": GRAY, "lm_head": GREEN}
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"

_RC = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.grid": False,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


# The first has Latin, Greek and mathematics; one of the others lends the Chinese characters.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Microsoft YaHei",
)


def color_of(label, otherwise):
    """The color of the part of the model that a label names, "attention adds" for one."""
    return next((color for part, color in PARTS.items() if part in label.lower()), otherwise)


@contextmanager
def style():
    """Matplotlib's settings for everything drawn inside."""
    import matplotlib
    from cycler import cycler

    look = {"font.family": list(fonts()), "axes.prop_cycle": cycler(color=PALETTE)}
    with matplotlib.rc_context({**_RC, **look}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        yield


@cache
def fonts() -> dict[str, str]:
    """{name: file} of those of `FONTS` that this machine has; matplotlib brings the first.

    matplotlib looks a character up in one font after the other only if they are named one by one,
    and complains about each that is not there.
    """
    from matplotlib.font_manager import fontManager

    files = {font.name: font.fname for font in fontManager.ttflist}
    return {name: files[name] for name in FONTS if name in files}


def can_draw(text) -> bool:
    """True if the fonts have every character of the text: without one, Chinese is empty boxes."""
    from matplotlib.font_manager import get_font

    faces = [get_font(file) for file in fonts().values()]
    return all(any(face.get_char_index(ord(c)) for face in faces) for c in text)


def figure(rows=1, columns=1, size=None, **kwargs):
    """A Figure that belongs to no window, and its axes, as `plt.subplots` gives them.

    size: (width, height) in inches; the default suits a notebook's width. Call inside `style()`.
    In a notebook it shows as a PNG when it is a cell's last expression, or by `display(fig)`; what
    it shows to those who cannot see is `description` of it.
    """
    from matplotlib.figure import Figure

    _teach_notebook(Figure)
    fig = Figure(figsize=size or (3.6 * columns + 1.4, 2.9 * rows + 0.3), layout="constrained")
    fig.drawn_by = _function_of(sys._getframe(1))
    return fig, fig.subplots(rows, columns, **kwargs)


def save(fig, path):
    """Write a Figure whole or not at all, in the format that the suffix of `path` names.

    Raises ValueError for a suffix that is no picture's, OSError if the file cannot be written.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in fig.canvas.get_supported_filetypes():
        raise ValueError(f"{path}: a picture's name ends in .png, .svg or .pdf")
    with style(), atomic_write(path) as file:
        fig.savefig(file, format=kind)


def _function_of(frame):
    """The function that runs in a frame, or None for one that its module does not name."""
    return frame.f_globals.get(frame.f_code.co_name)


def description(fig) -> str:
    """What a figure shows, in words: its function's first line, and what its axes are named."""
    told = [(getattr(fig.drawn_by, "__doc__", None) or "").split("\n\n")[0]]
    for ax in fig.axes:
        texts = [ax.get_title("left") or ax.get_title()]
        texts += [t for t in (ax.get_xlabel(), ax.get_ylabel()) if t]
        handles = ax.get_legend_handles_labels()[1]
        texts += [f"lines: {', '.join(handles)}"] if handles else []
        told.append("; ".join(text for text in texts if text))
    told = (" ".join(text.split()).rstrip(".") for text in told)
    return ". ".join(text for text in told if text) + "."


def _teach_notebook(figure_class):
    """Let IPython, where it runs, draw figures that do not come from pyplot."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        shell.display_formatter.formatters["image/png"].for_type(figure_class, _output)


def _output(fig):
    """A notebook's output: twice the pixels, shown at the figure's size, and what it shows."""
    width, height = (fig.get_size_inches() * fig.dpi).round().astype(int).tolist()
    return png(fig), {"width": width, "height": height, "alt": description(fig)}


def png(fig) -> bytes:
    """The figure as a PNG file for dense screens, of 256 colors, a third of the size."""
    from PIL import Image

    drawn, file = io.BytesIO(), io.BytesIO()
    with style():  # fonts are looked up while drawing
        fig.savefig(drawn, format="png", dpi=2 * fig.dpi)
    image = Image.open(drawn).convert("RGB")
    cover = Image.Quantize.MAXCOVERAGE  # median cut, the default, breaks color bars into steps
    image = image.quantize(256, cover, dither=Image.Dither.NONE)
    image.save(file, format="png", optimize=True)
    return file.getvalue()


def name_columns(ax, names, **text):
    """Names below the columns, read from the side; Chinese ones upright, from top to bottom."""
    names = [str(name) for name in names]
    wide = [any(unicodedata.east_asian_width(c) in "WF" for c in name) for name in names]
    written = ["\n".join(name) if tall else name for name, tall in zip(names, wide)]
    ax.set_xticks(range(len(names)), written, rotation=90, **text)
    for label, tall in zip(ax.get_xticklabels(), wide):
        label.set_rotation(0 if tall else 90)


def plain_log(axis):
    """Numbers as they are said, 0.2, 0.5, 1, 2, on a logarithmic axis (`ax.xaxis`, `ax.yaxis`)."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
