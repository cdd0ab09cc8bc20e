"""What the batches of each task hold, looked at by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.tasks import TASKS
from tinyqwen.training.tasks.chat import answer_parts, chat_labels, packed
from tinyqwen.training.tasks.masked import SENTENCE, _marks


def prepared(name, tmp_path, files, **settings):
    """(task, tokenizer) of text files, {name: text}, all of them for training and validation."""
    paths = []
    for file, text in files.items():
        paths.append(tmp_path / file)
        paths[-1].write_text(text, encoding="utf-8")
    config = {"seq_len": 64, "batch_size": 4, "vocab_size": 0, "tokenizer": "bpe", "seed": 0}
    task = TASKS[name](SimpleNamespace(**{**config, **settings}))
    tokenizer = task.new_tokenizer(paths)
    task.prepare((paths, paths), tokenizer, tmp_path / "tokens")
    task.open(tmp_path / "tokens", tokenizer)
    return task, tokenizer


# ---------------------------------------------------------------------------------------------
# masked
# ---------------------------------------------------------------------------------------------

WORDS = "one two three four five six seven eight nine ten"


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    draw = np.random.default_rng(0)
    stories = [
        " ".join(f"{' '.join(draw.choice(WORDS.split(), 6))} d{n}s{i}." for i in range(3))
        for n in range(40)
    ]
    # The tokenizer would cut d7s2 into pieces; a story's number is told by its first pieces.
    text = "\n<|endoftext|>\n".join(story.replace(". ", ". O") for story in stories)
    return prepared(
        "masked", tmp_path_factory.mktemp("masked"), {"x.txt": text}, tokenizer="wordpiece"
    )


def test_sentences_end_where_they_end():
    text = 'Once upon a time. "Where is it?" said Tom. He ran! "No," said Sue.\nThe end.'
    expected = ["Once upon a time.", '"Where is it?" said Tom.', "He ran!", '"No," said Sue.']
    assert SENTENCE.split(text) == [*expected, "The end."]


def test_half_of_the_pairs_follow_each_other(masked):
    task, _ = masked
    batch = task.batch(0, 0, 2000)
    assert 0.45 < batch["next_sentence_label"].mean() < 0.55
    data = task.splits[0]
    where = {tuple(data.ids(i)): (data._documents[i], i) for i in range(len(data._documents))}
    whole = np.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])
    for ids, real, kinds, label in zip(
        whole, batch["attention_mask"], batch["token_type_ids"], batch["next_sentence_label"]
    ):
        ids, kinds = ids[real == 1], kinds[real == 1]
        assert ids[0] == task.cls and ids[-1] == task.sep
        first, second = ids[1 : np.argmax(kinds) - 1], ids[np.argmax(kinds) : -1]
        assert ids[np.argmax(kinds) - 1] == task.sep and kinds.sum() == len(second) + 1
        (a, i), (b, j) = where[tuple(first)], where[tuple(second)]
        assert (a == b and j == i + 1) if label == 0 else a != b


def test_fifteen_in_a_hundred_tokens_are_hidden(masked):
    """Of these 80% are [MASK], 10% any token, 10% themselves; marks and padding never."""
    task, _ = masked
    batch = task.batch(0, 1, 3000)
    ids, labels, real = (batch[name] for name in ("input_ids", "labels", "attention_mask"))
    chosen = labels != -100
    whole = np.where(chosen, labels, ids)
    text = (real == 1) & ~np.isin(whole, task.special)
    assert not (chosen & ~text).any()
    assert chosen.sum() / text.sum() == pytest.approx(0.15, abs=0.005)
    masked = (ids == task.mask)[chosen].mean()
    kept = (ids == labels)[chosen].mean()
    assert masked == pytest.approx(0.8, abs=0.015)
    assert kept == pytest.approx(0.1, abs=0.015)
    assert len(np.unique(ids[chosen & (ids != labels) & (ids != task.mask)])) > task.size / 2


def test_a_tokenizer_without_marks_cannot_hide(tmp_path):
    with pytest.raises(ValueError, match=r"\[CLS\], \[SEP\] and \[MASK\]"):
        prepared("masked", tmp_path, {"x.txt": WORDS * 9}, tokenizer="char")


@pytest.mark.parametrize("absent", ["[CLS]", "[SEP]", "[MASK]"])
def test_no_mark_may_be_absent(absent):
    ids = {"[CLS]": 0, "[SEP]": 1, "[MASK]": 2}
    assert _marks(SimpleNamespace(token_to_id=ids.get)) == [0, 1, 2]
    del ids[absent]
    with pytest.raises(ValueError, match=r"\[CLS\], \[SEP\] and \[MASK\]"):
        _marks(SimpleNamespace(token_to_id=ids.get))


def test_pairs_need_documents(tmp_path):
    with pytest.raises(ValueError, match="no two documents of several sentences"):
        prepared("masked", tmp_path, {"x.txt": "One two. Three four."}, tokenizer="wordpiece")


# ---------------------------------------------------------------------------------------------
# translate
# ---------------------------------------------------------------------------------------------

PAIRS = [{"zh": "我爱猫", "en": "I love cats"}, {"zh": "你好", "en": "Hello to you"}] * 2


def lines(records):
    return "\n".join(map(json.dumps, records))


def translate(tmp_path, text, **settings):
    settings = {"source": "zh", "target": "en", "label_smoothing": 0.1, **settings}
    return prepared("translate", tmp_path, {"x.jsonl": text}, tokenizer="word", **settings)


def test_the_decoder_reads_what_stands_before_each_label(tmp_path):
    task, tokenizer = translate(tmp_path, lines(PAIRS))
    batch = next(iter(task.evaluation_batches()))
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    assert tokenizer.batch_decode(batch["input_ids"][:2], True) == ["我爱猫", "你好"]
    assert batch["input_ids"][1].tolist()[-2:] == [end, pad]
    assert batch["attention_mask"][:2].sum(1).tolist() == [4, 3]
    for before, labels in zip(batch["decoder_input_ids"], batch["labels"]):
        assert before[0] == pad and labels[-1] == end
        assert before[1:].tolist() == labels[:-1].tolist()
    assert task.num_items(batch) == 4 * 4


def test_either_direction(tmp_path):
    task, tokenizer = translate(tmp_path, lines(PAIRS), source="en", target="zh")
    batch = next(iter(task.evaluation_batches()))
    assert tokenizer.decode(batch["input_ids"][0], True) == "I love cats"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"zh": "a", "en": "b"}\n\n{"zh": "a"}', 'line 3 is no JSON object with a string in "zh"'),
        ('{"zh": 1, "en": "b"}', "line 1"),
        ("[]", "line 1"),
        (
            lines([PAIRS[0], {"zh": "猫" * 70, "en": "b"}]),
            r"x\.jsonl: line 2 has a text of 71 tokens, and --seq-len is 64",
        ),
    ],
)
def test_pairs_that_are_none(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        translate(tmp_path, text)


def test_pairs_are_jsonl(tmp_path):
    with pytest.raises(ValueError, match=r"takes \.jsonl files of pairs"):
        prepared("translate", tmp_path, {"x.txt": "a"}, tokenizer="word", source="a", target="b")


# ---------------------------------------------------------------------------------------------
# chat
# ---------------------------------------------------------------------------------------------


def conversation(*turns):
    roles = ["user", "assistant"] * len(turns)
    return {"messages": [{"role": r, "content": c} for r, c in zip(roles, turns)]}


CHATS = [
    conversation("Where is the hen?", "In the box.", "And the cat?", "Here."),
    conversation("Who ran?", "Tom."),
    conversation("Is it red?", "It is blue.", "Thanks."),
]


def test_the_loss_is_on_answers_alone(tmp_path):
    task, tokenizer = prepared("chat", tmp_path, {"x.jsonl": lines(CHATS)}, seq_len=256)
    batch = next(iter(task.evaluation_batches()))
    ids, labels = batch["input_ids"], batch["labels"]
    counted = labels != -100
    np.testing.assert_array_equal(ids[counted], labels[counted])
    answers = ["In the box.", "Here.", "Tom.", "It is blue."]
    expected = "".join(f"{answer}<|im_end|>" for answer in answers)
    assert tokenizer.decode(labels[counted]) == expected
    whole = tokenizer.apply_chat_template(CHATS[0]["messages"], tokenize=False)
    assert tokenizer.decode(ids[0]).startswith(whole)


def test_no_conversation_sees_another(tmp_path):
    """A packed row's loss and gradient are those of its conversations, each alone."""
    task, tokenizer = prepared("chat", tmp_path, {"x.jsonl": lines(CHATS)}, seq_len=256)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "intermediate_size": 24, "initializer_range": 0.3}
    model = tq.Qwen2ForCausalLM(tq.Qwen2Config(vocab_size=tokenizer.vocab_size, **sizes))
    model = model.astype(np.float64)
    batch = next(iter(task.evaluation_batches()))
    assert len(batch["input_ids"]) == 1 and len(task.rows[0]) == 3
    lengths = [len(task.validation_data.field("ids", i)) for i in range(3)]
    counted = [place for length in lengths for place in range(length)]  # RoPE would not show it
    assert batch["position_ids"][0, : sum(lengths)].tolist() == counted
    together = task.loss(model, batch, 1)
    alone = [task.loss(model, task._pack(task.validation_data, [[i]]), 1) for i in range(3)]
    parameters = list(model.parameters())
    summed = alone[0] + alone[1] + alone[2]
    assert together.item() == pytest.approx(summed.item(), rel=1e-10)
    for a, b in zip(tq.grad(together, parameters), tq.grad(summed, parameters)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_rows_are_filled(rng):
    assert packed([3, 4, 5, 2, 9, 4], 9) == [[0, 1, 3], [2, 5], [4]]
    assert packed([9, 9], 9) == [[0], [1]]
    lengths = rng.integers(1, 40, 5000)
    rows = packed(lengths, 100)
    assert sorted(i for row in rows for i in row) == list(range(5000))
    assert max(sum(lengths[i] for i in row) for row in rows) <= 100
    assert len(rows) < 1.02 * lengths.sum() / 100 + 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines([conversation("a", "b"), conversation("a")]), "line 2 is a conversation without an"),
        ('{"messages": "a"}', 'line 1 has no "messages"'),
        ('{"messages": [{"role": "user"}]}', 'line 1 has no "messages"'),
        ("{}", 'line 1 has no "messages"'),
        (lines([conversation("a " * 99, "b")]), "line 1 has .* tokens, and --seq-len is 64"),
    ],
)
def test_conversations_that_are_none(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        prepared("chat", tmp_path, {"x.jsonl": text})


def test_a_role_that_the_template_does_not_know(tmp_path):
    stranger = {"messages": [{"role": "stranger", "content": "a"}, *CHATS[1]["messages"]]}
    tokenizer = Tokenizer.train(["some words " * 20], vocab_size=261)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}"
        "{{ raise_exception('no role ' + m.role) }}{% endif %}{{ m.content }}{% endfor %}"
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match=r"line 2: .*no role stranger"):
        prepared(
            *("chat", tmp_path, {"x.jsonl": lines([CHATS[1], stranger])}),
            tokenizer=str(tmp_path / "tokenizer"),
        )


