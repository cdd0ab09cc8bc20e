"""A model whose greedy texts wander: its weights are large, so no two tokens are nearly tied."""

import numpy as np
import pytest

import tinyqwen as tq


@pytest.fixture(scope="module")
def model():
    tq.manual_seed(0)
    model = tq.Qwen2ForCausalLM(
        tq.Qwen2Config(
            vocab_size=30,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
    )
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        norm = "norm" in name
        parameter.data[...] = rng.normal(float(norm), 0.3 if norm else 0.5, parameter.shape)
    return model.eval()
