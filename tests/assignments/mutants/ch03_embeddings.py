"""Wrong solutions of chapter 03, each named after its mistake."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.analysis.interpret import principal_components
from tinyqwen.course import mutant

embedding, cosine_similarity = F.embedding.raw, F.cosine_similarity


def length(x):
    return np.linalg.norm(x, axis=-1)


# ---------------------------------------------------------------------------------------------
# embedding
# ---------------------------------------------------------------------------------------------


@mutant(of="embedding", killed_by="test_embedding_vjp", named="one overwrites the others")
def scatter_assign_not_add(ids, weight, padding_idx=None):
    def vjp(g):
        dweight = np.zeros_like(weight)
        dweight[ids] = g
        if padding_idx is not None:
            dweight[padding_idx] = 0
        return None, dweight

    return embedding(ids, weight)[0], vjp


@mutant(of="embedding", killed_by="test_embedding_vjp", named="one overwrites the others")
def scatter_add_buffered(ids, weight, padding_idx=None):
    def vjp(g):
        dweight = np.zeros_like(weight)
        dweight[ids] += g
        if padding_idx is not None:
            dweight[padding_idx] = 0
        return None, dweight

    return embedding(ids, weight)[0], vjp


@mutant(of="embedding", killed_by="test_embedding_vjp", named="clears every row")
def embedding_clears_row_none(ids, weight, padding_idx=None):
    def vjp(g):
        dweight = np.zeros_like(weight)
        np.add.at(dweight, ids, g)
        dweight[padding_idx] = 0
        return None, dweight

    return embedding(ids, weight)[0], vjp


@mutant(of="embedding", killed_by="test_embedding_vjp", named="the mean over an id's places")
def embedding_gradient_mean(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    counts = np.maximum(np.bincount(np.ravel(ids), minlength=len(weight)), 1)
    return out, lambda g: (None, vjp(g)[1] / counts[:, None].astype(weight.dtype))


@mutant(of="embedding", killed_by="test_embedding_vjp", named="a row for each row of weight")
def embedding_gradient_of_used_rows(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    return out, lambda g: (None, vjp(g)[1][np.unique(ids)])


@mutant(of="embedding", killed_by="test_embedding_vjp", named="gets None in its place")
def embedding_gradient_alone(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    return out, lambda g: (vjp(g)[1],)


@mutant(of="embedding", killed_by="test_embedding_vjp", named="g is not used")
def embedding_counts_occurrences(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    return out, lambda g: vjp(np.ones_like(g))


@mutant(of="embedding", killed_by="test_embedding_value", named="ids' shape is lost")
def embedding_flattens_ids(ids, weight, padding_idx=None):
    out, vjp = embedding(np.ravel(ids), weight, padding_idx)
    return out, lambda g: vjp(g.reshape(-1, weight.shape[1]))


@mutant(of="embedding", killed_by="test_embedding_value", named="the row before")
def embedding_ids_from_one(ids, weight, padding_idx=None):
    embedding(ids, weight)
    return embedding((ids - 1) % len(weight), weight, padding_idx)


@mutant(of="embedding", killed_by="test_embedding_outside", named="counts from the end")
def embedding_negative_ids(ids, weight, padding_idx=None):
    if np.any(ids >= len(weight)):
        raise ValueError("an id is out of range")
    return embedding(ids % len(weight), weight, padding_idx)


@mutant(of="embedding", killed_by="test_embedding_outside", named="raised IndexError")
def embedding_index_error(ids, weight, padding_idx=None):
    out = weight[ids]
    return out, lambda g: embedding(ids, weight, padding_idx)[1](g)


@mutant(of="embedding", killed_by="test_embedding_padding", named="the padding row gets a gradient")
def embedding_padding_ignored(ids, weight, padding_idx=None):
    return embedding(ids, weight)


@mutant(of="embedding", killed_by="test_embedding_padding", named="padding_idx=0 is not None")
def embedding_padding_zero_is_false(ids, weight, padding_idx=None):
    return embedding(ids, weight, padding_idx or None)


@mutant(of="embedding", killed_by="test_embedding_padding", named="looked up like any other")
def embedding_padding_output_zeroed(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    return (out if padding_idx is None else out * (ids != padding_idx)[..., None]), vjp


@mutant(of="embedding", killed_by="test_embedding_manners", named="float64 comes out")
def embedding_gradient_float64(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    return out, lambda g: (None, np.zeros(weight.shape) + vjp(g)[1])


@mutant(of="embedding", killed_by="test_embedding_manners", named="weight is changed in place")
def embedding_zeroes_the_table(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight.copy(), padding_idx)
    weight[...] = 0
    return out, vjp


@mutant(of="embedding", killed_by="test_embedding_manners", named="vjp overwrites something")
def embedding_gradient_accumulates(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    dweight = np.zeros_like(weight)

    def wrong(g):
        dweight[...] += vjp(g)[1]
        return None, dweight.copy()

    return out, wrong


# ---------------------------------------------------------------------------------------------
# cosine_similarity
# ---------------------------------------------------------------------------------------------


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="the bare product")
def cosine_dot_product(x, y, eps=1e-8):
    return (x * y).sum(-1)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="only x's length")
def cosine_one_length(x, y, eps=1e-8):
    return (x * y).sum(-1) / np.maximum(length(x), eps)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="each length is the sum of squares",
)
def cosine_without_roots(x, y, eps=1e-8):
    squares = (x * x).sum(-1) * (y * y).sum(-1)
    return (x * y).sum(-1) / np.maximum(squares, eps)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="the sign is lost")
def cosine_absolute(x, y, eps=1e-8):
    return np.abs(cosine_similarity(x, y, eps))


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="over all axes")
def cosine_norm_of_everything(x, y, eps=1e-8):
    lengths = np.maximum(np.linalg.norm(x), eps) * np.maximum(np.linalg.norm(y), eps)
    return (x * y).sum(-1) / lengths


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="absolute values")
def cosine_l1_lengths(x, y, eps=1e-8):
    return (x * y).sum(-1) / np.maximum(np.abs(x).sum(-1) * np.abs(y).sum(-1), eps)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="a distance")
def cosine_distance(x, y, eps=1e-8):
    return 1 - cosine_similarity(x, y, eps)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_broadcast", named="shape")
def cosine_by_matmul(x, y, eps=1e-8):
    if x.shape == y.shape:
        return cosine_similarity(x, y, eps)
    xhat, yhat = (v / np.maximum(length(v)[..., None], eps) for v in (x, y))
    return np.atleast_2d(xhat) @ np.atleast_2d(yhat).swapaxes(-1, -2)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_edges", named="divides by zero")
def cosine_zero_by_zero(x, y, eps=1e-8):
    with np.errstate(all="ignore"):
        return (x * y).sum(-1) / (length(x) * length(y))


@mutant(
    of="cosine_similarity", killed_by="test_cosine_similarity_edges", named="added to the lengths"
)
def cosine_eps_added(x, y, eps=1e-8):
    return (x * y).sum(-1) / ((length(x) + eps) * (length(y) + eps))


@mutant(
    of="cosine_similarity", killed_by="test_cosine_similarity_edges", named="limits the product"
)
def cosine_eps_limits_product(x, y, eps=1e-8):
    return (x * y).sum(-1) / np.maximum(length(x) * length(y), eps)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_edges", named="eps is not used")
def cosine_eps_ignored(x, y, eps=1e-8):
    return cosine_similarity(x, y, 1e-8)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_manners", named="float64")
def cosine_float64(x, y, eps=1e-8):
    return cosine_similarity(x.astype(np.float64), y.astype(np.float64), eps)


@mutant(
    of="cosine_similarity", killed_by="test_cosine_similarity_manners", named="changed in place"
)
def cosine_normalizes_in_place(x, y, eps=1e-8):
    out = cosine_similarity(x, y, eps)
    x /= np.maximum(length(x)[..., None], eps)
    return out


# ---------------------------------------------------------------------------------------------
# principal_components
# ---------------------------------------------------------------------------------------------


@mutant(
    of="principal_components", killed_by="test_principal_components_value", named="over the vec"
)
def principal_components_own_mean(vectors, k=2):
    centered = vectors - vectors.mean(1, keepdims=True)
    u, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    flat = (u * sizes)[:, :k]
    return flat * np.sign(flat[np.abs(flat).argmax(0), np.arange(k)])


@mutant(of="principal_components", killed_by="test_principal_components_value", named="subtracted")
def principal_components_not_centered(vectors, k=2):
    u, sizes, _ = np.linalg.svd(vectors, full_matrices=False)
    flat = (u * sizes)[:, :k]
    return flat * np.sign(flat[np.abs(flat).argmax(0), np.arange(k)])


@mutant(of="principal_components", killed_by="test_principal_components_value", named="values are")
def principal_components_unit_spread(vectors, k=2):
    flat = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[0][:, :k]
    return flat * np.sign(flat[np.abs(flat).argmax(0), np.arange(k)])


@mutant(of="principal_components", killed_by="test_principal_components_value", named="smallest")
def principal_components_last(vectors, k=2):
    return principal_components(vectors, min(vectors.shape))[:, ::-1][:, :k]


@mutant(of="principal_components", killed_by="test_principal_components_value", named="first feat")
def principal_components_first_features(vectors, k=2):
    return (vectors - vectors.mean(0))[:, :k]


@mutant(of="principal_components", killed_by="test_principal_components_value", named="as a whole")
def principal_components_absolute(vectors, k=2):
    return np.abs(principal_components(vectors, k))


@mutant(of="principal_components", killed_by="test_principal_components_value", named="k is not")
def principal_components_always_two(vectors, k=2):
    return principal_components(vectors, 2)


@mutant(of="principal_components", killed_by="test_principal_components_manners", named="as svd")
def principal_components_sign_as_it_comes(vectors, k=2):
    return -principal_components(vectors, k)


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


@mutant(
    of="embedding",
    killed_by="test_embedding_vjp",
    named="where an id repeats, its gradients must be",
)
def embedding_assign(ids, weight, padding_idx=None):
    o, _v = embedding(ids, weight, padding_idx)

    def w(g):
        d = np.zeros_like(weight)
        d[ids] = g
        if padding_idx is not None:
            d[padding_idx] = 0
        return None, d

    return o, w


@mutant(
    of="embedding",
    killed_by="test_embedding_vjp",
    named="where an id repeats, its gradients must be",
)
def embedding_added_with_iadd(ids, weight, padding_idx=None):
    o, _v = embedding(ids, weight, padding_idx)

    def w(g):
        d = np.zeros_like(weight)
        d[ids] += g
        if padding_idx is not None:
            d[padding_idx] = 0
        return None, d

    return o, w


@mutant(
    of="embedding",
    killed_by="test_embedding_padding",
    named="padding is looked up like any other id; only",
)
def embedding_pad_out_zero(ids, weight, padding_idx=None):
    o, v = embedding(ids, weight, padding_idx)
    o = o.copy()
    if padding_idx is not None:
        o[ids == padding_idx] = 0
    return o, v


@mutant(
    of="embedding",
    killed_by="test_embedding_padding",
    named="the padding row gets a gradient; it must be zero",
)
def embedding_pad_ignored(ids, weight, padding_idx=None):
    return embedding(ids, weight)


@mutant(
    of="embedding",
    killed_by="test_embedding_padding",
    named="the padding row gets a gradient; it must be",
)
def embedding_pad_falsy(ids, weight, padding_idx=None):
    return embedding(ids, weight, padding_idx or None)


@mutant(
    of="embedding",
    killed_by="test_embedding_outside",
    named="an id beyond the last row is bent to one that",
)
def embedding_negative_ok(ids, weight, padding_idx=None):
    return embedding(ids % len(weight), weight, padding_idx)


@mutant(
    of="embedding",
    killed_by="test_embedding_outside",
    named="NumPy's IndexError is not the ValueError that",
)
def embedding_no_check(ids, weight, padding_idx=None):
    o = weight[ids]

    def v(g):
        d = np.zeros_like(weight)
        np.add.at(d, ids, g)
        if padding_idx is not None:
            d[padding_idx] = 0
        return None, d

    return o, v


@mutant(
    of="embedding",
    killed_by="test_embedding_vjp",
    named="an input without a gradient gets None in its",
)
def embedding_only_dw(ids, weight, padding_idx=None):
    o, v = embedding(ids, weight, padding_idx)
    return o, lambda g: (v(g)[1],)


@mutant(
    of="embedding",
    killed_by="test_embedding_value",
    named="axis 2 has the length 5, where 3 is asked for",
)
def embedding_columns(ids, weight, padding_idx=None):
    return weight.T[ids % weight.shape[1]], embedding(ids, weight)[1]


@mutant(
    of="embedding",
    killed_by="test_embedding_vjp",
    named="the mean over an id's places stands where their",
)
def embedding_mean_grad(ids, weight, padding_idx=None):
    o, v = embedding(ids, weight, padding_idx)

    def w(g):
        n = np.bincount(ids.ravel(), minlength=len(weight))
        return None, v(g)[1] / np.maximum(n, 1)[:, None]

    return o, w


@mutant(
    of="embedding",
    killed_by="test_embedding_manners",
    named="float64 comes out where float32 went in: an",
)
def embedding_view_dw(ids, weight, padding_idx=None):
    o, v = embedding(ids, weight, padding_idx)
    return o, lambda g: (None, v(g)[1].astype(np.float64))


@mutant(
    of="embedding",
    killed_by="test_embedding_outside",
    named="an id beyond the last row is bent to one that",
)
def embedding_clip(ids, weight, padding_idx=None):
    return embedding(np.clip(ids, 0, len(weight) - 1), weight, padding_idx)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="this is the bare product: divide by both lengths",
)
def cosine_similarity_no_abs(x, y, eps=1e-8):
    return (x * y).sum(-1)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="only x's length is divided by",
)
def cosine_similarity_one_norm(x, y, eps=1e-8):
    return (x * y).sum(-1) / np.maximum(np.linalg.norm(x, axis=-1), eps)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="each length is the sum of squares, not rooted",
)
def cosine_similarity_squares(x, y, eps=1e-8):
    return (x * y).sum(-1) / ((x * x).sum(-1) * (y * y).sum(-1) + eps)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_edges",
    named="a vector of zeros divides by zero: let max(‖x‖",
)
def cosine_similarity_no_eps(x, y, eps=1e-8):
    return (x * y).sum(-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_edges",
    named="ε is added to the product of the lengths; it is",
)
def cosine_similarity_eps_added(x, y, eps=1e-8):
    return (x * y).sum(-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1) + eps)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_edges",
    named="ε limits the product of the lengths; it belongs",
)
def cosine_similarity_eps_product(x, y, eps=1e-8):
    return (x * y).sum(-1) / np.maximum(
        np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1), eps
    )


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="all vectors are taken for one long one",
)
def cosine_similarity_all(x, y, eps=1e-8):
    return (x * y).sum() / (np.maximum(np.linalg.norm(x), eps) * np.maximum(np.linalg.norm(y), eps))


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="every x meets every y",
)
def cosine_similarity_matmul(x, y, eps=1e-8):
    def n(a):
        return a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), eps)

    return n(x) @ np.swapaxes(np.atleast_2d(n(y)), -1, -2)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="this is 1 - cosine, a distance",
)
def cosine_similarity_distance(x, y, eps=1e-8):
    return 1 - cosine_similarity(x, y, eps)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="the sign is lost: opposite vectors have",
)
def cosine_similarity_abs(x, y, eps=1e-8):
    return np.abs(cosine_similarity(x, y, eps))


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="the mean of each vector is subtracted: that is",
)
def cosine_similarity_centered(x, y, eps=1e-8):
    return cosine_similarity(x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True), eps)


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="each length is a sum of absolute values",
)
def cosine_similarity_l1(x, y, eps=1e-8):
    return (x * y).sum(-1) / (
        np.maximum(np.abs(x).sum(-1), eps) * np.maximum(np.abs(y).sum(-1), eps)
    )


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="this is the angle; its cosine is asked for",
)
def cosine_similarity_angle(x, y, eps=1e-8):
    return np.arccos(np.clip(cosine_similarity(x, y, eps), -1, 1))


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_value",
    named="an axis of length 1 too many",
)
def cosine_similarity_keepdims(x, y, eps=1e-8):
    return cosine_similarity(x, y, eps)[..., None]


@mutant(
    of="cosine_similarity",
    killed_by="test_cosine_similarity_broadcast",
    named="every entry is 0.25 times what it should be",
)
def cosine_similarity_mean(x, y, eps=1e-8):
    return cosine_similarity(x, y, eps) / x.shape[-1]


@mutant(of="embedding", killed_by="test_embedding_vjp", named="one that repeats is added once only")
def embedding_scatters_text_by_text(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)

    def pulled(g):
        if np.ndim(ids) < 2:
            return vjp(g)
        dweight = np.zeros_like(weight)
        for i, text in enumerate(ids):
            dweight[text] += g[i]
        if padding_idx is not None:
            dweight[padding_idx] = 0
        return None, dweight

    return out, pulled


@mutant(
    of="cosine_similarity", killed_by="test_cosine_similarity_value", named="is summed over all"
)
def cosine_sums_everything(x, y, eps=1e-8):
    return (x * y).sum() / (np.maximum(length(x), eps) * np.maximum(length(y), eps))


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="every x meets")
def cosine_of_every_pair(x, y, eps=1e-8):
    if x.ndim == y.ndim == 2:
        lengths = np.maximum(length(x), eps)[:, None] * np.maximum(length(y), eps)
        return x @ y.T / lengths
    return cosine_similarity(x, y, eps)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="as in x @ y.T")
def cosine_by_dot_of_the_transpose(x, y, eps=1e-8):
    lengths = np.maximum(length(x), eps) * np.maximum(length(y), eps)
    return (x @ y.T if x.ndim == y.ndim == 2 else (x * y).sum(-1)) / lengths


@mutant(
    of="cosine_similarity", killed_by="test_cosine_similarity_value", named="length of y is taken"
)
def cosine_norm_of_all_y(x, y, eps=1e-8):
    return (x * y).sum(-1) / (np.maximum(length(x), eps) * max(np.linalg.norm(y), eps))


@mutant(
    of="cosine_similarity", killed_by="test_cosine_similarity_value", named="length of x is a sum"
)
def cosine_l1_length_of_x(x, y, eps=1e-8):
    return (x * y).sum(-1) / (np.maximum(np.abs(x).sum(-1), eps) * np.maximum(length(y), eps))


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="signs are lost")
def cosine_of_absolute_products(x, y, eps=1e-8):
    return np.abs(x * y).sum(-1) / (np.maximum(length(x), eps) * np.maximum(length(y), eps))


@mutant(of="embedding", killed_by="test_embedding_manners", named="g is changed in place")
def embedding_padding_zeroed_in_g(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight)

    def wrong(g):
        if padding_idx is not None:
            g[ids == padding_idx] = 0
        return vjp(g)

    return out, wrong


@mutant(of="embedding", killed_by="test_embedding_vjp", named="in the order of the arguments: None")
def embedding_gradients_exchanged(ids, weight, padding_idx=None):
    out, vjp = embedding(ids, weight, padding_idx)
    return out, lambda g: vjp(g)[::-1]


@mutant(of="embedding", killed_by="test_embedding_vjp", named="does the array have fewer axes here")
def embedding_loop_over_two_axes(ids, weight, padding_idx=None):
    out, _ = embedding(ids, weight, padding_idx)

    def wrong(g):
        dweight = np.zeros_like(weight)
        for row in range(ids.shape[0]):
            for place in range(ids.shape[1]):
                dweight[ids[row, place]] += g[row, place]
        return None, dweight

    return out, wrong


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_edges", named="so √ε the lengths")
def cosine_similarity_squares_limited(x, y, eps=1e-8):
    lengths = (np.maximum((a * a).sum(-1), eps) for a in (x, y))
    return (x * y).sum(-1) / np.sqrt(np.prod(np.broadcast_arrays(*lengths), axis=0))


@mutant(
    of="principal_components",
    killed_by="test_principal_components_value",
    named="directions are its rows",
)
def principal_components_columns_of_vt(vectors, k=2):
    centered = vectors - vectors.mean(0)
    flat = centered @ np.linalg.svd(centered, full_matrices=False)[2][:, :k]
    return flat * np.sign(flat[np.abs(flat).argmax(0), np.arange(k)])


@mutant(
    of="principal_components",
    killed_by="test_principal_components_value",
    named="the mean of all numbers is subtracted",
)
def principal_components_one_mean(vectors, k=2):
    centered = vectors - vectors.mean()
    flat = centered @ np.linalg.svd(centered, full_matrices=False)[2][:k].T
    return flat * np.sign(flat[np.abs(flat).argmax(0), np.arange(k)])


# ---------------------------------------------------------------------------------------------
# What is recognized without a list
# ---------------------------------------------------------------------------------------------


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="√(1 - x²) of each")
def cosine_similarity_is_the_sine(x, y, eps=1e-8):
    return np.sqrt(1 - cosine_similarity(x, y, eps) ** 2)


@mutant(of="cosine_similarity", killed_by="test_cosine_similarity_value", named="(1 + x) / 2")
def cosine_similarity_from_0_to_1(x, y, eps=1e-8):
    return (1 + cosine_similarity(x, y, eps)) / 2


@mutant(
    of="cosine_similarity", killed_by="test_cosine_similarity_value", named="this is Σ x y / ‖x‖²"
)
def cosine_similarity_x_twice(x, y, eps=1e-8):
    return (x * y).sum(-1) / np.maximum(length(x), eps) ** 2


@mutant(
    of="principal_components",
    killed_by="test_principal_components_value",
    named="the singular values are squared",
)
def principal_components_squared_sizes(vectors, k=2):
    sizes = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False)
    return principal_components(vectors, k) * sizes[:k]
