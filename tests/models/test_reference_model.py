"""Parity with transformers where it is not installed: from a checkpoint and arrays it has written.

tests/fixtures/make_model_reference.py makes both.
"""

from pathlib import Path

import numpy as np
import pytest

import tinyqwen as tq

HERE = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture(scope="module")
def expected():
    with np.load(HERE / "reference_model.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture
def model():
    return tq.Qwen2ForCausalLM.from_pretrained(HERE / "tiny_model")


def close(ours, expected, what):
    error = np.abs(ours - expected).max()
    assert ours.shape == expected.shape and ours.dtype == expected.dtype
    assert error <= 1e-5 * np.abs(expected).max(), f"{what}: off by {error:.1e}"


def real(array, expected):
    """The rows of tokens that are not padding; of attentions too, (B, H, T, S)."""
    mask = expected["attention_mask"].astype(bool)
    return array.swapaxes(1, 2)[mask] if array.ndim == 4 else array[mask]


def test_print(model, expected):
    assert str(model) == str(expected["printed"])


def test_outputs(model, expected):
    out = model(
        expected["input_ids"],
        attention_mask=expected["attention_mask"],
        labels=expected["labels"],
        output_hidden_states=True,
        output_attentions=True,
    )
    close(out.loss.data, expected["loss"], "loss")
    close(real(out.logits.data, expected), real(expected["logits"], expected), "logits")
    for kind, number in (("hidden_states", 4), ("attentions", 3)):
        assert len(getattr(out, kind)) == number
        for i, array in enumerate(getattr(out, kind)):
            name = f"{kind}.{i}"
            close(real(array.data, expected), real(expected[name], expected), name)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("skip_logits", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients(model, expected, attention, skip_logits, checkpointing):
    model.config.attn_implementation = attention
    model.gradient_checkpointing_enable(checkpointing)
    out = model(
        expected["input_ids"],
        attention_mask=expected["attention_mask"],
        labels=expected["labels"],
        skip_logits=skip_logits,
    )
    out.loss.backward()
    gradients = {n.removeprefix("gradient."): g for n, g in expected.items() if "gradient." in n}
    parameters = dict(model.named_parameters())
    assert set(parameters) == set(gradients)
    for name, gradient in gradients.items():
        close(parameters[name].grad, gradient, name)


def test_greedy(model, expected):
    prompt = expected["greedy"][:, :4]
    tokens = model.generate(prompt, max_new_tokens=12, do_sample=False, eos_token_id=[])
    np.testing.assert_array_equal(np.asarray(tokens), expected["greedy"])


def test_it_is_stored_as_the_hub_stores_models(model):
    """In bfloat16, in shards, tied: what is worth loading has these."""
    files = {file.name for file in (HERE / "tiny_model").iterdir()}
    assert "model.safetensors.index.json" in files and len(files) > 4
    for name, parameter in model.named_parameters():
        assert parameter.dtype == np.float32
        assert (parameter.data.view(np.uint32) & 0xFFFF == 0).all(), name
    assert model.lm_head.weight is model.model.embed_tokens.weight
