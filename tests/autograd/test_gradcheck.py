"""The referee itself: it accepts what is right, and says exactly what is wrong."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops


def wrong(vjp, name="wrong"):
    """x² with a VJP of your choice."""

    def fn(x):
        return x * x, lambda g: (vjp(g, x),)

    fn.__name__ = name
    return tq.primitive(fn)


def test_accepts_what_is_right():
    assert tq.gradcheck(lambda x: x * x, np.arange(3.0)) is True
    assert tq.gradcheck(lambda x: x.exp(), np.float64(0.5)) is True  # 0-d
    assert tq.gradcheck(lambda x: x * 2, np.zeros((0, 3))) is True  # nothing to check
    assert tq.gradcheck(lambda x, y: (x * y, x + y), np.ones(2), np.ones((3, 1)))  # several outputs
    assert tq.gradcheck(lambda x, y: x * 1.0, np.ones(2), np.ones(2))  # y is not used


def test_takes_tensors_and_casts_to_float64():
    x = tq.Tensor(np.array([0.3, 0.7], np.float32), requires_grad=True)
    seen = []

    def fn(t):
        seen.append(t.dtype)
        return t.exp()

    assert tq.gradcheck(fn, x)
    assert set(seen) == {np.dtype(np.float64)}
    np.testing.assert_array_equal(x.data, np.array([0.3, 0.7], np.float32))
    assert x.grad is None


def test_passes_integers_and_masks_on():
    ids, mask = np.array([0, 2, 2]), np.array([True, False, True])
    assert tq.gradcheck(
        lambda i, m, w: ops.where(m[:, None], F.embedding(i, w), 0.0), ids, mask, np.ones((3, 2))
    )


def test_leaves_the_inputs_alone_and_works_inside_no_grad():
    x = np.arange(4.0)
    with tq.no_grad():
        tq.gradcheck(lambda t: t.sin(), x)
    np.testing.assert_array_equal(x, np.arange(4.0))


def test_names_the_input_the_index_and_both_values():
    def one_bad_entry(g, x):
        gradient = 2 * x * g
        gradient[1, 2] += 0.5
        return gradient

    square = wrong(one_bad_entry)
    with pytest.raises(AssertionError) as caught:
        tq.gradcheck(lambda y, x: y + square(x), np.ones((2, 3)), np.full((2, 3), 3.0), seed=0)
    upstream = np.random.default_rng(0).standard_normal((2, 3))[1, 2]
    message = str(caught.value)
    assert message.startswith("gradcheck: input 1, index (1, 2): analytic ")
    values = message.split("analytic ")[1].split(" (")[0].split(", numerical ")
    assert float(values[0]) == pytest.approx(6 * upstream + 0.5, rel=1e-6)
    assert float(values[1]) == pytest.approx(6 * upstream, rel=1e-6)


def test_finds_what_ones_would_hide():
    """A softmax whose VJP is zero: right for an upstream gradient of ones."""

    @tq.primitive
    def lazy_softmax(x):
        out, _ = ops.softmax.raw(x)
        return out, lambda g: (np.zeros_like(x),)

    with pytest.raises(AssertionError, match="analytic 0, numerical"):
        tq.gradcheck(lazy_softmax, np.arange(3.0))


@pytest.mark.parametrize(
    "vjp",
    [
        lambda g, x: x * g,
        lambda g, x: 2 * x * g * (1 + 1e-4),
        lambda g, x: 2 * x * g + 1e-4,
        lambda g, x: np.full_like(x, np.nan),
        lambda g, x: np.full_like(x, np.inf),
        lambda g, x: 2 * x * g[::-1],
    ],
)
def test_finds_what_is_wrong(vjp):
    with pytest.raises(AssertionError, match="gradcheck: input 0"):
        tq.gradcheck(wrong(vjp), np.array([0.5, 1.0, 2.0]))


def test_a_gradient_that_is_missing_is_refused():
    with pytest.raises(RuntimeError, match=r"wrong: argument 0 .* gives none to it"):
        tq.gradcheck(wrong(lambda g, x: None), np.array([0.5, 1.0, 2.0]))


@pytest.mark.parametrize("others", [[], [-5.0]])
@pytest.mark.parametrize(
    "fn",
    [
        lambda x: (x - 1).log(),  # NaN compares as False with everything
        lambda x: (x + 709.78271289).exp(),  # overflows at x + eps: an infinite slope
    ],
)
def test_nan_and_infinity_do_not_pass(fn, others):
    for x in (np.array([0.0, *others]), np.array(0.0)):
        with np.errstate(all="ignore"), pytest.raises(AssertionError, match="gradcheck: input 0"):
            tq.gradcheck(fn, x)


def test_is_the_same_every_time():
    square = wrong(lambda g, x: x * g)
    messages = []
    for _ in range(2):
        with pytest.raises(AssertionError) as caught:
            tq.gradcheck(square, np.arange(5.0))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
