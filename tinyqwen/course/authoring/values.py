"""What two Python values that differ, lists, tuples, dicts or texts, give away without a list of
mistakes: another type, an order, a missing end, a shift, a nesting, a rounding.
"""

import math

import numpy as np


def plain(value):
    """NumPy's numbers as Python's: 3 == np.int64(3) is what a student means."""
    match value:
        case np.ndarray() | np.generic():
            return value.tolist()
        case tuple() | list():
            return type(value)(map(plain, value))
        case dict():
            return {plain(key): plain(item) for key, item in value.items()}
    return value


def shortened(value, limit=300):
    """How a value reads in a message: its repr, cut off behind `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def value_pattern(yours, expected):
    """The likely mistake in a few words, or None."""
    if yours is None:
        return "a return statement is missing"
    if type(yours) is not type(expected):
        return _other_type(yours, expected)
    if isinstance(expected, (list, tuple)):
        return _of_lists(yours, expected)
    if isinstance(expected, dict):
        return _of_dicts(yours, expected)
    if isinstance(expected, str):
        return _of_texts(yours, expected)
    return None


def _other_type(yours, expected):
    if isinstance(yours, (int, float)) and isinstance(expected, (int, float)):
        return None
    kinds = type(yours).__name__, type(expected).__name__
    same = isinstance(yours, (list, tuple)) and isinstance(expected, (list, tuple))
    if same and list(yours) == list(expected):
        return f"the right items, in a {kinds[0]}; a {kinds[1]} is asked for"
    return f"this is a {kinds[0]}; a {kinds[1]} is asked for"


def _of_lists(yours, expected):
    mine, right = list(yours), list(expected)
    if any(isinstance(item, (list, tuple)) for item in mine):
        flat = [x for item in mine for x in (item if isinstance(item, (list, tuple)) else [item])]
        if flat == right:
            return "a list of lists came: join them, with extend or +, into one"
    if mine == right[::-1]:
        return f"the right items, {'exchanged' if len(right) == 2 else 'in reverse order'}"
    kinds = [{type(item).__name__ for item in items} for items in (mine, right)]
    if all(len(kind) == 1 for kind in kinds) and kinds[0] != kinds[1] != {"int"}:
        return f"the items are of type {kinds[0].pop()}; {kinds[1].pop()} is asked for"
    if len(mine) < len(right) and mine == right[: len(mine)]:
        return "the end is missing: the items up to there are right"
    if len(mine) < len(right) and mine == right[len(right) - len(mine) :]:
        return "the beginning is missing: the items from there on are right"
    if len(mine) > len(right) and mine[: len(right)] == right:
        return "there is too much at the end: the items up to there are right"
    if _numbers(mine) and _numbers(right) and len(mine) == len(right) and mine:
        if told := _of_numbers(mine, right):
            return told
    try:
        if sorted(mine) == sorted(right):
            return "the right items, in another order"
    except TypeError:
        pass
    return None


def _of_dicts(yours, expected):
    if yours.keys() == expected.keys():
        mine = [yours[key] for key in expected]
        if _numbers(mine) and _numbers(list(expected.values())):
            return _of_numbers(mine, list(expected.values()))
        return None
    if yours.keys() < expected.keys():
        return f"entries are missing, {next(iter(expected.keys() - yours.keys()))!r} for one"
    if yours.keys() > expected.keys():
        return f"there are entries too many, {next(iter(yours.keys() - expected.keys()))!r} for one"
    if {_spelled(key): value for key, value in yours.items()} == {
        _spelled(key): value for key, value in expected.items()
    }:
        return "the right entries, but what the keys are made of has become text, or was text"
    kinds = {type(key).__name__ for key in yours}, {type(key).__name__ for key in expected}
    if kinds[0] and kinds[1] and kinds[0] != kinds[1]:
        return f"the keys are of type {', '.join(kinds[0])}; {', '.join(kinds[1])} is asked for"
    return None


def _spelled(key):
    return tuple(map(str, key)) if isinstance(key, tuple) else str(key)


def _of_texts(yours, expected):
    for told, change in (
        ("the spaces at the ends are gone", str.strip),
        ("capital letters have become small ones", str.lower),
        ("all spaces are gone", lambda text: text.replace(" ", "")),
    ):
        if yours == change(expected):
            return told
    if yours and expected.startswith(yours):
        return "the end is missing: the text up to there is right"
    return None


def _of_numbers(mine, right):
    if len({a - b for a, b in zip(mine, right)} - {0}) == 1 and mine[0] != right[0]:
        step = mine[0] - right[0]
        if all(a - b == step for a, b in zip(mine, right)):
            return f"every number is off by {step:+g}"
    if any(isinstance(b, float) for b in right):
        for digits in range(7):
            if all(math.isclose(a, round(b, digits), rel_tol=1e-9) for a, b in zip(mine, right)):
                return f"the right numbers, rounded to {digits} digits: return them as they are"
    if all(right) and all(mine):
        ratio = mine[0] / right[0]
        if all(math.isclose(a, ratio * b, rel_tol=1e-9) for a, b in zip(mine, right)):
            return f"every number is {ratio:.6g} times what it should be"
    return None


def _numbers(items):
    return all(type(item) in (int, float) for item in items)
