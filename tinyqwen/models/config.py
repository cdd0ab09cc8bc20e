"""What every config shares: Hugging Face's field names, checks, and config.json in and out."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, NewType, get_args

from tinyqwen.storage.checkpoint import read_config

MAX_LAYERS = 10_000

# A field's type says what it may hold; `| None` that it may be left out.
Size = NewType("Size", int)  # a positive integer below 2³¹
Count = NewType("Count", int)  # the same, or 0
Number = NewType("Number", float)  # positive and finite
Share = NewType("Share", float)  # from 0 to below 1


class BothSpellings(type):
    """Lets a config be made with either name of a field: GPT2Config(n_embd=64, n_layer=2)."""

    def __call__(cls, **values):
        for old, new in cls.spellings.items():
            if old in values:
                value = values.pop(old)
                if values.setdefault(new, value) != value:
                    raise ValueError(f"{old} is {value!r} and {new} is {values[new]!r}; say one")
        return super().__call__(**values)


@dataclass(kw_only=True)
class PretrainedConfig(metaclass=BothSpellings):
    """The hyperparameters of a model; a family adds its own fields, with types from above.

    `from_dict` reads what any version of transformers writes; keys that it does not know are kept
    in `extra` and written back. A model that cannot be is a ValueError that names the field.
    A family sets `model_type`, and `spellings`, {name in config.json: name of the field}, where its
    files have names of their own (GPT-2's n_embd is a hidden_size); either name can be used.
    """

    model_type: ClassVar[str] = ""
    causal: ClassVar[bool] = True  # whether a token sees only those before it
    spellings: ClassVar[dict[str, str]] = {}
    written_if_changed: ClassVar[tuple[str, ...]] = ("num_labels", "attn_implementation")
    never_written: ClassVar[tuple[str, ...]] = ()  # fields that this family's files do not have

    vocab_size: Size
    hidden_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    max_position_embeddings: Size
    initializer_range: Number = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    num_labels: Size = 2
    attn_implementation: str = "sdpa"
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for one in fields(self):
            _check(one.name, getattr(self, one.name), one.type)
        if self.num_hidden_layers > MAX_LAYERS:
            raise ValueError(
                f"num_hidden_layers is {self.num_hidden_layers}; more than {MAX_LAYERS} is taken "
                "for a damaged file"
            )
        if len(self.extra.get("id2label") or ()) not in (0, self.num_labels):  # of another head
            names = ("id2label", "label2id")
            self.extra = {name: v for name, v in self.extra.items() if name not in names}
        pad = self.pad_token_id
        if pad is not None and not (isinstance(pad, int) and 0 <= pad < self.vocab_size):
            raise ValueError(f"pad_token_id {pad!r} is not in the vocabulary of {self.vocab_size}")
        if self.attn_implementation not in ("sdpa", "eager"):
            raise ValueError(
                f"attn_implementation must be 'sdpa' or 'eager', not {self.attn_implementation!r}"
            )

    @property
    def max_sequence_length(self):
        """The longest text that the model reads, in tokens."""
        return self.max_position_embeddings

    def expect(self, **supported):
        """Raise ValueError unless these fields have these values: the code knows no others."""
        for name, value in supported.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name} {getattr(self, name)!r} is not supported; expected {value!r}"
                )

    def __getattr__(self, name):
        if name in self.spellings:
            return getattr(self, self.spellings[name])
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")

    @classmethod
    def from_pretrained(cls, path):
        """The config of a folder, or of a config.json itself."""
        return read_config(path, cls)

    @classmethod
    def from_dict(cls, values):
        """The content of a config.json, as transformers 4 or 5 writes it."""
        values = dict(values)
        model_type = values.pop("model_type", cls.model_type)
        if model_type != cls.model_type:
            raise ValueError(f"model_type is {model_type!r}; {cls.__name__} is {cls.model_type!r}")
        if isinstance(values.get("id2label"), dict):
            named = len(values["id2label"])
            if values.setdefault("num_labels", named) != named:
                raise ValueError(
                    f"num_labels is {values['num_labels']} and id2label names {named}; say one"
                )
        # With InitVars, which fields() leaves out.
        known = {*cls.__dataclass_fields__, *cls.spellings} - {"extra"}
        extra = {name: values.pop(name) for name in list(values) if name not in known}
        return cls(**values, extra=extra)

    def to_dict(self):
        """The content of a config.json that transformers 4 and 5 both read."""
        values = asdict(self)
        extra = values.pop("extra")
        for name in self.never_written:
            del values[name]
        for name in self.written_if_changed:
            if values[name] == getattr(type(self), name):
                del values[name]
        names = {new: old for old, new in self.spellings.items()}
        written = {names.get(name, name): value for name, value in values.items()}
        return {**extra, **written, "model_type": self.model_type}


def _check(name, value, kind):
    if type(None) in get_args(kind):
        if value is None:
            return
        kind = get_args(kind)[0]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in (Size, Count):
        least = 1 if kind is Size else 0
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**31:
            what = "a positive integer" if least else "an integer from 0 to"
            raise ValueError(f"{name} must be {what} below 2³¹, not {value!r}")
    elif kind is bool and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    elif kind is Number and not (number and 0 < value < 1e38):  # NaN and infinity too
        raise ValueError(f"{name} must be a positive number, not {value!r}")
    elif kind is Share and not (number and 0 <= value < 1):
        raise ValueError(f"{name} must be a number in [0, 1), not {value!r}")
