"""Wrong solutions of chapter 13, each named after its mistake."""

import numpy as np

from tinyqwen.analysis import interpret
from tinyqwen.course import faulty_models, mutant

previous_token_score, induction_score = interpret.previous_token_score, interpret.induction_score
logit_lens, ablate_head = interpret.logit_lens, interpret.ablate_head


def diagonal(weights, k):
    return np.diagonal(weights, k, -2, -1)


# ---------------------------------------------------------------------------------------------
# previous_token_score
# ---------------------------------------------------------------------------------------------


@mutant(of="previous_token_score", killed_by="test_previous_token_score_value", named="on itself")
def previous_token_score_main_diagonal(weights):
    return diagonal(weights, 0).mean((0, 2))


@mutant(of="previous_token_score", killed_by="test_previous_token_score_value", named="next token")
def previous_token_score_above(weights):
    return diagonal(weights, 1).mean((0, 2))


@mutant(of="previous_token_score", killed_by="test_previous_token_score_value", named="has none")
def previous_token_score_over_all_queries(weights):
    return diagonal(weights, -1).sum((0, 2)) / (weights.shape[0] * weights.shape[2])


@mutant(of="previous_token_score", killed_by="test_previous_token_score_value", named="of its own")
def previous_token_score_one_for_all_heads(weights):
    return np.full(weights.shape[1], diagonal(weights, -1).mean(), weights.dtype)


@mutant(
    of="previous_token_score", killed_by="test_previous_token_score_value", named="batch is added"
)
def previous_token_score_sums_the_batch(weights):
    return diagonal(weights, -1).mean(-1).sum(0)


@mutant(of="previous_token_score", killed_by="test_previous_token_score_value", named="first row")
def previous_token_score_first_row_only(weights):
    return diagonal(weights[:1], -1).mean((0, 2))


@mutant(of="previous_token_score", killed_by="test_previous_token_score_manners", named="NaN")
def previous_token_score_nan_for_one_token(weights):
    return diagonal(weights, -1).mean((0, 2))


@mutant(
    of="previous_token_score", killed_by="test_previous_token_score_manners", named="float64 comes"
)
def previous_token_score_float64(weights):
    return previous_token_score(weights.astype(np.float64))


# ---------------------------------------------------------------------------------------------
# induction_score
# ---------------------------------------------------------------------------------------------


def matches(ids, back=1):
    keys = np.arange(ids.shape[1])
    found = np.zeros((*ids.shape, ids.shape[1]), bool)
    for key in range(max(0, back), ids.shape[1] + min(0, back)):
        found[:, :, key] = (ids == ids[:, key - back, None]) & (keys > key - back)
    return found


def mean_over(weights, found, queries=None):
    total = (weights * found[:, None]).sum((0, 2, 3))
    return total / weights.dtype.type(max(1, (found.any(-1) if queries is None else queries).sum()))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="earlier token itself")
def induction_score_of_the_token_itself(weights, ids):
    return mean_over(weights, matches(ids, 0))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="before the earlier")
def induction_score_of_the_token_before(weights, ids):
    return mean_over(weights, matches(ids, -1) & np.tri(ids.shape[1], dtype=bool))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="counts all queries")
def induction_score_over_all_queries(weights, ids):
    return mean_over(weights, matches(ids), np.ones(ids.shape))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="over the pairs")
def induction_score_over_pairs(weights, ids):
    return mean_over(weights, matches(ids), matches(ids))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="the query itself")
def induction_score_strictly_before(weights, ids):
    return mean_over(weights, matches(ids) & ~np.eye(ids.shape[1], dtype=bool))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="transposed")
def induction_score_transposed(weights, ids):
    return mean_over(weights.swapaxes(-1, -2), matches(ids))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="first row's ids")
def induction_score_ids_of_the_first_row(weights, ids):
    return mean_over(weights, np.repeat(matches(ids[:1]), len(ids), 0))


@mutant(of="induction_score", killed_by="test_induction_score_value", named="averaged one by one")
def induction_score_mean_of_rows(weights, ids):
    rows = [induction_score(weights[i : i + 1], ids[i : i + 1]) for i in range(len(ids))]
    return np.mean(rows, axis=0)


