"""What transformers computed for each family, where transformers is not installed."""

from pathlib import Path

import numpy as np
import pytest
from model_families import EVERY_LAYER, OUTPUTS, SHALLOW, our_model

FILE = Path(__file__).parents[1] / "fixtures" / "reference_families.npz"


@pytest.fixture(scope="module")
def arrays():
    with np.load(FILE, allow_pickle=False) as file:
        return dict(file)


def part(expected, name):
    """{rest of the name: array} of those that begin with `name`."""
    start = name + "."
    return {n.removeprefix(start): a for n, a in expected.items() if n.startswith(start)}


def close(found, expected, name, size=0.0):
    error = np.abs(found - expected).max()
    assert found.shape == expected.shape, name
    assert error <= 2e-5 * max(size, np.abs(expected).max()), name


@pytest.mark.parametrize("family", SHALLOW)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_all_outputs_and_gradients(family, checkpointing, arrays):
    expected = part({n.replace("/", "."): a for n, a in arrays.items()}, family)
    model = our_model(family, **SHALLOW[family])
    assert str(model) == str(expected["printed"])
    model.load_state_dict({n: a.astype(np.float32) for n, a in part(expected, "weight").items()})
    model.gradient_checkpointing_enable(checkpointing)
    given = part(expected, "given")
    mask = given["attention_mask"] == 1
    every = {"output_hidden_states": True, "output_attentions": not checkpointing}
    out = model(**given, **every)
    compared = 0
    for name in (*OUTPUTS, *EVERY_LAYER):
        value = getattr(out, name)
        for i, x in enumerate(value if isinstance(value, tuple) else (value,)):
            if x is None:
                continue
            found, other = x.data, expected[f"{name}.{i}"]
            if found.ndim == 3 and found.shape[:2] == mask.shape:  # of padding, anything
                found, other = found[mask], other[mask]
            elif found.ndim == 4 and found.shape[2] == mask.shape[1]:
                found, other = found.swapaxes(1, 2)[mask], other.swapaxes(1, 2)[mask]
            close(found, other, f"{name}.{i}")
            compared += 1
    assert compared >= 5
    out.loss.backward()
    gradients = part(expected, "gradient")
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    own = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert own.keys() == gradients.keys()
    for name, gradient in gradients.items():
        # What is added to all keys alike softmax does not see: that gradient is 0 but for rounding.
        close(own[name], gradient, name, size=1e-2 * largest)
