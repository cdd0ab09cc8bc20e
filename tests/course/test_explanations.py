"""How failures are explained, by hand: terms of a gradient, special inputs, examples, limits."""

from types import SimpleNamespace

import numpy as np
import pytest

from tinyqwen.course import CheckFailed, case
from tinyqwen.course.authoring import examples
from tinyqwen.course.authoring.agreement import agrees, allowed
from tinyqwen.course.authoring.apart import apart
from tinyqwen.course.authoring.cases import made_cases
from tinyqwen.course.authoring.diagnosis import (
    GUESS,
    as_array,
    compare,
    known_mistake,
    likely,
    named_index,
)
from tinyqwen.course.authoring.differences import _close, central_differences
from tinyqwen.course.authoring.elsewhere import fits
from tinyqwen.course.authoring.patterns import meaning
from tinyqwen.course.authoring.terms import misweighted
from tinyqwen.course.authoring.values import plain, shortened, value_pattern
from tinyqwen.course.authoring.wrong_calls import by_an_argument, other_numbers, other_settings
from tinyqwen.course.calls import (
    Here,
    StudentError,
    StudentFunction,
    Symptom,
    ToDo,
    described,
    enclosing_loop,
)

A, B = np.random.default_rng(0).standard_normal((2, 3, 4))
TERMS = {"a": A, "b": B[:1]}


@pytest.mark.parametrize(
    ("yours", "told"),
    [
        (A + B[:1], None),
        (A, "b is missing"),
        (A - B[:1], "b has the wrong sign"),
        (3 * A + B[:1], "a is 3 times what it should be, that is 3"),
        (-A + 0.5 * B[:1], "a has the wrong sign and b is 0.5 times what it should be, that is"),
        (A + B, None),  # no combination of the two
        (np.where(A > 0.5, np.nan, A), None),
    ],
)
def test_terms_of_a_gradient(yours, told):
    found = misweighted(yours, TERMS, lambda ratio: f", that is {ratio:g}")
    assert found is None if told is None else found.startswith(told)


def test_of_too_few_numbers_every_combination_would_fit():
    two = {"a": np.array([1.0, 2.0, 0.0]), "b": np.array([0.0, 1.0, 1.0])}
    assert misweighted(np.array([1.0, 2.0, 0.0]), two) is None
    four = {name: np.append(term, 0) for name, term in two.items()}
    assert misweighted(np.array([1.0, 2.0, 0.0, 0.0]), four) == "b is missing"
    alike = {"a": A, "b": 2 * A}  # their weights cannot be told apart
    assert misweighted(A, alike) is None


ONES, MANY = np.ones((2, 3)), [case(np.ones((2, 3)) * n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("ill", "told"),
    [
        (case(np.zeros((0, 3))), "x is empty"),
        (case(np.array([[1.0, np.inf]])), "x has infinite numbers"),
        (case(np.array([[1.0, -51.0]])), "x has large numbers"),
        (case(np.array([[1, -1]])), "x has negative numbers"),
        (case(ONES, (1, 2)), "axis is a tuple"),
        (case(ONES, -2), "axis is negative"),
        (case(ONES, (0, -1)), "axis is a tuple"),
        (case(ONES, 1), "axis = 1"),
        (case(ONES, np.add), "axis = add"),
        (case(ONES, out=ONES), "out is given"),
        (case(np.ones(3)), "x has 1 axis"),
        (case(np.ones((1, 1, 3))), "x has 3 axes"),
        (case(np.ones((2, 1))), "x has an axis of length 1"),
        (case(ONES, label="the last"), "it is “the last”"),
    ],
)
def test_what_is_special_about_an_input(ill, told):
    words = apart(["x", "axis"], [ill], MANY)
    assert words == f"other inputs go well; here {told}"
    assert apart(["x", "axis"], [ill], [*MANY, ill]) is None
    assert apart(["x", "axis"], [ill, case(np.ones((4, 4)))], MANY) is None
    few = apart(["x", "axis"], [ill], MANY[:2])
    assert few == (words if told == "x is empty" else None)  # two that go well prove little


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ("3", "np.int64(3)", True),
        ("True", "np.True_", True),
        ("0.5", "np.float32(0.5)", True),
        ("5", "5.0", True),
        ("[1, 2]", "[1.0, 2.0]", True),
        ("v1.0.0", "v1.0", False),
        ("array([1, 2])", "array([1, 2], dtype=uint8)", True),
        ("array([1, 2])", "array([1, 2], dtype=float32)", False),
        ("0.30000000000000004", "0.3", True),
        ("0.3", "0.3001", False),
        ("1e-05", "1.00000000000001e-05", True),
        ("[1, 2]", "[1, 2, 3]", False),
        ("a 1", "b 1", False),
    ],
)
def test_prints_that_mean_the_same(want, got, same):
    assert examples._PlainNumbers().check_output(f"{want}\n", f"{got}\n", 0) is same


