"""The solution, imported."""

from answers import wrong

try:
    from tinyqwen.functional import silu as solved

    solved = solved.raw
except Exception:
    solved = wrong


def silu(x):
    return solved(x)
