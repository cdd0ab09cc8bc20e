"""The tokenizer's face: training, files, encoding, decoding, streaming, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tinyqwen.text.tokenizer
from tinyqwen.text import bpe, library_training
from tinyqwen.text.documents import read_text
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.text.tokenizer_training import BPE_PATTERN, CHAT_TOKENS, LONGEST_WORD

STORY = """Once there was a cat. The cat's ball was red, and the dog's ball was blue.
从前有一只猫。我有一只猫，你有一只狗。  I have 12 cats 🐈🐈🐈!

She looked in the box and found the red ball; they'll look in the box again.
"""
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
BPE = Tokenizer.train([STORY], 330)
CHAR = Tokenizer.train([STORY], kind="char")
WORDPIECE = Tokenizer.train([STORY], 110, kind="wordpiece")
# One whose merges reach over blanks and line ends, where a wrong cut would show.
BLANKS = Tokenizer.train(["a  \n\n  b.\n\n' 's   \r\n\t 's1 's\x85 \n" * 9], 271)
ALL = pytest.mark.parametrize("tokenizer", [BPE, CHAR, WORDPIECE], ids=["bpe", "char", "wordpiece"])

# In the manner of the published template: a system message by default, tools, nested conditions.
TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- endif %}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- elif messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if not (tools and loop.first and message.role == "system") %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def qwen_like_folder(parent):
    """A folder with the structure of Qwen2.5's, on a small vocabulary: every field as published."""
    folder = parent / "qwen-like"
    folder.mkdir()
    merges = bpe.train_bpe(bpe.count_words(STORY), 320)
    display = bpe.bytes_to_unicode()
    tokens = ["".join(display[byte] for byte in token) for token in bpe.bpe_vocabulary(merges)]
    marks = [(mark, True) for mark in CHAT_TOKENS] + [
        ("<tool_call>", False),
        ("</tool_call>", False),
    ]
    added = [
        {
            "id": len(tokens) + i,
            "content": mark,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": special,
        }
        for i, (mark, special) in enumerate(marks)
    ]
    byte_level = {"type": "ByteLevel"} | dict.fromkeys(
        ["add_prefix_space", "trim_offsets", "use_regex"], False
    )
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": BPE_PATTERN},
                    "behavior": "Isolated",
                    "invert": False,
                },
                byte_level,
            ],
        },
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [f"{tokens[left]} {tokens[right]}" for left, right in merges],
        },
    }
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(token["id"]): {key: token[key] for key in token if key != "id"} for token in added
        },
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


# -- round trips ----------------------------------------------------------------------------------


@settings(max_examples=300)
@given(ANY_TEXT)
def test_bpe_returns_any_text_in_composed_form(text):
    assert BPE.decode(BPE.encode(text)) == unicodedata.normalize("NFC", text)


@settings(max_examples=300)
@example("\n\n\nthe\n\n cats")
@given(st.text(st.sampled_from(sorted(set(STORY))), max_size=80))
def test_char_returns_known_text_one_token_a_character(text):
    ids = CHAR.encode(text)
    assert ids == [CHAR.token_to_id(char) for char in text]
    assert CHAR.decode(ids) == text


def test_char_parts_every_kind_of_line_end():
    known = "\r\n\r\n\n\x0b\x0c\x1c\x85\u2028\u2029\ta"
    tokenizer = Tokenizer.train([known], kind="char")
    assert tokenizer.encode(known) == [tokenizer.token_to_id(char) for char in known]


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
@given(ANY_TEXT)
def test_char_marks_the_unknown(text):
    shown = "".join(char if char in STORY else "<unk>" for char in text)
    assert CHAR.decode(CHAR.encode(text)) == shown


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_char_keeps_the_most_frequent():
    tokenizer = Tokenizer.train(["aaaa bbb cc d"], vocab_size=4 + 3, kind="char")
    assert [tokenizer.id_to_token(i) for i in range(7)] == [" ", "a", "b", "<unk>", *CHAT_TOKENS]
    assert tokenizer.decode(tokenizer.encode("abcd")) == "ab<unk><unk>"


