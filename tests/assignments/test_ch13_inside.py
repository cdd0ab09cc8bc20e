"""Graders of chapter 13: scores of heads, logit lens, ablation, and the four patients."""

from functools import partial

import numpy as np

import tinyqwen as tq
from tinyqwen.course import (
    CheckFailed,
    case,
    check,
    check_close,
    check_equal,
    check_example,
    check_manners,
    check_value,
    faulty_models,
    likely,
    normal,
    output,
    points,
    reference,
    rng,
)

TITLE = "Inside the model"
ASSIGNED = {
    "previous_token_score": "analysis.interpret",
    "induction_score": "analysis.interpret",
    "logit_lens": "analysis.interpret",
    "ablate_head": "analysis.interpret",
    "diagnoses": "course.faulty_models",
    "check_a": "course.faulty_models",
    "check_b": "course.faulty_models",
    "check_c": "course.faulty_models",
    "check_d": "course.faulty_models",
    "attention_rollout": "analysis.interpret",
}
STRETCH = ("attention_rollout",)


def weights(b, h, t):
    """Causal attention weights with rows that sum to 1."""
    w = np.exp(normal(b, h, t, t)) * np.tri(t)
    return w / w.sum(-1, keepdims=True)


# ---------------------------------------------------------------------------------------------
# previous_token_score, 4 points
# ---------------------------------------------------------------------------------------------

MAPS = [(2, 3, 5), (1, 1, 2), (3, 2, 7), (2, 5, 4)]


def below(w):
    return np.diagonal(w, -1, -2, -1)


@points(1, "previous_token_score: the example")
def test_previous_token_score_example(submission):
    """Three tokens, by hand."""
    check_example(submission.previous_token_score)


@points(2, "previous_token_score: value")
def test_previous_token_score_value(submission):
    """The diagonal below the main one; the mean over batch and queries, a number for each head."""
    check_value(
        submission.previous_token_score,
        [case(weights(*size)) for size in MAPS],
        axes="head",
        mistakes={
            "this is the smallest of the weights; their mean is wanted": lambda w: np.diagonal(
                w, -1, 2, 3
            ).min((0, 2)),
            "this is the median; the mean is wanted": lambda w: np.median(
                np.diagonal(w, -1, 2, 3), (0, 2)
            ),
            "the last query is left out": lambda w: np.diagonal(w, -1, 2, 3)[..., :-1].mean((0, 2)),
            "the heads are averaged; each has a score of its own": lambda w: np.diagonal(
                w, -1, 2, 3
            ).mean((1, 2)),
            "this is one number for all heads; each has a score of its own": lambda w: np.diagonal(
                w, -1, 2, 3
            ).mean(),
            "all earlier tokens count; the one before does alone": lambda w: (
                np.tril(w, -1).sum((0, 2, 3)) / (len(w) * (w.shape[2] - 1))
            ),
            "this is the main diagonal, each token's weight on itself": lambda w: np.diagonal(
                w, 0, -2, -1
            ).mean((0, 2)),
            "this is the diagonal above the main one, the next token": lambda w: np.diagonal(
                w, 1, -2, -1
            ).mean((0, 2)),
            "this is the token two places back": lambda w: (
                np.diagonal(w, -2, -2, -1).mean((0, 2)) if w.shape[-1] > 2 else None
            ),
            "the mean counts the first token, which has none before it": lambda w: (
                below(w).sum((0, 2)) / (w.shape[0] * w.shape[2])
            ),
            "the heads are averaged too; each has a score of its own": lambda w: np.full(
                w.shape[1], below(w).mean()
            ),
            "the mean over the batch is missing": lambda w: below(w).mean(-1),
            "only the first row of the batch is looked at": lambda w: below(w[:1]).mean((0, 2)),
            "the weights are added up; the mean over batch and queries is wanted": lambda w: below(
                w
            ).sum((0, 2)),
            "queries are counted whose largest weight lies there; the weights themselves count": (
                lambda w: (w[:, :, 1:].argmax(-1) == np.arange(w.shape[-1] - 1)).mean((0, 2))
            ),
            "this is the first column, the weight on the first token": lambda w: w[
                :, :, 1:, 0
            ].mean((0, 2)),
            "this is the largest of the weights; their mean is wanted": lambda w: below(w).max(
                (0, 2)
            ),
            "the batch is added up; the mean over it is wanted": lambda w: below(w).mean(-1).sum(0),
        },
    )


@points(1, "previous_token_score: one token, float32")
def test_previous_token_score_manners(submission):
    """A text of one token scores 0, not NaN; float32 in, float32 out; weights are not changed."""
    with likely("the mean of nothing is NaN: one token has none before it"):
        yours = submission.previous_token_score(np.ones((2, 3, 1, 1)))
        check_close(yours, np.zeros(3), "previous_token_score of a text of one token")
    check_manners(submission.previous_token_score, [case(weights(*size)) for size in MAPS])


