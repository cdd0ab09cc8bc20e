"""Graders of chapter 19: scales, codes and back, words, the GPTQ step, and a product of codes."""

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
    check_example,
    check_manners,
    check_value,
    likely,
    normal,
    output,
    points,
    reference,
    rng,
)
from tinyqwen.course.calls import StudentError

TITLE = "Quantization"
ASSIGNED = {
    "group_scales": "tuning.packing",
    "quantize_array": "tuning.packing",
    "dequantize_array": "tuning.packing",
    "pack": "tuning.packing",
    "unpack": "tuning.packing",
    "gptq_column": "tuning.gptq",
    "packed_product": "tuning.packed_matrix",
    "inverse_factor": "tuning.gptq",
}
STRETCH = ("inverse_factor",)


def check_unchanged(fn):
    check(
        not fn.edited,
        f"{fn.__name__} changed its argument {' and '.join(map(str, fn.edited))}.",
        "an argument is changed in place (+=, x[...] = …): work on a copy",
    )


# ---------------------------------------------------------------------------------------------
# group_scales, 7 points
# ---------------------------------------------------------------------------------------------


def range_of(weight, sym=False, to_zero=True, axis=0):
    low, high = weight.min(axis), weight.max(axis)
    if to_zero:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if sym:
        high = np.maximum(-low, high)
        low = -high
    return low, high


def scales_of(weight, bits, sym=False, steps=None, half=np.float16, least=1, zero=None, **options):
    """(scale, zero) with a variation: another number of steps, another range, another zero."""
    most = 2**bits - 1
    low, high = range_of(weight, sym, **options)
    scale = ((high - low) / (steps or most)).astype(np.float16)
    scale[scale == 0] = 1
    if sym:
        return scale, np.full(scale.shape, 2 ** (bits - 1) if zero is None else zero(bits))
    exact = scale.astype(float) if half else np.where(high > low, (high - low) / most, 1)
    return scale, np.clip(np.rint(-low / exact), least, most).astype(int)


def scale_cases():
    """Columns of weights of both signs, of one sign, and with an outlier."""
    mixed = normal(7, 5)
    one_sided = np.abs(normal(6, 4)) + 0.5
    one_sided[:, :2] *= -1
    outlier = normal(9, 3) * 0.1
    outlier[4] += np.array([3.0, -3.0, 5.0])
    return [
        case(mixed, 4),
        case(normal(5, 3) * 30, 8, label="large weights"),
        case(normal(8, 4) + 0.4, 2),
        case(one_sided, 4, label="columns of one sign"),
        case(outlier, 4, label="an outlier in each column"),
    ]


SCALE_MISTAKES = {
    "there are 2ᵇ codes and 2ᵇ - 1 steps between them": lambda w, bits, sym=False: scales_of(
        w, bits, sym, steps=2**bits
    ),
    "there are 2ᵇ - 1 steps, not 2ᵇ - 2": lambda w, bits, sym=False: (
        None if sym else scales_of(w, bits, steps=2**bits - 2)
    ),
    "the range does not contain 0: where all weights have one sign, it begins or ends there": (
        lambda w, bits, sym=False: scales_of(w, bits, sym, to_zero=False)
    ),
    "the zero may be 0 here; files hold zero - 1, so it is at least 1": (
        lambda w, bits, sym=False: scales_of(w, bits, sym, least=0)
    ),
    "one scale for the whole group; each output has its own": lambda w, bits, sym=False: tuple(
        np.repeat(part, w.shape[1]) for part in scales_of(w.reshape(-1, 1), bits, sym)
    ),
    "the scales run over the inputs; a column is an output": lambda w, bits, sym=False: scales_of(
        w, bits, sym, axis=1
    ),
    "sym is not used": lambda w, bits, sym=False: scales_of(w, bits),
    "this is as with sym, which was not asked for": lambda w, bits, sym=False: scales_of(
        w, bits, True
    ),
    "the zero's sign is wrong: it is -low / scale": lambda w, bits, sym=False: (
        scales_of(w, bits, sym)[0],
        np.clip(
            np.rint(range_of(w)[0] / scales_of(w, bits)[0].astype(float)), 1, 2**bits - 1
        ).astype(int),
    ),
    "the symmetric zero is 2ᵇ⁻¹, not 2ᵇ⁻¹ - 1": lambda w, bits, sym=False: scales_of(
        w, bits, sym, zero=lambda b: 2 ** (b - 1) - 1
    ),
    "the symmetric scale has 2ᵇ⁻¹ - 1 steps on each side; it is 2 m / (2ᵇ - 1)": (
        lambda w, bits, sym=False: (
            (np.abs(w).max(0) / (2 ** (bits - 1) - 1)).astype(np.float16),
            scales_of(w, bits, True)[1],
        )
    ),
    "the range is that of the absolute values": lambda w, bits, sym=False: scales_of(
        np.abs(w), bits, sym
    ),
    "the zero is cut off; it is rounded": lambda w, bits, sym=False: (
        scales_of(w, bits, sym)[0],
        np.clip(-range_of(w)[0] / scales_of(w, bits)[0].astype(float), 1, 2**bits - 1).astype(int),
    ),
}
SCALE_OUTPUTS = ("scale", "zero")


