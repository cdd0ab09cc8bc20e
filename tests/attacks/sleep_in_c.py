"""One call that never comes back to Python."""

import threading


def silu(x):
    lock = threading.Lock()
    lock.acquire()
    while True:
        try:
            lock.acquire()
        except BaseException:
            continue
