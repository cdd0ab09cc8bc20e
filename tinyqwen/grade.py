"""Grading from the command line.

python -m tinyqwen.grade SUBMISSIONS/ --out grades.csv  a class: gradebook and reports
python -m tinyqwen.grade --self-test [ch04 …]           are the graders sound? the kill matrix
python -m tinyqwen.grade --make-gradescope FILE.zip     an autograder to upload to Gradescope
"""

from tinyqwen import cli
from tinyqwen.course.authoring.mutants import kill_matrix, self_test
from tinyqwen.course.classroom.gradescope import make_zip
from tinyqwen.course.classroom.grading import grade_class
from tinyqwen.course.classroom.pages import to_look_at, unbound
from tinyqwen.course.registry import chapter, chapters


def main():
    """The command line; see the module's docstring."""
    parser = cli.ArgumentParser(
        prog="python -m tinyqwen.grade",
        description="Grade a class, test the graders, make autograders. To grade one folder: "
        "pytest tests/assignments --submission=DIR",
    )
    parser.add_argument(
        "submissions",
        nargs="?",
        metavar="SUBMISSIONS",
        help="a folder with a folder (ada/ch04_swiglu.py) or a file (ada_ch04.py) for each student",
    )
    parser.add_argument("--out", metavar="FILE.csv", help="gradebook; the reports go beside it")
    parser.add_argument("--jobs", type=int, default=1, help="students graded at once (1)")
    parser.add_argument(
        "--chapters", nargs="+", metavar="CHAPTER", default=(), help="all if not given"
    )
    parser.add_argument(
        "--memory", type=int, default=1024, help="MiB for a student's process (1024)"
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=300,
        help="most seconds for any test",
    )
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
    parser.add_argument("--make-gradescope", metavar="FILE.zip")
    options = parser.parse_args()
    if options.self_test is not None:
        return _self_test(options)
    if options.make_gradescope:
        print(f"{make_zip(options.make_gradescope, options.chapters)}: upload it as the autograder")
        return 0
    if options.submissions and options.out:
        return _class(options)
    if options.submissions:
        parser.error("say where the gradebook goes: --out grades.csv")
    parser.error("say what to do: a folder of submissions, --self-test, or --make-gradescope FILE")


def _class(options):
    students = grade_class(
        options.submissions,
        options.out,
        jobs=options.jobs,
        seed=options.seed,
        keys=options.chapters,
        most=options.time_limit,
        memory=options.memory << 20,
        again=options.again,
    )
    width = min(max(len(student.name) for student in students), 60)
    for student in students:
        earned, possible = student.points
        notes = "".join(f"   {note}" for note in to_look_at(student))
        print(f"{student.name:<{width}}   {earned:>4}/{possible}{notes}")
    for sentence in unbound({k: v for s in students for k, v in s.fences.items()}):
        print(sentence)
    print(f"{options.out}; the reports: {options.out.removesuffix('.csv')}/index.html")
    return 0


def _self_test(options):
    faults = mutants = 0
    for key in options.self_test or chapters():
        report = self_test(chapter(key), options.seed or 0)
        if options.show:
            _show(report, options.show)
        else:
            print(kill_matrix(report), end="\n\n")
        faults += len(report.faults)
        mutants += len(report.rows)
    if not options.show:
        print(f"{mutants} mutants, {faults} faults")
    return 1 if faults else 0


def _show(report, name):
    for one, results in report.rows:
        if one.name == name:
            for result in results.values():
                print(f"{result.name}: {result.status}")
                if result.status != "passed":
                    print("    " + result.text.replace("\n", "\n    "))


if __name__ == "__main__":
    cli.run(main)
