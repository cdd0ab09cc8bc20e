"""Wrong solutions of chapter 19, each named after its mistake."""

import numpy as np

from tinyqwen.course import mutant, reference

group_scales, quantize_array = reference("group_scales"), reference("quantize_array")
dequantize_array = reference("dequantize_array")
pack, unpack = reference("pack"), reference("unpack")
gptq_column, packed_product = reference("gptq_column"), reference("packed_product")
inverse_factor = reference("inverse_factor")


# ---------------------------------------------------------------------------------------------
# group_scales
# ---------------------------------------------------------------------------------------------


def scales_mutant(killed_by, named):
    return mutant(of="group_scales", killed_by=f"test_group_scales_{killed_by}", named=named)


def scales_of(weight, bits, sym, steps=None, to_zero=True, least=1):
    most, low, high = 2**bits - 1, weight.min(0), weight.max(0)
    if to_zero:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if sym:
        high = np.maximum(-low, high)
        low = -high
    scale = ((high - low) / (steps or most)).astype(np.float16)
    scale[scale == 0] = 1
    if sym:
        return scale, np.full(scale.shape, 2 ** (bits - 1))
    return scale, np.clip(np.rint(-low / scale.astype(float)), least, most).astype(int)


@scales_mutant("value", "2ᵇ - 1 steps between them")
def scales_count_codes_for_steps(weight, bits, sym=False):
    return scales_of(weight, bits, sym, steps=2**bits)


@scales_mutant("value", "not 2ᵇ - 2")
def scales_with_too_few_steps(weight, bits, sym=False):
    return scales_of(weight, bits, sym, steps=2**bits - 2)


@scales_mutant("value", "does not contain 0")
def scales_of_a_range_without_zero(weight, bits, sym=False):
    return scales_of(weight, bits, sym, to_zero=False)


@scales_mutant("value", "it is at least 1")
def scales_with_a_zero_of_zero(weight, bits, sym=False):
    return scales_of(weight, bits, sym, least=0)


@scales_mutant("value", "each output has its own")
def scales_of_the_whole_group(weight, bits, sym=False):
    scale, zero = group_scales(weight.reshape(-1, 1), bits, sym)
    return np.repeat(scale, weight.shape[1]), np.repeat(zero, weight.shape[1])


@scales_mutant("value", "was not asked for")
def scales_always_symmetric(weight, bits, sym=False):
    return group_scales(weight, bits, True)


@scales_mutant("symmetric", "sym is not used")
def scales_never_symmetric(weight, bits, sym=False):
    return group_scales(weight, bits)


@scales_mutant("symmetric", "not 2ᵇ⁻¹ - 1")
def scales_with_a_zero_too_low(weight, bits, sym=False):
    scale, zero = group_scales(weight, bits, sym)
    return scale, zero - sym


@scales_mutant("symmetric", "it is 2 m / (2ᵇ - 1)")
def scales_with_steps_of_one_side(weight, bits, sym=False):
    scale, zero = group_scales(weight, bits, sym)
    if sym:
        scale = (np.abs(weight).max(0) / (2 ** (bits - 1) - 1)).astype(np.float16)
    return scale, zero


@scales_mutant("value", "it is rounded")
def scales_with_a_zero_cut_off(weight, bits, sym=False):
    scale, zero = group_scales(weight, bits, sym)
    if sym:
        return scale, zero
    low = np.minimum(weight.min(0), 0)
    return scale, np.clip(-low / scale.astype(float), 1, 2**bits - 1).astype(int)


@scales_mutant("edges", "can be divided by anything else")
def scales_of_zero(weight, bits, sym=False):
    scale, zero = group_scales(weight, bits, sym)
    scale[np.abs(weight).max(0) < 1e-8] = 0
    return scale, zero


@scales_mutant("edges", "files hold scales as float16")
def scales_in_float64(weight, bits, sym=False):
    scale, zero = group_scales(weight, bits, sym)
    return scale.astype(float), zero


