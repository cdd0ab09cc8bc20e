"""tinyqwen: Qwen2 from scratch in NumPy, gradients included."""

from importlib import import_module

from tinyqwen import functional, generation, nn, optim
from tinyqwen.autograd.grad_mode import enable_grad, inference_mode, no_grad
from tinyqwen.autograd.gradcheck import gradcheck
from tinyqwen.autograd.ops import concat, einsum, stack, where
from tinyqwen.autograd.random import manual_seed
from tinyqwen.autograd.recomputation import checkpoint
from tinyqwen.autograd.tensor import Tensor, grad, primitive
from tinyqwen.models import activations as _activations  # noqa: F401  gives nn ReLU and others
from tinyqwen.tuning.quantization import quantize  # and models learn to read folders in few bits

# Rooms that are opened when one of their names is first asked for: no program needs them all, and
# `import tinyqwen` takes a fifth less time without them.
_ROOMS = {
    "models.auto": (
        *("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForMaskedLM"),
        *("AutoModelForSeq2SeqLM", "AutoModelForSequenceClassification"),
    ),
    "models.bert": (
        *("BertConfig", "BertForMaskedLM", "BertForPreTraining"),
        *("BertForSequenceClassification", "BertModel"),
    ),
    "models.gpt2": ("GPT2Config", "GPT2ForSequenceClassification", "GPT2LMHeadModel", "GPT2Model"),
    "models.llama": (
        *("LlamaConfig", "LlamaForCausalLM", "LlamaForSequenceClassification", "LlamaModel"),
    ),
    "models.marian": ("MarianConfig", "MarianModel", "MarianMTModel"),
    "models.qwen2": (
        *("Qwen2Config", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"),
        *("Qwen2ForTokenClassification", "Qwen2Model"),
    ),
    "models.qwen2_moe": (
        *("Qwen2MoeConfig", "Qwen2MoeForCausalLM", "Qwen2MoeForSequenceClassification"),
        "Qwen2MoeModel",
    ),
    "models.qwen3": (
        *("Qwen3Config", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification", "Qwen3Model"),
    ),
    "parallel.data_parallel": ("DataParallel",),
    "text.tokenizer": ("Tokenizer",),
    "tuning.lora": ("LoraConfig",),
    "tuning.peft_model": ("PeftModel", "get_peft_model"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Tensor",
    "checkpoint",
    "concat",
    "einsum",
    "enable_grad",
    "functional",
    "generation",
    "grad",
    "gradcheck",
    "inference_mode",
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "primitive",
    "quantize",
    "stack",
    "where",
    *_ROOM_OF,
]
__version__ = "0.1.0"


def __getattr__(name):
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"tinyqwen.{_ROOM_OF[name]}"), name)
    return value


def __dir__():
    return sorted({*globals(), *__all__})
