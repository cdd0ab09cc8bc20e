"""Graders of chapter 17: routing, dispatching and combining, balance, and what a token uses."""

from functools import partial

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
    check_equal,
    check_example,
    check_manners,
    check_value,
    check_vjp,
    normal,
    output,
    points,
    rng,
)

TITLE = "Mixture of experts"
ASSIGNED = {
    "top_k_routing": "functional.routing",
    "dispatch": "functional.routing",
    "combine": "functional.routing",
    "auxiliary_loss": "functional.routing",
    "expert_parameters": "analysis.budget",
    "within_capacity": "functional.routing",
}
STRETCH = ("within_capacity",)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def largest(x, k):
    return np.argsort(-x, axis=-1, kind="stable")[..., :k]


# ---------------------------------------------------------------------------------------------
# top_k_routing, 10 points
# ---------------------------------------------------------------------------------------------

AXES = {"logits": "token expert", "weights": "token choice", "experts": "token choice"}
OUTPUTS = ("weights", "experts")


def routed_cases():
    return [
        case(normal(6, 7), 3),
        case(normal(4, 5), 3, normalize=True),
        case(normal(3, 4), 1, label="one expert a token"),
        case(normal(3, 4), 4, normalize=True, label="all experts"),
        case(normal(1, 7), 2),
    ]


def routing(weigh, choose=largest):
    """A mistake in the weights, given p, logits and the experts, or in the choice."""

    def wrong(z, k, normalize=False):
        experts = choose(z, k)
        return weigh(softmax(z), z, experts, normalize), experts

    return wrong


def chosen(p, z, experts, normalize):
    w = np.take_along_axis(p, experts, -1)
    return w / w.sum(-1, keepdims=True) if normalize else w


def of_chosen_logits(p, z, experts, normalize):
    return softmax(np.take_along_axis(z, experts, -1))


WRONG_ROUTES = {
    "the softmax runs over the chosen experts alone, or their weights are divided by their sum, "
    "which is the same; normalize=False asks for neither": (routing(of_chosen_logits)),
    "the weights are logits; their softmax is asked for": routing(
        lambda p, z, e, n: np.take_along_axis(z, e, -1)
    ),
    "the weights are not divided by their sum, though normalize asks for it": routing(
        lambda p, z, e, n: chosen(p, z, e, False)
    ),
    "the smallest are chosen; the k largest are asked for": routing(
        chosen, lambda z, k: largest(-z, k)
    ),
    "the chosen experts come smallest first; the largest comes first": routing(
        chosen, lambda z, k: largest(z, k)[:, ::-1]
    ),
    "the chosen experts come in the order of their numbers; the largest comes first": routing(
        chosen, lambda z, k: np.sort(largest(z, k), axis=1)
    ),
    "the weights are one over k": routing(lambda p, z, e, n: np.full(e.shape, 1 / e.shape[1])),
    "the softmax runs over the tokens; it runs over a token's experts": routing(
        lambda p, z, e, n: chosen(softmax(z.T).T, z, e, n)
    ),
    "the experts are counted from 1": lambda z, k, normalize=False: (
        chosen(softmax(z), z, largest(z, k), normalize),
        largest(z, k) + 1,
    ),
}


@points(1, "top_k_routing: the example")
def test_top_k_routing_example(submission):
    """Four experts, two of them chosen."""
    check_example(submission.top_k_routing)


@points(3, "top_k_routing: value")
def test_top_k_routing_value(submission):
    """Softmax over all, the k largest, the largest first."""
    check_value(
        submission.top_k_routing,
        routed_cases(),
        mistakes=WRONG_ROUTES,
        outputs=OUTPUTS,
        axes=AXES,
    )


