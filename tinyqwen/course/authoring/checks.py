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

from tinyqwen.course.authoring.agreement import agrees
from tinyqwen.course.authoring.apart import told_apart
from tinyqwen.course.authoring.cases import Case, made_cases
from tinyqwen.course.authoring.diagnosis import GUESS, CheckFailed, as_array, compare
from tinyqwen.course.authoring.differences import OWN, compare_numeric, fits_output
from tinyqwen.course.authoring.elsewhere import (
    KEPT,
    Results,
    arrays_of,
    by_one_number,
    fits,
    fits_guessed,
    has_options_of,
)
from tinyqwen.course.authoring.forms import gradients_of, pair_of, pulled_back, value_of
from tinyqwen.course.authoring.formulas import formula_of
from tinyqwen.course.authoring.gradients import Gradients, upstream
from tinyqwen.course.authoring.patterns import meaning
from tinyqwen.course.authoring.terms import misweighted
from tinyqwen.course.authoring.unread import told_unread
from tinyqwen.course.authoring.values import shortened
from tinyqwen.course.authoring.wrong_calls import guesses, is_pair, several
from tinyqwen.course.registry import reference


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
        text = value.__name__ if callable(value) else shortened(value, 200)
        return f"{name} = {text}"
    if value.size > 4:
        return f"{name} {value.shape} {value.dtype}"
    numbers = np.array2string(value, precision=4, separator=", ", max_line_width=200)
    return f"{name} = {numbers.replace(chr(10), '')} {value.dtype}"


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
    beside=(),
    formula=None,
    terms=None,
    **options,
):
    """The output of fn has the reference's numbers, within 1e-6, in float64.

    axes:    names of the output's axes, "batch time feature"; or {output's name: names}
    outputs: names of the outputs, for a function that returns several
    scale:   standard deviation of the numbers drawn for `shapes`
    against: the reference, if it is not the library's function of fn's name
    beside:  ordinary cases that are not checked here; a mistake that explains neither what comes
             for them nor for another case is not told
    formula: (the right one, (*arrays, **options) -> {name: factor}), to spell a wrong one, or a
             function (yours, *arrays, **options) -> what it is made of; for one output
    terms:   {output's name: {name of a term: (*arrays, **options) -> array}}, as for `check_vjp`
    """
    call, passed, left = Call(fn, against), [], made_cases(cases, shapes, scale, options)
    every = list(left)
    while left:
        one, *left = left
        is_right = partial(_is_right, fn, call)
        with told_apart(call.names, one, every, is_right), told_unread(fn, call, every):
            others = [*left, *beside, *filter(None, [one.ordinary()])]
            settings = mistakes, axes, outputs, rtol, formula, terms or {}
            expected = _check_case(fn, call, one, passed, others, *settings)
        passed.append((one, expected))


def _check_case(fn, call, one, passed, left, mistakes, axes, outputs, rtol, formula, terms):
    """The expected outputs of one case, or CheckFailed; passed and left are the cases beside it."""
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
    names = outputs if len(outputs) == len(expected) else [f"out {i}" for i in range(len(yours))]
    for position, (name, mine, right) in enumerate(zip(names, yours, expected)):

        def variants(position=position):
            others = {*range(len(expected))} - {position}
            for text, wrong in (mistakes or {}).items():

                def elsewhere(wrong=wrong, others=others):
                    beside = [fits(output_of, wrong, n, [(one, yours)]) for n in others]
                    alike = [pair for pair in (*passed, *behind) if has_options_of(pair[0], one)]
                    all_of_them = fits(output_of, wrong, position, passed, behind)
                    some = 0.5 * (fits(output_of, wrong, position, alike) == 1)
                    return min(*beside, max(all_of_them, some), 1)

                yield text, lambda wrong=wrong: output_of(wrong, one, position), elsewhere
            for before, made in passed:
                if arrays_of(before) != arrays_of(one) and len(np.unique(made[position])) > 2:
                    yield KEPT, lambda made=made: made[position], lambda: True
            for other in others:
                order = f"this is {names[other]}; the order is {', '.join(names)}"
                yield order, lambda other=other: expected[other], lambda: True
            for text, wrong in guesses(call, one, position):
                elsewhere = partial(fits_guessed, call, text, position, passed, behind)
                yield text, wrong, elsewhere, GUESS

        what = f"{call.name}: the output" if len(expected) == 1 else f"{call.name}: {name}"

        def told_by(mine, name=name, position=position, right=right):
            if np.isnan(mine).any() and any(map(_has_nan, one.args)) and not np.isnan(right).any():
                return "NaN stands in the input where nothing is to be read; it has been read"
            if name in terms:
                return _combined(terms[name], one)(mine)
            if np.size(right) != 1:
                return None  # of more numbers their pattern tells
            made = [(mine, call.reference(o)) for o, mine in ((one, yours), *behind) if mine]
            wanted = [several(w[0] if paired else w)[position] for _, w in made]
            return by_one_number([mine[position] for mine, _ in made], wanted)

        compare(
            mine,
            right,
            what,
            case=words,
            axes=_axes(axes, name),
            mistakes=variants(),
            rtol=rtol,
            sizes=sizes_of(one),
            formula=_spelled(formula, one),
            told_by=told_by,
        )
    return expected


