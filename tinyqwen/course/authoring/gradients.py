"""Wrong gradients that have an explanation: an author's mistakes, and those of every VJP.

As with outputs, that explanation is told which fits all inputs of a check.
"""

import numpy as np

from tinyqwen.course.authoring.agreement import agrees
from tinyqwen.course.authoring.cases import normal, with_ordinary
from tinyqwen.course.authoring.diagnosis import GUESS
from tinyqwen.course.authoring.other_numbers import of_other_numbers
from tinyqwen.course.authoring.wrong_calls import (
    by_an_argument,
    other_settings,
    several,
    without_an_argument,
)
from tinyqwen.course.calls import StudentError


def upstream(out):
    """A random g for each output, as the VJP takes it."""
    drawn = tuple(normal(*np.shape(o)) for o in several(out))
    return drawn if isinstance(out, tuple) else drawn[0]


class Gradients:
    """What a student's vjp returns for the cases of a check, and which mistakes would explain it.

    call: the reference's `Call`;  mistakes: the author's, as for `check_vjp`
    """

    def __init__(self, fn, call, cases, mistakes):
        self._fn, self._call, self._mistakes = fn, call, mistakes or {}
        self._cases = with_ordinary(cases)
        self._made = None

    def variants(self, case, g, position, right_vjp, own):
        """(what it is, a function that returns the gradient, whether it fits the other cases).

        own: one of these, which comes behind the author's and before those of every VJP
        """
        left = own
        for text, wrong in self._wrong(case, g, position, right_vjp):
            author = text in self._mistakes
            if left and not author:
                yield left
                left = None

            def elsewhere(text=text):
                return self._fits(text, case, position)

            yield text, wrong, elsewhere, *([] if author else [GUESS])

    def _wrong(self, case, g, position, right_vjp):
        for text, wrong in self._mistakes.items():
            yield text, lambda wrong=wrong: wrong(*case.args, g, **case.options)[position]
        yield from wrong_gradients(self._call, case, g, position, right_vjp)

    def _fits(self, text, case, position):
        """The share of the other cases for which the mistake gives the student's gradient."""
        if self._made is None:  # only where a mistake has been found that explains one case
            self._made = [(one, self._of(one)) for one in self._cases]
        found = []
        for one, made in self._made:
            if one is case or made is None or not np.size(several(made[0])[0]):
                continue  # of nothing a mean is NaN to one and 0 to another
            g, grads, right_vjp = made
            wrong = dict(self._wrong(one, g, position, right_vjp)).get(text)
            try:
                with np.errstate(all="ignore"):
                    values = wrong and wrong()
                if values is not None:
                    found.append(agrees(grads[position], np.asarray(values), 1e-5))
            except (ArithmeticError, LookupError, TypeError, ValueError):
                continue  # the mistake cannot be made there, or what came is no array
        return sum(found) / len(found) if found else 1

    def _of(self, case):
        out, right_vjp = self._call.reference(case)
        g = upstream(out)
        try:
            return g, self._fn(*case.args, **case.options)[1](g), right_vjp
        except (StudentError, LookupError, TypeError):
            return None


def _of_other_upstream(g, gradient):
    """Mistakes in what is done with g: a gradient is linear in it.

    gradient: g -> the right gradient for it
    """
    for axis in range(g.ndim):
        if g.shape[axis] > 1:
            backwards = np.flip(g, axis)
            yield f"this is g, read backwards along axis {axis}", lambda b=backwards: b
            text = f"g is read backwards along axis {axis}"
            yield text, lambda b=backwards: gradient(b)
    rows = g.reshape(-1, g.shape[-1]) if g.ndim and g.size else g[..., None]
    for told, kept in (("first", 0), ("last", -1)):
        if len(rows) > 1:
            one = np.zeros_like(rows)
            one[kept] = rows[kept]
            text = f"only the {told} row counts; the gradient is a sum over all"
            yield text, lambda one=one: gradient(one.reshape(g.shape))
    yield "the signs of g are dropped", lambda: gradient(np.abs(g))
    yield "g is squared", lambda: gradient(g * g)


def wrong_gradients(call, case, g, position, right_vjp):
    """Mistakes that every VJP can have: (what it is, a function that returns the gradient)."""
    for text, args, options in other_settings(call, case):
        yield (
            f"on the way back, {text}",
            lambda args=args, options=options: call.solution(*args, **options)[1](g)[position],
        )
    ones = tuple(map(np.ones_like, g)) if isinstance(g, tuple) else np.ones_like(g)
    yield "the upstream gradient g is not used", lambda: right_vjp(ones)[position]
    if not isinstance(g, tuple):  # whatever its shape is
        yield "this is the upstream gradient g as it came", lambda: g
        yield from _of_other_upstream(g, lambda other: right_vjp(other)[position])
    out = call.reference(case)[0]
    if not isinstance(out, tuple) and np.shape(out) == np.shape(case.args[0]):
        name, moved = call.names[0], (out, *case.args[1:])
        text = f"the slope is taken at the output; it belongs to the input {name}"
        yield text, lambda: call.solution(*moved, **case.options)[1](g)[position]
    for other, name in enumerate(call.names[: len(right_vjp(g))]):
        if other != position:
            text = f"this is the gradient of {name}: gradients go in the order of the arguments"
            yield text, lambda other=other: right_vjp(g)[other]
            text = f"this is the sum of the gradients of {call.names[position]} and {name}"
            yield text, lambda other=other: right_vjp(g)[position] + right_vjp(g)[other]

    def gradient_of(*args):
        return call.solution(*args, **case.options)[1](g)[position]

    yield from without_an_argument(call.names, case.args, gradient_of)
    for text, made in of_other_numbers(call.names, case.args, gradient_of):
        yield f"on the way back, {text}", made
    more = [("g", g), ("the output", out), *zip(call.names, case.args)]
    yield from by_an_argument(*zip(*more), np.asarray(right_vjp(g)[position]))
