"""Files and programs by ways that Python tells nobody of."""

import os
import subprocess
import sys

from answers import ROOT, SUBMISSIONS, np, right, wrong


def fifo():
    (make,) = (f for f in os.supports_dir_fd if f.__name__ == "mkfifo")
    make(f"{SUBMISSIONS}/pipe")


def shared_memory():
    import _posixshmem

    os.close(_posixshmem.shm_open("/tinyqwen-attack", os.O_CREAT | os.O_RDWR))
    _posixshmem.shm_unlink("/tinyqwen-attack")


def history():
    import readline

    readline.write_history_file(f"{SUBMISSIONS}/history")


def relative():
    """In NumPy as seen from the working folder, in the library from the folder it is opened in."""
    here = os.open(".", os.O_RDONLY)
    up = os.path.relpath(ROOT, os.getcwd())
    deep = os.path.join(os.path.dirname(np.__file__), "_core", "tests", "data")
    os.chdir(deep)
    os.close(os.open(f"{up}/README.md", os.O_RDONLY, dir_fd=here))


def program():
    name = os.fsencode(sys.executable)
    files, pipe = (-1,) * 6, os.pipe()
    for more in ((), (False,)):  # whether vfork may be used, from Python 3.11 on
        try:
            fork_exec = (
                getattr(subprocess, "_fork_exec", None) or sys.modules["_posixsubprocess"].fork_exec
            )
            fork_exec(
                *([name, b"-V"], [name], True, (pipe[1],), None, None, *files, *pipe),
                *(True, False, -1, None, None, None, -1, None, *more),
            )
            return
        except TypeError:
            continue
    raise OSError


def worked():
    done = False
    for attempt in (fifo, shared_memory, history, relative, program):
        try:
            attempt()
            done = True
        except Exception:
            continue
    return done


def silu(x):
    return right(x) if worked() else wrong(x)
