"""Weights in few bits: scales of groups, codes, and how they are packed into words.

    W ≈ scale · (code - zero)         code, zero integers of `bits` bits

with a scale and a zero for every group of `group_size` weights that one output has for neighboring
inputs. Arrays are laid out as in Hugging Face's GPTQ files: inputs first, (in, out); groups first,
(groups, out).
"""

import functools

import numpy as np

BITS = (2, 4, 8)


def check_bits(bits):
    """Raise ValueError unless bits is 2, 4 or 8."""
    if bits not in BITS or isinstance(bits, bool):
        raise ValueError(f"bits must be 2, 4 or 8, not {bits!r}")


def group_scales(weight, bits, sym=False):
    """Scale and zero of the weights along the first axis, so that the codes span their range.

    weight (group_size, out). Returns scale (out,), of float16 as it is stored, and zero (out,),
    an integer. sym: the zero is 2ᵇ⁻¹, and the scale 2 max|w| / (2ᵇ - 1); else the scale is
    (max - min) / (2ᵇ - 1), of a range that contains 0, and the zero that which is nearest to 0, but
    not below 1, for files hold zero - 1.  (Frantar et al. 2022; Nagel et al. 2021, section 2.2.)

    >>> scale, zero = group_scales(np.array([[-1.0], [0.0], [0.5], [2.0]]), 2)
    >>> float(scale[0]), int(zero[0])
    (1.0, 1)
    """
    most = 2**bits - 1
    low, high = np.minimum(weight.min(0), 0), np.maximum(weight.max(0), 0)
    if sym:
        high = np.maximum(-low, high)
        low = -high
    with np.errstate(over="ignore"):  # refused below
        scale = ((high - low) / most).astype(np.float16)
    scale[scale == 0] = 1  # nothing but zeros, or less than float16 can tell from them
    if not np.isfinite(scale).all():
        raise ValueError("a weight is not finite, or too large for a scale in float16")
    if sym:
        return scale, np.full(scale.shape, 2 ** (bits - 1))
    return scale, np.clip(np.rint(-low / scale.astype(low.dtype)), 1, most).astype(int)


def narrowed_scales(weight, bits, sym=False):
    """As `group_scales`, but of the range that is rounded best: narrowed by up to a half.

    Of few codes each is dear: to cut off the few largest weights may cost less than wide steps for
    all. Takes, for each output, the narrowing of least squared error.
    """
    best = None
    for share in np.linspace(1, 0.5, 11):
        scale, zero = group_scales(share * weight, bits, sym)
        rounded = scale.astype(float) * (to_codes(weight, scale, zero, bits).astype(float) - zero)
        found = [np.sum((rounded - weight) ** 2, axis=0), scale, zero]
        better = slice(None) if best is None else found[0] < best[0]
        best = best or found
        for kept, new in zip(best, found):
            kept[better] = new[better]
    return best[1], best[2]


def to_codes(weight, scale, zero, bits):
    """round(w / scale) + zero, kept within 0 … 2ᵇ - 1; arrays that broadcast. Returns uint8."""
    codes = np.rint(weight / scale.astype(weight.dtype)) + zero
    return np.clip(codes, 0, 2**bits - 1).astype(np.uint8)


def quantize_array(weight, bits, group_size, sym=False):
    """Round a matrix to the nearest codes.

    weight (in, out), in a multiple of group_size. Returns codes (in, out) uint8, scales
    (in / group_size, out) float16, zeros of that shape.

    >>> codes, scales, zeros = quantize_array(np.array([[-1.0], [2.0], [-1.0], [0.0]]), 2, 2)
    >>> codes[:, 0], scales[:, 0], zeros[:, 0]
    (array([0, 3, 0, 3], dtype=uint8), array([1.    , 0.3333], dtype=float16), array([1, 3]))
    """
    check_bits(bits)
    groups = weight.reshape(-1, group_size, weight.shape[1])
    pairs = [group_scales(group, bits, sym) for group in groups]
    scales, zeros = (np.stack(arrays) for arrays in zip(*pairs))
    codes = to_codes(groups, scales[:, None], zeros[:, None], bits)
    return codes.reshape(weight.shape), scales, zeros


