"""Attention: every mask, every shape of it, grouped heads, borders of blocks, and dropout.

The reference is the definition, written entry by entry (`attention_bias`, `attention_twin`).
"""

import math
import tracemalloc

import numpy as np
import pytest
from op_table import assert_close, attention_bias, attention_twin, outputs_and_gradients

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops
from tinyqwen.functional.attention import _blocks

attention = F.scaled_dot_product_attention
MASKS = ["(S,)", "(T, S)", "(1, 1, 1, S)", "(B, 1, 1, S)", "(B, 1, T, S)", "(1, H, T, S)",
         "(B, H, 1, S)", "(B, H, T, 1)", "(1, H, 1, 1)", "(B, H, T, S)"]  # fmt: skip


def inputs(rng, queries, keys, batch=2, heads=6, kv_heads=3, depth=10, width=7):
    """Odd, unequal sizes: equal ones would hide a transpose."""
    return [
        rng.standard_normal((batch, heads, queries, depth)),
        rng.standard_normal((batch, kv_heads, keys, depth)),
        rng.standard_normal((batch, kv_heads, keys, width)),
    ]


def check(arrays, **options):
    """Values and gradients, float64 and float32, against the twin; nothing may warn."""
    with np.errstate(all="raise", under="ignore"):
        expected = outputs_and_gradients(attention_twin, arrays, options)
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
            cast = [a.astype(dtype) for a in arrays]
            found = outputs_and_gradients(attention, cast, options)
            for part, reference in zip(found, expected):
                assert all(a.dtype == dtype for a in part)
                assert_close(part, reference, tolerance, f"attention {options}")
    return expected


# ---------------------------------------------------------------------------------------------
# By hand
# ---------------------------------------------------------------------------------------------


def test_by_hand():
    """Scores 0 and ln 3: weights 1/4 and 3/4."""
    q = np.array([[[[2.0]]]])
    k = np.array([[[[0.0], [math.log(3) / 2]]]])
    v = np.array([[[[1.0, 0.0], [0.0, 1.0]]]])
    np.testing.assert_allclose(attention(q, k, v).data, [[[[0.25, 0.75]]]], rtol=1e-15)
    np.testing.assert_allclose(attention(q, k, v, scale=0).data, [[[[0.5, 0.5]]]], rtol=1e-15)


def test_the_scale_is_one_over_root_depth(rng):
    q, k, v = inputs(rng, 3, 4, depth=16)
    np.testing.assert_array_equal(attention(q, k, v).data, attention(q, k, v, scale=0.25).data)


# ---------------------------------------------------------------------------------------------
# Masks
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries, keys", [(5, 5), (1, 6), (3, 8), (7, 4), (5, 1)])
def test_causal_and_window(queries, keys, causal, window, return_weights, rng):
    """Fewer queries than keys: the last sees all. More: the first ones see nothing."""
    arrays = inputs(rng, queries, keys)
    check(arrays, causal=causal, window=window, return_weights=return_weights)


def test_causal_aligns_the_last_query_with_the_last_key():
    q, k, v = (np.ones((1, 1, n, 2)) for n in (2, 4, 4))
    _, weights = attention(q, k, v, causal=True, return_weights=True)
    np.testing.assert_allclose(weights.data[0, 0], [[1 / 3, 1 / 3, 1 / 3, 0], [1 / 4] * 4])
    q = np.ones((1, 1, 4, 2))
    k = v = np.ones((1, 1, 2, 2))
    _, weights = attention(q, k, v, causal=True, return_weights=True)
    np.testing.assert_allclose(weights.data[0, 0], [[0, 0], [0, 0], [1, 0], [0.5, 0.5]])


def test_a_window_counts_the_query_itself():
    q = k = v = np.ones((1, 1, 4, 2))
    _, weights = attention(q, k, v, causal=True, window=2, return_weights=True)
    expected = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]]
    np.testing.assert_allclose(weights.data[0, 0], expected)


