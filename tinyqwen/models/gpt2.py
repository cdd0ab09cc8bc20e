"""GPT-2, read from top to bottom: config, attention, MLP, block, body, heads.

The decoder of 2018 and 2019: learned positions, LayerNorm before each part, GELU between two linear
layers, biases everywhere. Shapes are those of `qwen2.py`, names those of Hugging Face's GPT-2.
(Radford et al. 2018, "Improving language understanding by generative pre-training", section 4.1;
Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.3.)
"""

from dataclasses import dataclass
from typing import ClassVar

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd import ops
from tinyqwen.models import heads
from tinyqwen.models.activations import NewGELUActivation
from tinyqwen.models.attention import attention
from tinyqwen.models.cache import KVCache
from tinyqwen.models.config import Number, PretrainedConfig, Share, Size
from tinyqwen.models.inputs import (
    check_ids,
    check_mask,
    check_positions,
    for_cache,
)
from tinyqwen.models.pretrained import ModelOutput, PreTrainedModel


@dataclass(kw_only=True)
class GPT2Config(PretrainedConfig):
    """GPT-2's hyperparameters and defaults; in config.json they have GPT-2's own names."""

    model_type = "gpt2"
    spellings: ClassVar = {
        **{"n_embd": "hidden_size", "n_layer": "num_hidden_layers"},
        **{"n_head": "num_attention_heads", "n_inner": "intermediate_size"},
        **{"n_positions": "max_position_embeddings"},
    }
    small: ClassVar = {
        **{"intermediate_size": 512, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    }

    vocab_size: Size = 50257
    hidden_size: Size = 768
    num_hidden_layers: Size = 12
    num_attention_heads: Size = 12
    max_position_embeddings: Size = 1024
    intermediate_size: Size | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: Share = 0.1
    embd_pdrop: Share = 0.1
    attn_pdrop: Share = 0.1
    layer_norm_epsilon: Number = 1e-5
    tie_word_embeddings: bool = True
    bos_token_id: int | None = 50256
    eos_token_id: int | list[int] | None = 50256
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    add_cross_attention: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.intermediate_size is None:
            self.intermediate_size = 4 * self.hidden_size
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"n_embd {self.hidden_size} is not divisible by n_head {self.num_attention_heads}"
            )
        self.expect(activation_function="gelu_new", scale_attn_weights=True)
        self.expect(scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)


# ---------------------------------------------------------------------------------------------
# The parts of a block
# ---------------------------------------------------------------------------------------------


class Conv1D(nn.Module):
    """x W + b with W (in, out): a linear layer, its weight the other way round than Linear's."""

    def __init__(self, nf, nx):
        self.nf, self.nx = nf, nx
        self.in_features, self.out_features = nx, nf
        self.weight = nn.new_parameter((nx, nf))
        self.bias = nn.new_parameter((nf,), 0.0)
        nn.normal_(self.weight, 0.02)

    def forward(self, x):
        return F.conv1d(x, self.weight, self.bias)

    def extra_repr(self):
        return f"nf={self.nf}, nx={self.nx}"


