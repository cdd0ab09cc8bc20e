"""Grading from the command line.

python -m tinyqwen.grade SUBMISSIONS/ --out grades.csv  a class: gradebook and reports
python -m tinyqwen.grade --self-test [ch04 …]           are the graders sound? the kill matrix
python -m tinyqwen.grade --make-gradescope FILE.zip     an autograder to upload to Gradescope
"""

import argparse
import math

from tinyqwen import cli
from tinyqwen.course.allowance import SLACK, longest
from tinyqwen.course.authoring.mutants import kill_matrix, mutants_of
from tinyqwen.course.authoring.mutants import self_test as tested
from tinyqwen.course.classroom.gradescope import make_zip
from tinyqwen.course.classroom.grading import grade_class
from tinyqwen.course.classroom.pages import to_look_at, unbound
from tinyqwen.course.registry import chapter, chapters

MODES = {  # what it does: the options that say how
    "submissions": ("out", "jobs", "chapters", "memory", "time_limit", "again", "seed"),
    "self_test": ("show", "seed"),
    "make_gradescope": ("chapters",),
}


def main():
    """The command line; see the module's docstring."""
    parser = cli.ArgumentParser(
        prog="python -m tinyqwen.grade",
        argument_default=argparse.SUPPRESS,
        description="Grade a class, test the graders, make autograders. To grade one folder: "
        "pytest tests/assignments --submission=DIR",
    )
    parser.add_argument(
        "submissions",
        nargs="?",
        type=cli.path,
        metavar="SUBMISSIONS",
        help="a folder with a folder (ada/ch04_swiglu.py) or a file (ada_ch04.py) for each student",
    )
    parser.add_argument(
        "--out", type=cli.path, metavar="FILE.csv", help="gradebook; the reports go beside it"
    )
    parser.add_argument("--jobs", type=int, help="students graded at once (1)")
    parser.add_argument("--chapters", nargs="+", metavar="CHAPTER", help="all if not given")
    parser.add_argument("--memory", type=int, help="MiB for a student's process (1024)")
    parser.add_argument("--time-limit", type=float, help="most seconds for any test (300)")
    parser.add_argument("--again", action="store_true", help="grade anew what is graded already")
    parser.add_argument(
        "--self-test",
        nargs="*",
        metavar="CHAPTER",
        help="run the graders over the reference, the stubs and all mutants",
    )
    parser.add_argument("--show", metavar="MUTANT", help="what this mutant's author would read")
    parser.add_argument(
        "--seed", type=int, help="seed of the graders' inputs; of a class, drawn if not given"
    )
    parser.add_argument("--make-gradescope", type=cli.path, metavar="FILE.zip")
    given = vars(parser.parse_args())
    modes = [mode for mode in MODES if mode in given]
    if len(modes) != 1:
        parser.error("say one: a folder of submissions, --self-test, or --make-gradescope FILE")
    if idle := [name for name in given if name not in (*modes, *MODES[modes[0]])]:
        flag = idle[0].replace("_", "-")
        parser.error(f"--{flag} is not for {modes[0].replace('_', '-')}; leave it out")
    if "self_test" in given:
        return _self_test(**given)
    if "make_gradescope" in given:
        keys = given.get("chapters", ())
        path = make_zip(given["make_gradescope"], keys)
        what = " ".join(chapter(key).key for key in keys) or "all chapters"
        minutes = math.ceil((longest(keys or chapters()) + SLACK) / 60)
        print(
            f"{path} grades {what}: upload it as the autograder, with a time limit of {minutes} min"
        )
        return 0
    if "out" not in given:
        parser.error("say where the gradebook goes: --out grades.csv")
    return _class(**given)


def _class(submissions, out, chapters=(), memory=1024, time_limit=300, **settings):
    settings |= {"keys": chapters, "most": time_limit, "memory": memory << 20}
    students = grade_class(submissions, out, **settings)
    width = min(max(len(student.name) for student in students), 60)
    for student in students:
        earned, possible = student.points
        notes = "".join(f"   {note}" for note in to_look_at(student))
        print(f"{student.name:<{width}}   {earned:>4}/{possible}{notes}")
    for sentence in unbound({k: v for s in students for k, v in s.fences.items()}):
        print(sentence)
    print(f"{out}; the reports: {out.removesuffix('.csv')}/index.html")
    return 0


def _self_test(self_test, show=None, seed=0):
    names = {key: [one.name for one in mutants_of(chapter(key))] for key in self_test or chapters()}
    mutants = sum(map(len, names.values()))
    if show:
        names = {key: found for key, found in names.items() if show in found}
        if not names:
            raise ValueError(f"--show: none of {mutants} mutants is called {show}")
    faults = 0
    for key in names:
        report = tested(chapter(key), seed)
        faults += len(report.faults)
        if show:
            _show(report, show)
        else:
            print(kill_matrix(report), end="\n\n")
    if not show:
        print(f"{mutants} mutants, {faults} faults")
    return 1 if faults else 0


def _show(report, name):
    """Print what a mutant's author would read."""
    for results in (results for one, results in report.rows if one.name == name):
        for result in results.values():
            print(f"{result.name}: {result.status}")
            if result.status != "passed":
                print("    " + result.text.replace("\n", "\n    "))


if __name__ == "__main__":
    cli.run(main)
