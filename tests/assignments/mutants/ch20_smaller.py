"""Plausible wrong solutions of chapter 20."""

import numpy as np

from tinyqwen.course import mutant, reference

kl_divergence = reference("kl_divergence")
head_importance = reference("head_importance")
wanda_score = reference("wanda_score")
sparsity_mask = reference("sparsity_mask")
two_four_mask = reference("two_four_mask")
angular_distance = reference("angular_distance")


# ---------------------------------------------------------------------------------------------
# kl_divergence
# ---------------------------------------------------------------------------------------------


def log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def rows_that_count(logits, labels):
    return np.ones(logits.shape[:-1], bool) if labels is None else np.asarray(labels) != -100


def diverging(killed_by, named):
    return mutant(of="kl_divergence", killed_by=f"test_kl_divergence_{killed_by}", named=named)


def with_rows(rows_of, factor=lambda t: t * t):
    """A wrong value with the right gradient."""

    def wrong(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
        _, vjp = kl_divergence(logits, teacher_logits, labels, temperature, num_items)
        counts = rows_that_count(logits, labels)
        rows = rows_of(logits, teacher_logits, temperature)
        n = num_items or max(1, counts.sum())
        return np.asarray(factor(temperature) * (rows * counts).sum() / n, logits.dtype), vjp

    return wrong


@diverging("value", "the other way round")
def kl_reversed(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    def rows(z, t, T):
        q, p = log_softmax(z / T), log_softmax(t / T)
        return (np.exp(q) * (q - p)).sum(-1)

    return with_rows(rows)(logits, teacher_logits, labels, temperature, num_items)


@diverging("value", "T² is missing")
def kl_without_t_squared(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    loss, vjp = kl_divergence(logits, teacher_logits, labels, temperature, num_items)
    return loss / temperature**2, vjp


@diverging("value", "the factor is T; it is T²")
def kl_with_t(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    loss, vjp = kl_divergence(logits, teacher_logits, labels, temperature, num_items)
    return loss / temperature, vjp


@diverging("value", "temperature is not used")
def kl_without_temperature(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    return kl_divergence(logits, teacher_logits, labels, 1.0, num_items)


@diverging("value", "they are divided")
def kl_multiplies(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    def rows(z, t, T):
        q, p = log_softmax(z * T), log_softmax(t * T)
        return (np.exp(p) * (p - q)).sum(-1)

    return with_rows(rows)(logits, teacher_logits, labels, temperature, num_items)


@diverging("value", "only the student's logits")
def kl_sharp_teacher(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    return kl_divergence(logits, teacher_logits * temperature, labels, temperature, num_items)


@diverging("value", "this is the cross-entropy")
def kl_is_cross_entropy(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    def rows(z, t, T):
        return -(np.exp(log_softmax(t / T)) * log_softmax(z / T)).sum(-1)

    return with_rows(rows)(logits, teacher_logits, labels, temperature, num_items)


@diverging("value", "the mean over the vocabulary")
def kl_mean_over_tokens(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    loss, vjp = kl_divergence(logits, teacher_logits, labels, temperature, num_items)
    return loss / logits.shape[-1], vjp


@diverging("value", "likeliest token alone")
def kl_of_hard_targets(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    def rows(z, t, T):
        best = t.argmax(-1)[..., None]
        return -np.take_along_axis(log_softmax(z / T), best, -1)[..., 0]

    return with_rows(rows)(logits, teacher_logits, labels, temperature, num_items)


@diverging("value", "not divided by their number")
def kl_summed(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    return kl_divergence(logits, teacher_logits, labels, temperature, num_items or 1)


@diverging("rows", "rows labeled -100 count")
def kl_counts_all_rows(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    return kl_divergence(logits, teacher_logits, None, temperature, num_items)


@diverging("rows", "counted in the divisor")
def kl_divides_by_all_rows(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    n = num_items or rows_that_count(logits, labels).size
    return kl_divergence(logits, teacher_logits, labels, temperature, n)


@diverging("rows", "num_items is not used")
def kl_without_num_items(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    return kl_divergence(logits, teacher_logits, labels, temperature)


@diverging("large", "kept away from 0")
def kl_with_a_floor_under_q(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    def rows(z, t, T):
        q, p = np.exp(log_softmax(z / T)), np.exp(log_softmax(t / T))
        return (p * (np.log(np.maximum(p, 1e-12)) - np.log(q + 1e-12))).sum(-1)

    return with_rows(rows)(logits, teacher_logits, labels, temperature, num_items)


@diverging("large", "subtract")
def kl_overflows(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    def rows(z, t, T):
        q, p = (np.exp(x / T) / np.exp(x / T).sum(-1, keepdims=True) for x in (z, t))
        return (p * (np.log(p) - np.log(q))).sum(-1)

    with np.errstate(all="ignore"):
        return with_rows(rows)(logits, teacher_logits, labels, temperature, num_items)


def with_gradient(change):
    def wrong(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
        loss, vjp = kl_divergence(logits, teacher_logits, labels, temperature, num_items)
        counts = rows_that_count(logits, labels)
        q, p = (np.exp(log_softmax(x / temperature)) for x in (logits, teacher_logits))
        n = num_items or max(1, counts.sum())
        return loss, lambda g: (change(vjp(g)[0], g, q, p, temperature, counts, n),)

    return wrong


@diverging("vjp", "the sign is wrong")
def kl_vjp_teacher_minus_student(
    logits, teacher_logits, labels=None, temperature=1.0, num_items=None
):
    change = lambda d, g, q, p, T, c, n: -d  # noqa: E731
    return with_gradient(change)(logits, teacher_logits, labels, temperature, num_items)


@diverging("vjp", "takes one T away")
def kl_vjp_with_t_squared(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    change = lambda d, g, q, p, T, c, n: d * T  # noqa: E731
    return with_gradient(change)(logits, teacher_logits, labels, temperature, num_items)


@diverging("vjp", "the factor T is missing")
def kl_vjp_without_t(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    change = lambda d, g, q, p, T, c, n: d / T  # noqa: E731
    return with_gradient(change)(logits, teacher_logits, labels, temperature, num_items)


@diverging("vjp", "have a gradient; theirs is 0")
def kl_vjp_of_all_rows(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    change = lambda d, g, q, p, T, c, n: g * T * (q - p) / n  # noqa: E731
    return with_gradient(change)(logits, teacher_logits, labels, temperature, num_items)


@diverging("vjp", "softmax comes after it")
def kl_vjp_of_probabilities(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    change = lambda d, g, q, p, T, c, n: -g * T * p / q * c[..., None] / n  # noqa: E731
    return with_gradient(change)(logits, teacher_logits, labels, temperature, num_items)


@diverging("vjp", "g is not used")
def kl_vjp_ignores_g(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    loss, vjp = kl_divergence(logits, teacher_logits, labels, temperature, num_items)
    return loss, lambda g: vjp(1.0)


@diverging("manners", "float64")
def kl_in_float64(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    loss, vjp = kl_divergence(logits, teacher_logits, labels, temperature, num_items)
    return np.asarray(loss, np.float64), vjp


# ---------------------------------------------------------------------------------------------
# head_importance
# ---------------------------------------------------------------------------------------------


def weighing(named, killed_by="test_head_importance_value"):
    return mutant(of="head_importance", killed_by=killed_by, named=named)


@weighing("absolute values are taken before the sum")
def importance_of_entries(output, gradient):
    return np.abs(output * gradient).sum((2, 3)).mean(0)


@weighing("texts that disagree cancel")
def importance_of_the_mean(output, gradient):
    return np.abs((output * gradient).sum((2, 3)).mean(0))


@weighing("the absolute value is missing")
def importance_with_sign(output, gradient):
    return (output * gradient).sum((2, 3)).mean(0)


@weighing("their mean is asked for")
def importance_summed_over_texts(output, gradient):
    return np.abs((output * gradient).sum((2, 3))).sum(0)


@weighing("they are summed")
def importance_of_mean_entries(output, gradient):
    return np.abs((output * gradient).mean((2, 3))).mean(0)


@weighing("of each token")
def importance_of_tokens(output, gradient):
    return np.abs((output * gradient).sum(3)).sum(2).mean(0)


@weighing("this is the gradient alone")
def importance_without_output(output, gradient):
    return np.abs(gradient.sum((2, 3))).mean(0)


@weighing("this is the output alone")
def importance_without_gradient(output, gradient):
    return np.abs(output.sum((2, 3))).mean(0)


@weighing("squares are taken")
def importance_squared(output, gradient):
    return ((output * gradient).sum((2, 3)) ** 2).mean(0)


@weighing("the heads are axis 1")
def importance_of_places(output, gradient):
    return np.abs((output * gradient).sum((1, 3))).mean(0)


# ---------------------------------------------------------------------------------------------
# wanda_score
# ---------------------------------------------------------------------------------------------


def scoring(named):
    return mutant(of="wanda_score", killed_by="test_wanda_score_value", named=named)


@scoring("sign is kept")
def score_with_sign(weight, input_norms):
    return weight * input_norms


@scoring("norms are not used")
def score_of_magnitude(weight, input_norms):
    return np.abs(weight)


@scoring("norms are squared")
def score_with_squared_norms(weight, input_norms):
    return np.abs(weight) * input_norms**2


@scoring("this is the square")
def score_squared(weight, input_norms):
    return weight**2 * input_norms**2


@scoring("weights are squared")
def score_with_squared_weights(weight, input_norms):
    return weight**2 * input_norms


@scoring("it is divided by the norm")
def score_divided(weight, input_norms):
    return np.abs(weight) / input_norms


@scoring("the columns")
def score_by_rows(weight, input_norms):
    norms = np.resize(input_norms, len(weight))
    return np.abs(weight) * norms[:, None]


@scoring("each weight has its own")
def score_of_outputs(weight, input_norms):
    return (np.abs(weight) * input_norms).sum(1)


@scoring("rows are pruned one by one")
def score_relative_to_its_row(weight, input_norms):
    score = np.abs(weight) * input_norms
    return score / score.sum(1, keepdims=True)


@scoring("they are multiplied")
def score_added(weight, input_norms):
    return np.abs(weight) + input_norms


# ---------------------------------------------------------------------------------------------
# sparsity_mask
# ---------------------------------------------------------------------------------------------


def masking(named):
    return mutant(of="sparsity_mask", killed_by="test_sparsity_mask_value", named=named)


@masking("other way round")
def mask_of_those_that_go(score, sparsity):
    return ~sparsity_mask(score, sparsity)


@masking("the highest scores go")
def mask_drops_the_highest(score, sparsity):
    return sparsity_mask(-score, sparsity)


@masking("of the whole matrix")
def mask_over_the_matrix(score, sparsity):
    return sparsity_mask(score.reshape(1, -1), sparsity).reshape(score.shape)


@masking("of every column")
def mask_by_columns(score, sparsity):
    return sparsity_mask(score.T, sparsity).T


@masking("the share that stays")
def mask_of_density(score, sparsity):
    return sparsity_mask(score, 1 - sparsity)


@masking("equal ones with it")
def mask_up_to_the_limit(score, sparsity):
    count = int(sparsity * score.shape[1] + 1e-9)
    if not count:
        return np.ones(score.shape, bool)
    return score > np.sort(score, axis=1)[:, [count - 1]]


@masking("no fewer")
def mask_from_the_limit_on(score, sparsity):
    count = int(sparsity * score.shape[1] + 1e-9)
    return score >= np.sort(score, axis=1)[:, [count]]


@masking("of equal scores the last ones go")
def mask_drops_the_last_of_equals(score, sparsity):
    return sparsity_mask(score[:, ::-1], sparsity)[:, ::-1]


@masking("rounded up")
def mask_rounds_up(score, sparsity):
    count = int(np.ceil(sparsity * score.shape[1] - 1e-9))
    return sparsity_mask(score, count / score.shape[1])


@masking("too few go where 29 are meant")
def mask_believes_the_floating_point(score, sparsity):
    count = int(sparsity * score.shape[1])
    return sparsity_mask(score, count / score.shape[1])


@masking("ones and zeros")
def mask_of_numbers(score, sparsity):
    return sparsity_mask(score, sparsity).astype(int)


# ---------------------------------------------------------------------------------------------
# two_four_mask
# ---------------------------------------------------------------------------------------------


def of_four(named):
    return mutant(of="two_four_mask", killed_by="test_two_four_mask_value", named=named)


@of_four("other way round")
def four_of_those_that_go(score):
    return ~two_four_mask(score)


@of_four("two lowest of four stay")
def four_keeps_the_lowest(score):
    return two_four_mask(-score)


@of_four("half of each row stays")
def four_of_the_whole_row(score):
    return sparsity_mask(score, 0.5)


@of_four("equal to the limit all go")
def four_above_the_median(score):
    fours = score.reshape(-1, 4)
    return (fours > np.median(fours, axis=1, keepdims=True)).reshape(score.shape)


@of_four("in a column")
def four_in_a_column(score):
    if len(score) % 4:
        return two_four_mask(score)
    return two_four_mask(np.ascontiguousarray(score.T)).T


@of_four("one of each two")
def four_as_pairs(score):
    return sparsity_mask(score.reshape(-1, 2), 0.5).reshape(score.shape)


@of_four("side by side")
def four_with_strides(score):
    fours = score.reshape(len(score), 4, -1).swapaxes(1, 2)
    mask = sparsity_mask(fours.reshape(-1, 4), 0.5).reshape(fours.shape)
    return mask.swapaxes(1, 2).reshape(score.shape)


@of_four("three of each four stay")
def four_drops_one(score):
    return sparsity_mask(score.reshape(-1, 4), 0.25).reshape(score.shape)


@of_four("one of each four stays")
def four_drops_three(score):
    return sparsity_mask(score.reshape(-1, 4), 0.75).reshape(score.shape)


@of_four("of equal scores the last ones go")
def four_drops_the_last_of_equals(score):
    return two_four_mask(score[:, ::-1])[:, ::-1]


@of_four("equal scores stay together")
def four_from_the_limit_on(score):
    fours = score.reshape(-1, 4)
    return (fours >= np.sort(fours, axis=1)[:, [2]]).reshape(score.shape)


@of_four("keeps the shape")
def four_in_another_shape(score):
    return two_four_mask(score).reshape(-1, 4)


# ---------------------------------------------------------------------------------------------
# angular_distance
# ---------------------------------------------------------------------------------------------


def turning(named):
    return mutant(of="angular_distance", killed_by="test_angular_distance_value", named=named)


@turning("in radians")
def angle_in_radians(x, y):
    return angular_distance(x, y) * np.pi


@turning("in degrees")
def angle_in_degrees(x, y):
    return angular_distance(x, y) * 180


def cosine(x, y):
    return (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)


@turning("no mean of angles")
def angle_of_the_mean_cosine(x, y):
    return np.arccos(np.clip(cosine(x, y).mean(), -1, 1)) / np.pi


@turning("1 - cosine")
def angle_is_cosine_distance(x, y):
    return (1 - cosine(x, y)).mean()


@turning("an angle for each row")
def angle_of_each_row(x, y):
    return np.arccos(np.clip(cosine(x, y), -1, 1)) / np.pi


@turning("lengths are not divided out")
def angle_without_lengths(x, y):
    return np.arccos(np.clip((x * y).sum(-1), -1, 1)).mean() / np.pi


@turning("one long vector")
def angle_of_all_rows_at_once(x, y):
    return angular_distance(x.reshape(1, -1), y.reshape(1, -1))


@turning("clip it to -1")
def angle_without_clip(x, y):
    with np.errstate(invalid="ignore"):
        return np.arccos(cosine(x, y)).mean() / np.pi
