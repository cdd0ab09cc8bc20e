"""A submission: the functions of one chapter as somebody wrote them.

`submission.silu` is a `StudentFunction`, or raises `ToDo` while there is only the stub. Where the
functions come from is the submission's secret: a file, the library (the reference solution), or
the library with one function replaced (a mutant). Graders cannot tell, and need not.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from tinyqwen.course.calls import StudentError, StudentFunction, TimeLimit, ToDo, enclosing_loop
from tinyqwen.course.registry import (
    Chapter,
    chapter,
    chapters,
    functions_in,
    is_stub,
    reference,
)


class Submission:
    """The functions of one chapter, as attributes.

    functions: {name: function or StudentFunction}; names that are missing are to do
    used:      the names a grader has asked for so far
    """

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
        function = self._functions[name]
        if isinstance(function, StudentFunction):
            return function
        code = getattr(function, "__code__", None)
        return StudentFunction(name, function, code and code.co_filename)

    def __repr__(self):
        return f"<{self._name}: {', '.join(self._functions) or 'nothing written'}>"


def solution(one: Chapter, **replaced) -> Submission:
    """The library as a submission; `replaced` functions take the place of its own."""
    functions = {name: reference(name) for name in one.assigned}
    return Submission(functions | replaced, "reference")


def submitted(chapter: Chapter, path, around=None) -> Submission:
    """What a student has handed in for a chapter.

    path:   a folder with files like the stubs', or the chapter's file itself
    around: None, or a function that returns a context manager, entered around every call

    A file that cannot be read (a syntax error, say) makes a submission whose every use raises
    StudentError; a missing file is all to do.
    """
    file = find_file(chapter, path)
    if file is None:
        return Submission({}, str(path))
    try:
        module = load_module(file)
    except StudentError as error:
        return Submission({}, str(file), error)
    source = file.read_text(encoding="utf-8")
    functions = {
        name: StudentFunction(name, getattr(module, name), str(file), around)
        for name, tree in functions_in(source).items()
        if name in chapter.assigned and not is_stub(tree)
    }
    return Submission(functions, str(file))


def find_file(chapter: Chapter, path) -> Path | None:
    """The chapter's file in a submission: of the stub's name, or the only one that begins so."""
    path = Path(path)
    if path.is_file():
        return path.resolve() if path.name.startswith(chapter.key) else None
    exact = path / chapter.file
    others = sorted(path.glob(f"{chapter.key}*.py"))
    return exact.resolve() if exact.is_file() else others[0].resolve() if others else None


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
        raise _unreadable(file, error) from None
    finally:
        sys.dont_write_bytecode = written
        del sys.modules[spec.name]
    return module


def _unreadable(file, error):
    if isinstance(error, SyntaxError):
        caret = " " * ((error.offset or 1) - 1) + "^"
        text = (error.text or "").rstrip("\n")
        return StudentError(
            f"{file.name} is not valid Python.\n  line {error.lineno}: {error.msg}\n"
            f"    {text}\n    {caret}"
        )
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f"{file.name}, line {line}" if line else file.name
    if isinstance(error, TimeLimit):
        loop = line and enclosing_loop(str(file), line)
        mistake = f"an infinite loop: {loop}" if loop else None
        return StudentError(f"{where}: the file did not finish loading", mistake)
    return StudentError(f"{where}: {type(error).__name__} while the file was read: {error}")


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
