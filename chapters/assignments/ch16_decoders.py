"""Chapter 16. GPT, LLaMA, Qwen: what you write.

The first four functions return two things: the value, and `vjp`, a function that takes the gradient
g of the loss with respect to the value and returns a tuple with the gradient of each float array,
in order. The others return arrays or a number. Write plain NumPy; replace
`raise NotImplementedError` by your code. Of the library you may use what you wrote in chapters 05
and 10, `F.rms_norm.raw` and `F.cross_entropy.raw`; they return (out, vjp), as yours did.

    pytest tests/assignments -k ch16          grades this file
"""

import math  # noqa: F401
import re  # noqa: F401

import numpy as np  # noqa: F401

from tinyqwen import functional as F  # noqa: F401


def gelu_new(x):
    """GPT-2's GELU: x Φ(x), where tanh stands in for Φ  (Hendrycks & Gimpel 2016, section 2).

        Φ(x) ≈ (1 + tanh u) / 2,      u = √(2/π) (x + 0.044715 x³)

    x (...). Returns (out, vjp): out (...) in x's dtype; vjp(g (...)) -> (dx (...),).

    >>> out, vjp = gelu_new(np.array([0.0, 1.0, -2.0]))
    >>> out.round(4)
    array([ 0.    ,  0.8412, -0.0454])
    >>> vjp(np.array([1.0, 1.0, 10.0]))[0].round(4)
    array([ 0.5  ,  1.083, -0.861])
    """
    raise NotImplementedError


def add_positions(x, weight, position_ids):
    """y = x + W[position_ids]: a learned vector for each place, added to the token's.

    x (B, T, C); weight (P, C), a row for each position that there is; position_ids integers (B, T),
    or (1, T) or (T,) where all texts of the batch have the same positions.
    Returns (out, vjp): out (B, T, C) in x's dtype; vjp(g (B, T, C)) -> (dx (B, T, C), dweight
    (P, C)). Raises ValueError for a position that the table does not have: 0 … P - 1 are there.

    >>> x = np.array([[[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]]])          # one text of three tokens
    >>> weight = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    >>> out, vjp = add_positions(x, weight, np.array([0, 2, 2]))
    >>> out
    array([[[ 1.5, 10.5],
            [ 3. , 30. ],
            [ 3. , 30. ]]])
    >>> dx, dweight = vjp(np.array([[[1.0, 1.0], [2.0, 2.0], [4.0, 0.0]]]))
    >>> dweight                           # position 2 stands twice, position 1 nowhere
    array([[1., 1.],
           [0., 0.],
           [6., 2.]])
    """
    raise NotImplementedError


def qk_norm(query, key, query_weight, key_weight, eps=1e-6):
    """Queries and keys, each head's normed by an RMSNorm before they are rotated  (Qwen3, 2025).

        RMSNorm(q) = w q / √(mean(q²) + ε)      over the D numbers of one head of one token

    query (B, H, T, D); key (B, H_kv, T, D); query_weight (D,) belongs to the queries of all heads,
    key_weight (D,) to the keys of all heads.
    Returns ((query', key'), vjp), two outputs of the inputs' shapes; vjp((g of query', g of key'))
    -> (dquery, dkey, dquery_weight, dkey_weight), each in the shape of its input.

    >>> query = np.array([[[[3.0, 4.0]], [[0.0, 2.0]]]])              # two heads, one token, D = 2
    >>> key = np.array([[[[6.0, 8.0]]]])                              # on one key/value head
    >>> (q, k), vjp = qk_norm(query, key, np.array([1.0, 1.0]), np.array([1.0, 10.0]), eps=0.0)
    >>> q.round(4)[0, :, 0]
    array([[0.8485, 1.1314],
           [0.    , 1.4142]])
    >>> k.round(4)[0, :, 0]                                           # twice as long, as long after
    array([[ 0.8485, 11.3137]])
    >>> dquery, dkey, dquery_weight, dkey_weight = vjp((np.ones((1, 2, 1, 2)), np.ones_like(key)))
    >>> dquery_weight.round(4)                                        # both heads: one weight
    array([0.8485, 2.5456])
    """
    raise NotImplementedError