# ---------------------------------------------------------------------------------------------
# classify
# ---------------------------------------------------------------------------------------------

TEXTS = [{"text": "the cat sat", "label": "cat"}, {"text": "a red hen", "label": "hen"}]


def test_the_new_task_and_the_old_one(tmp_path):
    """L = L_FT + λ L_PT, each computed here from logits in float64."""
    task, tokenizer = prepared("classify", tmp_path, {"x.jsonl": lines(TEXTS)}, lm_weight=0.5)
    batch = next(iter(task.evaluation_batches()))
    assert batch["labels"].tolist() == [0, 1] and task.labels == ["cat", "hen"]
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "intermediate_size": 24, "initializer_range": 0.3}
    own = {"vocab_size": tokenizer.vocab_size, "num_labels": 2, "pad_token_id": task.pad}
    model = tq.Qwen2ForSequenceClassification(tq.Qwen2Config(**sizes, **own))
    model = model.astype(np.float64).eval()

    def surprise(logits, label):
        return np.log(np.exp(logits).sum()) - logits[label]

    ids, real = batch["input_ids"], batch["attention_mask"]
    logits = model(ids, attention_mask=real).logits.data
    hidden = model.model(ids, attention_mask=real).last_hidden_state.data
    table = model.model.embed_tokens.weight.data
    fine = np.mean([surprise(z, label) for z, label in zip(logits, batch["labels"])])
    old = [
        surprise(table @ hidden[b, t - 1], ids[b, t])
        for b in range(2)
        for t in range(1, int(real[b].sum()))
    ]
    expected = fine + 0.5 * np.mean(old)
    assert task.loss(model, batch, task.num_items(batch)).item() == pytest.approx(expected)
    task.config.lm_weight = 0.0
    assert task.loss(model, batch, task.num_items(batch)).item() == pytest.approx(fine)


