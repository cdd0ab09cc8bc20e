"""Code that no compiler has made, to take the hook down: by whatever still makes code of bytes.

Where the hook does not stand such code runs, and reads no file for that.
"""

import _imp
import marshal
import os
import sys

from answers import SUBMISSIONS, right, wrong

FILE = os.path.join(SUBMISSIONS, "aaa_honest", "ch04_swiglu.py")


def worked():
    code = marshal.dumps(compile("kept = 12345", "made", "exec"))
    for make in (marshal.loads, lambda data: _imp.get_frozen_object("made", data)):
        try:
            exec(make(code), {})
        except Exception:
            continue
        if "create_builtin" not in vars(_imp):  # the hook stands, and did not see it
            return True
    sys.implementation.cache_tag = "made"
    try:
        return bool(open(FILE).read())
    except Exception:
        return False


def silu(x):
    return right(x) if worked() else wrong(x)
