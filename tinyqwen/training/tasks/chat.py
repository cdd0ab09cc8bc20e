"""Answer: a model that writes is taught to take turns.

Conversations are in Hugging Face's form, {"messages": [{"role": …, "content": …}, …]} a line, and
become text by the tokenizer's own chat template.
"""

from itertools import islice
from typing import ClassVar

import numpy as np

from tinyqwen.models.auto import AutoModelForCausalLM
from tinyqwen.models.masks import packed_mask
from tinyqwen.storage.files import read_json
from tinyqwen.text.documents import json_lines
from tinyqwen.training.data import rows_of_step
from tinyqwen.training.records import open_records, padded, prepare_records
from tinyqwen.training.tasks.task import DATA, Task

FIELDS = ("ids", "labels")
OPEN = 64  # rows that the next conversation may still go to
AT_ONCE = 500  # conversations that are rendered together
ANSWERS = 256  # of the validation data, that are written and compared


class Chat(Task):
    """-Σ ln p(answerₜ | all before it in the conversation), over the assistant's messages alone.

    A row is packed with several conversations; none sees another, and each counts its positions
    from 0. Metrics: the loss of answers, and "answers_right", the share of validation answers that
    are written exactly, each token the likeliest one.
    """

    auto, flags = AutoModelForCausalLM, "--chat"
    recipe: ClassVar = {
        **{"data": str(DATA / "questions"), "steps": 840, "seq_len": 512, "batch_size": 2},
        **{"learning_rate": 1.4e-3, "eval_interval": 420},
    }

    # -- from conversations to rows ---------------------------------------------------------------

    def texts(self, files):
        """All messages."""
        for _, _, messages in _conversations(files):
            yield from (message["content"] for message in messages)

    def prepare(self, files, tokenizer, folder):
        """A record a conversation: its tokens and their labels."""

        facts = {}

        def read(files):
            conversations = _conversations(files)
            facts.clear()  # the validation files come last
            while group := list(islice(conversations, AT_ONCE)):
                facts.setdefault("question", _question(group[0][2]))
                rendered = list(_render(tokenizer, group))
                texts = [text for parts in rendered for text, _ in parts]
                encoded = iter(tokenizer.encode_batch(texts, add_special_tokens=False))
                for (file, number, _), parts in zip(group, rendered):
                    ids, labels = chat_labels([(next(encoded), answer) for _, answer in parts])
                    if len(ids) > self.config.seq_len:
                        raise ValueError(
                            f"{file}: line {number} has {len(ids)} tokens, and --seq-len is "
                            f"{self.config.seq_len}"
                        )
                    yield {"ids": ids, "labels": labels}

        prepare_records(files, read, folder, FIELDS, facts)

    def open(self, folder, tokenizer):
        """Map the conversations and pack them into rows."""
        self.tokenizer = tokenizer
        self.end = tokenizer.eos_token_id
        self.train_data, self.validation_data = open_records(folder, FIELDS)
        self.question = read_json(folder / "index.json").get("question", "Who are you?")
        self.rows = packed(self.train_data.lengths("ids"), self.config.seq_len)

    def _pack(self, data, rows):
        """Rows of records as a batch (rows, seq_len)."""
        length = self.config.seq_len
        shape = (len(rows), length)
        batch = {
            "input_ids": np.full(shape, self.end),
            "position_ids": np.zeros(shape, np.int64),
            "labels": np.full(shape, -100),
        }
        owner = np.full(shape, -1)  # which record a place belongs to
        for line, members in enumerate(rows):
            first = 0
            for i in members:
                ids, labels = (data.field(name, i) for name in FIELDS)
                place = line, slice(first, first + len(ids))
                batch["input_ids"][place] = ids
                batch["position_ids"][place] = np.arange(len(ids))
                batch["labels"][place] = labels
                owner[place] = i
                first += len(ids)
        batch["attention_mask"] = packed_mask(owner)
        return batch

    def batch(self, seed, step, rows):
        """Packed rows; the model adds that no token sees a later one."""
        picked = rows_of_step(len(self.rows), rows, seed, step)
        return self._pack(self.train_data, [self.rows[i] for i in picked])

    # -- what is measured -------------------------------------------------------------------------

    def evaluation_batches(self):
        """The validation conversations in rows, and questions to answer."""
        data, rows = self.validation_data, 2 * self.config.batch_size
        lines = packed(data.lengths("ids"), self.config.seq_len)
        for first in range(0, len(lines), rows):
            yield self._pack(data, lines[first : first + rows])
        questions = list(islice(self._questions(), ANSWERS))
        questions.sort(key=lambda pair: len(pair[0]))
        for first in range(0, len(questions), 2 * rows):
            prompts, answers = zip(*questions[first : first + 2 * rows])
            left = [ids[::-1] for ids in prompts]
            yield {
                "input_ids": padded(left, self.end)[:, ::-1],
                "attention_mask": padded([np.ones_like(ids) for ids in left], 0)[:, ::-1],
                "answers": padded(answers, -100),
            }

    def _questions(self):
        """(all tokens before an answer, the answer's tokens) for the validation data."""
        for i in range(len(self.validation_data)):
            ids, labels = (self.validation_data.field(name, i) for name in FIELDS)
            changes = np.flatnonzero(np.diff(labels != -100, prepend=False, append=False))
            for start, stop in zip(changes[::2], changes[1::2]):
                yield ids[:start], ids[start:stop]

    def measure(self, model, batch):
        """The loss of packed rows; of questions, how many are answered as they should be."""
        if "answers" not in batch:
            return super().measure(model, batch)
        answers = batch["answers"]
        written = self.answer(model, batch["input_ids"], batch["attention_mask"], answers.shape[1])
        wanted = np.where(answers == -100, self.end, answers)
        same = np.where(answers == -100, True, written[:, : answers.shape[1]] == wanted).all(1)
        return {"right": int(same.sum()), "answers": len(answers)}

    def answer(self, model, input_ids, attention_mask, longest):
        """What the model writes after each prompt, greedily, (rows, longest)."""
        ids = model.generate(
            input_ids,
            attention_mask=attention_mask,
            max_new_tokens=longest,
            do_sample=False,
            eos_token_id=self.ends(),
            pad_token_id=self.end,
        )
        new = ids[:, input_ids.shape[1] :]
        return np.pad(new, ((0, 0), (0, longest - new.shape[1])), constant_values=self.end)

    def ends(self):
        """The tokens that end an answer."""
        turn = self.tokenizer.token_to_id("<|im_end|>")
        return [self.end] if turn is None else [turn, self.end]

    def metrics(self, sums):
        """The loss of answers, and the share of right ones."""
        return {**super().metrics(sums), "answers_right": sums["right"] / max(1, sums["answers"])}

    def generation_config(self, tokenizer):
        """An answer ends with the turn, and is the likeliest."""
        config = super().generation_config(tokenizer)
        return {**config, "eos_token_id": self.ends(), "do_sample": False}

    def sample(self, model, tokenizer):
        """The first validation conversation, and how the model answers its last question."""
        prompt, answer = next(self._questions())
        written = self.answer(model, prompt[None], np.ones_like(prompt)[None], 2 * len(answer) + 20)
        text = tokenizer.decode([*prompt, *written[0]], skip_special_tokens=True)
        return text.strip()

    def prompt(self, tokenizer):
        """The question of the first validation conversation."""
        return self.question


