"""GPT-2 and BERT without torch: sizes of the published models, caches, checkpointing, refusals."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.models.auto import MODELS, empty
from tinyqwen.storage import safetensors

GPT2 = {
    **{"vocab_size": 30, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 12},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "model_type": "gpt2"},
}
BERT = {
    **{"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 20, "max_position_embeddings": 12, "model_type": "bert"},
}


def build(values, kind, **changes):
    config = tq.AutoConfig.from_dict({**values, **changes})
    tq.manual_seed(0)
    model = kind.from_config(config).eval()
    for parameter in model.parameters():  # else biases of 0 hide that one is left out
        parameter.data += tq.manual_seed(parameter.size).normal(0, 0.1, parameter.shape)
    return model


@pytest.mark.parametrize(
    "values, numbers",
    [
        # Radford et al. 2019, table 2, as published: 124M (the paper's 117M miscounts); 1,558M
        ({"model_type": "gpt2"}, 124_439_808),
        ({"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "n_head": 25}, 1_557_611_200),
        # Devlin et al. 2019, section 3: 110M and 340M, here with both heads
        ({"model_type": "bert"}, 110_106_428),
        (
            {
                **{"model_type": "bert", "hidden_size": 1024, "num_hidden_layers": 24},
                **{"num_attention_heads": 16, "intermediate_size": 4096},
            },
            336_226_108,
        ),
    ],
)
def test_published_sizes(values, numbers):
    if values["model_type"] == "bert":
        values = {**values, "architectures": ["BertForPreTraining"]}
    assert empty(tq.AutoConfig.from_dict(values)).num_parameters() == numbers


def test_a_cache_equals_no_cache(rng):
    model = build(GPT2, tq.AutoModelForCausalLM)
    ids = rng.integers(3, 30, (2, 10))
    with tq.no_grad():
        whole = model(ids).logits.data
        out = model(ids[:, :4], use_cache=True)
        pieces = [out.logits.data]
        for t in range(4, 10):
            out = model(ids[:, t : t + 1], past_key_values=out.past_key_values, use_cache=True)
            pieces.append(out.logits.data)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=2e-6)


def test_gpt2_does_not_see_the_future_and_bert_does(rng):
    ids = rng.integers(3, 30, (1, 8))
    changed = ids.copy()
    changed[0, 5] = (ids[0, 5] + 1) % 27 + 3
    for values, sees in ((GPT2, False), (BERT, True)):
        for attention in ("sdpa", "eager"):
            body = build(values, tq.AutoModel, attn_implementation=attention)
            a, b = (body(x).last_hidden_state.data for x in (ids, changed))
            assert np.allclose(a[:, :5], b[:, :5], atol=1e-7) != sees
            assert not np.allclose(a[:, 5:], b[:, 5:], atol=1e-3)


@pytest.mark.parametrize("values, kind", [
    (GPT2, tq.AutoModelForCausalLM), (BERT, tq.AutoModelForMaskedLM)
])  # fmt: skip
def test_checkpointing_and_both_attentions_have_one_gradient(values, kind, rng):
    ids = rng.integers(3, 30, (2, 9))
    gradients = []
    for attention, recompute in (("sdpa", False), ("eager", False), ("sdpa", True)):
        model = build(values, kind, attn_implementation=attention).astype(np.float64)
        model.gradient_checkpointing_enable(recompute)
        model(ids, labels=ids).loss.backward()
        gradients.append({path: p.grad for path, p in model.named_parameters()})
    for other in gradients[1:]:
        for path, gradient in gradients[0].items():
            np.testing.assert_allclose(other[path], gradient, rtol=1e-9, atol=1e-12, err_msg=path)


def test_skipping_logits_changes_no_gradient(rng):
    ids = rng.integers(3, 30, (2, 9))
    labels = np.where(rng.random(ids.shape) < 0.3, ids, -100)
    for values, kind in ((GPT2, tq.AutoModelForCausalLM), (BERT, tq.AutoModelForMaskedLM)):
        model = build(values, kind).astype(np.float64)
        parameters = list(model.parameters())
        full, short = (
            model(ids, labels=labels, num_items_in_batch=11, skip_logits=skip)
            for skip in (False, True)
        )
        assert short.logits is None and short.loss.item() == pytest.approx(full.loss.item())
        for a, b in zip(tq.grad(full.loss, parameters), tq.grad(short.loss, parameters)):
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("values", [GPT2, BERT])
def test_positions_past_the_table_are_refused(values):
    body = build(values, tq.AutoModel)
    body(np.ones((1, 12), int))
    for refused in ({"input_ids": np.ones((1, 13), int)},
                    {"input_ids": np.ones((1, 2), int), "position_ids": [[0, 12]]},
                    {"input_ids": np.ones((1, 2), int), "position_ids": [[-1, 0]]}):  # fmt: skip
        with pytest.raises(ValueError, match="outside the table of 12 learned positions"):
            body(**refused)


@pytest.mark.parametrize("values, name, value", [
    (GPT2, "activation_function", "relu"), (GPT2, "scale_attn_by_inverse_layer_idx", True),
    (GPT2, "add_cross_attention", True), (GPT2, "n_head", 3), (GPT2, "resid_pdrop", 1.5),
    (BERT, "hidden_act", "relu"), (BERT, "position_embedding_type", "relative_key"),
    (BERT, "is_decoder", True), (BERT, "num_attention_heads", 3),
])  # fmt: skip
def test_configs_that_cannot_be_are_refused_by_name(values, name, value):
    with pytest.raises(ValueError, match=name if name != "num_attention_heads" else "hidden_size"):
        tq.AutoConfig.from_dict({**values, name: value})


def test_configs_round_trip():
    for values in (GPT2, BERT):
        config = tq.AutoConfig.from_dict(values)
        written = config.to_dict()
        assert {name: written[name] for name in values} == values
        assert tq.AutoConfig.from_dict(written) == config
    assert tq.AutoConfig.from_dict(GPT2).hidden_size == 16
    assert MODELS["gpt2"].GPT2Config().intermediate_size == 3072


def test_layer_norms_of_the_first_checkpoints_have_greek_names(tmp_path):
    """bert-base-uncased's own file says gamma and beta."""
    model = build(BERT, tq.AutoModel)
    model.save_pretrained(tmp_path)
    arrays, metadata = safetensors.load(tmp_path / "model.safetensors")
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): array
        for name, array in arrays.items()
    }
    assert old.keys() != arrays.keys()
    old["embeddings.position_ids"] = np.arange(12)[None]
    safetensors.save(tmp_path / "model.safetensors", old, metadata)
    again = tq.AutoModel.from_pretrained(tmp_path)
    for path, value in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[path], value)


