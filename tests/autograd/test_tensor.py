"""Tensors: how they are made, converted, combined and compared."""

import copy

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops


def leaf(*values, dtype=np.float64):
    return tq.Tensor(np.array(values, dtype), requires_grad=True)


# ---------------------------------------------------------------------------------------------
# Construction, dtypes, conversions
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, dtype",
    [
        (1.5, np.float32),
        ([1.0, 2.0], np.float32),
        ([[0.5], [1]], np.float32),
        ([np.float64(1)], np.float32),
        (np.float64(1), np.float64),
        (np.ones(2), np.float64),
        (np.ones(2, np.float32), np.float32),
        (np.ones(2, np.float16), np.float16),
        (3, np.int64),
        ([1, 2], np.int64),
        (True, np.bool_),
        (np.ones(2, np.int32), np.int32),
        (tq.Tensor([1.0]), np.float32),
        (tq.Tensor(np.ones(1)), np.float64),
    ],
)
def test_dtype_of_a_tensor(data, dtype):
    if dtype == np.int64:
        dtype = np.asarray(data).dtype  # the platform's integer
    assert tq.Tensor(data).dtype == dtype
    assert tq.Tensor(data, dtype=np.float16).dtype == np.float16


def test_precision_survives_when_asked_for():
    assert tq.Tensor(0.1, dtype=np.float64).item() == 0.1
    assert tq.Tensor([0.1], dtype=np.float64).data[0] == 0.1


@pytest.mark.parametrize("data", [1, [1, 2], True, np.ones(2, np.uint8)])
def test_integers_require_no_gradient(data):
    with pytest.raises(TypeError, match="floating-point"):
        tq.Tensor(data, requires_grad=True)
    assert tq.Tensor(data, requires_grad=True, dtype=np.float32).requires_grad


def test_attributes_and_conversions():
    x = tq.Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3), 2, 6, np.float64, 2)
    assert x.numpy() is x.data
    assert x[1, 2].item() == 5.0 and isinstance(x[1, 2].item(), float)
    assert (float(x[0, 1]), int(x[1, 1]), bool(x[0, 0])) == (1.0, 4, False)
    assert x.detach().data is x.data and not x.detach().requires_grad
    assert [row.shape for row in x] == [(3,), (3,)]
    with pytest.raises(TypeError, match="detach"):
        np.asarray(x)
    np.testing.assert_array_equal(np.asarray(x.detach()), x.data)
    assert np.array(x.detach(), dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    assert repr(tq.Tensor([1.0, 2.0])) == "Tensor([1., 2.])"
    assert repr(leaf(1)) == "Tensor([1.], requires_grad=True)"


def test_astype_is_on_the_tape():
    x = leaf(1, 2, dtype=np.float32)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    (y * 3).sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad, [3, 3])


def test_detach_cuts():
    x = leaf(3)
    (x * x.detach()).backward()
    np.testing.assert_array_equal(x.grad, [3])


def test_copies_are_independent():
    x = leaf(1, 2)
    other = copy.deepcopy(x)
    other.data[0] = 9
    assert x.data[0] == 1 and other.requires_grad


# ---------------------------------------------------------------------------------------------
# Operators
# ---------------------------------------------------------------------------------------------

OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "@": lambda a, b: a @ b,
}


@pytest.mark.parametrize("other", [2.5, 3, np.float32(2.5), np.float64(2.5), np.int64(3), True])
@pytest.mark.parametrize("symbol", "+ - * / **".split(" "))  # noqa: SIM905
def test_scalars_do_not_promote_float32(symbol, other):
    """NumPy lets np.float64(2.5) promote; a model must not turn float64 because of a √d."""
    x = leaf(1.5, 2.5, dtype=np.float32)
    operator = OPERATORS[symbol]
    for out, expected in (
        (operator(x, other), operator(x.data.astype(float), other)),
        (operator(other, x), operator(other, x.data.astype(float))),
    ):
        np.testing.assert_allclose(out.data, expected, rtol=1e-6)
        assert out.dtype == np.float32
        assert tq.grad(out.sum(), x).dtype == np.float32


@pytest.mark.parametrize("symbol", list(OPERATORS))
@pytest.mark.parametrize("kind", ["array", "list", "tuple", "integers"])
def test_arrays_and_lists_on_either_side(symbol, kind):
    x = leaf(1.5, 2.5, 3.5, dtype=np.float32)
    array = np.array([2, 1, 3], np.float32)
    convert = {"array": np.copy, "list": np.ndarray.tolist, "tuple": tuple,
               "integers": lambda a: a.astype(int).tolist()}[kind]  # fmt: skip
    operator = OPERATORS[symbol]
    for swap in (False, True):
        a, b = (x, convert(array)) if not swap else (convert(array), x)
        out = operator(a, b)
        expected = operator(*((x.data, array) if not swap else (array, x.data)))
        assert isinstance(out, tq.Tensor) and out.requires_grad
        assert out.dtype == np.float32
        np.testing.assert_allclose(out.data, expected, rtol=1e-6)
        gradient = tq.grad(out.sum(), x)
        assert gradient.dtype == np.float32 and gradient.shape == (3,)


def test_a_list_of_floats_keeps_an_integer_tensor_from_truncating_it():
    np.testing.assert_array_equal((tq.Tensor([1, 2]) + [0.5, 0.5]).data, [1.5, 2.5])
    assert (tq.Tensor(np.ones(1)) * [0.1]).data[0] == 0.1  # float64 is not cut to float32


