"""Which tests prove something, and which a table of known answers can pass.

A test of fixed inputs can be answered by looking its inputs up, one of properties (equal shapes,
nothing changed in place, ValueError for bad input) even by somebody who computes nothing. Both are
right and kind in a course: they say what is wrong, and give the first point. In a gradebook their
points count only beside a test of the same function that cannot be passed in such a way: its inputs
are drawn anew for every student, and compared with the right answer.

Which tests those are is found by trying: a shortcut knows the right answer to every input that the
graders give with one seed and computes nothing else; what it passes with another seed is weak.
"""

import json
from dataclasses import replace
from functools import partial

import numpy as np

from tinyqwen.course.authoring.mutants import graders_of
from tinyqwen.course.isolation import wire
from tinyqwen.course.registry import Chapter, reference
from tinyqwen.course.runner import result_of, run
from tinyqwen.course.submission import Submission

KNOWN_SEED, OTHER_SEED = 0, 1


def weak_tests(chapter: Chapter) -> dict:
    """{test: (functions it asks for, True if a shortcut passes it)} of a chapter's graders."""
    tests, table, asked = graders_of(chapter), set(), {}
    for test in tests:
        submission = _submission(chapter, partial(_recorded, table=table))
        run(test, submission, result_of(test, chapter.key), KNOWN_SEED)
        asked[test.__name__] = sorted(submission.used)
    weak = set()
    first, last = (partial(_argument, position=place) for place in (0, -1))
    for otherwise in (_zeros, first, last, _refusal):
        submission = _submission(chapter, partial(_shortcut, table=table, otherwise=otherwise))
        for test in tests:
            if test.__name__ not in weak:
                result = run(test, submission, result_of(test, chapter.key), OTHER_SEED)
                weak |= {test.__name__} if result.status == "passed" else set()
    return {name: (functions, name in weak) for name, functions in asked.items()}


def unproved(chapter: Chapter, tests=None) -> list[str]:
    """The assigned functions that no test proves."""
    tests = weak_tests(chapter) if tests is None else tests
    strong = {name for functions, weak in tests.values() if not weak for name in functions}
    return [name for name in chapter.assigned if name not in strong]


def confirmed(results, tests) -> list:
    """Copies of the results, in which a passed weak test counts only beside a passed strong one of
    the same function: without a strong test there are no points.

    results: of one chapter;  tests: its `weak_tests`
    """
    results = [replace(result) for result in results]
    proved = set()
    for result in results:
        functions, weak = tests.get(result.name, ((), False))
        if result.status == "passed" and not weak:
            proved.update(functions)
    for result in results:
        functions, weak = tests.get(result.name, ((), False))
        missing = [name for name in functions if name not in proved]
        if result.status == "passed" and weak and missing:
            result.status = "failed"
            result.message = (
                f"This passes. Its points count as soon as a test passes that compares "
                f"{' and '.join(missing)} with the right answer for inputs drawn at random."
            )
    return results


def _submission(chapter, function_of):
    return Submission({name: function_of(name) for name in chapter.assigned}, "shortcut")


def _key(name, args, kwargs):
    """Equal inputs have equal keys; those with functions among them have none that is known."""
    buffers = []
    peer = wire.Peer(None, None)
    try:
        tree = peer._encode((args, kwargs), buffers, 0)
    except wire.WireError:
        return None
    return None if peer.exported else (name, json.dumps(tree), b"".join(buffers))


def _recorded(name, table):
    solution = reference(name)

    def function(*args, **kwargs):
        table.add(_key(name, args, kwargs))
        return solution(*args, **kwargs)

    return function


def _shortcut(name, table, otherwise):
    solution = reference(name)

    def function(*args, **kwargs):
        known = _key(name, args, kwargs) in table - {None}
        result = solution(*args, **kwargs)
        return result if known else otherwise(result, args)

    return function


def _zeros(result, args):
    """Something of the right kind, shape and dtype, and nothing in it."""
    if callable(result):
        return lambda *g: _zeros(result(*g), g)
    match result:
        case np.ndarray() | np.generic():
            return np.zeros_like(result)
        case tuple():
            return tuple(_zeros(part, args) for part in result)
        case list() | dict() | str() | bytes() | int() | float() | bool() | set():
            return type(result)()
    return result


def _argument(result, args, position):
    """An input, the first or the last, as it came."""
    if callable(result):
        return lambda *g: (g[position],) * len(result(*g))
    if type(result) is tuple:
        return tuple(_argument(part, args, position) for part in result)
    return args[position] if args else None


def _refusal(result, args):
    raise ValueError("refused")
