"""Folders without a tokenizer.json, by hand: BERT's vocab.txt and Marian's sentencepiece models."""

import json

import pytest

from tinyqwen.text.tokenizer import Tokenizer

PIECES = ["[PAD]", "x", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "e", "猫", "É"]


def bert(folder, pieces=PIECES, **config):
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.from_pretrained(folder)


def tokens(tokenizer, text):
    return [tokenizer.id_to_token(i) for i in tokenizer.encode(text, add_special_tokens=False)]


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_berts_vocabulary_by_hand(tmp_path):
    tokenizer = bert(tmp_path)
    assert tokenizer.encode("The CATS") == [3, 6, 7, 8, 4]  # ids are line numbers; lower case
    assert tokens(tokenizer, "É猫猫 dog") == ["e", "猫", "猫", "[UNK]"]  # without its accent
    assert tokenizer("the", "cat")["input_ids"] == [3, 6, 4, 7, 4]
    assert tokenizer("the", "cat")["token_type_ids"] == [0, 0, 0, 1, 1]
    assert tokenizer.decode([6, 7, 8]) == "the cats"
    roles = ["pad", "unk", "cls", "sep", "mask"]
    assert [getattr(tokenizer, f"{role}_token_id") for role in roles] == [0, 2, 3, 4, 5]


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_berts_settings(tmp_path):
    assert tokens(bert(tmp_path, do_lower_case=False), "The É the") == ["[UNK]", "É", "the"]
    assert tokens(bert(tmp_path, strip_accents=False), "É") == ["[UNK]"]  # "é" is no piece
    assert tokens(bert(tmp_path, tokenize_chinese_chars=False), "猫猫") == ["[UNK]"]
    other = ["[PAD]", "<?>", "<c>", "<s>", "the"]
    named = {"unk_token": "<?>", "cls_token": "<c>", "sep_token": "<s>"}
    assert bert(tmp_path, other, **named).encode("the é") == [2, 4, 1, 3]


def test_a_berts_folder_is_saved_as_tokenizer_json(tmp_path):
    first = bert(tmp_path)
    first.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again" / "vocab.txt").exists()
    again = Tokenizer.from_pretrained(tmp_path / "again")
    assert again("the cat", "the") == first("the cat", "the")
    assert again.special_tokens == first.special_tokens


def test_tokenizer_json_comes_first(tmp_path):
    Tokenizer.train(["abc"], kind="char").save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES), "utf-8")
    assert len(Tokenizer.from_pretrained(tmp_path)) == 7


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"vocab\.txt has no line '\[CLS\]': not the vocab"):
        bert(tmp_path, ["a", "b", "[UNK]"])
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        Tokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("space", [True, False])
def test_a_space_before_the_first_word(tmp_path, space):
    """tokenizer_config.json's word counts, for a ByteLevel alone and for one in a sequence."""
    Tokenizer.train(["the cat the cat"]).save_pretrained(tmp_path)
    file, config = tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"add_prefix_space": space}))
    parts = json.loads(file.read_text())
    alone = parts["pre_tokenizer"]["pretokenizers"][1]
    for part in [alone, {"type": "Sequence", "pretokenizers": [alone]}]:
        file.write_text(json.dumps({**parts, "pre_tokenizer": part}))
        tokenizer = Tokenizer.from_pretrained(tmp_path)
        assert tokenizer.decode(tokenizer.encode("cat")) == (" cat" if space else "cat")
    file.write_text(json.dumps(parts))  # words are split before it
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.decode(tokenizer.encode("the <cat>")) == "the <cat>"


