"""Graders of chapter 10: cross_entropy, adamw_step, cosine_with_warmup, clip_by_global_norm."""

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
    points,
    reference,
    rng,
)
from tinyqwen.course.authoring.diagnosis import as_array
from tinyqwen.course.authoring.forms import gradients_of, pulled_back
from tinyqwen.course.calls import StudentError

TITLE = "One step"
ASSIGNED = {
    "cross_entropy": "functional.losses",
    "adamw_step": "optim",
    "cosine_with_warmup": "optim",
    "clip_by_global_norm": "optim",
    "linear_cross_entropy": "functional.losses",
}
STRETCH = ("linear_cross_entropy",)

# ---------------------------------------------------------------------------------------------
# cross_entropy, 15 points
# ---------------------------------------------------------------------------------------------

AXES = {"logits": "batch time vocabulary"}


def labels_for(*shape, classes, ignored=0.0, mark=-100):
    labels = rng().integers(0, classes, shape)
    return np.where(rng().random(shape) < ignored, mark, labels)


def plain_cases():
    return [
        case(normal(2, 5, 7), labels_for(2, 5, classes=7)),
        case(normal(4, 3, scale=3), labels_for(4, classes=3)),
        case(normal(3, 6), np.array([2, 2, 2]), label="one label three times"),
        case(normal(3, 1), np.zeros(3, int), label="a vocabulary of one"),
        case(normal(5), np.array(3), label="a single row"),
    ]


def ignoring_cases():
    one = labels_for(2, 6, classes=5, ignored=0.4)
    one[0, :2] = -100, 3
    other = np.where(one == -100, 4, labels_for(2, 6, classes=4))
    return [
        case(normal(2, 6, 5), one),
        case(normal(2, 6, 5), other, ignore_index=4, label="ignore_index is also a class"),
        case(normal(3, 4), np.array([1, -100, -100])),
    ]


