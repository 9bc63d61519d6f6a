"""The objects under one URL: listed, read, put and removed through fsspec.

In: a URL and local files. Out: the same bytes on the other side. An object is put whole or not at
all; it has no rename, so the order in which objects are put is all there is to go by. What goes
wrong is said in one line; what may pass by itself is tried again for a while.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tutelage.errors import MissingExtra, StorageError, one_line
from tutelage.runs.storage import storage_error
from tutelage.urls import protocol_of, url_objection, url_of

PATIENCE_SECONDS = 30.0
"""How long a store is asked again that does not answer, or asks to be left alone."""
TOGETHER = 32
"""Files that are on their way at the same time."""

_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
_EXTRAS = {"s3": "s3", "s3a": "s3"}
_NO_CREDENTIALS = (
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
    "TokenRetrievalError", "UnauthorizedSSOTokenError", "DefaultCredentialsError",
)  # fmt: skip
_MARKS = ("ETag", "etag", "md5Hash", "generation", "mtime", "LastModified", "created")
"""Where file systems tell what changes with the content of an object, the best first."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as a listing tells it."""

    size: int
    """In bytes."""
    mark: str
    """Changes with its content: its ETag, or when it was written."""


class Objects:
    """What lies under a URL; names are relative to it, with `/`."""

    def __init__(self, place: Path | str) -> None:
        """Find the file system of a URL; nobody is asked yet.

        Raises:
            MissingExtra: Its package is not installed.
            StorageError: There is no such protocol, or the URL holds what should not be written
                down.
        """
        if (objection := url_objection(place)) is not None:
            raise StorageError(objection, is_wrong_place=True)
        self.url = url_of(place)
        self.patience_seconds = PATIENCE_SECONDS
        self._system = _file_system(place, self.url)
        self._root = self._system._strip_protocol(self.url).rstrip("/")

    def list(self) -> dict[str, Seen]:
        """Every object under the URL; none where there is nothing. What stands for a folder (`a/`,
        or `a` beside `a/b`) is left out, for no disk holds both.
        """
        try:
            found = self._ask(lambda: self._system.find(self._root, detail=True), "list")
        except FileNotFoundError:
            return {}
        prefix = self._root + "/"
        listed = {
            name[len(prefix) :]: _seen(facts)
            for name, facts in sorted(found.items())
            if name.startswith(prefix)
        }
        folders = {name[:at] for name in listed for at, sign in enumerate(name) if sign == "/"}
        return {
            name: seen
            for name, seen in listed.items()
            if name and not name.endswith("/") and name not in folders
        }

    def look(self, name: str = "") -> Seen | None:
        """One object, None where it is not there; without a name the one at the URL itself."""
        try:
            facts = self._ask(lambda: self._system.info(self._at(name)), "look at")
        except FileNotFoundError:
            return None
        return None if facts.get("type") == "directory" else _seen(facts)

    def read(self, name: str) -> bytes | None:
        """The bytes of a small object; None where it is not there."""
        try:
            return self._ask(lambda: self._system.cat_file(self._at(name)), "read")
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes, *, only_new: bool = False) -> bool:
        """Put a small object.

        Args:
            name: Where.
            content: What.
            only_new: Put it where there is none. The store decides between two who try at once,
                where its file system can ask for that (S3 and GCS can).

        Returns:
            Whether it was put.
        """
        place = self._at(name)
        if not only_new:
            self._ask(lambda: self._system.pipe_file(place, content), "write")
            return True
        try:
            self._ask(lambda: self._create(place, content), "write")
        except FileExistsError:
            # An answer that was lost makes the second try find what the first one put.
            return self.read(name) == content
        return True

    def fetch(self, files: Mapping[str, Path]) -> None:
        """Bring objects into local files, whose folders are there; `""` is the object at the
        URL.
        """
        for part in _portions(list(files)):
            here = [os.fspath(files[name]) for name in part]
            there = [self._at(name) for name in part]
            self._ask(lambda there=there, here=here: self._system.get(there, here), "read")

    def put(self, files: Mapping[str, Path]) -> None:
        """Bring local files to the store, in no order."""
        for part in _portions(list(files)):
            here = [os.fspath(files[name]) for name in part]
            there = [self._at(name) for name in part]
            self._ask(lambda there=there, here=here: self._system.put(here, there), "write")

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, those that are not there included."""
        for name in names:
            try:
                self._ask(lambda name=name: self._system.rm_file(self._at(name)), "remove")
            except FileNotFoundError:
                continue

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _create(self, place: str, content: bytes) -> None:
        try:
            self._system.pipe_file(place, content, mode="create")
        except (TypeError, NotImplementedError):  # a file system that cannot ask for it
            if self._system.exists(place):
                raise FileExistsError(place) from None
            self._system.pipe_file(place, content)
        except (FileExistsError, FileNotFoundError, PermissionError):
            raise
        except OSError:
            # s3fs knows the refusal by a field of the answer (`Condition`) that not every store
            # sends; without it, it is told as any other wrong request.
            if self._system.exists(place):
                raise FileExistsError(place) from None
            raise

    def _ask(self, work: Callable[[], Value], purpose: str) -> Value:
        """Do it, again after a pause where that may help; FileNotFoundError and FileExistsError are
        answers.
        """
        until = time.monotonic() + self.patience_seconds
        for tries in range(10**6):
            try:
                return work()
            except FileNotFoundError as error:
                if "bucket" in str(error).lower() and "exist" in str(error).lower():
                    raise StorageError(
                        f"{self.url}: there is no such bucket; make it, or correct the URL",
                        is_wrong_place=True,
                    ) from error
                raise
            except FileExistsError:
                raise
            except Exception as error:
                if (told := self._final(error, purpose)) is not None:
                    raise told from error
                pause = _PAUSES[min(tries, len(_PAUSES) - 1)]
                if time.monotonic() + pause > until:
                    raise StorageError(
                        f"{self.url} cannot be reached to {purpose} it "
                        f"({type(error).__name__}: {one_line(str(error), most=200)}). Look at the "
                        "network and the endpoint, and give the same command again"
                    ) from error
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _final(self, error: Exception, purpose: str) -> Exception | None:
        """What no second try mends, in words."""
        said = one_line(str(error), most=200)
        if type(error).__name__ in _NO_CREDENTIALS:
            return StorageError(
                f"{self.url}: no credentials were found ({said}). Set them as the package of "
                f"{protocol_of(self.url)}:// asks for (of S3: AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)",
                is_wrong_place=True,
            )
        if isinstance(error, PermissionError):
            return StorageError(
                f"{self.url}: these credentials may not {purpose} it ({said}). Have the right "
                "granted, or choose another place",
                is_wrong_place=True,
            )
        if isinstance(error, (ValueError, TypeError, AttributeError)):
            return StorageError(f"{self.url} cannot be used: {said}", is_wrong_place=True)
        # The disk here: full, or another user's.
        return storage_error(error) if isinstance(error, OSError) and error.filename else None


def _file_system(place: Path | str, url: str) -> Any:
    protocol = protocol_of(place)
    if importlib.util.find_spec("fsspec") is None:
        raise MissingExtra("fsspec", extra="s3", purpose=url)
    import fsspec

    try:
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except ImportError as error:
        if protocol in _EXTRAS:
            raise MissingExtra("s3fs", extra=_EXTRAS[protocol], purpose=url) from error
        raise StorageError(
            f"{url} needs a package that is not installed ({one_line(str(error), most=200)})",
            is_wrong_place=True,
        ) from error
    except ValueError as error:
        raise StorageError(
            f"{url}: {protocol}:// is no protocol that fsspec knows; expected for instance s3:// "
            "or gs://, or a path on disk",
            is_wrong_place=True,
        ) from error


def _seen(facts: Mapping[str, Any]) -> Seen:
    mark = next((str(facts[key]) for key in _MARKS if facts.get(key)), "")
    return Seen(int(facts.get("size") or 0), mark)


def _portions(names: list[str]) -> list[list[str]]:
    return [names[start : start + TOGETHER] for start in range(0, len(names), TOGETHER)]
