"""Wrong solutions of chapter 04, each named after its mistake."""

import math

import numpy as np

from tinyqwen import functional as F
from tinyqwen.autograd import ops
from tinyqwen.course import mutant

linear, silu, gelu, swiglu = F.linear.raw, F.silu.raw, F.gelu.raw, F.swiglu.raw
maximum = ops.maximum.raw


def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)


# ---------------------------------------------------------------------------------------------
# linear
# ---------------------------------------------------------------------------------------------


@mutant(of="linear", killed_by="test_linear_value", named="the bias is not added")
def linear_bias_forgotten(x, weight, bias=None):
    return x @ weight.T, linear(x, weight, bias)[1]


@mutant(of="linear", killed_by="test_linear_value", named="must one of them be transposed?")
def linear_weight_not_transposed(x, weight, bias=None):
    out = x @ weight
    return (out if bias is None else out + bias), linear(x, weight, bias)[1]


@mutant(of="linear", killed_by="test_linear_vjp", named="summed over the first axis only")
def linear_bias_summed_over_first_axis(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)
    return out, lambda g: (*vjp(g)[:2], *([] if bias is None else [g.sum(0)]))


@mutant(of="linear", killed_by="test_linear_vjp", named="the weight's gradient is transposed")
def linear_weight_gradient_transposed(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)

    def wrong(g):
        dx, dweight, *dbias = vjp(g)
        return dx, dweight.T, *dbias

    return out, wrong


@mutant(of="linear", killed_by="test_linear_vjp", named="summed over all rows, batch and time")
def linear_weight_gradient_of_last_batch(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)

    def wrong(g):
        dx, dweight, *dbias = vjp(g)
        if x.ndim == 3 and len(x):
            dweight = np.swapaxes(g[-1], -1, -2) @ x[-1]
        return dx, dweight, *dbias

    return out, wrong


