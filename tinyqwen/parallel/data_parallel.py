"""One step's gradient on several cores.

The rows of a batch are split among this process and its workers, each with a tape of its own and
BLAS held to one core: so all of the model's arithmetic runs on all cores, not the matrix products
alone. The gradients are added in a fixed order: the result does not depend on who was first.
"""

import math
import warnings
from collections import Counter

import numpy as np
from threadpoolctl import threadpool_limits

from tinyqwen.autograd.grad_mode import no_grad
from tinyqwen.autograd.random import default_rng, seeded
from tinyqwen.autograd.tape import backpropagate
from tinyqwen.parallel.mpi import Alone
from tinyqwen.parallel.resources import default_threads, is_shared, keep_memory, shared_zeros
from tinyqwen.parallel.workers import News, start_worker


class Objective:
    """What is minimized: this one, a model's own loss, which predicts each label from those before.

    A batch is a dict of arrays of integers, (B, …) each: what the model is called with.
    """

    def num_items(self, batch):
        """By what the sum of a batch's losses is divided: how many labels count."""
        return int(np.count_nonzero(batch["labels"][:, 1:] != -100))

    def loss(self, model, batch, num_items):
        """The loss of a batch, a scalar Tensor: the sum over its items, divided by num_items."""
        return model(**batch, num_items_in_batch=num_items, skip_logits=True).loss

    def measure(self, model, batch):
        """Sums over a batch, {name: number}: "loss", "items", and what else a task counts."""
        return {"loss": self.loss(model, batch, 1).item(), "items": self.num_items(batch)}


