"""A process that is neither dead nor awake."""

import signal

from answers import wrong


def silu(x):
    try:
        signal.raise_signal(signal.SIGSTOP)
    except Exception:
        signal.pause()
    return wrong(x)
