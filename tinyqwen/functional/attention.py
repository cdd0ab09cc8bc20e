"""Scaled dot-product attention: grouped, masked, in blocks, with its VJP.

One primitive, the one where most of a Transformer's subtlety lives. Three ideas make it fast:

*Folding.* The H / H_kv query heads that share a key/value head are laid one after another along
the time axis, (B, H_kv, G·T, D). One matrix product serves the whole group, K and V are not copied,
and in the backward pass the product sums the gradients of the group by itself.

*Blocks.* Queries are taken BLOCK at a time, against the keys that some of them may see: causal
attention skips the upper half of the scores, and a sliding window all but a band.

*Late division.* The exponentials E stay unnormalized; their row sums l divide the output, which is
D wide, and not the scores, which are S wide (as Dao et al. 2022, section 3.1).
"""

import functools
import math

import numpy as np

from tinyqwen.autograd.grad_mode import is_grad_enabled
from tinyqwen.autograd.ops import softmax
from tinyqwen.autograd.random import dropout_mask
from tinyqwen.autograd.tensor import primitive

BLOCK = 32  # queries at a time
CHUNK = 1 << 17  # scores at a time: half a megabyte, so that the passes over them stay in L2


@primitive
def scaled_dot_product_attention(
    query,
    key,
    value,
    mask=None,
    causal=False,
    window=None,
    scale=None,
    dropout=0.0,
    return_weights=False,
):
    """softmax(Q Kᵀ · scale + mask) V   (Vaswani et al. 2017, eq. 1).

    query (B, H, T, D); key (B, H_kv, S, D); value (B, H_kv, S, D_v). H is a multiple of H_kv: query
    head h reads key/value head h // (H / H_kv)  (GQA, Ainslie et al. 2023).
    mask:   boolean, True where attention is allowed, or float, added to the scores; broadcasts to
            (B, H, T, S). causal: query t sees keys up to t + S - T, so the last sees all.
            window: none that lie `window` places back or more; it does not hide later ones, as
            causal does. All three combine.
    scale:  1/√D by default.  dropout: of the weights, drawn from `default_rng()`.
    Returns (B, H, T, D_v), with return_weights also the weights (B, H, T, S). A query that may see
    nothing gives zeros.

    With P = softmax(S) and O = P V, row by row:
        dV = Pᵀ g,    dP = g Vᵀ,    dS = P (dP - Σ_keys P dP),
        dQ = dS K · scale,    dK = dSᵀ Q · scale,    and Σ_keys P dP = Σ_features g O.
    """
    groups = _groups(query, key, value)
    scale = 1 / math.sqrt(query.shape[3]) if scale is None else float(scale)
    plain = mask is None and window is None and not dropout and not return_weights
    if plain and query.shape[2] == 1 <= key.shape[2]:
        weights, (out, saved) = None, _one_query(query, key, value, scale, groups)
    else:
        out, weights, saved = _in_blocks(
            query, key, value, mask, causal, window, scale, dropout, return_weights, groups
        )

    def vjp(g):
        g, dweights = g if return_weights else (g, None)
        dquery = np.empty_like(query)
        # Not zeros_like: in the order in which heads are split, a row would be a short run.
        dkey, dvalue = (np.zeros(x.shape, x.dtype) for x in (key, value))
        for b, t, s, rows, e, l, kept in saved:
            g_rows = _fold(np.divide(g[b, :, t], _unfold(l, groups), order="C"), groups)
            dvalue[b, :, s] += (e if kept is None else e * kept).swapaxes(-1, -2) @ g_rows
            de = g_rows @ value[b, :, s].swapaxes(-1, -2)
            if return_weights:
                de += _fold(dweights[b, :, t, s], groups) / l
            if kept is not None:
                de *= kept
            if return_weights:
                mean = np.vecdot(de, e)[..., None] / l
            else:
                mean = np.vecdot(_unfold(g_rows, groups), out[b, :, t]).reshape(l.shape)
            de -= mean
            de *= e  # dS
            np.multiply(_unfold(de @ key[b, :, s], groups), scale, out=dquery[b, :, t])
            dkey[b, :, s] += de.swapaxes(-1, -2) @ rows
        return dquery, dkey, dvalue

    return ((out, weights) if return_weights else out), vjp


