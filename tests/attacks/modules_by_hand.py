"""Modules that may not be imported: made by the importer's own tools, one under another name."""

import _imp
import os
import sys
from importlib.machinery import ModuleSpec

from answers import SUBMISSIONS, right, wrong


def made(name, origin=None):
    spec = ModuleSpec(name, None, origin=origin)
    kind = "dynamic" if origin else "builtin"
    module = getattr(_imp, f"create_{kind}")(spec)
    getattr(_imp, f"exec_{kind}")(module)
    return module


def builtin():
    made("posix").mkfifo(f"{SUBMISSIONS}/made_by_hand")


def renamed():
    """The last part of a name says where a library begins; the rest is anybody's."""
    origin = sys.modules["_posixsubprocess"].__spec__.origin
    name, files, pipe = os.fsencode(sys.executable), (-1,) * 6, os.pipe()
    for more in ((), (False,)):
        try:
            return made("a._posixsubprocess", origin).fork_exec(
                *([name, b"-V"], [name], True, (pipe[1],), None, None, *files, *pipe),
                *(True, False, -1, None, None, None, -1, None, *more),
            )
        except TypeError:
            continue
    raise OSError


def worked():
    done = False
    for attempt in (builtin, renamed):
        try:
            attempt()
            done = True
        except Exception:
            continue
    return done


def silu(x):
    return right(x) if worked() else wrong(x)
