"""Plausible wrong solutions of chapter 10."""

import math

import numpy as np

from tinyqwen.course import mutant, reference

cross_entropy, adamw_step = reference("cross_entropy"), reference("adamw_step")
cosine_with_warmup, clip_by_global_norm = (
    reference("cosine_with_warmup"),
    reference("clip_by_global_norm"),
)


# ---------------------------------------------------------------------------------------------
# cross_entropy
# ---------------------------------------------------------------------------------------------


def parts(logits, labels, ignore_index=-100, num_items=None):
    """p (rows, V), y (rows, V), which rows count (rows, 1), and the divisor."""
    rows, flat = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    e = np.exp(rows - rows.max(-1, keepdims=True))
    keep = (flat != ignore_index)[:, None]
    y = np.eye(rows.shape[-1], dtype=rows.dtype)[np.where(keep[:, 0], flat, 0)]
    return e / e.sum(-1, keepdims=True), y, keep, float(num_items or max(1, keep.sum()))


def loss_of(p, y, keep, count):
    return np.asarray(-(np.log((p * y).sum(-1)) * keep[:, 0]).sum() / count, p.dtype)


def gradient_mutant(named, killed_by="test_cross_entropy_vjp"):
    """A mutant whose gradient is change(p, y, keep, count), and whose loss is right."""

    def declare(change):
        def cross_entropy_mutant(logits, labels, ignore_index=-100, label_smoothing=0.0, **options):
            out = cross_entropy(logits, labels, ignore_index=ignore_index, **options)[0]
            dlogits = change(*parts(logits, labels, ignore_index, **options))
            return out, lambda g: ((g * dlogits).reshape(logits.shape).astype(logits.dtype),)

        cross_entropy_mutant.__name__ = change.__name__
        return mutant(of="cross_entropy", killed_by=killed_by, named=named)(cross_entropy_mutant)

    return declare


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="not divided by their")
def cross_entropy_sum(logits, labels, ignore_index=-100, num_items=None, **_):
    return cross_entropy(logits, labels, ignore_index, num_items=num_items or 1)


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="logarithm has base 2")
def cross_entropy_in_bits(logits, labels, **options):
    loss, vjp = cross_entropy(logits, labels, **options)
    return loss / logits.dtype.type(math.log(2)), vjp


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="labels are shifted here")
def labels_shifted_twice(logits, labels, **options):
    if labels.ndim == 0:
        return cross_entropy(logits, labels, **options)
    return cross_entropy(logits[..., :-1, :], labels[..., 1:], **options)


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="size of the vocabulary")
def cross_entropy_mean_over_everything(logits, labels, **options):
    p, y, _, _ = parts(logits, labels)
    return np.asarray(-(y * np.log(p)).mean(), p.dtype), cross_entropy(logits, labels, **options)[1]


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="over all rows together")
def cross_entropy_global_softmax(logits, labels, **options):
    rows = logits.reshape(-1, logits.shape[-1])
    picked = rows[np.arange(len(rows)), labels.reshape(-1)]
    total = np.log(np.exp(rows).sum())
    return np.asarray((total - picked).mean(), rows.dtype), cross_entropy(
        logits, labels, **options
    )[1]


@mutant(of="cross_entropy", killed_by="test_cross_entropy_ignore", named="over all rows; only")
def mean_over_ignored_labels(logits, labels, ignore_index=-100, num_items=None, **_):
    return cross_entropy(logits, labels, ignore_index, num_items=num_items or max(1, labels.size))


@mutant(of="cross_entropy", killed_by="test_cross_entropy_ignore", named="ignore_index is not used")
def cross_entropy_ignores_100_only(logits, labels, ignore_index=-100, **options):
    return cross_entropy(logits, labels, **options)


@mutant(of="cross_entropy", killed_by="test_cross_entropy_ignore", named="a division 0 / 0")
def cross_entropy_nothing_counts(logits, labels, ignore_index=-100, num_items=None, **_):
    count = np.float64(num_items or (labels != ignore_index).sum())
    loss, vjp = cross_entropy(logits, labels, ignore_index, num_items=1)
    return np.asarray(loss / count, logits.dtype), lambda g: vjp(g / float(count))


@mutant(of="cross_entropy", killed_by="test_cross_entropy_num_items", named="num_items is not used")
def cross_entropy_without_num_items(logits, labels, num_items=None, **options):
    return cross_entropy(logits, labels, **options)


@mutant(of="cross_entropy", killed_by="test_cross_entropy_num_items", named="once more")
def cross_entropy_divides_twice(logits, labels, num_items=None, **options):
    loss, vjp = cross_entropy(logits, labels, **options)
    return np.asarray(loss / (num_items or 1), logits.dtype), vjp


@mutant(of="cross_entropy", killed_by="test_cross_entropy_large", named="NaN")
def softmax_without_max(logits, labels, ignore_index=-100, num_items=None, **_):
    p, y, keep, count = parts(logits, labels, ignore_index, num_items)
    e = np.exp(logits.reshape(p.shape))
    loss = loss_of(e / e.sum(-1, keepdims=True), y, keep, count)
    return loss, cross_entropy(logits, labels, ignore_index, num_items=num_items)[1]


@mutant(of="cross_entropy", killed_by="test_cross_entropy_large", named="infinity")
def log_of_softmax(logits, labels, ignore_index=-100, num_items=None, **_):
    loss = loss_of(*parts(logits, labels, ignore_index, num_items))
    return loss, cross_entropy(logits, labels, ignore_index, num_items=num_items)[1]


@mutant(of="cross_entropy", killed_by="test_cross_entropy_large", named="p is kept away from 0")
def log_of_clipped_softmax(logits, labels, ignore_index=-100, num_items=None, **_):
    p, y, keep, count = parts(logits, labels, ignore_index, num_items)
    loss = loss_of(np.maximum(p, 1e-12), y, keep, count)
    return loss, cross_entropy(logits, labels, ignore_index, num_items=num_items)[1]


@gradient_mutant("not divided by the number of rows")
def cross_entropy_vjp_of_the_sum(p, y, keep, count):
    return (p - y) * keep


