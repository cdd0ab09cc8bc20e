"""One step's gradient on several cores.

The rows of a batch are split among this process and its workers, each with a tape of its own and
BLAS held to one core: so all of the model's arithmetic runs on all cores, not the matrix products
alone. The gradients are added in a fixed order: the result does not depend on who was first.
"""

import numpy as np
from threadpoolctl import threadpool_limits

from tinyqwen.autograd.random import seeded
from tinyqwen.autograd.tensor import grad, no_grad
from tinyqwen.optim import clip_grad_norm_
from tinyqwen.parallel.resources import default_threads, is_shared, keep_memory, shared_zeros
from tinyqwen.parallel.workers import start_worker


class DataParallel:
    """Losses and gradients of batches, computed on `threads` cores; a context manager.

    model: called as model(input_ids, labels=…, num_items_in_batch=…, skip_logits=True).
    optimizer: the AdamW of its parameters, for `step`.
    Inside the `with`, BLAS is limited to one core, and the parameters lie in shared memory. The
    workers have the model as it was when the `with` began; what they see of later changes is the
    parameters and whether it trains or evaluates.
    """

    def __init__(self, model, threads=None, optimizer=None):
        self.model, self.optimizer = model, optimizer
        self.threads = threads or default_threads()

    def __enter__(self):
        keep_memory()
        self._limits = threadpool_limits(1, user_api="blas")
        self._start()
        return self

    def __exit__(self, *exception):
        self._stop()
        self._limits.restore_original_limits()

    def _start(self):
        """Make the workers, and for each of them gradients that it shares with this process."""
        parameters = list(self.model.parameters())
        for parameter in parameters:
            if self.threads > 1 and not is_shared(parameter.data):
                parameter.data, old = _shared_like(parameter), parameter.data
                parameter.data[...] = old
        self._seen = [(p, p.data, p.requires_grad) for p in parameters]
        self._trained = [p for p in parameters if p.requires_grad]
        self._workers, self._gradients = [], []
        for _ in range(self.threads - 1):
            gradients = [_shared_like(parameter) for parameter in self._trained]
            self._workers.append(start_worker(self._work_into(gradients)))
            self._gradients.append(gradients)

    def _stop(self):
        for worker in self._workers[::-1]:  # the later ones hold the earlier ones' pipes open
            worker.close()
        self._workers = []

    def _start_again_if_changed(self):
        """Workers cannot see that a parameter got another array (an optimizer's), or was frozen."""
        if any(p.data is not data or p.requires_grad != trained for p, data, trained in self._seen):
            self._stop()
            self._start()

    # -----------------------------------------------------------------------------------------
    # What this process and every worker does
    # -----------------------------------------------------------------------------------------

    def _work_into(self, gradients):
        """A worker's function: a batch (2, B, T) of ids and labels -> its loss."""

        def work(task, batch, training, **options):
            if self.model.training != training:
                self.model.train(training)
            if task != "differentiate":
                return getattr(self, f"_{task}")(batch, **options)
            loss, found = self._differentiate(batch, **options)
            for home, gradient in zip(gradients, found):
                home[...] = 0 if gradient is None else gradient
            return loss

        return work

    def _differentiate(self, batch, num_items, seed):
        ids, labels = batch
        with seeded(seed):
            loss = self._loss(ids, labels, num_items)
            return loss.item(), grad(loss, self._trained)

    def _evaluate(self, batch):
        ids, labels = batch
        with no_grad():
            return self._loss(ids, labels, 1).item()

    def _update(self, _, runs):
        self.optimizer.update(runs)

    def _loss(self, ids, labels, num_items):
        return self.model(ids, labels=labels, num_items_in_batch=num_items, skip_logits=True).loss

    # -----------------------------------------------------------------------------------------
    # Who does which part
    # -----------------------------------------------------------------------------------------

    def _together(self, task, batches, options):
        """[task of a batch] for one batch a core; this process takes the first."""
        workers = self._workers[: len(batches) - 1]
        for worker, batch, its in zip(workers, batches[1:], options[1:]):
            worker.submit(task, batch, training=self.model.training, **its)
        try:
            own = getattr(self, f"_{task}")(batches[0], **options[0])
        finally:  # an answer that nobody fetched would be taken for the next one's
            others = [worker.result() for worker in workers]
        return [own, *others]

    def gradients(self, input_ids, labels, params, out, num_items, seed=(), add=False):
        """Loss of a batch; its gradients are written to `out`, or added to what is there.

        input_ids, labels (B, T); params: the model's Parameters; out: an array for each of them.
        num_items: the number of labels that count, by which losses and gradients are divided.
        seed: integers for this step's random numbers (dropout); each part appends its own.
        Returns the loss as a float.
        """
        self._start_again_if_changed()
        parts = min(self.threads, len(input_ids))
        batches = np.array_split(np.stack([input_ids, labels]), parts, axis=1)
        options = [{"num_items": num_items, "seed": [*seed, i]} for i in range(parts)]
        (loss, own), *losses = self._together("differentiate", batches, options)
        columns = zip(own, *self._gradients[: parts - 1])
        found = {id(p): gradients for p, gradients in zip(self._trained, columns)}
        for parameter, total in zip(params, out):
            parts = [total] if add else []
            parts += [part for part in found[id(parameter)] if part is not None]
            _add_up(parts, total)
        return loss + sum(losses)

    def step(self):
        """`optimizer.step()`, in which each core updates its share of the numbers."""
        shares = _shares(self.optimizer.due(), self.threads)
        nothing = np.empty(0, int)
        self._together("update", [nothing] * len(shares), [{"runs": share} for share in shares])

    def loss(self, batches):
        """Mean loss in nats over all labels that count of (ids, labels) batches; no dropout."""
        self._start_again_if_changed()
        pairs = [np.stack(batch) for batch in batches]
        count = sum(int(np.count_nonzero(labels[:, 1:] != -100)) for _, labels in pairs)
        training, total = self.model.training, 0.0
        self.model.eval()
        try:
            for first in range(0, len(pairs), self.threads):
                group = pairs[first : first + self.threads]
                total += sum(self._together("evaluate", group, [{}] * len(group)))
        finally:
            self.model.train(training)
        return total / max(1, count)


