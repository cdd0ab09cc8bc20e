"""The one door: what a stranger has sent, a worker or the name of a file, before it is believed.

Every field passes here, for its type, its length and its letters, and only then becomes part of a
result. Values of the student's functions are `wire`'s to decode, and the checks' to judge; words
and numbers *about* them are checked here.
"""

import math
import re
import unicodedata

from . import copies

MAX_NAME, MAX_LINE, MAX_TEXT = 80, 200, 4000  # characters of a name, of a line, of a message
MAX_NUMBER = 1 << 31
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters that nobody sees
COMMAND = re.compile(r"^[^\S\n]*::|##\[", re.MULTILINE)
MAX_MARKS = 4  # accents on one letter: more of them cover the lines above and below


def text(value, limit=MAX_TEXT) -> str:
    """Printable text: no control characters but line ends, no halves of characters, not too long,
    and no line that GitHub's runner, which shows it, would take for a command ("::error::").

    What is not text, a number in its place say, becomes "".
    """
    if not isinstance(value, str):
        return ""
    kept = "".join(c if c == "\n" or seen else "\ufffd" for c, seen in _seen(value[:limit]))
    kept = COMMAND.sub(lambda found: found[0][:-1] + "\ufffd", kept)
    return kept if len(value) <= limit else kept + " …"


def line(value, limit=MAX_LINE) -> str:
    """The same on one line."""
    return text(value, limit).replace("\n", " ")


def quoted(value) -> str:
    """Somebody else's words among ours: each line but the first stands behind a bar, so that none
    is taken for a line of the report."""
    return value.replace("\n", "\n  | ")


def name(value) -> str:
    """The name of a file or folder, which need not be text to the system: all of it, printable."""
    return line(str(value), 1000)


def number(value, most=MAX_NUMBER) -> int:
    """A count from 0 to `most`; 0 for anything else."""
    return value if type(value) is int and 0 <= value <= most else 0


def seconds(value) -> float:
    """A time; raises ValueError for what is none."""
    if type(value) is not float or not math.isfinite(value) or value < 0:
        raise ValueError("no time")
    return value


def failure(value) -> dict:
    """What `copies.failure_of` tells: kind, message, frames [(line, function, text)], syntax."""
    value = value if isinstance(value, dict) else {}
    kind = line(value.get("kind"), MAX_NAME)
    frames = value.get("frames")
    frames = [f for f in _sequence(frames) if isinstance(f, (tuple, list)) and len(f) == 3]
    syntax = value.get("syntax")
    if isinstance(syntax, (tuple, list)) and len(syntax) == 4:
        where, why, source, offset = syntax
        source = line(source.rstrip("\n") if isinstance(source, str) else "")
        syntax = number(where), line(why), source, min(number(offset), len(source) + 1)
    else:
        syntax = None
    return {
        "kind": kind if kind.isidentifier() else "Exception",  # a name, and no sentence
        "message": text(value.get("message"), MAX_TEXT // 2),
        "frames": [(number(n), line(f, MAX_NAME), line(words)) for n, f, words in frames[-3:]],
        "syntax": syntax,
    }


def places(value, args, kwargs) -> list:
    """Of the arguments of a call, the positions and names that are told: those changed, say; with
    copies.FORWARD for what a vjp was made from."""
    known = [*range(len(args)), *kwargs, copies.FORWARD]
    told = [e for e in _sequence(value) if type(e) in (int, str)]
    return [place for place in known if place in told]


def changed(value) -> list:
    """[(number, array)] of arrays that were written into after they had been handed over."""
    pairs = [pair for pair in _sequence(value) if isinstance(pair, (tuple, list))]
    return [tuple(pair) for pair in pairs if len(pair) == 2 and type(pair[0]) is int]


def fences(value) -> dict:
    """{fence: what it does}, which a worker says before it has read a student's file."""
    value = value if type(value) is dict else {}
    return {line(fence, MAX_NAME): line(does) for fence, does in list(value.items())[:10]}


def _seen(value):
    """(character, whether it can be seen and leaves the others to be seen) of a text."""
    marks = 0
    for c in value:
        marks = marks + 1 if unicodedata.category(c)[0] == "M" else 0
        yield c, c.isprintable() and c not in BLANK and marks <= MAX_MARKS


def _sequence(value):
    return value if isinstance(value, (tuple, list)) else ()
