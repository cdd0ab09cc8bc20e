"""Chapter 20. Distillation and pruning: what you write.

`kl_divergence` returns two things: the loss, and `vjp`, a function that takes the gradient g of
whatever is computed from the loss and returns a tuple with the gradient of the student's logits.
The others are plain functions of arrays and numbers. None of them changes its arguments.
Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch20          grades this file
"""

import numpy as np  # noqa: F401


def kl_divergence(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    """T² · Σ_rows Σ_v p_v (ln p_v - ln q_v) / num_items, in nats: how far q is from p.

    q = softmax(logits / T) is the student's distribution of a row, p = softmax(teacher_logits / T)
    the teacher's, T the temperature.
    logits, teacher_logits (..., V); labels (...) integers or None: a row labeled -100 does not
    count, and its gradient is 0. num_items: by default the number of rows that count.
    Returns (loss, vjp): loss () in the dtype of the logits; vjp(g ()) -> (dlogits (..., V),). The
    teacher is given, and has no gradient.

    >>> student, teacher = np.zeros((1, 2)), np.log([[0.75, 0.25]])      # q: 1/2 1/2, p: 3/4 1/4
    >>> loss, vjp = kl_divergence(student, teacher)
    >>> round(float(loss), 4)
    0.1308
    >>> vjp(1.0)[0]
    array([[-0.25,  0.25]])
    """
    raise NotImplementedError


def head_importance(output, gradient):
    """How much the loss feels each head: the mean over texts of |Σ_{t,d} output · gradient|.

    output (B, H, T, D): what the heads return, before they are merged; gradient (B, H, T, D): of
    the loss, with respect to that. Their product, summed over a head's entries in one text, is the
    derivative of the loss by a factor 1 that stands before the head. Returns (H,).

    >>> head_importance(np.ones((1, 2, 1, 3)), np.array([[[[1, -2, 0]], [[1, 1, 1]]]]))
    array([1., 3.])
    """
    raise NotImplementedError


def wanda_score(weight, input_norms):
    """|W_oi| · ‖x_i‖: how much an output would miss a weight  (Sun et al. 2023, eq. 1).

    weight (out, in); input_norms (in,): of each input, its norm over a text; or the number 1, and
    then the score is the weight's magnitude. Returns (out, in).

    >>> wanda_score(np.array([[1.0, -2.0]]), np.array([3.0, 1.0]))
    array([[3., 2.]])
    """
    raise NotImplementedError


def sparsity_mask(score, sparsity):
    """True for the weights that stay: in every row, all but the ⌊sparsity · in⌋ of lowest score.

    score (out, in); sparsity: from 0 up to, not including, 1. Of equal scores the first ones go.
    Returns booleans (out, in). (0.58 · 50 is a bit less than 29 in floating point; 29 are meant.)

    >>> sparsity_mask(np.array([[3.0, 1.0, 2.0, 4.0]]), 0.5)
    array([[ True, False, False,  True]])
    """
    raise NotImplementedError


def two_four_mask(score):
    """True for the best two of each four neighbors in a row.

    score (out, in), where in is a multiple of 4. Of equal scores the first ones go. Returns
    booleans (out, in).

    >>> two_four_mask(np.array([[3.0, 1.0, 2.0, 4.0, 1.0, 2.0, 3.0, 4.0]]))
    array([[ True, False, False,  True, False, False,  True,  True]])
    """
    raise NotImplementedError


def angular_distance(x, y):
    """Mean angle between the rows of x and of y, in units of π: 0, the same direction; 1, opposite.

    x, y (..., d). Returns a number. A cosine that rounding has made larger than 1 counts as 1.
    (Gromov et al. 2024, eq. 7.)

    >>> float(angular_distance(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])))
    0.5
    """
    raise NotImplementedError