def test_what_two_prints_differ_in():
    assert "in reverse order" in examples._difference("[1, 2, 3]", "[3, 2, 1]")
    assert examples._difference("array([1.])", "array([2.])") is None
    assert "one result too many" in examples._why_not_unpacked("too many values to unpack (3)")
    assert "a result is missing" in examples._why_not_unpacked("not enough values to unpack (1)")
    assert examples._why_not_unpacked("something else") is None


def test_what_may_differ_by_hand():
    """An entry's size times 1e-6, and 1e-9 of the largest; 1e-4 and 1e-5 in float32."""
    x = np.array([0.0, -2.0, 4.0])
    assert allowed(x) == pytest.approx([4e-9, 2e-6 + 4e-9, 4e-6 + 4e-9], rel=1e-12)
    single = allowed(x.astype(np.float32))
    assert single == pytest.approx([4e-5, 2e-4 + 4e-5, 4e-4 + 4e-5], rel=1e-6)
    assert allowed(x, rtol=1e-2) == pytest.approx([4e-3, 2e-2 + 4e-3, 4e-2 + 4e-3], rel=1e-12)
    assert allowed(x, like=np.float32(50)) == pytest.approx([5e-4, 7e-4, 9e-4], rel=1e-6)
    assert allowed(np.array([np.inf, 1.0])) == pytest.approx([1e-9, 1e-6 + 1e-9], rel=1e-12)
    assert allowed(np.array([3, 4])).tolist() == [0, 0] and allowed(np.zeros(0)).size == 0


@pytest.mark.parametrize(
    ("yours", "expected", "agree"),
    [
        ([1.0, np.nan], [1.0, np.nan], True),
        ([1.0, np.inf], [1.0, np.inf], True),
        ([1.0, -np.inf], [1.0, np.inf], False),
        ([1.0, 1e300], [1.0, np.inf], False),
        ([1.0, 2.0], [1.0, np.nan], False),
        ([[1.0]], [1.0], False),
        ([1.0 + 2e-6], [1.0], False),
        ([1.0 + 9e-7], [1.0], True),
        ([3], [3.0], True),
        ([3.0], [3], True),
        ([True], [False], False),
        (["a"], ["a"], False),
    ],
)
def test_what_agrees(yours, expected, agree):
    assert agrees(np.array(yours), np.array(expected)) is agree


def test_cases_are_made_of_cases_and_shapes():
    made = made_cases([(ONES,), case(ONES, eps=2, label="l")], [(2, 5), ((3,), (4, 1))], 3.0,
                      {"eps": 1})  # fmt: skip
    assert [[np.shape(a) for a in one.args] for one in made] == [
        *([(2, 3)], [(2, 3)], [(2, 5)], [(3,), (4, 1)]),
    ]
    assert [one.options for one in made] == [{"eps": 1}, {"eps": 2}, {"eps": 1}, {"eps": 1}]
    assert [one.label for one in made] == ["", "l", "", ""]
    (wide,), (narrow,) = (made_cases(None, [(400,)], scale, {})[0].args for scale in (3.0, 1.0))
    assert wide.std() == pytest.approx(3, rel=0.2) and narrow.std() == pytest.approx(1, rel=0.2)
    (view,) = case(A).strided().args
    assert not view.flags.c_contiguous and np.array_equal(view, A)
    assert case(A, label="l").halved().args[0].tolist() == (A / 2).tolist()
    (ids, x) = case(np.arange(3), A).cast(np.float32).args
    assert ids.dtype.kind == "i" and x.dtype == np.float32


