"""Graders of chapter 05: rms_norm, layer_norm."""

import numpy as np

from tinyqwen.course import (
    case,
    check_close,
    check_example,
    check_manners,
    check_value,
    check_vjp,
    likely,
    normal,
    output,
    points,
)

TITLE = "Normalization and the residual stream"
ASSIGNED = {
    "rms_norm": "functional.normalization",
    "layer_norm": "functional.normalization",
    "var": "autograd.reductions",
}
STRETCH = ("var",)

RMS = [((2, 5, 7), (7,)), ((3, 4), (4,)), ((6,), (6,)), ((2, 3, 2, 5), (5,))]
LAYER = [(x, w, w) for x, w in RMS]
EDGES = [((0, 3), (3,)), ((2, 0, 4), (4,))]
AXES = {"out": "batch time feature", "x": "batch time feature", "weight": "feature"}


def rms(x, axis=-1, eps=0.0, mean=np.mean):
    return np.sqrt(mean(x * x, axis=axis, keepdims=True) + eps)


def standardized(x, axis=-1, eps=0.0, ddof=0):
    deviation = x - x.mean(axis, keepdims=True)
    return deviation / np.sqrt(x.var(axis, keepdims=True, ddof=ddof) + eps)


def rows(a):
    return a.reshape(-1, a.shape[-1])


def mean(a):
    return a.mean(-1, keepdims=True)


def spread(x, eps):
    return np.sqrt(x.var(-1, keepdims=True) + eps)


def normed(x, eps):
    return (x - mean(x)) / spread(x, eps)


def of_text(a):
    """The mean over all axes but the first: that of a whole text."""
    return a.mean(tuple(range(1, a.ndim)), keepdims=True)


def hat(x, eps):
    return x / rms(x, eps=eps)


def through_the_root(x, w, g, eps):
    return -hat(x, eps) * mean(g * w * hat(x, eps)) / rms(x, eps=eps)


RMS_TERMS = {
    "x": {
        "the direct term, g γ / rms,": lambda x, w, g, eps: g * w / rms(x, eps=eps),
        "the term through the root": through_the_root,
    }
}


def of_rms(x, w, eps):
    made = {"x": x, "γ": w, "rms": rms(x, eps=eps), "rms(γ x)": rms(w * x, eps=eps)}
    return made | {"mean(x)": mean(x), "std": rms(x - mean(x))}


def of_weights(g, w, x, y, rms):
    return {"g": g, "γ": w, "x": x, "x̂": y, "rms": rms}


def of_rms_gradient(x, w, g, eps):
    u, y = g * w, hat(x, eps)
    means = {"mean(u x̂)": mean(u * y), "mean(g x̂)": mean(g * y), "mean(u)": mean(u)}
    means |= {"mean(g)": mean(g), "mean(u x)": mean(u * x), "Σ u x̂": (u * y).sum(-1, keepdims=True)}
    return {"g": g, "γ": w, "x̂": y, "rms": rms(x, eps=eps)} | means


