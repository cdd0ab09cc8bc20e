"""Damaged and hostile files: each is read, or refused as documented, and soon.

`fuzz_targets.py` damages thousands of files and has them read, in processes of their own, so that
what would end this one is noticed; checkpoints are in test_fuzz_checkpoint.py. Below them stand
attacks thought out one by one: pickles, rules that explode, templates that reach for Python.
"""

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.storage.files import read_json
from tinyqwen.text.chat_template import render_isolated
from tinyqwen.text.documents import documents
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
MANY = {"tokenizers": 4000, "data": 2500, "templates": 2000, "generation": 2000, "runs": 2000}


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
@pytest.mark.parametrize("target", MANY)
@pytest.mark.parametrize("number", [30, pytest.param(None, marks=pytest.mark.nightly)])
@pytest.mark.timeout(1800)
def test_damaged_files(target, number, tmp_path):
    """At most 20 s of the processor a case, and 400 MB of memory in all."""
    first, number = (0, number) if number else (10_000, MANY[target])
    command = [sys.executable, ROOT / "tests" / "fuzz_targets.py", target, str(first), str(number)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=1700,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"died in or after case {lines[-1:]}: {done.stderr[-2000:]}"
    *cases, last = lines
    outcomes = Counter(json.loads(case.split(maxsplit=1)[1]) for case in cases)
    wrong = [case for case in cases if not case.endswith(('"ok"', '"refused"'))]
    assert not wrong, "\n".join(wrong[:20])
    assert outcomes.total() == number and min(outcomes["ok"], outcomes["refused"]) > number / 20
    assert json.loads(last)["peak"] < 400  # MiB


# ---------------------------------------------------------------------------------------------
# Pickles
# ---------------------------------------------------------------------------------------------


UNPICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}


def unpickles(source):
    """What in a program's source could unpickle: imports, torch.load, np.load that is not told."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            allowed = [k for k in node.keywords if k.arg == "allow_pickle"]
            told = any(
                isinstance(k.value, ast.Constant) and k.value.value is False for k in allowed
            )
            if name == "torch.load" or (name == "np.load" and not told) or (allowed and not told):
                found.append(name)
    return found


def test_nothing_can_unpickle():
    """In no file of the package, of the data's programs, or of the course."""
    files = [
        f for folder in ("tinyqwen", "data", "chapters") for f in (ROOT / folder).rglob("*.py")
    ]
    assert len(files) > 80
    for file in files:
        assert not unpickles(file.read_text(encoding="utf-8")), file
    for source in (
        "import json, pickle",
        "from pickle import loads",
        "np.load(f)",
        "np.load(f, allow_pickle=x)",
        "numpy.load(f, allow_pickle=True)",
        "torch.load(f)",
    ):
        assert unpickles(source)
    assert not unpickles("np.load(f, allow_pickle=False)")


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def pickles(path):
    """The same attack as a plain pickle, and as NumPy's files of objects."""
    yield pickle.dumps(Payload(path))
    for save in (np.save, np.savez):
        with open(path.with_suffix(".npy"), "wb") as file:
            save(file, np.array([Payload(path)], object), allow_pickle=True)
        yield path.with_suffix(".npy").read_bytes()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """The source of everything that is read: a text, and a run on it."""
    folder = tmp_path_factory.mktemp("pickles")
    (folder / "text.txt").write_text("the cat saw one old hen\n<|endoftext|>\n" * 40)
    config = TrainConfig(
        **{"data": str(folder / "text.txt"), "out": str(folder / "run"), "steps": 2, "threads": 1},
        **{"vocab_size": 270, "batch_size": 2, "seq_len": 8, "hidden_size": 16},
        **{"num_hidden_layers": 1, "intermediate_size": 24},
    )
    with Trainer(config) as trainer:
        trainer.train()
    return folder / "run"


def resume(file):
    with Trainer(TrainConfig(out=str(file.parent)), resume=True):
        pass


def resume_tokens(file):
    with Trainer(TrainConfig(out=str(file.parents[2])), resume=True):
        pass


