"""Checkpoints damaged in thousands of ways: each loads, or is refused as documented, and soon.

Bytes are flipped, cut, inserted and repeated anywhere in any file; values in the JSON files and
headers are replaced by ones that somebody hostile might choose. (A flipped bit inside an array
cannot be noticed: the format has no checksum.)
"""

import copy
import json
import random
import shutil
import struct
import time
import tracemalloc
import warnings
from pathlib import Path

import pytest

import tinyqwen as tq

SOURCE = Path(__file__).resolve().parent / "fixtures" / "tiny_model"
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
    content = file.read_bytes()
    if r.random() < 0.4:
        return damage_bytes(content, r)
    header = b""
    if file.suffix == ".safetensors":
        length = int.from_bytes(content[:8], "little")
        header, content, rest = content[:8], content[8 : 8 + length], content[8 + length :]
    value = json.loads(content)
    for _ in range(r.choice([1, 1, 3])):
        value = damage_json(value, r)
    content = json.dumps(value).encode()
    return struct.pack("<Q", len(content)) + content + rest if header else content


@pytest.mark.parametrize(
    ("first", "number"), [(0, 300), pytest.param(1000, 12_000, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(1200)
def test_damaged_checkpoints(tmp_path, first, number):
    folder = tmp_path / "damaged"
    shutil.copytree(SOURCE, folder)
    files, outcomes = sorted(SOURCE.iterdir()), {"loaded": 0, "refused": 0}
    for seed in range(first, first + number):
        r = random.Random(seed)
        file = folder / r.choice(files).name
        before = file.read_bytes()
        file.write_bytes(damage(file, r))
        tracemalloc.start()
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                model = tq.Qwen2ForCausalLM.from_pretrained(folder)
            assert model.num_parameters() == sum(p.data.size for p in model.parameters())
            assert all(tq.nn.has_memory(p) for p in model.parameters())
            outcomes["loaded"] += 1
        except (ValueError, FileNotFoundError) as error:
            assert str(folder) in str(error), f"seed {seed}: {error!r}"
            assert "\n" not in str(error), f"seed {seed}: {error!r}"
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, {file.name}") from error
        seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 10 and peak < 50e6, f"seed {seed}: {seconds:.1f} s, {peak / 1e6:.0f} MB"
        file.write_bytes(before)
    assert min(outcomes.values()) > number / 20, outcomes
