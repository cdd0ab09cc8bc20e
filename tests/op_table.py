"""All primitives in one table: how to draw inputs for each, and what to compare it with.

A new primitive costs one line. The tests that read the table: `test_ops.py` (gradients, dtypes),
`test_functional.py` (twins), `test_parity_torch_ops.py` (against PyTorch where it is installed) and
`test_reference_arrays.py` (against arrays that PyTorch once wrote). Each line draws its inputs from
a `random.Random`, whose seed hypothesis draws in the one case and is fixed in the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from op_draws import (
    along_axis,
    booleans,
    choice_of_two,
    expanded,
    flipped,
    integer_power,
    integers,
    joined,
    masked,
    nonempty,
    normal,
    one,
    one_distinct,
    one_positive,
    pair,
    pair_distinct,
    picked,
    pieces,
    power,
    product,
    quotient,
    reduction,
    reduction_axis,
    reduction_distinct,
    reshaped,
    shape,
    squeezed,
    stacked,
    stream,
    stretched,
    summation,
    swapped,
    transposed,
    triangle,
    variance,
)

import tinyqwen as tq
from tinyqwen import functional as F
from tinyqwen.autograd import ops
from tinyqwen.autograd.error_function import erf

# ---------------------------------------------------------------------------------------------
# The elementary primitives
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Op:
    """name: of the function, plus ", variant" where a function has several lines.

    draw:  Random -> (arrays, options); floating-point arrays are differentiated
    ours:  the function under test (Tensors, options); by default the one of that name
    torch: its counterpart, called with the module torch first; by default torch's of that name
    twin:  the same in elementary operations, for the fused primitives
    """

    name: str
    draw: Callable
    ours: Callable = None
    torch: Callable = None
    twin: Callable = None

    @property
    def function(self):
        return self.name.split(",")[0]


ELEMENTARY = [
    Op("add", pair),
    Op("sub", pair),
    Op("mul", pair),
    Op("div", quotient),
    Op("neg", one),
    Op("pow", power),
    Op("pow, number", integer_power),
    Op("matmul", product),
    Op("exp", one),
    Op("log", one_positive),
    Op("sqrt", one_positive),
    Op("rsqrt", one_positive),
    Op("abs", one_distinct),
    Op("sin", one),
    Op("cos", one),
    Op("tanh", one),
    Op("sigmoid", one),
    Op("relu", one_distinct),
    Op("silu", one, torch=lambda t, x: t.nn.functional.silu(x)),
    Op("maximum", pair_distinct),
    Op("minimum", pair_distinct),
    Op("clip", lambda r: (one_distinct(r)[0], {"minimum": r.choice((None, -1)), "maximum": 1}),
       torch=lambda t, x, minimum, maximum: t.clip(x, minimum, maximum)),
    Op("where", choice_of_two),
    Op("masked_fill", masked, torch=lambda t, x, mask, value: t.where(mask, value, x)),
    Op("sum", reduction),
    Op("mean", reduction),
    Op("var", variance),
    Op("max", reduction_distinct,
       torch=lambda t, x, axis, keepdims: t.amax(x, () if axis is None else axis, keepdims)),
    Op("min", reduction_distinct,
       torch=lambda t, x, axis, keepdims: t.amin(x, () if axis is None else axis, keepdims)),
    Op("cumsum", along_axis),
    Op("reshape", reshaped),
    Op("transpose", transposed, torch=lambda t, x, axes: t.permute(x, axes)),
    Op("swapaxes", swapped, torch=lambda t, x, axis1, axis2: t.swapaxes(x, axis1, axis2)),
    Op("expand_dims", expanded, torch=lambda t, x, axis: t.unsqueeze(x, axis)),
    Op("squeeze", squeezed),
    Op("broadcast_to", stretched, torch=lambda t, x, shape: t.broadcast_to(x, shape)),
    Op("getitem", picked, torch=lambda t, x, index: x[index]),
    Op("concat", joined, ours=lambda *xs, axis: ops.concat(xs, axis),
       torch=lambda t, *xs, axis: t.concat(xs, axis)),
    Op("stack", stacked, ours=lambda *xs, axis: ops.stack(xs, axis),
       torch=lambda t, *xs, axis: t.stack(xs, axis)),
    Op("split", pieces,
       torch=lambda t, x, indices_or_sections, axis: t.tensor_split(x, indices_or_sections, axis)),
    Op("flip", flipped, torch=lambda t, x, axis: t.flip(x, [axis] if type(axis) is int else axis)),
    Op("tril", triangle, torch=lambda t, x, k: t.tril(x, k)),
    Op("triu", triangle, torch=lambda t, x, k: t.triu(x, k)),
    Op("softmax", along_axis),
    Op("log_softmax", along_axis),
    Op("logsumexp", reduction_axis),
    Op("einsum", summation, ours=lambda *xs, subscripts: ops.einsum(subscripts, *xs),
       torch=lambda t, *xs, subscripts: t.einsum(subscripts, *xs)),
]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# The fused primitives, and their twins made of elementary ones
# ---------------------------------------------------------------------------------------------


def rows(r, width):
    return normal(r, *nonempty(r, high=3), width)


def affine(r):
    bias = [normal(r, 3)] if r.random() < 0.7 else []
    return [rows(r, 4), normal(r, 3, 4), *bias], {}


def looked_up(r):
    return [integers(r, 5, *shape(r, high=3)), normal(r, 5, 3)], {}


def scaled(r):
    d = r.choice((5, 8))  # not 2: of two entries that are nearly equal float32 loses the spread
    return [rows(r, d), normal(r, d)], {"eps": r.choice((1e-6, 0.1))}


def scaled_and_shifted(r):
    (x, weight), options = scaled(r)
    return [x + 1, weight, normal(r, *weight.shape)], options


def rotated(r):
    length, dim = r.choice((1, 3)), r.choice((2, 6))
    positions = np.arange(length) + r.choice((0, 100))
    cos, sin = F.rope_tables(positions, dim, r.choice((1e4, 1e6)), np.float64)
    return [normal(r, *shape(r, high=2), length, dim)], {"cos": cos, "sin": sin}


def rotation_twin(x, cos, sin):
    """x cos + rotate_half(x) sin, as Hugging Face writes it."""
    half = x.shape[-1] // 2
    rotated_half = ops.concat([-x[..., half:], x[..., :half]], -1)
    return x * cos + rotated_half * sin


def rotation_torch(t, x, cos, sin):
    """The pair as a complex number, times e^(i angle), as Su et al. write it."""
    half = x.shape[-1] // 2
    turned = t.complex(*x.chunk(2, -1)) * t.complex(cos[..., :half], sin[..., :half])
    return t.cat([turned.real, turned.imag], -1)


def attended(r):
    """Odd, unequal sizes: equal ones hide transposes."""
    batch, kv_heads, groups, depth, width = (
        r.choice(n) for n in ((1, 2), (1, 3), (1, 2), (2, 5), (3,))
    )
    queries, keys = r.choice(((1, 4), (3, 3), (4, 6), (5, 2)))
    full = (batch, kv_heads * groups, queries, keys)
    bits = r.getrandbits(4)
    mask_shape = tuple(1 if bits >> i & 1 else n for i, n in enumerate(full))[
        r.choice((0, 0, 1, 2)) :
    ]
    mask = r.choice((None, booleans(r, *mask_shape), normal(r, *mask_shape)))
    arrays = [
        normal(r, *full[:3], depth),
        normal(r, batch, kv_heads, keys, depth),
        normal(r, batch, kv_heads, keys, width),
    ]
    return arrays, {
        "mask": mask,
        "causal": r.random() < 0.5,
        "window": r.choice((None, None, 2)),
        "scale": r.choice((None, 0.3)),
        "return_weights": r.random() < 0.5,
    }


def attention_bias(queries, keys, mask, causal, window):
    """All masks of an attention as numbers to be added, by the definition: entry for entry."""
    t = np.arange(queries)[:, None] + keys - queries
    s = np.arange(keys)
    bias = np.zeros((queries, keys))
    if causal:
        bias = np.where(s > t, -np.inf, bias)
    if window:
        bias = np.where(s <= t - window, -np.inf, bias)
    if mask is not None:
        bias = bias + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    return bias


def attention_twin(q, k, v, mask=None, causal=False, window=None, scale=None, return_weights=False):
    groups = q.shape[1] // k.shape[1]
    repeat = np.repeat(np.arange(k.shape[1]), groups)
    bias = attention_bias(q.shape[2], k.shape[2], mask, causal, window).astype(q.dtype)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    weights = (q @ k[:, repeat].swapaxes(-1, -2) * scale + bias).softmax(-1)
    out = weights @ v[:, repeat]
    return (out, weights) if return_weights else out


def attended_in_one_piece(r):
    arrays, options = attended(r)
    return arrays, {"mask": options["mask"]}


def attention_with_weights_twin(q, k, v, mask):
    return attention_twin(q, k, v, mask, return_weights=True)


def merged_and_masked(r):
    """A source's padding is hidden, and perhaps more; queries and keys are of two texts."""
    queries, keys = r.choice(((1, 4), (3, 5), (4, 2)))
    sizes = ((2, queries, 6), (2, keys, 6), (2, keys, 6))
    mask = r.choice((None, booleans(r, 2, 1, 1, keys), normal(r, 2, 3, queries, keys)))
    return [normal(r, *size) for size in sizes], {"head_dim": 2, "mask": mask}