# -- Marian ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    """Two models whose pieces are single characters, and a vocabulary in an order of its own."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("marian")
    for name, text in [("source", "a b ab ba"), ("target", "c d cd dc")]:
        (folder / "text").write_text(f"{text}\n" * 9)
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "text"), model_prefix=str(folder / name), model_type="char",
            vocab_size=6, hard_vocab_limit=False, minloglevel=9,
        )  # fmt: skip
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    vocabulary = {"</s>": 0, "<unk>": 1, "a": 2, "b": 3, "c": 4, "d": 5, "▁": 6, "<pad>": 7}
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {">>fra<<": 8}))
    return folder


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_marian_by_hand(marian, tmp_path):
    tokenizer = Tokenizer.from_pretrained(marian)
    assert tokenizer.encode("ab a") == [6, 2, 3, 6, 2, 0]
    assert tokenizer.encode("ab", add_special_tokens=False) == [6, 2, 3]
    assert tokenizer.encode(">>fra<< a") == [8, 6, 2, 0]  # the language to translate to
    assert tokenizer.encode("z") == [6, 1, 0]
    batch = tokenizer(["a", "ab"], text_target=["c d", "d"], padding=True)
    assert batch["input_ids"] == [[6, 2, 0, 7], [6, 2, 3, 0]]
    assert batch["attention_mask"] == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["labels"] == [[6, 4, 6, 5, 0], [6, 5, 0, 7, 7]]
    assert tokenizer("abab", truncation=True, max_length=3)["input_ids"] == [6, 2, 0]
    assert tokenizer.decode([6, 2, 3, 6, 2, 0], skip_special_tokens=True) == "ab a"
    assert tokenizer.decode([6, 2, 0]) == "a</s>"
    assert tokenizer.encode("a</s>b")[:-1] == [6, 2, 0, 6, 3]
    assert 0 not in tokenizer.encode("a</s>", False, split_special_tokens=True)
    assert (len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id) == (9, 7, 0)
    assert tokenizer.token_to_id("b") == 3 and tokenizer.id_to_token(3) == "b"
    assert tokenizer.token_to_id("z") is None and tokenizer.id_to_token(9) is None
    stream = tokenizer.stream(skip_special_tokens=True)
    assert [stream.step(i) for i in [6, 2, 6, 3, 0]] == ["", "a", "", " b", ""]
    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert again("ab", text_target="cd") == tokenizer("ab", text_target="cd")
    assert "sentencepiece" in repr(again).lower()


def test_marian_warns_of_the_unknown(marian):
    with pytest.warns(UserWarning, match="does not know some characters: read as <unk>"):
        Tokenizer.from_pretrained(marian).encode("z")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("source.spm", b"no model", r"source\.spm is no sentencepiece model"),
        ("target.spm", b"", r"target\.spm is no sentencepiece model"),
        ("vocab.json", b'{"<unk>": 0}', "has no '</s>'"),
        ("vocab.json", b'{"</s>": 0}', "has no '<unk>'"),
        ("vocab.json", b'{"</s>": "0", "<unk>": 1}', "must map pieces to ids"),
        ("tokenizer_config.json", b'{"separate_vocabs": true}', "separate_vocabs is not supported"),
    ],
)
def test_marian_refuses(marian, tmp_path, name, content, message):
    for file in ["source.spm", "target.spm", "vocab.json"]:
        (tmp_path / file).write_bytes((marian / file).read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_pretrained(tmp_path)


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
@pytest.mark.parametrize("old", [True, False])
def test_marks_are_found_as_they_stand_and_other_tokens_as_text_is_read(tmp_path, old):
    """In lower case, here; whether added_tokens.json names them or `added_tokens_decoder` does."""
    config = {"eos_token": "<UP>"}
    if old:
        (tmp_path / "added_tokens.json").write_text(json.dumps({"<UP>": 12, "<PLAIN>": 13}))
    else:
        config["added_tokens_decoder"] = {"12": {"content": "<UP>", "special": True},
                                          "13": {"content": "<PLAIN>"}}  # fmt: skip
    tokenizer = bert(tmp_path, **config)
    found = [tokenizer.encode(text, False) for text in ("the <UP> <PLAIN>", "<plain>", "<up>")]
    assert found[:2] == [[6, 12, 13], [13]] and 12 not in found[2]
    assert list(tokenizer.special_tokens)[-1] == "<UP>"
