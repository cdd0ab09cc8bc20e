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

import json
import math
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors
from tqdm import tqdm

from tinyqwen.data import open_corpus, prepare_corpus
from tinyqwen.files import FolderLock, atomic_write, read_json, remove_temporaries, write_json
from tinyqwen.optim import AdamW, clip_grad_norm_, cosine_with_warmup, decay_groups
from tinyqwen.parallel import DataParallel
from tinyqwen.qwen2 import Qwen2ForCausalLM
from tinyqwen.random import manual_seed
from tinyqwen.text import documents, split_files
from tinyqwen.tokenizer import Tokenizer
from tinyqwen.tokenizer_training import train_tokenizer
from tinyqwen.train_config import TrainConfig
from tinyqwen.viz.training import loss_curve

STATE = "trainer_state.safetensors"
DEFAULT_VOCABULARY = {"bpe": 512, "wordpiece": 300, "char": None}


class Stopped(Exception):
    """A signal ended the training early; the run was saved and can be resumed."""

    def __init__(self, signum, step):
        super().__init__(f"stopped after step {step}")
        self.signum, self.step = signum, step


class Trainer:
    """Trains the model of one run folder, from the start or from where it stopped.

        with Trainer(config) as trainer:
            trainer.train()

    resume: go on with the run in config.out, by that run's own settings. Inside the `with` the
    folder is locked against a second trainer. What cannot be trained is refused with ValueError,
    FileNotFoundError or FileExistsError before anything is written.
    """

    def __init__(self, config, resume=False):
        self.folder = Path(config.out)
        if resume:
            config = self._stored_config()
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise FileExistsError(
                f"{self.folder} exists already; go on with it with --resume, "
                "or choose another run folder with --out"
            )
        self.config = config

    def _stored_config(self):
        path = self.folder / "train_config.json"
        if not path.exists():
            raise FileNotFoundError(f"{self.folder} holds no run to resume: {path.name} is missing")
        try:
            return TrainConfig(**{**read_json(path), "out": str(self.folder)})
        except TypeError as error:
            raise ValueError(f"{path} was not written by this version: {error}") from None

    def __enter__(self):
        new = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(self.folder)
        try:
            for folder in (self.folder, self.folder / "best", self.folder / "tokens"):
                remove_temporaries(folder)
            self._prepare()
        except BaseException:
            if new and not (self.folder / "train_config.json").exists():
                shutil.rmtree(self.folder, ignore_errors=True)
            lock.release()
            raise
        self._lock = lock
        return self

    def __exit__(self, *exception):
        self._lock.release()

    def _prepare(self):
        """Tokenizer, data, model, optimizer: made, or found in the folder."""
        config, tokens = self.config, self.folder / "tokens"
        if (tokens / "index.json").exists():
            self.tokenizer = Tokenizer.from_pretrained(self.folder)
        else:
            files = split_files(config.data)
            self.tokenizer = self._new_tokenizer(files[0])
            prepare_corpus(files, self.tokenizer, tokens, config.seq_len)
            self.tokenizer.save_pretrained(self.folder)
        self.train_data, self.validation_data, self.floor = open_corpus(
            tokens, self.tokenizer.vocab_size, config.seq_len
        )
        self.model = self._new_model()
        roles = ("bos_token_id", "eos_token_id", "pad_token_id")
        self.model.generation_config = dict.fromkeys(roles, self.tokenizer.eos_token_id)
        groups = decay_groups(self.model, config.weight_decay)
        self.optimizer = AdamW(groups, config.learning_rate, betas=(0.9, 0.95), eps=1e-8)
        self.step, self.elapsed = 0, 0.0
        self.best_loss, self.best_step = math.inf, None
        if (self.folder / STATE).exists():
            self._load_state()
        self.metrics = self._read_metrics()
        write_json(self.folder / "train_config.json", asdict(config))

    def _new_tokenizer(self, files):
        kind = self.config.tokenizer
        size = self.config.vocab_size or DEFAULT_VOCABULARY.get(kind)
        if kind in ("bpe", "wordpiece", "char"):
            pieces = chain.from_iterable(documents(files))
            tokenizer = Tokenizer(*train_tokenizer(pieces, size, kind))
        else:
            tokenizer = Tokenizer.from_pretrained(kind)
        if tokenizer.eos_token_id is None:
            raise ValueError(f"the tokenizer in {kind} has no end-of-text token to part documents")
        return tokenizer

    def _new_model(self):
        config, tokenizer = self.config, self.tokenizer
        manual_seed([config.seed, 0])
        if config.init_from is None:
            end = tokenizer.eos_token_id
            return Qwen2ForCausalLM(
                config.model_config(tokenizer.vocab_size, bos_token_id=end, eos_token_id=end)
            )
        model = Qwen2ForCausalLM.from_pretrained(config.init_from)
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, the model in {config.init_from} "
                f"knows {model.config.vocab_size}; use its own: --tokenizer {config.init_from}"
            )
        return model

    # -----------------------------------------------------------------------------------------
    # The loop
    # -----------------------------------------------------------------------------------------

    def train(self):
        """Train to the last step, evaluating and saving at the intervals; returns `summary()`.

        Ctrl-C and SIGTERM let the step end, save, and raise Stopped. A loss that is no number
        raises ValueError; the state saved before it is kept.
        """
        config = self.config
        with (
            _Signals() as signals,
            DataParallel(self.model, config.threads) as self.parallel,
            open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as self._log,
            tqdm(total=config.steps, initial=self.step, unit="step", disable=None) as progress,
        ):
            while self.step < config.steps and signals.received is None:
                metrics = self._train_step()
                if self._due(config.eval_interval):
                    metrics["val_loss"] = self.evaluate()
                self._record(metrics, progress)
                if metrics.get("val_loss", math.inf) < self.best_loss:
                    self.best_loss, self.best_step = metrics["val_loss"], self.step
                    self._save_model(self.folder / "best")
                if self._due(config.save_interval):
                    self.save()
            self.save()
        self._plot()
        if signals.received is not None and self.step < config.steps:
            raise Stopped(signals.received, self.step)
        return self.summary()

    def _due(self, interval):
        return interval > 0 and (self.step % interval == 0 or self.step == self.config.steps)

    def _train_step(self):
        config, start = self.config, time.perf_counter()
        rows = config.batch_size * config.grad_accumulation
        batch = self.train_data.batch(config.seed, self.step, rows)
        num_items = rows * (config.seq_len - 1)  # a row's first token is given, not predicted
        optimizer = self.optimizer
        loss, norm = clipped_gradients(
            self.parallel,
            optimizer,
            np.array_split(batch, config.grad_accumulation),
            num_items,
            config.grad_clip,
            seed=(config.seed, 1, self.step),
        )
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._diverged(loss, norm)
        rate = cosine_with_warmup(
            self.step, config.learning_rate, config.warmup_steps, config.steps
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        self.step += 1
        seconds = time.perf_counter() - start
        self.elapsed += seconds
        return {
            "step": self.step,
            "loss": loss,
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_second": round(rows * config.seq_len / seconds, 1),
            "elapsed": round(self.elapsed, 3),
        }

    def _diverged(self, loss, norm):
        state = self.folder / STATE
        good = "none was saved yet"
        if state.exists():
            with safe_open(state, "np") as file:
                good = f"step {json.loads(file.metadata()['trainer'])['step']}, in {self.folder}"
        raise ValueError(
            f"step {self.step + 1}: the loss is {loss}, the gradient's norm {norm}. "
            f"Last good checkpoint: {good}. Likely causes: "
            f"--learning-rate {self.config.learning_rate:g} too high, "
            f"--warmup-steps {self.config.warmup_steps} too few, "
            f"--grad-clip {self.config.grad_clip:g} too loose, or an --init-from with NaNs"
        )

    def evaluate(self):
        """Mean loss over the validation documents, in nats per token.

        Each document is read on its own, whole; of a large corpus, a fixed sample of 1,024 rows.
        """
        batches = self.validation_data.evaluation_batches(2 * self.config.batch_size, max_rows=1024)
        return self.parallel.loss(list(batches))

    def _record(self, metrics, progress):
        self.metrics.append(metrics)
        self._log.write(json.dumps(metrics) + "\n")
        self._log.flush()
        progress.update()
        shown = {"loss": f"{metrics['loss']:.3f}", "tok/s": f"{metrics['tokens_per_second']:,.0f}"}
        if "val_loss" in metrics:
            gap = f", {metrics['val_loss'] - self.floor:.3f} above the floor" if self.floor else ""
            progress.write(
                f"step {self.step}: training loss {metrics['loss']:.3f}, "
                f"validation loss {metrics['val_loss']:.3f}{gap}"
            )
        progress.set_postfix(shown)

    # -----------------------------------------------------------------------------------------
    # What is kept
    # -----------------------------------------------------------------------------------------

    def save(self):
        """Write the state to resume from, then the checkpoint to use."""
        state = {f"model.{name}": value for name, value in self._weights().items()}
        state |= {f"optimizer.{name}": v for name, v in self.optimizer.state_dict().items()}
        trainer = {
            "step": self.step,
            "elapsed": self.elapsed,
            "best_step": self.best_step,
            "best_loss": self.best_loss if self.best_step else None,
        }
        with atomic_write(self.folder / STATE) as file:
            file.write(to_safetensors(state, {"trainer": json.dumps(trainer)}))
        self._save_model(self.folder)

    def _weights(self):
        return {name: np.ascontiguousarray(p.data) for name, p in self.model.named_parameters()}

    def _load_state(self):
        path = self.folder / STATE
        try:
            with safe_open(path, "np") as file:
                trainer = json.loads(file.metadata()["trainer"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.step, self.elapsed = int(trainer["step"]), float(trainer["elapsed"])
            if trainer["best_step"] is not None:
                self.best_step, self.best_loss = trainer["best_step"], float(trainer["best_loss"])
            weights = {name[6:]: a for name, a in state.items() if name.startswith("model.")}
            self.model.load_state_dict(weights, strict=False)
            self.optimizer.load_state_dict(
                {name[10:]: a for name, a in state.items() if name.startswith("optimizer.")}
            )
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(
                f"{path} cannot be read ({error}); delete it to train again from the start"
            ) from None

    def _save_model(self, folder):
        folder.mkdir(exist_ok=True)
        self.model.save_pretrained(folder)
        if not (folder / "tokenizer_config.json").exists():
            self.tokenizer.save_pretrained(folder)

    def _read_metrics(self):
        """The metrics up to the state's step; what came after it will be written again."""
        path, metrics = self.folder / "metrics.jsonl", []
        if path.exists():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["step"] != len(metrics) + 1 or entry["step"] > self.step:
                        break
                    metrics.append({**entry, "loss": float(entry["loss"])})
                except (ValueError, KeyError, TypeError, RecursionError):
                    break  # the line that a crash cut short
            with atomic_write(path, "w") as file:
                file.writelines(json.dumps(entry) + "\n" for entry in metrics)
        return metrics

    def _plot(self):
        if self.metrics:
            with atomic_write(self.folder / "loss.png") as file:
                loss_curve(self.metrics, self.floor).savefig(file, format="png")

    def summary(self):
        """The run in figures: losses, the floor and the distance to it, speed, steps, time."""
        losses = [m["loss"] for m in self.metrics[-50:]]
        evaluated = [m["val_loss"] for m in self.metrics if "val_loss" in m]
        speeds = [m["tokens_per_second"] for m in self.metrics]
        validation = evaluated[-1] if evaluated else None
        return {
            "steps": self.step,
            "train_loss": float(np.mean(losses)) if losses else None,
            "val_loss": validation,
            "best_step": self.best_step,
            "floor": self.floor,
            "gap": validation - self.floor if validation is not None and self.floor else None,
            "tokens_per_second": float(np.median(speeds)) if speeds else None,
            "elapsed": self.elapsed,
        }


def clipped_gradients(parallel, optimizer, batches, num_items, max_norm, seed=()):
    """Gradients of one update, in the `.grad` of the optimizer's parameters, clipped to max_norm.

    parallel: a DataParallel; batches: arrays (B, T) of token ids, whose gradients are added;
    num_items: labels in all of them. Returns the loss and the gradients' norm before clipping.
    """
    loss = 0.0
    for i, ids in enumerate(batches):
        loss += parallel.gradients(
            ids,
            ids,
            optimizer.params,
            out=optimizer.gradient_buffers,
            num_items=num_items,
            seed=(*seed, i),
            add=i > 0,
        )
    for parameter, gradient in zip(optimizer.params, optimizer.gradient_buffers):
        parameter.grad = gradient
    return loss, clip_grad_norm_(optimizer.params, max_norm)


class _Signals:
    """Inside the `with`, Ctrl-C and SIGTERM only leave a note; a second Ctrl-C interrupts."""

    def __init__(self):
        self.received, self._before = None, {}

    def __enter__(self):
        with suppress(ValueError):  # only the main thread can; in another, signals do as before
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *exception):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum, frame):
        if self.received == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.received = signum
