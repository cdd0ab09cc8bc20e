"""Linear layers that read the same input, computed by one matrix product for a single token.

x W₁ᵀ beside x W₂ᵀ is x Wᵀ, with W₁ on top of W₂ in W. For a single token, what counts is the number
of calls: in a small model this is worth an eighth of its time. In training, where the products are
large, it is worth nothing, and is not done. W costs nothing where W₁ and W₂ lie in a row in memory,
for then it is a view of them, and `linears`, `Module.astype`, `from_pretrained` and AdamW (with
`decay_groups`) lay them so. The layers keep their names and their parameters.
"""

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.functional.memory_layout import in_a_row


def linears(in_features, *out_features, bias=True):
    """Linear layers in a row in memory, one for each number of output features."""
    layers = nn.ModuleList(nn.Linear(in_features, n, bias) for n in out_features)
    return layers.astype(np.float32)


def merged_linear(*names):
    """Make a method (self, x, head_dim=None) -> the outputs of several Linear layers, a list.

    names: attributes of self that are layers with the same input. x (B, T, in_features); outputs
    (B, T, out_features), or with head_dim split into heads, (B, out_features / D, T, D).

    They are called one by one where T is not 1, where gradients are recorded, and where they do not
    lie in a row in memory or one of them is not just a Linear.
    """
    slot = "_" + "_".join(names)

    def method(self, x, head_dim=None):
        fields = vars(self)
        layers = [fields[name] for name in names]
        merged = None
        if x.shape[1] == 1 and not is_grad_enabled():
            merged = fields.get(slot)
            if merged is None or not merged.fits(layers):
                merged = fields[slot] = _Merged(layers)
        if merged is None or merged.weight is None:
            outs = [layer(x) for layer in layers]
            return outs if head_dim is None else [F.split_heads(y, head_dim) for y in outs]
        y = F.linear(x, merged.weight, merged.bias)
        if head_dim is None:
            return [y[..., start:stop] for start, stop in merged.pieces]
        y = F.split_heads(y, head_dim)
        return [y[:, start // head_dim : stop // head_dim] for start, stop in merged.pieces]

    return method


class _Merged:
    """What one layer would need that does what several do: views of their arrays, if they allow it.

    weight is None where they do not; `pieces` of its output are theirs.
    """

    def __init__(self, layers):
        self.weight = self.bias = None
        self._parts = [(layer, None, None) for layer in layers]
        if any(type(layer) is not nn.Linear for layer in layers):
            return
        weights = [layer.weight.data for layer in layers]
        biases = [None if layer.bias is None else layer.bias.data for layer in layers]
        self._parts = list(zip(layers, weights, biases))
        if any(bias is not None for bias in biases):
            self.bias = None if any(bias is None for bias in biases) else in_a_row(biases)
            if self.bias is None:
                return
        self.weight = in_a_row(weights)
        stops = np.cumsum([len(weight) for weight in weights]).tolist()
        self.pieces = list(zip([0, *stops], stops))

    def fits(self, layers):
        """Whether these layers are still the same, with the same arrays."""
        for layer, (own, weight, bias) in zip(layers, self._parts):
            if layer is not own:
                return False
            if weight is not None:
                if layer.weight.data is not weight:
                    return False
                if (None if layer.bias is None else layer.bias.data) is not bias:
                    return False
        return True

    def __reduce__(self):
        return type(None), ()  # a copy of the module has arrays of its own
