"""The form of what a student's function returned: output and VJP, a tuple of gradients."""

from tinyqwen.course.authoring.diagnosis import CheckFailed
from tinyqwen.course.authoring.wrong_calls import EACH, is_pair
from tinyqwen.course.calls import StudentError


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


def gradients_of(name, grads, expected, words):
    """The gradients that a student's vjp returned, as a tuple, or CheckFailed.

    A list of them is as good: whoever asked unpacks it.
    """
    if grads is None:
        raise CheckFailed(f"{name}: vjp returned None.", "vjp's return statement is missing")
    grads = tuple(grads) if type(grads) is list else grads
    if type(grads) is not tuple:
        raise CheckFailed(
            f"{name}: vjp returned a {type(grads).__name__}; a tuple was expected, with one "
            f"gradient for each input.\n  input     {words}",
            EACH[len(expected) > 1],
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