@points(1, "top_k_routing: ties and large logits")
def test_top_k_routing_edges(submission):
    """Of equal ones the first; logits of ±10,000."""
    ties = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    check_value(
        submission.top_k_routing,
        [
            case(ties, 2, label="equal logits"),
            case(normal(3, 5) + np.array([[1e4], [-1e4], [2e3]]), 2, label="all far from 0"),
        ],
        outputs=OUTPUTS,
        axes=AXES,
        mistakes={
            "of equal logits the last is taken; the first is": routing(
                chosen, lambda z, k: z.shape[1] - 1 - largest(z[:, ::-1], k)
            ),
            "e^z overflows: subtract each row's largest logit before": lambda z, k, **_: (
                (np.full((len(z), k), np.nan), largest(z, k)) if np.abs(z).max() > 700 else None
            ),
        },
    )


def routing_gradient(make):
    def wrong(z, k, g, normalize=False):
        p, experts = softmax(z), largest(z, k)
        w = np.take_along_axis(p, experts, -1)
        return (make(p, w, experts, g[0], normalize),)

    return wrong


def spread(p, experts, values):
    a = np.zeros_like(p)
    np.put_along_axis(a, experts, values, -1)
    return a


def through_softmax(p, a):
    return p * (a - (p * a).sum(-1, keepdims=True))


def normalized_part(w, g, normalize):
    total = w.sum(-1, keepdims=True)
    return (g - (g * w / total).sum(-1, keepdims=True)) / total if normalize else g


@points(4, "top_k_routing: gradient")
def test_top_k_routing_vjp(submission):
    """Those that were not chosen have a part in the softmax, and so a gradient."""
    check_vjp(
        submission.top_k_routing,
        routed_cases(),
        axes=AXES,
        mistakes={
            "only the chosen experts' logits get a gradient; all stand in the softmax's sum": (
                routing_gradient(
                    lambda p, w, e, g, n: spread(
                        p,
                        e,
                        np.take_along_axis(
                            through_softmax(p, spread(p, e, normalized_part(w, g, n))), e, -1
                        ),
                    )
                )
            ),
            "softmax's VJP is missing: this is the gradient of the probabilities": (
                routing_gradient(lambda p, w, e, g, n: spread(p, e, normalized_part(w, g, n)))
            ),
            "the sum Σ p a is missing in softmax's VJP": routing_gradient(
                lambda p, w, e, g, n: p * spread(p, e, normalized_part(w, g, n))
            ),
            "the division by the weights' sum is forgotten on the way back": routing_gradient(
                lambda p, w, e, g, n: through_softmax(p, spread(p, e, g))
            ),
            "the weights' sum is taken for a constant on the way back": routing_gradient(
                lambda p, w, e, g, n: through_softmax(
                    p, spread(p, e, g / w.sum(-1, keepdims=True) if n else g)
                )
            ),
            "the gradient goes to the first k experts, not to the chosen ones": routing_gradient(
                lambda p, w, e, g, n: through_softmax(
                    p,
                    spread(p, np.arange(e.shape[1]) + 0 * e, normalized_part(w, g, n)),
                )
            ),
        },
    )


@points(1, "top_k_routing: fit for the model")
def test_top_k_routing_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.top_k_routing, routed_cases()[:3])


# ---------------------------------------------------------------------------------------------
# dispatch, 5 points
# ---------------------------------------------------------------------------------------------


def some_experts(n, k, count):
    return np.stack([rng().permutation(count)[:k] for _ in range(n)])


def sorted_pairs(experts, count):
    flat = experts.reshape(-1)
    return np.argsort(flat, kind="stable"), np.cumsum(np.bincount(flat, minlength=count))


