"""`python -m tinyqwen.generate [RUN] TEXT …`: a model does with the text what it was made for."""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from tinyqwen import functional as F
from tinyqwen.autograd.grad_mode import no_grad
from tinyqwen.cli import ArgumentParser, run, utf8
from tinyqwen.generation import TextStreamer, pad_left
from tinyqwen.generation.settings import as_list
from tinyqwen.models import auto
from tinyqwen.storage.files import read_json
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.train_config import RUN_CONFIG

BUNDLED = Path(__file__).resolve().parents[1] / "data" / "model"
TEMPERATURE = 0.8  # where neither the caller nor the checkpoint names one
SAMPLING = ("temperature", "top_k", "top_p", "min_p")
WRITING = (  # what has no meaning for a model that reads
    *SAMPLING,
    *("max_new_tokens", "repetition_penalty", "greedy", "do_sample", "num_beams", "num_samples"),
    *("seed", "stop", "no_stream"),
)
STRANGE = 1e-4  # the probability of a first token with which no text of the training began
KINDS = {
    auto.AutoModelForSeq2SeqLM: "translate",
    auto.AutoModelForCausalLM: "write",
    auto.AutoModelForMaskedLM: "fill",
    auto.AutoModelForPreTraining: "fill",
    auto.AutoModelForSequenceClassification: "classify",
}  # what a model does, by what it is


def parse_arguments(arguments=None):
    """Command line -> argparse.Namespace."""
    parser = ArgumentParser(
        prog="python -m tinyqwen.generate",
        description="Continue each TEXT with the model in the folder RUN, or answer it, translate "
        "it, fill in [MASK], or name its label: whatever RUN was trained to do.",
        epilog="What is not said here is taken from RUN's generation_config.json; failing that, "
        f"tokens are drawn at temperature {TEMPERATURE}, and translations are the likeliest. "
        "Without TEXT, it is read from the standard input.",
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="[RUN] TEXT", help="RUN: a checkpoint (the bundled one)")
    add("--max-new-tokens", type=int, metavar="N", help="at most so many (256, or what fits)")
    add("--temperature", type=float, metavar="T", help="below 1 safer, above 1 wilder, 0 greedy")
    add("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens; 0: from all")
    add("--top-p", type=float, metavar="P", help="draw from the likeliest that reach P together")
    add("--min-p", type=float, metavar="P", help="draw from those P times as likely as the best")
    add("--repetition-penalty", type=float, metavar="R", help="above 1: discourage what occurred")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="always take the likeliest token")
    how.add_argument("--do-sample", action="store_true", help="draw tokens")
    add("--num-beams", type=int, metavar="K", help="search for the likeliest text with K beams")
    add("--seed", type=int, metavar="N", help="the same seed gives the same text")
    add("--num-samples", type=int, metavar="N", help="texts for each prompt (1)")
    stop = {"action": "append", "type": utf8, "metavar": "STRING"}
    add("--stop", **stop, help="end after this text; can be repeated")
    add("--chat", action="store_true", help="texts are a user's messages; without one, talk")
    add("--system", type=utf8, metavar="TEXT", help="instructions that open the chat")
    add("--no-stream", action="store_true", help="print the text when it is complete")
    add(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the matrix products (0: all cores)",
    )
    options = parser.parse_intermixed_args(arguments)  # flags may stand between the words
    for name, least in (("num_samples", 1), ("threads", 0), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"{_flag(name)} must be at least {least}, not {value}")
    return options


def _flag(name):
    return "--" + name.replace("_", "-")


