"""Plausible wrong solutions of chapter 17."""

import numpy as np

from tinyqwen.course import mutant, reference

top_k_routing = reference("top_k_routing")
dispatch = reference("dispatch")
combine = reference("combine")
auxiliary_loss = reference("auxiliary_loss")
expert_parameters = reference("expert_parameters")
within_capacity = reference("within_capacity")


def mutating(of):
    def declare(killed_by, named):
        return mutant(of=of, killed_by=f"test_{of}_{killed_by}", named=named)

    return declare


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# ---------------------------------------------------------------------------------------------
# top_k_routing
# ---------------------------------------------------------------------------------------------

route = mutating("top_k_routing")


@route("value", "over the chosen experts alone")
def route_softmax_of_the_chosen(logits, k, normalize=False):
    return top_k_routing(logits, k, True)


@route("value", "which is the same; normalize=False asks for neither")
def route_always_normalizes(logits, k, normalize=False):
    (weights, experts), vjp = top_k_routing(logits, k)
    return (weights / weights.sum(-1, keepdims=True), experts), vjp


@route("value", "the weights are logits")
def route_weights_are_logits(logits, k, normalize=False):
    (_, experts), vjp = top_k_routing(logits, k, normalize)
    return (np.take_along_axis(logits, experts, -1), experts), vjp


@route("value", "though normalize asks for it")
def route_never_normalizes(logits, k, normalize=False):
    return top_k_routing(logits, k)


@route("value", "the smallest are chosen")
def route_to_the_smallest(logits, k, normalize=False):
    experts = np.argsort(logits, axis=-1, kind="stable")[:, :k]
    p = softmax(logits)
    weights = np.take_along_axis(p, experts, -1)
    if normalize:
        weights = weights / weights.sum(-1, keepdims=True)
    return (weights, experts), top_k_routing(logits, k, normalize)[1]


@route("value", "smallest first")
def route_smallest_first(logits, k, normalize=False):
    (weights, experts), vjp = top_k_routing(logits, k, normalize)
    return (weights[:, ::-1], experts[:, ::-1]), lambda g: vjp((g[0][:, ::-1], None))


@route("value", "order of their numbers")
def route_by_number(logits, k, normalize=False):
    (weights, experts), vjp = top_k_routing(logits, k, normalize)
    order = np.argsort(experts, axis=1)
    back = np.argsort(order, axis=1)
    return (
        np.take_along_axis(weights, order, 1),
        np.take_along_axis(experts, order, 1),
    ), lambda g: vjp((np.take_along_axis(g[0], back, 1), None))


@route("value", "one over k")
def route_evenly(logits, k, normalize=False):
    (weights, experts), vjp = top_k_routing(logits, k, normalize)
    return (np.full_like(weights, 1 / k), experts), vjp


@route("value", "runs over the tokens")
def route_softmax_over_tokens(logits, k, normalize=False):
    (_, experts), vjp = top_k_routing(logits, k, normalize)
    weights = np.take_along_axis(softmax(logits.T).T, experts, -1)
    if normalize:
        weights = weights / weights.sum(-1, keepdims=True)
    return (weights, experts), vjp


@route("edges", "of equal logits the last is taken")
def route_ties_to_the_last(logits, k, normalize=False):
    last = logits.shape[1] - 1
    (weights, experts), vjp = top_k_routing(logits[:, ::-1], k, normalize)
    return (weights, last - experts), lambda g: (vjp(g)[0][:, ::-1],)


@route("edges", "subtract each row's largest")
def route_overflows(logits, k, normalize=False):
    (_, experts), vjp = top_k_routing(logits, k, normalize)
    with np.errstate(all="ignore"):
        e = np.exp(logits)
        weights = np.take_along_axis(e / e.sum(-1, keepdims=True), experts, -1)
        if normalize:
            weights = weights / weights.sum(-1, keepdims=True)
    return (weights, experts), vjp


def with_route_vjp(change):
    def wrong(logits, k, normalize=False):
        (weights, experts), vjp = top_k_routing(logits, k, normalize)
        p = softmax(logits)
        return (weights, experts), lambda g: (change(vjp(g)[0], p, experts, g[0], normalize),)

    return wrong


