"""The reverse pass: order, sums, refusals, and several threads at once."""

import threading
import weakref

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops
from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.autograd.random import default_rng, seeded
from tinyqwen.autograd.tape import backpropagate, topological_order

DEPTH = 35_000  # far more than Python has frames, and than the stack has room for in C


def leaf(*values, dtype=np.float64):
    return tq.Tensor(np.array(values, dtype), requires_grad=True)


# ---------------------------------------------------------------------------------------------
# Depth and width
# ---------------------------------------------------------------------------------------------


def chain(x):
    for _ in range(DEPTH):
        x = x + 1.0
    return x


def test_backward_through_a_deep_graph():
    x = leaf(0)
    out = chain(x)
    out.backward()
    np.testing.assert_array_equal(out.data, [DEPTH])
    np.testing.assert_array_equal(x.grad, [1])


@pytest.mark.parametrize("make", [lambda x: x, lambda x: x.split(1)], ids=["chain", "split"])
def test_a_deep_graph_can_be_dropped(make):
    """It is freed at once, down to its leaf, without a recursion that overflows the stack."""
    x = leaf(0)
    watched = weakref.ref(x)
    out = make(chain(x))
    del x
    assert watched() is not None
    del out
    assert watched() is None


def test_a_deep_graph_where_every_vertex_is_used_twice():
    """2^1000 paths: each vertex must be visited once, after all that depend on it."""
    x = leaf(1)
    out = x
    for _ in range(1000):
        out = out * 0.5 + out * 0.5
    np.testing.assert_array_equal(tq.grad(out, x), [1])


def test_topological_order():
    graph = {"loss": "bc", "b": "a", "c": "ab", "a": ""}
    order = topological_order("loss", graph.__getitem__)
    assert sorted(order) == sorted(graph) and order[-1] == "loss"
    for vertex, parents in graph.items():
        assert all(order.index(p) < order.index(vertex) for p in parents)


# ---------------------------------------------------------------------------------------------
# Accumulation
# ---------------------------------------------------------------------------------------------


def test_add_hands_one_array_to_both_parents():
    """Adding a second gradient into it for one parent must not change what the other got."""
    a, b = leaf(1), leaf(1)
    shared = a + b
    (shared + a * 10 + a * 100).backward([1.0])
    np.testing.assert_array_equal(a.grad, [111])
    np.testing.assert_array_equal(b.grad, [1])


def test_the_same_tensor_on_both_sides():
    x = leaf(3)
    (x * x + (x + x) - (x - x) + x / x).backward([1.0])
    np.testing.assert_array_equal(x.grad, [8])


def test_the_callers_gradient_is_not_written_into():
    x = leaf(1, 1)
    g = np.array([1.0, 2])
    y = x + 0
    for _ in range(3):
        y = y + y
    y.backward(g)
    np.testing.assert_array_equal(g, [1, 2])
    np.testing.assert_array_equal(x.grad, [8, 16])


def test_gradients_of_leaves_share_no_memory():
    a, b = leaf(1, 2), leaf(3, 4)
    g = np.ones(2)
    (a + b).backward(g)
    a.grad += 5
    np.testing.assert_array_equal(b.grad, [1, 1])
    np.testing.assert_array_equal(g, [1, 1])
    c = leaf(1, 2)
    c.sum().backward()
    c.grad *= 2  # it is writable, although a sum's gradient is a broadcast view
    np.testing.assert_array_equal(c.grad, [2, 2])


def test_backward_adds_to_what_is_there():
    x = leaf(1, 2)
    (x * 3).sum().backward()
    before = x.grad
    (x * 4).sum().backward()
    np.testing.assert_array_equal(x.grad, [7, 7])
    np.testing.assert_array_equal(before, [3, 3])  # who kept the old array keeps its values
    x.grad = None
    (x * 5).sum().backward()
    np.testing.assert_array_equal(x.grad, [5, 5])
    x.grad = np.zeros(2)
    (x * 6).sum().backward()
    np.testing.assert_array_equal(x.grad, [6, 6])


def test_only_leaves_get_a_grad():
    x, constant = leaf(1, 2), tq.Tensor([5.0, 5.0])
    y = x * constant
    y.sum().backward()
    assert y.grad is None and constant.grad is None and x.grad is not None


