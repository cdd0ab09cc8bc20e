"""Graders of chapter 06: softmax, causal_mask, padding_mask, scaled_dot_product_attention."""

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
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
from tinyqwen.course.calls import StudentError

TITLE = "Attention"
ASSIGNED = {
    "softmax": "autograd.ops",
    "causal_mask": "models.masks",
    "padding_mask": "models.masks",
    "scaled_dot_product_attention": "functional.attention",
    "logsumexp": "autograd.reductions",
}
STRETCH = ("logsumexp",)

SOFTMAX = [(2, 5), (7,), (3, 1), (3, 0, 4), (2, 3, 4)]
AXES = {
    "out": "batch head query feature",
    "query": "batch head query feature",
    "key": "batch head key feature",
    "value": "batch head key feature",
}


def weights_of(scores, axis=-1):
    top = scores.max(axis, keepdims=True, initial=-np.inf)
    e = np.exp(scores - np.where(np.isfinite(top), top, 0))
    total = e.sum(axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


def given(scale, default):
    """The scale that was given, 0 as well, or else this one."""
    return default if scale is None else scale


def over_a_sum_and(small, x, axis):
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf)) if x.size else x
    return e / (e.sum(axis, keepdims=True) + small)


def of_softmax(x, axis=-1):
    e = np.exp(x)
    made = {"e^x": e, "Σ e^x": e.sum(axis, keepdims=True), "p": weights_of(x, axis), "x": x}
    made |= {"max x": x.max(axis, keepdims=True), "Σ x": x.sum(axis, keepdims=True)}
    made |= {"ln Σ e^x": np.log(made["Σ e^x"]), "e^(max x)": np.exp(made["max x"])}
    return made | {"Σ x²": (x * x).sum(axis, keepdims=True)}


def of_softmax_gradient(x, g, axis=-1):
    p = weights_of(x, axis)
    sums = {"Σ g p": (g * p).sum(axis, keepdims=True), "Σ g": g.sum(axis, keepdims=True)}
    sums |= {"Σ p²": (p * p).sum(axis, keepdims=True), "Σ g x": (g * x).sum(axis, keepdims=True)}
    made = {"g": g, "p": p, "(1 − p)": 1 - p, "x": x, "e^x": np.exp(x)}
    return made | sums | {"σ(x)": 1 / (1 + np.exp(-x))}


def of_logsumexp(x, axis, keepdims):
    e, top = np.exp(x), x.max(axis, keepdims=keepdims)
    made = {"ln Σ e^x": np.log(e.sum(axis, keepdims=keepdims)), "max x": top}
    made |= {"Σ e^x": e.sum(axis, keepdims=keepdims), "Σ x": x.sum(axis, keepdims=keepdims)}
    return made | {"e^(max x)": np.exp(top), "max e^x": e.max(axis, keepdims=keepdims)}


def check_boolean(mask, name):
    check(
        isinstance(mask, np.ndarray) and mask.dtype == bool,
        f"{name}: the result is {getattr(mask, 'dtype', type(mask).__name__)}; a boolean array was "
        "expected",
        "the mask is not boolean: True where attention is allowed, False where it is not",
    )


# ---------------------------------------------------------------------------------------------
# softmax, 8 points
# ---------------------------------------------------------------------------------------------


@points(1, "softmax: the example")
def test_softmax_example(submission):
    """softmax(3, 1, -3), worked out on paper."""
    check_example(submission.softmax)


@points(1, "softmax: value")
def test_softmax_value(submission):
    """Exponentials over their sum, along the axis asked for."""
    check_value(
        submission.softmax,
        [case(normal(*shape)) for shape in SOFTMAX]
        + [case(normal(3, 4), axis=0), case(normal(2, 3, 4), axis=1)],
        formula=("e^x / Σ e^x", of_softmax),
        mistakes={
            "the sum runs over the whole array; it belongs to one axis": lambda x, axis=-1: (
                np.exp(x) / np.exp(x).sum()
            ),
            "the argument axis is not used": lambda x, axis=-1: weights_of(x, -1),
            "the sum runs over the first axis; the default is the last": lambda x, axis=-1: (
                weights_of(x, 0)
            ),
            "the shifted exponentials are divided by the sum over the whole array": (
                lambda x, axis=-1: weights_of(x, None)
            ),
            "the sign is turned: e to the power of -x": lambda x, axis=-1: weights_of(-x, axis),
            "softmax is taken twice": lambda x, axis=-1: weights_of(weights_of(x, axis), axis),
            "this is the sigmoid of each number by itself": lambda x, axis=-1: 1 / (1 + np.exp(-x)),
            "x is divided by √n first; that belongs to attention, if at all": lambda x, axis=-1: (
                weights_of(x / np.sqrt(x.shape[axis]), axis) if x.size else None
            ),
            "these are powers of 2, not of e": lambda x, axis=-1: weights_of(x * np.log(2), axis),
            "the exponentials are not divided by their sum": lambda x, axis=-1: np.exp(x),
            "the shifted exponentials are not divided by their sum": lambda x, axis=-1: np.exp(
                x - x.max(axis, keepdims=True)
            ),
            **{
                f"{e:g} is added to the sum: the weights must sum to 1": (
                    lambda x, axis=-1, e=e: over_a_sum_and(e, x, axis)
                )
                for e in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
            },
            "this is the logarithm of the softmax": lambda x, axis=-1: np.log(weights_of(x, axis)),
        },
    )


