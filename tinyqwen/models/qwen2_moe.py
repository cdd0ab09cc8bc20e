"""Qwen2-MoE, as what it changes of Qwen2: many small MLPs where one was, of which a token uses few.

Yang et al. 2024, "Qwen2 technical report", section 2.2.2: fine-grained experts, some chosen for
each token, and one that all share behind a gate of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.functional.routing import (
    load_balancing_loss,
    mixture_of_experts,
    top_k_routing,
)
from tinyqwen.models import heads
from tinyqwen.models.config import Count, Size
from tinyqwen.models.inputs import as_array
from tinyqwen.models.pretrained import PreTrainedModel
from tinyqwen.models.qwen2 import (
    Qwen2Attention,
    Qwen2Config,
    Qwen2DecoderLayer,
    Qwen2MLP,
    Qwen2Model,
    Qwen2RMSNorm,
    Qwen2RotaryEmbedding,
    SiLUActivation,
)


@dataclass(kw_only=True)
class Qwen2MoeConfig(Qwen2Config):
    """Qwen2-MoE's hyperparameters, with Hugging Face's names and defaults.

    A layer has experts if its number, counted from 1, is a multiple of decoder_sparse_step, and
    counted from 0 is not in mlp_only_layers.
    """

    model_type = "qwen2_moe"
    small: ClassVar = {  # as many numbers at work as in the small Qwen2
        **{"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128},
        "shared_expert_intermediate_size": 128,
    }

    hidden_size: Size = 2048
    intermediate_size: Size = 5632
    num_hidden_layers: Size = 24
    num_attention_heads: Size = 16
    num_key_value_heads: Size | None = 16
    decoder_sparse_step: Size = 1
    moe_intermediate_size: Size = 1408
    shared_expert_intermediate_size: Size = 5632
    num_experts_per_tok: Size = 4
    num_experts: Count = 60
    norm_topk_prob: bool = False
    output_router_logits: bool = False
    router_aux_loss_coef: float = 0.001
    mlp_only_layers: list[int] | None = None
    qkv_bias: bool = True

    def __post_init__(self, rope_parameters):
        self.mlp_only_layers = [] if self.mlp_only_layers is None else self.mlp_only_layers
        super().__post_init__(rope_parameters)
        layers = self.mlp_only_layers
        if not isinstance(layers, (list, tuple)) or not all(
            type(i) is int and 0 <= i < self.num_hidden_layers for i in layers
        ):
            raise ValueError(
                f"mlp_only_layers must be a list of layers from 0 to {self.num_hidden_layers - 1}, "
                f"not {layers!r:.100}"
            )
        if self.num_experts and self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok {self.num_experts_per_tok} is above num_experts "
                f"{self.num_experts}; a token cannot use more experts than there are"
            )
        coefficient = self.router_aux_loss_coef
        if not isinstance(coefficient, (int, float)) or not 0 <= coefficient < np.inf:
            raise ValueError(f"router_aux_loss_coef must be 0 or positive, not {coefficient!r}")

    def is_sliding(self, layer):
        """Every other layer, up to max_window_layers."""
        return layer % 2 == 0 and layer < self.max_window_layers

    def is_sparse(self, layer):
        """Whether a layer, counted from 0, has experts."""
        stepped = (layer + 1) % self.decoder_sparse_step == 0
        return self.num_experts > 0 and stepped and layer not in self.mlp_only_layers


class Qwen2MoeRMSNorm(Qwen2RMSNorm):
    """The same norm under its own name, as everything here that has no text."""


class Qwen2MoeRotaryEmbedding(Qwen2RotaryEmbedding):
    """Qwen2's."""


class Qwen2MoeAttention(Qwen2Attention):
    """Qwen2's, its biases an option."""

    def __init__(self, config, layer):
        super().__init__(config, layer, config.qkv_bias)


class Qwen2MoeMLP(Qwen2MLP):
    """Qwen2's, in several sizes."""

    def forward(self, x, router_logits=None):
        """x (B, T, C) -> (B, T, C); it has no router."""
        return super().forward(x)


class Qwen2MoeTopKRouter(nn.Module):
    """Chooses a token's experts: `top_k_routing` of a linear layer."""

    def __init__(self, config):
        self._top_k, self._normalize = config.num_experts_per_tok, config.norm_topk_prob
        self.weight = nn.new_parameter((config.num_experts, config.hidden_size))

    def forward(self, x):
        """x (N, C) -> logits (N, E), weights (N, k), experts (N, k)."""
        logits = F.linear(x, self.weight)
        return logits, *top_k_routing(logits, self._top_k, self._normalize)


