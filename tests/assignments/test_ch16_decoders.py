"""Graders of chapter 16: gelu_new, add_positions, qk_norm, fine_tuning_loss, yarn_scale, names."""

import math

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
from tinyqwen.course.calls import StudentError, Symptom

TITLE = "GPT, LLaMA, Qwen"
ASSIGNED = {
    "gelu_new": "functional.gaussian",
    "add_positions": "functional.learned_positions",
    "qk_norm": "functional.normalization",
    "fine_tuning_loss": "functional.fine_tuning",
    "yarn_scale": "functional.positions",
    "conv1d_to_linear": "analysis.decoders",
    "dynamic_theta": "functional.positions",
}
STRETCH = ("dynamic_theta",)


def expect_refusal(function, args, told, mistake):
    """The function raises ValueError for these arguments."""
    try:
        function(*args)
    except StudentError as error:
        check("raised ValueError" in str(error), f"{told}: ValueError was expected.\n{error}")
    else:
        check(False, f"{told}: ValueError was expected; none came.", mistake)


# ---------------------------------------------------------------------------------------------
# gelu_new, 7 points
# ---------------------------------------------------------------------------------------------

SHAPES = [(2, 5), (1,), (3, 0, 4), ()]
ROOT, CUBE = math.sqrt(2 / math.pi), 0.044715


def u_of(x, root=ROOT, cube=CUBE):
    return root * (x + cube * x**3)


def phi_of(x):
    return 0.5 * (1 + np.tanh(u_of(x)))


def slope_of(x, inner, half=0.5):
    """Φ + x Φ', where Φ' = half (1 - tanh² u) u', and u' = inner."""
    return phi_of(x) + x * half * (1 - np.tanh(u_of(x)) ** 2) * inner


def exact_gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


@points(1, "gelu_new: the example")
def test_gelu_new_example(submission):
    """The example in the docstring."""
    check_example(submission.gelu_new)


@points(2, "gelu_new: value")
def test_gelu_new_value(submission):
    """x/2 (1 + tanh u), with u of x and its cube."""
    check_value(
        submission.gelu_new,
        shapes=SHAPES,
        scale=1.5,
        mistakes={
            "this is chapter 04's GELU, with erf; GPT-2's has a tanh in its place": exact_gelu,
            "√(2/π) multiplies the bracket x + 0.044715 x³, not x alone": lambda x: (
                0.5 * x * (1 + np.tanh(ROOT * x + CUBE * x**3))
            ),
            "the cube of x is missing: it is x² here": lambda x: (
                0.5 * x * (1 + np.tanh(ROOT * (x + CUBE * x**2)))
            ),
            "the term with x³ is missing": lambda x: 0.5 * x * (1 + np.tanh(ROOT * x)),
            "this is 2/π; its root is asked for": lambda x: (
                0.5 * x * (1 + np.tanh(u_of(x, root=2 / math.pi)))
            ),
            "the half is missing: Φ goes from 0 to 1": lambda x: x * (1 + np.tanh(u_of(x))),
            "the 1 is missing: tanh goes from -1 to 1, Φ from 0 to 1": lambda x: (
                0.5 * x * np.tanh(u_of(x))
            ),
            "this is Φ alone; it is to be multiplied by x": phi_of,
            "this is x σ(1.702 x), another approximation": lambda x: x / (1 + np.exp(-1.702 * x)),
            "the cube is of √(2/π) x; it is of x, and √(2/π) multiplies the sum": lambda x: (
                0.5 * x * (1 + np.tanh(ROOT * x + CUBE * (ROOT * x) ** 3))
            ),
            "the cube is subtracted; it is added": lambda x: (
                0.5 * x * (1 + np.tanh(u_of(x, cube=-CUBE)))
            ),
            "this is √(2 π), the root of a product; √(2/π) is that of a quotient": lambda x: (
                0.5 * x * (1 + np.tanh(u_of(x, root=math.sqrt(2 * math.pi))))
            ),
            "this is 1/√2, which belongs to erf; the tanh has √(2/π)": lambda x: (
                0.5 * x * (1 + np.tanh(u_of(x, root=1 / math.sqrt(2))))
            ),
            "the small number is 0.044715, with one zero behind the point": lambda x: (
                0.5 * x * (1 + np.tanh(u_of(x, cube=0.44715)))
            ),
        },
    )


@points(1, "gelu_new: large numbers")
def test_gelu_new_large(submission):
    """At ±10,000 it is x, or 0, and its slope 1, or 0."""
    large, told = (
        [case(np.array([1e4, -1e4, 300.0, -300.0, 30.0, -30.0]))],
        ("a tanh written with exponentials overflows: np.tanh does not"),
    )

    def tanh(u):
        return (np.exp(u) - np.exp(-u)) / (np.exp(u) + np.exp(-u))

    def slope(x):
        e = np.exp(2 * u_of(x))
        return phi_of(x) + 0.5 * x * 4 * e / (1 + e) ** 2 * ROOT * (1 + 3 * CUBE * x * x)

    value = {told: lambda x: 0.5 * x * (1 + tanh(u_of(x)))}
    check_value(submission.gelu_new, large, mistakes=value)
    check_vjp(submission.gelu_new, large, mistakes={told: lambda x, g: (g * slope(x),)})


@points(2, "gelu_new: gradient")
def test_gelu_new_vjp(submission):
    """The product rule, and the chain rule through tanh and u."""

    def inner(x, three=3):
        return ROOT * (1 + three * CUBE * x * x)

    check_vjp(
        submission.gelu_new,
        shapes=SHAPES,
        scale=1.5,
        mistakes={
            "the product rule's second term, x Φ', is missing": lambda x, g: (g * phi_of(x),),
            "the product rule's first term, Φ, is missing": lambda x, g: (
                g * (slope_of(x, inner(x)) - phi_of(x)),
            ),
            "the chain rule stops at tanh: the factor u' is missing": lambda x, g: (
                g * slope_of(x, 1.0),
            ),
            "u' is taken for √(2/π); x³ has a slope, too": lambda x, g: (g * slope_of(x, ROOT),),
            "the slope of x³ is 3 x²; the 3 is missing": lambda x, g: (
                g * slope_of(x, inner(x, three=1)),
            ),
            "√(2/π) is missing in u'": lambda x, g: (g * slope_of(x, inner(x) / ROOT),),
            "the half is missing in Φ'": lambda x, g: (g * slope_of(x, inner(x), half=1.0),),
            "the slope of tanh is 1 - tanh²; the square is missing": lambda x, g: (
                g * (phi_of(x) + 0.5 * x * (1 - np.tanh(u_of(x))) * inner(x)),
            ),
            "the product rule's second term is x Φ'; its x is missing": lambda x, g: (
                g * (phi_of(x) + 0.5 * (1 - np.tanh(u_of(x)) ** 2) * inner(x)),
            ),
            "the slope of tanh is taken at x; it is 1 - tanh² u": lambda x, g: (
                g * (phi_of(x) + 0.5 * x * (1 - np.tanh(x) ** 2) * inner(x)),
            ),
            "Φ' is the bell curve's height, which belongs to erf; tanh has a slope of its own": (
                lambda x, g: (g * (phi_of(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)),)
            ),
            "this is the slope of chapter 04's GELU, with erf": lambda x, g: (
                g * (exact_gelu(x) / x + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)),
            ),
        },
    )


