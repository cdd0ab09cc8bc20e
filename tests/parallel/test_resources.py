"""The allocator's settings: memory is kept, in large pages; and all of it can be switched off."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinyqwen.parallel.resources import (
    default_threads,
    is_shared,
    keep_memory,
    physical_memory,
    shared_zeros,
)

PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GLIBC = sys.platform == "linux" and "glibc" in os.confstr("CS_GNU_LIBC_VERSION")
PROGRAM = """
import resource
import numpy as np
from tinyqwen.parallel.resources import (
    default_threads,
    is_shared,
    keep_memory,
    physical_memory,
    shared_zeros,
)

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


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 6}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert default_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    assert default_threads() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


def test_memory_in_bytes_or_without_a_bound(monkeypatch):
    sizes = {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    assert physical_memory() == 3 * 4096

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert physical_memory() == math.inf
    monkeypatch.delattr(os, "sysconf")
    assert physical_memory() == math.inf


@pytest.mark.parametrize("size", [0, 1, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_shared_arrays_are_zeros_and_known_again(size, dtype):
    array = shared_zeros(size, dtype)
    assert array.shape == (size,) and array.dtype == dtype and not array.any()
    assert array.flags.writeable
    for same in (array, array[1:], array.reshape(1, -1), array[::2].view()):
        assert is_shared(same)
    for other in (array.copy(), np.zeros(3), np.frombuffer(bytearray(8), np.int64), None):
        assert not is_shared(other)
