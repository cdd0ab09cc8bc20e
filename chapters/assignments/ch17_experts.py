"""Chapter 17. Mixture of experts: what you write.

`top_k_routing`, `combine` and `auxiliary_loss` return two things: the value, and `vjp`, a function
that takes the gradient g of the loss with respect to the value and returns a tuple of gradients;
each docstring says which. The others are plain functions. None of them changes its arguments.
Write plain NumPy; replace `raise NotImplementedError` by your code. Of the library you may use the
softmax of chapter 06, `F.softmax.raw`; it returns (out, vjp), as yours did.

    pytest tests/assignments -k ch17          grades this file
"""

import numpy as np  # noqa: F401

from tinyqwen import functional as F  # noqa: F401


def top_k_routing(logits, k, normalize=False):
    """The k experts that a token goes to, and their weights (Shazeer et al. 2017, section 2.1).

        p = softmax(logits) over all E experts,    w_j = p_{e_j} for the k largest, largest first,
        or with normalize  w_j = p_{e_j} / Σ_j p_{e_j}

    logits (N, E); of equal ones the first is taken. Returns ((weights, experts), vjp), (N, k) each;
    experts are integers. vjp((g (N, k), anything)) -> (dlogits (N, E),).

    >>> (weights, experts), vjp = top_k_routing(np.log([[1.0, 4.0, 1.0, 2.0]]), 2)
    >>> weights, experts                                        # p: 1/8 4/8 1/8 2/8
    (array([[0.5 , 0.25]]), array([[1, 3]]))
    >>> vjp((np.array([[1.0, 0.0]]), None))[0]                  # p (a - Σ p a), a = 0 1 0 0
    array([[-0.0625,  0.25  , -0.0625, -0.125 ]])
    """
    raise NotImplementedError


def dispatch(experts, num_experts):
    """In which order pairs of a token and one of its experts are worked off: expert by expert.

    experts (N, k) integers from 0 to num_experts - 1. Pair number n·k + j is token n with its j-th
    expert. Returns (order, stops): order (N·k,), the pairs' numbers, sorted by expert, and for one
    expert by number; stops (num_experts,), where in `order` each expert's pairs end.

    >>> order, stops = dispatch(np.array([[1], [0], [1]]), 3)   # expert 2 has nothing to do
    >>> order, stops
    (array([1, 0, 2]), array([1, 3, 3]))
    """
    raise NotImplementedError


def combine(outputs, weights, order):
    """y_n = Σ_j w_nj · out_nj: what the experts made of a token, weighted and added up.

    outputs (N·k, C), a row for each pair, in the order of `dispatch`: row i is of pair order[i].
    weights (N, k). Returns (y (N, C), vjp); vjp(g (N, C)) -> (doutputs (N·k, C), dweights (N, k),
    None).

    >>> outputs, weights = np.array([[10.0], [20.0]]), np.array([[0.25, 0.5]])      # one token
    >>> y, vjp = combine(outputs, weights, np.array([1, 0]))    # its second expert came first
    >>> y                                                       # 0.25 · 20 + 0.5 · 10
    array([[10.]])
    >>> doutputs, dweights, _ = vjp(np.array([[1.0]]))
    >>> doutputs.ravel(), dweights
    (array([0.5 , 0.25]), array([[20., 10.]]))
    """
    raise NotImplementedError


def auxiliary_loss(logits, k, counts=None):
    """E · Σ_e f_e P_e: small where all E experts have equally much to do (Fedus et al. 2021).

    logits (N, E), the router's. f_e: how often a token chooses expert e among its k, divided by the
    number of tokens; P_e: the mean over tokens of e's probability in the softmax. counts (N,), 1
    for a token and 0 for padding, which counts neither in f nor in P; None: all count; one counts
    at least.
    Returns (loss, vjp): loss () in the dtype of the logits; vjp(g ()) -> (dlogits (N, E),). f does
    not change with a small step: it has no gradient.

    >>> loss, vjp = auxiliary_loss(np.log([[3.0, 1.0], [3.0, 1.0]]), 1)   # f: 1 0, P: 3/4 1/4
    >>> round(float(loss), 4)                                             # 2 · (3/4)
    1.5
    >>> vjp(1.0)[0].round(4)
    array([[ 0.1875, -0.1875],
           [ 0.1875, -0.1875]])
    """
    raise NotImplementedError


def expert_parameters(config):
    """(all, active): numbers of a layer's mixture of experts, and those that one token uses.

    config: a dict with hidden_size d, num_experts E, num_experts_per_tok k, moe_intermediate_size
    i, shared_expert_intermediate_size s. An expert is a SwiGLU block without biases: three matrices
    of d · i. Besides there are the router, d · E, the shared expert, three matrices of d · s, and
    its gate, d numbers; every token uses these.

    >>> expert_parameters({"hidden_size": 2, "num_experts": 4, "num_experts_per_tok": 1,
    ...     "moe_intermediate_size": 3, "shared_expert_intermediate_size": 5})
    (112, 58)
    """
    raise NotImplementedError


def within_capacity(experts, num_experts, capacity):
    """Which pairs of a token and an expert are worked off, if an expert takes no more than so many.

    experts (N, k) integers. Of each expert's pairs the first `capacity` are kept, in the order of
    tokens. Returns (N, k) booleans.  (Fedus et al. 2021, section 2.2.)

    >>> within_capacity(np.array([[0], [0], [1], [0]]), 2, capacity=2).ravel()
    array([ True,  True,  True, False])
    """
    raise NotImplementedError
