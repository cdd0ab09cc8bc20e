"""The budget against models that are built and numbers worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyqwen as tq
from tinyqwen import nn
from tinyqwen.analysis import budget
from tinyqwen.analysis.released_configs import OTHERS, QWEN2_5

QWEN_05B = {
    **{"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864},
    **{"num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2},
    "tie_word_embeddings": True,
}


def build(**values):
    with nn.empty_parameters():
        return tq.Qwen2ForCausalLM(tq.Qwen2Config(**values))


@st.composite
def configs(draw):
    kv_heads = draw(st.integers(1, 4))
    heads = kv_heads * draw(st.integers(1, 4))
    depth = 2 * draw(st.integers(1, 5))
    hidden = draw(st.sampled_from([heads * depth, 7, 24]))
    return {
        "vocab_size": draw(st.integers(1, 50)),
        "hidden_size": hidden,
        "intermediate_size": draw(st.integers(1, 60)),
        "num_hidden_layers": draw(st.integers(1, 5)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": depth,
        "tie_word_embeddings": draw(st.booleans()),
    }


def test_qwen_05b():
    config = tq.Qwen2Config(**QWEN_05B)
    assert sum(budget.parameter_counts(config).values()) == 494_032_768
    assert build(**QWEN_05B).num_parameters() == 494_032_768
    # (4·896² + 896·4864)·24 + 151936·896, on paper
    assert budget.rule_of_thumb(config) == 181_665_792 + 136_134_656


@given(configs())
def test_parts_are_those_of_the_model(values):
    model = build(**values)
    counts = dict.fromkeys(budget.parameter_counts(model.config), 0)
    for name, parameter in model.named_parameters():
        part = next((part for part in counts if part in name), "norms")
        counts[part] += parameter.size
    assert counts == budget.parameter_counts(model.config)


@given(configs())
def test_corrections_lead_from_the_rule_of_thumb_to_the_count(values):
    config = tq.Qwen2Config(**values)
    corrections = budget.rule_of_thumb_corrections(config)
    assert all(number for _, number in corrections)
    exact = sum(budget.parameter_counts(config).values())
    assert budget.rule_of_thumb(config) + sum(n for _, n in corrections) == exact


def test_configs_of_other_families():
    """LLaMA-7B has no biases and no grouped heads: 6,738,415,616 parameters, as published."""
    llama = SimpleNamespace(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        attention_bias=False,
    )
    assert sum(budget.parameter_counts(llama).values()) == 6_738_415_616
    assert budget.kv_cache_bytes_per_token(llama, bytes_per_number=2) == 524_288


@pytest.mark.parametrize(
    "name, count",
    {
        "Qwen2.5-0.5B": 494_032_768,
        "Qwen2.5-1.5B": 1_543_714_304,
        "Qwen2.5-3B": 3_085_938_688,
        "Qwen2.5-7B": 7_615_616_512,
        "Qwen2.5-14B": 14_770_033_664,
        "Qwen2.5-32B": 32_763_876_352,
        "Qwen2.5-72B": 72_706_203_648,
        "LLaMA-7B": 6_738_415_616,
        "LLaMA-13B": 13_015_864_320,
        "LLaMA-65B": 65_285_660_672,
        "Yi-34B": 34_388_917_248,
    }.items(),
)
def test_published_models(name, count):
    """The numbers of parameters that their checkpoints hold."""
    shape = {**QWEN2_5, **OTHERS}[name]
    assert sum(budget.parameter_counts(shape).values()) == count


def test_forward_flops_by_hand():
    """One layer: h = 10, H·D = 4·6, H_kv·D = 2·6, i = 14, V = 11, at s = 5, windows 5 and 3."""
    config = SimpleNamespace(
        vocab_size=11,
        hidden_size=10,
        intermediate_size=14,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        layer_types=["full_attention"],
    )
    expected = {
        "attention projections": 2 * (10 * 24 + 10 * 12 + 10 * 12 + 24 * 10),
        "attention scores": 2 * 5 * 24 + 2 * 5 * 24,
        "mlp": 2 * 3 * 10 * 14,
        "lm_head": 2 * 10 * 11,
    }
    assert budget.flops_per_token(config, 5) == expected
    config.layer_types, config.sliding_window = ["sliding_attention"], 3
    assert budget.flops_per_token(config, 5)["attention scores"] == 4 * 3 * 24


def test_flops_in_the_textbook_form():
    """24·b·s·d² + 4·b·s²·d a layer, for full-width heads and a gated MLP of 8d/3."""
    b, s, d, layers, vocab = 3, 40, 96, 5, 7
    config = tq.Qwen2Config(
        vocab_size=vocab,
        hidden_size=d,
        intermediate_size=8 * d // 3,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    flops = budget.flops_per_token(config, s)
    per_layer = 24 * b * s * d**2 + 4 * b * s**2 * d
    assert b * s * sum(flops.values()) == layers * per_layer + 2 * b * s * d * vocab
    training = budget.flops_per_token(config, s, training=True)
    assert training == {part: 3 * n for part, n in flops.items()}


@pytest.mark.parametrize("window", [None, 1, 3, 50])
@pytest.mark.parametrize("s", [1, 2, 9])
def test_causal_flops_count_what_a_token_may_see(s, window):
    config = SimpleNamespace(
        **{**QWEN_05B, "num_hidden_layers": 1},
        layer_types=["full_attention" if window is None else "sliding_attention"],
        sliding_window=window,
    )
    seen = [min(t + 1, window or t + 1) for t in range(s)]
    expected = 4 * np.mean(seen) * 896
    assert budget.flops_per_token(config, s, causal=True)["attention scores"] == pytest.approx(
        expected, rel=1e-12
    )


def test_six_n():
    """Close to the exact count where a text is short beside 6h; off by s / 6h where it is long."""
    config = tq.Qwen2Config(**{**QWEN_05B, "tie_word_embeddings": True})
    for s in (1, 512, 8192):
        exact = sum(budget.flops_per_token(config, s, training=True).values())
        assert budget.six_n(config) == 6 * 494_032_768
        scores = 3 * 4 * s * 896 * 24
        assert exact - scores == pytest.approx(budget.six_n(config), rel=1e-3)


@pytest.mark.parametrize("tokens", [1, 5])
def test_cache_bytes_are_the_caches(tokens):
    config = tq.Qwen2Config(
        vocab_size=11,
        hidden_size=24,
        intermediate_size=14,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = tq.Qwen2ForCausalLM(config)
    with tq.no_grad():
        cache = model(np.zeros((1, tokens), int), use_cache=True).past_key_values
    assert cache.nbytes() == tokens * budget.kv_cache_bytes_per_token(config)
    rows = budget.kv_cache_table(config)
    assert rows == [("MHA", 4, 576), ("GQA", 2, 288), ("MQA", 1, 144)]


def test_cache_table_of_a_model_that_is_mha_or_mqa():
    for heads in (14, 1):
        config = tq.Qwen2Config(**{**QWEN_05B, "num_key_value_heads": heads})
        assert [row[0] for row in budget.kv_cache_table(config)] == ["MHA", "MQA"]


def test_training_memory_by_hand():
    """Two layers: h = 10, i = 14, H·D = 4·6, H_kv·D = 2·6; three rows of five tokens."""
    config = {
        **{"vocab_size": 11, "hidden_size": 10, "intermediate_size": 14, "head_dim": 6},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    }
    numbers = build(**config).num_parameters()
    kept = 3 * 5 * 2 * (8 * 10 + 2 * 24 + 3 * 12 + 4 * 14 + 4 * 5 // 2)
    for size in (4, 2):
        assert budget.training_memory(config, 3, 5, size) == {
            "weights": size * numbers, "gradients": size * numbers,
            "moments of AdamW": 2 * size * numbers, "activations": size * kept,
        }  # fmt: skip
    assert budget.training_memory(config, 3, 5) == budget.training_memory(config, 3, 5, 4)


def test_what_a_config_leaves_out():
    """Heads are h / H wide and none is shared, a head is not tied, and q, k and v have biases."""
    config = {name: QWEN_05B[name] for name in list(QWEN_05B)[:4]}
    config |= {"num_attention_heads": 14}
    full = {**config, "num_key_value_heads": 14, "head_dim": 64, "attention_bias": True}
    full |= {"tie_word_embeddings": False}
    assert budget.parameter_counts(config) == budget.parameter_counts(full)
    assert budget.parameter_counts({**config, "head_dim": None}) == budget.parameter_counts(full)
    assert budget.kv_cache_bytes_per_token(config) == 2 * 24 * 14 * 64 * 4
    assert budget.kv_cache_bytes_per_token(config, 0) == 0
    assert budget.parameter_counts(full)["lm_head"] == 151936 * 896
