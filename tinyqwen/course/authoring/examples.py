"""The check that the example in a stub's docstring gives what it says."""

import ast
import contextlib
import doctest
import math
import re
import sys

import numpy as np

from tinyqwen.course.authoring.diagnosis import CheckFailed
from tinyqwen.course.authoring.values import value_pattern
from tinyqwen.course.calls import StudentError, ToDo
from tinyqwen.course.clock import TimeLimit
from tinyqwen.course.registry import chapters, functions_in


def check_example(fn):
    """The example in the stub's docstring gives what it says."""
    (one,) = (c for c in chapters().values() if fn.__name__ in c.assigned)
    try:
        stub = functions_in(one.stub.read_text(encoding="utf-8"))[fn.__name__]
        text = ast.get_docstring(stub) or ""
    except (OSError, SyntaxError, KeyError):
        text = ""
    names = {"np": np, fn.__name__: _printing_elsewhere(fn, sys.stdout)}
    parsed = doctest.DocTestParser().get_doctest(text, names, fn.__name__, None, None)
    if not parsed.examples:
        raise CheckFailed(
            f"{fn.__name__}: {one.stub.name} has lost the example in its docstring; put it back"
        )
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    try:
        runner = doctest.DebugRunner(_PlainNumbers(), verbose=False, optionflags=options)
        runner.run(parsed, clear_globs=False)
    except doctest.UnexpectedException as error:
        _, inner, _ = error.exc_info
        if isinstance(inner, (ToDo, StudentError, TimeLimit, CheckFailed)):
            raise inner from None
        raise CheckFailed(
            f"{fn.__name__}: the example in the docstring cannot go on with what came "
            f"({type(inner).__name__}: {inner}).\n  >>> {error.example.source.strip()}",
            _why_not_unpacked(str(inner)),
        ) from None
    except doctest.DocTestFailure as error:
        source, want, got = (
            text.strip().replace("\n", "\n" + 12 * " ")
            for text in (error.example.source, error.example.want, error.got or "(nothing)")
        )
        raise CheckFailed(
            f"{fn.__name__}: the example in the docstring gives something else.\n"
            f"  >>> {source}\n  expected  {want}\n  yours     {got}",
            _difference(want, got),
        ) from None


def _difference(want, got):
    """What two printed values of Python's differ in, or None: the right items in a list, say."""
    try:
        return value_pattern(ast.literal_eval(got), ast.literal_eval(want))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None  # arrays, and whatever else is no literal


def _why_not_unpacked(message):
    """What an example that stumbles says of the number of results, or None."""
    if "too many values to unpack" in message:
        return "one result too many; a vjp has a gradient for each array, and none for options"
    if "not enough values to unpack" in message:
        return "a result is missing; count what the docstring says is returned"
    return None


def _printing_elsewhere(function, stdout):
    """The function, and those that it returns: what they print is not what the example prints."""

    def quiet(*args, **options):
        with contextlib.redirect_stdout(stdout):
            result = function(*args, **options)
        if type(result) is tuple:
            return tuple(_printing_elsewhere(r, stdout) if callable(r) else r for r in result)
        return _printing_elsewhere(result, stdout) if callable(result) else result

    return quiet


class _PlainNumbers(doctest.OutputChecker):
    """To an example, np.True_ is True, np.float64(5.0) is 5.0, and 5.0 is 5; whole numbers may be
    of any size, and a float may end in rounding."""

    def check_output(self, want, got, optionflags):
        want, got = _printed(want), _printed(got)
        return super().check_output(want, got, optionflags) or _but_for_rounding(want, got)


def _printed(text):
    text = re.sub(r",\s+dtype=u?int\d+\)", ")", text)
    text = re.sub(r"\bnp\.(True|False)_", r"\1", text)
    text = re.sub(r"\bnp\.u?(?:int|float)\d+\(([^()]*)\)", r"\1", text)
    return re.sub(r"(?<![\w.])(\d+)\.0(?![\w.])", r"\1", text)


def _but_for_rounding(want, got):
    """Whether two prints differ in nothing but the last digits of their numbers."""
    number = r"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?"
    if re.sub(number, "#", want).split() != re.sub(number, "#", got).split():
        return False
    pairs = zip(re.findall(number, want), re.findall(number, got))
    return all(math.isclose(float(a), float(b), rel_tol=1e-12) for a, b in pairs)
