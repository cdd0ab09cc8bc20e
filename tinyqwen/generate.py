"""`python -m tinyqwen.generate [RUN] PROMPT …`: let a model write, or chat with it."""

import os
import sys
from pathlib import Path

from threadpoolctl import threadpool_limits

from tinyqwen.cli import ArgumentParser, run
from tinyqwen.generation import TextStreamer, pad_left
from tinyqwen.generation.settings import as_list
from tinyqwen.models.qwen2 import Qwen2ForCausalLM
from tinyqwen.parallel.resources import keep_memory
from tinyqwen.text.tokenizer import Tokenizer
from tinyqwen.training.train_config import RUN_CONFIG

BUNDLED = Path(__file__).resolve().parents[1] / "data" / "model"
TEMPERATURE = 0.8  # where neither the caller nor the checkpoint names one
SAMPLING = ("temperature", "top_k", "top_p", "min_p")


def parse_arguments(arguments=None):
    """Command line -> argparse.Namespace."""
    parser = ArgumentParser(
        prog="python -m tinyqwen.generate",
        description="Continue each PROMPT with the model in the folder RUN.",
        epilog="What is not said here is taken from RUN's generation_config.json; failing that, "
        f"tokens are drawn at temperature {TEMPERATURE}. Without PROMPT, it is read from the "
        "standard input.",
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="[RUN] PROMPT", help="RUN: a checkpoint (the bundled one)")
    add("--max-new-tokens", type=int, metavar="N", help="at most so many (256, or what fits)")
    add("--temperature", type=float, metavar="T", help="below 1 safer, above 1 wilder, 0 greedy")
    add("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens; 0: from all")
    add("--top-p", type=float, metavar="P", help="draw from the likeliest that reach P together")
    add("--min-p", type=float, metavar="P", help="draw from those P times as likely as the best")
    add("--repetition-penalty", type=float, metavar="R", help="above 1: discourage what occurred")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="always take the likeliest token")
    how.add_argument("--do-sample", action="store_true", help="draw tokens")
    add("--seed", type=int, metavar="N", help="the same seed gives the same text")
    add("--num-samples", type=int, default=1, metavar="N", help="texts for each prompt (1)")
    add("--stop", action="append", metavar="STRING", help="end after this text; can be repeated")
    add("--chat", action="store_true", help="prompts are a user's messages; without one, talk")
    add("--system", metavar="TEXT", help="instructions that open the chat")
    add("--no-stream", action="store_true", help="print the text when it is complete")
    add("--threads", type=int, metavar="N", help="threads of the matrix products")
    options = parser.parse_args(arguments)
    for name, least in (("num_samples", 1), ("threads", 1), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    if options.system is not None and not options.chat:
        raise ValueError("--system is for chats; add --chat")
    return options


def split_words(words):
    """(folder, prompts): the first word names a folder if it is one, or looks like a path."""
    if words and (os.path.isdir(words[0]) or ("/" in words[0] and len(words[0].split()) == 1)):
        folder, words = Path(words[0]), words[1:]
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; for a prompt with a slash, name RUN")
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no config.json, so it is no checkpoint")
    else:
        folder = BUNDLED
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"the bundled model is not in {folder}; name the folder of a trained one: "
                "python -m tinyqwen.generate RUN PROMPT"
            )
    return folder, list(words)


