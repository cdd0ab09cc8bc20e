"""Qwen2, read from top to bottom: config, attention, MLP, layer, body, heads.

Shapes: B batch, T new tokens, S tokens in all (cached and new), C hidden size, H query heads, H_kv
key/value heads, D head size, V vocabulary. Names are those of Hugging Face's Qwen2, so a checkpoint
loads by name and `print(model)` reads the same. (Yang et al. 2024, "Qwen2 technical report", 2.2.)

It is the trunk of its relatives: they name other parts where theirs differ, and run the same code.
"""

import functools
from dataclasses import InitVar, dataclass
from typing import Any

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.models import heads
from tinyqwen.models.attention import attention
from tinyqwen.models.cache import KVCache
from tinyqwen.models.config import Count, Number, PretrainedConfig, Share, Size
from tinyqwen.models.inputs import check_ids, check_mask, check_positions, for_cache
from tinyqwen.models.merged_linear import linears, merged_linear
from tinyqwen.models.pretrained import ModelOutput, PreTrainedModel
from tinyqwen.models.rotary import (
    USUAL_THETA,
    RotaryEmbedding,
    apply_rotary_pos_emb,
    longest_text,
    read_rope,
)

# ---------------------------------------------------------------------------------------------
# The config
# ---------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Qwen2Config(PretrainedConfig):
    """Qwen2's hyperparameters, with Hugging Face's names and defaults."""

    model_type = "qwen2"
    written_if_changed = (*PretrainedConfig.written_if_changed, "classifier_dropout")

    vocab_size: Size = 151936
    hidden_size: Size = 4096
    intermediate_size: Size = 22016
    num_hidden_layers: Size = 32
    num_attention_heads: Size = 32
    num_key_value_heads: Size | None = 32
    head_dim: Size | None = None
    hidden_act: str = "silu"
    max_position_embeddings: Size = 32768
    rms_norm_eps: Number = 1e-6
    rope_theta: Number = USUAL_THETA  # 10,000
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: InitVar[dict[str, Any] | None] = None  # how transformers 5 spells these two
    use_sliding_window: bool = False
    sliding_window: Size | None = 4096
    max_window_layers: Count = 28
    layer_types: list[str] | None = None
    attention_dropout: Share = 0.0
    classifier_dropout: Share | None = 0.1

    def __post_init__(self, rope_parameters):
        if self.use_sliding_window is False:
            self.sliding_window = None
        self.rope_theta, self.rope_scaling = read_rope(
            self.rope_theta, self.rope_scaling, rope_parameters
        )
        super().__post_init__()
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.classifier_dropout is None:
            self.classifier_dropout = type(self).classifier_dropout
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by "
                f"num_attention_heads {self.num_attention_heads}; change one, or give head_dim"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not divisible by "
                f"num_key_value_heads {self.num_key_value_heads}; every key/value head must serve "
                "the same number of query heads"
            )
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even, for RoPE rotates pairs; it is {self.head_dim}"
            )
        if self.hidden_act != "silu":
            raise ValueError(f"hidden_act {self.hidden_act!r} is not supported; expected 'silu'")
        self._choose_layer_types()

    def _choose_layer_types(self):
        if self.layer_types is None:
            window = self.sliding_window is not None
            self.layer_types = [
                "sliding_attention" if window and self.is_sliding(i) else "full_attention"
                for i in range(self.num_hidden_layers)
            ]
        if not isinstance(self.layer_types, (list, tuple)):
            raise ValueError(f"layer_types must be a list, not {self.layer_types!r:.100}")
        if len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"layer_types has {len(self.layer_types)} entries, "
                f"num_hidden_layers is {self.num_hidden_layers}; they must be equal"
            )
        for kind in self.layer_types:
            if kind not in ("full_attention", "sliding_attention"):
                raise ValueError(
                    f"layer_types has {kind!r}; expected 'full_attention' or 'sliding_attention'"
                )
        if "sliding_attention" in self.layer_types and self.sliding_window is None:
            raise ValueError("layer_types has 'sliding_attention', but sliding_window is not set")

    def is_sliding(self, layer):
        """Whether a layer, counted from 0, has a sliding window where layer_types does not say."""
        return layer >= self.max_window_layers

    @property
    def max_sequence_length(self):
        """The longest text in tokens: longer than max_position_embeddings where RoPE is scaled."""
        return longest_text(self.max_position_embeddings, self.rope_scaling)

    def to_dict(self):
        """The content of a config.json that transformers 4 and 5 both read."""
        rope = {"rope_type": "default", "rope_theta": self.rope_theta, **(self.rope_scaling or {})}
        return {**super().to_dict(), "rope_parameters": rope}


# ---------------------------------------------------------------------------------------------
# The parts of a layer
# ---------------------------------------------------------------------------------------------


class Qwen2RMSNorm(nn.RMSNorm):
    """nn.RMSNorm under the name that Qwen2's module tree gives it."""


class SiLUActivation(nn.Module):
    """x σ(x). It stands in the module tree; the MLP computes it fused with the gate."""

    def forward(self, x):
        return F.silu(x)


class Qwen2RotaryEmbedding(RotaryEmbedding):
    """RotaryEmbedding under the name that Qwen2's module tree gives it."""


