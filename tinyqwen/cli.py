"""What the command lines share: how they are spoken to, and how they end."""

import argparse
import os
import signal
import sys
import warnings
from pathlib import Path

from tinyqwen.parallel.mpi import launched_rank


def run(main, only_prints=False):
    """Run `main()` and exit: with its return value; 2 after bad input, told in one line; 130 after
    Ctrl-C; 143 after SIGTERM; 141 if the reader of a pipe left. Warnings are one line too.

    Bad input is ValueError, OSError and MemoryError; any other exception is our mistake, and shows
    its traceback. only_prints: so that, where the standard output is closed, nothing is to be done.
    """
    program = f"tinyqwen.{Path(sys.argv[0]).stem}"
    unheard = only_prints and sys.stdout is None
    _fill_standard_descriptors()
    nowhere = open(os.devnull, "w")  # noqa: SIM115
    if launched_rank():  # of many ranks, one speaks
        sys.stdout = sys.stderr = nowhere
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere  # None if it is closed

    def show_warning(message, *_, **__):
        print(f"{program}: warning: {_one_line(message)}", file=sys.stderr)

    warnings.showwarning = show_warning
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a notebook
            stream.reconfigure(errors="backslashreplace")  # what a terminal's code page lacks
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half-done is undone
    try:
        if unheard:
            raise ValueError("the standard output is closed; there is nowhere to write to")
        status = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the terminal has written ^C
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second complaint
        status = 141
    except (ValueError, OSError, MemoryError) as error:
        print(f"{program}: {_one_line(error)}", file=sys.stderr)
        status = 2
    sys.exit(status)


def _fill_standard_descriptors():
    """Else the next file that is opened is taken for a standard stream, and is written into."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def path(text):
    """A path as an argument; in --out=~/x the shell leaves it to us to find the home folder."""
    return os.path.expanduser(text)


def utf8(text):
    """A text as an argument or a line; under the C locale Python leaves its bytes undecoded."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"{text[:30]!r} is no text in UTF-8 (byte {error.start})") from None


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, whose complaints are one line too."""

    def error(self, message):
        """Print the message, without the usage, and exit with 2."""
        program = self.prog.removeprefix("python -m ")
        self.exit(2, f"{program}: {_one_line(message)}; see --help\n")


def _one_line(error):
    if isinstance(error, OSError) and error.filename is not None:
        error = f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
