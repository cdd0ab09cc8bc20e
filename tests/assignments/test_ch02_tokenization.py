"""Graders of chapter 02: byte-pair encoding from counting to decoding, and WordPiece."""

import math
import unicodedata
from collections import Counter
from inspect import signature
from itertools import combinations, pairwise

from tinyqwen.course import (
    check,
    check_all_equal,
    check_equal,
    check_example,
    likely,
    points,
    reference,
    rng,
)
from tinyqwen.course.calls import StudentError
from tinyqwen.text.bpe import bpe_vocabulary, byte_ids, pretokenize

TITLE = "Tokenization"
ASSIGNED = {
    "count_pairs": "text.bpe",
    "merge_pair": "text.bpe",
    "train_bpe": "text.bpe",
    "encode_word": "text.bpe",
    "encode": "text.bpe",
    "decode": "text.bpe",
    "wordpiece_scores": "text.wordpiece",
    "encode_wordpiece": "text.wordpiece",
    "bpe_vocabulary": "text.bpe",
}
STRETCH = ("bpe_vocabulary",)

LOW = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
STORY = """Once there was a cat. The cat's ball was red, and the dog's ball was blue.
从前有一只猫。我有一只猫，你有一只狗。 I have 12 cats, and they'll look in the box again.
"""


def random_word(letters, shortest, longest):
    length = int(rng().integers(shortest, longest + 1))
    return tuple(letters[i] for i in rng().integers(0, len(letters), length))


def random_words(letters=(0, 1, 2), number=12, shortest=0, longest=7):
    """{tuple of tokens: count}, with words of length 0 and 1 among them."""
    return {
        random_word(letters, shortest, longest): int(rng().integers(2, 9)) for _ in range(number)
    }


def random_texts():
    """{word: count}, of few letters, so that pairs repeat."""
    words = random_words("aabe猫", number=9, shortest=1)
    return {"".join(word): count for word, count in words.items()}


def as_list(result, name, kind="ids"):
    check(
        isinstance(result, list | tuple),
        f"{name} returned a {type(result).__name__}; a list of {kind} was expected.",
        "a return statement is missing"
        if result is None
        else f"a {type(result).__name__} is no list: put what it holds into one",
    )
    return list(result)


def as_dict(result, name):
    check(
        isinstance(result, dict),
        f"{name} returned a {type(result).__name__}; a dict was expected.",
        "a return statement is missing"
        if result is None
        else f"a {type(result).__name__} is no dict: {{pair: number}} is asked for",
    )
    return dict(result)


def check_refused(fn, arguments, why, mistake=None):
    """The function raises ValueError for these arguments."""
    try:
        result = fn(*arguments)
    except StudentError as error:
        check(
            "raised ValueError" in str(error),
            f"{why}: ValueError was expected.\n{error}",
            "another exception came than the ValueError that is asked for: look before you compute",
        )
    else:
        told = mistake or "what cannot be answered is answered in silence: raise ValueError"
        told = told(result) if callable(told) else told
        check(False, f"{why}: ValueError was expected; it returned {result!r:.80}", told)


def check_unchanged(fn):
    names = list(signature(reference(fn.__name__)).parameters)
    what = " and ".join(names[i] if isinstance(i, int) else i for i in fn.edited)
    check(
        not fn.edited,
        f"{fn.__name__} changed {what} in place.",
        f"{what} is changed in place: build a new one",
    )


# ---------------------------------------------------------------------------------------------
# count_pairs, 5 points
# ---------------------------------------------------------------------------------------------


def pairs_weighted(words, pairs=pairwise, weight=lambda count: count):
    counts = Counter()
    for word, count in words.items():
        for pair in pairs(word):
            counts[tuple(pair)] += weight(count)
    return dict(counts)


def pairs_across(words):
    stream = [token for word, count in words.items() for token in word * count]
    return dict(Counter(pairwise(stream)))


@points(1, "count_pairs: the example")
def test_count_pairs_example(submission):
    """The example in the docstring, counted by hand."""
    check_example(submission.count_pairs)


@points(2, "count_pairs: value")
def test_count_pairs_value(submission):
    """Each word counts as often as it occurs, and no pair reaches across words."""
    fixed = {tuple("low"): 5, tuple("lower"): 2, tuple("wet"): 3, tuple("n"): 4}
    for words in [fixed, random_words(), random_words(tuple("abcd"), longest=5)]:
        check_equal(
            as_dict(submission.count_pairs(words), "count_pairs"),
            reference("count_pairs")(words),
            "count_pairs: the dict of counts",
            case=repr(words)[:200],
            mistakes={
                "the words' own counts are left out": pairs_weighted(words, weight=lambda _: 1),
                "a pair that stands twice in a word is counted once": pairs_weighted(
                    words, lambda word: set(pairwise(word))
                ),
                "a word's count overwrites that of the words before; they belong added": {
                    pair: count for word, count in words.items() for pair in pairwise(word)
                },
                "pairs reach from the end of a word into the next": lambda words=words: (
                    pairs_across(words)
                ),
                "the last pair of each word is left out": pairs_weighted(
                    words, lambda word: pairwise(word[:-1])
                ),
                "a word's count is squared: it counts as often as it occurs": pairs_weighted(
                    words, weight=lambda count: count * count
                ),
                "two equal neighbors are a pair as well": pairs_weighted(
                    words, lambda word: [pair for pair in pairwise(word) if len({*pair}) > 1]
                ),
                "pairs are counted without their order": pairs_weighted(
                    words, lambda word: map(sorted, pairwise(word))
                ),
                "the next token but one is counted; neighbors make a pair": pairs_weighted(
                    words, lambda word: zip(word, word[2:])
                ),
                "every later token is counted; neighbors make a pair": pairs_weighted(
                    words, lambda word: combinations(word, 2)
                ),
                "only the first word is counted: is the return inside the loop?": pairs_weighted(
                    dict([*words.items()][:1])
                ),
                "the last token and the first count as neighbors, as in a ring": pairs_weighted(
                    words, lambda word: zip(word[-1:] + word[:-1], word)
                ),
                "pairs are taken in steps of two; neighbors overlap": pairs_weighted(
                    words, lambda word: zip(word[::2], word[1::2])
                ),
            },
        )