def _spelled(formula, case, *g, terms=None):
    """A function of wrong numbers that spells the formula by which they come about, or None."""
    if formula is None:
        return None

    def told(mine):
        given = (*case.args, *g)
        if callable(formula):
            return formula(mine, *given, **case.options)
        right, factors = formula
        with np.errstate(all="ignore"):
            made = {name: term(*given, **case.options) for name, term in (terms or {}).items()}
            text = formula_of(mine, factors(*given, **case.options), made)
        return text and f"this is {text}; {right} is asked for"

    return told


def _has_nan(array):
    return isinstance(array, np.ndarray) and array.dtype.kind == "f" and np.isnan(array).any()


def _is_right(fn, call, case):
    """Whether the output for a case is the reference's; None where that has no entries."""
    result, right = fn(*case.args, **case.options), call.reference(case)
    if is_pair(right):
        result, right = result[0], right[0]
    pairs = [(mine, np.asarray(w)) for mine, w in zip(several(result), several(right), strict=True)]
    return all(agrees(mine, w) for mine, w in pairs) if any(w.size for _, w in pairs) else None


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
    formulas=None,
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
    formulas: {argument: as check_value's formula, of (*arrays, g, **options)}
    The rest is as for `check_value`.
    """
    call, every = Call(fn, against), made_cases(cases, shapes, scale, options)
    made = Gradients(fn, call, every, mistakes)
    for one in every:
        with told_apart(call.names, one, every, partial(_has_right_gradients, fn, call)):
            _check_gradients(fn, call, one, made, terms or {}, formulas or {}, axes, rtol)


def _check_gradients(fn, call, one, made, terms, formulas, axes, rtol):
    words = call.words(one)
    right_out, right_vjp = call.reference(one)
    out, vjp = pair_of(fn, fn(*one.args, **one.options), words)
    g = upstream(right_out)
    grads = gradients_of(call.name, pulled_back(vjp, g, words), right_vjp(g), words)
    mine, right = several(out), several(right_out)
    is_right = len(mine) == len(right) and all(map(agrees, mine, right))
    for position, expected in enumerate(right_vjp(g)):
        if expected is None:
            continue
        name = call.names[position]
        what = f"{call.name}: the gradient of {name}"
        settings = {"case": words, "axes": _axes(axes, name)}

        def own(mine=grads[position], position=position):
            return mine if not is_right and fits_output(fn, one, g, mine, position) else None

        variants = made.variants(one, g, position, right_vjp, (OWN, own, lambda: 1))
        told_by = _combined(terms[name], one, g) if name in terms else None
        known = {"mistakes": variants, "sizes": sizes_of(one), "told_by": told_by}
        known["formula"] = _spelled(formulas.get(name), one, g, terms=terms.get(name))
        compare(grads[position], expected, what, rtol=rtol, **known, **settings)
        trusted = fn if is_right else call.solution
        compare_numeric(call, trusted, one, g, grads[position], position, what, settings)


def _has_right_gradients(fn, call, case):
    """Whether the gradients for a case are the reference's; None where those have no entries."""
    right_out, right_vjp = call.reference(case)
    g = upstream(right_out)
    pairs = zip(fn(*case.args, **case.options)[1](g), right_vjp(g))
    pairs = [(mine, wanted) for mine, wanted in pairs if wanted is not None]
    return all(agrees(mine, w) for mine, w in pairs) if any(w.size for _, w in pairs) else None


def _combined(terms, case, *g):
    """A function of a wrong gradient, or output, that says which of its terms is wrong."""
    made = {name: term(*case.args, *g, **case.options) for name, term in terms.items()}
    return lambda mine: misweighted(mine, made, lambda w: meaning(w, (), sizes_of(case)))


def sizes_of(case):
    """{number: what it is} of a case's arrays: their lengths, and how many rows they have."""
    sizes = {}
    for array in case.args:
        if isinstance(array, np.ndarray) and array.ndim > 1:
            sizes |= {
                n: f"the length of axis {axis} of an input" for axis, n in enumerate(array.shape)
            }
    for array in case.args:
        if isinstance(array, np.ndarray):
            if array.ndim > 1:
                sizes.setdefault(array.size // max(1, array.shape[-1]), "the number of rows")
            sizes.setdefault(array.size, "how many numbers an input has")
    return sizes


def check(condition, message, mistake=None):
    """Raise CheckFailed(message, mistake) unless the condition holds."""
    if not condition:
        raise CheckFailed(message, mistake)


def check_close(
    yours,
    expected,
    what,
    *,
    case="",
    axes="",
    mistakes=None,
    rtol=None,
    patterns=True,
    told_by=None,
):
    """Two arrays agree.  mistakes: {name: the array that the mistake gives, or a function}.
    told_by: None, or a function of `yours` that gives the mistake, tried after those"""
    variants = [
        (text, wrong if callable(wrong) else lambda wrong=wrong: wrong)
        for text, wrong in (mistakes or {}).items()
    ]
    settings = {"axes": axes, "rtol": rtol, "patterns": patterns, "told_by": told_by}
    compare(yours, expected, what, case=case, mistakes=variants, **settings)
