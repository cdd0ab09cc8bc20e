"""The parent, made the owner of a pipe: what is written to the pipe kills it."""

import fcntl
import os
import signal

from answers import right, wrong


def worked():
    read, write = os.pipe()
    fcntl.fcntl(read, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(read, fcntl.F_SETOWN, os.getppid())
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_ASYNC)
    return os.write(write, b"!") == 1


def silu(x):
    try:
        return right(x) if worked() else wrong(x)
    except OSError:
        return wrong(x)
