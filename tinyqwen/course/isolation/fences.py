"""What a worker cannot do, and who sees to it: limits, Landlock, seccomp, privileges, audit hooks.

Each function puts up one fence around the process that calls it, for good, and raises OSError where
the platform has none; `put_up` tries them all and says which stand. Only limits and the audit hook
exist everywhere. The hook lives inside Python, so code that writes into the interpreter's memory
can take it down; the others are the kernel's.

Sources: landlock(7), seccomp(2), capset(2), Linux's include/uapi; PEP 578 for the audit hooks.
"""

import ctypes
import os
import platform
import struct
import subprocess
import sys

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
        fences["seccomp"] = seccomp
    if which in ("all", "python"):
        fences["audit hook"] = lambda: audit(readable)
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

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 38, 22, 1, 36
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # on every architecture
READ = (1 << 2) | (1 << 3)  # LANDLOCK_ACCESS_FS_READ_FILE, _READ_DIR


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


# System calls that a function on arrays has no need of, by the kernel's numbers.
X86_64 = {
    "kill": 62, "tkill": 200, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
    "pidfd_open": 434, "pidfd_send_signal": 424, "ptrace": 101, "process_vm_readv": 310,
    "process_vm_writev": 311, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
    "socket": 41, "socketpair": 53, "io_uring_setup": 425, "unshare": 272, "setns": 308,
    "mount": 165, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250,
    "add_key": 248, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
    "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93,
    "lchown": 94, "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261,
    "utimensat": 280, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197,
    "lremovexattr": 198, "fremovexattr": 199, "setpriority": 141, "sched_setaffinity": 203,
    "sched_setscheduler": 144,
}  # fmt: skip
AARCH64 = {
    "kill": 129, "tkill": 130, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
    "pidfd_open": 434, "pidfd_send_signal": 424, "ptrace": 117, "process_vm_readv": 270,
    "process_vm_writev": 271, "execve": 221, "execveat": 281, "socket": 198, "socketpair": 199,
    "io_uring_setup": 425, "unshare": 97, "setns": 268, "mount": 40, "bpf": 280,
    "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219, "add_key": 217, "shmget": 194,
    "msgget": 186, "semget": 190, "mq_open": 180, "fchmod": 52, "fchmodat": 53, "fchmodat2": 452,
    "fchown": 55, "fchownat": 54, "utimensat": 88, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
    "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "setpriority": 140,
    "sched_setaffinity": 122, "sched_setscheduler": 119,
}  # fmt: skip
# (AUDIT_ARCH, the forbidden, clone, clone3, tgkill, prlimit64, fcntl)
MACHINES = {
    "x86_64": (0xC000003E, X86_64, 56, 435, 234, 302, 72),
    "aarch64": (0xC00000B7, AARCH64, 220, 435, 131, 261, 25),
}
NUMBER, ARCH, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24  # offsets in struct seccomp_data
F_SETOWN, F_SETOWN_EX = 8, 15
LOAD, EQUAL, GREATER, ALL_BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, NO_SUCH_CALL, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


def seccomp():
    """Refuse the system calls above.  Threads may be made, processes not; `tgkill` and `prlimit64`
    reach nobody but the process itself, and no descriptor signals to another."""
    on_linux()
    if platform.machine() not in MACHINES:
        raise OSError(f"not known for {platform.machine()}")
    arch, forbidden, clone, clone3, tgkill, prlimit, fcntl = MACHINES[platform.machine()]
    program = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]

    def rule(number, *then):
        program.extend([(EQUAL, 0, len(then), number), *then])

    if arch == MACHINES["x86_64"][0]:  # the x32 calls, the same under other numbers
        program.extend([(GREATER, 0, 1, 0x40000000), (RETURN, 0, 0, REFUSE)])
    for number in forbidden.values():
        rule(number, (RETURN, 0, 0, REFUSE))
    rule(clone3, (RETURN, 0, 0, NO_SUCH_CALL))  # the C library then takes clone, which can be read
    argument = (LOAD, 0, 0, FIRST_ARGUMENT)
    thread = 0x10000  # CLONE_THREAD
    rule(clone, argument, (ALL_BITS, 1, 0, thread), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW))
    for number, own in ((tgkill, os.getpid()), (prlimit, 0)):
        rule(number, argument, (EQUAL, 1, 0, own), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW))
    command, refuse = (LOAD, 0, 0, SECOND_ARGUMENT), (RETURN, 0, 0, REFUSE)
    owners = [line for c in (F_SETOWN, F_SETOWN_EX) for line in ((EQUAL, 0, 1, c), refuse)]
    rule(fcntl, command, *owners, (RETURN, 0, 0, ALLOW))
    program.append((RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    library = libc()
    checked(library.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), filter_, ctypes.c_ulong(0), 0))
    return "no new processes and programs, no sockets, no signals to others"


