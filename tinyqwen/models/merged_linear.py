"""Linear layers that read the same input, computed by one matrix product.

x W₁ᵀ beside x W₂ᵀ is x Wᵀ, with W₁ on top of W₂ in W. For a single token, what counts is the number
of calls: in a small model this is worth an eighth of its time. In training, where the products are
large, it is worth nothing, and is not done. W costs nothing where W₁ and W₂ lie in a row in memory,
for then it is a view of them, and `linears`, `Module.astype`, `from_pretrained` and AdamW (with
`decay_groups`) lay them so. The layers keep their names and their parameters.
"""

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd import ops
from tinyqwen.autograd.grad_mode import inference_session
from tinyqwen.functional.memory_layout import in_a_row


def linears(in_features, *out_features, bias=True):
    """Linear layers in a row in memory, one for each number of output features."""
    layers = nn.ModuleList(nn.Linear(in_features, n, bias) for n in out_features)
    return layers.astype(np.float32)


def side_by_side(*names):
    """Make a method (self, x) -> the outputs of Linear layers, concatenated.

    names: attributes of self that are Linear layers with the same input, all with a bias or none.
    x (..., in_features) -> (..., sum of the out_features).

    The layers are called one by one outside inference_mode, where they do not lie in a row in
    memory, and where one of them is not just a Linear.
    """

    def method(self, x):
        session, key = inference_session(), (self, names)
        if session is not None and key not in session:
            session[key] = _join([getattr(self, name) for name in names])
        wholes = None if session is None else session[key]
        if wholes is None:
            return ops.concat([getattr(self, name)(x) for name in names], axis=-1)
        return F.linear(x, *wholes)

    return method


def _join(layers):
    """[weight], or [weight, bias], of one layer that does what these do, as views; None without."""
    with_bias = {layer.bias is not None for layer in layers if type(layer) is nn.Linear}
    if len(with_bias) > 1 or any(type(layer) is not nn.Linear for layer in layers):
        return None
    fields = ("weight", "bias") if with_bias == {True} else ("weight",)
    wholes = [in_a_row([getattr(layer, field).data for layer in layers]) for field in fields]
    return None if any(whole is None for whole in wholes) else wholes
