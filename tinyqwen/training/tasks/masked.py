"""Fill in what is hidden, and say whether two sentences belong together: how BERT learns to read.

Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", section 3.1, A.1, A.2.
"""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from tinyqwen import functional as F
from tinyqwen.models.auto import AutoModelForPreTraining
from tinyqwen.storage.files import file_in
from tinyqwen.text.documents import documents
from tinyqwen.training.data import known_number, rows_of_step
from tinyqwen.training.records import (
    dealt_by_length,
    open_records,
    padded,
    prepare_records,
    warn_of_cut,
)
from tinyqwen.training.tasks.task import Task

CHOSEN, MASKED, RANDOM = 0.15, 0.8, 0.1  # of tokens; what becomes of them; the others stay
SENTENCE = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"”]))\s+(?=[\"“A-Z])|\n+")
FIELDS = ("ids", "document")
TOGETHER = 512  # pairs that are drawn together and dealt out to steps by their lengths
VALIDATION_PAIRS = 1024
BEST_READER = "reader.json"  # what a corpus may bring along: how many hidden words can be guessed


def mask_tokens(input_ids, maskable, chosen, fate, random_ids, mask_token_id):
    """Hide some tokens of a batch and say which were there (Devlin et al. 2019, section 3.1, A.1).

    input_ids (B, T) integers; maskable (B, T) booleans, False for [CLS], [SEP] and padding.
    chosen, fate (B, T): numbers drawn uniformly from 0 to 1; random_ids (B, T): drawn tokens.
    A maskable token is to be predicted where chosen < 0.15. Of these, those with fate < 0.8 become
    mask_token_id, those with 0.8 ≤ fate < 0.9 the drawn token, and the others stay as they are.
    Returns (ids, labels), both (B, T): what the model is given, and the tokens that it is to
    predict, -100 where it is to predict none. The arguments stay as they are.
    """
    predicted = maskable & (chosen < CHOSEN)
    hidden = np.where(predicted & (fate < MASKED), mask_token_id, input_ids)
    replaced = predicted & (fate >= MASKED) & (fate < MASKED + RANDOM)
    return np.where(replaced, random_ids, hidden), np.where(predicted, input_ids, -100)


