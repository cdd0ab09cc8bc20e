"""Wrong solutions of chapter 09, each named after its mistake."""

import numpy as np

from tinyqwen.analysis import budget
from tinyqwen.course import mutant
from tinyqwen.models import qwen2

right_counts, right_flops = budget.parameter_counts, budget.flops_per_token
right_layer = qwen2.decoder_layer


# ---------------------------------------------------------------------------------------------
# decoder_layer
# ---------------------------------------------------------------------------------------------


def layer_mutant(killed_by, named):
    name = f"test_decoder_layer_{killed_by}"
    return mutant(of="decoder_layer", killed_by=name, named=named)


@layer_mutant("value", "around the attention is missing")
def layer_without_first_residual(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    x, weights = self_attn(input_layernorm(x))
    return x + mlp(post_attention_layernorm(x)), weights


@layer_mutant("value", "around the mlp is missing")
def layer_without_second_residual(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    return mlp(post_attention_layernorm(x + y)), weights


@layer_mutant("residual", "a residual connection is missing")
def layer_without_residuals(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    x, weights = self_attn(input_layernorm(x))
    return mlp(post_attention_layernorm(x)), weights


@layer_mutant("residual", "what the norm returns is added")
def layer_adds_to_the_norm(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    x = input_layernorm(x)
    y, weights = self_attn(x)
    x = x + y
    return x + mlp(post_attention_layernorm(x)), weights


@layer_mutant("value", "the mlp's sum takes what the norm returned")
def layer_adds_to_the_second_norm(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    x = post_attention_layernorm(x + y)
    return x + mlp(x), weights


@layer_mutant("value", "that part is lost")
def layer_forgets_the_attention(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    return x + mlp(post_attention_layernorm(x + y)), weights


@layer_mutant("value", "side by side")
def layer_in_parallel(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    return x + y + mlp(post_attention_layernorm(x)), weights


@layer_mutant("value", "this is post-norm")
def layer_post_norm(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(x)
    x = input_layernorm(x + y)
    return post_attention_layernorm(x + mlp(x)), weights


@layer_mutant("value", "the norm comes after the block")
def layer_norms_what_comes_out(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(x)
    x = x + input_layernorm(y)
    return x + post_attention_layernorm(mlp(x)), weights


@layer_mutant("value", "the two norms are exchanged")
def layer_norms_exchanged(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    return right_layer(x, post_attention_layernorm, self_attn, input_layernorm, mlp)


@layer_mutant("value", "the first norm is used twice")
def layer_one_norm(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    return right_layer(x, input_layernorm, self_attn, input_layernorm, mlp)


@layer_mutant("value", "the mlp comes first")
def layer_mlp_first(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    x = x + mlp(post_attention_layernorm(x))
    y, weights = self_attn(input_layernorm(x))
    return x + y, weights


@layer_mutant("value", "the attention's input is not normalized")
def layer_attention_without_norm(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    return right_layer(x, lambda x: x, self_attn, post_attention_layernorm, mlp)


@layer_mutant("calls", "called more than once: input_layernorm, self_attn")
def layer_calls_attention_twice(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    x = x + self_attn(input_layernorm(x))[0]
    out = x + mlp(post_attention_layernorm(x))
    return out, self_attn(input_layernorm(x))[1]


@layer_mutant("weights", "this is the attention's output")
def layer_returns_the_output_as_weights(
    x, input_layernorm, self_attn, post_attention_layernorm, mlp
):
    y, _ = self_attn(input_layernorm(x))
    x = x + y
    return x + mlp(post_attention_layernorm(x)), y


@layer_mutant("value", "the attention weights are missing")
def layer_without_weights(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    return right_layer(x, input_layernorm, self_attn, post_attention_layernorm, mlp)[0]


@layer_mutant("manners", "x is changed in place")
def layer_in_place(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    x += y
    x += mlp(post_attention_layernorm(x))
    return x, weights


@layer_mutant("manners", "float64 comes out")
def layer_in_float64(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    out, weights = right_layer(x, input_layernorm, self_attn, post_attention_layernorm, mlp)
    return out + np.zeros(out.shape), weights


# ---------------------------------------------------------------------------------------------
# parameter_counts
# ---------------------------------------------------------------------------------------------


def counts_mutant(killed_by, named):
    name = f"test_parameter_counts_{killed_by}"
    return mutant(of="parameter_counts", killed_by=name, named=named)


@counts_mutant("value", "the bias is missing")
def counts_without_biases(config):
    return right_counts({**config, "attention_bias": False})


@counts_mutant("value", "o_proj has no bias")
def counts_a_bias_of_o(config):
    counts = right_counts(config)
    extra = config["num_hidden_layers"] * config["hidden_size"]
    return {**counts, "o_proj": counts["o_proj"] + extra}


@counts_mutant("value", "the query heads are counted")
def counts_multi_head(config):
    return right_counts({**config, "num_key_value_heads": config["num_attention_heads"]})


@counts_mutant("value", "hidden_size in number")
def counts_without_head_dim(config):
    """Takes H·D for h, which it is in most models."""
    h, L = config["hidden_size"], config["num_hidden_layers"]
    counts, bias = right_counts(config), int(config.get("attention_bias", True))
    return {**counts, "q_proj": L * h * (h + bias), "o_proj": L * h * h}


@counts_mutant("value", "the norm after the last layer is missing")
def counts_without_final_norm(config):
    counts = right_counts(config)
    return {**counts, "norms": counts["norms"] - config["hidden_size"]}


@counts_mutant("value", "each layer has two norms")
def counts_one_norm_a_layer(config):
    norms = (config["num_hidden_layers"] + 1) * config["hidden_size"]
    return {**right_counts(config), "norms": norms}


@counts_mutant("value", "the mlp has no biases")
def counts_biases_of_the_mlp(config):
    counts, L = right_counts(config), config["num_hidden_layers"]
    extra = {"gate_proj": config["intermediate_size"], "up_proj": config["intermediate_size"]}
    extra["down_proj"] = config["hidden_size"]
    return {part: n + L * extra.get(part, 0) for part, n in counts.items()}


@counts_mutant("value", "missing: up_proj")
def counts_two_matrices(config):
    counts = right_counts(config)
    del counts["up_proj"]
    return counts


@counts_mutant("tied", "counted already")
def counts_a_tied_head(config):
    return right_counts({**config, "tie_word_embeddings": False})


@counts_mutant("tied", "KeyError")
def counts_want_tie_word_embeddings(config):
    return right_counts({**config, "tie_word_embeddings": config["tie_word_embeddings"]})


@counts_mutant("defaults", "there are no biases")
def counts_biases_anyway(config):
    return right_counts({**config, "attention_bias": config.get("attention_bias") or True})


@counts_mutant("published", "attention_bias is False: there are no biases")
def counts_biases_of_llama(config):
    return counts_biases_anyway(config)


@counts_mutant("published", "the biases of q, k and v are missing")
def counts_no_biases_of_qwen(config):
    return right_counts({**config, "attention_bias": config.get("attention_bias", False)})


@counts_mutant("defaults", "TypeError")
def counts_with_a_default_of_get(config):
    """`get` with a default gives None where the field is there and None."""
    heads = config.get("num_key_value_heads", config["num_attention_heads"])
    return right_counts({**config, "num_key_value_heads": heads + 0})


@counts_mutant("value", "one for each output")
def counts_biases_of_the_inputs(config):
    counts, h, L = right_counts(config), config["hidden_size"], config["num_hidden_layers"]
    if config.get("attention_bias", True):
        weights = right_counts({**config, "attention_bias": False})
        counts |= {part: weights[part] + L * h for part in ("q_proj", "k_proj", "v_proj")}
    return counts


@counts_mutant("value", "a return statement is missing")
def counts_returns_nothing(config):
    right_counts(config)


# ---------------------------------------------------------------------------------------------
# flops_per_token
# ---------------------------------------------------------------------------------------------


def flops_mutant(killed_by, named):
    name = f"test_flops_per_token_{killed_by}"
    return mutant(of="flops_per_token", killed_by=name, named=named)


@flops_mutant("value", "multiplications alone")
def flops_of_multiplications(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return {part: n / 2 for part, n in flops.items()}


@flops_mutant("value", "only the scores are counted")
def flops_without_weighted_sum(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return {**flops, "attention scores": flops["attention scores"] / 2}


@flops_mutant("value", "whoever shares the keys")
def flops_of_shared_scores(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    H = config["num_attention_heads"]
    share = (config.get("num_key_value_heads") or H) / H
    return {**flops, "attention scores": flops["attention scores"] * share}


@flops_mutant("value", "the biases are counted")
def flops_with_biases(config, sequence_length, training=False, causal=False):
    flops, counts = right_flops(config, sequence_length, training, causal), right_counts(config)
    projections = sum(counts[part] for part in ("q_proj", "k_proj", "v_proj", "o_proj"))
    return {**flops, "attention projections": (3 if training else 1) * 2 * projections}


@flops_mutant("value", "a tied head computes, too")
def flops_without_a_tied_head(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    tied = config.get("tie_word_embeddings")
    return {**flops, "lm_head": 0 if tied else flops["lm_head"]}


@flops_mutant("value", "the mlp has three matrices")
def flops_of_two_mlp_matrices(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return {**flops, "mlp": flops["mlp"] * 2 / 3}


@flops_mutant("value", "the scores of all tokens")
def flops_of_all_tokens(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return {**flops, "attention scores": flops["attention scores"] * sequence_length}


@flops_mutant("training", "training is not used")
def flops_without_training(config, sequence_length, training=False, causal=False):
    return right_flops(config, sequence_length, False, causal)


@flops_mutant("training", "two products for each")
def flops_backward_once(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, False, causal)
    passes = 2 if training else 1
    return {part: passes * n for part, n in flops.items()}


@flops_mutant("causal", "causal is not used")
def flops_without_causal(config, sequence_length, training=False, causal=False):
    return right_flops(config, sequence_length, training)


@flops_mutant("causal", "a token sees itself as well")
def flops_causal_half(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training)
    half = 0.5 if causal else 1
    return {**flops, "attention scores": flops["attention scores"] * half}


@flops_mutant("causal", "not rounded")
def flops_causal_rounded(config, sequence_length, training=False, causal=False):
    seen = (sequence_length + 1) // 2 if causal and not config.get("layer_types") else None
    if seen is None:
        return right_flops(config, sequence_length, training, causal)
    scores = right_flops(config, seen, training)["attention scores"]
    return {**right_flops(config, sequence_length, training), "attention scores": scores}


@flops_mutant("windows", "the sliding window is not used")
def flops_without_windows(config, sequence_length, training=False, causal=False):
    return right_flops({**config, "layer_types": None}, sequence_length, training, causal)


@flops_mutant("windows", "only the layers of sliding_attention")
def flops_windows_everywhere(config, sequence_length, training=False, causal=False):
    kinds = config.get("layer_types")
    if kinds and "sliding_attention" in kinds:
        config = {**config, "layer_types": ["sliding_attention"] * len(kinds)}
    return right_flops(config, sequence_length, training, causal)


@flops_mutant("windows", "the first tokens still see 1, 2")
def flops_window_from_the_first_token(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    kinds, window = config.get("layer_types"), config.get("sliding_window")
    if causal and kinds:
        one = {**config, "num_hidden_layers": 1, "layer_types": ["full_attention"]}
        layer = right_flops(one, 1, training)["attention scores"]
        mean = (sequence_length + 1) / 2
        keys = [min(window, sequence_length) if k == "sliding_attention" else mean for k in kinds]
        flops["attention scores"] = layer * sum(keys)
    return flops


# ---------------------------------------------------------------------------------------------
# training_memory
# ---------------------------------------------------------------------------------------------


def memory(config, batch_size, sequence_length, bytes_per_number=4, **changes):
    right = budget.training_memory(config, batch_size, sequence_length, bytes_per_number)
    return right | {part: change(right) for part, change in changes.items()}


@mutant(of="training_memory", killed_by="test_training_memory_value", named="two moments")
def training_memory_one_moment(config, batch_size, sequence_length, bytes_per_number=4):
    right = memory(config, batch_size, sequence_length, bytes_per_number)
    return right | {"moments of AdamW": right["weights"]}


@mutant(of="training_memory", killed_by="test_training_memory_value", named="what four bytes each")
def training_memory_four_bytes(config, batch_size, sequence_length, bytes_per_number=4):
    return memory(config, batch_size, sequence_length)


@mutant(of="training_memory", killed_by="test_training_memory_value", named="not bytes")
def training_memory_numbers(config, batch_size, sequence_length, bytes_per_number=4):
    return memory(config, batch_size, sequence_length, 1)


@mutant(of="training_memory", killed_by="test_training_memory_value", named="number of layers")
def training_memory_one_layer(config, batch_size, sequence_length, bytes_per_number=4):
    return memory(
        config,
        batch_size,
        sequence_length,
        bytes_per_number,
        activations=lambda right: right["activations"] // config["num_hidden_layers"],
    )


@mutant(of="training_memory", killed_by="test_training_memory_value", named="the batch is missing")
def training_memory_one_text(config, batch_size, sequence_length, bytes_per_number=4):
    right = memory(config, batch_size, sequence_length, bytes_per_number)
    one = memory(config, 1, sequence_length, bytes_per_number)
    return right | {"activations": one["activations"]}


@mutant(of="training_memory", killed_by="test_training_memory_value", named="half of the keys")
def training_memory_all_keys(config, batch_size, sequence_length, bytes_per_number=4):
    config_heads = config["num_attention_heads"] * config["num_hidden_layers"]
    more = batch_size * sequence_length**2 * config_heads // 2 * bytes_per_number
    right = memory(config, batch_size, sequence_length, bytes_per_number)
    return right | {"activations": right["activations"] + more}


@mutant(of="training_memory", killed_by="test_training_memory_value", named="missing: gradients")
def training_memory_without_gradients(config, batch_size, sequence_length, bytes_per_number=4):
    right = memory(config, batch_size, sequence_length, bytes_per_number)
    return {part: number for part, number in right.items() if part != "gradients"}


# ---------------------------------------------------------------------------------------------
# More of what students write
# ---------------------------------------------------------------------------------------------


@layer_mutant("manners", "h += … writes into what a part")
def layer_adds_into_h(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    h = x + y
    h += mlp(post_attention_layernorm(h))
    return h, weights


@layer_mutant("value", "the attention's part is missing")
def layer_of_the_mlp_alone(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    weights = self_attn(input_layernorm(x))[1]
    return x + mlp(post_attention_layernorm(x)), weights


@layer_mutant("value", "the sums are halved")
def layer_means(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    h = np.mean([x, y], axis=0)
    return h + mlp(post_attention_layernorm(h)), weights


@layer_mutant("value", "the attention is subtracted")
def layer_subtracts(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    return right_layer(x, input_layernorm, lambda _: (-y, weights), post_attention_layernorm, mlp)


@layer_mutant("value", "reads what the attention put out")
def layer_mlp_of_attention(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    y, weights = self_attn(input_layernorm(x))
    return mlp(post_attention_layernorm(y)) + y + x, weights


@layer_mutant("value", "normalized at the end")
def layer_normalizes_at_the_end(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    out, weights = right_layer(x, input_layernorm, self_attn, post_attention_layernorm, mlp)
    return input_layernorm(out), weights


@mutant(of="parameter_counts", killed_by="test_parameter_counts_value", named="changed in place")
def parameters_set_the_defaults(config):
    config.setdefault("attention_bias", True)
    return right_counts(config)


@mutant(of="flops_per_token", killed_by="test_flops_per_token_value", named="changed in place")
def flops_pop_the_window(config, sequence_length, training=False, causal=False):
    right = right_flops(dict(config), sequence_length, training, causal)
    config.pop("vocab_size")
    return right


@layer_mutant("weights", "is dropped: hand it on")
def layer_drops_the_weights(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    return right_layer(x, input_layernorm, self_attn, post_attention_layernorm, mlp)[0], None


def changed_counts(change):
    """The right counts of a config with the parts that `change` gives for its sizes."""

    def counts(config):
        h, heads = config["hidden_size"], config["num_attention_heads"]
        kv = config.get("num_key_value_heads") or heads
        depth = config.get("head_dim") or h // heads
        return right_counts(config) | change(config, h, heads, kv, depth)

    return counts


@counts_mutant("value", "head_dim is not used")
def counts_with_a_head_dim_of_their_own(config):
    return right_counts({**config, "head_dim": None})


@counts_mutant("value", "for keys and values as well")
def counts_heads_of_another_width(config):
    h, kv = config["hidden_size"], config.get("num_key_value_heads")
    return right_counts({**config, "head_dim": h // (kv or config["num_attention_heads"])})


@counts_mutant("value", "here they are counted once")
def counts_biases_once(config):
    bias = config.get("attention_bias") is not False

    def once(config, h, heads, kv, depth):
        widths = {"q_proj": heads * depth, "k_proj": kv * depth, "v_proj": kv * depth}
        return {part: (config["num_hidden_layers"] * h + bias) * n for part, n in widths.items()}

    return changed_counts(once)(config)


@counts_mutant("value", "not for those of the heads")
def counts_norms_of_heads(config):
    def norms(config, h, heads, kv, depth):
        return {"norms": (2 * config["num_hidden_layers"] + 1) * heads * depth}

    return changed_counts(norms)(config)


@counts_mutant("value", "in the place of intermediate_size")
def counts_a_square_gate(config):
    def gate(config, h, heads, kv, depth):
        return {"gate_proj": config["num_hidden_layers"] * h * h}

    return changed_counts(gate)(config)


@counts_mutant("tied", "the head is not tied: it has a table of its own")
def counts_tie_by_default(config):
    return right_counts({"tie_word_embeddings": True, **config})


@counts_mutant("tied", "with a 0")
def counts_leave_out_a_tied_head(config):
    counts = right_counts(config)
    if config.get("tie_word_embeddings"):
        del counts["lm_head"]
    return counts


@counts_mutant("value", "the sum is no part")
def counts_and_their_sum(config):
    counts = right_counts(config)
    return counts | {"total": sum(counts.values())}


@counts_mutant("defaults", "is null, which stands for its default")
def counts_null_as_false(config):
    return right_counts({**config, "attention_bias": bool(config.get("attention_bias", True))})


@counts_mutant("defaults", "need not have the field")
def counts_want_key_value_heads(config):
    config["num_key_value_heads"]
    return right_counts(config)


@flops_mutant("training", "three passes, not four")
def flops_four_passes(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, False, causal)
    return {part: number * (4 if training else 1) for part, number in flops.items()}


@flops_mutant("value", "a weighted sum of its own")
def flops_shared_sums(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    heads = config["num_attention_heads"]
    share = (config.get("num_key_value_heads") or heads) / heads
    return flops | {"attention scores": flops["attention scores"] * (1 + share) / 2}


@flops_mutant("causal", "the first sees 1, the last s")
def flops_of_the_tokens_before(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    if causal:
        flops["attention scores"] *= (sequence_length - 1) / (sequence_length + 1)
    return flops


@flops_mutant("windows", "off by one: this is a window of 5")
def flops_of_a_wider_window(config, sequence_length, training=False, causal=False):
    if "sliding_window" in config:
        config = {**config, "sliding_window": config["sliding_window"] + 1}
    return right_flops(config, sequence_length, training, causal)


@flops_mutant("value", "a look-up multiplies nothing")
def flops_of_the_embedding(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return flops | {"embedding": 2 * config["vocab_size"] * config["hidden_size"]}


@flops_mutant("value", "the number of layers is missing")
def flops_scores_of_one_layer(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return flops | {"attention scores": flops["attention scores"] / config["num_hidden_layers"]}


@mutant(of="training_memory", killed_by="test_training_memory_value", named="counted twice")
def training_memory_of_two_tables(config, batch_size, sequence_length, bytes_per_number=4):
    untied = {**config, "tie_word_embeddings": False}
    return memory(untied, batch_size, sequence_length, bytes_per_number)


@mutant(of="training_memory", killed_by="test_training_memory_value", named="// drops it")
def training_memory_whole_halves(config, batch_size, sequence_length, bytes_per_number=4):
    half = config["num_attention_heads"] * sequence_length % 2 / 2
    lost = batch_size * sequence_length * config["num_hidden_layers"] * half * bytes_per_number
    parts = memory(config, batch_size, sequence_length, bytes_per_number)
    return parts | {"activations": int(parts["activations"] - lost)}


@flops_mutant("value", "sequence_length is a factor too many")
def flops_mlp_of_all_tokens(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return flops | {"mlp": flops["mlp"] * sequence_length}


@flops_mutant("value", "sequence_length is a factor too many")
def flops_head_of_all_tokens(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    return flops | {"lm_head": flops["lm_head"] * sequence_length}


@flops_mutant("value", "the factor num_attention_heads is missing")
def flops_scores_of_one_head(config, sequence_length, training=False, causal=False):
    flops = right_flops(config, sequence_length, training, causal)
    scores = flops["attention scores"] / config["num_attention_heads"]
    return flops | {"attention scores": scores}


@flops_mutant("windows", "full and sliding layers are exchanged")
def flops_kinds_exchanged(config, sequence_length, training=False, causal=False):
    kinds = config.get("layer_types") or []
    turned = [
        k.replace("full", "x").replace("sliding", "full").replace("x", "sliding") for k in kinds
    ]
    config = {**config, "layer_types": turned} if kinds else config
    return right_flops(config, sequence_length, training, causal)


@counts_mutant("value", "head_dim is taken where hidden_size belongs")
def counts_queries_of_a_head(config):
    def queries(config, h, heads, kv, depth):
        bias = config.get("attention_bias") is not False
        return {"q_proj": config["num_hidden_layers"] * heads * depth * (depth + bias)}

    return changed_counts(queries)(config)


@counts_mutant("value", "nothing is counted here")
def counts_no_values(config):
    return changed_counts(lambda *_: {"v_proj": 0})(config)


@counts_mutant("value", "this is 1/2 of the right number")
def counts_half_a_gate(config):
    return changed_counts(lambda *_: {"gate_proj": right_counts(config)["gate_proj"] // 2})(config)


@mutant(
    of="decoder_layer", killed_by="test_decoder_layer_value", named="the first norm comes after"
)
def layer_first_norm_behind(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    out, weights = self_attn(x)
    h = x + input_layernorm(out)
    return h + mlp(post_attention_layernorm(h)), weights
