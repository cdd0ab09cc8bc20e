"""Pruning: scores by hand, cut models against models whose cut parts are silenced."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.tuning.pruning import (
    measure_heads,
    measure_layers,
    prune_heads,
    prune_layers,
    prune_weights,
    sparsity_mask,
    two_four_mask,
)

SMALL = dict(
    **dict(vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=3),
    **dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=40),
    **dict(initializer_range=0.3),
)
D = 4


def base(**changes):
    tq.manual_seed(0)
    return tq.Qwen2ForCausalLM(tq.Qwen2Config(**{**SMALL, **changes})).eval()


@pytest.fixture
def texts(rng):
    return [rng.integers(0, 30, (2, 9)), rng.integers(0, 30, (3, 6))]


def logits(model, ids):
    with tq.no_grad():
        return model(ids).logits.data


def test_importance_is_the_slope_of_the_loss_in_a_head(texts):
    """Each head's share of o_proj scaled by 1 ± ε, one text at a time, in float64."""
    model, expected = base().astype(np.float64), np.zeros((3, 4))
    for ids in texts:
        for row in ids:
            for layer, head in np.ndindex(3, 4):
                weight = model.model.layers[layer].self_attn.o_proj.weight.data
                columns, losses = weight[:, head * D : (head + 1) * D].copy(), []
                for factor in (1 + 1e-5, 1 - 1e-5):
                    weight[:, head * D : (head + 1) * D] = factor * columns
                    losses.append(model(row[None], labels=row[None]).loss.item())
                weight[:, head * D : (head + 1) * D] = columns
                expected[layer, head] += abs(losses[0] - losses[1]) / 2e-5 / 5
    before = repr(model)
    found = measure_heads(model, texts)
    assert repr(model) == before
    # a batch's loss is the mean over its texts, of one length: ‖B · g_b‖ is one text's own
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_cut_head_is_a_silent_one(texts):
    model, silent = base(), base()
    importance = measure_heads(model, texts)
    for layer, scores in zip(silent.model.layers, importance):
        for group in (0, 2):
            head = group + int(np.argmin(scores[group : group + 2]))
            layer.self_attn.o_proj.weight.data[:, head * D : (head + 1) * D] = 0
    prune_heads(model, 2, texts)
    assert model.config.num_attention_heads == 2
    np.testing.assert_allclose(logits(model, texts[0]), logits(silent, texts[0]), atol=1e-5)
    assert base().num_parameters() - model.num_parameters() == 3 * (2 * 2 * D * 16 + 2 * D)


def test_a_cut_layer_is_one_that_is_passed_by(texts, tmp_path):
    model = base()
    angles = measure_layers(model, 1, texts)
    first = int(np.argmin(angles))
    assert angles.shape == (2,) and (angles > 0).all()
    passed = base()
    layer = passed.model.layers[first]
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        layer.get_submodule(name).weight.data[...] = 0  # both branches add nothing
    pruned = prune_layers(model, 1, texts)
    np.testing.assert_allclose(logits(pruned, texts[0]), logits(passed, texts[0]), atol=1e-5)
    pruned.save_pretrained(tmp_path)
    again = tq.AutoModelForCausalLM.from_pretrained(tmp_path)
    np.testing.assert_array_equal(logits(again, texts[0]), logits(pruned, texts[0]))


