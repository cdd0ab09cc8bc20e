"""Settings at their limits, and small pieces of a run by hand: state, records, conversations."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.storage import safetensors
from tinyqwen.training import train_config, tuned
from tinyqwen.training.data import map_array, token_dtype
from tinyqwen.training.records import EACH, prepare_records, warn_of_cut
from tinyqwen.training.run_folder import RunFolder, stored_config
from tinyqwen.training.run_state import STATE, load_state, save_state, saved_step
from tinyqwen.training.tasks import TASKS, chat
from tinyqwen.training.train_config import TrainConfig

BASE = str(Path(__file__).parents[2] / "data" / "model")


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0, "warmup_steps": 0, "eval_interval": 0, "save_interval": 0, "seed": 0},
        {"batch_size": 1, "grad_accumulation": 1, "seq_len": 2, "weight_decay": 0.0},
        {"learning_rate": 1e-300, "grad_clip": 1e300, "weight_decay": 1e300},
        {"model": "marian", "task": "translate", "label_smoothing": 0.999},
        {"task": "classify", "lm_weight": 1e300},
        {"teacher": "t", "distill_weight": 0.0, "distill_temperature": 1e-300},
        {"teacher": "t", "distill_weight": 1.0},
        {"teacher": "t", "task": "chat"},
        {"init_from": BASE, "lora_rank": 1, "lora_alpha": 1e-9},
    ],
)
def test_settings_at_their_limits_are_taken(settings):
    made = TrainConfig(**settings)
    assert {name: getattr(made, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(({name: -1}, f"{name} must be at least 0, not -1")
          for name in ("steps", "warmup_steps", "eval_interval", "save_interval", "seed",
                       "vocab_size", "threads")),
        *(({name: 0}, f"{name} must be at least 1, not 0")
          for name in ("batch_size", "grad_accumulation")),
        *(({name: np.inf}, f"{name} must be a positive number, not inf")
          for name in ("learning_rate", "grad_clip")),
        *(({name: np.inf, "task": "classify"}, f"{name} must not be negative, it is inf")
          for name in ("weight_decay", "lm_weight")),
        ({"model": "marian", "task": "translate", "label_smoothing": -0.1}, "from 0 to below 1"),
        ({"model": "bert", "task": "classify", "lm_weight": 0.5}, "lm_weight is for models that w"),
        ({"lora_rank": -1}, "lora_rank and lora_alpha must not be negative"),
        ({"lora_rank": 1, "lora_alpha": np.inf}, "lora_rank and lora_alpha must not be negative"),
        ({"lora_rank": 1}, "lora_rank adapts a trained model; choose one with init_from"),
        ({"lora_alpha": 1.0}, "lora_alpha is nothing without lora_rank"),
        ({"lora_rank": 1, "init_from": BASE, "task": "classify", "freeze_body": True}, "leave out"),
        ({"teacher": "t", "task": "classify"}, "a teacher is for the tasks causal and chat, not"),
        ({"teacher": "t", "distill_weight": 1.01}, "distill_weight must be from 0 to 1, not 1.01"),
        ({"teacher": "t", "distill_weight": -0.01}, "distill_weight must be from 0 to 1"),
        ({"teacher": "t", "distill_temperature": 0.0}, "distill_temperature must be a positive"),
        ({"init_from": 3}, "init_from must be"),
    ],
)  # fmt: skip
def test_settings_behind_their_limits_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TrainConfig(**settings)


def test_what_is_not_said_follows_from_the_rest(monkeypatch):
    monkeypatch.setattr(train_config, "default_threads", lambda: 7)
    assert TrainConfig().threads == 7 and TrainConfig(threads=2).threads == 2
    assert TrainConfig().tokenizer == "bpe" and TrainConfig(teacher="t").tokenizer == "t"
    assert TrainConfig(init_from=BASE, teacher="t").tokenizer == BASE
    assert TrainConfig(init_from=BASE, tokenizer="char").tokenizer == "char"
    assert type(TrainConfig(learning_rate=1).learning_rate) is float
    outs = {("causal", None): "runs/stories", ("chat", None): "runs/qwen2-chat"}
    outs |= {("causal", "llama"): "runs/llama", ("chat", "llama"): "runs/llama-chat"}
    for (task, model), out in outs.items():
        more = {"model": model} if model else {}
        assert TrainConfig.recipe(task=task, **more).out == out
    assert TrainConfig(seq_len=513).model_config(9).max_position_embeddings == 513
    assert TrainConfig(seq_len=64).model_config(9).max_position_embeddings == 512
    assert TrainConfig(model="gpt2", seq_len=64).model_config(9).max_position_embeddings == 64


def test_memory_counts_ids_and_every_accumulated_part(monkeypatch):
    """Eight bytes an id, and the message is in units of 10⁹ bytes."""
    monkeypatch.setattr(train_config, "training_memory", lambda *given: {"weights": 5_000_000_000})
    config = TrainConfig(batch_size=10, grad_accumulation=3, seq_len=100)
    monkeypatch.setattr(train_config, "physical_memory", lambda: 5_000_000_000 + 8 * 3000)
    config.refuse_too_large()
    monkeypatch.setattr(train_config, "physical_memory", lambda: 5_000_000_000 + 8 * 3000 - 1)
    with pytest.raises(ValueError, match=r"about 5\.0 GB of memory, the machine has 5\.0: choose"):
        config.refuse_too_large()


def test_adapters_scale_is_twice_their_rank_unless_it_is_said(monkeypatch):
    made = []
    monkeypatch.setattr(tuned, "get_peft_model", lambda model, settings: made.append(settings))
    for task, alpha in (("causal", 0.0), ("causal", 3.0), ("classify", 0.0)):
        config = TrainConfig(init_from=BASE, task=task, lora_rank=4, lora_alpha=alpha)
        tuned.tuned(tq.nn.Linear(2, 2), None, None, config)
    assert [one.lora_alpha for one in made] == [8, 3, 8] and {one.r for one in made} == {4}
    assert [one.task_type for one in made] == [None, None, "SEQ_CLS"]
    assert {one.base_model_name_or_path for one in made} == {BASE}


# ---------------------------------------------------------------------------------------------
# State, records, folders
# ---------------------------------------------------------------------------------------------


def test_every_bit_of_a_state_is_under_its_checksum(tmp_path):
    arrays = {"b": np.arange(6.0).reshape(2, 3).T, "a": np.array([1, 2], np.int64)}
    assert saved_step(tmp_path) is None
    save_state(tmp_path, arrays, {"step": 12, "best": 0.5})
    assert saved_step(tmp_path) == 12
    found, progress = load_state(tmp_path)
    assert progress == {"step": 12, "best": 0.5} and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
    whole = (tmp_path / STATE).read_bytes()
    for place in (-1, -48, whole.index(b"0.5") + 2):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / STATE).write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged, its checksum is another"):
            load_state(tmp_path)
    safetensors.save(tmp_path / STATE, arrays)  # by somebody else
    with pytest.raises(ValueError, match="damaged, its checksum is another"):
        load_state(tmp_path)


@pytest.mark.parametrize(("size", "dtype"), [(1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)])
def test_ids_take_the_fewest_bytes(size, dtype):
    assert token_dtype(size) is dtype


def test_one_record_in_twenty_is_held_out_and_none_is_too_few(tmp_path):
    def read(files):
        return ({"a": [n]} for n in range(int(files[0])))

    prepare_records(([EACH], None), read, tmp_path, ("a",))
    held_out = np.fromfile(tmp_path / "validation_a.bin", np.int32)
    assert held_out.tolist() == [19] and EACH == 20
    for files, split in ((([19], None), "validation"), (([0], [3]), "train")):
        with pytest.raises(ValueError, match=f"the {split} data hold nothing to learn from"):
            prepare_records(files, read, tmp_path, ("a",))


def test_what_was_cut_is_told():
    with pytest.warns(UserWarning) as told:
        warn_of_cut([3, 5, 4, 7], 4, "texts", "--seq-len 4")
    expected = "2 of 4 texts are cut off at --seq-len 4; the longest has 7 tokens"
    assert [str(one.message) for one in told] == [expected]


def test_a_run_that_cannot_begin_leaves_what_was_there(tmp_path):
    def fails():
        (tmp_path / "run" / "tokens").mkdir()
        (tmp_path / "run" / "tokens" / "train.bin").touch()
        (tmp_path / "run" / "file").touch()
        raise ValueError("no")

    for made in (False, True):
        if made:
            (tmp_path / "run").mkdir()
        with pytest.raises(ValueError, match="no"):
            RunFolder(tmp_path / "run", resume=False).begin(fails)
        assert (tmp_path / "run").exists() is made
    run = RunFolder(tmp_path / "run", resume=False)
    run.begin(lambda: None)  # the lock is free again
    run.release()
    (tmp_path / "run" / "mine").touch()
    with pytest.raises(FileExistsError, match="exists already; go on with it with --resume"):
        RunFolder(tmp_path / "run", resume=False).begin(lambda: None)
    with pytest.raises(ValueError, match="no"):
        RunFolder(tmp_path / "run", resume=True).begin(
            lambda: (_ for _ in ()).throw(ValueError("no"))
        )
    assert (tmp_path / "run" / "mine").exists()


def test_a_folder_of_a_run_is_no_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".a.0123abcd.tmp").touch()
    run = tmp_path / "run"
    run.mkdir()
    for name in ("tokens", "best"):
        (run / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match=f"{name}: a symbolic link; put a folder"):
            RunFolder(run, resume=True).begin(lambda: None)
        (run / name).unlink()
    assert (tmp_path / "elsewhere" / ".a.0123abcd.tmp").exists()


def test_a_run_goes_on_with_its_own_settings(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run to resume"):
        stored_config(tmp_path)
    settings = {"steps": 9, "seed": 3, "out": "where it was"}
    (tmp_path / "train_config.json").write_text(json.dumps(settings))
    assert stored_config(tmp_path) == TrainConfig(steps=9, seed=3, out=str(tmp_path))
    save_state(tmp_path, {"a": np.zeros(1)}, {"step": 12})
    assert stored_config(tmp_path, 13).steps == 13 and stored_config(tmp_path, 13).seed == 3
    for steps in (12, 11):
        with pytest.raises(ValueError, match=r"is at step 12 already; ask for more --steps"):
            stored_config(tmp_path, steps)
    (tmp_path / "train_config.json").write_text(json.dumps({**settings, "stpes": 1}))
    with pytest.raises(ValueError, match=r"was not written by this version: .*stpes"):
        stored_config(tmp_path)


# ---------------------------------------------------------------------------------------------
# Tasks
# ---------------------------------------------------------------------------------------------


def conversations(folder, *chats):
    """A file of conversations, each a list of (role, content)."""
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in c_]}) for c_ in chats]
    (folder / "x.jsonl").write_text("\n".join(lines))
    return [folder / "x.jsonl"]


def test_texts_to_learn_from_are_all_messages(tmp_path):
    files = conversations(tmp_path, [("system", "s"), ("user", "q"), ("assistant", "a")],
                          [("assistant", "b")])  # fmt: skip
    task = TASKS["chat"](SimpleNamespace())
    assert list(task.texts(files)) == ["s", "q", "a", "b"]
    (tmp_path / "y.txt").touch()
    with pytest.raises(ValueError, match=r"y\.txt: conversations are \.jsonl files"):
        list(task.texts([tmp_path / "y.txt"]))
    (tmp_path / "Y.JSONL").write_bytes(files[0].read_bytes())
    assert len(list(task.texts([tmp_path / "Y.JSONL"]))) == 4


def test_a_question_is_the_first_of_a_user():
    turns = [("system", "s"), ("assistant", "a"), ("user", "one"), ("user", "two")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert chat._question(messages) == "one" and chat._question(messages[:2]) == ""


class Refusing:
    """A tokenizer whose template refuses the word "no", and draws a turn as r:content|."""

    def apply_chat_template(self, chats, add_generation_prompt=False, tokenize=True):
        chats, one = (chats, False) if not chats or type(chats[0]) is list else ([chats], True)
        if "no" in str(chats):
            raise ValueError("the word")
        texts = ["".join(f"{m['role'][0]}:{m['content']}|\n" for m in c) for c in chats]
        texts = [text + "a:" * add_generation_prompt for text in texts]
        return texts[0] if one else texts


def test_conversations_become_parts_and_a_refusal_names_its_line():
    def group(*contents):
        return [
            (
                "x.jsonl",
                3 * n,
                [{"role": "user", "content": c}, {"role": "assistant", "content": c}],
            )
            for n, c in enumerate(contents, 1)
        ]

    assert list(chat._render(Refusing(), group("p", "q"))) == [
        [(f"u:{c}|\na:", False), (f"{c}|", True), ("\n", False)] for c in "pq"
    ]
    with pytest.raises(ValueError, match=r"^x\.jsonl: line 6: the word$"):
        list(chat._render(Refusing(), group("yes", "no", "nor")))


def test_an_answer_is_right_where_nothing_is_missing_or_too_much(monkeypatch):
    """By hand, of two answers of one and two tokens; 9 ends one, and 7 is the turn's end."""
    task = TASKS["chat"](SimpleNamespace())
    task.end, task.tokenizer = 9, SimpleNamespace(token_to_id=lambda token: 7)
    given = {}

    def generate(ids, **settings):
        given.update(settings)
        return np.concatenate([ids, [[5, 9], [5, 6]]], 1)

    prompts, mask = np.array([[9, 1], [2, 3]]), np.array([[0, 1], [1, 1]])
    made = task.answer(SimpleNamespace(generate=generate), prompts, mask, 3)
    assert made.tolist() == [[5, 9, 9], [5, 6, 9]]
    assert given["max_new_tokens"] == 3 and given["attention_mask"] is mask
    assert given["do_sample"] is False and given["eos_token_id"] == [7, 9]
    assert given["pad_token_id"] == 9
    task.tokenizer = SimpleNamespace(token_to_id=lambda token: None)
    assert task.ends() == [9]
    for answers, right in (([[5, -100], [5, 6]], 2), ([[6, -100], [5, 6]], 1), ([[5, 6]] * 2, 1)):
        batch = {"input_ids": prompts, "attention_mask": mask, "answers": np.array(answers)}
        monkeypatch.setattr(task, "answer", lambda *given: np.array([[5, 9], [5, 6]]))
        assert task.measure(None, batch) == {"right": right, "answers": 2}


