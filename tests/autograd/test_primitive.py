"""@primitive: what a NumPy function and its VJP become, and how mistakes in them are named."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops


def leaf(*values, dtype=np.float64):
    return tq.Tensor(np.array(values, dtype), requires_grad=True)


def test_a_primitive_of_ones_own():
    @tq.primitive
    def cube(x, factor=1.0):
        """x³."""
        return factor * x**3, lambda g: (3 * factor * x**2 * g,)

    x = leaf(2)
    cube(x, factor=2.0).backward()
    np.testing.assert_array_equal(x.grad, [24])
    assert cube.__doc__ == "x³." and cube.__name__ == "cube"
    out, vjp = cube.raw(np.array([2.0]))
    assert isinstance(out, np.ndarray) and vjp(np.ones(1))[0] == 12
    cube.raw = lambda x, factor=1.0: (x, lambda g: (g * 7,))  # as a student's code is put in
    np.testing.assert_array_equal(tq.grad(cube(x), x), [7])


def test_a_vjp_of_the_wrong_shape_is_named():
    @tq.primitive
    def scale_rows(x, weight):
        return x * weight, lambda g: (g * weight, g * x)  # forgot the sum over rows

    with pytest.raises(
        ValueError, match=r"scale_rows: its vjp returned shape \(2, 3\) for input 1.*shape \(3,\)"
    ):
        scale_rows(tq.Tensor(np.ones((2, 3))), leaf(1, 2, 3)).sum().backward()
    with pytest.raises(ValueError, match=r"for input 1, which has shape \(3,\)"):
        scale_rows(tq.Tensor(np.ones((2, 3))), leaf(1, 2, 3) * 1).sum().backward()


def test_a_vjp_that_returns_no_tuple_is_named():
    @tq.primitive
    def double(x):
        return 2 * x, lambda g: 2 * g  # not a tuple

    with pytest.raises(TypeError, match="double: its vjp returned ndarray; a tuple"):
        double(leaf(1, 2)).sum().backward()


def test_a_vjp_may_return_another_dtype_or_numpy_scalars():
    @tq.primitive
    def total(x):
        return x.sum(), lambda g: (np.float64(g) * np.ones(x.shape),)

    x = leaf(1, 2, dtype=np.float32)
    assert total(x).shape == ()
    assert tq.grad(total(x), x).dtype == np.float32
    scalar = tq.Tensor(np.float32(3), requires_grad=True)
    (scalar * scalar).backward()
    assert isinstance(scalar.grad, np.ndarray) and scalar.grad.shape == ()


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1), ()])
def test_several_outputs_of_which_some_are_used(used):
    @tq.primitive
    def sin_cos(x):
        def vjp(g):
            assert isinstance(g, tuple) and all(part.shape == x.shape for part in g)
            return (g[0] * np.cos(x) - g[1] * np.sin(x),)

        return (np.sin(x), np.cos(x)), vjp

    x = leaf(0.3, 0.7, dtype=np.float32)
    outs = sin_cos(x)
    assert isinstance(outs, tuple)
    loss = x.sum() + sum((outs[i] * (i + 2)).sum() for i in used)
    slopes = [2 * np.cos(x.data), -3 * np.sin(x.data)]
    loss.backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(x.grad, 1 + sum(slopes[i] for i in used), rtol=1e-6)


def test_no_gradient_where_none_is_returned():
    @tq.primitive
    def first(x, y):
        return x * y, lambda g: (g * y,)  # what is left off on the right is a constant

    x, y = leaf(2), leaf(3)
    np.testing.assert_array_equal(tq.grad(first(x, y.detach()), x), [3])
    with pytest.raises(RuntimeError, match="first: argument 1"):
        tq.grad(first(x, y), [x, y])


def test_a_tensor_by_keyword_after_an_option_left_out():
    @tq.primitive
    def scaled_sum(x, factor=2.0, y=None):
        return x + factor * y, lambda g: (g, None, factor * g)

    x, y = leaf(1), leaf(3)
    dx, dy = tq.grad(scaled_sum(x, y=y), [x, y])
    assert (dx.item(), dy.item()) == (1, 2)


def test_tensors_by_keyword():
    x, weight = leaf(1, 2), leaf(3, 4)
    for out in (F.rms_norm(x, weight=weight), F.rms_norm(weight=weight, x=x, eps=1e-6)):
        dx, dweight = tq.grad(out.sum(), [x, weight])
        expected = tq.grad(F.rms_norm(x, weight).sum(), [x, weight])
        np.testing.assert_array_equal(dx, expected[0])
        np.testing.assert_array_equal(dweight, expected[1])
    bound = tq.Tensor(np.array(1.5))
    np.testing.assert_array_equal(ops.clip(x, maximum=bound).data, [1, 1.5])
    q = tq.Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    mask = tq.Tensor(np.array([[True, False], [True, True]]))
    out = F.scaled_dot_product_attention(query=q, key=q, value=q, mask=mask)
    assert tq.grad(out.sum(), q).shape == q.shape


@pytest.mark.parametrize(
    "call",
    [
        lambda x, s: F.rms_norm(x, np.ones(2, np.float32), eps=s(1e-6)),
        lambda x, s: F.layer_norm(x, np.ones(2, np.float32), np.zeros(2, np.float32), s(1e-6)),
        lambda x, s: F.dropout(x, s(0.5)),
        lambda x, s: ops.clip(x, s(-1), maximum=s(1)),
        lambda x, s: ops.masked_fill(x, np.array([True, False]), s(3)),
        lambda x, s: ops.where(np.array([True, False]), x, s(3)),
        lambda x, s: ops.maximum(x, s(1)),
        lambda x, s: ops.pow(x, s(2)),
        lambda x, s: F.cross_entropy(x[None], [1], label_smoothing=s(0.1), num_items=s(2)),
        lambda x, s: F.linear_cross_entropy(
            x[None], np.ones((3, 2), np.float32), [1], label_smoothing=s(0.1), num_items=s(2)
        ),
        lambda x, s: F.scaled_dot_product_attention(
            *(x.reshape(1, 1, 1, 2),) * 3, scale=s(0.5), dropout=s(0.5)
        ),
    ],
)
@pytest.mark.parametrize("scalar", [float, np.float32, np.float64])
def test_scalar_options_do_not_promote(call, scalar):
    x = leaf(0.5, 2, dtype=np.float32)
    out = call(x, scalar)
    assert out.dtype == np.float32
    assert tq.grad(out.sum(), x).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_output_that_nobody_used_has_a_gradient_of_zeros_of_its_kind(dtype):
    given = []

    @tq.primitive
    def twice_and_sum(x):
        def vjp(g):
            given.extend(g)
            return (2 * g[0] + g[1],)

        return (2 * x, np.asarray(x.sum())), vjp

    x = tq.Tensor(np.ones((2, 3), dtype), requires_grad=True)
    _, total = twice_and_sum(x)
    total.backward()
    assert [(g.shape, g.dtype) for g in given] == [((2, 3), dtype), ((), dtype)]
    assert not given[0].any() and (x.grad == 1).all()
