"""The five command lines: bad arguments end in one line and exit code 2."""

import importlib
import sys

import pytest

BAD = [
    *(("train", "--steps", "x"), ("train", "--nonsense"), ("train", "--resume", "--seed", "3")),
    *(("generate", "--top-k", "x"), ("generate", "--greedy", "--do-sample", "Once")),
    *(("inspect",), ("inspect", "a", "b\nc"), ("bench", "--rounds", "x"), ("grade", "--nonsense")),
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_arguments_are_one_line(arguments, capsys, monkeypatch):
    program, *rest = arguments
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *rest])
    with pytest.raises(SystemExit) as ending:
        importlib.import_module(f"tinyqwen.{program}").main()
    out, err = capsys.readouterr()
    assert ending.value.code == 2 and out == ""
    assert err.startswith(f"tinyqwen.{program}: ") and err.endswith("; see --help\n")
    assert err.count("\n") == 1
