"""Weights in one file and in shards, by hand: where the cuts fall, what is deleted, and when."""

import json
import re

import numpy as np
import pytest

from tinyqwen.storage import safetensors
from tinyqwen.storage.checkpoint import find_weights, read_size, write_weights


def arrays_of(**sizes):
    """{name: float32 array of so many bytes}, each with its own numbers."""
    return {
        name: np.arange(size // 4, dtype=np.float32) + 100 * i
        for i, (name, size) in enumerate(sizes.items())
    }


def test_rows_of_an_array_have_a_place_of_their_own(tmp_path):
    array = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    safetensors.save(tmp_path / "file", {"a": array})
    whole = safetensors.read_header(tmp_path / "file")[0]["a"]
    part = whole.rows(2, 4)
    assert (part.shape, part.start) == ((2, 2, 3), whole.start + 2 * 24)
    stored = (tmp_path / "file").read_bytes()[part.start : part.start + part.nbytes]
    assert stored == array[2:4].tobytes()


def written(folder, arrays, limit):
    """[names in each shard], in the shards' order."""
    folder.mkdir(exist_ok=True)
    write_weights(folder, arrays, limit)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [list(safetensors.load(folder / "model.safetensors")[0])]
    weight_map = json.loads(index.read_text())["weight_map"]
    assert list(weight_map) == list(arrays)
    files = list(dict.fromkeys(weight_map.values()))
    shards = [list(safetensors.load(folder / file)[0]) for file in files]
    assert {name: files[i] for i, shard in enumerate(shards) for name in shard} == weight_map
    return shards


@pytest.mark.parametrize(
    "limit, shards",
    [
        (80, [["a", "b", "c", "d"]]),  # exactly full is not too full
        (79, [["a", "b", "c"], ["d"]]),
        (40, [["a", "b"], ["c"], ["d"]]),
        (39, [["a", "b"], ["c"], ["d"]]),
        (32, [["a", "b"], ["c"], ["d"]]),
        (31, [["a"], ["b"], ["c"], ["d"]]),
        (1, [["a"], ["b"], ["c"], ["d"]]),  # an array is never cut
    ],
)
def test_where_the_cuts_fall(tmp_path, limit, shards):
    arrays = arrays_of(a=8, b=24, c=16, d=32)
    assert written(tmp_path, arrays, limit) == shards
    found = find_weights(tmp_path)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        out = np.empty_like(array)
        safetensors.read_into([(found[name], out)])
        np.testing.assert_array_equal(out, array)


def test_names_sizes_and_metadata_are_those_of_transformers(tmp_path):
    written(tmp_path, arrays_of(a=8, b=24, c=16), 24)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 48}
    for name in names[:3]:
        assert safetensors.load(tmp_path / name)[1] == {"format": "pt"}


def test_what_the_new_weights_do_not_need_goes_away(tmp_path):
    """One file after shards, shards after one file, shards after shards; strangers stay."""
    strangers = ["model-notes.safetensors", "model-1-of-2.safetensors", "other.safetensors"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"x")

    def ours():
        return {file.name for file in tmp_path.iterdir()} - {*strangers}

    arrays = arrays_of(a=8, b=24)
    written(tmp_path, arrays, 24)
    first = ours()
    assert len(first) == 3
    written(tmp_path, arrays, 24)  # never over a shard that a reader may have open
    assert len(ours()) == 3 and ours() & first == {"model.safetensors.index.json"}
    assert all(re.fullmatch(r"model(-[0-9a-f]{8})?-\d{5}-of-\d{5}.*|.*json", f) for f in ours())
    written(tmp_path, arrays, 99)
    assert ours() == {"model.safetensors"}
    written(tmp_path, arrays, 24)
    assert "model.safetensors" not in ours() and len(ours()) == 3
    assert {file.name for file in tmp_path.iterdir()} >= {*strangers}


def test_one_file_is_looked_at_before_the_index(tmp_path):
    arrays = arrays_of(a=8, b=24)
    written(tmp_path, arrays, 24)
    safetensors.save(tmp_path / "model.safetensors", arrays_of(z=4))
    assert list(find_weights(tmp_path)) == ["z"]


@pytest.mark.parametrize(
    "size, number",
    [
        (5000, 5000),
        ("5000", 5000),
        ("1B", 1),
        ("2 KB", 2000),
        ("3k", 3000),
        ("200MB", 200_000_000),
        ("5gb", 5_000_000_000),
        (" 1TB ", 10**12),
    ],
)
def test_sizes(size, number):
    assert read_size(size) == number


@pytest.mark.parametrize("size", [0, "0GB", "-5", "1.5GB", "GB", "", "5 XB", "5GBs", None])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="max_shard_size must be bytes"):
        read_size(size)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 64])
