"""Notes, causes and groups: all that can hang on an exception."""

calls = []


def chain(depth):
    error = None
    for _ in range(depth):
        made = ValueError("thirty points\n" * 1000)
        made.__cause__, error = error, made
    return error


def nested(depth):
    raise ValueError("thirty points " * 10_000) if not depth else RuntimeError(depth)


def silu(x):
    calls.append(x)
    error = chain(20_000)
    if len(calls) % 3 == 1 and hasattr(error, "add_note"):
        for _ in range(10_000):
            error.add_note("thirty points " * 100)
    if len(calls) % 3 == 2 and "ExceptionGroup" in dir(__builtins__):
        error = ExceptionGroup("thirty points " * 10_000, [error] * 10_000)  # noqa: F821
    raise error
