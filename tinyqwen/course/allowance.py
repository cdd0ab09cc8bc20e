"""What one submission may take in all, whatever its code does: seconds, words, and memory here.

Everybody who grades a stranger's code does so through an `Allowance`: the job of a class, and
`pytest --isolated`, which is what Gradescope's autograder runs.
"""

import os
import time
from contextlib import contextmanager

from tinyqwen.course.isolation import fences, received
from tinyqwen.course.isolation.limit import PATIENCE
from tinyqwen.course.runner import run
from tinyqwen.course.submission import Submission, submitted

OWN_MEMORY = 3 << 30  # bytes that grading may add to this process's address space
MAX_WORDS = 300_000  # characters that a submission's messages hold, all together
SLACK = 60  # seconds to start, to load a file once more when the time is over, and to end


def longest(chapters) -> float:
    """Seconds that a submission of these chapters may take; it ends `SLACK` after them at last."""
    return 60 + 45 * len(chapters)


class Allowance:
    """The time and the words of one submission, of which every chapter takes what it needs.

    chapters: those that are graded
    """

    def __init__(self, chapters):
        self.seconds = self._left = longest(chapters)
        self._words = MAX_WORDS

    def load(self, chapter, path, **worker) -> Submission:
        """The submission of a chapter, in a worker; with nothing in it when the time is over.

        worker: settings of `isolation.outside.Worker`
        """
        if self._left <= 0:
            return Submission({}, str(path))
        with self._spending():
            return submitted(chapter, path, isolated=True, **worker)

    def run(self, test, submission, result, seed=0, most=float("inf")):
        """`runner.run` as long as there is time; then the result says that there is none."""
        if self._left > 0:
            with self._spending():  # a test that waits may take so many times its limit
                run(test, submission, result, seed, min(most, self._left / PATIENCE))
        else:
            result.message = (
                f"not run: this submission has used up the {self.seconds:.0f} s that one may take."
            )
        result.message = received.text(result.message, min(self._words, received.MAX_TEXT))
        self._words = max(self._words - len(result.message), 100)
        return result

    @contextmanager
    def _spending(self):
        began = time.monotonic()
        try:
            yield
        finally:
            self._left -= time.monotonic() - began


def limit_memory():
    """Bound this process, for good: here runs what a stranger's code is lent of the library."""
    fences.limit("RLIMIT_AS", taken() + OWN_MEMORY)


def taken() -> int:
    """Bytes of address space that Python and NumPy have taken: the more, the more cores there are;
    0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
