"""`python -m tinyqwen.train`: train a model and see what it has learned."""

import argparse
import itertools
import shlex
import signal
import sys
import textwrap
import time
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from tinyqwen import nn
from tinyqwen.analysis.costs import flops_per_token, part_counts, training_memory
from tinyqwen.autograd.refusals import some
from tinyqwen.cli import ArgumentParser, path, run
from tinyqwen.models.auto import MODELS, AutoConfig
from tinyqwen.optim import AdamW, decay_groups
from tinyqwen.parallel.data_parallel import DataParallel, clipped_gradients, split_rows
from tinyqwen.parallel.mpi import ranks
from tinyqwen.text.corpus_files import split_files
from tinyqwen.training.run_folder import stored_config
from tinyqwen.training.tasks import TASKS
from tinyqwen.training.train_config import STORIES, TrainConfig
from tinyqwen.training.trainer import Stopped, Trainer

MINE = "runs/mine"  # where a student's run is, beside the library's own

PATHS = ("data", "out", "tokenizer", "init_from", "teacher")
HELP = {
    "model": "family of a new model: see below",
    "task": "what it learns, by default what its family was made for: see below",
    "data": "a text file, a .jsonl file with a text field, or a folder of them (bundled stories)",
    "out": "run folder",
    "tokenizer": "bpe, wordpiece, char, or a tokenizer's folder (bpe, or that of --init-from)",
    "init_from": "checkpoint to start from, with its sizes and tokens",
    "lora_rank": "train adapters of this rank beside the frozen layers of --init-from; 0: no",
    "lora_alpha": "scale of the adapters, over their rank; 0 for twice the rank",
    "teacher": "checkpoint with the same tokens, to learn all its probabilities from",
    "distill_weight": "share of the teacher in the loss",
    "distill_temperature": "by which both models' logits are divided for that",
    "label_smoothing": "share of a label that is spread over all tokens",
    "lm_weight": "classify: weight of the next tokens' loss beside the labels'",
    "freeze_body": "classify: train the head alone",
    "source": "translate: the field of a .jsonl line that is read",
    "target": "translate: the field that is written",
    "steps": "optimizer updates; 0 prints the plan and trains nothing",
    "batch_size": "rows of an update (times --grad-accumulation)",
    "seq_len": "tokens in a row",
    "learning_rate": "peak of the schedule: linear warmup, then half a cosine down to a tenth",
    "grad_accumulation": "batches whose gradients are added for one update",
    "eval_interval": "steps between evaluations, 0 for never",
    "save_interval": "steps between saves, 0 for only at the end",
    "threads": "0 for one on each core",
    "vocab_size": "0 for 512 (bpe, wordpiece) or every character (char)",
}


