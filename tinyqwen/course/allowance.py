"""What one submission may take in all, whatever its code does: seconds, and words.

Everybody who grades a stranger's code does so through an `Allowance`: the job of a class, and
`pytest --isolated`, which is what Gradescope's autograder runs.
"""

import time
from contextlib import contextmanager

from tinyqwen.course.isolation import received
from tinyqwen.course.isolation.limit import PATIENCE
from tinyqwen.course.runner import run
from tinyqwen.course.submission import Submission, submitted

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
