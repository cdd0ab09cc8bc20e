"""Qwen2Config: the hyperparameters of a model, as config.json has them."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

MAX_LAYERS = 10_000


@dataclass
class Qwen2Config:
    """The hyperparameters, with Hugging Face's names and defaults.

    `from_dict` reads what any version of transformers writes; keys it does not know are kept in
    `extra` and written back. Raises ValueError for a model that cannot be, naming the field.
    """

    vocab_size: int = 151936
    hidden_size: int = 4096
    intermediate_size: int = 22016
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = 32
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    use_cache: bool = True
    tie_word_embeddings: bool = False
    rope_theta: float = 10000.0
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28
    layer_types: list[str] | None = None
    attention_dropout: float = 0.0
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    num_labels: int = 2
    classifier_dropout: float = 0.1
    attn_implementation: str = "sdpa"
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.classifier_dropout is None:
            self.classifier_dropout = type(self).classifier_dropout
        self._check()
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even, for RoPE rotates pairs; it is {self.head_dim}"
            )
        if not self.use_sliding_window:
            self.sliding_window = None
        if self.layer_types is None:
            self.layer_types = [
                "sliding_attention"
                if self.sliding_window is not None and i >= self.max_window_layers
                else "full_attention"
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

    def _check(self):
        for name in (
            *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim"),
            *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
            *("num_labels", "sliding_window"),
        ):
            value = getattr(self, name)
            if value is None and name in ("head_dim", "sliding_window"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
                raise ValueError(f"{name} must be a positive integer below 2³¹, not {value!r}")
        if self.num_hidden_layers > MAX_LAYERS:
            raise ValueError(
                f"num_hidden_layers is {self.num_hidden_layers}; more than {MAX_LAYERS} is taken "
                "for a damaged file"
            )
        for name in ("tie_word_embeddings", "use_sliding_window", "use_cache"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        for name in ("rms_norm_eps", "rope_theta", "initializer_range"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} must be a positive number, not {value!r}")
            if not 0 < value < 1e38:  # NaN and infinity too
                raise ValueError(f"{name} must be a positive number, not {value!r}")
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
        if self.hidden_act != "silu":
            raise ValueError(f"hidden_act {self.hidden_act!r} is not Qwen2's; expected 'silu'")
        pad = self.pad_token_id
        if pad is not None and not (isinstance(pad, int) and 0 <= pad < self.vocab_size):
            raise ValueError(f"pad_token_id {pad!r} is not in the vocabulary of {self.vocab_size}")
        for name in ("attention_dropout", "classifier_dropout"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ValueError(f"{name} must be a number in [0, 1), not {value!r}")
        if self.attn_implementation not in ("sdpa", "eager"):
            raise ValueError(
                f"attn_implementation must be 'sdpa' or 'eager', not {self.attn_implementation!r}"
            )

    @classmethod
    def from_dict(cls, values):
        """Read a config.json's content, of transformers 4 (rope_theta) or 5 (rope_parameters)."""
        values = dict(values)
        model_type = values.pop("model_type", "qwen2")
        if model_type != "qwen2":
            raise ValueError(f"model_type is {model_type!r}; only 'qwen2' can be loaded")
        rope = values.pop("rope_parameters", None) or values.pop("rope_scaling", None) or {}
        if not isinstance(rope, dict):
            raise ValueError(f"rope_parameters must be an object, not {rope!r:.100}")
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise ValueError(f"rope_type {kind!r} is not supported; expected 'default'")
        if any(isinstance(value, dict) for value in rope.values()):
            raise ValueError("RoPE parameters by layer type are not supported; expected one set")
        if rope.get("partial_rotary_factor", 1) != 1:
            raise ValueError("partial_rotary_factor is not supported; expected 1")
        if "rope_theta" in rope:
            values["rope_theta"] = rope["rope_theta"]
        if isinstance(values.get("id2label"), dict):
            values.setdefault("num_labels", len(values["id2label"]))
        known = {f.name for f in fields(cls)} - {"extra"}
        extra = {name: values.pop(name) for name in list(values) if name not in known}
        return cls(**values, extra=extra)

    def to_dict(self):
        """The content of a config.json that transformers 4 and 5 both read."""
        values = asdict(self)
        values = {**values.pop("extra"), **values}
        for name in ("num_labels", "classifier_dropout", "attn_implementation"):
            if values[name] == getattr(Qwen2Config, name):
                del values[name]
        return {
            **values,
            "model_type": "qwen2",
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
        }
