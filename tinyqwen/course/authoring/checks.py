"""The checks that graders are made of.

    check_example(fn)                the example in the stub's docstring
    check_value(fn, shapes=…)        the right numbers, in float64
    check_vjp(fn, shapes=…)          the right gradients: the reference's, and central differences
    check_manners(fn, shapes=…)      float32 stays float32, views work, nothing is changed in place
    check_close, check_equal, check  for properties, lists of tokens, and everything else
    output(fn, …)                    an array of fn's, to compute a property with

Each takes the student's function from `submission` and returns nothing, or raises `CheckFailed`
with what was expected, what came, where, and the likely mistake.

The input of a check is a list of cases. `case(x, weight, eps=1e-3)` is one: arrays, then options by
name. `shapes=[((2, 5), (5,)), ((1, 1), (1,))]` is short for cases of normal numbers, float64, one
array for each shape; a single argument needs no second pair of parentheses: `shapes=[(2, 5)]`.
`mistakes` maps the name of a mistake to a function that makes it:

    check_value: (*arrays, **options) -> out              what the mistake would return
    check_vjp:   (*arrays, g, **options) -> (dx, …)       None where a gradient is as it should be
"""

import inspect
from functools import partial

import numpy as np

from tinyqwen.course.authoring.cases import Case, made_cases, normal
from tinyqwen.course.authoring.diagnosis import (
    GUESS,
    CheckFailed,
    agrees,
    as_array,
    compare,
    meaning,
)
from tinyqwen.course.authoring.differences import compare_numeric
from tinyqwen.course.authoring.elsewhere import Results, fits, fits_as_called
from tinyqwen.course.authoring.terms import misweighted
from tinyqwen.course.authoring.values import plain, value_pattern
from tinyqwen.course.authoring.wrong_calls import (
    EACH,
    LIST,
    is_pair,
    other_settings,
    several,
    wrong_calls,
)
from tinyqwen.course.calls import StudentError
from tinyqwen.course.registry import reference

KEPT = "this is the result of an earlier call with another input: something is kept"


class Call:
    """A function's reference, its argument names, and how a case reads in a message."""

    def __init__(self, fn, against):
        self.name = fn.__name__
        solution = against or reference(self.name)
        self.solution = getattr(solution, "raw", solution)
        self.names = list(inspect.signature(self.solution).parameters)

    def reference(self, case):
        with np.errstate(all="ignore"):
            return self.solution(*case.args, **case.options)

    def words(self, case):
        given = [*zip(self.names, case.args), *case.options.items()]
        text = ", ".join(in_words(name, value) for name, value in given)
        return f"{text} ({case.label})" if case.label else text


def in_words(name, value):
    """An argument in a message: a small array by its numbers, a larger one by shape and dtype."""
    if not isinstance(value, np.ndarray):
        text = value.__name__ if callable(value) else _shortened(value, 200)
        return f"{name} = {text}"
    if value.size > 4:
        return f"{name} {value.shape} {value.dtype}"
    numbers = np.array2string(value, precision=4, separator=", ", max_line_width=200)
    return f"{name} = {numbers.replace(chr(10), '')} {value.dtype}"


def pair_of(fn, result, words):
    """(out, vjp) of a student's result, or CheckFailed."""
    if is_pair(result):
        if type(result[0]) is list:
            raise CheckFailed(
                f"{fn.__name__}: out is a list, not an array.\n  input     {words}",
                "np.array(…) makes an array of a list, and (…, …) is a tuple of several outputs",
            )
        return result
    came, mistake = f"a {type(result).__name__}", "`return out, vjp` is missing"
    if result is None:
        came, mistake = "nothing", "a return statement is missing"
    elif type(result) is list and is_pair(tuple(result)):
        came, mistake = "a list of two", LIST
    elif type(result) is tuple:
        came = f"a tuple of {len(result)}"
        if len(result) > 2 and callable(result[-1]):
            mistake = "several outputs make one tuple: `return (out, …), vjp`"
    raise CheckFailed(
        f"{fn.__name__} must return two things, out and the function vjp; it returned {came}."
        f"\n  input     {words}",
        mistake,
    )