# ---------------------------------------------------------------------------------------------
# induction_score, 6 points
# ---------------------------------------------------------------------------------------------


def matches(ids, back=1, include=True):
    """(B, T, T): the keys s with ids[s - back] = ids[t] and s - back before t."""
    b, t = ids.shape
    out = np.zeros((b, t, t), bool)
    for row, query, key in np.ndindex(b, t, t):
        earlier = key - back
        if 0 <= earlier < query and ids[row, earlier] == ids[row, query]:
            out[row, query, key] = True
    return out


def scored(w, found, queries=None):
    queries = found.any(-1) if queries is None else queries
    return (w * found[:, None]).sum((0, 2, 3)) / max(1, queries.sum())


def texts(b, t, kinds):
    """Rows of few kinds of tokens, so that many occur again, in each row at least one."""
    ids = rng().integers(0, kinds, (b, t))
    ids[:, -1] = ids[:, 0]
    return ids


def induction_cases():
    several = np.array([[4, 1, 4, 4, 1, 2, 4], [3, 0, 5, 3, 0, 2, 1]])
    return [
        case(weights(2, 3, 7), several, label="4 1 4 4 1 2 4 and 3 0 5 3 0 2 1"),
        case(weights(3, 2, 9), texts(3, 9, 6)),
        case(weights(1, 4, 6), np.array([[5, 2, 8, 5, 2, 8]]), label="a text and its copy"),
        case(weights(2, 2, 5), np.array([[1, 2, 3, 4, 5], [3, 3, 3, 1, 3]]), label="3 3 3"),
    ]


@points(1, "induction_score: the example")
def test_induction_score_example(submission):
    """Five tokens, two of them again."""
    check_example(submission.induction_score)


@points(3, "induction_score: value")
def test_induction_score_value(submission):
    """The keys that follow an equal token; the mean over the queries that have such a key."""
    check_value(
        submission.induction_score,
        induction_cases(),
        axes="head",
        mistakes={
            "these are the weights on the earlier token itself; the one after it is meant": (
                lambda w, ids: scored(w, matches(ids, 0))
            ),
            "these are the weights on the token before the earlier one; the one after is meant": (
                lambda w, ids: scored(w, matches(ids, -1) & np.tri(ids.shape[1], dtype=bool))
            ),
            "the mean counts all queries, also those whose token is new": lambda w, ids: scored(
                w, matches(ids), np.ones(ids.shape)
            ),
            "the mean runs over the pairs; sum the weights of a query's keys first": (
                lambda w, ids: scored(w, matches(ids), matches(ids))
            ),
            "the rows of the batch are averaged one by one; all queries count alike": (
                lambda w, ids: np.mean(
                    [scored(w[i : i + 1], matches(ids[i : i + 1])) for i in range(len(ids))], 0
                )
            ),
            "only the latest earlier occurrence counts; all of them do": lambda w, ids: scored(
                w, latest(matches(ids)), matches(ids).any(-1)
            ),
            "only the first earlier occurrence counts; all of them do": lambda w, ids: scored(
                w, latest(matches(ids)[..., ::-1])[..., ::-1], matches(ids).any(-1)
            ),
            "the weights are read transposed: rows are queries, columns keys": lambda w, ids: (
                scored(w.swapaxes(-1, -2), matches(ids))
            ),
            "a key that is the query itself counts too, where the token before it is equal": (
                lambda w, ids: scored(w, matches(ids) & ~np.eye(ids.shape[1], dtype=bool))
            ),
            "only the first row of the batch is looked at": lambda w, ids: scored(
                w[:1], matches(ids[:1])
            ),
            "the heads are averaged too; each has a score of its own": lambda w, ids: np.full(
                w.shape[1], scored(w, matches(ids)).mean()
            ),
            "a query's keys are averaged; sum their weights": lambda w, ids: of_keys(
                w, ids, lambda found: found.mean(-1)
            ),
            "only the largest weight of a query's keys counts; sum them": lambda w, ids: of_keys(
                w, ids, lambda found: found.max(-1)
            ),
            "keys that come after the query count: the earlier token must stand before it": (
                lambda w, ids: scored(w, follows(ids) & (np.arange(ids.shape[1]) > 0))
            ),
            "the first key is compared with the last token, ids[-1]; nothing stands before it": (
                lambda w, ids: scored(w, follows(ids) & np.tri(ids.shape[1], dtype=bool))
            ),
            "two places behind the earlier token, up to the query; right after it is meant": (
                lambda w, ids: scored(w, matches(ids, 2) & np.tri(ids.shape[1], dtype=bool))
            ),
            "this looks two places behind the earlier token; the one right after it is meant": (
                lambda w, ids: scored(w, matches(ids, 2))
            ),
            "tokens are compared with the one before the query; with its own": lambda w, ids: (
                scored(w, np.pad(matches(ids)[:, :-1, :], ((0, 0), (1, 0), (0, 0))))
            ),
            "all rows are compared with the first row's ids": lambda w, ids: scored(
                w, np.repeat(matches(ids[:1]), len(ids), 0)
            ),
        },
    )


