"""The check that a function is fit for the model: dtypes, views, and nothing changed in place."""

import numpy as np

from tinyqwen.course.authoring.agreement import agrees
from tinyqwen.course.authoring.cases import made_cases
from tinyqwen.course.authoring.checks import (
    Call,
    check,
    is_pair,
    output_of,
    several,
)
from tinyqwen.course.authoring.diagnosis import CheckFailed, as_array, compare
from tinyqwen.course.authoring.forms import gradients_of, pulled_back, value_of
from tinyqwen.course.authoring.gradients import upstream
from tinyqwen.course.isolation.copies import FORWARD


def check_manners(
    fn, cases=None, shapes=None, *, against=None, mistakes=None, rtol=None, scale=1.0, **options
):
    """fn behaves in the model: float32 in, float32 out, to float32's precision; views that are not
    contiguous give the same; no argument is changed; a second call and a second vjp agree with the
    first.

    All of that is held against the student's own float64 results, so that wrong numbers do not cost
    these points too.  `mistakes` are as for `check_value`, and tried on the float32 output.
    """
    call = Call(fn, against)
    for one in made_cases(cases, shapes, scale, options):
        single = one.cast(np.float32)
        exact = single.cast(np.float64)
        words = call.words(single)
        reference = call.reference(exact)
        paired = is_pair(reference)
        expected = fn(*exact.args, **exact.options)
        result = fn(*single.args, **single.options)
        _check_untouched(fn, call.names)
        rights = several(value_of(fn, expected, paired, words))
        outs = several(value_of(fn, result, paired, words))
        wanted = several(reference[0] if paired else reference)
        rights, outs = _unpacked(rights, wanted), _unpacked(outs, wanted)
        kept = []
        for position, (mine, right, wants) in enumerate(zip(outs, rights, wanted)):
            _check_whole(mine, wants, f"{call.name}: the output", words)
            variants = [
                (text, lambda wrong=wrong, c=exact, p=position: output_of(wrong, c, p))
                for text, wrong in (mistakes or {}).items()
            ]
            kept.append(
                _check_float32(mine, right, f"{call.name}: the output", words, rtol, variants)
            )
        if paired:
            _check_vjp_manners(call, result[1], expected, reference, words, rtol)
        for view in (single.strided(), single):
            again = several(value_of(fn, fn(*view.args, **view.options), paired, words))
            again = _unpacked(again, wanted)
            strided = view is not single
            what = f"{call.name}: the output for {'a view' if strided else 'the same input again'}"
            mistake = (
                "the input's memory is assumed to be contiguous"
                if strided
                else "something is kept from one call to the next"
            )
            for mine, first in zip(again, kept):
                check(agrees(mine, first), f"{what} differs.\n  input     {words}", mistake)
        fn(*single.halved().args, **single.options)
        for mine, first in zip(outs, kept):
            check(
                agrees(mine, first),
                f"{call.name}: a later call changed the result of an earlier one.",
                "the result is written into an array that is used again",
            )


def _check_vjp_manners(call, vjp, expected, reference, words, rtol):
    g = upstream(reference[0])
    g32 = tuple(u.astype(np.float32) for u in g) if isinstance(g, tuple) else g.astype(np.float32)
    g64 = tuple(u.astype(np.float64) for u in g32) if isinstance(g, tuple) else g32.astype(float)
    wanted = reference[1](g64)
    rights = gradients_of(call.name, pulled_back(expected[1], g64, words), wanted, words)
    grads = gradients_of(call.name, pulled_back(vjp, g32, words), wanted, words)
    _check_untouched(vjp, ["g"])
    kept = {
        i: _check_float32(
            grads[i], rights[i], f"{call.name}: the gradient of {call.names[i]}", words, rtol
        )
        for i in range(len(wanted))
        if wanted[i] is not None
    }
    again = vjp(g32)
    for i, before in kept.items():
        check(
            agrees(again[i], before),
            f"{call.name}: a second vjp(g) gives another gradient of {call.names[i]}.",
            "vjp overwrites something that it needs again",
        )


def _unpacked(outs, wanted):
    """A list of several outputs is as good as a tuple to whoever unpacks it."""
    return tuple(outs[0]) if len(wanted) > 1 and type(outs[0]) is list else outs


def _check_whole(mine, wanted, what, words):
    """`mine` is of whole numbers where the reference is."""
    if np.asarray(wanted).dtype.kind in "iu" and np.asarray(mine).dtype.kind == "f":
        raise CheckFailed(
            f"{what} has dtype {mine.dtype}; integers are asked for.\n  input     {words}",
            "a float takes part: -100.0, or np.zeros and np.full without dtype=int",
        )


def _check_float32(mine, right, what, words, rtol=None, variants=()):
    """A copy of `mine`, which must be float32 and agree with the float64 `right`."""
    array = as_array(mine, right, what, words)
    check(
        array.dtype == np.float32 or array.dtype.kind in "biu",
        f"{what} has dtype {array.dtype}; float32 went in.\n  input     {words}",
        f"{array.dtype} comes out where float32 went in: an array of another dtype takes part, "
        "or a number of NumPy's, such as np.sqrt(2.0), a float64, or mask.sum(), an integer",
    )
    what = f"{what} in float32 (expected: yours in float64)"
    like = np.float32(0.1)  # near a root of the function the output is smaller than its rounding
    compare(mine, right, what, case=words, mistakes=variants, rtol=rtol, like=like)
    return array.copy()


def _check_untouched(fn, names):
    if FORWARD in fn.edited:
        raise CheckFailed(
            f"{fn.__name__} changed {FORWARD}.",
            "vjp writes into an input of the forward pass, or into a view of one (*=, out=, "
            "x[...] = …, x.shape = …): work on a copy",
        )
    changed = " and ".join(names[i] if isinstance(i, int) else i for i in fn.edited)
    if changed:
        raise CheckFailed(
            f"{fn.__name__} changed its argument {changed}.",
            f"{changed} is changed in place (+=, *=, out=, x[...] = …): work on a copy",
        )
