"""The engine's rule, for every argument of every primitive of the package, found by looking:

an input that requires a gradient gets it, or the call is refused; none is dropped in silence.
"""

import importlib
import inspect
import pkgutil
import random

import numpy as np
import pytest
from further_table import FURTHER
from op_table import ELEMENTARY, FUSED

import tinyqwen as tq
from tinyqwen.functional.routing import (
    auxiliary_loss,
    combine,
    mixture_of_experts,
    top_k_routing,
)
from tinyqwen.tuning.distillation import kl_divergence
from tinyqwen.tuning.lora import lora
from tinyqwen.tuning.packed_matrix import Int8Table, packed_embedding, packed_linear

DRAWS = 4


def primitives():
    """{name: primitive} of every room of every wing that may have some."""
    found = {}
    for wing in ("autograd", "functional", "models", "tuning"):
        for room in pkgutil.iter_modules(importlib.import_module(f"tinyqwen.{wing}").__path__):
            module = importlib.import_module(f"tinyqwen.{wing}.{room.name}")
            for name, value in vars(module).items():
                if hasattr(value, "raw") and value.__module__ == module.__name__:
                    found[name] = value
    return found


PRIMITIVES = primitives()


def normal(*shape):
    return np.random.default_rng(5).normal(size=shape)


# What stands in no table of operations: the arguments by name.
EXAMPLES = {
    top_k_routing: dict(logits=normal(3, 4), k=2, normalize=True),
    auxiliary_loss: dict(logits=normal(5, 4), k=2, counts=np.array([1, 1, 0, 1, 1])),
    combine: dict(
        outputs=normal(6, 4), weights=normal(3, 2), order=np.array([4, 0, 5, 2, 1, 3])
    ),
    mixture_of_experts: dict(
        x=normal(3, 2), weights=normal(3, 2), experts=np.array([[0, 1], [1, 2], [2, 0]]),
        gate_up=normal(3, 8, 2), down=normal(3, 2, 4),
    ),
    kl_divergence: dict(logits=normal(3, 4), teacher_logits=normal(3, 4) ** 2,
                        labels=np.array([1, -100, 0]), temperature=2.0, num_items=3.0),
    lora: dict(x=normal(2, 3), A=normal(2, 3), B=normal(4, 2), scaling=0.5),
    packed_linear: dict(x=normal(2, 3), weight=Int8Table.from_dense(normal(4, 3)), bias=normal(4)),
    packed_embedding: dict(ids=np.array([0, 2]), weight=Int8Table.from_dense(normal(4, 3))),
}  # fmt: skip


def calls():
    """(name, primitive, arguments by name), several for each line of the tables."""
    for operation, arguments in EXAMPLES.items():
        yield f"{operation.__name__}", operation, (), arguments
    for op in ELEMENTARY + FUSED + FURTHER:
        operation = PRIMITIVES.get(op.function) or PRIMITIVES.get(f"_{op.function}")
        if operation is None:
            continue  # a function made of primitives
        r = random.Random(op.name)
        for number in range(DRAWS):
            arrays, options = op.draw(r)
            if all(np.size(a) for a in arrays):
                yield f"{op.name} {number}", operation, arrays, options


CALLS = list(calls())


def test_every_primitive_has_an_example():
    known = {operation for _, operation, *_ in CALLS}
    of_tensors = {"_astype"}
    missing = {name for name, one in PRIMITIVES.items() if one not in known} - of_tensors
    assert not missing, "write a line for each into tests/op_table.py"


@pytest.mark.parametrize("name, operation, arrays, options", CALLS, ids=[c[0] for c in CALLS])
def test_a_gradient_is_given_or_refused(name, operation, arrays, options):
    signature = inspect.signature(operation.raw)
    several = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
    places = [(True, i) for i in range(len(arrays))] + [(False, key) for key in options]
    for positional, place in places:
        value = (arrays if positional else options)[place]
        if isinstance(value, (bool, str, int, tuple, type(None))) or not np.size(value):
            continue  # an axis, a shape, a switch: no Tensor could stand for it
        if not isinstance(value, (float, np.ndarray)) or (several and not positional):
            continue  # packed numbers, which are frozen

        def call(tensor, positional=positional, place=place):
            some, others = list(arrays), dict(options)
            (some if positional else others)[place] = tensor
            tq.manual_seed(0)
            return operation(*some, **others)

        try:
            with np.errstate(all="ignore"):
                tq.gradcheck(call, np.asarray(value, np.float64))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            assert "gradient" in str(error) or "integer" in str(error) or "float" in str(error)
