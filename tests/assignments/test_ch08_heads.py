"""Graders of chapter 08: splitting, merging, repeating, sharing heads, and what a cache costs."""

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
    output,
    points,
    rng,
)

TITLE = "Heads: MHA, MQA, GQA"
ASSIGNED = {
    "split_heads": "functional.attention",
    "merge_heads": "functional.attention",
    "repeat_kv": "functional.attention",
    "grouped_query_attention": "functional.attention",
    "kv_cache_bytes_per_token": "analysis.budget",
    "mean_pooled_heads": "analysis.interpret",
}
STRETCH = ("mean_pooled_heads",)

HEADS = "batch head time feature"
STREAM = "batch time feature"
HALF = "the reshape is right; exchange the axes of time and heads: (B, H, T, D)"
MIXED = "one reshape to (B, H, T, D) mixes tokens: cut the features first, then exchange two axes"
TURNS = "head h gets every H-th feature; its features stand side by side, from h·D to (h+1)·D"


# ---------------------------------------------------------------------------------------------
# split_heads, 5 points, and merge_heads, 4 points
# ---------------------------------------------------------------------------------------------


def split_cases():
    return [
        case(normal(2, 5, 6), 2),
        case(normal(2, 3, 12), 3),
        case(normal(1, 1, 10), 10, label="a single head"),
        case(normal(3, 4, 5), 1, label="heads of one feature"),
    ]


def merge_cases():
    return [case(normal(*shape)) for shape in ((2, 3, 5, 4), (1, 6, 2, 3), (2, 1, 4, 5))] + [
        case(normal(3, 2, 1, 4), label="one token"),
    ]


def split(x, d):
    return x.reshape(*x.shape[:2], -1, d).swapaxes(1, 2)


def merged_without_exchange(x):
    b, h, t, d = x.shape
    return x.reshape(b, t, h * d)


def merged_in_turns(x):
    b, h, t, d = x.shape
    return x.transpose(0, 2, 3, 1).reshape(b, t, h * d)


def split_in_turns(x, d):
    b, t, c = x.shape
    return x.reshape(b, t, d, c // d).transpose(0, 3, 1, 2)


@points(1, "split_heads: the example")
def test_split_heads_example(submission):
    """Two tokens, two heads."""
    check_example(submission.split_heads)


@points(1, "split_heads: value")
def test_split_heads_value(submission):
    """Each head gets a run of features, and the axis of heads stands before that of time."""
    check_value(
        submission.split_heads,
        split_cases(),
        axes=HEADS,
        mistakes={
            "the heads stand before the texts, (H, B, T, D); the batch comes first": lambda x, d: (
                x.reshape(*x.shape[:2], -1, d).transpose(2, 0, 1, 3)
            ),
            MIXED: lambda x, d: x.reshape(x.shape[0], -1, x.shape[1], d),
            HALF: lambda x, d: x.reshape(*x.shape[:2], -1, d),
            TURNS: split_in_turns,
            "head_dim is the size of a head, not their number": lambda x, d: x.reshape(
                *x.shape[:2], d, -1
            ).swapaxes(1, 2),
            "features and time are exchanged: (B, H, T, D)": lambda x, d: split(x, d).swapaxes(
                2, 3
            ),
        },
    )


@points(2, "split_heads: gradient")
def test_split_heads_vjp(submission):
    """What was split is merged: every number goes back to where it came from."""
    check_vjp(
        submission.split_heads,
        split_cases(),
        axes=STREAM,
        mistakes={
            "the gradient is reshaped, and its axes of heads and time are not exchanged": (
                lambda x, d, g: (merged_without_exchange(g),)
            ),
            "the gradient's features come in turns, head 0, 1, 2, 0 …; heads stand side by side": (
                lambda x, d, g: (merged_in_turns(g),)
            ),
            "the gradient is returned as it came: it must have the shape of x": (
                lambda x, d, g: (g,)
            ),
        },
    )


@points(1, "split_heads: fit for the model")
def test_split_heads_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.split_heads, split_cases())


@points(1, "merge_heads: the example")
def test_merge_heads_example(submission):
    """The other way round."""
    check_example(submission.merge_heads)