@points(1, "group_scales: the example")
def test_group_scales_example(submission):
    """Four weights, two bits, a scale of 1."""
    check_example(submission.group_scales)


@points(3, "group_scales: value")
def test_group_scales_value(submission):
    """(high - low) / (2ᵇ - 1), of a range that contains 0, for each output."""
    check_value(
        submission.group_scales,
        scale_cases(),
        outputs=SCALE_OUTPUTS,
        mistakes=SCALE_MISTAKES,
        axes="out",
    )


@points(2, "group_scales: symmetric")
def test_group_scales_symmetric(submission):
    """From -m to m, and the zero in the middle: absmax."""
    cases = [case(*one.args, sym=True, label=one.label) for one in scale_cases()]
    check_value(
        submission.group_scales, cases, outputs=SCALE_OUTPUTS, mistakes=SCALE_MISTAKES, axes="out"
    )


@points(1, "group_scales: fit for the files")
def test_group_scales_edges(submission):
    """Nothing but zeros, the dtypes, the zero by the rounded scale; weights stay as they are."""
    fn = submission.group_scales
    empty = normal(4, 3)
    empty[:, 1] = 0
    tiny = np.concatenate([empty, np.full((4, 1), 1e-9)], axis=1)
    cases = [
        case(empty, 4),
        case(tiny, 4, label="less than float16 can hold"),
        case(empty, 4, sym=True),
    ]
    with likely("a scale of 0 becomes 1: what is all zeros can be divided by anything else"):
        check_value(fn, cases, outputs=SCALE_OUTPUTS, mistakes=SCALE_MISTAKES, axes="out")
    many = normal(3, 4000)
    scale, zero = output(fn, many, 8)
    check(
        scale.dtype == np.float16,
        f"group_scales: scale has dtype {scale.dtype}; float16 was expected.",
        "files hold scales as float16: `.astype(np.float16)`",
    )
    check(
        zero.dtype.kind in "iu",
        f"group_scales: zero has dtype {zero.dtype}; integers were expected.",
        "`.astype(int)` after the rounding",
    )
    check_close(
        zero,
        reference("group_scales")(many, 8)[1],
        "group_scales: zero, for 4,000 outputs in 8 bits",
        mistakes={
            "the zero is computed with the exact scale; codes are made with the rounded one": (
                scales_of(many, 8, half=None)[1]
            )
        },
    )
    fn(many, 4, sym=True)
    check_unchanged(fn)


# ---------------------------------------------------------------------------------------------
# quantize_array, 6 points
# ---------------------------------------------------------------------------------------------


def quantized(
    weight, bits, group_size, sym=False, rounding=np.rint, clip=True, shift=0, inside=False
):
    groups = weight.reshape(-1, group_size, weight.shape[1])
    pairs = [reference("group_scales")(g, bits, sym) for g in groups]
    s, z = (np.stack(parts) for parts in zip(*pairs))
    steps, zero = groups / s[:, None].astype(float), z[:, None]
    codes = (rounding(steps + zero) if inside else rounding(steps) + zero) + shift
    codes = np.clip(codes, 0, 2**bits - 1) if clip else codes.astype(int) % 256
    return codes.astype(np.uint8).reshape(weight.shape), s, z


def halves():
    """Eight weights for each of three outputs, scale 1 and an odd zero; many lie between two marks.

    Where they are rounded, and what is added before, is seen there alone.
    """
    low = -1.0 - 2 * rng().integers(0, 7)
    weight = low + rng().integers(0, 31, (8, 3)) / 2
    weight[0], weight[1], weight[2] = low, low + 15, low + 0.5
    return weight


def up(x):
    return np.floor(x + 0.5)


def quantize_cases():
    return [
        case(normal(8, 5), 4, 4),
        case(normal(6, 3) * 3, 2, 3),
        case(normal(10, 4), 8, 5),
        case(normal(12, 3), 4, 12, label="one group"),
        case(normal(6, 2), 4, 1, label="a group for every weight"),
        case(halves(), 4, 8, label="weights halfway between two marks"),
    ]


