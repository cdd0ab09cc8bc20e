"""A loop without end that takes no signal and no exception for an answer."""

import signal


def silu(x):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