def split_words(words):
    """(folder, texts): the first word names a folder if it is one, or looks like a path."""
    first = os.path.expanduser(words[0]) if words else ""
    if words and (os.path.isdir(first) or ("/" in first and len(first.split()) == 1)):
        folder, words = Path(first), words[1:]
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; for a prompt with a slash, name RUN")
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no config.json, so it is no checkpoint")
    else:
        if len(words) > 1 and len(first.split()) == 1:
            raise FileNotFoundError(
                f"there is no folder {first!r}; if that is one of {len(words)} texts, name RUN "
                "before it, and if all is one text, put it in quotes"
            )
        folder = BUNDLED
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"the bundled model is not in {folder}; name the folder of a trained one: "
                "python -m tinyqwen.generate RUN TEXT"
            )
    return folder, [utf8(word) for word in words]


def run_settings(folder):
    """What the run that a folder holds, or is the best/ of, was asked for; None for no run."""
    for place in (folder, folder.parent):
        if (place / RUN_CONFIG).exists():
            return read_json(place / RUN_CONFIG)
    return None


def load(folder):
    """(what a folder's model does, one of KINDS, and the model)."""
    model_class = auto.architecture(auto.AutoConfig.from_pretrained(folder))
    for one, kind in KINDS.items():
        if model_class.__name__.endswith(one.endings):
            return kind, model_class.from_pretrained(folder).eval()
    raise ValueError(f"{folder} holds a {model_class.__name__}, which has no head to answer with")


# ---------------------------------------------------------------------------------------------
# Readers: what a model takes a text for
# ---------------------------------------------------------------------------------------------


def fill_in(model, tokenizer, text, most=5):
    """A text, and for each [MASK] in it the likeliest tokens and their probabilities, in lines."""
    mask, ids = tokenizer.mask_token_id, tokenizer.encode(text)
    places = [i for i, token in enumerate(ids) if token == mask]
    if mask is None or not places:
        raise ValueError(
            f"{type(model).__name__} reads a text and does not continue it; write "
            f"{tokenizer.mask_token or '[MASK]'} where it shall find a word"
        )
    out = _read(model, ids)
    logits = out.logits if out.prediction_logits is None else out.prediction_logits
    lines = [text]
    for place in places:
        probabilities = F.softmax.raw(logits.data[0, place])[0]
        for token in np.argsort(-probabilities)[:most]:
            lines.append(f"{probabilities[token]:8.1%}  {tokenizer.decode([token]).strip()}")
        lines.append("")
    return "\n".join(lines[:-1])


def classify(model, tokenizer, text):
    """A text, and its labels, the likeliest first, and their probabilities, in lines."""
    probabilities = F.softmax.raw(_read(model, tokenizer.encode(text)).logits.data[0])[0]
    names = {str(i): name for i, name in (model.config.extra.get("id2label") or {}).items()}
    labels = [
        f"{probabilities[i]:8.1%}  {names.get(str(i), f'label {i}')}"
        for i in np.argsort(-probabilities)
    ]
    return "\n".join([text, *labels])


def _read(model, ids):
    limit = model.config.max_sequence_length
    if not 0 < len(ids) <= limit:
        raise ValueError(f"the text has {len(ids)} tokens; the model reads from 1 to {limit}")
    with no_grad():
        return model(np.array([ids]))


# ---------------------------------------------------------------------------------------------
# Writers
# ---------------------------------------------------------------------------------------------


