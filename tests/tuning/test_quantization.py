"""Weights in few bits: against dense ones, against folders packed by hand, and what is refused."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.storage import safetensors
from tinyqwen.tuning.packed_matrix import GroupedMatrix, Int8Table, packed_linear, packed_product
from tinyqwen.tuning.packing import dequantize_array, group_scales, quantize_array
from tinyqwen.tuning.quantization import QuantizedEmbedding, QuantizedLinear

ROOT = Path(__file__).parents[2]
SMALL = dict(
    **dict(vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2),
    **dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=40),
    **dict(initializer_range=0.3),
)


def base(**changes):
    tq.manual_seed(0)
    return tq.Qwen2ForCausalLM(tq.Qwen2Config(**{**SMALL, **changes})).eval()


def logits(model, ids):
    with tq.no_grad():
        return model(ids).logits.data


def close(a, b, tolerance=1e-5):
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.fixture
def ids(rng):
    return rng.integers(0, 40, (2, 9))


def matrix(rng, bits, ordered, out=24, n=32, size=16):
    codes = rng.integers(0, 2**bits, (n, out)).astype(np.uint8)
    scales = rng.uniform(0.1, 1, (n // size, out)).astype(np.float16)
    zeros = rng.integers(1, 2**bits, (n // size, out))
    zeros[0, 0] = 2**bits  # the largest: files hold one less
    g_idx = np.arange(n) // size if ordered else rng.permutation(n) // size
    packed = GroupedMatrix.from_codes(codes, scales, zeros, bits, g_idx)
    dense = np.array(
        [
            [
                float(scales[g_idx[i], o]) * (int(codes[i, o]) - int(zeros[g_idx[i], o]))
                for i in range(n)
            ]
            for o in range(out)
        ]
    )
    return packed, dense, (codes, g_idx)


@pytest.mark.parametrize("sign, zero", [(1, 1), (-1, 3)])
def test_a_zero_is_one_that_a_file_can_hold(sign, zero):
    """Of weights of one sign by hand: files hold the zero less 1, so that 0 is none."""
    scale, zeros = group_scales(sign * np.array([[1.0], [2.0], [3.0]]), 2)
    assert (scale.tolist(), zeros.tolist()) == ([1.0], [zero])


@pytest.mark.parametrize("weight", [1e7, -1e7, np.inf, np.nan])
def test_a_scale_that_is_no_number_is_refused(weight):
    with pytest.raises(ValueError, match="not finite, or too large for a scale in float16"):
        group_scales(np.array([[0.0], [weight]]), 2)


def test_a_row_of_zeros_is_divided_by_nothing():
    """As a padding token's is; and 1 of at most 2 is 63.5 of 127, rounded to even."""
    with np.errstate(all="raise"):
        table = Int8Table.from_dense(np.array([[0.0, 0.0], [1.0, -2.0]]))
    assert table.codes.tolist() == [[0, 0], [64, -127]]
    assert table.scales.tolist() == [1.0, np.float32(2 / 127)]