def test_a_gradient_is_handed_out_when_nothing_is_added_any_more():
    """y = (((a + b) · b) · c) · c: c's is whole first; a is used once, b in two operations."""
    a, b, c = leaf(2.0), leaf(3.0), leaf(5.0)
    names, seen = {a: "a", b: "b", c: "c"}, []

    @tq.primitive
    def watched(x):
        return x * 1.0, lambda g: (seen.append("watched") or g,)

    y = watched((a + b) * b) * c * c
    left = backpropagate(y, final=lambda leaf, g: seen.append((names[leaf], g.item())))
    assert left == {}
    assert seen[:2] == [("c", 2 * 15 * 5), "watched"]
    assert sorted(seen[2:]) == [("a", 3 * 25), ("b", (2 + 2 * 3) * 25)]
    unused = tq.Tensor(1.0, requires_grad=True)  # no operation has used it
    assert backpropagate(unused, final=lambda *_: pytest.fail("never told")) == {unused: 1}


def test_a_leaf_is_its_own_gradient():
    x = leaf(2)
    x.backward([7.0])
    np.testing.assert_array_equal(x.grad, [7])
    np.testing.assert_array_equal(tq.grad(x, x), [1])


# ---------------------------------------------------------------------------------------------
# backward and grad: what they refuse
# ---------------------------------------------------------------------------------------------


def test_second_backward():
    x = leaf(1, 2)
    loss = ops.exp(x).sum()
    loss.backward()
    for again in (loss.backward, lambda: tq.grad(loss, x)):
        with pytest.raises(RuntimeError, match="'sum' was freed by an earlier backward"):
            again()
    np.testing.assert_array_equal(x.grad, np.exp([1, 2]))


def test_second_backward_through_a_shared_part():
    x = leaf(1)
    trunk = x.exp()
    first, second = trunk * 2, trunk * 3
    first.backward()
    x.grad = None
    with pytest.raises(RuntimeError, match="'exp' was freed"):
        second.backward()
    assert x.grad is None