def test_words_of_a_pair_end_once():
    tokenizer = Tokenizer.train(["a b", "b"], kind="word")
    pair = tokenizer.backend.encode("a b", "b").tokens
    assert pair[-1] == "</s>" and pair.count("</s>") == 1 and "".join(pair[:-1]) == "a bb"
    assert tokenizer.backend.encode("a b").tokens[-1] == "</s>"


def test_wordpiece_by_hand():
    tokenizer = Tokenizer.train(["hug hugs hug pug " * 5], vocab_size=5 + 8 + 2, kind="wordpiece")
    # 5 special tokens; h p u g s and ##u ##g ##s; and two merges, of the most frequent pairs:
    # ##u ##g, then h ##ug
    with pytest.warns(UserWarning, match=r"does not know 'hum': read as \[UNK\]"):
        ids = tokenizer.encode("hugs pug hum")
    assert [tokenizer.id_to_token(i) for i in ids] == [
        "[CLS]", "hug", "##s", "p", "##ug", "[UNK]", "[SEP]",
    ]  # fmt: skip
    assert list(tokenizer.special_tokens) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.decode(tokenizer.encode("hugs pug"), skip_special_tokens=True) == "hugs pug"


def test_bpe_is_the_plain_python_one():
    merges = bpe.train_bpe(bpe.count_words(STORY), 330 - 3)
    for text in [STORY, "two cats, 一只狗 🐕", "  \n\n x"]:
        assert BPE.encode(text) == bpe.encode(text, merges)
    display = bpe.bytes_to_unicode()
    for i, token in enumerate(bpe.bpe_vocabulary(merges)):
        assert BPE.id_to_token(i) == "".join(display[byte] for byte in token)


# -- what it knows --------------------------------------------------------------------------------


@ALL
def test_sizes_agree_and_every_id_has_a_token(tokenizer):
    assert len(tokenizer) == tokenizer.vocab_size
    for i in range(len(tokenizer)):
        assert tokenizer.token_to_id(tokenizer.id_to_token(i)) == i
    assert tokenizer.id_to_token(len(tokenizer)) is None
    assert tokenizer.id_to_token(-1) is None
    assert tokenizer.token_to_id("no such token") is None


def test_special_tokens():
    assert BPE.special_tokens == {"<|endoftext|>": 327, "<|im_start|>": 328, "<|im_end|>": 329}
    assert (BPE.eos_token_id, BPE.pad_token_id, BPE.bos_token_id) == (327, 327, None)
    assert (BPE.eos_token, BPE.pad_token, BPE.bos_token) == ("<|endoftext|>",) * 2 + (None,)
    assert (WORDPIECE.bos_token_id, WORDPIECE.eos_token_id, WORDPIECE.pad_token_id) == (2, 3, 0)
    assert CHAR.unk_token_id == CHAR.special_tokens["<unk>"]
    assert "vocab_size=330" in repr(BPE)


def test_a_mark_inside_text_is_the_mark_unless_split():
    text = "cat<|endoftext|>cat"
    cat = BPE.encode("cat")
    assert BPE.encode(text) == [*cat, BPE.eos_token_id, *cat]
    split = BPE.encode(text, split_special_tokens=True)
    assert BPE.eos_token_id not in split
    assert BPE.decode(split) == text
    assert BPE.encode(text) == [*cat, BPE.eos_token_id, *cat]  # the option leaves no trace
    assert BPE.decode(BPE.encode(text), skip_special_tokens=True) == "catcat"


def test_marks_in_the_corpus_are_not_learned_from():
    with_marks = Tokenizer.train([STORY.replace("\n", "<|endoftext|>\n")], 330)
    without = Tokenizer.train(STORY.replace("\n", "\0\n").split("\0"), 330)
    assert with_marks.backend.get_vocab() == without.backend.get_vocab()
    assert not any(
        "endof" in token for token in with_marks.backend.get_vocab() if "<|" not in token
    )


