"""Writing with an encoder-decoder: what needs no other library to be known."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.models.cache import KVCache

SIZES = {
    **{"vocab_size": 30, "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2},
    **{"encoder_ffn_dim": 24, "decoder_layers": 2, "max_position_embeddings": 12, "init_std": 0.6},
    **{"activation_function": "relu", "scale_embedding": True, "forced_eos_token_id": None},
    **{"pad_token_id": 29, "decoder_start_token_id": 29, "eos_token_id": None},
}


@pytest.fixture(scope="module")
def model():
    tq.manual_seed(3)
    return tq.MarianMTModel(tq.MarianConfig(**SIZES)).eval()


SOURCES = np.array([[3, 14, 15, 9, 2], [6, 5, 3, 29, 29]])
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def written(model, source, new):
    """The definition: everything again for each token, the likeliest appended."""
    ids = [29]
    with tq.no_grad():
        for _ in range(new):
            logits = model([source], decoder_input_ids=[ids]).logits.data
            ids.append(int(logits[0, -1].argmax()))
    return ids


@pytest.mark.parametrize("use_cache", [True, False])
def test_each_source_alone_without_padding_or_cache(model, use_cache):
    out = model.generate(SOURCES, 12, attention_mask=MASK, use_cache=use_cache)
    for row, source, mask in zip(out, SOURCES, MASK):
        assert row.tolist() == written(model, source[mask == 1].tolist(), 12)


def test_beside_a_loss_are_logits_unless_declined(model):
    labels = np.array([[4, 5, -100], [6, 7, 8]])
    out = model(SOURCES, MASK, labels=labels)
    assert out.logits.shape == (2, 3, 30) and not model.final_logits_bias.data.any()
    short = model(SOURCES, MASK, labels=labels, skip_logits=True)
    assert short.logits is None and short.loss.item() == pytest.approx(out.loss.item(), rel=1e-5)


@pytest.mark.parametrize("use_cache", [True, False])
def test_beams_of_a_batch_are_those_of_each_source(model, use_cache):
    options = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 9}
    out = model.generate(SOURCES, attention_mask=MASK, use_cache=use_cache, **options)
    for i in range(2):
        alone = model.generate(SOURCES[i : i + 1, : MASK[i].sum()], **options)
        np.testing.assert_array_equal(out[2 * i : 2 * i + 2], alone)


def test_the_source_is_read_once(model, monkeypatch):
    """Its states, and in each layer its keys and values, which the beams of a source share."""
    projections = [layer.encoder_attn.k_proj for layer in model.model.decoder.layers]
    seen = []
    for module in (model.model.encoder, *projections):
        forward = module.forward

        def noted(x, *more, forward=forward, **options):
            seen.append(np.shape(x)[:2])
            return forward(x, *more, **options)

        monkeypatch.setattr(module, "forward", noted)
    model.generate(SOURCES, 8, attention_mask=MASK, num_beams=3)
    assert seen == [(2, 5)] * 3


def test_as_many_tokens_as_there_are_positions(model):
    assert model.generate(SOURCES[:1]).shape == (1, 1 + 12)  # the last one is never read
    with pytest.raises(ValueError, match="13 new ones do not fit"):
        model.generate(SOURCES[:1], 13)
    with pytest.raises(ValueError, match="a prompt of 13 tokens"):
        model.generate(np.ones((1, 13), int))


def test_source_positions_are_sines_then_cosines(model):
    table = model.model.encoder.embed_positions.weight.data
    angles = np.arange(12)[:, None] / 10000 ** (np.arange(8) / 8)
    np.testing.assert_allclose(
        table, np.concatenate([np.sin(angles), np.cos(angles)], 1), atol=1e-6
    )
    assert not model.model.encoder.embed_positions.weight.requires_grad


def test_the_base_model_of_the_paper():
    """Vaswani et al. 2017, table 3: 65 million, with a table for 37,000 tokens. The sum by hand:
    four products of an attention, two of a feed-forward network, their biases, the norms."""
    C, F = 512, 2048
    attention, feed_forward, norm = 4 * (C * C + C), 2 * C * F + C + F, 2 * C
    layers = 6 * (attention + feed_forward + 2 * norm) + 6 * (
        2 * attention + feed_forward + 3 * norm
    )
    config = tq.MarianConfig(
        vocab_size=37_000, d_model=C, encoder_layers=6, encoder_attention_heads=8,
        encoder_ffn_dim=F, pad_token_id=0, decoder_start_token_id=0,
    )  # fmt: skip
    with tq.nn.empty_parameters():
        model = tq.MarianMTModel(config)
    trained = sum(p.size for p in model.parameters() if p.requires_grad)
    assert trained == layers + 37_000 * C
    assert trained == pytest.approx(65e6, rel=0.03)


def test_reordered_caches():
    """Rows move in place, and may become more; the source's keys and values stay."""
    cache, rng = KVCache(2, capacity=4), np.random.default_rng(0)
    keys = rng.normal(size=(2, 3, 2, 3, 5))  # layers, rows, heads, tokens, size of a head
    for layer in range(2):
        cache.update(layer, keys[layer], -keys[layer])
    source = cache.source(1, lambda: (np.ones(3), np.zeros(3)))
    rooms = list(cache._layers)
    rows, wider = np.array([2, 0, 0]), np.array([0, 0, 1, 1, 2, 2])
    cache.reorder(rows)
    assert all(now is before for now, before in zip(cache._layers, rooms))
    cache.reorder(wider)
    for layer in range(2):
        new = rng.normal(size=(6, 2, 2, 5))  # past the capacity: both layers grow
        ours, values = cache.update(layer, new, -new)
        expected = np.concatenate([keys[layer][rows][wider], new], 2)
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_array_equal(values, -expected)
    assert cache.source(1, lambda: None) is source


def test_caches_grow_by_doubling_and_are_cropped_in_every_layer():
    cache, rng = KVCache(3, capacity=2), np.random.default_rng(0)
    keys = rng.normal(size=(3, 2, 1, 12, 4))
    rooms = set()
    for t in range(9):
        for layer in range(3):
            part = keys[layer][:, :, t : t + 1]
            ours, values = cache.update(layer, part, 2 * part)
            np.testing.assert_array_equal(ours, keys[layer][:, :, : t + 1])
            np.testing.assert_array_equal(values, 2 * keys[layer][:, :, : t + 1])
        rooms.add(cache.capacity)
    assert rooms == {2, 6, 14}  # 2, then twice what is needed: copies of O(1) a token
    assert cache.nbytes() == 2 * 3 * keys[0][:, :, :9].nbytes
    cache.crop(4)
    for layer in range(3):
        assert cache.get_seq_length(layer) == 4
        part = keys[layer][:, :, 4:12]
        ours, _ = cache.update(layer, part, part)
        np.testing.assert_array_equal(ours, keys[layer])
    cache.crop(99)
    assert cache.get_seq_length() == 12
    with pytest.raises(ValueError, match="holds a batch of 2, got one of 1"):
        cache.update(0, keys[0][:1], keys[0][:1])
    with pytest.raises(ValueError, match="holds a batch of 2, got one of 3"):
        cache.update(0, *[np.ones((3, *keys[0].shape[1:]))] * 2)
    assert [cache.get_seq_length(layer) for layer in (0, 1)] == [12, 12]  # and nothing has changed
