"""The elementary primitives, with shapes, axes and broadcasts drawn by hypothesis."""

import numpy as np
import pytest
from further_table import FURTHER
from hypothesis import given
from op_draws import draws
from op_table import (
    ELEMENTARY,
    FUSED,
    as_dtype,
    assert_close,
    ours,
    outputs_and_gradients,
    upstream_for,
)

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops

EXPECTED = (
    *("add", "sub", "mul", "div", "neg", "pow", "matmul", "exp", "log", "sqrt", "rsqrt", "abs"),
    *("sin", "cos", "tanh", "sigmoid", "relu", "silu", "maximum", "minimum", "clip", "where"),
    *("masked_fill", "sum", "mean", "var", "max", "min", "cumsum", "reshape", "transpose"),
    *("swapaxes", "expand_dims", "squeeze", "broadcast_to", "getitem", "concat", "stack", "split"),
    *("flip", "tril", "triu", "softmax", "log_softmax", "logsumexp", "einsum"),
)

every_op = pytest.mark.parametrize("op", ELEMENTARY + FUSED, ids=lambda op: op.name)


def test_the_table_covers_every_primitive():
    assert set(EXPECTED) <= {op.function for op in ELEMENTARY}
    for module, table in ((ops, ELEMENTARY), (F, ELEMENTARY + FUSED)):
        primitives = {name.strip("_") for name, f in vars(module).items() if hasattr(f, "raw")}
        assert primitives <= {op.function for op in [*table, *FURTHER]}


@every_op
@given(r=draws)
def test_gradient(op, r):
    arrays, options = op.draw(r)
    constants = {i: a for i, a in enumerate(arrays) if not isinstance(a, np.ndarray)}

    def fn(*tensors):
        tensors = iter(tensors)
        return ours(op)(
            *(constants[i] if i in constants else next(tensors) for i in range(len(arrays))),
            **options,
        )

    tq.gradcheck(fn, *(a for a in arrays if isinstance(a, np.ndarray)), seed=5)


