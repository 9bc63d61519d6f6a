"""Certificates that somebody put beside an export, when the export is made again or removed.

In: the folder of an export. Out: the certificate where it was, once an export of the very student
lies there that it was made for; until then in `FOLDER.certificate-STUDENT`. No stage knows of it:
where `certify --out` and `retrain` put it, it can be made by nobody but them.
"""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tutelage.runs.contents import remove
from tutelage.runs.files import replacing
from tutelage.types import Progress
from tutelage_runtime.bundle import BundleError, read_bundle
from tutelage_runtime.certificate import CERTIFICATE, NOVELTY, CertificateError, json_of

_ASIDE = ".certificate-"
_VERSION = re.compile(r"[0-9a-f]{16}")


@contextmanager
def keeping_certificate(export: Path, progress: Progress) -> Iterator[None]:
    """Make an export anew inside; the certificate that lies in it is there afterwards too, or kept
    aside if it is of another student, which is said.

    Args:
        export: Its folder, replaced as a whole inside. Where that fails and an older export is
            still there, so is its certificate.
        progress: Told what is kept aside.
    """
    aside = put_aside(export)
    try:
        yield
    except BaseException:
        if aside is not None and (export / CERTIFICATE).is_file():
            remove(aside)
        raise
    put_back(export, progress)


def put_aside(export: Path) -> Path | None:
    """Copy the certificate of an export that is about to go, so that a kill loses nothing.

    Returns:
        The folder that keeps it; None where there is none.
    """
    if not (export / CERTIFICATE).is_file():
        return None
    try:
        version = str(json_of(export / CERTIFICATE, "").get("student"))
    except CertificateError:  # damaged: somebody may know what it said
        version = ""
    known = version if _VERSION.fullmatch(version) else "unknown"
    aside = export.with_name(f"{export.name}{_ASIDE}{known}")
    remove(aside)
    _copy(export, aside)
    return aside


def put_back(export: Path, progress: Progress) -> None:
    """Put the certificate of the student that lies in the folder now back into it, if one was kept;
    name those of others.
    """
    kept = sorted(export.parent.glob(f"{glob.escape(export.name)}{_ASIDE}*"))
    if not kept:
        return
    try:
        version = read_bundle(export, verify=False).version
    except BundleError:  # another format, or it could not be made
        version = None
    for aside in kept:
        if aside.name == f"{export.name}{_ASIDE}{version}":
            _copy(aside, export)
            remove(aside)
        else:
            progress.say(
                f"warning: the certificate in {aside} is not of the student that lies in {export} "
                "now, which has none. Certify it, with tutelage certify, and remove the other"
            )


def remove_but_certificates(exports: Path, progress: Progress) -> None:
    """Remove every export in a folder of them, but keep their certificates aside."""
    for one in sorted(exports.iterdir()):
        if _ASIDE in one.name:
            continue
        if (aside := put_aside(one)) is not None:
            progress.say(
                f"warning: {one} was an export of other weights; its certificate is kept in "
                f"{aside}, and comes back with an export of the same weights"
            )
        remove(one)
    if not any(exports.iterdir()):
        exports.rmdir()


def _copy(source: Path, target: Path) -> None:
    """The certificate last, which names its gate."""
    for name in (NOVELTY, CERTIFICATE):
        if (source / name).is_file():
            with replacing(target / name) as beside:
                shutil.copyfile(source / name, beside)
