"""Graders of chapter 12: processors, sample_next, cache_update, decode_loop."""

import numpy as np

from tinyqwen.course import (
    CheckFailed,
    case,
    check,
    check_close,
    check_equal,
    check_example,
    check_manners,
    check_value,
    likely,
    normal,
    points,
    rng,
)
from tinyqwen.course.calls import StudentError

TITLE = "Generation"
ASSIGNED = {
    "apply_temperature": "generation.sampling",
    "apply_repetition_penalty": "generation.sampling",
    "apply_top_k": "generation.sampling",
    "apply_top_p": "generation.sampling",
    "apply_min_p": "generation.sampling",
    "sample_next": "generation.sampling",
    "cache_update": "models.cache",
    "decode_loop": "generation.loop",
    "forbid_repeated_ngrams": "generation.constraints",
}
STRETCH = ("forbid_repeated_ngrams",)

AXES = "row token"
OUT = -np.inf


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def ordinary():
    """Logits with nothing special about them."""
    return [normal(3, 9), normal(5, 7, scale=2), normal(4, 12)]


def without(logits, share=0.3):
    """The same logits with some tokens ruled out before, as an earlier processor leaves them."""
    logits = np.where(rng().random(logits.shape) < share, OUT, logits)
    logits[:, 1] = 2.0  # something is left in each row
    return logits


def shuffled(*distributions):
    """Logits of these distributions, each in an order of its own and far from 0."""
    rows = [rng().permutation(np.log(row)) + 5 + rng().random() for row in distributions]
    return np.array(rows)


OVERFLOW = "e^x overflows: subtract the largest logit of each row before"


def only_far(fn, cases):
    """True if fn is right where the largest logit of each row is 0: what is wrong is the size."""
    near = [case(x - x.max(-1, keepdims=True), p) for x, p in (one.args for one in cases)]
    try:
        check_value(fn, near)
    except (CheckFailed, StudentError):
        return False
    return True


def far(p):
    """Logits of which e^x is infinite, or zero for a whole row."""
    return [
        case(normal(2, 6, scale=1e4), p),
        case(normal(3, 5) + 2000, p, label="all are far from 0"),
        case(normal(3, 5) - 2000, p, label="all are far from 0"),
    ]


# ---------------------------------------------------------------------------------------------
# apply_temperature, 3 points
# ---------------------------------------------------------------------------------------------


@points(1, "temperature: the example")
def test_temperature_example(submission):
    """The distribution 0.881, 0.119 at half the temperature."""
    check_example(submission.apply_temperature)


@points(1, "temperature: value")
def test_temperature_value(submission):
    """Logits over temperature, for all tokens; a token that is ruled out stays so."""
    check_value(
        submission.apply_temperature,
        [
            case(normal(2, 5), 0.5),
            case(normal(1, 7), 1.7),
            case(normal(3, 1), 3.0),
            case(without(normal(3, 6)), 0.3, label="some are -inf"),
            case(normal(2, 5, scale=1e4), 1e-3),
        ],
        axes=AXES,
        mistakes={
            "the temperature multiplies; it divides": lambda x, t: x * t,
            "the temperature is added; it divides": lambda x, t: x + t,
            "the logits are raised to a power; they are divided": (
                lambda x, t: np.sign(x) * np.abs(x) ** (1 / t)
            ),
            "these are probabilities; logits are wanted": lambda x, t: softmax(x / t),
            "these are log-probabilities; logits stay logits": lambda x, t: np.log(softmax(x / t)),
            "the logits are divided by the square of the temperature": lambda x, t: x / t**2,
            "probabilities are divided by the temperature; divide the logits": lambda x, t: (
                softmax(x) / t
            ),
            "probabilities are divided by the temperature, then logarithms taken": lambda x, t: (
                np.log(softmax(x) / t)
            ),
            "the temperature is subtracted: that changes no distribution": lambda x, t: x - t,
            "the logits are divided by 1 - temperature": lambda x, t: x / (1 - t),
            "something is added to the temperature": lambda x, t: x / (t + 1e-3),
            "temperatures below 1 are not applied": lambda x, t: x / max(t, 1.0),
            "temperatures above 1 are not applied": lambda x, t: x / min(t, 1.0),
            "the largest logit is subtracted; logits stay where they are": lambda x, t: (
                (x - x.max(-1, keepdims=True)) / t
            ),
        },
    )


@points(1, "temperature: fit for the model")
def test_temperature_manners(submission):
    """float32 in, float32 out; the logits are not changed; views work."""
    check_manners(submission.apply_temperature, [case(normal(2, 5), 0.7), case(normal(1, 4), 2.0)])


# ---------------------------------------------------------------------------------------------
# apply_repetition_penalty, 4 points
# ---------------------------------------------------------------------------------------------


def penalty_case(penalty, padded=False):
    """Tokens occur twice, one has a negative logit; token 0 occurs in one row, the last in none."""
    logits, ids = normal(3, 12), rng().integers(1, 11, (3, 6))
    ids[:, 4] = ids[:, 3]
    logits[0, ids[0, 3]], logits[1, ids[1, 3]] = -1.5, 1.5
    ids[2, 5], logits[2, 0] = 0, 0.7
    if padded:
        ids[0, :2], ids[2, :1] = -1, -1
    return case(logits, ids, penalty)


def penalized(x, ids, penalty, count=np.minimum, of_all=False, pads=False):
    """The penalty as many times as count(n, 1) says, for a token that occurs n times."""
    n = np.zeros(x.shape, int)
    for row, text in enumerate(ids):
        for token in text:
            if token >= 0 or pads:
                n[:, token] += of_all or np.arange(len(n)) == row
    factor = penalty ** count(n, 1).astype(float)
    return np.where(x < 0, x * factor, x / factor)


PENALTY_MISTAKES = {
    "every logit is multiplied; those from 0 up are divided": lambda x, ids, r: np.where(
        penalized(x, ids, r) != x, x * r, x
    ),
    "tokens that have not occurred become likelier; those that have become less likely": (
        lambda x, ids, r: np.where(penalized(x, ids, r) == x, np.where(x >= 0, x * r, x / r), x)
    ),
    "negative logits are divided: that makes the token likelier; multiply them": (
        lambda x, ids, r: np.where(penalized(x, ids, r) != x, x / r, x)
    ),
    "the penalty is applied once for each occurrence; once is enough": (
        lambda x, ids, r: penalized(x, ids, r, count=lambda n, one: n)
    ),
    "one text's tokens are penalized in all rows": (
        lambda x, ids, r: penalized(x, ids, r, of_all=True)
    ),
    "the cases are exchanged: positive logits are divided, negative ones multiplied": (
        lambda x, ids, r: penalized(x, ids, 1 / r)
    ),
    "token 0 is taken for padding; only -1 is": (
        lambda x, ids, r: penalized(x, np.where(ids == 0, -1, ids), r)
    ),
    "the penalty is subtracted": (lambda x, ids, r: np.where(penalized(x, ids, r) != x, x - r, x)),
    "only the last token of the text is penalized": (
        lambda x, ids, r: penalized(x, ids[:, -1:], r)
    ),
    "every token is penalized, whether it has occurred or not": (
        lambda x, ids, r: np.where(x < 0, x * r, x / r)
    ),
    "tokens that have not occurred are penalized, and those that have are not": (
        lambda x, ids, r: np.where(penalized(x, ids, 2.0) == x, np.where(x < 0, x * r, x / r), x)
    ),
    "the first text's tokens are penalized in all rows; each row has a text of its own": (
        lambda x, ids, r: penalized(x, np.repeat(ids[:1], len(ids), 0), r)
    ),
    "the cases are told by the mean logit; they are told by 0": lambda x, ids, r: np.where(
        penalized(x, ids, 2.0) == x, x, np.where(x < x.mean(-1, keepdims=True), x * r, x / r)
    ),
    "the text ends at the first padding here; what comes after it counts as well": (
        lambda x, ids, r: penalized(x, np.where(np.cumsum(ids < 0, -1) > 0, -1, ids), r)
    ),
    "a penalty below 1 is not applied": lambda x, ids, r: penalized(x, ids, max(r, 1.0)),
    "the logarithm of the penalty is subtracted; logits are divided or multiplied by it": (
        lambda x, ids, r: np.where(penalized(x, ids, 2.0) != x, x - np.log(r), x)
    ),
    "the first token of the text is left out": lambda x, ids, r: penalized(x, ids[:, 1:], r),
    "probabilities are penalized; the logits are to be": lambda x, ids, r: penalized(
        softmax(x), ids, r
    ),
}


