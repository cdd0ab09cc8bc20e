"""What the machine gives to a computation: cores, and memory of the kind that it wants."""

import ctypes
import math
import mmap
import os
import sys

import numpy as np


def default_threads():
    """The number of cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def physical_memory():
    """Bytes of memory that this machine has; infinity where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return math.inf


def keep_memory():
    """Ask glibc to keep freed memory for the next allocation; elsewhere do nothing.

    By default glibc gives every large array back to the kernel when it is freed, and the next one
    is faulted in again page by page: half the time of a training step. Here it is told to keep what
    the process has once used. TINYQWEN_KEEP_MEMORY=0 switches this off.
    Returns whether the setting was made.
    """
    if not sys.platform.startswith("linux") or os.environ.get("TINYQWEN_KEEP_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
    settings = ((M_MMAP_THRESHOLD, 1 << 25), (M_TRIM_THRESHOLD, 1 << 30))
    return all(mallopt(parameter, value) for parameter, value in settings)


def shared_zeros(size, dtype):
    """An array (size,) in memory that processes forked from now on share with this one."""
    memory = mmap.mmap(-1, max(1, size * np.dtype(dtype).itemsize))
    return np.frombuffer(memory, dtype)[:size]


def is_shared(array):
    """Whether an array, or what it is a view of, was made by `shared_zeros`."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)
