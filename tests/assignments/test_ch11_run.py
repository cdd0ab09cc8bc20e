"""Graders of chapter 11: sample_batch."""

from itertools import pairwise

import numpy as np

from tinyqwen.course import check, check_close, check_example, likely, points, rng
from tinyqwen.course.calls import StudentError

TITLE = "A run"
ASSIGNED = {"sample_batch": "training.data", "power_law": "analysis.scaling"}
STRETCH = ("power_law",)

# ---------------------------------------------------------------------------------------------
# sample_batch, 10 points
# ---------------------------------------------------------------------------------------------

# Token i is 3 i + the first: a row tells where it was cut, and no position passes for a token.


def corpus(num_rows=12, spacing=5, dtype=np.uint16):
    """Tokens that tell where they stand, from a first one that is drawn: t, t + 3, t + 6, …"""
    starts, first = np.arange(num_rows) * spacing, rng().integers(1, 1000)
    return (3 * np.arange(num_rows * spacing + 9) + first).astype(dtype), starts


def rows_of(submission, tokens, starts, seq_len, batch_size, seed, step):
    """Where the rows of a batch begin, (batch_size,), after the rows have been looked at."""
    batch = submission.sample_batch(tokens, starts, seq_len, batch_size, seed, step)
    told = (
        f"\n  input     tokens {tokens.shape}, {len(starts)} starts, seq_len {seq_len}, step {step}"
    )
    check(isinstance(batch, np.ndarray), f"sample_batch returned a {type(batch).__name__}.{told}")
    check(
        batch.shape == (batch_size, seq_len),
        f"sample_batch: the shape is {batch.shape}; {(batch_size, seq_len)} was expected.{told}",
        {
            (seq_len, batch_size): "the batch is transposed: a row is a piece of text",
            (batch_size, seq_len + 1): "one token too many: the model makes its own targets",
            (batch_size, seq_len - 1): "one token is missing from each row",
        }.get(batch.shape)
        or (
            "a batch may be larger than two epochs: take rows until there are batch_size of them"
            if 0 < len(batch) < batch_size > 2 * len(starts)
            else "where an epoch ends within a batch, the batch goes on with the next epoch"
            if batch.shape[1:] == (seq_len,) and 0 < len(batch) < batch_size
            else None
        ),
    )
    first = batch[:, :1].astype(np.int64)
    places = (first - int(tokens[0])) // 3
    line = np.arange(seq_len)
    check(
        np.array_equal(batch, 3 * (places + line) + int(tokens[0]))
        and 0 <= places.min() < len(tokens),
        "sample_batch: a row is not a piece of the tokens, seq_len of them in a line."
        f"{told}\n  a row     {batch[0].tolist()[:8]}",
        "these are positions; the tokens that stand there are asked for"
        if np.array_equal(batch, first + line)
        else "a row that runs over the end goes on at the beginning; it is moved back"
        if np.array_equal(batch, tokens[(places + line) % len(tokens)])
        else "a row over the end is filled up; it is moved back, to end with the last token"
        if places.max() > len(tokens) - seq_len
        else None,
    )
    check(
        batch.dtype == np.int64,
        f"sample_batch: the dtype is {batch.dtype}; int64 was expected.{told}",
        "the tokens' own dtype came out: `.astype(np.int64)`"
        if batch.dtype == tokens.dtype
        else "`.astype(np.int64)`: on every machine, and whatever the tokens' own dtype is",
    )
    return places[:, 0]


@points(1, "sample_batch: the example")
def test_sample_batch_example(submission):
    """Three rows in one batch: each start once, the last one moved back."""
    check_example(submission.sample_batch)


