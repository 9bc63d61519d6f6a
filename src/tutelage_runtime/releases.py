"""Versions of a student in service: each kept as it was, one of them current.

    FOLDER/versions/VERSION/    an exported student with its certificate, never changed
    FOLDER/current.json         which one is in service, and which were before

In: an exported student. Out: the same, copied, verified and in service; or the one before again.
`serve FOLDER` answers with the current version, and with the next as soon as it is put in service.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tutelage_runtime.bundle import Bundle, BundleError, read_bundle
from tutelage_runtime.certificate import CertificateError, read_certificate

FORMAT = 1
CURRENT = "current.json"
VERSIONS = "versions"
CERTIFICATE_FILES = ("certificate.json", "novelty.npz")
_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""Of a version; so it leads to no other folder."""
_LARGEST = 1 << 24
_MOST_SAID = 300
BESIDE = (*CERTIFICATE_FILES, "student.json", "parity.json", "MODEL_CARD.md")
"""What is copied besides the files that answering needs."""


class ReleaseError(Exception):
    """A version cannot be put in service."""


@dataclass(frozen=True, slots=True)
class Release:
    """A time in service."""

    version: str
    """The name of its folder: the student's version, and eight digits of its certificate's sum."""
    since: str
    """When it was put in service, UTC."""
    why: str
    """`promoted`, or `rolled back from VERSION`."""

    @property
    def student(self) -> str:
        """The version of its student, whatever the certificate."""
        return self.version.partition("-")[0]


def is_released(folder: Path) -> bool:
    """Whether a folder holds versions in service."""
    return (folder / CURRENT).is_file()


def resolved(folder: Path) -> Path:
    """The exported student that a folder means: its current version, or the folder itself.

    Raises:
        ReleaseError: What says which one is current cannot be read, or its version is gone.
    """
    if not is_released(folder):
        return folder
    found = folder / VERSIONS / history(folder)[-1].version
    if not found.is_dir():
        raise ReleaseError(f"{found} is gone: put it back, or roll back to one that is there")
    return found


def history(folder: Path) -> list[Release]:
    """All times in service, the last one is now; none where nothing was promoted yet.

    Raises:
        ReleaseError: current.json is none.
    """
    path = folder / CURRENT
    if not path.is_file():
        return []
    try:
        if (size := path.stat().st_size) > _LARGEST:
            raise ValueError(f"{size:,} bytes")
        values = json.loads(path.read_text("utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}, expected {FORMAT}")
        found = [Release(**one) for one in values["releases"]]
        if not found or not all(_NAME.fullmatch(one.version) for one in found):
            raise ValueError("no versions")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"[:_MOST_SAID]
        raise ReleaseError(
            f"{path} cannot be read ({said}): put it back from a copy, or remove it and promote "
            f"one of {folder / VERSIONS}"
        ) from None
    return found


def promote(student: Path, folder: Path) -> Release:
    """Copy an exported student to a folder of versions and put it in service.

    Args:
        student: As `tutelage export` wrote it, with or without a certificate.
        folder: Of versions; made if it is not there.

    Raises:
        BundleError: It is no exported student, or not any more what was exported.
        ReleaseError: Another content lies there under its version, it is current already, or the
            certificate beside it is of another student or not what was written.
        OSError: The file system refuses; what was in service stays so.
    """
    bundle = read_bundle(student)
    if (student / CERTIFICATE_FILES[0]).is_file():
        try:
            read_certificate(student, student=bundle.version, labels=bundle.question.labels)
        except CertificateError as error:
            raise ReleaseError(f"{error}") from None
    version = _name(bundle)
    past = history(folder)
    if past and past[-1].version == version:
        raise ReleaseError(f"{version} is in service already")
    target = folder / VERSIONS / version
    if not target.exists():
        _copy(bundle, target)
    if (lies_there := _name(read_bundle(target))) != version:
        raise ReleaseError(f"{target} was changed since ({lies_there} lies there): remove it first")
    release = Release(version, _now(), "promoted")
    _write(folder, [*past, release])
    return release


def roll_back(folder: Path, *, to: str | None = None) -> Release:
    """Put an earlier version in service again.

    Args:
        folder: Of versions.
        to: Its version; None: the one that was in service before this one.

    Raises:
        ReleaseError: There is none before, or it is not there or not any more what it was.
    """
    past = history(folder)
    if not past:
        raise ReleaseError(f"{folder} holds no versions: tutelage promote puts one in service")
    now = past[-1].version
    earlier = [one.version for one in past if one.version != now]
    if to is None and not earlier:
        raise ReleaseError(f"{now} is the only version that was ever in service")
    target = earlier[-1] if to is None else to
    if target == now:
        raise ReleaseError(f"{now} is in service already")
    place = folder / VERSIONS / target
    if Path(target).name != target or not place.is_dir():
        raise ReleaseError(f"{target} is no version here; there are {', '.join(versions(folder))}")
    try:
        found = _name(read_bundle(place))
    except BundleError as error:
        raise ReleaseError(f"{target} cannot be put in service: {error}") from None
    if found != target:
        raise ReleaseError(
            f"{place} was changed since ({found} lies there): it stays out of service"
        )
    release = Release(target, _now(), f"rolled back from {now}")
    _write(folder, [*past, release])
    return release


def versions(folder: Path) -> list[str]:
    """The versions that are there, whether or not in service."""
    places = (folder / VERSIONS).glob("*")
    return sorted(one.name for one in places if not one.name.startswith("."))


def _name(bundle: Bundle) -> str:
    """How the version of a folder is called: by the student and the certificate beside it."""
    certificate = bundle.folder / CERTIFICATE_FILES[0]
    if not certificate.is_file():
        return bundle.version
    digest = hashlib.sha256(certificate.read_bytes())
    gate = bundle.folder / CERTIFICATE_FILES[1]
    digest.update(gate.read_bytes() if gate.is_file() else b"")
    return f"{bundle.version}-{digest.hexdigest()[:8]}"


def _copy(bundle: Bundle, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*"):  # of a copy that was killed
        shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        for name in dict.fromkeys((*bundle.files, *BESIDE)):
            if (file := bundle.folder / name).is_file():
                shutil.copyfile(file, temporary / name)
                _sync(temporary / name)
        temporary.chmod(0o755)
        temporary.rename(target)
        _sync(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write(folder: Path, releases: Sequence[Release]) -> None:
    values = {"format": FORMAT, "releases": [asdict(one) for one in releases]}
    temporary = folder / f".{CURRENT}.{os.getpid()}"
    try:
        temporary.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
        _sync(temporary)
        temporary.replace(folder / CURRENT)
        _sync(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems do not sync folders
            os.fsync(handle)
    finally:
        os.close(handle)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
