"""Text files as streams: checked UTF-8, parted into documents, each in pieces of bounded length.

Neither a file nor a document need fit in memory. A piece ends where no token reaches over, so the
ids of the pieces, one after another, are the ids of the whole (`Tokenizer.encode_pieces`).

Files are text whatever system they come from: line ends (\\r\\n, \\r) become \\n, and the mark that
some programs put before a text (a BOM) is dropped.
"""

import codecs
import io
import json
import re
from itertools import dropwhile, groupby
from pathlib import Path

from tinyqwen.storage.files import MAX_JSON_BYTES

END_OF_TEXT = "<|endoftext|>"
PIECE = 1 << 16  # characters

# Text may be cut before a space that follows anything else, and between a letter or digit and a
# tab, a line end or a sign (but for the apostrophe). Not after white space: GPT-2's pattern leaves
# a run's last character to the word behind it, and Qwen2's gives line ends to the sign before them.
_CUT = re.compile(r"(?<=\S)(?= )|(?<=[^\W_])(?=[\t\n!-&(-/:-@\[-^`{-~。，、；：？！])")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def documents(files):
    """Yield the documents of text files, each an iterator of its pieces, to be read in this order.

    .jsonl: the "text" field of each line. Other files: the text between lines that hold only
    <|endoftext|>, or the whole file where there are none, without the line ends around it.
    Raises ValueError at invalid UTF-8, with file and byte offset, and at lines that are no JSON.
    """
    for path in files:
        if Path(path).suffix.lower() == ".jsonl":
            for text in _jsonl_texts(path):
                yield in_pieces([text])
        else:
            for separator, lines in groupby(_lines(path, PIECE), _Separates()):
                if not separator:
                    yield in_pieces(_without_outer_line_ends(lines))


def read_text(path, size=PIECE):
    """The text of a UTF-8 file in pieces of about `size` characters.

    Raises FileNotFoundError, and ValueError with the offset of the first byte that is not UTF-8.
    """
    return in_pieces(_lines(path, size), size)


def in_pieces(texts, size=PIECE):
    """Join texts and part them anew, into pieces of about `size` characters.

    Where 16 sizes hold neither a space nor a line end, the text is cut anyhow.
    """
    held, length, enough = [], 0, size
    for part in (text[i : i + size] for text in texts for i in range(0, len(text), size)):
        held.append(part)
        length += len(part)
        if length < enough:
            continue
        whole = "".join(held)
        place = _CUT.search(whole, length // 2)
        cut = place.start() if place else length if length >= 16 * size else 0
        if cut:
            yield whole[:cut]
        held, length = [whole[cut:]], length - cut
        enough = size if cut else length + size  # else a text without spaces is joined too often
    if length:
        yield "".join(held)


def _lines(path, limit):
    """The lines of a UTF-8 file; one of more than `limit` bytes comes in parts."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {'a folder' if path.is_dir() else 'missing'}; give a file"
        )
    decoder, offset = codecs.getincrementaldecoder("utf-8")(), 0
    line_ends, begun = io.IncrementalNewlineDecoder(None, translate=True), False
    with open(path, "rb") as file:
        while True:
            part = file.readline(limit)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(part, final=not part)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}: invalid UTF-8 at byte {offset - pending + error.start}; "
                    "convert the file to UTF-8"
                ) from None
            if text and not begun:
                text, begun = text.removeprefix("\ufeff"), True
            yield from _LINE.findall(line_ends.decode(text, final=not part))
            if not part:
                return
            offset += len(part)


class _Separates:
    """Called with part after part of a file: is this one a line that holds only <|endoftext|>?"""

    def __init__(self):
        self._begins = True  # the part begins a line; it may be what is left of a long one

    def __call__(self, part):
        separates = self._begins and part.strip() == END_OF_TEXT
        self._begins = part.endswith("\n")
        return separates


def _without_outer_line_ends(lines):
    ends = 0  # line ends seen behind the text so far
    for line in dropwhile(lambda line: line == "\n", lines):
        text = line.rstrip("\n")
        if text:
            yield "\n" * ends + text
            ends = 0
        ends += len(line) - len(text)


def _jsonl_texts(path):
    for _, record in json_lines(path, "text"):
        yield re.sub(r"\r\n?", "\n", record["text"])


def json_lines(path, *names):
    """(line number, JSON object) of a .jsonl file's lines; strings are in the fields `names`.

    Raises ValueError, with the line's number, at a line that is not like that.
    """
    for number, line in enumerate(_lines(path, MAX_JSON_BYTES), 1):
        if not line.strip():
            continue
        try:
            record = dict(json.loads(line))
            for name in names:
                record[name].encode("utf-8")  # JSON can spell half a surrogate pair: no character
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            strings = " and ".join(f'"{name}"' for name in names)
            what = f"no JSON object with a string in {strings}" if names else "no JSON object"
            raise ValueError(f"{path}: line {number} is {what}") from None
        yield number, record
