"""Graders of chapter 04: linear, silu, gelu, swiglu."""

import math

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
    points,
)

TITLE = "Linear layers and SwiGLU"
ASSIGNED = {
    "linear": "functional.linear",
    "silu": "autograd.ops",
    "gelu": "functional.gaussian",
    "swiglu": "functional.activations",
    "maximum": "autograd.ops",
}
STRETCH = ("maximum",)

LINEAR = [((2, 5, 3), (4, 3), (4,)), ((3, 7), (2, 7), (2,)), ((5,), (3, 5), (3,))]
LINEAR_EDGES = [((1, 1), (1, 1), (1,)), ((0, 3), (2, 3), (2,)), ((2, 0, 3), (4, 3), (4,))]
LINEAR_AXES = {
    "out": "batch time out",
    "x": "batch time in",
    "weight": "out in",
    "bias": "out",
}
ELEMENTWISE = [(2, 5), (1,), (3, 0, 4), (), (3, 1, 7)]
RANGE = np.linspace(-39.5, 41.0, 47)  # where a sigmoid is nearly, but not yet, 0 or 1


CLIPS = (10, 15, 20, 30, 40, 50, 60, 80, 88, 100, 500, 700)
OVERFLOW = "e^x overflows far from 0: take e^-|x| for both signs, or tanh"


def sigmoid(x):
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def silu_slope(x):
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)))


def normal_cdf(x):
    return 0.5 + 0.5 * np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2))


