"""Wrong solutions of chapter 16, each named after its mistake."""

import math
import re

import numpy as np

from tinyqwen import functional as F
from tinyqwen.course import mutant, reference

gelu_new, add_positions, qk_norm = F.gelu_new.raw, F.add_positions.raw, F.qk_norm.raw
fine_tuning_loss, rms_norm = F.fine_tuning_loss.raw, F.rms_norm.raw
yarn_scale, dynamic_theta = reference("yarn_scale"), reference("dynamic_theta")
conv1d_to_linear = reference("conv1d_to_linear")

ROOT, CUBE = math.sqrt(2 / math.pi), 0.044715


# ---------------------------------------------------------------------------------------------
# gelu_new
# ---------------------------------------------------------------------------------------------


def inner(x):
    return ROOT * (x + CUBE * x**3)


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="chapter 04's GELU")
def gelu_new_exact(x):
    return F.gelu.raw(x)


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="multiplies the bracket")
def gelu_new_root_on_x_alone(x):
    return 0.5 * x * (1 + np.tanh(ROOT * x + CUBE * x**3)), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="it is x² here")
def gelu_new_square(x):
    return 0.5 * x * (1 + np.tanh(ROOT * (x + CUBE * x**2))), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="its root is asked for")
def gelu_new_without_root(x):
    return 0.5 * x * (1 + np.tanh(2 / math.pi * (x + CUBE * x**3))), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="the half is missing")
def gelu_new_twice(x):
    return x * (1 + np.tanh(inner(x))), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="another approximation")
def gelu_new_sigmoid(x):
    return x / (1 + np.exp(-1.702 * x)), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_large", named="tanh written with exponentials")
def gelu_new_own_tanh(x):
    with np.errstate(all="ignore"):
        up, down = np.exp(inner(x)), np.exp(-inner(x))
        return 0.5 * x * (1 + (up - down) / (up + down)), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_large", named="tanh written with exponentials")
def gelu_new_vjp_with_overflow(x):
    def vjp(g):
        with np.errstate(all="ignore"):
            e = np.exp(2 * inner(x))
            slope = 4 * e / (1 + e) ** 2
        u = ROOT * (1 + 3 * CUBE * x * x)
        return (g * (0.5 * (1 + np.tanh(inner(x))) + 0.5 * x * slope * u),)

    return gelu_new(x)[0], vjp


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="second term, x Φ', is missing")
def gelu_new_vjp_first_term_only(x):
    return gelu_new(x)[0], lambda g: (g * 0.5 * (1 + np.tanh(inner(x))),)


def chained(x, slope, half=0.5):
    t = np.tanh(inner(x))
    return 0.5 * (1 + t) + x * half * (1 - t * t) * slope


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="the factor u' is missing")
def gelu_new_vjp_stops_at_tanh(x):
    return gelu_new(x)[0], lambda g: (g * chained(x, 1.0),)


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="x³ has a slope, too")
def gelu_new_vjp_constant_inner_slope(x):
    return gelu_new(x)[0], lambda g: (g * chained(x, ROOT),)


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="the 3 is missing")
def gelu_new_vjp_without_three(x):
    return gelu_new(x)[0], lambda g: (g * chained(x, ROOT * (1 + CUBE * x * x)),)


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="the half is missing in Φ'")
def gelu_new_vjp_without_half(x):
    return gelu_new(x)[0], lambda g: (g * chained(x, ROOT * (1 + 3 * CUBE * x * x), 1.0),)


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="the square is missing")
def gelu_new_vjp_tanh_not_squared(x):
    t = np.tanh(inner(x))
    slope = 0.5 * (1 + t) + 0.5 * x * (1 - t) * ROOT * (1 + 3 * CUBE * x * x)
    return gelu_new(x)[0], lambda g: (g * slope,)


@mutant(of="gelu_new", killed_by="test_gelu_new_manners", named="float64")
def gelu_new_float64_constant(x):
    out, vjp = gelu_new(x.astype(np.float64))
    return out, lambda g: (vjp(g)[0].astype(x.dtype),)


@mutant(of="gelu_new", killed_by="test_gelu_new_manners", named="x is changed in place")
def gelu_new_edits_x(x):
    out, vjp = gelu_new(x.copy())
    x *= 0.5
    return out, vjp


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="it is of x, and √(2/π)")
def gelu_new_cube_of_the_product(x):
    return 0.5 * x * (1 + np.tanh(ROOT * x + CUBE * (ROOT * x) ** 3)), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="the cube is subtracted")
def gelu_new_minus_cube(x):
    return 0.5 * x * (1 + np.tanh(ROOT * (x - CUBE * x**3))), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="the root of a product")
def gelu_new_root_of_product(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 * math.pi) * (x + CUBE * x**3))), gelu_new(x)[1]


@mutant(of="gelu_new", killed_by="test_gelu_new_value", named="which belongs to erf")
def gelu_new_root_of_erf(x):
    return 0.5 * x * (1 + np.tanh((x + CUBE * x**3) / math.sqrt(2))), gelu_new(x)[1]


