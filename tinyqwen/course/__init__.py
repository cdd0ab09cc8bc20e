'''The course's machinery: graders with points and diagnoses, and students' code in the model.

A student writes NumPy functions in `chapters/assignments/`; `pytest tests/assignments` grades them.
In notebooks and scripts:

    from tinyqwen import course
    course.grade("ch05")                          scoreboard and first diagnosis, as a table
    with course.swap("chapters/assignments"):     the library, running on the student's functions
        model(ids)

On the ground floor stands what grades one function of one student: `registry` (which chapters,
which functions), `submission` (a student's file, loaded), `calls` (the one door between grader and
student), `runner` and `clock` (points, time limit), `plugin` (pytest), `scoreboard`, `notebook`,
`swapping`, `capstone` (a model of one's own code), `faulty_models` (chapter 13's). Above it:

    authoring/    what the author of a grader uses: cases (inputs), checks, examples, contract and
                  diagnosis (what is compared, and what it means), mutants (graders, graded),
                  shortcuts (points for nothing)
    isolation/    what runs student code safely: the same door with a worker process behind it
    classroom/    what a teacher uses: grading and job (a class), pages, reports (Gradescope,
                  GitHub, Classroom 50, CSV), gradescope (its autograder)


How to add a chapter's assignment
=================================

Three files, all named `chNN_topic.py`. Nothing is registered anywhere else. ch04 is the example to
follow.

1. The stubs, `chapters/assignments/chNN_topic.py`. For each function: the library's name and
   signature; a docstring with formula, shapes, an example with numbers that fit on paper (it is run
   as a doctest), and layered hints; then `raise NotImplementedError` and nothing else. The file
   imports NumPy. A function that builds on an earlier chapter's takes it from the library, as in
   `from tinyqwen import functional as F` and `F.softmax.raw(x)`: graded alone, that is the
   library's; with `--all-mine`, the student's own. A worker has only what the stubs' text names so.

2. The graders, `tests/assignments/test_chNN_topic.py`. At the top, as plain literals,

       TITLE = "Linear layers and SwiGLU"
       ASSIGNED = {"linear": "functional", "silu": "ops"}    # name: module tinyqwen.… that has it

       STRETCH = ("maximum",)                               # for honor, see below

   The library is the reference solution: each name must exist in that module (a primitive or a
   plain function). Then test functions that take one argument, `submission`:

       @points(3, "silu: gradient")
       def test_silu_vjp(submission):
           """The product rule: σ + x σ (1 - σ), times g."""          <- what it looks for, one line
           check_vjp(
               submission.silu,
               shapes=[(2, 5), (1,), (3, 0, 4), ()],
               mistakes={"this is the slope of the sigmoid alone": lambda x, g: (…,)},
           )

   Points are whole numbers and sum to a round number a chapter. One function a chapter is a
   *stretch*: named in STRETCH, too, its tests are worth 0 points, the notebook gives no hints, and
   the scoreboard shows a star when all of them pass. Tests are `test_<function>_<what>`:
   one for the example, the value, the edges (large numbers, empty, options), the gradient, the
   manners; the smallest first, so that partial credit follows the work. A test sees the student
   through calls of `submission.<function>` alone, gives arrays, numbers, strings, lists or dicts,
   and gets the same back. No fixtures, no parametrize, no bare assert. Random numbers come from
   `normal(2, 5)` or `rng()`, which differ for every test and every seed of the grading: a mistake
   must be told from the right answer for any seed (try `--self-test --seed 7`). Each function needs
   a test that compares it with the right answer for drawn inputs: in a class, the points of the
   others count only beside that (`shortcuts`).

       check_example(fn)                       the stub's doctest
       check_value(fn, shapes= or cases=, mistakes=, axes=)
       check_vjp(fn, …)                        reference and central differences, random g, float64
       check_manners(fn, …)                    float32 kept, views, nothing edited, calls repeatable
       check_close(yours, expected, what, mistakes={name: array})          properties of arrays
       check_equal(yours, expected, what, mistakes={name: value})          tokens, merges, counts
       made_of(yours, expected, sizes)          which product of sizes a wrong count is, or None
       exchange_of(yours, expected, sizes)      which size is a factor too many or stands amiss
       check(condition, message, mistake)                                  everything else
       output(fn, …)                            fn's output, to compute a property with
       with likely(mistake): …                 the diagnosis if a check in the block finds none
       case(x, ids, causal=True, label="…")    an input with integers, options, a label
       rng(), normal(*shape, scale=1)          random inputs

   `shapes=[((2, 5), (5,)), …]` draws one normal float64 array for each shape; options that hold for
   all cases are given by name: `check_value(fn, shapes=…, causal=True)`. `mistakes` of check_value
   map (*arrays, **options) to what the mistake returns, those of check_vjp map (*arrays, g,
   **options) to a tuple with None where the gradient is as it should be. Signs, factors,
   transposes, shifts, permutations, NaN, shapes and dtypes are recognized without being listed.
   `axes` names the axes in messages: "batch time feature", or {"x": "batch time", "weight": …}.
   Helpers of the tests' own are plain functions in the file; do not import from the library what
   the mistakes are made of.

3. The mutants, `tests/assignments/mutants/chNN_topic.py`: five or more wrong solutions for each
   function, named after the mistake, subtle ones among them (wrong only for odd shapes, a repeated
   index, large values, in the VJP, in one argument's gradient; input edited; float64 returned):

       @mutant(of="silu", killed_by="test_silu_vjp", named="second term is missing")
       def silu_vjp_first_term_only(x):
           return F.silu.raw(x)[0], lambda g: (g * sigmoid(x),)

   `named` must occur in what the student would read.

Beside them stands the notebook, `chapters/NN_topic.ipynb`. Its metadata, under "chapter", says what
cannot be read off it: "picture", which of its figures README shows (`python .github/pictures.py`
cuts it out); "seconds", its time on two cores if that is more than a minute; "numbers", those of
the prose that no cell prints, each with the reason.

Then, until it says no FAULT:

    python -m tinyqwen.grade --self-test ch04             the kill matrix, about a second
    python -m tinyqwen.grade --self-test ch04 --show silu_vjp_first_term_only
                                                          what this mutant's author would read
    pytest tests/assignments -k ch04                      over the stubs: all to do

A reference that its grader refuses, a mutant that survives and one that is named wrongly are all
faults of the graders; fix those, not the mutant.
'''

from tinyqwen.course.authoring.cases import case, normal
from tinyqwen.course.authoring.checks import (
    check,
    check_close,
    check_value,
    check_vjp,
    output,
)
from tinyqwen.course.authoring.contract import check_manners
from tinyqwen.course.authoring.diagnosis import CheckFailed, likely
from tinyqwen.course.authoring.equality import check_all_equal, check_equal
from tinyqwen.course.authoring.examples import check_example
from tinyqwen.course.authoring.mutants import mutant
from tinyqwen.course.authoring.products import exchange_of, made_of
from tinyqwen.course.notebook import grade
from tinyqwen.course.registry import reference
from tinyqwen.course.runner import points, rng
from tinyqwen.course.swapping import swap

__all__ = [
    "CheckFailed",
    "case",
    "check",
    "check_all_equal",
    "check_close",
    "check_equal",
    "check_example",
    "check_manners",
    "check_value",
    "check_vjp",
    "exchange_of",
    "grade",
    "likely",
    "made_of",
    "mutant",
    "normal",
    "output",
    "points",
    "reference",
    "rng",
    "swap",
]
