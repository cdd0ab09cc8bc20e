"""Where a token stands: sinusoidal vectors to be added, and RoPE's rotations."""

import functools
import math

import numpy as np

from tinyqwen.autograd.tensor import primitive


def _angles(positions, dim, theta):
    """position · θ^(-2i/dim) for i = 0 … dim/2 - 1, in float64: (...) -> (..., dim/2)."""
    if dim % 2:
        raise ValueError(f"positions are encoded in pairs of entries: dim must be even, not {dim}")
    frequencies = float(theta) ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    return np.asarray(positions)[..., None] * frequencies


def sinusoidal_table(positions, dim, theta=10000.0, dtype=np.float32):
    """Sinusoidal position vectors, to be added to embeddings (Vaswani et al. 2017, section 3.5).

        PE[p, 2i] = sin(p θ^(-2i/dim)),    PE[p, 2i + 1] = cos(p θ^(-2i/dim))

    positions: integers (...), dim: size of a vector (even), theta: the base of the wavelengths.
    Returns (..., dim), computed in float64 and then cast. Raises ValueError for an odd dim.
    """
    angles = _angles(positions, dim, theta)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)  # (..., dim/2, 2)
    return pairs.reshape(*angles.shape[:-1], dim).astype(dtype)


def rope_tables(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    """Cosines and sines of RoPE's angles  position · θ^(-2i/dim),  i = 0 … dim/2 - 1.

    positions: integers (...), dim: head size (even), theta: the base of the wavelengths.
    scale: factors (dim/2,) of the frequencies, as `yarn_scale` and `llama3_scale` give them.
    Returns cos, sin, each (..., dim): the dim/2 values twice over, once for each half of a head.
    They are computed in float64 and then cast: at position 30,000 a float32 angle would be off by a
    thousandth of a radian. Raises ValueError for an odd dim.  (Su et al. 2021, section 3.2.2.)
    """
    angles = _angles(positions, dim, theta)
    if scale is not None:
        angles = angles * scale
    angles = np.concatenate([angles, angles], axis=-1)  # (..., dim/2) -> (..., dim)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def dynamic_theta(theta, dim, factor, length, original):
    """θ of "dynamic" scaling: larger, the longer the text is than the `original` length.

        θ' = θ (factor · length / original - (factor - 1))^(dim / (dim - 2))

    The lowest frequency shrinks as linear scaling would shrink it, the highest stays as it was
    (the "NTK-aware" rule of bloc97 2023; Peng et al. 2023, "YaRN", section 3.1 and appendix B).
    """
    longer = max(length, original)
    return theta * (factor * longer / original - (factor - 1)) ** (dim / (dim - 2))


def yarn_scale(dim, theta, factor, original, beta_fast=32.0, beta_slow=1.0, truncate=True):
    """What YaRN multiplies the dim/2 frequencies by: 1 if they are fast, 1/factor if slow.

    A pair that turns beta_fast times or more within the `original` length is left alone, one that
    turns beta_slow times or less is interpolated; between them a linear ramp over the pairs' index
    (its ends rounded outwards with truncate).  (Peng et al. 2023, section 3.2, eq. 22 and 23.)
    """

    def index_of(turns):  # the pair that turns so often within the original length
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = index_of(beta_fast), index_of(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    width = high - low or 0.001
    slow = np.clip((np.arange(dim // 2) - low) / width, 0, 1)
    return slow / factor + (1 - slow)


def llama3_scale(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    """What Llama 3.1 multiplies the dim/2 frequencies by: 1 if they are fast, 1/factor if slow.

    Fast is a pair that turns more than high_freq_factor times within the `original` length, slow
    one that turns less than low_freq_factor times; between them a line in the number of turns.
    (Grattafiori et al. 2024, "The Llama 3 herd of models", section 3.4.2; Meta's reference code.)
    """
    turns = original * _angles(1, dim, theta) / (2 * math.pi)
    fast = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return (1 - fast) / factor + fast


@primitive
def apply_rope(x, cos, sin):
    """Rotate the pairs (x_i, x_{i + d/2}) by the angles of their position (Su et al. 2021, eq. 34).

    x (..., T, d); cos, sin (..., T, d) as `rope_tables` gives, broadcast over the other axes.
    The pairing is half-split, as in Hugging Face's Qwen2: entry i goes with entry i + d/2. (The
    paper pairs neighbors 2i, 2i+1: the same rotation with the entries in another order.)

        y_1 = x_1 cos - x_2 sin        dx_1 =  g_1 cos + g_2 sin
        y_2 = x_2 cos + x_1 sin        dx_2 =  g_2 cos - g_1 sin
    A rotation's transpose is its inverse, so the VJP rotates g by the opposite angles.
    """
    return _rotate(x, cos, sin), lambda g: (_rotate(g, cos, -sin),)


def _rotate(x, cos, sin):
    """x cos + (-x_2, x_1) sin, where x is (x_1, x_2).

    NumPy is slow on short runs of numbers, such as half a head. Here they are only copied.
    """
    shape, x = x.shape, np.ascontiguousarray(x)
    halves = x.reshape(shape[:-1] + (2, shape[-1] // 2))
    swapped = halves[..., ::-1, :].reshape(shape)  # (x_2, x_1)
    out = swapped * (sin * _signs(shape[-1]))
    out += x * cos
    return out


@functools.lru_cache(maxsize=8)
def _signs(dim):
    """-1 for the first half of a head, 1 for the second."""
    return np.repeat(np.float32([-1, 1]), dim // 2)
