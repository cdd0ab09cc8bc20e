"""A token of a model in few bits, at the shape of Qwen2.5-0.5B: here, and on more cores.

A weight in float32 waits for the memory, which several cores share; one in few bits waits for the
arithmetic that unpacks it, of which every core brings its own. So with c cores a token takes

    max(weights / (c · rate of a core), bytes / rate of the memory) + the rest

seconds; the rates are measured, and the rest is what is left of the token measured here.
"""

import time
from contextlib import ExitStack
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from tinyqwen import nn
from tinyqwen.benchmark.ours import Generation
from tinyqwen.benchmark.sizes import SIZES, auto, ids_for
from tinyqwen.benchmark.worker import Worker, take_turns
from tinyqwen.functional.matvec import multiply
from tinyqwen.models import auto as models
from tinyqwen.parallel.resources import default_threads
from tinyqwen.tuning.quantization import QuantizedLinear, nbytes, packed_shape

SIZE, GROUP = "0.5b", 128
MORE_CORES = (4, 8)


class Packed(Generation):
    """`Generation` with random weights in few bits, or, with bits = 32, in float32."""

    def __init__(self, bits):
        if bits == 32:
            super().__init__(SIZE, prompt=8)
            return
        self.size, self.ids = SIZE, ids_for(SIZE, (1, 8))
        config = models.AutoConfig.from_dict(SIZES[SIZE]["config"])
        config.extra["quantization_config"] = {
            **{"bits": bits, "group_size": GROUP, "embedding_bits": 8},
        }
        with nn.empty_parameters():
            self.model = auto(SIZE, models).from_config(config)
        packed_shape(self.model, _random)
        for parameter in self.model.parameters():
            parameter.data = np.ones(parameter.shape, np.float32)
        self.model.eval()

    def bytes(self):
        """Of the weights in memory."""
        return nbytes(self.model)

    def core_rate(self):
        """Weights a second that one core multiplies by one vector, of all large matrices."""
        weights, seconds, rng = 0, 0.0, np.random.default_rng(0)
        with threadpool_limits(1):
            for module in self.model.modules():
                if not isinstance(module, (nn.Linear, QuantizedLinear)):
                    continue
                weight = getattr(module.weight, "data", module.weight)
                x = rng.normal(size=(1, module.in_features)).astype(np.float32)
                out = np.empty((1, module.out_features), np.float32)
                start = time.perf_counter()
                multiply(weight, x, out)
                seconds += time.perf_counter() - start
                weights += module.in_features * module.out_features
        return weights / seconds


def _random(shape, dtype):
    """Bytes of any value; for scales and zeros some of the same size."""
    if np.dtype(dtype).itemsize > 1:
        return np.full(shape, 0.001 if dtype == np.float32 else 8, dtype)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8).view(dtype)


def predicted(weights, size, rest, core_rate, memory_rate, cores):
    """Seconds of a token with so many cores: see above.

    weights: that are multiplied; size: their bytes; rest: seconds; core_rate: weights a second;
    memory_rate: bytes a second.
    """
    return max(weights / (cores * core_rate), size / memory_rate) + rest


def tokens(rounds=5):
    """A row for float32, int8 and int4: milliseconds of a token, and times those of float32."""
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Worker(f"{__name__}:Packed", bits=bits))
            for name, bits in (("float32", 32), ("int8", 8), ("int4", 4))
        }
        rates = {name: side.ask("core_rate") for name, side in sides.items()}
        sizes = {name: side.ask("bytes") for name, side in sides.items()}
        weights = sizes["float32"] // 4  # tied: the table is the head's matrix too
        times = take_turns(sides, 2 * rounds, "token", new=9)
    seconds = {name: 1e-3 * median(each) for name, each in times.items()}
    memory = sizes["float32"] / seconds["float32"]  # all cores of this machine wait for it
    for name in seconds:
        facts = weights, sizes[name], 0.0, rates[name], memory
        rest = max(0.0, seconds[name] - predicted(*facts, default_threads()))
        ahead = {}
        for cores in MORE_CORES:
            alone = predicted(weights, sizes[name], rest, rates[name], memory, cores)
            ahead[f"ms on {cores} cores"] = 1e3 * alone
        yield {
            "weights": name,
            "ms a token": 1e3 * seconds[name],
            "times float32": median(a / b for a, b in zip(times[name], times["float32"])),
            "bytes": sizes[name],
            "of float32": sizes[name] / sizes["float32"],
            "billions/s a core": rates[name] / 1e9,
            **ahead,
        }