@pytest.mark.parametrize(
    ("ratio", "shape", "told"),
    [
        (3, (3, 4), ": that is 3, the length of axis 0"),
        (1 / 4, (3, 4), ": that is 1 / 4, the length of axis 1"),
        (3**0.5, (3, 4), ": that is √3, the length of axis 0"),
        (2, (2, 4), ""),  # a length of two says nothing
        (2, (3, 4), ""),  # nor is a root of four one
        (6, (3, 4), ": that is 6, the rows"),
        (2 / 3, (3, 4), ": that is (1 - 1/n) with n = 3, the length of axis 0"),
        (0.75**0.5, (3, 4), ": that is √(1 - 1/n) with n = 4, the length of axis 1"),
        (np.log(2), (), ": that is ln 2"),
        (1 / np.log(10), (), ": that is 1 / ln 10"),
        ((2 * np.pi) ** 0.5, (), ": that is √(2π)"),
        (np.pi, (), ": that is π"),
        (8**0.5, (), ": that is 2√2"),
        (1.2345, (3, 4), ""),
    ],
)
def test_what_a_factor_means(ratio, shape, told):
    assert meaning(ratio, shape, {6: "the rows"}) == told


def test_an_index_in_words():
    assert named_index((1, 0, 3), "batch time feature") == "batch 1, time 0, feature 3"
    assert named_index((0, 3), "batch time feature") == "time 0, feature 3"
    assert named_index((2, 0)) == "index [2, 0]" and named_index(()) == "the only entry"


def test_what_is_no_array_is_told():
    def told(yours, what="it", expected=A):
        with pytest.raises(CheckFailed) as failure:
            as_array(yours, expected, what, "x (3, 4)")
        assert str(failure.value).endswith("\n  input     x (3, 4)")
        return str(failure.value).splitlines()[0], failure.value.mistake

    assert told(None) == ("it is None.", "a return statement is missing")
    assert "this array has a gradient" in told(None, "f: the gradient of x")[1]
    assert told([1.0]) == ("it is a list, not an array.", "np.array(…) makes one of a list")
    assert told(1.0) == ("it is a float, not an array.", None)
    assert as_array(1.0, np.float64(2), "it") == 1.0
    assert told(np.array(["a"]))[0] == "it has dtype <U1: real numbers were expected."
    assert told(np.array([1j]))[0].startswith("it has dtype complex128")


def failure_of(yours, expected, **options):
    with pytest.raises(CheckFailed) as failure:
        compare(yours, expected, "the output", **options)
    return failure.value


def test_a_comparison_in_lines():
    right = np.array([[1.0, 2.0], [3.0, 4.0]])
    wrong = right.copy()
    wrong[1, 0], wrong[0, 1] = 3.5, 2.1
    lines = str(failure_of(wrong, right, case="x", axes="row column")).splitlines()
    assert lines == [
        "the output is wrong.",
        "  input     x",
        "  worst at  row 1, column 0",
        "  expected  3",
        "  yours     3.5",
        "  wrong     2 of 4 entries",
        "  all of it expected [1., 2., 3., 4.]",
        "            yours    [1. , 2.1, 3.5, 4. ]",
    ]
    wrong[0, 0] = np.nan  # worse than all
    assert "worst at  index [0, 0]" in str(failure_of(wrong, right))
    lines = str(failure_of(right[:1], right)).splitlines()
    assert lines[1:] == ["  expected  shape (2, 2)", "  yours     shape (1, 2)"]
    large = np.ones((3, 8))
    assert failure_of(2 * large, large).picture is not None
    assert failure_of(2 * large[:, :7], large[:, :7]).picture is None
    assert failure_of(2 * large.ravel(), large.ravel()).picture is None
    assert "all of it" in str(failure_of(2 * large[0], large[0]))
    assert "all of it" not in str(failure_of(2 * large[0, :1], large[0, :1]))
    assert "all of it" not in str(failure_of(2 * large, large))


def test_which_explanation_comes_first():
    """A listed mistake, then what `told_by` says, then the numbers' own pattern."""

    def mistake(**options):
        return failure_of(-A, A, **options).mistake

    assert mistake() == "the sign is wrong"
    assert mistake(patterns=False) is None
    assert mistake(told_by=lambda yours: "told") == "told"
    assert mistake(told_by=lambda yours: None) == "the sign is wrong"
    listed = [("none", lambda: None), ("right", lambda: A), ("other", lambda: B)]
    assert mistake(mistakes=listed, told_by=lambda yours: "told") == "told"
    assert (
        mistake(mistakes=[*listed, ("minus", lambda: -A)], told_by=lambda yours: "told") == "minus"
    )


