"""What a function keeps to in the model, one breach at a time: dtypes, views, nothing in place."""

import numpy as np
import pytest

from tinyqwen.course import CheckFailed, case, check_manners
from tinyqwen.course.calls import Here, StudentFunction
from tinyqwen.course.registry import reference

rms_norm, softmax = reference("rms_norm"), reference("softmax")
INPUTS = np.random.default_rng(0).standard_normal((3, 4)), np.linspace(0.5, 2, 4)


def changes_x(x, weight, eps=1e-6):
    out, vjp = rms_norm(x.copy(), weight, eps)
    x += 1
    return out, vjp


def of_float64(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    return out.astype(np.float64), vjp


def a_gradient_of_float64(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    return out, lambda g: (vjp(g)[0], vjp(g)[1].astype(np.float64))


def of_half_precision(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    return (out.astype(np.float16).astype(x.dtype) if x.dtype == np.float32 else out), vjp


def a_gradient_of_half_precision(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    return out, lambda g: tuple(
        d.astype(np.float16).astype(d.dtype) if d.dtype == np.float32 else d for d in vjp(g)
    )


def of_contiguous_memory(x, weight, eps=1e-6):
    """Reads on from where x begins, whatever its strides are."""
    strides = tuple(x.itemsize * np.cumprod((1, *x.shape[:0:-1]))[::-1])
    return rms_norm(np.lib.stride_tricks.as_strided(x, x.shape, strides).copy(), weight, eps)


def changes_g(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)

    def backward(g):
        grads = vjp(g)
        g *= 2
        return grads

    return out, backward


def forgets_its_vjp(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    left = [1.0, 1.0, 0.5]

    def backward(g):
        factor = left.pop(0) if x.dtype == np.float32 else 1.0
        return tuple(d * d.dtype.type(factor) for d in vjp(g))

    left.pop(0)
    return out, backward


def counts_its_calls():
    calls = [0]

    def fn(x, weight, eps=1e-6):
        calls[0] += 1
        out, vjp = rms_norm(x, weight, eps)
        return out * x.dtype.type(1 if calls[0] < 4 else 2), vjp

    return fn


def writes_into_one_array():
    room = np.zeros((3, 4), np.float32)

    def fn(x, weight, eps=1e-6):
        out, vjp = rms_norm(x, weight, eps)
        if x.dtype == np.float32:
            out = room
            room[...] = rms_norm(x, weight, eps)[0]
        return out, vjp

    return fn


def wrong_numbers(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    return 3 * out, lambda g: tuple(-d for d in vjp(g))


@pytest.mark.parametrize(
    ("fn", "says", "named"),
    [
        (changes_x, "rms_norm changed its argument x", "x is changed in place (+=, *=, out=,"),
        (of_float64, "the output has dtype float64; float32 went in", "float64 comes out where"),
        (
            a_gradient_of_float64,
            "the gradient of weight has dtype float64; float32 went in",
            "float64 comes out where",
        ),
        (of_half_precision, "the output in float32 (expected: yours in float64) is wrong", None),
        (
            a_gradient_of_half_precision,
            "the gradient of x in float32 (expected: yours in float64) is wrong",
            None,
        ),
        (of_contiguous_memory, "the output for a view differs", "assumed to be contiguous"),
        (changes_g, "vjp changed its argument g", "g is changed in place"),
        (forgets_its_vjp, "a second vjp(g) gives another gradient of x", "needs again"),
        (counts_its_calls(), "the output for the same input again differs", "is kept from one"),
        (writes_into_one_array(), "a later call changed the result of an earlier", "used again"),
    ],
)
def test_each_breach_is_told(fn, says, named):
    with pytest.raises(CheckFailed) as failure:
        check_manners(StudentFunction("rms_norm", Here(fn)), [case(*INPUTS)])
    assert says in str(failure.value)
    assert (named or "") in (failure.value.mistake or "")


def test_wrong_numbers_are_not_its_matter():
    """They cost the points of the tests that compare them."""
    check_manners(StudentFunction("rms_norm", Here(wrong_numbers)), [case(*INPUTS)])


def test_a_listed_mistake_is_told_of_the_float32_output():
    def overflows(x, axis=-1):
        e = np.exp(x)
        return e / e.sum(axis, keepdims=True), softmax(x, axis)[1]

    large = case(np.array([[1.0, 100.0]]))  # e^100 is too large for float32 alone
    mistakes = {"zeros": lambda x: 0 * x, "e^x": lambda x: np.array([[0.0, np.nan]])}
    with pytest.raises(CheckFailed) as failure, np.errstate(all="ignore"):
        fn = StudentFunction("softmax", Here(overflows))
        check_manners(fn, [large], mistakes=mistakes)
    assert failure.value.mistake == "e^x"


def doubled_and_counted(x):
    return 2 * x, np.arange(len(x))


@pytest.mark.parametrize("dtype, told", [(int, None), (np.int32, None), (float, "a float takes")])
def test_whole_numbers_stay_whole_and_a_list_is_as_good_as_a_tuple(dtype, told):
    def fn(x):
        return [2 * x, np.arange(len(x), dtype=dtype)]

    student = StudentFunction("doubled_and_counted", Here(fn))
    if told is None:
        check_manners(student, [case(INPUTS[0])], against=doubled_and_counted)
    else:
        with pytest.raises(CheckFailed, match="dtype float64; integers are asked for") as failure:
            check_manners(student, [case(INPUTS[0])], against=doubled_and_counted)
        assert told in failure.value.mistake