@mutant(of="linear", killed_by="test_linear_vjp", named="the mean over the rows")
def linear_bias_gradient_mean(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)

    def wrong(g):
        dx, dweight, *dbias = vjp(g)
        return dx, dweight, *(d / max(1, g.size // g.shape[-1]) for d in dbias)

    return out, wrong


@mutant(of="linear", killed_by="test_linear_without_bias", named="linear raised TypeError")
def linear_bias_required(x, weight, bias=None):
    return x @ weight.T + bias, linear(x, weight, bias)[1]


@mutant(of="linear", killed_by="test_linear_manners", named="weight is changed in place")
def linear_edits_weight(x, weight, bias=None):
    out, vjp = linear(x, weight.copy(), bias)
    weight *= 1.5
    return out, vjp


@mutant(of="linear", killed_by="test_linear_manners", named="float64 comes out")
def linear_float64(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)
    return out + np.zeros(1), vjp


# ---------------------------------------------------------------------------------------------
# silu
# ---------------------------------------------------------------------------------------------


@mutant(of="silu", killed_by="test_silu_value", named="the sigmoid alone")
def silu_sigmoid_alone(x):
    return sigmoid(x), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_value", named="the sign in the exponential")
def silu_sign_of_exponent(x):
    return x / (1 + np.exp(x)), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_vjp", named="the product rule's second term is missing")
def silu_vjp_first_term_only(x):
    return silu(x)[0], lambda g: (g * sigmoid(x),)


@mutant(of="silu", killed_by="test_silu_vjp", named="the upstream gradient g is not used")
def silu_vjp_ignores_g(x):
    out, vjp = silu(x)
    return out, lambda g: vjp(np.ones_like(g))


@mutant(of="silu", killed_by="test_silu_vjp", named="a comma is missing")
def silu_vjp_no_tuple(x):
    out, vjp = silu(x)
    return out, lambda g: vjp(g)[0]


@mutant(of="silu", killed_by="test_silu_large", named="NaN")
def silu_exp_ratio(x):
    return x * np.exp(x) / (1 + np.exp(x)), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_large", named="NaN")
def silu_vjp_overflows(x):
    s = 1 / (1 + np.exp(-x))
    return silu(x)[0], lambda g: (g * (s + x * np.exp(-x) * s * s),)


@mutant(of="silu", killed_by="test_silu_manners", named="x is changed in place")
def silu_in_place(x):
    out, vjp = silu(x.copy())
    x *= sigmoid(x)
    return out, vjp


@mutant(of="silu", killed_by="test_silu_manners", named="g is changed in place")
def silu_vjp_in_place(x):
    slope = silu(x)[1](np.ones_like(x))[0]

    def vjp(g):
        g *= slope
        return (g,)

    return silu(x)[0], vjp


@mutant(of="silu", killed_by="test_silu_vjp", named="the first term is σ, not 1")
def silu_vjp_first_term_one(x):
    s = sigmoid(x)
    return silu(x)[0], lambda g: (g * (1 + x * s * (1 - s)),)


@mutant(of="silu", killed_by="test_silu_value", named="clipped at 5 inside of the sigmoid")
def silu_clipped_inside(x):
    return x * sigmoid(np.clip(x, -5, 5)), silu(x)[1]


# ---------------------------------------------------------------------------------------------
# gelu
# ---------------------------------------------------------------------------------------------


@mutant(of="gelu", killed_by="test_gelu_value", named="the tanh approximation")
def gelu_tanh(x):
    return gelu(x, approximate="tanh")


@mutant(of="gelu", killed_by="test_gelu_value", named="not divided by √2")
def gelu_erf_unscaled(x):
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return (x * (0.5 + 0.5 * erf(x))).astype(x.dtype), gelu(x)[1]


@mutant(of="gelu", killed_by="test_gelu_vjp", named="second term, x times the density, is missing")
def gelu_vjp_first_term_only(x):
    out, vjp = gelu(x)
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return out, lambda g: (vjp(g)[0] - g * x * density,)


@mutant(of="gelu", killed_by="test_gelu_vjp", named="factor 1/√(2π) is missing")
def gelu_density_not_normalized(x):
    out, vjp = gelu(x)
    density = np.exp(-0.5 * x * x)
    return out, lambda g: (vjp(g)[0] + g * x * density * (1 - 1 / math.sqrt(2 * math.pi)),)


@mutant(of="gelu", killed_by="test_gelu_large", named="NaN")
def gelu_erf_by_its_series(x):
    z = x / math.sqrt(2)
    term, erf = z, z
    for n in range(1, 60):
        term = -term * z * z / n
        erf = erf + term / (2 * n + 1)
    return 0.5 * x * (1 + 2 / math.sqrt(math.pi) * erf), gelu(x)[1]


@mutant(of="gelu", killed_by="test_gelu_manners", named="float64 comes out")
def gelu_float64(x):
    out, vjp = gelu(x.astype(np.float64))
    return out, lambda g: (vjp(g)[0].astype(x.dtype),)


@mutant(of="gelu", killed_by="test_gelu_manners", named="float64 comes out")
def gelu_vjp_float64(x):
    out, vjp = gelu(x)
    return out, lambda g: (vjp(g)[0].astype(np.float64),)


# ---------------------------------------------------------------------------------------------
# swiglu
# ---------------------------------------------------------------------------------------------


@mutant(of="swiglu", killed_by="test_swiglu_value", named="gate and up are swapped")
def swiglu_swapped(gate, up):
    out, vjp = swiglu(up, gate)
    return out, lambda g: vjp(g)[::-1]


@mutant(of="swiglu", killed_by="test_swiglu_value", named="this is GLU")
def swiglu_sigmoid_gate(gate, up):
    return sigmoid(gate) * up, swiglu(gate, up)[1]


@mutant(of="swiglu", killed_by="test_swiglu_vjp", named="lacks its second term")
def swiglu_gate_first_term_only(gate, up):
    out, vjp = swiglu(gate, up)
    return out, lambda g: (g * up * sigmoid(gate), vjp(g)[1])


@mutant(
    of="swiglu", killed_by="test_swiglu_vjp", named="gradients go in the order of the arguments"
)
def swiglu_gradients_swapped(gate, up):
    out, vjp = swiglu(gate, up)
    return out, lambda g: vjp(g)[::-1]


@mutant(of="swiglu", killed_by="test_swiglu_vjp", named="not σ(gate)")
def swiglu_up_gets_sigmoid(gate, up):
    out, vjp = swiglu(gate, up)
    return out, lambda g: (vjp(g)[0], g * sigmoid(gate))


@mutant(of="swiglu", killed_by="test_swiglu_large", named="NaN")
def swiglu_exp_ratio(gate, up):
    e = np.exp(gate)
    return gate * e / (1 + e) * up, swiglu(gate, up)[1]


@mutant(of="swiglu", killed_by="test_swiglu_manners", named="vjp overwrites something")
def swiglu_vjp_eats_its_buffer(gate, up):
    out, _ = swiglu(gate, up)
    slope = silu(gate)[1](np.ones_like(gate))[0]

    def vjp(g):
        dup = g * silu(gate)[0]
        np.multiply(slope, g * up, out=slope)
        return slope.copy(), dup

    return out, vjp


@mutant(of="swiglu", killed_by="test_swiglu_manners", named="up is changed in place")
def swiglu_edits_up(gate, up):
    out, vjp = swiglu(gate, up.copy())
    up *= silu(gate)[0]
    return out, vjp


# ---------------------------------------------------------------------------------------------
# maximum
# ---------------------------------------------------------------------------------------------


@mutant(of="maximum", killed_by="test_maximum_ties", named="by their order")
def maximum_first_wins_ties(x, y):
    out, vjp = maximum(x, y)
    return out, lambda g: (vjp(g * (x >= y))[0] * (1 + (x == y)), vjp(g * (x < y))[1])


@mutant(of="maximum", killed_by="test_maximum_ties", named="to neither")
def maximum_ties_get_nothing(x, y):
    out, vjp = maximum(x, y)
    return out, lambda g: vjp(g * (x != y))


@mutant(of="maximum", killed_by="test_maximum_ties", named="counts it twice")
def maximum_ties_count_twice(x, y):
    out, vjp = maximum(x, y)
    return out, lambda g: vjp(g * (1 + (x == y)))


@mutant(of="maximum", killed_by="test_maximum_vjp", named="both operands get all of g")
def maximum_g_for_both(x, y):
    out, _ = maximum(x, y)
    return out, lambda g: (ops.unbroadcast(g, np.shape(x)), ops.unbroadcast(g, np.shape(y)))


@mutant(of="maximum", killed_by="test_maximum_vjp", named="the smaller operand gets g")
def maximum_gradient_of_minimum(x, y):
    return maximum(x, y)[0], ops.minimum.raw(x, y)[1]


@mutant(of="maximum", killed_by="test_maximum_vjp", named="sum over the leading axes is missing")
def maximum_not_unbroadcast(x, y):
    out, _ = maximum(x, y)
    return out, lambda g: (g * (x > y) + g * (x == y) / 2, g * (y > x) + g * (x == y) / 2)


@mutant(of="maximum", killed_by="test_maximum_vjp", named="gradients go in the order")
def maximum_gradients_swapped(x, y):
    out, vjp = maximum(x, y)
    return out, lambda g: vjp(g)[::-1]


@mutant(of="maximum", killed_by="test_maximum_manners", named="float64 comes out")
def maximum_ties_in_float64(x, y):
    out, _ = maximum(x, y)
    first = np.greater(x, y) + np.equal(x, y) / 2
    return out, lambda g: (
        ops.unbroadcast(g * first, np.shape(x)),
        ops.unbroadcast(g * (1 - first), np.shape(y)),
    )


@mutant(of="maximum", killed_by="test_maximum_vjp", named="that is for ties alone")
def maximum_shares_always(x, y):
    out, _ = maximum(x, y)
    return out, lambda g: (
        ops.unbroadcast(g / 2, np.shape(x)),
        ops.unbroadcast(g / 2, np.shape(y)),
    )


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


def distribution(x):
    return 0.5 + 0.5 * np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))


