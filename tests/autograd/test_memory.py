"""What a graph keeps alive, and what a step leaves behind: nothing."""

import copy
import gc
import weakref

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops
from tinyqwen.autograd.random import default_rng


def leaf(*values, dtype=np.float64):
    return tq.Tensor(np.array(values, dtype), requires_grad=True)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


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
    default_rng().random(10)  # what comes between the passes draws too
    expected = copy.deepcopy(default_rng()).random()
    out.sum().backward()
    assert default_rng().random() == expected


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