@points(1, "repetition penalty: the example")
def test_repetition_penalty_example(submission):
    """Token 0 twice, token 1 with a negative logit, and one pad."""
    check_example(submission.apply_repetition_penalty)


@points(1, "repetition penalty: value")
def test_repetition_penalty_value(submission):
    """Once for each token that has occurred in the row; negative logits are multiplied."""
    check_value(
        submission.apply_repetition_penalty,
        [
            penalty_case(1.3),
            penalty_case(2.0),
            penalty_case(0.8),
            case(normal(2, 5), np.zeros((2, 0), int), 1.5, label="nothing has occurred"),
        ],
        axes=AXES,
        mistakes=PENALTY_MISTAKES,
    )


@points(1, "repetition penalty: padding")
def test_repetition_penalty_padding(submission):
    """-1 in the texts is padding, not the last token of the vocabulary."""
    check_value(
        submission.apply_repetition_penalty,
        [penalty_case(1.3, padded=True), penalty_case(1.9, padded=True)],
        axes=AXES,
        mistakes={
            "padding, -1, penalizes the last token of the vocabulary": (
                lambda x, ids, r: penalized(x, ids, r, pads=True)
            ),
            "padding, -1, penalizes token 0": (
                lambda x, ids, r: penalized(x, np.where(ids < 0, 0, ids), r)
            ),
            **PENALTY_MISTAKES,
        },
    )


@points(1, "repetition penalty: fit for the model")
def test_repetition_penalty_manners(submission):
    """float32 in, float32 out; logits and texts are not changed; views work."""
    check_manners(submission.apply_repetition_penalty, [penalty_case(1.3), penalty_case(2.0)])


# ---------------------------------------------------------------------------------------------
# apply_top_k, 4 points
# ---------------------------------------------------------------------------------------------


def kth(x, k):
    return np.sort(x, -1)[:, [-min(k, x.shape[-1])]]


def exactly(x, k, last=False):
    """The k largest and no more: of those that tie with the k-th, the first or the last stay."""
    order = np.argsort(x, -1, kind="stable")[:, -k:]
    if not last:
        order = np.argsort(-x, -1, kind="stable")[:, :k]
    kept = np.zeros(x.shape, bool)
    np.put_along_axis(kept, order, True, -1)
    return np.where(kept, x, OUT)


TOP_K_MISTAKES = {
    "of tokens that tie with the k-th, none is kept": lambda x, k: np.where(
        x > kth(x, k + 1) if k < x.shape[-1] else True, x, OUT
    ),
    "only the k largest come back; every token must keep its place": lambda x, k: (
        -np.sort(-x, -1)[:, :k]
    ),
    "the k smallest are kept": lambda x, k: np.where(x <= np.sort(x, -1)[:, [k - 1]], x, OUT),
    "the k-th largest goes as well: that is one too few": (
        lambda x, k: np.where(x > kth(x, k), x, OUT)
    ),
    "one too many is kept": lambda x, k: np.where(x >= kth(x, k + 1), x, OUT),
    "the limit is that of the first row; each row has its own": (
        lambda x, k: np.where(x >= kth(x, k)[0], x, OUT)
    ),
    "the k largest of the whole batch are kept; each row has its own": (
        lambda x, k: np.where(x >= np.sort(x, axis=None)[-k], x, OUT)
    ),
    "what is ruled out becomes 0, which is a logit like others; it must be -inf": (
        lambda x, k: np.where(x >= kth(x, k), x, 0.0)
    ),
    "what is ruled out becomes a large negative number; it must be -inf": (
        lambda x, k: np.where(x >= kth(x, k), x, -1e9)
    ),
    "these are probabilities; logits are wanted": (
        lambda x, k: softmax(np.where(x >= kth(x, k), x, OUT))
    ),
    "the logits come out sorted; every token must keep its place": (
        lambda x, k: np.sort(np.where(x >= kth(x, k), x, OUT))[:, ::-1]
    ),
    "the logits come out sorted, upwards: x.sort() changes x; np.sort(x) makes a new array": (
        lambda x, k: np.sort(np.where(x >= kth(x, k), x, OUT))
    ),
    "these are log-probabilities; what is kept keeps its logit": (
        lambda x, k: np.log(softmax(np.where(x >= kth(x, k), x, OUT)))
    ),
    "equal logits are counted once; the k-th largest counts each of them": lambda x, k: np.where(
        x >= np.array([[np.unique(row)[-min(k, len(np.unique(row)))]] for row in x]), x, OUT
    ),
    "what is ruled out becomes the row's smallest logit; it must be -inf": lambda x, k: np.where(
        x >= kth(x, k), x, x.min(-1, keepdims=True)
    ),
    "what is ruled out becomes NaN; it must be -inf": lambda x, k: np.where(
        x >= kth(x, k), x, np.nan
    ),
}


@points(1, "top-k: the example")
def test_top_k_example(submission):
    """Two of four, and a tie."""
    check_example(submission.apply_top_k)


@points(1, "top-k: value")
def test_top_k_value(submission):
    """The k largest of each row, at their places."""
    check_value(
        submission.apply_top_k,
        [
            case(normal(3, 7), 3),
            case(normal(2, 5), 1),
            case(normal(4, 6, scale=1e4), 4),
            case(normal(3, 4) - 9, 2, label="all logits are negative"),
        ],
        axes=AXES,
        mistakes=TOP_K_MISTAKES,
    )


@points(1, "top-k: ties and a large k")
def test_top_k_edges(submission):
    """What ties with the k-th stays; with k = V or more all do."""
    ties = np.array([[1.0, 3.0, 2.0, 3.0, 3.0], [2.0, 2.0, 0.0, 1.0, 1.0]])
    check_value(
        submission.apply_top_k,
        [case(ties, 2, label="ties"), case(ties, 3, label="ties"), case(ties * 0, 1, label="ties")],
        beside=[case(x, 3) for x in ordinary()],
        axes=AXES,
        mistakes={
            "of tokens that tie with the k-th, only some are kept": exactly,
            "of tokens that tie with the k-th, only the last are kept": (
                lambda x, k: exactly(x, k, last=True)
            ),
            **TOP_K_MISTAKES,
        },
    )
    with likely("k may be larger than the vocabulary: then all tokens stay"):
        large = [case(normal(2, 5), 5), case(normal(2, 5), 6), case(normal(3, 4), 50)]
        check_value(submission.apply_top_k, large, axes=AXES, mistakes=TOP_K_MISTAKES)
    check_value(
        submission.apply_top_k,
        [case(np.array([[OUT, 1.0, OUT, 0.0]]), 3, label="only two are left")],
        axes=AXES,
    )


@points(1, "top-k: fit for the model")
def test_top_k_manners(submission):
    """float32 in, float32 out; the logits are not changed; views work."""
    check_manners(submission.apply_top_k, [case(normal(3, 7), 3), case(normal(1, 4), 1)])


# ---------------------------------------------------------------------------------------------
# apply_top_p, 6 points
# ---------------------------------------------------------------------------------------------


def ranked(x, p, stays, softmax=softmax):
    """Keep where `stays(probabilities, sums)`, both from the likeliest down, is true."""
    order = np.argsort(-x, -1, kind="stable")
    probabilities = np.take_along_axis(softmax(x), order, -1)
    kept = np.zeros(x.shape, bool)
    np.put_along_axis(kept, order, stays(probabilities, np.cumsum(probabilities, -1)), -1)
    return kept


def nucleus(x, p):
    return ranked(x, p, lambda q, total: (total - q < p) | (total <= q))


def keep(kept, x, other=OUT):
    return np.where(kept, x, other)


def one_less(x, p, best=False):
    kept = ranked(x, p, lambda q, total: total <= p)
    return keep(kept | (best & (x == x.max(-1, keepdims=True))), x)


