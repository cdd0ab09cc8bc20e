"""Generation at its edges: the last place, the second end token, the shortest text, one bad row."""

from itertools import pairwise

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.generation.constraints import forbid_repeated_ngrams, forbid_words, force_tokens
from tinyqwen.generation.sampling import process_logits
from tinyqwen.generation.settings import GenerationConfig

PROMPT = [[3, 1, 4]]


def ruled_out(scores):
    return [np.flatnonzero(np.isneginf(row)).tolist() for row in scores]


def test_each_of_several_end_tokens_ends_a_text(model):
    free = model.generate(PROMPT, 12)[0].tolist()
    later = [i for i in range(5, 15) if free.index(free[i]) == i]  # first met there
    assert len(later) >= 2
    for end in later[:2]:
        for ids in ([free[end], 29], [29, free[end]], [28, free[end], 29]):
            out = model.generate(PROMPT, 12, eos_token_id=ids)
            assert out.tolist() == [free[: end + 1]]


def test_a_padding_token_is_padding_unless_it_ends_texts(model):
    alone = model.generate([[3, 1]], 6)
    padded = model.generate([[0, 0, 3, 1]], 6, pad_token_id=0)
    np.testing.assert_array_equal(padded[:, 4:], alone[:, 2:])
    as_text = model.generate([[0, 0, 3, 1]], 6, attention_mask=[[1, 1, 1, 1]])
    ends = model.generate([[0, 0, 3, 1]], 6, pad_token_id=0, eos_token_id=[29, 0])
    n = ends.shape[1]
    np.testing.assert_array_equal(ends, as_text[:, :n])
    assert (as_text[:, 4:] != alone[:, 2:]).any()


def test_a_text_may_fill_all_positions_and_no_more(model):
    assert model.generate([[3] * 62], 2).shape == (1, 64)
    assert model.generate([[3] * 63]).shape == (1, 64)
    assert model.generate([[3] * 62], max_length=64).shape == (1, 64)
    for options in ({"max_new_tokens": 3}, {"max_length": 65}):
        with pytest.raises(ValueError, match="do not fit into max_position_embeddings 64"):
            model.generate([[3] * 62], **options)
    with pytest.raises(ValueError, match="max_length 3 leaves no room after a prompt of 3 tokens"):
        model.generate(PROMPT, max_length=3)
    assert model.generate(PROMPT, max_length=4).shape == (1, 4)


def test_padding_takes_no_positions(model):
    """64 positions for the longest text; a row of 70 entries has no more than 62 tokens."""
    ids, mask = np.full((2, 70), 3), np.ones((2, 70), int)
    mask[:, :8] = 0
    assert model.generate(ids, 2, attention_mask=mask).shape == (2, 72)
    with pytest.raises(ValueError, match="a prompt of 62 tokens and 3 new ones"):
        model.generate(ids, 3, attention_mask=mask)


def test_one_row_that_is_no_number_is_enough(model, monkeypatch):
    forward = type(model).forward

    def second_row_is_lost(**options):
        out = forward(model, **options)
        out.logits = np.array(out.logits)
        out.logits[1, -1, 3] = np.nan
        return out

    monkeypatch.setattr(model, "forward", second_row_is_lost)
    with pytest.raises(ValueError, match="logits are NaN"):
        model.generate([[3, 1], [4, 1]], 2)


def test_a_penalty_counts_the_prompt_and_not_its_padding(model):
    options = {"repetition_penalty": 1e6, "max_new_tokens": 8}
    out = model.generate([[3, 1, 4]], **options)[0]
    assert len(set(out.tolist())) == len(out)  # nothing comes twice, nor what was in the prompt
    padded = model.generate([[5, 5, 3, 1, 4]], attention_mask=[[0, 0, 1, 1, 1]], **options)
    np.testing.assert_array_equal(padded[0, 5:], out[3:])


def test_no_ngram_comes_twice(model):
    free = model.generate(PROMPT, 40)[0].tolist()
    pairs = list(pairwise(free))
    assert len(set(pairs)) < len(pairs)  # else this would say nothing
    out = model.generate(PROMPT, 40, no_repeat_ngram_size=2)[0].tolist()
    pairs = list(pairwise(out))
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize(
    "text, n, expected",
    [
        ([5, 5], 2, [5]),  # the whole text is the only pair
        ([5, 6], 2, []),
        ([5], 2, []),
        ([3, 0, 3], 2, [0]),
        ([-1, 2], 1, [2]),  # padding is no token
        ([-1, -1, 2, 4, 2], 2, [4]),
        ([1, 2, 3, 1, 2], 3, [3]),
        ([1, 2, 3, 2], 2, [3]),
        ([1, 2, 3, 9, 2], 3, []),
    ],
)
def test_ngrams_by_hand(text, n, expected):
    scores = np.zeros((1, 10))
    assert ruled_out(forbid_repeated_ngrams(scores, np.array([text]), n)) == [expected]
    assert not np.isneginf(scores).any()


