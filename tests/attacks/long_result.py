"""A list of millions, and an integer of a million digits."""


def silu(x):
    return [0] * 10_000_000 if x.ndim else 10**1_000_000
