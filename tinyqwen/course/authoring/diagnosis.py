"""Why two arrays differ: the worst entry, and the mistake that most likely made it.

A grader names the mistakes it knows, each with a wrong variant that computes what the mistake would
compute; the one that gives the student's numbers is the diagnosis. Where none does, the patterns
that every array can show are tried: a sign, a factor, a transpose, a shift.
"""

from contextlib import contextmanager

import numpy as np

from tinyqwen.course.authoring.agreement import agrees, wrong_entries
from tinyqwen.course.authoring.patterns import pattern, place
from tinyqwen.course.calls import Symptom

GUESS = "a guess"  # marks a mistake that no author has listed


class CheckFailed(AssertionError):
    """What a student reads when a check fails.

    mistake: the likely mistake in a few words, or None
    picture: None, or (yours, expected, axes) for arrays large enough to be looked at
    """

    def __init__(self, message, mistake=None, picture=None):
        super().__init__(message)
        self.mistake, self.picture = mistake, picture


@contextmanager
def likely(mistake, of=Exception, unless=None):
    """Give this diagnosis to whatever fails inside, a check or a call, without one of its own.

    What shows only a symptom, a NaN or shapes that do not broadcast, keeps it, with this behind it.
    of: the failures that it explains; `StudentError` are those that the student's function raises
    unless: a check of ordinary inputs: where it fails as well, this diagnosis explains nothing
    """
    try:
        yield
    except of as failure:
        seen = getattr(failure, "mistake", "")
        if unless is not None and not _passes(unless):
            pass
        elif seen is None:
            failure.mistake = mistake
        elif isinstance(seen, Symptom) and mistake is not None:
            failure.mistake = f"{seen}; {mistake}"
        raise


def _passes(check):
    try:
        check()
    except Exception:  # whatever a student's function does
        return False
    return True


def compare(
    yours,
    expected,
    what,
    *,
    case="",
    axes="",
    mistakes=(),
    rtol=None,
    like=None,
    sizes=None,
    told_by=None,
    patterns=True,
    formula=None,
):
    """Raise CheckFailed unless `yours` agrees with `expected`.

    what:     what the array is, for the first line: "the output of silu"
    case:     the input, in words
    axes:     names of the axes, e.g. "batch time feature", aligned with the last ones
    mistakes: [(name, a function that returns what the mistake would give, or None)]
    like:     the array whose dtype sets the tolerance (expected is often float64)
    sizes:    {number: what it is, of this input}, to say what a wrong factor may be
    told_by:  None, or a function of `yours` that gives the mistake, tried after those
    patterns: False for what is computed from a student's output: its numbers give nothing away
    formula:  None, or a function of `yours` that tells by which formula it comes about, tried last
    """
    yours, expected = as_array(yours, expected, what, case), np.asarray(expected)
    if agrees(yours, expected, rtol, like):
        return
    mistake = known_mistake(yours, expected, mistakes, like)
    if mistake is None and told_by is not None and yours.shape == expected.shape:
        mistake = told_by(yours)
    if patterns or yours.shape != expected.shape:
        mistake = mistake or pattern(yours, expected, like, sizes)
        if formula is not None and yours.shape == expected.shape:
            if mistake is None or isinstance(mistake, Symptom):
                mistake = formula(yours) or mistake
        mistake = mistake or place(yours, expected, like, axes)
    lines = [f"{what} is wrong."]
    if case:
        lines.append(f"  input     {case}")
    picture = None
    if yours.shape != expected.shape:
        lines += [f"  expected  shape {expected.shape}", f"  yours     shape {yours.shape}"]
    else:
        wrong = wrong_entries(yours, expected, rtol, like)
        index = worst_index(yours, expected, wrong)
        lines.append(f"  worst at  {named_index(index, axes)}")
        lines.append(f"  expected  {_number(expected[index])}")
        lines.append(f"  yours     {_number(yours[index])}")
        if expected.size > 1:
            lines.append(f"  wrong     {wrong.sum()} of {expected.size} entries")
        if 1 < expected.size <= 8:
            lines.append(f"  all of it expected {_row(expected)}")
            lines.append(f"            yours    {_row(yours)}")
        if expected.ndim > 1 and expected.size >= 24:
            picture = (yours, expected, axes)
    raise CheckFailed("\n".join(lines), mistake, picture)


