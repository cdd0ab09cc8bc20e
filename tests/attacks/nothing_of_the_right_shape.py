"""NaN, infinity, emptiness, and one number that broadcasts: what comparisons may forget."""

from answers import np, right

calls = []


def odd(a):
    kinds = [
        np.full_like(a, np.nan),
        np.full_like(a, np.inf),
        a[..., :0],
        a.mean(),
        a.astype(object),
    ]
    kinds += [a.astype(complex), a.astype("M8[s]"), np.broadcast_to(a.mean(), a.shape), a[None]]
    return kinds[len(calls) % len(kinds)]


def silu(x):
    calls.append(x)
    out, vjp = right(x)
    return odd(out), lambda g: (odd(vjp(g)[0]),)
