"""What each number of a config does, in every family: where it acts, and how often."""

from collections import Counter

import numpy as np
import pytest
from model_families import FAMILIES, our_model, padded

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd.recomputation import checkpoint
from tinyqwen.functional.routing import load_balancing_loss
from tinyqwen.models import pretrained
from tinyqwen.models.auto import empty
from tinyqwen.models.qwen2 import Qwen2MLP
from tinyqwen.storage import safetensors

# A share that is dropped in training, and how often one pass draws for it. Of every family there
# are three layers; Marian's encoder has two.
DROPPED = [
    ("qwen2", "Qwen2ForTokenClassification",
     {"classifier_dropout": (0.1, 1), "attention_dropout": (0.2, 3)}),
    ("gpt2", None, {"embd_pdrop": (0.1, 1), "attn_pdrop": (0.2, 3), "resid_pdrop": (0.3, 2 * 3)}),
    ("bert", "BertForSequenceClassification",
     {"hidden_dropout_prob": (0.1, 1 + 2 * 3), "attention_probs_dropout_prob": (0.2, 3),
      "classifier_dropout": (0.3, 1)}),
    ("bert", "BertForSequenceClassification", {"hidden_dropout_prob": (0.3, 1 + 2 * 3 + 1)}),
    ("marian", None,
     {"dropout": (0.1, 2 + 2 * 2 + 3 * 3), "attention_dropout": (0.2, 2 + 2 * 3),
      "activation_dropout": (0.3, 2 + 3)}),
]  # fmt: skip
SILENT = {  # what is dropped by default
    "gpt2": dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0),
    "bert": dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
    "marian": {"dropout": 0.0},
}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family, head, settings", DROPPED)
def test_what_is_dropped_and_how_often(family, head, settings, attention, monkeypatch, rng):
    shares = {**SILENT.get(family, {}), **{name: share for name, (share, _) in settings.items()}}
    model = our_model(family, head=head, attn_implementation=attention, **shares)
    drawn = Counter()

    def counted(shape, p, dtype, *rows):
        drawn[p] += 1
        return np.ones(shape, dtype)

    for room in ("attention", "activations"):
        monkeypatch.setattr(f"tinyqwen.functional.{room}.dropout_mask", counted)
    ids = rng.integers(2, 44, (2, 5))
    given = {"input_ids": ids, **({"decoder_input_ids": ids} if family == "marian" else {})}
    model(**given)
    assert not drawn
    model.train()(**given)
    assert drawn == dict(settings.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_recomputed_where_that_is_asked(family, monkeypatch, rng):
    """And none without gradients, or when it is taken back."""
    model, computed = our_model(family), []

    def counted(inner, *inputs, parameters):
        computed.append(inner)
        return checkpoint(inner, *inputs, parameters=parameters)

    monkeypatch.setattr(pretrained, "checkpoint", counted)
    ids = rng.integers(2, 44, (2, 5))
    given = {"input_ids": ids, **({"decoder_input_ids": ids} if family == "marian" else {})}
    model.gradient_checkpointing_enable()
    with tq.no_grad():
        model(**given)
    assert not computed
    model(**given, **({} if family == "bert" else {"use_cache": False}))
    assert len(computed) == (2 + 3 if family == "marian" else 3)
    model.gradient_checkpointing_enable(False)
    model(**given)
    assert len(computed) == (2 + 3 if family == "marian" else 3)


EPSILON = {"gpt2": "layer_norm_epsilon", "bert": "layer_norm_eps"}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "marian"])
def test_every_norm_has_the_configs_epsilon(family, rng):
    model = our_model(family, **{EPSILON.get(family, "rms_norm_eps"): 0.125})
    norms = [m for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.RMSNorm))]
    assert len(norms) >= 2 * 3 + 1
    assert {getattr(m, "eps", None) or m.variance_epsilon for m in norms} == {0.125}
    if family == "qwen3":
        q, k = rng.normal(size=(2, 1, 2, 3, 8))
        for x, y in zip((q, k), model.model.layers[1].self_attn.normed(q, k)):
            size = np.sqrt((x * x).mean(-1, keepdims=True) + 0.125)
            np.testing.assert_allclose(y.data, x / size, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_begin_as_the_config_says(family):
    """Normal with the config's deviation (GPT-2: smaller where 2·3 outputs add up), biases 0,
    norms 1, the row of the padding token 0."""
    model, checked = our_model(family, initializer_range=0.3), 0
    for name, parameter in model.named_parameters():
        values = parameter.data
        if "norm" in name.lower() or ".ln_" in name or name.endswith("bias"):
            assert (values == (0 if name.endswith("bias") else 1)).all(), name
        elif parameter.requires_grad and values.size > 100:
            small = family == "gpt2" and "c_proj" in name
            values = values[values != 0]
            assert values.std() == pytest.approx(0.3 / 6**0.5 if small else 0.3, rel=0.2), name
            assert abs(values.mean()) < 0.1, name
            checked += 1
    assert checked >= 4 * 3


# ---------------------------------------------------------------------------------------------
# The mixture of experts
# ---------------------------------------------------------------------------------------------


def test_an_expert_in_a_file_is_an_mlp(tmp_path, rng):
    """Of the two halves of what is one array in memory, the gate is the first."""
    model = our_model("qwen2_moe")
    model.save_pretrained(tmp_path)
    arrays, _ = safetensors.load(tmp_path / "model.safetensors")
    mlp = Qwen2MLP(model.config, size=16)
    stem = "model.layers.1.mlp.experts.3."
    mlp.load_state_dict({n.removeprefix(stem): a for n, a in arrays.items() if n.startswith(stem)})
    x = rng.normal(size=(6, 24)).astype(np.float32)
    found = model.model.layers[1].mlp.experts(x, np.ones((6, 1), np.float32), np.full((6, 1), 3))
    np.testing.assert_allclose(found.data, mlp(x[None]).data[0], rtol=1e-5, atol=1e-8)


def test_the_balance_is_that_of_the_tokens_at_hand(rng):
    """Also where a mask tells of those in the cache too; and it has the config's weight."""
    model = our_model("qwen2_moe", output_router_logits=True, router_aux_loss_coef=0.25)
    ids, mask = padded(rng, "left")
    with tq.no_grad():
        past = model(ids[:, :5], mask[:, :5], use_cache=True).past_key_values
        out = model(ids[:, 5:], mask, past_key_values=past)
        plain = model(ids, mask, labels=ids, output_router_logits=False)
    assert len(out.router_logits) == 3 and plain.router_logits is plain.aux_loss is None
    expected = load_balancing_loss([x.data for x in out.router_logits], 2, mask[:, 5:])
    assert out.aux_loss.item() == pytest.approx(float(expected), rel=1e-6)
    whole = model(ids, mask, labels=ids)
    added = whole.loss.item() - plain.loss.item()
    assert added == pytest.approx(0.25 * whole.aux_loss.item(), rel=1e-4)


def test_a_balance_of_several_layers_hides_the_same_tokens_in_each(rng):
    a, b = rng.normal(size=(2, 4, 3))
    mask = [1, 0, 0, 1]
    real = [0, 3]
    expected = load_balancing_loss([a[real], b[real]], 1)
    assert float(load_balancing_loss([a, b], 1, mask)) == pytest.approx(float(expected))


def test_which_layers_have_experts_and_which_a_window():
    config = tq.Qwen2MoeConfig(
        num_hidden_layers=8, decoder_sparse_step=3, mlp_only_layers=[5],
        use_sliding_window=True, sliding_window=4, max_window_layers=4,
    )  # fmt: skip
    assert [layer for layer in range(8) if config.is_sparse(layer)] == [2]
    windows = [kind == "sliding_attention" for kind in config.layer_types]
    assert windows == [True, False, True, False, False, False, False, False]
    assert tq.Qwen2MoeConfig(num_experts=4, num_experts_per_tok=4).num_experts_per_tok == 4
    for wrong in ({"num_experts": 3, "num_experts_per_tok": 4}, {"mlp_only_layers": [24]},
                  {"mlp_only_layers": [-1]}, {"router_aux_loss_coef": -0.1}):  # fmt: skip
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            tq.Qwen2MoeConfig(**wrong)


# ---------------------------------------------------------------------------------------------
# The encoder and decoder
# ---------------------------------------------------------------------------------------------


def test_two_tables_and_a_bias_of_the_logits(rng):
    """The head reads the decoder's table; the fused loss does not forget the bias."""
    model = our_model("marian", "two tables", tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.decoder.embed_tokens.weight
    assert model.model.encoder.embed_tokens.weight.shape == (50, 16)
    assert model.lm_head.weight.shape == (44, 16)
    model.final_logits_bias.data[...] = rng.normal(size=(1, 44))
    given = {"input_ids": rng.integers(2, 44, (2, 5)), "labels": rng.integers(2, 44, (2, 4))}
    full, fused = (model(**given, skip_logits=skip).loss.item() for skip in (False, True))
    logits = model(**given).logits.data.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    picked = np.take_along_axis(p, given["labels"][..., None], -1)
    assert full == pytest.approx(-np.log(picked).mean(), rel=1e-5)
    assert fused == pytest.approx(full, rel=1e-6)


def test_a_decoder_deeper_than_its_encoder_is_cached(rng):
    model = our_model("marian")
    source, target = rng.integers(2, 44, (2, 6)), rng.integers(2, 44, (2, 5))
    with tq.no_grad():
        whole = model(source, decoder_input_ids=target).logits.data
        out = model(source, decoder_input_ids=target[:, :2], use_cache=True)
        after = model(source, decoder_input_ids=target[:, 2:], past_key_values=out.past_key_values)
    found = np.concatenate([out.logits.data, after.logits.data], 1)
    np.testing.assert_allclose(found, whole, atol=1e-6)
    written = model.generate(source, 4)
    np.testing.assert_array_equal(written, model.generate(source, 4, use_cache=False))


def test_weights_of_beams_are_each_beams_own(rng):
    """Two targets a source: their attention to it is what each has alone."""
    model = our_model("marian")
    source, targets = rng.integers(2, 44, (2, 6)), rng.integers(2, 44, (4, 3))
    with tq.no_grad():
        read = model.get_encoder()(source)
        found = model(decoder_input_ids=targets, encoder_outputs=read, output_attentions=True)
        alone = model(np.repeat(source, 2, 0), decoder_input_ids=targets, output_attentions=True)
    for a, b in zip(found.cross_attentions, alone.cross_attentions, strict=True):
        np.testing.assert_allclose(a.data, b.data, atol=1e-6)


def test_what_is_computed_need_not_be_stored(tmp_path, rng):
    """Marian's files may lack the table of positions and the bias: then they are made, not left."""
    model = our_model("marian")
    model.save_pretrained(tmp_path)
    arrays, metadata = safetensors.load(tmp_path / "model.safetensors")
    computed = [n for n in arrays if "embed_positions" in n or n == "final_logits_bias"]
    assert len(computed) == 3
    for name in computed:
        del arrays[name]
    safetensors.save(tmp_path / "model.safetensors", arrays, metadata)
    again = tq.MarianMTModel.from_pretrained(tmp_path)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array, err_msg=name)


@pytest.mark.parametrize("wrong, named", [
    ({"decoder_start_token_id": 50}, "decoder_start_token_id 50"),
    ({"decoder_layerdrop": 0.1}, "decoder_layerdrop 0.1"),
    ({"encoder_layerdrop": 0.1}, "encoder_layerdrop 0.1"),
    ({"decoder_attention_heads": 3}, "decoder_attention_heads 3"),
    ({"decoder_vocab_size": 49}, "decoder_vocab_size 49"),
])  # fmt: skip
def test_marians_settings_that_cannot_be(wrong, named):
    with pytest.raises(ValueError, match=named):
        our_model("marian", **wrong)


# ---------------------------------------------------------------------------------------------
# What a config's words mean
# ---------------------------------------------------------------------------------------------


def biased(model):
    return {name.split(".")[-2] for name, _ in model.named_parameters() if name.endswith("bias")}


def test_biases_are_where_they_are_asked_for():
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    for family in ("llama", "qwen3"):
        assert biased(our_model(family)) == set()
        assert biased(our_model(family, attention_bias=True)) == attention
    assert biased(our_model("llama", mlp_bias=True)) == {"gate_proj", "up_proj", "down_proj"}
    assert biased(our_model("qwen2_moe")) == {"q_proj", "k_proj", "v_proj"}
    assert biased(our_model("qwen2_moe", qkv_bias=False)) == set()


@pytest.mark.parametrize("scaled", [True, False])
def test_embeddings_are_scaled_where_the_config_says_so(scaled, rng):
    model, ids = our_model("marian", scale_embedding=scaled), rng.integers(2, 44, (1, 5))
    encoder = model.get_encoder()
    found = encoder(ids, output_hidden_states=True).hidden_states[0].data
    table, positions = encoder.embed_tokens.weight.data, encoder.embed_positions.weight.data
    expected = table[ids] * (4.0 if scaled else 1.0) + positions[:5]  # √16
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_fused_loss_is_balanced_too(rng):
    model = our_model("qwen2_moe", output_router_logits=True, router_aux_loss_coef=0.5)
    ids = rng.integers(2, 44, (2, 5))
    full, fused = (model(ids, labels=ids, skip_logits=skip) for skip in (False, True))
    assert fused.loss.item() == pytest.approx(full.loss.item(), rel=1e-6)
    assert fused.aux_loss.item() == full.aux_loss.item() > 0


def test_labels_are_as_many_as_their_names():
    values = {"model_type": "bert", "id2label": {str(i): f"label {i}" for i in range(5)}}
    kept = {**values, "id2label": dict(values["id2label"])}
    assert tq.AutoConfig.from_dict(values).num_labels == 5
    assert values == kept  # what is read is not changed


@pytest.mark.parametrize(
    "named", [["BertModel", "BertForMaskedLM"], [], "BertModel", ["GPT2Model"]]
)
def test_one_architecture_of_the_family_is_named(named):
    config = tq.AutoConfig.from_dict({"model_type": "bert", "architectures": named})
    if named == []:  # as where none is named
        assert type(empty(config)) is tq.BertForMaskedLM
    else:
        with pytest.raises(ValueError, match=r"architectures is .*; expected a list of one of"):
            empty(config)


def test_ten_thousand_layers_are_a_model_and_one_more_is_a_damaged_file():
    assert tq.GPT2Config(n_layer=10_000).num_hidden_layers == 10_000
    with pytest.raises(ValueError, match="num_hidden_layers is 10001"):
        tq.GPT2Config(n_layer=10_001)


@pytest.mark.parametrize("wrong, words", [
    ({"vocab_size": 0}, "vocab_size must be a positive integer below"),
    ({"vocab_size": 2**31}, "vocab_size must be a positive integer below"),
    ({"max_window_layers": -1}, "max_window_layers must be an integer from 0"),
    ({"attention_dropout": 1}, r"attention_dropout must be a number in \[0, 1\)"),
    ({"rms_norm_eps": 0}, "rms_norm_eps must be a positive number"),
    ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false"),
    ({"pad_token_id": 100, "vocab_size": 100}, "pad_token_id 100 is not in the vocabulary"),
    ({"num_key_value_heads": 3}, "not divisible by num_key_value_heads 3"),
    ({"head_dim": 5}, "head_dim must be even"),
    ({"layer_types": ["sliding_attention"] * 32}, "sliding_window is not set"),
])  # fmt: skip
def test_settings_just_outside_their_range(wrong, words):
    with pytest.raises(ValueError, match=words):
        tq.Qwen2Config(**wrong)


def test_settings_at_the_ends_of_their_range_and_by_default():
    config = tq.Qwen2Config(
        vocab_size=2**31 - 1,
        pad_token_id=2**31 - 2,
        max_window_layers=0,
        classifier_dropout=None,
        num_hidden_layers=2,
        use_sliding_window=True,
    )
    assert config.classifier_dropout == 0.1 and config.layer_types == ["sliding_attention"] * 2
    assert (config.rms_norm_eps, tq.Qwen3Config().head_dim) == (1e-6, 128)
    assert tq.LlamaConfig(num_attention_heads=4).num_key_value_heads == 4
    old = {"model_type": "gpt2", "n_embd": 8, "hidden_size": 16, "n_head": 2}
    with pytest.raises(ValueError, match="n_embd is 8 and hidden_size is 16; say one"):
        tq.AutoConfig.from_dict(old)
    assert "layer_types" not in tq.LlamaConfig().to_dict() | {"num_labels": 2}
    assert "num_labels" not in tq.LlamaConfig().to_dict()
    assert tq.LlamaConfig(num_labels=3).to_dict()["num_labels"] == 3


def test_a_decoder_does_not_see_what_its_mask_hides(rng):
    model = our_model("marian")
    source, target = rng.integers(2, 44, (1, 5)), rng.integers(2, 44, (1, 6))
    mask = np.array([[0, 0, 1, 1, 1, 1]])
    other = target.copy()
    other[:, :2] = 3
    found, again, whole = (
        model(source, decoder_input_ids=ids, **how).logits.data[:, 2:]
        for ids, how in ((target, {"decoder_attention_mask": mask}),
                         (other, {"decoder_attention_mask": mask}), (target, {}))
    )  # fmt: skip
    np.testing.assert_array_equal(found, again)
    assert np.abs(found - whole).max() > 1e-4
    cache, pieces = None, []  # the mask is of all that the cache holds, and of what is new
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        with tq.no_grad():
            out = model(
                source, decoder_input_ids=target[:, start:stop], past_key_values=cache,
                use_cache=True, decoder_attention_mask=mask[:, :stop],
            )  # fmt: skip
        cache, pieces = out.past_key_values, [*pieces, out.logits.data]
    np.testing.assert_allclose(np.concatenate(pieces, 1)[:, 2:], found, atol=1e-5)


def test_a_reader_has_a_loss_where_both_labels_are_given(rng):
    model, ids = our_model("bert"), rng.integers(2, 44, (3, 5))
    assert model(ids, labels=ids).loss is None
    assert model(ids, next_sentence_label=[0, 1, 1]).loss is None
    out = model(ids, labels=ids, next_sentence_label=[0, 1, 1])
    two = F.next_sentence_loss(out.seq_relationship_logits, [0, 1, 1])
    assert F.next_sentence_loss(
        out.seq_relationship_logits, [0, 1, 1], num_items=12
    ).item() == pytest.approx(two.item() / 4)
    tokens = F.cross_entropy(out.prediction_logits, ids)
    assert out.loss.item() == pytest.approx(tokens.item() + two.item(), rel=1e-6)
    masked = our_model("bert", head="BertForMaskedLM")
    assert masked(ids, skip_logits=True).logits.shape == (3, 5, 50)
