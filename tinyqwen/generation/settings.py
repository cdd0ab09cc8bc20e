"""How to generate: the settings, as generation_config.json has them."""

from dataclasses import dataclass, fields

import numpy as np

from tinyqwen.generation import sampling


@dataclass
class GenerationConfig:
    """How to generate; names and meaning of generation_config.json, as far as they are supported.

    max_new_tokens: None, as many as there is room for, up to 256. do_sample: draw, or take the best
    (greedy, which temperature 0 means too). top_k (0 too), top_p, min_p: None switches them off.
    eos_token_id: one or several tokens that end a text. pad_token_id: what fills up a row that has
    ended, the first eos token if None. use_cache: keep keys and values, or compute all of them
    again for every token. Raises ValueError, naming the field.
    """

    max_new_tokens: int | None = None
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    use_cache: bool = True

    def __post_init__(self):
        for name in ("do_sample", "use_cache"):
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        self.top_k = self.top_k or None
        self.eos_token_id = as_list(self.eos_token_id)
        for name in sampling.LIMITS:
            value = getattr(self, name)
            for entry in value if name == "eos_token_id" else [] if value is None else [value]:
                sampling.check(name, entry)
        if self.pad_token_id is None and self.eos_token_id:
            self.pad_token_id = self.eos_token_id[0]
        self.do_sample = bool(self.do_sample and self.temperature > 0)


def read_settings(model, given):
    """The GenerationConfig of a call: what is given, then the model's own, then the defaults."""
    known = [field.name for field in fields(GenerationConfig)]
    for name in given:
        if name not in known:
            raise TypeError(f"generate() has no setting {name!r}; it knows {', '.join(known)}")
    values = {name: getattr(model.config, name, None) for name in ("eos_token_id", "pad_token_id")}
    for layer in (model.generation_config or {}, given):
        values |= {name: value for name, value in layer.items() if value is not None}
    return GenerationConfig(**{name: values[name] for name in known if name in values})


def as_list(token_ids):
    """None, one id or several, as configs have them -> list."""
    if token_ids is None:
        return []
    return list(token_ids) if isinstance(token_ids, (list, tuple, np.ndarray)) else [token_ids]
