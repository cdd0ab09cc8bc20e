"""Drawing inputs for the op table: functions `random.Random` -> (arrays, options).

In the tests hypothesis draws the Random's seed, and no more: to draw each number itself it takes
longer than the operations do. For the reference arrays the seed is fixed.
"""

import random

import numpy as np
from hypothesis import strategies as st

draws = st.integers(0, 2**32 - 1).map(random.Random)

_STREAM = np.random.RandomState()


def stream(seed):
    """The one generator, begun anew: making another takes a hundred times as long as seeding.

    (RandomState's stream is frozen for good, that of Generator is not.)
    """
    _STREAM.seed(seed)
    return _STREAM


def normal(r, *shape):
    return stream(r.getrandbits(31)).standard_normal(shape)


def positive(r, *shape):
    return np.asarray(np.exp(0.5 * normal(r, *shape)) + 0.1)


def integers(r, high, *shape):
    return np.asarray(stream(r.getrandbits(31)).randint(0, high, shape))


def booleans(r, *shape):
    return np.asarray(integers(r, 2, *shape) == 1)


def distinct(r, *shapes):
    """Arrays whose entries are at least 1/2 apart, and 0.15 from 0 and 1: no tie, and no kink."""
    count = sum(int(np.prod(shape)) for shape in shapes)
    values = (stream(r.getrandbits(31)).permutation(count) - count // 2) / 2 + 0.15
    pieces = np.split(values, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes)]


def shape(r, low=0, high=4, sides=(1, 2, 3, 3, 2, 0)):
    return tuple(r.choice(sides) for _ in range(r.randint(low, high)))


def nonempty(r, low=0, high=4):
    return shape(r, low, high, sides=(1, 2, 3))


def broadcastable(r, count):
    """Shapes that broadcast together: axes dropped from the left, or shrunk to 1."""
    full = shape(r)
    return [
        tuple(
            1 if r.random() < 0.3 else n for n in full[r.choice((0, 0, r.randint(0, len(full)))) :]
        )
        for _ in range(count)
    ]


def some_axis(r, ndim):
    return r.randint(-ndim, ndim - 1)


def one(r):
    return [normal(r, *shape(r))], {}


def one_positive(r):
    return [positive(r, *shape(r))], {}


def one_distinct(r):
    return distinct(r, shape(r)), {}


def pair(r):
    return [normal(r, *s) for s in broadcastable(r, 2)], {}


def pair_distinct(r):
    return distinct(r, *broadcastable(r, 2)), {}


def quotient(r):
    a, b = broadcastable(r, 2)
    return [normal(r, *a), np.asarray(np.copysign(positive(r, *b), normal(r, *b)))], {}


def power(r):
    a, b = broadcastable(r, 2)
    return [positive(r, *a), normal(r, *b)], {}


def integer_power(r):
    return [normal(r, *shape(r)), r.choice((0, 1, 2, 3, 2.0))], {}


def product(r):
    """Shapes of matmul: 1-D operands, and batch axes that broadcast."""
    m, k, n = (r.choice((1, 2, 3, 4)) for _ in range(3))
    batches = broadcastable(r, 2)
    x = r.choice(((k,), (*batches[0][:2], m, k)))
    y = r.choice(((k,), (*batches[0][:2], k, n), (k, n), (*(1 for _ in batches[0][:2]), k, n)))
    return [normal(r, *x), normal(r, *y)], {}


def reduction(r, draw=normal, tuples=True):
    x = draw(r, *nonempty(r))
    axes = [None] if tuples is True else []
    if x.ndim:
        axes.append(some_axis(r, x.ndim))
        if tuples:
            axes.append(tuple(r.sample(range(x.ndim), r.randint(1, x.ndim))))
    elif not tuples:
        axes.append(-1)
        x = x.reshape(1)
    return [x], {"axis": r.choice(axes), "keepdims": r.random() < 0.5}


def reduction_distinct(r):
    return reduction(r, lambda r, *s: distinct(r, s)[0])


def reduction_axis(r):
    return reduction(r, tuples=False)


def variance(r):
    (x,), options = reduction(r)
    x = np.concatenate([x[..., None], normal(r, *x.shape, 1)], -1)  # at least two entries
    options["axis"] = r.choice((None, -1, x.ndim - 1))
    return [x], {**options, "correction": r.choice((0, 1))}


