"""What tuning costs and what it gains, with several seeds: each study yields rows of a table."""

from pathlib import Path

import numpy as np

from tinyqwen.models.auto import AutoModelForCausalLM
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.relatives import BASE, STUDENT
from tinyqwen.training.train_config import STORIES, TrainConfig
from tinyqwen.training.trainer import Trainer
from tinyqwen.training.tuned import stored_parameters
from tinyqwen.tuning.pruning import prune_heads, prune_layers, prune_weights
from tinyqwen.tuning.texts import calibration_and_validation, mean_loss

RANKS = (0, 1, 2, 4, 8, 16, 32)  # 0: all of the model
LATE = 10**9  # steps between evaluations: one, at the end


def trained(out, **settings):
    """Train one run, measured at its end; its summary, and how many numbers and bytes it keeps."""
    config = TrainConfig.recipe(out=str(out), **settings, eval_interval=LATE, save_interval=0)
    with Trainer(config) as trainer:
        summary = trainer.train()
        kept = [parameter for _, parameter in stored_parameters(trainer.model)]
        return {**summary, **summary["shares"], "numbers": sum(p.size for p in kept)}


def classifiers(folder, seeds=5, steps=None, bert=None):
    """Accuracy of who has the thing at the end, by what is trained and how.

    bert: the folder of a trained BERT; by default it is trained first.
    """
    folder, base = Path(folder), str(BASE)
    if bert is None:
        bert = folder / "bert"
        trained(bert, model="bert", seq_len=128)  # as long as the longest story
    ways = {
        "causal, all of it, λ = 0": {"init_from": base},
        "causal, all of it, λ = 0.5": {"init_from": base, "lm_weight": 0.5},
        "causal, the head alone": {"init_from": base, "freeze_body": True},
        "BERT, all of it": {"init_from": str(bert)},
        "BERT, the head alone": {"init_from": str(bert), "freeze_body": True},
    }
    for number, (way, settings) in enumerate(ways.items()):
        found = [
            trained(folder / f"{number}-{seed}", task="classify", seed=seed, **settings, **more)
            for more in [{} if steps is None else {"steps": steps}]
            for seed in range(seeds)
        ]
        accuracies = [one["accuracy"] for one in found]
        yield {
            "trained": way,
            "accuracy": float(np.mean(accuracies)),
            "least": min(accuracies),
            "most": max(accuracies),
        }


def ranks(folder, steps=300, ranks=RANKS):
    """Chat after some steps, with all of the model trained and with adapters of several ranks.

    A number that is trained takes 16 bytes: itself, its gradient, and two moments.
    """
    for rank in ranks:
        out, how = Path(folder) / f"rank{rank}", {"lora_rank": rank, "steps": steps}
        run = trained(out, task="chat", init_from=str(BASE), **how)
        yield {
            "rank": rank or "all",
            "numbers trained": run["numbers"],
            "bytes for them": 16 * run["numbers"],
            "seconds": run["elapsed"],
            "loss": run["val_loss"],
            "answers right": run["answers_right"],
        }


def students(folder, seeds=3, steps=None):
    """Students of a quarter of the parameters, alone and with a teacher.

    "above the grammar" is the loss over the text's entropy: the divergence of the model's
    probabilities from the grammar's true ones, in nats a token.
    """
    base, more = str(BASE), {} if steps is None else {"steps": steps}
    for seed in range(seeds):
        alone, taught = (
            trained(Path(folder) / f"{seed}{name}", seed=seed, **STUDENT, **how, **more)
            for name, how in (("a", {"tokenizer": base}), ("t", {"teacher": base}))
        )
        yield {
            "seed": seed,
            "alone": alone["val_loss"],
            "with a teacher": taught["val_loss"],
            "gain": alone["val_loss"] - taught["val_loss"],
            "above the grammar": taught["val_loss"] - taught["floor"],
        }


def pruned(folder, steps=100, count=128):
    """Loss before, after a cut, and after a little healing; single weights are not healed, for
    training would fill the zeros again."""
    folder, tokenizer = Path(folder), Tokenizer.from_pretrained(BASE)
    texts, stories = calibration_and_validation(tokenizer, STORIES, count, 512)
    cuts = {
        "2 of 4 heads a layer": lambda model: prune_heads(model, 2, texts),
        "1 of 4 layers": lambda model: prune_layers(model, 1, texts),
        "half of the weights, by magnitude": lambda model: prune_weights(model, 0.5),
        "half of the weights, Wanda": lambda model: prune_weights(model, 0.5, texts),
    }
    for number, (name, cut) in enumerate(cuts.items()):
        model = AutoModelForCausalLM.from_pretrained(BASE)
        row = {"cut": name, "before": mean_loss(model, stories)}
        model = cut(model)
        row["after"], row["healed"] = mean_loss(model, stories), None
        if "weights" not in name:
            model.save_pretrained(folder / f"cut{number}")
            tokenizer.save_pretrained(folder / f"cut{number}")
            trained(
                folder / f"healed{number}",
                **{"init_from": str(folder / f"cut{number}"), "steps": steps},
                **{"learning_rate": 5e-4, "warmup_steps": 10},
            )
            healed = AutoModelForCausalLM.from_pretrained(folder / f"healed{number}")
            row["healed"] = mean_loss(healed, stories)
        yield row
