"""Graders of chapter 20: the distance to a teacher, and what a model can spare."""

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

TITLE = "Distillation and pruning"
ASSIGNED = {
    "kl_divergence": "tuning.distillation",
    "head_importance": "tuning.pruning",
    "wanda_score": "tuning.pruning",
    "sparsity_mask": "tuning.pruning",
    "two_four_mask": "tuning.pruning",
    "angular_distance": "tuning.pruning",
}
STRETCH = ("angular_distance",)


# ---------------------------------------------------------------------------------------------
# kl_divergence, 12 points
# ---------------------------------------------------------------------------------------------

AXES = {"logits": "batch time vocabulary"}


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def divergence(q, p):
    """Σ_v p (ln p - ln q) of each row."""
    return (p * (np.log(p) - np.log(q))).sum(-1)


def counting(rows, labels):
    return np.ones(rows, bool) if labels is None else np.asarray(labels) != -100


def mixed(rows_of, factor=lambda t: t * t, divisor=None):
    """A mistake: other numbers of each row, another factor, or another divisor."""

    def wrong(z, t, labels=None, temperature=1.0, num_items=None):
        rows, counts = rows_of(z, t, temperature), counting(z.shape[:-1], labels)
        n = divisor(counts) if divisor else num_items or counts.sum()
        return factor(temperature) * (rows * counts).sum() / n

    return wrong


def right_rows(z, t, T):
    return divergence(softmax(z / T), softmax(t / T))


def every_row(z, t, labels=None, temperature=1.0, num_items=None):
    return mixed(right_rows)(z, t, None, temperature, num_items or counting(z.shape, labels).size)


WRONG_KL = {
    "this is KL(q ‖ p), the other way round: the teacher's p stands before the logarithms": mixed(
        lambda z, t, T: divergence(softmax(t / T), softmax(z / T))
    ),
    "the factor T² is missing": mixed(right_rows, factor=lambda t: 1.0),
    "the factor is T; it is T²": mixed(right_rows, factor=lambda t: t),
    "the temperature is not used": mixed(
        lambda z, t, T: right_rows(z, t, 1.0), factor=lambda t: 1.0
    ),
    "the logits are multiplied by T; they are divided": mixed(
        lambda z, t, T: right_rows(z, t, 1 / T)
    ),
    "only the student's logits are divided by T; the teacher's are, too": mixed(
        lambda z, t, T: divergence(softmax(z / T), softmax(t))
    ),
    "only the teacher's logits are divided by T; the student's are, too": mixed(
        lambda z, t, T: divergence(softmax(z), softmax(t / T))
    ),
    "this is the cross-entropy -Σ p ln q; the teacher's own -Σ p ln p is to be subtracted": mixed(
        lambda z, t, T: -(softmax(t / T) * np.log(softmax(z / T))).sum(-1)
    ),
    "the mean over the vocabulary is taken; it is the sum": mixed(
        lambda z, t, T: right_rows(z, t, T) / z.shape[-1]
    ),
    "the sum over the rows is not divided by their number": mixed(
        right_rows, divisor=lambda counts: 1
    ),
    "the teacher's likeliest token alone counts here; all its probabilities do": mixed(
        lambda z, t, T: (
            -np.log(np.take_along_axis(softmax(z / T), t.argmax(-1)[..., None], -1)[..., 0])
        )
    ),
}


def pairs():
    return [
        case(normal(2, 5, 7), normal(2, 5, 7)),
        case(normal(3, 4), normal(3, 4), temperature=2.0),
        case(normal(4, 3, scale=2), normal(4, 3, scale=2), temperature=0.5),
        case(normal(6), normal(6), temperature=3.0, label="a single row"),
        case(normal(2, 1), normal(2, 1), label="a vocabulary of one"),
    ]


def some_labels(*shape):
    labels = rng().integers(0, 4, shape)
    labels[..., 1] = -100
    return labels


@points(1, "kl_divergence: the example")
def test_kl_divergence_example(submission):
    """One row of two tokens."""
    check_example(submission.kl_divergence)


