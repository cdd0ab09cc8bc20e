"""The engine: what is recorded, what is freed, what is shared, and who is told what went wrong."""

import copy
import gc
import threading
import weakref

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen import ops
from tinyqwen.tensor import is_grad_enabled, topological_order

DEPTH = 100_000


def leaf(*values, dtype=np.float64):
    return tq.Tensor(np.array(values, dtype), requires_grad=True)


def training_step():
    """A little of everything that a model does: fused, composed, multi-output, checkpointed."""
    rng = np.random.default_rng(0)

    def parameter(*shape):
        return tq.Tensor(rng.standard_normal(shape).astype(np.float32), requires_grad=True)

    table, weight, scale = parameter(11, 8), parameter(8, 8), parameter(8)
    ids = rng.integers(0, 11, (2, 6))
    x = F.embedding(ids, table)
    x = x + tq.checkpoint(lambda h: F.dropout(F.linear(h, weight), 0.1), x, parameters=[weight])
    heads = F.rms_norm(x, scale).reshape(2, 6, 2, 4).swapaxes(1, 2)
    heads = F.apply_rope(heads, *F.rope_tables(np.arange(6), 4))
    out, _ = F.scaled_dot_product_attention(heads, heads, heads, causal=True, return_weights=True)
    gate, up = F.linear(out.swapaxes(1, 2).reshape(2, 6, 8), weight).split(2, axis=-1)
    x = tq.concat([F.swiglu(gate, up), ops.maximum(gate, up)], axis=-1) + x
    loss = F.linear_cross_entropy(x, table, ids) + 0.1 * (x * x).mean()
    return loss, [table, weight, scale], x


# ---------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("how", ["backward", "grad", "dropped"])
def test_a_step_leaves_nothing_for_the_collector(how, no_collector):
    for _ in range(2):  # the first one may fill caches
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        loss, parameters, hidden = training_step()
        watched = [weakref.ref(t) for t in (loss, hidden)] + [weakref.ref(hidden.data)]
        if how == "backward":
            loss.backward()
        elif how == "grad":
            tq.grad(loss, parameters)
        del loss, hidden
        assert [ref() for ref in watched] == [None] * 3  # freed by reference counting alone
        del parameters
    assert gc.collect() == 0
    assert gc.garbage == []


def test_backward_frees_what_the_vjps_hold(no_collector):
    x = leaf(1, 2)
    inner = x * 3
    held = weakref.ref(inner.data)
    loss = (inner * inner).sum()
    del inner
    assert held() is not None  # the VJP of the product needs it
    loss.backward()
    assert held() is None  # although the loss is still here


def test_the_graph_does_not_keep_what_no_vjp_needs(no_collector):
    x = leaf(1, 2)
    inner = x + 1
    held, tensor = weakref.ref(inner.data), weakref.ref(inner)
    loss = ((inner + 1) - inner + inner.mean()).sum()
    del inner
    assert held() is None and tensor() is None
    loss.backward()
    np.testing.assert_array_equal(x.grad, [1, 1])  # the mean's slope, twice a half


def test_no_grad_keeps_nothing(no_collector):
    x = leaf(1, 2)
    with tq.no_grad():
        inner = x * 3
        held = weakref.ref(inner.data)
        out = inner * inner
        del inner
    assert held() is None and not out.requires_grad and out.is_leaf


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


def test_a_deep_graph_can_be_dropped():
    for make in (lambda: chain(leaf(0)), lambda: [chain(leaf(0)).split(1)]):
        out = make()
        del out


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
            barrier.wait(timeout=20)
            results[i] = work(i)
        except BaseException as error:  # raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
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


def test_grad_mode_nests_and_survives_exceptions():
    with tq.no_grad():
        with tq.enable_grad():
            assert is_grad_enabled()
        assert not is_grad_enabled()
        with pytest.raises(ZeroDivisionError), tq.enable_grad():
            raise ZeroDivisionError
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_no_grad_as_a_decorator():
    @tq.no_grad()
    def double(x):
        return x * 2

    assert not double(leaf(1)).requires_grad and not double(leaf(1)).requires_grad
    assert is_grad_enabled()


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
        if not isinstance(other, np.int64):
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


def test_numpy_functions_refuse_a_tensor():
    with pytest.raises(TypeError):
        np.exp(leaf(1))


# ---------------------------------------------------------------------------------------------
# @primitive
# ---------------------------------------------------------------------------------------------


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
        return x * y, lambda g: (g * y,)  # what is left off on the right has no gradient

    x, y = leaf(2), leaf(3)
    dx, dy = tq.grad(first(x, y), [x, y])
    np.testing.assert_array_equal(dx, [3])
    assert dy is None


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


# ---------------------------------------------------------------------------------------------
# checkpoint()
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_checkpoint_equals_plain(dropout, rng):
    x, weight = (tq.Tensor(rng.standard_normal((6, 6)), True) for _ in range(2))

    def block(h):
        return F.dropout(F.silu(F.linear(h, weight)), dropout) + h

    def run(call):
        tq.manual_seed(5)
        out = call(call(x * 1.0))
        after = F.dropout(np.ones(20), 0.5).data  # the generator stands where it would anyway
        return [out.data, after, *tq.grad((out * out).sum(), [x, weight])]

    plain = run(block)
    calls = run(lambda h: tq.checkpoint(block, h, parameters=[weight]))
    for a, b in zip(calls, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_the_backward_of_a_checkpoint_leaves_the_generator_alone():
    x = leaf(1, 2, 3)
    tq.manual_seed(1)
    out = tq.checkpoint(lambda h: F.dropout(h, 0.5), x)
    tq.random.default_rng().random(10)  # what comes between the passes draws too
    expected = copy.deepcopy(tq.random.default_rng()).random()
    out.sum().backward()
    assert tq.random.default_rng().random() == expected


def test_checkpoint_recomputes_and_holds_nothing(no_collector):
    calls, inner = [], []

    def block(h):
        y = h.exp()
        calls.append(1)
        inner.append(weakref.ref(y.data))
        return y * y

    x = leaf(1, 2)
    out = tq.checkpoint(block, x)
    assert len(calls) == 1 and inner[0]() is None
    out.sum().backward()
    assert len(calls) == 2 and inner[1]() is None
    np.testing.assert_allclose(x.grad, 2 * np.exp([2.0, 4.0]))


def test_checkpoint_passes_integers_and_frozen_parameters_on():
    weight, frozen = leaf(1, 2, 3), tq.Tensor(np.ones(2))
    ids = np.array([2, 2])

    def block(i, w):
        return w[i] * frozen

    out = tq.checkpoint(block, tq.Tensor(ids), weight, parameters=[frozen])
    np.testing.assert_array_equal(tq.grad(out.sum(), weight), [0, 0, 2])
    with tq.no_grad():
        assert not tq.checkpoint(block, tq.Tensor(ids), weight).requires_grad
