"""The tokens that stand beside the vocabulary: which ones a folder's files declare, and how.

They are spread over the years: tokenizer.json holds them itself; tokenizer_config.json names roles
("eos_token"), lists (`extra_special_tokens`, earlier `additional_special_tokens`) and a table by id
(`added_tokens_decoder`); before that there were special_tokens_map.json and added_tokens.json. What
tokenizer.json says of a token holds; the others add what it lacks, as in `transformers`.
"""

from tokenizers import AddedToken

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def token_text(config: dict, name: str) -> str | None:
    """A special token out of a config: written as text, as {"content": text, ...}, or null."""
    value = config.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    if (value is None or isinstance(text, str)) and text != "":
        return text
    raise ValueError(f"{name} must be text, an object with 'content', or null; got {value!r:.80}")


def merge_old_files(config: dict, special_map: dict, added: dict) -> dict:
    """tokenizer_config.json's content with that of special_tokens_map.json and added_tokens.json.

    The two are older than `added_tokens_decoder`, and are read only where that is missing.
    """
    if "added_tokens_decoder" in config:
        return config
    kind = {"__type": "AddedToken"}  # as tokenizer_config.json writes it
    config = config | {k: kind | v if isinstance(v, dict) else v for k, v in special_map.items()}
    if added:
        special = {token.content for token in _named(config)}
        config["added_tokens_decoder"] = {
            str(key): {
                "content": token,
                "normalized": token not in special,
                "special": token in special,
            }
            for token, key in added.items()
        }
    return config


def add_declared_tokens(backend, config: dict) -> None:
    """Give a `tokenizers.Tokenizer` the tokens that a config declares and its vocabulary lacks.

    First those of `added_tokens_decoder` in the order of their ids, then the roles, then the lists.
    A token that the vocabulary has already, as a plain one, keeps its id and is from now on matched
    before all else. Raises ValueError for what is no token.
    """
    declared = config.get("added_tokens_decoder", {})
    if not isinstance(declared, dict) or not all(str(key).isdecimal() for key in declared):
        raise ValueError("added_tokens_decoder must be a JSON object from ids to tokens")
    named = _named(config)
    roles = {token.content for token in named}
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    tokens = [_token(declared[key], f"added token {key}") for key in sorted(declared, key=int)]
    for token in tokens:
        token.special = token.special or token.content in roles
    for token in [*tokens, *named]:
        if token.content not in known:
            backend.add_tokens([token])
            known.add(token.content)


def _named(config: dict) -> list[AddedToken]:
    """The special tokens of a config: roles, those of a model's own ("image_token"), and lists."""
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    own = [key for key in config if key.endswith("_token") and isinstance(config[key], (str, dict))]
    entries = [(name, config.get(name)) for name in dict.fromkeys([*ROLES, *own])]
    if isinstance(extra, dict):
        entries += extra.items()
    elif isinstance(extra, list):
        entries += [("extra_special_tokens", token) for token in extra]
    else:
        raise ValueError("extra_special_tokens must be a list or an object of tokens")
    return [_token(entry, name, special=True) for name, entry in entries if entry is not None]


def _token(entry, name: str, special: bool = False) -> AddedToken:
    content = token_text({name: entry}, name)
    if content is None:
        raise ValueError(f"{name} is null; expected a token")
    flags = entry if isinstance(entry, dict) else {}
    flags = {flag: flags[flag] for flag in _FLAGS if flag in flags}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise ValueError(f"{name}: {', '.join(flags)} must be true or false")
    if special:
        flags["special"] = True
    flags.setdefault("normalized", not flags.get("special", False))
    return AddedToken(content, **flags)
