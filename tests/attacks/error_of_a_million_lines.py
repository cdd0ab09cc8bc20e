"""A SyntaxError whose every field is of the file's own making, raised in the middle of a call."""

ODD = ["\ud800", "thirty points\n" * 10**5, -1, 1 << 62, None, [], 1.5, "\x1b[2J"]
calls = []


def silu(x):
    calls.append(x)
    error = SyntaxError(ODD[len(calls) % 8])
    error.lineno, error.offset = ODD[(len(calls) + 1) % 8], ODD[(len(calls) + 2) % 8]
    error.text, error.filename = ODD[(len(calls) + 3) % 8], ODD[(len(calls) + 4) % 8]
    error.msg = ODD[(len(calls) + 5) % 8]
    raise error
