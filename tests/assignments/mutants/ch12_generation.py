"""Wrong solutions of chapter 12, each named after its mistake."""

import numpy as np

from tinyqwen.course import mutant
from tinyqwen.generation import constraints, loop, sampling
from tinyqwen.models import cache

apply_temperature, apply_top_k = sampling.apply_temperature, sampling.apply_top_k
apply_repetition_penalty = sampling.apply_repetition_penalty
apply_top_p, apply_min_p = sampling.apply_top_p, sampling.apply_min_p
sample_next, cache_update = sampling.sample_next, cache.cache_update
decode_loop = loop.decode_loop


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# ---------------------------------------------------------------------------------------------
# apply_temperature
# ---------------------------------------------------------------------------------------------


@mutant(of="apply_temperature", killed_by="test_temperature_value", named="it divides")
def temperature_multiplies(logits, temperature):
    return logits * temperature


@mutant(of="apply_temperature", killed_by="test_temperature_value", named="these are probabilities")
def temperature_softmax(logits, temperature):
    return softmax(logits / temperature)


@mutant(of="apply_temperature", killed_by="test_temperature_value", named="log-probabilities")
def temperature_log_softmax(logits, temperature):
    scaled = logits / temperature
    top = scaled.max(-1, keepdims=True)
    return scaled - top - np.log(np.exp(scaled - top).sum(-1, keepdims=True))


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="largest logit is subtracted",
)
def temperature_on_shifted_logits(logits, temperature):
    return (logits - logits.max(-1, keepdims=True)) / temperature


@mutant(of="apply_temperature", killed_by="test_temperature_value", named="infinity")
def temperature_by_powers(logits, temperature):
    return np.log(np.exp(logits) ** (1 / temperature))


@mutant(of="apply_temperature", killed_by="test_temperature_manners", named="changed in place")
def temperature_in_place(logits, temperature):
    logits /= temperature
    return logits


@mutant(of="apply_temperature", killed_by="test_temperature_manners", named="float64 comes out")
def temperature_float64(logits, temperature):
    return logits / np.array([temperature])


# ---------------------------------------------------------------------------------------------
# apply_repetition_penalty
# ---------------------------------------------------------------------------------------------

PENALTY = {"of": "apply_repetition_penalty"}


def occurred(logits, input_ids):
    seen = np.zeros(logits.shape, bool)
    for row, ids in enumerate(input_ids):
        seen[row, ids[ids >= 0]] = True
    return seen


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="negative logits are divided")
def penalty_divides_all(logits, input_ids, penalty):
    return np.where(occurred(logits, input_ids), logits / penalty, logits)


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="once for each occurrence")
def penalty_for_each_occurrence(logits, input_ids, penalty):
    out = logits.copy()
    for row, ids in enumerate(input_ids):
        for token in ids[ids >= 0]:
            out[row, token] *= penalty if out[row, token] < 0 else 1 / penalty
    return out


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="in all rows")
def penalty_in_all_rows(logits, input_ids, penalty):
    out = logits.copy()
    seen = np.unique(input_ids[input_ids >= 0])
    out[:, seen] = np.where(out[:, seen] < 0, out[:, seen] * penalty, out[:, seen] / penalty)
    return out


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="the cases are exchanged")
def penalty_reversed(logits, input_ids, penalty):
    return apply_repetition_penalty(logits, input_ids, 1 / penalty)


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="the penalty is subtracted")
def penalty_subtracted(logits, input_ids, penalty):
    return np.where(occurred(logits, input_ids), logits - penalty, logits)


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="only the last token")
def penalty_on_the_last_token(logits, input_ids, penalty):
    return apply_repetition_penalty(logits, input_ids[:, -1:], penalty)


@mutant(
    **PENALTY, killed_by="test_repetition_penalty_padding", named="-1, penalizes the last token"
)
def penalty_counts_padding(logits, input_ids, penalty):
    seen = np.take_along_axis(logits, input_ids, 1)
    out = logits.copy()
    np.put_along_axis(out, input_ids, np.where(seen < 0, seen * penalty, seen / penalty), 1)
    return out


@mutant(**PENALTY, killed_by="test_repetition_penalty_padding", named="penalizes token 0")
def penalty_clips_padding(logits, input_ids, penalty):
    return apply_repetition_penalty(logits, np.maximum(input_ids, 0), penalty)


@mutant(**PENALTY, killed_by="test_repetition_penalty_manners", named="changed in place")
def penalty_in_place(logits, input_ids, penalty):
    logits[...] = apply_repetition_penalty(logits, input_ids, penalty)
    return logits


@mutant(**PENALTY, killed_by="test_repetition_penalty_manners", named="float64 comes out")
def penalty_float64(logits, input_ids, penalty):
    factor = np.where(occurred(logits, input_ids), penalty, 1.0)
    return np.where(logits < 0, logits * factor, logits / factor)


# ---------------------------------------------------------------------------------------------
# apply_top_k
# ---------------------------------------------------------------------------------------------


def kth(logits, k):
    return np.sort(logits, -1)[:, -min(k, logits.shape[-1]), None]


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="one too few")
def top_k_without_the_kth(logits, k):
    return np.where(logits > kth(logits, k), logits, -np.inf)


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="one too many")
def top_k_one_more(logits, k):
    return apply_top_k(logits, k + 1)


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="the k smallest")
def top_k_smallest(logits, k):
    return np.where(logits <= np.sort(logits, -1)[:, [k - 1]], logits, -np.inf)


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="becomes 0")
def top_k_zeros(logits, k):
    return np.where(logits >= kth(logits, k), logits, 0)


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="the whole batch")
def top_k_of_the_batch(logits, k):
    return np.where(logits >= np.sort(logits, axis=None)[-k], logits, -np.inf)


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="large negative number")
def top_k_large_negative(logits, k):
    return np.where(logits >= kth(logits, k), logits, np.asarray(-1e9, logits.dtype))


@mutant(of="apply_top_k", killed_by="test_top_k_edges", named="only some are kept")
def top_k_exactly(logits, k):
    out = np.full_like(logits, -np.inf)
    order = np.argsort(-logits, -1, kind="stable")[:, :k]
    np.put_along_axis(out, order, np.take_along_axis(logits, order, -1), -1)
    return out


@mutant(of="apply_top_k", killed_by="test_top_k_edges", named="only the last are kept")
def top_k_exactly_from_the_end(logits, k):
    return top_k_exactly(logits[:, ::-1], k)[:, ::-1]


@mutant(of="apply_top_k", killed_by="test_top_k_edges", named="is out of bounds")
def top_k_index_out_of_range(logits, k):
    return np.where(logits >= np.sort(logits, -1)[:, [-k]], logits, -np.inf)


@mutant(of="apply_top_k", killed_by="test_top_k_manners", named="changed in place")
def top_k_in_place(logits, k):
    logits[logits < kth(logits, k)] = -np.inf
    return logits


@mutant(of="apply_top_k", killed_by="test_top_k_manners", named="float64 comes out")
def top_k_float64(logits, k):
    return logits + np.where(logits >= kth(logits, k), 0.0, -np.inf)


# ---------------------------------------------------------------------------------------------
# apply_top_p
# ---------------------------------------------------------------------------------------------


def ranked(logits, stays):
    order = np.argsort(-logits, -1, kind="stable")
    q = np.take_along_axis(softmax(logits), order, -1)
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, order, stays(q, np.cumsum(q, -1)), -1)
    return np.where(kept, logits, -np.inf)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="one too few")
def top_p_keeps_one_less(logits, p):
    return ranked(logits, lambda q, total: total <= p)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="the sum reaches p is dropped")
def top_p_keeps_one_less_but_the_best(logits, p):
    return ranked(logits, lambda q, total: (total <= p) | (q >= q[:, :1]))


@mutant(of="apply_top_p", killed_by="test_top_p_first", named="nothing is left")
def top_p_drops_first(logits, p):
    return np.where(
        softmax(logits).max(-1, keepdims=True) > p, -np.inf, apply_top_p(logits, p)
    ).astype(logits.dtype)