@points(1, "count_pairs: overlaps")
def test_count_pairs_overlaps(submission):
    """In a run of equal tokens, neighboring pairs overlap, and all count."""
    words = {(7, 7, 7): 2, (7, 7, 7, 7): 1, (7, 1): 1}
    check_equal(
        as_dict(submission.count_pairs(words), "count_pairs"),
        {(7, 7): 7, (7, 1): 1},
        "count_pairs: the dict of counts, with overlapping pairs,",
        case=repr(words),
        mistakes={
            "overlapping pairs are not counted: (7, 7) stands twice in (7, 7, 7)": {
                (7, 7): 4,
                (7, 1): 1,
            },
            "a pair that stands twice in a word is counted once": {(7, 7): 3, (7, 1): 1},
        },
    )


@points(1, "count_pairs: short words")
def test_count_pairs_short(submission):
    """Words of one token or none hold no pair; what is given stays as it is."""
    fn = submission.count_pairs
    for words in [{}, {(): 3}, {(1,): 2, (2,): 5}, {(1,): 2, (2, 1): 5}]:
        expected = {(2, 1): 5} if (2, 1) in words else {}
        yours = as_dict(fn(words), "count_pairs")
        zeros = [pair for pair, count in yours.items() if count == 0]
        mistake = f"pairs that do not occur are listed with 0: {zeros}" if zeros else None
        check(
            yours == expected,
            f"count_pairs({words}) is wrong.\n  expected  {expected}\n  yours     {yours}",
            mistake,
        )
        check_unchanged(fn)


# ---------------------------------------------------------------------------------------------
# merge_pair, 5 points
# ---------------------------------------------------------------------------------------------


def merged(word, pair, new, most=None, same=None, step=2):
    """Merging with one mistake."""
    same = same or (lambda two: two == tuple(pair))
    out, i, done = [], 0, 0
    while i < len(word):
        two = tuple(word[i : i + 2])
        if len(two) == 2 and same(two) and done != most:
            out, i, done = [*out, new], i + step, done + 1
        else:
            out, i = [*out, word[i]], i + 1
    return tuple(out)


def merged_from_the_right(word, pair, new, most=None):
    return merged(tuple(word)[::-1], tuple(pair)[::-1], new, most)[::-1]


def merged_with_the_next_kept(word, pair, new):
    starts = [tuple(word[i : i + 2]) == tuple(pair) for i in range(len(word))]
    return tuple(new if starts[i] else token for i, token in enumerate(word))


def overlapping(word, pair, new):
    """Every place where the pair begins becomes `new`, and what ends there is gone."""
    starts = [tuple(word[i : i + 2]) == tuple(pair) for i in range(len(word))]
    kept = zip(word, starts, [False, *starts])
    return tuple(new if begins else token for token, begins, ends in kept if begins or not ends)


def joined_as_text(word, pair, new):
    return " ".join(map(str, word)).replace(" ".join(map(str, pair)), str(new)).split()


def merge_again(word, pair, new):
    for _ in word:
        word = merged(word, pair, new, most=1)
    return tuple(word)


@points(1, "merge_pair: the example")
def test_merge_pair_example(submission):
    """The examples in the docstring."""
    check_example(submission.merge_pair)


MERGES = {
    "only the first occurrence is merged": lambda *args: merged(*args, most=1),
    "only the last occurrence is merged": lambda *args: merged_from_the_right(*args, most=1),
    "the walk ends too early: the pair at the end of the word is not merged": (
        lambda word, pair, new: merged(word[:-1], pair, new) + tuple(word[-1:])
    ),
    "the last token is lost where it is in no pair": lambda word, pair, new: (
        merged(word, pair, new)[:-1] if tuple(word[-2:]) != pair else merged(word, pair, new)
    ),
    "the word's last token is lost": lambda *args: merged(*args)[:-1],
    "a list is returned; a word has to be a tuple, a key for a dict": lambda *args: list(
        merged(*args)
    ),
    "the pair's left token stays where it was": lambda word, pair, new: tuple(
        token
        for one in merged(word, pair, new)
        for token in ([pair[0], new] if one == new else [one])
    ),
    "the pair's right token stays where it was": lambda *args: merged_with_the_next_kept(*args),
    "a token is used in two merges, which overlap": lambda *args: overlapping(*args),
    "the pair is merged in both orders; (2, 1) is another pair": lambda word, pair, new: merged(
        word, pair, new, same=lambda two: {*two} == {*pair}
    ),
    "the pair is merged in both orders; (2, 1) is another pair, also where it comes second": (
        lambda word, pair, new: merged(merged(word, pair, new), pair[::-1], new)
    ),
    "every left token becomes the new one, whatever follows": lambda word, pair, new: tuple(
        new if token == pair[0] else token for token in word
    ),
    "only the left token is compared; both must be the pair's": lambda word, pair, new: merged(
        word, pair, new, same=lambda two: two[0] == pair[0]
    ),
    "one of the two tokens is enough; both must be the pair's": lambda word, pair, new: merged(
        word, pair, new, same=lambda two: two[0] == pair[0] or two[1] == pair[1]
    ),
    "the first token is never looked at": lambda word, pair, new: merged(word[1:], pair, new),
    "the pair itself stands where the new token belongs": lambda word, pair, new: merged(
        word, pair, pair
    ),
    "the new token stands twice": lambda *args: tuple(
        token for one in merged(*args) for token in [one] * (1 + (one == args[2]))
    ),
    "a merge steps over three tokens; it takes two": lambda *args: merged(*args, step=3),
    "the word is joined as text, in which 11 2 holds 1 2: compare tokens": lambda *args: tuple(
        map(int, joined_as_text(*args))
    ),
    "the word is joined as text, in which 11 2 holds 1 2, and stays text: compare tokens": (
        lambda word, pair, new: tuple(
            {str(token): token for token in (*word, new)}.get(one, one)
            for one in joined_as_text(word, pair, new)
        )
    ),
    "the run is merged from the right; the left end comes first": lambda *args: (
        merged_from_the_right(*args)
    ),
    "the new token is looked at again: one walk from left to right": lambda *args: merge_again(
        *args
    ),
}


