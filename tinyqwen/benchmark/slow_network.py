"""A network that is slower than this machine's memory, simulated between ranks of one machine.

A message leaves as soon as the line is free, takes its bytes over the bandwidth, and is there a
latency later. Moments are sent along with it: ranks of one machine share a clock. Waiting costs no
arithmetic, as with a network card that moves the bytes by itself.
"""

import time

import numpy as np

from tinyqwen.parallel.mpi import Ranks

MOMENTS = 1 << 10  # added to a message's tag for the message that says when it arrives


class SlowRanks(Ranks):
    """Ranks between which messages take as long as over `network`, a `Network`."""

    def __init__(self, mpi, network):
        super().__init__(mpi)
        self.apart = True
        self._network, self._line_is_free = network, 0.0

    def _exchange(self, tag, out, into):
        sent = max(time.perf_counter(), self._line_is_free) + out.nbytes / self._network.bandwidth
        self._line_is_free = sent
        arrives, theirs = np.array([sent + self._network.latency]), np.empty(1)
        messages = super()._exchange(tag + MOMENTS, arrives, theirs)
        messages += super()._exchange(tag, out, into)
        return [(messages, arrives, theirs)]

    def _arrived(self, exchanges):
        now = time.perf_counter()
        return all(
            super(SlowRanks, self)._arrived(messages) and now >= theirs[0] and now >= own[0]
            for messages, own, theirs in exchanges
        )

    def _wait_for_any(self, exchanges):
        time.sleep(20e-6)
