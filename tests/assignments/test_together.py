"""All of a student's functions at once, in the whole model: run with `--all-mine`."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import course
from tinyqwen.course.plugin import folder_of


def loss_and_gradients(model, ids):
    loss = model(ids, labels=ids).loss
    names, parameters = zip(*model.named_parameters())
    return loss.item(), dict(zip(names, tq.grad(loss, list(parameters))))


def test_model_of_all_your_functions(request):
    """A small Qwen2 made of the student's functions has the library's loss and gradients."""
    tq.manual_seed(0)
    model = tq.Qwen2ForCausalLM(
        tq.Qwen2Config(
            vocab_size=29,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=3,
            intermediate_size=20,
        )
    )
    ids = np.random.default_rng(0).integers(0, 29, (2, 7))
    loss, gradients = loss_and_gradients(model, ids)
    with course.swap(folder_of(request.config)) as names:
        if not names:
            pytest.skip("nothing is written yet")
        own_loss, own_gradients = loss_and_gradients(model, ids)
    assert own_loss == pytest.approx(loss, rel=1e-5), f"loss with your {', '.join(names)}"
    for name, gradient in gradients.items():
        difference = np.abs(own_gradients[name] - gradient).max()
        assert difference < 1e-5 + 1e-4 * np.abs(gradient).max(), f"the gradient of {name}"