def test_labels_of_a_sample_are_told_beside_what_is_wrong(monkeypatch):
    """Three texts at most, and a cross-check of what a batch of random tokens is like."""
    task = TASKS["classify"](SimpleNamespace(seq_len=5, batch_size=300))
    task.labels, task.validation_data = ["cat", "hen"], range(4)
    monkeypatch.setattr(task, "_batch", lambda data, rows: {
        "input_ids": np.array([[n] for n in rows]), "attention_mask": 1,
        "labels": np.array([n % 2 for n in rows]),
    })  # fmt: skip
    out = SimpleNamespace(logits=SimpleNamespace(data=np.array([[0.5, 1.0]])))
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: f"text {ids[0]}")
    told = task.sample(lambda *given, **more: out, tokenizer).splitlines()
    assert told == ["text 0", "→ hen (it is cat)", "text 1", "→ hen", "text 2", "→ hen (it is cat)"]
    example = task.example(np.random.default_rng(0), 50, 4)
    assert example["input_ids"].shape == (50, 5) and set(example["input_ids"].flat) == {0, 1, 2, 3}
    assert example["attention_mask"].all() and example["labels"].tolist() == [0] * 50


@pytest.mark.parametrize("count, sizes", [(1700, [600, 424]), (700, [600, 100]), (600, [600])])
@pytest.mark.parametrize("name, batch_size", [("classify", 300), ("translate", 600)])
def test_of_a_large_corpus_the_first_1024_are_measured(name, batch_size, count, sizes, monkeypatch):
    task = TASKS[name](SimpleNamespace(batch_size=batch_size))
    task.validation_data = range(count)
    monkeypatch.setattr(task, "_batch", lambda data, rows: [*rows])
    batches = list(task.evaluation_batches())
    assert [len(rows) for rows in batches] == sizes
    assert [n for rows in batches for n in rows] == list(range(min(count, 1024)))


