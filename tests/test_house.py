"""The house: which wing uses which, no circle, and files that are read in one sitting."""

import ast
import functools
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tinyqwen"
FILES = sorted(PACKAGE.rglob("*.py"))

# Lowest first; a wing uses those before it, and those of its own line where it says so.
WINGS = """
    autograd
    functional
    nn optim
    storage
    text parallel
    models
    generation tuning analysis
    benchmark
    viz
    training
    course
    cli
    train generate inspect compress bench grade
"""
LEVEL = {wing: i for i, line in enumerate(WINGS.split("\n")) for wing in line.split()}
MOST = 400  # lines of a file


def wing_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def imports(path):
    """(line, module) for all that a file imports of tinyqwen."""
    return list(_imports(path))


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "tinyqwen":
            yield from ((node.lineno, f"tinyqwen.{one.name}") for one in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinyqwen."):
            for one in node.names:
                whole = f"{node.module}.{one.name}"
                yield node.lineno, whole if _file(whole) else node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names if "tinyqwen" in one.name)


def _file(module):
    """The file of a module's full name, or None."""
    path = ROOT.joinpath(*module.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.exists()), None)


def test_every_wing_has_its_level():
    assert {wing_of(path) for path in FILES} - {"__init__"} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down(path):
    own = wing_of(path)
    if own == "__init__":
        return
    for line, module in imports(path):
        other = module.split(".")[1]
        assert other == own or LEVEL[other] < LEVEL[own] or {own, other} == {"optim", "nn"}, (
            f"{path.relative_to(ROOT)}:{line}: {own} may not use {other}"
        )


def test_there_is_no_circle():
    graph = {path: {_file(module) for _, module in imports(path)} - {None} for path in FILES}
    done = set()

    def visit(path, above):
        assert path not in above, " -> ".join(str(p.relative_to(ROOT)) for p in [*above, path])
        if path not in done:
            for other in graph.get(path, ()):
                visit(other, [*above, path])
            done.add(path)

    for path in FILES:
        visit(path, [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST


# Data on families, and chapters about them; names of other libraries, and of a way to scale RoPE.
ON_FAMILIES = (
    *("analysis/decoders.py", "analysis/released_configs.py", "benchmark/sizes.py"),
    *("course/faulty_models.py", "training/studies.py"),
)
NO_FAMILIES = ("BertNormalizer", "BertPreTokenizer", "llama3_scale")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_code_names_a_family(path):
    """But in models/: what is called after a family is about that family."""
    place = path.relative_to(PACKAGE).as_posix()
    if place.startswith("models/") or place in ("__init__.py", *ON_FAMILIES):
        return
    family = re.compile(r"qwen\d|llama|gpt_?2|bert|marian", re.IGNORECASE)
    if not family.search(path.read_text(encoding="utf-8")):
        return
    with open(path, "rb") as file:
        names = {t.string for t in tokenize.tokenize(file.readline) if t.type == tokenize.NAME}
    found = {name for name in names if family.search(name)}
    assert found <= {*NO_FAMILIES}, f"{place}: {found}"


def test_prose_names_files_that_exist():
    """Paths like `tinyqwen/nn.py` and modules like `tinyqwen.nn`, wherever they are written."""
    places = [*FILES, *ROOT.glob("*.md"), *(ROOT / "data").glob("*.md")]
    places += [*(ROOT / "chapters").rglob("*.ipynb"), *(ROOT / "chapters").rglob("*.py")]
    for place in places:
        text = place.read_text(encoding="utf-8")
        for name in set(re.findall(r"tinyqwen/[\w/]+\.py", text)):
            assert (ROOT / name).exists(), f"{place.relative_to(ROOT)}: {name}"


def test_every_test_file_has_a_name_of_its_own():
    """pytest imports them by name: of two of one name, the second stops the whole run."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_nothing_else_stands_at_the_door():
    """What a program leaves in the repository's folder is not to be committed with the rest."""
    command = ["git", "-C", str(ROOT), "ls-files"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a clone")
    entries = {file.split("/")[0] for file in listed.splitlines() if not file.startswith(".")}
    assert entries <= {
        *("tinyqwen", "chapters", "tests", "data"),
        *("README.md", "LICENSE", "setup.cfg", "pyproject.toml"),
    }