def gelu_new_slope(second):
    """x's GELU, with Φ + second(x) for a slope."""

    def wrong(x):
        slope = 0.5 * (1 + np.tanh(inner(x))) + second(x)
        return gelu_new(x)[0], lambda g: (g * slope,)

    return wrong


def bend(x):
    return ROOT * (1 + 3 * CUBE * x * x)


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="its x is missing")
def gelu_new_vjp_without_x(x):
    return gelu_new_slope(lambda x: 0.5 * (1 - np.tanh(inner(x)) ** 2) * bend(x))(x)


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="is taken at x")
def gelu_new_vjp_tanh_of_x(x):
    return gelu_new_slope(lambda x: 0.5 * x * (1 - np.tanh(x) ** 2) * bend(x))(x)


@mutant(of="gelu_new", killed_by="test_gelu_new_vjp", named="the bell curve's height")
def gelu_new_vjp_bell(x):
    return gelu_new_slope(lambda x: x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi))(x)


# ---------------------------------------------------------------------------------------------
# add_positions
# ---------------------------------------------------------------------------------------------


def with_dweight(x, weight, position_ids, dweight):
    """The reference with another gradient of the table: dweight(g, ids of every token)."""
    ids = np.broadcast_to(position_ids, x.shape[:2])
    return add_positions(x, weight, position_ids)[0], lambda g: (g, dweight(g, ids))


@mutant(of="add_positions", killed_by="test_add_positions_value", named="positions are counted")
def positions_counted(x, weight, position_ids):
    return x + weight[: x.shape[1]], add_positions(x, weight, position_ids)[1]


@mutant(of="add_positions", killed_by="test_add_positions_value", named="the rows alone")
def positions_instead_of_tokens(x, weight, position_ids):
    out, vjp = add_positions(0 * x, weight, position_ids)
    return out, vjp


@mutant(
    of="add_positions", killed_by="test_add_positions_value", named="the positions of the first"
)
def positions_of_the_first_text(x, weight, position_ids):
    first = position_ids[:1] if position_ids.ndim == 2 else position_ids
    return add_positions(x, weight, first)[0], add_positions(x, weight, position_ids)[1]


@mutant(of="add_positions", killed_by="test_add_positions_value", named="scaled by √C")
def positions_beside_scaled_tokens(x, weight, position_ids):
    scaled = x * math.sqrt(x.shape[-1])
    return add_positions(scaled, weight, position_ids)[0], add_positions(x, weight, position_ids)[1]


@mutant(of="add_positions", killed_by="test_add_positions_outside", named="counts from the end")
def positions_from_the_end(x, weight, position_ids):
    wrapped = np.where(position_ids < 0, position_ids + len(weight), position_ids)
    return add_positions(x, weight, wrapped)


@mutant(of="add_positions", killed_by="test_add_positions_outside", named="none came")
def positions_clipped(x, weight, position_ids):
    return add_positions(x, weight, np.clip(position_ids, 0, len(weight) - 1))


@mutant(of="add_positions", killed_by="test_add_positions_outside", named="IndexError")
def positions_raise_index_error(x, weight, position_ids):
    if np.any(position_ids < 0):
        raise ValueError("a negative position")
    return x + weight[position_ids], add_positions(x, weight, position_ids)[1]


@mutant(of="add_positions", killed_by="test_add_positions_vjp", named="one overwrites the others")
def positions_scatter_assign(x, weight, position_ids):
    def dweight(g, ids):
        out = np.zeros_like(weight)
        out[ids] = g
        return out

    return with_dweight(x, weight, position_ids, dweight)


@mutant(of="add_positions", killed_by="test_add_positions_vjp", named="one overwrites the others")
def positions_scatter_plus_equals(x, weight, position_ids):
    def dweight(g, ids):
        out = np.zeros_like(weight)
        out[ids] += g
        return out

    return with_dweight(x, weight, position_ids, dweight)


@mutant(of="add_positions", killed_by="test_add_positions_vjp", named="only the first text")
def positions_gradient_of_the_first_text(x, weight, position_ids):
    def dweight(g, ids):
        shared = np.ndim(position_ids) == 1 or len(position_ids) == 1
        part = slice(1) if shared else slice(None)
        out = np.zeros_like(weight)
        np.add.at(out, ids[part], g[part])
        return out

    return with_dweight(x, weight, position_ids, dweight)


@mutant(of="add_positions", killed_by="test_add_positions_vjp", named="averaged over the batch")
def positions_gradient_averaged_over_batch(x, weight, position_ids):
    def dweight(g, ids):
        out = np.zeros_like(weight)
        np.add.at(out, ids, g / max(len(x), 1))
        return out

    return with_dweight(x, weight, position_ids, dweight)


@mutant(
    of="add_positions", killed_by="test_add_positions_vjp", named="a row for each row of weight"
)
def positions_gradient_of_used_rows(x, weight, position_ids):
    out, vjp = add_positions(x, weight, position_ids)
    return out, lambda g: (g, vjp(g)[1][np.unique(position_ids)])


