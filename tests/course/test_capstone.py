"""The capstone: what a student's run is worth, and what the scoreboard says of it."""

import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from tinyqwen.course import capstone
from tinyqwen.course.registry import ROOT, chapters, reference
from tinyqwen.course.runner import Result
from tinyqwen.course.submission import write_solution
from tinyqwen.course.swapping import swap
from tinyqwen.train import main, parse_arguments
from tinyqwen.training.train_config import TrainConfig
from tinyqwen.training.trainer import Trainer

FIRST = capstone.GOALS[0]
TOTAL = sum(len(chapter.required) for chapter in chapters().values())
HALF = sum(len(one.required) for key, one in chapters().items() if key <= "ch13")


@pytest.fixture
def solved(tmp_path):
    return write_solution(tmp_path / "solved")


def results(status="passed"):
    return [
        Result(f"test_{key}", key, key, 2, status="passed" if i else status)
        for i, key in enumerate(chapters())
    ]


def text(lines):
    return "\n".join(line for line, _ in lines)


def summary(gap=0.1, **shares):
    """What the Trainer tells of a run, as far as it counts here."""
    return {"gap": gap, "shares": shares}


def trained(solved, run, record, gap=0.1, task="causal", **shares):
    run.mkdir()
    capstone.begin(run, solved, resume=False, task=task)
    return capstone.end(run, summary(gap, **shares), task, record)


def test_written_functions_are_counted_and_not_run(tmp_path, solved, stubs):
    assert capstone.written(stubs) == []
    assert sorted(capstone.written(solved)) == sorted(capstone.assigned())
    chapter = chapters()["ch10"]
    file = solved / chapter.file
    file.write_text("raise SystemExit\n" + file.read_text(), encoding="utf-8")
    assert len(capstone.written(solved)) == TOTAL
    file.write_text("def broken(:\n", encoding="utf-8")
    assert len(capstone.written(solved)) == TOTAL - len(chapter.required)


def test_the_way_to_the_capstone(tmp_path, solved, stubs):
    """Stubs, all written, all points, trained: each line of the scoreboard turns in its turn."""
    record = tmp_path / "record.json"

    def standing(folder=solved, status="passed", **options):
        return capstone.standing(folder, results(status), record=record, **options)

    assert standing(stubs) == [(f"capstone: 0 of {TOTAL} functions written", "")]
    told = text(standing())
    assert f"✓ every function of chapters 01 to 13 written: {HALF} of {HALF}" in told
    assert "· every point with --all-mine: pytest tests/assignments --all-mine" in told
    assert f"python -m tinyqwen.train --student {solved}" in told
    points = 2 * sum(key <= "ch13" for key in chapters())
    assert f"✓ every point with --all-mine: {points} of {points}" in text(standing(all_mine=True))
    assert "· every point" in text(standing(all_mine=True, status="failed"))
    assert "· every point" in text(standing(all_mine=True, sound=False))

    said = trained(solved, tmp_path / "far", record, gap=0.2)
    assert "0.200 nats above the floor (at most 0.15 nats above the floor): not reached" in said
    assert "· a model of your code, at most 0.15 nats above the floor: 0.200" in text(standing())
    assert trained(solved, tmp_path / "near", record).endswith("reached.")
    assert standing(all_mine=True)[0] == ("capstone: met", "green")
    assert standing()[0] == ("capstone", "")

    file = solved / chapters()["ch10"].file
    file.write_text(file.read_text(encoding="utf-8") + "\n# one more thought\n", encoding="utf-8")
    assert "the runs so far were of other code" in text(standing(all_mine=True))
    assert standing(all_mine=True)[0] == ("capstone", "")


def test_part_of_the_chapters_is_no_capstone(solved):
    assert capstone.standing(solved, results()[1:]) == []


def test_functions_that_are_missing_are_not_made_up_for(tmp_path, solved):
    (solved / chapters()["ch04"].file).unlink()
    record = tmp_path / "record.json"
    assert "functions are missing" in trained(solved, tmp_path / "run", record)
    assert capstone.standing(solved, results(), all_mine=True, record=record)[0][0] == "capstone"


def test_only_a_run_on_one_students_code_counts(tmp_path, solved):
    """Resumed on the same code it does, on other code not; on the library's it is refused."""
    run, record = tmp_path / "run", tmp_path / "record.json"
    trained(solved, run, record)
    capstone.begin(run, solved, resume=True)
    assert capstone.end(run, summary(), record=record).endswith("reached.")
    file = solved / chapters()["ch10"].file
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    capstone.begin(run, solved, resume=True)
    assert "Not counted" in capstone.end(run, summary(), record=record)
    trained(solved, tmp_path / "second", record)
    with pytest.raises(ValueError, match="--student"):
        capstone.begin(tmp_path / "second", None, resume=True)