RMS_FORMULAS = {
    "x": ("g · γ / rms − x̂ · mean(u x̂) / rms, with u = g γ,", of_rms_gradient),
    "weight": ("Σ g · x̂", lambda x, w, g, eps: of_weights(g, w, x, hat(x, eps), rms(x, eps=eps))),
}
RMS_GRADIENTS = {
    "the root is held constant: its own gradient is missing": lambda x, w, g, eps: (
        g * w / rms(x, eps=eps),
        None,
    ),
    "dx lacks the weight": lambda x, w, g, eps: (
        (g - hat(x, eps) * mean(g * hat(x, eps))) / rms(x, eps=eps),
        None,
    ),
    "dx has a sum where the mean over the features belongs": lambda x, w, g, eps: (
        (g * w - hat(x, eps) * (g * w * hat(x, eps)).sum(-1, keepdims=True)) / rms(x, eps=eps),
        None,
    ),
    "the mean of u = g γ is subtracted too: that is LayerNorm's dx, which subtracts a mean": (
        lambda x, w, g, eps: (
            (g * w - mean(g * w) - hat(x, eps) * mean(g * w * hat(x, eps))) / rms(x, eps=eps),
            None,
        )
    ),
    "the second term of dx has the wrong sign": lambda x, w, g, eps: (
        (g * w + hat(x, eps) * mean(g * w * hat(x, eps))) / rms(x, eps=eps),
        None,
    ),
    "the second term of dx takes x; it is the normalized x̂, in both places": (
        lambda x, w, g, eps: ((g * w - x * mean(g * w * x)) / rms(x, eps=eps), None)
    ),
    "the mean in dx lacks the weight: mean(u x̂), u = g γ": lambda x, w, g, eps: (
        (g * w - hat(x, eps) * mean(g * hat(x, eps))) / rms(x, eps=eps),
        None,
    ),
    "the weight stands in front of all of dx; it belongs to g, inside the mean: u = g γ": (
        lambda x, w, g, eps: (
            w * (g - hat(x, eps) * mean(g * hat(x, eps))) / rms(x, eps=eps),
            None,
        )
    ),
    "the second term of dx is divided by mean(x²) without eps": lambda x, w, g, eps: (
        (g * w - x * mean(g * w * x) / rms(x) ** 2) / rms(x, eps=eps),
        None,
    ),
    "the second term of dx lacks x̂: it is x̂ mean(u x̂)": lambda x, w, g, eps: (
        (g * w - mean(g * w * hat(x, eps))) / rms(x, eps=eps),
        None,
    ),
    "the mean in dx runs over all axes; each token has its own": lambda x, w, g, eps: (
        (g * w - hat(x, eps) * (g * w * hat(x, eps)).mean()) / rms(x, eps=eps),
        None,
    ),
    "dx is divided by the rms twice: one factor r too many": lambda x, w, g, eps: (
        (g * w - hat(x, eps) * mean(g * w * hat(x, eps))) / rms(x, eps=eps) ** 2,
        None,
    ),
    "dx is not divided by the rms: the factor r in front is missing": (
        lambda x, w, g, eps: (g * w - hat(x, eps) * mean(g * w * hat(x, eps)), None)
    ),
    "the second term of dx takes x once; it is the normalized x̂, in both places": (
        lambda x, w, g, eps: (
            (g * w - x * mean(g * w * hat(x, eps))) / rms(x, eps=eps),
            None,
        )
    ),
    "the weight's gradient takes x; it is the normalized x̂": lambda x, w, g, eps: (
        None,
        rows(g * x).sum(0),
    ),
    "the weight's gradient is multiplied by the weight; g x̂ is summed, not u x̂": (
        lambda x, w, g, eps: (None, rows(g * w * hat(x, eps)).sum(0))
    ),
    "the weight's gradient is that of the last row; it is the sum over the rows": (
        lambda x, w, g, eps: (None, rows(g * hat(x, eps))[-1] if len(rows(x)) else None)
    ),
    "the weight's gradient is summed over the features, the last axis": lambda x, w, g, eps: (
        None,
        (g * hat(x, eps)).sum(-1),
    ),
    "the mean in dx is that of u; it is mean(u x̂)": lambda x, w, g, eps: (
        (g * w - hat(x, eps) * mean(g * w)) / rms(x, eps=eps),
        None,
    ),
    "the weight's gradient is not summed over the rows": lambda x, w, g, eps: (
        None,
        g * hat(x, eps),
    ),
    "the weight's gradient is summed over the first axis only": lambda x, w, g, eps: (
        None,
        (g * hat(x, eps)).sum(0),
    ),
    "the weight's gradient is a mean over the rows, where the sum belongs": (
        lambda x, w, g, eps: (None, rows(g * hat(x, eps)).mean(0))
    ),
}


# ---------------------------------------------------------------------------------------------
# rms_norm, 10 points
# ---------------------------------------------------------------------------------------------


