"""What no family can do, or no model can be: refused in one line, with status 2, and no file."""

import json
import re

import numpy as np
import pytest
from model_families import FAMILIES, our_model

import tinyqwen as tq
from tinyqwen import generate, inspect, train
from tinyqwen.cli import run
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.text.tokenizer_training import train_tokenizer

PAIRS = [{"zh": "我有一只猫", "en": "I have a cat"}, {"zh": "我爱", "en": "I love"}]


@pytest.fixture
def folder(tmp_path):
    """What the commands are given: models with their tokenizer, texts, pairs good and bad."""

    def lines(name, records):
        text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        (tmp_path / name).write_text(text, encoding="utf-8")

    lines("pairs.jsonl", PAIRS * 4)
    lines("gap.jsonl", [*PAIRS, {"zh": "好", "english": "good"}])
    lines("number.jsonl", [*PAIRS, {"zh": "好", "en": 7}])
    (tmp_path / "story.txt").write_text("A cat sat. It saw a hen.\n" * 40, encoding="utf-8")
    for family in ("gpt2", "bert", "marian"):
        model = our_model(family, vocab_size=300)
        model.save_pretrained(tmp_path / family)
        kind = {"bert": "wordpiece", "marian": "word"}.get(family, "char")
        Tokenizer(*train_tokenizer(["a cat sat on a mat " * 20], None, kind)).save_pretrained(
            tmp_path / family
        )
    (tmp_path / "mamba").mkdir()
    (tmp_path / "mamba" / "config.json").write_text('{"model_type": "mamba"}')
    return tmp_path


ROWS = {
    "unknown model_type, inspect": ("inspect mamba", r"'mamba'; known are qwen2, llama"),
    "unknown model_type, generate": ("generate mamba A", r"'mamba'; known are qwen2, llama"),
    "unknown model_type, train": ("train --init-from mamba --out new", r"'mamba'; known are"),
    "unknown model": ("train --model mamba --out new", "model 'mamba' is none of qwen2, llama"),
    "a task that a family has no head for": (
        *("train --model bert --task causal --out new",),
        "task 'causal' is none of those for bert: masked",
    ),
    "a size that a family has not": (
        *("train --model gpt2 --num-key-value-heads 2 --out new",),
        "gpt2 has no num_key_value_heads; leave out --num-key-value-heads",
    ),
    "an encoder asked to continue": ("generate bert cat", r"does not continue it; write \[MASK\]"),
    "an encoder asked to chat": ("generate bert --chat cat", "does not chat"),
    "no pairs": (
        *("train --model marian --data story.txt --out new",),
        r"story.txt: to learn to translate takes \.jsonl files of pairs",
    ),
    "a line without its field": (
        *("train --model marian --data gap.jsonl --out new",),
        r"gap.jsonl: line 3 is no JSON object with a string in .*en",
    ),
    "a line whose field is no text": (
        *("train --model marian --data number.jsonl --out new",),
        r"number.jsonl: line 3 is no JSON object with a string in .*en",
    ),
    "fields of other names": (
        *("train --model marian --data pairs.jsonl --direction de-en --out new",),
        r"pairs.jsonl: line 1 is no JSON object with a string in .*de",
    ),
    "a pair longer than a row": (
        *("train --model marian --data pairs.jsonl --seq-len 4 --out new",),
        r"pairs\.jsonl: line 1 has a text of 6 tokens, and --seq-len is 4",
    ),
    "no direction": ("train --model marian --direction zh --out new", "'zh' is not like zh-en"),
    "past a learned table": (
        *("generate gpt2 --max-new-tokens 70 --greedy cat",),
        "max_position_embeddings",
    ),
    "a text longer than a reader's table": (
        *("generate bert " + "cat-" * 30 + "[MASK]",),
        "tokens; the model reads from 1 to 40",
    ),
    "rows longer than the model to start from": (
        *("train --init-from gpt2 --data story.txt --seq-len 65 --out new",),
        "seq_len 65 is past the 64 tokens",
    ),
    "no room for two sentences": (
        *("train --model bert --data story.txt --seq-len 4 --out new",),
        "no room for two sentences and 3 marks",
    ),
    "a tokenizer without [MASK]": (
        *("train --model bert --data story.txt --tokenizer char --out new",),
        r"needs a tokenizer with \[CLS\], \[SEP\] and \[MASK\]",
    ),
    "beams beyond reason": ("generate marian --num-beams 100000 cat", "num_beams .*1,000"),
    "more beams than tokens": ("generate marian --num-beams 400 cat", "num_beams 400 is beyond"),
    "no beams": ("generate marian --num-beams 0 cat", "num_beams"),
}


@pytest.mark.parametrize("row", ROWS)
def test_one_line(row, folder, capsys, monkeypatch):
    command, says = ROWS[row]
    name, *arguments = command.split(" ")
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    main = {"inspect": inspect, "generate": generate, "train": train}[name].main
    with pytest.raises(SystemExit) as ended:
        run(lambda: main(arguments))
    out = capsys.readouterr()
    assert ended.value.code == 2
    error = out.err.strip().splitlines()[-1]
    assert "Traceback" not in out.err and "\n" not in error
    assert not out.out or name == "train"
    assert re.search(says, error), error
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_experts_per_tok": 6}, "num_experts_per_tok 6 is above num_experts 5"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok must be a positive integer"),
        ({"num_experts": -1}, "num_experts must be an integer from 0"),
        ({"num_experts": 2.5}, "num_experts must be an integer from 0"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size must be a positive integer"),
        ({"shared_expert_intermediate_size": 0}, "shared_expert_intermediate_size must be"),
        ({"decoder_sparse_step": 0}, "decoder_sparse_step must be a positive integer"),
        ({"mlp_only_layers": [3]}, "mlp_only_layers must be a list of layers from 0 to 2"),
        ({"mlp_only_layers": 1}, "mlp_only_layers must be a list"),
        ({"mlp_only_layers": ["1"]}, "mlp_only_layers must be a list"),
        ({"mlp_only_layers": [True]}, "mlp_only_layers must be a list"),
        ({"router_aux_loss_coef": -0.1}, "router_aux_loss_coef must be 0 or positive"),
        ({"router_aux_loss_coef": float("nan")}, "router_aux_loss_coef must be 0 or positive"),
        ({"router_aux_loss_coef": "a"}, "router_aux_loss_coef must be 0 or positive"),
        ({"norm_topk_prob": 1}, "norm_topk_prob must be true or false"),
    ],
)
def test_mixtures_that_cannot_be(changes, says):
    values = {**FAMILIES["qwen2_moe"]["config"], "model_type": "qwen2_moe", **changes}
    with pytest.raises(ValueError, match=says):
        tq.AutoConfig.from_dict(values)


def test_a_mixture_without_experts_is_a_dense_model():
    model = our_model("qwen2_moe", num_experts=0)
    assert not [name for name, _ in model.named_modules() if "expert" in name]
    assert model.num_active_parameters() == model.num_parameters()
    assert np.isfinite(model(np.array([[2, 3, 4]])).logits.data).all()
