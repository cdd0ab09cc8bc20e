"""Plausible wrong solutions of chapter 15."""

import numpy as np

from tinyqwen.course import mutant, reference

mask_tokens, sentence_pairs = reference("mask_tokens"), reference("sentence_pairs")
mean_pooling, mlm_head = reference("mean_pooling"), reference("mlm_head")
next_sentence_loss, cut_lengths = reference("next_sentence_loss"), reference("cut_lengths")


# ---------------------------------------------------------------------------------------------
# mask_tokens
# ---------------------------------------------------------------------------------------------


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="predicted all the same")
def mask_tokens_kept_without_label(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return ids, np.where(ids == input_ids, -100, labels)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="only what became [MASK]")
def mask_tokens_labels_at_marks(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return ids, np.where(ids == mask_token_id, labels, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="labels are what the model")
def mask_tokens_labels_of_the_hidden(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return ids, np.where(labels == -100, -100, ids)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="every token has a label")
def mask_tokens_labels_everywhere(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, _ = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return ids, input_ids.copy()


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="0 stands where")
def mask_tokens_zero_for_none(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return ids, np.where(labels == -100, 0, labels)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="four of five")
def mask_tokens_all_marks(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    told = maskable & (chosen < 0.15)
    return np.where(told, mask_token_id, input_ids), np.where(told, input_ids, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="half of them stay")
def mask_tokens_none_kept(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return np.where((labels != -100) & (fate >= 0.8), random_ids, ids), labels


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="replaced and kept are exch")
def mask_tokens_kept_before_replaced(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    told = maskable & (chosen < 0.15)
    ids = np.where(told & (fate < 0.8), mask_token_id, input_ids)
    return np.where(told & (fate >= 0.9), random_ids, ids), np.where(told, input_ids, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="fate < 0.1 is replaced")
def mask_tokens_tenth_from_below(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    told = maskable & (chosen < 0.15)
    ids = np.where(told & (fate < 0.8), mask_token_id, input_ids)
    return np.where(told & (fate < 0.1), random_ids, ids), np.where(told, input_ids, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="not chosen are hidden")
def mask_tokens_hides_all(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids = np.where(maskable & (fate < 0.8), mask_token_id, input_ids)
    ids = np.where(maskable & (fate >= 0.8) & (fate < 0.9), random_ids, ids)
    return ids, np.where(maskable & (chosen < 0.15), input_ids, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="maskable is not used")
def mask_tokens_hides_the_marks(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    everything = np.ones_like(maskable)
    return mask_tokens(input_ids, everything, chosen, fate, random_ids, mask_token_id)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_edges", named="0.15 is not chosen")
def mask_tokens_at_most(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    told = maskable & (chosen <= 0.15)
    return mask_tokens(input_ids, told, chosen * 0, fate, random_ids, mask_token_id)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_edges", named="both borders")
def mask_tokens_borders(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    told = maskable & (chosen < 0.15)
    ids = np.where(told & (fate <= 0.8), mask_token_id, input_ids)
    replaced = told & (fate > 0.8) & (fate <= 0.9)
    return np.where(replaced, random_ids, ids), np.where(told, input_ids, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_manners", named="input_ids is changed")
def mask_tokens_in_place(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    input_ids[...] = ids
    return input_ids, labels


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="after it has become [MASK]")
def mask_tokens_no_lower_end(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    told = maskable & (chosen < 0.15)
    ids = np.where(told & (fate < 0.8), mask_token_id, input_ids)
    return np.where(told & (fate < 0.9), random_ids, ids), np.where(told, input_ids, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="maskable is not used")
def mask_tokens_marks_for_labels(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, _ = mask_tokens(input_ids, maskable | True, chosen, fate, random_ids, mask_token_id)
    return ids, np.where(maskable & (chosen < 0.15), input_ids, -100)


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="where tokens become [MASK]")
def mask_tokens_marks_hidden(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return np.where((chosen < 0.15) & (fate < 0.8), mask_token_id, ids), labels


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="each place has its own")
def mask_tokens_drawn_in_order(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    replaced = (labels != -100) & (fate >= 0.8) & (fate < 0.9)
    ids[replaced] = random_ids.ravel()[: replaced.sum()]
    return ids, labels


@mutant(of="mask_tokens", killed_by="test_mask_tokens_value", named="this is the labels; the order")
def mask_tokens_labels_first(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    return mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)[::-1]


@mutant(of="mask_tokens", killed_by="test_mask_tokens_manners", named="a float takes part")
def mask_tokens_float_labels(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id)
    return ids, np.where(labels == -100, -100.0, labels)


# ---------------------------------------------------------------------------------------------
# sentence_pairs
# ---------------------------------------------------------------------------------------------


def rows_of(ids, kinds, real, pad=0):
    length = max(map(len, ids))
    return tuple(
        np.array([row + [fill] * (length - len(row)) for row in rows])
        for rows, fill in ((ids, pad), (kinds, 0), (real, 0))
    )


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="last [SEP] is missing")
def sentence_pairs_without_last_mark(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids = [[cls_token_id, *a, sep_token_id, *b] for a, b in zip(first, second)]
    kinds = [[0] * (len(a) + 2) + [1] * len(b) for a, b in zip(first, second)]
    return rows_of(ids, kinds, [[1] * len(row) for row in ids], pad_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="a [CLS] of its own")
def sentence_pairs_two_beginnings(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    second = [[cls_token_id, *b] for b in second]
    return sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="of the second segment")
def sentence_pairs_mark_of_the_second(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids = [[cls_token_id, *a, sep_token_id, *b, sep_token_id] for a, b in zip(first, second)]
    kinds = [[0] * (len(a) + 1) + [1] * (len(b) + 2) for a, b in zip(first, second)]
    return rows_of(ids, kinds, [[1] * len(row) for row in ids], pad_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="padding is of segment 1")
def sentence_pairs_kinds_to_the_end(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, _, real = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    ends = np.array([len(a) + 2 for a in first])[:, None]
    return ids, (np.arange(ids.shape[1]) >= ends).astype(int), real


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="all is of segment 0")
def sentence_pairs_one_segment(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, real = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, kinds * 0, real


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="segments are 1 and 2")
def sentence_pairs_from_one(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, real = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, kinds + real, real


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="leaves out [CLS]")
def sentence_pairs_marks_unseen(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, _ = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    real = [[0] + [1] * len(a) + [0] + [1] * len(b) + [0] for a, b in zip(first, second)]
    return ids, kinds, rows_of(real, real, real)[0]


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="1 everywhere")
def sentence_pairs_sees_padding(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, real = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, kinds, np.ones_like(real)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="filled up in front")
def sentence_pairs_padded_in_front(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    arrays = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    shifts = [arrays[2].shape[1] - row.sum() for row in arrays[2]]
    return tuple(np.array([np.roll(r, n) for r, n in zip(rows, shifts)]) for rows in arrays)


@mutant(
    of="sentence_pairs", killed_by="test_sentence_pairs_value", named="pad_token_id is not used"
)
def sentence_pairs_pads_with_zero(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    return sentence_pairs(first, second, cls_token_id, sep_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="exchanged")
def sentence_pairs_other_marks(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    return sentence_pairs(first, second, sep_token_id, cls_token_id, pad_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_edges", named="told by its id")
def sentence_pairs_mask_by_id(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, _ = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, kinds, (ids != pad_token_id).astype(int)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="has len(first) + 2")
def sentence_pairs_marks_uncounted(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids = [[cls_token_id, *a, sep_token_id, *b, sep_token_id] for a, b in zip(first, second)]
    kinds = [[0] * len(a) + [1] * (len(b) + 1) + [0, 0] for a, b in zip(first, second)]
    return rows_of(ids, kinds, [[1] * len(row) for row in ids], pad_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_edges", named="it has one all the same")
def sentence_pairs_of_one(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    seconds = [[*b, sep_token_id] if b else [] for b in second]
    ids = [[cls_token_id, *a, sep_token_id, *b] for a, b in zip(first, seconds)]
    kinds = [[0] * (len(a) + 2) + [1] * len(b) for a, b in zip(first, seconds)]
    return rows_of(ids, kinds, [[1] * len(row) for row in ids], pad_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="padding is of segment 0")
def sentence_pairs_fills_segments(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, real = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, np.where(real, kinds, pad_token_id), real


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="mask of padding is 0")
def sentence_pairs_fills_the_mask(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, real = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, kinds, np.where(real, real, pad_token_id)


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="this is attention_mask;")
def sentence_pairs_mask_before_segments(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, real = sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, real, kinds


@mutant(of="sentence_pairs", killed_by="test_sentence_pairs_value", named="rows of unequal length")
def sentence_pairs_not_filled(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    return np.array(
        [[cls_token_id, *a, sep_token_id, *b, sep_token_id] for a, b in zip(first, second)]
    )


# ---------------------------------------------------------------------------------------------
# mean_pooling
# ---------------------------------------------------------------------------------------------


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="padding is counted")
def mean_pooling_all_places(last_hidden_state, attention_mask):
    return last_hidden_state.mean(1)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="but not of the number")
def mean_pooling_divides_by_length(last_hidden_state, attention_mask):
    return np.where(attention_mask[..., None] > 0, last_hidden_state, 0).mean(1)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="only left out of the number")
def mean_pooling_sums_padding(last_hidden_state, attention_mask):
    return last_hidden_state.sum(1) / np.maximum(attention_mask.sum(1, keepdims=True), 1)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="not divided by the number")
def mean_pooling_sum(last_hidden_state, attention_mask):
    return np.where(attention_mask[..., None] > 0, last_hidden_state, 0).sum(1)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="[CLS]; the mean")
def mean_pooling_first_token(last_hidden_state, attention_mask):
    return last_hidden_state[:, 0].copy()


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="largest of each feature")
def mean_pooling_largest(last_hidden_state, attention_mask):
    return np.where(attention_mask[..., None] > 0, last_hidden_state, -np.inf).max(1)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="of the whole batch")
def mean_pooling_over_the_batch(last_hidden_state, attention_mask):
    total = np.where(attention_mask[..., None] > 0, last_hidden_state, 0).sum(1)
    return total / attention_mask.sum()


@mutant(of="mean_pooling", killed_by="test_mean_pooling_edges", named="divide by at least 1")
def mean_pooling_nan(last_hidden_state, attention_mask):
    total = np.where(attention_mask[..., None] > 0, last_hidden_state, 0).sum(1)
    with np.errstate(all="ignore"):
        return (total / attention_mask.sum(1, keepdims=True)).astype(total.dtype)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_edges", named="do not multiply it by 0")
def mean_pooling_multiplies(last_hidden_state, attention_mask):
    mask = attention_mask[..., None].astype(last_hidden_state.dtype)
    with np.errstate(all="ignore"):
        return (last_hidden_state * mask).sum(1) / np.maximum(mask.sum(1), 1)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_manners", named="float64 comes out")
def mean_pooling_float64(last_hidden_state, attention_mask):
    total = np.where(attention_mask[..., None] > 0, last_hidden_state, 0).sum(1)
    return total / np.maximum(attention_mask.sum(1, keepdims=True), 1)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_manners", named="is changed in place")
def mean_pooling_in_place(last_hidden_state, attention_mask):
    last_hidden_state[attention_mask == 0] = 0
    return mean_pooling(last_hidden_state, attention_mask)


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="longest one's number")
def mean_pooling_divides_by_the_longest(last_hidden_state, attention_mask):
    seen = np.where(attention_mask[..., None] > 0, last_hidden_state, 0)
    return seen.sum(1) / attention_mask.sum(1).max()


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="those where it is 1")
def mean_pooling_first_ones(last_hidden_state, attention_mask):
    counts = attention_mask.sum(1)
    return np.stack([h[:n].mean(0) for h, n in zip(last_hidden_state, counts)])


@mutant(of="mean_pooling", killed_by="test_mean_pooling_value", named="runs over the features")
def mean_pooling_other_axis(last_hidden_state, attention_mask):
    return last_hidden_state.mean(-1)


# ---------------------------------------------------------------------------------------------
# mlm_head
# ---------------------------------------------------------------------------------------------


def picked(x, chosen):
    return x if chosen is None else x[chosen]


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="norm comes before the activation")
def mlm_head_norm_before_activation(x, dense, activation, norm, decoder, chosen=None):
    return decoder(activation(norm(dense(picked(x, chosen)))))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="norm comes before dense")
def mlm_head_pre_norm(x, dense, activation, norm, decoder, chosen=None):
    return decoder(activation(dense(norm(picked(x, chosen)))))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="activation is missing")
def mlm_head_linear(x, dense, activation, norm, decoder, chosen=None):
    return decoder(norm(dense(picked(x, chosen))))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="norm is missing")
def mlm_head_without_norm(x, dense, activation, norm, decoder, chosen=None):
    return decoder(activation(dense(picked(x, chosen))))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="reads x itself")
def mlm_head_decoder_alone(x, dense, activation, norm, decoder, chosen=None):
    return decoder(picked(x, chosen))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="no residual")
def mlm_head_residual(x, dense, activation, norm, decoder, chosen=None):
    x = picked(x, chosen)
    return decoder(norm(x + activation(dense(x))))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="decoder is missing")
def mlm_head_without_decoder(x, dense, activation, norm, decoder, chosen=None):
    return norm(activation(dense(picked(x, chosen))))


@mutant(of="mlm_head", killed_by="test_mlm_head_chosen", named="chosen is not used")
def mlm_head_everywhere(x, dense, activation, norm, decoder, chosen=None):
    return decoder(norm(activation(dense(x))))


@mutant(of="mlm_head", killed_by="test_mlm_head_chosen", named="were not chosen")
def mlm_head_the_others(x, dense, activation, norm, decoder, chosen=None):
    return mlm_head(x, dense, activation, norm, decoder, None if chosen is None else ~chosen)


@mutant(of="mlm_head", killed_by="test_mlm_head_chosen", named="pick x[chosen] first")
def mlm_head_picks_at_the_end(x, dense, activation, norm, decoder, chosen=None):
    return picked(decoder(norm(activation(dense(x)))), chosen)


@mutant(of="mlm_head", killed_by="test_mlm_head_chosen", named="pick x[chosen] first")
def mlm_head_picks_before_the_decoder(x, dense, activation, norm, decoder, chosen=None):
    return decoder(picked(norm(activation(dense(x))), chosen))


@mutant(of="mlm_head", killed_by="test_mlm_head_chosen", named="where the first row is chosen")
def mlm_head_first_rows_places(x, dense, activation, norm, decoder, chosen=None):
    x = x if chosen is None else x[:, chosen[0]].reshape(-1, x.shape[-1])
    return decoder(norm(activation(dense(x))))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="norm is applied twice")
def mlm_head_two_norms(x, dense, activation, norm, decoder, chosen=None):
    return decoder(norm(activation(norm(dense(picked(x, chosen))))))


@mutant(of="mlm_head", killed_by="test_mlm_head_value", named="the scores are asked for")
def mlm_head_softmax(x, dense, activation, norm, decoder, chosen=None):
    return softmax(mlm_head(x, dense, activation, norm, decoder, chosen))


@mutant(of="mlm_head", killed_by="test_mlm_head_chosen", named="picks tokens")
def mlm_head_whole_texts(x, dense, activation, norm, decoder, chosen=None):
    return mlm_head(x[np.where(chosen)[0]], dense, activation, norm, decoder)


# ---------------------------------------------------------------------------------------------
# next_sentence_loss
# ---------------------------------------------------------------------------------------------


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gradient_mutant(named):
    """A mutant whose gradient is change(p, y, divisor), and whose loss is right."""

    def declare(change):
        def wrong(logits, labels, num_items=None):
            y = np.eye(2, dtype=logits.dtype)[labels]
            dlogits = change(softmax(logits), y, float(num_items or len(labels)))
            loss = next_sentence_loss(logits, labels, num_items)[0]
            return loss, lambda g: ((g * dlogits).astype(logits.dtype),)

        wrong.__name__ = change.__name__
        declared = mutant(
            of="next_sentence_loss", killed_by="test_next_sentence_loss_vjp", named=named
        )
        return declared(wrong)

    return declare


def value_mutant(named):
    """A mutant whose loss is change(p of the label, divisor), and whose gradient is right."""

    def declare(change):
        def wrong(logits, labels, num_items=None):
            p = softmax(logits)[np.arange(len(labels)), labels]
            vjp = next_sentence_loss(logits, labels, num_items)[1]
            loss = change(p, float(num_items or len(labels)))
            return np.asarray(loss, logits.dtype), vjp

        wrong.__name__ = change.__name__
        declared = mutant(
            of="next_sentence_loss", killed_by="test_next_sentence_loss_value", named=named
        )
        return declared(wrong)

    return declare


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_value",
    named="classes are exchanged",
)
def next_sentence_loss_one_is_next(logits, labels, num_items=None):
    return next_sentence_loss(logits, 1 - labels, num_items)


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_value",
    named="num_items is not used",
)
def next_sentence_loss_own_count(logits, labels, num_items=None):
    return next_sentence_loss(logits, labels)


@value_mutant("not divided by their number")
def next_sentence_loss_sum(p, count):
    return -np.log(p).sum()


@value_mutant("base 2")
def next_sentence_loss_in_bits(p, count):
    return -np.log2(p).sum() / count


@value_mutant("this is 1 - p[label]")
def next_sentence_loss_without_logarithm(p, count):
    return (1 - p).sum() / count


@value_mutant("sign is wrong")
def next_sentence_loss_negative(p, count):
    return np.log(p).sum() / count


@value_mutant("one entry a pair")
def next_sentence_loss_each(p, count):
    return -np.log(p)


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_value",
    named="a sigmoid of its own",
)
def next_sentence_loss_two_sigmoids(logits, labels, num_items=None):
    y, count = np.eye(2, dtype=logits.dtype)[labels], float(num_items or len(labels))
    loss = (np.logaddexp(0, logits) - y * logits).sum() / count
    return np.asarray(loss, logits.dtype), lambda g: (g * (1 / (1 + np.exp(-logits)) - y) / count,)


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_edges",
    named="subtract each pair's larger logit",
)
def next_sentence_loss_overflows(logits, labels, num_items=None):
    with np.errstate(all="ignore"):
        e = np.exp(logits)
        p = (e / e.sum(-1, keepdims=True))[np.arange(len(labels)), labels]
        loss = -np.log(p).sum() / float(num_items or len(labels))
    return np.asarray(loss, logits.dtype), next_sentence_loss(logits, labels, num_items)[1]