@scales_mutant("edges", "computed with the exact scale")
def scales_with_the_zero_of_the_exact_scale(weight, bits, sym=False):
    scale, zero = group_scales(weight, bits, sym)
    if sym:
        return scale, zero
    low, high = np.minimum(weight.min(0), 0), np.maximum(weight.max(0), 0)
    exact = (high - low) / (2**bits - 1)
    exact[scale == 1] = 1
    return scale, np.clip(np.rint(-low / exact), 1, 2**bits - 1).astype(int)


# ---------------------------------------------------------------------------------------------
# quantize_array
# ---------------------------------------------------------------------------------------------


def quantize_mutant(killed_by, named):
    return mutant(of="quantize_array", killed_by=f"test_quantize_array_{killed_by}", named=named)


def rounded(weight, bits, group_size, sym, rounding=np.rint, clip=True, shift=0):
    _, scales, zeros = quantize_array(weight, bits, group_size, sym)
    s, z = (np.repeat(a, group_size, axis=0) for a in (scales, zeros))
    codes = rounding(weight / s.astype(float)) + z + shift
    codes = np.clip(codes, 0, 2**bits - 1) if clip else codes.astype(int) % 256
    return codes.astype(np.uint8), scales, zeros


@quantize_mutant("value", "the codes are cut off")
def codes_cut_off(weight, bits, group_size, sym=False):
    return rounded(weight, bits, group_size, sym, np.trunc)


@quantize_mutant("value", "halves are rounded up")
def codes_of_halves_up(weight, bits, group_size, sym=False):
    return rounded(weight, bits, group_size, sym, lambda x: np.floor(x + 0.5))


@quantize_mutant("value", "halves are rounded away from 0")
def codes_of_halves_away(weight, bits, group_size, sym=False):
    return rounded(weight, bits, group_size, sym, lambda x: np.copysign(np.floor(abs(x) + 0.5), x))


@quantize_mutant("value", "added before the rounding")
def codes_with_the_zero_inside(weight, bits, group_size, sym=False):
    _, scales, zeros = quantize_array(weight, bits, group_size, sym)
    s, z = (np.repeat(a, group_size, axis=0) for a in (scales, zeros))
    codes = np.clip(np.rint(weight / s.astype(float) + z), 0, 2**bits - 1)
    return codes.astype(np.uint8), scales, zeros


@quantize_mutant("value", "the codes are rounded down")
def codes_rounded_down(weight, bits, group_size, sym=False):
    return rounded(weight, bits, group_size, sym, np.floor)


@quantize_mutant("value", "one too small")
def codes_one_too_small(weight, bits, group_size, sym=False):
    return rounded(weight, bits, group_size, sym, shift=-1)


@quantize_mutant("value", "the zero is not added")
def codes_without_zero(weight, bits, group_size, sym=False):
    _, scales, zeros = quantize_array(weight, bits, group_size, sym)
    codes = np.rint(weight / np.repeat(scales, group_size, axis=0).astype(float))
    return np.clip(codes, 0, 2**bits - 1).astype(np.uint8), scales, zeros


@quantize_mutant("error", "codes run over")
def codes_run_over(weight, bits, group_size, sym=False):
    return rounded(weight, bits, group_size, sym, clip=False)


@quantize_mutant("value", "each group has its own")
def codes_of_one_scale(weight, bits, group_size, sym=False):
    codes, scales, zeros = quantize_array(weight, bits, len(weight), sym)
    count = len(weight) // group_size
    return codes, np.repeat(scales, count, axis=0), np.repeat(zeros, count, axis=0)


@quantize_mutant("value", "it takes neighbors")
def codes_of_groups_in_turns(weight, bits, group_size, sym=False):
    count = len(weight) // group_size
    order = np.arange(len(weight)).reshape(group_size, count).T.reshape(-1)
    codes, scales, zeros = quantize_array(weight[order], bits, group_size, sym)
    return codes[np.argsort(order)], scales, zeros


@quantize_mutant("error", "sym is not used")
def codes_never_symmetric(weight, bits, group_size, sym=False):
    return quantize_array(weight, bits, group_size)


