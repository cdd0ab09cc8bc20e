"""What the engine does not do, said by name where somebody asks for it; and names in a message."""

import numpy as np

FLOAT16 = np.dtype(np.float16)
MOST = 10  # names in a message; a model has hundreds


def some(names, separator=", ", most=MOST):
    """The first of many names, for a message, and how many more there are.

    >>> some(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    names = list(names)
    more = len(names) - most
    return separator.join(names[:most]) + (f" and {more} more" if more > 0 else "")


def refuse_second_pass(retain_graph, create_graph):
    """The tape is freed as `backward` goes over it, and gradients are arrays, not on the tape."""
    if create_graph:
        raise ValueError(
            "create_graph: gradients are arrays, not on the tape, so there are no second "
            "derivatives; take differences of gradients"
        )
    if retain_graph:
        raise ValueError(
            "retain_graph: the tape is freed as backward goes; run the forward pass again, or add "
            "the losses up and go back once"
        )


def refuse_float16(name, values):
    """float16 holds weights in files. To compute in it sums overflow, and small steps are lost."""
    for value in values:
        if getattr(value, "dtype", None) is FLOAT16:
            raise TypeError(
                f"{name}: float16 is for storage, computing is in float32 or float64; "
                "convert with .astype(np.float32)"
            )
