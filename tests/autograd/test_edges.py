"""What happens at the edge: gradients that nobody gives, infinite and empty arrays, numbers."""

import operator

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops


def leaf(*values):
    return tq.Tensor(np.array(values, np.float64), requires_grad=True)


def test_bounds_and_values_get_their_gradients():
    x, low, high = leaf(-2, 0, 3), leaf(-1), leaf(1)
    g = tq.grad(x.clip(low, high).sum(), [x, low, high], None)
    assert [a.tolist() for a in g] == [[0, 1, 0], [1], [1]]
    assert tq.gradcheck(ops.clip, [-2.0, 0.0, 3.0], [-1.0], [1.0])
    value = tq.Tensor(np.float64(7), requires_grad=True)
    masked = ops.masked_fill(x, np.array([True, True, False]), value)
    assert [a.tolist() for a in tq.grad(masked.sum(), [x, value])] == [[0, 0, 1], 2]


@pytest.mark.parametrize("call", [
    lambda x, t: F.rms_norm(x, np.ones(3), eps=t),
    lambda x, t: F.apply_rope(x.reshape(1, 3)[:, :2], t, np.ones(2)),
    lambda x, t: F.scaled_dot_product_attention(*[x.reshape(1, 1, 3, 1)] * 3, mask=t),
    lambda x, t: F.grouped_query_attention(*[x.reshape(1, 1, 3, 1)] * 3, t)[0],
    lambda x, t: x.var(correction=t),
])  # fmt: skip
def test_a_gradient_that_is_not_given_is_refused(call):
    t = tq.Tensor(np.array(0.5), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"argument \d .* requires a gradient"):
        call(leaf(1, 2, 3), t).sum().backward()


def test_powers_of_zero_and_infinity():
    x = leaf(np.inf, 0, -np.inf, np.nan)
    with np.errstate(all="raise"):
        assert tq.grad((x**0).sum(), x).tolist() == [0, 0, 0, 0]
    y = leaf(-1, 2)
    with np.errstate(divide="ignore"):
        assert tq.grad((0.0**y).sum(), y)[1] == 0
        zero = ops.pow(tq.Tensor(np.zeros(2)), y)
        assert tq.grad(zero.sum(), y).tolist() == [-np.inf, 0]


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(
    "name", ["sum", "mean", "max", "min", "cumsum", "logsumexp", "prod", "cumprod", "flip"]
)
def test_a_number_has_an_axis_0(name, axis):
    x = tq.Tensor(np.array(3.0), requires_grad=True)
    out = getattr(x, name)(axis=axis)
    assert (out.shape, out.item(), tq.grad(out, x).item()) == ((), 3, 1)


@pytest.mark.parametrize("name, value", [("softmax", 1), ("log_softmax", 0), ("var", 0)])
def test_a_number_has_an_axis_0_where_nothing_depends_on_it(name, value):
    x = tq.Tensor(np.array(3.0), requires_grad=True)
    for axis in (0, -1):
        out = getattr(x, name)(axis=axis)
        assert (out.shape, out.item(), tq.grad(out, x).item()) == ((), value, 0)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min", "logsumexp", "softmax"])
def test_a_list_of_axes(name, rng):
    x = tq.Tensor(rng.standard_normal((2, 3, 4)), requires_grad=True)
    pairs = [getattr(x, name)(axis=axes) for axes in ([0, 2], (0, 2))]
    np.testing.assert_array_equal(*(out.data for out in pairs))
    np.testing.assert_array_equal(*(tq.grad(out[..., 0].sum(), x) for out in pairs))
    assert tq.Tensor(np.ones((1, 2, 1))).squeeze([0, 2]).shape == (2,)


@pytest.mark.parametrize("op", [ops.tril, ops.triu])
def test_a_triangle_needs_two_axes(op):
    with pytest.raises(ValueError, match="two axes or more"):
        op(leaf(1, 2))


def test_a_condition_has_no_gradient():
    condition = leaf(0, 1)
    with pytest.raises(RuntimeError, match=r"where: argument 0 .* requires a gradient"):
        tq.grad(ops.where(condition, leaf(1, 2), 0.0).sum(), condition)


def test_empty_axes():
    x = tq.Tensor(np.zeros((2, 0)), requires_grad=True)
    assert x.logsumexp().data.tolist() == [-np.inf] * 2
    assert x.log_softmax().shape == x.softmax().shape == (2, 0)


def test_unsigned_labels(rng):
    logits, labels = rng.standard_normal((4, 5)), np.array([0, 4, 2, 1], np.uint16)
    found = F.cross_entropy(logits, labels).item()
    assert found == F.cross_entropy(logits, labels.astype(int)).item()


def test_comparison_with_none():
    assert (leaf(1) == None) is False and (leaf(1) != None) is True  # noqa: E711
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        with pytest.raises(TypeError):
            compare(leaf(1), None)