class Qwen2Attention(nn.Module):
    """Grouped-query self-attention; Q, K and V have biases, the output projection has none."""

    def __init__(self, config, layer, qkv_bias=True, o_bias=False):
        self._config, self._layer = config, layer
        sliding = config.layer_types[layer] == "sliding_attention"
        self._window = config.sliding_window if sliding else None
        C, D = config.hidden_size, config.head_dim
        H, H_kv = config.num_attention_heads, config.num_key_value_heads
        self.q_proj, self.k_proj, self.v_proj = linears(
            *(C, H * D, H_kv * D, H_kv * D), bias=qkv_bias
        )
        self.o_proj = nn.Linear(H * D, C, bias=o_bias)

    qkv_proj = merged_linear("q_proj", "k_proj", "v_proj")

    def normed(self, q, k):
        """Queries (B, H, T, D) and keys (B, H_kv, T, D) before they are rotated: as they are."""
        return q, k

    def forward(self, x, rope, mask, past_key_values=None, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the weights (B, H, T, S) if asked for, else None."""
        config = self._config
        q, k, v = self.qkv_proj(x, config.head_dim)  # (B, H, T, D), and twice (B, H_kv, T, D)
        q, k = apply_rotary_pos_emb(*self.normed(q, k), *rope)
        if past_key_values is not None:
            # Those of all tokens so far, (B, H_kv, S, D).
            k, v = past_key_values.update(self._layer, for_cache(k), for_cache(v))
        y, weights = attention(
            *(q, k, v, mask),
            window=self._window,
            dropout=config.attention_dropout if self.training else 0.0,
            eager=output_attentions or config.attn_implementation == "eager",
        )
        y = self.o_proj(F.merge_heads(y))  # (B, H, T, D) -> (B, T, H·D) -> (B, T, C)
        return y, weights if output_attentions else None


class Qwen2MLP(nn.Module):
    """down(silu(gate(x)) · up(x)), the SwiGLU feed-forward block (Shazeer 2020); no biases."""

    def __init__(self, config, layer=None, bias=False, size=None):
        C, I = config.hidden_size, size or config.intermediate_size
        self.gate_proj, self.up_proj = linears(C, I, I, bias=bias)
        self.down_proj = nn.Linear(I, C, bias=bias)
        self.act_fn = SiLUActivation()

    gate_up_proj = merged_linear("gate_proj", "up_proj")

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        return self.down_proj(F.swiglu(*self.gate_up_proj(x)))


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

    norm_class, attention_class, mlp_class = Qwen2RMSNorm, Qwen2Attention, Qwen2MLP

    def __init__(self, config, layer):
        self.self_attn = self.attention_class(config, layer)
        self.mlp = self.mlp_class(config, layer)
        self.input_layernorm = self.norm_class(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = self.norm_class(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, rope, mask, past_key_values=None, output_attentions=False, **for_mlp):
        """x (B, T, C) -> (B, T, C), and the attention weights or None."""

        def self_attn(x):
            return self.self_attn(x, rope, mask, past_key_values, output_attentions)

        mlp = functools.partial(self.mlp, **for_mlp) if for_mlp else self.mlp
        return decoder_layer(x, self.input_layernorm, self_attn, self.post_attention_layernorm, mlp)


# ---------------------------------------------------------------------------------------------
# The body and its heads
# ---------------------------------------------------------------------------------------------


class Qwen2PreTrainedModel(PreTrainedModel):
    """What all Qwen2 models share."""

    config_class = Qwen2Config


class Qwen2Model(Qwen2PreTrainedModel):
    """Token ids to hidden states: embedding, decoder layers, final norm."""

    layer_class, rotary_class = Qwen2DecoderLayer, Qwen2RotaryEmbedding

    def __init__(self, config):
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(
            self.layer_class(config, i) for i in range(config.num_hidden_layers)
        )
        self.norm = self.layer_class.norm_class(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = self.rotary_class(config)
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
        **for_mlp,
    ):
        """input_ids (B, T) integers -> ModelOutput.

        attention_mask: (B, S), 1 for tokens and 0 for padding, or anything that broadcasts to
            (B, H, T, S) with four axes, boolean or additive; causality is added to either.
        position_ids: (B, T) or (T,); counted from the cache's length by default.
        past_key_values: a KVCache, which is extended in place; use_cache=True makes one.
        for_mlp: what a relative's MLPs take beside x.
        """
        if use_cache and past_key_values is None:
            past_key_values = KVCache(self.config.num_hidden_layers)
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        input_ids = check_ids(input_ids)
        position_ids = check_positions(position_ids, input_ids, past)
        mask = check_mask(attention_mask, past + input_ids.shape[1])

        x = self.embed_tokens(input_ids)  # (B, T) -> (B, T, C)
        rope = self.rotary_emb(position_ids, x.dtype)
        x, hidden_states, attentions = self.run_layers(
            *(self.layers, x, rope, mask, past_key_values),
            **{
                "output_hidden_states": output_hidden_states,
                "output_attentions": output_attentions,
            },
            **for_mlp,
        )
        x = self.norm(x)
        return ModelOutput(
            last_hidden_state=x,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*hidden_states, x) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def stream(self):
        """What reads the residual stream and adds to it: [(layer, its attention, its MLP, the
        attention's output projection) …], and the final norm."""
        layers = [(one, one.self_attn, one.mlp, one.self_attn.o_proj) for one in self.layers]
        return layers, self.norm


class Qwen2ForCausalLM(heads.ForCausalLM, Qwen2PreTrainedModel):
    """The body and a linear head over the vocabulary: next-token logits."""

    body_class = Qwen2Model


class Qwen2ForSequenceClassification(heads.ForSequenceClassification, Qwen2PreTrainedModel):
    """The body and a linear head on the last token that is not padding: one label a text."""

    body_class = Qwen2Model


class Qwen2ForTokenClassification(heads.ForTokenClassification, Qwen2PreTrainedModel):
    """The body, dropout, and a linear head on every token."""

    body_class = Qwen2Model
