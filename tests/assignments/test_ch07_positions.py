"""Graders of chapter 07: sinusoidal_table, rope_tables, apply_rope."""

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
    check_example,
    check_manners,
    check_value,
    check_vjp,
    likely,
    normal,
    output,
    points,
    reference,
    rng,
)

TITLE = "Positions"
ASSIGNED = {
    "sinusoidal_table": "functional.positions",
    "rope_tables": "functional.positions",
    "apply_rope": "functional.positions",
    "llama3_scale": "functional.positions",
}
STRETCH = ("llama3_scale",)

TABLE_AXES = "batch position feature"
HEAD_AXES = "batch head time feature"
FLOAT32_ANGLES = "the angles are computed in float32: cast the sines and cosines, not the angles"
EXPONENTS_ZERO = "the exponents are all 0: // divides whole numbers, / does not"
DEGREES = "the angles are taken for degrees; NumPy's sine and cosine take radians"
TURNS = "the angles are multiplied by 2π: p θ^(-2i/dim) is one in radians already"
LAST_OF_QWEN = np.array([0, 1, 8_191, 30_001, 32_767])


STRETCHED = "tables 1.4 times as large, as YaRN's are"
FAR = "positions " + ", ".join(f"{p:,}" for p in LAST_OF_QWEN)


def some(*shape, below=200):
    """Positions in no order, some twice."""
    return rng().integers(0, below, shape)


def table_cases(**options):
    options = {"dtype": np.float64, **options}
    return [
        case(np.arange(1, 6), 8, **options),  # at 6, dim - 2 is as a theta of a million
        case(some(1, 5), 8, label="one row", **options),
        case(np.arange(11, 16), 8, label="later positions", **options),
        case(some(4), 2, **options),
        case(some(2, 3), 10, **options),
        case(np.arange(7, 10), 6, **options),
    ]


