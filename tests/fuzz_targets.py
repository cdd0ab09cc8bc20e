"""Damages files and has them read, in a process of its own: `fuzz_targets.py TARGET FIRST NUMBER`.

One JSON line a case: its seed and how it ended. A case that takes 20 seconds of the processor ends
the process (SIGPROF), one that takes 2 GB of memory fails; so does whatever a crash would hide.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
import tokenizers
from damage import damage
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

import tinyqwen as tq
from tinyqwen import generate
from tinyqwen.benchmark.machine import peak_mib
from tinyqwen.storage.files import file_in
from tinyqwen.text import chat_template
from tinyqwen.text.corpus_files import split_files
from tinyqwen.text.documents import documents
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.text.tokenizer_training import train_tokenizer
from tinyqwen.training.data import open_corpus, prepare_corpus
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer

SECONDS, MEMORY = 20, 2 << 30
TEXT = "The cat sat on it. It's 3 o'clock, 猫!\n\n  é e\u0301 <|endoftext|> <|im_start|>\t[MASK]"
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 24}
CHAT = [{"role": "user", "content": "Hello"}]


class Target:
    """Files, and what reads them. `files` are damaged, one a case."""

    def __init__(self, folder):
        self.source, self.folder, self.outside = folder / "in", folder / "case", folder / "outside"
        self.source.mkdir()
        self.outside.mkdir()
        self.make()
        self.files = self.files or sorted(
            str(path.relative_to(self.source)) for path in self.source.rglob("*") if path.is_file()
        )

    files = ()
    links = True  # whether a link out of the folder must be refused

    def case(self, r):
        """One case; returns "ok", "refused" or what was wrong."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.source, self.folder)
        name = r.choice(self.files)
        file = self.folder / name
        link = r.random() < 0.04
        if link:
            self.replace(file, r)
        else:
            file.write_bytes(damage(file, r))
        try:
            self.read(name, r)
        except (ValueError, OSError) as error:
            return "refused" if "\n" not in str(error) else f"{name}: two lines: {error!r}"
        except Exception as error:
            return f"{name}: {error!r}"
        if link and self.links and file.is_symlink() and os.path.exists(file):
            return f"{name}: a link to {os.readlink(file)} was followed"
        return "ok"

    def replace(self, file, r):
        """Put something else in the place of a file: a link, a folder, a pipe, nothing."""
        kind = r.randrange(6)
        copy = self.outside / file.name
        shutil.move(file, copy)
        if kind == 0:
            file.symlink_to(copy)
        elif kind == 1:
            file.symlink_to("/dev/zero")
        elif kind == 2:
            file.symlink_to(file.name)
        elif kind == 3:
            file.mkdir()
        elif kind == 4:
            os.mkfifo(file)


class Tokenizers(Target):
    """Every file that a tokenizer is read from, of all kinds."""

    def make(self):
        for kind, size in (("bpe", 280), ("wordpiece", 70), ("word", None), ("char", None)):
            folder = self.source / kind
            Tokenizer.train([TEXT * 9], size, kind).save_pretrained(folder)
            (folder / "chat_template.jinja").write_text(chat_template.CHATML)
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text(chat_template.CHATML)
        bert = self.source / "bert"
        bert.mkdir()
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"thecats", "##a", "##t", "猫"]
        (bert / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)), "utf-8")
        (bert / "added_tokens.json").write_text('{"<a>": 90, "<b>": 91}')
        (bert / "special_tokens_map.json").write_text('{"bos_token": {"content": "<a>"}}')
        unigram = tokenizers.Tokenizer(
            models.Unigram([("<unk>", 0.0), ("▁the", -1.0), ("a", -2.0)], 0)
        )
        unigram.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Prepend("▁")]
        )
        unigram.pre_tokenizer = pre_tokenizers.Metaspace()
        unigram.post_processor = processors.TemplateProcessing("<unk> $A", None, [("<unk>", 0)])
        unigram.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
        Tokenizer(unigram).save_pretrained(self.source / "unigram")

    def read(self, name, r):
        folder = self.folder / Path(name).parent
        tokenizer = Tokenizer.from_pretrained(folder)
        ids = tokenizer.encode(TEXT)
        assert all(0 <= i < len(tokenizer) for i in ids)
        text = tokenizer.decode(ids)
        stream = tokenizer.stream()
        assert "".join([stream.step(i) for i in ids]) + stream.flush() == text
        assert len(tokenizer.special_tokens) <= len(tokenizer)
        if r.random() < 0.02:
            tokenizer.apply_chat_template(CHAT)
        tokenizer.save_pretrained(folder / "again")
        again = Tokenizer.from_pretrained(folder / "again")
        assert again.encode(TEXT) == ids and again.decode(ids) == text


