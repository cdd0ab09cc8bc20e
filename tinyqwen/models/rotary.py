"""Rotary positions in a model: the angles of the tokens at hand, and queries and keys turned.

RoPE can be scaled, so that a model reads texts longer than those it was trained on. A config says
how in `rope_scaling`: {"rope_type": one of KINDS, "factor": …}, None for RoPE as it was.
"""

import functools
import math
import warnings

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd import ops
from tinyqwen.functional.positions import dynamic_theta, llama3_scale, yarn_scale

ORIGINAL = "original_max_position_embeddings"
USUAL_THETA = 10000.0  # where a config says nothing
KINDS = {  # what each must say, and what it may
    "default": ((), ()),
    "linear": (("factor",), ()),
    "dynamic": (("factor",), (ORIGINAL,)),
    "yarn": (
        ("factor",),
        (ORIGINAL, "attention_factor", "beta_fast", "beta_slow")
        + ("mscale", "mscale_all_dim", "truncate"),
    ),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor"), (ORIGINAL,)),
}


def read_rope(theta, scaling, parameters):
    """(theta, scaling) from a config's rope_theta, rope_scaling and rope_parameters.

    transformers 4 writes the first two, 5 the third, with rope_theta and rope_type in it. Where
    they contradict each other this goes as in transformers: rope_scaling is all that counts, with
    the rope_theta beside it; then comes rope_parameters; a rope_theta inside either of them wins.
    """
    for name, value in (("rope_scaling", scaling), ("rope_parameters", parameters)):
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{name} must be an object, not {value!r:.100}")
    rope = dict(scaling or parameters or {})
    lost = (parameters or {}).get("rope_theta", theta)
    if any(isinstance(value, dict) for value in rope.values()):
        raise ValueError("RoPE parameters by layer type are not supported; expected one set")
    old_kind = rope.pop("type", None)
    kind = rope.pop("rope_type", old_kind or "default")
    if kind not in KINDS:
        raise ValueError(f"rope_type {kind!r} is not supported; known are {', '.join(KINDS)}")
    if rope.pop("partial_rotary_factor", 1) not in (1, None):
        raise ValueError("partial_rotary_factor is not supported; expected 1")
    found = rope.pop("rope_theta", theta)
    if scaling and found != lost:
        warnings.warn(
            f"rope_scaling stands in the place of rope_parameters, whose rope_theta {lost} is "
            f"lost: {found} is used, as in transformers; write rope_theta into rope_scaling",
            stacklevel=5,
        )
    elif theta not in (found, USUAL_THETA):
        warnings.warn(
            f"rope_theta {theta} is lost: the {found} of rope_parameters is used, as in "
            "transformers; write one of them",
            stacklevel=5,
        )
    if old_kind not in (kind, None):
        warnings.warn(
            f"type {old_kind!r} is lost: rope_type {kind!r} is used, as in transformers; write one",
            stacklevel=5,
        )
    return found, (None if kind == "default" else {"rope_type": kind, **_checked(kind, rope)})


def _checked(kind, rope):
    needed, allowed = KINDS[kind]
    rope = {name: value for name, value in rope.items() if value is not None}
    missing = [name for name in needed if name not in rope]
    if missing:
        raise ValueError(f"rope_type {kind!r} needs {', '.join(missing)}")
    foreign = [name for name in rope if name not in needed + allowed]
    if foreign:
        warnings.warn(f"not used by rope_type {kind!r}: {', '.join(foreign)}", stacklevel=6)
        rope = {name: value for name, value in rope.items() if name not in foreign}
    for name, value in rope.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name == "truncate":
            if not isinstance(value, bool):
                raise ValueError(f"rope_scaling: truncate must be true or false, not {value!r}")
        elif not (number and 0 < value < math.inf):
            raise ValueError(f"rope_scaling: {name} must be a positive number, not {value!r}")
    if rope["factor"] < 1:
        raise ValueError(f"rope_scaling: factor must be at least 1, not {rope['factor']}")
    for low, high in (("low_freq_factor", "high_freq_factor"), ("beta_slow", "beta_fast")):
        if low in rope and high in rope and rope[low] >= rope[high]:
            raise ValueError(f"rope_scaling: {low} {rope[low]} must be below {high} {rope[high]}")
    return rope


