"""BLEU: by hand, and by its properties; `test_parity_bleu.py` compares it with sacrebleu."""

import pytest

from tinyqwen.analysis.bleu import bleu

REFERENCE = ["the", "cat", "sat", "on", "the", "mat"]


def test_by_hand():
    """ "the the the cat": "the" counts twice, as often as the reference has it: p₁ = 3/4, and
    "the cat" alone of three pairs is there: p₂ = 1/3. Four words for six: exp(1 - 6/4)."""
    found = bleu([["the", "the", "the", "cat"]], [REFERENCE], max_order=2)
    assert found == pytest.approx((3 / 4 * 1 / 3) ** 0.5 * 2.718281828459045**-0.5)


def test_matches_are_summed_before_they_are_divided():
    """Two sentences, one right and one wrong but for a word: p₁ = 7/12, not the mean of 1 and …"""
    wrong = ["a", "dog", "ran", "to", "the", "house"]
    assert bleu([REFERENCE, wrong], [REFERENCE] * 2, max_order=1) == pytest.approx(7 / 12)


def test_ends_of_the_scale():
    assert bleu([REFERENCE], [REFERENCE]) == 1.0
    assert bleu([REFERENCE[::-1]], [REFERENCE]) == 0.0  # no two words in a row are right
    assert bleu([["the"]], [["the"]]) == 0.0  # no four words in a row at all
    assert bleu([[]], [REFERENCE]) == 0.0
    assert bleu([REFERENCE + ["now"]], [REFERENCE], 1) == pytest.approx(6 / 7)  # long: no penalty


def test_lists_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="2 hypotheses and 1 references"):
        bleu([REFERENCE, REFERENCE], [REFERENCE])
