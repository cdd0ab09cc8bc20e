"""Distillation: a student learns all of a teacher's probabilities, not the one token that came.

    L = (1 - w) · cross-entropy + w · T² KL(p_T ‖ q_T)

p_T and q_T are softmax(logits / T) of teacher and student; T² makes the gradient as large whatever
the temperature. (Hinton et al. 2015, "Distilling the knowledge in a neural network", section 2.)
"""

import numpy as np

from tinyqwen.autograd.grad_mode import no_grad
from tinyqwen.autograd.tensor import primitive
from tinyqwen.parallel.data_parallel import Objective


@primitive
def kl_divergence(logits, teacher_logits, labels=None, temperature=1.0, num_items=None):
    """T² Σ_rows Σ_v p_v (ln p_v - ln q_v) / num_items, q = softmax(logits / T), p the teacher's.

    logits, teacher_logits (..., V); labels (...) integers: rows labeled -100 do not count;
    num_items: by default the number of rows that count. Returns a scalar in nats.
    The teacher is given: only logits get a gradient, T (q - p) / num_items.

    >>> loss, vjp = kl_divergence.raw(np.zeros((1, 2)), np.log([[0.75, 0.25]]))
    >>> float(loss.round(4)), vjp(1.0)[0]
    (0.1308, array([[-0.25,  0.25]]))
    """
    if logits.shape != teacher_logits.shape:
        raise ValueError(
            f"kl_divergence: logits have shape {logits.shape}, the teacher's "
            f"{teacher_logits.shape}; both must know the same tokens"
        )
    counts = np.ones(logits.shape[:-1], bool) if labels is None else np.asarray(labels) != -100
    divisor = float(num_items or max(1, np.count_nonzero(counts)))
    log_q, log_p = (_log_softmax(z / temperature) for z in (logits, teacher_logits))
    p = np.exp(log_p)
    rows = np.sum(p * (log_p - log_q), axis=-1)
    loss = temperature**2 * float(np.sum(rows, where=counts, dtype=np.float64)) / divisor

    def vjp(g):
        return ((np.exp(log_q) - p) * counts[..., None] * (g * temperature / divisor),)

    return np.asarray(loss, logits.dtype), vjp


def _log_softmax(z):
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


class Distillation(Objective):
    """A task whose loss is mixed with the divergence from a teacher.

    task: an Objective whose loss is a causal model's own; teacher: a model with the same tokens,
    which is only asked. What is measured stays the task's.
    """

    def __init__(self, task, teacher, weight=0.9, temperature=1.0):
        self.task, self.teacher = task, teacher.eval()
        self.weight, self.temperature = weight, temperature

    def num_items(self, batch):
        return self.task.num_items(batch)

    def measure(self, model, batch):
        return self.task.measure(model, batch)

    def loss(self, model, batch, num_items):
        """(1 - w) · the model's own loss + w · the divergence, each over num_items."""
        out = model(**batch, num_items_in_batch=num_items)
        with no_grad():
            inputs = {name: array for name, array in batch.items() if name != "labels"}
            teacher = self.teacher(**inputs).logits.data
        following = np.full_like(batch["labels"], -100)
        following[:, :-1] = batch["labels"][:, 1:]
        divergence = kl_divergence(out.logits, teacher, following, self.temperature, num_items)
        return (1 - self.weight) * out.loss + self.weight * divergence
