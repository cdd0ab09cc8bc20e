"""The line of decoders: one model whose parts are chosen, from GPT-2 to Qwen3, change by change.

Each choice is a field of `DecoderConfig`, and each field is one `if` below. With Qwen2's choices
this *is* Qwen2, with GPT-2's it is GPT-2: the tests load one's weights into the other, and compare.
It is for comparing, so it trains and no more; the families, with their caches and checkpoints, are
in `models/`.

Sources: Radford et al. 2019 (GPT-2); Touvron et al. 2023 (LLaMA); Ainslie et al. 2023 (GQA);
Yang et al. 2024 (Qwen2); Yang et al. 2025 (Qwen3).
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.models.heads import shift_labels
from tinyqwen.models.pretrained import ModelOutput
from tinyqwen.models.qwen2 import decoder_layer
from tinyqwen.models.rotary import apply_rotary_pos_emb


@dataclass(frozen=True)
class DecoderConfig:
    """What a decoder is made of. The defaults of the choices are GPT-2's.

    positions: "learned" or "rope"; norm: "layer" or "rms"; mlp: "gelu" or "swiglu"; biases: "all",
    "qkv" or "none", of the linear layers; qk_norm: whether queries and keys are normed.
    """

    positions: str = "learned"
    norm: str = "layer"
    mlp: str = "gelu"
    num_key_value_heads: int = 4
    biases: str = "all"
    qk_norm: bool = False

    vocab_size: int = 512
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    max_position_embeddings: int = 256
    eps: float = 1e-5
    rope_theta: float = 10000.0
    initializer_range: float = 0.06


GPT2 = DecoderConfig()
CHANGES = {  # in the order of history; each is made to all that was before
    "GPT-2": {},
    "+ RoPE": {"positions": "rope"},
    "+ RMSNorm": {"norm": "rms"},
    "+ SwiGLU": {"mlp": "swiglu"},
    "+ GQA": {"num_key_value_heads": 2},
    "Qwen2: biases on Q, K, V alone": {"biases": "qkv"},
    "Qwen3: none, but norms on Q, K": {"biases": "none", "qk_norm": True},
}


def line(start=GPT2) -> dict[str, DecoderConfig]:
    """{name: config} of the line: the start, and after each of `CHANGES`."""
    configs = {}
    for name, changed in CHANGES.items():
        start = configs[name] = replace(start, **changed)
    return configs


def _norm(config, size):
    return (nn.LayerNorm if config.norm == "layer" else nn.RMSNorm)(size, config.eps)


class Attention(nn.Module):
    """Causal self-attention, its positions, heads, biases and norms as the config says."""

    def __init__(self, config):
        self._config = config
        C, H, H_kv = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        self._head_dim = D = C // H
        self.q_proj = nn.Linear(C, H * D, bias=config.biases != "none")
        self.k_proj = nn.Linear(C, H_kv * D, bias=config.biases != "none")
        self.v_proj = nn.Linear(C, H_kv * D, bias=config.biases != "none")
        self.o_proj = nn.Linear(H * D, C, bias=config.biases == "all")
        if config.qk_norm:
            self.q_norm, self.k_norm = nn.RMSNorm(D, config.eps), nn.RMSNorm(D, config.eps)

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        config, D = self._config, self._head_dim
        q, k, v = (
            F.split_heads(layer(x), D) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )  # (B, H, T, D), and twice (B, H_kv, T, D)
        if config.qk_norm:
            q, k = F.qk_norm(q, k, self.q_norm.weight, self.k_norm.weight, config.eps)
        if config.positions == "rope":
            places = np.arange(x.shape[1])
            q, k = apply_rotary_pos_emb(q, k, *F.rope_tables(places, D, config.rope_theta, x.dtype))
        return self.o_proj(F.merge_heads(F.scaled_dot_product_attention(q, k, v, causal=True)))


class MLP(nn.Module):
    """GELU between two layers, 4C wide; or SwiGLU in three of 8/3·C, which are as many numbers."""

    def __init__(self, config):
        C, bias = config.hidden_size, config.biases == "all"
        self._gated = config.mlp == "swiglu"
        size = 8 * C // 3 if self._gated else 4 * C
        if self._gated:
            self.gate_proj = nn.Linear(C, size, bias)
        self.up_proj, self.down_proj = nn.Linear(C, size, bias), nn.Linear(size, C, bias)

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        up = self.up_proj(x)
        return self.down_proj(F.swiglu(self.gate_proj(x), up) if self._gated else F.gelu_new(up))


class Layer(nn.Module):
    """Attention and MLP, each behind its norm, on the residual stream."""

    def __init__(self, config):
        C = config.hidden_size
        self.self_attn, self.mlp = Attention(config), MLP(config)
        self.input_layernorm, self.post_attention_layernorm = _norm(config, C), _norm(config, C)

    def forward(self, x):
        """x (B, T, C) -> (B, T, C)."""
        parts = (self.input_layernorm, lambda x: (self.self_attn(x), None))
        return decoder_layer(x, *parts, self.post_attention_layernorm, self.mlp)[0]


class Body(nn.Module):
    """Embeddings, of places too where they are learned; layers; the last norm."""

    def __init__(self, config):
        C = config.hidden_size
        self.embed_tokens = nn.Embedding(config.vocab_size, C)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, C)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = _norm(config, C)
        self._learned = config.positions == "learned"

    def forward(self, input_ids):
        """input_ids (B, T) -> (B, T, C)."""
        x = self.embed_tokens(input_ids)
        if self._learned:
            x = F.add_positions(x, self.embed_positions.weight, np.arange(input_ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Decoder(nn.Module):
    """A decoder with a head that reads the embedding table. Its names are Qwen2's."""

    def __init__(self, config):
        self.config, self.model = config, Body(config)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.normal_(module.weight, config.initializer_range)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.data[...] = 0

    def forward(self, input_ids, labels=None):
        """input_ids (B, T) -> logits (B, T, V); with labels (B, T) the loss alone is computed."""
        hidden, table = self.model(input_ids), self.model.embed_tokens.weight
        if labels is None:
            return ModelOutput(logits=F.linear(hidden, table))
        return ModelOutput(loss=F.linear_cross_entropy(hidden, table, shift_labels(labels)))


