"""Another peer: the same model in JAX, jit-compiled, with optax's AdamW, on our weights."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from safetensors.numpy import load_file

from tinyqwen.benchmark.machine import peak_mib
from tinyqwen.benchmark.sizes import batch_for
from tinyqwen.benchmark.worker import repeat


def _rms_norm(x, weight, eps):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight


def _rotate(x, cos, sin):
    first, second = jnp.split(x, 2, axis=-1)
    return x * cos + jnp.concatenate([-second, first], -1) * sin


def _forward(w, ids, config):
    """ids (B, T) -> logits (B, T, V).  w: {Hugging Face's name: array}"""
    eps, depth = config["rms_norm_eps"], config["head_dim"]
    angles = jnp.arange(ids.shape[1])[:, None] * config["rope_theta"] ** (
        -jnp.arange(0, depth, 2) / depth
    )
    angles = jnp.concatenate([angles, angles], -1)[:, None]  # (T, 1, D)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):

        def linear(x, name, at=f"model.layers.{i}."):
            y = x @ w[f"{at}{name}.weight"].T
            return y + w[f"{at}{name}.bias"] if f"{at}{name}.bias" in w else y

        def heads(x, name, linear=linear):
            return linear(x, f"self_attn.{name}").reshape(*ids.shape, -1, depth)

        h = _rms_norm(x, w[f"model.layers.{i}.input_layernorm.weight"], eps)
        q, k = (_rotate(heads(h, name), cos, sin) for name in ("q_proj", "k_proj"))
        y = jax.nn.dot_product_attention(q, k, heads(h, "v_proj"), is_causal=True)
        x = x + linear(y.reshape(*ids.shape, -1), "self_attn.o_proj")
        h = _rms_norm(x, w[f"model.layers.{i}.post_attention_layernorm.weight"], eps)
        gated = jax.nn.silu(linear(h, "mlp.gate_proj")) * linear(h, "mlp.up_proj")
        x = x + linear(gated, "mlp.down_proj")
    return _rms_norm(x, w["model.norm.weight"], eps) @ w["model.embed_tokens.weight"].T


def _loss(w, ids, config):
    logits = _forward(w, ids, config)[:, :-1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:]).mean()


class Training:
    """A jit-compiled step: value_and_grad, clip_by_global_norm, adamw."""

    def __init__(self, size, folder):
        config = json.loads((Path(folder) / "config.json").read_text())
        self.weights = jax.device_put(load_file(Path(folder) / "model.safetensors"))
        self.ids = jax.device_put(batch_for(size)[0]["input_ids"])
        decayed = {name: array.ndim >= 2 for name, array in self.weights.items()}
        optimizer = optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(1e-3, 0.9, 0.95, weight_decay=0.1, mask=decayed),
        )
        self.state = optimizer.init(self.weights)

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def update(weights, state, ids):
            loss, gradients = jax.value_and_grad(_loss)(weights, ids, config)
            updates, state = optimizer.update(gradients, state, weights)
            return optax.apply_updates(weights, updates), state, loss

        self._update = update

    def step(self):
        """One update; returns its loss."""
        self.weights, self.state, loss = self._update(self.weights, self.state, self.ids)
        return loss.item()

    def losses(self, steps):
        """The losses of the first updates."""
        return [self.step() for _ in range(steps)]

    def round(self, seconds):
        """Milliseconds of a step."""
        return repeat(self.step, seconds)

    def memory(self, steps):
        """Peak memory in MiB before the first step and after some."""
        before = peak_mib()
        self.losses(steps)
        return [before, peak_mib()]
