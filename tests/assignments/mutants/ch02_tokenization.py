"""Wrong solutions of chapter 02, each named after its mistake."""

import math
import unicodedata
from collections import Counter
from itertools import pairwise

from tinyqwen.course import mutant
from tinyqwen.text import bpe, wordpiece

count_pairs, merge_pair = bpe.count_pairs, bpe.merge_pair
train_bpe, encode_word, encode, decode = bpe.train_bpe, bpe.encode_word, bpe.encode, bpe.decode
wordpiece_scores, encode_wordpiece = wordpiece.wordpiece_scores, wordpiece.encode_wordpiece


# ---------------------------------------------------------------------------------------------
# count_pairs
# ---------------------------------------------------------------------------------------------


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="own counts are left out")
def count_pairs_unweighted(words):
    return count_pairs(dict.fromkeys(words, 1))


@mutant(of="count_pairs", killed_by="test_count_pairs_overlaps", named="counted once")
def count_pairs_once_a_word(words):
    counts = Counter()
    for word, count in words.items():
        for pair in set(pairwise(word)):
            counts[pair] += count
    return dict(counts)


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="overwrites that of the words")
def count_pairs_overwritten(words):
    return {pair: count for word, count in words.items() for pair in pairwise(word)}


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="into the next")
def count_pairs_across_words(words):
    return dict(Counter(pairwise(t for word, count in words.items() for t in word * count)))


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="last pair of each word")
def count_pairs_range_too_short(words):
    counts = Counter()
    for word, count in words.items():
        for i in range(len(word) - 2):
            counts[word[i], word[i + 1]] += count
    return dict(counts)


@mutant(of="count_pairs", killed_by="test_count_pairs_overlaps", named="overlapping pairs are not")
def count_pairs_without_overlap(words):
    counts = Counter()
    for word, count in words.items():
        i = 0
        while i + 1 < len(word):
            counts[word[i], word[i + 1]] += count
            i += 2 if word[i] == word[i + 1] else 1
    return dict(counts)


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="steps of two")
def count_pairs_in_steps_of_two(words):
    counts = Counter()
    for word, count in words.items():
        for pair in zip(word[::2], word[1::2]):
            counts[pair] += count
    return dict(counts)


@mutant(of="count_pairs", killed_by="test_count_pairs_short", named="listed with 0")
def count_pairs_lists_absent_ones(words):
    tokens = {token for word in words for token in word}
    return {(a, b): 0 for a in tokens for b in tokens} | count_pairs(words)


@mutant(of="count_pairs", killed_by="test_count_pairs_short", named="words is changed in place")
def count_pairs_empties_words(words):
    counts = count_pairs(words)
    words.clear()
    return counts


# ---------------------------------------------------------------------------------------------
# merge_pair
# ---------------------------------------------------------------------------------------------


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="only the first occurrence")
def merge_pair_first_only(word, pair, new):
    for i in range(len(word) - 1):
        if tuple(word[i : i + 2]) == tuple(pair):
            return (*word[:i], new, *word[i + 2 :])
    return tuple(word)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="a list is returned")
def merge_pair_list(word, pair, new):
    return list(merge_pair(word, pair, new))


@mutant(of="merge_pair", killed_by="test_merge_pair_runs", named="merged from the right")
def merge_pair_from_the_right(word, pair, new):
    return merge_pair(tuple(word)[::-1], tuple(pair)[::-1], new)[::-1]


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="right token stays")
def merge_pair_forgets_to_skip(word, pair, new):
    return tuple(
        new if tuple(word[i : i + 2]) == tuple(pair) else token for i, token in enumerate(word)
    )


@mutant(of="merge_pair", killed_by="test_merge_pair_runs", named="looked at again")
def merge_pair_until_none_is_left(word, pair, new):
    while tuple(pair) in pairwise(word):
        word = merge_pair_first_only(word, pair, new)
    return tuple(word)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="merged in both orders")
def merge_pair_both_orders(word, pair, new):
    return merge_pair(merge_pair(word, pair, new), tuple(pair)[::-1], new)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="last token is lost")
def merge_pair_loses_the_end(word, pair, new):
    merged, i = [], 0
    while i < len(word) - 1:
        if tuple(word[i : i + 2]) == tuple(pair):
            merged, i = [*merged, new], i + 2
        else:
            merged, i = [*merged, word[i]], i + 1
    return tuple(merged)


@mutant(of="merge_pair", killed_by="test_merge_pair_manners", named="word is changed in place")
def merge_pair_in_place(word, pair, new):
    result = merge_pair(word, pair, new)
    if isinstance(word, list):
        word[:] = result
    return result


@mutant(of="merge_pair", killed_by="test_merge_pair_manners", named="equals no tuple")
def merge_pair_tuples_only(word, pair, new):
    merged, i = [], 0
    while i < len(word):
        if word[i : i + 2] == (pair[0], pair[1]):
            merged, i = [*merged, new], i + 2
        else:
            merged, i = [*merged, word[i]], i + 1
    return tuple(merged)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="left token stays where it was")
def merge_pair_keeps_the_left_token(word, pair, new):
    out, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == tuple(pair):
            out += [word[i], new]
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


# ---------------------------------------------------------------------------------------------
# train_bpe
# ---------------------------------------------------------------------------------------------


def trained(word_counts, vocab_size, key, least=1):
    if vocab_size < 256:
        raise ValueError("vocab_size is too small")
    words = {bpe.byte_ids(word): count for word, count in word_counts.items()}
    merges = {}
    for new in range(256, vocab_size):
        counts = count_pairs(words)
        pair = min(counts, key=lambda pair: key(counts[pair], pair), default=None)
        if pair is None or counts[pair] < least:
            raise ValueError("too few pairs")
        merges[pair] = new
        words = {merge_pair(word, pair, new): count for word, count in words.items()}
    return merges


