"""The fused primitives: one NumPy function each, with a VJP derived by hand.

What a graph of elementary operations would do in ten passes over memory is done here in three. The
derivations are in the docstrings; g is always the gradient of the loss with respect to the output.
Usually imported as F; a room for each subject, and the names of all of them here.
"""

from tinyqwen.autograd.further_ops import elu, leaky_relu, one_hot, pad, softplus
from tinyqwen.autograd.ops import log_softmax, relu, sigmoid, silu, softmax, tanh
from tinyqwen.functional.activations import dropout, swiglu
from tinyqwen.functional.attention import (
    cross_attention,
    grouped_query_attention,
    merge_heads,
    repeat_kv,
    scaled_dot_product_attention,
    split_heads,
)
from tinyqwen.functional.conv1d import conv1d
from tinyqwen.functional.fine_tuning import fine_tuning_loss
from tinyqwen.functional.further_losses import (
    label_smoothed_cross_entropy,
    mse_loss,
    next_sentence_loss,
    nll_loss,
)
from tinyqwen.functional.gaussian import gelu, gelu_new
from tinyqwen.functional.learned_positions import add_positions
from tinyqwen.functional.linear import embedding, linear
from tinyqwen.functional.losses import cross_entropy, linear_cross_entropy
from tinyqwen.functional.normalization import layer_norm, qk_norm, rms_norm
from tinyqwen.functional.positions import apply_rope, rope_tables, sinusoidal_table
from tinyqwen.functional.similarity import cosine_similarity

__all__ = [
    "add_positions",
    "apply_rope",
    "conv1d",
    "cosine_similarity",
    "cross_attention",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "fine_tuning_loss",
    "gelu",
    "gelu_new",
    "grouped_query_attention",
    "label_smoothed_cross_entropy",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_cross_entropy",
    "log_softmax",
    "merge_heads",
    "mse_loss",
    "next_sentence_loss",
    "nll_loss",
    "one_hot",
    "pad",
    "qk_norm",
    "relu",
    "repeat_kv",
    "rms_norm",
    "rope_tables",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "sinusoidal_table",
    "softmax",
    "softplus",
    "split_heads",
    "swiglu",
    "tanh",
]
