"""Wrong solutions of chapter 07, each named after its mistake."""

import numpy as np

from tinyqwen import functional as F
from tinyqwen.course import mutant, reference

sinusoidal_table, rope_tables = F.sinusoidal_table, F.rope_tables
apply_rope = F.apply_rope.raw
llama3_scale = reference("llama3_scale")


def frequencies(dim, theta):
    return theta ** (-np.arange(0, dim, 2) / dim)


def rotate_half(x):
    half = x.shape[-1] // 2
    return np.concatenate([-x[..., half:], x[..., :half]], axis=-1)


# ---------------------------------------------------------------------------------------------
# sinusoidal_table
# ---------------------------------------------------------------------------------------------


def filled(positions, dim, sines, cosines, dtype):
    out = np.empty((*np.shape(positions), dim), dtype)
    out[..., 0::2], out[..., 1::2] = np.sin(sines), np.cos(cosines)
    return out


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="then all cosines")
def sinusoidal_in_halves(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions)[..., None] * frequencies(dim, theta)
    return np.concatenate([np.sin(a), np.cos(a)], axis=-1).astype(dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="the other way round")
def sinusoidal_cosine_first(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions)[..., None] * frequencies(dim, theta)
    out = np.empty((*np.shape(positions), dim), dtype)
    out[..., 0::2], out[..., 1::2] = np.cos(a), np.sin(a)
    return out


