"""Cross-entropy, alone and fused with the output layer."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen import functional as F


@pytest.fixture(params=["cross_entropy", "linear_cross_entropy"])
def loss_of(request):
    """The two losses behind one face: the second gets its logits from an identity matrix."""
    if request.param == "cross_entropy":
        return F.cross_entropy
    return lambda logits, labels, **options: F.linear_cross_entropy(
        logits, np.eye(logits.shape[-1], dtype=logits.dtype), labels, **options
    )


def test_by_hand(loss_of):
    logits = np.log(np.array([[1.0, 2, 1], [8, 1, 1]]))
    loss = loss_of(logits, [1, 0])
    assert loss.shape == ()
    assert loss.item() == pytest.approx((np.log(2) - np.log(0.8)) / 2, rel=1e-14)
    smoothed = loss_of(logits[:1], [1], label_smoothing=0.3)
    assert smoothed.item() == pytest.approx(0.8 * np.log(2) + 0.2 * np.log(4), rel=1e-14)


def test_gradient_by_hand(loss_of):
    logits = tq.Tensor(np.log(np.array([[1.0, 2, 1], [8, 1, 1]])), True)
    gradient = tq.grad(loss_of(logits, [1, 0]), logits)
    np.testing.assert_allclose(
        gradient, [[0.125, -0.25, 0.125], [-0.1, 0.05, 0.05]], rtol=1e-12, atol=1e-15
    )


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary(loss_of):
    loss = loss_of(np.zeros((2, 3, 50)), np.full((2, 3), 7))
    assert loss.item() == pytest.approx(np.log(50), rel=1e-14)


def test_a_constant_added_to_the_logits_changes_nothing(loss_of, rng):
    logits, labels = rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
    a, b = loss_of(logits, labels).item(), loss_of(logits + 100.0, labels).item()
    assert a == pytest.approx(b, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_are_exact(loss_of, dtype):
    values = np.array([[1e4, -1e4, 0], [-1e4, 1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
    with np.errstate(all="raise", under="ignore"):
        for labels, loss in (([0, 1], 0), ([1, 1], 1e4), ([2, 0], 1.5e4)):
            logits = tq.Tensor(values[:2], True)
            out = loss_of(logits, labels)
            assert out.item() == loss and out.dtype == dtype
            expected = (np.eye(3)[[0, 1]] - np.eye(3)[labels]) / 2
            np.testing.assert_array_equal(tq.grad(out, logits), expected)
        tie = loss_of(tq.Tensor(values[2:]), [0])
        assert tie.item() == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("ignore_index", [-100, -1, 2])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_ignored_rows_do_not_count(loss_of, ignore_index, label_smoothing, rng):
    values = rng.standard_normal((2, 3, 4))
    labels = np.array([[0, ignore_index, 1], [ignore_index, 3, 3]])
    kept = labels != ignore_index
    logits = tq.Tensor(values, True)
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    loss = loss_of(logits, labels, **options)
    alone = loss_of(values[kept], labels[kept], label_smoothing=label_smoothing)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-12)
    gradient = tq.grad(loss, logits)
    assert not gradient[~kept].any() and gradient[kept].all()


def test_ignored_rows_may_hold_anything():
    """A masked vocabulary entry, here number 0, is -inf: it must not leak through ignored rows."""
    values = np.zeros((3, 4))
    values[:, 0] = -np.inf
    values[2] = -np.inf
    with np.errstate(all="raise", under="ignore"):
        loss = F.cross_entropy(values[:2], [1, -100])
        assert loss.item() == pytest.approx(np.log(3), rel=1e-14)
        logits = tq.Tensor(values[:2], True)
        gradient = tq.grad(F.cross_entropy(logits, [1, -100]), logits)
        np.testing.assert_allclose(gradient, [[0, -2 / 3, 1 / 3, 1 / 3], [0] * 4], rtol=1e-12)


def test_nothing_counts(loss_of):
    with np.errstate(all="raise"):
        logits = tq.Tensor(np.ones((2, 3), np.float32), True)
        loss = loss_of(logits, [-100, -100])
        assert loss.item() == 0 and loss.dtype == np.float32
        np.testing.assert_array_equal(tq.grad(loss, logits), np.zeros((2, 3)))
        assert loss_of(np.zeros((0, 3)), np.zeros(0, int)).item() == 0


def test_num_items_makes_parts_add_up(loss_of, rng):
    values, labels = rng.standard_normal((7, 5)), rng.integers(0, 5, 7)
    labels[2] = -100
    whole = tq.Tensor(values, True)
    loss = loss_of(whole, labels)
    parts = [tq.Tensor(values[:3], True), tq.Tensor(values[3:], True)]
    losses = [loss_of(p, y, num_items=6) for p, y in zip(parts, (labels[:3], labels[3:]))]
    assert sum(part.item() for part in losses) == pytest.approx(loss.item(), rel=1e-12)
    gradient = np.concatenate([tq.grad(part, p) for part, p in zip(losses, parts)])
    np.testing.assert_allclose(gradient, tq.grad(loss, whole), rtol=1e-12)


def test_no_items_at_all(loss_of):
    logits = tq.Tensor(np.ones((2, 3)), True)
    loss = loss_of(logits, [-100, -100], num_items=0)
    assert loss.item() == 0 and not tq.grad(loss, logits).any()
    for num_items in (0, -1):
        with pytest.raises(ValueError, match=f"num_items is {num_items}, but 1 labels count"):
            loss_of(logits, [2, -100], num_items=num_items)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 255, 256, 257, 1100])
def test_fused_with_the_head(rows, label_smoothing, rng):
    """Across the borders of its chunks: the same as logits first, then the loss."""
    hidden = tq.Tensor(rng.standard_normal((rows, 6)), True)
    weight = tq.Tensor(rng.standard_normal((11, 6)), True)
    labels = np.where(rng.random(rows) < 0.2, -100, rng.integers(0, 11, rows))
    labels[0] = 3
    fused = F.linear_cross_entropy(hidden, weight, labels, label_smoothing=label_smoothing)
    plain = F.cross_entropy(hidden @ weight.T, labels, label_smoothing=label_smoothing)
    assert fused.item() == pytest.approx(plain.item(), rel=1e-12)
    found, expected = tq.grad(fused * 3, [hidden, weight]), tq.grad(plain * 3, [hidden, weight])
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)


def test_the_fused_loss_under_no_grad(rng):
    hidden, weight = rng.standard_normal((4, 6)), tq.Tensor(rng.standard_normal((5, 6)), True)
    labels = [0, 1, 2, 3]
    with tq.no_grad():
        silent = F.linear_cross_entropy(hidden, weight, labels)
    assert not silent.requires_grad
    assert silent.item() == F.linear_cross_entropy(hidden, weight, labels).item()


def test_nothing_is_computed_of_rows_that_do_not_count(rng):
    """So what stands there, as in padding, reaches neither the loss nor a gradient."""
    hidden, weight = rng.standard_normal((6, 4)), rng.standard_normal((7, 4))
    labels, counts = np.array([1, -100, 2, -100, 3, -100]), slice(0, None, 2)
    hidden[1::2] = np.nan
    leaf, kept = (tq.Tensor(h, requires_grad=True) for h in (hidden, hidden[counts]))
    found = F.linear_cross_entropy(leaf, weight, labels)
    expected = F.linear_cross_entropy(kept, weight, labels[counts])
    assert found.item() == expected.item()
    found.backward()
    expected.backward()
    np.testing.assert_array_equal(leaf.grad[counts], kept.grad)
    assert not leaf.grad[1::2].any()


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_the_fused_loss_with_one_side_frozen(frozen, rng):
    hidden = tq.Tensor(rng.standard_normal((4, 6)), frozen != "hidden")
    weight = tq.Tensor(rng.standard_normal((5, 6)), frozen != "weight")
    leaf = weight if frozen == "hidden" else hidden
    found = tq.grad(F.linear_cross_entropy(hidden, weight, [0, 1, 2, 3]), leaf)
    expected = tq.grad(F.cross_entropy(hidden @ weight.T, [0, 1, 2, 3]), leaf)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-15)


def test_inputs_are_left_alone(loss_of, rng):
    logits, labels = rng.standard_normal((4, 5)), np.array([0, 1, -100, 4])
    before = logits.copy(), labels.copy()
    leaf = tq.Tensor(logits, True)
    loss = loss_of(leaf, labels)
    tq.grad(loss, leaf)
    np.testing.assert_array_equal(logits, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("label", [5, 99, -1, -99])
def test_a_label_out_of_range_is_named(loss_of, label):
    with pytest.raises(ValueError, match=f"label {label} is out of range for 5 classes"):
        loss_of(np.zeros((2, 5)), [0, label])


def test_labels_of_another_shape_are_named(loss_of):
    with pytest.raises(ValueError, match=r"labels have shape \(3,\), expected \(2,\)"):
        loss_of(np.zeros((2, 5)), [0, 1, 2])


@pytest.mark.parametrize("labels", [[0.0, 1.0], [True, False]])
def test_labels_are_integers(loss_of, labels):
    with pytest.raises(TypeError, match="labels must be integers"):
        loss_of(np.zeros((2, 5)), labels)


def test_defaults_are_the_papers(rng):
    """ε is 0.1 for who always smooths (Vaswani et al. 2017), λ is 0.5 (Radford et al. 2018)."""
    z, y = rng.normal(size=(2, 3, 5)), rng.integers(0, 5, (2, 3))
    smoothed = F.label_smoothed_cross_entropy(z, y).item()
    assert smoothed == F.cross_entropy(z, y, label_smoothing=0.1).item()
    classes, hidden, weight = z[:, 0], rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 4))
    both = F.fine_tuning_loss(classes, hidden, weight, y[:, 0], y, np.ones((2, 3))).item()
    parts = [
        F.cross_entropy(classes, y[:, 0]),
        F.linear_cross_entropy(hidden[:, :-1], weight, y[:, 1:]),
    ]
    assert both == pytest.approx(parts[0].item() + 0.5 * parts[1].item(), rel=1e-12)
