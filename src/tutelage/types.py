"""The vocabulary every room shares: examples, content ids, progress, and the legend of tensor shapes.

Shape suffixes in numeric code: B batch, T tokens, V vocabulary, K kept entries, C classes, H hidden.
Nothing here imports torch; nothing here does work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

EXAMPLE_ID_BYTES = 16

Advance = Callable[[int], None]
"""Tells a progress display that so many more units are done."""


@dataclass(frozen=True, slots=True)
class Example:
    """One text to classify, with the place it came from.

    `label` indexes the task's labels; None means that nobody labelled this row. `source` and `row` name the file
    and the 1-based data row, so that every later message can point at the input.
    """

    text: str
    label: int | None = None
    source: str = ""
    row: int = 0

    @property
    def example_id(self) -> bytes:
        """The content id that soft targets are stored under, 16 bytes."""
        return example_id(self.text)


def example_id(text: str) -> bytes:
    """Name a text by its content: 16 bytes of BLAKE2b over its UTF-8 form.

    The same text has the same id whatever its file, row or batch, so targets are found by what the teacher saw.

    Example:
        >>> example_id("good").hex()[:8]
        '8cb26042'
    """
    return blake2b(text.encode("utf-8"), digest_size=EXAMPLE_ID_BYTES).digest()


class Progress(Protocol):
    """What a long step asks of whoever watches: a bar while it runs, and a line now and then."""

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Show `title` with `total` units ahead; the value yielded is called with the units just done."""
        ...

    def say(self, message: str) -> None:
        """Show one line of talk (never a result)."""
        ...


class Silent:
    """The progress display of a library call: shows nothing."""

    @contextmanager
    def bar(self, title: str, *, total: int, unit: str) -> Iterator[Advance]:
        """Show nothing."""
        del title, total, unit
        yield lambda _: None

    def say(self, message: str) -> None:
        """Say nothing."""
        del message


SILENT: Progress = Silent()
