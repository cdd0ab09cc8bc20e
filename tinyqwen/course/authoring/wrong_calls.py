"""Mistakes that every function can have, found by calling the reference in another way.

An author lists the mistakes of one function. These need no list: whoever leaves an option at its
default, counts one too far, transposes an array or works along another axis returns what the
reference returns for other arguments.
"""

import inspect
import math
from itertools import combinations

import numpy as np

from tinyqwen.course.authoring.other_numbers import of_other_numbers

EACH = {  # by whether several gradients are asked for
    False: "a comma is missing: `return (dx,)`",
    True: "a gradient is missing: there is one for each array, in their order",
}

# What may have been done to the right number, where there is one.
OF_ONE_NUMBER = {
    "squared": np.square,
    "its root": np.sqrt,
    "one divided by it": np.reciprocal,
    "one minus it": lambda x: 1 - x,
    "its logarithm": np.log,
    "e to the power of it": np.exp,
    "with the wrong sign": np.negative,
    "doubled": lambda x: 2 * x,
    "halved": lambda x: x / 2,
    "cut off at zero": lambda x: np.maximum(x, 0),
}


def is_pair(result):
    """True for (out, vjp)."""
    return type(result) is tuple and len(result) == 2 and callable(result[1])


def several(out):
    """The outputs as a tuple, also where there is one."""
    return out if isinstance(out, tuple) else (out,)


def wrong_calls(call, case):
    """Mistakes that every function can have: the reference, called in another way.

    Yields (what it is, a function that returns the output): an option left at its default, a whole
    number off by one, an array transposed, another axis than the last; an array of which the first
    row serves all, or that is sorted, shifted or read backwards.
    """

    def out(args, options):
        result = call.solution(*args, **options)
        return result[0] if is_pair(result) else result

    for text, args, options in other_settings(call, case):
        yield text, lambda args=args, options=options: out(args, options)
    for text, args in other_arrays(call, case):
        yield text, lambda args=args: out(args, case.options)
    arrays = [
        i
        for i, x in enumerate(case.args)
        if isinstance(x, np.ndarray) and x.ndim > 1 and x.dtype.kind == "f"
    ]
    for i in arrays:
        turned = [np.swapaxes(x, -1, -2) if k == i else x for k, x in enumerate(case.args)]
        text = f"{call.names[i]} is used transposed: its last two axes are exchanged"
        yield text, lambda turned=turned: out(turned, case.options)
    for axis in range(max((case.args[i].ndim for i in arrays), default=1) - 1):
        turned = [
            np.swapaxes(x, axis, -1) if k in arrays and np.ndim(x) > axis + 1 else x
            for k, x in enumerate(case.args)
        ]
        text = f"it works along axis {axis}; it is the last axis that is asked for"
        yield (
            text,
            lambda turned=turned, axis=axis: np.swapaxes(out(turned, case.options), axis, -1),
        )


def guesses(call, case, position):
    """All of these mistakes that an output can show: (what it is, a function that returns it)."""

    def out(*args):
        result = call.solution(*args, **case.options)
        return several(result[0] if is_pair(result) else result)[position]

    for text, wrong in wrong_calls(call, case):
        yield text, lambda wrong=wrong: several(wrong())[position]
    with np.errstate(all="ignore"):
        right = np.asarray(out(*case.args))
    yield from by_an_argument(call.names, case.args, right)
    yield from without_an_argument(call.names, case.args, out)
    yield from of_other_numbers(call.names, case.args, out)
    if right.size == 1 and right.dtype.kind == "f":  # `pattern` does so where there are more
        for told, function in OF_ONE_NUMBER.items():
            yield f"the right number, but {told}", lambda function=function: function(right)


def without_an_argument(names, args, of):
    """Mistakes that every function can have: an argument has no part in what comes.

    of: arguments -> the output or gradient.  Yields as above.
    """

    def made(*args):
        result = np.asarray(of(*args))
        return result if result.any() else None  # zeros have many reasons

    for i, (name, array) in enumerate(zip(names, args)):
        if isinstance(array, np.ndarray) and array.dtype.kind == "f" and array.size > 1:
            for word, number in (("ones", 1.0), ("zeros", 0.0)):
                other = (*args[:i], np.full_like(array, number), *args[i + 1 :])
                yield (
                    f"{name} is not used: it could be all {word}",
                    lambda other=other: made(*other),
                )


def by_an_argument(names, arrays, right):
    """Mistakes that every function can have: an argument too many, or one too few, in a product or
    a sum.  Yields (what it is, a function that returns the output or gradient), as above."""
    for name, array in zip(names, arrays):
        floats = isinstance(array, np.ndarray) and array.dtype.kind == right.dtype.kind == "f"
        if not floats or array.size < 2 or not _fits_into(array.shape, right.shape):
            continue
        yield f"{name} is a factor too many", lambda array=array: right * array
        yield f"the factor {name} is missing", lambda array=array: right / array
        yield f"{name} is added once too often", lambda array=array: right + array
        yield f"{name} is subtracted, or is not added", lambda array=array: right - array
        if array.shape == right.shape:
            yield f"this is {name} as it came", lambda array=array: array