def value_of(fn, result, expects_pair, words):
    """The output alone of a student's result, or CheckFailed."""
    return pair_of(fn, result, words)[0] if expects_pair else result


def output(fn, *args, **options):
    """fn's output, without its VJP, for a property that is computed with it.

    Raises CheckFailed where its form is not the reference's: then there is nothing to go on with.
    """
    call, one = Call(fn, None), Case(args, options)
    words, right = call.words(one), call.reference(one)
    paired = is_pair(right)
    right = right[0] if paired else right
    yours = value_of(fn, fn(*args, **options), paired, words)
    what = f"{call.name}: the output"
    if type(right) is tuple and (type(yours) is not tuple or len(yours) != len(right)):
        raise CheckFailed(f"{what} must be a tuple of {len(right)}.\n  input     {words}")
    arrays = []
    for mine, wanted in zip(several(yours), several(right)):
        arrays.append(as_array(mine, wanted, what, words))
        if arrays[-1].shape != np.shape(wanted):
            compare(arrays[-1], wanted, what, case=words)
    return tuple(arrays) if type(right) is tuple else arrays[0]


def _axes(axes, name):
    return axes if isinstance(axes, str) else axes.get(name, "")


def check_value(
    fn,
    cases=None,
    shapes=None,
    *,
    against=None,
    mistakes=None,
    axes="",
    outputs=("out",),
    rtol=None,
    scale=1.0,
    **options,
):
    """The output of fn has the reference's numbers, within 1e-6, in float64.

    axes:    names of the output's axes, "batch time feature"; or {output's name: names}
    outputs: names of the outputs, for a function that returns several
    scale:   standard deviation of the numbers drawn for `shapes`
    against: the reference, if it is not the library's function of fn's name
    """
    call, passed, left = Call(fn, against), [], made_cases(cases, shapes, scale, options)
    while left:
        one, *left = left
        words = call.words(one)
        result = call.reference(one)
        paired = is_pair(result)
        expected = several(result[0] if paired else result)
        yours = value_of(fn, fn(*one.args, **one.options), paired, words)
        if len(expected) > 1 and isinstance(yours, list):
            yours = tuple(yours)  # as good as a tuple to whoever unpacks it
        yours = several(yours)
        if len(yours) != len(expected):
            raise CheckFailed(
                f"{call.name} returned {len(yours)} results; {len(expected)} were expected: "
                f"{', '.join(outputs)}.\n  input     {words}",
                "count what the docstring says is returned, in `return (out, …)`",
            )
        behind = Results(fn, paired, left)
        names = (
            outputs if len(outputs) == len(expected) else [f"out {i}" for i in range(len(yours))]
        )
        for position, (name, mine, right) in enumerate(zip(names, yours, expected)):
            here = {"position": position, "one": one, "names": names, "behind": behind}

            def variants(right=expected, mine=yours, *, position, one, names, behind):
                for before, made in passed:
                    if arrays_of(before) != arrays_of(one):
                        yield KEPT, lambda made=made: made[position], lambda: True
                for text, wrong in (mistakes or {}).items():

                    def elsewhere(wrong=wrong):
                        others = {*range(len(right))} - {position}
                        beside = [fits(output_of, wrong, n, [(one, mine)]) for n in others]
                        return all(beside) and fits(output_of, wrong, position, passed, behind)

                    yield text, lambda wrong=wrong: output_of(wrong, one, position), elsewhere
                for other in {*range(len(right))} - {position}:
                    order = f"this is {names[other]}; the order is {', '.join(names)}"
                    yield order, lambda other=other: right[other], lambda: True
                for text, wrong in wrong_calls(call, one):
                    elsewhere = partial(fits_as_called, call, text, position, passed, behind)
                    yield text, lambda wrong=wrong: several(wrong())[position], elsewhere, GUESS

            what = f"{call.name}: the output" if len(expected) == 1 else f"{call.name}: {name}"
            compare(
                mine,
                right,
                what,
                case=words,
                axes=_axes(axes, name),
                mistakes=variants(**here),
                rtol=rtol,
                sizes=sizes_of(one),
            )
        passed.append((one, expected))