@points(2, "softmax: large numbers and -inf")
def test_softmax_large(submission):
    """A shift changes nothing, so the largest is subtracted, row by row; -inf has the weight 0."""
    blind = np.array([[-np.inf, 1.0, 0.5], [-np.inf, -np.inf, -np.inf]])

    def of_all(x):
        return np.exp(x - x.max()), np.exp(x - x.max()).sum(-1, keepdims=True)

    def ordinary():
        check_value(submission.softmax, [case(normal(2, 5))])

    overflow = "e^x overflows, or all of a row vanish: subtract the largest of each row first"
    with likely(overflow, unless=ordinary):
        check_value(
            submission.softmax,
            [
                case(normal(3, 5, scale=1e4)),
                case(normal(4, 3) + np.array([[1e4], [0.0], [-1e4], [700.0]]), label="far rows"),
            ],
            mistakes={
                "the largest of all is subtracted; each row needs its own: axis, keepdims=True": (
                    lambda x: of_all(x)[0] / of_all(x)[1]
                ),
                "the largest of all is subtracted, and far rows vanish; each row needs its own": (
                    lambda x: of_all(x)[0] / np.where(of_all(x)[1] == 0, 1, of_all(x)[1])
                ),
            },
        )
    unseen = "-inf - (-inf) is NaN, and so is 0 / 0: in a row of -inf subtract 0, divide by 1"
    with likely(unseen, unless=ordinary):
        check_value(
            submission.softmax,
            [case(blind, label="the second row is all -inf")],
            mistakes={
                "a row of -inf has weights; nothing is allowed there, so all are 0": lambda x: (
                    np.where(np.isneginf(x).all(-1, keepdims=True), 1 / x.shape[-1], weights_of(x))
                ),
            },
        )
    x = normal(2, 5)
    out, shifted = (output(submission.softmax, z) for z in (x, x + 300))
    check_close(shifted, out, "softmax(x + 300), compared with your softmax(x),")


@points(3, "softmax: gradient")
def test_softmax_vjp(submission):
    """All weights depend on all entries: p (g - Σ g p)."""
    check_vjp(
        submission.softmax,
        [case(normal(*shape)) for shape in SOFTMAX]
        + [case(normal(3, 4), axis=0), case(normal(2, 3, 4), axis=1)],
        terms={
            "x": {
                "the term p g": lambda x, g, axis=-1: weights_of(x, axis) * g,
                "the term -p Σ g p": lambda x, g, axis=-1: (
                    -weights_of(x, axis) * (weights_of(x, axis) * g).sum(axis, keepdims=True)
                ),
            }
        },
        formulas={"x": ("g · p − p · Σ g p", of_softmax_gradient)},
        mistakes={
            "only the diagonal of the Jacobian is used: p_i depends on all x_j": (
                lambda x, g, axis=-1: (g * weights_of(x, axis) * (1 - weights_of(x, axis)),)
            ),
            "the sum Σ g p has the wrong sign: it is subtracted": lambda x, g, axis=-1: (
                weights_of(x, axis) * (g + (g * weights_of(x, axis)).sum(axis, keepdims=True)),
            ),
            "the sum Σ g p is missing": lambda x, g, axis=-1: (g * weights_of(x, axis),),
            "the sum is Σ g; it is Σ g p": lambda x, g, axis=-1: (
                weights_of(x, axis) * (g - g.sum(axis, keepdims=True)),
            ),
            "the sum runs over the whole array; it belongs to one axis": lambda x, g, axis=-1: (
                weights_of(x, axis) * (g - (g * weights_of(x, axis)).sum()),
            ),
            "the gradient's sum runs over the last axis, whatever axis says": (
                lambda x, g, axis=-1: (
                    weights_of(x, axis) * (g - (g * weights_of(x, axis)).sum(-1, keepdims=True)),
                )
            ),
            "the factor p belongs in front of both terms: p (g - Σ g p)": lambda x, g, axis=-1: (
                g * weights_of(x, axis) - (g * weights_of(x, axis)).sum(axis, keepdims=True),
            ),
            "the largest g p is subtracted; it is their sum": lambda x, g, axis=-1: (
                weights_of(x, axis)
                * (g - (g * weights_of(x, axis)).max(axis, keepdims=True, initial=-np.inf)),
            ),
            "the factor p is missing": lambda x, g, axis=-1: (
                g - (g * weights_of(x, axis)).sum(axis, keepdims=True),
            ),
            "this is the gradient of log-softmax, g - p Σ g": lambda x, g, axis=-1: (
                g - weights_of(x, axis) * g.sum(axis, keepdims=True),
            ),
            "the mean stands where the sum Σ g p belongs": lambda x, g, axis=-1: (
                weights_of(x, axis) * (g - (g * weights_of(x, axis)).mean(axis, keepdims=True)),
            ),
        },
    )


@points(1, "softmax: fit for the model")
def test_softmax_manners(submission):
    """float32 in, float32 out; x is not changed; views work."""
    check_manners(submission.softmax, shapes=SOFTMAX)


# ---------------------------------------------------------------------------------------------
# causal_mask, 4 points, and padding_mask, 3 points
# ---------------------------------------------------------------------------------------------


def distances(queries, keys=None):
    keys = queries if keys is None else keys
    return np.arange(keys - queries, keys)[:, None] - np.arange(keys)


def seen_at(mine, t, s=None, window=None):
    """Which keys a mask shows, if that depends on how far they are from the query alone."""
    away = distances(t, s)
    shown = {int(n): mine[away == n] for n in np.unique(away)}
    if not all(one.all() == one.any() for one in shown.values()):
        return None
    places = ", ".join(str(n) for n, one in shown.items() if one.all())
    last = (window or s or t) - 1
    asked = f"0 is itself, -1 the next; 0 to {last} are asked for"
    return f"a query sees the keys {places} places before it ({asked})"