@pytest.mark.parametrize("name", TASKS)
def test_an_example_is_as_large_as_a_batch_and_of_all_tokens(name):
    example = TASKS[name](SimpleNamespace(seq_len=6)).example(np.random.default_rng(0), 80, 5)
    assert {array.shape[0] for array in example.values()} == {80}
    assert example["input_ids"].shape == (80, 6)
    assert set(example["input_ids"].flat) == {0, 1, 2, 3, 4}


def test_a_mapped_file_is_read_and_never_written(tmp_path):
    np.arange(3, dtype=np.uint16).tofile(tmp_path / "a.bin")
    (tmp_path / "a.bin").chmod(0o444)
    mapped = map_array(tmp_path, "a.bin", np.uint16, {"bytes": {"a.bin": 6}})
    assert mapped.tolist() == [0, 1, 2] and not mapped.flags.writeable
    for index in ({}, {"bytes": {"a.bin": 4}}, {"bytes": {"b.bin": 6}}, {"bytes": [6]}):
        with pytest.raises(
            ValueError, match=r"has 6 bytes, not what index\.json says; delete this"
        ):
            map_array(tmp_path, "a.bin", np.uint16, index)


def test_labels_come_from_both_splits_and_their_files_are_jsonl(tmp_path):
    from_both = [json.dumps({"text": "a", "label": label}) for label in ("hen", "cat")]
    for name, line in zip(("t", "v"), from_both):
        (tmp_path / f"{name}.jsonl").write_text(line)
    task = TASKS["classify"](SimpleNamespace(seq_len=9))
    tokenizer = SimpleNamespace(encode=lambda text: [4, 5], pad_token_id=3)
    files = [tmp_path / "t.jsonl"], [tmp_path / "v.jsonl"]
    task.prepare(files, tokenizer, tmp_path / "tokens")
    task.open(tmp_path / "tokens", tokenizer)
    assert task.labels == ["cat", "hen"] and task.pad == 3
    assert task.special_tokens(None) == {"pad_token_id": 3, "num_labels": 2}
    assert task.generation_config(None) == {}
    assert task.train_data.field("label", 0).tolist() == [1]
    assert task.validation_data.field("label", 0).tolist() == [0]
    with pytest.raises(ValueError, match="all texts have the label 'hen'"):
        task.prepare((files[0], None), tokenizer, tmp_path / "tokens")
    with pytest.raises(ValueError, match=r"x\.txt: labelled texts are \.jsonl files"):
        list(task.texts([tmp_path / "x.txt"]))


