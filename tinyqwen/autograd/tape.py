"""The tape: what was computed from what, and the pass that goes back over it.

Sources: Linnainmaa (1970) for the reverse mode; Baydin et al. (2018), "Automatic differentiation
in machine learning: a survey", section 3.2.
"""

from collections import Counter

import numpy as np


class Node:
    """One recorded operation.

    name:    the primitive's name, for error messages and drawings
    vjp:     maps the gradient of the outputs to the gradients of the inputs
    parents: for each input, `(node, index)` of the output it came from; a leaf `Tensor`, which has
             no node, stands for itself; None where no gradient is wanted
    shapes, dtypes: of the outputs

    A node holds no tensor it produced, so a graph has no reference cycle, is freed as soon as its
    last tensor is, and keeps alive only the arrays that some VJP needs.
    """

    __slots__ = ("dtypes", "name", "parents", "shapes", "vjp")

    def __init__(self, name, vjp, parents, outputs):
        self.name, self.vjp, self.parents = name, vjp, parents
        self.shapes = [out.shape for out in outputs]
        self.dtypes = [out.dtype for out in outputs]


def topological_order(root, parents):
    """Order a directed acyclic graph so that every vertex comes after all of its parents.

    root:    the vertex to start from (any hashable object)
    parents: function, vertex -> iterable of its parents
    Returns a list of all vertices that can be reached from root; root is the last.

    Depth-first search (Tarjan 1976) with a stack of our own: Python's ends at depth 1,000.

    >>> graph = {"loss": ["a", "b"], "b": ["a"], "a": []}
    >>> topological_order("loss", graph.get)
    ['a', 'b', 'loss']
    """
    order, seen, stack = [], {root}, [(root, iter(parents(root)))]
    while stack:
        vertex, remaining = stack[-1]
        for parent in remaining:
            if parent not in seen:
                seen.add(parent)
                stack.append((parent, iter(parents(parent))))
                break
        else:
            order.append(vertex)
            stack.pop()
    return order


def _parent_nodes(node):
    return [parent[0] for parent in node.parents if type(parent) is tuple]


def _leaves(node):
    return [p for p in node.parents if p is not None and type(p) is not tuple]


class _Gradients:
    """Sums of gradients by edge, never written into an array that somebody else may hold.

    `add`'s VJP hands the same array to both of its parents. So the first gradient of an edge is
    kept as it came; the second makes a new array, which is ours, and the others are added in place.
    """

    def __init__(self):
        self.sums, self.owned = {}, set()

    def add(self, edge, gradient):
        if edge not in self.sums:
            self.sums[edge] = gradient
        elif edge in self.owned:
            self.sums[edge] += gradient
        else:
            self.sums[edge] = np.asarray(self.sums[edge] + gradient)
            self.owned.add(edge)


def edge(tensor):
    """Where a tensor's gradient is collected: at an output of its node, or at the leaf itself."""
    return tensor if tensor._node is None else (tensor._node, tensor._index)


def backpropagate(output, gradient=None, inputs=None, final=None):
    """The reverse pass: {edge: gradient} of the leaves, and of `inputs` where given.

    A leaf's edge is the Tensor itself. `Tensor.backward` and `grad` are its two faces.
    final: callable (leaf, gradient) for who cannot wait for the end: it gets the gradient of a leaf
    as soon as nothing will be added to it any more, and what it got is not in the result.
    """
    if isinstance(output, (np.ndarray, np.generic)):
        raise TypeError("a gradient is an array: it has no gradient of its own, being on no tape")
    if not output.requires_grad:
        raise RuntimeError(
            "backward: this tensor depends on nothing that requires a gradient; "
            "create an input with requires_grad=True, outside no_grad()"
        )
    if gradient is None:
        if output.size != 1:
            raise RuntimeError(
                f"backward: a gradient is implied for scalars only, this tensor has shape "
                f"{output.shape}; pass gradient= of that shape, or reduce it with .sum()"
            )
        gradient = np.ones_like(output.data)
    else:
        gradient = np.asarray(gradient, output.dtype)
        if gradient.shape != output.shape:
            raise ValueError(f"backward: gradient has shape {gradient.shape}, not {output.shape}")

    gradients = _Gradients()
    sums = gradients.sums
    gradients.add(edge(output), gradient)
    wanted = {edge(tensor) for tensor in inputs or ()}
    order = topological_order(output._node, _parent_nodes) if output._node else []
    uses = Counter(leaf for node in order for leaf in _leaves(node)) if final else None
    while order:
        node = order.pop()
        edges = [(node, index) for index in range(len(node.shapes))]
        incoming = [sums.get(e) if e in wanted else sums.pop(e, None) for e in edges]
        _apply_vjp(node, incoming, gradients)
        if final:
            for leaf in _leaves(node):
                uses[leaf] -= 1
                if not uses[leaf] and leaf in sums:
                    final(leaf, sums.pop(leaf))
        node.vjp, node.parents = None, ()  # the tape is freed as we go
    return sums


def _apply_vjp(node, incoming, gradients):
    if node.vjp is None:
        raise RuntimeError(
            f"backward: the graph through {node.name!r} was freed by an earlier backward; "
            "run the forward pass again"
        )
    if any(g is None for g in incoming):
        if all(g is None for g in incoming):
            return
        incoming = [
            np.zeros(shape, dtype) if g is None else g
            for g, shape, dtype in zip(incoming, node.shapes, node.dtypes)
        ]
    results = node.vjp(incoming[0] if len(incoming) == 1 else tuple(incoming))
    if not isinstance(results, (tuple, list)):
        raise TypeError(
            f"{node.name}: its vjp returned {type(results).__name__}; "
            "a tuple with one gradient for each input was expected"
        )
    for position, parent in enumerate(node.parents):
        if parent is None:
            continue
        result = results[position] if position < len(results) else None
        if result is None:
            raise RuntimeError(
                f"{node.name}: argument {position} (from 0) requires a gradient, and this "
                "operation gives none to it; pass a Tensor that requires none, such as .detach() "
                "gives"
            )
        if type(parent) is tuple:
            shape, dtype = parent[0].shapes[parent[1]], parent[0].dtypes[parent[1]]
        else:
            shape, dtype = parent.shape, parent.dtype
        result = np.asarray(result)
        if result.shape != shape:
            raise ValueError(
                f"{node.name}: its vjp returned shape {result.shape} "
                f"for input {position}, which has shape {shape}"
            )
        gradients.add(parent, result if result.dtype == dtype else result.astype(dtype))
