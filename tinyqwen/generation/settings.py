"""How to generate: the settings, as generation_config.json has them."""

import warnings
from dataclasses import dataclass, fields
from numbers import Integral, Real

import numpy as np

POSITIVE = (Integral, "a positive integer", lambda n: n >= 1)
NUMBER_TO_1 = (Real, "a number from 0 to 1", lambda p: 0 <= p <= 1)
TOKEN = (Integral, "a token id", lambda i: 0 <= i < 2**31)
TOKENS = (Integral, "a token id or a list of these", TOKEN[2])
YES_NO = (bool, "true or false", lambda _: True)
LIMITS = {
    "max_new_tokens": POSITIVE,
    "max_length": POSITIVE,
    "do_sample": YES_NO,
    "temperature": (Real, "a number, 0 or more", lambda t: 0 <= t < np.inf),
    "top_k": (Integral, "a positive integer, or 0 for all tokens", lambda k: k >= 1),
    "top_p": NUMBER_TO_1,
    "min_p": NUMBER_TO_1,
    "repetition_penalty": (Real, "a number above 0", lambda r: 0 < r < np.inf),
    "no_repeat_ngram_size": (Integral, "a positive integer, or 0 for none", lambda n: n >= 1),
    "num_return_sequences": POSITIVE,
    "num_beams": (Integral, "an integer from 1 to 1,000", lambda n: 1 <= n <= 1000),
    "length_penalty": (Real, "a number", lambda p: -np.inf < p < np.inf),
    "early_stopping": (
        (bool, str),
        "true, false or 'never'",
        lambda e: e in (True, False, "never"),
    ),
    "eos_token_id": TOKENS,
    "pad_token_id": TOKEN,
    "decoder_start_token_id": TOKEN,
    "forced_bos_token_id": TOKEN,
    "forced_eos_token_id": TOKENS,
    "renormalize_logits": YES_NO,
    "use_cache": YES_NO,
}  # name: (type, what is expected, whether a value of the type fits)

LACKING = (
    *("min_length", "min_new_tokens", "max_time", "top_h", "typical_p", "epsilon_cutoff"),
    *("eta_cutoff", "encoder_repetition_penalty", "encoder_no_repeat_ngram_size", "stop_strings"),
    *("exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"),
    *("sequence_bias", "token_healing", "guidance_scale", "watermarking_config", "penalty_alpha"),
    *("dola_layers", "diversity_penalty", "num_beam_groups", "constraints", "force_words_ids"),
    *("forced_decoder_ids", "remove_invalid_values"),
)  # of transformers' settings those that change the text
NEUTRAL = (None, False, 0, 1, "", [], {})  # values that ask for nothing, true of all in LACKING


def check(name, value):
    """Raise ValueError unless the setting `name` can have this value."""
    kind, expected, fits = LIMITS[name]
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, (bool, np.bool_)):
        good = bool in kinds
    else:
        good = isinstance(value, kinds) and fits(value)
    if not good:
        raise ValueError(f"{name} must be {expected}, not {value!r}")


