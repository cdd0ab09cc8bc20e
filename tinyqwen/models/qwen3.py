"""Qwen3, as what it changes of Qwen2: queries and keys are normed, and have no biases.

Yang et al. 2025, "Qwen3 technical report", section 2: QKV-bias is removed, QK-Norm is introduced
"to ensure stable training". The head size is a number of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

from tinyqwen import functional as F
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
class Qwen3Config(Qwen2Config):
    """Qwen3's hyperparameters, with Hugging Face's names and defaults."""

    model_type = "qwen3"
    small: ClassVar = {"head_dim": 64}  # twice hidden_size / num_attention_heads, as Qwen3-0.6B's

    head_dim: Size | None = 128
    attention_bias: bool = False


class Qwen3RMSNorm(Qwen2RMSNorm):
    """The same norm under its own name, as everything here that has no text."""


class Qwen3RotaryEmbedding(Qwen2RotaryEmbedding):
    """Qwen2's."""


class Qwen3Attention(Qwen2Attention):
    """Qwen2's, with a norm over each head's queries and keys before they are rotated."""

    def __init__(self, config, layer):
        super().__init__(config, layer, config.attention_bias, config.attention_bias)
        self.q_norm = Qwen3RMSNorm(config.head_dim, config.rms_norm_eps)
        self.k_norm = Qwen3RMSNorm(config.head_dim, config.rms_norm_eps)

    def normed(self, q, k):
        """Queries (B, H, T, D) and keys (B, H_kv, T, D), normed over D."""
        return F.qk_norm(q, k, self.q_norm.weight, self.k_norm.weight, self._config.rms_norm_eps)


class Qwen3MLP(Qwen2MLP):
    """Qwen2's."""


class Qwen3DecoderLayer(Qwen2DecoderLayer):
    """Qwen2's, of these parts."""

    norm_class, attention_class, mlp_class = Qwen3RMSNorm, Qwen3Attention, Qwen3MLP


class Qwen3PreTrainedModel(PreTrainedModel):
    """What all Qwen3 models share."""

    config_class = Qwen3Config


class Qwen3Model(Qwen3PreTrainedModel, Qwen2Model):
    """Token ids to hidden states."""

    layer_class, rotary_class = Qwen3DecoderLayer, Qwen3RotaryEmbedding


class Qwen3ForCausalLM(Qwen3PreTrainedModel, heads.ForCausalLM):
    """The body and a linear head over the vocabulary: next-token logits."""

    body_class = Qwen3Model


class Qwen3ForSequenceClassification(Qwen3PreTrainedModel, heads.ForSequenceClassification):
    """The body and a linear head on the last token that is not padding: one label a text."""

    body_class = Qwen3Model
