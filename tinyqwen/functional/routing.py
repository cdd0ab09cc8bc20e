"""A mixture of experts: which tokens go to which expert, and what the experts make of them.

N tokens, C features, E experts of which k look at a token, I their inner size.
"""

import numpy as np

from tinyqwen.autograd import ops
from tinyqwen.autograd.tensor import Tensor, primitive
from tinyqwen.functional.activations import swiglu
from tinyqwen.functional.linear import linear


def top_k(x, k):
    """Where the k largest entries of the last axis are, the largest first: (..., E) -> (..., k).

    Of equal ones the first is taken.
    """
    return np.argsort(-x, axis=-1, kind="stable")[..., :k]


@primitive
def top_k_routing(logits, k, normalize=False):
    """The k experts that a token goes to, and their weights (Shazeer et al. 2017, section 2.1).

        p = softmax(logits) over all experts,    w_j = p_{e_j} for the k largest,
        or with normalize  w_j = p_{e_j} / Σ_j p_{e_j}

    logits (N, E). Returns weights (N, k) and experts (N, k), integers, which have no gradient.

    With a the gradient of the chosen p (0 for the others):
        a_j = g_j,    or with normalize  a_j = (g_j - Σ_j g_j w_j) / Σ_j p_{e_j}
        dlogits = p (a - Σ_e p_e a_e)                                     (softmax's VJP)
    """
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"top_k_routing: k is {k}, there are {logits.shape[-1]} experts")
    p, softmax_vjp = ops.softmax.raw(logits)
    experts = top_k(p, k)
    weights = chosen = np.take_along_axis(p, experts, -1)
    if normalize:
        total = chosen.sum(-1, keepdims=True)
        weights = chosen / total

    def vjp(gradients):
        g = gradients[0]
        if normalize:
            g = (g - np.vecdot(g, weights)[..., None]) / total
        a = np.zeros_like(p)
        np.put_along_axis(a, experts, g, -1)
        return softmax_vjp(a)

    return (weights, experts), vjp


@primitive
def mixture_of_experts(x, weights, experts, gate_up, down):
    """y_n = Σ_j w_nj · down_e (silu(gate_e x_n) · up_e x_n),  e = experts_nj.

    x (N, C); weights and experts (N, k), of `top_k_routing`; gate_up (E, 2·I, C), the rows of gate
    and then of up; down (E, C, I). Returns (N, C).

    Tokens are laid in the order of their experts, so that each expert is one product over its own
    tokens, and none computes for others. The gradients go the same way:
        dw_nj = g_n · y_nj,   dy_nj = w_nj g_n,   then the VJPs of the linear layers and of SwiGLU,
        and dx_n is the sum over its k experts.
    """
    (N, C), k = x.shape, experts.shape[1]
    order = np.argsort(experts, axis=None, kind="stable")  # of the N·k pairs, expert by expert
    rows, place = order // k, np.empty(N * k, np.intp)
    place[order] = np.arange(N * k)  # where each pair stands in that order
    stops = np.cumsum(np.bincount(experts.reshape(-1), minlength=len(down))).tolist()
    busy = [(e, slice(a, b)) for e, (a, b) in enumerate(zip([0, *stops], stops)) if a < b]
    I = down.shape[2]

    inputs = x[rows]  # (N·k, C)
    hidden = np.empty((N * k, 2 * I), x.dtype)
    outputs = np.empty((N * k, C), x.dtype)
    for e, part in busy:
        hidden[part] = linear.raw(inputs[part], gate_up[e])[0]
    inner, swiglu_vjp = swiglu.raw(hidden[:, :I], hidden[:, I:])  # (N·k, I)
    for e, part in busy:
        outputs[part] = linear.raw(inner[part], down[e])[0]
    of_token = outputs[place].reshape(N, k, C)

    def vjp(g):
        dweights = np.vecdot(of_token, g[:, None])  # (N, k)
        dout = g[rows] * weights.reshape(-1, 1)[order]  # (N·k, C)
        dgate_up, ddown = np.zeros_like(gate_up), np.zeros_like(down)
        dinner, dinputs = np.empty_like(inner), np.empty_like(inputs)
        for e, part in busy:
            dinner[part] = dout[part] @ down[e]
            np.matmul(dout[part].T, inner[part], out=ddown[e])
        dhidden = np.concatenate(swiglu_vjp(dinner), axis=1)  # (N·k, 2·I)
        for e, part in busy:
            dinputs[part] = dhidden[part] @ gate_up[e]
            np.matmul(dhidden[part].T, inputs[part], out=dgate_up[e])
        return dinputs[place].reshape(N, k, C).sum(1), dweights, None, dgate_up, ddown

    return np.matmul(weights[:, None], of_token)[:, 0], vjp


def load_balancing_loss(router_logits, k, mask=None):
    """E · Σ_e f_e P_e: small when all experts have equally much to do (Fedus et al. 2021, eq. 4–6).

    router_logits: (N, E) of each layer. f_e: the choices of expert e per token, P_e: its mean
    probability, both over the tokens of all layers. mask (N,) or of N entries: 1 for tokens, 0 for
    padding, which does not count. f has no gradient, P has. Returns a scalar Tensor; k at least.
    """
    N, E = router_logits[0].shape
    real = np.ones(N) if mask is None else np.asarray(mask).reshape(-1)
    if real.shape != (N,):
        raise ValueError(f"load_balancing_loss: mask has {real.size} entries for {N} tokens")
    chosen, probability = np.zeros(E), 0.0
    for logits in router_logits:
        p = ops.softmax(logits)
        array = p.data if isinstance(p, Tensor) else p
        chosen += np.bincount(top_k(array, k).reshape(-1), weights=np.repeat(real, k), minlength=E)
        probability = (p * real[:, None].astype(array.dtype)).sum(axis=0) + probability
    total = real.sum() * len(router_logits)
    fraction = (chosen / total).astype(array.dtype)
    return (probability * fraction).sum() * float(E / total)
