"""tinyqwen's side of every comparison; `peers.py` has the other one, method by method the same."""

from tinyqwen.benchmark.machine import peak_mib
from tinyqwen.benchmark.sizes import SIZES, ids_for
from tinyqwen.benchmark.worker import repeat
from tinyqwen.optim import AdamW, decay_groups
from tinyqwen.parallel import DataParallel
from tinyqwen.qwen2 import Qwen2Config, Qwen2ForCausalLM
from tinyqwen.random import manual_seed
from tinyqwen.trainer import clipped_gradients


class Training:
    """Steps of training as `tinyqwen.train` does them: gradients on all cores, clipping, AdamW."""

    def __init__(self, size, folder=None, threads=None, batch=None, seq=None, **changes):
        manual_seed(0)
        self.model = Qwen2ForCausalLM(Qwen2Config(**{**SIZES[size]["config"], **changes}))
        if folder is not None:
            self.model.save_pretrained(folder)
        shape = (batch or SIZES[size]["batch"], seq or SIZES[size]["seq"])
        self.ids = ids_for(size, shape)
        self.optimizer = AdamW(decay_groups(self.model, 0.1), 1e-3, betas=(0.9, 0.95))
        self.parallel = DataParallel(self.model, threads).__enter__()

    def step(self):
        """One update; returns its loss."""
        num_items = self.ids.shape[0] * (self.ids.shape[1] - 1)
        loss, _ = clipped_gradients(self.parallel, self.optimizer, [self.ids], num_items, 1.0)
        self.optimizer.step()
        return loss

    def losses(self, steps):
        """The losses of the first updates."""
        return [self.step() for _ in range(steps)]

    def round(self, seconds):
        """Milliseconds of a step."""
        return repeat(self.step, seconds)

    def memory(self, steps):
        """Peak memory in MiB before the first step and after some."""
        before = peak_mib()
        self.losses(steps)
        return [before, peak_mib()]
