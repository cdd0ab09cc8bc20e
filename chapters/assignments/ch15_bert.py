"""Chapter 15. BERT: what you write.

The first two functions make what BERT is trained on, the next two are what stands on top of it, the
last one is half of its loss. It returns two things, the loss and `vjp`, a function that takes the
gradient g of whatever is computed from the loss and returns a tuple with the gradient of the
logits. None of them changes its arguments.
Write plain NumPy; replace `raise NotImplementedError` by your code.

    pytest tests/assignments -k ch15          grades this file
"""

import numpy as np  # noqa: F401


def mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    """Hide some tokens of a batch, and say which were there.

    input_ids (B, T) integers; maskable (B, T) booleans, False for [CLS], [SEP] and padding.
    chosen, fate (B, T): numbers drawn uniformly from 0 to 1; random_ids (B, T): drawn tokens.
    A maskable token is to be predicted where chosen < 0.15. Of these,
        those with fate < 0.8 become mask_token_id,
        those with 0.8 ≤ fate < 0.9 become the drawn token of their place,
        the others stay as they are (and are to be predicted all the same).
    Returns two arrays of integers (B, T): the ids that the model is given, and the labels, which
    are the tokens that it is to predict, and -100 where it is to predict none.

    >>> input_ids = np.array([[2, 11, 12, 13, 14, 3]])           # [CLS], four words, [SEP]
    >>> maskable = np.array([[False, True, True, True, True, False]])
    >>> chosen = np.array([[0.01, 0.1, 0.05, 0.7, 0.14, 0.02]])  # the third word is not chosen
    >>> fate = np.array([[0.3, 0.5, 0.85, 0.2, 0.95, 0.1]])
    >>> random_ids = np.array([[20, 21, 22, 23, 24, 25]])
    >>> ids, labels = mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id=4)
    >>> ids
    array([[ 2,  4, 22, 13, 14,  3]])
    >>> labels
    array([[-100,   11,   12, -100,   14, -100]])
    """
    raise NotImplementedError


def sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    """A batch of pairs of sentences, each [CLS] first [SEP] second [SEP].

    first, second: for each row a list of ids, without marks; a list may be empty. Rows are filled
    up behind with pad_token_id, to the length T of the longest.
    Returns three arrays of integers (B, T):
        input_ids
        token_type_ids    0 up to the first [SEP], 1 from there to the second; 0 for padding
        attention_mask    1 for tokens, 0 for padding

    >>> ids, types, mask = sentence_pairs([[11, 12], [13]], [[14], []], 2, 3)
    >>> ids
    array([[ 2, 11, 12,  3, 14,  3],
           [ 2, 13,  3,  3,  0,  0]])
    >>> types
    array([[0, 0, 0, 0, 1, 1],
           [0, 0, 0, 1, 0, 0]])
    >>> mask
    array([[1, 1, 1, 1, 1, 1],
           [1, 1, 1, 1, 0, 0]])
    """
    raise NotImplementedError


def mean_pooling(last_hidden_state, attention_mask):
    """The vector of a sentence: the mean over its tokens, padding left out.

        out[b] = Σ_t mask[b, t] h[b, t] / Σ_t mask[b, t]

    last_hidden_state h (B, T, C); attention_mask (B, T), 1 (or True) for tokens, 0 for padding.
    Returns (B, C) in the dtype of h; zeros for a row that has no token. What stands in padding does
    not matter, be it infinite.

    >>> h = np.array([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]])
    >>> mean_pooling(h, np.array([[1, 1, 0]]))
    array([[2., 4.]])
    """
    raise NotImplementedError


def mlm_head(x, dense, activation, norm, decoder, chosen=None):
    """The scores of all tokens for what is hidden: decoder(norm(activation(dense(x)))).

    x (B, T, C), hidden states. The parts are functions: dense, activation and norm take (..., C)
    and return (..., C); decoder returns (..., V). chosen (B, T) booleans, or None for all places.
    Returns (B, T, V), or (N, V) for the N chosen places, row by row. The parts are given nothing of
    the other places: what nobody asks for is not computed.

    >>> x = np.array([[[1.0], [2.0], [5.0]]])                      # one text, T = 3, C = 1
    >>> def double(x):
    ...     return 2 * x
    >>> def square(x):
    ...     return x * x
    >>> def less_one(x):
    ...     return x - 1
    >>> def two_tokens(x):
    ...     return x * np.array([1.0, 10.0])                       # V = 2
    >>> mlm_head(x, double, square, less_one, two_tokens, np.array([[False, True, True]]))
    array([[ 15., 150.],
           [ 99., 990.]])
    """
    raise NotImplementedError


def next_sentence_loss(logits, labels, num_items=None):
    """Mean of -ln p[label] over pairs of sentences, p the softmax of two logits.

    logits (B, 2): for "the second sentence follows the first", class 0, and "it does not", class 1.
    labels (B,): 0 or 1 for each pair. num_items: the number to divide by; None: B.
    Returns (loss, vjp): loss () in the dtype of the logits; vjp(g ()) -> (dlogits (B, 2),).

    >>> logits = np.array([[np.log(3.0), 0.0], [0.0, 0.0]])     # p: 3/4 1/4 and 1/2 1/2
    >>> loss, vjp = next_sentence_loss(logits, np.array([1, 0]))          # (ln 4 + ln 2) / 2
    >>> round(float(loss), 4)
    1.0397
    >>> vjp(np.array(1.0))[0].round(4)
    array([[ 0.375, -0.375],
           [-0.25 ,  0.25 ]])
    """
    raise NotImplementedError


def cut_lengths(first, second, room):
    """How many tokens of each sentence of a pair may stay, when `room` tokens fit in all.

    For honor: no hints, no points, a star.

    The longer sentence loses tokens first, until both are equally long; from then on they lose
    alike. Of an odd room, the token that is left over goes to the sentence that was longer, or to
    the second if both were equally long. A room below 0 is as good as none.
    first, second: how many tokens they have; room: integers, all. Returns a tuple of two integers.
    You need no loop.

    >>> cut_lengths(9, 3, 8), cut_lengths(9, 7, 8), cut_lengths(3, 2, 8)
    ((5, 3), (4, 4), (3, 2))
    """
    raise NotImplementedError