@points(1, "causal_mask: the example")
def test_causal_mask_example(submission):
    """The examples in the docstring."""
    check_example(submission.causal_mask)


@points(2, "causal_mask: value")
def test_causal_mask_value(submission):
    """A query sees itself and what is before it; the last query sees the last key."""
    drawn = case(int(rng().integers(2, 30)), int(rng().integers(30, 60)))
    check_value(
        submission.causal_mask,
        [case(5), case(1), case(3, 3), case(3, 7), case(1, 4), case(4, 2), case(0, 3), drawn],
        axes="query key",
        formula=seen_at,
        mistakes={
            "the mask is inverted: True is for what may be seen": lambda t, s=None: (
                distances(t, s) < 0
            ),
            "a token must see itself": lambda t, s=None: distances(t, s) > 0,
            "rows are queries and columns are keys: the triangle is the wrong one": (
                lambda t, s=None: distances(t, s) <= 0
            ),
            "the first query is aligned with the first key; the last belong together": (
                lambda t, s=None: np.tri(t, s or t, dtype=bool)
            ),
            "a query sees one key too many, the next": lambda t, s=None: distances(t, s) >= -1,
            "S - T has the wrong sign": lambda t, s=None: (
                np.arange(s or t) <= np.arange(t)[:, None] + t - (s or t)
            ),
            "window=None is taken for 1": lambda t, s=None: distances(t, s) == 0,
            "the future is marked by 1 and the rest by 0: that is inverted": lambda t, s=None: (
                np.triu(np.ones((t, s or t)), 1)
            ),
        },
    )
    check_boolean(submission.causal_mask(3), "causal_mask")


@points(1, "causal_mask: a sliding window")
def test_causal_mask_window(submission):
    """Of what is before it, a query sees the last `window`, and it counts itself."""
    check_value(
        submission.causal_mask,
        [case(6, window=3), case(3, 7, window=2), case(4, window=1), case(3, window=9)],
        axes="query key",
        formula=seen_at,
        mistakes={
            "window is not used": lambda t, s=None, window=None: distances(t, s) >= 0,
            "the window is one too wide: the query itself counts": (
                lambda t, s=None, window=None: (distances(t, s) >= 0) & (distances(t, s) <= window)
            ),
            "the window counts from the first key; it ends at the query's own": (
                lambda t, s=None, window=None: (distances(t, s) >= 0) & (np.arange(s or t) < window)
            ),
            "the query itself is left out of its window": lambda t, s=None, window=None: (
                (distances(t, s) > 0) & (distances(t, s) <= window)
            ),
            "the window is twice as wide": lambda t, s=None, window=None: (
                (distances(t, s) >= 0) & (distances(t, s) < 2 * window)
            ),
            "the window is one too narrow": lambda t, s=None, window=None: (
                (distances(t, s) >= 0) & (distances(t, s) < window - 1)
            ),
            "the window also shows what is later": lambda t, s=None, window=None: (
                np.abs(distances(t, s)) < window
            ),
            "the window replaces the causal mask: what is later must stay hidden": (
                lambda t, s=None, window=None: distances(t, s) < window
            ),
            "the window is counted from the row's number; it ends at the key t + S - T": (
                lambda t, s=None, window=None: (
                    (distances(t, s) >= 0) & (np.arange(t)[:, None] - np.arange(s or t) < window)
                )
            ),
        },
    )


@points(1, "padding_mask: the example")
def test_padding_mask_example(submission):
    """The example in the docstring: two texts, the first with one pad in front."""
    check_example(submission.padding_mask)


@points(2, "padding_mask: value")
def test_padding_mask_value(submission):
    """Keys that are padding are hidden, for all heads and queries; left or right padding."""
    texts = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    check_value(
        submission.padding_mask,
        [case(texts), case(np.array([[1, 0]])), case(rng().integers(0, 2, (2, 7)) == 1)],
        axes="batch head query key",
        mistakes={
            "the mask is inverted: True is for tokens": lambda m: (m == 0)[:, None, None, :],
            "the axes of heads and queries are missing: (B, 1, 1, S)": lambda m: m.astype(bool),
            "this hides queries; the keys stand along the last axis": (
                lambda m: m.astype(bool)[:, None, :, None]
            ),
            "one axis is missing: (B, 1, 1, S)": lambda m: m.astype(bool)[:, None, :],
            "the pads' queries are hidden, too; one row for all queries will do, (B, 1, 1, S)": (
                lambda m: (m[:, None, :, None] * m[:, None, None, :]).astype(bool)
            ),
            "the row is copied for every query; (B, 1, 1, S) broadcasts by itself": lambda m: (
                np.repeat(m[:, None, None, :], m.shape[1], axis=2).astype(bool)
            ),
            "these are numbers to be added to scores; a boolean mask is asked for": (
                lambda m: np.where(m, 0.0, -np.inf)[:, None, None, :]
            ),
        },
    )
    check_boolean(submission.padding_mask(texts), "padding_mask")


# ---------------------------------------------------------------------------------------------
# scaled_dot_product_attention, 15 points
# ---------------------------------------------------------------------------------------------


def heads_case(b, h, t, s, d, d_v=None, kv=None, label="", **options):
    kv, d_v = kv or h, d_v or d
    inputs = normal(b, h, t, d), normal(b, kv, s, d), normal(b, kv, s, d_v)
    return case(*inputs, label=label, **options)