@gradient_mutant("this is y - p")
def cross_entropy_vjp_upside_down(p, y, keep, count):
    return (y - p) * keep / count


@gradient_mutant("y is missing")
def cross_entropy_vjp_without_y(p, y, keep, count):
    return p * keep / count


@gradient_mutant("only the label's entry")
def cross_entropy_vjp_at_the_label_only(p, y, keep, count):
    return (p - y) * y * keep / count


@gradient_mutant("rows that do not count have a gradient", "test_cross_entropy_ignore")
def cross_entropy_vjp_of_ignored_rows(p, y, keep, count):
    return (p - y * keep) / count


@gradient_mutant("rows that do not count have the gradient", "test_cross_entropy_ignore")
def cross_entropy_vjp_ignores_nothing(p, y, keep, count):
    """As if the label of such a row were 0."""
    return (p - y) / count


@gradient_mutant("the divisor", "test_cross_entropy_ignore")
def cross_entropy_vjp_divided_by_all(p, y, keep, count):
    return (p - y) * keep / len(keep)


@gradient_mutant("num_items is not used on the way back")
def cross_entropy_vjp_without_num_items(p, y, keep, count):
    return (p - y) * keep / max(1, keep.sum())


@mutant(of="cross_entropy", killed_by="test_cross_entropy_vjp", named="g is not used")
def cross_entropy_vjp_without_g(logits, labels, **options):
    loss, vjp = cross_entropy(logits, labels, **options)
    return loss, lambda g: vjp(np.ones_like(g))


@mutant(of="cross_entropy", killed_by="test_cross_entropy_manners", named="logits is changed")
def cross_entropy_edits_logits(logits, labels, **options):
    loss, vjp = cross_entropy(logits.copy(), labels, **options)
    logits -= logits.max(-1, keepdims=True)
    return loss, vjp


@mutant(of="cross_entropy", killed_by="test_cross_entropy_ignore", named="IndexError")
def cross_entropy_picks_minus_100(logits, labels, ignore_index=-100, **options):
    """-100 is used as an index; it costs the points of that test alone."""
    rows = logits.reshape(-1, logits.shape[-1])
    rows[np.arange(len(rows)), labels.reshape(-1)]
    return cross_entropy(logits, labels, ignore_index, **options)


@mutant(of="cross_entropy", killed_by="test_cross_entropy_ignore", named="labels is changed")
def cross_entropy_edits_labels(logits, labels, ignore_index=-100, **options):
    loss, vjp = cross_entropy(logits, labels.copy(), ignore_index, **options)
    labels[labels == ignore_index] = 0
    return loss, vjp


@mutant(of="cross_entropy", killed_by="test_cross_entropy_manners", named="or mask.sum()")
def cross_entropy_counts_in_numpy(logits, labels, ignore_index=-100, num_items=None, **_):
    loss, vjp = cross_entropy(logits, labels, ignore_index, num_items=1)
    count = num_items or max(1, (labels != ignore_index).sum())
    return loss[()] / count, lambda g: (vjp(g)[0] / count,)


@mutant(of="cross_entropy", killed_by="test_cross_entropy_manners", named="float64 comes out")
def cross_entropy_float64(logits, labels, **options):
    loss, vjp = cross_entropy(logits, labels, **options)
    return loss, lambda g: (vjp(g)[0] * np.float64(1),)


# ---------------------------------------------------------------------------------------------
# adamw_step
# ---------------------------------------------------------------------------------------------


def adamw_mutant(killed_by, named):
    return mutant(of="adamw_step", killed_by=killed_by, named=named)


@adamw_mutant("test_adamw_step_moments", "exchanged")
def adamw_betas_exchanged(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), **options):
    new, _, new_v = adamw_step(p, g, m, v, step, lr, betas, **options)
    return new, (1 - betas[0]) * m + betas[0] * g, new_v


@adamw_mutant("test_adamw_step_moments", "it is their squares")
def adamw_v_of_gradients(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), **options):
    new, new_m, _ = adamw_step(p, g, m, v, step, lr, betas, **options)
    return new, new_m, betas[1] * v + (1 - betas[1]) * g


@adamw_mutant("test_adamw_step_moments", "serves this step alone")
def adamw_returns_corrected_moments(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), **options):
    new, m, v = adamw_step(p, g, m, v, step, lr, betas, **options)
    return new, m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)