@points(3, "kl_divergence: value")
def test_kl_divergence_value(submission):
    """The teacher's probabilities, at a temperature."""
    check_value(submission.kl_divergence, pairs(), mistakes=WRONG_KL)
    same = normal(3, 5)
    check_close(
        output(submission.kl_divergence, same, same + 7.0, temperature=2.0),
        0.0,
        "kl_divergence of two that differ by a constant, which softmax does not feel,",
    )


@points(2, "kl_divergence: rows that do not count, and num_items")
def test_kl_divergence_rows(submission):
    """A row labeled -100 adds nothing and is not counted; num_items takes the count's place."""
    cases = [
        case(normal(2, 6, 5), normal(2, 6, 5), some_labels(2, 6), temperature=2.0),
        case(normal(2, 3, 5), normal(2, 3, 5), some_labels(2, 3), num_items=10),
        case(normal(4, 5), normal(4, 5), num_items=3),
    ]
    check_value(
        submission.kl_divergence,
        cases,
        mistakes={
            "rows labeled -100 count": every_row,
            "rows labeled -100 are left out of the sum, but counted in the divisor": mixed(
                right_rows, divisor=lambda counts: counts.size
            ),
            "num_items is not used: it replaces the number of rows that count": mixed(
                right_rows, divisor=lambda counts: counts.sum()
            ),
            "the mean is divided by num_items once more; it is the sum that is": (
                lambda z, t, labels=None, temperature=1.0, num_items=1: (
                    mixed(right_rows)(z, t, labels, temperature) / num_items
                )
            ),
            **WRONG_KL,
        },
    )
    none = np.full((2, 3), -100)
    check_value(
        submission.kl_divergence,
        [case(normal(2, 3, 4), normal(2, 3, 4), none, label="no row counts: the loss is 0")],
        mistakes={"rows labeled -100 count": every_row},
    )


@points(2, "kl_divergence: large logits")
def test_kl_divergence_large(submission):
    """Logits of ±10,000: a p of 0 adds nothing, and ln q = z - ln Σ e^z is finite."""
    check_value(
        submission.kl_divergence,
        [
            case(normal(3, 4) + 1e4, normal(3, 4) - 1e4, label="all far from 0"),
            case(np.array([[0.0, 900.0, 3.0]]), np.array([[900.0, 0.0, 2.0]]), label="far apart"),
            case(normal(4, 5, scale=1e3), normal(4, 5, scale=1e3), temperature=2.0),
        ],
        mistakes={
            "e^z overflows: subtract the largest logit of each row before": lambda z, t, **_: (
                np.nan
            ),
            "q is kept away from 0 before the logarithm; take ln q = z - ln Σ e^z instead": mixed(
                lambda z, t, T: (
                    softmax(t / T)
                    * (np.log(np.maximum(softmax(t / T), 1e-12)) - np.log(softmax(z / T) + 1e-12))
                ).sum(-1)
            ),
        },
    )


def wrong_gradient(make):
    def wrong(z, t, g, labels=None, temperature=1.0, num_items=None):
        q, p = softmax(z / temperature), softmax(t / temperature)
        counts = counting(z.shape[:-1], labels)
        return (g * make(q, p, temperature, counts[..., None], num_items or counts.sum()),)

    def moved(z, t, *rest, **options):
        """labels come before g where they are given."""
        *labels, g = rest
        return wrong(z, t, g, *labels, **options)

    return moved


