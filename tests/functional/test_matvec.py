"""Large matrices times a few vectors, row after row: the numbers of the sum in float64."""

import threading

import numpy as np
import pytest

from tinyqwen import functional as F
from tinyqwen.autograd.grad_mode import inference_mode
from tinyqwen.functional.matvec import FEW, LARGE, LONG, PIECE, matvec, matvec_by, multiply


def operands(n, k, vectors=1):
    rng = np.random.default_rng(n + k)
    return tuple(rng.standard_normal((rows, k)).astype(np.float32) for rows in (n, vectors))


def in_float64(weight, x):
    return np.stack([(weight.astype(np.float64) * row).sum(1) for row in x])


def multiplied(weight, x):
    out = np.full((len(x), len(weight)), np.nan, np.result_type(weight, x))
    multiply(weight, x, out)
    return out


@pytest.mark.parametrize("k", [1, 900, LONG, LONG + 1, 5000, 2_000_000])
@pytest.mark.parametrize("pieces", [0.5, 1, 2.6])
@pytest.mark.parametrize("vectors", [1, 2, FEW])
@pytest.mark.parametrize("product", [matvec, multiplied])
def test_equals_the_sum_in_float64(product, k, pieces, vectors):
    weight, x = operands(max(1, int(pieces * PIECE) // (4 * k)), k, vectors)
    y, exact = product(weight, x), in_float64(weight, x)
    scale = (np.abs(x) @ np.abs(weight).T).max()  # the sum's terms, of which the error is a part
    assert y.dtype == np.float32 and y.shape == exact.shape
    assert np.abs(y - exact).max() < 1e-6 * scale


@pytest.mark.parametrize("k", [300, 3000])
@pytest.mark.parametrize("vectors", [1, 3])
def test_other_layouts_and_dtypes(k, vectors):
    weight, x = operands((1 << 22) // (4 * k), k, vectors)
    exact = in_float64(weight, x)
    for w, v, dtype in (
        (np.asfortranarray(weight), x, np.float32),
        (np.repeat(weight, 2, 1)[:, ::2], np.repeat(x, 2, 1)[:, ::2], np.float32),
        (weight.astype(np.float64), x.astype(np.float64), np.float64),
        (weight, x.astype(np.float64), np.float64),
    ):
        y = multiplied(w, v)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, exact, atol=1e-3 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("vectors", [0, 1, 2, FEW, FEW + 1])
def test_linear_of_a_few_rows(vectors):
    weight, x = operands(1500, 700, vectors)  # 4 MiB
    bias, shapes = weight[:, 0].copy(), []

    def noted(weight, x):
        shapes.append((weight.shape, x.shape))
        return multiplied(weight, x)

    with inference_mode(), matvec_by(noted):
        y = F.linear(x[:, None], weight, bias)
        F.linear(x, weight[: LARGE // 2800 - 1])  # a smaller matrix
    assert shapes == ([((1500, 700), (vectors, 700))] if 1 <= vectors <= FEW else [])
    assert y.shape == (vectors, 1, 1500)
    exact = in_float64(weight, x) + bias if vectors else np.empty((0, 1500))
    np.testing.assert_allclose(y[:, 0], exact, atol=1e-3)


def test_methods_inside_each_other_end_one_by_one():
    weight, x = np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)

    def by(number):
        return matvec_by(lambda weight, x: number)

    with by(1):
        with by(2):
            assert matvec(weight, x) == 2
        with pytest.raises(KeyError), by(3):
            raise KeyError
        assert matvec(weight, x) == 1
        others = []
        thread = threading.Thread(target=lambda: others.append(matvec(weight, x).tolist()))
        thread.start()
        thread.join()
        assert others == [[[3.0, 3.0]]]  # no method is another thread's
    assert matvec(weight, x).tolist() == [[3.0, 3.0]]
