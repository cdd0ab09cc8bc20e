"""Texts to one batch: cut to a length, marked, and filled up to rows of one length.

The rules are those of `transformers`: of a pair, the longer text loses tokens first; marks ([CLS],
[SEP], </s>) are added after the cut and counted in the length; what is filled up has 0 in the
attention mask.
"""

import numpy as np

LONGEST = 1 << 31  # tokens of a row


def cut_lengths(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each text of a pair may stay, when `room` tokens fit in all.

    One at a time is taken from the longer one, so the shorter stays whole until both are equal.

    >>> cut_lengths(9, 3, 8), cut_lengths(9, 7, 8), cut_lengths(3, 2, 8)
    ((5, 3), (4, 4), (3, 2))
    """
    shorter = min(first, second, max(room, 0) // 2)
    longer = min(max(first, second), max(room, 0) - shorter)
    return (longer, shorter) if first > second else (shorter, longer)


def encode_rows(
    tokenizer, texts, pairs, add_special_tokens, max_length, target: bool = False
) -> list:
    """An encoding (`ids`, `type_ids`) for each text, or pair of texts; max_length: int or None."""
    backend, side = tokenizer.backend, tokenizer.config.get("truncation_side", "right")
    rows = tokenizer.encodings(texts, target)
    others = [None] * len(rows) if pairs is None else tokenizer.encodings(pairs)
    if max_length is not None:
        marks = backend.num_special_tokens_to_add(pairs is not None) * add_special_tokens
        room = max_length - marks
        if room < 0:
            raise ValueError(f"max_length is {max_length}; the special tokens alone take {marks}")
        for row, other in zip(rows, others):
            if other is None:
                row.truncate(room, direction=side)
            else:
                one, two = cut_lengths(len(row.ids), len(other.ids), room)
                row.truncate(one, direction=side)
                other.truncate(two, direction=side)
    return [
        backend.post_process(row, other, add_special_tokens) for row, other in zip(rows, others)
    ]


def pad(rows: list[list[int]], length: int, value: int, side: str) -> list[list[int]]:
    """The rows, each filled up to `length` with `value` on its "right" or "left".

    >>> pad([[1, 2, 3], [4]], 3, 0, "left")
    [[1, 2, 3], [0, 0, 4]]
    """
    filled = []
    for row in rows:
        fill = [value] * (length - len(row))
        filled.append(fill + row if side == "left" else row + fill)
    return filled


def encode_batch(
    tokenizer, texts, pairs, targets, add_special_tokens, padding, truncation, max_length
) -> dict[str, list[list[int]]]:
    """{"input_ids": rows, ...} of `Tokenizer.__call__`, whose arguments these are."""
    if padding not in (False, True, "longest", "max_length", "do_not_pad"):
        raise ValueError(f"padding must be True, 'longest', 'max_length' or False; got {padding!r}")
    if truncation not in (False, True, "longest_first", "do_not_truncate"):
        raise ValueError(f"truncation must be True, 'longest_first' or False; got {truncation!r}")
    cut = truncation in (True, "longest_first")
    if max_length is not None and not cut and padding != "max_length":
        raise ValueError("max_length is for truncation=True and padding='max_length'; add one")
    if max_length is None:
        max_length = tokenizer.config.get("model_max_length")
        if isinstance(max_length, int) and max_length > LONGEST:
            max_length = None  # transformers writes 10³⁰ where there is no limit
    if (cut or padding == "max_length") and not isinstance(max_length, int):
        raise ValueError("truncation and padding='max_length' need max_length, a number of tokens")
    limit = max_length if cut else None
    encoded = encode_rows(tokenizer, texts, pairs, add_special_tokens, limit)
    names = tokenizer.config.get("model_input_names", ["input_ids", "attention_mask"])
    batch = {"input_ids": [row.ids for row in encoded]}
    if "token_type_ids" in names:
        batch["token_type_ids"] = [row.type_ids for row in encoded]
    if "attention_mask" in names:
        batch["attention_mask"] = [[1] * len(row) for row in batch["input_ids"]]
    if targets is not None:
        rows = encode_rows(tokenizer, targets, None, add_special_tokens, limit, target=True)
        batch["labels"] = [row.ids for row in rows]
    if padding in (True, "longest", "max_length"):
        if tokenizer.pad_token_id is None:
            raise ValueError("padding asked for, but this tokenizer has no pad_token")
        side = tokenizer.config.get("padding_side", "right")
        fills = {"input_ids": tokenizer.pad_token_id, "labels": tokenizer.pad_token_id}
        for name, rows in batch.items():
            length = max(map(len, rows), default=0)
            if padding == "max_length":
                length = max(length, max_length)
            batch[name] = pad(rows, length, fills.get(name, 0), side)
    return batch


def as_arrays(batch: dict[str, list[list[int]]]) -> dict[str, np.ndarray]:
    """The rows as int64 arrays (batch, length). Raises ValueError if their lengths differ."""
    for name, rows in batch.items():
        if len(set(map(len, rows))) > 1:
            raise ValueError(f"the rows of {name} have several lengths; ask for padding=True")
    return {name: np.array(rows, np.int64) for name, rows in batch.items()}
