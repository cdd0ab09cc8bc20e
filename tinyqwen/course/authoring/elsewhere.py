"""One wrong number has many explanations: that is told which fits all inputs of a check."""

import numpy as np

from tinyqwen.course.authoring.agreement import agrees
from tinyqwen.course.authoring.patterns import meaning
from tinyqwen.course.authoring.wrong_calls import guesses, several
from tinyqwen.course.calls import StudentError

KEPT = "this is the result of an earlier call with another input: something is kept"


def arrays_of(case):
    """What a case's arrays hold, to see whether two cases differ in them."""
    return [x.tobytes() for x in case.args if isinstance(x, np.ndarray)]


def has_options_of(case, other):
    """True if two cases give the same options: an author's mistake may be without some of them."""
    return case.options.keys() == other.options.keys()


class Results:
    """What a student's function returns for the cases that a check has not come to.

    They are computed once, and only where a mistake has been found that explains the case at hand.
    """

    def __init__(self, fn, paired, cases):
        self._fn, self._paired, self._cases, self._made = fn, paired, cases, None

    def __iter__(self):
        if self._made is None:
            self._made = [(one, self._of(one)) for one in self._cases]
        return iter(self._made)

    def _of(self, case):
        try:
            result = self._fn(*case.args, **case.options)
            return several(result[0] if self._paired else result)
        except (StudentError, LookupError, TypeError):
            return ()


def fits(output_of, wrong, position, *results):
    """For how many of the other cases a mistake gives what the student's function does: 1 for all.

    output_of: (wrong, case, position) -> what the mistake returns
    results: iterables of (case, the student's outputs)
    """
    fit = tried = 0
    for one, outputs in (pair for some in results for pair in some):
        try:
            with np.errstate(all="ignore"):
                made = output_of(wrong, one, position)
                if made is not None:
                    tried += 1
                    fit += agrees(outputs[position], np.asarray(made), 1e-5)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue  # the mistake cannot be made there, or what came is no array
    return fit / tried if tried else 1


def fits_guessed(call, text, position, *results):
    """`fits`, for one of the `guesses`, which `text` tells."""

    def output_of(wrong, case, position):
        made = dict(guesses(call, case, position)).get(wrong)
        return None if made is None else made()

    return fits(output_of, text, position, *results)


def by_one_number(yours, expected):
    """What is said where single results are off by one factor, or one number, for every input that
    is left of a check, at least three of them."""
    shapes = [[np.shape(x) for x in some] for some in (yours, expected)]
    if len(yours) < 3 or shapes[0] != shapes[1]:
        return None
    try:
        mine, right = (np.array([*map(np.ravel, x)], float).ravel() for x in (yours, expected))
    except (TypeError, ValueError):
        return None
    if not np.isfinite([mine, right]).all() or np.ptp(right) <= 1e-3 * np.abs(right).max():
        return None
    factor, step = mine[0] / right[0] if right[0] else 0.0, mine[0] - right[0]
    if factor and agrees(mine, factor * right, 1e-5):
        return f"every result is {factor:.6g} times what it should be{meaning(factor, ())}"
    if agrees(mine, right + step, 1e-5):
        return f"every result is off by {step:+.6g}"
    return None