def test_central_differences_of_a_cube_by_hand():
    def cube(x, scale):
        return scale * x**3, None

    g = np.array([1.0, 10.0])
    found = central_differences(cube, case(np.array([2.0, -30.0]), 0.5), g, 0)
    assert found == pytest.approx([0.5 * 3 * 4, 10 * 0.5 * 3 * 900], rel=1e-8)
    with pytest.raises(CheckFailed, match=r"another shape than the gradient.*: \(2,\)"):
        central_differences(cube, case(np.array([2.0, -30.0]), 0.5), g[:1], 0)


def test_other_numbers_by_hand():
    told = dict(other_numbers("r", 0.25))
    assert told["r has no effect: this is what 0 gives"] == 0
    assert [*told.values()][1:] == [4.0, 0.0625, 0.5, -0.25, 0.5, 0.125, 0.75, 1.0, 0.25]
    for value in (0.0, -1.0, np.inf, 1, True):
        assert other_numbers("r", value) == ()


def test_what_an_argument_too_many_or_too_few_gives():
    """Of arrays that broadcast to the result, in floats, and of more than one number."""
    arrays = [A, B[0], np.array([2.0]), np.arange(12).reshape(3, 4), "text", np.ones((2, 3, 4))]
    found = dict(by_an_argument("abcdef", arrays, right := 2 * A))
    assert len(found) == 9 and found.keys() >= {"this is a as it came"}
    for name, array in (("a", A), ("b", B[0])):
        for text, made in (
            (f"{name} is a factor too many", right * array),
            (f"the factor {name} is missing", right / array),
            (f"{name} is added once too often", right + array),
            (f"{name} is subtracted, or is not added", right - array),
        ):
            np.testing.assert_array_equal(found[text](), made)
    assert found["this is a as it came"]() is A and "this is b as it came" not in found


def test_a_gradient_is_close_to_differences_by_its_largest_entry():
    for mine, numeric, close in (
        ([9e-10, 0], [0, 0], True),
        ([1.1e-9, 0], [0, 0], False),
        ([2.0, 1.9e-6], [2.0, 0], True),
        ([2.0, 2.1e-6], [2.0, 0], False),
        ([], [], True),
    ):
        assert _close(np.array(mine, float), np.array(numeric, float)) == close


def test_other_settings_by_hand():
    call = SimpleNamespace(names=["x", "n", "eps"], solution=lambda x, n=3, eps=0.5: None)

    def told(*args, **options):
        return {
            text: (a[1:], o) for text, a, o in other_settings(call, case(ONES, *args, **options))
        }

    found = told(5, eps=0.25)
    assert found["eps is not used: this is what its default, 0.5, gives"] == ((5,), {})
    assert found["n is not used: this is what its default, 3, gives"] == ([3], {"eps": 0.25})
    assert found["off by one: this is the result for n +1"] == ([6], {"eps": 0.25})
    assert found["off by one: this is the result for n -1"] == ([4], {"eps": 0.25})
    assert found["eps is squared"] == ((5,), {"eps": 0.0625})
    found = told(3, eps=0.5)
    assert not any("is not used: this" in text for text in found)  # these are the defaults
    assert told(n=7)["off by one: this is the result for n +1"] == ((), {"n": 8})
    assert told(5, 0.25)["eps is squared"] == ([5, 0.0625], {})


@pytest.mark.parametrize(
    ("yours", "expected", "told"),
    [
        ([2, 1], [1, 2], "the right items, exchanged"),
        ([[1, 2]], [1, 2], "a list of lists came"),
        (["1", "2"], ["a", "b"], None),
        ([b"a"], ["a"], "the items are of type bytes; str is asked for"),
        ([1.5], [1], "every number is off by +0.5"),
        ([2.0, 4.0], [1.0, 3.0], "every number is off by +1"),
        ([0.5, 1.0], [1.0, 2.0], "every number is 0.5 times"),
        ([0.0, 2.0], [0.0, 1.0], None),
        ([], [1], "the end is missing"),
        (True, "a", "this is a bool; a str is asked for"),
        ("the b", "the b c", "the end is missing"),
        ("", "a", None),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, "every number is off by -1"),
        ({1: 2}, {2: 1}, None),
        ({("1", "2"): 1}, {(1, 2): 1}, "has become text"),
    ],
)
def test_more_values(yours, expected, told):
    found = value_pattern(yours, expected)
    assert found is None if told is None else told in found


