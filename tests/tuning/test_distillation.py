"""The divergence from a teacher: its value by hand, its gradient, and what it is in a task."""

import math

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.parallel.data_parallel import Objective
from tinyqwen.tuning.distillation import Distillation, kl_divergence


def softmax(z):
    e = [math.exp(v) for v in z]
    return [v / sum(e) for v in e]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_value_by_hand_and_gradient(rng, temperature):
    student, teacher = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 5))
    labels = np.array([[1, -100, 2], [-100, -100, 0]])
    expected = 0.0
    for row, (s, t) in enumerate(zip(student.reshape(-1, 5), teacher.reshape(-1, 5))):
        if labels.reshape(-1)[row] != -100:
            p, q = softmax(t / temperature), softmax(s / temperature)
            expected += sum(a * math.log(a / b) for a, b in zip(p, q)) * temperature**2
    found = kl_divergence.raw(student, teacher, labels, temperature)[0]
    np.testing.assert_allclose(found, expected / 3, rtol=1e-12)
    np.testing.assert_allclose(
        kl_divergence.raw(student, teacher, labels, temperature, 12)[0], expected / 12, rtol=1e-12
    )
    tq.gradcheck(lambda z: kl_divergence(z, teacher, labels, temperature), student)
    assert abs(kl_divergence.raw(teacher + 7, teacher)[0]) < 1e-12


def test_other_tokens_are_refused(rng):
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(2, 6\).*same tokens"):
        kl_divergence(rng.normal(size=(2, 5)), rng.normal(size=(2, 6)))


def test_a_task_with_a_teacher(rng):
    sizes = dict(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
    config = tq.Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=1)
    student, teacher = tq.Qwen2ForCausalLM(config), tq.Qwen2ForCausalLM(config)
    ids = rng.integers(0, 20, (2, 6))
    batch, task = {"input_ids": ids, "labels": ids}, Objective()
    alone = task.loss(student, batch, 10).item()
    losses = [
        Distillation(task, teacher, w, 2.0).loss(student, batch, 10).item() for w in (0, 0.5, 1)
    ]
    np.testing.assert_allclose(losses[0], alone, rtol=1e-6)
    np.testing.assert_allclose(losses[1], (losses[0] + losses[2]) / 2, rtol=1e-6)
    hers, its = teacher(ids).logits.data[:, :-1], student(ids).logits.data[:, :-1]
    np.testing.assert_allclose(losses[2], kl_divergence.raw(its, hers, None, 2.0)[0], rtol=1e-5)
    mixed = Distillation(task, teacher, 1.0)
    mixed.loss(student, batch, 10).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert mixed.measure(student, batch) == task.measure(student, batch)


def test_a_teacher_is_asked_without_dropout_and_shares_the_divisor(rng):
    """Twice the items halve both halves of the loss, as when a batch is split."""
    sizes = dict(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
    config = tq.Qwen2Config(
        **sizes, num_attention_heads=2, num_key_value_heads=1, attention_dropout=0.9
    )
    student, teacher = tq.Qwen2ForCausalLM(config).eval(), tq.Qwen2ForCausalLM(config).train()
    ids = rng.integers(0, 20, (2, 6))
    batch, mixed = {"input_ids": ids, "labels": ids}, Distillation(Objective(), teacher, 0.25)
    assert (mixed.weight, mixed.temperature) == (0.25, 1.0) and mixed.num_items(batch) == 10
    loss = mixed.loss(student, batch, 10).item()
    assert mixed.loss(student, batch, 10).item() == loss
    assert mixed.loss(student, batch, 20).item() == pytest.approx(loss / 2, rel=1e-6)
