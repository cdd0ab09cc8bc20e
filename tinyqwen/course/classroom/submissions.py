"""What a class has handed in: every entry of a folder is a student's, graded, or said why not.

A student hands in a folder, a zip, Python files or notebooks, of one chapter or of many, under
whatever names. What of it is graded is copied under the stubs' names into a folder of its own:
grading meets no link, no pipe, no name that does not fit, and no file that is larger than a
person's.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tinyqwen.course.clock import TimeLimit, time_limit
from tinyqwen.course.isolation import received
from tinyqwen.course.isolation.outside import MAX_SOURCE
from tinyqwen.course.registry import NAMED, chapter_named, chapters, names_in
from tinyqwen.storage.files import make_folder

MAX_FILES, MAX_NOTEBOOK, MAX_ZIP = 2000, 16 << 20, 64 << 20  # files; bytes
MAX_CODE = 1 << 20  # characters of a student's that are parsed here: no time limit ends the parser
MAX_SECONDS, MAX_NOTES = 20, 10
KINDS = (".py", ".ipynb")


@dataclass
class Student:
    """A submission, and what came of it.

    name: as it was handed in;  slug: the same for files;  path: the folder with the copies
    contents, seeds: {chapter: digest of what is graded}, {chapter: seed of its inputs}
    results: {chapter: [Result]};  points: earned and possible, as they count
    fences: {fence: what it does} of the platform
    notes: what was not gradable;  trouble: what else a teacher should look at, both in words
    unloaded: chapters whose file did not load in a worker, which may be the machine's doing
    """

    name: str
    slug: str
    path: Path
    contents: dict = field(default_factory=dict)
    seeds: dict = field(default_factory=dict)
    results: dict = field(default_factory=dict)
    fences: dict = field(default_factory=dict)
    points: tuple = (0, 0)
    notes: list = field(default_factory=list)
    trouble: list = field(default_factory=list)
    unloaded: set = field(default_factory=set)

    @property
    def all_results(self):
        return [result for key in sorted(self.results) for result in self.results[key]]

    @property
    def seconds(self):
        return sum(result.seconds for result in self.all_results)


def collect(folder, keys, into) -> list[Student]:
    """The students of a folder; the files of the chapters `keys` are copied to `into`/slug/.

    Raises FileNotFoundError if there is no such folder, ValueError if nothing is in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of submissions")
    handed_in = {}  # (name, the folder or zip, or ""): [entries]
    for path in sorted(folder.iterdir()):
        if not _hidden(path.name):
            whole = path.is_dir() or path.suffix.lower() == ".zip"  # to which nobody adds a file
            key = student_of(path), path.name if whole else ""
            handed_in.setdefault(key, []).append(path)
    if not handed_in:
        raise ValueError(f"{folder}: nothing in it, so no submission")
    students, names, slugs = [], set(), {"index", "class"}
    # Whose name can be printed has it first: another one that would look the same gets a number.
    in_order = sorted(handed_in.items(), key=lambda pair: received.name(pair[0][0]) != pair[0][0])
    for (raw, _), paths in in_order:
        name = _unlike(names, received.name(raw))
        slug = _unlike(slugs, re.sub(r"[^\w.-]", "_", name)[:40], str.lower)
        student = Student(name, slug, Path(into) / slug)
        try:
            with time_limit(MAX_SECONDS):
                _take(student, paths, keys)
        except TimeLimit:
            student.notes.append(f"not gradable, because it takes {MAX_SECONDS} s to look through")
        except Exception as error:  # one student's trouble is never the class's
            student.notes.append(_because(paths[0].name, error))
        if more := student.notes[MAX_NOTES:]:
            student.notes[MAX_NOTES:] = [f"and {len(more)} more notes"]
        students.append(student)
    return students