class Writer:
    """A model, its tokenizer, and how the command line wants them to write."""

    def __init__(self, model, tokenizer, options, is_run=False, translates=False):
        self.model, self.tokenizer, self.options = model, tokenizer, options
        # A run's rows began after the end of another text, and there its model is at home.
        self.is_run, self.translates = is_run, translates
        self.eos, self.pad = self._special_tokens()
        self.settings = self._settings()
        beams = self.settings.get("num_beams", self._stored().get("num_beams"))
        self.streams = beams in (None, 1) and not options.no_stream

    def _stored(self):
        stored = self.model.generation_config or {}
        return {name: value for name, value in stored.items() if value is not None}

    def _special_tokens(self):
        stored, config, tokenizer = self._stored(), self.model.config, self.tokenizer
        eos = as_list(stored.get("eos_token_id", config.eos_token_id))
        eos = eos or as_list(tokenizer.eos_token_id)
        end_of_turn = tokenizer.token_to_id("<|im_end|>") if self.options.chat else None
        if end_of_turn is not None and end_of_turn not in eos:
            eos.append(end_of_turn)
        for pad in (stored.get("pad_token_id"), config.pad_token_id, tokenizer.pad_token_id):
            if pad is not None:
                return eos, pad
        return eos, eos[0] if eos else 0

    def _settings(self):
        options, stored = self.options, self._stored()
        names = ("max_new_tokens", "repetition_penalty", *SAMPLING)
        settings = {name: getattr(options, name) for name in names}
        greedy = options.greedy or options.temperature == 0
        given = {"do_sample": options.do_sample or None, **{n: settings[n] for n in SAMPLING}}
        drawing = [n for n, v in given.items() if v is not None and (n, v) != ("temperature", 0)]
        if options.num_beams and (drawing or greedy):
            raise ValueError("--num-beams searches for the likeliest text; say it alone")
        if greedy and drawing:
            raise ValueError(f"the likeliest token is taken always; leave out {_flag(drawing[0])}")
        best = greedy or options.num_beams or (self.translates and not drawing)
        if best or drawing or "do_sample" not in stored:
            settings["do_sample"] = not best
        settings["num_beams"] = 1 if drawing or greedy else options.num_beams
        if settings["temperature"] is None and "temperature" not in stored:
            settings["temperature"] = TEMPERATURE
        drawn = settings.get("do_sample", stored.get("do_sample"))
        if (options.num_samples or 1) > 1 and not drawn:
            raise ValueError("--num-samples: all texts would be the same; add --do-sample")
        return {
            **{name: value for name, value in settings.items() if value is not None},
            **{"eos_token_id": self.eos, "pad_token_id": self.pad, "seed": options.seed},
            **{"stop_strings": options.stop, "tokenizer": self.tokenizer},
        }

    def encode(self, prompt):
        """A prompt's ids; a run's, and an empty one, begin after the end of another text."""
        ids = self.tokenizer.encode(prompt)
        if self.translates:
            return ids
        if self.eos[:1] == ids[-1:]:  # [CLS] and [SEP]; this one writes on
            ids = self.tokenizer.encode(prompt, add_special_tokens=False)
        if self.is_run:
            ids = ids if ids[:1] == self.eos[:1] else self.eos[:1] + ids
            self._warn_of_strange(prompt, ids)
            return ids
        start = self.tokenizer.bos_token_id
        start = self.eos[:1] if start is None else [start]
        if not ids and not start:
            raise ValueError("the prompt is empty, and the tokenizer has no token to begin with")
        return ids or start

    def _warn_of_strange(self, prompt, ids):
        """A run has learned texts from their beginnings on, and knows none that begins otherwise.

        How they begin is told by what it writes itself after the end of another text.
        """
        if len(ids) < 2:
            return
        with no_grad():
            logits = self.model(np.array([ids[:2]])).logits.data[0, 0]
        if F.softmax.raw(logits)[0][ids[1]] < STRANGE:
            usual = self.model.generate([self.eos[:1]], 6, do_sample=False, num_beams=1)
            usual = self.tokenizer.decode(usual[0], skip_special_tokens=True).strip()
            warnings.warn(
                f"no text that this model learned from began like {prompt[:30]!r}; they began like "
                f"{usual!r}",
                stacklevel=2,
            )

    def encode_chat(self, messages):
        """The ids of a conversation, ended by the opening of the assistant's turn."""
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )

    def show(self, ids, skip_prompt):
        """Write one text to the terminal, as it comes if it can be; return what was written."""
        if not self.streams:
            (text,) = self.write([ids], skip_prompt)
            print(text)
            return text
        streamer = TextStreamer(self.tokenizer, skip_prompt=skip_prompt)
        self.model.generate([ids], streamer=streamer, **self.settings)
        return streamer.text.removesuffix("\n")

    def write(self, prompts, skip_prompt):
        """Texts of several prompts (lists of ids), generated together."""
        ids, mask = pad_left(prompts, self.pad)
        if self.translates:  # a source is padded on the right: its positions count from the left
            ids, mask = (x[:, ::-1] for x in pad_left([p[::-1] for p in prompts], self.pad))
        out = self.model.generate(ids, attention_mask=mask, **self.settings)
        first = 1 if self.translates else ids.shape[1]
        ends = {*self.eos, self.pad}
        texts = []
        for prompt, row in zip(prompts, out[:, first:].tolist()):
            length = next((i for i, token in enumerate(row) if token in ends), len(row))
            new = row[:length] if skip_prompt else [*prompt, *row[:length]]
            texts.append(self.tokenizer.decode(new, skip_special_tokens=True))
        return texts


