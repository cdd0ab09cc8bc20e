"""Layers with one input, computed by one product: the same numbers, and no copies."""

import copy

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import nn
from tinyqwen.autograd import ops
from tinyqwen.autograd.grad_mode import inference_mode, no_grad
from tinyqwen.functional.memory_layout import in_a_row
from tinyqwen.models.merged_linear import linears, merged_linear
from tinyqwen.optim import AdamW, decay_groups


class Two(nn.Module):
    def __init__(self, bias):
        self.a, self.b = linears(5, 3, 4, bias=bias)

    ab = merged_linear("a", "b")

    def forward(self, x):
        return ops.concat(self.ab(x), axis=-1)


def one_by_one(model, x):
    outs = [layer(x) for layer in (model.a, model.b)]
    return np.concatenate([out.data if isinstance(out, tq.Tensor) else out for out in outs], -1)


def products(monkeypatch, model, x):
    """How often `linear` is called."""
    calls, raw = [], tq.functional.linear.raw
    with monkeypatch.context() as patch:
        patch.setattr(tq.functional.linear, "raw", lambda *args: calls.append(1) or raw(*args))
        model(x)
    return len(calls)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("joined", [True, False])
def test_the_same_as_one_by_one(bias, dtype, joined, rng, monkeypatch):
    model = Two(bias).astype(dtype)
    if not joined:
        model.b.weight.data = model.b.weight.data.copy()
    x = rng.normal(size=(2, 1, 5)).astype(dtype)
    assert products(monkeypatch, model, x) == 2  # each layer has a gradient of its own
    for mode in (no_grad, inference_mode):
        with mode():
            assert products(monkeypatch, model, x) == (1 if joined else 2)
            assert products(monkeypatch, model, np.concatenate([x, x], 1)) == 2
    close = dict(rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)
    expected = one_by_one(model, x)
    np.testing.assert_allclose(model(x).data, expected, **close)
    for mode in (no_grad, inference_mode):
        with mode():
            out = model(x)
        out = out.data if isinstance(out, tq.Tensor) else out
        np.testing.assert_allclose(out, expected, **close)

    heads = [y.data for y in model.ab(x, 1)]  # (B, heads, T, 1), split
    with no_grad():
        for split, y in zip(model.ab(x, 1), heads):
            np.testing.assert_allclose(split.data, y, **close)
    np.testing.assert_allclose(np.concatenate(heads, 1)[:, :, 0, 0], expected[:, 0], **close)

    g = rng.normal(size=expected.shape).astype(dtype)
    ours = tq.grad(model(x), list(model.parameters()), g)
    separate = tq.concat([model.a(x), model.b(x)], axis=-1)
    for mine, theirs in zip(ours, tq.grad(separate, list(model.parameters()), g)):
        np.testing.assert_allclose(mine, theirs, **close)


def check(model, x):
    with inference_mode():
        np.testing.assert_allclose(model(x), one_by_one(model, x), rtol=1e-5)


def test_changed_weights_are_seen(rng):
    model, x = Two(bias=True), rng.normal(size=(1, 1, 5)).astype(np.float32)
    changes = [
        lambda: setattr(model.b.weight, "data", np.ones((4, 5), np.float32)),
        lambda: model.astype(np.float32),
        lambda: setattr(model.a.bias, "data", np.full(3, 7, np.float32)),
        lambda: setattr(model, "b", nn.Linear(5, 4)),
        lambda: model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}),
        lambda: model.astype(np.float32),
        lambda: setattr(model, "b", nn.Linear(5, 4, bias=False)),
    ]
    for change in changes:
        check(model, x)
        change()
    check(model, x)
    model.astype(np.float32)
    with inference_mode():
        model(x)
        model.a.weight.data[...] = 2  # in place: also while generating
        np.testing.assert_allclose(model(x), one_by_one(model, x), rtol=1e-5)


def test_another_kind_of_layer_is_called(rng):
    class Doubled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    model, x = Two(bias=True), rng.normal(size=(2, 1, 5)).astype(np.float32)
    doubled = Doubled(5, 4)
    doubled.weight, doubled.bias = model.b.weight, model.b.bias  # the very same arrays
    model.b = doubled
    check(model, x)
    model.b = nn.Dropout(0.0)  # without any weight
    check(model, x)


def test_a_copied_model_reads_its_own_weights(rng):
    model, x = Two(bias=True), rng.normal(size=(1, 1, 5)).astype(np.float32)
    with inference_mode():
        before = model(x)
        twin = copy.deepcopy(model)
        for parameter in twin.parameters():
            parameter.data[...] = 0
        np.testing.assert_array_equal(twin(x), np.zeros((1, 1, 7)))
        np.testing.assert_array_equal(model(x), before)


def test_models_stay_in_a_row(tmp_path):
    def check(model):
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for layers in (
                [attention.q_proj, attention.k_proj, attention.v_proj],
                [mlp.gate_proj, mlp.up_proj],
            ):
                weights = [linear.weight.data for linear in layers]
                joined = in_a_row(weights)
                np.testing.assert_array_equal(joined, np.concatenate(weights))
                assert np.shares_memory(joined, weights[-1])
                if layers[0].bias is not None:
                    assert in_a_row([linear.bias.data for linear in layers]) is not None

    config = tq.Qwen2Config(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=12,
    )
    model = tq.Qwen2ForCausalLM(config)
    check(model)
    model.save_pretrained(tmp_path)
    check(tq.Qwen2ForCausalLM.from_pretrained(tmp_path))
    check(tq.Qwen2ForCausalLM.from_pretrained(tmp_path, dtype=np.float64))
    check(model.astype(np.float64))
    AdamW(decay_groups(model, 0.1))
    check(model)


def test_in_a_row():
    flat = np.arange(12.0)
    a, b = flat[2:6].reshape(2, 2), flat[6:12].reshape(3, 2)
    np.testing.assert_array_equal(in_a_row([a, b]), flat[2:].reshape(5, 2))
    assert np.shares_memory(in_a_row([a, b]), b)
    for apart in ([b, a], [a, flat[8:].reshape(2, 2)], [a, b.copy()], [a.copy(), b]):
        assert in_a_row(apart) is None
    assert in_a_row([a.T, b[:, :2]]) is None
    square = np.arange(8.0).reshape(2, 4)
    assert in_a_row([square[:, :2], square[:, 2:]]) is None
