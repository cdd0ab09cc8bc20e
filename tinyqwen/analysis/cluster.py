"""What many machines bring: the time of a step, what goes over the wire, and who holds what.

Letters: N ranks (machines, or processes on one), P parameters, C arithmetic of a step in FLOP. A
rank computes `speed` FLOP/s, sends `bandwidth` bytes/s, and a message takes `latency` seconds at
the least, however short it is.
"""

from typing import NamedTuple


class Network(NamedTuple):
    """What lies between ranks.  bandwidth: bytes/s each way;  latency: seconds a message."""

    bandwidth: float
    latency: float


def ring_bytes(nbytes, ranks):
    """What each rank sends for one sum over all ranks: 2 (N - 1)/N of the array.

    Half of it in the reduce-scatter, half in the all-gather (Patarasuk & Yuan 2009, section 3).
    """
    return 2 * (ranks - 1) / ranks * nbytes


def ring_seconds(nbytes, ranks, bandwidth, latency):
    """Time of that sum: 2 (N - 1) messages of 1/N of the array, one after another.

    >>> ring_seconds(4e9, 4, bandwidth=1e9, latency=0.0)
    6.0
    """
    messages = 2 * (ranks - 1)
    return ring_bytes(nbytes, ranks) / bandwidth + messages * latency


def step_seconds(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    """{part: seconds} of a training step whose rows are shared out: C/(N·speed), and the sum.

    nbytes: of the gradients. overlap: the share of the arithmetic during which gradients that are
    ready travel already (0, none; the backward pass is two thirds); only what is left is waited
    for.

    >>> step_seconds(flops=100, nbytes=8, ranks=2, speed=5, bandwidth=4, latency=0.5, overlap=0.1)
    {'arithmetic': 10.0, 'communication': 2.0}
    """
    compute = flops / ranks / speed
    travel = ring_seconds(nbytes, ranks, bandwidth, latency)
    return {"arithmetic": compute, "communication": max(0.0, travel - overlap * compute)}


def efficiency(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    """Speed-up over N: 1 if N ranks are N times as fast as one."""
    parts = step_seconds(flops, nbytes, ranks, speed, bandwidth, latency, overlap)
    return flops / speed / (ranks * sum(parts.values()))


def zero_memory(parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12):
    """{part: bytes} that each rank holds of a model in training, without activations.

    stage: 0, plain data parallelism, everything everywhere; 1, the optimizer's state is shared
    out; 2, the gradients too; 3, the weights too (Rajbhandari et al. 2020, "ZeRO", figure 1).
    By default as there: weights and gradients in 16 bits, and for AdamW a float32 copy of the
    weights and two moments. In float32 throughout: 4, 4, 8.

    >>> zero_memory(7_500_000_000, 64, stage=1)["optimizer"] / 1e9
    1.40625
    """
    if stage not in (0, 1, 2, 3):
        raise ValueError(f"ZeRO has the stages 0, 1, 2 and 3, not {stage!r}")
    kept = [1 / ranks if stage >= least else 1 for least in (3, 2, 1)]
    sizes = (weight_bytes, gradient_bytes, optimizer_bytes)
    parts = ("weights", "gradients", "optimizer")
    return {part: parameters * size * share for part, size, share in zip(parts, sizes, kept)}


def pipeline_bubble(stages, micro_batches):
    """The share of time in which a stage of a pipeline waits: (p - 1)/(m + p - 1).

    The first of m micro-batches reaches the last of p stages p - 1 turns later, and as long is the
    way back (Huang et al. 2019, "GPipe", section 2.3).

    >>> pipeline_bubble(4, 4)
    0.42857142857142855
    """
    return (stages - 1) / (micro_batches + stages - 1)


def training_days(parameters, tokens, ranks, speed, utilization=0.4):
    """6 P T / (N · speed · utilization), in days: how long it takes to train on T tokens.

    utilization: the share of its peak `speed` that a rank reaches; 0.3 to 0.5 is usual.
    """
    return 6 * parameters * tokens / (ranks * speed * utilization) / 86400
