"""Numbers where dictionaries, lists and times belong, in all that a worker says of a call."""

import sys

from answers import right, wrong

serving = sys.modules.get("isolation.serving")
calls = []


def lying(self, function, args, kwargs, seconds):
    calls.append(1)
    fields = (7, {"a": 1}, [[1, 2, 3]], float("nan"), "\ud800" * 100_000, [True, 10**30], None)
    result = right(*args) if len(args) == 1 else None
    odd = fields[len(calls) % len(fields)]
    if len(calls) % 2:
        return "raised", odd
    return "returned", (result, odd, odd, odd)


if serving is not None:
    serving.Server.run = lying


def silu(x):
    return wrong(x)
