"""`model.generate`: the loop, run on a model with a KV cache."""

import inspect
import math
from contextlib import nullcontext

import numpy as np

from tinyqwen.autograd.random import default_rng
from tinyqwen.autograd.tensor import inference_mode
from tinyqwen.generation import sampling
from tinyqwen.generation.loop import decode_loop
from tinyqwen.generation.prompts import check_prompts
from tinyqwen.generation.settings import read_settings
from tinyqwen.generation.stop_strings import StopStrings
from tinyqwen.models.cache import KVCache
from tinyqwen.parallel.tensor_parallel import TensorParallel


def generate(
    self,
    input_ids,
    max_new_tokens=None,
    *,
    attention_mask=None,
    seed=None,
    streamer=None,
    stop_strings=None,
    tokenizer=None,
    **settings,
):
    """Continue the prompts token by token. Returns prompts and continuations, (B, T + new).

    input_ids: (B, T) integers; prompts of unequal length are padded on the left (`pad_left`).
    attention_mask: (B, T), 1 for tokens and 0 for padding. If it is not given, padding is what
        equals pad_token_id, provided that this is no eos token.
    max_new_tokens and settings: the fields of GenerationConfig, by name. What is None or not
        given is taken from `self.generation_config` (a checkpoint's generation_config.json), and
        failing that from GenerationConfig's defaults: greedy, temperature 1, no filter, no
        penalty. So to switch off what a checkpoint switches on, say top_k=0, top_p=1.0,
        eos_token_id=[]. (transformers, where nobody says anything about top_k, samples from the
        best 50.)
    seed: of the draws; without one they come from `tinyqwen.manual_seed`'s generator.
    streamer: an object with put(ids) and end(); it gets the prompts (B, T), then each step's
        tokens (B,).
    stop_strings: a text or several; a row ends with the token that completes one of them. They
        need the tokenizer.

    Ends when every row has, or after max_new_tokens. Raises ValueError, before anything is
    computed, if a text would grow past max_position_embeddings, and for settings out of range;
    TypeError for a model that does not predict the next token.
    """
    if "logits_to_keep" not in inspect.signature(type(self).forward).parameters:
        raise TypeError(f"{type(self).__name__} does not write: it predicts no next token")
    demanded = max_new_tokens is not None
    config = read_settings(self, {"max_new_tokens": max_new_tokens, **settings})
    ids, mask = check_prompts(input_ids, attention_mask, config)
    B, T = ids.shape
    new = _room(self.config, int(mask.sum(1).max()), config.max_new_tokens, demanded)
    stop = StopStrings(stop_strings, tokenizer, ids, mask) if stop_strings else None
    if stop and B > 1 and config.pad_token_id is None:
        raise ValueError("rows that stop early are filled with pad_token_id; give one")
    rng = default_rng() if seed is None else np.random.default_rng(seed)
    eos = np.array(config.eos_token_id, int)
    nobody, padded = np.zeros(B, bool), not mask.all()
    step = _step(self, mask, new, config.use_cache)

    def choose(logits, ids):
        if padded:
            ids = ids.copy()
            ids[:, :T][~mask] = -1  # padding is never penalized
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


def _step(model, mask, new, use_cache):
    """A step of `decode_loop`: new ids (B, n) -> logits (B, V), with what came before in a cache.

    mask (B, T) is the prompts'; `new` tokens follow. Without a cache the step keeps the text.
    """
    B, T = mask.shape
    mask = np.concatenate([mask, np.ones((B, new), bool)], 1)
    positions = np.maximum(mask.cumsum(1) - 1, 0)  # padding does not count
    if mask.all():
        mask, positions = None, positions[:1]
    cache = KVCache(model.config.num_hidden_layers, T + new) if use_cache else None
    text = np.empty((B, 0), int)

    def step(new_ids):
        nonlocal text
        if cache is None:
            new_ids = text = np.concatenate([text, new_ids], 1)
        start = 0 if cache is None else cache.get_seq_length()
        length = start + new_ids.shape[1]
        logits = model(
            new_ids,
            attention_mask=None if mask is None else mask[:, None, None, :length],
            position_ids=positions[:, start:length],
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]  # (B, 1, V) -> (B, V)
        if math.isnan(logits.max()):
            raise ValueError("the model's logits are NaN; are its weights damaged?")
        return logits

    return step


def _room(config, prompt, wanted, demanded):
    """The number of new tokens; `demanded` ones must fit, by default as many as fit, up to 256."""
    limit = config.max_position_embeddings
    wanted = wanted or 256
    if not demanded:
        wanted = max(1, min(wanted, limit - prompt))
    if prompt + wanted > limit:
        raise ValueError(
            f"a prompt of {prompt} tokens and {wanted} new ones do not fit into "
            f"max_position_embeddings {limit}; shorten the prompt or lower max_new_tokens"
        )
    return wanted