def longest_text(max_position_embeddings, scaling):
    """The tokens that RoPE, scaled so, is meant for."""
    if scaling is None:
        return max_position_embeddings
    original = scaling.get(ORIGINAL, max_position_embeddings)
    return max(max_position_embeddings, int(original * scaling["factor"]))


class RotaryEmbedding(nn.Module):
    """Tables of the angles by which RoPE rotates queries and keys at each position."""

    def __init__(self, config):
        self._config = config

    def forward(self, position_ids, dtype):
        """position_ids (B or 1, T) -> cos, sin, each (B or 1, 1, T, D)."""
        config, limit = self._config, self._config.max_sequence_length
        first, last = int(position_ids.min(initial=0)), int(position_ids.max(initial=0))
        if first < 0:
            raise ValueError(f"position {first} is negative; the first one is 0")
        if last >= limit:
            raise ValueError(
                f"position {last} is past max_position_embeddings "
                f"{limit}; shorten the text, or raise it in the config"
            )
        theta, scaling = config.rope_theta, config.rope_scaling
        original = config.max_position_embeddings
        if scaling is not None and scaling["rope_type"] == "dynamic" and last >= original:
            # What is in a cache keeps the angles that it was rotated by.
            theta = dynamic_theta(theta, config.head_dim, scaling["factor"], last + 1, original)
            tables = F.rope_tables(position_ids[:, None], config.head_dim, theta, dtype)
            return np.stack(tables)
        length = 1 << last.bit_length()  # a power of 2, so that few are ever computed
        scaling = None if scaling is None else (original, *scaling.items())
        computed_by = (
            F.rope_tables,
            yarn_scale,
            llama3_scale,
        )  # part of the key: they can be swapped
        tables = _rope_tables(computed_by, length, config.head_dim, theta, dtype, scaling)
        return tables.take(position_ids[:, None], axis=1)


@functools.lru_cache(maxsize=8)
def _rope_tables(computed_by, length, dim, theta, dtype, scaling):
    """Cosines and sines of positions 0 … length - 1, (2, length, D)."""
    compute = computed_by[0]
    if scaling is None:
        return np.stack(compute(np.arange(length), dim, theta, dtype))
    scale, attention_factor = _scale(dim, theta, scaling[0], dict(scaling[1:]))
    tables = compute(np.arange(length), dim, theta, np.float64, scale)
    return (np.stack(tables) * attention_factor).astype(dtype)


def _scale(dim, theta, max_positions, scaling):
    """Factors (D/2,) of the frequencies, and one of all cosines and sines."""
    kind, factor = scaling["rope_type"], scaling["factor"]
    original = scaling.get(ORIGINAL, max_positions)
    options = {n: v for n, v in scaling.items() if n not in ("rope_type", "factor", ORIGINAL)}
    if kind == "linear":
        return np.full(dim // 2, 1 / factor), 1.0
    if kind == "llama3":
        return llama3_scale(dim, theta, factor, original, **options), 1.0
    if kind == "dynamic":  # and not yet longer than the original
        return np.ones(dim // 2), 1.0
    own = options.pop("attention_factor", None)
    mscale, of_all = options.pop("mscale", None), options.pop("mscale_all_dim", None)
    if own is None and mscale and of_all:
        own = _temperature(factor, mscale) / _temperature(factor, of_all)
    scale = yarn_scale(dim, theta, factor, original, **options)
    return scale, _temperature(factor) if own is None else own


def _temperature(factor, mscale=1.0):
    """The softmax of long texts is sharpened by the square of this (Peng et al. 2023, eq. 22)."""
    return 0.1 * mscale * math.log(factor) + 1.0


def apply_rotary_pos_emb(q, k, cos, sin):
    """Queries (B, H, T, D) and keys (B, H_kv, T, D), rotated; cos, sin as RotaryEmbedding gives.

    Those of a single token are rotated together: on so few numbers a call costs more than they do.
    """
    H, T = q.shape[1:3]
    if T > 1:
        return F.apply_rope(q, cos, sin), F.apply_rope(k, cos, sin)
    join = np.concatenate if type(q) is np.ndarray else ops.concat
    both = F.apply_rope(join((q, k), 1), cos, sin)
    return both[:, :H], both[:, H:]
