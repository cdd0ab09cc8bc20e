"""The line of decoders: at its ends and in between it is the families of `models/`."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.analysis.decoders import CHANGES, Decoder, conv1d_to_linear, line

LINE = line()
SIZES = {
    **{"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"tie_word_embeddings": True},
}
MODERN = {"intermediate_size": 170, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 512, (2, 9))


def shaken(model):
    """Every weight moved: biases from 0, norms from 1."""
    for parameter in model.parameters():
        parameter.data += RNG.normal(0, 0.1, parameter.shape).astype(np.float32)
    return model.eval()


def agree(decoder, model, state):
    decoder.load_state_dict({n: a for n, a in state.items() if n != "lm_head.weight"})
    expected = model(IDS, labels=IDS)
    np.testing.assert_allclose(decoder(IDS).logits.data, expected.logits.data, atol=2e-5)
    assert decoder(IDS, labels=IDS).loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)


def test_it_begins_with_gpt2():
    """With its own weights, under the other names."""
    config = tq.GPT2Config(**SIZES, max_position_embeddings=256, intermediate_size=256)
    model = shaken(tq.GPT2LMHeadModel(config))
    agree(Decoder(LINE["GPT-2"]), model, conv1d_to_linear(model.state_dict()))


@pytest.mark.parametrize(
    "name, config, family",
    [
        ("Qwen2: biases on Q, K, V alone", tq.Qwen2Config, tq.Qwen2ForCausalLM),
        ("Qwen3: none, but norms on Q, K", tq.Qwen3Config, tq.Qwen3ForCausalLM),
        ("+ GQA", tq.LlamaConfig, tq.LlamaForCausalLM),
    ],
)
def test_it_passes_the_families(name, config, family):
    more = {"head_dim": 16}
    if name == "+ GQA":
        more |= {"attention_bias": True, "mlp_bias": True}
    model = shaken(family(config(**SIZES, **MODERN, **more)))
    agree(Decoder(LINE[name]), model, model.state_dict())


def test_each_step_changes_what_it_says():
    configs = list(LINE.values())
    for before, after, changed in zip(configs, configs[1:], list(CHANGES.values())[1:]):
        different = {n for n, value in vars(after).items() if value != vars(before)[n]}
        assert different == set(changed)


@pytest.mark.parametrize("name", LINE)
def test_no_decoder_sees_what_comes(name):
    decoder, ids = shaken(Decoder(LINE[name])), IDS.copy()
    before = decoder(ids).logits.data
    ids[:, 5] += 1
    after = decoder(ids % 512).logits.data
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert not np.allclose(before[:, 5:], after[:, 5:])


def test_names_that_are_no_gpt2s_are_refused():
    with pytest.raises(ValueError, match=r"h\.0\.attn\.q_proj\.weight is no array of a GPT-2"):
        conv1d_to_linear({"h.0.attn.q_proj.weight": np.zeros((2, 2))})


def test_masks_and_the_tied_head_stay_behind():
    state = {"h.0.attn.bias": np.ones((1, 1, 4, 4)), "h.0.attn.masked_bias": np.array(-1e4)}
    state |= {"lm_head.weight": np.ones((3, 2)), "wte.weight": np.ones((3, 2))}
    assert list(conv1d_to_linear(state)) == ["model.embed_tokens.weight"]
