"""Nothing right at all, and good manners."""

from answers import wrong


def silu(x):
    return wrong(x)
