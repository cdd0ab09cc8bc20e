"""One step of a model that writes: new token ids go in, the next token's logits come out."""

import math

import numpy as np

from tinyqwen.models.cache import KVCache

SCORES = 1 << 25  # of a layer's attention at a time, 128 MB: a longer prompt is read in pieces


class Step:
    """A callable, new ids (R, n) -> logits of the next token (R, V), which remembers what came.

    model: one that maps ids to logits. Where it is an encoder-decoder, source is what its encoder
        reads: ids and mask, (B, S) each; it does so here, once.
    mask (B, T): of the first ids, 1 for tokens and 0 for padding. capacity: tokens that will come
        in all. use_cache: remember keys and values; else all ids, which are computed again.

    rows (R,): new ids continue what was in these rows of the call before, which may thereby become
    more. R is a multiple of B, and what belongs to one text stays together.
    """

    def __init__(self, model, mask, capacity, use_cache=True, source=None):
        self._model, self._ids = model, None
        layers = model.config.num_hidden_layers if source is None else model.config.decoder_layers
        self._cache = KVCache(layers, capacity) if use_cache else None
        if source is not None:
            ids, mask = source
            encoder_outputs = model.get_encoder()(ids, attention_mask=mask)
            seen = None if mask.all() else mask[:, None, None]  # (B, S) -> (B, 1, 1, S)
            self._source = {"attention_mask": seen, "encoder_outputs": encoder_outputs}
            return
        self._source = None
        mask = np.concatenate([mask, np.ones((len(mask), capacity - mask.shape[1]), bool)], 1)
        self._positions = np.maximum(mask.cumsum(1) - 1, 0)  # padding does not count
        self._mask = mask
        if mask.all():
            self._mask, self._positions = None, self._positions[:1]

    def __call__(self, new_ids, rows=None):
        start, ids = 0, new_ids
        if self._cache is not None:
            start = self._cache.get_seq_length()
            if rows is not None:
                self._cache.reorder(rows)
        elif self._ids is not None:
            old = self._ids if rows is None else self._ids[rows]
            ids = np.concatenate([old, new_ids], 1)
        self._ids = ids
        for piece in self._pieces(ids):
            logits = self._model(
                **self._inputs(piece, start), past_key_values=self._cache, logits_to_keep=1
            ).logits[:, -1]  # (R, 1, V) -> (R, V)
            start += piece.shape[1]
        if math.isnan(logits.max()):
            raise ValueError("the model's logits are NaN; are its weights damaged?")
        return logits

    def _pieces(self, ids):
        """The ids (R, n), cut along n so that each piece has at most SCORES scores a layer."""
        config, whole = self._model.config, ids.shape[1]
        if whole == 1:
            return [ids]
        scaling = getattr(config, "rope_scaling", None) or {}
        # Dynamic angles depend on the longest text seen: pieces would be rotated differently.
        if self._cache is None or self._source or scaling.get("rope_type") == "dynamic":
            return [ids]
        stop = self._cache.get_seq_length() + whole
        size = max(1, SCORES // (len(ids) * config.num_attention_heads * stop))
        return np.split(ids, range(size, whole, size), axis=1)

    def _inputs(self, ids, start):
        """The model's arguments for ids that stand from position `start` on."""
        if self._source is not None:
            return {"decoder_input_ids": ids, **self._source}
        stop = start + ids.shape[1]
        if self._mask is None:
            return {"input_ids": ids, "position_ids": self._positions[:, start:stop]}
        if len(ids) > len(self._mask):
            times = len(ids) // len(self._mask)
            self._mask, self._positions = (
                np.repeat(x, times, 0) for x in (self._mask, self._positions)
            )
        return {
            "input_ids": ids,
            "attention_mask": self._mask[:, None, None, :stop],
            "position_ids": self._positions[:, start:stop],
        }
