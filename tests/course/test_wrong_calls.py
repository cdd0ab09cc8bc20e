"""Mistakes that no author listed are named all the same, in any function, and not misnamed."""

import doctest
import math

import numpy as np
import pytest

from tinyqwen.course import CheckFailed, case, check_equal, check_value, check_vjp, likely
from tinyqwen.course.authoring.checks import in_words
from tinyqwen.course.authoring.elsewhere import KEPT
from tinyqwen.course.authoring.equality import check_all_equal
from tinyqwen.course.authoring.examples import _PlainNumbers
from tinyqwen.course.authoring.patterns import pattern, place
from tinyqwen.course.calls import Here, StudentError, StudentFunction
from tinyqwen.course.registry import reference

softmax, rms_norm = reference("softmax"), reference("rms_norm")
layer_norm, var = reference("layer_norm"), reference("var")
linear, cosine = reference("linear"), reference("cosine_with_warmup")


def softmax_over_axis_0(x, axis=-1):
    return softmax(x, axis=0)


def rms_norm_over_axis_0(x, weight, eps=1e-6):
    out, vjp = rms_norm(x.T, weight, eps)
    return out.T, vjp


def softmax_of_a_temperature(x, axis=-1):
    return softmax(x / 2, axis)


def layer_norm_exchanged(x, weight, bias, eps=1e-5):
    return layer_norm(x, bias, weight, eps)


def layer_norm_of_one_parameter(x, weight, bias, eps=1e-5):
    return layer_norm(x, weight, weight, eps)


def var_of_another_default(x, axis=None, keepdims=False, correction=1):
    return var(x, axis, keepdims, correction)


def rms_norm_with_its_own_epsilon(x, weight, eps=1e-6):
    return rms_norm(x, weight)


def linear_without_a_transpose(x, weight, bias=None):
    return linear(x, weight.T, bias)


def linear_of_shifted_biases(x, weight, bias=None):
    return linear(x, weight, np.concatenate([bias[-1:], bias[:-1]]))


def softmax_of_the_first_row(x, axis=-1):
    return softmax(np.stack([x[0]] * len(x)), axis)


def cosine_of_a_rate_squared(step, rate, *rest, **options):
    return cosine(step, rate**2, *rest, **options)


def rms_norm_of_another_epsilon(x, weight, eps=1e-6):
    return rms_norm(x, weight, 1e-2)


def cosine_of_a_ratio_squared(step, rate, warmup, total, min_ratio=0.1):
    return cosine(step, rate, warmup, total, min_ratio**2)


def cosine_exchanged(step, rate, warmup, total, **options):
    return cosine(step, rate, total, warmup, **options)


def cosine_as_a_power(*args, **options):
    return math.exp(cosine(*args, **options))


def cosine_a_step_ahead(step, *rest, **options):
    return cosine(step + 1, *rest, **options)


x, square = np.random.default_rng(0).standard_normal((2, 5, 5))


@pytest.mark.parametrize(
    "name, wrong, one, named",
    [
        ("rms_norm", rms_norm_over_axis_0, case(x, np.ones(5)), "works along axis 0"),
        ("softmax", softmax_over_axis_0, case(x), "axis is 0 where it is not given"),
        ("softmax", softmax_of_a_temperature, case(x), "x is halved first"),
        ("layer_norm", layer_norm_exchanged, case(x, x[0], x[1]), "weight and bias are exchanged"),
        (
            "layer_norm",
            layer_norm_of_one_parameter,
            case(x, x[0], x[1]),
            "weight stands where bias belongs",
        ),
        ("var", var_of_another_default, case(x, axis=1), "correction is 1 where it is not given"),
        ("rms_norm", rms_norm_with_its_own_epsilon, case(x, np.ones(5), eps=0.5), "eps is not"),
        ("linear", linear_without_a_transpose, case(x, square), "weight is used transposed"),
        ("linear", linear_of_shifted_biases, case(x, square, x[0]), "bias is read one place"),
        ("softmax", softmax_of_the_first_row, case(x), "only the first row of x is used"),
        ("cosine_with_warmup", cosine_of_a_rate_squared, case(7, 0.3, 2, 20), "rate is squared"),
        ("rms_norm", rms_norm_of_another_epsilon, case(x, np.ones(5)), "eps is 0.01 here"),
        (
            "cosine_with_warmup",
            cosine_of_a_ratio_squared,
            case(7, 1.0, 2, 20, 0.3),
            "ratio is squared",
        ),
        (
            "cosine_with_warmup",
            cosine_exchanged,
            case(7, 1.0, 2, 20),
            "warmup_steps and total_steps",
        ),
        ("cosine_with_warmup", cosine_as_a_power, case(7, 1.0, 2, 20), "e to the power of it"),
        ("cosine_with_warmup", cosine_a_step_ahead, case(7, 1.0, 2, 20), "off by one"),
    ],
)
def test_an_unlisted_mistake_is_named(name, wrong, one, named):
    with pytest.raises(CheckFailed) as failure:
        check_value(StudentFunction(name, Here(wrong)), [one])
    assert named in failure.value.mistake


