"""Graders of chapter 14: attention between two texts, masks, smoothed labels, and a search."""

import math
from collections import Counter

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
    check_equal,
    check_example,
    check_manners,
    check_value,
    check_vjp,
    likely,
    normal,
    points,
    rng,
)

TITLE = "Encoder, decoder, both"
ASSIGNED = {
    "cross_attention": "functional.attention",
    "shift_tokens_right": "models.heads",
    "encoder_decoder_masks": "models.masks",
    "label_smoothed_cross_entropy": "functional.further_losses",
    "post_norm_block": "models.marian_layers",
    "beam_search_step": "generation.beam",
    "length_penalized_score": "generation.beam",
    "bleu": "analysis.bleu",
}
STRETCH = ("bleu",)

# ---------------------------------------------------------------------------------------------
# cross_attention, 11 points
# ---------------------------------------------------------------------------------------------

TEXT = "batch time feature"
ATTENTION = {
    "out": TEXT,
    "weights": "batch head query key",
    "query": TEXT,
    "key": TEXT,
    "value": TEXT,
}


def two_texts(b, t, s, heads, d, label="", **options):
    inputs = normal(b, t, heads * d), normal(b, s, heads * d), normal(b, s, heads * d)
    return case(*inputs, d, label=label, **options)


def attention_cases():
    return [
        two_texts(2, 4, 5, 3, 2),
        two_texts(1, 5, 3, 2, 5, label="the source is shorter"),
        two_texts(2, 3, 4, 1, 6, label="a single head"),
        two_texts(1, 1, 4, 3, 2, label="one query, as in decoding"),
        two_texts(1, 1, 1, 1, 1),
    ]


def padded_cases():
    padding = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)[:, None, None, :]
    any_mask = rng().random((2, 3, 4, 5)) < 0.6
    any_mask[..., 0] = True
    return [
        two_texts(2, 4, 5, 3, 2, mask=padding, label="a padded source"),
        two_texts(2, 4, 5, 3, 2, mask=any_mask, label="a mask for each head and query"),
    ]


