"""Grading from the command line.

python -m tinyqwen.grade --self-test [ch04 …]           are the graders sound? the kill matrix
python -m tinyqwen.grade --make-gradescope FILE.zip     an autograder to upload to Gradescope
"""

from tinyqwen import cli


def main():
    """The command line; see the module's docstring."""
    parser = cli.ArgumentParser(
        prog="python -m tinyqwen.grade",
        description="Test the graders, and make autograders. To grade one folder: "
        "pytest tests/assignments --submission DIR",
    )
    parser.add_argument(
        "--self-test",
        nargs="*",
        metavar="CHAPTER",
        help="run the graders over the reference, the stubs and all mutants",
    )
    parser.add_argument("--show", metavar="MUTANT", help="what this mutant's author would read")
    parser.add_argument("--seed", type=int, default=0, help="seed of the graders' inputs")
    parser.add_argument("--make-gradescope", metavar="FILE.zip")
    options = parser.parse_args()
    if options.self_test is not None:
        return _self_test(options)
    if options.make_gradescope:
        from tinyqwen.course.gradescope import make_zip

        print(f"{make_zip(options.make_gradescope)}: upload it as the autograder")
        return 0
    parser.error("say what to do: --self-test or --make-gradescope FILE.zip")


def _self_test(options):
    from tinyqwen.course.mutants import kill_matrix, self_test
    from tinyqwen.course.registry import chapter, chapters

    faults = mutants = 0
    for key in options.self_test or chapters():
        report = self_test(chapter(key), options.seed)
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
