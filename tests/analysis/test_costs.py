"""What is read off the module tree, against what happens when a model runs."""

import gc
import tracemalloc

import numpy as np
import pytest
from model_families import FAMILIES, batch, our_model

import tinyqwen as tq
from tinyqwen.analysis.costs import flops_per_token, part_counts, training_memory
from tinyqwen.models.auto import empty


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_keeps_about_what_is_told(family):
    """What NumPy has allocated once a loss is computed, and not yet given back; eager attention
    keeps more, and dropout."""
    model, given = our_model(family), batch(family, np.random.default_rng(0))
    longer = {name: np.tile(x, (1, 4)[: x.ndim]) for name, x in given.items()}  # and a few rows
    gc.collect()
    tracemalloc.start()
    out = model(**longer)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert out.loss is not None
    told = training_memory(model, *longer["input_ids"].shape)
    assert told["activations"] == pytest.approx(kept, rel=0.35)
    numbers = 4 * model.num_parameters()
    assert told["weights"] == told["gradients"] == told["moments of AdamW"] / 2 == numbers


def test_memory_of_a_longer_text_and_of_a_batch():
    model = our_model("llama")
    one, two, long = (training_memory(model, *n)["activations"] for n in ((1, 8), (2, 8), (1, 16)))
    assert two == 2 * one and long > 2 * one  # attention weights grow with the square


def test_operations_of_an_encoder_and_a_decoder_by_hand():
    """One layer each; C = 8, widths 12 and 20, V = 11; a source and a target of 5 tokens."""
    config = tq.MarianConfig(
        **{"vocab_size": 11, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1},
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 4, "encoder_ffn_dim": 12},
        **{"decoder_ffn_dim": 20, "pad_token_id": 0, "decoder_start_token_id": 0},
    )
    expected = {
        "attention projections": 3 * 4 * 2 * 8 * 8,
        "attention scores": 3 * (2 * 5 * 8 + 2 * 5 * 8),
        "mlp": 2 * 2 * 8 * 12 + 2 * 2 * 8 * 20,
        "heads": 2 * 8 * 11,
    }
    model = empty(config)
    assert flops_per_token(model, 5) == expected
    seen = 5 + 3 + 5  # keys that a token sees: all of the source, of the target (1 + … + 5) / 5
    assert flops_per_token(model, 5, causal=True)["attention scores"] == seen * 4 * 8


def test_a_reader_sees_both_ways():
    config = tq.BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    model = empty(config)
    assert flops_per_token(model, 6, causal=True) == flops_per_token(model, 6)


def test_parts_have_the_shortest_name_that_is_theirs():
    """Both texts' layers have a q_proj, and each two attentions; tied tables count once."""
    model = our_model("marian")
    counts = part_counts(model)
    assert sum(counts.values()) == model.num_parameters()
    assert counts["lm_head"] == 0 and counts["norms"] == 2 * sum(
        m.weight.size for m in model.modules() if isinstance(m, tq.nn.LayerNorm)
    )
    own = sum(p.size for name, p in model.named_parameters() if ".encoder_attn.q_proj." in name)
    assert counts["encoder_attn.q_proj"] == own and "q_proj" not in counts and "fc1" in counts
    small = part_counts(our_model("llama"))
    names = "embed_tokens q_proj k_proj v_proj o_proj gate_proj up_proj down_proj norms lm_head"
    assert list(small) == names.split()