def angles(p, dim, theta=1e4, step=2, over=None):
    """p θ^(-step i/over) for i = 0 … dim/2 - 1."""
    return p[..., None] * theta ** (-step * np.arange(dim // 2) / (over or dim))


def taking_turns(a, b=None):
    """sin a, cos b, sin a, cos b …"""
    pairs = np.stack([np.sin(a), np.cos(a if b is None else b)], -1)
    return pairs.reshape(*a.shape[:-1], -1)


def twice(a):
    a = np.concatenate([a, a], -1)
    return np.cos(a), np.sin(a)


def check_dtypes(outs, name):
    for dtype, *arrays in outs:
        for array in arrays:
            check(
                getattr(array, "dtype", None) == dtype,
                f"{name}: with dtype={np.dtype(dtype).name} the result is "
                f"{getattr(array, 'dtype', type(array).__name__)}",
                "the argument dtype is not used (it is float32 by default)",
            )


# ---------------------------------------------------------------------------------------------
# sinusoidal_table, 6 points
# ---------------------------------------------------------------------------------------------


@points(1, "sinusoidal_table: the example")
def test_sinusoidal_table_example(submission):
    """The example in the docstring, with the frequencies 1 and 0.1."""
    check_example(submission.sinusoidal_table)


SINUSOIDAL_MISTAKES = {
    "all sines stand first, then all cosines; they take turns": lambda p, dim, theta=1e4, **_: (
        np.concatenate([np.sin(angles(p, dim, theta)), np.cos(angles(p, dim, theta))], -1)
    ),
    "even entries are sines and odd ones cosines; here it is the other way round": (
        lambda p, dim, theta=1e4, **_: taking_turns(
            angles(p, dim, theta) + np.pi / 2, angles(p, dim, theta) - np.pi / 2
        )
    ),
    "the exponent is i/dim; it is 2i/dim, where i counts the pairs": (
        lambda p, dim, theta=1e4, **_: taking_turns(angles(p, dim, theta, step=1))
    ),
    "theta is a million here; it is 10,000 if none is given": lambda p, dim, theta=1e4, **_: (
        taking_turns(angles(p, dim, 1e6))
    ),
    "the exponents are divided by dim - 2 where dim belongs": lambda p, dim, theta=1e4, **_: (
        taking_turns(angles(p, dim, theta, over=dim - 2))
    ),
    "2i counts twice: the exponents are 4i/dim": lambda p, dim, theta=1e4, **_: taking_turns(
        angles(p, dim, theta, step=4)
    ),
    EXPONENTS_ZERO: lambda p, dim, theta=1e4, **_: taking_turns(angles(p, dim, theta, step=0)),
    DEGREES: lambda p, dim, theta=1e4, **_: taking_turns(np.radians(angles(p, dim, theta))),
    TURNS: lambda p, dim, theta=1e4, **_: taking_turns(2 * np.pi * angles(p, dim, theta)),
    "the sine and the cosine of a pair have different frequencies": (
        lambda p, dim, theta=1e4, **_: taking_turns(
            angles(p, dim, theta), angles(p, dim, theta) * theta ** (-1 / dim)
        )
    ),
    "the frequencies grow: the exponent has lost its minus": lambda p, dim, theta=1e4, **_: (
        taking_turns(angles(p, dim, theta, step=-2))
    ),
    "positions are counted 0, 1, 2 …; their values are given": lambda p, dim, theta=1e4, **_: (
        taking_turns(angles(np.arange(p.size).reshape(p.shape), dim, theta))
    ),
    "positions are counted from 1": lambda p, dim, theta=1e4, **_: taking_turns(
        angles(p + 1, dim, theta)
    ),
}


@points(2, "sinusoidal_table: value")
def test_sinusoidal_table_value(submission):
    """Sine and cosine take turns, and each pair has one frequency."""
    check_value(
        submission.sinusoidal_table,
        table_cases(),
        axes=TABLE_AXES,
        mistakes=SINUSOIDAL_MISTAKES,
    )


@points(1, "sinusoidal_table: theta and dtype")
def test_sinusoidal_table_options(submission):
    """The base is an argument, and so is the dtype; one position alone gives one vector."""
    fn = submission.sinusoidal_table
    mistakes = {
        "the argument theta is not used": lambda p, dim, **_: taking_turns(angles(p, dim)),
        **SINUSOIDAL_MISTAKES,
    }
    check_value(fn, table_cases(theta=50.0), axes=TABLE_AXES, mistakes=mistakes)
    check_value(fn, [case(np.int64(3), 6, dtype=np.float64, label="one position")])
    p = np.arange(4)
    check_dtypes(
        [
            (np.float32, fn(p, 6)),
            (np.float64, fn(p, 6, dtype=np.float64)),
            (np.float16, fn(p, 6, dtype=np.float16)),
        ],
        "sinusoidal_table",
    )


@points(1, "sinusoidal_table: far positions")
def test_sinusoidal_table_far(submission):
    """At position 32,767 float32 angles are off by a thousandth; those of float64 are not."""
    fn, far = submission.sinusoidal_table, [case(LAST_OF_QWEN, 62, label=FAR)]
    known = {"axes": TABLE_AXES, "mistakes": SINUSOIDAL_MISTAKES}
    check_value(fn, far, rtol=0.1, **known)  # what is off by more has another reason
    with likely(FLOAT32_ANGLES):
        check_value(fn, far, axes=TABLE_AXES, rtol=1e-6)


@points(1, "sinusoidal_table: a shift is a rotation")
def test_sinusoidal_table_shift(submission):
    """PE[p + k] is PE[p] times a matrix that depends on k alone; inner products on k alone."""
    fn, dim, k = submission.sinusoidal_table, 6, 7
    p = some(5, below=1000)
    here, there = (output(fn, at, dim, dtype=np.float64) for at in (p, p + k))
    turned = np.empty_like(here)
    for i, angle in enumerate(angles(np.array(k), dim)):
        c, s = np.cos(angle), np.sin(angle)
        turned[:, 2 * i : 2 * i + 2] = here[:, 2 * i : 2 * i + 2] @ np.array([[c, -s], [s, c]])
    check_close(
        there, turned, f"PE[p + {k}], against PE[p] turned by {k} steps,", axes="position feature"
    )
    product = np.cos(angles(np.array(k), dim)).sum()
    check_close(
        (here * there).sum(-1),
        np.full(len(p), product),
        f"the inner product of PE[p] and PE[p + {k}], for any p,",
        axes="position",
    )


# ---------------------------------------------------------------------------------------------
# rope_tables, 6 points
# ---------------------------------------------------------------------------------------------


def each_twice(p, dim, theta=1e4, **_):
    a = np.repeat(angles(p, dim, theta), 2, axis=-1)
    return np.cos(a), np.sin(a)


INTERLEAVED = {
    "this is the layout of interleaved RoPE, c₀ c₀ c₁ c₁; halves need c₀ c₁ c₀ c₁": each_twice
}


@points(1, "rope_tables: the example")
def test_rope_tables_example(submission):
    """The example in the docstring, with the frequencies 1 and 0.1."""
    check_example(submission.rope_tables)


def every_entry(p, theta, end, dim):
    """An exponent for each of the dim entries, from 0 up to end/dim."""
    a = p[..., None] * theta ** (-np.linspace(0, end, dim, endpoint=False) / dim)
    return np.cos(a), np.sin(a)


def mirrored(a):
    a = np.concatenate([a, a[..., ::-1]], -1)
    return np.cos(a), np.sin(a)


ROPE_MISTAKES = {
    **INTERLEAVED,
    "the tables are half as wide: the dim/2 values belong there twice": (
        lambda p, dim, theta=1e4, **_: (
            np.cos(angles(p, dim, theta)),
            np.sin(angles(p, dim, theta)),
        )
    ),
    "every entry has a frequency of its own; the two of a pair share one": (
        lambda p, dim, theta=1e4, **_: every_entry(p, theta, dim, dim)
    ),
    "the exponent is i/dim; it is 2i/dim, where i counts the pairs": (
        lambda p, dim, theta=1e4, **_: twice(angles(p, dim, theta, step=1))
    ),
    "theta is a million here; it is 10,000 if none is given": (
        lambda p, dim, theta=1e4, **_: twice(angles(p, dim, 1e6))
    ),
    "the exponents are divided by dim - 2 where dim belongs": (
        lambda p, dim, theta=1e4, **_: twice(angles(p, dim, theta, over=dim - 2))
    ),
    "2i counts twice: the exponents are 4i/dim": (
        lambda p, dim, theta=1e4, **_: twice(angles(p, dim, theta, step=4))
    ),
    EXPONENTS_ZERO: lambda p, dim, theta=1e4, **_: twice(angles(p, dim, theta, step=0)),
    DEGREES: lambda p, dim, theta=1e4, **_: twice(np.radians(angles(p, dim, theta))),
    TURNS: lambda p, dim, theta=1e4, **_: twice(2 * np.pi * angles(p, dim, theta)),
    "the frequencies go on in the second half; there they are those of the first again": (
        lambda p, dim, theta=1e4, **_: every_entry(p, theta, 2 * dim, dim)
    ),
    "the second half runs backwards; it is the first one again": lambda p, dim, theta=1e4, **_: (
        mirrored(angles(p, dim, theta))
    ),
    "sin's first half has a minus: that sign is rotate_half's": lambda p, dim, theta=1e4, **_: (
        twice(angles(p, dim, theta))[0],
        np.concatenate([-np.sin(angles(p, dim, theta)), np.sin(angles(p, dim, theta))], -1),
    ),
    "the frequencies grow: the exponent has lost its minus": (
        lambda p, dim, theta=1e4, **_: twice(angles(p, dim, theta, step=-2))
    ),
    "cos and sin are returned in the wrong order": (
        lambda p, dim, theta=1e4, **_: twice(angles(p, dim, theta))[::-1]
    ),
    "positions are counted 0, 1, 2 …; their values are given": (
        lambda p, dim, theta=1e4, **_: twice(angles(np.arange(p.size).reshape(p.shape), dim, theta))
    ),
    "positions are counted from 1": lambda p, dim, theta=1e4, **_: twice(angles(p + 1, dim, theta)),
}


@points(3, "rope_tables: value")
def test_rope_tables_value(submission):
    """The dim/2 cosines twice over, and the sines of the same angles."""
    check_value(
        submission.rope_tables,
        table_cases(),
        axes=TABLE_AXES,
        outputs=("cos", "sin"),
        mistakes=ROPE_MISTAKES,
    )


@points(1, "rope_tables: theta and dtype")
def test_rope_tables_options(submission):
    """Qwen2.5 takes theta = 1,000,000; the default of the paper is 10,000."""
    fn = submission.rope_tables
    check_value(
        fn,
        table_cases(theta=1e6) + table_cases(theta=50.0),
        axes=TABLE_AXES,
        outputs=("cos", "sin"),
        mistakes={
            "the argument theta is not used": lambda p, dim, **_: twice(angles(p, dim)),
            **ROPE_MISTAKES,
        },
    )
    one = case(np.int64(3), 6, dtype=np.float64, label="one position")
    check_value(fn, [one], outputs=("cos", "sin"), mistakes=INTERLEAVED)
    p = np.arange(4)
    check_dtypes(
        [
            (np.float32, *fn(p, 6)),
            (np.float64, *fn(p, 6, dtype=np.float64)),
            (np.float16, *fn(p, 6, dtype=np.float16)),
        ],
        "rope_tables",
    )


@points(1, "rope_tables: far positions")
def test_rope_tables_far(submission):
    """At position 32,767 float32 angles are off by a thousandth; those of float64 are not."""
    fn, far = submission.rope_tables, [case(LAST_OF_QWEN, 62, label=FAR)]
    names = {"axes": TABLE_AXES, "outputs": ("cos", "sin")}
    check_value(fn, far, rtol=0.1, mistakes=ROPE_MISTAKES, **names)  # as for sinusoidal_table
    with likely(FLOAT32_ANGLES):
        check_value(fn, far, rtol=1e-6, **names)


# ---------------------------------------------------------------------------------------------
# apply_rope, 8 points
# ---------------------------------------------------------------------------------------------


def rope_case(*shape, positions=None, x=None, label=""):
    """x of this shape and tables for `positions`: 3, 4, 5 … if they are not given."""
    if positions is None:
        positions = np.arange(3, 3 + shape[-2])
    return case(normal(*shape), *twice(angles(positions, shape[-1], 100.0)), label=label)


def rope_cases():
    return [
        rope_case(5, 6),
        rope_case(2, 3, 5, 10),
        rope_case(3, 2, 4, 6, positions=some(3, 1, 4), label="other positions in each row"),
        rope_case(1, 2, label="one pair"),
        case(normal(2, 4, 6), *(1.4 * t for t in twice(angles(np.arange(4), 6))), label=STRETCHED),
        rope_case(2, 1, 1, 4),
        rope_case(2, 3, 0, 6, label="no token"),
    ]


def halves(x):
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]


def neighbors_turned(x):
    """(-x₁, x₀, -x₃, x₂ …)."""
    return np.stack([-x[..., 1::2], x[..., 0::2]], -1).reshape(x.shape)


def in_pairs(table):
    """c₀ c₁ c₀ c₁ -> c₀ c₀ c₁ c₁."""
    return np.repeat(halves(table)[0], 2, axis=-1)


def turned(x, cos, sin):
    x1, x2 = halves(x)
    return x * cos + np.concatenate([-x2, x1], -1) * sin


@points(1, "apply_rope: the example")
def test_apply_rope_example(submission):
    """The example in the docstring: a 3-4-5 triangle, worked out on paper."""
    check_example(submission.apply_rope)


@points(2, "apply_rope: value")
def test_apply_rope_value(submission):
    """Entry i turns with entry i + d/2, by the angle of its position."""

    def swapped(x):
        return np.concatenate(halves(x)[::-1], -1)

    def halves_exchanged(x, signs):
        x1, x2 = halves(x)
        return np.concatenate([signs[0] * x2, signs[1] * x1], -1)

    own = case(normal(3, 5, 6), *twice(angles(some(3, 5), 6)), label="a table for each text")
    check_value(
        submission.apply_rope,
        [*rope_cases(), own],
        axes=HEAD_AXES,
        mistakes={
            "the tables get an axis that they have not asked for; they broadcast as they are": (
                lambda x, cos, sin: reference("apply_rope")(
                    x, *(t[:, None] if t.ndim == 3 else t for t in (cos, sin))
                )[0]
            ),
            "this is interleaved RoPE, which pairs neighbors; Qwen2 rotates halves": (
                lambda x, cos, sin: x * cos + neighbors_turned(x) * sin
            ),
            "this is interleaved RoPE, with tables rearranged for it; Qwen2 rotates halves": (
                lambda x, cos, sin: x * in_pairs(cos) + neighbors_turned(x) * in_pairs(sin)
            ),
            "the rotation runs backwards: both signs of sin are wrong": (
                lambda x, cos, sin: turned(x, cos, -sin)
            ),
            "the minus is missing: (x₁, x₂) turns into (-x₂, x₁)": (
                lambda x, cos, sin: x * cos + halves_exchanged(x, (1, 1)) * sin
            ),
            "the halves are not exchanged before they are multiplied by sin": (
                lambda x, cos, sin: x * cos + x * sin
            ),
            "the halves are not exchanged: only the first one's sign changes": (
                lambda x, cos, sin: (
                    x * cos + np.concatenate([-halves(x)[0], halves(x)[1]], -1) * sin
                )
            ),
            "cos and sin are exchanged": lambda x, cos, sin: turned(x, sin, cos),
            "all entries are in reverse order beside sin; the two halves change places": (
                lambda x, cos, sin: x * cos + x[..., ::-1] * sin
            ),
            "all entries are in reverse order beside sin, and the first half has a minus; the two "
            "halves change places": lambda x, cos, sin: (
                x * cos + halves_exchanged(swapped(x[..., ::-1]), (-1, 1)) * sin
            ),
            "the tokens are cut into halves (axis -2), and not the entries": lambda x, cos, sin: (
                x * cos
                + np.concatenate(
                    [-x[..., x.shape[-2] // 2 :, :], x[..., : x.shape[-2] // 2, :]], -2
                )
                * sin
            ),
            "all tokens are turned by the angles of the first": lambda x, cos, sin: turned(
                x, cos[..., :1, :], sin[..., :1, :]
            ),
            "it is turned twice": lambda x, cos, sin: turned(turned(x, cos, sin), cos, sin),
            "only the first half is turned": lambda x, cos, sin: np.concatenate(
                [halves(turned(x, cos, sin))[0], halves(x)[1]], -1
            ),
            "only the second half is turned": lambda x, cos, sin: np.concatenate(
                [halves(x)[0], halves(turned(x, cos, sin))[1]], -1
            ),
            "the second half is computed from the first one after that was turned": (
                lambda x, cos, sin: np.concatenate(
                    [
                        halves(turned(x, cos, sin))[0],
                        halves(x)[1] * halves(cos)[1]
                        + halves(turned(x, cos, sin))[0] * halves(sin)[1],
                    ],
                    -1,
                )
            ),
            "the sine's part is missing": lambda x, cos, sin: x * cos,
            "every row is turned by the positions of the first": lambda x, cos, sin: (
                turned(x, cos[:1], sin[:1]) if cos.ndim == x.ndim else None
            ),
        },
    )


@points(1, "apply_rope: only the distance counts")
def test_apply_rope_relative(submission):
    """Lengths are kept; q at m and k at n score as they do at m + 1000 and n + 1000."""
    q, k, dim = normal(1, 6), normal(1, 6), 6

    def at(x, position):
        return output(submission.apply_rope, x, *twice(angles(np.array([position]), dim)))

    check_close(
        np.linalg.norm(at(q, 11)), np.linalg.norm(q), "the length of a vector after its rotation"
    )
    near, far = at(q, 5) @ at(k, 2).T, at(q, 1005) @ at(k, 1002).T
    check_close(
        far,
        near,
        "the score of query 1005 and key 1002, against that of query 5 and key 2,",
    )


@points(3, "apply_rope: gradient")
def test_apply_rope_vjp(submission):
    """The gradient turns back: Rᵀ g is g, rotated by the opposite angle."""

    def parts(g, cos, sin, signs):
        (g1, g2), (c, _), (s, _) = halves(g), halves(cos), halves(sin)
        return (np.concatenate([g1 * c + signs[0] * g2 * s, g2 * c + signs[1] * g1 * s], -1),)

    check_vjp(
        submission.apply_rope,
        rope_cases(),
        axes=HEAD_AXES,
        mistakes={
            "g is turned forward; a rotation's transpose turns back": (
                lambda x, cos, sin, g: parts(g, cos, sin, (-1, 1))
            ),
            "the sine's part of the gradient is missing": lambda x, cos, sin, g: (g * cos,),
            "both sines have a plus: y₁ has -x₂ sin, so one of them has a minus": (
                lambda x, cos, sin, g: parts(g, cos, sin, (1, 1))
            ),
            "both sines have a minus: only one of them does": (
                lambda x, cos, sin, g: parts(g, cos, sin, (-1, -1))
            ),
            "the halves of g are not exchanged before they are multiplied by sin": (
                lambda x, cos, sin, g: (g * cos + g * sin,)
            ),
            "the gradient is that of interleaved RoPE": lambda x, cos, sin, g: (
                g * in_pairs(cos) - neighbors_turned(g) * in_pairs(sin),
            ),
            "the gradient pairs neighbors, as interleaved RoPE does": lambda x, cos, sin, g: (
                g * cos - neighbors_turned(g) * sin,
            ),
            "g is not turned at all": lambda x, cos, sin, g: (g,),
        },
    )


@points(1, "apply_rope: fit for the model")
def test_apply_rope_manners(submission):
    """float32 in, float32 out; x, cos and sin are not changed; views work."""
    check_manners(submission.apply_rope, rope_cases())


# ---------------------------------------------------------------------------------------------
# llama3_scale, for honor
# ---------------------------------------------------------------------------------------------


def llama3(
    dim, theta, factor, original, low, high, per_turn=2 * np.pi, step=2.0, swap=False, by=None
):
    turns = original * theta ** (-step * np.arange(dim // 2) / dim) / per_turn
    if by == "wavelength":
        length = original / turns
        fast = (original / low - length) / (original / low - original / high)
    else:
        fast = (turns - low) / (high - low)
    fast = fast if by == "unclipped" else np.clip(fast, 0, 1)
    if by == "frequencies":
        return 1 / (fast + (1 - fast) * factor)
    return fast / factor + (1 - fast) if swap else (1 - fast) / factor + fast


@points(0, "llama3_scale: the example")
def test_llama3_scale_example(submission):
    """The example in the docstring: two fast pairs, one between, one slow."""
    check_example(submission.llama3_scale)


@points(0, "llama3_scale: value")
def test_llama3_scale_value(submission):
    """1 for fast pairs, 1/factor for slow ones, and a line in the turns between them."""
    draw = rng().integers
    cases = [
        case(int(2 * draw(12, 40)), float(draw(5, 60) * 1e4), float(draw(3, 30)), 2048, 1.0, 4.0)
        for _ in range(3)
    ]
    cases.append(case(64, 500000.0, 8.0, 8192, 1.0, 4.0, label="Llama 3.1"))
    cases.append(case(32, 1e4, 4.0, 300, 2.0, 9.0, label="other bands"))
    check_value(
        submission.llama3_scale,
        cases,
        axes="pair",
        mistakes={
            "slow and fast pairs are exchanged": lambda *a: llama3(*a, swap=True),
            "these are radians: a turn is 2π of them": lambda *a: llama3(*a, per_turn=1.0),
            "the line between the bands is not limited to 0 and 1": (
                lambda *a: llama3(*a, by="unclipped")
            ),
            "the line between the bands is one in the wavelength; it is one in the turns": (
                lambda *a: llama3(*a, by="wavelength")
            ),
            "between the bands 1/scale goes in a line; scale itself does": (
                lambda *a: llama3(*a, by="frequencies")
            ),
            "the frequencies are θ^(-i/dim); the exponent is -2i/dim": (
                lambda *a: llama3(*a, step=1.0)
            ),
            "the frequencies themselves are returned; what multiplies them is asked for": (
                lambda d, t, *a: llama3(d, t, *a) * t ** (-2.0 * np.arange(d // 2) / d)
            ),
            "all pairs are slowed alike: that is linear scaling": (
                lambda d, t, f, *a: np.full(d // 2, 1 / f)
            ),
            "the bands meet without a line between them: fast above low_freq_factor": (
                lambda d, t, f, o, low, high: llama3(d, t, f, o, low, low * (1 + 1e-12))
            ),
        },
    )
