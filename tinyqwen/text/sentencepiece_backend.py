"""Marian's tokenizer: one sentencepiece model for each of two languages, one vocabulary for both.

A translator (opus-mt) cuts its source text with source.spm and its target text with target.spm; the
pieces, not sentencepiece's own numbers, are looked up in vocab.json. It needs the `sentencepiece`
package: `pip install tinyqwen[marian]`.

Source: Kudo and Richardson 2018, "SentencePiece"; Tiedemann and Thottingal 2020, "OPUS-MT".
"""

import re
from pathlib import Path
from types import SimpleNamespace

from tokenizers import AddedToken

from tinyqwen.storage.files import atomic_write, file_in, read_json, write_json


class SentencePieceBackend:
    """Looks like a `tokenizers.Tokenizer`, as far as `Tokenizer` looks.

    source, target: sentencepiece models. vocabulary: {piece: id}. end, unknown: the tokens that end
    a text and stand for what the vocabulary lacks. `target` encodes as text of the other language.
    """

    normalizer = decoder = post_processor = None  # nothing that could make a text longer
    encode_special_tokens = False

    def __init__(self, source, target, vocabulary, end, unknown, is_target=False):
        for token in (end, unknown):
            if token not in vocabulary:
                raise ValueError(f"vocab.json has no {token!r}")
        self._models, self._is_target = (source, target), is_target
        self._ids, self._end, self._unknown = dict(vocabulary), end, unknown
        self._tokens = {i: token for token, i in self._ids.items()}
        self._added: dict[int, AddedToken] = {}
        self.model = self._models[is_target]

    @classmethod
    def read(cls, folder: Path, config: dict) -> "SentencePieceBackend":
        """The backend of a folder. Raises ImportError's advice as ValueError, and ValueError."""
        if config.get("separate_vocabs"):
            raise ValueError(f"{folder}: separate_vocabs is not supported; use one vocab.json")
        vocabulary = read_json(file_in(folder, "vocab.json"))
        if not all(isinstance(i, int) and not isinstance(i, bool) for i in vocabulary.values()):
            raise ValueError(f"{folder / 'vocab.json'} must map pieces to ids")
        models = [_model(file_in(folder, name)) for name in ("source.spm", "target.spm")]
        return cls(*models, vocabulary, config["eos_token"], config["unk_token"])

    def write(self, folder: Path) -> None:
        """Write source.spm, target.spm and vocab.json."""
        for name, model in zip(("source.spm", "target.spm"), self._models):
            with atomic_write(folder / name) as file:
                file.write(model.serialized_model_proto())
        write_json(folder / "vocab.json", self._ids)

    def copy(self, is_target: bool = False) -> "SentencePieceBackend":
        """Another one with the same models and tokens."""
        other = SentencePieceBackend(*self._models, self._ids, self._end, self._unknown, is_target)
        other._added, other.encode_special_tokens = self._added, self.encode_special_tokens
        return other

    @property
    def target(self) -> "SentencePieceBackend":
        """The one that encodes text of the language translated to."""
        return self.copy(is_target=True)

    def no_padding(self):
        """Nothing to switch off."""

    no_truncation = no_padding

    # -- the vocabulary ---------------------------------------------------------------------------

    def get_vocab(self) -> dict[str, int]:
        """{token: id}"""
        return self._ids

    def get_added_tokens_decoder(self) -> dict[int, AddedToken]:
        """{id: token} of the marks."""
        return self._added

    def add_tokens(self, tokens: list[AddedToken]) -> None:
        """Mark tokens; one that the vocabulary lacks gets the next id."""
        for token in tokens:
            i = self._ids.setdefault(token.content, max(self._ids.values()) + 1)
            self._tokens[i] = token.content
            self._added[i] = token

    def token_to_id(self, token: str) -> int | None:
        """The id of a piece, or None."""
        return self._ids.get(token)

    def id_to_token(self, token_id: int) -> str | None:
        """The piece of an id, or None."""
        return self._tokens.get(token_id)

    # -- encoding and decoding --------------------------------------------------------------------

    def encode(self, text: str, add_special_tokens: bool = True) -> "Encoding":
        """The encoding of a text, ended by </s>."""
        return self.encode_batch_fast([text], add_special_tokens)[0]

    def encode_batch_fast(self, texts, add_special_tokens: bool = True) -> list["Encoding"]:
        """The encodings of texts."""
        rows = [Encoding(self._encode(text)) for text in texts]
        return [self.post_process(row, None, add_special_tokens) for row in rows]

    def _encode(self, text: str) -> list[int]:
        marks = [token.content for token in self._added.values()]
        marks = [] if self.encode_special_tokens else sorted(marks, key=len, reverse=True)
        boundary = re.compile("|".join(map(re.escape, marks)) or r"(?!)")
        ids, start = [], 0
        for match in [*boundary.finditer(text), None]:
            ids += self._pieces(text[start : match.start() if match else len(text)])
            if match:
                ids.append(self._ids[match[0]])
                start = match.end()
        return ids

    def _pieces(self, text: str) -> list[int]:
        code = re.match(r">>.*?<<", text)  # ">>fra<<", the language to translate to
        pieces = self.model.encode(text[code.end() if code else 0 :], out_type=str)
        # A mark in the text that is not to be one: the model gives back what it does not know.
        marks = {token.content for token in self._added.values()}
        pieces = [self._unknown if piece in marks else piece for piece in pieces]
        pieces = [code[0], *pieces] if code else pieces
        return [self._ids.get(piece, self._ids[self._unknown]) for piece in pieces]

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """One: </s>."""
        return 1

    def post_process(self, row, pair=None, add_special_tokens: bool = True) -> "Encoding":
        """One or two encodings as one, ended by </s>."""
        ids = row.ids + (pair.ids if pair else [])
        return Encoding([*ids, self._ids[self._end]] if add_special_tokens else ids)

    def decode(self, ids, skip_special_tokens: bool = False) -> str:
        """Pieces to text: marks stand between spaces, as in transformers."""
        special = {i for i, token in self._added.items() if token.special}
        text, pieces = "", []
        for i in ids:
            if i in special:
                if not skip_special_tokens:
                    text += self.model.decode_pieces(pieces) + self._tokens[i] + " "
                    pieces = []
            elif i in self._tokens:
                pieces.append(self._tokens[i])
        return (text + self.model.decode_pieces(pieces)).replace("▁", " ").strip()

    def decode_stream(self, skip_special_tokens: bool = False):
        """What a stream asks for each new id: the text that it adds."""
        ids, said = [], ""

        def step(backend, token_id):
            nonlocal said
            ids.append(token_id)
            text = backend.decode(ids, skip_special_tokens)
            if text.endswith("\ufffd") or not text.startswith(said):
                return ""
            new, said = text[len(said) :], text
            return new

        return SimpleNamespace(step=step)


class Encoding:
    """Ids that can be cut, like the library's."""

    def __init__(self, ids: list[int]):
        self.ids = ids

    @property
    def type_ids(self) -> list[int]:
        """Marian does not tell texts apart."""
        return [0] * len(self.ids)

    def truncate(self, max_length: int, direction: str = "right") -> None:
        """Keep max_length ids, cutting on this side."""
        cut = max(len(self.ids) - max_length, 0)
        self.ids = self.ids[cut:] if direction == "left" else self.ids[: len(self.ids) - cut]


def _model(file: Path):
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise ValueError(
            f"{file} is a sentencepiece model, and that package is not installed: "
            "pip install sentencepiece"
        ) from None
    try:
        model = SentencePieceProcessor()
        model.load_from_serialized_proto(file.read_bytes())
    except RuntimeError as error:
        raise ValueError(f"{file} is no sentencepiece model: {error!s:.200}") from None
    return model