def softmax(s, axis=-1):
    top = s.max(axis, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


def split(x, d):
    return x.reshape(*x.shape[:2], -1, d).swapaxes(1, 2)


def split_in_turns(x, d):
    b, t, c = x.shape
    return x.reshape(b, t, d, c // d).transpose(0, 3, 1, 2)


def merge(x):
    b, h, t, d = x.shape
    return x.swapaxes(1, 2).reshape(b, t, h * d)


def merge_in_turns(x):
    b, h, t, d = x.shape
    return x.transpose(0, 2, 3, 1).reshape(b, t, h * d)


def merge_by_reshape(x):
    b, h, t, d = x.shape
    return x.reshape(b, t, h * d)


def weights_of(q, k, mask=None, scale=None, axis=-1):
    s = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softmax(s if mask is None else np.where(mask, s, -np.inf), axis)


def attend(q, k, v, d, mask=None, cut=split, join=merge, **options):
    p = weights_of(cut(q, d), cut(k, d), mask, **options)
    return join(p @ cut(v, d)), p


def cut_by_reshape(x, d):
    b, t, c = x.shape
    return x.reshape(b, c // d, t, d)


@points(1, "cross_attention: the example")
def test_cross_attention_example(submission):
    """One token that asks, three that are read."""
    check_example(submission.cross_attention)


@points(3, "cross_attention: value")
def test_cross_attention_value(submission):
    """Queries of one text, keys and values of the other, in heads."""
    check_value(
        submission.cross_attention,
        attention_cases(),
        axes=ATTENTION,
        outputs=("out", "weights"),
        mistakes={
            "the scores are not divided by √D": lambda q, k, v, d: attend(q, k, v, d, scale=1),
            "the scores are divided by √C; a head has D = head_dim features": (
                lambda q, k, v, d: attend(q, k, v, d, scale=q.shape[-1] ** -0.5)
            ),
            "there is one head of C features; cut them into heads of head_dim": (
                lambda q, k, v, d: (
                    (p := weights_of(q[:, None], k[:, None]))[:, 0] @ v,
                    np.repeat(p, q.shape[-1] // d, 1),
                )
            ),
            "the softmax runs over the queries; it belongs to the keys": (
                lambda q, k, v, d: attend(q, k, v, d, axis=-2)
            ),
            "a head gets every H-th feature; its features stand side by side": (
                lambda q, k, v, d: attend(q, k, v, d, cut=split_in_turns, join=merge_in_turns)
            ),
            "one reshape to (B, H, T, D) mixes tokens: cut the features, then exchange two axes": (
                lambda q, k, v, d: attend(q, k, v, d, cut=cut_by_reshape, join=merge_by_reshape)
            ),
            "the heads are cut by one reshape, which mixes tokens: (B, T, H, D) first, then "
            "exchange two axes": lambda q, k, v, d: attend(q, k, v, d, cut=cut_by_reshape),
            "the heads are cut in turns, every H-th feature; they are merged side by side": (
                lambda q, k, v, d: attend(q, k, v, d, cut=split_in_turns)
            ),
            "the heads are merged by one reshape, which mixes tokens: exchange the axes first": (
                lambda q, k, v, d: attend(q, k, v, d, join=merge_by_reshape)
            ),
            "the heads are merged in turns, head 0, 1, 2, 0 …; they stand side by side": (
                lambda q, k, v, d: attend(q, k, v, d, join=merge_in_turns)
            ),
            "the heads are still an axis of their own: (B, T, C) is wanted": (
                lambda q, k, v, d: attend(q, k, v, d, join=lambda x: x)
            ),
            "key and value are exchanged": lambda q, k, v, d: attend(q, v, k, d),
            "a query sees only the keys up to its own place; the source is seen whole": (
                lambda q, k, v, d: attend(q, k, v, d, np.tri(q.shape[1], k.shape[1], dtype=bool))
            ),
            "these are the scores; the weights are asked for": lambda q, k, v, d: (
                attend(q, k, v, d)[0],
                split(q, d) @ split(k, d).swapaxes(-1, -2) * d**-0.5,
            ),
            "the weights are averaged over the heads; (B, H, T, S) is wanted": lambda q, k, v, d: (
                attend(q, k, v, d)[0],
                attend(q, k, v, d)[1].mean(1),
            ),
        },
    )


@points(2, "cross_attention: padding of the source")
def test_cross_attention_mask(submission):
    """A key that is padding has weight 0; who may see nothing gets zeros."""
    blind = np.ones((1, 1, 3, 4), bool)
    blind[0, 0, 1], blind[0, 0, 0, 2] = False, False

    def evenly(q, k, v, d, mask):
        p = weights_of(split(q, d), split(k, d), np.where(mask.any(-1, keepdims=True), mask, True))
        see = np.broadcast_to(mask, p.shape).any(-1, keepdims=True)
        p = np.where(see, p, 1 / k.shape[1])
        return merge(p @ split(v, d)), p

    def of_scores(change):
        def wrong(q, k, v, d, mask):
            p = softmax(change(split(q, d) @ split(k, d).swapaxes(-1, -2) * d**-0.5, mask))
            return merge(p @ split(v, d)), p

        return wrong

    def everything(q, k, v, d, mask):
        return attend(q, k, v, d, np.where(mask.any(-1, keepdims=True), mask, True))

    check_value(
        submission.cross_attention,
        [*padded_cases(), two_texts(2, 3, 4, 2, 3, mask=blind, label="query 1 may see nothing")],
        axes=ATTENTION,
        outputs=("out", "weights"),
        mistakes={
            "the mask is not used": lambda q, k, v, d, mask: attend(q, k, v, d),
            "the mask is inverted: True means that attention is allowed": (
                lambda q, k, v, d, mask: attend(q, k, v, d, ~mask)
            ),
            "the mask comes after the softmax: the weights no longer sum to 1": (
                lambda q, k, v, d, mask: (
                    merge((p := weights_of(split(q, d), split(k, d)) * mask) @ split(v, d)),
                    p,
                )
            ),
            "the scores are multiplied by the mask; what is forbidden needs -inf, not 0": (
                of_scores(lambda scores, mask: scores * mask)
            ),
            "True and False are added to the scores, as 1 and 0; what is forbidden needs -inf": (
                of_scores(lambda scores, mask: scores + mask)
            ),
            "the mask is inverted: a large negative number belongs where it is False": (
                of_scores(lambda scores, mask: np.where(mask, -1e30, scores))
            ),
            "a query that may see nothing takes the mean of all values; zeros belong there": evenly,
            "a query that may see nothing looks at everything; zeros belong there": everything,
        },
    )


@points(4, "cross_attention: gradients", seconds=10)
def test_cross_attention_vjp(submission):
    """Out of the merged heads, through both results, and back into each text."""

    def gradients(q, k, v, d, g, mask, cut, change):
        g, dweights = g
        q, k, v, g = (split(q, d), split(k, d), split(v, d), cut(g, d))
        p = weights_of(q, k, mask)
        dp = g @ v.swapaxes(-1, -2) + dweights
        ds = change(p, dp) * d**-0.5
        return ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g

    def right(p, dp):
        return p * (dp - (p * dp).sum(-1, keepdims=True))

    def variant(join=merge, cut=split, change=right, pick=lambda g: g, factor=1.0):
        def wrong(q, k, v, d, g, mask=None):
            dq, dk, dv = gradients(q, k, v, d, pick(g), mask, cut, change)
            return join(dq * factor), join(dk * factor), join(dv)

        return wrong

    def scaled_twice(q, k, v, d, g, mask=None):
        return variant(factor=d**-0.5)(q, k, v, d, g, mask)

    def unscaled(q, k, v, d, g, mask=None):
        return variant(factor=d**0.5)(q, k, v, d, g, mask)

    check_vjp(
        submission.cross_attention,
        [
            two_texts(2, 3, 4, 3, 2),
            two_texts(1, 4, 2, 2, 3, label="the source is shorter"),
            two_texts(1, 2, 3, 1, 4, label="a single head"),
            two_texts(
                *(2, 2, 3, 2, 2),
                mask=np.array([[1, 1, 0], [1, 1, 1]], bool)[:, None, None],
                label="a padded source",
            ),
        ],
        axes=ATTENTION,
        mistakes={
            "the gradients are still split into heads; merge them": variant(join=lambda x: x),
            "the gradients of the heads are merged by one reshape: exchange the axes first": (
                variant(join=merge_by_reshape)
            ),
            "the gradients of the heads are merged in turns; heads stand side by side": (
                variant(join=merge_in_turns)
            ),
            "g is cut into heads by one reshape, which mixes tokens": variant(cut=cut_by_reshape),
            "dweights is not used: the weights are a result, too": variant(
                pick=lambda g: (g[0], np.zeros_like(g[1]))
            ),
            "only dweights is used; the loss depends on out as well": (
                lambda q, k, v, d, g, mask=None: (
                    *variant(pick=lambda g: (np.zeros_like(g[0]), g[1]))(q, k, v, d, g, mask)[:2],
                    None,
                )
            ),
            "the softmax's gradient lacks its sum: p (g - Σ g p)": variant(
                change=lambda p, dp: p * dp
            ),
            "the scale is missing in the gradients of query and key": unscaled,
            "the scale is applied twice in the gradients of query and key": scaled_twice,
            "the gradients of query and key are exchanged": lambda q, k, v, d, g, mask=None: (
                (grads := variant()(q, k, v, d, g, mask))[1],
                grads[0],
                None,
            ),
        },
    )


@points(1, "cross_attention: fit for the model")
def test_cross_attention_manners(submission):
    """float32 in, float32 out; inputs are not changed; views work; vjp can be called twice."""
    check_manners(submission.cross_attention, [*attention_cases()[:3], padded_cases()[0]])


# ---------------------------------------------------------------------------------------------
# shift_tokens_right, 4 points
# ---------------------------------------------------------------------------------------------


def targets(rows, longest, pad, start):
    """Labels of unequal length, filled up with -100; no token is pad or start."""
    labels = rng().choice([n for n in range(3, 90) if n not in (pad, start)], (rows, longest))
    for row, length in zip(labels[1:], rng().permutation(rows - 1) + 2):  # the first one is full
        row[length:] = -100
    return labels


def shifted(labels, pad, start):
    out = np.full_like(labels, start)
    out[:, 1:] = np.where(labels[:, :-1] == -100, pad, labels[:, :-1])
    return out


def check_shift(fn, labels, pad, start):
    def filled(x):
        return np.where(x == -100, pad, x)

    check_close(
        fn(labels, pad, start),
        shifted(labels, pad, start),
        "shift_tokens_right: the output",
        case=f"labels {labels.tolist()}, pad_token_id {pad}, decoder_start_token_id {start}",
        axes="row place",
        mistakes={
            "shifted to the left: the decoder would read what it is to write": np.concatenate(
                [filled(labels[:, 1:]), np.full((len(labels), 1), start)], 1
            ),
            "the last token has come round to the front; the start token belongs there": (
                np.roll(filled(labels), 1, 1)
            ),
            "nothing is shifted; the first token is only replaced": np.concatenate(
                [np.full((len(labels), 1), start), filled(labels[:, 1:])], 1
            ),
            "the last label is still there: the row has become longer": np.concatenate(
                [np.full((len(labels), 1), start), filled(labels)], 1
            ),
            "the rows run into each other: shift along axis 1": filled(
                np.append(start, labels.reshape(-1)[:-1]).reshape(labels.shape)
            ),
            "-100 is still there; it is no token, and the table has no row for it": (
                np.concatenate([np.full((len(labels), 1), start), labels[:, :-1]], 1)
            ),
            "-100 has become the start token; it becomes pad_token_id": shifted(
                labels, start, start
            ),
            "the row begins with pad_token_id; it begins with decoder_start_token_id": shifted(
                labels, pad, pad
            ),
            "-100 has become 0; it becomes pad_token_id": shifted(labels, 0, start),
            "pad_token_id and decoder_start_token_id are exchanged": shifted(labels, start, pad),
        },
    )


@points(1, "shift_tokens_right: the example")
def test_shift_tokens_right_example(submission):
    """Two targets, one of them shorter."""
    check_example(submission.shift_tokens_right)


@points(2, "shift_tokens_right: value")
def test_shift_tokens_right_value(submission):
    """One place to the right, behind the start token; a row by itself."""
    fn = submission.shift_tokens_right
    for rows, longest, pad, start in ((3, 7, 91, 92), (2, 4, 0, 1), (1, 5, 2, 2)):
        check_shift(fn, targets(rows, longest, pad, start), pad, start)


@points(1, "shift_tokens_right: edges")
def test_shift_tokens_right_edges(submission):
    """One place, one row, whole numbers out, and the labels as they were."""
    fn = submission.shift_tokens_right
    for labels in (targets(1, 1, 0, 1), targets(4, 1, 0, 1), targets(3, 6, 0, 1)):
        out = fn(labels, 0, 1)
        check(
            0 not in fn.edited,
            "shift_tokens_right changed its argument labels.",
            "labels is changed in place: the loss needs it as it was; work on a copy",
        )
        check(
            getattr(out, "dtype", np.dtype(int)).kind in "iu",
            f"tokens are whole numbers; {getattr(out, 'dtype', None)} came.",
            "an array of floats takes part: np.zeros(…) is one, np.full_like(labels, …) is none",
        )
        check_shift(fn, labels, 0, 1)


# ---------------------------------------------------------------------------------------------
# encoder_decoder_masks, 6 points
# ---------------------------------------------------------------------------------------------


def two_masks():
    """Sources of 7 places and targets of 6, 3 of each, with padding anywhere but in the first."""
    source, target = ((rng().random((3, n)) < 0.6).astype(int) for n in (7, 6))
    source[0], target[0] = 1, 1
    source[1:, :2] = target[1:, :2] = [1, 0]
    return source, target


def check_masks(fn, which, name, mistakes):
    """The mask number `which` of the three. mistakes: {name: (source, target) -> mask}"""
    for source, target in (two_masks(), (np.ones((1, 1), int), np.ones((1, 3), int))):
        result = fn(source, target)
        check(
            isinstance(result, (tuple, list)) and len(result) == 3,
            "encoder_decoder_masks must return three masks: encoder, decoder, cross; it returned "
            f"{'nothing' if result is None else f'a {type(result).__name__}'}.",
            "a return statement is missing" if result is None else None,
        )
        check(not fn.edited, "encoder_decoder_masks changed its argument.", "work on a copy")
        keys = {"encoder": source, "decoder": target, "cross": source}[name]
        queries = {"encoder": source, "decoder": target, "cross": target}[name]
        B, S, T = len(keys), keys.shape[1], queries.shape[1]
        right = np.broadcast_to(keys.astype(bool)[:, None, None], (B, 1, T, S))
        if name == "decoder":
            right = right & np.tri(T, dtype=bool)
        what = f"encoder_decoder_masks: the {name} mask"
        mine = result[which]
        if isinstance(mine, np.ndarray) and mine.shape == right.shape:
            check(
                mine.dtype == bool,
                f"{what} has dtype {mine.dtype}; a mask is bool, True where attention is allowed.",
                "numbers would be added to the scores: compare, or use astype(bool)",
            )
        variants = {
            "the mask is inverted: True means that attention is allowed": ~right,
            "the axis of the heads is missing: (B, 1, queries, keys)": right[:, 0],
            "the axis of the heads is missing, and that of the queries": keys.astype(bool),
            "one row stands for all queries; write out (B, 1, queries, keys)": (
                keys.astype(bool)[:, None, None]
            ),
        }
        variants |= {text: wrong(source, target) for text, wrong in mistakes.items()}
        words = f"attention_mask {source.tolist()}, decoder_attention_mask {target.tolist()}"
        check_close(
            mine,
            right,
            what,
            case=words,
            axes="batch head query key",
            mistakes={t: w for t, w in variants.items() if not np.array_equal(w, right)},
        )
        check(
            all(np.ndim(m) == 4 for m in result),
            "each of the three masks has four axes, (B, 1, queries, keys); those returned have "
            f"shapes {', '.join(str(np.shape(m)) for m in result)}.",
        )


def as_keys(mask, queries):
    return np.broadcast_to(mask.astype(bool)[:, None, None], (len(mask), 1, queries, mask.shape[1]))


def as_queries(mask, keys):
    return np.broadcast_to(mask.astype(bool)[:, None, :, None], (len(mask), 1, mask.shape[1], keys))


HIDES_QUERIES = "the rows of padding are hidden; hide the columns: it is keys that nobody may see"
HIDES_BOTH = "the rows of padding are hidden as well; only keys are hidden, by their columns"


@points(1, "encoder_decoder_masks: the example")
def test_encoder_decoder_masks_example(submission):
    """A source of two tokens in three places, a target of two."""
    check_example(submission.encoder_decoder_masks)


@points(1, "encoder_decoder_masks: encoder")
def test_encoder_decoder_masks_encoder(submission):
    """The source sees all of itself but padding."""
    check_masks(
        submission.encoder_decoder_masks,
        *(0, "encoder"),
        {
            HIDES_QUERIES: lambda s, t: as_queries(s, s.shape[1]),
            HIDES_BOTH: lambda s, t: as_queries(s, s.shape[1]) & as_keys(s, s.shape[1]),
            "the encoder's mask is causal; the source may be seen to its end": lambda s, t: (
                as_keys(s, s.shape[1]) & np.tri(s.shape[1], dtype=bool)
            ),
            "padding is seen": lambda s, t: np.ones((len(s), 1, s.shape[1], s.shape[1]), bool),
        },
    )


@points(2, "encoder_decoder_masks: decoder")
def test_encoder_decoder_masks_decoder(submission):
    """The target sees itself up to the query, and no padding."""

    def size(t):
        return t.shape[1]

    check_masks(
        submission.encoder_decoder_masks,
        *(1, "decoder"),
        {
            "the decoder's mask is not causal: it could read what it is to write": (
                lambda s, t: as_keys(t, size(t))
            ),
            "a query does not see itself; it may: what it reads is the token before": (
                lambda s, t: as_keys(t, size(t)) & np.tri(size(t), k=-1, dtype=bool)
            ),
            "a query sees what comes after it, and nothing before: the triangle is turned": (
                lambda s, t: as_keys(t, size(t)) & np.tri(size(t), dtype=bool).T
            ),
            "padding is seen: the causal mask alone does not hide it": lambda s, t: np.broadcast_to(
                np.tri(size(t), dtype=bool), (len(t), 1, size(t), size(t))
            ),
            "`or` in place of `and`: a key must be both, no padding and not later": lambda s, t: (
                as_keys(t, size(t)) | np.tri(size(t), dtype=bool)
            ),
            HIDES_QUERIES: lambda s, t: as_queries(t, size(t)) & np.tri(size(t), dtype=bool),
            HIDES_BOTH: lambda s, t: (
                as_queries(t, size(t)) & as_keys(t, size(t)) & np.tri(size(t), dtype=bool)
            ),
        },
    )


@points(2, "encoder_decoder_masks: cross")
def test_encoder_decoder_masks_cross(submission):
    """The target's queries, the source's keys."""
    check_masks(
        submission.encoder_decoder_masks,
        *(2, "cross"),
        {
            "the target's padding hides the queries; the source's hides the keys": lambda s, t: (
                as_queries(t, s.shape[1])
            ),
            HIDES_BOTH: lambda s, t: as_queries(t, s.shape[1]) & as_keys(s, t.shape[1]),
            "queries and keys are exchanged: rows are the target's, columns the source's": (
                lambda s, t: as_keys(t, s.shape[1])
            ),
            "it is turned: rows are the target's, columns the source's": lambda s, t: as_queries(
                s, t.shape[1]
            ),
            "the cross mask is causal; the source is known to its end before the first word": (
                lambda s, t: as_keys(s, t.shape[1]) & np.tri(t.shape[1], s.shape[1], dtype=bool)
            ),
            "padding of the source is seen": lambda s, t: np.ones(
                (len(s), 1, t.shape[1], s.shape[1]), bool
            ),
        },
    )


# ---------------------------------------------------------------------------------------------
# label_smoothed_cross_entropy, 8 points
# ---------------------------------------------------------------------------------------------

LOGITS = {"logits": "batch time vocabulary"}


def labels_for(*shape, classes, ignored=0.0):
    labels = rng().integers(0, classes, shape)
    return np.where(rng().random(shape) < ignored, -100, labels)


def smoothing_cases():
    return [
        case(normal(2, 5, 7), labels_for(2, 5, classes=7)),
        case(normal(4, 3, scale=3), labels_for(4, classes=3), 0.35),
        case(normal(3, 6), np.array([2, 2, 2]), 0.2, label="one label three times"),
        case(normal(5), np.array(3), 0.25, label="a single row"),
        case(normal(3, 4), labels_for(3, classes=4), 0.0, label="no smoothing"),
        case(normal(2, 4), labels_for(2, classes=4), 1.0, label="nothing but smoothing"),
    ]


def partial_cases():
    labels = labels_for(2, 6, classes=5, ignored=0.4)
    labels[0, :2] = -100, 3
    return [
        case(normal(2, 6, 5), labels, 0.3),
        case(normal(3, 4), np.array([1, -100, -100])),
        case(normal(2, 6, 5), labels, 0.2, num_items=11, label="num_items"),
        case(normal(2, 6, 5), np.where(labels == -100, 4, 1), ignore_index=4, label="index 4"),
    ]


def log_p(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def hot(z, y):
    return np.eye(z.shape[-1])[np.where(y < 0, y % z.shape[-1], y)]


def smooth(z, y, epsilon=0.1, others=None, own=None):
    """q: `own` at the label and `others` everywhere."""
    others = epsilon / z.shape[-1] if others is None else others
    own = 1 - epsilon if own is None else own
    return own * hot(z, y) + others


def mean_loss(z, y, epsilon=0.1, ignore_index=-100, num_items=None, **how):
    counts = y != ignore_index
    rows = -(smooth(z, y, epsilon, **how) * log_p(z)).sum(-1) * counts
    return rows.sum() / (counts.sum() if num_items is None else num_items)


def evenly_among_others(z, y, epsilon=0.1):
    others = epsilon / (z.shape[-1] - 1)
    return (1 - epsilon - others) * hot(z, y) + others


@points(1, "label_smoothed_cross_entropy: the example")
def test_label_smoothed_cross_entropy_example(submission):
    """A row with probabilities 1/2, 1/4, 1/8, 1/8, and q 0.7, 0.1, 0.1, 0.1."""
    check_example(submission.label_smoothed_cross_entropy)


@points(2, "label_smoothed_cross_entropy: value")
def test_label_smoothed_cross_entropy_value(submission):
    """-Σ q ln p, where q keeps 1 - ε + ε/V at the label."""
    check_value(
        submission.label_smoothed_cross_entropy,
        smoothing_cases(),
        mistakes={
            "label_smoothing is not used: this is the plain cross-entropy": (
                lambda z, y, e=0.1: mean_loss(z, y, 0.0)
            ),
            "ε is spread over the other tokens only, ε / (V - 1); all V get ε / V": (
                lambda z, y, e=0.1: -(evenly_among_others(z, y, e) * log_p(z)).sum(-1).mean()
            ),
            "every token gets ε, not ε / V": lambda z, y, e=0.1: mean_loss(z, y, e, others=e),
            "the label keeps 1, and q sums to 1 + ε; it keeps 1 - ε": lambda z, y, e=0.1: mean_loss(
                z, y, e, own=1.0
            ),
            "the label keeps 1 - ε, and q does not sum to 1: its ε / V comes on top": (
                lambda z, y, e=0.1: mean_loss(z, y, e, own=1 - e - e / z.shape[-1])
            ),
            "the label alone counts, with 1 - ε; the rest of q is missing": lambda z, y, e=0.1: (
                mean_loss(z, y, e, others=0.0)
            ),
            "ε and 1 - ε are exchanged": lambda z, y, e=0.1: mean_loss(z, y, 1 - e),
            "q is smoothed, and p as well: p is the softmax as it is": lambda z, y, e=0.1: (
                -(hot(z, y) * np.log((1 - e) * np.exp(log_p(z)) + e / z.shape[-1])).sum(-1).mean()
            ),
            "the sum over the rows is not divided by their number": lambda z, y, e=0.1: mean_loss(
                z, y, e, num_items=1
            ),
            "the loss has one entry a row; their mean is asked for": lambda z, y, e=0.1: (
                -(smooth(z, y, e) * log_p(z)).sum(-1)
            ),
            "the logits are taken for logarithms of probabilities: ln Σ e^z is missing": (
                lambda z, y, e=0.1: -(smooth(z, y, e) * z).sum(-1).mean()
            ),
        },
    )


@points(1, "label_smoothed_cross_entropy: rows that do not count, num_items")
def test_label_smoothed_cross_entropy_ignore(submission):
    """A row labeled ignore_index adds nothing, not even its smoothing, and is not counted."""

    def all_rows(z, y, e=0.1, ignore_index=-100, num_items=None):
        return mean_loss(z, y, e, ignore_index, num_items=y.size)

    def smoothing_counts(z, y, e=0.1, ignore_index=-100, num_items=None):
        counts = y != ignore_index
        rows = -((1 - e) * hot(z, y) * counts[..., None] + e / z.shape[-1]) * log_p(z)
        return rows.sum() / (counts.sum() if num_items is None else num_items)

    def classes(z, y, e=0.1, ignore_index=-100, num_items=None):
        return mean_loss(z, y, e, None, num_items=y.size if num_items is None else num_items)

    def of_class_0(z, y, e=0.1, ignore_index=-100, num_items=None):
        n = (y != ignore_index).sum() if num_items is None else num_items
        return mean_loss(z, np.where(y == ignore_index, 0, y), e, None, num_items=n)

    check_value(
        submission.label_smoothed_cross_entropy,
        partial_cases(),
        mistakes={
            "rows that do not count add their loss all the same, as if the label were 0": (
                of_class_0
            ),
            "a row that does not count still adds its smoothing, ε/V · Σ -ln p": smoothing_counts,
            "the mean is taken over all rows; only those that count belong in it": all_rows,
            "rows with the label ignore_index count, as if it were a class": classes,
            "num_items is not used": lambda z, y, e=0.1, ignore_index=-100, num_items=None: (
                mean_loss(z, y, e, ignore_index)
            ),
        },
    )
    check_value(
        submission.label_smoothed_cross_entropy,
        [case(normal(2, 3, 4), np.full((2, 3), -100), label="none counts")],
        mistakes={"0 / 0: where no row counts, the loss is 0": lambda z, y: np.array(np.nan)},
    )


@points(1, "label_smoothed_cross_entropy: large logits")
def test_label_smoothed_cross_entropy_large(submission):
    """Logits of 10,000 overflow e^z; and with smoothing ln p of *every* token takes part."""
    logarithm = "ln 0, or a small number in place of it: form ln p as z - ln Σ e^z, not from p"
    check_value(submission.label_smoothed_cross_entropy, smoothing_cases()[:1])  # small ones first
    with likely(logarithm):
        check_value(
            submission.label_smoothed_cross_entropy,
            [
                case(normal(3, 5, scale=1e4), labels_for(3, classes=5)),
                case(normal(2, 4) - 1e4, labels_for(2, classes=4), 0.3),
                case(normal(2, 3, 4, scale=900.0), labels_for(2, 3, classes=4)),
            ],
            mistakes={
                "e^z overflows (or every e^z is 0): subtract each row's largest logit first": (
                    lambda z, y, e=0.1: np.array(np.nan)
                ),
                logarithm: lambda z, y, e=0.1: np.array(np.inf),
            },
        )


@points(2, "label_smoothed_cross_entropy: gradient")
def test_label_smoothed_cross_entropy_vjp(submission):
    """p - q, over the number of rows that count."""

    def variant(target=smooth, divide=True, masked=True, sign=1.0):
        def wrong(z, y, e=0.1, g=None, ignore_index=-100, num_items=None):
            counts = y != ignore_index
            n = counts.sum() if num_items is None else num_items
            d = (np.exp(log_p(z)) - target(z, y, e)) * (counts[..., None] if masked else 1)
            return (sign * d * g / (n if divide else 1),)

        return lambda z, y, *rest, **options: wrong(
            z, y, *(rest[:-1] or (0.1,)), g=rest[-1], **options
        )

    check_vjp(
        submission.label_smoothed_cross_entropy,
        [*smoothing_cases(), *partial_cases()],
        axes=LOGITS,
        mistakes={
            "this is p - y, for one-hot labels; q is smoothed": variant(lambda z, y, e: hot(z, y)),
            "q lacks ε / V: p - (1 - ε) y": variant(lambda z, y, e: (1 - e) * hot(z, y)),
            "q's label keeps 1 - ε; its ε / V comes on top": variant(
                lambda z, y, e: smooth(z, y, e, own=1 - e - e / z.shape[-1])
            ),
            "q's label keeps 1; it keeps 1 - ε": variant(
                lambda z, y, e: hot(z, y) + e / z.shape[-1]
            ),
            "ε is spread over the other tokens only": variant(evenly_among_others),
            "every token gets ε, not ε / V": variant(lambda z, y, e: (1 - e) * hot(z, y) + e),
            "p - q is not divided by the number of rows": variant(divide=False),
            "rows that do not count have a gradient; theirs is 0": variant(masked=False),
            "this is q - p: the sign is wrong": variant(sign=-1.0),
        },
    )


@points(1, "label_smoothed_cross_entropy: fit for the model")
def test_label_smoothed_cross_entropy_manners(submission):
    """float32 in, float32 out; inputs are not changed; views work; vjp can be called twice."""
    fn = submission.label_smoothed_cross_entropy
    check_manners(fn, [*smoothing_cases()[:2], partial_cases()[0]])


# ---------------------------------------------------------------------------------------------
# post_norm_block, 4 points
# ---------------------------------------------------------------------------------------------


class Parts:
    """Sublayers and norms, random and small, which note their calls."""

    def __init__(self, count, width, dtype=np.float64):
        self.scales = [normal(width, dtype=dtype) for _ in range(count)]
        self.turns = [normal(width, width, dtype=dtype) for _ in range(count)]
        self.mixes = [normal(7, 7, dtype=dtype) for _ in range(count)]
        self.calls, self.count = [], count

    def norm(self, n, x):
        mean = x.mean(-1, keepdims=True)
        size = np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + x.dtype.type(1e-5))
        return (x - mean) / size * self.scales[n]

    def sublayer(self, n, x):
        return np.tanh(self.mixes[n][: x.shape[1], : x.shape[1]] @ x @ self.turns[n])

    def noted(self, kind, n):
        def call(x):
            self.calls.append(f"{kind} {n}")
            return getattr(self, kind)(n, x)

        return call

    def pairs(self):
        return [(self.noted("sublayer", n), self.noted("norm", n)) for n in range(self.count)]


def block(x, parts, step=None):
    """Each pair in turn; step (x, first x, sublayer, norm) -> x is what a pair does."""
    first = x
    step = step or (lambda x, first, f, norm: norm(x + f(x)))
    for n in range(parts.count):
        x = step(
            *(x, first),
            lambda y, n=n: parts.sublayer(n, y),
            lambda y, n=n: parts.norm(n, y),
        )
    return x


def wrong_blocks(x, parts):
    def made(step):
        return block(x, parts, step)

    every = [lambda y, n=n: parts.norm(n, y) for n in range(parts.count)]
    fewer = Parts.__new__(Parts)
    fewer.__dict__ = {**vars(parts), "count": parts.count - 1}
    one = Parts.__new__(Parts)
    one.__dict__ = {**vars(parts), "count": 1}
    return {
        "this is pre-norm, x + sublayer(norm(x)), as in Qwen2; here the norm comes after the sum": (
            made(lambda x, first, f, norm: x + f(norm(x)))
        ),
        "the sum is missing: norm(sublayer(x))": made(lambda x, first, f, norm: norm(f(x))),
        "only the sublayer's output is normalized: x + norm(sublayer(x))": made(
            lambda x, first, f, norm: x + norm(f(x))
        ),
        "x is normalized before the sum: norm(x) + sublayer(x)": made(
            lambda x, first, f, norm: norm(x) + f(x)
        ),
        "the norms are missing": made(lambda x, first, f, norm: x + f(x)),
        "the block's input is added each time; what the pair before has made is": made(
            lambda x, first, f, norm: norm(first + f(x))
        ),
        "each sublayer reads the block's input; it reads what the pair before has made": made(
            lambda x, first, f, norm: norm(x + f(first))
        ),
        "the norm stands before the sublayer as well": made(
            lambda x, first, f, norm: norm(x + f(norm(x)))
        ),
        "x is added a second time behind the norm": made(
            lambda x, first, f, norm: x + norm(x + f(x))
        ),
        "there is one norm, at the end: each pair has its own": every[-1](
            made(lambda x, first, f, norm: x + f(x))
        ),
        "the first norm is used for all pairs": made(lambda x, first, f, norm: every[0](x + f(x))),
        "a pair is (sublayer, norm), in this order": made(lambda x, first, f, norm: f(x + norm(x))),
        "the last pair is left out": block(x, fewer),
        "only the first pair is used": block(x, one),
    }


@points(1, "post_norm_block: the example")
def test_post_norm_block_example(submission):
    """Two features, worked out on paper."""
    check_example(submission.post_norm_block)


@points(2, "post_norm_block: value")
def test_post_norm_block_value(submission):
    """Add, then norm; the next sublayer reads what came out. Two pairs, or three."""
    for count, shape in ((3, (1, 4, 3)), (2, (2, 5, 6)), (1, (3, 1, 4))):
        x, parts = normal(*shape, scale=2), Parts(count, shape[-1])
        out = submission.post_norm_block(x, parts.pairs())
        check_close(
            out,
            block(x, parts),
            "post_norm_block: the output",
            case=f"x {shape}, {count} pairs of a sublayer and a norm",
            axes=TEXT,
            mistakes=wrong_blocks(x, parts),
        )
        order = [f"{kind} {n}" for n in range(count) for kind in ("sublayer", "norm")]
        twice = [name for name in order if parts.calls.count(name) > 1]
        with likely(f"called more than once: {', '.join(twice)}" if twice else None):
            check_equal(parts.calls, order, "the calls of the parts")


@points(1, "post_norm_block: fit for the model")
def test_post_norm_block_manners(submission):
    """float32 in, float32 out; x is not changed."""
    fn, x = submission.post_norm_block, normal(2, 5, 6, dtype=np.float32)
    parts = Parts(2, 6, np.float32)
    out = fn(x, parts.pairs())
    check(
        0 not in fn.edited,
        "post_norm_block changed its argument x.",
        "x is changed in place (x += …): write x = norm(x + …)",
    )
    check(
        getattr(out, "dtype", None) == np.float32,
        f"float32 went in, {getattr(out, 'dtype', type(out).__name__)} came out.",
    )


# ---------------------------------------------------------------------------------------------
# beam_search_step, 4 points
# ---------------------------------------------------------------------------------------------


def beams(b, k, v):
    """Log-probabilities that no two of are alike, and scores of beams, the best not the first."""
    logits = normal(b, k, v, scale=2)
    scores = -3 * rng().random((b, k)) - np.arange(k)[::-1]
    return log_p(logits), scores


def best_of(totals, n):
    """The best n of (B, K, V), as (scores, beams, tokens)."""
    B, _, V = totals.shape
    order = np.argsort(-totals.reshape(B, -1), axis=1, kind="stable")[:, :n]
    return np.take_along_axis(totals.reshape(B, -1), order, 1), order // V, order % V


def wrong_steps(log_probs, scores, n):
    totals = scores[:, :, None] + log_probs
    B, K, V = totals.shape
    right = best_of(totals, n)
    wrong = {
        "the beams' own scores are not added: a continuation's is the sum": best_of(log_probs, n),
        "the scores are multiplied; logarithms of probabilities are added": best_of(
            scores[:, :, None] * log_probs, n
        ),
        "probabilities are added to the scores; they are multiplied, so their logarithms add": (
            best_of(scores[:, :, None] + np.exp(log_probs), n)
        ),
        "the worst come first, or only the worst: the best are the largest": tuple(
            x[:, ::-1] for x in right
        ),
        "these are the worst continuations; the best have the largest scores": (
            lambda found: (-found[0], found[1], found[2])
        )(best_of(-totals, n)),
        "beams and tokens are exchanged": (right[0], right[2], right[1]),
        "the place among all K·V is divided by K; each beam has V continuations": (
            right[0],
            *np.divmod(right[1] * V + right[2], K),
        ),
        "the scores of the tokens alone are returned": (
            np.take_along_axis(log_probs.reshape(B, -1), right[1] * V + right[2], 1),
            *right[1:],
        ),
        "these are probabilities; their logarithms are asked for": (np.exp(right[0]), *right[1:]),
        "only the first beam is continued": best_of(totals[:, :1], n),
        "only the best beam is continued": (
            lambda at, found: (found[0], np.broadcast_to(at, found[1].shape), found[2])
        )(
            scores.argmax(1)[:, None],
            best_of(np.take_along_axis(totals, scores.argmax(1)[:, None, None], 1), n),
        ),
    }
    if n <= K:  # each beam goes on with its best token
        own = totals.max(2)
        order = np.argsort(-own, axis=1)[:, :n]
        wrong["each beam gets one continuation, its best; all K·V compete with each other"] = (
            np.take_along_axis(own, order, 1),
            order,
            np.take_along_axis(totals.argmax(2), order, 1),
        )
    together = np.argsort(-totals.reshape(-1), kind="stable")[: B * n]
    together = [x.reshape(B, n) for x in np.unravel_index(together, totals.shape)]
    wrong["the texts compete with each other; each keeps the best of its own"] = (
        totals[tuple(together)],
        *together[1:],
    )
    first = best_of(totals[:1], n)
    wrong["all texts get the first one's continuations"] = tuple(
        np.repeat(x, B, axis=0) for x in first
    )
    return wrong


@points(1, "beam_search_step: the example")
def test_beam_search_step_example(submission):
    """Two beams, three tokens: six continuations, and three of them kept."""
    check_example(submission.beam_search_step)


@points(3, "beam_search_step: value")
def test_beam_search_step_value(submission):
    """The best of all K·V, sorted, with the beam and the token of each."""
    fn = submission.beam_search_step
    for b, k, v, n in ((2, 3, 5, 4), (1, 4, 3, 3), (3, 1, 6, 2), (2, 2, 3, 6), (1, 1, 1, 1)):
        log_probs, scores = beams(b, k, v)
        result = fn(log_probs, scores, n)
        check(
            isinstance(result, (tuple, list)) and len(result) == 3,
            "beam_search_step must return three arrays: scores, beams, tokens; it returned "
            f"{'nothing' if result is None else f'a {type(result).__name__}'}.",
            "a return statement is missing" if result is None else None,
        )
        check(not fn.edited, "beam_search_step changed its argument.", "work on a copy")
        right = best_of(scores[:, :, None] + log_probs, n)
        wrong = wrong_steps(log_probs, scores, n)
        for i, name in enumerate(("scores", "beams", "tokens")):
            check_close(
                np.asarray(result[i]) if isinstance(result[i], list) else result[i],
                right[i],
                f"beam_search_step: the {name}",
                case=f"log_probs {log_probs.shape}, scores {scores.round(3).tolist()}, "
                f"num_candidates {n}",
                axes="text candidate",
                mistakes={
                    text: array[i]
                    for text, array in wrong.items()
                    if not all(np.array_equal(x, y) for x, y in zip(array, right))
                },
            )


# ---------------------------------------------------------------------------------------------
# length_penalized_score, 3 points
# ---------------------------------------------------------------------------------------------


@points(1, "length_penalized_score: the example")
def test_length_penalized_score_example(submission):
    """-6 over the root of 4, and over 3."""
    check_example(submission.length_penalized_score)


@points(2, "length_penalized_score: value")
def test_length_penalized_score_value(submission):
    """score / length^α, for every α."""
    fn = submission.length_penalized_score
    draws = [(-float(rng().random() * 9 + 1), int(rng().integers(3, 20))) for _ in range(3)]
    for score, n in draws:
        for a in (float(rng().random() * 0.3 + 0.6), 0.0, 1.0, 2.0, -1.0):
            check_close(
                np.float64(fn(score, n, a)),
                np.float64(score / n**a),
                "length_penalized_score",
                case=f"score = {score:.4g}, length = {n}, length_penalty = {a:.4g}",
                mistakes={
                    text: np.float64(wrong)
                    for text, wrong in {
                        "length_penalty is not used: this is the mean over the tokens": score / n,
                        "nothing is done to the score": score,
                        "multiplied by length^α; it is divided": score * n**a,
                        "the length is multiplied by α; α is its exponent": score / (n * a or 1),
                        "α is added to the length; it is its exponent": score / (n + a or 1),
                        "the power is taken of the quotient; only the length has it": -(
                            (-score / n) ** a
                        ),
                        "the logarithm of the length stands for the length": score
                        / math.log(n) ** a,
                        "this is ((5 + length) / 6)^α, the form of another paper": (
                            score / ((5 + n) / 6) ** a
                        ),
                        "the exponent is 1 - α; it is α": score / n ** (1 - a),
                        "α^length stands for length^α": score / (abs(a) ** n or 1),
                        "this is a probability; the score is a logarithm": math.exp(score) / n**a,
                        "the sign is lost: scores are negative, and the larger is better": (
                            -score / n**a
                        ),
                    }.items()
                },
            )


# ---------------------------------------------------------------------------------------------
# bleu, the stretch
# ---------------------------------------------------------------------------------------------


def ngrams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def some_translations(sentences=6):
    """References of few words, and hypotheses that differ in some and are shorter in all."""
    draw = rng()
    words = [f"w{n}" for n in draw.integers(100, 10_000, 5)]

    def some(count):
        return [words[i] for i in draw.integers(0, 5, count)]

    references = [some(draw.integers(6, 12)) for _ in range(sentences)]
    hypotheses = [
        [some(1)[0] if draw.random() < 0.15 else word for word in row[:-1]] for row in references
    ]
    hypotheses[0] = [*words[:1] * 3, *hypotheses[0]]
    return hypotheses, references


def score_of(hypotheses, references, N=4, clip=True, brevity=True, geometric=True, by="hypotheses"):
    precisions = []
    for n in range(1, N + 1):
        matches = total = 0
        for mine, wanted in zip(hypotheses, references):
            a, b = ngrams(mine, n), ngrams(wanted, n)
            matches += (
                sum((a & b).values()) if clip else sum(c for gram, c in a.items() if gram in b)
            )
            total += sum((a if by == "hypotheses" else b).values())
        if not matches:
            return 0.0
        precisions.append(matches / total)
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    penalty = min(1.0, math.exp(1 - r / c)) if brevity else 1.0
    if not geometric:
        return penalty * sum(precisions) / N
    return penalty * math.prod(precisions) ** (1 / N)


@points(0, "bleu (stretch): the example")
def test_bleu_example(submission):
    """A word in four is wrong."""
    check_example(submission.bleu)


@points(0, "bleu (stretch): value")
def test_bleu_value(submission):
    """Clipped matches, summed over all sentences before they are divided."""
    for _ in range(3):
        for order in (4, 2, 1):
            mine, wanted = some_translations()
            alone = [score_of([a], [b], order) for a, b in zip(mine, wanted)]
            options = dict(zip(("hypotheses", "references", "N"), (mine, wanted, order)))
            no_root = score_of(**options, brevity=False) ** order
            check_close(
                np.float64(submission.bleu(mine, wanted, order)),
                np.float64(score_of(mine, wanted, order)),
                "bleu",
                case=f"hypotheses {mine}, references {wanted}, max_order {order}",
                mistakes={
                    text: np.float64(wrong)
                    for text, wrong in {
                        "matches are not clipped: a word counts as often as the reference has it": (
                            score_of(**options, clip=False)
                        ),
                        "the brevity penalty is missing": score_of(**options, brevity=False),
                        "this is the mean of the sentences' scores; counts are summed first": (
                            sum(alone) / len(alone)
                        ),
                        "the precisions are averaged; their geometric mean is asked for": (
                            score_of(**options, geometric=False)
                        ),
                        "the matches are divided by the reference's n-grams: that is recall": (
                            score_of(**options, by="references")
                        ),
                        "the N-th root is missing": no_root
                        * score_of(**options)
                        / (score_of(**options, brevity=False) or 1),
                        "max_order is not used: four orders": score_of(mine, wanted, 4),
                        "only the longest n-grams count; all orders up to max_order do": (
                            score_of(mine, wanted, order) ** order
                            / (score_of(mine, wanted, order - 1) ** (order - 1) or 1)
                            if order > 1
                            else -1
                        ),
                        "hypotheses and references are exchanged": score_of(wanted, mine, order),
                        "this is a percentage; 0 to 1 is asked for": 100
                        * score_of(mine, wanted, order),
                    }.items()
                },
            )


@points(0, "bleu (stretch): the ends of the scale")
def test_bleu_edges(submission):
    """1 for the reference itself, 0 without a match, and no sentence too short to be taken."""
    fn, (_, wanted) = submission.bleu, some_translations()
    check_equal(round(fn(wanted, wanted), 9), 1.0, "bleu of the references themselves")
    words = [["x", "y"], ["z"]]
    with likely("a logarithm of 0, or a division by 0: where a precision is 0, BLEU is 0"):
        check_equal(fn(words, wanted[:2]), 0.0, "bleu without a match")
        check_equal(fn([["a"]], [["a"]]), 0.0, "bleu of one word, which has no pair")
        check_equal(fn([[]], [["a"]], 1), 0.0, "bleu of nothing")
    longer = [[*row, "x"] for row in wanted]
    check_close(
        np.float64(fn(longer, wanted, 1)),
        np.float64(score_of(longer, wanted, 1)),
        "bleu of hypotheses that are longer",
        mistakes={
            "longer ones get a bonus: the brevity penalty is at most 1": np.float64(
                score_of(longer, wanted, 1)
                * math.exp(1 - sum(map(len, wanted)) / sum(map(len, longer)))
            )
        },
    )