@points(1, "merge_heads: value")
def test_merge_heads_value(submission):
    """A token's heads stand side by side."""
    check_value(
        submission.merge_heads,
        merge_cases(),
        axes=STREAM,
        mistakes={
            "the heads stand one behind the other in time; they belong side by side": lambda x: (
                x.reshape(len(x), -1, x.shape[-1])
            ),
            "one reshape mixes tokens: exchange the axes of heads and time first": (
                merged_without_exchange
            ),
            "the features come in turns, head 0, 1, 2, 0 …; heads stand side by side": (
                merged_in_turns
            ),
            "the axes are exchanged, and heads and features are still two axes": lambda x: (
                x.swapaxes(1, 2)
            ),
            "the heads are added; they are put side by side": lambda x: x.sum(1),
            "the heads are averaged; they are put side by side": lambda x: x.mean(1),
            "the last head comes first": lambda x: merged_without_exchange(
                x[:, ::-1].swapaxes(1, 2).reshape(x.shape)
            ),
        },
    )


@points(1, "merge_heads: gradient")
def test_merge_heads_vjp(submission):
    """What was merged is split."""

    def mixed(x, g):
        return (g.reshape(x.shape),)

    check_vjp(
        submission.merge_heads,
        merge_cases(),
        axes=HEADS,
        mistakes={
            "one reshape mixes tokens: cut the features first, then exchange two axes": mixed,
            "the gradient goes to the heads in turns; each gets a run of features": (
                lambda x, g: (split_in_turns(g, x.shape[3]),)
            ),
            "the gradient has the axes (B, T, H, D); x has (B, H, T, D)": (
                lambda x, g: (split(g, x.shape[3]).swapaxes(1, 2),)
            ),
            "the gradient is split by the number of heads; the size of a head is x.shape[3]": (
                lambda x, g: (split(g, x.shape[1]),)
            ),
        },
    )


@points(1, "merge_heads: fit for the model")
def test_merge_heads_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.merge_heads, merge_cases())


# ---------------------------------------------------------------------------------------------
# repeat_kv, 5 points
# ---------------------------------------------------------------------------------------------


def repeat_cases():
    return [
        case(normal(2, 3, 4, 5), 2),
        case(normal(1, 2, 3, 4), 3),
        case(normal(2, 3, 2, 1), 1, label="one query head each"),
        case(normal(2, 1, 3, 4), 4, label="one head for all"),
        case(normal(1, 2, 0, 3), 2, label="an empty cache"),
    ]


def parts(g, *axes):
    return g.reshape(g.shape[0], *axes, *g.shape[2:])


@points(1, "repeat_kv: the example")
def test_repeat_kv_example(submission):
    """1 1 1 2 2 2, and not 1 2 1 2 1 2."""
    check_example(submission.repeat_kv)


