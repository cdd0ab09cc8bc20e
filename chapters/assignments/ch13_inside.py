"""Chapter 13. Inside the model: what you write.

The first four functions measure what a trained model does. The last five are the ward: four
trained models are ill, of one fault each, and you say which, and prove it by a test. Write plain
NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch13          grades this file
"""

import numpy as np  # noqa: F401

from tinyqwen import functional as F  # noqa: F401


def previous_token_score(weights):
    """How much each head looks at the token before: the mean of w[t, t - 1].

    weights (B, H, T, T): attention weights, a row for each query, a column for each key.
    Returns (H,), in weights' dtype: the mean over the rows of the batch and the queries t ≥ 1;
    0 where there is only one token.

    >>> weights = np.array([[[[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.2, 0.5, 0.3]]]])
    >>> previous_token_score(weights)                 # (0.9 + 0.5) / 2
    array([0.7])
    """
    raise NotImplementedError


def induction_score(weights, ids):
    """How much each head looks at what followed an earlier occurrence of the present token.

    Having read "A B … A", such a head looks at B. weights (B, H, T, T), ids (B, T) integers. For
    the query t, the keys s that count have s - 1 < t and ids[s - 1] = ids[t]. Sum their weights.
    Then take the mean over those queries, in all rows of the batch, that have such a key.
    Returns (H,), in weights' dtype; 0 where no token occurs twice.

    >>> ids = np.array([[7, 3, 5, 7, 3]])             # 7 again at 3, and 3 again at 4
    >>> weights = np.zeros((1, 1, 5, 5))
    >>> weights[0, 0, 3] = [0.1, 0.8, 0.0, 0.1, 0.0]  # after the first 7 stands key 1: 0.8
    >>> weights[0, 0, 4] = [0.2, 0.2, 0.4, 0.1, 0.1]  # after the first 3 stands key 2: 0.4
    >>> induction_score(weights, ids)                 # (0.8 + 0.4) / 2
    array([0.6])
    """
    raise NotImplementedError


def logit_lens(hidden_states, norm_weight, lm_head_weight, eps=1e-6):
    """What each layer would say if it were the last: lm_head(norm(h)) for every hidden state.

    hidden_states (L + 1, B, T, C), as a model returns them: the embeddings, then the output of each
    layer, and the last of them **has been through the final norm already**. norm_weight (C,) and
    eps belong to that norm, an RMSNorm; lm_head_weight (V, C).
    Returns the logits (L + 1, B, T, V). The last are the model's own.

    >>> states = np.array([[[[3.0, 4.0]]], [[[0.0, 1.0]]]])             # L = 1, one token
    >>> head = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> logit_lens(states, np.array([2.0, 1.0]), head, eps=0.0).round(4)[:, 0, 0]
    array([[1.6971, 1.1314, 2.8284],
           [0.    , 1.    , 1.    ]])
    """
    raise NotImplementedError


def ablate_head(o_proj_weight, head, head_dim):
    """The output projection without one head: what that head says is no longer heard.

    o_proj_weight (C, H·D), D = head_dim: it reads the outputs of the heads side by side, head h in
    the features from h·D to (h + 1)·D. Returns a new array in which `head` has no part. The weight
    that is given stays as it is: the head will be wanted again.

    >>> ablate_head(np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]), head=1, head_dim=2)
    array([[1., 2., 0., 0., 5., 6.]])
    """
    raise NotImplementedError


def diagnoses():
    """What ails the patients: {"a": …, "b": …, "c": …, "d": …}, each with one of these names.

        "no causal mask"                "labels not shifted"        "learning rate too high"
        "dropout left on"               "no positions at all"       "keys not rotated"
        "RoPE interleaved"              "K/V heads tiled"           "scores not scaled"
        "no residual around attention"  "no residual around the MLP"
        "norm over the batch"

    >>> sorted(diagnoses())
    ['a', 'b', 'c', 'd']
    """
    raise NotImplementedError