@mutant(
    of="next_sentence_loss", killed_by="test_next_sentence_loss_edges", named="and ln 0 infinite"
)
def next_sentence_loss_from_p(logits, labels, num_items=None):
    p = softmax(logits)[np.arange(len(labels)), labels]
    with np.errstate(divide="ignore"):
        loss = -np.log(p).sum() / float(num_items or len(labels))
    return np.asarray(loss, logits.dtype), next_sentence_loss(logits, labels, num_items)[1]


@gradient_mutant("this is p alone")
def next_sentence_loss_vjp_p(p, y, count):
    return p / count


@gradient_mutant("not divided by the number of pairs")
def next_sentence_loss_vjp_sum(p, y, count):
    return p - y


@gradient_mutant("only the label's logit")
def next_sentence_loss_vjp_label(p, y, count):
    return (p - y) * y / count


@gradient_mutant("only the other class's logit")
def next_sentence_loss_vjp_other(p, y, count):
    return (p - y) * (1 - y) / count


@gradient_mutant("sign is wrong")
def next_sentence_loss_vjp_sign(p, y, count):
    return (y - p) / count


@gradient_mutant("slope of p itself")
def next_sentence_loss_vjp_of_p(p, y, count):
    return (p - y) * (p * y).sum(-1, keepdims=True) / count


