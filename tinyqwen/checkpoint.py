"""Checkpoints."""

from tinyqwen import nn


class PreTrainedModel(nn.Module):
    """A model with a config that is loaded from and saved to a Hugging Face folder."""
