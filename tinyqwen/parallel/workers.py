"""Workers that compute beside this process: forked processes on Linux, elsewhere threads.

NumPy lets go of Python's global lock inside its loops, but between two of them Python runs, one
thread at a time, and a thread that waits for its turn sleeps. A training step at config xs takes
two threads 27 ms, two processes 18.

A forked process begins as a copy of this one, so the model, and a student's functions in it, are
there without being sent. What changes from then on it sees only in arrays of `shared_zeros`.
macOS's BLAS does not survive a fork, and Windows has none.
"""

import gc
import json
import os
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import Pipe

import numpy as np

FORK = sys.platform == "linux"
ERRORS = {kind.__name__: kind for kind in (ValueError, TypeError, MemoryError)}


def start_worker(work, news=None):
    """A worker that calls work(task, batch, **options) -> what JSON can say.

    task: a name; batch: a dict of arrays; options: what JSON can say. `submit` takes these and
    returns at once; `result` waits, returns what work did, and raises what work raised.
    news: the `News` that work tells, if any.
    """
    return (ForkedWorker if FORK else ThreadWorker)(work, news)


class News:
    """Numbers that workers tell this process while they compute. Nobody waits for anybody."""

    def __init__(self):
        self._read, self.write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self.write, False)

    def tell(self, number):
        """Called in a worker; a number for which there is no room is lost."""
        with suppress(BlockingIOError):
            os.write(self.write, number.to_bytes(4, sys.byteorder))

    def heard(self):
        """What has been told since the last call, a list."""
        try:
            return np.frombuffer(os.read(self._read, 1 << 16), np.int32).tolist()
        except BlockingIOError:
            return []

    def close(self):
        """Nothing more is told or heard."""
        os.close(self._read)
        os.close(self.write)


class ThreadWorker:
    """A worker in a thread of this process."""

    def __init__(self, work, news=None):
        self._work, self._pool = work, ThreadPoolExecutor(1)

    def submit(self, task, batch, **options):
        """Begin; the next call must be `result`."""
        self._future = self._pool.submit(self._work, task, batch, **options)

    def result(self):
        """Wait for the end."""
        return self._future.result()

    def close(self):
        """End the thread."""
        self._pool.shutdown()


class ForkedWorker:
    """A worker in a process of its own, which ends with this one, however that ends."""

    def __init__(self, work, news=None):
        # Else the tokenizers library, in the child, warns that it was forked.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        self._connection, theirs = Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._connection.close()  # else the end of the parent is none for us
                _serve(theirs, work, {theirs.fileno(), *([news.write] if news else [])})
            finally:
                os._exit(0)  # nothing of what the parent has planned for its own end
        theirs.close()

    def submit(self, task, batch, **options):
        """Begin; the next call must be `result`."""
        form = [(name, array.dtype.str, array.shape) for name, array in batch.items()]
        with suppress(BrokenPipeError):  # `result` tells
            self._connection.send_bytes(json.dumps([task, form, options]).encode())
            for array in batch.values():
                self._connection.send_bytes(array.tobytes())

    def result(self):
        """Wait for the end. Raises MemoryError if the process is no more."""
        try:
            answer = json.loads(self._connection.recv_bytes())
        except (EOFError, ConnectionError):
            raise MemoryError(
                "a worker process was killed, for want of memory most likely; "
                "take a smaller batch, or one thread"
            ) from None
        if "error" in answer:
            kind = ERRORS.get(answer["error"], RuntimeError)
            raise kind(answer["message"]) from RuntimeError(answer["traceback"])
        return answer["value"]

    def ended(self):
        """Whether `result` would not have to wait."""
        return self._connection.poll()

    def kill(self):
        """End the process, whatever it is at."""
        os.kill(self._pid, signal.SIGKILL)
        self.close()

    def close(self):
        """End the process, after what it is at."""
        self._connection.close()
        os.waitpid(self._pid, 0)


def _serve(connection, work, files):
    """The life of a forked process, which keeps these files open and no others."""
    for signum in (signal.SIGINT, signal.SIGTERM):  # meant for the parent, whose end ends this one
        signal.signal(signum, signal.SIG_IGN)
    gc.freeze()  # what was the parent's is not ours to tidy up
    _close_all_but(files)  # the lock on the run's folder for one
    with suppress(EOFError, ConnectionError):
        while True:
            task, form, options = json.loads(connection.recv_bytes())
            batch = {
                name: np.frombuffer(connection.recv_bytes(), dtype).reshape(shape)
                for name, dtype, shape in form
            }
            try:
                answer = {"value": work(task, batch, **options)}
            except Exception as error:
                kind, told = type(error).__name__, traceback.format_exc()
                answer = {"error": kind, "message": str(error), "traceback": told}
            connection.send_bytes(json.dumps(answer).encode())


def _close_all_but(kept):
    """Close the files that this process has inherited, but for the standard ones and `kept`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            with suppress(OSError):  # the folder's own, which is closed by now
                os.close(int(name))
