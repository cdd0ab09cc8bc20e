"""Sampling: from the model's logits of the next token to the choice of one.

Each processor is a function from logits (B, V) to logits (B, V), for a batch of B texts and a
vocabulary of V, and leaves its input alone. A token that is ruled out gets -inf, probability zero.
`process_logits` runs them one after the other; `loop.py` is the loop around it.
"""

import numpy as np

from tinyqwen.generation.constraints import forbid_repeated_ngrams, forbid_words, force_tokens
from tinyqwen.generation.settings import check


def apply_repetition_penalty(logits, input_ids, penalty):
    """Make every token that has occurred less likely, once, however often it did.

        l_v  ->  l_v / penalty  if l_v >= 0,  l_v · penalty  if l_v < 0,   for v in input_ids

    logits (B, V); input_ids (B, T) integers, where entries outside 0 … V - 1 (say -1, for padding)
    count as no token; penalty > 0, and above 1 it discourages. Returns (B, V).
    (Keskar et al. 2019, "CTRL", section 4.1; the case l_v < 0 is Hugging Face's.)

    >>> apply_repetition_penalty(np.array([[2.0, -1.0, 3.0]]), np.array([[0, 1, 0]]), 2.0)
    array([[ 1., -2.,  3.]])
    """
    check("repetition_penalty", penalty)
    input_ids, penalty = np.asarray(input_ids), float(penalty)
    rows, times = np.nonzero((input_ids >= 0) & (input_ids < logits.shape[-1]))
    columns = input_ids[rows, times]
    seen = logits[rows, columns]
    out = logits.copy()
    out[rows, columns] = np.where(seen < 0, seen * penalty, seen / penalty)
    return out


def apply_temperature(logits, temperature):
    """l / temperature: below 1 the distribution becomes sharper, above 1 flatter.

    logits (B, V), temperature > 0. Returns (B, V). The limit 0 is greedy decoding, which needs no
    division. (Ackley et al. 1985, "A learning algorithm for Boltzmann machines", section 2.)

    >>> apply_temperature(np.array([[1.0, -2.0]]), 0.5)
    array([[ 2., -4.]])
    """
    check("temperature", temperature)
    if temperature == 0:
        raise ValueError("temperature 0 is greedy decoding: take the argmax, nothing is divided")
    return logits / float(temperature)  # a NumPy float64 would promote float32 logits


def apply_top_k(logits, k):
    """Keep the k largest logits of each row, and what ties with the k-th; the others become -inf.

    logits (B, V); k a positive integer, all are kept if it is V or more. Returns (B, V).
    (Fan et al. 2018, "Hierarchical neural story generation", section 5.4.)

    >>> apply_top_k(np.array([[1.0, 4.0, 2.0, 3.0]]), 2)
    array([[-inf,   4., -inf,   3.]])
    """
    check("top_k", k)
    V = logits.shape[-1]
    smallest_kept = np.partition(logits, V - min(k, V))[..., V - min(k, V), None]
    return np.where(logits < smallest_kept, -np.inf, logits)


def apply_top_p(logits, p):
    """Keep the likeliest tokens that together reach probability p; the others become -inf.

    Sorted from the least likely up, tokens go while the sum of their probabilities is <= 1 - p. So
    the token that makes the rest reach p is kept, and the likeliest always is: the nucleus.

    logits (B, V), 0 <= p <= 1. Returns (B, V).
    (Holtzman et al. 2020, "The curious case of neural text degeneration", section 3.1.)

    >>> apply_top_p(np.log(np.array([[0.1, 0.6, 0.3]])), 0.8).round(2)
    array([[ -inf, -0.51, -1.2 ]])
    """
    check("top_p", p)
    order = np.argsort(logits, axis=-1, kind="stable")  # ascending
    probabilities = np.take_along_axis(_softmax(logits), order, -1)
    tail = np.cumsum(probabilities, -1, np.float64).astype(logits.dtype)
    tail[..., -1] = 2  # the likeliest token stays, whatever p is
    removed = np.empty(logits.shape, bool)
    np.put_along_axis(removed, order, tail <= 1 - float(p), -1)
    return np.where(removed, -np.inf, logits)


def apply_min_p(logits, p):
    """Keep tokens at least p times as likely as the likeliest; the others become -inf.

    logits (B, V), 0 <= p <= 1. Returns (B, V). Where the model is sure, few tokens are left, where
    it is not, many. (Nguyen et al. 2024, "Turning up the heat: min-p sampling", section 3.)

    >>> apply_min_p(np.log(np.array([[0.1, 0.6, 0.3]])), 0.25).round(2)
    array([[ -inf, -0.51, -1.2 ]])
    """
    check("min_p", p)
    probabilities = _softmax(logits)
    threshold = float(p) * probabilities.max(-1, keepdims=True)
    return np.where(probabilities < threshold, -np.inf, logits)


def sample_next(logits, u):
    """Draw a token of each row from softmax(logits), by inverting the distribution function:

        the first v with  Σ_{w <= v} p_w > u

    logits (B, V); u (B,) numbers from [0, 1), uniform ones, as `Generator.random(B)` draws them.
    Returns (B,) integers. A token with logit -inf is never drawn. Raises ValueError where no
    distribution is left. (Devroye 1986, "Non-uniform random variate generation", section III.2.)

    >>> sample_next(np.log(np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]])), np.array([0.1, 0.69]))
    array([0, 1])
    """
    cumulative = np.cumsum(_softmax(logits), -1, np.float64)
    total = cumulative[..., -1]
    if not np.isfinite(total).all():
        raise ValueError("the logits leave no distribution to sample from (NaN, +inf or all -inf)")
    u = u * total  # the sum is 1 only up to rounding
    return (cumulative <= u[..., None]).sum(-1)


def _softmax(logits):
    with np.errstate(invalid="ignore"):  # -inf - -inf, where a whole row is -inf
        e = np.exp(logits - logits.max(-1, keepdims=True))
    e /= e.sum(-1, keepdims=True)
    return e


def log_softmax(logits):
    """Logits (B, V) -> log-probabilities (B, V)."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def process_logits(logits, input_ids, config):
    """Run the processors that a GenerationConfig asks for, in transformers' order.

    logits (B, V), or log-probabilities; input_ids (B, T) with -1 for padding. Returns (B, V).
    Without do_sample there is only what changes which token is the best: penalty and constraints.
    """
    length, pad = input_ids.shape[1], config.pad_token_id
    if config.repetition_penalty != 1:
        logits = apply_repetition_penalty(logits, input_ids, config.repetition_penalty)
    if config.no_repeat_ngram_size is not None:
        # Here padding counts as the token it is, in transformers and therefore here.
        text = input_ids if pad is None else np.where(input_ids < 0, pad, input_ids)
        logits = forbid_repeated_ngrams(logits, text, config.no_repeat_ngram_size)
    if config.bad_words_ids:
        logits = forbid_words(logits, input_ids, config.bad_words_ids)
    if config.forced_bos_token_id is not None and length == 1:
        logits = force_tokens(logits, [config.forced_bos_token_id])
    if config.forced_eos_token_id and length + 1 == config.max_length:
        logits = force_tokens(logits, config.forced_eos_token_id)
    if config.do_sample:
        if config.temperature != 1:
            logits = apply_temperature(logits, config.temperature)
        if config.top_k is not None:
            logits = apply_top_k(logits, config.top_k)
        if config.top_p is not None and config.top_p < 1:
            logits = apply_top_p(logits, config.top_p)
        if config.min_p is not None:
            logits = apply_min_p(logits, config.min_p)
    return log_softmax(logits) if config.renormalize_logits else logits
