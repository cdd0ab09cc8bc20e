"""erf, which NumPy lacks: the error function, in a few passes over an array."""

import math

import numpy as np

from tinyqwen.autograd.tensor import primitive

PIECE = 1 << 16  # entries at a time: three such arrays stay in a core's caches from pass to pass

# erf x = x P(x²) / Q(x²) for |x| up to 4 or 6, where erf rounds to 1; a little further, at the
# limit, the quotient is above 1, so that clipping gives 1 from there on. Minimax quotients, found
# by iterated weighted least squares in 60 digits. (Cody 1969, "Rational Chebyshev approximations
# for the error function", has one for each of three ranges.) Their relative error is 2.6e-8 and
# 5.5e-17; all coefficients are positive, so no digit cancels. Lowest first.
_COEFFICIENTS = {
    np.dtype(np.float32): (
        4.1,
        (1.12837914, 0.193214029, 0.0530580185, 0.00386928918, 0.000284269959, 1.98947424e-6),
        (1.0, 0.504564093, 0.11521323, 0.0151789362, 0.00118221167, 3.74328824e-5),
    ),
    np.dtype(np.float64): (
        6.03,
        (
            *(1.1283791670955126, 0.22056707666663509, 0.066182501585589531),
            *(0.0069092737553852489, 0.000857079476284592, 5.7130315794755409e-5),
            *(3.9068807603594904e-6, 1.6989227791310287e-7, 6.7573165024037603e-9),
            *(1.7168874717451591e-10, 3.3034763124208691e-12, 2.1840845463770507e-14),
            1.5290803893247774e-17,
        ),
        (
            *(1.0, 0.52880581554370674, 0.13492132008022562, 0.022025900052455856),
            *(0.0025703866117922581, 0.00022664902397388731, 1.5536707269295725e-5),
            *(8.3677089198936841e-7, 3.5195149013193624e-8, 1.1235980051508082e-9),
            *(2.5367866372260512e-11, 3.2699815732923588e-13, 8.6458863810663616e-16),
        ),
    ),
}


@primitive
def erf(x):
    """2/√π ∫₀ˣ e^(-t²) dt.  d/dx = 2/√π e^(-x²).

    x: float32 or float64. Off by up to 6 units in the last place, in float64 by up to 9.
    """
    limit, over, under = _COEFFICIENTS[x.dtype]
    out, flat = np.empty(x.shape, x.dtype), np.ascontiguousarray(x).reshape(-1)
    results = out.reshape(-1)
    for start in range(0, flat.size, PIECE):
        piece = np.clip(flat[start : start + PIECE], -limit, limit)
        square = piece * piece
        piece *= _polynomial(over, square)
        piece /= _polynomial(under, square)
        np.clip(piece, -1, 1, out=results[start : start + PIECE])
    return out, lambda g: (g * (2 / math.sqrt(math.pi)) * np.exp(-x * x),)


def _polynomial(coefficients, x):
    """Horner's rule, lowest coefficient first."""
    *others, highest = coefficients
    out = x * x.dtype.type(highest)
    for coefficient in others[:0:-1]:
        out += x.dtype.type(coefficient)
        out *= x
    out += x.dtype.type(others[0])
    return out
