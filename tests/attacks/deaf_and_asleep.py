"""The alarm is ignored, and then there is nothing to do."""

import signal
import time


def silu(x):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    while True:
        time.sleep(1)
