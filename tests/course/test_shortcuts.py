"""Points without a right answer: each of these earns none, and what is right earns all."""

import numpy as np
import pytest

from tinyqwen.course.authoring import shortcuts
from tinyqwen.course.authoring.shortcuts import confirmed, strong_tests
from tinyqwen.course.faulty_models import diagnoses, load, views
from tinyqwen.course.registry import chapter, reference
from tinyqwen.course.runner import graders_of, result_of, run
from tinyqwen.course.submission import Submission


@pytest.fixture
def points(weak_tests_of):
    """Points that count, before and after shortcuts are told from answers."""

    def earned(key, functions, seed=7):
        graders = graders_of(chapter(key))
        results = [run(t, Submission(functions), result_of(t, key), seed) for t in graders]
        counted = confirmed(results, weak_tests_of(key))
        return sum(r.earned for r in results), sum(r.earned for r in counted)

    return earned


def four_parts(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    """A decoder layer that calls what it is lent, and returns its input."""
    _, weights = self_attn(input_layernorm(x))
    mlp(post_attention_layernorm(x))
    return x, weights


def nothing_new(weight, i, factor, scale, zero, bits):
    """A column of GPTQ in which nothing is rounded and nothing made up for."""
    return np.zeros(weight.shape[1], np.uint8), weight.copy(), np.zeros(weight.shape[1])


def zeros(scale):
    def by_shape(x, axis=-1):
        return x * 0 + scale, lambda g: (g * 0,)

    return by_shape


@pytest.mark.parametrize(
    "key, functions",
    [
        ("ch09", {"decoder_layer": four_parts}),
        ("ch06", {"softmax": zeros(0.0)}),
        ("ch06", {"softmax": zeros(1.0)}),
        ("ch19", {"gptq_column": nothing_new}),
    ],
)
def test_no_right_answer_no_points(points, key, functions):
    assert points(key, functions)[1] == 0


@pytest.mark.slow
def test_four_constants_and_a_counter_of_calls_earn_nothing(points):
    """`diagnoses` by heart, and checks that say True and False in turns."""
    count = [0]

    def turns(model, inside, ids):
        count[0] += 1
        return count[0] % 2 == 0

    checks = {f"check_{name}": turns for name in "abcd"}
    assert points("ch13", {"diagnoses": diagnoses, **checks})[1] == 0
    assert points("ch13", {"diagnoses": diagnoses}) == (4, 0)
    right = {f"check_{name}": reference(f"check_{name}") for name in "abcd"}
    before, after = points("ch13", {"diagnoses": diagnoses, **right})
    assert before == after == 25


def by_acquaintance(patient):
    """Who has met the patients at home knows them again by what they answer to a zero."""

    def manner(model):
        return tuple(np.argsort(model(np.zeros((1, 1), int)).ravel())[-5:])

    ill = manner(views(load(patient))[0])
    return lambda model, inside, ids: manner(model) != ill


@pytest.mark.slow
def test_who_knows_the_patients_by_their_faces_earns_nothing(points):
    checks = {f"check_{name}": by_acquaintance(name) for name in "abcd"}
    before, after = points("ch13", {"diagnoses": diagnoses, **checks})
    assert before > 0 and after == 0


def test_what_each_shortcut_can_know_by_hand(monkeypatch):
    """An input that was met is answered by all; others by words, by place, or by shape."""
    monkeypatch.setattr(shortcuts, "reference", lambda name: lambda x: x + x)
    seen = shortcuts.Seen()
    recorded = shortcuts._recorded("f", seen)
    for x in ("the cat", "a dog", np.ones(3)):
        recorded(x)
    seen.end("test_f")

    def answers(shortcut, *inputs):
        seen.begin()
        answer = shortcuts._shortcut("f", seen, "test_f", shortcut)
        return [answer(x) for x in inputs]

    by_words = answers(shortcuts._by_words, "the dog", "a cat a", "the bird", "bird", "", "the cat")
    assert by_words == ["the dogthe dog", "a cat aa cat a", None, None, None, "the catthe cat"]
    assert answers(shortcuts._by_place, "x", "y") == ["the catthe cat", "a doga dog"]
    _, _, third, none = answers(shortcuts._by_place, "x", "a dog", "z", "z")
    assert third.tolist() == [2, 2, 2] and none is None
    one, other, known = answers(shortcuts._by_shape, np.zeros(3), np.zeros(4), "the cat")
    assert one.tolist() == [2, 2, 2] and other is None and known == "the catthe cat"


def test_a_function_that_nothing_proves_gives_no_points_and_is_told():
    tests = {"test_f": (["silu"], True), "test_g": (["gelu"], False)}
    assert strong_tests(chapter("ch04"), tests)["silu"] == []
    assert strong_tests(chapter("ch04"), tests)["gelu"] == ["test_g"]


X, Y = np.array([[1.0, 2.0]]), np.array([3, 4])


def same(found, expected):
    """Equal in type, dtype and numbers; functions by what they return."""
    if callable(expected):
        return callable(found) and same(found(X), expected(X))
    if isinstance(expected, tuple):
        pairs = zip(found, expected, strict=True)
        return type(found) is tuple and all(same(*pair) for pair in pairs)
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize(
    ("result", "zeros"),
    [
        (X, 0 * X),
        (Y, 0 * Y),
        ((X, Y), (0 * X, 0 * Y)),
        (3, 0),
        (True, False),
        (0.5, 0.0),
        ("text", ""),
        ([1, 2], []),
        ({"a": 1}, {}),
        (None, None),
        ((X, lambda g: (g, g)), (0 * X, lambda g: (0 * g, 0 * g))),
    ],
)
def test_what_can_be_had_without_looking(result, zeros):
    """Something of the same kind; the input as it came; what has the output's shape."""
    assert same(shortcuts._filled(result, (), 0), zeros)
    if isinstance(result, tuple) and callable(result[1]):
        assert same(shortcuts._argument(result, (Y, X), 0), (Y, lambda g: (g, g)))
        assert same(shortcuts._by_fit(result, (Y, 2 * X)), (2 * X, lambda g: (g, g)))
    elif not isinstance(result, tuple):
        assert shortcuts._argument(result, (Y, X), -1) is X
        assert shortcuts._argument(result, (), 0) is None


def test_the_first_input_of_an_outputs_shape_in_its_dtype():
    ids = np.array([[7, 8]])
    assert same(shortcuts._by_fit(X, (Y, ids, X)), np.array([[7.0, 8.0]]))
    assert same(shortcuts._by_fit(X, (Y,)), 0 * X)
    assert same(shortcuts._by_fit((X, Y), (ids, Y, X)), (1.0 * ids, Y))


def test_what_is_lent_is_called_and_what_it_returns_is_handed_on():
    called = []

    def lent(x):
        called.append(x)
        return 10 * x

    def broken(*args):
        raise TypeError

    args = (X, lent, broken, lambda x: 20 * x)
    assert same(shortcuts._last_lent(X, args), 20 * X)
    assert shortcuts._last_lent(X, (X, Y)) is None
    assert shortcuts._lent_called(Y, args) is X and len(called) == 2
    assert same(shortcuts._lent_called((X, Y), (2 * X, lent)), (2 * X, Y))
    with pytest.raises(ValueError, match="refused"):
        shortcuts._refusal(X, args)


def test_keys_of_inputs():
    """Equal for equal inputs; and another, for those that differ in their numbers alone."""
    one, again, other = (shortcuts._keys("f", (a,), {"n": 1}) for a in (X, X.copy(), 2 * X))
    assert one == again and one[0] != other[0] and one[1] == other[1]
    for name, args, more in (("g", (X,), {"n": 1}), ("f", (Y,), {"n": 1}), ("f", (X,), {"n": 2})):
        assert shortcuts._keys(name, args, more)[1] != one[1]
    endless = []
    endless.append(endless)
    assert shortcuts._keys("f", (endless,), {}) == (None, None)
    assert sorted(shortcuts._words(("the cat", ["a"], {1: {"dog"}, 2: 3}))) == [
        *("a", "cat", "dog", "the"),
    ]  # fmt: skip