def _fits_into(shape, whole):
    try:
        return np.broadcast_shapes(shape, whole) == whole
    except ValueError:
        return False


def other_arrays(call, case):
    """(what it is, args) of calls with one array changed, in more ways behind the first one."""
    for i, x in enumerate(case.args):
        if not isinstance(x, np.ndarray) or x.ndim == 0 or x.dtype.kind not in "biuf":
            continue
        changes = {
            "only the first row of {} is used": np.repeat(x[:1], len(x), axis=0),
            "only the last row of {} is used": np.repeat(x[-1:], len(x), axis=0),
        }
        if i:
            changes |= {
                "{} is sorted first": np.sort(x),
                "{} is read backwards": np.flip(x, -1),
                "{} is read one place too late": np.roll(x, 1, -1),
                "{} is read one place too early": np.roll(x, -1, -1),
            }
        for text, changed in changes.items():
            yield text.replace("{}", call.names[i]), [*case.args[:i], changed, *case.args[i + 1 :]]


def other_settings(call, case):
    """(what it is, args, options) of calls with one option at its default or one number off."""
    known = inspect.signature(call.solution).parameters
    for name, value in case.options.items():
        default = known[name].default if name in known else inspect.Parameter.empty
        if type(value) in (int, float) and value == 0 and default is None:
            text = f"{name} = 0 is taken for None: ask `if {name} is None`"
            yield text, case.args, {**case.options, name: None}
        if default is not inspect.Parameter.empty and default is not value:
            text = f"{name} is not used: this is what its default, {default!r}, gives"
            yield text, case.args, {k: v for k, v in case.options.items() if k != name}
    for i, (parameter, value) in enumerate(zip(known.values(), case.args)):
        default = parameter.default
        if default is not inspect.Parameter.empty and default is not value:
            text = f"{parameter.name} is not used: this is what its default, {default!r}, gives"
            yield text, [*case.args[:i], default, *case.args[i + 1 :]], case.options
    left = dict(_left_out(known, case))
    for name, default in left.items():
        for other in _other_defaults(default):
            told = f"{other:.6g}" if type(other) is float else other
            text = f"{name} is {told} where it is not given; its default is {default!r}"
            yield text, case.args, {**case.options, name: other}
    for name, value in {**left, **case.options}.items():
        for told, other in other_numbers(name, value):
            yield told, case.args, {**case.options, name: other}
        if type(value) is bool and name in case.options:
            text = f"{name} has no effect, or the opposite one: this is what {not value} gives"
            yield text, case.args, {**case.options, name: not value}
    yield from exchanged(call, case)
    for i, value in enumerate(case.args):
        for told, other in other_numbers(call.names[i], value):
            yield told, [*case.args[:i], other, *case.args[i + 1 :]], case.options
    for step in (1, -1):
        told = f"off by one: this is the result for {{}}{step:+d}"
        for i, value in enumerate(case.args):
            if type(value) is int:
                args = [*case.args[:i], value + step, *case.args[i + 1 :]]
                yield told.format(call.names[i] + " "), args, case.options
        for name, value in case.options.items():
            if type(value) is int:
                yield told.format(name + " "), case.args, {**case.options, name: value + step}


def _left_out(known, case):
    """(name, default) of the options that a case leaves out."""
    for name, parameter in [*known.items()][len(case.args) :]:
        if name not in case.options and parameter.default is not inspect.Parameter.empty:
            yield name, parameter.default


def _other_defaults(default):
    """What may be taken for an option that is not given, instead of its default."""
    match default:
        case bool():
            return (not default,)
        case int():
            return (default + 1, default - 1)
        case float():
            return (0.0, default * 10, default / 10, default * 100, default / 100)
    return ()


def exchanged(call, case):
    """(what it is, args, options) of calls with two numbers of one type in each other's place."""
    args = case.args
    for i, j in combinations(range(len(args)), 2):
        if type(args[i]) is type(args[j]) and isinstance(args[i], (int, float)):
            turned = [*args[:i], args[j], *args[i + 1 : j], args[i], *args[j + 1 :]]
            text = f"{call.names[i]} and {call.names[j]} are in each other's place"
            yield text, turned, case.options


def other_numbers(name, value):
    """(what it is, number) of what may be taken for a positive float, 1 / value for one."""
    if type(value) is not float or value <= 0 or not math.isfinite(value):
        return ()
    small = [10.0**-n for n in range(2, 13)] if name == "eps" else []
    return (
        (f"{name} has no effect: this is what 0 gives", 0.0),
        (f"{name} is used the other way round, as 1/{name}", 1 / value),
        (f"{name} is squared", value**2),
        (f"the square root of {name} is taken", value**0.5),
        (f"{name} has the wrong sign", -value),
        (f"twice {name} is taken", 2 * value),
        (f"half of {name} is taken", value / 2),
        (f"1 - {name} stands where {name} belongs", 1 - value),
        (f"{name} is not used below 1: 1 stands there", max(value, 1.0)),
        (f"{name} is not used above 1: 1 stands there", min(value, 1.0)),
        *((f"eps is {n:g} here, whatever is asked for", n) for n in small if n != value),
    )
