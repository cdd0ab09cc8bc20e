"""The plain-Python WordPiece against the `tokenizers` library, and against hand counts."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from tinyqwen.text import bpe, wordpiece

# A corpus small enough for paper: h 15, p 17, b 4, ##u 36, ##g 20, ##n 16, ##s 5.
HUGS = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}


def split_all(word_counts):
    return {wordpiece.wordpiece_split(word): count for word, count in word_counts.items()}


def test_wordpiece_scores_by_hand():
    scores = wordpiece.wordpiece_scores(split_all(HUGS))
    by_hand = {
        ("h", "##u"): (15, 15 * 36),
        ("p", "##u"): (17, 17 * 36),
        ("b", "##u"): (4, 4 * 36),
        ("##u", "##g"): (20, 36 * 20),
        ("##u", "##n"): (16, 36 * 16),
        ("##g", "##s"): (5, 20 * 5),
    }
    assert scores == {pair: float(Fraction(*ratio)) for pair, ratio in by_hand.items()}


def test_wordpiece_training_by_hand():
    vocabulary = wordpiece.train_wordpiece(HUGS, 11)
    assert vocabulary[:7] == ["##g", "##n", "##s", "##u", "b", "h", "p"]
    # 1/20 beats 1/36. Then all are 1/36, and (p, ##u) is the most frequent, 17. Then of the five
    # with 1/19, (h, ##u) is, 15. Then (##g, ##s) is spent, and 4/(4*4) = 1/4 is left for "bu".
    assert vocabulary[7:] == ["##gs", "pu", "hu", "bu"]


def test_wordpiece_score_and_count_differ():
    """The most frequent pair is (##a, ##b), but q is never seen without its u."""
    words = {"xab": 9, "yab": 9, "zac": 9, "zdb": 9, "qu": 2}
    counts, scores = bpe.count_pairs(split_all(words)), wordpiece.wordpiece_scores(split_all(words))
    assert max(counts, key=counts.get) == ("##a", "##b")
    assert max(scores, key=scores.get) == ("q", "##u")
    assert "qu" in wordpiece.train_wordpiece(
        words, len({c for w in split_all(words) for c in w}) + 1
    )


def test_of_equal_pairs_the_first_in_the_alphabet_is_merged():
    """Whatever word was seen first: "cd" and "ab" have one score, 3 / (3 · 3), and one count."""
    for words in ({"cd": 3, "ab": 3}, {"ab": 3, "cd": 3}):
        assert wordpiece.train_wordpiece(words, 5)[4:] == ["ab"]


def test_wordpiece_training_refuses_impossible_sizes():
    with pytest.raises(ValueError, match="characters alone need 7"):
        wordpiece.train_wordpiece(HUGS, 6)
    with pytest.raises(ValueError, match="99 asked for, but these words support only"):
        wordpiece.train_wordpiece(HUGS, 99)
    assert wordpiece.train_wordpiece({"ab": 2}, 2) == ["##b", "a"]  # the characters, and no more


VOCABULARY = ["[UNK]", "a", "b", "c", "##a", "##b", "ab", "##ab", "##ba", "abab", "猫", "##猫猫"]


@settings(max_examples=300)
@given(st.text(st.sampled_from("aaabbbc猫"), min_size=1, max_size=12))
def test_wordpiece_encoding_equals_the_librarys(word):
    ids = {piece: i for i, piece in enumerate(VOCABULARY)}
    library = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    assert wordpiece.encode_wordpiece(word, VOCABULARY) == library.encode(word).tokens


def test_wordpiece_long_words_are_unknown_as_in_the_library():
    library = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##a": 2}, unk_token="[UNK]"))
    for length in [99, 100, 101]:
        pieces = wordpiece.encode_wordpiece("a" * length, {"a", "##a"})
        assert pieces == library.encode("a" * length).tokens
