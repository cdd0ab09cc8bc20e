"""What a decoder must do whatever its weights are: in float64, without another implementation."""

import re
from dataclasses import replace

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.models.cache import KVCache

CONFIG = {
    **{"vocab_size": 30, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 3},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256},
    **{"pad_token_id": 0, "rope_theta": 50.0, "initializer_range": 0.4},
}
WINDOW = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
VARIANTS = {"plain": {}, "window": WINDOW, "eager": {"attn_implementation": "eager"}}


def make(head="Qwen2ForCausalLM", **changes):
    model = getattr(tq, head)(tq.Qwen2Config(**{**CONFIG, **changes})).astype(np.float64).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:
            parameter.data[...] += 0.3 * np.random.default_rng(3).normal(size=parameter.shape)
    return model


@pytest.fixture(scope="module", params=VARIANTS)
def model(request):
    tq.manual_seed(5)
    return make(**VARIANTS[request.param])


@pytest.fixture
def ids(rng):
    return rng.integers(1, 30, (2, 9))


def logits(model, ids, *args, **kwargs):
    with tq.no_grad():
        return model(ids, *args, **kwargs).logits.data


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------------------------------------
# Masks and positions
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_row_is_the_row_alone(model, ids, side):
    """Whatever stands in the padding."""
    part = slice(3, None) if side == "left" else slice(None, 6)
    mask = np.ones_like(ids)
    mask[1] = 0
    mask[1, part] = 1
    alone = logits(model, ids[1:, part])
    assert np.abs(alone).max() > 0.5
    padded = logits(model, ids, mask)
    close(padded[1:, part], alone)
    close(padded[0], logits(model, ids)[0])


@pytest.mark.parametrize("kind", ["boolean", "float"])
def test_a_mask_of_four_axes_is_added_to_causality(model, ids, kind):
    """Tokens that a query may not see change nothing for it; later ones never do."""
    allowed = np.ones((1, 1, 9, 9), bool)
    allowed[..., 7, 2] = False
    mask = allowed if kind == "boolean" else np.where(allowed, 0.0, -np.inf)
    before = logits(model, ids, mask)
    assert np.abs(before - logits(model, ids))[:, 7].max() > 1e-4
    other = ids.copy()
    other[:, 8] = other[:, 8] % 29 + 1
    changed = logits(model, other, mask)
    close(changed[:, :8], before[:, :8])
    assert np.abs(changed - before)[:, 8].min(axis=-1).max() > 1e-6


@pytest.mark.parametrize("shape", [(2, 8), (2, 10), (9,), (1, 2, 9)])
def test_masks_of_other_shapes_are_refused(model, ids, shape):
    with pytest.raises(ValueError, match=r"attention_mask has shape .*, expected \(batch, 9\)"):
        model(ids, np.ones(shape, int))


def test_a_float_mask_is_what_it_adds(model, ids, rng):
    """-1 at a key is a weight e times smaller: not masked, and not as it was."""
    mask = np.zeros((1, 1, 9, 9))
    mask[..., 0] = -1.0
    one, other = logits(model, ids, mask), logits(model, ids)
    close(one[:, 0], other[:, 0])  # of a single key the weight is 1 either way
    assert np.abs(one - other)[:, 1:4].max() > 1e-4


def test_positions_count_in_their_distances(model, ids):
    close(logits(model, ids, position_ids=np.arange(40, 49)), logits(model, ids))
    close(logits(model, ids, position_ids=np.arange(9)[None]), logits(model, ids))
    stretched = logits(model, ids, position_ids=2 * np.arange(9))
    assert np.abs(stretched - logits(model, ids)).max() > 1e-3
    B, T = ids.shape
    for shape in ((T - 1,), (1, T + 1), (B + 1, T), (T, B), (1, B, T)):
        told = str(shape if len(shape) > 1 else (1, *shape))
        with pytest.raises(ValueError, match=rf"position_ids have shape {re.escape(told)}, expe"):
            model(ids, position_ids=np.zeros(shape, int))


