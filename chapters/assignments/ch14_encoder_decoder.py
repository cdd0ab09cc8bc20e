"""Chapter 14. Encoder, decoder, both: what you write.

`cross_attention` and `label_smoothed_cross_entropy` return two things: the value, and `vjp`, a
function that takes the gradient g of the loss with respect to the value and returns a tuple with
the gradient of each array, in order. The others are plain functions. None of them changes its
arguments.
Write plain NumPy; replace `raise NotImplementedError` by your code. Of the library you may use what
you wrote in chapters 06 and 08: `F.softmax.raw`, `F.split_heads.raw`, `F.merge_heads.raw` and
`F.grouped_query_attention.raw`; each returns (out, vjp), as yours did.

    pytest tests/assignments -k ch14          grades this file
"""

import math  # noqa: F401

import numpy as np  # noqa: F401

from tinyqwen import functional as F  # noqa: F401


def cross_attention(query, key, value, head_dim, mask=None, dropout=0.0):
    """Attention from one text to another: softmax(Q Kᵀ / √D + mask) V, head by head.

    query (B, T, C), of the text that asks; key and value (B, S, C), of the text that is read. Head
    h is the features from h·D to (h+1)·D, where D is head_dim; there are H = C / D heads.
    mask: boolean, True where attention is allowed; it broadcasts to (B, H, T, S). None: all is. A
    query that may see nothing gets zeros, as output and as weights.
    dropout is the library's; leave it unused.
    Returns ((out, weights), vjp): out (B, T, C), the heads side by side again, and the weights
    (B, H, T, S), in query's dtype; vjp((g, dweights)) -> (dquery, dkey, dvalue), each in the shape
    of its input. It is given a gradient for each of the two results.

    >>> query = np.array([[[0.0, 0.0]]])                       # one token asks, in two heads of one
    >>> key = np.zeros((1, 3, 2))                              # three are read
    >>> value = np.array([[[3.0, 30.0], [6.0, 60.0], [9.0, 90.0]]])
    >>> (out, weights), vjp = cross_attention(query, key, value, 1)
    >>> out                                                    # a mean of all three in each head
    array([[[ 6., 60.]]])
    >>> weights.shape
    (1, 2, 1, 3)
    >>> padding = np.array([[[[True, True, False]]]])          # the third is padding
    >>> (out, weights), vjp = cross_attention(query, key, value, 1, padding)
    >>> out
    array([[[ 4.5, 45. ]]])
    >>> dquery, dkey, dvalue = vjp((np.array([[[1.0, 10.0]]]), np.zeros((1, 2, 1, 3))))
    >>> dvalue
    array([[[0.5, 5. ],
            [0.5, 5. ],
            [0. , 0. ]]])
    """
    raise NotImplementedError


def shift_tokens_right(labels, pad_token_id, decoder_start_token_id):
    """What a decoder reads while it is to write the labels: one place later, behind a start token.

    labels (B, T) integers: the target's tokens, and -100 where a row is filled up.
    Returns (B, T) integers: decoder_start_token_id, then the labels but the last; -100, which is no
    token and has no row in the table of embeddings, becomes pad_token_id.

    >>> shift_tokens_right(np.array([[5, 6, 7], [8, 9, -100]]), 0, 2)
    array([[2, 5, 6],
           [2, 8, 9]])
    """
    raise NotImplementedError


def encoder_decoder_masks(attention_mask, decoder_attention_mask):
    """The three masks of an encoder-decoder, True where a query may attend to a key.

    attention_mask (B, S) of the source and decoder_attention_mask (B, T) of the target are 1 for
    tokens and 0 for padding. Returns three boolean arrays (B, 1, queries, keys), one axis of length
    1 for all heads:

        encoder, (B, 1, S, S): the source sees all of the source
        decoder, (B, 1, T, T): the target sees itself up to the query, the query included
        cross,   (B, 1, T, S): the target sees all of the source

    and nobody sees padding: where a *key* is padding, its column is False. Queries that are padding
    get the row that a token in their place would have; nobody reads what comes out.

    >>> encoder, decoder, cross = encoder_decoder_masks(np.array([[1, 1, 0]]), np.array([[1, 1]]))
    >>> encoder[0, 0].astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [1, 1, 0]])
    >>> decoder[0, 0].astype(int)
    array([[1, 0],
           [1, 1]])
    >>> cross[0, 0].astype(int)
    array([[1, 1, 0],
           [1, 1, 0]])
    """
    raise NotImplementedError