@mutant(of="train_bpe", killed_by="test_train_bpe_ties", named="the pair seen first wins")
def train_bpe_tie_first_seen(word_counts, vocab_size, min_frequency=1):
    return trained(word_counts, vocab_size, lambda count, pair: -count, min_frequency)


@mutant(of="train_bpe", killed_by="test_train_bpe_ties", named="the largest ids win")
def train_bpe_tie_largest(word_counts, vocab_size, min_frequency=1):
    key = lambda count, pair: (-count, -pair[0], -pair[1])  # noqa: E731
    return trained(word_counts, vocab_size, key, min_frequency)


@mutant(of="train_bpe", killed_by="test_train_bpe_ties", named="the right id decides")
def train_bpe_tie_right_first(word_counts, vocab_size, min_frequency=1):
    return trained(word_counts, vocab_size, lambda count, pair: (-count, pair[::-1]), min_frequency)


@mutant(of="train_bpe", killed_by="test_train_bpe_merges", named="the rarest pair")
def train_bpe_rarest(word_counts, vocab_size, min_frequency=1):
    return trained(word_counts, vocab_size, lambda count, pair: (count, pair), min_frequency)


@mutant(of="train_bpe", killed_by="test_train_bpe_merges", named="counts are left out")
def train_bpe_unweighted(word_counts, vocab_size, min_frequency=1):
    return train_bpe(dict.fromkeys(word_counts, 1), vocab_size)


@mutant(of="train_bpe", killed_by="test_train_bpe_merges", named="not counted again")
def train_bpe_counts_once(word_counts, vocab_size, min_frequency=1):
    words = {bpe.byte_ids(word): count for word, count in word_counts.items()}
    counts = count_pairs(words)
    order = sorted(counts, key=lambda pair: (-counts[pair], pair))
    if vocab_size < 256 or len(order) < vocab_size - 256:
        raise ValueError("too few pairs")
    return {pair: 256 + i for i, pair in enumerate(order[: vocab_size - 256])}


@mutant(of="train_bpe", killed_by="test_train_bpe_merges", named="one merge too few")
def train_bpe_one_too_few(word_counts, vocab_size, min_frequency=1):
    merges = train_bpe(word_counts, vocab_size, min_frequency)
    return dict(list(merges.items())[:-1])


@mutant(of="train_bpe", killed_by="test_train_bpe_merges", named="the 256 bytes are in it")
def train_bpe_vocab_size_of_merges(word_counts, vocab_size, min_frequency=1):
    for size in range(vocab_size + 256, 255, -1):
        try:
            return train_bpe(word_counts, size, min_frequency)
        except ValueError:
            continue


@mutant(of="train_bpe", killed_by="test_train_bpe_limits", named="min_frequency is not looked at")
def train_bpe_ignores_min_frequency(word_counts, vocab_size, min_frequency=1):
    return train_bpe(word_counts, vocab_size)


@mutant(of="train_bpe", killed_by="test_train_bpe_limits", named="train_bpe raised ValueError")
def train_bpe_min_frequency_off_by_one(word_counts, vocab_size, min_frequency=1):
    return train_bpe(word_counts, vocab_size, min_frequency + (min_frequency > 1))


@mutant(
    of="train_bpe",
    killed_by="test_train_bpe_limits",
    named="comes back in silence: raise ValueError",
)
def train_bpe_stops_quietly(word_counts, vocab_size, min_frequency=1):
    for size in range(vocab_size, 255, -1):
        try:
            return train_bpe(word_counts, size, min_frequency)
        except ValueError:
            continue
    raise ValueError("vocab_size is below 256")


# ---------------------------------------------------------------------------------------------
# encode_word
# ---------------------------------------------------------------------------------------------


def replayed(ids, merges, choose):
    while present := [pair for pair in pairwise(ids) if pair in merges]:
        pair = choose(present)
        ids = merge_pair(ids, pair, merges[pair])
    return tuple(ids)


@mutant(of="encode_word", killed_by="test_encode_word_order", named="the leftmost pair")
def encode_word_leftmost(ids, merges):
    return replayed(ids, merges, lambda present: present[0])


@mutant(of="encode_word", killed_by="test_encode_word_order", named="the latest learned pair")
def encode_word_latest(ids, merges):
    return replayed(ids, merges, lambda present: max(present, key=merges.get))


@mutant(of="encode_word", killed_by="test_encode_word_order", named="after one merge")
def encode_word_once(ids, merges):
    present = [pair for pair in pairwise(ids) if pair in merges]
    if not present:
        return tuple(ids)
    pair = min(present, key=merges.get)
    return merge_pair(ids, pair, merges[pair])


@mutant(of="encode_word", killed_by="test_encode_word_order", named="encode_word: the list of ids")
def encode_word_greedy_walk(ids, merges):
    out = []
    for token in ids:
        while out and (out[-1], token) in merges:
            token = merges[out.pop(), token]
        out.append(token)
    return tuple(out)


@mutant(of="encode_word", killed_by="test_encode_word_edges", named="encode_word raised ValueError")
def encode_word_empty_min(ids, merges):
    ids = tuple(ids)
    while True:
        pair = min(pairwise(ids), key=lambda pair: merges.get(pair, 1 << 30))
        if pair not in merges:
            return ids
        ids = merge_pair(ids, pair, merges[pair])


@mutant(of="encode_word", killed_by="test_encode_word_edges", named="ids is changed in place")
def encode_word_in_place(ids, merges):
    result = encode_word(ids, merges)
    if isinstance(ids, list):
        ids[:] = result
    return result


@mutant(of="encode_word", killed_by="test_encode_word_edges", named="return statement is missing")
def encode_word_forgets_unmerged(ids, merges):
    result = encode_word(ids, merges)
    if len(result) < len(ids):
        return result


