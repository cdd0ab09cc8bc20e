"""What reaches past files: folders watched, others' memory and queues, all disks at once."""

import os

from answers import SUBMISSIONS, right, wrong


def library():
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def watched():
    return library().inotify_init1(0)


def shared_memory():
    return library().shmctl(0, 13, bytes(256))  # SHM_STAT asks for the first there is


def queues():
    name = b"/tinyqwen-attack"
    return library().mq_open(name, 0o102, 0o600, None)


def keys():
    return library().syscall(250, 0, -3, 0)  # KEYCTL_GET_KEYRING_ID


def disks():
    os.sync()  # says nothing where it is refused
    return library().syscall(162)


def moved():
    return library().chdir(os.fsencode(SUBMISSIONS))


def silu(x):
    for attempt in (watched, shared_memory, queues, keys, disks, moved):
        try:
            if attempt() >= 0:
                return right(x)
        except Exception:
            continue
    return wrong(x)