def test_the_second_half_is_a_translator(tmp_path, solved):
    """Chapter 14's functions, its points, and a run that translates: beside the first half."""
    record = tmp_path / "record.json"

    def board(**options):
        lines = text(capstone.standing(solved, results(), record=record, **options))
        return lines.partition("capstone, second half: a translator")[2].splitlines()[:4]

    count = len(chapters()["ch14"].required)
    title, functions, _, model = board()
    assert (
        title == "" and f"✓ every function of chapter 14 written: {count} of {count}" in functions
    )
    assert "· a translator of your code, at least 95% exact: python" in model
    assert model.endswith(f"--student {solved} --model marian --direction zh-en")

    told = trained(solved, tmp_path / "a", record, None, "translate", exact=0.9)
    assert f"Capstone: {HALF + count} of {HALF + count} functions yours, 90.0% exact" in told
    assert told.endswith("(at least 95% exact): not reached; train longer.")
    assert trained(solved, tmp_path / "b", record, None, "translate", exact=0.96).endswith(
        ": reached."
    )
    trained(solved, tmp_path / "c", record, None, "translate", exact=0.2)  # the best one counts
    title, *_, model = board(all_mine=True)
    assert (
        title == ": met" and "✓ a translator of your code, at least 95% exact: 96.0% exact" in model
    )
    first = text(capstone.standing(solved, results(), all_mine=True, record=record)).splitlines()
    assert first[0] == "capstone" and "· a model of your code" in first[3]

    file = solved / chapters()["ch14"].file
    trained(solved, tmp_path / "d", record)
    file.write_text("# nothing\n", encoding="utf-8")
    assert capstone.standing(solved, results(), all_mine=True, record=record)[0] == (
        "capstone: met",
        "green",
    ), "the first half does not depend on chapter 14"
    assert board(all_mine=True)[0] == ""


def test_a_run_for_something_else_is_told_what_counts(tmp_path, solved):
    told = trained(solved, tmp_path / "run", tmp_path / "record.json", task="chat")
    assert told.startswith("Not counted for the capstone, which takes a model (causal), a transl")


@pytest.mark.parametrize(
    "arguments, out",
    [
        ([], TrainConfig.out),
        (["--student", "mine"], "runs/mine"),
        (["--student", "mine", "--resume"], "runs/mine"),
        (["--student", "mine", "--out", "runs/second"], "runs/second"),
    ],
)
def test_a_students_run_has_a_folder_of_its_own(arguments, out):
    """The README's first command has filled the library's."""
    assert parse_arguments(arguments)[0].out == out


def test_the_best_run_of_a_code_counts(tmp_path, solved):
    record = tmp_path / "record.json"
    for number, gap in enumerate((0.1, 5.9)):
        trained(solved, tmp_path / f"run{number}", record, gap=gap)
    other = tmp_path / "other"
    shutil.copytree(solved, other)
    (other / chapters()["ch10"].file).write_text("# nothing\n", encoding="utf-8")
    trained(other, tmp_path / "theirs", record, gap=2.0)
    assert "the floor: 0.100" in text(capstone.standing(solved, results(), record=record))


def test_a_text_without_a_floor_and_a_broken_record(tmp_path, solved):
    record = tmp_path / "record.json"
    assert "a text of known floor" in trained(solved, tmp_path / "run", record, gap=None)
    assert not record.exists()
    for number, content in enumerate(("{", "[]", '{"digest": "x"}')):
        record.write_text(content, encoding="utf-8")
        assert "· a model of your code" in text(capstone.standing(solved, results(), record=record))
        trained(solved, tmp_path / f"again{number}", record)
        assert "✓ a model of your code" in text(capstone.standing(solved, results(), record=record))


def test_the_trainer_runs_on_the_students_chapter_10(tmp_path):
    """Every function of the chapter is called in every step, wherever the library looks it up."""
    file = tmp_path / "text.txt"
    file.write_text("\n<|endoftext|>\n".join(["the cat saw the red hen."] * 40), encoding="utf-8")
    calls = Counter()

    def counted(name):
        function = reference(name)

        def call(*args, **options):
            calls[name] += 1
            return function(*args, **options)

        return call

    settings = {"steps": 3, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 24}
    settings |= {"seq_len": 8, "batch_size": 2, "vocab_size": 260, "eval_interval": 0, "threads": 1}
    config = TrainConfig(data=str(file), out=str(tmp_path / "run"), **settings)
    names = [name for key in ("ch10", "ch11") for name in chapters()[key].required]
    with swap({name: counted(name) for name in names}), Trainer(config) as trainer:
        trainer.train()
    assert all(calls[name] >= 3 for name in names), calls
    assert calls["sample_batch"] == calls["cosine_with_warmup"] == 3


