"""Chapter 19. Quantization: what you write.

Plain functions of arrays and numbers; none of them changes what it is given. Weights lie as in the
files: inputs first, (in, out). `inverse_factor`, at the end, is for honor: it gives no points, and
there are no hints.
Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch19          grades this file
"""

import numpy as np  # noqa: F401


def group_scales(weight, bits, sym=False):
    """Scale and zero of one group of weights, so that its codes span its range.

    weight (group_size, out): the weights of a group, a column for each output. With low and high,
    the smallest and the largest of a column, and 2ᵇ - 1 steps between them, b = bits:

        scale = (high - low) / (2ᵇ - 1)         zero = round(-low / scale), within 1 … 2ᵇ - 1

    The range is made to contain 0: low is at most 0, high at least 0. With sym it is made
    symmetric, from -m to m, m the largest |w|, and the zero is 2ᵇ⁻¹. A scale of 0 becomes 1.
    Returns scale (out,), float16, and zero (out,), integers. The zero is computed with the scale as
    float16 has it. (Files hold zero - 1, so a zero of 0 cannot be.)

    >>> scale, zero = group_scales(np.array([[-1.0], [0.0], [0.5], [2.0]]), 2)
    >>> float(scale[0]), int(zero[0])         # marks at -1, 0, 1 and 2
    (1.0, 1)
    """
    raise NotImplementedError


def quantize_array(weight, bits, group_size, sym=False):
    """Round a matrix to the nearest codes: code = round(w / scale) + zero, kept in 0 … 2ᵇ - 1.

    weight (in, out); `in` is a multiple of group_size. Each group of group_size neighboring inputs
    has a scale and a zero for every output, those of `group_scales`. Halves are rounded to even, as
    np.rint does.
    Returns codes (in, out) uint8, scales (in / group_size, out) float16, and zeros of that shape,
    integers.

    >>> codes, scales, zeros = quantize_array(np.array([[-1.0], [2.0], [-1.0], [0.0]]), 2, 2)
    >>> codes[:, 0]
    array([0, 3, 0, 3], dtype=uint8)
    >>> scales[:, 0]
    array([1.    , 0.3333], dtype=float16)
    >>> zeros[:, 0].tolist()
    [1, 3]
    """
    raise NotImplementedError


def dequantize_array(codes, scales, zeros, g_idx=None):
    """scale · (code - zero), float32: the weights that the codes stand for.

    codes (in, out) integers; scales, zeros (groups, out). g_idx (in,): the group of each input; by
    default the groups are equally large and one after another.

    >>> dequantize_array(np.array([[1], [3]]), np.array([[0.5]]), np.array([[2]]))
    array([[-0.5],
           [ 0.5]], dtype=float32)
    """
    raise NotImplementedError


def pack(codes, bits):
    """Codes of `bits` bits into int32 words along the first axis, the lowest bits first.

    codes (n, m), integers of 0 … 2ᵇ - 1, n a multiple of 32 / bits. Word k of a column holds the
    codes from k · 32 / bits on, the first of them in its lowest bits.
    Returns (n · bits / 32, m) int32.

    >>> words = pack(np.array([[1], [2], [3], [0], [0], [0], [0], [15]]), 4)
    >>> words                                 # the highest bit is the sign
    array([[-268434655]], dtype=int32)
    >>> hex(int(words[0, 0]) % 2**32)         # 15 0 0 0 0 3 2 1
    '0xf0000321'
    """
    raise NotImplementedError


def unpack(words, bits):
    """The codes in int32 words: what `pack` has packed.

    words (k, m) int32. Returns (k · 32 / bits, m) uint8.

    >>> unpack(np.array([[-268434655]], np.int32), 4)[:, 0]
    array([ 1,  2,  3,  0,  0,  0,  0, 15], dtype=uint8)
    """
    raise NotImplementedError


def gptq_column(weight, i, factor, scale, zero, bits):
    """Round the weights of input i, and let those of the inputs after it make up for the error.

    weight (in, out); factor U (in, in), upper triangular; scale, zero (out,), those of input i.
    The weights of input i are rounded to the nearest code and back, w_i to ŵ_i. With

        e = (w_i - ŵ_i) / U_ii           w_j becomes w_j - U_ij e     for every input j > i

    (Frantar et al. 2022, algorithm 1). Inputs before i stay as they are.
    Returns codes (out,) uint8 of input i, the new weight (in, out), whose row i is ŵ_i, and e.

    >>> weight, factor = np.array([[0.4], [1.0]]), np.array([[1.0, 0.5], [0.0, 1.0]])
    >>> codes, new, e = gptq_column(weight, 0, factor, np.array([1.0]), np.array([2]), 2)
    >>> codes, e                              # 0.4 is rounded to 0, whose code is 2
    (array([2], dtype=uint8), array([0.4]))
    >>> new[:, 0]                             # 1.0 - 0.5 · 0.4
    array([0. , 0.8])
    """
    raise NotImplementedError


def packed_product(x, sums, codes, scales, zeros):
    """y = x Wᵀ for a W in few bits: codes are multiplied, scale and zero come once a group.

    x (groups, T, group_size): T rows of inputs, cut into groups; sums (groups, T): the sum of each
    group's inputs; codes (..., groups, group_size, out), floats that are whole numbers; scales,
    zeros (..., groups, out). With W_oi = s_go (q_io - z_go) for the inputs i of a group g,

        y_to = Σ_g s_go (Σ_{i in g} x_ti q_io - z_go Σ_{i in g} x_ti)

    Returns (..., T, out): axes in front are blocks of outputs, each with codes, scales and zeros of
    its own. The sums are given, since they are the same for all outputs; use them as they are.

    >>> x, codes = np.array([[[1.0, 2.0]]]), np.array([[[3.0], [1.0]]])
    >>> packed_product(x, x.sum(2), codes, np.array([[0.5]]), np.array([[2]]))
    array([[-0.5]])
    """
    raise NotImplementedError


def inverse_factor(hessian, damping=0.01):
    """U upper triangular with UᵀU = (H + λ I)⁻¹, λ = damping · the mean of H's diagonal.

    hessian H (n, n), symmetric, none of its eigenvalues negative. The diagonal of U is positive.
    Raises ValueError if H has no inverse even so.

    >>> inverse_factor(np.array([[2.0, 0.0], [0.0, 6.0]]), damping=0.5)      # λ = 2
    array([[0.5       , 0.        ],
           [0.        , 0.35355339]])
    """
    raise NotImplementedError
