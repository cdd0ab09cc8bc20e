"""Give a text one of several labels, with a model that has learned to write or to read first.

Radford et al. 2018, "Improving language understanding by generative pre-training", section 3.2: a
new head on the last token, and the old task goes on beside the new one.
"""

from typing import ClassVar

import numpy as np

from tinyqwen import functional as F
from tinyqwen import nn
from tinyqwen.models.auto import AutoModelForSequenceClassification
from tinyqwen.storage.files import read_json
from tinyqwen.text.documents import json_lines
from tinyqwen.training.records import open_records, padded, prepare_records, warn_of_cut
from tinyqwen.training.tasks.task import DATA, Task
from tinyqwen.tuning.quantization import QuantizedEmbedding

FIELDS = ("ids", "label")


class Classify(Task):
    """L = L_FT + λ L_PT: -ln p(label | text), and λ times the loss of the next tokens.

    The data are .jsonl files of {"text", "label"}; λ is config.lm_weight. With config.freeze_body
    only the head is trained. Metrics: the loss of labels, and "accuracy".
    """

    auto = AutoModelForSequenceClassification
    recipe: ClassVar = {
        **{"data": str(DATA / "labels"), "steps": 300, "batch_size": 16, "learning_rate": 5e-4},
        **{"eval_interval": 100},
    }

    def texts(self, files):
        """The texts, not the labels."""
        return (record["text"] for _, record in _lines(files))

    def prepare(self, files, tokenizer, folder):
        """A record a text: its tokens, cut to seq_len, and the number of its label."""
        both = [file for part in files for file in part or ()]
        labels = sorted({record["label"] for _, record in _lines(both)})
        if len(labels) < 2:
            raise ValueError(f"all texts have the label {labels[0]!r}; there is nothing to choose")

        def read(files):
            for _, record in _lines(files):
                ids = tokenizer.encode(record["text"])
                lengths.append(len(ids))
                yield {"ids": ids[:most], "label": [labels.index(record["label"])]}

        most, lengths = self.config.seq_len, []
        prepare_records(files, read, folder, FIELDS, {"labels": labels})
        warn_of_cut(lengths, most, "texts", f"--seq-len {most}")

    def open(self, folder, tokenizer):
        """Map the texts and their labels."""
        self.pad = tokenizer.pad_token_id
        self.labels = read_json(folder / "index.json").get("labels", [])
        self.train_data, self.validation_data = open_records(folder, FIELDS)

    def special_tokens(self, tokenizer):
        """What fills up a row, and how many labels there are."""
        return {"pad_token_id": self.pad, "num_labels": len(self.labels)}

    changes = special_tokens

    def generation_config(self, tokenizer):
        """None: it does not write."""
        return {}

    def adapt(self, model):
        """Name the labels as Hugging Face does; freeze the body, if only the head is to learn."""
        model.config.extra["id2label"] = {str(i): name for i, name in enumerate(self.labels)}
        model.config.extra["label2id"] = {name: i for i, name in enumerate(self.labels)}
        if self.config.freeze_body:
            for parameter in model.base_model.parameters():
                parameter.requires_grad = False

    def _batch(self, data, rows):
        ids = [data.field("ids", i) for i in rows]
        return {
            "input_ids": padded(ids, self.pad),
            "attention_mask": padded([np.ones_like(row) for row in ids], 0),
            "labels": np.concatenate([data.field("label", i) for i in rows]),
        }

    def batch(self, seed, step, rows):
        """Texts, filled up to the longest, and their labels."""
        return self._batch(self.train_data, self.train_data.step(rows, seed, step))

    def example(self, rng, rows, vocab_size):
        """Random tokens, all of the first class."""
        ids = rng.integers(0, vocab_size, (rows, self.config.seq_len))
        ones = np.ones_like(ids)
        return {"input_ids": ids, "attention_mask": ones, "labels": np.zeros(rows, int)}

    def evaluation_batches(self):
        """All validation texts; of a large corpus, the first 1,024."""
        data, rows = self.validation_data, 2 * self.config.batch_size
        most = min(len(data), 1024)
        for first in range(0, most, rows):
            yield self._batch(data, range(first, min(first + rows, most)))

    def num_items(self, batch):
        """Texts, and their tokens but the first."""
        return [len(batch["labels"]), int(batch["attention_mask"][:, 1:].sum())]

    def loss(self, model, batch, num_items):
        """The labels' loss, and λ times the next tokens' (section 3.2, equation 5)."""
        weight = self.config.lm_weight
        ids, mask = batch["input_ids"], batch["attention_mask"]
        out = model(ids, attention_mask=mask, **({"output_hidden_states": True} if weight else {}))
        if not weight:
            return F.cross_entropy(out.logits, batch["labels"], num_items=num_items[0])
        kinds = nn.Embedding, QuantizedEmbedding
        table = next(m for m in model.modules() if isinstance(m, kinds)).weight
        table = table if isinstance(table, nn.Parameter) else table.dense()  # it is in int8
        hidden, labels = out.hidden_states[-1], batch["labels"]
        return F.fine_tuning_loss(
            *(out.logits, hidden, table, labels, ids, mask), weight, num_items=num_items
        )

    def measure(self, model, batch):
        """The labels' loss alone, and how many are right."""
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        loss = F.cross_entropy(logits, batch["labels"], num_items=1).item()
        right = int(np.count_nonzero(logits.data.argmax(-1) == batch["labels"]))
        return {"loss": loss, "items": len(batch["labels"]), "right": right}

    def metrics(self, sums):
        """The loss a text, and the share of right labels."""
        return {**super().metrics(sums), "accuracy": sums["right"] / max(1, sums["items"])}

    def sample(self, model, tokenizer):
        """Validation texts, and what they are taken for."""
        lines = []
        for i in range(min(3, len(self.validation_data))):
            batch = self._batch(self.validation_data, [i])
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.data
            found = self.labels[int(logits[0].argmax())]
            wanted = self.labels[int(batch["labels"][0])]
            text = tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True)
            lines.append(f"{text}\n→ {found}" + ("" if found == wanted else f" (it is {wanted})"))
        return "\n".join(lines)

    def prompt(self, tokenizer):
        """The first validation text."""
        return tokenizer.decode(self.validation_data.field("ids", 0), skip_special_tokens=True)


def _lines(files):
    for file in files:
        if file.suffix.lower() != ".jsonl":
            raise ValueError(f"{file}: labelled texts are .jsonl files")
        yield from json_lines(file, "text", "label")