@mutant(of="encode_word", killed_by="test_encode_word_order", named="one place at a time")
def encode_word_leftmost_place(ids, merges):
    ids = list(ids)
    i = 0
    while i < len(ids) - 1:
        new = merges.get((ids[i], ids[i + 1]))
        if new is None:
            i += 1
        else:
            ids[i : i + 2] = [new]
            i = 0
    return tuple(ids)


@mutant(of="encode_word", killed_by="test_encode_word_order", named="one walk from left to right")
def encode_word_walks_once(ids, merges):
    out, i = [], 0
    while i < len(ids):
        new = merges.get(tuple(ids[i : i + 2]))
        out.append(ids[i] if new is None else new)
        i += 1 if new is None else 2
    return tuple(out)


@mutant(of="encode_word", killed_by="test_encode_word_order", named="of equals the leftmost")
def encode_word_most_frequent_leftmost(ids, merges):
    ids = tuple(ids)
    while counts := Counter(pair for pair in pairwise(ids) if pair in merges):
        pair = counts.most_common(1)[0][0]
        ids = merge_pair(ids, pair, merges[pair])
    return ids


@mutant(of="encode_word", killed_by="test_encode_word_edges", named="stop where none is left")
def encode_word_least_of_nothing(ids, merges):
    ids = tuple(ids)
    while (pair := min(pairwise(ids), key=lambda pair: merges.get(pair, math.inf))) in merges:
        ids = merge_pair(ids, pair, merges[pair])
    return ids


# ---------------------------------------------------------------------------------------------
# encode
# ---------------------------------------------------------------------------------------------


def encoded(text, merges, cut=bpe.pretokenize, spell=bpe.byte_ids):
    return [i for word in cut(text) for i in encode_word(spell(word), merges)]


@mutant(of="encode", killed_by="test_encode_text", named="merges reach across")
def encode_whole_text(text, merges):
    return encoded(unicodedata.normalize("NFC", text), merges, cut=lambda text: [text])


@mutant(of="encode", killed_by="test_encode_text", named="spaces are lost")
def encode_split(text, merges):
    return encoded(unicodedata.normalize("NFC", text), merges, cut=str.split)


@mutant(of="encode", killed_by="test_encode_text", named="raw byte values")
def encode_raw_bytes(text, merges):
    text = unicodedata.normalize("NFC", text)
    return encoded(text, merges, spell=lambda word: tuple(word.encode()))


@mutant(of="encode", killed_by="test_encode_text", named="a tuple of their own")
def encode_appends_words(text, merges):
    words = bpe.pretokenize(unicodedata.normalize("NFC", text))
    return [encode_word(bpe.byte_ids(word), merges) for word in words]


@mutant(of="encode", killed_by="test_encode_text", named="has not merged them")
def encode_without_merging(text, merges):
    return encoded(unicodedata.normalize("NFC", text), {})


@mutant(of="encode", killed_by="test_encode_text", named="is encoded once")
def encode_each_word_once(text, merges):
    text = unicodedata.normalize("NFC", text)
    return encoded(text, merges, cut=lambda text: dict.fromkeys(bpe.pretokenize(text)))


@mutant(of="encode", killed_by="test_encode_unicode", named="not brought to NFC")
def encode_not_normalized(text, merges):
    return encoded(text, merges)


@mutant(of="encode", killed_by="test_encode_unicode", named="NFKC changes characters")
def encode_nfkc(text, merges):
    return encoded(unicodedata.normalize("NFKC", text), merges)


@mutant(of="encode", killed_by="test_encode_unicode", named="UnicodeEncodeError")
def encode_latin1(text, merges):
    text = unicodedata.normalize("NFC", text)
    ids = {byte: i for i, byte in enumerate(bpe.bytes_to_unicode())}
    return encoded(text, merges, spell=lambda word: tuple(ids[b] for b in word.encode("latin-1")))


# ---------------------------------------------------------------------------------------------
# decode
# ---------------------------------------------------------------------------------------------


@mutant(of="decode", killed_by="test_decode_split_characters", named="join all bytes first")
def decode_one_by_one(ids, vocabulary):
    return "".join(decode([i], vocabulary) for i in ids)


@mutant(of="decode", killed_by="test_decode_split_characters", named="are dropped")
def decode_ignores_errors(ids, vocabulary):
    decode(ids, vocabulary)
    return b"".join(vocabulary[i] for i in ids).decode("utf-8", errors="ignore")


@mutant(of="decode", killed_by="test_decode_split_characters", named="UnicodeDecodeError")
def decode_strict(ids, vocabulary):
    decode(ids, vocabulary)
    return b"".join(vocabulary[i] for i in ids).decode("utf-8")


@mutant(of="decode", killed_by="test_decode_split_characters", named="Latin-1")
def decode_latin1(ids, vocabulary):
    decode(ids, vocabulary)
    return b"".join(vocabulary[i] for i in ids).decode("latin-1")


@mutant(of="decode", killed_by="test_decode_outside", named="counts from the end")
def decode_negative_ids(ids, vocabulary):
    if any(i >= len(vocabulary) for i in ids):
        raise ValueError("an id is outside the vocabulary")
    return b"".join(vocabulary[i] for i in ids).decode("utf-8", errors="replace")


@mutant(of="decode", killed_by="test_decode_outside", named="raised IndexError")
def decode_index_error(ids, vocabulary):
    return b"".join(vocabulary[i] for i in ids).decode("utf-8", errors="replace")


@mutant(of="decode", killed_by="test_decode_text", named="spaces are put between")
def decode_with_spaces(ids, vocabulary):
    decode(ids, vocabulary)
    return b" ".join(vocabulary[i] for i in ids).decode("utf-8", errors="replace")


