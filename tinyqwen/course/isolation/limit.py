"""How a time limit counts: who gets a quarter of a processor has all of it.

Like `wire`, this file is on both sides of the conversation.
"""

import time

PATIENCE = 4  # times the limit, for what waits and does not work


class Limit:
    """Seconds that a piece of work may take.

    Time counts while this process works on it; while it waits, for a processor, a disk or in a
    sleep of its own, a quarter of it counts.

        used = max(min(passed, worked), passed / PATIENCE)

    elsewhere: seconds that another process has worked on it
    """

    def __init__(self, seconds):
        self.seconds, self.elsewhere = seconds, 0.0
        self._passed, self._worked = time.monotonic(), time.process_time()

    def left(self) -> float:
        """Seconds that are left; at least so many pass until there are none."""
        passed = time.monotonic() - self._passed
        worked = time.process_time() - self._worked + self.elsewhere
        return self.seconds - max(min(passed, worked), passed / PATIENCE)
