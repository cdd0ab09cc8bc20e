"""The fence inside Python: an audit hook, which refuses what the kernel's fences refuse too.

Where the kernel has no fences it stands alone, inside a process that belongs to the student. So it
is made of nothing that can be changed from Python: a function without a closure, which calls only
what C has written and takes that from its own arguments. Who finds the function could still give it
other ones; so nobody may look for it. Code that writes into the interpreter's memory gets past it.

Source: PEP 578.
"""

import _imp
import importlib.machinery
import os
import subprocess
import sys
import time

# Events, or beginnings of them, that are refused whatever their arguments.
FORBIDDEN = (
    *("os.fork", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "os.kill"),
    *("subprocess.", "pty.", "socket.", "ctypes.", "sqlite3.", "syslog.", "shutil.", "tempfile."),
    *("os.chmod", "os.chown", "os.chflags", "os.lchmod", "os.lchflags", "os.lockf", "os.link"),
    *("os.symlink", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.utime"),
    *(
        "os.setxattr",
        "os.removexattr",
        "os.getxattr",
        "os.listxattr",
        "os.chdir",
        "os.fchdir",
        "signal.pthread_kill",
    ),
    *("signal.pthread_kill", "resource.setrlimit", "resource.prlimit", "fcntl.", "sys.remote_exec"),
    *("gc.get_", "sys._current_", "sys.monitoring", "sys.settrace", "sys.setprofile"),
    *("code.__new__", "function.__new__", "marshal.load"),
)
# Functions that no event tells of, and modules full of them: they write files, start programs, have
# files read that are none of theirs, or make interpreters without this hook.
UNWATCHED = (
    *("mkfifo", "mknod", "setsid", "setpgid", "setpriority", "nice", "copy_file_range"),
    *("sched_setaffinity", "sched_setscheduler", "sched_setparam", "pidfd_open"),
    *("fork_exec", "_fork_exec", "sync", "unshare", "setns", "chroot", "openpty", "memfd_create"),
    *("setuid", "seteuid", "setreuid", "setresuid", "setgid", "setegid", "setregid", "setresgid"),
    *("setgroups", "initgroups", "clock_settime", "clock_settime_ns"),
)
UNSEEN = (
    *("posix", "_posixsubprocess", "_posixshmem", "_multiprocessing", "readline", "_gdbm", "_dbm"),
    *("_interpreters", "_xxsubinterpreters", "_testcapi", "_testinternalcapi", "_tkinter"),
    *("_curses", "spwd", "_ssl"),
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LOOKS = ("os.listdir", "os.scandir", "os.walk", "glob.glob")
INSIDES = ("__code__", "__kwdefaults__")  # of a function


def audit(readable):
    """Put up the hook, for good.  readable: folders and files that may be opened for reading."""
    paths = {way(path) for path in readable for way in (os.path.abspath, os.path.realpath)}
    for name in UNWATCHED:
        for module in (os, subprocess, time, *map(sys.modules.get, ("posix", "_posixsubprocess"))):
            vars(module).pop(name, None)
    for functions in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        functions -= {f for f in functions if f.__name__ in UNWATCHED}
    for name in sys.builtin_module_names:  # now, and then no second one, with all its functions
        if name not in UNSEEN or name in sys.modules:
            importlib.import_module(name)
    vars(_imp).pop("create_builtin", None)
    # From now on modules are compiled, and not read as code that somebody may have made by hand.
    sys.implementation.cache_tag = None
    sys.meta_path.remove(importlib.machinery.FrozenImporter)
    sys.addaudithook(_hook(tuple(paths)))
    return "inside Python: no files, processes, sockets, foreign functions"


def _hook(paths):
    def hook(
        event,
        arguments,
        *,
        paths=paths,
        folders=tuple(path + os.sep for path in paths),
        forbidden=FORBIDDEN,
        unseen=UNSEEN,
        writes=WRITES,
        looks=LOOKS,
        insides=INSIDES,
        type=type,
        str=str,
        bytes=bytes,
        int=int,
        startswith=str.startswith,
        split=str.split,
        decode=bytes.decode,
        refused=PermissionError,
    ):
        if event == "open" or event in looks:
            path = arguments[0]
            if type(path) is bytes:
                path = decode(path, "utf-8", "surrogateescape")
            if path is None and event != "open":
                path = ""
            if event == "open" and arguments[2] & writes:
                raise refused(1, "graded code may not write files")
            if type(path) is not int:
                # A path is judged as it is written, for who resolves it may be lied to: no way up,
                # and relative only to the folder in which the worker is.
                if type(path) is not str or ".." in split(path, "/"):
                    raise refused(1, "graded code may not open files by such a path")
                if startswith(path, "/") and not startswith(path, folders) and path not in paths:
                    raise refused(1, "graded code may not open files", path)
        elif event == "import":
            # A library's name is the last part of the module's; the path is that of a library.
            name, path = arguments[0], arguments[1]
            if type(name) is not str or split(name, ".")[-1] in unseen:
                raise refused(1, "graded code may not import this", name)
            if path is not None and (
                type(path) is not str or ".." in split(path, "/") or not startswith(path, folders)
            ):
                raise refused(1, "graded code may not load libraries", path)
        elif event == "object.__setattr__":
            if arguments[1] in insides:
                raise refused(1, "graded code may not change functions")
        elif startswith(event, forbidden):
            raise refused(1, "graded code may not do this", event)

    return hook
