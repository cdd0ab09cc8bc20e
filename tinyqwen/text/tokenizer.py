"""Text to token ids and back: a face on the `tokenizers` library.

Three kinds can be trained, and any tokenizer.json loaded:

- "bpe": byte-level byte-pair encoding in Qwen2's manner. Its base is the 256 bytes, so there is no
  text it cannot spell, and decoding gives back the text exactly (in Unicode's composed form, NFC).
- "wordpiece": BERT's. Splits at spaces and punctuation, which decoding restores only roughly.
- "char": one token a character; characters never seen become `<unk>`.

How they work inside is written out in `tinyqwen.text.bpe` and `tinyqwen.text.wordpiece`.
"""

import json
import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import tokenizers
from tokenizers import AddedToken
from tokenizers.decoders import DecodeStream

from tinyqwen.storage.files import file_in, make_folder, read_json, write_json, write_text
from tinyqwen.text.chat_template import CHATML, render, render_isolated
from tinyqwen.text.tokenizer_checks import (
    check_text,
    library_errors,
    read_whole,
    refuse_broken_merges,
    refuse_growth,
    template_of,
    token_text,
)
from tinyqwen.text.tokenizer_training import texts_of, train_tokenizer

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
LARGEST_ID = 1 << 24  # a file that names larger ids is broken: no model has 16 million embeddings


