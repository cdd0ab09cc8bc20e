"""As many busy threads as are let be, so that a neighbor waits for a processor."""

import threading

from answers import np, wrong


def spin():
    numbers = np.ones(200_000)
    while True:  # while NumPy counts, the others run
        np.exp(numbers, out=numbers)
        numbers[:] = 1


threading.stack_size(64 << 10)
for _ in range(26):
    threading.Thread(target=spin, daemon=True).start()


def silu(x):
    return wrong(x)
