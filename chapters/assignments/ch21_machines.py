"""Chapter 21. Many machines: what you write.

Plain functions of arrays and numbers; none of them changes what it is given.
Write plain NumPy; replace `raise NotImplementedError` by your code. Of the library you may use the
update of chapter 10, `optim.adamw_step`.

    pytest tests/assignments -k ch21          grades this file
"""

import numpy as np  # noqa: F401

from tinyqwen import optim  # noqa: F401


def split_rows(batch, parts):
    """A batch as at most `parts` batches of neighboring rows, as even as can be.

    batch: a dict of arrays with the same number of rows B, {name: array (B, …)}; parts: at least 1.
    The parts differ by at most one row, and the longer ones come first. Where there are fewer rows
    than parts, each row is a part. Returns a list of dicts with the same names, in the order of the
    rows.

    >>> batch = {"input_ids": np.array([[1, 2], [3, 4], [5, 6]]), "label": np.array([7, 8, 9])}
    >>> first, second = split_rows(batch, 2)
    >>> first["input_ids"].tolist(), first["label"].tolist()
    ([[1, 2], [3, 4]], [7, 8])
    >>> second["input_ids"].tolist(), second["label"].tolist()
    ([[5, 6]], [9])
    """
    raise NotImplementedError


def chunk_bounds(length, size):
    """Where `length` numbers are cut for `size` ranks: size + 1 positions, 0 first, length last.

    Chunks differ by at most one number; the longer ones come first. Returns a list of integers:
    rank r has the numbers from bounds[r] up to, not including, bounds[r + 1]. A chunk may be empty.

    >>> chunk_bounds(10, 4)                              # 3, 3, 2 and 2 numbers
    [0, 3, 6, 8, 10]
    """
    raise NotImplementedError


def reduce_scatter_step(rank, size, step):
    """Which chunk a rank sends to the next one, and which it receives and adds: (sent, received).

    The ranks 0 … size - 1 sit in a ring; each sends to rank + 1 and receives from rank - 1, the
    last one to and from the ends of the line. There are size chunks, and steps 0 … size - 2.
    What a rank receives in one step, it sends in the next. In the last step it receives its own
    chunk, number `rank`, to which all others have added theirs by then.

    >>> [reduce_scatter_step(0, 3, step) for step in range(2)]
    [(2, 1), (1, 0)]
    """
    raise NotImplementedError


def all_gather_step(rank, size, step):
    """Which finished chunk a rank sends to the next one, and which it receives: (sent, received).

    The ring is that of `reduce_scatter_step`. At first rank r has chunk r alone, and sends it; what
    it receives in one step, it sends in the next. After steps 0 … size - 2 it has all of them.

    >>> [all_gather_step(0, 3, step) for step in range(2)]
    [(0, 2), (2, 1)]
    """
    raise NotImplementedError


def sharded_adamw_step(parameter, gradient, m, v, step, rank, size, **settings):
    """One rank's part of an update by AdamW, whose state is shared out over `size` ranks (ZeRO-1).

    parameter (n,): all weights. gradient (n,): the sum over all ranks, but in this rank's chunk
    alone; elsewhere it holds anything. m, v: the moments of that chunk alone. The chunk is cut as
    in `chunk_bounds`. step: t, 1 for the first update; settings: what `optim.adamw_step` takes by
    name, lr, betas, eps, weight_decay.
    Returns the new (chunk of the weights, m, v), all as long as the chunk.

    >>> weights, summed = np.array([1.0, 2.0, 3.0]), np.array([np.nan, np.nan, 0.5])
    >>> zero = np.zeros(1)                               # of two ranks rank 1 has the last number
    >>> chunk, m, v = sharded_adamw_step(weights, summed, zero, zero, 1, 1, 2, lr=0.1)
    >>> chunk.round(3), m.round(3)
    (array([2.897]), array([0.05]))
    """
    raise NotImplementedError


def step_seconds(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    """{"arithmetic": seconds, "communication": seconds} of a step whose rows are shared out.

    arithmetic: flops operations, the same share for each of N = ranks, which do `speed` operations
    a second.
    communication: the gradients, nbytes bytes, are summed around a ring. A rank sends 2 (N - 1)
    messages, one after another, each 1/N of the array; a message takes `latency` seconds, and its
    bytes / `bandwidth`. While a share `overlap` of the arithmetic is done, gradients that are ready
    travel already: only what is left after that is waited for, and never less than nothing.

    >>> parts = step_seconds(100, 8, 2, speed=5, bandwidth=4, latency=0.5, overlap=0.1)
    >>> parts["arithmetic"], parts["communication"]       # 100 / 2 / 5 and 2 · (4 / 4 + 0.5) - 1
    (10.0, 2.0)
    """
    raise NotImplementedError


def zero_memory(parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12):
    """{"weights": …, "gradients": …, "optimizer": …}: bytes that a rank holds of a model.

    parameters: how many numbers the model has; each needs so many bytes for its weight, its
    gradient, and what the optimizer keeps of it. stage: 0, each rank has everything; 1, the
    optimizer's state is shared out over the ranks; 2, the gradients too; 3, the weights too.
    (Rajbhandari et al. 2020, figure 1.)

    >>> held = zero_memory(1000, 4, stage=1)
    >>> held["weights"], held["gradients"], held["optimizer"]
    (2000.0, 2000.0, 3000.0)
    """
    raise NotImplementedError


def pipeline_bubble(stages, micro_batches):
    """The share of time in which a stage of a pipeline waits.

    A model's layers are cut into p = stages runs of neighbors, a machine each. A batch is cut into
    m = micro_batches, which go through one after another; each takes one turn at each machine, and
    the way back is as long as the way there. (Huang et al. 2019, "GPipe", figure 2.)

    >>> pipeline_bubble(3, 2)
    0.5
    """
    raise NotImplementedError