def p_and_y(logits, labels):
    """Softmax and one-hot labels, where a label of -100 counts from the end, as in NumPy."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    classes = logits.shape[-1]
    y = np.eye(classes)[np.where(labels < 0, labels % classes, labels)]
    return e / e.sum(-1, keepdims=True), y


def row_losses(logits, labels):
    p, y = p_and_y(logits, labels)
    return -np.log((p * y).sum(-1))


def counted(labels, ignore_index=-100):
    return labels != ignore_index


@points(1, "cross_entropy: the example")
def test_cross_entropy_example(submission):
    """Two rows with probabilities of 1/2 and 1/4 for the label."""
    check_example(submission.cross_entropy)


def down_the_rows(z, y):
    """The mean of -ln p, where p is the softmax over the rows and not over the vocabulary."""
    rows = z.reshape(-1, z.shape[-1])
    p = np.exp(rows) / np.exp(rows).sum(0)
    return -np.log(p[np.arange(len(rows)), y.reshape(-1)]).mean()


@points(3, "cross_entropy: value")
def test_cross_entropy_value(submission):
    """The mean, over all rows, of -ln p[label]."""
    check_value(
        submission.cross_entropy,
        plain_cases(),
        mistakes={
            "the exponentials are divided by their sum down the rows; each row has its own": (
                lambda z, y: down_the_rows(z - z.max(-1, keepdims=True), y)
            ),
            "the softmax runs down the rows; each row of logits is a distribution": down_the_rows,
            "the sum is divided by the number of texts; the number of rows is asked for": (
                lambda z, y: row_losses(z, y).sum() / len(z) if z.ndim > 2 else None
            ),
            "something is added to p before the logarithm: take ln p = z - ln Σ e^z": (
                lambda z, y: -np.log(np.exp(-row_losses(z, y)) + 1e-9).mean()
            ),
            "the sum over the rows is not divided by their number": lambda z, y: row_losses(
                z, y
            ).sum(),
            "the loss has one entry a row; their mean is asked for": row_losses,
            "the sign is wrong: ln p is negative, the loss is not": lambda z, y: (
                -row_losses(z, y).mean()
            ),
            "the sum is also divided by the size of the vocabulary": lambda z, y: (
                row_losses(z, y).mean() / z.shape[-1]
            ),
            "the logarithm has base 2; a nat is its natural unit": lambda z, y: (
                row_losses(z, y).mean() / np.log(2)
            ),
            "the logarithm of the mean p is taken; the mean of the logarithms is asked for": (
                lambda z, y: -np.log(np.exp(-row_losses(z, y)).mean())
            ),
            "this is the mean squared error of p; the cross-entropy is -ln p[label]": (
                lambda z, y: np.square(np.subtract(*p_and_y(z, y))).sum(-1).mean()
            ),
            "this is the entropy of p, without the labels": (
                lambda z, y: -(p_and_y(z, y)[0] * np.log(p_and_y(z, y)[0])).sum(-1).mean()
            ),
            "the likeliest class stands where the label belongs": (
                lambda z, y: -np.log(p_and_y(z, y)[0].max(-1)).mean()
            ),
            "the median of the rows is taken; their mean is asked for": (
                lambda z, y: np.median(row_losses(z, y))
            ),
            "this is the perplexity, e to the power of the loss; the loss is asked for": (
                lambda z, y: np.exp(row_losses(z, y).mean())
            ),
            "this is the mean of 1 - p[label]; its logarithm is missing": lambda z, y: (
                1 - np.exp(-row_losses(z, y))
            ).mean(),
            "the logits are taken for probabilities: ln Σ e^z is missing": lambda z, y: (
                -(z * p_and_y(z, y)[1]).sum(-1).mean()
            ),
            "the labels are shifted here; the model has shifted them already": lambda z, y: (
                row_losses(z[..., :-1, :], y[..., 1:]).mean() if y.ndim else None
            ),
            "the softmax runs over all rows together": lambda z, y: (
                np.log(np.exp(z).sum()) - (z * p_and_y(z, y)[1]).sum(-1)
            ).mean(),
        },
    )


def check_ignored_gradient(fn, one):
    """The gradient is that of the rows that count, given alone, and 0 in the others.

    The first is the student's own, so that its mistakes cost the points of the gradient only.
    """
    (z, y), words = one.args, f"logits {one.args[0].shape}, labels {one.args[1].tolist()}"
    keep, g = counted(y, **one.options), normal()

    def pulled(z, y):
        grads = pulled_back(fn(z, y, **one.options)[1], g, words)
        what = "the gradient of cross_entropy"
        mine = as_array(gradients_of("cross_entropy", grads, (z,), words)[0], z, what, words)
        check(mine.size == z.size, f"{what} has shape {mine.shape}, the logits {z.shape}.")
        return mine.reshape(z.shape)

    yours, expected = pulled(z, y), np.zeros_like(z)
    check(
        1 not in fn.edited,
        f"cross_entropy changed its argument labels.\n  input     {words}",
        "labels is changed in place: work on a copy",
    )
    expected[keep] = pulled(z[keep], y[keep])
    p, hot = p_and_y(z, y)
    n, rows = keep.sum(), keep[..., None]
    check_close(
        yours,
        expected,
        "the gradient of cross_entropy, compared with yours of the rows that count alone,",
        case=words,
        axes=AXES["logits"],
        mistakes={
            "rows that do not count have a gradient; theirs is 0": g * (p - hot * rows) / n,
            "rows that do not count have the gradient p - y; theirs is 0": g * (p - hot) / n,
            "p - y is divided by all rows; only those that count belong in the divisor": (
                expected * n / keep.size
            ),
        },
    )


@points(2, "cross_entropy: rows that do not count")
def test_cross_entropy_ignore(submission):
    """A row labeled ignore_index adds nothing, is not counted in the mean, has no gradient."""
    cases = ignoring_cases()
    check_value(
        submission.cross_entropy,
        cases,
        mistakes={
            "ignore_index is not used: this is what its default, -100, gives": (
                lambda z, y, ignore_index=-100: row_losses(z, y)[counted(y)].mean()
            ),
            "the mean is taken over all rows; only those that count belong in it": (
                lambda z, y, ignore_index=-100: (
                    (row_losses(z, y) * counted(y, ignore_index)).sum() / y.size
                )
            ),
            "rows with the label ignore_index count, as if it were a class": (
                lambda z, y, ignore_index=-100: row_losses(z, y).mean()
            ),
            "the rows are dropped from the mean's divisor but not from its sum": (
                lambda z, y, ignore_index=-100: (
                    row_losses(z, y).sum() / counted(y, ignore_index).sum()
                )
            ),
            "ignored rows are read as label 0": lambda z, y, ignore_index=-100: row_losses(
                z, np.where(counted(y, ignore_index), y, 0)
            ).mean(),
        },
    )
    none = np.full((2, 3), -100)
    with likely("a division by zero: where no row counts, the loss is 0"):
        check_value(submission.cross_entropy, [case(normal(2, 3, 4), none, label="none counts")])
    for one in cases:
        check_ignored_gradient(submission.cross_entropy, one)


@points(1, "cross_entropy: num_items")
def test_cross_entropy_num_items(submission):
    """With num_items given, the sum is divided by it: parts of a batch then add up."""
    options = {"num_items": 10}
    check_value(
        submission.cross_entropy,
        [
            case(normal(2, 3, 5), labels_for(2, 3, classes=5), **options),
            case(normal(4, 6), labels_for(4, classes=6), **options),
        ],
        mistakes={
            "num_items is not used: it replaces the number of rows that count": (
                lambda z, y, num_items: row_losses(z, y).mean()
            ),
            "the mean is divided by num_items once more; it is the sum that is": (
                lambda z, y, num_items: row_losses(z, y).mean() / num_items
            ),
        },
    )


@points(2, "cross_entropy: large logits")
def test_cross_entropy_large(submission):
    """Logits of ±10,000: -ln p is finite and exact, even where p is 0 in the computer."""
    far = normal(3, 4) + np.array([[1e4], [-1e4], [0.0]])
    unsure = np.array([[1e4, 0.0, -1e4], [0.0, 800.0, 0.0]])
    with likely(
        "e^z overflows, or p is 0: take ln p = z - ln Σ e^z, with z the logits less the largest "
        "of their own row",
        unless=lambda: check_value(submission.cross_entropy, plain_cases(), rtol=1e-4),
    ):
        check_value(
            submission.cross_entropy,
            [
                case(far, labels_for(3, classes=4), label="all of a row far from 0"),
                case(unsure, np.array([2, 0]), label="labels with p near 0"),
                case(normal(4, 5, scale=1e4), labels_for(4, classes=5)),
            ],
            mistakes={
                "p is kept away from 0 before the logarithm; take ln p = z - ln Σ e^z instead": (
                    lambda z, y: np.minimum(row_losses(z, y), -np.log(1e-12)).mean()
                ),
                "something is added to p before the logarithm; take ln p = z - ln Σ e^z instead": (
                    lambda z, y: (
                        -np.log((p_and_y(z, y)[0] * p_and_y(z, y)[1]).sum(-1) + 1e-8).mean()
                    )
                ),
            },
        )
    z, y = normal(3, 5), labels_for(3, classes=5)
    check_close(
        submission.cross_entropy(z + 1000, y)[0],
        submission.cross_entropy(z, y)[0],
        "the loss of logits + 1000, compared with your loss of the logits,",
        rtol=1e-9,
    )


@points(5, "cross_entropy: gradient")
def test_cross_entropy_vjp(submission):
    """(p - y) / num_items, times g, where every row counts."""

    def rows(change):
        def gradient(z, y, g, num_items=None):
            return (g * change(*p_and_y(z, y), num_items or y.size),)

        return gradient

    check_vjp(
        submission.cross_entropy,
        [*plain_cases(), case(normal(2, 3, 4), labels_for(2, 3, classes=4), num_items=10)],
        axes=AXES,
        mistakes={
            "p - y is not divided by the number of rows that count": rows(lambda p, y, n: p - y),
            "y is missing: the label's entry is p - 1": rows(lambda p, y, n: p / n),
            "only the label's entry has a gradient here; all logits take part in ln Σ e^z": rows(
                lambda p, y, n: (p - y) * y / n
            ),
            "this is p + y; the gradient is p - y": rows(lambda p, y, n: (p + y) / n),
            "this is y - p; the gradient is p - y": rows(lambda p, y, n: (y - p) / n),
            "p - y has gone through the softmax's gradient again: it is the whole of it": rows(
                lambda p, y, n: p * ((p - y) - (p * (p - y)).sum(-1, keepdims=True)) / n
            ),
            "num_items is not used on the way back": rows(
                lambda p, y, n: (p - y) / (y.size // y.shape[-1])
            ),
            "the gradient is of the loss by p, -1 / p, and has not gone through the softmax": rows(
                lambda p, y, n: -y / p / n
            ),
        },
    )


@points(1, "cross_entropy: fit for the model")
def test_cross_entropy_manners(submission):
    """float32 in, float32 out; logits and labels are not changed; views work."""
    check_manners(submission.cross_entropy, plain_cases()[:3])


# ---------------------------------------------------------------------------------------------
# adamw_step, 12 points
# ---------------------------------------------------------------------------------------------

OUTPUTS = ("parameter", "m", "v")


def adamw(
    p,
    g,
    m,
    v,
    t,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=1e-2,
    correct="mv",
    power=True,
    t_for_correction=0,
    numerator="m",
    decay="decoupled",
    root="outside",
):
    """AdamW with switches for the mistakes."""
    (b1, b2), wd = betas, weight_decay
    if decay == "l2":
        g = g + wd * p
    old, m, v = m, b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    t = t + t_for_correction
    c1 = 1 - b1**t if "m" in correct else 1.0
    c2 = 1 - (b1 if "b1" in correct else b2) ** t if "v" in correct else 1.0
    if correct == "exchanged":
        c1, c2 = 1 - b2**t, 1 - b1**t
    if not power:
        c1, c2 = 1 - b1 * t, 1 - b2 * t
    step = {"m": m / c1, "g": g, "old m": old / c1}[numerator] * lr
    if root in ("sign", "gradient descent"):
        return (1 - lr * wd) * p - lr * (np.sign(m) if root == "sign" else g), m, v
    step = (
        step
        / {
            "outside": np.sqrt(v / c2) + eps,
            "inside": np.sqrt(v / c2 + eps),
            "before the correction": (np.sqrt(v) + eps) / np.sqrt(c2),
            "missing": v / c2 + eps,
            "without epsilon": np.sqrt(v / c2),
            "uphill": -np.sqrt(v / c2) - eps,
        }[root]
    )
    new = {
        "decoupled": (1 - lr * wd) * p - step,
        "l2": p - step,
        "none": p - step,
        "without lr": (1 - wd) * p - step,
        "after": (1 - lr * wd) * (p - step),
        "grows": (1 + lr * wd) * p - step,
        "adapted": p - step - lr * wd * p / (np.sqrt(v / c2) + eps),
        "lr twice": (1 - lr * lr * wd) * p - step,
    }[decay]
    return new, m, v


def wrong(**switches):
    return lambda *args, **options: adamw(*args, **options, **switches)


def the_step(p, g, m, v, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    """- lr · m̂ / (√v̂ + ε), by which the new parameter differs beside the decay."""
    return adamw(p, g, m, v, t, lr, betas, eps, 0.0)[0] - p


# What the new parameter is the sum of.
TERMS = {
    "parameter": {
        "the old parameter": lambda p, *_, **__: p,
        "the step, -lr · m̂ / (√v̂ + ε),": the_step,
    }
}


def adamw_cases(*steps, shape=(3, 5), **options):
    return [
        case(normal(*shape), normal(*shape), normal(*shape), normal(*shape) ** 2, step, **options)
        for step in steps
    ]


@points(1, "adamw_step: the example")
def test_adamw_step_example(submission):
    """A first update, worked out on paper."""
    check_example(submission.adamw_step)


@points(2, "adamw_step: the two averages")
def test_adamw_step_moments(submission):
    """m averages the gradients, v their squares; each with its own β; both uncorrected."""
    p, g, m, v = normal(4, 3), normal(4, 3), normal(4, 3), normal(4, 3) ** 2
    for betas in ((0.9, 0.999), (0.6, 0.8)):
        b1, b2 = betas
        result = submission.adamw_step(p, g, m, v, 3, betas=betas)
        check(
            type(result) in (tuple, list) and len(result) == 3,
            "adamw_step must return three arrays: the new parameter, m and v.",
            "a return statement is missing" if result is None else None,
        )
        _, expected_m, expected_v = adamw(p, g, m, v, 3, betas=betas)
        check_close(
            result[1],
            expected_m,
            "adamw_step: the new m",
            case=f"betas {betas}, step 3",
            mistakes={
                "β₁ and 1 - β₁ are exchanged": (1 - b1) * m + b1 * g,
                "1 - β₁ is missing: m sums the gradients up": b1 * m + g,
                "β₂ stands where β₁ belongs": b2 * m + (1 - b2) * g,
                "m and v are returned in each other's place": expected_v,
                "the corrected m̂ is returned; it serves this step alone": expected_m / (1 - b1**3),
                "the argument betas is not used": 0.9 * m + 0.1 * g,
                "weight decay is added to the gradient: that is L2, which AdamW keeps apart": (
                    adamw(p, g, m, v, 3, betas=betas, decay="l2")[1]
                ),
            },
        )
        check_close(
            result[2],
            expected_v,
            "adamw_step: the new v",
            case=f"betas {betas}, step 3",
            mistakes={
                "v averages the gradients; it is their squares": b2 * v + (1 - b2) * g,
                "v averages the sizes |g|; it is the squares": b2 * v + (1 - b2) * np.abs(g),
                "β₁ stands where β₂ belongs": b1 * v + (1 - b1) * g * g,
                "β₂ and 1 - β₂ are exchanged": (1 - b2) * v + b2 * g * g,
                "1 - β₂ is squared with the gradient": b2 * v + ((1 - b2) * g) ** 2,
                "the corrected v̂ is returned; it serves this step alone": expected_v / (1 - b2**3),
                "v averages the squares of m; it is those of the gradient": (
                    b2 * v + (1 - b2) * expected_m**2
                ),
            },
        )


@points(4, "adamw_step: the new parameter")
def test_adamw_step_value(submission):
    """m̂ over the root of v̂, both corrected with their own β to the power of the step."""
    check_value(
        submission.adamw_step,
        adamw_cases(1, 2, 10, lr=0.1, weight_decay=0.0)
        + adamw_cases(3, 500, shape=(4,), lr=0.02, betas=(0.7, 0.95), weight_decay=0.0)
        + adamw_cases(1, shape=(2, 0, 3)),
        outputs=OUTPUTS,
        mistakes={
            "β times the step stands where β to its power belongs": wrong(power=False),
            "the corrections are missing: m and v begin with zeros, so early ones are too small": (
                wrong(correct="")
            ),
            "v is corrected with β₁; its own is β₂": wrong(correct="m v b1"),
            "the correction of v is missing": wrong(correct="m"),
            "the correction of m is missing": wrong(correct="v"),
            "the corrections are one step behind: t is 1 for the first update": (
                wrong(t_for_correction=-1)
            ),
            "the corrections are one step ahead: t is 1 for the first update": (
                wrong(t_for_correction=1)
            ),
            "the root is missing: m̂ is divided by √v̂": wrong(root="missing"),
            "the step goes uphill: it is subtracted": wrong(root="uphill"),
            "the corrections are exchanged: m goes with β₁, v with β₂": wrong(correct="exchanged"),
            "this is plain gradient descent, lr · g; the step is lr · m̂ / (√v̂ + ε)": (
                wrong(root="gradient descent")
            ),
            "only the sign of m̂ is left: m̂ is divided by √v̂": wrong(root="sign"),
            "the step follows the gradient; it follows its average, m̂": wrong(numerator="g"),
            "the old m is in the numerator; it is the new one": wrong(numerator="old m"),
            "the defaults of lr and betas are used, whatever is given": (
                lambda *args, lr=0, betas=0, **options: adamw(*args, **options)
            ),
            "the factor lr is missing in the step": (
                lambda p, *rest, lr, **options: p + the_step(p, *rest, lr=1.0, **options)
            ),
        },
        terms=TERMS,
    )


@points(3, "adamw_step: decoupled weight decay")
def test_adamw_step_decay(submission):
    """The old parameter shrinks by lr · wd, and the gradient and its averages never hear of it."""
    check_value(
        submission.adamw_step,
        adamw_cases(1, 4, lr=0.1, weight_decay=0.3)
        + adamw_cases(7, shape=(6,), lr=0.05, weight_decay=0.1)
        + adamw_cases(2, lr=0.1),
        outputs=OUTPUTS,
        mistakes={
            "the decay is added to the gradient: that is L2, which AdamW keeps apart": (
                wrong(decay="l2")
            ),
            "the decay lacks the factor lr": wrong(decay="without lr"),
            "the decay is divided by √v̂ as well; it stands beside the step": wrong(decay="adapted"),
            "the decay has the factor lr twice": wrong(decay="lr twice"),
            "there is no weight decay": wrong(decay="none"),
            "the decay comes after the step; it shrinks the old parameter": wrong(decay="after"),
            "the decay makes the parameter grow": wrong(decay="grows"),
            "the argument weight_decay is not used": lambda *args, weight_decay=0, **o: adamw(
                *args, **o
            ),
        },
    )


@points(1, "adamw_step: where epsilon stands")
def test_adamw_step_eps(submission):
    """Epsilon is added to √v̂, outside the root and after the correction; 0 / 0 never happens."""
    check_value(
        submission.adamw_step,
        adamw_cases(2, 30, lr=0.1, eps=0.2, weight_decay=0.0),
        outputs=OUTPUTS,
        mistakes={
            "epsilon is inside the square root": wrong(root="inside"),
            "epsilon is added to √v, before the correction": wrong(root="before the correction"),
            "epsilon is not used": wrong(root="without epsilon"),
            "the argument eps is not used": lambda *args, eps=0, **o: adamw(*args, **o),
        },
    )
    zero = np.zeros(3)
    still = case(normal(3), zero, zero, zero, 1, weight_decay=0.0)
    with likely("0 / 0: a parameter without gradient must stay; epsilon keeps the divisor from 0"):
        check_value(submission.adamw_step, [still], outputs=OUTPUTS)


@points(1, "adamw_step: fit for the model")
def test_adamw_step_manners(submission):
    """Three new arrays, float32 if the parameter is; none of the four given ones is changed."""
    check_manners(
        submission.adamw_step, adamw_cases(1, 5) + adamw_cases(2, shape=(7,), weight_decay=0.1)
    )


# ---------------------------------------------------------------------------------------------
# cosine_with_warmup, 7 points
# ---------------------------------------------------------------------------------------------


def cosine(step, rate, warmup, total, min_ratio=0.1, shape=None):
    x = (step - warmup) / (total - warmup)
    curve = shape(x) if shape else 0.5 * (1 + math.cos(math.pi * x))
    return rate * (min_ratio + (1 - min_ratio) * curve)


@points(1, "cosine_with_warmup: the example")
def test_cosine_with_warmup_example(submission):
    """Four steps of warmup, eight of decay."""
    check_example(submission.cosine_with_warmup)


WARMUP_MISTAKES = {
    "the first update is wasted: warmup begins with 1 / warmup_steps, not with 0": (
        lambda step, rate, warmup, total: rate * step / warmup
    ),
    "warmup ends one step too late: divide by warmup_steps": (
        lambda step, rate, warmup, total: rate * (step + 1) / (warmup + 1)
    ),
    "there is no warmup": lambda step, rate, warmup, total: rate,
    "// divides whole numbers: the line becomes a step": lambda step, rate, warmup, total: (
        rate * ((step + 1) // warmup)
    ),
    "the warmup begins at the minimum; it is a line from 0": (
        lambda step, rate, warmup, total: rate * (0.1 + 0.9 * (step + 1) / warmup)
    ),
    "the line is squared": lambda step, rate, warmup, total: rate * ((step + 1) / warmup) ** 2,
    "the root of the line is taken": (
        lambda step, rate, warmup, total: rate * ((step + 1) / warmup) ** 0.5
    ),
    "the line is a part of learning_rate; that factor is missing": (
        lambda step, rate, warmup, total: (step + 1) / warmup
    ),
}


@points(1, "cosine_with_warmup: warmup")
def test_cosine_with_warmup_warmup(submission):
    """A line from learning_rate / warmup_steps, in the first update, to learning_rate."""
    check_value(
        submission.cosine_with_warmup,
        [case(step, 0.003, 7, 40) for step in range(7)],
        mistakes=WARMUP_MISTAKES,
    )


COSINE_MISTAKES = {
    "the rate stays where the warmup has brought it; it falls, along half a cosine": (
        lambda step, rate, *_, **__: rate
    ),
    "there is nothing between the warmup and the minimum: half a cosine is asked for": (
        lambda step, rate, *_, min_ratio=0.1: rate * min_ratio
    ),
    "it falls by one factor a step; half a cosine is asked for": (
        lambda s, rate, w, total, min_ratio=0.1: rate * min_ratio ** ((s - w) / (total - w))
    ),
    "π is missing: it is cos πx": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: (1 + math.cos(x)) / 2
        )
    ),
    "the factor of the cosine is 1 - min_ratio; here it is 1 + min_ratio": (
        lambda s, rate, w, total, min_ratio=0.1: (
            rate * (min_ratio + (1 + min_ratio) * cosine(s, 1.0, w, total, 0.0))
        )
    ),
    "the factor 1 - min_ratio is missing: it begins above learning_rate": (
        lambda s, rate, w, total, min_ratio=0.1: rate * (min_ratio + cosine(s, 1.0, w, total, 0.0))
    ),
    "min_ratio is squared": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(s, rate, w, total, min_ratio**2)
    ),
    "x is squared: it is cos πx": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: (1 + math.cos(math.pi * x * x)) / 2
        )
    ),
    "the cosine is squared": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: (0.5 * (1 + math.cos(math.pi * x))) ** 2
        )
    ),
    "the rate goes up: it is 1 + cos, not 1 - cos": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: (1 - math.cos(math.pi * x)) / 2
        )
    ),
    "it is a sine; half a cosine is asked for": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: (1 + math.sin(math.pi * x)) / 2
        )
    ),
    "cos(πx / 2) ends half way: it is cos(πx)": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: (1 + math.cos(math.pi * x / 2)) / 2
        )
    ),
    "the warmup goes on for one step too long: it is over at step warmup_steps": (
        lambda step, rate, warmup, total, **_: (
            rate * (step + 1) / warmup if step == warmup else None
        )
    ),
    "the cosine is one step ahead: x is 0 at step warmup_steps": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(s + 1, rate, w, total, min_ratio)
    ),
    "the cosine is one step behind: x is 0 at step warmup_steps": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(s - 1, rate, w, total, min_ratio)
    ),
    "the cosine ends one step too early: x is 1 at step total_steps": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            min(s, total - 1), rate, w, total - 1, min_ratio
        )
    ),
    "the cosine begins at step 0; it begins where the warmup ends": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(s, rate, 0, total, min_ratio)
    ),
    "x is divided by total_steps; from the warmup's end there are fewer": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(s - w, rate, 0, total, min_ratio)
    ),
    "min_ratio is taken for a rate; it is a share of learning_rate": (
        lambda s, rate, w, total, min_ratio=0.1: (
            min_ratio + (rate - min_ratio) * cosine(s, 1.0, w, total, 0.0)
        )
    ),
    "1 + cos is not halved: it goes from 2 to 0": (
        lambda s, rate, w, total, min_ratio=0.1: (
            rate * (min_ratio + (1 - min_ratio) * 2 * cosine(s, 1.0, w, total, 0.0))
        )
    ),
    "the angle is in degrees: cos takes radians, π for half a turn": (
        lambda s, rate, w, total, min_ratio=0.1: (
            rate * (min_ratio + (1 - min_ratio) * (1 + math.cos(180 * (s - w) / (total - w))) / 2)
        )
    ),
    "the rate falls to 0: min_ratio is missing": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(s, rate, w, total, 0.0)
    ),
    "the argument min_ratio is not used": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(s, rate, w, total)
    ),
    "the cosine is cut off at the minimum; it is shrunk, so as to end there": (
        lambda s, rate, w, total, min_ratio=0.1: max(
            rate * min_ratio, cosine(s, rate, w, total, 0.0)
        )
    ),
    "the minimum is added to a cosine of full height: it begins above learning_rate": (
        lambda s, rate, w, total, min_ratio=0.1: rate * min_ratio + cosine(s, rate, w, total, 0.0)
    ),
    "it is a line; half a cosine is asked for": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: 1 - x
        )
    ),
    "it is a quarter of a cosine; half of one is asked for, which ends level": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s, rate, w, total, min_ratio, shape=lambda x: math.cos(math.pi * x / 2)
        )
    ),
    "it is a whole cosine, down and up again; half of one is asked for": (
        lambda s, rate, w, total, min_ratio=0.1: cosine(
            s,
            rate,
            w,
            total,
            min_ratio,
            shape=lambda x: 0.5 * (1 + math.cos(2 * math.pi * x)),
        )
    ),
}


@points(3, "cosine_with_warmup: the cosine")
def test_cosine_with_warmup_cosine(submission):
    """Half a cosine, from learning_rate after the warmup to min_ratio of it at total_steps."""
    steps = [case(step, 0.003, 7, 40) for step in (36, 7, 8, 20, 39, 40)]
    steps += [case(step, 2.0, 5, 21, min_ratio=0.25) for step in (5, 6, 13, 20)]
    steps += [case(9, 1.0, 3, 15, min_ratio=0.0)]
    warmup, decay = int(rng().integers(2, 9)), int(rng().integers(10, 40))
    step, rate = warmup + int(rng().integers(1, decay)), 0.1 + float(rng().random())
    steps += [case(step, rate, warmup, warmup + decay)]

    check_value(
        submission.cosine_with_warmup,
        steps,
        mistakes=COSINE_MISTAKES,
    )


def before_its_end(wrong):
    """A mistake of the warmup, with the right rates behind it."""
    return lambda s, rate, w, total: (wrong if s < w else right_rate)(s, rate, w, total)


def behind_warmup(wrong):
    """A mistake of the cosine, with the right rates before it and after the last step."""
    return lambda s, rate, w, total: (wrong if w <= s < total else right_rate)(s, rate, w, total)


def right_rate(*given):
    return reference("cosine_with_warmup")(*given)


@points(2, "cosine_with_warmup: edges")
def test_cosine_with_warmup_edges(submission):
    """No warmup, nothing but warmup, and steps after the last."""
    told = "total_steps may equal warmup_steps: then x is 1, with nothing to divide by"
    with likely(told, of=StudentError):
        check_value(
            submission.cosine_with_warmup,
            [
                case(0, 0.3, 0, 10, label="no warmup"),
                case(3, 0.3, 0, 10, label="no warmup"),
                case(4, 0.3, 5, 5, label="nothing but warmup"),
                case(6, 0.3, 5, 5, label="after a run of nothing but warmup"),
                case(41, 0.3, 7, 40, label="after the last step"),
                case(80, 0.3, 7, 40, label="long after the last step"),
            ],
            mistakes={
                **{told: before_its_end(wrong) for told, wrong in WARMUP_MISTAKES.items()},
                **{told: behind_warmup(wrong) for told, wrong in COSINE_MISTAKES.items()},
                "after total_steps the rate rises again: x must not grow beyond 1": (
                    lambda s, rate, w, total: cosine(s, rate, w, total) if total > w else None
                ),
                "after total_steps the rate is 0; it stays at the minimum": (
                    lambda s, rate, w, total: 0.0 if s > total else None
                ),
            },
        )


# ---------------------------------------------------------------------------------------------
# clip_by_global_norm, 6 points
# ---------------------------------------------------------------------------------------------


def norm_of(arrays):
    return math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in arrays))


def clip(submission, gradients, max_norm):
    result = submission.clip_by_global_norm(gradients, max_norm)
    check(
        type(result) in (tuple, list) and len(result) == 2 and isinstance(result[0], (list, tuple)),
        "clip_by_global_norm must return two things: a list of arrays, and the norm.",
        "a return statement is missing"
        if result is None
        else "a list is asked for, with an array for each that was given: they are joined here"
        if type(result) is tuple and len(result) == 2 and isinstance(result[0], np.ndarray)
        else "the order is the list, then the norm"
        if type(result) is tuple and len(result) == 2 and isinstance(result[1], (list, tuple))
        else "the norm is missing"
        if type(result) is list and len(result) == len(gradients)
        else "a list itself is asked for, not what makes one: list(…) makes one of a generator"
        if type(result) is tuple and len(result) == 2
        else None,
    )
    check(
        len(result[0]) == len(gradients),
        f"clip_by_global_norm returned {len(result[0])} arrays for {len(gradients)} gradients.",
        "each gradient has an array of its own, in its shape: are they joined, or some left out?",
    )
    return result


def some_gradients(scale=1.0):
    return [normal(3, 4, scale=scale), normal(5, scale=5 * scale), normal(2, 1, 3, scale=scale)]


@points(1, "clip_by_global_norm: the example")
def test_clip_by_global_norm_example(submission):
    """3 and 4 in two arrays: their joint norm is 5."""
    check_example(submission.clip_by_global_norm)


@points(3, "clip_by_global_norm: value")
def test_clip_by_global_norm_value(submission):
    """One norm over all arrays, and one factor for all of them."""
    gradients, max_norm = some_gradients(), 0.5
    clipped, norm = clip(submission, gradients, max_norm)
    right = norm_of(gradients)
    single = [norm_of([g]) for g in gradients]
    check_close(
        norm,
        right,
        "clip_by_global_norm: the norm",
        mistakes={
            "the square root is missing in the norm": right**2,
            "the norms of the arrays are added; their squares are": sum(single),
            "this is the norm after clipping; the one before it is asked for": max_norm,
            "this is the largest of the arrays' norms": max(single),
            "this is the norm of the last array alone": single[-1],
            "the last array is left out of the norm": norm_of(gradients[:-1]),
            "the first array is left out of the norm": norm_of(gradients[1:]),
            "this is the norm of the first array alone": single[0],
            "the mean of the squares is taken; it is their sum": (
                right / math.sqrt(sum(g.size for g in gradients))
            ),
            "this is the largest entry": max(np.abs(g).max() for g in gradients),
            "the absolute values are added; their squares are": (
                sum(np.abs(g).sum() for g in gradients)
            ),
        },
    )
    for i, (mine, g, own) in enumerate(zip(clipped, gradients, single)):
        check_close(
            mine,
            g * (max_norm / right),
            f"clip_by_global_norm: array {i} of {len(gradients)}",
            case=f"norm {right:.4f}, max_norm {max_norm}",
            rtol=1e-5,
            mistakes={
                "every array is clipped by its own norm; one factor belongs to all": (
                    g * min(1, max_norm / own)
                ),
                "the entries are cut off at max_norm; that changes the direction": (
                    np.clip(g, -max_norm, max_norm)
                ),
                "the gradients are not scaled": g,
                "the gradients get norm 1; max_norm is missing in the factor": g / right,
                "the factor is upside down: it is max_norm / norm": g * (right / max_norm),
                "the factor is applied twice": g * (max_norm / right) ** 2,
            },
        )

    tiny = [np.array([3e-6, 0.0]), np.array([[4e-6]])]
    clipped, _ = clip(submission, tiny, 1e-6)
    check_close(
        clipped[1],
        tiny[1] * (1e-6 / 6e-6),
        "clip_by_global_norm: the second of two arrays, joint norm 5e-6, max_norm 1e-6,",
        mistakes={"1e-6 is not added to the norm in the factor": tiny[1] * (1e-6 / 5e-6)},
    )


@points(1, "clip_by_global_norm: small gradients")
def test_clip_by_global_norm_small(submission):
    """Gradients within max_norm, zeros among them, stay as they are: nothing is scaled up."""
    for scale, max_norm in ((0.1, 10.0), (1.0, 1e3), (0.0, 1.0)):
        gradients = some_gradients(scale)
        clipped, norm = clip(submission, gradients, max_norm)
        right = norm_of(gradients)
        for i, (mine, g) in enumerate(zip(clipped, gradients)):
            check_close(
                mine,
                g,
                f"clip_by_global_norm: array {i} of {len(gradients)}",
                case=f"norm {right:.4f}, max_norm {max_norm}",
                mistakes={
                    "small gradients are scaled up: clipping only ever makes them smaller": (
                        g * (max_norm / (right or 1))
                    ),
                },
            )
        check_close(norm, right, "clip_by_global_norm: the norm", case=f"max_norm {max_norm}")


@points(1, "clip_by_global_norm: fit for the model")
def test_clip_by_global_norm_manners(submission):
    """float32 stays float32; the gradients that were given are not changed."""
    gradients = [g.astype(np.float32) for g in some_gradients()]
    for max_norm in (0.5, 100.0):
        clipped, _ = clip(submission, gradients, max_norm)
        check(
            not submission.clip_by_global_norm.edited,
            "clip_by_global_norm changed the arrays that it was given.",
            "the gradients are changed in place (*=): return new arrays",
        )
        for g, mine in zip(gradients, clipped):
            check(
                getattr(mine, "dtype", None) == np.float32,
                f"clip_by_global_norm: float32 went in, {getattr(mine, 'dtype', None)} came out.",
                "float64 comes out where float32 went in: make the factor a Python float",
            )
            check_close(
                mine,
                g * np.float32(min(1, max_norm / norm_of(gradients))),
                "clip_by_global_norm: a float32 gradient",
            )


# ---------------------------------------------------------------------------------------------
# linear_cross_entropy, for honor
# ---------------------------------------------------------------------------------------------


def projected_cases(**options):
    for shape, d, v in (((7,), 3, 5), ((2, 5), 4, 6), ((1,), 2, 3)):
        labels = labels_for(*shape, classes=v, ignored=0.3 if shape != (1,) else 0.0)
        yield case(normal(*shape, d), normal(v, d), labels)


def as_rows(hidden, weight, labels):
    """hidden (n, d), p - y (n, V) of the rows that count and 0 in the others, their number."""
    rows, labels = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    keep = labels != -100
    p, hot = p_and_y(rows @ weight.T, np.where(keep, labels, 0))
    return rows, (p - hot) * keep[:, None], max(int(keep.sum()), 1)


@points(0, "linear_cross_entropy: the example")
def test_linear_cross_entropy_example(submission):
    """The example in the docstring: equal logits, and a row that does not count."""
    check_example(submission.linear_cross_entropy)


@points(0, "linear_cross_entropy: value")
def test_linear_cross_entropy_value(submission):
    """The mean over the rows that count, of -ln p[label]."""

    def over_all(hidden, weight, labels):
        z = hidden @ weight.T
        keep = labels != -100
        return row_losses(z, np.where(keep, labels, 0))[keep].sum() / keep.size

    def summed(hidden, weight, labels):
        return over_all(hidden, weight, labels) * labels.size

    check_value(
        submission.linear_cross_entropy,
        list(projected_cases()),
        mistakes={
            "the sum is divided by all rows; only those that count belong in the divisor": over_all,
            "the sum over the rows is not divided by their number": summed,
        },
    )
    check_value(
        submission.linear_cross_entropy,
        [case(*one.args, num_items=29) for one in projected_cases()],
    )


@points(0, "linear_cross_entropy: gradients")
def test_linear_cross_entropy_vjp(submission):
    """dz = (p - y)/n, and from there as through a linear layer."""

    def pulled(hidden, weight, labels, g, dh=1.0, dw=1.0, turn=False):
        rows, dz, n = as_rows(hidden, weight, labels)
        dweight = dz.T @ rows * g / n * dw
        return (dz @ weight * g / n * dh).reshape(hidden.shape), dweight

    def without_counting(hidden, weight, labels, g):
        n = as_rows(hidden, weight, labels)[2]
        return tuple(d * n for d in pulled(hidden, weight, labels, g))

    def all_rows(hidden, weight, labels, g):
        _, _, n = as_rows(hidden, weight, labels)
        return tuple(d * n / labels.size for d in pulled(hidden, weight, labels, g))

    check_vjp(
        submission.linear_cross_entropy,
        list(projected_cases()),
        axes={"hidden": "batch time feature", "weight": "token feature"},
        mistakes={
            "p - y is not divided by the number of rows that count": without_counting,
            "p - y is divided by all rows; only those that count belong in the divisor": all_rows,
        },
    )


@points(0, "linear_cross_entropy: many rows")
def test_linear_cross_entropy_parts(submission):
    """More rows than a part has, and no multiple of it: the rest counts, too."""
    n, d, v = 700, 4, 30
    hidden, weight = normal(n, d), normal(v, d)
    labels = labels_for(n, classes=v, ignored=0.1)
    labels[-7:] = rng().integers(0, v, 7)  # the last rows count, whatever the size of a part
    check_value(
        submission.linear_cross_entropy,
        [case(hidden, weight, labels, label="700 rows")],
        mistakes={
            "the last rows, which do not fill a part, are left out": lambda h, w, y: reference(
                "linear_cross_entropy"
            )(h[:512], w, y[:512])[0]
        },
    )


@points(0, "linear_cross_entropy: fit for the model")
def test_linear_cross_entropy_manners(submission):
    """float32 in, float32 out; nothing is changed; views work."""
    check_manners(submission.linear_cross_entropy, list(projected_cases()))
