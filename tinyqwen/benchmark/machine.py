"""What the figures were measured on."""

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

PINS = (  # what variables begin with that change how fast things run
    *("OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "VECLIB_", "OMP_", "GOMP_", "KMP_", "ATEN_"),
    *("MALLOC_", "NPY_DISABLE_CPU", "NPY_ENABLE_CPU", "TINYQWEN_"),
)
PACKAGES = ("tinyqwen", "numpy", "torch", "transformers", "safetensors")


def describe():
    """{what: value}: processor, cores, memory, BLAS, versions, and variables that pin them."""
    import numpy  # noqa: F401  (so that its BLAS is there to be asked)
    from threadpoolctl import threadpool_info

    from tinyqwen.parallel.resources import default_threads

    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {
        "processor": _processor(),
        "cores": default_threads(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "blas": [
            {
                key: pool.get(key)
                for key in ("internal_api", "version", "architecture", "num_threads")
            }
            for pool in blas
        ],
        "versions": {name: v for name in PACKAGES if (v := _version(name)) is not None},
        "environment": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(PINS)
        },
    }


def summary(machine):
    """`describe()` in a few lines of text."""
    blas = ", ".join(
        f"{b['internal_api']} {b['version']} for {b['architecture']}, {b['num_threads']} threads"
        for b in machine["blas"]
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}",
        f"{versions}; {blas}",
    ]
    if machine["environment"]:
        pins = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
        lines.append(f"pinned by the environment: {pins}")
    return "\n".join(lines)


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError):  # Windows
        return None


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _peak_kib(status):
    """What a process has held at most; 0 for a child that has ended, which holds nothing."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


def peak_mib():
    """The most memory this process and its children have held, in MiB (resident), None if unknown.

    What a child shares with its parent counts for each of them.
    """
    own = Path("/proc/self/status")  # Linux's ru_maxrss begins with the parent's at the fork
    if own.exists():
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        statuses = [own, *(Path(f"/proc/{pid}/status") for pid in children)]
        return sum(map(_peak_kib, statuses)) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