def one_more(x, p):
    kept = ranked(x, p, lambda q, total: np.roll(total - q, 1, -1) < p)
    return keep(kept | nucleus(x, p), x)


def in_sorted_places(x, p):
    q = -np.sort(-softmax(x), -1)
    return keep(np.cumsum(q, -1) - q < p, x)


def read_through_order(x, p):
    """The mask of the ranks, read at `order` where it should be written there."""
    order, q = np.argsort(-x, -1, kind="stable"), -np.sort(-softmax(x), -1)
    return keep(np.take_along_axis(np.cumsum(q, -1) - q < p, order, -1), x)


def in_order_of_the_first(x, p):
    order = np.repeat(np.argsort(-x[:1], -1, kind="stable"), len(x), 0)
    q = np.take_along_axis(softmax(x), order, -1)
    kept = np.zeros(x.shape, bool)
    np.put_along_axis(kept, order, np.cumsum(q, -1) - q < p, -1)
    return kept


def from_below(x, p):
    q = np.sort(softmax(x), -1)
    order = np.argsort(x, -1)
    kept = np.zeros(x.shape, bool)
    np.put_along_axis(kept, order, np.cumsum(q, -1) - q < p, -1)
    return keep(kept, x)


TOP_P_MISTAKES = {
    "nothing is ruled out": lambda x, p: x,
    "the likeliest alone is kept": lambda x, p: keep(x >= kth(x, 1), x),
    "p is squared": lambda x, p: keep(nucleus(x, p * p), x),
    "this is the share p of the vocabulary; p is a sum of probabilities": lambda x, p: keep(
        x >= kth(x, max(1, round(p * x.shape[-1]))), x
    ),
    "what is ruled out becomes a large negative number; it must be -inf": lambda x, p: keep(
        nucleus(x, p), x, -1e9
    ),
    "what is to be kept is ruled out, and the rest is kept": lambda x, p: keep(~nucleus(x, p), x),
    "the exponentials are not divided by their sum": lambda x, p: keep(
        ranked(x, p, lambda q, total: total - q < p, softmax=np.exp) | (x >= kth(x, 1)), x
    ),
    "this is min-p: each probability is compared with p times the largest": lambda x, p: keep(
        softmax(x) >= p * softmax(x).max(-1, keepdims=True), x
    ),
    "what comes after the sum p is kept, beside the likeliest": lambda x, p: keep(
        ranked(x, p, lambda q, total: total >= p) | (x >= kth(x, 1)), x
    ),
    "for p = 0 everything is kept; the likeliest stays alone": lambda x, p: (
        keep(nucleus(x, p), x) if p else x
    ),
    "the token with which the sum reaches p is dropped: this keeps one too few": one_less,
    "the token with which the sum reaches p is dropped; only the likeliest is spared": (
        lambda x, p: one_less(x, p, best=True)
    ),
    "one token too many is kept: the sum had reached p before it": one_more,
    "the likeliest token is dropped": lambda x, p: keep(
        nucleus(x, p) & (x < x.max(-1)[:, None]), x
    ),
    "the mask is in sorted order, and the logits are not": in_sorted_places,
    "order[i] is the token of rank i: to put the mask back, write kept[order], do not read it": (
        read_through_order
    ),
    "the sum runs from the least likely token up, and those are kept": from_below,
    "p is compared with the cumulated sum of tokens that were not sorted": (
        lambda x, p: keep(np.cumsum(softmax(x), -1) - softmax(x) < p, x)
    ),
    "each probability is compared with p; p is for their sum": (
        lambda x, p: keep(softmax(x) >= p, x)
    ),
    "each probability is compared with p, the likeliest spared; p is for their sum": (
        lambda x, p: keep((softmax(x) >= p) | (x >= kth(x, 1)), x)
    ),
    "each probability is compared with 1 - p; p is for a sum": (
        lambda x, p: keep(softmax(x) >= 1 - p, x)
    ),
    "this keeps the sum 1 - p; p is what is kept, not what is dropped": (
        lambda x, p: keep(nucleus(x, 1 - p), x)
    ),
    "what is ruled out becomes 0, which is a logit like others; it must be -inf": (
        lambda x, p: keep(nucleus(x, p), x, 0.0)
    ),
    "these are probabilities; logits are wanted": lambda x, p: softmax(keep(nucleus(x, p), x)),
    "these are probabilities, and 0 for what is ruled out; logits are wanted, and -inf": (
        lambda x, p: keep(nucleus(x, p), softmax(x), 0.0)
    ),
    "the sum runs on from one row to the next: np.cumsum takes an axis": lambda x, p: keep(
        ranked(x, p, lambda q, total: np.cumsum(q).reshape(q.shape) - q < p), x
    ),
    "logits are summed up; p is a sum of probabilities": lambda x, p: keep(
        ranked(x, p, lambda q, total: total - q < p, softmax=np.array), x
    ),
    "the sums are rolled: the first one's turn to be 0 has become the whole": lambda x, p: keep(
        ranked(x, p, lambda q, total: np.roll(total, 1, -1) < p) | (x >= kth(x, 1)), x
    ),
    "two tokens stay always; one is enough": lambda x, p: keep(nucleus(x, p) | (x >= kth(x, 2)), x),
    "the order of the first row is taken for all": lambda x, p: keep(
        in_order_of_the_first(x, p), x
    ),
    "these are log-probabilities; what is kept keeps its logit": (
        lambda x, p: np.log(softmax(keep(nucleus(x, p), x)))
    ),
    "the logits come out sorted; every token must keep its place": (
        lambda x, p: -np.sort(-keep(nucleus(x, p), x), -1)
    ),
}


@points(1, "top-p: the example")
def test_top_p_example(submission):
    """0.6 and 0.3 reach 0.8 together."""
    check_example(submission.apply_top_p)


@points(2, "top-p: value")
def test_top_p_value(submission):
    """From the likeliest down, until the sum has reached p; each row for itself."""
    check_value(
        submission.apply_top_p,
        [
            case(shuffled(*[(0.36, 0.24, 0.16, 0.12, 0.08, 0.04)] * 4), 0.8),
            case(normal(6, 9), 0.4),
            case(normal(2, 6), 0.7),
            case(normal(4, 12, scale=2), 0.9),
            case(normal(5, 8), 0.1),
            case(np.log([[0.05, 0.5, 0.15, 0.3], [0.4, 0.1, 0.3, 0.2]]), 0.55),
        ],
        beside=[case(x, 0.6) for x in ordinary()],
        axes=AXES,
        mistakes=TOP_P_MISTAKES,
    )
    below, above = 0.8 - 1e-5, 0.8 + 1e-5
    near = np.log([[0.5, 0.3, 0.15, 0.05], [0.12, 0.6, 0.08, 0.2]])
    with likely("p is compared with room to spare: the sum of those before is below p, or is not"):
        for p in (below, above):
            out = submission.apply_top_p(near, p)
            what = f"apply_top_p: the output for p = {p}"
            check_close(out, keep(nucleus(near, p), near), what, axes=AXES, patterns=False)


@points(1, "top-p: the likeliest stays")
def test_top_p_first(submission):
    """A token that is likelier than p by itself is kept; so it is for p = 0."""
    sure = np.log([[0.05, 0.9, 0.03, 0.02], [0.25, 0.15, 0.4, 0.2]])
    check_value(
        submission.apply_top_p,
        [case(sure, 0.2), case(normal(3, 5), 0.0), case(normal(2, 1), 0.5), case(sure, 0.0)],
        beside=[case(x, 0.6) for x in ordinary()],
        axes=AXES,
        mistakes={
            "nothing is left in a row; the likeliest token stays always": (
                lambda x, p: keep(nucleus(x, p) & (softmax(x).max(-1, keepdims=True) <= p), x)
            ),
            **TOP_P_MISTAKES,
        },
    )