@adamw_mutant("test_adamw_step_value", "the corrections are missing")
def bias_correction_missing(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    _, m, v = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    return (1 - lr * weight_decay) * p - lr * m / (np.sqrt(v) + eps), m, v


@adamw_mutant("test_adamw_step_value", "the correction of v is missing")
def bias_correction_of_m_only(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    _, m, v = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    m_hat = m / (1 - betas[0] ** step)
    return (1 - lr * weight_decay) * p - lr * m_hat / (np.sqrt(v) + eps), m, v


@adamw_mutant("test_adamw_step_value", "one step ahead")
def bias_correction_counts_from_two(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    _, m, v = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    m_hat, v_hat = (x / (1 - b ** (step + 1)) for x, b in zip((m, v), betas))
    return (1 - lr * weight_decay) * p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


@adamw_mutant("test_adamw_step_value", "the old m is in the numerator")
def adamw_steps_with_the_old_m(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    _, new_m, new_v = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    m_hat, v_hat = m / (1 - betas[0] ** step), new_v / (1 - betas[1] ** step)
    return (1 - lr * weight_decay) * p - lr * m_hat / (np.sqrt(v_hat) + eps), new_m, new_v


@adamw_mutant("test_adamw_step_value", "lr and betas")
def adamw_betas_hard_coded(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    new, _, _ = adamw_step(p, g, m, v, step, eps=eps, weight_decay=weight_decay)
    return (new, *adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)[1:])


@adamw_mutant("test_adamw_step_decay", "which AdamW keeps apart")
def adamw_l2_not_decoupled(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    return adamw_step(p, g + weight_decay * p, m, v, step, lr, betas, eps, 0.0)


@adamw_mutant("test_adamw_step_decay", "lacks the factor lr")
def adamw_decay_without_lr(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    new, m, v = adamw_step(p, g, m, v, step, lr, betas, eps, 0.0)
    return new - weight_decay * p, m, v


@adamw_mutant("test_adamw_step_decay", "comes after the step")
def adamw_decay_after_the_step(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    new, m, v = adamw_step(p, g, m, v, step, lr, betas, eps, 0.0)
    return (1 - lr * weight_decay) * new, m, v


@adamw_mutant("test_adamw_step_eps", "inside the square root")
def eps_inside_sqrt(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    _, m, v = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return (1 - lr * weight_decay) * p - lr * m_hat / np.sqrt(v_hat + eps), m, v


@adamw_mutant("test_adamw_step_eps", "before the correction")
def eps_before_the_correction(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    correction = math.sqrt(1 - betas[1] ** step)
    return adamw_step(p, g, m, v, step, lr, betas, eps / correction, weight_decay)


@adamw_mutant("test_adamw_step_eps", "0 / 0")
def adamw_without_eps(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    return adamw_step(p, g, m, v, step, lr, betas, 0.0 if eps == 1e-8 else eps, weight_decay)


@adamw_mutant("test_adamw_step_manners", "changed in place")
def adamw_in_place(p, g, m, v, step, *args, **options):
    new = adamw_step(p, g, m, v, step, *args, **options)
    for array, changed in zip((p, m, v), new):
        array[...] = changed
    return p, m, v


@adamw_mutant("test_adamw_step_manners", "changed in place")
def adamw_clears_the_gradient(p, g, *args, **options):
    new = adamw_step(p, g, *args, **options)
    g[...] = 0
    return new


@adamw_mutant("test_adamw_step_manners", "float64 comes out")
def adamw_float64(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), *args, **options):
    new, m, v = adamw_step(p, g, m, v, step, lr, betas, *args, **options)
    return new * np.sqrt(np.float64(1.0)), m, v


# ---------------------------------------------------------------------------------------------
# cosine_with_warmup
# ---------------------------------------------------------------------------------------------


def schedule_mutant(killed_by, named):
    return mutant(of="cosine_with_warmup", killed_by=killed_by, named=named)


@schedule_mutant("test_cosine_with_warmup_warmup", "the first update is wasted")
def warmup_from_zero(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return rate * step / warmup_steps
    return cosine_with_warmup(step, rate, warmup_steps, total_steps, min_ratio)


@schedule_mutant("test_cosine_with_warmup_warmup", "one step too late")
def warmup_one_step_longer(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return rate * (step + 1) / (warmup_steps + 1)
    return cosine_with_warmup(step, rate, warmup_steps, total_steps, min_ratio)


@schedule_mutant("test_cosine_with_warmup_cosine", "one step ahead")
def schedule_off_by_one(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    later = step + 1 if step >= warmup_steps else step
    return cosine_with_warmup(later, rate, warmup_steps, total_steps, min_ratio)


@schedule_mutant("test_cosine_with_warmup_cosine", "one step too early")
def cosine_ends_one_step_early(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    last = max(warmup_steps, total_steps - 1)
    return cosine_with_warmup(step, rate, warmup_steps, last, min_ratio)


@schedule_mutant("test_cosine_with_warmup_cosine", "begins at step 0")
def cosine_from_step_zero(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return rate * (step + 1) / warmup_steps
    return cosine_with_warmup(step, rate, 0, total_steps, min_ratio)


@schedule_mutant("test_cosine_with_warmup_cosine", "min_ratio is not used")
def cosine_min_ratio_hard_coded(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    return cosine_with_warmup(step, rate, warmup_steps, total_steps)


@schedule_mutant("test_cosine_with_warmup_cosine", "cut off at the minimum")
def cosine_cut_off(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    falling = cosine_with_warmup(step, rate, warmup_steps, total_steps, 0.0)
    return max(falling, rate * min_ratio) if step >= warmup_steps else falling


@schedule_mutant("test_cosine_with_warmup_cosine", "begins above learning_rate")
def cosine_minimum_added(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    falling = cosine_with_warmup(step, rate, warmup_steps, total_steps, 0.0)
    return falling + rate * min_ratio if step >= warmup_steps else falling


@schedule_mutant("test_cosine_with_warmup_edges", "rises again")
def cosine_rises_again(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps or total_steps <= warmup_steps:
        return cosine_with_warmup(step, rate, warmup_steps, total_steps, min_ratio)
    x = (step - warmup_steps) / (total_steps - warmup_steps)
    return rate * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * x)))


@schedule_mutant("test_cosine_with_warmup_edges", "division by zero")
def cosine_divides_by_zero(step, rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return rate * (step + 1) / warmup_steps
    x = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
    return rate * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * x)))


# ---------------------------------------------------------------------------------------------
# clip_by_global_norm
# ---------------------------------------------------------------------------------------------


def clip_mutant(killed_by, named):
    return mutant(of="clip_by_global_norm", killed_by=killed_by, named=named)


@clip_mutant("test_clip_by_global_norm_value", "by its own norm")
def clip_per_tensor(gradients, max_norm):
    clipped = [clip_by_global_norm([g], max_norm)[0][0] for g in gradients]
    return clipped, clip_by_global_norm(gradients, max_norm)[1]


@clip_mutant("test_clip_by_global_norm_value", "cut off at max_norm")
def clip_by_value(gradients, max_norm):
    norm = clip_by_global_norm(gradients, max_norm)[1]
    return [np.clip(g, -max_norm, max_norm) for g in gradients], norm


@clip_mutant("test_clip_by_global_norm_value", "the norm after clipping")
def clip_returns_norm_after(gradients, max_norm):
    clipped, norm = clip_by_global_norm(gradients, max_norm)
    return clipped, min(norm, max_norm)


@clip_mutant("test_clip_by_global_norm_value", "their squares are")
def clip_adds_norms(gradients, max_norm):
    norm = sum(float(np.linalg.norm(g)) for g in gradients)
    scale = min(1.0, max_norm / (norm + 1e-6))
    return [g * scale for g in gradients], norm


@clip_mutant("test_clip_by_global_norm_value", "square root is missing")
def clip_without_root(gradients, max_norm):
    clipped, norm = clip_by_global_norm(gradients, max_norm)
    return clipped, norm**2


@clip_mutant("test_clip_by_global_norm_value", "max_norm is missing")
def clip_to_norm_one(gradients, max_norm):
    norm = clip_by_global_norm(gradients, max_norm)[1]
    return [g / norm if norm > max_norm else g for g in gradients], norm


@clip_mutant("test_clip_by_global_norm_small", "scaled up")
def clip_scales_up(gradients, max_norm):
    norm = clip_by_global_norm(gradients, max_norm)[1]
    scale = max_norm / (norm + 1e-6)
    return [g * scale for g in gradients], norm


@clip_mutant("test_clip_by_global_norm_small", "NaN")
def clip_divides_by_a_norm_of_zero(gradients, max_norm):
    norm = clip_by_global_norm(gradients, max_norm)[1]
    return [g / np.float64(norm) * min(norm, max_norm) for g in gradients], norm


@clip_mutant("test_clip_by_global_norm_manners", "changed in place")
def clip_in_place(gradients, max_norm):
    clipped, norm = clip_by_global_norm(gradients, max_norm)
    for g, new in zip(gradients, clipped):
        g[...] = new
    return gradients, norm


@clip_mutant("test_clip_by_global_norm_manners", "float64 comes out")
def clip_float64(gradients, max_norm):
    norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in gradients))
    return [g * np.minimum(1.0, max_norm / (norm + 1e-6)) for g in gradients], float(norm)


# ---------------------------------------------------------------------------------------------
# linear_cross_entropy
# ---------------------------------------------------------------------------------------------


linear_cross_entropy = reference("linear_cross_entropy")


@mutant(of="linear_cross_entropy", killed_by="test_linear_cross_entropy_value", named="by all rows")
def linear_cross_entropy_mean_over_all(hidden, weight, labels, ignore_index=-100):
    loss, vjp = linear_cross_entropy(hidden, weight, labels, ignore_index)
    return loss * np.mean(labels != ignore_index), vjp


@mutant(of="linear_cross_entropy", killed_by="test_linear_cross_entropy_value", named="not divided")
def linear_cross_entropy_sum(hidden, weight, labels, ignore_index=-100):
    loss, vjp = linear_cross_entropy(hidden, weight, labels, ignore_index)
    return loss * np.sum(labels != ignore_index), vjp


@mutant(of="linear_cross_entropy", killed_by="test_linear_cross_entropy_vjp", named="not divided")
def linear_cross_entropy_vjp_of_sum(hidden, weight, labels, ignore_index=-100):
    loss, vjp = linear_cross_entropy(hidden, weight, labels, ignore_index)
    return loss, lambda g: vjp(g * np.sum(labels != ignore_index))


@mutant(of="linear_cross_entropy", killed_by="test_linear_cross_entropy_vjp", named="by all rows")
def linear_cross_entropy_vjp_of_all(hidden, weight, labels, ignore_index=-100):
    loss, vjp = linear_cross_entropy(hidden, weight, labels, ignore_index)
    return loss, lambda g: vjp(g * np.mean(labels != ignore_index))


@mutant(of="linear_cross_entropy", killed_by="test_linear_cross_entropy_vjp", named="transposed")
def linear_cross_entropy_dweight_transposed(hidden, weight, labels, ignore_index=-100):
    loss, vjp = linear_cross_entropy(hidden, weight, labels, ignore_index)
    return loss, lambda g: (vjp(g)[0], vjp(g)[1].T)


@mutant(of="linear_cross_entropy", killed_by="test_linear_cross_entropy_vjp", named="g is not used")
def linear_cross_entropy_vjp_without_g(hidden, weight, labels, ignore_index=-100):
    loss, vjp = linear_cross_entropy(hidden, weight, labels, ignore_index)
    return loss, lambda g: vjp(np.ones_like(g))


@mutant(of="linear_cross_entropy", killed_by="test_linear_cross_entropy_parts", named="last rows")
def linear_cross_entropy_drops_the_rest(hidden, weight, labels, ignore_index=-100):
    n = len(labels) // 256 * 256 if labels.ndim == 1 and len(labels) > 256 else len(labels)
    return linear_cross_entropy(hidden[:n], weight, labels[:n], ignore_index)[0], (
        linear_cross_entropy(hidden, weight, labels, ignore_index)[1]
    )


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


def softmax_of(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_ignore",
    named="the rows are dropped from the mean's divisor",
)
def cross_entropy_ignore_as_index(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    z = logits.reshape(-1, logits.shape[-1])
    y = labels.ravel()
    n = num_items or max((y != ignore_index).sum(), 1)
    idx = np.where(y == ignore_index, y % z.shape[-1], y)
    l = -np.log(softmax_of(z)[np.arange(len(y)), idx])
    return np.asarray(l.sum() / n), cross_entropy(logits, labels, ignore_index, 0.0, num_items)[1]


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_num_items",
    named="num_items is not used: it replaces the number",
)
def cross_entropy_raw_index(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    z = logits.reshape(-1, logits.shape[-1])
    y = labels.ravel()
    l = -np.log(softmax_of(z)[np.arange(len(y)), y])
    k = y != ignore_index
    return np.asarray(l[k].sum() / max(k.sum(), 1)), cross_entropy(
        logits, labels, ignore_index, 0.0, num_items
    )[1]


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_ignore",
    named="the mean is taken over all rows; only those",
)
def cross_entropy_mean_over_all(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, labels.size)
    return l, v


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_num_items",
    named="num_items is not used: it replaces the number",
)
def cross_entropy_num_items_ignored(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    return cross_entropy(logits, labels, ignore_index)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_ignore",
    named="ignore_index is not used",
)
def cross_entropy_hard_ignore(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    return cross_entropy(logits, np.where(labels < 0, -100, labels), -100, 0.0, num_items)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_ignore",
    named="NaN: an overflow (inf - inf, inf / inf, 0 *",
)
def cross_entropy_nan_none(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    k = (labels != ignore_index).sum()
    return (l if k else np.asarray(np.nan)), v


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_vjp",
    named="the upstream gradient g is not used",
)
def cross_entropy_no_g(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    return l, lambda g: v(np.ones_like(g))


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_vjp",
    named="this is y - p; the gradient is p - y",
)
def cross_entropy_y_minus_p(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    return l, lambda g: (-v(g)[0],)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_vjp",
    named="y is missing: the label's entry is p - 1",
)
def cross_entropy_only_p(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    l, _v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    k = labels != ignore_index
    return l, lambda g: (
        softmax_of(logits) * k[..., None] * g / max(k.sum() if num_items is None else num_items, 1),
    )


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_manners",
    named="float64 comes out where float32 went in: an",
)
def cross_entropy_only_y(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    l, _v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    k = labels != ignore_index
    h = np.eye(logits.shape[-1])[np.where(k, labels, 0)] * k[..., None]
    return l, lambda g: (-h * g / max(k.sum() if num_items is None else num_items, 1),)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_vjp",
    named="p - y has gone through the softmax's gradient",
)
def cross_entropy_vjp_of_softmax(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    p = softmax_of(logits)
    return l, lambda g: ((lambda d: p * (d - (d * p).sum(-1, keepdims=True)))(v(g)[0]),)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_vjp",
    named="p - y is not divided by the number of rows that",
)
def cross_entropy_not_divided_vjp(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    n = max((labels != ignore_index).sum(), 1) if num_items is None else num_items
    return l, lambda g: (v(g)[0] * n,)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_value",
    named="the logarithm has base 2; a nat is its natural",
)
def cross_entropy_log2(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    return l / np.log(2), lambda g: (v(g)[0] / np.log(2),)


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_large",
    named="NaN: an overflow (inf - inf, inf / inf, 0 *",
)
def cross_entropy_overflow(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    k = labels != ignore_index
    e = np.exp(logits)
    lp = np.log(e / e.sum(-1, keepdims=True))
    l = -np.take_along_axis(lp, np.where(k, labels, 0)[..., None], -1)[..., 0]
    return np.asarray(
        (l * k).sum() / max(k.sum() if num_items is None else num_items, 1)
    ), cross_entropy(logits, labels, ignore_index, 0.0, num_items)[1]


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_large",
    named="something is added to p before the logarithm",
)
def cross_entropy_eps(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    k = labels != ignore_index
    lp = np.log(softmax_of(logits) + 1e-8)
    l = -np.take_along_axis(lp, np.where(k, labels, 0)[..., None], -1)[..., 0]
    return np.asarray(
        (l * k).sum() / max(k.sum() if num_items is None else num_items, 1)
    ), cross_entropy(logits, labels, ignore_index, 0.0, num_items)[1]


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_manners",
    named="float64 comes out where float32 went in: an",
)
def cross_entropy_pyfloat(logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None):
    l, v = cross_entropy(logits, labels, ignore_index, 0.0, num_items)
    return np.float64(l), v


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_moments",
    named="weight decay is added to the gradient: that is",
)
def adamw_step_by_the_sum(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    return adamw_step(p, g + weight_decay * p, m, v, step, lr, betas, eps, 0.0)


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_value",
    named="the corrections are missing: m and v begin with",
)
def adamw_step_no_bias(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    b1, b2 = betas
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g * g
    return p - lr * weight_decay * p - lr * m / (np.sqrt(v) + eps), m, v


@mutant(of="adamw_step", killed_by="test_adamw_step_eps", named="epsilon is inside the square root")
def adamw_step_eps_in(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    b1, b2 = betas
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g * g
    return (
        p - lr * weight_decay * p - lr * (m / (1 - b1**step)) / np.sqrt(v / (1 - b2**step) + eps),
        m,
        v,
    )


@mutant(of="adamw_step", killed_by="test_adamw_step_moments", named="β₂ stands where β₁ belongs")
def adamw_step_betas_swapped(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    return adamw_step(p, g, m, v, step, lr, betas[::-1], eps, weight_decay)


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_value",
    named="the corrections are one step ahead: t is 1 for",
)
def adamw_step_step0(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    return adamw_step(p, g, m, v, step + 1, lr, betas, eps, weight_decay)


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_moments",
    named="the corrected m̂ is returned; it serves this",
)
def adamw_step_hat_returned(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    a, b, c = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    return a, b / (1 - betas[0] ** step), c / (1 - betas[1] ** step)


@mutant(of="adamw_step", killed_by="test_adamw_step_decay", named="the decay lacks the factor lr")
def adamw_step_decay_without_lr(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    return adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay / lr if lr else 0)


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_decay",
    named="the decay comes after the step; it shrinks the",
)
def adamw_step_decay_of_new(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    a, b, c = adamw_step(p, g, m, v, step, lr, betas, eps, 0.0)
    return a - lr * weight_decay * a, b, c


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_value",
    named="the step goes uphill: it is subtracted",
)
def adamw_step_plus(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    a, b, c = adamw_step(p, g, m, v, step, lr, betas, eps, 0.0)
    return 2 * p - a - lr * weight_decay * p, b, c


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_moments",
    named="v averages the sizes |g|; it is the squares",
)
def adamw_step_v_no_square(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    b1, b2 = betas
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * np.abs(g)
    return (
        p - lr * weight_decay * p - lr * (m / (1 - b1**step)) / (np.sqrt(v / (1 - b2**step)) + eps),
        m,
        v,
    )


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_manners",
    named="m is changed in place (+=, *=, out=, x[...] =",
)
def adamw_step_in_place(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    a, b, c = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    m[...] = b
    return a, m, c


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_moments",
    named="m and v are returned in each other's place",
)
def adamw_step_order(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    a, b, c = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    return a, c, b


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_value",
    named="weight_decay is not used: this is what its",
)
def adamw_step_decay_default(
    p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    return adamw_step(p, g, m, v, step, lr, betas, eps)


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_value",
    named="the root is missing: m̂ is divided by √v̂",
)
def adamw_step_no_root(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    b1, b2 = betas
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g * g
    return (
        p - lr * weight_decay * p - lr * (m / (1 - b1**step)) / ((v / (1 - b2**step)) + eps),
        m,
        v,
    )


@mutant(
    of="adamw_step",
    killed_by="test_adamw_step_value",
    named="the old m is in the numerator; it is the new one",
)
def adamw_step_old_m(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    b1, b2 = betas
    _a, b, c = adamw_step(p, g, m, v, step, lr, betas, eps, weight_decay)
    return (
        p - lr * weight_decay * p - lr * (m / (1 - b1**step)) / (np.sqrt(c / (1 - b2**step)) + eps),
        b,
        c,
    )


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_edges",
    named="after total_steps the rate rises again: x must",
)
def cosine_with_warmup_no_clamp(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step <= warmup_steps and warmup_steps:
        return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
    t = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return learning_rate * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * t)))


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="min_ratio is taken for a rate; it is a share of",
)
def cosine_with_warmup_min_rate(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
    t = min(1, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return min_ratio + (learning_rate - min_ratio) * 0.5 * (1 + math.cos(math.pi * t))


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_warmup",
    named="off by one: this is the result for step +1",
)
def cosine_with_warmup_plus1(step, *a, **k):
    return cosine_with_warmup(step + 1, *a, **k)


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_warmup",
    named="the first update is wasted: warmup begins with",
)
def cosine_with_warmup_minus1(step, *a, **k):
    return cosine_with_warmup(max(step - 1, 0), *a, **k)


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="it is a line; half a cosine is asked for",
)
def cosine_with_warmup_linear(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
    t = min(1, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return learning_rate * (1 - (1 - min_ratio) * t)


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="it is a quarter of a cosine; half of one is",
)
def cosine_with_warmup_full_cos(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
    t = min(1, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return learning_rate * (min_ratio + (1 - min_ratio) * math.cos(math.pi * t / 2))


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="the cosine begins at step 0; it begins where",
)
def cosine_with_warmup_total(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
    t = min(1, step / total_steps)
    return learning_rate * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * t)))


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="the rate falls to 0: min_ratio is missing",
)
def cosine_with_warmup_to_zero(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, 0.0)


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="the cosine is cut off at the minimum; it is",
)
def cosine_with_warmup_floor_max(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    return max(
        cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, 0.0),
        min_ratio * learning_rate,
    )


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="1 + cos is not halved: it goes from 2 to 0",
)
def cosine_with_warmup_no_half(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
    t = min(1, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return learning_rate * (min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * t)))


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_edges",
    named="a divisor is 0 for this input: what should come",
)
def cosine_with_warmup_div0(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return (
            learning_rate * step / warmup_steps
            if False
            else cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
        )
    t = min(1, (step - warmup_steps) / (total_steps - warmup_steps))
    return learning_rate * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * t)))


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="the angle is in degrees: cos takes radians, π",
)
def cosine_with_warmup_degrees(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)
    t = min(1, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return learning_rate * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(180 * t)))


