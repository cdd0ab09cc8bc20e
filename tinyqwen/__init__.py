"""tinyqwen: Qwen2 from scratch in NumPy, gradients included."""

from tinyqwen import functional, generation, nn, optim
from tinyqwen.autograd.grad_mode import enable_grad, inference_mode, no_grad
from tinyqwen.autograd.gradcheck import gradcheck
from tinyqwen.autograd.ops import concat, einsum, stack, where
from tinyqwen.autograd.random import manual_seed
from tinyqwen.autograd.recomputation import checkpoint
from tinyqwen.autograd.tensor import Tensor, grad, primitive
from tinyqwen.models.auto import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)
from tinyqwen.models.bert import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertModel,
)
from tinyqwen.models.gpt2 import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    GPT2Model,
)
from tinyqwen.models.llama import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)
from tinyqwen.models.marian import MarianConfig, MarianModel, MarianMTModel
from tinyqwen.models.qwen2 import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen2ForTokenClassification,
    Qwen2Model,
)
from tinyqwen.models.qwen2_moe import (
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen2MoeForSequenceClassification,
    Qwen2MoeModel,
)
from tinyqwen.models.qwen3 import (
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    Qwen3Model,
)
from tinyqwen.parallel.data_parallel import DataParallel
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.tuning.lora import LoraConfig
from tinyqwen.tuning.peft_model import PeftModel, get_peft_model
from tinyqwen.tuning.quantization import quantize

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSequenceClassification",
    "BertConfig",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "BertModel",
    "DataParallel",
    "GPT2Config",
    "GPT2ForSequenceClassification",
    "GPT2LMHeadModel",
    "GPT2Model",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaForSequenceClassification",
    "LlamaModel",
    "LoraConfig",
    "MarianConfig",
    "MarianMTModel",
    "MarianModel",
    "PeftModel",
    "Qwen2Config",
    "Qwen2ForCausalLM",
    "Qwen2ForSequenceClassification",
    "Qwen2ForTokenClassification",
    "Qwen2Model",
    "Qwen2MoeConfig",
    "Qwen2MoeForCausalLM",
    "Qwen2MoeForSequenceClassification",
    "Qwen2MoeModel",
    "Qwen3Config",
    "Qwen3ForCausalLM",
    "Qwen3ForSequenceClassification",
    "Qwen3Model",
    "Tensor",
    "Tokenizer",
    "checkpoint",
    "concat",
    "einsum",
    "enable_grad",
    "functional",
    "generation",
    "get_peft_model",
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
]
__version__ = "0.1.0"
