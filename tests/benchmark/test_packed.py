"""The token of a packed model: its bytes, its rate, and the model of more cores."""

import pytest

import tinyqwen as tq
from tinyqwen.benchmark import packed, relatives
from tinyqwen.benchmark.sizes import SIZES
from tinyqwen.tuning.quantization import nbytes


def test_more_cores_help_what_waits_for_arithmetic():
    """By hand: 100 weights of 4 bytes; 10 a second a core, 80 bytes a second of the memory."""
    facts = dict(weights=100, size=400, rest=1.0, core_rate=10, memory_rate=80)
    assert packed.predicted(**facts, cores=1) == 10 + 1
    assert packed.predicted(**facts, cores=2) == 5 + 1
    assert packed.predicted(**facts, cores=4) == packed.predicted(**facts, cores=8) == 5 + 1
    assert packed.predicted(**{**facts, "size": 100}, cores=4) == 2.5 + 1


def test_columns_stay_apart():
    """Also where bytes have ten digits, which are written with commas."""
    row = {"weights": "float32", "times float32": 1.0, "bytes": 1_976_131_072, "of float32": 1.0}
    header, line = relatives.columns(row, header=True).strip("\n").split("\n")
    assert line.split() == ["float32", "1.0000", "1,976,131,072", "1.0000"]
    assert len(line) == len(header)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_packed_model_of_random_weights(monkeypatch, bits):
    monkeypatch.setattr(packed, "SIZE", "s")
    model = packed.Packed(bits)
    assert model.token(4) > 0 and model.core_rate() > 0
    config = tq.AutoConfig.from_dict(SIZES["s"]["config"])
    assert model.bytes() == nbytes(tq.quantize(tq.Qwen2ForCausalLM(config), bits))
