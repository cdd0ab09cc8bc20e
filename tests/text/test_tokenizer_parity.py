"""Saved and loaded tokenizers against transformers: equal ids, equal text, equal chats."""

import json

import pytest
from test_tokenizer import STORY, qwen_like_folder

from tinyqwen.text.added_tokens import ROLES
from tinyqwen.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

TEXTS = [
    "",
    " ",
    "The cat's red ball.\n\n  And 12 more…",
    "我有一只猫，你有一只狗。👩\u200d🚀 e\u0301",
    "<|im_start|>user\nhi<|im_end|><|endoftext|> [SEP] [UNK] <tool_call>",
    "\ufffd\x00\r\n\tdef f(x):\n    return x",
]
CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello <|endoftext|> 猫"},
    {"role": "assistant", "content": "Hi"},
]


def check_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for name in ROLES:
        assert getattr(ours, name) == getattr(theirs, name)
        assert getattr(ours, name + "_id") == getattr(theirs, name + "_id")
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs(text)["input_ids"]
        for split in [False, True]:
            assert ours.encode(text, split_special_tokens=split) == theirs.encode(
                text, split_special_tokens=split
            )
        for skip in [False, True]:
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
                ids, skip_special_tokens=skip
            )
    for prompt in [False, True] if theirs.chat_template else []:
        text = theirs.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=prompt)
        options = {"add_generation_prompt": prompt}
        assert ours.apply_chat_template(CHAT, tokenize=False, **options) == text
        assert ours.apply_chat_template(CHAT, **options) == dict(
            theirs.apply_chat_template(CHAT, return_dict=True, **options)
        )


@pytest.mark.parametrize(
    "kind, vocab_size",
    [("bpe", 330), ("wordpiece", 110), ("word", None), ("char", None), ("char", 40)],
)
@pytest.mark.parametrize("loader", ["AutoTokenizer", "PreTrainedTokenizerFast"])
def test_transformers_opens_what_we_save(tmp_path, kind, vocab_size, loader):
    tokenizer = Tokenizer.train([STORY], vocab_size, kind)
    tokenizer.save_pretrained(tmp_path)
    theirs = getattr(transformers, loader).from_pretrained(tmp_path)
    check_equal(tokenizer, theirs)
    check_equal(Tokenizer.from_pretrained(tmp_path), theirs)


def test_a_run_folder_with_a_model_opens_too(tmp_path):
    """Beside a Qwen2 config.json, AutoTokenizer takes its Qwen2 class, which knows BPE only."""
    tokenizer = Tokenizer.train([STORY], 330)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    check_equal(tokenizer, transformers.AutoTokenizer.from_pretrained(tmp_path))


def test_we_open_what_transformers_saves(tmp_path):
    Tokenizer.train([STORY], 330).save_pretrained(tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    check_equal(Tokenizer.from_pretrained(tmp_path / "theirs"), theirs)


def test_a_folder_like_qwen2_5s(tmp_path):
    folder = qwen_like_folder(tmp_path)
    ours = Tokenizer.from_pretrained(folder)
    for loader in [transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast]:
        check_equal(ours, loader.from_pretrained(folder))
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"城": 1}}}]
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    assert ours.apply_chat_template(
        CHAT, tools=tools, tokenize=False
    ) == theirs.apply_chat_template(CHAT, tools=tools, tokenize=False)
    ours.save_pretrained(tmp_path / "again")
    check_equal(ours, transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "again"))


def test_special_tokens_that_only_the_config_names_are_added_alike(tmp_path):
    folder = qwen_like_folder(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"bos_token": "<s>", "additional_special_tokens": ["<|im_start|>", "<extra>"]}
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Tokenizer.from_pretrained(folder)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    check_equal(ours, theirs)
    assert ours.encode("<s>a<extra>") == theirs.encode("<s>a<extra>")