@mutant(of="decode", killed_by="test_decode_text", named="bytes come back")
def decode_bytes(ids, vocabulary):
    decode(ids, vocabulary)
    return b"".join(vocabulary[i] for i in ids)


# ---------------------------------------------------------------------------------------------
# wordpiece_scores
# ---------------------------------------------------------------------------------------------


def scored(words, score, pieces=tuple, weighted=True, least=0):
    counts = Counter()
    for word, count in words.items():
        for piece in pieces(word) if len(word) > least else ():
            counts[piece] += count if weighted else 1
    return {(a, b): score(n, counts[a], counts[b]) for (a, b), n in count_pairs(words).items()}


def ratio(pair, first, second):
    return pair / (first * second)


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="pairs' counts")
def wordpiece_scores_as_bpe(words):
    return count_pairs(words)


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="are added")
def wordpiece_scores_sum(words):
    return scored(words, lambda n, a, b: n / (a + b))


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="the first piece's")
def wordpiece_scores_precedence(words):
    return scored(words, lambda n, a, b: n / a)


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="the logarithm")
def wordpiece_scores_log(words):
    return scored(words, lambda n, a, b: math.log(n / (a * b)))


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="is a fraction: /")
def wordpiece_scores_whole_numbers(words):
    return scored(words, lambda n, a, b: n // (a * b))


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="counts are left out")
def wordpiece_scores_unweighted_pieces(words):
    return scored(words, ratio, weighted=False)


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_pieces", named="is counted once")
def wordpiece_scores_pieces_once(words):
    return scored(words, ratio, pieces=set)


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_pieces", named="a single piece")
def wordpiece_scores_skips_single_pieces(words):
    return scored(words, ratio, least=1)


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="words is changed")
def wordpiece_scores_pops(words):
    scores = wordpiece_scores(words)
    while words:
        words.popitem()
    return scores


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="a word counts as often as it occurs",
)
def wordpiece_scores_of_each_word_once(words):
    return wordpiece_scores(dict.fromkeys(words, 1))


@mutant(
    of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="of counts, not of shares"
)
def wordpiece_scores_of_shares(words):
    pieces = sum(len(word) * count for word, count in words.items())
    pairs = sum(count_pairs(words).values())
    return {pair: score * pieces**2 / pairs for pair, score in wordpiece_scores(words).items()}


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="is counted in every pair it is in",
)
def wordpiece_scores_counts_by_pairs(words):
    pairs, counts = count_pairs(words), Counter()
    for (left, right), count in pairs.items():
        counts[left] += count
        counts[right] += count
    return {(a, b): count / (counts[a] * counts[b]) for (a, b), count in pairs.items()}


# ---------------------------------------------------------------------------------------------
# encode_wordpiece
# ---------------------------------------------------------------------------------------------


def longest_match(word, vocabulary, unk, mark="##", shortest=False, give_up=True):
    pieces, start = [], 0
    while start < len(word):
        prefix = mark if start else ""
        ends = range(len(word), start, -1)
        fits = [e for e in ends if prefix + word[start:e] in vocabulary]
        if not fits and give_up:
            return [unk]
        end = fits[-1 if shortest else 0] if fits else start + 1
        pieces.append(prefix + word[start:end] if fits else unk)
        start = end
    return pieces


