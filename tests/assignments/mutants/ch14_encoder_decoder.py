"""Wrong solutions of chapter 14, each named after its mistake."""

import math
from collections import Counter

import numpy as np

from tinyqwen import functional as F
from tinyqwen.analysis import bleu as bleu_module
from tinyqwen.autograd import ops
from tinyqwen.course import mutant
from tinyqwen.generation import beam
from tinyqwen.models import heads, marian_layers, masks

cross, attention = F.cross_attention.raw, F.grouped_query_attention.raw
split, merge, softmax = F.split_heads.raw, F.merge_heads.raw, ops.softmax.raw
shift, three_masks = heads.shift_tokens_right, masks.encoder_decoder_masks
smoothed, plain = F.label_smoothed_cross_entropy.raw, F.cross_entropy.raw
right_block = marian_layers.post_norm_block
right_step, right_bleu = beam.beam_search_step, bleu_module.bleu


# ---------------------------------------------------------------------------------------------
# cross_attention
# ---------------------------------------------------------------------------------------------


def cross_mutant(killed_by, named):
    return mutant(of="cross_attention", killed_by=f"test_cross_attention_{killed_by}", named=named)


def with_heads(query, key, value, head_dim, mask, cut=None, join=None):
    """(out, weights) with another way to cut or to join heads."""
    cut = cut or (lambda x: split(x, head_dim)[0])
    (out, weights), _ = attention(cut(query), cut(key), cut(value), mask)
    return (join or (lambda x: merge(x)[0]))(out), weights


def one_reshape(x, head_dim):
    return x.reshape(x.shape[0], -1, x.shape[1], head_dim)


def joined_by_reshape(x):
    b, h, t, d = x.shape
    return x.reshape(b, t, h * d)


@cross_mutant("value", "not divided by √D")
def cross_unscaled(query, key, value, head_dim, mask=None, dropout=0.0):
    return cross(query * head_dim**0.5, key, value, head_dim, mask)


@cross_mutant("value", "divided by √C")
def cross_scaled_by_all_features(query, key, value, head_dim, mask=None, dropout=0.0):
    return cross(query * (head_dim / query.shape[2]) ** 0.5, key, value, head_dim, mask)


