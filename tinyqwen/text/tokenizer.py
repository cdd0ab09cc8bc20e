"""Text to token ids and back: a face on the `tokenizers` library.

Four kinds can be trained, and any tokenizer.json loaded:

- "bpe": byte-level byte-pair encoding in Qwen2's manner. Its base is the 256 bytes, so there is no
  text it cannot spell, and decoding gives back the text exactly (in Unicode's composed form, NFC).
- "wordpiece": BERT's. Splits at spaces and punctuation, which decoding restores only roughly.
- "word": one token a word, and one a Chinese character; for translation between a few words.
- "char": one token a character; characters never seen become `<unk>`.

How they work inside is written out in `tinyqwen.text.bpe` and `tinyqwen.text.wordpiece`.
"""

import math
import os
import warnings
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

import tokenizers

from tinyqwen.text import batch_encoding, tokenizer_files
from tinyqwen.text.added_tokens import ROLES, add_declared_tokens, token_text
from tinyqwen.text.chat_template import choose_template, render_chats
from tinyqwen.text.token_stream import TokenStream
from tinyqwen.text.tokenizer_checks import check_text, library_errors, refuse_growth, template_of
from tinyqwen.text.tokenizer_training import texts_of, train_tokenizer

LARGEST_ID = 1 << 24  # a file that names larger ids is broken: no model has 16 million embeddings


def _role(name: str, use: str):
    """The two properties of a special token: its text and its id."""

    def token_id(self):
        token = self._role[name]
        return None if token is None else self.backend.token_to_id(token)

    token = property(lambda self: self._role[name], doc=f"{use}, or None")
    return token, property(token_id, doc=f"the id of {name}, or None")


