"""Generation: a text grows by one token at a time, each computed from all that came before.

Four parts: the settings; the loop, in which a text grows; `generate`, which runs it on a model with
a KV cache; and streaming, text while it comes. How a token is chosen when the logits are there is
the subject of `sampling.py`.

B rows (texts) in the batch, T tokens in the longest prompt, V tokens in the vocabulary.
"""

import math
import sys
from contextlib import nullcontext
from dataclasses import dataclass, fields

import numpy as np

from tinyqwen.autograd.random import default_rng
from tinyqwen.autograd.tensor import inference_mode
from tinyqwen.generation import sampling
from tinyqwen.models.cache import KVCache
from tinyqwen.parallel.tensor_parallel import TensorParallel

# ---------------------------------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------------------------------


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


def as_list(token_ids):
    """None, one id or several, as configs have them -> list."""
    if token_ids is None:
        return []
    return list(token_ids) if isinstance(token_ids, (list, tuple, np.ndarray)) else [token_ids]


# ---------------------------------------------------------------------------------------------
# The loop
# ---------------------------------------------------------------------------------------------


def decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    """Prefill, then decode: every token is fed to the model once, and grows the text by one.

    step:   callable, new ids (B, n) -> logits of the next token (B, V). It keeps what it needs of
            earlier ids (the KV cache), so it is given the prompt first, then one token at a time.
    choose: callable, (logits (B, V), all ids so far (B, S)) -> the next token of each row (B,)
    emit:   callable, tokens (B,) -> (B,) booleans. It takes the tokens as they come, and says which
            rows end with them; such a row is filled with pad_token_id from then on.
    input_ids (B, T) are left alone. Returns prompts and new tokens, (B, T + at most
    max_new_tokens), and fewer where all rows have ended: the last column is where the last one did.

    >>> fed = []
    >>> def step(ids):  # a model that counts
    ...     fed.append(ids.tolist())
    ...     return np.eye(10)[ids[:, -1] + 1]
    >>> def best(logits, ids):
    ...     return logits.argmax(-1)
    >>> decode_loop(step, np.array([[3, 4]]), 5, best, lambda tokens: tokens == 7)
    array([[3, 4, 5, 6, 7]])
    >>> fed
    [[[3, 4]], [[5]], [[6]]]
    """
    B, T = input_ids.shape
    sequences = np.empty((B, T + max_new_tokens), int)
    sequences[:, :T] = input_ids
    finished, ended = np.zeros(B, bool), 0  # which rows, and how many
    start = 0  # of the tokens which the model has not yet seen
    for length in range(T, T + max_new_tokens):
        logits = step(sequences[:, start:length])  # (B, T) at first, then (B, 1) -> (B, V)
        tokens = choose(logits, sequences[:, :length])
        if ended:
            tokens = np.where(finished, pad_token_id, tokens)
        sequences[:, length] = tokens
        finished = finished | emit(tokens)
        ended = np.count_nonzero(finished)
        if ended == B:
            return sequences[:, : length + 1]
        start = length
    return sequences


# ---------------------------------------------------------------------------------------------
# A model that generates
# ---------------------------------------------------------------------------------------------


def pad_left(prompts, pad_token_id):
    """Make one array of prompts of unequal length, so that all of them end in the last column.

    prompts: sequences of token ids. Returns ids (B, T) and a mask (B, T), 1 for tokens, 0 for
    padding.

    >>> ids, mask = pad_left([[5, 6, 7], [8]], pad_token_id=0)
    >>> ids
    array([[5, 6, 7],
           [0, 0, 8]])
    >>> mask
    array([[1, 1, 1],
           [0, 0, 1]])
    """
    T = max(map(len, prompts))
    ids = np.full((len(prompts), T), pad_token_id)
    mask = np.zeros((len(prompts), T), int)
    for row, prompt in enumerate(prompts):
        ids[row, T - len(prompt) :] = prompt
        mask[row, T - len(prompt) :] = 1
    return ids, mask


