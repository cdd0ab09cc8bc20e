"""Pruning: heads, layers and weights that a model can spare, found by measuring it.

Heads and layers are cut out of the matrices, so that the checkpoint is smaller and opens wherever
its family does; single weights are set to zero. A model that was cut is healed by a little training
(`python -m tinyqwen.train --init-from`).
"""

import numpy as np

from tinyqwen import nn
from tinyqwen.autograd.grad_mode import no_grad
from tinyqwen.autograd.tensor import grad
from tinyqwen.functional.attention import split_heads
from tinyqwen.tuning.gptq import hessians

PATTERN = (2, 4)  # zeros in each so many neighbors


# ---------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------


def head_importance(output, gradient):
    """How much the loss feels each head: E |Σ_{t,d} out · d loss / d out|  (Michel et al. 2019, 3).

    output, gradient (B, H, T, D): of the heads, before they are merged. Returns (H,): the gradient
    of a factor 1 on each head, its absolute value averaged over texts.

    >>> head_importance(np.ones((1, 2, 1, 3)), np.array([[[[1, -2, 0]], [[1, 1, 1]]]]))
    array([1., 3.])
    """
    return np.abs((output * gradient).sum((2, 3))).mean(0)


def angular_distance(x, y):
    """Mean angle between the rows of x and y (..., d), in units of π  (Gromov et al. 2024, eq. 7).

    >>> float(angular_distance(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])))
    0.5
    """
    cosine = np.vecdot(x, y) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))
    return np.mean(np.arccos(np.clip(cosine, -1, 1))) / np.pi


def wanda_score(weight, input_norms):
    """|W_oi| · ‖x_i‖: how much an output would miss a weight  (Sun et al. 2023, eq. 1).

    weight (out, in); input_norms (in,): the norm of each input over a text, or 1 for magnitude.

    >>> wanda_score(np.array([[1.0, -2.0]]), np.array([3.0, 1.0]))
    array([[3., 2.]])
    """
    return np.abs(weight) * input_norms


def sparsity_mask(score, sparsity):
    """True for the weights that stay: in every row, all but the ⌊sparsity · in⌋ of lowest score.

    >>> sparsity_mask(np.array([[3.0, 1.0, 2.0, 4.0]]), 0.5)
    array([[ True, False, False,  True]])
    """
    count = int(sparsity * score.shape[1] + 1e-9)
    mask = np.ones(score.shape, bool)
    np.put_along_axis(mask, np.argsort(score, axis=1, kind="stable")[:, :count], False, axis=1)
    return mask


def two_four_mask(score):
    """True for the best two of each four neighbors in a row, which GPUs multiply twice as fast.

    score (out, in), in a multiple of 4.  (Mishra et al. 2021; Sun et al. 2023, section 3.)

    >>> two_four_mask(np.array([[3.0, 1.0, 2.0, 4.0, 1.0, 2.0, 3.0, 4.0]]))
    array([[ True, False, False,  True, False, False,  True,  True]])
    """
    zeros, of = PATTERN
    return sparsity_mask(score.reshape(-1, of), zeros / of).reshape(score.shape)


# ---------------------------------------------------------------------------------------------
# Heads
# ---------------------------------------------------------------------------------------------


class _Recorder(nn.Module):
    """A layer that remembers what it was given."""

    def __init__(self, layer):
        self.layer, self.inputs = layer, None

    def forward(self, x):
        self.inputs = x
        return self.layer(x)


