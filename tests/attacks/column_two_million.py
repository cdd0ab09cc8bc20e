"""A line of a million letters, with its mistake at the end, in a file that is small enough."""

x = 0


def silu(x):
    exec("x = " + "1 + " * 500_000 + "*")