def test_backward_needs_a_scalar_or_a_gradient():
    x = leaf(1, 2)
    with pytest.raises(RuntimeError, match=r"shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(3,\), not \(2,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(ValueError, match=r"gradient has shape \(1, 2\), not \(2,\)"):
        (x * 2).backward(np.ones((1, 2)))
    (x * 2).backward([1, 1])
    (x * 2).backward(tq.Tensor([1.0, 1.0]))
    np.testing.assert_array_equal(x.grad, [4, 4])
    (x[:1] * 2).backward()  # one element, whatever its shape
    np.testing.assert_array_equal(x.grad, [6, 4])


def test_backward_of_a_constant():
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        tq.Tensor(1.0).backward()
    with tq.no_grad():
        loss = leaf(1) * 2
    with pytest.raises(RuntimeError, match="outside no_grad"):
        loss.backward()


@pytest.mark.parametrize("word", ["retain_graph", "create_graph"])
def test_a_second_pass_and_second_derivatives_are_refused(word):
    x = leaf(1, 2)
    loss = (x * x).sum()
    for call in (loss.backward, lambda **options: tq.grad(loss, x, **options)):
        with pytest.raises(ValueError, match=word):
            call(**{word: True})
    dx = tq.grad(loss, x, **{word: False})
    with pytest.raises(TypeError, match="a gradient is an array"):
        tq.grad(dx, x)


def test_grad_returns_and_touches_nothing():
    x, y, unused = leaf(1, 2), leaf(3, 4), leaf(5)
    inner = x * y
    dx, dy, dinner, dunused = tq.grad((inner * inner).sum(), [x, y, inner, unused])
    np.testing.assert_array_equal(dinner, [6, 16])
    np.testing.assert_array_equal(dx, [18, 64])
    np.testing.assert_array_equal(dy, [6, 32])
    assert dunused is None
    assert x.grad is y.grad is unused.grad is inner.grad is None


def test_grad_of_one_tensor_and_of_none():
    x = leaf(1, 2)
    assert isinstance(tq.grad((x * 2).sum(), x), np.ndarray)
    assert isinstance(tq.grad((x * 2).sum(), [x]), list)
    assert tq.grad((x * 2).sum(), []) == []
    np.testing.assert_array_equal(tq.grad(x * 2, x, gradient=[1, 10]), [2, 20])


def test_grad_with_respect_to_the_output_and_to_an_output_of_several():
    x = leaf(1, 2, 3)
    first, second = x.split((1,))
    total = first.sum() * 2 + second.sum() * 3
    d_total, d_first, d_second, dx = tq.grad(total, [total, first, second, x])
    np.testing.assert_array_equal(d_total, 1)
    np.testing.assert_array_equal(d_first, [2])
    np.testing.assert_array_equal(d_second, [3, 3])
    np.testing.assert_array_equal(dx, [2, 3, 3])


@pytest.mark.parametrize("bad", [tq.Tensor([1.0]), np.ones(1), None])
def test_grad_names_the_input_that_is_none(bad):
    x = leaf(1)
    with pytest.raises(ValueError, match="grad: input 1 is not a Tensor with requires_grad"):
        tq.grad(x * 2, [x, bad])


def test_frozen_inputs_get_no_gradient():
    x, y = leaf(2), leaf(3)
    y.requires_grad = False
    (x * y).backward()
    np.testing.assert_array_equal(x.grad, [3])
    assert y.grad is None
    assert not (y * 2).requires_grad


# ---------------------------------------------------------------------------------------------
# Threads
# ---------------------------------------------------------------------------------------------


def in_threads(count, work):
    """Run work(i) in that many threads at once; return the results, or raise what one raised."""
    results, errors, barrier = [None] * count, [], threading.Barrier(count)

    def run(i):
        try:
            barrier.wait(timeout=200)
            results[i] = work(i)
        except BaseException as error:  # raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=250)
    if errors:
        raise errors[0]
    return results


def test_several_threads_differentiate_one_model(rng):
    weight = tq.Tensor(rng.standard_normal((16, 16)), requires_grad=True)
    scale = tq.Tensor(rng.standard_normal(16), requires_grad=True)
    batches = rng.standard_normal((4, 5, 16))

    def gradients(i):
        x = batches[i]
        for _ in range(30):
            x = F.rms_norm(F.linear(x, weight), scale).tanh()
        return tq.grad((x * x).sum(), [weight, scale])

    expected = [gradients(i) for i in range(4)]
    for _ in range(5):
        for found, alone in zip(in_threads(4, gradients), expected):
            for a, b in zip(found, alone):
                np.testing.assert_array_equal(a, b)
    assert weight.grad is None and scale.grad is None


def test_grad_mode_is_per_thread():
    with tq.no_grad():
        inside = in_threads(2, lambda i: (is_grad_enabled(), (leaf(1) * 2).requires_grad))
        assert not is_grad_enabled()
    assert inside == [(True, True)] * 2

    def turn_off(i):
        barrier = threading.Barrier(1)
        with tq.no_grad():
            barrier.wait()
            return is_grad_enabled()

    assert in_threads(2, turn_off) == [False, False]
    assert is_grad_enabled()


def test_seeds_are_per_thread():
    def draw(i):
        tq.manual_seed(7)
        return F.dropout(np.ones(100), 0.5).data

    a, b = in_threads(2, draw)
    np.testing.assert_array_equal(a, b)
    tq.manual_seed(3)
    own = default_rng().bit_generator.state
    in_threads(2, draw)
    assert default_rng().bit_generator.state == own  # another thread's seed is its own


def test_threads_without_a_seed_draw_apart():
    """Nobody's seed is 0: not of a thread, nor of `manual_seed(None)`."""
    tq.manual_seed(3)  # this thread's alone

    def draw(i):
        generator = default_rng()
        assert generator is default_rng()  # one a thread, not one a call
        return generator.bytes(16), tq.manual_seed(None).bytes(16)

    known = {np.random.default_rng(seed).bytes(16) for seed in range(4)}
    drawn = {first for pair in in_threads(2, draw) for first in pair}
    assert len(drawn) == 4 and not drawn & known


def test_a_seed_for_a_while():
    """Inside draws are those of the seed; afterwards they go on as if nothing had been drawn."""
    tq.manual_seed(3)
    first, second = default_rng().random(2)
    tq.manual_seed(3)
    assert default_rng().random() == first
    with pytest.raises(ZeroDivisionError), seeded((7, 1)):
        assert default_rng().random() == np.random.default_rng((7, 1)).random()
        raise ZeroDivisionError
    assert default_rng().random() == second


def test_grad_mode_nests_and_survives_exceptions():
    with tq.no_grad():
        with tq.enable_grad():
            assert is_grad_enabled()
        assert not is_grad_enabled()
        with pytest.raises(ZeroDivisionError), tq.enable_grad():
            raise ZeroDivisionError
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_inference_modes_inside_each_other_end_one_by_one():
    x = leaf(1)
    with tq.inference_mode():
        with tq.inference_mode():
            pass
        assert isinstance(ops.exp(x), np.ndarray) and not is_grad_enabled()
        with pytest.raises(ZeroDivisionError), tq.inference_mode():
            raise ZeroDivisionError
        assert isinstance(ops.exp(x), np.ndarray)
    assert ops.exp(x).requires_grad and is_grad_enabled()


def test_no_grad_as_a_decorator():
    @tq.no_grad()
    def double(x):
        return x * 2

    assert not double(leaf(1)).requires_grad and not double(leaf(1)).requires_grad
    assert is_grad_enabled()
