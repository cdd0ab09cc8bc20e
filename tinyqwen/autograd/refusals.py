"""What the engine does not do, said by name where somebody asks for it."""

import numpy as np

FLOAT16 = np.dtype(np.float16)


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