class Tokenizer:
    """Turns text into token ids and back.

    >>> tokenizer = Tokenizer.train(["low lower lowest " * 9], vocab_size=265)
    >>> ids = tokenizer.encode("lower")
    >>> tokenizer.decode(ids)
    'lower'
    """

    def __init__(self, backend: tokenizers.Tokenizer, config: dict | None = None):
        """backend: the `tokenizers` object. config: tokenizer_config.json's content.

        The tokens that config declares are added where the vocabulary lacks them, as `transformers`
        does. Raises ValueError for a config or a vocabulary that cannot be.
        """
        self.backend = backend
        self.backend.no_padding()  # settings of whoever saved the file; not part of the vocabulary
        self.backend.no_truncation()
        refuse_growth(backend)
        self.config = dict(config or {})
        self._role = {name: token_text(self.config, name) for name in ROLES}
        self.chat_template = template_of(self.config)
        add_declared_tokens(self.backend, self.config)
        vocabulary = backend.get_vocab()
        ids = sorted(vocabulary.values())
        if not ids:
            raise ValueError("the vocabulary is empty")
        if ids[-1] >= LARGEST_ID:
            raise ValueError(f"token id {ids[-1]} is beyond all reason (limit {LARGEST_ID})")
        for one, other in pairwise(ids):
            if one == other:
                raise ValueError(f"two tokens share the id {one}")
        self._size = ids[-1] + 1
        self._plain_backend = None
        self._warned = False

    @classmethod
    def train(
        cls,
        files_or_texts,
        vocab_size: int | None = None,
        kind: str = "bpe",
        min_frequency: int = 1,
        progress: bool | None = None,
    ) -> "Tokenizer":
        """Learn a vocabulary from text, read as a stream.

        files_or_texts: a path, a text, or an iterable of paths and texts. A str that names a file
        is that file, any other str is text. vocab_size: the number of tokens, special tokens
        included; None takes a usual size ("bpe" and "wordpiece" 512, "word" and "char" all there
        are), or what the text supports. kind: "bpe", "wordpiece", "word" or "char".
        min_frequency: what occurs more rarely (a pair, a word, a character) gets no token.
        progress: show a bar; None shows it on a terminal.
        The same text gives the same vocabulary, whatever the machine.
        Raises ValueError when the text is empty, supports fewer tokens than asked for, is not UTF-8
        (with the byte's offset), or, for wordpiece, is written without spaces; FileNotFoundError.
        """
        texts = texts_of(files_or_texts)
        return cls(*train_tokenizer(texts, vocab_size, kind, min_frequency, progress))

    # -- what it knows ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._size

    @property
    def vocab_size(self) -> int:
        """The largest id plus one, special tokens included: the rows that an embedding needs.

        (`transformers` leaves added tokens out of `vocab_size` and counts them in `len()`; here the
        two are one number.)
        """
        return self._size

    @property
    def special_tokens(self) -> dict[str, int]:
        """{token: id} of the tokens that are marks, not text, in the order of their ids."""
        added = sorted(self.backend.get_added_tokens_decoder().items())
        return {token.content: i for i, token in added if token.special}

    def token_to_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it, or None."""
        return self.backend.token_to_id(token)

    def id_to_token(self, token_id: int) -> str | None:
        """The vocabulary's spelling of an id (bytes as in `bytes_to_unicode`), or None."""
        return self.backend.id_to_token(token_id) if 0 <= token_id < self._size else None

    bos_token, bos_token_id = _role("bos_token", "begins a text")
    eos_token, eos_token_id = _role("eos_token", "ends a text")
    unk_token, unk_token_id = _role("unk_token", "stands for the unknown")
    sep_token, sep_token_id = _role("sep_token", "parts two texts")
    pad_token, pad_token_id = _role("pad_token", "fills up a batch")
    cls_token, cls_token_id = _role("cls_token", "stands for the whole text")
    mask_token, mask_token_id = _role("mask_token", "hides a token")

    def __repr__(self) -> str:
        kind = type(self.backend.model).__name__
        return f"Tokenizer({kind}, vocab_size={len(self)}, special_tokens={self.special_tokens})"

    # -- text to ids ------------------------------------------------------------------------------

    def encode(
        self, text: str, add_special_tokens: bool = True, split_special_tokens: bool | None = None
    ) -> list[int]:
        """The ids of a text.

        add_special_tokens: let the file's post-processor add its marks (BERT's [CLS] and [SEP];
        Qwen2's adds none). split_special_tokens: read "<|endoftext|>" inside the text as plain
        characters, as text that a stranger typed should be; without it, it becomes the mark
        itself, as in `transformers`. None: what the config says, or False.
        Warns, once, of characters that the vocabulary does not know.
        """
        return self.encode_batch([text], add_special_tokens, split_special_tokens)[0]

    def encode_batch(
        self,
        texts: Iterable[str],
        add_special_tokens: bool = True,
        split_special_tokens: bool | None = None,
    ) -> list[list[int]]:
        """The ids of many texts, computed on all cores. Arguments as in `encode`."""
        if isinstance(texts, str):
            raise TypeError("encode_batch takes a list of texts; use encode for one text")
        rows = self.encodings(texts, False, add_special_tokens, split_special_tokens)
        return [row.ids for row in rows]

    def encode_pieces(self, pieces: Iterable[str]) -> Iterable[list[int]]:
        """Yield the ids of a document that comes in the pieces of `documents.in_pieces`.

        Put together they are the ids of the whole, without special tokens: a tokenizer that does
        something where a text begins (sentencepiece puts a space there) gets it in one piece.
        """
        if not self._may_be_cut:
            pieces = ["".join(pieces)]
        for piece in pieces:
            yield self.encode(piece, add_special_tokens=False)

    @cached_property
    def _may_be_cut(self) -> bool:
        pieces = ["a", " b", " a,", " b", "\n\na", ", b"]
        rows = self.backend.encode_batch_fast(["".join(pieces), *pieces], add_special_tokens=False)
        return rows[0].ids == [i for row in rows[1:] for i in row.ids]

    def encodings(
        self, texts, target=False, add_special_tokens=False, split_special_tokens=None
    ) -> list:
        """The library's encodings of texts; target: as texts of the language translated to."""
        texts = list(texts)
        for text in texts:
            check_text(text)
        if split_special_tokens is None:
            split_special_tokens = self.config.get("split_special_tokens") is True
        backend = self._splitting_backend() if split_special_tokens else self.backend
        options = {"add_special_tokens": add_special_tokens}
        if target and hasattr(backend, "target"):
            backend = backend.target
        with library_errors("encoding failed"):
            rows = backend.encode_batch_fast(texts, **options)
        if not self._warned and self.unk_token_id is not None:
            self._warn_of_unknown(backend, texts, rows)
        return rows

    def _warn_of_unknown(self, backend, texts, rows) -> None:
        for text, row in zip(texts, rows):
            if self.unk_token_id in row.ids and self.unk_token not in text:
                whole = backend.encode(text, add_special_tokens=False)  # this one knows the places
                places = [
                    place
                    for i, place in zip(whole.ids, getattr(whole, "offsets", ()))
                    if i == self.unk_token_id
                ]
                unknown = list(dict.fromkeys(text[start:end] for start, end in places))
                shown = ", ".join(repr(one)[:40] for one in unknown[:10])
                shown += ", ..." * (len(unknown) > 10)
                shown = shown or "some characters"  # sentencepiece does not say where they are
                longest = getattr(backend.model, "max_input_chars_per_word", math.inf)
                if any(len(one) > longest for one in unknown):
                    shown += f" (nor any other word of more than {longest} characters)"
                self._warned = True
                warnings.warn(
                    f"this tokenizer does not know {shown}: read as {self.unk_token}", stacklevel=4
                )
                return

    def _splitting_backend(self) -> tokenizers.Tokenizer:
        # A second object, because switching the first one would disturb other threads.
        if self._plain_backend is None:
            plain = tokenizer_files.copy_of(self.backend)
            plain.encode_special_tokens = True
            self._plain_backend = plain
        return self._plain_backend

    def __call__(
        self,
        text: str | list[str],
        text_pair: str | list[str] | None = None,
        text_target: str | list[str] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
    ) -> dict:
        """What a model takes, named as in `transformers`: {"input_ids": ..., "attention_mask": ...}

        text: one text, or a list of texts. text_pair: the second text of each, behind [SEP], which
        `token_type_ids` tells from the first. text_target: the translations, encoded as "labels".
        padding: True fills up to the longest row, "max_length" to max_length. truncation: True cuts
        to max_length, marks included. return_tensors: "np" for int64 arrays (batch, length).
        Without it, lists: of ids for one text, of such lists for several.
        Raises ValueError for options that do not fit, TypeError for what is no text.
        """
        if return_tensors not in (None, "np"):
            raise ValueError(f"return_tensors must be None or 'np'; got {return_tensors!r}")
        one = isinstance(text, str)
        groups = [text, text_pair, text_target]
        groups = [[group] if isinstance(group, str) else group for group in groups]
        if any(group is not None and len(group) != len(groups[0]) for group in groups):
            raise ValueError("text, text_pair and text_target must be equally many")
        batch = batch_encoding.encode_batch(
            self, *groups, add_special_tokens, padding, truncation, max_length
        )
        if return_tensors:
            return batch_encoding.as_arrays(batch)
        return {name: rows[0] for name, rows in batch.items()} if one else batch

    # -- ids to text ------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of ids, a list or a one-dimensional array.

        Bytes that are no UTF-8 become "\ufffd". Ids beyond the vocabulary are no text: a model's
        embedding is often padded to a rounder size, and may choose one.

        Raises ValueError for a negative id, TypeError for what is no integer.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        ids = self.check_ids([ids] if isinstance(ids, int) else ids)
        with library_errors("decoding failed"):
            return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def batch_decode(self, rows: Iterable, skip_special_tokens: bool = False) -> list[str]:
        """The texts of rows of ids."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def stream(self, skip_special_tokens: bool = False) -> TokenStream:
        """A decoder for ids that come one by one: see `TokenStream`."""
        return TokenStream(self, skip_special_tokens)

    def check_ids(self, ids: Iterable) -> list[int]:
        """The ids as Python's integers, or ValueError and TypeError."""
        for token_id in (ids := list(ids)):
            if isinstance(token_id, bool) or not hasattr(token_id, "__index__"):
                raise TypeError(f"token ids are integers; got {token_id!r}")
            if not 0 <= token_id < LARGEST_ID:
                raise ValueError(f"{int(token_id)} is no token id; they go from 0 to {self._size}")
        return [token_id.__index__() for token_id in ids]

    # -- chats ------------------------------------------------------------------------------------

    def apply_chat_template(
        self,
        conversation: list,
        tools: list[dict] | None = None,
        documents: list[dict] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        **variables,
    ):
        """Messages as the text, or the ids, that the model was trained to see.

        conversation: [{"role": "user", "content": "Hello"}, ...], or a list of such conversations.
        tools: JSON schemas. documents: [{"title", "text"}, ...]. chat_template: Jinja source, or
        the name of one of the tokenizer's own; None takes "tool_use" when there are tools, else
        the default; ChatML where there is none. add_generation_prompt: end with the opening of the
        assistant's turn. continue_final_message: end within the last message. tokenize: False
        returns text. padding, truncation, max_length, return_tensors: as in `__call__`.
        return_dict: False returns ids alone. variables: handed to the template.
        Returns {"input_ids": ...}, ids or text; for a list of conversations, a list of each.
        Raises ValueError when the template complains, does not read what it is given, reaches for
        Python's objects, or meets a limit (`tinyqwen.text.chat_template`).
        """
        lengths = {"padding": padding, "truncation": truncation, "max_length": max_length}
        of_ids = {**lengths, "return_tensors": return_tensors}
        if not tokenize and (given := [name for name, value in of_ids.items() if value]):
            raise ValueError(f"{' and '.join(given)}: a text has no tokens to count; set tokenize")
        batched = bool(conversation) and isinstance(conversation[0], (list, tuple))
        texts = render_chats(
            choose_template(self.chat_template, chat_template, tools),
            list(conversation) if batched else [conversation],
            {name: token for name, token in self._role.items() if token},
            {"tools": tools, "documents": documents, **variables},
            add_generation_prompt,
            continue_final_message,
        )
        texts = texts if batched else texts[0]
        if not tokenize:
            return texts
        options = {"add_special_tokens": False, "return_tensors": return_tensors, **lengths}
        batch = self(texts, **options)
        return batch if return_dict else batch["input_ids"]

    # -- files ------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike) -> "Tokenizer":
        """Load the tokenizer of a folder: see `tinyqwen.text.tokenizer_files`.

        Raises FileNotFoundError when there is none, ValueError naming the file that cannot be read
        as what it should be.
        """
        backend, config = tokenizer_files.read(path)
        try:
            with library_errors("the `tokenizers` library refuses it"):
                return cls(backend, config)
        except ValueError as error:
            raise ValueError(f"{path} (tokenizer.json, tokenizer_config.json): {error}") from None

    def save_pretrained(self, path: str | os.PathLike) -> None:
        """Write tokenizer.json and tokenizer_config.json; `transformers` opens them, equal ids.

        Each is written beside its place and then moved there: a crash leaves the old or the new.
        """
        tokenizer_files.write(path, self.backend, self.config, self.chat_template)