def test_a_story_is_written_from_the_end_token_on():
    """At temperature 0.8 with the run's seed, within what the model can read."""
    given = {}

    def generate(ids, **settings):
        given.update(settings, ids=ids)
        return np.array([[3, 5, 6]])

    task = TASKS["causal"](SimpleNamespace(seed=11))
    tokenizer = SimpleNamespace(eos_token_id=3, decode=lambda ids, **more: (ids.tolist(), more))
    for longest, most in ((41, 40), (512, 120)):
        config = SimpleNamespace(max_sequence_length=longest)
        told = task.sample(SimpleNamespace(config=config, generate=generate), tokenizer)
        assert told == ([5, 6], {"skip_special_tokens": True})
        assert given == {
            "ids": [[3]], "max_new_tokens": most, "do_sample": True, "temperature": 0.8,
            "eos_token_id": 3, "seed": 11,
        }  # fmt: skip


def test_a_tokenizer_without_an_end_parts_no_documents(tmp_path):
    task = TASKS["causal"](SimpleNamespace(tokenizer=BASE, vocab_size=0))
    assert task.new_tokenizer([]).eos_token_id is not None
    own = task.special_tokens(SimpleNamespace(eos_token_id=4))
    assert own == {"bos_token_id": 4, "eos_token_id": 4}
    said = task.generation_config(SimpleNamespace(eos_token_id=4))
    assert said == {"bos_token_id": 4, "eos_token_id": 4, "pad_token_id": 4}
    assert TASKS["causal"](SimpleNamespace()).metrics({"loss": 0.0, "items": 0}) == {"val_loss": 0}