@points(1, "gelu_new: fit for the model")
def test_gelu_new_manners(submission):
    """float32 in, float32 out; x is not changed; views work."""
    check_manners(submission.gelu_new, shapes=SHAPES, scale=2.0)


# ---------------------------------------------------------------------------------------------
# add_positions, 7 points
# ---------------------------------------------------------------------------------------------

PLACED = {"out": "batch time feature", "x": "batch time feature", "weight": "position feature"}


def placed(batch, time, rows, features, ids=None, label=""):
    ids = rng().integers(0, rows, (batch, time)) if ids is None else np.asarray(ids)
    return case(normal(batch, time, features), normal(rows, features), ids, label=label)


def placed_cases():
    return [
        placed(2, 5, 7, 3, np.arange(5), label="the same positions in each text"),
        placed(3, 4, 6, 5, np.arange(2, 6)[None], label="positions (1, T)"),
        placed(2, 6, 4, 3, label="other positions in each text, some twice"),
        placed(2, 3, 5, 2, [[0, 0, 1], [0, 1, 2]], label="padding in front, at position 0"),
        placed(1, 1, 1, 4, label="one token, one position"),
        placed(2, 0, 3, 2, np.zeros((2, 0), int), label="no tokens"),
    ]


def scattered(x, weight, ids, g):
    dweight = np.zeros_like(weight)
    np.add.at(dweight, np.broadcast_to(ids, x.shape[:2]), g)
    return dweight


def assigned(x, weight, ids, g):
    dweight = np.zeros_like(weight)
    dweight[np.broadcast_to(ids, x.shape[:2])] = g
    return dweight


def per_text(x, weight, ids, g):
    """Summed over the batch, and then assigned."""
    if ids.ndim > 1 and len(ids) > 1:
        return None
    dweight = np.zeros_like(weight)
    dweight[ids.reshape(-1)] = g.sum(0)
    return dweight


def first_text(x, weight, ids, g):
    shared = ids.ndim == 1 or len(ids) == 1
    return scattered(x[:1], weight, ids[-1:] if ids.ndim > 1 else ids, g[:1]) if shared else None


def averaged(x, weight, ids, g):
    counts = np.bincount(np.broadcast_to(ids, x.shape[:2]).reshape(-1), minlength=len(weight))
    return scattered(x, weight, ids, g) / np.maximum(counts, 1)[:, None]


@points(1, "add_positions: the example")
def test_add_positions_example(submission):
    """Three tokens, of which two stand at position 2."""
    check_example(submission.add_positions)


@points(1, "add_positions: value")
def test_add_positions_value(submission):
    """Each token gets the row of its own position."""

    def counted(x, weight, ids):
        return x + weight[: x.shape[1]] if x.shape[1] <= len(weight) else None

    check_value(
        submission.add_positions,
        placed_cases(),
        axes=PLACED,
        mistakes={
            "positions are counted 0, 1, 2 …; their numbers are given": counted,
            "the tokens' vectors are missing: this is the rows alone": lambda x, w, ids: (
                np.broadcast_to(w[ids], x.shape)
            ),
            "the rows are multiplied; they are added": lambda x, w, ids: x * w[ids],
            "every text gets the positions of the first": lambda x, w, ids: (
                x + w[ids[:1]] if ids.ndim == 2 else None
            ),
            "the rows are one off: the first position is 0": lambda x, w, ids: (
                x + w[(ids + 1) % len(w)]
            ),
            "the rows are one off: position 0 has the first row": lambda x, w, ids: x + w[ids - 1],
            "x is scaled by √C, as in the paper of 2017; GPT-2 does not": lambda x, w, ids: (
                x * math.sqrt(x.shape[-1]) + w[ids]
            ),
        },
    )


@points(1, "add_positions: outside the table")
def test_add_positions_outside(submission):
    """A position that has no row is refused, a negative one as well."""
    for wrong in ([0, 1, 5], [[0, 1, -1], [0, 1, 2]], [-5, 0, 1], [[3, 4, 100]]):
        ids = np.array(wrong)
        expect_refusal(
            submission.add_positions,
            (normal(2, 3, 4), normal(5, 4), ids),
            f"add_positions of positions {wrong} with 5 rows",
            "a negative position counts from the end of the table"
            if ids.min() < 0
            else "a place behind the table gets the vector of another one",
        )


@points(3, "add_positions: gradients")
def test_add_positions_vjp(submission):
    """A row's gradient is the sum over all texts and places where its position stands."""
    check_vjp(
        submission.add_positions,
        placed_cases(),
        axes=PLACED,
        mistakes={
            "where a position repeats, gradients must be added up; one overwrites the others": (
                lambda x, w, ids, g: (None, assigned(x, w, ids, g))
            ),
            "only the first text of the batch is counted": lambda x, w, ids, g: (
                None,
                first_text(x, w, ids, g),
            ),
            "every text gets the positions of the first, on the way back": lambda x, w, ids, g: (
                None,
                scattered(x, w, ids[:1], g) if ids.ndim == 2 else None,
            ),
            "the mean over a position's texts and places stands where their sum belongs": (
                lambda x, w, ids, g: (None, averaged(x, w, ids, g))
            ),
            "the gradients are averaged over the batch; they are summed": lambda x, w, ids, g: (
                None,
                scattered(x, w, ids, g) / max(len(x), 1),
            ),
            "dweight has a row for each row of weight, with zeros where no position pointed": (
                lambda x, w, ids, g: (None, scattered(x, w, ids, g)[np.unique(ids)])
            ),
            "positions are counted 0, 1, 2 …; their numbers are given": lambda x, w, ids, g: (
                None,
                scattered(x, w, np.arange(x.shape[1]), g) if x.shape[1] <= len(w) else None,
            ),
            "dx is g as it came: the sum passes it on": lambda x, w, ids, g: (
                g * x,
                None,
            ),
            "dx is divided among the two summands; each gets all of g": lambda x, w, ids, g: (
                g / 2,
                None,
            ),
            "dx is what the rows get; x gets g": lambda x, w, ids, g: (
                scattered(x, w, ids, g)[np.broadcast_to(ids, x.shape[:2])],
                None,
            ),
        },
    )


@points(1, "add_positions: fit for the model")
def test_add_positions_manners(submission):
    """float32 in, float32 out; x and the table are not changed; views work."""
    check_manners(submission.add_positions, placed_cases())