def normal_density(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def rows(a):
    return a.reshape(-1, a.shape[-1])


# ---------------------------------------------------------------------------------------------
# linear, 9 points
# ---------------------------------------------------------------------------------------------


@points(1, "linear: the example")
def test_linear_example(submission):
    """The example in the docstring, worked out on paper."""
    check_example(submission.linear)


@points(2, "linear: value")
def test_linear_value(submission):
    """The weight is (out, in), so it is transposed; the bias is added to every row."""
    check_value(
        submission.linear,
        shapes=LINEAR + LINEAR_EDGES,
        axes=LINEAR_AXES,
        mistakes={
            "the bias is not added": lambda x, w, b: x @ w.T,
            "the bias is subtracted": lambda x, w, b: x @ w.T - b,
            "the bias is added twice": lambda x, w, b: x @ w.T + 2 * b,
            "weight is (out, in): it has to be transposed": lambda x, w, b: x @ w + b,
        },
    )


@points(1, "linear: without a bias")
def test_linear_without_bias(submission):
    """bias=None means that nothing is added, and that vjp returns two gradients."""
    cases = [case(normal(2, 5), normal(3, 5)), case(normal(2, 2, 3), normal(1, 3), bias=None)]
    check_value(submission.linear, cases, axes=LINEAR_AXES)
    check_vjp(submission.linear, cases, axes=LINEAR_AXES)
    zeros = "a bias of zeros is taken for none: ask `if bias is None`"
    with likely(zeros, unless=lambda: check_vjp(submission.linear, shapes=LINEAR[:2])):
        check_vjp(submission.linear, [case(normal(2, 5), normal(3, 5), np.zeros(3))])


@points(4, "linear: gradients")
def test_linear_vjp(submission):
    """weight and bias are shared by all rows, so their gradients are sums over all rows."""
    check_vjp(
        submission.linear,
        shapes=LINEAR + LINEAR_EDGES,
        axes=LINEAR_AXES,
        mistakes={
            "g is multiplied by the transposed weight: dx = g W": lambda x, w, b, g: (
                g @ w.T if g.shape[-1] == w.shape[-1] else None,
                None,
                None,
            ),
            "the weight's gradient is transposed: it is (out, in) = gᵀ x": lambda x, w, b, g: (
                None,
                rows(x).T @ rows(g),
                None,
            ),
            "the weight's gradient must be summed over all rows, batch and time": (
                lambda x, w, b, g: (
                    None,
                    (np.swapaxes(g, -1, -2) @ x)[-1] if x.ndim > 2 else None,
                    None,
                )
            ),
            "x and g are summed before they are multiplied; each row has a product of its own": (
                lambda x, w, b, g: (None, np.outer(rows(g).sum(0), rows(x).sum(0)), None)
            ),
            "the bias' gradient is summed over the first axis only": lambda x, w, b, g: (
                None,
                None,
                g.sum(0),
            ),
            "the bias' gradient is the mean over the rows, where the sum belongs": (
                lambda x, w, b, g: (None, None, rows(g).mean(0))
            ),
            "the weight's gradient is the mean over the rows, where the sum belongs": (
                lambda x, w, b, g: (None, rows(g).T @ rows(x) / max(len(rows(x)), 1), None)
            ),
        },
    )


@points(1, "linear: fit for the model")
def test_linear_manners(submission):
    """float32 in, float32 out; no argument is changed; views work."""
    check_manners(submission.linear, shapes=LINEAR)


# ---------------------------------------------------------------------------------------------
# silu, 7 points
# ---------------------------------------------------------------------------------------------


def gates(x, **more):
    """The factors of which whatever resembles SiLU is made, and its slope."""
    s = sigmoid(x)
    made = {"x": x, "σ(x)": s, "(1 − σ(x))": 1 - s, "tanh(x)": np.tanh(x), "e^x": np.exp(x)}
    return made | {"ln(1 + e^x)": np.logaddexp(x, 0), "relu(x)": np.maximum(x, 0)} | more


def bells(x, **more):
    """The same for GELU."""
    e = np.vectorize(math.erf, otypes=[float])
    made = {"x": x, "Φ(x)": normal_cdf(x), "φ(x)": normal_density(x), "erf(x)": e(x)}
    made |= {"erf(x/2)": e(x / 2), "erf(√2 x)": e(math.sqrt(2) * x), "tanh(x)": np.tanh(x)}
    made |= {"e^(-x²/2)": np.exp(-x * x / 2), "e^(-x²)": np.exp(-x * x)}
    return made | {"σ(x)": sigmoid(x)} | more


SILU_SLOPES = {  # wrong ones that are near g far from 0, where they would look like g itself
    "the first term is σ, not 1: σ + x σ (1 - σ)": lambda x, g: (
        g * (1 + x * sigmoid(x) * (1 - sigmoid(x))),
    ),
}


@points(1, "silu: the example")
def test_silu_example(submission):
    """The example in the docstring, as worked out on paper."""
    check_example(submission.silu)


@points(1, "silu: value")
def test_silu_value(submission):
    """x times the sigmoid of x, in every entry."""
    check_value(
        submission.silu,
        [case(RANGE, label="from -40 to 40")],
        shapes=ELEMENTWISE,
        formula=("x · σ(x)", gates),
        mistakes={
            "this is the sigmoid alone: x is not multiplied in": sigmoid,
            "this is x σ(1.702 x), which resembles GELU; SiLU is x σ(x)": lambda x: (
                x * sigmoid(1.702 * x)
            ),
            "this is x σ(2x): tanh(x) is 2 σ(2x) - 1, so half of x belongs in it": lambda x: (
                x * sigmoid(2 * x)
            ),
            "this is GELU, x Φ(x): the gate must be the sigmoid": lambda x: x * normal_cdf(x),
            "the sigmoid is taken of |x|": lambda x: x * sigmoid(np.abs(x)),
            "this is x σ(x/2)": lambda x: x * sigmoid(0.5 * x),
            "this is softplus, ln(1 + eˣ)": lambda x: np.logaddexp(x, 0.0),
            "the gate is straight between -3 and 3, a hard sigmoid; it is the smooth one": (
                lambda x: x * np.clip(x / 6 + 0.5, 0, 1)
            ),
            "this is x * sigmoid(-x): the sign in the exponential is wrong": (
                lambda x: x * sigmoid(-x)
            ),
            "this is x * tanh(x): the gate must be the sigmoid": lambda x: x * np.tanh(x),
            "this is ReLU, which cuts off what is below 0": lambda x: np.maximum(x, 0),
            **{
                f"x is clipped at {m} inside of the sigmoid": lambda x, m=m: (
                    x * sigmoid(np.clip(x, -m, m))
                )
                for m in (3, 5, 6, *CLIPS)
            },
        },
    )


@points(1, "silu: large numbers")
def test_silu_large(submission):
    """e to the power of 1000 overflows; the sigmoid itself does not."""
    far = np.array([-1e4, -800.0, -90.0, 0.0, 90.0, 800.0, 1e4])
    clipped = {
        f"x or its exponential is clipped at {m}": lambda x, m=m: (
            np.clip(x, -m, m) * sigmoid(np.clip(x, -m, m))
        )
        for m in CLIPS
    }
    beyond = {
        f"x is clipped at {m}, outside of the sigmoid": lambda x, m=m: (
            np.clip(x, -m, m) * sigmoid(x)
        )
        for m in CLIPS
    }
    inside = {
        f"x is clipped at {m} inside of the sigmoid": lambda x, m=m: x * sigmoid(np.clip(x, -m, m))
        for m in CLIPS
    }
    with likely(OVERFLOW, unless=lambda: check_value(submission.silu, shapes=ELEMENTWISE[:2])):
        check_value(submission.silu, [case(far)], mistakes=clipped | beyond | inside)
    with likely(OVERFLOW, unless=lambda: check_vjp(submission.silu, shapes=ELEMENTWISE[:2])):
        check_vjp(submission.silu, [case(far)], mistakes=SILU_SLOPES)
    check_manners(submission.silu, [case(far)])


@points(3, "silu: gradient")
def test_silu_vjp(submission):
    """The product rule: σ + x σ (1 - σ), times g."""
    check_vjp(
        submission.silu,
        shapes=ELEMENTWISE,
        terms={
            "x": {
                "the term σ": lambda x, g: g * sigmoid(x),
                "the term x σ (1 - σ)": lambda x, g: g * x * sigmoid(x) * (1 - sigmoid(x)),
            }
        },
        formulas={
            "x": ("g · σ(x) + g · x · σ(x) · (1 − σ(x))", lambda x, g: gates(x, g=g)),
        },
        mistakes={
            "the product rule's second term is missing": lambda x, g: (g * sigmoid(x),),
            "the product rule's first term is missing": lambda x, g: (
                g * x * sigmoid(x) * (1 - sigmoid(x)),
            ),
            "this is the slope of the sigmoid alone": lambda x, g: (
                g * sigmoid(x) * (1 - sigmoid(x)),
            ),
            "the sigmoid's slope is σ (1 - σ); here it is σ": lambda x, g: (
                g * sigmoid(x) * (1 + x),
            ),
            "the sigmoid's slope is σ (1 - σ); here it is 1 - σ², as if it were tanh": (
                lambda x, g: (g * (sigmoid(x) + x * (1 - sigmoid(x) ** 2)),)
            ),
            "the sigmoid's slope is σ (1 - σ); here it is σ (1 + σ)": lambda x, g: (
                g * sigmoid(x) * (1 + x * (1 + sigmoid(x))),
            ),
            "the sigmoid's slope is σ (1 - σ); here it is 1 - σ": lambda x, g: (
                g * (sigmoid(x) + x * (1 - sigmoid(x))),
            ),
            "the sigmoid's slope is σ (1 - σ); here it is σ²": lambda x, g: (
                g * sigmoid(x) * (1 + x * sigmoid(x)),
            ),
            "x is missing in the second term: x σ (1 - σ)": lambda x, g: (
                g * sigmoid(x) * (2 - sigmoid(x)),
            ),
            "g is added; the slope is multiplied by it": lambda x, g: (g + silu_slope(x),),
            "the output stands where σ belongs in 1 - σ": lambda x, g: (
                g * sigmoid(x) * (1 + x * (1 - x * sigmoid(x))),
            ),
            **SILU_SLOPES,
            "this is g times silu(x) itself; its slope is asked for": lambda x, g: (
                g * x * sigmoid(x),
            ),
            "a bracket is misplaced: the slope is σ (1 + x (1 - σ))": lambda x, g: (
                g * sigmoid(x) * (1 + x - sigmoid(x)),
            ),
            "this is the slope of ReLU, 0 or 1": lambda x, g: (g * (x > 0),),
        },
    )


@points(1, "silu: fit for the model")
def test_silu_manners(submission):
    """float32 in, float32 out; x is not changed; views work."""
    check_manners(submission.silu, shapes=ELEMENTWISE)


# ---------------------------------------------------------------------------------------------
# gelu, 7 points
# ---------------------------------------------------------------------------------------------


@points(1, "gelu: the example")
def test_gelu_example(submission):
    """The example in the docstring, with the exact Φ."""
    check_example(submission.gelu)


@points(1, "gelu: value")
def test_gelu_value(submission):
    """x times the normal distribution function, the exact one."""
    u = math.sqrt(2 / math.pi)
    check_value(
        submission.gelu,
        [case(RANGE, label="from -40 to 40")],
        shapes=ELEMENTWISE,
        formula=("x · Φ(x)", bells),
        mistakes={
            "this is the tanh approximation; the exact form is asked for": lambda x: (
                0.5 * x * (1 + np.tanh(u * (x + 0.044715 * x**3)))
            ),
            "this is the sigmoid approximation x σ(1.702 x); the exact form is asked for": (
                lambda x: x * sigmoid(1.702 * x)
            ),
            "x is not divided by √2 inside erf": lambda x: x * normal_cdf(x * math.sqrt(2)),
            "this is Φ(x) alone: x is not multiplied in": normal_cdf,
            "this is x Φ(-x): a sign is wrong": lambda x: x * normal_cdf(-x),
            "this is ReLU, which cuts off what is below 0": lambda x: np.maximum(x, 0),
            "Φ is (1 + erf(…)) / 2; the 1 is missing": lambda x: x * (normal_cdf(x) - 0.5),
        },
    )


@points(1, "gelu: large numbers")
def test_gelu_large(submission):
    """Far out GELU is 0 or x, and its slope 0 or 1."""
    far = np.array([-1e4, -40.0, -9.0, 9.0, 40.0, 1e4])
    known = {
        "this is the sigmoid approximation x σ(1.702 x); the exact form is asked for": (
            lambda x: x * sigmoid(1.702 * x)
        )
    }
    check_value(submission.gelu, [case(far)], mistakes=known)
    check_vjp(submission.gelu, [case(far)])


@points(3, "gelu: gradient")
def test_gelu_vjp(submission):
    """The product rule: Φ + x φ, times g; φ is the density with its 1/√(2π)."""
    check_vjp(
        submission.gelu,
        shapes=ELEMENTWISE,
        terms={
            "x": {
                "the term Φ": lambda x, g: g * normal_cdf(x),
                "the term x φ": lambda x, g: g * x * normal_density(x),
            }
        },
        formulas={"x": ("g · Φ(x) + g · x · φ(x)", lambda x, g: bells(x, g=g))},
        mistakes={
            "the product rule's second term, x times the density, is missing": lambda x, g: (
                g * normal_cdf(x),
            ),
            "the density is not multiplied by x": lambda x, g: (
                g * (normal_cdf(x) + normal_density(x)),
            ),
            "x² stands where x belongs before the density": lambda x, g: (
                g * (normal_cdf(x) + x * x * normal_density(x)),
            ),
            "g is added; the slope is multiplied by it": lambda x, g: (
                g + normal_cdf(x) + x * normal_density(x),
            ),
            "the density's exponent is -x²/2, not +x²/2": lambda x, g: (
                g * (normal_cdf(x) + x * np.exp(0.5 * x * x) / math.sqrt(2 * math.pi)),
            ),
            "the density's factor 1/√(2π) is missing": lambda x, g: (
                g * (normal_cdf(x) + x * np.exp(-0.5 * x * x)),
            ),
            "the density's exponent is -x²/2, not -x²": lambda x, g: (
                g * (normal_cdf(x) + x * np.exp(-x * x) / math.sqrt(2 * math.pi)),
            ),
        },
    )


@points(1, "gelu: fit for the model")
def test_gelu_manners(submission):
    """float32 in, float32 out, though erf computes in float64."""
    check_manners(submission.gelu, shapes=ELEMENTWISE)


# ---------------------------------------------------------------------------------------------
# swiglu, 7 points
# ---------------------------------------------------------------------------------------------


def of_gate_and_up(a, b, **more):
    """The factors of swiglu and of its gradients, right and wrong ones."""
    s, t = sigmoid(a), sigmoid(b)
    made = {"gate": a, "up": b, "σ(gate)": s, "(1 − σ(gate))": 1 - s}
    return made | {"σ(up)": t, "(1 − σ(up))": 1 - t, "tanh(gate)": np.tanh(a)} | more


@points(1, "swiglu: the example")
def test_swiglu_example(submission):
    """The example in the docstring, gate first, then up."""
    check_example(submission.swiglu)


@points(1, "swiglu: value")
def test_swiglu_value(submission):
    """SiLU acts on the gate, not on up."""
    check_value(
        submission.swiglu,
        [case(RANGE, normal(RANGE.size), label="gates from -40 to 40")],
        shapes=[(shape, shape) for shape in ELEMENTWISE],
        formula=("gate · σ(gate) · up", of_gate_and_up),
        mistakes={
            "up is added; it is multiplied": lambda a, b: a * sigmoid(a) + b,
            "σ(gate) is a factor twice": lambda a, b: a * sigmoid(a) ** 2 * b,
            "this is gate · up: σ(gate) is missing": lambda a, b: a * b,
            "gate and up are swapped: silu belongs on the gate": lambda a, b: a * b * sigmoid(b),
            "this is GLU, σ(gate) · up: silu has the gate as a factor too": lambda a, b: (
                sigmoid(a) * b
            ),
            "silu is applied to the product of both": lambda a, b: a * b * sigmoid(a * b),
            "silu is applied to both; up stays as it is": lambda a, b: (
                a * b * sigmoid(a) * sigmoid(b)
            ),
            "the gate is ReLU here; it is SiLU": lambda a, b: np.maximum(a, 0) * b,
            "this is gate · σ(-gate) · up: a sign is wrong": lambda a, b: a * sigmoid(-a) * b,
            "the gate is gate · tanh(gate); it is gate · σ(gate)": lambda a, b: a * np.tanh(a) * b,
            "the gate is GELU here, as in GEGLU; it is SiLU": lambda a, b: a * normal_cdf(a) * b,
        },
    )


@points(1, "swiglu: gate of large numbers")
def test_swiglu_large(submission):
    """A gate far below zero is closed: 0, not NaN."""
    gate = np.array([-1e4, -800.0, 0.0, 800.0, 1e4])
    two = [(shape, shape) for shape in ELEMENTWISE[:2]]
    with likely(OVERFLOW, unless=lambda: check_value(submission.swiglu, shapes=two)):
        check_value(submission.swiglu, [case(gate, normal(5))])
    with likely(OVERFLOW, unless=lambda: check_vjp(submission.swiglu, shapes=two)):
        check_vjp(submission.swiglu, [case(gate, normal(5))])


@points(3, "swiglu: gradients")
def test_swiglu_vjp(submission):
    """d gate has silu's whole slope and up; d up has silu(gate)."""
    check_vjp(
        submission.swiglu,
        shapes=[(shape, shape) for shape in ELEMENTWISE],
        terms={
            "gate": {
                "the term up · σ": lambda a, b, g: g * b * sigmoid(a),
                "the term up · gate · σ (1 - σ)": lambda a, b, g: (
                    g * b * a * sigmoid(a) * (1 - sigmoid(a))
                ),
            }
        },
        formulas={
            "gate": (
                "g · up · σ(gate) + g · up · gate · σ(gate) · (1 − σ(gate))",
                lambda a, b, g: of_gate_and_up(a, b, g=g),
            ),
            "up": ("g · gate · σ(gate)", lambda a, b, g: of_gate_and_up(a, b, g=g)),
        },
        mistakes={
            "the slope of silu(gate) lacks its second term": lambda a, b, g: (
                g * b * sigmoid(a),
                None,
            ),
            "silu(gate) stands where its slope belongs": lambda a, b, g: (
                g * b * a * sigmoid(a),
                None,
            ),
            "the gate's gradient is not multiplied by up": lambda a, b, g: (
                g * silu_slope(a),
                None,
            ),
            "up's gradient is silu(gate), not σ(gate)": lambda a, b, g: (None, g * sigmoid(a)),
            "up's gradient is silu(gate), not its slope": lambda a, b, g: (None, g * silu_slope(a)),
            "up's gradient is silu(gate), not gate": lambda a, b, g: (None, g * a),
            "up's gradient is silu(gate), not the output, which has up as a factor": (
                lambda a, b, g: (None, g * a * sigmoid(a) * b)
            ),
        },
    )


@points(1, "swiglu: fit for the model")
def test_swiglu_manners(submission):
    """float32 in, float32 out; gate and up are not changed; views work."""
    check_manners(submission.swiglu, shapes=[(shape, shape) for shape in ELEMENTWISE])


# ---------------------------------------------------------------------------------------------
# maximum, for honor
# ---------------------------------------------------------------------------------------------

PAIRS = [((2, 5), (2, 5)), ((2, 3, 4), (4,)), ((3, 1), (2, 1, 5)), ((0, 3), (3,)), ((), ())]


def summed_to(g, shape):
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


@points(0, "maximum: the example")
def test_maximum_example(submission):
    """The example in the docstring, with its tie."""
    check_example(submission.maximum)


@points(0, "maximum: value and gradients")
def test_maximum_vjp(submission):
    """The larger operand gets g, summed over what was broadcast."""
    smaller = {"this is the smaller of two": np.minimum}
    check_value(submission.maximum, shapes=PAIRS, mistakes=smaller)
    check_vjp(
        submission.maximum,
        shapes=PAIRS,
        mistakes={
            "both operands get all of g; it belongs to the larger": lambda x, y, g: (
                summed_to(g, x.shape),
                summed_to(g, y.shape),
            ),
            "both operands get half of g; that is for ties alone": lambda x, y, g: (
                summed_to(g / 2, x.shape),
                summed_to(g / 2, y.shape),
            ),
            "g is multiplied by the operand: the slope of the larger one is 1": lambda x, y, g: (
                summed_to(g * x * (x > y), x.shape),
                summed_to(g * y * (y > x), y.shape),
            ),
            "the smaller operand gets g, or the gradients are in each other's place": (
                lambda x, y, g: (summed_to(g * (x < y), x.shape), summed_to(g * (y < x), y.shape))
            ),
        },
    )


@points(0, "maximum: ties")
def test_maximum_ties(submission):
    """Two equal operands share g half and half: together they get g, whatever their order."""
    x, y = normal(4, 5), normal(4, 5)
    y[::2] = x[::2]
    _, vjp = submission.maximum(x, y)
    g = normal(4, 5)
    told = "maximum: the gradient of {} with ties in every other row"
    names = {
        "a tie gives g to neither operand": g * 0,
        "a tie gives all of g to both: that counts it twice": g,
        "a tie gives all of g to one operand, by their order": g,
    }
    both = vjp(g)
    for name, mine, wins in (("x", both[0], x > y), ("y", both[1], y > x)):
        wrong = {words: np.where(x == y, share, g * wins) for words, share in names.items()}
        if np.any(((both[0] == 0) != (both[1] == 0)) & (x == y)):
            del wrong["a tie gives all of g to both: that counts it twice"]
        expected = np.where(x == y, 0.5 * g, g * wins)
        check_close(mine, expected, told.format(name), mistakes=wrong)


@points(0, "maximum: fit for the model")
def test_maximum_manners(submission):
    """float32 in, float32 out, ties too; x, y and g are not changed; views work."""
    check_manners(submission.maximum, shapes=PAIRS)
    x = normal(3, 4)
    check_manners(submission.maximum, [case(x, x.copy())])
