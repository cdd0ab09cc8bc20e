"""How a tokenizer is learned from text: the four kinds, and the stream of text they read."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tinyqwen.text import library_training
from tinyqwen.text.chat_template import CHATML
from tinyqwen.text.documents import read_text

# Qwen2's pre-tokenization; `tinyqwen.text.bpe.pretokenize` explains it part by part.
BPE_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Words, each with the space before it, and one by one what is written without spaces.
_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}"
WORD_PATTERN = (
    rf"[{_SPACELESS}]| ?(?:(?![{_SPACELESS}])[\p{{L}}\p{{M}}])+(?:'\p{{L}}+)?"
    r"|\p{N}| ?[^\s\p{L}\p{M}\p{N}]|\s"
)
CHAT_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDPIECE_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TRANSLATION_TOKENS = ["<pad>", "</s>", "<unk>"]
MARKS = {
    "bpe": CHAT_TOKENS,
    "wordpiece": WORDPIECE_TOKENS,
    "word": TRANSLATION_TOKENS,
    "char": ["<unk>", *CHAT_TOKENS],
}
KINDS = tuple(MARKS)
USUAL_SIZE = 512  # of bpe and wordpiece, where none is asked for

# A merge within a word takes time that grows with the word, so a megabyte without a space would
# take hours. Nothing in it is lost but the pairs at the cuts.
LONGEST_WORD = 256
_LONG = re.compile(rf"\S{{{LONGEST_WORD}}}(?=\S)|\s{{{LONGEST_WORD}}}(?=\s)")


def texts_of(files_or_texts) -> Iterator[str]:
    """The texts among `Tokenizer.train`'s files_or_texts, and those in the files."""
    if isinstance(files_or_texts, (str, os.PathLike)):
        files_or_texts = [files_or_texts]
    for item in files_or_texts:
        if isinstance(item, os.PathLike) or (isinstance(item, str) and _names_a_file(item)):
            yield from read_text(item)
        elif isinstance(item, str):
            yield item
        else:
            raise TypeError(f"train takes paths and texts; got {type(item).__name__}")


def _names_a_file(text: str) -> bool:
    if len(text) > 4096 or "\n" in text or "\0" in text:
        return False
    if os.path.isfile(text):
        return True
    # "stories.txt" where there is none: more likely a mistake than a text to learn from.
    if re.search(r"^(~|\.{0,2})/\S+$|^.{1,250}\.(txt|md|csv|jsonl?)$", text):
        raise FileNotFoundError(f"{text} is no file (if it is a text, end it with a space)")
    return False


def _stream(texts, marks: list[str], progress: bool) -> Iterator[str]:
    """Pieces without the special tokens written in them, which are no text to learn from."""
    from tqdm import tqdm  # a third of the time of `import tinyqwen`

    boundary = re.compile("|".join(map(re.escape, marks)))
    total = 0
    with tqdm(
        desc="reading", unit="char", unit_scale=True, disable=not progress, leave=False
    ) as bar:
        for piece in texts:
            bar.update(len(piece))
            for text in boundary.split(piece):
                total += len(text)
                start = 0
                for match in _LONG.finditer(text):
                    yield text[start : match.end()]
                    start = match.end()
                if text[start:]:
                    yield text[start:]
    if not total:
        raise ValueError("there is no text to train a tokenizer on: the files or texts are empty")


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int | None,
    kind: str,
    min_frequency: int = 1,
    progress: bool | None = None,
) -> tuple[tokenizers.Tokenizer, dict]:
    """Learn a vocabulary; returns the library's tokenizer and tokenizer_config.json's content.

    texts: pieces of text, read as a stream, none of them a path (those go through `texts_of`).
    Other arguments and errors: `tinyqwen.text.tokenizer.Tokenizer.train`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    if vocab_size is not None and (isinstance(vocab_size, bool) or vocab_size != int(vocab_size)):
        raise TypeError(f"vocab_size must be an integer; got {vocab_size!r}")
    progress = sys.stderr.isatty() if progress is None else progress
    marks = MARKS[kind]
    train = {"bpe": _train_bpe, "wordpiece": _train_wordpiece, "word": _train_words}
    backend, roles = train.get(kind, _train_char)(
        _stream(texts, marks, progress), vocab_size, min_frequency, progress
    )
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    # transformers' named classes would put a pre-tokenizer of their own in the place of the file's.
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "unk_token": None,
        **roles,
        "additional_special_tokens": [mark for mark in marks if mark not in roles.values()],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
    }
    if "<|im_start|>" in marks:
        config["chat_template"] = CHATML
    return backend, config


def between_marks(begin: tuple[str, int], end: tuple[str, int]) -> processors.TemplateProcessing:
    """BERT's template: [CLS] text [SEP], and [CLS] text [SEP] second text [SEP] for a pair."""
    return processors.TemplateProcessing(
        single=f"{begin[0]} $A {end[0]}",
        pair=f"{begin[0]} $A {end[0]} $B:1 {end[0]}:1",
        special_tokens=[begin, end],
    )


def _refuse_size(asked: int, achieved: int) -> None:
    raise ValueError(
        f"vocab_size {asked} asked for, but this text supports only {achieved} tokens: "
        f"ask for at most {achieved} or give more text"
    )


def _with_vocabulary(backend: tokenizers.Tokenizer, vocabulary: dict) -> tokenizers.Tokenizer:
    parts = json.loads(backend.to_str())
    parts["model"]["vocab"] = vocabulary
    parts["added_tokens"] = []
    return tokenizers.Tokenizer.from_str(json.dumps(parts))