def follows(ids):
    """(B, T, T): the keys s with ids[s - 1] = ids[t], where s - 1 may be -1 and lie anywhere."""
    return ids[:, :, None] == np.roll(ids, 1, axis=1)[:, None, :]


def of_keys(w, ids, one_number):
    """The mean over the queries that have keys of a number made of the weights on those keys."""
    found = matches(ids)
    queries = np.argwhere(found.any(-1))
    return np.mean([one_number(w[b][:, t, found[b, t]]) for b, t in queries], 0)


def latest(found):
    """Of each query's keys, only the last."""
    last = found.shape[-1] - 1 - found[..., ::-1].argmax(-1)
    return found & (np.arange(found.shape[-1]) == last[..., None])


@points(1, "induction_score: nothing occurs twice")
def test_induction_score_none(submission):
    """A text without repetition scores 0, not NaN; a perfect head scores 1."""
    with likely("the mean over no queries at all is NaN"):
        yours = submission.induction_score(weights(2, 3, 4), np.array([[1, 2, 3, 4], [4, 3, 2, 1]]))
        check_close(yours, np.zeros(3), "induction_score of texts in which nothing occurs twice")
    period = int(rng().integers(3, 6))
    ids = np.resize(rng().permutation(9)[:period], (2, 2 * period))
    perfect = np.zeros((2, 1, 2 * period, 2 * period))
    for t in range(2 * period):
        perfect[:, :, t, max(0, t - period + 1)] = 1
    yours = submission.induction_score(perfect, ids)
    check_close(yours, np.ones(1), "induction_score of a head that does nothing else")


@points(1, "induction_score: fit for the model")
def test_induction_score_manners(submission):
    """float32 in, float32 out; weights and ids are not changed; views work."""
    check_manners(submission.induction_score, induction_cases())


# ---------------------------------------------------------------------------------------------
# logit_lens, 5 points
# ---------------------------------------------------------------------------------------------


def lens_case(layers, b, t, c, v, **options):
    return case(normal(layers + 1, b, t, c), normal(c), normal(v, c), **options)


def lens_cases():
    return [
        lens_case(3, 2, 4, 5, 7),
        lens_case(1, 1, 3, 6, 4, eps=0.3),
        lens_case(0, 2, 1, 3, 5),
        lens_case(2, 2, 3, 4, 4),
    ]


def normed(h, weight, eps):
    return h / np.sqrt((h * h).mean(-1, keepdims=True) + eps) * weight


def divided(h, by, weight, head):
    return np.concatenate([(h / by * weight)[:-1], h[-1:]]) @ head.T


def lens(h, weight, head, eps=1e-6):
    return np.concatenate([normed(h[:-1], weight, eps), h[-1:]]) @ head.T


@points(1, "logit_lens: the example")
def test_logit_lens_example(submission):
    """One layer, one token, worked out on paper."""
    check_example(submission.logit_lens)


