"""What a run can train for, a file each: a batch, a loss, a metric, a sample, and a recipe."""

from tinyqwen.models.auto import MODELS, config_class
from tinyqwen.training.tasks.causal import Causal
from tinyqwen.training.tasks.chat import Chat
from tinyqwen.training.tasks.classify import Classify
from tinyqwen.training.tasks.masked import Masked
from tinyqwen.training.tasks.translate import Translate

TASKS = {
    "causal": Causal,
    "masked": Masked,
    "translate": Translate,
    "chat": Chat,
    "classify": Classify,
}


def tasks_of(model_type):
    """The tasks that a family has models for; the first is what it was made for."""
    family = config_class(model_type).__name__.removesuffix("Config")
    return [
        name
        for name, task in TASKS.items()
        if any(hasattr(MODELS[model_type], family + ending) for ending in task.auto.endings)
    ]
