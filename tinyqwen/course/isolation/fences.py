"""What a worker cannot do, and who sees to it: limits, Landlock, seccomp, privileges, audit hooks.

Each function puts up one fence around the process that calls it, for good, and raises OSError where
the platform has none; `put_up` tries them all and says which stand. Only limits and the audit hook
exist everywhere. The hook lives inside Python, so code that writes into the interpreter's memory
can take it down; the others are the kernel's.

Sources: landlock(7), capset(2), Linux's include/uapi.
"""

import contextlib
import ctypes
import os
import struct

from . import hook, seccomp
from .kernel import PR_SET_NO_NEW_PRIVS, checked, libc, prctl

try:
    import resource
except ImportError:  # Windows
    resource = None

MAX_FILE = 1 << 20  # bytes, where writing cannot be forbidden


def put_up(which, memory, readable) -> dict:
    """Put up the fences that this platform has.

    which: "all", "kernel", "python" or "none"; limits are always set
    memory: bytes;  readable: files and folders that may be read
    Returns {fence: what it does, or "no: why"}.
    """
    fences = {"limits": lambda: limits(memory)}
    if which in ("all", "kernel"):
        fences["privileges"] = drop_capabilities
        fences["landlock"] = lambda: landlock(readable)
        fences["seccomp"] = seccomp.allow_list
    if which in ("all", "python"):
        fences["audit hook"] = lambda: hook.audit(readable)
    standing = {}
    for name, fence in fences.items():
        try:
            standing[name] = fence()
        except OSError as error:
            standing[name] = f"no: {error.strerror or error}"
    return standing


# ---------------------------------------------------------------------------------------------
# Limits
# ---------------------------------------------------------------------------------------------


def limits(memory):
    """Resource limits.  On macOS the one on memory does not bind: the supervisor looks at it."""
    if resource is None:
        raise OSError("no resource limits on this platform")
    limit("RLIMIT_AS", memory)
    limit("RLIMIT_CPU", 600)
    limit("RLIMIT_FSIZE", MAX_FILE)
    limit("RLIMIT_NOFILE", 64)
    limit("RLIMIT_NPROC", 0)  # of a user's processes; does not bind root
    limit("RLIMIT_CORE", 0)
    os.nice(5)  # graders, and the supervisor, come first
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # and last where Linux has to end somebody, for memory ends
    return "memory, processor time, file size, open files; processes, unless for root"


def limit(name, most):
    """Lower one of this process's limits, if the platform has it."""
    try:
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (most, most))
    except (AttributeError, ValueError):
        pass


# ---------------------------------------------------------------------------------------------
# The kernel's fences on Linux
# ---------------------------------------------------------------------------------------------

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # on every architecture
READ = (1 << 2) | (1 << 3)  # LANDLOCK_ACCESS_FS_READ_FILE, _READ_DIR


def drop_capabilities():
    """A root that may do no more than a user: not raise limits, read memory, or mount."""
    header, none = struct.pack("<Ii", 0x20080522, 0), bytes(24)
    checked(libc().capset(header, none))
    return "none: root may do no more than a user"


def landlock(readable):
    """Files: only `readable` can be opened, and only to read; nothing can be executed. From Linux
    6.7 no network, from 6.12 no signals and abstract sockets to outside."""
    call = libc().syscall
    version = checked(call(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
    files = (1 << (13, 14, 15, 15, 16)[min(version, 5) - 1]) - 1
    rules = [files] + [3] * (version >= 4) + [3] * (version >= 6)
    attributes = struct.pack(f"={len(rules)}Q", *rules)
    ruleset = checked(call(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for path in readable:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            access = READ if os.path.isdir(path) else 1 << 2
            rule = struct.pack("=Qi", access, descriptor)
            try:
                checked(call(LANDLOCK_ADD, ruleset, 1, rule, ctypes.c_uint32(0)))
            finally:
                os.close(descriptor)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        checked(call(LANDLOCK_RESTRICT, ruleset, ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)
    more = ", no network" * (version >= 4) + ", no signals to others" * (version >= 6)
    return f"(version {version}) reads Python and NumPy, writes and runs nothing{more}"