@points(2, "logit_lens: value")
def test_logit_lens_value(submission):
    """Every state but the last is normed, then all go through the head."""
    check_value(
        submission.logit_lens,
        lens_cases(),
        axes="layer batch time token",
        mistakes={
            "this is the variance; RMSNorm takes the mean of the squares": (
                lambda h, w, head, eps=1e-6: divided(
                    h, np.sqrt(h.var(-1, keepdims=True) + eps), w, head
                )
            ),
            "the mean of the squares runs over tokens and features; each token has its own": (
                lambda h, w, head, eps=1e-6: divided(
                    h, np.sqrt((h * h).mean((-1, -2), keepdims=True) + eps), w, head
                )
            ),
            "the embeddings are not normed, and the last state is: it is the other way round": (
                lambda h, w, head, eps=1e-6: np.concatenate([h[:1], normed(h[1:], w, eps)]) @ head.T
            ),
            "the embeddings alone are normed; the last state alone is not": (
                lambda h, w, head, eps=1e-6: np.concatenate([normed(h[:1], w, eps), h[1:]]) @ head.T
            ),
            "the last state is normed twice: it has been through the final norm already": (
                lambda h, w, head, eps=1e-6: normed(h, w, eps) @ head.T
            ),
            "no state is normed; the head expects what the norm gives": (
                lambda h, w, head, eps=1e-6: h @ head.T
            ),
            "the norm's weight is left out": lambda h, w, head, eps=1e-6: lens(
                h, np.ones_like(w), head, eps
            ),
            "the argument eps is not used": lambda h, w, head, eps=1e-6: lens(h, w, head),
            "the head's weight is used as it is; its transpose is (C, V)": (
                lambda h, w, head, eps=1e-6: (
                    lens(h, w, head.T, eps) if head.shape[0] == head.shape[1] else None
                )
            ),
            "the mean of the squares runs over the tokens; it runs over the features": (
                lambda h, w, head, eps=1e-6: divided(
                    h, np.sqrt((h * h).mean(-2, keepdims=True) + eps), w, head
                )
            ),
            "RMSNorm subtracts no mean": lambda h, w, head, eps=1e-6: lens(
                np.concatenate([h[:-1] - h[:-1].mean(-1, keepdims=True), h[-1:]]), w, head, eps
            ),
            "eps is added to the root; it belongs under it": lambda h, w, head, eps=1e-6: divided(
                h, np.sqrt((h * h).mean(-1, keepdims=True)) + eps, w, head
            ),
            "the squares are added up; RMSNorm takes their mean": lambda h, w, head, eps=1e-6: (
                divided(h, np.sqrt((h * h).sum(-1, keepdims=True) + eps), w, head)
            ),
            "the root of the mean square is missing": lambda h, w, head, eps=1e-6: divided(
                h, (h * h).mean(-1, keepdims=True) + eps, w, head
            ),
            "the last state is multiplied by the norm's weight; it has been already": (
                lambda h, w, head, eps=1e-6: lens(
                    np.concatenate([h[:-1], h[-1:] * w]), w, head, eps
                )
            ),
            "it is divided by the norm's weight; it multiplies": lambda h, w, head, eps=1e-6: lens(
                h, 1 / w, head, eps
            ),
            "the last state is missing: an entry for every hidden state": (
                lambda h, w, head, eps=1e-6: lens(h, w, head, eps)[:-1]
            ),
            "the layers come in reverse order": lambda h, w, head, eps=1e-6: lens(h, w, head, eps)[
                ::-1
            ],
            "the embeddings, the first state, are left as they are": lambda h, w, head, eps=1e-6: (
                np.concatenate([h[:1], normed(h[1:-1], w, eps), h[-1:]]) @ head.T
                if len(h) > 1
                else None
            ),
            "these are probabilities; logits are wanted": lambda h, w, head, eps=1e-6: (
                lambda e: e / e.sum(-1, keepdims=True)
            )(np.exp(lens(h, w, head, eps))),
            "the mean of the squares runs over all states; each token is normed by itself": (
                lambda h, w, head, eps=1e-6: (
                    np.concatenate([h[:-1] / np.sqrt((h[:-1] ** 2).mean() + eps) * w, h[-1:]])
                    @ head.T
                )
            ),
        },
    )


@points(1, "logit_lens: the last layer is the model")
def test_logit_lens_model(submission):
    """On a model's own states the last logits are the model's."""
    model = drawn_model()
    ids = rng().integers(0, model.config.vocab_size, (2, 5))
    out = model(ids, output_hidden_states=True)
    states = np.stack([h.numpy() for h in out.hidden_states])
    arrays = states, model.model.norm.weight.numpy(), model.lm_head.weight.numpy()
    yours = submission.logit_lens(*arrays, eps=model.config.rms_norm_eps)
    check(
        getattr(yours, "shape", None) == (len(states), *out.logits.shape),
        f"logit_lens returned shape {getattr(yours, 'shape', None)}; expected "
        f"{(len(states), *out.logits.shape)}: layers, batch, time, vocabulary",
        "an entry for every hidden state: the embeddings, and each layer",
    )
    last, weight, head = states[-1], *arrays[1:]
    check_close(
        yours[-1],
        out.logits.numpy(),
        "the last of your logits, beside the model's,",
        mistakes={
            "the last hidden state has been through the final norm already": (
                normed(last, weight, model.config.rms_norm_eps) @ head.T
            ),
            "the last hidden state has been multiplied by the norm's weight already": (
                (last * weight) @ head.T
            ),
        },
    )


@points(1, "logit_lens: fit for the model")
def test_logit_lens_manners(submission):
    """float32 in, float32 out; no argument is changed; views work."""
    check_manners(submission.logit_lens, lens_cases())


# ---------------------------------------------------------------------------------------------
# ablate_head, 5 points
# ---------------------------------------------------------------------------------------------

HEADS = [(7, 3, 4), (5, 2, 3), (6, 4, 2), (3, 1, 2)]  # C, H, D


