"""The hook inside Python, asked as the interpreter asks it."""

import os

import pytest

from tinyqwen.course.isolation import hook

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
]


@pytest.mark.parametrize("event, arguments", ALLOWED)
def test_what_a_function_on_arrays_needs_is_let_pass(event, arguments):
    assert hook._hook((LIBRARIES,))(event, arguments) is None


@pytest.mark.parametrize("event, arguments", REFUSED)
def test_what_is_refused(event, arguments):
    with pytest.raises(PermissionError):
        hook._hook((LIBRARIES,))(event, arguments)


def test_there_is_no_cell_to_empty():
    assert hook._hook((LIBRARIES,)).__closure__ is None
