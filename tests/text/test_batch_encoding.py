"""`tokenizer(texts, ...)` by hand: BERT's pairs, translations, cutting and filling up."""

from itertools import product

import numpy as np
import pytest
import tokenizers

from tinyqwen.text.batch_encoding import cut_lengths
from tinyqwen.text.tokenizer import Tokenizer

# ids: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, then ##b a b and what was merged
BERT = Tokenizer.train(["a b ab " * 9], kind="wordpiece")
A, B = BERT.token_to_id("a"), BERT.token_to_id("b")
PAIRS = ["I have a cat", "我有一只猫", "Do you have a cat?", "你有猫吗？"]
WORDS = Tokenizer.train(PAIRS, kind="word")


def test_berts_marks_and_pairs_by_hand():
    assert BERT("a b") == {
        "input_ids": [2, A, B, 3],
        "token_type_ids": [0, 0, 0, 0],
        "attention_mask": [1, 1, 1, 1],
    }
    assert BERT("a", "b b")["input_ids"] == [2, A, 3, B, B, 3]
    assert BERT("a", "b b")["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert BERT("a", "b", add_special_tokens=False)["input_ids"] == [A, B]
    marks = [BERT.pad_token_id, BERT.unk_token_id, BERT.cls_token_id, BERT.sep_token_id]
    assert [*marks, BERT.mask_token_id] == [0, 1, 2, 3, 4]
    assert BERT.mask_token == "[MASK]"


@pytest.mark.parametrize("side", ["right", "left"])
def test_rows_are_filled_up(side):
    tokenizer = Tokenizer(BERT.backend, BERT.config | {"padding_side": side})
    batch = tokenizer(["a", "a b b"], ["b", "a"], padding=True, return_tensors="np")
    short, long = [2, A, 3, B, 3], [2, A, B, B, 3, A, 3]
    fill = {"right": lambda row: row + [0, 0], "left": lambda row: [0, 0] + row}[side]
    assert batch["input_ids"].tolist() == [fill(short), long]
    assert batch["attention_mask"].tolist() == [fill([1] * 5), [1] * 7]
    assert batch["token_type_ids"].tolist() == [fill([0, 0, 0, 1, 1]), [0] * 5 + [1] * 2]
    assert all(array.dtype == np.int64 for array in batch.values())
    assert tokenizer([], padding=True)["input_ids"] == []
    longer = tokenizer(["a"], padding="max_length", max_length=4)
    assert longer["input_ids"] == [{"right": [2, A, 3, 0], "left": [0, 2, A, 3]}[side]]


def test_texts_are_cut_and_keep_their_marks():
    assert BERT("a b a b", truncation=True, max_length=4)["input_ids"] == [2, A, B, 3]
    cut = BERT("a b a b", "b", truncation=True, max_length=6)
    assert cut["input_ids"] == [2, A, B, 3, B, 3]
    cut = BERT("b", "a b a b", truncation=True, max_length=6)
    assert cut["input_ids"] == [2, B, 3, A, B, 3]
    assert cut["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert BERT("a b", truncation=True, max_length=2)["input_ids"] == [2, 3]
    assert BERT("a b", None, "a b", truncation=True, max_length=3)["labels"] == [2, A, 3]
    left = Tokenizer(BERT.backend, BERT.config | {"truncation_side": "left"})
    assert left("a b a a", truncation=True, max_length=4)["input_ids"] == [2, A, A, 3]
    model = Tokenizer(BERT.backend, BERT.config | {"model_max_length": 3})
    assert model("a b", truncation=True)["input_ids"] == [2, A, 3]


def test_cut_lengths_are_those_of_cutting_one_by_one():
    for first, second, room in product(range(9), range(9), range(18)):
        one, two = first, second
        while one + two > room:
            if one > two or (one == two and first <= second):  # of equals, the one that was shorter
                one -= 1
            else:
                two -= 1
        assert cut_lengths(first, second, room) == (one, two)


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_words_for_translation_by_hand():
    tokens = [WORDS.id_to_token(i) for i in WORDS.encode("Do I have 猫?")]
    assert tokens == ["Do", "<unk>", " have", "<unk>", "猫", "?", "</s>"]  # " I" was not seen
    assert [WORDS.id_to_token(i) for i in range(3)] == ["<pad>", "</s>", "<unk>"]
    for text in PAIRS:
        assert WORDS.decode(WORDS.encode(text), skip_special_tokens=True) == text
    batch = WORDS(PAIRS[1::2], text_target=PAIRS[::2], padding=True)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["input_ids"] == [WORDS.encode(text) for text in PAIRS[1::2]]
    long, short = WORDS.encode(PAIRS[2]), WORDS.encode(PAIRS[0])
    assert batch["labels"] == [short + [0] * (len(long) - len(short)), long]
    assert WORDS.batch_decode(batch["labels"], skip_special_tokens=True) == PAIRS[::2]


def test_the_config_says_what_a_model_takes():
    alone = Tokenizer(BERT.backend, BERT.config | {"model_input_names": ["input_ids"]})
    assert list(alone("a b")) == ["input_ids"]


def test_a_length_that_would_do_nothing_is_refused():
    for tokenizer, texts in ((BERT, "cat"), (BERT, ["cat", "a cat"])):
        with pytest.raises(ValueError, match="max_length is for truncation=True and padding"):
            tokenizer(texts, max_length=3)


def test_batches_refuse():
    bare = Tokenizer(BERT.backend, {})
    endless = Tokenizer(BERT.backend, {"model_max_length": 10**30})
    for call, message in [
        (lambda: bare(["a"], padding=True), "no pad_token"),
        (lambda: BERT("a", truncation=True), "need max_length"),
        (lambda: BERT("a", padding="max_length"), "need max_length"),
        (lambda: endless("a", truncation=True), "need max_length"),
        (lambda: BERT("a", truncation=True, max_length=1), "the special tokens alone take 2"),
        (lambda: BERT(["a", "b"], ["a"]), "equally many"),
        (lambda: BERT(["a", "b"], text_target="a"), "equally many"),
        (lambda: BERT(["a", "a b"], return_tensors="np"), "several lengths; ask for padding"),
        (lambda: BERT("a", return_tensors="pt"), "'np'; got 'pt'"),
        (lambda: BERT("a", padding="longst"), "got 'longst'"),
        (lambda: BERT("a", truncation="only_first", max_length=9), "got 'only_first'"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="text must be a str"):
        BERT([5])


def test_how_a_file_was_used_is_not_how_it_is_read(tmp_path):
    """tokenizer.json may hold a padding and a truncation, of whoever saved it."""
    BERT.save_pretrained(tmp_path)
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_padding(length=9)
    backend.enable_truncation(3)
    backend.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.encode("a b") == [2, A, B, 3]
    assert again.encode_batch(["a", "a b"]) == [[2, A, 3], [2, A, B, 3]]


def test_what_a_batch_is_filled_up_with():
    """Labels with the padding token, as ids are; on the right, unless the config says otherwise."""
    tokenizer = Tokenizer(BERT.backend, BERT.config | {"pad_token": "[MASK]"})
    batch = tokenizer(["a", "a b"], None, ["b a", "b"], padding=True)
    assert batch["input_ids"] == [[2, A, 3, 4], [2, A, B, 3]]
    assert batch["labels"] == [[2, B, A, 3], [2, B, 3, 4]]
    assert batch["attention_mask"] == [[1, 1, 1, 0], [1, 1, 1, 1]]
    longer = tokenizer(["a b a b"], padding="max_length", max_length=3)  # which cuts nothing
    assert longer["input_ids"] == [[2, A, B, A, B, 3]]
    assert set(WORDS("I have")) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("limit", [2048, 1 << 20, 10**30])
def test_a_limit_of_the_config_unless_it_stands_for_none(limit):
    tokenizer = Tokenizer(BERT.backend, BERT.config | {"model_max_length": limit})
    if limit > 1 << 31:
        with pytest.raises(ValueError, match="need max_length"):
            tokenizer("a b", truncation=True)
    else:
        assert len(tokenizer("a " * 3000, truncation=True)["input_ids"]) == min(limit, 3002)


def test_of_two_equal_texts_the_first_is_cut_first():
    """The odd one stays with the second."""
    assert cut_lengths(5, 5, 7) == (3, 4)
    assert BERT("a b a", "b a b", truncation=True, max_length=8)["input_ids"] == [
        2, A, B, 3, B, A, B, 3,
    ]  # fmt: skip
