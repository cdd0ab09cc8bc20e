"""Predict each token from those before it: how GPT, LLaMA and Qwen2 learn to write."""

from tinyqwen.models.auto import AutoModelForCausalLM
from tinyqwen.training.data import open_corpus, prepare_corpus
from tinyqwen.training.tasks.task import Task


class Causal(Task):
    """-Σ ln p(tokenₜ | token₀ … tokenₜ₋₁), over rows of text that begin where documents do.

    The loss is the model's own; the metric is the loss on validation documents, each on its own.
    """

    auto = AutoModelForCausalLM

    def prepare(self, files, tokenizer, folder):
        """The documents as one stream of tokens: see `prepare_corpus`."""
        prepare_corpus(files, tokenizer, folder, self.config.seq_len)

    def open(self, folder, tokenizer):
        """Map the two streams."""
        self.train_data, self.validation_data, self.floor = open_corpus(
            folder, tokenizer.vocab_size, self.config.seq_len
        )

    def batch(self, seed, step, rows):
        """Rows of tokens, which are their own labels: the model shifts them."""
        ids = self.train_data.batch(seed, step, rows)
        return {"input_ids": ids, "labels": ids}

    def evaluation_batches(self):
        """Each document whole; of a large corpus, a fixed sample of 1,024 rows."""
        return self.validation_data.evaluation_batches(2 * self.config.batch_size, max_rows=1024)

    def sample(self, model, tokenizer, max_new_tokens=120):
        """A document: what the model writes after an end-of-text token."""
        end, room = tokenizer.eos_token_id, model.config.max_sequence_length - 1
        ids = model.generate(
            [[end]],
            max_new_tokens=min(max_new_tokens, room),
            do_sample=True,
            temperature=0.8,
            eos_token_id=end,
            seed=self.config.seed,
        )
        return tokenizer.decode(ids[0, 1:], skip_special_tokens=True)

    def prompt(self, tokenizer):
        """How the first validation document begins: its first words."""
        data = self.validation_data
        ids = data.tokens[data.starts[0] + 1 : min(data.stops[0], data.starts[0] + 100)]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        return " ".join(text.strip("\ufffd").split()[:4])  # held-out text may begin in a character