def test_a_window_of_one_layer_ends_where_it_ends(ids):
    """Query 6 sees 3, 4, 5 and itself."""
    model = make(num_hidden_layers=1, **{**WINDOW, "max_window_layers": 0})
    before = logits(model, ids)
    for changed, sees in ((2, False), (3, True)):
        other = ids.copy()
        other[:, changed] = other[:, changed] % 29 + 1
        difference = np.abs(logits(model, other) - before)[:, 6].max()
        assert (difference > 1e-6) == sees


def test_which_layers_have_a_window():
    types = tq.Qwen2Config(**{**CONFIG, **WINDOW}).layer_types
    assert types == ["full_attention", "sliding_attention", "sliding_attention"]
    assert tq.Qwen2Config(**CONFIG).layer_types == ["full_attention"] * 3


# ---------------------------------------------------------------------------------------------
# The cache
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [(8, 1), (1,) * 9, (3, 4, 2)])
def test_piece_by_piece(model, ids, pieces):
    whole, cache, start = logits(model, ids), KVCache(3, capacity=2), 0
    for n in pieces:
        with tq.no_grad():
            out = model(ids[:, start : start + n], past_key_values=cache, use_cache=True)
        assert out.past_key_values is cache
        close(out.logits.data, whole[:, start : start + n])
        start += n
        assert [cache.get_seq_length(layer) for layer in range(3)] == [start] * 3


def test_cropped_and_written_again(model, ids):
    cache = KVCache(3)
    logits(model, ids, past_key_values=cache)
    cache.crop(5)
    other = ids[:, 5:] % 29 + 1
    expected = logits(model, np.concatenate([ids[:, :5], other], 1))
    close(logits(model, other, past_key_values=cache), expected[:, 5:])
    cache.crop(99)
    assert cache.get_seq_length() == 9


def test_left_padding_and_a_cache(model, ids):
    mask = np.ones_like(ids)
    mask[1, :4] = 0
    cache = KVCache(3)
    logits(model, ids[:, :7], mask[:, :7], past_key_values=cache)
    last = logits(model, ids[:, 7:], mask, past_key_values=cache)
    close(last[1:], logits(model, ids[1:, 4:])[:, -2:])
    with pytest.raises(ValueError, match=r"attention_mask has shape \(2, 1\), expected"):
        logits(model, ids[:, :1], mask[:, :1], past_key_values=cache)


def test_bytes_of_a_cache(model, ids):
    cache = KVCache(3, capacity=100)
    logits(model, ids, past_key_values=cache)
    assert cache.nbytes() == 2 * 3 * 2 * 2 * 9 * 4 * 8  # K and V, layers, rows, heads, tokens, D


# ---------------------------------------------------------------------------------------------
# What is asked for
# ---------------------------------------------------------------------------------------------


def test_hidden_states_and_attentions(model, ids):
    out = model(ids, output_hidden_states=True, output_attentions=True)
    body = model.model
    assert len(out.hidden_states) == 4 and len(out.attentions) == 3
    np.testing.assert_array_equal(out.hidden_states[0].data, body.embed_tokens.weight.data[ids])
    close(model.lm_head(out.hidden_states[-1]).data, out.logits.data)
    close(out.logits.data, logits(model, ids))
    for layer, weights in enumerate(out.attentions):
        assert weights.shape == (2, 4, 9, 9)
        close(weights.data.sum(-1), np.ones((2, 4, 9)))
        assert not np.triu(weights.data, 1).any()
        sliding = model.config.layer_types[layer] == "sliding_attention"
        assert np.tril(weights.data, -4).any() != sliding
    plain = model(ids)
    assert plain.hidden_states is plain.attentions is plain.past_key_values is None


def test_logits_to_keep(model, ids):
    close(logits(model, ids, logits_to_keep=2), logits(model, ids)[:, -2:])


def test_the_loss_is_of_the_next_token(model, ids):
    labels = ids.copy()
    labels[0, 4] = labels[1, 0] = -100  # the first is nobody's next token
    z = logits(model, ids)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    losses = [-np.log(p[b, t, ids[b, t + 1]]) for b in range(2) for t in range(8)
              if (b, t + 1) != (0, 4)]  # fmt: skip
    assert len(losses) == 15
    for options in ({}, {"skip_logits": True}):
        out = model(ids, labels=labels, **options)
        assert out.loss.item() == pytest.approx(np.mean(losses), rel=1e-9)
        assert (out.logits is None) == bool(options)
        out = model(ids, labels=labels, num_items_in_batch=60, **options)
        assert out.loss.item() == pytest.approx(np.sum(losses) / 60, rel=1e-9)