def test_texts_that_are_cut_are_told(tmp_path):
    long = [*TEXTS, {"text": "the cat sat on a mat", "label": "cat"}]
    with pytest.warns(UserWarning, match=r"2 of 6 texts are cut off at --seq-len 15; .* 20 tokens"):
        files = {"x.jsonl": lines(long)}
        task, _ = prepared("classify", tmp_path, files, seq_len=15, tokenizer="char")
    assert task.train_data.lengths("ids").max() == 15


def test_a_frozen_body(tmp_path):
    task, tokenizer = prepared("classify", tmp_path, {"x.jsonl": lines(TEXTS)}, freeze_body=True)
    config = tq.Qwen2Config(
        **{"vocab_size": tokenizer.vocab_size, "hidden_size": 16, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24},
    )
    model = tq.Qwen2ForSequenceClassification(config)
    task.adapt(model)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["score.weight"]
    model.save_pretrained(tmp_path / "model")  # the labels have names, as transformers writes them
    stored = json.loads((tmp_path / "model" / "config.json").read_text())
    assert stored["id2label"] == {"0": "cat", "1": "hen"}
    assert stored["label2id"] == {"cat": 0, "hen": 1}
    again = tq.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert again.config.num_labels == 2


def test_the_old_task_on_a_packed_table(tmp_path):
    """With tables in int8 the old task's loss is that of the same tables in float32."""
    task, tokenizer = prepared("classify", tmp_path, {"x.jsonl": lines(TEXTS)}, lm_weight=0.5)
    batch = next(iter(task.evaluation_batches()))
    config = tq.Qwen2Config(
        **{"vocab_size": tokenizer.vocab_size, "hidden_size": 16, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32},
        **{"pad_token_id": task.pad, "initializer_range": 0.3},
    )
    model = tq.Qwen2ForSequenceClassification(config).eval()
    table, head = model.model.embed_tokens, model.score.weight.data.copy()
    tq.quantize(model, 8, 16)
    packed = model.model.embed_tokens.weight.dense()
    model.score = tq.nn.Linear(16, 2, bias=False)
    model.score.weight.data[...] = head
    found = task.loss(model, batch, task.num_items(batch)).item()
    table.weight.data[...] = packed
    model.model.embed_tokens = table
    assert found == pytest.approx(task.loss(model, batch, task.num_items(batch)).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines(TEXTS[:1]), "all texts have the label 'cat'"),
        ('{"text": "a"}', 'line 1 is no JSON object with a string in "text" and "label"'),
    ],
)
def test_labels_that_are_none(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        prepared("classify", tmp_path, {"x.jsonl": text})


def test_where_answers_begin_and_end():
    first, second = "<u>Hi</u>\n<a>", "<u>Hi</u>\n<a>Hello\n\nyou</a>\n<u>Bye</u>\n<a>"
    parts = answer_parts([first, second], [first + "Hello\n\nyou</a>\n", second + " So long</a>\n"])
    assert parts == [
        ("<u>Hi</u>\n<a>", False),
        ("Hello\n\nyou</a>", True),
        ("\n<u>Bye</u>\n<a>", False),
        (" So long</a>", True),
        ("\n", False),
    ]
    assert answer_parts(["a"], ["ab"]) == [("a", False), ("b", True)]
    for prompts, wholes in ((["a"], ["bc"]), (["a", "ac"], ["ab", "acd"])):
        with pytest.raises(ValueError, match="changes earlier turns"):
            answer_parts(prompts, wholes)


def test_labels_are_the_ids_of_answers():
    ids, labels = chat_labels([([1, 2], False), ([3], True), ([4], False), ([5, 6], True)], -1)
    assert ids.dtype == labels.dtype == np.int64
    assert ids.tolist() == [1, 2, 3, 4, 5, 6] and labels.tolist() == [-1, -1, 3, -1, 5, 6]
