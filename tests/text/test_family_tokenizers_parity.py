"""BERT's, GPT-2's and Marian's tokenizers, and declared tokens, against transformers."""

import json

import numpy as np
import pytest
from test_tokenizer import STORY, saved

from tinyqwen.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore:this tokenizer does not know", "ignore:Recommended")
TEXTS = ["The Cat's ball, 猫 é!", "a", "", "She looked in the box and found the red ball"]
SECOND = ["the dog", "the red ball in the box again", "a", ""]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A folder with vocab.txt alone, as bert-base's was: unused lines, lower case."""
    folder = tmp_path_factory.mktemp("bert")
    learned = Tokenizer.train([STORY.lower()], 110, "wordpiece")
    pieces = [learned.id_to_token(i) for i in range(len(learned))]
    pieces = [pieces[0], "[unused0]", *pieces[1:]]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    return folder


OPTIONS = [
    {},
    {"padding": True},
    {"padding": "max_length", "max_length": 40},
    {"truncation": True, "max_length": 9},
    {"truncation": True, "max_length": 8, "padding": True},
    {"add_special_tokens": False},
]


@pytest.mark.parametrize("config", [{}, {"do_lower_case": False}, {"strip_accents": False}])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_bert_from_vocab_txt(bert, options, config):
    (bert / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Tokenizer.from_pretrained(bert)
    theirs = transformers.BertTokenizer.from_pretrained(bert)
    assert ours(TEXTS, **options) == dict(theirs(TEXTS, **options))
    assert ours(TEXTS, SECOND, **options) == dict(theirs(TEXTS, SECOND, **options))
    for text in TEXTS:
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))
    for role in ["pad", "unk", "cls", "sep", "mask"]:
        assert getattr(ours, f"{role}_token_id") == getattr(theirs, f"{role}_token_id")


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_our_own_wordpiece(tmp_path, options):
    ours = Tokenizer.train([STORY], 110, "wordpiece")
    ours.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours(TEXTS, SECOND, **options) == dict(theirs(TEXTS, SECOND, **options))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_sides_of_the_config(tmp_path, side):
    _, config = saved(tmp_path)
    sides = {"padding_side": side, "truncation_side": side, "model_max_length": 9}
    config.write_text(json.dumps({"pad_token": "<|im_end|>", **sides}))
    ours = Tokenizer.from_pretrained(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for options in [{"padding": True}, {"truncation": True}, {"padding": True, "truncation": True}]:
        assert ours(TEXTS, **options) == dict(theirs(TEXTS, **options))


# -- Marian ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    """A folder like opus-mt's: two sentencepiece models, one vocabulary in another order."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("marian")
    chinese = "从前有一只猫。我有一只猫，你有一只狗。" * 9
    pieces = {}
    for name, text, size in [("source", STORY * 9, 70), ("target", chinese, 24)]:
        file = folder / f"{name}.txt"
        file.write_text(text, "utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(file), model_prefix=str(folder / name), vocab_size=size, minloglevel=9,
            hard_vocab_limit=False,
        )  # fmt: skip
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
        model = sentencepiece.SentencePieceProcessor(str(folder / f"{name}.spm"))
        pieces |= dict.fromkeys(model.id_to_piece(i) for i in range(3, model.get_piece_size()))
    order = ["</s>", "<unk>", ">>zh<<", *sorted(pieces), "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(order)}))
    config = {"source_lang": "en", "target_lang": "zh", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_marian(marian, tmp_path):
    ours = Tokenizer.from_pretrained(marian)
    theirs = transformers.MarianTokenizer.from_pretrained(marian)
    english = ["The cat's ball was red.", ">>zh<< I have a cat", "Zebra ✓", "", "a </s> b"]
    chinese = ["我有一只猫", "你有一只狗。", "龙", "", "猫"]
    assert len(ours) == len(theirs)
    for options in [{}, {"padding": True}, {"truncation": True, "max_length": 5}]:
        assert ours(english, text_target=chinese, **options) == dict(
            theirs(english, text_target=chinese, **options)
        )
    for text in english:
        for skip in [False, True]:
            ids = ours.encode(text)
            assert ids == theirs.encode(text)
            assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip)
    labels = ours(english, text_target=chinese)["labels"]
    assert ours.batch_decode(labels, True) == theirs.batch_decode(labels, skip_special_tokens=True)
    stream = ours.stream(skip_special_tokens=True)
    ids = ours.encode(english[0])
    assert "".join(map(stream.step, ids)) + stream.flush() == english[0]
    assert (ours.eos_token_id, ours.unk_token_id) == (0, 1)
    assert ours.pad_token_id == len(ours) - 1
    ours.save_pretrained(tmp_path)
    again = transformers.MarianTokenizer.from_pretrained(tmp_path)
    assert again(english)["input_ids"] == ours(english)["input_ids"]
    assert Tokenizer.from_pretrained(tmp_path).encode(english[0]) == ids


def test_marian_refuses(marian, tmp_path):
    for name in ["source.spm", "target.spm", "vocab.json"]:
        for other in ["source.spm", "target.spm", "vocab.json"]:
            (tmp_path / other).write_bytes((marian / other).read_bytes())
        (tmp_path / name).write_bytes(b"{}" if name == "vocab.json" else b"no model")
        with pytest.raises(ValueError, match=r"no '</s>'|is no sentencepiece model"):
            Tokenizer.from_pretrained(tmp_path)


# -- declared tokens ------------------------------------------------------------------------------

PLAIN = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
DECLARED = {
    "not special": {"added_tokens_decoder": {"400": {"content": "<a>", **PLAIN, "special": False}}},
    "strips and whole words": {
        "added_tokens_decoder": {
            "400": {"content": "<a>", **PLAIN, "lstrip": True, "special": True},
            "401": {"content": "<b>", **PLAIN, "rstrip": True, "special": True},
            "402": {"content": "<c>", **PLAIN, "single_word": True, "special": True},
        }
    },
    "ids are numbers": {
        "added_tokens_decoder": {
            "1000": {"content": "<a>", **PLAIN, "special": True},
            "999": {"content": "<b>", **PLAIN, "special": True},
        }
    },
    "a role that is not called special": {
        "eos_token": "<a>",
        "added_tokens_decoder": {"400": {"content": "<a>", **PLAIN, "special": False}},
    },
    "a word that is in the vocabulary": {
        "added_tokens_decoder": {"300": {"content": "cat", **PLAIN, "special": True}}
    },
    "a list": {"extra_special_tokens": ["<a>", "<b>"]},
    "by name": {"extra_special_tokens": {"image_token": "<a>", "sound_token": "<b>"}},
    "a model's own": {"image_token": "<a>"},
    "both lists": {"extra_special_tokens": ["<a>"], "additional_special_tokens": ["<b>"]},
    "splitting": {"additional_special_tokens": ["<a>"], "split_special_tokens": True},
    "roles": {"cls_token": "<a>", "mask_token": "<b>", "bos_token": "<c>"},
}
WITH_TOKENS = ["a <a> b", "x<b> y", "x<c>y <c> z", "the <b><a> cat", "<|im_start|>cat<a>"]


def check_declared(folder, loader=transformers.PreTrainedTokenizerFast):
    ours, theirs = Tokenizer.from_pretrained(folder), loader.from_pretrained(folder)
    assert len(ours) == len(theirs)
    for text in WITH_TOKENS:
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        for skip in [False, True]:
            assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip)
    ours.save_pretrained(folder / "again")
    again = loader.from_pretrained(folder / "again")
    assert [ours.encode(text) for text in WITH_TOKENS] == [again.encode(t) for t in WITH_TOKENS]


@pytest.mark.parametrize("change", DECLARED.values(), ids=list(DECLARED))
def test_tokens_that_only_the_config_declares(tmp_path, change):
    _, config = saved(tmp_path)
    config.write_text(json.dumps(change))
    check_declared(tmp_path)


@pytest.mark.parametrize(
    "special_map", [None, {"eos_token": "<b>", "bos_token": {"content": "<c>", **PLAIN}}]
)
def test_tokens_of_older_files(tmp_path, special_map):
    _, config = saved(tmp_path)
    config.write_text("{}")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<b>": 331, "<a>": 330}))
    if special_map:
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(special_map))
    check_declared(tmp_path)


def test_a_space_before_the_first_word(tmp_path):
    """GPT-2's class takes add_prefix_space from the config, whatever tokenizer.json says."""
    vocabulary = {chr(33 + i): i for i in range(94)} | {"Ġ": 94, "Ġa": 95}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nĠ a\n")
    made = transformers.GPT2Tokenizer.from_pretrained(tmp_path, unk_token="!", eos_token="!")
    made.save_pretrained(tmp_path / "saved")
    config = tmp_path / "saved" / "tokenizer_config.json"
    for space in [False, True]:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"add_prefix_space": space}))
        ours = Tokenizer.from_pretrained(tmp_path / "saved")
        theirs = transformers.GPT2Tokenizer.from_pretrained(tmp_path / "saved")
        assert ours.encode("a b") == theirs.encode("a b")
        assert (95 in ours.encode("a")) == space


def test_arrays(tmp_path):
    saved(tmp_path)
    ours = Tokenizer.from_pretrained(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    options = {"padding": True, "return_tensors": "np"}
    for name, array in theirs(TEXTS, **options).items():
        np.testing.assert_array_equal(ours(TEXTS, **options)[name], array)
