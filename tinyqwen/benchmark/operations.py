"""Every fused primitive, the same out of elementary operations, and torch's, in shapes of a size.

One thread each, and half a batch: what a thread of the training does.
"""

import time
from statistics import median

import numpy as np

from tinyqwen import functional as F
from tinyqwen.autograd.ops import concat, masked_fill, where
from tinyqwen.autograd.tensor import Tensor, grad
from tinyqwen.benchmark.sizes import SIZES
from tinyqwen.models.masks import causal_mask
from tinyqwen.parallel.resources import keep_memory

EPS = 1e-6
NAMES = (
    *("linear", "embedding", "softmax", "rms_norm", "layer_norm", "apply_rope", "attention"),
    *("silu", "swiglu", "gelu_tanh", "gelu", "dropout", "cross_entropy", "linear_cross_entropy"),
)


def inputs(name, size):
    """(floating-point arrays, which get gradients; other arrays) of a primitive."""
    config, seq, batch = SIZES[size]["config"], SIZES[size]["seq"], SIZES[size]["batch"] // 2
    C, I, V = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    H, H_kv = config["num_attention_heads"], config["num_key_value_heads"]
    D = C // H
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    hidden, inner, logits = (batch, seq, C), (batch, seq, I), (batch, seq, V)
    ids = rng.integers(0, V, (batch, seq))
    if name == "linear":
        return [normal(*hidden), normal(I, C), normal(I)], []
    if name == "embedding":
        return [normal(V, C)], [ids]
    if name == "softmax":
        return [normal(*logits)], []
    if name == "rms_norm":
        return [normal(*hidden), normal(C)], []
    if name == "layer_norm":
        return [normal(*hidden), normal(C), normal(C)], []
    if name == "apply_rope":
        return [normal(batch, H, seq, D)], list(F.rope_tables(np.arange(seq), D))
    if name == "attention":
        key_value = (batch, H_kv, seq, D)
        return [normal(batch, H, seq, D), normal(*key_value), normal(*key_value)], []
    if name == "swiglu":
        return [normal(*inner), normal(*inner)], []
    if name == "cross_entropy":
        return [normal(*logits)], [ids]
    if name == "linear_cross_entropy":
        return [normal(*hidden), normal(V, C)], [ids]
    return [normal(*inner)], []  # silu, gelu, dropout


FUSED = {
    "linear": F.linear,
    "embedding": lambda weight, ids: F.embedding(ids, weight),
    "softmax": F.softmax,
    "rms_norm": lambda x, w: F.rms_norm(x, w, EPS),
    "layer_norm": lambda x, w, b: F.layer_norm(x, w, b, EPS),
    "apply_rope": F.apply_rope,
    "attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal=True),
    "silu": F.silu,
    "swiglu": F.swiglu,
    "gelu_tanh": lambda x: F.gelu(x, "tanh"),
    "gelu": F.gelu,
    "dropout": lambda x: F.dropout(x, 0.1),
    "cross_entropy": F.cross_entropy,
    "linear_cross_entropy": F.linear_cross_entropy,
}


def _softmax(x):
    e = (x - x.detach().max(axis=-1, keepdims=True)).exp()
    return e / e.sum(axis=-1, keepdims=True)


def _layer_norm(x, weight, bias):
    centered = x - x.mean(axis=-1, keepdims=True)
    variance = (centered * centered).mean(axis=-1, keepdims=True)
    return centered * (variance + EPS).rsqrt() * weight + bias


def _rope(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + concat([-x[..., half:], x[..., :half]], axis=-1) * sin


def _gelu_tanh(x):
    return x * 0.5 * (((x + x * x * x * 0.044715) * (2 / np.pi) ** 0.5).tanh() + 1.0)


def _dropout(x):
    kept = np.random.default_rng(0).random(x.shape, np.float32) >= 0.1
    return where(kept, x, 0.0) / 0.9


def _attention(q, k, v):
    groups = q.shape[1] // k.shape[1]
    scores = q @ F.repeat_kv(k, groups).swapaxes(-1, -2) * q.shape[-1] ** -0.5
    scores = masked_fill(scores, ~causal_mask(q.shape[2]), -np.inf)
    return _softmax(scores) @ F.repeat_kv(v, groups)


def _cross_entropy(logits, labels):
    rows = logits.reshape(-1, logits.shape[-1])
    shifted = rows - rows.detach().max(axis=-1, keepdims=True)
    picked = shifted[np.arange(len(rows)), labels.reshape(-1)]
    return (shifted.exp().sum(axis=-1).log() - picked).mean()


COMPOSED = {
    "linear": lambda x, w, b: x @ w.swapaxes(0, 1) + b,
    "embedding": lambda weight, ids: weight[ids],
    "softmax": _softmax,
    "rms_norm": lambda x, w: x * ((x * x).mean(axis=-1, keepdims=True) + EPS).rsqrt() * w,
    "layer_norm": _layer_norm,
    "apply_rope": _rope,
    "attention": _attention,
    "silu": lambda x: x * x.sigmoid(),
    "swiglu": lambda gate, up: gate * gate.sigmoid() * up,
    "gelu_tanh": _gelu_tanh,
    "dropout": _dropout,
    "cross_entropy": _cross_entropy,
    "linear_cross_entropy": lambda x, w, ids: _cross_entropy(x @ w.swapaxes(0, 1), ids),
}


class Operations:
    """One of the two ways to compute a primitive: "fused" or "composed"."""

    def __init__(self, way, size):
        from threadpoolctl import threadpool_limits

        keep_memory()
        threadpool_limits(1, user_api="blas")
        self._functions = {"fused": FUSED, "composed": COMPOSED}[way]
        self._size = size

    def value(self, name):
        """Some entries of the result, to compare."""
        if name not in self._functions:
            return None
        tensors, others = self._inputs(name)
        return self._functions[name](*tensors, *others).data.reshape(-1)[:100].tolist()

    def times(self, name, seconds):
        """[milliseconds forward, milliseconds backward], None where there is no such function."""
        if name not in self._functions:
            return None
        tensors, others = self._inputs(name)
        out = self._functions[name](*tensors, *others)
        gradient = np.random.default_rng(1).standard_normal(out.shape, out.dtype)

        def forward():
            return self._functions[name](*tensors, *others)

        return time_both(forward, lambda out: grad(out, tensors, gradient), seconds)

    def _inputs(self, name):
        arrays, others = inputs(name, self._size)
        return [Tensor(array, requires_grad=True) for array in arrays], others


def time_both(forward, backward, seconds):
    """Median milliseconds of forward() and of backward(what it returned), taking turns."""
    backward(forward())
    ahead, back, end = [], [], time.perf_counter() + seconds
    while len(ahead) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        out = forward()
        middle = time.perf_counter()
        backward(out)
        back.append(1e3 * (time.perf_counter() - middle))
        ahead.append(1e3 * (middle - start))
    return [median(ahead), median(back)]