@mutant(of="apply_top_p", killed_by="test_top_p_first", named="nothing is left in a row")
def top_p_zero_keeps_nothing(logits, p):
    return ranked(logits, lambda q, total: total - q < p)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="one token too many")
def top_p_keeps_one_more(logits, p):
    def stays(q, total):
        before = np.roll(total - q, 1, -1)
        before[:, 0] = -1
        return before < p

    return ranked(logits, stays)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="the mask is in sorted order")
def top_p_mask_not_put_back(logits, p):
    q = -np.sort(-softmax(logits), -1)
    return np.where(np.cumsum(q, -1) - q < p, logits, -np.inf)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="from the least likely token up")
def top_p_from_below(logits, p):
    order = np.argsort(logits, -1)
    q = np.take_along_axis(softmax(logits), order, -1)
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, order, np.cumsum(q, -1) - q < p, -1)
    return np.where(kept, logits, -np.inf)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="p is for their sum")
def top_p_of_each(logits, p):
    return np.where(softmax(logits) >= p, logits, -np.inf)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="not what is dropped")
def top_p_of_the_rest(logits, p):
    return apply_top_p(logits, 1 - p)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="keeps its logit")
def top_p_renormalized(logits, p):
    with np.errstate(divide="ignore"):
        return np.log(softmax(apply_top_p(logits, p)))


@mutant(of="apply_top_p", killed_by="test_top_p_edges", named="e^x overflows")
def top_p_softmax_overflows(logits, p):
    e = np.exp(logits)
    q = e / e.sum(-1, keepdims=True)
    order = np.argsort(-logits, -1)
    ordered = np.take_along_axis(q, order, -1)
    kept = np.zeros(logits.shape, bool)
    stays = np.cumsum(ordered, -1) - ordered < p
    stays[:, 0] = True
    np.put_along_axis(kept, order, stays, -1)
    return np.where(kept, logits, -np.inf)


@mutant(of="apply_top_p", killed_by="test_top_p_edges", named="no further token is needed")
def top_p_goes_on_at_equality(logits, p):
    return ranked(logits, lambda q, total: total - q <= p)


@mutant(of="apply_top_p", killed_by="test_top_p_manners", named="changed in place")
def top_p_in_place(logits, p):
    logits[np.isneginf(apply_top_p(logits, p))] = -np.inf
    return logits


@mutant(of="apply_top_p", killed_by="test_top_p_manners", named="float64 comes out")
def top_p_float64(logits, p):
    return apply_top_p(logits.astype(np.float64), p)


# ---------------------------------------------------------------------------------------------
# apply_min_p
# ---------------------------------------------------------------------------------------------


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="a share of the largest one")
def min_p_absolute(logits, p):
    return np.where(softmax(logits) >= p, logits, -np.inf)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="the same for all rows")
def min_p_of_the_batch(logits, p):
    q = softmax(logits)
    return np.where(q >= p * q.max(), logits, -np.inf)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="the largest logit")
def min_p_of_logits(logits, p):
    return np.where(logits >= p * logits.max(-1, keepdims=True), logits, -np.inf)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="the unlikely ones are kept")
def min_p_inverted(logits, p):
    q = softmax(logits)
    return np.where(q < p * q.max(-1, keepdims=True), logits, -np.inf)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="this is top-p")
def min_p_is_top_p(logits, p):
    return apply_top_p(logits, p)


@mutant(of="apply_min_p", killed_by="test_min_p_edges", named="exactly at the limit")
def min_p_strictly_above(logits, p):
    q = softmax(logits)
    return np.where(q > p * q.max(-1, keepdims=True), logits, -np.inf)


@mutant(of="apply_min_p", killed_by="test_min_p_edges", named="e^x overflows")
def min_p_softmax_overflows(logits, p):
    e = np.exp(logits)
    q = e / e.sum(-1, keepdims=True)
    return np.where(q >= p * q.max(-1, keepdims=True), logits, -np.inf)


@mutant(of="apply_min_p", killed_by="test_min_p_manners", named="changed in place")
def min_p_in_place(logits, p):
    q = softmax(logits)
    logits[q < p * q.max(-1, keepdims=True)] = -np.inf
    return logits


@mutant(of="apply_min_p", killed_by="test_min_p_manners", named="float64 comes out")
def min_p_float64(logits, p):
    return apply_min_p(logits.astype(np.float64), p)


# ---------------------------------------------------------------------------------------------
# sample_next
# ---------------------------------------------------------------------------------------------


@mutant(of="sample_next", killed_by="test_sample_next_value", named="one too large")
def sample_shifted(logits, u):
    return sample_next(logits, u) + 1


@mutant(of="sample_next", killed_by="test_sample_next_value", named="u is not used")
def sample_greedy(logits, u):
    return logits.argmax(-1)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="each has its own u")
def sample_one_u_for_all(logits, u):
    return sample_next(logits, np.full(len(u), u[0]))


@mutant(of="sample_next", killed_by="test_sample_next_value", named="from its other end")
def sample_from_the_right(logits, u):
    return sample_next(logits, 1 - u)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="sorted by size")
def sample_from_sorted(logits, u):
    order = np.argsort(-logits, -1)
    drawn = sample_next(np.take_along_axis(logits, order, -1), u)
    return np.take_along_axis(order, drawn[:, None], -1)[:, 0]


@mutant(of="sample_next", killed_by="test_sample_next_value", named="not divided by their sum")
def sample_unnormalized(logits, u):
    return (np.cumsum(np.exp(logits), -1) <= u[:, None]).sum(-1)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="from one row to the next")
def sample_sums_run_on(logits, u):
    return (np.cumsum(softmax(logits)).reshape(logits.shape) <= u[:, None]).sum(-1)


@mutant(of="sample_next", killed_by="test_sample_next_edges", named="probability 0 is drawn")
def sample_zero_draws_the_impossible(logits, u):
    return (np.cumsum(softmax(logits), -1) < u[:, None]).sum(-1)


@mutant(of="sample_next", killed_by="test_sample_next_edges", named="u times the last sum")
def sample_clipped_to_the_last(logits, u):
    drawn = (np.cumsum(softmax(logits), -1, np.float64) <= u[:, None]).sum(-1)
    return np.minimum(drawn, logits.shape[-1] - 1)


@mutant(of="sample_next", killed_by="test_sample_next_edges", named="sum up in float64")
def sample_float32_drift(logits, u):
    cumulative = np.cumsum(softmax(logits), -1, logits.dtype)
    return (cumulative <= (u * cumulative[:, -1])[:, None]).sum(-1)


@mutant(of="sample_next", killed_by="test_sample_next_edges", named="u times the last sum")
def sample_last_sum_below_u(logits, u):
    return (np.cumsum(softmax(logits), -1, np.float64) <= u[:, None]).sum(-1)


@mutant(of="sample_next", killed_by="test_sample_next_edges", named="u times the last sum")
def sample_first_above_or_none(logits, u):
    cumulative = np.cumsum(softmax(logits), -1, np.float64)
    return (cumulative > u[:, None]).argmax(-1)


@mutant(of="sample_next", killed_by="test_sample_next_manners", named="logits is changed in place")
def sample_in_place(logits, u):
    drawn = sample_next(logits, u)
    logits -= logits.max(-1, keepdims=True)
    return drawn


# ---------------------------------------------------------------------------------------------
# cache_update
# ---------------------------------------------------------------------------------------------


@mutant(of="cache_update", killed_by="test_cache_update_value", named="the whole room")
def cache_returns_the_room(keys, values, new_keys, new_values, start):
    cache_update(keys, values, new_keys, new_values, start)
    return keys, values


@mutant(of="cache_update", killed_by="test_cache_update_value", named="only the new tokens")
def cache_returns_what_is_new(keys, values, new_keys, new_values, start):
    cache_update(keys, values, new_keys, new_values, start)
    return new_keys, new_values


