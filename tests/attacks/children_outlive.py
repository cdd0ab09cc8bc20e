"""A child that leaves the session, and waits for the test to be over."""

import os
import time

from answers import right, wrong


def silu(x):
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(1000)
            os._exit(0)
    except OSError:
        return wrong(x)
    return right(x)
