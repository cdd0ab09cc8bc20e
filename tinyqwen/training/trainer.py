"""The training loop: steps, evaluation, checkpoints, and going on where a run stopped.

A run is a folder. It is a Hugging Face checkpoint of the last step saved, holds one of the best
step in `best/`, and besides:

    train_config.json           what was asked for
    tokens/                     the corpus in tokens, mapped into memory
    metrics.jsonl               one JSON object a step
    trainer_state.safetensors   weights, optimizer moments and step in one file: a crash leaves the
                                old state or the new one, and a run resumed from it is, bit for bit,
                                the run that was never stopped
    loss.png                    the loss against the floor
"""

import errno
import json
import math
import os
import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tinyqwen import nn
from tinyqwen.autograd.random import manual_seed
from tinyqwen.models.auto import AutoConfig
from tinyqwen.optim import AdamW, cosine_with_warmup, decay_groups
from tinyqwen.parallel.data_parallel import DataParallel, clipped_gradients, split_rows
from tinyqwen.parallel.mpi import Alone, code_digest
from tinyqwen.parallel.sharded_optimizer import ShardedAdamW
from tinyqwen.storage.files import named_errors, write_json
from tinyqwen.text.corpus_files import split_files
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.run_folder import RunFolder, stored_config
from tinyqwen.training.run_state import (
    MEASURED,
    METRICS,
    STATE,
    load_state,
    read_metrics,
    refuse_other_model,
    save_state,
    saved_step,
    state_errors,
)
from tinyqwen.training.signals import Signals
from tinyqwen.training.tasks import TASKS
from tinyqwen.training.train_config import RUN_CONFIG
from tinyqwen.training.tuned import save_tuned, stored_parameters, tuned
from tinyqwen.viz.style import save
from tinyqwen.viz.training import loss_curve


def _nothing():
    """What the other ranks do while rank 0 works for all."""


class Stopped(Exception):
    """A signal ended the training early; the run was saved and can be resumed."""

    def __init__(self, signum, step):
        super().__init__(f"stopped after step {step}")
        self.signum, self.step = signum, step


