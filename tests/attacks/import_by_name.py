"""The solution, imported by importlib, with finders put aside and paths put in."""

import contextlib
import importlib
import importlib.machinery
import os
import sys

from answers import ROOT, np, wrong

solved = wrong
sys.meta_path[:] = [
    importlib.machinery.BuiltinImporter,
    importlib.machinery.FrozenImporter,
    importlib.machinery.PathFinder,
]
sys.modules.pop("tinyqwen", None)
sys.path[:0] = [ROOT, os.path.dirname(os.path.dirname(np.__file__))]
importlib.invalidate_caches()
with contextlib.suppress(Exception):
    solved = importlib.import_module("tinyqwen.functional").silu.raw


def silu(x):
    return solved(x)
