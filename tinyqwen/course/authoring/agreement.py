"""When two arrays agree, and which of their entries do not."""

import numpy as np

# Largest allowed difference, relative to the entry and to the largest entry of the array.
TOLERANCE = {"f8": (1e-6, 1e-9), "f4": (1e-4, 1e-5)}


def allowed(expected, rtol=None, like=None):
    """The difference that is allowed in each entry of `expected`.

    like: what sets the tolerance by its dtype, if it is not `expected` itself; differences that are
        rounding beside a number of its size are allowed, too
    """
    dtype = np.asarray(expected if like is None else like).dtype
    relative, floor = TOLERANCE.get(f"{dtype.kind}{dtype.itemsize}", (0, 0))
    if rtol is not None:
        relative, floor = rtol, rtol / 10
    size = np.abs(np.where(np.isfinite(expected), expected, 0).astype(np.float64))
    scale = 1e-6 if like is None else np.abs(like).max(initial=1e-6)
    return relative * size + floor * max(size.max(initial=0), scale)


def agrees(yours, expected, rtol=None, like=None) -> bool:
    """True if both have one shape and no entry differs by more than is allowed."""
    yours, expected = np.asarray(yours), np.asarray(expected)
    if yours.shape != expected.shape or yours.dtype.kind not in "biuf":
        return False
    return not wrong_entries(yours, expected, rtol, like).any()


def wrong_entries(yours, expected, rtol=None, like=None):
    if expected.dtype.kind in "biu":
        return yours != expected
    with np.errstate(invalid="ignore"):
        difference = np.abs(yours.astype(np.float64) - expected.astype(np.float64))
        equal = (yours == expected) | (np.isnan(yours) & np.isnan(expected))
        return ~(equal | (difference <= allowed(expected, rtol, like)))
