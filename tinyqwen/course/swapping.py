"""A student's functions in the place of the library's: the same model, running on other code.

A primitive runs whatever its `.raw` is, so setting `.raw` swaps it everywhere. A plain helper is
looked up by name in the module that uses it, so its name is pointed elsewhere in every module of
the library. Both are global: all threads see the swapped functions until the block ends.
"""

import ast
import functools
import inspect
import sys
import textwrap
from contextlib import contextmanager
from types import ModuleType

from tinyqwen import functional as F
from tinyqwen.course.calls import StudentError
from tinyqwen.course.registry import chapters, functions_in, is_written, library
from tinyqwen.course.submission import find_file, load_module


@contextmanager
def swap(*sources):
    """Run the library on other functions inside this block.

    sources: what to swap in: a folder of assignments, one file, a module, functions themselves,
        or a dict of them by name.
    Functions count if a chapter assigns their name and they are written: as long as a function
    still raises NotImplementedError, the library's own stays.

    Gives the list of the names swapped. Raises ValueError where a source cannot be read.

        with course.swap("chapters/assignments") as names:
            print("yours:", ", ".join(names))
            model.generate(...)
    """
    functions = {}
    for source in sources:
        functions |= written_functions(source)
    raw, plain = {}, {}
    for name, function in _with_compounds(functions).items():
        original = library(name) if name in functions else getattr(F, name)
        (raw if hasattr(original, "raw") else plain)[original] = function
    before = {primitive: primitive.raw for primitive in raw}
    try:
        _set_raw(raw)
        _point(plain)
        yield list(functions)
    finally:
        _point({function: original for original, function in plain.items()})
        _set_raw(before)


def written_functions(source) -> dict:
    """{name: function} of what is assigned and written in a folder, file, module or function."""
    if isinstance(source, dict):
        return source
    assigned = [name for chapter in chapters().values() for name in chapter.assigned]
    if isinstance(source, ModuleType):
        own = vars(source)
        return {n: own[n] for n in assigned if inspect.isfunction(own.get(n)) and _done(own[n])}
    if inspect.isfunction(source):
        if source.__name__ not in assigned:
            raise ValueError(f"no chapter assigns a function {source.__name__!r}")
        return {source.__name__: source} if _done(source) else {}
    found = {}
    for chapter in chapters().values():
        file = find_file(chapter, source)
        if file is not None:
            found |= _written_in_file(chapter, file)
    return found


def _written_in_file(chapter, file):
    try:
        module = load_module(file)
    except StudentError as error:
        raise ValueError(str(error)) from None
    trees = functions_in(file.read_text(encoding="utf-8"))
    return {
        name: getattr(module, name)
        for name in chapter.assigned
        if name in trees and is_written(trees[name])
    }


def _done(function):
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return True  # no source to look at: made at run time, and surely by somebody
    return is_written(tree)


def _with_compounds(functions):
    """Add what the library has fused and a student has in parts: the loss with its projection."""
    if "cross_entropy" not in functions or "linear_cross_entropy" in functions:
        return functions
    project, loss = functions.get("linear", F.linear.raw), functions["cross_entropy"]

    def linear_cross_entropy(hidden, weight, labels, **options):
        logits, project_vjp = project(hidden, weight)
        out, loss_vjp = loss(logits, labels, **options)
        return out, lambda g: project_vjp(loss_vjp(g)[0])[:2]

    return {**functions, "linear_cross_entropy": linear_cross_entropy}


def _set_raw(functions):
    for primitive, function in functions.items():
        primitive.raw = function


def _point(functions):
    """Wherever a module of the library holds a key of `functions`, let it hold the value."""
    for module, attribute, old in _places(tuple(functions), len(sys.modules)):
        if getattr(module, attribute) is old:
            setattr(module, attribute, functions[old])


@functools.lru_cache(maxsize=32)
def _places(functions, modules):
    """(module, attribute, function) wherever a module of the library holds one of `functions`.

    With `--all-mine` this is asked around every call of a student's function, with always the same
    answer; `modules`, how many are imported, tells when it may be another.
    """
    wanted = {id(function): function for function in functions}
    return [
        (module, attribute, wanted[id(value)])
        for name, module in list(sys.modules.items())
        if name.startswith("tinyqwen") and not name.startswith("tinyqwen.course")
        for attribute, value in list(vars(module).items())
        if id(value) in wanted
    ]
