"""Small files are old or new, never half; the cache folder is where the platform keeps such
things."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tutelage.runs import atomic_write_bytes, atomic_write_json, atomic_write_text, cache_folder


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
