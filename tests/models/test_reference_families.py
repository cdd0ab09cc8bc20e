"""What transformers computed for each family, where transformers is not installed."""

from pathlib import Path

import numpy as np
import pytest
from model_families import our_model

ARRAYS = np.load(Path(__file__).parents[1] / "fixtures" / "reference_families.npz")
FAMILIES = sorted({name.split("/")[0] for name in ARRAYS})


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_loss_and_gradients(family):
    expected = {n.split("/")[1]: a for n, a in ARRAYS.items() if n.startswith(f"{family}/")}
    model = our_model(family, num_hidden_layers=2)
    assert str(model) == str(expected["printed"])
    weights = {n.removeprefix("weight."): a for n, a in expected.items() if "weight." in n[:7]}
    model.load_state_dict(weights)
    out = model(expected["ids"], labels=expected["ids"])
    out.loss.backward()
    found = {"logits": out.logits.data, "loss": out.loss.data}
    found |= {f"gradient.{n}": p.grad for n, p in model.named_parameters() if p.ndim == 1}
    assert len(found) > 6
    for name, array in found.items():
        # What is added to all keys alike softmax does not see: that gradient is 0 but for rounding.
        if not name.endswith("k_proj.bias"):
            error = np.abs(array - expected[name]).max()
            assert error <= 2e-5 * np.abs(expected[name]).max(), name
