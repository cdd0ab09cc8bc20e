"""A submission: the functions of one chapter as somebody wrote them.

`submission.silu` is a `StudentFunction`, or raises `ToDo` while there is only the stub. Where the
functions come from is the submission's secret: a file run here or in a worker, the library (the
reference solution), or the library with one function replaced (a mutant). Graders cannot tell, and
need not.
"""

import builtins
import importlib
import re
import sys
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from tinyqwen.course import clock
from tinyqwen.course.calls import Here, StudentError, StudentFunction, ToDo, enclosing_loop
from tinyqwen.course.isolation import copies, received, wire
from tinyqwen.course.isolation.outside import LOADING, Worker, read_source
from tinyqwen.course.registry import (
    Chapter,
    chapter,
    chapter_named,
    chapters,
    imports_in,
    is_stub,
    names_in,
    reference,
)

MOST_LATE = 2  # tests that a function may keep waiting; to wait in the others as well helps nobody


class Submission:
    """The functions of one chapter, as attributes.

    functions: {name: function or StudentFunction}; names that are missing are to do. What is asked
               for twice is the same object, so that `submission.f.edited` is what f's last call did
    used:      the names a grader has asked for so far
    grace:     seconds after the time limit in which somebody else stops the function
    fences, restarts: what stands around a worker, and how often it was lost
    loaded:    False if a worker could not load the file, which may be the machine's doing
    """

    grace, fences, restarts, loaded = 0.0, {}, 0, True

    def __init__(self, functions, name="submission", broken=None):
        self._functions, self._name, self._broken = functions, name, broken
        self.used, self._late, self._told = set(), Counter(), False

    def was_late(self, name):
        """Keep in mind that a function has run into the time limit of a test."""
        self._late[name] += 1

    def told_once(self, message):
        """What is wrong with the file as a whole, the first time, and a word after that."""
        first, self._told = not self._told, True
        return message if first else "not run: the file does not load, as told above"

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        self.used.add(name)
        if self._broken is not None:
            raise self._broken
        if name not in self._functions:
            raise ToDo(name)
        if self._late[name] >= MOST_LATE:
            raise StudentError(
                f"not run: {name} has run into the time limit of {MOST_LATE} tests before this one"
            )
        return self._function(name)

    def _function(self, name):
        function = self._functions[name]
        if isinstance(function, StudentFunction):
            return function
        code = getattr(function, "__code__", None)
        file = code and code.co_filename
        self._functions[name] = StudentFunction(name, Here(function, file), file)
        return self._functions[name]

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

    def pages(self, *request):
        self._submission.current = self._name
        return self._remote.pages(*request)

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
        self.current, self._worker, self._made = None, None, {}
        if "library" not in settings:
            self._settings["library"] = lent(chapter, lambda: self.current)
        self._start()

    def _start(self):
        self._made, failure = {}, None
        try:
            with clock.time_limit(2 * LOADING, self.grace):  # what is lent may be called meanwhile
                self._worker = Worker(self._file, self._functions, **self._settings)
            self.fences = self._worker.fences
        except wire.Raised as error:
            failure = error.failure
        except clock.TimeLimit:
            failure = {"kind": "TimeLimit"}
        if failure is not None:
            self.loaded = failure["kind"] not in ("Lost", "TimeLimit")
            self._broken = _unreadable(self._file, failure)

    def _function(self, name):
        if not self._worker.alive:
            self.restarts += 1
            self._start()
            if self._broken is not None:
                raise self._broken
        if name not in self._worker.functions:
            raise ToDo(name)
        if name not in self._made:
            home = Named(self._worker.functions[name], name, self)
            self._made[name] = StudentFunction(name, home, str(self._file))
        return self._made[name]

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
        trees = names_in(read_source(file))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Submission({}, str(file), _unreadable(file, copies.failure_of(error, None)))
    names = [n for n in chapter.assigned if n in trees and not is_stub(trees[n])]
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
    """The chapter's file in a submission: of the stub's name, or the first that names the chapter.

    path: a folder, out of which no link leads, or a file, whose name may say of which chapter.
    "CH04_eve.py", "ch04_swiglu (1).py" and "zach03_ch04.py" name chapter 04. Raises
    FileNotFoundError where there is neither.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder of assignments")
    if not path.is_dir():
        return path.resolve() if chapter_named(path.name) in (None, chapter.key) else None
    exact = path / chapter.file
    files = [exact] if exact.exists() else sorted(path.iterdir())
    files = [f for f in files if f.suffix.lower() == ".py"]
    found = [f for f in files if chapter_named(f.name) == chapter.key]
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


class Unreadable(StudentError):
    """A file that does not load, which is told once and not for every test."""


def _unreadable(file, failure):
    """The Unreadable for a file that does not load.  failure: as `copies.failure_of` tells it.

    In its first line are no words of the student's: the teacher reads it.
    """
    failure, name = received.failure(failure), received.name(file.name)
    kind, message, frames = failure["kind"], failure["message"], failure["frames"]
    if failure.get("syntax"):
        line, why, text, offset = failure["syntax"]
        caret = " " * ((offset or 1) - 1) + "^"
        return Unreadable(
            f"{name} is not valid Python.\n  line {line}: {why}\n    {text}\n    {caret}"
        )
    where = f"{name}, line {frames[-1][0]}" if frames else name
    if kind == "TimeLimit":
        loop = frames and enclosing_loop(str(file), frames[-1][0])
        mistake = f"an infinite loop: {loop}" if loop else None
        return Unreadable(f"{where}: the file did not finish loading", mistake)
    if kind == "Lost":
        return Unreadable(f"{name} could not be loaded:\n  {message}")
    known = kind if hasattr(builtins, kind) else "an exception of its own"
    words = received.quoted(message if known is kind else f"{kind}: {message}")
    return Unreadable(f"{where}: {known} while the file was read:\n  {words}")


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