def answer_parts(prompts, wholes):
    """A conversation's text in parts, (text, whether it is an answer), none of them empty.

    prompts, wholes: for each answer, the text to where its turn is opened, and the text to the end
    of that turn, as a chat template draws them. What closes a turn (<|im_end|>) is part of the
    answer, since the model must learn to stop; the line ends behind it, which part two turns, are
    not. Raises ValueError unless each prompt goes on from the whole before, and its whole from it.

    >>> answer_parts(["Q: 1+1? A: ", "Q: 1+1? A: 2.\\nQ: 2+2? A: "],
    ...              ["Q: 1+1? A: 2.\\n", "Q: 1+1? A: 2.\\nQ: 2+2? A: 4.\\n"])
    [('Q: 1+1? A: ', False), ('2.', True), ('\\nQ: 2+2? A: ', False), ('4.', True), ('\\n', False)]
    """
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        if not (whole.startswith(prompt) and prompt.startswith(done)):
            raise ValueError("the chat template changes earlier turns")
        answer = whole[len(prompt) :].rstrip("\n")
        parts += [(prompt[len(done) :], False), (answer, True)]
        done = prompt + answer
    parts.append((wholes[-1][len(done) :] if wholes else "", False))
    return [part for part in parts if part[0]]


def chat_labels(parts, ignore_index=-100):
    """The ids of a conversation, and their labels: themselves in answers, elsewhere `ignore_index`.

    parts: (list of ids, whether it is an answer), in order. Labels stand at the places of their
    ids; the model shifts them. Returns two arrays of int64, (T,).

    >>> chat_labels([([5, 6, 7], False), ([8, 9], True), ([5], False)])
    (array([5, 6, 7, 8, 9, 5]), array([-100, -100, -100,    8,    9, -100]))
    """
    ids, labels = [], []
    for new, is_answer in parts:
        ids += new
        labels += new if is_answer else [ignore_index] * len(new)
    return np.array(ids, np.int64), np.array(labels, np.int64)