@route("vjp", "only the chosen experts' logits")
def route_vjp_of_the_chosen(logits, k, normalize=False):
    def change(d, p, experts, g, normalize):
        out = np.zeros_like(d)
        np.put_along_axis(out, experts, np.take_along_axis(d, experts, -1), -1)
        return out

    return with_route_vjp(change)(logits, k, normalize)


@route("vjp", "the division by the weights' sum is forgotten")
def route_vjp_forgets_the_division(logits, k, normalize=False):
    (weights, experts), _ = top_k_routing(logits, k, normalize)
    return (weights, experts), top_k_routing(logits, k)[1]


@route("vjp", "softmax's VJP is missing")
def route_vjp_of_probabilities(logits, k, normalize=False):
    def change(d, p, experts, g, normalize):
        if normalize:
            w = np.take_along_axis(p, experts, -1)
            total = w.sum(-1, keepdims=True)
            g = (g - (g * w / total).sum(-1, keepdims=True)) / total
        out = np.zeros_like(d)
        np.put_along_axis(out, experts, g, -1)
        return out

    return with_route_vjp(change)(logits, k, normalize)


@route("manners", "float64")
def route_in_float64(logits, k, normalize=False):
    (weights, experts), vjp = top_k_routing(logits, k, normalize)
    return (weights.astype(np.float64), experts), vjp


# ---------------------------------------------------------------------------------------------
# dispatch
# ---------------------------------------------------------------------------------------------

send = mutating("dispatch")


@send("value", "the order holds tokens")
def dispatch_tokens(experts, num_experts):
    order, stops = dispatch(experts, num_experts)
    return order // experts.shape[1], stops


@send("value", "the order holds experts")
def dispatch_experts(experts, num_experts):
    return np.sort(experts, axis=None), dispatch(experts, num_experts)[1]


@send("value", "where each pair goes")
def dispatch_inverse(experts, num_experts):
    order, stops = dispatch(experts, num_experts)
    return np.argsort(order), stops


@send("value", "last token first")
def dispatch_last_first(experts, num_experts):
    order = experts.size - 1 - np.argsort(experts.reshape(-1)[::-1], kind="stable")
    return order, dispatch(experts, num_experts)[1]


@send("value", "from the last to the first")
def dispatch_backwards(experts, num_experts):
    order = np.argsort(-experts, axis=None, kind="stable")
    return order, dispatch(experts, num_experts)[1]


@send("value", "choice by choice")
def dispatch_by_choice(experts, num_experts):
    return np.argsort(experts.T, axis=None, kind="stable"), dispatch(experts, num_experts)[1]


@send("value", "these are the numbers of pairs")
def dispatch_sizes(experts, num_experts):
    order, _ = dispatch(experts, num_experts)
    return order, np.bincount(experts.reshape(-1), minlength=num_experts)


@send("value", "pairs begin")
def dispatch_starts(experts, num_experts):
    order, stops = dispatch(experts, num_experts)
    return order, np.append(0, stops[:-1])


@send("value", "a 0 stands before")
def dispatch_with_a_zero(experts, num_experts):
    order, stops = dispatch(experts, num_experts)
    return order, np.append(0, stops)


@send("value", "without tokens at the end")
def dispatch_without_idle_experts_at_the_end(experts, num_experts):
    order, _ = dispatch(experts, num_experts)
    return order, np.cumsum(np.bincount(experts.reshape(-1)))


# ---------------------------------------------------------------------------------------------
# combine
# ---------------------------------------------------------------------------------------------

join = mutating("combine")


def with_value(make):
    def wrong(outputs, weights, order):
        return make(outputs, weights, order), combine(outputs, weights, order)[1]

    return wrong


def weighted(rows, weights):
    return (rows.reshape(*weights.shape, -1) * weights[..., None]).sum(1)


@join("value", "as they stand")
def combine_as_they_stand(outputs, weights, order):
    return with_value(lambda o, w, order: weighted(o, w))(outputs, weights, order)


@join("value", "the wrong way")
def combine_the_wrong_way(outputs, weights, order):
    return with_value(lambda o, w, order: weighted(o[order], w))(outputs, weights, order)