def plain_cases():
    return [
        heads_case(2, 3, 5, 5, 6),
        heads_case(1, 2, 3, 7, 4, 5, label="more keys than queries, wider values"),
        heads_case(2, 1, 1, 1, 1),
    ]


def masked_cases():
    b, h, t, s, d = 2, 3, 4, 5, 6
    padding = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)[:, None, None, :]
    some = rng().random((t, s)) < 0.7
    some[:, 0] = True
    added = normal(b, 1, t, s, scale=3) * (rng().random((b, 1, t, s)) < 0.7)
    added[..., 0] = 1.0
    return [
        heads_case(b, h, t, s, d, mask=padding, label="padding mask"),
        heads_case(b, h, t, s, d, mask=some, label="a mask of (T, S)"),
        heads_case(b, h, t, s, d, mask=added, label="a mask to be added"),
    ]


def causal_cases():
    padding = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)[:, None, None, :]
    return [
        heads_case(2, 3, 5, 5, 4, causal=True),
        heads_case(1, 2, 3, 7, 4, causal=True, label="a cache: 3 queries, 7 keys"),
        heads_case(1, 2, 1, 4, 6, causal=True, label="one query, decoding"),
        heads_case(2, 3, 6, 6, 4, causal=True, window=2),
        heads_case(2, 1, 5, 5, 4, causal=True, mask=padding, label="causal and padding mask"),
    ]


