"""What users of PyTorch reach for besides: against NumPy, definitions and differences."""

import numpy as np
import pytest
from further_table import CHOICES, FURTHER, NAMES, as_dtype
from hypothesis import given, settings
from op_draws import draws
from op_table import assert_close, outputs_and_gradients

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import further_ops


def test_the_table_has_every_operation():
    assert {op.function for op in FURTHER + CHOICES} >= NAMES


@pytest.mark.parametrize("op", FURTHER, ids=lambda op: op.name)
@settings(max_examples=10)
@given(r=draws)
def test_value_and_gradient(op, r):
    arrays, options = op.draw(r)
    outs, _ = outputs_and_gradients(op.run, arrays, options)
    expected = op.numpy(*arrays, **options)
    expected = list(expected) if isinstance(expected, tuple) else [np.asarray(expected)]
    assert_close(outs, expected, 1e-12, op.name)
    floats = [a for a in arrays if a.dtype.kind == "f"]
    assert tq.gradcheck(
        lambda *tensors: op.run(*tensors, *arrays[len(floats) :], **options), *floats, seed=5
    )


@pytest.mark.parametrize("op", FURTHER, ids=lambda op: op.name)
@settings(max_examples=10)
@given(r=draws)
def test_float32_stays(op, r):
    arrays, options = op.draw(r)
    options = {name: as_dtype(value, np.float32) for name, value in options.items()}
    outs, gradients = outputs_and_gradients(
        op.run, [as_dtype(a, np.float32) for a in arrays], options
    )
    assert {a.dtype for a in (*outs, *gradients) if a is not None} <= {np.dtype(np.float32)}


@pytest.mark.parametrize("op", CHOICES, ids=lambda op: op.name)
@settings(max_examples=10)
@given(r=draws)
def test_choices(op, r):
    (x,), options = op.draw(r)
    out = op.run(tq.Tensor(x), **options)
    assert isinstance(out, tq.Tensor) and not out.requires_grad
    np.testing.assert_array_equal(out.data, op.numpy(x, **options), strict=True)


def test_slopes_at_the_kinks():
    x = tq.Tensor(np.zeros(1), requires_grad=True)
    slopes = {name: tq.grad(getattr(F, name)(x).sum(), x).item()
              for name in ("softplus", "leaky_relu", "elu")}  # fmt: skip
    assert slopes == {"softplus": 0.5, "leaky_relu": 0.01, "elu": 1.0}
    equal = tq.Tensor(np.ones(3), requires_grad=True)
    assert tq.grad(equal.std(), equal).tolist() == [0, 0, 0]


def test_large_and_small_inputs():
    with np.errstate(all="raise", under="ignore"):
        x = tq.Tensor(np.array([-1e4, 1e4]), requires_grad=True)
        assert F.softplus(x).data.tolist() == [0, 1e4]
        assert tq.grad(F.softplus(x).sum(), x).tolist() == [0, 1]
        assert F.elu(x).data.tolist() == [-1, 1e4] and tq.grad(F.elu(x).sum(), x)[1] == 1
    tiny = tq.Tensor(np.array([1e-18]))
    assert tiny.log1p().item() == tiny.expm1().item() == 1e-18


def test_options():
    x = tq.Tensor(np.array([-2.0, 3.0]))
    assert F.leaky_relu(x, 0.5).data.tolist() == [-1, 3]
    np.testing.assert_allclose(F.elu(x, alpha=2.0).data, [2 * (np.exp(-2) - 1), 3])


def test_a_remainder_has_the_sign_of_what_divides():
    x = tq.Tensor([5.0, -5.0])
    assert (x % 3).data.tolist() == [2, 1] and (x % -3).data.tolist() == [-1, -2]
    assert (7 % x).data.tolist() == [2, -3]
    for three in (np.array(3.0), [3.0, 3.0], np.float64(3)):  # no reason to leave float32
        assert (x % three).dtype == (three % x).dtype == np.float32


def test_numpys_functions_of_a_tensor():
    """np.sum(x) is x.sum(), gradient and all; what is no method here gets an array, or says so."""
    x = tq.Tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    assert tq.grad(np.sum(x, axis=0)[1], x).tolist() == [[0, 1], [0, 1]]
    assert np.mean(x).item() == 2.5 and np.shape(x) == (2, 2) and np.ndim(x) == 2
    assert np.clip(x, 2, 3).data.tolist() == [[2, 2], [3, 3]]
    assert np.any(x, axis=[0, 1]).item() is x.all(axis=(0, 1)).item() is True
    for function in (np.cumsum, np.linalg.norm, lambda x: np.concatenate([x, x])):
        with pytest.raises(TypeError, match=r"use tensor.detach\(\).numpy\(\)"):
            function(x)
    y = x.detach()
    for pair in ([y, x.data], (y, x.data), (x.data, y)):
        assert np.concatenate(pair).tolist() == [[1, 2], [3, 4], [1, 2], [3, 4]]
    assert np.block([[y, np.array([[5.0], [6.0]])]]).tolist() == [
        [1, 2, 5],
        [3, 4, 6],
    ]  # lists in lists
    weighted = np.average(np.ones(2), weights=tq.Tensor([1.0, 3.0]))  # by name
    assert type(weighted) is not tq.Tensor and weighted == 1
    assert np.repeat(x.detach(), 2).tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


