"""Looking inside a model: what its heads look at, what its layers know, what it needs.

The first four functions are plain NumPy, on arrays that a model hands out; the others run a model.
Shapes: L layers, B rows, T tokens, H heads, D head size, C hidden size, V vocabulary.
"""

from contextlib import contextmanager

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.autograd.grad_mode import no_grad

# ---------------------------------------------------------------------------------------------
# On arrays
# ---------------------------------------------------------------------------------------------


def previous_token_score(weights):
    """How much each head looks at the token before: the mean of w[t, t - 1].

    weights (B, H, T, T): attention weights, queries by keys. Returns (H,), between 0 and 1: the
    mean over the rows of the batch and the queries t ≥ 1; 0 where T < 2.
    (Olsson et al. 2022, "Head activation evaluators".)
    """
    below = np.diagonal(weights, -1, -2, -1)  # (B, H, T, T) -> (B, H, T - 1)
    return below.sum((0, 2)) / weights.dtype.type(max(1, below.shape[0] * below.shape[2]))


def induction_score(weights, ids):
    """How much each head looks at what followed an earlier occurrence of the present token.

    weights (B, H, T, T), ids (B, T). For the query t these are the keys s ≤ t with
    ids[s - 1] = ids[t] and s - 1 < t. Their weights are summed, and the mean is taken over those
    queries, in all rows, that have such a key. Returns (H,), between 0 and 1; 0 where no token
    occurs twice. Olsson et al. 2022, "Head activation evaluators", call it prefix matching, and
    measure it on random tokens, repeated, where nothing but copying helps.
    """
    ids = np.asarray(ids)
    time = np.arange(ids.shape[1])
    matches = np.zeros((*ids.shape, ids.shape[1]), bool)  # (B, T, S): is s after an equal token?
    matches[:, :, 1:] = (ids[:, :, None] == ids[:, None, :-1]) & (time[:, None] >= time[1:])
    queries = matches.any(-1)  # (B, T)
    total = (weights * matches[:, None]).sum(-1)  # (B, H, T)
    return total.sum((0, 2)) / weights.dtype.type(max(1, np.count_nonzero(queries)))