@points(1, "top-p: large logits, -inf, equal ones")
def test_top_p_edges(submission):
    """The softmax does not overflow; what was ruled out stays out; exact sums are not exceeded."""
    check_value(
        submission.apply_top_p,
        [case(without(normal(3, 8)), 0.8, label="some are -inf")],
        beside=[case(x, 0.6) for x in ordinary()],
        axes=AXES,
        mistakes=TOP_P_MISTAKES,
    )
    cases = far(0.6)
    with likely(OVERFLOW if only_far(submission.apply_top_p, cases) else None):
        for x, p in (one.args for one in cases):
            out, what = submission.apply_top_p(x, p), "apply_top_p: the output for far logits"
            check_close(out, keep(nucleus(x, p), x), what, axes=AXES, patterns=False)
    for p, count in ((0.75, 3), (0.6, 3), (0.5, 2), (0.25, 1), (1.0, 4)):
        out = submission.apply_top_p(np.zeros((1, 4)), p)
        check_equal(
            int(np.isfinite(out).sum()),
            count,
            f"top-p {p} of four tokens with 1/4 each: the number of tokens kept",
            mistakes={
                "where the sum is exactly p, no further token is needed": count + 1,
                "the token with which the sum reaches p is kept": count - 1,
            },
        )


@points(1, "top-p: fit for the model")
def test_top_p_manners(submission):
    """float32 in, float32 out; the logits are not changed; views work."""
    check_manners(submission.apply_top_p, [case(normal(3, 7), 0.6), case(normal(1, 4), 0.9)])


# ---------------------------------------------------------------------------------------------
# apply_min_p, 4 points
# ---------------------------------------------------------------------------------------------

MIN_P_MISTAKES = {
    "nothing is ruled out; the limit is p times the largest, not the smallest probability": (
        lambda x, p: x
    ),
    "the likeliest alone is kept": lambda x, p: keep(x >= kth(x, 1), x),
    "p is subtracted from the largest probability; it is multiplied with it": lambda x, p: keep(
        softmax(x) >= softmax(x).max(-1, keepdims=True) - p, x
    ),
    "the square root of p is taken": lambda x, p: keep(
        softmax(x) >= p**0.5 * softmax(x).max(-1, keepdims=True), x
    ),
    "these are probabilities, and 0 for what is ruled out; logits are wanted, and -inf": (
        lambda x, p: keep(softmax(x) >= p * softmax(x).max(-1, keepdims=True), softmax(x), 0.0)
    ),
    "the largest is looked for down the batch; it is that of the row": lambda x, p: keep(
        softmax(x) >= p * softmax(x).max(0), x
    ),
    "p is compared with the probability itself; it is a share of the largest one": (
        lambda x, p: keep(softmax(x) >= p, x)
    ),
    "the limit is the same for all rows; each has its own largest probability": (
        lambda x, p: keep(softmax(x) >= p * softmax(x).max(), x)
    ),
    "the limit is p times the largest logit; p is for probabilities": (
        lambda x, p: keep(x >= p * x.max(-1, keepdims=True), x)
    ),
    "those above the limit are ruled out, and the unlikely ones are kept": (
        lambda x, p: keep(softmax(x) < p * softmax(x).max(-1, keepdims=True), x)
    ),
    "the limit is 1 - p times the largest probability": (
        lambda x, p: keep(softmax(x) >= (1 - p) * softmax(x).max(-1, keepdims=True), x)
    ),
    "this is top-p": lambda x, p: keep(nucleus(x, p), x),
    "the limit is p times the smallest probability; it is a share of the largest": (
        lambda x, p: keep(softmax(x) >= p * softmax(x).min(-1, keepdims=True), x)
    ),
    "the limit is p times the mean probability; it is a share of the largest": (
        lambda x, p: keep(softmax(x) >= p * softmax(x).mean(-1, keepdims=True), x)
    ),
    "p is squared: probabilities are compared with p² times the largest": (
        lambda x, p: keep(softmax(x) >= p * p * softmax(x).max(-1, keepdims=True), x)
    ),
    "logits are compared with the largest less p; that is e^-p times its probability": (
        lambda x, p: keep(x >= x.max(-1, keepdims=True) - p, x)
    ),
    "what is ruled out becomes a large negative number; it must be -inf": lambda x, p: keep(
        softmax(x) >= p * softmax(x).max(-1, keepdims=True), x, -1e30
    ),
    "what is ruled out becomes 0, which is a logit like others; it must be -inf": (
        lambda x, p: keep(softmax(x) >= p * softmax(x).max(-1, keepdims=True), x, 0.0)
    ),
    "these are probabilities; logits are wanted": (
        lambda x, p: softmax(keep(softmax(x) >= p * softmax(x).max(-1, keepdims=True), x))
    ),
    "the logarithm of p has base 10; probabilities are powers of e": (
        lambda x, p: keep(x >= x.max(-1, keepdims=True) + np.log10(p), x)
    ),
}


@points(1, "min-p: the example")
def test_min_p_example(submission):
    """A quarter of 0.6 is the limit."""
    check_example(submission.apply_min_p)


@points(1, "min-p: value")
def test_min_p_value(submission):
    """p times the largest probability of the row is the limit."""
    check_value(
        submission.apply_min_p,
        [
            case(rng().permuted(np.linspace(-4, 0, 21)[None], axis=-1), 0.0547),
            case(shuffled((0.5, 0.25, 0.12, 0.08, 0.05), (0.31, 0.23, 0.18, 0.15, 0.13)), 0.6),
            case(normal(6, 9), 0.3),
            case(normal(2, 6, scale=2), 0.1),
            case(np.log([[0.05, 0.5, 0.15, 0.3], [0.28, 0.23, 0.26, 0.23]]), 0.45),
            case(normal(1, 5), 0.0),
        ],
        beside=[case(x, 0.2) for x in ordinary()],
        axes=AXES,
        mistakes=MIN_P_MISTAKES,
    )
    near = np.log([[0.5, 0.3, 0.1, 0.1]])
    with likely("the limit is compared with room to spare: at least p times as likely, or not"):
        for p, kept in ((0.6 - 1e-5, 2), (0.6 + 1e-5, 1)):
            right = np.where(np.arange(4) < kept, near, OUT)
            what = f"apply_min_p: the output for p = {p}"
            check_close(submission.apply_min_p(near, p), right, what, axes=AXES, patterns=False)


@points(1, "min-p: the likeliest, large logits, -inf")
def test_min_p_edges(submission):
    """ "At least p times": the likeliest stays for p = 1; the softmax does not overflow."""
    strictly = {
        "a token exactly at the limit goes; it should stay: at least p times as likely": (
            lambda x, p: keep(softmax(x) > p * softmax(x).max(-1, keepdims=True), x)
        ),
    }
    check_value(
        submission.apply_min_p,
        [
            case(without(normal(3, 8)), 0.3, label="some are -inf"),
            case(normal(3, 5), 1.0),
            case(np.array([[1.0, 2.0, 2.0, 0.5]]), 1.0, label="two are equally likely"),
        ],
        beside=[case(x, 0.2) for x in ordinary()],
        axes=AXES,
        mistakes=strictly | MIN_P_MISTAKES,
    )
    cases = far(0.3)
    with likely(OVERFLOW if only_far(submission.apply_min_p, cases) else None):
        check_value(submission.apply_min_p, cases, axes=AXES, mistakes=MIN_P_MISTAKES)


@points(1, "min-p: fit for the model")
def test_min_p_manners(submission):
    """float32 in, float32 out; the logits are not changed; views work."""
    check_manners(submission.apply_min_p, [case(normal(3, 7), 0.3), case(normal(1, 4), 0.1)])


# ---------------------------------------------------------------------------------------------
# sample_next, 5 points
# ---------------------------------------------------------------------------------------------


def drawn(p, u):
    return (np.cumsum(p, -1) <= u[:, None]).sum(-1)


def drawn_by(sums, u):
    return (sums <= u[:, None] * sums[:, -1:]).sum(-1)


def drawn_in_order(x, u):
    """The pieces of the bar from the likeliest to the least likely."""
    order = np.argsort(-x, -1)
    return np.take_along_axis(order, drawn(-np.sort(-softmax(x), -1), u)[:, None], -1)[:, 0]


