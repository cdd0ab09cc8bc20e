"""Texts that end a text: found in what has been written, though tokens cut it elsewhere."""

import numpy as np


class StopStrings:
    """Which rows' text has just come to contain one of the stop strings.

    Text is decoded as it comes. Of what came before, the prompt included, only the end is kept that
    a stop string could begin in.
    """

    def __init__(self, strings, tokenizer, ids, mask):
        self._strings = [strings] if isinstance(strings, str) else list(strings)
        if not all(isinstance(string, str) and string for string in self._strings):
            raise ValueError(f"stop_strings must be texts that are not empty, not {strings!r}")
        if tokenizer is None:
            raise ValueError("stop_strings need the tokenizer: generate(…, tokenizer=tokenizer)")
        self._keep = max(map(len, self._strings)) - 1
        self._streams = [tokenizer.stream() for _ in ids]
        self._tails = [""] * len(ids)
        self._ended = np.zeros(len(ids), bool)
        for row in range(len(ids)):
            for token in ids[row][mask[row]]:
                self._extend(row, token)

    def _extend(self, row, token):
        new = self._streams[row].step(int(token))
        text = self._tails[row] + new
        self._tails[row] = text[len(text) - self._keep :] if self._keep < len(text) else text
        # A match must end in the new text: a shorter string may lie in the old one, complete.
        return any(
            text.find(s, max(0, len(text) - len(new) - len(s) + 1)) >= 0 for s in self._strings
        )

    def ended(self, tokens, ended):
        """Of the next tokens (B,) those that end their row: here, or for another reason (`ended`).

        A row is followed no further than to its end; what comes then is padding.
        """
        for row in np.flatnonzero(~self._ended):
            self._ended[row] = self._extend(row, tokens[row]) or ended[row]
        return self._ended.copy()
