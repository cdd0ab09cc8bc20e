"""GPTQ against the algorithm written out plainly in float64, and against round-to-nearest."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.tuning.gptq import gptq_column, gptq_quantize, hessians, inverse_factor
from tinyqwen.tuning.packing import dequantize_array, quantize_array


def plain(W, H, bits, size, sym, desc_act):
    """One weight after the other, and H⁻¹ eliminated step by step: no Cholesky, no blocks."""
    n, out = W.shape
    W, H = W.copy(), H + 0.01 * np.mean(np.diag(H)) * np.eye(n)
    order = np.argsort(-np.diag(H), kind="stable") if desc_act else np.arange(n)
    W, inverse = W[order], np.linalg.inv(H[np.ix_(order, order)])
    result, most = np.zeros_like(W), 2**bits - 1
    for i in range(n):
        if i % size == 0:
            shares = np.linspace(1, 0.5, 11) if bits == 2 else [1]  # of the range
            found = [[span(w, share, bits, sym) for share in shares] for w in W[i : i + size].T]
            scale, zero = np.array([min(each)[1:] for each in found]).T
        for o in range(out):
            q = min(max(np.rint(W[i, o] / scale[o]) + zero[o], 0), most)
            result[i, o] = scale[o] * (q - zero[o])
            e = (W[i, o] - result[i, o]) / inverse[i, i]
            W[i + 1 :, o] -= e * inverse[i + 1 :, i]
        inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    return result[np.argsort(order)]


def span(w, share, bits, sym):
    """(squared error, scale, zero) of one output's group, rounded in a share of its range."""
    most = 2**bits - 1
    low, high = min(share * w.min(), 0), max(share * w.max(), 0)
    if sym:
        low, high = -max(high, -low), max(high, -low)
    scale = float(np.float16((high - low) / most))
    zero = 2 ** (bits - 1) if sym else min(max(np.rint(-low / scale), 1), most)
    rounded = [scale * (min(max(np.rint(x / scale) + zero, 0), most) - zero) for x in w]
    return sum((rounded - w) ** 2), scale, zero


@pytest.fixture
def layer(rng):
    mixing = rng.normal(size=(160, 160)) * rng.uniform(0.1, 2, 160)
    x = rng.normal(size=(600, 160)) @ mixing
    return rng.normal(size=(160, 6)), x, 2 * x.T @ x / len(x)


@pytest.mark.parametrize("desc_act", [False, True])
@pytest.mark.parametrize(
    "bits, size, sym", [(4, 32, False), (4, 16, True), (2, 16, False), (8, 160, True)]
)
def test_it_is_the_plain_algorithm(layer, bits, size, sym, desc_act):
    W, _, H = layer
    *packed, g_idx = gptq_quantize(W, H, bits, size, sym, desc_act)
    found = dequantize_array(*packed, g_idx)
    expected = plain(W, H, bits, size, sym, desc_act)
    # a tie in the last bit of float64 may be rounded the other way, and be made up for elsewhere
    assert np.mean(np.abs(found - expected) > 1e-5) < 0.01
    assert (np.sort(np.bincount(g_idx)) == size).all()
    if not desc_act:
        np.testing.assert_array_equal(g_idx, np.arange(160) // size)


@pytest.mark.parametrize("bits", [2, 4])
def test_its_outputs_are_closer_than_those_of_the_nearest(layer, bits):
    W, x, H = layer
    nearest = dequantize_array(*quantize_array(W, bits, 32))
    ours = dequantize_array(*gptq_quantize(W, H, bits, 32))
    error = [np.linalg.norm(x @ (W - rounded)) for rounded in (ours, nearest)]
    assert error[0] < 0.7 * error[1]


def test_the_factor_and_a_column(rng, layer):
    W, _, H = layer
    U = inverse_factor(H, damping=0.0)
    np.testing.assert_allclose(U.T @ U @ H, np.eye(160), atol=1e-6)
    assert np.allclose(U, np.triu(U))
    before = W.copy()
    _, new, _ = gptq_column(W, 3, U, np.full(6, 0.5), np.full(6, 2), 2)
    np.testing.assert_array_equal(W, before)
    np.testing.assert_array_equal(new[:3], W[:3])
    # the rows after 3 are the least-squares answer to the error of row 3, those before being fixed
    free = H[4:, 4:]
    best = W[4:] - np.linalg.solve(free, H[4:, 3:4] @ (new[3:4] - W[3:4]))
    np.testing.assert_allclose(new[4:], best, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="no inverse"):
        inverse_factor(np.full((3, 3), np.nan))


def test_inputs_that_are_always_zero(layer):
    W, _, H = layer
    H[5], H[:, 5] = 0, 0
    *packed, g_idx = gptq_quantize(W, H, 4, 32)
    assert (dequantize_array(*packed, g_idx)[5] == 0).all()


def test_hessians_are_of_the_inputs(rng):
    sizes = dict(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
    config = tq.Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=1)
    model, text = tq.Qwen2ForCausalLM(config), [rng.integers(0, 20, (2, 5)) for _ in range(2)]
    path, seen = "model.layers.0.self_attn.k_proj", []
    before = repr(model)
    found = hessians(model, [path], text)[path]
    assert repr(model) == before
    for ids in text:
        x = model.model.embed_tokens.weight.data[ids].reshape(-1, 16).astype(np.float64)
        seen.append(x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-6))
    x = np.concatenate(seen)
    np.testing.assert_allclose(found, 2 * x.T @ x / len(x), rtol=1e-4, atol=1e-5)


def test_nothing_that_is_given_is_changed(layer):
    W, _, H = layer
    H[7], H[:, 7] = 0, 0
    kept = W.copy(), H.copy()
    gptq_quantize(W, H, 4, 32)
    np.testing.assert_array_equal(W, kept[0])
    np.testing.assert_array_equal(H, kept[1])


@pytest.mark.parametrize("training", [False, True])
def test_inputs_are_measured_without_dropout(rng, training):
    sizes = dict(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
    config = tq.Qwen2Config(
        **sizes, num_attention_heads=2, num_key_value_heads=1, attention_dropout=0.9
    )
    model = tq.Qwen2ForCausalLM(config).train(training)
    path, text = "model.layers.0.mlp.up_proj", [rng.integers(0, 20, (2, 5))]
    first, second = (hessians(model, [path], text)[path] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert model.training == model.model.training == training