# ---------------------------------------------------------------------------------------------
# qk_norm, 8 points
# ---------------------------------------------------------------------------------------------

HEADS = "batch head time feature"
NORMED = {"query": HEADS, "key": HEADS, "query_weight": "feature", "key_weight": "feature"}


def heads_case(batch, heads, kv_heads, time, size, eps=1e-6, scale=1.0, label=""):
    shapes = (batch, heads, time, size), (batch, kv_heads, time, size)
    q, k = (normal(*shape, scale=scale) for shape in shapes)
    return case(q, k, normal(size), normal(size), eps=eps, label=label)


def heads_cases():
    return [
        heads_case(2, 6, 3, 5, 4),
        heads_case(1, 4, 1, 3, 10, eps=0.3, label="a large eps"),
        heads_case(2, 2, 2, 1, 3, label="one token"),
        heads_case(1, 3, 3, 2, 1, eps=0.1, label="heads of one feature"),
        heads_case(2, 4, 2, 0, 6, label="no tokens"),
    ]


def rms(x, w, eps, axis=-1):
    return w * x / np.sqrt((x * x).mean(axis, keepdims=True) + eps)


def rms_gradient(x, w, eps, g):
    """dx (B, H, T, D), and the rows that dw is the sum of."""
    r = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    h = g * w
    return r * (h - x * r * (h * x * r).mean(-1, keepdims=True)), g * x * r


def both(change):
    """What a mistake that is made with queries and keys alike returns."""
    return lambda q, k, qw, kw, eps=1e-6: (change(q, qw, eps), change(k, kw, eps))


@points(1, "qk_norm: the example")
def test_qk_norm_example(submission):
    """Two query heads on one key/value head."""
    check_example(submission.qk_norm)


@points(2, "qk_norm: value")
def test_qk_norm_value(submission):
    """Each head of each token for itself, with the weight of its kind."""
    check_value(
        submission.qk_norm,
        heads_cases(),
        axes=HEADS,
        outputs=("query", "key"),
        mistakes={
            "the mean is over all heads of a token; each head has its own": both(
                lambda x, w, eps: rms(x, w, eps, axis=(1, 3))
            ),
            "the mean is over the tokens; each has its own": both(
                lambda x, w, eps: rms(x, w, eps, axis=(2, 3)) if x.shape[2] else None
            ),
            "keys have a weight of their own; they are multiplied by the queries'": (
                lambda q, k, qw, kw, eps=1e-6: (rms(q, qw, eps), rms(k, qw, eps))
            ),
            "the two weights are exchanged": lambda q, k, qw, kw, eps=1e-6: (
                rms(q, kw, eps),
                rms(k, qw, eps),
            ),
            "ε belongs under the root": both(
                lambda x, w, eps: w * x / (np.sqrt((x * x).mean(-1, keepdims=True)) + eps)
            ),
            "the weight is left out": both(lambda x, w, eps: rms(x, 1.0, eps)),
            "the sum of the squares stands where their mean belongs": both(
                lambda x, w, eps: w * x / np.sqrt((x * x).sum(-1, keepdims=True) + eps)
            ),
            "this is LayerNorm, which subtracts the mean; RMSNorm does not": both(
                lambda x, w, eps: rms(x - x.mean(-1, keepdims=True), w, eps)
            ),
            "the weight is 1 + w, as in Gemma; here it is w": both(
                lambda x, w, eps: rms(x, 1 + w, eps)
            ),
            "the keys come back as they were": lambda q, k, qw, kw, eps=1e-6: (
                rms(q, qw, eps),
                k,
            ),
        },
    )


@points(1, "qk_norm: the size of a projection is gone")
def test_qk_norm_bounded(submission):
    """A score is at most √D, whatever the size of queries and keys, where the weights are 1."""
    (q, k, _, _), size = heads_case(2, 4, 2, 5, 6).args, 6
    ones = np.ones(size)
    normed = output(submission.qk_norm, q, k, ones, ones, eps=0.0)
    for name, mine in zip(("query", "key"), normed):
        check_close(
            np.square(mine).sum(-1),
            np.full(mine.shape[:3], float(size)),
            f"the squared length of each normed {name}, which is D,",
            axes="batch head time",
        )
    again = output(submission.qk_norm, 1000 * q, k, ones, ones, eps=0.0)
    with likely("the size of the queries shows in the result: what divides them is not theirs"):
        check_close(again[0], normed[0], "the normed query of 1000 · query", axes=HEADS)
        check_close(again[1], normed[1], "the normed key beside 1000 · query", axes=HEADS)


@points(3, "qk_norm: gradients")
def test_qk_norm_vjp(submission):
    """Two RMSNorms that do not meet; a weight's gradient is summed over batch, heads and time."""

    def parts(q, k, qw, kw, g, eps):
        (dq, q_rows), (dk, k_rows) = rms_gradient(q, qw, eps, g[0]), rms_gradient(k, kw, eps, g[1])
        return dq, dk, q_rows, k_rows

    def weights(change):
        def wrong(q, k, qw, kw, g, eps=1e-6):
            *_, q_rows, k_rows = parts(q, k, qw, kw, g, eps)
            return None, None, change(q_rows), change(k_rows)

        return wrong

    def inputs(change):
        return lambda q, k, qw, kw, g, eps=1e-6: (
            change(q, qw, eps, g[0]),
            change(k, kw, eps, g[1]),
            None,
            None,
        )

    def exchanged(q, k, qw, kw, g, eps=1e-6):
        *_, q_rows, k_rows = parts(q, k, qw, kw, g, eps)
        return None, None, k_rows.sum((0, 1, 2)), q_rows.sum((0, 1, 2))

    def root(x, eps):
        return np.sqrt((x * x).mean(-1, keepdims=True) + eps)

    check_vjp(
        submission.qk_norm,
        heads_cases(),
        axes=NORMED,
        mistakes={
            "keys have a weight of their own; on the way back, the queries' stands there": (
                lambda q, k, qw, kw, g, eps=1e-6: (
                    None,
                    rms_gradient(k, qw, eps, g[1])[0],
                    None,
                    None,
                )
            ),
            "r is treated as a constant; it depends on every entry": inputs(
                lambda x, w, eps, g: g * w / root(x, eps)
            ),
            "the weight is missing in the gradient": inputs(
                lambda x, w, eps, g: rms_gradient(x, 1.0, eps, g)[0]
            ),
            "the gradients of the two weights are exchanged": exchanged,
            "a weight is shared by all heads: the sum over the heads is missing": weights(
                lambda rows: rows.sum((0, 2))
            ),
            "the sum over the batch is missing": weights(lambda rows: rows[0].sum((0, 1))),
            "a weight's gradient is the mean over its uses; they are summed": weights(
                lambda rows: rows.mean((0, 1, 2)) if rows.size else None
            ),
            "a weight's gradient is one row for each use; their sum is asked for": weights(
                lambda rows: rows
            ),
            "x̂ is missing: a weight's gradient is Σ g x̂": (
                lambda q, k, qw, kw, g, eps=1e-6: (
                    None,
                    None,
                    g[0].sum((0, 1, 2)),
                    g[1].sum((0, 1, 2)),
                )
            ),
        },
    )