@points(3, "kl_divergence: gradient")
def test_kl_divergence_vjp(submission):
    """T (q - p), divided by the rows that count; 0 in the others."""
    cases = [
        *pairs()[:4],
        case(normal(2, 6, 5), normal(2, 6, 5), some_labels(2, 6), temperature=2.0),
        case(normal(2, 3, 5), normal(2, 3, 5), num_items=10, temperature=1.5),
    ]
    check_vjp(
        submission.kl_divergence,
        cases,
        axes=AXES,
        mistakes={
            "the sign is wrong: the gradient is q - p, the student's minus the teacher's": (
                wrong_gradient(lambda q, p, T, c, n: T * (p - q) * c / n)
            ),
            "the factor is T² here; the inner derivative of z / T takes one T away": (
                wrong_gradient(lambda q, p, T, c, n: T * T * (q - p) * c / n)
            ),
            "the factor T is missing: T², of which z / T takes one away": (
                wrong_gradient(lambda q, p, T, c, n: (q - p) * c / n)
            ),
            "the factor is 1 / T; it is T² / T": wrong_gradient(
                lambda q, p, T, c, n: (q - p) * c / n / T
            ),
            "rows labeled -100 have a gradient; theirs is 0": wrong_gradient(
                lambda q, p, T, c, n: T * (q - p) / n
            ),
            "it is not divided by the number of rows": wrong_gradient(
                lambda q, p, T, c, n: T * (q - p) * c
            ),
            "it is divided by all rows; only those that count are in the divisor": (
                wrong_gradient(lambda q, p, T, c, n: T * (q - p) * c / c.size)
            ),
            "this is the gradient of the other direction, KL(q ‖ p)": wrong_gradient(
                lambda q, p, T, c, n: (
                    T * q * (np.log(q / p) - (q * np.log(q / p)).sum(-1, keepdims=True)) * c / n
                )
            ),
            "this is -p / q, the derivative by the probability; softmax comes after it": (
                wrong_gradient(lambda q, p, T, c, n: -T * p / q * c / n)
            ),
        },
    )


@points(1, "kl_divergence: fit for the model")
def test_kl_divergence_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.kl_divergence, pairs()[:3])


# ---------------------------------------------------------------------------------------------
# head_importance, 5 points
# ---------------------------------------------------------------------------------------------

WRONG_IMPORTANCE = {
    "absolute values are taken before the sum; a head is weighed as a whole": lambda x, g: (
        np.abs(x * g).sum((2, 3)).mean(0)
    ),
    "the mean over texts is taken before the absolute value: texts that disagree cancel": (
        lambda x, g: np.abs((x * g).sum((2, 3)).mean(0))
    ),
    "the absolute value is missing": lambda x, g: (x * g).sum((2, 3)).mean(0),
    "the texts are added up; their mean is asked for": lambda x, g: np.abs((x * g).sum((2, 3))).sum(
        0
    ),
    "the entries of a head are averaged; they are summed": lambda x, g: np.abs(
        (x * g).mean((2, 3))
    ).mean(0),
    "the absolute value is taken of each token; tokens of one text are summed first": (
        lambda x, g: np.abs((x * g).sum(3)).sum(2).mean(0)
    ),
    "this is the gradient alone; a head's output belongs to it": lambda x, g: np.abs(
        g.sum((2, 3))
    ).mean(0),
    "this is the output alone; what the loss makes of it is its gradient": lambda x, g: np.abs(
        x.sum((2, 3))
    ).mean(0),
    "squares are taken; it is the absolute value": lambda x, g: ((x * g).sum((2, 3)) ** 2).mean(0),
    "there is one number a token; the heads are axis 1": lambda x, g: np.abs(
        (x * g).sum((1, 3))
    ).mean(0),
    "there is one number a text and head; the mean over texts is missing": lambda x, g: np.abs(
        (x * g).sum((2, 3))
    ),
}


@points(1, "head_importance: the example")
def test_head_importance_example(submission):
    """Two heads, one of which has entries that cancel."""
    check_example(submission.head_importance)


@points(3, "head_importance: value")
def test_head_importance_value(submission):
    """Sum within a head and a text, absolute value, mean over texts."""
    shapes = [((3, 4, 5, 2),) * 2, ((1, 2, 3, 4),) * 2, ((2, 1, 1, 3),) * 2]
    check_value(submission.head_importance, shapes=shapes, mistakes=WRONG_IMPORTANCE, axes="head")


@points(1, "head_importance: fit for the model")
def test_head_importance_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.head_importance, shapes=[((3, 4, 5, 2),) * 2])


