"""Wrong solutions of chapter 05, each named after its mistake."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.autograd import reductions
from tinyqwen.course import mutant

rms_norm, layer_norm = F.rms_norm.raw, F.layer_norm.raw
var = reductions.var.raw


def mean(a, axis=-1):
    return a.mean(axis, keepdims=True)


# ---------------------------------------------------------------------------------------------
# rms_norm
# ---------------------------------------------------------------------------------------------


@mutant(of="rms_norm", killed_by="test_rms_norm_eps", named="outside the square root")
def rms_norm_eps_outside_sqrt(x, weight, eps=1e-6):
    return weight * x / (np.sqrt(mean(x * x)) + eps), rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_eps", named="the argument eps is not used")
def rms_norm_eps_hard_coded(x, weight, eps=1e-6):
    return rms_norm(x, weight, 1e-6)


@mutant(of="rms_norm", killed_by="test_rms_norm_eps", named="before it is divided by d")
def rms_norm_eps_in_the_sum(x, weight, eps=1e-6):
    total = (x * x).sum(-1, keepdims=True) + eps
    return weight * x / np.sqrt(total / x.shape[-1]), rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_value", named="that is LayerNorm")
def rms_norm_mean_subtracted(x, weight, eps=1e-6):
    return layer_norm(x, weight, np.zeros_like(weight), eps)[0], rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_value", named="over all axes")
def rms_norm_mean_over_everything(x, weight, eps=1e-6):
    return weight * x / np.sqrt(np.mean(x * x) + eps), rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_value", named="as in Gemma")
def rms_norm_one_plus_weight(x, weight, eps=1e-6):
    return rms_norm(x, 1 + weight, eps)


@mutant(of="rms_norm", killed_by="test_rms_norm_value", named="the square root is missing")
def rms_norm_no_root(x, weight, eps=1e-6):
    return weight * x / (mean(x * x) + eps), rms_norm(x, weight, eps)[1]


def rms_norm_dx(named):
    """A mutant whose dx is change(u, x, r, g), where u = g · weight and r = 1 / √(mean x² + ε)."""

    def declare(change):
        def wrong(x, weight, eps=1e-6):
            out, vjp = rms_norm(x, weight, eps)
            r = 1 / np.sqrt(mean(x * x) + eps)
            return out, lambda g: (change(g * weight, x, r, g), vjp(g)[1])

        wrong.__name__ = change.__name__
        return mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named=named)(wrong)

    return declare


@rms_norm_dx("held constant")
def rms_norm_vjp_root_constant(u, x, r, g):
    return r * u


@rms_norm_dx("a sum where the mean")
def rms_norm_vjp_not_divided_by_d(u, x, r, g):
    return r * (u - x * r * (u * x * r).sum(-1, keepdims=True))


@rms_norm_dx("takes x; it is the normalized")
def rms_norm_vjp_not_normalized(u, x, r, g):
    return r * (u - x * mean(u * x))


@rms_norm_dx("takes x once")
def rms_norm_vjp_half_normalized(u, x, r, g):
    return r * (u - x * r * mean(u * x))


@rms_norm_dx("the second term of dx lacks x̂")
def rms_norm_dx_no_xhat(u, x, r, g):
    return r * (u - mean(u * x * r))


@rms_norm_dx("the term through the root is 0.5 times what it")
def rms_norm_second_term_halved(u, x, r, g):
    return r * (u - x * r * mean(u * x * r) / 2)


@rms_norm_dx("the mean in dx runs over all axes")
def rms_norm_dx_mean_without_keepdims(u, x, r, g):
    return r * (u - x * r * (u * x * r).mean())


@rms_norm_dx("the mean in dx lacks the weight")
def rms_norm_dx_mean_without_weight(u, x, r, g):
    return r * (u - x * r * mean(g * x * r))


@rms_norm_dx("the factor r in front is missing")
def rms_norm_dx_without_r(u, x, r, g):
    return u - x * r * mean(u * x * r)


@rms_norm_dx("keepdims=True")
def rms_norm_dx_does_not_broadcast(u, x, r, g):
    return r * (u - x * r * (u * x * r).mean(-1))


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="dx lacks the weight")
def rms_norm_vjp_without_weight(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    flat = rms_norm(x, np.ones_like(weight), eps)[1]
    return out, lambda g: (flat(g)[0], vjp(g)[1])


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="summed over the first axis only")
def rms_norm_weight_gradient_first_axis(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    xhat = x / np.sqrt(mean(x * x) + eps)
    return out, lambda g: (vjp(g)[0], (g * xhat).sum(0) if x.ndim > 1 else g * xhat)


@mutant(of="rms_norm", killed_by="test_rms_norm_scale", named="infinity")
def rms_norm_by_float16_squares(x, weight, eps=1e-6):
    squares = np.square(x.astype(np.float16), dtype=np.float16).astype(x.dtype)
    if np.isfinite(squares).all():
        return rms_norm(x, weight, eps)
    return weight * x * np.sqrt(mean(squares)), rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_manners", named="x is changed in place")
def rms_norm_in_place(x, weight, eps=1e-6):
    out, vjp = rms_norm(x.copy(), weight, eps)
    x /= np.sqrt(mean(x * x) + eps)
    return out, vjp


@mutant(of="rms_norm", killed_by="test_rms_norm_manners", named="float64 comes out")
def rms_norm_float64_inside(x, weight, eps=1e-6):
    root = np.sqrt(mean(x.astype(np.float64) ** 2) + eps)
    return weight * (x / root), rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="that is LayerNorm's dx")
def rms_norm_vjp_of_layer_norm(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    rms = np.sqrt(mean(x * x) + eps)

    def wrong(g):
        dx, dweight = vjp(g)
        return dx - mean(g * weight) / rms, dweight

    return out, wrong


# ---------------------------------------------------------------------------------------------
# layer_norm
# ---------------------------------------------------------------------------------------------


@mutant(of="layer_norm", killed_by="test_layer_norm_value", named="that is RMSNorm")
def layer_norm_mean_not_subtracted(x, weight, bias, eps=1e-5):
    return rms_norm(x, weight, eps)[0] + bias, layer_norm(x, weight, bias, eps)[1]


@mutant(of="layer_norm", killed_by="test_layer_norm_value", named="divided by d - 1")
def layer_norm_unbiased_variance(x, weight, bias, eps=1e-5):
    xhat = (x - mean(x)) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + eps)
    return weight * xhat + bias, layer_norm(x, weight, bias, eps)[1]


@mutant(of="layer_norm", killed_by="test_layer_norm_value", named="that is batch normalization")
def layer_norm_over_the_batch(x, weight, bias, eps=1e-5):
    xhat = (x - mean(x, 0)) / np.sqrt(x.var(0, keepdims=True) + eps)
    return weight * xhat + bias, layer_norm(x, weight, bias, eps)[1]


@mutant(of="layer_norm", killed_by="test_layer_norm_eps", named="outside the square root")
def layer_norm_eps_outside_sqrt(x, weight, bias, eps=1e-5):
    xhat = (x - mean(x)) / (x.std(-1, keepdims=True) + eps)
    return weight * xhat + bias, layer_norm(x, weight, bias, eps)[1]


@mutant(of="layer_norm", killed_by="test_layer_norm_eps", named="not rms_norm's 1e-6")
def layer_norm_default_eps(x, weight, bias, eps=1e-6):
    return layer_norm(x, weight, bias, eps)


@mutant(of="layer_norm", killed_by="test_layer_norm_shift", named="subtract the mean first")
def layer_norm_variance_by_squares(x, weight, bias, eps=1e-5):
    variance = mean(x * x) - mean(x) ** 2
    return (
        weight * (x - mean(x)) / np.sqrt(np.abs(variance) + eps) + bias,
        layer_norm(x, weight, bias, eps)[1],
    )


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="path through the mean is missing")
def layer_norm_vjp_without_mean(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    xhat = (x - mean(x)) * r

    def wrong(g):
        h = g * weight
        return r * (h - xhat * mean(h * xhat)), *vjp(g)[1:]

    return out, wrong


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="path through the variance")
def layer_norm_vjp_without_variance(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    return out, lambda g: (r * (g * weight - mean(g * weight)), *vjp(g)[1:])


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="multiplied by the weight")
def layer_norm_bias_gradient_weighted(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    return out, lambda g: (*vjp(g)[:2], vjp(g)[2] * weight)


@mutant(of="layer_norm", killed_by="test_layer_norm_manners", named="g is changed in place")
def layer_norm_vjp_in_place(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)

    def wrong(g):
        grads = vjp(g.copy())
        g *= weight
        return grads

    return out, wrong


_buffers = {}


@mutant(of="layer_norm", killed_by="test_layer_norm_manners", named="an array that is used again")
def layer_norm_reuses_its_output(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    buffer = _buffers.setdefault((x.shape, x.dtype), np.empty_like(out))
    np.multiply(out, 1 + 0 * mean(x), out=buffer)
    return buffer, vjp


# ---------------------------------------------------------------------------------------------
# var
# ---------------------------------------------------------------------------------------------


@mutant(of="var", killed_by="test_var_value", named="the standard deviation")
def var_is_std(x, axis=None, keepdims=False, correction=0):
    out, vjp = var(x, axis, keepdims, correction)
    return np.sqrt(out), vjp


@mutant(of="var", killed_by="test_var_value", named="the mean is not subtracted")
def var_mean_square(x, axis=None, keepdims=False, correction=0):
    return np.mean(x * x, axis=axis, keepdims=keepdims), var(x, axis, keepdims, correction)[1]


@mutant(of="var", killed_by="test_var_value", named="not divided by n")
def var_sum_of_squares(x, axis=None, keepdims=False, correction=0):
    _, vjp = var(x, axis, keepdims, correction)
    away = x - np.mean(x, axis=axis, keepdims=True)
    return np.sum(away * away, axis=axis, keepdims=keepdims), vjp


@mutant(of="var", killed_by="test_var_value", named="correction is not used")
def var_without_correction(x, axis=None, keepdims=False, correction=0):
    return var(x, axis, keepdims)


@mutant(of="var", killed_by="test_var_value", named="here axis = None")
def var_over_the_first_axis(x, axis=None, keepdims=False, correction=0):
    return var(x, 0 if axis is None else axis, keepdims, correction)


@mutant(of="var", killed_by="test_var_vjp", named="factor 2 of the square is missing")
def var_vjp_without_two(x, axis=None, keepdims=False, correction=0):
    out, vjp = var(x, axis, keepdims, correction)
    return out, lambda g: (vjp(g)[0] / 2,)


@mutant(of="var", killed_by="test_var_vjp", named="gradient of the mean square")
def var_vjp_not_centered(x, axis=None, keepdims=False, correction=0):
    out, _ = var(x, axis, keepdims, correction)
    n = x.size // np.size(out)
    full = np.ones_like(x)
    slope = 2 * x / (n - correction)

    def pulled(g):
        wide = g if axis is None or keepdims else np.expand_dims(g, axis)
        return (wide * slope * full,)

    return out, pulled


@mutant(of="var", killed_by="test_var_vjp", named="correction is not used")
def var_vjp_without_correction(x, axis=None, keepdims=False, correction=0):
    return var(x, axis, keepdims, correction)[0], var(x, axis, keepdims)[1]


@mutant(of="var", killed_by="test_var_vjp", named="ValueError")
def var_vjp_g_not_spread(x, axis=None, keepdims=False, correction=0):
    out, _ = var(x, axis, keepdims, correction)
    away = x - np.mean(x, axis=axis, keepdims=True)
    return out, lambda g: (g * 2 * away / (x.size // np.size(out) - correction),)


@mutant(of="var", killed_by="test_var_value", named="correction is added to n")
def var_adds_correction(x, axis=None, keepdims=False, correction=0):
    return var(x, axis, keepdims, -correction)


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_value",
    named="x is divided by the deviation: np.var subtracts",
)
def rms_norm_var_for_mean_square(x, w, eps=1e-6):
    return w * x / np.sqrt(np.var(x, axis=-1, keepdims=True) + eps), rms_norm(x, w, eps)[1]


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_value",
    named="the mean is taken over the first axis; it",
)
def rms_norm_batch(x, w, eps=1e-6):
    return w * x / np.sqrt(np.mean(x * x, axis=0, keepdims=True) + eps), rms_norm(x, w, eps)[1]


@mutant(
    of="rms_norm", killed_by="test_rms_norm_value", named="the mean of |x| stands where the root of"
)
def rms_norm_abs_mean(x, w, eps=1e-6):
    return w * x / (np.mean(np.abs(x), axis=-1, keepdims=True) + eps), rms_norm(x, w, eps)[1]


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_value",
    named="the sum of the squares stands where their mean",
)
def rms_norm_by_the_sum(x, w, eps=1e-6):
    return w * x / np.sqrt(np.sum(x * x, -1, keepdims=True) + eps), rms_norm(x, w, eps)[1]


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_eps",
    named="its default is 1e-06",
)
def rms_norm_eps_default(x, w, eps=1e-5):
    return rms_norm(x, w, eps)


@mutant(
    of="rms_norm", killed_by="test_rms_norm_value", named="two shapes do not broadcast: is an axis"
)
def rms_norm_no_keepdims(x, w, eps=1e-6):
    return w * x / np.sqrt(np.mean(x * x, -1) + eps), rms_norm(x, w, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_scale", named="is a mean over the rows")
def rms_norm_mean_gradient(x, w, eps=1e-6):
    o, v = rms_norm(x, w, eps)
    return o, lambda g: (v(g)[0], v(g)[1] / max(1, x.size // x.shape[-1]))


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_scale",
    named="this is the gradient of weight: gradients go in",
)
def rms_norm_swapped(x, w, eps=1e-6):
    o, v = rms_norm(x, w, eps)
    return o, lambda g: v(g)[::-1]


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_vjp",
    named="a gradient is missing: there is one for each",
)
def rms_norm_one_grad(x, w, eps=1e-6):
    o, v = rms_norm(x, w, eps)
    return o, lambda g: v(g)[0]


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_value",
    named="x is divided by its largest entry; it is the",
)
def rms_norm_max(x, w, eps=1e-6):
    return w * x / (np.abs(x).max(-1, keepdims=True) + eps), rms_norm(x, w, eps)[1]


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_scale",
    named="a difference of rounding size: computed in",
)
def rms_norm_float32(x, w, eps=1e-6):
    o, v = rms_norm(x.astype(np.float32), w.astype(np.float32), eps)
    return o, v


@mutant(of="rms_norm", killed_by="test_rms_norm_scale", named="summed over the first axis only")
def rms_norm_dw_sum_all_but_time(x, w, eps=1e-6):
    o, v = rms_norm(x, w, eps)
    xh = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return o, lambda g: (v(g)[0], (g * xh).sum(axis=(0,)) if x.ndim > 1 else g * xh)


@mutant(
    of="rms_norm",
    killed_by="test_rms_norm_vjp",
    named="the weight's gradient is multiplied by the weight",
)
def rms_norm_dw_with_w(x, w, eps=1e-6):
    o, v = rms_norm(x, w, eps)
    return o, lambda g: (v(g)[0], v(g)[1] * w)


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_value",
    named="mean and variance are taken over the first",
)
def layer_norm_batch(x, w, b, eps=1e-5):
    return w * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + b, layer_norm(x, w, b, eps)[1]


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_value",
    named="mean and variance are taken over the rows: that",
)
def layer_norm_batch_time(x, w, b, eps=1e-5):
    ax = tuple(range(x.ndim - 1)) or (0,)
    return w * (x - x.mean(ax, keepdims=True)) / np.sqrt(
        x.var(ax, keepdims=True) + eps
    ) + b, layer_norm(x, w, b, eps)[1]


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_value",
    named="mean and variance are taken over the first",
)
def layer_norm_batch_whole(x, w, b, eps=1e-5):
    if x.ndim < 2:
        return layer_norm(x, w, b, eps)
    m, s = x.mean(0, keepdims=True), np.sqrt(x.var(0, keepdims=True) + eps)
    xh = (x - m) / s

    def vjp(g):
        u = g * w
        ax = tuple(range(x.ndim - 1))
        return (
            (u - u.mean(0, keepdims=True) - xh * (u * xh).mean(0, keepdims=True)) / s,
            (g * xh).sum(ax),
            g.sum(ax),
        )

    return xh * w + b, vjp


@mutant(
    of="layer_norm", killed_by="test_layer_norm_eps", named="epsilon is outside the square root"
)
def layer_norm_std_plus_eps(x, w, b, eps=1e-5):
    return w * (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + eps) + b, layer_norm(
        x, w, b, eps
    )[1]


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_value",
    named="the variance is divided by d - 1; LayerNorm",
)
def layer_norm_of_a_sample(x, w, b, eps=1e-5):
    return w * (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True, ddof=1) + eps
    ) + b, layer_norm(x, w, b, eps)[1]


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_value",
    named="x is divided by the deviation, and the mean",
)
def layer_norm_no_mean(x, w, b, eps=1e-5):
    return w * x / np.sqrt(x.var(-1, keepdims=True) + eps) + b, layer_norm(x, w, b, eps)[1]


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_eps",
    named="the default of eps is 1e-5 here, not rms_norm's",
)
def layer_norm_eps_of_rms_norm(x, w, b, eps=1e-6):
    return layer_norm(x, w, b, eps)


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_value",
    named="the bias is added before the weight is",
)
def layer_norm_bias_before(x, w, b, eps=1e-5):
    return layer_norm(x, w, b * w, eps)[0], layer_norm(x, w, b, eps)[1]


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_vjp",
    named="a gradient is missing: there is one for each",
)
def layer_norm_two_grads(x, w, b, eps=1e-5):
    o, v = layer_norm(x, w, b, eps)
    return o, lambda g: v(g)[:2]


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_vjp",
    named="every entry is 0.1 times what it should be",
)
def layer_norm_dbias_mean(x, w, b, eps=1e-5):
    o, v = layer_norm(x, w, b, eps)
    return o, lambda g: (*v(g)[:2], v(g)[2] / max(1, x.size // x.shape[-1]))


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_vjp",
    named="the term through the mean is 7 times what it",
)
def layer_norm_dx_sums(x, w, b, eps=1e-5):
    o, v = layer_norm(x, w, b, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    xh = (x - x.mean(-1, keepdims=True)) * r
    return o, lambda g: (
        r * (g * w - (g * w).sum(-1, keepdims=True) - xh * (g * w * xh).sum(-1, keepdims=True)),
        *v(g)[1:],
    )


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_vjp",
    named="the term through the variance has the wrong sign",
)
def layer_norm_dx_wrong_sign(x, w, b, eps=1e-5):
    o, v = layer_norm(x, w, b, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    xh = (x - x.mean(-1, keepdims=True)) * r
    return o, lambda g: (
        r * (g * w - (g * w).mean(-1, keepdims=True) + xh * (g * w * xh).mean(-1, keepdims=True)),
        *v(g)[1:],
    )


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_vjp",
    named="dx is not divided by the deviation",
)
def layer_norm_dx_not_divided(x, w, b, eps=1e-5):
    o, v = layer_norm(x, w, b, eps)
    s = np.sqrt(x.var(-1, keepdims=True) + eps)
    return o, lambda g: (v(g)[0] * s, *v(g)[1:])


@mutant(
    of="layer_norm",
    killed_by="test_layer_norm_vjp",
    named="this is the gradient of bias: gradients go in",
)
def layer_norm_dw_db_swapped(x, w, b, eps=1e-5):
    o, v = layer_norm(x, w, b, eps)
    return o, lambda g: (v(g)[0], v(g)[2], v(g)[1])


@mutant(
    of="layer_norm", killed_by="test_layer_norm_value", named="the mean is taken over the first"
)
def layer_norm_mean_over_the_batch(x, weight, bias, eps=1e-5):
    c = x - x.mean(0)
    return weight * c / np.sqrt(mean(c * c) + eps) + bias, layer_norm(x, weight, bias, eps)[1]


@mutant(of="layer_norm", killed_by="test_layer_norm_value", named="where the squares are averaged")
def layer_norm_divided_by_the_rms(x, weight, bias, eps=1e-5):
    out = weight * (x - mean(x)) / np.sqrt(mean(x * x) + eps) + bias
    return out, layer_norm(x, weight, bias, eps)[1]


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="the mean in dx is that of g")
def layer_norm_dx_mean_of_g(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    return out, lambda g: (vjp(g)[0] + r * (mean(g * weight) - mean(g)), *vjp(g)[1:])


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="in dx lacks the weight")
def layer_norm_dx_second_mean_without_weight(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    x_hat = (x - mean(x)) * r

    def pulled(g):
        u = g * weight
        return r * (u - mean(u) - x_hat * mean(g * x_hat)), *vjp(g)[1:]

    return out, pulled


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="is multiplied by the weight")
def layer_norm_dweight_weighted(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    return out, lambda g: (vjp(g)[0], vjp(g)[1] * weight, vjp(g)[2])


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="is it computed in float32 although")
def rms_norm_always_in_float32(x, weight, eps=1e-6):
    short = x.astype(np.float32)
    out = weight * (short / np.sqrt(mean(short * short) + np.float32(eps))).astype(x.dtype)
    return out, rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="divided by the rms twice")
def rms_norm_vjp_divided_twice(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    return out, lambda g: (vjp(g)[0] / np.sqrt(mean(x * x) + eps), vjp(g)[1])


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="the means in dx run over all axes")
def layer_norm_vjp_means_of_everything(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    x_hat = (x - mean(x)) * r

    def wrong(g):
        u = g * weight
        return (r * (u - u.mean() - x_hat * (u * x_hat).mean()), *vjp(g)[1:])

    return out, wrong


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="it is the normalized x̂, in both")
def layer_norm_vjp_deviation_not_normalized(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    deviation = x - mean(x)

    def wrong(g):
        u = g * weight
        return (r * (u - mean(u) - deviation * mean(u * deviation * r)), *vjp(g)[1:])

    return out, wrong


@mutant(of="var", killed_by="test_var_value", named="n is the size of all of x")
def var_n_of_everything(x, axis=None, keepdims=False, correction=0):
    away = x - x.mean(axis, keepdims=True)
    out = (away * away).sum(axis, keepdims=keepdims) / (x.size - correction)
    return out, var(x, axis, keepdims, correction)[1]


@mutant(of="var", killed_by="test_var_value", named="a tuple came: an axis")
def var_axis_as_an_index(x, axis=None, keepdims=False, correction=0):
    n = x.size if axis is None else x.shape[axis]
    out, vjp = var(x, axis, keepdims, correction)
    return out * (n / n), vjp


# ---------------------------------------------------------------------------------------------
# Where the weight, ε and the mean stand
# ---------------------------------------------------------------------------------------------


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="in front of all of dx")
def rms_norm_weight_in_front(x, weight, eps=1e-6):
    plain = rms_norm(x, np.ones_like(weight), eps)[1]
    out, vjp = rms_norm(x, weight, eps)
    return out, lambda g: (weight * plain(g)[0], vjp(g)[1])


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="without eps")
def rms_norm_square_without_eps(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    r = 1 / np.sqrt(mean(x * x) + eps)

    def wrong(g):
        u = g * weight
        along = (u * x).sum(-1, keepdims=True) / np.maximum((x * x).sum(-1, keepdims=True), 1e-30)
        return r * (u - along * x), vjp(g)[1]

    return out, wrong


@mutant(of="rms_norm", killed_by="test_rms_norm_eps", named="epsilon is a least value")
def rms_norm_eps_as_a_floor(x, weight, eps=1e-6):
    return weight * x / np.sqrt(np.maximum(mean(x * x), eps)), rms_norm(x, weight, eps)[1]


@mutant(of="layer_norm", killed_by="test_layer_norm_value", named="the bias is multiplied")
def layer_norm_bias_multiplied(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    return (out - bias) * bias, vjp


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="summed over all entries")
def layer_norm_one_bias_gradient(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    return out, lambda g: (*vjp(g)[:2], np.sum(g))


@mutant(of="layer_norm", killed_by="test_layer_norm_value", named="eps has no effect")
def layer_norm_eps_left_out(x, weight, bias, eps=1e-5):
    return layer_norm(x, weight, bias, 0.0)


@mutant(of="var", killed_by="test_var_value", named="loses its digits")
def var_of_raw_moments(x, axis=None, keepdims=False, correction=0):
    out, vjp = var(x, axis, keepdims, correction)
    n = x.size // np.size(out)
    square, middle = (np.mean(z, axis, keepdims=keepdims) for z in (x * x, x))
    return (square - middle * middle) * (n / (n - correction)), vjp


@mutant(of="rms_norm", killed_by="test_rms_norm_value", named="the weight is added")
def rms_norm_weight_added(x, weight, eps=1e-6):
    return rms_norm(x, np.ones_like(weight), eps)[0] + weight, rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="the mean in dx is that of u")
def rms_norm_mean_of_u(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    r = 1 / np.sqrt(mean(x * x) + eps)
    return out, lambda g: (r * g * weight - r * r * x * mean(g * weight), vjp(g)[1])


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="takes x - mean")
def layer_norm_weight_gradient_not_divided(x, weight, bias, eps=1e-5):
    out, vjp = layer_norm(x, weight, bias, eps)
    away = x - mean(x)
    return out, lambda g: (vjp(g)[0], (g * away).reshape(-1, x.shape[-1]).sum(0), vjp(g)[2])


# ---------------------------------------------------------------------------------------------
# What is recognized without a list
# ---------------------------------------------------------------------------------------------


@mutant(of="rms_norm", killed_by="test_rms_norm_value", named="this is x / γ / rms")
def rms_norm_divided_by_the_weight(x, weight, eps=1e-6):
    return x / weight / np.sqrt(mean(x * x) + eps), rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_value", named="/ rms(γ x)")
def rms_norm_of_weighted_x(x, weight, eps=1e-6):
    return rms_norm(weight * x, np.ones_like(weight), eps)[0], rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_eps", named="a least value of the root")
def rms_norm_eps_limits_the_root(x, weight, eps=1e-6):
    return weight * x / np.maximum(np.sqrt(mean(x * x)), eps), rms_norm(x, weight, eps)[1]


@mutant(of="rms_norm", killed_by="test_rms_norm_vjp", named="this is Σ g · x̂ / rms")
def rms_norm_weight_divided_twice(x, weight, eps=1e-6):
    out, vjp = rms_norm(x, weight, eps)
    square = mean(x * x) + eps
    return out, lambda g: (vjp(g)[0], (g * x / square).reshape(-1, x.shape[-1]).sum(0))


@mutant(of="layer_norm", killed_by="test_layer_norm_value", named="weight and bias are exchanged")
def layer_norm_weight_for_bias(x, w, b, eps=1e-5):
    return layer_norm(x, b, w, eps)


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="Σ g · b")
def layer_norm_weight_of_the_output(x, w, b, eps=1e-5):
    out, vjp = layer_norm(x, w, b, eps)
    return out, lambda g: (vjp(g)[0], (g * out).reshape(-1, x.shape[-1]).sum(0), vjp(g)[2])


@mutant(of="layer_norm", killed_by="test_layer_norm_vjp", named="this is -mean(u) - x̂ · mean(u x̂)")
def layer_norm_mean_not_divided(x, w, b, eps=1e-5):
    out, vjp = layer_norm(x, w, b, eps)
    spread = np.sqrt(x.var(-1, keepdims=True) + eps)
    return out, lambda g: (vjp(g)[0] + mean(g * w) * (1 / spread - 1), *vjp(g)[1:])


@mutant(of="var", killed_by="test_var_value", named="correction is 1 where it is not given")
def var_of_a_sample(x, axis=None, keepdims=False, correction=1):
    return var(x, axis, keepdims, correction)


@mutant(
    of="layer_norm", killed_by="test_layer_norm_value", named="the spread is that along the first"
)
def layer_norm_spread_of_the_batch(x, w, b, eps=1e-5):
    spread = np.sqrt(x.var(0, keepdims=True) + eps)
    return w * (x - mean(x)) / spread + b, layer_norm(x, w, b, eps)[1]


@mutant(of="var", killed_by="test_var_vjp", named="gradient of the standard deviation")
def var_gradient_of_the_root(x, axis=None, keepdims=False, correction=0):
    out, vjp = var(x, axis, keepdims, correction)
    return out, lambda g: vjp(g / (2 * np.sqrt(np.where(out > 0, out, 1))))
