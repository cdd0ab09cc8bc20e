"""What a model costs, from its config alone: parameters, arithmetic, KV cache, training memory.

Letters: h hidden size, i intermediate size, L layers, V vocabulary, H query heads, H_kv key/value
heads, D head size, s sequence length. A config is a dict with config.json's fields, or an object
that has them as attributes. `head_dim` may be missing or None (h / H), so may `num_key_value_heads`
(H), `tie_word_embeddings` (False), and `attention_bias`, whether q, k and v have biases (Qwen2's
do, so that is the default).
"""

import math


def as_dict(config):
    """The fields of a config: itself if it is a dict, else its attributes."""
    return config if isinstance(config, dict) else vars(config)


def _head_size(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _key_value_heads(config):
    return config.get("num_key_value_heads") or config["num_attention_heads"]


# ---------------------------------------------------------------------------------------------
# Parameters
# ---------------------------------------------------------------------------------------------


def parameter_counts(config):
    """{part: number of parameters}, exact; the values' sum is `model.num_parameters()`.

    The parts are embed_tokens, q_proj, k_proj, v_proj (biases included), o_proj, gate_proj,
    up_proj, down_proj, norms and lm_head, each over all layers. A tied lm_head counts 0: it is the
    embedding table. Qwen2.5-0.5B: 494,032,768 in all.
    """
    config = as_dict(config)
    h, i, L, V = (
        config["hidden_size"],
        config["intermediate_size"],
        config["num_hidden_layers"],
        config["vocab_size"],
    )
    queries = config["num_attention_heads"] * _head_size(config)
    keys = _key_value_heads(config) * _head_size(config)
    bias = int(config.get("attention_bias") is not False)
    return {
        "embed_tokens": V * h,
        "q_proj": L * queries * (h + bias),
        "k_proj": L * keys * (h + bias),
        "v_proj": L * keys * (h + bias),
        "o_proj": L * h * queries,
        "gate_proj": L * i * h,
        "up_proj": L * i * h,
        "down_proj": L * h * i,
        "norms": (2 * L + 1) * h,
        "lm_head": 0 if config.get("tie_word_embeddings") else V * h,
    }


def expert_parameters(config):
    """(all, active): numbers of a layer's mixture of experts, and those that one token uses.

    config: Qwen2-MoE's fields hidden_size h, num_experts E, num_experts_per_tok k,
    moe_intermediate_size i, shared_expert_intermediate_size s. An expert is a SwiGLU block of three
    matrices, 3 h i. The router, h E, the shared expert, 3 h s, and its gate, h, are used by all.

    >>> expert_parameters({"hidden_size": 2, "num_experts": 4, "num_experts_per_tok": 1,
    ...     "moe_intermediate_size": 3, "shared_expert_intermediate_size": 5})
    (112, 58)
    """
    config = as_dict(config)
    h, E = config["hidden_size"], config["num_experts"]
    expert = 3 * h * config["moe_intermediate_size"]
    by_all = h * E + 3 * h * config["shared_expert_intermediate_size"] + h
    return E * expert + by_all, config["num_experts_per_tok"] * expert + by_all


def rule_of_thumb(config):
    """(4d² + d·d_ff)·l + V·d: four square matrices, one feed-forward one, the embedding."""
    config = as_dict(config)
    h, i = config["hidden_size"], config["intermediate_size"]
    return (4 * h * h + h * i) * config["num_hidden_layers"] + config["vocab_size"] * h


def rule_of_thumb_corrections(config):
    """[(reason, number)]: why the rule of thumb is off; it and the numbers sum to the exact count.

    Corrections that are 0 for this config are left out.
    """
    config = as_dict(config)
    h, L = config["hidden_size"], config["num_hidden_layers"]
    queries = config["num_attention_heads"] * _head_size(config)
    keys = _key_value_heads(config) * _head_size(config)
    count = parameter_counts(config)
    bias = L * (queries + 2 * keys) * int(config.get("attention_bias") is not False)
    corrections = [
        ("SwiGLU has three d·d_ff matrices, gate, up and down, not one", 2 * count["up_proj"]),
        (f"q and o lead to h·d_h = {queries}, not to d = {h}", 2 * L * h * (queries - h)),
        (f"k and v lead to h_kv·d_h = {keys} only, not to d = {h}", 2 * L * h * (keys - h)),
        ("biases of q, k and v", bias),
        ("weights of the norms", count["norms"]),
        ("an lm_head that is not tied to the embedding", count["lm_head"]),
    ]
    return [(reason, number) for reason, number in corrections if number]


# ---------------------------------------------------------------------------------------------
# Arithmetic
# ---------------------------------------------------------------------------------------------


def flops_per_token(config, sequence_length, training=False, causal=False):
    """{part: floating-point operations}, a mean over the tokens of one sequence.

    A multiplication and the addition after it are 2 operations, so a matrix product with a weight
    costs 2 a parameter. A token's scores against n keys cost 2·n·H·D in each layer, and the
    weighted sum of n values the same. Counted are the parts "attention projections", "attention
    scores", "mlp" and "lm_head" (which computes also when it is tied); not counted are the
    embedding (a look-up), biases, norms, RoPE, softmax and activations, small beside these.

    sequence_length: s; n is s, or the sliding window if that is shorter.
    causal: take n as what a token may see, (s + 1) / 2 on average. By default it is s, the usual
        convention: with H·D = H_kv·D = d and d_ff = 8d/3, a layer takes 24·b·s·d² + 4·b·s²·d for a
        batch of b, as one with d_ff = 4d and no gate does (Narayanan et al. 2021).
    training: forward and backward, three times the forward pass: the backward pass has two products
        of the same size, for the input's gradient and for the weight's.
    """
    config = as_dict(config)
    count = parameter_counts(config)
    h, L, queries = (
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"] * _head_size(config),
    )
    keys = sum(_visible_keys(window, sequence_length, causal) for window in _windows(config))
    passes = 3 if training else 1
    projections = 2 * L * h * (queries + _key_value_heads(config) * _head_size(config))
    return {
        "attention projections": passes * 2 * projections,
        "attention scores": passes * 4 * keys * queries,
        "mlp": passes * 2 * 3 * count["up_proj"],
        "lm_head": passes * 2 * config["vocab_size"] * h,
    }


def _windows(config):
    """For each layer its sliding window, or infinity."""
    kinds = config.get("layer_types") or ["full_attention"] * config["num_hidden_layers"]
    return [config["sliding_window"] if kind == "sliding_attention" else math.inf for kind in kinds]


def _visible_keys(window, s, causal):
    """Keys that a token is scored against, mean over s tokens."""
    n = min(window, s)
    if not causal:
        return n
    return (n * (n + 1) / 2 + (s - n) * n) / s  # 1, 2, … n, and then n each


def six_n(config):
    """6N, the quick estimate of training FLOPs a token (Kaplan et al. 2020): 2N forward, 4N back.

    N is all parameters. It takes every parameter for one in a matrix product, which an untied
    embedding table is not, and forgets the scores, which matter once s is near 6h.
    """
    return 6 * sum(parameter_counts(as_dict(config)).values())


# ---------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------


def kv_cache_bytes_per_token(config, num_key_value_heads=None, bytes_per_number=4):
    """2·L·H_kv·D numbers: a key and a value in each layer and key/value head.

    num_key_value_heads: H_kv, by default the config's; H gives multi-head attention's (MHA) figure,
    1 multi-query attention's (MQA), between them lies grouped-query attention (GQA).
    """
    config = as_dict(config)
    heads = _key_value_heads(config) if num_key_value_heads is None else num_key_value_heads
    return 2 * config["num_hidden_layers"] * heads * _head_size(config) * bytes_per_number


def kv_cache_table(config, bytes_per_number=4):
    """[(name, H_kv, bytes a token)] for MHA, the config's own GQA if it is one, and MQA."""
    config = as_dict(config)
    H, own = config["num_attention_heads"], _key_value_heads(config)
    rows = [("MHA", H), ("GQA", own), ("MQA", 1)]
    return [
        (name, heads, kv_cache_bytes_per_token(config, heads, bytes_per_number))
        for name, heads in rows
        if name != "GQA" or 1 < own < H
    ]


def training_memory(config, batch_size, sequence_length, bytes_per_number=4):
    """{part: bytes} that one training step holds at its peak, an estimate to within a third or so.

    weights, gradients and the two moments of AdamW are exact: N numbers, N, and 2N. activations is
    what the tape keeps of each layer for the backward pass: per token about 8d (the residual
    stream twice, norms, projections), 2H·D + 3H_kv·D (q, k, v, the heads' output), 4d_ff (gate, up,
    and two products), and H·s/2 attention weights; plus one chunk of logits. It is Qwen2's formula,
    for paper; `costs.training_memory` reads any family's off its modules.
    """
    config = as_dict(config)
    parameters = sum(parameter_counts(config).values()) * bytes_per_number
    D, H = _head_size(config), config["num_attention_heads"]
    per_token = config["num_hidden_layers"] * (
        8 * config["hidden_size"]
        + 2 * H * D
        + 3 * _key_value_heads(config) * D
        + 4 * config["intermediate_size"]
        + H * sequence_length / 2
    )
    tokens = batch_size * sequence_length
    return {
        "weights": parameters,
        "gradients": parameters,
        "moments of AdamW": 2 * parameters,
        "activations": int(tokens * per_token) * bytes_per_number,
    }