def chat(writer, messages):
    """Talk until the end of the input (Ctrl-D)."""
    print("Your turn. A line that ends with \\ goes on in the next; Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            said = utf8(input("> "))
            while said.endswith("\\"):
                said = said[:-1].rstrip() + "\n" + utf8(input("  "))
            said = said.strip()
        except EOFError:
            print()
            return
        if said:
            messages.append({"role": "user", "content": said})
            answer = writer.show(writer.encode_chat(messages), skip_prompt=True)
            messages.append({"role": "assistant", "content": answer})


def _read_stdin():
    try:
        return utf8(sys.stdin.read())
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the standard input is no text in {error.encoding} (byte {error.start}); "
            "where it is UTF-8, set PYTHONUTF8=1"
        ) from None


def main(arguments=None):
    """The command; returns the exit status."""
    options = parse_arguments(arguments)
    folder, prompts = split_words(options.words)
    run = run_settings(folder)
    options.chat = options.chat or (run or {}).get("task") == "chat"
    if options.system is not None and not options.chat:
        raise ValueError("--system is for chats; add --chat")
    terminal = sys.stdin is not None and sys.stdin.isatty()
    talking = options.chat and not prompts and terminal
    if talking and options.num_samples:
        raise ValueError("--num-samples is for a TEXT; a talk has one answer at a time")
    if not prompts and not talking:
        if terminal or sys.stdin is None:
            raise ValueError('no TEXT; for example: python -m tinyqwen.generate "This is"')
        prompts = [_read_stdin().rstrip("\n")]
    if options.threads:
        threadpool_limits(options.threads)
    kind, model = load(folder)
    tokenizer = Tokenizer.from_pretrained(folder)
    if options.chat and kind != "write":
        raise ValueError(f"{type(model).__name__} does not chat")
    if kind in ("fill", "classify"):
        for name in WRITING:
            if getattr(options, name) is not None and getattr(options, name) is not False:
                raise ValueError(
                    f"{type(model).__name__} reads and writes nothing; leave out {_flag(name)}"
                )
        answer = fill_in if kind == "fill" else classify
        print("\n---\n".join(answer(model, tokenizer, prompt) for prompt in prompts))
        return 0
    writer = Writer(model, tokenizer, options, run is not None, kind == "translate")
    system = [{"role": "system", "content": options.system}] if options.system is not None else []
    if talking:
        chat(writer, system)
        return 0
    if options.chat:
        turns = [[*system, {"role": "user", "content": prompt}] for prompt in prompts]
        ids = [writer.encode_chat(turn) for turn in turns]
    else:
        ids = [writer.encode(prompt) for prompt in prompts]
    ids = [prompt for prompt in ids for _ in range(options.num_samples or 1)]
    skip_prompt = options.chat or kind == "translate"
    if len(ids) == 1:
        writer.show(ids[0], skip_prompt)
    else:
        print("\n---\n".join(writer.write(ids, skip_prompt)))
    return 0


if __name__ == "__main__":
    run(main, only_prints=True)