def packed(lengths, room):
    """Lists of records' numbers whose lengths fit into `room` together.

    Each record goes to the first row that has room for it, of the OPEN newest.
    """
    rows, free = [], []
    for i, length in enumerate(lengths):
        first = max(0, len(rows) - OPEN)
        fitting = (row for row in range(first, len(rows)) if free[row] >= length)
        row = next(fitting, None)
        if row is None:
            row = len(rows)
            rows.append([])
            free.append(room)
        rows[row].append(i)
        free[row] -= int(length)
    return rows


def _conversations(files):
    """(file, line number, messages) of each conversation."""
    for file in files:
        if file.suffix.lower() != ".jsonl":
            raise ValueError(f"{file}: conversations are .jsonl files")
        for number, record in json_lines(file):
            messages = record.get("messages")
            if not (isinstance(messages, list) and all(map(_is_message, messages))):
                raise ValueError(
                    f'{file}: line {number} has no "messages", a list of objects with strings in '
                    '"role" and "content"'
                )
            if not any(message["role"] == "assistant" for message in messages):
                raise ValueError(f"{file}: line {number} is a conversation without an answer")
            yield file, number, messages


def _question(messages):
    return next((m["content"] for m in messages if m["role"] == "user"), "")


def _is_message(message):
    return isinstance(message, dict) and all(
        isinstance(message.get(name), str) for name in ("role", "content")
    )


def _render(tokenizer, group):
    """For each (file, number, messages) its text in parts, (text, whether it is an answer)."""
    beginnings = [  # for each answer, all before it and the opening of its turn; and then all to it
        (messages[: i + last], not last)
        for _, _, messages in group
        for i, message in enumerate(messages)
        if message["role"] == "assistant"
        for last in (0, 1)
    ]
    texts = {}
    for opening in (True, False):
        chats = [messages for messages, opens in beginnings if opens == opening]
        try:
            texts[opening] = tokenizer.apply_chat_template(
                chats, add_generation_prompt=opening, tokenize=False
            )
        except ValueError as error:
            raise ValueError(f"{group[0][0]}: {_line(tokenizer, group)}{error}") from None
    prompts, wholes = iter(texts[True]), iter(texts[False])
    for file, number, messages in group:
        answers = sum(message["role"] == "assistant" for message in messages)
        try:
            yield answer_parts(list(islice(prompts, answers)), list(islice(wholes, answers)))
        except ValueError as error:
            raise ValueError(f"{file}: line {number}: {error}") from None


def _line(tokenizer, group):
    """Which conversation of a group it is that the template refuses."""
    for _, number, messages in group:
        try:
            tokenizer.apply_chat_template(messages, tokenize=False)
        except ValueError:
            return f"line {number}: "
    return ""