@points(1, "rms_norm: the example")
def test_rms_norm_example(submission):
    """The example in the docstring, worked out on paper."""
    check_example(submission.rms_norm)


@points(2, "rms_norm: value")
def test_rms_norm_value(submission):
    """The mean of the squares over the last axis, its root, and the weight."""
    check_value(
        submission.rms_norm,
        shapes=RMS + EDGES,
        axes=AXES,
        eps=1e-6,
        formula=("γ · x / rms", of_rms),
        mistakes={
            "the weight is not multiplied in": lambda x, w, eps: x / rms(x, eps=eps),
            "the weight acts as 1 + weight, as in Gemma; Qwen2 multiplies by weight": (
                lambda x, w, eps: (1 + w) * x / rms(x, eps=eps)
            ),
            "the weight is added; it is multiplied": lambda x, w, eps: w + x / rms(x, eps=eps),
            "the mean is subtracted: that is LayerNorm; RMSNorm leaves it in": (
                lambda x, w, eps: w * standardized(x, eps=eps)
            ),
            "the mean is taken over all axes; every token is normalized by itself": (
                lambda x, w, eps: w * x / rms(x, axis=None, eps=eps)
            ),
            "the mean is taken over the first axis; it belongs to the last": (
                lambda x, w, eps: w * x / rms(x, axis=0, eps=eps)
            ),
            "the mean is taken over axis 1; the features are the last axis": (
                lambda x, w, eps: w * x / rms(x, axis=1, eps=eps) if x.ndim > 2 else None
            ),
            "the sum of the squares stands where their mean belongs": (
                lambda x, w, eps: w * x / rms(x, eps=eps, mean=np.sum)
            ),
            "the square root is missing": lambda x, w, eps: w * x / rms(x, eps=eps) ** 2,
            "x is multiplied by the root; it must be divided": (
                lambda x, w, eps: w * x * rms(x, eps=eps)
            ),
            "x is divided by the deviation: np.var subtracts the mean, mean(x²) does not": (
                lambda x, w, eps: w * x / np.sqrt(x.var(-1, keepdims=True) + eps)
            ),
            "the mean of |x| stands where the root of mean(x²) belongs": (
                lambda x, w, eps: w * x / (np.abs(x).mean(-1, keepdims=True) + eps)
            ),
            "x is divided by its largest entry; it is the root of mean(x²)": (
                lambda x, w, eps: w * x / (np.abs(x).max(-1, keepdims=True) + eps)
            ),
        },
    )


@points(1, "rms_norm: where epsilon stands")
def test_rms_norm_eps(submission):
    """Epsilon is added to the mean square, inside the root; a row of zeros stays zero."""
    zeros = np.concatenate([np.zeros((1, 4)), normal(2, 4)])
    check_value(
        submission.rms_norm,
        [
            case(normal(3, 5), normal(5), eps=0.5),
            case(normal(2, 5, scale=1e-3), normal(5)),
            case(zeros, normal(4), eps=0.01, label="the first row is zero"),
        ],
        axes=AXES,
        mistakes={
            "epsilon is outside the square root": lambda x, w, eps=1e-6: w * x / (rms(x) + eps),
            "epsilon is a least value of the root, max(rms, ε); it is added to mean(x²)": (
                lambda x, w, eps=1e-6: w * x / np.maximum(rms(x), eps)
            ),
            "epsilon is squared": lambda x, w, eps=1e-6: w * x / rms(x, eps=eps * eps),
            "the argument eps is not used": lambda x, w, eps=1e-6: w * x / rms(x, eps=1e-6),
            "there is no epsilon": lambda x, w, eps=1e-6: w * x / rms(x),
            "epsilon is a least value, max(mean(x²), ε); it is added": lambda x, w, eps=1e-6: (
                w * x / np.sqrt(np.maximum(rms(x) ** 2, eps))
            ),
            "epsilon is added to the sum, before it is divided by d": lambda x, w, eps=1e-6: (
                w * x / rms(x, eps=eps / x.shape[-1])
            ),
        },
    )


