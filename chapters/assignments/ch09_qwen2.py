"""Chapter 09. Qwen2, whole: what you write.

`decoder_layer` puts a layer together out of its parts. The other two functions need a config alone:
they count what a model has and what it computes, before it exists.
Write plain Python; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch09          grades this file
"""

import numpy as np  # noqa: F401


def decoder_layer(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    """One layer of Qwen2: attention, then the feed-forward block, each around a residual stream.

        h   = x + attention(norm(x))
        out = h + mlp(norm(h))                          each of the two with a norm of its own

    x (B, T, C), the residual stream. The parts are functions: input_layernorm, which stands before
    the attention, post_attention_layernorm, which stands before the mlp, and mlp take (B, T, C) and
    return (B, T, C); self_attn takes (B, T, C) and returns two things, its output (B, T, C) and its
    attention weights (or None).
    Returns two things: the new stream (B, T, C) and the attention weights, as self_attn gave them.

    >>> x = np.array([[[4.0, 6.0]]])
    >>> def half(x):
    ...     return x / 2
    >>> def attend(x):
    ...     return x + 10, "weights"
    >>> def negative(x):
    ...     return -x
    >>> out, weights = decoder_layer(x, half, attend, half, negative)
    >>> out                                # 4 + (2 + 10) = 16, and 16 - 8 = 8
    array([[[8. , 9.5]]])
    >>> weights
    'weights'
    """
    raise NotImplementedError


def parameter_counts(config):
    """{part: number of parameters} of a Qwen2 with a language-model head, exact.

    config: a dict as config.json has it: hidden_size d, intermediate_size d_ff, num_hidden_layers
        l, vocab_size V, num_attention_heads h. And perhaps, if they are there and not None:
        num_key_value_heads h_kv (else h), head_dim d_h (else d / h), tie_word_embeddings (else
        False), attention_bias, whether q, k and v have biases (else True).
    The parts, each summed over all layers, weight and bias together:
        embed_tokens                  a row of d for each token of the vocabulary
        q_proj, k_proj, v_proj        linear, d -> h·d_h, d -> h_kv·d_h, d -> h_kv·d_h, with biases
        o_proj                        linear, h·d_h -> d, no bias
        gate_proj, up_proj, down_proj linear, d -> d_ff, d -> d_ff, d_ff -> d, no biases
        norms                         a weight of d: two in each layer, one after the last
        lm_head                       linear, d -> V, no bias; 0 if it is tied: then it reads the
                                      embedding table, which is counted already
    Returns a dict of integers.

    >>> small = {"hidden_size": 6, "intermediate_size": 10, "num_hidden_layers": 2,
    ...          "vocab_size": 5, "num_attention_heads": 3, "num_key_value_heads": 1,
    ...          "tie_word_embeddings": True}
    >>> counts = parameter_counts(small)   # d_h is 6 / 3 = 2
    >>> counts["q_proj"], counts["k_proj"], counts["norms"], counts["lm_head"]
    (84, 28, 30, 0)
    >>> sum(counts.values())
    632
    """
    raise NotImplementedError


def flops_per_token(config, sequence_length, training=False, causal=False):
    """{part: floating-point operations} for one token of a text, forward.

    A multiplication and the addition that follows it are two operations, so a matrix product with a
    weight takes 2 for each parameter of the weight. Biases, norms, RoPE, softmax, activations and
    the look-up of the embedding are small beside that and not counted. The parts, over all layers:
        attention projections   q, k, v and o
        attention scores        the scores against n keys, 2·n·h·d_h, and the weighted sum of n
                                values, as many again
        mlp                     gate, up and down
        lm_head                       also where it is tied: it computes all the same
    config: as in `parameter_counts`. If it has layer_types, a list with a word for each layer, then
        a layer of "sliding_attention" sees config["sliding_window"] keys at most.
    sequence_length: s. n is s, or the sliding window, if that is shorter.
    causal: take for n the mean of what the s tokens may see: the first sees 1, the next 2, and so
        on, up to the window.
    training: forward and backward. The backward pass has two products for each of the forward's,
        one for the input's gradient and one for the weight's.
    Returns a dict of numbers.

    >>> small = {"hidden_size": 6, "intermediate_size": 10, "num_hidden_layers": 2,
    ...          "vocab_size": 5, "num_attention_heads": 3, "num_key_value_heads": 1,
    ...          "tie_word_embeddings": True}
    >>> flops_per_token(small, 7)["attention projections"]     # 2 layers · 2 · (36 + 12 + 12 + 36)
    384
    >>> flops_per_token(small, 7)["attention scores"]          # 2 layers · (2 · 7 · 6 + 2 · 7 · 6)
    336
    >>> sum(flops_per_token(small, 7, training=True).values())
    4500
    """
    raise NotImplementedError


def training_memory(config, batch_size, sequence_length, bytes_per_number=4):
    """{part: bytes} that one training step holds, from a config alone.

    For honor: no hints, no points, a star on the scoreboard. Which of the parts
    depend on the batch, and which do not?

    weights and gradients are a number for each parameter, "moments of AdamW" two. activations is
    what the layers keep for the way back, for each token (s the sequence_length, other letters as
    above):

        l · (8d + 2·h·d_h + 3·h_kv·d_h + 4·d_ff + h·s/2)

    config: a dict, as for `parameter_counts`. Returns {"weights": …, "gradients": …, "moments of
    AdamW": …, "activations": …}, whole numbers.

    >>> config = {"hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 2}
    >>> config |= {"vocab_size": 10, "tie_word_embeddings": True}
    >>> config |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    >>> memory = training_memory(config, batch_size=3, sequence_length=5)
    >>> memory["weights"], memory["activations"]          # 316 numbers; 15 tokens of 2 · 75
    (1264, 9000)
    """
    raise NotImplementedError