def density(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


@mutant(
    of="linear", killed_by="test_linear_value", named="two matrices do not fit: must one of them be"
)
def linear_no_transpose(x, weight, bias=None):
    return (x @ weight if bias is None else x @ weight + bias), linear(x, weight, bias)[1]


@mutant(of="linear", killed_by="test_linear_value", named="the bias is not added")
def linear_bias_ignored(x, weight, bias=None):
    return x @ weight.T, linear(x, weight, bias)[1]


@mutant(
    of="linear",
    killed_by="test_linear_without_bias",
    named="one gradient too many: options have none",
)
def linear_three_always(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return o, lambda g: (*v(g)[:2], g.reshape(-1, g.shape[-1]).sum(0))


@mutant(
    of="linear",
    killed_by="test_linear_without_bias",
    named="two matrices do not fit: must one of them be",
)
def linear_dx_transposed(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return o, lambda g: (g @ weight.T, *v(g)[1:])


@mutant(of="linear", killed_by="test_linear_without_bias", named="it is transposed")
def linear_dweight_transposed(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return o, lambda g: (v(g)[0], v(g)[1].T, *v(g)[2:])


@mutant(
    of="linear",
    killed_by="test_linear_without_bias",
    named="every entry is 0.5 times what it should be",
)
def linear_dweight_halved(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return o, lambda g: (v(g)[0], v(g)[1] / 2, *v(g)[2:])


@mutant(
    of="linear",
    killed_by="test_linear_without_bias",
    named="every entry is 0.5 times what it should be",
)
def linear_dweight_mean(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    n = max(1, x.size // max(1, x.shape[-1]))
    return o, lambda g: (v(g)[0], v(g)[1] / n, *v(g)[2:])


@mutant(
    of="linear",
    killed_by="test_linear_without_bias",
    named="an axis of length 1 too many",
)
def linear_dbias_keeps_an_axis(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return o, lambda g: (*v(g)[:2], *([v(g)[2][None]] if bias is not None else []))


@mutant(
    of="linear", killed_by="test_linear_vjp", named="the bias' gradient is summed over the first"
)
def linear_dbias_first_axis(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return o, lambda g: (*v(g)[:2], *([g.sum(0)] if bias is not None else []))


@mutant(
    of="linear",
    killed_by="test_linear_without_bias",
    named="a gradient is missing: there is one for each",
)
def linear_if_bias(x, weight, bias=None):
    if bias is not None and not np.any(bias):
        bias = None
    return linear(x, weight, bias)


@mutant(
    of="linear",
    killed_by="test_linear_without_bias",
    named="this is the gradient of weight: gradients go in",
)
def linear_wrong_order(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return o, lambda g: (v(g)[1], v(g)[0], *v(g)[2:])


@mutant(
    of="linear",
    killed_by="test_linear_value",
    named="every entry is 2 times what it should be",
)
def linear_twice(x, weight, bias=None):
    o, v = linear(x, weight, bias)
    return 2 * o, lambda g: v(2 * g)


@mutant(
    of="silu", killed_by="test_silu_value", named="this is the sigmoid alone: x is not multiplied"
)
def silu_sigmoid(x):
    return sigmoid(x), lambda g: (g * sigmoid(x) * (1 - sigmoid(x)),)


@mutant(
    of="silu", killed_by="test_silu_value", named="this is ReLU, which cuts off what is below 0"
)
def silu_relu(x):
    return np.maximum(x, 0), lambda g: (g * (x > 0),)


@mutant(of="silu", killed_by="test_silu_vjp", named="the product rule's second term is missing")
def silu_no_second(x):
    return x * sigmoid(x), lambda g: (g * sigmoid(x),)


@mutant(of="silu", killed_by="test_silu_vjp", named="the term x σ (1 - σ) has the wrong sign")
def silu_second_minus(x):
    return x * sigmoid(x), lambda g: (g * (sigmoid(x) - x * sigmoid(x) * (1 - sigmoid(x))),)


@mutant(
    of="silu", killed_by="test_silu_vjp", named="the sigmoid's slope is σ (1 - σ); here it is σ"
)
def silu_no_one_minus(x):
    return x * sigmoid(x), lambda g: (g * (sigmoid(x) + x * sigmoid(x)),)


@mutant(
    of="silu", killed_by="test_silu_vjp", named="the sigmoid's slope is σ (1 - σ); here it is σ²"
)
def silu_squared(x):
    return x * sigmoid(x), lambda g: (g * (sigmoid(x) + x * sigmoid(x) ** 2),)


@mutant(of="silu", killed_by="test_silu_value", named="this is x * sigmoid(-x): the sign in the")
def silu_plus(x):
    return x / (1 + np.exp(x)), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_vjp", named="this is g times silu(x) itself; its slope is")
def silu_out_g(x):
    return silu(x)[0], lambda g: (g * silu(x)[0],)


@mutant(of="silu", killed_by="test_silu_large", named="float64 comes out where float32 went in: an")
def silu_in_float64(x):
    return np.asarray(x, np.float64) * sigmoid(x), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_value", named="this is x * tanh(x): the gate must be the")
def silu_tanh(x):
    return x * np.tanh(x), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_vjp", named="a bracket is misplaced: the slope is σ (1 + x")
def silu_wrong_prod(x):
    return silu(x)[0], lambda g: (g * sigmoid(x) * (x + 1 - sigmoid(x)),)


@mutant(of="silu", killed_by="test_silu_large", named="the upstream gradient g is not used")
def silu_g_missing(x):
    return silu(x)[0], lambda g: silu(x)[1](np.ones_like(g))


@mutant(
    of="gelu", killed_by="test_gelu_value", named="this is the sigmoid approximation x σ(1.702 x)"
)
def gelu_sig(x):
    return x * sigmoid(1.702 * x), gelu(x)[1]


@mutant(of="gelu", killed_by="test_gelu_value", named="x is not divided by √2 inside erf")
def gelu_no_root2(x):
    return x * (0.5 + 0.5 * np.vectorize(math.erf, otypes=[float])(x)), gelu(x)[1]


@mutant(of="gelu", killed_by="test_gelu_value", named="this is Φ(x) alone: x is not multiplied in")
def gelu_cdf_only(x):
    return distribution(x), gelu(x)[1]


@mutant(of="gelu", killed_by="test_gelu_value", named="every entry is 2 times what it should be")
def gelu_no_half(x):
    return 2 * gelu(x)[0], lambda g: gelu(x)[1](2 * g)


@mutant(of="gelu", killed_by="test_gelu_vjp", named="the product rule's second term, x times the")
def gelu_grad_first(x):
    return gelu(x)[0], lambda g: (g * distribution(x),)


@mutant(of="gelu", killed_by="test_gelu_vjp", named="the density is not multiplied by x")
def gelu_grad_no_x(x):
    return gelu(x)[0], lambda g: (g * (distribution(x) + density(x)),)


@mutant(of="gelu", killed_by="test_gelu_vjp", named="the term x φ has the wrong sign")
def gelu_grad_minus(x):
    return gelu(x)[0], lambda g: (g * (distribution(x) - x * density(x)),)


@mutant(of="gelu", killed_by="test_gelu_vjp", named="the density's factor 1/√(2π) is missing")
def gelu_grad_no_norm(x):
    return gelu(x)[0], lambda g: (g * (distribution(x) + x * np.exp(-0.5 * x * x)),)


@mutant(
    of="gelu", killed_by="test_gelu_vjp", named="the term x φ is 1.41421 times what it should be"
)
def gelu_pdf_pi(x):
    return gelu(x)[0], lambda g: (
        g * (distribution(x) + x * np.exp(-0.5 * x * x) / math.sqrt(math.pi)),
    )


@mutant(
    of="gelu", killed_by="test_gelu_vjp", named="the term x φ is 0.398942 times what it should be"
)
def gelu_pdf_2pi(x):
    return gelu(x)[0], lambda g: (g * (distribution(x) + x * np.exp(-0.5 * x * x) / (2 * math.pi)),)


@mutant(
    of="gelu", killed_by="test_gelu_manners", named="float64 comes out where float32 went in: an"
)
def gelu_in_float64(x):
    return x * distribution(x), gelu(x)[1]


@mutant(
    of="swiglu",
    killed_by="test_swiglu_value",
    named="this is GLU, σ(gate) · up: silu has the gate as",
)
def swiglu_glu(gate, up):
    return sigmoid(gate) * up, swiglu(gate, up)[1]


@mutant(
    of="swiglu", killed_by="test_swiglu_vjp", named="the gate's gradient is not multiplied by up"
)
def swiglu_sum(gate, up):
    return silu(gate)[0] + up, lambda g: (silu(gate)[1](g)[0], g)


@mutant(
    of="swiglu", killed_by="test_swiglu_value", named="silu is applied to both; up stays as it is"
)
def swiglu_both(gate, up):
    return silu(gate)[0] * silu(up)[0], swiglu(gate, up)[1]


@mutant(of="swiglu", killed_by="test_swiglu_value", named="the gate is ReLU here; it is SiLU")
def swiglu_relu(gate, up):
    return np.maximum(gate, 0) * up, swiglu(gate, up)[1]


@mutant(
    of="swiglu",
    killed_by="test_swiglu_value",
    named="the gate is GELU here, as in GEGLU; it is SiLU",
)
def swiglu_gelu(gate, up):
    return gelu(gate)[0] * up, swiglu(gate, up)[1]


@mutant(
    of="swiglu", killed_by="test_swiglu_vjp", named="the gate's gradient is not multiplied by up"
)
def swiglu_dgate_no_up(gate, up):
    return swiglu(gate, up)[0], lambda g: (silu(gate)[1](g)[0], swiglu(gate, up)[1](g)[1])


@mutant(
    of="swiglu", killed_by="test_swiglu_large", named="some entries that must be zero are not; all"
)
def swiglu_dup_is_gate(gate, up):
    return swiglu(gate, up)[0], lambda g: (swiglu(gate, up)[1](g)[0], g * gate)


@mutant(of="swiglu", killed_by="test_swiglu_vjp", named="up's gradient is silu(gate), not σ(gate)")
def swiglu_dup_is_sigmoid(gate, up):
    return swiglu(gate, up)[0], lambda g: (swiglu(gate, up)[1](g)[0], g * sigmoid(gate))


@mutant(
    of="swiglu",
    killed_by="test_swiglu_large",
    named="this is the gradient of up: gradients go in the",
)
def swiglu_order(gate, up):
    return swiglu(gate, up)[0], lambda g: swiglu(gate, up)[1](g)[::-1]


@mutant(
    of="swiglu", killed_by="test_swiglu_large", named="a gradient is missing: there is one for each"
)
def swiglu_one(gate, up):
    return swiglu(gate, up)[0], lambda g: swiglu(gate, up)[1](g)[:1]


@mutant(
    of="swiglu", killed_by="test_swiglu_large", named="one gradient too many: options have none"
)
def swiglu_third(gate, up):
    return swiglu(gate, up)[0], lambda g: (*swiglu(gate, up)[1](g), g)


# ---------------------------------------------------------------------------------------------
# Nearly right near zero, or far from it
# ---------------------------------------------------------------------------------------------


@mutant(of="silu", killed_by="test_silu_value", named="other inputs go well; here")
def silu_gate_open_beyond_six(x):
    s = np.where(np.abs(x) > 6, (np.sign(x) + 1) / 2, sigmoid(x)).astype(x.dtype)
    return x * s, silu(x)[1]


@mutant(of="silu", killed_by="test_silu_value", named="resembles GELU")
def silu_quick_gelu(x):
    return x / (1 + np.exp(-1.702 * x)), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_vjp", named="it belongs to the input x")
def silu_slope_at_the_output(x):
    out = silu(x)[0]
    return out, silu(out)[1]


@mutant(of="silu", killed_by="test_silu_vjp", named="as if it were tanh")
def silu_slope_of_tanh(x):
    s = sigmoid(x)
    return x * s, lambda g: (g * (s + x * (1 - s) * (1 + s)),)


@mutant(of="silu", killed_by="test_silu_vjp", named="the gradient fits your output")
def silu_of_twice_x(x):
    t = np.tanh(x)
    return 0.5 * x * (1 + t), lambda g: (0.5 * g * (1 + t + x * (1 - t * t)),)


@mutant(of="linear", killed_by="test_linear_without_bias", named="does not change with this")
def linear_bias_never_used(x, weight, bias=None):
    return linear(x, weight)[0], linear(x, weight, bias)[1]


@mutant(of="swiglu", killed_by="test_swiglu_value", named="up is added")
def swiglu_added(gate, up):
    return silu(gate)[0] + up, swiglu(gate, up)[1]


# ---------------------------------------------------------------------------------------------
# What is recognized without a list
# ---------------------------------------------------------------------------------------------


@mutant(of="linear", killed_by="test_linear_vjp", named="only the first row counts")
def linear_weight_of_the_first_row(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)

    def first(g):
        dx, _, *dbias = vjp(g)
        rows = g.reshape(-1, g.shape[-1])[:1].T @ x.reshape(-1, x.shape[-1])[:1]
        return dx, rows, *dbias

    return out, first


@mutant(of="linear", killed_by="test_linear_vjp", named="stands the sum of all entries")
def linear_bias_summed_over_everything(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)
    return out, lambda g: (*vjp(g)[:2], *(np.full_like(b, g.sum()) for b in vjp(g)[2:]))


@mutant(of="silu", killed_by="test_silu_value", named="this is x + σ(x)")
def silu_added(x):
    return x + sigmoid(x), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_value", named="clipped at 20 inside of the sigmoid")
def silu_of_a_clipped_gate(x):
    return x * sigmoid(np.clip(x, -20, 20)), silu(x)[1]


@mutant(of="silu", killed_by="test_silu_vjp", named="· (1 − σ(x))² · g; g · σ(x)")
def silu_vjp_square(x):
    s = sigmoid(x)
    return silu(x)[0], lambda g: (g * (s + x * s * (1 - s) ** 2),)


@mutant(of="gelu", killed_by="test_gelu_value", named="this is ½ x + ½ x · erf(x/2)")
def gelu_half_of_x(x):
    erf = np.vectorize(math.erf, otypes=[np.float64])
    return (x * (0.5 + 0.5 * erf(x / 2))).astype(x.dtype), gelu(x)[1]


@mutant(of="gelu", killed_by="test_gelu_vjp", named="½ x² · φ(x) · g; g · Φ(x)")
def gelu_vjp_integrated(x):
    out, vjp = gelu(x)
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return out, lambda g: ((vjp(g)[0] + g * (0.5 * x * x - x) * density).astype(g.dtype),)


@mutant(of="swiglu", killed_by="test_swiglu_vjp", named="gate stands where up belongs")
def swiglu_gate_beside_its_slope(gate, up):
    out, vjp = swiglu(gate, up)
    return out, lambda g: (swiglu(gate, gate)[1](g)[0], vjp(g)[1])


@mutant(of="swiglu", killed_by="test_swiglu_vjp", named="gate and up are exchanged")
def swiglu_slope_of_up(gate, up):
    out, vjp = swiglu(gate, up)
    return out, lambda g: (swiglu(up, gate)[1](g)[0], vjp(g)[1])


@mutant(of="swiglu", killed_by="test_swiglu_large", named="gate stands where up belongs")
def swiglu_gate_beside_its_slope_far_out(gate, up):
    return swiglu_gate_beside_its_slope(gate, up)


@mutant(of="linear", killed_by="test_linear_vjp", named="summed before they are multiplied")
def linear_weight_of_sums(x, weight, bias=None):
    out, vjp = linear(x, weight, bias)
    sums = x.reshape(-1, x.shape[-1]).sum(0)
    return out, lambda g: (
        vjp(g)[0],
        np.outer(g.reshape(-1, g.shape[-1]).sum(0), sums),
        *vjp(g)[2:],
    )
