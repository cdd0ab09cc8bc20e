"""The system calls that a function on arrays has need of; to it, the kernel has no others.

Threads may be made, processes not. Of calls that do many things, what they are asked to do is read
as well: `fcntl` tells of descriptors and takes no lease or lock, `ioctl` asks whether a file is a
terminal, `prctl` names a thread, `tgkill` and `prlimit64` reach nobody but the process itself.

Sources: seccomp(2), Linux's include/uapi; the numbers are those of its tables of system calls.
"""

import ctypes
import os
import platform
import struct

from .kernel import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, checked, libc, on_linux, prctl

# Numbers on x86-64 and on 64-bit ARM; None where a machine has no such call.
ALLOWED = {
    # files that Landlock lets be opened
    "read": (0, 63), "readv": (19, 65), "pread64": (17, 67), "write": (1, 64), "writev": (20, 66),
    "open": (2, None), "openat": (257, 56), "close": (3, 57), "lseek": (8, 62), "dup": (32, 23),
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17),
    "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73),
    "select": (23, None), "pselect6": (270, 72),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226),
    "madvise": (28, 233), "brk": (12, 214),
    # threads, their locks and signals, and the end
    "futex": (202, 98), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "set_tid_address": (218, 96), "set_robust_list": (273, 99), "rseq": (334, 293),
    "arch_prctl": (158, None), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "exit": (60, 93), "exit_group": (231, 94),
    # time
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getrusage": (98, 165), "getitimer": (36, 102), "setitimer": (38, 103),
    # who and where one is
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "uname": (63, 160),
    "sysinfo": (99, 179), "getcpu": (309, 168), "getrandom": (318, 278),
}  # fmt: skip
CLONE, CLONE3, TGKILL, PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
FCNTL, IOCTL, PRCTL = (72, 25), (16, 29), (157, 167)
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH, column above

CLONE_THREAD = 0x10000
FCNTL_COMMANDS = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
IOCTL_COMMANDS = (0x5401, 0x5450, 0x5451)  # TCGETS, FIONCLEX, FIOCLEX
PRCTL_COMMANDS = (15,)  # PR_SET_NAME

NUMBER, ARCH, FIRST, SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data
LOAD, EQUAL, ALL_BITS, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, NOT_PERMITTED, NO_SUCH_CALL, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


def allow_list():
    """Put up the filter, for this process and for good; says what it does."""
    on_linux()
    if platform.machine() not in MACHINES:
        raise OSError(f"not known for {platform.machine()}")
    instructions = program(*MACHINES[platform.machine()], os.getpid())
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    code = ctypes.create_string_buffer(packed)
    filter_ = struct.pack("@HP", len(instructions), ctypes.addressof(code))
    filter_ = ctypes.create_string_buffer(filter_)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    checked(libc().prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), filter_, ctypes.c_ulong(0), 0))
    kinds = len(ALLOWED) + 7
    return f"{kinds} system calls of several hundred: no processes, programs, sockets, leases"


def program(arch, machine, own) -> list[tuple]:
    """The filter's instructions, (code, jump if true, jump if false, operand) each.

    arch: AUDIT_ARCH;  machine: the column of the tables;  own: the process's id
    """
    made = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]

    def rule(numbers, *then):
        made.extend([(EQUAL, 0, len(then), numbers[machine]), *then])

    def of_these(numbers, argument, values):
        tests = [line for v in values for line in ((EQUAL, 0, 1, v), (RETURN, 0, 0, ALLOW))]
        rule(numbers, (LOAD, 0, 0, argument), *tests, (RETURN, 0, 0, NOT_PERMITTED))

    for numbers in ALLOWED.values():
        if numbers[machine] is not None:
            rule(numbers, (RETURN, 0, 0, ALLOW))
    thread = (ALL_BITS, 0, 1, CLONE_THREAD), (RETURN, 0, 0, ALLOW)
    rule(CLONE, (LOAD, 0, 0, FIRST), *thread, (RETURN, 0, 0, NOT_PERMITTED))
    rule(CLONE3, (RETURN, 0, 0, NO_SUCH_CALL))  # the C library then takes clone, which can be read
    of_these(TGKILL, FIRST, [own])
    of_these(PRLIMIT, FIRST, [0])
    of_these(FCNTL, SECOND, FCNTL_COMMANDS)
    of_these(IOCTL, SECOND, IOCTL_COMMANDS)
    of_these(PRCTL, FIRST, PRCTL_COMMANDS)
    return [*made, (RETURN, 0, 0, NO_SUCH_CALL)]
