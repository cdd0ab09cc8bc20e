"""The worker: a supervisor, and under it the process that runs a student's file.

    python -I -S inside.py READ WRITE CONTROL STATUS SETTINGS

READ, WRITE: descriptors of the conversation with the grader. CONTROL: when the grader closes it, or
dies, everything here ends. STATUS: where the supervisor says how it ended. SETTINGS: JSON with
    folder (working directory, removed at the end), numpy (where it is installed), path (further
    import paths), memory (bytes, for all processes together), processes, threads (how many are
    allowed), fences ("all", or "kernel", "python" or "none" to see what each is worth; limits are
    always set)

The supervisor holds nothing of interest and runs no code of the student's.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INTERVAL = 0.02  # seconds between two looks at the worker
BASE = 256 << 20  # address space that Python and NumPy take


def main():
    read, write, control, status = map(int, sys.argv[1:5])
    settings = json.loads(sys.argv[5])
    sys.path.insert(0, PARENT)  # so that the files beside this one are a package, `isolation`
    from isolation import fences, kernel

    with contextlib.suppress(OSError):
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)  # what a worker leaves behind comes to us
    supervisor = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.close(control)
        os.close(status)
        os.setsid()
        with contextlib.suppress(OSError):
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == supervisor:
            serve(read, write, settings, fences)
        os._exit(0)
    os.close(read)
    os.close(write)
    with contextlib.suppress(OSError):
        os.nice(-10)  # root alone may, and root alone has no limit on processes
    ended = "stopped"
    try:
        ended = supervise(worker, control, settings)
    finally:
        kill_all(worker)
        shutil.rmtree(settings["folder"], ignore_errors=True)
        with contextlib.suppress(OSError):
            os.write(status, ended.encode())


# ---------------------------------------------------------------------------------------------
# The supervisor
# ---------------------------------------------------------------------------------------------


def supervise(worker, control, settings):
    """Wait until the worker ends or has to; returns why, in a few words."""
    asked = select.poll()
    asked.register(control, select.POLLIN | select.POLLHUP)
    tree = Processes(worker)
    while not asked.poll(INTERVAL * 1000):
        done, status = os.waitpid(worker, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return f"signal {-code}" if code < 0 else f"exit {code}"
        memory = tree.look()
        if tree.seen or tree.threads > 1:
            go_last(worker)
        if len(tree.seen) > settings["processes"]:
            return "processes"
        if tree.threads > settings["threads"]:
            return "threads"
        if memory > settings["memory"] + 2 * BASE:  # where the kernel's own limit does not bind
            return "memory"
    return "stopped"


def go_last(worker):
    """Let the worker's group have what others leave: whoever has started many threads or processes
    gets for all of them together about what a neighbor's only one gets."""
    with contextlib.suppress(OSError):  # it may have ended
        os.setpriority(os.PRIO_PGRP, worker, 19)


class Processes:
    """The descendants of a worker, as far as they have been seen, their threads and memory."""

    def __init__(self, worker):
        self.worker, self.seen, self.threads = worker, set(), 0
        self._linux = os.path.isdir("/proc/self/task")
        self._next = 0.0

    def look(self):
        """Bytes in memory of the worker and what it has started; `seen` gets the new ones."""
        if self._linux:
            found = {self.worker, *descendants(os.getpid())}
            memory = sum(map(resident, found))
            self.threads = sum(map(threads_of, found))
        elif time.monotonic() < self._next:  # ps is not for free
            return 0
        else:
            self._next = time.monotonic() + 0.25
            found, memory = listed(self.worker)
        self.seen |= found - {self.worker}
        return memory


def descendants(root):
    """All processes under `root`, on Linux."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    children = list(map(int, file.read().split()))
                found += children
                waiting += children
    return found


def threads_of(pid):
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0


def resident(pid):
    with contextlib.suppress(OSError, IndexError, ValueError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def listed(worker):
    """(pids under the worker or in its group, bytes in memory), wherever there is `ps`."""
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,rss="]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    rows = [row for line in lines if len(row := [int(n) for n in line.split()]) == 4]
    found, size = {worker}, 0
    while len(found) != size:
        size = len(found)
        found |= {pid for pid, parent, group, _ in rows if parent in found or group == worker}
    return found, sum(memory * 1024 for pid, *_, memory in rows if pid in found)


def kill_all(worker):
    """Kill the worker, its group, and on Linux whatever left the group: again until none is left,
    for processes that are being killed can still start others."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            os.killpg(worker, signal.SIGKILL)  # the whole group at once: no fork slips through
        others = descendants(os.getpid()) if sys.platform == "linux" else listed(worker)[0]
        for pid in others:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


# ---------------------------------------------------------------------------------------------
# The process that runs the student's file
# ---------------------------------------------------------------------------------------------


def serve(read, write, settings, fences):
    """Load NumPy, put up the fences, answer calls until the grader leaves."""
    os.chdir(settings["folder"])
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    import_numpy(settings["numpy"])
    from isolation import serving

    del sys.path[0]
    sys.path += settings["path"]
    readable = readable_paths(settings)
    standing = fences.put_up(settings["fences"], settings["memory"] + BASE, readable)
    serving.serve(read, write, settings["folder"], standing)


def import_numpy(site):
    """Import NumPy from where it is installed, and nothing else from there, now or later."""
    import importlib.machinery

    class NumPyAlone:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "numpy":
                return importlib.machinery.PathFinder.find_spec(name, [site], target)
            return None

    sys.meta_path.append(NumPyAlone)
    import numpy.linalg  # noqa: F401  with its libraries, which could not be opened later


def readable_paths(settings):
    """Python's own modules without what is installed beside them, NumPy, and the working folder."""
    standard = os.path.dirname(os.__file__)
    paths = [
        os.path.join(standard, name)
        for name in os.listdir(standard)
        if name not in ("site-packages", "dist-packages")
    ]
    for name in ("numpy", "numpy.libs"):
        paths.append(os.path.join(settings["numpy"], name))
    dynamic = [path for path in sys.path if path.endswith("lib-dynload")]
    return [*paths, *dynamic, *settings["path"], settings["folder"]]


if __name__ == "__main__":
    main()
