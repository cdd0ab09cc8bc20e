"""Every primitive against PyTorch: 1e-10 of the largest entry in float64, 1e-5 in float32."""

import numpy as np
import pytest
from further_table import CHOICES, FURTHER
from hypothesis import given
from op_draws import draws
from op_table import (
    ELEMENTARY,
    FUSED,
    as_dtype,
    assert_close,
    ours,
    outputs_and_gradients,
    torch_outputs_and_gradients,
    upstream_for,
)

import tinyqwen as tq
from tinyqwen import functional as F

torch = pytest.importorskip("torch")

comparable = [op for op in ELEMENTARY + FUSED if op.function != "dropout"]


@pytest.mark.parametrize(
    "dtype, tolerance", [(np.float64, 1e-10), (np.float32, 1e-5)], ids=["float64", "float32"]
)
@pytest.mark.parametrize("op", comparable, ids=lambda op: op.name)
@given(r=draws)
def test_value_and_gradient(op, dtype, tolerance, r):
    arrays, options = op.draw(r)
    arrays = [as_dtype(a, dtype) for a in arrays]
    options = {name: as_dtype(value, dtype) for name, value in options.items()}
    values, gradients = outputs_and_gradients(ours(op), arrays, options)
    torch_values, torch_gradients = torch_outputs_and_gradients(torch, op, arrays, options)
    assert_close(values, torch_values, tolerance, f"{op.name}: value")
    assert_close(gradients, torch_gradients, tolerance, f"{op.name}: gradient")


@pytest.mark.parametrize("op", FURTHER, ids=lambda op: op.name)
@given(r=draws)
def test_what_else_pytorch_has(op, r):
    arrays, options = op.draw(r)
    values, gradients = outputs_and_gradients(op.run, arrays, options)
    torch_values, torch_gradients = torch_outputs_and_gradients(torch, op, arrays, options)
    assert_close(values, torch_values, 1e-10, f"{op.name}: value")
    assert_close(gradients, torch_gradients, 1e-10, f"{op.name}: gradient")


@pytest.mark.parametrize("op", CHOICES, ids=lambda op: op.name)
@given(r=draws)
def test_choices(op, r):
    (x,), options = op.draw(r)
    expected = op.torch(torch, torch.from_numpy(x), **options).numpy()
    np.testing.assert_array_equal(op.run(tq.Tensor(x), **options).data, expected, strict=True)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 65])
def test_attention_against_torchs_own(causal, length, rng):
    """`F.scaled_dot_product_attention` itself, grouped; its causal mask is ours where T = S."""
    q = rng.standard_normal((2, 6, length, 10))
    k, v = rng.standard_normal((2, 2, 3, length, 10))
    leaves = [torch.from_numpy(a).requires_grad_() for a in (q, k, v)]
    out = torch.nn.functional.scaled_dot_product_attention(
        *leaves, is_causal=causal, enable_gqa=True
    )
    (upstream,) = upstream_for([out.detach().numpy()])
    expected = torch.autograd.grad(out, leaves, torch.from_numpy(upstream))
    tensors = [tq.Tensor(a, requires_grad=True) for a in (q, k, v)]
    found = F.scaled_dot_product_attention(*tensors, causal=causal)
    assert_close(found.data, out.detach().numpy(), 1e-10, "attention: value")
    gradients = tq.grad(found, tensors, upstream)
    assert_close(gradients, [g.numpy() for g in expected], 1e-10, "attention: gradient")


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_of_large_logits(label_smoothing):
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, 1e4], [3, 2, 1]], np.float32)
    labels = np.array([1, 2, -100])
    ours_, torchs = tq.Tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
    loss = F.cross_entropy(ours_, labels, label_smoothing=label_smoothing)
    expected = torch.nn.functional.cross_entropy(
        torchs, torch.tensor(labels), label_smoothing=label_smoothing
    )
    expected.backward()
    assert_close(loss.data, expected.detach().numpy(), 1e-6, "value")
    assert_close(tq.grad(loss, ours_), torchs.grad.numpy(), 1e-6, "gradient")


def test_repr_is_torchs():
    def modules(nn):
        return [
            nn.Linear(3, 4),
            nn.Linear(3, 4, bias=False),
            nn.Embedding(5, 3),
            nn.Embedding(5, 3, padding_idx=1),
            nn.LayerNorm(4),
            nn.LayerNorm(4, eps=1e-6),
            nn.Dropout(0.1),
            nn.ReLU(),
            nn.SiLU(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.CrossEntropyLoss(),
            nn.ModuleList(),
            nn.ModuleList([nn.Linear(2, 2)]),
            nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 2)]),
            nn.ModuleList([nn.ModuleList([nn.Linear(2, 2)]), nn.ModuleList([nn.Linear(2, 2)])]),
        ]

    assert list(map(repr, modules(tq.nn))) == list(map(repr, modules(torch.nn)))


def test_names_are_torchs():
    def build(nn):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.LayerNorm(4)
                self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4, bias=False)])
                self.head = nn.Linear(4, 7, bias=False)
                self.embed = nn.Embedding(7, 4)
                self.head.weight = self.embed.weight  # tied

        return Block()

    mine, theirs = build(tq.nn), build(torch.nn)
    for once in (True, False):
        names = [[n for n, _ in m.named_parameters(remove_duplicate=once)] for m in (mine, theirs)]
        assert names[0] == names[1]
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in mine.named_modules()] == [n for n, _ in theirs.named_modules()]
    assert repr(mine) == repr(theirs)
