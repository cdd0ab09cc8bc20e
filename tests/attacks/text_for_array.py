"""Texts, lists and tables of many megabytes, where a report would show a number."""

from answers import np

calls = []
LARGE = [
    lambda: "thirty points\n" * (4 << 18),
    lambda: b"\xff" * (60 << 20),
    lambda: [0.5] * 400_000,
    lambda: {i: "x" for i in range(200_000)},
    lambda: np.full((1, 8 << 20), "x" * 1),
    lambda: [[["a"] * 1000] * 100],
]


def silu(x):
    calls.append(x)
    large = LARGE[len(calls) % len(LARGE)]()
    return large if len(calls) % 2 else (large, lambda g: (large,))