@points(1, "repeat_kv: value")
def test_repeat_kv_value(submission):
    """The copies of a head stand in a row."""
    check_value(
        submission.repeat_kv,
        repeat_cases(),
        axes=HEADS,
        mistakes={
            "K/V heads were tiled, 0 1 0 1; they must be repeated, 0 0 1 1": (
                lambda x, n: np.tile(x, (1, n, 1, 1))
            ),
            "np.repeat without axis repeats single numbers; the heads are axis 1": lambda x, n: (
                np.repeat(x, n).reshape(x.shape[0], -1, *x.shape[2:])
            ),
            "the tokens are repeated; the heads are axis 1": lambda x, n: np.repeat(x, n, axis=2),
            "the batch is repeated; the heads are axis 1": lambda x, n: np.repeat(x, n, axis=0),
            "groups is taken for the number of heads in the end; it says how often each is there": (
                lambda x, n: np.repeat(x, max(1, n // x.shape[1]), axis=1)
            ),
            "the copies are an axis of their own: (B, H_kv·groups, S, D) is wanted": lambda x, n: (
                np.repeat(x[:, :, None], n, axis=2)
            ),
        },
    )


@points(2, "repeat_kv: gradient")
def test_repeat_kv_vjp(submission):
    """The sum over the copies, which stand side by side."""
    check_vjp(
        submission.repeat_kv,
        repeat_cases(),
        axes=HEADS,
        mistakes={
            "the gradients of all heads are added up; a head has those of its own copies": (
                lambda x, groups, g: (np.repeat(g.sum(1, keepdims=True), x.shape[1], 1),)
            ),
            "only one of its copies gives a head its gradient; it is the sum over all": (
                lambda x, n, g: (g[:, ::n],)
            ),
            "only the last of its copies gives a head its gradient; it is the sum over all": (
                lambda x, n, g: (g[:, n - 1 :: n],)
            ),
            "the copies' gradients are averaged; they add up": lambda x, n, g: (
                parts(g, x.shape[1], n).mean(2),
            ),
            "the copies are taken to be tiled, 0 1 0 1; they stand side by side, 0 0 1 1": (
                lambda x, n, g: (parts(g, n, x.shape[1]).sum(1),)
            ),
            "the sum runs over the heads; it runs over the copies of one head": lambda x, n, g: (
                parts(g, x.shape[1], n).sum(1),
            ),
            "the sum over the copies is missing": lambda x, n, g: (g,),
        },
    )


@points(1, "repeat_kv: fit for the model")
def test_repeat_kv_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.repeat_kv, repeat_cases())


# ---------------------------------------------------------------------------------------------
# grouped_query_attention, 11 points
# ---------------------------------------------------------------------------------------------

ATTENTION = {
    "out": HEADS,
    "weights": "batch head query key",
    "query": HEADS,
    "key": HEADS,
    "value": HEADS,
}


def heads_case(b, h, kv, t, s, d, d_v=None, label="", **options):
    inputs = normal(b, h, t, d), normal(b, kv, s, d), normal(b, kv, s, d_v or d)
    return case(*inputs, label=label, **options)


def grouped_cases():
    return [
        heads_case(2, 6, 3, 5, 5, 4),
        heads_case(1, 6, 2, 3, 4, 5, 2, label="more keys than queries, narrower values"),
        heads_case(2, 3, 1, 2, 3, 4, label="multi-query: one K/V head"),
        heads_case(1, 3, 3, 4, 4, 2, label="multi-head: as many K/V heads"),
        heads_case(1, 2, 1, 1, 1, 1),
    ]


def masked_cases():
    padding = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)[:, None, None, :]
    per_head = rng().random((1, 6, 4, 5)) < 0.6
    per_head[..., 0] = True
    added = normal(2, 1, 4, 5, scale=3) * (rng().random((2, 1, 4, 5)) < 0.7)
    added[..., 0] = 1.0
    added[..., 4] = -np.inf
    return [
        heads_case(2, 6, 3, 4, 5, 4, mask=np.tri(4, 5, 1, dtype=bool), label="causal mask"),
        heads_case(2, 6, 2, 4, 5, 4, mask=padding, label="padding mask"),
        heads_case(1, 6, 3, 4, 5, 4, mask=per_head, label="a mask for each head"),
        heads_case(2, 4, 2, 4, 5, 3, mask=added, label="a mask to be added"),
    ]


def softmax(s, axis=-1):
    top = s.max(axis, keepdims=True, initial=-np.inf)
    e = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


def weights_of(q, k, mask=None, scale=None, axis=-1):
    """The weights, for as many keys' heads as queries' heads."""
    s = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return softmax(masked(s, mask), axis)


def masked(s, mask):
    if mask is None:
        return s
    return np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask


def scaled(q, k):
    return q @ repeated(k, q).swapaxes(-1, -2) * q.shape[-1] ** -0.5