def test_results_in_another_order_are_named():
    quantize = reference("quantize_array")

    def scales_first(weight, *args, **options):
        codes, scales, zeros = quantize(weight, *args, **options)
        return scales, codes, zeros

    student, names = (
        StudentFunction("quantize_array", Here(scales_first)),
        ("codes", "scales", "zeros"),
    )
    with pytest.raises(CheckFailed) as failure:
        check_value(student, [case(square[:4], 4, 2)], outputs=names)
    assert failure.value.mistake == "this is scales; the order is codes, scales, zeros"


def test_arguments_that_are_no_arrays_are_left_alone():
    """A list of lists of unequal length is none; what is wrong is told, and not how we stumbled."""
    parts = [([1, 2, 3], False), ([4], True)]

    def wrong(parts, ignore_index=-100):
        ids, labels = reference("chat_labels")(parts, ignore_index)
        return ids, labels[::-1]

    with pytest.raises(CheckFailed, match="chat_labels: labels is wrong"):
        check_value(
            StudentFunction("chat_labels", Here(wrong)), [case(parts)], outputs=("ids", "labels")
        )


def test_a_difference_that_a_small_integer_cannot_hold():
    right = np.array([3, 250], np.uint8)
    assert "off by -3" in pattern(np.array([0, 247], np.uint8), right)
    assert pattern(np.array([255, 0], np.uint8), right) is None


@pytest.mark.parametrize(
    "wrong, named",
    [
        (lambda x: x.astype(np.float32).astype(float) * (1 + 2e-6), "rounding size"),
        (lambda x: x / x.shape[0], "1 / 3, the length of axis 0"),
        (lambda x: x / np.log(2), "1 / ln 2"),
        (lambda x: x.round(2), "rounded to 2 digits"),
        (lambda x: x * np.arange(2.0, 5.0)[:, None], "along axis 1 all entries have one wrong"),
        (lambda x: -x, "sign"),
        (lambda x: np.abs(x), "some have the wrong sign"),
    ],
)
def test_what_the_numbers_alone_give_away(wrong, named):
    right = np.random.default_rng(1).standard_normal((3, 4))
    assert named in pattern(wrong(right), right)


def test_where_all_that_is_wrong_stands():
    right = np.random.default_rng(1).standard_normal((3, 4))
    wrong = right.copy()
    wrong[:, 2:] += np.arange(3.0)[:, None] + 1
    assert "at feature 2, 3;" in place(wrong, right, axes="batch feature")
    assert "at axis 1, index 2, 3;" in place(wrong, right)
    assert place(right + 1, right) is None
    wrong[0, 0] = 9
    assert place(wrong, right) is None


def test_of_two_explanations_that_which_fits_every_input_is_told():
    """Both mistakes give what comes for the first input; the second input parts them."""
    cases = [case(np.array([1.0, 2.0]), axis=-1), case(np.array([1.0, 3.0]), axis=-1)]

    def wrong(x, axis=-1):
        return x / x.sum(), lambda g: (g,)

    mistakes = {
        "the same whatever comes": lambda x, axis: np.array([1.0, 2.0]) / 3,
        "no exponentials are taken": lambda x, axis: x / x.sum(),
    }
    with pytest.raises(CheckFailed) as failure:
        check_value(StudentFunction("softmax", Here(wrong)), cases, mistakes=mistakes)
    assert failure.value.mistake == "no exponentials are taken"
    del mistakes["no exponentials are taken"]
    with pytest.raises(CheckFailed) as failure:
        check_value(StudentFunction("softmax", Here(wrong)), cases, mistakes=mistakes)
    assert "the same whatever comes" not in str(failure.value.mistake)
    with pytest.raises(CheckFailed) as failure:
        fn = StudentFunction("softmax", Here(wrong))
        check_value(fn, cases[:1], mistakes=mistakes, beside=cases[1:])
    assert "the same whatever comes" not in str(failure.value.mistake)  # nor an ordinary input


