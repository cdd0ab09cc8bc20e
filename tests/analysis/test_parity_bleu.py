"""BLEU against sacrebleu."""

import random

import pytest

from tinyqwen.analysis.bleu import bleu

sacrebleu = pytest.importorskip("sacrebleu")


@pytest.mark.parametrize("seed", range(5))
def test_against_sacrebleu(seed):
    """Sentences of few words, so that there are matches of every order, and copies of copies."""
    draw = random.Random(seed)
    references = [draw.choices("abcd", k=draw.randint(4, 12)) for _ in range(8)]
    hypotheses = [
        [draw.choice("abcd") if draw.random() < 0.2 else word for word in words]
        for words in references
    ]
    hypotheses[0] = hypotheses[0][: 2 + seed]
    theirs = sacrebleu.metrics.BLEU(tokenize="none", smooth_method="none").corpus_score(
        [" ".join(words) for words in hypotheses], [[" ".join(words) for words in references]]
    )
    assert bleu(hypotheses, references) == pytest.approx(theirs.score / 100, abs=1e-9)