@points(1, "rms_norm: the scale of x does not matter")
def test_rms_norm_scale(submission):
    """The norm of 1000 x is the norm of x; that also holds where x is large."""
    x, weight = normal(2, 3, 5), normal(5)
    out = output(submission.rms_norm, x, weight, eps=0.0)
    scaled = output(submission.rms_norm, 1000 * x, weight, eps=0.0)
    check_close(scaled, out, "rms_norm(1000 x), compared with your rms_norm(x),", axes=AXES["x"])
    check_value(submission.rms_norm, shapes=RMS, scale=1e4, axes=AXES)
    check_vjp(
        submission.rms_norm,
        shapes=RMS[:2],
        scale=1e2,
        axes=AXES,
        eps=0.0,
        terms=RMS_TERMS,
        formulas=RMS_FORMULAS,
        mistakes=RMS_GRADIENTS,
    )


@points(4, "rms_norm: gradients")
def test_rms_norm_vjp(submission):
    """x acts directly and through the root; the weight is shared by all rows."""
    check_vjp(
        submission.rms_norm,
        shapes=RMS + EDGES,
        axes=AXES,
        eps=0.1,
        terms=RMS_TERMS,
        formulas=RMS_FORMULAS,
        mistakes=RMS_GRADIENTS,
    )


@points(1, "rms_norm: fit for the model")
def test_rms_norm_manners(submission):
    """float32 in, float32 out; x, weight and g are not changed; views work."""
    check_manners(submission.rms_norm, shapes=RMS)


# ---------------------------------------------------------------------------------------------
# layer_norm, 10 points
# ---------------------------------------------------------------------------------------------


def of_layer(x, w, b, eps):
    away = x - mean(x)
    made = {"x": x, "mean": mean(x), "(x − mean)": away, "γ": w, "b": b}
    return made | {"std": rms(away, eps=eps), "rms": rms(x, eps=eps)}


def of_layer_gradient(x, w, b, g, eps):
    u, y = g * w, normed(x, eps)
    means = {"mean(u x̂)": mean(u * y), "mean(g x̂)": mean(g * y), "mean(u)": mean(u)}
    return {"g": g, "γ": w, "x̂": y, "std": spread(x, eps), "mean(g)": mean(g)} | means


@points(1, "layer_norm: the example")
def test_layer_norm_example(submission):
    """The example in the docstring, worked out on paper."""
    check_example(submission.layer_norm)


