"""The families whose parity is tested, a line each: a tiny model, and what may differ in it.

`head` is the class that has the family's loss; "cases" are changes of its config, by name. Random
weights, norms and biases too, so that no part of the model is left out by being 0 or 1.
"""

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
}
CASES = [(family, case) for family, entry in FAMILIES.items() for case in entry["cases"]]


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
        for name, parameter in model.named_parameters():
            mean = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(mean + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def pair(transformers, family, case="plain", head=None, **changes):
    """Ours and theirs, with the same weights."""
    theirs = their_model(transformers, family, case, head, **changes)
    ours = our_model(family, case, head, **changes)
    ours.load_state_dict({name: p.numpy() for name, p in theirs.state_dict().items()})
    return ours, theirs


def padded(rng, side, batch=3, length=9, vocab_size=50):
    """ids (B, T) with padding 0 on one side, 0, 2 and 5 tokens of it, and the mask (B, T)."""
    ids, mask = rng.integers(2, vocab_size, (batch, length)), np.ones((batch, length), int)
    for row, padding in enumerate((0, 2, 5)):
        place = slice(0, padding) if side == "left" else slice(length - padding, length)
        ids[row, place], mask[row, place] = 0, 0
    return ids, mask
