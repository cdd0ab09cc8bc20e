"""Functions as modules, under the names that they have in PyTorch's and Hugging Face's module
trees, and in configs. Those of PyTorch are given to `nn` from here."""

from tinyqwen import functional as F
from tinyqwen import nn


class ReLU(nn.Module):
    """max(0, x)."""

    forward = staticmethod(F.relu)


class SiLU(nn.Module):
    """x σ(x), also called swish."""

    forward = staticmethod(F.silu)


class GELU(nn.Module):
    """x Φ(x); approximate="tanh" for the older form."""

    def __init__(self, approximate="none"):
        self.approximate = approximate

    def forward(self, x):
        return F.gelu(x, self.approximate)

    def extra_repr(self):
        return f"approximate={self.approximate!r}"


class Softmax(nn.Module):
    """eˣ / Σ eˣ along an axis."""

    def __init__(self, axis=-1):
        self.axis = axis

    def forward(self, x):
        return F.softmax(x, self.axis)


class CrossEntropyLoss(nn.Module):
    """`F.cross_entropy` with the options given here."""

    def __init__(self, **options):
        self._options = options

    def forward(self, logits, labels):
        return F.cross_entropy(logits, labels, **self._options)


class GELUActivation(nn.Module):
    """x Φ(x), Φ the normal distribution function."""

    def forward(self, x):
        return F.gelu(x)


class NewGELUActivation(nn.Module):
    """x Φ(x), with tanh for an approximation of Φ (Hendrycks & Gimpel 2016, section 2)."""

    def forward(self, x):
        return F.gelu_new(x)


ACTIVATIONS = {
    "relu": ReLU,
    "swish": SiLU,
    "gelu": GELUActivation,
    "gelu_new": NewGELUActivation,
}  # by a config's name for it

for module in (ReLU, SiLU, GELU, Softmax, CrossEntropyLoss):
    setattr(nn, module.__name__, module)
