"""Prompts: several texts in one array, padded on the left."""

import numpy as np


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


def check_prompts(input_ids, attention_mask, config):
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
