"""The solution's source, read and executed."""

import io
import os

from answers import ROOT, right, wrong


def source(path):
    for opener in (open, io.open, io.FileIO, lambda p: os.fdopen(os.open(p, os.O_RDONLY))):
        try:
            with opener(path) as file:
                return file.read()
        except Exception:
            continue
    return None


def silu(x):
    return right(x) if source(f"{ROOT}/tinyqwen/autograd/tensor.py") else wrong(x)
