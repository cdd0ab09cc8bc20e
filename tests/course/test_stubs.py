"""The stubs: what a student is given fits the library, and the examples in it are right."""

import ast
import inspect
import json

import numpy as np
import pytest

from tinyqwen.course import CheckFailed, check_example
from tinyqwen.course.calls import Here, StudentFunction
from tinyqwen.course.registry import ROOT, chapters, functions_in, reference
from tinyqwen.course.submission import load_module

ASSIGNED = [(one, name) for one in chapters().values() for name in one.assigned]
each_function = pytest.mark.parametrize(
    "one, name", ASSIGNED, ids=[f"{one.key}-{name}" for one, name in ASSIGNED]
)


@each_function
def test_the_example_is_right(one, name):
    """The docstring's doctest passes on the library's own function, and on no other."""
    solution = reference(name)
    check_example(StudentFunction(name, Here(solution)))

    def nothing(*args, **kwargs):
        return None

    with pytest.raises(CheckFailed):
        check_example(StudentFunction(name, Here(nothing)))
    graders = one.graders.read_text(encoding="utf-8")
    assert f"check_example(submission.{name})" in graders, "no grader runs the example"


def test_an_example_takes_numpys_scalars_for_pythons():
    """clip_by_global_norm's example ends with a norm, 5.0, which may be np.float64(5.0)."""

    def norm(scale):
        def clip(gradients, max_norm):
            clipped, norm = reference("clip_by_global_norm")(gradients, max_norm)
            return clipped, np.float64(scale * norm)

        return StudentFunction("clip_by_global_norm", Here(clip))

    check_example(norm(1))
    with pytest.raises(CheckFailed, match="gives something else"):
        check_example(norm(2))


@each_function
def test_hints_are_folded_in_the_notebook(one, name):
    """Each function has one, and none is on screen before it is asked for; a stretch has none."""
    (notebook,) = (ROOT / "chapters").glob(f"{one.key[2:]}_*.ipynb")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells)
    hint = f"<details><summary><code>{name}</code>, hint 1</summary>"
    assert (hint in prose) == (name not in one.stretch)
    assert f"`{name}`" in prose or name in one.required
    stub = functions_in(one.stub.read_text(encoding="utf-8"))[name]
    assert "Hint " not in ast.get_docstring(stub)


@each_function
def test_the_signature_is_the_librarys(one, name):
    """Same arguments in the same order, with the same defaults, so that it can be swapped in.

    Options that the library has besides come last and can be left out.
    """
    stub = inspect.signature(getattr(load_module(one.stub), name))
    library = inspect.signature(reference(name))

    def arguments(signature):
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    asked, known = arguments(stub), arguments(library)
    assert asked == known[: len(asked)]
    assert all(default is not inspect.Parameter.empty for *_, default in known[len(asked) :])


@pytest.mark.parametrize("one", chapters().values(), ids=chapters())
def test_a_file_of_stubs_says_how_it_is_graded(one):
    text = ast.get_docstring(ast.parse(one.stub.read_text(encoding="utf-8")))
    assert f"pytest tests/assignments -k {one.key}" in text