@quantize_mutant("manners", "clip first")
def codes_of_int64(weight, bits, group_size, sym=False):
    codes, scales, zeros = quantize_array(weight, bits, group_size, sym)
    return codes.astype(np.int64), scales, zeros


@quantize_mutant("manners", "changed in place")
def codes_divide_in_place(weight, bits, group_size, sym=False):
    out = quantize_array(weight, bits, group_size, sym)
    weight /= np.repeat(out[1], group_size, axis=0)
    return out


# ---------------------------------------------------------------------------------------------
# dequantize_array
# ---------------------------------------------------------------------------------------------


def decode_mutant(killed_by, named):
    name = f"test_dequantize_array_{killed_by}"
    return mutant(of="dequantize_array", killed_by=name, named=named)


def decoded(codes, scales, zeros, g_idx, combine):
    if g_idx is None:
        g_idx = np.arange(len(codes)) // (len(codes) // len(scales))
    s, z = (a[g_idx].astype(np.float32) for a in (scales, zeros))
    return combine(s, codes.astype(np.float32), z)


@decode_mutant("value", "the zero is not subtracted")
def decode_without_zero(codes, scales, zeros, g_idx=None):
    return decoded(codes, scales, zeros, g_idx, lambda s, q, z: s * q)


@decode_mutant("value", "subtracted after the scaling")
def decode_subtracts_late(codes, scales, zeros, g_idx=None):
    return decoded(codes, scales, zeros, g_idx, lambda s, q, z: s * q - z)


@decode_mutant("value", "the zero is added")
def decode_adds_zero(codes, scales, zeros, g_idx=None):
    return decoded(codes, scales, zeros, g_idx, lambda s, q, z: s * (q + z))


@decode_mutant("value", "divided by the scale")
def decode_divides(codes, scales, zeros, g_idx=None):
    return decoded(codes, scales, zeros, g_idx, lambda s, q, z: (q - z) / s)


@decode_mutant("value", "a uint8 has no negative numbers")
def decode_runs_over(codes, scales, zeros, g_idx=None):
    return decoded(codes, scales, zeros, g_idx, lambda s, q, z: s * ((q - z) % 256))


@decode_mutant("value", "0 0 1 1")
def decode_groups_in_turns(codes, scales, zeros, g_idx=None):
    turns = np.arange(len(codes)) % len(scales)
    return dequantize_array(codes, scales, zeros, turns if g_idx is None else g_idx)


@decode_mutant("value", "float16 has rounded the rest")
def decode_in_uint8_and_float16(codes, scales, zeros, g_idx=None):
    if g_idx is None:
        g_idx = np.arange(len(codes)) // (len(codes) // len(scales))
    return (scales[g_idx] * (codes - zeros[g_idx].astype(codes.dtype))).astype(np.float32)


@decode_mutant("order", "g_idx is not used")
def decode_in_order(codes, scales, zeros, g_idx=None):
    return dequantize_array(codes, scales, zeros)


@decode_mutant("order", "before anything is computed")
def decode_in_float64(codes, scales, zeros, g_idx=None):
    return dequantize_array(codes, scales, zeros, g_idx).astype(np.float64)


# ---------------------------------------------------------------------------------------------
# pack
# ---------------------------------------------------------------------------------------------


def pack_mutant(killed_by, named):
    return mutant(of="pack", killed_by=f"test_pack_{killed_by}", named=named)


def words_of(parts, shifts):
    words = (parts.astype(np.uint64) << shifts.astype(np.uint64)[:, None]).sum(1)
    return (words & np.uint64(2**32 - 1)).astype(np.uint32).view(np.int32)


