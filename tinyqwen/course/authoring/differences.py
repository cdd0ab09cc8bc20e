"""Central differences: what the gradient is, told by the forward pass alone."""

import numpy as np

from tinyqwen.course.authoring.diagnosis import CheckFailed, compare
from tinyqwen.course.authoring.wrong_calls import several
from tinyqwen.course.calls import StudentError, StudentFunction

SHORT = (
    "the gradient is right, and the output is rounded too coarsely to be told from its neighbors: "
    "is it computed in float32 although float64 came?"
)

OTHER = "the gradient is right, but it is not that of your output, which is right only here"
UNMOVED = "the gradient is right, and the output does not change with this argument: is it used?"
OWN = "the gradient fits your output, which is not right itself: mend that first"


def central_differences(function, case, g, position):
    """d Σ g · out / d args[position], entry by entry: (L(x + h) - L(x - h)) / 2h, in float64."""
    x = np.array(case.args[position], np.float64)
    steps = 1e-5 * np.maximum(1.0, np.abs(x))
    calls = []
    for index in np.ndindex(x.shape):
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * steps[index]
            calls.append((*case.args[:position], moved, *case.args[position + 1 :]))
    if isinstance(function, StudentFunction):
        outs = [several(out) for out in function.many(calls, **case.options)]
    else:
        outs = [several(function(*args, **case.options)[0]) for args in calls]
    shapes = {tuple(map(np.shape, out)) for out in outs}
    if shapes - {tuple(map(np.shape, several(g)))}:
        shape = ", ".join(str(s) for s in next(iter(shapes)))
        raise CheckFailed(
            f"The output has another shape than the gradient that comes for it: {shape}.",
            "something is kept from one call to the next" if len(shapes) > 1 else None,
        )
    gradient = np.empty_like(x)
    for i, index in enumerate(np.ndindex(x.shape)):
        above, below = outs[2 * i : 2 * i + 2]
        gradient[index] = sum(
            np.sum(u * (a - b)) / (2 * steps[index]) for u, a, b in zip(several(g), above, below)
        )
    return gradient


def compare_numeric(call, function, case, g, mine, position, what, settings):
    """Raise CheckFailed unless `mine`, which is the reference's gradient, agrees with differences.

    function: whose output is differenced: the student's own, or the reference
    """
    numeric = central_differences(function, case, g, position)
    if _close(mine, numeric):
        return
    right = numeric
    if isinstance(function, StudentFunction):
        right = central_differences(call.solution, case, g, position)
    cause = SHORT if numeric.any() else UNMOVED
    if numeric.any() and np.abs(right - numeric).max() > 0.05 * np.abs(right).max():
        cause = OTHER

    def told_by(mine):
        return cause if _close(mine, right) else None

    compare(mine, numeric, f"{what} (central differences)", told_by=told_by, **settings)


def fits_output(fn, case, g, mine, position):
    """True if a gradient is that of the student's own output, whatever the right one is."""
    try:
        numeric = central_differences(fn, case, g, position)
    except (CheckFailed, StudentError, ValueError):
        return False
    return mine.any() and _close(mine, numeric)


def _close(mine, numeric):
    size = np.abs(numeric).max(initial=1e-3)
    return np.abs(mine - numeric).max(initial=0) <= 1e-6 * size
