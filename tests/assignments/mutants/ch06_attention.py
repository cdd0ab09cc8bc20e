"""Wrong solutions of chapter 06, each named after its mistake."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.autograd import ops, reductions
from tinyqwen.course import mutant
from tinyqwen.models import masks

softmax, attention = ops.softmax.raw, F.scaled_dot_product_attention.raw
logsumexp = reductions.logsumexp.raw
causal_mask, padding_mask = masks.causal_mask, masks.padding_mask


def ratio(e, axis=-1):
    total = e.sum(axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


# ---------------------------------------------------------------------------------------------
# softmax
# ---------------------------------------------------------------------------------------------


@mutant(of="softmax", killed_by="test_softmax_large", named="subtract the largest of each row")
def softmax_no_max(x, axis=-1):
    e = np.exp(x)
    return ratio(e, axis), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_value", named="has no largest entry")
def softmax_max_without_axis(x, axis=-1):
    e = np.exp(x - np.max(x))
    return e / e.sum(axis, keepdims=True), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_large", named="each row needs its own")
def softmax_global_max(x, axis=-1):
    e = np.exp(x - np.max(x, initial=-np.inf))
    return e / e.sum(axis, keepdims=True), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_large", named="far rows vanish")
def softmax_global_max_and_no_nan(x, axis=-1):
    e = np.exp(x - x.max(initial=-1e300))
    total = e.sum(axis, keepdims=True)
    return e / np.where(total == 0, 1, total), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_large", named="in a row of -inf subtract 0")
def softmax_nan_for_a_blind_row(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_large", named="a row of -inf has weights")
def softmax_blind_row_sees_all(x, axis=-1):
    x = np.maximum(x, np.finfo(x.dtype).min)
    return softmax(x, axis)


@mutant(of="softmax", killed_by="test_softmax_value", named="over the whole array")
def softmax_over_everything(x, axis=-1):
    e = np.exp(x - x.max(initial=-np.inf)) if x.size else x
    return e / e.sum(), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_value", named="axis is not used")
def softmax_axis_hard_coded(x, axis=-1):
    return softmax(x, -1)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="only the diagonal")
def softmax_vjp_diagonal(x, axis=-1):
    p, _ = softmax(x, axis)
    return p, lambda g: (g * p * (1 - p),)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="the sum is Σ g")
def softmax_vjp_of_log_softmax(x, axis=-1):
    p, _ = softmax(x, axis)
    return p, lambda g: (p * (g - g.sum(axis, keepdims=True)),)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="whatever axis says")
def softmax_vjp_last_axis(x, axis=-1):
    p, _ = softmax(x, axis)
    return p, lambda g: (p * (g - (g * p).sum(-1, keepdims=True)),)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="over the whole array")
def softmax_vjp_sums_everything(x, axis=-1):
    p, _ = softmax(x, axis)
    return p, lambda g: (p * (g - (g * p).sum()),)


@mutant(of="softmax", killed_by="test_softmax_manners", named="x is changed in place")
def softmax_edits_x(x, axis=-1):
    out, vjp = softmax(x.copy(), axis)
    x -= x.max(axis, keepdims=True, initial=-np.inf)
    return out, vjp


@mutant(of="softmax", killed_by="test_softmax_manners", named="float64 comes out")
def softmax_float64(x, axis=-1):
    out, vjp = softmax(x.astype(np.float64), axis)
    return out, lambda g: (vjp(g)[0].astype(x.dtype),)


@mutant(of="softmax", killed_by="test_softmax_value", named="0.001 is added to the sum")
def softmax_sum_and_a_bit(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / (e.sum(axis, keepdims=True) + 1e-3), softmax(x, axis)[1]


# ---------------------------------------------------------------------------------------------
# the masks
# ---------------------------------------------------------------------------------------------


@mutant(of="causal_mask", killed_by="test_causal_mask_value", named="inverted")
def causal_mask_inverted(num_queries, num_keys=None, window=None):
    return ~causal_mask(num_queries, num_keys, window)


@mutant(of="causal_mask", killed_by="test_causal_mask_value", named="must see itself")
def causal_mask_strict(num_queries, num_keys=None, window=None):
    keys = num_keys or num_queries
    return causal_mask(num_queries, num_keys, window) & ~np.eye(
        num_queries, keys, keys - num_queries, dtype=bool
    )


@mutant(of="causal_mask", killed_by="test_causal_mask_value", named="aligned with the first key")
def causal_mask_first_aligned(num_queries, num_keys=None, window=None):
    shape = num_queries, num_keys or num_queries
    return np.tri(*shape, dtype=bool) & (causal_mask(*shape, window) | (window is None))


@mutant(of="causal_mask", killed_by="test_causal_mask_value", named="the wrong one")
def causal_mask_transposed(num_queries, num_keys=None, window=None):
    keys = num_keys or num_queries
    distance = np.arange(keys - num_queries, keys)[:, None] - np.arange(keys)
    return distance <= 0


@mutant(of="causal_mask", killed_by="test_causal_mask_value", named="not boolean")
def causal_mask_of_floats(num_queries, num_keys=None, window=None):
    return causal_mask(num_queries, num_keys, window).astype(np.float32)


@mutant(of="causal_mask", killed_by="test_causal_mask_window", named="window is not used")
def causal_mask_without_window(num_queries, num_keys=None, window=None):
    return causal_mask(num_queries, num_keys)


@mutant(of="causal_mask", killed_by="test_causal_mask_window", named="one too wide")
def causal_mask_wide_window(num_queries, num_keys=None, window=None):
    return causal_mask(num_queries, num_keys, window and window + 1)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="inverted")
def padding_mask_inverted(attention_mask):
    return ~padding_mask(attention_mask)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="axes of heads and queries")
def padding_mask_flat(attention_mask):
    return attention_mask.astype(bool)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="this hides queries")
def padding_mask_of_queries(attention_mask):
    return padding_mask(attention_mask).swapaxes(-1, -2)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="one axis is missing")
def padding_mask_three_axes(attention_mask):
    return attention_mask.astype(bool)[:, None, :]


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="one row for all queries")
def padding_mask_of_both(attention_mask):
    m = np.asarray(attention_mask).astype(bool)
    return m[:, None, :, None] & m[:, None, None, :]


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="copied for every query")
def padding_mask_copied(attention_mask):
    m = np.asarray(attention_mask).astype(bool)
    return np.repeat(m[:, None, None, :], m.shape[1], axis=2)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="not boolean")
def padding_mask_of_integers(attention_mask):
    return attention_mask[:, None, None, :].astype(np.int64)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="to be added to scores")
def padding_mask_additive(attention_mask):
    return np.where(padding_mask(attention_mask), 0.0, -np.inf)


# ---------------------------------------------------------------------------------------------
# scaled_dot_product_attention
# ---------------------------------------------------------------------------------------------


def hidden(q, k, mask, causal, window):
    """False where a boolean mask forbids, and what is added to the scores."""
    shape = (*q.shape[:3], k.shape[2])
    allowed, added = np.ones(shape, bool), 0.0
    if causal:
        allowed = allowed & causal_mask(*shape[2:], window)
    if mask is not None and mask.dtype == bool:
        allowed = allowed & mask
    elif mask is not None:
        added = mask
    return allowed, added


def steps(q, k, v, mask=None, causal=False, window=None, scale=None, **_):
    """What the mutants of the gradient start from: weights, all K, all V, the scale."""
    groups = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, groups, axis=1), np.repeat(v, groups, axis=1)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    allowed, added = hidden(q, k, mask, causal, window)
    scores = np.where(allowed, q @ k.swapaxes(-1, -2) * scale + added, -np.inf)
    return softmax(scores)[0], k, v, scale


def attention_mutant(killed_by, named):
    return mutant(of="scaled_dot_product_attention", killed_by=killed_by, named=named)


@attention_mutant("test_attention_value", "not divided by √D")
def attention_unscaled(query, key, value, scale=None, **options):
    return attention(query, key, value, scale=1.0 if scale is None else scale, **options)


@attention_mutant("test_attention_value", "divided by D; it is √D")
def attention_divided_by_d(query, key, value, scale=None, **options):
    return attention(query, key, value, scale=scale or 1 / query.shape[-1], **options)


@attention_mutant("test_attention_value", "scale is not used")
def attention_scale_hard_coded(query, key, value, scale=None, **options):
    return attention(query, key, value, **options)


@attention_mutant("test_attention_value", "over the queries")
def attention_softmax_over_queries(query, key, value, **options):
    _, k, v, scale = steps(query, key, value, **options)
    scores = query @ k.swapaxes(-1, -2) * scale
    return softmax(scores, -2)[0] @ v, attention(query, key, value, **options)[1]


@attention_mutant("test_attention_mask", "the mask is inverted")
def attention_mask_inverted(query, key, value, mask=None, **options):
    if mask is not None and mask.dtype == bool:
        mask = ~mask
    return attention(query, key, value, mask=mask, **options)


@attention_mutant("test_attention_mask", "comes after the softmax")
def mask_after_softmax(query, key, value, mask=None, causal=False, window=None, **options):
    p, _, v, _ = steps(query, key, value, **options)
    allowed, added = hidden(query, key, mask, causal, window)
    vjp = attention(query, key, value, mask=mask, causal=causal, window=window, **options)[1]
    return (p * allowed + added) @ v, vjp


@attention_mutant("test_attention_mask", "multiplied by the mask")
def attention_scores_times_mask(query, key, value, mask=None, **options):
    out, vjp = attention(query, key, value, mask=mask, **options)
    if mask is None or mask.dtype != bool:
        return out, vjp
    _, k, v, scale = steps(query, key, value)
    return softmax(query @ k.swapaxes(-1, -2) * scale * mask)[0] @ v, vjp


@attention_mutant("test_attention_mask", "taken as True and False")
def attention_float_mask_as_boolean(query, key, value, mask=None, **options):
    mask = None if mask is None else mask.astype(bool)
    return attention(query, key, value, mask=mask, **options)


@attention_mutant("test_attention_causal", "aligned with the first key")
def attention_causal_first_aligned(
    query, key, value, mask=None, causal=False, window=None, **options
):
    if causal:
        shape = query.shape[2], key.shape[2]
        tri = np.tri(*shape, dtype=bool) & (causal_mask(*shape, window) | (window is None))
        mask = tri if mask is None else tri & mask
    return attention(query, key, value, mask=mask, **options)


@attention_mutant("test_attention_causal", "window is not used")
def attention_without_window(query, key, value, window=None, **options):
    return attention(query, key, value, **options)


@attention_mutant("test_attention_causal", "the causal mask replaces")
def attention_causal_replaces_mask(query, key, value, mask=None, causal=False, **options):
    mask = None if causal else mask
    return attention(query, key, value, mask=mask, causal=causal, **options)


@attention_mutant("test_attention_future", "leaks")
def attention_peeks_from_the_last_position(query, key, value, causal=False, **options):
    out, vjp = attention(query, key, value, causal=causal, **options)
    return out + (1e-3 * value[:, :1, -1:, :1] if causal and query.shape[1] > 1 else 0), vjp


@attention_mutant("test_attention_edges", "NaN")
def attention_softmax_no_max(query, key, value, **options):
    p, k, v, scale = steps(query, key, value, **options)
    e = np.exp(query @ k.swapaxes(-1, -2) * scale) * (p > 0)
    return ratio(e) @ v, attention(query, key, value, **options)[1]


@attention_mutant("test_attention_edges", "the mean of all values")
def attention_large_negative_number(query, key, value, mask=None, **options):
    out, vjp = attention(query, key, value, mask=mask, **options)
    if mask is None or mask.dtype != bool:
        return out, vjp
    return np.where(mask.any(-1)[..., None], out, value.mean(-2, keepdims=True)), vjp


@attention_mutant("test_attention_edges", "as if there were no mask")
def attention_adds_a_large_negative_number(query, key, value, mask=None, **options):
    if mask is not None and mask.dtype == bool:
        mask = np.where(mask, 0.0, -1e9).astype(query.dtype)
    return attention(query, key, value, mask=mask, **options)


def with_gradients(query, key, value, options, gradients):
    """The right output, and gradients(p, k, v, scale, g) for K and V of one head each."""
    out, vjp = attention(query, key, value, **options)
    p, k, v, scale = steps(query, key, value, **options)
    if query.shape[1] != key.shape[1]:
        return out, vjp
    return out, lambda g: tuple(
        right if own is None else own for right, own in zip(vjp(g), gradients(p, k, v, scale, g))
    )


def d_scores(p, v, g):
    dp = g @ v.swapaxes(-1, -2)
    return p * (dp - (p * dp).sum(-1, keepdims=True))


@attention_mutant("test_attention_vjp", "the scale is missing")
def attention_dkey_unscaled(query, key, value, **options):
    def gradients(p, k, v, scale, g):
        return None, d_scores(p, v, g).swapaxes(-1, -2) @ query, None

    return with_gradients(query, key, value, options, gradients)


@attention_mutant("test_attention_vjp", "lacks its sum")
def attention_vjp_softmax_without_sum(query, key, value, **options):
    def gradients(p, k, v, scale, g):
        ds = p * (g @ v.swapaxes(-1, -2)) * scale
        return ds @ k, ds.swapaxes(-1, -2) @ query, None

    return with_gradients(query, key, value, options, gradients)


@attention_mutant("test_attention_vjp", "it is Σ P dP")
def attention_vjp_sum_without_weights(query, key, value, **options):
    def gradients(p, k, v, scale, g):
        dp = g @ v.swapaxes(-1, -2)
        ds = p * (dp - dp.sum(-1, keepdims=True)) * scale
        return ds @ k, ds.swapaxes(-1, -2) @ query, None

    return with_gradients(query, key, value, options, gradients)


@attention_mutant("test_attention_vjp", "dV = Pᵀ g")
def attention_dvalue_not_transposed(query, key, value, **options):
    def gradients(p, k, v, scale, g):
        return None, None, p @ g if p.shape[-1] == p.shape[-2] else None

    return with_gradients(query, key, value, options, gradients)


@attention_mutant("test_attention_vjp", "forgotten on the way back")
def attention_vjp_without_mask(query, key, value, mask=None, causal=False, **options):
    out = attention(query, key, value, mask=mask, causal=causal, **options)[0]
    return out, attention(query, key, value, **{**options, "window": None})[1]


@attention_mutant("test_attention_groups", "K/V heads were tiled")
def kv_tiled_not_repeated(query, key, value, **options):
    groups = query.shape[1] // key.shape[1]
    tiled = (np.tile(x, (1, groups, 1, 1)) for x in (key, value))
    return attention(query, *tiled, **options)[0], attention(query, key, value, **options)[1]


@attention_mutant("test_attention_groups", "one of its copies")
def attention_groups_first_copy(query, key, value, **options):
    groups = query.shape[1] // key.shape[1]
    out, vjp = attention(
        query, np.repeat(key, groups, axis=1), np.repeat(value, groups, axis=1), **options
    )

    def first_copy(g):
        dquery, dkey, dvalue = vjp(g)
        return dquery, dkey[:, ::groups], dvalue[:, ::groups]

    return out, first_copy


@attention_mutant("test_attention_groups", "cut the axis into (H_kv, groups)")
def attention_groups_cut_the_other_way(query, key, value, **options):
    groups = query.shape[1] // key.shape[1]
    copies = (np.repeat(x, groups, axis=1) for x in (key, value))
    out, vjp = attention(query, *copies, **options)

    def pulled(g):
        dquery, *shared = vjp(g)
        b, kv = key.shape[:2]
        return dquery, *(x.reshape(b, groups, kv, *x.shape[2:]).sum(1) for x in shared)

    return out, pulled


@attention_mutant("test_attention_causal", "the mask replaces the causal one")
def attention_mask_replaces_causal(query, key, value, mask=None, causal=False, **options):
    return attention(query, key, value, mask=mask, causal=causal and mask is None, **options)


@attention_mutant("test_attention_causal", "at what is hidden (added, in the causal mask)")
def attention_large_negative_number_for_the_future(
    query, key, value, mask=None, causal=False, window=None, **options
):
    out, vjp = attention(query, key, value, mask=mask, causal=causal, window=window, **options)
    if causal and mask is not None:
        future = ~np.tri(query.shape[2], key.shape[2], dtype=bool)
        added = np.where(mask, 0.0, -np.inf) + np.where(future, -1e9, 0.0)
        out = attention(query, key, value, mask=added, **options)[0]
    return out, vjp


@attention_mutant("test_attention_manners", "query is changed in place")
def attention_scales_query_in_place(query, key, value, scale=None, **options):
    out, vjp = attention(query.copy(), key, value, scale=scale, **options)
    query *= query.shape[-1] ** -0.5 if scale is None else scale
    return out, vjp


@attention_mutant("test_attention_manners", "float64 comes out")
def attention_float64(query, key, value, **options):
    out, vjp = attention(*(x.astype(np.float64) for x in (query, key, value)), **options)
    return out, lambda g: tuple(d.astype(query.dtype) for d in vjp(g.astype(np.float64)))


@attention_mutant("test_attention_value", "the scale that is given is divided by √D too")
def attention_scale_and_root(query, key, value, scale=None, **options):
    scale = (1.0 if scale is None else scale) * query.shape[-1] ** -0.5
    return attention(query, key, value, scale=scale, **options)


@attention_mutant("test_attention_groups", "repeat each, H / H_kv times")
def attention_of_equal_heads_alone(query, key, value, **options):
    _ = query @ np.swapaxes(key, -1, -2)
    return attention(query, key, value, **options)


@attention_mutant("test_attention_groups", "their sum is missing")
def attention_group_not_summed(query, key, value, **options):
    repeats = query.shape[1] // key.shape[1]
    return attention(
        query, np.repeat(key, repeats, axis=1), np.repeat(value, repeats, axis=1), **options
    )


@attention_mutant("test_attention_mask", "multiplied by the float mask")
def attention_float_mask_multiplied(query, key, value, mask=None, **options):
    if mask is not None and mask.dtype != bool:
        scores = query @ np.swapaxes(key, -1, -2) * query.shape[-1] ** -0.5
        mask = scores * mask - scores
    return attention(query, key, value, mask=mask, **options)


@attention_mutant("test_attention_vjp", "only the diagonal of softmax's Jacobian")
def attention_vjp_diagonal(query, key, value, **options):
    out, vjp = attention(query, key, value, **options)
    repeats, scale = query.shape[1] // key.shape[1], options.get("scale") or query.shape[-1] ** -0.5
    if repeats > 1:
        return out, vjp
    weights = attention(query, key, np.eye(key.shape[2]) + 0 * key[..., :1], **options)[0]

    def wrong(g):
        slope = weights * (1 - weights) * (g @ np.swapaxes(value, -1, -2)) * scale
        return slope @ key, np.swapaxes(slope, -1, -2) @ query, vjp(g)[2]

    return out, wrong


# ---------------------------------------------------------------------------------------------
# logsumexp
# ---------------------------------------------------------------------------------------------


@mutant(of="logsumexp", killed_by="test_logsumexp_value", named="not added again")
def logsumexp_without_the_maximum(x, axis=-1, keepdims=False):
    out, vjp = logsumexp(x, axis, keepdims)
    return out - x.max(axis, keepdims=keepdims), vjp


@mutant(of="logsumexp", killed_by="test_logsumexp_value", named="its logarithm is missing")
def logsumexp_no_log(x, axis=-1, keepdims=False):
    out, vjp = logsumexp(x, axis, keepdims)
    return np.exp(out), vjp


@mutant(of="logsumexp", killed_by="test_logsumexp_value", named="logarithm of the mean")
def logsumexp_of_mean(x, axis=-1, keepdims=False):
    out, vjp = logsumexp(x, axis, keepdims)
    return out - float(np.log(x.shape[axis])), vjp


@mutant(of="logsumexp", killed_by="test_logsumexp_large", named="e^x overflows")
def logsumexp_overflows(x, axis=-1, keepdims=False):
    return np.log(np.exp(x).sum(axis, keepdims=keepdims)), logsumexp(x, axis, keepdims)[1]


@mutant(of="logsumexp", killed_by="test_logsumexp_large", named="shift by 0")
def logsumexp_nan_of_nothing(x, axis=-1, keepdims=False):
    top = x.max(axis, keepdims=True)
    out = top + np.log(np.exp(x - top).sum(axis, keepdims=True))
    return (out if keepdims else out.squeeze(axis)), logsumexp(x, axis, keepdims)[1]


@mutant(of="logsumexp", killed_by="test_logsumexp_vjp", named="all of g goes to the maximum")
def logsumexp_vjp_of_max(x, axis=-1, keepdims=False):
    out, _ = logsumexp(x, axis, keepdims)
    best = (x == x.max(axis, keepdims=True)).astype(x.dtype)
    return out, lambda g: ((g if keepdims else np.expand_dims(g, axis)) * best,)


@mutant(of="logsumexp", killed_by="test_logsumexp_vjp", named="not divided by its sum")
def logsumexp_vjp_exp(x, axis=-1, keepdims=False):
    out, _ = logsumexp(x, axis, keepdims)
    return out, lambda g: ((g if keepdims else np.expand_dims(g, axis)) * np.exp(x),)


@mutant(of="logsumexp", killed_by="test_logsumexp_vjp", named="softmax's gradient")
def logsumexp_vjp_of_softmax(x, axis=-1, keepdims=False):
    out, _ = logsumexp(x, axis, keepdims)
    _, vjp = softmax(x, axis)
    full = np.ones_like(x)
    return out, lambda g: vjp((g if keepdims else np.expand_dims(g, axis)) * full)


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


@mutant(
    of="softmax",
    killed_by="test_softmax_vjp",
    named="this is the gradient of log-softmax, g - p Σ g",
)
def softmax_logsm_gradient(x, axis=-1):
    o, _ = softmax(x, axis)
    return o, lambda g: (g - o * g.sum(axis, keepdims=True),)


@mutant(
    of="softmax",
    killed_by="test_softmax_value",
    named="the sum runs over the first axis; the default",
)
def softmax_sum_axis0(x, axis=-1):
    e = np.exp(x - x.max()) if x.size else x
    return e / e.sum(0), softmax(x, axis)[1]


@mutant(
    of="softmax",
    killed_by="test_softmax_value",
    named="the sum runs over the whole array; it belongs",
)
def softmax_sum_all(x, axis=-1):
    e = np.exp(x - x.max(initial=0))
    return e / e.sum(), softmax(x, axis)[1]


@mutant(
    of="softmax",
    killed_by="test_softmax_large",
    named="NaN: an overflow (inf - inf, inf / inf, 0 *",
)
def softmax_min(x, axis=-1):
    e = np.exp(x - x.min(axis, keepdims=True, initial=0))
    return e / e.sum(axis, keepdims=True), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_value", named="this is the logarithm of the softmax")
def softmax_log(x, axis=-1):
    o, v = softmax(x, axis)
    return np.log(o), v


@mutant(
    of="softmax",
    killed_by="test_softmax_vjp",
    named="only the diagonal of the Jacobian is used: p_i",
)
def softmax_diag(x, axis=-1):
    o, _ = softmax(x, axis)
    return o, lambda g: (g * o * (1 - o),)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="the sum is Σ g; it is Σ g p")
def softmax_no_inner_p(x, axis=-1):
    o, _ = softmax(x, axis)
    return o, lambda g: (o * (g - g.sum(axis, keepdims=True)),)


@mutant(
    of="softmax", killed_by="test_softmax_vjp", named="the mean stands where the sum Σ g p belongs"
)
def softmax_mean_inner(x, axis=-1):
    o, _ = softmax(x, axis)
    return o, lambda g: (o * (g - (g * o).mean(axis, keepdims=True)),)


@mutant(
    of="softmax", killed_by="test_softmax_vjp", named="the gradient's sum runs over the last axis"
)
def softmax_inner_last_axis(x, axis=-1):
    o, _ = softmax(x, axis)
    return o, lambda g: (o * (g - (g * o).sum(-1, keepdims=True)),)


@mutant(
    of="softmax",
    killed_by="test_softmax_vjp",
    named="the sum runs over the whole array; it belongs",
)
def softmax_inner_all(x, axis=-1):
    o, _ = softmax(x, axis)
    return o, lambda g: (o * (g - (g * o).sum()),)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="the factor p is missing")
def softmax_no_p_out(x, axis=-1):
    o, _ = softmax(x, axis)
    return o, lambda g: (g - (g * o).sum(axis, keepdims=True),)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="a comma is missing: `return (dx,)`")
def softmax_array_not_tuple(x, axis=-1):
    o, v = softmax(x, axis)
    return o, lambda g: v(g)[0]


@mutant(
    of="softmax",
    killed_by="test_softmax_large",
    named="NaN: an overflow (inf - inf, inf / inf, 0 *",
)
def softmax_plus_eps(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / (e.sum(axis, keepdims=True) + 1e-6), softmax(x, axis)[1]


@mutant(
    of="softmax",
    killed_by="test_softmax_large",
    named="NaN: an overflow (inf - inf, inf / inf, 0 *",
)
def softmax_nan_row(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis, keepdims=True), softmax(x, axis)[1]


@mutant(
    of="causal_mask",
    killed_by="test_causal_mask_value",
    named="the mask is inverted: True is for what may be",
)
def causal_mask_upper(nq, nk=None, window=None):
    return ~masks.causal_mask(nq, nk, window)


@mutant(
    of="causal_mask",
    killed_by="test_causal_mask_value",
    named="True and False are asked for; these are numbers",
)
def causal_mask_floats(nq, nk=None, window=None):
    return np.where(masks.causal_mask(nq, nk, window), 0.0, -np.inf)


@mutant(
    of="causal_mask",
    killed_by="test_causal_mask_value",
    named="the first query is aligned with the first key",
)
def causal_mask_aligned_left(nq, nk=None, window=None):
    nk = nk or nq
    i, j = np.arange(nq)[:, None], np.arange(nk)
    m = j <= i
    return m if window is None else m & (j > i - window)


@mutant(
    of="causal_mask",
    killed_by="test_causal_mask_window",
    named="the window is one too wide: the query itself",
)
def causal_mask_window_off(nq, nk=None, window=None):
    return masks.causal_mask(nq, nk, None if window is None else window + 1)


@mutant(of="causal_mask", killed_by="test_causal_mask_window", named="the window is one too narrow")
def causal_mask_window_less(nq, nk=None, window=None):
    return masks.causal_mask(nq, nk, None if window is None else max(window - 1, 0))


@mutant(of="causal_mask", killed_by="test_causal_mask_window", named="window is not used")
def causal_mask_no_window(nq, nk=None, window=None):
    return masks.causal_mask(nq, nk)


@mutant(
    of="causal_mask",
    killed_by="test_causal_mask_value",
    named="num_keys is not used: this is what its default, None, gives",
)
def causal_mask_square(nq, nk=None, window=None):
    return masks.causal_mask(nq, None, window)


@mutant(
    of="causal_mask",
    killed_by="test_causal_mask_value",
    named="the mask is not boolean: True where attention",
)
def causal_mask_ints(nq, nk=None, window=None):
    return masks.causal_mask(nq, nk, window).astype(int)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="the scores are divided by √(H·D); D is the size",
)
def scaled_dot_product_attention_root_of_all_heads(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    if scale is None:
        scale = 1 / (query.shape[1] * query.shape[-1]) ** 0.5
    return attention(query, key, value, mask=mask, causal=causal, window=window, scale=scale, **k)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="the scores are divided by D; it is √D",
)
def scaled_dot_product_attention_not_rooted(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query,
        key,
        value,
        mask=mask,
        causal=causal,
        window=window,
        scale=1 / query.shape[-1] if scale is None else scale,
        **k,
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="the scores are divided by the root of the",
)
def scaled_dot_product_attention_root_of_queries(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query,
        key,
        value,
        mask=mask,
        causal=causal,
        window=window,
        scale=1 / query.shape[-2] ** 0.5 if scale is None else scale,
        **k,
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="the scores are divided by √D_v, of the values",
)
def scaled_dot_product_attention_root_of_values(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query,
        key,
        value,
        mask=mask,
        causal=causal,
        window=window,
        scale=1 / value.shape[-1] ** 0.5 if scale is None else scale,
        **k,
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="scale is used the other way round, as 1/scale",
)
def scaled_dot_product_attention_divide_by_scale(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query,
        key,
        value,
        mask=mask,
        causal=causal,
        window=window,
        scale=None if scale is None else 1 / scale,
        **k,
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="the argument scale is not used",
)
def scaled_dot_product_attention_scale_ignored(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(query, key, value, mask=mask, causal=causal, window=window, **k)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="scale = 0 is taken for None",
)
def scaled_dot_product_attention_scale_zero_falsy(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query, key, value, mask=mask, causal=causal, window=window, scale=scale or None, **k
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_mask",
    named="the mask is inverted: True means that attention",
)
def scaled_dot_product_attention_mask_inverted(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query,
        key,
        value,
        mask=None if mask is None else ~mask,
        causal=causal,
        window=window,
        scale=scale,
        **k,
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_causal",
    named="the causal mask replaces the other one; they",
)
def scaled_dot_product_attention_causal_replaces_mask(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query,
        key,
        value,
        mask=None if causal else mask,
        causal=causal,
        window=window,
        scale=scale,
        **k,
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="the causal mask is always there; it is an option",
)
def scaled_dot_product_attention_always_causal(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(query, key, value, mask=mask, causal=True, window=window, scale=scale, **k)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="the queries are compared with the values; keys",
)
def scaled_dot_product_attention_values_as_keys(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    return attention(
        query,
        value if value.shape == key.shape else key,
        value,
        mask=mask,
        causal=causal,
        window=window,
        scale=scale,
        **k,
    )


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_vjp",
    named="every entry is 0.5 times what it should be",
)
def scaled_dot_product_attention_dvalue_halved(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    o, v = attention(query, key, value, mask=mask, causal=causal, window=window, scale=scale, **k)
    return o, lambda g: (v(g)[0], v(g)[1], v(g)[2] * 0.5)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_vjp",
    named="the scale is missing in the gradients of query",
)
def scaled_dot_product_attention_dquery_unscaled(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    o, v = attention(query, key, value, mask=mask, causal=causal, window=window, scale=scale, **k)
    s = 1 / query.shape[-1] ** 0.5 if scale is None else scale
    return o, lambda g: (v(g)[0] / s, v(g)[1], v(g)[2])


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_vjp",
    named="the scale is missing in the gradients of query",
)
def scaled_dot_product_attention_dkey_unscaled(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    o, v = attention(query, key, value, mask=mask, causal=causal, window=window, scale=scale, **k)
    s = 1 / query.shape[-1] ** 0.5 if scale is None else scale
    return o, lambda g: (v(g)[0], v(g)[1] / s, v(g)[2])


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_vjp",
    named="this is the gradient of key: gradients go in",
)
def scaled_dot_product_attention_gradients_swapped(
    query, key, value, mask=None, causal=False, window=None, scale=None, **k
):
    o, v = attention(query, key, value, mask=mask, causal=causal, window=window, scale=scale, **k)
    return o, lambda g: (v(g)[1], v(g)[0], v(g)[2])


@mutant(of="logsumexp", killed_by="test_logsumexp_value", named="squeeze() drops all")
def logsumexp_squeezes_everything(x, axis=-1, keepdims=False):
    out, vjp = logsumexp(x, axis, keepdims)
    return out if keepdims else out.squeeze(), vjp


@mutant(of="softmax", killed_by="test_softmax_vjp", named="is a small constant added to a divisor")
def softmax_with_a_small_constant(x, axis=-1):
    out, _ = softmax(x, axis)
    p = out * (1 - 1e-9)
    return p, lambda g: (p * (g - (g * p).sum(axis, keepdims=True)),)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_mask",
    named="a float mask hides what is below 0",
)
def scaled_dot_product_attention_float_mask_hides(
    query, key, value, mask=None, causal=False, window=None, scale=None, **unused
):
    if mask is not None and mask.dtype != bool:
        mask = mask >= 0
    return attention(query, key, value, mask, causal, window, scale)


# ---------------------------------------------------------------------------------------------
# No special cause where all is wrong; masks of the scores' own shape
# ---------------------------------------------------------------------------------------------


@mutant(of="softmax", killed_by="test_softmax_value", named="powers of 2, not of e")
def softmax_of_base_two(x, axis=-1):
    e = np.exp2(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True), softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_vjp", named="has the wrong sign: it is subtracted")
def softmax_sum_added(x, axis=-1):
    p, vjp = softmax(x, axis)
    return p, lambda g: (2 * p * g - vjp(g)[0],)


@mutant(of="causal_mask", killed_by="test_causal_mask_window", named="what is later must stay")
def causal_mask_window_alone(num_queries, num_keys=None, window=None):
    if window is None:
        return causal_mask(num_queries, num_keys)
    keys = num_queries if num_keys is None else num_keys
    return ~np.tri(num_queries, keys, keys - num_queries - window, dtype=bool)


@mutant(of="causal_mask", killed_by="test_causal_mask_window", named="from the row's number")
def causal_mask_window_by_row(num_queries, num_keys=None, window=None):
    mask = causal_mask(num_queries, num_keys)
    if window is None:
        return mask
    return mask & ~np.tri(*mask.shape, -window, dtype=bool)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_manners",
    named="mask is changed in place",
)
def scaled_dot_product_attention_writes_the_mask(
    query, key, value, mask=None, causal=False, window=None, scale=None, **unused
):
    if causal and mask is not None and mask.ndim == 4 and mask.shape[2] == query.shape[2]:
        hidden = ~causal_mask(query.shape[2], key.shape[2], window)
        mask[..., hidden] = False if mask.dtype == bool else -np.inf
    return attention(query, key, value, mask, causal, window, scale)


@mutant(of="logsumexp", killed_by="test_logsumexp_large", named="is a small number added")
def logsumexp_of_a_little_more(x, axis=-1, keepdims=False):
    top = np.maximum(x.max(axis, keepdims=True), np.finfo(x.dtype).min)
    out = np.log(np.exp(x - top).sum(axis, keepdims=True) + x.dtype.type(1e-12)) + top
    return (out if keepdims else np.squeeze(out, axis)), logsumexp(x, axis, keepdims)[1]


@mutant(of="logsumexp", killed_by="test_logsumexp_value", named="keepdims is not used")
def logsumexp_never_keeps(x, axis=-1, keepdims=False):
    out, vjp = logsumexp(x, axis, keepdims)
    return (np.squeeze(out, axis) if keepdims else out), vjp


@mutant(of="logsumexp", killed_by="test_logsumexp_vjp", named="g goes to every entry")
def logsumexp_slope_of_a_sum(x, axis=-1, keepdims=False):
    out = logsumexp(x, axis, keepdims)[0]
    return out, lambda g: (np.ones_like(x) * (g if keepdims else np.expand_dims(g, axis)),)


@mutant(of="softmax", killed_by="test_softmax_value", named="e to the power of -x")
def softmax_of_minus_x(x, axis=-1):
    return softmax(-x, axis)


@mutant(of="causal_mask", killed_by="test_causal_mask_value", named="S - T has the wrong sign")
def causal_mask_shifted_the_other_way(num_queries, num_keys=None, window=None):
    keys = num_queries if num_keys is None else num_keys
    mask = np.tri(num_queries, keys, num_queries - keys, dtype=bool)
    return mask if window is None else mask & causal_mask(num_queries, keys, window)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="axis 3 runs backwards")
def padding_mask_backwards(attention_mask):
    return padding_mask(attention_mask)[..., ::-1]


# ---------------------------------------------------------------------------------------------
# What is recognized without a list
# ---------------------------------------------------------------------------------------------


@mutant(of="softmax", killed_by="test_softmax_value", named="the signs of x are dropped first")
def softmax_of_sizes(x, axis=-1):
    return softmax(np.abs(x), axis)[0], softmax(x, axis)[1]


@mutant(of="softmax", killed_by="test_softmax_value", named="x is halved first")
def softmax_of_a_temperature(x, axis=-1):
    return softmax(x / 2, axis)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="this is p · (1 − p); g · p")
def softmax_diagonal_without_g(x, axis=-1):
    p, _ = softmax(x, axis)
    return p, lambda g: (p * (1 - p),)


@mutant(of="softmax", killed_by="test_softmax_vjp", named="p · Σ g + the term p g")
def softmax_mean_of_g(x, axis=-1):
    p, _ = softmax(x, axis)
    return p, lambda g: (p * (g - g.sum(axis, keepdims=True) / max(1, g.shape[axis])),)


@mutant(of="causal_mask", killed_by="test_causal_mask_window", named="sees the keys 3, 4, 5 places")
def causal_mask_window_hides(nq, nk=None, window=None):
    seen = causal_mask(nq, nk)
    return seen if window is None else seen & ~causal_mask(nq, nk, window)


@mutant(of="padding_mask", killed_by="test_padding_mask_value", named="axes 0 and 3 are exchanged")
def padding_mask_transposed(attention_mask):
    return padding_mask(attention_mask).T


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_value",
    named="query and key are exchanged",
)
def attention_keys_ask(query, key, value, *rest, **options):
    if query.shape != key.shape:
        return attention(query, key, value, *rest, **options)
    return attention(key, query, value, *rest, **options)


@mutant(
    of="scaled_dot_product_attention",
    killed_by="test_attention_vjp",
    named="dS is not transposed",
)
def attention_key_gradient_not_transposed(query, key, value, *rest, **options):
    out, vjp = attention(query, key, value, *rest, **options)
    if query.shape != key.shape:
        return out, vjp
    seen = attention(
        query,
        key,
        np.broadcast_to(np.eye(key.shape[-2]), (*key.shape[:-1], key.shape[-2])),
        *rest,
        **options,
    )[0]

    def turned(g):
        dp = g @ value.swapaxes(-1, -2)
        ds = seen * (dp - (seen * dp).sum(-1, keepdims=True))
        scale = options.get("scale") or query.shape[-1] ** -0.5
        return vjp(g)[0], ds @ query * scale, vjp(g)[2]

    return out, turned


@mutant(of="logsumexp", killed_by="test_logsumexp_value", named="added inside of the logarithm")
def logsumexp_maximum_inside(x, axis=-1, keepdims=False):
    top = x.max(axis, keepdims=True)
    total = np.exp(x - top).sum(axis, keepdims=True) + top
    return np.log(total if keepdims else total.squeeze(axis)), logsumexp(x, axis, keepdims)[1]


@mutant(of="logsumexp", killed_by="test_logsumexp_vjp", named="this is g · σ(x)")
def logsumexp_gradient_of_sigmoids(x, axis=-1, keepdims=False):
    out, _ = logsumexp(x, axis, keepdims)
    return out, lambda g: ((g if keepdims else np.expand_dims(g, axis)) / (1 + np.exp(-x)),)


@mutant(of="softmax", killed_by="test_softmax_value", named="this is x² / Σ x²")
def softmax_of_squares(x, axis=-1):
    return ratio(x * x, axis), softmax(x, axis)[1]
