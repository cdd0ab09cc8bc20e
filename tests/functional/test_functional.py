"""The fused primitives against their composed twins, and what is particular to each.

Gradients, dtypes and views of all of them are checked in `test_ops.py`, attention and the losses
have files of their own.
"""

import numpy as np
import pytest
from hypothesis import given
from op_draws import draws
from op_table import FUSED, as_dtype, assert_close, ours, outputs_and_gradients

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd.random import seeded
from tinyqwen.functional import attention

with_twin = [op for op in FUSED if op.twin]


def test_every_fused_primitive_has_a_twin():
    assert {op.function for op in with_twin} == {op.function for op in FUSED}


@pytest.mark.parametrize("op", with_twin, ids=lambda op: op.name)
@given(r=draws)
def test_twin(op, r):
    """Values and gradients, under one random upstream gradient, in both precisions."""
    arrays, options = op.draw(r)
    expected = outputs_and_gradients(op.twin, arrays, options)
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        cast = [as_dtype(a, dtype) for a in arrays]
        found = outputs_and_gradients(
            ours(op), cast, {k: as_dtype(v, dtype) for k, v in options.items()}
        )
        if dtype == np.float32:  # what the inputs lost in the cast is not the primitive's fault
            exact = [as_dtype(a, np.float64) for a in cast]
            expected = outputs_and_gradients(op.twin, exact, options)
        for part, reference in zip(found, expected):
            assert_close(part, reference, tolerance, op.name)


# ---------------------------------------------------------------------------------------------
# One by one
# ---------------------------------------------------------------------------------------------


def test_linear_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"linear: x has 3 features.*\(2, 4\) takes 4"):
        F.linear(np.ones((5, 3)), np.ones((2, 4)))


def test_linear_by_hand():
    out = F.linear(
        np.array([[1.0, 2]]), np.array([[1.0, 0], [3, 4], [0, -1]]), np.array([0.5, 0, 0])
    )
    np.testing.assert_array_equal(out.data, [[1.5, 11, -2]])


WITH_GRADIENT = {"none": (), "one": (2,), "few": (0, 3, 11), "most": range(10), "all": range(12)}


@pytest.mark.parametrize("rows", WITH_GRADIENT.values(), ids=WITH_GRADIENT)
@pytest.mark.parametrize("first_column", [0.0, 1.0])
def test_linear_where_few_rows_have_a_gradient(rows, first_column, rng):
    """Left out of the products are rows of zeros, and those alone: not what begins with a 0."""
    x, weight, bias = (tq.Tensor(rng.standard_normal(s), True) for s in ((3, 4, 5), (6, 5), (6,)))
    g = np.zeros((12, 6))
    g[list(rows)] = rng.standard_normal((len(rows), 6)) * [first_column, 1, 1, 1, 1, 1]
    dx, dweight, dbias = tq.grad(F.linear(x, weight, bias), (x, weight, bias), g.reshape(3, 4, 6))
    np.testing.assert_allclose(dx.reshape(12, 5), np.einsum("no,oi->ni", g, weight.data))
    flat = x.data.reshape(12, 5)
    np.testing.assert_allclose(dweight, np.einsum("no,ni->oi", g, flat), atol=1e-14)
    np.testing.assert_allclose(dbias, np.einsum("no->o", g), atol=1e-14)


def test_linear_does_not_multiply_rows_without_a_gradient():
    x, g = np.ones((8, 2), np.float32), np.zeros((8, 3), np.float32)
    x[3], g[5] = np.inf, 1  # inf · 0 would be NaN
    weight = tq.Tensor(np.ones((3, 2), np.float32), True)
    dweight = tq.grad(F.linear(x, weight), weight, g)
    np.testing.assert_array_equal(dweight, np.ones((3, 2)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint64])
def test_embedding_adds_up_every_occurrence(dtype, order, rng):
    ids = rng.integers(0, 4, (3, 50)).astype(dtype)
    table = np.asarray(rng.standard_normal((6, 200)), order=order)
    weight, g = tq.Tensor(table, True), rng.standard_normal((3, 50, 200))
    one_hot = np.eye(6)[ids]
    np.testing.assert_array_equal(F.embedding(ids, weight).data, one_hot @ weight.data)
    dweight = tq.grad(F.embedding(ids, weight), weight, g)
    np.testing.assert_allclose(dweight, np.einsum("btv,btd->vd", one_hot, g), rtol=1e-12)
    assert not dweight[4:].any()


@pytest.mark.parametrize("padding_idx", [0, 2, -1])
def test_embedding_padding_row_gets_no_gradient(padding_idx):
    weight = tq.Tensor(np.ones((3, 2)), True)
    dweight = tq.grad(F.embedding([0, 1, 2, 2], weight, padding_idx).sum(), weight)
    expected = np.array([[1.0, 1], [1, 1], [2, 2]])
    expected[padding_idx] = 0
    np.testing.assert_array_equal(dweight, expected)


@pytest.mark.parametrize("ids", [[0, 5], [-1], [[2], [99]]])
def test_embedding_names_the_bad_id(ids):
    bad = np.ravel(ids)[-1]
    with pytest.raises(ValueError, match=rf"token id {bad} is out of range for a vocabulary of 5"):
        F.embedding(ids, np.ones((5, 2)))