@points(3, "sample_batch: rows")
def test_sample_batch_rows(submission):
    """Whole rows, from starts, never over the end of the tokens."""
    seed = int(rng().integers(1_000_000))
    for num_rows, spacing, seq_len, batch_size in ((12, 5, 4, 4), (7, 3, 8, 5), (5, 6, 13, 3)):
        tokens, starts = corpus(num_rows, spacing)
        tokens = tokens[: starts[-1] + 2]  # the last row would run over the end
        allowed = np.minimum(starts, len(tokens) - seq_len).tolist()
        seen = set()
        for step in range(4):
            with likely(
                "a row that would run over the end of the tokens is moved back", of=StudentError
            ):
                places = rows_of(submission, tokens, starts, seq_len, batch_size, seed, step)
            seen |= set(places.tolist())
            strangers = sorted(set(places.tolist()) - set(allowed))
            off = {p - a for p in strangers for a in (p - 1, p + 1) if a in allowed}
            check(
                not strangers,
                f"sample_batch: rows begin at {strangers[:5]}; they may begin at the starts "
                f"{allowed} (moved back at the end) and nowhere else.",
                "a row is one token off its start"
                if len(off) == 1 and all(p - min(off) in allowed for p in strangers)
                else "rows begin at any token; they begin at starts",
            )
        check(
            allowed[-1] in seen,
            f"sample_batch: in an epoch and more, no row begins at {allowed[-1]}, where the one "
            "that would run over the end begins when it is moved back.",
            "a row that would run over the end is left out; it is moved back",
        )