@points(1, "qk_norm: fit for the model")
def test_qk_norm_manners(submission):
    """float32 in, float32 out; nothing is changed in place; views work."""
    check_manners(submission.qk_norm, heads_cases())


# ---------------------------------------------------------------------------------------------
# fine_tuning_loss, 10 points
# ---------------------------------------------------------------------------------------------

TUNED = {"class_logits": "text label", "hidden": "text time feature", "weight": "token feature"}


def tuned_case(batch, time, labels, features, vocabulary, lengths=None, label="", **options):
    """A case; lengths of the texts, whose rest is padding with token 0, a token like any other."""
    lengths = np.full(batch, time) if lengths is None else np.asarray(lengths)
    mask = (np.arange(time) < lengths[:, None]).astype(int)
    ids = np.where(mask == 1, rng().integers(0, vocabulary, (batch, time)), 0)
    arrays = normal(batch, labels), normal(batch, time, features), normal(vocabulary, features)
    labels = rng().integers(0, labels, batch)
    return case(*arrays, labels, ids, mask, label=label, **options)


def full_cases():
    return [
        tuned_case(3, 5, 4, 2, 7, lm_weight=0.5),
        tuned_case(1, 2, 2, 3, 5, lm_weight=2.0, label="one text of two tokens"),
    ]


def padded_cases():
    return [
        tuned_case(3, 6, 4, 2, 5, [6, 3, 2], lm_weight=0.7),
        tuned_case(2, 4, 3, 3, 6, [4, 2], lm_weight=0.5),
    ]


def log_p(logits):
    top = logits - logits.max(-1, keepdims=True)
    return top - np.log(np.exp(top).sum(-1, keepdims=True))


def label_loss(classes, labels):
    return -log_p(classes)[np.arange(len(labels)), labels].mean()


def token_losses(hidden, weight, ids):
    """-ln p(token t + 1) at each t but the last, (B, T - 1)."""
    found = log_p(hidden @ weight.T)[:, :-1]
    return -np.take_along_axis(found, ids[:, 1:, None], -1)[..., 0]


def lm_loss(hidden, weight, ids, mask):
    counts = mask[:, 1:] == 1
    return token_losses(hidden, weight, ids)[counts].mean()


def both_losses(c, h, w, y, ids, mask):
    return label_loss(c, y), lm_loss(h, w, ids, mask)


def unshifted(h, w, ids, mask):
    losses = -np.take_along_axis(log_p(h @ w.T), ids[..., None], -1)[..., 0]
    return losses[mask == 1].mean()


def backwards(h, w, ids, mask):
    """Each state asked for the token before it, where the state's own token is no padding."""
    losses = -np.take_along_axis(log_p(h @ w.T)[:, 1:], ids[:, :-1, None], -1)[..., 0]
    return losses[mask[:, 1:] == 1].mean()


TUNING = {
    "λ multiplies the labels' loss; it belongs to the tokens'": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            lm_weight * label_loss(c, y) + lm_loss(h, w, ids, mask)
        )
    ),
    "λ is not used": lambda c, h, w, y, ids, mask, **_: sum(both_losses(c, h, w, y, ids, mask)),
    "the losses are mixed, (1 - λ) and λ; L_FT counts in full": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            (1 - lm_weight) * label_loss(c, y) + lm_weight * lm_loss(h, w, ids, mask)
        )
    ),
    "L_PT is missing": lambda c, h, w, y, ids, mask, **_: label_loss(c, y),
    "L_FT is missing": lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
        lm_weight * lm_loss(h, w, ids, mask)
    ),
    "the tokens are not shifted: state t predicts token t + 1, not token t": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y) + lm_weight * unshifted(h, w, ids, mask)
        )
    ),
    "the shift runs the wrong way: state t predicts token t + 1, not token t - 1": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y) + lm_weight * lm_loss(h[:, ::-1], w, ids[:, ::-1], mask[:, ::-1])
        )
    ),
    "the shift runs the wrong way, and the mask is that of the token before": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y) + lm_weight * backwards(h, w, ids, mask)
        )
    ),
    "the tokens' losses are summed and divided by the texts; their mean is over tokens": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y)
            + lm_weight * lm_loss(h, w, ids, mask) * (mask[:, 1:] == 1).sum() / len(ids)
        )
    ),
    "the mean over tokens is taken of each text first; long texts have more tokens": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y)
            + lm_weight
            * np.mean(
                [lm_loss(h[i : i + 1], w, ids[i : i + 1], mask[i : i + 1]) for i in range(len(ids))]
            )
        )
    ),
    "padding is predicted, too: only tokens whose mask is 1 count": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y) + lm_weight * lm_loss(h, w, ids, np.ones_like(mask))
        )
    ),
    "the mask is not shifted with the tokens: the first padding behind a text is predicted": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y) + lm_weight * token_losses(h, w, ids)[mask[:, :-1] == 1].mean()
        )
    ),
    "padding counts in the divisor": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y) + lm_weight * lm_loss(h, w, ids, mask) * (mask[:, 1:] == 1).mean()
        )
    ),
    "the divisor of L_PT counts the first tokens, too, which nobody predicts": (
        lambda c, h, w, y, ids, mask, lm_weight=0.5, num_items=None: (
            label_loss(c, y)
            + lm_weight * lm_loss(h, w, ids, mask) * (mask[:, 1:] == 1).sum() / (mask == 1).sum()
        )
    ),
}


@points(1, "fine_tuning_loss: the example")
def test_fine_tuning_loss_example(submission):
    """One text, two labels, four words."""
    check_example(submission.fine_tuning_loss)


@points(2, "fine_tuning_loss: value")
def test_fine_tuning_loss_value(submission):
    """The label's loss, and λ times that of the next tokens."""
    check_value(submission.fine_tuning_loss, full_cases(), mistakes=TUNING)


@points(1, "fine_tuning_loss: padding")
def test_fine_tuning_loss_padding(submission):
    """Nobody has to predict what fills up a row; the mean is over all real tokens of all texts."""
    check_value(submission.fine_tuning_loss, padded_cases(), mistakes=TUNING)


