"""Beam search: instead of the best next token, the best text that a few attempts find.

Greedy decoding takes what is best now and cannot take it back. Beam search keeps the K best
unfinished texts, the beams, at every step, continues each of them with every token, and keeps the K
best of what comes out. A text's score is its log-probability, the sum of its tokens'.
(Lowerre 1976, "The Harpy speech recognition system"; Sutskever et al. 2014, section 3.2.)

B texts in the batch, K beams for each, V tokens in the vocabulary.
"""

import numpy as np

from tinyqwen.generation.sampling import log_softmax


def beam_search_step(log_probs, scores, num_candidates):
    """The best continuations of a text's beams by one token, over all beams together.

    log_probs (B, K, V) of the next token after each beam; scores (B, K), of the beams so far.
    A continuation's score is its beam's and its token's together. Returns three arrays
    (B, num_candidates), the best first: scores, which beam is continued, and with which token.

    >>> log_probs = np.log([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]])
    >>> scores, beams, tokens = beam_search_step(log_probs, np.log([[0.6, 0.4]]), 3)
    >>> np.exp(scores).round(2), beams, tokens
    (array([[0.32, 0.3 , 0.18]]), array([[1, 0, 0]]), array([[2, 0, 1]]))
    """
    B, K, V = log_probs.shape
    totals = (scores[:, :, None] + log_probs).reshape(B, K * V)
    best = np.argpartition(-totals, num_candidates - 1)[:, :num_candidates]  # in any order
    order = np.argsort(-np.take_along_axis(totals, best, 1), kind="stable")
    best = np.take_along_axis(best, order, 1)
    beams, tokens = np.divmod(best, V)
    return np.take_along_axis(totals, best, 1), beams, tokens


def length_penalized_score(score, length, length_penalty):
    """score / length ** length_penalty: texts of unequal length, made comparable.

    score: a text's log-probability, a sum of `length` negative numbers, so that short texts have
    the better ones. At length_penalty 0 that stands; at 1 it is the mean over the tokens; above,
    long texts are preferred.  (Wu et al. 2016, "Google's neural machine translation system",
    section 7, has a variant of this form; this one is Hugging Face's.)

    >>> length_penalized_score(-6.0, 3, 1.0), length_penalized_score(-6.0, 3, 0.0)
    (-2.0, -6.0)
    """
    return score / length**length_penalty


def beam_search(step, input_ids, max_new_tokens, process, config):
    """Search for the texts with the best `length_penalized_score`.

    step: as for `decode_loop`, and with a second argument from the second call on, rows (B·K,):
        new ids continue what was in row rows[i] of the call before. The first call has B rows.
    process: callable, (log-probabilities (rows, V), all ids so far (rows, S)) -> (rows, V)
    config: a GenerationConfig. Of a text's finished beams the best num_beams are kept. Its search
        ends when there are so many and
            early_stopping True:     at once;
            early_stopping False:    the best unfinished one, were it to end here, would be worse;
            early_stopping "never":  it could not become better up to max_new_tokens either.

    input_ids (B, T). Returns the best num_return_sequences of each text, one text after the other,
    (B · num_return_sequences, T + at most max_new_tokens), filled up with pad_token_id.
    """
    (B, T), K, eos = input_ids.shape, config.num_beams, config.eos_token_id
    num_candidates = max(2, 1 + len(eos)) * K  # of which K at least are unfinished
    texts = new_ids = input_ids
    scores, rows = np.zeros((B, 1), np.float32), None
    finished = [Finished(K, max_new_tokens, config) for _ in range(B)]
    for length in range(1, max_new_tokens + 1):
        logits = step(new_ids) if rows is None else step(new_ids, rows)  # (B, V), then (B·K, V)
        log_probs = process(log_softmax(logits), texts)
        log_probs = log_probs.reshape(B, -1, log_probs.shape[-1])
        width = log_probs.shape[1]
        candidates, beams, tokens = beam_search_step(log_probs, scores, num_candidates)
        rows = beams + np.arange(0, B * width, width)[:, None]  # of all texts: (B, candidates)
        ends = np.isin(tokens, eos) | (length == max_new_tokens)
        for b, i in np.argwhere(ends[:, :K]):
            finished[b].add(candidates[b, i], [*texts[rows[b, i], T:], tokens[b, i]])
        kept = np.argsort(ends, axis=1, kind="stable")[:, :K]  # the best K that do not end
        scores, rows, tokens = (np.take_along_axis(x, kept, 1) for x in (candidates, rows, tokens))
        rows, new_ids = rows.reshape(-1), tokens.reshape(-1, 1)
        texts = np.concatenate([texts[rows], new_ids], 1)
        for b in range(B):
            finished[b].close(scores[b, 0], length)
        if all(text.closed for text in finished):
            break
    best = [beam for text in finished for beam in text.best(config.num_return_sequences)]
    out = np.full((len(best), T + max(map(len, best))), config.pad_token_id or 0)
    for row, beam in enumerate(best):
        out[row, :T], out[row, T : T + len(beam)] = input_ids[row * B // len(best)], beam
    return out


class Finished:
    """The best finished beams of one text, and whether there can be better ones."""

    def __init__(self, num_beams, max_new_tokens, config):
        self._most, self._longest = num_beams, max_new_tokens
        self._penalty, self._early = config.length_penalty, config.early_stopping
        self._beams = []  # (score, tokens), the best first
        self.closed = False

    def add(self, score, tokens):
        """A beam has ended, with this log-probability."""
        if not self.closed:
            score = length_penalized_score(score, len(tokens), self._penalty)
            self._beams.append((score, tokens))
            self._beams.sort(key=lambda beam: -beam[0])  # stable: of two equal ones, the older
            del self._beams[self._most :]

    def close(self, score, length):
        """Close if the best unfinished beam, with this log-probability, cannot come in any more."""
        if len(self._beams) < self._most:
            return
        if self._early == "never" and self._penalty > 0:
            length = self._longest
        hope = length_penalized_score(score, length, self._penalty)
        self.closed = self.closed or self._early is True or hope <= self._beams[-1][0]

    def best(self, n):
        """The tokens of the n best beams."""
        return [tokens for _, tokens in self._beams[:n]]
