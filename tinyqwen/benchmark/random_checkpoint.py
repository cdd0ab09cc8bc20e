"""A checkpoint with random weights in bfloat16, as large models are published."""

import json
from pathlib import Path

import numpy as np

from tinyqwen.benchmark.sizes import SIZES, auto
from tinyqwen.models import auto as models
from tinyqwen.nn import empty_parameters
from tinyqwen.storage.files import write_json

PERIOD = (1 << 20) + 7  # random numbers that are drawn; longer arrays repeat them


def write_random_checkpoint(folder, size):
    """Write config.json and model.safetensors (BF16) of a model in SIZES; returns its parameters.

    Weights are normal(0, 0.02), those of the norms 1. A bfloat16 is the upper half of a float32.
    """
    config = models.AutoConfig.from_dict(SIZES[size]["config"])
    with empty_parameters():
        model = auto(size, models).from_config(config)
    write_json(
        Path(folder) / "config.json",
        {**config.to_dict(), "architectures": [type(model).__name__], "dtype": "bfloat16"},
    )
    normal = np.random.default_rng(0).normal(0, 0.02, PERIOD).astype(np.float32)
    bits = (normal.view(np.uint32) >> 16).astype("<u2")
    one = np.array([0x3F80], "<u2")
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, parameter in model.named_parameters():
        offsets = [end, end + 2 * parameter.size]
        header[name] = {"dtype": "BF16", "shape": parameter.shape, "data_offsets": offsets}
        end = offsets[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(Path(folder) / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, parameter in model.named_parameters():
            values = one if name.endswith("norm.weight") else bits
            file.write(np.resize(values, parameter.size).tobytes())
    return model.num_parameters()