class Writer:
    """A model, its tokenizer, and how the command line wants them to write."""

    def __init__(self, folder, options):
        self.tokenizer = Tokenizer.from_pretrained(folder)
        self.model = Qwen2ForCausalLM.from_pretrained(folder).eval()
        self.options = options
        self.eos, self.pad = self._special_tokens()
        # A run's rows began after the end of another text, and there its model is at home.
        self.is_run = any((place / RUN_CONFIG).exists() for place in (folder, folder.parent))
        self.settings = self._settings()

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
        drawing = options.do_sample or any(settings[name] is not None for name in SAMPLING)
        if options.greedy or drawing or "do_sample" not in stored:
            settings["do_sample"] = not options.greedy
        if settings["temperature"] is None and "temperature" not in stored:
            settings["temperature"] = TEMPERATURE
        return {
            **{name: value for name, value in settings.items() if value is not None},
            **{"eos_token_id": self.eos, "pad_token_id": self.pad, "seed": options.seed},
            **{"stop_strings": options.stop, "tokenizer": self.tokenizer},
        }

    def encode(self, prompt):
        """A prompt's ids; a run's, and an empty one, begin after the end of another text."""
        ids = self.tokenizer.encode(prompt)
        reads_only = getattr(self.model.config, "is_encoder_decoder", False)
        if self.eos[:1] == ids[-1:] and not reads_only:  # [CLS] and [SEP]; this one writes on
            ids = self.tokenizer.encode(prompt, add_special_tokens=False)
        if self.is_run:
            return ids if ids[:1] == self.eos[:1] else self.eos[:1] + ids
        start = self.tokenizer.bos_token_id
        start = self.eos[:1] if start is None else [start]
        if not ids and not start:
            raise ValueError("the prompt is empty, and the tokenizer has no token to begin with")
        return ids or start

    def encode_chat(self, messages):
        """The ids of a conversation, ended by the opening of the assistant's turn."""
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )

    def stream(self, ids, skip_prompt):
        """Write one text to the terminal as it comes; return what was written."""
        streamer = TextStreamer(self.tokenizer, skip_prompt=skip_prompt)
        self.model.generate([ids], streamer=streamer, **self.settings)
        return streamer.text.removesuffix("\n")

    def write(self, prompts, skip_prompt):
        """Texts of several prompts (lists of ids), generated together."""
        ids, mask = pad_left(prompts, self.pad)
        out = self.model.generate(ids, attention_mask=mask, **self.settings)
        ends = {*self.eos, self.pad}
        texts = []
        for prompt, row in zip(prompts, out[:, ids.shape[1] :].tolist()):
            length = next((i for i, token in enumerate(row) if token in ends), len(row))
            new = row[:length] if skip_prompt else [*prompt, *row[:length]]
            texts.append(self.tokenizer.decode(new, skip_special_tokens=True))
        return texts


def chat(writer, messages):
    """Talk until the end of the input (Ctrl-D)."""
    print("Your turn. Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            said = input("> ").strip()
        except EOFError:
            print()
            return
        if said:
            messages.append({"role": "user", "content": said})
            answer = writer.stream(writer.encode_chat(messages), skip_prompt=True)
            messages.append({"role": "assistant", "content": answer})


def main(arguments=None):
    """The command; returns the exit status."""
    options = parse_arguments(arguments)
    folder, prompts = split_words(options.words)
    talking = options.chat and not prompts and sys.stdin.isatty()
    if not prompts and not talking:
        if sys.stdin.isatty():
            raise ValueError('no PROMPT; for example: python -m tinyqwen.generate "Once upon"')
        prompts = [sys.stdin.read().rstrip("\n")]
    if options.threads:
        threadpool_limits(options.threads)
    keep_memory()
    writer = Writer(folder, options)
    system = [{"role": "system", "content": options.system}] if options.system is not None else []
    if talking:
        chat(writer, system)
        return 0
    if options.chat:
        turns = [[*system, {"role": "user", "content": prompt}] for prompt in prompts]
        ids = [writer.encode_chat(turn) for turn in turns]
    else:
        ids = [writer.encode(prompt) for prompt in prompts]
    ids = [prompt for prompt in ids for _ in range(options.num_samples)]
    if len(ids) == 1 and not options.no_stream:
        writer.stream(ids[0], skip_prompt=options.chat)
    else:
        print("\n---\n".join(writer.write(ids, skip_prompt=options.chat)))
    return 0


if __name__ == "__main__":
    run(main)