WRONG_ORDERS = {
    "the order holds tokens; it holds numbers of pairs, n·k + j": lambda e, c: (
        sorted_pairs(e, c)[0] // e.shape[1]
    ),
    "the order holds experts; it holds numbers of pairs": lambda e, c: np.sort(e.reshape(-1)),
    "this says where each pair goes; what stands where is asked for": lambda e, c: np.argsort(
        sorted_pairs(e, c)[0]
    ),
    "pairs of one expert come last token first; the first comes first": lambda e, c: (
        e.size - 1 - np.argsort(e.reshape(-1)[::-1], kind="stable")
    ),
    "the experts go from the last to the first": lambda e, c: np.argsort(
        -e.reshape(-1), kind="stable"
    ),
    "the pairs are numbered choice by choice, j·N + n; token by token they are n·k + j": (
        lambda e, c: np.argsort(e.T.reshape(-1), kind="stable")
    ),
    "nothing is sorted": lambda e, c: np.arange(e.size),
}
WRONG_STOPS = {
    "these are the numbers of pairs; where they end is their cumulative sum": lambda e, c: (
        np.bincount(e.reshape(-1), minlength=c)
    ),
    "this is where each expert's pairs begin; they end there is asked for": lambda e, c: np.append(
        0, sorted_pairs(e, c)[1][:-1]
    ),
    "a 0 stands before the first end; there is one number for each expert": lambda e, c: np.append(
        0, sorted_pairs(e, c)[1]
    ),
    "experts without tokens at the end have no entry: one for each of num_experts": lambda e, c: (
        np.cumsum(np.bincount(e.reshape(-1)))
    ),
    "experts without tokens have no entry: one for each of num_experts": lambda e, c: np.cumsum(
        np.unique(e, return_counts=True)[1]
    ),
    "the last pair's place is meant, one less": lambda e, c: sorted_pairs(e, c)[1] - 1,
}


def dispatch_cases():
    return [
        (some_experts(7, 2, 5), 5),
        (some_experts(9, 1, 4), 6),
        (np.array([[1, 3], [3, 1], [1, 3]]), 5),
        (some_experts(4, 3, 3), 3),
        (np.array([[2]]), 3),
    ]


@points(1, "dispatch: the example")
def test_dispatch_example(submission):
    """Three tokens, three experts, one of which has nothing to do."""
    check_example(submission.dispatch)


@points(4, "dispatch: value")
def test_dispatch_value(submission):
    """Expert by expert, for one expert token by token; an end for each expert."""
    for experts, count in dispatch_cases():
        told = f"experts = {experts.tolist()}, num_experts = {count}"
        found = submission.dispatch(experts, count)
        check(
            type(found) is tuple and len(found) == 2,
            f"dispatch must return (order, stops); it returned a {type(found).__name__}."
            f"\n  input     {told}",
            "a return statement is missing" if found is None else None,
        )
        order, stops = (np.asarray(part).tolist() for part in found)
        right_order, right_stops = (part.tolist() for part in sorted_pairs(experts, count))
        check_equal(
            order,
            right_order,
            "dispatch: the order",
            case=told,
            mistakes={
                text: (lambda w=w, e=experts, c=count: w(e, c).tolist())
                for text, w in WRONG_ORDERS.items()
            },
        )
        check_equal(
            stops,
            right_stops,
            "dispatch: the stops",
            case=told,
            mistakes={
                text: (lambda w=w, e=experts, c=count: w(e, c).tolist())
                for text, w in WRONG_STOPS.items()
            },
        )
    check(not submission.dispatch.edited, "dispatch changed the experts that it was given.")


# ---------------------------------------------------------------------------------------------
# combine, 8 points
# ---------------------------------------------------------------------------------------------


def combine_cases():
    made = []
    for n, k, c in ((5, 2, 3), (4, 3, 2), (6, 1, 4), (1, 2, 3)):
        order = rng().permutation(n * k)
        made.append(case(normal(n * k, c), normal(n, k), order))
    return made


def back(order):
    return np.argsort(order)


def combined(rows, w):
    return (rows.reshape(*w.shape, -1) * w[..., None]).sum(1)