@mutant(of="add_positions", killed_by="test_add_positions_vjp", named="each gets all of g")
def positions_gradient_halved(x, weight, position_ids):
    out, vjp = add_positions(x, weight, position_ids)
    return out, lambda g: (g / 2, vjp(g)[1])


@mutant(of="add_positions", killed_by="test_add_positions_manners", named="x is changed in place")
def positions_added_in_place(x, weight, position_ids):
    vjp = add_positions(x, weight, position_ids)[1]
    x += weight[position_ids]
    return x.copy(), vjp


@mutant(of="add_positions", killed_by="test_add_positions_manners", named="float64")
def positions_gradient_float64(x, weight, position_ids):
    def dweight(g, ids):
        out = np.zeros(weight.shape)
        np.add.at(out, ids, g)
        return out

    return with_dweight(x, weight, position_ids, dweight)


@mutant(of="add_positions", killed_by="test_add_positions_outside", named="of another one")
def add_positions_clipped(x, weight, position_ids):
    return add_positions(x, weight, np.clip(position_ids, 0, len(weight) - 1))


@mutant(of="add_positions", killed_by="test_add_positions_vjp", named="of the first, on the way")
def add_positions_vjp_first_positions(x, weight, position_ids):
    out, _ = add_positions(x, weight, position_ids)
    first = position_ids[:1] if position_ids.ndim == 2 else position_ids
    return out, add_positions(x, weight, first)[1]


@mutant(of="add_positions", killed_by="test_add_positions_vjp", named="np.broadcast_to them first")
def add_positions_vjp_too_few_indices(x, weight, position_ids):
    out, _ = add_positions(x, weight, position_ids)

    def vjp(g):
        dweight = np.zeros_like(weight)
        np.add.at(dweight, position_ids, g)
        return g, dweight

    return out, vjp


# ---------------------------------------------------------------------------------------------
# qk_norm
# ---------------------------------------------------------------------------------------------


def by_hand(query, key, query_weight, key_weight, eps, normed):
    """A wrong value, with the right gradients."""
    vjp = qk_norm(query, key, query_weight, key_weight, eps)[1]
    return (normed(query, query_weight), normed(key, key_weight)), vjp


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="each head has its own")
def qk_norm_over_all_heads(query, key, query_weight, key_weight, eps=1e-6):
    def normed(x, w):
        return w * x / np.sqrt((x * x).mean((1, 3), keepdims=True) + eps)

    return by_hand(query, key, query_weight, key_weight, eps, normed)


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="two weights are exchanged")
def qk_norm_weights_exchanged(query, key, query_weight, key_weight, eps=1e-6):
    out = qk_norm(query, key, key_weight, query_weight, eps)[0]
    return out, qk_norm(query, key, query_weight, key_weight, eps)[1]


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="keys have a weight of their own")
def qk_norm_one_weight(query, key, query_weight, key_weight, eps=1e-6):
    out = qk_norm(query, key, query_weight, query_weight, eps)[0]
    return out, qk_norm(query, key, query_weight, key_weight, eps)[1]


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="ε belongs under the root")
def qk_norm_eps_outside_root(query, key, query_weight, key_weight, eps=1e-6):
    def normed(x, w):
        return w * x / (np.sqrt((x * x).mean(-1, keepdims=True)) + eps)

    return by_hand(query, key, query_weight, key_weight, eps, normed)


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="this is LayerNorm")
def qk_norm_layer_norm(query, key, query_weight, key_weight, eps=1e-6):
    def normed(x, w):
        x = x - x.mean(-1, keepdims=True)
        return w * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)

    return by_hand(query, key, query_weight, key_weight, eps, normed)


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="the sum of the squares")
def qk_norm_l2(query, key, query_weight, key_weight, eps=1e-6):
    def normed(x, w):
        return w * x / np.sqrt((x * x).sum(-1, keepdims=True) + eps)

    return by_hand(query, key, query_weight, key_weight, eps, normed)


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="the keys come back as they were")
def qk_norm_queries_only(query, key, query_weight, key_weight, eps=1e-6):
    (normed, _), vjp = qk_norm(query, key, query_weight, key_weight, eps)
    return (normed, key), vjp


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="eps is not used")
def qk_norm_own_eps(query, key, query_weight, key_weight, eps=1e-6):
    return qk_norm(query, key, query_weight, key_weight)