@pytest.mark.parametrize(
    "text, words, expected",
    [
        ([1], [[1, 2]], [2]),  # the word's beginning is all of the text
        ([1], [[0, 1, 2]], []),
        ([0, 1], [[0, 1, 2], [7]], [2, 7]),
        ([1, 0], [[0, 1, 2], [1, 2]], []),
        ([1, 1], [[1, 1, 1], [1, 0]], [0, 1]),
    ],
)
def test_words_by_hand(text, words, expected):
    scores = np.zeros((1, 10))
    assert ruled_out(forbid_words(scores, np.array([text]), words)) == [expected]
    assert not np.isneginf(scores).any()


def test_forced_tokens_by_hand():
    scores = np.arange(8.0).reshape(2, 4)
    forced = force_tokens(scores, [0, 3])
    assert ruled_out(forced) == [[1, 2], [1, 2]] and not forced[:, [0, 3]].any()
    np.testing.assert_array_equal(scores, np.arange(8.0).reshape(2, 4))


@pytest.mark.parametrize(
    "good, bad",
    [
        ({"temperature": 0}, {"temperature": -1e-9}),
        ({"top_p": 0.0}, {"top_p": -0.1}),
        ({"top_p": 1}, {"top_p": 1.01}),
        ({"min_p": 1}, {"min_p": 1.01}),
        ({"top_k": 1}, {"top_k": -1}),
        ({"max_new_tokens": 1}, {"max_new_tokens": 0}),
        ({"num_beams": 1000}, {"num_beams": 1001}),
        ({"num_beams": 1}, {"num_beams": 0}),
        ({"num_beams": 3, "num_return_sequences": 3}, {"num_beams": 3, "num_return_sequences": 4}),
        ({"num_return_sequences": 1}, {"num_return_sequences": 2}),
        ({"num_return_sequences": 9, "do_sample": True}, {"num_return_sequences": 0}),
        ({"eos_token_id": 0}, {"eos_token_id": -1}),
        ({"pad_token_id": 2**31 - 1}, {"pad_token_id": 2**31}),
        ({"repetition_penalty": 1e-9}, {"repetition_penalty": 0}),
        ({"early_stopping": "never"}, {"early_stopping": "always"}),
        ({"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": -1}),
        ({"bad_words_ids": [[0]]}, {"bad_words_ids": [[]]}),
        ({"bad_words_ids": [[0]]}, {"bad_words_ids": [[-1]]}),
        ({"do_sample": True}, {"do_sample": True, "num_beams": 2}),
    ],
)
def test_settings_at_their_limits(good, bad):
    GenerationConfig(**good)
    with pytest.raises(ValueError, match=next(iter(bad)) + "|num_beams"):
        GenerationConfig(**bad)


def test_an_end_token_alone_cannot_be_forbidden():
    config = GenerationConfig(eos_token_id=[3, 4], bad_words_ids=[[3], [5], [3, 4], [4]])
    assert config.bad_words_ids == [[5], [3, 4]]


def test_draws_of_no_heat_are_greedy_and_search_nothing():
    assert GenerationConfig(do_sample=True, temperature=0.0).do_sample is False
    assert GenerationConfig(do_sample=True, temperature=0.1).do_sample is True


def test_what_is_given_wins_over_what_is_stored(model, monkeypatch):
    monkeypatch.setattr(model, "generation_config", {"max_new_tokens": 9, "max_length": 20},
                        raising=False)  # fmt: skip
    assert model.generate(PROMPT).shape == (1, 12)
    assert model.generate(PROMPT, 4).shape == (1, 7)
    assert model.generate(PROMPT, max_length=5).shape == (1, 5)


def test_a_prompt_is_left_alone(model):
    ids = np.array(PROMPT)
    out = model.generate(ids, 3, repetition_penalty=2.0)
    out[...] = 0
    assert ids.tolist() == PROMPT


def test_a_model_that_trains_drops_out_in_one_process(model, monkeypatch):
    """Without a cache and with dropout the texts of two runs differ; nothing hangs."""
    monkeypatch.setattr(model.config, "attention_dropout", 0.9)
    model.train()
    try:
        with tq.no_grad():
            texts = {tuple(model.generate(PROMPT, 12)[0].tolist()) for _ in range(3)}
    finally:
        model.eval()
    assert len(texts) > 1


