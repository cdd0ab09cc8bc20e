"""The table of relatives: what a row counts, and that packed models count what they hold."""

import numpy as np

import tinyqwen as tq
from tinyqwen.benchmark import relatives
from tinyqwen.tuning.quantization import nbytes

SMALL = dict(
    **dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2),
    **dict(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True),
)


def test_rows(rng, monkeypatch):
    monkeypatch.setattr(relatives, "TOKENS", 4)
    ids = rng.integers(0, 64, (2, 40))

    def load():
        tq.manual_seed(0)
        return tq.Qwen2ForCausalLM(tq.Qwen2Config(**SMALL)).eval()

    weights = load().num_parameters()
    row = relatives.measured("base", load(), [(ids, ids)], lambda model: 0.25)
    assert row["bytes"] == 4 * weights and row["tokens/s"] > 0
    assert row["story loss"] == np.float32(load()(ids, labels=ids).loss.item())
    assert relatives.line(row).split()[-1] == "25.0%"
    assert len(relatives.line(row)) == len(relatives.line())

    model = tq.quantize(load(), 4, 32)
    inner = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)  # weights of the linear layers
    scales = inner // 32 * 8  # a scale and a zero, both float32
    biases_and_norms = 4 * (2 * (32 + 16 + 16) + 5 * 32)
    table = 64 * 32 + 64 * 4
    assert nbytes(model) == inner // 2 + scales + biases_and_norms + table
    assert next(relatives.pruned(load, [ids]))[0] == "2 heads a layer cut"
