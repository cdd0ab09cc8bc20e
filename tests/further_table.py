"""The operations of `further_ops.py` and the losses in one table: a line is all that one costs.

`test_further_ops.py` compares each with NumPy or with its definition, written out by hand, and its
gradient with differences; `test_parity_torch_ops.py` compares both with PyTorch.
"""

import math
from dataclasses import dataclass

import numpy as np
from op_draws import (
    along_axis,
    booleans,
    distinct,
    integers,
    nonempty,
    normal,
    one,
    one_distinct,
    one_positive,
    positive,
    reduction,
    shape,
    some_axis,
    variance,
)
from op_table import Op, as_dtype  # noqa: F401

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import further_ops


@dataclass(frozen=True)
class Further(Op):
    """numpy: what it computes, of arrays: NumPy's own function, or the definition written out."""

    numpy: object = None

    @property
    def run(self):
        """ours(Tensors, options): by default the method of Tensor, or the function in F."""
        method = getattr(tq.Tensor, self.function, None)
        return self.ours or method or getattr(F, self.function)


def wide(r):
    return [np.asarray(4 * normal(r, *shape(r)))], {}


def steps(r):
    return [np.asarray(2.3 * distinct(r, shape(r))[0])], {}


def division(r):
    s = shape(r, high=3)
    divisor = positive(r, *s[r.randint(0, len(s)) :]) * r.choice((1, -1))
    return [np.asarray(5 * normal(r, *s)), np.asarray(divisor)], {}


def one_axis(r):
    """Zeros among the factors, one and several in a row of them."""
    (x,), options = reduction(r, lambda r, *s: normal(r, *s) * (integers(r, 4, *s) > 0), False)
    return [x], {**options, "axis": r.choice((None, options["axis"]))}


def with_zeros(r):
    (x,), options = along_axis(r)
    return [x * (integers(r, 4, *x.shape) > 0)], options


def of_axis(r):
    (x,), options = reduction(r, lambda r, *s: distinct(r, s)[0], tuples=False)
    return [x], {**options, "axis": r.choice((None, options["axis"]))}


def gathered(r):
    x = normal(r, *nonempty(r, low=1, high=3))
    axis = some_axis(r, x.ndim)
    sizes = [r.randint(0 if i else 1, n) for i, n in enumerate(x.shape)]
    sizes[axis] = r.choice((0, 1, 5))
    return [x], {"axis": axis, "index": integers(r, x.shape[axis], *sizes)}


def gathered_by_hand(x, axis, index):
    out = np.empty(index.shape)
    for place in np.ndindex(index.shape):
        source = list(place)
        source[axis] = index[place]
        out[place] = x[tuple(source)]
    return out


def padded(r):
    x = normal(r, *nonempty(r, low=1, high=3))
    widths = tuple((r.randint(0, 2), r.randint(0, 2)) for _ in x.shape)
    return [x], {"pad_width": widths, "value": r.choice((0.0, 1.5))}


def rolled(r):
    x = normal(r, *nonempty(r, low=1, high=3))
    return [x], r.choice((
        {"shift": r.randint(-5, 5)}, {"shift": r.randint(-5, 5), "axis": some_axis(r, x.ndim)},
        {"shift": (1, -2), "axis": (0, x.ndim - 1)},
    ))  # fmt: skip


def tiled(r):
    x = normal(r, *shape(r, high=3, sides=(1, 2, 3)))
    return [x], {"reps": tuple(r.choice((1, 2, 3, 0)) for _ in range(x.ndim + r.choice((0, 1))))}


def tiled_less(r):
    return [normal(r, 2, *nonempty(r, low=1, high=2))], {"reps": (r.choice((1, 2)),)}


def repeated(r):
    x = normal(r, *nonempty(r, low=1, high=3))
    axis = r.choice((None, some_axis(r, x.ndim)))
    size = x.size if axis is None else x.shape[axis]
    return [x], {"repeats": r.choice((2, integers(r, 3, size))), "axis": axis}


