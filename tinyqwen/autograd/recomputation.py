"""Gradient checkpointing: memory is saved by computing a part of the graph twice."""

import copy

from tinyqwen.autograd.grad_mode import enable_grad, no_grad
from tinyqwen.autograd.random import copied_generators, drawing_from
from tinyqwen.autograd.tape import backpropagate
from tinyqwen.autograd.tensor import Tensor, apply


def checkpoint(fn, *inputs, parameters=()):
    """Compute fn(*inputs) without keeping its graph; the backward pass computes it once more.

    Trades one more forward pass for the memory of everything inside (Chen et al. 2016, "Training
    deep nets with sublinear memory cost"). fn maps Tensors to one Tensor; `parameters` are the
    leaves that fn reads besides its inputs and that shall get gradients.
    """
    leaves = [*inputs, *parameters]
    count = len(inputs)
    generators = copied_generators()  # so that dropout drops the same entries twice

    def recomputed(*arrays):
        with no_grad():
            out = fn(*map(Tensor, arrays[:count])).data

        def vjp(g):
            with enable_grad(), drawing_from(copy.deepcopy(generators)):
                again = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays[:count]]
                output = fn(*again)
            sums = backpropagate(output, g)
            return tuple(sums.get(leaf) for leaf in [*again, *parameters])

        return out, vjp

    return apply(recomputed, *leaves)