@points(2, "merge_pair: value")
def test_merge_pair_value(submission):
    """Every occurrence, in this order only; everything else stays."""
    words = [(1, 2, 3, 1, 2, 3, 1, 2), (2, 1, 1, 2, 2, 3, 2, 1), (3, 3), (1, 2), (2, 1), (1,), ()]
    words += [(11, 2, 1, 2), (1, 22, 1, 2, 21)]  # joined as text, "11 2" holds "1 2"
    words += [random_word((1, 2, 3), 6, 12) for _ in range(6)]
    cases = [(word, (1, 2), 9) for word in words]
    check_all_equal(submission.merge_pair, cases, "merge_pair: the merged word", mistakes=MERGES)


@points(1, "merge_pair: runs")
def test_merge_pair_runs(submission):
    """From the left and without overlap; a new token is not merged again."""
    cases = [
        ((1, 1, 1), (1, 1), 9),
        ((1, 1, 1, 1, 1), (1, 1), 9),
        ((2, 1, 1, 1, 2), (1, 1), 9),
        ((1, 2, 2), (1, 2), 1),
        ((3, 1, 2, 4, 1, 2, 5), (1, 2), 9),
        ((12, 12, 7), (12, 7), 12),
    ]
    check_all_equal(submission.merge_pair, cases, "merge_pair: a run of tokens", mistakes=MERGES)


@points(1, "merge_pair: lists and strings")
def test_merge_pair_manners(submission):
    """A list works as a tuple does and is not changed; tokens may be strings of any length."""
    fn = submission.merge_pair
    check_equal(
        fn([1, 2, 1], (1, 2), 9),
        (9, 1),
        "merge_pair of a list",
        case="merge_pair([1, 2, 1], (1, 2), 9)",
        mistakes={
            "a slice of a list is a list, and equals no tuple: tuple(word[i : i + 2])": (1, 2, 1)
        },
    )
    check_unchanged(fn)
    by_identity = "tokens are compared by `is`; == compares what they are"
    word = ("##a", "##bc", "##a")
    check_equal(
        fn(word, ("##a", "##bc"), "##abc"),
        ("##abc", "##a"),
        "merge_pair of strings",
        case='("##a", "##bc", "##a"), ("##a", "##bc"), "##abc"',
        mistakes={by_identity: word},  # in a worker, equal strings are not one
    )
    word, pair = (tuple(map(int, text.split())) for text in ("1001 1002 1001", "1001 1002"))
    check_equal(
        fn(word, pair, 1003),
        (1003, 1001),
        "merge_pair of large ids",
        case=f"{word}, {pair}, 1003",
        mistakes={by_identity: word},
    )


# ---------------------------------------------------------------------------------------------
# train_bpe, 6 points
# ---------------------------------------------------------------------------------------------


def trained(
    word_counts,
    vocab_size,
    tie=lambda p: p,
    recount=True,
    weighted=True,
    best=-1,
    id0=256,
    spell=byte_ids,
):
    """Training with one mistake."""
    words = {tuple(spell(word)): count for word, count in word_counts.items()}
    merges, counts = {}, pairs_weighted(words)
    for new in range(id0, id0 + vocab_size - 256):
        if recount:
            counts = pairs_weighted(words, weight=(lambda n: n) if weighted else (lambda _: 1))
        if not counts:
            break
        pair = min(counts, key=lambda p: (best * counts[p], tie(p)))
        merges[pair] = new
        counts = {p: n for p, n in counts.items() if p != pair}
        words = {merged(word, pair, new): count for word, count in words.items()}
    return list(merges.items())


def check_merges(fn, word_counts, vocab_size, mistakes):
    check_equal(
        list(as_dict(fn(word_counts, vocab_size), "train_bpe").items()),
        list(reference("train_bpe")(word_counts, vocab_size).items()),
        "train_bpe: the list of merges",
        case=f"{word_counts}, vocab_size={vocab_size}"[:250],
        mistakes=mistakes,
    )


@points(1, "train_bpe: the example")
def test_train_bpe_example(submission):
    """The example in the docstring."""
    check_example(submission.train_bpe)


@points(2, "train_bpe: merges")
def test_train_bpe_merges(submission):
    """The most frequent pair first, counted anew after each merge, ids from 256 on."""
    fn = submission.train_bpe
    texts = [
        (LOW, 264),
        (random_texts(), 261),
        ({"猫": 2, "aaaa": 3}, 259),
        ({"Ab": 2, "ab": 3}, 258),
    ]
    for word_counts, size in texts:
        check_merges(
            fn,
            word_counts,
            size,
            {
                "the pairs are not counted again after a merge": trained(
                    word_counts, size, recount=False
                ),
                "the words' counts are left out": trained(word_counts, size, weighted=False),
                "these are UTF-8's byte values; byte_ids(word) gives the vocabulary's ids": trained(
                    word_counts, size, spell=str.encode
                ),
                "these are numbers of characters; byte_ids(word) gives the vocabulary's ids": (
                    trained(word_counts, size, spell=lambda word: map(ord, word))
                ),
                "capital letters have become small ones; a word is taken as it is": trained(
                    word_counts, size, spell=lambda word: byte_ids(word.lower())
                ),
                "the rarest pair is merged first": trained(word_counts, size, best=1),
                "there is one merge too few: vocab_size tokens are asked for": trained(
                    word_counts, size - 1
                ),
                "there is one merge too many: vocab_size tokens are asked for": trained(
                    word_counts, size + 1
                ),
                "vocab_size is taken for the number of merges; the 256 bytes are in it": trained(
                    word_counts, size + 256
                ),
                "new ids begin at 256, behind the bytes 0 to 255": trained(
                    word_counts, size, id0=257
                ),
            },
        )
        check_unchanged(fn)
    check_equal(as_dict(fn(LOW, 256), "train_bpe"), {}, "train_bpe: 256 tokens need no merge")


