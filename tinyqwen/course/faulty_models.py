"""The patients of chapter 13: four trained models, each with one fault in its code.

The weights lie in data/faulty_models/, an ordinary checkpoint each, and were trained with the fault
(by data/make_faulty_models.py). The fault itself is planted here: `plant` puts it into the layers
of any model, by running them with one of the library's functions replaced. Below the faults stand
the checks that find them, the solution of the assignment: read no further if you are to write it.
"""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.analysis.interpret import residual_stream
from tinyqwen.autograd.grad_mode import no_grad
from tinyqwen.course.registry import ROOT
from tinyqwen.course.swapping import swap
from tinyqwen.models.qwen2 import Qwen2ForCausalLM

FOLDER = ROOT / "data" / "faulty_models"
NAMES = ("a", "b", "c", "d")


def load(name) -> Qwen2ForCausalLM:
    """A model of data/faulty_models/: "a", "b", "c" or "d", with its fault, or "sound", without.

    Raises ValueError for another name, FileNotFoundError where the folder is missing.
    """
    if name not in (*NAMES, "sound"):
        raise ValueError(
            f"there is no faulty model {name!r}; there are {', '.join(NAMES)} and sound"
        )
    model = Qwen2ForCausalLM.from_pretrained(FOLDER / name)
    return model if name == "sound" else plant(model, diagnoses()[name])


def views(model):
    """A model as the two functions that a check is given: arrays in, arrays out.

    model(ids, positions=None): token ids (B, T) and their positions, 0 … T - 1 by default
        -> logits (B, T, V)
    inside(ids, positions=None): the same run -> {"stream": (L + 1, B, T, C), "attention" and "mlp":
        (L, B, T, C)}, as `interpret.residual_stream` has them
    """

    def logits(ids, positions=None):
        with no_grad():
            return whole(np.asarray(ids), position_ids=positions).logits.numpy()

    def inside(ids, positions=None):
        return residual_stream(whole, np.asarray(ids), positions)

    whole, logits.__name__ = model, "model"
    return logits, inside


# ---------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------


def plant(model, fault, layers=None):
    """Give a model a fault, in place, and return it.

    fault: a name in `FAULTS`; layers: the numbers of the layers that get it, all by default.
    Raises ValueError for a fault that cannot be planted.
    """
    if fault not in FAULTS:
        raise ValueError(f"{fault!r} cannot be planted; there are: {', '.join(FAULTS)}")
    for number, layer in enumerate(model.model.layers):
        if layers is None or number in layers:
            layer.forward = FAULTS[fault](layer)
    return model


def _running(layer, functions):
    """The forward of a layer, run on other functions than the library's: {name: function}."""
    forward = layer.forward

    def ill(*args, **options):
        with swap(functions):
            return forward(*args, **options)

    return ill


def _without_mask(layer):
    fused = F.scaled_dot_product_attention.raw

    def see_all(num_queries, num_keys=None, window=None):
        return np.ones((num_queries, num_keys or num_queries), bool)

    def attend(query, key, value, mask=None, causal=False, **options):
        return fused(query, key, value, mask=mask, **options)

    return _running(layer, {"causal_mask": see_all, "scaled_dot_product_attention": attend})


def _without_turned_keys(layer):
    turn, config = F.apply_rope.raw, layer.self_attn._config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if kv_heads == heads:
        raise ValueError("keys are told from queries by their number of heads, which must differ")

    def queries_only(x, cos, sin):
        """x: queries (B, H, T, D), keys (B, H_kv, T, D), or in decoding one behind the other."""
        stop = {heads: heads, kv_heads: 0, heads + kv_heads: heads}[x.shape[1]]
        out, vjp = turn(x, cos, sin)

        def only(turned, left):
            return np.concatenate([turned[:, :stop], left[:, stop:]], 1)

        return only(out, x), lambda g: (only(vjp(g)[0], g),)

    return _running(layer, {"apply_rope": queries_only})


def _without_mlp_residual(layer):
    def forget_the_stream(x, input_layernorm, self_attn, post_attention_layernorm, mlp):
        y, weights = self_attn(input_layernorm(x))
        return mlp(post_attention_layernorm(x + y)), weights

    return _running(layer, {"decoder_layer": forget_the_stream})


def _with_batch_norm(layer):
    def over_the_batch(x, weight, eps=1e-6):
        r = (np.mean(x * x, axis=0, keepdims=True) + eps) ** -0.5  # (B, T, C) -> (1, T, C)
        normed = x * r

        def vjp(g):
            h = g * weight
            dx = r * (h - normed * np.mean(h * normed, axis=0, keepdims=True))
            return dx, np.sum(g * normed, axis=(0, 1))

        return normed * weight, vjp

    return _running(layer, {"rms_norm": over_the_batch})


FAULTS = {
    "no causal mask": _without_mask,
    "keys not rotated": _without_turned_keys,
    "no residual around the MLP": _without_mlp_residual,
    "norm over the batch": _with_batch_norm,
}


# ---------------------------------------------------------------------------------------------
# Diagnoses, and what one would see
# ---------------------------------------------------------------------------------------------

DIAGNOSES = {
    "no causal mask": "a later token would change the logits of earlier ones",
    "labels not shifted": "it would say the token that it has just read, again and again",
    "learning rate too high": "the loss would jump up, or stay where it began",
    "dropout left on": "two calls with the same ids would give different logits",
    "no positions at all": "positions twice as far apart would change nothing",
    "keys not rotated": "the same text, all positions moved by one number, would get other logits",
    "RoPE interleaved": "nothing: trained that way, it is the same model with features reordered",
    "K/V heads tiled": "nothing: trained that way, it is the same model with heads reordered",
    "scores not scaled": "nothing for certain: queries and keys can be learned that much smaller",
    "no residual around attention": "a layer would put out what its blocks do, without the stream",
    "no residual around the MLP": "a layer would put out what its MLP puts out, and no more",
    "norm over the batch": "a text would get other logits alone than beside other texts",
}


# ---------------------------------------------------------------------------------------------
# The solution
# ---------------------------------------------------------------------------------------------


def diagnoses():
    """{patient: the name of its fault in `DIAGNOSES`}."""
    return {
        "a": "norm over the batch",
        "b": "no causal mask",
        "c": "no residual around the MLP",
        "d": "keys not rotated",
    }


def check_a(model, inside, ids):
    """True if the logits of a text do not depend on the other texts of the batch."""
    alone = np.concatenate([model(row[None]) for row in ids])
    return _same(alone, model(ids))


def check_b(model, inside, ids):
    """True if no token changes the logits of an earlier one."""
    logits, middle = model(ids), ids.shape[1] // 2
    other = ids.copy()
    other[:, middle:] = (ids[:, middle:] + 1) % logits.shape[-1]
    return _same(model(other)[:, :middle], logits[:, :middle])


def check_c(model, inside, ids):
    """True if each layer adds what its blocks put out to what it was given."""
    seen = inside(ids)
    return _same(seen["stream"][:-1] + seen["attention"] + seen["mlp"], seen["stream"][1:])


def check_d(model, inside, ids):
    """True if the logits depend on the distances of positions alone."""
    positions = np.arange(ids.shape[1])
    return _same(model(ids, positions + 100), model(ids, positions))


def _same(x, y):
    """Equal up to rounding, which is measured by the largest entry."""
    return bool(np.abs(x - y).max() <= 1e-3 * np.abs(y).max())
