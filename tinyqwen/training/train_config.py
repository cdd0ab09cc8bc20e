"""The settings of a training run."""

import math
from dataclasses import dataclass, fields

from tinyqwen import nn
from tinyqwen.analysis.costs import training_memory
from tinyqwen.models.auto import MODELS, AutoConfig, config_class
from tinyqwen.parallel.resources import default_threads, physical_memory
from tinyqwen.text.tokenizer_training import KINDS
from tinyqwen.training.tasks import TASKS, tasks_of
from tinyqwen.training.tasks.task import DATA

RUN_CONFIG = "train_config.json"  # in a run's folder: what was asked for
STORIES = DATA / "stories"
ONLY_FOR = {  # the one task that a setting is for
    **dict.fromkeys(("lm_weight", "freeze_body"), "classify"),
    **dict.fromkeys(("label_smoothing", "source", "target"), "translate"),
}
NEEDS = {"lora_alpha": "lora_rank", "distill_weight": "teacher", "distill_temperature": "teacher"}
SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("intermediate_size", "initializer_range"),
)


@dataclass
class TrainConfig:
    """Everything a run depends on. The defaults train a story writer of 0.85M parameters.

    model: a family that `tinyqwen.models.auto` knows; task: one of `tinyqwen.training.tasks`.

    steps and intervals count optimizer updates; an interval of 0 means never. An update is computed
    from batch_size · grad_accumulation rows of seq_len tokens. threads: 0 means one for each core.
    tokenizer: "bpe", "wordpiece", "char", or the folder of one; "" means that of init_from or
    teacher, or bpe. vocab_size: 0 means 512 for bpe and wordpiece, every character of the text for
    char. Sizes are named as in Qwen2Config. lora_rank: 0 trains all of the model; lora_alpha: 0
    means twice the rank.
    """

    model: str = "qwen2"
    task: str = "causal"
    data: str = str(STORIES)
    out: str = "runs/stories"
    tokenizer: str = ""
    init_from: str | None = None
    steps: int = 450
    batch_size: int = 16
    seq_len: int = 128
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    weight_decay: float = 0.1
    grad_clip: float = 1.0
    grad_accumulation: int = 1
    label_smoothing: float = 0.0
    lm_weight: float = 0.0
    freeze_body: bool = False
    eval_interval: int = 100
    save_interval: int = 200
    seed: int = 0
    threads: int = 0
    lora_rank: int = 0
    lora_alpha: float = 0.0
    teacher: str = ""
    distill_weight: float = 0.9
    distill_temperature: float = 1.0
    source: str = "zh"
    target: str = "en"
    vocab_size: int = 0
    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 384
    initializer_range: float = 0.06  # about 0.7/√hidden_size; 0.02 suits models ten times as wide

    def __post_init__(self):
        for field in fields(self):
            self._check_type(field.name, type(field.default))
        self.tokenizer = self.tokenizer or self.init_from or self.teacher or "bpe"
        self.threads = self.threads or default_threads()
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r} is none of {', '.join(MODELS)}")
        if self.task not in tasks_of(self.model):
            known = ", ".join(tasks_of(self.model))
            raise ValueError(f"task {self.task!r} is none of those for {self.model}: {known}")
        at_least = {
            **dict.fromkeys(("steps", "warmup_steps", "eval_interval", "save_interval", "seed"), 0),
            **dict.fromkeys(("batch_size", "grad_accumulation"), 1),
            **dict.fromkeys(("vocab_size", "threads"), 0),
            "seq_len": 2,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        for name in ("learning_rate", "grad_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a positive number, not {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(
                f"label_smoothing must be from 0 to below 1, not {self.label_smoothing}"
            )
        for name in ("weight_decay", "lm_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative, it is {getattr(self, name)}")
        self._refuse_idle(f.name for f in fields(self) if getattr(self, f.name) != f.default)
        if self.lm_weight and "causal" not in tasks_of(self.model):
            raise ValueError(
                f"lm_weight is for models that write; {self.model} sees the tokens that it would "
                "have to predict"
            )
        if self.freeze_body and self.lm_weight:
            raise ValueError("with freeze_body the body learns nothing, so lm_weight must be 0")
        self._check_tuning()
        self.model_config(self.vocab_size or 512)  # refuses sizes that do not fit together

    def _check_tuning(self):
        if self.lora_rank < 0 or not 0 <= self.lora_alpha < math.inf:
            raise ValueError("lora_rank and lora_alpha must not be negative")
        if self.lora_rank and self.init_from is None:
            raise ValueError("lora_rank adapts a trained model; choose one with init_from")
        if self.lora_rank and self.freeze_body:
            raise ValueError("lora_rank trains the body's adapters; leave out freeze_body")
        if self.teacher and self.task not in ("causal", "chat"):
            raise ValueError(f"a teacher is for the tasks causal and chat, not for {self.task}")
        if not 0 <= self.distill_weight <= 1:
            raise ValueError(f"distill_weight must be from 0 to 1, not {self.distill_weight}")
        if not 0 < self.distill_temperature < math.inf:
            raise ValueError(
                f"distill_temperature must be a positive number, not {self.distill_temperature}"
            )

    def _refuse_idle(self, names):
        """Raise ValueError for settings that mean nothing without others, which are not there."""
        for name in names:
            task, needed = ONLY_FOR.get(name, self.task), NEEDS.get(name)
            if task != self.task:
                raise ValueError(f"{name} is for the task {task}, not for {self.task}")
            if needed and not getattr(self, needed):
                raise ValueError(f"{name} is nothing without {needed}")

    @classmethod
    def recipe(cls, **given):
        """The settings for a family and a task, but for those given.

        The family is that of init_from, or qwen2; the task is what the family was made for. Raises
        ValueError for a setting that would be lost: a size beside init_from, for one.
        """
        base, model = given.get("init_from"), given.get("model")
        model = model.replace("-", "_") if model else None  # as on the command line
        if base is not None:
            found = AutoConfig.from_pretrained(base).model_type
            if model not in (None, found):
                raise ValueError(f"{base} holds a {found}, not a {model}; leave out --model")
            model = found
        model = model or cls.model
        if model not in MODELS:
            raise ValueError(f"model {model!r} is none of {', '.join(MODELS)}")
        if fixed := [name for name in (*SIZES, "vocab_size") if name in given and base is not None]:
            flag = fixed[0].replace("_", "-")
            raise ValueError(f"{fixed[0]} is that of the model in {base}; leave out --{flag}")
        missing = [name for name in SIZES if name in given and name not in _names(model)]
        if missing:
            flag = missing[0].replace("_", "-")
            raise ValueError(f"{model} has no {missing[0]}; leave out --{flag}")
        usual = tasks_of(model)[0]
        task = given.get("task", usual)
        settings = dict(TASKS[task].recipe) if task in TASKS else {}
        settings |= {n: v for n, v in _small(model).items() if n in SIZES}
        if base is not None:
            longest = AutoConfig.from_pretrained(base).max_sequence_length
            settings["seq_len"] = min(settings.get("seq_len", cls.seq_len), longest)
        if (model, task) != (cls.model, cls.task):
            settings["out"] = f"runs/{model}" if task == usual else f"runs/{model}-{task}"
        made = cls(**{**settings, **given, "model": model, "task": task})
        made._refuse_idle(given)
        if made.freeze_body and base is None:
            raise ValueError("freeze_body keeps a trained body as it is; choose one with init_from")
        if given.get("vocab_size") and made.tokenizer not in KINDS:
            raise ValueError(
                f"vocab_size is for a tokenizer that is learned, and {made.tokenizer} has one "
                "already; leave out --vocab-size"
            )
        return made

    def _check_type(self, name, expected):
        value = getattr(self, name)
        if expected is float and type(value) is int:
            value = float(value)
            setattr(self, name, value)
        if not (type(value) is expected or (name == "init_from" and isinstance(value, str))):
            raise TypeError(f"{name} must be {expected.__name__}, not {value!r:.100}")

    def refuse_too_large(self, base=None):
        """Raise ValueError if training takes more memory than the machine has, by the estimate of
        `analysis/costs.py`: the system would end the process, and perhaps others. And if a row is
        longer than the model to start from can read.

        base: the checkpoint with the model's config, if it is not init_from
        """
        base = base or self.init_from
        batch = {"batch": 8 * self.batch_size * self.grad_accumulation * self.seq_len}
        if base is None:
            model_config = self.model_config(self.vocab_size or 512)
        else:
            model_config = AutoConfig.from_pretrained(base)
        longest = model_config.max_sequence_length
        if self.seq_len > longest:
            raise ValueError(
                f"seq_len {self.seq_len} is past the {longest} tokens that the model in {base} "
                "reads (max_position_embeddings); choose a smaller seq_len"
            )
        task = TASKS[self.task]
        with nn.empty_parameters():
            model = task.auto.from_config(model_config)
        batch |= training_memory(model, self.batch_size, self.seq_len)
        need, have = sum(batch.values()), physical_memory()
        if need > have:
            raise ValueError(
                f"this run needs about {need / 1e9:,.1f} GB of memory, the machine has "
                f"{have / 1e9:,.1f}: choose a smaller model, batch_size or seq_len"
            )

    def model_config(self, vocab_size, **special_tokens):
        """The config of a new model.

        special_tokens: what the task knows of the tokenizer; for a plan, any tokens will do.
        """
        names = _names(self.model)
        if not special_tokens and "decoder_start_token_id" in names:
            special_tokens = {name: 0 for name in names if name.endswith("_token_id")}
        # A table of learned positions learns those of a row; what is computed reaches further.
        small = {"max_position_embeddings": 512 if "rope_theta" in names else 0}
        small |= _small(self.model)
        sizes = {
            **small,
            **{name: getattr(self, name) for name in SIZES},
            "max_position_embeddings": max(small["max_position_embeddings"], self.seq_len),
            "tie_word_embeddings": True,
        }
        own = {name: value for name, value in {**sizes, **special_tokens}.items() if name in names}
        return config_class(self.model)(vocab_size=vocab_size, **own)


def _names(model):
    """What a family's configs have."""
    return {field.name for field in fields(config_class(model))}


def _small(model):
    """The sizes of a family's small model in which it differs from Qwen2's."""
    return getattr(config_class(model), "small", {})
