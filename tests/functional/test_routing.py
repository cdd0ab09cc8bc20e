"""Which token goes to which expert, and what the experts make of them: by hand, and one by one."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.functional.routing import (
    load_balancing_loss,
    mixture_of_experts,
    top_k,
    top_k_routing,
)


def test_top_k_of_equal_entries_takes_the_first():
    np.testing.assert_array_equal(top_k(np.array([[1.0, 3, 3, 2]]), 3), [[1, 2, 3]])


def test_routing_by_hand():
    """p is 1/8, 4/8, 1/8, 2/8."""
    logits = np.log([[1.0, 4, 1, 2]])
    weights, experts = top_k_routing(logits, 2)
    np.testing.assert_array_equal(experts.data, [[1, 3]])
    np.testing.assert_allclose(weights.data, [[0.5, 0.25]])
    weights, _ = top_k_routing(logits, 2, normalize=True)
    np.testing.assert_allclose(weights.data, [[2 / 3, 1 / 3]])
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k}, there are 4 experts"):
            top_k_routing(logits, k)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_routing_gradient(normalize, k, rng):
    logits = rng.normal(size=(6, 5))
    if normalize and k == 1:  # the only weight is 1, whatever the logits
        got = tq.grad(
            top_k_routing(x := tq.Tensor(logits, requires_grad=True), 1, True)[0].sum(), [x]
        )
        np.testing.assert_allclose(got[0], 0, atol=1e-15)
        return
    assert tq.gradcheck(lambda x: top_k_routing(x, k, normalize)[0], logits)


def one_by_one(x, weights, experts, gate_up, down):
    """The definition: token after token, expert after expert."""
    out = np.zeros_like(x)
    for n in range(len(x)):
        for w, e in zip(weights[n], experts[n]):
            gate, up = np.split(gate_up[e] @ x[n], 2)
            out[n] += w * (down[e] @ (gate / (1 + np.exp(-gate)) * up))
    return out


def draw(rng, N=7, C=4, E=5, I=3, k=2):
    experts = np.stack([rng.permutation(E)[:k] for _ in range(N)])
    shapes = ((N, C), (N, k), (E, 2 * I, C), (E, C, I))
    x, weights, gate_up, down = (rng.normal(size=shape) for shape in shapes)
    return x, weights, experts, gate_up, down


@pytest.mark.parametrize("N", [1, 7, 40])
def test_mixture_is_its_definition(N, rng):
    arguments = draw(rng, N)
    np.testing.assert_allclose(
        mixture_of_experts(*arguments).data, one_by_one(*arguments), rtol=1e-12
    )


def test_mixture_gradients(rng):
    x, weights, experts, gate_up, down = draw(rng)
    experts[experts == 4] = 0  # nobody goes to the last expert; a token may choose one twice
    assert tq.gradcheck(
        lambda x, w, g, d: mixture_of_experts(x, w, experts, g, d), x, weights, gate_up, down
    )
    down = tq.Tensor(down, requires_grad=True)
    mixture_of_experts(x, weights, experts, gate_up, down).sum().backward()
    assert (down.grad[4] == 0).all() and (down.grad[0] != 0).any()


def test_load_balancing_by_hand():
    """Two tokens, three experts, k = 1: both go to expert 0, whose mean probability is 0.7."""
    logits = np.log([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1]])
    assert float(load_balancing_loss([logits], 1)) == pytest.approx(3 * 1 * 0.7)
    assert float(load_balancing_loss([logits], 1, [1, 0])) == pytest.approx(3 * 1 * 0.8)
    even = np.log([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]])
    assert float(load_balancing_loss([even, even], 1)) == pytest.approx(1)
    with pytest.raises(ValueError, match="mask has 3 entries for 2 tokens"):
        load_balancing_loss([logits], 1, [1, 1, 1])


def test_load_balancing_gradient(rng):
    first, second = rng.normal(size=(2, 6, 4))
    mask = [1, 1, 0, 1, 1, 1]
    assert tq.gradcheck(lambda a, b: load_balancing_loss([a, b], 2, mask), first, second)