class Qwen2MoeExperts(nn.Module):
    """All experts of a layer, each a SwiGLU block; their weights lie in two arrays."""

    def __init__(self, config):
        E, I, C = config.num_experts, config.moe_intermediate_size, config.hidden_size
        self.gate_up_proj = nn.new_parameter((E, 2 * I, C))
        self.down_proj = nn.new_parameter((E, C, I))
        self.act_fn = SiLUActivation()
        self.active_share = config.num_experts_per_tok / E  # of its numbers, for one token

    def forward(self, x, weights, experts):
        """x (N, C), weights and experts (N, k) -> (N, C)."""
        return mixture_of_experts(x, weights, experts, self.gate_up_proj, self.down_proj)


class Qwen2MoeSparseMoeBlock(nn.Module):
    """The chosen experts, weighted, and the one that all tokens share."""

    def __init__(self, config):
        self.gate = Qwen2MoeTopKRouter(config)
        self.experts = Qwen2MoeExperts(config)
        self.shared_expert = Qwen2MoeMLP(config, size=config.shared_expert_intermediate_size)
        self.shared_expert_gate = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, x, router_logits=None):
        """x (B, T, C) -> (B, T, C); the router's logits (B·T, E) are appended to a list given."""
        rows = x.reshape(-1, x.shape[-1])
        logits, weights, experts = self.gate(rows)
        if router_logits is not None:
            router_logits.append(logits)
        y = self.experts(rows, weights, experts).reshape(*x.shape)
        return y + F.sigmoid(self.shared_expert_gate(x)) * self.shared_expert(x)


class Qwen2MoeDecoderLayer(Qwen2DecoderLayer):
    """Qwen2's, of these parts."""

    norm_class, attention_class = Qwen2MoeRMSNorm, Qwen2MoeAttention

    @staticmethod
    def mlp_class(config, layer):
        """Experts, or in some layers an MLP."""
        return (Qwen2MoeSparseMoeBlock if config.is_sparse(layer) else Qwen2MoeMLP)(config)


class Qwen2MoePreTrainedModel(PreTrainedModel):
    """What all Qwen2-MoE models share."""

    config_class = Qwen2MoeConfig

    def post_init(self):
        """As PreTrainedModel, and routers and experts normal(0, initializer_range) too."""
        super().post_init()
        for module in self.modules():
            if isinstance(module, (Qwen2MoeTopKRouter, Qwen2MoeExperts)):
                for parameter in vars(module).values():
                    if isinstance(parameter, nn.Parameter):
                        nn.normal_(parameter, self.config.initializer_range)

    def pieces(self, name, parameter):
        """Files hold each expert's three matrices by themselves."""
        stem, last = name.rpartition(".")[::2]
        if not stem.endswith(".experts"):
            return super().pieces(name, parameter)
        if last == "down_proj":
            return {f"{stem}.{e}.down_proj.weight": e for e in range(len(parameter))}
        half = parameter.shape[1] // 2
        gates = {f"{stem}.{e}.gate_proj.weight": (e, slice(half)) for e in range(len(parameter))}
        ups = {f"{stem}.{e}.up_proj.weight": (e, slice(half, None)) for e in range(len(parameter))}
        return gates | ups


class Qwen2MoeModel(Qwen2MoePreTrainedModel, Qwen2Model):
    """Token ids to hidden states."""

    layer_class, rotary_class = Qwen2MoeDecoderLayer, Qwen2MoeRotaryEmbedding

    def forward(self, *arguments, output_router_logits=None, **options):
        """As Qwen2Model.forward, and output_router_logits: those of each layer with experts.

        None stands for what the config says.
        """
        if output_router_logits is None:
            output_router_logits = self.config.output_router_logits
        if not output_router_logits:
            return super().forward(*arguments, **options)
        router_logits = []
        out = super().forward(*arguments, **options, router_logits=router_logits)
        out.router_logits = tuple(router_logits)
        return out


class Qwen2MoeForCausalLM(Qwen2MoePreTrainedModel, heads.ForCausalLM):
    """The body and a linear head over the vocabulary: next-token logits.

    Where router logits are wanted, aux_loss is the `load_balancing_loss`, and loss has it in it,
    times router_aux_loss_coef.
    """

    body_class = Qwen2MoeModel

    def with_own_losses(self, out, attention_mask):
        """aux_loss from the router logits, if there are any, and the loss with it."""
        if out.router_logits:
            mask = None if attention_mask is None else as_array(attention_mask)
            if mask is not None and mask.ndim == 2:
                tokens = len(out.router_logits[0]) // len(mask)
                mask = mask[:, -tokens:]  # of the new tokens, where others are in a cache
            else:
                mask = None
            out.aux_loss = load_balancing_loss(
                out.router_logits, self.config.num_experts_per_tok, mask
            )
            if out.loss is not None:
                out.loss = out.loss + out.aux_loss * float(self.config.router_aux_loss_coef)
        return out


class Qwen2MoeForSequenceClassification(Qwen2MoePreTrainedModel, heads.ForSequenceClassification):
    """The body and a linear head on the last token that is not padding: one label a text."""

    body_class = Qwen2MoeModel
