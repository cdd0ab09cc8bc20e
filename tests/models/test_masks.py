import numpy as np

import tinyqwen as tq
from tinyqwen.models.masks import (
    causal_mask,
    encoder_decoder_masks,
    packed_mask,
    padding_mask,
)


def test_causal_mask_is_the_lower_triangle():
    mask = causal_mask(4)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, np.tri(4))


def test_the_last_query_is_aligned_with_the_last_key():
    np.testing.assert_array_equal(causal_mask(2, 5), [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(causal_mask(3, 2), [[0, 0], [1, 0], [1, 1]])


def test_a_window_counts_the_query_itself():
    np.testing.assert_array_equal(causal_mask(3, window=2), [[1, 0, 0], [1, 1, 0], [0, 1, 1]])


def test_padding_mask_broadcasts_over_heads_and_queries():
    mask = padding_mask([[0, 1, 1], [1, 1, 1]])
    assert mask.dtype == bool and mask.shape == (2, 1, 1, 3)
    np.testing.assert_array_equal(mask[:, 0, 0], [[0, 1, 1], [1, 1, 1]])


def test_packed_mask_keeps_conversations_apart():
    mask = packed_mask(np.array([[0, 0, 1, -1], [7, 8, 8, 8]]))
    assert mask.dtype == bool and mask.shape == (2, 1, 4, 4)
    first = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(mask[0, 0], first)
    np.testing.assert_array_equal(mask[1, 0], [[1, 0, 0, 0]] + [[0, 1, 1, 1]] * 3)


def test_three_masks_of_an_encoder_decoder():
    """A source of two tokens in three places, a target of two: each by hand."""
    encoder, decoder, cross = encoder_decoder_masks([[1, 1, 0]], [[1, 1]])
    assert [m.shape for m in (encoder, decoder, cross)] == [
        (1, 1, 3, 3),
        (1, 1, 2, 2),
        (1, 1, 2, 3),
    ]
    np.testing.assert_array_equal(encoder[0, 0], [[1, 1, 0]] * 3)
    np.testing.assert_array_equal(decoder[0, 0], [[1, 0], [1, 1]])
    np.testing.assert_array_equal(cross[0, 0], [[1, 1, 0]] * 2)
    assert all(m.dtype == bool for m in (encoder, decoder, cross))


def test_the_three_masks_are_what_marian_makes_of_two():
    """The parts, given the three, compute what the whole does with (B, S) and (B, T)."""
    config = tq.MarianConfig(
        vocab_size=20, hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=16, pad_token_id=0, decoder_start_token_id=0, dropout=0.0,
    )  # fmt: skip
    model, rng = tq.MarianModel(config), np.random.default_rng(0)
    source, target = rng.integers(1, 20, (2, 5)), rng.integers(1, 20, (2, 4))
    source_mask, target_mask = np.ones((2, 5), int), np.ones((2, 4), int)
    source_mask[0, 3:], target_mask[1, 2:] = 0, 0
    whole = model(source, source_mask, target, target_mask).last_hidden_state.numpy()
    encoder, decoder, cross = encoder_decoder_masks(source_mask, target_mask)
    read = model.encoder(source, encoder).last_hidden_state
    parts = model.decoder(target, decoder, read, cross).last_hidden_state.numpy()
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    blind = model.decoder(target, decoder, read, cross & False).last_hidden_state.numpy()
    assert np.abs(blind - whole).max() > 0.001