@join("value", "the weights are not used")
def combine_without_weights(outputs, weights, order):
    return with_value(lambda o, w, order: combine(o, np.ones_like(w), order)[0])(
        outputs, weights, order
    )


@join("value", "averaged")
def combine_averages(outputs, weights, order):
    return with_value(lambda o, w, order: combine(o, w, order)[0] / w.shape[1])(
        outputs, weights, order
    )


@join("value", "only the first expert")
def combine_the_first_alone(outputs, weights, order):
    first = weights * (np.arange(weights.shape[1]) == 0)
    return with_value(lambda o, w, order: combine(o, first, order)[0])(outputs, weights, order)


@join("value", "the weights go with other pairs")
def combine_with_sorted_weights(outputs, weights, order):
    other = weights.reshape(-1)[order].reshape(weights.shape)
    return with_value(lambda o, w, order: combine(o, other, order)[0])(outputs, weights, order)


@join("value", "overwrite each other")
def combine_assigns(outputs, weights, order):
    def assigned(o, w, order):
        y = np.zeros((len(w), o.shape[1]), o.dtype)
        y[order // w.shape[1]] = o * w.reshape(-1)[order, None]
        return y

    return with_value(assigned)(outputs, weights, order)


@join("vjp", "stands in dispatch's order")
def combine_vjp_of_weights_as_dispatched(outputs, weights, order):
    def change(do, dw, o, w, order, g):
        return do, (g[order // w.shape[1]] * o).sum(-1).reshape(w.shape)

    return with_combine_vjp(change)(outputs, weights, order)


def with_combine_vjp(change):
    def wrong(outputs, weights, order):
        y, vjp = combine(outputs, weights, order)

        def other(g):
            doutputs, dweights, _ = vjp(g)
            return *change(doutputs, dweights, outputs, weights, order, g), None

        return y, other

    return wrong


@join("vjp", "in the order of pairs; theirs is dispatch's")
def combine_vjp_in_order_of_pairs(outputs, weights, order):
    def change(do, dw, o, w, order, g):
        return (g[:, None] * w[..., None]).reshape(o.shape), dw

    return with_combine_vjp(change)(outputs, weights, order)


@join("vjp", "the weights are missing")
def combine_vjp_without_weights(outputs, weights, order):
    def change(do, dw, o, w, order, g):
        return g[order // w.shape[1]], dw

    return with_combine_vjp(change)(outputs, weights, order)


@join("vjp", "outputs of other pairs")
def combine_vjp_of_weights_as_they_stand(outputs, weights, order):
    def change(do, dw, o, w, order, g):
        return do, (o.reshape(*w.shape, -1) * g[:, None]).sum(-1)

    return with_combine_vjp(change)(outputs, weights, order)


@join("vjp", "lacks the outputs")
def combine_vjp_of_weights_without_outputs(outputs, weights, order):
    def change(do, dw, o, w, order, g):
        return do, np.repeat(g.sum(-1, keepdims=True), w.shape[1], 1)

    return with_combine_vjp(change)(outputs, weights, order)


# ---------------------------------------------------------------------------------------------
# auxiliary_loss
# ---------------------------------------------------------------------------------------------

even = mutating("auxiliary_loss")


def scaled(factor):
    def wrong(logits, k, counts=None):
        loss, vjp = auxiliary_loss(logits, k, counts)
        by = factor(logits, k, counts)
        return np.asarray(loss * by, logits.dtype), vjp

    return wrong


@even("value", "the factor E is missing")
def balance_without_e(logits, k, counts=None):
    return scaled(lambda z, k, c: 1 / z.shape[1])(logits, k, counts)


@even("value", "f is divided by k")
def balance_divided_by_k(logits, k, counts=None):
    return scaled(lambda z, k, c: 1 / k)(logits, k, counts)


@even("value", "not divided by the number of tokens")
def balance_summed(logits, k, counts=None):
    return scaled(lambda z, k, c: len(z) if c is None else c.sum())(logits, k, counts)


@even("value", "without what was chosen")
def balance_of_squares(logits, k, counts=None):
    real = np.ones(len(logits)) if counts is None else counts
    mean = (softmax(logits) * real[:, None]).sum(0) / real.sum()
    loss = logits.shape[1] * (mean**2).sum()
    return np.asarray(loss, logits.dtype), auxiliary_loss(logits, k, counts)[1]


@even("value", "padding counts")
def balance_counts_padding(logits, k, counts=None):
    return auxiliary_loss(logits, k)


@even("value", "the choices of padding")
def balance_counts_the_choices_of_padding(logits, k, counts=None):
    loss, vjp = auxiliary_loss(logits, k, counts)
    if counts is None:
        return loss, vjp
    real = np.asarray(counts, logits.dtype)
    experts = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    chosen = np.bincount(experts.reshape(-1), minlength=logits.shape[1])
    mean = (softmax(logits) * real[:, None]).sum(0) / real.sum()
    return np.asarray(logits.shape[1] * (chosen @ mean) / real.sum(), logits.dtype), vjp


@even("value", "the factor is k")
def balance_times_k(logits, k, counts=None):
    return scaled(lambda z, k, c: k / z.shape[1])(logits, k, counts)


@even("value", "only the likeliest expert")
def balance_of_the_first_choice(logits, k, counts=None):
    return auxiliary_loss(logits, 1, counts)


@even("value", "the mean over experts")
def balance_as_a_mean(logits, k, counts=None):
    return scaled(lambda z, k, c: 1 / z.shape[1] ** 2)(logits, k, counts)


def with_balance_vjp(change):
    def wrong(logits, k, counts=None):
        loss, vjp = auxiliary_loss(logits, k, counts)
        real = np.ones(len(logits)) if counts is None else np.asarray(counts, float)
        f = np.zeros(logits.shape[1])
        np.add.at(f, np.argsort(-logits, axis=-1, kind="stable")[:, :k], real[:, None])
        f, n, E = f / real.sum(), real.sum(), logits.shape[1]
        p = softmax(logits)
        return loss, lambda g: (change(vjp(g)[0], g, f, p, real[:, None], n, E),)

    return wrong


@even("vjp", "softmax's VJP is missing")
def balance_vjp_of_p(logits, k, counts=None):
    def change(d, g, f, p, r, n, E):
        return g * E * f / n * r

    return with_balance_vjp(change)(logits, k, counts)


@even("vjp", "the sum Σ p a is missing")
def balance_vjp_without_the_sum(logits, k, counts=None):
    def change(d, g, f, p, r, n, E):
        return g * p * E * f / n * r

    return with_balance_vjp(change)(logits, k, counts)


@even("vjp", "the factor E is missing on the way back")
def balance_vjp_without_e(logits, k, counts=None):
    return with_balance_vjp(lambda d, g, f, p, r, n, E: d / E)(logits, k, counts)


@even("vjp", "not divided by the number of tokens")
def balance_vjp_summed(logits, k, counts=None):
    return with_balance_vjp(lambda d, g, f, p, r, n, E: d * n)(logits, k, counts)


@even("vjp", "only those who chose an expert")
def balance_vjp_of_the_chosen(logits, k, counts=None):
    def change(d, g, f, p, r, n, E):
        a = np.zeros_like(p)
        np.put_along_axis(a, np.argsort(-p, axis=-1, kind="stable")[:, :k], 1.0, -1)
        a = a * g * E * f / n * r
        return p * (a - (p * a).sum(-1, keepdims=True))

    return with_balance_vjp(change)(logits, k, counts)


@even("vjp", "twice the gradient")
def balance_vjp_of_both(logits, k, counts=None):
    return with_balance_vjp(lambda d, g, f, p, r, n, E: 2 * d)(logits, k, counts)


# ---------------------------------------------------------------------------------------------
# expert_parameters
# ---------------------------------------------------------------------------------------------

count = mutating("expert_parameters")


def sizes(config):
    names = ("hidden_size", "num_experts", "num_experts_per_tok", "moe_intermediate_size")
    return (*(config[name] for name in names), config["shared_expert_intermediate_size"])


def block(h, E, k, i, s, matrices=3, by_all=None):
    by_all = h * E + 3 * h * s + h if by_all is None else by_all
    return E * matrices * h * i + by_all, k * matrices * h * i + by_all


@count("value", "not two")
def count_two_matrices(config):
    return block(*sizes(config), matrices=2)


@count("value", "the shared one too, has three matrices")
def count_two_matrices_everywhere(config):
    h, E, k, i, s = sizes(config)
    return block(h, E, k, i, s, matrices=2, by_all=h * E + 2 * h * s + h)


@count("value", "the router scores all E experts")
def count_a_part_of_the_router(config):
    h, E, k, _, _ = sizes(config)
    total, active = expert_parameters(config)
    return total, active - (E - k) * h


@count("value", "the shared expert is used by every token")
def count_shared_expert_as_idle(config):
    h, _, _, _, s = sizes(config)
    total, active = expert_parameters(config)
    return total, active - 3 * h * s


@count("value", "that a token does not use")
def count_the_idle_as_active(config):
    h, E, k, i, s = sizes(config)
    return expert_parameters(config)[0], block(h, E, E - k, i, s)[1]


@count("value", "one number a token")
def count_a_gate_of_many(config):
    h, E, k, i, s = sizes(config)
    return block(h, E, k, i, s, by_all=h * E + 3 * h * s + h * h)


@count("value", "the router is missing")
def count_without_router(config):
    h, E, k, i, s = sizes(config)
    return block(h, E, k, i, s, by_all=3 * h * s + h)


@count("value", "the shared expert is missing")
def count_without_shared_expert(config):
    h, E, k, i, s = sizes(config)
    return block(h, E, k, i, s, by_all=h * E + h)


@count("value", "gate is missing")
def count_without_its_gate(config):
    h, E, k, i, s = sizes(config)
    return block(h, E, k, i, s, by_all=h * E + 3 * h * s)


@count("value", "they are active")
def count_active_experts_alone(config):
    h, _, k, i, _ = sizes(config)
    return expert_parameters(config)[0], 3 * k * h * i


@count("value", "exchanged")
def count_exchanged(config):
    return expert_parameters(config)[::-1]


@count("value", "all experts are active")
def count_all_as_active(config):
    return (expert_parameters(config)[0],) * 2


@count("value", "one expert is active")
def count_one_as_active(config):
    return expert_parameters(config)[0], expert_parameters({**config, "num_experts_per_tok": 1})[1]


@count("value", "are used whole")
def count_in_proportion(config):
    total = expert_parameters(config)[0]
    return total, total * config["num_experts_per_tok"] // config["num_experts"]


@count("value", "has its own size")
def count_shared_as_one_of_them(config):
    h, E, k, i, _ = sizes(config)
    return block(h, E, k, i, i)


# ---------------------------------------------------------------------------------------------
# within_capacity
# ---------------------------------------------------------------------------------------------

fit = mutating("within_capacity")


@fit("value", "one more than the capacity")
def fits_one_more(experts, num_experts, capacity):
    return within_capacity(experts, num_experts, capacity + 1)


@fit("value", "one fewer")
def fits_one_fewer(experts, num_experts, capacity):
    return within_capacity(experts, num_experts, capacity - 1)


@fit("value", "that are dropped")
def fits_what_is_dropped(experts, num_experts, capacity):
    return ~within_capacity(experts, num_experts, capacity)


@fit("value", "the last ones are kept")
def fits_the_last(experts, num_experts, capacity):
    turned = np.ascontiguousarray(experts[::-1, ::-1])
    return within_capacity(turned, num_experts, capacity)[::-1, ::-1]


@fit("value", "counts all experts together")
def fits_so_many_in_all(experts, num_experts, capacity):
    return (np.arange(experts.size) < capacity).reshape(experts.shape)


@fit("value", "counted by itself")
def fits_by_choice(experts, num_experts, capacity):
    columns = [within_capacity(column[:, None], num_experts, capacity) for column in experts.T]
    return np.concatenate(columns, axis=1)


@fit("value", "first choices go first")
def fits_first_choices_first(experts, num_experts, capacity):
    return within_capacity(np.ascontiguousarray(experts.T), num_experts, capacity).T


@fit("value", "a token is dropped whole")
def fits_whole_tokens(experts, num_experts, capacity):
    kept = within_capacity(experts, num_experts, capacity)
    return np.repeat(kept.all(1, keepdims=True), experts.shape[1], 1)