def in_chunks(r):
    x = normal(r, r.choice((1, 2, 5, 6)), r.choice((1, 3, 7)))
    return [x], {"chunks": r.choice((1, 2, 3, 4)), "axis": r.choice((0, 1, -1))}


def chunks_by_hand(x, chunks, axis):
    size = -(-x.shape[axis] // chunks)
    return tuple(
        np.take(x, range(start, min(start + size, x.shape[axis])), axis)
        for start in range(0, x.shape[axis], size)
    )


def flattened(r):
    x = normal(r, *shape(r))
    start = r.randint(0, max(0, x.ndim - 1))
    end = r.randint(start, max(start, x.ndim - 1))
    return [x], r.choice(({}, {"start_axis": start, "end_axis": end - max(1, x.ndim)}))


def flattened_by_hand(x, start_axis=0, end_axis=-1):
    last = x.ndim + end_axis if end_axis < 0 else end_axis
    middle = x.shape[start_axis : last + 1]
    return x.reshape(x.shape[:start_axis] + (int(np.prod(middle)),) + x.shape[last + 1 :])


def moved(r):
    x = normal(r, *shape(r, low=2))
    axes = r.sample(range(x.ndim), 2)
    places = r.sample(range(x.ndim), 2)
    return [x], {"source": tuple(axes), "destination": (places[0], places[1] - x.ndim)}


def two_vectors(r):
    return [normal(r, r.choice((0, 1, 3))), normal(r, r.choice((1, 4)))], {}


def scored(r):
    """Rows of scores and their labels, of which some do not count."""
    lead = nonempty(r, high=2)
    x, labels = normal(r, *lead, 5), integers(r, 5, *lead)
    labels = np.where(booleans(r, *lead), labels, r.choice((labels, -100)))
    labels.reshape(-1)[:1] = 3
    return [x, labels], {
        "reduction": r.choice(("mean", "sum", "none")),
        "weight": r.choice((None, positive(r, 5))),
    }


def cross_entropy_by_hand(logits, labels, reduction, weight):
    e = np.exp(logits)
    return nll_by_hand(np.log(e / e.sum(-1, keepdims=True)), labels, reduction, weight)


def nll_by_hand(log_p, labels, reduction, weight):
    losses, weights = np.zeros(labels.shape), np.zeros(labels.shape)
    for place in np.ndindex(labels.shape):
        if labels[place] != -100:
            weights[place] = 1 if weight is None else weight[labels[place]]
            losses[place] = -weights[place] * log_p[place][labels[place]]
    if reduction == "none":
        return losses
    return losses.sum() / (weights.sum() if reduction == "mean" else 1)


def loss_torch(name):
    def loss(t, x, labels, reduction, weight):
        fn = getattr(t.nn.functional, name)
        weight = None if weight is None else t.as_tensor(weight, dtype=x.dtype)
        out = fn(x.reshape(-1, 5), labels.reshape(-1), weight=weight, reduction=reduction)
        return out.reshape(labels.shape) if reduction == "none" else out

    return loss


def two_alike(r):
    s = nonempty(r)
    return [normal(r, *s), normal(r, *s)], {"reduction": r.choice(("mean", "sum", "none"))}


def mse_by_hand(x, y, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]((x - y) ** 2)


def flat_widths(pad_width):
    return [n for pair in reversed(pad_width) for n in pair]


def torch_axis(name):
    """torch.name(x, axis, keepdim), or of all entries."""

    def fn(t, x, axis, keepdims):
        if axis is None:
            return getattr(t, name)(x).reshape((1,) * x.ndim if keepdims else ())
        return getattr(t, name)(x, axis, keepdims)

    return fn


FURTHER = [
    Further("erf", wide, numpy=np.vectorize(math.erf, otypes=[float])),
    Further("log1p", one_positive, numpy=np.log1p),
    Further("expm1", one, numpy=np.expm1),
    Further("log2", one_positive, numpy=np.log2),
    Further("log10", one_positive, numpy=np.log10),
    Further("tan", one_positive, numpy=np.tan),
    Further("sign", one_distinct, numpy=np.sign),
    Further("floor", steps, numpy=np.floor),
    Further("round", steps, numpy=np.round),
    Further("remainder", division, numpy=np.remainder),
    Further("square", one, numpy=np.square),
    Further("softplus", wide, numpy=lambda x: np.logaddexp(x, 0),
            torch=lambda t, x: t.nn.functional.softplus(x)),
    Further("leaky_relu", one_distinct, numpy=lambda x: np.maximum(x, 0.01 * x),
            torch=lambda t, x: t.nn.functional.leaky_relu(x)),
    Further("elu", one_distinct, numpy=lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
            torch=lambda t, x: t.nn.functional.elu(x)),
    Further("std", variance,
            numpy=lambda x, axis, keepdims, correction: np.std(
                x, axis=axis, ddof=correction, keepdims=keepdims)),
    Further("prod", one_axis, numpy=np.prod, torch=torch_axis("prod")),
    Further("cumprod", with_zeros, numpy=np.cumprod),
    Further("gather", gathered, numpy=gathered_by_hand,
            torch=lambda t, x, axis, index: t.gather(x, axis, index)),
    Further("pad", padded,
            numpy=lambda x, pad_width, value: np.pad(x, pad_width, constant_values=value),
            torch=lambda t, x, pad_width, value: t.nn.functional.pad(
                x, flat_widths(pad_width), value=value)),
    Further("roll", rolled, numpy=np.roll,
            torch=lambda t, x, shift, axis=None: t.roll(x, shift, axis)),
    Further("tile", tiled, numpy=np.tile, torch=lambda t, x, reps: t.tile(x, reps)),
    Further("tile, fewer", tiled_less, numpy=np.tile, torch=lambda t, x, reps: t.tile(x, reps)),
    Further("repeat", tiled, ours=lambda x, reps: x.repeat(*reps) if reps else x * 1,
            numpy=np.tile, torch=lambda t, x, reps: x.repeat(*reps) if reps else x * 1),
    Further("repeat_interleave", repeated, numpy=np.repeat,
            torch=lambda t, x, repeats, axis: t.repeat_interleave(
                x, t.as_tensor(repeats), axis)),
    Further("chunk", in_chunks, numpy=chunks_by_hand,
            torch=lambda t, x, chunks, axis: t.chunk(x, chunks, axis)),
    Further("flatten", flattened, numpy=flattened_by_hand,
            torch=lambda t, x, start_axis=0, end_axis=-1: t.flatten(x, start_axis, end_axis)),
    Further("view", lambda r: ([normal(r, 2, 3)], {}), ours=lambda x: x.view(3, -1),
            numpy=lambda x: x.reshape(3, 2), torch=lambda t, x: x.view(3, -1)),
    Further("movedim", moved, numpy=np.moveaxis),
    Further("outer", two_vectors, numpy=np.outer),
    Further("cross_entropy", scored, numpy=cross_entropy_by_hand,
            torch=loss_torch("cross_entropy")),
    Further("nll_loss", scored, numpy=nll_by_hand, torch=loss_torch("nll_loss")),
    Further("mse_loss", two_alike, numpy=mse_by_hand,
            torch=lambda t, x, y, reduction: t.nn.functional.mse_loss(x, y, reduction=reduction)),
]  # fmt: skip

# Without a gradient: compared by `==`, with NumPy and with PyTorch.
CHOICES = [
    Further("argmax", of_axis, numpy=np.argmax, torch=torch_axis("argmax")),
    Further("argmin", of_axis, numpy=np.argmin, torch=torch_axis("argmin")),
    Further("any", one_axis, numpy=np.any, torch=torch_axis("any")),
    Further("all", one_axis, numpy=np.all, torch=torch_axis("all")),
    Further("one_hot", lambda r: ([integers(r, 4, *shape(r, high=2))], {"num_classes": 4}),
            numpy=lambda labels, num_classes: np.eye(num_classes, dtype=int)[labels],
            torch=lambda t, x, num_classes: t.nn.functional.one_hot(x, num_classes)),
]  # fmt: skip

NAMES = {name for name, f in vars(further_ops).items() if getattr(f, "__module__", "") ==
         further_ops.__name__ and not name.startswith("_")}  # fmt: skip