def cross_attention_twin(q, k, v, head_dim, mask):
    heads = [x.reshape(2, -1, 3, head_dim).swapaxes(1, 2) for x in (q, k, v)]
    out, weights = attention_twin(*heads, mask, return_weights=True)
    return out.swapaxes(1, 2).reshape(q.shape), weights


def cross_attention_torch(t, q, k, v, head_dim, mask):
    heads = [x.unflatten(-1, (3, head_dim)).mT.permute(0, 3, 1, 2) for x in (q, k, v)]
    out, weights = attention_torch(t, *heads, mask, False, None, None, True)
    return out.permute(0, 2, 1, 3).flatten(2), weights


def attention_torch(t, q, k, v, mask, causal, window, scale, return_weights):
    groups = q.shape[1] // k.shape[1]
    mask = None if mask is None else mask.numpy()
    bias = t.as_tensor(attention_bias(q.shape[2], k.shape[2], mask, causal, window), dtype=q.dtype)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ k.repeat_interleave(groups, 1).mT * scale + bias
    empty = (scores == -t.inf).all(-1, keepdim=True)  # torch's softmax is NaN there
    weights = t.where(empty, 0, t.softmax(t.where(empty, 0, scores), -1))
    out = weights @ v.repeat_interleave(groups, 1)
    return (out, weights) if return_weights else out


