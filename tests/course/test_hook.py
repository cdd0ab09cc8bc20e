"""The hook inside Python, asked as the interpreter asks it."""

import os
import subprocess
import sys

import pytest

from tinyqwen.course.isolation import hook
from tinyqwen.course.isolation.outside import Worker, available

LIBRARIES = "/python/lib"
ALLOWED = [
    ("open", (f"{LIBRARIES}/math.so", "r", os.O_RDONLY)),
    ("open", (os.fsencode(f"{LIBRARIES}/a.py"), "r", os.O_RDONLY)),
    ("open", ("relative", "r", os.O_RDONLY)),
    ("open", (3, "w", os.O_RDONLY)),
    ("os.listdir", (None,)),
    ("import", ("numpy.fft", None, [], [], [])),
    ("import", ("_json", f"{LIBRARIES}/_json.so", None, None, None)),
    ("object.__setattr__", (print, "__doc__", "text")),
    ("time.sleep", (1,)),
]
REFUSED = [
    ("open", (f"{LIBRARIES}/math.so", "w", os.O_RDWR)),
    ("open", ("/etc/passwd", "r", os.O_RDONLY)),
    ("open", (f"{LIBRARIES}/../../etc/passwd", "r", os.O_RDONLY)),
    ("open", (f"{LIBRARIES}s/x", "r", os.O_RDONLY)),
    ("open", (b"/etc/passwd", "r", os.O_RDONLY)),
    ("os.listdir", ("/",)),
    ("import", ("posix", None, [], [], [])),
    ("import", ("a._posixsubprocess", f"{LIBRARIES}/_posixsubprocess.so", None, None, None)),
    ("import", ("anything", "/home/eve/anything.so", None, None, None)),
    ("import", ("anything", "anything.so", None, None, None)),
    ("import", ("anything", f"{LIBRARIES}/../anything.so", None, None, None)),
    ("object.__setattr__", (print, "__code__", None)),
    ("os.fork", ()),
    ("os.killpg", (1, 9)),
    ("socket.__new__", ()),
    ("ctypes.dlopen", (None,)),
    ("gc.get_objects", (0,)),
    ("marshal.loads", (b"",)),
    ("os.getxattr", ("/etc/passwd", "user.a")),
]


@pytest.mark.parametrize("event, arguments", ALLOWED)
def test_what_a_function_on_arrays_needs_is_let_pass(event, arguments):
    assert hook._hook((LIBRARIES,))(event, arguments) is None


@pytest.mark.parametrize("event, arguments", REFUSED)
def test_what_is_refused(event, arguments):
    with pytest.raises(PermissionError):
        hook._hook((LIBRARIES,))(event, arguments)


READS = """
import importlib.util, sys

spec = importlib.util.spec_from_file_location("hook", sys.argv[1])
hook = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hook)
hook.audit([sys.argv[2]])
for path in sys.argv[3:]:
    try:
        print(open(path).read())
    except PermissionError:
        print("refused")
"""


@pytest.mark.skipif(not available(), reason="no worker processes on this platform")
def test_a_folder_may_be_read_by_its_own_name_and_by_a_links(tmp_path):
    """Python names its files by either, and a virtual environment is made of links."""
    for name in ("real", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    paths = [tmp_path / name / "a" for name in ("real", "link", "other")]
    command = [sys.executable, "-I", "-c", READS, hook.__file__]
    done = subprocess.run(
        [*command, tmp_path / "link", *paths], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["real", "real", "refused"]


def test_there_is_no_cell_to_empty():
    assert hook._hook((LIBRARIES,)).__closure__ is None


MADE = """
import _imp, marshal, os, sys, time

def made(kind):
    code = marshal.dumps(compile("1", "made", "exec"))
    if kind == "marshal":
        return exec(marshal.loads(code))
    if kind == "frozen":
        return exec(_imp.get_frozen_object("made", code))
    if kind == "modules":  # they are compiled anew, the frozen ones too
        import doctest, runpy, ntpath
        return len(doctest.__name__ + runpy.__name__ + ntpath.__name__)
    return [name for name in ("chroot", "setuid", "nice") if hasattr(os, name)] + [
        name for name in ("clock_settime", "clock_settime_ns") if hasattr(time, name)
    ]
"""


@pytest.mark.skipif(not available(), reason="no worker processes on this platform")
def test_code_is_made_by_the_compiler_alone(tmp_path):
    """For what is made by hand can write into the memory that the hook is in."""
    path = tmp_path / "made.py"
    path.write_text(MADE)
    with Worker(path, ["made"], fences="python") as worker:
        made = worker.functions["made"].run
        for kind in ("marshal", "frozen"):
            with pytest.raises(Exception, match=r"PermissionError|ImportError"):
                made((kind,), {}, 5)
        assert made(("modules",), {}, 5)[0] == 18
        assert made(("names",), {}, 5)[0] == []
