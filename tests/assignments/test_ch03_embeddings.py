"""Graders of chapter 03: embedding, cosine_similarity."""

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
    check_example,
    check_manners,
    check_value,
    check_vjp,
    normal,
    output,
    points,
    rng,
)
from tinyqwen.course.calls import StudentError

TITLE = "Embeddings"
ASSIGNED = {
    "embedding": "functional.linear",
    "cosine_similarity": "functional.similarity",
    "principal_components": "analysis.interpret",
}
STRETCH = ("principal_components",)

EMBEDDING_AXES = {"out": "batch time feature", "weight": "id feature"}


def ids_of(*shape, high=5):
    return rng().integers(0, high, shape)


def look_ups(**options):
    """Ids of several shapes and a table; every case but the last has repeated ids."""
    return [
        case(np.array([[1, 3, 1], [1, 0, 4]]), normal(5, 3), **options),
        case(ids_of(2, 7), normal(5, 4), **options),
        case(ids_of(9), normal(5, 1), **options),
        case(ids_of(2, 3, 4), normal(5, 2), **options),
        case(np.array(3), normal(5, 3), **options, label="a single id"),
    ]


def empty_look_ups():
    return [case(np.zeros((2, 0), int), normal(5, 3)), case(np.zeros(4, int), normal(1, 2))]


def scattered(ids, weight, g):
    dweight = np.zeros_like(weight)
    np.add.at(dweight, ids, g)
    return dweight


def assigned(ids, weight, g):
    dweight = np.zeros_like(weight)
    dweight[ids] = g
    return dweight


def averaged(ids, weight, g):
    counts = np.bincount(ids.ravel(), minlength=len(weight))
    return scattered(ids, weight, g) / np.maximum(counts, 1)[:, None]


def assigned_in_each_text(ids, weight, g):
    """Text after text, `dweight[ids] += g`: repeated ids count once in each."""
    if ids.ndim < 2:
        return None
    return sum(assigned(row, weight, part) for row, part in zip(ids, g))


def per_row(ids, weight, g):
    """The gradient of the rows that occur, and of no others."""
    return scattered(ids, weight, g)[np.unique(ids)]


# ---------------------------------------------------------------------------------------------
# embedding, 12 points
# ---------------------------------------------------------------------------------------------


@points(1, "embedding: the example")
def test_embedding_example(submission):
    """The example in the docstring, looked up by hand."""
    check_example(submission.embedding)


@points(2, "embedding: value")
def test_embedding_value(submission):
    """A row of the table for each id, in the shape of the ids."""
    check_value(
        submission.embedding,
        look_ups() + empty_look_ups(),
        axes=EMBEDDING_AXES,
        mistakes={
            "columns are looked up; an id names a row": lambda ids, w: (
                w.T[ids] if ids.max(initial=0) < w.shape[1] else None
            ),
            "the ids' shape is lost: out is ids.shape + (dim,)": lambda ids, w: w[ids.ravel()],
            "every id looks up the row before": lambda ids, w: w[ids - 1],
            "only the last axis of the ids is looked up": lambda ids, w: (
                w[ids[-1]] if ids.ndim else None
            ),
        },
    )


@points(1, "embedding: ids outside the table")
def test_embedding_outside(submission):
    """An id that has no row is refused, a negative one as well."""
    for wrong in ([0, 5], [[1], [-1]], [-5, 2], [100]):
        try:
            submission.embedding(np.array(wrong), normal(5, 3))
        except StudentError as error:
            check(
                "raised ValueError" in str(error),
                f"embedding of ids {wrong} with 5 rows: ValueError was expected.\n{error}",
                "NumPy's IndexError is not the ValueError that is asked for: look at the ids first"
                if "raised IndexError" in str(error)
                else None,
            )
        else:
            negative = np.min(wrong) < 0
            check(
                False,
                f"embedding of ids {wrong} with 5 rows: ValueError was expected; none came.",
                "a negative id counts from the end of the table"
                if negative
                else "an id beyond the last row is bent to one that is there",
            )


