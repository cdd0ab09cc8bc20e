"""A submission: the functions of one chapter as somebody wrote them.

`submission.silu` is a `StudentFunction`, or raises `ToDo` while there is only the stub. Where the
functions come from is the submission's secret: a file run here or in a worker, the library (the
reference solution), or the library with one function replaced (a mutant). Graders cannot tell, and
need not.
"""

import importlib
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from tinyqwen.course.calls import Here, StudentError, StudentFunction, ToDo, enclosing_loop
from tinyqwen.course.isolation import copies, wire
from tinyqwen.course.isolation.outside import Worker, read_source
from tinyqwen.course.registry import (
    Chapter,
    chapter,
    chapters,
    functions_in,
    imports_in,
    is_stub,
    reference,
)


class Submission:
    """The functions of one chapter, as attributes.

    functions: {name: function or StudentFunction}; names that are missing are to do
    used:      the names a grader has asked for so far
    grace:     seconds after the time limit in which somebody else stops the function
    fences, restarts: what stands around a worker, and how often it was lost
    """

    grace, fences, restarts = 0.0, {}, 0

    def __init__(self, functions, name="submission", broken=None):
        self._functions, self._name, self._broken = functions, name, broken
        self.used = set()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        self.used.add(name)
        if self._broken is not None:
            raise self._broken
        if name not in self._functions:
            raise ToDo(name)
        return self._function(name)

    def _function(self, name):
        function = self._functions[name]
        if isinstance(function, StudentFunction):
            return function
        code = getattr(function, "__code__", None)
        file = code and code.co_filename
        return StudentFunction(name, Here(function, file), file)

    def close(self):
        """Let go of what runs the functions."""

    def __repr__(self):
        return f"<{self._name}: {', '.join(self._functions) or 'nothing written'}>"


def solution(one: Chapter, **replaced) -> Submission:
    """The library as a submission; `replaced` functions take the place of its own."""
    functions = {name: reference(name) for name in one.assigned}
    return Submission(functions | replaced, "reference")


class Named:
    """A function in a worker, which makes known that it is being called."""

    def __init__(self, remote, name, submission):
        self._remote, self._name, self._submission = remote, name, submission

    def run(self, *request):
        self._submission.current = self._name
        return self._remote.run(*request)

    def run_many(self, *request):
        self._submission.current = self._name
        return self._remote.run_many(*request)

    def inner(self, function):
        return Named(function, self._name, self._submission)


class InWorker(Submission):
    """A student's file in a worker, which is started again when a test has lost it.

    current: the name of the student's function that is being called
    """

    grace = 2.5

    def __init__(self, chapter, file, names, **settings):
        super().__init__(dict.fromkeys(names), str(file))
        self._file, self._settings = file, settings
        self.current, self._worker = None, None
        if "library" not in settings:
            self._settings["library"] = lent(chapter, lambda: self.current)
        try:
            self._start()
        except StudentError as error:
            self._broken = error

    def _start(self):
        try:
            self._worker = Worker(self._file, self._functions, **self._settings)
        except wire.Raised as error:
            raise _unreadable(self._file, error.failure) from None
        self.fences = self._worker.fences

    def _function(self, name):
        if not self._worker.alive:
            self.restarts += 1
            self._start()
        if name not in self._worker.functions:
            raise ToDo(name)
        home = Named(self._worker.functions[name], name, self)
        return StudentFunction(name, home, str(self._file))

    def close(self):
        if self._worker is not None:
            self._worker.stop()