def gated(r):
    return [normal(r, *(s := shape(r))), normal(r, *s)], {}


def activated(r):
    return [normal(r, *shape(r, high=3), 5)], {"approximate": r.choice(("none", "tanh"))}


def gelu_tanh_twin(x):
    return 0.5 * x * (1 + ((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)).tanh())


def gelu_twin(x, approximate):
    return gelu_tanh_twin(x) if approximate == "tanh" else 0.5 * x * (1 + erf(x * 0.5**0.5))


def placed(r):
    x = normal(r, 2, r.choice((1, 4)), 3)
    ids = integers(r, 5, *r.choice(((2,), (1,), ())), x.shape[1])
    return [x, normal(r, 5, 3), ids], {}


def normed_heads(r):
    tokens, size = r.choice((1, 4)), r.choice((2, 6))
    heads = [normal(r, 2, 4, tokens, size), normal(r, 2, 2, tokens, size)]
    return [*heads, normal(r, size), normal(r, size)], {"eps": r.choice((1e-6, 0.1))}


def qk_norm_twin(q, k, q_weight, k_weight, eps):
    return tuple(
        w * x * ((x * x).mean(-1, keepdims=True) + eps).rsqrt()
        for x, w in ((q, q_weight), (k, k_weight))
    )


def tuned(r):
    texts, tokens = 3, r.choice((2, 5))
    arrays = [normal(r, texts, 4), normal(r, texts, tokens, 3), normal(r, 6, 3)]
    labels, ids = integers(r, 4, texts), integers(r, 6, texts, tokens)
    lengths = integers(r, tokens - 1, texts, 1) + 2
    options = {"lm_weight": r.choice((0.5, 2.0)), "num_items": r.choice((None, (7, 9)))}
    return [*arrays, labels, ids, (np.arange(tokens) < lengths).astype(int)], options