def ablation_cases():
    return [case(normal(c, h * d), head, d) for c, h, d in HEADS for head in {0, h - 1, h // 2}]


def without(w, features):
    out = w.copy()
    out[:, features] = 0
    return out


@points(1, "ablate_head: the example")
def test_ablate_head_example(submission):
    """Three heads of two features, the middle one gone."""
    check_example(submission.ablate_head)


def without_columns(weight, begin, end):
    """The weight with zeros in the columns from begin to end."""
    column = np.arange(weight.shape[1])
    return np.where((begin <= column) & (column < end), 0.0, weight)


@points(2, "ablate_head: value")
def test_ablate_head_value(submission):
    """The head's columns are zero, and nothing else has changed."""

    def rows(w, head, d):
        out = w.copy()
        out[head * d : (head + 1) * d] = 0
        return out

    def rest(w, head, d):
        out = np.zeros_like(w)
        out[:, head * d : (head + 1) * d] = w[:, head * d : (head + 1) * d]
        return out

    check_value(
        submission.ablate_head,
        ablation_cases(),
        axes="out in",
        mistakes={
            "nothing is zeroed": lambda w, head, d: w,
            "every head is gone; this one should be": lambda w, head, d: np.zeros_like(w),
            "heads are counted from the end here": lambda w, head, d: without_columns(
                w, w.shape[1] - (head + 1) * d, w.shape[1] - head * d
            ),
            "only the head's own columns come back; all others are wanted": lambda w, head, d: w[
                :, head * d : (head + 1) * d
            ],
            "head_dim is taken for the number of heads": lambda w, head, d: without_columns(
                w, head * (w.shape[1] // d), (head + 1) * (w.shape[1] // d)
            ),
            "a head begins at column head · head_dim, not at column head": lambda w, head, d: (
                without_columns(w, head, head + d)
            ),
            "rows are zeroed; heads stand side by side along the inputs, the columns": rows,
            "one column is zeroed; a head has head_dim of them": lambda w, head, d: without(
                w, [head]
            ),
            "the head's features are every H-th one; a head's lie side by side": (
                lambda w, head, d: without(w, slice(head, None, w.shape[1] // d))
            ),
            "head is counted from 1; heads are counted from 0": lambda w, head, d: without(
                w, slice((head - 1) * d, head * d) if head else slice(0)
            ),
            "the other heads are gone; this one should be": rest,
            "the head's columns are left out; they should be zero, so that the shape stays": (
                lambda w, head, d: np.delete(w, np.s_[head * d : (head + 1) * d], 1)
            ),
            "all heads from this one on are gone": lambda w, head, d: without(
                w, slice(head * d, None)
            ),
            "all heads up to this one are gone": lambda w, head, d: without(w, slice(head * d + d)),
            "one column too many is zeroed: the end of a slice is not in it": (
                lambda w, head, d: without(w, slice(head * d, head * d + d + 1))
            ),
            "one column too few is zeroed: a head has head_dim of them": (
                lambda w, head, d: without(w, slice(head * d, head * d + d - 1))
            ),
            "every head_dim-th column is zeroed; a head's lie side by side": (
                lambda w, head, d: without(w, slice(head, None, d))
            ),
            "the columns get another number than zero": lambda w, head, d: (
                w
                + without(np.full(w.shape, w.mean()), np.arange(w.shape[1]) // d != head)
                - (w - without(w, slice(head * d, head * d + d)))
            ),
            "the columns change their sign; they should be zero": lambda w, head, d: (
                2 * without(w, slice(head * d, head * d + d)) - w
            ),
        },
    )


@points(1, "ablate_head: the head is no longer heard")
def test_ablate_head_effect(submission):
    """The projection of all heads, minus that of one alone, is what the ablated weight gives."""
    c, h, d = 5, 4, 3
    weight, out, head = normal(c, h * d), normal(2, 6, h, d), int(rng().integers(h))
    ablated = output(submission.ablate_head, weight, head, d)
    alone = np.zeros_like(out)
    alone[:, :, head] = out[:, :, head]
    merged = out.reshape(2, 6, h * d)
    expected = merged @ weight.T - alone.reshape(2, 6, h * d) @ weight.T
    check_close(
        merged @ ablated.T, expected, "what the ablated projection puts out", patterns=False
    )


@points(1, "ablate_head: the weight is kept")
def test_ablate_head_manners(submission):
    """A new array comes back, float32 for float32, and the one that was given is as it was."""
    check_manners(submission.ablate_head, ablation_cases())


# ---------------------------------------------------------------------------------------------
# diagnoses, 5 points
# ---------------------------------------------------------------------------------------------


def told(submission):
    found = submission.diagnoses()
    check(
        isinstance(found, dict),
        f"diagnoses returned a {type(found).__name__}; a dict was expected, "
        '{"a": "the name of its fault", …}',
        "a return statement is missing" if found is None else None,
    )
    return found


@points(1, "diagnoses: four names of the list")
def test_diagnoses_form(submission):
    """A name for each patient, spelled as in the list; and your checks find such a fault."""
    found = told(submission)
    keys = sorted(map(str, found))
    check_equal(
        keys,
        list(faulty_models.NAMES),
        "the keys of diagnoses()",
        mistakes={"there are four patients, and each has one diagnosis": keys},
    )
    for patient, name in sorted(found.items()):
        check(
            name in faulty_models.DIAGNOSES,
            f"patient {patient}: {name!r} is not in the list of diagnoses.",
            "the names must be spelled as in the docstring",
        )
    check_example(submission.diagnoses)
    shown = [pair for pair in sorted(found.items()) if pair[1] in faulty_models.FAULTS]
    check(shown, "diagnoses: not one of these faults is there.")
    for patient, name in shown:
        check_evidence(getattr(submission, f"check_{patient}"), patient, name)


def check_evidence(fn, patient, name):
    """Names could be guessed, or copied: a student's own check shows what is meant."""
    words = f"an untrained model with the fault that you have named, {name!r}"
    ill, sound = faulty_models.plant(drawn_model(), name), drawn_model()
    either = f"either {name!r} is not it, or check_{patient} looks at something else"
    for_ill = partial(expect_ill, fn, ill, words, lambda: either)
    for_sound = partial(expect_sound, fn, sound, "an untrained sound model")
    in_drawn_order([for_ill, for_sound, for_ill, for_sound])


def check_diagnosis(submission, patient):
    name = told(submission).get(patient)
    check(
        isinstance(name, str) and name in faulty_models.DIAGNOSES,
        f"patient {patient}: {name!r} is not in the list of diagnoses.",
    )
    if name != faulty_models.diagnoses()[patient]:
        raise CheckFailed(
            f"patient {patient}: {name!r} is not it. If it were, one would see this:\n"
            f"  {faulty_models.DIAGNOSES[name]}.\nDoes one?",
            f"patient {patient} does not have the fault {name!r}",
        )


@points(1, "diagnoses: patient a")
def test_diagnoses_a(submission):
    """What ails patient a."""
    check_diagnosis(submission, "a")


@points(1, "diagnoses: patient b")
def test_diagnoses_b(submission):
    """What ails patient b."""
    check_diagnosis(submission, "b")


@points(1, "diagnoses: patient c")
def test_diagnoses_c(submission):
    """What ails patient c."""
    check_diagnosis(submission, "c")


@points(1, "diagnoses: patient d")
def test_diagnoses_d(submission):
    """What ails patient d."""
    check_diagnosis(submission, "d")


# ---------------------------------------------------------------------------------------------
# check_a … check_d, 5 points each
# ---------------------------------------------------------------------------------------------


def drawn_model(layers=2, heads=4, kv=2, dim=6, vocabulary=23, tied=False):
    """An untrained model of odd sizes, with weights large enough for a fault to show."""
    model = tq.Qwen2ForCausalLM(
        tq.Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=heads * dim,
            intermediate_size=2 * heads * dim + 1,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv,
            max_position_embeddings=512,
            tie_word_embeddings=tied,
        )
    )
    for name, parameter in model.named_parameters():
        mean = 1.0 if "norm" in name else 0.0
        parameter.data[...] = normal(*parameter.shape, scale=0.35) + mean
    return model


SIZES = ({}, {"layers": 3, "heads": 6, "kv": 3, "tied": True}, {"layers": 1, "dim": 8, "kv": 1})


def finds(fn, model, change=None):
    """Whether fn says that the model is ill.  change: what is done to all arrays that it sees."""
    whole, look = faulty_models.views(model)

    def show(ids, positions=None):
        logits = whole(ids, positions)
        return logits if change is None else change(logits)

    def inside(ids, positions=None):
        seen = look(ids, positions)
        return seen if change is None else {name: change(array) for name, array in seen.items()}

    show.__name__ = "model"
    ids = rng().integers(0, model.config.vocab_size, (3, 12))
    result = fn(show, inside, ids)
    check(
        2 not in fn.edited,
        f"{fn.__name__} changed its argument ids.",
        "ids are changed in place, and whoever looks at them next sees others: work on a copy",
    )
    check(
        isinstance(result, (bool, np.bool_)),
        f"{fn.__name__} returned {result!r}; True or False was expected: True for a sound model.",
        "a return statement is missing" if result is None else "one truth value is asked for",
    )
    return not result


def expect_ill(fn, model, words, mistake=None):
    if not finds(fn, model):
        raise CheckFailed(
            f"{fn.__name__} finds nothing wrong with {words}.",
            mistake() if mistake else profile(fn),
        )


def expect_sound(fn, model, words):
    if finds(fn, model):
        raise CheckFailed(
            f"{fn.__name__} says that {words} is ill; it does not have patient "
            f"{fn.__name__[-1]}'s fault.",
            ROUNDING if only_rounded(fn, model) else profile(fn),
        )


ROUNDING = "rounding is taken for a fault: equal is never quite equal in float32"


def only_rounded(fn, model):
    """True if fn objects to a sound model in float32, and not to it in float64, rounded."""
    return not finds(fn, model.astype(np.float64), lambda x: np.round(x, 6))


def profile(fn):
    """What goes wrong, told from what fn says of the four patients and of the sound model."""
    own = fn.__name__[-1]
    found = {name: finds(fn, faulty_models.load(name)) for name in (*faulty_models.NAMES, "sound")}
    others = [name for name in faulty_models.NAMES if name != own]
    strangers = " and ".join(name for name in others if found[name])
    if not any(found.values()):
        return "it never objects: is what you change, or look at, really touched by the fault?"
    if all(found[name] == (name != own) for name in found):
        return "it is the other way round: True is for a sound model"
    if found["sound"]:
        if only_rounded(fn, faulty_models.load("sound")):
            return ROUNDING
        return "it objects to a sound model: what you ask for does not hold in any model"
    if strangers and not found[own]:
        return f"this finds the fault of patient {strangers}"
    return f"it objects to the fault of patient {strangers}, too" if strangers else None


def in_drawn_order(trials):
    """Run them in an order that nobody knows: a counter of calls tells no model from another."""
    for number in rng().permutation(len(trials)):
        trials[number]()


def check_patient(fn):
    """The patient is found out, and its sound twin is not; twice each, so that no guess will do."""
    own = fn.__name__[-1]
    ill = partial(expect_ill, fn, faulty_models.load(own), f"patient {own}")
    sound = partial(expect_sound, fn, faulty_models.load("sound"), "the sound model")
    in_drawn_order([ill, sound, ill, sound])


def check_weights(fn):
    """Other weights and sizes: sound, ill in all layers, ill in one layer."""
    fault = faulty_models.diagnoses()[fn.__name__[-1]]
    trials = []
    for sizes in SIZES:
        layers = sizes.get("layers", 2)
        sound, ill = drawn_model(**sizes), faulty_models.plant(drawn_model(**sizes), fault)
        trials.append(partial(expect_sound, fn, sound, "an untrained sound model"))
        trials.append(partial(expect_ill, fn, ill, "an untrained model with the fault"))
        for one in range(layers):
            ill = faulty_models.plant(drawn_model(**sizes), fault, layers=[one])
            words = f"a model of {layers} layers with the fault in layer {one}"

            def mistake(fn=fn, sizes=sizes):
                if finds(fn, faulty_models.plant(drawn_model(**sizes), fault)):
                    return "the fault is missed where it is in one layer only"
                return profile(fn)

            trials.append(partial(expect_ill, fn, ill, words, mistake))
    in_drawn_order(trials)


def check_others(fn):
    """Ill of something else is sound here; ill of both is ill."""
    own = fn.__name__[-1]
    fault = faulty_models.diagnoses()[own]
    trials = [partial(expect_ill, fn, faulty_models.load(own), f"patient {own}")]
    for other in faulty_models.NAMES:
        if other != own:
            name = faulty_models.diagnoses()[other]
            one, both = (faulty_models.plant(drawn_model(), name) for _ in range(2))
            words = f"an untrained model with the fault of patient {other}"
            trials += [
                partial(expect_sound, fn, faulty_models.load(other), f"patient {other}"),
                partial(expect_sound, fn, one, words),
                partial(
                    expect_ill,
                    fn,
                    faulty_models.plant(both, fault),
                    f"a model with the faults of patients {own} and {other}",
                    partial(hidden, fn, fault, other),
                ),
            ]
    in_drawn_order(trials)


def hidden(fn, fault, other):
    """Why a fault is not found in a model that has another's as well."""
    if finds(fn, faulty_models.plant(drawn_model(), fault)):
        return f"the fault of patient {other} hides that of {fn.__name__[-1]}"
    return profile(fn)


def check_scale(fn):
    """Arrays a million times as large, or as small: what is rounding depends on the size."""
    check_patient(fn)  # or the size would be blamed for what has another cause
    own = fn.__name__[-1]
    mistake = "the tolerance is absolute: measure a difference by the largest entry"
    for factor in (1e6, 1e-6):
        sound, ill = faulty_models.load("sound"), faulty_models.load(own)
        words = f"with logits and stream {factor:g} times as large"
        if finds(fn, sound, lambda x, factor=factor: x * factor):
            raise CheckFailed(f"{fn.__name__} says that the sound model is ill, {words}.", mistake)
        if not finds(fn, ill, lambda x, factor=factor: x * factor):
            raise CheckFailed(
                f"{fn.__name__} finds nothing wrong with patient {own}, {words}.", mistake
            )


@points(2, "check_a: patient a and a sound model", seconds=20)
def test_check_a_patient(submission):
    """The patient is found out, the sound model is not."""
    check_patient(submission.check_a)
    check_example(submission.check_a)


@points(1, "check_a: other weights", seconds=20)
def test_check_a_weights(submission):
    """The fault is found in any model that has it, if only in one layer."""
    check_weights(submission.check_a)


@points(1, "check_a: other faults", seconds=20)
def test_check_a_others(submission):
    """The other patients do not have this fault."""
    check_others(submission.check_a)


@points(1, "check_a: large and small numbers", seconds=20)
def test_check_a_scale(submission):
    """A tolerance that goes with the size of the numbers."""
    check_scale(submission.check_a)


@points(2, "check_b: patient b and a sound model", seconds=20)
def test_check_b_patient(submission):
    """The patient is found out, the sound model is not."""
    check_patient(submission.check_b)
    check_example(submission.check_b)


@points(1, "check_b: other weights", seconds=20)
def test_check_b_weights(submission):
    """The fault is found in any model that has it, if only in one layer."""
    check_weights(submission.check_b)


@points(1, "check_b: other faults", seconds=20)
def test_check_b_others(submission):
    """The other patients do not have this fault."""
    check_others(submission.check_b)


@points(1, "check_b: large and small numbers", seconds=20)
def test_check_b_scale(submission):
    """A tolerance that goes with the size of the numbers."""
    check_scale(submission.check_b)


@points(2, "check_c: patient c and a sound model", seconds=20)
def test_check_c_patient(submission):
    """The patient is found out, the sound model is not."""
    check_patient(submission.check_c)
    check_example(submission.check_c)


@points(1, "check_c: other weights", seconds=20)
def test_check_c_weights(submission):
    """The fault is found in any model that has it, if only in one layer."""
    check_weights(submission.check_c)


@points(1, "check_c: other faults", seconds=20)
def test_check_c_others(submission):
    """The other patients do not have this fault."""
    check_others(submission.check_c)


@points(1, "check_c: large and small numbers", seconds=20)
def test_check_c_scale(submission):
    """A tolerance that goes with the size of the numbers."""
    check_scale(submission.check_c)


@points(2, "check_d: patient d and a sound model", seconds=20)
def test_check_d_patient(submission):
    """The patient is found out, the sound model is not."""
    check_patient(submission.check_d)
    check_example(submission.check_d)


@points(1, "check_d: other weights", seconds=20)
def test_check_d_weights(submission):
    """The fault is found in any model that has it, if only in one layer."""
    check_weights(submission.check_d)


@points(1, "check_d: other faults", seconds=20)
def test_check_d_others(submission):
    """The other patients do not have this fault."""
    check_others(submission.check_d)


@points(1, "check_d: large and small numbers", seconds=20)
def test_check_d_scale(submission):
    """A tolerance that goes with the size of the numbers."""
    check_scale(submission.check_d)


# ---------------------------------------------------------------------------------------------
# attention_rollout, for honor
# ---------------------------------------------------------------------------------------------


LAYERS = [(3, 2, 4, 5), (2, 3, 2, 4), (1, 1, 3, 6), (4, 1, 1, 3)]


def rolled(attentions, mix=None, backwards=False, heads=np.mean):
    mixed = heads(attentions, axis=2)
    eye = np.eye(attentions.shape[-1])
    mixed = (mixed + eye) / 2 if mix is None else mix(mixed, eye)
    out = eye
    for layer in mixed[::-1] if backwards else mixed:
        out = layer @ out
    return out


@points(0, "attention_rollout: the example")
def test_attention_rollout_example(submission):
    """The example in the docstring: two layers that look back."""
    check_example(submission.attention_rollout)


@points(0, "attention_rollout: value")
def test_attention_rollout_value(submission):
    """Heads averaged, the residual stream added, later layers multiplied from the left."""
    stacks = []
    for depth, b, h, t in LAYERS:
        drawn = np.tril(np.exp(normal(depth, b, h, t, t)))
        stacks.append(case(drawn / drawn.sum(-1, keepdims=True)))
    check_value(
        submission.attention_rollout,
        stacks,
        axes="batch last first",
        mistakes={
            "this is the first layer alone": lambda a: reference("attention_rollout")(a[:1]),
            "only the first head is used; their mean is asked for": lambda a: reference(
                "attention_rollout"
            )(a[:, :, :1]),
            "the layers are added up; they are multiplied": lambda a: (
                (a.mean(2) + np.eye(a.shape[-1])) / 2
            ).sum(0),
            "it is transposed: a row belongs to a last vector": lambda a: np.swapaxes(
                reference("attention_rollout")(a), -1, -2
            ),
            "the texts of the batch are averaged; each has a rollout of its own": lambda a: (
                np.repeat(reference("attention_rollout")(a).mean(0)[None], a.shape[1], 0)
            ),
            "the layers are multiplied in the other order: later ones stand on the left": (
                lambda a: rolled(a, backwards=True)
            ),
            "the identity, the residual stream, is missing": lambda a: rolled(
                a, lambda mixed, eye: mixed
            ),
            "the sum with the identity is not halved: its rows add up to 2": lambda a: rolled(
                a, lambda mixed, eye: mixed + eye
            ),
            "the heads are added; their mean is asked for": lambda a: rolled(a, heads=np.sum),
            "the largest of the heads is taken; their mean is asked for": lambda a: rolled(
                a, heads=np.max
            ),
            "the layers are averaged; they act one after the other": lambda a: (
                (a.mean(2) + np.eye(a.shape[-1])) / 2
            ).mean(0),
            "this is the last layer alone": lambda a: ((a.mean(2) + np.eye(a.shape[-1])) / 2)[-1],
            "the layers are multiplied entry by entry; they are matrices": lambda a: (
                (a.mean(2) + np.eye(a.shape[-1])) / 2
            ).prod(0),
        },
    )


@points(0, "attention_rollout: fit for the model")
def test_attention_rollout_manners(submission):
    """float32 in, float32 out; the weights are not changed; views work."""
    check_manners(submission.attention_rollout, [case(weights(2, 3, 5)[None])])
