"""Where things stand: the chapters, their files, and the library's own version of what is assigned.

Nothing is listed here. A chapter is its graders' file, `tests/assignments/test_chNN_topic.py`. It
says at its top, in plain literals that are read without running it,

    TITLE = "Linear layers and SwiGLU"
    ASSIGNED = {"linear": "functional.linear", "silu": "autograd.ops"}  # name: its module
    STRETCH = ("maximum",)        # those of them that are asked without hints, for honor

and beside which stand the stubs, `chapters/assignments/chNN_topic.py`, and the mutants,
`tests/assignments/mutants/chNN_topic.py`.
"""

import ast
import importlib.util
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / "chapters" / "assignments"
GRADERS = ROOT / "tests" / "assignments"


@dataclass(frozen=True)
class Chapter:
    """One chapter's assignment.

    key: "ch04"; file: "ch04_swiglu.py"; title; assigned: {function's name: module of the library};
    stretch: names of those that are asked for honor: 0 points, no hints, not part of the capstone
    """

    key: str
    file: str
    title: str
    assigned: dict
    stretch: tuple = ()

    required = property(lambda self: [n for n in self.assigned if n not in self.stretch])
    number = property(lambda self: int(self.key[2:]))
    stub = property(lambda self: STUBS / self.file)
    graders = property(lambda self: GRADERS / f"test_{self.file}")
    mutants = property(lambda self: GRADERS / "mutants" / self.file)


@cache
def chapters() -> dict[str, Chapter]:
    """All chapters that have an assignment, {"ch04": Chapter, …}, in order.

    Raises ValueError where there are none, as beside an installed package.
    """
    found = {}
    for path in sorted(GRADERS.glob("test_ch[0-9][0-9]_*.py")):
        file = path.name.removeprefix("test_")
        literals = _literals(path)
        if missing := {"TITLE", "ASSIGNED"} - literals.keys():
            told = " and ".join(sorted(missing))
            raise ValueError(f"{path}: {told} must be set to a literal at the top")
        found[file[:4]] = Chapter(
            file[:4], file, literals["TITLE"], literals["ASSIGNED"], literals.get("STRETCH", ())
        )
    if not found:
        raise ValueError(
            f"{GRADERS} is missing: run this from the repository, not where it is installed"
        )
    return found


def _literals(path):
    """What a file of graders says of its chapter."""
    values = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        name = getattr(node.targets[0], "id", None) if isinstance(node, ast.Assign) else None
        if name in ("TITLE", "ASSIGNED", "STRETCH"):
            values[name] = ast.literal_eval(node.value)
    return values


def chapter(key) -> Chapter:
    """The chapter of a key: "ch05", "05" or 5.  Raises ValueError for one that is not there."""
    digits = str(key).removeprefix("ch")
    full = f"ch{int(digits):02d}" if digits.isdecimal() else str(key)
    if full not in chapters():
        raise ValueError(f"no assignment {key!r}; there are {', '.join(chapters())}")
    return chapters()[full]


NAMED = re.compile(r"(?<![^\W\d_])ch(?:apter)?[ _.-]?(\d{1,2})(?!\d)", re.IGNORECASE)


def chapter_named(filename) -> str | None:
    """The key of the one chapter that a file's name names, or None: "ch04" for "zach03_CH4.py"."""
    keys = {f"ch{int(number):02d}" for number in NAMED.findall(filename)} & chapters().keys()
    return keys.pop() if len(keys) == 1 else None


def library(name: str):
    """What the library calls `name`: a primitive or a plain function.

    Raises ValueError if no chapter assigns it, or the library does not have it.
    """
    return getattr(_home(name), name)


@cache
def _home(name):
    """The module of the library that has the function `name`."""
    for known in chapters().values():
        if name in known.assigned:
            module = importlib.import_module(f"tinyqwen.{known.assigned[name]}")
            if not callable(getattr(module, name, None)):
                raise ValueError(f"{known.graders.name}: {module.__name__} has no function {name}")
            return module
    raise ValueError(f"no chapter assigns a function {name!r}")


def reference(name: str):
    """The NumPy function that solves the assignment `name`: the library's own."""
    found = library(name)
    return getattr(found, "raw", found)


# ---------------------------------------------------------------------------------------------
# Reading a student's file without running it
# ---------------------------------------------------------------------------------------------


def functions_in(source: str | bytes) -> dict[str, ast.FunctionDef]:
    """{name: syntax tree} of the functions that a file defines at its top level."""
    return {n.name: n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)}


def names_in(source: str | bytes) -> dict[str, ast.stmt]:
    """{name: statement} of what a file defines at its top level, functions or not.

    `silu = lambda x: …`, `silu = partial(…)` and `from mine import silu` define silu as well.
    """
    found = {}
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                found[node.name] = node
            case ast.Assign() | ast.AnnAssign() if node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = (n for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
                found |= {name.id: node for name in names}
            case ast.Import() | ast.ImportFrom():
                found |= {one.asname or one.name: node for one in node.names}
    return found


def imports_in(source: str) -> list[tuple]:
    """(module, name, alias) of what a file imports from tinyqwen.  name: None for whole modules."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tinyqwen":
            for one in node.names:
                full, alias = f"{node.module}.{one.name}", one.asname or one.name
                whole = importlib.util.find_spec(full) if _is_package(node.module) else None
                found.append((full, None, alias) if whole else (node.module, one.name, alias))
    return found


DRAWING = ("matplotlib", "IPython")  # a worker lets them be imported, and does not have them


def absent_in_class(source: str | bytes, stub: str) -> list[str]:
    """Modules that a file imports and the worker of a class does not have.

    It has Python's own, NumPy, and what the stub imports.
    """
    there = {"numpy", *sys.stdlib_module_names, *DRAWING}
    known = _modules_in(stub)
    found = {name if name.startswith("tinyqwen") else name.partition(".")[0]
             for name in _modules_in(source) - known}  # fmt: skip
    return sorted(name for name in found if name.partition(".")[0] not in there)


def _modules_in(source):
    nodes = list(ast.walk(ast.parse(source)))
    modules = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
    return modules | {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}


def _is_package(module):
    return importlib.util.find_spec(module).submodule_search_locations is not None


def is_stub(function: ast.stmt) -> bool:
    """True for a function that is nothing but a docstring and `raise NotImplementedError`."""
    if not isinstance(function, ast.FunctionDef):
        return False
    body = function.body[ast.get_docstring(function) is not None :]
    return len(body) == 1 and _raises_not_implemented(body[0])


def is_written(function: ast.FunctionDef) -> bool:
    """False while a `raise NotImplementedError` stands anywhere in the function."""
    return not any(_raises_not_implemented(node) for node in ast.walk(function))


def _raises_not_implemented(node):
    if not isinstance(node, ast.Raise):
        return False
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
