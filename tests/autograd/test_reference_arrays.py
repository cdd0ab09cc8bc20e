"""Every primitive against what PyTorch once wrote (fixtures/make_reference.py), without torch."""

import sys
from pathlib import Path

import numpy as np
import pytest
from op_table import as_dtype, assert_close, ours, outputs_and_gradients

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from make_reference import DRAWS, FILE, LINES, draw, flat


@pytest.fixture(scope="module")
def reference():
    with np.load(FILE) as file:
        pieces = np.split(file["numbers"], np.cumsum(file["lengths"])[:-1])
        return dict(zip(file["names"].tolist(), pieces, strict=True))


def test_the_file_is_small_and_complete(reference):
    assert FILE.stat().st_size < 100_000
    assert len(reference) == 3 * DRAWS * len(LINES)


@pytest.mark.parametrize("number", range(DRAWS))
@pytest.mark.parametrize("op", LINES, ids=lambda op: op.name)
def test_value_and_gradient(op, number, reference):
    arrays, options = draw(op, number)
    inputs, values, gradients = (
        reference[f"{op.name} {number} {what}"] for what in ("inputs", "values", "gradients")
    )
    np.testing.assert_allclose(
        flat(arrays), inputs, rtol=1e-14, err_msg="the draw has changed: run make_reference.py"
    )
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-5)):
        cast = [as_dtype(a, dtype) for a in arrays]
        more = {name: as_dtype(value, dtype) for name, value in options.items()}
        found_values, found_gradients = outputs_and_gradients(ours(op), cast, more)
        assert_close(flat(found_values), values, tolerance, f"{op.name}: value")
        assert_close(flat(found_gradients), gradients, tolerance, f"{op.name}: gradient")