class Trainer:
    """Trains the model of one run folder, from the start or from where it stopped.

        with Trainer(config) as trainer:
            trainer.train()

    resume: go on with the run in config.out, by that run's own settings; steps: to as many steps in
    all instead, the schedule stretched to end there. Inside the `with` the folder is locked against
    a second trainer. What cannot be trained is refused with ValueError,
    FileNotFoundError or FileExistsError before anything is written.
    ranks: those of `mpiexec`, among which the rows of a batch are shared out; rank 0 alone writes.
    """

    def __init__(self, config, resume=False, steps=None, ranks=None):
        self.folder, self.ranks = Path(config.out), ranks or Alone()
        self.config = stored_config(self.folder, steps) if resume else config
        self._run_folder = RunFolder(self.folder, resume)

    def __enter__(self):
        facts = {"code": code_digest(), **asdict(self.config)}
        del facts["threads"]  # as many as each machine has
        self.ranks.refuse_differences(facts)
        self.ranks.refuse_few(self.config.batch_size * self.config.grad_accumulation)
        first = self.ranks.rank == 0
        self.ranks.together(self._enter if first else _nothing)
        self.ranks.together(_nothing if first else self._join)
        return self

    def _enter(self):
        self._run_folder.begin(self._prepare)

    def _join(self):
        """Open the run that rank 0 has prepared."""
        if not (self.folder / RUN_CONFIG).exists():
            raise ValueError(
                f"{self.folder.resolve()} is not where rank 0 has prepared the run; "
                "put --out in a folder that all machines share"
            )
        self._open()

    def __exit__(self, *exception):
        self._run_folder.release()

    def _prepare(self):
        """Everything that the folder must hold, made or found there; then open it."""
        config, tokens = self.config, self.folder / "tokens"
        config.refuse_too_large(self._base())
        write_json(self.folder / RUN_CONFIG, asdict(config))
        if not (tokens / "index.json").exists():
            task, files = TASKS[config.task](config), split_files(config.data)
            self.tokenizer = task.new_tokenizer(files[0])
            self._refuse_other_tokens()
            self.tokenizer.save_pretrained(self.folder)
            task.prepare(files, self.tokenizer, tokens)
        self._open()
        self.metrics = read_metrics(self.folder, self.step)

    def _open(self):
        """Tokenizer, data, model and optimizer of a folder that is prepared."""
        config = self.config
        self.tokenizer = Tokenizer.from_pretrained(self.folder)
        self.task = TASKS[config.task](config)
        self.task.open(self.folder / "tokens", self.tokenizer)
        self.floor = self.task.floor
        self.model = self._new_model()
        self.model.generation_config = self.task.generation_config(self.tokenizer)
        self.task.adapt(self.model)
        self.model, self.objective = tuned(self.model, self.task, self.tokenizer, config)
        groups = decay_groups(self.model, config.weight_decay)
        settings = {"lr": config.learning_rate, "betas": (0.9, 0.95), "eps": 1e-8}
        if self.ranks.size == 1:
            self.optimizer = AdamW(groups, **settings)
        else:
            self.optimizer = ShardedAdamW(groups, self.ranks, **settings)
        self.step, self.elapsed, self.metrics = 0, 0.0, []
        self.saved_ranks = self.ranks.size
        self.best_loss, self.best_step = math.inf, None
        if (self.folder / STATE).exists():
            self._load_state()

    def _refuse_other_tokens(self):
        """A model's weights mean nothing to a tokenizer that numbers other tokens."""
        base, own = self.config.init_from, self.tokenizer.backend.get_vocab()
        if base is None or not (Path(base) / "tokenizer.json").exists():
            return
        if own != Tokenizer.from_pretrained(base).backend.get_vocab():
            raise ValueError(
                f"the tokenizer {self.config.tokenizer} has other tokens than the model in {base} "
                "was trained on; leave out --tokenizer to take that model's own"
            )

    def _base(self):
        """The checkpoint with the model's config, or None for a new model: where a run goes on, its
        own, for the one that it started from may be gone."""
        begun = (self.folder / STATE).exists() and (self.folder / "config.json").exists()
        begun = begun and not self.config.lora_rank  # whose state has the adapters alone
        if begun and AutoConfig.from_pretrained(self.folder).extra.get("quantization_config"):
            begun = False  # a head beside a packed body, which the state does not have
        return self.folder if self.config.init_from and begun else self.config.init_from

    def _new_model(self):
        config, tokenizer, base = self.config, self.tokenizer, self._base()
        manual_seed([config.seed, 0])
        if base in (None, self.folder):  # a new model, or one that the state fills
            marks = self.task.special_tokens(tokenizer)
            own = config.model_config(tokenizer.vocab_size, **marks)
            if base:
                own = AutoConfig.from_pretrained(base)
            if (self.folder / STATE).exists():
                with nn.empty_parameters():  # a damaged config may ask for more than there is
                    refuse_other_model(self.folder, self.task.auto.from_config(own))
            return self.task.auto.from_config(own)
        model = self.task.auto.from_pretrained(base, **self.task.changes(tokenizer))
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, the model in {base} "
                f"knows {model.config.vocab_size}; use its own: --tokenizer {base}"
            )
        return model.train()

    # -----------------------------------------------------------------------------------------
    # The loop
    # -----------------------------------------------------------------------------------------

    def train(self):
        """Train to the last step, evaluating and saving at the intervals; returns `summary()`.

        Ctrl-C and SIGTERM let the step end, save, and raise Stopped. A loss that is no number
        raises ValueError; the state saved before it is kept.
        """
        config, ranks, first = self.config, self.ranks, self.ranks.rank == 0
        log = self.folder / METRICS if first else os.devnull
        form = {"unit": "step", "disable": None if first else True}
        threads = ranks.threads(config.threads)
        with (
            Signals() as signals,
            DataParallel(self.model, threads, self.optimizer, self.objective) as self.parallel,
            open(log, "ab", buffering=0) as self._log,
            tqdm(total=config.steps, initial=self.step, **form) as progress,
        ):
            if config.init_from and self.step == 0 and config.eval_interval:
                before = self.evaluate()
                if first:
                    progress.write(f"before the first step: {self._measured(before)}")
            while self.step < config.steps and not self._signal(signals):
                metrics = self._train_step()
                if self._due(config.eval_interval):
                    metrics |= self.evaluate()
                ranks.together(partial(self._record, metrics, progress) if first else _nothing)
                if self._due(config.save_interval):
                    self.save()
            self.save()
        if first:
            self._plot()
        if self.step < config.steps:
            raise Stopped(self._signal(signals), self.step)
        return self.summary()

    def _signal(self, signals):
        """The signal that one of the ranks has received, or 0: all of them stop after one step."""
        return max(self.ranks.everybody(signals.received or 0))

    def _due(self, interval):
        return interval > 0 and (self.step % interval == 0 or self.step == self.config.steps)

    def _train_step(self):
        config, start = self.config, time.perf_counter()
        rows = config.batch_size * config.grad_accumulation
        batch = self.task.batch(config.seed, self.step, rows)
        optimizer, ranks = self.optimizer, self.ranks
        loss, norm = clipped_gradients(
            self.parallel,
            optimizer,
            split_rows(ranks.rows(batch), config.grad_accumulation),
            self.task.num_items(batch),
            config.grad_clip,
            seed=(config.seed, 1, self.step),
            first_row=ranks.bounds(rows)[0],
            ranks=ranks,
        )
        if not (math.isfinite(loss) and math.isfinite(norm)):
            ranks.together(partial(self._diverged, loss, norm))  # all have the same loss and norm
        rate = cosine_with_warmup(
            self.step, config.learning_rate, config.warmup_steps, config.steps
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        self.parallel.step()
        self.step += 1
        seconds = time.perf_counter() - start
        self.elapsed += seconds
        return {
            "step": self.step,
            "loss": loss,
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_second": round(batch["input_ids"].size / seconds, 1),
            "elapsed": round(self.elapsed, 3),
        }

    def _diverged(self, loss, norm):
        saved = saved_step(self.folder)
        good = f"step {saved}, in {self.folder}" if saved is not None else "none was saved yet"
        raise ValueError(
            f"step {self.step + 1}: the loss is {loss}, the gradient's norm {norm}. "
            f"Last good checkpoint: {good}. Likely causes: "
            f"--learning-rate {self.config.learning_rate:g} too high, "
            f"--warmup-steps {self.config.warmup_steps} too few, "
            f"--grad-clip {self.config.grad_clip:g} too loose, or an --init-from with NaNs"
        )

    def evaluate(self):
        """The task's metrics on the validation data: "val_loss", nats an item, and others."""
        own = list(self.task.evaluation_batches())[self.ranks.rank :: self.ranks.size]
        measured = self.ranks.together(partial(self.parallel.measure, own))
        sums = Counter()
        for part in self.ranks.everybody(measured):
            sums.update(part)
        return self.task.metrics(dict(sums))

    def _measured(self, metrics):
        """What was measured on the validation data, in words."""
        gap = f", {metrics['val_loss'] - self.floor:.3f} above the floor" if self.floor else ""
        shares = (f", {n.replace('_', ' ')} {v:.1%}" for n, v in _shares(metrics).items())
        return f"validation loss {metrics['val_loss']:.3f}{gap}{''.join(shares)}"

    def _record(self, metrics, progress):
        """Keep a step's metrics, and its weights if they are the best so far."""
        self.metrics.append(metrics)
        line = json.dumps(metrics).encode() + b"\n"
        with named_errors(self.folder / METRICS):
            if self._log.write(line) < len(line):
                raise OSError(errno.ENOSPC, "half a line written")
        progress.update()
        shown = {"loss": f"{metrics['loss']:.3f}", "tok/s": f"{metrics['tokens_per_second']:,.0f}"}
        if "val_loss" in metrics:
            progress.write(
                f"step {self.step}: training loss {metrics['loss']:.3f}, {self._measured(metrics)}"
            )
        progress.set_postfix(shown)
        if metrics.get("val_loss", math.inf) < self.best_loss:
            self.best_loss, self.best_step = metrics["val_loss"], self.step
            self._save_model(self.folder / "best")

    # -----------------------------------------------------------------------------------------
    # What is kept
    # -----------------------------------------------------------------------------------------

    def save(self):
        """Write the state to resume from, then the checkpoint to use: rank 0, for all."""
        state = self._state()
        first = self.ranks.rank == 0
        self.ranks.together(partial(self._save, state) if first else _nothing)

    def _save(self, state):
        with named_errors(self.folder / METRICS):
            os.fsync(self._log.fileno())  # the metrics of a step are on the disk before its state
        progress = {
            "step": self.step,
            "elapsed": self.elapsed,
            "ranks": self.ranks.size,
            "best_step": self.best_step,
            "best_loss": self.best_loss if self.best_step else None,
        }
        save_state(self.folder, state, progress)
        self._save_model(self.folder)

    def _state(self):
        state = {f"model.{name}": p.data for name, p in stored_parameters(self.model)}
        return state | {f"optimizer.{name}": a for name, a in self.optimizer.state_dict().items()}

    def _load_state(self):
        with state_errors(self.folder):
            state, progress = load_state(self.folder)
            stored = stored_parameters(self.model)
            own = {f"model.{name}": (p.shape, p.dtype) for name, p in stored}
            if own != {
                name: (array.shape, array.dtype)
                for name, array in state.items()
                if not name.startswith("optimizer.")
            }:
                raise ValueError("it is of another model")
            parts = {"model": {}, "optimizer": {}}
            for name, array in state.items():
                part, _, rest = name.partition(".")
                parts[part][rest] = array
            self.optimizer.load_state_dict(parts["optimizer"])
            self.step, self.elapsed = int(progress["step"]), float(progress["elapsed"])
            self.saved_ranks = int(progress.get("ranks", 1))
            if progress["best_step"] is not None:
                self.best_step = int(progress["best_step"])
                self.best_loss = float(progress["best_loss"])
        self.model.load_state_dict(parts["model"], strict=False)  # tied weights are there once

    def _save_model(self, folder):
        folder.mkdir(exist_ok=True)
        if not (folder / "tokenizer_config.json").exists():
            self.tokenizer.save_pretrained(folder)
        save_tuned(self.model, folder)

    def _plot(self):
        if self.metrics:
            save(loss_curve(self.metrics, self.floor), self.folder / "loss.png")

    def summary(self):
        """The run in figures: losses, the task's shares, the floor and the distance to it, speed,
        steps, time."""
        losses = [m["loss"] for m in self.metrics[-50:]]
        evaluated = [m for m in self.metrics if "val_loss" in m]
        speeds = [m["tokens_per_second"] for m in self.metrics]
        last = evaluated[-1] if evaluated else {}
        validation = last.get("val_loss")
        return {
            "steps": self.step,
            "train_loss": float(np.mean(losses)) if losses else None,
            "val_loss": validation,
            "shares": _shares(last),
            "best_shares": self.task.best_shares(),
            "best_step": self.best_step,
            "floor": self.floor,
            "gap": validation - self.floor if validation is not None and self.floor else None,
            "tokens_per_second": float(np.median(speeds)) if speeds else None,
            "elapsed": self.elapsed,
        }


def _shares(metrics):
    """What a task measures besides the loss: {name: share from 0 to 1}."""
    return {n: v for n, v in metrics.items() if n not in ("step", "val_loss", *MEASURED)}