def tuned_twin(classes, hidden, weight, labels, ids, mask, lm_weight, num_items):
    counts = mask.data[:, 1:] == 1
    texts, tokens = num_items or (len(labels.data), counts.sum())
    named = classes.log_softmax(-1)[np.arange(len(labels.data)), labels.data].sum()
    log_p = (hidden @ weight.T).log_softmax(-1)
    row, at = np.nonzero(counts)
    written = log_p[row, at, ids.data[row, at + 1]].sum()
    return -named / float(texts) - lm_weight * written / float(tokens)


def tuned_torch(t, classes, hidden, weight, labels, ids, mask, lm_weight, num_items):
    following = t.where(mask == 1, ids, -100)[:, 1:]
    texts, tokens = num_items or (len(labels), int((following != -100).sum()))
    loss = t.nn.functional.cross_entropy
    logits = (hidden @ weight.mT)[:, :-1].reshape(-1, len(weight))
    of_labels = loss(classes, labels, reduction="sum") / texts
    return of_labels + lm_weight * loss(logits, following.reshape(-1), reduction="sum") / tokens


def dropped(r):
    return [normal(r, *shape(r))], {"p": r.choice((0, 0.3, 1)), "training": r.random() < 0.8}


def seeded_dropout(x, **options):
    tq.manual_seed(1)
    return F.dropout(x, **options)


def labeled(r):
    arrays = [3 * rows(r, 5)]
    labels = integers(r, 5, *arrays[0].shape[:-1])
    labels = np.where(booleans(r, *labels.shape), labels, r.choice((labels, -100)))
    labels.reshape(-1)[:1] = 3  # at least one counts
    return [*arrays, labels], {"label_smoothing": r.choice((0.0, 0.1))}


def labeled_hidden(r):
    (_, labels), options = labeled(r)
    return [normal(r, *labels.shape, 4), normal(r, 5, 4), labels], options


def cross_entropy_twin(logits, labels, label_smoothing):
    labels, logits = labels.data.reshape(-1), logits.reshape(-1, logits.shape[-1])
    counts = labels != -100
    log_p = logits.log_softmax(-1)[np.flatnonzero(counts)]
    smoothed = (1 - label_smoothing) * log_p[np.arange(counts.sum()), labels[counts]]
    return -(smoothed + label_smoothing * log_p.mean(-1)).mean()


def paired(r):
    return [3 * normal(r, 4, 2), integers(r, 2, 4)], {}


def next_sentence_twin(logits, labels):
    """ln(1 + e^d), d by how much the wrong class is ahead."""
    sign = 2.0 * labels.data - 1  # of class 0's logit less class 1's
    return (1 + ((logits[:, 0] - logits[:, 1]) * sign).exp()).log().mean()


def cross_entropy_torch(t, logits, labels, label_smoothing):
    logits, labels = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    return t.nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)