@mutant(
    of="encode_wordpiece", killed_by="test_encode_wordpiece_longest", named="the shortest piece"
)
def encode_wordpiece_shortest(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return longest_match(word, vocabulary, unk_token, shortest=True)


@mutant(
    of="encode_wordpiece", killed_by="test_encode_wordpiece_longest", named='without their "##"'
)
def encode_wordpiece_without_mark(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return longest_match(word, vocabulary, unk_token, mark="")


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_longest", named="taken off")
def encode_wordpiece_mark_removed(word, vocabulary, unk_token="[UNK]", max_characters=100):
    pieces = encode_wordpiece(word, vocabulary, unk_token, max_characters)
    return [piece.removeprefix("##") for piece in pieces]


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_unknown", named="only the part")
def encode_wordpiece_unknown_part(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return longest_match(word, vocabulary, unk_token, give_up=False)


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_unknown", named="before the gap")
def encode_wordpiece_keeps_beginning(word, vocabulary, unk_token="[UNK]", max_characters=100):
    pieces = longest_match(word, vocabulary, unk_token, give_up=False)
    return pieces[: pieces.index(unk_token) + 1] if unk_token in pieces else pieces


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_unknown", named="is an argument")
def encode_wordpiece_fixed_unk(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return encode_wordpiece(word, vocabulary, max_characters=max_characters)


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_unknown", named="not looked at")
def encode_wordpiece_any_length(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return encode_wordpiece(word, vocabulary, unk_token, 10**9)


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_unknown", named="still allowed")
def encode_wordpiece_length_off_by_one(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return encode_wordpiece(word, vocabulary, unk_token, max_characters - 1)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="the walk ends too early")
def merge_pair_stops_before_the_end(word, pair, new_token):
    out, i = [], 0
    while i < len(word):
        if i + 2 < len(word) and tuple(word[i : i + 2]) == tuple(pair):
            out, i = [*out, new_token], i + 2
        else:
            out, i = [*out, word[i]], i + 1
    return tuple(out)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="the last token is lost")
def merge_pair_loses_the_last_token(word, pair, new_token):
    out, i = [], 0
    while i < len(word) - 1:
        if tuple(word[i : i + 2]) == tuple(pair):
            out, i = [*out, new_token], i + 2
        else:
            out, i = [*out, word[i]], i + 1
    return tuple(out)


# ---------------------------------------------------------------------------------------------
# bpe_vocabulary
# ---------------------------------------------------------------------------------------------


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_bytes", named="not the same number")
def bpe_vocabulary_in_the_order_of_bytes(merges):
    tokens = [bytes([i]) for i in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return tokens


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_bytes", named="one byte each")
def bpe_vocabulary_of_characters(merges):
    return [chr(i).encode() for i in range(256)] + bpe.bpe_vocabulary(merges)[256:]


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_merges", named="exchanged")
def bpe_vocabulary_right_before_left(merges):
    return bpe.bpe_vocabulary({(right, left): new for (left, right), new in merges.items()})


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_merges", named="only the first byte")
def bpe_vocabulary_first_bytes(merges):
    tokens = bpe.bpe_vocabulary({})
    for left, right in merges:
        tokens.append(tokens[left][:1] + tokens[right][:1])
    return tokens


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_merges", named="they follow the 256")
def bpe_vocabulary_without_merges(merges):
    return bpe.bpe_vocabulary({})


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_merges", named="last merge is missing")
def bpe_vocabulary_one_short(merges):
    return bpe.bpe_vocabulary(merges)[: 255 + len(merges)] if merges else bpe.bpe_vocabulary({})


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_merges", named="is left out")
def bpe_vocabulary_of_single_bytes_alone(merges):
    single = bpe.bpe_vocabulary({})
    return single + [b"".join(single[i] for i in pair if i < 256) for pair in merges]


@mutant(of="bpe_vocabulary", killed_by="test_bpe_vocabulary_bytes", named="bytes is asked for")
def bpe_vocabulary_as_text(merges):
    return [token.decode("latin-1") for token in bpe.bpe_vocabulary(merges)]


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


@mutant(
    of="count_pairs",
    killed_by="test_count_pairs_overlaps",
    named="overlapping pairs are not counted: (7, 7)",
)
def count_pairs_non_overlapping(words):
    c = {}
    for w, n in words.items():
        i = 0
        while i < len(w) - 1:
            p = (w[i], w[i + 1])
            c[p] = c.get(p, 0) + n
            i += 2 if len(w) > i + 2 and w[i] == w[i + 1] == w[i + 2] else 1
    return c


@mutant(
    of="count_pairs",
    killed_by="test_count_pairs_value",
    named="pairs are counted without their order",
)
def count_pairs_unordered(words):
    c = {}
    for w, n in words.items():
        for p in pairwise(w):
            p = tuple(sorted(p))
            c[p] = c.get(p, 0) + n
    return c


@mutant(
    of="count_pairs",
    killed_by="test_count_pairs_value",
    named="the keys are of type str; tuple is asked for",
)
def count_pairs_strings(words):
    c = {}
    for w, n in words.items():
        for a, b in pairwise(w):
            c[str(a) + str(b)] = c.get(str(a) + str(b), 0) + n
    return c


@mutant(
    of="count_pairs",
    killed_by="test_count_pairs_value",
    named="a list is no dict: {pair: number} is asked for",
)
def count_pairs_lists(words):
    return list(count_pairs(words).items())


@mutant(
    of="merge_pair",
    killed_by="test_merge_pair_value",
    named="the word is joined as text, in which 11 2 holds",
)
def merge_pair_joined_text(word, pair, new):
    s = " ".join(map(str, word)).replace(" ".join(map(str, pair)), str(new))
    return tuple(type(new)(x) for x in s.split())


@mutant(
    of="merge_pair",
    killed_by="test_merge_pair_value",
    named="the last token is lost where it is in no pair",
)
def merge_pair_drops_end(word, pair, new):
    o, i = [], 0
    while i < len(word) - 1:
        if (word[i], word[i + 1]) == tuple(pair):
            o.append(new)
            i += 2
        else:
            o.append(word[i])
            i += 1
    return tuple(o)


@mutant(
    of="merge_pair",
    killed_by="test_merge_pair_value",
    named="the pair is merged in both orders; (2, 1) is",
)
def merge_pair_either_order(word, pair, new):
    return merge_pair(merge_pair(word, pair, new), tuple(pair[::-1]), new)


@mutant(
    of="merge_pair",
    killed_by="test_merge_pair_value",
    named="every left token becomes the new one",
)
def merge_pair_only_left(word, pair, new):
    return tuple(new if t == pair[0] else t for t in word)


@mutant(
    of="train_bpe",
    killed_by="test_train_bpe_ties",
    named="of equal counts the largest ids win; the",
)
def train_bpe_largest_tie(word_counts, vocab_size, min_frequency=1):
    words = {bpe.byte_ids(w): c for w, c in word_counts.items()}
    m = {}
    if vocab_size < 256:
        raise ValueError("small")
    for n in range(256, vocab_size):
        c = count_pairs(words)
        c = {p: k for p, k in c.items() if k >= min_frequency}
        if not c:
            raise ValueError("none")
        p = max(c, key=lambda q: (c[q], q))
        m[p] = n
        words = {merge_pair(w, p, n): k for w, k in words.items()}
    return m


@mutant(
    of="train_bpe",
    killed_by="test_train_bpe_ties",
    named="of equal counts the pair seen first wins; the",
)
def train_bpe_first_seen_tie(word_counts, vocab_size, min_frequency=1):
    words = {bpe.byte_ids(w): c for w, c in word_counts.items()}
    m = {}
    if vocab_size < 256:
        raise ValueError("small")
    for n in range(256, vocab_size):
        c = count_pairs(words)
        c = {p: k for p, k in c.items() if k >= min_frequency}
        if not c:
            raise ValueError("none")
        p = max(c, key=c.get)
        m[p] = n
        words = {merge_pair(w, p, n): k for w, k in words.items()}
    return m


@mutant(
    of="train_bpe",
    killed_by="test_train_bpe_merges",
    named="there is one merge too many: vocab_size tokens",
)
def train_bpe_vocab_more(word_counts, vocab_size, min_frequency=1):
    return train_bpe(word_counts, vocab_size + 1, min_frequency)


@mutant(of="train_bpe", killed_by="test_train_bpe_limits", named="min_frequency is not looked at")
def train_bpe_min_ignored(word_counts, vocab_size, min_frequency=1):
    return train_bpe(word_counts, vocab_size)


@mutant(of="train_bpe", killed_by="test_train_bpe_limits", named="every number is off by -256")
def train_bpe_ids_from_0(word_counts, vocab_size, min_frequency=1):
    return {p: i - 256 for p, i in train_bpe(word_counts, vocab_size, min_frequency).items()}


@mutant(
    of="encode_word",
    killed_by="test_encode_word_order",
    named="the latest learned pair is merged first; the",
)
def encode_word_dict_order(ids, merges):
    ids = tuple(ids)
    for q, n in reversed(list(merges.items())):
        ids = merge_pair(ids, q, n)
    return ids


@mutant(
    of="encode_word",
    killed_by="test_encode_word_edges",
    named="a word of two ids is given back as it is",
)
def encode_word_two_token_words(ids, merges):
    return encode_word(ids, merges) if len(ids) > 2 else tuple(ids)


@mutant(
    of="encode_word",
    killed_by="test_encode_word_edges",
    named="ids are joined as text, in which 17 3 holds 7 3",
)
def encode_word_joined(ids, merges):
    s = " ".join(map(str, ids))
    for (a, b), n in merges.items():
        s = s.replace(f"{a} {b}", str(n))
    return tuple(int(x) for x in s.split())


@mutant(of="encode", killed_by="test_encode_unicode", named="the text is not brought to NFC first")
def encode_no_nfc(text, merges):
    return [i for w in bpe.pretokenize(text) for i in encode_word(bpe.byte_ids(w), merges)]


@mutant(
    of="encode", killed_by="test_encode_unicode", named="the text is taken apart (NFD); NFC puts it"
)
def encode_nfd(text, merges):
    return [
        i
        for w in bpe.pretokenize(unicodedata.normalize("NFD", text))
        for i in encode_word(bpe.byte_ids(w), merges)
    ]


@mutant(
    of="encode",
    killed_by="test_encode_text",
    named="the text is not cut into words, so merges reach",
)
def encode_no_cut(text, merges):
    return list(encode_word(bpe.byte_ids(unicodedata.normalize("NFC", text)), merges))


@mutant(
    of="encode",
    killed_by="test_encode_text",
    named="these are raw byte values; byte_ids(word) gives",
)
def encode_utf8(text, merges):
    return [
        i
        for w in bpe.pretokenize(unicodedata.normalize("NFC", text))
        for i in encode_word(tuple(w.encode()), merges)
    ]


@mutant(
    of="encode",
    killed_by="test_encode_text",
    named="a list of lists came: join them, with extend or",
)
def encode_nested(text, merges):
    return [
        list(encode_word(bpe.byte_ids(w), merges))
        for w in bpe.pretokenize(unicodedata.normalize("NFC", text))
    ]


@mutant(
    of="encode",
    killed_by="test_encode_text",
    named="capital letters have become small ones; text is",
)
def encode_lower(text, merges):
    return encode(text.lower(), merges)


@mutant(of="encode", killed_by="test_encode_text", named="the spaces at the ends are gone")
def encode_strip(text, merges):
    return encode(text.strip(), merges)


@mutant(
    of="decode",
    killed_by="test_decode_split_characters",
    named="bytes that are no UTF-8 are dropped; they",
)
def decode_ignore(ids, vocabulary):
    if any(not 0 <= i < len(vocabulary) for i in ids):
        raise ValueError
    return b"".join(vocabulary[i] for i in ids).decode("utf-8", "ignore")


@mutant(
    of="decode",
    killed_by="test_decode_split_characters",
    named="the bytes are read as Latin-1, one character a",
)
def decode_latin(ids, vocabulary):
    if any(not 0 <= i < len(vocabulary) for i in ids):
        raise ValueError
    return b"".join(vocabulary[i] for i in ids).decode("latin-1")


@mutant(
    of="decode",
    killed_by="test_decode_outside",
    named="a negative id counts from the end of the list",
)
def decode_negative(ids, vocabulary):
    if any(i >= len(vocabulary) for i in ids):
        raise ValueError
    return b"".join(vocabulary[i] for i in ids).decode("utf-8", "replace")


@mutant(of="decode", killed_by="test_decode_text", named="spaces are put between the tokens")
def decode_spaces(ids, vocabulary):
    if any(not 0 <= i < len(vocabulary) for i in ids):
        raise ValueError
    return b" ".join(vocabulary[i] for i in ids).decode("utf-8", "replace")


@mutant(
    of="decode",
    killed_by="test_decode_outside",
    named="another exception came than the ValueError that",
)
def decode_indexerror(ids, vocabulary):
    return b"".join(vocabulary[i] for i in ids).decode("utf-8", "replace")


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="these are the pairs' counts, not divided by",
)
def wordpiece_scores_counts(words):
    return count_pairs(words)


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="the counts of the pieces are added; they belong",
)
def wordpiece_scores_no_product(words):
    c = count_pairs(words)
    f = Counter()
    for w, n in words.items():
        for t in w:
            f[t] += n
    return {(a, b): k / (f[a] + f[b]) for (a, b), k in c.items()}


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="the pair's count is divided by the first",
)
def wordpiece_scores_only_left(words):
    c = count_pairs(words)
    f = Counter()
    for w, n in words.items():
        for t in w:
            f[t] += n
    return {(a, b): k / f[a] for (a, b), k in c.items()}


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="the words' counts are left out of the pieces'",
)
def wordpiece_scores_unweighted_freq(words):
    c = count_pairs(words)
    f = Counter()
    for w, _n in words.items():
        for t in w:
            f[t] += 1
    return {(a, b): k / (f[a] * f[b]) for (a, b), k in c.items()}


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_pieces",
    named="a piece that stands twice in a word is counted",
)
def wordpiece_scores_once_a_word(words):
    c = count_pairs(words)
    f = Counter()
    for w, n in words.items():
        for t in set(w):
            f[t] += n
    return {(a, b): k / (f[a] * f[b]) for (a, b), k in c.items()}


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="// throws away what is behind the point; the",
)
def wordpiece_scores_int(words):
    return {p: int(s) for p, s in wordpiece_scores(words).items()}