def test_products_over_nothing_and_of_everything():
    assert tq.Tensor(np.zeros((2, 0))).prod(axis=1).data.tolist() == [1, 1]
    assert tq.Tensor(np.arange(1.0, 5)).prod().item() == 24


def test_a_number_is_flattened_to_one_entry():
    assert tq.Tensor(3.0).flatten().shape == (1,)


@pytest.mark.parametrize("call, message", [
    (lambda x: F.pad(x, (1, 2)), r"pair \(before, after\) for each of the 2 axes"),
    (lambda x: further_ops.outer(x, x), "must be vectors"),
    (lambda x: F.one_hot(np.array([0, 3]), 3), r"in \[0, 3\)"),
    (lambda x: F.one_hot(np.array([-1]), 3), r"in \[0, 3\)"),
    (lambda x: F.mse_loss(x, x[0]), "shapes .* differ"),
    (lambda x: F.mse_loss(x, x.reshape(-1)), "shapes .* differ"),
    (lambda x: F.mse_loss(x, x, reduction="average"), "'mean', 'sum' or 'none'"),
    (lambda x: F.cross_entropy(x, [0, 1], reduction="average"), "'mean', 'sum' or 'none'"),
    (lambda x: F.cross_entropy(x, [0, 1], weight=np.ones(2), label_smoothing=0.1), "weight goes"),
    (lambda x: F.nll_loss(x, [0, 2]), "label 2 is out of range for 2 classes"),
    (lambda x: F.nll_loss(x, [0, -1]), "label -1 is out of range for 2 classes"),
    (lambda x: F.nll_loss(x, [0, 1], weight=np.ones(3)), r"shape \(3,\), expected \(2,\)"),
    (lambda x: F.cross_entropy(x, [0, 1], weight=np.ones(1)), r"shape \(1,\), expected \(2,\)"),
])  # fmt: skip
def test_what_is_refused(call, message):
    with pytest.raises((ValueError, IndexError), match=message):
        call(tq.Tensor(np.ones((2, 2))))


def test_modules():
    x = tq.Tensor(np.array([[-1.0, 0.5], [2.0, -3.0]]))
    for module, function in (
        (tq.nn.ReLU(), F.relu), (tq.nn.SiLU(), F.silu), (tq.nn.GELU(), F.gelu),
        (tq.nn.GELU("tanh"), lambda x: F.gelu(x, "tanh")), (tq.nn.Softmax(), F.softmax),
        (tq.nn.Softmax(0), lambda x: F.softmax(x, 0)),
    ):  # fmt: skip
        np.testing.assert_array_equal(module(x).data, function(x).data)
    loss = tq.nn.CrossEntropyLoss(ignore_index=1, reduction="sum")
    assert loss(x, [0, 1]).item() == F.cross_entropy(x[:1], [0]).item()


def test_norms_without_weight(rng):
    x = rng.standard_normal((2, 5))
    np.testing.assert_array_equal(F.rms_norm(x, None).data, F.rms_norm(x, np.ones(5)).data)
    expected = F.layer_norm(x, np.ones(5), np.zeros(5)).data
    np.testing.assert_array_equal(F.layer_norm(x, None, None).data, expected)
    assert tq.gradcheck(lambda x: F.layer_norm(x, None, None), x)
    assert tq.gradcheck(lambda x: F.rms_norm(x, None), x)


@pytest.mark.parametrize("subscripts, shapes", [
    ("...ij,...jk", ((2, 3, 4, 5), (3, 5, 2))), ("...ij,...jk->...ki", ((2, 4, 5), (2, 5, 2))),
    ("...i,i", ((2, 3, 4), (4,))), ("...->...", ((2, 3),)), ("...i->i...", ((2, 3, 4),)),
    ("ba", ((2, 3),)), ("ij,jk", ((2, 3), (3, 4))), ("i,i", ((3,), (3,))), ("...", ((),)),
    ("a...,b...", ((2, 3), (4, 3))), ("i...->...", ((2, 3),)), ("...,...", ((2, 3), ())),
])  # fmt: skip
def test_einsum_with_dots_and_without_an_output(subscripts, shapes, rng):
    arrays = [rng.standard_normal(s) for s in shapes]
    found = tq.einsum(subscripts, *arrays).data
    np.testing.assert_allclose(found, np.einsum(subscripts, *arrays), rtol=1e-12)
    assert tq.gradcheck(lambda *xs: tq.einsum(subscripts, *xs), *arrays)
