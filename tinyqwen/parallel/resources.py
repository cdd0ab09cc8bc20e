"""What the machine gives to a computation: cores, and memory of the kind that it wants."""

import ctypes
import functools
import math
import mmap
import os
import sys

import numpy as np

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
MADV_HUGEPAGE = 14  # Linux's mman.h
HEAP, LARGE_PAGE = 1 << 30, 1 << 21  # bytes


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


@functools.cache
def keep_memory():
    """Ask glibc to keep freed memory, and Linux for large pages; elsewhere do nothing.

    By default glibc gives every large array back to the kernel when it is freed, and the next one
    is faulted in again page by page: half the time of a training step, a sixth of that of a long
    prompt. Here it is told to keep what the process has once used. Every model asks for it when it
    is built; the first time counts. TINYQWEN_KEEP_MEMORY=0 switches this off. Returns whether the
    setting was made. BLAS gets its memory at the same time, everywhere.
    """
    _touch_packing_memory()
    if not sys.platform.startswith("linux") or os.environ.get("TINYQWEN_KEEP_MEMORY") == "0":
        return False
    try:
        libc = ctypes.CDLL(None)
        mallopt = libc.mallopt
    except (OSError, AttributeError):  # another C library
        return False
    kept = mallopt(M_MMAP_THRESHOLD, 1 << 25) and mallopt(M_TRIM_THRESHOLD, 2 * HEAP - 1)
    _grow_in_large_pages(libc)
    return bool(kept)


def _touch_packing_memory():
    """One product, large enough to write to the memory into which OpenBLAS packs small matrices.

    Its loops read ahead of what they have packed. While the memory there was never written to, no
    page is behind it, and small products run at a third of their speed: 512 rows of 64 times 512 of
    176 at 10 GFLOP/s on a Zen 1 core, and at 36 from then on. A forked worker inherits the pages.
    """
    ones = np.ones((512, 512), np.float32)
    ones @ ones


def _grow_in_large_pages(libc):
    """Let the heap grow by HEAP at once, in pages of 2 MB where the kernel grants them.

    A core remembers where some 2,000 pages are; of 4 KB each, they are fewer than the arrays of a
    step have, and looking the others up is a tenth of its time. Pages are taken when first written.
    """
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    libc.sbrk.restype, libc.sbrk.argtypes = pointer, [ctypes.c_ssize_t]
    libc.malloc.restype, libc.malloc.argtypes = pointer, [size]
    libc.free.argtypes, libc.madvise.argtypes = [pointer], [pointer, size, ctypes.c_int]
    before = libc.sbrk(0)
    libc.mallopt(M_TOP_PAD, HEAP)  # how much more to take than is asked for
    libc.free(libc.malloc(1 << 24))  # if there is room for it, the heap has grown already
    libc.mallopt(M_TOP_PAD, 1 << 17)  # as it was
    start, end = -(-before // LARGE_PAGE) * LARGE_PAGE, libc.sbrk(0)
    if start < end:
        libc.madvise(start, end - start, MADV_HUGEPAGE)


def shared_zeros(size, dtype):
    """An array (size,) in memory that processes forked from now on share with this one."""
    memory = mmap.mmap(-1, max(1, size) * np.dtype(dtype).itemsize)  # of no byte there is no map
    return np.frombuffer(memory, dtype)[:size]


def is_shared(array):
    """Whether an array, or what it is a view of, was made by `shared_zeros`."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)
