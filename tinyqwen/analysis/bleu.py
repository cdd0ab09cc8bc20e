"""BLEU: how much of a translation a human's translation has, too."""

import math
from collections import Counter


def bleu(hypotheses, references, max_order=4):
    """BLEU of a set of translations, 0 to 1  (Papineni et al. 2002, section 2.3).

        BLEU = brevity penalty · (p₁ p₂ … p_N)^(1/N)
        pₙ = Σ clipped matches / Σ n-grams of the hypotheses, both over all sentences
        brevity penalty = 1 if c > r, else exp(1 - r/c)

    hypotheses, references: lists of as many sentences, each a list of tokens; one reference each.
    An n-gram of a hypothesis matches at most as often as it stands in its reference ("clipped").
    c, r: tokens of all hypotheses and of all references. N is max_order. Where one pₙ is 0, for
    want of matches or of n-grams, so is BLEU. Raises ValueError for lists of unequal length.

    >>> round(bleu([["I", "have", "a", "dog"]], [["I", "have", "a", "cat"]], max_order=2), 4)
    0.7071
    """
    if len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} references; expected one each"
        )
    log_precisions = 0.0
    for n in range(1, max_order + 1):
        matches = total = 0
        for hypothesis, reference in zip(hypotheses, references):
            written, wanted = _ngrams(hypothesis, n), _ngrams(reference, n)
            matches += sum((written & wanted).values())  # the smaller count of each
            total += sum(written.values())
        if not matches:
            return 0.0
        log_precisions += math.log(matches / total) / max_order
    c, r = (sum(map(len, sentences)) for sentences in (hypotheses, references))
    return math.exp(min(0.0, 1 - r / c) + log_precisions)


def _ngrams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
