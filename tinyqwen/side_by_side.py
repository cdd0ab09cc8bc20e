"""Linear layers that read the same input, computed by one matrix product.

x W₁ᵀ beside x W₂ᵀ is x Wᵀ, with W₁ on top of W₂ in W. To a small model, one product instead of
three is worth a tenth of the time of a decoded token. W costs nothing where W₁ and W₂ lie in a row
in memory, for then it is a view of them: `linears`, `Module.astype`, `from_pretrained` and AdamW
lay them so. The layers keep their names, their parameters and their gradients.
"""

import operator

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn, ops
from tinyqwen.tensor import is_grad_enabled, primitive


def linears(in_features, *out_features, bias=True):
    """Linear layers in a row in memory, one for each number of output features."""
    layers = nn.ModuleList(nn.Linear(in_features, n, bias) for n in out_features)
    return layers.astype(np.float32)


def side_by_side(*names, bias):
    """Make a method (self, x) -> the outputs of Linear layers, concatenated.

    names: attributes of self that are Linear layers with the same input. bias: whether these have
    one. x (..., in_features) -> (..., sum of the out_features). Layers that do not lie in a row in
    memory, or are of another kind, are called one by one.
    """
    weights, biases = ([f"{name}.{field}" for name in names] for field in ("weight", "bias"))
    groups = [operator.attrgetter(*weights), *([operator.attrgetter(*biases)] if bias else [])]
    paths = [f"{path}.data" for path in (*weights, *(biases if bias else ()))]
    current = operator.attrgetter(*names, *paths)
    key = f"_{'_'.join(names)}"

    def method(self, x):
        seen = getattr(self, key, _NOTHING)
        try:
            now = current(self)
        except AttributeError:  # a layer without weight or bias
            seen = _NOTHING
        else:
            if seen is _NOTHING or not all(map(operator.is_, now, seen.parts)):
                seen = _Seen(now, len(names))
                setattr(self, key, seen)
        if seen.wholes is None:
            return ops.concat([getattr(self, name)(x) for name in names], axis=-1)
        wholes = seen.wholes
        if is_grad_enabled():
            wholes = [_whole(whole, *parts(self)) for whole, parts in zip(wholes, groups)]
        return F.linear(x, *wholes)

    return method


class _Seen:
    """Layers and arrays as they were found, and the arrays joined, None if that needs a copy."""

    def __init__(self, parts=(), count=0):
        self.parts, self.wholes = parts, None
        layers, arrays = parts[:count], parts[count:]
        if parts and all(type(layer) is nn.Linear for layer in layers):
            wholes = [in_a_row(arrays[i : i + count]) for i in range(0, len(arrays), count)]
            self.wholes = None if any(whole is None for whole in wholes) else wholes

    def __reduce__(self):
        return _Seen, ()  # the arrays of a copied or pickled model lie elsewhere


_NOTHING = _Seen()


@primitive
def _whole(whole, *parts):
    """Arrays of which `whole` is the view.  Each gets its own rows of g."""
    ends = np.cumsum([len(part) for part in parts[:-1]])
    return whole, lambda g: (None, *np.split(g, ends))


def in_a_row(arrays):
    """Arrays one on top of the other, (Σ rows, …), as a view; None if they do not lie so in memory.

    >>> flat = np.arange(6)
    >>> in_a_row([flat[:2].reshape(1, 2), flat[2:].reshape(2, 2)])
    array([[0, 1],
           [2, 3],
           [4, 5]])
    """
    base = arrays[0].base
    if not isinstance(base, np.ndarray) or not base.flags.c_contiguous:
        return None
    start = end = _address(arrays[0])
    for array in arrays:
        if array.base is not base or not array.flags.c_contiguous or _address(array) != end:
            return None
        end += array.nbytes
    first, last = ((at - _address(base)) // base.itemsize for at in (start, end))
    return base.reshape(-1)[first:last].reshape(-1, *arrays[0].shape[1:])


def _address(array):
    return array.__array_interface__["data"][0]