def test_encode_batch_equals_encode():
    texts = [STORY, "", "cat", "猫"]
    for options in [{}, {"split_special_tokens": True}, {"add_special_tokens": False}]:
        assert BPE.encode_batch(texts, **options) == [BPE.encode(text, **options) for text in texts]
    assert BPE.encode_batch(iter([])) == []


def test_post_processors_marks_are_added_unless_declined(tmp_path):
    WORDPIECE.save_pretrained(tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    document["post_processor"] = {
        "type": "BertProcessing",
        "sep": ["[SEP]", 3],
        "cls": ["[CLS]", 2],
    }
    document["truncation"] = {
        "direction": "Right",
        "max_length": 5,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    plain = WORDPIECE.encode(STORY, add_special_tokens=False)
    assert tokenizer.encode(STORY) == [2, *plain, 3]  # and the file's truncation is not applied
    assert tokenizer.encode(STORY, add_special_tokens=False) == plain


# -- streaming ------------------------------------------------------------------------------------


@ALL
@settings(max_examples=200)
@given(data=st.data())
def test_stream_gives_what_decode_gives(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    for skip in [False, True]:
        stream = tokenizer.stream(skip_special_tokens=skip)
        text = "".join(map(stream.step, ids)) + stream.flush()
        assert text == tokenizer.decode(ids, skip_special_tokens=skip)


@given(st.text(st.sampled_from("a 猫🐈é\n�"), max_size=20))
def test_stream_never_splits_a_character(text):
    text = unicodedata.normalize("NFC", text)
    stream = BPE.stream()
    pieces = [stream.step(i) for i in BPE.encode(text)]
    assert "".join(pieces) + stream.flush() == text
    assert sum(piece.count("\ufffd") for piece in pieces) <= text.count("\ufffd")


def test_stream_by_hand():
    ids = list(bpe.byte_ids("é猫"))
    stream = BPE.stream()
    assert [stream.step(i) for i in ids] == ["", "é", "", "", "猫"]
    assert stream.flush() == ""
    assert [stream.step(i) for i in ids[2:4]] == ["", ""]
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""
    with pytest.raises(ValueError, match="-1 is no token id; they go from 0 to 330"):
        stream.step(-1)


# -- training -------------------------------------------------------------------------------------


def test_paths_texts_and_streams_train_alike(tmp_path):
    file = tmp_path / "story.txt"
    file.write_bytes(STORY.encode())
    expected = BPE.backend.to_str()
    for source in [
        file,
        str(file),
        [file],
        [str(file)],
        STORY,
        [STORY],
        (text for text in [STORY]),
    ]:
        assert Tokenizer.train(source, 330).backend.to_str() == expected


@pytest.mark.parametrize("kind, size", [("bpe", 330), ("wordpiece", 110), ("char", 40)])
def test_training_is_the_same_in_every_process(tmp_path, kind, size):
    (tmp_path / "story.txt").write_bytes(STORY.encode())
    program = (
        "import sys; from tinyqwen.text.tokenizer import Tokenizer; "
        "t = Tokenizer.train(sys.argv[1], int(sys.argv[2]), sys.argv[3]); "
        "sys.stdout.buffer.write(t.backend.to_str().encode())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "story.txt"), str(size), kind]
    root = str(Path(tinyqwen.text.tokenizer.__file__).parents[2])
    outputs = {
        subprocess.run(
            command, capture_output=True, check=True, env=os.environ | {"PYTHONPATH": root}
        ).stdout
        for _ in range(3)
    }
    assert outputs == {Tokenizer.train(STORY, size, kind).backend.to_str().encode()}


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(text="a  \n\n  b  \n\n b", piece_bytes=3)
@given(
    text=st.text(st.sampled_from("ab  \n\r\t'.s1猫é\u0301\x1c\x85"), max_size=80),
    piece_bytes=st.integers(1, 12),
)
def test_read_text_cuts_no_token(tmp_path, text, piece_bytes):
    file = tmp_path / "text"
    file.write_bytes(text.encode())
    pieces = list(read_text(file, piece_bytes))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    assert "".join(pieces) == text
    if all(len(piece) <= 16 * piece_bytes for piece in pieces):
        for tokenizer in [BPE, BLANKS, CHAR, WORDPIECE]:
            ids = [i for piece in tokenizer.encode_pieces(pieces) for i in piece]
            assert ids == tokenizer.encode(text, False)


def test_read_text_does_cut(tmp_path):
    file = tmp_path / "text"
    file.write_bytes(STORY.encode() * 10)
    assert len(list(read_text(file, 64))) > 20
    file.write_bytes(b"a" * 5000)
    assert len(list(read_text(file, 64))) > 2


@pytest.mark.parametrize("piece_bytes", [1, 3, 7, 1 << 20])
@pytest.mark.parametrize("tail", [b"\xff", b"\xe4\xbd", b"\xe4\xbdx and more", b"\xed\xa0\x80"])
def test_invalid_utf8_is_named_with_its_offset(tmp_path, tail, piece_bytes):
    file = tmp_path / "broken.txt"
    file.write_bytes("猫 cat ".encode() + tail)
    with pytest.raises(ValueError, match=r"broken\.txt: invalid UTF-8 at byte 8;"):
        list(read_text(file, piece_bytes))
    with pytest.raises(ValueError, match="byte 8;"):
        Tokenizer.train(file, 300)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "word", "char"])
def test_a_size_that_nobody_asked_for_adapts(kind):
    few = Tokenizer.train(["the cat"], kind=kind)  # supports fewer than the usual size
    assert few.decode(few.encode("the cat", add_special_tokens=False)) == "the cat"
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 700)))
    tokenizer = Tokenizer.train([many], kind=kind)  # and this has more characters than that
    assert len(tokenizer) == {"bpe": 512, "wordpiece": 705, "word": 703, "char": 704}[kind]
    if kind in ("bpe", "wordpiece"):
        words = [f"{a}{b}{c} " for a in "bcdfghklpqrs" for b in "aeiou" for c in "mnprstvwz"]
        assert len(Tokenizer.train(words * 3, kind=kind)) == 512


