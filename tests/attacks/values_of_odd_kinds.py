"""What may cross and is no array, in the place of the output and of the gradient's function."""

from answers import np, wrong

ODD = [{}.get, [].__getitem__, float, np.float64, ..., slice(0, 10**12), range(10**6), "\ud800" * 9]
ODD += [
    np.dtype("f4"),
    {float("nan")},
    10**4000,
    complex("nan"),
    {1: {2: {}}},
    b"",
    (),
    np.str_("a"),
]
calls = []


def silu(x):
    calls.append(x)
    odd = ODD[len(calls) % len(ODD)]
    return (odd, odd, odd)[: len(calls) // len(ODD) % 4] if len(calls) % 3 else (wrong(x)[0], odd)