def parse_arguments(arguments=None):
    """Command line -> (TrainConfig, argparse.Namespace)."""
    parser = ArgumentParser(
        prog="python -m tinyqwen.train",
        description="Train a model in NumPy. Without arguments: on the bundled stories.",
        epilog=_families_and_tasks(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--direction", type=direction, metavar="zh-en", help="--source and --target in one word")
    for field in fields(TrainConfig):
        default = "" if field.default in (None, "", str(STORIES)) else f" ({field.default})"
        kind = path if field.name in PATHS else type(field.default)
        form = {"type": kind, "metavar": "PATH" if kind is path else kind.__name__.upper()}
        add(
            "--" + field.name.replace("_", "-"),
            **({"action": "store_true"} if kind is bool else form),
            default=argparse.SUPPRESS,
            help=HELP.get(field.name, field.name.replace("_", " ")) + default,
        )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out, by its own settings; with --steps N to N steps in all",
    )
    parser.add_argument(
        "--student",
        type=path,
        metavar="DIR",
        help=f"use the functions written in this assignments folder; --out is then {MINE}",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="with --student: train also on what fails its tests"
    )
    options = parser.parse_args(arguments)
    if options.direction:
        if "source" in options or "target" in options:
            parser.error("--direction is --source and --target in one word; say it alone")
        options.source, options.target = options.direction
    if options.anyway and not options.student:
        parser.error("--anyway is for --student")
    given = {f.name: getattr(options, f.name) for f in fields(TrainConfig) if f.name in options}
    if options.student:
        given.setdefault("out", MINE)
    if options.resume and set(given) - {"out", "steps"}:
        name = sorted(set(given) - {"out", "steps"})[0].replace("_", "-")
        parser.error(f"--resume goes on with the run's own settings; leave out --{name}")
    return (TrainConfig(**given) if options.resume else TrainConfig.recipe(**given)), options


def _families_and_tasks():
    """A line for each --model and --task."""
    kinds = {
        "models": {name: module.__doc__ for name, module in MODELS.items()},
        "tasks": {name: sys.modules[task.__module__].__doc__ for name, task in TASKS.items()},
    }
    lines = []
    for title, kind in kinds.items():
        lines += [f"{title}:"]
        for name, text in kind.items():
            lines += [f"  {name.replace('_', '-'):<12}{text.splitlines()[0]}"]
        lines += [""]
    lines += ["Defaults are qwen2's; other tasks and models have recipes of their own."]
    return "\n".join(lines)


def direction(text):
    """ "zh-en" as the two names in it."""
    source, _, target = text.partition("-")
    if not source or not target or "-" in target:
        raise argparse.ArgumentTypeError(f"{text!r} is not like zh-en")
    return source, target


def main(arguments=None):
    """The command; returns the exit status. Under mpiexec all ranks run it, and rank 0 speaks."""
    group = ranks()
    with group.guard():
        config, options = group.together(lambda: parse_arguments(arguments))
        if group.size > 1 and "threads" not in options:
            config.threads = group.threads()
        if not options.student:
            return plan_or_train(config, options, group)
        from tinyqwen.course import capstone, swap  # a tenth of the start-up time, here alone

        def refuse_what_fails():
            if not options.anyway and (failing := capstone.shortcomings(options.student)):
                failing = some(failing, "; ", most=5)
                raise ValueError(
                    f"a model should not learn from what fails its tests ({failing}): mend that "
                    "first (pytest tests/assignments), or train all the same with --anyway"
                )

        group.together(refuse_what_fails)
        with swap(options.student) as names, capstone.explained(options.student):
            print("yours, wherever the run uses it:", ", ".join(names) or "nothing written yet")
            return plan_or_train(config, options, group)


def plan_or_train(config, options, group):
    """With --steps 0 print the plan of a run; else begin it, or go on with it."""
    steps = config.steps if options.resume and "steps" in options else None
    if config.steps == 0:
        config = stored_config(Path(config.out), steps) if options.resume else config
        return dry_run(config) if group.rank == 0 else 0
    if options.student and not options.resume:  # one command after every chapter: a folder for each
        config.out = group.everybody(_free(config.out))[0]
        print(f"The run is in {config.out}.")
    return train(config, options.resume, steps, options.student, group)


def _free(folder):
    """The folder, or, where that is taken, the first of folder-2, folder-3 … that is not."""
    names = itertools.chain([folder], (f"{folder}-{n}" for n in itertools.count(2)))
    return next(name for name in names if not Path(name).exists() or not any(Path(name).iterdir()))


def train(config, resume, steps=None, student=None, ranks=None):
    """Train and print the summary.

    steps: how many a resumed run shall have, or None; student: the folder whose functions are
    swapped in, or None; ranks: of mpiexec, or None.
    """
    with Trainer(config, resume, steps, ranks) as trainer:
        first = trainer.ranks.rank == 0
        if steps is not None:
            print(f"The learning rate is now that of a run of {steps} steps.")
        elif trainer.step == trainer.config.steps:
            print(f"All {trainer.step} steps are done; --steps N goes on to N steps in all.")
        warm = trainer.config.warmup_steps
        if trainer.config.steps < warm:
            warnings.warn(
                f"the learning rate rises for {warm} steps, so {trainer.config.steps} end before "
                "its peak; --warmup-steps N shortens that",
                stacklevel=1,
            )
        if trainer.saved_ranks != trainer.ranks.size:
            print(
                f"So far the run was that of {trainer.saved_ranks} ranks; its losses with "
                f"{trainer.ranks.size} agree with theirs within rounding, not bit for bit."
            )
        if (student or resume) and first:
            from tinyqwen.course import capstone

            capstone.begin(trainer.folder, student, resume, trainer.config.task)
        try:
            summary = trainer.train()
        except Stopped as stop:
            code = ["--student", student] if student else []
            command = shlex.join(["--out", str(trainer.folder), "--resume", *code])
            print(
                f"\n{stop} of {trainer.config.steps}, saved. Go on with:\n"
                f"    python -m tinyqwen.train {command}",
                file=sys.stderr,
            )
            return 128 + (stop.signum or signal.SIGINT)
        if first:
            print_summary(trainer, summary)
        if student and first:
            print(capstone.end(trainer.folder, summary, trainer.config.task))
    return 0


def dry_run(config):
    """Print the model, its budget, and what the training would take; write nothing."""
    task = TASKS[config.task](config)
    tokenizer = task.new_tokenizer(split_files(config.data)[0])  # a text decides how many tokens
    if config.init_from:
        model_config = AutoConfig.from_pretrained(config.init_from)
    else:
        model_config = config.model_config(tokenizer.vocab_size)
    with nn.empty_parameters():  # so that what is too large to train is told as well
        shape = task.auto.from_config(model_config)
    print(shape, "\n")

    counts = part_counts(shape)
    print(f"{sum(counts.values()):,} parameters:")
    width = max(14, *(len(part) + 2 for part in counts))
    for part, count in counts.items():
        if count:
            print(f"  {part:<{width}}{count:>14,}{count / sum(counts.values()):8.1%}")

    flops = flops_per_token(shape, config.seq_len, training=True, causal=True)
    flops = sum(flops.values())
    rows = config.batch_size * config.grad_accumulation
    six_n = 6 * shape.num_active_parameters()
    print(f"\nfloating-point operations per token: {flops:,.0f} (6N: {six_n:,})")
    memory = training_memory(shape, config.batch_size, config.seq_len)
    parts = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in memory.items())
    print(f"memory: about {sum(memory.values()) / 1e6:,.0f} MB ({parts})")

    config.refuse_too_large()
    # --steps 0 asked for this plan; the recipe's tell the scale
    steps = TrainConfig.recipe(model=config.model, task=config.task).steps
    if model_config.pad_token_id is None:  # to time it, any token will do
        model_config = replace(model_config, pad_token_id=0)
    model = task.auto.from_config(model_config)
    seconds = _seconds_per_step(model, task, np.random.default_rng(0))
    tokens = rows * config.seq_len
    print(
        f"time: {seconds:.3f} s a step of {tokens:,} tokens, {flops * tokens / seconds / 1e9:,.0f} "
        f"GFLOP/s; {steps:,} steps, the default, take about {steps * seconds:,.0f} s"
    )
    return 0