@pack_mutant("value", "it belongs in the lowest")
def pack_high_bits_first(codes, bits):
    parts = codes.reshape(-1, 32 // bits, codes.shape[1])
    return words_of(parts, np.arange(0, 32, bits)[::-1])


@pack_mutant("value", "4 bits apart")
def pack_four_bits_apart(codes, bits):
    return words_of(codes.reshape(-1, 32 // bits, codes.shape[1]), 4 * np.arange(32 // bits))


@pack_mutant("value", "down a column")
def pack_rows(codes, bits):
    parts = codes.reshape(codes.shape[0], -1, 32 // bits).swapaxes(1, 2)
    return words_of(parts, np.arange(0, 32, bits))


@pack_mutant("value", "it takes neighbors")
def pack_in_turns(codes, bits):
    parts = codes.reshape(32 // bits, -1, codes.shape[1]).swapaxes(0, 1)
    return words_of(parts, np.arange(0, 32, bits))


@pack_mutant("value", "only the first code of every word")
def pack_first_codes(codes, bits):
    return codes[:: 32 // bits].astype(np.uint32).view(np.int32)


@pack_mutant("value", "along the first axis")
def pack_rows_where_it_fits(codes, bits):
    if codes.shape[1] % (32 // bits):
        return pack(codes, bits)
    return pack(codes.T, bits).T


@pack_mutant("value", "shifted out of 8 bits is lost")
def pack_in_uint8(codes, bits):
    parts = codes.astype(np.uint8).reshape(-1, 32 // bits, codes.shape[1])
    shifts = np.arange(0, 32, bits)
    parts = np.where((shifts < 8)[:, None], parts, 0)
    return words_of(parts, shifts)


@pack_mutant("manners", "read as int32")
def pack_into_uint32(codes, bits):
    return pack(codes, bits).view(np.uint32)


@pack_mutant("manners", "read as int32")
def pack_into_int64(codes, bits):
    return pack(codes, bits).astype(np.int64)


# ---------------------------------------------------------------------------------------------
# unpack
# ---------------------------------------------------------------------------------------------


def unpack_mutant(killed_by, named):
    return mutant(of="unpack", killed_by=f"test_unpack_{killed_by}", named=named)


def shifted(words, shifts, mask):
    parts = np.ascontiguousarray(words).view(np.uint32)[:, None] >> shifts[:, None].astype(
        np.uint32
    )
    return (parts & np.uint32(mask)).astype(np.uint8)


@unpack_mutant("value", "it is in the lowest")
def unpack_high_bits_first(words, bits):
    parts = shifted(words, np.arange(0, 32, bits)[::-1], 2**bits - 1)
    return parts.reshape(-1, words.shape[1])


@unpack_mutant("value", "not masked away")
def unpack_without_mask(words, bits):
    return shifted(words, np.arange(0, 32, bits), 255).reshape(-1, words.shape[1])


@unpack_mutant("value", "they are neighbors")
def unpack_in_turns(words, bits):
    parts = shifted(words, np.arange(0, 32, bits), 2**bits - 1)
    return parts.swapaxes(0, 1).reshape(-1, words.shape[1])


@unpack_mutant("value", "4 bits wide")
def unpack_four_bits(words, bits):
    return shifted(words, np.arange(0, 32, 4), 15).reshape(-1, words.shape[1])


@unpack_mutant("value", "it is in the lowest")
def unpack_backwards(words, bits):
    return unpack(words[::-1], bits)[::-1]


@unpack_mutant("value", "shape")
def unpack_keeps_the_words_apart(words, bits):
    return unpack(words, bits).reshape(len(words), 32 // bits, words.shape[1])


@unpack_mutant("value", "transposed")
def unpack_transposed(words, bits):
    return unpack(words, bits).T


@unpack_mutant("is_the_way_back", "when the bits above are gone")
def unpack_into_uint32(words, bits):
    return unpack(words, bits).astype(np.uint32)


# ---------------------------------------------------------------------------------------------
# gptq_column
# ---------------------------------------------------------------------------------------------


def gptq_mutant(killed_by, named):
    return mutant(of="gptq_column", killed_by=f"test_gptq_column_{killed_by}", named=named)


def step(weight, i, U, scale, zero, bits, coefficients=None, divide=True, sign=-1, first=1):
    codes, rounded, _ = gptq_column(weight, i, np.eye(len(U)), scale, zero, bits)
    e = (weight[i] - rounded[i]) / (U[i, i] if divide else 1)
    row = U[i] if coefficients is None else coefficients
    rounded[i + first :] += sign * np.outer(row[i + first :], e)
    return codes, rounded, e


@gptq_mutant("value", "no feedback")
def gptq_without_feedback(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, sign=0)


@gptq_mutant("value", "wrong sign")
def gptq_adds_the_error(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, sign=1)


@gptq_mutant("value", "not divided by U_ii")
def gptq_divides_by_nothing(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, divide=False)


@gptq_mutant("value", "0 below the diagonal")
def gptq_takes_a_column(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, factor[:, i])


@gptq_mutant("value", "it is a row of U")
def gptq_takes_the_inverse(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, (factor.T @ factor)[i])


@gptq_mutant("value", "e has that division already")
def gptq_divides_twice(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, factor[i] / factor[i, i])


@gptq_mutant("value", "after the scaling")
def gptq_does_not_scale_the_zero(weight, i, factor, scale, zero, bits):
    codes = np.clip(np.rint(weight[i] / scale) + zero, 0, 2**bits - 1)
    new = weight.copy()
    new[i] = scale * codes - zero
    e = (weight[i] - new[i]) / factor[i, i]
    new[i + 1 :] -= np.outer(factor[i, i + 1 :], e)
    return codes.astype(np.uint8), new, e


@gptq_mutant("value", "row i gets feedback of its own")
def gptq_moves_what_is_rounded(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, first=0)


@gptq_mutant("value", "right after i gets no feedback")
def gptq_skips_a_row(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, first=2)


@gptq_mutant("value", "row i is not rounded")
def gptq_leaves_row_i(weight, i, factor, scale, zero, bits):
    codes, new, e = gptq_column(weight, i, factor, scale, zero, bits)
    new[i] = weight[i]
    return codes, new, e


@gptq_mutant("value", "larger than half a scale")
def gptq_forgets_the_range(weight, i, factor, scale, zero, bits):
    codes, new, _ = gptq_column(weight, i, factor, scale, zero, bits)
    e = (weight[i] - scale * np.rint(weight[i] / scale)) / factor[i, i]
    new[i + 1 :] = weight[i + 1 :] - np.outer(factor[i, i + 1 :], e)
    return codes, new, e


@gptq_mutant("is_the_best", "no feedback")
def gptq_of_the_first_input_only_rounds(weight, i, factor, scale, zero, bits):
    return step(weight, i, factor, scale, zero, bits, sign=0 if i == 0 else -1)


@gptq_mutant("manners", "changed in place")
def gptq_in_place(weight, i, factor, scale, zero, bits):
    codes, new, e = gptq_column(weight, i, factor, scale, zero, bits)
    weight[...] = new
    return codes, weight, e


@gptq_mutant("manners", "uint8 was expected")
def gptq_codes_of_float(weight, i, factor, scale, zero, bits):
    codes, new, e = gptq_column(weight, i, factor, scale, zero, bits)
    return codes.astype(float), new, e


# ---------------------------------------------------------------------------------------------
# packed_product
# ---------------------------------------------------------------------------------------------


def product_mutant(killed_by, named):
    return mutant(of="packed_product", killed_by=f"test_packed_product_{killed_by}", named=named)


def product(x, t, codes, scales, zeros, combine):
    return combine(x @ codes, t[:, :, None], scales[..., None, :], zeros[..., None, :])


@product_mutant("value", "the zeros are left out")
def product_without_zeros(x, sums, codes, scales, zeros):
    return product(x, sums, codes, scales, zeros, lambda p, t, s, z: s * p).sum(-3)


@product_mutant("value", "the zeros are not scaled")
def product_with_bare_zeros(x, sums, codes, scales, zeros):
    return product(x, sums, codes, scales, zeros, lambda p, t, s, z: s * p - z * t).sum(-3)


@product_mutant("value", "comes with every input's x")
def product_with_zeros_once(x, sums, codes, scales, zeros):
    return product(x, sums, codes, scales, zeros, lambda p, t, s, z: s * p - s * z).sum(-3)


@product_mutant("value", "the zeros are added")
def product_adds_zeros(x, sums, codes, scales, zeros):
    return product(x, sums, codes, scales, zeros, lambda p, t, s, z: s * (p + z * t)).sum(-3)


@product_mutant("value", "the scales are left out")
def product_without_scales(x, sums, codes, scales, zeros):
    return product(x, sums, codes, scales, zeros, lambda p, t, s, z: p - z * t).sum(-3)


@product_mutant("value", "averaged")
def product_of_mean_scales(x, sums, codes, scales, zeros):
    mean = np.broadcast_to(scales.mean(-2, keepdims=True), scales.shape)
    return packed_product(x, sums, codes, mean, zeros)


@product_mutant("value", "the groups are not summed")
def product_by_group(x, sums, codes, scales, zeros):
    return product(x, sums, codes, scales, zeros, lambda p, t, s, z: s * (p - z * t))


@product_mutant("value", "the third from the end")
def product_sums_the_first_axis(x, sums, codes, scales, zeros):
    return product(x, sums, codes, scales, zeros, lambda p, t, s, z: s * (p - z * t)).sum(0)


@product_mutant("value", "scaled since they were taken")
def product_takes_its_own_sums(x, sums, codes, scales, zeros):
    return packed_product(x, x.sum(2), codes, scales, zeros)


@product_mutant("manners", "float64 comes out")
def product_in_float64(x, sums, codes, scales, zeros):
    return packed_product(x.astype(np.float64), sums, codes, scales, zeros)


@product_mutant("manners", "changed in place")
def product_scales_the_codes_in_place(x, sums, codes, scales, zeros):
    out = packed_product(x, sums, codes, scales, zeros)
    codes *= scales[..., None, :]
    return out


# ---------------------------------------------------------------------------------------------
# inverse_factor
# ---------------------------------------------------------------------------------------------


def factor_mutant(killed_by, named):
    return mutant(of="inverse_factor", killed_by=f"test_inverse_factor_{killed_by}", named=named)


def damped(hessian, damping, size=None):
    size = np.mean(np.diag(hessian)) if size is None else size
    if not size:
        raise ValueError("no inverse")
    return hessian + damping * size * np.eye(len(hessian))


def upper(inverse):
    return np.linalg.cholesky(inverse).T


@factor_mutant("value", "a share of the mean diagonal")
def factor_damped_by_a_number(hessian, damping=0.01):
    return upper(np.linalg.inv(damped(hessian, damping, 1)))


@factor_mutant("value", "it is the mean")
def factor_damped_by_the_largest(hessian, damping=0.01):
    return upper(np.linalg.inv(damped(hessian, damping, np.diag(hessian).max())))


@factor_mutant("value", "U is Lᵀ")
def factor_that_is_lower(hessian, damping=0.01):
    return upper(np.linalg.inv(damped(hessian, damping))).T


@factor_mutant("value", "its inverse is wanted")
def factor_of_the_hessian(hessian, damping=0.01):
    return upper(damped(hessian, damping))


@factor_mutant("value", "U Uᵀ")
def factor_inverted_last(hessian, damping=0.01):
    return np.linalg.inv(upper(damped(hessian, damping)))


@factor_mutant("value", "its factor is wanted")
def factor_that_is_the_inverse(hessian, damping=0.01):
    return np.linalg.inv(damped(hessian, damping))


@factor_mutant("value", "damping is not used")
def factor_with_a_fixed_damping(hessian, damping=0.01):
    return inverse_factor(hessian)


@factor_mutant("refuses", "ValueError was expected")
def factor_of_nothing(hessian, damping=0.01):
    return upper(np.linalg.pinv(hessian + 1e-9 * np.eye(len(hessian))))


@factor_mutant("refuses", "changed in place")
def factor_damps_in_place(hessian, damping=0.01):
    out = inverse_factor(hessian.copy(), damping)
    hessian[...] += np.eye(len(hessian))
    return out