def gradients(model, ids, **options):
    loss = model(ids, labels=ids, **options).loss
    return tq.grad(loss, list(model.parameters()))


def test_every_way_to_the_loss_has_one_gradient(model, ids):
    expected = gradients(model, ids)
    model.gradient_checkpointing_enable()
    try:
        again = gradients(model, ids)
    finally:
        model.gradient_checkpointing_enable(False)
    for a, b, c in zip(expected, again, gradients(model, ids, skip_logits=True), strict=True):
        close(a, b)
        close(a, c)


def test_a_tied_table_gets_both_gradients(ids):
    model = make(tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    weight = model.lm_head.weight
    found = tq.grad(model(ids, labels=ids).loss, weight)
    apart = make()
    apart.load_state_dict(model.state_dict())
    loss = apart(ids, labels=ids).loss
    table, head = tq.grad(loss, [apart.model.embed_tokens.weight, apart.lm_head.weight])
    close(found, table + head)
    assert np.abs(table).max() > 1e-4 and np.abs(head).max() > 1e-4


# ---------------------------------------------------------------------------------------------
# Heads of classes
# ---------------------------------------------------------------------------------------------


def test_a_text_is_classified_at_its_last_token(ids):
    model = make("Qwen2ForSequenceClassification", num_labels=3)
    ids[0, 6:] = 0  # padded on the right
    ids[1, :4] = 0  # on the left
    found = logits(model, ids, (ids != 0).astype(int))
    close(found[:1], logits(model, ids[:1, :6]))
    close(found[1:], logits(model, ids[1:, 4:]))
    out = model(ids, (ids != 0).astype(int), labels=np.array([2, 0]))
    p = np.exp(found) / np.exp(found).sum(-1, keepdims=True)
    assert out.loss.item() == pytest.approx(-np.log([p[0, 2], p[1, 0]]).mean())


def test_a_batch_needs_a_padding_token_and_classes_need_two(ids):
    model = make("Qwen2ForSequenceClassification", pad_token_id=None)
    assert logits(model, ids[:1]).shape == (1, 2)
    with pytest.raises(ValueError, match="needs pad_token_id"):
        model(ids)
    single = make("Qwen2ForSequenceClassification", num_labels=1)
    with pytest.raises(ValueError, match="num_labels is 1"):
        single(ids, labels=np.array([0, 0]))


def test_tokens_are_classified_one_by_one(ids):
    model = make("Qwen2ForTokenClassification", num_labels=3, classifier_dropout=0.5)
    states = model.model(ids).last_hidden_state
    expected = states.data @ model.score.weight.data.T + model.score.bias.data
    close(logits(model, ids), expected)
    assert np.abs(model.train()(ids).logits.data - expected).max() > 1e-3
    labels = np.where(ids % 2, 1, -100)
    p = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    found = model.eval()(ids, labels=labels).loss.item()
    assert found == pytest.approx(-np.log(p[..., 1][ids % 2 == 1]).mean())


def test_attention_dropout_is_for_training_alone(ids):
    model = make(attention_dropout=0.5)
    close(logits(model, ids), logits(model, ids))
    model.train()
    assert np.abs(logits(model, ids) - logits(model, ids)).max() > 1e-4


def test_labels_are_as_many_as_their_names():
    values = {"model_type": "qwen2", **CONFIG, "id2label": {"0": "a", "1": "b", "2": "c"}}
    config = tq.AutoConfig.from_dict(values)
    assert config.num_labels == 3
    with pytest.raises(ValueError, match="num_labels is 2 and id2label names 3; say one"):
        tq.AutoConfig.from_dict({**values, "num_labels": 2})
    other = replace(config, num_labels=5)  # a new head, whose labels have no names yet
    assert other.num_labels == 5 and "id2label" not in other.extra and "id2label" in config.extra
