"""Qwen2, read from top to bottom: rotary positions, attention, MLP, layer, model, heads.

Shapes: B batch, T new tokens, S tokens in all (cached and new), C hidden size, H query heads, H_kv
key/value heads, D head size, V vocabulary. Names are those of Hugging Face's Qwen2, so a checkpoint
loads by name and `print(model)` reads the same. (Yang et al. 2024, "Qwen2 technical report", 2.2.)
"""

import functools
from dataclasses import dataclass

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.autograd.recomputation import checkpoint
from tinyqwen.autograd.tensor import Tensor
from tinyqwen.models.cache import KVCache
from tinyqwen.models.masks import causal_mask, padding_mask
from tinyqwen.models.merged_linear import linears, side_by_side
from tinyqwen.models.qwen2_config import Qwen2Config
from tinyqwen.storage.checkpoint import PreTrainedModel

# ---------------------------------------------------------------------------------------------
# The parts of a layer
# ---------------------------------------------------------------------------------------------


class Qwen2RMSNorm(nn.RMSNorm):
    """nn.RMSNorm under the name that Qwen2's module tree gives it."""


class SiLUActivation(nn.Module):
    """x σ(x). It stands in the module tree; the MLP computes it fused with the gate."""

    def forward(self, x):
        return F.silu(x)


class Qwen2RotaryEmbedding(nn.Module):
    """Tables of the angles by which RoPE rotates queries and keys at each position."""

    def __init__(self, config):
        self._dim, self._theta = config.head_dim, config.rope_theta
        self._max_positions = config.max_position_embeddings

    def forward(self, position_ids, dtype):
        """position_ids (B or 1, T) -> cos, sin, each (B or 1, 1, T, D)."""
        first, last = int(position_ids.min(initial=0)), int(position_ids.max(initial=0))
        if first < 0:
            raise ValueError(f"position {first} is negative; the first one is 0")
        if last >= self._max_positions:
            raise ValueError(
                f"position {last} is past max_position_embeddings "
                f"{self._max_positions}; shorten the text, or raise it in the config"
            )
        length = 1 << last.bit_length()  # a power of 2, so that few are ever computed
        tables = _rope_tables(F.rope_tables, length, self._dim, self._theta, dtype)
        return tables.take(position_ids[:, None], axis=1)


@functools.lru_cache(maxsize=8)
def _rope_tables(compute, length, dim, theta, dtype):
    """Cosines and sines of positions 0 … length - 1, (2, length, D)."""
    return np.stack(compute(np.arange(length), dim, theta, dtype))


