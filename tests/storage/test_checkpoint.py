"""Folders written and read: values, names, every way to be broken, and nothing half-written."""

import errno
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyqwen as tq
from tinyqwen.storage import files, safetensors
from tinyqwen.storage.checkpoint import read_config

TINY = {
    **{"vocab_size": 20, "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2},
    **{"num_attention_heads": 3, "num_key_value_heads": 1, "max_position_embeddings": 32},
}
IDS = np.array([[3, 1, 4, 1, 5, 9]])


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def make(cls=tq.Qwen2ForCausalLM, **changes):
    model = cls(tq.Qwen2Config(**{**TINY, **changes})).eval()
    for parameter in model.parameters():  # norms and biases too, so that a lost one shows
        tq.nn.normal_(parameter, 0.3)
    return model


@pytest.fixture
def saved(tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    return model, tmp_path


def write_raw(path, header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + data)


def assert_same(a, b):
    a, b = a.state_dict(), b.state_dict()
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
        assert a[name].dtype == b[name].dtype, name


# ---------------------------------------------------------------------------------------------
# There and back
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("shard_size", ["5GB", 3000, "2 KB"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saved_and_loaded(tmp_path, tied, shard_size, dtype):
    model = make(tie_word_embeddings=tied).astype(dtype)
    model.generation_config = {"temperature": 0.7}
    model.save_pretrained(tmp_path / "new" / "folder", max_shard_size=shard_size)
    loaded = tq.Qwen2ForCausalLM.from_pretrained(tmp_path / "new" / "folder", dtype=dtype)
    assert_same(model, loaded)
    written = json.loads((tmp_path / "new" / "folder" / "config.json").read_text())
    assert written["dtype"] == np.dtype(dtype).name
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    assert loaded.generation_config == {"temperature": 0.7}
    assert not loaded.training and all(p.requires_grad for p in loaded.parameters())
    assert all(p.data.flags.c_contiguous and p.data.flags.writeable for p in loaded.parameters())
    np.testing.assert_array_equal(model(IDS).logits.data, loaded(IDS).logits.data)


@pytest.mark.parametrize("stored", ["F16", "BF16", "F64", "F32"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_stored_type(tmp_path, stored, dtype):
    """Against values that NumPy decodes on its own, one number at a time for bfloat16."""
    model = make()
    model.save_pretrained(tmp_path)
    arrays, _ = safetensors.load(tmp_path / "model.safetensors")
    header, data, expected = {}, b"", {}
    for name, array in arrays.items():
        if stored == "BF16":
            bits = [struct.pack("<f", x)[2:] for x in array.reshape(-1)]
            raw = b"".join(bits)
            values = [struct.unpack("<f", b"\0\0" + b)[0] for b in bits]
            expected[name] = np.array(values).reshape(array.shape).astype(dtype)
        else:
            raw = array.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[stored])
            expected[name], raw = raw.astype(dtype), raw.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": stored, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    write_raw(tmp_path / "model.safetensors", header, data)
    loaded = tq.Qwen2ForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    for name, array in loaded.state_dict().items():
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_pieces_fit_together(tmp_path, monkeypatch, rng):
    """Arrays longer than a piece, of lengths around its multiples, read by several threads."""
    monkeypatch.setattr(safetensors, "PIECE", 64)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    sizes = (0, 1, 63, 64, 65, 128, 1000)
    arrays = {str(n): rng.standard_normal(n).astype(np.float32) for n in sizes}
    arrays["matrix"] = rng.standard_normal((17, 31)).astype(np.float64)
    safetensors.save(tmp_path / "a", arrays)
    loaded, metadata = safetensors.load(tmp_path / "a")
    assert metadata == {} and set(loaded) == set(arrays)
    for name in arrays:
        np.testing.assert_array_equal(loaded[name], arrays[name])


def test_safetensors_agrees(tmp_path, rng):
    """The reference implementation reads what we write, of any memory layout, and the reverse."""
    reference = pytest.importorskip("safetensors.numpy")
    base = rng.standard_normal((4, 6))
    arrays = {
        "transposed": base.T,
        "every second": base[::2, ::-2],
        "broadcast": np.broadcast_to(np.float32(3), (2, 3)),
        "big endian": base.astype(">f4"),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), np.float32),
        "half": base.astype(np.float16),
        "integers": np.arange(5),
        "booleans": np.array([True, False, True]),
        "ünïcode 名": np.ones(2, np.uint8),
    }
    safetensors.save(tmp_path / "ours", arrays, {"format": "pt"})
    loaded = reference.load_file(tmp_path / "ours")
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)
    contiguous = {
        name: np.array(array.tolist(), array.dtype.newbyteorder("="), order="C").reshape(
            array.shape
        )
        for name, array in arrays.items()
    }
    reference.save_file(contiguous, tmp_path / "theirs", {"step": "3"})
    loaded, metadata = safetensors.load(tmp_path / "theirs")
    assert metadata == {"step": "3"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array, err_msg=name)


def test_config_survives(tmp_path):
    """Unknown keys are kept; what describes the file is about this file."""
    values = {
        **{**TINY, "model_type": "qwen2", "rope_theta": 5e5, "torch_dtype": "bfloat16"},
        **{"my_note": [1, {"a": None}], "architectures": ["Other"], "eos_token_id": [1, 2]},
    }
    model = tq.Qwen2ForCausalLM(tq.Qwen2Config.from_dict(values))
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["my_note"] == values["my_note"] and written["eos_token_id"] == [1, 2]
    assert written["architectures"] == ["Qwen2ForCausalLM"]
    assert written["dtype"] == "float32" and "torch_dtype" not in written
    assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == 5e5
    config = tq.Qwen2ForCausalLM.from_pretrained(tmp_path).config
    assert config.rope_theta == 5e5 and config.extra["my_note"] == values["my_note"]


# ---------------------------------------------------------------------------------------------
# Heads, ties, names
# ---------------------------------------------------------------------------------------------


def test_tied_head_present(tmp_path):
    model = make(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    arrays, _ = safetensors.load(file)
    assert "lm_head.weight" not in arrays
    safetensors.save(file, {**arrays, "lm_head.weight": arrays["model.embed_tokens.weight"]})
    loaded = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert_same(model, loaded)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight

    head = arrays.pop("model.embed_tokens.weight")  # stored under the other name only
    safetensors.save(file, {**arrays, "lm_head.weight": head})
    assert_same(model, tq.Qwen2ForCausalLM.from_pretrained(tmp_path))

    safetensors.save(
        file, {**arrays, "model.embed_tokens.weight": head, "lm_head.weight": head + 1}
    )
    with pytest.warns(UserWarning, match=r"lm_head.weight and model.embed_tokens.weight are tied"):
        loaded = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    np.testing.assert_array_equal(loaded.lm_head.weight.data, head + 1)
    np.testing.assert_array_equal(loaded.model.embed_tokens.weight.data, head)
    assert loaded.config.tie_word_embeddings is False


def test_body_from_a_model_with_a_head_and_the_reverse(tmp_path):
    model = make(tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"not used by Qwen2Model: lm_head.weight$"):
        body = tq.Qwen2Model.from_pretrained(tmp_path)
    assert_same(body, model.model)

    tied = make(tie_word_embeddings=True)
    tied.model.save_pretrained(tmp_path / "body")
    assert_same(tied, tq.Qwen2ForCausalLM.from_pretrained(tmp_path / "body"))


def test_new_heads_are_named_and_initialized(tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning) as caught:
        loaded = tq.Qwen2ForTokenClassification.from_pretrained(tmp_path)
    messages = [str(w.message) for w in caught]
    assert any("not used" in m and "lm_head.weight" in m for m in messages)
    assert any("new and random" in m and "score.weight, score.bias" in m for m in messages)
    assert_same(loaded.model, model.model)
    assert (loaded.score.bias.data == 0).all()
    assert 0.005 < loaded.score.weight.data.std() < 0.05  # initializer_range is 0.02
    tq.manual_seed(0)
    loaded.save_pretrained(tmp_path / "tuned")
    assert_same(loaded, tq.Qwen2ForTokenClassification.from_pretrained(tmp_path / "tuned"))


def test_a_language_model_without_its_head_is_refused(tmp_path):
    make(tie_word_embeddings=False).model.save_pretrained(tmp_path)
    message = r"lm_head.weight is missing \(config.json says that it is a Qwen2Model\)$"
    with pytest.raises(ValueError, match=message):
        tq.Qwen2ForCausalLM.from_pretrained(tmp_path)


def test_all_that_does_not_fit_is_listed(saved):
    _, path = saved
    arrays, _ = safetensors.load(path / "model.safetensors")
    del arrays["model.norm.weight"], arrays["model.layers.1.self_attn.q_proj.bias"]
    arrays["model.layers.0.mlp.up_proj.weight"] = np.ones((3, 2), np.float32)
    arrays["model.layers.2.mlp.up_proj.weight"] = np.ones(1, np.float32)
    arrays["model.embed_tokens.weight"] = np.zeros((20, 12), np.int32)
    arrays["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)  # harmless
    safetensors.save(path / "model.safetensors", arrays)
    with pytest.raises(ValueError) as caught:
        tq.Qwen2ForCausalLM.from_pretrained(path)
    message = str(caught.value)
    for part in (
        *("model.norm.weight is missing", "model.layers.1.self_attn.q_proj.bias is missing"),
        "model.layers.0.mlp.up_proj.weight has shape (3, 2), expected (16, 12)",
        "model.layers.2.mlp.up_proj.weight is unexpected",
        "model.embed_tokens.weight has dtype I32",
    ):
        assert part in message
    assert "inv_freq" not in message and "\n" not in message and str(path) in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_load_with_a_warning(saved, bad):
    model, path = saved
    model.model.norm.weight.data[3] = bad
    model.save_pretrained(path)
    with pytest.warns(UserWarning, match=r"NaN or infinity in model.norm.weight$"):
        loaded = tq.Qwen2ForCausalLM.from_pretrained(path)
    assert_same(model, loaded)


# ---------------------------------------------------------------------------------------------
# Broken and hostile files
# ---------------------------------------------------------------------------------------------


def refused(path, match, error=(ValueError, FileNotFoundError)):
    with pytest.raises(error, match=match) as caught:
        tq.Qwen2ForCausalLM.from_pretrained(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_truncated_everywhere(saved):
    _, path = saved
    file = path / "model.safetensors"
    content = file.read_bytes()
    for length in [*range(0, 20), *range(20, len(content), 97), len(content) - 1]:
        file.write_bytes(content[:length])
        assert str(file) in refused(path, "truncated, damaged or no safetensors file")
    file.write_bytes(content + b"\0")
    assert str(file) in refused(path, "truncated, damaged or no safetensors file")


def entry(**changes):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        entry(dtype="F8_E4M3"),
        entry(dtype="P64"),
        entry(dtype=None),
        entry(dtype=["F32"]),
        entry(shape=[-2]),
        entry(shape=[-1, -2]),
        entry(shape=[2.0]),
        entry(shape=[True, 2]),
        entry(shape="2"),
        entry(shape=[1 << 40, 1 << 40]),
        entry(shape=[1 << 62] * 33),
        entry(shape=[1] * 40 + [2]),
        entry(shape=[3]),
        entry(data_offsets=[-8, 0]),
        entry(data_offsets=[8, 0]),
        entry(data_offsets=[0, 1 << 60], shape=[1 << 58]),
        entry(data_offsets=[0, 8, 8]),
        entry(data_offsets=[0]),
        entry(data_offsets=None),
        entry(data_offsets=[4, 12]),  # a gap
        {**entry(), "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},  # an overlap
        {**entry(), "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32"}},
        {"a": 7},
        {},
        [],
        "text",
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8]}, "a": 1}',
    ],
    ids=lambda value: str(value)[:40],
)
def test_headers_that_lie(tmp_path, header):
    file = tmp_path / "model.safetensors"
    write_raw(file, header, bytes(8))
    tracemalloc.start()
    with pytest.raises(ValueError) as caught:
        safetensors.load(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert peak < 60e6


@pytest.mark.parametrize("places", [(0, 4), (4, 12), (8, 0), (8, 8), (0, 0)])
def test_arrays_lie_side_by_side(tmp_path, places):
    """Lengths that add up to the file's are not enough: here two arrays of 8 bytes in 16."""
    header = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [start, start + 8]}
        for name, start in zip("ab", places)
    }
    write_raw(tmp_path / "a", header, np.arange(4, dtype=np.float32).tobytes())
    if places == (8, 0):  # in any order, though
        arrays, _ = safetensors.load(tmp_path / "a")
        assert arrays["a"].tolist() == [2, 3] and arrays["b"].tolist() == [0, 1]
    else:
        with pytest.raises(ValueError, match="damaged"):
            safetensors.load(tmp_path / "a")