@points(1, "fine_tuning_loss: a part of a batch")
def test_fine_tuning_loss_num_items(submission):
    """With the whole batch's divisors, the losses of two halves add up to the loss of the whole."""
    ((*arrays, ids, mask), options) = (
        (one := tuned_case(4, 5, 3, 2, 6, [5, 2, 4, 3], lm_weight=0.6)).args,
        one.options,
    )
    items = 4, int((mask[:, 1:] == 1).sum())
    args = (*arrays, ids, mask)
    halves = [
        output(
            submission.fine_tuning_loss,
            *(a[part] if i != 2 else a for i, a in enumerate(args)),
            **options,
            num_items=items,
        )
        for part in (slice(2), slice(2, None))
    ]
    whole = np.asarray(sum(both_losses(*args) * np.array([1, 0.6])))
    separate = [
        [a[part] if i != 2 else a for i, a in enumerate(args)] for part in (slice(2), slice(2, 4))
    ]
    each = [sum(both_losses(*part) * np.array([1, 0.6])) for part in separate]
    check_close(
        np.asarray(halves[0] + halves[1]),
        whole,
        "the sum of the losses of two halves, with the divisors of both,",
        mistakes={
            "num_items is not used": np.asarray(sum(each)),
            "the two divisors are exchanged: texts first, then tokens": np.asarray(
                label_loss(args[0], args[3]) * items[0] / items[1]
                + 0.6 * lm_loss(args[1], args[2], ids, mask) * items[1] / items[0]
            ),
            "the labels' loss is not divided by the texts of num_items": np.asarray(
                sum(label_loss(p[0], p[3]) for p in separate)
                + 0.6 * lm_loss(args[1], args[2], ids, mask)
            ),
            "the tokens' loss is not divided by the tokens of num_items": np.asarray(
                label_loss(args[0], args[3]) + 0.6 * sum(lm_loss(*p[1:3], *p[4:]) for p in separate)
            ),
        },
    )


@points(4, "fine_tuning_loss: gradients")
def test_fine_tuning_loss_vjp(submission):
    """Softmax minus one-hot, twice; λ on the way back as well; the last state gets zeros."""

    def of_labels(c, y):
        return (np.exp(log_p(c)) - np.eye(c.shape[-1])[y]) / len(y)

    def of_logits(h, w, ids, mask):
        counts = mask[:, 1:] == 1
        dz = np.zeros((*h.shape[:2], len(w)))
        dz[:, :-1] = np.exp(log_p(h @ w.T))[:, :-1] - np.eye(len(w))[ids[:, 1:]]
        dz[:, :-1] *= counts[..., None] / counts.sum()
        return dz

    def changed(factor, last=None, seen=lambda mask: mask):
        def wrong(c, h, w, y, ids, mask, g, lm_weight=0.5, num_items=None):
            used = seen(mask)
            dz = factor(lm_weight) * g * of_logits(h, w, ids, used)
            dh, dw = dz @ w, np.einsum("btv,btd->vd", dz, h)
            return None, dh if last is None else last(dh), dw

        return wrong

    def no_zeros(dh):
        return dh[:, :-1]

    def first_zeros(dh):
        return np.roll(dh, 1, axis=1)

    check_vjp(
        submission.fine_tuning_loss,
        full_cases() + padded_cases(),
        axes=TUNED,
        mistakes={
            "λ is missing on the way back": changed(lambda lm_weight: 1.0),
            "λ counts twice on the way back": changed(lambda lm_weight: lm_weight**2),
            "λ multiplies the labels' gradient; it belongs to the tokens'": (
                lambda c, h, w, y, ids, mask, g, lm_weight=0.5, num_items=None: (
                    lm_weight * g * of_labels(c, y),
                    None,
                    None,
                )
            ),
            "dhidden has no place for the last state; its gradient is zero": changed(
                lambda lm_weight: lm_weight, no_zeros
            ),
            "dhidden is one place late: the last state gets zeros, not the first": changed(
                lambda lm_weight: lm_weight, first_zeros
            ),
            "padding is predicted, too, on the way back": changed(
                lambda lm_weight: lm_weight, seen=np.ones_like
            ),
            "the mask is not shifted with the tokens, on the way back": changed(
                lambda lm_weight: lm_weight, seen=lambda mask: np.roll(mask, 1, 1)
            ),
            "dweight is the first text's alone; all texts and tokens share the table": (
                lambda c, h, w, y, ids, mask, g, lm_weight=0.5, num_items=None: (
                    None,
                    None,
                    lm_weight * g * of_logits(h, w, ids, mask)[0].T @ h[0],
                )
            ),
            "the one-hot label is missing: this is the softmax": (
                lambda c, h, w, y, ids, mask, g, lm_weight=0.5, num_items=None: (
                    g * np.exp(log_p(c)) / len(y),
                    None,
                    None,
                )
            ),
            "the labels' gradient is not divided by the number of texts": (
                lambda c, h, w, y, ids, mask, g, lm_weight=0.5, num_items=None: (
                    g * of_labels(c, y) * len(y),
                    None,
                    None,
                )
            ),
        },
    )


@points(1, "fine_tuning_loss: fit for the model")
def test_fine_tuning_loss_manners(submission):
    """float32 in, float32 out; nothing is changed in place; views work."""
    check_manners(submission.fine_tuning_loss, padded_cases() + full_cases())


# ---------------------------------------------------------------------------------------------
# yarn_scale, 8 points
# ---------------------------------------------------------------------------------------------

PAIRS = "pair"


