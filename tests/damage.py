"""Damage done to files: bytes anywhere, and values in JSON that somebody hostile might choose."""

import copy
import json
import struct

HOSTILE = [
    *(None, True, False, 0, 1, -1, 2, 3, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e999),
    *(float("nan"), "", "a", "../config.json", "/etc/passwd", "\0", "\ud800", "BF16", "x" * 10_000),
    *([], {}, [[]], [None], [0], [-1, -1], [2**62, 2**62], {"a": 1}, {"rope_type": []}),
    [0] * 1000,
]


def damage_bytes(content, r):
    """A few bytes changed, removed, added, or repeated."""
    content = bytearray(content)
    for _ in range(r.choice([1, 1, 2, 10])):
        place = r.randrange(len(content) + 1)
        end = place + r.choice([1, 2, 8, 100])
        kind = r.randrange(6)
        if kind == 0 and place < len(content):
            content[place] ^= 1 << r.randrange(8)
        elif kind == 1:
            content[place:end] = r.randbytes(end - place)
        elif kind == 2:
            del content[place:end]
        elif kind == 3:
            content[place:place] = r.randbytes(end - place)
        elif kind == 4:
            content[place:place] = content[place:end] * r.choice([1, 2, 100])
        else:
            content[place:place] = r.choice([b"[", b'{"a":', b"9", b'"', b"\xff"]) * r.choice(
                [1, 10, 10_000]
            )
    return bytes(content[: r.randrange(len(content) + 1)]) if r.random() < 0.2 else bytes(content)


def damage_json(value, r):
    """A value somewhere inside replaced, removed, or added."""
    if isinstance(value, dict) and value and r.random() < 0.9:
        key = r.choice(sorted(value))
        if r.random() < 0.1:
            value.pop(key)
        elif r.random() < 0.05:
            value[r.choice(["", "a", "model.norm.weight", "../a"])] = copy.deepcopy(
                r.choice(HOSTILE)
            )
        else:
            value[key] = damage_json(value[key], r)
        return value
    if isinstance(value, list) and value and r.random() < 0.7:
        place = r.randrange(len(value))
        value[place] = damage_json(value[place], r)
        return value
    return copy.deepcopy(r.choice(HOSTILE))


def damage(file, r):
    """The content of a file, damaged: its bytes, or, if it has JSON in it, the values there."""
    content = file.read_bytes()
    if r.random() < 0.4 or file.suffix not in (".json", ".jsonl", ".safetensors"):
        return damage_bytes(content, r)
    if file.suffix == ".jsonl":
        lines = content.splitlines()
        place = r.randrange(len(lines))
        lines[place] = json.dumps(damage_json(json.loads(lines[place]), r)).encode()
        return b"\n".join(lines)
    header = b""
    if file.suffix == ".safetensors":
        length = int.from_bytes(content[:8], "little")
        header, content, rest = content[:8], content[8 : 8 + length], content[8 + length :]
    value = json.loads(content)
    for _ in range(r.choice([1, 1, 3])):
        value = damage_json(value, r)
    content = json.dumps(value).encode()
    return struct.pack("<Q", len(content)) + content + rest if header else content