class Tokenizer:
    """Turns text into token ids and back.

    >>> tokenizer = Tokenizer.train(["low lower lowest " * 9], vocab_size=265)
    >>> ids = tokenizer.encode("lower")
    >>> tokenizer.decode(ids)
    'lower'
    """

    def __init__(self, backend: tokenizers.Tokenizer, config: dict | None = None):
        """backend: the `tokenizers` object. config: tokenizer_config.json's content.

        The special tokens that config names are added where the vocabulary lacks them, as
        `transformers` does. Raises ValueError for a config or a vocabulary that cannot be.
        """
        self.backend = backend
        self.backend.no_padding()  # settings of whoever saved the file; not part of the vocabulary
        self.backend.no_truncation()
        refuse_growth(backend)
        self.config = dict(config or {})
        self._role = {name: token_text(self.config, name) for name in ROLES}
        self.chat_template = template_of(self.config)
        self._add_special_tokens()
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

    def _add_special_tokens(self) -> None:
        declared = self.config.get("added_tokens_decoder", {})
        extra = self.config.get("additional_special_tokens") or []
        if not isinstance(declared, dict) or not isinstance(extra, list):
            raise ValueError(
                "added_tokens_decoder must be a JSON object and additional_special_tokens a list"
            )
        entries = [declared[key] for key in sorted(declared, key=str)]
        wanted = [token_text({"added token": entry}, "added token") for entry in entries]
        wanted += self._role.values()
        wanted += [token_text({"added token": entry}, "added token") for entry in extra]
        known = {token.content for token in self.backend.get_added_tokens_decoder().values()}
        for token in dict.fromkeys(wanted):
            if token and token not in known:
                self.backend.add_special_tokens([AddedToken(token, special=True, normalized=False)])

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
        included; for kind "char" the most frequent characters, or all of them with None.
        kind: "bpe", "wordpiece" or "char". min_frequency: what occurs more rarely (a pair; for
        "char", a character) gets no token. progress: show a bar; None shows it on a terminal.
        The same text gives the same vocabulary, whatever the machine.
        Raises ValueError when the text is empty, supports fewer tokens, or is not UTF-8 (with the
        byte's offset), and FileNotFoundError.
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

    bos_token = property(lambda self: self._role["bos_token"], doc="begins a text, or None")
    eos_token = property(lambda self: self._role["eos_token"], doc="ends a text, or None")
    pad_token = property(lambda self: self._role["pad_token"], doc="fills up a batch, or None")
    unk_token = property(
        lambda self: self._role["unk_token"], doc="stands for the unknown, or None"
    )
    bos_token_id = property(lambda self: self._role_id("bos_token"), doc="id of bos_token, or None")
    eos_token_id = property(lambda self: self._role_id("eos_token"), doc="id of eos_token, or None")
    pad_token_id = property(lambda self: self._role_id("pad_token"), doc="id of pad_token, or None")
    unk_token_id = property(lambda self: self._role_id("unk_token"), doc="id of unk_token, or None")

    def _role_id(self, name: str) -> int | None:
        token = self._role[name]
        return None if token is None else self.backend.token_to_id(token)

    def __repr__(self) -> str:
        kind = type(self.backend.model).__name__
        return f"Tokenizer({kind}, vocab_size={len(self)}, special_tokens={self.special_tokens})"

    # -- text to ids ------------------------------------------------------------------------------

    def encode(
        self, text: str, add_special_tokens: bool = True, split_special_tokens: bool = False
    ) -> list[int]:
        """The ids of a text.

        add_special_tokens: let the file's post-processor add its marks (BERT's [CLS] and [SEP];
        Qwen2's and the trained ones' add none). split_special_tokens: read "<|endoftext|>" inside
        the text as plain characters, as text that a stranger typed should be; without it, it
        becomes the mark itself, as in `transformers`.
        """
        return self.encode_batch([text], add_special_tokens, split_special_tokens)[0]

    def encode_batch(
        self,
        texts: Iterable[str],
        add_special_tokens: bool = True,
        split_special_tokens: bool = False,
    ) -> list[list[int]]:
        """The ids of many texts, computed on all cores. Arguments as in `encode`."""
        if isinstance(texts, str):
            raise TypeError("encode_batch takes a list of texts; use encode for one text")
        texts = list(texts)
        for text in texts:
            check_text(text)
        backend = self._splitting_backend() if split_special_tokens else self.backend
        with library_errors("encoding failed"):
            encodings = backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    def _splitting_backend(self) -> tokenizers.Tokenizer:
        # A second object, because switching the first one would disturb other threads.
        if self._plain_backend is None:
            plain = tokenizers.Tokenizer.from_str(self.backend.to_str())
            plain.encode_special_tokens = True
            self._plain_backend = plain
        return self._plain_backend

    # -- ids to text ------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of ids, a list or a one-dimensional array.

        Bytes that are no UTF-8 become "\ufffd".

        Raises ValueError for an id outside the vocabulary, TypeError for what is no integer.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        ids = [self._check_id(i) for i in ([ids] if isinstance(ids, int) else ids)]
        with library_errors("decoding failed"):
            return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def stream(self, skip_special_tokens: bool = False) -> "TokenStream":
        """A decoder for ids that come one by one: see `TokenStream`."""
        return TokenStream(self, skip_special_tokens)

    def _check_id(self, token_id) -> int:
        if isinstance(token_id, bool) or not hasattr(token_id, "__index__"):
            raise TypeError(f"token ids are integers; got {token_id!r}")
        token_id = token_id.__index__()
        if not 0 <= token_id < self._size:
            raise ValueError(
                f"token id {token_id} is outside the vocabulary of {self._size} tokens"
            )
        return token_id

    # -- chats ------------------------------------------------------------------------------------

    def apply_chat_template(
        self,
        messages: list,
        add_generation_prompt: bool = False,
        tokenize: bool = False,
        chat_template: str | None = None,
        tools: list[dict] | None = None,
        **variables,
    ):
        """Messages as the one text that the model was trained to see.

        messages: [{"role": "user", "content": "Hello"}, ...], or a list of such conversations.
        add_generation_prompt: end with the opening of the assistant's turn. tokenize: return ids
        instead of text. chat_template: Jinja source, in place of the tokenizer's own; ChatML where
        there is neither. tools: JSON schemas. variables: handed to the template.
        Returns str or list[int]; for a list of conversations, a list of these.
        Raises ValueError when the template complains, reaches for Python's objects, or meets a
        limit on time, memory or output (`tinyqwen.text.chat_template`).
        """
        batched = bool(messages) and isinstance(messages[0], (list, tuple))
        conversations = list(messages) if batched else [messages]
        for conversation in conversations:
            for message in conversation:
                if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                    raise TypeError(
                        f"a message is a dict with 'role' and 'content'; got {message!r:.80}"
                    )
        template = chat_template or self.chat_template or CHATML
        marks = {name: token for name, token in self._role.items() if token}
        variables = marks | variables
        variables |= {"add_generation_prompt": add_generation_prompt, "tools": tools}
        variables.setdefault("documents", None)
        draw = render if template == CHATML else render_isolated  # ours needs no guarding
        texts = draw(template, conversations, variables)
        results = self.encode_batch(texts, add_special_tokens=False) if tokenize else texts
        return results if batched else results[0]

    # -- files ------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike) -> "Tokenizer":
        """Load tokenizer.json; also tokenizer_config.json and chat_template.jinja if present.

        path: the folder that holds them. Raises FileNotFoundError when it or tokenizer.json is
        missing, ValueError naming the file that cannot be read as what it should be.
        """
        folder = Path(path)
        file = file_in(folder, "tokenizer.json")
        source = read_whole(file)
        with library_errors(f"{file} is not a tokenizer that the `tokenizers` library can read"):
            refuse_broken_merges(json.loads(source))
            backend = tokenizers.Tokenizer.from_str(source)
        config = {}
        if (folder / "tokenizer_config.json").exists():
            config = read_json(file_in(folder, "tokenizer_config.json"))
        if (folder / "chat_template.jinja").exists():
            config["chat_template"] = read_whole(file_in(folder, "chat_template.jinja"))
        try:
            with library_errors("the `tokenizers` library refuses it"):
                return cls(backend, config)
        except ValueError as error:
            raise ValueError(f"{folder} (tokenizer.json, tokenizer_config.json): {error}") from None

    def save_pretrained(self, path: str | os.PathLike) -> None:
        """Write tokenizer.json and tokenizer_config.json; `transformers` opens them, equal ids.

        Each is written beside its place and then moved there: a crash leaves the old or the new.
        """
        folder = Path(path)
        make_folder(folder)
        write_text(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        write_json(folder / "tokenizer_config.json", self.config)


class TokenStream:
    """Decodes ids one by one, and gives out text only in whole characters.

        stream = tokenizer.stream()
        for token_id in ids:
            print(stream.step(token_id), end="")
        print(stream.flush())

    All that `step` and `flush` return, put together, is `tokenizer.decode(ids)`.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = False):
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._restart()

    def _restart(self) -> None:
        self._decoder = DecodeStream(skip_special_tokens=self._skip_special_tokens)
        self._ids: list[int] = []
        self._length = 0  # characters given out

    def step(self, token_id: int) -> str:
        """The text that this id completes: "" while a character still lacks bytes."""
        token_id = self._tokenizer._check_id(token_id)
        with library_errors("decoding failed"):
            text = self._decoder.step(self._tokenizer.backend, token_id) or ""
        self._ids.append(token_id)
        self._length += len(text)
        return text

    def flush(self) -> str:
        """The rest: bytes that never became a character, as "\ufffd". Then it can begin anew."""
        text = self._tokenizer.decode(self._ids, self._skip_special_tokens)[self._length :]
        self._restart()
        return text
