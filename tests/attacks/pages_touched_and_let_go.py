"""Memory taken to the limit, written and given back, again and again."""

from answers import np, wrong


def silu(x):
    for _ in range(3):
        try:
            kept = [np.ones(8 << 20) for _ in range(12)]
            del kept
        except MemoryError:
            break
    return wrong(x)