@mutant(of="qk_norm", killed_by="test_qk_norm_bounded", named="squared length")
def qk_norm_unit_length(query, key, query_weight, key_weight, eps=1e-6):
    (q, k), vjp = qk_norm(query, key, query_weight, key_weight, eps)
    return (q / math.sqrt(q.shape[-1]), k / math.sqrt(k.shape[-1])), vjp


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="r is treated as a constant")
def qk_norm_vjp_constant_root(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query, key, query_weight, key_weight, eps)

    def back(g):
        parts = [
            each * w / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
            for each, x, w in zip(g, (query, key), (query_weight, key_weight))
        ]
        return *parts, *vjp(g)[2:]

    return out, back


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="the two weights are exchanged")
def qk_norm_vjp_weights_exchanged(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query, key, query_weight, key_weight, eps)

    def back(g):
        dquery, dkey, dquery_weight, dkey_weight = vjp(g)
        return dquery, dkey, dkey_weight, dquery_weight

    return out, back


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="the sum over the heads is missing")
def qk_norm_vjp_weight_a_head(query, key, query_weight, key_weight, eps=1e-6):
    (q, k), vjp = qk_norm(query, key, query_weight, key_weight, eps)

    def back(g):
        dquery, dkey, *_ = vjp(g)
        parts = [
            (each * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)).sum((0, 2))
            for each, x in zip(g, (query, key))
        ]
        return dquery, dkey, *parts

    return (q, k), back


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="is the mean over its uses")
def qk_norm_vjp_weight_mean(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query, key, query_weight, key_weight, eps)

    def back(g):
        dquery, dkey, dqw, dkw = vjp(g)
        counts = [max(1, x.size // x.shape[-1]) for x in (query, key)]
        return dquery, dkey, dqw / counts[0], dkw / counts[1]

    return out, back


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="2 of 4 gradients")
def qk_norm_vjp_without_weights(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query, key, query_weight, key_weight, eps)
    return out, lambda g: vjp(g)[:2]


@mutant(of="qk_norm", killed_by="test_qk_norm_manners", named="query is changed in place")
def qk_norm_in_place(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query.copy(), key, query_weight, key_weight, eps)
    query /= np.sqrt((query * query).mean(-1, keepdims=True) + eps)
    return out, vjp


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="the queries' stands there")
def qk_norm_vjp_one_weight(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query, key, query_weight, key_weight, eps)
    _, wrong = qk_norm(query, key, query_weight, query_weight, eps)
    return out, lambda g: (vjp(g)[0], wrong(g)[1], *vjp(g)[2:])


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="vjp takes one argument")
def qk_norm_vjp_of_two(query, key, query_weight, key_weight, eps=1e-6):
    out, right = qk_norm(query, key, query_weight, key_weight, eps)

    def vjp(gq, gk):
        return right((gq, gk))

    return out, vjp


@mutant(of="qk_norm", killed_by="test_qk_norm_value", named="a tuple of several outputs")
def qk_norm_list(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query, key, query_weight, key_weight, eps)
    return list(out), vjp


@mutant(of="qk_norm", killed_by="test_qk_norm_vjp", named="None stands in its place")
def qk_norm_vjp_none_for_weights(query, key, query_weight, key_weight, eps=1e-6):
    out, vjp = qk_norm(query, key, query_weight, key_weight, eps)
    return out, lambda g: (*vjp(g)[:2], None, None)


# ---------------------------------------------------------------------------------------------
# fine_tuning_loss
# ---------------------------------------------------------------------------------------------


def label_part(class_logits, labels):
    return F.cross_entropy.raw(class_logits, labels)


def token_part(hidden, weight, following, num_items=None):
    return F.linear_cross_entropy.raw(hidden[:, :-1], weight, following, num_items=num_items)


