"""Generation against hand-computed numbers, a loop without a cache, and properties."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyqwen as tq
from tinyqwen.course.swapping import swap
from tinyqwen.generation import GenerationConfig, TextStreamer, pad_left, sampling
from tinyqwen.models.cache import KVCache
from tinyqwen.models.pretrained import ModelOutput
from tinyqwen.text.tokenizer import Tokenizer

TEXT = "the dog bit the man. 我有一只猫! "


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT * 3], kind="char")


def test_prompts_are_padded_on_the_left_with_what_is_asked_for():
    ids, mask = pad_left([[5, 6, 7], [8], [9, 9]], 4)
    assert ids.tolist() == [[5, 6, 7], [4, 4, 8], [4, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert mask.dtype.kind == ids.dtype.kind == "i"  # 0 and 1, that can be summed up


# -- processors ---------------------------------------------------------------------------------

LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=12).map(
    lambda row: np.array([row, row[::-1]], np.float32)
)


@given(LOGITS, st.floats(0, 0.999))
def test_top_p_keeps_the_smallest_set_that_reaches_p(logits, p):
    kept = np.isfinite(sampling.apply_top_p(logits, p))
    exact = np.exp(logits.astype(np.float64))
    exact /= exact.sum(-1, keepdims=True)
    for probabilities, mask in zip(exact, kept):
        mass, least = probabilities[mask].sum(), probabilities[mask].min()
        assert mass >= p - 1e-6
        assert mask.sum() == 1 or mass - least < p + 1e-6  # without its last, it falls short
        assert (probabilities[~mask] <= least + 1e-7).all()


@given(LOGITS, st.integers(1, 15))
def test_top_k_keeps_k_and_ties(logits, k):
    kept = np.isfinite(sampling.apply_top_k(logits, k))
    for row, mask in zip(logits, kept):
        best = sorted(row, reverse=True)[:k]
        np.testing.assert_array_equal(mask, row >= best[-1])


def test_repetition_penalty_counts_a_token_once_and_no_padding():
    logits = np.array([[2.0, -1.0, 4.0, 0.0]], np.float32)
    out = sampling.apply_repetition_penalty(logits, [[-1, 0, 0, 1, 0, 9]], 2)
    np.testing.assert_array_equal(out, [[1.0, -2.0, 4.0, 0.0]])
    assert out.dtype == np.float32
    np.testing.assert_array_equal(logits, [[2.0, -1.0, 4.0, 0.0]])


def test_thresholds_by_hand():
    even = np.zeros((1, 4), np.float32)  # 1/4 each, exactly
    assert np.isfinite(sampling.apply_top_p(even, 0.75)).sum() == 3
    assert np.isfinite(sampling.apply_top_p(even, 0.76)).sum() == 4
    assert np.isfinite(sampling.apply_min_p(even, 1.0)).sum() == 4


def test_order_by_hand():
    """Of 0.4, 0.3, 0.2, 0.1, top-k 2 leaves 0.57 and 0.43, and then top-p 0.5 the first alone. The
    other way round both would stay. At temperature 1/2 the four are 0.53, 0.3, 0.13, 0.03."""
    logits = np.log(np.array([[0.4, 0.3, 0.2, 0.1]], np.float32))
    nothing = np.array([[-1]])

    def kept(ids=nothing, **settings):
        config = GenerationConfig(do_sample=True, **settings)
        return np.flatnonzero(np.isfinite(sampling.process_logits(logits, ids, config))).tolist()

    assert kept(top_k=2, top_p=0.5) == [0]
    assert kept(top_p=0.5) == [0, 1]
    assert kept(min_p=0.3) == [0, 1, 2]
    assert kept(min_p=0.3, temperature=0.5) == [0, 1]
    assert kept(np.array([[0]]), top_k=1, repetition_penalty=2.0) == [1]  # -0.92 · 2 < -1.2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_processors_keep_the_dtype(dtype):
    logits, half = np.arange(6, dtype=dtype)[None], np.float64(0.5)
    for processor in (sampling.apply_temperature, sampling.apply_top_p, sampling.apply_min_p):
        assert processor(logits, half).dtype == dtype
    assert sampling.apply_top_k(logits, np.int64(2)).dtype == dtype
    assert sampling.apply_repetition_penalty(logits, np.array([[1]]), half).dtype == dtype


def test_samples_follow_the_distribution():
    probabilities = np.array([0.5, 0.0, 0.3, 0.15, 0.05, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.log(np.tile(probabilities, (20000, 1))).astype(np.float32) + 7
    u = np.random.default_rng(0).random(20000)
    counts = np.bincount(sampling.sample_next(logits, u), minlength=6)
    assert counts[1] == counts[5] == 0
    expected = 20000 * probabilities[[0, 2, 3, 4]]
    chi_square = ((counts[[0, 2, 3, 4]] - expected) ** 2 / expected).sum()
    assert chi_square < 16.3  # exceeded once in a thousand seeds, at 3 degrees of freedom


def test_extreme_draws_stay_inside_the_distribution():
    logits = np.array([[-np.inf, 0, 1, -np.inf], [-np.inf, -np.inf, 5, -np.inf]], np.float32)
    np.testing.assert_array_equal(sampling.sample_next(logits, np.zeros(2)), [1, 2])
    np.testing.assert_array_equal(sampling.sample_next(logits, np.full(2, 1 - 2**-53)), [2, 2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_no_sample_from_nothing(bad):
    logits = np.array([[0.0, 1.0], [bad, bad]])
    with pytest.raises(ValueError, match="no distribution"):
        sampling.sample_next(logits, np.full(2, 0.5))


# -- the loop -----------------------------------------------------------------------------------


def greedy_without_cache(model, prompt, new):
    """The definition: the whole text through the model, the best last token appended."""
    ids = list(prompt)
    with tq.no_grad():
        for _ in range(new):
            ids.append(int(model(np.array([ids])).logits.data[0, -1].argmax()))
    return ids


PROMPTS = [[3, 1, 4, 1, 5, 9, 2], [6], [5, 3, 5]]


@pytest.mark.parametrize("use_cache", [True, False])
def test_padded_batch_equals_each_prompt_alone(model, use_cache):
    ids, mask = pad_left(PROMPTS, 0)
    out = model.generate(ids, 30, attention_mask=mask, use_cache=use_cache)
    assert out.shape == (3, 7 + 30)
    assert out.dtype == np.int64
    for row, prompt in zip(out, PROMPTS):
        expected = greedy_without_cache(model, prompt, 30)
        assert row[7 - len(prompt) :].tolist() == expected


def test_penalty_does_not_count_padding(model):
    alone = [model.generate([prompt], 20, repetition_penalty=5.0)[0] for prompt in PROMPTS]
    pad = int(alone[1][1])  # what the short prompt continues with, if it is not penalized
    ids, mask = pad_left(PROMPTS, pad)
    out = model.generate(ids, 20, attention_mask=mask, repetition_penalty=5.0)
    for row, expected in zip(out, alone):
        np.testing.assert_array_equal(row[-len(expected) :], expected)


def test_cached_logits_equal_uncached(model):
    ids = np.random.default_rng(1).integers(0, 30, (2, 40))
    with tq.no_grad():
        full = model(ids).logits.data
        past = KVCache(2, capacity=40)
        parts = [
            model(ids[:, a:b], past_key_values=past).logits.data
            for a, b in [(0, 7), *((i, i + 1) for i in range(7, 40))]
        ]
    assert np.abs(np.concatenate(parts, 1) - full).max() < 1e-5 * np.abs(full).max()


class Spy:
    """Stands in for model.forward and notes what it is given."""

    def __init__(self, model, monkeypatch):
        self.calls, forward = [], model.forward

        def noted(input_ids, position_ids, past_key_values, **options):
            out = forward(
                input_ids, position_ids=position_ids, past_key_values=past_key_values, **options
            )
            self.calls.append((input_ids.copy(), position_ids, past_key_values, out.logits))
            return out

        monkeypatch.setattr(model, "forward", noted)


def test_every_token_goes_through_the_model_once(model, monkeypatch):
    spy = Spy(model, monkeypatch)
    ids, mask = pad_left(PROMPTS, 0)
    model.generate(ids, 20, attention_mask=mask)
    assert [call[0].shape for call in spy.calls] == [(3, 7)] + [(3, 1)] * 19
    assert {call[3].shape for call in spy.calls} == {(3, 1, 30)}  # logits of one position only
    assert {type(call[3]) for call in spy.calls} == {np.ndarray}  # nothing on the tape
    assert spy.calls[-1][2].capacity == 27  # allocated once: growing would have doubled it


@pytest.mark.parametrize("scores", [1, 2 * 4 * 9 * 2, 2 * 4 * 9 * 4])  # pieces of 1, 2, 4 tokens
def test_a_long_prompt_is_read_in_pieces(model, monkeypatch, scores):
    prompts = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [11, 12, 13]]
    ids, mask = pad_left(prompts, 0)
    whole = model.generate(ids, 6, attention_mask=mask)
    lengths, forward = [], type(model).forward

    @functools.wraps(forward)
    def watched(self, input_ids, **options):
        lengths.append(input_ids.shape[1])
        return forward(self, input_ids, **options)

    monkeypatch.setattr(type(model), "forward", watched)
    monkeypatch.setattr("tinyqwen.generation.step.SCORES", scores)
    np.testing.assert_array_equal(model.generate(ids, 6, attention_mask=mask), whole)
    size = max(1, scores // (2 * 4 * 9))
    assert sum(lengths[:-5]) == 9 and max(lengths) == size and lengths[-5:] == [1] * 5


@pytest.mark.parametrize("use_cache", [True, False])
def test_positions_count_tokens_and_not_padding(model, monkeypatch, use_cache):
    """RoPE cannot show a wrong offset in its logits, so look at the positions themselves."""
    spy = Spy(model, monkeypatch)
    ids, mask = pad_left(PROMPTS, 0)
    model.generate(ids, 3, attention_mask=mask, use_cache=use_cache)
    first, last = spy.calls[0][1], spy.calls[-1][1]
    np.testing.assert_array_equal(
        first, [[0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 2]]
    )
    np.testing.assert_array_equal(last[:, -1], [8, 2, 4])


def test_each_row_draws_for_itself(model):
    """Of six rows of 5 tokens out of 30 two are the same in one of a million draws."""
    options = {"do_sample": True, "temperature": 50.0, "seed": 0}
    for ids, times in (([[3, 4]], 6), ([[3, 4]] * 6, 1)):
        rows = model.generate(ids, 5, num_return_sequences=times, **options)
        assert len({tuple(row) for row in rows.tolist()}) == 6


def test_rows_end_at_eos_and_are_padded(model):
    free = model.generate([[3, 1], [4, 1]], 20)
    eos = int(free[0, 9])
    stop = [int(np.flatnonzero(row[2:] == eos)[0]) if eos in row[2:] else 99 for row in free]
    out = model.generate([[3, 1], [4, 1]], 20, eos_token_id=eos, pad_token_id=29)
    for row, whole, end in zip(out, free, stop):
        np.testing.assert_array_equal(row[: 3 + end], whole[: 3 + end][: len(row)])
        assert (row[3 + end :] == 29).all()
    one = model.generate([[3, 1]], 20, eos_token_id=[eos, 28])
    assert one.shape[1] == 3 + stop[0] and one[0, -1] == eos


def test_seeds(model):
    options = {"max_new_tokens": 20, "do_sample": True, "temperature": 3.0}
    prompt = [[3, 1, 4]]
    first = model.generate(prompt, seed=1, **options)
    np.testing.assert_array_equal(first, model.generate(prompt, seed=1, **options))
    assert (first != model.generate(prompt, seed=2, **options)).any()
    tq.manual_seed(5)
    drawn = model.generate(prompt, **options)
    assert (drawn != model.generate(prompt, **options)).any()
    tq.manual_seed(5)
    np.testing.assert_array_equal(drawn, model.generate(prompt, **options))


def test_temperature_zero_and_top_k_one_are_greedy(model):
    greedy = model.generate([[3, 1, 4]], 20)
    for options in ({"temperature": 0}, {"temperature": 0.0, "top_p": 0.5}, {"top_k": 1}):
        out = model.generate([[3, 1, 4]], 20, do_sample=True, **options)
        np.testing.assert_array_equal(out, greedy)


def test_generation_config_of_the_checkpoint(model, monkeypatch):
    greedy = model.generate([[3, 1, 4]], 20)
    stored = {"do_sample": True, "temperature": 5.0, "max_new_tokens": 8, "top_p": None}
    monkeypatch.setattr(model, "generation_config", stored | {"foreign": 1}, raising=False)
    sampled = model.generate([[3, 1, 4]], seed=0)
    assert sampled.shape == (1, 11)
    assert (sampled != greedy[:, :11]).any()
    np.testing.assert_array_equal(model.generate([[3, 1, 4]], do_sample=False), greedy[:, :11])
    monkeypatch.setattr(model.config, "eos_token_id", int(greedy[0, 5]))
    assert model.generate([[3, 1, 4]], do_sample=False).shape == (1, 6)
    assert model.generate([[3, 1, 4]], do_sample=False, eos_token_id=[]).shape == (1, 11)


def test_as_many_tokens_as_fit(model):
    assert model.generate([[3] * 60]).shape == (1, 64)
    assert model.generate([[3] * 60], 4).shape == (1, 64)


def test_refusals_come_before_any_work(model, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("the model ran")

    monkeypatch.setattr(model, "forward", forbidden)
    cases = [
        ("prompt of 60 tokens and 5 new ones .* max_position_embeddings 64", [[3] * 60], {"n": 5}),
        ("prompt of 65 tokens and 1 new ones", [[3] * 65], {}),
        ("input_ids must be", [3, 1], {}),
        ("input_ids must be", [[3, 1], [4]], {}),
        ("input_ids must be", [[]], {}),
        ("attention_mask has shape", [[3, 1]], {"attention_mask": [[1, 1, 1]]}),
        ("row 1 .* ends in padding", [[3, 1], [4, 0]], {"attention_mask": [[1, 1], [1, 0]]}),
        ("row 0 .* ends in padding", [[3, 0]], {"pad_token_id": 0}),
        ("max_new_tokens must be a positive integer, not 0", [[3]], {"n": 0}),
        ("temperature must be", [[3]], {"temperature": -1.0}),
        ("temperature must be", [[3]], {"temperature": float("nan")}),
        ("top_k must be a positive integer, or 0 for all tokens, not 2.5", [[3]], {"top_k": 2.5}),
        ("top_p must be a number from 0 to 1, not 1.5", [[3]], {"top_p": 1.5}),
        ("min_p must be", [[3]], {"min_p": "much"}),
        ("repetition_penalty must be a number above 0", [[3]], {"repetition_penalty": 0}),
        ("eos_token_id must be a token id", [[3]], {"eos_token_id": "end"}),
        ("eos_token_id must be a token id", [[3]], {"eos_token_id": [1, None]}),
        ("do_sample must be true or false", [[3]], {"do_sample": "yes"}),
        ("need the tokenizer", [[3]], {"stop_strings": "x"}),
        ("not empty", [[3]], {"stop_strings": [""]}),
    ]
    for message, ids, options in cases:
        with pytest.raises(ValueError, match=message):
            model.generate(ids, options.pop("n", None), **options)


def test_token_ids_outside_the_vocabulary(model):
    with pytest.raises(ValueError, match="token id 30 is out of range"):
        model.generate([[3, 30]], 4)


def test_damaged_weights(model, monkeypatch):
    monkeypatch.setattr(model.model.norm.weight, "data", np.full(32, np.nan, np.float32))
    with pytest.raises(ValueError, match="NaN"):
        model.generate([[3]], 4)


def test_defaults_are_those_of_the_contract():
    config = GenerationConfig()
    assert (config.do_sample, config.temperature, config.repetition_penalty) == (False, 1.0, 1.0)
    assert config.top_k is config.top_p is config.min_p is None
    assert GenerationConfig(top_k=0).top_k is None
    assert GenerationConfig(eos_token_id=[7, 8]).pad_token_id == 7


# -- text ---------------------------------------------------------------------------------------


class Script:
    """A model's forward that says the given tokens, whatever it is asked."""

    def __init__(self, model, tokens, monkeypatch):
        tokens = np.atleast_2d(tokens)

        def forward(**options):
            step = self.step
            self.step += 1
            return ModelOutput(logits=tq.Tensor(np.eye(30)[tokens[:, step]][:, None]))

        self.step = 0
        monkeypatch.setattr(model, "forward", forward)


