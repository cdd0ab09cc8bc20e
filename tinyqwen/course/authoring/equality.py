"""Checks of Python values: numbers, texts, lists, dicts. `checks` has those of arrays."""

from tinyqwen.course.authoring.diagnosis import CheckFailed
from tinyqwen.course.authoring.values import plain, shortened, value_pattern
from tinyqwen.course.calls import StudentError
from tinyqwen.course.registry import reference


def check_equal(yours, expected, what, *, case="", mistakes=None, told_by=None):
    """Two Python values (numbers, strings, lists, dicts …) are equal.  mistakes: {name:
    the value that the mistake gives, or a function};  told_by: None, or a function of `yours`
    that gives the mistake, tried after those"""
    if plain(yours) == plain(expected):
        return
    known = [
        text
        for text, wrong in (mistakes or {}).items()
        if plain(yours) == plain(wrong() if callable(wrong) else wrong)
    ]
    likely = ", or ".join(known[:3]) or (told_by(plain(yours)) if told_by else None)
    likely = likely or value_pattern(plain(yours), plain(expected))
    at = f"\n  input     {case}" if case else ""
    raise CheckFailed(
        f"{what} is wrong.{at}\n  expected  {shortened(expected)}\n  yours     {shortened(yours)}",
        likely,
    )


def check_all_equal(fn, cases, what, *, mistakes, seen=plain):
    """fn's Python values equal the reference's, and a mistake is named where it explains them all.

    cases: tuples of arguments;  mistakes: {name: a function of the same arguments}
    seen: what is compared of a result
    """
    right = reference(fn.__name__)
    for args in cases:
        yours, expected = seen(fn(*args)), seen(right(*args))
        if yours == expected:
            continue
        known = [name for name, wrong in mistakes.items() if _gives(wrong, args, yours, seen)]
        for other in cases if known else ():
            try:
                mine = seen(fn(*other))
            except (StudentError, CheckFailed):
                continue
            known = [name for name in known if _gives(mistakes[name], other, mine, seen)]
        raise CheckFailed(
            f"{what} is wrong.\n  input     {shortened(args)[1:-1]}\n"
            f"  expected  {shortened(expected)}\n  yours     {shortened(yours)}",
            ", or ".join(known[:3]) or value_pattern(yours, expected),
        )


def _gives(wrong, args, mine, seen):
    try:
        return seen(wrong(*args)) == mine
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return False