class GPT2Attention(nn.Module):
    """Multi-head self-attention; one product computes queries, keys and values."""

    def __init__(self, config, layer):
        self._config, self._layer = config, layer
        C = config.hidden_size
        self.c_attn, self.c_proj = Conv1D(3 * C, C), Conv1D(C, C)
        self.attn_dropout = nn.Dropout(config.attn_pdrop)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x, mask, past_key_values=None, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the weights (B, H, T, S) if asked for, else None."""
        config = self._config
        H = config.num_attention_heads
        qkv = F.split_heads(self.c_attn(x), config.hidden_size // H)  # (B, 3·H, T, D)
        q, k, v = ops.split(qkv, 3, axis=1)  # (B, H, T, D) each
        if past_key_values is not None:
            k, v = past_key_values.update(self._layer, for_cache(k), for_cache(v))  # (B, H, S, D)
        y, weights = attention(
            *(q, k, v, mask),
            dropout=self.attn_dropout.p if self.training else 0.0,
            eager=output_attentions or config.attn_implementation == "eager",
        )
        y = self.resid_dropout(self.c_proj(F.merge_heads(y)))  # (B, H, T, D) -> (B, T, C)
        return y, weights if output_attentions else None


class GPT2MLP(nn.Module):
    """Up to `intermediate_size`, GELU, and down again."""

    def __init__(self, config):
        C, I = config.hidden_size, config.intermediate_size
        self.c_fc, self.c_proj = Conv1D(I, C), Conv1D(C, I)
        self.act, self.dropout = NewGELUActivation(), nn.Dropout(config.resid_pdrop)

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        return self.dropout(self.c_proj(self.act(self.c_fc(x))))


class GPT2Block(nn.Module):
    """h = x + attention(norm(x)), then h + mlp(norm(h))."""

    def __init__(self, config, layer):
        C, eps = config.hidden_size, config.layer_norm_epsilon
        self.ln_1, self.attn = nn.LayerNorm(C, eps), GPT2Attention(config, layer)
        self.ln_2, self.mlp = nn.LayerNorm(C, eps), GPT2MLP(config)

    def forward(self, x, mask, past_key_values=None, output_attentions=False):
        """x (B, T, C) -> (B, T, C), and the attention weights or None."""
        y, weights = self.attn(self.ln_1(x), mask, past_key_values, output_attentions)
        x = x + y
        return x + self.mlp(self.ln_2(x)), weights


# ---------------------------------------------------------------------------------------------
# The body and its heads
# ---------------------------------------------------------------------------------------------


class GPT2PreTrainedModel(PreTrainedModel):
    """What all GPT-2 models share."""

    config_class = GPT2Config
    base_model_prefix = "transformer"
    ignored_weights = r"\.attn\.(masked_)?bias$"  # masks that old checkpoints stored

    def post_init(self):
        """Weights normal(0, initializer_range), those that end in the residual stream smaller.

        There 2·layers outputs add up, so theirs is initializer_range / √(2·layers).
        """
        super().post_init()
        std = self.config.initializer_range
        for path, module in self.named_modules():
            if isinstance(module, Conv1D):
                last = path.endswith("c_proj")
                nn.normal_(
                    module.weight, std / (2 * self.config.num_hidden_layers) ** 0.5 if last else std
                )


class GPT2Model(GPT2PreTrainedModel):
    """Token ids to hidden states: embeddings of tokens and places, blocks, final norm."""

    def __init__(self, config):
        self.config = config
        C = config.hidden_size
        self.wte = nn.Embedding(config.vocab_size, C)
        self.wpe = nn.Embedding(config.max_position_embeddings, C)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(GPT2Block(config, i) for i in range(config.num_hidden_layers))
        self.ln_f = nn.LayerNorm(C, config.layer_norm_epsilon)
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
        """input_ids (B, T) integers -> ModelOutput; arguments as those of Qwen2Model.

        Raises ValueError for positions that the table of learned ones does not have.
        """
        if use_cache and past_key_values is None:
            past_key_values = KVCache(self.config.num_hidden_layers)
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        input_ids = check_ids(input_ids)
        position_ids = check_positions(position_ids, input_ids, past)
        mask = check_mask(attention_mask, past + input_ids.shape[1])

        x = F.add_positions(self.wte(input_ids), self.wpe.weight, position_ids)  # (B, T, C)
        x = self.drop(x)
        x, hidden_states, attentions = self.run_layers(
            *(self.h, x, mask, past_key_values),
            **{
                "output_hidden_states": output_hidden_states,
                "output_attentions": output_attentions,
            },
        )
        x = self.ln_f(x)
        return ModelOutput(
            last_hidden_state=x,
            past_key_values=past_key_values if use_cache else None,
            hidden_states=(*hidden_states, x) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def stream(self):
        """As Qwen2Model.stream."""
        return [(block, block.attn, block.mlp, block.attn.c_proj) for block in self.h], self.ln_f


class GPT2LMHeadModel(heads.ForCausalLM, GPT2PreTrainedModel):
    """The body and a linear head over the vocabulary: next-token logits."""

    body_class = GPT2Model

    def tie_weights(self):
        """Let the head read the embedding table, if the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight


class GPT2ForSequenceClassification(heads.ForSequenceClassification, GPT2PreTrainedModel):
    """The body and a linear head on the last token that is not padding: one label a text."""

    body_class = GPT2Model
