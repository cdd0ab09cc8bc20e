"""tinyqwen's side of every comparison; `peers.py` has the other one, method by method the same."""

import functools
import threading
import time
from itertools import pairwise
from statistics import median

from tinyqwen import functional as F
from tinyqwen.autograd.grad_mode import inference_mode, no_grad
from tinyqwen.autograd.random import manual_seed
from tinyqwen.benchmark.machine import peak_mib
from tinyqwen.benchmark.sizes import SIZES, auto, batch_for, ids_for
from tinyqwen.benchmark.worker import repeat
from tinyqwen.models import auto as models
from tinyqwen.optim import AdamW, decay_groups
from tinyqwen.parallel.data_parallel import DataParallel, clipped_gradients


class Training:
    """Steps of training as `tinyqwen.train` does them: gradients on all cores, clipping, AdamW."""

    def __init__(self, size, folder=None, threads=None, batch=None, seq=None, **changes):
        manual_seed(0)
        config = models.AutoConfig.from_dict({**SIZES[size]["config"], **changes})
        self.model = auto(size, models).from_config(config)
        if folder is not None:
            self.model.save_pretrained(folder)
        self.batch, self.num_items = batch_for(size, batch, seq)
        self.optimizer = AdamW(decay_groups(self.model, 0.1), 1e-3, betas=(0.9, 0.95))
        self.parallel = DataParallel(self.model, threads, self.optimizer).__enter__()

    def step(self):
        """One update; returns its loss."""
        batches = [self.batch]
        loss, _ = clipped_gradients(self.parallel, self.optimizer, batches, self.num_items, 1.0)
        self.parallel.step()
        return loss

    def losses(self, steps):
        """The losses of the first updates."""
        return [self.step() for _ in range(steps)]

    def round(self, seconds):
        """Milliseconds of a step."""
        return repeat(self.step, seconds)

    def attention_round(self, seconds):
        """Milliseconds of a step, and how many of them this process spends in attention."""
        spent, attention = [], F.scaled_dot_product_attention
        attention.raw = _timed(attention.raw, spent)
        try:
            counted = []
            step = repeat(lambda: counted.append((self.step(), len(spent))), seconds)
        finally:
            attention.raw = attention.raw.__wrapped__
        first, last = counted[0][1], counted[-1][1]
        return [step, 1e3 * sum(spent[first:last]) / (len(counted) - 1)]

    def memory(self, steps):
        """Peak memory in MiB, the workers' included, before the first step and after some."""
        before = peak_mib()
        self.losses(steps)
        return [before, peak_mib()]


def _timed(fn, spent):
    """fn, a primitive's NumPy function, that adds the seconds of each call and VJP to a list.

    Of the main thread's calls alone: the workers do as much again, at the same time.
    """

    def call(inner, *args, **kwargs):
        start = time.perf_counter()
        result = inner(*args, **kwargs)
        if threading.current_thread() is threading.main_thread():
            spent.append(time.perf_counter() - start)
        return result

    @functools.wraps(fn)
    def timed(*args, **kwargs):
        out, vjp = call(fn, *args, **kwargs)
        return out, lambda g: call(vjp, g)

    return timed


class Generation:
    """Greedy decoding with a KV cache, in a process such as `generate` makes.

    folder: a checkpoint of `size`; without one, random weights, in which `changes` may differ.
    """

    def __init__(self, size, prompt, folder=None, texts=1, **changes):
        if folder is None:
            config = models.AutoConfig.from_dict({**SIZES[size]["config"], **changes})
            self.model = auto(size, models).from_config(config).eval()
        else:
            self.model = auto(size, models).from_pretrained(folder)
        self.size, self.ids = size, ids_for(size, (texts, prompt))

    def logits(self):
        """Some of the logits that follow the prompt."""
        with no_grad():
            return self.model(self.ids).logits.data[0, -1, :512].tolist()

    def text(self, new, seconds):
        """Milliseconds from a prompt to its continuation by `new` tokens."""
        return repeat(lambda: self.model.generate(self.ids, new), seconds)

    def translation(self, new, beams, seconds):
        """Milliseconds from a source to what `beams` beams make of it in `new` tokens."""
        settings = {"num_beams": beams, "eos_token_id": []}
        return repeat(lambda: self.model.generate(self.ids, new, **settings), seconds)

    def memory(self):
        """Peak memory in MiB."""
        return peak_mib()

    def token(self, new):
        """Milliseconds of a decoded token, the prompt's and the first one's time left out."""
        clock = Clock()
        self.model.generate(self.ids, new, streamer=clock)
        return clock.milliseconds()

    def prefill(self, length):
        """Milliseconds of the forward pass over a prompt that fills a cache."""
        ids = ids_for(self.size, (1, length))
        start = time.perf_counter()
        with inference_mode():  # as in `generate`
            self.model(ids, use_cache=True, logits_to_keep=1)
        return 1e3 * (time.perf_counter() - start)


class Clock:
    """A streamer, for either library, that notes when each token came."""

    def __init__(self):
        self.times = []

    def put(self, ids):
        self.times.append(time.perf_counter())

    def end(self):
        pass

    def milliseconds(self):
        """Median time from one token to the next; the prompt (times[0]) comes before the first."""
        return 1e3 * median(after - before for before, after in pairwise(self.times[1:]))


class Loading:
    """`from_pretrained` in a process that has done nothing else."""

    def load(self, folder):
        """Seconds, and peak memory in MiB afterwards."""
        start = time.perf_counter()
        models.AutoModelForCausalLM.from_pretrained(folder)
        return [time.perf_counter() - start, peak_mib()]
