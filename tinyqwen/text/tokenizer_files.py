"""A tokenizer's files in a Hugging Face folder, read and written.

Read are, the first that is there of

- tokenizer.json: every kind, with all its settings;
- source.spm, target.spm, vocab.json: the two sentencepiece models of a Marian translator;
- vocab.txt: the pieces of BERT's WordPiece, one a line;

and with it tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja
and additional_chat_templates/*.jinja. Written are tokenizer.json (or Marian's three files) and
tokenizer_config.json, which holds the chat templates too, for readers old and new.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tinyqwen.storage.files import file_in, make_folder, read_json, write_json, write_text
from tinyqwen.text.added_tokens import merge_old_files, token_text
from tinyqwen.text.sentencepiece_backend import SentencePieceBackend
from tinyqwen.text.tokenizer_checks import library_errors, read_whole, refuse_broken_merges
from tinyqwen.text.tokenizer_training import between_marks

TEMPLATE, TEMPLATES = "chat_template.jinja", "additional_chat_templates"


def read(path: str | os.PathLike):
    """(backend, tokenizer_config.json's content) of a folder.

    Raises FileNotFoundError, and ValueError naming the file that is not what it should be.
    """
    folder = Path(path)
    config = merge_old_files(
        _json(folder, "tokenizer_config.json"),
        _json(folder, "special_tokens_map.json"),
        _json(folder, "added_tokens.json"),
    )
    if templates := _templates(folder):
        config["chat_template"] = templates
    if (folder / "tokenizer.json").exists():
        backend = _tokenizer_json(file_in(folder, "tokenizer.json"), config)
    elif (folder / "source.spm").exists():
        config = {**_SENTENCEPIECE_ROLES, **config}
        backend = SentencePieceBackend.read(folder, config)
    elif (folder / "vocab.txt").exists():
        config = {**_WORDPIECE_ROLES, **config}
        backend = _wordpiece(file_in(folder, "vocab.txt"), config)
    else:
        backend = _tokenizer_json(file_in(folder, "tokenizer.json"), config)  # says it is missing
    return backend, config


def write(path: str | os.PathLike, backend, config: dict, chat_template) -> None:
    """Write a tokenizer into a folder; a chat template there that is no longer its own goes away.

    chat_template: text, {name: text} or None.
    """
    folder = Path(path)
    make_folder(folder)
    config = {key: value for key, value in config.items() if key != "chat_template"}
    if isinstance(chat_template, dict):
        chat_template = [{"name": k, "template": v} for k, v in chat_template.items()]
    if chat_template is not None:
        config["chat_template"] = chat_template
    if isinstance(backend, SentencePieceBackend):
        backend.write(folder)
    else:
        write_text(folder / "tokenizer.json", backend.to_str(pretty=True))
    write_json(folder / "tokenizer_config.json", config)
    for old in [folder / TEMPLATE, *(folder / TEMPLATES).glob("*.jinja")]:
        with suppress(FileNotFoundError):
            old.unlink()  # it would win over tokenizer_config.json


def copy_of(backend):
    """Another backend with the same content."""
    if isinstance(backend, SentencePieceBackend):
        return backend.copy()
    return tokenizers.Tokenizer.from_str(backend.to_str())


def _json(folder: Path, name: str) -> dict:
    return read_json(file_in(folder, name)) if (folder / name).exists() else {}


def _templates(folder: Path) -> str | dict | None:
    """The folder's templates, which win over those in tokenizer_config.json."""
    found = {}
    if (folder / TEMPLATE).exists():
        found["default"] = read_whole(file_in(folder, TEMPLATE))
    for file in sorted((folder / TEMPLATES).glob("*.jinja")):
        found[file.stem] = read_whole(file_in(folder / TEMPLATES, file.name))
    return found.get("default") if set(found) <= {"default"} else found


def _tokenizer_json(file: Path, config: dict) -> tokenizers.Tokenizer:
    source = read_whole(file)
    with library_errors(f"{file} is not a tokenizer that the `tokenizers` library can read"):
        parts = json.loads(source)
        refuse_broken_merges(parts)
        if isinstance(config.get("add_prefix_space"), bool):
            _set_prefix_space(parts.get("pre_tokenizer"), config["add_prefix_space"])
            source = json.dumps(parts)
        return tokenizers.Tokenizer.from_str(source)


def _set_prefix_space(part, value: bool) -> None:
    """tokenizer_config.json's add_prefix_space wins over tokenizer.json's, as in transformers.

    Of a sequence, only in its first part: what comes later would put a space before every word.
    """
    if isinstance(part, dict) and part.get("type") == "ByteLevel":
        part["add_prefix_space"] = value
    for inner in part.get("pretokenizers", ())[:1] if isinstance(part, dict) else ():
        _set_prefix_space(inner, value)


_SENTENCEPIECE_ROLES = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_WORDPIECE_ROLES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
}


def _wordpiece(file: Path, config: dict) -> tokenizers.Tokenizer:
    """BERT's tokenizer from its vocab.txt: the id of a piece is the number of its line."""
    pieces = [line.strip() for line in read_whole(file).splitlines()]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    unknown = token_text(config, "unk_token")
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    lowercase = config.get("do_lower_case", True)
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=lowercase,
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    marks = [token_text(config, "cls_token"), token_text(config, "sep_token")]
    for mark in [*marks, unknown]:
        if mark not in vocabulary:
            raise ValueError(f"{file} has no line {mark!r}: not the vocabulary of a BERT")
    backend.post_processor = between_marks(*((mark, vocabulary[mark]) for mark in marks))
    return backend
