"""An exception whose every part is of another kind than it should be, and too long."""

import sys

copies = sys.modules.get("isolation.copies")
if copies is not None:
    copies.failure_of = lambda error, filename: {
        "kind": ["TimeLimit"] * 1000,
        "message": {"\ud800": "x" * 1_000_000},
        "frames": [(10**30, "\ud800", 5), 7, ("a", "b", "c"), (-1, "f" * 1_000_000, "\x1b[2J")],
        "syntax": (None, 7, ["\ud800"], -(10**20)),
    }


def silu(x):
    raise ValueError