@mutant(of="next_sentence_loss", killed_by="test_next_sentence_loss_vjp", named="g is not used")
def next_sentence_loss_without_g(logits, labels, num_items=None):
    loss, vjp = next_sentence_loss(logits, labels, num_items)
    return loss, lambda g: vjp(np.ones_like(g))


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_manners",
    named="float64 comes out",
)
def next_sentence_loss_float64(logits, labels, num_items=None):
    loss, vjp = next_sentence_loss(logits, labels, num_items)
    return np.float64(loss), vjp


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_manners",
    named="logits is changed in place",
)
def next_sentence_loss_in_place(logits, labels, num_items=None):
    out = next_sentence_loss(logits.copy(), labels, num_items)
    logits -= logits.max(-1, keepdims=True)
    return out


def softmax_of_the_batch(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum()


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_value",
    named="runs over the whole batch",
)
def next_sentence_loss_one_softmax(logits, labels, num_items=None):
    p = softmax_of_the_batch(logits)[np.arange(len(labels)), labels]
    vjp = next_sentence_loss(logits, labels, num_items)[1]
    return -np.log(p).sum() / (num_items or len(labels)), vjp


@mutant(
    of="next_sentence_loss",
    killed_by="test_next_sentence_loss_edges",
    named="batch's largest logit is subtracted",
)
def next_sentence_loss_one_maximum(logits, labels, num_items=None):
    e = np.exp(logits - logits.max())
    p = (e / e.sum(-1, keepdims=True))[np.arange(len(labels)), labels]
    vjp = next_sentence_loss(logits, labels, num_items)[1]
    return -np.log(p).sum() / (num_items or len(labels)), vjp