def one_scale(weight, bits, group_size, sym=False):
    codes, s, z = quantized(weight, bits, len(weight), sym)
    count = len(weight) // group_size
    return codes, np.repeat(s, count, axis=0), np.repeat(z, count, axis=0)


def in_turns(weight, bits, group_size, sym=False):
    """Group g has every so-manieth input."""
    count = len(weight) // group_size
    order = np.arange(len(weight)).reshape(group_size, count).T.reshape(-1)
    codes, s, z = quantized(weight[order], bits, group_size, sym)
    return codes[np.argsort(order)], s, z


def without_zero(weight, bits, group_size, sym=False):
    _, s, z = quantized(weight, bits, group_size, sym)
    bare = np.rint(weight / np.repeat(s, group_size, axis=0).astype(float))
    return np.clip(bare, 0, 2**bits - 1).astype(np.uint8), s, z


QUANTIZE_MISTAKES = {
    "the codes are cut off; they are rounded to the nearest": lambda *a, sym=False: quantized(
        *a, sym, rounding=np.trunc
    ),
    "the codes are rounded down; they are rounded to the nearest": lambda *a, sym=False: quantized(
        *a, sym, rounding=np.floor
    ),
    "the codes are one too small": lambda *a, sym=False: quantized(*a, sym, shift=-1),
    "the codes are one too large": lambda *a, sym=False: quantized(*a, sym, shift=1),
    "the zero is not added": without_zero,
    "codes run over: they must be kept in 0 … 2ᵇ - 1": lambda *a, sym=False: quantized(
        *a, sym, clip=False
    ),
    "one scale for the whole column; each group has its own": one_scale,
    "a group takes every so-manieth input; it takes neighbors": in_turns,
    "sym is not used": lambda *a, sym=False: quantized(*a),
    "the zero is added before the rounding: where it is odd, halves go to the other mark": (
        lambda *a, sym=False: quantized(*a, sym, inside=True)
    ),
    "halves are rounded up; of two marks the even one is taken, as np.rint does": (
        lambda *a, sym=False: quantized(*a, sym, rounding=up)
    ),
    "halves are rounded away from 0; of two marks the even one is taken, as np.rint does": (
        lambda *a, sym=False: quantized(*a, sym, rounding=lambda x: np.sign(x) * up(np.abs(x)))
    ),
}
QUANTIZE_OUTPUTS = ("codes", "scales", "zeros")
CODE_AXES = {"codes": "in out", "scales": "group out", "zeros": "group out"}


@points(1, "quantize_array: the example")
def test_quantize_array_example(submission):
    """Two groups of two weights in two bits."""
    check_example(submission.quantize_array)


@points(2, "quantize_array: value")
def test_quantize_array_value(submission):
    """Groups of neighbors, each with its scale; round, add the zero, clip."""
    check_value(
        submission.quantize_array,
        quantize_cases(),
        outputs=QUANTIZE_OUTPUTS,
        mistakes=QUANTIZE_MISTAKES,
        axes=CODE_AXES,
    )


@points(2, "quantize_array: half a step at most")
def test_quantize_array_error(submission):
    """No weight is off by more than half of its scale; symmetric too, but for the outermost."""
    for one in quantize_cases()[:3]:
        weight, bits, size = one.args
        codes, scales, zeros = output(submission.quantize_array, weight, bits, size)
        check_close(
            codes,
            quantized(weight, bits, size)[0],
            "quantize_array: the codes",
            case=f"weight {weight.shape}, {bits} bits, groups of {size}",
            mistakes={text: wrong(*one.args)[0] for text, wrong in QUANTIZE_MISTAKES.items()},
        )
        back = np.repeat(scales, size, 0).astype(float) * (
            codes.astype(float) - np.repeat(zeros, size, 0)
        )
        # Where the zero is rounded, the ends of the range lie half a step outside.
        worst = np.abs(back - weight) / np.repeat(scales, size, 0).astype(float)
        check(worst.max() < 1.01, f"quantize_array: a weight is off by {worst.max():.2f} scales.")
    cases = [case(*one.args, sym=True) for one in quantize_cases()[:3]]
    check_value(
        submission.quantize_array,
        cases,
        outputs=QUANTIZE_OUTPUTS,
        mistakes=QUANTIZE_MISTAKES,
        axes=CODE_AXES,
    )


