"""Sums of products in Einstein's notation."""

import numpy as np

from tinyqwen.autograd.tensor import Tensor, primitive


@primitive
def _einsum(*operands, subscripts):
    inputs, output = subscripts.split("->")
    terms = inputs.split(",")
    sizes = {letter: n for term, x in zip(terms, operands) for letter, n in zip(term, x.shape)}

    def vjp(g):
        gradients = []
        for i, (term, x) in enumerate(zip(terms, operands)):
            others = [*terms[:i], *terms[i + 1 :]]
            arrays = [*operands[:i], *operands[i + 1 :]]
            # An index that only this operand has was summed away: its gradient is constant there.
            lone = "".join(c for c in term if c not in output + "".join(others))
            kept = "".join(c for c in term if c not in lone)
            part = np.einsum(",".join([output, *others]) + "->" + kept, g, *arrays, optimize=True)
            part = np.broadcast_to(
                part.reshape([1 if c in lone else sizes[c] for c in term]), x.shape
            )
            gradients.append(part)
        return tuple(gradients)

    return np.einsum(subscripts, *operands, optimize=True), vjp


def einsum(subscripts, *operands):
    """Sum of products in Einstein's notation: "bij,bjk->bik", "...ij,...jk" or "ij,jk".

    Without "->" the output has the indices that stand once, in alphabetical order. "..." stands for
    axes without a name, lined up from the right; the output has them first unless it says where.
    Raises ValueError for an index that one operand repeats, and for axes of one name, or under
    "...", that differ in size: here 1 is not stretched.

    The gradient of an operand is again an einsum: g and the others, to that operand's indices.
    """
    operands = [x if isinstance(x, Tensor) else Tensor(x) for x in operands]
    shapes = [x.shape for x in operands]
    return _einsum(*operands, subscripts=_spelled_out(subscripts.replace(" ", ""), shapes))


def _spelled_out(subscripts, shapes):
    """The same with a letter for every axis and an output: "...i,i" -> "Ai,i->A"."""
    inputs, arrow, output = subscripts.partition("->")
    terms = inputs.split(",")
    names = [term.replace("...", "") for term in terms]
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, not {len(shapes)}")
    unnamed = [len(shape) - len(name) for shape, name in zip(shapes, names)]
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in subscripts]
    dots = "".join(free[: max([0, *unnamed])])
    terms = [term.replace("...", dots[len(dots) - max(n, 0) :]) for term, n in zip(terms, unnamed)]
    if not arrow:
        once = (c for c in sorted(set("".join(names))) if "".join(names).count(c) == 1)
        output = ("..." if "..." in inputs else "") + "".join(once)
    output = output.replace("...", dots)
    sizes = {}
    for term, shape in zip(terms, shapes):
        if len(term) != len(shape) or len(set(term)) < len(term):
            raise ValueError(
                f"einsum: {subscripts!r} must name each axis of an operand of shape {shape} once"
            )
        for letter, n in zip(term, shape):
            if sizes.setdefault(letter, n) != n:
                raise ValueError(f"einsum: {subscripts!r} lines up axes of {sizes[letter]} and {n}")
    if not set(output) <= set(sizes) or len(set(output)) < len(output):
        raise ValueError(
            f"einsum: the output of {subscripts!r} must name axes of operands, each once"
        )
    return ",".join(terms) + "->" + output