FUSED = [
    Op("linear", affine,
       twin=lambda x, w, b=None: x @ w.T if b is None else x @ w.T + b,
       torch=lambda t, x, w, b=None: t.nn.functional.linear(x, w, b)),
    Op("conv1d", lambda r: ([rows(r, 4), normal(r, 4, 3), normal(r, 3)], {}),
       twin=lambda x, w, b: x @ w + b, torch=lambda t, x, w, b: t.addmm(b, x.reshape(-1, 4), w)
       .reshape(*x.shape[:-1], 3)),
    Op("embedding", looked_up,
       torch=lambda t, ids, w: t.nn.functional.embedding(ids, w), twin=lambda ids, w: w[ids]),
    Op("rms_norm", scaled,
       twin=lambda x, w, eps: w * x * ((x * x).mean(-1, keepdims=True) + eps).rsqrt(),
       torch=lambda t, x, w, eps: t.nn.functional.rms_norm(x, w.shape, w, eps)),
    Op("layer_norm", scaled_and_shifted,
       twin=lambda x, w, b, eps: w * (x - x.mean(-1, keepdims=True))
       * (x.var(-1, keepdims=True) + eps).rsqrt() + b,
       torch=lambda t, x, w, b, eps: t.nn.functional.layer_norm(x, w.shape, w, b, eps)),
    Op("qk_norm", normed_heads, twin=qk_norm_twin,
       torch=lambda t, q, k, q_weight, k_weight, eps: tuple(
           t.nn.functional.rms_norm(x, w.shape, w, eps)
           for x, w in ((q, q_weight), (k, k_weight)))),
    Op("add_positions", placed, twin=lambda x, w, ids: x + w[ids],
       torch=lambda t, x, w, ids: x + t.nn.functional.embedding(ids, w)),
    Op("apply_rope", rotated,
       twin=rotation_twin,
       torch=rotation_torch),
    Op("scaled_dot_product_attention", attended, twin=attention_twin, torch=attention_torch),
    Op("grouped_query_attention", attended_in_one_piece, twin=attention_with_weights_twin,
       torch=lambda t, q, k, v, mask: attention_torch(t, q, k, v, mask, False, None, None, True)),
    Op("cross_attention", merged_and_masked, twin=cross_attention_twin,
       torch=cross_attention_torch),
    Op("split_heads", lambda r: ([normal(r, 2, r.choice((0, 3)), 6)], {"head_dim": 2}),
       twin=lambda x, head_dim: ops.stack(x.split(6 // head_dim, axis=-1), 1),
       torch=lambda t, x, head_dim: t.stack(x.split(head_dim, -1), 1)),
    Op("merge_heads", lambda r: ([normal(r, 2, r.choice((1, 3)), r.choice((0, 4)), 5)], {}),
       twin=lambda x: ops.concat([x[:, h] for h in range(x.shape[1])], -1),
       torch=lambda t, x: t.cat(x.unbind(1), -1)),
    Op("repeat_kv", lambda r: ([normal(r, 2, 3, r.choice((0, 4)), 5)], {"groups": 2}),
       twin=lambda x, groups: x[:, np.arange(3 * groups) // groups],
       torch=lambda t, x, groups: x.repeat_interleave(groups, 1)),
    Op("swiglu", gated, twin=lambda gate, up: gate * gate.sigmoid() * up,
       torch=lambda t, gate, up: t.nn.functional.silu(gate) * up),
    Op("gelu", activated, twin=gelu_twin,
       torch=lambda t, x, **options: t.nn.functional.gelu(x, **options)),
    Op("gelu_new", lambda r: ([normal(r, *shape(r, high=3), 5)], {}), twin=gelu_tanh_twin,
       torch=lambda t, x: t.nn.functional.gelu(x, approximate="tanh")),
    Op("dropout", dropped, ours=seeded_dropout,
       twin=lambda x, **options: x * seeded_dropout(np.ones(x.shape, x.dtype), **options)),
    Op("cross_entropy", labeled, twin=cross_entropy_twin, torch=cross_entropy_torch),
    Op("next_sentence_loss", paired, twin=next_sentence_twin,
       torch=lambda t, x, labels: t.nn.functional.cross_entropy(x, labels)),
    Op("label_smoothed_cross_entropy", labeled, twin=cross_entropy_twin,
       torch=cross_entropy_torch),
    Op("linear_cross_entropy", labeled_hidden,
       twin=lambda x, w, labels, **more: cross_entropy_twin(x @ w.T, labels, **more),
       torch=lambda t, x, w, labels, **more: cross_entropy_torch(t, x @ w.mT, labels, **more)),
    Op("fine_tuning_loss", tuned, twin=tuned_twin, torch=tuned_torch),
]  # fmt: skip


# ---------------------------------------------------------------------------------------------
# Running a line
# ---------------------------------------------------------------------------------------------


def ours(op):
    """The function of that line, (Tensors, options) -> Tensor or tuple of Tensors."""
    return op.ours or getattr(ops if op in ELEMENTARY else F, op.function)


def as_dtype(value, dtype):
    """Floating-point arrays in dtype; everything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(dtype)
    return value


def outputs_and_gradients(fn, arrays, options, upstream=None):
    """Run fn on Tensors: its outputs, and the gradients of all floating-point arrays.

    upstream: function, outputs -> gradients of the outputs; a fixed random one by default.
    """
    tensors = [
        tq.Tensor(a, requires_grad=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a
        for a in arrays
    ]
    out = fn(*tensors, **options)
    outs = [o.data for o in (out if isinstance(out, tuple) else (out,))]
    leaves = [t for t in tensors if isinstance(t, tq.Tensor) and t.requires_grad]
    gradients = (upstream or upstream_for)(outs)
    total = sum((o * g).sum() for o, g in zip(out if isinstance(out, tuple) else (out,), gradients))
    return outs, tq.grad(total, leaves)


def upstream_for(outs):
    """Random gradients of the outputs, the same in every run."""
    state = stream(3)
    return [state.standard_normal(o.shape).astype(o.dtype) for o in outs]


def torch_outputs_and_gradients(torch, op, arrays, options):
    """The same with op's counterpart in PyTorch."""

    def convert(value):
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value.copy())
        if isinstance(value, tuple):
            return tuple(map(convert, value))
        return value

    fn = op.torch or (lambda t, *a, **o: getattr(t, op.function)(*a, **o))
    tensors = [convert(a) for a in arrays]
    leaves = [t.requires_grad_() for t in tensors if torch.is_tensor(t) and t.is_floating_point()]
    out = fn(torch, *tensors, **{name: convert(value) for name, value in options.items()})
    outs = list(out) if isinstance(out, tuple) else [out]
    gradients = [torch.from_numpy(g) for g in upstream_for([o.detach().numpy() for o in outs])]
    found = torch.autograd.grad(outs, leaves, gradients, allow_unused=True)
    zeros = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found)]
    return [o.detach().numpy() for o in outs], [g.numpy() for g in zeros]


def assert_close(actual, expected, tolerance, what):
    """Every entry within tolerance · the largest expected entry.

    actual, expected: arrays, or lists of arrays that are measured together: where one gradient is
    zero for a reason (the scores' of a single key), the others say what size rounding may have.
    """
    if isinstance(expected, np.ndarray):
        actual, expected = [actual], [expected]
    largest = max((np.abs(b).max() for b in expected if b.size), default=0)
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        a = np.zeros_like(b) if a is None else a
        assert a.shape == b.shape, f"{what} {i}: shape {a.shape}, not {b.shape}"
        error = np.abs(a.astype(np.float64) - b).max(initial=0)
        limit = tolerance * largest
        assert error <= limit, f"{what} {i}: off by {error:.3g}, allowed {limit:.3g}"