# ---------------------------------------------------------------------------------------------
# GPT-2's weights under the names of the others
# ---------------------------------------------------------------------------------------------

NAMES = {  # a pattern of GPT-2's names: what it is called in LLaMA's and Qwen's checkpoints
    r"wte": "embed_tokens",
    r"wpe": "embed_positions",
    r"ln_f": "norm",
    r"h\.(\d+)\.ln_1": r"layers.\1.input_layernorm",
    r"h\.(\d+)\.ln_2": r"layers.\1.post_attention_layernorm",
    r"h\.(\d+)\.attn\.c_proj": r"layers.\1.self_attn.o_proj",
    r"h\.(\d+)\.mlp\.c_fc": r"layers.\1.mlp.up_proj",
    r"h\.(\d+)\.mlp\.c_proj": r"layers.\1.mlp.down_proj",
}


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

    Left out are the masks that old checkpoints stored (h.N.attn.bias, h.N.attn.masked_bias), and
    lm_head.weight, which is wte once more. Returns a new dict; raises ValueError for other names.
    """
    found = {}
    for full, array in state_dict.items():
        path, _, kind = full.removeprefix("transformer.").rpartition(".")
        if full == "lm_head.weight" or re.fullmatch(r"h\.\d+\.attn", path):
            continue
        array = array.T if re.search(r"\.c_\w+$", path) and kind == "weight" else array
        if attention := re.fullmatch(r"h\.(\d+)\.attn\.c_attn", path):
            for name, part in zip("qkv", np.split(array, 3)):
                found[f"model.layers.{attention[1]}.self_attn.{name}_proj.{kind}"] = part
            continue
        match = next((old for old in NAMES if re.fullmatch(old, path)), None)
        if match is None:
            raise ValueError(f"{full} is no array of a GPT-2")
        found[f"model.{re.sub(match, NAMES[match], path)}.{kind}"] = array
    return found