@mutant(
    of="cosine_with_warmup", killed_by="test_cosine_with_warmup_warmup", named="there is no warmup"
)
def cosine_with_warmup_no_warm(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    return cosine_with_warmup(
        max(step, warmup_steps), learning_rate, warmup_steps, total_steps, min_ratio
    )


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="every array is clipped by its own norm; one",
)
def clip_by_global_norm_each(gradients, max_norm):
    n = math.sqrt(sum(float((g * g).sum()) for g in gradients))
    return [g * min(1.0, max_norm / (float(np.linalg.norm(g)) + 1e-30)) for g in gradients], n


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="the entries are cut off at max_norm; that",
)
def clip_by_global_norm_value(gradients, max_norm):
    return [np.clip(g, -max_norm, max_norm) for g in gradients], clip_by_global_norm(
        gradients, max_norm
    )[1]


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_small",
    named="small gradients are scaled up: clipping only",
)
def clip_by_global_norm_always(gradients, max_norm):
    n = clip_by_global_norm(gradients, max_norm)[1]
    return [g * (max_norm / n) if n else g for g in gradients], n


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="this is the norm after clipping; the one before",
)
def clip_by_global_norm_after(gradients, max_norm):
    o, n = clip_by_global_norm(gradients, max_norm)
    return o, min(n, max_norm)


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="the square root is missing in the norm",
)
def clip_by_global_norm_squared(gradients, max_norm):
    n = clip_by_global_norm(gradients, max_norm)[1] ** 2
    return [g * min(1.0, max_norm / n) if n else g for g in gradients], n


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="the norms of the arrays are added; their",
)
def clip_by_global_norm_sum_norms(gradients, max_norm):
    n = sum(float(np.linalg.norm(g)) for g in gradients)
    return [g * min(1.0, max_norm / n) if n else g for g in gradients], n


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_manners",
    named="float64 comes out where float32 went in: make",
)
def clip_by_global_norm_in_float64(gradients, max_norm):
    n = np.float64(clip_by_global_norm(gradients, max_norm)[1])
    s = np.minimum(np.float64(1), max_norm / n) if n else np.float64(1)
    return [g * s for g in gradients], float(n)


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="this is the largest entry",
)
def clip_by_global_norm_max(gradients, max_norm):
    n = max(float(np.abs(g).max(initial=0)) for g in gradients)
    return [g * min(1.0, max_norm / n) if n else g for g in gradients], n


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_manners",
    named="the gradients are changed in place (*=): return",
)
def clip_by_global_norm_inplace(gradients, max_norm):
    o, n = clip_by_global_norm(gradients, max_norm)
    for g, a in zip(gradients, o):
        g[...] = a
    return gradients, n


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_manners",
    named="every entry is 1.",
)
def clip_by_global_norm_concat_first(gradients, max_norm):
    _o, n = clip_by_global_norm(gradients[:-1] or gradients, max_norm)
    s = min(1.0, max_norm / n) if n else 1.0
    return [g * g.dtype.type(s) for g in gradients], n


