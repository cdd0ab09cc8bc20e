"""tinyqwen: Qwen2 from scratch in NumPy, gradients included."""

from tinyqwen import functional, nn, optim
from tinyqwen.gradcheck import gradcheck
from tinyqwen.ops import concat, einsum, stack, where
from tinyqwen.qwen2 import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen2ForTokenClassification,
    Qwen2Model,
)
from tinyqwen.random import manual_seed
from tinyqwen.recomputation import checkpoint
from tinyqwen.tensor import (
    Tensor,
    enable_grad,
    grad,
    inference_mode,
    no_grad,
    primitive,
)
from tinyqwen.tokenizer import Tokenizer

__all__ = [
    "Qwen2Config",
    "Qwen2ForCausalLM",
    "Qwen2ForSequenceClassification",
    "Qwen2ForTokenClassification",
    "Qwen2Model",
    "Tensor",
    "Tokenizer",
    "checkpoint",
    "concat",
    "einsum",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "inference_mode",
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "primitive",
    "stack",
    "where",
]
__version__ = "0.1.0"