@mutant(
    of="wordpiece_scores",
    killed_by="test_wordpiece_scores_value",
    named="the right numbers, rounded to 4 digits: return",
)
def wordpiece_scores_rounded(words):
    return {p: round(s, 4) for p, s in wordpiece_scores(words).items()}


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_longest",
    named='the "##" is taken off the pieces; it belongs to',
)
def encode_wordpiece_no_marks(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return [
        p.removeprefix("##") for p in encode_wordpiece(word, vocabulary, unk_token, max_characters)
    ]


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_unknown",
    named="the pieces found before the gap are kept; the",
)
def encode_wordpiece_partial(word, vocabulary, unk_token="[UNK]", max_characters=100):
    o, i = [], 0
    if len(word) > max_characters:
        return [unk_token]
    while i < len(word):
        for j in range(len(word), i, -1):
            p = ("##" if i else "") + word[i:j]
            if p in vocabulary:
                o.append(p)
                i = j
                break
        else:
            o.append(unk_token)
            return o
    return o


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_unknown",
    named="only the part that has no piece is unknown; the",
)
def encode_wordpiece_skip(word, vocabulary, unk_token="[UNK]", max_characters=100):
    o, i = [], 0
    if len(word) > max_characters:
        return [unk_token]
    while i < len(word):
        for j in range(len(word), i, -1):
            p = ("##" if i else "") + word[i:j]
            if p in vocabulary:
                o.append(p)
                i = j
                break
        else:
            o.append(unk_token)
            i += 1
    return o


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_unknown",
    named="a word's length is counted in bytes; it is",
)
def encode_wordpiece_bytes_long(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return (
        [unk_token]
        if len(word.encode()) > max_characters
        else encode_wordpiece(word, vocabulary, unk_token, 10**9)
    )


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_unknown",
    named="max_characters itself is still allowed",
)
def encode_wordpiece_max_strict(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return (
        [unk_token]
        if len(word) >= max_characters
        else encode_wordpiece(word, vocabulary, unk_token, max_characters)
    )


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_unknown",
    named="max_characters is not looked at",
)
def encode_wordpiece_max_ignored(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return encode_wordpiece(word, vocabulary, unk_token, 10**9)


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_unknown",
    named="[UNK] is written into the code; unk_token is an",
)
def encode_wordpiece_unk_fixed(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return encode_wordpiece(word, vocabulary, "[UNK]", max_characters)


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_unknown",
    named="this is a str; a list is asked for",
)
def encode_wordpiece_unk_string(word, vocabulary, unk_token="[UNK]", max_characters=100):
    r = encode_wordpiece(word, vocabulary, unk_token, max_characters)
    return unk_token if r == [unk_token] else r


