"""LLaMA, as what it changes of Qwen2: no biases, unless its config asks for them.

Touvron et al. 2023, "LLaMA: open and efficient foundation language models", section 2.2: the
Transformer of 2017 with norms before the blocks, SwiGLU, and rotary positions. (Qwen2 came later
and added biases to queries, keys and values.)
"""

from dataclasses import dataclass

from tinyqwen.models import heads
from tinyqwen.models.config import Size
from tinyqwen.models.pretrained import PreTrainedModel
from tinyqwen.models.qwen2 import (
    Qwen2Attention,
    Qwen2Config,
    Qwen2DecoderLayer,
    Qwen2MLP,
    Qwen2Model,
    Qwen2RMSNorm,
    Qwen2RotaryEmbedding,
)


@dataclass(kw_only=True)
class LlamaConfig(Qwen2Config):
    """LLaMA's hyperparameters, with Hugging Face's names and defaults."""

    model_type = "llama"
    never_written = ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types")

    vocab_size: Size = 32000
    intermediate_size: Size = 11008
    num_key_value_heads: Size | None = None
    max_position_embeddings: Size = 2048
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    attention_bias: bool = False
    mlp_bias: bool = False


class LlamaRMSNorm(Qwen2RMSNorm):
    """The same norm under its own name, as everything here that has no text."""


class LlamaRotaryEmbedding(Qwen2RotaryEmbedding):
    """Qwen2's."""


class LlamaAttention(Qwen2Attention):
    """Qwen2's, with biases in all four projections or in none."""

    def __init__(self, config, layer):
        super().__init__(config, layer, config.attention_bias, config.attention_bias)


class LlamaMLP(Qwen2MLP):
    """Qwen2's, with biases if the config says so."""

    def __init__(self, config, layer):
        super().__init__(config, layer, config.mlp_bias)


class LlamaDecoderLayer(Qwen2DecoderLayer):
    """Qwen2's, of these parts."""

    norm_class, attention_class, mlp_class = LlamaRMSNorm, LlamaAttention, LlamaMLP


class LlamaPreTrainedModel(PreTrainedModel):
    """What all LLaMA models share."""

    config_class = LlamaConfig


class LlamaModel(LlamaPreTrainedModel, Qwen2Model):
    """Token ids to hidden states."""

    layer_class, rotary_class = LlamaDecoderLayer, LlamaRotaryEmbedding


class LlamaForCausalLM(LlamaPreTrainedModel, heads.ForCausalLM):
    """The body and a linear head over the vocabulary: next-token logits."""

    body_class = LlamaModel


class LlamaForSequenceClassification(LlamaPreTrainedModel, heads.ForSequenceClassification):
    """The body and a linear head on the last token that is not padding: one label a text."""

    body_class = LlamaModel
