"""Byte-level BPE in plain Python: slow, complete, and short enough to read in one go.

Byte-pair encoding builds a vocabulary from the bytes up: it merges the most frequent pair of
neighbors into a new token, again and again, and remembers the merges *in order*. Encoding replays
them. The pieces are bytes, so there is no text it cannot spell. (`wordpiece.py` merges by another
score, and remembers only the vocabulary.)

`tokenizer.py` does the same work with the `tokenizers` library, many times faster; the tests
hold the two to equal merges and equal ids. Words reach the algorithm with their counts,
`{word: count}`, because a corpus repeats its words and the arithmetic need not.

Sources: Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword
Units" (BPE for text); Radford et al. 2019, GPT-2 (on bytes).
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

Pair = tuple  # two neighbors


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
