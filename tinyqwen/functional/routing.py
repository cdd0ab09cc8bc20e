"""A mixture of experts: which tokens go to which expert, and what the experts make of them.

N tokens, C features, E experts of which k look at a token, I their inner size.
"""

import numpy as np

from tinyqwen.autograd import ops
from tinyqwen.autograd.tensor import primitive
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


def dispatch(experts, num_experts):
    """In which order pairs of a token and one of its experts are worked off: expert by expert.

    experts (N, k) integers; pair number n·k + j is token n with its j-th expert. Returns order
    (N·k,), the pairs' numbers, sorted by expert and for one expert by token, and stops (E,): the
    pairs of expert e are order[stops[e - 1] : stops[e]], those of expert 0 begin at 0.

    >>> dispatch(np.array([[1], [0], [1]]), 3)          # expert 2 has nothing to do
    (array([1, 0, 2]), array([1, 3, 3]))
    """
    order = np.argsort(experts, axis=None, kind="stable")
    return order, np.cumsum(np.bincount(experts.reshape(-1), minlength=num_experts))


def within_capacity(experts, num_experts, capacity):
    """Which pairs of a token and an expert are worked off, if an expert takes no more than so many.

    experts (N, k) integers. Of each expert's pairs the first `capacity` are kept, in the order of
    tokens. Returns (N, k) booleans.  (Fedus et al. 2021, section 2.2: others are dropped, and the
    token passes by that expert.)

    >>> within_capacity(np.array([[0], [0], [1], [0]]), 2, capacity=2).ravel()
    array([ True,  True,  True, False])
    """
    order, stops = dispatch(experts, num_experts)
    sizes = np.diff(stops, prepend=0)
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order)) - np.repeat(stops - sizes, sizes)
    return (place < capacity).reshape(experts.shape)


@primitive
def combine(outputs, weights, order):
    """y_n = Σ_j w_nj · out_nj: what the experts made of a token, weighted and added up.

    outputs (N·k, C), in the order that `dispatch` gave; weights (N, k); order (N·k,). Returns
    (N, C). With g the gradient of y:  dout_nj = w_nj g_n,  dw_nj = g_n · out_nj.

    >>> outputs, weights = np.array([[10.0], [20.0]]), np.array([[0.25, 0.5]])  # one token
    >>> y, vjp = combine.raw(outputs, weights, np.array([1, 0]))   # its second expert came first
    >>> y, vjp(np.array([[1.0]]))[:2]
    (array([[10.]]), (array([[0.5 ],
           [0.25]]), array([[20., 10.]])))
    """
    N, k = weights.shape
    place = np.empty(N * k, np.intp)
    place[order] = np.arange(N * k)  # where each pair stands
    of_token = outputs[place].reshape(N, k, -1)

    def vjp(g):
        doutputs = g[order // k] * weights.reshape(-1, 1)[order]
        return doutputs, np.vecdot(of_token, g[:, None]), None

    return np.matmul(weights[:, None], of_token)[:, 0], vjp


@primitive
def mixture_of_experts(x, weights, experts, gate_up, down):
    """y_n = Σ_j w_nj · down_e (silu(gate_e x_n) · up_e x_n),  e = experts_nj.

    x (N, C); weights and experts (N, k), of `top_k_routing`; gate_up (E, 2·I, C), the rows of gate
    and then of up; down (E, C, I). Returns (N, C).

    Tokens are laid in the order of their experts, so that each expert is one product over its own
    tokens, and none computes for others. The gradients go the same way: those of `combine`, then
    the VJPs of the linear layers and of SwiGLU, and dx_n is the sum over its k experts.
    """
    (N, C), k, I = x.shape, experts.shape[1], down.shape[2]
    order, stops = dispatch(experts, len(down))
    rows, stops = order // k, stops.tolist()
    busy = [(e, slice(a, b)) for e, (a, b) in enumerate(zip([0, *stops], stops)) if a < b]

    inputs = x[rows]  # (N·k, C)
    hidden = np.empty((N * k, 2 * I), x.dtype)
    outputs = np.empty((N * k, C), x.dtype)
    for e, part in busy:
        hidden[part] = linear.raw(inputs[part], gate_up[e])[0]
    inner, swiglu_vjp = swiglu.raw(hidden[:, :I], hidden[:, I:])  # (N·k, I)
    for e, part in busy:
        outputs[part] = linear.raw(inner[part], down[e])[0]
    y, combine_vjp = combine.raw(outputs, weights, order)

    def vjp(g):
        dout, dweights, _ = combine_vjp(g)  # (N·k, C), (N, k)
        dgate_up, ddown = np.zeros_like(gate_up), np.zeros_like(down)
        dinner, dinputs = np.empty_like(inner), np.empty_like(inputs)
        for e, part in busy:
            dinner[part] = dout[part] @ down[e]
            np.matmul(dout[part].T, inner[part], out=ddown[e])
        dhidden = np.concatenate(swiglu_vjp(dinner), axis=1)  # (N·k, 2·I)
        for e, part in busy:
            dinputs[part] = dhidden[part] @ gate_up[e]
            np.matmul(dhidden[part].T, inputs[part], out=dgate_up[e])
        dx, _ = combine.raw(dinputs, np.ones((N, k), x.dtype), order)
        return dx, dweights, None, dgate_up, ddown

    return y, vjp


@primitive
def auxiliary_loss(logits, k, counts=None):
    """E · Σ_e f_e P_e: small where all E experts have equally much to do.

    logits (N, E), the router's. f_e: how often a token chooses expert e among its k, per token;
    P_e: the mean probability of e in the softmax. counts (N,): 1 (or True) for tokens, 0 for
    padding. Returns a scalar: k where all are equal (f sums to k, P to 1), and E where k is 1 and
    one expert has everything.  (Fedus et al. 2021, eq. 4-6.)

    What is chosen does not change with a small step, so f has no gradient; P has:
        dp_ne = E f_e g / N,    and then softmax's VJP.
    """
    (N, E), (p, softmax_vjp) = logits.shape, ops.softmax.raw(logits)
    real = np.ones(N, p.dtype) if counts is None else np.asarray(counts).astype(p.dtype)
    chosen = np.bincount(top_k(p, k).reshape(-1), weights=np.repeat(real, k), minlength=E)
    scale = (chosen * (E / float(real.sum()) ** 2)).astype(p.dtype)  # E f_e / N
    loss = np.asarray((p * real[:, None]).sum(0) @ scale, logits.dtype)
    return loss, lambda g: softmax_vjp(g * real[:, None] * scale)


def load_balancing_loss(router_logits, k, mask=None):
    """`auxiliary_loss` over the tokens of all layers.

    router_logits: (N, E) of each layer; mask (N,) or of N entries: 1 for tokens, 0 for padding.
    """
    N, _ = router_logits[0].shape
    real = np.ones(N) if mask is None else np.asarray(mask).reshape(-1)
    if real.shape != (N,):
        raise ValueError(f"load_balancing_loss: mask has {real.size} entries for {N} tokens")
    return auxiliary_loss(ops.concat(list(router_logits)), k, np.tile(real, len(router_logits)))
