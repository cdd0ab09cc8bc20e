"""torch's functions for our primitives; see `operations.py`."""

import torch
import torch.nn.functional as T

from tinyqwen.benchmark.operations import EPS, inputs, time_both


def _rope(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


FUNCTIONS = {
    "linear": T.linear,
    "embedding": lambda weight, ids: T.embedding(ids, weight),
    "softmax": lambda x: x.softmax(-1),
    "rms_norm": lambda x, w: T.rms_norm(x, w.shape, w, EPS),
    "layer_norm": lambda x, w, b: T.layer_norm(x, w.shape, w, b, EPS),
    "apply_rope": _rope,
    "attention": lambda q, k, v: T.scaled_dot_product_attention(
        q, k, v, is_causal=True, enable_gqa=True
    ),
    "silu": T.silu,
    "swiglu": lambda gate, up: T.silu(gate) * up,
    "gelu_tanh": lambda x: T.gelu(x, approximate="tanh"),
    "gelu": T.gelu,
    "dropout": lambda x: T.dropout(x, 0.1),
    "cross_entropy": lambda x, ids: T.cross_entropy(x.flatten(0, -2), ids.flatten()),
    "linear_cross_entropy": lambda x, w, ids: T.cross_entropy(
        T.linear(x, w).flatten(0, -2), ids.flatten()
    ),
}


class Operations:
    """torch's way to compute our primitives."""

    def __init__(self, size):
        torch.set_num_threads(1)
        self._size = size

    def value(self, name):
        """Some entries of the result, to compare."""
        tensors, others = self._inputs(name)
        return FUNCTIONS[name](*tensors, *others).detach().flatten()[:100].tolist()

    def times(self, name, seconds):
        """[milliseconds forward, milliseconds backward]."""
        tensors, others = self._inputs(name)

        def forward():
            return FUNCTIONS[name](*tensors, *others)

        gradient = torch.randn(forward().shape)
        return time_both(forward, lambda out: torch.autograd.grad(out, tensors, gradient), seconds)

    def _inputs(self, name):
        arrays, others = inputs(name, self._size)
        tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
        return tensors, [torch.from_numpy(array) for array in others]