@points(2, "layer_norm: value")
def test_layer_norm_value(submission):
    """Mean and variance over the last axis, then weight and bias."""
    check_value(
        submission.layer_norm,
        shapes=LAYER + [(x, w, w) for x, w in EDGES],
        axes=AXES,
        eps=1e-5,
        formula=("γ · (x − mean) / std + b", of_layer),
        mistakes={
            "the mean is not subtracted: that is RMSNorm": (
                lambda x, w, b, eps: w * x / rms(x, eps=eps) + b
            ),
            "x is divided by the deviation, and the mean stays in": (
                lambda x, w, b, eps: w * x / np.sqrt(x.var(-1, keepdims=True) + eps) + b
            ),
            "the bias is not added": lambda x, w, b, eps: w * standardized(x, eps=eps),
            "the weight acts as 1 + weight": lambda x, w, b, eps: (
                (1 + w) * standardized(x, eps=eps) + b
            ),
            "the weight is multiplied in before the spread is taken": lambda x, w, b, eps: (
                w * w * (x - mean(x)) / rms(w * (x - mean(x)), eps=eps) + b
            ),
            "the median is subtracted; it is the mean": lambda x, w, b, eps: (
                w
                * (x - np.median(x, -1, keepdims=True))
                / rms(x - np.median(x, -1, keepdims=True), eps=eps)
                + b
            ),
            "the mean of a text's first token is subtracted from all; each has its own": (
                lambda x, w, b, eps: (
                    w * (x - mean(x)[..., :1, :]) / rms(x - mean(x)[..., :1, :], eps=eps) + b
                    if x.ndim > 1
                    else None
                )
            ),
            "the bias is multiplied; it is added": lambda x, w, b, eps: (
                w * standardized(x, eps=eps) * b
            ),
            "the mean of |x - mean| stands where the root of the mean square belongs": (
                lambda x, w, b, eps: (
                    w * (x - mean(x)) / np.sqrt(mean(np.abs(x - mean(x))) ** 2 + eps) + b
                )
            ),
            "the variance is halved": lambda x, w, b, eps: (
                w * (x - mean(x)) / np.sqrt(0.5 * x.var(-1, keepdims=True) + eps) + b
            ),
            "the sum of the squares stands where their mean belongs": lambda x, w, b, eps: (
                w * (x - mean(x)) / np.sqrt(((x - mean(x)) ** 2).sum(-1, keepdims=True) + eps) + b
            ),
            "the mean is taken over all of a text; every token has its own": lambda x, w, b, eps: (
                w * (x - of_text(x)) / rms(x - of_text(x), eps=eps) + b
            ),
            "mean and variance are taken over all of a text; every token has its own": (
                lambda x, w, b, eps: (
                    w * (x - of_text(x)) / np.sqrt(of_text((x - of_text(x)) ** 2) + eps) + b
                )
            ),
            "the bias is added before the weight is multiplied": (
                lambda x, w, b, eps: w * (standardized(x, eps=eps) + b)
            ),
            "the variance is divided by d - 1; LayerNorm divides by d": (
                lambda x, w, b, eps: w * standardized(x, eps=eps, ddof=1) + b
            ),
            "mean and variance are taken over the first axis: that is batch normalization": (
                lambda x, w, b, eps: w * standardized(x, axis=0, eps=eps) + b
            ),
            "the spread is that along the first axis; it belongs to the last, as the mean": (
                lambda x, w, b, eps: (
                    w * (x - mean(x)) / np.sqrt(x.var(0, keepdims=True) + eps) + b
                    if x.ndim > 1
                    else None
                )
            ),
            "mean and variance are taken over all axes": lambda x, w, b, eps: (
                w * (x - x.mean()) / np.sqrt(x.var() + eps) + b
            ),
            "mean and variance are taken over the rows: that is batch normalization": (
                lambda x, w, b, eps: w * (x - rows(x).mean(0)) / np.sqrt(rows(x).var(0) + eps) + b
            ),
            "the mean is taken over the first axis; it belongs to the last, as the variance": (
                lambda x, w, b, eps: (
                    w * (x - x.mean(0)) / rms(x - x.mean(0), eps=eps) + b if x.ndim > 1 else None
                )
            ),
            "epsilon is outside the square root": lambda x, w, b, eps: (
                w * (x - mean(x)) / (x.std(-1, keepdims=True) + eps) + b
            ),
            "the mean is subtracted in the numerator, and not where the squares are averaged": (
                lambda x, w, b, eps: w * (x - mean(x)) / rms(x, eps=eps) + b
            ),
            "x is divided by the variance: the square root is missing": lambda x, w, b, eps: (
                w * (x - mean(x)) / (x.var(-1, keepdims=True) + eps) + b
            ),
        },
    )