def test_results_and_gradients_in_another_order_are_told():
    def weights_first(query, key, value):
        (out, weights), vjp = reference("grouped_query_attention")(query, key, value)
        return (weights, out), vjp

    inputs = np.random.default_rng(0).standard_normal((3, 1, 2, 3, 4))
    fn = StudentFunction("grouped_query_attention", Here(weights_first))
    with pytest.raises(CheckFailed) as failure:
        check_value(fn, [case(*inputs)], outputs=("out", "weights"))
    assert failure.value.mistake == "this is weights; the order is out, weights"

    def gradients_turned(ids, weight):
        out, vjp = reference("embedding")(ids, weight)
        return out, lambda g: vjp(g)[::-1]

    with pytest.raises(CheckFailed) as failure:
        fn = StudentFunction("embedding", Here(gradients_turned))
        check_vjp(fn, [case(np.array([1, 0]), np.ones((3, 2)))])
    assert "None stands for what has none" in failure.value.mistake


def test_an_output_of_float32_is_told_where_differences_fail():
    def short(x, weight, eps=1e-6):
        out, vjp = rms_norm(x, weight, eps)
        return out.astype(np.float32).astype(x.dtype), vjp

    with pytest.raises(CheckFailed, match="central differences") as failure:
        check_vjp(StudentFunction("rms_norm", Here(short)), shapes=[((3, 4), (4,))])
    assert "is it computed in float32" in failure.value.mistake


@pytest.mark.parametrize(
    "printed, same",
    [
        ("array([ 1. , -0. , -1. ])", True),
        ("array([ 1. , 0. , 1. ])", False),
        ("array([ 1. , -0.1, -1. ])", False),
    ],
)
def test_a_zero_has_no_sign_in_an_example(printed, same):
    wanted = "array([ 1. ,  0. , -1. ])"
    assert _PlainNumbers().check_output(wanted, printed, doctest.NORMALIZE_WHITESPACE) is same


def told(check):
    """The mistake that a failing check names."""
    with pytest.raises((CheckFailed, StudentError)) as failure:
        check()
    return failure.value.mistake


@pytest.mark.parametrize(
    "cases, named",
    [
        ([case(x), case(square), case(x + 1), case(x[0])], "go well; here x has 1 axis"),
        ([case(x), case(x[0])], None),  # one that goes well proves nothing
        ([case(x), case(np.zeros((0, 5)))], None),  # of an empty one nothing can be wrong
        ([case(x[0]), case(x[1])], None),  # nothing goes well
        ([case(x), case(x, axis=0)], None),  # all go well
    ],
)
def test_what_sets_a_failing_input_apart_is_told(cases, named):
    def wrong(x, axis=-1):
        p, vjp = softmax(x, axis)
        return (p * p + 0.1 * p if x.ndim == 1 else p), vjp

    fn = StudentFunction("softmax", Here(wrong))
    if all(one.args[0].ndim > 1 for one in cases):
        check_value(fn, cases)
    else:
        assert (told(lambda: check_value(fn, cases)) or "").endswith(named or "")
        assert named or "other inputs" not in (told(lambda: check_value(fn, cases)) or "")


def test_a_special_cause_is_withheld_where_ordinary_inputs_fail_as_well():
    def check(fn, scale):
        check_value(StudentFunction("softmax", Here(fn)), [case(x * scale)])

    def guarded(fn):
        with likely("e^x overflows", unless=lambda: check(fn, 1.0)):
            check(fn, 1e4)

    def overflowing(x):
        e = np.exp(x)
        return e / e.sum(-1, keepdims=True), softmax(x)[1]

    def halved(x):
        return softmax(x)[0] / 2, softmax(x)[1]

    with np.errstate(all="ignore"):
        assert "e^x overflows" in told(lambda: guarded(overflowing))
    assert "e^x overflows" not in told(lambda: guarded(halved))


def test_the_gradient_of_ones_own_wrong_output_is_called_that():
    def of_twice_x(x, axis=-1):
        p, vjp = softmax(2 * x, axis)
        return p, lambda g: (2 * vjp(g)[0],)

    check = StudentFunction("softmax", Here(of_twice_x))
    assert "the gradient fits your output" in told(lambda: check_vjp(check, [case(x)]))


