"""Prompts: several texts in one array, padded on the left."""

import numpy as np

from tinyqwen.models.inputs import as_array, tells_padding


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
    if ids.ndim != 2 or not ids.size or ids.dtype.kind not in "iu":
        raise ValueError(
            "input_ids must be integers, (batch, time), with a token at least in each row; "
            "prompts of unequal length go through pad_left"
        )
    pad = config.pad_token_id
    if attention_mask is not None:
        mask = tells_padding(as_array(attention_mask)) != 0
        if mask.shape != ids.shape:
            raise ValueError(f"attention_mask has shape {mask.shape}, input_ids have {ids.shape}")
    elif pad is None or pad in config.eos_token_id:
        mask = np.ones(ids.shape, bool)
    else:
        mask = ids != pad
    if not mask.any(1).all():
        raise ValueError(f"row {int(mask.any(1).argmin())} of input_ids is nothing but padding")
    return ids, mask


def check_left_padding(mask):
    """Raise ValueError unless each row of mask (B, T) ends with a token."""
    if not mask[:, -1].all():
        raise ValueError(
            f"row {int(mask[:, -1].argmin())} of the prompts ends in padding; pad on the left, "
            "so that the next token follows the last one"
        )


def new_tokens(model_config, mask, config, demanded):
    """The number of tokens to write after prompts with this mask (B, T).

    `demanded` ones must fit into max_position_embeddings; by default, up to 256, as many as fit.
    """
    wanted = config.max_new_tokens
    if wanted is None:
        wanted = 256 if config.max_length is None else config.max_length - mask.shape[1]
    if wanted < 1:
        raise ValueError(
            f"max_length {config.max_length} leaves no room after a prompt of {mask.shape[1]} "
            "tokens; raise it, or say max_new_tokens"
        )
    # An encoder-decoder's text begins with one token, and the last one written is never read.
    decoder = getattr(model_config, "is_encoder_decoder", False)
    prompt = 0 if decoder else int(mask.sum(1).max())
    if not demanded:
        wanted = max(1, min(wanted, model_config.max_sequence_length - prompt))
    check_room(model_config, prompt, wanted)
    return wanted


def check_room(model_config, prompt, new):
    """Raise ValueError unless a prompt of so many tokens, and `new` ones, fit."""
    limit = model_config.max_sequence_length
    if prompt + new > limit:
        raise ValueError(
            f"a prompt of {prompt} tokens and {new} new ones do not fit into "
            f"max_position_embeddings {limit}; shorten the prompt or lower max_new_tokens"
        )