@points(2, "train_bpe: ties")
def test_train_bpe_ties(submission):
    """Of pairs equally frequent the smallest ids win, left before right."""
    words = [
        {"cb": 1, "ad": 1, "da": 1, "eb": 1},
        {"dcab": 1},
        {"ba": 2, "ab": 2, "ac": 2},
        {"cab": 3, "bac": 3, "caa": 1, "bb": 2},
        {"éa": 1, "ba": 1, "ab": 1},
    ]
    for word_counts in words:
        check_merges(
            submission.train_bpe,
            word_counts,
            258,
            {
                "of equal counts the pair seen first wins; the smallest ids should": trained(
                    word_counts, 258, tie=lambda p: 0
                ),
                "of equal counts the ids are compared as text, in which 100 is before 64": trained(
                    word_counts, 258, tie=str
                ),
                "of equal counts the largest ids win; the smallest should": trained(
                    word_counts, 258, tie=lambda p: (-p[0], -p[1])
                ),
                "of equal counts the right id decides; the left one comes first": trained(
                    word_counts, 258, tie=lambda p: p[::-1]
                ),
            },
        )


@points(1, "train_bpe: limits")
def test_train_bpe_limits(submission):
    """Too small a vocabulary and too little text are refused; min_frequency is kept."""
    fn = submission.train_bpe
    check_refused(fn, ({"ab": 1}, 255), "train_bpe with vocab_size 255")
    check_refused(
        fn,
        ({"ab": 1}, 300),
        "train_bpe of one pair with vocab_size 300",
        "no pair is left, and what there was comes back in silence: raise ValueError",
    )
    check_refused(
        fn,
        ({"ab": 3, "cd": 1}, 258, 2),
        "train_bpe with min_frequency 2 where only one pair occurs twice",
        lambda merges: (
            "min_frequency is not looked at"
            if len(merges) > 1
            else "no pair is left, and what there was comes back in silence: raise ValueError"
        ),
    )

    def more_often():
        fn({"ab": 3}, 257, 2)

    exactly = "a pair that occurs exactly min_frequency times is merged"
    with likely(exactly, of=StudentError, unless=more_often):
        check_equal(
            as_dict(fn({"ab": 2}, 257, 2), "train_bpe"),
            {byte_ids("ab"): 256},
            "train_bpe with min_frequency 2 of a pair that occurs exactly twice",
            case='{"ab": 2}, vocab_size=257, min_frequency=2',
        )
    over_all = "it is the pair that counts, over all words, and not the word"
    with likely(over_all, of=StudentError, unless=more_often):
        check_equal(
            as_dict(fn({"ab": 1, "cab": 1}, 257, 2), "train_bpe"),
            {byte_ids("ab"): 256},
            "train_bpe with min_frequency 2 of a pair that occurs once in each of two words",
            case='{"ab": 1, "cab": 1}, vocab_size=257, min_frequency=2',
        )


# ---------------------------------------------------------------------------------------------
# encode_word, 4 points
# ---------------------------------------------------------------------------------------------


def by(choose, rounds=None, least=2, most=None):
    """Merge one pair after the other, `choose` says which of those present; at most `most` places
    of it at a time."""

    def replayed(ids, merges, rounds=rounds):
        ids = tuple(ids)
        while (present := [p for p in pairwise(ids) if p in merges]) and rounds != 0:
            if len(ids) < least:
                break
            pair = choose(present, merges)
            ids = merged(ids, pair, merges[pair], most=most)
            rounds = None if rounds is None else rounds - 1
        return ids

    return replayed


def once_each(ids, merges):
    for pair, new in merges.items():
        ids = merged(ids, pair, new, most=1)
    return tuple(ids)


def backwards(ids, merges):
    for pair in reversed(merges):
        ids = merged(ids, pair, merges[pair])
    return tuple(ids)


def rightmost(present, merges):
    return present[-1]


def smallest(present, merges):
    return min(present)


def latest(present, merges):
    return max(present, key=merges.get)


def earliest(present, merges):
    return min(present, key=merges.get)


def most_frequent(present, merges):
    return max(present, key=lambda pair: (present.count(pair), -merges[pair]))


def most_frequent_leftmost(present, merges):
    return max(present, key=present.count)


def in_one_walk(ids, merges):
    """Every pair that is met is merged at once, and never looked at again."""
    out, i = [], 0
    while i < len(ids):
        new = merges.get(tuple(ids[i : i + 2]))
        out, i = (out + [ids[i]], i + 1) if new is None else (out + [new], i + 2)
    return tuple(out)


def leftmost(present, merges):
    return present[0]


@points(1, "encode_word: the example")
def test_encode_word_example(submission):
    """The example in the docstring."""
    check_example(submission.encode_word)


@points(2, "encode_word: order of the merges")
def test_encode_word_order(submission):
    """The earliest learned pair comes first, wherever in the word it stands."""
    made = {(2, 3): 256, (1, 2): 257, (3, 4): 258, (256, 4): 259, (257, 3): 260, (5, 5): 261}
    made |= {(1, 259): 262, (261, 5): 263}
    words = [(1, 2, 3, 4), (1, 2, 3), (1, 2, 1, 2), (5, 5, 5, 5, 5), (1, 2, 3, 2, 3, 4, 9)]
    words += [(1, 2, 1, 2, 3)]
    words += [random_word((1, 2, 3, 4, 5), 5, 12) for _ in range(8)]
    check_all_equal(
        submission.encode_word,
        [(word, made) for word in words],
        "encode_word: the list of ids",
        mistakes={
            "the leftmost pair is merged first; the earliest learned should be": by(leftmost),
            "the leftmost pair is merged first, one place at a time; the earliest learned should "
            "be": by(leftmost, most=1),
            "the rightmost pair is merged first; the earliest learned should be": by(rightmost),
            "one walk from left to right merges what it meets: begin anew with the earliest "
            "learned, until no pair is left": in_one_walk,
            "the pair of the smallest ids is merged first; the earliest learned should be": by(
                smallest
            ),
            "the latest learned pair is merged first; the earliest should be": by(latest),
            "the latest learned pair is merged first; the earliest should be, in a walk over all": (
                backwards
            ),
            "the pair that is most frequent in the word is merged first; the earliest learned "
            "should be": by(most_frequent),
            "the pair that is most frequent in the word is merged first, of equals the leftmost; "
            "the earliest learned should be": by(most_frequent_leftmost),
            "it stops after one merge": by(earliest, rounds=1),
            "it stops at two ids, though they may be a pair": by(earliest, least=3),
            "only one place of each pair is merged, and never the others": once_each,
        },
    )


