"""The plain-Python BPE against the `tokenizers` library, and against hand counts."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tinyqwen.text import bpe
from tinyqwen.text.tokenizer_training import BPE_PATTERN

# Characters that this Python's Unicode tables lack may be in the library's, so none of those.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cn"])
TRICKY = st.sampled_from("aZ sS'tl.,!12²½\t\n\r\x0b\x1c\x85\xa0\u3000 é\u0301ſ中猫，🐈👩\u200d_")
TEXTS = st.text(st.one_of(TRICKY, CHARACTERS), max_size=40)
SPLIT = pre_tokenizers.Split(Regex(BPE_PATTERN), "isolated")

STORY = """Once there was a cat. The cat's ball was red, and the dog's ball was blue.
从前有一只猫。我有一只猫，你有一只狗。  I have 12 cats 🐈🐈🐈!

She looked in the box and found the red ball; they'll look in the box again.
"""


def library_bpe(texts, vocab_size):
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([SPLIT, byte_level])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def shown(merges):
    """Our merges as tokenizer.json writes them."""
    display = bpe.bytes_to_unicode()
    tokens = ["".join(display[byte] for byte in token) for token in bpe.bpe_vocabulary(merges)]
    return tokens, [[tokens[left], tokens[right]] for left, right in merges]


# -- words and bytes ------------------------------------------------------------------------------


@settings(max_examples=500)
@given(TEXTS)
def test_pretokenize_cuts_where_qwen_does(text):
    words = bpe.pretokenize(text)
    assert words == [word for word, _ in SPLIT.pre_tokenize_str(text)]
    assert "".join(words) == text


def test_pretokenize_agrees_on_every_assigned_character():
    different = []
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) in ("Cs", "Cn"):
            continue
        text = f"a{character} {character}b\n{character}"
        if code < 0x3000 or code % 17 == 0:  # all of the scripts with odd cases, a sample beyond
            if bpe.pretokenize(text) != [word for word, _ in SPLIT.pre_tokenize_str(text)]:
                different.append(hex(code))
    assert different == []


def test_bytes_to_unicode_is_the_librarys_alphabet():
    display = bpe.bytes_to_unicode()
    assert sorted(display) == list(range(256))
    assert list(display.values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert display[ord(" ")] == "Ġ" and display[ord("\n")] == "Ċ" and display[ord("!")] == "!"


# -- BPE ------------------------------------------------------------------------------------------


def test_count_pairs_by_hand():
    words = {("l", "o", "w"): 5, ("l", "o", "w", "e", "r"): 2, ("n",): 9, (): 3}
    assert bpe.count_pairs(words) == {
        ("l", "o"): 7,
        ("o", "w"): 7,
        ("w", "e"): 2,
        ("e", "r"): 2,
    }
    assert bpe.count_pairs({(7, 7, 7): 2}) == {(7, 7): 4}


@pytest.mark.parametrize(
    "word, pair, merged",
    [
        ((), (1, 2), ()),
        ((1,), (1, 2), (1,)),
        ((1, 2), (1, 2), (9,)),
        ((2, 1), (1, 2), (2, 1)),
        ((1, 1, 1, 1, 1), (1, 1), (9, 9, 1)),
        ((1, 2, 1, 1, 2, 2), (1, 2), (9, 1, 9, 2)),
    ],
)
def test_merge_pair_by_hand(word, pair, merged):
    assert bpe.merge_pair(word, pair, 9) == merged
    assert bpe.merge_pair(list(word), pair, 9) == merged


def test_ties_go_to_the_smallest_ids():
    # every pair occurs once: (a, b) has smaller ids than (b, c) and (c, d)
    (first, second), *_ = bpe.train_bpe({"abcd": 1}, 258)
    assert (first, second) == bpe.byte_ids("ab")
    # a higher count beats a smaller id
    assert next(iter(bpe.train_bpe({"abcd": 1, "cd": 1}, 257))) == bpe.byte_ids("cd")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("aab bc猫 é🐈"), max_size=40), max_size=6),
    st.integers(256, 320),
)
def test_training_gives_the_librarys_merges(texts, vocab_size):
    backend = library_bpe(texts, vocab_size)
    model = json.loads(backend.to_str())["model"]
    reached = len(model["vocab"])
    merges = bpe.train_bpe(bpe.count_words(texts), reached)
    tokens, pairs = shown(merges)
    assert pairs == model["merges"]
    assert {token: i for i, token in enumerate(tokens)} == model["vocab"]
    if reached < vocab_size:
        with pytest.raises(ValueError, match=rf"{vocab_size} asked.*only {reached}"):
            bpe.train_bpe(bpe.count_words(texts), vocab_size)


def test_training_on_mixed_text_gives_the_librarys_merges_and_ids():
    backend = library_bpe([STORY], 330)
    merges = bpe.train_bpe(bpe.count_words(STORY), 330)
    assert shown(merges)[1] == json.loads(backend.to_str())["model"]["merges"]
    for text in [STORY, "The cats found 3 boxes.", "一只狗 🐕", "Ünknøwn\r\n\r\n wörds"]:
        assert bpe.encode(text, merges) == backend.encode(text).ids


MERGES = bpe.train_bpe(bpe.count_words(STORY), 330)
LIBRARY = library_bpe([STORY], 330)


@settings(max_examples=300)
@given(st.one_of(TEXTS, st.text(st.sampled_from("the box cat 's猫有一只"), max_size=60)))
def test_encode_equals_the_librarys_and_decode_returns_the_text(text):
    ids = bpe.encode(text, MERGES)
    assert ids == LIBRARY.encode(text).ids
    assert bpe.decode(ids, bpe.bpe_vocabulary(MERGES)) == unicodedata.normalize("NFC", text)


@given(st.lists(st.integers(0, 329), max_size=12))
def test_decode_equals_the_librarys_even_for_broken_utf8(ids):
    assert bpe.decode(ids, bpe.bpe_vocabulary(MERGES)) == LIBRARY.decode(ids)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="token id 330 is outside the vocabulary of 330"):
        bpe.decode([1, 330], bpe.bpe_vocabulary(MERGES))
    with pytest.raises(ValueError, match="token id -1"):
        bpe.decode([-1], bpe.bpe_vocabulary(MERGES))
    with pytest.raises(ValueError, match="at least 256"):
        bpe.train_bpe({"a": 1}, 255)
    with pytest.raises(ValueError, match="300 asked for, but these words support only 257"):
        bpe.train_bpe({"ab": 3, "cd": 1}, 300, min_frequency=2)
