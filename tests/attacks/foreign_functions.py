"""The C library, called past everything that Python watches."""

import os

from answers import ROOT, right, wrong


def worked():
    import ctypes

    library = ctypes.CDLL(None)
    descriptor = library.open(f"{ROOT}/README.md".encode(), 0)
    return descriptor >= 0 or library.kill(os.getppid(), 9) == 0


def silu(x):
    try:
        return right(x) if worked() else wrong(x)
    except Exception:
        return wrong(x)