def sentence_pairs(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    """A batch of pairs, each [CLS] first [SEP] second [SEP] (Devlin et al. 2019, figure 2).

    first, second: for each row a sequence of ids, without marks. Rows are filled up behind with
    pad_token_id, to the length T of the longest.
    Returns three int64 arrays (B, T): input_ids; token_type_ids, 0 up to the first [SEP] and 1 from
    there to the second, 0 for padding; attention_mask, 1 for tokens and 0 for padding.
    """
    pairs = list(zip(first, second))
    ids = [[cls_token_id, *a, sep_token_id, *b, sep_token_id] for a, b in pairs]
    kinds = [[0] * (len(a) + 2) + [1] * (len(b) + 1) for a, b in pairs]
    real = [[1] * len(row) for row in ids]
    return padded(ids, pad_token_id), padded(kinds, 0), padded(real, 0)


class Masked(Task):
    """Masked language modelling and next-sentence prediction, the sum of their two mean losses.

    A row is [CLS] a sentence [SEP] another [SEP]: in half of the rows the one that follows in its
    document, else one of another document. 15% of the tokens are to be predicted; 80% of them are
    replaced by [MASK], 10% by any token, and 10% stand there as they are.
    Metrics: the two losses added; "masked_accuracy", how many of the hidden tokens are guessed; and
    "next_sentence_accuracy".
    """

    auto = AutoModelForPreTraining
    recipe: ClassVar = {
        **{"tokenizer": "wordpiece", "steps": 8000, "batch_size": 32, "seq_len": 64},
        **{"learning_rate": 4e-3, "warmup_steps": 100, "initializer_range": 0.09},
        **{"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3},
        "eval_interval": 2000,
    }

    def new_tokenizer(self, files):
        """One that has [CLS], [SEP] and [MASK], else ValueError."""
        tokenizer = super().new_tokenizer(files)
        _marks(tokenizer)
        return tokenizer

    def special_tokens(self, tokenizer):
        """A reader's config names what fills up its rows."""
        return {"pad_token_id": tokenizer.pad_token_id}

    def generation_config(self, tokenizer):
        """None: it does not write."""
        return {}

    def prepare(self, files, tokenizer, folder):
        """A record a sentence: its tokens, and the number of its document."""
        room = (self.config.seq_len - 3) // 2
        if room < 1:
            raise ValueError(
                f"seq_len {self.config.seq_len} has no room for two sentences and 3 marks"
            )

        def read(files):
            for number, pieces in enumerate(documents(files)):
                sentences = [one for one in SENTENCE.split("".join(pieces)) if one.strip()]
                for ids in tokenizer.encode_batch(sentences, add_special_tokens=False):
                    lengths.append(len(ids))
                    yield {"ids": ids[:room], "document": [number]}

        lengths, best = [], None
        if files[1] and (file := Path(files[1][0]).parent / BEST_READER).exists():
            best = known_number(file, "masked_accuracy")
        prepare_records(files, read, folder, FIELDS, {"masked_accuracy": best})
        half = f"{room} tokens, half of what --seq-len {self.config.seq_len} leaves a pair"
        warn_of_cut(lengths, room, "sentences", half)

    def open(self, folder, tokenizer):
        """Map the sentences, and find those that another follows."""
        self.cls, self.sep, self.mask = _marks(tokenizer)
        self.pad = tokenizer.pad_token_id or 0
        self.size, self.special = tokenizer.vocab_size, [*tokenizer.special_tokens.values()]
        self.splits = [Sentences(data) for data in open_records(folder, FIELDS)]
        self._best = known_number(file_in(folder, "index.json"), "masked_accuracy")

    def batch(self, seed, step, rows):
        """The rows of a step, of like lengths: fewer places are padding, which costs as much."""
        data, steps = self.splits[0], max(1, TOGETHER // rows)
        group, place = divmod(step, steps)
        rng = np.random.default_rng([seed, 2, group])
        firsts = data.firsts[data.step(steps * rows, seed, group)]
        seconds, follows = data.seconds(firsts, rng)
        lengths = data.lengths[firsts] + data.lengths[seconds]
        own = dealt_by_length(lengths, steps, rng)[place]
        hiding = np.random.default_rng([seed, 3, step])
        return self._batch(data, firsts[own], seconds[own], follows[own], hiding)

    def example(self, rng, rows, vocab_size):
        """Random tokens, of which all are to be predicted."""
        ids = rng.integers(0, vocab_size, (rows, self.config.seq_len))
        ones, zeros = np.ones_like(ids), np.zeros_like(ids)
        return {
            **{"input_ids": ids, "token_type_ids": zeros, "attention_mask": ones, "labels": ids},
            "next_sentence_label": zeros[:, 0],
        }

    def evaluation_batches(self):
        """Pairs spread over the validation data, hidden and followed always alike."""
        data, rows = self.splits[1], 2 * self.config.batch_size
        places = np.linspace(0, len(data.firsts) - 1, min(VALIDATION_PAIRS, len(data.firsts)))
        firsts = data.firsts[places.astype(int)]
        for first in range(0, len(firsts), rows):
            part = firsts[first : first + rows]
            rng = np.random.default_rng([0, first])
            yield self._batch(data, part, *data.seconds(part, rng), rng)

    def _batch(self, data, firsts, seconds, follows, rng):
        a, b = ([data.ids(i) for i in rows] for rows in (firsts, seconds))
        ids, kinds, real = sentence_pairs(a, b, self.cls, self.sep, self.pad)
        hidden, labels = self.hide(ids, real, rng)
        return {
            "input_ids": hidden,
            "token_type_ids": kinds,
            "attention_mask": real,
            "labels": labels,
            "next_sentence_label": (~follows).astype(np.int64),  # Hugging Face's: 0, it follows
        }

    def hide(self, ids, real, rng):
        """(ids with some hidden, labels): `mask_tokens`, with chance from rng."""
        maskable = (real == 1) & ~np.isin(ids, self.special)
        chosen, fate = rng.random(ids.shape), rng.random(ids.shape)
        any_token = rng.integers(0, self.size, ids.shape)
        return mask_tokens(ids, maskable, chosen, fate, any_token, self.mask)

    def num_items(self, batch):
        """Tokens to predict, and pairs."""
        return [int(np.count_nonzero(batch["labels"] != -100)), len(batch["labels"])]

    def _losses(self, model, batch, num_items):
        names = ("input_ids", "token_type_ids", "attention_mask")
        chosen = batch["labels"] != -100
        out = model(**{name: batch[name] for name in names}, chosen=chosen)
        labels = batch["labels"][chosen]
        tokens = F.cross_entropy(out.prediction_logits, labels, num_items=num_items[0])
        pairs = F.next_sentence_loss(
            out.seq_relationship_logits, batch["next_sentence_label"], num_items=num_items[1]
        )
        return out, tokens, pairs

    def loss(self, model, batch, num_items):
        """The mean over hidden tokens, and the mean over pairs, added."""
        _, tokens, pairs = self._losses(model, batch, num_items)
        return tokens + pairs

    def measure(self, model, batch):
        """Both losses, and how often the model is right."""
        out, tokens, pairs = self._losses(model, batch, (1, 1))
        guesses = out.prediction_logits.data.argmax(-1)
        answers = out.seq_relationship_logits.data.argmax(-1)
        items, rows = self.num_items(batch)
        return {
            **{"loss": tokens.item(), "items": items, "pair_loss": pairs.item(), "pairs": rows},
            "masked": int(np.count_nonzero(guesses == batch["labels"][batch["labels"] != -100])),
            "next": int(np.count_nonzero(answers == batch["next_sentence_label"])),
        }

    def metrics(self, sums):
        """Both losses added, and the shares of right answers."""
        items, pairs = max(1, sums["items"]), max(1, sums["pairs"])
        return {
            "val_loss": sums["loss"] / items + sums["pair_loss"] / pairs,
            "masked_accuracy": sums["masked"] / items,
            "next_sentence_accuracy": sums["next"] / pairs,
        }

    def best_shares(self):
        """The masked accuracy of a reader who knows the grammar, if the corpus brings it."""
        return {} if self._best is None else {"masked_accuracy": self._best}

    def sample(self, model, tokenizer):
        """Validation sentences with a word hidden, and what the model takes it for."""
        lines = []
        for i in self.splits[1].firsts[:3]:
            ids, place = self._with_a_gap(i)
            row = np.array([[self.cls, *ids, self.sep]])
            scores = F.softmax(model(row).prediction_logits.data[0, 1 + place]).data
            best = np.argsort(-scores)[:5]
            told = ", ".join(f"{tokenizer.id_to_token(int(t))} {scores[t]:.0%}" for t in best)
            lines.append(f"{tokenizer.decode(ids)}   {told}")
        return "\n".join(lines)

    def prompt(self, tokenizer):
        """The first validation sentence, with a word hidden."""
        return tokenizer.decode(self._with_a_gap(self.splits[1].firsts[0])[0])

    def _with_a_gap(self, i):
        """(ids of sentence i with its middle token hidden, that token's place)."""
        ids = self.splits[1].ids(i).tolist()
        place = len(ids) // 2
        return [*ids[:place], self.mask, *ids[place + 1 :]], place


class Sentences:
    """The sentences of documents. firsts: those that another of the same document follows;
    lengths: the tokens of each."""

    def __init__(self, records):
        self._records = records
        documents = records.all("document")
        self.firsts = np.flatnonzero(documents[1:] == documents[:-1])
        if not len(self.firsts) or documents[0] == documents[-1]:
            raise ValueError(
                "the data have no two documents of several sentences; part them by lines that hold "
                "only <|endoftext|>"
            )
        self._documents, self.lengths = documents, records.lengths("ids")

    def step(self, rows, seed, step):
        """Places in `firsts` that are a step's."""
        return rows_of_step(len(self.firsts), rows, seed, step)

    def ids(self, i):
        """The tokens of sentence i."""
        return self._records.field("ids", i)

    def seconds(self, firsts, rng):
        """(for each first sentence the second of its pair, whether it is the one that follows)."""
        follows = rng.random(len(firsts)) < 0.5
        return np.where(follows, firsts + 1, self.elsewhere(firsts, rng)), follows

    def elsewhere(self, rows, rng):
        """For each of these sentences one of another document."""
        documents, size = self._documents, len(self._documents)
        others = rng.integers(size, size=len(rows))
        while (same := documents[others] == documents[rows]).any():
            others[same] = rng.integers(size, size=np.count_nonzero(same))
        return others


def _marks(tokenizer):
    ids = [tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]", "[MASK]")]
    if None in ids:
        raise ValueError(
            "the task masked needs a tokenizer with [CLS], [SEP] and [MASK]: wordpiece"
        )
    return ids
