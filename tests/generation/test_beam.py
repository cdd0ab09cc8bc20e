"""Beam search, constraints, and several texts for each prompt: by hand, and by their properties."""

import itertools
import math

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.generation import GenerationConfig, pad_left
from tinyqwen.generation.beam import beam_search

PROMPTS = [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5]]


def scripted(table):
    """A step whose next-token probabilities depend on the last token alone: rows of `table`."""
    log = np.log(np.array(table, np.float32))
    return lambda new_ids, rows=None: log[new_ids[:, -1]]


def score(table, first, text, length_penalty):
    steps = itertools.pairwise((first, *text))
    return sum(math.log(table[a][b]) for a, b in steps) / len(text) ** length_penalty


def best_scores(table, first, length, eos, length_penalty):
    """The scores of every text there is, the best first."""
    texts = set()
    for text in itertools.product(range(len(table)), repeat=length):
        texts.add(text[: text.index(eos) + 1] if eos in text else text)
    return sorted((score(table, first, text, length_penalty) for text in texts), reverse=True)


TABLE = [[0.11, 0.52, 0.37], [0.29, 0.33, 0.38], [0.06, 0.87, 0.07]]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -1.0])
def test_a_beam_for_every_text_finds_the_best(penalty):
    """With so many beams that none is dropped, beam search is a search through all texts."""
    config = GenerationConfig(
        num_beams=27, num_return_sequences=5, eos_token_id=0, pad_token_id=9,
        length_penalty=penalty, early_stopping="never",
    )  # fmt: skip
    table = np.pad(np.array(TABLE), ((0, 97), (0, 97)), constant_values=1e-30)
    out = beam_search(scripted(table), np.array([[1], [2]]), 3, lambda scores, ids: scores, config)
    found = [[int(t) for t in row[1:] if t != 9] for row in out]
    assert len({(i // 5, *text) for i, text in enumerate(found)}) == 10
    for first, texts in ((1, found[:5]), (2, found[5:])):
        scores = [score(TABLE, first, text, penalty) for text in texts]
        assert scores == pytest.approx(best_scores(TABLE, first, 3, 0, penalty)[:5])


def test_beam_search_sees_past_the_greedy_choice():
    """From 0, 1 is likelier (0.52 to 0.37), but 2 is followed by a sure token (0.87 to 0.38)."""
    ids, nothing = np.array([[0]]), lambda scores, ids: scores
    table = np.pad(np.array(TABLE), ((0, 9), (0, 9)), constant_values=1e-30)
    for beams, best in ((2, [0, 2, 1]), (1, [0, 1, 2])):
        out = beam_search(scripted(table), ids, 2, nothing, GenerationConfig(num_beams=beams))
        assert out.tolist() == [best]


def test_early_stopping_by_hand():
    """From 0 a text ends at once (probability 0.6) or goes on (0.4) with what is all but sure. At
    length penalty 1, ln 0.6 = -0.51 for one token; ln 0.4 / n for n tokens is better from 2 on."""
    table = [[1e-9, 0.6, 0.4 - 1e-9, 1e-9], [0.25] * 4, [1e-9, 1e-9, 1 - 3e-9, 1e-9], [0.25] * 4]
    lengths = {}
    for early in (True, False, "never"):
        config = GenerationConfig(num_beams=1, eos_token_id=1, early_stopping=early)
        out = beam_search(scripted(table), np.array([[0]]), 4, lambda scores, ids: scores, config)
        lengths[early] = out.shape[1] - 1
    # At once; the best unfinished is worse now (ln 0.4 < ln 0.6); but it could become better.
    assert lengths == {True: 1, False: 1, "never": 4}


@pytest.mark.parametrize("use_cache", [True, False])
def test_beams_of_a_padded_batch_are_those_of_each_prompt_alone(model, use_cache):
    ids, mask = pad_left(PROMPTS, 0)
    options = {"num_beams": 3, "num_return_sequences": 2, "use_cache": use_cache}
    out = model.generate(ids, 10, attention_mask=mask, **options)
    assert out.shape == (6, 17)
    for i, prompt in enumerate(PROMPTS):
        alone = model.generate([prompt], 10, num_beams=3, num_return_sequences=2)
        np.testing.assert_array_equal(out[2 * i : 2 * i + 2, 7 - len(prompt) :], alone)
        assert (alone[0] != alone[1]).any()


def test_beams_score_what_they_say(model):
    """The best text's log-probability, by the model in one piece, beats the greedy text's."""

    def log_probability(row):
        logits = model(row[None]).logits.data[0].astype(np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return log_probs[np.arange(2, len(row) - 1), row[3:]].sum()

    with tq.no_grad():
        texts = model.generate([[3, 1, 4]], 8, num_beams=6, num_return_sequences=6)
        scores = [log_probability(row) for row in texts]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > log_probability(model.generate([[3, 1, 4]], 8)[0])


def test_draws_of_one_prompt_follow_each_other(model):
    options = {"do_sample": True, "temperature": 2.0, "seed": 1}
    out = model.generate([[3, 1], [4, 1]], 6, num_return_sequences=3, **options)
    assert out[:, :2].tolist() == [[3, 1]] * 3 + [[4, 1]] * 3
    assert len({tuple(row) for row in out.tolist()}) == 6
    same = model.generate([[3, 1]] * 3 + [[4, 1]] * 3, 6, **options)
    np.testing.assert_array_equal(out, same)


def test_constraints_hold(model):
    free = model.generate([[3, 1]], 20, repetition_penalty=0.5)[0].tolist()
    pairs = list(itertools.pairwise(free))
    assert len(set(pairs)) < len(pairs)  # left alone, it repeats itself
    out = model.generate([[3, 1]], 20, repetition_penalty=0.5, no_repeat_ngram_size=2)[0].tolist()
    pairs = list(itertools.pairwise(out))
    assert len(set(pairs)) == len(pairs)
    word = out[5:7]
    out = model.generate(
        [[3, 1]], 20, repetition_penalty=0.5, no_repeat_ngram_size=2, bad_words_ids=[word, [out[9]]]
    )[0].tolist()
    assert word not in [list(pair) for pair in itertools.pairwise(out)]
    end = model.generate([[3, 1]], 6, forced_eos_token_id=8)
    assert end[0, -1] == 8 and 8 not in end[0, :-1]
    assert model.generate([[3]], 6, forced_bos_token_id=8)[0, 1] == 8


@pytest.mark.parametrize(
    "message, options",
    [
        ("num_beams must be an integer from 1 to 1,000, not 0", {"num_beams": 0}),
        ("num_beams must be an integer from 1 to 1,000, not 5000", {"num_beams": 5000}),
        ("num_beams 16 is beyond reason: .* 32 .* vocabulary has 30", {"num_beams": 16}),
        ("early_stopping must be true, false or 'never'", {"num_beams": 2, "early_stopping": "no"}),
        ("length_penalty must be a number", {"num_beams": 2, "length_penalty": float("inf")}),
        ("draw tokens .* or search", {"num_beams": 2, "do_sample": True}),
        ("3 texts .* num_beams of them, 2", {"num_beams": 2, "num_return_sequences": 3}),
        ("2 texts .* num_beams of them, 1", {"num_return_sequences": 2}),
        ("takes no streamer", {"num_beams": 2, "streamer": object()}),
        ("takes no stop_strings", {"num_beams": 2, "stop_strings": "x"}),
        ("bad_words_ids must be lists of token ids, not 5", {"bad_words_ids": 5}),
        ("bad_words_ids must be lists", {"bad_words_ids": [5]}),
        ("bad_words_ids must be lists of token ids, not of 1.5", {"bad_words_ids": [[1.5]]}),
        ("token 30 is forced or forbidden; the vocabulary has 30", {"bad_words_ids": [[30]]}),
        ("token 99 is forced", {"forced_eos_token_id": [99]}),
        ("max_length 2 leaves no room", {"max_length": 2}),
        ("no_repeat_ngram_size must be a positive integer", {"no_repeat_ngram_size": -1}),
    ],
)  # fmt: skip
def test_refusals_of_beams_and_constraints(model, message, options):
    with pytest.raises(ValueError, match=message):
        model.generate([[3, 1]], **options)


def test_unknown_settings_and_models_that_do_not_write(model):
    with pytest.raises(TypeError, match="no setting 'num_beam'; it knows max_new_tokens, "):
        model.generate([[3]], num_beam=4)
    with pytest.raises(TypeError, match="Qwen2Model does not write"):
        model.model.generate([[3]])
    with pytest.raises(ValueError, match="must be integers"):
        model.generate([[1.9]])


def test_max_length_counts_the_prompt_and_gives_way(model, monkeypatch):
    assert model.generate([[3, 1]], max_length=10).shape == (1, 10)
    monkeypatch.setattr(model, "generation_config", {"max_length": 10, "max_new_tokens": 4}, False)
    assert model.generate([[3, 1]]).shape == (1, 6)
    assert model.generate([[3, 1]], max_length=9).shape == (1, 9)
    monkeypatch.setattr(model, "generation_config", {"max_length": 10})
    assert model.generate([[3, 1]]).shape == (1, 10)
    assert model.generate([[3, 1]], 3).shape == (1, 5)


def test_what_the_checkpoint_asks_for_and_we_lack_is_named_once(model, monkeypatch):
    stored = {"typical_p": 0.9, "diversity_penalty": 0.0, "suppress_tokens": [3], "min_length": 0}
    monkeypatch.setattr(model, "generation_config", stored, raising=False)
    with pytest.warns(UserWarning) as warned:
        model.generate([[3, 1]], 2)
    assert len(warned) == 1
    assert "typical_p, suppress_tokens, which" in str(warned[0].message)


@pytest.mark.parametrize("ends", [[1], [1, 2], [1, 2, 3]])
def test_no_text_goes_on_behind_one_of_several_ends(ends):
    """Each of the ends is likelier than all that goes on: as many candidates are looked at as leave
    num_beams unfinished ones."""
    table = np.full((40, 40), 1e-4)
    table[:, ends], table[:, 4], table[:, 5] = 0.25, 0.02, 0.01
    config = GenerationConfig(
        num_beams=2, num_return_sequences=2, eos_token_id=ends, pad_token_id=9,
        early_stopping="never", length_penalty=9.0,
    )  # fmt: skip
    out = beam_search(scripted(table), np.array([[0]]), 4, lambda scores, ids: scores, config)
    for text in out[:, 1:].tolist():
        text = [token for token in text if token != 9]
        assert not set(text[:-1]) & set(ends) and len(text) == 4


def test_an_end_that_is_not_among_the_best_beams_ends_nothing():
    """With one beam that is greedy search: the end is always the second choice."""
    table = np.full((20, 20), 1e-4)
    table[:, 2], table[:, 1] = 0.5, 0.4
    for early in (True, False, "never"):
        config = GenerationConfig(num_beams=1, eos_token_id=1, pad_token_id=9,
                                  early_stopping=early, length_penalty=0.0)  # fmt: skip
        out = beam_search(scripted(table), np.array([[0]]), 3, lambda scores, ids: scores, config)
        assert out.tolist() == [[0, 2, 2, 2]]


def test_as_many_beams_as_the_vocabulary_can_tell_apart(model):
    assert model.generate([[3, 1]], 2, num_beams=15).shape == (1, 4)  # 2 · 15 of 30 tokens


def test_where_short_texts_are_preferred_the_next_token_is_the_best_hope():
    """At length penalty -1 a score is multiplied by the length. After two tokens two texts have
    ended, [1] at ln 0.3 and [3, 1] at 2 ln 0.2; [2, 4] goes on, and [2, 4, 1] has 3 ln 0.5, which
    is better than the second; with all 8 tokens it could not be."""
    table = np.full((20, 20), 1e-9)
    table[0, 1:4] = 0.3, 0.5, 0.2
    table[2, 4] = table[3, 1] = table[4, 1] = 1.0
    config = GenerationConfig(
        num_beams=2, num_return_sequences=2, eos_token_id=1, pad_token_id=9,
        early_stopping="never", length_penalty=-1.0,
    )  # fmt: skip
    out = beam_search(scripted(table), np.array([[0]]), 8, lambda scores, ids: scores, config)
    assert [[t for t in row if t != 9] for row in out[:, 1:].tolist()] == [[1], [2, 4, 1]]