def test_wanda_looks_at_the_inputs_and_magnitude_does_not(texts):
    dense, magnitude, wanda = base(), base(), base()
    prune_weights(magnitude, 0.5)
    prune_weights(wanda, 0.5, texts)
    zeros = {}
    for name, model in (("magnitude", magnitude), ("wanda", wanda)):
        weight = model.model.layers[0].mlp.up_proj.weight.data
        assert ((weight == 0).sum(1) == 8).all()
        original = dense.model.layers[0].mlp.up_proj.weight.data
        np.testing.assert_array_equal(weight[weight != 0], original[weight != 0])
        zeros[name] = weight == 0
    kept = np.where(zeros["magnitude"], 0, np.abs(original))
    assert (
        np.where(zeros["magnitude"], np.abs(original), 0).max(1) <= np.sort(kept, 1)[:, 8]
    ).all()
    assert (zeros["magnitude"] != zeros["wanda"]).any()
    # The first layer reads what nothing was pruned before: its score by hand, |W| · ‖x‖.
    first, query = dense.model.layers[0], wanda.model.layers[0].self_attn.q_proj.weight.data
    read = [first.input_layernorm(dense.model.embed_tokens(ids)).data for ids in texts]
    norms = np.linalg.norm(np.concatenate([x.reshape(-1, 16) for x in read]), axis=0)
    score = np.abs(first.self_attn.q_proj.weight.data) * norms
    np.testing.assert_array_equal(query == 0, score <= np.sort(score, 1)[:, 7:8])
    np.testing.assert_array_equal(magnitude.lm_head.weight.data, dense.lm_head.weight.data)


def test_two_of_four(rng, texts):
    score = rng.normal(size=(6, 16)) ** 2
    mask = two_four_mask(score)
    assert (mask.reshape(-1, 4).sum(1) == 2).all()
    quads, kept = score.reshape(-1, 4), mask.reshape(-1, 4)
    for values, stays in zip(quads, kept):
        assert values[stays].min() >= values[~stays].max()
    model = prune_weights(base(), "2:4", texts)
    weight = model.model.layers[2].self_attn.q_proj.weight.data
    assert ((weight == 0).reshape(-1, 4).sum(1) == 2).all()


@pytest.mark.parametrize(
    "cut, words",
    [
        (lambda m, t: prune_heads(m, 4, t), "a layer has 4 heads; 4 of them cannot"),
        (lambda m, t: prune_heads(m, 0, t), "0 of them cannot"),
        (lambda m, t: prune_heads(m, 1, t), "choose a multiple of 2"),
        (lambda m, t: prune_layers(m, 3, t), "of 3 layers, 3 cannot"),
        (lambda m, t: prune_layers(m, -1, t), "-1 cannot"),
        (lambda m, t: prune_weights(m, 1.0, t), "above 0 and below 1"),
        (lambda m, t: prune_weights(m, float("nan")), "above 0 and below 1"),
    ],
)
def test_what_cannot_be_cut(texts, cut, words):
    model = base()
    before = model.state_dict()
    before = {name: array.copy() for name, array in before.items()}
    with pytest.raises(ValueError, match=words):
        cut(model, texts)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_angle_of_a_run_of_layers(texts):
    """The mean over tokens: a longer text counts for more."""
    model = base()
    texts = [texts[0], texts[1][:1]]
    angles = []
    for ids in texts:
        states = [s.data.astype(float) for s in model(ids, output_hidden_states=True).hidden_states]
        x, y = states[0].reshape(-1, 16), states[2].reshape(-1, 16)
        for a, b in zip(x, y):
            angles.append(np.arccos(a @ b / np.sqrt((a @ a) * (b @ b))) / np.pi)
    assert len(angles) == 18 + 6
    np.testing.assert_allclose(measure_layers(model, 2, texts), [np.mean(angles)], rtol=1e-5)


def test_a_cut_model_keeps_its_settings(texts, tmp_path):
    model = base(use_sliding_window=True, sliding_window=4, max_window_layers=2).train()
    model.generation_config = {"max_new_tokens": 7}
    pruned = prune_layers(model, 1, texts)
    assert pruned.training and pruned.generation_config == {"max_new_tokens": 7}
    assert pruned.config.layer_types == ["full_attention", "sliding_attention"]
    assert pruned.eval().training is False and not prune_layers(base(), 1, texts).training


@pytest.mark.parametrize("sparsity, zeros", [(0.29, 29), (0.5, 50), (0.999, 99), (0.009, 0)])
def test_as_many_zeros_as_asked_for(rng, sparsity, zeros):
    """0.29 · 100 is 28.999999999999996 in floating point."""
    mask = sparsity_mask(rng.normal(size=(3, 100)), sparsity)
    assert (~mask).sum(1).tolist() == [zeros] * 3