@every_op
@given(r=draws)
def test_float32_stays_and_no_array_is_written(op, r):
    """All arrays are read-only here: who writes into an input or into g is caught at once."""
    arrays, options = op.draw(r)
    arrays = [as_dtype(a, np.float32) for a in arrays]
    options = {name: as_dtype(value, np.float32) for name, value in options.items()}
    for a in (*arrays, *options.values()):
        if isinstance(a, np.ndarray):
            a.setflags(write=False)

    def read_only_upstream(outs):
        gradients = upstream_for(outs)
        for g in gradients:
            g.setflags(write=False)
        return gradients

    outs, gradients = outputs_and_gradients(ours(op), arrays, options, read_only_upstream)
    assert all(out.dtype == np.float32 for out in outs)
    leaves = [a for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    for leaf, gradient in zip(leaves, gradients):
        if gradient is not None:
            assert gradient.dtype == np.float32 and gradient.shape == leaf.shape


@pytest.mark.parametrize(
    "op", [op for op in ELEMENTARY + FUSED if op.ours is None], ids=lambda op: op.name
)
@given(r=draws)
def test_vjp_itself_keeps_float32_and_writes_nothing(op, r):
    """The NumPy function without the engine, which would convert a float64 gradient back."""
    arrays, options = op.draw(r)
    arrays = [as_dtype(a, np.float32) for a in arrays]
    options = {name: as_dtype(value, np.float32) for name, value in options.items()}
    for a in (*arrays, *options.values()):
        if isinstance(a, np.ndarray):
            a.setflags(write=False)
    function = getattr(ops if op in ELEMENTARY else F, op.function)
    out, vjp = function.raw(*arrays, **options)
    outs = out if isinstance(out, tuple) else (out,)
    gradients = upstream_for(outs)
    for g in gradients:
        g.setflags(write=False)
    for result in vjp(gradients[0] if len(outs) == 1 else tuple(gradients)):
        assert result is None or np.asarray(result).dtype == np.float32
    for g, fresh in zip(gradients, upstream_for(outs)):
        np.testing.assert_array_equal(g, fresh)


@every_op
@given(r=draws)
def test_strided_inputs(op, r):
    """Views with gaps and reversed axes give what contiguous arrays give."""
    arrays, options = op.draw(r)

    def strided(a):
        if not isinstance(a, np.ndarray):
            return a
        if a.ndim == 0:
            return np.stack([a, a])[1, ...]
        wide = np.zeros((*a.shape[:-1][::-1], 2 * a.shape[-1]), a.dtype)
        view = np.moveaxis(wide.T[::2], 0, -1)
        view[...] = a
        assert np.array_equal(view, a)
        return view

    expected = outputs_and_gradients(ours(op), arrays, options)
    found = outputs_and_gradients(ours(op), list(map(strided, arrays)), options)
    for part, reference in zip(found, expected):
        assert_close(part, reference, 1e-12, op.name)


# ---------------------------------------------------------------------------------------------
# What the table cannot say
# ---------------------------------------------------------------------------------------------


def tensor(*values, dtype=np.float64):
    return tq.Tensor(np.array(values, dtype), requires_grad=True)


@pytest.mark.parametrize("name", ["max", "min"])
def test_ties_share_the_gradient(name):
    x = tq.Tensor(np.array([[2.0, 7, 7], [3, 3, 3]]) * (1 if name == "max" else -1), True)
    getattr(x, name)(axis=1).backward([6.0, 12.0])
    np.testing.assert_array_equal(x.grad, [[0, 3, 3], [4, 4, 4]])
    everywhere = tensor(5, 5, 1) if name == "max" else tensor(-5, -5, 1)
    getattr(everywhere, name)().backward()
    np.testing.assert_array_equal(everywhere.grad, [0.5, 0.5, 0])


@pytest.mark.parametrize("op", [ops.maximum, ops.minimum])
def test_ties_of_two_share_half_and_half(op):
    x, y = tensor(1, 2), tensor(1, 2)
    op(x, y).backward([10.0, 20.0])
    np.testing.assert_array_equal(x.grad, [5, 10])
    np.testing.assert_array_equal(y.grad, [5, 10])


def test_slopes_at_the_kinks():
    x = tensor(0)
    np.testing.assert_array_equal(tq.grad(x.abs().sum(), x), [0])
    np.testing.assert_array_equal(tq.grad(x.relu().sum(), x), [0])
    bounds = tensor(-1, 0, 1, 2)
    np.testing.assert_array_equal(tq.grad(bounds.clip(-1, 1).sum(), bounds), [1, 1, 1, 0])


def test_getitem_adds_up_repeated_indices():
    x = tensor(1, 2, 3)
    x[np.array([0, 0, 2, 0])].backward([1.0, 10, 100, 1000])
    np.testing.assert_array_equal(x.grad, [1011, 0, 100])


@pytest.mark.parametrize(
    "index, expected",
    [
        ([0, 0], [2, 0, 0]),
        (tq.Tensor([0, 0]), [2, 0, 0]),
        ((tq.Tensor([0, 0]),), [2, 0, 0]),
        (np.int64(1), [0, 1, 0]),
        (True, [1, 1, 1]),
    ],
)
def test_getitem_takes_lists_and_tensors(index, expected):
    x = tensor(1, 2, 3)
    x[index].sum().backward()
    np.testing.assert_array_equal(x.grad, expected)


def test_getitem_takes_a_comparison():
    x = tensor(-1, 2, 3)
    x[x > 0].backward([5.0, 7.0])
    np.testing.assert_array_equal(x.grad, [0, 5, 7])


def test_pow_at_zero_and_below():
    with np.errstate(all="raise"):
        x, y = tensor(0, 0, -2), tensor(0, 2, 3)
        np.testing.assert_array_equal((x**y).data, [1, 0, -8])
        dx, dy = tq.grad((x**y).sum(), [x, y])
    np.testing.assert_array_equal(dx, [0, 0, 12])
    np.testing.assert_array_equal(dy[:2], [0, 0])
    exponent = tensor(0, 1, 3)
    (2**exponent).sum().backward()
    np.testing.assert_allclose(exponent.grad, np.array([1, 2, 8]) * np.log(2), rtol=1e-15)


def test_extreme_inputs_raise_no_warning():
    with np.errstate(all="raise", under="ignore"):
        x = np.array([-1e4, -50, 0, 50, 1e4], np.float32)
        np.testing.assert_array_equal(ops.sigmoid(x).data[[0, 2, 4]], [0, 0.5, 1])
        np.testing.assert_array_equal(ops.silu(x).data[[0, 2, 4]], [0, 0, 1e4])
        np.testing.assert_allclose(ops.sigmoid(x).data[1], np.exp(-50.0), rtol=1e-5)
        np.testing.assert_array_equal(ops.softmax(x).data, [0, 0, 0, 0, 1])
        np.testing.assert_array_equal(ops.log_softmax(x).data, x - np.float32(1e4))
        assert ops.logsumexp(x).data == 1e4
        assert ops.logsumexp(-x).data == 1e4
        leaf = tq.Tensor(x, True)
        for op in (ops.sigmoid, ops.silu, ops.tanh, ops.softmax, ops.log_softmax, ops.logsumexp):
            assert np.isfinite(tq.grad(op(leaf).sum(), leaf)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_large_logits_is_exact(dtype):
    x = np.array([[1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]], dtype)
    third = dtype(1) / dtype(3)
    np.testing.assert_array_equal(
        ops.softmax(x).data, np.array([[0.5, 0.5, 0], [third] * 3], dtype)
    )


def test_a_row_of_minus_infinity_has_no_nan():
    with np.errstate(all="raise", under="ignore"):
        x = tq.Tensor(np.array([[-np.inf, -np.inf], [0, -np.inf]]), True)
        np.testing.assert_array_equal(x.softmax().data, [[0, 0], [1, 0]])
        np.testing.assert_array_equal(x.logsumexp().data, [-np.inf, 0])
        for op in (ops.softmax, ops.logsumexp):
            out = op(x)
            (dx,) = tq.grad(out, [x], np.full(out.shape, 3.0))
            np.testing.assert_array_equal(
                dx, np.zeros((2, 2)) if op is ops.softmax else [[0, 0], [3, 0]]
            )


@pytest.mark.parametrize("shape, axis", [((0, 3), 1), ((3, 0), 0), ((2, 0, 3), -1)])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min", "cumsum", "softmax"])
def test_size_zero(name, shape, axis):
    """Nothing along one axis, and a reduction along another."""
    with np.errstate(all="raise"):
        x = tq.Tensor(np.zeros(shape, np.float32), True)
        out = getattr(x, name)(axis=axis)
        assert out.size == 0 and out.dtype == np.float32
        assert tq.grad(out.sum(), x).shape == shape


def test_sum_over_nothing_is_zero():
    x = tq.Tensor(np.zeros((2, 0)), True)
    np.testing.assert_array_equal(x.sum(axis=1).data, [0, 0])
    np.testing.assert_array_equal((x @ np.zeros((0, 3))).data, np.zeros((2, 3)))
    assert tq.grad((x @ np.zeros((0, 3))).sum(), x).shape == (2, 0)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_against_scalars(shape):
    x = tq.Tensor(np.full(shape, 2, np.float32), True)
    y = ((x + 1) * 2.5 - np.float64(0.5)) / 3 ** np.float64(1) + np.float64(2) ** x
    assert y.shape == shape and y.dtype == np.float32
    y.backward(np.ones(shape))
    assert x.grad.shape == shape and x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad, 2.5 / 3 + 4 * np.log(2), rtol=1e-6)


def test_split_with_one_piece_used():
    x = tensor(1, 2, 3, 4)
    _, middle, _ = x.split((1, 2))
    middle.sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 1, 0, 0])


