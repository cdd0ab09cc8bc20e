"""The chapters: how the committed notebooks look, that they run, and a student's whole way."""

import ast
import base64
import copy
import functools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tinyqwen.course.registry import ROOT, chapters
from tinyqwen.course.submission import write_solution

NOTEBOOKS = sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.])/(root|work|tmp|home|Users|var|mnt)/[\w.-]+")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@functools.cache
def read(path):
    """A committed notebook, for all tests to look at and none to change."""
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def drawing_calls(source, names):
    """How many pictures a cell draws: calls into tinyqwen.viz.

    names: {name: what it stands for}, filled from the imports, and shared by a notebook's cells.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinyqwen"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full.startswith("tinyqwen.viz"):
                    names[alias.asname or alias.name] = full
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname and alias.name.startswith("tinyqwen.viz"):
                    names[alias.asname] = alias.name
    count, waiting = 0, [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            continue  # drawn by whoever calls it
        if isinstance(node, ast.Call):
            path, root = [], node.func
            while isinstance(root, ast.Attribute):
                path, root = [root.attr, *path], root.value
            if isinstance(root, ast.Name) and root.id in names:
                full = ".".join([names[root.id], *path])
                count += not full.startswith("tinyqwen.viz.style")
        waiting += ast.iter_child_nodes(node)
    return count


def pictures(cell):
    """The PNG outputs of a cell that are of a readable size."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {}).get("image/png")
        if data is not None:
            png = base64.b64decode(data)
            assert png.startswith(b"\x89PNG"), "an output says it is a PNG and is none"
            width, height = struct.unpack(">II", png[16:24])
            assert width >= 200 and height >= 80, f"a picture of {width} x {height} pixels"
            found.append(png)
    return found


def missing_figures(notebook):
    """The cells that draw more pictures than they show."""
    names, missing = {}, []
    for cell in code_cells(notebook):
        drawn, shown = drawing_calls(cell.source, names), len(pictures(cell))
        if shown < drawn:
            missing.append(f"{shown} of {drawn} figures of the cell\n{cell.source}")
    return missing


def texts(notebook):
    """All that a reader sees as text: sources and outputs, without the pictures."""
    for cell in notebook.cells:
        yield cell.source
        for output in cell.get("outputs", ()):
            yield output.get("text", "")
            yield "\n".join(output.get("traceback", ()))
            for kind, data in output.get("data", {}).items():
                if not kind.startswith("image/"):
                    text = data if isinstance(data, str) else json.dumps(data)
                    yield re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def kinds(notebook):
    """For each code cell, which kinds of outputs it has; knobs only where ipywidgets is there."""
    widget = {"application/vnd.jupyter.widget-view+json"}
    return [
        {kind for o in cell.outputs for kind in o.get("data", {o.output_type: None})} - widget
        for cell in code_cells(notebook)
    ]


# ---------------------------------------------------------------------------------------------
# As committed
# ---------------------------------------------------------------------------------------------


def test_each_number_has_one_notebook():
    """From 00 on without a gap, and one for every assignment."""
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers == [f"{n:02d}" for n in range(len(numbers))]
    assert {f"ch{number}" for number in numbers} >= set(chapters())


@each_notebook
def test_form(path):
    """One shape for all chapters, so that a reader knows where to look."""
    import nbformat

    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith(f"# {path.name[:2]} ")
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    sections = ["What to remember", "Questions", "Sources"]
    key = "ch" + path.name[:2]
    if key in chapters():
        sections = ["Your turn", "Your code at work", *sections]
        assert any(f'grade("{key}")' in cell.source for cell in code_cells(notebook))
    places = [re.search(rf"^##+ {title}", prose, re.MULTILINE) for title in sections]
    absent = [title for title, place in zip(sections, places) if place is None]
    assert not absent, f"no section {absent}"
    assert [p.start() for p in places] == sorted(p.start() for p in places)
    assert prose.count("<details>") == prose.count("</details>") >= 3, "three folded answers"


@each_notebook
def test_executed_in_order_from_a_clean_kernel(path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", output.get("evalue")
            assert output.get("name") != "stderr", output.get("text")


@each_notebook
def test_cells_fit_on_a_screen(path):
    for cell in code_cells(read(path)):
        lines = [l for l in cell.source.splitlines() if not l.startswith(("import ", "from "))]
        assert len(lines) <= 15, f"{len(lines)} lines\n{cell.source}"


@each_notebook
def test_formulas_are_closed(path):
    """Dollar signs come in pairs; no formula stands in a table, where line breaks tear it apart."""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.DOTALL)
            assert prose.count("$") % 2 == 0, cell.source
            torn = re.search(r"^\|.*\$.*$", prose, re.MULTILINE)
            assert torn is None, torn and torn.group()


@each_notebook
def test_shows_every_figure(path):
    notebook = read(path)
    assert missing_figures(notebook) == []
    assert any(pictures(cell) for cell in code_cells(notebook)), "a chapter without a picture"