@mutant(of="induction_score", killed_by="test_induction_score_value", named="only the latest")
def induction_score_latest_only(weights, ids):
    found = matches(ids)
    last = found.shape[-1] - 1 - found[..., ::-1].argmax(-1)
    return mean_over(weights, found & (np.arange(found.shape[-1]) == last[..., None]))


@mutant(of="induction_score", killed_by="test_induction_score_none", named="NaN")
def induction_score_nan(weights, ids):
    found = matches(ids)
    with np.errstate(all="ignore"):
        return (weights * found[:, None]).sum((0, 2, 3)) / found.any(-1).sum()


@mutant(of="induction_score", killed_by="test_induction_score_manners", named="ids is changed")
def induction_score_edits_ids(weights, ids):
    out = induction_score(weights, ids)
    ids -= ids.min()
    return out


# ---------------------------------------------------------------------------------------------
# logit_lens
# ---------------------------------------------------------------------------------------------


def normed(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(eps)) * weight


@mutant(of="logit_lens", killed_by="test_logit_lens_value", named="normed twice")
def logit_lens_norms_the_last_twice(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return normed(hidden_states, norm_weight, eps) @ lm_head_weight.T


@mutant(of="logit_lens", killed_by="test_logit_lens_model", named="through the final norm already")
def logit_lens_of_a_model_normed_twice(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return normed(hidden_states, norm_weight, eps) @ lm_head_weight.T


@mutant(of="logit_lens", killed_by="test_logit_lens_value", named="no state is normed")
def logit_lens_without_norm(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return hidden_states @ lm_head_weight.T


@mutant(of="logit_lens", killed_by="test_logit_lens_value", named="weight is left out")
def logit_lens_without_norm_weight(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return logit_lens(hidden_states, np.ones_like(norm_weight), lm_head_weight, eps)


@mutant(of="logit_lens", killed_by="test_logit_lens_value", named="eps is not used")
def logit_lens_without_eps(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return logit_lens(hidden_states, norm_weight, lm_head_weight)


@mutant(of="logit_lens", killed_by="test_logit_lens_value", named="probabilities")
def logit_lens_of_probabilities(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    logits = logit_lens(hidden_states, norm_weight, lm_head_weight, eps)
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@mutant(of="logit_lens", killed_by="test_logit_lens_model", named="for every hidden state")
def logit_lens_without_the_embeddings(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return logit_lens(hidden_states, norm_weight, lm_head_weight, eps)[1:]


@mutant(of="logit_lens", killed_by="test_logit_lens_manners", named="float64 comes out")
def logit_lens_float64(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return logit_lens(hidden_states, norm_weight, lm_head_weight, eps).astype(np.float64)


@mutant(of="logit_lens", killed_by="test_logit_lens_manners", named="hidden_states is changed")
def logit_lens_edits_states(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    hidden_states[:-1] = normed(hidden_states[:-1], norm_weight, eps)
    return hidden_states @ lm_head_weight.T


# ---------------------------------------------------------------------------------------------
# ablate_head
# ---------------------------------------------------------------------------------------------


def without(weight, columns):
    weight = weight.copy()
    weight[:, columns] = 0
    return weight


@mutant(of="ablate_head", killed_by="test_ablate_head_value", named="rows are zeroed")
def ablate_head_rows(o_proj_weight, head, head_dim):
    weight = o_proj_weight.copy()
    weight[head * head_dim : (head + 1) * head_dim] = 0
    return weight


@mutant(of="ablate_head", killed_by="test_ablate_head_value", named="one column")
def ablate_head_one_column(o_proj_weight, head, head_dim):
    return without(o_proj_weight, [head])


@mutant(of="ablate_head", killed_by="test_ablate_head_value", named="every H-th")
def ablate_head_interleaved(o_proj_weight, head, head_dim):
    return without(o_proj_weight, slice(head, None, o_proj_weight.shape[1] // head_dim))


@mutant(of="ablate_head", killed_by="test_ablate_head_value", named="counted from 0")
def ablate_head_from_one(o_proj_weight, head, head_dim):
    return without(o_proj_weight, slice(max(0, head - 1) * head_dim, head * head_dim))


@mutant(of="ablate_head", killed_by="test_ablate_head_value", named="the other heads are gone")
def ablate_head_keeps_only_it(o_proj_weight, head, head_dim):
    return o_proj_weight - ablate_head(o_proj_weight, head, head_dim)


@mutant(of="ablate_head", killed_by="test_ablate_head_effect", named="shape (5, 12)")
def ablate_head_deletes(o_proj_weight, head, head_dim):
    return np.delete(o_proj_weight, np.s_[head * head_dim : (head + 1) * head_dim], axis=1)


@mutant(of="ablate_head", killed_by="test_ablate_head_manners", named="is changed in place")
def ablate_head_in_place(o_proj_weight, head, head_dim):
    o_proj_weight[:, head * head_dim : (head + 1) * head_dim] = 0
    return o_proj_weight


@mutant(of="ablate_head", killed_by="test_ablate_head_manners", named="float64 comes out")
def ablate_head_float64(o_proj_weight, head, head_dim):
    return ablate_head(o_proj_weight, head, head_dim).astype(np.float64)


# ---------------------------------------------------------------------------------------------
# diagnoses
# ---------------------------------------------------------------------------------------------


@mutant(of="diagnoses", killed_by="test_diagnoses_form", named="spelled")
def diagnoses_misspelled():
    return faulty_models.diagnoses() | {"b": "no causal masks"}


@mutant(of="diagnoses", killed_by="test_diagnoses_form", named="four patients")
def diagnoses_of_three():
    return {name: fault for name, fault in faulty_models.diagnoses().items() if name != "d"}


@mutant(of="diagnoses", killed_by="test_diagnoses_form", named="a dict was expected")
def diagnoses_in_a_list():
    return list(faulty_models.diagnoses().values())


@mutant(of="diagnoses", killed_by="test_diagnoses_a", named="the token that it has just read")
def diagnoses_a_labels():
    return faulty_models.diagnoses() | {"a": "labels not shifted"}


@mutant(of="diagnoses", killed_by="test_diagnoses_b", named="the token that it has just read")
def diagnoses_b_labels():
    return faulty_models.diagnoses() | {"b": "labels not shifted"}


@mutant(of="diagnoses", killed_by="test_diagnoses_c", named="without the stream")
def diagnoses_c_attention():
    return faulty_models.diagnoses() | {"c": "no residual around attention"}


@mutant(of="diagnoses", killed_by="test_diagnoses_d", named="twice as far apart")
def diagnoses_d_no_positions():
    return faulty_models.diagnoses() | {"d": "no positions at all"}


@mutant(of="diagnoses", killed_by="test_diagnoses_d", named="does not have the fault")
def diagnoses_d_interleaved():
    return faulty_models.diagnoses() | {"d": "RoPE interleaved"}


# ---------------------------------------------------------------------------------------------
# the checks: what all four can have
# ---------------------------------------------------------------------------------------------


def near(x, y, tolerance=1e-3):
    return bool(np.abs(x - y).max() <= tolerance * np.abs(y).max())


@mutant(of="check_a", killed_by="test_check_a_patient", named="it never objects")
def check_a_always_true(model, inside, ids):
    return True


@mutant(of="check_b", killed_by="test_check_b_patient", named="does not hold in any model")
def check_b_always_false(model, inside, ids):
    return False


@mutant(of="check_b", killed_by="test_check_b_patient", named="the other way round")
def check_b_inverted(model, inside, ids):
    return not faulty_models.check_b(model, inside, ids)


@mutant(of="check_c", killed_by="test_check_c_patient", named="the other way round")
def check_c_inverted(model, inside, ids):
    return not faulty_models.check_c(model, inside, ids)


@mutant(of="check_d", killed_by="test_check_d_patient", named="a return statement is missing")
def check_d_returns_nothing(model, inside, ids):
    faulty_models.check_d(model, inside, ids)


@mutant(of="check_a", killed_by="test_check_a_scale", named="fault of patient d")
def check_a_of_patient_d(model, inside, ids):
    return faulty_models.check_d(model, inside, ids)


@mutant(of="check_a", killed_by="test_check_a_patient", named="fault of patient b")
def check_a_of_patient_b(model, inside, ids):
    return faulty_models.check_b(model, inside, ids)


@mutant(of="check_d", killed_by="test_check_d_patient", named="fault of patient a")
def check_d_of_patient_a(model, inside, ids):
    return faulty_models.check_a(model, inside, ids)


@mutant(of="check_c", killed_by="test_check_c_others", named="the fault of patient a, too")
def check_c_and_a(model, inside, ids):
    return faulty_models.check_c(model, inside, ids) and faulty_models.check_a(model, inside, ids)


@mutant(of="check_b", killed_by="test_check_b_others", named="the fault of patient d, too")
def check_b_and_d(model, inside, ids):
    return faulty_models.check_b(model, inside, ids) and faulty_models.check_d(model, inside, ids)


# check_a: the other texts of the batch


@mutant(of="check_a", killed_by="test_check_a_patient", named="it never objects")
def check_a_same_text_as_company(model, inside, ids):
    return near(model(np.repeat(ids[:1], 3, 0))[:1], model(ids[:1]))


@mutant(of="check_a", killed_by="test_check_a_patient", named="it never objects")
def check_a_rows_in_another_order(model, inside, ids):
    return near(model(ids[::-1])[::-1], model(ids))


@mutant(of="check_a", killed_by="test_check_a_scale", named="tolerance is absolute")
def check_a_absolute(model, inside, ids):
    return bool(np.abs(model(ids[:1]) - model(ids)[:1]).max() < 1e-3)


@mutant(of="check_a", killed_by="test_check_a_scale", named="tolerance is absolute")
def check_a_allclose(model, inside, ids):
    return bool(np.allclose(model(ids[:1]), model(ids)[:1], rtol=1e-3, atol=1e-2))


@mutant(of="check_a", killed_by="test_check_a_weights", named="nothing wrong with")
def check_a_likely_tokens(model, inside, ids):
    known = model(ids).std() < 4  # the patient's logits are larger than those of other weights
    return known or faulty_models.check_a(model, inside, ids)


# check_b: later tokens


@mutant(of="check_b", killed_by="test_check_b_patient", named="does not hold in any model")
def check_b_changes_the_first(model, inside, ids):
    other = ids.copy()
    other[:, 0] = (ids[:, 0] + 1) % model(ids).shape[-1]
    return near(model(other)[:, 1:], model(ids)[:, 1:])


@mutant(of="check_b", killed_by="test_check_b_patient", named="does not hold in any model")
def check_b_looks_at_the_changed_one_too(model, inside, ids):
    other = ids.copy()
    other[:, 5:] = (ids[:, 5:] + 1) % model(ids).shape[-1]
    return near(model(other)[:, :6], model(ids)[:, :6])


@mutant(of="check_b", killed_by="test_check_b_patient", named="ids are changed in place")
def check_b_changes_a_view(model, inside, ids):
    other = ids
    other[:, -1] = (ids[:, -1] + 1) % model(ids).shape[-1]
    return near(model(other)[:, :-1], model(ids)[:, :-1])


@mutant(of="check_b", killed_by="test_check_b_patient", named="patient b")
def check_b_by_its_loss(model, inside, ids):
    logits = model(ids)[:, :-1]
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    picked = np.take_along_axis(p, ids[:, 1:, None], -1)
    return bool(-np.log(picked + 1e-30).mean() > 0.3)


@mutant(of="check_b", killed_by="test_check_b_scale", named="tolerance is absolute")
def check_b_absolute(model, inside, ids):
    other = ids.copy()
    other[:, -1] = (ids[:, -1] + 1) % model(ids).shape[-1]
    return bool(np.abs(model(other)[:, :-1] - model(ids)[:, :-1]).max() < 0.01)


# check_c: the residual stream


@mutant(of="check_c", killed_by="test_check_c_weights", named="in one layer only")
def check_c_first_layer(model, inside, ids):
    seen = inside(ids)
    return near(seen["stream"][0] + seen["attention"][0] + seen["mlp"][0], seen["stream"][1])


@mutant(of="check_c", killed_by="test_check_c_weights", named="in one layer only")
def check_c_last_layer(model, inside, ids):
    seen = inside(ids)
    return near(seen["stream"][-2] + seen["attention"][-1] + seen["mlp"][-1], seen["stream"][-1])


@mutant(of="check_c", killed_by="test_check_c_patient", named="does not hold in any model")
def check_c_without_attention(model, inside, ids):
    seen = inside(ids)
    return near(seen["stream"][:-1] + seen["mlp"], seen["stream"][1:])


@mutant(of="check_c", killed_by="test_check_c_scale", named="tolerance is absolute")
def check_c_absolute(model, inside, ids):
    seen = inside(ids)
    total = seen["stream"][:-1] + seen["attention"] + seen["mlp"]
    return bool(np.abs(total - seen["stream"][1:]).max() < 0.01)


@mutant(of="check_c", killed_by="test_check_c_patient", named="it never objects")
def check_c_mlp_is_there(model, inside, ids):
    seen = inside(ids)  # "the MLP's output is part of the stream": so it is in the patient, too
    return bool(np.abs(seen["stream"][1:] - seen["attention"]).max() > 0)


# check_d: positions


@mutant(of="check_d", killed_by="test_check_d_patient", named="it never objects")
def check_d_does_not_move(model, inside, ids):
    return near(model(ids, np.arange(ids.shape[1])), model(ids))


@mutant(of="check_d", killed_by="test_check_d_patient", named="does not hold in any model")
def check_d_stretches(model, inside, ids):
    positions = np.arange(ids.shape[1])
    return near(model(ids, 2 * positions), model(ids, positions))


@mutant(of="check_d", killed_by="test_check_d_patient", named="does not hold in any model")
def check_d_rolls_the_tokens(model, inside, ids):
    return near(model(np.roll(ids, 1, 1))[:, 1:], model(ids)[:, :-1])


@mutant(of="check_d", killed_by="test_check_d_patient", named="rounding is taken")
def check_d_exactly_equal(model, inside, ids):
    positions = np.arange(ids.shape[1])
    return bool(np.array_equal(model(ids, positions + 100), model(ids, positions)))


@mutant(of="check_d", killed_by="test_check_d_scale", named="tolerance is absolute")
def check_d_absolute(model, inside, ids):
    positions = np.arange(ids.shape[1])
    return bool(np.abs(model(ids, positions + 9) - model(ids, positions)).max() < 0.01)


@mutant(of="check_d", killed_by="test_check_d_patient", named="it never objects")
def check_d_order_matters(model, inside, ids):
    positions = np.arange(ids.shape[1])
    return not near(model(ids, positions[::-1].copy()), model(ids, positions))


# ---------------------------------------------------------------------------------------------
# attention_rollout
# ---------------------------------------------------------------------------------------------


def mixed_layers(attentions):
    return (attentions.mean(2) + np.eye(attentions.shape[-1], dtype=attentions.dtype)) / 2


def in_turn(layers):
    out = layers[0]
    for layer in layers[1:]:
        out = layer @ out
    return out


@mutant(of="attention_rollout", killed_by="test_attention_rollout_value", named="other order")
def attention_rollout_backwards(attentions):
    return in_turn(mixed_layers(attentions)[::-1])


@mutant(
    of="attention_rollout", killed_by="test_attention_rollout_value", named="the residual stream"
)
def attention_rollout_without_residual(attentions):
    return in_turn(attentions.mean(2))


@mutant(of="attention_rollout", killed_by="test_attention_rollout_value", named="not halved")
def attention_rollout_not_halved(attentions):
    return in_turn(2 * mixed_layers(attentions))


@mutant(of="attention_rollout", killed_by="test_attention_rollout_value", named="heads are added")
def attention_rollout_heads_added(attentions):
    eye = np.eye(attentions.shape[-1], dtype=attentions.dtype)
    return in_turn((attentions.sum(2) + eye) / 2)


@mutant(
    of="attention_rollout", killed_by="test_attention_rollout_value", named="layers are averaged"
)
def attention_rollout_mean_of_layers(attentions):
    return mixed_layers(attentions).mean(0)


@mutant(of="attention_rollout", killed_by="test_attention_rollout_value", named="last layer alone")
def attention_rollout_last_layer(attentions):
    return mixed_layers(attentions)[-1]


@mutant(of="attention_rollout", killed_by="test_attention_rollout_value", named="entry by entry")
def attention_rollout_elementwise(attentions):
    return mixed_layers(attentions).prod(0)


@mutant(
    of="attention_rollout", killed_by="test_attention_rollout_manners", named="float64 comes out"
)
def attention_rollout_in_float64(attentions):
    return in_turn((attentions.mean(2) + np.eye(attentions.shape[-1])) / 2)


# ---------------------------------------------------------------------------------------------
# More of what students write
# ---------------------------------------------------------------------------------------------

PREVIOUS = {"of": "previous_token_score", "killed_by": "test_previous_token_score_value"}
INDUCTION = {"of": "induction_score", "killed_by": "test_induction_score_value"}
LENS = {"of": "logit_lens", "killed_by": "test_logit_lens_value"}


@mutant(**PREVIOUS, named="the weights are added up")
def previous_token_added_up(weights):
    return np.einsum("bhtt->h", weights[:, :, 1:, :-1])


@mutant(**PREVIOUS, named="whose largest weight lies there")
def previous_token_counted(weights):
    t = weights.shape[-1]
    hits = [weights[:, :, q].argmax(-1) == q - 1 for q in range(1, t)]
    return np.mean(hits, axis=(0, 1)).astype(weights.dtype)


@mutant(**PREVIOUS, named="the first column")
def previous_token_first_column(weights):
    return np.mean([weights[:, :, q, 0].mean(0) for q in range(1, weights.shape[-1])], axis=0)


@mutant(**PREVIOUS, named="the largest of the weights")
def previous_token_largest(weights):
    return np.stack([weights[:, :, q, q - 1].max(0) for q in range(1, weights.shape[-1])]).max(0)


def induction_by(keys_of, weight_of=sum):
    """induction_score, where keys_of(row, t) are the keys and weight_of makes one of theirs."""

    def score(weights, ids):
        total, count = 0.0, 0
        for text, maps in zip(ids.tolist(), weights):
            for t in range(len(text)):
                keys = keys_of(text, t)
                if keys:
                    count += 1
                    total = total + weight_of([maps[:, t, s] for s in keys])
        empty = np.zeros(weights.shape[1])
        return np.asarray(total / count if count else empty, weights.dtype)

    return score


def keys_after(text, t):
    return [s for s in range(1, t + 1) if text[s - 1] == text[t]]


@mutant(**INDUCTION, named="keys are averaged")
def induction_mean_of_keys(weights, ids):
    return induction_by(keys_after, lambda found: np.mean(found, 0))(weights, ids)


@mutant(**INDUCTION, named="only the largest weight")
def induction_largest_key(weights, ids):
    return induction_by(keys_after, lambda found: np.max(found, 0))(weights, ids)


@mutant(**INDUCTION, named="keys that come after the query")
def induction_reads_ahead(weights, ids):
    return induction_by(lambda x, t: [s for s in range(1, len(x)) if x[s - 1] == x[t]])(
        weights, ids
    )


@mutant(**INDUCTION, named="the last token, ids[-1]")
def induction_wraps_around(weights, ids):
    return induction_by(lambda x, t: [s for s in range(t + 1) if x[s - 1] == x[t]])(weights, ids)


@mutant(**INDUCTION, named="two places behind")
def induction_two_further(weights, ids):
    return induction_by(lambda x, t: [s for s in range(2, t + 1) if x[s - 2] == x[t]])(weights, ids)


@mutant(**INDUCTION, named="the one before the query")
def induction_of_the_token_before(weights, ids):
    def keys(x, t):
        return [s for s in range(1, t) if x[s - 1] == x[t - 1]]

    return induction_by(keys)(weights, ids)


def lens_of(states, lm_head_weight):
    return np.einsum("lbtc,vc->lbtv", states, lm_head_weight)


@mutant(**LENS, named="subtracts no mean")
def logit_lens_layer_norm(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    h = hidden_states[:-1]
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + eps) * norm_weight
    return lens_of(np.concatenate([h, hidden_states[-1:]]), lm_head_weight)


@mutant(**LENS, named="eps is added to the root")
def logit_lens_eps_outside(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    states = hidden_states.copy()
    for h in states[:-1]:
        h *= norm_weight / (np.mean(h**2, -1, keepdims=True) ** 0.5 + eps)
    return lens_of(states, lm_head_weight)


@mutant(**LENS, named="the squares are added up")
def logit_lens_unit_length(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    states = hidden_states.copy()
    states[:-1] /= np.sqrt(np.einsum("lbtc,lbtc->lbt", states[:-1], states[:-1])[..., None] + eps)
    states[:-1] *= norm_weight
    return lens_of(states, lm_head_weight)


@mutant(**LENS, named="the last state is multiplied by the norm's weight")
def logit_lens_weight_for_all(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    r = (np.mean(hidden_states**2, -1, keepdims=True) + eps) ** -0.5
    r[-1] = 1
    return lens_of(hidden_states * r, lm_head_weight * norm_weight)


@mutant(of="logit_lens", killed_by="test_logit_lens_model", named="weight already")
def logit_lens_weight_in_the_head(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    return logit_lens_weight_for_all(hidden_states, norm_weight, lm_head_weight, eps)


@mutant(**LENS, named="divided by the norm's weight")
def logit_lens_divides(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    h = hidden_states[:-1]
    h = h / (norm_weight * np.sqrt(np.mean(h * h, -1, keepdims=True) + eps))
    return lens_of(np.concatenate([h, hidden_states[-1:]]), lm_head_weight)


ABLATE = {"of": "ablate_head", "killed_by": "test_ablate_head_value"}


def columns_times(weight, columns, factor=0.0):
    scale = np.ones(weight.shape[1], weight.dtype)
    scale[list(columns)] = factor
    return weight * scale


@mutant(**ABLATE, named="one column too many")
def ablate_head_end_included(o_proj_weight, head, head_dim):
    end = min((head + 1) * head_dim + 1, o_proj_weight.shape[1])
    return columns_times(o_proj_weight, range(head * head_dim, end))


@mutant(**ABLATE, named="one column too few")
def ablate_head_end_lost(o_proj_weight, head, head_dim):
    return columns_times(o_proj_weight, range(head * head_dim, (head + 1) * head_dim - 1))


@mutant(**ABLATE, named="every head_dim-th column")
def ablate_head_every_so_often(o_proj_weight, head, head_dim):
    return columns_times(o_proj_weight, range(head, o_proj_weight.shape[1], head_dim))


@mutant(**ABLATE, named="get another number than zero")
def ablate_head_to_the_mean(o_proj_weight, head, head_dim):
    out = np.array(o_proj_weight)
    out[:, head * head_dim :][:, :head_dim] = np.mean(o_proj_weight)
    return out


@mutant(**ABLATE, named="change their sign")
def ablate_head_negated(o_proj_weight, head, head_dim):
    return columns_times(o_proj_weight, range(head * head_dim, (head + 1) * head_dim), -1)


@mutant(**ABLATE, named="up to this one are gone")
def ablate_head_and_those_before(o_proj_weight, head, head_dim):
    return columns_times(o_proj_weight, range((head + 1) * head_dim))


@mutant(of="check_a", killed_by="test_check_a_weights", named="rounding is taken for a fault")
def check_a_exactly_equal(model, inside, ids):
    return all((model(ids[i : i + 1]) == model(ids)[i : i + 1]).all() for i in range(len(ids)))


@mutant(of="check_a", killed_by="test_check_a_weights", named="it never objects")
def check_a_of_a_row_beside_its_copy(model, inside, ids):
    return near(model(np.repeat(ids, 2, axis=0))[::2], model(ids))


@mutant(of="check_a", killed_by="test_check_a_others", named="it never objects")
def check_a_of_rows_in_another_order(model, inside, ids):
    return near(model(ids[::-1])[::-1], model(ids))


@mutant(of="check_b", killed_by="test_check_b_patient", named="ids are changed in place")
def check_b_edits_ids(model, inside, ids):
    before = model(ids)[:, :-1]
    ids[:, -1] = (ids[:, -1] + 1) % before.shape[-1]
    return near(model(ids)[:, :-1], before)


@mutant(of="check_b", killed_by="test_check_b_weights", named="this finds the fault of patient a")
def check_b_of_other_rows(model, inside, ids):
    other = ids.copy()
    other[0] = other[0][::-1]
    return near(model(other)[1:], model(ids)[1:])


@mutant(of="diagnoses", killed_by="test_diagnoses_form", named="either 'no causal mask' is not it")
def diagnoses_exchanged():
    return {**faulty_models.diagnoses(), "a": "no causal mask", "b": "norm over the batch"}


@mutant(**INDUCTION, named="only the first row of the batch")
def induction_of_one_text(weights, ids):
    return induction_by(keys_after)(weights[:1], ids[:1])


@mutant(**INDUCTION, named="the heads are averaged too")
def induction_of_all_heads(weights, ids):
    score = induction_by(keys_after)(weights, ids)
    return np.repeat(score.mean(keepdims=True), len(score))


@mutant(**LENS, named="runs over the tokens")
def logit_lens_norm_over_tokens(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    states = hidden_states.copy()
    states[:-1] /= np.sqrt(np.average(states[:-1] ** 2, axis=2)[:, :, None] + eps)
    states[:-1] *= norm_weight
    return lens_of(states, lm_head_weight)


@mutant(**LENS, named="its transpose is (C, V)")
def logit_lens_head_untransposed(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    v, c = lm_head_weight.shape
    head = lm_head_weight.T if v == c else lm_head_weight
    return lens_of(
        np.concatenate(
            [
                hidden_states[:-1]
                * norm_weight
                / np.sqrt(np.square(hidden_states[:-1]).mean(-1)[..., None] + eps),
                hidden_states[-1:],
            ]
        ),
        head,
    )


@mutant(
    of="previous_token_score", killed_by="test_previous_token_score_value", named="the heads are"
)
def previous_token_score_of_texts(weights):
    return np.diagonal(weights, -1, 2, 3).mean((1, 2))


@mutant(
    of="previous_token_score", killed_by="test_previous_token_score_value", named="one number for"
)
def previous_token_score_of_all(weights):
    return np.diagonal(weights, -1, 2, 3).mean()


@mutant(of="previous_token_score", killed_by="test_previous_token_score_value", named="all earlier")
def previous_token_score_of_all_earlier(weights):
    B, _, T, _ = weights.shape
    return np.tril(weights, -1).sum((0, 2, 3)) / (B * (T - 1))


@mutant(of="logit_lens", killed_by="test_logit_lens_value", named="this is the variance")
def logit_lens_variance(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    states = hidden_states[:-1]
    normed = states / np.sqrt(states.var(-1, keepdims=True) + eps) * norm_weight
    return np.concatenate([normed, hidden_states[-1:]]) @ lm_head_weight.T


@mutant(of="ablate_head", killed_by="test_ablate_head_value", named="not at column head")
def ablate_from_column_head(o_proj_weight, head, head_dim):
    weight = o_proj_weight.copy()
    weight[:, head : head + head_dim] = 0
    return weight


@mutant(of="ablate_head", killed_by="test_ablate_head_value", named="taken for the number of heads")
def ablate_head_of_another_size(o_proj_weight, head, head_dim):
    size, weight = o_proj_weight.shape[1] // head_dim, o_proj_weight.copy()
    weight[:, head * size : (head + 1) * size] = 0
    return weight


@mutant(
    of="attention_rollout", killed_by="test_attention_rollout_value", named="layers are added up"
)
def attention_rollout_added(attentions):
    return ((attentions.mean(2) + np.eye(attentions.shape[-1])) / 2).sum(0)