@points(1, "quantize_array: fit for the files")
def test_quantize_array_manners(submission):
    """Codes are uint8; the weights stay as they are."""
    fn = submission.quantize_array
    weight = normal(8, 4, dtype=np.float32)
    codes, scales, _ = output(fn, weight, 4, 4)
    check(
        codes.dtype == np.uint8,
        f"quantize_array: codes have dtype {codes.dtype}; uint8 was expected.",
        "clip first, and then `.astype(np.uint8)`",
    )
    check(scales.dtype == np.float16, f"quantize_array: scales have dtype {scales.dtype}; float16.")
    fn(weight, 4, 4)
    check_unchanged(fn)
    one = case(weight, 4, 4, label="float32")
    check_value(fn, [one], outputs=QUANTIZE_OUTPUTS, mistakes=QUANTIZE_MISTAKES)


# ---------------------------------------------------------------------------------------------
# dequantize_array, 4 points
# ---------------------------------------------------------------------------------------------


def some_codes(n, out, groups, bits=4):
    codes = rng().integers(0, 2**bits, (n, out)).astype(np.uint8)
    scales = (0.1 + rng().random((groups, out))).astype(np.float16)
    return codes, scales, rng().integers(1, 2**bits, (groups, out))


def some_groups(n, groups):
    return rng().permutation(np.arange(n) % groups)


def decoded(codes, scales, zeros, g_idx=None, spread=None, combine=None):
    if g_idx is None:
        g_idx = np.arange(len(codes)) // (len(codes) // len(scales))
    s, z = (a[spread if spread is not None else g_idx].astype(np.float32) for a in (scales, zeros))
    q = codes.astype(np.float32)
    return (combine or (lambda s, q, z: s * (q - z)))(s, q, z)


def decode_cases():
    return [
        case(*some_codes(8, 5, 2)),
        case(*some_codes(6, 3, 3, bits=2)),
        case(*some_codes(5, 4, 1, bits=8), label="one group"),
        case(*some_codes(4, 2, 4), label="a group for every input"),
    ]


DECODE_MISTAKES = {
    "the zero is not subtracted": lambda *a, **o: decoded(*a, **o, combine=lambda s, q, z: s * q),
    "the zero is subtracted after the scaling: scale · (code - zero)": lambda *a, **o: decoded(
        *a, **o, combine=lambda s, q, z: s * q - z
    ),
    "the zero is added": lambda *a, **o: decoded(*a, **o, combine=lambda s, q, z: s * (q + z)),
    "codes are divided by the scale": lambda *a, **o: decoded(
        *a, **o, combine=lambda s, q, z: (q - z) / s
    ),
    "code - zero has run over: a uint8 has no negative numbers": lambda *a, **o: decoded(
        *a, **o, combine=lambda s, q, z: s * ((q - z) % 256)
    ),
    "code - zero has run over, a uint8 has no negative numbers, and float16 has rounded the rest": (
        lambda *a, **o: decoded(
            *a, **o, combine=lambda s, q, z: s.astype("f2") * ((q - z) % 256).astype("f2")
        )
    ),
    "groups are taken in turns, 0 1 0 1; they stand one after another, 0 0 1 1": (
        lambda c, s, z, g_idx=None: decoded(c, s, z, spread=np.arange(len(c)) % len(s))
    ),
    "all inputs take the first group's scale": lambda c, s, z, g_idx=None: decoded(
        c, s, z, spread=np.zeros(len(c), int)
    ),
    "g_idx is not used": lambda c, s, z, g_idx=None: decoded(c, s, z),
}


@points(1, "dequantize_array: the example")
def test_dequantize_array_example(submission):
    """Two codes, one scale, one zero."""
    check_example(submission.dequantize_array)


@points(2, "dequantize_array: value")
def test_dequantize_array_value(submission):
    """scale · (code - zero), with the scale and zero of the input's group."""
    check_value(
        submission.dequantize_array,
        decode_cases(),
        axes="in out",
        mistakes=DECODE_MISTAKES,
        rtol=1e-5,
    )


@points(1, "dequantize_array: groups out of order")
def test_dequantize_array_order(submission):
    """g_idx says which group an input belongs to; the result is float32."""
    fn = submission.dequantize_array
    cases = [
        case(*some_codes(9, 4, 3), some_groups(9, 3)),
        case(*some_codes(8, 3, 2, bits=8), g_idx=some_groups(8, 2)),
    ]
    check_value(fn, cases, axes="in out", mistakes=DECODE_MISTAKES, rtol=1e-5)
    for one in cases:
        weight = output(fn, *one.args, **one.options)
        check(
            weight.dtype == np.float32,
            f"dequantize_array: the weight has dtype {weight.dtype}; float32 was expected.",
            "scales are float16, zeros integers: make both float32 before anything is computed",
        )
        check_unchanged(fn)


# ---------------------------------------------------------------------------------------------
# pack, 5 points, and unpack, 4 points
# ---------------------------------------------------------------------------------------------