def test_numpys_numbers_are_pythons():
    made = plain({np.int64(1): (np.float32(0.5), [np.array([1, 2])])})
    assert made == {1: (0.5, [[1, 2]])}
    assert [type(key) for key in made] == [int] and type(made[1][0]) is float
    assert shortened("abc", 5) == "'abc'" and shortened("abcd", 5) == "'abcd…"


def test_symptoms_are_marked_as_such():
    """Where a grader knows the cause, it is told behind them."""
    assert isinstance(failure_of(np.full_like(A, np.nan), A).mistake, Symptom)
    assert isinstance(failure_of(0 * A, A).mistake, Symptom)
    assert not isinstance(failure_of(-A, A).mistake, Symptom)


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        ((), None, "nothing"),
        ((A, np.arange(3)), {"eps": 1e-6}, "(3, 4) float64, (3,) int64, eps=1e-06"),
        (((A, B), (1, 2)), {}, "((3, 4) float64, (3, 4) float64), (1, 2)"),
        ((np.add, abs, None, "a"), {}, "add, abs, None, 'a'"),
        (("x" * 58,), {}, f"'{'x' * 58}'"),
        (("x" * 59,), {}, f"'{'x' * 56}…"),
        ((np.float32(2),), {}, f"{np.float32(2)!r}"),
    ],
)
def test_what_a_function_was_called_with(args, options, words):
    assert described(args, options) == words


LOOPS = """
for i in a:
    while b:
        for j in c:
            x = 1
    y = 2
z = 3
while d: e()
"""


@pytest.mark.parametrize(
    ("line", "loop"),
    [
        (2, "line 2: for i in a:"),
        (3, "line 3: while b:"),
        (5, "line 3: while b:"),  # a `for` ends by itself
        (6, "line 2: for i in a:"),
        (7, None),
        (8, "line 8: while d: e()"),
        (1, None),
    ],
)
def test_the_loop_around_a_line(tmp_path, line, loop):
    (tmp_path / "f.py").write_text(LOOPS)
    assert enclosing_loop(str(tmp_path / "f.py"), line) == loop


def test_no_loop_of_what_cannot_be_read(tmp_path):
    (tmp_path / "f.py").write_text("while (:")
    assert enclosing_loop(str(tmp_path / "f.py"), 1) is None
    assert enclosing_loop(str(tmp_path / "g.py"), 1) is None


def raising(error):
    def f(x):
        raise error

    return StudentFunction("f", Here(f, "a/b/mine.py"), "a/b/mine.py")


@pytest.mark.parametrize(
    ("error", "says", "likely"),
    [
        (ValueError("a\nb"), "f raised ValueError: a\n  | b", None),
        (ZeroDivisionError("division by zero"), "f raised ZeroDivisionError:", "a divisor is 0"),
        (TypeError("unhashable type: 'list'"), "f raised TypeError", "make it a tuple"),
        (SystemExit(), "f ended the whole program; return a value instead.", None),
        (RecursionError(), "f called itself too often (RecursionError).", "write a loop"),
    ],
)
def test_an_exception_in_words(error, says, likely):
    with pytest.raises(StudentError) as told:
        raising(error)(np.zeros(3))
    assert str(told.value).startswith(says)
    assert str(told.value).endswith("\nIt was called with (3,) float64.")
    assert told.value.mistake is None if likely is None else likely in told.value.mistake
    assert told.value.late is None


def test_what_has_the_name_of_numpys_is_told_to_be_ones_own():
    def exp(x):
        raise RecursionError

    with pytest.raises(StudentError) as told:
        StudentFunction("exp", Here(exp))(np.zeros(3))
    assert told.value.mistake == "exp is what you are writing; NumPy's is np.exp"


@pytest.mark.parametrize("error", [NotImplementedError(), ToDo("f")])
def test_what_is_not_written_is_to_do(error):
    for call in (lambda f: f(1), lambda f: f.many([(1,), (2,)])):
        with pytest.raises(ToDo, match=r"^f$"):
            call(raising(error))


