"""What a run with adapters or a teacher trains, minimizes and keeps."""

from pathlib import Path

from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.tuning.distillation import Distillation
from tinyqwen.tuning.lora import LoraConfig
from tinyqwen.tuning.peft_model import PeftModel, get_peft_model
from tinyqwen.tuning.quantization import is_quantized


def tuned(model, task, tokenizer, config):
    """(the model with adapters, if lora_rank asks for them; the task, or its `Distillation`)."""
    objective = task
    if config.teacher:
        teacher = task.auto.from_pretrained(config.teacher)
        _refuse_other_tokens(config.teacher, teacher, model, tokenizer)
        objective = Distillation(task, teacher, config.distill_weight, config.distill_temperature)
    if not (config.lora_rank or config.freeze_body) and is_quantized(model):
        raise ValueError(
            f"{config.init_from} is quantized, and what is in few bits cannot be trained; train "
            "adapters beside it: --lora-rank 8"
        )
    if config.lora_rank:
        settings = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha or 2 * config.lora_rank,
            target_modules="all-linear",
            task_type="SEQ_CLS" if config.task == "classify" else None,
            base_model_name_or_path=config.init_from,
        )
        model = get_peft_model(model, settings)
    return model, objective


def _refuse_other_tokens(path, teacher, model, tokenizer):
    own = tokenizer.backend.get_vocab()
    if (Path(path) / "tokenizer.json").exists():
        same = Tokenizer.from_pretrained(path).backend.get_vocab() == own
    else:
        same = teacher.config.vocab_size == model.config.vocab_size
    if not same or teacher.config.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"the teacher in {path} has other tokens than the student; give both one tokenizer: "
            f"--tokenizer {path}"
        )


def stored_parameters(model):
    """(name, parameter) of what a run's state holds: all, or of adapters those that are trained."""
    adapted = isinstance(model, PeftModel)
    return [(n, p) for n, p in model.named_parameters() if p.requires_grad or not adapted]


def save_tuned(model, folder):
    """Write a checkpoint that is used like any other: adapters are merged, and stand beside."""
    if isinstance(model, PeftModel):
        model.save_merged(folder)
    else:
        model.save_pretrained(folder)