def logit_lens(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    """What each layer would say if it were the last: lm_head(norm(h)) for every hidden state.

    hidden_states (L + 1, B, T, C), as a model returns them: the embeddings, the output of every
    layer but the last, and the output of the final norm; this last one is not normed again.
    norm_weight (C,) and eps of the final norm, lm_head_weight (V, C).
    Returns (L + 1, B, T, V): the last are the model's logits.  (nostalgebraist 2020.)
    """
    normed, _ = F.rms_norm.raw(hidden_states[:-1], norm_weight, eps)
    logits, _ = F.linear.raw(np.concatenate([normed, hidden_states[-1:]]), lm_head_weight)
    return logits


def ablate_head(o_proj_weight, head, head_dim):
    """The output projection without one head: its columns are zero, so it adds nothing.

    o_proj_weight (C, H·D): reads the heads side by side, head h from h·D to (h + 1)·D.
    Returns a copy. (Michel, Levy & Neubig 2019, section 2.3.)
    Raises ValueError for a head that is not there.
    """
    heads = o_proj_weight.shape[1] // head_dim
    if not 0 <= head < heads:
        raise ValueError(f"head {head} is not there; there are {heads}, from 0 to {heads - 1}")
    weight = o_proj_weight.copy()
    weight[:, head * head_dim : (head + 1) * head_dim] = 0
    return weight


def mean_pooled_heads(weight, head_dim, groups):
    """A key or value projection with fewer heads: the mean of every `groups` heads in a row.

    weight (H·D, C), D = head_dim. Returns (H/groups · D, C), the start from which a model of many
    heads is trained on to share them.  (Ainslie et al. 2023, "GQA", section 2.1.)
    Raises ValueError if the heads are no multiple of groups.
    """
    heads = weight.shape[0] // head_dim
    if weight.shape[0] != heads * head_dim or heads % groups:
        raise ValueError(f"{len(weight)} rows are no multiple of {groups} heads of {head_dim}")
    return (
        weight.reshape(-1, groups, head_dim, weight.shape[1]).mean(1).reshape(-1, weight.shape[1])
    )


def attention_rollout(attentions):
    """How much of each token's first vector is in each token's last: weights, through all layers.

        A_l = (mean over heads + identity) / 2,    rollout = A_L … A_2 A_1

    The identity stands for the residual stream, which every block adds to.
    attentions (L, B, H, T, T). Returns (B, T, T), whose rows sum to 1.
    (Abnar & Zuidema 2020, "Quantifying attention flow in transformers", section 3.)
    """
    mixed = (attentions.mean(2) + np.eye(attentions.shape[-1], dtype=attentions.dtype)) / 2
    out = mixed[0]
    for layer in mixed[1:]:
        out = layer @ out
    return out


def principal_components(vectors, k=2):
    """Vectors along the k directions in which they spread the most.

    vectors (n, d). Returns (n, k): each vector minus the mean, along each direction. Their signs,
    which are free, are chosen so that the entry of largest size is positive.
    """
    centered = vectors - vectors.mean(0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    flat = centered @ directions[:k].T
    return flat * np.sign(flat[np.abs(flat).argmax(0), np.arange(k)])


# ---------------------------------------------------------------------------------------------
# On models
# ---------------------------------------------------------------------------------------------


@contextmanager
def recorded(modules):
    """Inside this block, what modules return is kept: what PyTorch calls a forward hook.

    modules: {name: Module}. Gives {name: [what it returned at its first call, second, …]}.

        with interpret.recorded({"mlp 0": model.model.layers[0].mlp}) as seen:
            model(ids)
        seen["mlp 0"][0]                # (B, T, C)
    """
    seen = {name: [] for name in modules}
    own = {name: vars(module).get("forward") for name, module in modules.items()}
    try:
        for name, module in modules.items():
            module.forward = _noting(module.forward, seen[name])
        yield seen
    finally:
        for name, module in modules.items():
            del module.forward
            if own[name] is not None:
                module.forward = own[name]


def _noting(forward, outputs):
    def noted(*args, **options):
        outputs.append(forward(*args, **options))
        return outputs[-1]

    return noted


def residual_stream(model, ids, position_ids=None):
    """The stream of a causal language model, and what every block adds to it.

    ids (B, T); position_ids (T,), counted from 0 by default. Returns {"stream": (L + 1, B, T, C),
    "attention": (L, B, T, C), "mlp": (L, B, T, C)}: the embeddings, then the stream after each
    layer, before the final norm; and what the blocks put out, which adds up to it:
    stream[i + 1] = stream[i] + attention[i] + mlp[i].
    (Elhage et al. 2021, "High-Level Architecture".)
    """
    layers, _ = _stream(model)
    modules = {}
    for i, (layer, attention, mlp, _) in enumerate(layers):
        modules |= {("attention", i): attention, ("mlp", i): mlp, ("layer", i): layer}
    with no_grad(), recorded(modules) as seen:
        states = model.base_model(ids, position_ids=position_ids, output_hidden_states=True)

    def outputs(part):
        found = (seen[part, i][0] for i in range(len(layers)))
        return np.stack([(x[0] if isinstance(x, tuple) else x).numpy() for x in found])

    embedding = states.hidden_states[0].numpy()
    return {
        "stream": np.concatenate([embedding[None], outputs("layer")]),
        "attention": outputs("attention"),
        "mlp": outputs("mlp"),
    }


def _stream(model):
    """The body's `stream`; ValueError for a model that has none, or whose norms stand in it."""
    if not hasattr(model.base_model, "stream"):
        raise ValueError(f"{type(model).__name__} is no decoder whose layers add to a stream")
    return model.base_model.stream()


def head_scores(model, ids):
    """{"previous token": (L, H), "induction": (L, H)}: both scores of all heads, for ids (B, T)."""
    with no_grad():
        attentions = model(ids, output_attentions=True).attentions
    if attentions is None:
        raise ValueError(f"{type(model).__name__} has no one stack whose heads could be scored")
    attentions = [w.numpy() for w in attentions]
    return {
        "previous token": np.stack([previous_token_score(w) for w in attentions]),
        "induction": np.stack([induction_score(w, ids) for w in attentions]),
    }


def layer_logits(model, ids):
    """The logit lens on a causal language model: ids (B, T) -> (L + 1, B, T, V)."""
    with no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    norm, head = _stream(model)[1], model.lm_head.weight.data
    stacked = np.stack([h.numpy() for h in states])
    if isinstance(norm, nn.RMSNorm):
        return logit_lens(stacked, norm.weight.data, head, norm.variance_epsilon)
    with no_grad():  # GPT-2's is a LayerNorm
        normed = norm(stacked[:-1]).numpy()
    return F.linear.raw(np.concatenate([normed, stacked[-1:]]), head)[0]


def ablation_losses(model, ids, labels=None):
    """The loss of a causal language model without each of its heads, one at a time: (L, H).

    ids (B, T), labels: as the model takes them, ids themselves by default.
    """
    config, labels = model.config, ids if labels is None else labels
    losses = np.empty((config.num_hidden_layers, config.num_attention_heads))
    head_dim = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    with no_grad():
        for i, (_, _, _, projection) in enumerate(_stream(model)[0]):
            weight = projection.weight
            whole, turned = weight.data, not isinstance(projection, nn.Linear)  # GPT-2's (in, out)
            try:
                for head in range(config.num_attention_heads):
                    without = ablate_head(whole.T if turned else whole, head, head_dim)
                    weight.data = without.T if turned else without
                    losses[i, head] = model(ids, labels=labels).loss.item()
            finally:
                weight.data = whole
    return losses


def bend_of(points):
    """The first step of [(step, nats), …] at which nine tenths of the whole fall are done."""
    first, last = points[0][1], min(nats for _, nats in points)
    return next(step for step, nats in points if nats <= last + 0.1 * (first - last))
