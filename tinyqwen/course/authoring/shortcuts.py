"""Which tests prove something, and which can be passed by a shortcut: without the right answer.

A test of fixed inputs can be answered by looking its inputs up, one of properties (equal shapes,
nothing changed in place, ValueError for bad input) even by somebody who computes nothing. Both are
right and kind in a course: they say what is wrong, and give the first point. In a gradebook their
points count only beside a strong test of the same function, which cannot be passed in such a way:
its inputs are drawn anew for every student, and compared with the right answer. A function without
a strong test gives no points at all, and is a fault of its graders.

Which tests are strong is found by trying. A shortcut has seen one grading, with every input and
answer. In another one, with another seed, it gives the right answer to an input that it has seen,
and otherwise what it can have without computing: nothing, its input back, the answer to an input of
the same shape or to the call at the same place, an answer put together from known words, what is
right of a model that it has met before, or what it was lent, called.
"""

import contextlib
import json
import re
from dataclasses import replace
from functools import partial

import numpy as np

from tinyqwen.course.isolation import wire
from tinyqwen.course.registry import Chapter, reference
from tinyqwen.course.runner import graders_of, result_of, run
from tinyqwen.course.submission import Submission

KNOWN_SEED, OTHER_SEEDS = 0, (1, 2, 3, 4)


def weak_tests(chapter: Chapter) -> dict:
    """{test: (functions it asks for, True if a shortcut passes it)} of a chapter's graders."""
    tests, seen, asked = graders_of(chapter), Seen(), {}
    for test in tests:
        seen.begin()
        submission = _submission(chapter, partial(_recorded, seen=seen))
        run(test, submission, result_of(test, chapter.key), KNOWN_SEED)
        asked[test.__name__] = sorted(submission.used)
        seen.end(test.__name__)
    weak = set()
    for test in tests:
        # Two answers have few orders: what is right in one of four gradings is a good guess.
        tries = [(shortcut, OTHER_SEEDS[0]) for shortcut in SHORTCUTS]
        for shortcut, seed in tries + [(_by_place, seed) for seed in OTHER_SEEDS]:
            seen.begin()
            answer = partial(_shortcut, seen=seen, test=test.__name__, otherwise=shortcut)
            result = result_of(test, chapter.key)
            if run(test, _submission(chapter, answer), result, seed).status == "passed":
                weak.add(test.__name__)
                break
    return {name: (functions, name in weak) for name, functions in asked.items()}


def strong_tests(chapter: Chapter, tests=None) -> dict:
    """{function: its strong tests} of all that is assigned.  tests: the chapter's `weak_tests`"""
    tests = weak_tests(chapter) if tests is None else tests
    return {
        name: [test for test, (functions, weak) in tests.items() if name in functions and not weak]
        for name in chapter.assigned
    }


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


class Seen:
    """What somebody knows who has seen one grading.

    inputs: keys of the inputs;  words: of all texts among them;  shapes: {key: an answer}
    calls: {(test, function): its answers, in order};  count: {function: calls in this test}
    met: how the models that it was given answer to nothing
    """

    def __init__(self):
        self.inputs, self.words, self.shapes, self.met = set(), set(), {}, set()
        self.calls, self.count, self._now, self._lent = {}, {}, {}, []

    def begin(self):
        self.count, self._now, self._lent = {}, {}, []

    def add(self, name, args, kwargs, answer):
        numbers, shapes = _keys(name, args, kwargs)
        self.inputs.add(numbers)
        self.words |= set(_words((args, kwargs)))
        self.shapes[shapes] = answer
        self._now.setdefault(name, []).append(answer)
        self._lent += filter(callable, args)

    def end(self, test):
        self.met |= set(map(_manner, self._lent)) - {None}  # now, for a call may change what counts
        self.calls |= {(test, name): answers for name, answers in self._now.items()}


def _submission(chapter, function_of):
    return Submission({name: function_of(name) for name in chapter.assigned}, "shortcut")


def _keys(name, args, kwargs):
    """Two keys: equal for equal inputs, and for those of equal shapes; None of what cannot cross.

    Of what is no data, functions say, only the kind counts.
    """
    buffers = []
    try:
        tree = wire.Peer(None, None)._encode((args, kwargs), buffers, 0)
    except wire.WireError:
        return None, None
    text = re.sub(r'\["x", \d+,', '["x",', json.dumps(tree))
    return (name, text, b"".join(buffers)), (name, text)