class DataParallel:
    """Losses and gradients of batches, computed on `threads` cores; a context manager.

    model, objective: see `Objective`. optimizer: the AdamW of the model's parameters, for `step`.
    A loop of your own then is as fast as `python -m tinyqwen.train`:

        with tq.DataParallel(model, optimizer=optimizer) as parallel:
            for ids in batches:
                loss, norm = parallel.training_step({"input_ids": ids, "labels": ids}, max_norm=1.0)

    Inside the `with`, BLAS is limited to one core, and the parameters lie in shared memory. The
    workers have the model as it was when the `with` began; what they see of later changes is the
    parameters and whether it trains or evaluates.
    """

    def __init__(self, model, threads=None, optimizer=None, objective=None):
        self.model, self.optimizer = model, optimizer
        self.objective = objective or Objective()
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
        optimizer = self.optimizer
        if self.threads > 1 and optimizer and not is_shared(optimizer.gradient_buffers[0]):
            optimizer.move_to(shared_zeros)
        for parameter in parameters:
            if self.threads > 1 and not is_shared(parameter.data):
                parameter.data, old = _shared_like(parameter), parameter.data
                parameter.data[...] = old
        self._seen = [(p, p.data, p.requires_grad) for p in parameters]
        self._trained = [p for p in parameters if p.requires_grad]
        self._workers, self._gradients = [], []
        self._news = News() if self.threads > 1 and optimizer and optimizer.gradient_ready else None
        for _ in range(self.threads - 1):
            gradients = [_shared_like(parameter) for parameter in self._trained]
            self._workers.append(start_worker(self._work_into(gradients), self._news))
            self._gradients.append(gradients)

    def _stop(self):
        for worker in self._workers[::-1]:  # the later ones hold the earlier ones' pipes open
            worker.close()
        self._workers = []
        if self._news:
            self._news.close()

    def _start_again_if_changed(self):
        """Workers cannot see that a parameter got another array (an optimizer's), or was frozen."""
        moved = any(p.data is not data for p, data, _ in self._seen)
        if moved and self.optimizer is None:
            warnings.warn(
                "the parameters' arrays were replaced, so the workers are made anew; if an "
                "optimizer does it at every step, say so: DataParallel(model, optimizer=optimizer)",
                stacklevel=3,
            )
        if moved or any(p.requires_grad != trained for p, _, trained in self._seen):
            self._stop()
            self._start()

    # -----------------------------------------------------------------------------------------
    # What this process and every worker does
    # -----------------------------------------------------------------------------------------

    def _work_into(self, gradients):
        """A worker's function: a part of a batch -> its loss, or what was measured."""

        def work(job, batch, training, **options):
            if self.model.training != training:
                self.model.train(training)
            if job == "differentiate":
                options |= {"final": bring_home, "early": self._news is not None}
            return getattr(self, f"_{job}")(batch, **options)

        def bring_home(i, gradient):
            gradients[i][...] = 0 if gradient is None else gradient
            if self._news:
                self._news.tell(i)

        return work

    def _differentiate(self, batch, num_items, seed, first_row, final, early):
        """The loss; final(i, gradient or None) is called once for each trained parameter.

        early: as soon as its gradient is final, and not at the end.
        """
        left = {parameter: i for i, parameter in enumerate(self._trained)}

        def told(leaf, gradient):
            if leaf in left:
                final(left.pop(leaf), gradient)

        with seeded(seed, range(first_row, first_row + num_rows(batch))):
            loss = self.objective.loss(self.model, batch, num_items)
            value = loss.item()
            sums = backpropagate(loss, final=told if early else None)
        for parameter, i in left.items():
            final(i, sums.get(parameter))
        return value

    def _measure(self, batch):
        with no_grad():
            return self.objective.measure(self.model, batch)

    def _update(self, _, runs):
        self.optimizer.update(runs)

    # -----------------------------------------------------------------------------------------
    # Who does which part
    # -----------------------------------------------------------------------------------------

    def _together(self, job, batches, options):
        """[job of a batch] for one batch a core; this process takes the first."""
        workers = self._workers[: len(batches) - 1]
        for worker, batch, its in zip(workers, batches[1:], options[1:]):
            worker.submit(job, batch, training=self.model.training, **its)
        try:
            own = getattr(self, f"_{job}")(batches[0], **options[0])
        finally:  # an answer that nobody fetched would be taken for the next one's
            others, errors = [], []
            for worker in workers:
                try:
                    others.append(worker.result())
                except Exception as error:
                    errors.append(error)
        if errors:
            raise errors[0]
        return [own, *others]

    def gradients(self, batch, params, out, num_items, seed=(), first_row=0, add=False, ready=None):
        """Loss of a batch; its gradients are written to `out`, or added to what is there.

        batch: {name: array (B, …)}; params: the model's Parameters; out: an array for each of them.
        num_items: what losses and gradients are divided by, as the objective counts it.
        seed: integers for this step's random numbers. Dropout draws for each row by its number,
        counted from first_row: the masks are the same however the rows are shared out.
        ready: called with the place of a parameter in params as soon as its gradient is in `out`,
        while others are still computed. Returns the loss as a float.
        """
        self._start_again_if_changed()
        batches = split_rows(batch, self.threads)
        options = []
        for part in batches:
            options.append({"num_items": num_items, "seed": seed, "first_row": first_row})
            first_row += num_rows(part)
        numbers = {id(p): i for i, p in enumerate(self._trained)}
        places = {numbers[id(p)]: place for place, p in enumerate(params)}
        own, missing = {}, dict.fromkeys(places, len(batches))
        others = self._gradients[: len(batches) - 1]

        def final(i, gradient):  # of this process's part; the workers tell theirs
            own[i] = gradient
            for told in (i, *self._heard()):
                if told in missing:
                    missing[told] -= 1
                    if not missing[told]:
                        finish(told)

        def finish(i):  # all parts have it
            del missing[i]
            total = out[places[i]]
            parts = [total] if add else []
            parts += [part for part in (own.pop(i), *(g[i] for g in others)) if part is not None]
            _add_up(parts, total)
            if ready:
                ready(places[i])

        self._heard()  # what was told last time after this process had done its part
        options[0] |= {"final": final, "early": ready is not None}
        losses = self._together("differentiate", batches, options)
        for i in list(missing):
            finish(i)
        return sum(losses)

    def _heard(self):
        return self._news.heard() if self._news else ()

    def training_step(self, batch, max_norm=math.inf):
        """One update by a batch: its gradients, clipped to max_norm, then the optimizer's step.

        batch: {name: array (B, …)}; this thread's generator seeds dropout. Returns the loss
        and the gradients' norm before clipping, two floats. The learning rate is the optimizer's.
        """
        loss, norm = clipped_gradients(
            self,
            self.optimizer,
            [batch],
            self.objective.num_items(batch),
            max_norm,
            seed=(int(default_rng().integers(1 << 62)),),
        )
        self.step()
        return loss, norm

    def step(self):
        """`optimizer.step()`, in which each core updates its share of the numbers."""
        shares = _shares(self.optimizer.due(), self.threads)
        self._together("update", [{}] * len(shares), [{"runs": share} for share in shares])
        self.optimizer.finish()

    def measure(self, batches):
        """What the objective measures, summed over all batches, {name: number}; no dropout."""
        self._start_again_if_changed()
        training, sums = self.model.training, Counter()
        self.model.eval()
        try:
            for first in range(0, len(batches), self.threads):
                group = batches[first : first + self.threads]
                for measured in self._together("measure", group, [{}] * len(group)):
                    sums.update(measured)
        finally:
            self.model.train(training)
        return dict(sums)

    def loss(self, batches):
        """Mean loss in nats over all items of batches; no dropout."""
        sums = self.measure(batches)
        return sums["loss"] / max(1, sums["items"])