@mutant(of="cache_update", killed_by="test_cache_update_value", named="over earlier ones")
def cache_overwrites_earlier(keys, values, new_keys, new_values, start):
    stop = start + new_keys.shape[2]
    cache_update(keys, values, new_keys, new_values, 0)
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_value", named="one position too early")
def cache_overwrites_the_last(keys, values, new_keys, new_values, start):
    stop = start + new_keys.shape[2]
    cache_update(keys, values, new_keys, new_values, max(start - 1, 0))
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_value", named="have changed places")
def cache_exchanged(keys, values, new_keys, new_values, start):
    return cache_update(keys, values, new_keys, new_values, start)[::-1]


@mutant(of="cache_update", killed_by="test_cache_update_value", named="where the values belong")
def cache_keys_twice(keys, values, new_keys, new_values, start):
    return cache_update(keys, values, new_keys, new_keys, start)


@mutant(of="cache_update", killed_by="test_cache_update_value", named="new values are not written")
def cache_forgets_values(keys, values, new_keys, new_values, start):
    stop = start + new_keys.shape[2]
    keys[:, :, start:stop] = new_keys
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_value", named="the first of the new tokens")
def cache_writes_one_token(keys, values, new_keys, new_values, start):
    stop = start + new_keys.shape[2]
    keys[:, :, start], values[:, :, start] = new_keys[:, :, 0], new_values[:, :, 0]
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="copied at every step")
def cache_concatenates(keys, values, new_keys, new_values, start):
    return (
        np.concatenate([keys[:, :, :start], new_keys], 2),
        np.concatenate([values[:, :, :start], new_values], 2),
    )


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="copied at every step")
def cache_writes_into_a_copy(keys, values, new_keys, new_values, start):
    return cache_update(keys.copy(), values.copy(), new_keys, new_values, start)


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="values are concatenated")
def cache_concatenates_values(keys, values, new_keys, new_values, start):
    past, _ = cache_update(keys, values.copy(), new_keys, new_values, start)
    return past, np.concatenate([values[:, :, :start], new_values], 2)


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="is no view")
def cache_keeps_and_concatenates(keys, values, new_keys, new_values, start):
    past = [
        np.concatenate([x[:, :, :start], n], 2) for x, n in ((keys, new_keys), (values, new_values))
    ]
    cache_update(keys, values, new_keys, new_values, start)
    return tuple(past)


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="is no view")
def cache_returns_copies(keys, values, new_keys, new_values, start):
    return tuple(x.copy() for x in cache_update(keys, values, new_keys, new_values, start))


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="values that come back")
def cache_returns_a_copy_of_the_values(keys, values, new_keys, new_values, start):
    past, past_values = cache_update(keys, values, new_keys, new_values, start)
    return past, past_values.copy()


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="is no view")
def cache_returns_picked_positions(keys, values, new_keys, new_values, start):
    cache_update(keys, values, new_keys, new_values, start)
    so_far = np.arange(start + new_keys.shape[2])  # an index of integers copies
    return keys[:, :, so_far], values[:, :, so_far]


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="what is new is only read")
def cache_edits_what_is_new(keys, values, new_keys, new_values, start):
    out = cache_update(keys, values, new_keys, new_values, start)
    new_keys[...] = 0
    return out


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="read or written again")
def cache_rewritten_in_place(keys, values, new_keys, new_values, start):
    for room, new in ((keys, new_keys), (values, new_values)):
        room[:, :, : start + new.shape[2]] = np.concatenate([room[:, :, :start], new], axis=2)
    stop = start + new_keys.shape[2]
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="read or written again")
def cache_scaled_by_one(keys, values, new_keys, new_values, start):
    keys[:, :, :start] *= 1.0
    values[:, :, :start] *= 1.0
    return cache_update(keys, values, new_keys, new_values, start)


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="read or written again")
def cache_chosen_everywhere(keys, values, new_keys, new_values, start):
    at = np.arange(keys.shape[2])[:, None] - start
    new = (at >= 0) & (at < new_keys.shape[2])
    from_new = np.clip(at[:, 0], 0, new_keys.shape[2] - 1)
    np.copyto(keys, np.where(new, new_keys[:, :, from_new], keys))
    np.copyto(values, np.where(new, new_values[:, :, from_new], values))
    stop = start + new_keys.shape[2]
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_in_place", named="read or written again")
def cache_looks_at_what_is_free(keys, values, new_keys, new_values, start):
    if not np.isfinite(new_keys).all() or (keys == np.inf).any():
        raise ValueError("an infinite key")
    return cache_update(keys, values, new_keys, new_values, start)


# ---------------------------------------------------------------------------------------------
# decode_loop
# ---------------------------------------------------------------------------------------------


def loop(
    step,
    input_ids,
    max_new_tokens,
    choose,
    emit,
    pad_token_id=0,
    *,
    feed=lambda text, start: text[:, start:],
    padded=True,
    done=np.all,
    forget=False,
    seen=lambda text, prompt: text,
):
    """A right loop, for mutants to change one thing in."""
    text, start = input_ids, 0
    finished = np.zeros(len(input_ids), bool)
    for _ in range(max_new_tokens):
        logits = step(feed(text, start))
        start = text.shape[1]
        tokens = choose(logits, seen(text, input_ids))
        if padded:
            tokens = np.where(finished, pad_token_id, tokens)
        text = np.concatenate([text, tokens[:, None]], 1)
        ended = emit(tokens)
        finished = ended if forget else finished | ended
        if done(finished):
            break
    return text


