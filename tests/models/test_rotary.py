"""Scaled RoPE and the two spellings of its settings, in numbers that a hand computes."""

import math

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.functional.positions import dynamic_theta, llama3_scale, yarn_scale

TINY = {
    **{"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 10},
}


def test_dynamic_theta():
    assert dynamic_theta(1e4, 4, 2.0, 20, 10) == pytest.approx(9e4)  # (2·2 - 1)^(4/2) = 9
    assert dynamic_theta(1e4, 4, 2.0, 7, 10) == 1e4


def test_yarn_leaves_the_fast_and_divides_the_slow():
    """10 turns at pair 2, 1 turn at pair 4; between them half way."""
    scale = yarn_scale(8, 100.0, 4.0, 2 * math.pi * 100, 10.0, 1.0, truncate=False)
    np.testing.assert_allclose(scale, [1, 1, 1, 0.5 / 4 + 0.5])


@pytest.mark.parametrize(("turns", "scale"), [(10, [1, 0.25]), (40, [1, 0.625])])
def test_llama3_by_the_number_of_turns(turns, scale):
    got = llama3_scale(4, 100.0, 4.0, 2 * math.pi * turns, 2.0, 6.0)
    np.testing.assert_allclose(got, scale)


@pytest.mark.parametrize(
    ("rope", "last", "angle", "size"),
    [
        (None, 9, 9.0, 1.0),
        ({"type": "linear", "factor": 2.0}, 19, 9.5, 1.0),
        ({"rope_type": "dynamic", "factor": 2.0}, 19, 19.0, 1.0),
        ({"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.5}, 19, None, 1.5),
    ],
)
def test_the_last_position_and_the_one_after(rope, last, angle, size):
    model = tq.Qwen2Model(tq.Qwen2Config(**TINY, rope_scaling=rope))
    cos, sin = model.rotary_emb(np.array([[last]]), np.float64)
    np.testing.assert_allclose(cos**2 + sin**2, size**2)
    if angle is not None:
        assert cos[0, 0, 0, 0] == pytest.approx(math.cos(angle))
    with pytest.raises(ValueError, match=f"position {last + 1} is past"):
        model.rotary_emb(np.array([[last + 1]]), np.float64)


@pytest.mark.parametrize("last, theta", [(9, 1e4), (10, 1e4 * 1.2**2), (19, 9e4)])
def test_dynamic_scaling_begins_behind_the_original_length(last, theta):
    """θ (2·n/10 - 1)^(4/2) for the n = last + 1 tokens there are, once they are more than ten."""
    rope = {"rope_type": "dynamic", "factor": 2.0}
    model = tq.Qwen2Model(tq.Qwen2Config(**TINY, rope_scaling=rope))
    cos, _ = model.rotary_emb(np.array([[0, last]]), np.float64)
    np.testing.assert_allclose(cos[0, 0, 1, 1], math.cos(last * theta**-0.5), rtol=1e-12)


def test_rope_scaling_wins_and_a_lost_theta_is_told():
    new = {"model_type": "qwen2", **TINY, "rope_parameters": {"rope_theta": 5e5}}
    assert tq.AutoConfig.from_dict(new).rope_theta == 5e5
    with pytest.warns(UserWarning, match=r"rope_theta 500000.0 is lost"):
        config = tq.AutoConfig.from_dict({**new, "rope_scaling": {"type": "yarn", "factor": 4.0}})
    assert config.rope_theta == 1e4 and config.rope_scaling["rope_type"] == "yarn"
    assert config.max_sequence_length == 40
    assert tq.AutoConfig.from_dict(config.to_dict()) == config


def test_of_two_spellings_the_lost_one_is_told():
    """As transformers chooses: rope_theta within rope_parameters, and rope_type before type."""
    new = {"model_type": "qwen2", **TINY, "rope_parameters": {"rope_theta": 5e5}}
    with pytest.warns(UserWarning, match=r"rope_theta 77.0 is lost: the 500000.0 of rope_param"):
        assert tq.AutoConfig.from_dict({**new, "rope_theta": 77.0}).rope_theta == 5e5
    scaling = {"type": "linear", "rope_type": "dynamic", "factor": 2.0}
    with pytest.warns(UserWarning, match="type 'linear' is lost: rope_type 'dynamic' is used"):
        config = tq.AutoConfig.from_dict({"model_type": "qwen2", **TINY, "rope_scaling": scaling})
    assert config.rope_scaling["rope_type"] == "dynamic"


def test_a_cache_refuses_to_lose_gradients():
    model = tq.Qwen2ForCausalLM(tq.Qwen2Config(**TINY))
    with pytest.raises(ValueError, match="a cache keeps no gradients"):
        model([[1, 2]], use_cache=True)
    with tq.no_grad():
        assert model([[1, 2]], use_cache=True).past_key_values.get_seq_length() == 2


def test_yarns_bounds_are_32_turns_and_1():
    """Over 2π · 900 positions pair i of 4 turns 900 / 10ⁱ times."""
    low, high = math.log10(900 / 32), math.log10(900)
    exact = yarn_scale(8, 1e4, 4.0, 2 * math.pi * 900, truncate=False)
    slow = np.clip((np.arange(4) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(exact, slow / 4 + (1 - slow))
    rounded = yarn_scale(8, 1e4, 4.0, 2 * math.pi * 900)  # outwards: from 1.4 to 1, from 2.95 to 3
    np.testing.assert_allclose(rounded, [1, 1, 0.5 / 4 + 0.5, 0.25])


def test_yarns_ramp_may_end_behind_the_last_pair():
    """At index 5.95 of pairs 0 … 3: cut to dim - 1, which is 7, and not to the last pair."""
    low, high = math.floor(math.log10(900_000 / 32)), math.ceil(math.log10(900_000))
    assert (low, high) == (4, 6)
    found = yarn_scale(8, 1e4, 4.0, 2 * math.pi * 900_000, beta_fast=1e4)  # from index 1.95
    slow = np.clip((np.arange(4) - 1) / (6 - 1), 0, 1)
    np.testing.assert_allclose(found, slow / 4 + (1 - slow))


YARN = {"rope_type": "yarn", "factor": 2.0}


def test_the_length_that_is_scaled_may_be_said():
    """It is that of max_position_embeddings where nothing else is."""

    def angles(length, **said):
        sizes = {**TINY, "hidden_size": 64, "max_position_embeddings": length}
        model = tq.Qwen2Model(tq.Qwen2Config(**sizes, rope_scaling={**YARN, **said}))
        return np.stack(model.rotary_emb(np.arange(9)[None], np.float64))

    said = angles(4000, original_max_position_embeddings=100)
    np.testing.assert_array_equal(said, angles(100))
    assert np.abs(said - angles(4000)).max() > 0.1


LLAMA3 = {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("rope, words", [
    ({"rope_type": "linear", "factor": 0.99}, "factor must be at least 1, not 0.99"),
    ({"rope_type": "linear"}, "'linear' needs factor"),
    ({**YARN, "beta_slow": 0}, "beta_slow must be a positive number, not 0"),
    ({**YARN, "factor": math.inf}, "factor must be a positive number"),
    ({**YARN, "attention_factor": True}, "attention_factor must be a positive number"),
    ({**YARN, "beta_slow": 4.0, "beta_fast": 4.0}, "beta_slow 4.0 must be below beta_fast 4.0"),
    ({**LLAMA3, "low_freq_factor": 4.0}, "low_freq_factor 4.0 must be below"),
    ({**YARN, "truncate": 1}, "truncate must be true or false"),
    ({"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor is not supp"),
    ({"type": "longrope", "factor": 2.0}, "rope_type 'longrope' is not supported"),
])  # fmt: skip
def test_settings_that_cannot_be(rope, words):
    with pytest.raises(ValueError, match=words):
        tq.Qwen2Config(**TINY, rope_scaling=rope)


def angles(rope, last, **changes):
    """Cosines of the slower pair's angle (1 / 100 a position), and its length, at `last`."""
    model = tq.Qwen2Model(tq.Qwen2Config(**{**TINY, **changes}, rope_scaling=rope))
    cos, sin = model.rotary_emb(np.array([[last]]), np.float64)[:, 0, 0, 0]
    return math.atan2(sin[1], cos[1]), math.hypot(sin[1], cos[1])


def test_what_a_settings_words_do():
    """The old name of the kind; the length it was trained on; mscale; how a table is computed."""
    assert angles({"type": "linear", "factor": 1}, 9)[0] == pytest.approx(0.09, rel=1e-12)
    assert angles({"type": "linear", "factor": 2.0}, 9)[0] == pytest.approx(0.045, rel=1e-12)
    both = {"rope_type": "linear", "type": "yarn", "factor": 2.0}
    with pytest.warns(UserWarning, match="type 'yarn' is lost"):
        assert angles(both, 9) == pytest.approx((0.045, 1.0), rel=1e-12)
    for kind in ("linear", "yarn"):  # what a text may be long at most
        rope = {"rope_type": kind, "factor": 2.0}
        rope |= {} if kind == "linear" else {"original_max_position_embeddings": 4}
        config = tq.Qwen2Config(**TINY, rope_scaling=rope)
        assert config.max_sequence_length == (20 if kind == "linear" else 10)
    scale = yarn_scale(4, 1e4, 2.0, 40)[1]
    found = angles({**YARN, "original_max_position_embeddings": 40}, 9)
    assert found == pytest.approx((0.09 * scale, 0.1 * math.log(2) + 1), rel=1e-9)
    scaled = {**YARN, "mscale": 2.0, "mscale_all_dim": 0.5}
    size = (0.2 * math.log(2) + 1) / (0.05 * math.log(2) + 1)
    assert angles(scaled, 9)[1] == pytest.approx(size, rel=1e-12)
    assert angles({**scaled, "attention_factor": 1.5}, 9)[1] == pytest.approx(1.5, rel=1e-12)
    inside = {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}
    with pytest.warns(UserWarning, match="100.0 is used"):
        assert tq.Qwen2Config(**TINY, rope_scaling=inside).rope_theta == 100.0


def test_positions_are_not_negative():
    model = tq.Qwen2Model(tq.Qwen2Config(**TINY))
    with pytest.raises(ValueError, match="position -1 is negative"):
        model.rotary_emb(np.array([[-1, 0]]), np.float64)
