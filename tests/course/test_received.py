"""The one door: whatever a worker sends comes out as what it should be, short and printable."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyqwen.course.isolation import received, seccomp
from tinyqwen.course.isolation.copies import FORWARD

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries({k: ODD for k in ("kind", "message", "frames", "syntax")})


def is_clean(text, limit):
    text.encode()
    return len(text) <= limit + 2 and all(c.isprintable() or c == "\n" for c in text)


@given(ODD | FIELDS)
def test_a_failure_is_words_and_counts(value):
    failure = received.failure(value)
    assert list(failure) == ["kind", "message", "frames", "syntax"]
    assert is_clean(failure["kind"], 80) and is_clean(failure["message"], 2000)
    assert len(failure["frames"]) <= 3
    for number, name, line in failure["frames"]:
        assert 0 <= number < 1 << 32 and is_clean(name, 80) and is_clean(line, 200)
    if failure["syntax"] is not None:
        line, why, text, offset = failure["syntax"]
        assert line >= 0 and is_clean(why, 200) and 0 <= offset <= len(text) + 1


@given(ODD, st.integers(0, 3))
def test_what_was_edited_is_an_argument(value, count):
    known = {*range(count), "eps", FORWARD}
    assert set(received.places(value, range(count), {"eps": 1})) <= known
    assert all(type(number) is int for number, _ in received.changed(value))
    for fence, does in received.fences(value).items():
        assert is_clean(fence, 80) and is_clean(does, 200)


def test_halves_of_characters_and_millions_of_columns():
    told = {"syntax": (10**30, "\ud800", "x\n", 2_000_000), "kind": 7, "message": "\x1b[2J\ud800"}
    assert received.failure(told) == {
        "kind": "Exception",
        "message": "\ufffd[2J\ufffd",
        "frames": [],
        "syntax": (0, "\ufffd", "x", 2),
    }
    assert received.name("ch04_\udcff.py") == "ch04_\ufffd.py"
    assert received.text("x" * 5000) == received.text("x" * 4001) == "x" * 4000 + " …"
    assert received.text("x" * 4000) == "x" * 4000 and received.text("abc", 3) == "abc"
    assert received.places([True, 1, "eps", "no"], (5, 6), {"eps": 1}) == [1, "eps"]


def test_letters_that_nobody_sees_and_marks_that_cover_other_lines():
    assert received.text("a\u3164b\u2800") == "a\ufffdb\ufffd"
    marked = "e\u0301" + "x" + "\u0335" * 9
    assert received.text(marked) == "e\u0301x" + "\u0335" * 4 + "\ufffd" * 5


def test_lines_of_a_strangers_words_stand_behind_a_bar():
    assert received.quoted("no\n\nch04: 30 of 30") == "no\n  | \n  | ch04: 30 of 30"


def test_no_line_is_a_command_to_what_prints_it():
    """GitHub's runner takes those from whatever a step prints, spaces before them or not."""
    said = received.text("::error::a\n  ::stop-commands::b\nx[::2] and A::b ##[add-mask]0")
    assert said == (
        ":\ufffderror::a\n  :\ufffdstop-commands::b\nx[::2] and A::b ##\ufffdadd-mask]0"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1, "1", None, True])
def test_a_time_that_is_none_is_refused(value):
    with pytest.raises(ValueError):
        received.seconds(value)
    assert received.seconds(0.25) == 0.25


def answer(program, number, *arguments, arch):
    """What the filter says to a system call, by running its program by hand."""
    words = {seccomp.NUMBER: number, seccomp.ARCH: arch}
    words |= {seccomp.FIRST + 8 * i: value for i, value in enumerate(arguments)}
    at, value = 0, 0
    while True:
        code, true, false, operand = program[at]
        at += 1
        if code == seccomp.LOAD:
            value = words.get(operand, 0)
        elif code == seccomp.RETURN:
            return operand
        else:
            holds = value == operand if code == seccomp.EQUAL else value & operand
            at += true if holds else false


@pytest.mark.parametrize("machine", seccomp.MACHINES)
def test_the_list_of_system_calls(machine):
    """Six calls by what is asked of them, all others by their numbers."""
    arch, column = seccomp.MACHINES[machine]
    program = seccomp.program(arch, column, 77)

    def asked(numbers, *arguments):
        return answer(program, numbers[column], *arguments, arch=arch)

    assert answer(program, 0, arch=1) == seccomp.KILL
    for numbers in seccomp.ALLOWED.values():
        if numbers[column] is not None:
            assert asked(numbers) == seccomp.ALLOW
    F_SETFL, F_SETLK, F_SETOWN, F_SETLEASE, F_NOTIFY = 4, 6, 8, 1024, 1026
    assert asked(seccomp.FCNTL, 3, 1) == seccomp.ALLOW
    for command in (F_SETFL, F_SETLK, F_SETOWN, F_SETLEASE, F_NOTIFY):
        assert asked(seccomp.FCNTL, 3, command) == seccomp.NOT_PERMITTED
    thread = 0x3D0F00
    assert asked(seccomp.CLONE, thread) == seccomp.ALLOW
    assert asked(seccomp.CLONE, thread & ~seccomp.CLONE_THREAD) == seccomp.NOT_PERMITTED
    assert asked(seccomp.CLONE3) == seccomp.NO_SUCH_CALL
    for numbers, own, other in ((seccomp.TGKILL, 77, 78), (seccomp.PRLIMIT, 0, 77)):
        assert asked(numbers, own) == seccomp.ALLOW
        assert asked(numbers, other) == seccomp.NOT_PERMITTED
    assert asked(seccomp.IOCTL, 0, 0x5412) == seccomp.NOT_PERMITTED  # TIOCSTI
    assert asked(seccomp.PRCTL, 4) == seccomp.NOT_PERMITTED  # PR_SET_DUMPABLE
    listed = {n[column] for n in seccomp.ALLOWED.values()}
    special = ("CLONE", "CLONE3", "TGKILL", "PRLIMIT", "FCNTL", "IOCTL", "PRCTL")
    listed |= {getattr(seccomp, name)[column] for name in special}
    for number in set(range(600)) - listed:
        assert answer(program, number, arch=arch) == seccomp.NO_SUCH_CALL
    for number in listed - {None}:  # x86-64's second table, which has the same architecture
        assert answer(program, number | 1 << 30, arch=arch) == seccomp.NO_SUCH_CALL
    if machine == "x86_64":  # execve, fork, kill, ptrace, socket, inotify_add_watch, io_uring_setup
        assert not {59, 57, 62, 101, 41, 254, 425} & listed