@mutant(of="decode_loop", killed_by="test_decode_loop_cost", named="the whole text goes through")
def loop_recomputes_the_prompt(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return loop(
        *(step, input_ids, max_new_tokens, choose, emit, pad_token_id),
        feed=lambda text, start: text,
    )


@mutant(of="decode_loop", killed_by="test_decode_loop_cost", named="two tokens are fed")
def loop_feeds_two_tokens(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return loop(
        *(step, input_ids, max_new_tokens, choose, emit, pad_token_id),
        feed=lambda text, start: text[:, max(start - 1, 0) :],
    )


@mutant(of="decode_loop", killed_by="test_decode_loop_cost", named="token by token")
def loop_prefills_token_by_token(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def feed(text, start):
        for at in range(start, text.shape[1] - 1):
            step(text[:, at : at + 1])
        return text[:, -1:]

    return loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id, feed=feed)


@mutant(of="decode_loop", killed_by="test_decode_loop_cost", named="once more after the last token")
def loop_feeds_the_last_token(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    text = loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)
    step(text[:, -1:])
    return text


@mutant(of="decode_loop", killed_by="test_decode_loop_value", named="one token too few")
def loop_one_short(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)[:, :-1]


@mutant(of="decode_loop", killed_by="test_decode_loop_value", named="one token too many")
def loop_one_more(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return decode_loop(step, input_ids, max_new_tokens + 1, choose, emit, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_value", named="prompts are missing")
def loop_returns_what_is_new(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    out = decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)
    return out[:, input_ids.shape[1] :]


@mutant(of="decode_loop", killed_by="test_decode_loop_value", named="changed in place")
def loop_edits_the_prompt(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    out = decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)
    input_ids[...] = out[:, -input_ids.shape[1] :]
    return out


@mutant(
    of="decode_loop", killed_by="test_decode_loop_calls", named="the repetition penalty needs all"
)
def loop_shows_choose_what_is_fed(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def seen(text, prompt):
        return text if text.shape[1] == prompt.shape[1] else text[:, -1:]

    return loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id, seen=seen)


@mutant(of="decode_loop", killed_by="test_decode_loop_calls", named="the prompt only")
def loop_shows_choose_the_prompt(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return loop(
        *(step, input_ids, max_new_tokens, choose, emit, pad_token_id),
        seen=lambda text, prompt: prompt,
    )


@mutant(of="decode_loop", killed_by="test_decode_loop_calls", named="emit is never called")
def loop_without_emit(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return loop(step, input_ids, max_new_tokens, choose, lambda tokens: tokens < 0, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_calls", named="used again at every step")
def loop_uses_one_array_of_tokens(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    tokens = np.empty(len(input_ids), int)

    def shown(new):
        tokens[:] = new
        return emit(tokens)

    return loop(step, input_ids, max_new_tokens, choose, shown, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_calls", named="used again at every step")
def loop_feeds_one_array(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    newest = np.empty((len(input_ids), 1), int)

    def fed(ids):
        if ids.shape[1] > 1:
            return step(ids)
        newest[:] = ids
        return step(newest)

    return loop(fed, input_ids, max_new_tokens, choose, emit, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="rows never end")
def loop_never_ends(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def shown(tokens):
        return emit(tokens) & False

    return loop(step, input_ids, max_new_tokens, choose, shown, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="when the first row has ended")
def loop_stops_at_the_first_end(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id, done=np.any)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="once finished, it stays so")
def loop_ended_row_revives(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id, forget=True)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="filled with pad_token_id")
def loop_ended_row_goes_on(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id, padded=False)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="filled with 0")
def loop_pads_with_zero(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return decode_loop(step, input_ids, max_new_tokens, choose, emit, 0)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="it belongs to the text")
def loop_loses_the_ending_token(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    text, start = input_ids, 0
    finished = np.zeros(len(input_ids), bool)
    for _ in range(max_new_tokens):
        tokens = choose(step(text[:, start:]), text)
        start = text.shape[1]
        finished = finished | emit(tokens)
        text = np.concatenate([text, np.where(finished, pad_token_id, tokens)[:, None]], 1)
        if finished.all():
            break
    return text


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="with pads when all rows")
def loop_fills_up_with_pads(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    out = decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)
    missing = input_ids.shape[1] + max_new_tokens - out.shape[1]
    return np.pad(out, ((0, 0), (0, missing)), constant_values=pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="never made")
def loop_returns_the_room(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    out = decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)
    return np.pad(out, ((0, 0), (0, input_ids.shape[1] + max_new_tokens - out.shape[1])))


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="the model is fed what choose")
def loop_feeds_before_padding(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    said = []

    def noted(logits, ids):
        said.append(choose(logits, ids))
        return said[-1]

    def feed(text, start):
        return said[-1][:, None] if said else text

    return loop(step, input_ids, max_new_tokens, noted, emit, pad_token_id, feed=feed)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="emit gets what choose said")
def loop_emits_before_padding(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    text, start = input_ids, 0
    finished = np.zeros(len(input_ids), bool)
    for _ in range(max_new_tokens):
        tokens = choose(step(text[:, start:]), text)
        start = text.shape[1]
        ended = emit(tokens)
        text = np.concatenate([text, np.where(finished, pad_token_id, tokens)[:, None]], 1)
        finished = finished | ended
        if finished.all():
            break
    return text


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="go on to the end, with pads")
def loop_feeds_only_rows_that_go_on(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    text, start = input_ids, 0
    finished = np.zeros(len(input_ids), bool)
    for _ in range(max_new_tokens):
        tokens = np.full(len(text), pad_token_id)
        tokens[~finished] = choose(step(text[~finished, start:]), text[~finished])
        start = text.shape[1]
        text = np.concatenate([text, tokens[:, None]], 1)
        finished = finished | emit(tokens)
        if finished.all():
            break
    return text


@mutant(of="decode_loop", killed_by="test_decode_loop_cost", named="step was fed no token")
def loop_skips_the_newest_token(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    text, start = input_ids, 0
    finished = np.zeros(len(input_ids), bool)
    for _ in range(max_new_tokens):
        tokens = np.where(finished, pad_token_id, choose(step(text[:, start:]), text))
        text = np.concatenate([text, tokens[:, None]], 1)
        start = text.shape[1]
        finished = finished | emit(tokens)
        if finished.all():
            break
    return text


# ---------------------------------------------------------------------------------------------
# forbid_repeated_ngrams
# ---------------------------------------------------------------------------------------------


forbid = constraints.forbid_repeated_ngrams


@mutant(
    of="forbid_repeated_ngrams", killed_by="test_forbid_repeated_ngrams_value", named="too many"
)
def forbid_repeated_ngrams_n_plus_one(scores, input_ids, n):
    return forbid(scores, input_ids, n + 1).copy()


@mutant(of="forbid_repeated_ngrams", killed_by="test_forbid_repeated_ngrams_value", named="too few")
def forbid_repeated_ngrams_n_minus_one(scores, input_ids, n):
    return forbid(scores, input_ids, max(n - 1, 1)).copy()


@mutant(
    of="forbid_repeated_ngrams", killed_by="test_forbid_repeated_ngrams_value", named="first occ"
)
def forbid_repeated_ngrams_first_occurrence(scores, input_ids, n):
    out = scores.copy()
    for row, ids in zip(out, input_ids.tolist()):
        last = ids[len(ids) - n + 1 :]
        for i in range(len(ids) - n + 1):
            if ids[i : i + n - 1] == last:
                if ids[i + n - 1] >= 0:
                    row[ids[i + n - 1]] = -np.inf
                break
    return out


@mutant(of="forbid_repeated_ngrams", killed_by="test_forbid_repeated_ngrams_value", named="in all")
def forbid_repeated_ngrams_over_all_rows(scores, input_ids, n):
    return np.where(np.isinf(forbid(scores, input_ids, n)).any(0), -np.inf, scores)


@mutant(
    of="forbid_repeated_ngrams", killed_by="test_forbid_repeated_ngrams_value", named="everything"
)
def forbid_repeated_ngrams_all_that_occurred(scores, input_ids, n):
    return forbid(scores, input_ids, 1)


@mutant(of="forbid_repeated_ngrams", killed_by="test_forbid_repeated_ngrams_value", named="padding")
def forbid_repeated_ngrams_padding_is_an_index(scores, input_ids, n):
    out = forbid(scores, input_ids, n).copy()
    for row, ids in zip(out, input_ids.tolist()):
        if n <= 2 and -1 in ids[1:]:
            row[-1] = -np.inf
    return out


@mutant(
    of="forbid_repeated_ngrams", killed_by="test_forbid_repeated_ngrams_manners", named="in place"
)
def forbid_repeated_ngrams_in_place(scores, input_ids, n):
    scores[:] = forbid(scores, input_ids, n)
    return scores


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="probabilities are divided by the temperature",
)
def apply_temperature_on_probabilities(logits, temperature):
    p = softmax(logits) / temperature
    return p


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="probabilities are divided by the temperature",
)
def apply_temperature_log_of_scaled(logits, temperature):
    with np.errstate(divide="ignore"):
        return np.log(softmax(logits) / temperature)


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="the temperature multiplies; it divides",
)
def apply_temperature_times(logits, temperature):
    return logits * temperature


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="these are probabilities; logits are wanted",
)
def apply_temperature_softmaxed(logits, temperature):
    return softmax(logits / temperature)


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="the right numbers, without what is behind the",
)
def apply_temperature_int(logits, temperature):
    return logits // temperature


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="the square root of temperature is taken",
)
def apply_temperature_sqrt(logits, temperature):
    return logits / temperature**0.5


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_value",
    named="the temperature is subtracted: that changes no",
)
def apply_temperature_minus(logits, temperature):
    return logits - temperature


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_manners",
    named="float64 comes out where float32 went in: an",
)
def apply_temperature_in_float64(logits, temperature):
    return logits / np.float64(temperature)


@mutant(
    of="apply_temperature",
    killed_by="test_temperature_manners",
    named="logits is changed in place (+=, *=, out=",
)
def apply_temperature_inplace(logits, temperature):
    logits /= temperature
    return logits


@mutant(
    of="apply_top_k",
    killed_by="test_top_k_value",
    named="the k-th largest goes as well: that is one too",
)
def apply_top_k_strict(logits, k):
    t = np.sort(logits, -1)[:, -min(k, logits.shape[-1])][:, None]
    return np.where(logits > t, logits, -np.inf)


@mutant(
    of="apply_top_k",
    killed_by="test_top_k_edges",
    named="of tokens that tie with the k-th, only some are",
)
def apply_top_k_exact(logits, k):
    k = min(k, logits.shape[-1])
    i = np.argsort(-logits, -1, kind="stable")[:, :k]
    o = np.full_like(logits, -np.inf)
    np.put_along_axis(o, i, np.take_along_axis(logits, i, -1), -1)
    return o


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="the k smallest are kept")
def apply_top_k_smallest(logits, k):
    return -sampling.apply_top_k(-logits, k) * np.where(
        np.isinf(sampling.apply_top_k(-logits, k)), -1, 1
    )


