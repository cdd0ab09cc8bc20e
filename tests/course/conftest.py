"""These tests use stubs of their own: they pass whatever a student has written meanwhile.

The copies are chapters/assignments with the body of every assigned function taken out again.
"""

import ast
import functools

import pytest

from tinyqwen.course import registry
from tinyqwen.course.authoring.shortcuts import weak_tests


def emptied(text, names):
    """A file of stubs as it was: of the functions `names`, only head and docstring are left."""
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            documented = ast.get_docstring(node) is not None
            first = node.body[1].lineno if documented and node.body[1:] else node.end_lineno + 1
            first = first if documented else node.body[0].lineno
            lines[first - 1 : node.end_lineno] = ["    raise NotImplementedError"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    """A folder of stubs in which nothing is written."""
    folder = tmp_path_factory.mktemp("stubs")
    for one in registry.chapters().values():
        text = (registry.ROOT / "chapters" / "assignments" / one.file).read_text(encoding="utf-8")
        try:
            (folder / one.file).write_text(emptied(text, one.assigned), encoding="utf-8")
        except SyntaxError as error:
            pytest.skip(f"{one.file} is being written: line {error.lineno}: {error.msg}")
    return folder


@pytest.fixture(scope="session")
def weak_tests_of():
    """{test: …} of a chapter, as `shortcuts.weak_tests` finds it: once, for it takes seconds."""
    return functools.cache(lambda key: weak_tests(registry.chapter(key)))


@pytest.fixture(autouse=True)
def own_stubs(stubs, monkeypatch):
    monkeypatch.setattr(registry, "STUBS", stubs)