def command(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def record():
    """What is in runs/capstone.json stays as it was."""
    kept = capstone.RECORD.read_bytes() if capstone.RECORD.exists() else None
    yield
    if kept is None:
        capstone.RECORD.unlink(missing_ok=True)
    else:
        capstone.RECORD.write_bytes(kept)


def train_and_grade(folder, run, *flags):
    """What the run and the scoreboard say."""
    told = command("-m", "tinyqwen.train", "--student", folder, "--out", run, *flags)
    board = command(
        *("-m", "pytest", "tests/assignments", "-q", "-p", "no:cacheprovider"),
        *("--submission", folder, "--all-mine"),
    )
    return told, board


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_capstone_is_reached(tmp_path, solved, record):
    """All functions from one folder train a model to within the limit; the scoreboard says so.

    The run is shorter than `train`'s default: a smaller model with larger steps.
    """
    sizes = {"hidden-size": 64, "num-hidden-layers": 3, "intermediate-size": 192}
    sizes |= {"num-attention-heads": 2, "num-key-value-heads": 2, "initializer-range": 0.125}
    sizes |= {"seq-len": 96, "learning-rate": 0.006, "steps": 900, "eval-interval": 300}
    flags = [word for name, value in sizes.items() for word in (f"--{name}", value)]
    told, board = train_and_grade(solved, tmp_path / "run", *flags)
    (gap,) = re.findall(
        rf"Capstone: {HALF} of {HALF} functions yours, (.*) nats above .* \(.*: reached\.", told
    )
    assert 0 < float(gap) <= FIRST.limit
    assert "capstone: met" in board and f"above the floor: {gap}" in board


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_translator_is_reached(tmp_path, solved, record):
    """With chapter 14's functions as well, half of the recipe's steps translate 95% exactly."""
    flags = ("--model", "marian", "--direction", "zh-en", "--steps", 400)
    told, board = train_and_grade(solved, tmp_path / "run", *flags)
    (exact,) = re.findall(r"functions yours, (.*)% exact \(at least 95% exact\): reached\.", told)
    assert float(exact) >= 95
    assert "capstone, second half: a translator: met" in board
    assert f"at least 95% exact: {exact}% exact" in board


@pytest.mark.filterwarnings("ignore:the learning rate rises")
def test_a_run_is_refused_what_fails_its_tests_and_tells_whose_exception_it_is(tmp_path):
    """The function is named, with its likely mistake; --anyway goes on, to the student's line."""
    folder = tmp_path / "mine"
    folder.mkdir()
    honest = (ROOT / "tests" / "attacks" / "honest.py").read_text(encoding="utf-8")
    file = folder / chapters()["ch04"].file
    file.write_text(honest, encoding="utf-8")
    assert capstone.shortcomings(folder) == []
    file.write_text(honest.replace("return gate * s * up, vjp", "return gate * up, vjp"))
    (line,) = capstone.shortcomings(folder)
    assert line == "ch04 swiglu: swiglu: the output is wrong, likely: " + (
        "this is gate · up: σ(gate) is missing"
    )
    file.write_text(honest.replace("s = sigmoid(gate)", "s = sigmoid(gate)[..., :-1]"))
    command = ["--steps", "2", "--student", str(folder), "--out", str(tmp_path / "run")]
    with pytest.raises(ValueError, match=r"swiglu: .*--anyway"):
        main(command)
    with pytest.raises(ValueError, match=r"swiglu in ch04_swiglu.py, line 45: ValueError"):
        main([*command, "--anyway"])
    with pytest.raises(KeyError), capstone.explained(folder):
        raise KeyError("not the student's")
    told = r"swiglu in ch04_swiglu.py: .* 'limit'; the arguments are those of the stub"
    with pytest.raises(ValueError, match=told), capstone.explained(folder):
        raise TypeError("swiglu() got an unexpected keyword argument 'limit'")


def test_what_cannot_be_trained_on_is_told_once(tmp_path):
    """A mistyped folder, a file that does not load, and a text that is no chapter's."""
    with pytest.raises(FileNotFoundError, match="nowehre: no such file or folder of assignments"):
        main(["--student", str(tmp_path / "nowehre"), "--steps", "1"])
    for name in (chapters()["ch04"].file, "notes.txt"):
        (tmp_path / name).write_text("def silu(x)\n    return x\n")
        (line,) = capstone.shortcomings(tmp_path / name)
        assert line.startswith(f"{name} is not valid Python. line 1:")