@mutant(
    of="linear_cross_entropy", killed_by="test_linear_cross_entropy_value", named="num_items is"
)
def linear_cross_entropy_counts_itself(
    hidden, weight, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    return linear_cross_entropy(hidden, weight, labels, ignore_index)


@mutant(of="cross_entropy", killed_by="test_cross_entropy_large", named="of their own row")
def cross_entropy_one_maximum_for_all(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    loss, vjp = cross_entropy(logits, labels, ignore_index, num_items=num_items)
    with np.errstate(all="ignore"):
        p = np.exp(logits - logits.max())
        lost = ~np.isfinite(np.log(p.sum(-1)))[labels != ignore_index].all()
    return (loss * np.inf if lost and loss else loss), vjp


@mutant(of="cross_entropy", killed_by="test_cross_entropy_ignore", named="-100, the label of what")
def cross_entropy_picks_at_minus_100(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    rows = logits.reshape(-1, logits.shape[-1])
    rows[np.arange(len(rows)), labels.reshape(-1)]
    return cross_entropy(logits, labels, ignore_index, num_items=num_items)


@mutant(of="adamw_step", killed_by="test_adamw_step_value", named="v is corrected with β₁")
def adamw_one_correction(
    parameter, gradient, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    _, m, v = adamw_step(parameter, gradient, m, v, step, lr, betas, eps, weight_decay)
    c = 1 - betas[0] ** step
    step_size = lr * (m / c) / (np.sqrt(v / c) + eps)
    return (parameter - lr * weight_decay * parameter - step_size).astype(parameter.dtype), m, v


@mutant(of="adamw_step", killed_by="test_adamw_step_decay", named="divided by √v̂ as well")
def adamw_adapts_the_decay(
    parameter, gradient, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    _, m, v = adamw_step(parameter, gradient, m, v, step, lr, betas, eps, weight_decay)
    toward = m / (1 - betas[0] ** step) + weight_decay * parameter
    size = np.sqrt(v / (1 - betas[1] ** step)) + eps
    return (parameter - lr * toward / size).astype(parameter.dtype), m, v


@schedule_mutant("test_cosine_with_warmup_cosine", "goes on for one step too long")
def schedule_warms_up_once_more(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step == warmup_steps > 0:
        return learning_rate * (1 + 1 / warmup_steps)
    return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)


@schedule_mutant("test_cosine_with_warmup_warmup", "the line becomes a step")
def schedule_whole_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    if step < warmup_steps:
        return learning_rate * ((step + 1) // warmup_steps)
    return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)


@schedule_mutant("test_cosine_with_warmup_warmup", "begins at the minimum")
def schedule_warms_up_from_the_minimum(
    step, learning_rate, warmup_steps, total_steps, min_ratio=0.1
):
    if step < warmup_steps:
        low = min_ratio * learning_rate
        return low + (learning_rate - low) * (step + 1) / warmup_steps
    return cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio)


@clip_mutant("test_clip_by_global_norm_value", "1e-6 is not added")
def clip_without_a_constant(gradients, max_norm):
    norm = float(np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients)))
    return [g * min(1.0, max_norm / norm) if norm else g for g in gradients], norm


@adamw_mutant("test_adamw_step_value", "β times the step stands where")
def adamw_beta_times_step(
    parameter, gradient, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    (b1, b2), g = betas, gradient
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    size = np.sqrt(v / (1 - b2 * step)) + eps
    return parameter * (1 - lr * weight_decay) - lr * m / (1 - b1 * step) / size, m, v


def schedule_of(shape):
    """Another shape where the half cosine belongs."""

    def rate(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
        right = reference("cosine_with_warmup")
        if not warmup_steps <= step < total_steps:
            return right(step, learning_rate, warmup_steps, total_steps, min_ratio)
        x = (step - warmup_steps) / (total_steps - warmup_steps)
        return learning_rate * (min_ratio + (1 - min_ratio) * shape(math.pi * x))

    return rate


@schedule_mutant("test_cosine_with_warmup_cosine", "it is 1 + cos")
def schedule_upwards(*given, **options):
    return schedule_of(lambda angle: (1 - math.cos(angle)) / 2)(*given, **options)


@schedule_mutant("test_cosine_with_warmup_cosine", "it is a sine")
def schedule_of_a_sine(*given, **options):
    return schedule_of(lambda angle: (1 + math.sin(angle)) / 2)(*given, **options)


@schedule_mutant("test_cosine_with_warmup_cosine", "ends half way")
def schedule_half_way(*given, **options):
    return schedule_of(lambda angle: (1 + math.cos(angle / 2)) / 2)(*given, **options)


@schedule_mutant("test_cosine_with_warmup_edges", "it is a line; half a cosine")
def schedule_of_a_line(*given, **options):
    return schedule_of(lambda angle: 1 - angle / math.pi)(*given, **options)


@clip_mutant("test_clip_by_global_norm_value", "the order is the list")
def clip_norm_first(gradients, max_norm):
    return reference("clip_by_global_norm")(gradients, max_norm)[::-1]


@clip_mutant("test_clip_by_global_norm_value", "they are joined here")
def clip_joined(gradients, max_norm):
    clipped, norm = reference("clip_by_global_norm")(gradients, max_norm)
    return np.concatenate([array.ravel() for array in clipped]), norm


@mutant(
    of="cross_entropy", killed_by="test_cross_entropy_value", named="sum down the rows; each row"
)
def cross_entropy_sums_down_the_rows(
    logits, labels, ignore_index=-100, label_smoothing=0.0, num_items=None
):
    rows = logits.reshape(-1, logits.shape[-1])
    e = np.exp(rows - rows.max(-1, keepdims=True))
    p = (e / e.sum(0))[np.arange(len(rows)), labels.reshape(-1) % rows.shape[1]]
    right = reference("cross_entropy")(logits, labels, ignore_index, 0.0, num_items)
    return -np.log(p).mean(), right[1]


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="the perplexity")
def cross_entropy_perplexity(logits, labels, **options):
    loss, vjp = cross_entropy(logits, labels, **options)
    return np.exp(loss), vjp


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="every result is 3 times")
def cross_entropy_thrice(logits, labels, **options):
    loss, vjp = cross_entropy(logits, labels, **options)
    return 3 * loss, vjp


@mutant(
    of="cross_entropy",
    killed_by="test_cross_entropy_manners",
    named="writes into an input of the forward pass",
)
def cross_entropy_vjp_into_logits(logits, labels, **options):
    loss, vjp = cross_entropy(logits, labels, **options)

    def into(g):
        logits[...] = vjp(g)[0]
        return (logits.copy(),)

    return loss, into


@mutant(of="adamw_step", killed_by="test_adamw_step_value", named="only the sign of m̂ is left")
def adamw_step_sign(parameter, gradient, m, v, step, lr=1e-3, weight_decay=1e-2, **options):
    _, m, v = adamw_step(parameter, gradient, m, v, step, lr=lr, **options)
    return (1 - lr * weight_decay) * parameter - lr * np.sign(m), m, v


@mutant(of="adamw_step", killed_by="test_adamw_step_value", named="the factor lr is missing")
def adamw_step_without_lr(parameter, gradient, m, v, step, lr=1e-3, weight_decay=1e-2, **options):
    full = adamw_step(parameter, gradient, m, v, step, lr=1.0, weight_decay=0.0, **options)
    return (full[0] - lr * weight_decay * parameter, *full[1:])


@mutant(
    of="adamw_step", killed_by="test_adamw_step_value", named="parameter is subtracted, or is not"
)
def adamw_step_update_alone(parameter, gradient, m, v, step, **options):
    new, m, v = adamw_step(parameter, gradient, m, v, step, **options)
    return new - parameter, m, v


@mutant(of="adamw_step", killed_by="test_adamw_step_eps", named="eps is 0.001 here")
def adamw_step_large_eps(parameter, gradient, m, v, step, **options):
    return adamw_step(parameter, gradient, m, v, step, **{**options, "eps": 1e-3})


@mutant(of="cosine_with_warmup", killed_by="test_cosine_with_warmup_cosine", named="the rate stays")
def cosine_with_warmup_constant(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    return learning_rate * min(1.0, (step + 1) / max(1, warmup_steps))


@mutant(
    of="cosine_with_warmup",
    killed_by="test_cosine_with_warmup_cosine",
    named="min_ratio is squared",
)
def cosine_with_warmup_ratio_squared(step, learning_rate, warmup, total, min_ratio=0.1):
    return cosine_with_warmup(step, learning_rate, warmup, total, min_ratio**2)


@mutant(of="adamw_step", killed_by="test_adamw_step_value", named="the corrections are exchanged")
def adamw_step_exchanged(p, g, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    _, m, v = adamw_step(p, g, m, v, step, betas=betas)
    mean, square = m / (1 - betas[1] ** step), v / (1 - betas[0] ** step)
    return p - lr * weight_decay * p - lr * mean / (np.sqrt(square) + eps), m, v


@mutant(of="adamw_step", killed_by="test_adamw_step_value", named="plain gradient descent")
def adamw_step_gradient_descent(parameter, gradient, m, v, step, lr=1e-3, **options):
    _, m, v = adamw_step(parameter, gradient, m, v, step, **options)
    return parameter - lr * gradient, m, v


@gradient_mutant("this is p + y")
def cross_entropy_p_plus_y(p, y, keep, count):
    return (p + y) * keep / count


@mutant(of="cosine_with_warmup", killed_by="test_cosine_with_warmup_cosine", named="π is missing")
def cosine_with_warmup_without_pi(step, learning_rate, warmup, total, min_ratio=0.1):
    if step < warmup:
        return cosine_with_warmup(step, learning_rate, warmup, total)
    x = min(1.0, (step - warmup) / max(1, total - warmup))
    return learning_rate * (min_ratio + (1 - min_ratio) * (1 + math.cos(x)) / 2)


@mutant(
    of="cosine_with_warmup", killed_by="test_cosine_with_warmup_warmup", named="the line is squared"
)
def cosine_with_warmup_squared_line(step, learning_rate, warmup, total, min_ratio=0.1):
    rate = cosine_with_warmup(step, learning_rate, warmup, total, min_ratio)
    return rate * (step + 1) / warmup if step < warmup else rate


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="a list itself is asked for",
)
def clip_by_global_norm_generator(gradients, max_norm):
    clipped, norm = clip_by_global_norm(gradients, max_norm)
    return (gradient for gradient in clipped), norm


@mutant(of="cross_entropy", killed_by="test_cross_entropy_value", named="logarithm of the mean p")
def cross_entropy_of_the_mean(logits, labels, ignore_index=-100, num_items=None, **_):
    p, y, keep, count = parts(logits, labels, ignore_index, num_items)
    loss = -np.log(((p * y).sum(-1) * keep[:, 0]).sum() / count)
    return loss, cross_entropy(logits, labels, ignore_index, num_items=num_items)[1]


@mutant(of="cosine_with_warmup", killed_by="test_cosine_with_warmup_cosine", named="x is squared")
def cosine_with_warmup_x_squared(step, learning_rate, warmup, total, min_ratio=0.1):
    if step < warmup:
        return cosine_with_warmup(step, learning_rate, warmup, total)
    x = min(1.0, (step - warmup) / max(1, total - warmup))
    return learning_rate * (min_ratio + (1 - min_ratio) * (1 + math.cos(math.pi * x * x)) / 2)


@mutant(
    of="clip_by_global_norm",
    killed_by="test_clip_by_global_norm_value",
    named="the last array is left out of the norm",
)
def clip_by_global_norm_but_the_last(gradients, max_norm):
    clipped, norm = clip_by_global_norm(gradients[:-1], max_norm)
    factor = min(1.0, max_norm / (norm + 1e-6))
    return [*clipped, gradients[-1] * gradients[-1].dtype.type(factor)], norm