@pytest.mark.parametrize("kind", ["boolean", "float", "float with -inf"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask_shape", MASKS)
def test_masks_of_every_broadcast_shape(mask_shape, kind, causal, rng):
    sizes = {"B": 2, "H": 6, "T": 5, "S": 7, "1": 1}
    shape = tuple(
        sizes[letter] for letter in mask_shape.strip("()").replace(" ", "").split(",") if letter
    )
    mask = rng.standard_normal(shape)
    if kind == "boolean":
        mask = mask > -0.5
    elif kind == "float with -inf":
        mask = np.where(mask > -0.5, mask, -np.inf)
    check(inputs(rng, 5, 7), mask=mask, causal=causal)


def test_padding_changes_nothing_for_real_tokens(rng):
    q, k, v = inputs(rng, 6, 6)
    real = np.array([6, 4])
    keep = np.arange(6) < real[:, None]
    out = attention(q, k, v, mask=keep[:, None, None], causal=True).data
    alone = attention(q[1:, :, :4], k[1:, :, :4], v[1:, :, :4], causal=True).data
    np.testing.assert_allclose(out[1:, :, :4], alone, rtol=1e-12)


@pytest.mark.parametrize("window", [None, 2])
def test_a_later_token_never_changes_an_earlier_output(window, rng):
    q, k, v = inputs(rng, 70, 70)
    before = attention(q, k, v, causal=True, window=window).data
    for size, tolerance in ((1, 0), (1e3, 1e-12)):  # large scores may take another path: rounding
        for array in (q, k, v):
            array[:, :, 66:] = size * rng.standard_normal(array[:, :, 66:].shape)
        after = attention(q, k, v, causal=True, window=window).data
        np.testing.assert_allclose(after[:, :, :66], before[:, :, :66], rtol=tolerance, atol=0)
        assert (after[:, :, 66:] != before[:, :, 66:]).all()


@pytest.mark.parametrize("causal", [False, True])
def test_texts_packed_into_a_row_see_themselves_alone(causal, rng):
    """Blocks begin at 0, 32 and 64: texts end in them, at their border, and before them all."""
    lengths = [[20, 33, 17], [64, 6]]
    owner = np.stack([np.repeat(np.arange(len(row)), row) for row in lengths])
    arrays = inputs(rng, 70, 70)
    check(arrays, mask=owner[:, None, :, None] == owner[:, None, None, :], causal=causal)


def test_keys_of_texts_that_ended_are_not_multiplied():
    owner = np.arange(256)[None] // 64
    mask = owner[:, None, :, None] == owner[:, None, None, :]
    blocks = list(_blocks((1, 1, 256, 8), 256, mask, True, None))
    assert [(t.start, s.start, s.stop) for _, t, s in blocks] == [
        (t, t // 64 * 64, t + 32) for t in range(0, 256, 32)
    ]


def test_masks_combine(rng):
    mask = rng.standard_normal((2, 1, 9, 9)) > -1
    check(inputs(rng, 9, 9), mask=mask, causal=True, window=4, return_weights=True)


@pytest.mark.parametrize(
    "mask", [np.ones((5, 9), bool), np.ones((3, 1, 1, 7), bool), np.ones((2, 4, 5, 7), bool),
             np.ones((8,), bool), np.ones((1, 2, 6, 5, 7), bool)]
)  # fmt: skip
def test_a_mask_that_does_not_fit_is_refused(mask, rng):
    with pytest.raises(ValueError, match=r"attention: mask .* does not broadcast to"):
        attention(*inputs(rng, 5, 7), mask=mask)


def test_a_mask_of_integers_is_refused(rng):
    with pytest.raises(TypeError, match="attention: mask is int64; expected bool"):
        attention(*inputs(rng, 5, 7), mask=np.ones((2, 1, 1, 7), np.int64))


# ---------------------------------------------------------------------------------------------
# Rows that see nothing
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["boolean", "float"])
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_masked_out_gives_zeros_and_no_nan(kind, return_weights, dtype, rng):
    arrays = [tq.Tensor(a.astype(dtype), True) for a in inputs(rng, 5, 7)]
    mask = np.ones((2, 1, 5, 7), bool)
    mask[0, :, 2] = False  # one row
    mask[1] = False  # and a whole sequence
    if kind == "float":
        mask = np.where(mask, 0, -np.inf)
    with np.errstate(all="raise", under="ignore"):
        out = attention(*arrays, mask=mask, return_weights=return_weights)
        outs = out if return_weights else (out,)
        total = sum((o * rng.standard_normal(o.shape).astype(dtype)).sum() for o in outs)
        dq, dk, dv = tq.grad(total, arrays)
    for o in outs:
        assert not o.data[0, :, 2].any() and not o.data[1].any()
        assert o.data[0, :, 1].any() and np.isfinite(o.data).all()
    assert not dq[0, :, 2].any() and not any(g[1].any() for g in (dq, dk, dv))
    assert all(np.isfinite(g).all() and g[0].any() for g in (dq, dk, dv))


@pytest.mark.parametrize("queries, keys", [(0, 3), (3, 0), (0, 0), (1, 0)])
@pytest.mark.parametrize("causal", [False, True])
def test_no_queries_or_no_keys(queries, keys, causal, rng):
    arrays = [tq.Tensor(a, True) for a in inputs(rng, queries, keys)]
    with np.errstate(all="raise"):
        out, weights = attention(*arrays, causal=causal, return_weights=True)
        assert out.shape == (2, 6, queries, 7) and weights.shape == (2, 6, queries, keys)
        assert not out.data.any()
        alone = attention(*arrays, causal=causal)  # another path, for one query
        assert alone.shape == out.shape and not alone.data.any()
        for gradient, array in zip(tq.grad(out.sum(), arrays), arrays):
            assert gradient.shape == array.shape and not gradient.any()


@pytest.mark.parametrize("largest", [9, 30, 59, 61, 100, 300, 1000])
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_scores_of_every_size(largest, dtype, tolerance, rng):
    """Where exponentials would overflow, or all of a row's would vanish, softmax must not."""
    q = np.sqrt(largest) * np.array([1, 1, -1], dtype).reshape(1, 1, 3, 1)
    k = np.sqrt(largest) * np.array([1, 0.75, 0.98, -1], dtype).reshape(1, 1, 4, 1)
    v = rng.standard_normal((1, 1, 4, 3)).astype(dtype)
    mask = np.array([[True] * 4, [False, True, True, False], [True] * 3 + [False]])
    arrays = [a.astype(dtype) for a in (q, k, v)]
    for part in (mask, None):
        expected = outputs_and_gradients(
            attention_twin, [a.astype(np.float64) for a in arrays], {"mask": part}
        )
        found = outputs_and_gradients(attention, arrays, {"mask": part})
        assert_close(found[0], expected[0], tolerance * largest, "attention")
        assert all(np.isfinite(g).all() for g in found[1])


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("scale", [300.0, -300.0])
@pytest.mark.parametrize("toward", [1.0, -1.0])
def test_large_scores_of_any_sign_and_scale(queries, scale, toward):
    """Also of a single query, which has a way of its own, and where all of them are negative."""
    q = np.full((1, 1, queries, 1), toward, np.float32)
    k = np.array([1, 1 + 1e-2, 1 - 1e-2], np.float32).reshape(1, 1, 3, 1)
    v = np.array([1, 2, 4], np.float32).reshape(1, 1, 3, 1)
    with np.errstate(all="raise", under="ignore"):
        found = F.scaled_dot_product_attention(q, k, v, scale=scale).data
    scores = np.float64(toward) * k.astype(np.float64).ravel() * scale
    p = np.exp(scores - scores.max())
    expected = (p @ [1, 2, 4]) / p.sum()
    np.testing.assert_allclose(found, np.full((1, 1, queries, 1), expected), rtol=1e-4)


def test_scores_of_ten_thousand(rng):
    with np.errstate(all="raise", under="ignore"):
        q = tq.Tensor(np.array([1e4, -1e4], np.float32).reshape(1, 1, 2, 1), True)
        k = tq.Tensor(np.array([1, -1, 0], np.float32).reshape(1, 1, 3, 1), True)
        v = np.array([5, 6, 7], np.float32).reshape(1, 1, 3, 1)
        out = attention(q, k, v)
        np.testing.assert_array_equal(out.data.ravel(), [5, 6])
        assert all(not g.any() for g in tq.grad(out.sum(), [q, k]))


# ---------------------------------------------------------------------------------------------
# Grouped heads
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("heads, kv_heads", [(6, 6), (6, 3), (6, 2), (6, 1), (1, 1)])
def test_grouped_heads(heads, kv_heads, rng):
    check(inputs(rng, 4, 5, heads=heads, kv_heads=kv_heads), causal=True, return_weights=True)


def test_query_head_h_reads_its_own_group(rng):
    q, k, v = inputs(rng, 4, 5)
    out = attention(q, k, v).data
    for h in range(6):
        alone = attention(q[:, h : h + 1], k[:, h // 2 : h // 2 + 1], v[:, h // 2 : h // 2 + 1])
        np.testing.assert_allclose(out[:, h : h + 1], alone.data, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "change",
    [
        lambda q, k, v: (q[:, :5], k, v),
        lambda q, k, v: (q[:1], k, v),
        lambda q, k, v: (q, k[..., :9], v),
        lambda q, k, v: (q, k, v[:, :, :4]),
        lambda q, k, v: (q, k, v[:, :1]),
        lambda q, k, v: (q[0], k[0], v[0]),
    ],
)
def test_shapes_that_do_not_fit_are_named(change, rng):
    with pytest.raises(ValueError, match="attention: "):
        attention(*change(*inputs(rng, 4, 5)))


# ---------------------------------------------------------------------------------------------
# The weights, and their gradient
# ---------------------------------------------------------------------------------------------


def test_weights_are_probabilities_and_explain_the_output(rng):
    q, k, v = inputs(rng, 5, 7)
    out, weights = attention(q, k, v, causal=True, return_weights=True)
    assert weights.shape == (2, 6, 5, 7)
    np.testing.assert_allclose(weights.data.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose((weights @ np.repeat(v, 2, 1)).data, out.data, rtol=1e-12)
    np.testing.assert_allclose(attention(q, k, v, causal=True).data, out.data, rtol=1e-12)


@pytest.mark.parametrize("used", ["output", "weights", "both"])
def test_gradient_of_the_weights(used, rng):
    def fn(q, k, v):
        out, weights = attention(q, k, v, causal=True, return_weights=True)
        return {"output": out, "weights": weights, "both": (out, weights)}[used]

    tq.gradcheck(fn, *inputs(rng, 3, 4, batch=1, heads=4, kv_heads=2, depth=3, width=2))


# ---------------------------------------------------------------------------------------------
# Borders of blocks
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"causal": True, "window": 5},
        {"causal": True, "window": 64},
        {"window": 20},
        {"causal": True, "return_weights": True},
        {"causal": True, "window": 70, "return_weights": True},
    ],
    ids=str,
)
def test_block_borders(length, options, rng):
    check(inputs(rng, length, length, batch=2, heads=2, kv_heads=1, depth=4, width=3), **options)


@pytest.mark.parametrize("queries, keys", [(65, 130), (64, 65), (1, 130), (130, 65), (66, 1)])
def test_block_borders_with_unequal_lengths(queries, keys, rng):
    arrays = inputs(rng, queries, keys, batch=1, heads=2, kv_heads=2, depth=4, width=3)
    mask = rng.standard_normal((1, 1, queries, keys)) > -1
    check(arrays, mask=mask, causal=True, window=40, return_weights=True)
    check(arrays, mask=mask[:, :, :1], causal=True)


def test_many_sequences_at_once(rng):
    """Large enough that the batch is taken in pieces, with a mask of its own for each sequence."""
    arrays = inputs(rng, 130, 130, batch=9, heads=2, kv_heads=1, depth=4, width=3)
    keep = np.arange(130) < rng.integers(1, 131, (9, 1, 1, 1))
    check(arrays, mask=keep, causal=True)
    check(arrays, mask=keep)


@pytest.mark.parametrize("queries", [1, 20, 70])
def test_the_result_lies_as_merged_heads_do(queries, rng):
    out = attention(*inputs(rng, queries, 70), causal=True)
    assert np.shares_memory(F.merge_heads.raw(out.data)[0], out.data)


def test_inputs_may_be_views(rng):
    """(B, T, H, D) with its axes swapped, as a model makes them; and all from one projection."""
    fused = rng.standard_normal((2, 70, 4 + 2 + 2, 6))
    q, k, v = (a.swapaxes(1, 2) for a in np.split(fused, [4, 6], axis=2))
    check([q, k, v], causal=True)


# ---------------------------------------------------------------------------------------------
# Dropout
# ---------------------------------------------------------------------------------------------


def test_dropout_of_the_weights(rng):
    """Zeroed with probability p, the others scaled by 1/(1-p): the mean over draws stays."""
    p, keys = 0.3, 8
    q, k = np.zeros((1, 1, 4000, 2)), np.zeros((1, 1, keys, 2))
    v = rng.standard_normal((1, 1, keys, 3))
    out, weights = attention(q, k, v, dropout=p, return_weights=True)
    np.testing.assert_allclose(np.unique(weights.data), [0, 1 / keys / (1 - p)], rtol=1e-6)
    share = (weights.data == 0).mean()
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / weights.size)  # four standard errors
    np.testing.assert_allclose(out.data, (weights @ v).data, rtol=1e-6, atol=1e-7)
    assert len({tuple(row) for row in (weights.data[0, 0] > 0).tolist()}) > 200  # rows differ


@pytest.mark.parametrize("length", [5, 65])
@pytest.mark.parametrize("return_weights", [False, True])
def test_gradient_through_dropout(length, return_weights, rng):
    """With one seed the mask is known from the weights, and the twin can use it."""
    arrays = inputs(rng, length, length, batch=1, heads=2, kv_heads=1, depth=3, width=2)

    def dropped(q, k, v, weights_too=return_weights):
        tq.manual_seed(11)
        return attention(q, k, v, causal=True, dropout=0.4, return_weights=weights_too)

    _, weights = dropped(*arrays, weights_too=True)
    kept = (weights.data > 0) / 0.6

    def twin(q, k, v):
        _, weights = attention_twin(q, k, v, causal=True, return_weights=True)
        weights = weights * kept
        out = weights @ ops.concat([v, v], 1)
        return (out, weights) if return_weights else out

    found = outputs_and_gradients(dropped, arrays, {})
    expected = outputs_and_gradients(twin, arrays, {})
    for part, reference in zip(found, expected):
        assert_close(part, reference, 1e-6, "attention with dropout")  # 1/(1-p) may be float32


def test_dropout_in_one_piece(rng):
    """grouped_query_attention with the mask that its weights show."""
    arrays = inputs(rng, 5, 7)

    def dropped(q, k, v):
        tq.manual_seed(11)
        return F.grouped_query_attention(q, k, v, dropout=0.4)

    kept = (dropped(*arrays)[1].data > 0) / 0.6
    assert 0.2 < (kept == 0).mean() < 0.6

    def twin(q, k, v):
        weights = attention_twin(q, k, v, return_weights=True)[1] * kept
        return weights @ v[:, [0, 0, 1, 1, 2, 2]], weights

    expected = outputs_and_gradients(twin, arrays, {})
    for part, reference in zip(outputs_and_gradients(dropped, arrays, {}), expected):
        assert_close(part, reference, 1e-6, "attention with dropout")  # 1/(1-p) may be float32


def test_dropout_depends_on_the_seed_only(rng):
    arrays = inputs(rng, 5, 5)

    def draw(seed):
        tq.manual_seed(seed)
        return attention(*arrays, dropout=0.5).data

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


# ---------------------------------------------------------------------------------------------
# The reference itself
# ---------------------------------------------------------------------------------------------


def test_the_reference_bias_is_the_definition():
    bias = attention_bias(2, 4, None, causal=True, window=2)
    inf = np.inf
    np.testing.assert_array_equal(bias, [[-inf, 0, 0, -inf], [-inf, -inf, 0, 0]])


# ---------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------


def test_a_long_prompt_that_is_only_read(rng):
    """Two blocks' scores at a time; and of who sees whom nothing is kept for each of its pieces."""
    heads, piece, keys = 4, 128, 4096
    q, k = (rng.standard_normal((1, heads, n, 8), np.float32) for n in (piece, keys))
    block = heads * 32 * keys * 4  # bytes of 32 queries' scores
    tracemalloc.start()
    try:
        with tq.no_grad():
            for stop in range(piece, keys + 1, piece):
                seen = k[:, :, :stop]
                F.scaled_dot_product_attention(q, seen, seen, causal=True)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 2 * block <= peak < 2.5 * block
    assert left < block / 10