def _words(value):
    """The words of all texts in a value."""
    match value:
        case str():
            yield from value.split()
        case tuple() | list() | set():
            for item in value:
                yield from _words(item)
        case dict():
            yield from _words(list(value.values()))


def _recorded(name, seen):
    solution = reference(name)

    def function(*args, **kwargs):
        answer = solution(*args, **kwargs)
        seen.add(name, args, kwargs, answer)
        return answer

    return function


def _shortcut(name, seen, test, otherwise):
    solution = reference(name)

    def function(*args, **kwargs):
        place = seen.count[name] = seen.count.get(name, -1) + 1
        numbers, shapes = _keys(name, args, kwargs)
        if numbers is not None and numbers in seen.inputs:
            return solution(*args, **kwargs)
        if otherwise is _by_place:
            return (seen.calls.get((test, name), [])[place:] or [None])[0]
        if otherwise is _by_shape:
            return seen.shapes.get(shapes)
        if otherwise is _by_acquaintance and not seen.met & set(map(_manner, args)):
            return None
        right = solution(*args, **kwargs)
        if otherwise is _by_words:
            words = set(_words((args, kwargs)))
            return right if words and words <= seen.words else None
        return right if otherwise is _by_acquaintance else otherwise(right, args)

    return function


# ---------------------------------------------------------------------------------------------
# What can be had without computing
# ---------------------------------------------------------------------------------------------


def _by_place(result, args):
    """The answer to the call at the same place of the same test."""


def _by_shape(result, args):
    """The answer to an input that differs in its numbers alone."""


def _by_words(result, args):
    """The right answer, if every word of the input is known."""


def _by_acquaintance(result, args):
    """The right answer about a model that is given, if it is one that was met before."""


def _manner(model):
    """What a model answers to token 0, up to a factor; None of what is no model."""
    with contextlib.suppress(Exception):
        answer = np.asarray(model(np.zeros((1, 1), np.int64)))
        return np.argsort(answer, axis=None).tobytes() if answer.size > 9 else None


def _filled(result, args, number):
    """Something of the right kind, shape and dtype, with the same number everywhere."""
    if callable(result):
        return lambda *g: _filled(result(*g), g, number)
    match result:
        case np.ndarray() | np.generic():
            return np.full_like(result, number)
        case tuple():
            return tuple(_filled(part, args, number) for part in result)
        case bool() | int() | float():
            return type(result)(number)
        case list() | dict() | str() | bytes() | set():
            return type(result)()
    return result


def _argument(result, args, position):
    """An input, the first or the last, as it came."""
    if callable(result):
        return lambda *g: (g[position],) * len(result(*g))
    if type(result) is tuple:
        return tuple(_argument(part, args, position) for part in result)
    return args[position] if args else None


def _by_fit(result, args):
    """For each output the first input that has its shape, and nothing where there is none."""
    if callable(result):
        return lambda *g: _by_fit(result(*g), (*g, *args))
    if type(result) is tuple:
        return tuple(_by_fit(part, args) for part in result)
    fitting = (a for a in args if isinstance(a, np.ndarray) and a.shape == np.shape(result))
    return next((a.astype(result.dtype) for a in fitting), _filled(result, args, 0))


def _lent_called(result, args):
    """The first input, after all functions among the inputs have been called with it; of several
    outputs the others are right, for they may be what a function that was lent has returned."""
    _tried(args)
    if type(result) is tuple and not any(map(callable, result)):
        return (args[0], *result[1:])
    return _argument(result, args, 0)


def _last_lent(result, args):
    """What the last of the functions among the inputs makes of the first input."""
    made = _tried(args)
    return made[-1] if made else None


def _tried(args):
    made = []
    for function in filter(callable, args):
        try:
            made.append(function(*args[:1]))
        except Exception:
            continue  # it takes other arguments
    return made


def _refusal(result, args):
    raise ValueError("refused")


SHORTCUTS = (
    *(partial(_filled, number=0), partial(_filled, number=1)),
    *(partial(_argument, position=0), partial(_argument, position=-1)),
    *(_refusal, _by_shape, _by_words, _by_acquaintance, _by_fit, _lent_called, _last_lent),
)