# ---------------------------------------------------------------------------------------------
# wanda_score, 4 points
# ---------------------------------------------------------------------------------------------

WRONG_SCORES = {
    "the weight's sign is kept: its magnitude counts": lambda w, n: w * n,
    "the inputs' norms are not used: this is the magnitude alone": lambda w, n: np.abs(w),
    "the norms are squared; it is the norm that counts": lambda w, n: np.abs(w) * n * n,
    "the weights are squared": lambda w, n: w * w * n,
    "this is the square: weights and norms are taken as they are": lambda w, n: (w * n) ** 2,
    "it is divided by the norm; a weight on a large input is missed more": lambda w, n: (
        np.abs(w) / n
    ),
    "the norms are multiplied with the rows; they belong to the inputs, the columns": (
        lambda w, n: np.abs(w) * np.resize(n, len(w))[:, None] if np.ndim(n) else np.abs(w) * n
    ),
    "the scores are summed over the inputs; each weight has its own": lambda w, n: (
        np.abs(w) * n
    ).sum(1),
    "the score is divided by the row's sum; rows are pruned one by one, so it is not needed": (
        lambda w, n: np.abs(w) * n / (np.abs(w) * n).sum(1, keepdims=True)
    ),
    "the norms are added; they are multiplied": lambda w, n: np.abs(w) + n,
}


def scored_cases():
    return [
        case(normal(3, 5), np.abs(normal(5)) + 0.5),
        case(normal(4, 4), np.abs(normal(4)) + 0.5, label="a square matrix"),
        case(normal(1, 6), np.abs(normal(6)) * 1e3),
        case(normal(2, 3), 1.0, label="magnitude"),
    ]


@points(1, "wanda_score: the example")
def test_wanda_score_example(submission):
    """A small weight on a large input."""
    check_example(submission.wanda_score)


@points(2, "wanda_score: value")
def test_wanda_score_value(submission):
    """Magnitude times the norm of the weight's own input."""
    check_value(submission.wanda_score, scored_cases(), mistakes=WRONG_SCORES, axes="out in")


@points(1, "wanda_score: fit for the model")
def test_wanda_score_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.wanda_score, scored_cases()[:3])


# ---------------------------------------------------------------------------------------------
# sparsity_mask, 5 points, and two_four_mask, 4 points
# ---------------------------------------------------------------------------------------------


def kept_rows(score, sparsity):
    """The reference, row by row."""
    count = int(sparsity * score.shape[1] + 1e-9)
    mask = np.ones(score.shape, bool)
    for row, scores in zip(mask, score):
        row[np.argsort(scores, kind="stable")[:count]] = False
    return mask


def kept_overall(score, sparsity):
    return kept_rows(score.reshape(1, -1), sparsity).reshape(score.shape)


def of_equals_the_last(score, sparsity):
    return kept_rows(score[:, ::-1], sparsity)[:, ::-1]


