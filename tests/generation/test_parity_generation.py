"""Generation against transformers: each processor, their order, and whole greedy outputs."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.generation import logits_process as hf  # noqa: E402

import tinyqwen as tq  # noqa: E402
from tinyqwen.generation import GenerationConfig, pad_left, sampling  # noqa: E402

warnings.filterwarnings("ignore", module="transformers")


def logits_of_many_kinds():
    rng = np.random.default_rng(0)
    for V in (1, 2, 7, 512, 5000):
        yield rng.normal(0, 3, (3, V))
        yield rng.normal(0, 0.01, (2, V))
        yield rng.normal(0, 30, (2, V))
        yield rng.integers(-2, 3, (4, V))  # ties
    yield np.zeros((2, 10))  # nothing but ties: cumulative sums land on the threshold itself
    yield np.array([[0.0, -np.inf, 1.0, -np.inf, 0.5]])
    yield np.array([[1e4, -1e4, 0.0, 9999.0]])


LOGITS = [x.astype(np.float32) for x in logits_of_many_kinds()]
PROCESSORS = [
    *((sampling.apply_temperature, hf.TemperatureLogitsWarper, t) for t in (0.1, 0.7, 1.0, 1.3)),
    *((sampling.apply_top_k, hf.TopKLogitsWarper, k) for k in (1, 2, 3, 50, 100_000)),
    *((sampling.apply_top_p, hf.TopPLogitsWarper, p) for p in (0.0, 0.1, 0.5, 0.9, 0.95, 1.0)),
    *((sampling.apply_min_p, hf.MinPLogitsWarper, p) for p in (0.0, 0.05, 0.3, 1.0)),
]


@pytest.mark.parametrize("ours, theirs, value", PROCESSORS)
def test_processor_equals_transformers(ours, theirs, value):
    for logits in LOGITS:
        before = logits.copy()
        expected = theirs(value)(None, torch.from_numpy(logits)).numpy()
        result = ours(logits, value)
        if ours is sampling.apply_top_p and len(np.unique(logits)) < logits.size:
            # Which of equal tokens go is up to torch's sort, which is not stable; how many is not.
            result, expected = np.sort(result), np.sort(expected)
        np.testing.assert_array_equal(result, expected)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("penalty", [0.5, 1.1, 2.0])
def test_repetition_penalty_equals_transformers(penalty):
    rng = np.random.default_rng(1)
    for logits in LOGITS:
        B, V = logits.shape
        ids = rng.integers(0, V, (B, 9))
        padding = rng.integers(0, 9, B)
        theirs = hf.RepetitionPenaltyLogitsProcessor(penalty, torch.from_numpy(padding))
        expected = theirs(torch.from_numpy(ids), torch.from_numpy(logits)).numpy()
        counted = np.where(np.arange(9) < padding[:, None], -1, ids)
        result = sampling.apply_repetition_penalty(logits, counted, penalty)
        np.testing.assert_array_equal(result, expected)
        assert result.dtype == np.float32


SETTINGS = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def models():
    """The same random weights in both; large ones, so that no two tokens come close to a tie."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a model this small a second thread only waits
    config = transformers.Qwen2Config(**SETTINGS, bos_token_id=None, eos_token_id=None)
    theirs = transformers.Qwen2ForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.3 if "norm" in name else 0.4)
    ours = tq.Qwen2ForCausalLM(tq.Qwen2Config(**SETTINGS)).eval()
    ours.load_state_dict({name: p.numpy() for name, p in theirs.state_dict().items()})
    yield ours, theirs
    torch.set_num_threads(threads)


def prompts(B=4, seed=0):
    rng = np.random.default_rng(seed)
    return pad_left([rng.integers(1, 97, n) for n in rng.integers(1, 12, B)], pad_token_id=0)


def theirs_generate(model, ids, mask=None, **options):
    options = {"do_sample": False, "max_new_tokens": 40} | options
    mask = None if mask is None else torch.from_numpy(mask)
    return model.generate(torch.from_numpy(ids), attention_mask=mask, **options).numpy()


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("seed", range(3))
def test_greedy_equals_transformers(models, seed, penalty, use_cache):
    ours, theirs = models
    ids, mask = prompts(seed=seed)
    expected = theirs_generate(theirs, ids, mask, repetition_penalty=penalty, pad_token_id=0)
    result = ours.generate(
        ids, 40, attention_mask=mask, repetition_penalty=penalty, use_cache=use_cache
    )
    np.testing.assert_array_equal(result, expected)
    assert len(np.unique(result[:, ids.shape[1] :])) > 20  # not one token over and over


@pytest.mark.parametrize("pad", [0, None])
def test_rows_end_at_eos_as_in_transformers(models, pad):
    ours, theirs = models
    ids, mask = prompts()
    free = theirs_generate(theirs, ids, mask, pad_token_id=0)
    eos = [int(free[0, 20]), int(free[1, 25]), int(free[2, 16]), int(free[3, 30])]
    for stop in (eos[0], eos):
        expected = theirs_generate(theirs, ids, mask, eos_token_id=stop, pad_token_id=pad)
        result = ours.generate(ids, 40, attention_mask=mask, eos_token_id=stop, pad_token_id=pad)
        np.testing.assert_array_equal(result, expected)
    assert result.shape[1] < free.shape[1]


