"""The allocator's settings: memory is kept, in large pages; and all of it can be switched off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinyqwen.parallel.resources import keep_memory

PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GLIBC = sys.platform == "linux" and "glibc" in os.confstr("CS_GNU_LIBC_VERSION")
PROGRAM = """
import resource
import numpy as np
from tinyqwen.parallel.resources import keep_memory

keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    before = faults()
    arrays = [np.ones(3 << 18, np.float32) for _ in range(20)]  # 3 MB each
    del arrays
    return faults() - before
work()
asked, size = 0, 0
for line in open("/proc/self/smaps"):  # of each mapping its size, and, last of all, its flags
    name, *values = line.split()
    size = int(values[0]) if name == "Size:" else size
    asked += size * (name == "VmFlags:" and "hg" in values)
print(work(), asked)
"""


def run(**environment):
    """Page faults of twenty arrays of 3 MB, made for the second time; kilobytes for which large
    pages were asked (whether the kernel has some is not for us to say)."""
    command, variables = [sys.executable, "-c", PROGRAM], {**os.environ, **environment}
    return [int(n) for n in subprocess.check_output(command, env=variables, text=True).split()]


@pytest.mark.skipif(not GLIBC, reason="glibc alone")
def test_memory_is_kept():
    kept, _ = run(TINYQWEN_KEEP_MEMORY="1")
    given_back, _ = run(TINYQWEN_KEEP_MEMORY="0")
    assert kept < 200 < 20 * 700 < given_back  # an array has 768 pages of 4 KB


@pytest.mark.skipif(
    not GLIBC or not PAGES.exists() or "[never]" in PAGES.read_text(), reason="no large pages"
)
def test_large_pages_are_asked_for():
    assert run(TINYQWEN_KEEP_MEMORY="1")[1] >= 1 << 14
    assert run(TINYQWEN_KEEP_MEMORY="0")[1] == 0


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("TINYQWEN_KEEP_MEMORY", "0")
    assert keep_memory.__wrapped__() is False