WRONG_MASKS = {
    "the mask is the other way round: True for the weights that stay": lambda s, p: (
        ~kept_rows(s, p)
    ),
    "the highest scores go; the lowest do": lambda s, p: kept_rows(-s, p),
    "the lowest of the whole matrix go; it is so many in every row": kept_overall,
    "the lowest of every column go; it is so many in every row": lambda s, p: kept_rows(s.T, p).T,
    "this is the share that stays; sparsity is the share that goes": lambda s, p: kept_rows(
        s, 1 - p
    ),
    "all weights up to the limit's score go, equal ones with it: so many go, and no more": (
        lambda s, p: (
            s > np.sort(s, axis=1)[:, [max(int(p * s.shape[1] + 1e-9) - 1, 0)]]
            if int(p * s.shape[1] + 1e-9)
            else np.ones(s.shape, bool)
        )
    ),
    "all weights of the limit's score stay: so many go, and no fewer": lambda s, p: (
        s >= np.sort(s, axis=1)[:, [min(int(p * s.shape[1] + 1e-9), s.shape[1] - 1)]]
    ),
    "of equal scores the last ones go; the first ones do": of_equals_the_last,
    "the number that goes is rounded up; it is rounded down": lambda s, p: kept_rows(
        s, np.ceil(p * s.shape[1] - 1e-9) / s.shape[1]
    ),
    "0.58 · 50 is 28.999999999999996 to the computer: too few go where 29 are meant": lambda s, p: (
        kept_rows(s, int(p * s.shape[1]) / s.shape[1])
    ),
    "one weight too many stays": lambda s, p: kept_rows(s, max(0, p - 1.0 / s.shape[1])),
    "one weight too many goes": lambda s, p: kept_rows(s, min(1, p + 1.0 / s.shape[1])),
}
TIED = np.array([[2.0, 1.0, 1.0, 3.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])


def check_mask(fn, score, expected, mistakes, *arguments):
    mask = fn(score, *arguments)
    told = f"score {score.shape}" + "".join(f", sparsity = {a}" for a in arguments)
    check(
        isinstance(mask, np.ndarray) and mask.shape == score.shape,
        f"{fn.__name__} must return booleans of shape {score.shape}; it returned "
        f"{'nothing' if mask is None else getattr(mask, 'shape', type(mask).__name__)}."
        f"\n  input     {told}",
        "a return statement is missing"
        if mask is None
        else "the mask keeps the shape of the scores: four neighbors are an axis for a while only"
        if getattr(mask, "size", None) == score.size
        else None,
    )
    check(
        mask.dtype == bool,
        f"{fn.__name__}: the dtype is {mask.dtype}; bool was expected.\n  input     {told}",
        "these are the scores that stay, or ones and zeros; True and False are asked for",
    )
    numbers = {
        text: (lambda w=w: np.asarray(w(score, *arguments), float)) for text, w in mistakes.items()
    }
    check_close(
        mask.astype(float),
        expected.astype(float),
        f"{fn.__name__}: which weights stay (1) and go (0)",
        case=told,
        axes="out in",
        mistakes=numbers,
    )


@points(1, "sparsity_mask: the example")
def test_sparsity_mask_example(submission):
    """The lower half of four."""
    check_example(submission.sparsity_mask)


@points(4, "sparsity_mask: value")
def test_sparsity_mask_value(submission):
    """So many in every row, no more and no fewer, the lowest; of equal ones the first."""
    fn = submission.sparsity_mask
    for shape, sparsity in (((3, 10), 0.2), ((4, 11), 0.3), ((5, 5), 0.7), ((2, 50), 0.58)):
        score = np.abs(normal(*shape))
        check_mask(fn, score, kept_rows(score, sparsity), WRONG_MASKS, sparsity)
    for score, sparsity in ((TIED, 0.5), (TIED[:, ::-1].copy(), 0.4), (np.abs(normal(2, 5)), 0.0)):
        check_mask(fn, score, kept_rows(score, sparsity), WRONG_MASKS, sparsity)
    check(not fn.edited, "sparsity_mask changed the scores that it was given.")


def of_four(score, zeros=2, of=4):
    return kept_rows(score.reshape(-1, of), zeros / of).reshape(score.shape)


def shifted_fours(score):
    return np.roll(of_four(np.roll(score, -1, axis=1)), 1, axis=1)


WRONG_FOURS = {
    "the two lowest of four stay, or the mask is the other way round: True for the best two": (
        lambda s: ~of_four(s)
    ),
    "half of each row stays, wherever it is; it is two of each four neighbors": lambda s: kept_rows(
        s, 0.5
    ),
    "four neighbors in a column are compared; they stand in a row": lambda s: (
        of_four(np.ascontiguousarray(s.T)).T if s.shape[0] % 4 == 0 else None
    ),
    "one of each two neighbors stays; it is two of four": lambda s: of_four(s, 1, 2),
    "every fourth weight is compared; the four stand side by side": lambda s: (
        kept_rows(s.reshape(len(s), 4, -1).swapaxes(1, 2).reshape(-1, 4), 0.5)
        .reshape(len(s), -1, 4)
        .swapaxes(1, 2)
        .reshape(s.shape)
    ),
    "three of each four stay; it is two": lambda s: of_four(s, 1),
    "one of each four stays; it is two": lambda s: of_four(s, 3),
    "the fours begin one weight too late": shifted_fours,
    "of equal scores the last ones go; the first ones do": lambda s: of_four(s[:, ::-1])[:, ::-1],
    "scores equal to the limit all go: it is two of four, no fewer": lambda s: (
        s.reshape(-1, 4) > np.median(s.reshape(-1, 4), axis=1, keepdims=True)
    ).reshape(s.shape),
    "equal scores stay together: it is two of four, no more": lambda s: (
        s.reshape(-1, 4) >= np.sort(s.reshape(-1, 4), axis=1)[:, [2]]
    ).reshape(s.shape),
}


@points(1, "two_four_mask: the example")
def test_two_four_mask_example(submission):
    """Two times four."""
    check_example(submission.two_four_mask)


@points(3, "two_four_mask: value")
def test_two_four_mask_value(submission):
    """Two of each four neighbors; of equal ones the first go."""
    fn = submission.two_four_mask
    for shape in ((4, 16), (3, 12), (1, 4), (5, 8)):
        score = np.abs(normal(*shape))
        check_mask(fn, score, of_four(score), WRONG_FOURS)
    tied = np.array([[1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]])
    check_mask(fn, tied, of_four(tied), WRONG_FOURS)
    check(not fn.edited, "two_four_mask changed the scores that it was given.")


# ---------------------------------------------------------------------------------------------
# angular_distance, for honor
# ---------------------------------------------------------------------------------------------


def cosines(x, y):
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def angles(x, y):
    return np.arccos(np.clip(cosines(x, y), -1, 1))


WRONG_ANGLES = {
    "the angle is in radians; in units of π it is a number from 0 to 1": lambda x, y: angles(
        x, y
    ).mean(),
    "the angle is in degrees; in units of π it is a number from 0 to 1": lambda x, y: np.degrees(
        angles(x, y)
    ).mean(),
    "the angle of the mean cosine is no mean of angles": lambda x, y: (
        np.arccos(np.clip(cosines(x, y).mean(), -1, 1)) / np.pi
    ),
    "this is 1 - cosine; the angle is its arccos": lambda x, y: (1 - cosines(x, y)).mean(),
    "this is the cosine; the angle is its arccos": lambda x, y: cosines(x, y).mean(),
    "there is an angle for each row; their mean is asked for": lambda x, y: angles(x, y) / np.pi,
    "the rows' lengths are not divided out": lambda x, y: (
        np.arccos(np.clip((x * y).sum(-1), -1, 1)).mean() / np.pi
    ),
    "all rows are taken for one long vector": lambda x, y: (
        angles(x.reshape(-1), y.reshape(-1)) / np.pi
    ),
    "opposite directions count as the same: the cosine's sign is lost": lambda x, y: (
        np.arccos(np.clip(np.abs(cosines(x, y)), -1, 1)).mean() / np.pi
    ),
    "the angle is divided by 2π": lambda x, y: angles(x, y).mean() / (2 * np.pi),
}


@points(0, "angular_distance: the example")
def test_angular_distance_example(submission):
    """A right angle."""
    check_example(submission.angular_distance)


@points(0, "angular_distance: value")
def test_angular_distance_value(submission):
    """The mean of the rows' angles; parallel ones have none, whatever rounding says."""
    shapes = [((2, 5, 3), (2, 5, 3)), ((4, 6), (4, 6)), ((3,), (3,))]
    check_value(submission.angular_distance, shapes=shapes, mistakes=WRONG_ANGLES)
    x = np.full((1, 3), 0.1) * (1 + np.arange(60)[:, None])
    found = submission.angular_distance(x, 3 * x)
    check(
        np.ndim(found) == 0 and 0 <= float(found) < 1e-6,
        f"angular_distance of parallel rows is {found}; 0 was expected.",
        "rounding makes a cosine larger than 1, and its arccos NaN: clip it to -1 … 1",
    )