def num_rows(batch):
    """B of a batch, {name: array (B, …)}."""
    return len(next(iter(batch.values())))


def split_rows(batch, parts):
    """A batch as at most `parts` batches of neighboring rows, as even as can be."""
    parts = min(parts, num_rows(batch))
    columns = [np.array_split(array, parts) for array in batch.values()]
    return [dict(zip(batch, arrays)) for arrays in zip(*columns)]


def _add_up(parts, out):
    """out = Σ parts, in their order; out itself may be the first of them."""
    if len(parts) > 1:
        np.add(parts[0], parts[1], out=out)
    else:
        out[...] = parts[0] if parts else 0
    for part in parts[2:]:
        out += part


def clipped_gradients(
    parallel, optimizer, batches, num_items, max_norm, seed=(), first_row=0, ranks=None
):
    """Gradients of one update, in the `.grad` of the optimizer's parameters, clipped to max_norm.

    parallel: a DataParallel; batches: dicts of arrays, or arrays (B, T) of token ids that are their
    own labels; their gradients are added. num_items: of all of them. first_row: the number of their
    first row among those of the update. ranks: who else has batches of this update, if anybody; the
    optimizer then sums the gradients over them. Returns the loss and the gradients' norm before
    clipping.
    """

    def own_loss():
        loss, row = 0.0, first_row
        for i, batch in enumerate(batches):
            batch = batch if isinstance(batch, dict) else {"input_ids": batch, "labels": batch}
            last = i == len(batches) - 1
            loss += parallel.gradients(
                batch,
                optimizer.params,
                out=optimizer.gradient_buffers,
                num_items=num_items,
                seed=seed,
                first_row=row,
                add=i > 0,
                ready=optimizer.gradient_ready if last else None,
            )
            row += num_rows(batch)
        return loss

    ranks = ranks or Alone()
    try:
        loss = sum(ranks.everybody(ranks.together(own_loss)))
    except (Exception, SystemExit):  # on all ranks
        if optimizer.gradient_ready:
            optimizer.sum_gradients()  # MPI does not end while a message is under way
        raise
    for parameter, gradient in zip(optimizer.params, optimizer.gradient_buffers):
        parameter.grad = gradient
    return loss, optimizer.clip_gradients(max_norm)


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