def check_a(model, inside, ids):
    """Your test for patient A: True if a model is free of A's fault, False if it has it.

    model:  function, model(ids, positions=None) -> logits (B, T, V). ids (B, T) integers below V;
            positions (T,) integers below 512, 0 … T - 1 unless you give others.
    inside: function, inside(ids, positions=None) -> {"stream": (L + 1, B, T, C), "attention":
            (L, B, T, C), "mlp": (L, B, T, C)}: the residual stream as it comes from the embeddings
            and after each layer, and what the two blocks of each layer put out.
    ids:    (B, T) integers, at least two rows of at least eight random tokens, to begin with.

    It meets patient A, the sound model, models of other sizes and weights with A's fault in all
    layers or in one, and the other patients, whose faults it must not mind. It sees all of them
    through these two functions only. Here, a model that has nothing wrong with it:

    >>> def model(ids, positions=None):
    ...     return np.eye(9)[ids]                     # logits: 1 for the token itself
    >>> def inside(ids, positions=None):
    ...     return {"stream": np.ones((1, *ids.shape, 4)), "attention": np.ones((0, *ids.shape, 4)),
    ...             "mlp": np.ones((0, *ids.shape, 4))}
    >>> check_a(model, inside, np.array([[1, 2, 3, 4, 5, 6, 7, 8], [2, 4, 6, 8, 1, 3, 5, 7]]))
    True
    """
    raise NotImplementedError


def check_b(model, inside, ids):
    """Your test for patient B. Arguments and result are those of `check_a`.

    >>> def model(ids, positions=None):
    ...     return np.eye(9)[ids]
    >>> def inside(ids, positions=None):
    ...     return {"stream": np.ones((1, *ids.shape, 4)), "attention": np.ones((0, *ids.shape, 4)),
    ...             "mlp": np.ones((0, *ids.shape, 4))}
    >>> check_b(model, inside, np.array([[1, 2, 3, 4, 5, 6, 7, 8], [2, 4, 6, 8, 1, 3, 5, 7]]))
    True
    """
    raise NotImplementedError


def check_c(model, inside, ids):
    """Your test for patient C. Arguments and result are those of `check_a`.

    >>> def model(ids, positions=None):
    ...     return np.eye(9)[ids]
    >>> def inside(ids, positions=None):
    ...     return {"stream": np.ones((2, *ids.shape, 4)), "attention": np.ones((1, *ids.shape, 4)),
    ...             "mlp": -np.ones((1, *ids.shape, 4))}
    >>> check_c(model, inside, np.array([[1, 2, 3, 4, 5, 6, 7, 8], [2, 4, 6, 8, 1, 3, 5, 7]]))
    True
    """
    raise NotImplementedError


def check_d(model, inside, ids):
    """Your test for patient D. Arguments and result are those of `check_a`.

    >>> def model(ids, positions=None):
    ...     return np.eye(9)[ids]
    >>> def inside(ids, positions=None):
    ...     return {"stream": np.ones((1, *ids.shape, 4)), "attention": np.ones((0, *ids.shape, 4)),
    ...             "mlp": np.ones((0, *ids.shape, 4))}
    >>> check_d(model, inside, np.array([[1, 2, 3, 4, 5, 6, 7, 8], [2, 4, 6, 8, 1, 3, 5, 7]]))
    True
    """
    raise NotImplementedError


def attention_rollout(attentions):
    """How much of each token's first vector is in each token's last, by the attention alone.

    For honor: no hints, no points, a star on the scoreboard.

        A_l = (mean over the heads of layer l + identity) / 2,    rollout = A_L … A_2 A_1

    The identity is the residual stream, to which every block adds (Abnar & Zuidema 2020).
    attentions (L, B, H, T, T), the first layer first. Returns (B, T, T), in their dtype, a row for
    each last vector.

    >>> look_back = np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> attention_rollout(np.stack([look_back, look_back])[:, None, None])
    array([[[1.  , 0.  ],
            [0.75, 0.25]]])
    """
    raise NotImplementedError