def test_stop_strings_end_each_row_where_its_text_completes_one(model, tokenizer, monkeypatch):
    said = [tokenizer.encode(text) for text in ("the dog bit", "an bit the ", "dog dog dog")]
    Script(model, [ids[:11] for ids in said], monkeypatch)
    ids, mask = pad_left([tokenizer.encode(text) for text in ("the man. ", "the m", "bit")], 20)
    out = model.generate(
        ids, 11, attention_mask=mask, pad_token_id=20, tokenizer=tokenizer,
        stop_strings=["dog b", "man", "bit"],
    )  # fmt: skip
    new = [tokenizer.decode([i for i in row if i != 20]) for row in out[:, ids.shape[1] :]]
    # "man" is finished in the middle of the prompt's word; "bit" that stands in a prompt is past.
    assert new == ["the dog b", "an", "dog dog dog"]


class Notes:
    def __init__(self):
        self.got, self.ended = [], 0

    def put(self, ids):
        assert not self.ended
        self.got.append(np.array(ids))

    def end(self):
        self.ended += 1


def test_streamer_gets_prompts_then_tokens(model):
    notes = Notes()
    out = model.generate([[3, 1], [4, 1]], 6, streamer=notes)
    assert notes.ended == 1
    assert [ids.shape for ids in notes.got] == [(2, 2)] + [(2,)] * 6
    np.testing.assert_array_equal(np.column_stack(notes.got), out)


