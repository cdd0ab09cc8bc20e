"""Text files: which of a folder are read, what stands in them, and where it may be cut."""

import json
import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tinyqwen.text import tokenizer as face
from tinyqwen.text.corpus_files import split_files, text_files
from tinyqwen.text.documents import documents, in_pieces, read_text
from tinyqwen.text.tokenizer_training import BPE_PATTERN, WORD_PATTERN

pytestmark = pytest.mark.filterwarnings("ignore:data .* left out")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path):
    return ["".join(pieces) for pieces in documents(text_files(path))]


def test_documents_of_every_kind(tmp_path):
    write(tmp_path / "a.txt", "one\ntwo\n<|endoftext|>\nthree\n\n<|endoftext|>\n")
    write(tmp_path / "b" / "c.jsonl", '{"text": "four"}\n\n{"text": "", "n": 1}\n')
    write(tmp_path / "ignored.bin", b"\xff")
    assert texts(tmp_path) == ["one\ntwo", "three", "four", ""]


def test_a_file_without_separators_is_one_document(tmp_path):
    path = write(tmp_path / "x.txt", "\n\none\n\ntwo\n\n\nthree\nfour\n \nfive\n\n")
    assert texts(path) == ["one\n\ntwo\n\n\nthree\nfour\n \nfive"]


def test_split_that_the_folder_brings(tmp_path):
    train, validation = (write(tmp_path / f"{name}.txt", "x") for name in ("train", "validation"))
    other = write(tmp_path / "notes.md", "y")
    assert split_files(tmp_path) == ([train], [validation])
    validation.unlink()
    assert split_files(tmp_path) == ([other, train], None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good\nbad \xff\n", "invalid UTF-8 at byte 9"),
        ("a.txt", b"", "is empty"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', "line 2"),
        ("a.jsonl", b"not json\n", "line 1"),
        ("a.jsonl", b"[" * 100_000, "line 1"),
        ("a.jsonl", b'{"text": "\\ud800"}', "line 1"),
    ],
)
def test_bad_text_is_named(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message):
        texts(path)


def test_missing_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        text_files(tmp_path / "nowhere")


@given(
    st.lists(
        st.sampled_from(
            [
                "",
                "\n",
                "\r\n",
                "a",
                "b c\n",
                " ",
                "é",
                "x" * 9,
                "<|endoftext|>",
                "\n<|endoftext|>\n",
            ]
        ),
        max_size=30,
    )
)
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_long_lines_are_read_in_parts_and_parted_alike(tmp_path, monkeypatch, parts):
    """Whatever the size of what is read at once, the documents are those of the whole text."""
    content = "".join(parts)
    path = write(tmp_path / "x.txt", content or " ")
    expected, lines = [], []
    content = content.replace("\r\n", "\n")
    for line in [*re.findall(r"[^\n]*\n|[^\n]+$", content or " "), "<|endoftext|>"]:
        if line.strip() == "<|endoftext|>":
            expected.append("".join(lines).strip("\n"))
            lines = []
        else:
            lines.append(line)
    expected = [text for text in expected if text]
    for size in (1 << 16, 20):
        monkeypatch.setattr("tinyqwen.text.documents.PIECE", size)
        assert [text for text in texts(path) if text] == expected


# -- which files ----------------------------------------------------------------------------------


def test_a_folder_as_people_have_it(tmp_path):
    """Upper case, links in a circle, what editors and archives leave behind, runs within."""
    data = tmp_path / "data"
    kept = [write(data / name, "x") for name in ("A.TXT", "b.Jsonl", "sub/c.md", "sub/d.text")]
    for name in [
        ".ipynb_checkpoints/A-checkpoint.txt",
        "__MACOSX/._a.txt",
        "._a.txt",
        ".hidden.txt",
    ]:
        write(data / name, b"\xff\xfe")
    write(data / "run" / "train_config.json", "{}")
    write(data / "run" / "metrics.jsonl", "{}")
    write(data / "gpt2" / "config.json", "{}")
    write(data / "gpt2" / "vocab.txt", "x")
    write(data / "entropy.json", "{}")
    write(data / "picture.png", b"\x89")
    outside = write(tmp_path / "outside" / "e.txt", "y")
    (data / "linked").symlink_to(tmp_path / "outside")
    (data / "circle").symlink_to(data)
    (data / "one.txt").symlink_to(outside)
    (data / "sub" / "again.txt").symlink_to(data / "A.TXT")
    with pytest.warns(UserWarning, match="left out") as caught:
        files = text_files(data)
    assert files == sorted([*kept, data / "one.txt"])
    (warning,) = caught
    assert str(warning.message) == (
        f"data {data}: left out ._a.txt, .hidden.txt, .ipynb_checkpoints, __MACOSX (hidden); "
        "circle, sub/again.txt, linked/e.txt (there already); gpt2, run (a model's folder); "
        "picture.png (no text file)"
    )


def test_many_that_are_left_out_are_counted(tmp_path):
    write(tmp_path / "a.txt", "x")
    for i in range(8):
        write(tmp_path / f"{i}.png", "x")
    with pytest.warns(UserWarning, match=r"0.png, 1.png, 2.png, 3.png, 4.png and 3 more \(no text"):
        text_files(tmp_path)


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, recwarn):
    files = [write(tmp_path / f"{name}.TXT", "x") for name in ("Train", "Validation")]
    write(tmp_path / "entropy.json", "{}")
    assert split_files(tmp_path) == (files[:1], files[1:])
    assert not recwarn