def test_rows_are_given_in_whole_blocks(rng):
    packed, dense, _ = matrix(rng, 4, ordered=False)  # 24 rows: three blocks of 8
    x = rng.normal(size=(2, 32)).astype(np.float32)
    for start, stop in ((0, 8), (8, 24)):
        close(packed_linear(tq.Tensor(x), packed[start:stop]).data, x @ dense[start:stop].T)
    for start, stop in ((4, 8), (8, 20)):
        with pytest.raises(ValueError, match="rows are parted at multiples of 8"):
            packed[start:stop]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_products_are_the_dense_ones(rng, bits, ordered, monkeypatch):
    packed, dense, (codes, g_idx) = matrix(rng, bits, ordered)
    bias = rng.normal(size=24)
    for piece in (1 << 19, 600, 1):  # all at once; two blocks of 8 outputs and then one; each alone
        monkeypatch.setattr("tinyqwen.tuning.packed_matrix.PIECE", piece)
        for rows in (1, 3, 11):
            x, g = rng.normal(size=(rows, 32)), rng.normal(size=(rows, 24))
            out, vjp = packed_linear.raw(x, packed, bias)
            np.testing.assert_allclose(out, x @ dense.T + bias, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(vjp(g)[0], g @ dense, rtol=1e-9, atol=1e-9)
            part = np.empty((rows, 30))[:, 4:20]  # as it is handed to a process: a strided view
            packed[8:24].multiply(x, part)
            np.testing.assert_allclose(part, x @ dense[8:24].T, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="multiples of 8"):
        packed[3:8]
    tq.gradcheck(lambda x, b: packed_linear(x, packed, b), rng.normal(size=(2, 3, 32)), bias)
    for found, expected in zip(packed.to_codes(), (codes, g_idx)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("piece", [1 << 19, 100, 1])  # all rows at once, three, and each alone
def test_int8_rows(rng, monkeypatch, piece):
    monkeypatch.setattr("tinyqwen.tuning.packed_matrix.PIECE", piece)
    dense = rng.normal(size=(70, 32)).astype(np.float32)
    dense[3] = 0
    table = Int8Table.from_dense(dense)
    rounded = table.rows(np.arange(70))
    assert (np.abs(rounded - dense) <= np.abs(dense).max(1, keepdims=True) / 254 * 1.001).all()
    for rows in (1, 4, 9):
        x = rng.normal(size=(rows, 32)).astype(np.float32)
        close(packed_linear.raw(x, table)[0], x @ rounded.T)
    again = Int8Table.from_dense(rounded.astype(np.float16))
    np.testing.assert_array_equal(again.codes, table.codes)


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_is_to_the_nearest(rng, bits, sym):
    weight = rng.normal(size=(32, 5))
    codes, scales, zeros = quantize_array(weight, bits, 8, sym)
    error = np.abs(dequantize_array(codes, scales, zeros) - weight)
    step = np.repeat(scales.astype(float), 8, axis=0)
    inside = (codes > 0) & (codes < 2**bits - 1)
    assert inside.any() and (error <= 0.51 * step)[inside].all()
    assert (error <= 1.01 * step).all()  # at the ends, where the zero was rounded too
    assert codes.max() <= 2**bits - 1
    if sym:
        assert (zeros == 2 ** (bits - 1)).all()


# ---------------------------------------------------------------------------------------------
# Folders as Hugging Face's are, packed here bit by bit
# ---------------------------------------------------------------------------------------------


def words(codes, bits):
    """Rows of integers -> rows of int32 words, lowest bits first, one number at a time."""
    per = 32 // bits
    out = np.zeros((len(codes) // per, codes.shape[1]), np.uint32)
    for i, row in enumerate(codes):
        for j, code in enumerate(row):
            out[i // per, j] |= np.uint32(int(code) << bits * (i % per))
    return out.view(np.int32)


def official(folder, rng, bits, sym, act_order, size=16, **settings):
    """Write a GPTQ folder and return the model with dense weights that it stands for."""
    model = base()
    model.save_pretrained(folder)
    arrays = safetensors.load(folder / "model.safetensors")[0]
    for name in [n for n in arrays if n.endswith("_proj.weight")]:
        weight = arrays.pop(name)
        out, n = weight.shape
        path = name.removesuffix(".weight")
        codes = rng.integers(0, 2**bits, (n, out))
        zeros = np.full((n // size, out), 2 ** (bits - 1))
        if not sym:
            zeros = rng.integers(1, 2**bits, zeros.shape)
        scales = (rng.uniform(0.5, 1, zeros.shape) / 2**bits).astype(np.float16)
        g_idx = rng.permutation(n) // size if act_order else np.arange(n) // size
        arrays[f"{path}.qweight"] = words(codes, bits)
        arrays[f"{path}.qzeros"] = np.ascontiguousarray(words((zeros - 1).T, bits).T)
        arrays[f"{path}.scales"], arrays[f"{path}.g_idx"] = scales, g_idx.astype(np.int32)
        dense = scales[g_idx].astype(np.float32) * (codes - zeros[g_idx])
        dict(model.named_parameters())[name].data[...] = dense.T
    safetensors.save(folder / "model.safetensors", arrays, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        **{"quant_method": "gptq", "bits": bits, "group_size": size, "sym": sym},
        **{"desc_act": act_order, "damp_percent": 0.01, "static_groups": False, **settings},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return model


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("sym", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_official_folders_open(tmp_path, rng, ids, bits, sym, act_order):
    dense = official(tmp_path, rng, bits, sym, act_order)
    model = tq.AutoModelForCausalLM.from_pretrained(tmp_path)
    layers = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
    assert len(layers) == 14 and all(layer.weight.bits == bits for layer in layers)
    close(logits(model, ids), logits(dense, ids))
    np.testing.assert_array_equal(
        model.generate(ids, max_new_tokens=5, do_sample=False),
        dense.generate(ids, max_new_tokens=5, do_sample=False),
    )
    model.save_pretrained(tmp_path / "again")
    before, after = (
        safetensors.load(f / "model.safetensors")[0] for f in (tmp_path, tmp_path / "again")
    )
    for name in before:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def edit(folder, change=lambda arrays: None, **settings):
    arrays = safetensors.load(folder / "model.safetensors")[0]
    change(arrays)
    safetensors.save(folder / "model.safetensors", arrays)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"].update(settings)
    (folder / "config.json").write_text(json.dumps(config))


Q = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    "change, settings, words",
    [
        (lambda a: a.pop(f"{Q}.scales"), {}, r"q_proj.scales is missing"),
        (lambda a: a.update({f"{Q}.qzeros": a[f"{Q}.qzeros"][:1]}), {}, r"q_proj.qzeros has shape"),
        (lambda a: a.update({f"{Q}.g_idx": np.zeros(32, np.int32)}), {}, r"g_idx does not part"),
        (lambda a: a.update({"x.qweight": a[f"{Q}.qweight"]}), {}, r"x.qweight is unexpected"),
        (lambda a: a.update({f"{Q}.qweight": a[f"{Q}.scales"]}), {}, r"qweight has (shape|dtype)"),
        (lambda a: a.pop("model.embed_tokens.weight"), {}, "embed_tokens.weight is missing"),
        (lambda a: None, {"bits": 3}, "bits must be 2, 4 or 8, not 3"),
        (lambda a: None, {"quant_method": "awq"}, "quant_method 'awq' is not supported"),
        (lambda a: None, {"quant_method": None}, "quant_method None is not supported"),
    ],
)
def test_damaged_folders_are_refused(tmp_path, rng, change, settings, words):
    official(tmp_path, rng, 4, True, False)
    edit(tmp_path, change, **settings)
    with pytest.raises(ValueError, match=words) as error:
        tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------
# Whole models
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_a_quantized_model_is_stored_and_read(tmp_path, ids, rng, method, tied):
    model, text = base(tie_word_embeddings=tied), [rng.integers(0, 40, (8, 20))]
    dense = logits(model, ids)
    tq.quantize(model, 8, 16, method, text if method == "gptq" else None)
    assert isinstance(model.model.embed_tokens, QuantizedEmbedding)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    close(logits(model, ids), dense, 0.1)
    model.save_pretrained(tmp_path)
    again = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    close(logits(again, ids), logits(model, ids), 1e-3)  # tables pass through float16
    for (path, a), b in zip(model.named_modules(), again.modules()):
        if isinstance(a, QuantizedLinear):
            np.testing.assert_array_equal(a.weight.codes, b.weight.codes, err_msg=path)
    assert repr(again) == repr(model)
    ids = ids[:1]
    settings = dict(max_new_tokens=4, do_sample=False)
    np.testing.assert_array_equal(again.generate(ids, **settings), model.generate(ids, **settings))


def test_adapters_train_on_a_base_in_four_bits(tmp_path, ids):
    model = tq.quantize(base(tie_word_embeddings=True), 4, 16)
    before = [m.weight.codes.copy() for m in model.modules() if isinstance(m, QuantizedLinear)]
    adapted = tq.get_peft_model(model, tq.LoraConfig(r=4, target_modules="all-linear")).train()
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert len(trained) == 2 * 14
    optimizer, losses = tq.optim.AdamW(trained, lr=2e-2, weight_decay=0), []
    for _ in range(12):
        optimizer.zero_grad()
        loss = adapted(ids, labels=ids, skip_logits=True).loss
        loss.backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    after = [m.weight.codes for m in model.modules() if isinstance(m, QuantizedLinear)]
    for a, b in zip(before, after):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="packed in few bits"):
        adapted.merge_and_unload()


def test_loading_never_holds_the_dense_weights(tmp_path):
    sizes = dict(hidden_size=256, intermediate_size=1024, vocab_size=64, tie_word_embeddings=True)
    dense = base(**sizes)
    nbytes = sum(p.data.nbytes for p in dense.parameters())
    tq.quantize(dense, 4, 128).save_pretrained(tmp_path)
    del dense
    tq.Qwen2ForCausalLM.from_pretrained(tmp_path)  # what is made once, is made now
    tracemalloc.start()
    model = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert model and held <= 0.22 * nbytes and peak <= 0.6 * nbytes


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(bits=3), "bits must be 2, 4 or 8, not 3"),
        (dict(bits=True), "bits must be"),
        (dict(group_size=24), r"group_size 24 does not divide the 32 inputs of model.layers.0"),
        *(
            (dict(group_size=size), "group_size must be a positive int")
            for size in (0, -8, True, 8.0)
        ),
        *(
            (
                dict(bits=bits, group_size=size),
                f"group_size {size}: so many codes of {bits} bits fill",
            )
            for bits, size in ((4, 1), (4, 3), (2, 2), (2, 6))  # 12 bits are a byte and a half
        ),
        (dict(method="awq"), "method must be 'rtn' or 'gptq'"),
        (dict(method="gptq"), "calibration has 0 tokens; gptq needs at least 64"),
        (dict(method="gptq", calibration=[np.zeros(63, int)]), "has 63 tokens"),
    ],
)
def test_what_cannot_be_quantized_is_refused(settings, words):
    model = base()
    before = repr(model)
    with pytest.raises(ValueError, match=words):
        tq.quantize(model, **{"bits": 4, "group_size": 16, **settings})
    assert repr(model) == before
    with pytest.raises(ValueError, match="quantized already"):
        tq.quantize(tq.quantize(model, 4, 16), 4, 16)


def test_the_product_of_codes_is_that_of_the_dense_weight(rng):
    """Also of an x that is divided by what the codes were multiplied with."""
    x, codes = rng.normal(size=(3, 2, 4)), rng.integers(0, 16, (5, 3, 4, 6)).astype(float)
    scales, zeros = rng.uniform(0.5, 2, (5, 3, 6)), rng.integers(1, 16, (5, 3, 6))
    dense = scales[:, :, None] * (codes - zeros[:, :, None])
    expected = np.einsum("gti,bgio->bto", x, dense)
    found = packed_product(x, x.sum(2), codes, scales, zeros)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    again = packed_product(x / 16, x.sum(2), 16 * codes, scales, zeros)
    np.testing.assert_allclose(again, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["gptq_v2", "without g_idx", "zeros at both ends"])
def test_other_folders_open(tmp_path, rng, ids, kind):
    """Zeros that are stored as they are; groups one after another; a stored 2ᵇ - 1 is a zero 2ᵇ."""
    dense = official(tmp_path, rng, 8, sym=False, act_order=False)

    def change(arrays):
        for name in list(arrays):
            if kind == "without g_idx" and name.endswith("g_idx"):
                del arrays[name]
            if kind == "gptq_v2" and name.endswith("qzeros"):
                arrays[name] = (arrays[name].view(np.uint8) + 1).view(np.int32)
            if kind == "zeros at both ends" and name == f"{Q}.qzeros":
                arrays[name].view(np.uint8)[:, :2] = 0, 255

    edit(tmp_path, change, **({"checkpoint_format": kind} if kind == "gptq_v2" else {}))
    model = tq.AutoModelForCausalLM.from_pretrained(tmp_path)
    if kind == "zeros at both ends":
        zeros = model.get_submodule(Q).weight.zeros
        assert (zeros[:, :2] == [1, 256]).all()
    else:
        close(logits(model, ids), logits(dense, ids))


def test_what_a_quantized_model_says_of_itself(rng):
    """And nothing of it is trained; biases stay; only tables of the vocabulary are in int8."""
    text = [rng.integers(0, 40, (8, 20))]
    for bits, method, sym in ((8, "rtn", True), (4, "rtn", False), (2, "gptq", False)):
        model = tq.quantize(base(), bits, 16, method, text if method == "gptq" else None)
        said = model.config.extra["quantization_config"]
        assert (said["bits"], said["group_size"], said["sym"]) == (bits, 16, sym)
        assert said["desc_act"] == (method == "gptq")
        assert not any(p.requires_grad for p in model.parameters())
        layer = model.get_submodule(Q)
        layer.bias.data[...] = rng.normal(size=layer.bias.shape)
        x = rng.normal(size=(1, 3, 32)).astype(np.float32)
        close(layer.plain()(x).data, layer(x).data)
    bert = tq.BertConfig(vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=32, max_position_embeddings=16)  # fmt: skip
    model = tq.quantize(tq.BertForMaskedLM(bert), 4, 16)
    tables = {name.rsplit(".", 1)[-1]: type(m).__name__ for name, m in model.named_modules()
              if "embeddings." in name and hasattr(m, "num_embeddings")}  # fmt: skip
    assert tables == {"word_embeddings": "QuantizedEmbedding", "position_embeddings": "Embedding",
                      "token_type_embeddings": "Embedding"}  # fmt: skip


def test_tables_are_read_a_few_rows_at_a_time(tmp_path, ids, monkeypatch):
    """With the last piece shorter: 40 rows of 32, 12 at a time."""
    model = tq.quantize(base(), 8, 16)
    model.save_pretrained(tmp_path)
    whole = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    monkeypatch.setattr(safetensors, "PIECE", 12 * 32)
    parts = tq.Qwen2ForCausalLM.from_pretrained(tmp_path)
    np.testing.assert_array_equal(logits(parts, ids), logits(whole, ids))
    for wrong in (-1, 40):
        with pytest.raises(ValueError, match=f"token id {wrong} is out of range"):
            parts([[wrong]])


def test_single_and_double_precision_take_turns(rng):
    """One buffer serves both."""
    packed, dense, _ = matrix(rng, 4, ordered=True)
    x = rng.normal(size=(11, 32))
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-4), (np.float64, 1e-9)):
        out = packed_linear.raw(x.astype(dtype), packed)[0]
        assert out.dtype == dtype
        np.testing.assert_allclose(out, x @ dense.T, rtol=tolerance, atol=tolerance)


def test_a_program_that_only_imports_tinyqwen_opens_such_a_folder(tmp_path):
    """Rooms are opened when a name of theirs is asked for; what they give to others is there."""
    tq.quantize(base(), 4, 16).save_pretrained(tmp_path)
    program = (
        "import sys, tinyqwen as tq; tq.nn.ReLU, tq.nn.CrossEntropyLoss;"
        "print(tq.AutoModelForCausalLM.from_pretrained(sys.argv[1]).generate([[1, 2]], 3).shape)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=ROOT)
    assert done.stdout == "(1, 5)\n", done.stderr