def ramp(dim, low, high, factor, mixed=None, pairs=None, kept=None):
    pairs = np.arange(dim // 2) if pairs is None else pairs(dim)
    slow = (pairs - low) / (high - low or 0.001)
    slow = np.clip(slow, 0, 1) if kept is None else kept(slow)
    return (mixed or (lambda slow: slow / factor + 1 - slow))(slow)


def index_of(turns, dim, theta, original):
    return dim * math.log(original / (2 * math.pi * turns)) / (2 * math.log(theta))


def yarn(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True, **wrong):
    """The multipliers, with what a mistake changes: index, rounded, clipped, wider, or the ramp."""
    index = wrong.pop("index", index_of)
    low, high = (index(turns, dim, theta, original) for turns in (beta_fast, beta_slow))
    if truncate:
        low, high = wrong.pop("rounded", lambda a, b: (math.floor(a), math.ceil(b)))(low, high)
    low, high = wrong.pop("clipped", lambda a, b: (max(a, 0), min(b, dim - 1)))(low, high)
    high += wrong.pop("wider", 0)
    return ramp(dim, low, high, factor, **wrong)


def mistaken(**wrong):
    return lambda *args, **options: yarn(*args, **options, **wrong)


YARN = {
    "pairs are counted 0, 1, 2 …; here they are counted by their first feature, 0, 2, 4 …": (
        mistaken(pairs=lambda dim: np.arange(0, dim, 2))
    ),
    "the slowness is not kept between 0 and 1": mistaken(kept=lambda slow: slow),
    "0.001 widens every ramp; it is for one of no width": mistaken(wider=0.001),
    "the text's stretched length stands where the original one belongs": (
        lambda dim, t, factor, original, *a, **o: yarn(dim, t, factor, factor * original, *a, **o)
    ),
    "these are the scaled frequencies; what multiplies them is asked for": (
        lambda dim, t, *a, **o: yarn(dim, t, *a, **o) * t ** (-2 * np.arange(dim // 2) / dim)
    ),
    "high is rounded down; it is rounded up": mistaken(
        rounded=lambda a, b: (math.floor(a), math.floor(b))
    ),
    "the multipliers are (dim,) long, each twice, side by side; there are dim/2 pairs": (
        lambda *a, **o: np.repeat(yarn(*a, **o), 2)
    ),
    "the ends are rounded inwards; low is rounded down, high up": mistaken(
        rounded=lambda a, b: (math.ceil(a), math.floor(b))
    ),
    "low and high are rounded to the nearest; outwards: down and up": mistaken(
        rounded=lambda a, b: (round(a), round(b))
    ),
    "low and high are not rounded": mistaken(rounded=lambda a, b: (a, b)),
    "fast and slow are exchanged: fast pairs keep their frequency": (
        lambda dim, t, factor, *a, **o: 1 + 1 / factor - yarn(dim, t, factor, *a, **o)
    ),
    "beta_fast and beta_slow are exchanged: low is i(beta_fast)": (
        lambda dim, t, factor, original, fast=32.0, slow=1.0, **o: yarn(
            dim, t, factor, original, **{"beta_fast": slow, "beta_slow": fast, **o}
        )
    ),
    "the multiplier is factor where 1/factor belongs": lambda dim, t, factor, *a, **o: yarn(
        dim, t, 1 / factor, *a, **o
    ),
    "this is linear scaling: every frequency is divided by factor": (
        lambda dim, t, factor, *a, **o: np.full(dim // 2, 1 / factor)
    ),
    "the wavelengths are mixed, 1 + slow (factor - 1); YaRN mixes the frequencies": (
        lambda dim, t, factor, *a, **o: yarn(
            dim, t, factor, *a, **o, mixed=lambda slow: 1 / (1 + slow * (factor - 1))
        )
    ),
    "the slow share is added to the whole: slow/factor + (1 - slow)": (
        lambda dim, t, factor, *a, **o: yarn(
            dim, t, factor, *a, **o, mixed=lambda slow: slow / factor + 1
        )
    ),
    "the 2π is missing: a turn is 2π radians": mistaken(
        index=lambda turns, *a: index_of(turns / (2 * math.pi), *a)
    ),
    "the 2 of 2 ln θ is missing": mistaken(index=lambda turns, *a: 2 * index_of(turns, *a)),
    "the logarithm has base 10": mistaken(
        index=lambda turns, dim, theta, original: (
            index_of(turns, dim, theta, original) * math.log(theta) / math.log10(theta)
            if theta != 10
            else None
        )
    ),
    "dim/2 stands where dim belongs": mistaken(index=lambda *a: index_of(*a) / 2),
    "the multipliers are (dim,) long, each twice; there are dim/2 pairs": (
        lambda *a, **o: np.tile(yarn(*a, **o), 2)
    ),
    "low is not kept at 0 or above": mistaken(clipped=lambda a, b: (a, b)),
    "beta_fast and beta_slow are not used": lambda dim, t, factor, original, *a, **o: yarn(
        dim, t, factor, original, truncate=o.get("truncate", True)
    ),
    "truncate is not used: the ends are always rounded": lambda *a, **o: yarn(
        *a, **{**o, "truncate": True}
    ),
}


@points(1, "yarn_scale: the example")
def test_yarn_scale_example(submission):
    """Four pairs, from 1 to 1/4 on a straight line."""
    check_example(submission.yarn_scale)


@points(3, "yarn_scale: value")
def test_yarn_scale_value(submission):
    """Fast pairs keep 1, slow ones get 1/factor, a straight line between."""
    factor = float(2 + 1.4 * rng().random())  # far enough from 2π
    check_value(
        submission.yarn_scale,
        [
            case(64, 1e6, factor, 32768, label="Qwen2.5's heads"),
            case(20, 1e4, factor, 2048),
            case(8, 1e4, 4.0, 1000),
        ],
        axes=PAIRS,
        mistakes=YARN,
    )


@points(2, "yarn_scale: the ends")
def test_yarn_scale_ends(submission):
    """Pairs that would lie before the first or behind the last; a ramp of no width."""
    factor = float(2 + 6 * rng().random())
    check_value(
        submission.yarn_scale,
        [
            case(12, 1e4, factor, 20_000, label="high is past the last pair, and below dim - 1"),
            case(12, 1e4, factor, 100, label="low would be negative"),
            case(6, 100.0, factor, 10**6, label="high would be past dim - 1"),
            case(2, 1e4, factor, 150, label="a single pair"),
        ],
        axes=PAIRS,
        mistakes={
            "high is cut at dim/2 - 1; the limit is dim - 1": lambda dim, *a: yarn(
                dim, *a, clipped=lambda low, high: (max(low, 0), min(high, dim // 2 - 1))
            ),
            **YARN,
        },
    )

    def divided_by_zero(dim, theta, factor, original):
        slow = np.clip(np.arange(dim // 2) / np.float64(0), 0, 1)
        return slow / factor + 1 - slow

    check_value(
        submission.yarn_scale,
        [case(16, 1e4, factor, 6, label="low and high are both 0")],
        axes=PAIRS,
        mistakes={"high - low is 0 here: 0.001 is to be taken for it": divided_by_zero, **YARN},
    )


@points(2, "yarn_scale: options")
def test_yarn_scale_options(submission):
    """Other β, and ends that are not rounded."""
    factor = float(2 + 6 * rng().random())
    check_value(
        submission.yarn_scale,
        [
            case(32, 1e5, factor, 4096, beta_fast=16.0, beta_slow=2.0),
            case(32, 1e5, factor, 4096, truncate=False),
        ],
        axes=PAIRS,
        mistakes=YARN,
    )


# ---------------------------------------------------------------------------------------------
# conv1d_to_linear, 10 points
# ---------------------------------------------------------------------------------------------

LAYER = "model.layers.{}."
WIDTH, INNER, LAYERS = 3, 5, 12  # of the checkpoints that are drawn; layer 11 has two digits


def checkpoint(prefix=""):
    """A GPT-2's arrays: two of its layers."""
    C, found = WIDTH, {"wte.weight": normal(7, WIDTH), "wpe.weight": normal(6, WIDTH)}
    for layer in (1, LAYERS - 1):
        shapes = {
            **{f"{norm}.{kind}": (C,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")},
            **{"attn.c_attn.weight": (C, 3 * C), "attn.c_attn.bias": (3 * C,)},
            **{"attn.c_proj.weight": (C, C), "attn.c_proj.bias": (C,)},
            **{"mlp.c_fc.weight": (C, INNER), "mlp.c_fc.bias": (INNER,)},
            **{"mlp.c_proj.weight": (INNER, C), "mlp.c_proj.bias": (C,)},
        }
        found |= {f"h.{layer}.{name}": normal(*shape) for name, shape in shapes.items()}
    found |= {"ln_f.weight": normal(C), "ln_f.bias": normal(C)}
    return {prefix + name: array for name, array in found.items()}


def expected_of(state):
    """What the mapping gives, written out name by name."""
    state = {name.removeprefix("transformer."): array for name, array in state.items()}
    found = {"model.embed_tokens.weight": state["wte.weight"]}
    found["model.embed_positions.weight"] = state["wpe.weight"]
    for kind in ("weight", "bias"):
        found[f"model.norm.{kind}"] = state[f"ln_f.{kind}"]
        for layer in (1, LAYERS - 1):
            old, new = f"h.{layer}.", LAYER.format(layer)
            found[f"{new}input_layernorm.{kind}"] = state[f"{old}ln_1.{kind}"]
            found[f"{new}post_attention_layernorm.{kind}"] = state[f"{old}ln_2.{kind}"]
            for part, path in (("up_proj", "c_fc"), ("down_proj", "c_proj")):
                found[f"{new}mlp.{part}.{kind}"] = state[f"{old}mlp.{path}.{kind}"].T
            found[f"{new}self_attn.o_proj.{kind}"] = state[f"{old}attn.c_proj.{kind}"].T
            for i, name in enumerate("qkv"):
                columns = slice(i * WIDTH, (i + 1) * WIDTH)
                part = state[f"{old}attn.c_attn.{kind}"][..., columns]
                found[f"{new}self_attn.{name}_proj.{kind}"] = part.T
    return found


def mapped(submission, state):
    """The student's dict, or CheckFailed."""
    try:
        found = submission.conv1d_to_linear(state)
    except StudentError as error:
        unnamed = error.mistake is None or isinstance(error.mistake, Symptom)
        if unnamed and f"h.{LAYERS - 1}." in str(error).splitlines()[0]:
            error.mistake = r"a layer's number may have two digits: \d+, or name.split('.')"
        raise
    check(
        not submission.conv1d_to_linear.edited,
        "conv1d_to_linear changed the dict that it was given.",
        "pop and del take names out of the caller's dict: make a new one",
    )
    check(
        isinstance(found, dict),
        f"conv1d_to_linear returned a {type(found).__name__}; a dict was expected.",
        "a return statement is missing" if found is None else None,
    )
    return found


NAMES_WRONG = {
    "the layers' names begin with model., too": lambda name: name.replace("model.layers", "layers"),
    "the MLP's c_proj is down_proj; o_proj is attention's": lambda name: name.replace(
        "down_proj", "o_proj"
    ),
    "the names begin with model., and these do not": lambda name: name.removeprefix("model."),
    "a layer's number may have two digits; only the first is kept": lambda name: name.replace(
        ".11.", ".1."
    ),
    "the MLP's first layer is up_proj; there is no gate": lambda name: name.replace(
        "up_proj", "gate_proj"
    ),
    "the layers stand in model.layers, not in model.h": lambda name: name.replace(
        ".layers.", ".h."
    ),
}


def check_names(found, expected, what):
    missing, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    likely_one = None
    for told, change in NAMES_WRONG.items():
        if {change(name) for name in expected} == set(found):
            likely_one = told
    if likely_one is None and any("c_attn" in name for name in more):
        likely_one = "c_attn makes queries, keys and values: it becomes three layers"
    if likely_one is None and missing and all(name.endswith(".bias") for name in missing):
        likely_one = "the biases are mapped as well as the weights"
    if more and all(name.endswith(("attn.bias", "attn.masked_bias")) for name in more):
        likely_one = (
            "h.N.attn.bias and .masked_bias are masks that old checkpoints stored: leave them"
        )
    if likely_one is None and "lm_head.weight" in more:
        likely_one = "lm_head.weight is wte once more: leave it"
    if likely_one is None and any("transformer" in name for name in more):
        likely_one = "the prefix transformer. is still there"
    if likely_one is None and any("o_proj" in name for name in missing):
        likely_one = "there are two c_proj in a layer: attention's is o_proj, the MLP's down_proj"
    check(
        not missing and not more,
        f"{what}: the names are wrong.\n  missing   {', '.join(missing[:3]) or 'none'}"
        f"{' …' if len(missing) > 3 else ''}\n  too many  {', '.join(more[:3]) or 'none'}"
        f"{' …' if len(more) > 3 else ''}",
        likely_one,
    )


def array_mistakes(name, expected):
    """What may stand in the place of one array: {mistake: array}."""
    right, (path, _, kind) = expected[name], name.rpartition(".")
    wrong = {}
    if right.ndim == 2:
        told = "Linear's weight is (out, in): Conv1D's is to be transposed"
        wrong["an embedding is no Conv1D: its rows stay rows" if "embed" in name else told] = (
            right.T
        )
    exchanged = {"up_proj": "down_proj", "down_proj": "up_proj"}
    for one, other in exchanged.items():
        if one in path:
            told = "up_proj and down_proj are exchanged: c_fc is up_proj, c_proj is down_proj"
            wrong[told] = expected[name.replace(one, other)]
    if ".self_attn." in name and "o_proj" not in name:
        names = [f"{path.rpartition('.')[0]}.{one}_proj.{kind}" for one in "qkv"]
        own, whole = names.index(name), np.concatenate([expected[other] for other in names])
        for other in names:
            if other != name:
                told = f"this is what belongs to {other.split('.')[-2]}"
                wrong[f"{told}; they come in the order q, k, v"] = expected[other]
        wrong["every third column of c_attn is taken; each of the three has a run of them"] = whole[
            own::3
        ]
        if whole.ndim == 2:
            rows = "the rows of c_attn are cut in three; its columns are"
            wrong[rows] = np.split(whole.T, 3)[own]
            wrong[rows + ", and then each is transposed"] = np.split(whole.T, 3)[own].T
    pair = ("input_layernorm", "post_attention_layernorm")
    for one, other in (pair, pair[::-1]):
        if f".{one}." in name:
            told = "the two norms of a layer are exchanged: ln_1 is input_layernorm"
            wrong[told] = expected[name.replace(one, other)]
    return wrong


def check_arrays(found, expected):
    for name, right in expected.items():
        told = f"conv1d_to_linear: the array {name}"
        check_close(found[name], right, told, mistakes=array_mistakes(name, expected))


@points(1, "conv1d_to_linear: the example")
def test_conv1d_to_linear_example(submission):
    """c_attn of layer 11, cut in three and turned round."""
    check_example(submission.conv1d_to_linear)


@points(2, "conv1d_to_linear: names")
def test_conv1d_to_linear_names(submission):
    """Every array has its new name, with "transformer." in front of the old one or not."""
    for prefix in ("", "transformer."):
        state = checkpoint(prefix)
        what = "with transformer. in front" if prefix else "without a prefix"
        check_names(mapped(submission, state), expected_of(state), what)


@points(3, "conv1d_to_linear: arrays")
def test_conv1d_to_linear_arrays(submission):
    """Conv1D's weights are turned round; embeddings, norms and biases are not."""
    state = checkpoint("transformer.")
    found, expected = mapped(submission, state), expected_of(state)
    check_names(found, expected, "conv1d_to_linear")
    check_arrays(found, expected)


@points(1, "conv1d_to_linear: the layers compute the same")
def test_conv1d_to_linear_computes(submission):
    """x W + b of c_fc is x Wᵀ + b of up_proj, and c_attn's thirds are those of q, k and v."""
    state, x = checkpoint(), normal(4, WIDTH)
    found = mapped(submission, state)
    names = [f"{LAYER.format(1)}self_attn.{n}_proj" for n in "qkv"]
    check_names(
        {n: 0 for n in found if n.rpartition(".")[0] in names},
        {f"{n}.{kind}": 0 for n in names for kind in ("weight", "bias")},
        "queries, keys and values of layer 1",
    )
    old = x @ state["h.1.attn.c_attn.weight"] + state["h.1.attn.c_attn.bias"]
    shapes = [(WIDTH, WIDTH), (WIDTH,)] * 3
    parts = [found[f"{n}.{kind}"] for n in names for kind in ("weight", "bias")]
    check(
        [np.shape(part) for part in parts] == shapes,
        "q_proj, k_proj, v_proj: wrong shapes.",
        "the columns of c_attn are cut in three, np.split(…, 3, axis=-1), and then turned round",
    )
    new = [x @ weight.T + bias for weight, bias in zip(parts[::2], parts[1::2])]
    with likely("Linear computes x Wᵀ + b, Conv1D x W + b: the weight is to be turned round"):
        thirds = dict(zip("qkv", np.split(old, 3, axis=-1)))
        for name, mine in zip("qkv", new):
            others = {
                f"this is what belongs to {other}_proj; they come in the order q, k, v": third
                for other, third in thirds.items()
                if other != name
            }
            told = f"what {name}_proj makes of x"
            check_close(mine, thirds[name], told, mistakes=others)


@points(2, "conv1d_to_linear: what is left out")
def test_conv1d_to_linear_left_out(submission):
    """Stored masks and the tied head do not come along; the biases of c_attn do."""
    state = checkpoint("transformer.")
    more = {"lm_head.weight": state["transformer.wte.weight"]}
    for layer in (1, LAYERS - 1):
        more[f"transformer.h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 4, 4), bool))
        more[f"transformer.h.{layer}.attn.masked_bias"] = np.float32(-1e4).reshape(())
    check_names(mapped(submission, {**state, **more}), expected_of(state), "with stored masks")


@points(1, "conv1d_to_linear: other names")
def test_conv1d_to_linear_refuses(submission):
    """An array that is no GPT-2's is refused by name, not passed on and not dropped."""
    for name in ("model.layers.0.mlp.gate_proj.weight", "h.0.crossattention.c_attn.weight", "wse"):
        expect_refusal(
            submission.conv1d_to_linear,
            ({**checkpoint(), name: normal(2, 2)},),
            f"conv1d_to_linear of a checkpoint with {name}",
            "an unknown name is dropped or passed on: whoever loads the result will not know",
        )


# ---------------------------------------------------------------------------------------------
# dynamic_theta, for honor
# ---------------------------------------------------------------------------------------------


def long_texts():
    factor, longer = float(2 + 6 * rng().random()), int(rng().integers(2000, 9000))
    return [
        case(10000.0, 64, factor, longer, 1024),
        case(500.0, 6, factor, 301, 300, label="one token too long"),
        case(1e6, 10, 1.0, longer, 1024, label="a factor of 1"),
    ]


def theta_of(base=None, exponent=None):
    """The formula, with another base or another exponent."""
    base = base or (lambda factor, ratio: factor * ratio - (factor - 1))
    exponent = exponent or (lambda dim: dim / (dim - 2))
    return lambda theta, dim, factor, length, original: (
        theta * base(factor, max(length, original) / original) ** exponent(dim)
    )


DYNAMIC = {
    "the exponent is upside down: dim / (dim - 2)": theta_of(exponent=lambda dim: (dim - 2) / dim),
    "the exponent is missing": theta_of(exponent=lambda dim: 1),
    "the exponent is that of half a head: dim is all of it": theta_of(
        exponent=lambda dim: (dim / 2) / (dim / 2 - 2)
    ),
    "the bracket ends in - (factor - 1), that is - factor + 1": theta_of(
        lambda f, ratio: f * ratio - f - 1
    ),
    "the exponent is dim/2; it is dim / (dim - 2)": theta_of(exponent=lambda dim: dim / 2),
    "factor is subtracted where factor - 1 belongs": theta_of(lambda f, ratio: f * ratio - f),
    "factor - 1 is not subtracted": theta_of(lambda f, ratio: f * ratio),
    "length / original is upside down": theta_of(lambda f, ratio: f / ratio - (f - 1)),
    "the length is not used: this is the θ of a text that is `factor` times as long": theta_of(
        lambda f, ratio: f
    ),
    "θ is inside the power; only the bracket is": lambda theta, dim, f, length, original: (
        (theta * (f * max(length, original) / original - (f - 1))) ** (dim / (dim - 2))
    ),
    "a text that is no longer than the original keeps θ": (
        lambda theta, dim, f, length, original: (
            theta * (f * length / original - (f - 1)) ** (dim / (dim - 2))
            if f * length / original > f - 1
            else math.nan
        )
    ),
}


@points(0, "dynamic_theta: the example")
def test_dynamic_theta_example(submission):
    """A text of twice the length, and one of half."""
    check_example(submission.dynamic_theta)


@points(0, "dynamic_theta: value")
def test_dynamic_theta_value(submission):
    """The bracket, the exponent, and θ in front."""
    check_value(submission.dynamic_theta, long_texts(), mistakes=DYNAMIC)


@points(0, "dynamic_theta: short texts")
def test_dynamic_theta_short(submission):
    """Up to the original length nothing changes."""
    factor = float(2 + 6 * rng().random())
    texts = [case(10000.0, 16, factor, length, 512) for length in (500, 512, 3)]
    with likely("a text that is no longer than the original keeps θ"):
        check_value(submission.dynamic_theta, texts, mistakes=DYNAMIC)


@points(0, "dynamic_theta: the slowest pair")
def test_dynamic_theta_slowest(submission):
    """Its frequency is divided by the bracket: that is what the exponent is for."""
    dim, factor = 2 * int(rng().integers(3, 30)), float(2 + 6 * rng().random())
    theta = submission.dynamic_theta(10000.0, dim, factor, 2048, 512)
    check(isinstance(theta, (int, float, np.generic)), "dynamic_theta returned no number.")
    slowest = (2 - dim) / dim
    check_close(
        np.asarray(float(theta) ** slowest / 10000.0**slowest),
        np.asarray(1 / (4 * factor - (factor - 1))),
        "the slowest frequency with the new θ, over that with the old one,",
    )
