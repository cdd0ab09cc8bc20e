"""Read a text in one language and write it in another: what the Transformer was made for.

Vaswani et al. 2017, "Attention is all you need", sections 3 and 5.
"""

from itertools import chain
from typing import ClassVar

import numpy as np

from tinyqwen import functional as F
from tinyqwen.models.auto import AutoModelForSeq2SeqLM
from tinyqwen.models.heads import shift_tokens_right
from tinyqwen.text.documents import json_lines
from tinyqwen.training.records import open_records, padded, prepare_records
from tinyqwen.training.tasks.task import DATA, Task

FIELDS = ("source", "target")


class Translate(Task):
    """-Σ ln p(targetₜ | source, target₀ … targetₜ₋₁), with smoothed labels, over pairs of texts.

    The data are .jsonl files; config.source and config.target name two fields of their lines.
    Metrics: the loss, without smoothing, and "exact", the share of validation sources whose
    translation, each token the likeliest one, is the target.
    """

    auto = AutoModelForSeq2SeqLM
    recipe: ClassVar = {
        **{"data": str(DATA / "pairs"), "tokenizer": "word", "steps": 800, "batch_size": 64},
        **{"num_hidden_layers": 3, "intermediate_size": 256, "seq_len": 64},
        **{"label_smoothing": 0.1, "eval_interval": 200},
    }

    def _pairs(self, files):
        """(file, line number, the two texts) of each pair."""
        names = self.config.source, self.config.target
        for file in files:
            if file.suffix.lower() != ".jsonl":
                raise ValueError(f"{file}: to learn to translate takes .jsonl files of pairs")
            for number, line in json_lines(file, *names):
                yield file, number, [line[name] for name in names]

    def texts(self, files):
        """Both texts of every pair: one vocabulary for both languages."""
        return chain.from_iterable(texts for _, _, texts in self._pairs(files))

    def special_tokens(self, tokenizer):
        """The decoder begins with the padding token (as Marian's models do)."""
        pad = tokenizer.pad_token_id
        return {
            **{"pad_token_id": pad, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None},
            "decoder_start_token_id": pad,
        }

    def generation_config(self, tokenizer):
        """The same, the likeliest token always, and no more tokens than were learned."""
        return {
            **{n: v for n, v in self.special_tokens(tokenizer).items() if v is not None},
            **{"do_sample": False, "max_new_tokens": self.config.seq_len},
        }

    def prepare(self, files, tokenizer, folder):
        """A record a pair; each text ends with the end token."""

        def read(files):
            for file, number, (source, target) in self._pairs(files):
                batch = tokenizer(source, text_target=target)
                record = {"source": batch["input_ids"], "target": batch["labels"]}
                longest = max(map(len, record.values()))
                if longest > self.config.seq_len:
                    raise ValueError(
                        f"{file}: line {number} has a text of {longest} tokens, and --seq-len is "
                        f"{self.config.seq_len}"
                    )
                yield record

        prepare_records(files, read, folder, FIELDS)

    def open(self, folder, tokenizer):
        """Map the pairs."""
        self.pad, self.end = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.train_data, self.validation_data = open_records(folder, FIELDS)

    def _batch(self, data, rows):
        source, target = ([data.field(name, i) for i in rows] for name in FIELDS)
        labels = padded(target, -100)
        return {
            "input_ids": padded(source, self.pad),
            "attention_mask": padded([np.ones_like(ids) for ids in source], 0),
            "decoder_input_ids": shift_tokens_right(labels, self.pad, self.pad),
            "labels": labels,
        }

    def batch(self, seed, step, rows):
        """Pairs, the sources and the targets filled up to the longest of each."""
        return self._batch(self.train_data, self.train_data.step(rows, seed, step))

    def example(self, rng, rows, vocab_size):
        """Random tokens on both sides."""
        ids = rng.integers(0, vocab_size, (rows, self.config.seq_len))
        names = ("input_ids", "decoder_input_ids", "labels")
        return {**dict.fromkeys(names, ids), "attention_mask": np.ones_like(ids)}

    def evaluation_batches(self):
        """All validation pairs; of a large corpus, the first 1,024."""
        data, rows = self.validation_data, self.config.batch_size
        most = min(len(data), 1024)
        for first in range(0, most, rows):
            yield self._batch(data, range(first, min(first + rows, most)))

    def num_items(self, batch):
        """The target's tokens, its end among them."""
        return int(np.count_nonzero(batch["labels"] != -100))

    def loss(self, model, batch, num_items):
        """Cross-entropy with smoothed labels (section 5.4)."""
        inputs = {name: array for name, array in batch.items() if name != "labels"}
        return F.label_smoothed_cross_entropy(
            model(**inputs).logits,
            batch["labels"],
            self.config.label_smoothing if model.training else 0.0,
            num_items=num_items,
        )

    def measure(self, model, batch):
        """And how many of the sources are translated exactly."""
        longest = batch["labels"].shape[1] + 1  # what goes on after that is wrong anyway
        written = self.translate(model, batch["input_ids"], batch["attention_mask"], longest)
        right = [
            row == [token for token in labels if token != -100]
            for row, labels in zip(written, batch["labels"].tolist())
        ]
        return {**super().measure(model, batch), "exact": sum(right), "pairs": len(right)}

    def translate(self, model, input_ids, attention_mask, longest=None):
        """What the model writes for each source, greedily: lists of ids, the end token included."""
        longest = longest or self.config.seq_len
        ids = model.generate(
            input_ids,
            attention_mask=attention_mask,
            max_new_tokens=longest,
            do_sample=False,
            eos_token_id=self.end,
            pad_token_id=self.pad,
        )
        return [_to_end(row, self.end) for row in ids[:, 1:].tolist()]

    def metrics(self, sums):
        """The loss a token, and the share of exact translations."""
        return {**super().metrics(sums), "exact": sums["exact"] / sums["pairs"]}

    def sample(self, model, tokenizer):
        """The first validation sources and what they become."""
        rows = range(min(5, len(self.validation_data)))
        batch = self._batch(self.validation_data, rows)
        written = self.translate(model, batch["input_ids"], batch["attention_mask"])
        texts = [
            tokenizer.batch_decode([self.validation_data.field("source", i), ids], True)
            for i, ids in zip(rows, written)
        ]
        return "\n".join(f"{source.strip()} → {target.strip()}" for source, target in texts)

    def prompt(self, tokenizer):
        """The first validation source."""
        return tokenizer.decode(self.validation_data.field("source", 0), True).strip()


def _to_end(row, end):
    return row[: row.index(end) + 1] if end in row else row
