"""Relatives of a model that have to be trained: chat, adapters, and a student with a teacher."""

from collections import Counter
from pathlib import Path

from tinyqwen.training.tasks.task import DATA
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer

BASE = DATA / "model"
STUDENT = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4}  # a quarter


def trained_relatives(folder, steps=None):
    """Train and yield (name, folder of the run, function of a model -> answers right or None).

    folder: where the runs go; steps: of each run, instead of its recipe's.
    """
    base, more = str(BASE), {} if steps is None else {"steps": steps}
    runs = {
        "chat": {"task": "chat", "init_from": base},
        "chat, LoRA of rank 8": {"task": "chat", "init_from": base, "lora_rank": 8},
        "student, alone": {**STUDENT, "tokenizer": base},
        "student, with a teacher": {**STUDENT, "teacher": base},
    }
    for number, (name, settings) in enumerate(runs.items()):
        out = Path(folder) / f"run{number}"
        config = TrainConfig.recipe(out=str(out), **settings, **more)
        with Trainer(config) as trainer:
            trainer.train()
            chat = config.task == "chat"
            yield name, out, answers_right(trainer.task) if chat else None


def answers_right(task):
    """A function of a model: the share of the chat task's validation answers that it gets right."""

    def measure(model):
        sums = Counter()
        for batch in task.evaluation_batches():
            sums.update(task.measure(model, batch))
        return task.metrics(dict(sums))["answers_right"]

    return measure