@mutant(
    of="apply_top_k",
    killed_by="test_top_k_value",
    named="what is ruled out becomes 0, which is a logit",
)
def apply_top_k_zero(logits, k):
    o = sampling.apply_top_k(logits, k)
    return np.where(np.isinf(o), 0.0, o)


@mutant(
    of="apply_top_k",
    killed_by="test_top_k_value",
    named="the k largest of the whole batch are kept; each",
)
def apply_top_k_all_rows(logits, k):
    t = np.sort(logits.ravel())[-min(k, logits.size)]
    return np.where(logits >= t, logits, -np.inf)


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="one too many is kept")
def apply_top_k_k_plus(logits, k):
    return sampling.apply_top_k(logits, k + 1)


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="that is one too few")
def apply_top_k_k_minus(logits, k):
    return sampling.apply_top_k(logits, max(k - 1, 1))


@mutant(
    of="apply_top_k",
    killed_by="test_top_k_edges",
    named="k may be larger than the vocabulary: then all",
)
def apply_top_k_too_big(logits, k):
    t = np.sort(logits, -1)[:, -k][:, None]
    return np.where(logits >= t, logits, -np.inf)


@mutant(of="apply_top_k", killed_by="test_top_k_edges", named="the limit is that of the first row")
def apply_top_k_first_row(logits, k):
    t = np.sort(logits[0])[-min(k, logits.shape[-1])]
    return np.where(logits >= t, logits, -np.inf)


@mutant(
    of="apply_top_k",
    killed_by="test_top_k_value",
    named="these are log-probabilities",
)
def apply_top_k_probs(logits, k):
    with np.errstate(divide="ignore"):
        return np.log(softmax(sampling.apply_top_k(logits, k)))


@mutant(
    of="apply_top_k",
    killed_by="test_top_k_value",
    named="numbers are asked for; these are True and",
)
def apply_top_k_bool(logits, k):
    return np.isfinite(sampling.apply_top_k(logits, k))


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_value",
    named="the token with which the sum reaches p is",
)
def apply_top_p_stops_before(logits, p):
    o = np.argsort(-logits, -1)
    q = np.take_along_axis(softmax(logits), o, -1)
    keep = np.cumsum(q, -1) <= p
    keep[:, 0] = True
    r = np.full_like(logits, -np.inf)
    np.put_along_axis(r, o, np.where(keep, np.take_along_axis(logits, o, -1), -np.inf), -1)
    return r


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_first",
    named="nothing is left in a row; the likeliest token",
)
def apply_top_p_drops_first(logits, p):
    o = np.argsort(-logits, -1)
    q = np.take_along_axis(softmax(logits), o, -1)
    keep = np.cumsum(q, -1) - q < p
    r = np.full_like(logits, -np.inf)
    np.put_along_axis(r, o, np.where(keep, np.take_along_axis(logits, o, -1), -np.inf), -1)
    return r


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_value",
    named="p is compared with the cumulated sum of tokens",
)
def apply_top_p_unsorted(logits, p):
    q = softmax(logits)
    return np.where(np.cumsum(q, -1) - q < p, logits, -np.inf)


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_value",
    named="the sum runs from the least likely token up",
)
def apply_top_p_ascending(logits, p):
    o = np.argsort(logits, -1)
    q = np.take_along_axis(softmax(logits), o, -1)
    keep = np.cumsum(q, -1) - q < p
    r = np.full_like(logits, -np.inf)
    np.put_along_axis(r, o, np.where(keep, np.take_along_axis(logits, o, -1), -np.inf), -1)
    return r


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_value",
    named="each probability is compared with p; p is for",
)
def apply_top_p_threshold(logits, p):
    return np.where(softmax(logits) >= p, logits, -np.inf)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="this is min-p")
def apply_top_p_min_p(logits, p):
    return sampling.apply_min_p(logits, p)


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_value",
    named="this keeps the sum 1 - p; p is what is kept",
)
def apply_top_p_one_minus(logits, p):
    return sampling.apply_top_p(logits, 1 - p)


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_value",
    named="logits are summed up",
)
def apply_top_p_of_logits(logits, p):
    o = np.argsort(-logits, -1)
    q = np.take_along_axis(logits, o, -1)
    keep = np.cumsum(q, -1) - q < p
    keep[:, 0] = True
    r = np.full_like(logits, -np.inf)
    np.put_along_axis(r, o, np.where(keep, q, -np.inf), -1)
    return r


@mutant(
    of="apply_top_p",
    killed_by="test_top_p_value",
    named="these are log-probabilities; what is kept keeps",
)
def apply_top_p_log(logits, p):
    q = sampling.apply_top_p(logits, p)
    return np.where(np.isinf(q), q, np.log(softmax(q) + 1e-300))


@mutant(
    of="apply_min_p",
    killed_by="test_min_p_value",
    named="p is compared with the probability itself; it",
)
def apply_min_p_absolute(logits, p):
    return np.where(softmax(logits) >= p, logits, -np.inf)


@mutant(
    of="apply_min_p",
    killed_by="test_min_p_value",
    named="the limit is p times the largest logit; p is",
)
def apply_min_p_of_logits(logits, p):
    return np.where(logits >= p * logits.max(-1, keepdims=True), logits, -np.inf)


@mutant(
    of="apply_min_p",
    killed_by="test_min_p_edges",
    named="a token exactly at the limit goes; it should",
)
def apply_min_p_strict(logits, p):
    q = softmax(logits)
    return np.where(q > p * q.max(-1, keepdims=True), logits, -np.inf)


@mutant(
    of="apply_min_p",
    killed_by="test_min_p_value",
    named="the limit is the same for all rows; each has",
)
def apply_min_p_all_rows(logits, p):
    q = softmax(logits)
    return np.where(q >= p * q.max(), logits, -np.inf)


@mutant(
    of="apply_min_p",
    killed_by="test_min_p_value",
    named="those above the limit are ruled out, and the",
)
def apply_min_p_below(logits, p):
    q = softmax(logits)
    return np.where(q <= p * q.max(-1, keepdims=True), logits, -np.inf)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="p is subtracted from the largest")