def assigned(o, w, order):
    y = np.zeros((len(w), o.shape[1]))
    y[order // w.shape[1]] = o * w.reshape(-1)[order, None]
    return y


WRONG_COMBINES = {
    "the outputs are taken as they stand: they come in the order of `dispatch`": (
        lambda o, w, order: combined(o, w)
    ),
    "outputs[order] goes the wrong way: row i is of pair order[i]": lambda o, w, order: combined(
        o[order], w
    ),
    "the weights are not used": lambda o, w, order: combined(o[back(order)], np.ones_like(w)),
    "the weighted outputs are averaged; they are added": lambda o, w, order: (
        combined(o[back(order)], w) / w.shape[1]
    ),
    "only the first expert of a token counts here": lambda o, w, order: combined(
        o[back(order)], w * (np.arange(w.shape[1]) == 0)
    ),
    "the weights go with other pairs: they are in the order of pairs already": (
        lambda o, w, order: combined(o[back(order)], w.reshape(-1)[order].reshape(w.shape))
    ),
    "a token's rows overwrite each other: add them": lambda o, w, order: assigned(o, w, order),
    "the pairs are taken choice by choice; they are numbered n·k + j": lambda o, w, order: (
        o[back(order)].reshape(w.shape[1], w.shape[0], -1) * w.T[..., None]
    ).sum(0),
}


@points(1, "combine: the example")
def test_combine_example(submission):
    """One token, two experts."""
    check_example(submission.combine)


@points(2, "combine: value")
def test_combine_value(submission):
    """Back to the order of pairs, times the weights, added up."""
    check_value(submission.combine, combine_cases(), mistakes=WRONG_COMBINES, axes="token feature")


@points(4, "combine: gradient")
def test_combine_vjp(submission):
    """Each output gets its token's g times its weight; each weight g · its output."""

    def of_outputs(make):
        return lambda o, w, order, g: (make(o, w, order, g), None, None)

    def of_weights(make):
        return lambda o, w, order, g: (None, make(o, w, order, g), None)

    check_vjp(
        submission.combine,
        combine_cases(),
        axes={"outputs": "pair feature", "weights": "token choice"},
        mistakes={
            "the gradient of the outputs stands in the order of pairs; theirs is dispatch's": (
                of_outputs(lambda o, w, order, g: (g[:, None] * w[..., None]).reshape(o.shape))
            ),
            "the outputs' gradient goes the wrong way: row i is of pair order[i]": of_outputs(
                lambda o, w, order, g: (g[:, None] * w[..., None]).reshape(o.shape)[back(order)]
            ),
            "the weights are missing in the gradient of the outputs": of_outputs(
                lambda o, w, order, g: g[order // w.shape[1]]
            ),
            "g[order] takes pairs for tokens: a pair's token is order // k": of_outputs(
                lambda o, w, order, g: g[order % len(g)] * w.reshape(-1)[order, None]
            ),
            "the weights go with other rows of the outputs' gradient": of_outputs(
                lambda o, w, order, g: g[order // w.shape[1]] * w.reshape(-1, 1)
            ),
            "the gradient of the weights stands in dispatch's order; theirs is that of the pairs": (
                of_weights(
                    lambda o, w, order, g: (g[order // w.shape[1]] * o).sum(-1).reshape(w.shape)
                )
            ),
            "the gradient of the weights meets outputs of other pairs": of_weights(
                lambda o, w, order, g: (o.reshape(*w.shape, -1) * g[:, None]).sum(-1)
            ),
            "the gradient of the weights is not summed over the features": of_weights(
                lambda o, w, order, g: o[back(order)].reshape(*w.shape, -1) * g[:, None]
            ),
            "the gradient of the weights lacks the outputs": of_weights(
                lambda o, w, order, g: np.repeat(g.sum(-1, keepdims=True), w.shape[1], 1)
            ),
        },
    )


@points(1, "combine: fit for the model")
def test_combine_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.combine, combine_cases()[:3])


# ---------------------------------------------------------------------------------------------
# auxiliary_loss, 8 points
# ---------------------------------------------------------------------------------------------


def balance_cases():
    counts = np.array([1, 1, 0, 1, 0, 1, 1])
    return [
        case(normal(6, 5), 2),
        case(normal(9, 4, scale=2), 1),
        case(normal(7, 3), 2, counts),
        case(normal(2, 6), 3),
    ]


def shares(z, k, counts):
    """f (E,), p (N, E), who counts (N, 1), and how many."""
    real = np.ones(len(z)) if counts is None else np.asarray(counts, float)
    f = np.zeros(z.shape[1])
    np.add.at(f, largest(z, k), real[:, None])
    return f / real.sum(), softmax(z), real[:, None], real.sum()


def balance(make):
    def wrong(z, k, counts=None):
        return make(*shares(z, k, counts), z.shape[1], k)

    return wrong


def mean_share(z, k, counts):
    """P (E,)."""
    _, p, real, n = shares(z, k, counts)
    return (p * real).sum(0) / n


WRONG_BALANCES = {
    "the factor E is missing": balance(lambda f, p, r, n, E, k: f @ (p * r).sum(0) / n),
    "f is divided by k, too; it is choices per token": balance(
        lambda f, p, r, n, E, k: E * f @ (p * r).sum(0) / n / k
    ),
    "the sums are not divided by the number of tokens": balance(
        lambda f, p, r, n, E, k: E * f @ (p * r).sum(0)
    ),
    "this is Σ P², without what was chosen": balance(
        lambda f, p, r, n, E, k: E * (((p * r).sum(0) / n) ** 2).sum()
    ),
    "this is Σ f², which has no gradient at all": balance(lambda f, p, r, n, E, k: E * f @ f),
    "the mean over experts is taken; it is E times the sum": balance(
        lambda f, p, r, n, E, k: f @ (p * r).sum(0) / n / E
    ),
    "padding counts": lambda z, k, counts=None: balance(
        lambda f, p, r, n, E, k: E * f @ (p * r).sum(0) / n
    )(z, k),
    "padding counts in P": balance(lambda f, p, r, n, E, k: E * f @ p.mean(0)),
    "the choices of padding are counted in f": lambda z, k, counts=None: (
        z.shape[1]
        * (shares(z, k, None)[0] * len(z) / shares(z, k, counts)[3] @ mean_share(z, k, counts))
    ),
    "the factor is k; it is E, the number of experts": balance(
        lambda f, p, r, n, E, k: k * f @ (p * r).sum(0) / n
    ),
    "padding counts in the divisor": balance(
        lambda f, p, r, n, E, k: E * f * (n / len(p)) @ (p * r).sum(0) / len(p)
    ),
    "only the likeliest expert of a token counts in f; all its k do": lambda z, k, counts=None: (
        balance(lambda f, p, r, n, E, k: E * f @ (p * r).sum(0) / n)(z, 1, counts)
    ),
    "P is the mean of the logits; their softmax is meant": lambda z, k, counts=None: (
        z.shape[1] * shares(z, k, counts)[0] @ z.mean(0)
    ),
}


@points(1, "auxiliary_loss: the example")
def test_auxiliary_loss_example(submission):
    """Two tokens that want the same expert."""
    check_example(submission.auxiliary_loss)


@points(3, "auxiliary_loss: value")
def test_auxiliary_loss_value(submission):
    """E Σ f P; k where all have equally much."""
    check_value(submission.auxiliary_loss, balance_cases(), mistakes=WRONG_BALANCES)
    level = output(submission.auxiliary_loss, 20.0 * np.eye(5), 1)
    what = "auxiliary_loss where each of five tokens wants another expert"
    check_close(level, 1.0, what, rtol=1e-6)


def balance_gradient(make):
    def wrong(z, k, *rest):
        *counts, g = rest
        f, p, r, n = shares(z, k, counts[0] if counts else None)
        return (g * make(f, p, r, n, z.shape[1]),)

    return wrong


@points(3, "auxiliary_loss: gradient")
def test_auxiliary_loss_vjp(submission):
    """Through P alone: E f / N, then softmax's VJP."""
    check_vjp(
        submission.auxiliary_loss,
        balance_cases(),
        axes=AXES,
        mistakes={
            "softmax's VJP is missing: this is the gradient of p": balance_gradient(
                lambda f, p, r, n, E: E * f / n * r
            ),
            "the sum Σ p a is missing in softmax's VJP": balance_gradient(
                lambda f, p, r, n, E: p * (E * f / n) * r
            ),
            "it is not divided by the number of tokens": balance_gradient(
                lambda f, p, r, n, E: through_softmax(p, E * f * r)
            ),
            "the factor E is missing on the way back": balance_gradient(
                lambda f, p, r, n, E: through_softmax(p, f / n * r)
            ),
            "only those who chose an expert have a gradient of its p; P is the mean over all": (
                lambda z, k, *rest: balance_gradient(
                    lambda f, p, r, n, E: through_softmax(
                        p, spread(p, largest(z, k), 1.0) * E * f / n * r
                    )
                )(z, k, *rest)
            ),
            "padding gets a gradient; its is 0": balance_gradient(
                lambda f, p, r, n, E: through_softmax(p, E * f / n + 0 * r)
            ),
            "f is differentiated as if it were P, twice the gradient": balance_gradient(
                lambda f, p, r, n, E: 2 * through_softmax(p, E * f / n * r)
            ),
            "this is the gradient of Σ P²; f stands there, and is a constant": balance_gradient(
                lambda f, p, r, n, E: 2 * through_softmax(p, E * (p * r).sum(0) / n / n * r)
            ),
        },
    )


@points(1, "auxiliary_loss: fit for the model")
def test_auxiliary_loss_manners(submission):
    """float32 in, float32 out; views work; nothing is changed."""
    check_manners(submission.auxiliary_loss, balance_cases()[:2])


# ---------------------------------------------------------------------------------------------
# expert_parameters, 4 points
# ---------------------------------------------------------------------------------------------


def counted(h, E, k, i, s, *, matrices=3, router=1, shared=3, gate=1, active=True):
    by_all = router * h * E + shared * h * s + gate * h
    expert = matrices * h * i
    return E * expert + by_all, k * expert + (by_all if active else 0)


def swapped(pair):
    return pair[::-1]


WRONG_COUNTS = {
    "an expert has three matrices, gate, up and down, not two": partial(counted, matrices=2),
    "an expert, the shared one too, has three matrices, gate, up and down, not two": partial(
        counted, matrices=2, shared=2
    ),
    "the router is missing, d · E numbers": partial(counted, router=0),
    "the router scores all E experts for every token: all of it is active": (
        lambda h, E, k, i, s: (counted(h, E, k, i, s)[0], counted(h, E, k, i, s)[1] - (E - k) * h)
    ),
    "the shared expert is used by every token: it is active": lambda h, E, k, i, s: (
        counted(h, E, k, i, s)[0],
        counted(h, E, k, i, s, shared=0)[1],
    ),
    "these are the experts that a token does not use; it uses k": lambda h, E, k, i, s: (
        counted(h, E, k, i, s)[0],
        counted(h, E, E - k, i, s)[1],
    ),
    "the shared expert is missing": partial(counted, shared=0),
    "the shared expert has three matrices, not two": partial(counted, shared=2),
    "the shared expert's gate is missing, d numbers": partial(counted, gate=0),
    "the shared expert's gate is one number a token, from d numbers": lambda h, *a: counted(
        h, *a, gate=h
    ),
    "router, shared expert and gate are used by every token: they are active": partial(
        counted, active=False
    ),
    "the two are exchanged: (all, active)": lambda *a: swapped(counted(*a)),
    "all experts are active; a token uses k of them": lambda *a: (counted(*a)[0],) * 2,
    "one expert is active; a token uses k of them": lambda h, E, k, i, s: (
        counted(h, E, k, i, s)[0],
        counted(h, E, 1, i, s)[1],
    ),
    "active is all times k / E; router and shared expert are used whole": lambda h, E, k, i, s: (
        counted(h, E, k, i, s)[0],
        counted(h, E, k, i, s)[0] * k // E,
    ),
    "the shared expert has its own size, not the experts'": lambda h, E, k, i, s: counted(
        h, E, k, i, i
    ),
}


@points(1, "expert_parameters: the example")
def test_expert_parameters_example(submission):
    """Four small experts."""
    check_example(submission.expert_parameters)


@points(3, "expert_parameters: value")
def test_expert_parameters_value(submission):
    """Every matrix of the block, and those that a token meets."""
    draw = rng()
    for _ in range(4):
        h, i, s = (int(n) for n in draw.integers(20, 99, 3))
        E, k = int(draw.integers(7, 20)), int(draw.integers(2, 5))
        config = {
            "hidden_size": h,
            "num_experts": E,
            "num_experts_per_tok": k,
            "moe_intermediate_size": i,
            "shared_expert_intermediate_size": s,
        }
        found = submission.expert_parameters(config)
        check_equal(
            tuple(found) if isinstance(found, (tuple, list)) else found,
            counted(h, E, k, i, s),
            "expert_parameters: (all, active)",
            case=f"d = {h}, E = {E}, k = {k}, i = {i}, s = {s}",
            mistakes={text: partial(w, h, E, k, i, s) for text, w in WRONG_COUNTS.items()},
        )


# ---------------------------------------------------------------------------------------------
# within_capacity, for honor
# ---------------------------------------------------------------------------------------------


def first_ones(experts, capacity):
    seen, kept = {}, np.zeros(experts.shape, bool)
    for place, expert in np.ndenumerate(experts):
        seen[int(expert)] = seen.get(int(expert), 0) + 1
        kept[place] = seen[int(expert)] <= capacity
    return kept


WRONG_CAPACITIES = {
    "one more than the capacity is kept": lambda e, c: first_ones(e, c + 1),
    "one fewer than the capacity is kept": lambda e, c: first_ones(e, c - 1),
    "these are the pairs that are dropped": lambda e, c: ~first_ones(e, c),
    "the last ones are kept; the first are": lambda e, c: first_ones(e[::-1, ::-1], c)[::-1, ::-1],
    "the capacity counts all experts together; each has its own": lambda e, c: (
        np.arange(e.size) < c
    ).reshape(e.shape),
    "each of a token's choices is counted by itself; an expert takes pairs of any choice": (
        lambda e, c: np.concatenate([first_ones(e[:, [j]], c) for j in range(e.shape[1])], axis=1)
    ),
    "first choices go first, all of them; it goes token by token": lambda e, c: (
        first_ones(np.ascontiguousarray(e.T), c).T
    ),
    "a token is dropped whole if one of its experts is full": lambda e, c: np.repeat(
        first_ones(e, c).all(1, keepdims=True), e.shape[1], 1
    ),
}


@points(0, "within_capacity: the example")
def test_within_capacity_example(submission):
    """The third token for expert 0 comes too late."""
    check_example(submission.within_capacity)


@points(0, "within_capacity: value")
def test_within_capacity_value(submission):
    """The first ones of each expert, token by token."""
    for n, k, count, capacity in ((14, 2, 4, 5), (12, 2, 3, 3), (9, 1, 5, 2), (6, 3, 4, 99)):
        experts = some_experts(n, k, count)
        found = np.asarray(submission.within_capacity(experts, count, capacity))
        check(
            found.shape == experts.shape and found.dtype == bool,
            f"within_capacity must return booleans of shape {experts.shape}; it returned "
            f"{found.dtype} of shape {found.shape}.",
        )
        check_close(
            found.astype(float),
            first_ones(experts, capacity).astype(float),
            "within_capacity: which pairs are kept (1)",
            case=f"experts {experts.shape}, num_experts = {count}, capacity = {capacity}",
            axes="token choice",
            mistakes={
                text: (lambda w=w, e=experts, c=capacity: np.asarray(w(e, c), float))
                for text, w in WRONG_CAPACITIES.items()
            },
        )