def test_arrays_are_compared_to_their_last_byte(tmp_path, monkeypatch, length):
    monkeypatch.setattr(safetensors, "PIECE", 16)
    one = np.arange(length, dtype=np.uint8)
    arrays = {"before": np.zeros(3, np.uint8), "one": one, "same": one.copy()}
    for place in {0, length // 2, length - 1}:
        other = one.copy()
        other[place] ^= 1
        arrays[f"differs at {place}"] = other
    arrays |= {"shape": one.reshape(1, -1), "type": one.view(np.int8)}
    wide = np.arange(length, dtype=np.float64)  # eight bytes each
    arrays |= {"wide": wide, "wide differs": wide.copy()}
    arrays["wide differs"][-1] += 1
    safetensors.save(tmp_path / "a.safetensors", arrays)
    entries, _ = safetensors.read_header(tmp_path / "a.safetensors")
    same = {name for name in arrays if safetensors.same_bytes(entries["one"], entries[name])}
    assert same == {"one", "same"}
    assert safetensors.same_bytes(entries["same"], entries["one"])
    assert not safetensors.same_bytes(entries["wide"], entries["wide differs"])


def handmade(path, stored, dtype, shape):
    """A file with one array "a" of these raw numbers, written byte by byte."""
    header = {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, stored.nbytes]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + stored.tobytes())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_bfloat16(tmp_path, dtype):
    """All 65,536 of them: the upper half of a float32, whatever it is read into."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    handmade(tmp_path / "x", bits, "BF16", [256, 256])
    (entry,) = safetensors.read_header(tmp_path / "x")[0].values()
    out = np.empty((256, 256), dtype)
    not_finite = safetensors.read_into([(entry, out)])
    with np.errstate(invalid="ignore"):
        expected = (bits.astype(np.uint32) << 16).view(np.float32).reshape(256, 256).astype(dtype)
    np.testing.assert_array_equal(out, expected)
    assert np.array_equal(np.signbit(out), np.signbit(expected)) and not_finite == {"a"}


@pytest.mark.parametrize("dtype, code", [("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8")])
def test_what_is_not_finite_is_named(tmp_path, dtype, code):
    values = np.ones(6, code)
    for place, value, names in ((0, 1.0, set()), (5, np.nan, {"a"}), (0, -np.inf, {"a"})):
        values[place] = value
        handmade(tmp_path / "x", values, dtype, [2, 3])
        (entry,) = safetensors.read_header(tmp_path / "x")[0].values()
        assert safetensors.read_into([(entry, np.empty((2, 3), np.float64))]) == names
        values[place] = 1


def test_pieces_are_read_to_their_places_and_told(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(safetensors, "PIECE", 7)
    arrays = {"a": rng.standard_normal((3, 5)), "b": rng.standard_normal(7), "c": np.zeros((0, 2))}
    safetensors.save(tmp_path / "x", arrays)
    entries, told = safetensors.read_header(tmp_path / "x")[0], []
    out = {name: np.empty_like(array) for name, array in arrays.items()}
    safetensors.read_into([(entries[n], out[n]) for n in arrays], told.append)
    for name, array in arrays.items():
        np.testing.assert_array_equal(out[name], array)
    assert sorted(told) == [8, 56, 56, 56]
    part = np.empty((2, 5))
    safetensors.read_into([(entries["a"].rows(1, 3), part)])
    np.testing.assert_array_equal(part, arrays["a"][1:])


@pytest.mark.parametrize("cores, threads", [(None, 1), (1, 1), (3, 3), (64, 4)])
def test_as_many_threads_read_as_there_are_cores_up_to_four(cores, threads, tmp_path, monkeypatch):
    asked, pool = [], safetensors.ThreadPoolExecutor
    monkeypatch.setattr(safetensors.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(safetensors, "ThreadPoolExecutor", lambda n: asked.append(n) or pool(n))
    safetensors.save(tmp_path / "x", {"a": np.zeros(2)})
    safetensors.load(tmp_path / "x")
    assert asked == [threads]


def test_a_file_is_as_others_may_read_it(tmp_path):
    """As any file that this process makes, and not for its owner alone."""
    safetensors.save(tmp_path / "x", {"a": np.zeros(2)})
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


@pytest.mark.parametrize("turn", [
    lambda a: a.T, lambda a: a[::2], lambda a: a[:, ::-1], lambda a: a.astype(">f4"),
    lambda a: np.broadcast_to(a[:1], a.shape), lambda a: np.asfortranarray(a),
])  # fmt: skip
def test_any_layout_is_written_right(tmp_path, turn, rng):
    array = turn(rng.standard_normal((4, 6)).astype(np.float32))
    safetensors.save(tmp_path / "x", {"a": array})
    np.testing.assert_array_equal(safetensors.load(tmp_path / "x")[0]["a"], array)
