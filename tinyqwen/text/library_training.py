"""The library's training of a vocabulary, which can be stopped.

The library in Rust does not look at signals while it works, and a thread in it cannot be ended. So
a long training runs in a process of its own, which is killed when Ctrl-C or SIGTERM comes. This
file is also the program that the process runs, so it imports nothing of tinyqwen.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain

import tokenizers
from tokenizers import trainers

FEW = 1 << 18  # characters that are learned from here, in less time than a process takes to stop


def train(
    backend: tokenizers.Tokenizer, trainer: str, options: dict, texts: Iterable[str]
) -> tokenizers.Tokenizer:
    """A trained copy of `backend`, or itself; trainer: "BpeTrainer" or "WordPieceTrainer"."""
    texts, held, length = iter(texts), [], 0
    for text in texts:
        held.append(text)
        length += len(text)
        if length > FEW:
            return _in_a_process(backend, trainer, options, chain(held, texts))
    backend.train_from_iterator(held, getattr(trainers, trainer)(**options))
    return backend


def _in_a_process(backend, trainer, options, texts):
    program = (
        "import runpy, sys; sys.path[:] = filter(None, sys.path); "
        f"runpy.run_path({__file__!r}, run_name='__main__')"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as child:
        try:
            for line in chain([[backend.to_str(), trainer, options]], texts):
                child.stdin.write(json.dumps(line).encode("ascii") + b"\n")
            child.stdin.close()
            answer = child.stdout.read()
        except BaseException as error:
            child.kill()
            with suppress(BrokenPipeError):  # what was not yet sent is for nobody
                child.stdin.close()
            if not isinstance(error, BrokenPipeError):
                raise
            answer = b""
    if not answer:
        raise ValueError("the training of the tokenizer died; it may need more memory")
    return tokenizers.Tokenizer.from_str(answer.decode("utf-8"))


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    source, trainer, options = json.loads(sys.stdin.buffer.readline())
    backend = tokenizers.Tokenizer.from_str(source)
    texts = map(json.loads, sys.stdin.buffer)
    backend.train_from_iterator(texts, getattr(trainers, trainer)(**options))
    sys.stdout.buffer.write(backend.to_str().encode("utf-8"))


if __name__ == "__main__":
    _main()
