"""What a task counts and what it makes of it: divisors, shares, and batches that are measured."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.training.tasks import TASKS, chat

SENTENCES = "One cat saw two old red hens in a box. The hen ran. A very old dog sat on it."
STORIES = f"{SENTENCES}\n<|endoftext|>\nOne dog. {SENTENCES}\n<|endoftext|>\nThe end. A box."
PAIRS = [{"zh": "我爱猫", "en": "I love cats"}, {"zh": "你好", "en": "Hello"}] * 6
TEXTS = [{"text": f"{name} sat", "label": name} for name in ("cat", "hen", "dog")] * 3
CHATS = [
    ["Where is the hen?", "In the box.", "And the cat?", "Here."],
    ["Who ran?", "Tom."],
    ["Is it red?", "It is blue.", "Thanks."],
]


def lines(records):
    return "\n".join(map(json.dumps, records))


def conversations(chats):
    roles = ["user", "assistant"] * 4
    turns = [[{"role": r, "content": c} for r, c in zip(roles, chat)] for chat in chats]
    return lines([{"messages": messages} for messages in turns])


CORPORA = {
    "causal": ("x.txt", STORIES, "char"),
    "chat": ("x.jsonl", conversations(CHATS), "bpe"),
    "classify": ("x.jsonl", lines(TEXTS), "char"),
    "masked": ("x.txt", STORIES, "wordpiece"),
    "translate": ("x.jsonl", lines(PAIRS), "word"),
}


def prepared(name, folder, training=None, **settings):
    """(task, tokenizer) of a small corpus, which is for validation too where `training` is none."""
    file, text, tokenizer = CORPORA[name]
    config = {"seq_len": 64, "batch_size": 4, "vocab_size": 0, "tokenizer": tokenizer, "seed": 0}
    config |= {"source": "zh", "target": "en", "label_smoothing": 0.1}
    config |= {"lm_weight": 0.0, "freeze_body": False}
    paths = []
    for place, content in (("train", training or text), ("validation", text)):
        (folder / place).mkdir(exist_ok=True)
        paths.append([folder / place / file])
        paths[-1][0].write_text(content, encoding="utf-8")
    task = TASKS[name](SimpleNamespace(**{**config, **settings}))
    tokenizer = task.new_tokenizer(paths[0] + paths[1])
    task.prepare(tuple(paths), tokenizer, folder / "tokens")
    task.open(folder / "tokens", tokenizer)
    return task, tokenizer


@pytest.fixture
def of(tmp_path):
    return lambda name, **settings: prepared(name, tmp_path, **settings)


SUMS = {"loss": 6.0, "items": 4, "right": 3, "answers": 8, "pairs": 5, "exact": 2,
        "pair_loss": 2.0, "masked": 1, "next": 3}  # fmt: skip


@pytest.mark.parametrize("name, expected", [
    ("causal", {"val_loss": 1.5}),
    ("chat", {"val_loss": 1.5, "answers_right": 3 / 8}),
    ("classify", {"val_loss": 1.5, "accuracy": 3 / 4}),
    ("masked", {"val_loss": 1.5 + 0.4, "masked_accuracy": 1 / 4, "next_sentence_accuracy": 3 / 5}),
    ("translate", {"val_loss": 1.5, "exact": 2 / 5}),
])  # fmt: skip
def test_means_of_sums(name, expected):
    assert TASKS[name](SimpleNamespace()).metrics(SUMS) == pytest.approx(expected)


@pytest.mark.parametrize("name", CORPORA)
def test_what_is_measured_is_always_the_same_and_all_of_it(of, name):
    """Chance too: which words are hidden, what follows. And every record once."""
    task, _ = of(name)
    first, again = list(task.evaluation_batches()), list(task.evaluation_batches())
    assert len(first) == len(again)
    for a, b in zip(first, again):
        for key, array in a.items():
            np.testing.assert_array_equal(array, b[key])
    rows = sum(len(batch["input_ids"]) for batch in first if "labels" in batch)
    firsts = [len(task.splits[1].firsts)] if name == "masked" else []
    expected = {"causal": 3, "chat": len(task.rows) if name == "chat" else 0, "classify": 9,
                "translate": 12, "masked": sum(firsts)}[name]  # fmt: skip
    assert rows >= expected if name == "causal" else rows == expected


def test_chance_is_another_at_every_step(of):
    """By itself: not because other rows are drawn."""
    task, _ = of("masked")
    labels = [task.batch(0, step, 200)["next_sentence_label"] for step in range(3)]
    shares = [np.mean(a == b) for a, b in ((labels[0], labels[1]), (labels[1], labels[2]))]
    assert all(0.3 < share < 0.7 for share in shares)


def test_a_sample_is_of_sentences_that_were_not_trained_on(of):
    """A line for each of three, with its middle word hidden; and so is the prompt."""
    other = STORIES.replace("hen", "pig").replace("dog", "cow").replace("cat", "fox")
    other = f"A pig ran.\n<|endoftext|>\n{other}"  # so that its first sentences stand elsewhere
    task, tokenizer = of("masked", training=other)
    settings = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    config = tq.BertConfig(vocab_size=len(tokenizer), **settings, num_attention_heads=1)
    lines = task.sample(tq.BertForPreTraining(config).eval(), tokenizer).splitlines()
    texts = [line.split("   ")[0] for line in lines]
    assert len(texts) == 3 and task.prompt(tokenizer) == texts[0]
    for text in texts:
        before, after = map(str.strip, text.split("[MASK]"))
        assert before.lower() in STORIES.lower() and after.lower() in STORIES.lower()
    assert {"hen", "dog", "cat"} & set(" ".join(texts).lower().split())


@pytest.mark.parametrize("seq_len", [11, 12, 13])
def test_two_sentences_and_their_marks_fit_into_a_row(of, seq_len):
    room, told = (seq_len - 3) // 2, r"8 of 18 sentences are cut off at {} tokens, .* 11 tokens"
    with pytest.warns(UserWarning, match=told.format(room)):  # those of 8 and 11 words and marks
        task, _ = of("masked", seq_len=seq_len)
    width = task.batch(0, 0, 512)["input_ids"].shape[1]
    assert width == room * 2 + 3 <= seq_len


# ---------------------------------------------------------------------------------------------
# Questions and answers
# ---------------------------------------------------------------------------------------------


def test_questions_and_what_counts_as_an_answer(of, monkeypatch):
    task, tokenizer = of("chat", seq_len=256)
    (batch,) = [batch for batch in task.evaluation_batches() if "answers" in batch]
    mask = batch["attention_mask"]
    assert mask[:, -1].all() and (np.diff(mask, axis=1) >= 0).all()  # padded on the left
    asked = [tokenizer.decode(ids[real == 1]) for ids, real in zip(batch["input_ids"], mask)]
    answers = [tokenizer.decode(row[row != -100]) for row in batch["answers"]]
    said = ("In the box.", "Here.", "Tom.", "It is blue.")
    assert sorted(answers) == sorted(f"{answer}<|im_end|>" for answer in said)
    turns = [{"role": r, "content": c} for r, c in zip(["user", "assistant"] * 2, CHATS[0])]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    place = answers.index("Here.<|im_end|>")
    assert whole.strip() == asked[place] + answers[place]

    written = np.where(batch["answers"] == -100, 7, batch["answers"])  # what comes behind is naught
    monkeypatch.setattr(task, "answer", lambda *given: written)
    assert task.measure(None, batch) == {"right": 4, "answers": 4}
    written[0, np.count_nonzero(batch["answers"][0] != -100) - 1] += 1
    assert task.measure(None, batch) == {"right": 3, "answers": 4}


def test_how_an_answer_ends(of):
    task, tokenizer = of("chat", seq_len=256)
    ends = [tokenizer.token_to_id("<|im_end|>"), tokenizer.eos_token_id]
    assert None not in ends and task.ends() == ends
    said = task.generation_config(tokenizer)
    assert said["eos_token_id"] == ends and said["do_sample"] is False


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_the_prompt_is_a_question_of_the_validation_data(of, monkeypatch, at_once):
    """The first one, however many are rendered together; and so are all records."""
    other = conversations([["Quite other?", "Yes."]])
    whole = list(of("chat", seq_len=256, training=other)[0].evaluation_batches())
    monkeypatch.setattr(chat, "AT_ONCE", at_once)
    task, tokenizer = of("chat", seq_len=256, training=other)
    assert task.prompt(tokenizer) == "Where is the hen?"
    for mine, expected in zip(task.evaluation_batches(), whole, strict=True):
        for name, array in expected.items():
            np.testing.assert_array_equal(mine[name], array)


@pytest.mark.parametrize(
    ("rows_open", "rows"),
    [
        (1, [[0], [1], [2], [3, 4]]),
        (2, [[0], [1], [2], [3, 4]]),  # there was room in the first, but two were begun since
        (3, [[0, 3], [1, 4], [2]]),
        (64, [[0, 3], [1, 4], [2]]),
    ],
)
def test_records_are_packed_by_hand(monkeypatch, rows_open, rows):
    """The last of each of these rows fill it to the brim."""
    monkeypatch.setattr(chat, "OPEN", rows_open)
    assert chat.packed([6, 7, 8, 4, 3], 10) == rows
    assert chat.packed([10, 10], 10) == [[0], [1]] and chat.packed([], 10) == []


# ---------------------------------------------------------------------------------------------
# Lengths, divisors, smoothing
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, field", [("chat", "ids"), ("translate", "target")])
def test_a_record_may_be_as_long_as_a_row(of, name, field):
    task, _ = of(name, seq_len=256)
    longest = int(task.train_data.lengths(field).max())
    of(name, seq_len=longest)
    with pytest.raises(ValueError, match=f"{longest} tokens, and --seq-len is {longest - 1}"):
        of(name, seq_len=longest - 1)


@pytest.mark.parametrize("seq_len", [6, 7])
def test_a_text_is_cut_at_its_end(of, seq_len, recwarn):
    """The seven characters of "cat sat": told where one is lost, and only there."""
    task, tokenizer = of("classify", seq_len=seq_len)
    ids = task.train_data.field("ids", 0)
    assert tokenizer.decode(ids) == "cat sat"[:seq_len]
    assert [w for w in recwarn if "cut off" in str(w.message)] == [] or seq_len == 6
    assert len(recwarn) == (seq_len == 6)


def test_items_are_texts_and_tokens_that_are_predicted(of):
    task, _ = of("classify")
    batch = task.batch(0, 0, 3)
    assert task.num_items(batch) == [3, 3 * 6]
    task, _ = of("causal", seq_len=8)
    assert task.num_items(task.batch(0, 0, 3)) == 3 * 7


def test_labels_are_smoothed_in_training_alone(of):
    task, tokenizer = of("translate")
    config = tq.MarianConfig(
        vocab_size=tokenizer.vocab_size, d_model=16, encoder_layers=1, encoder_attention_heads=2,
        encoder_ffn_dim=16, dropout=0.0, init_std=0.5, **task.special_tokens(tokenizer),
    )  # fmt: skip
    model, batch = tq.MarianMTModel(config), task.batch(0, 0, 4)
    z = model(**{n: a for n, a in batch.items() if n != "labels"}).logits.data.astype(np.float64)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    counts = batch["labels"] != -100
    labels = np.where(counts, batch["labels"], 0)[..., None]
    picked, mean = np.take_along_axis(log_p, labels, -1)[..., 0], log_p.mean(-1)
    assert task.num_items(batch) == counts.sum() < counts.size
    for training, smoothing in ((False, 0.0), (True, 0.1)):
        losses = -((1 - smoothing) * picked + smoothing * mean)[counts]
        found = task.loss(model.train(training), batch, 40).item()
        assert found == pytest.approx(losses.sum() / 40, rel=1e-4)
    assert task.generation_config(tokenizer)["max_new_tokens"] == 64


def test_what_a_reader_of_pairs_gets_right(of):
    """All hidden words but one, all pairs but two; 9 is the logit of what it takes for right."""
    task, tokenizer = of("masked")
    (batch,) = task.evaluation_batches()
    words, pairs = batch["labels"][batch["labels"] != -100].copy(), 1 * batch["next_sentence_label"]
    words[0], pairs[:2] = tokenizer.mask_token_id, 1 - pairs[:2]
    said = [tq.Tensor(9 * np.eye(n)[one]) for n, one in ((len(tokenizer), words), (2, pairs))]
    out = SimpleNamespace(prediction_logits=said[0], seq_relationship_logits=said[1])
    found = task.measure(lambda **given: out, batch)
    assert (found["masked"], found["items"]) == (len(words) - 1, len(words))
    assert (found["next"], found["pairs"]) == (len(pairs) - 2, len(pairs)) and len(pairs) > 4
    for name, wrong, n, size in (
        ("loss", 1, len(words), len(tokenizer)),
        ("pair_loss", 2, len(pairs), 2),
    ):
        assert found[name] == pytest.approx(n * np.log(np.exp(9) + size - 1) - 9 * (n - wrong))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_a_part_of_a_batch_is_divided_by_the_whole_ones_items(of, weight):
    """Labels by texts and next tokens by tokens, each apart."""
    task, tokenizer = of("classify", lm_weight=weight)
    sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    config = tq.Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, pad_token_id=task.pad,
                            num_labels=3, **sizes)  # fmt: skip
    model, batch = tq.Qwen2ForSequenceClassification(config).eval(), task.batch(0, 0, 4)
    texts, tokens = task.num_items(batch)
    whole, of_words, of_texts = (
        task.loss(model, batch, items).item()
        for items in ([texts, tokens], [texts * 1e9, tokens], [texts, tokens * 1e9])
    )
    assert whole == pytest.approx(of_texts + of_words, rel=1e-5) and (of_words > 0.1) == (
        weight > 0
    )
    thirds = task.loss(model, batch, [3 * texts, 4 * tokens]).item()
    assert thirds == pytest.approx(of_texts / 3 + of_words / 4, rel=1e-5)


def test_what_fills_up_a_row_is_masked(of):
    task, tokenizer = of("classify", training=lines([*TEXTS, {"text": "a", "label": "cat"}]))
    batch = task.batch(0, 0, 10)
    lengths = [int(n) for n in task.train_data.lengths("ids")]
    assert sorted(batch["attention_mask"].sum(1).tolist()) == sorted(lengths)
    texts = [tokenizer.decode(ids[mask == 1]) for ids, mask in
             zip(batch["input_ids"], batch["attention_mask"])]  # fmt: skip
    assert sorted(texts) == sorted([*(one["text"] for one in TEXTS), "a"])


def test_a_translation_is_exact_up_to_its_end(of, monkeypatch):
    """What a model goes on with behind the end is naught, and a missing end is a mistake."""
    task, _ = of("translate")
    batch = next(iter(task.evaluation_batches()))
    labels, end = batch["labels"], task.end
    rows = [[task.pad, *row[row != -100], 9, 9][: labels.shape[1] + 2] for row in labels]
    written = np.array([row + [9] * (labels.shape[1] + 2 - len(row)) for row in rows])
    model = SimpleNamespace(generate=lambda *given, **settings: written)
    monkeypatch.setattr(type(task).__mro__[1], "measure", lambda *given: {})
    assert task.measure(model, batch) == {"exact": 4, "pairs": 4}
    place = int(np.argmax(written[1] == end))
    written[1, place] = 9
    assert task.measure(model, batch) == {"exact": 3, "pairs": 4}
