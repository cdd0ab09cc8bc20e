"""The peer's side: torch and transformers, used as their manuals say, on all cores."""

import time

import torch
import transformers

from tinyqwen.benchmark.machine import peak_mib
from tinyqwen.benchmark.ours import Clock
from tinyqwen.benchmark.sizes import auto, batch_for, ids_for
from tinyqwen.benchmark.worker import repeat

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class Training:
    """Its model (sdpa attention), clip_grad_norm_, AdamW(fused=True), on our weights."""

    def __init__(self, size, folder):
        self.model = (
            auto(size, transformers)
            .from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
            .train()
        )
        for name, parameter in self.model.named_parameters():
            if "embed_positions" in name:  # sinusoids: a constant, which transformers 5 would train
                parameter.requires_grad_(False)
        self.batch = {name: torch.from_numpy(a) for name, a in batch_for(size)[0].items()}
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)

    def step(self):
        """One update; returns its loss."""
        self.optimizer.zero_grad()
        loss = self.model(**self.batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

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


class Generation:
    """Greedy decoding of one text with a KV cache."""

    def __init__(self, folder, size, prompt):
        self.model = (
            auto(size, transformers)
            .from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
            .eval()
        )
        self.size, self.ids = size, torch.from_numpy(ids_for(size, (1, prompt)))

    def logits(self):
        """Some of the logits that follow the prompt."""
        with torch.no_grad():
            return self.model(self.ids).logits[0, -1, :512].tolist()

    def _generate(self, new, streamer=None):
        mask = torch.ones_like(self.ids)
        self.model.generate(
            self.ids,
            attention_mask=mask,
            max_new_tokens=new,
            do_sample=False,
            streamer=streamer,
        )

    def text(self, new, seconds):
        """Milliseconds from a prompt to its continuation by `new` tokens."""
        return repeat(lambda: self._generate(new), seconds)

    def translation(self, new, beams, seconds):
        """Milliseconds from a source to what `beams` beams make of it in `new` tokens."""
        settings = {"max_new_tokens": new, "min_new_tokens": new, "num_beams": beams}
        return repeat(lambda: self.model.generate(self.ids, do_sample=False, **settings), seconds)

    def token(self, new):
        """Milliseconds of a decoded token, the prompt's and the first one's time left out."""
        clock = Clock()
        self._generate(new, clock)
        return clock.milliseconds()

    def prefill(self, length):
        """Milliseconds of the forward pass over a prompt that fills a cache."""
        ids = torch.from_numpy(ids_for(self.size, (1, length)))
        start = time.perf_counter()
        with torch.no_grad():
            self.model(ids, use_cache=True, logits_to_keep=1)
        return 1e3 * (time.perf_counter() - start)


class Loading:
    """`from_pretrained` in a process that has done nothing else."""

    def load(self, folder):
        """Seconds, and peak memory in MiB afterwards."""
        start = time.perf_counter()
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return [time.perf_counter() - start, peak_mib()]