def arrays_of(case):
    return [x.tobytes() for x in case.args if isinstance(x, np.ndarray)]


def output_of(wrong, case, position):
    """The output at `position` of a wrong variant."""
    result = wrong(*case.args, **case.options)
    return several(result[0] if is_pair(result) else result)[position]


def check_vjp(
    fn,
    cases=None,
    shapes=None,
    *,
    against=None,
    mistakes=None,
    terms=None,
    axes="",
    rtol=None,
    scale=1.0,
    **options,
):
    """The VJP of fn has the right gradients, within 1e-6, in float64, for a random g.

    Every entry is compared with the reference and with a central difference of the student's own
    forward pass, or of the reference's where the student's is not right: a wrong output costs the
    points of its own test, and not the gradient's as well.

    axes:  names of the axes of each gradient: {"x": "batch feature", "weight": "out in"}
    terms: {argument: {name of a term: (*arrays, g, **options) -> array}}: what an argument's
        gradient is the sum of; a missing one, a wrong sign or factor is told by its name
    The rest is as for `check_value`.
    """
    call = Call(fn, against)
    for one in made_cases(cases, shapes, scale, options):
        words = call.words(one)
        right_out, right_vjp = call.reference(one)
        out, vjp = pair_of(fn, fn(*one.args, **one.options), words)
        g = upstream(right_out)
        grads = gradients_of(call.name, pulled_back(vjp, g, words), right_vjp(g), words)
        mine, right = several(out), several(right_out)
        trusted = fn if len(mine) == len(right) and all(map(agrees, mine, right)) else call.solution
        for position, expected in enumerate(right_vjp(g)):
            if expected is None:
                continue
            name = call.names[position]
            what = f"{call.name}: the gradient of {name}"
            variants = _wrong_gradients(call, one, g, position, right_vjp, mistakes)
            settings = {"case": words, "axes": _axes(axes, name)}
            known = {"mistakes": variants, "sizes": sizes_of(one)}
            if name in (terms or {}):
                known["told_by"] = _combined(terms[name], one, g)
            compare(grads[position], expected, what, rtol=rtol, **known, **settings)
            compare_numeric(call, trusted, one, g, grads[position], position, what, settings)


def _combined(terms, case, g):
    """A function of a wrong gradient that says which of the terms it is made of is wrong."""
    made = {name: term(*case.args, g, **case.options) for name, term in terms.items()}
    return lambda mine: misweighted(mine, made, lambda w: meaning(w, (), sizes_of(case)))