@pytest.mark.parametrize("skip_prompt", [True, False])
def test_text_streamer_writes_whole_characters(skip_prompt, capsys):
    tokenizer = Tokenizer.train([TEXT], vocab_size=259)  # bytes: 猫 is three tokens
    prompt, ids = tokenizer.encode("dog "), tokenizer.encode("我有一只猫!<|endoftext|>")
    streamer = TextStreamer(tokenizer, skip_prompt=skip_prompt)
    streamer.put(np.array([prompt]))
    seen = []
    for token in ids:
        streamer.put(np.array([token]))
        seen.append(capsys.readouterr().out)
    streamer.end()
    expected = ("" if skip_prompt else "dog ") + "我有一只猫!"
    assert "".join(seen) == expected
    assert streamer.text == expected + "\n"
    assert not any("\ufffd" in text for text in seen)
    with pytest.raises(ValueError, match="single row"):
        TextStreamer(tokenizer).put(np.array([[1], [2]]))


# ---------------------------------------------------------------------------------------------
# A decoding step runs on whatever functions are there
# ---------------------------------------------------------------------------------------------

PARTS = (
    *("linear", "rms_norm", "apply_rope", "swiglu", "embedding"),
    *("scaled_dot_product_attention", "split_heads", "merge_heads"),
)


@pytest.mark.parametrize("name", PARTS)
def test_a_swapped_function_runs_in_cached_decoding(name, model):
    right = getattr(tq.functional, name).raw

    def bent(*args, **options):
        out, vjp = right(*args, **options)
        return np.tanh(out), vjp

    ids = np.array([[3, 14, 15, 9]])
    before = model.generate(ids, 12)
    with swap({name: bent}):
        cached, uncached = (model.generate(ids, 12, use_cache=use) for use in (True, False))
    np.testing.assert_array_equal(cached, uncached)
    assert not np.array_equal(cached, before)
    np.testing.assert_array_equal(model.generate(ids, 12), before)


def test_a_swapped_table_of_angles_is_used(model):
    ids, right = np.array([[3, 14, 15, 9]]), tq.functional.rope_tables
    before = model(ids).logits.data

    def no_angles(positions, dim, theta=10000.0, dtype=np.float32):
        return right(np.zeros_like(positions), dim, theta, dtype)

    with swap({"rope_tables": no_angles}):
        assert not np.allclose(model(ids).logits.data, before)
    np.testing.assert_array_equal(model(ids).logits.data, before)