def expand(x, heads):
    return np.repeat(x, heads // x.shape[1], axis=1)


def allowed_of(shape, mask=None, causal=False, window=None):
    """The boolean masks together, (B, H, T, S)."""
    allowed = np.ones(shape, bool)
    if mask is not None and mask.dtype == bool:
        allowed &= mask
    if causal:
        distance = distances(shape[-2], shape[-1])
        allowed &= (distance >= 0) & (distance < (window or np.inf))
    return allowed


def scores_of(q, k, mask=None, causal=False, window=None, scale=None):
    scores = q @ expand(k, q.shape[1]).swapaxes(-1, -2)
    scores = scores * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None and mask.dtype != bool:
        scores = scores + mask
    return np.where(allowed_of(scores.shape, mask, causal, window), scores, -np.inf)


def attention(q, k, v, **options):
    return weights_of(scores_of(q, k, **options)) @ expand(v, q.shape[1])


@points(1, "attention: the example")
def test_attention_example(submission):
    """The example in the docstring: weights of 3/4 and 1/4."""
    check_example(submission.scaled_dot_product_attention)


@points(2, "attention: value")
def test_attention_value(submission):
    """Scores over √D, softmax over the keys, weighted sum of the values."""
    root = {"scale": None}
    check_value(
        submission.scaled_dot_product_attention,
        [
            *plain_cases(),
            heads_case(1, 2, 3, 4, 5, scale=0.3),
            heads_case(1, 2, 3, 4, 5, scale=0.0, label="all scores are 0"),
        ],
        axes=AXES,
        mistakes={
            "the scores are not divided by √D": lambda q, k, v, **_: attention(q, k, v, scale=1),
            "the scores are divided by D; it is √D": lambda q, k, v, **_: attention(
                q, k, v, scale=1 / q.shape[-1]
            ),
            "the scores are multiplied by √D; they are divided": lambda q, k, v, **_: attention(
                q, k, v, scale=q.shape[-1] ** 0.5
            ),
            "the argument scale is not used": lambda q, k, v, **o: attention(q, k, v, **root),
            "the softmax runs over the queries; it belongs to the keys": lambda q, k, v, **o: (
                weights_of(scores_of(q, k, **o), -2) @ v
            ),
            "the softmax runs over the heads; it belongs to the keys": lambda q, k, v, **o: (
                weights_of(scores_of(q, k, **o), 1) @ v
            ),
            "the softmax is missing": lambda q, k, v, **o: scores_of(q, k, **o) @ v,
            "keys and values are exchanged": lambda q, k, v, **o: attention(q, v, k, **o),
            "the queries are compared with the values; keys are what they are compared with": (
                lambda q, k, v, **o: attention(q, v, v, **o)
            ),
            "the scores are divided by √(H·D); D is the size of one head": (
                lambda q, k, v, scale=None, **_: attention(
                    q, k, v, scale=given(scale, (q.shape[1] * q.shape[-1]) ** -0.5)
                )
            ),
            "the scores are divided by the root of the number of queries; it is √D": (
                lambda q, k, v, scale=None, **_: attention(
                    q, k, v, scale=given(scale, q.shape[-2] ** -0.5)
                )
            ),
            "the scores are divided by the root of the number of keys; it is √D": (
                lambda q, k, v, scale=None, **_: attention(
                    q, k, v, scale=given(scale, k.shape[-2] ** -0.5)
                )
            ),
            "the scores are divided by √D_v, of the values; D is the size of query and key": (
                lambda q, k, v, scale=None, **_: attention(
                    q, k, v, scale=given(scale, v.shape[-1] ** -0.5)
                )
            ),
            "the scale that is given is divided by √D too; it stands in its place": (
                lambda q, k, v, scale=None, **_: attention(
                    q, k, v, scale=given(scale, 1.0) * q.shape[-1] ** -0.5
                )
            ),
            "the causal mask is always there; it is an option": lambda q, k, v, **o: attention(
                q, k, v, causal=True, **o
            ),
            "scale = 0 is taken for None: ask `if scale is None`": lambda q, k, v, **o: attention(
                q, k, v, scale=o.get("scale") or None
            ),
        },
    )


@points(2, "attention: masks")
def test_attention_mask(submission):
    """What is not allowed gets -inf before the softmax; a float mask is added to the scores."""

    def filled(q, k, v, mask, value):
        if mask.dtype == bool:
            return weights_of(np.where(mask, scores_of(q, k), value)) @ v

    check_value(
        submission.scaled_dot_product_attention,
        masked_cases(),
        axes=AXES,
        mistakes={
            "the mask is inverted: True means that attention is allowed": (
                lambda q, k, v, mask: attention(q, k, v, mask=~mask)
            ),
            "the mask comes after the softmax: the weights no longer sum to 1": (
                lambda q, k, v, mask: (weights_of(scores_of(q, k)) * mask) @ v
            ),
            "the scores are multiplied by the mask; a score of 0 is still a score": (
                lambda q, k, v, mask: (
                    weights_of(scores_of(q, k) * mask) @ v if mask.dtype == bool else None
                )
            ),
            "True and False are added to the scores as 1 and 0": (
                lambda q, k, v, mask: weights_of(scores_of(q, k) + mask) @ v
            ),
            "masked scores are set to 0, where -inf belongs": lambda q, k, v, mask: filled(
                q, k, v, mask, 0.0
            ),
            "the mask is not used": lambda q, k, v, mask: attention(q, k, v),
            "the float mask is taken as True and False; it is added to the scores": (
                lambda q, k, v, mask: attention(q, k, v, mask=mask.astype(bool))
            ),
            "a float mask hides what is below 0 and nothing else; it is added to the scores": (
                lambda q, k, v, mask: (
                    attention(q, k, v, mask=mask >= 0) if mask.dtype != bool else None
                )
            ),
            "the scores are multiplied by the float mask; it is added to them": (
                lambda q, k, v, mask: (
                    weights_of(scores_of(q, k) * mask) @ v if mask.dtype != bool else None
                )
            ),
            "the float mask is added before the scores are scaled": lambda q, k, v, mask: attention(
                q, k, v, mask=mask * q.shape[-1] ** -0.5
            ),
        },
    )


@points(2, "attention: causal")
def test_attention_causal(submission):
    """The last query is aligned with the last key; all masks combine."""

    def first_aligned(q, k, v, mask=None, causal=True, window=None):
        tri = np.tri(q.shape[2], k.shape[2], dtype=bool)
        tri &= distances(*tri.shape) < (window or np.inf)
        return attention(q, k, v, mask=tri if mask is None else tri & mask)

    def strict(q, k, v, mask=None, causal=True, window=None):
        before = distances(q.shape[2], k.shape[2]) > 0
        return attention(q, k, v, mask=before if mask is None else before & mask)

    def hidden_by(of_mask, of_causal, added):
        """Scores that may not be seen are these numbers, or have them added, before the softmax."""

        def wrong(q, k, v, mask=None, causal=True, window=None):
            scores = scores_of(q, k)
            for seen, number in (
                (mask, of_mask),
                (allowed_of(scores.shape, None, True, window), of_causal),
            ):
                if seen is not None:
                    scores = np.where(seen, scores, number + scores if added else number)
            return weights_of(scores) @ v

        return wrong

    blind = "−1e9 in the place of −inf: a query that may see nothing looks at what is hidden"
    check_value(
        submission.scaled_dot_product_attention,
        causal_cases(),
        axes=AXES,
        mistakes={
            blind: hidden_by(-1e9, -1e9, added=False),
            f"{blind} (added, in both masks)": hidden_by(-1e9, -1e9, added=True),
            f"{blind} (in the causal mask)": hidden_by(-np.inf, -1e9, added=False),
            f"{blind} (added, in the causal mask)": hidden_by(-np.inf, -1e9, added=True),
            f"{blind} (in the other mask)": hidden_by(-1e9, -np.inf, added=False),
            f"{blind} (added, in the other mask)": hidden_by(-1e9, -np.inf, added=True),
            "the mask replaces the causal one; they combine": lambda q, k, v, mask=None, **o: (
                attention(q, k, v, mask=mask) if mask is not None else None
            ),
            "the argument causal is not used": lambda q, k, v, mask=None, **_: attention(
                q, k, v, mask=mask
            ),
            "the first query is aligned with the first key; the last belong together": (
                first_aligned
            ),
            "a token must see itself": strict,
            "the causal mask replaces the other one; they combine": (
                lambda q, k, v, mask=None, **o: attention(q, k, v, **o)
            ),
            "window is not used": lambda q, k, v, window=None, **o: attention(q, k, v, **o),
            "the mask comes after the softmax: the weights no longer sum to 1": (
                lambda q, k, v, **o: (
                    (weights_of(scores_of(q, k)) * allowed_of((*q.shape[:3], k.shape[2]), **o)) @ v
                )
            ),
        },
    )


@points(1, "attention: the future cannot be seen")
def test_attention_future(submission):
    """Other keys and values after position 2 leave the outputs up to position 2 as they were."""
    q, k, v = normal(2, 3, 6, 4), normal(2, 3, 6, 4), normal(2, 3, 6, 4)
    out = output(submission.scaled_dot_product_attention, q, k, v, causal=True)
    k[:, :, 3:], v[:, :, 3:] = normal(2, 3, 3, 4), normal(2, 3, 3, 4)
    other = output(submission.scaled_dot_product_attention, q, k, v, causal=True)
    with likely("a later token leaks into an earlier output"):
        check_close(
            other[:, :, :3],
            out[:, :, :3],
            "attention: the output at positions 0 to 2, after later keys and values were changed,",
            axes=AXES["out"],
        )
    check(
        np.abs(other[:, :, 3:] - out[:, :, 3:]).max() > 1e-6,
        "attention: the output at positions 3 to 5 is the same although keys and values changed.",
        "a token must see itself and what is before it",
    )


@points(1, "attention: large scores and blind queries")
def test_attention_edges(submission):
    """Scores of ten thousand do not overflow; a query that may see nothing gives zeros."""
    blind = np.ones((4, 5), bool)
    blind[1] = False
    large = normal(1, 2, 3, 4, scale=100), normal(1, 2, 5, 4, scale=100), normal(1, 2, 5, 4)
    overflow = "e^score overflows: subtract the largest score of each query first"
    plain = plain_cases()[:2]
    attend = submission.scaled_dot_product_attention
    with likely(overflow, unless=lambda: check_value(attend, plain)):
        check_value(attend, [case(*large)], axes=AXES)
    unseen = "-inf - (-inf) is NaN, and so is 0 / 0: where nothing is allowed, give zeros"
    some = masked_cases()[1:2]
    with likely(unseen, of=StudentError, unless=lambda: check_value(attend, some)):
        check_value(
            submission.scaled_dot_product_attention,
            [heads_case(2, 1, 4, 5, 3, mask=blind, label="query 1 may see nothing")],
            axes=AXES,
            mistakes={
                unseen: lambda q, k, v, mask: np.where(
                    mask.any(-1)[:, None], attention(q, k, v, mask=mask), np.nan
                ),
                "a query that may see nothing takes the mean of all values; zeros belong there": (
                    lambda q, k, v, mask: np.where(
                        mask.any(-1)[:, None],
                        attention(q, k, v, mask=mask),
                        v.mean(-2, keepdims=True),
                    )
                ),
                "a query that may see nothing looks at everything, as if there were no mask": (
                    lambda q, k, v, mask: np.where(
                        mask.any(-1)[:, None], attention(q, k, v, mask=mask), attention(q, k, v)
                    )
                ),
            },
        )


@points(4, "attention: gradients")
def test_attention_vjp(submission):
    """Back through the weighted sum, the softmax and the scores, each with its transpose."""

    def parts(q, k, v, g, o):
        p = weights_of(scores_of(q, k, **o))
        dp = g @ v.swapaxes(-1, -2)
        scale = o.get("scale") or q.shape[-1] ** -0.5
        return p, dp, p * (dp - (p * dp).sum(-1, keepdims=True)), scale

    def backwards(q, k, v, g, o):
        p, _, ds, scale = parts(q, k, v, g, o)
        return ds @ k * scale, ds.swapaxes(-1, -2) @ q * scale, p.swapaxes(-1, -2) @ g

    def third(q, k, v, g, o):
        p = parts(q, k, v, g, o)[0]
        return p @ g if p.shape[-1] == p.shape[-2] else None

    check_vjp(
        submission.scaled_dot_product_attention,
        [
            *plain_cases(),
            *masked_cases()[:2],
            *causal_cases()[:2],
            heads_case(1, 2, 3, 4, 5, scale=0.3),
        ],
        axes=AXES,
        mistakes={
            "the scale is missing in the gradients of query and key": lambda q, k, v, g, **o: (
                parts(q, k, v, g, o)[2] @ k,
                parts(q, k, v, g, o)[2].swapaxes(-1, -2) @ q,
                None,
            ),
            "the scale is there twice in the gradients of query and key": (
                lambda q, k, v, g, **o: (
                    parts(q, k, v, g, o)[2] @ k * parts(q, k, v, g, o)[3] ** 2,
                    parts(q, k, v, g, o)[2].swapaxes(-1, -2) @ q * parts(q, k, v, g, o)[3] ** 2,
                    None,
                )
            ),
            "the softmax's own gradient lacks its sum: dS = P (dP - Σ P dP)": (
                lambda q, k, v, g, **o: (
                    (lambda p, dp, ds, s: p * dp @ k * s)(*parts(q, k, v, g, o)),
                    (lambda p, dp, ds, s: (p * dp).swapaxes(-1, -2) @ q * s)(*parts(q, k, v, g, o)),
                    None,
                )
            ),
            "only the diagonal of softmax's Jacobian is used: dS is P (dP - Σ P dP)": (
                lambda q, k, v, g, **o: (
                    (lambda p, dp, ds, s: p * (1 - p) * dp @ k * s)(*parts(q, k, v, g, o)),
                    (lambda p, dp, ds, s: (p * (1 - p) * dp).swapaxes(-1, -2) @ q * s)(
                        *parts(q, k, v, g, o)
                    ),
                    None,
                )
            ),
            "the softmax's sum is Σ dP; it is Σ P dP": lambda q, k, v, g, **o: (
                (lambda p, dp, ds, s: p * (dp - dp.sum(-1, keepdims=True)) @ k * s)(
                    *parts(q, k, v, g, o)
                ),
                (
                    lambda p, dp, ds, s: (
                        (p * (dp - dp.sum(-1, keepdims=True))).swapaxes(-1, -2) @ q * s
                    )
                )(*parts(q, k, v, g, o)),
                None,
            ),
            "the softmax is left out of the way back: dP stands where dS belongs": (
                lambda q, k, v, g, **o: (
                    (lambda p, dp, ds, s: dp @ k * s)(*parts(q, k, v, g, o)),
                    (lambda p, dp, ds, s: dp.swapaxes(-1, -2) @ q * s)(*parts(q, k, v, g, o)),
                    None,
                )
            ),
            "dS is not transposed: dK = dSᵀ Q · scale": lambda q, k, v, g, **o: (
                None,
                parts(q, k, v, g, o)[2] @ q * parts(q, k, v, g, o)[3]
                if q.shape[-2] == k.shape[-2]
                else None,
                None,
            ),
            "dS is transposed: dQ = dS K · scale": lambda q, k, v, g, **o: (
                parts(q, k, v, g, o)[2].swapaxes(-1, -2) @ k * parts(q, k, v, g, o)[3]
                if q.shape[-2] == k.shape[-2]
                else None,
                None,
                None,
            ),
            "the softmax's sum runs over the queries; it belongs to the keys": (
                lambda q, k, v, g, **o: (
                    (lambda p, dp, ds, s: (p * (dp - (p * dp).sum(-2, keepdims=True))) @ k * s)(
                        *parts(q, k, v, g, o)
                    ),
                    None,
                    None,
                )
            ),
            "the weights are not transposed: dV = Pᵀ g": lambda q, k, v, g, **o: (
                None,
                None,
                third(q, k, v, g, o),
            ),
            "the argument scale is not used": lambda q, k, v, g, **o: (
                backwards(q, k, v, g, {**o, "scale": None}) if "scale" in o else (None,) * 3
            ),
            "the mask is forgotten on the way back": lambda q, k, v, g, **o: (
                backwards(q, k, v, g, {}) if "scale" not in o else (None,) * 3
            ),
        },
    )


@points(1, "attention: shared key and value heads")
def test_attention_groups(submission):
    """Query head h reads key/value head h // (H / H_kv); a shared head's gradient is a sum."""
    cases = [
        heads_case(2, 6, 4, 4, 3, kv=3, causal=True),
        heads_case(1, 4, 2, 5, 3, kv=1, label="one key/value head for all"),
    ]

    def tiled(x, heads):
        return np.tile(x, (1, heads // x.shape[1], 1, 1))

    def all_grads(q, k, v, g, o):
        p = weights_of(scores_of(q, k, **o))
        dp = g @ expand(v, q.shape[1]).swapaxes(-1, -2)
        ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * q.shape[-1] ** -0.5
        return ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ g

    def of_one_copy(q, k, v, g, o, which):
        full, (b, kv) = all_grads(q, k, v, g, o)[which], k.shape[:2]
        return full.reshape(b, kv, -1, *full.shape[2:])[:, :, 0]

    attend = submission.scaled_dot_product_attention
    shared = "there are fewer K/V heads than query heads: repeat each, H / H_kv times"
    with likely(shared, of=StudentError, unless=lambda: check_value(attend, plain_cases()[:2])):
        attend(*cases[0].args)
    check_value(
        submission.scaled_dot_product_attention,
        cases,
        axes=AXES,
        mistakes={
            "K/V heads were tiled; they must be repeated: 0 0 1 1 2 2, not 0 1 2 0 1 2": (
                lambda q, k, v, **o: attention(q, tiled(k, q.shape[1]), tiled(v, q.shape[1]), **o)
            ),
        },
    )
    check_vjp(
        submission.scaled_dot_product_attention,
        cases,
        axes=AXES,
        mistakes={
            "a shared head gets the gradient of one of its copies; it is their sum": (
                lambda q, k, v, g, **o: (
                    None,
                    of_one_copy(q, k, v, g, o, 0),
                    of_one_copy(q, k, v, g, o, 1),
                )
            ),
            "the copies of a head stand side by side: cut the axis into (H_kv, groups)": (
                lambda q, k, v, g, **o: (
                    None,
                    *(
                        x.reshape(x.shape[0], -1, k.shape[1], *x.shape[2:]).sum(1)
                        for x in all_grads(q, k, v, g, o)
                    ),
                )
            ),
            "a shared head's gradient is the mean over its copies, where the sum belongs": (
                lambda q, k, v, g, **o: (
                    None,
                    *(
                        x.reshape(*k.shape[:2], -1, *x.shape[2:]).mean(2)
                        for x in all_grads(q, k, v, g, o)
                    ),
                )
            ),
        },
    )


@points(1, "attention: fit for the model")
def test_attention_manners(submission):
    """float32 in, float32 out; no argument is changed; views work."""
    check_manners(
        submission.scaled_dot_product_attention,
        [heads_case(2, 3, 5, 5, 6), heads_case(1, 2, 3, 7, 4, causal=True)],
        rtol=1e-3,
    )
    whole = normal(2, 3, 4, 5, dtype=np.float32), rng().random((2, 3, 4, 5)) < 0.8
    for mask in whole:  # of the scores' own shape: in its place the scores could be written
        one = heads_case(2, 3, 4, 5, 6, mask=mask, causal=True)
        check_manners(submission.scaled_dot_product_attention, [one], rtol=1e-3)


# ---------------------------------------------------------------------------------------------
# logsumexp, for honor
# ---------------------------------------------------------------------------------------------


def soft_maxima():
    for shape, axis in (((2, 5), -1), ((3, 4), 0), ((2, 3, 4), 1), ((7,), -1), ((3, 1), 0)):
        for keepdims in (False, True):
            yield case(normal(*shape), axis=axis, keepdims=keepdims)


def widened(g, axis, keepdims):
    return g if keepdims else np.expand_dims(g, axis)


@points(0, "logsumexp: the example")
def test_logsumexp_example(submission):
    """The example in the docstring, with a number that overflows."""
    check_example(submission.logsumexp)


@points(0, "logsumexp: value")
def test_logsumexp_value(submission):
    """The logarithm of the sum; shifted by the maximum, which is added again."""

    def shifted(x, axis, keepdims):
        top = x.max(axis, keepdims=True)
        return np.log(np.exp(x - top).sum(axis, keepdims=keepdims))

    check_value(
        submission.logsumexp,
        list(soft_maxima()),
        formula=("ln Σ e^x", of_logsumexp),
        mistakes={
            "the maximum that was subtracted is not added again": shifted,
            "this is the sum alone: its logarithm is missing": lambda x, axis, keepdims: np.exp(
                x
            ).sum(axis, keepdims=keepdims),
            "the logarithm of the mean is taken, not that of the sum": lambda x, axis, keepdims: (
                np.log(np.exp(x).mean(axis, keepdims=keepdims))
            ),
            "keepdims is not used: the axis is gone": lambda x, axis, keepdims: np.log(
                np.exp(x).sum(axis)
            ),
            "squeeze() drops every axis of length 1; only `axis` goes": lambda x, axis, keepdims: (
                np.log(np.exp(x).sum(axis, keepdims=keepdims)).squeeze()
            ),
            "the maximum is added inside of the logarithm; it belongs behind it": (
                lambda x, axis, keepdims: np.log(
                    np.exp(x - x.max(axis, keepdims=True)).sum(axis, keepdims=keepdims)
                    + x.max(axis, keepdims=keepdims)
                )
            ),
            "this is the maximum alone": lambda x, axis, keepdims: x.max(axis, keepdims=keepdims),
        },
    )


@points(0, "logsumexp: gradient")
def test_logsumexp_vjp(submission):
    """Its gradient is the softmax, times g."""

    def p(x, axis):
        return weights_of(x, axis)

    check_vjp(
        submission.logsumexp,
        list(soft_maxima()),
        formulas={
            "x": (
                "g · p, with p = softmax(x),",
                lambda x, g, axis, keepdims: of_softmax_gradient(
                    x, widened(g, axis, keepdims), axis
                ),
            )
        },
        mistakes={
            "g goes to every entry as it is; it is shared by the softmax": (
                lambda x, g, axis, keepdims: (widened(g, axis, keepdims) * np.ones_like(x),)
            ),
            "e^x is not divided by its sum": lambda x, g, axis, keepdims: (
                widened(g, axis, keepdims) * np.exp(x),
            ),
            "all of g goes to the maximum; softmax shares it": lambda x, g, axis, keepdims: (
                widened(g, axis, keepdims) * (x == x.max(axis, keepdims=True)),
            ),
            "this is softmax's gradient; logsumexp's is the softmax itself": (
                lambda x, g, axis, keepdims: (
                    p(x, axis)
                    * (
                        widened(g, axis, keepdims)
                        - (widened(g, axis, keepdims) * p(x, axis)).sum(axis, keepdims=True)
                    ),
                )
            ),
        },
    )


@points(0, "logsumexp: large numbers, and -inf")
def test_logsumexp_large(submission):
    """Nothing overflows; a row that is all -inf has no gradient."""

    def mean_of_all(x):
        return np.logaddexp.reduce(x, -1) - np.log(x.shape[-1])

    def ordinary():
        check_value(submission.logsumexp, [case(normal(2, 5))])
        check_vjp(submission.logsumexp, [case(normal(2, 5))])

    large = "e^x overflows: subtract the maximum first, and add it again behind the logarithm"
    with likely(large, unless=ordinary):
        far = np.array([[1e4, 9999.0, -1e4], [-1e4, -10001.0, -10002.0]])
        known = {
            "the logarithm of the mean is taken, not that of the sum": mean_of_all,
            "the maximum that was subtracted is not added again": lambda x: (
                np.logaddexp.reduce(x, -1) - x.max(-1)
            ),
        }
        check_value(submission.logsumexp, [case(far)], mistakes=known)
        _, vjp = submission.logsumexp(far)
        g = normal(2)
        told = "the gradient of logsumexp of large numbers"
        p, wide = weights_of(far), np.broadcast_to(g[:, None], far.shape)
        of_softmax = p * (wide - (wide * p).sum(-1, keepdims=True))
        known = {"this is softmax's gradient; logsumexp's is the softmax itself": of_softmax}
        check_close(vjp(g)[0], wide * p, told, mistakes=known)
    with likely("-inf - (-inf) is NaN: where the maximum is -inf, shift by 0", unless=ordinary):
        masked = np.array([[0.0, -np.inf, 1.0], [-np.inf] * 3])
        finite = np.isfinite(output(submission.logsumexp, masked)[1])
        small = "ln 0 is -inf: is a small number added to the sum?"
        check(not finite, "logsumexp of a row that is all -inf is a finite number", small)
        out, vjp = submission.logsumexp(masked)
        check_close(out, np.array([np.log(1 + np.e), -np.inf]), "logsumexp of rows with -inf")
        right = np.array([[1 / (1 + np.e), 0, np.e / (1 + np.e)], [0, 0, 0]])
        grads = vjp(np.ones(2))
        check_close(grads[0], right, "the gradient of logsumexp of rows with -inf")


@points(0, "logsumexp: fit for the model")
def test_logsumexp_manners(submission):
    """float32 in, float32 out; x and g are not changed; views work."""
    check_manners(submission.logsumexp, list(soft_maxima()))
