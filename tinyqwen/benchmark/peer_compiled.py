"""The same peer through `torch.compile`: its first step takes a minute, and is not counted."""

import torch

from tinyqwen.benchmark import peers


class Training(peers.Training):
    """As `peers.Training`; the model is compiled, forward and backward, as its manual says."""

    def __init__(self, size, folder):
        super().__init__(size, folder)
        self.model = torch.compile(self.model)
