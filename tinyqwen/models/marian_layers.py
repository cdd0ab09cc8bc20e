"""Marian's attention and layers: the Transformer's, in the paper's order (sections 3.1 to 3.3).

Shapes: B texts, S tokens of a source, T of a target, C hidden size, H heads, D head size. A beam
search has K beams for each of B sources: then targets come in B·K rows.
"""

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.models.activations import ACTIVATIONS
from tinyqwen.models.attention import attention
from tinyqwen.models.inputs import for_cache
from tinyqwen.models.merged_linear import linears, merged_linear


class MarianAttention(nn.Module):
    """Multi-head attention: of a text to itself, or of the target to the source."""

    def __init__(self, config, heads, layer=0, causal=False):
        C = config.hidden_size
        self._config, self._head_dim, self._layer, self._causal = config, C // heads, layer, causal
        self.k_proj, self.v_proj, self.q_proj = linears(C, C, C, C)
        self.out_proj = nn.Linear(C, C)

    kvq_proj = merged_linear("k_proj", "v_proj", "q_proj")

    def forward(self, x, mask=None, source=None, past_key_values=None, output_attentions=False):
        """x (B, T, C) attends to itself, or to source (B, S, C); to what past_key_values hold too.

        Returns (B, T, C), and the weights (B, H, T, S) if asked for, else None.
        """
        attend = self._to_itself if source is None else self._to_source
        y, weights = attend(x, mask, source, past_key_values, output_attentions)
        return self.out_proj(y), weights if output_attentions else None

    def _dropout(self):
        return self._config.attention_dropout if self.training else 0.0

    def _to_itself(self, x, mask, source, past_key_values, output_attentions):
        k, v, q = self.kvq_proj(x, self._head_dim)  # (B, T, C) -> (B, H, T, D), three times
        if past_key_values is not None:
            k, v = past_key_values.update(self._layer, for_cache(k), for_cache(v))
        eager = output_attentions or self._config.attn_implementation == "eager"
        y, weights = attention(
            q, k, v, mask, causal=self._causal, dropout=self._dropout(), eager=eager
        )
        return F.merge_heads(y), weights

    def _to_source(self, x, mask, source, past_key_values, output_attentions):
        (rows, T, C), D = x.shape, self._head_dim
        k, v = self._of_source(source, past_key_values)  # (B, S, C) each
        # The beams of a source, one after the other, ask as if they were one long text.
        q = self.q_proj(x).reshape(len(k), -1, C)  # (B·K, T, C) -> (B, K·T, C)
        y, weights = F.cross_attention(q, k, v, D, mask, self._dropout())
        y = y.reshape(rows, T, C)
        if rows != len(k) and output_attentions:
            S = weights.shape[-1]
            weights = weights.reshape(len(k), C // D, -1, T, S).swapaxes(1, 2)
            weights = weights.reshape(rows, C // D, T, S)
        return y, weights

    def _of_source(self, source, past_key_values):
        def compute():
            return self.k_proj(source), self.v_proj(source)

        if past_key_values is None:
            return compute()
        return past_key_values.source(self._layer, lambda: [for_cache(x) for x in compute()])


def post_norm_block(x, sublayers):
    """x ← norm(x + sublayer(x)), for one sublayer after the other: "Add & Norm" (section 3.1).

    x (B, T, C), an array or a Tensor; sublayers: pairs (sublayer, norm) of functions of (B, T, C)
    that return (B, T, C). Returns (B, T, C).

    Post-norm: the norm stands behind the sum, so no stream passes through the block unchanged.
    """
    for sublayer, norm in sublayers:
        x = norm(x + sublayer(x))
    return x


class MarianLayer(nn.Module):
    """What both kinds of layers are made of: a `post_norm_block` with dropout."""

    def __init__(self, config):
        self._config = config

    def block(self, x, *sublayers):
        """Pairs (sublayer, norm), one after the other; (B, T, C) -> (B, T, C)."""

        def dropped(sublayer):
            return lambda x: F.dropout(sublayer(x), self._config.dropout, self.training)

        return post_norm_block(x, [(dropped(sublayer), norm) for sublayer, norm in sublayers])

    def feed_forward(self, x):
        """max(0, x W₁ + b₁) W₂ + b₂ (eq. 2), or with another activation; (B, T, C) -> (B, T, C)."""
        y = self.activation_fn(self.fc1(x))  # (B, T, C) -> (B, T, width)
        return self.fc2(F.dropout(y, self._config.activation_dropout, self.training))


class MarianEncoderLayer(MarianLayer):
    """Attention to all of the source, then a feed-forward network."""

    def __init__(self, config):
        super().__init__(config)
        C, width = config.hidden_size, config.intermediate_size
        self.self_attn = MarianAttention(config, config.num_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(C)
        self.activation_fn = ACTIVATIONS[config.activation_function]()
        self.fc1, self.fc2 = nn.Linear(C, width), nn.Linear(width, C)
        self.final_layer_norm = nn.LayerNorm(C)

    def forward(self, x, mask=None, output_attentions=False):
        """x (B, S, C) -> (B, S, C), and the attention weights (B, H, S, S) or None."""
        attentions = []

        def self_attention(x):
            y, weights = self.self_attn(x, mask, output_attentions=output_attentions)
            attentions.append(weights)
            return y

        x = self.block(
            x,
            (self_attention, self.self_attn_layer_norm),
            (self.feed_forward, self.final_layer_norm),
        )
        return x, *attentions


class MarianDecoderLayer(MarianLayer):
    """Attention to what is written so far, attention to the source, a feed-forward network."""

    def __init__(self, config, layer):
        super().__init__(config)
        C, H, width = config.hidden_size, config.decoder_attention_heads, config.decoder_ffn_dim
        self.self_attn = MarianAttention(config, H, layer, causal=True)
        self.activation_fn = ACTIVATIONS[config.activation_function]()
        self.self_attn_layer_norm = nn.LayerNorm(C)
        self.encoder_attn = MarianAttention(config, H, layer)
        self.encoder_attn_layer_norm = nn.LayerNorm(C)
        self.fc1, self.fc2 = nn.Linear(C, width), nn.Linear(width, C)
        self.final_layer_norm = nn.LayerNorm(C)

    def forward(
        self, x, source, mask=None, source_mask=None, past_key_values=None, output_attentions=False
    ):
        """x (B, T, C), source (B, S, C) -> (B, T, C), and two attention weights, or two Nones."""
        more, attentions = (past_key_values, output_attentions), []

        def self_attention(x):
            y, weights = self.self_attn(x, mask, None, *more)
            attentions.append(weights)
            return y

        def source_attention(x):
            y, weights = self.encoder_attn(x, source_mask, source, *more)
            attentions.append(weights)
            return y

        x = self.block(
            x,
            (self_attention, self.self_attn_layer_norm),
            (source_attention, self.encoder_attn_layer_norm),
            (self.feed_forward, self.final_layer_norm),
        )
        return x, tuple(attentions)
