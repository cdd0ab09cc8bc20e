"""Whether the tape is written, and what an operation returns: every thread decides for itself."""

import threading
from contextlib import contextmanager


class _ThreadState(threading.local):
    grad_enabled = True
    inference = False  # inside inference_mode


state = _ThreadState()


def is_grad_enabled() -> bool:
    """True when operations of this thread are recorded on the tape."""
    return state.grad_enabled


@contextmanager
def _grad_mode(enabled):
    before, state.grad_enabled = state.grad_enabled, enabled
    try:
        yield
    finally:
        state.grad_enabled = before


def no_grad():
    """Context manager: inside it nothing is recorded, so memory is freed at once."""
    return _grad_mode(False)


def enable_grad():
    """Context manager: records again inside a `no_grad` block."""
    return _grad_mode(True)


@contextmanager
def inference_mode():
    """Context manager: as `no_grad`, and operations return plain arrays instead of Tensors.

    For small models, wrapping is half of a decoding step. A model that uses primitives, operators,
    indexing and the methods that arrays have as well runs unchanged in either mode.
    """
    before, state.inference = state.inference, True
    try:
        with no_grad():
            yield
    finally:
        state.inference = before