@pytest.mark.parametrize("text", ["ACGTTGCA" * 5000, "一二三四五" * 5000, " " * 25_000 + "a"])
@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_a_text_without_spaces_is_no_endless_word(text, kind, monkeypatch):
    """What is learned from has words of bounded length: merges take the square of it in time."""
    longest, train = [], library_training.train

    def watched(backend, trainer, options, texts):
        texts = list(texts)
        longest.append(max(len(run) for one in texts for run in re.findall(r"\S+|\s+", one)))
        return train(backend, trainer, options, texts)

    monkeypatch.setattr(library_training, "train", watched)
    if kind == "wordpiece" and text[0] == "A":
        with pytest.raises(ValueError, match=r"of more than 100 characters.*take bpe or char"):
            Tokenizer.train([text], kind=kind)
        return
    tokenizer = Tokenizer.train([text + "\n"], kind=kind)
    assert longest == [LONGEST_WORD if kind == "bpe" else 1]
    if kind == "bpe":
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert len(tokenizer.encode(text)) < len(text) / 8


@pytest.mark.parametrize("long, refused", [(100, False), (101, True)])
def test_words_that_wordpiece_would_not_read(long, refused):
    """Half of the text in words that are too long is not yet most of it."""
    text = "".join("ab"[i * i % 7 % 2] for i in range(long))
    words = [text, "ab " * (long // 2 + long % 2)]  # as many characters in short words, or one more
    assert len(Tokenizer.train(words, kind="wordpiece")) > 9
    if refused:
        with pytest.raises(ValueError, match="words of more than 100 characters"):
            Tokenizer.train([text, "ab " * (long // 2)], kind="wordpiece")
    else:
        assert len(Tokenizer.train([text], kind="wordpiece")) > 9


def test_a_word_that_is_too_long_is_told():
    tokenizer = Tokenizer.train(["some words, and more words"], kind="wordpiece")
    with pytest.warns(
        UserWarning, match=r"\(nor any other word of more than 100 characters\): read"
    ):
        assert tokenizer.encode("o" * 101, add_special_tokens=False) == [tokenizer.unk_token_id]
    tokenizer = Tokenizer.train(["some words, and more words"], kind="wordpiece")
    with pytest.warns(UserWarning, match=r"does not know 'zo': read"):
        tokenizer.encode("zo")


def test_long_texts_are_learned_from_in_a_process_with_equal_results(monkeypatch):
    texts = [STORY * 3, "and more of it"]
    for kind, size in [("bpe", 300), ("wordpiece", 110)]:
        here = Tokenizer.train(texts, size, kind).backend.to_str()
        monkeypatch.setattr("tinyqwen.text.library_training.FEW", 50)
        assert Tokenizer.train(texts, size, kind).backend.to_str() == here
        monkeypatch.undo()


LONG = "a b " * 100_000  # learned from in a process


def test_a_stop_while_texts_are_sent_is_that_stop(monkeypatch):
    """What waits in the pipe of a process that is dead is no error of its own."""

    class Dead(subprocess.Popen):
        def kill(self):
            super().kill()
            self.wait()

    def texts():
        yield LONG
        yield "x"  # is not yet sent
        raise SystemExit(143)

    monkeypatch.setattr(library_training.subprocess, "Popen", Dead)
    with pytest.raises(SystemExit) as stop:
        Tokenizer.train(texts())
    assert stop.value.code == 143


def test_a_process_that_dies_while_it_learns_is_told_of(monkeypatch, tmp_path):
    (tmp_path / "dies.py").write_text("raise SystemExit\n")
    monkeypatch.setattr(library_training, "__file__", str(tmp_path / "dies.py"))
    with pytest.raises(ValueError, match="the training of the tokenizer died"):
        Tokenizer.train([LONG] * 3)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are different there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_can_be_interrupted(tmp_path, number):
    """While the library works, which does not look at signals: here, for ever."""
    (tmp_path / "deaf.py").write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "sys.stdin.buffer.read()\n"
        "os.write(2, b'at work\\n')\n"
        "time.sleep(9999)\n"
    )
    program = (
        "import signal, sys\n"
        "from tinyqwen.text import library_training\n"
        "from tinyqwen.text.tokenizer import Tokenizer\n"
        f"library_training.__file__ = {str(tmp_path / 'deaf.py')!r}\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "Tokenizer.train(['a b ' * 100_000])\n"
    )
    root = str(Path(tinyqwen.text.tokenizer.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, **streams) as child:
        assert child.stderr.readline() == b"at work\n"
        child.send_signal(number)
        child.communicate(timeout=250)
    assert child.returncode in ((143,) if number == signal.SIGTERM else (-signal.SIGINT, 130))


def test_unknown_characters_are_named_once():
    tokenizer = Tokenizer.train(["the cat"], kind="char")
    with pytest.warns(UserWarning, match=r"does not know 'Z', '🐈': read as <unk>$") as caught:
        tokenizer.encode("Zthe 🐈Z")
        tokenizer.encode("Zebra")
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"'j', \.\.\.: read as <unk>"):
        Tokenizer.train(["k"], kind="char").encode("abcdefghijlm")
    with pytest.warns(UserWarning) as caught:
        Tokenizer.train(["word"], kind="wordpiece").encode("x" * 10_000)
    assert len(str(caught[0].message)) < 200


@pytest.mark.parametrize("kind, smallest", [("bpe", 259), ("wordpiece", 69), ("char", 5)])
def test_impossible_sizes_name_both_numbers(kind, smallest):
    with pytest.raises(
        ValueError, match=r"vocab_size 50000 asked for, .* only \d+ tokens"
    ) as error:
        Tokenizer.train([STORY], 50_000, kind)
    reached = int(str(error.value).split("only ")[1].split()[0])
    assert len(Tokenizer.train([STORY], reached, kind)) == reached  # what it advises works
    with pytest.raises(ValueError, match=f"need at least {smallest}"):
        Tokenizer.train([STORY], smallest - 1, kind)
    assert len(Tokenizer.train([STORY], smallest, kind)) == smallest


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (("nowhere.txt", 300), FileNotFoundError, "nowhere.txt is no file"),
        ((Path("nowhere"), 300), FileNotFoundError, "nowhere: missing"),
        ((Path("."), 300), FileNotFoundError, "a folder"),
        ((["", ""], 300), ValueError, "no text to train"),
        (([], 300), ValueError, "no text to train"),
        ((["<|endoftext|>"], 300), ValueError, "no text to train"),
        (([b"bytes"], 300), TypeError, "got bytes"),
        ((["a b"], 300.5), TypeError, "must be an integer"),
        ((["a b"], True), TypeError, "must be an integer"),
        ((["a b"], 300, "words"), ValueError, "bpe, wordpiece, word, char; got 'words'"),
    ],
)
def test_training_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        Tokenizer.train(*arguments)


# -- ids and texts that cannot be -----------------------------------------------------------------


def test_decode_takes_arrays_and_names_bad_ids():
    ids = BPE.encode("the cat")
    assert BPE.decode(np.array(ids)) == BPE.decode(tuple(ids)) == BPE.decode(iter(ids)) == "the cat"
    assert BPE.decode(ids[0]) == BPE.decode(np.int64(ids[0])) == BPE.decode(ids[:1])
    assert BPE.decode([]) == ""
    for bad in [-1, -100, 2**40]:
        with pytest.raises(ValueError, match=f"{bad} is no token id; they go from 0 to 330"):
            BPE.decode([0, bad])
    # A model's embedding is often longer: Qwen2.5's has 151,936 rows for 151,665 tokens.
    beyond = [*ids[:1], 330, 151_935, *ids[1:]]
    assert BPE.decode(beyond) == "the cat"
    stream = BPE.stream()
    assert "".join(map(stream.step, beyond)) + stream.flush() == "the cat"
    for bad in [1.0, "1", None, True, [1]]:
        with pytest.raises(TypeError, match="token ids are integers"):
            BPE.decode([bad])


def test_encode_takes_text_only():
    for bad in [None, b"cat", 3, ["cat"]]:
        with pytest.raises(TypeError, match="text must be a str"):
            BPE.encode(bad)
    with pytest.raises(TypeError, match="list of texts"):
        BPE.encode_batch("cat")
    with pytest.raises(ValueError, match="surrogate pair at position 2"):
        BPE.encode("ab\ud800")


# -- files ----------------------------------------------------------------------------------------


@ALL
def test_save_and_load(tokenizer, tmp_path):
    tokenizer.config["favourite"] = "猫"  # unknown keys are kept
    tokenizer.save_pretrained(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert sorted(os.listdir(folder)) == ["tokenizer.json", "tokenizer_config.json"]
    loaded = Tokenizer.from_pretrained(str(folder))
    assert loaded.backend.to_str() == tokenizer.backend.to_str()
    assert loaded.config == tokenizer.config
    assert loaded.special_tokens == tokenizer.special_tokens
    assert loaded.encode(STORY) == tokenizer.encode(STORY)


def test_a_folder_like_qwen2_5s(tmp_path):
    tokenizer = Tokenizer.from_pretrained(qwen_like_folder(tmp_path))
    assert len(tokenizer) == 325
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id) == (
        322,
        320,
        None,
    )
    assert list(tokenizer.special_tokens) == CHAT_TOKENS  # <tool_call> is a token, but no mark
    assert tokenizer.encode("<tool_call>") == [323]
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "cat"}], add_generation_prompt=True, tokenize=False
    ) == (
        "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\ncat<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_qwen2_5_itself():
    folder = os.environ.get("TINYQWEN_QWEN_FOLDER")
    if not folder:
        pytest.skip("set TINYQWEN_QWEN_FOLDER to a folder with Qwen2.5's tokenizer.json")
    tokenizer = Tokenizer.from_pretrained(folder)
    assert tokenizer.encode("Hello, world!") == [9707, 11, 1879, 0]
    assert len(tokenizer) == 151665


def test_missing_folders_and_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        Tokenizer.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json: there is no such file"):
        Tokenizer.from_pretrained(tmp_path)


def saved(tmp_path, tokenizer=BPE):
    tokenizer.save_pretrained(tmp_path)
    return tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json"


def word_level(vocabulary):
    model = b'{"type":"WordLevel","vocab":' + vocabulary + b',"unk_token":"a"}'
    return b'{"version":"1.0","added_tokens":[],"model":' + model + b"}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b'{"model": {"type": "BPE"}}',
        b'{"version": "9.9", "model": {}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\x80\x04K\x01.",
        word_level(b'{"a":4294967295}'),
        word_level(b'{"a":1,"b":1}'),
        word_level(b'{"a":-1}'),
        b'{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}',
    ],
    ids=lambda content: repr(content[:30]),
)  # fmt: skip
def test_foreign_tokenizer_files_are_named(tmp_path, content):
    file, _ = saved(tmp_path)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json") as caught:
        Tokenizer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_truncated_and_flipped_files_end_in_a_value_error_or_work(tmp_path, data):
    file, config = saved(tmp_path)
    victim = data.draw(st.sampled_from([file, config]))
    content = bytearray(victim.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    victim.write_bytes(content)
    try:
        tokenizer = Tokenizer.from_pretrained(tmp_path)
        ids = tokenizer.encode(STORY)
        assert all(0 <= i < len(tokenizer) for i in ids)
        tokenizer.decode(ids)
    except ValueError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "change",
    [
        [],
        "text",
        {"eos_token": 5},
        {"eos_token": ["a"]},
        {"eos_token": {"content": 5}},
        {"eos_token": {}},
        {"eos_token": ""},
        {"pad_token": True},
        {"chat_template": 5},
        {"chat_template": {"a": 5}},
        {"chat_template": ["a"]},
        {"chat_template": [{"name": "default", "template": 5}]},
        {"additional_special_tokens": "abc"},
        {"additional_special_tokens": [5]},
        {"extra_special_tokens": "abc"},
        {"extra_special_tokens": {"a": 5}},
        {"added_tokens_decoder": []},
        {"added_tokens_decoder": {"a": {"content": "b"}}},
        {"added_tokens_decoder": {"1": None}},
        {"added_tokens_decoder": {"1": {"content": "b", "lstrip": "no"}}},
        {"added_tokens_decoder": {"1": 5}},
    ],
    ids=repr,
)
def test_configs_with_weird_types_are_named(tmp_path, change):
    _, config = saved(tmp_path)
    config.write_text(json.dumps(change))
    with pytest.raises(ValueError, match=r"tokenizer_config\.json") as caught:
        Tokenizer.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_without_its_unknown_token_is_named_when_it_matters(tmp_path):
    file, _ = saved(tmp_path, CHAR)
    text = file.read_text("utf-8").replace('"unk_token": "<unk>"', '"unk_token": "<?>"')
    file.write_text(text, "utf-8")
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.decode(tokenizer.encode("cat")) == "cat"
    with pytest.raises(ValueError, match=r"encoding failed: .*\[UNK\]"):
        tokenizer.encode("Ж")


def test_config_spellings(tmp_path):
    _, config = saved(tmp_path)
    config.write_text(json.dumps({"eos_token": {"content": "<|im_end|>", "lstrip": False}}))
    assert Tokenizer.from_pretrained(tmp_path).eos_token_id == 329
    config.unlink()
    bare = Tokenizer.from_pretrained(tmp_path)
    assert bare.eos_token_id is None
    assert bare.encode(STORY) == BPE.encode(STORY)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    chat = [{"role": "user", "content": "cat"}]
    assert Tokenizer.from_pretrained(tmp_path).apply_chat_template(chat, tokenize=False) == "cat!"
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "chat_template.jinja").unlink()
    config.write_text(json.dumps({"chat_template": named}))
    assert Tokenizer.from_pretrained(tmp_path).apply_chat_template(chat, tokenize=False) == "d"


def test_a_failed_save_leaves_the_old_files(tmp_path, monkeypatch):
    saved(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="disk is full"):
        CHAR.save_pretrained(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
