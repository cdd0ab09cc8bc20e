"""Wrong solutions of chapter 08, each named after its mistake."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.analysis import budget
from tinyqwen.autograd import ops
from tinyqwen.course import mutant

split_heads, merge_heads, repeat_kv = F.split_heads.raw, F.merge_heads.raw, F.repeat_kv.raw
attention, softmax = F.grouped_query_attention.raw, ops.softmax.raw
cache_bytes = budget.kv_cache_bytes_per_token


# ---------------------------------------------------------------------------------------------
# split_heads
# ---------------------------------------------------------------------------------------------


@mutant(of="split_heads", killed_by="test_split_heads_value", named="mixes tokens")
def split_heads_one_reshape(x, head_dim):
    b, t, c = x.shape
    return x.reshape(b, c // head_dim, t, head_dim), split_heads(x, head_dim)[1]


@mutant(of="split_heads", killed_by="test_split_heads_value", named="exchange the axes of time")
def split_heads_without_swapaxes(x, head_dim):
    b, t, c = x.shape
    return x.reshape(b, t, c // head_dim, head_dim), split_heads(x, head_dim)[1]


@mutant(of="split_heads", killed_by="test_split_heads_value", named="every H-th feature")
def split_heads_interleaved(x, head_dim):
    b, t, c = x.shape
    out = x.reshape(b, t, head_dim, c // head_dim).transpose(0, 3, 1, 2)
    return out, split_heads(x, head_dim)[1]


@mutant(of="split_heads", killed_by="test_split_heads_value", named="not their number")
def split_heads_into_head_dim_heads(x, head_dim):
    b, t, c = x.shape
    out = x.reshape(b, t, head_dim, c // head_dim).swapaxes(1, 2)
    return out, split_heads(x, head_dim)[1]


@mutant(of="split_heads", killed_by="test_split_heads_vjp", named="are not exchanged")
def split_heads_vjp_one_reshape(x, head_dim):
    return split_heads(x, head_dim)[0], lambda g: (g.reshape(x.shape),)


@mutant(of="split_heads", killed_by="test_split_heads_vjp", named="come in turns")
def split_heads_vjp_interleaved(x, head_dim):
    return split_heads(x, head_dim)[0], lambda g: (g.transpose(0, 2, 3, 1).reshape(x.shape),)


@mutant(of="split_heads", killed_by="test_split_heads_vjp", named="must have the shape of x")
def split_heads_vjp_identity(x, head_dim):
    return split_heads(x, head_dim)[0], lambda g: (g,)


@mutant(of="split_heads", killed_by="test_split_heads_manners", named="float64 comes out")
def split_heads_copies_into_float64(x, head_dim):
    b, t, c = x.shape
    out = np.empty((b, c // head_dim, t, head_dim))
    out[...] = split_heads(x, head_dim)[0]
    return out, split_heads(x, head_dim)[1]


# ---------------------------------------------------------------------------------------------
# merge_heads
# ---------------------------------------------------------------------------------------------


@mutant(of="merge_heads", killed_by="test_merge_heads_value", named="one reshape mixes tokens")
def merge_heads_one_reshape(x):
    b, h, t, d = x.shape
    return x.reshape(b, t, h * d), merge_heads(x)[1]


@mutant(of="merge_heads", killed_by="test_merge_heads_value", named="come in turns")
def merge_heads_interleaved(x):
    b, h, t, d = x.shape
    return x.transpose(0, 2, 3, 1).reshape(b, t, h * d), merge_heads(x)[1]


@mutant(of="merge_heads", killed_by="test_merge_heads_value", named="still two axes")
def merge_heads_four_axes(x):
    return x.swapaxes(1, 2), merge_heads(x)[1]


@mutant(of="merge_heads", killed_by="test_merge_heads_value", named="the heads are added")
def merge_heads_sum(x):
    return x.sum(1), merge_heads(x)[1]


@mutant(of="merge_heads", killed_by="test_merge_heads_vjp", named="one reshape mixes tokens")
def merge_heads_vjp_one_reshape(x):
    return merge_heads(x)[0], lambda g: (g.reshape(x.shape),)


@mutant(of="merge_heads", killed_by="test_merge_heads_vjp", named="split by the number of heads")
def merge_heads_vjp_splits_by_number(x):
    return merge_heads(x)[0], lambda g: (split_heads(g, x.shape[1])[0],)


@mutant(of="merge_heads", killed_by="test_merge_heads_vjp", named="in turns")
def merge_heads_vjp_interleaved(x):
    b, h, t, d = x.shape
    return merge_heads(x)[0], lambda g: (g.reshape(b, t, d, h).transpose(0, 3, 1, 2),)


@mutant(of="merge_heads", killed_by="test_merge_heads_vjp", named="(B, T, H, D)")
def merge_heads_vjp_without_swapaxes(x):
    b, h, t, d = x.shape
    return merge_heads(x)[0], lambda g: (g.reshape(b, t, h, d),)


# ---------------------------------------------------------------------------------------------
# repeat_kv
# ---------------------------------------------------------------------------------------------


@mutant(of="repeat_kv", killed_by="test_repeat_kv_value", named="K/V heads were tiled")
def repeat_kv_tiled(x, groups):
    return np.tile(x, (1, groups, 1, 1)), repeat_kv(x, groups)[1]


@mutant(of="repeat_kv", killed_by="test_repeat_kv_value", named="the tokens are repeated")
def repeat_kv_over_time(x, groups):
    return np.repeat(x, groups, axis=2), repeat_kv(x, groups)[1]


@mutant(of="repeat_kv", killed_by="test_repeat_kv_value", named="an axis of their own")
def repeat_kv_new_axis(x, groups):
    return np.repeat(x[:, :, None], groups, axis=2), repeat_kv(x, groups)[1]


@mutant(of="repeat_kv", killed_by="test_repeat_kv_vjp", named="only one of its copies")
def repeat_kv_vjp_first_copy(x, groups):
    return repeat_kv(x, groups)[0], lambda g: (g[:, ::groups],)


@mutant(of="repeat_kv", killed_by="test_repeat_kv_vjp", named="averaged")
def repeat_kv_vjp_mean(x, groups):
    out, vjp = repeat_kv(x, groups)
    return out, lambda g: (vjp(g)[0] / groups,)


@mutant(of="repeat_kv", killed_by="test_repeat_kv_vjp", named="taken to be tiled")
def repeat_kv_vjp_tiled(x, groups):
    b, h, s, d = x.shape
    return repeat_kv(x, groups)[0], lambda g: (g.reshape(b, groups, h, s, d).sum(1),)


@mutant(of="repeat_kv", killed_by="test_repeat_kv_vjp", named="the sum over the copies is missing")
def repeat_kv_vjp_identity(x, groups):
    return repeat_kv(x, groups)[0], lambda g: (g,)


@mutant(of="repeat_kv", killed_by="test_repeat_kv_vjp", named="shape")
def repeat_kv_vjp_sums_all(x, groups):
    return repeat_kv(x, groups)[0], lambda g: (g.sum(1, keepdims=True),)


# ---------------------------------------------------------------------------------------------
# grouped_query_attention
# ---------------------------------------------------------------------------------------------


def attention_mutant(killed_by, named):
    name = f"test_grouped_query_attention_{killed_by}"
    return mutant(of="grouped_query_attention", killed_by=name, named=named)


def groups_of(query, key):
    return query.shape[1] // key.shape[1]


def tile(query, *arrays):
    return (np.tile(x, (1, query.shape[1] // x.shape[1], 1, 1)) for x in arrays)


@attention_mutant("limits", "several outputs make one tuple")
def attention_three_results(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    return out, weights, vjp


@attention_mutant("vjp", "unpack it first")
def attention_vjp_of_one_gradient(query, key, value, mask=None, dropout=0.0):
    outs, vjp = attention(query, key, value, mask)
    return outs, lambda g: (np.asarray(g) @ value.swapaxes(-1, -2), *vjp(g)[1:])


@attention_mutant("vjp", "vjp returned 2 of 3 gradients")
def attention_vjp_forgets_the_value(query, key, value, mask=None, dropout=0.0):
    outs, vjp = attention(query, key, value, mask)
    return outs, lambda g: vjp(g)[:2]


@attention_mutant("value", "K/V heads were tiled")
def kv_tiled_not_repeated(query, key, value, mask=None, dropout=0.0):
    outs = attention(query, *tile(query, key, value), mask)[0]
    return outs, attention(query, key, value, mask)[1]


@attention_mutant("value", "the values are tiled")
def values_tiled_keys_repeated(query, key, value, mask=None, dropout=0.0):
    (_, weights), vjp = attention(query, key, value, mask)
    (values,) = tile(query, value)
    return (weights @ values, weights), vjp


@attention_mutant("value", "the first key/value head")
def attention_reads_the_first_head(query, key, value, mask=None, dropout=0.0):
    outs = attention(query, key[:, :1], value[:, :1], mask)[0]
    return outs, attention(query, key, value, mask)[1]


@attention_mutant("value", "averaged")
def attention_means_the_heads(query, key, value, mask=None, dropout=0.0):
    means = key.mean(1, keepdims=True), value.mean(1, keepdims=True)
    return attention(query, *means, mask)[0], attention(query, key, value, mask)[1]


@attention_mutant("value", "not divided by √D")
def attention_unscaled(query, key, value, mask=None, dropout=0.0):
    outs = attention(query * query.shape[3] ** 0.5, key, value, mask)[0]
    return outs, attention(query, key, value, mask)[1]


@attention_mutant("value", "still folded")
def attention_weights_folded(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    b, kv, s, _ = key.shape
    return (out, weights.reshape(b, kv, -1, s)), vjp


@attention_mutant("value", "1 results; 2 were expected")
def attention_without_weights(query, key, value, mask=None, dropout=0.0):
    (out, _), vjp = attention(query, key, value, mask)
    return out, vjp


@attention_mutant("mask", "the mask of one head meets the scores of another")
def attention_mask_folded_wrongly(query, key, value, mask=None, dropout=0.0):
    if mask is not None:
        b, h, t, _ = query.shape
        kv, groups, s = key.shape[1], groups_of(query, key), key.shape[2]
        rows = np.broadcast_to(mask, (b, h, t, s)).reshape(b, kv, groups, t, s)
        mask = rows.swapaxes(2, 3).reshape(b, h, t, s)
    return attention(query, key, value, mask)


@attention_mutant("mask", "the mask is inverted")
def attention_mask_inverted(query, key, value, mask=None, dropout=0.0):
    inverted = ~mask if mask is not None and mask.dtype == bool else mask
    return attention(query, key, value, inverted)[0], attention(query, key, value, mask)[1]


@attention_mutant("mask", "taken as True and False")
def attention_float_mask_as_boolean(query, key, value, mask=None, dropout=0.0):
    return attention(query, key, value, None if mask is None else mask.astype(bool))


@attention_mutant("mask", "takes the mean of all values")
def attention_fills_with_a_large_number(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    if mask is not None and mask.dtype == bool:
        see = np.broadcast_to(mask, weights.shape).any(-1, keepdims=True)
        weights = np.where(see, weights, weights.dtype.type(1 / weights.shape[-1]))
        out = weights @ np.repeat(value, groups_of(query, key), axis=1)
    return (out, weights), vjp


@attention_mutant("limits", "not the same as giving each query head a copy")
def attention_mqa_shares_the_softmax(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    if key.shape[1] == 1:
        weights = np.broadcast_to(weights.mean(1, keepdims=True), weights.shape)
        out = weights @ value
    return (out, weights), vjp


def with_gradients(query, key, value, mask, change):
    """The right output, and what `change` makes of (dquery, dkey, dvalue) for repeated heads."""
    outs, vjp = attention(query, key, value, mask)
    groups = groups_of(query, key)
    copies = np.repeat(key, groups, axis=1), np.repeat(value, groups, axis=1)
    copies_vjp = attention(query, *copies, mask)[1]
    return outs, lambda g: change(vjp(g), copies_vjp(g), key.shape[1], groups)


@attention_mutant("vjp", "one of its copies")
def attention_vjp_first_copy(query, key, value, mask=None, dropout=0.0):
    def change(right, copies, kv, groups):
        return right[0], copies[1][:, ::groups], copies[2][:, ::groups]

    return with_gradients(query, key, value, mask, change)


@attention_mutant("vjp", "averaged")
def attention_vjp_mean_of_copies(query, key, value, mask=None, dropout=0.0):
    def change(right, copies, kv, groups):
        return right[0], right[1] / groups, right[2] / groups

    return with_gradients(query, key, value, mask, change)


@attention_mutant("vjp", "taken to be tiled")
def attention_vjp_sums_as_if_tiled(query, key, value, mask=None, dropout=0.0):
    def change(right, copies, kv, groups):
        dkey = copies[1].reshape(key.shape[0], groups, kv, *key.shape[2:]).sum(1)
        return right[0], dkey, right[2]

    return with_gradients(query, key, value, mask, change)


@attention_mutant("vjp", "dweights is not used")
def attention_vjp_without_dweights(query, key, value, mask=None, dropout=0.0):
    outs, vjp = attention(query, key, value, mask)
    return outs, lambda g: vjp((g[0], np.zeros_like(g[1])))


@attention_mutant("vjp", "the scale is missing")
def attention_vjp_unscaled(query, key, value, mask=None, dropout=0.0):
    outs, vjp = attention(query, key, value, mask)

    def unscaled(g):
        dquery, dkey, dvalue = vjp(g)
        return dquery, dkey * query.dtype.type(query.shape[3] ** 0.5), dvalue

    return outs, unscaled


@attention_mutant("vjp", "lacks its sum")
def attention_vjp_softmax_without_sum(query, key, value, mask=None, dropout=0.0):
    (out, p), vjp = attention(query, key, value, mask)
    groups = groups_of(query, key)
    keys, values = (np.repeat(x, groups, axis=1) for x in (key, value))

    def no_sum(g):
        dscores = p * (g[0] @ values.swapaxes(-1, -2) + g[1]) * query.shape[3] ** -0.5
        (dkey,) = repeat_kv(key, groups)[1](dscores.swapaxes(-1, -2) @ query)
        return dscores @ keys, dkey, vjp(g)[2]

    return (out, p), no_sum


@attention_mutant("manners", "query is changed in place")
def attention_scales_query_in_place(query, key, value, mask=None, dropout=0.0):
    outs, vjp = attention(query.copy(), key, value, mask)
    query /= query.shape[3] ** 0.5
    return outs, vjp


@attention_mutant("manners", "float64 comes out")
def attention_scale_is_a_float64(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    return (out * np.float64(1), weights), vjp


# ---------------------------------------------------------------------------------------------
# kv_cache_bytes_per_token
# ---------------------------------------------------------------------------------------------


def cache_mutant(killed_by, named):
    name = f"test_kv_cache_bytes_per_token_{killed_by}"
    return mutant(of="kv_cache_bytes_per_token", killed_by=name, named=named)


@cache_mutant("value", "the factor 2 is missing")
def cache_keys_only(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, num_key_value_heads, bytes_per_number) // 2


@cache_mutant("value", "the query heads are counted")
def cache_of_query_heads(config, num_key_value_heads=None, bytes_per_number=4):
    heads = num_key_value_heads or config["num_attention_heads"]
    return cache_bytes(config, heads, bytes_per_number)


@cache_mutant("value", "the number of layers is missing")
def cache_of_one_layer(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes({**config, "num_hidden_layers": 1}, num_key_value_heads, bytes_per_number)


@cache_mutant("value", "head_dim is not used")
def cache_ignores_head_dim(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes({**config, "head_dim": None}, num_key_value_heads, bytes_per_number)


@cache_mutant("defaults", "of D = hidden_size / num_attention_heads")
def cache_divides_by_kv_heads(config, num_key_value_heads=None, bytes_per_number=4):
    own = config.get("num_key_value_heads") or config["num_attention_heads"]
    depth = config.get("head_dim") or config["hidden_size"] // own
    return cache_bytes({**config, "head_dim": depth}, num_key_value_heads, bytes_per_number)


@cache_mutant("defaults", "KeyError")
def cache_wants_every_field(config, num_key_value_heads=None, bytes_per_number=4):
    heads = num_key_value_heads or config["num_key_value_heads"]
    depth = config["head_dim"] or config["hidden_size"] // config["num_attention_heads"]
    heads = heads or config["num_attention_heads"]
    return 2 * config["num_hidden_layers"] * heads * depth * bytes_per_number


@cache_mutant("options", "num_key_value_heads is not used")
def cache_ignores_the_argument(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, None, bytes_per_number)


@cache_mutant("options", "bytes_per_number is not used")
def cache_of_float32(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, num_key_value_heads)


# ---------------------------------------------------------------------------------------------
# mean_pooled_heads
# ---------------------------------------------------------------------------------------------


def by_heads(weight, head_dim, *split):
    return weight.reshape(*split, head_dim, weight.shape[1])


@mutant(of="mean_pooled_heads", killed_by="test_mean_pooled_heads_value", named="side by side")
def mean_pooled_heads_apart(weight, head_dim, groups):
    return by_heads(weight, head_dim, groups, -1).mean(0).reshape(-1, weight.shape[1])


@mutant(of="mean_pooled_heads", killed_by="test_mean_pooled_heads_value", named="within a head")
def mean_pooled_heads_of_rows(weight, head_dim, groups):
    return weight.reshape(-1, groups, weight.shape[1]).mean(1)


@mutant(of="mean_pooled_heads", killed_by="test_mean_pooled_heads_value", named="are added")
def mean_pooled_heads_sum(weight, head_dim, groups):
    return by_heads(weight, head_dim, -1, groups).sum(1).reshape(-1, weight.shape[1])


@mutant(of="mean_pooled_heads", killed_by="test_mean_pooled_heads_value", named="only the first")
def mean_pooled_heads_first(weight, head_dim, groups):
    return by_heads(weight, head_dim, -1, groups)[:, 0].reshape(-1, weight.shape[1])


@mutant(of="mean_pooled_heads", killed_by="test_mean_pooled_heads_value", named="that are left")
def mean_pooled_heads_groups_left(weight, head_dim, groups):
    return by_heads(weight, head_dim, groups, -1).mean(1).reshape(-1, weight.shape[1])


@mutant(of="mean_pooled_heads", killed_by="test_mean_pooled_heads_value", named="must become fewer")
def mean_pooled_heads_repeated(weight, head_dim, groups):
    pooled = by_heads(weight, head_dim, -1, groups).mean(1)
    return np.repeat(pooled, groups, 0).reshape(-1, weight.shape[1])


@mutant(of="mean_pooled_heads", killed_by="test_mean_pooled_heads_manners", named="float64 comes")
def mean_pooled_heads_in_float64(weight, head_dim, groups):
    total = by_heads(weight, head_dim, -1, groups).sum(1).reshape(-1, weight.shape[1])
    return total / np.float64(groups)


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


def attended(query, key, value, mask=None, scale=None):
    scores = query @ np.swapaxes(key, -1, -2)
    scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return softmax(scores)[0] @ value


def repeated(x, query):
    return np.repeat(x, query.shape[1] // x.shape[1], 1)


@mutant(
    of="split_heads",
    killed_by="test_split_heads_value",
    named="one reshape to (B, H, T, D) mixes tokens: cut",
)
def split_heads_reshape_only(x, head_dim):
    B, T, C = x.shape
    return x.reshape(B, C // head_dim, T, head_dim), lambda g: (g.reshape(x.shape),)


@mutant(
    of="split_heads",
    killed_by="test_split_heads_value",
    named="the reshape is right; exchange the axes of time",
)
def split_heads_no_swap(x, head_dim):
    B, T, C = x.shape
    return x.reshape(B, T, C // head_dim, head_dim), lambda g: (g.reshape(x.shape),)


@mutant(
    of="split_heads",
    killed_by="test_split_heads_value",
    named="head_dim is the size of a head, not their number",
)
def split_heads_dim_as_count(x, head_dim):
    B, T, _C = x.shape
    return x.reshape(B, T, head_dim, -1).transpose(0, 2, 1, 3), split_heads(x, head_dim)[1]


@mutant(
    of="split_heads",
    killed_by="test_split_heads_vjp",
    named="the gradient is reshaped, and its axes of heads",
)
def split_heads_vjp_reshape(x, head_dim):
    return split_heads(x, head_dim)[0], lambda g: (g.reshape(x.shape),)


@mutant(
    of="split_heads",
    killed_by="test_split_heads_vjp",
    named="the gradient is returned as it came: it must",
)
def split_heads_vjp_g(x, head_dim):
    return split_heads(x, head_dim)[0], lambda g: (g,)


@mutant(
    of="split_heads",
    killed_by="test_split_heads_vjp",
    named="the right numbers in the wrong places: look at",
)
def split_heads_vjp_of_first_copies(x, head_dim):
    return split_heads(x, head_dim)[0], lambda g: (g.transpose(0, 3, 2, 1).reshape(x.shape),)


@mutant(
    of="merge_heads",
    killed_by="test_merge_heads_value",
    named="one reshape mixes tokens: exchange the axes of",
)
def merge_heads_reshape_only(x):
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D), lambda g: (g.reshape(x.shape),)


@mutant(
    of="merge_heads",
    killed_by="test_merge_heads_value",
    named="the features come in turns, head 0, 1, 2, 0 …",
)
def merge_heads_all_T(x):
    B, H, T, D = x.shape
    return x.transpose(0, 2, 3, 1).reshape(B, T, H * D), merge_heads(x)[1]


@mutant(
    of="merge_heads",
    killed_by="test_merge_heads_value",
    named="the heads are averaged",
)
def merge_heads_mean(x):
    return x.mean(1), merge_heads(x)[1]


@mutant(
    of="merge_heads",
    killed_by="test_merge_heads_vjp",
    named="one reshape mixes tokens: cut the features",
)
def merge_heads_vjp(x):
    return merge_heads(x)[0], lambda g: (g.reshape(x.shape),)


@mutant(
    of="merge_heads",
    killed_by="test_merge_heads_value",
    named="the last head comes first",
)
def merge_heads_reversed(x):
    return merge_heads(x[:, ::-1])[0], merge_heads(x)[1]


@mutant(
    of="repeat_kv",
    killed_by="test_repeat_kv_value",
    named="K/V heads were tiled, 0 1 0 1; they must be",
)
def repeat_kv_tile(x, groups):
    return np.tile(x, (1, groups, 1, 1)), repeat_kv(x, groups)[1]


@mutant(
    of="repeat_kv", killed_by="test_repeat_kv_value", named="it has 1 axes, where 4 are asked for"
)
def repeat_kv_no_axis(x, groups):
    return np.repeat(x, groups), repeat_kv(x, groups)[1]


@mutant(
    of="repeat_kv",
    killed_by="test_repeat_kv_value",
    named="the batch is repeated; the heads are axis 1",
)
def repeat_kv_axis0(x, groups):
    return np.repeat(x, groups, 0), repeat_kv(x, groups)[1]


@mutant(
    of="repeat_kv",
    killed_by="test_repeat_kv_value",
    named="the tokens are repeated; the heads are axis 1",
)
def repeat_kv_axis2(x, groups):
    return np.repeat(x, groups, 2), repeat_kv(x, groups)[1]


@mutant(
    of="repeat_kv", killed_by="test_repeat_kv_vjp", named="only one of its copies gives a head its"
)
def repeat_kv_vjp_first(x, groups):
    return repeat_kv(x, groups)[0], lambda g: (g[:, ::groups],)


@mutant(
    of="repeat_kv",
    killed_by="test_repeat_kv_vjp",
    named="the copies are taken to be tiled, 0 1 0 1; they",
)
def repeat_kv_vjp_tile(x, groups):
    B, H, T, D = x.shape
    return repeat_kv(x, groups)[0], lambda g: (g.reshape(B, groups, H, T, D).sum(1),)


@mutant(
    of="repeat_kv",
    killed_by="test_repeat_kv_value",
    named="taken for the number of heads in the end",
)
def repeat_kv_heads_meant(x, groups):
    return repeat_kv(x, max(1, groups // x.shape[1]))


@mutant(
    of="repeat_kv",
    killed_by="test_repeat_kv_value",
    named="every entry is 0.5 times what it should be",
)
def repeat_kv_wrong_scaled(x, groups):
    o, v = repeat_kv(x, groups)
    return o / groups, v


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_mask",
    named="the mask is not used",
)
def grouped_query_attention_mask_off(query, key, value, mask=None, dropout=0.0):
    return attention(query, key, value, None)


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_vjp",
    named="the gradients of the copies are averaged; they",
)
def grouped_query_attention_dk_mean(query, key, value, mask=None, dropout=0.0):
    o, v = attention(query, key, value, mask)
    n = query.shape[1] // key.shape[1]
    return o, lambda g: (lambda r: (r[0], r[1] / n, r[2] / n))(v(g))


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_vjp",
    named="axis 1 has the length 6, where 3 is asked for",
)
def grouped_query_attention_dv_not_summed(query, key, value, mask=None, dropout=0.0):
    o, v = attention(query, key, value, mask)
    n = query.shape[1] // key.shape[1]
    return o, lambda g: (lambda r: (r[0], np.repeat(r[1], n, 1), np.repeat(r[2], n, 1)))(v(g))


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_vjp",
    named="this is the gradient of key: gradients go in",
)
def grouped_query_attention_order(query, key, value, mask=None, dropout=0.0):
    o, v = attention(query, key, value, mask)
    return o, lambda g: (lambda r: (r[1], r[0], r[2]))(v(g))


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_value",
    named="keys and values are two: the factor 2 is missing",
)
def kv_cache_bytes_per_token_no_two(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, num_key_value_heads, bytes_per_number) // 2


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_value",
    named="the query heads are counted; the cache holds",
)
def kv_cache_bytes_per_token_query_heads(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(
        config, num_key_value_heads or config["num_attention_heads"], bytes_per_number
    )


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_value",
    named="these are numbers; bytes are asked for",
)
def kv_cache_bytes_per_token_numbers(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, num_key_value_heads, 1)


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_options",
    named="the argument bytes_per_number is not used",
)
def kv_cache_bytes_per_token_four(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, num_key_value_heads)


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_value",
    named="every layer has its own cache: the number of",
)
def kv_cache_bytes_per_token_one_layer(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, num_key_value_heads, bytes_per_number) // config["num_hidden_layers"]


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_value",
    named="the query heads are counted; the cache holds",
)
def kv_cache_bytes_per_token_h(config, num_key_value_heads=None, bytes_per_number=4):
    return 2 * config["num_hidden_layers"] * config["hidden_size"] * bytes_per_number


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_options",
    named="the argument num_key_value_heads is not used",
)
def kv_cache_bytes_per_token_argument_ignored(config, num_key_value_heads=None, bytes_per_number=4):
    return cache_bytes(config, None, bytes_per_number)


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_defaults",
    named="something is None here: an optional argument",
)
def kv_cache_bytes_per_token_head_dim_none(config, num_key_value_heads=None, bytes_per_number=4):
    return (
        2
        * config["num_hidden_layers"]
        * (num_key_value_heads or config["num_key_value_heads"])
        * config["head_dim"]
        * bytes_per_number
    )


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_defaults",
    named="something is None here: an optional argument",
)
def kv_cache_bytes_per_token_get_default(config, num_key_value_heads=None, bytes_per_number=4):
    return (
        2
        * config["num_hidden_layers"]
        * (num_key_value_heads or config.get("num_key_value_heads", config["num_attention_heads"]))
        * (config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
        * bytes_per_number
    )


@mutant(of="repeat_kv", killed_by="test_repeat_kv_value", named="np.repeat without axis")
def repeat_kv_without_axis(x, groups):
    b, h, s, d = x.shape
    return np.repeat(x, groups).reshape(b, h * groups, s, d), repeat_kv(x, groups)[1]


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_value",
    named="D is the size of one head",
)
def grouped_query_attention_root_of_all(query, key, value, mask=None, dropout=0.0):
    return attention(query * query.shape[1] ** -0.5, key, value, mask)


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_value",
    named="this is weights; the order is out, weights",
)
def grouped_query_attention_results_exchanged(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    return (weights, out), lambda g: vjp(g[::-1])


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_vjp",
    named="it belongs to dP, before it",
)
def grouped_query_attention_dweights_behind(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    groups = query.shape[1] // key.shape[1]
    k = np.repeat(key, groups, axis=1)

    def wrong(g):
        dq, dk, dv = vjp((g[0], np.zeros_like(g[1])))
        ds = g[1] * query.shape[-1] ** -0.5
        more = (ds.swapaxes(-1, -2) @ query).reshape(*key.shape[:2], groups, *key.shape[2:])
        return dq + ds @ k, dk + more.sum(2), dv

    return (out, weights), wrong


# ---------------------------------------------------------------------------------------------
# More of what students write
# ---------------------------------------------------------------------------------------------


def scaled_by(factor, query, key, value, mask):
    """attention whose queries were multiplied by a factor before: another scale in the scores."""
    return attention(query * query.dtype.type(factor), key, value, mask)


@attention_mutant("value", "the root of the values' size")
def attention_scale_of_the_values(query, key, value, mask=None, dropout=0.0):
    return scaled_by((query.shape[-1] / value.shape[-1]) ** 0.5, query, key, value, mask)


@attention_mutant("value", "√(D · groups)")
def attention_scale_of_a_group(query, key, value, mask=None, dropout=0.0):
    return scaled_by(groups_of(query, key) ** -0.5, query, key, value, mask)


@attention_mutant("value", "multiplied by √D; they are divided")
def attention_multiplied_by_the_root(query, key, value, mask=None, dropout=0.0):
    return scaled_by(query.shape[-1], query, key, value, mask)


@attention_mutant("value", "nobody has asked for a mask")
def attention_always_causal(query, key, value, mask=None, dropout=0.0):
    see = np.arange(key.shape[2]) <= np.arange(query.shape[2])[:, None]
    return attention(query, key, value, see if mask is None else mask)


@attention_mutant("value", "averaged over the heads of a group")
def attention_weights_of_a_group(query, key, value, mask=None, dropout=0.0):
    (out, weights), vjp = attention(query, key, value, mask)
    groups = groups_of(query, key)
    mean = sum(weights[:, i::groups] for i in range(groups)) / groups
    return (out, mean), vjp


@attention_mutant("value", "over all heads together")
def attention_one_softmax_for_all_heads(query, key, value, mask=None, dropout=0.0):
    vjp = attention(query, key, value, mask)[1]
    scores = query @ np.repeat(key, groups_of(query, key), 1).swapaxes(2, 3)
    shares = np.exp(scores / query.shape[-1] ** 0.5)
    weights = shares / shares.sum((1, 3), keepdims=True)
    return (weights @ np.repeat(value, groups_of(query, key), 1), weights), vjp


@attention_mutant("mask", "a float mask is not used")
def attention_float_mask_ignored(query, key, value, mask=None, dropout=0.0):
    boolean = mask is not None and mask.dtype == bool
    return attention(query, key, value, mask if boolean else None)


@attention_mutant("mask", "the score becomes 0")
def attention_masked_scores_zero(query, key, value, mask=None, dropout=0.0):
    if mask is None or mask.dtype != bool:
        return attention(query, key, value, mask)
    vjp = attention(query, key, value, mask)[1]
    keys, values = (np.repeat(x, groups_of(query, key), 1) for x in (key, value))
    scores = mask * (query @ keys.swapaxes(2, 3)) / query.shape[-1] ** 0.5
    weights = softmax(scores)[0]
    return (weights @ values, weights), vjp


@attention_mutant("limits", "subtract the largest score")
def attention_overflows(query, key, value, mask=None, dropout=0.0):
    vjp = attention(query, key, value, mask)[1]
    keys, values = (np.repeat(x, groups_of(query, key), 1) for x in (key, value))
    scores = query @ keys.swapaxes(2, 3) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    shares = np.exp(scores)
    total = shares.sum(-1, keepdims=True)
    weights = (shares / np.where(total == 0, 1, total)).astype(query.dtype)
    return (weights @ values, weights), vjp


@attention_mutant("mask", "has scores of -inf alone")
def attention_blind_rows_are_nan(query, key, value, mask=None, dropout=0.0):
    (_, weights), vjp = attention(query, key, value, mask)
    weights = np.where(weights.sum(-1, keepdims=True) == 0, weights.dtype.type(np.nan), weights)
    return (weights @ np.repeat(value, groups_of(query, key), 1), weights), vjp


@attention_mutant("manners", "mask is changed in place")
def attention_edits_a_float_mask(query, key, value, mask=None, dropout=0.0):
    result = attention(query, key, value, mask)
    if mask is not None and mask.dtype != bool:
        mask[mask == 0] = -1.0
    return result


def with_softmax_gradient(query, key, value, mask, of_scores):
    """The right output; on the way back, of_scores(weights, dweights) is dscores."""
    outs, _ = attention(query, key, value, mask)
    groups, root = groups_of(query, key), query.shape[-1] ** 0.5
    keys, values = (np.repeat(x, groups, 1) for x in (key, value))

    def add_up(x):
        return sum(x[:, i::groups] for i in range(groups))

    def vjp(g):
        ds = of_scores(outs[1], g[0] @ values.swapaxes(2, 3) + g[1]) / root
        dv = add_up(outs[1].swapaxes(2, 3) @ g[0])
        return ds @ keys, add_up(ds.swapaxes(2, 3) @ query), dv

    return outs, vjp


@attention_mutant("vjp", "p (1 - p) g here")
def attention_vjp_softmax_diagonal(query, key, value, mask=None, dropout=0.0):
    return with_softmax_gradient(query, key, value, mask, lambda p, d: (p - p * p) * d)


@attention_mutant("vjp", "takes a mean where its sum")
def attention_vjp_softmax_mean(query, key, value, mask=None, dropout=0.0):
    def wrong(p, d):
        return p * d - p * np.average(p * d, axis=-1)[..., None]

    return with_softmax_gradient(query, key, value, mask, wrong)


@attention_mutant("vjp", "subtracts the mean of g")
def attention_vjp_softmax_centered(query, key, value, mask=None, dropout=0.0):
    def wrong(p, d):
        return p * (d - np.average(d, axis=-1)[..., None])

    return with_softmax_gradient(query, key, value, mask, wrong)


@attention_mutant("vjp", "every value gets the sum of g")
def attention_vjp_value_unweighted(query, key, value, mask=None, dropout=0.0):
    outs, vjp = attention(query, key, value, mask)
    groups = groups_of(query, key)

    def wrong(g):
        total = g[0].sum(2, keepdims=True)
        shared = sum(total[:, i::groups] for i in range(groups))
        return (*vjp(g)[:2], np.broadcast_to(shared, value.shape))

    return outs, wrong


@attention_mutant("vjp", "the weights are not transposed")
def attention_vjp_value_untransposed(query, key, value, mask=None, dropout=0.0):
    outs, vjp = attention(query, key, value, mask)
    if query.shape[2] != key.shape[2]:
        return outs, vjp
    groups = groups_of(query, key)

    def wrong(g):
        each = np.einsum("bhts,bhsd->bhtd", outs[1], g[0])
        return (*vjp(g)[:2], sum(each[:, i::groups] for i in range(groups)))

    return outs, wrong


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_options",
    named="the config is changed in place",
)
def cache_bytes_edits_the_config(config, num_key_value_heads=None, bytes_per_number=4):
    if num_key_value_heads is not None:
        config["num_key_value_heads"] = num_key_value_heads
    return budget.kv_cache_bytes_per_token(config, bytes_per_number=bytes_per_number)


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_defaults",
    named="get(name, default) gives None then",
)
def cache_bytes_get_with_a_default(config, num_key_value_heads=None, bytes_per_number=4):
    heads = config.get("num_key_value_heads", config["num_attention_heads"])
    depth = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    return (
        2 * config["num_hidden_layers"] * (num_key_value_heads or heads) * depth * bytes_per_number
    )


@mutant(of="split_heads", killed_by="test_split_heads_value", named="the batch comes first")
def split_heads_before_the_batch(x, head_dim):
    out, vjp = split_heads(x, head_dim)
    return out.swapaxes(0, 1), lambda g: vjp(g.swapaxes(0, 1))


@mutant(of="merge_heads", killed_by="test_merge_heads_value", named="one behind the other in time")
def merge_heads_in_time(x):
    return x.reshape(len(x), -1, x.shape[-1]), lambda g: (g.reshape(x.shape),)


@mutant(of="repeat_kv", killed_by="test_repeat_kv_vjp", named="those of its own copies")
def repeat_kv_vjp_of_all_heads(x, groups):
    out, _ = repeat_kv(x, groups)
    return out, lambda g: (np.repeat(g.sum(1, keepdims=True), x.shape[1], 1),)


@mutant(
    of="grouped_query_attention",
    killed_by="test_grouped_query_attention_value",
    named="divided by √S, of the number of keys",
)
def grouped_query_attention_root_of_keys(query, key, value, mask=None, dropout=0.0):
    factor = (query.shape[-1] / key.shape[2]) ** 0.5
    return attention(query * query.dtype.type(factor), key, value, mask)


@mutant(
    of="kv_cache_bytes_per_token",
    killed_by="test_kv_cache_bytes_per_token_options",
    named="a factor beside it",
)
def kv_cache_of_both_heads(config, num_key_value_heads=None, bytes_per_number=4):
    own = cache_bytes(config, bytes_per_number=bytes_per_number)
    return own * (num_key_value_heads or 1)