@points(1, "encode_word: nothing to merge")
def test_encode_word_edges(submission):
    """Empty words, single bytes, and words without a known pair come back as they are."""
    fn = submission.encode_word
    for word, merges in [((), {(1, 2): 256}), ((1,), {(1, 2): 256}), ((2, 1), {(1, 2): 256})]:
        yours = as_list(fn(word, merges), "encode_word")
        check_equal(yours, list(word), "encode_word: nothing to merge", case=f"{word}, {merges}")
    check_equal(as_list(fn((1, 2), {}), "encode_word"), [1, 2], "encode_word without merges")
    check_equal(
        as_list(fn((17, 3, 7, 3), {(7, 3): 256}), "encode_word"),
        [17, 3, 256],
        "encode_word of (17, 3, 7, 3)",
        mistakes={"ids are joined as text, in which 17 3 holds 7 3": [1256, 256]},
    )
    check_equal(
        as_list(fn((1, 2), {(1, 2): 256}), "encode_word"),
        [256],
        "encode_word of two ids that are a pair",
        mistakes={"a word of two ids is given back as it is": [1, 2]},
    )
    check_equal(as_list(fn([1, 2], {(1, 2): 256}), "encode_word"), [256], "encode_word of a list")
    check_unchanged(fn)


# ---------------------------------------------------------------------------------------------
# encode, 5 points
# ---------------------------------------------------------------------------------------------


def merges_of_story(vocab_size=310):
    words = Counter(pretokenize(unicodedata.normalize("NFC", STORY)))
    return reference("train_bpe")(dict(words), vocab_size)


def encoded(text, merges, form="NFC", cut=pretokenize, spell=byte_ids):
    """Encoding with one mistake."""
    ids = []
    for word in cut(unicodedata.normalize(form, text) if form else text):
        ids += reference("encode_word")(spell(word), merges)
    return ids


def check_encoded(fn, text, merges):
    check_equal(
        as_list(fn(text, merges), "encode"),
        reference("encode")(text, merges),
        "encode: the list of ids",
        case=f"{text!r}, {len(merges)} merges",
        mistakes={
            "the text is not cut into words, so merges reach across their borders": lambda: encoded(
                text, merges, cut=lambda text: [text]
            ),
            "spaces are lost: split() throws them away, pretokenize keeps them": lambda: encoded(
                text, merges, cut=str.split
            ),
            "these are raw byte values; byte_ids(word) gives the vocabulary's ids": lambda: encoded(
                text, merges, spell=lambda word: tuple(word.encode())
            ),
            "each word's ids are in a tuple of their own; extend the list with them": lambda: [
                reference("encode_word")(byte_ids(word), merges)
                for word in pretokenize(unicodedata.normalize("NFC", text))
            ],
            "the spaces at the ends are gone: text is encoded as it is": lambda: encoded(
                text.strip(), merges
            ),
            "a space is put in front of the text": lambda: encoded(" " + text, merges),
            "these are the words; their ids are asked for": lambda: list(
                pretokenize(unicodedata.normalize("NFC", text))
            ),
            "the words are spelled in bytes, but encode_word has not merged them": lambda: encoded(
                text, {}
            ),
            "the text is not brought to NFC first": lambda: encoded(text, merges, form=None),
            "the text is taken apart (NFD); NFC puts it together": lambda: encoded(
                text, merges, form="NFD"
            ),
            "small letters have become capital ones; text is encoded as it is": lambda: encoded(
                text.upper(), merges
            ),
            "capital letters have become small ones; text is encoded as it is": lambda: reference(
                "encode"
            )(text.lower(), merges),
            "NFKC changes characters, ² becomes 2; NFC only composes": lambda: encoded(
                text, merges, form="NFKC"
            ),
            "a word that occurs twice is encoded once": lambda: encoded(
                text, merges, cut=lambda text: dict.fromkeys(pretokenize(text))
            ),
        },
    )


@points(1, "encode: the example")
def test_encode_example(submission):
    """The example in the docstring."""
    check_example(submission.encode)


@points(2, "encode: text")
def test_encode_text(submission):
    """Words are cut as Qwen2 cuts them, their spaces kept, each word merged by itself."""
    fn, merges = submission.encode, merges_of_story()
    low = {byte_ids("w "): 256, byte_ids("ow"): 257, byte_ids(" l"): 258, byte_ids("lo"): 259}
    word, other = ("".join(random_word("bcdfgh", 7, 7)) for _ in range(2))  # nobody has seen them
    check_encoded(fn, other, {byte_ids(other[:2]): 256})
    as_list(fn(word, {}), "encode")
    again = as_list(fn(word, {byte_ids(word[:2]): 256}), "encode")
    check(
        again != encoded(word, {}),
        f"encode({word!r}) with a merge of {word[:2]!r} gives what it gave without merges: {again}",
        "something is kept from one call to the next: other merges give other ids",
    )
    check_encoded(fn, "low low  slow", low)
    check_encoded(fn, "", merges)
    check_encoded(fn, "The cat's  cat looks in the box, in the box!\n", merges)
    check_encoded(fn, " a cat\n", merges)
    words = STORY.split()
    check_encoded(fn, " ".join(words[i] for i in rng().integers(0, len(words), 12)), merges)