@each_notebook
def test_figures_are_told_in_words(path):
    """Alt text, and a size in which twice the pixels are shown."""
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                told = output.metadata.get("image/png", {})
                assert len(told.get("alt", "")) > 20 and told.get("width"), cell.source
                assert "Returns" not in told["alt"], "what a function returns is no picture"


@each_notebook
def test_small_and_of_no_particular_machine(path):
    assert path.stat().st_size < 2_000_000
    for text in texts(read(path)):
        found = MACHINE_PATH.search(text)
        assert found is None, f"{found.group()} is a path of the machine that ran it"


def test_what_the_checks_would_catch():
    """A notebook that lacks its figure, by each way of naming the drawing code."""
    nbformat = pytest.importorskip("nbformat")
    imports = (
        "from tinyqwen import viz\nfrom tinyqwen.viz import map as m, style\n"
        "from tinyqwen.viz.training import loss_curve\nimport tinyqwen.viz.map as other"
    )
    names = {}
    assert drawing_calls(imports, names) == 0
    for call in ("viz.map.model_map()", "m.model_map()", "loss_curve([])", "x = other.model_map()"):
        assert drawing_calls(call, names) == 1, call
        cells = [nbformat.v4.new_code_cell(source) for source in (imports, call)]
        assert len(missing_figures(nbformat.v4.new_notebook(cells=cells))) == 1
    assert drawing_calls("for i in (1, 2):\n    display(m.model_map(viz.map.PARTS[i]))", names) == 1
    assert (
        drawing_calls("with style.style():\n    model.map()\ndef f():\n    m.model_map()", names)
        == 0
    )
    assert MACHINE_PATH.search("in /home/ada/x.py") and MACHINE_PATH.search("File /tmp/run.py")
    assert not MACHINE_PATH.search("runs/home/x, and/or, data/tmp/x, ./work/x")


# ---------------------------------------------------------------------------------------------
# Run anew
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each_notebook
def test_runs_from_a_clean_kernel(path, monkeypatch):
    """Every cell, without an error, with every figure, and outputs of the same kinds.

    Time is the processors': on a busy machine a notebook waits, and is no slower for it. BLAS has
    one core for that: two of its threads wait for each other in a loop, and where others work too
    that took fifteen times as long as the work itself.
    """
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    notebook = copy.deepcopy(read(path))
    limit = notebook.metadata.chapter.get("seconds", 60)  # more for a chapter that trains a model
    committed = kinds(notebook)
    client = nbclient.NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    began = os.times()
    client.execute()
    ended = os.times()
    user = ended.children_user - began.children_user
    seconds = (user + ended.children_system - began.children_system) / 2  # on two cores
    assert missing_figures(notebook) == []
    assert kinds(notebook) == committed, "the committed outputs are of another version"
    assert seconds < limit, f"{seconds:.0f} s on two cores; a reader waits at most {limit} s"


# ---------------------------------------------------------------------------------------------
# The way of a student
# ---------------------------------------------------------------------------------------------


def run(*arguments, cwd=ROOT):
    """`python …` in a process of its own; returns what it printed."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def graded(folder, report, *options):
    """Gradescope's tests of a submission."""
    run(
        *("-m", "pytest", "tests/assignments", "-q", "-p", "no:cacheprovider"),
        *("--submission", folder, "--gradescope", report, *options),
    )
    tests = json.loads(Path(report).read_text(encoding="utf-8"))["tests"]
    assert len(tests) >= 5 * len(chapters())
    return tests


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_way_of_a_student(tmp_path, stubs):
    """Copy the stubs, write every function, collect every point, train on one's own code."""
    folder = tmp_path / "mine"
    shutil.copytree(stubs, folder)
    assert all(test["score"] == 0 for test in graded(folder, tmp_path / "before.json"))

    write_solution(folder)
    for options in ([], ["--all-mine"]):
        tests = graded(folder, tmp_path / "after.json", *options)
        lost = [t["name"] + "\n" + t["output"] for t in tests if t["score"] < t["max_score"]]
        assert not lost, f"{options}: " + "\n".join(lost)

    sizes = ["--hidden-size", 48, "--num-hidden-layers", 2, "--num-attention-heads", 4]
    sizes += ["--num-key-value-heads", 2, "--intermediate-size", 80, "--vocab-size", 512]
    sizes += ["--batch-size", 4, "--seq-len", 32, "--steps", 6, "--eval-interval", 0]
    losses = {}
    for name, student in {"library": [], "student": ["--student", folder]}.items():
        out = tmp_path / name
        printed = run("-m", "tinyqwen.train", "--out", out, *sizes, *student)
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        losses[name] = [json.loads(line)["loss"] for line in lines]
    assert len(losses["student"]) == 6
    assert losses["student"] == pytest.approx(losses["library"], rel=1e-5)
    told = re.search(r"yours, wherever the run uses it: (.*)", printed).group(1).split(", ")
    assert set(told) == {name for chapter in chapters().values() for name in chapter.assigned}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_graders_find_every_mutant():
    """`python -m tinyqwen.grade --self-test`, in full."""
    assert re.search(
        r"^[1-9]\d+ mutants, 0 faults$", run("-m", "tinyqwen.grade", "--self-test"), re.M
    )
