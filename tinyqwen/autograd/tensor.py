"""The engine: tensors, the tape, and reverse-mode differentiation.

A *primitive* is a NumPy function that returns its value and its vector-Jacobian product (VJP):

    @primitive
    def square(x):
        return x * x, lambda g: (2 * x * g,)

Calling `square` on a `Tensor` computes the value and writes a `Node` on the tape: who the parents
were, and how blame flows back to them. `backward` walks the tape from the loss to the leaves in
reverse topological order and adds up the blame. That is all there is to automatic differentiation.

Sources: Linnainmaa (1970) for the reverse mode; Baydin et al. (2018), "Automatic differentiation
in machine learning: a survey", section 3.2.
"""

import functools
import inspect
import threading
from contextlib import contextmanager

import numpy as np

# ---------------------------------------------------------------------------------------------
# Whether the tape is written: every thread decides for itself
# ---------------------------------------------------------------------------------------------


class _ThreadState(threading.local):
    grad_enabled = True
    session = None  # a dict inside inference_mode


_state = _ThreadState()


def is_grad_enabled() -> bool:
    """True when operations of this thread are recorded on the tape."""
    return _state.grad_enabled


@contextmanager
def _grad_mode(enabled):
    before, _state.grad_enabled = _state.grad_enabled, enabled
    try:
        yield
    finally:
        _state.grad_enabled = before


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
    indexing and the methods that arrays have as well runs unchanged in either mode. No parameter's
    `.data` may be replaced inside (its entries may): see `inference_session`.
    """
    before, _state.session = _state.session, {}
    try:
        with no_grad():
            yield
    finally:
        _state.session = before


def inference_session():
    """A dict that lives as long as this thread's inference_mode block; None outside.

    What was found out about the parameters can be kept there, and need not be asked every token.
    """
    return _state.session


# ---------------------------------------------------------------------------------------------
# The tape
# ---------------------------------------------------------------------------------------------


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


def _edge(tensor):
    return tensor if tensor._node is None else (tensor._node, tensor._index)


def backpropagate(output, gradient=None, inputs=None):
    """The reverse pass: {edge: gradient} of the leaves, and of `inputs` where given.

    A leaf's edge is the Tensor itself. `Tensor.backward` and `grad` are its two faces.
    """
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
        gradient = _as_array(gradient, output.dtype)
        if gradient.shape != output.shape:
            raise ValueError(f"backward: gradient has shape {gradient.shape}, not {output.shape}")

    gradients = _Gradients()
    sums = gradients.sums
    gradients.add(_edge(output), gradient)
    wanted = {_edge(tensor) for tensor in inputs or ()}
    order = topological_order(output._node, _parent_nodes) if output._node else []
    while order:
        node = order.pop()
        edges = [(node, index) for index in range(len(node.shapes))]
        incoming = [sums.get(e) if e in wanted else sums.pop(e, None) for e in edges]
        _apply_vjp(node, incoming, gradients)
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
    if not isinstance(results, tuple):
        raise TypeError(
            f"{node.name}: its vjp returned {type(results).__name__}; "
            "a tuple with one gradient for each input was expected"
        )
    for position, (parent, result) in enumerate(zip(node.parents, results)):
        if parent is None or result is None:
            continue
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


def grad(output, inputs, gradient=None):
    """Gradients of `output` with respect to `inputs`; no tensor's `.grad` is touched.

    output:   a scalar Tensor, or any Tensor if `gradient` (same shape) is given
    inputs:   a Tensor, or a sequence of them: leaves or intermediate results
    Returns an array (or a list of arrays) shaped as the inputs; None where output does not depend
    on an input. The arrays may share memory with each other: copy one before you write into it.

    Several threads can call `grad` on one model at the same time.
    """
    single = isinstance(inputs, Tensor)
    inputs = [inputs] if single else list(inputs)
    for position, tensor in enumerate(inputs):
        if not (isinstance(tensor, Tensor) and tensor.requires_grad):
            raise ValueError(f"grad: input {position} is not a Tensor with requires_grad=True")
    sums = backpropagate(output, gradient, inputs)
    results = [sums.get(_edge(tensor)) for tensor in inputs]
    return results[0] if single else results


# ---------------------------------------------------------------------------------------------
# Tensors
# ---------------------------------------------------------------------------------------------


def _as_array(data, dtype=None):
    if isinstance(data, Tensor):
        data = data.data
    if dtype is None and not isinstance(data, (np.ndarray, np.generic)):
        data = np.asarray(data)
        dtype = np.float32 if data.dtype == np.float64 else None  # Python floats become float32
    return np.asarray(data, dtype=dtype)


class Tensor:
    """An array that remembers how it was computed.

    data:          array-like of any shape; Python floats become float32, arrays keep their dtype
    requires_grad: whether `backward` shall leave a gradient here, in `.grad`
    dtype:         converts

    Operators, `.sum()`, `.reshape()` and so on come from `ops.py`, which adds them here.
    """

    __slots__ = ("__weakref__", "_index", "_node", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # array + tensor asks Tensor.__radd__, not NumPy

    def __init__(self, data, requires_grad=False, dtype=None):
        self.data = _as_array(data, dtype)
        if requires_grad and self.data.dtype.kind not in "fc":
            raise TypeError(
                f"only floating-point tensors can require gradients, not {self.data.dtype}; "
                "pass dtype=np.float32"
            )
        self.requires_grad = requires_grad
        self.grad = None
        self._node, self._index = None, 0

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    is_leaf = property(lambda self: self._node is None)

    def backward(self, gradient=None):
        """Add d self / d leaf to `.grad` of every leaf that requires one, and free the graph.

        gradient: d loss / d self, of this tensor's shape; 1 by default for a scalar.
        """
        for leaf, value in backpropagate(self, gradient).items():
            # A copy: the array may be shared with another leaf, and `.grad` is the user's to edit.
            leaf.grad = value.copy() if leaf.grad is None else leaf.grad + value

    def detach(self):
        """The same data, cut off from the tape."""
        return Tensor(self.data)

    def numpy(self):
        """The data as an array (shared, not copied)."""
        return self.data

    def item(self):
        """The single element as a Python number."""
        return self.data.item()

    def astype(self, dtype):
        """A copy of another dtype, on the tape."""
        return _astype(self, dtype)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise TypeError("this tensor requires a gradient; use tensor.detach().numpy()")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __repr__(self):
        text = np.array2string(self.data, separator=", ", prefix="Tensor(")
        return f"Tensor({text}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self):
        return len(self.data)

    def __bool__(self):
        return bool(self.data)

    def __float__(self):
        return float(self.data)

    def __int__(self):
        return int(self.data)

    __hash__ = object.__hash__  # == is elementwise, so tensors are told apart by identity


# ---------------------------------------------------------------------------------------------
# Primitives
# ---------------------------------------------------------------------------------------------


def primitive(fn):
    """Make a differentiable operation of a NumPy function that returns `(out, vjp)`.

    fn:  takes arrays first, then options. `out` is an array, or a tuple of arrays; `vjp(g)` takes
         the gradient of out (a tuple if out is one) and returns a tuple of gradients that lines up
         with fn's arguments from the left. None, and whatever is left off, means no gradient.

    The result takes Tensors in place of arrays and returns Tensors. The NumPy function itself
    stays in reach as `.raw`: it runs, and can be tested, without the engine. Whatever function
    `.raw` is set to is the one that runs, which is how a student's code gets into the model.
    """
    signature = inspect.signature(fn)

    @functools.wraps(fn)
    def operation(*args, **kwargs):
        if _state.session is not None:  # a decoding step makes fifty calls, on tiny arrays
            if kwargs:
                kwargs = {name: _as_argument(value) for name, value in kwargs.items()}
            args = [a.data if isinstance(a, Tensor) else a for a in args]
            return operation.raw(*args, **kwargs)[0]
        if kwargs and any(isinstance(value, Tensor) for value in kwargs.values()):
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()  # else an option left out in between keeps later ones by name
            args, kwargs = bound.args, bound.kwargs
        return apply(operation.raw, *args, **kwargs)

    operation.raw = fn
    return operation


def apply(fn, *args, **kwargs):
    """Call fn, which returns `(out, vjp)`, on the arrays behind args, and record it on the tape."""
    if kwargs:
        kwargs = {name: _as_argument(value) for name, value in kwargs.items()}
    out, vjp = fn(*[_as_argument(a) for a in args], **kwargs)
    if _state.session is not None:
        return out
    several = type(out) is tuple
    tensors = tuple(map(_wrap, out)) if several else (_wrap(out),)
    if _state.grad_enabled:
        parents = [_edge(a) if isinstance(a, Tensor) and a.requires_grad else None for a in args]
        if any(parent is not None for parent in parents):
            node = Node(fn.__name__, vjp, parents, [tensor.data for tensor in tensors])
            for index, tensor in enumerate(tensors):
                tensor._node, tensor._index, tensor.requires_grad = node, index, True
    return tensors if several else tensors[0]


def _wrap(value):
    """Tensor(value) without its questions: a decoding step makes a hundred, for tiny arrays."""
    tensor = Tensor.__new__(Tensor)
    tensor.data = value if type(value) is np.ndarray else np.asarray(value)
    tensor.requires_grad, tensor.grad, tensor._node, tensor._index = False, None, None, 0
    return tensor


def _as_argument(value):
    if isinstance(value, Tensor):
        return value.data
    # NumPy lets np.float64(2) promote a float32 array, but not the Python number 2.0.
    return float(value) if isinstance(value, np.float64) else value


@primitive
def _astype(x, dtype):
    return x.astype(dtype), lambda g: (g.astype(x.dtype),)
