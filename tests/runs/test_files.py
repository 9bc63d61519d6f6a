"""Small files are old or new, never half; the cache folder is where the platform keeps such
things."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from tutelage.errors import StorageError
from tutelage.runs import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    cache_folder,
    place_for,
    replacing,
    settle_folder,
    sync_folder,
)
from tutelage.runs.files import remove_unfinished


def test_written_whole_with_nothing_beside(tmp_path):
    path = tmp_path / "deep" / "folder" / "note.txt"
    atomic_write_text(path, "first\n")
    atomic_write_text(path, "zweite Zeile ✓\n")
    assert path.read_bytes() == "zweite Zeile ✓\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    atomic_write_json(path, {"a": 1})
    for value, error in ((float("nan"), ValueError), (object(), TypeError)):
        with pytest.raises(error):
            atomic_write_json(path, {"a": value})
    with pytest.raises(TypeError):
        atomic_write_bytes(path, "text")  # type: ignore[arg-type]
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text(path, "\ud800")
    assert json.loads(path.read_text("utf-8")) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_for_people_too(tmp_path):
    atomic_write_json(tmp_path / "value.json", {"näme": [1, 2.5, None, True]})
    text = (tmp_path / "value.json").read_text("utf-8")
    assert '"näme"' in text
    assert text.endswith("}\n")
    assert json.loads(text) == {"näme": [1, 2.5, None, True]}


def test_a_link_is_replaced_and_what_it_shared_is_kept(tmp_path):
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    atomic_write_text(mine, "old")
    theirs.hardlink_to(mine)
    atomic_write_text(mine, "new")
    assert (mine.read_text("utf-8"), theirs.read_text("utf-8")) == ("new", "old")


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of Linux")
def test_the_cache_folder(monkeypatch):
    monkeypatch.setenv("TUTELAGE_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("TUTELAGE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert cache_folder() == Path("/var/cache/me/tutelage")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tutelage"


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    atomic_write_text(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"report.html: the disk is full. Free some space"):
        atomic_write_text(path, "new")
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_library_writes_for_its_owner_alone_others_may_read(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    umask = os.umask(0o027)
    try:
        with replacing(tmp_path / "a") as beside:
            beside.unlink()
            beside.touch(0o600)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "b").touch(0o600)
        settle_folder(tmp_path / "folder")
    finally:
        os.umask(umask)
    for name in ("a", "folder/b"):
        status = (tmp_path / name).stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert status.st_ino in synced


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    for name in ("é" * 125 + ".csv", "x" * 255):
        atomic_write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text("utf-8") == "new"
    with pytest.raises(StorageError, match="the name is longer than the file system takes"):
        atomic_write_text(tmp_path / ("x" * 256), "new")


def test_folders_that_cannot_be_synced_are_no_reason_to_stop(tmp_path, monkeypatch):
    def refuse(_descriptor: int) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    number = errno.EINVAL
    sync_folder(tmp_path)
    number = errno.EIO
    with pytest.raises(StorageError, match="the disk reports an error"):
        sync_folder(tmp_path)


def test_where_a_file_will_lie_is_asked_before_the_work(tmp_path):
    free = tmp_path / "answers.csv"
    assert place_for(free) == free
    assert list(tmp_path.iterdir()) == []
    free.write_text("old")
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "behind.csv")
    assert place_for(link) == tmp_path / "behind.csv"
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "lost.csv").symlink_to(tmp_path / "gone" / "behind.csv")
    for name, words in (
        ("folder.csv", "is a folder; expected a file"),
        ("pipe.csv", "is a device or a pipe"),
        ("lost.csv", "a link leads nowhere"),
        ("gone/a.csv", "is not there"),
        ("answers.csv/a.csv", "a file lies where a folder is expected"),
        (os.fsdecode(b"caf\xe9.csv"), "not UTF-8"),
    ):
        with pytest.raises(StorageError, match=words) as caught:
            place_for(tmp_path / name)
        assert caught.value.is_wrong_place
    assert free.read_text("utf-8") == "old"


def test_what_kills_left_half_written_is_removed_and_nothing_else(tmp_path):
    for name in (".recipe.yaml.77.tmp", ".notes.tmp", "a.77.tmp", ".lock"):
        (tmp_path / name).write_text("x")
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".notes.tmp", "a.77.tmp"]
    remove_unfinished(tmp_path / "gone")
