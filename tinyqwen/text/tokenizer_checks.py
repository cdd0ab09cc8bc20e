"""What is checked of a tokenizer's files and texts, before the library in Rust sees them.

A tokenizer.json is a program of sorts, written by a stranger: it may have the library panic, or ask
it for more memory than there is, which ends the process.
"""

import json
from contextlib import contextmanager
from pathlib import Path

from tinyqwen.storage.files import MAX_JSON_BYTES


def refuse_broken_merges(parts) -> None:
    """Raise ValueError if the prefix of later pieces does not stand before every one of them.

    parts: tokenizer.json's content. The library cuts as many bytes off each merge's second piece as
    the prefix has characters, whatever they are; half a character is left, and ends the process.
    """
    model = parts.get("model") if isinstance(parts, dict) else None
    prefix = model.get("continuing_subword_prefix") if isinstance(model, dict) else None
    if not prefix or not isinstance(prefix, str):
        return
    merges = model.get("merges")
    for merge in merges if isinstance(merges, list) else ():
        pair = merge.split(" ") if isinstance(merge, str) else merge
        second = pair[1] if isinstance(pair, list) and len(pair) == 2 else None
        if not (prefix.isascii() and isinstance(second, str) and second.startswith(prefix)):
            raise ValueError(f"continuing_subword_prefix {prefix!r:.40} does not fit its merges")


MAX_GROWTH = 1000  # Unicode's own compatibility forms make a character 18 times as long, at most


def refuse_growth(backend) -> None:
    """Raise ValueError if its rules can make a text more than MAX_GROWTH times as long.

    Twelve replacements of "a" by ten of them make "a" a million million characters.
    """
    for name in ("normalizer", "decoder", "post_processor"):
        part = getattr(backend, name)
        if part is not None and (growth := _growth(json.loads(part.__getstate__()))) > MAX_GROWTH:
            raise ValueError(f"its {name} can make a text {growth:.3g} times as long")


def _growth(rule: dict) -> float:
    """How many times as long a text can become."""
    if rule["type"] == "Replace":
        text = rule["pattern"].get("String")
        if not text:  # a regular expression may match between any two characters
            return 1.0 + len(rule["content"])
        return max(1.0, len(rule["content"]) / len(text))
    if rule["type"] == "TemplateProcessing":
        return float(sum("Sequence" in piece for piece in rule["single"]))
    growth = 1.0
    for key in ("normalizers", "decoders", "processors"):
        for part in rule.get(key, ()):
            growth *= max(1.0, _growth(part))
    return growth


@contextmanager
def library_errors(what: str):
    """Turn whatever the Rust library throws into a ValueError of one line."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # its panics are no Exception
        raise ValueError(f"{what}: {' '.join(str(error).split())[:300]}") from None


def check_text(text) -> None:
    """Raise TypeError for what is no str, ValueError for half a surrogate pair in it."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a str; got {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text holds half a surrogate pair at position {error.start}, which is no character"
        ) from None


def template_of(config: dict) -> str | dict[str, str] | None:
    """The chat template out of a config: text, or several by name."""
    value = config.get("chat_template")
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        value = {entry.get("name"): entry.get("template") for entry in value}
    texts = [*value, *value.values()] if isinstance(value, dict) else [value]
    if value is not None and not all(isinstance(text, str) for text in texts):
        raise ValueError(f"chat_template must be text, or texts by name; got {value!r:.80}")
    return value


def read_whole(path: Path) -> str:
    """The text of a UTF-8 file."""
    with path.open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"{path} is longer than {MAX_JSON_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start})") from None
