"""Where a token stands: sinusoidal vectors to be added, and RoPE's rotations."""

import functools

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


def rope_tables(positions, dim, theta=10000.0, dtype=np.float32):
    """Cosines and sines of RoPE's angles  position · θ^(-2i/dim),  i = 0 … dim/2 - 1.

    positions: integers (...), dim: head size (even), theta: the base of the wavelengths.
    Returns cos, sin, each (..., dim): the dim/2 values twice over, once for each half of a head.
    They are computed in float64 and then cast: at position 30,000 a float32 angle would be off by a
    thousandth of a radian. Raises ValueError for an odd dim.  (Su et al. 2021, section 3.2.2.)
    """
    angles = _angles(positions, dim, theta)
    angles = np.concatenate([angles, angles], axis=-1)  # (..., dim/2) -> (..., dim)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


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