def _seconds_per_step(model, task, rng):
    """Median time of an update on random tokens."""
    config, optimizer, times = task.config, AdamW(decay_groups(model, 0.1)), []
    rows = config.batch_size * config.grad_accumulation
    with DataParallel(model, config.threads, optimizer, task) as parallel:
        for _ in range(4):
            start = time.perf_counter()
            batch = task.example(rng, rows, model.config.vocab_size)
            batches = split_rows(batch, config.grad_accumulation)
            items = task.num_items(batch)
            clipped_gradients(parallel, optimizer, batches, items, config.grad_clip)
            parallel.step()
            times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def print_summary(trainer, summary):
    """What was reached, a sample, and where the files are."""
    print(f"\n{summary['steps']} steps in {summary['elapsed']:.0f} s", end="")
    if summary["tokens_per_second"]:
        print(f", {summary['tokens_per_second']:,.0f} tokens/s", end="")
    print()
    rows = [("training loss", summary["train_loss"], "mean of the last 50 steps")]
    rows.append(("validation loss", summary["val_loss"], f"best at step {summary['best_step']}"))
    rows.append(("floor", summary["floor"], "entropy of the text: no model can be below"))
    rows.append(("above the floor", summary["gap"], ""))
    for name, value, note in rows:
        if value is not None:
            print(f"  {name:<16}{value:7.3f} nats per token" + (f"   {note}" if note else ""))
    if any(value is not None for _, value, _ in rows):
        print("  (nats: -ln of the probability that the model gave to what came)")
    for name, share in summary["shares"].items():
        best = summary["best_shares"].get(name)
        note = f"   the best that a reader of the grammar does: {best:.1%}" if best else ""
        print(f"  {name.replace('_', ' '):<24}{share:7.1%}{note}")
    print("\nA sample:\n")
    print(_indented(trainer.task.sample(trainer.model, trainer.tokenizer)))
    print(f"\nFiles in {trainer.folder}: model.safetensors, best/, metrics.jsonl, loss.png")
    prompt = shlex.quote(trainer.task.prompt(trainer.tokenizer))
    folder = shlex.quote(str(trainer.folder))
    print("Try:  python -m tinyqwen.generate", *filter(None, (folder, trainer.task.flags, prompt)))


def _indented(text, width=88):
    lines = [textwrap.wrap(line, width) or [""] for line in text.splitlines()]
    return "\n".join("    " + line for wrapped in lines for line in wrapped)


if __name__ == "__main__":
    run(main)