def along_axis(r):
    x = normal(r, *nonempty(r, low=1))
    return [x], {"axis": some_axis(r, x.ndim)}


def masked(r):
    a, b = broadcastable(r, 2)
    return [normal(r, *a), booleans(r, *b)], {"value": r.choice((-1e4, 0, 7.5))}


def choice_of_two(r):
    a, b, c = broadcastable(r, 3)
    return [booleans(r, *a), normal(r, *b), normal(r, *c)], {}


def reshaped(r):
    x = normal(r, *nonempty(r))
    return [x], {"shape": r.choice(((-1,), x.shape[::-1], (1, *x.shape), (x.size, 1)))}


def transposed(r):
    x = normal(r, *shape(r))
    axes = r.sample(range(x.ndim), x.ndim)
    return [x], {"axes": tuple(a - x.ndim * (r.random() < 0.5) for a in axes)}


def swapped(r):
    x = normal(r, *shape(r, low=1))
    return [x], {"axis1": some_axis(r, x.ndim), "axis2": some_axis(r, x.ndim)}


def expanded(r):
    x = normal(r, *shape(r))
    return [x], {"axis": some_axis(r, x.ndim + 1)}


def squeezed(r):
    (x,), options = expanded(r)
    return [np.expand_dims(x, **options)], r.choice((options, {}))


def stretched(r):
    x = normal(r, *shape(r))
    return [x], {"shape": np.broadcast_shapes(x.shape, (r.choice((1, 2)), *(1 for _ in x.shape)))}


def picked(r):
    """Every kind of index: integers, slices, new axes, repeated integer arrays, boolean masks."""
    x = normal(r, 3, 4, 2)
    return [x], {
        "index": r.choice(
            (
                1,
                -1,
                (slice(None), 2),
                (Ellipsis, 0),
                slice(1, None),
                (slice(None, None, 2), None, slice(3, 1)),
                integers(r, 3, 5),
                integers(r, 3, 2, 3),
                (integers(r, 3, 4), integers(r, 4, 4)),
                (slice(None), integers(r, 4, 6), 1),
                (integers(r, 3, 2, 1), integers(r, 4, 3)),
                booleans(r, 3),
                booleans(r, 3, 4),
                booleans(r, 3, 4, 2),
                (2, 1, 0),
            )
        )
    }


def joined(r):
    first = normal(r, *shape(r, low=1))
    axis = some_axis(r, first.ndim)
    others = [
        normal(
            r,
            *(
                n if i != axis % first.ndim else r.choice((0, 1, 3))
                for i, n in enumerate(first.shape)
            ),
        )
        for _ in range(r.randint(0, 2))
    ]
    return [first, *others], {"axis": axis}


def stacked(r):
    same = shape(r, high=3)
    arrays = [normal(r, *same) for _ in range(r.randint(1, 3))]
    return arrays, {"axis": some_axis(r, len(same) + 1)}


def pieces(r):
    x = normal(r, *nonempty(r, low=1, high=3))
    axis = some_axis(r, x.ndim)
    x = np.repeat(x, 2, axis)
    return [x], {"indices_or_sections": r.choice((1, 2, (1,), (0, 1))), "axis": axis}


def flipped(r):
    x = normal(r, *shape(r, low=1))
    return [x], {"axis": r.choice((some_axis(r, x.ndim), tuple(range(x.ndim))))}


def triangle(r):
    return [normal(r, *shape(r, high=2), r.choice((1, 3)), r.choice((1, 4)))], {
        "k": r.randint(-2, 2)
    }


def summation(r):
    """Einstein sums: transposes, traces over several, indices summed away, and outer products."""
    subscripts = r.choice(
        (
            "ij,jk->ik",
            "bij,bkj->bik",
            "ij->ji",
            "ij->",
            "i,j->ij",
            "ij,j->",
            "ij,ik,il->jkl",
            "bhd->hb",
        )
    )
    size = dict(zip("bijklhd", (2, 3, 4, 2, 3, 2, 5)))
    terms = subscripts.split("->")[0].split(",")
    return [normal(r, *(size[c] for c in term)) for term in terms], {"subscripts": subscripts}