def repeated(x, q):
    return np.repeat(x, q.shape[1] // x.shape[1], axis=1)


def tiled(x, q):
    return np.tile(x, (1, q.shape[1] // x.shape[1], 1, 1))


def attention(q, k, v, mask=None, spread=repeated, **options):
    p = weights_of(q, spread(k, q), mask, **options)
    return p @ spread(v, q), p


def together(scores, values):
    p = softmax(scores, axis=(1, -1))
    return p @ values, p


def number_by_number(x, q):
    groups = q.shape[1] // x.shape[1]
    return np.repeat(x, groups).reshape(x.shape[0], -1, *x.shape[2:])


def first_for_all(x, q):
    return np.repeat(x[:, :1], q.shape[1], axis=1)


def mean_for_all(x, q):
    return np.repeat(x.mean(1, keepdims=True), q.shape[1], axis=1)


@points(1, "attention: the example")
def test_grouped_query_attention_example(submission):
    """Four query heads on two key/value heads, a single token."""
    check_example(submission.grouped_query_attention)


@points(2, "attention: value")
def test_grouped_query_attention_value(submission):
    """Query head h reads key/value head h // groups; the weights are returned, too."""
    check_value(
        submission.grouped_query_attention,
        grouped_cases(),
        axes=ATTENTION,
        outputs=("out", "weights"),
        mistakes={
            "K/V heads were tiled, 0 1 0 1; they must be repeated, 0 0 1 1": (
                lambda q, k, v: attention(q, k, v, spread=tiled)
            ),
            "all query heads read the first key/value head": (
                lambda q, k, v: attention(q, k, v, spread=first_for_all)
            ),
            "the key/value heads are averaged; each serves a group of its own": (
                lambda q, k, v: attention(q, k, v, spread=mean_for_all)
            ),
            "the keys are tiled and the values repeated": lambda q, k, v: (
                (p := weights_of(q, tiled(k, q))) @ repeated(v, q),
                p,
            ),
            "the values are tiled and the keys repeated": lambda q, k, v: (
                (p := weights_of(q, repeated(k, q))) @ tiled(v, q),
                p,
            ),
            "the scores are not divided by √D": lambda q, k, v: attention(q, k, v, scale=1),
            "the scores are divided by D; it is √D": lambda q, k, v: attention(
                q, k, v, scale=1 / q.shape[-1]
            ),
            "the scores are divided by √(H·D); D is the size of one head": lambda q, k, v: (
                attention(q, k, v, scale=(q.shape[1] * q.shape[-1]) ** -0.5)
            ),
            "the scores are divided by the root of the values' size; D is that of the keys": (
                lambda q, k, v: attention(q, k, v, scale=v.shape[-1] ** -0.5)
            ),
            "the scores are divided by √(D · groups); D is the size of one head": lambda q, k, v: (
                attention(q, k, v, scale=(q.shape[-1] * q.shape[1] / k.shape[1]) ** -0.5)
            ),
            "the scores are divided by √T, of the number of queries; D is the size of one head": (
                lambda q, k, v: attention(q, k, v, scale=q.shape[2] ** -0.5)
            ),
            "the scores are divided by √S, of the number of keys; D is the size of one head": (
                lambda q, k, v: attention(q, k, v, scale=k.shape[2] ** -0.5)
            ),
            "the scores are divided by √H, of the number of heads; D is the size of one": (
                lambda q, k, v: attention(q, k, v, scale=q.shape[1] ** -0.5)
            ),
            "the scores are multiplied by √D; they are divided": lambda q, k, v: attention(
                q, k, v, scale=q.shape[-1] ** 0.5
            ),
            "a query sees only the keys up to its own place; nobody has asked for a mask": (
                lambda q, k, v: attention(q, k, v, np.tri(q.shape[2], k.shape[2], dtype=bool))
            ),
            "the weights are averaged over the heads of a group; each head has its own": (
                lambda q, k, v: (
                    attention(q, k, v)[0],
                    attention(q, k, v)[1]
                    .reshape(q.shape[0], k.shape[1], -1, q.shape[2], k.shape[2])
                    .mean(2),
                )
            ),
            "the softmax runs over all heads together": lambda q, k, v: together(
                scaled(q, k), repeated(v, q)
            ),
            "np.repeat without axis repeats single numbers; the heads are axis 1": lambda q, k, v: (
                attention(q, k, v, spread=number_by_number)
            ),
            "the softmax runs over the queries; it belongs to the keys": (
                lambda q, k, v: attention(q, k, v, axis=-2)
            ),
            "these are the scores; the weights are asked for": lambda q, k, v: (
                attention(q, k, v)[0],
                q @ repeated(k, q).swapaxes(-1, -2) * q.shape[-1] ** -0.5,
            ),
            "the weights are still folded; (B, H, T, S) is wanted": lambda q, k, v: (
                attention(q, k, v)[0],
                attention(q, k, v)[1].reshape(q.shape[0], k.shape[1], -1, k.shape[2]),
            ),
        },
    )


@points(2, "attention: masks")
def test_grouped_query_attention_mask(submission):
    """A mask belongs to query heads; what may see nothing gives zeros."""
    blind = np.ones((3, 4), bool)
    blind[1] = False

    def folded_mask(q, k, v, mask):
        """The mask of (T, S) met by rows in the order t0 h0, t0 h1, …"""
        groups = q.shape[1] // k.shape[1]
        full = np.broadcast_to(mask, (*q.shape[:3], k.shape[2]))
        rows = full.reshape(q.shape[0], k.shape[1], groups, q.shape[2], -1)
        return attention(q, k, v, rows.swapaxes(2, 3).reshape(full.shape))

    def everywhere(q, k, v, mask):
        out, p = attention(q, k, v, mask)
        see = mask.any(-1)[..., None] if mask.dtype == bool else np.ones(1, bool)
        other = attention(q, k, v)
        return np.where(see, out, other[0]), np.where(see, p, other[1])

    def evenly(q, k, v, mask):
        out, p = attention(q, k, v, mask)
        see = mask.any(-1)[..., None]
        mean = repeated(v, q).mean(-2, keepdims=True)
        return np.where(see, out, mean), np.where(see, p, 1 / k.shape[2])

    mistakes = {
        "the mask is not used": lambda q, k, v, mask: attention(q, k, v),
        "these are the scores; the weights are asked for": lambda q, k, v, mask: (
            attention(q, k, v, mask)[0],
            masked(q @ repeated(k, q).swapaxes(-1, -2) * q.shape[-1] ** -0.5, mask),
        ),
        "the mask is inverted: True means that attention is allowed": (
            lambda q, k, v, mask: attention(q, k, v, ~mask)
        ),
        "the mask comes after the softmax: the weights no longer sum to 1": (
            lambda q, k, v, mask: (
                (p := attention(q, k, v)[1] * mask) @ repeated(v, q),
                p,
            )
        ),
        "the float mask is taken as True and False; it is added to the scores": (
            lambda q, k, v, mask: attention(q, k, v, mask.astype(bool))
        ),
        "a float mask is not used: it is added to the scores": lambda q, k, v, mask: attention(
            q, k, v, mask if mask.dtype == bool else None
        ),
        "the mask is used transposed: a row for each query": lambda q, k, v, mask: attention(
            q, k, v, mask.swapaxes(-1, -2)
        ),
        "a float mask multiplies the scores; it is added to them": (
            lambda q, k, v, mask: (
                attention(q, k, v, scaled(q, repeated(k, q)) * (mask - 1))
                if mask.dtype.kind == "f"
                else None
            )
        ),
        "True and False are added to the scores as 1 and 0": (
            lambda q, k, v, mask: attention(q, k, v, mask.astype(np.float64))
        ),
        "the mask of one head meets the scores of another: rows are folded h0 t0, h0 t1, …": (
            folded_mask
        ),
        "a query that may see nothing looks at everything, as if there were no mask": (everywhere),
        "a query that may see nothing takes the mean of all values; zeros belong there": evenly,
        "where it is not allowed the score becomes 0, a score like others; it must be -inf": (
            lambda q, k, v, mask: (
                (p := softmax(np.where(mask, scaled(q, k), 0.0))) @ repeated(v, q),
                p,
            )
        ),
    }
    check_value(
        submission.grouped_query_attention,
        masked_cases(),
        axes=ATTENTION,
        outputs=("out", "weights"),
        mistakes=mistakes,
    )
    with likely("a query that may see nothing has scores of -inf alone: zeros belong there"):
        check_value(
            submission.grouped_query_attention,
            [heads_case(2, 4, 2, 3, 4, 5, mask=blind, label="query 1 may see nothing")],
            axes=ATTENTION,
            outputs=("out", "weights"),
            mistakes=mistakes,
        )


@points(1, "attention: one group is multi-head attention")
def test_grouped_query_attention_limits(submission):
    """With H_kv = H each head is by itself; with copies of one head, sharing it is the same."""
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 5, 4), normal(2, 3, 5, 4)
    fn = submission.grouped_query_attention
    out, _ = output(fn, q, k, v)
    alone = [output(fn, *(x[:, h : h + 1] for x in (q, k, v)))[0] for h in range(3)]
    check_close(
        out,
        np.concatenate(alone, axis=1),
        "the output for H_kv = H, compared with yours for each head alone,",
        axes=HEADS,
    )
    plain = {"axes": ATTENTION, "outputs": ("out", "weights")}
    check_value(fn, [case(q, k, v)], **plain)  # what is wrong here as well is no overflow
    with likely("e^x overflows: subtract the largest score of each query before"):
        large = [case(60 * q, 60 * k, v, label="large scores")]
        check_value(fn, large, **plain)
    k, v = k[:, :1], v[:, :1]
    shared, _ = output(fn, q, k, v)
    copied, _ = output(fn, q, repeated(k, q), repeated(v, q))
    with likely("sharing one key/value head is not the same as giving each query head a copy"):
        check_close(
            shared,
            copied,
            "the output for one key/value head, compared with yours for three copies of it,",
            axes=HEADS,
        )


@points(4, "attention: gradients", seconds=10)
def test_grouped_query_attention_vjp(submission):
    """The copies of a head add up, and both results have a gradient."""

    def gradients(q, k, v, g, mask, spread=repeated, scores=lambda p, dp, ds: ds):
        """What `scores` makes of the gradients goes on to query and key."""
        g, dweights = g
        keys, values = spread(k, q), spread(v, q)
        p = weights_of(q, keys, mask)
        dp = g @ values.swapaxes(-1, -2) + dweights
        ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * q.shape[-1] ** -0.5
        ds = scores(p, dp, ds)
        return ds @ keys, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g

    def variant(collect=None, **options):
        def wrong(q, k, v, g, mask=None):
            dq, dk, dv = gradients(q, k, v, g, mask, **options)
            kv, groups = k.shape[1], q.shape[1] // k.shape[1]
            both = ((collect or summed)(x, kv, groups) for x in (dk, dv))
            return dq, *both

        return wrong

    def summed(x, kv, groups):
        return parts(x, kv, groups).sum(2)

    def without_dweights(q, k, v, g, mask=None):
        return variant()(q, k, v, (g[0], np.zeros_like(g[1])), mask)

    def behind_the_softmax(q, k, v, g, mask=None):
        """dweights joins dS, where it belongs to dP."""
        added = variant(scores=lambda p, dp, ds: ds + g[1] * q.shape[-1] ** -0.5)
        return added(q, k, v, (g[0], np.zeros_like(g[1])), mask)

    def weights_alone(q, k, v, g, mask=None):
        dq, dk, _ = variant()(q, k, v, (np.zeros_like(g[0]), g[1]), mask)
        return dq, dk, None

    def not_transposed(q, k, v, g, mask=None):
        if q.shape[2] != k.shape[2]:
            return None, None, None
        keys, values = repeated(k, q), repeated(v, q)
        p, dp = weights_of(q, keys, mask), g[0] @ values.swapaxes(-1, -2) + g[1]
        ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * q.shape[-1] ** -0.5
        return None, summed(ds @ q, k.shape[1], q.shape[1] // k.shape[1]), None

    def dq_of_first(q, k, v, g, mask=None):
        dq, _, _ = gradients(q, k, v, g, mask)
        return np.repeat(dq[:, :: q.shape[1] // k.shape[1]], q.shape[1] // k.shape[1], 1), None

    check_vjp(
        submission.grouped_query_attention,
        [
            heads_case(2, 6, 3, 3, 4, 2),
            heads_case(1, 6, 2, 3, 4, 3, 2, label="more keys than queries, narrower values"),
            heads_case(1, 3, 1, 2, 3, 4, label="multi-query: one K/V head"),
            heads_case(1, 3, 3, 3, 3, 2, label="multi-head: as many K/V heads"),
            heads_case(1, 6, 3, 3, 4, 2, mask=np.tri(3, 4, 1, dtype=bool), label="causal mask"),
            masked_cases()[2],
        ],
        axes=ATTENTION,
        mistakes={
            "a shared head gets the gradient of one of its copies; it is the sum over all": (
                variant(lambda x, kv, groups: x[:, ::groups])
            ),
            "the gradients of the copies are averaged; they add up": variant(
                lambda x, kv, groups: parts(x, kv, groups).mean(2)
            ),
            "the copies are taken to be tiled, 0 1 0 1; they stand side by side, 0 0 1 1": (
                variant(lambda x, kv, groups: parts(x, groups, kv).sum(1))
            ),
            "the copies' gradients are not summed": variant(lambda x, kv, groups: x),
            "dweights is not used: the weights are a result, too": without_dweights,
            "dweights is added behind the softmax's gradient; it belongs to dP, before it": (
                behind_the_softmax
            ),
            "only dweights is used; the loss depends on out as well": weights_alone,
            "the scale is missing in the gradients of query and key": variant(
                scores=lambda p, dp, ds: p * (dp - (p * dp).sum(-1, keepdims=True))
            ),
            "the softmax's gradient is p (1 - p) g here; it is p (g - Σ g p)": (
                lambda q, k, v, g, mask=None: variant(
                    scores=lambda p, dp, ds: p * (1 - p) * dp * q.shape[-1] ** -0.5
                )(q, k, v, g, mask)
            ),
            "the softmax's gradient takes a mean where its sum belongs: p (g - Σ g p)": (
                lambda q, k, v, g, mask=None: variant(
                    scores=lambda p, dp, ds: (
                        p * (dp - (p * dp).mean(-1, keepdims=True)) * q.shape[-1] ** -0.5
                    )
                )(q, k, v, g, mask)
            ),
            "the softmax's gradient subtracts the mean of g; it is Σ g p, weighted by p": (
                lambda q, k, v, g, mask=None: variant(
                    scores=lambda p, dp, ds: (
                        p * (dp - dp.mean(-1, keepdims=True)) * q.shape[-1] ** -0.5
                    )
                )(q, k, v, g, mask)
            ),
            "every value gets the sum of g; each query's g counts by its weight, Pᵀ g": (
                lambda q, k, v, g, mask=None: (
                    None,
                    None,
                    parts(
                        np.repeat(g[0].sum(2, keepdims=True), k.shape[2], 2),
                        k.shape[1],
                        q.shape[1] // k.shape[1],
                    ).sum(2),
                )
            ),
            "P g stands where Pᵀ g belongs: the weights are not transposed": (
                lambda q, k, v, g, mask=None: (
                    None,
                    None,
                    summed(
                        weights_of(q, repeated(k, q), mask) @ g[0],
                        k.shape[1],
                        q.shape[1] // k.shape[1],
                    )
                    if q.shape[2] == k.shape[2]
                    else None,
                )
            ),
            "dS Q stands where dSᵀ Q belongs: dS is not transposed": not_transposed,
            "the softmax's gradient lacks its sum: p (g - Σ g p)": lambda q, k, v, g, mask=None: (
                variant(scores=lambda p, dp, ds: p * dp * q.shape[-1] ** -0.5)(q, k, v, g, mask)
            ),
            "all query heads of a group get the gradient of the first": dq_of_first,
        },
    )


@points(1, "attention: fit for the model")
def test_grouped_query_attention_manners(submission):
    """float32 in, float32 out; inputs are not changed; views work; vjp can be called twice."""
    masks = masked_cases()
    check_manners(submission.grouped_query_attention, [*grouped_cases()[:3], *masks[:2], masks[3]])


# ---------------------------------------------------------------------------------------------
# kv_cache_bytes_per_token, 5 points
# ---------------------------------------------------------------------------------------------


def some_config(**changes):
    """A config with no two numbers alike, other ones in every test."""
    draw = rng().integers
    kv, groups, depth = int(draw(2, 5)), int(draw(3, 6)), 2 * int(draw(3, 9))
    return {
        "num_hidden_layers": 2 * int(draw(3, 15)) + 1,
        "hidden_size": kv * groups * depth,
        "num_attention_heads": kv * groups,
        "num_key_value_heads": kv,
        "head_dim": depth,
        "vocab_size": 101,
        **changes,
    }


def cache_bytes(config, heads=None, each=4, depth=None, tensors=2, layers=None):
    H = config["num_attention_heads"]
    heads = heads or config.get("num_key_value_heads") or H
    depth = depth or config.get("head_dim") or config["hidden_size"] // H
    return tensors * (layers or config["num_hidden_layers"]) * heads * depth * each


def check_bytes(fn, config, *, heads=None, each=4, **options):
    """fn(config, **options) against the count, with the mistakes that can be made."""
    H, h = config["num_attention_heads"], config["hidden_size"]
    too_many = "the query heads are counted; the cache holds key/value heads"
    if not config.get("head_dim"):  # where both mistakes come to 2 · layers · hidden_size
        too_many += ", of D = hidden_size / num_attention_heads numbers each"
    check_equal(
        fn(config, **options),
        cache_bytes(config, heads, each),
        "kv_cache_bytes_per_token",
        case=f"config {config}" + "".join(f", {k}={v}" for k, v in options.items()),
        mistakes={
            "keys and values are two: the factor 2 is missing": cache_bytes(
                config, heads, each, tensors=1
            ),
            too_many: cache_bytes(config, H, each),
            "the argument num_key_value_heads is not used": cache_bytes(config, None, each),
            "num_key_value_heads takes the place of the config's; here it is a factor beside it": (
                cache_bytes(config, None, each) * (heads or 1)
            ),
            "the argument bytes_per_number is not used": cache_bytes(config, heads, 4),
            "every layer has its own cache: the number of layers is missing": cache_bytes(
                config, heads, each, layers=1
            ),
            "a key has hidden_size numbers in each head; it is head_dim": cache_bytes(
                config, heads, each, depth=h
            ),
            "head_dim is not used where the config has one": cache_bytes(
                config, heads, each, depth=h // H
            ),
            "these are bits": 8 * cache_bytes(config, heads, each),
            "these are numbers; bytes are asked for": cache_bytes(config, heads, 1),
        },
    )
    check(
        not fn.edited,
        "kv_cache_bytes_per_token changed the config that it was given.",
        "the config is changed in place: who asks next gets another answer; work on a copy",
    )


@points(1, "KV-cache bytes: the example")
def test_kv_cache_bytes_per_token_example(submission):
    """480 bytes, worked out on paper."""
    check_example(submission.kv_cache_bytes_per_token)


@points(2, "KV-cache bytes: value")
def test_kv_cache_bytes_per_token_value(submission):
    """2 · layers · key/value heads · D · 4."""
    fn = submission.kv_cache_bytes_per_token
    check_bytes(fn, some_config())
    check_bytes(fn, some_config())
    wide = some_config()
    check_bytes(fn, {**wide, "head_dim": wide["head_dim"] + 26})  # wider than hidden_size / H


@points(1, "KV-cache bytes: fields that may be missing")
def test_kv_cache_bytes_per_token_defaults(submission):
    """Without num_key_value_heads it is multi-head attention; without head_dim D is h / H."""
    fn = submission.kv_cache_bytes_per_token
    for name in ("num_key_value_heads", "head_dim"):
        config = some_config(**{name: None})
        told = f"{name} may be there and None: get(name, default) gives None then"
        with likely(told, unless=lambda: check_bytes(fn, some_config())):
            check_bytes(fn, config)
        del config[name]
        check_bytes(fn, config)


@points(1, "KV-cache bytes: MHA, MQA, bfloat16")
def test_kv_cache_bytes_per_token_options(submission):
    """Another number of key/value heads, and other numbers."""
    fn, config = submission.kv_cache_bytes_per_token, some_config()
    H = config["num_attention_heads"]
    check_bytes(fn, config, heads=H, num_key_value_heads=H)
    check_bytes(fn, config, heads=1, num_key_value_heads=1)
    check_bytes(fn, config, each=2, bytes_per_number=2)


# ---------------------------------------------------------------------------------------------
# mean_pooled_heads, for honor
# ---------------------------------------------------------------------------------------------


POOLED = [(6, 4, 5, 3), (6, 4, 5, 2), (4, 3, 7, 4), (5, 2, 3, 1), (2, 1, 6, 2)]  # H, D, C, groups


def pooled_cases():
    for h, d, c, groups in POOLED:
        yield case(normal(h * d, c), head_dim=d, groups=groups)


@points(0, "mean_pooled_heads: the example")
def test_mean_pooled_heads_example(submission):
    """The example in the docstring."""
    check_example(submission.mean_pooled_heads)


@points(0, "mean_pooled_heads: value")
def test_mean_pooled_heads_value(submission):
    """Heads that stand side by side are averaged, each feature with its own like."""

    def heads(w, d, *split):
        return w.reshape(*split, d, w.shape[1])

    def flat(w):
        return w.reshape(-1, w.shape[-1])

    check_value(
        submission.mean_pooled_heads,
        list(pooled_cases()),
        axes="row input",
        mistakes={
            "heads that are H/groups apart are averaged; they stand side by side": (
                lambda w, head_dim, groups: flat(heads(w, head_dim, groups, -1).mean(0))
            ),
            "rows that stand side by side are averaged, within a head: first cut into heads": (
                lambda w, head_dim, groups: w.reshape(-1, groups, w.shape[1]).mean(1)
            ),
            "the heads of a group are added; their mean is asked for": (
                lambda w, head_dim, groups: flat(heads(w, head_dim, -1, groups).sum(1))
            ),
            "only the first head of each group is kept": lambda w, head_dim, groups: flat(
                heads(w, head_dim, -1, groups)[:, 0]
            ),
            "groups is taken for the number of heads that are left": (
                lambda w, head_dim, groups: flat(heads(w, head_dim, groups, -1).mean(1))
            ),
            "the mean is repeated for every head: the heads must become fewer": (
                lambda w, head_dim, groups: flat(
                    np.repeat(heads(w, head_dim, -1, groups).mean(1), groups, 0)
                )
            ),
        },
    )


@points(0, "mean_pooled_heads: fit for the model")
def test_mean_pooled_heads_manners(submission):
    """float32 in, float32 out; the weight is not changed; views work."""
    check_manners(submission.mean_pooled_heads, list(pooled_cases()))