def test_matmul_from_the_left():
    x = leaf(1, 2)
    out = np.array([[1.0, 2], [3, 4], [5, 6]]) @ x
    np.testing.assert_array_equal(out.data, [5, 11, 17])
    np.testing.assert_array_equal(tq.grad(out.sum(), x), [9, 12])
    np.testing.assert_array_equal(([[1.0, 2], [3, 4]] @ x).data, [5, 11])


def test_augmented_assignment_makes_a_new_tensor():
    x = leaf(1, 2)
    y = x
    y += 1
    y *= 2
    np.testing.assert_array_equal(x.data, [1, 2])
    np.testing.assert_array_equal(tq.grad(y.sum(), x), [2, 2])
    array = np.ones(2)
    view = array
    array = array + x
    np.testing.assert_array_equal(view, [1, 1])


@pytest.mark.parametrize("make", [tq.Tensor, np.asarray, list])
def test_comparisons_are_elementwise(make):
    x, other = tq.Tensor([1.0, 2.0, 3.0]), make(np.array([2.0, 2.0, 2.0], np.float32))
    for out, expected in (
        (x == other, [0, 1, 0]), (x != other, [1, 0, 1]), (x < other, [1, 0, 0]),
        (x <= other, [1, 1, 0]), (x > other, [0, 0, 1]), (x >= other, [0, 1, 1]),
        (other == x, [0, 1, 0]), (other != x, [1, 0, 1]), (other < x, [0, 0, 1]),
        (other <= x, [0, 1, 1]), (other > x, [1, 0, 0]), (other >= x, [1, 1, 0]),
    ):  # fmt: skip
        assert isinstance(out, tq.Tensor) and out.dtype == bool and not out.requires_grad
        np.testing.assert_array_equal(out.data, np.array(expected, bool))


def test_tensors_are_told_apart_by_identity():
    x, twin = leaf(1, 2), leaf(1, 2)
    table = {x: "x", twin: "twin"}
    assert table[x] == "x" and table[twin] == "twin" and len({x, twin, x}) == 2
    parameter = tq.nn.Parameter(np.ones(2))
    assert {parameter: 1}[parameter] == 1


@pytest.mark.parametrize("name", ["exp", "sqrt", "abs", "negative", "log1p", "tanh"])
def test_numpys_functions_are_ours_on_a_tensor(name):
    x = leaf(0.5, 2)
    out = getattr(np, name)(x)
    np.testing.assert_allclose(out.data, getattr(np, name)(x.data), rtol=1e-15)
    assert tq.grad(out.sum(), x).shape == (2,)


@pytest.mark.parametrize(
    "name",
    [
        *("add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "remainder"),
        *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
    ],
)
def test_numpys_functions_of_two(name):
    function, x, other = getattr(np, name), leaf(1, 2, 3), np.array([3.0, 2.0, 1.5])
    for a, b in ((x, other), (other, x), (x, x)):
        out = function(a, b)
        assert isinstance(out, tq.Tensor)
        expected = function(*(t.data if isinstance(t, tq.Tensor) else t for t in (a, b)))
        np.testing.assert_array_equal(out.data, expected)
    np.testing.assert_array_equal(np.matmul(np.ones((2, 3)), x).data, [6, 6])


@pytest.mark.parametrize("call", [
    lambda x: np.arctan(x), lambda x: np.add(np.ones(1), x, out=np.ones(1)),
    lambda x: np.add.reduce(x), lambda x: np.hypot(x, x),
])  # fmt: skip
def test_numpys_other_functions_are_refused(call):
    with pytest.raises(TypeError, match=r"does not know Tensors.*detach\(\)\.numpy\(\)"):
        call(leaf(1))


@pytest.mark.parametrize("number", [np.array(2.0), np.array(2), np.int64(2)])
def test_arrays_without_axes_do_not_promote_float32(number):
    x = leaf(1, 3, dtype=np.float32)
    for out in (x * number, number * x, x / number, x**number, number - x, x.clip(number),
                tq.where(x > 2, x, number), ops.maximum(x, number)):  # fmt: skip
        assert out.dtype == np.float32 and tq.grad(out.sum(), x).dtype == np.float32
    assert (number * x).data.tolist() == [2, 6] and (number - x).data.tolist() == [1, -1]
    assert (x * tq.Tensor(np.array(2.0))).dtype == np.float64  # it was made a Tensor of that dtype


def test_float16_is_refused_wherever_it_is_computed_in():
    half = tq.Tensor(np.ones((2, 2), np.float16))
    for call in (
        *(lambda: half + 1, lambda: 2 * half, lambda: half.sum()),
        lambda: F.rms_norm(half, np.ones(2)),
        lambda: F.linear(np.ones((2, 2)), weight=half.data),
    ):
        with pytest.raises(TypeError, match="float16 is for storage"):
            call()
    with tq.inference_mode(), pytest.raises(TypeError, match="float16 is for storage"):
        F.softmax(half)
    with pytest.raises(ValueError, match="float32 or float64, not float16"):
        tq.nn.Linear(2, 2).astype(np.float16)
    assert half.astype(np.float32).sum().item() == 4
    assert tq.Tensor([1.0]).astype(np.float16).dtype == np.float16


def test_inference_mode_returns_arrays():
    weight = tq.Tensor(np.ones((2, 3), np.float32), requires_grad=True)
    with tq.inference_mode():
        out = F.linear(np.ones((1, 3), np.float32), weight)
        assert type(out) is np.ndarray and type(out + weight.data[0, :2]) is np.ndarray
        pieces = ops.split(weight, 3, axis=1)
        assert [type(piece) for piece in pieces] == [np.ndarray] * 3
    assert F.linear(np.ones((1, 3), np.float32), weight).requires_grad
