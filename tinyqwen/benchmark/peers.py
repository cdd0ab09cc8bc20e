"""The peer's side: torch and transformers, used as their manuals say, on all cores."""

import torch
import transformers

from tinyqwen.benchmark.machine import peak_mib
from tinyqwen.benchmark.sizes import SIZES, ids_for
from tinyqwen.benchmark.worker import repeat

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class Training:
    """Qwen2ForCausalLM (sdpa attention), clip_grad_norm_, AdamW(fused=True), on our weights."""

    def __init__(self, size, folder):
        self.model = transformers.Qwen2ForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa"
        ).train()
        self.ids = torch.from_numpy(ids_for(size, (SIZES[size]["batch"], SIZES[size]["seq"])))
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)

    def step(self):
        """One update; returns its loss."""
        self.optimizer.zero_grad()
        loss = self.model(input_ids=self.ids, labels=self.ids).loss
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
