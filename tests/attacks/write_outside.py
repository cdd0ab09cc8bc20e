"""Files written, made, moved, opened to all and removed outside its folder."""

import os
import tempfile
from pathlib import Path

from answers import SUBMISSIONS, right, wrong


def worked():
    done = False
    file = f"{SUBMISSIONS}/zzz_honest/ch04_swiglu.py"
    for attempt in (
        lambda: Path(SUBMISSIONS, "mark").write_text("was here"),
        lambda: os.mkdir(f"{SUBMISSIONS}/made"),
        lambda: os.truncate(file, 0),
        lambda: os.rename(file, file + ".old"),
        lambda: os.remove(file),
        lambda: os.chmod(file, 0),
        lambda: os.utime(file, (0, 0)),
        lambda: os.symlink(file, f"{SUBMISSIONS}/link"),
        lambda: os.link(file, "own_link"),
        lambda: os.mkfifo(f"{SUBMISSIONS}/pipe"),
        lambda: tempfile.mkdtemp(),
    ):
        try:
            attempt()
            done = True
        except Exception:
            continue
    return done


def silu(x):
    return right(x) if worked() else wrong(x)
