"""`model.generate`: the loops, run on a model with a KV cache."""

import inspect
from contextlib import contextmanager, nullcontext

import numpy as np

from tinyqwen.autograd.grad_mode import inference_mode
from tinyqwen.autograd.random import default_rng
from tinyqwen.generation import sampling
from tinyqwen.generation.beam import beam_search
from tinyqwen.generation.loop import decode_loop
from tinyqwen.generation.prompts import check_left_padding, check_prompts, check_room, new_tokens
from tinyqwen.generation.settings import read_settings
from tinyqwen.generation.step import Step
from tinyqwen.generation.stop_strings import StopStrings
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

    An encoder-decoder reads input_ids as the source, and returns what its decoder writes, which
    begins with decoder_start_token_id: (B, 1 + new).

    input_ids: (B, T) integers; prompts of unequal length are padded on the left (`pad_left`), a
        source on the right.
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
        tokens (B,). stop_strings: a text or several; a row ends with the token that completes one
        of them. They need the tokenizer. Beam search takes neither.

    Ends when every row has, or after max_new_tokens. With num_return_sequences n, there are n rows
    for each prompt, one after another. Raises ValueError, before anything is computed, if a text
    would grow past max_position_embeddings, and for settings out of range; TypeError for unknown
    ones, and for a model that does not predict the next token.
    """
    if "logits_to_keep" not in inspect.signature(type(self).forward).parameters:
        raise TypeError(f"{type(self).__name__} does not write: it predicts no next token")
    config = read_settings(self, {"max_new_tokens": max_new_tokens, **settings})
    ids, mask = check_prompts(input_ids, attention_mask, config)
    source = None
    if getattr(self.config, "is_encoder_decoder", False):
        source = ids, mask
        check_room(self.config, int(mask.sum(1).max()), 0)
        ids, mask = _first_tokens(len(ids), config)
    else:
        check_left_padding(mask)
    demanded = max_new_tokens is not None or settings.get("max_length") is not None
    new = new_tokens(self.config, mask, config, demanded)
    config.max_length = ids.shape[1] + new
    padding = None if mask.all() else ~mask
    if config.num_beams > 1 and (streamer is not None or stop_strings):
        name = "stop_strings" if streamer is None else "streamer"
        raise ValueError(f"beam search (num_beams {config.num_beams}) takes no {name}")

    def process(scores, so_far):
        if padding is not None:  # which is never penalized
            so_far = so_far.copy()
            times = len(so_far) // len(padding)
            so_far[:, : padding.shape[1]][np.repeat(padding, times, 0)] = -1
        return sampling.process_logits(scores, so_far, config)

    if config.num_beams > 1:
        with _stepping(self, mask, config, source) as step:
            return beam_search(step, ids, new, process, config)
    ids, mask = (np.repeat(x, config.num_return_sequences, 0) for x in (ids, mask))
    stop = StopStrings(stop_strings, tokenizer, ids, mask) if stop_strings else None
    if stop and len(ids) > 1 and config.pad_token_id is None:
        raise ValueError("rows that stop early are filled with pad_token_id; give one")
    rng = default_rng() if seed is None else np.random.default_rng(seed)
    eos, nobody = np.array(config.eos_token_id, int), np.zeros(len(ids), bool)

    def choose(logits, so_far):
        scores = process(logits, so_far)
        if config.do_sample:
            return sampling.sample_next(scores, rng.random(len(scores)))
        return scores.argmax(-1)

    def emit(tokens):
        if streamer is not None:
            streamer.put(tokens)
        ended = (tokens[:, None] == eos).any(1) if len(eos) else nobody
        return ended if stop is None else stop.ended(tokens, ended)

    if streamer is not None:
        streamer.put(ids)
    with _stepping(self, mask, config, source) as step:
        out = decode_loop(step, ids, new, choose, emit, config.pad_token_id)
    if streamer is not None:
        streamer.end()
    return out


def _first_tokens(count, config):
    """What a decoder's texts begin with, (B, 1), and that it is no padding."""
    start = config.decoder_start_token_id
    if start is None:
        raise ValueError("an encoder-decoder's text begins with decoder_start_token_id; give one")
    return np.full((count, 1), start), np.ones((count, 1), bool)


@contextmanager
def _stepping(model, mask, config, source):
    """The model's Step, on all cores where that pays."""
    # Without a cache there are no small steps, and dropout would differ between the processes.
    parallel = config.use_cache and not model.training
    with inference_mode():
        step = Step(model, mask, config.max_length, config.use_cache, source)
        with TensorParallel(step) if parallel else nullcontext(step) as step:
            yield step
