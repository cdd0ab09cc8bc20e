"""Activation functions as modules, under the names that they have in PyTorch's and Hugging Face's
module trees, and in configs."""

from tinyqwen import functional as F
from tinyqwen import nn


class ReLU(nn.Module):
    """max(0, x)."""

    def forward(self, x):
        return F.relu(x)


class SiLU(nn.Module):
    """x σ(x), also called swish."""

    def forward(self, x):
        return F.silu(x)


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