class GenerationMixin:
    """`generate`, for any model that maps ids to logits and takes a KVCache."""

    def generate(
        self,
        input_ids,
        max_new_tokens=None,
        do_sample=None,
        temperature=None,
        top_k=None,
        top_p=None,
        min_p=None,
        repetition_penalty=None,
        eos_token_id=None,
        attention_mask=None,
        seed=None,
        streamer=None,
        pad_token_id=None,
        use_cache=None,
        stop_strings=None,
        tokenizer=None,
    ):
        """Continue the prompts token by token. Returns prompts and continuations, (B, T + new).

        input_ids: (B, T) integers; prompts of unequal length are padded on the left (`pad_left`).
        attention_mask: (B, T), 1 for tokens and 0 for padding. If it is not given, padding is what
            equals pad_token_id, provided that this is no eos token.
        max_new_tokens … pad_token_id, use_cache: see GenerationConfig. What is None here is taken
            from `self.generation_config` (a checkpoint's generation_config.json), and failing that
            from GenerationConfig's defaults: greedy, temperature 1, no filter, no penalty. So to
            switch off what a checkpoint switches on, say top_k=0, top_p=1.0, eos_token_id=[].
            (transformers, where nobody says anything about top_k, samples from the best 50.)
        seed: of the draws; without one they come from `tinyqwen.manual_seed`'s generator.
        streamer: an object with put(ids) and end(); it gets the prompts (B, T), then each step's
            tokens (B,).
        stop_strings: a text or several; a row ends with the token that completes one of them. They
            need the tokenizer.

        Ends when every row has, or after max_new_tokens. Raises ValueError, before anything is
        computed, if a text would grow past max_position_embeddings, and for settings out of range.
        """
        given = dict(
            max_new_tokens=max_new_tokens,
            do_sample=do_sample,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            eos_token_id=eos_token_id,
            pad_token_id=pad_token_id,
            use_cache=use_cache,
        )
        config = self._generation_settings(given)
        ids, mask = _check_prompts(input_ids, attention_mask, config)
        B, T = ids.shape
        new = self._check_room(int(mask.sum(1).max()), config, max_new_tokens is not None)
        stop = _StopStrings(stop_strings, tokenizer, ids, mask) if stop_strings else None
        if stop and B > 1 and config.pad_token_id is None:
            raise ValueError("rows that stop early are filled with pad_token_id; give one")
        rng = default_rng() if seed is None else np.random.default_rng(seed)
        mask = np.concatenate([mask, np.ones((B, new), bool)], 1)
        positions = np.maximum(mask.cumsum(1) - 1, 0)  # padding does not count
        if mask.all():
            mask, positions = None, positions[:1]
        cache = KVCache(self.config.num_hidden_layers, T + new) if config.use_cache else None
        eos = np.array(config.eos_token_id, int)
        nobody = np.zeros(B, bool)
        text = ids[:, :0]  # what a model without a cache is given again

        def step(new_ids):
            nonlocal text
            if cache is None:
                new_ids = text = np.concatenate([text, new_ids], 1)
            start = 0 if cache is None else cache.get_seq_length()
            length = start + new_ids.shape[1]
            logits = self(
                new_ids,
                None if mask is None else mask[:, None, None, :length],
                positions[:, start:length],
                past_key_values=cache,
                logits_to_keep=1,
            ).logits[:, -1]  # (B, 1, V) -> (B, V)
            if math.isnan(logits.max()):
                raise ValueError("the model's logits are NaN; are its weights damaged?")
            return logits

        def choose(logits, ids):
            if mask is not None:
                ids = np.where(mask[:, : ids.shape[1]], ids, -1)  # padding is never penalized
            scores = sampling.process_logits(logits, ids, config)
            if config.do_sample:
                return sampling.sample_next(scores, rng.random(B))
            return scores.argmax(-1)

        def emit(tokens):
            if streamer is not None:
                streamer.put(tokens)
            ended = (tokens[:, None] == eos).any(1) if len(eos) else nobody
            return ended if stop is None else stop.ended(tokens, ended)

        if streamer is not None:
            streamer.put(ids)
        # Without a cache there are no small steps, and dropout would differ between the processes.
        parallel = config.use_cache and not self.training
        with inference_mode(), TensorParallel(step) if parallel else nullcontext(step) as step:
            out = decode_loop(step, ids, new, choose, emit, config.pad_token_id)
        if streamer is not None:
            streamer.end()
        return out

    def _generation_settings(self, given):
        values = {
            name: getattr(self.config, name, None) for name in ("eos_token_id", "pad_token_id")
        }
        for layer in (self.generation_config or {}, given):
            values |= {name: value for name, value in layer.items() if value is not None}
        known = [field.name for field in fields(GenerationConfig)]
        return GenerationConfig(**{name: values[name] for name in known if name in values})

    def _check_room(self, prompt, config, demanded):
        """The number of new tokens; `demanded` ones must fit, by default as many as fit."""
        limit = self.config.max_position_embeddings
        wanted = config.max_new_tokens or 256
        if not demanded:
            wanted = max(1, min(wanted, limit - prompt))
        if prompt + wanted > limit:
            raise ValueError(
                f"a prompt of {prompt} tokens and {wanted} new ones do not fit into "
                f"max_position_embeddings {limit}; shorten the prompt or lower max_new_tokens"
            )
        return wanted