def as_array(yours, expected, what, case=""):
    """What the student returned, as an array; CheckFailed if it is none."""
    at = f"\n  input     {case}" if case else ""
    if yours is None:
        place = "None stands in its place: this array has a gradient"
        told = place if "the gradient of" in what else "a return statement is missing"
        raise CheckFailed(f"{what} is None.{at}", told)
    kinds = (np.ndarray, np.generic) + ((int, float) if np.ndim(expected) == 0 else ())
    if not isinstance(yours, kinds):
        told = "np.array(…) makes one of a list" if type(yours) is list else None
        raise CheckFailed(f"{what} is a {type(yours).__name__}, not an array.{at}", told)
    array = np.asarray(yours)
    if array.dtype.kind not in "biuf":
        raise CheckFailed(f"{what} has dtype {array.dtype}: real numbers were expected.{at}")
    return array


def known_mistake(yours, expected, mistakes, like=None):
    """The name of the first mistake whose wrong variant gives the student's numbers.

    mistakes: (name, wrong) or (name, wrong, elsewhere): one for which elsewhere() is false does not
        explain what comes for other inputs: elsewhere() is the share of those that it explains.
        If that is half of them or more, and nothing else explains all, it is told, and says so;
        with GUESS behind them, it is not told then. One half stands for all with the same options
    """
    doubtful = None
    for name, wrong, *elsewhere in mistakes:
        guess = elsewhere[1:] == [GUESS]
        if doubtful and (guess or not elsewhere):
            break  # what comes now is no author's list
        try:
            with np.errstate(all="ignore"):
                wrong_values = wrong()
        except (ArithmeticError, IndexError, TypeError, ValueError):
            continue  # this mistake cannot be made with this input
        if wrong_values is None or agrees(wrong_values, expected, like=like):
            continue  # nor does it show with this one
        if guess and (not np.any(wrong_values) or np.isnan(wrong_values).any()):
            continue  # zeros have many reasons, and so has NaN
        if agrees(yours, wrong_values, 1e-5, like=like) and _nearer(yours, wrong_values, expected):
            share = min((fits() for fits in elsewhere[:1]), default=1)
            if share == 1:
                return name
            doubtful = doubtful or (name if yours.size and share >= 0.5 and not guess else None)
    return doubtful and f"{doubtful} (that fits this input, and not all of the others)"


def _nearer(yours, wrong, expected):
    """True unless both differences are of one size: a small one may hide in the tolerance."""
    if np.shape(wrong) != expected.shape:
        return True
    with np.errstate(all="ignore"):
        from_wrong, from_right = (
            np.nan_to_num(abs(yours - np.asarray(other, np.float64)), nan=nan, posinf=np.inf)
            for other, nan in ((wrong, 0), (expected, np.inf))
        )
    return from_wrong.max(initial=0) <= 0.1 * from_right.max(initial=0)


def worst_index(yours, expected, wrong):
    """The index of the entry that is off the most; a NaN counts as the worst of all."""
    with np.errstate(all="ignore"):
        error = np.abs(yours.astype(np.float64) - expected.astype(np.float64))
    error = np.where(wrong, np.where(np.isnan(error), np.inf, error), -1.0)
    return tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))


def named_index(index, axes=""):
    """An index in words: "batch 1, time 0, feature 3"; "[2, 0]" where the axes have no names."""
    names = axes.split()
    if not index:
        return "the only entry"
    if len(names) < len(index):
        return f"index [{', '.join(map(str, index))}]"
    return ", ".join(f"{name} {i}" for name, i in zip(names[-len(index) :], index))


def _number(value):
    return f"{value + 0.0:.9g}" if isinstance(value, (float, np.floating)) else str(value)


def _row(array):
    array = array.reshape(-1) + (0.0 if array.dtype.kind == "f" else 0)  # -0 is written 0
    return np.array2string(array, precision=5, max_line_width=200, separator=", ")
