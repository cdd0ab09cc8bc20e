"""ValueError, whatever is asked."""


def silu(x):
    raise ValueError("refused")
