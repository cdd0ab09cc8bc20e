"""The engine: tensors, and the operations that write on the tape.

A *primitive* is a NumPy function that returns its value and its vector-Jacobian product (VJP):

    @primitive
    def square(x):
        return x * x, lambda g: (2 * x * g,)

Calling `square` on a `Tensor` computes the value and writes a `Node` on the tape: who the parents
were, and how blame flows back to them. `backward` walks the tape (`tape.py`) from the loss to the
leaves in reverse topological order and adds up the blame. That is all there is to automatic
differentiation.
"""

import functools
import inspect

import numpy as np

from tinyqwen.autograd import grad_mode
from tinyqwen.autograd.refusals import FLOAT16, refuse_float16, refuse_second_pass
from tinyqwen.autograd.tape import Node, backpropagate, edge

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

    Tensors of two dtypes meet as NumPy's arrays do, also where one has no axes: float32 times a 0-d
    float64 Tensor is float64 (in PyTorch float32). Numbers and 0-d arrays leave a Tensor's dtype.

    Operators, `.sum()`, `.reshape()` and so on come from `ops.py`, which adds them here.
    """

    __array_ufunc__ = None  # array + tensor asks Tensor.__radd__, not NumPy
    __slots__ = ("__weakref__", "_index", "_node", "data", "grad", "requires_grad")

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

    def backward(self, gradient=None, retain_graph=False, create_graph=False):
        """Add d self / d leaf to `.grad` of every leaf that requires one, and free the graph.

        gradient: d loss / d self, of this tensor's shape; 1 by default for a scalar.
        retain_graph, create_graph: as in PyTorch, but must be False; see `grad`.
        """
        refuse_second_pass(retain_graph, create_graph)
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
        return apply(_astype, self, dtype)

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


def grad(output, inputs, gradient=None, retain_graph=False, create_graph=False):
    """Gradients of `output` with respect to `inputs`; no tensor's `.grad` is touched.

    output:   a scalar Tensor, or any Tensor if `gradient` (same shape) is given
    inputs:   a Tensor, or a sequence of them: leaves or intermediate results
    Returns an array (or a list of arrays) shaped as the inputs; None where output does not depend
    on an input. The arrays may share memory with each other: copy one before you write into it.
    The tape holds one pass, and gradients are not on it: retain_graph and create_graph, PyTorch's
    words for a second pass and for second derivatives, raise ValueError.

    Several threads can call `grad` on one model at the same time.
    """
    refuse_second_pass(retain_graph, create_graph)
    single = isinstance(inputs, Tensor)
    inputs = [inputs] if single else list(inputs)
    for position, tensor in enumerate(inputs):
        if not (isinstance(tensor, Tensor) and tensor.requires_grad):
            raise ValueError(f"grad: input {position} is not a Tensor with requires_grad=True")
    sums = backpropagate(output, gradient, inputs)
    results = [sums.get(edge(tensor)) for tensor in inputs]
    return results[0] if single else results


# ---------------------------------------------------------------------------------------------
# Primitives
# ---------------------------------------------------------------------------------------------


def primitive(fn):
    """Make a differentiable operation of a NumPy function that returns `(out, vjp)`.

    fn:  takes arrays first, then options. `out` is an array, or a tuple of arrays; `vjp(g)` takes
         the gradient of out (a tuple if out is one) and returns a tuple of gradients that lines up
         with fn's arguments from the left. None stands for an input without one (a mask, integers),
         and what is left off is an option; if either requires a gradient, `backward` refuses.

    The result takes Tensors in place of arrays and returns Tensors. The NumPy function itself
    stays in reach as `.raw`: it runs, and can be tested, without the engine. Whatever function
    `.raw` is set to is the one that runs, which is how a student's code gets into the model.
    """
    signature = inspect.signature(fn)

    @functools.wraps(fn)
    def operation(*args, **kwargs):
        if grad_mode.state.inference:  # a decoding step makes fifty calls, on tiny arrays
            if kwargs:
                kwargs = {name: _as_argument(value) for name, value in kwargs.items()}
            args = [a.data if isinstance(a, Tensor) else a for a in args]
            out = operation.raw(*args, **kwargs)[0]
            if type(out) is np.ndarray and out.dtype is FLOAT16:
                refuse_float16(fn.__name__, (out,))
            return out
        refuse_float16(fn.__name__, (*args, *kwargs.values()))
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
    out, vjp = fn(*[_as_argument(a, place) for place, a in enumerate(args)], **kwargs)
    if grad_mode.state.inference:
        return out
    several = type(out) is tuple
    tensors = tuple(map(_wrap, out)) if several else (_wrap(out),)
    if grad_mode.state.grad_enabled:
        parents = [edge(a) if isinstance(a, Tensor) and a.requires_grad else None for a in args]
        if any(parent is not None for parent in parents):
            node = Node(fn.__name__, vjp, parents, [tensor.data for tensor in tensors])
            for index, tensor in enumerate(tensors):
                if tensor.dtype.kind in "fc":  # where the largest are has no gradient
                    tensor._node, tensor._index, tensor.requires_grad = node, index, True
    return tensors if several else tensors[0]


def _wrap(value):
    """Tensor(value) without its questions: a decoding step makes a hundred, for tiny arrays."""
    tensor = Tensor.__new__(Tensor)
    tensor.data = value if type(value) is np.ndarray else np.asarray(value)
    tensor.requires_grad, tensor.grad, tensor._node, tensor._index = False, None, None, 0
    return tensor


def _as_argument(value, place=1):
    if isinstance(value, Tensor):
        return value.data
    # NumPy lets np.float64(2) and np.array(2) promote a float32 array, but not the Python number 2.
    if isinstance(value, np.generic) or (place and isinstance(value, np.ndarray)):
        if not value.ndim and value.dtype.kind in "iuf" and value.dtype != np.float32:
            return value.item()
    return value


def _astype(x, dtype):
    return x.astype(dtype), lambda g: (g.astype(x.dtype),)