@points(4, "embedding: gradient")
def test_embedding_vjp(submission):
    """A row that was looked up in several places gets the sum of their gradients."""
    check_vjp(
        submission.embedding,
        look_ups() + empty_look_ups(),
        axes=EMBEDDING_AXES,
        mistakes={
            "where an id repeats, its gradients must be added up; one overwrites the others": (
                lambda ids, w, g: (None, assigned(ids, w, g))
            ),
            "the mean over an id's places stands where their sum belongs": lambda ids, w, g: (
                None,
                averaged(ids, w, g),
            ),
            "within a row of ids one that repeats is added once only: is ids[i] an array there?": (
                lambda ids, w, g: (None, assigned_in_each_text(ids, w, g))
            ),
            "dweight[None] = 0 clears every row: is padding_idx None?": lambda ids, w, g: (
                None,
                np.zeros_like(w),
            ),
            "dweight has a row for each row of weight, with zeros where no id pointed": (
                lambda ids, w, g: (None, per_row(ids, w, g))
            ),
            "this is the gradient of the rows looked up, g itself, not of the table": (
                lambda ids, w, g: (None, g)
            ),
            "g's rows are scattered in the reverse order": lambda ids, w, g: (
                None,
                scattered(ids.ravel()[::-1], w, g.reshape(-1, w.shape[1])),
            ),
            "the first of an id's gradients is kept; all must be added up": lambda ids, w, g: (
                None,
                assigned(ids.ravel()[::-1], w, g.reshape(-1, w.shape[1])[::-1]),
            ),
        },
    )


@points(2, "embedding: padding_idx")
def test_embedding_padding(submission):
    """The padding row is looked up like any other, and gets no gradient; it may be row 0."""
    ids = np.array([[1, 3, 0, 0], [4, 0, 3, 3]])
    for padding_idx in (3, 0, 2):
        weight = normal(5, 3)
        check_value(
            submission.embedding,
            [case(ids, weight, padding_idx=padding_idx)],
            axes=EMBEDDING_AXES,
            mistakes={
                "padding is looked up like any other id; only its gradient is zero": (
                    lambda ids, w, padding_idx: w[ids] * (ids != padding_idx)[..., None]
                ),
            },
        )
        check_frozen_row(submission.embedding, ids, weight, padding_idx)


def check_frozen_row(fn, ids, weight, padding_idx):
    """Not by check_vjp: central differences know nothing of padding_idx."""
    g = normal(*ids.shape, weight.shape[1])
    grads = fn(ids, weight, padding_idx)[1](g)
    check(
        isinstance(grads, tuple | list) and len(grads) == 2,
        "embedding's vjp must return (None, dweight), with padding_idx as without",
    )
    everything = scattered(ids, weight, g)
    expected = everything.copy()
    expected[padding_idx] = 0
    behind = everything.copy()
    behind[padding_idx:] = 0
    zero = " (padding_idx=0 is not None)" if padding_idx == 0 else ""
    check_close(
        grads[1],
        expected,
        "embedding: the gradient of weight",
        case=f"ids {ids.tolist()}, padding_idx={padding_idx}",
        axes="id feature",
        mistakes={
            f"the padding row gets a gradient; it must be zero{zero}": everything,
            "the rows behind the padding lose their gradients as well": behind,
        },
    )


@points(2, "embedding: fit for the model")
def test_embedding_manners(submission):
    """float32 in, float32 out; weight is not changed; views work; vjp can be called twice."""
    check_manners(submission.embedding, [*look_ups(), *look_ups(padding_idx=1)[:2]])


# ---------------------------------------------------------------------------------------------
# cosine_similarity, 8 points
# ---------------------------------------------------------------------------------------------


def dot(x, y):
    return (x * y).sum(-1)


def length(x, axis=-1, keepdims=False):
    return np.sqrt((x * x).sum(axis, keepdims=keepdims))


def over_all(x):
    return length(x, None)


def absolute(x):
    return np.abs(x).sum(-1)


def dot_with_itself(x):
    return dot(x, x)


def factors_of_cosine(x, y):
    return {
        "Σ x y": dot(x, y),
        "‖x‖": length(x),
        "‖y‖": length(y),
        "‖x − y‖": length(x - y),
        "Σ |x|": absolute(x),
        "Σ |y|": absolute(y),
        "Σ |x y|": np.abs(x * y).sum(-1),
        "std(x)": x.std(-1),
        "std(y)": y.std(-1),
    }


def wrong_lengths(what, wrong):
    """The mistake in both lengths, or in one of them."""
    return {
        f"each length {what}": lambda x, y: dot(x, y) / (wrong(x) * wrong(y)),
        f"the length of x {what}": lambda x, y: dot(x, y) / (wrong(x) * length(y)),
        f"the length of y {what}": lambda x, y: dot(x, y) / (length(x) * wrong(y)),
    }


def centered(x, y):
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return dot(x, y) / (length(x) * length(y))


@points(1, "cosine_similarity: the example")
def test_cosine_similarity_example(submission):
    """The example in the docstring: lengths 5 and 10, then right angle, opposite, 3/5."""
    check_example(submission.cosine_similarity)