# ---------------------------------------------------------------------------------------------
# The hook inside Python
# ---------------------------------------------------------------------------------------------

# Events, or beginnings of them, that are refused whatever their arguments.
FORBIDDEN = (
    *("os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "os.kill"),
    *("subprocess.", "pty.", "socket.", "ctypes.", "sqlite3.", "syslog.", "shutil.", "tempfile."),
    *("os.chmod", "os.chown", "os.chflags", "os.lchmod", "os.lchflags", "os.lockf", "os.link"),
    *("os.symlink", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.utime"),
    *("os.setxattr", "os.removexattr", "signal.pthread_kill", "sys.remote_exec"),
    *("resource.setrlimit", "resource.prlimit", "fcntl."),
)
# Functions that no event tells of, and modules full of them: they write files, start programs, or
# make interpreters without this hook.
UNWATCHED = (
    *("mkfifo", "mknod", "setsid", "setpgid", "setpriority", "nice", "copy_file_range"),
    *("sched_setaffinity", "sched_setscheduler", "sched_setparam", "pidfd_open"),
    *("fork_exec", "_fork_exec"),
)
UNSEEN = (
    *("posix", "_posixsubprocess", "_posixshmem", "_multiprocessing", "readline", "_gdbm", "_dbm"),
    *("_interpreters", "_xxsubinterpreters", "_testcapi", "_testinternalcapi", "_tkinter"),
    *("_curses",),
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def audit(readable):
    """Refuse, inside Python, what the kernel's fences refuse too, where there are such.

    readable: folders and files that may be opened for reading
    """
    inside = tuple(os.path.realpath(path) for path in readable)
    realpath, isinstance_ = os.path.realpath, isinstance
    startswith, split = str.startswith, str.split
    folders = tuple(path + os.sep for path in inside)
    fsdecode, forbidden, unseen, writes = os.fsdecode, FORBIDDEN, UNSEEN, WRITES
    refused = PermissionError

    def may_read(path):
        if isinstance_(path, int):
            return True
        path = fsdecode(path)
        if not startswith(path, os.sep) and ".." in split(path, os.sep):
            return False  # relative to a folder that the event does not name, it may be
        path = realpath(path)
        return path in inside or startswith(path, folders)

    def hook(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if flags & writes or not may_read(path):
                raise refused(1, "graded code may not open files", path)
        elif event in ("os.listdir", "os.scandir", "os.walk", "os.chdir", "glob.glob"):
            if not may_read(arguments[0] or "."):
                raise refused(1, "graded code may not look into folders", arguments[0])
        elif event == "import" and arguments[0] in unseen:
            raise refused(1, f"graded code may not import {arguments[0]}")
        elif startswith(event, forbidden):
            raise refused(1, f"graded code may not do this ({event})")

    for name in UNWATCHED:
        for module in (os, subprocess, *map(sys.modules.get, ("posix", "_posixsubprocess"))):
            vars(module).pop(name, None)
    for functions in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        functions -= {f for f in functions if f.__name__ in UNWATCHED}
    sys.addaudithook(hook)
    return "inside Python: no files, processes, sockets, foreign functions"