def _one_query(query, key, value, scale, groups):
    """Attention of the last token, which sees all keys: nothing to cut into blocks or to mask.

    10 µs at config s, where `_in_blocks` takes 18, in every layer for every token. Returns the
    result and what the VJP wants, a single block.
    """
    batch, heads, _, depth = query.shape
    rows = query.reshape(batch, heads // groups, groups, depth) * scale
    e = rows @ key.swapaxes(-1, -2)
    e -= np.maximum.reduce(e, axis=-1, keepdims=True)
    np.exp(e, out=e)
    l = np.add.reduce(e, axis=-1, keepdims=True)
    out = e @ value
    out /= l
    return out.reshape(batch, heads, 1, -1), [(_ALL, _ALL, _ALL, rows, e, l, None)]


_ALL = slice(None)


def _in_blocks(query, key, value, mask, causal, window, scale, dropout, return_weights, groups):
    (batch, heads, length, _), keys = query.shape, key.shape[2]
    mask = _checked_mask(mask, (batch, heads, length, keys))
    # In the order in which heads are merged, so that there is nothing to copy.
    out = np.empty((batch, length, heads, value.shape[-1]), query.dtype).swapaxes(1, 2)
    weights = np.zeros((batch, heads, length, keys), query.dtype) if return_weights else None
    small = _are_small(query, key, scale, mask)
    saved = []
    for b, t, s in _blocks(query.shape, keys, mask, causal, window):
        rows = _fold(np.multiply(query[b, :, t], scale, order="C"), groups)
        scores = rows @ key[b, :, s].swapaxes(-1, -2)  # (b, H_kv, G·t, s)
        _add_masks(scores, groups, mask, (b, t, s), keys - length, causal, window)
        e, l = _exponentials(scores, small)
        drawn = (*e.shape[:3], s.stop)  # from key 0 on: where s starts depends on the rows beside
        kept = dropout_mask(drawn, dropout, e.dtype, b)[..., s] if dropout else None
        dropped = e if kept is None else e * kept
        part = dropped @ value[b, :, s]
        np.divide(_unfold(part, groups), _unfold(l, groups), out=out[b, :, t])
        if return_weights:
            weights[b, :, t, s] = _unfold(dropped / l, groups)
        if is_grad_enabled():  # else a long prompt would hold all its scores at once
            saved.append((b, t, s, rows, e, l, kept))
    return out, weights, saved


@primitive
def split_heads(x, head_dim):
    """(B, T, H·D) -> (B, H, T, D): head h is the features from h·D to (h+1)·D.  dx = merged g."""
    return _split(x, head_dim), lambda g: (_merge(g),)


@primitive
def merge_heads(x):
    """(B, H, T, D) -> (B, T, H·D): the heads side by side again.  dx = split g."""
    return _merge(x), lambda g: (_split(g, x.shape[-1]),)


def _split(x, head_dim):
    b, t, c = x.shape
    return x.reshape(b, t, c // head_dim, head_dim).swapaxes(1, 2)


def _merge(x):
    b, h, t, d = x.shape
    return x.swapaxes(1, 2).reshape(b, t, h * d)


@primitive
def repeat_kv(x, groups):
    """(B, H_kv, S, D) -> (B, H_kv·groups, S, D): each head `groups` times in a row, 0 0 1 1 …

    In a row, not in turns: query head h reads key/value head h // groups. dx = Σ over the copies.
    """
    b, h, s, d = x.shape
    return np.repeat(x, groups, axis=1), lambda g: (g.reshape(b, h, groups, s, d).sum(2),)


@primitive
def grouped_query_attention(query, key, value, mask=None, dropout=0.0):
    """softmax(Q Kᵀ / √D + mask) V, each key/value head read by several query heads, in one piece.

    query (B, H, T, D); key (B, H_kv, S, D); value (B, H_kv, S, D_v). Query head h reads key/value
    head h // (H / H_kv): with H_kv = H this is multi-head attention, with H_kv = 1 multi-query
    attention (Shazeer 2019), between them grouped-query attention (Ainslie et al. 2023).
    mask:    boolean, True where attention is allowed, or float, added to the scores; broadcasts to
             (B, H, T, S).  dropout: of the weights, drawn from `default_rng()`.
    Returns (out, weights): (B, H, T, D_v) and (B, H, T, S).

    The plain form, with keys and values repeated and all weights kept; it can show them. The fast
    one is `scaled_dot_product_attention`. With P = softmax(S), W = P dropped out, and O = W V:
        dV = Wᵀ gO,    dP = (gO Vᵀ + gW) dropped out,    dS = softmax's VJP of dP,
        dQ = dS K / √D,    dK = dSᵀ Q / √D;  repeated heads add their gradients up.
    """
    groups = _groups(query, key, value)
    _checked_mask(mask, (*query.shape[:3], key.shape[2]))
    keys, keys_vjp = repeat_kv.raw(key, groups)  # (B, H_kv, S, D) -> (B, H, S, D)
    values, values_vjp = repeat_kv.raw(value, groups)
    scale = 1 / math.sqrt(query.shape[3])
    scores = query @ keys.swapaxes(-1, -2) * scale  # (B, H, T, S)
    if mask is not None and mask.dtype == bool:
        scores = np.where(mask, scores, np.asarray(-np.inf, scores.dtype))
    elif mask is not None:
        scores = scores + mask.astype(scores.dtype)
    p, softmax_vjp = softmax.raw(scores)
    kept = dropout_mask(p.shape, dropout, p.dtype) if dropout else None
    weights = p if kept is None else p * kept

    def vjp(gradients):
        g, dweights = gradients
        dp = g @ values.swapaxes(-1, -2) + dweights
        (dscores,) = softmax_vjp(dp if kept is None else dp * kept)
        dscores = dscores * scale
        (dkey,) = keys_vjp(dscores.swapaxes(-1, -2) @ query)
        (dvalue,) = values_vjp(weights.swapaxes(-1, -2) @ g)
        return dscores @ keys, dkey, dvalue

    return (weights @ values, weights), vjp


@primitive
def cross_attention(query, key, value, head_dim, mask=None, dropout=0.0):
    """Attention from one text to another: softmax(Q Kᵀ / √D + mask) V, head by head.

    query (B, T, C), of the text that asks; key, value (B, S, C), of the text that is read. Head h
    is the features from h·D to (h+1)·D, with D = head_dim.  (Vaswani et al. 2017, 3.2.2 and 3.2.3.)
    mask:    boolean, True where attention is allowed, or float, added to the scores; broadcasts to
             (B, H, T, S).  dropout: of the weights, drawn from `default_rng()`.
    Returns (out, weights): (B, T, C), the heads side by side again, and (B, H, T, S).

    The heads are split, attended to and merged, so the gradients take the same way back.
    """
    heads, splits = zip(*(split_heads.raw(x, head_dim) for x in (query, key, value)))
    (out, weights), attention_vjp = grouped_query_attention.raw(*heads, mask, dropout)
    out, merge_vjp = merge_heads.raw(out)

    def vjp(gradients):
        g, dweights = gradients
        dheads = attention_vjp((*merge_vjp(g), dweights))
        return tuple(split_vjp(dx)[0] for split_vjp, dx in zip(splits, dheads))

    return (out, weights), vjp


def _groups(query, key, value):
    q, k, v = query.shape, key.shape, value.shape
    if not (len(q) == len(k) == len(v) == 4 and q[::3] == k[::3] and k[:3] == v[:3]):
        raise ValueError(
            f"attention: query {query.shape}, key {key.shape} and value {value.shape} do not fit; "
            "expected (B, H, T, D), (B, H_kv, S, D) and (B, H_kv, S, D_v)"
        )
    heads, kv_heads = q[1], k[1]
    if heads % kv_heads:
        raise ValueError(f"attention: {heads} query heads do not share {kv_heads} key/value heads")
    return heads // kv_heads


def _checked_mask(mask, shape):
    """The mask with four axes, each as long as in `shape` or 1."""
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype.kind not in "bf":
        raise TypeError(
            f"attention: mask is {mask.dtype}; expected bool (True where attention is allowed) "
            "or float (added to the scores)"
        )
    pairs = zip(reversed(mask.shape), reversed(shape))
    if mask.ndim > 4 or any(n not in (1, expected) for n, expected in pairs):
        raise ValueError(f"attention: mask {mask.shape} does not broadcast to {shape}")
    return mask.reshape((1,) * (4 - mask.ndim) + mask.shape)


def _fold(x, groups):
    """(B, H, T, D) -> (B, H_kv, G·T, D)."""
    b, h, t, d = x.shape
    return x.reshape(b, h // groups, groups * t, d)


def _unfold(x, groups):
    """(B, H_kv, G·T, D) -> (B, H, T, D)."""
    b, h, t, d = x.shape
    return x.reshape(b, h * groups, t // groups, d)


def _blocks(query_shape, keys, mask, causal, window):
    """Slices (batch, queries, keys) that together cover all scores that may be seen."""
    packed = mask is not None and mask.dtype == bool and mask.shape[2:] == (query_shape[2], keys)
    batch, heads, length, _ = query_shape
    size = BLOCK if causal or window else max(length, 1)
    for start in range(0, length, size):
        stop = min(start + size, length)
        first, last = 0, keys
        if causal:
            last = max(0, stop + keys - length)
        if window:
            first = max(0, start + keys - length - window + 1)
            first = min(first, last)
        step = max(1, CHUNK // max(1, heads * (stop - start) * (last - first)))
        for b in range(0, batch, step):
            texts, queries, begin = slice(b, b + step), slice(start, stop), first
            if packed:  # of texts in one row, those that ended before are left out
                seen = mask[texts if len(mask) > 1 else _ALL, :, queries, first:last].any((0, 1, 2))
                begin = first + int(seen.argmax()) if seen.any() else last
            yield texts, queries, slice(begin, last)


def _add_masks(scores, groups, mask, block, offset, causal, window):
    _, t, s = block
    batch, kv_heads, rows, keys = scores.shape
    grouped = scores.reshape(batch, kv_heads, groups, rows // groups, keys)
    if causal or window:
        first, bias = _band(t.start + offset - s.start, rows // groups, keys, causal, window)
        if bias is not None:
            grouped[..., first:] += bias.astype(scores.dtype, copy=False)
    if mask is not None:
        grouped += _mask_block(mask, block, kv_heads, groups, scores.dtype)


def _band(diagonal, rows, keys, causal, window):
    """(first, bias) of a block whose row 0 is at key position `diagonal`.

    bias: 0 and -inf for the columns from `first` on, None if all are allowed, as those before are.
    To leave them out makes runs short, on which NumPy is slow: `first` is 0 unless they are most.
    """
    first = 0 if window or 6 * (keys - diagonal - 1) >= keys else min(diagonal + 1, keys)
    return first, _bias(diagonal - first, rows, keys - first, causal, window)


@functools.lru_cache(maxsize=256)
def _bias(diagonal, rows, keys, causal, window):
    distance = diagonal + np.arange(rows)[:, None] - np.arange(keys)
    forbidden = (distance < 0) & bool(causal)
    if window:
        forbidden |= distance >= window
    return np.where(forbidden, np.float32(-np.inf), np.float32(0)) if forbidden.any() else None


def _mask_block(mask, block, kv_heads, groups, dtype):
    """The block's part of a mask that broadcasts to (B, H, T, S), as numbers to be added."""
    b, t, s = (
        part if n > 1 else slice(None)
        for part, n in zip(block, (mask.shape[0], mask.shape[2], mask.shape[3]))
    )
    part = mask[b, :, t, s]
    if part.dtype == bool:
        part = np.where(part, np.asarray(0, dtype), np.asarray(-np.inf, dtype))
    heads = (1, 1) if mask.shape[1] == 1 else (kv_heads, groups)
    return part.reshape(part.shape[0], *heads, *part.shape[2:]).astype(dtype, copy=False)


def _are_small(query, key, scale, mask):
    """Whether no score can be so large that its exponential would leave float32's range.

    By Cauchy and Schwarz |q · k| ≤ |q| |k|. Up to e⁴⁰ nothing overflows or vanishes, softmax needs
    no shift by the row's maximum, and finding that maximum is the dearest pass of all.
    """
    if mask is not None and mask.dtype != bool:
        return False
    q, k = (float(np.vecdot(x, x).max(initial=0)) for x in (query, key))
    return math.sqrt(q) * math.sqrt(k) * abs(scale) < 40  # False for NaN


def _exponentials(scores, small):
    """e^scores, in place, and the sums of its rows; a row of -inf becomes zeros and its sum 1.

    Unless all are known to be small, each row is first shifted by its maximum, which cancels in the
    quotient of the two.
    """
    if not small and scores.shape[-1]:
        top = scores.max(-1, keepdims=True)
        top[top == -np.inf] = 0
        scores -= top
    e = np.exp(scores, out=scores)
    l = e @ np.ones((e.shape[-1], 1), e.dtype)  # six times as fast as e.sum(-1)
    l[l == 0] = 1
    return e, l
