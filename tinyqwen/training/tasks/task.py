"""What the Trainer asks of a task."""

from itertools import chain
from pathlib import Path
from types import MappingProxyType

from tinyqwen.parallel.data_parallel import Objective
from tinyqwen.text.documents import documents
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.text.tokenizer_training import KINDS, train_tokenizer

DATA = Path(__file__).parents[3] / "data"


class Task(Objective):
    """What a run trains for: what a batch is, its loss, its metric, and a sample at the end.

    config: the run's TrainConfig.

    A subclass says with which class of `tinyqwen.models.auto` models are made for it (`auto`), and
    in which settings its recipe differs from TrainConfig's defaults (`recipe`).
    """

    auto, recipe = None, MappingProxyType({})
    flags = ""  # with which `python -m tinyqwen.generate` runs such a model

    def __init__(self, config):
        self.config = config

    # -- what a model for it is like --------------------------------------------------------------

    def special_tokens(self, tokenizer):
        """The settings of a model's config that the tokenizer decides, but for vocab_size."""
        return {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}

    def changes(self, tokenizer):
        """The settings of a loaded model's config that are to be others."""
        return {}

    def generation_config(self, tokenizer):
        """What generation_config.json says."""
        return dict.fromkeys(
            ("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id
        )

    def adapt(self, model):
        """Change a new or loaded model before it is trained."""

    # -- from files to batches --------------------------------------------------------------------

    def new_tokenizer(self, files):
        """The tokenizer that config.tokenizer names: learned from the files, or loaded."""
        kind = self.config.tokenizer
        if kind not in KINDS:
            tokenizer = Tokenizer.from_pretrained(kind)
        else:
            size = self.config.vocab_size or None
            tokenizer = Tokenizer(*train_tokenizer(self.texts(files), size, kind))
        if tokenizer.eos_token_id is None:
            raise ValueError(f"the tokenizer in {kind} has no end-of-text token to part documents")
        return tokenizer

    def texts(self, files):
        """The pieces of text in the files, for the tokenizer to learn from."""
        return chain.from_iterable(documents(files))

    def prepare(self, files, tokenizer, folder):
        """Write (training files, validation files or None) as arrays into a folder, for `open`.

        Its index.json is written last: where it is, all is whole.
        """
        raise NotImplementedError

    def open(self, folder, tokenizer):
        """Map what `prepare` wrote; the methods below need it."""
        raise NotImplementedError

    def batch(self, seed, step, rows):
        """The batch of a step, {name: integers (rows, …)}: a function of (seed, step) alone."""
        raise NotImplementedError

    def example(self, rng, rows, vocab_size):
        """A batch of random tokens, as large as batches are: to see what a step costs."""
        ids = rng.integers(0, vocab_size, (rows, self.config.seq_len))
        return {"input_ids": ids, "labels": ids}

    def evaluation_batches(self):
        """The batches that are measured: the validation data, or a fixed sample of them."""
        raise NotImplementedError

    # -- what is told of it -----------------------------------------------------------------------

    floor = None  # nats per item that no model can be below on the validation data, where known

    def best_shares(self):
        """{name of a share in `metrics`: what the best reader of the data reaches}, where known."""
        return {}

    def metrics(self, sums):
        """What `measure` summed over all evaluation batches, as means: "val_loss" and others."""
        return {"val_loss": sums["loss"] / max(1, sums["items"])}

    def sample(self, model, tokenizer):
        """A text that shows what the model has learned."""
        raise NotImplementedError

    def prompt(self, tokenizer):
        """A text to try the model on: from the run's own data."""
        raise NotImplementedError