def label_smoothed_cross_entropy(
    logits, labels, label_smoothing=0.1, ignore_index=-100, num_items=None
):
    """Mean of -Σ_v q_v ln p_v over the rows that count; p is the softmax of the row's logits.

    q, the label, is not one-hot: a share ε of it is spread over all V tokens alike,

        q_v = (1 - ε) [v = label] + ε / V                          ε = label_smoothing

    logits (..., V) floats; labels (...) integers from 0 to V - 1, one for each row of logits.
    ignore_index: a row with this label does not count: it adds nothing, and its gradient is 0.
    num_items: the number to divide by; None: the number of rows that count. If none counts, the
        loss is 0.
    Returns (loss, vjp): loss () in the dtype of the logits; vjp(g ()) -> (dlogits (..., V),).

    >>> logits = np.log([[4.0, 2.0, 1.0, 1.0]])                # p: 1/2 1/4 1/8 1/8
    >>> loss, vjp = label_smoothed_cross_entropy(logits, np.array([0]), 0.4)
    >>> round(float(loss) / np.log(2), 4)                      # 0.7·1 + 0.1·2 + 0.1·3 + 0.1·3
    1.5
    >>> vjp(np.array(1.0))[0].round(4)                         # p - q, and q is 0.7 0.1 0.1 0.1
    array([[-0.2  ,  0.15 ,  0.025,  0.025]])
    """
    raise NotImplementedError


def post_norm_block(x, sublayers):
    """x ← norm(x + sublayer(x)), for one sublayer after the other: "Add & Norm".

    x (B, T, C). sublayers: a list of pairs (sublayer, norm), both functions that take (B, T, C) and
    return (B, T, C). An encoder's block has two pairs, a decoder's three. Each sublayer reads what
    the pair before it has made. Returns (B, T, C).

    >>> def double(x):
    ...     return 2 * x
    >>> def minus_one(x):
    ...     return x - 1
    >>> def half(x):
    ...     return x / 2
    >>> post_norm_block(np.array([[[1.0, 3.0]]]), [(double, minus_one), (minus_one, half)])
    array([[[1.5, 7.5]]])
    """
    raise NotImplementedError


def beam_search_step(log_probs, scores, num_candidates):
    """The best continuations of a text's beams by one token, over all beams together.

    log_probs (B, K, V): of the next token after each of the K beams of each of B texts;
    scores (B, K): the log-probability of each beam so far. A continuation's score is the sum of the
    two. num_candidates: how many to return of the K·V that there are, at most as many.
    Returns three arrays (B, num_candidates), the best first: the scores, which beam is continued,
    and with which token.

    >>> log_probs = np.log([[[0.5, 0.3, 0.2],                  # after beam 0
    ...                      [0.1, 0.1, 0.8]]])                # after beam 1
    >>> scores, beams, tokens = beam_search_step(log_probs, np.log([[0.6, 0.4]]), 3)
    >>> np.exp(scores).round(2)                                # 0.4·0.8, 0.6·0.5, 0.6·0.3
    array([[0.32, 0.3 , 0.18]])
    >>> beams
    array([[1, 0, 0]])
    >>> tokens
    array([[2, 0, 1]])
    """
    raise NotImplementedError


def length_penalized_score(score, length, length_penalty):
    """score / length ** length_penalty: texts of unequal length, made comparable.

    score: a text's log-probability, a number that is not positive; length: its tokens, at least 1.
    length_penalty: 0 leaves the score as it is, 1 makes it the mean over the tokens, more prefers
    long texts, and a negative one short texts. Returns a number.

    >>> length_penalized_score(-6.0, 4, 0.5)
    -3.0
    >>> length_penalized_score(-6.0, 3, 1.0)
    -2.0
    """
    raise NotImplementedError


def bleu(hypotheses, references, max_order=4):
    """BLEU of a set of translations, from 0 to 1. (A stretch: for honor, without points or hints.)

        BLEU = brevity penalty · (p₁ p₂ … p_N)^(1/N)                            N = max_order
        pₙ = Σ clipped matches / Σ n-grams of the hypotheses, each sum over all sentences
        brevity penalty = 1 if c > r, else exp(1 - r/c)

    hypotheses and references: lists of as many sentences, each a list of tokens. An n-gram of a
    hypothesis matches at most as often as it stands in the reference of the same place ("clipped").
    c and r: tokens of all hypotheses and of all references. Where one pₙ is 0, for want of matches
    or of n-grams, BLEU is 0. Returns a float.

    >>> round(bleu([["I", "have", "a", "dog"]], [["I", "have", "a", "cat"]], 2), 4)   # √(3/4 · 2/3)
    0.7071
    >>> round(bleu([["a", "a"]], [["a", "cat", "sat"]], 1), 4)                 # 1/2 · exp(1 - 3/2)
    0.3033
    """
    raise NotImplementedError