def measure_heads(model, texts):
    """`head_importance` (layers, H) of a decoder's heads, on texts: arrays of ids (B, T)."""
    layers, heads = _layers(model), model.config.num_attention_heads
    recorders = [_Recorder(layer.self_attn.o_proj) for layer in layers]
    total, count = np.zeros((len(layers), heads)), 0
    for layer, recorder in zip(layers, recorders):
        layer.self_attn.o_proj = recorder
    try:
        for ids in texts:
            loss = model(ids, labels=ids).loss
            merged = [recorder.inputs for recorder in recorders]  # (B, T, H·D)
            for sums, x, g in zip(total, merged, grad(loss, merged)):
                x, g = (split_heads.raw(a, a.shape[2] // heads)[0] for a in (x.data, g))
                # A mean over texts is what the loss is: its gradient is of 1/B of each text.
                sums += head_importance(x, g) * len(ids) ** 2
            count += len(ids)
    finally:
        for layer, recorder in zip(layers, recorders):
            layer.self_attn.o_proj = recorder.layer
    return total / max(1, count)


def prune_heads(model, count, texts):
    """Cut the `count` least important query heads out of every layer, in place.

    Each key/value head keeps as many query heads as the others, in every layer, so that the config
    can say so: count is a multiple of num_key_value_heads, and less than num_attention_heads.
    Returns the model. Raises ValueError otherwise.
    """
    config = model.config
    H, H_kv, D = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    if not 0 < count < H:
        raise ValueError(f"a layer has {H} heads; {count} of them cannot be cut out")
    if count % H_kv:
        raise ValueError(
            f"{count} heads cannot be cut out evenly: each of the {H_kv} key/value heads serves "
            f"{H // H_kv} query heads; choose a multiple of {H_kv}"
        )
    importance = measure_heads(model, texts).reshape(-1, H_kv, H // H_kv)
    for layer, scores in zip(_layers(model), importance):
        order = np.argsort(-scores, axis=1, kind="stable")[:, : (H - count) // H_kv]
        kept = (np.sort(order, axis=1) + np.arange(0, H, H // H_kv)[:, None]).reshape(-1)
        rows = (kept[:, None] * D + np.arange(D)).reshape(-1)
        attention = layer.self_attn
        _keep(attention.q_proj, rows, axis=0)
        _keep(attention.o_proj, rows, axis=1)
    config.num_attention_heads = H - count
    return model


def _keep(linear, indices, axis):
    for name, parameter in (("weight", linear.weight), ("bias", linear.bias)):
        if parameter is not None and (name == "weight" or axis == 0):
            new = np.ascontiguousarray(np.take(parameter.data, indices, axis))
            setattr(linear, name, nn.Parameter(new, parameter.requires_grad))
    linear.out_features, linear.in_features = linear.weight.shape


# ---------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------


def measure_layers(model, count, texts):
    """Angle, in units of π, by which each run of `count` layers turns the residual stream.

    Returns (layers - count,): entry l is between the inputs of layer l and of layer l + count. The
    last layer is in none of the runs: it prepares the output, and is never cut.
    """
    layers = len(_layers(model))
    total, tokens = np.zeros(layers - count), 0
    with no_grad():
        for ids in texts:
            states = [s.data for s in model(ids, output_hidden_states=True).hidden_states]
            total += [
                angular_distance(states[i], states[i + count]) * ids.size
                for i in range(layers - count)
            ]
            tokens += ids.size
    return total / tokens


def prune_layers(model, count, texts):
    """Cut out the `count` neighboring layers that turn the stream least, in place.

    Returns the model. Raises ValueError unless at least the last layer stays.
    """
    layers = _layers(model)
    if not 0 < count < len(layers):
        raise ValueError(f"of {len(layers)} layers, {count} cannot be cut out; the last one stays")
    first = int(np.argmin(measure_layers(model, count, texts)))
    cut = range(first, first + count)
    config = model.config
    if getattr(config, "layer_types", None):
        config.layer_types = [k for i, k in enumerate(config.layer_types) if i not in cut]
    config.num_hidden_layers = len(layers) - count
    small = type(model)(config)
    weights = model.state_dict()
    prefix = next(p for p, m in model.named_modules() if m is layers) + "."
    kept = [i for i in range(len(layers)) if i not in cut]
    names = {f"{prefix}{i}.": f"{prefix}{old}." for i, old in enumerate(kept)}

    def source(name):
        start = next((new for new in names if name.startswith(new)), None)
        return name if start is None else names[start] + name.removeprefix(start)

    small.load_state_dict({name: weights[source(name)] for name in small.state_dict()})
    small.generation_config = model.generation_config
    return small.train(model.training)


def _layers(model):
    """The decoder's layers; ValueError for a model that has none with attention as Qwen2's."""
    layers = getattr(model.base_model, "layers", None)
    if layers is None or not hasattr(layers[0], "self_attn"):
        raise ValueError(f"{type(model).__name__} is not a decoder like Qwen2: it is not pruned")
    return layers


# ---------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------


def prune_weights(model, sparsity, texts=None):
    """Set the least useful weights of a model's inner linear layers to zero, in place.

    sparsity: the share of each output's weights, from above 0 to below 1, or "2:4". texts: arrays
    of ids (B, T) for Wanda's score; without them, weights go by magnitude. Returns the model.
    """
    if sparsity != "2:4" and not (isinstance(sparsity, float) and 0 < sparsity < 1):
        raise ValueError(f"sparsity must be above 0 and below 1, or 2:4, not {sparsity!r}")
    layers = {
        path: module
        for path, module in model.named_modules()
        if type(module) is nn.Linear and any(part.isdigit() for part in path.split("."))
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no inner linear layers to prune")
    for path, layer in layers.items():
        norms = 1.0
        if texts is not None:
            norms = np.sqrt(np.diag(hessians(model, [path], texts)[path])).astype(np.float32)
        score = wanda_score(layer.weight.data, norms)
        mask = two_four_mask(score) if sparsity == "2:4" else sparsity_mask(score, sparsity)
        layer.weight.data *= mask
    return model