@points(2, "encode: any text at all")
def test_encode_unicode(submission):
    """Bytes spell everything: Chinese, emoji, accents typed in two ways."""
    fn, merges = submission.encode, merges_of_story()
    for text in ["从前有一只猫，一只狗", "cats 🐈🐈!", "ca\u0301t is c\xe1t", "x² ½\r\n\r\n\ta"]:
        check_encoded(fn, text, merges)


# ---------------------------------------------------------------------------------------------
# decode, 5 points
# ---------------------------------------------------------------------------------------------


def bytes_of(ids, vocabulary):
    return b"".join(vocabulary[i] for i in ids)


def check_decoded(fn, ids, vocabulary, what):
    def one_by_one():
        return "".join(vocabulary[i].decode("utf-8", errors="replace") for i in ids)

    check_equal(
        fn(ids, vocabulary),
        bytes_of(ids, vocabulary).decode("utf-8", errors="replace"),
        f"decode: {what}",
        case=f"{ids}, the bytes are {bytes_of(ids, vocabulary)!r}"[:200],
        mistakes={
            "each token is read as UTF-8 by itself; join all bytes first": one_by_one,
            "bytes that are no UTF-8 are dropped; they become \ufffd": lambda: bytes_of(
                ids, vocabulary
            ).decode("utf-8", errors="ignore"),
            "the bytes are read as Latin-1, one character a byte": lambda: bytes_of(
                ids, vocabulary
            ).decode("latin-1"),
            "bytes come back; text was asked for": lambda: bytes_of(ids, vocabulary),
            "the text is normalized; what comes back is what the bytes spell": lambda: (
                unicodedata.normalize("NFC", bytes_of(ids, vocabulary).decode("utf-8", "replace"))
            ),
            "a space stands behind every token": lambda: b"".join(
                vocabulary[i] + b" " for i in ids
            ).decode("utf-8", errors="replace"),
            "bytes that are no UTF-8 become question marks; they become \ufffd": lambda: (
                bytes_of(ids, vocabulary).decode("utf-8", "replace").replace("\ufffd", "?")
            ),
            "bytes that are no UTF-8 are written as \\x..; they become \ufffd": lambda: bytes_of(
                ids, vocabulary
            ).decode("utf-8", "backslashreplace"),
            "the tokens are joined from the last to the first": lambda: bytes_of(
                ids[::-1], vocabulary
            ).decode("utf-8", "replace"),
            "spaces are put between the tokens": lambda: b" ".join(
                vocabulary[i] for i in ids
            ).decode("utf-8", errors="replace"),
        },
    )


@points(1, "decode: the example")
def test_decode_example(submission):
    """The example in the docstring."""
    check_example(submission.decode)


@points(1, "decode: text")
def test_decode_text(submission):
    """What was encoded comes back."""
    merges = merges_of_story()
    vocabulary = bpe_vocabulary(merges)
    for text in ["", "The cat's ball was red.\n", "look in the box"]:
        check_decoded(submission.decode, encoded(text, merges), vocabulary, "the text")


@points(2, "decode: characters split over tokens")
def test_decode_split_characters(submission):
    """A character's bytes may lie in several tokens, and may be incomplete."""
    vocabulary = bpe_vocabulary({})
    apart = list(byte_ids("cafe\u0301"))
    check_decoded(submission.decode, apart, vocabulary, "an accent typed by itself")
    whole = list(byte_ids("猫 é 🐈"))
    check_decoded(submission.decode, whole, vocabulary, "a text with characters split over tokens")
    check_decoded(submission.decode, whole[:-1], vocabulary, "a character that is cut short")
    drawn = [int(i) for i in rng().integers(0, 256, 12)] + list(byte_ids("猫"))[:2]
    check_decoded(submission.decode, drawn, vocabulary, "bytes that are no UTF-8")


@points(1, "decode: ids outside the vocabulary")
def test_decode_outside(submission):
    """An id that is not in the vocabulary is refused, -1 as well."""
    vocabulary = [b"a", b"b", b"c"]
    for ids in [[0, 3], [1000], [-1], [0, -3]]:
        wrong = next(i for i in ids if not 0 <= i < 3)
        check_refused(
            submission.decode,
            (ids, vocabulary),
            f"decode({ids}) with a vocabulary of 3",
            "a negative id counts from the end of the list" if wrong < 0 else None,
        )
    check_equal(submission.decode([2, 0], vocabulary), "ca", "decode([2, 0]) of a, b, c")


# ---------------------------------------------------------------------------------------------
# wordpiece_scores, 5 points
# ---------------------------------------------------------------------------------------------

HUGS = {
    ("h", "##u", "##g"): 10,
    ("p", "##u", "##g"): 5,
    ("p", "##u", "##n"): 12,
    ("b", "##u", "##n"): 4,
    ("h", "##u", "##g", "##s"): 5,
}


def scored(words, score, pieces=tuple, weighted=True, least=0, pairs=lambda count: count):
    """Scores with one mistake."""
    counts = Counter()
    for word, count in words.items():
        for piece in pieces(word) if len(word) > least else ():
            counts[piece] += count if weighted else 1
    return rounded(
        {
            (a, b): score(n, counts[a], counts[b])
            for (a, b), n in pairs_weighted(words, weight=pairs).items()
        }
    )


def rounded(scores):
    return {pair: round(float(score), 12) for pair, score in scores.items()}


def of_counts(score, **changes):
    """Scores with one mistake, as a function of the words."""
    return lambda words: scored(words, score, **changes)


def total(words, less=0):
    """How many pieces there are, or, with less=1, pairs."""
    return sum(max(0, len(word) - less) * count for word, count in words.items())


def scored_by_pairs(words):
    """The pieces' counts are the sums of those of the pairs that they are in."""
    pairs, counts = pairs_weighted(words), Counter()
    for pair, count in pairs.items():
        for piece in pair:
            counts[piece] += count
    return rounded({(a, b): ratio(n, counts[a], counts[b]) for (a, b), n in pairs.items()})


def ratio(pair, first, second):
    return pair / (first * second)