def another_value(make):
    """A mutant whose value is make(…) and whose gradients are right."""

    def loss(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
        vjp = fine_tuning_loss(c, h, w, labels, ids, mask, lm_weight, num_items)[1]
        return np.asarray(make(c, h, w, labels, ids, mask, lm_weight), c.dtype), vjp

    return loss


def following(ids, mask):
    return np.where(mask == 1, ids, -100)[:, 1:]


def value_mutant(named, killed_by="test_fine_tuning_loss_value"):
    """Declare another_value(make) as a mutant of make's name."""

    def declare(make):
        function = another_value(make)
        function.__name__ = make.__name__
        return mutant(of="fine_tuning_loss", killed_by=killed_by, named=named)(function)

    return declare


@value_mutant("λ multiplies the labels' loss")
def loss_lambda_on_the_labels(c, h, w, labels, ids, mask, lm_weight):
    return lm_weight * label_part(c, labels)[0] + token_part(h, w, following(ids, mask))[0]


@value_mutant("λ is not used")
def loss_without_lambda(c, h, w, labels, ids, mask, lm_weight):
    return label_part(c, labels)[0] + token_part(h, w, following(ids, mask))[0]


@value_mutant("L_FT counts in full")
def loss_mixed(c, h, w, labels, ids, mask, lm_weight):
    lm = token_part(h, w, following(ids, mask))[0]
    return (1 - lm_weight) * label_part(c, labels)[0] + lm_weight * lm


@value_mutant("the tokens are not shifted")
def loss_labels_not_shifted(c, h, w, labels, ids, mask, lm_weight):
    lm = F.linear_cross_entropy.raw(h, w, np.where(mask == 1, ids, -100))[0]
    return label_part(c, labels)[0] + lm_weight * lm


@value_mutant("summed and divided by the texts")
def loss_divided_by_texts(c, h, w, labels, ids, mask, lm_weight):
    lm = token_part(h, w, following(ids, mask), len(ids))[0]
    return label_part(c, labels)[0] + lm_weight * lm


@value_mutant("L_PT is missing")
def loss_of_the_last_task_only(c, h, w, labels, ids, mask, lm_weight):
    return label_part(c, labels)[0]


@value_mutant("padding is predicted, too", "test_fine_tuning_loss_padding")
def loss_padding_counts(c, h, w, labels, ids, mask, lm_weight):
    return label_part(c, labels)[0] + lm_weight * token_part(h, w, ids[:, 1:])[0]


@value_mutant("the mask is not shifted", "test_fine_tuning_loss_padding")
def loss_mask_not_shifted(c, h, w, labels, ids, mask, lm_weight):
    late = np.where(mask[:, :-1] == 1, ids[:, 1:], -100)
    return label_part(c, labels)[0] + lm_weight * token_part(h, w, late)[0]


@value_mutant("padding counts in the divisor", "test_fine_tuning_loss_padding")
def loss_padding_in_the_divisor(c, h, w, labels, ids, mask, lm_weight):
    lm = token_part(h, w, following(ids, mask), ids[:, 1:].size)[0]
    return label_part(c, labels)[0] + lm_weight * lm


@value_mutant(
    "the mean over tokens is taken of each text",
    "test_fine_tuning_loss_padding",
)
def loss_mean_of_means(c, h, w, labels, ids, mask, lm_weight):
    each = [
        token_part(h[i : i + 1], w, following(ids[i : i + 1], mask[i : i + 1]))[0]
        for i in range(len(ids))
    ]
    return label_part(c, labels)[0] + lm_weight * np.mean(each)


@mutant(
    of="fine_tuning_loss",
    killed_by="test_fine_tuning_loss_num_items",
    named="num_items is not used",
)
def loss_own_divisors(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
    return fine_tuning_loss(c, h, w, labels, ids, mask, lm_weight)


@mutant(
    of="fine_tuning_loss",
    killed_by="test_fine_tuning_loss_num_items",
    named="the two divisors are exchanged",
)
def loss_divisors_exchanged(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
    items = num_items and num_items[::-1]
    return fine_tuning_loss(c, h, w, labels, ids, mask, lm_weight, items)


def another_gradient(change):
    """A function like fine_tuning_loss whose gradients are change(class, hidden, weight, …)."""

    def loss(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
        out, vjp = fine_tuning_loss(c, h, w, labels, ids, mask, lm_weight, num_items)
        return out, lambda g: change(*vjp(g), lm_weight, g)

    return loss


def gradient_mutant(name, named, change):
    """A mutant of that name, whose value is right."""
    function = another_gradient(change)
    function.__name__ = name
    return mutant(of="fine_tuning_loss", killed_by="test_fine_tuning_loss_vjp", named=named)(
        function
    )


loss_vjp_without_lambda = gradient_mutant(
    "loss_vjp_without_lambda",
    "λ is missing on the way back",
    lambda dc, dh, dw, lm_weight, g: (dc, dh / lm_weight, dw / lm_weight),
)
loss_vjp_lambda_twice = gradient_mutant(
    "loss_vjp_lambda_twice",
    "λ counts twice",
    lambda dc, dh, dw, lm_weight, g: (dc, dh * lm_weight, dw * lm_weight),
)
loss_vjp_lambda_on_labels = gradient_mutant(
    "loss_vjp_lambda_on_labels",
    "λ multiplies the labels' gradient",
    lambda dc, dh, dw, lm_weight, g: (dc * lm_weight, dh, dw),
)
loss_vjp_short = gradient_mutant(
    "loss_vjp_short",
    "no place for the last state",
    lambda dc, dh, dw, lm_weight, g: (dc, dh[:, :-1], dw),
)
loss_vjp_one_late = gradient_mutant(
    "loss_vjp_one_late",
    "one place late",
    lambda dc, dh, dw, lm_weight, g: (dc, np.roll(dh, 1, 1), dw),
)
loss_vjp_without_g = gradient_mutant(
    "loss_vjp_without_g",
    "the upstream gradient g is not used",
    lambda dc, dh, dw, lm_weight, g: (dc / g, dh / g, dw / g),
)


@mutant(of="fine_tuning_loss", killed_by="test_fine_tuning_loss_manners", named="float64")
def loss_float64(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
    out, vjp = fine_tuning_loss(c, h, w, labels, ids, mask, lm_weight, num_items)
    return np.float64(out), vjp


@mutant(
    of="fine_tuning_loss",
    killed_by="test_fine_tuning_loss_manners",
    named="input_ids is changed in place",
)
def loss_marks_padding_in_the_ids(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
    result = fine_tuning_loss(c, h, w, labels, ids.copy(), mask, lm_weight, num_items)
    ids[mask == 0] = -100
    return result


@value_mutant(
    "the mask is that of the token before",
    killed_by="test_fine_tuning_loss_padding",
)
def loss_backwards(c, h, w, labels, ids, mask, lm_weight):
    before = np.where(mask[:, 1:] == 1, ids[:, :-1], -100)
    logits = h[:, 1:] @ w.T
    return label_part(c, labels)[0] + lm_weight * F.cross_entropy.raw(logits, before)[0]


@mutant(of="fine_tuning_loss", killed_by="test_fine_tuning_loss_vjp", named="is not shifted with")
def loss_vjp_mask_unshifted(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
    out, _ = fine_tuning_loss(c, h, w, labels, ids, mask, lm_weight, num_items)
    rolled = np.roll(mask, 1, axis=1)
    return out, fine_tuning_loss(c, h, w, labels, ids, rolled, lm_weight, num_items)[1]


@mutant(of="fine_tuning_loss", killed_by="test_fine_tuning_loss_vjp", named="first text's alone")
def loss_vjp_of_one_text(c, h, w, labels, ids, mask, lm_weight=0.5, num_items=None):
    items = num_items or (len(ids), int((mask[:, 1:] == 1).sum()))
    out, vjp = fine_tuning_loss(c, h, w, labels, ids, mask, lm_weight, num_items)
    first = (a[:1] for a in (labels, ids, mask))
    _, one = fine_tuning_loss(c[:1], h[:1], w, *first, lm_weight, items)
    return out, lambda g: (*vjp(g)[:2], one(g)[2])


# ---------------------------------------------------------------------------------------------
# yarn_scale
# ---------------------------------------------------------------------------------------------


def index_of(turns, dim, theta, original):
    return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))


def ramp(dim, low, high, factor):
    slow = np.clip((np.arange(dim // 2) - low) / (high - low or 0.001), 0, 1)
    return slow / factor + 1 - slow


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="rounded inwards")
def yarn_rounded_inwards(
    dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True
):
    low, high = (index_of(turns, dim, theta, original) for turns in (beta_fast, beta_slow))
    if truncate:
        low, high = math.ceil(low), math.floor(high)
    return ramp(dim, max(low, 0), min(high, dim - 1), factor)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="low and high are not rounded")
def yarn_not_rounded(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    return yarn_scale(dim, theta, factor, original, beta_fast, beta_slow, truncate=False)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="fast and slow are exchanged")
def yarn_slow_kept(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    right = yarn_scale(dim, theta, factor, original, beta_fast, beta_slow, truncate)
    return 1 + 1 / factor - right


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="where 1/factor belongs")
def yarn_multiplied(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    return yarn_scale(dim, theta, 1 / factor, original, beta_fast, beta_slow, truncate)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="this is linear scaling")
def yarn_linear(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    return np.full(dim // 2, 1 / factor)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="the wavelengths are mixed")
def yarn_of_wavelengths(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    right = yarn_scale(dim, theta, factor, original, beta_fast, beta_slow, truncate)
    slow = (1 - right) / (1 - 1 / factor)
    return 1 / (1 + slow * (factor - 1))


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="the 2π is missing")
def yarn_without_2pi(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    whole = 2 * math.pi * original
    return yarn_scale(dim, theta, factor, whole, beta_fast, beta_slow, truncate)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="dim/2 stands where dim belongs")
def yarn_half_the_index(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    low, high = (index_of(turns, dim, theta, original) / 2 for turns in (beta_fast, beta_slow))
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    return ramp(dim, max(low, 0), min(high, dim - 1), factor)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="each twice")
def yarn_for_both_halves(
    dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True
):
    return np.tile(yarn_scale(dim, theta, factor, original, beta_fast, beta_slow, truncate), 2)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_ends", named="low is not kept at 0")
def yarn_low_below_zero(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    low, high = (index_of(turns, dim, theta, original) for turns in (beta_fast, beta_slow))
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    return ramp(dim, low, min(high, dim - 1), factor)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_ends", named="high is cut at dim/2 - 1")
def yarn_high_at_the_last_pair(
    dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True
):
    low, high = (index_of(turns, dim, theta, original) for turns in (beta_fast, beta_slow))
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low = max(low, 0)
    return ramp(dim, low, max(low, min(high, dim // 2 - 1)), factor)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="beta_slow are exchanged")
def yarn_betas_exchanged(
    dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True
):
    return yarn_scale(dim, theta, factor, original, beta_slow, beta_fast, truncate)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_ends", named="0.001 is to be taken")
def yarn_ramp_of_no_width(
    dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True
):
    low, high = (index_of(turns, dim, theta, original) for turns in (beta_fast, beta_slow))
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    with np.errstate(all="ignore"):
        slow = np.clip((np.arange(dim // 2) - low) / np.float64(high - low), 0, 1)
    return slow / factor + 1 - slow


@mutant(of="yarn_scale", killed_by="test_yarn_scale_options", named="beta_slow are not used")
def yarn_own_betas(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    return yarn_scale(dim, theta, factor, original, truncate=truncate)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_options", named="truncate is not used")
def yarn_always_rounded(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    return yarn_scale(dim, theta, factor, original, beta_fast, beta_slow)


def yarn_mutant(name, named, change, test="value"):
    """A mutant of that name: change(pairs, low, high) is the slowness, before it is clipped."""

    def wrong(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
        low, high = (index_of(turns, dim, theta, original) for turns in (beta_fast, beta_slow))
        if truncate:
            low, high = math.floor(low), math.ceil(high)
        slow = change(np.arange(dim // 2), max(low, 0), min(high, dim - 1))
        return slow / factor + 1 - slow

    wrong.__name__ = name
    return mutant(of="yarn_scale", killed_by=f"test_yarn_scale_{test}", named=named)(wrong)


yarn_features_for_pairs = yarn_mutant(
    "yarn_features_for_pairs",
    "counted by their first feature",
    lambda i, low, high: np.clip((2 * i - low) / (high - low or 0.001), 0, 1),
)
yarn_not_clipped = yarn_mutant(
    "yarn_not_clipped",
    "not kept between 0 and 1",
    lambda i, low, high: (i - low) / (high - low or 0.001),
)
yarn_always_wider = yarn_mutant(
    "yarn_always_wider",
    "0.001 widens every ramp",
    lambda i, low, high: np.clip((i - low) / (high - low + 0.001), 0, 1),
)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="stretched length stands")
def yarn_of_the_stretched(dim, theta, factor, original, *args, **options):
    return yarn_scale(dim, theta, factor, factor * original, *args, **options)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="what multiplies them is asked")
def yarn_frequencies(dim, theta, *args, **options):
    pairs = np.arange(dim // 2)
    return yarn_scale(dim, theta, *args, **options) * theta ** (-2 * pairs / dim)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="each twice, side by side")
def yarn_side_by_side(*args, **options):
    return np.repeat(yarn_scale(*args, **options), 2)


@mutant(of="yarn_scale", killed_by="test_yarn_scale_value", named="high is rounded down")
def yarn_both_down(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    low, high = (index_of(turns, dim, theta, original) for turns in (beta_fast, beta_slow))
    if truncate:
        low, high = math.floor(low), math.floor(high)
    return ramp(dim, max(low, 0), min(high, dim - 1), factor)


# ---------------------------------------------------------------------------------------------
# conv1d_to_linear
# ---------------------------------------------------------------------------------------------


def renamed(change):
    """The right dict with other names."""
    return lambda state_dict: {
        change(name): array for name, array in conv1d_to_linear(state_dict).items()
    }


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="begin with model.")
def names_without_model(state_dict):
    return renamed(lambda name: name.removeprefix("model."))(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="two digits")
def names_of_one_digit(state_dict):
    return renamed(lambda name: re.sub(r"layers\.(\d)\d*", r"layers.\1", name))(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="there is no gate")
def names_gate_for_up(state_dict):
    return renamed(lambda name: name.replace("up_proj", "gate_proj"))(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="two c_proj")
def names_one_c_proj(state_dict):
    return renamed(lambda name: name.replace("self_attn.o_proj", "mlp.down_proj"))(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="biases are mapped")
def names_biases_forgotten(state_dict):
    found = conv1d_to_linear(state_dict)
    return {n: a for n, a in found.items() if not n.endswith("proj.bias")}


@mutant(
    of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="becomes three layers"
)
def names_c_attn_in_one(state_dict):
    found = {
        n: a for n, a in conv1d_to_linear(state_dict).items() if not re.search("[qkv]_proj", n)
    }
    for name, array in state_dict.items():
        if match := re.search(r"h\.(\d+)\.attn\.c_attn\.(\w+)", name):
            found[f"model.layers.{match[1]}.self_attn.c_attn.{match[2]}"] = array.T
    return found


def changed(pattern, change):
    """The right dict, with the arrays of these names changed."""
    return lambda state_dict: {
        name: change(array) if re.search(pattern, name) else array
        for name, array in conv1d_to_linear(state_dict).items()
    }


@mutant(
    of="conv1d_to_linear", killed_by="test_conv1d_to_linear_arrays", named="is to be transposed"
)
def arrays_not_transposed(state_dict):
    return changed("proj.weight", np.transpose)(state_dict)


@mutant(
    of="conv1d_to_linear", killed_by="test_conv1d_to_linear_arrays", named="is to be transposed"
)
def arrays_square_ones_not_transposed(state_dict):
    return changed("o_proj.weight", np.transpose)(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_arrays", named="no Conv1D")
def arrays_embeddings_transposed(state_dict):
    return changed("embed", np.transpose)(state_dict)


@mutant(
    of="conv1d_to_linear", killed_by="test_conv1d_to_linear_arrays", named="in the order q, k, v"
)
def arrays_keys_first(state_dict):
    change = {"q_proj": "k_proj", "k_proj": "q_proj"}
    return renamed(lambda n: re.sub("[qk]_proj", lambda m: change[m[0]], n))(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_arrays", named="norms of a layer")
def arrays_norms_exchanged(state_dict):
    change = {"input_layernorm": "post_attention_layernorm"}
    change |= {new: old for old, new in change.items()}
    pattern = "input_layernorm|post_attention_layernorm"
    return renamed(lambda n: re.sub(pattern, lambda m: change[m[0]], n))(state_dict)


def cut(state_dict, part):
    """The right dict, where part(c_attn's array, 0, 1 or 2) makes what q, k and v get."""
    found = conv1d_to_linear(state_dict)
    for name, array in state_dict.items():
        if match := re.search(r"h\.(\d+)\.attn\.c_attn\.(\w+)", name):
            for i, letter in enumerate("qkv"):
                path = f"model.layers.{match[1]}.self_attn.{letter}_proj.{match[2]}"
                found[path] = part(array, i)
    return found


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_arrays", named="every third column")
def arrays_in_turns(state_dict):
    return cut(state_dict, lambda array, i: array[..., i::3].T)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_computes", named="wrong shapes")
def arrays_cut_by_rows(state_dict):
    return cut(state_dict, lambda array, i: np.split(array, 3)[i])


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_computes", named="turned round")
def arrays_thirds_not_turned(state_dict):
    return cut(state_dict, lambda array, i: np.split(array, 3, axis=-1)[i])


@mutant(
    of="conv1d_to_linear",
    killed_by="test_conv1d_to_linear_left_out",
    named="masks that old checkpoints stored",
)
def masks_come_along(state_dict):
    found = conv1d_to_linear(state_dict)
    for name, array in state_dict.items():
        if re.search(r"\.attn\.(masked_)?bias$", name):
            found[name] = array
    return found


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_left_out", named="wte once more")
def head_comes_along(state_dict):
    found = conv1d_to_linear(state_dict)
    if "lm_head.weight" in state_dict:
        found["lm_head.weight"] = state_dict["lm_head.weight"]
    return found


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_refuses", named="none came")
def unknown_names_are_dropped(state_dict):
    found = {}
    for name, array in state_dict.items():
        try:
            found |= conv1d_to_linear({name: array})
        except ValueError:
            continue
    return found


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="layers' names begin")
def names_layers_without_model(state_dict):
    return renamed(lambda name: name.replace("model.layers", "layers"))(state_dict)


@mutant(
    of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="MLP's c_proj is down"
)
def names_o_proj_in_the_mlp(state_dict):
    return renamed(lambda name: name.replace("down_proj", "o_proj"))(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="may have two digits")
def names_of_one_digit_refused(state_dict):
    for name in state_dict:
        if re.search(r"h\.\d\d", name):
            raise ValueError(f"unknown name {name}")
    return conv1d_to_linear(state_dict)


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_names", named="caller's dict")
def names_popped(state_dict):
    found = conv1d_to_linear(state_dict)
    state_dict.clear()
    return found


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_arrays", named="c_fc is up_proj")
def arrays_up_for_down(state_dict):
    other = {"up_proj": "down_proj", "down_proj": "up_proj"}
    found = conv1d_to_linear(state_dict)
    return {re.sub("up_proj|down_proj", lambda m: other[m[0]], n): a for n, a in found.items()}


@mutant(of="conv1d_to_linear", killed_by="test_conv1d_to_linear_computes", named="order q, k, v")
def arrays_values_first(state_dict):
    turned = {"q_proj": "v_proj", "k_proj": "q_proj", "v_proj": "k_proj"}
    return renamed(lambda n: re.sub("[qkv]_proj", lambda m: turned[m[0]], n))(state_dict)


# ---------------------------------------------------------------------------------------------
# dynamic_theta
# ---------------------------------------------------------------------------------------------


def bracket(factor, length, original):
    return factor * max(length, original) / original - (factor - 1)


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="upside down: dim")
def theta_exponent_upside_down(theta, dim, factor, length, original):
    return theta * bracket(factor, length, original) ** ((dim - 2) / dim)


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="the exponent is missing")
def theta_without_exponent(theta, dim, factor, length, original):
    return theta * bracket(factor, length, original)


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="that of half a head")
def theta_of_half_a_head(theta, dim, factor, length, original):
    return theta * bracket(factor, length, original) ** (dim / 2 / (dim / 2 - 2))


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="where factor - 1 belongs")
def theta_factor_subtracted(theta, dim, factor, length, original):
    return theta * (bracket(factor, length, original) - 1) ** (dim / (dim - 2))


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="is not subtracted")
def theta_nothing_subtracted(theta, dim, factor, length, original):
    return theta * (factor * max(length, original) / original) ** (dim / (dim - 2))


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="the length is not used")
def theta_of_the_factor(theta, dim, factor, length, original):
    return theta * factor ** (dim / (dim - 2))


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="only the bracket is")
def theta_inside_the_power(theta, dim, factor, length, original):
    return (theta * bracket(factor, length, original)) ** (dim / (dim - 2))


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="off by one")
def theta_of_the_last_position(theta, dim, factor, length, original):
    return dynamic_theta(theta, dim, factor, length - 1, original)


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_short", named="keeps θ")
def theta_falls_for_short_texts(theta, dim, factor, length, original):
    base = factor * length / original - (factor - 1)
    return theta * base ** (dim / (dim - 2)) if base > 0 else float("nan")


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="ends in - (factor - 1)")
def theta_wrong_sign_of_one(theta, dim, factor, length, original):
    ratio = max(length, original) / original
    return theta * (factor * ratio - factor - 1) ** (dim / (dim - 2))


@mutant(of="dynamic_theta", killed_by="test_dynamic_theta_value", named="the exponent is dim/2")
def theta_half_of_dim(theta, dim, factor, length, original):
    ratio = max(length, original) / original
    return theta * (factor * ratio - (factor - 1)) ** (dim / 2)