@points(3, "cosine_similarity: value")
def test_cosine_similarity_value(submission):
    """The product of the vectors, divided by both their lengths."""
    check_value(
        submission.cosine_similarity,
        shapes=[((5, 3), (5, 3)), ((7,), (7,)), ((2, 5, 4), (2, 5, 4)), ((3, 1), (3, 1))],
        axes="batch time",
        formula=("Σ x y / ‖x‖ / ‖y‖", factors_of_cosine),
        mistakes={
            "this is the bare product: divide by both lengths": dot,
            "the lengths are added; they are multiplied": lambda x, y: (
                dot(x, y) / (length(x) + length(y))
            ),
            "this is the distance of the two, the length of their difference": lambda x, y: length(
                x - y
            ),
            "only x's length is divided by": lambda x, y: dot(x, y) / length(x),
            "only y's length is divided by": lambda x, y: dot(x, y) / length(y),
            "the sign is lost: opposite vectors have similarity -1": lambda x, y: np.abs(
                dot(x, y) / (length(x) * length(y))
            ),
            "the products' signs are lost: Σ |x_i y_i| is not Σ x_i y_i": lambda x, y: (
                np.abs(x * y).sum(-1) / (length(x) * length(y))
            ),
            "this is the angle; its cosine is asked for": lambda x, y: np.arccos(
                np.clip(dot(x, y) / (length(x) * length(y)), -1, 1)
            ),
            "the mean of each vector is subtracted: that is a correlation": lambda x, y: (
                centered(x, y) if x.shape[-1] > 1 else None
            ),
            "this is 1 - cosine, a distance": lambda x, y: 1 - dot(x, y) / (length(x) * length(y)),
            "the product is summed over all axes; each pair of vectors has its own": lambda x, y: (
                (x * y).sum() / (length(x) * length(y))
            ),
            "all vectors are taken for one long one: only the last axis is summed": lambda x, y: (
                (x * y).sum() / (length(x, None) * length(y, None))
            ),
            "every x meets every y; the first x goes with the first y, and so on": lambda x, y: (
                x @ y.T / (length(x)[:, None] * length(y)) if x.ndim == 2 else None
            ),
            "every x meets every y, as in x @ y.T; sum x * y over the last axis": lambda x, y: (
                x @ y.T / (length(x) * length(y)) if x.ndim == 2 else None
            ),
            **wrong_lengths("is taken over all axes; each vector has its own", over_all),
            **wrong_lengths("is a sum of absolute values; it is the root of Σ x²", absolute),
            **wrong_lengths("is the sum of squares, not rooted", dot_with_itself),
        },
    )


@points(1, "cosine_similarity: broadcasting")
def test_cosine_similarity_broadcast(submission):
    """One vector against many, and many against many: only the last axis is special."""
    check_value(
        submission.cosine_similarity,
        shapes=[((4,), (5, 4)), ((5, 4), (4,)), ((5, 1, 4), (1, 3, 4)), ((0, 4), (4,))],
        axes="row column",
    )


ZERO = "a vector of zeros divides by zero: let max(‖x‖, ε) be the length"


@points(2, "cosine_similarity: zeros, tiny and large vectors")
def test_cosine_similarity_edges(submission):
    """Zero vectors give 0 and no NaN; ε limits each length and changes nothing else."""
    x = normal(3, 4)
    zero = np.array([[0.0] * 4, [1.0, 2, 3, 4], [0.0] * 4])
    mistakes = {
        "ε is added to the lengths; it is their lower limit": lambda x, y: (
            dot(x, y) / ((length(x) + 1e-8) * (length(y) + 1e-8))
        ),
        "ε limits the squares of the lengths, so √ε the lengths": lambda x, y: (
            dot(x, y) / np.sqrt(np.maximum(dot(x, x), 1e-8) * np.maximum(dot(y, y), 1e-8))
        ),
        "ε is added to the squares, under the root; it limits the length": lambda x, y: (
            dot(x, y) / np.sqrt((dot(x, x) + 1e-8) * (dot(y, y) + 1e-8))
        ),
        "ε is added to one length's square, under the root; it limits the length": lambda x, y: (
            dot(x, y) / (np.sqrt(dot(x, x) + 1e-8) * np.maximum(length(y), 1e-8))
        ),
        "ε limits the product of the lengths; it belongs to each of them": lambda x, y: (
            dot(x, y) / np.maximum(length(x) * length(y), 1e-8)
        ),
        "ε is added to the product of the lengths; it is each one's lower limit": lambda x, y: (
            dot(x, y) / (length(x) * length(y) + 1e-8)
        ),
        ZERO: lambda x, y: dot(x, y) / (length(x) * length(y)),
    }
    cases = [
        case(x * 1e-6, normal(3, 4), label="tiny vectors beside others"),
        case(x * 1e-6, normal(3, 4) * 1e-5, label="tiny vectors"),
        case(x * 1e4, normal(3, 4) * 1e4, label="large vectors"),
        case(zero, x, label="vectors of zeros"),
        case(x, zero, label="vectors of zeros"),
    ]
    with np.errstate(all="ignore"):
        check_value(submission.cosine_similarity, cases, mistakes=mistakes)
        ignored = {"the argument eps is not used": lambda x, y, eps: mistakes[ZERO](x, y)}
        check_value(submission.cosine_similarity, [case(x, x * 0.5, eps=10.0)], mistakes=ignored)


