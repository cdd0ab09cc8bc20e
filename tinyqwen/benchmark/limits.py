"""What no implementation can beat: the matrix products alone, and the memory's speed."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from tinyqwen.benchmark.sizes import SIZES
from tinyqwen.benchmark.worker import repeat
from tinyqwen.functional.attention import BLOCK
from tinyqwen.functional.losses import ROWS
from tinyqwen.models.auto import AutoConfig, AutoModelForCausalLM
from tinyqwen.nn import empty_parameters
from tinyqwen.parallel.resources import default_threads, keep_memory

# A product is (times, A's shape, B's shape): A @ B as NumPy multiplies stacks of matrices.


def training_products(size, rows):
    """All matrix products of one step's forward and backward pass, for `rows` rows of the batch.

    Queries, keys and values come from one product, and so do gate and up, for they share an input.
    Of attention only the blocks are counted which causality leaves, in the shapes that
    `scaled_dot_product_attention` multiplies; the loss takes its rows as `linear_cross_entropy`
    does.
    """
    config, seq = SIZES[size]["config"], SIZES[size]["seq"]
    layers, hidden = config["num_hidden_layers"], config["hidden_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    inner, vocab, depth = config["intermediate_size"], config["vocab_size"], hidden // heads
    products = []
    for inputs, outputs in (
        (hidden, (heads + 2 * kv_heads) * depth),
        (heads * depth, hidden),
        (hidden, 2 * inner),
        (inner, hidden),
    ):
        products += _linear(layers, rows * seq, inputs, outputs)
    for start in range(0, seq, BLOCK):
        stop = min(start + BLOCK, seq)
        stack, queries = (rows, kv_heads), heads // kv_heads * (stop - start)
        scores, outs = (*stack, queries, stop), (*stack, queries, depth)
        keys, turned = (*stack, stop, depth), (*stack, depth, stop)
        across = (*stack, stop, queries)
        products += [
            (layers, outs, turned),  # S = Q Kᵀ
            (layers, scores, keys),  # O = P V
            (layers, across, outs),  # dV = Pᵀ g
            (layers, outs, turned),  # dP = g Vᵀ
            (layers, scores, keys),  # dQ = dS K
            (layers, across, outs),  # dK = dSᵀ Q
        ]
    full, rest = divmod(rows * seq, ROWS)
    products += _linear(full, ROWS, hidden, vocab) + _linear(int(rest > 0), rest, hidden, vocab)
    return [product for product in products if product[0]]


def _linear(times, rows, inputs, outputs):
    return [
        (times, (rows, inputs), (inputs, outputs)),  # y = x Wᵀ
        (times, (rows, outputs), (outputs, inputs)),  # dx = g W
        (times, (outputs, rows), (rows, inputs)),  # dW = gᵀ x
    ]


def flops(products):
    """Floating-point operations, a multiplication and an addition being two."""
    return sum(times * 2 * math.prod(a) * b[-1] for times, a, b in products)


class Products:
    """A step's matrix products with nothing between them, on all cores as the training uses them:
    the batch split among threads, BLAS held to one core for each.
    """

    def __init__(self, size, folder=None):
        keep_memory()
        threads = default_threads()
        shards = np.array_split(np.arange(SIZES[size]["batch"]), threads)
        self._jobs = [
            _operands(training_products(size, len(shard))) for shard in shards if len(shard)
        ]
        self._pool = ThreadPoolExecutor(threads)
        threadpool_limits(1, user_api="blas")

    def step(self):
        """All products, once."""
        for future in [self._pool.submit(_multiply, job) for job in self._jobs]:
            future.result()

    def round(self, seconds):
        """Milliseconds of a step."""
        return repeat(self.step, seconds)


def _operands(products):
    rng = np.random.default_rng(0)
    return [
        (
            times,
            rng.random(a, np.float32),
            rng.random(b, np.float32),
            np.empty((*a[:-1], b[-1]), np.float32),
        )
        for times, a, b in products
    ]


def _multiply(job):
    for times, a, b, out in job:
        for _ in range(times):
            np.matmul(a, b, out=out)


class Bandwidth:
    """The time to read a model's weights from memory once, on all cores.

    A decoded token needs every weight (of a tied head and embedding: once) and does little with it.
    Read is an array far larger than the caches, in a share for each thread, with the faster of two
    reductions: a dot product of the share with itself, and a matrix times a vector.
    """

    def __init__(self, size, folder=None, prompt=None, mebibytes=1024):
        with empty_parameters():
            config = AutoConfig.from_dict(SIZES[size]["config"])
            model = AutoModelForCausalLM.from_config(config)
        self.bytes = 4 * model.num_parameters()
        array = np.ones((mebibytes << 8, 1024), np.float32)
        self._shares = np.array_split(array, default_threads())
        self._pool = ThreadPoolExecutor(default_threads())
        self._read = array.nbytes
        threadpool_limits(1, user_api="blas")

    def token(self, new=None):
        """Milliseconds to read all weights once, by the median of a few readings."""
        vector = np.ones(1024, np.float32)
        milliseconds = min(
            self._milliseconds(lambda share: np.vdot(share, share)),
            self._milliseconds(lambda share: share @ vector),
        )
        return milliseconds * self.bytes / self._read

    def _milliseconds(self, reduce):
        return repeat(lambda: list(self._pool.map(reduce, self._shares)), 0)