def apply_min_p_minus(logits, p):
    q = softmax(logits)
    return np.where(q >= q.max(-1, keepdims=True) - p, logits, -np.inf)


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="negative logits are divided: that makes the",
)
def apply_repetition_penalty_divide_all(logits, input_ids, penalty):
    o = logits.copy()
    for r, i in zip(o, input_ids):
        i = np.unique(i[i >= 0])
        r[i] /= penalty
    return o


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="the penalty is applied once for each",
)
def apply_repetition_penalty_each_time(logits, input_ids, penalty):
    o = logits.copy()
    for r, ids in zip(o, input_ids):
        for i in ids[ids >= 0]:
            r[i] = r[i] / penalty if r[i] >= 0 else r[i] * penalty
    return o


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_padding",
    named="padding, -1, penalizes the last token of the",
)
def apply_repetition_penalty_pad(logits, input_ids, penalty):
    o = logits.copy()
    for r, ids in zip(o, input_ids):
        for i in set(ids.tolist()):
            r[i] = r[i] / penalty if r[i] >= 0 else r[i] * penalty
    return o


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="the penalty is subtracted",
)
def apply_repetition_penalty_subtract(logits, input_ids, penalty):
    o = logits.copy()
    for r, ids in zip(o, input_ids):
        r[np.unique(ids[ids >= 0])] -= penalty
    return o


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="one text's tokens are penalized in all rows",
)
def apply_repetition_penalty_all_rows(logits, input_ids, penalty):
    i = np.unique(input_ids[input_ids >= 0])
    o = logits.copy()
    o[:, i] = np.where(o[:, i] >= 0, o[:, i] / penalty, o[:, i] * penalty)
    return o


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="the cases are exchanged: positive logits are",
)
def apply_repetition_penalty_swapped(logits, input_ids, penalty):
    return sampling.apply_repetition_penalty(logits, input_ids, 1 / penalty)


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="only the last token of the text is penalized",
)
def apply_repetition_penalty_last_only(logits, input_ids, penalty):
    return sampling.apply_repetition_penalty(logits, input_ids[:, -1:], penalty)


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="penalty is not read",
)
def apply_repetition_penalty_forbid(logits, input_ids, penalty):
    o = logits.copy()
    for r, ids in zip(o, input_ids):
        r[ids[ids >= 0]] = -np.inf
    return o


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_manners",
    named="logits is changed in place (+=, *=, out=",
)
def apply_repetition_penalty_inplace(logits, input_ids, penalty):
    logits[...] = sampling.apply_repetition_penalty(logits, input_ids, penalty)
    return logits


@mutant(
    of="sample_next",
    killed_by="test_sample_next_value",
    named="u is not used: this is the likeliest token",
)
def sample_next_argmax(logits, u):
    return logits.argmax(-1)


@mutant(
    of="sample_next",
    killed_by="test_sample_next_edges",
    named="a token of probability 0 is drawn with u = 0",
)
def sample_next_left(logits, u):
    return (np.cumsum(softmax(logits), -1) < u[:, None]).sum(-1)


@mutant(of="sample_next", killed_by="test_sample_next_edges", named="off by +1")
def sample_next_plus1(logits, u):
    return np.minimum(
        (np.cumsum(softmax(logits), -1) <= u[:, None]).sum(-1) + 1, logits.shape[-1] - 1
    )


@mutant(
    of="sample_next",
    killed_by="test_sample_next_edges",
    named="rounding errors grow along 20,000 tokens: sum",
)
def sample_next_no_clip(logits, u):
    return (np.cumsum(softmax(logits.astype(np.float32)), -1) <= u[:, None]).sum(-1)


@mutant(
    of="sample_next",
    killed_by="test_sample_next_value",
    named="the bar is read from its other end: 1 - u",
)
def sample_next_one_minus_u(logits, u):
    return sampling.sample_next(logits, np.clip(1 - u, 0, 1 - 1e-9))


@mutant(
    of="sample_next",
    killed_by="test_sample_next_value",
    named="the pieces are sorted by size; they stand in",
)
def sample_next_sorted(logits, u):
    o = np.argsort(-logits, -1)
    i = sampling.sample_next(np.take_along_axis(logits, o, -1), u)
    return np.take_along_axis(o, i[:, None], -1)[:, 0]


@mutant(of="sample_next", killed_by="test_sample_next_value", named="a rank comes out")
def sample_next_sorted_no_map(logits, u):
    return sampling.sample_next(-np.sort(-logits, -1), u)


@mutant(
    of="sample_next",
    killed_by="test_sample_next_shares",
    named="is a sum of probabilities compared",
)
def sample_next_of_logits(logits, u):
    return (
        (np.cumsum(np.where(np.isinf(logits), 0, logits), -1) <= u[:, None])
        .sum(-1)
        .clip(0, logits.shape[-1] - 1)
    )


@mutant(
    of="sample_next",
    killed_by="test_sample_next_value",
    named="all rows use the first number; each has its own",
)
def sample_next_u_first(logits, u):
    return sampling.sample_next(logits, np.full_like(u, u[0]))


@mutant(
    of="sample_next", killed_by="test_sample_next_value", named="all tokens are equally likely here"
)
def sample_next_uniform(logits, u):
    return (u * logits.shape[-1]).astype(int)


@mutant(
    of="sample_next",
    killed_by="test_sample_next_value",
    named="the numbers are right; only the shape is not",
)
def sample_next_column(logits, u):
    return sampling.sample_next(logits, u)[:, None]


@mutant(of="sample_next", killed_by="test_sample_next_value", named="the softmax is taken twice")
def sample_next_log(logits, u):
    return (
        sampling.sample_next(np.exp(logits), u)
        if False
        else sampling.sample_next(softmax(logits), u)
    )


@mutant(
    of="cache_update",
    killed_by="test_cache_update_in_place",
    named="a new array is made, and everything in the",
)
def cache_update_concat(keys, values, nk, nv, start):
    return np.concatenate([keys[:, :, :start], nk], 2), np.concatenate(
        [values[:, :, :start], nv], 2
    )


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="the whole room comes back, with what is behind",
)
def cache_update_all(keys, values, nk, nv, start):
    cache_update(keys, values, nk, nv, start)
    return keys, values


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="only the new tokens come back; all so far are",
)
def cache_update_new_only(keys, values, nk, nv, start):
    cache_update(keys, values, nk, nv, start)
    e = start + nk.shape[2]
    return keys[:, :, start:e], values[:, :, start:e]


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="the last one comes back short: up to start + T",
)
def cache_update_one_short(keys, values, nk, nv, start):
    k, v = cache_update(keys, values, nk, nv, start)
    return k[:, :, :-1], v[:, :, :-1]


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="only the first of the new tokens is written",
)
def cache_update_only_one(keys, values, nk, nv, start):
    keys[:, :, start] = nk[:, :, 0]
    values[:, :, start] = nv[:, :, 0]
    e = start + nk.shape[2]
    return keys[:, :, :e], values[:, :, :e]


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="at the end of the room",
)
def cache_update_at_end(keys, values, nk, nv, start):
    t = nk.shape[2]
    keys[:, :, -t:] = nk
    values[:, :, -t:] = nv
    return keys[:, :, : start + t], values[:, :, : start + t]


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="keys and values have changed places",
)
def cache_update_swap(keys, values, nk, nv, start):
    return cache_update(keys, values, nk, nv, start)[::-1]


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="the keys stand where the values belong",
)
def cache_update_keys_twice(keys, values, nk, nv, start):
    k, v = cache_update(keys, values, nk, nk if nk.shape == nv.shape else nv, start)
    return k, v


