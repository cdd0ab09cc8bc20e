"""Ctrl-C while a step is computed: it is noted, so that the step can end and be saved."""

import signal
from contextlib import suppress


class Signals:
    """Inside the `with`, Ctrl-C and SIGTERM only leave a note; a second Ctrl-C interrupts."""

    def __init__(self):
        self.received, self._before = None, {}

    def __enter__(self):
        with suppress(ValueError):  # only the main thread can; in another, signals do as before
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exception):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum, frame):
        if self.received == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.received = signum
