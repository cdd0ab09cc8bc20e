"""Models whose heads or layers were cut out open in transformers, with equal logits."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.tuning.pruning import prune_heads, prune_layers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(
    "cut", [lambda m, t: prune_heads(m, 2, t), lambda m, t: prune_layers(m, 2, t)]
)
def test_they_open_there(tmp_path, rng, cut):
    sizes = dict(vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=4)
    config = tq.Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2)
    config.initializer_range = 0.3
    ids = rng.integers(0, 30, (2, 9))
    model = cut(tq.Qwen2ForCausalLM(config).eval(), [ids])
    model.save_pretrained(tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(model(ids).logits.data, expected, atol=2e-5)