def test_padding_is_found_by_the_pad_token_as_in_transformers(models):
    ours, theirs = models
    ids, _ = prompts()
    expected = theirs_generate(theirs, ids, pad_token_id=0, repetition_penalty=1.2)
    result = ours.generate(ids, 40, pad_token_id=0, repetition_penalty=1.2)
    np.testing.assert_array_equal(result, expected)


CHAINS = [
    {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1},
    {"temperature": 1.5, "top_p": 0.9, "min_p": 0.1},
    {"top_k": 5, "min_p": 0.02},
    {"temperature": 0.3, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0},
]


@pytest.mark.parametrize("chain", CHAINS)
def test_order_of_processors_equals_transformers(models, chain):
    """The scores that transformers samples from, step by step, are the ones we sample from."""
    _, theirs = models
    ids, mask = prompts()
    torch.manual_seed(0)
    out = theirs.generate(
        torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask),
        do_sample=True,
        max_new_tokens=10,
        pad_token_id=0,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
        **({"top_k": 0} | chain),
    )
    config = GenerationConfig(do_sample=True, **chain)
    for step, (logits, scores) in enumerate(zip(out.logits, out.scores)):
        T = ids.shape[1]
        so_far = out.sequences[:, : T + step].numpy().copy()
        so_far[:, :T][mask == 0] = -1
        result = sampling.process_logits(logits.numpy(), so_far, config)
        np.testing.assert_array_equal(result, scores.numpy())


def test_generation_config_applies_unless_told_otherwise(models):
    ours, theirs = models
    ids, mask = prompts()
    stored = {"repetition_penalty": 1.3, "eos_token_id": [5, 9, 11], "pad_token_id": 0}
    try:
        ours.generation_config = stored
        theirs.generation_config = transformers.GenerationConfig(**stored)
        for options in ({}, {"repetition_penalty": 1.0}, {"eos_token_id": 17}):
            expected = theirs_generate(theirs, ids, mask, **options)
            result = ours.generate(ids, 40, attention_mask=mask, **options)
            np.testing.assert_array_equal(result, expected)
    finally:
        del ours.generation_config
        theirs.generation_config = transformers.GenerationConfig()


# -- beams and constraints ----------------------------------------------------------------------

PAD = 1  # transformers takes a pad_token_id 0 for none, and fills up with the first eos token


BEAMS = [  # how many eos tokens there are, of those that the beams do come upon; options
    (1, {"num_beams": 2}),
    (0, {"num_beams": 3, "num_return_sequences": 2}),
    (4, {"num_beams": 4}),
    (2, {"num_beams": 4, "use_cache": False}),
    (1, {"num_beams": 4, "early_stopping": True}),
    (4, {"num_beams": 3, "early_stopping": True, "length_penalty": 0.5}),
    (2, {"num_beams": 3, "early_stopping": "never", "length_penalty": 2.0}),
    (1, {"num_beams": 4, "early_stopping": "never", "length_penalty": -1.0}),
    (4, {"num_beams": 5, "length_penalty": 0.0, "num_return_sequences": 3}),
    (2, {"num_beams": 4, "length_penalty": 1.7, "num_return_sequences": 4}),
    (1, {"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2}),
    (4, {"num_beams": 4, "bad_words_ids": [[5], [7, 9], [11, 3]], "renormalize_logits": True}),
    (1, {"num_beams": 4, "forced_eos_token_id": 7, "early_stopping": True, "max_new_tokens": 5}),
]


@pytest.mark.parametrize("ends, options", BEAMS, ids=str)
def test_beam_search_equals_transformers(models, ends, options):
    ours, theirs = models
    ids, mask = prompts(seed=ends)
    ids[mask == 0] = PAD
    free = ours.generate(ids, 16, attention_mask=mask, num_beams=4)
    eos = [int(free[i, -n]) for i, n in enumerate((12, 8, 5, 2))][:ends] or None
    options = {"eos_token_id": eos, "pad_token_id": PAD, "max_new_tokens": 16, **options}
    expected = theirs_generate(theirs, ids, mask, **options)
    result = ours.generate(ids, attention_mask=mask, **options)
    np.testing.assert_array_equal(result, expected)


CONSTRAINTS = [
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 3, "repetition_penalty": 0.3},
    {"bad_words_ids": [[i] for i in range(0, 90, 2)] + [[3, 5], [1, 1, 1]]},
    {"forced_eos_token_id": [4, 2]},
    {"renormalize_logits": True, "repetition_penalty": 1.5},
]


@pytest.mark.parametrize("options", CONSTRAINTS, ids=str)
def test_constraints_equal_transformers(models, options):
    ours, theirs = models
    ids, mask = prompts(seed=3)
    expected = theirs_generate(theirs, ids, mask, pad_token_id=0, eos_token_id=2, **options)
    result = ours.generate(ids, 40, attention_mask=mask, pad_token_id=0, eos_token_id=2, **options)
    np.testing.assert_array_equal(result, expected)
