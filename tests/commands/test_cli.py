"""The command lines: bad arguments end in one line and exit code 2; paths may begin at home."""

import importlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinyqwen import bench, cli, compress, grade, inspect
from tinyqwen.course import registry
from tinyqwen.course.classroom.gradescope import make_zip

ROOT = Path(__file__).resolve().parents[2]
BAD = [
    *(("train", "--steps", "x"), ("train", "--nonsense"), ("train", "--resume", "--seed", "3")),
    *(("generate", "--top-k", "x"), ("generate", "--greedy", "--do-sample", "Once")),
    *(("inspect",), ("inspect", "a", "b\nc"), ("bench", "--rounds", "x"), ("grade", "--nonsense")),
    *(("grade",), ("grade", "students"), ("grade", "students", "--self-test", "ch04")),
    *(("grade", "--self-test", "ch04", "--jobs", "2"), ("grade", "--show", "silu")),
    *(("grade", "--make-gradescope", "a.zip", "--out", "a.csv"), ("grade", "--chapters", "ch04")),
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


def test_paths_may_begin_at_home(monkeypatch, tmp_path):
    """In --out=~/x, and in quotes, the shell leaves it to the command."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    options = compress.parse_arguments(["~/a", "~/b", "--bits", "8", "--data=~/c"])
    assert [options.run, options.out, options.data] == [str(tmp_path / name) for name in "abc"]
    options = inspect.parse_arguments(["~/a", "--plot=~/b.png"])
    assert [options.path, options.plot] == [str(tmp_path / "a"), str(tmp_path / "b.png")]
    options = bench.parse_arguments(["--json=~/a", "--plot=~/b.png"])
    assert [options.json, options.plot] == [tmp_path / "a", tmp_path / "b.png"]
    monkeypatch.setattr("sys.argv", ["grade", "--make-gradescope=~/a.zip", "--chapters", "ch04"])
    assert grade.main() == 0 and (tmp_path / "a.zip").exists()
    monkeypatch.setattr("sys.argv", ["grade", "~/students", "--out=~/a.csv"])
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "students"))):
        grade.main()


@pytest.mark.parametrize(
    ("chapters", "what", "minutes"),  # 60 s, 45 for each, 60 of slack
    [(["ch04"], "ch04", 3), (["ch05", "4"], "ch05 ch04", 4), ([], "all chapters", None)],
)
def test_an_autograder_says_what_it_grades_and_how_long_that_may_take(
    tmp_path, monkeypatch, capsys, chapters, what, minutes
):
    """A second one of other chapters takes the first one's place, so it says which it has."""
    path = str(tmp_path / "a.zip")
    more = ["--chapters", *chapters] if chapters else []
    monkeypatch.setattr("sys.argv", ["grade", "--make-gradescope", path, *more])
    assert grade.main() == 0
    minutes = minutes or math.ceil((120 + 45 * len(registry.chapters())) / 60)
    told = f"{path} grades {what}: upload it as the autograder, with a time limit of {minutes} min"
    assert capsys.readouterr().out == f"{told}\n"


def test_an_autograder_takes_no_gradebooks_place(tmp_path):
    book = tmp_path / "grades.csv"
    book.write_text("student,ch04")
    with pytest.raises(ValueError, match=r"grades\.csv: the autograder's name must end in \.zip"):
        make_zip(book)
    assert book.read_text() == "student,ch04"


def test_a_mutant_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("sys.argv", ["grade", "--self-test", "ch03", "--show", "nothing"])
    with pytest.raises(ValueError, match=r"none of \d+ mutants is called nothing"):
        grade.main()


def test_bytes_that_python_left_undecoded_are_utf8():
    """As it does with arguments and lines under the C locale."""
    assert cli.utf8("Once café 猫".encode().decode("ascii", "surrogateescape")) == "Once café 猫"
    assert cli.utf8("café 猫") == "café 猫"
    for wrong in (b"caf\xe9 ", b"caf\xc3"):
        with pytest.raises(ValueError, match=r"is no text in UTF-8 \(byte 3\)"):
            cli.utf8(wrong.decode("ascii", "surrogateescape"))
    with pytest.raises(ValueError, match="is no text in UTF-8"):
        cli.utf8("half \ud83d")


@pytest.mark.skipif(os.name != "posix", reason="a shell that closes descriptors")
@pytest.mark.parametrize(
    "closed, command, code, says",
    [
        (">&-", "generate data/model Once --max-new-tokens 2", 2, "standard output is closed"),
        (">&-", "inspect data/model", 2, "standard output is closed"),
        ("2>&-", "generate data/model Once --max-new-tokens 2 --greedy", 0, "Once"),
        ("2>&-", "generate nowehre Once", 2, ""),
        ("<&- >&- 2>&-", "generate data/model Once --max-new-tokens 2", 2, ""),
        ("<&- >&- 2>&-", "train --out OUT", 0, ""),
    ],
)
def test_closed_streams(closed, command, code, says, tmp_path):
    """A run of two steps prints, counts and warns, and all of it goes nowhere."""
    (tmp_path / "text").write_text("a cat sat on a mat\n" * 40)
    tiny = f"--data {tmp_path}/text --tokenizer char --steps 2 --seq-len 8 --batch-size 2"
    tiny += " --eval-interval 1 --hidden-size 16 --intermediate-size 16 --num-hidden-layers 1"
    command = command.replace("OUT", f"{tmp_path}/run {tiny}")
    done = subprocess.run(
        f"exec {sys.executable} -m tinyqwen.{command} {closed}",
        shell=True, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert says in done.stdout + done.stderr
    assert (done.stdout + done.stderr == "") == (says == "")
    assert (tmp_path / "run" / "model.safetensors").exists() == command.startswith("train")


@pytest.mark.parametrize(
    "command",
    [
        "grade --make-gradescope a.zip", "grade --self-test", "grade class --out a.csv",
        "train --student class --steps 1", "bench tuning", "bench students",
    ],
)  # fmt: skip
def test_what_needs_the_repository_says_so(command, monkeypatch, tmp_path):
    """Beside an installed package are no graders, no texts and no model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "class" / "ada").mkdir(parents=True)
    monkeypatch.setattr(registry, "GRADERS", tmp_path / "tests" / "assignments")
    monkeypatch.setattr(bench, "BASE", tmp_path / "data" / "model")
    registry.chapters.cache_clear()
    name, *arguments = command.split()
    monkeypatch.setattr("sys.argv", [name, *arguments])
    try:
        with pytest.raises((ValueError, FileNotFoundError), match="is missing"):
            importlib.import_module(f"tinyqwen.{name}").main()
    finally:
        registry.chapters.cache_clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class"]
