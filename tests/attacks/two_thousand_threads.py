"""Threads that are no processes, and sleep."""

import threading
import time

from answers import right, wrong

threading.stack_size(64 << 10)


def silu(x):
    for _ in range(2000):
        try:
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
        except Exception:
            break
    time.sleep(0.5)
    return right(x) if threading.active_count() > 64 else wrong(x)