def _train_bpe(texts, vocab_size, min_frequency, progress):
    smallest = 256 + len(CHAT_TOKENS)
    asked = vocab_size is not None
    vocab_size = vocab_size if asked else USUAL_SIZE
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size is {vocab_size}; 256 bytes and {len(CHAT_TOKENS)} special tokens "
            f"need at least {smallest}"
        )
    byte_level = {"add_prefix_space": False, "use_regex": False}
    backend = tokenizers.Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(BPE_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(trim_offsets=False, **byte_level),
        ]
    )
    backend.post_processor = processors.ByteLevel(trim_offsets=False, **byte_level)
    backend.decoder = decoders.ByteLevel(trim_offsets=False, **byte_level)
    options = {
        "vocab_size": vocab_size - len(CHAT_TOKENS),
        "min_frequency": min_frequency,
        "initial_alphabet": sorted(pre_tokenizers.ByteLevel.alphabet()),
        "show_progress": progress,
    }
    backend = library_training.train(backend, "BpeTrainer", options, texts)
    # The special tokens come last, as in Qwen2: ids 0 to 255 are the bytes.
    vocabulary = backend.get_vocab()
    vocabulary |= {mark: len(vocabulary) + i for i, mark in enumerate(CHAT_TOKENS)}
    if asked and len(vocabulary) < vocab_size:
        _refuse_size(vocab_size, len(vocabulary))
    roles = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    return _with_vocabulary(backend, vocabulary), roles


def _train_wordpiece(texts, vocab_size, min_frequency, progress):
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    # The library numbers the pieces "##x" in the order of a hash table, which differs from run to
    # run, and breaks ties by these numbers. So the words are counted here, to number them first.
    words = Counter()
    for text in texts:
        normal = backend.normalizer.normalize_str(text)
        words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal))
    _refuse_long_words(words, backend.model.max_input_chars_per_word)
    # Every character can begin a word, seen there or not: the library has it so.
    pieces = set().union(*words) | {"##" + char for word in words for char in word[1:]}
    start = WORDPIECE_TOKENS + sorted(pieces)
    asked = vocab_size is not None
    vocab_size = vocab_size if asked else max(USUAL_SIZE, len(start))
    if vocab_size < len(start):
        raise ValueError(
            f"vocab_size is {vocab_size}; this text's {len(pieces)} pieces of one character and "
            f"{len(WORDPIECE_TOKENS)} special tokens need at least {len(start)}"
        )
    options = {
        "vocab_size": vocab_size,
        "min_frequency": min_frequency,
        "special_tokens": start,
        "show_progress": progress,
    }
    learner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner = library_training.train(learner, "WordPieceTrainer", options, _repeat(words))
    vocabulary = learner.get_vocab()
    if asked and len(vocabulary) < vocab_size:
        _refuse_size(vocab_size, len(vocabulary))
    backend.post_processor = between_marks(
        *((m, WORDPIECE_TOKENS.index(m)) for m in ("[CLS]", "[SEP]"))
    )
    roles = {
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    return _with_vocabulary(backend, vocabulary), roles


def _refuse_long_words(words: Counter, longest: int) -> None:
    """A longer word is [UNK] as a whole: of a text without spaces nothing would be left."""
    length = sum(len(word) * count for word, count in words.items())
    lost = sum(len(word) * count for word, count in words.items() if len(word) > longest)
    if lost > length / 2:
        raise ValueError(
            f"most of this text is in words of more than {longest} characters, each of which "
            "wordpiece reads as one [UNK]; take bpe or char, or put spaces between the words"
        )


def _repeat(words: Counter, at_once: int = 10_000) -> Iterable[str]:
    """Each word as often as it was counted, in lines of bounded length."""
    for word, count in words.items():
        for start in range(0, count, at_once):
            yield " ".join([word] * min(at_once, count - start))


def _train_words(texts, vocab_size, min_frequency, progress):
    split = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
    normalizer = normalizers.NFC()
    counts = Counter()
    for text in texts:
        counts.update(word for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text)))
    found = _most_frequent(counts, vocab_size, min_frequency, TRANSLATION_TOKENS, "word")
    vocabulary = {token: i for i, token in enumerate(TRANSLATION_TOKENS + found)}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.normalizer = normalizer
    backend.pre_tokenizer = split
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    return backend, {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def _train_char(texts, vocab_size, min_frequency, progress):
    counts = Counter()
    for text in texts:
        counts.update(text)
    marks = MARKS["char"]
    found = _most_frequent(counts, vocab_size, min_frequency, marks, "character")
    vocabulary = {token: i for i, token in enumerate(found + marks)}
    backend = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    roles = {"eos_token": "<|endoftext|>", "unk_token": "<unk>", "pad_token": "<|endoftext|>"}
    return backend, roles


def _most_frequent(counts, vocab_size, min_frequency, marks, what) -> list[str]:
    """Those that get a token, sorted: all that are frequent enough, or as many as there is room."""
    found = sorted(counts, key=lambda one: (-counts[one], one))
    found = [one for one in found if counts[one] >= min_frequency]
    if vocab_size is not None:
        if vocab_size <= len(marks):
            raise ValueError(
                f"vocab_size is {vocab_size}; {len(marks)} special tokens and one {what} "
                f"need at least {len(marks) + 1}"
            )
        if len(found) + len(marks) < vocab_size:
            _refuse_size(vocab_size, len(found) + len(marks))
        found = found[: vocab_size - len(marks)]
    return sorted(found)
