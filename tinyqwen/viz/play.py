"""A picture to play with: sliders where Jupyter runs, a few of its states where it does not."""

import io

from tinyqwen.viz.style import description, png


def play(picture, stills, columns=2, **knobs):
    """picture(**settings) with a slider, a menu or a line of text for each setting.

    picture: a function from settings to a Figure
    stills:  the settings that are shown on a page without a kernel (GitHub, a PDF), as dicts
    columns: how many stills stand side by side
    knobs:   {setting: (lowest, highest, step), a list of choices, or a text}, as ipywidgets takes
        them; without ipywidgets, which the `course` extra brings, there are the stills alone
    """
    return Playable(picture, stills, columns, knobs)


class Playable:
    """What `play` returns: a notebook shows it as the last value of a cell."""

    def __init__(self, picture, stills, columns, knobs):
        self.picture, self.stills, self.columns, self.knobs = picture, stills, columns, knobs

    def _repr_mimebundle_(self, include=None, exclude=None):
        """(data, metadata) of both; a page that knows widgets takes those."""
        figures = [self.picture(**settings) for settings in self.stills]
        data, size = _side_by_side([png(fig) for fig in figures], self.columns)
        told = f"A picture with a knob for {', '.join(self.knobs)}. {description(figures[0])}"
        metadata = {"image/png": {**size, "alt": told}}
        bundle = {"image/png": data, "text/plain": f"<{told}>"}
        return bundle | self._widget(), metadata

    def _widget(self):
        try:
            import ipywidgets
        except ImportError:
            return {}
        first = {name: self.stills[0][name] for name in self.knobs}
        knobs = {name: _knob(ipywidgets, self.knobs[name], value) for name, value in first.items()}

        def picture(**settings):  # a knob for these alone, none for what has a default
            return self.picture(**settings)

        shown = {"auto_display": True}  # or the Figure, which belongs to no window, is not seen
        return ipywidgets.interactive(picture, shown, **knobs)._repr_mimebundle_()


def _knob(ipywidgets, knob, value):
    """The widget for one setting, standing at `value`."""
    if isinstance(knob, list):
        return ipywidgets.Dropdown(options=knob, value=value)
    if isinstance(knob, str):
        return ipywidgets.Text(value=value, continuous_update=False)
    kind = ipywidgets.FloatSlider if isinstance(sum(knob), float) else ipywidgets.IntSlider
    low, high, step = knob
    return kind(value=value, min=low, max=high, step=step, continuous_update=False)


def _side_by_side(pngs, columns):
    """Pictures in rows of `columns`, as one PNG, and the size at which it is shown."""
    from PIL import Image

    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in pngs]
    width, height = max(i.width for i in images), max(i.height for i in images)
    rows = -(-len(images) // columns)
    whole = Image.new("RGB", (width * min(columns, len(images)), height * rows), "white")
    for place, image in enumerate(images):
        whole.paste(image, (place % columns * width, place // columns * height))
    file = io.BytesIO()
    whole = whole.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    whole.save(file, format="png", optimize=True)
    return file.getvalue(), {"width": whole.width // 2, "height": whole.height // 2}