SCORES = {
    "these are the pairs' counts, not divided by anything": of_counts(lambda n, a, b: n),
    "the logarithm is taken; the score is the quotient itself": of_counts(
        lambda n, a, b: math.log(n / (a * b))
    ),
    "the counts of the pieces are added; they belong multiplied": of_counts(
        lambda n, a, b: n / (a + b)
    ),
    "// throws away what is behind the point; the score is a fraction: /": of_counts(
        lambda n, a, b: n // (a * b)
    ),
    "the words' counts are left out of the pairs' counts": of_counts(ratio, pairs=lambda _: 1),
    "the words' counts are left out: a word counts as often as it occurs": of_counts(
        ratio, weighted=False, pairs=lambda _: 1
    ),
    "the counts are divided by their totals: the score is of counts, not of shares": (
        lambda words: of_counts(
            lambda n, a, b: ratio(n / total(words, 1), a / total(words), b / total(words))
        )(words)
    ),
    "a piece is counted in every pair it is in; it is counted where it stands": (
        lambda words: scored_by_pairs(words)
    ),
    "brackets are missing: n / a * b divides by a alone": of_counts(lambda n, a, b: n / a * b),
    "the root of the product is taken": of_counts(lambda n, a, b: n / (a * b) ** 0.5),
    "the score is upside down": of_counts(lambda n, a, b: a * b / n),
    "the square of the first piece's count divides": of_counts(lambda n, a, b: n / a**2),
    "the square of the second piece's count divides": of_counts(lambda n, a, b: n / b**2),
    "the pair's count is divided by the larger of the two": of_counts(
        lambda n, a, b: n / max(a, b)
    ),
    "the pair's count is divided by the smaller of the two": of_counts(
        lambda n, a, b: n / min(a, b)
    ),
    "a word's last piece is left out of the pieces' counts": of_counts(
        lambda n, a, b: ratio(n, a, b) if a * b else 0.0, pieces=lambda word: word[:-1]
    ),
    "the pair's count is divided by the first piece's only": of_counts(lambda n, a, b: n / a),
    "the pair's count is divided by the second piece's only": of_counts(lambda n, a, b: n / b),
    "the words' counts are left out of the pieces' counts": of_counts(ratio, weighted=False),
    "a piece that stands twice in a word is counted once": of_counts(ratio, pieces=set),
    "words of a single piece are left out of the pieces' counts": of_counts(ratio, least=1),
}


def check_scores(fn, *cases):
    """The scores, to twelve digits: whoever takes logarithms gets others at the end."""
    check_all_equal(
        fn,
        [(words,) for words in cases],
        "wordpiece_scores: the dict of scores",
        mistakes=SCORES,
        seen=lambda scores: rounded(as_dict(scores, "wordpiece_scores")),
    )
    fn(dict(cases[0]))
    check_unchanged(fn)


@points(1, "wordpiece_scores: the example")
def test_wordpiece_scores_example(submission):
    """The example in the docstring, by hand."""
    check_example(submission.wordpiece_scores)


@points(2, "wordpiece_scores: value")
def test_wordpiece_scores_value(submission):
    """freq(pair) / (freq(first) · freq(second)), each word as often as it occurs."""
    check_scores(submission.wordpiece_scores, HUGS, {("q", "##u"): 2, ("x", "##a", "##b"): 9})


@points(2, "wordpiece_scores: repeated and lonely pieces")
def test_wordpiece_scores_pieces(submission):
    """Pieces are counted in every place they stand, in words without a pair as well."""
    check_scores(
        submission.wordpiece_scores,
        {("a", "##a", "##a", "##a"): 3, ("b", "##a"): 2},
        {("a",): 7, ("a", "##b"): 2, (): 4},
        random_words(("a", "##a", "##b", "c")),
        {},
    )


# ---------------------------------------------------------------------------------------------
# encode_wordpiece, 5 points
# ---------------------------------------------------------------------------------------------

PIECES = {"a", "b", "ab", "abab", "##a", "##b", "##ab", "##ba", "##bab", "c", "##猫猫", "猫"}


def taken_back(word, vocabulary, start=0):
    """The first of all ways to cut the word, longest pieces first, or None."""
    if start == len(word):
        return []
    for end in range(len(word), start, -1):
        piece = ("##" if start else "") + word[start:end]
        rest = taken_back(word, vocabulary, end) if piece in vocabulary else None
        if rest is not None:
            return [piece, *rest]
    return None


def pieces_of(
    word,
    vocabulary,
    mark="##",
    ends=lambda start, n: range(n, start, -1),
    give_up=True,
    empty=False,
    first="",
):
    """Longest match with one mistake."""
    pieces, start = [], 0
    if not word and empty:
        return ["[UNK]"]
    while start < len(word):
        prefix = mark if start else first
        fits = [e for e in ends(start, len(word)) if prefix + word[start:e] in vocabulary]
        if not fits and give_up:
            return ["[UNK]"]
        end = fits[0] if fits else start + 1
        pieces.append(prefix + word[start:end] if fits else "[UNK]")
        start = end
    return pieces


def up_to_the_gap(pieces):
    return pieces[: pieces.index("[UNK]") + 1] if "[UNK]" in pieces else pieces


def with_mark(mark, first=""):
    return lambda word, vocabulary: pieces_of(word, vocabulary, mark=mark, first=first)


def whole_or_characters(word, vocabulary):
    if word in vocabulary:
        return [word]
    pieces = [character if i == 0 else "##" + character for i, character in enumerate(word)]
    return pieces if all(piece in vocabulary for piece in pieces) else ["[UNK]"]


