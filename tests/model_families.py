"""The families whose parity is tested, a line each: a tiny model, and what may differ in it.

`head` is the class that has the family's loss; "cases" are changes of its config, by name. Random
weights, norms and biases too, so that no part of the model is left out by being 0 or 1.
"""

import re

import numpy as np

import tinyqwen as tq

TINY = {
    **{"vocab_size": 50, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3},
    **{"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64},
    **{"rms_norm_eps": 1e-5, "pad_token_id": 0, "eos_token_id": 1},
}

FAMILIES = {
    "qwen2": {
        "head": "Qwen2ForCausalLM",
        "config": TINY,
        "cases": {
            "plain": {},
            "window": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
        },
    },
    "llama": {
        "head": "LlamaForCausalLM",
        "config": TINY,
        "cases": {
            "plain": {},
            "biases": {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 6},
            "head_dim, tied": {"head_dim": 10, "tie_word_embeddings": True},
        },
    },
    "qwen3": {
        "head": "Qwen3ForCausalLM",
        "config": {**TINY, "head_dim": 8},
        "cases": {
            "plain": {},
            "biases, tied": {"attention_bias": True, "tie_word_embeddings": True, "head_dim": 10},
            "window": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
        },
    },
    "qwen2_moe": {
        "head": "Qwen2MoeForCausalLM",
        "config": {
            **{**TINY, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 20},
            **{"num_experts": 5, "num_experts_per_tok": 2},
        },
        "cases": {
            "plain": {},
            "normalized, some dense": {"norm_topk_prob": True, "mlp_only_layers": [1]},
            "balanced, every other": {
                **{"output_router_logits": True, "decoder_sparse_step": 2, "qkv_bias": False},
                **{"router_aux_loss_coef": 0.3, "use_sliding_window": True, "sliding_window": 4},
            },
        },
    },
    "gpt2": {
        "head": "GPT2LMHeadModel",
        "config": {
            **{"vocab_size": 50, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64},
            **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
        },
        "cases": {"plain": {}, "narrow, untied": {"n_inner": 20, "tie_word_embeddings": False}},
    },
    "bert": {
        "head": "BertForPreTraining",
        "config": {
            **{"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 3, "pad_token_id": 0},
            **{"num_attention_heads": 4, "intermediate_size": 36, "max_position_embeddings": 40},
        },
        "cases": {"plain": {}, "untied": {"tie_word_embeddings": False, "layer_norm_eps": 1e-3}},
    },
    "marian": {
        "head": "MarianMTModel",
        "config": {
            **{"vocab_size": 50, "d_model": 16, "max_position_embeddings": 40},
            **{"encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32},
            **{"decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 24},
            **{"pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 1},
            **{"activation_function": "swish", "scale_embedding": True, "forced_eos_token_id": 1},
        },
        "cases": {
            "plain": {},
            "of 2017": {"activation_function": "relu", "tie_word_embeddings": True},
            "two tables": {
                **{"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 44},
                **{"activation_function": "gelu", "scale_embedding": False},
            },
        },
    },
}
CASES = [(family, case) for family, entry in FAMILIES.items() for case in entry["cases"]]
SHALLOW = {  # for reference arrays: two layers of each kind
    "gpt2": {"n_layer": 2},
    "marian": {"encoder_layers": 2, "decoder_layers": 2},
    **{name: {"num_hidden_layers": 2} for name in ("llama", "qwen3", "qwen2_moe", "bert")},
}

# What models return: scalars and arrays, and one array a layer.
OUTPUTS = (
    *("loss", "logits", "last_hidden_state", "pooler_output", "prediction_logits", "aux_loss"),
    *("seq_relationship_logits", "encoder_last_hidden_state"),
)
EVERY_LAYER = (
    *("hidden_states", "attentions", "encoder_hidden_states", "decoder_hidden_states"),
    *("encoder_attentions", "decoder_attentions", "cross_attentions"),
)


def other_heads():
    """(family, class name): every model that the package has, but for the head of FAMILIES."""
    for family, entry in FAMILIES.items():
        stem = stem_of(family)
        heads = (f"{stem}{end}" for end in ("Model", "ForMaskedLM", "ForSequenceClassification"))
        yield from ((family, head) for head in heads if hasattr(tq, head) and head != entry["head"])


def stem_of(family):
    """With which the names of a family's classes begin: GPT2LMHeadModel -> GPT2."""
    return re.split("For|LMHead|MT", FAMILIES[family]["head"])[0]


def our_model(family, case="plain", head=None, **changes):
    """A tiny model of ours, its weights as they are initialized."""
    entry = FAMILIES[family]
    model_class = getattr(tq, head or entry["head"])
    config = {**entry["config"], **entry["cases"][case], **changes}
    return model_class(model_class.config_class(**config)).eval()


def their_model(transformers, family, case="plain", head=None, **changes):
    """The same of transformers, with random weights."""
    import torch

    entry = FAMILIES[family]
    model_class = getattr(transformers, head or entry["head"])
    config = {**entry["config"], **entry["cases"][case], **changes}
    attention = config.pop("attn_implementation", "eager")
    config = model_class.config_class(**config)
    config._attn_implementation = attention
    model = model_class(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.state_dict(keep_vars=True).items():
            if "embed_positions" in name or not parameter.is_floating_point():
                continue  # what is computed
            norm = ("norm" in name.lower() or "ln_" in name) and name.endswith("weight")
            noise = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(float(norm) + noise)
    return model


def pair(transformers, family, case="plain", head=None, **changes):
    """Ours and theirs, with the same weights."""
    theirs = their_model(transformers, family, case, head, **changes)
    ours = our_model(family, case, head, **changes)
    ours.load_state_dict({name: p.numpy() for name, p in theirs.state_dict().items()})
    return ours, theirs


def padded(rng, side, batch=3, length=9, vocab_size=50):
    """ids (B, T) with padding 0 on one side, 0, 2 and 5 tokens of it, and the mask (B, T).

    side: "left", "right", or None for no padding.
    """
    ids, mask = rng.integers(2, vocab_size, (batch, length)), np.ones((batch, length), int)
    for row, padding in enumerate((0, 2, 5) if side else ()):
        place = slice(0, padding) if side == "left" else slice(length - padding, length)
        ids[row, place], mask[row, place] = 0, 0
    return ids, mask


def batch(family, rng, side=None, head=None):
    """What a model is trained on, {name of an argument: array}, padded on one side or not.

    Labels are for real tokens alone; of a decoder, for those that a real token predicts.
    """
    head = head or FAMILIES[family]["head"]
    ids, mask = padded(rng, side)
    given = {"input_ids": ids}
    if side:
        given["attention_mask"] = mask
    if family == "bert":
        given["token_type_ids"] = np.where(np.arange(ids.shape[1]) > 4, 1, np.zeros_like(ids))
    if "PreTraining" in head:
        given["next_sentence_label"] = rng.integers(0, 2, len(ids))
    counts = rng.random(ids.shape) < 0.8
    if "SequenceClassification" in head:
        given["labels"] = rng.integers(0, 3, len(ids))
    elif family == "marian":
        targets = rng.integers(2, 44, (len(ids), 7))
        targets[0, 4:] = targets[1, 2] = -100
        if head == "MarianModel":
            given["decoder_input_ids"] = targets.clip(0)
        else:
            given["labels"] = targets
    elif head != stem_of(family) + "Model":
        if family != "bert":
            counts &= np.roll(mask, 1, axis=1) == 1
        given["labels"] = np.where(counts & (mask == 1), ids, -100)
    return given