@points(4, "sample_batch: epochs")
def test_sample_batch_epochs(submission):
    """Every row once an epoch, in an order drawn for that epoch; batches may span two epochs."""
    tokens, starts = corpus(40)
    seed, orders = int(rng().integers(1_000_000)), []
    for batch_size, steps in ((7, 23), (40, 4), (100, 2)):
        dealt = [
            rows_of(submission, tokens, starts, 4, batch_size, seed, step) // 5
            for step in range(steps)
        ]
        line = np.concatenate(dealt)
        for epoch in range(len(line) // 40):
            order = line[40 * epoch : 40 * epoch + 40]
            orders.append((epoch, order.tolist()))
            twice = sorted(r for r in set(order.tolist()) if order.tolist().count(r) > 1)
            check(
                not twice,
                f"sample_batch: in epoch {epoch} of 40 rows, batches of {batch_size}, row "
                f"{twice[:1]} comes more than once, and another never.",
                why_twice(line, batch_size, epoch),
            )
    by_epoch = {}
    for epoch, order in orders:
        neighbors = sum((b - a) % 40 == 1 for a, b in pairwise(order))
        check(
            neighbors < 12,
            f"sample_batch: {neighbors} of 39 rows of an epoch are followed by the next in the "
            "text.",
            "the order is not drawn at random: neighbors in the text are alike, and belong apart",
        )
        check(
            by_epoch.setdefault(epoch, order) == order,
            f"sample_batch: with another batch_size, epoch {epoch} has another order.",
            "the order is drawn from (seed, step); it belongs to (seed, epoch)",
        )
    check(
        by_epoch[0] != by_epoch[1] and by_epoch[1] != by_epoch[2],
        "sample_batch: two epochs have the same order.",
        "the order is drawn from the seed alone; it is drawn anew for every epoch",
    )


def why_twice(line, batch_size, epoch):
    full = line[: 40 // batch_size * batch_size]
    second = line[batch_size : 2 * batch_size]
    if batch_size < 40 and np.array_equal(line[1:batch_size], second[:-1]):
        return "a step goes one row further; it goes batch_size rows further"
    if epoch:
        return "a batch that reaches into the next epoch takes rows of the wrong one"
    late, later = line[: 40 - batch_size], line[40 - batch_size : 80 - batch_size]
    if len(set(late)) == len(late) < 40 == len(set(later)):
        return "the steps are counted from 1 here: step 0 gets the first rows"
    if len(set(full.tolist())) == len(full) < 40:
        return "the last rows of an epoch are dropped where they do not fill a batch"
    return "every batch draws rows anew, so some come twice; an epoch takes every row once"


@points(2, "sample_batch: a function of (seed, step)")
def test_sample_batch_seed(submission):
    """Another seed gives another order; the same one the same, whatever was asked before."""
    tokens, starts = corpus(40)

    def order(seed, step):
        return rows_of(submission, tokens, starts, 4, 40, seed, step).tolist()

    first = [order(2, step) for step in (0, 1, 2)]
    again = [order(2, step) for step in (2, 0, 1)]
    check(
        first == [again[1], again[2], again[0]],
        "sample_batch: the same seed and step gave other rows when they were asked for again.",
        "something is kept from call to call, a generator perhaps: make one from [seed, epoch]",
    )
    check(
        first[0] != order(3, 0),
        "sample_batch: seeds 2 and 3 give the same rows.",
        "the seed is not used"
        if first[1] == order(3, 1)
        else "seed and epoch are multiplied, and in epoch 0 that is 0: use [seed, epoch]",
    )
    check(
        first[1] != order(3, 0),
        "sample_batch: epoch 1 of seed 2 is epoch 0 of seed 3.",
        "seed and epoch are made one number, by + or ^, so other seeds repeat the same orders: use "
        "[seed, epoch]",
    )
    check(
        not submission.sample_batch.edited,
        "sample_batch changed an argument, tokens or starts.",
        "starts is changed in place (shuffle, sort, +=): work on a copy; permutation makes one",
    )


# ---------------------------------------------------------------------------------------------
# power_law, for honor
# ---------------------------------------------------------------------------------------------


def line_through(x, y, log=np.log, weights=None):
    exponent, constant = np.polyfit(log(x), log(y), 1, w=weights)
    return constant, exponent


def law(constant, exponent):
    return np.array([np.exp(constant), exponent])


@points(0, "power_law: the example")
def test_power_law_example(submission):
    """The example in the docstring: two points, through which the line goes exactly."""
    check_example(submission.power_law)


@points(0, "power_law: value")
def test_power_law_value(submission):
    """A straight line in the logarithms, of the distance from the floor."""
    draw = rng()
    for floor in (0.0, 1.7):
        x = np.sort(np.exp(draw.uniform(5, 12, 6)))
        above = draw.uniform(5, 20) * x ** -draw.uniform(0.2, 0.5)
        y = floor + above * np.exp(draw.normal(0, 0.1, 6))
        constant, exponent = line_through(x, y - floor)
        raised, slope = line_through(x, y)
        two = np.log(y[[0, -1]] - floor)
        ends = (two[1] - two[0]) / np.log(x[-1] / x[0])
        found = submission.power_law(x, y, floor=floor)
        check(
            isinstance(found, tuple) and len(found) == 2,
            f"power_law must return two numbers, it returned {found!r}.",
        )
        check_close(
            np.array([float(n) for n in found]),
            np.array([np.exp(constant), exponent]),
            "power_law: (factor, exponent)",
            case=f"x {x.round(1).tolist()}, y {y.round(4).tolist()}, floor {floor}",
            mistakes={
                "the floor is added; it is subtracted from y": law(*line_through(x, y + floor)),
                "the floor is subtracted from ln y; it is from y, before the logarithm": law(
                    *np.polyfit(np.log(x), np.log(y) - floor, 1)[::-1]
                ),
                "x has lost its logarithm": law(*np.polyfit(x, np.log(y - floor), 1)[::-1]),
                "the floor is added to the factor": np.array([np.exp(constant) + floor, exponent]),
                "x and y are in each other's place": law(*line_through(y - floor, x)),
                "the floor is not subtracted": np.array([np.exp(raised), slope]),
                "the factor is given as its logarithm": np.array([constant, exponent]),
                "the two are in each other's place": np.array([exponent, np.exp(constant)]),
                "the exponent's sign is dropped": np.array([np.exp(constant), -exponent]),
                "the line goes through the first and the last point; all of them count": np.array(
                    [np.exp(two[0] - ends * np.log(x[0])), ends]
                ),
                "logarithms of base 10, and e to the power of the result": np.array(
                    [np.exp(constant / np.log(10)), exponent]
                ),
                "the line is fitted to x and y, not to their logarithms": np.array(
                    np.polyfit(x, y - floor, 1)[::-1]
                ),
            },
        )


@points(0, "power_law: points without a logarithm")
def test_power_law_refuses(submission):
    """One point is no line, and what is not above the floor has no logarithm."""
    for x, y, floor in (
        ([3.0], [2.0], 0.0),
        ([1.0, 2.0], [2.0, 1.0], 1.0),
        ([0.0, 1.0], [2.0, 1.0], 0.0),
    ):
        try:
            found = submission.power_law(np.array(x), np.array(y), floor=floor)
        except StudentError as error:
            check("ValueError" in str(error), str(error), "a ValueError is asked for")
        else:
            check(
                False,
                f"power_law({x}, {y}, {floor}) gave {found!r}; ValueError is asked for.",
                "nothing is raised for points that are no line, or that have no logarithm",
            )