@mutant(
    of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="the exponent is i/dim"
)
def sinusoidal_half_exponent(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions)[..., None] * theta ** (-np.arange(dim // 2) / dim)
    return filled(positions, dim, a, a, dtype)


@mutant(
    of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="different frequencies"
)
def sinusoidal_own_frequencies(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions)[..., None] * theta ** (-np.arange(dim) / dim)
    return filled(positions, dim, a[..., 0::2], a[..., 1::2], dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="lost its minus")
def sinusoidal_growing_frequencies(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions)[..., None] / frequencies(dim, theta)
    return filled(positions, dim, a, a, dtype)


@mutant(
    of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="their values are given"
)
def sinusoidal_counts_itself(positions, dim, theta=10000.0, dtype=np.float32):
    counted = np.arange(np.size(positions)).reshape(np.shape(positions))
    return sinusoidal_table(counted, dim, theta, dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="dim - 2")
def sinusoidal_to_the_last_frequency(positions, dim, theta=10000.0, dtype=np.float32):
    exponents = np.arange(0, dim, 2) / max(dim - 2, 1)
    a = np.asarray(positions)[..., None] * theta**-exponents
    return filled(positions, dim, a, a, dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="for degrees")
def sinusoidal_degrees(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions)[..., None] * frequencies(dim, theta) / 180 * np.pi
    return filled(positions, dim, a, a, dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="all 0: // divides")
def sinusoidal_whole_exponents(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions)[..., None] * theta ** -(np.arange(0, dim, 2) // dim * 1.0)
    return filled(positions, dim, a, a, dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_options", named="theta is not used")
def sinusoidal_theta_hard_coded(positions, dim, theta=10000.0, dtype=np.float32):
    return sinusoidal_table(positions, dim, 10000.0, dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_options", named="dtype is not used")
def sinusoidal_float64(positions, dim, theta=10000.0, dtype=np.float32):
    return sinusoidal_table(positions, dim, theta, np.float64)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_far", named="computed in float32")
def sinusoidal_float32_angles(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions, dtype)[..., None] * frequencies(dim, theta).astype(dtype)
    return filled(positions, dim, a, a, dtype)


# ---------------------------------------------------------------------------------------------
# rope_tables
# ---------------------------------------------------------------------------------------------


def tables(angles, dtype):
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="interleaved")
def rope_tables_interleaved(positions, dim, theta=10000.0, dtype=np.float32):
    return tables(np.asarray(positions)[..., None] * np.repeat(frequencies(dim, theta), 2), dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_options", named="interleaved")
def rope_tables_interleaved_with_theta(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables_interleaved(positions, dim, theta, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_far", named="interleaved")
def rope_tables_interleaved_far(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables_interleaved(positions, dim, theta, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="half as wide")
def rope_tables_half_width(positions, dim, theta=10000.0, dtype=np.float32):
    return tables(np.asarray(positions)[..., None] * frequencies(dim, theta), dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="a frequency of its own")
def rope_tables_all_frequencies(positions, dim, theta=10000.0, dtype=np.float32):
    return tables(np.asarray(positions)[..., None] * theta ** (-np.arange(dim) / dim), dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="the exponent is i/dim")
def rope_tables_half_exponent(positions, dim, theta=10000.0, dtype=np.float32):
    slow = np.tile(theta ** (-np.arange(dim // 2) / dim), 2)
    return tables(np.asarray(positions)[..., None] * slow, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="in the wrong order")
def rope_tables_sin_first(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables(positions, dim, theta, dtype)[::-1]


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="their values are given")
def rope_tables_count_themselves(positions, dim, theta=10000.0, dtype=np.float32):
    counted = np.arange(np.size(positions)).reshape(np.shape(positions))
    return rope_tables(counted, dim, theta, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="counted from 1")
def rope_tables_from_one(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables(np.asarray(positions) + 1, dim, theta, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="all 0: // divides")
def rope_tables_whole_exponents(positions, dim, theta=10000.0, dtype=np.float32):
    whole = np.tile(np.arange(0, dim, 2) // dim, 2)
    return tables(np.asarray(positions)[..., None] / theta ** whole.astype(float), dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="go on in the second half")
def rope_tables_slower_and_slower(positions, dim, theta=10000.0, dtype=np.float32):
    slow = theta ** np.array([-2.0 * i / dim for i in range(dim)])
    return tables(np.asarray(positions)[..., None] * slow, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_far", named="wrong stands at position")
def rope_tables_wrapped(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables(np.mod(positions, 4096), dim, theta, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_options", named="theta is not used")
def rope_tables_theta_hard_coded(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables(positions, dim, 10000.0, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_options", named="dtype is not used")
def rope_tables_float64(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables(positions, dim, theta, np.float64)


@mutant(of="rope_tables", killed_by="test_rope_tables_far", named="computed in float32")
def rope_tables_float32_angles(positions, dim, theta=10000.0, dtype=np.float32):
    slow = np.tile(frequencies(dim, theta), 2).astype(dtype)
    return tables(np.asarray(positions, dtype)[..., None] * slow, dtype)


# ---------------------------------------------------------------------------------------------
# apply_rope
# ---------------------------------------------------------------------------------------------


def interleaved(x, cos, sin):
    half = x.shape[-1] // 2
    c, s = cos[..., :half], sin[..., :half]
    out = np.empty(np.broadcast_shapes(x.shape, cos.shape), x.dtype)
    out[..., 0::2] = x[..., 0::2] * c - x[..., 1::2] * s
    out[..., 1::2] = x[..., 1::2] * c + x[..., 0::2] * s
    return out


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="all entries are in reverse")
def rope_flipped(x, cos, sin):
    crossed = np.flip(x, -1) * np.repeat([-1.0, 1.0], x.shape[-1] // 2).astype(x.dtype)
    return x * cos + crossed * sin, apply_rope(x, cos, sin)[1]


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="the tokens are cut into halves")
def rope_halves_of_tokens(x, cos, sin):
    first, second = np.array_split(x, [x.shape[-2] // 2], axis=-2)
    return x * cos + np.concatenate([-second, first], -2) * sin, apply_rope(x, cos, sin)[1]


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="by the angles of the first")
def rope_one_angle_for_all(x, cos, sin):
    return apply_rope(x, cos[..., [0] * x.shape[-2], :], sin[..., [0] * x.shape[-2], :])


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="this is interleaved RoPE")
def rope_interleaved(x, cos, sin):
    return interleaved(x, cos, sin), lambda g: (interleaved(g, cos, -sin),)


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="this is interleaved RoPE")
def rope_interleaved_on_half_split_tables(x, cos, sin):
    crossed = np.stack([-x[..., 1::2], x[..., 0::2]], axis=-1).reshape(x.shape)
    return x * cos + crossed * sin, apply_rope(x, cos, sin)[1]


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="runs backwards")
def rope_backwards(x, cos, sin):
    return apply_rope(x, cos, -sin)


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="the minus is missing")
def rope_without_minus(x, cos, sin):
    return x * cos + np.roll(x, x.shape[-1] // 2, axis=-1) * sin, apply_rope(x, cos, sin)[1]


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="after that was turned")
def rope_half_overwritten_too_early(x, cos, sin):
    half = x.shape[-1] // 2
    out = x.copy()
    out[..., :half] = out[..., :half] * cos[..., :half] - out[..., half:] * sin[..., :half]
    out[..., half:] = out[..., half:] * cos[..., half:] + out[..., :half] * sin[..., half:]
    return out, apply_rope(x, cos, sin)[1]


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="the positions of the first")
def rope_positions_of_the_first_row(x, cos, sin):
    shared = cos.ndim == x.ndim
    return apply_rope(x, cos[:1], sin[:1]) if shared else apply_rope(x, cos, sin)


@mutant(of="apply_rope", killed_by="test_apply_rope_vjp", named="turned forward")
def rope_vjp_forward(x, cos, sin):
    return apply_rope(x, cos, sin)[0], lambda g: (apply_rope(g, cos, sin)[0],)


@mutant(of="apply_rope", killed_by="test_apply_rope_vjp", named="sine's part of the gradient")
def rope_vjp_cosine_only(x, cos, sin):
    return apply_rope(x, cos, sin)[0], lambda g: (g * cos,)


@mutant(of="apply_rope", killed_by="test_apply_rope_vjp", named="both sines have a plus")
def rope_vjp_without_minus(x, cos, sin):
    out = apply_rope(x, cos, sin)[0]
    return out, lambda g: (g * cos + np.roll(g, g.shape[-1] // 2, axis=-1) * sin,)


@mutant(of="apply_rope", killed_by="test_apply_rope_vjp", named="that of interleaved RoPE")
def rope_vjp_interleaved(x, cos, sin):
    return apply_rope(x, cos, sin)[0], lambda g: (interleaved(g, cos, -sin),)


@mutant(of="apply_rope", killed_by="test_apply_rope_vjp", named="a comma is missing")
def rope_vjp_not_a_tuple(x, cos, sin):
    out, vjp = apply_rope(x, cos, sin)
    return out, lambda g: vjp(g)[0]


@mutant(of="apply_rope", killed_by="test_apply_rope_manners", named="x is changed in place")
def rope_edits_x(x, cos, sin):
    crossed = rotate_half(x) * sin
    x *= cos
    x += crossed
    return x.copy(), lambda g: (apply_rope(g, cos, -sin)[0],)


@mutant(of="apply_rope", killed_by="test_apply_rope_manners", named="sin is changed in place")
def rope_vjp_turns_the_table_over(x, cos, sin):
    out = apply_rope(x, cos, sin)[0]
    sin *= -1
    return out, lambda g: (apply_rope(g, cos, sin)[0],)


@mutant(of="apply_rope", killed_by="test_apply_rope_manners", named="float64 comes out")
def rope_float64(x, cos, sin):
    out, vjp = apply_rope(x.astype(np.float64), cos, sin)
    return out, lambda g: (vjp(g)[0].astype(x.dtype),)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="theta is a million here")
def rope_tables_of_another_default(positions, dim, theta=1e6, dtype=np.float32):
    return reference("rope_tables")(positions, dim, theta, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="the exponents are 4i/dim")
def rope_tables_with_2i_of_even_numbers(positions, dim, theta=10000.0, dtype=np.float32):
    angles = positions[..., None] * theta ** (-2 * np.arange(0, dim, 2) / dim)
    angles = np.concatenate([angles, angles], -1)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="a million here")
def sinusoidal_table_of_another_default(positions, dim, theta=1e6, dtype=np.float32):
    return reference("sinusoidal_table")(positions, dim, theta, dtype)


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_value", named="are 4i/dim")
def sinusoidal_table_with_2i_of_even_numbers(positions, dim, theta=10000.0, dtype=np.float32):
    angles = positions[..., None] * theta ** (-2 * np.arange(0, dim, 2) / dim)
    table = np.stack([np.sin(angles), np.cos(angles)], -1)
    return table.reshape(*positions.shape, dim).astype(dtype)


# ---------------------------------------------------------------------------------------------
# llama3_scale
# ---------------------------------------------------------------------------------------------


def llama3_turns(dim, theta, original):
    return original * theta ** (-2.0 * np.arange(dim // 2) / dim) / (2 * np.pi)


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="exchanged")
def llama3_scale_slow_kept(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    scale = llama3_scale(dim, theta, factor, original, low_freq_factor, high_freq_factor)
    return 1 + 1 / factor - scale


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="a turn is 2π")
def llama3_scale_in_radians(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    length = original * 2 * np.pi
    return llama3_scale(dim, theta, factor, length, low_freq_factor, high_freq_factor)


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="not limited")
def llama3_scale_not_clipped(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    turns = llama3_turns(dim, theta, original)
    fast = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
    return (1 - fast) / factor + fast


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="in the wavelength")
def llama3_scale_line_in_wavelength(
    dim, theta, factor, original, low_freq_factor, high_freq_factor
):
    length = original / llama3_turns(dim, theta, original)
    long, short = original / low_freq_factor, original / high_freq_factor
    fast = np.clip((long - length) / (long - short), 0, 1)
    return (1 - fast) / factor + fast


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="1/scale goes in a line")
def llama3_scale_line_in_the_divisor(
    dim, theta, factor, original, low_freq_factor, high_freq_factor
):
    turns = llama3_turns(dim, theta, original)
    fast = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)
    return 1 / ((1 - fast) * factor + fast)


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="linear scaling")
def llama3_scale_linear(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    return np.full(dim // 2, 1 / factor)


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="themselves are returned")
def llama3_scale_of_frequencies(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    scale = llama3_scale(dim, theta, factor, original, low_freq_factor, high_freq_factor)
    return scale * theta ** (-2.0 * np.arange(dim // 2) / dim)


@mutant(of="llama3_scale", killed_by="test_llama3_scale_value", named="without a line")
def llama3_scale_two_bands(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    fast = llama3_turns(dim, theta, original) > low_freq_factor
    return np.where(fast, 1.0, 1 / factor)


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


def turned_by(positions, dim, theta, exponents):
    return np.asarray(positions)[..., None] * theta**exponents


def taking_turns(angles):
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(*angles.shape[:-1], -1)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="2i counts twice: the exponents are 4i/dim",
)
def sinusoidal_table_exponent_doubled(positions, dim, theta=10000.0, dtype=np.float32):
    return taking_turns(turned_by(positions, dim, theta, -2 * np.arange(0, dim, 2) / dim)).astype(
        dtype
    )


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="the exponent is i/dim; it is 2i/dim, where i",
)
def sinusoidal_table_exponent_halved(positions, dim, theta=10000.0, dtype=np.float32):
    return taking_turns(turned_by(positions, dim, theta, -np.arange(dim // 2) / dim)).astype(dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="the exponents are divided by dim - 2 where dim",
)
def sinusoidal_table_dim_minus2(positions, dim, theta=10000.0, dtype=np.float32):
    return taking_turns(
        turned_by(positions, dim, theta, -np.arange(0, dim, 2) / max(dim - 2, 1))
    ).astype(dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="theta is a million here; it is 10,000 if none",
)
def sinusoidal_table_theta_default(positions, dim, theta=1000000.0, dtype=np.float32):
    return sinusoidal_table(positions, dim, theta, dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_options",
    named="the argument theta is not used",
)
def sinusoidal_table_theta_ignored(positions, dim, theta=10000.0, dtype=np.float32):
    return sinusoidal_table(positions, dim, 10000.0, dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="the frequencies grow: the exponent has lost its",
)
def sinusoidal_table_positive(positions, dim, theta=10000.0, dtype=np.float32):
    return taking_turns(turned_by(positions, dim, theta, np.arange(0, dim, 2) / dim)).astype(dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="all sines stand first, then all cosines; they",
)
def sinusoidal_table_halves(positions, dim, theta=10000.0, dtype=np.float32):
    a = turned_by(positions, dim, theta, -np.arange(0, dim, 2) / dim)
    return np.concatenate([np.sin(a), np.cos(a)], -1).astype(dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="even entries are sines and odd ones cosines",
)
def sinusoidal_table_cos_first(positions, dim, theta=10000.0, dtype=np.float32):
    a = turned_by(positions, dim, theta, -np.arange(0, dim, 2) / dim)
    return np.stack([np.cos(a), np.sin(a)], -1).reshape(*np.shape(positions), dim).astype(dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="a difference of rounding size: computed in",
)
def sinusoidal_table_in_float32(positions, dim, theta=10000.0, dtype=np.float32):
    a = np.asarray(positions, np.float32)[..., None] * np.float32(theta) ** (
        -np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    )
    return taking_turns(a).astype(dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_options",
    named="the argument dtype is not used (it is float32",
)
def sinusoidal_table_in_float64(positions, dim, theta=10000.0, dtype=np.float32):
    return sinusoidal_table(positions, dim, theta, np.float64)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="positions are counted from 1",
)
def sinusoidal_table_plus1(positions, dim, theta=10000.0, dtype=np.float32):
    return sinusoidal_table(np.asarray(positions) + 1, dim, theta, dtype)


@mutant(
    of="sinusoidal_table",
    killed_by="test_sinusoidal_table_value",
    named="positions are counted 0, 1, 2 …; their values",
)
def sinusoidal_table_arange(positions, dim, theta=10000.0, dtype=np.float32):
    return (
        np.broadcast_to(
            sinusoidal_table(
                np.arange(np.shape(positions)[-1] if np.ndim(positions) else 1), dim, theta, dtype
            ),
            (*np.shape(positions), dim),
        ).copy()
        if np.ndim(positions)
        else sinusoidal_table(0, dim, theta, dtype)
    )


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_value",
    named="2i counts twice: the exponents are 4i/dim",
)
def rope_tables_exponent_doubled(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    a = turned_by(positions, dim, theta, -2 * np.arange(0, dim, 2) / dim)
    a = np.concatenate([a, a], -1)
    return np.cos(a).astype(dtype), np.sin(a).astype(dtype)


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_value",
    named="cos and sin are returned in the wrong order",
)
def rope_tables_swapped(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    return rope_tables(positions, dim, theta, dtype)[::-1]


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_value",
    named="the tables are half as wide: the dim/2 values",
)
def rope_tables_half(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    return tuple(t[..., : dim // 2] for t in rope_tables(positions, dim, theta, dtype))


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_value",
    named="theta is a million here; it is 10,000 if none",
)
def rope_tables_million(positions, dim, theta=1000000.0, dtype=np.float32, scale=None):
    return rope_tables(positions, dim, theta, dtype)


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_value",
    named="every entry has a frequency of its own; the two",
)
def rope_tables_all_dims(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    a = turned_by(positions, dim, theta, -np.arange(dim) / dim)
    return np.cos(a).astype(dtype), np.sin(a).astype(dtype)


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_value",
    named="a difference of rounding size: computed in",
)
def rope_tables_in_float32(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    a = np.asarray(positions, np.float32)[..., None] * (
        theta ** (-np.arange(0, dim, 2) / dim)
    ).astype(np.float32)
    a = np.concatenate([a, a], -1)
    return np.cos(a).astype(dtype), np.sin(a).astype(dtype)


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_options",
    named="the argument dtype is not used (it is float32",
)
def rope_tables_in_float64(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    return tuple(t.astype(np.float64) for t in rope_tables(positions, dim, theta, dtype))


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="the sign is wrong")
def rope_tables_neg(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    c, s = rope_tables(positions, dim, theta, dtype)
    return c, -s


@mutant(
    of="rope_tables",
    killed_by="test_rope_tables_value",
    named="is rotate_half's",
)
def rope_tables_sin_half_neg(positions, dim, theta=10000.0, dtype=np.float32, scale=None):
    c, s = rope_tables(positions, dim, theta, dtype)
    s = s.copy()
    s[..., : dim // 2] *= -1
    return c, s


@mutant(
    of="apply_rope",
    killed_by="test_apply_rope_value",
    named="this is interleaved RoPE, which pairs",
)
def apply_rope_interleaved(x, cos, sin):
    h = np.empty_like(x)
    h[..., 0::2] = -x[..., 1::2]
    h[..., 1::2] = x[..., 0::2]
    return x * cos + h * sin, apply_rope(x, cos, sin)[1]


@mutant(
    of="apply_rope",
    killed_by="test_apply_rope_value",
    named="the rotation runs backwards: both signs of sin",
)
def apply_rope_other_sign(x, cos, sin):
    return apply_rope(x, cos, -sin)


@mutant(
    of="apply_rope",
    killed_by="test_apply_rope_value",
    named="the minus is missing: (x₁, x₂) turns into (-x₂",
)
def apply_rope_no_sign(x, cos, sin):
    d = x.shape[-1] // 2
    h = np.concatenate([x[..., d:], x[..., :d]], -1)
    return x * cos + h * sin, apply_rope(x, cos, sin)[1]


@mutant(
    of="apply_rope",
    killed_by="test_apply_rope_vjp",
    named="g is turned forward; a rotation's transpose",
)
def apply_rope_vjp_forward(x, cos, sin):
    return apply_rope(x, cos, sin)[0], lambda g: (apply_rope(g, cos, sin)[0], None, None)


@mutant(of="apply_rope", killed_by="test_apply_rope_vjp", named="g is not turned at all")
def apply_rope_vjp_identity(x, cos, sin):
    return apply_rope(x, cos, sin)[0], lambda g: (g, None, None)


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="cos and sin are exchanged")
def apply_rope_cos_sin_swapped(x, cos, sin):
    return apply_rope(x, sin, cos)


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="the sine's part is missing")
def apply_rope_only_cos(x, cos, sin):
    return x * cos, lambda g: (g * cos, None, None)


@mutant(
    of="apply_rope",
    killed_by="test_apply_rope_value",
    named="the halves are not exchanged before they are",
)
def apply_rope_no_rotate(x, cos, sin):
    return x * cos + x * sin, lambda g: (g * (cos + sin), None, None)


@mutant(
    of="apply_rope",
    killed_by="test_apply_rope_value",
    named="all entries are in reverse order beside sin",
)
def apply_rope_flip(x, cos, sin):
    return x * cos + x[..., ::-1] * sin, apply_rope(x, cos, sin)[1]


@mutant(
    of="apply_rope",
    killed_by="test_apply_rope_vjp",
    named="the sine's part of the gradient is missing",
)
def apply_rope_vjp_no_sin(x, cos, sin):
    return apply_rope(x, cos, sin)[0], lambda g: (g * cos, None, None)


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="only the first half is turned")
def apply_rope_half_dims(x, cos, sin):
    d = x.shape[-1] // 2
    o, v = apply_rope(x, cos, sin)
    return np.concatenate([o[..., :d], x[..., d:]], -1), v


_KEPT = {}


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="something is kept")
def rope_tables_of_the_first_call(positions, dim, theta=10000.0, dtype=np.float32):
    key = np.shape(positions), dim, theta, dtype
    if key not in _KEPT:
        _KEPT[key] = rope_tables(positions, dim, theta, dtype)
    return _KEPT[key]


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="this is cos; the order is")
def rope_tables_cos_twice(positions, dim, theta=10000.0, dtype=np.float32):
    return (rope_tables(positions, dim, theta, dtype)[0],) * 2


@mutant(of="rope_tables", killed_by="test_rope_tables_value", named="only the shape is not")
def rope_tables_squeezed(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables(np.squeeze(positions), dim, theta, dtype)


@mutant(of="apply_rope", killed_by="test_apply_rope_vjp", named="as YaRN's are")
def rope_vjp_by_the_inverse(x, cos, sin):
    out, vjp = apply_rope(x, cos, sin)
    return out, lambda g: (vjp(g)[0] / (cos * cos + sin * sin),)


@mutant(of="apply_rope", killed_by="test_apply_rope_value", named="have not asked for")
def rope_tables_of_each_text_for_all(x, cos, sin):
    return apply_rope(x, *(t[:, None] if t.ndim == 3 else t for t in (cos, sin)))


@mutant(of="sinusoidal_table", killed_by="test_sinusoidal_table_options", named="4i/dim")
def sinusoidal_table_of_double_steps(positions, dim, theta=10000.0, dtype=np.float32):
    return sinusoidal_table(positions, dim, theta**2, dtype)


@mutant(of="rope_tables", killed_by="test_rope_tables_options", named="the exponent is i/dim")
def rope_tables_of_half_steps(positions, dim, theta=10000.0, dtype=np.float32):
    return rope_tables(positions, dim, theta**0.5, dtype)
