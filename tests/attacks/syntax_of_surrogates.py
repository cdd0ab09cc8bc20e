"""A syntax error told in halves of characters, in column two million."""

raise SyntaxError("\ud800" * 1000, ("\udcff", 10**30, 2_000_000, "\ud800\x00" * 1_000_000))


def silu(x):
    return x
