"""Pictures with knobs: what a page without a kernel shows, and what a moved knob draws."""

import pytest

from tinyqwen.viz.play import play
from tinyqwen.viz.style import figure, png, style


def bar(height, color="red"):
    """A bar."""
    with style():
        fig, ax = figure(size=(2, 1))
        ax.bar([0], [height], color=color)
    return fig


def test_stills_stand_side_by_side():
    stills = [{"height": n} for n in (1, 2, 3)]
    data, metadata = play(bar, stills, columns=2, height=(1, 9, 1))._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["width"] == 2 * 200 and metadata["image/png"]["height"] == 2 * 100
    assert metadata["image/png"]["alt"].startswith("A picture with a knob for height. A bar.")


def test_a_knob_for_what_is_named_and_none_for_what_has_a_default(monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    made, drawn, interactive = [], [], ipywidgets.interactive

    def noted(height, color="red"):
        drawn.append((height, color))
        return bar(height, color)

    def kept(function, *options, **knobs):
        made.append(interactive(function, *options, **knobs))
        return made[-1]

    shown = []
    monkeypatch.setattr(ipywidgets, "interactive", kept)
    monkeypatch.setattr("ipywidgets.widgets.interaction.display", shown.append)
    play(noted, [{"height": 1}], height=(1, 9, 1))._repr_mimebundle_()
    knob, _ = made[0].children
    assert knob.description == "height"
    knob.value = 7
    assert drawn[-1] == (7, "red")
    first, second = shown  # what was drawn is seen: a Figure by itself belongs to no window
    assert png(first) == png(bar(1)) != png(second) == png(bar(7))