@mutant(
    of="cache_update",
    killed_by="test_cache_update_value",
    named="start is taken one too large",
)
def cache_update_plus1(keys, values, nk, nv, start):
    s = min(start + 1, keys.shape[2] - nk.shape[2])
    return cache_update(keys, values, nk, nv, s)


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_cost",
    named="the whole text goes through the model in every",
)
def decode_loop_refeeds(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    ids = input_ids.copy()
    done = np.zeros(len(ids), bool)
    for _ in range(max_new_tokens):
        t = np.where(done, pad_token_id, choose(step(ids), ids))
        ids = np.concatenate([ids, t[:, None]], 1)
        done |= emit(t)
        if done.all():
            break
    return ids


@mutant(of="decode_loop", killed_by="test_decode_loop_value", named="there is one token too many")
def decode_loop_one_more(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return decode_loop(step, input_ids, max_new_tokens + 1, choose, emit, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="rows never end")
def decode_loop_ignores_end(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def e(t):
        emit(t)
        return np.zeros(len(t), bool)

    return decode_loop(step, input_ids, max_new_tokens, choose, e, pad_token_id)


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_ends",
    named="the loop stops when the first row has ended",
)
def decode_loop_ends_with_the_first(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def e(t):
        r = emit(t)
        return np.full(len(t), np.any(r))

    return decode_loop(step, input_ids, max_new_tokens, choose, e, pad_token_id)


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_ends",
    named="finished rows are filled with 0; pad_token_id",
)
def decode_loop_pads_with_zero(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return decode_loop(step, input_ids, max_new_tokens, choose, emit, 0)


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_value",
    named="the prompts are missing in what comes back",
)
def decode_loop_only_new(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)[
        :, input_ids.shape[1] :
    ]


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_ends",
    named="a row that has ended goes on; it is filled with",
)
def decode_loop_no_pads(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    ids = input_ids.copy()
    done = np.zeros(len(ids), bool)
    new = ids
    for _ in range(max_new_tokens):
        t = choose(step(new), ids)
        new = t[:, None]
        ids = np.concatenate([ids, new], 1)
        done |= emit(t)
        if done.all():
            break
    return ids


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_value",
    named="the model is not fed every token once: see the",
)
def decode_loop_feeds_2d(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    ids = input_ids.copy()
    done = np.zeros(len(ids), bool)
    new = ids
    for _ in range(max_new_tokens):
        t = np.where(done, pad_token_id, choose(step(new), ids))
        new = np.tile(t[:, None], 2)[:, :2]
        ids = np.concatenate([ids, t[:, None]], 1)
        done |= emit(t)
        if done.all():
            break
    return ids


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_cost",
    named="the model runs once more after the last token",
)
def decode_loop_last_step(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    ids = input_ids.copy()
    done = np.zeros(len(ids), bool)
    logits = step(ids)
    for _ in range(max_new_tokens):
        t = np.where(done, pad_token_id, choose(logits, ids))
        ids = np.concatenate([ids, t[:, None]], 1)
        done |= emit(t)
        logits = step(t[:, None])
        if done.all():
            break
    return ids


@mutant(
    of="decode_loop",
    killed_by="test_decode_loop_calls",
    named="choose gets only the tokens that are fed; the",
)
def decode_loop_choose_new_only(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    ids = input_ids.copy()
    done = np.zeros(len(ids), bool)
    new = ids
    for _ in range(max_new_tokens):
        t = np.where(done, pad_token_id, choose(step(new), new))
        new = t[:, None]
        ids = np.concatenate([ids, new], 1)
        done |= emit(t)
        if done.all():
            break
    return ids


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="token 0 is taken for padding",
)
def apply_repetition_penalty_spares_token_0(logits, input_ids, penalty):
    return sampling.apply_repetition_penalty(
        logits, np.where(input_ids == 0, -1, input_ids), penalty
    )


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="do not read it")
def apply_top_p_mask_read_through_the_order(logits, p):
    order = np.argsort(-logits, -1, kind="stable")
    q = np.take_along_axis(softmax(logits), order, -1)
    kept = np.cumsum(q, -1) - q < p
    kept[:, 0] = True
    return np.where(np.take_along_axis(kept, order, -1), logits, -np.inf).astype(logits.dtype)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="the logarithm of p has base 10")
def apply_min_p_log10(logits, p):
    kept = logits >= logits.max(-1, keepdims=True) + np.log10(p)
    return np.where(kept, logits, -np.inf).astype(logits.dtype)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="over the rows of the batch")
def sample_next_softmax_over_rows(logits, u):
    e = np.exp(logits - logits.max(0))
    return (np.cumsum(e / e.sum(0), -1) > u[:, None]).argmax(-1)


@mutant(
    of="forbid_repeated_ngrams",
    killed_by="test_forbid_repeated_ngrams_value",
    named="only the first text of the batch",
)
def forbid_repeated_ngrams_first_row(scores, input_ids, n):
    out = scores.copy()
    out[:1] = constraints.forbid_repeated_ngrams(scores[:1], input_ids[:1], n)
    return out


@mutant(
    of="forbid_repeated_ngrams",
    killed_by="test_forbid_repeated_ngrams_value",
    named="ids[-0:] is all of them",
)
def forbid_repeated_ngrams_last_zero_tokens(scores, input_ids, n):
    if n == 1:
        return scores.copy()
    return constraints.forbid_repeated_ngrams(scores, input_ids, n)


# ---------------------------------------------------------------------------------------------
# More of what students write
# ---------------------------------------------------------------------------------------------


@mutant(of="apply_temperature", killed_by="test_temperature_value", named="below 1 are not applied")
def temperature_only_flattens(logits, temperature):
    return logits if temperature < 1 else logits / temperature


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="that have not occurred are")
def penalty_of_the_unseen(logits, input_ids, penalty):
    seen = occurred(logits, input_ids)
    return np.where(seen, logits, np.where(logits < 0, logits * penalty, logits / penalty))


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="the first text's tokens")
def penalty_of_the_first_text(logits, input_ids, penalty):
    return apply_repetition_penalty(logits, input_ids[[0] * len(logits)], penalty)


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="below 1 is not applied")
def penalty_at_least_one(logits, input_ids, penalty):
    return apply_repetition_penalty(logits, input_ids, 1.0 if penalty < 1 else penalty)


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="the logarithm of the penalty")
def penalty_as_a_bias(logits, input_ids, penalty):
    out = logits.copy()
    for row, ids in zip(out, input_ids):
        row[np.unique(ids[ids >= 0])] -= np.log(penalty)
    return out


@mutant(**PENALTY, killed_by="test_repetition_penalty_value", named="first token of the text is")
def penalty_without_the_first_token(logits, input_ids, penalty):
    return apply_repetition_penalty(logits, np.delete(input_ids, np.s_[:1], axis=1), penalty)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="and 0 for what is ruled out")
def top_p_probabilities_and_zeros(logits, p):
    return np.where(np.isfinite(apply_top_p(logits, p)), softmax(logits), 0)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="from one row to the next")
def top_p_one_sum_for_all(logits, p):
    order = np.argsort(-logits, axis=1)
    ranked = np.take_along_axis(softmax(logits), order, 1)
    before = (np.cumsum(ranked) - ranked.ravel()).reshape(logits.shape)
    out = logits.copy()
    np.put_along_axis(out, order, np.where(before < p, np.sort(logits)[:, ::-1], -np.inf), 1)
    return out


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="the order of the first row")
def top_p_one_order_for_all(logits, p):
    order = np.argsort(-logits[0])
    ranked = softmax(logits)[:, order]
    kept = (np.cumsum(ranked, 1) - ranked < p)[:, np.argsort(order)]
    return np.where(kept, logits, -np.inf)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="with room to spare")
def top_p_with_a_margin(logits, p):
    return apply_top_p(logits, p - 1e-3)


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="two tokens stay always")
def top_p_keeps_two(logits, p):
    second = np.sort(logits, axis=1)[:, -2:][:, :1]
    return np.where(logits >= second, logits, apply_top_p(logits, p))


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="the smallest probability")
def min_p_of_the_smallest(logits, p):
    q = softmax(logits)
    return np.where(q < p * np.amin(q, axis=1)[:, None], -np.inf, logits)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="the mean probability")
def min_p_of_the_mean(logits, p):
    return np.where(softmax(logits) < p / logits.shape[1], -np.inf, logits)


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="with room to spare")
def min_p_with_a_margin(logits, p):
    q = softmax(logits)
    return np.where(q >= p * q.max(-1, keepdims=True) - 1e-4, logits, -np.inf)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="random numbers of its own")
def sample_next_rolls_its_own_dice(logits, u):
    return np.array([np.random.choice(len(q), p=q) for q in softmax(logits)])


@mutant(of="sample_next", killed_by="test_sample_next_value", named="each probability is compared")
def sample_next_first_likely(logits, u):
    return np.argmax(softmax(logits) > u[:, None], axis=1)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="with the nearest sum")
def sample_next_nearest(logits, u):
    return np.argmin((np.cumsum(softmax(logits), 1) - u[:, None]) ** 2, axis=1)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="down the rows of the batch")
def sample_next_sums_down(logits, u):
    sums = np.add.accumulate(softmax(logits))
    return np.array([np.count_nonzero(row <= x) for row, x in zip(sums, u)])


