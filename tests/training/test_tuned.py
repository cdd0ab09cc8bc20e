"""Runs that train adapters alone, and runs with a teacher."""

import json

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.storage import safetensors
from tinyqwen.training.run_state import STATE
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer
from tinyqwen.training.tuned import tuned

TINY = dict(
    **dict(hidden_size=16, num_hidden_layers=2, intermediate_size=24, vocab_size=290),
    **dict(batch_size=4, seq_len=16, threads=1, warmup_steps=2, steps=6, eval_interval=3),
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("text")
    words = ["the", "cat", "sat", "on", "mat", "and", "saw", "one", "red", "hen", "in", "old"]
    for name, count in (("train", 100), ("validation", 10)):
        sentences = [" ".join(rng.choice(words, 8)) + "." for _ in range(count)]
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(sentences))
    return folder


def run(text, out, resume=False, **settings):
    config = TrainConfig(data=str(text), out=str(out), **{**TINY, **settings})
    with Trainer(config, resume) as trainer:
        return trainer.train()


@pytest.fixture(scope="module")
def base(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "run"
    run(text, folder)
    return folder


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [(m["loss"], m.get("val_loss")) for m in map(json.loads, lines)]


def weights(folder):
    return tq.Qwen2ForCausalLM.from_pretrained(folder).state_dict()


@pytest.mark.parametrize("threads", [1, 2])
def test_only_adapters_are_trained_and_kept(text, base, tmp_path, threads):
    summary = run(text, tmp_path / "a", init_from=str(base), lora_rank=3, threads=threads)
    assert summary["steps"] == 6
    state, _ = safetensors.load(tmp_path / "a" / STATE)
    names = [name for name in state if name.startswith("model.")]
    assert len(names) == 2 * 2 * 7 and all(".lora_" in name for name in names)
    assert state["optimizer.m"].size == sum(state[name].size for name in names)
    before, after = weights(base), weights(tmp_path / "a")
    adapted = tq.PeftModel.from_pretrained(
        tq.Qwen2ForCausalLM.from_pretrained(base), tmp_path / "a" / "adapter"
    )
    assert adapted.peft_config["default"].scaling == 2
    ids = np.array([[5, 9, 2, 7]])
    merged = tq.Qwen2ForCausalLM.from_pretrained(tmp_path / "a")
    np.testing.assert_allclose(adapted(ids).logits.data, merged(ids).logits.data, atol=1e-5)
    for name in before:
        changed = (before[name] != after[name]).any()
        assert changed == name.endswith("_proj.weight"), name
    assert losses(tmp_path / "a")[-1][1] < losses(tmp_path / "a")[2][1]


@pytest.mark.parametrize("how", ["adapters", "adapters beside a packed base", "a teacher"])
def test_stopped_and_resumed_equal_the_undisturbed(text, how, tmp_path, monkeypatch, request):
    start = str(request.getfixturevalue("packed" if "packed" in how else "base"))
    if how == "a teacher":
        settings = dict(teacher=start, hidden_size=8, save_interval=2)
    else:
        settings = dict(init_from=start, lora_rank=2, lora_alpha=3.0, save_interval=2)
    run(text, tmp_path / "whole", **settings)
    original = Trainer._record

    def crash(self, *args):
        if self.step == 4:
            raise RuntimeError("power cut")
        return original(self, *args)

    monkeypatch.setattr(Trainer, "_record", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        run(text, tmp_path / "parts", **settings)
    monkeypatch.setattr(Trainer, "_record", original)
    run(text, tmp_path / "parts", resume=True)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    first, second = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_student_with_a_teacher(text, base, tmp_path):
    """With all weight on the teacher that it was copied from, a student has nothing to learn."""
    settings = dict(init_from=str(base), teacher=str(base))
    run(text, tmp_path / "a", distill_weight=1.0, **settings)
    assert losses(tmp_path / "a")[0][0] == pytest.approx(0, abs=1e-6)
    run(text, tmp_path / "b", distill_weight=0.0, **settings)
    run(text, tmp_path / "c", init_from=str(base))
    found, expected = losses(tmp_path / "b"), losses(tmp_path / "c")
    assert [x for x, _ in found] == pytest.approx([x for x, _ in expected], rel=1e-4)
    run(text, tmp_path / "d", teacher=str(base), hidden_size=8, num_hidden_layers=1)
    assert losses(tmp_path / "d")[-1][1] is not None


def test_a_teacher_with_other_tokens_is_refused(text, base, tmp_path):
    with pytest.raises(ValueError, match="other tokens than the student; give both one tokenizer"):
        run(text, tmp_path / "a", teacher=str(base), tokenizer="char", vocab_size=0)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(lora_rank=4), "choose one with init_from"),
        (dict(lora_rank=-1), "must not be negative"),
        (dict(lora_alpha=8.0), "nothing without lora_rank"),
        (
            dict(task="classify", lora_rank=4, init_from="x", freeze_body=True),
            "leave out freeze_body",
        ),
        (dict(teacher="x", distill_weight=1.5), "distill_weight must be from 0 to 1"),
        (dict(teacher="x", distill_temperature=0.0), "distill_temperature must be a positive"),
        (dict(teacher="x", task="classify"), "for the tasks causal and chat"),
        (dict(lm_weight=0.5), "lm_weight is for the task classify, not for causal"),
        (dict(freeze_body=True), "freeze_body is for the task classify, not for causal"),
        (dict(model="bert", task="classify", lm_weight=0.5), "bert sees the tokens"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(**settings)


@pytest.fixture
def packed(base, tmp_path):
    model = tq.Qwen2ForCausalLM.from_pretrained(base)
    tq.quantize(model, 4, 8).save_pretrained(tmp_path / "packed")
    tq.Tokenizer.from_pretrained(base).save_pretrained(tmp_path / "packed")
    return tmp_path / "packed"


def test_adapters_beside_a_packed_base(text, packed, tmp_path):
    """The run's checkpoint is float32 and merged, and equals the packed base with the adapter."""
    summary = run(text, tmp_path / "a", init_from=str(packed), lora_rank=2)
    merged = tq.Qwen2ForCausalLM.from_pretrained(tmp_path / "a")
    assert "quantization_config" not in merged.config.extra
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    beside = tq.Qwen2ForCausalLM.from_pretrained(packed)
    ids = np.array([[5, 9, 2, 7]])
    plain = beside(ids).logits.data
    beside = tq.PeftModel.from_pretrained(beside, tmp_path / "a" / "adapter")
    np.testing.assert_allclose(merged(ids).logits.data, beside(ids).logits.data, atol=1e-5)
    assert np.abs(merged(ids).logits.data - plain).max() > 1e-3
    assert summary["val_loss"] == pytest.approx(losses(tmp_path / "a")[-1][1])
    state, _ = safetensors.load(tmp_path / "a" / STATE)
    assert all(".lora_" in name for name in state if name.startswith("model."))


def test_what_is_packed_is_not_trained_in_silence(text, packed, tmp_path):
    with pytest.raises(ValueError, match=r"is quantized, and .* --lora-rank 8"):
        run(text, tmp_path / "a", init_from=str(packed))
    assert not (tmp_path / "a").exists()


def test_beside_adapters_the_head_of_a_classifier_is_trained():
    """It is new, and no small change of it would do; all else but the adapters is frozen."""
    sizes = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1)
    config = tq.Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=1)
    model = tq.Qwen2ForSequenceClassification(config)
    settings = TrainConfig(task="classify", init_from="x", lora_rank=2)
    adapted, objective = tuned(model, "the task", None, settings)
    trained = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert [n for n in trained if "lora_" not in n] == ["base_model.model.score.weight"]
    assert len(trained) == 1 + 7 * 2 and objective == "the task"


def test_a_recipe_has_rows_that_its_base_can_read(tmp_path):
    sizes = dict(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    config = tq.BertConfig(**sizes, intermediate_size=8, max_position_embeddings=50)
    tq.BertForPreTraining(config).save_pretrained(tmp_path)
    settings = dict(task="classify", init_from=str(tmp_path))
    assert TrainConfig.recipe(**settings).seq_len == 50
    assert TrainConfig.recipe(**settings, seq_len=60).seq_len == 60  # refused by the trainer