CUTS = {
    "the shortest piece is taken; the longest that fits should be": lambda word, vocabulary: (
        pieces_of(word, vocabulary, ends=lambda start, n: range(start + 1, n + 1))
    ),
    'pieces after the first are looked up without their "##"': with_mark(""),
    'one "#" stands in front of the later pieces; it is two': with_mark("#"),
    'the first piece is looked up with "##" as well': with_mark("##", "##"),
    "only the part that has no piece is unknown; the whole word should be": (
        lambda word, vocabulary: pieces_of(word, vocabulary, give_up=False)
    ),
    "the pieces found before the gap are kept; the whole word is unknown": (
        lambda word, vocabulary: up_to_the_gap(pieces_of(word, vocabulary, give_up=False))
    ),
    "a shorter piece is tried where the rest does not fit; the longest stays": (
        lambda word, vocabulary: ["[UNK]"] if (cut := taken_back(word, vocabulary)) is None else cut
    ),
    "the whole word or its single characters are tried; the longest piece should be": (
        whole_or_characters
    ),
    "capital letters have become small ones; a word is taken as it is": (
        lambda word, vocabulary: pieces_of(word.lower(), vocabulary)
    ),
    "an empty word has no pieces: []": lambda word, vocabulary: pieces_of(
        word, vocabulary, empty=True
    ),
    "the word's last character is never looked at": lambda word, vocabulary: pieces_of(
        word[:-1], vocabulary
    ),
    'the "##" is taken off the pieces; it belongs to them': lambda word, vocabulary: [
        piece.removeprefix("##") for piece in pieces_of(word, vocabulary)
    ],
}


def check_pieces(fn, *cases):
    check_all_equal(
        fn,
        [case if isinstance(case, tuple) else (case, PIECES) for case in cases],
        "encode_wordpiece: the list of pieces",
        mistakes=CUTS,
    )
    check_unchanged(fn)


@points(1, "encode_wordpiece: the example")
def test_encode_wordpiece_example(submission):
    """The examples in the docstring."""
    check_example(submission.encode_wordpiece)


@points(2, "encode_wordpiece: the longest piece")
def test_encode_wordpiece_longest(submission):
    """The longest piece that fits, from left to right, with ## behind the first."""
    drawn = ["".join(random_word("ab", 3, 9)) for _ in range(6)]
    words = ["abba", "ababab", "a", "bbabab", "猫猫猫", "", *drawn]
    check_pieces(submission.encode_wordpiece, *words)


@points(2, "encode_wordpiece: unknown words")
def test_encode_wordpiece_unknown(submission):
    """Where nothing fits, the whole word is unknown, and so is one that is too long."""
    fn = submission.encode_wordpiece
    words = ["abxa", "abx", "xab", "abc", "猫a猫", "x", "ababx", "Ab"]
    # taking the longest is never taken back, though "a" + "##bc" would have fitted
    check_pieces(fn, *words, ("abc", {"a", "ab", "##bc"}))
    check_equal(
        as_list(fn("abx", PIECES, "<unk>"), "encode_wordpiece", "pieces"),
        ["<unk>"],
        "encode_wordpiece with unk_token='<unk>'",
        mistakes={"[UNK] is written into the code; unk_token is an argument": ["[UNK]"]},
    )
    check_equal(
        as_list(fn("猫" * 40, {"猫", "##猫"}), "encode_wordpiece", "pieces"),
        ["猫", *["##猫"] * 39],
        "encode_wordpiece of forty times 猫",
        mistakes={"a word's length is counted in bytes; it is characters that count": ["[UNK]"]},
    )
    for length, limit in [(100, 100), (101, 100), (4, 3), (3, 3)]:
        expected = ["[UNK]"] if length > limit else ["a", *["##a"] * (length - 1)]
        check_equal(
            as_list(fn("a" * length, {"a", "##a"}, "[UNK]", limit), "encode_wordpiece", "pieces"),
            expected,
            f"encode_wordpiece of {length} characters with max_characters={limit}",
            mistakes={
                "max_characters is not looked at": ["a", *["##a"] * (length - 1)],
                "max_characters itself is still allowed": ["[UNK]"],
            },
        )


# ---------------------------------------------------------------------------------------------
# bpe_vocabulary, for honor
# ---------------------------------------------------------------------------------------------


@points(0, "bpe_vocabulary: the example")
def test_bpe_vocabulary_example(submission):
    """The example in the docstring."""
    check_example(submission.bpe_vocabulary)


@points(0, "bpe_vocabulary: single bytes")
def test_bpe_vocabulary_bytes(submission):
    """256 ids of one byte each: the printable ones first, in the order of GPT-2's table."""
    yours = as_list(submission.bpe_vocabulary({}), "bpe_vocabulary", "bytes")
    plain = [bytes([i]) for i in range(256)]
    check_equal(
        yours,
        bpe_vocabulary({}),
        "bpe_vocabulary of no merges",
        mistakes={
            "id and byte are not the same number: id 0 is b'!', and byte 0 is id 188": plain,
            "these are bytes of the stand-in characters in UTF-8; one byte each is asked for": [
                chr(i).encode() for i in range(256)
            ],
        },
    )


@points(0, "bpe_vocabulary: merges")
def test_bpe_vocabulary_merges(submission):
    """A merge joins the bytes of its two tokens, and may be a part of later ones."""
    merges = merges_of_story(280 + int(rng().integers(40)))
    single = bpe_vocabulary({})

    def joined(left, right):
        tokens = list(single)
        for pair in merges:
            a, b = (tokens[i] for i in pair)
            tokens.append(left(a, b) + right(a, b))
        return tokens

    check_equal(
        as_list(submission.bpe_vocabulary(dict(merges)), "bpe_vocabulary", "bytes"),
        bpe_vocabulary(merges),
        f"bpe_vocabulary of {len(merges)} merges",
        mistakes={
            "a part that is a merge itself is left out: it is made of its own bytes": [
                *single,
                *(b"".join(single[i] for i in pair if i < 256) for pair in merges),
            ],
            "left and right are exchanged": joined(lambda a, b: b, lambda a, b: a),
            "only the first byte of each part is kept": joined(
                lambda a, b: a[:1], lambda a, b: b[:1]
            ),
            "the single bytes are missing: they are ids 0 to 255": bpe_vocabulary(merges)[256:],
            "the merges are missing: they follow the 256 single bytes": single,
            "the last merge is missing": bpe_vocabulary(merges)[:-1],
        },
    )