@mutant(
    of="encode_wordpiece",
    killed_by="test_encode_wordpiece_longest",
    named="an empty word has no pieces",
)
def encode_wordpiece_empty(word, vocabulary, unk_token="[UNK]", max_characters=100):
    return encode_wordpiece(word, vocabulary, unk_token, max_characters) or [unk_token]


# ---------------------------------------------------------------------------------------------
# Text for ids, `is` for ==, what is kept between calls
# ---------------------------------------------------------------------------------------------


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="as in a ring")
def count_pairs_in_a_ring(words):
    counts = Counter()
    for word, count in words.items():
        for i in range(len(word)):
            counts[word[i - 1], word[i]] += count
    return dict(counts)


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="has become text")
def count_pairs_of_text(words):
    return {tuple(f"{token}" for token in pair): n for pair, n in count_pairs(words).items()}


@mutant(of="merge_pair", killed_by="test_merge_pair_manners", named="compared by `is`")
def merge_pair_by_identity(word, pair, new):
    out, i = [], 0
    while i < len(word):
        hit = i + 1 < len(word) and word[i] is pair[0] and word[i + 1] is pair[1]
        out, i = [*out, new if hit else word[i]], i + 1 + hit
    return tuple(out)


@mutant(of="merge_pair", killed_by="test_merge_pair_runs", named="in two merges, which overlap")
def merge_pair_overlapping(word, pair, new):
    out, skip = [], False
    for token, following in zip(word, [*word[1:], None]):
        if (token, following) == tuple(pair):
            out.append(new)
            skip = True
        elif not skip:
            out.append(token)
        else:
            skip = False
    return tuple(out)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="the word is joined as text")
def merge_pair_in_text(word, pair, new):
    text = " ".join(map(str, word)).replace(" ".join(map(str, pair)), str(new))
    tokens = {str(token): token for token in (*word, new)}
    return tuple(tokens.get(one, one) for one in text.split())


@mutant(of="train_bpe", killed_by="test_train_bpe_merges", named="these are UTF-8's byte values")
def train_bpe_of_raw_bytes(word_counts, vocab_size, min_frequency=1):
    words = {tuple(word.encode()): count for word, count in word_counts.items()}
    if vocab_size < 256:
        raise ValueError("256 bytes are the least")
    merges = {}
    for new in range(256, vocab_size):
        counts = {pair: n for pair, n in count_pairs(words).items() if n >= min_frequency}
        if not counts:
            raise ValueError("no pair is left")
        pair = min(counts, key=lambda p: (-counts[p], p))
        words = {merge_pair(word, pair, new): n for word, n in words.items()}
        merges[pair] = new
    return merges