@points(1, "layer_norm: where epsilon stands")
def test_layer_norm_eps(submission):
    """Epsilon is added to the variance, inside the root; a constant row gives the bias."""
    constant = np.concatenate([np.full((1, 4), 2.0), normal(2, 4)])
    check_value(
        submission.layer_norm,
        [
            case(normal(3, 5), normal(5), normal(5), eps=0.5),
            case(normal(2, 5, scale=1e-3), normal(5), normal(5)),
            case(constant, normal(4), normal(4), eps=0.01, label="the first row is constant"),
        ],
        axes=AXES,
        mistakes={
            "epsilon is outside the square root": lambda x, w, b, eps=1e-5: (
                w * (x - mean(x)) / (x.std(-1, keepdims=True) + eps) + b
            ),
            "the argument eps is not used": lambda x, w, b, eps=1e-5: (
                w * standardized(x, eps=1e-5) + b
            ),
            "there is no epsilon": lambda x, w, b, eps=1e-5: w * standardized(x) + b,
            "the default of eps is 1e-5 here, not rms_norm's 1e-6": lambda x, w, b, eps=1e-6: (
                w * standardized(x, eps=eps) + b
            ),
        },
    )


@points(1, "layer_norm: a shift of x does not matter")
def test_layer_norm_shift(submission):
    """The norm of x + 300 is the norm of x, to float32's precision too."""
    x = normal(2, 3, 5) + np.arange(5.0)  # no row without spread
    weight, bias = normal(5), normal(5)
    out = output(submission.layer_norm, x, weight, bias)
    shifted = output(submission.layer_norm, x + 300, weight, bias)
    check_close(shifted, out, "layer_norm(x + 300), compared with your layer_norm(x),", rtol=1e-6)
    in_short = (a.astype(np.float32) for a in (x + 300, weight, bias))
    short = output(submission.layer_norm, *in_short).astype(np.float64)
    with likely("mean(x²) - mean(x)² loses its digits: subtract the mean first"):
        what = "layer_norm(x + 300) in float32, compared with yours in float64,"
        check_close(short, shifted, what, rtol=1e-3)