def _add_up(parts, out):
    """out = Σ parts, in their order; out itself may be the first of them."""
    if len(parts) > 1:
        np.add(parts[0], parts[1], out=out)
    else:
        out[...] = parts[0] if parts else 0
    for part in parts[2:]:
        out += part


def clipped_gradients(parallel, optimizer, batches, num_items, max_norm, seed=()):
    """Gradients of one update, in the `.grad` of the optimizer's parameters, clipped to max_norm.

    parallel: a DataParallel; batches: arrays (B, T) of token ids, whose gradients are added;
    num_items: labels in all of them. Returns the loss and the gradients' norm before clipping.
    """
    loss = 0.0
    for i, ids in enumerate(batches):
        loss += parallel.gradients(
            ids,
            ids,
            optimizer.params,
            out=optimizer.gradient_buffers,
            num_items=num_items,
            seed=(*seed, i),
            add=i > 0,
        )
    for parameter, gradient in zip(optimizer.params, optimizer.gradient_buffers):
        parameter.grad = gradient
    return loss, clip_grad_norm_(optimizer.params, max_norm)


def _shares(runs, parts):
    """Runs (start, stop, …) of numbers, cut into lists of runs that hold equally many of them."""
    shares, done = [[] for _ in range(parts)], 0
    total = sum(stop - start for start, stop, *_ in runs)
    for start, stop, *settings in runs:
        for k, share in enumerate(shares):
            first, last = (start - done + total * i // parts for i in (k, k + 1))
            first, last = max(first, start), min(last, stop)
            if first < last:
                share.append((first, last, *settings))
        done += stop - start
    return shares


def _shared_like(parameter):
    return shared_zeros(parameter.size, parameter.dtype).reshape(parameter.shape)
