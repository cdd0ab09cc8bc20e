"""The politer way to end a process."""

import sys


def silu(x):
    sys.exit(0)