def test_every_call_gets_copies_and_tells_what_was_changed():
    def f(x, *, y):
        y += 1
        return x, lambda g: (g, x)

    fn, x, y = StudentFunction("f", Here(f)), np.ones(2), np.ones(3)
    out, vjp = fn(x, y=y)
    assert y.tolist() == [1, 1, 1] and out is not x
    assert (fn.edited, fn.views) == (["y"], [0])
    assert vjp.__name__ == "f's vjp" and vjp(np.ones(2))[0].tolist() == [1, 1]
    assert [out.tolist() for out in fn.many([(x,), (2 * x,)], y=y)] == [[1, 1], [2, 2]]


def breaks(error):
    def wrong():
        raise error

    return wrong


RIGHT, WRONG = np.array([1.0, 2.0]), np.array([2.0, 4.0])
DOUBTFUL = "(that fits this input, and not all of the others)"


@pytest.mark.parametrize(
    ("mistakes", "told"),
    [
        ([], None),
        ([("a", lambda: WRONG)], "a"),
        ([("a", lambda: WRONG + 1e-4), ("b", lambda: WRONG)], "b"),
        ([("a", lambda: WRONG), ("b", lambda: WRONG)], "a"),  # the first one of the list
        ([("a", lambda: None), ("b", lambda: RIGHT)], None),  # it does not show with this input
        ([("a", breaks(ValueError())), ("b", breaks(IndexError())), ("c", lambda: WRONG)], "c"),
        ([("a", breaks(ZeroDivisionError())), ("b", breaks(TypeError()))], None),
        ([("a", lambda: WRONG, lambda: 1)], "a"),
        ([("a", lambda: WRONG, lambda: 0.5)], f"a {DOUBTFUL}"),
        ([("a", lambda: WRONG, lambda: 0)], None),  # it explains nothing else
        ([("a", lambda: WRONG, lambda: 0.5), ("b", lambda: WRONG, lambda: 1)], "b"),
        ([("a", lambda: WRONG, lambda: 0.5), ("b", lambda: WRONG, lambda: 0.6)], f"a {DOUBTFUL}"),
        ([("a", lambda: WRONG, lambda: 0.5, GUESS)], None),  # a guess is sure, or is none
        ([("a", lambda: WRONG, lambda: 1, GUESS)], "a"),
        (
            [("a", lambda: WRONG, lambda: 0.5), ("b", lambda: WRONG, lambda: 1, GUESS)],
            f"a {DOUBTFUL}",  # an author's, though doubtful, goes before a guess
        ),
    ],
)
def test_which_mistake_is_known(mistakes, told):
    assert known_mistake(WRONG, RIGHT, mistakes) == told


@pytest.mark.parametrize(
    ("seen", "mistake", "told"),
    [
        (None, "a cause", "a cause"),
        ("a sign", "a cause", "a sign"),
        (Symptom("NaN"), "a cause", "NaN; a cause"),
        (Symptom("NaN"), None, "NaN"),
    ],
)
def test_a_cause_is_given_to_what_has_none(seen, mistake, told):
    with pytest.raises(CheckFailed) as failure, likely(mistake):
        raise CheckFailed("it is wrong", seen)
    assert failure.value.mistake == told
    with pytest.raises(CheckFailed) as failure, likely(mistake, of=ValueError):
        raise CheckFailed("it is wrong", seen)
    assert failure.value.mistake == seen  # it explains other failures
    for check, expected in ((lambda: None, told), (breaks(ValueError()), seen)):
        with pytest.raises(CheckFailed) as failure, likely(mistake, unless=check):
            raise CheckFailed("it is wrong", seen)
        assert failure.value.mistake == expected


def test_the_share_of_other_inputs_that_a_mistake_explains():
    """Those for which it cannot be made do not count; and of none it explains all."""

    def made(wrong, one, position):
        if one == "breaks":
            raise ValueError
        return None if one == "none" else np.array([wrong, position])

    right, other = (np.array([0, 0]), np.array([7.0, 1.0])), (None, np.array([7.0, 2.0]))
    for results, share in (
        ([], 1),
        ([("a", right)], 1),
        ([("a", right), ("b", other)], 0.5),
        ([("a", right), ("none", other), ("breaks", other)], 1),
        ([("a", other)], 0),
        ([("a", ())], 0),  # nothing came there: no such output
    ):
        assert fits(made, 7.0, 1, results) == share
        assert fits(made, 7.0, 1, results[:1], results[1:]) == share
