"""Tokens that stand beside the vocabulary, by hand; the parity tests hold them to transformers."""

import json

import pytest
from test_tokenizer import BPE, saved

from tinyqwen.text.tokenizer import Tokenizer

SIZE = len(BPE)  # 330; what is added begins there
THE, CAT = BPE.encode("the"), BPE.encode("cat")


def loaded(folder, **config):
    saved(folder)[1].write_text(json.dumps(config))
    return Tokenizer.from_pretrained(folder)


def entry(content, special=True, **flags):
    return {"content": content, "special": special, "normalized": False, **flags}


def test_ids_are_numbers(tmp_path):
    tokens = {"1000": entry("<a>"), "999": entry("<b>")}
    tokenizer = loaded(tmp_path, added_tokens_decoder=tokens)
    assert tokenizer.encode("<b><a>") == [SIZE, SIZE + 1]  # 999 comes before 1000
    assert len(tokenizer) == SIZE + 2


def test_what_is_not_special_is_kept_when_special_tokens_are_skipped(tmp_path):
    tokens = {"400": entry("<a>", special=False), "401": entry("<b>")}
    tokenizer = loaded(tmp_path, added_tokens_decoder=tokens)
    ids = tokenizer.encode("the<a>cat<b>")
    assert ids == [*THE, SIZE, *CAT, SIZE + 1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the<a>cat"
    assert set(tokenizer.special_tokens) == {*BPE.special_tokens, "<b>"}
    split = tokenizer.encode("<a><b>", split_special_tokens=True)
    assert split[0] == SIZE and SIZE + 1 not in split


def test_a_role_is_special_whatever_its_entry_says(tmp_path):
    tokens = {"400": entry("<a>", special=False)}
    tokenizer = loaded(tmp_path, added_tokens_decoder=tokens, eos_token="<a>")
    assert tokenizer.decode(tokenizer.encode("the<a>"), skip_special_tokens=True) == "the"


def test_spaces_around_and_letters_beside(tmp_path):
    tokens = {
        "400": entry("<l>", lstrip=True),
        "401": entry("<r>", rstrip=True),
        "402": entry("<w>", single_word=True),
    }
    tokenizer = loaded(tmp_path, added_tokens_decoder=tokens)
    left, right, word = SIZE, SIZE + 1, SIZE + 2
    space = BPE.encode(" ")
    assert tokenizer.encode("the <l> <r> cat") == [*THE, left, *space, right, *CAT]
    assert tokenizer.encode("<w>") == [word]
    assert word not in tokenizer.encode("the<w>")
    assert tokenizer.encode("the <w>") == [*THE, *space, word]


def test_a_word_of_the_vocabulary_keeps_its_id(tmp_path):
    token = "at"
    known = BPE.token_to_id(token)
    assert known is not None and known < 327
    tokenizer = loaded(tmp_path, added_tokens_decoder={str(known): entry(token)})
    assert tokenizer.encode("cat")[-1] == known and len(tokenizer) == SIZE
    assert tokenizer.decode(tokenizer.encode("cat"), skip_special_tokens=True) == "c"


@pytest.mark.parametrize(
    "config",
    [
        {"extra_special_tokens": ["<a>", "<b>"]},
        {"additional_special_tokens": ["<a>", "<b>"]},
        {"extra_special_tokens": ["<a>", "<b>"], "additional_special_tokens": ["<c>"]},
        {"extra_special_tokens": {"image_token": "<a>", "sound_token": "<b>"}},
        {"image_token": "<a>", "sound_token": {"content": "<b>"}},
        {"cls_token": "<b>", "eos_token": "<a>"},
        {"eos_token": "<a>", "extra_special_tokens": ["<a>", "<b>"]},
    ],
    ids=str,
)
def test_every_spelling_of_a_special_token(tmp_path, config):
    tokenizer = loaded(tmp_path, **config)
    assert tokenizer.encode("<a><b>") == [SIZE, SIZE + 1]
    assert tokenizer.decode([SIZE, *THE, SIZE + 1], skip_special_tokens=True) == "the"
    assert len(tokenizer) == SIZE + 2


def test_splitting_by_default(tmp_path):
    tokenizer = loaded(tmp_path, split_special_tokens=True)
    assert tokenizer.encode("<|im_end|>") == BPE.encode("<|im_end|>", split_special_tokens=True)
    assert tokenizer.encode("<|im_end|>", split_special_tokens=False) == [SIZE - 1]
    assert tokenizer("<|im_end|>")["input_ids"] == tokenizer.encode("<|im_end|>")


def test_older_files(tmp_path):
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<a>": SIZE + 1, "<b>": SIZE}))
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"eos_token": "<b>", "pad_token": {"content": "<|im_end|>"}})
    )
    tokenizer = loaded(tmp_path, eos_token="<|im_start|>")
    assert tokenizer.encode("<b><a>") == [SIZE, SIZE + 1]
    assert tokenizer.eos_token == "<b>" and tokenizer.pad_token_id == SIZE - 1
    assert tokenizer.decode([SIZE, SIZE + 1], skip_special_tokens=True) == "<a>"
    # Where tokenizer_config.json has the newer table, they are not looked at.
    tokenizer = loaded(tmp_path, eos_token="<|im_start|>", added_tokens_decoder={})
    assert tokenizer.eos_token == "<|im_start|>" and len(tokenizer) == SIZE


def test_tokens_survive_saving(tmp_path):
    tokens = {"999": entry("<a>", special=False), "1000": entry("<l>", lstrip=True)}
    first = loaded(tmp_path, added_tokens_decoder=tokens, eos_token="<e>")
    first.save_pretrained(tmp_path / "again")
    again = Tokenizer.from_pretrained(tmp_path / "again")
    text = "the <l><a> cat<e>"
    assert again.encode(text) == first.encode(text)
    assert again.special_tokens == first.special_tokens
    assert again.eos_token_id == first.eos_token_id == SIZE + 2
