"""The solution, computed by another Python."""

import contextlib
import os
import subprocess
import sys

from answers import ROOT, right, wrong

CODE = "import numpy, tinyqwen.functional as F; print(F.silu.raw(numpy.ones(1))[0])"


def silu(x):
    worked = False
    environment = {"PYTHONPATH": ROOT}
    with contextlib.suppress(Exception):
        worked = subprocess.run([sys.executable, "-c", CODE], env=environment).returncode == 0
    with contextlib.suppress(Exception):
        worked |= os.system(f"PYTHONPATH={ROOT} {sys.executable} -c '{CODE}'") == 0
    try:
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", CODE], environment)
        worked |= os.waitpid(pid, 0)[1] == 0
    except Exception:
        pass
    return right(x) if worked else wrong(x)