def fine_tuning_loss(
    class_logits, hidden, weight, labels, input_ids, attention_mask, lm_weight=0.5, num_items=None
):
    """L_FT + λ L_PT: name a text's label, and go on writing  (Radford et al. 2018, equation 5).

        L_FT = mean over texts of  -ln p(label | text)
        L_PT = mean over tokens of -ln p(token t + 1 | tokens 0 … t)

    class_logits (B, labels): scores of a text's labels; hidden (B, T, d): the body's last states;
    weight (V, d): the table that reads them, logits = hidden weightᵀ; labels (B,) integers;
    input_ids (B, T) integers; attention_mask (B, T), 1 for tokens, 0 for padding, which nobody has
    to predict; lm_weight: λ.
    num_items: None, or the two divisors (texts, tokens) where these are a part of a larger batch.
    Returns (out, vjp): out a scalar in nats; vjp(g, a scalar) -> (dclass_logits, dhidden, dweight).

    >>> class_logits = np.log([[3.0, 1.0]])                             # probabilities 3/4 and 1/4
    >>> hidden, weight = np.zeros((1, 3, 2)), np.ones((4, 2))          # all of 4 words as likely
    >>> ids, mask = np.array([[0, 2, 3]]), np.array([[1, 1, 0]])       # the last is padding
    >>> out, vjp = fine_tuning_loss(class_logits, hidden, weight, np.array([1]), ids, mask, 0.5)
    >>> out.round(4)                                                   # ln 4 + ½ ln 4
    2.0794
    >>> dclass_logits, dhidden, dweight = vjp(2.0)
    >>> dclass_logits.round(4)                                         # 2 · (p - one-hot)
    array([[ 1.5, -1.5]])
    """
    raise NotImplementedError


def yarn_scale(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    """What YaRN multiplies RoPE's dim/2 frequencies by: 1 if fast, 1/factor if slow.

    Pair i turns at ω_i = theta^(-2i/dim) a token, so within the `original` length it turns
    original · ω_i / 2π times. Solved for i, this says which pair turns β times:

        i(β) = dim · ln(original / (2π β)) / (2 ln theta)          (Peng et al. 2023, section 3.2)

    low = i(beta_fast) and high = i(beta_slow), rounded outwards (down and up) if `truncate`, then
    low at least 0 and high at most dim - 1. Pairs up to low keep their frequency; those from high
    on are interpolated, multiplied by 1/factor; between them the multiplier falls on a straight
    line over i. (Where the two are equal: take 0.001 for their difference.)
    Returns the multipliers (dim/2,), float64.

    >>> yarn_scale(8, 10000.0, 4.0, 1000)             # i(32) = 0.70 -> 0, i(1) = 2.20 -> 3
    array([1.  , 0.75, 0.5 , 0.25])
    """
    raise NotImplementedError


def conv1d_to_linear(state_dict):
    """GPT-2's arrays under the names, and in the layout, of LLaMA's and Qwen's linear layers.

    state_dict: {name: array} of a GPT-2, with or without "transformer." in front. Its Conv1D layers
    c_attn, c_proj, c_fc hold weights (in, out); Linear's are (out, in). c_attn makes queries, keys
    and values in one product: its columns, and its bias, are theirs in this order, a third each.

        wte, wpe, ln_f           model.embed_tokens, model.embed_positions, model.norm
        h.N.ln_1, h.N.ln_2       model.layers.N.input_layernorm, .post_attention_layernorm
        h.N.attn.c_attn          model.layers.N.self_attn.q_proj, .k_proj, .v_proj
        h.N.attn.c_proj          model.layers.N.self_attn.o_proj
        h.N.mlp.c_fc, .c_proj    model.layers.N.mlp.up_proj, .down_proj

    each followed by .weight or .bias. Left out are the masks that old checkpoints stored
    (h.N.attn.bias, h.N.attn.masked_bias), and lm_head.weight, which is wte once more. Returns a new
    dict {name: array}; raises ValueError for other names.

    >>> c_attn = np.arange(12.0).reshape(2, 6)                         # 2 features in, 3 · 2 out
    >>> found = conv1d_to_linear({"transformer.h.11.attn.c_attn.weight": c_attn})
    >>> sorted(name.removeprefix("model.layers.11.self_attn.") for name in found)
    ['k_proj.weight', 'q_proj.weight', 'v_proj.weight']
    >>> found["model.layers.11.self_attn.k_proj.weight"]
    array([[2., 8.],
           [3., 9.]])
    """
    raise NotImplementedError


def dynamic_theta(theta, dim, factor, length, original):
    """The θ of "dynamic" scaling: the longer the text, the larger  (Peng et al. 2023, app. B).

    For honor: no hints, no points, a star.

        θ' = θ (factor · length / original - (factor - 1))^(dim / (dim - 2))

    theta: θ; dim: the size of a head; length: of the text, in tokens; original: the length that the
    model was trained for. A text that is no longer than that keeps θ. Returns a number.

    >>> dynamic_theta(10000.0, 4, 2.0, 200, 100)      # 10000 · (2 · 2 - 1)²
    90000.0
    >>> dynamic_theta(10000.0, 4, 2.0, 50, 100)
    10000.0
    """
    raise NotImplementedError