@mutant(of="train_bpe", killed_by="test_train_bpe_merges", named="your own `raise` refuses")
def train_bpe_refuses_256(word_counts, vocab_size, min_frequency=1):
    if vocab_size < 257:
        raise ValueError("the vocabulary is too small")
    return train_bpe(word_counts, vocab_size, min_frequency)


@mutant(of="train_bpe", killed_by="test_train_bpe_limits", named="exactly min_frequency times")
def train_bpe_more_than_min_frequency(word_counts, vocab_size, min_frequency=1):
    return train_bpe(word_counts, vocab_size, min_frequency + (min_frequency > 1))


@mutant(of="encode_word", killed_by="test_encode_word_order", named="most frequent in the word")
def encode_word_most_frequent(ids, merges):
    ids = tuple(ids)
    while counts := Counter(pair for pair in pairwise(ids) if pair in merges):
        most = max(counts.values())
        pair = min((pair for pair in counts if counts[pair] == most), key=merges.get)
        ids = merge_pair(ids, pair, merges[pair])
    return ids


@mutant(of="encode_word", killed_by="test_encode_word_edges", named="merges is changed in place")
def encode_word_uses_merges_up(ids, merges):
    out = encode_word(ids, merges)
    for pair in [pair for pair in merges if merges[pair] in out]:
        del merges[pair]
    return out


_WORDS = {}


@mutant(of="encode", killed_by="test_encode_text", named="kept from one call to the next")
def encode_from_a_cache(text, merges):
    words = bpe.pretokenize(unicodedata.normalize("NFC", text))
    return [
        i
        for word in words
        for i in _WORDS.setdefault(word, encode_word(bpe.byte_ids(word), merges))
    ]


@mutant(of="encode", killed_by="test_encode_text", named="the spaces at the ends are gone")
def encode_stripped(text, merges):
    return encode(text.strip(), merges)


@mutant(of="decode", killed_by="test_decode_split_characters", named="the text is normalized")
def decode_normalized(ids, vocabulary):
    return unicodedata.normalize("NFC", decode(ids, vocabulary))


@mutant(
    of="wordpiece_scores", killed_by="test_wordpiece_scores_value", named="of the pairs' counts"
)
def wordpiece_scores_pairs_unweighted(words):
    pairs, pieces = Counter(), Counter()
    for word, count in words.items():
        pairs.update(pairwise(word))
        for piece in word:
            pieces[piece] += count
    return {(a, b): n / (pieces[a] * pieces[b]) for (a, b), n in pairs.items()}


@mutant(
    of="wordpiece_scores", killed_by="test_wordpiece_scores_pieces", named="brackets are missing"
)
def wordpiece_scores_without_brackets(words):
    pieces = Counter()
    for word, count in words.items():
        for piece in word:
            pieces[piece] += count
    return {(a, b): n / pieces[a] * pieces[b] for (a, b), n in count_pairs(words).items()}


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_unknown", named="the longest stays")
def encode_wordpiece_takes_back(word, vocabulary, unk_token="[UNK]", max_characters=100):
    if len(word) > max_characters:
        return [unk_token]

    def cut(rest, mark):
        if not rest:
            return []
        for end in range(len(rest), 0, -1):
            if mark + rest[:end] in vocabulary and (behind := cut(rest[end:], "##")) is not None:
                return [mark + rest[:end], *behind]
        return None

    found = cut(word, "")
    return [unk_token] if found is None else found


@mutant(of="count_pairs", killed_by="test_count_pairs_value", named="every later token is counted")
def count_pairs_far_apart(words):
    counts = Counter()
    for word, count in words.items():
        for i, left in enumerate(word):
            for right in word[i + 1 :]:
                counts[left, right] += count
    return dict(counts)


@mutant(of="merge_pair", killed_by="test_merge_pair_value", named="only the left token is compared")
def merge_pair_by_the_left(word, pair, new):
    out, i = [], 0
    while i < len(word):
        hit = word[i] == pair[0] and i + 1 < len(word)
        out, i = [*out, new if hit else word[i]], i + 1 + hit
    return tuple(out)


@mutant(of="train_bpe", killed_by="test_train_bpe_limits", named="it is the pair that counts")
def train_bpe_rare_words_left_out(word_counts, vocab_size, min_frequency=1):
    words = {word: count for word, count in word_counts.items() if count >= min_frequency}
    return train_bpe(words, vocab_size, min_frequency)


@mutant(of="encode_word", killed_by="test_encode_word_order", named="the pair of the smallest ids")
def encode_word_smallest_ids(ids, merges):
    ids = tuple(ids)
    while present := sorted(set(pairwise(ids)) & merges.keys()):
        ids = merge_pair(ids, present[0], merges[present[0]])
    return ids


@mutant(of="decode", killed_by="test_decode_split_characters", named="become question marks")
def decode_question_marks(ids, vocabulary):
    return decode(ids, vocabulary).replace("\ufffd", "?")


@mutant(of="wordpiece_scores", killed_by="test_wordpiece_scores_pieces", named="the larger of the")
def wordpiece_scores_by_the_larger(words):
    pieces = Counter()
    for word, count in words.items():
        for piece in word:
            pieces[piece] += count
    return {(a, b): n / max(pieces[a], pieces[b]) for (a, b), n in count_pairs(words).items()}


@mutant(of="encode_wordpiece", killed_by="test_encode_wordpiece_longest", named="single characters")
def encode_wordpiece_whole_or_letters(word, vocabulary, unk_token="[UNK]", max_characters=100):
    if not word or word in vocabulary:
        return [word] if word else []
    pieces = [word[0], *("##" + letter for letter in word[1:])]
    known = len(word) <= max_characters and vocabulary.issuperset(pieces)
    return pieces if known else [unk_token]
