"""The inputs of checks: arrays of odd sizes, in several dtypes and memory layouts."""

from dataclasses import dataclass, field

import numpy as np

from tinyqwen.course.runner import rng


@dataclass
class Case:
    """One input: arrays (or ids, masks, words), options by name, and a label for the messages."""

    args: tuple
    options: dict = field(default_factory=dict)
    label: str = ""

    def cast(self, dtype):
        """The same case with its floating-point arrays in another dtype."""
        return Case(tuple(_map_floats(lambda a: a.astype(dtype), self.args)), self.options)

    def halved(self):
        """The same case with other numbers in its arrays."""
        return Case(tuple(_map_floats(lambda a: a * a.dtype.type(0.5), self.args)), self.options)

    def ordinary(self):
        """The same case with normal numbers where its arrays have huge ones; None without such."""
        huge = [a.size > 1 and bool(np.abs(a).max() > 50) for a in _floats(self.args)]
        args = _map_floats(lambda a: normal(*a.shape, dtype=a.dtype), self.args)
        return Case(tuple(args), self.options) if any(huge) else None

    def strided(self):
        """The same case with its arrays as views that are not contiguous."""
        return Case(tuple(_map_floats(_strided, self.args)), self.options)


def case(*args, label="", **options) -> Case:
    """One input of a check."""
    return Case(args, options, label)


def normal(*shape, scale=1.0, dtype=np.float64):
    """Normal random numbers; other ones in every test and for every seed of the grading."""
    return np.asarray(rng().standard_normal(shape) * scale, dtype)


def made_cases(cases, shapes, scale, options):
    """The cases a check was given, and one for each of `shapes`; options hold for all."""
    made = [item if isinstance(item, Case) else Case(tuple(item)) for item in cases or ()]
    for shape in shapes or ():
        several = shape if shape and not isinstance(shape[0], int) else [shape]
        made.append(Case(tuple(normal(*one, scale=scale) for one in several)))
    return [Case(c.args, {**options, **c.options}, c.label) for c in made]


def with_ordinary(cases):
    """The cases, and an ordinary one for each with huge numbers: to see what a mistake explains."""
    return [*cases, *filter(None, (one.ordinary() for one in cases))]


def _floats(args):
    return [a for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f"]


def _map_floats(change, args):
    for a in args:
        yield change(a) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a


def _strided(array):
    """The same numbers, in a view whose last axis steps over every other entry."""
    if array.ndim == 0:
        return array
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]
