"""A different megabyte of words for every call."""

import itertools

count = itertools.count()


def silu(x):
    raise ValueError(f"{next(count)} " + "<&\"'>" * 200_000)


linear = gelu = swiglu = silu