def submitted(chapter: Chapter, path, around=None, isolated=False, **settings) -> Submission:
    """What a student has handed in for a chapter.

    path:     a folder with files like the stubs', or the chapter's file itself
    around:   None, or a function that returns a context manager, entered around every call
    isolated: run the file in a worker, with these settings (see `Worker`)

    A file that cannot be read (a syntax error, say) makes a submission whose every use raises
    StudentError; a missing file is all to do.
    """
    file = find_file(chapter, path)
    if file is None:
        return Submission({}, str(path))
    try:
        trees = functions_in(read_source(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Submission({}, str(file), _unreadable(file, copies.failure_of(error, None)))
    names = [n for n, tree in trees.items() if n in chapter.assigned and not is_stub(tree)]
    if isolated:
        return InWorker(chapter, file, names, **settings)
    try:
        module = load_module(file)
    except StudentError as error:
        return Submission({}, str(file), error)
    functions = {
        n: StudentFunction(n, Here(getattr(module, n), str(file), around), str(file)) for n in names
    }
    return Submission(functions, str(file))


def lent(chapter: Chapter, current) -> dict:
    """{module: {name: function}}: what of the library the chapter's stubs import and name.

    `from tinyqwen.text.bpe import byte_ids` lends that function, `from tinyqwen.autograd import
    ops` every one that the stubs' text names as `ops.…`; `F.…` is always tinyqwen.functional's.
    They run in the grader's process, on values from the worker, so that their source is not there
    to be read.
    current: () -> the assigned function that is being graded, which is not lent while it is.
    """
    text = chapter.stub.read_text(encoding="utf-8")
    library = {}
    for full, name, alias in [*imports_in(text), ("tinyqwen.functional", None, "F")]:
        module = importlib.import_module(full)
        if name is None:
            found = set(re.findall(rf"\b{alias}\.(\w+)", text))
        else:
            found = {name}
        for name in found & vars(module).keys():
            library.setdefault(full, {})[name] = _lent(name, vars(module)[name], current)
    return library


def _lent(name, function, current):
    function = getattr(function, "raw", function)

    def call(*args, **kwargs):
        if current() == name:
            raise PermissionError(f"{name} is what you are asked to write here")
        return function(*args, **kwargs)

    return call


def find_file(chapter: Chapter, path) -> Path | None:
    """The chapter's file in a submission: of the stub's name, or the first that begins so.

    path: a folder, out of which no link leads, or a file, whose name may say of which chapter
    """
    path = Path(path)
    if not path.is_dir():
        named = re.search(r"ch\d\d", path.name)
        return path.resolve() if named is None or named[0] == chapter.key else None
    exact = path / chapter.file
    found = [exact] if exact.exists() else sorted(path.glob(f"{chapter.key}*.py"))
    inside = [f.resolve() for f in found if f.is_file()]
    return inside[0] if inside and inside[0].is_relative_to(path.resolve()) else None


def load_module(file):
    """Run a Python file as a module of its own, which no `import` can find.

    Raises StudentError, with the line, if that fails.
    """
    file = Path(file).resolve()
    spec = spec_from_file_location(f"submission_{file.stem}_{abs(hash(str(file))):x}", file)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up while they are made
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _unreadable(file, copies.failure_of(error, str(file))) from None
    finally:
        sys.dont_write_bytecode = written
        del sys.modules[spec.name]
    return module


def _unreadable(file, failure):
    """The StudentError for a file that does not load.  failure: as `copies.failure_of` tells it."""
    kind, message, frames = failure["kind"], failure["message"], failure.get("frames")
    if failure.get("syntax"):
        line, why, text, offset = failure["syntax"]
        caret = " " * ((offset or 1) - 1) + "^"
        return StudentError(
            f"{file.name} is not valid Python.\n  line {line}: {why}\n"
            f"    {(text or '').rstrip(chr(10))}\n    {caret}"
        )
    where = f"{file.name}, line {frames[-1][0]}" if frames else file.name
    if kind == "TimeLimit":
        loop = frames and enclosing_loop(str(file), frames[-1][0])
        mistake = f"an infinite loop: {loop}" if loop else None
        return StudentError(f"{where}: the file did not finish loading", mistake)
    if kind == "Lost":
        return StudentError(f"{file.name} could not be loaded: {message}")
    return StudentError(f"{where}: {kind} while the file was read: {message}")


def write_solution(folder, *keys) -> Path:
    """Write files like a student's, in which every assigned function is the library's own.

    keys: chapters; all unless given. Returns the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for one in chapters().values() if not keys else map(chapter, keys):
        lines = ["from tinyqwen.course import reference", ""]
        for name in one.assigned:
            lines += [
                f'_{name} = reference("{name}")',
                "",
                f"def {name}(*args, **options):",
                f"    return _{name}(*args, **options)",
                "",
            ]
        (folder / one.file).write_text("\n".join(lines), encoding="utf-8")
    return folder
