"""WordPiece in plain Python: BERT's way to a vocabulary, beside `bpe.py`'s.

WordPiece merges the pair with the highest score freq(pair) / (freq(first) * freq(second)) instead
of the most frequent one, and remembers only the *vocabulary*, not the merges. Encoding takes the
longest piece that fits, from left to right; a word with a character that the vocabulary lacks is
unknown as a whole.

Sources: Schuster and Nakajima 2012, "Japanese and Korean Voice Search", and Wu et al. 2016,
"Google's Neural Machine Translation System", section 4.1.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from tinyqwen.text.bpe import Pair, count_pairs, merge_pair


def wordpiece_split(word: str) -> tuple[str, ...]:
    """A word as its characters; all but the first carry "##", "continues a word".

    >>> wordpiece_split("hug")
    ('h', '##u', '##g')
    """
    return tuple(word[:1]) + tuple("##" + character for character in word[1:])


def wordpiece_join(left: str, right: str) -> str:
    """The piece that two neighbors make: the right one loses its "##".

    >>> wordpiece_join("h", "##u"), wordpiece_join("##u", "##g")
    ('hu', '##ug')
    """
    return left + right.removeprefix("##")


def wordpiece_scores(words: dict[Sequence[str], int]) -> dict[Pair, float]:
    """WordPiece's score of each pair: how much oftener the two meet than their own counts suggest.

        score(a, b) = freq(a b) / (freq(a) * freq(b))

    Up to a constant factor this is P(ab) / (P(a) P(b)), whose logarithm is the pair's pointwise
    mutual information: what one merge gains in the likelihood of a unigram model. A frequent pair
    of frequent pieces ("##e", "##s") scores low; a pair seldom seen apart ("q", "##u") scores high.

    words: {tuple of pieces: count}. Returns {(left, right): float}.

    >>> scores = wordpiece_scores({("h", "##u", "##g"): 10, ("p", "##u", "##g", "##s"): 5})
    >>> scores["##g", "##s"]                                   # 5 / (15 * 5)
    0.06666666666666667
    >>> scores["##u", "##g"]                                   # 15 / (15 * 15)
    0.06666666666666667

    Source: Schuster and Nakajima 2012, section 3 (likelihood gain); Wu et al. 2016, section 4.1.
    """
    piece_counts = Counter()
    for word, count in words.items():
        for piece in word:
            piece_counts[piece] += count
    return {
        (left, right): count / (piece_counts[left] * piece_counts[right])
        for (left, right), count in count_pairs(words).items()
    }


def train_wordpiece(word_counts: dict[str, int], vocab_size: int) -> list[str]:
    """Learn a WordPiece vocabulary: merge the pair with the highest score until it is full.

    The vocabulary begins with the pieces of one character, sorted. Of pairs with equal scores the
    more frequent wins, then the first in alphabetical order. (The `tokenizers` library's own
    "WordPiece trainer" merges the most frequent pair, as BPE does; this one follows the papers.)

    word_counts: {word: count}. vocab_size: number of pieces, special tokens not included.
    Returns the pieces, in the order learned. Raises ValueError when that number cannot be reached.

    >>> train_wordpiece({"hug": 10, "pug": 5, "hugs": 5}, vocab_size=7)
    ['##g', '##s', '##u', 'h', 'p', '##ug', 'hug']

    Source: Schuster and Nakajima 2012, section 3; Wu et al. 2016, section 4.1.
    """
    words = {wordpiece_split(word): count for word, count in word_counts.items() if word}
    vocabulary = dict.fromkeys(sorted({piece for word in words for piece in word}))
    if vocab_size < len(vocabulary):
        raise ValueError(
            f"vocab_size is {vocab_size}; the single characters alone need {len(vocabulary)}"
        )
    while len(vocabulary) < vocab_size:
        scores, counts = wordpiece_scores(words), count_pairs(words)
        pair = min(scores, key=lambda pair: (-scores[pair], -counts[pair], pair), default=None)
        if pair is None:
            raise ValueError(
                f"vocab_size {vocab_size} asked for, but these words support only "
                f"{len(vocabulary)}: ask for at most {len(vocabulary)} or give more text"
            )
        new = wordpiece_join(*pair)
        vocabulary[new] = None
        words = {merge_pair(word, pair, new): count for word, count in words.items()}
    return list(vocabulary)


def encode_wordpiece(
    word: str, vocabulary: Iterable[str], unk_token: str = "[UNK]", max_characters: int = 100
) -> list[str]:
    """One word to pieces: take the longest piece that fits, then go on behind it.

    Greedy and never taken back: if at some place no piece fits, the whole word is `unk_token`; so
    is a word longer than `max_characters`.

    word: str. vocabulary: collection of pieces (a set is fastest). Returns a list of pieces.

    >>> encode_wordpiece("hugs", {"h", "hug", "##g", "##gs", "##s", "##u"})
    ['hug', '##s']
    >>> encode_wordpiece("hum", {"h", "hu", "##u"})
    ['[UNK]']

    Source: Wu et al. 2016, section 4.1; BERT's code (Devlin et al. 2019) for "[UNK]" and "##".
    """
    if len(word) > max_characters:
        return [unk_token]
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            if prefix + word[start:end] in vocabulary:
                break
        else:
            return [unk_token]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