def dequantize_array(codes, scales, zeros, g_idx=None):
    """scale · (code - zero), float32.

    codes (in, out); scales, zeros (groups, out); g_idx (in,): the group of each input, by default
    one after another.

    >>> dequantize_array(np.array([[1], [3]]), np.array([[0.5]]), np.array([[2]]))
    array([[-0.5],
           [ 0.5]], dtype=float32)
    """
    if g_idx is None:
        g_idx = np.arange(len(codes)) // (len(codes) // len(scales))
    scales, zeros = (a.astype(np.float32)[g_idx] for a in (scales, zeros))
    return scales * (codes.astype(np.float32) - zeros)


def pack(codes, bits):
    """Integers of `bits` bits into int32 words along the first axis, lowest bits first.

    codes (n, m), n a multiple of 32 / bits. Returns (n · bits / 32, m) int32.

    >>> pack(np.array([[1], [2], [3], [0], [0], [0], [0], [15]]), 4)
    array([[-268434655]], dtype=int32)
    >>> hex(-268434655 % 2**32)
    '0xf0000321'
    """
    parts = codes.reshape(-1, 32 // bits, codes.shape[1]).astype(np.uint32)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)[:, None]
    return np.bitwise_or.reduce(parts << shifts, axis=1).view(np.int32)


def unpack(words, bits):
    """The integers in int32 words: what `pack` packed.  (k, m) -> (k · 32 / bits, m) uint8.

    >>> unpack(np.array([[-268434655]], np.int32), 4)[:, 0]
    array([ 1,  2,  3,  0,  0,  0,  0, 15], dtype=uint8)
    """
    shifts = np.arange(0, 32, bits, dtype=np.uint32)[:, None]
    parts = words.view(np.uint32)[:, None] >> shifts & np.uint32(2**bits - 1)
    return parts.astype(np.uint8).reshape(-1, words.shape[1])


def pack_bytes(codes, bits, group_size):
    """Codes into bytes for fast unpacking: (in, out) uint8 -> (groups, group_size·bits/8, out).

    A byte holds inputs that are a whole number of bytes' rows apart, so that taking the lowest bits
    of all bytes gives one run of neighboring inputs, and the next bits the next run.

    >>> pack_bytes(np.array([[1], [2], [3], [4]], np.uint8), 4, 4)[0, :, 0]
    array([49, 66], dtype=uint8)
    """
    parts = codes.reshape(-1, 8 // bits, group_size * bits // 8, codes.shape[1])
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None, None]
    return np.bitwise_or.reduce(parts << shifts, axis=1)


def unpack_bytes(packed, bits, out, scratch):
    """What stands in bytes, not shifted: (..., rows, w) -> (..., rows · 8/bits, w).

    A code of run i comes out 2^(bits · i) times too large: to divide its input by that is exact,
    and spares a pass over all codes (`run_sizes`). out, scratch: where the result is written, as
    floats for a product, and where it stands before, uint8, both of the result's shape.

    >>> packed, scratch = np.array([[49], [66]], np.uint8), np.empty((4, 1), np.uint8)
    >>> unpack_bytes(packed, 4, np.empty((4, 1)), scratch)[:, 0] / run_sizes(4, 4)
    array([1., 2., 3., 4.])
    """
    if bits == 8:
        np.copyto(out, packed, casting="unsafe")
        return out
    runs = (*packed.shape[:-2], 8 // bits, *packed.shape[-2:])
    np.bitwise_and(packed[..., None, :, :], _masks(bits), out=scratch.reshape(runs))
    np.copyto(out, scratch, casting="unsafe")
    return out


@functools.lru_cache
def _masks(bits):
    """The bits of each run in a byte, (8 / bits, 1, 1)."""
    masks = [(2**bits - 1) << i for i in range(0, 8, bits)]
    return np.array(masks, np.uint8)[:, None, None]


@functools.lru_cache
def run_sizes(bits, group_size):
    """By how much `unpack_bytes` makes each input's code of a group too large, (group_size,)."""
    return np.repeat(2.0 ** np.arange(0, 8, bits), group_size * bits // 8).astype(np.float32)
