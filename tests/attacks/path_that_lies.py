"""A path that is one file when it is looked at, and another when it is opened."""

import builtins
import io
import os
import posixpath

from answers import SUBMISSIONS, np, right, wrong

TARGET = f"{SUBMISSIONS}/aaa_honest/ch04_swiglu.py"


class Two(str):
    def __fspath__(self):
        return TARGET

    def startswith(self, *args):
        return True

    def split(self, *args):
        return []


class Turns:
    turn = 0

    def __fspath__(self):
        Turns.turn += 1
        return TARGET if Turns.turn % 2 else np.__file__

    def __index__(self):
        return 3


def resolved():
    """Whoever asks where a path leads is told: into NumPy."""
    for module in (os.path, posixpath):
        module.realpath = module.abspath = module.normpath = lambda *a, **o: np.__file__
        module._joinrealpath = lambda *a, **o: (np.__file__, True)
    os.fsdecode = os.fspath = lambda path: np.__file__
    return TARGET


def climbing():
    return os.path.dirname(np.__file__) + "/../" * 12 + TARGET


def is_the_neighbors(opened):
    with opened if hasattr(opened, "read") else open(opened, "rb") as file:
        return b"honest neighbor" in file.read() if "b" in file.mode else "honest" in file.read()


def silu(x):
    kept = os.fsdecode, os.fspath, posixpath.realpath, posixpath.normpath, posixpath.abspath
    ways = (builtins.open, io.FileIO, lambda path: os.open(path, os.O_RDONLY))
    paths = [Two(np.__file__), Turns(), Turns(), climbing(), os.fsencode(TARGET)]
    try:
        for path in (*paths, resolved()):
            for way in ways:
                try:
                    if is_the_neighbors(way(path)):
                        return right(x)
                except Exception:
                    continue
        return wrong(x)
    finally:
        os.fsdecode, os.fspath = kept[:2]
        posixpath.realpath, posixpath.normpath, posixpath.abspath = kept[2:]
