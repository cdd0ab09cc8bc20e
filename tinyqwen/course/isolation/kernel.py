"""Linux's own calls, which Python has no names for: prctl(2), and errors as OSError."""

import ctypes
import os
import sys

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38


def on_linux():
    if sys.platform != "linux":
        raise OSError(f"{sys.platform} has none")


def libc():
    on_linux()
    return ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option, value=0):
    checked(libc().prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))
