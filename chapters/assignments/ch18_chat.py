"""Chapter 18. Chat and LoRA: what you write.

The first three functions make conversations into what a model learns from: where answers begin and
end, the labels, and the mask of several conversations in a row. The other two are LoRA. `lora`
returns two things: the value, and `vjp`, a function that takes the gradient g of the loss with
respect to the value and returns a tuple with the gradient of each array, in order. `low_rank`, at
the end, is for honor: it gives no points, and there are no hints.
Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch18          grades this file
"""

import numpy as np  # noqa: F401


def answer_parts(prompts, wholes):
    """A list of a conversation's parts, (text, whether it is an answer), none of them empty.

    prompts: for each answer, all text before it, with the opening of its turn. wholes: for each
    answer, all text to the end of its turn. Both are as a chat template draws them, so all of
    them begin alike. In order, the parts make up the last of the wholes.
    What closes a turn, such as <|im_end|>, is part of the answer: the model must learn to stop.
    The line ends at the very end of a whole are not: they part this turn from the next.
    Raises ValueError if a whole does not begin with its prompt, or a prompt does not begin with
    the prompt and the answer before: a template that changes earlier turns.

    >>> answer_parts(["Q: 1+1? A: ", "Q: 1+1? A: 2.\\nQ: 2+2? A: "],
    ...              ["Q: 1+1? A: 2.\\n", "Q: 1+1? A: 2.\\nQ: 2+2? A: 4.\\n"])
    [('Q: 1+1? A: ', False), ('2.', True), ('\\nQ: 2+2? A: ', False), ('4.', True), ('\\n', False)]
    """
    raise NotImplementedError


def chat_labels(parts, ignore_index=-100):
    """The ids of a conversation, and their labels: themselves in answers, elsewhere ignore_index.

    parts: list of (list of token ids, whether it is an answer), in order.
    Returns (ids (T,), labels (T,)), two arrays of int64. A label stands at the place of its id:
    that the id at t + 1 is predicted at t is seen to by the model.

    >>> ids, labels = chat_labels([([5, 6, 7], False), ([8, 9], True), ([5], False)])
    >>> ids
    array([5, 6, 7, 8, 9, 5])
    >>> labels
    array([-100, -100, -100,    8,    9, -100])
    """
    raise NotImplementedError


def packed_mask(owner):
    """True where query and key are of one conversation, of several that are packed into a row.

    owner (B, T) integers: to which conversation of its row each place belongs. What fills the row
    up has a number of its own. That no token sees a later one is not your concern: the model adds
    it. Returns a boolean array (B, 1, T, T), batch, head, query, key: the same for all heads.

    >>> packed_mask(np.array([[0, 0, 1]])).astype(int)
    array([[[[1, 1, 0],
             [1, 1, 0],
             [0, 0, 1]]]])
    """
    raise NotImplementedError


def lora(x, A, B, scaling=1.0):
    """y = scaling · B A x for every row of x: what an adapter adds to a linear layer.

    x (..., in), A (r, in), B (out, r); scaling is a number.
    Returns (out, vjp): out (..., out) in x's dtype; vjp(g (..., out)) -> (dx, dA, dB), each in the
    shape of its input. The matrix B A, (out, in), is what LoRA is there to avoid: do not form it.

    >>> x = np.array([[1.0, 2.0]])
    >>> A, B = np.array([[3.0, 1.0]]), np.array([[1.0], [0.0], [-2.0]])   # rank 1
    >>> out, vjp = lora(x, A, B, 2.0)
    >>> out                                   # A x = 5, and 2 · 5 · B
    array([[ 10.,   0., -20.]])
    >>> dx, dA, dB = vjp(np.array([[1.0, 1.0, 1.0]]))
    >>> dx
    array([[-6., -2.]])
    >>> dA
    array([[-2., -4.]])
    >>> dB
    array([[10.],
           [10.],
           [10.]])
    """
    raise NotImplementedError


def merge(weight, A, B, scaling=1.0):
    """W + scaling · B A: one weight that computes what the layer and its adapter did.

    weight (out, in), A (r, in), B (out, r); scaling is a number. Returns a new array (out, in), in
    weight's dtype; the weight that is given stays as it is, for other adapters.

    >>> A, B = np.array([[1.0, 2.0]]), np.array([[1.0], [3.0]])
    >>> merge(np.array([[1.0, 0.0], [0.0, 1.0]]), A, B, 2.0)
    array([[ 3.,  4.],
           [ 6., 13.]])
    """
    raise NotImplementedError


def low_rank(matrix, r):
    """A (r, in) and B (out, r) whose product B A is nearest to a matrix (out, in), entry by entry.

    Nearest: the sum of the squares of matrix - B A is as small as it can be. Eckart and Young
    (1936) say how: take the singular value decomposition U S Vᵀ, keep the r largest singular
    values, and let A and B have a square root of each. Raises ValueError for an r below 1, or above
    the number of the matrix's rows or columns.

    >>> A, B = low_rank(np.array([[4.0, 0.0], [0.0, 1.0]]), 1)
    >>> abs(B @ A)
    array([[4., 0.],
           [0., 0.]])
    >>> A.shape, B.shape
    ((1, 2), (2, 1))
    """
    raise NotImplementedError