def student_of(path) -> str:
    """Whose an entry is: `ada` for ada/, ada.zip, ada_ch04.py and ch04_swiglu_ada.ipynb."""
    if path.is_dir() or path.is_symlink():
        return path.name
    if path.suffix.lower() not in (*KINDS, ".zip"):
        return path.name
    topics = "|".join(one.file[5:-3] for one in chapters().values())
    rest = path.stem
    if chapter_named(path.name):
        rest = NAMED.sub("", rest)
        rest = re.sub(rf"^[ _.-]*({topics})(?![^\W\d_])", "", rest, flags=re.IGNORECASE)
    rest = rest.strip(" _.-")
    return rest if re.search(r"[^\W\d_]", rest) else path.stem


def chapter_of(name, source) -> str | None:
    """The chapter that a file is of: by its name, or else by the functions in it."""
    if key := chapter_named(name):
        return key
    try:
        written = names_in(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = {key: len(one.assigned.keys() & written) for key, one in chapters().items()}
    most = max(found.values())
    best = [key for key, count in found.items() if count == most]
    return best[0] if most and len(best) == 1 else None


def cells_of(notebook) -> list[str]:
    """The texts of a notebook's code cells."""
    cells = json.loads(notebook)["cells"]
    if len(cells) > MAX_FILES:
        raise ValueError(f"there are more than {MAX_FILES} cells in it")
    return ["".join(c["source"]) for c in cells if c.get("cell_type") == "code"]


def functions_of(cells, names) -> bytes:
    """Of a notebook's cells what defines `names`, with what it needs, at the lines where it was.

    Cells that are no Python (magics, say) are left out; so is whatever runs, plots and grades.
    """
    lines, makers = [], {}  # {name: statements that define it}
    for text in cells:
        try:
            tree = ast.parse(text)
        except SyntaxError:
            if re.search(rf"^def ({'|'.join(names)})\b", text, re.MULTILINE):
                raise  # it is what is to be graded that is broken
            continue
        for node in tree.body:
            ast.increment_lineno(node, len(lines))
            for name in _defined(node):
                makers.setdefault(name, []).append(node)
        lines += text.splitlines() + [""]
    wanted, kept = list(names), {}
    while wanted:  # every name once: a notebook may be long, and whoever wrote it hostile
        for node in makers.pop(wanted.pop(), ()):
            if node not in kept:
                kept[node] = None
                wanted += {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & makers.keys()
    shown = set()
    for node in kept:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        shown |= set(range(first, node.end_lineno + 1))
    return "\n".join(line if i in shown else "" for i, line in enumerate(lines, 1)).encode()


def _defined(node):
    """The names that a statement of a notebook defines."""
    match node:
        case ast.FunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.Import() | ast.ImportFrom():
            return {(one.asname or one.name).split(".")[0] for one in node.names}
        case ast.Assign() | ast.AnnAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return set()


# ---------------------------------------------------------------------------------------------
# Finding and copying
# ---------------------------------------------------------------------------------------------


def _take(student, paths, keys):
    """Copy what is graded of a student's entries, and note what is not gradable, and why."""
    shutil.rmtree(student.path, ignore_errors=True)
    make_folder(student.path)
    found, strangers, size, parsed = {}, [], 0, 0
    files = ((path, *file) for path in paths for file in _files(path, student.notes))
    for path, name, depth, read in files:
        if size > MAX_ZIP:
            student.notes.append("more than 64 MB are handed in: the rest is not read")
            break
        try:
            source = read()
            size += len(source)
            key = chapter_named(name)
            cells = cells_of(source) if name.lower().endswith(".ipynb") else None
            if cells is not None or key is None:
                parsed += len(source) if cells is None else sum(map(len, cells))
                if parsed > MAX_CODE:
                    raise ValueError("there is too much code in all to look through")
            if cells is None:
                key = chapter_of(name, source)
            if key is None and len(keys) == 1 and path.is_file():
                (key,) = keys
            if cells is not None and key:
                source = functions_of(cells, list(chapters()[key].assigned))
            if len(source) > MAX_SOURCE:
                raise ValueError("the file is larger than 1 MB")
        except Exception as error:
            student.notes.append(_because(name, error))
            continue
        if key is None:
            strangers.append(name)
        else:
            rank = (name.lower() != chapters()[key].file, name[-3:].lower() != ".py", depth)
            found.setdefault(key, []).append((*rank, len(name), name, source))
    for key, candidates in found.items():
        (*_, name, source), *others = sorted(candidates)
        if key in keys:
            (student.path / chapters()[key].file).write_bytes(source)
            student.contents[key] = hashlib.sha256(source).hexdigest()
            student.notes += [
                f"{_short(other[-2])}: not graded, for {_short(name)} is there" for other in others
            ]
    if strangers and not found:
        which = ", ".join(map(_short, strangers[:3]))
        student.notes.append(
            f"{which}: not gradable, because it says of no chapter; put the number into the name, "
            "as in ada_ch04.py"
        )


def _files(path, notes, depth=0):
    """(name, depth, function that reads it) for every Python file and notebook of an entry."""
    kind = path.suffix.lower()
    if path.is_symlink():
        raise ValueError("it is a symbolic link")
    if path.is_dir():
        seen = 0
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(f for f in folders if not _hidden(f))
            deep = len(Path(folder).relative_to(path).parts)
            seen += 1 + len(files)
            if seen > MAX_FILES:
                raise ValueError(f"there are more than {MAX_FILES} files in it")
            for name in sorted(files):
                file = Path(folder, name)
                if _hidden(name) or file.suffix.lower() not in (*KINDS, ".zip"):
                    continue
                try:
                    yield from ((n, deep + d, r) for n, d, r in _files(file, notes))
                except Exception as error:
                    notes.append(_because(name, error))
    elif kind == ".zip":
        yield from _unpacked(path, notes)
    elif kind in KINDS:
        yield path.name, depth, lambda: _read(path, _most(path.name))
    else:
        raise ValueError("it is neither a folder, a zip, a Python file nor a notebook")


def _unpacked(path, notes):
    """The same of a zip, none of whose names becomes a path."""
    if _read(path, MAX_ZIP).count(b"PK\1\2") > MAX_FILES:  # before Python makes objects of them
        raise ValueError(f"there are more than {MAX_FILES} files in it")
    left = MAX_ZIP
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = member.filename.replace("\\", "/")
            parts = PurePosixPath(name).parts
            if name.endswith("/") or any(map(_hidden, parts)):
                continue
            if not parts:
                notes.append(f"{_short(path.name)}: a file in it has no name and is not read")
            elif parts[-1].lower().endswith(".zip"):
                notes.append(_because(parts[-1], "it is a zip inside a zip; unpack it first"))
            elif parts[-1].lower().endswith(KINDS):
                content = _member(archive, member)
                left -= len(content)
                if left < 0:
                    raise ValueError("what is in it is larger than 64 MB")
                yield parts[-1], len(parts) - 1, lambda content=content: content


def _member(archive, member):
    if member.flag_bits & 1:
        raise ValueError("the zip is encrypted")
    most = _most(member.filename)
    with archive.open(member) as file:
        return _bounded(file.read(most + 1), most)


def _read(path, most):
    """A regular file of at most `most` bytes, that no link leads to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        return _bounded(file.read(most + 1), most)


def _bounded(content, most):
    if len(content) > most:
        raise ValueError(f"the file is larger than {most >> 20} MB")
    return content


def _most(name):
    return MAX_NOTEBOOK if name.lower().endswith(".ipynb") else MAX_SOURCE


def _because(name, error):
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, SyntaxError):  # Python's own words quote the code
        line = received.number(error.lineno)
        why = f"line {line} is not valid Python" if line else "it is not valid Python"
    return f"{_short(name)}: not gradable, because {received.line(why) or 'of its form'}"


def _short(name):
    return received.line(name, received.MAX_NAME)


def _hidden(name):
    """What systems leave in folders, and is nobody's."""
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")


def _unlike(taken, base, key=str):
    """`base`, with a number if it is taken.  key: str.lower where case does not count"""
    name, count = base, 1
    while key(name) in taken:
        count += 1
        name = f"{base}-{count}"
    taken.add(key(name))
    return name