SAMPLE_MISTAKES = {
    "the softmax is taken twice, of probabilities as well": lambda x, u: drawn(
        softmax(softmax(x)), u
    ),
    "the index is one too large": lambda x, u: drawn(softmax(x), u) + 1,
    "the index is one too small": lambda x, u: drawn(softmax(x), u) - 1,
    "u is not used: this is the likeliest token": lambda x, u: x.argmax(-1),
    "the softmax runs over the rows of the batch; it belongs to the vocabulary": (
        lambda x, u: (np.cumsum(softmax(x, axis=0), -1) > u[:, None]).argmax(-1)
    ),
    "all rows use the first number; each has its own u": (
        lambda x, u: drawn(softmax(x), np.full(len(u), u[0]))
    ),
    "the bar is read from its other end: 1 - u": lambda x, u: drawn(softmax(x), 1 - u),
    "the pieces are sorted by size; they stand in the order of the vocabulary": drawn_in_order,
    "the sums are those of the logits; take the softmax first": lambda x, u: drawn(x, u),
    "the exponentials are not divided by their sum": lambda x, u: drawn(np.exp(x), u),
    "the sums run down the rows of the batch": (
        lambda x, u: (np.cumsum(softmax(x), 0) <= u[:, None]).sum(-1)
    ),
    "the token with the nearest sum is drawn; it is the first whose sum is above u": (
        lambda x, u: np.abs(np.cumsum(softmax(x), -1) - u[:, None]).argmin(-1)
    ),
    "each probability is compared with u; their sums are to be": (
        lambda x, u: (softmax(x) > u[:, None]).argmax(-1)
    ),
    "the sums run from the other end of the vocabulary": (
        lambda x, u: drawn(softmax(x)[:, ::-1], u)
    ),
    "the sums are those of the logits; take the softmax first, which is positive": (
        lambda x, u: drawn((x - x.min()), u)
    ),
    "the sums run down the rows of the batch, u times the last of them": (
        lambda x, u: drawn_by(np.cumsum(softmax(x), 0), u)
    ),
    "the sums run on from row to row: np.cumsum takes an axis": (
        lambda x, u: drawn_by(np.cumsum(softmax(x)).reshape(x.shape), u)
    ),
    "the sums run on from one row to the next": (
        lambda x, u: (np.cumsum(softmax(x)).reshape(x.shape) <= u[:, None]).sum(-1)
    ),
    "the softmax runs over the whole batch; each row is a distribution": (
        lambda x, u: drawn(softmax(x, axis=None).reshape(x.shape), u)
    ),
}


def first_above(sums, u):
    """The first sum above u; token 0 where there is none, as argmax has it."""
    return (sums > u[:, None]).argmax(-1)


SAMPLE_MISTAKES |= {
    f"{told}; where no sum is above u, argmax gives token 0": (
        lambda x, u, sums=sums: first_above(sums(x), u)
    )
    for told, sums in {
        "the sums are those of the logits: take the softmax first": lambda x: np.cumsum(x, -1),
        "the exponentials are not divided by their sum": (
            lambda x: np.cumsum(np.exp(x - x.max(-1, keepdims=True)), -1)
        ),
        "the sums run down the rows of the batch": lambda x: np.cumsum(softmax(x), 0),
    }.items()
} | {
    "the probabilities are sorted, and a rank comes out: the token is order[rank]": (
        lambda x, u: first_above(np.cumsum(-np.sort(-softmax(x), -1), -1), u)
    ),
}


def draws_well(fn):
    """True if fn draws the right tokens where nothing is special."""
    x, u = draws(40, 7).args
    return np.array_equal(fn(x, u), drawn(softmax(x), u))


def check_drawn_by_u(fn):
    """The same u draws the same tokens: a random number of one's own would not."""
    logits, u = normal(40, 9), rng().random(40)
    check(
        np.array_equal(fn(logits, u), fn(logits, u)),
        "sample_next: the same logits and the same u drew other tokens when asked again.",
        "it draws random numbers of its own: u is the random number",
    )


def draws(rows, vocabulary, **options):
    u = rng().random(rows)
    u[0] = 0.9
    return case(normal(rows, vocabulary), u, **options)


@points(1, "sample_next: the example")
def test_sample_next_example(submission):
    """A bar with pieces of 0.2, 0.5 and 0.3."""
    check_example(submission.sample_next)


@points(1, "sample_next: value")
def test_sample_next_value(submission):
    """The first token whose cumulated probability is above u, row by row."""
    check_drawn_by_u(submission.sample_next)
    check_value(
        submission.sample_next,
        [draws(12, 7), draws(30, 5), draws(1, 9), draws(3, 1)],
        axes="row",
        mistakes={
            **SAMPLE_MISTAKES,
            "all tokens are equally likely here: u times the size of the vocabulary": (
                lambda x, u: (u * x.shape[-1]).astype(int)
            ),
        },
    )


