"""The grader's environment, arguments and files in /proc."""

import os
import sys
from pathlib import Path

from answers import SECRET, right, wrong


def worked():
    if SECRET in os.environ.values() or SECRET in " ".join(sys.argv):
        return True
    for pid in ("self", os.getppid(), 1):
        for name in ("environ", "cmdline", "maps", "mem"):
            try:
                if Path(f"/proc/{pid}/{name}").read_bytes():
                    return True
            except Exception:
                continue
    return False


def silu(x):
    return right(x) if worked() else wrong(x)
