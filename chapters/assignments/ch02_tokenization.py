"""Chapter 02. Tokenization: what you write.

Byte-pair encoding from counting to decoding, then the two ideas that make WordPiece different.
Plain Python this time: tuples, lists and dicts. Replace `raise NotImplementedError` by your code.
In the order of the file each one prepares the next, and may call the ones before it.

    pytest tests/assignments -k ch02          grades this file
"""

import unicodedata  # noqa: F401

from tinyqwen.text.bpe import byte_ids, pretokenize  # noqa: F401


def count_pairs(words):
    """How often each pair of neighboring tokens occurs, over all words.

        count(a, b) = Σ_w  count(w) · (places i where w[i] = a and w[i+1] = b)

    words: {tuple of tokens: count}; tokens are ids or strings.
    Returns {(left, right): count}, with the pairs that occur and no others.

    >>> counts = count_pairs({("l", "o", "w"): 5, ("l", "o", "t"): 2})
    >>> dict(sorted(counts.items()))
    {('l', 'o'): 7, ('o', 't'): 2, ('o', 'w'): 5}
    """
    raise NotImplementedError


def merge_pair(word, pair, new):
    """Replace each occurrence of a pair by one new token, from left to right, without overlap.

    word: tuple or list of tokens. pair: (left, right). new: the token that takes their place.
    Returns a tuple. In a run of three equal tokens the first two are merged.

    >>> merge_pair((1, 2, 3, 1, 2), (1, 2), 9)
    (9, 3, 9)
    >>> merge_pair(("a", "a", "a"), ("a", "a"), "aa")
    ('aa', 'a')
    """
    raise NotImplementedError


def train_bpe(word_counts, vocab_size, min_frequency=1):
    """Learn the merges: again and again, join the most frequent pair into a new token.

    Begin with every word as its bytes, ids 0 to 255 (`byte_ids(word)` gives them). Count the pairs;
    merge the most frequent one in all words, under the next free id; repeat until there are
    `vocab_size` tokens. Of several pairs equally frequent the smallest wins: smaller left id first,
    then smaller right id. Then the same text gives the same vocabulary everywhere.

    word_counts: {word: count}. vocab_size: int, at least 256. min_frequency: a pair that occurs
    more rarely than this is not merged.
    Returns {(left id, right id): new id}, in the order learned.
    Raises ValueError if vocab_size is below 256, or no pair is left to merge.

    >>> train_bpe({"low": 5, "lot": 2}, vocab_size=258)          # l = 75, o = 78, w = 86
    {(75, 78): 256, (256, 86): 257}
    """
    raise NotImplementedError


def encode_word(ids, merges):
    """Apply the merges to one word: always the earliest learned pair that is present.

    ids: the word's byte ids. merges: {(left, right): new id}, in the order learned, so earlier
    learned means smaller new id. Returns a tuple of ids.

    >>> encode_word((75, 78, 75, 78, 86), {(75, 78): 256, (256, 86): 257})     # "lolow"
    (256, 257)
    """
    raise NotImplementedError


def encode(text, merges):
    """Text to ids: compose, cut into words, spell each in bytes, merge.

    1. `unicodedata.normalize("NFC", text)`: "é" is one character, however it was typed;
    2. `pretokenize(text)`: the words within which merges may happen, their spaces with them;
    3. `byte_ids(word)`, then `encode_word`.

    text: str. merges: as above. Returns a list of int.

    >>> encode("low lot", {(75, 78): 256, (256, 86): 257})       # the space is id 220
    [257, 220, 256, 83]
    """
    raise NotImplementedError


def decode(ids, vocabulary):
    """Ids to text: join the bytes first, and only then read them as UTF-8.

    A token may end in the middle of a character, so tokens cannot be decoded one by one. Bytes that
    are no UTF-8 become "\ufffd", the replacement character.

    ids: list of int. vocabulary: list of bytes, indexed by id. Returns str.
    Raises ValueError for an id outside the vocabulary (a negative one is outside, too).

    >>> decode([1, 0, 2, 3], [b"low", b"er ", b"\\xc3", b"\\xa9"])
    'er low\xe9'
    """
    raise NotImplementedError


def wordpiece_scores(words):
    """WordPiece's score of each pair: how much oftener the two meet than their counts suggest.

        score(a, b) = freq(a b) / (freq(a) · freq(b))

    freq counts pieces and pairs over all words, each word as often as it occurs.

    words: {tuple of pieces: count}. Returns {(left, right): float}.

    >>> scores = wordpiece_scores({("h", "##u", "##g"): 10, ("p", "##u", "##g", "##s"): 5})
    >>> round(scores["##g", "##s"], 4)                            # 5 / (15 * 5)
    0.0667
    >>> round(scores["##u", "##g"], 4)                            # 15 / (15 * 15)
    0.0667
    """
    raise NotImplementedError


def encode_wordpiece(word, vocabulary, unk_token="[UNK]", max_characters=100):
    """One word to pieces: take the longest piece that fits, then go on behind it.

    All pieces but the first carry "##" in front. If at some place no piece fits, the whole word is
    [unk_token], whatever was found before; so is a word longer than max_characters.

    word: str. vocabulary: set of pieces. Returns a list of pieces.

    >>> encode_wordpiece("hugs", {"h", "hug", "##g", "##gs", "##s", "##u"})
    ['hug', '##s']
    >>> encode_wordpiece("hum", {"h", "hu", "##u"})
    ['[UNK]']
    """
    raise NotImplementedError


def bpe_vocabulary(merges):
    """The bytes that each id stands for: what `decode` needs, from what `train_bpe` learned.

    For honor: no hints, no points, a star on the scoreboard.

    The first 256 ids are single bytes, in the order of GPT-2's table, which the chapter explains:
    `byte_ids` knows it, if you ask for one character after another. Each merge is the bytes of its
    left token, then those of its right one, which may be a merge itself.

    merges: {(left id, right id): new id}, in the order learned. Returns a list of bytes, by id.

    >>> bpe_vocabulary({(75, 78): 256, (256, 86): 257})[255:]
    [b'\\xad', b'lo', b'low']
    """
    raise NotImplementedError