def test_of_two_names_of_one_size_none_is_dropped():
    for make in (tq.GPT2Config, lambda **values: tq.GPT2Config.from_dict(values)):
        assert make(n_embd=24, hidden_size=24).hidden_size == make(n_embd=24).n_embd == 24
        with pytest.raises(ValueError, match="n_embd is 24 and hidden_size is 36; say one"):
            make(n_embd=24, hidden_size=36)


def test_masks_that_old_checkpoints_stored_are_no_weights(tmp_path):
    model = build(GPT2, tq.AutoModelForCausalLM)
    model.save_pretrained(tmp_path)
    arrays = {name: array.copy() for name, array in model.state_dict().items()}
    arrays = {n: a for n, a in arrays.items() if n != "lm_head.weight"}
    more = {
        f"transformer.h.{n}.attn.{name}": np.ones((1, 1), np.float32)
        for n in range(2)
        for name in ("bias", "masked_bias")
    }
    safetensors.save(tmp_path / "model.safetensors", {**arrays, **more}, {"format": "pt"})
    again = tq.GPT2LMHeadModel.from_pretrained(tmp_path)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    strange = {"transformer.h.0.attn.other_bias": np.ones((1, 1), np.float32)}
    safetensors.save(tmp_path / "model.safetensors", {**arrays, **strange}, {"format": "pt"})
    with pytest.raises(ValueError, match=r"attn\.other_bias"):
        tq.GPT2LMHeadModel.from_pretrained(tmp_path)
