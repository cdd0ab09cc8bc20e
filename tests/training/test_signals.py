"""What Ctrl-C and SIGTERM do while a step is computed."""

import os
import signal

import pytest

from tinyqwen.training.signals import Signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


def send(signum):
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_leaves_a_note(signum):
    with Signals() as signals:
        assert signals.received is None
        send(signum)
        assert signals.received == signum


def test_the_second_ctrl_c_interrupts():
    with Signals() as signals:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert signals.received == signal.SIGINT


@pytest.mark.parametrize(
    "pair",
    [
        (signal.SIGTERM, signal.SIGINT),
        (signal.SIGINT, signal.SIGTERM),
        (signal.SIGTERM, signal.SIGTERM),
    ],
)
def test_other_pairs_do_not(pair):
    """Who asks twice from outside waits for the save; the last one asked is told."""
    with Signals() as signals:
        for signum in pair:
            send(signum)
        assert signals.received == pair[1]


def test_before_and_after_all_is_as_it_was():
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RuntimeError, match="inside"), Signals():
        assert signal.getsignal(signal.SIGINT) not in handlers
        raise RuntimeError("inside")
    assert handlers == [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)