@pytest.mark.parametrize("ids", [[0.0, 1.0], [True]])
def test_embedding_takes_integers_only(ids):
    with pytest.raises(TypeError, match="token ids must be integers"):
        F.embedding(np.array(ids), np.ones((5, 2)))


def test_embedding_of_nothing():
    weight = tq.Tensor(np.ones((5, 2)), True)
    out = F.embedding(np.zeros((2, 0), int), weight)
    assert out.shape == (2, 0, 2)
    np.testing.assert_array_equal(tq.grad(out.sum(), weight), np.zeros((5, 2)))


@pytest.mark.parametrize("name", ["rms_norm", "layer_norm"])
def test_norms_are_scale_invariant(name, rng):
    x, weight = rng.standard_normal((3, 7)), rng.standard_normal(7)
    bias = (rng.standard_normal(7),) if name == "layer_norm" else ()
    norm = getattr(F, name)
    np.testing.assert_allclose(
        norm(1000 * x, weight, *bias, eps=0.0).data,
        norm(x, weight, *bias, eps=0.0).data,
        rtol=1e-12,
    )


def test_rms_norm_by_hand():
    out = F.rms_norm(np.array([3.0, 4.0]), np.array([1.0, 10.0]), eps=0.0)
    np.testing.assert_allclose(out.data, np.array([3, 40]) / np.sqrt(12.5), rtol=1e-15)
    inside = F.rms_norm(np.zeros(2), np.ones(2), eps=1e-6)  # epsilon is under the root: no 0/0
    np.testing.assert_array_equal(inside.data, [0, 0])
    small = F.rms_norm(np.full(2, 1e-3), np.ones(2), eps=3e-6)
    np.testing.assert_allclose(small.data, [0.5, 0.5], rtol=1e-12)


def test_rope_tables_are_float64_inside():
    """At position 30,000 a float32 product would already be off by a thousandth of a radian."""
    cos, sin = F.rope_tables(np.array([0, 1, 30_000]), 4, theta=1e4)
    angles = np.array([0, 1, 30_000])[:, None] * np.array([1, 0.01, 1, 0.01])
    assert cos.dtype == sin.dtype == np.float32 and cos.shape == (3, 4)
    np.testing.assert_allclose(cos, np.cos(angles), atol=1e-7)
    np.testing.assert_allclose(sin, np.sin(angles), atol=1e-7)


def test_sinusoidal_table_by_its_formula_and_its_shift():
    """PE[p + 3] is PE[p] turned by one fixed angle for each pair, at position 30,000 too."""
    table = F.sinusoidal_table([0, 2, 30_000, 30_003], 4, dtype=np.float64)
    np.testing.assert_array_equal(table[0], [0, 1, 0, 1])
    np.testing.assert_allclose(table[1], [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)])
    for pair, frequency in ((slice(0, 2), 1), (slice(2, 4), 0.01)):
        c, s = np.cos(3 * frequency), np.sin(3 * frequency)
        turned = np.array([[c, s], [-s, c]]) @ table[2, pair]
        np.testing.assert_allclose(table[3, pair], turned, atol=1e-11)
    assert F.sinusoidal_table(5, 4).dtype == np.float32
    for make in (F.sinusoidal_table, F.rope_tables):
        with pytest.raises(ValueError, match="dim must be even, not 5"):
            make([0], 5)


def test_what_is_taken_where_nothing_is_said():
    """θ = 10,000; an ε of 1e-6 beside a mean square, and of 1e-5 beside a variance, as large as
    itself: then the result is 1/√2."""
    one, hundredth = np.exp(1j), np.exp(0.01j)
    for table, expected in (
        (F.sinusoidal_table([1], 4), [one.imag, one.real, hundredth.imag, hundredth.real]),
        (F.rope_tables([1], 4)[0], [one.real, hundredth.real] * 2),
        (F.rope_tables([1], 4)[1], [one.imag, hundredth.imag] * 2),
        (F.rms_norm(np.full((1, 2), 1e-3), None).data, [0.5**0.5] * 2),
        (F.layer_norm(np.array([[1, -1]]) * 1e-5**0.5, None, None).data, [0.5**0.5, -(0.5**0.5)]),
    ):
        np.testing.assert_allclose(table, [expected], rtol=1e-6)


def test_rope_turns_the_pair_one_half_apart():
    """A quarter turn: (x_i, x_{i + d/2}) -> (-x_{i + d/2}, x_i), half-split and not interleaved."""
    cos, sin = np.zeros((1, 4)), np.ones((1, 4))
    out = F.apply_rope(np.array([[1.0, 2, 3, 4]]), cos, sin)
    np.testing.assert_array_equal(out.data, [[-3, -4, 1, 2]])
    pair = np.array([1.0, 2])  # the smallest head there is, and tables of more axes
    out = F.apply_rope(pair, cos[:, :2], sin[:, :2])
    np.testing.assert_array_equal(out.data, [[-2, 1]])
    assert pair.tolist() == [1, 2]