@points(4, "layer_norm: gradients")
def test_layer_norm_vjp(submission):
    """x acts directly, through the mean and through the variance; weight and bias are shared."""

    def r(x, eps):
        return 1 / np.sqrt(x.var(-1, keepdims=True) + eps)

    def hat(x, eps):
        return standardized(x, eps=eps)

    def of_parameters(x, w, b, g, eps):
        made = of_weights(g, w, x, normed(x, eps), spread(x, eps))
        return made | {"b": b, "(x − mean)": x - mean(x)}

    check_vjp(
        submission.layer_norm,
        shapes=LAYER + [(x, w, w) for x, w in EDGES],
        axes={**AXES, "bias": "feature"},
        eps=0.1,
        terms={
            "x": {
                "the direct term": lambda x, w, b, g, eps: g * w * r(x, eps),
                "the term through the mean": lambda x, w, b, g, eps: -mean(g * w) * r(x, eps),
                "the term through the variance": lambda x, w, b, g, eps: (
                    -hat(x, eps) * mean(g * w * hat(x, eps)) * r(x, eps)
                ),
            }
        },
        formulas={
            "x": ("(u − mean(u) − x̂ · mean(u x̂)) / std, with u = g γ,", of_layer_gradient),
            "weight": ("Σ g · x̂", of_parameters),
            "bias": ("Σ g", of_parameters),
        },
        mistakes={
            "mean and variance are held constant": lambda x, w, b, g, eps: (
                g * w * r(x, eps),
                None,
                None,
            ),
            "the path through the mean is missing": lambda x, w, b, g, eps: (
                r(x, eps) * (g * w - hat(x, eps) * mean(g * w * hat(x, eps))),
                None,
                None,
            ),
            "the path through the variance is missing": lambda x, w, b, g, eps: (
                r(x, eps) * (g * w - mean(g * w)),
                None,
                None,
            ),
            "dx lacks the weight": lambda x, w, b, g, eps: (
                r(x, eps) * (g - mean(g) - hat(x, eps) * mean(g * hat(x, eps))),
                None,
                None,
            ),
            "the mean in dx is that of g; it is that of u = g γ": lambda x, w, b, g, eps: (
                r(x, eps) * (g * w - mean(g) - hat(x, eps) * mean(g * w * hat(x, eps))),
                None,
                None,
            ),
            "the means in dx run over all axes; each token has its own": lambda x, w, b, g, eps: (
                r(x, eps) * (g * w - (g * w).mean() - hat(x, eps) * (g * w * hat(x, eps)).mean()),
                None,
                None,
            ),
            "the last term of dx takes x - mean; it is the normalized x̂, in both places": (
                lambda x, w, b, g, eps: (
                    r(x, eps) * (g * w - mean(g * w) - (x - mean(x)) * mean(g * w * hat(x, eps))),
                    None,
                    None,
                )
            ),
            "mean(u x̂) in dx lacks the weight: u = g γ": lambda x, w, b, g, eps: (
                r(x, eps) * (g * w - mean(g * w) - hat(x, eps) * mean(g * hat(x, eps))),
                None,
                None,
            ),
            "dx is not divided by the deviation: the factor r in front is missing": (
                lambda x, w, b, g, eps: (
                    g * w - mean(g * w) - hat(x, eps) * mean(g * w * hat(x, eps)),
                    None,
                    None,
                )
            ),
            "the weight's gradient is multiplied by the weight; g x̂ is summed, not u x̂": (
                lambda x, w, b, g, eps: (None, rows(g * w * hat(x, eps)).sum(0), None)
            ),
            "the weight's gradient takes x; it is the normalized x̂": lambda x, w, b, g, eps: (
                None,
                rows(g * x).sum(0),
                None,
            ),
            "the weight's gradient takes x - mean; it is the normalized x̂": (
                lambda x, w, b, g, eps: (None, rows(g * (x - mean(x))).sum(0), None)
            ),
            "the second mean of dx takes x; it is the normalized x̂, in both places": (
                lambda x, w, b, g, eps: (
                    (g * w - mean(g * w) - x * mean(g * w * x)) / spread(x, eps),
                    None,
                    None,
                )
            ),
            "dx is divided by the deviation twice: one factor r too many": (
                lambda x, w, b, g, eps: (
                    (g * w - mean(g * w) - normed(x, eps) * mean(g * w * normed(x, eps)))
                    / spread(x, eps) ** 2,
                    None,
                    None,
                )
            ),
            "the weight's gradient is summed over the first axis only": (
                lambda x, w, b, g, eps: (None, (g * hat(x, eps)).sum(0), None)
            ),
            "the bias' gradient is summed over the first axis only": lambda x, w, b, g, eps: (
                None,
                None,
                g.sum(0),
            ),
            "the bias' gradient is not summed over the rows": lambda x, w, b, g, eps: (
                None,
                None,
                g,
            ),
            "the bias' gradient is multiplied by the weight": lambda x, w, b, g, eps: (
                None,
                None,
                rows(g * w).sum(0),
            ),
        },
    )


@points(1, "layer_norm: fit for the model")
def test_layer_norm_manners(submission):
    """float32 in, float32 out; no argument is changed; views work."""
    check_manners(submission.layer_norm, shapes=LAYER)


# ---------------------------------------------------------------------------------------------
# var, for honor
# ---------------------------------------------------------------------------------------------


def spreads(correction=0):
    """Every axis, one and several, kept or not."""
    for shape, axis in (
        ((3, 5), 1),
        ((3, 4), 0),
        ((2, 3, 4), -2),
        ((2, 3, 4), (0, -1)),
        ((4, 3), None),
        ((1, 4), 1),
    ):
        for keepdims in (False, True):
            yield case(normal(*shape), axis=axis, keepdims=keepdims, correction=correction)


def spread_over(g, x, axis, keepdims):
    if axis is None or keepdims:
        return g
    return np.expand_dims(g, axis)


@points(0, "var: the example")
def test_var_example(submission):
    """The example in the docstring, worked out on paper."""
    check_example(submission.var)


