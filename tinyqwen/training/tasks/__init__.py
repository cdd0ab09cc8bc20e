"""What a run can train for, a file each: a batch, a loss, a metric, a sample, and a recipe."""

from tinyqwen.training.tasks.causal import Causal

TASKS = {"causal": Causal}