@points(1, "cosine_similarity: fit for use")
def test_cosine_similarity_manners(submission):
    """float32 in, float32 out; x and y are not changed; views work."""
    check_manners(submission.cosine_similarity, shapes=[((5, 3), (5, 3)), ((4,), (5, 4))])


# ---------------------------------------------------------------------------------------------
# principal_components, for honor
# ---------------------------------------------------------------------------------------------


CLOUDS = [(7, 4), (5, 9), (12, 3)]


def components(vectors, k=2, center=None, scale=False, first=True):
    centered = vectors - (vectors.mean(0) if center is None else center(vectors))
    u, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    flat = u * sizes if not scale else u
    flat = flat[:, :k] if first else flat[:, ::-1][:, :k]
    return turned(flat)


def directions(vectors):
    return np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2]


def turned(flat):
    return flat * np.sign(flat[np.abs(flat).argmax(0), np.arange(flat.shape[1])])


@points(0, "principal_components: the example")
def test_principal_components_example(submission):
    """The example in the docstring: a cloud along the first axis."""
    check_example(submission.principal_components)


@points(0, "principal_components: value")
def test_principal_components_value(submission):
    """Centered, projected on the directions of largest spread, and turned to be positive."""
    spread = [case(normal(*shape) * 2.0 ** -np.arange(shape[1]) + 1, k=2) for shape in CLOUDS]
    spread += [case(normal(6, 5) * 3.0 ** -np.arange(5), k=k) for k in (1, 3)]

    def right_signs_apart(v, k=2):
        return np.abs(components(v, k))

    check_value(
        submission.principal_components,
        spread,
        axes="vector direction",
        mistakes={
            "the mean of the vectors is not subtracted": lambda v, k=2: components(
                v, k, center=lambda v: 0 * v.mean(0)
            ),
            "each vector's own mean is subtracted; it is the mean over the vectors": (
                lambda v, k=2: components(v, k, center=lambda v: v.mean(1, keepdims=True))
            ),
            "these are the left singular vectors: the singular values are missing": (
                lambda v, k=2: components(v, k, scale=True)
            ),
            "the singular values are squared: u · s is asked for, or the vectors times the rows": (
                lambda v, k=2: turned(
                    components(v, k) * np.linalg.svd(v - v.mean(0), compute_uv=False)[:k]
                )
            ),
            "these are the directions of smallest spread": lambda v, k=2: components(
                v, k, first=False
            ),
            "the last rows of svd's third result are taken; the first have the largest spread": (
                lambda v, k=2: turned((v - v.mean(0)) @ directions(v)[-k:].T)
            ),
            "the signs are dropped: a direction is turned as a whole": right_signs_apart,
            "the mean of all numbers is subtracted; each feature has its own": (
                lambda v, k=2: components(v, k, center=lambda v: v.mean())
            ),
            "the vectors are projected as they are; project those less the mean": (
                lambda v, k=2: turned(v @ directions(v).T[:, :k])
            ),
            "each feature is divided by its spread; only the mean is subtracted": (
                lambda v, k=2: components((v - v.mean(0)) / v.std(0), k)
            ),
            "the first columns of svd's third result are taken; directions are its rows": (
                lambda v, k=2: turned((v - v.mean(0)) @ directions(v)[:, :k])
            ),
            "these are the first features, not the directions of largest spread": (
                lambda v, k=2: (v - v.mean(0))[:, :k]
            ),
        },
    )


@points(0, "principal_components: signs, and fit for the model")
def test_principal_components_manners(submission):
    """The largest entry of each column is positive; float32 stays; nothing is changed."""
    vectors = normal(9, 5) * 2.0 ** -np.arange(5)
    flat = output(submission.principal_components, vectors, k=3)
    largest = flat[np.abs(flat).argmax(0), np.arange(3)]
    check(
        bool((largest > 0).all()),
        f"principal_components: the largest entries of the columns are {largest.round(3)}.",
        "the sign is as svd gives it, or of another rule: a column's largest entry is positive",
    )
    check_manners(submission.principal_components, [case(vectors, k=2)], rtol=1e-3)
