"""Ids that come one by one, to text that is given out in whole characters."""

from tokenizers.decoders import DecodeStream

from tinyqwen.text.tokenizer_checks import library_errors


class TokenStream:
    """Decodes ids one by one, and gives out text only in whole characters.

        stream = tokenizer.stream()
        for token_id in ids:
            print(stream.step(token_id), end="")
        print(stream.flush())

    All that `step` and `flush` return, put together, is `tokenizer.decode(ids)`.
    """

    def __init__(self, tokenizer, skip_special_tokens: bool = False):
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._restart()

    def _restart(self) -> None:
        make = getattr(self._tokenizer.backend, "decode_stream", DecodeStream)
        self._decoder = make(skip_special_tokens=self._skip_special_tokens)
        self._ids: list[int] = []
        self._length = 0  # characters given out

    def step(self, token_id: int) -> str:
        """The text that this id completes: "" while a character still lacks bytes."""
        (token_id,) = self._tokenizer.check_ids([token_id])
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
