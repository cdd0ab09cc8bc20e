"""Byte-level BPE and WordPiece in plain Python: slow, complete, and short enough to read in one go.

Both build a vocabulary by merging neighbors, starting from the smallest pieces. They differ in the
pair they merge next, and in how they encode:

- BPE (byte-pair encoding) merges the most frequent pair and remembers the merges *in order*.
  Encoding replays them. The pieces are bytes, so there is no text it cannot spell.
- WordPiece merges the pair with the highest score freq(pair) / (freq(first) * freq(second)) and
  remembers only the *vocabulary*. Encoding takes the longest piece that fits, from left to right.

`tokenizer.py` does the same work with the `tokenizers` library, many times faster; the tests
hold the two to equal merges and equal ids. Words reach both algorithms with their counts,
`{word: count}`, because a corpus repeats its words and the arithmetic need not.

Sources: Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword
Units" (BPE for text); Radford et al. 2019, GPT-2 (on bytes); Schuster and Nakajima 2012, "Japanese
and Korean Voice Search", and Wu et al. 2016, "Google's Neural Machine Translation System", section
4.1 (WordPiece).
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

Pair = tuple  # two neighbors: two ids for BPE, two strings for WordPiece


# -- from text to words ---------------------------------------------------------------------------

# Qwen2's pattern, read left to right as "the first that fits":
#
#   (?i:'s|'t|'re|'ve|'m|'ll|'d)      an English contraction
#   [^\r\n\p{L}\p{N}]?\p{L}+          letters, and the one character before them (mostly a space)
#   \p{N}                             one digit
#   ' '?[^\s\p{L}\p{N}]+[\r\n]*       punctuation, a space before it, line ends after it
#   \s*[\r\n]+ | \s+(?!\S) | \s+      line ends; spaces, except the one that belongs to a word
#
# Python's `re` knows no \p{L}. So each character is first replaced by one letter for its kind, and
# the pattern runs on the kinds: Letter, Number, Return or line feed, Space, White space, Other.
_CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)", re.IGNORECASE)
_KINDS = re.compile(r"[SWO]?L+|N|S?O+R*|[SWR]*R+|[SWR]+(?![LNO])|[SWR]+")
_WHITE_SPACE = frozenset("\t\v\f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | frozenset(
    map(chr, range(0x2000, 0x200B))
)


def _kind(character: str) -> str:
    if character in "\r\n":
        return "R"
    if character == " ":
        return "S"
    if character in _WHITE_SPACE:
        return "W"
    major = unicodedata.category(character)[0]  # "Lu" (letter, upper case) -> "L"
    return major if major in "LN" else "O"


def pretokenize(text: str) -> list[str]:
    """Cut text into the words within which merges may happen, as Qwen2 does.

    No piece is lost: `"".join(pretokenize(text)) == text`. A space goes with the word after it, so
    that "dog" in mid-sentence is one token and not two; each digit stands alone.

    text: str. Returns a list of str.

    >>> pretokenize("The dog's 12 bones.\\n\\nOK")
    ['The', ' dog', "'s", ' ', '1', '2', ' bones', '.\\n\\n', 'OK']

    Source: Radford et al. 2019, section 2.2 (why merges stop at word boundaries).
    """
    kinds = "".join(map(_kind, text))
    words, start = [], 0
    while start < len(text):
        end = (_CONTRACTION.match(text, start) or _KINDS.match(kinds, start)).end()
        words.append(text[start:end])
        start = end
    return words


def count_words(texts: str | Iterable[str]) -> dict[str, int]:
    """How often each word occurs: {word: count}, in the order of first appearance.

    texts: one text, or an iterable of texts. They are first brought to Unicode's composed form
    (NFC), so that "é" is one character however it was typed.

    >>> count_words("low low lower")
    {'low': 1, ' low': 1, ' lower': 1}
    """
    words = Counter()
    for text in [texts] if isinstance(texts, str) else texts:
        words.update(pretokenize(unicodedata.normalize("NFC", text)))
    return dict(words)


# -- bytes ----------------------------------------------------------------------------------------


def bytes_to_unicode() -> dict[int, str]:
    """A printable character for each of the 256 bytes: the alphabet vocabularies are written in.

    The 188 bytes that print (and are no space) stand for themselves; the other 68 get the
    characters from U+0100 on, in order. So the space, byte 32, is shown as "Ġ" and the line feed
    as "Ċ". This is display only: nothing is learned here.

    Returns {byte: character}, in the order of the characters. The position of a byte in this order
    is its id: "!" is 0 and "," is 11, in GPT-2, in Qwen2 and here.

    >>> display = bytes_to_unicode()
    >>> "".join(display[byte] for byte in " né\\n".encode())
    'ĠnÃ©Ċ'

    Source: Radford et al. 2019, the released code.
    """
    prints = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
    others = [byte for byte in range(256) if byte not in prints]
    display = {byte: chr(byte) for byte in prints}
    display |= {byte: chr(256 + position) for position, byte in enumerate(others)}
    return display


_BYTE_OF_ID = list(bytes_to_unicode())
_ID_OF_BYTE = {byte: i for i, byte in enumerate(_BYTE_OF_ID)}


def byte_ids(word: str) -> tuple[int, ...]:
    """The ids 0 to 255 of a word's UTF-8 bytes: one for an ASCII character, three for most Chinese.

    >>> byte_ids("Hi!")
    (39, 72, 0)
    >>> len(byte_ids("猫")), len(byte_ids("🐈"))
    (3, 4)
    """
    return tuple(_ID_OF_BYTE[byte] for byte in word.encode("utf-8"))


# -- byte-pair encoding ---------------------------------------------------------------------------


def count_pairs(words: dict[Sequence, int]) -> dict[Pair, int]:
    """How often each pair of neighboring tokens occurs, over all words.

        count(a, b) = sum over words w of  count(w) * #{i : w[i] = a and w[i+1] = b}

    Overlaps count: "aaa" holds the pair (a, a) twice.

    words: {tuple of tokens: count}; a token may be an id or a string.
    Returns {(left, right): count}.

    >>> count_pairs({("l", "o", "w"): 5, ("l", "o", "t"): 2})
    {('l', 'o'): 7, ('o', 'w'): 5, ('o', 't'): 2}

    Source: Sennrich et al. 2016, algorithm 1 (`get_stats`).
    """
    counts = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return dict(counts)


def merge_pair(word: Sequence, pair: Pair, new) -> tuple:
    """Replace each occurrence of a pair by one new token, from left to right, without overlap.

    word: sequence of tokens. pair: (left, right). new: the token to put in their place.
    Returns a tuple. In a run of three equal tokens the first two are merged.

    >>> merge_pair((1, 2, 3, 1, 2), (1, 2), 9)
    (9, 3, 9)
    >>> merge_pair(("a", "a", "a"), ("a", "a"), "aa")
    ('aa', 'a')

    Source: Sennrich et al. 2016, algorithm 1 (`merge_vocab`).
    """
    merged, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == tuple(pair):
            merged.append(new)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return tuple(merged)


def train_bpe(
    word_counts: dict[str, int], vocab_size: int, min_frequency: int = 1
) -> dict[tuple[int, int], int]:
    """Learn the merges: again and again, join the most frequent pair into a new token.

    Begin with every word as its bytes (ids 0 to 255). Count the pairs; merge the most frequent one
    in all words; its id is the next free one; repeat until there are `vocab_size` tokens. Of
    several pairs equally frequent, the one with the smallest ids wins (left before right), so that
    the same text gives the same vocabulary everywhere.

    word_counts: {word: count}. vocab_size: int, at least 256. min_frequency: a pair that is rarer
    is left alone.
    Returns {(left id, right id): new id}, in the order learned.
    Raises ValueError when the words do not hold enough pairs.

    >>> merges = train_bpe({"low": 5, "lot": 2}, vocab_size=258)
    >>> merges                                    # l = 75, o = 78, w = 86
    {(75, 78): 256, (256, 86): 257}

    Source: Sennrich et al. 2016, section 3.2; the order of ties is the `tokenizers` library's.
    """
    if vocab_size < 256:
        raise ValueError(f"vocab_size is {vocab_size}; the 256 bytes need at least 256")
    words = {byte_ids(word): count for word, count in word_counts.items()}
    merges = {}
    for new_id in range(256, vocab_size):
        counts = count_pairs(words)
        pair = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if pair is None or counts[pair] < min_frequency:
            raise ValueError(
                f"vocab_size {vocab_size} asked for, but these words support only {new_id}: "
                f"ask for at most {new_id} or give more text"
            )
        merges[pair] = new_id
        words = {merge_pair(word, pair, new_id): count for word, count in words.items()}
    return merges


def bpe_vocabulary(merges: dict[tuple[int, int], int]) -> list[bytes]:
    """The bytes that each id stands for: 256 single bytes, then one token for each merge.

    merges: {(left, right): new id}, in the order learned. Returns a list of bytes, indexed by id.

    >>> bpe_vocabulary({(75, 78): 256, (256, 86): 257})[255:]
    [b'\\xad', b'lo', b'low']
    """
    tokens = [bytes([byte]) for byte in _BYTE_OF_ID]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


def encode_word(ids: Sequence[int], merges: dict[tuple[int, int], int]) -> tuple[int, ...]:
    """Apply the merges to one word: always the earliest-learned pair that is present.

    ids: the word's byte ids. merges: {(left, right): new id}, in the order learned.
    Returns a tuple of ids. (Earliest learned is smallest new id.)

    >>> encode_word((75, 78, 75, 78, 86), {(75, 78): 256, (256, 86): 257})     # "lolow"
    (256, 257)

    Source: Sennrich et al. 2016, section 3.2 (unseen words: the learned operations, in order).
    """
    while len(ids) > 1:
        pair = min(pairwise(ids), key=lambda pair: merges.get(pair, math.inf))
        if pair not in merges:
            break
        ids = merge_pair(ids, pair, merges[pair])
    return tuple(ids)


def encode(text: str, merges: dict[tuple[int, int], int]) -> list[int]:
    """Text to ids: normalize to NFC, cut into words, spell each in bytes, merge.

    text: str. merges: {(left, right): new id}, in the order learned. Returns a list of int.

    >>> encode("low lot", {(75, 78): 256, (256, 86): 257})    # the space is id 220
    [257, 220, 256, 83]
    """
    ids, known = [], {}
    for word in pretokenize(unicodedata.normalize("NFC", text)):
        if word not in known:
            known[word] = encode_word(byte_ids(word), merges)
        ids.extend(known[word])
    return ids


def decode(ids: Iterable[int], vocabulary: Sequence[bytes]) -> str:
    """Ids to text: join the bytes, and only then read them as UTF-8.

    A token may end in the middle of a character, so tokens cannot be decoded one by one. Bytes that
    are no UTF-8 become "\ufffd", the replacement character.

    ids: iterable of int. vocabulary: list of bytes, indexed by id (`bpe_vocabulary`). Returns str.
    Raises ValueError for an id outside the vocabulary.

    >>> decode([163, 234, 104], bpe_vocabulary({}))
    '猫'
    >>> [decode([i], bpe_vocabulary({})) for i in [163, 234, 104]]
    ['\ufffd', '\ufffd', '\ufffd']
    """
    ids = list(ids)
    for i in ids:
        if not 0 <= i < len(vocabulary):
            raise ValueError(f"token id {i} is outside the vocabulary of {len(vocabulary)}")
    return b"".join(vocabulary[i] for i in ids).decode("utf-8", errors="replace")


# -- WordPiece ------------------------------------------------------------------------------------


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