def sizes_of(case):
    """{number: what it is} of a case's arrays: their lengths, and how many rows they have."""
    sizes = {}
    for array in case.args:
        if isinstance(array, np.ndarray) and array.ndim > 1:
            sizes |= {
                n: f"the length of axis {axis} of an input" for axis, n in enumerate(array.shape)
            }
            sizes[array.size // max(1, array.shape[-1])] = "the number of rows"
    return sizes


def upstream(out):
    """A random g for each output, as the VJP takes it."""
    drawn = tuple(normal(*np.shape(o)) for o in several(out))
    return drawn if isinstance(out, tuple) else drawn[0]


def gradients_of(name, grads, expected, words):
    """The tuple that a student's vjp returned, or CheckFailed."""
    if grads is None:
        raise CheckFailed(f"{name}: vjp returned None.", "vjp's return statement is missing")
    if type(grads) is not tuple:
        raise CheckFailed(
            f"{name}: vjp returned a {type(grads).__name__}; a tuple was expected, with one "
            f"gradient for each input.\n  input     {words}",
            LIST if type(grads) is list else EACH[len(expected) > 1],
        )
    if len(grads) < len(expected):
        raise CheckFailed(
            f"{name}: vjp returned {len(grads)} of {len(expected)} gradients, one for each input."
            f"\n  input     {words}",
            "an input without a gradient gets None in its place"
            if any(gradient is None for gradient in expected)
            else EACH[True],
        )
    if any(mine is None and right is not None for mine, right in zip(grads, expected)):
        absent = [mine is None for mine in grads]
        if absent != (due := [right is None for right in expected]) and sum(absent) == sum(due):
            raise CheckFailed(
                f"{name}: vjp returned None where a gradient was expected.\n  input     {words}",
                "gradients go in the order of the arguments: None stands for what has none",
            )
    if any(gradient is not None for gradient in grads[len(expected) :]):
        raise CheckFailed(
            f"{name}: vjp returned {len(grads)} gradients; {len(expected)} were expected, one for "
            f"each array.\n  input     {words}",
            "one gradient too many: options have none",
        )
    return grads


def pulled_back(vjp, g, words):
    """vjp(g), where an exception tells the input of the forward pass as well."""
    try:
        return vjp(g)
    except StudentError as error:
        raise StudentError(f"{error}\n  input     {words}", error.mistake, error.late) from None


def _wrong_gradients(call, case, g, position, right_vjp, mistakes):
    """The author's wrong variants, and three that every VJP can have."""
    for text, wrong in (mistakes or {}).items():
        yield text, lambda wrong=wrong: wrong(*case.args, g, **case.options)[position]
    for text, args, options in other_settings(call, case):
        yield (
            f"on the way back, {text}",
            lambda args=args, options=options: call.solution(*args, **options)[1](g)[position],
        )
    ones = tuple(map(np.ones_like, g)) if isinstance(g, tuple) else np.ones_like(g)
    yield "the upstream gradient g is not used", lambda: right_vjp(ones)[position]
    if not isinstance(g, tuple):
        yield "this is the upstream gradient g as it came", lambda: g
    for other, name in enumerate(call.names[: len(right_vjp(g))]):
        if other != position:
            text = f"this is the gradient of {name}: gradients go in the order of the arguments"
            yield text, lambda other=other: right_vjp(g)[other]


def check(condition, message, mistake=None):
    """Raise CheckFailed(message, mistake) unless the condition holds."""
    if not condition:
        raise CheckFailed(message, mistake)


def check_close(
    yours, expected, what, *, case="", axes="", mistakes=None, rtol=None, patterns=True
):
    """Two arrays agree.  mistakes: {name: the array that the mistake gives, or a function}."""
    variants = [
        (text, wrong if callable(wrong) else lambda wrong=wrong: wrong)
        for text, wrong in (mistakes or {}).items()
    ]
    settings = {"axes": axes, "rtol": rtol, "patterns": patterns}
    compare(yours, expected, what, case=case, mistakes=variants, **settings)


def check_equal(yours, expected, what, *, case="", mistakes=None):
    """Two Python values (numbers, strings, lists, dicts …) are equal.  mistakes: as above."""
    if plain(yours) == plain(expected):
        return
    likely = next(
        (
            text
            for text, wrong in (mistakes or {}).items()
            if plain(yours) == plain(wrong() if callable(wrong) else wrong)
        ),
        None,
    )
    likely = likely or value_pattern(plain(yours), plain(expected))
    at = f"\n  input     {case}" if case else ""
    raise CheckFailed(
        f"{what} is wrong.{at}\n"
        f"  expected  {_shortened(expected)}\n  yours     {_shortened(yours)}",
        likely,
    )


def _shortened(value, limit=300):
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"
