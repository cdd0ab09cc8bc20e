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
huge = [line.split()[1] for line in open("/proc/self/smaps_rollup") if "AnonHugePages" in line]
print(work(), *huge)
"""


def run(**environment):
    """Page faults of twenty arrays of 3 MB, made for the second time; kilobytes in large pages."""
    command, variables = [sys.executable, "-c", PROGRAM], {**os.environ, **environment}
    return map(int, subprocess.check_output(command, env=variables, text=True).split())


@pytest.mark.skipif(not GLIBC, reason="glibc alone")
def test_memory_is_kept():
    kept, _ = run(TINYQWEN_KEEP_MEMORY="1")
    given_back, _ = run(TINYQWEN_KEEP_MEMORY="0")
    assert kept < 200 < 20 * 700 < given_back  # an array has 768 pages of 4 KB


@pytest.mark.skipif(
    not GLIBC or not PAGES.exists() or "[never]" in PAGES.read_text(), reason="no large pages"
)
def test_memory_lies_in_large_pages():
    _, huge = run()
    assert huge >= 2048


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("TINYQWEN_KEEP_MEMORY", "0")
    assert keep_memory.__wrapped__() is False