class Qwen2Attention(nn.Module):
    """Grouped-query self-attention; Q, K and V have biases, the output projection has none."""

    def __init__(self, config, layer):
        self._layer, self._config = layer, config
        self._window = (
            config.sliding_window if config.layer_types[layer] == "sliding_attention" else None
        )
        C, D = config.hidden_size, config.head_dim
        H, H_kv = config.num_attention_heads, config.num_key_value_heads
        self.q_proj, self.k_proj, self.v_proj = linears(C, H * D, H_kv * D, H_kv * D)
        self.o_proj = nn.Linear(H * D, C, bias=False)

    qkv_proj = side_by_side("q_proj", "k_proj", "v_proj")

    def forward(self, x, rope, mask, past_key_values=None, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the weights (B, H, T, S) if asked for, else None."""
        q, k, v = self._heads(x, rope)
        if past_key_values is not None:
            k, v = past_key_values.update(self._layer, _array(k), _array(v))  # (B, H_kv, S, D)
        dropout = self._config.attention_dropout if self.training else 0.0
        if output_attentions or self._config.attn_implementation == "eager":
            y, weights = eager_attention(q, k, v, mask, self._window, dropout)
        else:
            y = F.scaled_dot_product_attention(
                q, k, v, mask=mask, causal=True, window=self._window, dropout=dropout
            )
            weights = None
        y = self.o_proj(F.merge_heads(y))  # (B, H, T, D) -> (B, T, H·D) -> (B, T, C)
        return y, weights if output_attentions else None

    def _heads(self, x, rope):
        """x (B, T, C) -> queries (B, H, T, D), keys and values (B, H_kv, T, D)."""
        D, H = self._config.head_dim, self._config.num_attention_heads
        if x.shape[1] == 1:  # a decoding step, in the fewest calls: one product, one rotation
            heads = F.split_heads(self.qkv_proj(x), D)  # (B, 1, C) -> (B, H + 2·H_kv, 1, D)
            first_value = H + self._config.num_key_value_heads
            qk = F.apply_rope(heads[:, :first_value], *rope)
            return qk[:, :H], qk[:, H:], heads[:, first_value:]
        q = F.apply_rope(F.split_heads(self.q_proj(x), D), *rope)  # (B, T, C) -> (B, H, T, D)
        k = F.apply_rope(F.split_heads(self.k_proj(x), D), *rope)  # (B, T, C) -> (B, H_kv, T, D)
        return q, k, F.split_heads(self.v_proj(x), D)


def _array(x):
    return x.data if isinstance(x, Tensor) else x


def eager_attention(q, k, v, mask=None, window=None, dropout=0.0):
    """Attention as one reads it in a book, all scores at once; it shows its weights.

    q (B, H, T, D); k, v (B, H_kv, S, D); mask boolean or additive, broadcast to (B, H, T, S).
    Returns (B, H, T, D) and the weights (B, H, T, S).
    """
    allowed = causal_mask(q.shape[2], k.shape[2], window)
    if mask is not None:
        allowed = allowed & mask if mask.dtype == bool else np.where(allowed, mask, -np.inf)
    return F.grouped_query_attention(q, k, v, allowed, dropout)


class Qwen2MLP(nn.Module):
    """down(silu(gate(x)) · up(x)), the SwiGLU feed-forward block; no biases."""

    def __init__(self, config):
        C, I = config.hidden_size, config.intermediate_size
        self.gate_proj, self.up_proj = linears(C, I, I, bias=False)
        self.down_proj = nn.Linear(I, C, bias=False)
        self.act_fn = SiLUActivation()

    gate_up_proj = side_by_side("gate_proj", "up_proj")

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        if x.shape[1] == 1:  # a decoding step: see Qwen2Attention
            both, I = self.gate_up_proj(x), self.gate_proj.out_features  # (B, 1, 2·I)
            gate, up = both[..., :I], both[..., I:]
        else:
            gate, up = self.gate_proj(x), self.up_proj(x)  # (B, T, I)
        return self.down_proj(F.swiglu(gate, up))


def decoder_layer(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
    """h = x + attention(norm(x)), then h + mlp(norm(h)): pre-norm, around a residual stream.

    x (B, T, C), an array or a Tensor. The parts are functions of (B, T, C) that return (B, T, C);
    self_attn returns that and its weights, or None. Returns the new stream (B, T, C) and the
    weights.  (Xiong et al. 2020, figure 1b.)
    """
    y, weights = self_attn(input_layernorm(x))
    x = x + y
    return x + mlp(post_attention_layernorm(x)), weights


class Qwen2DecoderLayer(nn.Module):
    """A `decoder_layer` and the parts that it is made of."""

    def __init__(self, config, layer):
        self.self_attn = Qwen2Attention(config, layer)
        self.mlp = Qwen2MLP(config)
        self.input_layernorm = Qwen2RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = Qwen2RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, rope, mask, past_key_values=None, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the attention weights or None."""

        def self_attn(x):
            return self.self_attn(x, rope, mask, past_key_values, output_attentions)

        return decoder_layer(
            x, self.input_layernorm, self_attn, self.post_attention_layernorm, self.mlp
        )


# ---------------------------------------------------------------------------------------------
# The body and its heads
# ---------------------------------------------------------------------------------------------


@dataclass
class ModelOutput:
    """What a model returns; what was not asked for is None.

    last_hidden_state (B, T, C), of the body alone; logits (B, T, V) or (B, T, labels) or
    (B, labels); loss, a scalar, if labels were given; past_key_values, the KVCache; hidden_states,
    the embeddings, then the output of each layer but the last, then the final norm's, (B, T, C)
    each; attentions, (B, H, T, S) of each layer.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    past_key_values: KVCache | None = None
    hidden_states: tuple | None = None
    attentions: tuple | None = None


class Qwen2PreTrainedModel(PreTrainedModel):
    """What all Qwen2 models share: config class, initialization, gradient checkpointing."""

    config_class = Qwen2Config

    def post_init(self):
        """Linear and embedding weights normal(0, initializer_range), biases 0, norms 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.normal_(module.weight, self.config.initializer_range)
                if module.bias is not None and nn.has_memory(module.bias):
                    module.bias.data[...] = 0
            elif isinstance(module, nn.Embedding):
                module.init_(self.config.initializer_range)

    def gradient_checkpointing_enable(self, enabled=True):
        """Keep only each layer's input and compute the layer again in the backward pass."""
        for module in self.modules():
            if isinstance(module, Qwen2Model):
                module._checkpointing = enabled


class Qwen2Model(Qwen2PreTrainedModel):
    """Token ids to hidden states: embedding, decoder layers, final norm."""

    base_model_prefix = ""

    def __init__(self, config):
        self.config = config
        self._checkpointing = False
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(
            Qwen2DecoderLayer(config, i) for i in range(config.num_hidden_layers)
        )
        self.norm = Qwen2RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = Qwen2RotaryEmbedding(config)
        self.post_init()

    def forward(
        self,
        input_ids,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        use_cache=False,
        output_hidden_states=False,
        output_attentions=False,
    ):
        """input_ids (B, T) integers -> ModelOutput.

        attention_mask: (B, S), 1 for tokens and 0 for padding, or anything that broadcasts to
            (B, H, T, S) with four axes, boolean or additive; causality is added to either.
        position_ids: (B, T) or (T,); counted from the cache's length by default.
        past_key_values: a KVCache, which is extended in place; use_cache=True makes one.
        """
        input_ids = np.asarray(_array(input_ids))
        if input_ids.ndim != 2:
            raise ValueError(f"input_ids must be (batch, time), they have shape {input_ids.shape}")
        T = input_ids.shape[1]
        if use_cache and past_key_values is None:
            past_key_values = KVCache(self.config.num_hidden_layers)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if position_ids is None:
            position_ids = np.arange(past, past + T)
        position_ids = np.asarray(_array(position_ids))
        if position_ids.ndim == 1:
            position_ids = position_ids[None]
        if position_ids.shape not in ((1, T), input_ids.shape):
            raise ValueError(
                f"position_ids have shape {position_ids.shape}, expected {input_ids.shape} or "
                f"{(T,)}: one position for each new token"
            )
        mask = _attention_mask(attention_mask, past + T)

        x = self.embed_tokens(input_ids)  # (B, T) -> (B, T, C)
        rope = self.rotary_emb(position_ids, x.dtype)
        hidden_states, attentions = [], []
        # A recomputed layer gives its output alone: no cache, no weights.
        plain = past_key_values is None and not output_attentions
        for layer in self.layers:
            if output_hidden_states:
                hidden_states.append(x)
            if self._checkpointing and is_grad_enabled() and plain:
                x, weights = self._recomputed(layer, x, rope, mask), None
            else:
                x, weights = layer(x, rope, mask, past_key_values, output_attentions)
            attentions.append(weights)
        x = self.norm(x)
        return ModelOutput(
            last_hidden_state=x,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*hidden_states, x) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    @staticmethod
    def _recomputed(layer, x, rope, mask):
        return checkpoint(lambda x: layer(x, rope, mask)[0], x, parameters=list(layer.parameters()))


def _attention_mask(mask, length):
    """A padding mask (B, S) as boolean (B, 1, 1, S), None if it masks nothing."""
    if mask is None:
        return None
    mask = np.asarray(_array(mask))
    if mask.ndim == 4:
        return mask
    if mask.ndim != 2 or mask.shape[1] != length:
        raise ValueError(
            f"attention_mask has shape {mask.shape}, expected (batch, {length}): "
            "one entry for each token, cached ones included"
        )
    return None if mask.all() else padding_mask(mask)


class Qwen2ForCausalLM(Qwen2PreTrainedModel):
    """The body and a linear head over the vocabulary: next-token logits."""

    def __init__(self, config):
        self.config = config
        self.model = Qwen2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self.tie_weights()

    def tie_weights(self):
        """Let the head read the embedding table, if the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        input_ids,
        attention_mask=None,
        position_ids=None,
        labels=None,
        past_key_values=None,
        use_cache=False,
        output_hidden_states=False,
        output_attentions=False,
        num_items_in_batch=None,
        logits_to_keep=0,
        skip_logits=False,
    ):
        """As Qwen2Model.forward, and:

        labels: (B, T), usually input_ids themselves, with -100 where no loss is wanted. They are
            shifted inside: position t is scored on labels[t + 1]. loss is the mean over the labels
            that count, or their sum over num_items_in_batch where that is given.
        logits_to_keep: logits of only that many last positions; 0 means all.
        skip_logits: with labels, compute the loss without ever holding the logits.
        """
        out = self.model(
            input_ids,
            attention_mask,
            position_ids,
            past_key_values,
            use_cache,
            output_hidden_states,
            output_attentions,
        )
        hidden, out.last_hidden_state = out.last_hidden_state, None
        if labels is not None:
            labels = np.asarray(_array(labels))
            shifted = np.full_like(labels, -100)  # the last position predicts nothing we know
            shifted[:, :-1] = labels[:, 1:]
            if skip_logits:
                out.loss = F.linear_cross_entropy(
                    hidden, self.lm_head.weight, shifted, num_items=num_items_in_batch
                )
                return out
        out.logits = self.lm_head(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        if labels is not None:
            out.loss = F.cross_entropy(out.logits, shifted, num_items=num_items_in_batch)
        return out


class Qwen2ForSequenceClassification(Qwen2PreTrainedModel):
    """The body and a linear head on the last token that is not padding: one label a text."""

    fresh_head = True

    def __init__(self, config):
        self.config = config
        self.model = Qwen2Model(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, position_ids=None, labels=None):
        """input_ids (B, T) -> logits (B, num_labels); labels (B,) integers."""
        ids = np.asarray(_array(input_ids))
        out = self.model(ids, attention_mask, position_ids)
        hidden, out.last_hidden_state = out.last_hidden_state, None
        logits = self.score(hidden)  # (B, T, num_labels)
        out.logits = logits[np.arange(len(ids)), self._last_token(ids)]
        if labels is not None:
            if self.config.num_labels == 1:
                raise ValueError("num_labels is 1: there is no class to choose; use the logits")
            out.loss = F.cross_entropy(out.logits, np.asarray(_array(labels)).reshape(-1))
        return out

    def _last_token(self, ids):
        pad = self.config.pad_token_id
        if pad is None:
            if len(ids) > 1:
                raise ValueError("a batch of several texts needs pad_token_id in the config")
            return np.array([ids.shape[1] - 1])
        return (np.arange(ids.shape[1]) * (ids != pad)).argmax(1)


class Qwen2ForTokenClassification(Qwen2PreTrainedModel):
    """The body, dropout, and a linear head on every token."""

    fresh_head = True

    def __init__(self, config):
        self.config = config
        self.model = Qwen2Model(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.score = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, position_ids=None, labels=None):
        """input_ids (B, T) -> logits (B, T, num_labels); labels (B, T), -100 not counted."""
        out = self.model(input_ids, attention_mask, position_ids)
        hidden, out.last_hidden_state = out.last_hidden_state, None
        out.logits = self.score(self.dropout(hidden))
        if labels is not None:
            out.loss = F.cross_entropy(out.logits, np.asarray(_array(labels)))
        return out