@points(1, "sample_next: shares")
def test_sample_next_shares(submission):
    """A thousand evenly spread u draw every token as often as it is likely."""
    p = np.array([0.3, 0.0, 0.5, 0.15, 0.05, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.log(np.tile(p, (1000, 1))) + 7
    result = np.asarray(submission.sample_next(logits, (np.arange(1000) + 0.5) / 1000))
    check(
        result.shape == (1000,) and result.dtype.kind in "iu",
        f"sample_next: for 1000 rows {result.dtype} {result.shape} came; integers (1000,) were "
        "expected.",
        "a return statement is missing" if result.dtype == object else None,
    )
    check_close(
        np.bincount(np.clip(result, 0, 6), minlength=7)[:6],
        (1000 * p).astype(int),
        "of 1000 draws, the number for each token",
        axes="token",
        mistakes={
            "always the likeliest token: is u used, and each row's own?": np.array(
                [0, 0, 1000, 0, 0, 0]
            ),
            "always the first token: is a sum of probabilities compared, with each row's own u?": (
                np.array([1000, 0, 0, 0, 0, 0])
            ),
        },
    )


@points(1, "sample_next: the ends of the bar, and rounding")
def test_sample_next_edges(submission):
    """u = 0 and u just below 1 stay inside the distribution, in float32 too."""
    sides = np.array([[OUT, OUT, 0.5, 1.0, OUT], [1.0, OUT, 0.0, OUT, OUT]])
    check_value(
        submission.sample_next,
        [case(sides, np.zeros(2)), case(sides, np.full(2, 1 - 2**-53))],
        axes="row",
        mistakes={
            "a token of probability 0 is drawn with u = 0: its sum must be above u, not equal": (
                lambda x, u: (np.cumsum(softmax(x), -1) < u[:, None]).sum(-1)
            ),
        }
        if draws_well(submission.sample_next)
        else {},
    )
    n = 19_995  # with this many, the sum is less than 1, however it is computed
    many = np.zeros((4, n + 6), np.float32)
    many[:, 0], many[:, n + 1 :] = np.log(n), OUT
    u = 0.5 + (np.array([0.2, 0.5, 0.8, 0.98]) * n + 0.5).astype(int) / (2 * n) + 0.25 / n
    right = 1 + ((u - 0.5) * 2 * n).astype(int)
    draw = np.asarray(submission.sample_next(many, u))
    near = draw.shape == right.shape and np.abs(draw - right).max() < n / 100
    told = "rounding errors grow along 20,000 tokens: sum up in float64" if near else None
    with likely(told):
        check_close(draw, right, "with 20,001 tokens, the draw")
    last = submission.sample_next(many, np.full(4, 1 - 2**-53))
    check(
        np.all((np.asarray(last) > n - 1000) & (np.asarray(last) <= n)),
        f"u = 1 - 2⁻⁵³ drew the tokens {np.asarray(last).tolist()}; the last one that is not ruled "
        f"out is {n}, in a vocabulary of {n + 6}.",
        "the last sum is 1 only nearly, and u can be above it: compare with u times the last sum",
    )


@points(1, "sample_next: fit for the model")
def test_sample_next_manners(submission):
    """float32 works; logits and u are not changed; views work."""
    check_manners(submission.sample_next, [draws(6, 5), draws(2, 9)])


# ---------------------------------------------------------------------------------------------
# cache_update, 6 points
# ---------------------------------------------------------------------------------------------


def room_case(b, h, capacity, d, start, new, label="", d_v=None):
    """Keys and values with `start` tokens, and NaN in the room behind, which nobody may read."""
    keys, values = normal(b, h, capacity, d), normal(b, h, capacity, d_v or d)
    keys[:, :, start:], values[:, :, start:] = np.nan, np.nan
    return case(keys, values, normal(b, h, new, d), normal(b, h, new, d_v or d), start, label=label)


def written(room, new, at, stop):
    room = room.copy()
    room[:, :, at : at + new.shape[2]] = new
    return room[:, :, :stop]


def both(change):
    """The same mistake in keys and values."""

    def wrong(keys, values, new_keys, new_values, start):
        stop = start + new_keys.shape[2]
        return change(keys, new_keys, start, stop), change(values, new_values, start, stop)

    return wrong


CACHE_MISTAKES = {
    "the new keys are not written": lambda k, v, nk, nv, start: (
        k[:, :, : start + nk.shape[2]],
        written(v, nv, start, start + nv.shape[2]),
    ),
    "one token is written, and all up to that one come back; T of them are new": both(
        lambda room, new, start, stop: written(room, new[:, :, :1], start, start + 1)
    ),
    "the whole room comes back, with what is behind the last token": (
        both(lambda room, new, start, stop: written(room, new, start, room.shape[2]))
    ),
    "only the new tokens come back; all so far are wanted": both(
        lambda room, new, start, stop: new
    ),
    "the new tokens are missing in what comes back": both(
        lambda room, new, start, stop: room[:, :, :start]
    ),
    "the new tokens are written at the beginning, over earlier ones": (
        both(lambda room, new, start, stop: written(room, new, 0, stop))
    ),
    "the new tokens are written one position too early, over the last one": (
        both(lambda room, new, start, stop: written(room, new, start - 1, stop))
    ),
    "one position is left free before the new tokens": (
        both(lambda room, new, start, stop: written(room, new, start + 1, stop))
    ),
    "the new tokens come first, and the earlier ones behind them": (
        both(lambda room, new, start, stop: np.concatenate([new, room[:, :, :start]], 2))
    ),
    "the keys stand where the values belong": lambda k, v, nk, nv, start: (
        written(k, nk, start, start + nk.shape[2]),
        written(v, nk, start, start + nk.shape[2]),
    ),
    "keys and values have changed places": lambda k, v, nk, nv, start: (
        written(v, nv, start, start + nv.shape[2]),
        written(k, nk, start, start + nk.shape[2]),
    ),
    "the new values are not written": lambda k, v, nk, nv, start: (
        written(k, nk, start, start + nk.shape[2]),
        v[:, :, : start + nk.shape[2]],
    ),
    "only the first of the new tokens is written": both(
        lambda room, new, start, stop: written(room, new[:, :, :1], start, stop)
    ),
    "start is taken one too large": both(
        lambda room, new, start, stop: (
            written(room, new, start + 1, stop + 1) if stop < room.shape[2] else None
        )
    ),
    "the new tokens are written at the end of the room": both(
        lambda room, new, start, stop: np.concatenate([room[:, :, : -new.shape[2]], new], 2)[
            :, :, :stop
        ]
    ),
    "the new tokens are added to what stands there; the room is free, and holds anything": both(
        lambda room, new, start, stop: written(room, room[:, :, start:stop] + new, start, stop)
    ),
    "only the first head is written": both(
        lambda room, new, start, stop: written(
            room, np.concatenate([new[:, :1], room[:, 1:, start:stop]], 1), start, stop
        )
    ),
    "the first head's tokens are written into all": both(
        lambda room, new, start, stop: written(room, new[:, :1], start, stop)
    ),
    "only the first text of the batch is written": both(
        lambda room, new, start, stop: written(
            room, np.concatenate([new[:1], room[1:, :, start:stop]]), start, stop
        )
    ),
    "the last one comes back short: up to start + T, not to start": both(
        lambda room, new, start, stop: written(room, new, start, stop)[:, :, :-1]
    ),
}
CACHE = {"axes": "batch head position feature", "outputs": ("keys", "values")}


@both
def right_cache(room, new, start, stop):
    """The reference writes into its arguments; this one leaves the case as it is."""
    return written(room, new, start, stop)


def cache_cases():
    return [
        room_case(2, 3, 9, 4, 0, 5, label="the prompt, into an empty cache"),
        room_case(2, 3, 9, 4, 5, 1, label="one token more"),
        room_case(1, 2, 8, 5, 3, 2),
        room_case(3, 1, 6, 2, 5, 1, label="the last free place"),
        room_case(1, 2, 7, 3, 0, 7, label="the prompt fills it"),
    ]


@points(1, "cache_update: the example")
def test_cache_update_example(submission):
    """A third token behind two."""
    check_example(submission.cache_update)


@points(1, "cache_update: value")
def test_cache_update_value(submission):
    """Earlier tokens stay, new ones stand behind them, and nothing else comes back."""
    check_value(
        submission.cache_update,
        cache_cases(),
        against=right_cache,
        mistakes=CACHE_MISTAKES,
        **CACHE,
    )


def two_arrays(result):
    check(
        type(result) in (tuple, list) and [type(part) for part in result] == [np.ndarray] * 2,
        f"cache_update must return two arrays; it returned a {type(result).__name__}.",
        "a return statement is missing" if result is None else "`return keys[…], values[…]`",
    )
    return result


@points(2, "cache_update: its cost")
def test_cache_update_in_place(submission):
    """The room itself is written into, and what comes back lies in it; nothing old is copied."""
    names = ("keys", "values", "new_keys", "new_values")
    for one in cache_cases():
        fn = submission.cache_update
        pairs = zip(two_arrays(fn(*one.args)), right_cache(*one.args))
        right = all(np.array_equal(mine, due, equal_nan=True) for mine, due in pairs)
        changed = [names[i] for i in fn.edited if isinstance(i, int)]
        missing = [name for name in names[:2] if name not in changed]
        check(
            not missing,
            f"cache_update did not write into {' and '.join(missing)}; after the call the new "
            "tokens must be there.",
            "what comes back is not right, either: mend that first"
            if not right
            else "a new array is made, and everything in the cache is copied at every step"
            if len(missing) == 2
            else f"{' '.join(missing)} are concatenated or copied; write into the room",
        )
        check(
            len(changed) == 2,
            f"cache_update changed its argument {' and '.join(changed[2:])}.",
            "what is new is only read; keys and values are written",
        )
        copied = " and ".join(name for i, name in enumerate(names[:2]) if i not in fn.views)
        check(
            not copied,
            f"cache_update: the {copied} that come back do not lie in the room.",
            "this is no view of the room: all so far was copied into a new array, at every step"
            if right
            else "what comes back is not right, either: mend that first",
        )
    rooms, new = [(1, 2, 1 << 15, 4)] * 2, normal(2, 1, 2, 1, 4)
    used = submission.cache_update.pages(rooms, *new, 20_000)
    check(
        used < 100,  # of 1,024; the new tokens lie in four
        "cache_update wrote one token into a cache that holds 20,000, in room for 32,768, and went "
        f"through {used} pages of memory; the new token lies in four of them.",
        "what stood there before, or the room that is free, is read or written again at every "
        "step: write the new tokens, at start … start + T - 1, and touch nothing else",
    )


@points(2, "cache_update: cached equals uncached")
def test_cache_update_steps(submission):
    """Prompt, then token by token: attention reads what it would have without a cache."""
    b, h, t, d = 2, 3, 8, 4
    q, k, v = normal(b, h, t, d), normal(b, h, t, d), normal(b, h, t, d)
    scores = np.where(np.tri(t, dtype=bool), q @ k.swapaxes(-1, -2) / np.sqrt(d), OUT)
    full = softmax(scores) @ v
    keys, values = np.full((2, b, h, 10, d), np.nan)
    for start, stop in ((0, 5), (5, 6), (6, 7), (7, 8)):
        new = slice(start, stop)
        past, past_values = two_arrays(
            submission.cache_update(keys, values, k[:, :, new], v[:, :, new], start)
        )
        for name, mine, right in (("keys", past, k), ("values", past_values, v)):
            what, axes = f"the {name} after {stop} tokens", CACHE["axes"]
            if mine.shape != right[:, :, :stop].shape:
                check_close(mine, right[:, :, :stop], what, axes=axes)
            unwritten = np.isnan(mine).any()
            check(
                not unwritten,
                f"{what}: places come back into which nothing has been written (they hold NaN).",
                "new tokens belong at the positions start … start + T - 1, in every row and head",
            )
            earlier = start and not np.array_equal(mine[:, :, :start], right[:, :, :start])
            with likely("after several calls, an earlier token is not what it was" * bool(earlier)):
                check_close(mine, right[:, :, :stop], what, axes=axes, patterns=False)
        scores = q[:, :, new] @ past.swapaxes(-1, -2) / np.sqrt(d)
        scores = np.where(np.tri(t, dtype=bool)[new, :stop], scores, OUT)
        check_close(
            softmax(scores) @ past_values,
            full[:, :, new],
            f"attention at positions {start} to {stop - 1}, compared with no cache,",
            axes="batch head query feature",
        )
        keys[:, :, :stop], values[:, :, :stop] = past, past_values


# ---------------------------------------------------------------------------------------------
# decode_loop, 8 points
# ---------------------------------------------------------------------------------------------


class Counter:
    """A model to be decoded: the next token depends on all tokens fed so far, and it takes notes.

    script: None, or what the rows say, (B, steps), whatever the model is fed
    ends:   the token with which a row ends
    """

    def __init__(self, vocabulary=23, script=None, ends=None):
        self.table = rng().standard_normal((vocabulary, vocabulary))
        self.script, self.ends = script, ends
        self.fed, self.texts, self.emitted, self.state = [], [], [], 0
        self.kept = []  # pairs: what `step` and `emit` were given, itself, and a copy of it

    def step(self, ids):
        ids = self._noted(ids)
        if not ids.size:
            raise ValueError("step was fed no token: is there one that it has not seen?")
        if self.fed and len(ids) != len(self.fed[0]):
            raise ValueError(
                f"step was fed {len(ids)} rows, and {len(self.fed[0])} before: rows that have "
                "ended go on to the end, with pads"
            )
        self.fed.append(ids)
        if self.script is not None:
            at = min(len(self.fed), self.script.shape[1]) - 1
            return np.eye(len(self.table))[self.script[:, at]]
        for column in ids.T:
            self.state = 0.6 * self.state + self.table[column]
        return self.state

    def choose(self, logits, ids):
        self.texts.append(np.array(ids))
        return np.argmax(logits, -1)

    def emit(self, tokens):
        self.emitted.append(self._noted(tokens))
        return self.emitted[-1] == self.ends

    def _noted(self, given):
        """A copy: what was given may be written into later, which `kept` shows."""
        copy = np.array(given)
        self.kept.append((given, copy))
        return copy

    def run(self, fn, ids, new, *options):
        return fn(self.step, ids, new, self.choose, self.emit, *options)

    def expected(self, ids, new):
        """The texts, by definition: everything is computed again for every token."""
        for _ in range(new):
            state = 0
            for column in ids.T:
                state = 0.6 * state + self.table[column]
            ids = np.concatenate([ids, state.argmax(-1)[:, None]], 1)
        return ids


def prompts(b, t, vocabulary=23):
    return rng().integers(0, vocabulary, (b, t))


@points(1, "decode_loop: the example")
def test_decode_loop_example(submission):
    """A model that counts, until 7."""
    check_example(submission.decode_loop)


@points(1, "decode_loop: value")
def test_decode_loop_value(submission):
    """Prompts and as many new tokens as were asked for; the prompts are not changed."""
    for b, t, new in ((1, 4, 6), (3, 5, 4), (2, 1, 5), (2, 3, 1)):
        ids, model = prompts(b, t), Counter()
        ids[:, : t // 2] = 0  # which pads rows that have ended; in a prompt it is a token
        fn = submission.decode_loop
        out = model.run(fn, ids, new)
        check(
            getattr(out, "dtype", np.dtype(int)).kind in "iu",
            f"decode_loop: the texts have dtype {getattr(out, 'dtype', None)}; ids are integers.",
            "a float takes part: 0.0, or np.zeros and np.full without dtype=int",
        )
        check(
            1 not in fn.edited,
            "decode_loop changed its argument input_ids.",
            "the prompt is changed in place: work on a copy",
        )
        right = model.expected(ids, new)
        once = [f.shape[-1] for f in model.fed] == [t] + [1] * (new - 1)
        with likely(None if once else "the model is not fed every token once: see the next test"):
            check_close(
                out,
                right,
                f"decode_loop: the texts after {new} steps with prompts of {t} tokens",
                axes="row position",
                mistakes={
                    "the prompts are missing in what comes back": right[:, t:],
                    "there is one token too few": right[:, :-1],
                    "there is one token too many": lambda i=ids, m=model, n=new: m.expected(
                        i, n + 1
                    ),
                    "the new tokens are floats or zeros: the texts are not filled in": (
                        np.concatenate([ids, np.zeros((b, new), int)], 1)
                    ),
                },
            )


@points(2, "decode_loop: its cost")
def test_decode_loop_cost(submission):
    """The prompt goes through the model once, then each new token once; the last one never."""
    for b, t, new in ((1, 7, 6), (3, 4, 5), (2, 1, 4)):
        ids, model = prompts(b, t), Counter()
        out = model.run(submission.decode_loop, ids, new)
        short = np.shape(out) != (b, t + new)
        widths = [f.shape[1] if f.ndim == 2 else -1 for f in model.fed]
        check_equal(
            widths,
            [t] + [1] * (new - 1),
            f"decode_loop: with a prompt of {t} tokens and {new} new ones, the number of tokens "
            "fed in each step",
            mistakes={
                "the whole text goes through the model in every step; feed what it has not seen": (
                    [t + i for i in range(new)]
                ),
                "two tokens are fed in each step, and one of them has been seen": (
                    [t] + [2] * (new - 1)
                ),
                "the prompt is fed token by token; one call takes all of it": ([1] * (t + new - 1)),
                "all of the prompt but its last token is fed, and then all of it": (
                    [t - 1, t] + [1] * (new - 1)
                ),
                "the prompt is fed twice": [t, t] + [1] * (new - 1),
                "of the prompt only the last token is fed": [1] * new,
                "the model runs once more after the last token, and nobody reads its logits": (
                    [t] + [1] * new
                ),
                "step takes ids of shape (B, 1): [:, None]": [t] + [-1] * (new - 1),
                "the first step computes nothing: prefill gives the first token's logits": (
                    [t, *[1] * (new - 2)]
                ),
            }
            | ({"the number of new tokens is wrong": widths} if short else {}),
        )
        check_close(
            np.concatenate(model.fed, 1),
            model.expected(ids, new - 1),
            "decode_loop: what the model was fed, one after the other,",
            axes="row position",
        )


@points(1, "decode_loop: choose and emit")
def test_decode_loop_calls(submission):
    """choose sees all ids so far; emit gets each step's tokens, no prompt, and may keep them."""
    ids, model = prompts(2, 3), Counter()
    model.run(submission.decode_loop, ids, 4)
    out = model.expected(ids, 4)
    check_equal(
        [text.shape for text in model.texts],
        [(2, length) for length in (3, 4, 5, 6)],
        "decode_loop: the shapes of the ids that choose was given",
        mistakes={
            "choose is never called: it says which token comes next": [],
            "choose is called more than once a step": [
                (2, length) for length in (3, 4, 5, 6) for _ in range(2)
            ],
            "choose gets only the tokens that are fed; the repetition penalty needs all": (
                [(2, 3), (2, 1), (2, 1), (2, 1)]
            ),
            "choose gets the room for the tokens to come as well": [(2, 7)] * 4,
            "choose gets the prompt only": [(2, 3)] * 4,
            "choose gets the new tokens only": [(2, 0), (2, 1), (2, 2), (2, 3)],
        },
    )
    for text in model.texts:
        check_close(text, out[:, : text.shape[1]], "decode_loop: the ids that choose was given")
    check_equal(
        [tokens.tolist() for tokens in model.emitted],
        out[:, 3:].T.tolist(),
        "decode_loop: what emit was given",
        mistakes={
            "emit is never called": [],
            "emit is called row by row; it takes the tokens of a step, (B,)": (
                out[:, 3:].T.reshape(-1, 1).tolist()
            ),
            "emit is not called in the last step": out[:, 3:-1].T.tolist(),
            "emit gets one column, (B, 1); it takes (B,)": out[:, 3:].T[:, :, None].tolist(),
        },
    )
    check(
        all(np.array_equal(given, copy) for given, copy in model.kept),
        "decode_loop: an array that step or emit was given holds other tokens by the end.",
        "one array is used again at every step, and whoever kept it sees it change: make a new one",
    )


@points(3, "decode_loop: rows that end")
def test_decode_loop_ends(submission):
    """A row keeps its last token and is padded from then on; all ended, nothing is computed."""
    end, pad = 7, 19
    script = rng().integers(8, 18, (3, 9))
    script[0, 1], script[1, 4], script[2, 2] = end, end, end  # the last to end is row 1
    ids = prompts(3, 4, vocabulary=end)
    ids[0, -1] = ids[1, 0] = end  # in a prompt it means nothing
    ids[2, 1:3] = pad, 0  # nor does a pad
    right = np.concatenate([ids, script[:, :5]], 1)
    right[0, 4 + 2 :], right[2, 4 + 3 :] = pad, pad
    never, endless = np.where(script == end, 8, script), np.concatenate([ids, script], 1)
    wrong_pads = right.copy()
    wrong_pads[:, 4:][right[:, 4:] == pad] = 0

    model = Counter(script=script, ends=end)
    out = model.run(submission.decode_loop, ids, 9, pad)
    check(
        np.shape(out) != right.shape or np.array_equal(out[:, :4], ids),
        "decode_loop: the prompts do not come back as they were.",
        "in a prompt, pad_token_id and the token with which rows end are tokens like others",
    )
    without_end = right.copy()
    for row, column in ((0, 5), (1, 8), (2, 6)):
        without_end[row, column] = pad
    check_close(
        out,
        right,
        "decode_loop: three rows that end in their 2nd, 5th and 3rd step",
        axes="row position",
        mistakes={
            "rows never end": endless,
            "the loop stops when the first row has ended; the others are not done": right[:, :6],
            "a row that has ended goes on; it is filled with pad_token_id": endless[:, :9],
            "a row that has ended goes on in the next step but one: once finished, it stays so": (
                revived(ids, script, end, pad)
            ),
            "the token with which a row ends is lost; it belongs to the text": without_end,
            "the last step, in which the last row ends, is missing": right[:, :-1],
            "the loop goes on with pads when all rows have ended, or all of the room comes back": (
                np.concatenate([right, np.full((3, 4), pad)], 1)
            ),
            "finished rows are filled with 0; pad_token_id says with what": wrong_pads,
            "what comes back has room for tokens that were never made": (
                np.concatenate([right, np.zeros((3, 4), int)], 1)
            ),
        },
    )
    check_equal(
        len(model.fed), 5, "decode_loop: the number of steps until all three rows have ended"
    )
    check_close(
        np.stack([f.reshape(3, -1)[:, -1] for f in model.fed], 1),
        right[:, 3:-1],
        "decode_loop: the last ids that the model was fed in each step",
        axes="row position",
        mistakes={
            "the model is fed what choose said in rows that have ended; pads stand there": (
                endless[:, 3:8]
            ),
            "an array is written into after emit has seen it: the token that ends a row is lost": (
                without_end[:, 3:-1]
            ),
        },
    )
    check_equal(
        [tokens.tolist() for tokens in model.emitted],
        right[:, 4:].T.tolist(),
        "decode_loop: what emit was given",
        mistakes={
            "emit gets what choose said in rows that have ended; pads stand there": (
                endless[:, 4:9].T.tolist()
            )
        },
    )
    never[0, 1] = pad
    model = Counter(script=never, ends=end)
    check_close(
        model.run(submission.decode_loop, ids, 6, pad),
        np.concatenate([ids, never[:, :6]], 1),
        "decode_loop: a prompt with the token that ends rows, and a pad that was chosen,",
        axes="row position",
    )


def revived(ids, script, end, pad):
    """Rows of which only the step right after their end is padded."""
    text, finished = [ids], np.zeros(len(ids), bool)
    for said in script.T:
        tokens = np.where(finished, pad, said)
        text.append(tokens[:, None])
        finished = tokens == end
    return np.concatenate(text, 1)


# ---------------------------------------------------------------------------------------------
# forbid_repeated_ngrams, for honor
# ---------------------------------------------------------------------------------------------


def repeated(ids, n, at_least=0):
    """The tokens after an earlier occurrence of the last n - 1, of one row."""
    ids, last = ids.tolist(), ids.tolist()[len(ids) - n + 1 :]
    places = range(at_least, len(ids) - n + 1)
    return {ids[i + n - 1] for i in places if ids[i : i + n - 1] == last} - {-1}


def forbidden(scores, ids, n, found=repeated):
    out = scores.copy()
    for row, text in zip(out, ids):
        row[sorted(found(text, n))] = -np.inf
    return out


def ngram_cases():
    for b, t, kinds, n in (
        (2, 30, 8, 3),
        (2, 17, 3, 3),
        (3, 14, 3, 2),
        (1, 9, 4, 1),
        (2, 5, 3, 5),
        (2, 3, 4, 6),
    ):
        yield case(normal(b, 9), rng().integers(0, kinds, (b, t)), n)
    for n in (2, 1):
        padded = rng().integers(0, 3, (2, 12))
        padded[1, :5] = -1
        yield case(normal(2, 6), padded, n, label="padded")


@points(0, "forbid_repeated_ngrams: the example")
def test_forbid_repeated_ngrams_example(submission):
    """The example in the docstring."""
    check_example(submission.forbid_repeated_ngrams)


@points(0, "forbid_repeated_ngrams: value")
def test_forbid_repeated_ngrams_value(submission):
    """What followed each earlier occurrence of the last n - 1 tokens, row by row."""

    def variant(found):
        return lambda scores, ids, n: forbidden(scores, ids, n, found)

    def first_only(ids, n):
        ids, last = ids.tolist(), ids.tolist()[len(ids) - n + 1 :]
        places = (i for i in range(len(ids) - n + 1) if ids[i : i + n - 1] == last)
        return {ids[i + n - 1] for i in list(places)[:1]} - {-1}

    check_value(
        submission.forbid_repeated_ngrams,
        list(ngram_cases()),
        axes=AXES,
        mistakes={
            "what is forbidden becomes a large negative number; it must be -inf": (
                lambda scores, ids, n: np.where(
                    forbidden(scores, ids, n) == scores, scores, scores.dtype.type(-1e9)
                )
            ),
            "everything that occurred is forbidden; only what completes a repetition is": variant(
                lambda ids, n: repeated(ids, 1)
            ),
            "one token too few is compared: the last n - 1 are": variant(
                lambda ids, n: repeated(ids, n - 1) if n > 1 else repeated(ids, 1)
            ),
            "only the first occurrence is looked at": variant(first_only),
            "only the first text of the batch is looked at": lambda scores, ids, n: np.concatenate(
                [forbidden(scores[:1], ids[:1], n), scores[1:]]
            ),
            "with n = 1 the last 0 tokens are asked for, and ids[-0:] is all of them": (
                lambda scores, ids, n: scores if n == 1 else forbidden(scores, ids, n)
            ),
            "one token too many is compared: the last n - 1 are": variant(
                lambda ids, n: repeated(ids, n + 1)
            ),
            "the very first place of the text is left out": variant(
                lambda ids, n: repeated(ids, n, at_least=1)
            ),
            "-1 is padding: as an index it forbids the last token": variant(
                lambda ids, n: repeated(ids, n) | ({-1} if n <= 2 and -1 in ids[1:] else set())
            ),
            "what one row has said is forbidden in all": lambda scores, ids, n: np.where(
                np.isinf(forbidden(scores, ids, n)).any(0), -np.inf, scores
            ),
        },
    )


@points(0, "forbid_repeated_ngrams: fit for the model")
def test_forbid_repeated_ngrams_manners(submission):
    """float32 in, float32 out; scores and ids are not changed."""
    check_manners(submission.forbid_repeated_ngrams, list(ngram_cases()))