@gradient_mutant("index rows and labels in pairs")
def next_sentence_loss_vjp_all_rows(p, y, count):
    return (p - y.any(0)) / count


@mutant(of="next_sentence_loss", killed_by="test_next_sentence_loss_vjp", named="has no axes")
def next_sentence_loss_vjp_axis_of_g(logits, labels, num_items=None):
    loss, vjp = next_sentence_loss(logits, labels, num_items)
    return loss, lambda g: (g[:, None] * vjp(1.0)[0],)


# ---------------------------------------------------------------------------------------------
# cut_lengths
# ---------------------------------------------------------------------------------------------


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="gets half of the room")
def cut_lengths_halves(first, second, room):
    half = max(room, 0) // 2
    return min(first, half), min(second, half)


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="first sentence alone")
def cut_lengths_first_alone(first, second, room):
    return min(first, max(room - second, 0)), second


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="second sentence alone")
def cut_lengths_second_alone(first, second, room):
    return first, min(second, max(room - first, 0))


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="all that it wants")
def cut_lengths_first_wins(first, second, room):
    kept = min(first, max(room, 0))
    return kept, min(second, max(room, 0) - kept)


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="in proportion")
def cut_lengths_in_proportion(first, second, room):
    room, total = max(room, 0), max(1, first + second)
    kept = min(first, room * first // total)
    return kept, min(second, room - kept)


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="nothing is cut")
def cut_lengths_not_at_all(first, second, room):
    return first, second


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="to the other sentence")
def cut_lengths_leftover_to_the_first(first, second, room):
    a, b = cut_lengths(first, second, room)
    return (b, a) if first == second and a < b else (a, b)


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="in each other's place")
def cut_lengths_swapped(first, second, room):
    return cut_lengths(first, second, room)[::-1]


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="nobody gets it")
def cut_lengths_even(first, second, room):
    a, b = cut_lengths(first, second, room)
    return (a, b) if a + b == first + second or abs(a - b) > 1 else (min(a, b), min(a, b))


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="more than it has")
def cut_lengths_generous(first, second, room):
    room = max(room, 0)
    if first + second <= room:
        return first, second
    return room // 2, room - room // 2


@mutant(of="cut_lengths", killed_by="test_cut_lengths_value", named="as good as none")
def cut_lengths_below_nothing(first, second, room):
    return (room // 2, room - room // 2) if room < 0 else cut_lengths(first, second, room)