@cross_mutant("value", "one head of C features")
def cross_of_one_head(query, key, value, head_dim, mask=None, dropout=0.0):
    (out, weights), _ = attention(query[:, None], key[:, None], value[:, None], mask)
    weights = np.repeat(weights, query.shape[2] // head_dim, axis=1)
    return (out[:, 0], weights), cross(query, key, value, head_dim, mask)[1]


@cross_mutant("value", "one reshape to (B, H, T, D) mixes tokens")
def cross_cuts_by_reshape(query, key, value, head_dim, mask=None, dropout=0.0):
    outs = with_heads(
        *(query, key, value, head_dim, mask),
        cut=lambda x: one_reshape(x, head_dim),
        join=joined_by_reshape,
    )
    return outs, cross(query, key, value, head_dim, mask)[1]


@cross_mutant("value", "cut by one reshape")
def cross_cuts_by_reshape_and_merges(query, key, value, head_dim, mask=None, dropout=0.0):
    _, vjp = cross(query, key, value, head_dim, mask)
    return with_heads(
        query, key, value, head_dim, mask, cut=lambda x: one_reshape(x, head_dim)
    ), vjp


@cross_mutant("value", "cut in turns")
def cross_cuts_in_turns(query, key, value, head_dim, mask=None, dropout=0.0):
    def in_turns(x):
        b, t, c = x.shape
        return x.reshape(b, t, head_dim, c // head_dim).transpose(0, 3, 1, 2)

    _, vjp = cross(query, key, value, head_dim, mask)
    return with_heads(query, key, value, head_dim, mask, cut=in_turns), vjp


@cross_mutant("mask", "True and False are added")
def cross_adds_booleans(query, key, value, head_dim, mask=None, dropout=0.0):
    return cross(query, key, value, head_dim, None if mask is None else mask.astype(query.dtype))


@cross_mutant("mask", "a large negative number belongs where it is False")
def cross_hides_what_is_allowed(query, key, value, head_dim, mask=None, dropout=0.0):
    hidden = None if mask is None else np.where(mask, -1e30, 0.0).astype(query.dtype)
    return cross(query, key, value, head_dim, hidden)


@cross_mutant("value", "merged by one reshape")
def cross_joins_by_reshape(query, key, value, head_dim, mask=None, dropout=0.0):
    outs = with_heads(query, key, value, head_dim, mask, join=joined_by_reshape)
    return outs, cross(query, key, value, head_dim, mask)[1]


@cross_mutant("value", "key and value are exchanged")
def cross_key_for_value(query, key, value, head_dim, mask=None, dropout=0.0):
    return cross(query, value, key, head_dim, mask)


@cross_mutant("value", "only the keys up to its own place")
def cross_causal(query, key, value, head_dim, mask=None, dropout=0.0):
    causal = np.tri(query.shape[1], key.shape[1], dtype=bool)
    return cross(query, key, value, head_dim, causal if mask is None else mask & causal)


@cross_mutant("value", "still an axis of their own")
def cross_heads_not_merged(query, key, value, head_dim, mask=None, dropout=0.0):
    outs = with_heads(query, key, value, head_dim, mask, join=lambda x: x)
    return outs, cross(query, key, value, head_dim, mask)[1]


@cross_mutant("value", "1 results; 2 were expected")
def cross_without_weights(query, key, value, head_dim, mask=None, dropout=0.0):
    (out, _), vjp = cross(query, key, value, head_dim, mask)
    return out, vjp


@cross_mutant("mask", "the mask is not used")
def cross_without_mask(query, key, value, head_dim, mask=None, dropout=0.0):
    return cross(query, key, value, head_dim)


@cross_mutant("mask", "the mask is inverted")
def cross_mask_inverted(query, key, value, head_dim, mask=None, dropout=0.0):
    return cross(query, key, value, head_dim, None if mask is None else ~mask)


@cross_mutant("mask", "the mask comes after the softmax")
def cross_mask_after_softmax(query, key, value, head_dim, mask=None, dropout=0.0):
    (out, weights), vjp = cross(query, key, value, head_dim)
    if mask is not None:
        weights = weights * mask
        out = merge(weights @ split(value, head_dim)[0])[0]
    return (out, weights), vjp


@cross_mutant("mask", "looks at everything")
def cross_adds_a_large_number(query, key, value, head_dim, mask=None, dropout=0.0):
    added = None if mask is None else np.where(mask, 0.0, -1e4)
    return cross(query, key, value, head_dim, added)


@cross_mutant("mask", "takes the mean of all values")
def cross_fills_with_a_large_number(query, key, value, head_dim, mask=None, dropout=0.0):
    (out, weights), vjp = cross(query, key, value, head_dim, mask)
    if mask is not None:
        see = np.broadcast_to(mask, weights.shape).any(-1, keepdims=True)
        weights = np.where(see, weights, weights.dtype.type(1 / weights.shape[-1]))
        out = merge(weights @ split(value, head_dim)[0])[0]
    return (out, weights), vjp


def with_gradients(query, key, value, head_dim, mask, change):
    outs, vjp = cross(query, key, value, head_dim, mask)
    return outs, lambda gradients: change(vjp, gradients)


@cross_mutant("vjp", "still split into heads")
def cross_vjp_not_merged(query, key, value, head_dim, mask=None, dropout=0.0):
    def change(vjp, gradients):
        return tuple(split(x, head_dim)[0] for x in vjp(gradients))

    return with_gradients(query, key, value, head_dim, mask, change)


@cross_mutant("vjp", "merged by one reshape")
def cross_vjp_merged_by_reshape(query, key, value, head_dim, mask=None, dropout=0.0):
    def change(vjp, gradients):
        return tuple(joined_by_reshape(split(x, head_dim)[0]) for x in vjp(gradients))

    return with_gradients(query, key, value, head_dim, mask, change)


@cross_mutant("vjp", "dweights is not used")
def cross_vjp_without_dweights(query, key, value, head_dim, mask=None, dropout=0.0):
    def change(vjp, gradients):
        return vjp((gradients[0], np.zeros_like(gradients[1])))

    return with_gradients(query, key, value, head_dim, mask, change)


@cross_mutant("vjp", "the scale is missing")
def cross_vjp_unscaled(query, key, value, head_dim, mask=None, dropout=0.0):
    def change(vjp, gradients):
        dquery, dkey, dvalue = vjp(gradients)
        return dquery * head_dim**0.5, dkey * head_dim**0.5, dvalue

    return with_gradients(query, key, value, head_dim, mask, change)


@cross_mutant("vjp", "lacks its sum")
def cross_vjp_softmax_without_sum(query, key, value, head_dim, mask=None, dropout=0.0):
    (out, weights), vjp = cross(query, key, value, head_dim, mask)
    q, k, v = (split(x, head_dim)[0] for x in (query, key, value))

    def wrong(gradients):
        g, dweights = split(gradients[0], head_dim)[0], gradients[1]
        ds = weights * (g @ v.swapaxes(-1, -2) + dweights) * head_dim**-0.5
        return merge(ds @ k)[0], merge(ds.swapaxes(-1, -2) @ q)[0], vjp(gradients)[2]

    return (out, weights), wrong


@cross_mutant("vjp", "vjp returned 2 of 3 gradients")
def cross_vjp_forgets_the_value(query, key, value, head_dim, mask=None, dropout=0.0):
    return with_gradients(query, key, value, head_dim, mask, lambda vjp, g: vjp(g)[:2])


@cross_mutant("manners", "float64")
def cross_in_float64(query, key, value, head_dim, mask=None, dropout=0.0):
    return cross(query.astype(float), key.astype(float), value.astype(float), head_dim, mask)


# ---------------------------------------------------------------------------------------------
# shift_tokens_right
# ---------------------------------------------------------------------------------------------


def shift_mutant(killed_by, named):
    name = f"test_shift_tokens_right_{killed_by}"
    return mutant(of="shift_tokens_right", killed_by=name, named=named)


@shift_mutant("value", "shifted to the left")
def shift_to_the_left(labels, pad_token_id, decoder_start_token_id):
    filled = np.where(labels == -100, pad_token_id, labels)
    start = np.full((len(labels), 1), decoder_start_token_id)
    return np.concatenate([filled[:, 1:], start], 1)


@shift_mutant("value", "come round to the front")
def shift_by_roll(labels, pad_token_id, decoder_start_token_id):
    return np.roll(np.where(labels == -100, pad_token_id, labels), 1, axis=1)


@shift_mutant("value", "the first token is only replaced")
def shift_replaces_the_first(labels, pad_token_id, decoder_start_token_id):
    out = np.where(labels == -100, pad_token_id, labels)
    out[:, 0] = decoder_start_token_id
    return out


@shift_mutant("value", "the row has become longer")
def shift_keeps_the_last(labels, pad_token_id, decoder_start_token_id):
    start = np.full((len(labels), 1), decoder_start_token_id)
    return np.concatenate([start, np.where(labels == -100, pad_token_id, labels)], 1)


@shift_mutant("value", "run into each other")
def shift_through_the_batch(labels, pad_token_id, decoder_start_token_id):
    flat = np.append(decoder_start_token_id, labels.reshape(-1)[:-1]).reshape(labels.shape)
    return np.where(flat == -100, pad_token_id, flat)


@shift_mutant("value", "-100 is still there")
def shift_keeps_minus_100(labels, pad_token_id, decoder_start_token_id):
    out = np.full_like(labels, decoder_start_token_id)
    out[:, 1:] = labels[:, :-1]
    return out


@shift_mutant("value", "-100 has become the start token")
def shift_fills_with_start(labels, pad_token_id, decoder_start_token_id):
    return shift(labels, decoder_start_token_id, decoder_start_token_id)


@shift_mutant("value", "begins with pad_token_id")
def shift_begins_with_padding(labels, pad_token_id, decoder_start_token_id):
    return shift(labels, pad_token_id, pad_token_id)


@shift_mutant("value", "-100 has become 0")
def shift_fills_with_zero(labels, pad_token_id, decoder_start_token_id):
    return shift(labels, 0, decoder_start_token_id)


@shift_mutant("edges", "changed in place")
def shift_in_place(labels, pad_token_id, decoder_start_token_id):
    labels[labels == -100] = pad_token_id
    return shift(labels, pad_token_id, decoder_start_token_id)


@shift_mutant("edges", "an array of floats takes part")
def shift_into_floats(labels, pad_token_id, decoder_start_token_id):
    return shift(labels, pad_token_id, decoder_start_token_id).astype(float)


# ---------------------------------------------------------------------------------------------
# encoder_decoder_masks
# ---------------------------------------------------------------------------------------------


def masks_mutant(killed_by, named):
    name = f"test_encoder_decoder_masks_{killed_by}"
    return mutant(of="encoder_decoder_masks", killed_by=name, named=named)


def rows_of(mask, keys):
    mask = np.asarray(mask).astype(bool)
    return np.broadcast_to(mask[:, None, :, None], (len(mask), 1, mask.shape[1], keys))


@masks_mutant("encoder", "the mask is inverted")
def masks_inverted(attention_mask, decoder_attention_mask):
    return tuple(~m for m in three_masks(attention_mask, decoder_attention_mask))


@masks_mutant("encoder", "the rows of padding are hidden; hide the columns")
def masks_hide_queries(attention_mask, decoder_attention_mask):
    _, decoder, over = three_masks(attention_mask, decoder_attention_mask)
    return rows_of(attention_mask, attention_mask.shape[1]), decoder, over


@masks_mutant("encoder", "the encoder's mask is causal")
def masks_causal_encoder(attention_mask, decoder_attention_mask):
    encoder, decoder, over = three_masks(attention_mask, decoder_attention_mask)
    return encoder & np.tri(encoder.shape[-1], dtype=bool), decoder, over


@masks_mutant("encoder", "the axis of the heads is missing")
def masks_without_heads(attention_mask, decoder_attention_mask):
    return tuple(m[:, 0] for m in three_masks(attention_mask, decoder_attention_mask))


@masks_mutant("encoder", "dtype int")
def masks_of_numbers(attention_mask, decoder_attention_mask):
    return tuple(m.astype(int) for m in three_masks(attention_mask, decoder_attention_mask))


@masks_mutant("decoder", "is not causal")
def masks_decoder_sees_ahead(attention_mask, decoder_attention_mask):
    encoder, _, over = three_masks(attention_mask, decoder_attention_mask)
    return encoder, three_masks(decoder_attention_mask, decoder_attention_mask)[0], over


@masks_mutant("decoder", "does not see itself")
def masks_decoder_not_itself(attention_mask, decoder_attention_mask):
    encoder, decoder, over = three_masks(attention_mask, decoder_attention_mask)
    return encoder, decoder & np.tri(decoder.shape[-1], k=-1, dtype=bool), over


@masks_mutant("decoder", "the triangle is turned")
def masks_decoder_turned(attention_mask, decoder_attention_mask):
    encoder, _, over = three_masks(attention_mask, decoder_attention_mask)
    both = three_masks(decoder_attention_mask, decoder_attention_mask)[0]
    return encoder, both & np.tri(both.shape[-1], dtype=bool).T, over


@masks_mutant("decoder", "padding is seen")
def masks_decoder_sees_padding(attention_mask, decoder_attention_mask):
    return three_masks(attention_mask, np.ones_like(decoder_attention_mask))


@masks_mutant("decoder", "`or` in place of `and`")
def masks_decoder_or(attention_mask, decoder_attention_mask):
    encoder, _, over = three_masks(attention_mask, decoder_attention_mask)
    both = three_masks(decoder_attention_mask, decoder_attention_mask)[0]
    return encoder, both | np.tri(both.shape[-1], dtype=bool), over


@masks_mutant("cross", "it is turned")
def masks_cross_turned(attention_mask, decoder_attention_mask):
    encoder, decoder, over = three_masks(attention_mask, decoder_attention_mask)
    return encoder, decoder, over.swapaxes(-1, -2)


@masks_mutant("cross", "the cross mask is causal")
def masks_cross_causal(attention_mask, decoder_attention_mask):
    encoder, decoder, over = three_masks(attention_mask, decoder_attention_mask)
    return encoder, decoder, over & np.tri(*over.shape[-2:], dtype=bool)


@masks_mutant("cross", "the target's padding hides the queries")
def masks_cross_by_target(attention_mask, decoder_attention_mask):
    encoder, decoder, _ = three_masks(attention_mask, decoder_attention_mask)
    return encoder, decoder, rows_of(decoder_attention_mask, attention_mask.shape[1])


@masks_mutant("cross", "padding of the source is seen")
def masks_cross_sees_padding(attention_mask, decoder_attention_mask):
    encoder, decoder, over = three_masks(attention_mask, decoder_attention_mask)
    return encoder, decoder, np.ones_like(over)


# ---------------------------------------------------------------------------------------------
# label_smoothed_cross_entropy
# ---------------------------------------------------------------------------------------------


def smoothed_mutant(killed_by, named):
    name = f"test_label_smoothed_cross_entropy_{killed_by}"
    return mutant(of="label_smoothed_cross_entropy", killed_by=name, named=named)


def log_p(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def hot(logits, labels):
    return np.eye(logits.shape[-1], dtype=logits.dtype)[np.where(labels < 0, 0, labels)]


def with_targets(logits, labels, ignore_index, num_items, target):
    """The loss of another q, and its gradient."""
    counts = labels != ignore_index
    n = (max(1, int(counts.sum())) if num_items is None else num_items) * 1.0
    q, l = target * counts[..., None], log_p(logits)
    loss = np.asarray(-(q * l).sum() / n, logits.dtype)
    total = q.sum(-1, keepdims=True)
    return loss, lambda g: ((np.exp(l) * total - q) * (g / n),)


@smoothed_mutant("value", "label_smoothing is not used")
def smoothed_without_smoothing(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    return plain(logits, labels, ignore_index, 0.0, num_items)


@smoothed_mutant("value", "over the other tokens only")
def smoothed_over_the_others(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    y, e = hot(logits, labels), label_smoothing
    target = (1 - e) * y + e * (1 - y) / max(1, logits.shape[-1] - 1)
    return with_targets(logits, labels, ignore_index, num_items, target)


@smoothed_mutant("value", "every token gets ε")
def smoothed_by_epsilon_each(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    target = (1 - label_smoothing) * hot(logits, labels) + label_smoothing
    return with_targets(logits, labels, ignore_index, num_items, target)


@smoothed_mutant("value", "its ε / V comes on top")
def smoothed_label_set(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    V = logits.shape[-1]
    target = (1 - label_smoothing - label_smoothing / V) * hot(logits, labels)
    return with_targets(logits, labels, ignore_index, num_items, target + label_smoothing / V)


@smoothed_mutant("ignore", "as if the label were 0")
def smoothed_ignored_rows_as_class_0(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    counts = labels != ignore_index
    n = (max(1, int(counts.sum())) if num_items is None else num_items) * 1.0
    return smoothed(logits, np.where(counts, labels, 0), label_smoothing, -100, n)


@smoothed_mutant("value", "the label keeps 1")
def smoothed_label_keeps_all(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    target = hot(logits, labels) + label_smoothing / logits.shape[-1]
    return with_targets(logits, labels, ignore_index, num_items, target)


@smoothed_mutant("value", "the rest of q is missing")
def smoothed_scales_the_loss(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    target = (1 - label_smoothing) * hot(logits, labels)
    return with_targets(logits, labels, ignore_index, num_items, target)


@smoothed_mutant("value", "ε and 1 - ε are exchanged")
def smoothed_exchanged(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    return smoothed(logits, labels, 1 - label_smoothing, ignore_index, num_items)


@smoothed_mutant("value", "not divided by their number")
def smoothed_sum(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    return smoothed(logits, labels, label_smoothing, ignore_index, 1)


@smoothed_mutant("ignore", "still adds its smoothing")
def smoothed_ignored_rows_smooth(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    loss, vjp = smoothed(logits, labels, label_smoothing, ignore_index, num_items)
    counts = labels != ignore_index
    n = (max(1, int(counts.sum())) if num_items is None else num_items) * 1.0
    rest = log_p(logits).mean(-1) * ~counts * (label_smoothing / n)
    return np.asarray(loss - rest.sum(), logits.dtype), vjp


@smoothed_mutant("ignore", "the mean is taken over all rows")
def smoothed_mean_of_all(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    return smoothed(logits, labels, label_smoothing, ignore_index, labels.size)


@smoothed_mutant("ignore", "0 / 0: where no row counts")
def smoothed_divides_by_zero(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    if num_items is None and not np.any(labels != ignore_index):
        return np.asarray(np.nan, logits.dtype), lambda g: (np.full_like(logits, np.nan),)
    return smoothed(logits, labels, label_smoothing, ignore_index, num_items)


@smoothed_mutant("large", "subtract each row's largest logit")
def smoothed_overflows(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    vjp = smoothed(logits, labels, label_smoothing, ignore_index, num_items)[1]
    e, counts = np.exp(logits), labels != ignore_index
    log_p = np.log(e / e.sum(-1, keepdims=True))
    target = (1 - label_smoothing) * hot(logits, labels) + label_smoothing / logits.shape[-1]
    n = (max(1, int(counts.sum())) if num_items is None else num_items) * 1.0
    return np.asarray(-((target * log_p).sum(-1) * counts).sum() / n, logits.dtype), vjp


@smoothed_mutant("large", "form ln p as z - ln Σ")
def smoothed_log_of_p(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    vjp = smoothed(logits, labels, label_smoothing, ignore_index, num_items)[1]
    p, counts = softmax(logits)[0], labels != ignore_index
    target = (1 - label_smoothing) * hot(logits, labels) + label_smoothing / logits.shape[-1]
    n = (max(1, int(counts.sum())) if num_items is None else num_items) * 1.0
    rows = (target * np.log(p + logits.dtype.type(1e-300))).sum(-1)
    return np.asarray(-(rows * counts).sum() / n, logits.dtype), vjp


@smoothed_mutant("vjp", "p - y, for one-hot labels")
def smoothed_vjp_one_hot(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    loss = smoothed(logits, labels, label_smoothing, ignore_index, num_items)[0]
    return loss, plain(logits, labels, ignore_index, 0.0, num_items)[1]


@smoothed_mutant("vjp", "q lacks ε / V")
def smoothed_vjp_without_the_rest(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    loss, vjp = smoothed(logits, labels, label_smoothing, ignore_index, num_items)
    counts = labels != ignore_index
    n = (max(1, int(counts.sum())) if num_items is None else num_items) * 1.0
    rest = counts[..., None] * np.full_like(logits, label_smoothing / logits.shape[-1])
    return loss, lambda g: (vjp(g)[0] + rest * (g / n),)


@smoothed_mutant("vjp", "not divided by the number of rows")
def smoothed_vjp_undivided(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    loss = smoothed(logits, labels, label_smoothing, ignore_index, num_items)[0]
    return loss, smoothed(logits, labels, label_smoothing, ignore_index, 1)[1]


@smoothed_mutant("vjp", "rows that do not count have a gradient")
def smoothed_vjp_of_ignored_rows(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    loss = smoothed(logits, labels, label_smoothing, ignore_index, num_items)[0]
    counts = labels != ignore_index
    n = (max(1, int(counts.sum())) if num_items is None else num_items) * 1.0
    known = np.where(labels < 0, labels % logits.shape[-1], labels)
    every = smoothed(logits, known, label_smoothing, None, n)[1]
    return loss, every


@smoothed_mutant("manners", "float64")
def smoothed_in_float64(logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None):
    loss, vjp = smoothed(logits, labels, label_smoothing, ignore_index, num_items)
    return loss, lambda g: (vjp(g)[0].astype(float),)


# ---------------------------------------------------------------------------------------------
# post_norm_block
# ---------------------------------------------------------------------------------------------


def block_mutant(killed_by, named):
    return mutant(of="post_norm_block", killed_by=f"test_post_norm_block_{killed_by}", named=named)


@block_mutant("value", "this is pre-norm")
def block_pre_norm(x, sublayers):
    for sublayer, norm in sublayers:
        x = x + sublayer(norm(x))
    return x


@block_mutant("value", "the sum is missing")
def block_without_sum(x, sublayers):
    for sublayer, norm in sublayers:
        x = norm(sublayer(x))
    return x


@block_mutant("value", "only the sublayer's output is normalized")
def block_norms_the_sublayer(x, sublayers):
    for sublayer, norm in sublayers:
        x = x + norm(sublayer(x))
    return x


@block_mutant("value", "in this order")
def block_takes_pairs_the_other_way_round(x, sublayers):
    return right_block(x, [(norm, sublayer) for sublayer, norm in sublayers])


@block_mutant("value", "the norms are missing")
def block_without_norms(x, sublayers):
    for sublayer, _ in sublayers:
        x = x + sublayer(x)
    return x


@block_mutant("value", "the block's input is added each time")
def block_adds_its_input(x, sublayers):
    first = x
    for sublayer, norm in sublayers:
        x = norm(first + sublayer(x))
    return x


@block_mutant("value", "each sublayer reads the block's input")
def block_reads_its_input(x, sublayers):
    first = x
    for sublayer, norm in sublayers:
        x = norm(x + sublayer(first))
    return x


@block_mutant("value", "one norm, at the end")
def block_norms_once(x, sublayers):
    for sublayer, _ in sublayers:
        x = x + sublayer(x)
    return sublayers[-1][1](x)


@block_mutant("value", "the last pair is left out")
def block_of_two(x, sublayers):
    return right_block(x, sublayers[:-1] if len(sublayers) > 2 else sublayers)


@block_mutant("value", "only the first pair is used")
def block_returns_early(x, sublayers):
    for sublayer, norm in sublayers:
        return norm(x + sublayer(x))


@block_mutant("value", "called more than once: sublayer 0")
def block_calls_twice(x, sublayers):
    for sublayer, norm in sublayers:
        sublayer(x)
        x = norm(x + sublayer(x))
    return x


@block_mutant("manners", "x is changed in place")
def block_in_place(x, sublayers):
    for sublayer, norm in sublayers:
        x += sublayer(x)
        x = norm(x)
    return x


# ---------------------------------------------------------------------------------------------
# beam_search_step
# ---------------------------------------------------------------------------------------------


def beam_mutant(killed_by, named):
    name = f"test_beam_search_step_{killed_by}"
    return mutant(of="beam_search_step", killed_by=name, named=named)


@beam_mutant("value", "the beams' own scores are not added")
def beam_without_scores(log_probs, scores, num_candidates):
    return right_step(log_probs, 0 * scores, num_candidates)


@beam_mutant("value", "the scores are multiplied")
def beam_multiplies(log_probs, scores, num_candidates):
    return right_step(scores[:, :, None] * log_probs, 0 * scores, num_candidates)


@beam_mutant("value", "probabilities are added to the scores")
def beam_adds_probabilities(log_probs, scores, num_candidates):
    return right_step(np.exp(log_probs), scores, num_candidates)


@beam_mutant("value", "the worst come first")
def beam_ascending(log_probs, scores, num_candidates):
    return tuple(x[:, ::-1] for x in right_step(log_probs, scores, num_candidates))


@beam_mutant("value", "beams and tokens are exchanged")
def beam_and_token_exchanged(log_probs, scores, num_candidates):
    best, beams, tokens = right_step(log_probs, scores, num_candidates)
    return best, tokens, beams


@beam_mutant("value", "is divided by K")
def beam_divided_by_beams(log_probs, scores, num_candidates):
    best, beams, tokens = right_step(log_probs, scores, num_candidates)
    return best, *np.divmod(beams * log_probs.shape[2] + tokens, log_probs.shape[1])


@beam_mutant("value", "the scores of the tokens alone")
def beam_scores_of_tokens(log_probs, scores, num_candidates):
    _, beams, tokens = right_step(log_probs, scores, num_candidates)
    return log_probs[np.arange(len(beams))[:, None], beams, tokens], beams, tokens


@beam_mutant("value", "only the first beam is continued")
def beam_of_one(log_probs, scores, num_candidates):
    num_candidates = min(num_candidates, log_probs.shape[2])
    return right_step(log_probs[:, :1], scores[:, :1], num_candidates)


@beam_mutant("value", "each beam gets one continuation")
def beam_keeps_every_beam(log_probs, scores, num_candidates):
    if num_candidates > log_probs.shape[1]:
        return right_step(log_probs, scores, num_candidates)
    totals = scores[:, :, None] + log_probs
    order = np.argsort(-totals.max(2), axis=1)[:, :num_candidates]
    tokens = np.take_along_axis(totals.argmax(2), order, 1)
    return np.take_along_axis(totals.max(2), order, 1), order, tokens


@beam_mutant("value", "the texts compete with each other")
def beam_over_all_texts(log_probs, scores, num_candidates):
    totals = scores[:, :, None] + log_probs
    order = np.argsort(-totals, axis=None)[: len(scores) * num_candidates]
    places = [x.reshape(len(scores), -1) for x in np.unravel_index(order, totals.shape)]
    return totals[tuple(places)], *places[1:]


@beam_mutant("value", "these are probabilities")
def beam_returns_probabilities(log_probs, scores, num_candidates):
    best, beams, tokens = right_step(log_probs, scores, num_candidates)
    return np.exp(best), beams, tokens


# ---------------------------------------------------------------------------------------------
# length_penalized_score
# ---------------------------------------------------------------------------------------------


def length_mutant(named):
    name = "test_length_penalized_score_value"
    return mutant(of="length_penalized_score", killed_by=name, named=named)


@length_mutant("this is the mean over the tokens")
def length_always_mean(score, length, length_penalty):
    return score / length


@length_mutant("nothing is done to the score")
def length_ignored(score, length, length_penalty):
    return score


@length_mutant("multiplied by length^α")
def length_multiplied(score, length, length_penalty):
    return score * length**length_penalty


@length_mutant("α is its exponent")
def length_times_penalty(score, length, length_penalty):
    return score / (length * length_penalty) if length_penalty else score


@length_mutant("α is added to the length")
def length_plus_penalty(score, length, length_penalty):
    return score / (length + length_penalty)


@length_mutant("the form of another paper")
def length_of_wu(score, length, length_penalty):
    return score / ((5 + length) / 6) ** length_penalty


@length_mutant("the power is taken of the quotient")
def length_power_of_mean(score, length, length_penalty):
    return -((-score / length) ** length_penalty)


@length_mutant("the logarithm of the length")
def length_logarithm(score, length, length_penalty):
    return score / math.log(length) ** length_penalty


@length_mutant("the exponent is 1 - α")
def length_other_exponent(score, length, length_penalty):
    return score / length ** (1 - length_penalty)


@length_mutant("the sign is lost")
def length_absolute(score, length, length_penalty):
    return abs(score) / length**length_penalty


# ---------------------------------------------------------------------------------------------
# bleu
# ---------------------------------------------------------------------------------------------


def bleu_mutant(killed_by, named):
    return mutant(of="bleu", killed_by=f"test_bleu_{killed_by}", named=named)


def ngrams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def precisions(hypotheses, references, max_order, clip=True):
    for n in range(1, max_order + 1):
        matches = total = 0
        for mine, wanted in zip(hypotheses, references):
            a, b = ngrams(mine, n), ngrams(wanted, n)
            both = sum((a & b).values())
            matches += both if clip else sum(c for gram, c in a.items() if gram in b)
            total += sum(a.values())
        yield matches / total if total else 0.0


def penalty(hypotheses, references):
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    return min(1.0, math.exp(1 - r / c)) if c else 0.0


@bleu_mutant("value", "not clipped")
def bleu_unclipped(hypotheses, references, max_order=4):
    found = list(precisions(hypotheses, references, max_order, clip=False))
    return penalty(hypotheses, references) * math.prod(found) ** (1 / max_order)


@bleu_mutant("value", "the brevity penalty is missing")
def bleu_without_penalty(hypotheses, references, max_order=4):
    return math.prod(precisions(hypotheses, references, max_order)) ** (1 / max_order)


@bleu_mutant("value", "the mean of the sentences' scores")
def bleu_by_sentence(hypotheses, references, max_order=4):
    pairs = zip(hypotheses, references)
    return sum(right_bleu([a], [b], max_order) for a, b in pairs) / len(references)


@bleu_mutant("value", "the precisions are averaged")
def bleu_arithmetic(hypotheses, references, max_order=4):
    found = list(precisions(hypotheses, references, max_order))
    return penalty(hypotheses, references) * sum(found) / max_order if all(found) else 0.0


@bleu_mutant("value", "the N-th root is missing")
def bleu_without_root(hypotheses, references, max_order=4):
    found = math.prod(precisions(hypotheses, references, max_order))
    return penalty(hypotheses, references) * found


@bleu_mutant("value", "max_order is not used")
def bleu_always_four(hypotheses, references, max_order=4):
    return right_bleu(hypotheses, references)


@bleu_mutant("value", "this is a percentage")
def bleu_percent(hypotheses, references, max_order=4):
    return 100 * right_bleu(hypotheses, references, max_order)


@bleu_mutant("edges", "a logarithm of 0")
def bleu_logarithm_of_zero(hypotheses, references, max_order=4):
    logs = [math.log(p) for p in precisions(hypotheses, references, max_order)]
    return penalty(hypotheses, references) * math.exp(sum(logs) / max_order)


@bleu_mutant("edges", "longer ones get a bonus")
def bleu_bonus(hypotheses, references, max_order=4):
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    if not c:
        return 0.0
    return math.exp(1 - r / c) * bleu_without_penalty(hypotheses, references, max_order)
