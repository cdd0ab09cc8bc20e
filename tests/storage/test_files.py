"""Files that are there whole or not at all: the order of what is done, names, JSON, and locks."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinyqwen.storage import files
from tinyqwen.storage.files import (
    FolderLock,
    atomic_write,
    file_in,
    make_folder,
    parse_json_object,
    read_json,
    remove_temporaries,
    write_json,
    write_text,
)

posix = pytest.mark.skipif(os.name != "posix", reason="folders cannot be opened there")


@posix
def test_a_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    """Any other order may leave an empty file, or none, when the power fails."""
    path, done = tmp_path / "file", []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        is_folder = os.path.samestat(os.fstat(descriptor), os.stat(tmp_path))
        size = None if is_folder else os.fstat(descriptor).st_size
        done.append(("folder" if is_folder else "file", size))
        fsync(descriptor)

    def note_replace(old, new):
        assert Path(old).parent == tmp_path and Path(new) == path
        done.append(("rename", None))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_text(path, "猫")
    assert done == [("file", 3), ("rename", None), ("folder", None)]
    assert path.read_bytes() == "猫".encode()


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(5, "x")])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        assert path.read_text() == "old"
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    """What goes wrong while a file is written may be about one that is read for it."""
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "new"):
        (tmp_path / "source").read_bytes()
    assert caught.value.filename == str(tmp_path / "source") and os.listdir(tmp_path) == []
    assert "cannot be written" not in str(caught.value)
    full = pytest.raises(OSError, match="cannot be written: the disk is full")
    with full as caught, files.named_errors("a/b"):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.filename == "a/b" and caught.value.errno == errno.ENOSPC


def test_what_the_killed_left_is_swept_and_no_more(tmp_path):
    kept = ["a", ".hidden", "b.tmp", ".config"]
    for name in [*kept, ".a.0123abcd.tmp", ".b.tmp"]:
        (tmp_path / name).write_text("x")
    remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../a", "/a", "a\\b", "a\0", "a" * 201, 3])
def test_names_that_are_paths_are_refused(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    with pytest.raises(ValueError, match="is not the name of a file in this folder"):
        file_in(tmp_path, name)


def test_names_that_are_files_are_found(tmp_path):
    long = "a" * 200
    for name in ["a", "b c.json", ".hidden", "猫", long]:
        (tmp_path / name).write_text(name)
        assert file_in(tmp_path, name).read_text() == name
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        file_in(tmp_path, "z")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        file_in(tmp_path, "folder")
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        file_in(tmp_path / "z", "a")


@posix
def test_only_links_into_the_caches_own_blobs_are_followed(tmp_path):
    cache = tmp_path / "models--a--b"
    snapshot, blobs = cache / "snapshots" / "0", cache / "blobs"
    other = tmp_path / "models--a--c" / "blobs"
    for folder in (snapshot, blobs, other):
        folder.mkdir(parents=True)
        (folder / "blob").write_text(folder.name)
    (snapshot / "good").symlink_to(blobs / "blob")
    (snapshot / "near").symlink_to(snapshot / "blob")
    (snapshot / "bad").symlink_to(other / "blob")
    assert file_in(snapshot, "good").read_text() == "blobs"
    assert file_in(snapshot, "near").read_text() == "0"
    with pytest.raises(ValueError, match="a symbolic link that leads out of the folder"):
        file_in(snapshot, "bad")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "link").symlink_to(blobs / "blob")
    with pytest.raises(ValueError, match="a symbolic link that leads out of the folder"):
        file_in(plain, "link")


def test_json_there_and_back(tmp_path):
    value = {"猫": [1, 2.5, None, True], "big": 2**128 - 1, "small": 1 - 2**128}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text("utf-8")
    assert "猫" in text and text.endswith("}\n") and json.loads(text) == value


@pytest.mark.parametrize(
    "content, message",
    [
        (f'{{"a": {2**128}}}', "is too large"),
        (f'{{"a": -{2**128}}}', "is too large"),
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' stands there twice"),
        ('{"x": {"b": 1, "b": 2}}', "the key 'b' stands there twice"),
        ("[1]", "expected a JSON object, found list"),
        ("{", "not valid JSON"),
        (b"\xff{}", "not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_refused(content, message):
    with pytest.raises(ValueError, match=f"^name: .*{message}"):
        parse_json_object(content, "name")


def test_json_of_the_longest_length_is_read_and_longer_is_not(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text('{"a": 1}')
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 8)
    assert read_json(tmp_path / "a.json") == {"a": 1}
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 7)
    with pytest.raises(ValueError, match="more than 7 bytes of JSON"):
        read_json(tmp_path / "a.json")


def test_folders(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("x")
    for path in [tmp_path / "file", tmp_path / "file" / "below"]:
        with pytest.raises(OSError, match="a file, not a folder") as caught:
            make_folder(path)
        assert caught.value.filename == str(path)


@posix
def test_a_folder_is_held_by_one(tmp_path):
    root = Path(files.__file__).parents[2]
    program = f"from tinyqwen.storage.files import FolderLock; FolderLock({str(tmp_path)!r})"
    command = [sys.executable, "-c", program]

    def other():
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=250)
        return done.returncode, done.stderr

    lock = FolderLock(tmp_path)
    with pytest.raises(OSError, match="is in use by another run") as caught:
        FolderLock(tmp_path)
    assert caught.value.errno == errno.EBUSY and caught.value.filename == str(tmp_path)
    code, complaint = other()
    assert code == 1 and "is in use by another run" in complaint
    lock.release()
    lock.release()
    assert other()[0] == 0
    FolderLock(tmp_path).release()
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_somebody_has_is_refused(tmp_path, monkeypatch, number):
    def flock(descriptor, how):
        raise OSError(number, "held")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with pytest.raises(OSError, match="is in use by another run"):
        FolderLock(tmp_path)


@posix
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    lock = FolderLock(tmp_path)
    assert lock._descriptor is None
    lock.release()