def test_what_stands_beside_a_split_is_said(tmp_path):
    for name in ("train", "val", "notes"):
        write(tmp_path / f"{name}.txt", "x")
    with pytest.warns(UserWarning, match=r"left out notes.txt \(beside train and validation\)"):
        split_files(tmp_path)


# -- what stands in them --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize(
    "content, expected",
    [
        ("one\r\ntwo\r\n", ["one\ntwo"]),
        ("one\rtwo\r", ["one\ntwo"]),
        ("one\r\n<|endoftext|>\r\ntwo", ["one", "two"]),
        ("one\r<|endoftext|>\rtwo\r\rthree", ["one", "two\n\nthree"]),
        ("\ufeffone", ["one"]),
        ("\ufeff<|endoftext|>\ntwo \ufeff", ["two \ufeff"]),
    ],
)
def test_marks_of_other_systems(tmp_path, monkeypatch, content, expected, size):
    path = write(tmp_path / "a.txt", content)
    whole = content.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    assert "".join(read_text(path, size)) == whole
    monkeypatch.setattr("tinyqwen.text.documents.PIECE", max(size, 20))  # a separator fits in
    assert [text for text in texts(path) if text] == expected


def test_marks_of_other_systems_in_jsonl(tmp_path):
    lines = [json.dumps({"text": text}) for text in ("one\r\ntwo\r", "three")]
    path = write(tmp_path / "a.JSONL", "\ufeff" + "\r\n".join(lines))
    assert texts(path) == ["one\ntwo\n", "three"]


def test_the_offset_of_a_bad_byte_is_that_in_the_file(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfa\r\nb\xff")
    with pytest.raises(ValueError, match="invalid UTF-8 at byte 7;"):
        texts(path)


# -- where it is cut ------------------------------------------------------------------------------

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = BPE_PATTERN.replace(r"\p{N}", r"\p{N}{1,3}", 1)
PATTERNS = {"qwen2": BPE_PATTERN, "gpt2": GPT2, "llama3": LLAMA3, "word": WORD_PATTERN}


TRICKY = st.text(st.sampled_from("abt  \n\n\r\t'.sl1_-猫。é\u0301\x1c\x85"), max_size=60)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=list(PATTERNS))
@settings(max_examples=150)
@example(text="word\n\n" * 20, size=3)
@example(text="it's don't 'll\n\n\n b", size=1)
@given(text=TRICKY, size=st.integers(1, 12))
def test_no_cut_changes_the_words(pattern, text, size):
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    pieces = list(in_pieces([text], size))
    assert "".join(pieces) == text
    if all(len(piece) <= 16 * size for piece in pieces):
        alone = [word for piece in pieces for word, _ in split.pre_tokenize_str(piece)]
        assert alone == [word for word, _ in split.pre_tokenize_str(text)]


def byte_pairs(pattern):
    """A tokenizer of this pattern whose merges reach over blanks, where a wrong cut would show."""
    backend = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    backend.decoder = decoders.ByteLevel()
    text = "a  \n\n  b.\n\n' 's   \r\n\t 's1 don't 'll\r\n\r\n they've  \t\t\n"
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([text * 9], trainer)
    return face.Tokenizer(backend)


@pytest.fixture(scope="module", params=[*PATTERNS, "char"])
def tokenizer(request):
    if request.param == "char":
        return face.Tokenizer.train(["word's don't they'll a,\r\n\t"], kind="char")
    return byte_pairs(PATTERNS[request.param])


@pytest.mark.parametrize("size", [7, 1 << 10])
@pytest.mark.parametrize(
    "text",
    [
        *("word\n\n", "word  \n \n", "word \r\n", "a,\r\n\r\n", "\tword\t\t", "word   "),
        *("don't they'll's ", "don'they'll,", "word's\n", "they ' s\n\n"),
    ],
)
def test_ids_of_pieces_are_ids_of_the_whole(tokenizer, text, size):
    text *= 4000 // len(text)
    pieces = list(in_pieces([text], size))
    assert len(pieces) > 2 and max(map(len, pieces)) < 16 * size
    ids = [i for part in tokenizer.encode_pieces(pieces) for i in part]
    assert ids == tokenizer.encode(text, add_special_tokens=False)


def test_texts_are_cut_where_they_can_be():
    for text in ("word\n\n" * 500, "a b " * 500, "猫有一只狗。\n" * 500, "f(x)=y;" * 500):
        assert max(map(len, in_pieces([text], 64))) < 200
    assert max(map(len, in_pieces(["猫" * 5000], 64))) <= 16 * 64 + 64


def test_a_tokenizer_that_begins_texts_with_a_space_gets_documents_whole():
    vocabulary = [(" ", 0.0), ("▁", -1.0), ("a", -1.0), ("b", -1.0), ("▁a", -1.5), (",", -1.0)]
    backend = Tokenizer(models.Unigram(vocabulary, 0))
    backend.normalizer = normalizers.Prepend("▁")
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = face.Tokenizer(backend)
    pieces = ["a", " b", " a"]
    assert [*tokenizer.encode_pieces(pieces)] == [tokenizer.encode("a b a")]
    assert [i for piece in pieces for i in tokenizer.encode(piece)] != tokenizer.encode("a b a")