@pytest.mark.parametrize("length", [0, 7, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_header_lengths_that_lie(tmp_path, length):
    file = tmp_path / "a"
    file.write_bytes(struct.pack("<Q", length)[: max(length, 8) if length < 8 else 8])
    with pytest.raises(ValueError, match=r"truncated|JSON"):
        safetensors.load(file)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_bytes_changed_at_random(tmp_path_factory, junk, place):
    """Any bytes, anywhere: the arrays as their header describes them, or ValueError."""
    file = tmp_path_factory.getbasetemp() / "fuzzed"
    safetensors.save(file, {"a": np.ones((3, 4), np.float32), "b": np.zeros(5, np.float16)})
    content = bytearray(file.read_bytes())
    content[place : place + len(junk)] = junk
    file.write_bytes(content)
    try:
        arrays, _ = safetensors.load(file)
    except ValueError as error:
        assert str(file) in str(error)
    else:
        assert sum(array.size for array in arrays.values()) <= len(content)


CONFIGS = {
    "other architecture": ({"model_type": "llama"}, "model_type is 'llama'"),
    "hidden size": ({"hidden_size": 13}, "hidden_size 13 is not divisible"),
    "kv heads": ({"num_key_value_heads": 2}, "num_attention_heads 3 is not divisible"),
    "longrope": ({"rope_scaling": {"type": "longrope"}}, "rope_type 'longrope' is not supported"),
    "yarn": ({"rope_scaling": {"type": "yarn"}}, "rope_type 'yarn' needs factor"),
    "factor": ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "factor must be at least 1"),
    "factor's kind": ({"rope_scaling": {"type": "linear", "factor": "4"}}, "factor must be a pos"),
    "llama3": (
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}},
        "rope_type 'llama3' needs high_freq_factor",
    ),
    "llama3's bands": (
        {
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0}
            | {"low_freq_factor": 4.0, "high_freq_factor": 1.0}
        },
        "low_freq_factor 4.0 must be below high_freq_factor 1.0",
    ),
    "part of a head": (
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "partial_rotary_factor is not supported",
    ),
    "rope by layer": ({"rope_parameters": {"full_attention": {"rope_theta": 1}}}, "layer type"),
    "rope list": ({"rope_parameters": [1]}, "rope_parameters must be an object"),
    "string": ({"hidden_size": "12"}, "hidden_size must be"),
    "huge": ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
    "huge number": ({"vocab_size": 10**30}, "vocab_size must be"),
    "negative": ({"head_dim": -4}, "head_dim must be"),
    "odd": ({"head_dim": 3}, "head_dim must be even"),
    "infinite": ({"initializer_range": float("inf")}, "initializer_range must be"),
    "nan": ({"rms_norm_eps": float("nan")}, "rms_norm_eps must be"),
    "text for a truth": ({"tie_word_embeddings": "false"}, "tie_word_embeddings must be true"),
    "layer types": ({"layer_types": ["full_attention", "chunked"]}, "layer_types has 'chunked'"),
    "layer types' number": ({"layer_types": ["full_attention"]}, "layer_types has 1 entries"),
    "layer types' kind": ({"layer_types": 5}, "layer_types must be a list"),
    "dropout": ({"attention_dropout": "a"}, "attention_dropout must be a number"),
    "classifier's dropout": ({"classifier_dropout": 1.5}, "classifier_dropout must be a number"),
    "pad": ({"pad_token_id": 20}, "pad_token_id 20 is not in"),
    "pad's kind": ({"pad_token_id": "a"}, "pad_token_id 'a' is not in"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs_that_cannot_be(saved, case):
    _, path = saved
    changes, match = CONFIGS[case]
    config = json.loads((path / "config.json").read_text())
    del config["head_dim"]
    if "rope_scaling" in changes:
        del config["rope_parameters"]
    (path / "config.json").write_text(json.dumps({**config, **changes}))
    message = refused(path, match, ValueError)
    assert message.startswith(str(path / "config.json"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "7",
        '{"a":' * 100_000,
        '{"a": 1, "a": 2}',
        "\ud800",
        '{"a": 1' + "0" * 39 + "}",
    ],
)
def test_config_that_is_no_object(saved, content):
    _, path = saved
    (path / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert refused(path, "JSON", ValueError).startswith(str(path / "config.json"))


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\b", "a\0b", 7],
)
def test_index_that_points_elsewhere(tmp_path, name):
    make().save_pretrained(tmp_path / "in", max_shard_size=3000)
    safetensors.save(tmp_path / "outside.safetensors", {"lm_head.weight": np.ones(3)})
    index = tmp_path / "in" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lm_head.weight"] = name
    index.write_text(json.dumps(content))
    refused(tmp_path / "in", "is not the name of a file|no weight_map", ValueError)


@pytest.mark.parametrize("weight_map", [None, [], "a", {"a": None}])
def test_index_without_a_map(tmp_path, weight_map):
    make().save_pretrained(tmp_path, max_shard_size=3000)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(tmp_path, "has no weight_map", ValueError)


def test_shards_that_are_missing_or_lack_an_array(tmp_path):
    make().save_pretrained(tmp_path, max_shard_size=3000)
    shard = sorted(tmp_path.glob("model-00002-of-*"))[0]
    arrays, _ = safetensors.load(shard)
    lost, *_ = arrays
    safetensors.save(shard, {name: arrays[name] for name in arrays if name != lost})
    refused(tmp_path, f"not found: {lost} in {shard.name}", ValueError)
    shard.unlink()
    assert str(shard) in refused(tmp_path, "no such file", FileNotFoundError)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json"])
def test_links_out_of_the_folder(tmp_path, name):
    model = make()
    model.generation_config = {"top_k": 5}
    model.save_pretrained(tmp_path / "in")
    (tmp_path / "in" / name).rename(tmp_path / name)
    (tmp_path / "in" / name).symlink_to(tmp_path / name)
    refused(tmp_path / "in", "leads out of the folder", ValueError)


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
def test_links_of_the_hubs_cache_are_followed(tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in (tmp_path / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    (tmp_path / "main").symlink_to(snapshot)
    assert_same(model, tq.Qwen2ForCausalLM.from_pretrained(tmp_path / "main"))


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "config.json"])
def test_nothing_is_unpickled(saved, name, monkeypatch):
    _, path = saved
    monkeypatch.chdir(path)
    (path / "model.safetensors").unlink()
    (path / name).write_bytes(pickle.dumps(Trap()))
    refused(path, "convert it|truncated|JSON", ValueError)
    assert not (path / "sprung").exists()


def test_what_is_not_there(tmp_path):
    refused(tmp_path / "nowhere", "no such folder .*hf download", FileNotFoundError)
    refused(tmp_path, "config.json: there is no such file", FileNotFoundError)
    make().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    refused(tmp_path, r"no model\.safetensors", FileNotFoundError)
    for dtype in (np.int32, "auto", "bfloat16", None):
        with pytest.raises(ValueError, match="dtype must be float32 or float64"):
            tq.Qwen2ForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    with pytest.raises(ValueError, match="max_shard_size"):
        make().save_pretrained(tmp_path, max_shard_size="a lot")
    with tq.nn.empty_parameters():
        model = tq.Qwen2ForCausalLM(tq.Qwen2Config(**TINY))
    with pytest.raises(ValueError, match="nothing to save"):
        model.save_pretrained(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("dtype", [np.float64, float, "float64", np.dtype("float64")])
def test_a_dtype_has_several_names(saved, dtype):
    _, path = saved
    model = tq.Qwen2ForCausalLM.from_pretrained(path, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    model = tq.Qwen2ForCausalLM.from_pretrained(path, dtype="float32")
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_the_bar_of_loading_ends_full(saved, monkeypatch):
    """It counts the bytes of all files, and is shown where there are many."""
    shown = []

    def bar(total, **form):
        shown.append([total])
        return nullcontext(SimpleNamespace(update=shown[-1].append))

    monkeypatch.setattr("tqdm.tqdm", bar)
    model, path = saved
    tq.Qwen2ForCausalLM.from_pretrained(path)
    assert not shown
    monkeypatch.setattr("tinyqwen.models.pretrained.BAR_BYTES", 1)
    tq.Qwen2ForCausalLM.from_pretrained(path)
    ((total, *told),) = shown
    assert total == sum(told) == 4 * sum(p.data.size for p in model.parameters())


def test_config_file_by_itself(saved):
    _, path = saved
    assert read_config(path / "config.json", tq.Qwen2Config) == read_config(path, tq.Qwen2Config)


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[1]", '"text"', '{"hidden_size": 0}', '{"hidden_size": "a"}', '{"vocab_size": {}}'),
        *('{"rope_scaling": 3}', '{"hidden_size": 15, "num_attention_heads": 2}'),
        *('{"rope_scaling": {"rope_type": "none such"}}', '{"num_labels": 0}', "\xff"),
    ],
)
def test_a_wrong_config_is_told_with_its_file_once(tmp_path, content):
    file = tmp_path / "config.json"
    file.write_bytes(content.encode("latin-1"))
    for path in (file, tmp_path):
        with pytest.raises(ValueError) as error:
            read_config(path, tq.Qwen2Config)
        told = str(error.value)
        assert told.startswith(f"{file}: ") and told.count(str(tmp_path)) == 1
        assert len(told) > len(f"{file}: ") + 5 and "\n" not in told


def test_a_folder_holds_its_weights_once(tmp_path):
    """Else transformers, which looks for one file first, would open the old ones."""
    for size in ("5GB", 3000, 2000, "5GB", 2000, 3000):
        model = make()
        model.save_pretrained(tmp_path, max_shard_size=size)
        found = {file.name for file in tmp_path.glob("*.safetensors*")}
        if size == "5GB":
            assert found == {"model.safetensors"}
        else:
            index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
            assert found == {"model.safetensors.index.json", *index["weight_map"].values()}
            assert len(found) > 2
        again = tq.Qwen2ForCausalLM.from_pretrained(tmp_path).state_dict()
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(again[name], array)


def test_a_folder_keeps_nothing_of_the_model_before(tmp_path):
    """How one model writes is not how the next one does that is saved over it."""
    model = make()
    model.generation_config = {"temperature": 0.3}
    model.save_pretrained(tmp_path)
    assert tq.Qwen2ForCausalLM.from_pretrained(tmp_path).generation_config["temperature"] == 0.3
    make().save_pretrained(tmp_path)
    assert not tq.Qwen2ForCausalLM.from_pretrained(tmp_path).generation_config


# ---------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------


class Crash:
    """Lets `after` calls of the wrapped functions through and then none, as a dead process."""

    def __init__(self, after):
        self.left = after

    def wrap(self, call):
        def wrapped(*args, **kwargs):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return call(*args, **kwargs)

        return wrapped


@pytest.mark.parametrize(
    "sizes", [("5GB", "5GB"), ("5GB", 3000), (3000, "5GB"), (3000, 2000), (3000, 3000)]
)
def test_a_crash_leaves_the_old_weights_or_the_new(tmp_path, monkeypatch, sizes):
    """The save dies before each of its renames and deletions in turn."""
    old, new, seen = make(), make(), set()
    for steps in range(100):
        folder = tmp_path / str(steps)
        old.save_pretrained(folder, max_shard_size=sizes[0])
        crash = Crash(steps)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", crash.wrap(os.replace))
            patch.setattr(Path, "unlink", crash.wrap(Path.unlink))
            with suppress(KeyboardInterrupt):
                new.save_pretrained(folder, max_shard_size=sizes[1])
        loaded = tq.Qwen2ForCausalLM.from_pretrained(folder)
        is_new = (loaded.model.norm.weight.data == new.model.norm.weight.data).all()
        assert_same(loaded, new if is_new else old)
        seen.add(bool(is_new))
        if crash.left >= 0:  # it came to its end
            break
    assert is_new and seen == {False, True}
    referred = {"config.json"}  # nothing of the old save is left lying about
    if isinstance(sizes[1], str):
        referred.add("model.safetensors")
    else:
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        referred |= {"model.safetensors.index.json", *index["weight_map"].values()}
    assert {file.name for file in folder.iterdir()} == referred


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_leaves_the_old_file(saved, monkeypatch, number):
    _, path = saved
    before = {file.name: file.read_bytes() for file in path.iterdir()}

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="cannot be written") as caught:
        make().save_pretrained(path)
    assert caught.value.errno == number and caught.value.filename == str(path / "config.json")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limits there")