def _check_prompts(input_ids, attention_mask, config):
    """ids (B, T) integers, mask (B, T) boolean."""
    try:
        ids = np.asarray(input_ids)
    except ValueError:
        ids = np.empty(0)
    if ids.ndim != 2 or not ids.size:
        raise ValueError(
            "input_ids must be (batch, time) with a token at least in each row; "
            "prompts of unequal length go through pad_left"
        )
    pad = config.pad_token_id
    if attention_mask is not None:
        mask = np.asarray(attention_mask) != 0
        if mask.shape != ids.shape:
            raise ValueError(f"attention_mask has shape {mask.shape}, input_ids have {ids.shape}")
    elif pad is None or pad in config.eos_token_id:
        mask = np.ones(ids.shape, bool)
    else:
        mask = ids != pad
    if not mask[:, -1].all():
        row = int(np.flatnonzero(~mask[:, -1])[0])
        raise ValueError(
            f"row {row} of the prompts ends in padding; pad on the left, "
            "so that the next token follows the last one"
        )
    return ids, mask


class _StopStrings:
    """Which rows' text has just come to contain one of the stop strings.

    Text is decoded as it comes. Of what came before, the prompt included, only the end is kept that
    a stop string could begin in.
    """

    def __init__(self, strings, tokenizer, ids, mask):
        self._strings = [strings] if isinstance(strings, str) else list(strings)
        if not all(isinstance(string, str) and string for string in self._strings):
            raise ValueError(f"stop_strings must be texts that are not empty, not {strings!r}")
        if tokenizer is None:
            raise ValueError("stop_strings need the tokenizer: generate(…, tokenizer=tokenizer)")
        self._keep = max(map(len, self._strings)) - 1
        self._streams = [tokenizer.stream() for _ in ids]
        self._tails = [""] * len(ids)
        self._ended = np.zeros(len(ids), bool)
        for row in range(len(ids)):
            for token in ids[row][mask[row]]:
                self._extend(row, token)

    def _extend(self, row, token):
        new = self._streams[row].step(int(token))
        text = self._tails[row] + new
        self._tails[row] = text[len(text) - self._keep :] if self._keep < len(text) else text
        # A match must end in the new text: a shorter string may lie in the old one, complete.
        return any(
            text.find(s, max(0, len(text) - len(new) - len(s) + 1)) >= 0 for s in self._strings
        )

    def ended(self, tokens, ended):
        """Of the next tokens (B,) those that end their row: here, or for another reason (`ended`).

        A row is followed no further than to its end; what comes then is padding.
        """
        for row in np.flatnonzero(~self._ended):
            self._ended[row] = self._extend(row, tokens[row]) or ended[row]
        return self._ended.copy()


# ---------------------------------------------------------------------------------------------
# Streaming
# ---------------------------------------------------------------------------------------------


class TextStreamer:
    """Writes the text of a single row while it is generated, in whole characters.

    skip_prompt: write only what is new. skip_special_tokens: leave out marks such as
    "<|endoftext|>". file: where to, stdout by default. `text` holds what was written so far.
    """

    def __init__(self, tokenizer, skip_prompt=False, skip_special_tokens=True, file=None):
        self._stream = tokenizer.stream(skip_special_tokens)
        self._skip, self._file = skip_prompt, file
        self.text = ""

    def put(self, ids):
        """Token ids: the prompt (1, T) first, then (1,) at each step."""
        ids = np.asarray(ids)
        if len(ids) > 1:
            raise ValueError("TextStreamer writes a single row; generate without it for a batch")
        if self._skip:
            self._skip = False
        else:
            self._write("".join(map(self._stream.step, ids.reshape(-1).tolist())))

    def end(self):
        """Write what is left and a line's end."""
        self._write(self._stream.flush() + "\n")

    def _write(self, text):
        if text:
            self.text += text
            print(text, end="", flush=True, file=sys.stdout if self._file is None else self._file)
