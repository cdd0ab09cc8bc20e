"""Graders of chapter 21: rows shared out, sums around a ring, AdamW in shares, time and memory."""

from functools import partial
from itertools import pairwise

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
    check_equal,
    check_example,
    check_value,
    likely,
    normal,
    points,
    rng,
)

TITLE = "Many machines"
ASSIGNED = {
    "split_rows": "parallel.data_parallel",
    "chunk_bounds": "parallel.ring",
    "reduce_scatter_step": "parallel.ring",
    "all_gather_step": "parallel.ring",
    "sharded_adamw_step": "parallel.sharded_optimizer",
    "step_seconds": "analysis.cluster",
    "zero_memory": "analysis.cluster",
    "pipeline_bubble": "analysis.cluster",
}
STRETCH = ("pipeline_bubble",)


# ---------------------------------------------------------------------------------------------
# split_rows, 4 points
# ---------------------------------------------------------------------------------------------


def even_bounds(length, size):
    return [length // size * i + min(i, length % size) for i in range(size + 1)]


def rows_between(batch, bounds):
    """Batches of the rows between neighboring bounds."""
    runs = list(pairwise(bounds))
    return [{name: array[a:b] for name, array in batch.items()} for a, b in runs]


def first_length(batch):
    return len(next(iter(batch.values())))


def ceiling_bounds(batch, parts):
    rows = first_length(batch)
    size = -(-rows // parts)
    return [min(size * i, rows) for i in range(min(parts, -(-rows // size)) + 1)]


def rest_to_the_last(batch, parts):
    rows = first_length(batch)
    parts = min(parts, rows)
    return [*(rows // parts * i for i in range(parts)), rows]


def longer_last(batch, parts):
    rows = first_length(batch)
    return [rows - b for b in even_bounds(rows, min(parts, rows))[::-1]]


WRONG_SPLITS = {
    "with fewer rows than parts some parts are empty; each row is a part then": lambda b, parts: (
        rows_between(b, even_bounds(first_length(b), parts))
    ),
    "rows are dealt out in turns, r, r + parts, …; a part is a run of neighbors": (
        lambda batch, parts: [
            {name: array[i::parts] for name, array in batch.items()}
            for i in range(min(parts, first_length(batch)))
        ]
    ),
    "the rows that do not divide evenly are dropped": lambda batch, parts: rows_between(
        batch,
        [first_length(batch) // parts * i for i in range(parts + 1)],
    ),
    "the last part gets the whole rest; parts differ by at most one row": lambda b, parts: (
        rows_between(b, rest_to_the_last(b, parts))
    ),
    "the longer parts come last; they come first": lambda b, parts: rows_between(
        b, longer_last(b, parts)
    ),
    "every part but the last is rounded up; parts differ by at most one row": lambda b, parts: (
        rows_between(b, ceiling_bounds(b, parts))
    ),
    "the arrays are cut along their second axis; the rows are the first": lambda batch, parts: [
        {name: np.array_split(array, parts, axis=-1)[i] for name, array in batch.items()}
        for i in range(parts)
    ],
    "the parts are in reverse order": lambda b, parts: rows_between(
        b, even_bounds(first_length(b), min(parts, first_length(b)))
    )[::-1],
    "every part is the whole batch": lambda batch, parts: [dict(batch)] * parts,
    "only the first array is cut; the rows of all belong together": lambda batch, parts: [
        {**batch, next(iter(batch)): piece}
        for piece in np.array_split(next(iter(batch.values())), min(parts, first_length(batch)))
    ],
}


def plainly(parts):
    """Batches as lists, to be compared."""
    return [{name: np.asarray(array).tolist() for name, array in part.items()} for part in parts]


def check_parts(submission, batch, parts):
    shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
    told = f"{shapes}; parts = {parts}"
    found = submission.split_rows(batch, parts)
    check(
        isinstance(found, (list, tuple)) and all(isinstance(part, dict) for part in found),
        f"split_rows must return a list of dicts; it returned a {type(found).__name__}."
        f"\n  input     {told}",
        "a return statement is missing" if found is None else "a part has the batch's names",
    )
    rows = min(parts, first_length(batch))
    wanted = rows_between(batch, even_bounds(first_length(batch), rows))
    check_equal(
        [sorted(part) for part in found],
        [sorted(part) for part in wanted],
        "split_rows: the names in each part",
        case=told,
        mistakes={
            text: (lambda wrong=wrong: [sorted(part) for part in wrong(batch, parts)])
            for text, wrong in WRONG_SPLITS.items()
        },
    )
    check_equal(
        plainly(found),
        plainly(wanted),
        "split_rows: the parts",
        case=told,
        mistakes={
            text: (lambda wrong=wrong: plainly(wrong(batch, parts)))
            for text, wrong in WRONG_SPLITS.items()
        },
    )


def a_batch(rows):
    return {
        "input_ids": rng().integers(1, 99, (rows, 3)),
        "label": rng().integers(1, 99, rows),
        "attention_mask": rng().integers(0, 2, (rows, 1, 4)),
    }


@points(1, "split_rows: the example")
def test_split_rows_example(submission):
    """Three rows for two."""
    check_example(submission.split_rows)


@points(3, "split_rows: the parts")
def test_split_rows_value(submission):
    """Neighbors stay together, nothing is lost, the parts are even, none is empty."""
    for rows, parts in ((11, 4), (9, 4), (8, 2), (7, 3), (5, 1), (3, 5), (1, 2)):
        check_parts(submission, a_batch(rows), parts)
    check_equal(submission.split_rows.edited, [], "what split_rows changed in place")


# ---------------------------------------------------------------------------------------------
# chunk_bounds, 4 points
# ---------------------------------------------------------------------------------------------


WRONG_BOUNDS = {
    "the last chunk gets the whole rest; chunks differ by at most one": lambda n, k: [
        *(n // k * i for i in range(k)),
        n,
    ],
    "the rest is lost: the last position is the length": lambda n, k: [
        n // k * i for i in range(k + 1)
    ],
    "every chunk but the last is rounded up; chunks differ by at most one": lambda n, k: [
        min(-(-n // k) * i, n) for i in range(k + 1)
    ],
    "the longer chunks come last; they come first": lambda n, k: [
        n - b for b in even_bounds(n, k)[::-1]
    ],
    "longer chunks stand among the others; they come first": lambda n, k: [
        n * i // k for i in range(k + 1)
    ],
    "longer and shorter chunks are mixed by rounding; the longer ones come first": lambda n, k: [
        round(n * i / k) for i in range(k + 1)
    ],
    "the last position is missing: size + 1 of them": lambda n, k: even_bounds(n, k)[:-1],
    "the first position, 0, is missing": lambda n, k: even_bounds(n, k)[1:],
    "these are the sizes of the chunks; where they begin and end is asked for": lambda n, k: [
        b - a for a, b in pairwise(even_bounds(n, k))
    ],
    "these are pairs of (start, stop)": lambda n, k: list(pairwise(even_bounds(n, k))),
    "a rank too few: these are the positions of size - 1 chunks": lambda n, k: even_bounds(
        n, max(1, k - 1)
    ),
}


@points(1, "chunk_bounds: the example")
def test_chunk_bounds_example(submission):
    """Ten numbers for four."""
    check_example(submission.chunk_bounds)


@points(3, "chunk_bounds: value")
def test_chunk_bounds_value(submission):
    """Even, the longer ones first, from 0 to the length; some may be empty."""
    drawn = [(int(rng().integers(50, 900)), int(rng().integers(3, 9))) for _ in range(4)]
    for length, size in [(23, 5), *drawn, (12, 4), (7, 1), (3, 5), (0, 2)]:
        found = submission.chunk_bounds(length, size)
        told = f"length = {length}, size = {size}"
        check_equal(
            list(found) if isinstance(found, (list, tuple, np.ndarray)) else found,
            even_bounds(length, size),
            "chunk_bounds: the positions",
            case=told,
            mistakes={text: partial(w, length, size) for text, w in WRONG_BOUNDS.items()},
        )
        check(
            all(isinstance(position, (int, np.integer)) for position in found),
            f"chunk_bounds: the positions are not integers.\n  input     {told}",
            "the positions are floats; what cuts an array is an integer: //",
        )


# ---------------------------------------------------------------------------------------------
# reduce_scatter_step, 4 points, and all_gather_step, 4 points
# ---------------------------------------------------------------------------------------------


def places():
    """(rank, size, step), the first one such that it tells the mistakes below from each other."""
    draw, drawn = rng(), []
    for _ in range(6):
        step = int(draw.integers(2, 5))
        rank = int(draw.integers(step + 2, 12))
        drawn.append((rank, int(draw.integers(rank + step + 4, 40)), step))
    small = [(r, n, s) for n in (2, 3, 5) for r in range(n) for s in range(n - 1)]
    return [*drawn, (0, int(draw.integers(11, 40)), 7), *small]


def to_reduce(rank, size, step):
    return (rank - step - 1) % size, (rank - step - 2) % size


def to_gather(rank, size, step):
    return (rank - step) % size, (rank - step - 1) % size


COUNTED = "steps are counted from 0: this is what happens one step later"
REMAINDER = (
    "a chunk below 0, as C's remainder gives it: chunks are 0 … size - 1, by Python's % size"
)
EXCHANGED = "the two are exchanged: first what is sent, then what is received"
SAME = "a rank receives another chunk than it sends: the one before"
STUCK = "the step is not used: what was received in one step is sent in the next"
FORWARD = "the chunks' numbers go up with the step; what comes from behind has lower and lower ones"
AFTER = "what is received is the chunk before the one that is sent, not after it"
EARLIER = "this is what happened one step before"
NEIGHBORS = "these are ranks, the next and the last one; the numbers of chunks are asked for"

WRONG_REDUCES = {
    EXCHANGED: lambda r, n, s: to_reduce(r, n, s)[::-1],
    "a rank begins with its own chunk here; then it ends with another one's": to_gather,
    "the chunks' numbers go up with the step; they come from behind, and go down": (
        lambda r, n, s: ((r + s + 1) % n, (r + s + 2) % n)
    ),
    REMAINDER: lambda r, n, s: (r - s - 1, r - s - 2),
    COUNTED: lambda r, n, s: to_reduce(r, n, s + 1),
    SAME: lambda r, n, s: (to_reduce(r, n, s)[0],) * 2,
    STUCK: lambda r, n, s: to_reduce(r, n, 0),
    AFTER: lambda r, n, s: (to_reduce(r, n, s)[0], (to_reduce(r, n, s)[0] + 1) % n),
    NEIGHBORS: lambda r, n, s: ((r + 1) % n, (r - 1) % n),
}
WRONG_GATHERS = {
    EXCHANGED: lambda r, n, s: to_gather(r, n, s)[::-1],
    "a rank has its own chunk at first, and sends that; or steps are counted from 1": to_reduce,
    FORWARD: lambda r, n, s: ((r + s) % n, (r + s + 1) % n),
    REMAINDER: lambda r, n, s: (r - s, r - s - 1),
    EARLIER: lambda r, n, s: to_gather(r, n, s - 1),
    SAME: lambda r, n, s: (to_gather(r, n, s)[0],) * 2,
    STUCK: lambda r, n, s: to_gather(r, n, 0),
    AFTER: lambda r, n, s: (to_gather(r, n, s)[0], (to_gather(r, n, s)[0] + 1) % n),
    NEIGHBORS: lambda r, n, s: ((r + 1) % n, (r - 1) % n),
    "its own chunk is sent in every step; what was received in one is sent in the next": (
        lambda r, n, s: (r, (r - s - 1) % n)
    ),
}


def check_plan(fn, right, wrong):
    for rank, size, step in places():
        found = fn(rank, size, step)
        check(
            isinstance(found, (tuple, list)) and len(found) == 2,
            f"{fn.__name__} must return two numbers, (sent, received); it returned "
            f"{'nothing' if found is None else repr(found)[:80]}.",
            "a return statement is missing" if found is None else None,
        )
        check_equal(
            tuple(found),
            right(rank, size, step),
            f"{fn.__name__}: (sent, received)",
            case=f"rank = {rank}, size = {size}, step = {step}",
            mistakes={text: partial(w, rank, size, step) for text, w in wrong.items()},
        )


@points(1, "reduce_scatter_step: the example")
def test_reduce_scatter_step_example(submission):
    """Rank 0 of three."""
    check_example(submission.reduce_scatter_step)


@points(3, "reduce_scatter_step: who sends what")
def test_reduce_scatter_step_value(submission):
    """What is received is sent on; the last to arrive is one's own chunk."""
    check_plan(submission.reduce_scatter_step, to_reduce, WRONG_REDUCES)


@points(1, "all_gather_step: the example")
def test_all_gather_step_example(submission):
    """Rank 0 of three."""
    check_example(submission.all_gather_step)


@points(3, "all_gather_step: who sends what")
def test_all_gather_step_value(submission):
    """It begins with one's own chunk; what is received is sent on."""
    check_plan(submission.all_gather_step, to_gather, WRONG_GATHERS)


# ---------------------------------------------------------------------------------------------
# sharded_adamw_step, 6 points
# ---------------------------------------------------------------------------------------------

SETTINGS = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.3}
KEPT = ("weights", "m", "v")


def adamw(p, g, m, v, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
    step = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p - lr * weight_decay * p - lr * step, m, v


def shard_cases():
    made = []
    for n, size, rank, t in (
        (11, 4, 1, 3),
        (11, 4, 3, 1),
        (9, 2, 0, 7),
        (5, 1, 0, 2),
        (3, 5, 4, 1),
    ):
        bounds = even_bounds(n, size)
        own = slice(bounds[rank], bounds[rank + 1])
        length = own.stop - own.start
        gradient = normal(n, scale=50.0)  # partial sums, all but in this rank's chunk
        gradient[own] = normal(length)
        m, v = normal(length, scale=0.3), np.abs(normal(length))
        label = "an empty chunk" if not length else ""
        made.append(case(normal(n), gradient, m, v, t, rank, size, label=label, **SETTINGS))
    return made


def own_slice(n, rank, size):
    bounds = even_bounds(n, size)
    return slice(bounds[rank], bounds[rank + 1])


def with_gradient(change):
    def wrong(p, g, m, v, t, rank, size, **settings):
        own = own_slice(len(p), rank, size)
        return adamw(p[own], change(g, own, size), m, v, t, **settings)

    return wrong


def with_chunk(cut):
    def wrong(p, g, m, v, t, rank, size, **settings):
        own = cut(len(p), rank, size)
        return adamw(p[own], g[own], m, v, t, **settings)

    return wrong


def with_settings(change):
    def wrong(p, g, m, v, t, rank, size, **settings):
        own = own_slice(len(p), rank, size)
        return adamw(p[own], g[own], m, v, t, **change(settings))

    return wrong


def whole_weights(p, g, m, v, t, rank, size, **settings):
    own, whole = own_slice(len(p), rank, size), p.copy()
    whole[own], m, v = adamw(p[own], g[own], m, v, t, **settings)
    return whole, m, v


CUT = "weights and gradient are cut at the positions of chunk_bounds; m and v are cut already"
WRONG_SHARDS = {
    "all weights come back; the chunk of this rank alone is asked for": whole_weights,
    "the gradient is divided by the number of ranks; it is a sum already, divided by all labels": (
        with_gradient(lambda g, own, size: g[own] / size)
    ),
    "the gradient's first numbers are taken; this rank's are in its own chunk": with_gradient(
        lambda g, own, size: g[: own.stop - own.start]
    ),
    "this is the next rank's chunk": with_chunk(lambda n, r, k: own_slice(n, (r + 1) % k, k)),
    "the chunk is n // size long; those of the first ranks have one more": with_chunk(
        lambda n, r, k: slice(n // k * r, n // k * r + len(range(n)[own_slice(n, r, k)]))
    ),
    "the settings are not handed on": with_settings(lambda s: {}),
    "lr alone is handed on; take **settings": with_settings(lambda s: {"lr": s["lr"]}),
    "step is one too many: it is t already, 1 for the first update": (
        lambda p, g, m, v, t, r, k, **s: with_settings(lambda s: s)(p, g, m, v, t + 1, r, k, **s)
    ),
    "the step is always taken for the first": (
        lambda p, g, m, v, t, r, k, **s: with_settings(lambda s: s)(p, g, m, v, 1, r, k, **s)
    ),
    "the old moments are not used": (
        lambda p, g, m, v, t, r, k, **s: with_settings(lambda s: s)(
            p, g, 0 * m, 0 * v, t, r, k, **s
        )
    ),
    "the old moments come back; the new ones are asked for": lambda p, g, m, v, t, r, k, **s: (
        with_settings(lambda s: s)(p, g, m, v, t, r, k, **s)[0],
        m,
        v,
    ),
    "m and v are exchanged": lambda p, g, m, v, t, r, k, **s: with_settings(lambda s: s)(
        p, g, v, m, t, r, k, **s
    ),
}


@points(1, "sharded_adamw_step: the example")
def test_sharded_adamw_step_example(submission):
    """The last of three weights."""
    check_example(submission.sharded_adamw_step)


@points(3, "sharded_adamw_step: value")
def test_sharded_adamw_step_value(submission):
    """The chunk's weights by the chunk's sums and moments."""
    with likely(CUT):
        check_value(
            submission.sharded_adamw_step, shard_cases(), outputs=KEPT, mistakes=WRONG_SHARDS
        )


@points(2, "sharded_adamw_step: all ranks together")
def test_sharded_adamw_step_together(submission):
    """Put side by side, the chunks are what AdamW makes of the whole."""
    n, size, t = 13, 3, 4
    p, g, m, v = normal(n), normal(n), normal(n, scale=0.3), np.abs(normal(n))
    shards = []
    for rank in range(size):
        own = own_slice(n, rank, size)
        gradient = np.full(n, np.inf)  # what a reduce-scatter leaves elsewhere is no sum
        gradient[own] = g[own]
        arguments = (p.copy(), gradient, m[own], v[own], t, rank, size)
        with likely(CUT):
            shards.append(submission.sharded_adamw_step(*arguments, **SETTINGS))
        check(
            type(shards[-1]) in (tuple, list) and len(shards[-1]) == 3,
            "sharded_adamw_step must return (chunk, m, v).",
        )
    for name, found, wanted in zip(KEPT, zip(*shards), adamw(p, g, m, v, t, **SETTINGS)):
        joined = np.concatenate([np.atleast_1d(part) for part in found])
        what = f"sharded_adamw_step: {name} of all ranks, side by side"
        check_close(joined, wanted, what, case=f"{n} weights, {size} ranks")
    check_equal(
        submission.sharded_adamw_step.edited, [], "what sharded_adamw_step changed in place"
    )


# ---------------------------------------------------------------------------------------------
# step_seconds, 4 points, and zero_memory, 4 points
# ---------------------------------------------------------------------------------------------


def seconds(f, b, n, speed, width, late, overlap=0.0, *, messages=None, amount=None, hidden=None):
    """The formula, with what may be wrong in it named."""
    compute = f / n / speed
    messages = 2 * (n - 1) if messages is None else messages
    amount = b / n * messages if amount is None else amount
    hidden = overlap * compute if hidden is None else hidden
    travel = amount / width + messages * late
    return {"arithmetic": compute, "communication": max(0.0, travel - hidden)}


WRONG_SECONDS = {
    "the arithmetic is not shared out among the ranks": lambda f, b, n, s, w, l, overlap=0.0: (
        seconds(f, b, n, s, w, l, overlap) | {"arithmetic": f / s}
    ),
    "the arithmetic is multiplied by the speed; it is divided": (
        lambda f, b, n, s, w, l, overlap=0.0: (
            seconds(f, b, n, s, w, l, overlap) | {"arithmetic": f / n * s}
        )
    ),
    "one way around the ring is counted; reduce-scatter and all-gather are N - 1 messages each": (
        lambda f, b, n, s, w, l, overlap=0.0: seconds(f, b, n, s, w, l, overlap, messages=n - 1)
    ),
    "N messages each way are counted; the first of N chunks need not travel: N - 1": (
        lambda f, b, n, s, w, l, overlap=0.0: seconds(f, b, n, s, w, l, overlap, messages=2 * n)
    ),
    "every message is counted as the whole array; it is 1/N of it": (
        lambda f, b, n, s, w, l, overlap=0.0: seconds(
            f, b, n, s, w, l, overlap, amount=b * 2 * (n - 1)
        )
    ),
    "the latency is counted once; every message has it": lambda f, b, n, s, w, l, overlap=0.0: (
        {
            "arithmetic": f / n / s,
            "communication": max(0.0, 2 * (n - 1) / n * b / w + l - overlap * f / n / s),
        }
    ),
    "the overlap is taken off the arithmetic, which takes as long; the waiting gets shorter": (
        lambda f, b, n, s, w, l, overlap=0.0: {
            "arithmetic": (1 - overlap) * f / n / s,
            "communication": seconds(f, b, n, s, w, l)["communication"],
        }
    ),
    "the latency is missing": lambda f, b, n, s, w, l, overlap=0.0: seconds(
        f, b, n, s, w, 0.0, overlap
    ),
    "the overlap is not used": lambda f, b, n, s, w, l, overlap=0.0: seconds(f, b, n, s, w, l),
    "the overlap is a share of the arithmetic, not of the communication": (
        lambda f, b, n, s, w, l, overlap=0.0: {
            "arithmetic": f / n / s,
            "communication": (1 - overlap) * seconds(f, b, n, s, w, l)["communication"],
        }
    ),
    "what travels under the arithmetic can hide no more than all of it: never below 0": (
        lambda f, b, n, s, w, l, overlap=0.0: {
            "arithmetic": f / n / s,
            "communication": 2 * (n - 1) * (b / n / w + l) - overlap * f / n / s,
        }
    ),
    "the overlap hides a share of all arithmetic; a rank has 1/N of it": (
        lambda f, b, n, s, w, l, overlap=0.0: seconds(f, b, n, s, w, l, hidden=overlap * f / s)
    ),
    "the gradients are counted in bits": lambda f, b, n, s, w, l, overlap=0.0: seconds(
        f, 8 * b, n, s, w, l, overlap
    ),
}


def check_numbers(fn, arguments, right, wrong, **options):
    """A dict of numbers, each within 1e-6 of the right one."""
    found, expected = fn(*arguments, **options), right(*arguments, **options)
    given = [*map(str, arguments), *(f"{name} = {value}" for name, value in options.items())]
    told = f"({', '.join(given)})"
    check(
        isinstance(found, dict) and found.keys() == expected.keys(),
        f"{fn.__name__} must return a dict with {', '.join(expected)}; it returned "
        f"{list(found) if isinstance(found, dict) else type(found).__name__}.",
        "a return statement is missing" if found is None else None,
    )
    check_close(
        np.array([float(found[name]) for name in expected]),
        np.array([*map(float, expected.values())]),
        f"{fn.__name__}: {', '.join(expected)}",
        case=told,
        mistakes={
            text: (lambda w=w: np.array([*map(float, w(*arguments, **options).values())]))
            for text, w in wrong.items()
        },
    )


@points(1, "step_seconds: the example")
def test_step_seconds_example(submission):
    """Ten seconds of arithmetic, two of waiting."""
    check_example(submission.step_seconds)


@points(3, "step_seconds: value")
def test_step_seconds_value(submission):
    """Any number of ranks, overlap or none, and never less than nothing."""
    draw = rng()
    for ranks, overlap in ((5, 0.1), (3, 0.0), (2, 0.6), (1, 0.5), (16, 1.0)):
        flops, nbytes = draw.uniform(50, 90) * ranks, draw.uniform(60, 90)
        arguments = (flops, nbytes, ranks, draw.uniform(6, 9), draw.uniform(2, 4), 0.75)
        options = {"overlap": overlap} if overlap else {}
        check_numbers(submission.step_seconds, arguments, seconds, WRONG_SECONDS, **options)
    hidden = (9e4, 3.0, 4, 2.0, 5.0, 0.25)  # far more arithmetic than there is to send
    check_numbers(submission.step_seconds, hidden, seconds, WRONG_SECONDS, overlap=0.5)


def memory(p, n, stage, w=2, g=2, o=12, *, at=(3, 2, 1)):
    sizes = [p * size / (n if stage >= least else 1) for size, least in zip((w, g, o), at)]
    return dict(zip(("weights", "gradients", "optimizer"), sizes))


def memory_named(at):
    def wrong(p, n, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12):
        return memory(p, n, stage, weight_bytes, gradient_bytes, optimizer_bytes, at=at)

    return wrong


right_memory = memory_named((3, 2, 1))


def scaled(factor, *names):
    def wrong(p, n, stage, **sizes):
        found = right_memory(p, n, stage, **sizes)
        return {name: value * (factor(n) if name in names else 1) for name, value in found.items()}

    return wrong


WRONG_MEMORIES = {
    "the stages go the other way: 1 shares out the optimizer, 3 the weights as well": (
        memory_named((1, 2, 3))
    ),
    "a stage shares out one thing alone; each keeps what those before it have shared": (
        lambda p, n, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12: {
            name: p * size / (n if stage == least else 1)
            for name, size, least in (
                ("weights", weight_bytes, 3),
                ("gradients", gradient_bytes, 2),
                ("optimizer", optimizer_bytes, 1),
            )
        }
    ),
    "stage 0 shares out already: the stages are one too many": memory_named((2, 1, 0)),
    "nothing is shared out": memory_named((9, 9, 9)),
    "everything is shared out from stage 1 on": memory_named((1, 1, 1)),
    "everything is shared out at every stage": memory_named((0, 0, 0)),
    "gradients and optimizer are exchanged: stage 1 shares out the optimizer's state": (
        memory_named((3, 1, 2))
    ),
    "weights are never shared out; at stage 3 they are": memory_named((9, 2, 1)),
    "the sizes that were given are not used": lambda p, n, stage, **_: right_memory(p, n, stage),
    "a share need not be a whole number: divide with /, and not with //": (
        lambda p, n, stage, **sizes: {
            name: float(int(held)) for name, held in right_memory(p, n, stage, **sizes).items()
        }
    ),
    "this is what all ranks hold together; one rank is asked for": scaled(
        lambda n: n, "weights", "gradients", "optimizer"
    ),
}


@points(1, "zero_memory: the example")
def test_zero_memory_example(submission):
    """Stage 1: the optimizer's state in quarters."""
    check_example(submission.zero_memory)


@points(3, "zero_memory: value")
def test_zero_memory_value(submission):
    """Each stage keeps what the one before it has shared out."""
    parameters, ranks = int(rng().integers(1000, 9000)), int(rng().integers(5, 9))
    sizes = {"weight_bytes": 4, "gradient_bytes": 3, "optimizer_bytes": 8}
    for stage in (0, 1, 2, 3):
        for options in ({}, sizes):
            arguments = (parameters, ranks, stage)
            check_numbers(
                submission.zero_memory, arguments, right_memory, WRONG_MEMORIES, **options
            )


# ---------------------------------------------------------------------------------------------
# pipeline_bubble, for honor
# ---------------------------------------------------------------------------------------------

WRONG_BUBBLES = {
    "the turns that are waited are divided by the turns of work; by all turns, it is a share": (
        lambda p, m: (p - 1) / m
    ),
    "a pipeline of p stages waits p - 1 turns, not p": lambda p, m: p / (m + p),
    "the share of work, not of waiting": lambda p, m: m / (m + p - 1),
    "stages and micro-batches are exchanged": lambda p, m: (m - 1) / (m + p - 1),
    "all turns are m + p - 1": lambda p, m: (p - 1) / (m + p),
    "both ways are waited for, but both are worked in, too": lambda p, m: (
        2 * (p - 1) / (m + 2 * (p - 1))
    ),
    "what all stages wait together is not one stage's share": lambda p, m: (
        p * (p - 1) / (m + p - 1)
    ),
    "one stage is busy at a time here; micro-batches follow one another": lambda p, m: (p - 1) / p,
}


@points(0, "pipeline_bubble: the example")
def test_pipeline_bubble_example(submission):
    """Three machines, two micro-batches: half of the time."""
    check_example(submission.pipeline_bubble)


@points(0, "pipeline_bubble: value")
def test_pipeline_bubble_value(submission):
    """No waiting for one stage; little where the micro-batches are many."""
    draw = rng()
    drawn = [(int(draw.integers(3, 40)), int(draw.integers(50, 90))) for _ in range(4)]
    for p, m in ((5, 3), *drawn, (2, 1), (1, 6)):
        check_close(
            float(submission.pipeline_bubble(p, m)),
            (p - 1) / (m + p - 1),
            "pipeline_bubble: the share",
            case=f"stages = {p}, micro_batches = {m}",
            mistakes={text: partial(w, p, m) for text, w in WRONG_BUBBLES.items()},
        )