class Runs(Target):
    """All that --resume reads: settings, tokens, tokenizer, state, metrics."""

    files = (
        *("train_config.json", "trainer_state.safetensors", "metrics.jsonl", "metrics.jsonl"),
        *("tokenizer.json", "tokenizer_config.json", "trainer_state.safetensors"),
        *("tokens/index.json", "tokens/train.bin", "tokens/validation.bin"),
        *("tokens/train_starts.bin", "tokens/validation_starts.bin"),
    )

    def make(self):
        text = self.source.parent / "text.txt"
        text.write_text("the cat saw one old hen\n<|endoftext|>\n" * 40)
        config = TrainConfig(
            **{
                **SIZES,
                "num_attention_heads": 2,
                "data": str(text),
                "out": str(self.source),
                "steps": 4,
                "threads": 1,
            },
            **{"vocab_size": 270, "batch_size": 2, "seq_len": 8, "eval_interval": 2},
        )
        with Trainer(config) as trainer:
            trainer.train()
            self.weights = {name: p.data.copy() for name, p in trainer.model.named_parameters()}

    def read(self, name, r):
        with Trainer(TrainConfig(out=str(self.folder)), resume=True) as trainer:
            if not (self.folder / "trainer_state.safetensors").exists():
                return  # deleted: it begins anew
            assert trainer.step == 4
            for name, parameter in trainer.model.named_parameters():
                np.testing.assert_array_equal(parameter.data, self.weights[name])
            if r.random() < 0.1 and trainer.config.steps <= 8:
                trainer.train()


class Data(Target):
    """Text files, .jsonl, and the entropy of a corpus."""

    links = False  # data may lie anywhere

    def make(self):
        lines = [json.dumps({"text": f"the {word} cat\nsat", "n": 1}) for word in "abcdefgh"]
        (self.source / "train.jsonl").write_text("\n".join(lines * 9))
        (self.source / "validation.txt").write_text("the cat sat\n<|endoftext|>\n猫 sat\n" * 9)
        (self.source / "entropy.json").write_text('{"nats": 12.5, "tokens": 9}')

    def read(self, name, r):
        files = split_files(self.folder)
        tokenizer = Tokenizer(
            *train_tokenizer(chain.from_iterable(documents(files[0])), None, "char")
        )
        tokens = self.folder / "tokens"
        prepare_corpus(files, tokenizer, tokens, 8)
        train, validation, floor = open_corpus(tokens, tokenizer.vocab_size, 8)
        assert floor is None or floor > 0
        assert train.batch(0, 0, 4).max() < tokenizer.vocab_size
        next(iter(validation.evaluation_batches(4)))


class Generation(Target):
    """What `python -m tinyqwen.generate` reads, generation_config.json most of all."""

    files = (
        *["generation_config.json"] * 5,
        *("config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"),
    )

    def make(self):
        tokenizer = Tokenizer.train([TEXT * 9], kind="char")
        tokenizer.save_pretrained(self.source)
        config = {
            **SIZES,
            "vocab_size": len(tokenizer),
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 64,
        }
        model = tq.Qwen2ForCausalLM(tq.Qwen2Config(**config))
        model.generation_config = {
            **{"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": 3, "do_sample": True},
            **{"temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.01, "max_new_tokens": 5},
            **{"repetition_penalty": 1.1, "max_length": 60, "transformers_version": "4.37.0"},
        }
        model.save_pretrained(self.source)

    def read(self, name, r):
        options = [[], ["--max-new-tokens", "3"], ["--greedy"], ["--no-stream", "--num-samples=2"]]
        chat = ["--chat"] if r.random() < 0.03 else []
        generate.main([str(self.folder), "The cat", *chat, *r.choice(options)])


class Templates(Target):
    """Jinja templates with bytes changed, rendered within the sandbox."""

    links = False

    def make(self):
        (self.source / "a.jinja").write_text(chat_template.CHATML)
        (self.source / "b.jinja").write_text(TEMPLATE)

    def read(self, name, r):
        source = file_in(self.folder, name).read_bytes().decode("utf-8")
        variables = {"add_generation_prompt": True, "tools": [{"name": "f"}], "bos_token": "<s>"}
        (text,) = chat_template.render(source, [CHAT], variables)
        assert isinstance(text, str) and "object at 0x" not in text


TEMPLATE = """\
{%- set n = namespace(system='', last=-1) %}
{%- if tools %}{{- '<tools>\\n' }}
{%- for tool in tools %}{{- tool | tojson(indent=1) }}{% endfor %}{{- '</tools>' }}{%- endif %}
{%- for m in messages %}
{%- if m.role == 'system' and loop.first %}{% set n.system = m.content | trim %}
{%- elif m['content'] is string and (loop.index0 % 2 == 0) %}
{%- generation %}{{ bos_token + m.role | upper }}: {{ m.content.split('\\n')[-1] }}
{%- endgeneration %}
{%- else %}{{ raise_exception('what is ' ~ m.role ~ '?') }}{%- endif %}
{%- endfor %}
{%- macro end(x, y=2) %}{{ x * y }}{% endmacro %}{{ end('=') if add_generation_prompt else '' }}
"""

TARGETS = {
    "tokenizers": Tokenizers,
    "runs": Runs,
    "data": Data,
    "generation": Generation,
    "templates": Templates,
}


def main():
    name, first, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    report, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        sys.stderr = sys.stdout
        import resource

        with suppress(ValueError, OSError):  # macOS does not take it
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        for seed in range(first, first + number):
            print(seed, end=" ", file=report, flush=True)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            outcome = target.case(random.Random(seed))
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(json.dumps(outcome), file=report, flush=True)
        print(json.dumps({"peak": peak_mib()}), file=report)


if __name__ == "__main__":
    main()