def test_rows_that_stop_early_need_padding(model):
    tokenizer = tq.Tokenizer.train(["abcdefgh"], kind="char")
    options = {"stop_strings": ["a"], "tokenizer": tokenizer, "max_new_tokens": 2}
    assert model.generate([[3, 1]], **options).shape[0] == 1
    with pytest.raises(ValueError, match="rows that stop early are filled with pad_token_id"):
        model.generate([[3, 1], [4, 1]], **options)
    assert model.generate([[3, 1], [4, 1]], pad_token_id=0, **options).shape[0] == 2


def test_settings_that_stand_for_others():
    assert GenerationConfig(top_k=0).top_k is None
    assert GenerationConfig(no_repeat_ngram_size=0).no_repeat_ngram_size is None
    assert GenerationConfig(eos_token_id=[5, 6]).pad_token_id == 5
    assert GenerationConfig(eos_token_id=5).eos_token_id == [5]
    for name in ("num_beams", "top_k", "temperature", "eos_token_id"):
        with pytest.raises(ValueError, match=f"{name} must be .*, not True"):
            GenerationConfig(**{name: True})


def test_a_long_prompt_of_dynamic_angles_is_read_at_once(monkeypatch):
    """In pieces the first tokens would be rotated as those of a shorter text."""
    tq.manual_seed(0)
    config = tq.Qwen2Config(
        vocab_size=30, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=8,
        initializer_range=0.5, rope_scaling={"rope_type": "dynamic", "factor": 4.0},
    )  # fmt: skip
    model, ids = tq.Qwen2ForCausalLM(config).eval(), [list(range(1, 21))]
    whole = model.generate(ids, 1)
    lengths, forward = [], model.forward

    def watched(input_ids, **more):
        lengths.append(input_ids.shape[1])
        return forward(input_ids, **more)

    monkeypatch.setattr(model, "forward", watched)
    monkeypatch.setattr("tinyqwen.generation.step.SCORES", 1)
    np.testing.assert_array_equal(model.generate(ids, 1), whole)
    assert lengths == [20]


def test_what_a_config_forces_is_forced_where_no_file_says_otherwise(monkeypatch):
    config = tq.MarianConfig(
        vocab_size=30, d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16,
        pad_token_id=29, decoder_start_token_id=29, eos_token_id=3, forced_eos_token_id=7,
    )  # fmt: skip
    model = tq.MarianMTModel(config).eval()
    assert model.generate([[5, 6]], 4)[0, -1] == 7
    free = {"eos_token_id": [], "decoder_start_token_id": 29}
    monkeypatch.setattr(model, "generation_config", free, raising=False)
    assert model.generate([[5, 6]], 4)[0, -1] != 7


def test_positions_begin_at_0_where_they_are_learned():
    """GPT-2's table shows an offset that RoPE does not; with padding beside it, too."""
    tq.manual_seed(1)
    config = tq.GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=12,
                           initializer_range=0.6, eos_token_id=None, pad_token_id=None)  # fmt: skip
    model = tq.GPT2LMHeadModel(config).eval()
    expected = list(PROMPT[0])
    for _ in range(9):
        expected.append(int(model([expected]).logits.data[0, -1].argmax()))
    assert model.generate(PROMPT)[0].tolist() == expected  # and all 12 positions are used
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    padded = model.generate([[9, 9, *PROMPT[0]], [7, 7, *PROMPT[0]]], 7, attention_mask=mask)
    assert padded[0, 2:].tolist() == expected[:10]


def test_padding_is_the_token_that_it_is_for_ngrams(model):
    """As in transformers: two of it before a text are a pair that has been there."""
    config = GenerationConfig(no_repeat_ngram_size=2, pad_token_id=0, eos_token_id=29)
    scores = process_logits(np.zeros((1, 30)), np.array([[-1, -1, 3, 0]]), config)
    assert ruled_out(scores) == [[0, 3]]
    config.pad_token_id = None
    assert ruled_out(process_logits(np.zeros((1, 30)), np.array([[-1, -1, 3, 0]]), config)) == [[]]


def test_a_text_is_256_tokens_where_nobody_says_how_long():
    config = tq.Qwen2Config(vocab_size=8, hidden_size=4, intermediate_size=4, num_hidden_layers=1,
                            num_attention_heads=1, num_key_value_heads=1)  # fmt: skip
    assert tq.Qwen2ForCausalLM(config).eval().generate([[1, 2]]).shape == (1, 258)


def test_an_end_token_ends_a_text_where_stop_strings_are_looked_for(model):
    tokenizer = tq.Tokenizer.train(["abcdefghijklmnopqrstuvwxyz"], kind="char")
    free = model.generate(PROMPT, 12)[0].tolist()
    end = next(i for i in range(5, 15) if free.index(free[i]) == i)
    options = {"stop_strings": ["never to come"], "tokenizer": tokenizer, "pad_token_id": 0}
    out = model.generate(PROMPT, 12, eos_token_id=free[end], **options)
    assert out[0].tolist() == free[: end + 1]