def test_split_into_one_piece():
    x = tensor(1, 2)
    (whole,) = x.split(1)
    whole.backward([3.0, 4.0])
    np.testing.assert_array_equal(x.grad, [3, 4])


@pytest.mark.parametrize(
    "bad", ["ii,jk->i", "ij", "ij,jk->il", "ij,jk->ii", "ijk,jk", "i,jk", "...ijk,...", "ij,ij,ij"]
)
def test_einsum_refuses_what_it_cannot(bad):
    with pytest.raises(ValueError, match="einsum"):
        tq.einsum(bad, np.ones((2, 2)), np.ones((2, 2)))


def test_einsum_stretches_nothing():
    for shapes in (((2, 3), (2, 1)), ((2, 3), (1, 3))):
        with pytest.raises(ValueError, match="lines up axes of"):
            tq.einsum("...i,...i", *map(np.ones, shapes))


def test_unbroadcast_sums_over_copies():
    g = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(ops.unbroadcast(g, (3, 1)), g.sum((0, 2))[:, None])
    np.testing.assert_array_equal(ops.unbroadcast(g, ()), 276)
    assert ops.unbroadcast(g, g.shape) is g
    assert ops.unbroadcast(np.zeros((2, 0)), (1,)).shape == (1,)


def test_methods_are_the_functions():
    x = np.array([[0.2, 0.7, 1.5], [1.1, 0.1, 2.0]])
    unary = ("exp", "log", "sqrt", "rsqrt", "abs", "sin", "cos", "tanh", "sigmoid", "relu", "silu")
    for name in (*unary, "sum", "mean", "var", "max", "min"):
        found, expected = getattr(tq.Tensor(x), name)(), getattr(ops, name)(x)
        np.testing.assert_array_equal(found.data, expected.data)
    t = tq.Tensor(x)
    assert t.reshape(3, 2).shape == t.reshape((3, 2)).shape == t.reshape(-1, 2).shape == (3, 2)
    assert t.transpose().shape == t.T.shape == t.transpose(1, 0).shape == (3, 2)
    assert t.transpose((1, 0)).shape == t.swapaxes(0, 1).shape == (3, 2)
    assert t.reshape(6).shape == t.reshape(-1).shape == (6,)