@points(0, "var: value")
def test_var_value(submission):
    """The mean square of the deviations; with correction 1, divided by n - 1."""
    check_value(
        submission.var,
        [*spreads(), *spreads(1)],
        mistakes={
            "this is the standard deviation: the root is too much": (
                lambda x, axis, keepdims, correction: np.std(
                    x, axis=axis, keepdims=keepdims, ddof=correction
                )
            ),
            "correction is added to n; it is subtracted": (
                lambda x, axis, keepdims, correction: np.var(
                    x, axis=axis, keepdims=keepdims, ddof=-correction
                )
            ),
            "this is the mean of x²: the mean is not subtracted": (
                lambda x, axis, keepdims, correction: np.mean(x * x, axis=axis, keepdims=keepdims)
            ),
            "the deviations are not squared: their absolute values are averaged": (
                lambda x, axis, keepdims, correction: np.mean(
                    np.abs(x - np.mean(x, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims
                )
            ),
            "n is the size of all of x; it is how many numbers one variance is made of": (
                lambda x, axis, keepdims, correction: (
                    np.sum(
                        (x - np.mean(x, axis=axis, keepdims=True)) ** 2,
                        axis=axis,
                        keepdims=keepdims,
                    )
                    / (x.size - correction)
                )
            ),
            "the sum of the squares is not divided by n": lambda x, axis, keepdims, correction: (
                np.sum(
                    (x - np.mean(x, axis=axis, keepdims=True)) ** 2, axis=axis, keepdims=keepdims
                )
            ),
        },
    )
    with likely("mean(x²) - mean(x)² loses its digits: subtract the mean first"):
        check_value(submission.var, [case(normal(3, 4) + 1e6, axis=1)], rtol=1e-4)


@points(0, "var: gradient")
def test_var_vjp(submission):
    """2 (x - mean) / (n - correction), times g: the path through the mean vanishes."""

    def slope(x, axis, correction, factor=2.0, center=True):
        n = x.size // np.mean(x, axis=axis).size
        away = x - np.mean(x, axis=axis, keepdims=True) if center else x
        return factor * away / (n - correction)

    def slope_of_mean(x, axis, correction):
        n = x.size // np.mean(x, axis=axis).size
        return 2 * (np.mean(x, axis=axis, keepdims=True) - x.mean()) / (n - correction)

    check_vjp(
        submission.var,
        [*spreads(), *spreads(1)],
        mistakes={
            "n is the size of all of x; it is how many numbers one variance is made of": (
                lambda x, g, axis, keepdims, correction: (
                    spread_over(g, x, axis, keepdims)
                    * (x - np.mean(x, axis=axis, keepdims=True))
                    * (2 / (x.size - correction)),
                )
            ),
            "the mean of all of x is subtracted; each variance has its own": (
                lambda x, g, axis, keepdims, correction: (
                    spread_over(g, x, axis, keepdims)
                    * (slope(x, axis, correction) + slope_of_mean(x, axis, correction)),
                )
            ),
            "correction is added to n; it is subtracted": lambda x, g, axis, keepdims, correction: (
                spread_over(g, x, axis, keepdims) * slope(x, axis, -correction),
            ),
            "this is the gradient of the standard deviation, the root": (
                lambda x, g, axis, keepdims, correction: (
                    spread_over(g, x, axis, keepdims)
                    * slope(x, axis, correction)
                    / (2 * np.std(x, axis=axis, keepdims=True, ddof=correction)),
                )
            ),
            "the factor 2 of the square is missing": lambda x, g, axis, keepdims, correction: (
                spread_over(g, x, axis, keepdims) * slope(x, axis, correction, factor=1.0),
            ),
            "this is the gradient of the mean square: the mean is not subtracted": (
                lambda x, g, axis, keepdims, correction: (
                    spread_over(g, x, axis, keepdims) * slope(x, axis, correction, center=False),
                )
            ),
        },
    )


@points(0, "var: fit for the model")
def test_var_manners(submission):
    """float32 in, float32 out; x and g are not changed; views work."""
    check_manners(submission.var, list(spreads()))
