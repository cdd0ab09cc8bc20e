"""Streaming: text while it comes."""

import sys

import numpy as np


class TextStreamer:
    """Writes the text of a single row while it is generated, in whole characters.

    skip_prompt: write only what is new. skip_special_tokens: leave out marks such as
    "<|endoftext|>". file: where to, stdout by default. `text` holds what was written so far.
    """

    def __init__(self, tokenizer, skip_prompt=False, skip_special_tokens=True, file=None):
        self._stream = tokenizer.stream(skip_special_tokens)
        self._skip, self._file = skip_prompt, file
        self.text = ""

    def put(self, ids):
        """Token ids: the prompt (1, T) first, then (1,) at each step."""
        ids = np.asarray(ids)
        if len(ids) > 1:
            raise ValueError("TextStreamer writes a single row; generate without it for a batch")
        if self._skip:
            self._skip = False
        else:
            self._write("".join(map(self._stream.step, ids.reshape(-1).tolist())))

    def end(self):
        """Write what is left and a line's end."""
        self._write(self._stream.flush() + "\n")

    def _write(self, text):
        if text:
            self.text += text
            print(text, end="", flush=True, file=sys.stdout if self._file is None else self._file)