READERS = {
    "model.safetensors": lambda file: tq.Qwen2ForCausalLM.from_pretrained(file.parent),
    "config.json": lambda file: tq.Qwen2ForCausalLM.from_pretrained(file.parent),
    "generation_config.json": lambda file: tq.Qwen2ForCausalLM.from_pretrained(file.parent),
    "tokenizer.json": lambda file: Tokenizer.from_pretrained(file.parent),
    "tokenizer_config.json": lambda file: Tokenizer.from_pretrained(file.parent),
    "chat_template.jinja": lambda file: Tokenizer.from_pretrained(file.parent),
    "train_config.json": resume,
    "trainer_state.safetensors": resume,
    "metrics.jsonl": resume,
    "tokens/index.json": resume_tokens,
    "tokens/train.bin": resume_tokens,
    "tokens/train_starts.bin": resume_tokens,
    "text.txt": lambda file: Tokenizer.train(file, 270),
    "text.jsonl": lambda file: [list(pieces) for pieces in documents([file])],
    "pytorch_model.bin": lambda file: (
        (file.parent / "model.safetensors").unlink(),
        tq.Qwen2ForCausalLM.from_pretrained(file.parent),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pickle_in_each_place_is_refused(name, run_folder, tmp_path):
    canary = tmp_path / "made by a pickle"
    for i, content in enumerate(pickles(canary)):
        folder = tmp_path / str(i)
        shutil.copytree(run_folder, folder)
        file = folder / name
        file.write_bytes(content)
        if name == "metrics.jsonl":  # lines that are none are dropped
            READERS[name](file)
            assert file.read_bytes() == b""
        else:
            with pytest.raises((ValueError, FileNotFoundError)) as caught:
                READERS[name](file)
            assert "\n" not in str(caught.value)
        assert not canary.exists()
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists()  # the attack itself works


# ---------------------------------------------------------------------------------------------
# Attacks one by one
# ---------------------------------------------------------------------------------------------


def with_rule(folder, **rules):
    """A tokenizer.json with some of its parts replaced."""
    tokenizer = Tokenizer.train(["aaaa the cat!" * 9], kind="char")
    tokenizer.save_pretrained(folder)
    parts = read_json(folder / "tokenizer.json")
    (folder / "tokenizer.json").write_text(json.dumps(parts | rules))
    return folder


TENFOLD = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
BETWEEN = {"type": "Replace", "pattern": {"Regex": ""}, "content": "a" * 9}
TWICE = {"type": "TemplateProcessing", "special_tokens": {}, "pair": []}
TWICE["single"] = [{"Sequence": {"id": "A", "type_id": 0}}] * 2000


@pytest.mark.parametrize(
    "rules",
    [
        {"normalizer": {"type": "Sequence", "normalizers": [TENFOLD] * 12}},
        {"normalizer": {"type": "Sequence", "normalizers": [BETWEEN] * 12}},
        {"decoder": {"type": "Sequence", "decoders": [TENFOLD] * 12}},
        {"post_processor": TWICE},
    ],
    ids=["normalizer", "between", "decoder", "post_processor"],
)
def test_rules_that_explode(rules, tmp_path):
    with pytest.raises(ValueError, match=r"tokenizer\.json.* times as long"):
        Tokenizer.from_pretrained(with_rule(tmp_path, **rules))


@pytest.mark.parametrize("prefix", ["\0", "é", "##"])
def test_a_prefix_that_would_cut_characters(prefix, tmp_path):
    """The library would end the process."""
    Tokenizer.train(["猫猫 猫猫 cat cat"], 262).save_pretrained(tmp_path)
    parts = read_json(tmp_path / "tokenizer.json")
    parts["model"]["continuing_subword_prefix"] = prefix
    (tmp_path / "tokenizer.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=r"tokenizer\.json.*does not fit its merges"):
        Tokenizer.from_pretrained(tmp_path)


def test_rules_that_do_not(tmp_path):
    eight = [{"type": "Replace", "pattern": {"String": c}, "content": "▁"} for c in "bcdefghi"]
    normalizer = {"type": "Sequence", "normalizers": [TENFOLD, {"type": "NFKC"}, *eight]}
    tokenizer = Tokenizer.from_pretrained(with_rule(tmp_path, normalizer=normalizer))
    assert len(tokenizer.encode("at!")) == 12


@pytest.mark.parametrize("pattern", [r"(a|aa|a?)+$", r"(?:(a+)+)+\1$"])
def test_patterns_that_take_for_ever(pattern, tmp_path):
    """The library's own limit on retries ends them."""
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    folder = with_rule(tmp_path, pre_tokenizer={**split, "pattern": {"Regex": pattern}})
    with pytest.raises(ValueError, match="encoding failed"):
        Tokenizer.from_pretrained(folder).encode("a" * 60 + "!")


TEMPLATES = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ 9 ** 99999999 }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ ' '.join(['a'] * 10 ** 9) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.mkdir('CANARY') }}",
    "{{ self.__init__.__globals__.__builtins__.open('CANARY', 'w') }}",
    "{{ (raise_exception | attr('__globals__'))['json'].codecs.open('CANARY', 'w') }}",
    "{{ namespace.__globals__.sys.modules.os.system('touch CANARY') }}",
    "{% include 'CANARY' %}",
    "{% import 'os' as os %}{{ os.mkdir('CANARY') }}",
    "{{ lipsum.__globals__['os'].popen('touch CANARY').read() }}",
    "{{ messages[0].get.__self__.__class__ }}",
    "{{ 'CANARY' | tojson(indent=10 ** 9) }}{{ {'a': [[]] * 10 ** 7} | tojson(indent=999999) }}",
    "{{ strftime_now('%Y' * 10 ** 8) }}",
    "{% filter upper %}" * 2000 + "{% endfilter %}" * 2000,
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ [" * 1000,
]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template[:40])
def test_templates_that_attack(template, tmp_path):
    canary = tmp_path / "canary"
    with pytest.raises(ValueError, match="chat template: ") as caught:
        render_isolated(
            template.replace("CANARY", str(canary)),
            [[{"role": "user", "content": "hi"}]],
            {},
            time_limit=0.5,
        )
    assert "\n" not in str(caught.value) and not canary.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
@pytest.mark.parametrize("name", ["best", "tokens", "trainer_state.safetensors", "metrics.jsonl"])
def test_links_out_of_a_run_are_not_written_through(name, run_folder, tmp_path):
    """Resuming a stranger's run changes nothing outside of its folder."""
    folder, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(run_folder, folder)
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(ValueError, match="symbolic link"):
        resume(folder / "config.json")
    if outside.is_file():  # where the link leads to nothing, it is not made either
        outside.unlink()
        if name == "metrics.jsonl":
            resume(folder / "config.json")
            assert not (folder / name).is_symlink()
        assert not outside.exists()
