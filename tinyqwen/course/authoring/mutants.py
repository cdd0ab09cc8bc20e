"""The graders, graded: each plausible mistake must be caught, in the right test, by its name.

    @mutant(of="silu", killed_by="test_silu_vjp", named="the product rule's second term is missing")
    def silu_vjp_first_term_only(x): ...

`self_test` runs a chapter's graders over the library (full marks), over the empty stubs (nothing
earned, nothing failed, all to do) and over every mutant, which must fail the test named by
`killed_by` with a diagnosis that contains `named`. Only graders that ask for the mutant's function
are run on it.
"""

from dataclasses import dataclass, field

from tinyqwen.course.authoring.shortcuts import strong_tests
from tinyqwen.course.registry import Chapter, functions_in, is_stub
from tinyqwen.course.runner import Result, graders_of, result_of, run
from tinyqwen.course.submission import load_module, solution, submitted

LEAST = 5  # mutants for each function


@dataclass(frozen=True)
class Mutant:
    """A wrong solution: the function, which one it replaces, and how it must be found out."""

    function: object
    of: str
    killed_by: str
    named: str

    name = property(lambda self: self.function.__name__)


def mutant(*, of, killed_by, named):
    """Declare a wrong solution of the assignment `of`.

    killed_by: the grader that must fail;  named: words that its diagnosis must contain
    """

    def declare(function):
        function.mutant = Mutant(function, of, killed_by, named)
        return function

    return declare


def mutants_of(chapter: Chapter) -> list[Mutant]:
    """The chapter's mutants, in the order of their file."""
    functions = vars(load_module(chapter.mutants)).values()
    return [f.mutant for f in functions if isinstance(getattr(f, "mutant", None), Mutant)]


@dataclass
class SelfTest:
    """What the graders of one chapter do.

    reference, stubs: {test: Result}; rows: [(mutant, {test: Result})]; strong: {function: the
    tests that no shortcut passes}; faults: what is not as it should be, in words; none means that
    the graders are sound.
    """

    chapter: Chapter
    reference: dict = field(default_factory=dict)
    stubs: dict = field(default_factory=dict)
    rows: list = field(default_factory=list)
    strong: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)


def self_test(chapter: Chapter, seed=0, only=None) -> SelfTest:
    """Run a chapter's graders over the reference, the stubs and the mutants.

    only: a function's name, to run its mutants alone
    """
    tests, report = graders_of(chapter), SelfTest(chapter)
    asked = {}  # which functions each grader asks for
    for test in tests:
        submission = solution(chapter)
        report.reference[test.__name__] = _run(test, submission, chapter, seed)
        asked[test.__name__] = submission.used
        stubs = submitted(chapter, chapter.stub)
        report.stubs[test.__name__] = _run(test, stubs, chapter, seed)
    for one in mutants_of(chapter):
        if only in (None, one.of):
            submission = solution(chapter, **{one.of: one.function})
            report.rows.append(
                (
                    one,
                    {
                        test.__name__: _run(test, submission, chapter, seed)
                        for test in tests
                        if one.of in asked[test.__name__]
                    },
                )
            )
    if only is None:
        report.strong = strong_tests(chapter)
    report.faults = list(_faults(report, only))
    return report


def _run(test, submission, chapter, seed) -> Result:
    return run(test, submission, result_of(test, chapter.key), seed)


def _faults(report, only):
    chapter = report.chapter
    functions = functions_in(chapter.stub.read_text(encoding="utf-8"))
    for name in chapter.assigned:
        if name not in functions or not is_stub(functions[name]):
            yield f"{chapter.stub.name}: there is no stub of {name}"
        count = sum(one.of == name for one, _ in report.rows)
        if count < LEAST and only in (None, name):
            yield f"{name} has {count} mutants; at least {LEAST} are wanted"
    yield from _faults_of_stretch(chapter)
    for name, tests in report.strong.items():
        if not tests and name not in chapter.stretch:
            yield f"{name} gives no points in a class: a shortcut passes each of its tests"
    for name, result in report.reference.items():
        if result.status != "passed":
            yield f"{name} fails the reference: {result.text}"
        if not result.looks_for:
            yield f"{name} has no docstring that says what mistake it looks for"
    for name, result in report.stubs.items():
        if result.status != "todo":
            yield f"{name} on the stubs is {result.status}, not to do: {result.text}"
    for one, results in report.rows:
        yield from _faults_of_mutant(one, results)


def _faults_of_stretch(chapter):
    """Points are for what is required; tests of a stretch function are worth none."""
    for name in set(chapter.stretch) - chapter.assigned.keys():
        yield f"STRETCH names {name}, which ASSIGNED does not"
    for test in graders_of(chapter):
        honor = any(test.__name__.startswith(f"test_{name}_") for name in chapter.stretch)
        if honor == bool(test.points.number):
            yield f"{test.__name__} is worth {test.points.number} points"


def _faults_of_mutant(one, results):
    result = results.get(one.killed_by)
    if result is None:
        yield f"{one.name}: no test {one.killed_by} asks for {one.of}"
    elif result.status != "failed":
        killers = [name for name, other in results.items() if other.status == "failed"]
        yield f"{one.name} survives {one.killed_by}; killed by {', '.join(killers) or 'no test'}"
    elif one.named not in result.text:
        yield (
            f"{one.name}: {one.killed_by} does not say {one.named!r} but\n"
            + "\n".join("    " + line for line in result.text.splitlines())
        )


def kill_matrix(report: SelfTest) -> str:
    """The chapter's kill matrix as text: X the intended kill, x another, . survived."""
    chapter, tests = report.chapter, list(report.reference)
    earned = sum(r.earned for r in report.reference.values())
    possible = sum(r.possible for r in report.reference.values())
    to_do = sum(r.status == "todo" for r in report.stubs.values())
    lines = [
        f"{chapter.key}  {chapter.title}",
        f"  reference {earned}/{possible} points; "
        f"stubs {sum(r.earned for r in report.stubs.values())}/{possible}, "
        f"{to_do} of {len(tests)} tests to do",
    ]
    for function in chapter.assigned:
        rows = [(one, results) for one, results in report.rows if one.of == function]
        columns = [t for t in tests if any(t in results for _, results in rows)]
        heads = [t.removeprefix("test_").removeprefix(f"{function}_") for t in columns]
        width = max([len(one.name) for one, _ in rows] + [len(function)], default=0)
        lines += ["", f"  {function:<{width}}  {'  '.join(heads)}"]
        if report.strong:
            marks = ("*" if t in report.strong[function] else " " for t in columns)
            cells = (mark.center(len(head)) for mark, head in zip(marks, heads))
            lines.append(f"  {'':<{width}}  {'  '.join(cells)}  * no shortcut passes")
        for one, results in rows:
            cells = (_cell(one, name, results).center(len(h)) for name, h in zip(columns, heads))
            lines.append(f"  {one.name:<{width}}  {'  '.join(cells)}  {one.named}")
    lines += ["", *(f"  FAULT {fault}" for fault in report.faults)]
    return "\n".join(lines).rstrip()


def _cell(one, name, results):
    if name not in results:
        return " "
    if results[name].status != "failed":
        return "."
    return "X" if name == one.killed_by else "x"
