"""The vocabulary every room shares: examples, content ids, progress, and the legend of tensor
shapes.

Shape suffixes in numeric code: B batch, T tokens, V vocabulary, K kept entries, C classes, H
hidden. Nothing here imports torch; nothing here does work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Protocol, runtime_checkable
from unicodedata import normalize

from annotated_types import Ge, Le

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXAMPLE_ID_BYTES = 16

Advance = Callable[[int], None]
"""Tells a progress display that so many more units are done."""


@dataclass(frozen=True, slots=True)
class Example:
    """One text to classify, with the place it came from.

    `label` indexes the task's labels; None means that nobody labelled this row. `source` and `row`
    name the file and the 1-based data row, so that every later message can point at the input.
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

    The same text has the same id whatever its file, row or batch, so targets are found by what the
    teacher saw.

    Example:
        >>> example_id("good").hex()[:8]
        '8cb26042'
    """
    return blake2b(text.encode("utf-8"), digest_size=EXAMPLE_ID_BYTES).digest()


def same_name(name: str) -> str:
    r"""A name as it is compared with others: in Unicode's composed normal form (NFC).

    The same letters can be written in several ways, and a Mac writes others than Windows; who
    looks at them sees one name.

    Example:
        >>> same_name("cafe\u0301") == same_name("caf\u00e9")
        True
    """
    return name if name.isascii() else normalize("NFC", name)


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One document of a language-model task, as teacher and student read it.

    There is one soft target for each trained token t, in order: the teacher's distribution given
    the tokens before t.
    """

    token_ids: NDArray[np.int32]
    """Its tokens, [T]."""
    trained: NDArray[np.bool_]
    """Which tokens the student learns to predict, [T]; the first never is, for nothing comes before
    it."""
    source: str = ""
    """The file it came from."""
    row: int = 0
    """The 1-based data row in that file."""
    num_bytes: int = 0
    """UTF-8 bytes of the text that the trained tokens spell, the unit of bits per byte."""

    @property
    def example_id(self) -> bytes:
        """The content id that soft targets are stored under, 16 bytes: of its tokens and of which
        are trained.
        """
        content = blake2b(self.token_ids.astype("<i4").tobytes(), digest_size=EXAMPLE_ID_BYTES)
        content.update(self.trained.astype("u1").tobytes())
        return content.digest()

    @property
    def positions(self) -> int:
        """P, the number of trained tokens."""
        return int(self.trained.sum())


class Progress(Protocol):
    """What a long step asks of whoever watches: a bar while it runs, and a line now and then."""

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Show `title` with `total` units ahead; the value yielded is called with the units just
        done.
        """
        ...

    def say(self, message: str) -> None:
        """Show one line of talk (never a result)."""
        ...


@runtime_checkable
class Notes(Protocol):
    """A progress display with room for a few words beside the bar."""

    def note(self, text: str) -> None:
        """Show beside the bar in hand what cannot be counted in its units."""
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


_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def describe_bytes(count: float) -> str:
    """A size in the unit that fits it, to three digits.

    Example:
        >>> describe_bytes(700), describe_bytes(12_300), describe_bytes(1.2e9)
        ('700 bytes', '12.3 kB', '1.20 GB')
    """
    for size, unit in _UNITS:
        if count >= size:
            value = count / size
            digits = 2 if value < 10 else 1 if value < 100 else 0
            return f"{value:,.{digits}f} {unit}"
    return f"{count:.0f} bytes"


Seed = Annotated[int, Ge(0), Le(2**64 - 1)]
"""What numpy and torch can start from."""
Depth = Annotated[int, Ge(1), Le(1_000)]
"""Layers: many more than any model has, and few enough to be laid out in seconds."""
Width = Annotated[int, Ge(1), Le(1_000_000)]
"""Numbers in a row of weights: what is larger overflows the sizes of matrices."""