def test_a_disk_that_fills_up(tmp_path):
    """A real limit, in a process of its own: the second save does not fit, the first is whole."""
    program = f"""
import resource, signal, tinyqwen as tq
model = tq.Qwen2ForCausalLM(tq.Qwen2Config(**{TINY}))
model.save_pretrained({str(tmp_path)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    model.astype("float64").save_pretrained({str(tmp_path)!r})
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "size limit" in done.stdout and "model.safetensors" in done.stdout, done
    assert sorted(f.name for f in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    tq.Qwen2ForCausalLM.from_pretrained(tmp_path)


def test_write_into_what_is_no_folder(saved):
    model, path = saved
    for folder in (path / "config.json", path / "config.json" / "new" / "folder"):
        with pytest.raises(OSError, match="a file, not a folder; choose another") as caught:
            model.save_pretrained(folder)
        assert caught.value.filename == str(folder)
    with (
        pytest.raises(OSError, match="there is no such folder"),
        files.atomic_write(path / "nowhere" / "file"),
    ):
        pass


def test_dtypes_that_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="x has dtype complex128"):
        safetensors.save(tmp_path / "a", {"x": np.ones(2, complex)})
    assert not list(tmp_path.iterdir())


def test_temporaries_of_the_killed_are_swept(tmp_path):
    (tmp_path / ".model.safetensors.0123abcd.tmp").write_bytes(b"half")
    (tmp_path / "mine.tmp").write_bytes(b"whole")
    files.remove_temporaries(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.tmp"]


def test_atomic_text_and_links(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("old")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    files.write_json(folder / "link", {"名": [1, None]})
    assert outside.read_text() == "old" and not (folder / "link").is_symlink()
    assert files.read_json(folder / "link") == {"名": [1, None]}
    assert os.stat(folder / "link").st_mode & 0o777 == os.stat(outside).st_mode & 0o777


def test_memory_peaks_near_the_weights(tmp_path):
    """From bfloat16: no temporary as large as an array, no copy."""
    model = make(vocab_size=60_000, hidden_size=96)
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    arrays, _ = safetensors.load(file)
    header, data = {}, b""
    for name, array in arrays.items():
        raw = (array.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "BF16", "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    write_raw(file, header, data)
    weights = sum(array.nbytes for array in arrays.values())
    del model, arrays, data, raw
    tracemalloc.start()
    tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * weights, f"{peak / weights:.2f} × the weights"


def test_settings_in_place_of_the_folders(saved):
    model, path = saved
    loaded = tq.Qwen2ForCausalLM.from_pretrained(path, attention_dropout=0.25, eos_token_id=7)
    assert (loaded.config.attention_dropout, loaded.config.eos_token_id) == (0.25, 7)
    assert loaded.config.hidden_size == 12 and model.config.attention_dropout == 0
    assert_same(loaded, model)
    assert tq.Qwen2ForCausalLM.from_pretrained(path).config.attention_dropout == 0
    with pytest.raises(TypeError, match="atention_dropout"):
        tq.Qwen2ForCausalLM.from_pretrained(path, atention_dropout=0.25)


@pytest.mark.parametrize(
    ("prefix", "says"),
    [("module.", "DataParallel"), ("base_model.model.", "PeftModel"), ("x.", "")],
)
def test_names_that_do_not_fit_are_few_and_explained(tmp_path, prefix, says):
    """Ten names and a number, and what such a file probably is."""
    make().save_pretrained(tmp_path)
    arrays, _ = safetensors.load(tmp_path / "model.safetensors")
    safetensors.save(
        tmp_path / "model.safetensors", {prefix + name: array for name, array in arrays.items()}
    )
    with pytest.raises(ValueError, match=f"and {2 * len(arrays) - 10} more.*{says}") as caught:
        tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    told = re.findall(r"(\S+) is unexpected", str(caught.value))
    assert len(told) == 10 and set(told) <= {prefix + name for name in arrays}  # as in the file
    assert ("all names begin" in str(caught.value)) == bool(says)
    arrays["other.weight"] = np.zeros(1, np.float32)  # so not all of them
    safetensors.save(
        tmp_path / "model.safetensors", {prefix + "a": arrays.pop(min(arrays)), **arrays}
    )
    with pytest.raises(ValueError, match="is unexpected") as caught:
        tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert "all names begin" not in str(caught.value)


@pytest.mark.parametrize("ending, says", [(".qweight", "quantization_config"), (".absmax", "bits")])
def test_a_quantized_checkpoint_that_does_not_say_so_is_explained(tmp_path, ending, says):
    make().save_pretrained(tmp_path)
    arrays, _ = safetensors.load(tmp_path / "model.safetensors")
    packed = {name.replace("proj.weight", "proj" + ending): a for name, a in arrays.items()}
    safetensors.save(tmp_path / "model.safetensors", packed)
    with pytest.raises(ValueError, match=rf"some names end with '\{ending}': .*{says}"):
        tq.Qwen2ForCausalLM.from_pretrained(tmp_path)


def test_a_checkpoint_of_another_kind_is_told_by_its_name(tmp_path):
    make(tq.Qwen2ForSequenceClassification).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"missing .*it is a Qwen2ForSequenceClassification\)"):
        tq.Qwen2ForCausalLM.from_pretrained(tmp_path)


def test_whatever_is_said_of_names_names_ten(tmp_path):
    """Arrays that a body does not use, that are no numbers, that no shard has, that are no keys."""
    model = make()
    model.save_pretrained(tmp_path)
    arrays, _ = safetensors.load(tmp_path / "model.safetensors")
    spoiled = {name: np.full_like(array, np.nan) for name, array in arrays.items()}
    heads = {f"head.{i}.weight": np.zeros(1, np.float32) for i in range(30)}
    safetensors.save(tmp_path / "model.safetensors", spoiled | heads)
    with pytest.warns(UserWarning) as caught:
        tq.Qwen2Model.from_pretrained(tmp_path)
    body = [name for name in arrays if name.startswith("model.")]
    unused = len(arrays) - len(body) + 30
    told = [str(warning.message) for warning in caught]
    assert len(told) == 2 and told[0].endswith(f" and {unused - 10} more")
    assert told[1].endswith(f" and {len(body) - 10} more") and told[1].count("model.") == 10
    with pytest.raises(ValueError, match=f"and {2 * len(arrays) - 10} more$"):
        model.load_state_dict({f"x.{name}": array for name, array in arrays.items()})