def test_rope_scores_depend_on_the_distance_only(rng):
    q, k = rng.standard_normal((2, 1, 6))

    def score(m, n):
        turned = [
            F.apply_rope(x, *F.rope_tables([position], 6, 1e4, np.float64)).data
            for x, position in ((q, m), (k, n))
        ]
        return (turned[0] @ turned[1].T).item()

    assert score(5, 2) == pytest.approx(score(1003, 1000), abs=1e-12)
    assert abs(score(5, 2) - score(2, 5)) > 1e-3  # and it tells left from right


def test_rope_keeps_lengths_and_position_zero(rng):
    x = rng.standard_normal((2, 3, 5, 8))
    out = F.apply_rope(x, *F.rope_tables(np.arange(5), 8, 1e6, np.float64)).data
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-12)
    np.testing.assert_array_equal(out[:, :, 0], x[:, :, 0])


def test_swiglu_far_out():
    with np.errstate(all="raise", under="ignore"):
        gate = tq.Tensor(np.array([-1e4, 1e4], np.float32), True)
        out = F.swiglu(gate, np.array([3, 3], np.float32))
        np.testing.assert_array_equal(out.data, [0, 3e4])
        np.testing.assert_array_equal(tq.grad(out.sum(), gate), [0, 3])


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_far_out(approximate):
    with np.errstate(all="raise", under="ignore"):
        x = tq.Tensor(np.array([-1e4, 0, 1e4], np.float32), True)
        out = F.gelu(x, approximate)
        np.testing.assert_array_equal(out.data, [0, 0, 1e4])
        np.testing.assert_array_equal(tq.grad(out.sum(), x), [0, 0.5, 1])


def test_gelu_knows_two_forms():
    with pytest.raises(ValueError, match="gelu: approximate must be 'none' or 'tanh', not 'erf'"):
        F.gelu(np.ones(2), approximate="erf")


# ---------------------------------------------------------------------------------------------
# Dropout
# ---------------------------------------------------------------------------------------------


def test_dropout_keeps_the_expectation():
    x = np.ones(200_000, np.float32)
    out = F.dropout(x, 0.3).data
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((out == 0).mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / x.size)  # four standard errors


def test_dropout_gradient_goes_where_the_values_went(rng):
    x = tq.Tensor(rng.standard_normal((20, 20)), True)
    out = F.dropout(x, 0.5)
    g = rng.standard_normal((20, 20))
    np.testing.assert_array_equal(tq.grad(out, x, g), np.where(out.data == 0, 0, 2 * g))


def test_dropout_is_a_function_of_the_seed():
    def draw(seed):
        tq.manual_seed(seed)
        return F.dropout(np.ones(50), 0.5).data

    np.testing.assert_array_equal(draw(3), draw(3))
    assert (draw(3) != draw(4)).any()
    tq.manual_seed(3)
    assert (F.dropout(np.ones(50), 0.5).data != F.dropout(np.ones(50), 0.5).data).any()


@pytest.mark.parametrize("chunk", [1, attention.CHUNK])
def test_a_row_drops_the_same_beside_others_and_alone(rng, chunk, monkeypatch):
    """Plain, and in attention where the others' texts begin earlier; also when computed anew."""
    monkeypatch.setattr(attention, "CHUNK", chunk)
    q, k, v = rng.standard_normal((3, 3, 2, 40, 4))
    texts = np.arange(40) // np.array([40, 8, 25])[:, None]  # which text of its row a token is of
    packed = (texts[:, None, :, None] == texts[:, None, None]).astype(bool)

    def dropped(rows):
        def both(q, k, v):
            attended = F.scaled_dot_product_attention(
                q, k, v, mask=packed[rows], causal=True, dropout=0.5
            )
            return F.dropout(attended, 0.5)

        inputs = [tq.Tensor(a[rows], requires_grad=True) for a in (q, k, v)]
        with seeded((3,), range(rows.start, rows.stop)):
            out = both(*inputs)
            again = tq.checkpoint(both, *inputs)
            third = tq.checkpoint(both, *inputs)
            return [out.data, again.data, *tq.grad((third * third).sum(), inputs)]

    whole = dropped(slice(0, 3))
    assert (whole[0] != whole[1]).any()  # a second draw is another one
    for first, last in ((0, 1), (1, 2), (2, 3), (1, 3)):
        for alone, beside in zip(dropped(slice(first, last)), whole):
            np.testing.assert_allclose(alone, beside[first:last], rtol=1e-10, atol=1e-12)
    one = np.ones((2, 30))
    with seeded(3, range(2)):
        a, b = F.dropout(one, 0.5).data
    assert (a != b).any()


def test_dropout_off_and_total():
    x = np.arange(4.0)
    np.testing.assert_array_equal(F.dropout(x, 0.9, training=False).data, x)
    np.testing.assert_array_equal(F.dropout(x, 0.0).data, x)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(F.dropout(x, 1).data, np.zeros(4))


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_dropout_refuses_no_probability(p):
    with pytest.raises(ValueError, match="dropout: p must be between 0 and 1"):
        F.dropout(np.ones(2), p)
