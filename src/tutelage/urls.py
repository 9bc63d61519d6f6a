"""Places that are URLs of an object store (`s3://bucket/train.csv`), told from places on disk.

Everything in tutelage takes paths, and `Path("s3://bucket/x")` keeps one slash only. So a path that
begins with a protocol and a slash is such a place; here is how to tell, and how to have the URL
back. What is done with it stands in `runs/remote`. Nothing is imported, nobody is asked.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_REMOTE = re.compile(r"([a-z][a-z0-9+-]+):/{1,3}(?=[^/])", re.IGNORECASE)
_UNFIT = re.compile(r"[?#@\s\x00-\x1f\ud800-\udfff]")


def is_remote(place: Path | str) -> bool:
    """Whether a place lies in an object store; one letter before the colon is a Windows drive."""
    return _REMOTE.match(os.fspath(place)) is not None


def url_of(place: Path | str) -> str:
    """The URL of a place that `is_remote`, whichever way it went through `Path`.

    Example:
        >>> url_of(Path("s3://bucket/runs/small"))
        's3://bucket/runs/small'
    """
    text = os.fspath(place)
    found = _REMOTE.match(text)
    if found is None:
        return text
    protocol = found[1].lower()
    start = "file:///" if protocol == "file" else f"{protocol}://"
    return start + os.path.normpath(text[found.end() :])


def protocol_of(place: Path | str) -> str:
    """What stands before the colon: `s3`."""
    found = _REMOTE.match(os.fspath(place))
    return "" if found is None else found[1].lower()


def url_objection(place: Path | str) -> str | None:
    """Why a URL is not taken, in words that do not repeat it; None where it is.

    Names and passwords before an `@`, and signatures after a `?`, would stand in the recipe and in
    the records of a run, for everybody who may read those.
    """
    rest = _REMOTE.sub("", os.fspath(place), count=1)
    if _UNFIT.search(rest):
        return (
            "the URL holds a name or password before @, a query after ?, a #, or a blank; expected "
            "PROTOCOL://BUCKET/NAME alone. Credentials come from the environment or from fsspec's "
            "configuration; objects of such names must be copied"
        )
    if ".." in rest.split("/"):
        return "the URL holds `..`; write it without"
    return None