def packed(codes, bits, high_first=False, width=None, turns=False):
    count = 32 // bits
    parts = codes.reshape(-1, count, codes.shape[1]).astype(np.uint64)
    if turns:
        parts = codes.reshape(count, -1, codes.shape[1]).swapaxes(0, 1).astype(np.uint64)
    shifts = np.arange(count, dtype=np.uint64) * np.uint64(width or bits)
    shifts = shifts[::-1] if high_first else shifts
    words = (parts << shifts[:, None]).sum(1) & np.uint64(2**32 - 1)
    return words.astype(np.uint32).view(np.int32)


def pack_cases():
    return [
        case(rng().integers(0, 16, (16, 3)), 4),
        case(rng().integers(0, 4, (32, 5)), 2),
        case(rng().integers(0, 256, (12, 2)), 8),
        case(rng().integers(0, 16, (8, 8)), 4),
        case(np.full((8, 1), 15), 4, label="all bits set"),
        case(rng().integers(0, 16, (8, 4)).astype(np.uint8), 4, label="codes of uint8"),
    ]


def pack_along_columns(codes, bits):
    if codes.shape[1] % (32 // bits):
        return None
    return packed(codes.T, bits).T


PACK_MISTAKES = {
    "the first code is in the highest bits; it belongs in the lowest": lambda c, b: packed(
        c, b, high_first=True
    ),
    "codes are 4 bits apart, whatever `bits` is": lambda c, b: packed(c, b, width=4),
    "a word takes every so-manieth code; it takes neighbors": lambda c, b: packed(c, b, turns=True),
    "only the first code of every word is there": lambda c, b: (
        c[:: 32 // b].astype(np.uint32).view(np.int32)
    ),
    "words are made of a row's codes; they are made along the first axis": pack_along_columns,
    "codes are uint8, and what is shifted out of 8 bits is lost: make them uint32 first": (
        lambda c, b: packed(np.where(np.arange(len(c))[:, None] % (32 // b) * b < 8, c, 0), b)
    ),
}


@points(1, "pack: the example")
def test_pack_example(submission):
    """Eight codes of four bits in one word."""
    check_example(submission.pack)


@points(3, "pack: value")
def test_pack_value(submission):
    """Neighbors along the first axis, the lowest bits first."""
    with likely("codes are packed down a column: (n, m) are cut into (words, codes in a word, m)"):
        check_value(submission.pack, pack_cases(), axes="word column", mistakes=PACK_MISTAKES)


@points(1, "pack: words of 32 bits")
def test_pack_manners(submission):
    """int32, also where the highest bit is set; the codes stay as they are."""
    fn = submission.pack
    for one in pack_cases():
        words = output(fn, *one.args)
        check(
            words.dtype == np.int32,
            f"pack: the words have dtype {words.dtype}; int32 was expected.",
            "the same 32 bits, read as int32: `.view(np.int32)` of uint32",
        )
        check_unchanged(fn)
        check_close(words, packed(*one.args), "pack: the words", mistakes={})


def unpacked(words, bits, high_first=False, mask=None, signed=False, turns=False):
    kind = np.int64 if signed else np.uint32
    source = words.astype(np.int64) if signed else words.view(np.uint32)
    shifts = np.arange(0, 32, bits)
    shifts = shifts[::-1] if high_first else shifts
    parts = source[:, None] >> shifts[:, None].astype(kind)
    parts = parts & kind(mask or 2**bits - 1)
    if turns:
        parts = parts.swapaxes(0, 1)
    return parts.reshape(-1, words.shape[1]).astype(np.uint8)


def unpack_cases():
    words = rng().integers(-(2**31), 2**31, (3, 4)).astype(np.int32)
    return [
        case(words, 4),
        case(words[:2, :3], 2),
        case(words[:, ::2], 8, label="a view"),
        case(np.full((1, 2), -1, np.int32), 4, label="all bits set"),
    ]


UNPACK_MISTAKES = {
    "the first code is taken from the highest bits; it is in the lowest": lambda w, b: unpacked(
        np.ascontiguousarray(w), b, high_first=True
    ),
    "what stands above a code's bits is not masked away": lambda w, b: unpacked(
        np.ascontiguousarray(w), b, mask=255
    ),
    "the codes of a word stand a word's distance apart; they are neighbors": lambda w, b: unpacked(
        np.ascontiguousarray(w), b, turns=True
    ),
    "codes are 4 bits wide, whatever `bits` is": lambda w, b: unpacked(np.ascontiguousarray(w), 4),
}


@points(1, "unpack: the example")
def test_unpack_example(submission):
    """One word, eight codes."""
    check_example(submission.unpack)


@points(2, "unpack: value")
def test_unpack_value(submission):
    """Shift, mask, and neighbors along the first axis."""
    check_value(submission.unpack, unpack_cases(), axes="code column", mistakes=UNPACK_MISTAKES)


@points(1, "unpack: what was packed")
def test_unpack_is_the_way_back(submission):
    """Codes, packed and unpacked, are what they were; uint8."""
    fn = submission.unpack
    for one in pack_cases():
        codes, bits = one.args
        back = output(fn, packed(codes, bits), bits)
        words = packed(codes, bits)
        wrong = {text: mistake(words, bits) for text, mistake in UNPACK_MISTAKES.items()}
        check_close(back, codes, "unpack: the codes that were packed", mistakes=wrong)
        check(
            back.dtype == np.uint8,
            f"unpack: the codes have dtype {back.dtype}; uint8 was expected.",
            "`.astype(np.uint8)` when the bits above are gone",
        )
        check_unchanged(fn)


# ---------------------------------------------------------------------------------------------
# gptq_column, 9 points
# ---------------------------------------------------------------------------------------------


def upper(n):
    return np.triu(normal(n, n) * 0.5, 1) + np.diag(rng().uniform(0.5, 1.5, n))


def gptq_case(n, out, i, bits, **options):
    scale = rng().uniform(0.2, 0.6, out)
    zero = rng().integers(1, 2**bits - 1, out)
    return case(normal(n, out), i, upper(n), scale, zero, bits, **options)


def gptq_cases():
    return [
        gptq_case(6, 2, 2, 2),
        gptq_case(5, 3, 0, 4, label="the first input"),
        gptq_case(4, 4, 1, 4, label="as many outputs as inputs"),
        gptq_case(5, 3, 4, 8, label="the last input"),
        gptq_case(1, 2, 0, 4, label="one input"),
    ]


def column(weight, i, U, scale, zero, bits, row=None, divide=True, sign=-1, own=True, where=None):
    """The step with a variation: other entries of U, without U_ii, another sign …"""
    codes = np.clip(np.rint(weight[i] / scale) + zero, 0, 2**bits - 1)
    rounded = scale * (codes - zero)
    e = (weight[i] - rounded) / (U[i, i] if divide else 1)
    new = weight.copy()
    new[i] = rounded if own else weight[i]
    others = slice(i + 1, None) if where is None else where(i)
    new[others] += sign * np.outer((U[i] if row is None else row(U, i))[others], e)
    return codes.astype(np.uint8), new, e


def zero_unscaled(weight, i, U, scale, zero, bits):
    """The way back as scale · code - zero."""
    codes, new, _ = column(weight, i, U, scale, zero, bits)
    new[i] = scale * codes - zero
    e = (weight[i] - new[i]) / U[i, i]
    new[i + 1 :] = weight[i + 1 :] - np.outer(U[i, i + 1 :], e)
    return codes, new, e


def clipped_error(weight, i, U, scale, zero, bits):
    """The error of rounding alone, as if no code were at the end of the range."""
    codes, new, _ = column(weight, i, U, scale, zero, bits)
    e = (weight[i] - scale * np.rint(weight[i] / scale)) / U[i, i]
    new[i + 1 :] = weight[i + 1 :] - np.outer(U[i, i + 1 :], e)
    return codes, new, e


GPTQ_MISTAKES = {
    "no feedback: is it missing, or taken from a column of U, which is 0 below the diagonal?": (
        lambda *a: column(*a, sign=0)
    ),
    "the feedback has the wrong sign: it makes the error larger": lambda *a: column(*a, sign=1),
    "the error is not divided by U_ii": lambda *a: column(*a, divide=False),
    "the feedback takes the inverse's entries, UᵀU; it is a row of U": lambda *a: column(
        *a, row=lambda U, i: (U.T @ U)[i]
    ),
    "the row of U is divided by U_ii as well; e has that division already": lambda *a: column(
        *a, row=lambda U, i: U[i] / U[i, i]
    ),
    "the zero is subtracted after the scaling: back is scale · (code - zero)": zero_unscaled,
    "row i is not rounded in the new weight": lambda *a: column(*a, own=False),
    "row i gets feedback of its own": lambda *a: column(*a, where=lambda i: slice(i, None)),
    "the input right after i gets no feedback": lambda *a: column(
        *a, where=lambda i: slice(i + 2, None)
    ),
    "the error of a weight outside of the range is larger than half a scale; it counts in full": (
        clipped_error
    ),
}
GPTQ_OUTPUTS = ("codes", "the new weight", "e")
GPTQ_AXES = {"codes": "out", "the new weight": "in out", "e": "out"}


@points(1, "gptq_column: the example")
def test_gptq_column_example(submission):
    """Two weights, of which the second makes up for the first."""
    check_example(submission.gptq_column)


@points(4, "gptq_column: value")
def test_gptq_column_value(submission):
    """Round, divide the error by U_ii, and hand it on along row i of U."""
    check_value(
        submission.gptq_column,
        gptq_cases(),
        outputs=GPTQ_OUTPUTS,
        axes=GPTQ_AXES,
        mistakes=GPTQ_MISTAKES,
    )


@points(3, "gptq_column: the best that is left to do")
def test_gptq_column_is_the_best(submission):
    """No other change of the later inputs makes the layer's error smaller."""
    x = normal(30, 4) @ normal(4, 4)
    hessian = 2 * x.T @ x
    factor = np.linalg.cholesky(np.linalg.inv(hessian)).T
    weight = normal(4, 3)
    scale, zero = np.full(3, 0.7), np.full(3, 4)
    _, new, _ = output(submission.gptq_column, weight, 0, factor, scale, zero, 3 + 1)
    codes = np.clip(np.rint(weight[0] / scale) + zero, 0, 15)
    error = scale * (codes - zero) - weight[0]
    best = weight[1:] - np.linalg.solve(hessian[1:, 1:], np.outer(hessian[1:, 0], error))
    with likely("later inputs do not make up for the error as well as they could"):
        check_close(
            new[1:],
            best,
            "gptq_column: the later inputs, compared with the least squares solution,",
            axes="in out",
            mistakes={
                text: wrong(weight, 0, factor, scale, zero, 4)[1][1:]
                for text, wrong in GPTQ_MISTAKES.items()
            },
        )


@points(1, "gptq_column: fit for the algorithm")
def test_gptq_column_manners(submission):
    """codes are uint8, inputs before i untouched, and nothing is changed in place."""
    fn = submission.gptq_column
    for one in gptq_cases():
        codes, new, _ = output(fn, *one.args)
        check_unchanged(fn)
        check(
            codes.dtype == np.uint8,
            f"gptq_column: codes have dtype {codes.dtype}; uint8 was expected.",
            "clip to 0 … 2ᵇ - 1 first, and then `.astype(np.uint8)`",
        )
        i = one.args[1]
        with likely("inputs before i are rounded already, and must not move"):
            check_close(new[:i], one.args[0][:i], "gptq_column: the inputs before i")


# ---------------------------------------------------------------------------------------------
# packed_product, 5 points
# ---------------------------------------------------------------------------------------------


def product_case(groups, rows, size, out, bits=4, blocks=(), own=True, **options):
    """own: whether the sums are those of x, as they are, or of an x that was scaled afterwards."""
    codes = rng().integers(0, 2**bits, (*blocks, groups, size, out)).astype(float)
    scales = rng().uniform(0.5, 2, (*blocks, groups, out))
    zeros = rng().integers(1, 2**bits, (*blocks, groups, out)).astype(float)
    x = normal(groups, rows, size)
    return case(x, x.sum(2) * (1 if own else 3), codes, scales, zeros, **options)


def product_cases():
    return [
        product_case(2, 3, 4, 5),
        product_case(3, 1, 2, 4, bits=2, label="one row"),
        product_case(1, 2, 6, 3, label="one group"),
        product_case(3, 3, 3, 3, label="all sizes alike"),
        product_case(2, 3, 4, 2, blocks=(3,), label="three blocks of outputs"),
        product_case(2, 3, 4, 5, own=False, label="sums of an x that was scaled since"),
    ]


def product(x, t, codes, scales, zeros, combine=lambda p, t, s, z: s * (p - z * t)):
    parts = combine(x @ codes, t[:, :, None], scales[..., None, :], zeros[..., None, :])
    return parts.sum(-3)


def last_group(x, t, codes, scales, zeros):
    return product(x[-1:], t[-1:], codes[..., -1:, :, :], scales[..., -1:, :], zeros[..., -1:, :])


def mean_scales(x, t, codes, scales, zeros):
    return product(x, t, codes, scales.mean(-2, keepdims=True), zeros)


def variant(combine):
    return lambda *arrays: product(*arrays, combine=combine)


@points(1, "packed_product: the example")
def test_packed_product_example(submission):
    """One row, two inputs, one output."""
    check_example(submission.packed_product)


@points(2, "packed_product: value")
def test_packed_product_value(submission):
    """Codes, the zero times the sum of the inputs, and the scale around both."""
    check_value(
        submission.packed_product,
        product_cases(),
        axes="row out",
        mistakes={
            "the zeros are left out": variant(lambda p, t, s, z: s * p),
            "the zeros are not scaled": variant(lambda p, t, s, z: s * p - z * t),
            "the zero is subtracted once a group; it comes with every input's x": variant(
                lambda p, t, s, z: s * (p - z)
            ),
            "the zeros are added": variant(lambda p, t, s, z: s * (p + z * t)),
            "the scales are left out": variant(lambda p, t, s, z: p - z * t),
            "it is divided by the scales": variant(lambda p, t, s, z: (p - z * t) / s),
            "the scales of all groups are averaged: each belongs to its own products": mean_scales,
            "the groups are not summed": lambda x, t, codes, scales, zeros: (
                scales[..., None, :] * (x @ codes - t[:, :, None] * zeros[..., None, :])
            ),
            "only the last group counts; they are summed": last_group,
            "the mean over the groups is taken; they are summed": lambda *arrays: (
                product(*arrays) / len(arrays[0])
            ),
            "sums is not used: x may have been scaled since they were taken": (
                lambda x, t, *rest: product(x, x.sum(2), *rest)
            ),
            "the sum runs over the first axis; groups are the third from the end": (
                lambda x, t, c, s, z: (
                    s[..., None, :] * (x @ c - t[..., None] * z[..., None, :])
                ).sum(0)
            ),
        },
    )


@points(1, "packed_product: the dense product")
def test_packed_product_is_dense(submission):
    """The same as with all weights written out."""
    for one in product_cases()[:4]:
        x, sums, codes, scales, zeros = one.args
        dense = scales[:, None] * (codes - zeros[:, None])
        check_close(
            output(submission.packed_product, x, sums, codes, scales, zeros),
            np.einsum("gti,gio->to", x, dense),
            "packed_product, compared with the product of the dense weight,",
            axes="row out",
        )


@points(1, "packed_product: fit for the model")
def test_packed_product_manners(submission):
    """float32 in, float32 out; no argument is changed; views work."""
    check_manners(submission.packed_product, product_cases())


# ---------------------------------------------------------------------------------------------
# inverse_factor, a stretch
# ---------------------------------------------------------------------------------------------


def some_hessian(n, rows=None):
    x = normal(rows or 3 * n, n) * rng().uniform(0.3, 2, n)
    return 2 * x.T @ x


def factor_of(hessian, damping=0.01, size=None):
    n = len(hessian)
    size = np.mean(np.diag(hessian)) if size is None else size
    return np.linalg.cholesky(np.linalg.inv(hessian + damping * size * np.eye(n))).T


@points(0, "inverse_factor: the example")
def test_inverse_factor_example(submission):
    """A diagonal matrix."""
    check_example(submission.inverse_factor)


@points(0, "inverse_factor: value")
def test_inverse_factor_value(submission):
    """UᵀU is the inverse, and U is upper triangular."""
    check_value(
        submission.inverse_factor,
        [
            case(some_hessian(5)),
            case(some_hessian(4), damping=0.1),
            case(some_hessian(6, rows=3), label="fewer rows than inputs"),
            case(some_hessian(1)),
        ],
        axes="row column",
        mistakes={
            "it is not damped": lambda H, d=0.01: factor_of(H, 0),
            "damping itself is added; it is a share of the mean diagonal": lambda H, d=0.01: (
                factor_of(H, d, 1)
            ),
            "damping times the largest of the diagonal; it is the mean": lambda H, d=0.01: (
                factor_of(H, d, np.diag(H).max())
            ),
            "this is the lower factor, L Lᵀ; U is Lᵀ": lambda H, d=0.01: factor_of(H, d).T,
            "H itself is factored; its inverse is wanted": lambda H, d=0.01: (
                np.linalg.cholesky(H + d * np.mean(np.diag(H)) * np.eye(len(H))).T
            ),
            "the factor of H is inverted: that is U with U Uᵀ": lambda H, d=0.01: np.linalg.inv(
                np.linalg.cholesky(H + d * np.mean(np.diag(H)) * np.eye(len(H))).T
            ),
            "this is the inverse; its factor is wanted": lambda H, d=0.01: np.linalg.inv(
                H + d * np.mean(np.diag(H)) * np.eye(len(H))
            ),
        },
    )


@points(0, "inverse_factor: no inverse")
def test_inverse_factor_refuses(submission):
    """ValueError for a Hessian of nothing, and nothing is changed in place."""
    fn = submission.inverse_factor
    try:
        fn(np.zeros((3, 3)))
    except StudentError as error:
        told = str(error)
        fine = "raised ValueError" in told or "raised LinAlgError" in told  # which is one, too
        check(fine, f"all zeros: ValueError was expected.\n{error}")
    else:
        check(False, "inverse_factor: a Hessian of zeros: ValueError was expected.", "no check")
    fn(some_hessian(4))
    check_unchanged(fn)
