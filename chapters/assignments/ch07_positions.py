"""Chapter 07. Positions: what you write.

The first two functions make tables of numbers: they return arrays, and have no gradient. The third
returns its value and `vjp`, a function that takes the gradient g of the loss with respect to the
value and returns a tuple with the gradient of x. Write plain NumPy; replace
`raise NotImplementedError` by your code.

    pytest tests/assignments -k ch07          grades this file
"""

import numpy as np


def sinusoidal_table(positions, dim, theta=10000.0, dtype=np.float32):
    """One vector for each position, made of sines and cosines  (Vaswani et al. 2017, section 3.5).

        PE[p, 2i]     = sin(p θ^(-2i/dim))
        PE[p, 2i + 1] = cos(p θ^(-2i/dim))        i = 0 … dim/2 - 1

    positions: integers (...); dim: the size of a vector, even; theta: the base of the wavelengths.
    Returns (..., dim) in `dtype`, in which sine and cosine take turns.

    >>> sinusoidal_table(np.array([0, 1, 2]), 4, theta=100.0, dtype=np.float64).round(4)
    array([[ 0.    ,  1.    ,  0.    ,  1.    ],
           [ 0.8415,  0.5403,  0.0998,  0.995 ],
           [ 0.9093, -0.4161,  0.1987,  0.9801]])
    """
    raise NotImplementedError


def rope_tables(positions, dim, theta=10000.0, dtype=np.float32):
    """Cosines and sines of the angles by which RoPE turns each position  (Su et al. 2021, 3.2.2).

        angle[p, i] = p θ^(-2i/dim)               i = 0 … dim/2 - 1

    positions: integers (...); dim: the size of a head, even; theta: the base of the wavelengths.
    Returns cos, sin, each (..., dim) in `dtype`: the dim/2 values twice over, one time for each
    half of a head, as Hugging Face's Qwen2 lays them out.

    >>> cos, sin = rope_tables(np.array([0, 1, 2]), 4, theta=100.0, dtype=np.float64)
    >>> cos.round(4)
    array([[ 1.    ,  1.    ,  1.    ,  1.    ],
           [ 0.5403,  0.995 ,  0.5403,  0.995 ],
           [-0.4161,  0.9801, -0.4161,  0.9801]])
    >>> sin.round(4)
    array([[0.    , 0.    , 0.    , 0.    ],
           [0.8415, 0.0998, 0.8415, 0.0998],
           [0.9093, 0.1987, 0.9093, 0.1987]])
    """
    raise NotImplementedError


def apply_rope(x, cos, sin):
    """Turn each pair (x_i, x_{i + d/2}) by the angle of its position  (Su et al. 2021, eq. 34).

    x (..., T, d); cos, sin: tables as `rope_tables` gives them, (T, d), or with more axes in front,
    which broadcast against those of x. The pairing is half-split: entry i of the first half goes
    with entry i of the second.

        y₁ = x₁ cos - x₂ sin          x₁, y₁: first halves,
        y₂ = x₂ cos + x₁ sin          x₂, y₂: second halves of the last axis

    Returns (out, vjp): out (..., T, d) in x's dtype; vjp(g (..., T, d)) -> (dx (..., T, d),).

    >>> cos, sin = np.array([[0.6, 1.0, 0.6, 1.0]]), np.array([[0.8, 0.0, 0.8, 0.0]])
    >>> out, vjp = apply_rope(np.array([[1.0, 2.0, 3.0, 4.0]]), cos, sin)
    >>> out                                           # (1, 3) is turned, (2, 4) stays
    array([[-1.8,  2. ,  2.6,  4. ]])
    >>> vjp(np.array([[1.0, 0.0, 0.0, 0.0]]))[0]
    array([[ 0.6,  0. , -0.8,  0. ]])
    """
    raise NotImplementedError


def llama3_scale(dim, theta, factor, original, low_freq_factor, high_freq_factor):
    """How Llama 3.1 reads texts `factor` times as long as those it was trained on.

    For honor: no hints, no points, a star on the scoreboard.

    Pair i turns by θ^(-2i/dim) a token; in a text of the `original` length it makes `turns` full
    turns. The frequency of a fast pair, of more than high_freq_factor turns, stays as it is. That
    of a slow one, of fewer than low_freq_factor, is divided by factor. Between the two, what
    multiplies the frequency goes in a straight line, in the number of turns, from 1/factor to 1.
    Returns (dim/2,) floats, what multiplies each frequency.
    (Grattafiori et al. 2024, "The Llama 3 herd of models", section 3.4.2.)

    >>> llama3_scale(8, 10000.0, 8.0, 1024, 1.0, 4.0).round(4)       # 163, 16, 1.6, 0.16 turns
    array([1.    , 1.    , 0.3087, 0.125 ])
    """
    raise NotImplementedError