def test_a_slope_at_the_output_is_named():
    exp = reference("exp")

    def wrong(x):
        return exp(x)[0], exp(exp(x)[0])[1]

    check = StudentFunction("exp", Here(wrong))
    assert "the slope is taken at the output" in told(lambda: check_vjp(check, [case(x)]))


def test_an_output_that_leaves_an_argument_out_is_not_called_rounding():
    """The gradient is right, and central differences are all zero."""

    def wrong(x, weight, bias):
        return linear(x, weight)[0], linear(x, weight, bias)[1]

    fn = StudentFunction("linear", Here(wrong))
    zeros = case(x, square, np.zeros(5))
    assert "does not change with this argument" in told(lambda: check_vjp(fn, [zeros]))


def test_a_constant_without_an_effect_is_not_called_squared():
    def wrong(x, weight, eps=1e-6):
        return rms_norm(x, weight, 0.0)

    fn = StudentFunction("rms_norm", Here(wrong))
    mistake = told(lambda: check_value(fn, [case(1e-2 * x, np.ones(5), eps=1e-5)]))
    assert mistake == "eps has no effect: this is what 0 gives"


def test_several_mistakes_that_give_the_same_are_all_told():
    one, other = {"a": [2], "b": [2]}, {"c": [3]}
    assert told(lambda: check_equal([2], [1], "it", mistakes=one | other)) == "a, or b"


def test_ones_own_raise_is_pointed_at(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def exp(x):\n    if x.size:\n        raise ValueError('no')\n")
    names = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    fn = StudentFunction("exp", Here(names["exp"], str(file)), str(file))
    assert "your own `raise` refuses" in told(lambda: check_value(fn, [case(x)]))


def test_what_is_kept_from_an_earlier_call_is_told():
    made = []

    def kept(x, axis=-1):
        made.append(softmax(x, axis))
        return made[0]

    inputs = np.random.default_rng(0).standard_normal((2, 2, 3))
    with pytest.raises(CheckFailed) as failure:
        check_value(StudentFunction("softmax", Here(kept)), [case(x) for x in inputs])
    assert failure.value.mistake == KEPT


def test_a_mistake_is_told_that_fits_all_outputs():
    """Both give the weights that came; one of them would have spoiled what came right."""

    def wrong(query, key, value):
        (out, weights), vjp = reference("grouped_query_attention")(query, key, value)
        return (out, weights**2), vjp

    def outputs(query, key, value, factor):
        (out, weights), _ = reference("grouped_query_attention")(query, key, value)
        return factor * out, weights**2

    inputs = np.random.default_rng(0).standard_normal((3, 1, 2, 3, 4))
    fn = StudentFunction("grouped_query_attention", Here(wrong))
    mistakes = {
        "all is spoiled": lambda *args: outputs(*args, 2),
        "the weights are": lambda *args: outputs(*args, 1),
    }
    with pytest.raises(CheckFailed) as failure:
        check_value(fn, [case(*inputs)], outputs=("out", "weights"), mistakes=mistakes)
    assert failure.value.mistake == "the weights are"


@pytest.mark.parametrize("error", [KeyError, IndexError, ZeroDivisionError, TypeError, ValueError])
def test_a_listed_mistake_that_breaks_explains_nothing(error):
    """Others are tried where one cannot be computed for these arguments."""

    def broken(*args):
        raise error("cannot be computed")

    def wrong(word, pair, new):
        return word

    mistakes = {"it breaks": broken, "nothing is merged": wrong}
    fn = StudentFunction("merge_pair", Here(wrong))
    with pytest.raises(CheckFailed) as failure:
        check_all_equal(fn, [((1, 2), (1, 2), 9)], "the word", mistakes=mistakes)
    assert failure.value.mistake == "nothing is merged"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([[1.0, 2.0], [3.0, 0.25]]), "x = [[1.  , 2.  ], [3.  , 0.25]] float64"),
        (np.arange(5), "x (5,) int64"),
        (np.zeros((0, 3), np.float32), "x = [] float32"),
        (abs, "x = abs"),
        ("a" * 300, f"x = '{'a' * 199}…"),
    ],
)
def test_an_argument_in_words(value, words):
    assert in_words("x", value) == words