@dataclass
class GenerationConfig:
    """How to generate; names and meaning of generation_config.json, as far as they are supported.

    max_new_tokens: None, as many as there is room for, up to 256; or max_length counts the prompt
        too. eos_token_id: one or several tokens that end a text. pad_token_id: what fills up a row
        that has ended, the first eos token if None.
    do_sample: draw, or take the best (greedy, which temperature 0 means too). top_k (0 too),
        top_p, min_p: None switches them off.
    num_beams: the texts that are kept and compared at each step, for each prompt; 1 is no search.
        length_penalty, early_stopping: see `beam_search`.
    num_return_sequences: texts for each prompt: draws, or the best of the beams.
    no_repeat_ngram_size: no so many tokens in a row occur twice (0 or None: they may).
        bad_words_ids: lists of tokens that must not occur.
    decoder_start_token_id: the first token of an encoder-decoder's texts. forced_bos_token_id: the
        one after it; forced_eos_token_id: the last one, where the text is full.
    renormalize_logits: make the scores log-probabilities again, after all processors.
    use_cache: keep keys and values, or compute all of them again for every token.

    Raises ValueError, naming the field.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int | None = None
    bad_words_ids: list[list[int]] | None = None
    num_return_sequences: int = 1
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    renormalize_logits: bool = False
    use_cache: bool = True

    def __post_init__(self):
        self.top_k = self.top_k or None
        self.no_repeat_ngram_size = self.no_repeat_ngram_size or None
        for name in ("eos_token_id", "forced_eos_token_id"):
            setattr(self, name, as_list(getattr(self, name)))
        for name in LIMITS:
            value = getattr(self, name)
            for entry in value if isinstance(value, list) else [] if value is None else [value]:
                check(name, entry)
        self.bad_words_ids = self._words()
        if self.pad_token_id is None and self.eos_token_id:
            self.pad_token_id = self.eos_token_id[0]
        self.do_sample = bool(self.do_sample and self.temperature > 0)
        if self.do_sample and self.num_beams > 1:
            raise ValueError("draw tokens (do_sample) or search for the best text (num_beams): one")
        most = None if self.do_sample else self.num_beams
        if most is not None and self.num_return_sequences > most:
            raise ValueError(
                f"{self.num_return_sequences} texts (num_return_sequences) for each prompt: greedy "
                f"decoding and beam search have num_beams of them, {most}; raise it, or do_sample"
            )

    def _words(self):
        """bad_words_ids as a list of lists; a word that is an eos token cannot be forbidden."""
        words = [] if self.bad_words_ids is None else self.bad_words_ids
        if not isinstance(words, (list, tuple)) or not all(
            isinstance(word, (list, tuple)) and word for word in words
        ):
            raise ValueError(f"bad_words_ids must be lists of token ids, not {words!r:.100}")
        for token in (token for word in words for token in word):
            if isinstance(token, bool) or not isinstance(token, Integral) or token < 0:
                raise ValueError(f"bad_words_ids must be lists of token ids, not of {token!r}")
        return [list(word) for word in words if list(word) not in [[i] for i in self.eos_token_id]]


def read_settings(model, given):
    """The GenerationConfig of a call: what is given, then the model's own, then the defaults.

    Warns (UserWarning) of what the model's own, its generation_config.json, asks for and is not
    supported. Raises TypeError for a name that is given and not known.
    """
    known = [field.name for field in fields(GenerationConfig)]
    for name in given:
        if name not in known:
            raise TypeError(f"generate() has no setting {name!r}; it knows {', '.join(known)}")
    stored = model.generation_config or {}
    lacking = [name for name in LACKING if stored.get(name) not in NEUTRAL]
    if lacking:
        warnings.warn(
            f"generation_config.json asks for {', '.join(lacking)}, which generate does not have; "
            "the text may differ from transformers'",
            stacklevel=3,
        )
    roles = ["eos_token_id", "pad_token_id", "decoder_start_token_id"]
    if not stored:
        roles += ["forced_bos_token_id", "forced_eos_token_id"]
    values = {name: getattr(model.config, name, None) for name in roles}
    for layer in (stored, given):
        values |= {name: value for name, value in layer.items() if value is not None}
    config = GenerationConfig(**{name: values[name] for name in known if name in values})
    if given.get("max_new_tokens") is None and given.get("max_length") is not None:
        config.max_new_tokens = None  # what is given wins
    size = model.config.vocab_size
    needed = max(2, 1 + len(config.eos_token_id)) * config.num_beams
    if config.num_beams > 1 and needed > size:
        raise ValueError(
            f"num_beams {config.num_beams} is beyond reason: it compares {needed} continuations of "
            f"a text, and the vocabulary has {size}"
        )
    words = [token for word in config.bad_words_ids for token in word]
    for token in (*words, *as_list(config.forced_bos_token_id), *config.forced_eos_token_id):
        if token >= size:
            raise ValueError(f"token {token} is forced or forbidden; the vocabulary has {size}")
    return config


def as_list(token_ids):
    """None, one id or several, as configs have them -> list."""
    if token_ids is None:
        return []
    return list(token_ids) if isinstance(token_ids, (list, tuple, np.ndarray)) else [token_ids]
