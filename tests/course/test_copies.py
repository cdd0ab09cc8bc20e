"""What a call may do to the arrays it is given, and how that is seen."""

import time

import numpy as np
import pytest

from tinyqwen.course import clock
from tinyqwen.course.isolation import limit
from tinyqwen.course.isolation.copies import (
    Handed,
    copied,
    edited,
    failure_of,
    pages_used,
    same,
    untouched,
    views,
    without_vjp,
)


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4).T, np.arange(12)[::2],
     np.zeros((0, 3)), np.broadcast_to(np.ones(1), (2, 3)), np.array(5.0)],
)  # fmt: skip
def test_a_copy_is_another_array_of_the_same_numbers(array):
    copy = copied(array)
    np.testing.assert_array_equal(copy, array)
    assert copy.dtype == array.dtype and not np.shares_memory(copy, array)
    assert copy.flags.writeable
    strided = not array.flags.c_contiguous and array.size and 0 not in array.strides
    assert copy.flags.c_contiguous != bool(strided)


def test_containers_are_copied_with_what_is_in_them():
    inner = np.zeros(2)
    value = (inner, [inner, {"a": inner}], {1, 2}, "text", None)
    copy = copied(value)
    copy[0][0] = copy[1][0][0] = copy[1][1]["a"][0] = 9
    copy[1].append(3)
    copy[2].add(5)
    assert inner.tolist() == [0, 0] and len(value[1]) == 2 and value[2] == {1, 2}


def change_array(x):
    x[-1] += 1


def change_nan(x):
    x[0] = np.nan


@pytest.mark.parametrize(
    "value, change",
    [
        (np.arange(3.0), change_array),
        (np.arange(3.0), change_nan),
        ([1, 2], lambda x: x.append(3)),
        ([1, 2], lambda x: x.__setitem__(0, 5)),
        ([np.zeros(2)], lambda x: change_array(x[0])),
        ({"a": 1}, lambda x: x.update(b=2)),
        ({"a": 1}, lambda x: x.update(a=2)),
        ({"a": np.zeros(1)}, lambda x: change_array(x["a"])),
        ({1}, lambda x: x.add(2)),
        (([0],), lambda x: x[0].append(1)),
    ],
)
def test_a_change_in_place_is_seen(value, change):
    copy = copied(value)
    assert same(value, copy)
    change(copy)
    assert not same(value, copy)


def test_no_number_equals_no_number_and_shapes_count():
    assert same(np.array([np.nan, 1]), np.array([np.nan, 1]))
    assert not same(np.zeros(2), np.zeros((1, 2))) and not same(np.zeros(1), 0.0)
    assert same(object(), object())  # of what is unknown nothing is said


def test_the_changed_arguments_are_named():
    before, options = (np.zeros(2), np.zeros(2), [1]), {"a": [1], "b": np.zeros(1)}
    after, more = copied(before), copied(options)
    assert edited(before, options, after, more) == []
    after[1][0] = more["b"][0] = 1
    assert edited(before, options, after, more) == [1, "b"]


def test_a_result_in_an_arguments_memory_is_a_view_of_it():
    x, y, words = np.zeros((2, 3)), np.zeros(3), [1]
    assert views(x[:1], (x, y), {}) == [0] and views(x[:1].copy(), (x, y), {}) == []
    assert views((y + 1, x.T, len), (y, words), {"a": x, "b": y}) == ["a"]
    assert views(None, (x,), {}) == views(7, (x,), {}) == views([[x]], (x,), {}) == []
    assert views([x], (x,), {}) == [0]


def test_the_pages_are_counted_that_a_call_is_the_first_to_use():
    def reads(room, other, upto):
        return room[:upto].sum()

    few, many = (pages_used(reads, [(1 << 16,), (4,)], (n,)) for n in (100, 1 << 16))
    assert few < 8 and many > 100  # of 128, with 4 KB each
    assert untouched((2, 3)).tolist() == [[0.0] * 3] * 2


def test_of_a_pair_with_a_vjp_the_value_is_taken():
    assert without_vjp((1, len)) == 1
    assert without_vjp((1, 2)) == (1, 2) and without_vjp((1, len, len)) == (1, len, len)
    assert without_vjp([1, len]) == 1 and without_vjp([1, 2]) == [1, 2]


def test_a_result_that_is_written_into_later_is_told_once():
    here, there = Handed(), Handed()
    arrays = [np.zeros(2), np.ones(3)]
    mine = [array.copy() for array in arrays]
    here.add((arrays[0], len, arrays[1]))
    there.add((mine[0], len, mine[1]))
    assert here.changed() == []
    arrays[1][0] = 7
    ((number, array),) = here.changed()
    assert number == 2 and array is arrays[1] and here.changed() == []
    there.refresh([(number, array), (99, array), (1, array)])  # unknown; of another shape
    assert mine[1].tolist() == [7, 1, 1] and mine[0].tolist() == [0, 0]


def test_the_last_three_frames_of_ones_own_file_are_shown():
    def deeper(n):
        return deeper(n - 1) if n else 1 / 0

    try:
        deeper(5)
    except ZeroDivisionError as error:
        failure = failure_of(error, __file__)
        nothing = failure_of(error, "another.py")
    assert failure["kind"] == "ZeroDivisionError" and failure["message"] == "division by zero"
    assert [name for _, name, _ in failure["frames"]] == ["deeper"] * 3
    assert nothing["frames"] == [] and "syntax" not in failure


def test_a_limit_inside_a_limit():
    """The inner one ends its block alone; then the outer one counts on."""
    with clock.time_limit(30):
        outer = clock.left()
        with pytest.raises(clock.TimeLimit, match=r"0\.05 s"), clock.time_limit(0.05):
            assert clock.allowed() == 0.05
            while True:
                time.sleep(0.001)
        assert clock.allowed() == 30 and 0 < clock.left() <= outer
    assert clock.allowed() == 60  # where there is none


def test_what_is_left_is_nothing():
    with clock.time_limit(0.001, grace=30):
        deadline = time.monotonic() + 5
        with pytest.raises(clock.TimeLimit, match=r"0\.001 s"):
            while time.monotonic() < deadline:
                clock.left()


@pytest.mark.parametrize(
    "passed, worked, elsewhere, left",
    [(8, 8, 0, 2), (8, 2, 0, 8), (8, 1, 0, 8), (8, 1, 5, 4), (8, 5, 9, 2), (40, 0, 0, 0)],
)
def test_work_counts_whole_and_waiting_a_quarter(monkeypatch, passed, worked, elsewhere, left):
    now = {"monotonic": 100.0, "process_time": 3.0}
    for name in now:
        monkeypatch.setattr(limit.time, name, lambda name=name: now[name])
    one = limit.Limit(10)
    assert one.left() == 10
    now["monotonic"] += passed
    now["process_time"] += worked
    one.elsewhere += elsewhere
    assert one.left() == left
