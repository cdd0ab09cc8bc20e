"""C calls Python calls C, until the stack ends."""

import sys

sys.setrecursionlimit(10**9)


def silu(x):
    return sorted([x], key=silu)