@mutant(of="cache_update", killed_by="test_cache_update_steps", named="into which nothing has been")
def cache_leaves_a_gap(keys, values, new_keys, new_values, start):
    stop = start + new_keys.shape[2]
    keys[:, :1, start:stop], values[:, :1, start:stop] = new_keys[:, :1], new_values[:, :1]
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_value", named="only the first head is")
def cache_first_head_only(keys, values, new_keys, new_values, start):
    return cache_leaves_a_gap(keys, values, new_keys, new_values, start)


@mutant(of="cache_update", killed_by="test_cache_update_value", named="are added to what stands")
def cache_adds(keys, values, new_keys, new_values, start):
    stop = start + new_keys.shape[2]
    keys[:, :, start:stop] += new_keys
    values[:, :, start:stop] += new_values
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="decode_loop", killed_by="test_decode_loop_cost", named="all of the prompt but its last")
def decode_loop_prompt_in_two(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    if input_ids.shape[1] > 1:
        step(input_ids[:, :-1])
    return decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_calls", named="choose is never called")
def decode_loop_always_likeliest(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def likeliest(logits, ids):
        return np.argmax(logits, axis=-1)

    return decode_loop(step, input_ids, max_new_tokens, likeliest, emit, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_calls", named="emit is called row by row")
def decode_loop_emits_each_row(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def each(tokens):
        return np.concatenate([emit(tokens[i : i + 1]) for i in range(len(tokens))])

    return decode_loop(step, input_ids, max_new_tokens, choose, each, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="in a prompt")
def decode_loop_replaces_pads(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    ids = np.where(input_ids == pad_token_id, input_ids[:, :1], input_ids)
    return decode_loop(step, ids, max_new_tokens, choose, emit, pad_token_id)


@mutant(of="apply_top_k", killed_by="test_top_k_edges", named="equal logits are counted once")
def top_k_of_distinct_logits(logits, k):
    out = np.full_like(logits, -np.inf)
    for row, kept in zip(logits, out):
        limit = sorted(set(row.tolist()), reverse=True)[: int(k)][-1]
        kept[row >= limit] = row[row >= limit]
    return out


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="becomes NaN")
def top_k_nan(logits, k):
    return np.where(np.isfinite(apply_top_k(logits, k)), logits, logits.dtype.type(np.nan))


@mutant(**PENALTY, killed_by="test_repetition_penalty_padding", named="ends at the first padding")
def penalty_breaks_at_padding(logits, input_ids, penalty):
    out = logits.copy()
    for row, ids in enumerate(input_ids.tolist()):
        ids = ids[: ids.index(-1)] if -1 in ids else ids
        short = np.array([ids], int)
        out[row] = apply_repetition_penalty(logits[row : row + 1], short, penalty)[0]
    return out


@mutant(of="decode_loop", killed_by="test_decode_loop_value", named="a float takes part")
def decode_loop_of_floats(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    return 1.0 * decode_loop(step, input_ids, max_new_tokens, choose, emit, pad_token_id)


@mutant(of="decode_loop", killed_by="test_decode_loop_ends", named="and a pad that was chosen")
def decode_loop_ends_at_a_pad(step, input_ids, max_new_tokens, choose, emit, pad_token_id=0):
    def shown(tokens):
        return emit(tokens) | (tokens == pad_token_id)

    return decode_loop(step, input_ids, max_new_tokens, choose, shown, pad_token_id)


def ruled_out(logits, kept):
    """The logits that are kept, and -inf."""
    return np.where(kept, logits, logits.dtype.type(-np.inf))


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="not divided by their sum")
def apply_top_p_of_exponentials(logits, p):
    order = np.argsort(-logits, -1, kind="stable")
    sums = np.cumsum(np.exp(np.take_along_axis(logits, order, -1)), -1)
    before = sums - np.exp(np.take_along_axis(logits, order, -1))
    kept = np.zeros(logits.shape, bool)
    np.put_along_axis(kept, order, before < p, -1)
    return ruled_out(logits, kept | (logits == logits.max(-1, keepdims=True)))


@mutant(of="apply_top_p", killed_by="test_top_p_first", named="for p = 0 everything is kept")
def apply_top_p_not_for_zero(logits, p):
    return sampling.apply_top_p(logits, p) if p else logits.copy()


@mutant(of="apply_top_k", killed_by="test_top_k_edges", named="none is kept")
def apply_top_k_without_ties(logits, k):
    if k >= logits.shape[-1]:
        return logits.copy()
    return ruled_out(logits, logits > np.sort(logits, -1)[:, [-k - 1]])


@mutant(of="apply_top_k", killed_by="test_top_k_value", named="only the k largest come back")
def apply_top_k_short(logits, k):
    return -np.sort(-logits, -1)[:, :k]


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="looked for down the batch")
def apply_min_p_of_the_columns(logits, p):
    q = softmax(logits)
    return ruled_out(logits, q >= p * q.max(0))


@mutant(of="apply_min_p", killed_by="test_min_p_value", named="and 0 for what is ruled out")
def apply_min_p_gives_probabilities(logits, p):
    q = softmax(logits)
    return np.where(q >= p * q.max(-1, keepdims=True), q, 0)


@mutant(
    of="apply_repetition_penalty",
    killed_by="test_repetition_penalty_value",
    named="every logit is multiplied",
)
def penalty_always_multiplies(logits, input_ids, penalty):
    seen = sampling.apply_repetition_penalty(logits, input_ids, penalty) != logits
    return np.where(seen, logits * penalty, logits)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="not divided by their sum")
def sample_next_of_exponentials(logits, u):
    sums = np.cumsum(np.exp(logits - logits.max(-1, keepdims=True)), -1)
    return (sums > u[:, None]).argmax(-1)


@mutant(of="sample_next", killed_by="test_sample_next_value", named="down the rows of the batch")
def sample_next_sums_of_columns(logits, u):
    return (np.cumsum(softmax(logits), 0) > u[:, None]).argmax(-1)


@mutant(of="cache_update", killed_by="test_cache_update_value", named="new keys are not written")
def cache_without_keys(keys, values, new_keys, new_values, start):
    stop = start + new_keys.shape[2]
    values[:, :, start:stop] = new_values
    return keys[:, :, :stop], values[:, :, :stop]


@mutant(of="cache_update", killed_by="test_cache_update_value", named="one token is written")
def cache_of_one_token(keys, values, new_keys, new_values, start):
    keys[:, :, start], values[:, :, start] = new_keys[:, :, 0], new_values[:, :, 0]
    return keys[:, :, : start + 1], values[:, :, : start + 1]


@mutant(
    of="forbid_repeated_ngrams",
    killed_by="test_forbid_repeated_ngrams_value",
    named="a large negative number",
)
def ngrams_nearly_forbidden(scores, input_ids, n):
    right = constraints.forbid_repeated_ngrams(scores, input_ids, n)
    return np.where(right == scores, scores, scores.dtype.type(-1e9))


@mutant(of="sample_next", killed_by="test_sample_next_value", named="u is not read")
def sample_next_of_a_generator_of_its_own(logits, u):
    draw = np.random.default_rng(0)
    return np.array([draw.choice(logits.shape[1], p=p) for p in softmax(logits.astype(float))])


@mutant(of="apply_top_p", killed_by="test_top_p_value", named="the likeliest spared")
def top_p_of_each_or_the_likeliest(logits, p):
    probability = softmax(logits)
    likely = (probability >= p) | (probability == probability.max(-1, keepdims=True))
    return np.where(likely, logits, -np.inf).astype(logits.dtype)


@mutant(of="cache_update", killed_by="test_cache_update_value", named="where nothing is to be read")
def cache_update_of_one_token(keys, values, new_keys, new_values, start):
    keys[:, :, start], values[:, :, start] = new_keys[:, :, -1], new_values[:, :, -1]
    end = start + new_keys.shape[2]
    return keys[:, :, :end], values[:, :, :end]


@mutant(of="apply_temperature", killed_by="test_temperature_value", named="temperature is added")
def temperature_added(logits, temperature):
    return logits + temperature
